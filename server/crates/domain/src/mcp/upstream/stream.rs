//! An answer that comes as an event stream, and what becomes of a call that nobody waits for any more.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::HeaderValue;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Answer, CallEvent, Patience, Question, UpstreamError,
    guard::Ticket,
    http::{Agreed, Era, Inner, essence},
    link::Waiting,
};
use crate::{
    mcp::{
        asks::{Asks, LIST_ROOTS},
        envelope::{incoming, is_id},
        exchange::BodyStream,
        json,
        sse::Decoder,
    },
    net::NetError,
};

/// Requests of a server in the middle of a call that are answered; the rest is dropped.
const MAX_ASKED: u8 = 64;
/// How long to wait before a stream is resumed, unless the server says so, and at most.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How often in a row it is tried.
const MAX_RESUMED: u8 = 5;
/// The answer to a question that is not passed on.
const REFUSED: &str = r#""error":{"code":-32601,"message":"The client cannot be asked this"}"#;
/// The levels of log messages, least severe first.
pub const LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Tells a legacy server that its answer is no longer wanted. In the modern era the end of the connection says so.
#[derive(Default)]
pub(super) struct Cancel(Option<(Arc<Inner>, Arc<Agreed>, u64)>);

impl Cancel {
    pub(super) fn new(upstream: &Arc<Inner>, agreed: Option<&Arc<Agreed>>, id: u64) -> Self {
        let legacy = agreed.filter(|agreed| agreed.era == Era::Legacy);
        Self(legacy.map(|agreed| (Arc::clone(upstream), Arc::clone(agreed), id)))
    }

    pub(super) fn not_needed(&mut self) {
        self.0 = None;
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some((upstream, agreed, id)) = self.0.take() {
            let body = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"the client went away"}}}}"#
            );
            upstream.aside(&agreed, "notifications/cancelled", body);
        }
    }
}

enum Next {
    Chunk(Option<Result<Bytes, NetError>>),
    Beside(Result<Bytes, NetError>),
}

/// What comes first, on the call's own stream or beside it. Cancel-safe.
async fn beside(side: &mut Option<Waiting>, body: &mut BodyStream) -> Next {
    match side {
        None => Next::Chunk(body.next().await),
        Some(side) => tokio::select! {
            biased;
            chunk = body.next() => Next::Chunk(chunk),
            message = side.next() => Next::Beside(message),
        },
    }
}

/// An answer that arrives as a stream. Dropping it before its end cancels the call.
pub struct CallStream {
    pub(super) upstream: Arc<Inner>,
    pub(super) agreed: Option<Arc<Agreed>>,
    pub(super) body: BodyStream,
    pub(super) decoder: Decoder,
    pub(super) patience: Patience,
    /// When patience ends; progress puts it off, to `last` at most.
    pub(super) deadline: Instant,
    pub(super) last: Instant,
    pub(super) id: String,
    /// The client's progress token.
    pub(super) progress: Option<String>,
    /// The least severe level of log messages that is passed on; nothing passes none.
    pub(super) level: Option<usize>,
    pub(super) asked: u8,
    /// What the client can be asked.
    pub(super) asks: Asks,
    /// Whether the client hears that a page was dealt with that it was asked to open (2025-11-25).
    pub(super) completions: bool,
    /// Whether it is no call, but a stream of news: every notification is passed on, and silence is no fault.
    pub(super) listening: bool,
    /// Questions that the client has not answered, and since when. Meanwhile no time runs out: a person is thinking.
    pub(super) open: Option<(u16, Instant)>,
    pub(super) cancel: Cancel,
    /// Set while the stream is broken off and to be resumed: how often in a row, and when.
    pub(super) broken: Option<(u8, Instant)>,
    /// What comes for it on the stream beside the calls of its session.
    pub(super) side: Option<Waiting>,
    /// What came there before the answer began.
    pub(super) early: Option<Bytes>,
    /// Its place among the requests of its connector.
    pub(super) ticket: Option<Ticket>,
}

impl core::fmt::Debug for CallStream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CallStream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl CallStream {
    /// The next notification to pass on, or the answer, which is the last. Cancel-safe: nothing is lost when the
    /// future is dropped.
    ///
    /// # Errors
    /// When the server is silent for too long, breaks off, or sends what is no answer.
    pub async fn next(&mut self) -> Result<CallEvent, UpstreamError> {
        let next = self.read().await;
        let ended = match &next {
            Ok(CallEvent::Answer(_)) => None,
            Ok(_) => return next,
            Err(error) => Some(error),
        };
        if let Some(mut ticket) = self.ticket.take() {
            match ended {
                None => ticket.good(),
                Some(error) => ticket.failed(error),
            }
        }
        next
    }

    async fn read(&mut self) -> Result<CallEvent, UpstreamError> {
        let settings = self.upstream.settings;
        if let Some(message) = self.early.take()
            && let Some(event) = self.event(message)?
        {
            return Ok(event);
        }
        loop {
            while let Some(event) =
                self.decoder.take().map_err(|_| UpstreamError::TooLarge(settings.max_bytes))?
            {
                if event.kind.is_some() || event.data.is_empty() {
                    continue;
                }
                if let Some(event) = self.event(event.data)? {
                    return Ok(event);
                }
            }
            if let Some((times, at)) = self.broken {
                self.resume(times, at).await?;
            }
            let idle = Instant::now() + self.patience.idle;
            let next = beside(&mut self.side, &mut self.body);
            let chunk = if self.listening || self.open.is_some() {
                Ok(next.await)
            } else {
                timeout_at(idle.min(self.deadline), next).await
            };
            let chunk = match chunk {
                Ok(Next::Beside(message)) => {
                    if let Some(event) = self.event(message?)? {
                        return Ok(event);
                    }
                    continue;
                }
                Ok(Next::Chunk(chunk)) => Ok(chunk),
                Err(late) => Err(late),
            };
            let wait = if idle < self.deadline { self.patience.idle } else { self.patience.total };
            match chunk {
                Err(_) => return Err(UpstreamError::Timeout(wait)),
                Ok(Some(Ok(chunk))) => self.decoder.push(&chunk),
                // Where it can be resumed the call still runs.
                Ok(_) if self.is_resumable() => self.break_off(0),
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => {
                    self.cancel.not_needed();
                    return Err(UpstreamError::Protocol("it ended the stream without an answer"));
                }
            }
        }
    }

    /// Whether the server has given a place from which its stream can be resumed (2025-11-25, transports): it may end a
    /// stream whenever it likes then, and the answer comes on another.
    fn is_resumable(&self) -> bool {
        !self.listening
            && self.decoder.last_id().is_some()
            && self.agreed.as_ref().is_some_and(|agreed| agreed.era == Era::Legacy)
    }

    fn break_off(&mut self, times: u8) {
        let wait = self.decoder.retry().unwrap_or(RETRY).min(LONGEST_RETRY);
        self.decoder.begin_again();
        self.broken = Some((times, Instant::now() + wait));
    }

    /// Asks for the rest of the stream. Cancel-safe: it is asked for again.
    async fn resume(&mut self, times: u8, at: Instant) -> Result<(), UpstreamError> {
        let ended = UpstreamError::Protocol("it ended the stream without an answer");
        let Some(agreed) = self.agreed.clone().filter(|_| times < MAX_RESUMED) else { return Err(ended) };
        if self.open.is_some() {
            sleep_until(at).await;
        } else if timeout_at(self.deadline, sleep_until(at)).await.is_err() {
            return Err(UpstreamError::Timeout(self.patience.total));
        }
        let mut request = self.upstream.stream_request(&agreed);
        if let Some(id) = self.decoder.last_id().and_then(|id| HeaderValue::from_str(id).ok()) {
            request.headers_mut().insert("last-event-id", id);
        }
        let response = self.upstream.head(request, self.patience.first_byte).await;
        match response {
            Ok(response)
                if response.status().is_success() && essence(response.headers()) == "text/event-stream" =>
            {
                self.body = response.into_body();
                self.broken = None;
                Ok(())
            }
            // The server may be on its way down and up again.
            Err(UpstreamError::Net(_)) => {
                self.break_off(times + 1);
                Ok(())
            }
            Ok(_) | Err(_) => Err(ended),
        }
    }

    fn event(&mut self, data: Bytes) -> Result<Option<CallEvent>, UpstreamError> {
        let broken = UpstreamError::Protocol("its stream has something else than JSON-RPC messages");
        let text = std::str::from_utf8(&data).map_err(|_| broken.clone())?;
        let message = incoming(text).ok_or(broken)?;
        let Some(method) = &message.method else {
            // Answers to other requests are nobody's (UPS-06).
            let Some(answer) = Answer::read(&data, &self.id) else { return Ok(None) };
            self.cancel.not_needed();
            return Ok(Some(CallEvent::Answer(answer)));
        };
        match (message.id, method.as_ref()) {
            (Some(id), method) => Ok(self.asked(id, method, message.params.unwrap_or("{}"), &data)),
            (None, _) if self.listening => Ok(Some(CallEvent::Notification(data.clone()))),
            (None, "notifications/progress") => {
                // Progress of another call, or unasked for.
                let at = message.progress_token.filter(|at| text[at.clone()] == self.id);
                if at.is_some() {
                    self.deadline = (Instant::now() + self.patience.total).min(self.last);
                }
                let (Some(at), Some(token)) = (at, &self.progress) else { return Ok(None) };
                let mut out = BytesMut::with_capacity(data.len() + token.len());
                out.extend_from_slice(&data[..at.start]);
                out.extend_from_slice(token.as_bytes());
                out.extend_from_slice(&data[at.end..]);
                Ok(Some(CallEvent::Notification(out.freeze())))
            }
            (None, "notifications/message") => {
                let level = message.params.and_then(|p| json::get(p, "level")).unwrap_or_default();
                let level = LEVELS.iter().position(|l| level.trim_matches('"') == *l).unwrap_or(LEVELS.len());
                let wanted = self.level.is_some_and(|least| level >= least);
                Ok(wanted.then_some(CallEvent::Notification(data)))
            }
            (None, "notifications/elicitation/complete") if self.completions => {
                Ok(Some(CallEvent::Notification(data)))
            }
            // Others do not concern the call; their news are looked for by polling.
            (None, _) => Ok(None),
        }
    }

    /// A request of the server: a question to the client, if the client has said that it can be asked so (UPS-11). Others
    /// are answered here, so that the server does not wait for ever.
    fn asked(&mut self, id: &str, method: &str, params: &str, data: &Bytes) -> Option<CallEvent> {
        self.asked = self.asked.saturating_add(1);
        if self.agreed.as_ref().is_none_or(|a| a.era != Era::Legacy) || self.asked > MAX_ASKED || !is_id(id) {
            return None;
        }
        if method == "ping" {
            self.reply(id, r#""result":{}"#);
            return None;
        }
        if let Some(method) = self.asks.allow(method, params) {
            if let Some(agreed) = self.agreed.as_ref().filter(|_| method == LIST_ROOTS) {
                agreed.asked_roots.store(true, Ordering::Relaxed);
            }
            // The parameters are a part of the message, unless there are none.
            let params =
                if params == "{}" { Bytes::from_static(b"{}") } else { data.slice_ref(params.as_bytes()) };
            // While a person is thinking it takes no place among the requests to the server.
            if let Some(mut ticket) = self.ticket.take() {
                ticket.good();
            }
            let (count, since) = self.open.unwrap_or((0, Instant::now()));
            self.open = Some((count + 1, since));
            return Some(CallEvent::Request(Question { id: id.to_owned(), method, params }));
        }
        tracing::info!(method, "request of an upstream server refused: the client did not declare it");
        self.reply(id, REFUSED);
        None
    }

    /// Answers a question of the server: `outcome` is the member `"result":…` or `"error":…`.
    pub fn answer(&mut self, id: &str, outcome: &str) {
        if self.listening {
            // It has no end, so what counts is what is open.
            self.asked = self.asked.saturating_sub(1);
        }
        if let Some((count, since)) = self.open {
            self.open = (count > 1).then_some((count - 1, since));
            if self.open.is_none() {
                self.deadline += since.elapsed();
                self.last += since.elapsed();
            }
        }
        if let Some(side) = self.agreed.as_ref().and_then(|agreed| agreed.side.as_ref()) {
            side.link().answered(id);
        }
        self.reply(id, outcome);
    }

    /// Tells the server that its question is not answered.
    pub fn refuse(&mut self, id: &str) {
        self.answer(id, REFUSED);
    }

    /// With which token progress is told from now on.
    pub fn set_progress_token(&mut self, token: Option<&str>) {
        self.progress = token.map(str::to_owned);
    }

    fn reply(&self, id: &str, outcome: &str) {
        let Some(agreed) = &self.agreed else { return };
        self.upstream.aside(agreed, "", format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#));
    }
}
