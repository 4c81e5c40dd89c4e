//! The client over streamable HTTP: agreeing on an era, sending, and telling answers from everything else.

use std::{
    borrow::Cow,
    fmt::Write as _,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Answer, Call, ProbeReport, Reply, ToolList, UpstreamError, UpstreamSettings,
    stream::{CallStream, Cancel, LEVELS},
};
use crate::mcp::{
    IMPLEMENTATION, LEGACY, MODERN, code,
    envelope::Raw,
    exchange::{BodyStream, Exchange},
    header as wire, json, meta,
    sse::Decoder,
    tools::{self, DroppedTool},
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

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
/// How much of an error's body is read; it is looked into, never shown.
const ERROR_BODY: usize = 64 << 10;
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
    session: Option<HeaderValue>,
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
    ids: AtomicU64,
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

fn essence(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads a body to its end, at most `cap` bytes.
async fn read(
    mut body: BodyStream,
    cap: usize,
    deadline: Instant,
    total: Duration,
) -> Result<Bytes, UpstreamError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let chunk = timeout_at(deadline, body.next()).await.map_err(|_| UpstreamError::Timeout(total))?;
        let Some(chunk) = chunk else { break };
        let chunk = chunk?;
        if first.len() + all.len() + chunk.len() > cap {
            return Err(UpstreamError::TooLarge(cap));
        }
        // Most answers are one chunk, which is then not copied.
        if first.is_empty() && all.is_empty() {
            first = chunk;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&chunk);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// A short text of a server about itself.
fn label(object: Option<&str>, name: &str) -> Option<String> {
    let text = json::string(json::get(object?, name)?)?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(128).collect();
    (!text.is_empty()).then_some(text)
}

fn push_members(out: &mut String, members: &[Raw<'_>]) {
    for (key, value) in members {
        let _ = write!(out, r#","{key}":{value}"#);
    }
}

/// The client's capabilities without those that would make the server ask the client something: Gatehouse cannot carry
/// the question yet, and a server that knows so can do without or refuse at once.
fn carried(capabilities: Option<&str>) -> Cow<'_, str> {
    const ASKING: [&str; 4] = ["elicitation", "sampling", "roots", "tasks"];
    const TASKS: &str = "io.modelcontextprotocol/tasks";
    let Some(raw) = capabilities.filter(|c| c.starts_with('{')) else { return Cow::Borrowed("{}") };
    if json::members(raw).next().is_none() {
        return Cow::Borrowed("{}");
    }
    let without = |object: &str, names: &[&str]| {
        let kept: Vec<_> = json::members(object)
            .filter(|(key, ..)| !names.iter().any(|name| key.is(name)))
            .map(|(_, _, at)| object[at].to_owned())
            .collect();
        format!("{{{}}}", kept.join(","))
    };
    let kept = without(raw, &ASKING);
    Cow::Owned(match json::get(&kept, "extensions") {
        Some(extensions) if extensions.contains("tasks") => {
            let fewer = without(extensions, &[TASKS]);
            let rest = without(&kept, &["extensions"]);
            match rest.strip_suffix('}') {
                Some("{") | None => format!(r#"{{"extensions":{fewer}}}"#),
                Some(open) => format!(r#"{open},"extensions":{fewer}}}"#),
            }
        }
        _ => kept,
    })
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
            ids: AtomicU64::new(1),
        }))
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
    async fn page(&self, cursor: Option<&str>) -> Result<Answer, UpstreamError> {
        let mut tries = 0;
        loop {
            let outcome = self
                .request("tools/list", None, &[], |body, agreed, id| {
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
            tokio::time::sleep(Duration::from_millis(150 * tries)).await;
        }
    }

    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Reply, UpstreamError> {
        let mut reply = self
            .request("tools/call", Some(call.tool), call.headers, |body, agreed, id| {
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
    async fn request(
        &self,
        method: &'static str,
        name: Option<&str>,
        headers: &[(HeaderName, HeaderValue)],
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
            match self.0.exchange(request, Some(&agreed), id, self.0.settings.first_byte).await {
                Ok(reply) => return Ok(reply),
                Err(Failure::Stale(error)) if !again => {
                    again = true;
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

/// Writes `"_meta":{…}`: what the era demands, what the call brings, and our own progress token.
fn write_meta(body: &mut String, agreed: &Agreed, call: &Call<'_>, id: u64) {
    body.push_str(r#""_meta":{"#);
    let start = body.len();
    if agreed.era == Era::Modern {
        let _ = write!(
            body,
            r#","{}":"{}","{}":{IMPLEMENTATION},"{}":{}"#,
            meta::PROTOCOL_VERSION,
            agreed.version,
            meta::CLIENT_INFO,
            meta::CLIENT_CAPABILITIES,
            carried(call.capabilities)
        );
        if let Some(level) = call.log_level {
            let _ = write!(body, r#","{}":{level}"#, meta::LOG_LEVEL);
        }
    }
    if call.progress_token.is_some() {
        let _ = write!(body, r#","{}":{id}"#, meta::PROGRESS_TOKEN);
    }
    push_members(body, call.meta);
    if body.len() > start {
        body.remove(start);
    }
    body.push('}');
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

    async fn connect(self: &Arc<Self>) -> Result<Arc<Agreed>, UpstreamError> {
        if let Some(agreed) = self.current() {
            return Ok(agreed);
        }
        // The one lock that is held across an await: whoever waits for it has nothing to do without its outcome.
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(agreed) = self.current() {
            return Ok(agreed);
        }
        let agreed = Arc::new(self.negotiate().await?);
        *self.agreed.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&agreed));
        Ok(agreed)
    }

    /// Modern first, then legacy: only a result or an error of the modern era proves the modern era.
    async fn negotiate(self: &Arc<Self>) -> Result<Agreed, UpstreamError> {
        match self.discover().await {
            Ok(Some(agreed)) => return Ok(agreed),
            // These would be the same again.
            Err(
                error @ (UpstreamError::Net(_)
                | UpstreamError::NeedsAuth { status: 401, .. }
                | UpstreamError::Redirect
                | UpstreamError::Busy { .. }
                | UpstreamError::UnsupportedVersion),
            ) => return Err(error),
            Ok(None) | Err(_) => {}
        }
        match self.initialize().await {
            Err(
                error @ (UpstreamError::WebPage
                | UpstreamError::NotMcp(_)
                | UpstreamError::Refused(_)
                | UpstreamError::Protocol(_)),
            ) => {
                if self.offers_old_transport().await {
                    Err(UpstreamError::OldTransport)
                } else {
                    Err(error)
                }
            }
            other => other,
        }
    }

    async fn discover(self: &Arc<Self>) -> Result<Option<Agreed>, UpstreamError> {
        let modern = |server_name, server_version| Agreed {
            era: Era::Modern,
            version: MODERN,
            session: None,
            server_name,
            server_version,
        };
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut params = String::new();
        write_meta(&mut params, &modern(None, None), &Call::default(), id);
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{{{params}}}}}"#);
        let request = self.post(Some(&modern(None, None)), "server/discover", None, body);
        let reply = self.exchange(request, None, id, self.settings.probe).await.map_err(Failure::error)?;
        let answer = reply.finish().await?;
        let versions = |list: Option<&str>, version: &str| {
            json::elements(list.unwrap_or_default()).filter_map(json::string).any(|v| v == version)
        };
        let text = answer.text();
        match answer.error {
            None => {
                let supported = json::get(text, "supportedVersions");
                if supported.is_some() && !versions(supported, MODERN) {
                    return if LEGACY.iter().any(|v| versions(supported, v)) {
                        Ok(None)
                    } else {
                        Err(UpstreamError::UnsupportedVersion)
                    };
                }
                let info = json::get(text, "_meta")
                    .and_then(|m| json::get(m, meta::SERVER_INFO))
                    .or_else(|| json::get(text, "serverInfo"));
                Ok(Some(modern(label(info, "name"), label(info, "version"))))
            }
            Some(code::UNSUPPORTED_VERSION) => {
                let supported = json::get(text, "data").and_then(|data| json::get(data, "supported"));
                if LEGACY.iter().any(|v| versions(supported, v)) {
                    Ok(None)
                } else {
                    Err(UpstreamError::UnsupportedVersion)
                }
            }
            Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY) => Ok(Some(modern(None, None))),
            Some(_) => Ok(None),
        }
    }

    async fn initialize(self: &Arc<Self>) -> Result<Agreed, UpstreamError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{IMPLEMENTATION}}}}}"#,
            LEGACY[0]
        );
        let request = self.post(None, "initialize", None, body);
        let response = self.head(request, self.settings.first_byte).await?;
        let session = response.headers().get(&SESSION_ID).cloned();
        if session.as_ref().is_some_and(|id| !id.as_bytes().iter().all(u8::is_ascii_graphic)) {
            return Err(UpstreamError::Protocol("its session id has forbidden characters"));
        }
        let reply = self.receive(response, None, id).await.map_err(Failure::error)?;
        let answer = reply.finish().await?;
        if let Some(code) = answer.error {
            return Err(UpstreamError::Refused(code));
        }
        let text = answer.text();
        let version = json::get(text, "protocolVersion")
            .and_then(json::string)
            .ok_or(UpstreamError::Protocol("its handshake names no version"))?;
        let version =
            LEGACY.iter().find(|v| **v == version).copied().ok_or(UpstreamError::UnsupportedVersion)?;
        let info = json::get(text, "serverInfo");
        let agreed = Agreed {
            era: Era::Legacy,
            version,
            session,
            server_name: label(info, "name"),
            server_version: label(info, "version"),
        };
        let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
        let request = self.post(Some(&agreed), "notifications/initialized", None, body);
        // Whether the server liked it shows with the next request.
        self.head(request, self.settings.first_byte).await?;
        Ok(agreed)
    }

    /// Whether a GET opens the event stream of 2024-11-05, whose first event is `endpoint`.
    async fn offers_old_transport(&self) -> bool {
        let mut request = http::Request::new(Bytes::new());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let look = async {
            let response = self.exchange.send(request).await.ok()?;
            if !response.status().is_success() || essence(response.headers()) != "text/event-stream" {
                return None;
            }
            let mut body = response.into_body();
            let mut decoder = Decoder::new(ERROR_BODY);
            loop {
                decoder.push(&body.next().await?.ok()?);
                if let Some(event) = decoder.take().ok()? {
                    return Some(event.kind.as_deref() == Some("endpoint"));
                }
            }
        };
        timeout(self.settings.probe, look).await.ok().flatten().unwrap_or(false)
    }

    fn post(
        &self,
        agreed: Option<&Agreed>,
        method: &'static str,
        name: Option<&str>,
        body: String,
    ) -> http::Request<Bytes> {
        let mut request = http::Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        // The connector's own first: it cannot override what the protocol needs.
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 8);
        headers.extend(self.headers.iter().map(|(n, v)| (n.clone(), v.clone())));
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, BOTH);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(agreed) = agreed {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(agreed.version));
            if let Some(session) = &agreed.session {
                headers.insert(SESSION_ID, session.clone());
            }
            if agreed.era == Era::Modern {
                headers.insert(MCP_METHOD, HeaderValue::from_static(method));
                if let Some(name) = name {
                    headers.insert(MCP_NAME, wire::encode(name));
                }
            }
        }
        *request.headers_mut() = headers;
        request
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
        patience: Duration,
    ) -> Result<Reply, Failure> {
        let mut cancel = Cancel::new(self, agreed, id);
        let outcome = match self.head(request, patience).await {
            Ok(response) => self.receive(response, agreed, id).await,
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

    async fn receive(
        self: &Arc<Self>,
        response: http::Response<BodyStream>,
        agreed: Option<&Arc<Agreed>>,
        id: u64,
    ) -> Result<Reply, Failure> {
        let deadline = Instant::now() + self.settings.total;
        let (head, body) = response.into_parts();
        let status = head.status;
        if status.is_redirection() {
            return Err(UpstreamError::Redirect.into());
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let oauth = head
                    .headers
                    .get_all(header::WWW_AUTHENTICATE)
                    .iter()
                    .any(|v| mentions(v.as_bytes(), b"resource_metadata"));
                return Err(UpstreamError::NeedsAuth { status: status.as_u16(), oauth }.into());
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let wait =
                    head.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
                return Err(UpstreamError::Busy { retry_after: wait }.into());
            }
            _ => {}
        }
        let session = agreed.is_some_and(|agreed| agreed.session.is_some());
        if session && status == StatusCode::NOT_FOUND {
            return Err(Failure::Stale(UpstreamError::Protocol("it forgets its sessions at once")));
        }
        if head.headers.get(header::CONTENT_ENCODING).is_some_and(|v| v != "identity") {
            return Err(UpstreamError::Protocol("it compresses although it was asked not to").into());
        }
        let kind = essence(&head.headers);
        if kind == "text/event-stream" && status.is_success() {
            return Ok(Reply::Stream(Box::new(CallStream {
                upstream: Arc::clone(self),
                agreed: agreed.cloned(),
                body,
                decoder: Decoder::new(self.settings.max_bytes),
                deadline,
                id: id.to_string(),
                progress: None,
                level: None,
                asked: 0,
                cancel: Cancel::default(),
            })));
        }
        let cap = if status.is_success() { self.settings.max_bytes } else { ERROR_BODY };
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if status.is_success() && length.is_some_and(|length| length > cap) {
            return Err(UpstreamError::TooLarge(cap).into());
        }
        let is_json = kind == "application/json" || kind.ends_with("+json");
        let not_mcp = || match status.as_u16() {
            _ if kind == "text/html" => UpstreamError::WebPage,
            500.. => UpstreamError::Failed(status.as_u16()),
            202 | 204 => UpstreamError::Protocol("it gave no answer to a request"),
            other => UpstreamError::NotMcp(other),
        };
        if status.is_success() && !is_json {
            return Err(not_mcp().into());
        }
        let body = match read(body, cap, deadline, self.settings.total).await {
            Ok(body) => body,
            Err(error) if status.is_success() => return Err(error.into()),
            Err(_) => return Err(not_mcp().into()),
        };
        let answer = Answer::read(&body, &id.to_string());
        if status == StatusCode::BAD_REQUEST && session && mentions(&body, b"session") {
            // Many servers say 400 where the specification says 404.
            return Err(Failure::Stale(UpstreamError::Protocol("it forgets its sessions at once")));
        }
        // The server may have been exchanged for one of the other era. It has refused, so nothing was done.
        let exchanged = match agreed.map(|agreed| agreed.era) {
            Some(Era::Legacy) => answer
                .as_ref()
                .is_some_and(|a| matches!(a.error, Some(code::UNSUPPORTED_VERSION | code::HEADER_MISMATCH))),

            Some(Era::Modern) => {
                status.is_client_error() && (answer.is_none() || mentions(&body, b"initialize"))
            }
            None => false,
        };
        if exchanged {
            return Err(Failure::Stale(UpstreamError::UnsupportedVersion));
        }
        if let Some(agreed) = agreed
            && status == StatusCode::BAD_REQUEST
            && (agreed.era == Era::Legacy
                || !answer.as_ref().is_some_and(|a| matches!(a.error, Some(-32022..=-32020 | -32602))))
        {
            // Perhaps as well; but it might have done something, so only the next request begins anew.
            self.forget(agreed);
        }
        match answer {
            Some(answer) => Ok(Reply::Answer(answer)),
            None if is_json && status.is_success() => {
                Err(UpstreamError::Protocol("its answer is no JSON-RPC response to the request").into())
            }
            None => Err(not_mcp().into()),
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

/// Whether a body has a word, in either case.
fn mentions(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
}
