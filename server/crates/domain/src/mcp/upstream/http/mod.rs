//! The client over streamable HTTP: what was agreed with a server, and what is asked of it. How it is agreed on is the
//! business of [`handshake`], what is sent that of [`outgoing`], and what comes back that of [`incoming`].

mod handshake;
mod incoming;
mod outgoing;
mod session;

use std::{
    fmt::Write as _,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::{Instant, timeout};

use self::{
    outgoing::{push_members, write_meta},
    session::Session,
};
use super::{
    Answer, BreakerState, Call, Patience, ProbeReport, Reply, ToolList, UpstreamError, UpstreamSettings,
    guard::{Guard, Ticket},
    stream::{Cancel, LEVELS},
};
use crate::mcp::{
    LEGACY, code,
    exchange::{BodyStream, Exchange},
    json,
    tools::{self, DroppedTool},
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// What HTTP decides about a message: no connector may.
const NOT_CONFIGURABLE: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Pages of `tools/list` that are followed.
const MAX_PAGES: usize = 64;
/// How long a notification or an answer that nobody waits for may take.
const SIDE_REQUEST: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    Modern,
    Legacy,
}

/// What was agreed with a server.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) era: Era,
    version: &'static str,
    session: Option<Session>,
    server_name: Option<String>,
    server_version: Option<String>,
}

pub(super) struct Inner {
    exchange: Arc<dyn Exchange>,
    uri: http::Uri,
    headers: HeaderMap,
    pub(super) settings: UpstreamSettings,
    agreed: RwLock<Option<Arc<Agreed>>>,
    /// Held while a handshake is made, so that a hundred calls make one.
    connecting: tokio::sync::Mutex<()>,
    /// The era that was agreed on before: asked for first, so that a server that leaves the other unanswered costs its
    /// time-out once.
    before: RwLock<Option<Era>>,
    ids: AtomicU64,
    guard: Guard,
    began: Instant,
    /// When it was last asked for something, milliseconds since `began`.
    used: AtomicU64,
}

/// The client of one server over streamable HTTP. Cheap to clone; clones share what was agreed.
#[derive(Clone)]
pub struct HttpUpstream(Arc<Inner>);

impl core::fmt::Debug for HttpUpstream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Its headers are secrets, and so may be its path.
        f.debug_struct("HttpUpstream").field("host", &self.0.uri.host()).finish_non_exhaustive()
    }
}

/// Why an exchange gave no answer, for the decision whether to begin anew.
enum Failure {
    /// The server does not know the session, or speaks another era than was agreed: it did nothing.
    Stale(UpstreamError),
    Final(UpstreamError),
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Self::Final(error)
    }
}

impl Failure {
    fn error(self) -> UpstreamError {
        match self {
            Self::Stale(error) | Self::Final(error) => error,
        }
    }
}

impl HttpUpstream {
    /// A client that has not connected yet. `headers` are the connector's own: the only credentials that the server
    /// ever sees (RSV-07).
    pub fn new(
        exchange: Arc<dyn Exchange>,
        uri: http::Uri,
        mut headers: HeaderMap,
        settings: UpstreamSettings,
    ) -> Self {
        for name in NOT_CONFIGURABLE {
            headers.remove(name);
        }
        Self(Arc::new(Inner {
            exchange,
            uri,
            headers,
            settings,
            agreed: RwLock::new(None),
            connecting: tokio::sync::Mutex::new(()),
            before: RwLock::new(None),
            ids: AtomicU64::new(1),
            guard: Guard::new(&settings),
            began: Instant::now(),
            used: AtomicU64::new(0),
        }))
    }

    /// The same, for a server that spoke this revision when it was last asked.
    #[must_use]
    pub fn expecting(self, version: Option<&str>) -> Self {
        if version.is_some_and(|version| LEGACY.contains(&version)) {
            self.0.remember(Some(Era::Legacy));
        }
        self
    }

    /// Whether the server is asked just now.
    pub(super) fn breaker(&self) -> BreakerState {
        self.0.guard.state()
    }

    /// For how long nobody has asked anything; nothing while somebody does.
    pub(super) fn unused(&self) -> Option<Duration> {
        let used = Duration::from_millis(self.0.used.load(Ordering::Relaxed));
        (self.0.guard.running() == 0).then(|| self.0.began.elapsed().saturating_sub(used))
    }

    /// Ends the session, if there is one; the next request begins another.
    pub(super) fn rest(&self) {
        let mut agreed = self.0.agreed.write().unwrap_or_else(PoisonError::into_inner);
        if agreed.as_ref().is_some_and(|agreed| agreed.session.is_some()) {
            *agreed = None;
        }
    }

    /// Whether other upstreams share this one.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The revision that was agreed on, once it was.
    pub fn protocol_version(&self) -> Option<&'static str> {
        self.0.current().map(|agreed| agreed.version)
    }

    pub(super) async fn probe(&self, prefix: usize) -> Result<ProbeReport, UpstreamError> {
        let list = self.list_tools(prefix).await?;
        let agreed = self.0.connect().await?;
        Ok(ProbeReport {
            protocol_version: agreed.version,
            server_name: agreed.server_name.clone(),
            server_version: agreed.server_version.clone(),
            list,
        })
    }

    pub(super) async fn list_tools(&self, prefix: usize) -> Result<ToolList, UpstreamError> {
        let mut list = ToolList::default();
        let (mut cursor, mut bytes) = (None::<String>, 0);
        for _ in 0..MAX_PAGES {
            let answer = self.page(cursor.as_deref()).await?;
            match answer.error {
                // A server without tools is one with no tools.
                Some(code::METHOD_NOT_FOUND) if list.tools.is_empty() => return Ok(list),
                Some(code) => return Err(UpstreamError::Refused(code)),
                None => {}
            }
            bytes += answer.value.len();
            if bytes > self.0.settings.max_bytes {
                return Err(UpstreamError::TooLarge(self.0.settings.max_bytes));
            }
            let tools = json::get(answer.text(), "tools").filter(|tools| tools.starts_with('['));
            for raw in json::elements(tools.ok_or(UpstreamError::Protocol("its list of tools is none"))?) {
                match tools::definition(raw, prefix) {
                    Ok(tool) if list.tools.iter().any(|other| other.name == tool.name) => {
                        list.dropped
                            .push(DroppedTool { name: tool.name, reason: "another tool has its name" });
                    }
                    Ok(tool) => list.tools.push(tool),
                    Err(dropped) => {
                        tracing::warn!(tool.name = %dropped.name, reason = dropped.reason, "tool of an upstream server dropped");
                        list.dropped.push(dropped);
                    }
                }
            }
            let next = json::get(answer.text(), "nextCursor").filter(|next| next.starts_with('"'));
            match next {
                None => return Ok(list),
                Some(next) => cursor = Some(next.to_owned()),
            }
        }
        Err(UpstreamError::Protocol("its list of tools does not end"))
    }

    /// One page of `tools/list`. A server that fails is asked again twice (UPS-07): listing changes nothing.
    /// It goes past the breaker, because only checks list.
    async fn page(&self, cursor: Option<&str>) -> Result<Answer, UpstreamError> {
        let mut tries = 0;
        loop {
            let outcome = self
                .ask(self.0.guard.check(), "tools/list", None, &[], None, |body, agreed, id| {
                    if let Some(cursor) = cursor {
                        let _ = write!(body, r#""cursor":{cursor},"#);
                    }
                    write_meta(body, agreed, &Call::default(), id);
                })
                .await;
            let outcome = match outcome {
                Ok(reply) => reply.finish().await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(UpstreamError::Failed(_)) if tries < 2 => tries += 1,
                other => return other,
            }
            // Apart from others that failed at the same moment.
            let apart = RandomState::new().hash_one(tries) % 150;
            tokio::time::sleep(Duration::from_millis(150 * tries + apart)).await;
        }
    }

    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Reply, UpstreamError> {
        let ticket = self.0.guard.enter().await?;
        let mut reply = self
            .ask(ticket, "tools/call", Some(call.tool), call.headers, call.timeout, |body, agreed, id| {
                body.push_str(r#""name":"#);
                body.push_str(&json::quoted(call.tool));
                if let Some(arguments) = call.arguments {
                    body.push_str(r#","arguments":"#);
                    body.push_str(arguments);
                }
                push_members(body, call.others);
                body.push(',');
                write_meta(body, agreed, call, id);
            })
            .await?;
        if let Reply::Stream(stream) = &mut reply {
            stream.progress = call.progress_token.map(str::to_owned);
            stream.level = match call.log_level {
                Some(level) => LEVELS.iter().position(|l| level.trim_matches('"') == *l),
                None => call.logs.then_some(0),
            };
        }
        Ok(reply)
    }

    /// Sends one request in the agreed era, beginning anew once if the server has forgotten what was agreed.
    /// `write` writes the members of `params`.
    async fn ask(
        &self,
        mut ticket: Ticket,
        method: &'static str,
        name: Option<&str>,
        headers: &[(HeaderName, HeaderValue)],
        timeout: Option<Duration>,
        write: impl Fn(&mut String, &Agreed, u64),
    ) -> Result<Reply, UpstreamError> {
        self.0.touch();
        let patience = self.0.settings.patience(timeout);
        match self.sent(method, name, headers, patience, write).await {
            Ok(Reply::Stream(mut stream)) => {
                stream.ticket = Some(ticket);
                Ok(Reply::Stream(stream))
            }
            Ok(answer) => {
                ticket.good();
                Ok(answer)
            }
            Err(error) => {
                ticket.failed(&error);
                Err(error)
            }
        }
    }

    async fn sent(
        &self,
        method: &'static str,
        name: Option<&str>,
        headers: &[(HeaderName, HeaderValue)],
        patience: Patience,
        write: impl Fn(&mut String, &Agreed, u64),
    ) -> Result<Reply, UpstreamError> {
        let mut agreed = self.0.connect().await?;
        let mut again = false;
        loop {
            let id = self.0.ids.fetch_add(1, Ordering::Relaxed);
            let mut body = String::with_capacity(512);
            let _ = write!(body, r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"#);
            write(&mut body, &agreed, id);
            body.push_str("}}");
            let mut request = self.0.post(Some(&agreed), method, name, body);
            if agreed.era == Era::Modern {
                request.headers_mut().extend(headers.iter().map(|(n, v)| (n.clone(), v.clone())));
            }
            match self.0.exchange(request, Some(&agreed), id, patience).await {
                Ok(reply) => return Ok(reply),
                Err(Failure::Stale(error)) if !again => {
                    again = true;
                    if matches!(error, UpstreamError::UnsupportedVersion) {
                        self.0.remember(None);
                    }
                    self.0.forget(&agreed);
                    let fresh = self.0.connect().await?;
                    if fresh.era == agreed.era && fresh.era == Era::Modern {
                        // The same server, and it refuses all the same.
                        return Err(error);
                    }
                    agreed = fresh;
                }
                Err(failure) => return Err(failure.error()),
            }
        }
    }
}

impl Inner {
    fn current(&self) -> Option<Arc<Agreed>> {
        self.agreed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops what was agreed, unless somebody has agreed on something newer.
    fn forget(&self, stale: &Arc<Agreed>) {
        let mut agreed = self.agreed.write().unwrap_or_else(PoisonError::into_inner);
        if agreed.as_ref().is_some_and(|current| Arc::ptr_eq(current, stale)) {
            *agreed = None;
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    fn remember(&self, era: Option<Era>) {
        *self.before.write().unwrap_or_else(PoisonError::into_inner) = era;
    }

    async fn head(
        &self,
        request: http::Request<Bytes>,
        patience: Duration,
    ) -> Result<http::Response<BodyStream>, UpstreamError> {
        match timeout(patience, self.exchange.send(request)).await {
            Ok(response) => Ok(response?),
            Err(_) => Err(UpstreamError::Timeout(patience)),
        }
    }

    /// Sends a request and reads the answer's beginning. Whoever drops the future or the stream cancels the call.
    async fn exchange(
        self: &Arc<Self>,
        request: http::Request<Bytes>,
        agreed: Option<&Arc<Agreed>>,
        id: u64,
        patience: Patience,
    ) -> Result<Reply, Failure> {
        let mut cancel = Cancel::new(self, agreed, id);
        let outcome = match self.head(request, patience.first_byte).await {
            Ok(response) => self.receive(response, agreed, id, patience).await,
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(Reply::Stream(mut stream)) => {
                stream.cancel = cancel;
                Ok(Reply::Stream(stream))
            }
            // The server may still be at work.
            Err(Failure::Final(UpstreamError::Timeout(_))) => outcome,
            _ => {
                cancel.not_needed();
                outcome
            }
        }
    }

    /// Sends something that nobody waits for.
    pub(super) fn aside(self: &Arc<Self>, agreed: &Arc<Agreed>, method: &'static str, body: String) {
        // Without a runtime, as in a process that is going down, there is nobody to do it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let request = self.post(Some(agreed), method, None, body);
        let upstream = Arc::clone(self);
        runtime.spawn(async move {
            let _ = timeout(SIDE_REQUEST, upstream.exchange.send(request)).await;
        });
    }
}
