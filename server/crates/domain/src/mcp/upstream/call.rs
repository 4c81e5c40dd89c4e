//! What is asked of a server, and how it answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{Answer, CallStream, UpstreamError};
use crate::mcp::{asks::Asks, envelope::Raw};

/// The requests that a client passes on to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// `tools/call`.
    #[default]
    CallTool,
    /// `prompts/get`.
    GetPrompt,
    /// `resources/read`.
    ReadResource,
    /// `completion/complete`.
    Complete,
    /// `tools/list`.
    ListTools,
    /// `prompts/list`.
    ListPrompts,
    /// `resources/list`.
    ListResources,
    /// `resources/templates/list`.
    ListTemplates,
    /// `resources/subscribe`, which only the legacy era knows.
    Subscribe,
    /// `resources/unsubscribe`, likewise.
    Unsubscribe,
    /// `logging/setLevel`, likewise.
    SetLevel,
    /// `subscriptions/listen`, which only the modern era knows.
    Listen,
}

impl Method {
    /// The method on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallTool => "tools/call",
            Self::GetPrompt => "prompts/get",
            Self::ReadResource => "resources/read",
            Self::Complete => "completion/complete",
            Self::ListTools => "tools/list",
            Self::ListPrompts => "prompts/list",
            Self::ListResources => "resources/list",
            Self::ListTemplates => "resources/templates/list",
            Self::Subscribe => "resources/subscribe",
            Self::Unsubscribe => "resources/unsubscribe",
            Self::SetLevel => "logging/setLevel",
            Self::Listen => "subscriptions/listen",
        }
    }

    /// The member of `params` that names what is meant; the modern era repeats it as `Mcp-Name`.
    pub const fn subject(self) -> Option<&'static str> {
        match self {
            Self::CallTool | Self::GetPrompt => Some("name"),
            Self::ReadResource | Self::Subscribe | Self::Unsubscribe => Some("uri"),
            _ => None,
        }
    }

    /// Whether asking twice is as good as asking once, so that a failed server may be asked again (UPS-07).
    pub const fn is_list(self) -> bool {
        matches!(self, Self::ListTools | Self::ListPrompts | Self::ListResources | Self::ListTemplates)
    }
}

/// Whose session with a legacy server is used. Calls of one client share a session, as they would without Gatehouse
/// between, so that servers with a state per client keep it apart, and so that a question of the server in the middle of
/// a call is about this client; all others share sessions by what their clients can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Session {
    /// The client's own session, by a number that is never used again.
    pub client: Option<u128>,
    /// What the client can be asked.
    pub asks: Asks,
    /// Whether the legacy era is preferred, where the server speaks both: because the client speaks it, nothing then has
    /// to be translated.
    pub legacy: bool,
}

/// One request. Values are JSON as the client wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// What is asked.
    pub method: Method,
    /// The name or URI upstream, for methods with a [`Method::subject`].
    pub name: &'a str,
    /// The arguments.
    pub arguments: Option<&'a str>,
    /// Other members of `params`.
    pub others: &'a [Raw<'a>],
    /// Members of `_meta` that belong to the call: trace context, vendors' own.
    pub meta: &'a [Raw<'a>],
    /// The client's progress token; upstream gets one of ours, and notifications come back with this one.
    pub progress_token: Option<&'a str>,
    /// The client's capabilities, for a server of the modern era. What it can be asked is in [`Call::session`].
    pub capabilities: Option<&'a str>,
    /// From which level on log messages are wanted.
    pub log_level: Option<&'a str>,
    /// Whether log messages are wanted without a level too, as in the legacy era: those that the server thinks right.
    pub logs: bool,
    /// `requestState` of the server, for a second round in the modern era.
    pub request_state: Option<&'a str>,
    /// `inputResponses`, likewise.
    pub input_responses: Option<&'a str>,
    /// Whose session is used, where there are sessions.
    pub session: Session,
    /// `Mcp-Param-*`.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The tool's own time-out, which progress extends; nothing means the connector's.
    pub timeout: Option<Duration>,
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
    /// Waits for the answer, drops notifications and refuses questions.
    ///
    /// # Errors
    /// What goes wrong on the way.
    pub async fn finish(self) -> Result<Answer, UpstreamError> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Stream(mut stream) => loop {
                match stream.next().await? {
                    CallEvent::Answer(answer) => return Ok(answer),
                    CallEvent::Notification(_) => {}
                    CallEvent::Request(question) => stream.refuse(&question.id),
                }
            },
        }
    }
}

/// What a server asks in the middle of a call. It waits for [`CallStream::reply`].
#[derive(Clone, Debug)]
pub struct Question {
    /// The server's id for it, as written.
    pub id: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: &'static str,
    /// Its `params` as written; an empty object when there are none.
    pub params: Bytes,
}

/// What comes out of a [`CallStream`].
#[derive(Debug)]
pub enum CallEvent {
    /// A whole notification, to be passed on.
    Notification(Bytes),
    /// A question to the client, which has declared that it can be asked so.
    Request(Question),
    /// The answer; nothing follows.
    Answer(Answer),
}
