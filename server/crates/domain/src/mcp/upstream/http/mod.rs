//! The client over streamable HTTP: what was agreed with a server, and what is asked of it. How it is agreed on is the
//! business of [`handshake`], what is sent that of [`outgoing`], and what comes back that of [`incoming`].

mod agreed;
mod handshake;
mod incoming;
mod outgoing;
mod session;
mod side;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, header};
use tokio::time::{Instant, timeout};

use self::{agreed::Agreements, outgoing::write_call, side::late};
pub(super) use self::{
    agreed::{Agreed, Era},
    incoming::essence,
};
use super::{
    Answer, BreakerState, Call, Method, Patience, ProbeReport, Reply, Session, ToolList, UpstreamError,
    UpstreamSettings,
    guard::{Guard, Ticket},
    link::{OldTransport, Owner, Waiting},
    stream::{Cancel, LEVELS},
};
use crate::mcp::{
    LEGACY, code,
    exchange::{BodyStream, Exchange},
    json,
    tools::{self, DroppedTool},
};

/// The scheme of the made-up address of a server that is a process here.
const LOCAL: &str = "stdio";
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
/// How many handshakes with one server are made at once.
const LOCKS: usize = 16;
/// How long a notification or an answer that nobody waits for may take.
const SIDE_REQUEST: Duration = Duration::from_secs(10);

pub(super) struct Inner {
    exchange: Arc<dyn Exchange>,
    /// The way to a server that speaks only the transport of 2024-11-05, once that is known.
    old: RwLock<Option<Arc<OldTransport>>>,
    is_old: AtomicBool,
    uri: http::Uri,
    headers: HeaderMap,
    pub(super) settings: UpstreamSettings,
    agreed: RwLock<Agreements>,
    /// Held while a handshake is made, so that a hundred calls make one; several, so that clients with sessions of their
    /// own do not wait for each other.
    connecting: [tokio::sync::Mutex<()>; LOCKS],
    pub(super) ids: AtomicU64,
    guard: Guard,
    /// Whether the server is a process of this machine.
    local: bool,
    began: Instant,
    /// When it was last asked for something, milliseconds since `began`.
    used: AtomicU64,
}

/// A client that is forgotten when nobody holds it.
pub(super) type WeakHttp = Weak<Inner>;

/// The client of one server over streamable HTTP. Cheap to clone; clones share what was agreed.
#[derive(Clone)]
pub struct HttpUpstream(pub(super) Arc<Inner>);

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
        headers: HeaderMap,
        settings: UpstreamSettings,
    ) -> Self {
        Self::guarded(exchange, uri, headers, settings, Guard::new(&settings))
    }

    /// The same, behind a guard that others pass too.
    pub(super) fn guarded(
        exchange: Arc<dyn Exchange>,
        uri: http::Uri,
        mut headers: HeaderMap,
        settings: UpstreamSettings,
        guard: Guard,
    ) -> Self {
        for name in NOT_CONFIGURABLE {
            headers.remove(name);
        }
        Self(Arc::new(Inner {
            exchange,
            old: RwLock::default(),
            is_old: AtomicBool::new(false),
            local: uri.scheme_str() == Some(LOCAL),
            uri,
            headers,
            settings,
            agreed: RwLock::default(),
            connecting: core::array::from_fn(|_| tokio::sync::Mutex::default()),
            ids: AtomicU64::new(1),
            guard,
            began: Instant::now(),
            used: AtomicU64::new(0),
        }))
    }

    /// The same, for a server that spoke this revision when it was last asked: what it left unanswered then is not tried
    /// first.
    #[must_use]
    pub fn expecting(self, version: Option<&str>) -> Self {
        if version.is_some_and(|version| LEGACY.contains(&version)) {
            let mut agreements = self.0.agreements();
            agreements.speaks_modern = Some(false);
            agreements.speaks_legacy = true;
        }
        self
    }

    /// The same, for a server that spoke only the transport of 2024-11-05.
    #[must_use]
    pub fn with_old_transport(self, old: bool) -> Self {
        self.0.set_old(old);
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

    /// Ends the sessions that clients share, or all; the next request begins another.
    pub(super) fn rest(&self, all: bool) {
        self.0.agreements().rest(all);
    }

    pub(super) fn weak(&self) -> WeakHttp {
        Arc::downgrade(&self.0)
    }

    pub(super) fn upgrade(weak: &WeakHttp) -> Option<Self> {
        weak.upgrade().map(Self)
    }

    /// Whether the server is a process of this machine.
    pub(super) fn is_local(&self) -> bool {
        self.0.local
    }

    /// Whether others hold this client too.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The revision that was agreed on, once it was.
    pub fn protocol_version(&self) -> Option<&'static str> {
        self.0.current(Session::default()).map(|agreed| agreed.version)
    }

    pub(super) async fn probe(&self, prefix: usize) -> Result<ProbeReport, UpstreamError> {
        let list = self.list_tools(prefix).await?;
        let agreed = self.0.connect(Session::default()).await?;
        Ok(ProbeReport {
            protocol_version: agreed.version,
            old_transport: self.0.is_old.load(Ordering::Relaxed),
            server_name: agreed.server_name.clone(),
            server_version: agreed.server_version.clone(),
            instructions: agreed.instructions.clone(),
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
    /// It goes past the breaker, because only checks list tools.
    async fn page(&self, cursor: Option<&str>) -> Result<Answer, UpstreamError> {
        let mut tries = 0;
        loop {
            let others: Vec<_> = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
            let call = Call { method: Method::ListTools, others: &others, ..Call::default() };
            let outcome = self.request(&call, None, self.0.guard.check()).await;
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
        let level =
            call.log_level.and_then(|level| LEVELS.iter().position(|l| level.trim_matches('"') == *l));
        let ticket = self.0.guard.enter().await?;
        let mut reply = self.request(call, level, ticket).await?;
        if let Reply::Stream(stream) = &mut reply {
            stream.progress = call.progress_token.map(str::to_owned);
            stream.level = level.or(call.logs.then_some(0));
            stream.asks = call.session.asks;
            stream.completions = call.session.legacy && call.session.asks.has_url();
        }
        Ok(reply)
    }

    pub(super) async fn offers(&self, capability: &str) -> Result<bool, UpstreamError> {
        let agreed = self.0.connect(Session::default()).await?;
        Ok(json::get(&agreed.capabilities, capability).is_some_and(|value| value.starts_with('{')))
    }

    pub(super) fn close(&self, client: u128) {
        self.0.agreements().close(client);
    }

    /// Has the server send log messages from this level on, if it does not yet and speaks of levels at all. Sessions that
    /// clients share are only ever made to say more: what a client did not want is left out on its stream.
    async fn set_level(&self, agreed: &Arc<Agreed>, level: usize) {
        let wanted = u8::try_from(level).unwrap_or(u8::MAX);
        if agreed.era != Era::Legacy
            || agreed.level.load(Ordering::Relaxed) <= wanted
            || json::get(&agreed.capabilities, "logging").is_none()
        {
            return;
        }
        agreed.level.store(wanted, Ordering::Relaxed);
        let value = format!("\"{}\"", LEVELS[level]);
        let others = [("level", value.as_str())];
        let call = Call { method: Method::SetLevel, others: &others, ..Call::default() };
        // A server that does not take it still answers the call that is to come.
        let _ = self.once(&call, agreed).await;
    }

    async fn once(&self, call: &Call<'_>, agreed: &Arc<Agreed>) -> Result<Reply, Failure> {
        let id = self.0.ids.fetch_add(1, Ordering::Relaxed);
        let body = write_call(call, agreed, id);
        let name = call.method.subject().map(|_| call.name);
        let mut request = self.0.post(Some(agreed), call.method.as_str(), name, body);
        if agreed.era == Era::Modern {
            request.headers_mut().extend(call.headers.iter().map(|(n, v)| (n.clone(), v.clone())));
        }
        if self.0.is_channel() {
            // Its messages do not say which call they belong to.
            request.extensions_mut().insert(call.session);
        }
        let owner = Owner::of(Some(&call.session));
        if agreed.side.as_ref().is_some_and(|side| side.link().asks_another(owner)) {
            // Another session, then, so that it stays certain whom this one asks. The old one lives on with its call.
            return Err(Failure::Stale(UpstreamError::Protocol("its session waits for an answer")));
        }
        let side = agreed.side.as_ref().map(|side| side.link().expect(id, owner, false));
        let side = side.transpose().map_err(UpstreamError::from)?;
        self.0.exchange(request, Some(agreed), id, self.0.settings.patience(call.timeout), side).await
    }

    /// Sends one request and tells the breaker what came of it.
    async fn request(
        &self,
        call: &Call<'_>,
        level: Option<usize>,
        mut ticket: Ticket,
    ) -> Result<Reply, UpstreamError> {
        self.0.touch();
        match self.sent(call, level).await {
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

    /// Sends one request in the agreed era, beginning anew once if the server has forgotten what was agreed.
    async fn sent(&self, call: &Call<'_>, level: Option<usize>) -> Result<Reply, UpstreamError> {
        let mut agreed = self.0.connect(call.session).await?;
        let mut again = false;
        loop {
            if let Some(level) = level {
                self.set_level(&agreed, level).await;
            }
            match self.once(call, &agreed).await {
                Ok(reply) => return Ok(reply),
                Err(Failure::Stale(error)) if !again => {
                    again = true;
                    self.0.agreements().forget(&agreed, matches!(error, UpstreamError::UnsupportedVersion));
                    let fresh = self.0.connect(call.session).await?;
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
    fn agreements(&self) -> RwLockWriteGuard<'_, Agreements> {
        self.agreed.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn current(&self, session: Session) -> Option<Arc<Agreed>> {
        self.agreed.read().unwrap_or_else(PoisonError::into_inner).find(session)
    }

    /// Drops what was agreed, unless somebody has agreed on something newer.
    pub(super) fn forget(&self, stale: &Arc<Agreed>) {
        self.agreements().forget(stale, true);
    }

    /// Whether one channel carries everything, so that its messages do not say which call they belong to.
    fn is_channel(&self) -> bool {
        self.local || self.is_old.load(Ordering::Relaxed)
    }

    /// The way of requests.
    fn way(&self) -> Arc<dyn Exchange> {
        if self.is_old.load(Ordering::Relaxed)
            && let Some(old) = &*self.old.read().unwrap_or_else(PoisonError::into_inner)
        {
            return Arc::clone(old) as Arc<dyn Exchange>;
        }
        Arc::clone(&self.exchange)
    }

    /// From now on the transport of 2024-11-05 is used, or not any more.
    fn set_old(&self, old: bool) {
        let way = old.then(|| {
            let (uri, headers) = (self.uri.clone(), self.headers.clone());
            let (most, patience) = (self.settings.max_bytes, self.settings.first_byte);
            OldTransport::new(Arc::clone(&self.exchange), uri, headers, most, patience)
        });
        *self.old.write().unwrap_or_else(PoisonError::into_inner) = way;
        self.is_old.store(old, Ordering::Relaxed);
        let mut agreements = self.agreements();
        if old {
            (agreements.speaks_modern, agreements.speaks_legacy) = (Some(false), true);
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    pub(super) async fn head(
        &self,
        request: http::Request<Bytes>,
        patience: Duration,
    ) -> Result<http::Response<BodyStream>, UpstreamError> {
        match timeout(patience, self.way().send(request)).await {
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
        side: Option<Waiting>,
    ) -> Result<Reply, Failure> {
        let mut cancel = Cancel::new(self, agreed, id);
        if let Some(side) = side {
            return self.exchange_beside(request, agreed, id, patience, side, cancel).await;
        }
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

    /// The same in a session with a stream beside: the server may ask there before it begins to answer.
    async fn exchange_beside(
        self: &Arc<Self>,
        request: http::Request<Bytes>,
        agreed: Option<&Arc<Agreed>>,
        id: u64,
        patience: Patience,
        mut side: Waiting,
        mut cancel: Cancel,
    ) -> Result<Reply, Failure> {
        let upstream = Arc::clone(self);
        let mut head: BoxFuture<'static, _> =
            Box::pin(async move { upstream.way().send(request).await.map_err(UpstreamError::from) });
        let first = timeout(patience.first_byte, async {
            tokio::select! {
                response = &mut head => Ok(response),
                message = side.next() => Err(message),
            }
        });
        let outcome = match first.await {
            Err(_) => return Err(UpstreamError::Timeout(patience.first_byte).into()),
            Ok(Ok(Ok(response))) => self.receive(response, agreed, id, patience).await,
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Err(Err(error))) => Err(UpstreamError::from(error).into()),
            Ok(Err(Ok(message))) => {
                let mut stream = self.stream(agreed, id, patience, late(head, self.settings.max_bytes));
                stream.early = Some(message);
                Ok(Reply::Stream(Box::new(stream)))
            }
        };
        if let Ok(Reply::Stream(mut stream)) = outcome {
            stream.cancel = cancel;
            stream.side = Some(side);
            return Ok(Reply::Stream(stream));
        }
        cancel.not_needed();
        outcome
    }

    /// Sends something that nobody waits for.
    pub(super) fn aside(self: &Arc<Self>, agreed: &Arc<Agreed>, method: &'static str, body: String) {
        // Without a runtime, as in a process that is going down, there is nobody to do it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let request = self.post(Some(agreed), method, None, body);
        let upstream = Arc::clone(self);
        runtime.spawn(async move {
            let _ = timeout(SIDE_REQUEST, upstream.way().send(request)).await;
        });
    }
}
