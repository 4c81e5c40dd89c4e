//! The client of one connector: finds out which era its server speaks, lists its tools and calls them.
//!
//! One [`Upstream`] lives as long as its connector's address and credentials do not change, and keeps what was agreed:
//! the era, and in the legacy era the session. Calls share it without waiting for each other. Each request upstream has
//! an id of ours, so that answers cannot be mixed up whatever ids clients choose (RSV-11).

use std::{
    borrow::Cow,
    fmt::Write as _,
    ops::Range,
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
    IMPLEMENTATION, LEGACY, MODERN, code,
    demo::Demo,
    envelope::{Raw, incoming},
    exchange::{BodyStream, Exchange, NetError},
    header as wire, json, meta,
    sse::Decoder,
    tools::{self, DroppedTool, ToolDefinition},
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// How much of an error's body is read; it is looked into, never shown.
const ERROR_BODY: usize = 64 << 10;
/// Pages of `tools/list` that are followed.
const MAX_PAGES: usize = 64;
/// Requests of a server in the middle of a call that are answered; the rest is dropped.
const MAX_ASKED: u8 = 16;
/// How long a notification or an answer that nobody waits for may take.
const SIDE_REQUEST: Duration = Duration::from_secs(10);
/// The levels of log messages, least severe first.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// The patience and the appetite of an [`Upstream`] (UPS-02 to UPS-04).
#[derive(Clone, Copy, Debug)]
pub struct UpstreamSettings {
    /// From sending a request to the head of its answer.
    pub first_byte: Duration,
    /// The same for the first probe, which a server of the older era may leave unanswered.
    pub probe: Duration,
    /// Between two pieces of an event stream; comments count.
    pub idle: Duration,
    /// For a whole answer, whatever progress it makes.
    pub total: Duration,
    /// Bytes of one JSON answer or of one event.
    pub max_bytes: usize,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(30),
            probe: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            total: Duration::from_mins(2),
            max_bytes: 10 << 20,
        }
    }
}

/// Why a server gave no usable answer. `Display` is what a person may read: it never repeats what the server sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No answer on the level of HTTP.
    #[error(transparent)]
    Net(#[from] NetError),
    /// No answer, or no more of it, in time.
    #[error("The server did not answer within {} seconds.", .0.as_secs())]
    Timeout(Duration),
    /// 401 or 403.
    #[error("{}", needs_auth(*.status, *.oauth))]
    NeedsAuth {
        /// The status.
        status: u16,
        /// Whether the server named an OAuth resource to sign in for.
        oauth: bool,
    },
    /// A redirect; not followed (SSR-04, UPS-10).
    #[error("The server redirects to another address. Enter the final address instead.")]
    Redirect,
    /// 429.
    #[error("The server says that it is asked too often. Try again later.")]
    Busy {
        /// Seconds to wait, if the server said so.
        retry_after: Option<u32>,
    },
    /// 5xx without an answer of the protocol.
    #[error("The server failed (HTTP status {0}).")]
    Failed(u16),
    /// A web page.
    #[error("The answer is a web page, not MCP. Check the path of the URL: MCP endpoints often end in /mcp.")]
    WebPage,
    /// Something else that is not MCP.
    #[error("The answer is not MCP (HTTP status {0}). Check the URL: MCP endpoints often end in /mcp.")]
    NotMcp(u16),
    /// HTTP+SSE of 2024-11-05 only.
    #[error(
        "The server speaks only the old HTTP+SSE transport of 2024-11-05, which Gatehouse does not support. Ask for its streamable HTTP endpoint, often /mcp instead of /sse."
    )]
    OldTransport,
    /// No revision in common.
    #[error("The server speaks a protocol version that Gatehouse does not know.")]
    UnsupportedVersion,
    /// Against the protocol; what exactly.
    #[error("The server does not keep to the protocol: {0}.")]
    Protocol(&'static str),
    /// Over [`UpstreamSettings::max_bytes`].
    #[error("The server's answer is larger than {} MiB.", .0 >> 20)]
    TooLarge(usize),
    /// The server answered the handshake or the listing with an error of its own.
    #[error("The server refused with error {0}.")]
    Refused(i64),
}

fn needs_auth(status: u16, oauth: bool) -> Cow<'static, str> {
    match (status, oauth) {
        (_, true) => Cow::Owned(format!(
            "The server asks for a sign-in with OAuth (HTTP status {status}). If it also takes a token, add it as the header Authorization."
        )),
        (401, false) => Cow::Borrowed(
            "The server asks for credentials (HTTP status 401). Add the header that it wants, such as Authorization.",
        ),
        (_, false) => Cow::Borrowed(
            "The server refuses access (HTTP status 403). Add the header that it wants, or check the one that it is sent.",
        ),
    }
}

impl UpstreamError {
    /// The JSON-RPC code that a client gets (§1.20).
    pub const fn code(&self) -> i64 {
        match self {
            Self::Net(NetError::Timeout) | Self::Timeout(_) => code::UPSTREAM_TIMEOUT,
            Self::Net(NetError::BadResponse)
            | Self::Redirect
            | Self::WebPage
            | Self::NotMcp(_)
            | Self::OldTransport
            | Self::UnsupportedVersion
            | Self::Protocol(_) => code::UPSTREAM_PROTOCOL,
            Self::TooLarge(_) => code::UPSTREAM_TOO_LARGE,
            Self::Net(_)
            | Self::NeedsAuth { .. }
            | Self::Busy { .. }
            | Self::Failed(_)
            | Self::Refused(_) => code::UPSTREAM_UNAVAILABLE,
        }
    }

    /// The word for programs, in `data.code` of that error.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NeedsAuth { .. } => "upstream_needs_auth",
            Self::Net(NetError::Blocked(_)) => "upstream_blocked",
            Self::Busy { .. } => "upstream_rate_limited",
            _ => match self.code() {
                code::UPSTREAM_TIMEOUT => "upstream_timeout",
                code::UPSTREAM_PROTOCOL => "upstream_protocol_error",
                code::UPSTREAM_TOO_LARGE => "upstream_too_large",
                _ => "upstream_unavailable",
            },
        }
    }
}

/// What `resultType` of a result says (2026-07-28, basic/index).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultType {
    /// Nothing, as in the legacy era: it is complete.
    Absent,
    /// `complete`.
    Complete,
    /// `input_required`: the server wants something from the user first.
    InputRequired,
    /// Anything else, which makes the result invalid.
    Other,
}

/// The final answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The whole `result`, or the whole `error` object, as the server wrote it.
    pub value: Bytes,
    /// The error's code; absent on results.
    pub error: Option<i64>,
    /// What `resultType` says; [`ResultType::Absent`] on errors.
    pub result_type: ResultType,
    /// Where the member `resultType` stands in `value`.
    pub result_type_at: Option<Range<usize>>,
}

impl Answer {
    /// The answer in a message with the given id, unless the message is something else. Nothing is copied.
    fn read(message: &Bytes, id: &str) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let found = incoming(text)?;
        let matches = match found.id {
            Some(theirs) => theirs == id || (theirs == "null" && found.error.is_some()),
            // An error that could not be matched to a request has no id (JSON-RPC 2.0 §5).
            None => found.error.is_some(),
        };
        if !matches {
            return None;
        }
        if let Some(error) = found.error {
            return Some(Self {
                value: message.slice_ref(error.as_bytes()),
                error: Some(found.error_code?),
                result_type: ResultType::Absent,
                result_type_at: None,
            });
        }
        let result = found.result?;
        let (result_type, result_type_at) = match found.result_type {
            None => (ResultType::Absent, None),
            Some((start, value)) => {
                let kind = match &text[value.clone()] {
                    "\"complete\"" => ResultType::Complete,
                    "\"input_required\"" => ResultType::InputRequired,
                    _ => ResultType::Other,
                };
                (kind, Some(start - found.result_at..value.end - found.result_at))
            }
        };
        Some(Self { value: message.slice_ref(result.as_bytes()), error: None, result_type, result_type_at })
    }

    /// A result that was made here.
    pub(super) fn result(value: String) -> Self {
        Self { value: value.into(), error: None, result_type: ResultType::Absent, result_type_at: None }
    }

    /// An error that was made here.
    pub(super) fn error(code: i64, message: &str) -> Self {
        let value = format!(r#"{{"code":{code},"message":{}}}"#, json::quoted(message));
        Self { value: value.into(), error: Some(code), result_type: ResultType::Absent, result_type_at: None }
    }

    /// The value as text.
    pub fn text(&self) -> &str {
        // It was sliced from checked text.
        std::str::from_utf8(&self.value).unwrap_or("{}")
    }
}

/// One `tools/call`. Values are JSON as the client wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// The tool's name upstream.
    pub tool: &'a str,
    /// The arguments.
    pub arguments: Option<&'a str>,
    /// Other members of `params`.
    pub others: &'a [Raw<'a>],
    /// Members of `_meta` that belong to the call: trace context, vendors' own.
    pub meta: &'a [Raw<'a>],
    /// The client's progress token; upstream gets one of ours, and notifications come back with this one.
    pub progress_token: Option<&'a str>,
    /// The client's capabilities. Those for which the server would ask in the middle of a call are not passed on.
    pub capabilities: Option<&'a str>,
    /// From which level on log messages are wanted.
    pub log_level: Option<&'a str>,
    /// Whether log messages are wanted without [`Call::log_level`] too, as in the legacy era.
    pub logs: bool,
    /// `Mcp-Param-*`.
    pub headers: &'a [(HeaderName, HeaderValue)],
}

/// How a server answers a call.
#[derive(Debug)]
pub enum Reply {
    /// At once.
    Answer(Answer),
    /// With a stream.
    Stream(Box<CallStream>),
}

impl Reply {
    /// Waits for the answer and drops notifications.
    ///
    /// # Errors
    /// What goes wrong on the way.
    pub async fn finish(self) -> Result<Answer, UpstreamError> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Stream(mut stream) => loop {
                if let CallEvent::Answer(answer) = stream.next().await? {
                    return Ok(answer);
                }
            },
        }
    }
}

/// What comes out of a [`CallStream`].
#[derive(Debug)]
pub enum CallEvent {
    /// A whole notification, to be passed on.
    Notification(Bytes),
    /// The answer; nothing follows.
    Answer(Answer),
}

/// What a server offers.
#[derive(Clone, Debug, Default)]
pub struct ToolList {
    /// Its tools, in its order.
    pub tools: Vec<ToolDefinition>,
    /// What it offers in vain.
    pub dropped: Vec<DroppedTool>,
}

/// What a probe found.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// The revision that was agreed on.
    pub protocol_version: &'static str,
    /// How the server calls itself; untrusted text of at most 128 characters.
    pub server_name: Option<String>,
    /// Its version; likewise.
    pub server_version: Option<String>,
    /// Its tools.
    pub list: ToolList,
}

/// One connector's server, remote or in the process.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// Over streamable HTTP.
    Http(HttpUpstream),
    /// The built-in demo server.
    Demo(Demo),
}

impl Upstream {
    /// Asks what the server is and what it offers. `prefix` is the length of what will stand before tool names.
    ///
    /// # Errors
    /// The exact reason why not, to be shown to whoever adds the connector.
    pub async fn probe(&self, prefix: usize) -> Result<ProbeReport, UpstreamError> {
        match self {
            Self::Http(http) => http.probe(prefix).await,
            Self::Demo(_) => Ok(ProbeReport {
                protocol_version: MODERN,
                server_name: Some("Gatehouse demo".to_owned()),
                server_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                list: Demo::list_tools(prefix),
            }),
        }
    }

    /// The server's tools.
    ///
    /// # Errors
    /// What goes wrong on the way.
    pub async fn list_tools(&self, prefix: usize) -> Result<ToolList, UpstreamError> {
        match self {
            Self::Http(http) => http.list_tools(prefix).await,
            Self::Demo(_) => Ok(Demo::list_tools(prefix)),
        }
    }

    /// Calls a tool. It is sent once: a call whose fate is not known is never repeated (UPS-07), only one that the
    /// server refused because it does not know the session (any more).
    ///
    /// # Errors
    /// What goes wrong on the way.
    pub async fn call(&self, call: &Call<'_>) -> Result<Reply, UpstreamError> {
        match self {
            Self::Http(http) => http.call(call).await,
            Self::Demo(demo) => Ok(Reply::Answer(demo.call(call))),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    Modern,
    Legacy,
}

/// What was agreed with a server.
#[derive(Debug)]
struct Agreed {
    era: Era,
    version: &'static str,
    session: Option<HeaderValue>,
    server_name: Option<String>,
    server_version: Option<String>,
}

struct Inner {
    exchange: Arc<dyn Exchange>,
    uri: http::Uri,
    headers: HeaderMap,
    settings: UpstreamSettings,
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
        headers: HeaderMap,
        settings: UpstreamSettings,
    ) -> Self {
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

    async fn probe(&self, prefix: usize) -> Result<ProbeReport, UpstreamError> {
        let list = self.list_tools(prefix).await?;
        let agreed = self.0.connect().await?;
        Ok(ProbeReport {
            protocol_version: agreed.version,
            server_name: agreed.server_name.clone(),
            server_version: agreed.server_version.clone(),
            list,
        })
    }

    async fn list_tools(&self, prefix: usize) -> Result<ToolList, UpstreamError> {
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
                .request(&[], |body, agreed, _| {
                    let members = cursor.map_or(String::new(), |cursor| format!(r#""cursor":{cursor},"#));
                    body.push_str(&members);
                    write_meta(body, agreed, &Call::default(), 0);
                    ("tools/list", None)
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

    async fn call(&self, call: &Call<'_>) -> Result<Reply, UpstreamError> {
        let mut reply = self
            .request(call.headers, |body, agreed, id| {
                body.push_str(r#""name":"#);
                body.push_str(&json::quoted(call.tool));
                if let Some(arguments) = call.arguments {
                    body.push_str(r#","arguments":"#);
                    body.push_str(arguments);
                }
                push_members(body, call.others);
                body.push(',');
                write_meta(body, agreed, call, id);
                ("tools/call", Some(call.tool))
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
    /// `write` writes the members of `params` and returns the method and the name for its headers.
    async fn request<'m>(
        &self,
        headers: &[(HeaderName, HeaderValue)],
        write: impl Fn(&mut String, &Agreed, u64) -> (&'static str, Option<&'m str>),
    ) -> Result<Reply, UpstreamError> {
        let mut agreed = self.0.connect().await?;
        let mut again = false;
        loop {
            let id = self.0.ids.fetch_add(1, Ordering::Relaxed);
            let mut params = String::with_capacity(512);
            let (method, name) = write(&mut params, &agreed, id);
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#);
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
                        // The same server, and it still does not know the method.
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

    /// Modern first, then legacy (protocol §2c): only a result or an error of the modern era proves the modern era.
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
            Some(Era::Legacy) => answer.as_ref().is_some_and(|a| matches!(a.error, Some(-32022..=-32020))),
            Some(Era::Modern) => {
                status.is_client_error() && (answer.is_none() || mentions(&body, b"initialize"))
            }
            None => false,
        };
        if exchanged {
            return Err(Failure::Stale(UpstreamError::UnsupportedVersion));
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
    fn aside(self: &Arc<Self>, agreed: &Arc<Agreed>, method: &'static str, body: String) {
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

/// Tells a legacy server that its answer is no longer wanted. In the modern era the end of the connection says so.
#[derive(Default)]
struct Cancel(Option<(Arc<Inner>, Arc<Agreed>, u64)>);

impl Cancel {
    fn new(upstream: &Arc<Inner>, agreed: Option<&Arc<Agreed>>, id: u64) -> Self {
        let legacy = agreed.filter(|agreed| agreed.era == Era::Legacy);
        Self(legacy.map(|agreed| (Arc::clone(upstream), Arc::clone(agreed), id)))
    }

    fn not_needed(&mut self) {
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

/// An answer that arrives as a stream. Dropping it before its end cancels the call.
pub struct CallStream {
    upstream: Arc<Inner>,
    agreed: Option<Arc<Agreed>>,
    body: BodyStream,
    decoder: Decoder,
    deadline: Instant,
    id: String,
    /// The client's progress token.
    progress: Option<String>,
    /// The least severe level of log messages that is passed on; nothing passes none.
    level: Option<usize>,
    asked: u8,
    cancel: Cancel,
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
        let settings = self.upstream.settings;
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
            let idle = Instant::now() + settings.idle;
            let chunk = timeout_at(idle.min(self.deadline), self.body.next()).await;
            let wait = if idle < self.deadline { settings.idle } else { settings.total };
            match chunk {
                Err(_) => return Err(UpstreamError::Timeout(wait)),
                Ok(None) => {
                    self.cancel.not_needed();
                    return Err(UpstreamError::Protocol("it ended the stream without an answer"));
                }
                Ok(Some(chunk)) => self.decoder.push(&chunk?),
            }
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
            (Some(id), method) => {
                self.refuse(id, method);
                Ok(None)
            }
            (None, "notifications/progress") => {
                // Progress of another call, or unasked for.
                let at = message.progress_token.filter(|at| text[at.clone()] == self.id);
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
            // Others do not concern the call; their news are looked for by polling.
            (None, _) => Ok(None),
        }
    }

    /// Answers a request of the server, so that it does not wait for ever (protocol §2a.8).
    fn refuse(&mut self, id: &str, method: &str) {
        self.asked = self.asked.saturating_add(1);
        let Some(agreed) = self.agreed.as_ref().filter(|a| a.era == Era::Legacy && self.asked <= MAX_ASKED)
        else {
            return;
        };
        let answer = if method == "ping" {
            r#""result":{}"#
        } else {
            tracing::info!(method, "request of an upstream server in the middle of a call refused");
            r#""error":{"code":-32601,"message":"Gatehouse does not pass requests of servers on to its clients yet"}"#
        };
        self.upstream.aside(agreed, "", format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#));
    }
}
