//! The client of one connector: finds out which era its server speaks, lists its tools and calls them.
//!
//! One [`Upstream`] lives as long as its connector's address and credentials do not change, and keeps what was agreed:
//! the era, and in the legacy era the session. Calls share it without waiting for each other. Each request upstream has
//! an id of ours, so that answers cannot be mixed up whatever ids clients choose (RSV-11).

mod breaker;
mod call;
mod guard;
mod http;
mod link;
mod listen;
mod pool;
pub mod stdio;
mod stream;

use std::{borrow::Cow, ops::Range, time::Duration};

use bytes::Bytes;

pub use self::{
    breaker::BreakerState,
    call::{Call, CallEvent, Method, Question, Reply, Session},
    http::HttpUpstream,
    listen::{Aside, Attendant, Listener, Wanted},
    pool::{Key, Upstreams},
    stream::{CallStream, LEVELS},
};
use super::{
    MODERN, code,
    demo::Demo,
    envelope::incoming,
    exchange::NetError,
    json,
    tools::{DroppedTool, ToolDefinition},
};
use crate::{net::ProcessFault, upstream_oauth::NotAuthorized};

/// The patience and the appetite of an [`Upstream`] (UPS-02 to UPS-04).
#[derive(Clone, Copy, Debug)]
pub struct UpstreamSettings {
    /// From sending a request to the head of its answer.
    pub first_byte: Duration,
    /// The same for the first probe, which a server of the older era may leave unanswered.
    pub probe: Duration,
    /// From sending `initialize` to the head of its answer: a server that is a process here begins with it.
    pub handshake: Duration,
    /// Between two pieces of an event stream; comments count.
    pub idle: Duration,
    /// For a whole answer. On a stream it begins anew with each progress that the server reports.
    pub total: Duration,
    /// For a whole answer, whatever progress it makes.
    pub longest: Duration,
    /// Bytes of one JSON answer or of one event.
    pub max_bytes: usize,
    /// Requests to one connector's server at once.
    pub concurrency: usize,
    /// Requests that may wait for their turn, for [`UpstreamSettings::turn`] at most; more are refused at once.
    pub waiting: usize,
    /// How long a request may wait for its turn.
    pub turn: Duration,
    /// For how long a session is kept that nobody uses.
    pub session_idle: Duration,
}

/// The patience with one request: the settings', or that of a tool that has its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
    pub(super) total: Duration,
    pub(super) longest: Duration,
}

impl UpstreamSettings {
    /// A tool's own time-out stands for all three: to the first byte, between two signs of life, and for the whole.
    pub(super) fn patience(&self, own: Option<Duration>) -> Patience {
        let Self { first_byte, idle, total, longest, .. } = *self;
        match own {
            None => Patience { first_byte, idle, total, longest },
            Some(own) => {
                Patience { first_byte: own, idle: idle.max(own), total: own, longest: longest.max(own) }
            }
        }
    }
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(30),
            probe: Duration::from_secs(10),
            handshake: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            total: Duration::from_mins(2),
            longest: Duration::from_hours(1),
            max_bytes: 10 << 20,
            concurrency: 128,
            waiting: 256,
            turn: Duration::from_secs(5),
            session_idle: Duration::from_mins(10),
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
    /// There is no token to call it with, or none that it takes; why, and where a person can mend it.
    #[error(transparent)]
    NotAuthorized(#[from] NotAuthorized),
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
    /// It failed again and again, so it is left alone for a while (UPS-09). Nothing was sent.
    #[error(
        "It failed several times in a row and is not asked again for {retry_after} seconds. Nothing was sent. The last failure: {why}"
    )]
    Open {
        /// Seconds to wait.
        retry_after: u32,
        /// The last failure, in words for people.
        why: Box<str>,
    },
    /// Too much is under way. Nothing was sent.
    #[error("It has {concurrency} calls running already. Nothing was sent; try again in a moment.")]
    Full {
        /// [`UpstreamSettings::concurrency`].
        concurrency: usize,
    },
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
    /// The JSON-RPC code that a client gets (UPS-01 to UPS-06).
    pub const fn code(&self) -> i64 {
        match self {
            Self::Net(NetError::Timeout) | Self::Timeout(_) => code::UPSTREAM_TIMEOUT,
            Self::Net(NetError::BadResponse)
            | Self::Redirect
            | Self::WebPage
            | Self::NotMcp(_)
            | Self::UnsupportedVersion
            | Self::Protocol(_) => code::UPSTREAM_PROTOCOL,
            Self::TooLarge(_) | Self::Net(NetError::Process(ProcessFault::TooLarge(_))) => {
                code::UPSTREAM_TOO_LARGE
            }
            Self::Net(_)
            | Self::NeedsAuth { .. }
            | Self::NotAuthorized(_)
            | Self::Busy { .. }
            | Self::Failed(_)
            | Self::Refused(_)
            | Self::Open { .. }
            | Self::Full { .. } => code::UPSTREAM_UNAVAILABLE,
        }
    }

    /// Seconds after which another try makes sense: `Retry-After`.
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Busy { retry_after } => *retry_after,
            Self::Open { retry_after, .. } => Some(*retry_after),
            Self::Net(NetError::Process(ProcessFault::Resting(seconds))) => Some(*seconds),
            Self::Full { .. } | Self::Net(NetError::Process(ProcessFault::TooMany(_))) => Some(1),
            _ => None,
        }
    }

    /// The word for programs, in `data.code` of that error.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NeedsAuth { oauth: true, .. } => "upstream_needs_oauth",
            Self::NeedsAuth { .. } => "upstream_needs_auth",
            Self::NotAuthorized(NotAuthorized { page: Some(_), .. }) => "upstream_needs_authorization",
            Self::Net(NetError::Blocked(_)) => "upstream_blocked",
            Self::Busy { .. } => "upstream_rate_limited",
            Self::Open { .. } => "upstream_circuit_open",
            Self::Full { .. } | Self::Net(NetError::Process(ProcessFault::TooMany(_))) => "connector_busy",
            Self::Net(NetError::Process(ProcessFault::NotListed)) => "upstream_not_offered",
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
    /// Whether it speaks only the transport of 2024-11-05.
    pub old_transport: bool,
    /// How the server calls itself; untrusted text of at most 128 characters.
    pub server_name: Option<String>,
    /// Its version; likewise.
    pub server_version: Option<String>,
    /// What it says about how to use it; untrusted text of at most 4096 characters.
    pub instructions: Option<String>,
    /// Its tools.
    pub list: ToolList,
}

/// One connector's server, remote or in the process.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// Over streamable HTTP, or as a process of this machine that is made to look so.
    Http(HttpUpstream),
    /// The built-in demo server.
    Demo(Demo),
}

impl Upstream {
    /// Whether its server is asked just now; `None` where there is nothing that could fail.
    pub fn breaker(&self) -> Option<BreakerState> {
        match self {
            Self::Http(http) => Some(http.breaker()),
            Self::Demo(_) => None,
        }
    }

    /// Asks what the server is and what it offers. `prefix` is the length of what will stand before tool names.
    ///
    /// # Errors
    /// The exact reason why not, to be shown to whoever adds the connector.
    pub async fn probe(&self, prefix: usize) -> Result<ProbeReport, UpstreamError> {
        match self {
            Self::Http(http) => http.probe(prefix).await,
            Self::Demo(_) => Ok(ProbeReport {
                protocol_version: MODERN,
                old_transport: false,
                server_name: Some("Gatehouse demo".to_owned()),
                server_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                instructions: None,
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

    /// Asks something. It is sent once: a call whose fate is not known is never repeated (UPS-07), only one that the
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

    /// Whether the server says that it has something: the name of a member of its capabilities. It is connected to if it
    /// was not yet.
    ///
    /// # Errors
    /// What goes wrong on the way.
    pub async fn offers(&self, capability: &str) -> Result<bool, UpstreamError> {
        match self {
            Self::Http(http) => http.offers(capability).await,
            Self::Demo(_) => Ok(capability == "tools"),
        }
    }

    /// Opens the stream on which the server tells of changes; nothing when it has none. It ends when dropped.
    ///
    /// # Errors
    /// What goes wrong on the way.
    pub async fn listen(&self, wanted: &Wanted) -> Result<Option<Listener>, UpstreamError> {
        match self {
            Self::Http(http) => http.listen(wanted).await,
            Self::Demo(_) => Ok(None),
        }
    }

    /// Whether the server has a session of this client's own, as legacy servers do once it has called them.
    pub fn has_session(&self, session: Session) -> bool {
        match self {
            Self::Http(http) => http.has_session(session),
            Self::Demo(_) => false,
        }
    }

    /// Opens the stream of a client's own session, on which a legacy server says and asks what belongs to no call; nothing
    /// when there is no such session or stream. It ends when dropped.
    ///
    /// # Errors
    /// What goes wrong on the way.
    pub async fn attend(&self, session: Session) -> Result<Option<Attendant>, UpstreamError> {
        match self {
            Self::Http(http) => http.attend(session).await,
            Self::Demo(_) => Ok(None),
        }
    }

    /// Tells a server that has asked for a client's roots that they have changed.
    pub fn roots_changed(&self, session: Session) {
        match self {
            Self::Http(http) => http.roots_changed(session),
            Self::Demo(_) => {}
        }
    }

    /// Forgets what was agreed with the server for one client's session, and tells a legacy server so.
    pub fn close(&self, client: u128) {
        match self {
            Self::Http(http) => http.close(client),
            Self::Demo(_) => {}
        }
    }
}
