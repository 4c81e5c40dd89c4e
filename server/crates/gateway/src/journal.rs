//! One request from its credential to its end, as the request log and usage hear of it.
//!
//! A [`Trace`] goes with the request, also into the stream that answers it; when the last holder lets go of it, the
//! request has ended and is told to the [`Meter`](crate::Meter). Nothing of it waits for anything.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use domain::{
    dataplane::{Access, OrgPlane, PlaneConnector},
    mcp::{
        code,
        envelope::Message,
        exchange::{BodyStream, Exchange, NetError},
        json, meta,
        upstream::Answer,
    },
    request::{ClientIp, RequestId},
    usage::Record,
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode, header, request};
use http_body::{Body as _, Frame, SizeHint};
use memchr::memmem;
use model::activity::{Outcome, Timings};
use tokio::time::Instant;

use crate::{
    Inner,
    limits::{Policy, Standing, tell},
    reply::RpcError,
};

tokio::task_local! {
    /// The request that is being passed on, for whoever sends it.
    static PASSING: Arc<Trace>;
}

/// What is found out on the way.
#[derive(Debug, Default)]
struct Notes {
    /// Absent until it is known that the request is worth a line.
    method: Option<String>,
    connector: Option<Arc<PlaneConnector>>,
    tool: String,
    client: Option<String>,
    outcome: Option<Outcome>,
    status: u16,
    code: Option<i64>,
    message: String,
    receive: Duration,
    queue: Duration,
    passed_on_at: Option<Instant>,
    head_at: Option<Instant>,
    answered_at: Option<Instant>,
    upstream_requests: u32,
    counted: bool,
    bytes_in: u64,
    bytes_out: u64,
    arguments: Option<Bytes>,
    result: Option<Bytes>,
    standings: [Option<Standing>; 2],
}

/// One request.
pub(crate) struct Trace {
    inner: Arc<Inner>,
    plane: Arc<OrgPlane>,
    access: Arc<Access>,
    began: i64,
    started: Instant,
    authenticated: Instant,
    request_id: String,
    /// The trace that the caller says it belongs to.
    belongs_to: Option<String>,
    agent: String,
    address: Option<IpAddr>,
    notes: Mutex<Notes>,
}

/// The trace id of a `traceparent` (W3C Trace Context §3.2).
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_version, id) = (parts.next()?, parts.next()?);
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let valid = id.len() == 32 && id.bytes().all(hex) && id.bytes().any(|c| c != b'0');
    valid.then(|| id.to_owned())
}

impl Trace {
    /// A request whose credential was found good. It came in at `started`.
    pub(crate) fn new(
        inner: &Arc<Inner>,
        plane: &Arc<OrgPlane>,
        access: &Arc<Access>,
        head: &request::Parts,
        started: Instant,
    ) -> Arc<Self> {
        let text = |value: Option<&http::HeaderValue>| {
            value.and_then(|value| value.to_str().ok()).unwrap_or_default().chars().take(160).collect()
        };
        let authenticated = Instant::now();
        let took = i64::try_from((authenticated - started).as_millis()).unwrap_or(0);
        Arc::new(Self {
            plane: Arc::clone(plane),
            access: Arc::clone(access),
            began: inner.clock.now() - took,
            started,
            authenticated,
            request_id: head.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default(),
            belongs_to: trace_id(&head.headers),
            agent: text(head.headers.get(header::USER_AGENT)),
            address: head.extensions.get::<ClientIp>().map(|ip| ip.0),
            inner: Arc::clone(inner),
            notes: Mutex::default(),
        })
    }

    /// Where the request came from.
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the request asks for, once its body was read. Notifications, responses and pings are not worth a line.
    pub(crate) fn asked(&self, message: &Message<'_>, body: usize) {
        let Some(method) = message.method.as_deref().filter(|method| *method != "ping") else { return };
        if message.id.is_none() {
            return;
        }
        let params = &message.params;
        let asked_for = params.name.or(params.uri).and_then(json::string).unwrap_or_default();
        let info = params.meta.as_ref().and_then(|m| json::get(m.raw, meta::CLIENT_INFO));
        let client =
            info.and_then(|info| json::string(json::get(info, "name")?)).map(std::borrow::Cow::into_owned);
        let arguments = params.arguments.filter(|_| self.plane.policy.log_bodies);
        self.began_with(method, &asked_for, client, arguments, body);
    }

    /// The same, for requests that are no messages of the protocol.
    pub(crate) fn began_with(
        &self,
        method: &str,
        tool: &str,
        client: Option<String>,
        arguments: Option<&str>,
        body: usize,
    ) {
        let mut notes = self.notes();
        notes.method = Some(method.chars().take(64).collect());
        notes.tool = tool.chars().take(160).collect();
        notes.client = client;
        notes.arguments = arguments.map(|arguments| Bytes::copy_from_slice(arguments.as_bytes()));
        notes.bytes_in = body as u64;
        notes.receive = self.authenticated.elapsed();
    }

    /// Where it goes.
    pub(crate) fn goes_to(&self, connector: &Arc<PlaneConnector>, tool: &str) {
        let mut notes = self.notes();
        notes.connector = Some(Arc::clone(connector));
        if notes.tool != tool {
            tool.clone_into(&mut notes.tool);
        }
    }

    /// It waited for its turn.
    pub(crate) fn queued(&self, wait: Duration) {
        self.notes().queue = wait;
    }

    /// How it stands with a limit. A refusal counts, and of others the newest of its kind.
    pub(crate) fn stands(&self, standing: Standing) {
        let at = usize::from(standing.policy != Policy::Key);
        self.notes().standings[at] = Some(standing);
    }

    /// It is sent to its connector, and counts as a call if it is `paid`.
    pub(crate) fn passed_on(&self, paid: bool) {
        let mut notes = self.notes();
        notes.counted |= paid;
        notes.passed_on_at.get_or_insert_with(Instant::now);
    }

    /// What was asked for has been given, whatever becomes of the stream that it is given on: there is no one answer.
    pub(crate) fn given(&self) {
        let mut notes = self.notes();
        if notes.passed_on_at.is_some() {
            notes.answered_at.get_or_insert_with(Instant::now);
        }
        notes.outcome.get_or_insert(Outcome::Ok);
    }

    /// Does the work of passing it on, so that whoever sends it can tell when the answer began.
    pub(crate) async fn passing<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        PASSING.scope(Arc::clone(self), work).await
    }

    /// The connector's answer is whole.
    pub(crate) fn answered(&self, answer: &Answer) {
        let failed = answer.error.is_some() || {
            // Nearly no answer has it, and this finds that out at the speed of memory.
            memmem::find(&answer.value, b"\"isError\"").is_some()
                && json::get(answer.text(), "isError") == Some("true")
        };
        let mut notes = self.notes();
        notes.answered_at = Some(Instant::now());
        notes.outcome = Some(if failed { Outcome::ToolError } else { Outcome::Ok });
        notes.code = answer.error;
        if self.plane.policy.log_bodies {
            notes.result = Some(answer.value.clone());
        }
    }

    /// It was refused, or failed.
    pub(crate) fn failed(&self, error: &RpcError) {
        let outcome = match (error.status, error.code) {
            (StatusCode::TOO_MANY_REQUESTS, _) => Outcome::RateLimited,
            (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => Outcome::Denied,
            (_, code::UPSTREAM_TOO_LARGE..=code::UPSTREAM_UNAVAILABLE) => Outcome::UpstreamError,
            // A definition that was not approved.
            (_, -32014) => Outcome::Denied,
            (_, code::UNAVAILABLE | code::INTERNAL) => Outcome::Failed,
            _ => Outcome::BadRequest,
        };
        let mut notes = self.notes();
        if notes.passed_on_at.is_some() && notes.answered_at.is_none() {
            notes.answered_at = Some(Instant::now());
        }
        notes.outcome = Some(outcome);
        notes.status = error.status.as_u16();
        notes.code = Some(error.code);
        notes.message = error.message.chars().take(400).collect();
    }

    /// Tells how the request stands with its limits.
    pub(crate) fn tell(&self, mut response: Response) -> Response {
        tell(response.headers_mut(), self.notes().standings.iter().flatten());
        response
    }

    /// The answer as it leaves: it tells how the request stands with its limits, and is followed to its end.
    pub(crate) fn finish(self: Arc<Self>, mut response: Response) -> Response {
        let size = response.body().size_hint().exact();
        {
            let mut notes = self.notes();
            notes.status = response.status().as_u16();
            tell(response.headers_mut(), notes.standings.iter().flatten());
            if let Some(size) = size {
                notes.bytes_out = size;
                notes.outcome = notes.outcome.or(Some(Outcome::Ok));
            }
        }
        if size.is_none() {
            return response.map(|body| Body::new(Followed { body, trace: self }));
        }
        response
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let notes = std::mem::take(self.notes.get_mut().unwrap_or_else(PoisonError::into_inner));
        let Some(method) = notes.method else { return };
        let end = Instant::now();
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let between = |from: Option<Instant>, to: Option<Instant>| {
            from.zip(to).map_or(0, |(from, to)| micros(to.saturating_duration_since(from)))
        };
        // A server in the process has no head.
        let head = notes.head_at.or(notes.passed_on_at);
        let answered = notes.answered_at.or(notes.passed_on_at.map(|_| end));
        let timings = Timings {
            auth: micros(self.authenticated - self.started),
            receive: micros(notes.receive),
            queue: micros(notes.queue),
            first_byte: between(notes.passed_on_at, head),
            upstream: between(head, answered),
            total: micros(end - self.started),
        };
        let bodies = self
            .plane
            .policy
            .log_bodies
            .then(|| (notes.arguments.unwrap_or_default(), notes.result.unwrap_or_default()))
            .filter(|(arguments, result)| !arguments.is_empty() || !result.is_empty());
        self.inner.meter.ended(Record {
            plane: Arc::clone(&self.plane),
            access: Arc::clone(&self.access),
            began: self.began,
            ended: self.inner.clock.now(),
            method,
            connector: notes.connector,
            tool: notes.tool,
            // Whoever has no outcome was not there any more to get one.
            outcome: notes.outcome.unwrap_or(Outcome::Cancelled),
            status: notes.status,
            code: notes.code,
            message: notes.message,
            timings,
            bytes_in: notes.bytes_in,
            bytes_out: notes.bytes_out,
            upstream_requests: notes.upstream_requests,
            counted: notes.counted,
            request_id: std::mem::take(&mut self.request_id),
            trace_id: self.belongs_to.take(),
            client: notes.client.unwrap_or_else(|| std::mem::take(&mut self.agent)),
            address: self.address,
            bodies,
        });
    }
}

/// A body whose end is the end of its request.
struct Followed {
    body: Body,
    trace: Arc<Trace>,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.trace.notes().bytes_out += data.len() as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An [`Exchange`] that tells the request it serves when the head of an answer is there.
struct Clocked(Arc<dyn Exchange>);

/// The way to upstream servers, with a clock on it: what passes here tells the request that it serves when the head of
/// the answer came. Give [`domain::mcp::upstream::Upstreams`] this one.
pub fn clocked(exchange: Arc<dyn Exchange>) -> Arc<dyn Exchange> {
    Arc::new(Clocked(exchange))
}

impl Exchange for Clocked {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>> {
        let sent = self.0.send(request);
        let Ok(trace) = PASSING.try_with(Arc::clone) else { return sent };
        Box::pin(async move {
            let answer = sent.await;
            let mut notes = trace.notes();
            notes.upstream_requests += 1;
            notes.head_at = Some(Instant::now());
            drop(notes);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_taken_over_when_it_is_one() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", value.parse().unwrap());
            trace_id(&headers)
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(read(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        for wrong in ["", "00", "00-xyz-1-01", &format!("00-{}-1-01", "0".repeat(32)), &id.to_uppercase()] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
