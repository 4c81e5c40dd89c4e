//! Connectors and their tools, as pages see them.

use serde::{Deserialize, Serialize};

use crate::{ConnectorId, ConnectorSlug, credentials::CredentialKind};

/// How Gatehouse speaks to the upstream server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Streamable HTTP, every revision.
    Http,
    /// The two endpoints of 2024-11-05: an event stream, and one to post to.
    Sse,
    /// A command on the machine of Gatehouse, one of those that the operator lists.
    Stdio,
    /// The built-in demo server, in the process itself.
    Demo,
}

impl Transport {
    /// The name in forms, the CLI and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::Stdio => "stdio",
            Self::Demo => "demo",
        }
    }

    /// The transport with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Http, Self::Sse, Self::Stdio, Self::Demo].into_iter().find(|t| t.as_str() == name)
    }
}

/// What the last checks found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not checked yet.
    Unknown,
    /// The last checks were good.
    Healthy,
    /// The last check failed, but not yet three in a row.
    Degraded,
    /// Three checks in a row failed.
    Down,
}

impl Health {
    /// The name in the database and in class names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }

    /// The state with this name; [`Health::Unknown`] for any other.
    pub fn parse(name: &str) -> Self {
        [Self::Healthy, Self::Degraded, Self::Down]
            .into_iter()
            .find(|h| h.as_str() == name)
            .unwrap_or(Self::Unknown)
    }
}

/// What a new or changed definition of a tool does before somebody has looked at it (UPS-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolPolicy {
    /// It is offered, and shown as changed.
    Alert,
    /// It is not offered until somebody approves it.
    Block,
}

impl ToolPolicy {
    /// The name in forms and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Block => "block",
        }
    }

    /// The policy with this name. Anything else is the stricter one.
    pub fn parse(name: &str) -> Self {
        if name == "alert" { Self::Alert } else { Self::Block }
    }
}

/// What people have said about a tool's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Review {
    /// It is the one that was approved.
    Approved,
    /// Nobody has approved one yet.
    New,
    /// It is another than the one that was approved.
    Changed,
    /// Somebody has rejected it.
    Rejected,
}

/// The longest public name of a tool that every known client takes: Cursor refuses those over 60 characters, Claude those
/// over 64.
pub const MAX_TOOL_NAME: usize = 60;
/// The longest time-out of a tool in seconds.
pub const MAX_TOOL_TIMEOUT: u32 = 3600;
/// The longest description of a tool in characters.
pub const MAX_TOOL_DESCRIPTION: usize = 4000;

/// A line of the difference between two definitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffLine {
    /// `-` for what was, `+` for what is, a space for both.
    pub sign: char,
    /// The line.
    pub text: String,
}

/// One tool with all that there is to decide about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDetail {
    /// The tool.
    pub tool: Tool,
    /// Fingerprint of the definition that the server gives now: SHA-256 in hexadecimal.
    pub fingerprint: String,
    /// Fingerprint of the one that was approved.
    pub pinned: Option<String>,
    /// What changed, if it did; of a new tool the whole definition.
    pub diff: Vec<DiffLine>,
    /// The server's own description.
    pub own_description: String,
}

/// A connector, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connector {
    /// Its id.
    pub id: ConnectorId,
    /// The prefix of its tools' names.
    pub slug: ConnectorSlug,
    /// Display name.
    pub name: String,
    /// Free text; may be empty.
    pub description: String,
    /// How it is reached.
    pub transport: Transport,
    /// Where it is reached, a query hidden ([`HIDDEN_QUERY`]); `gatehouse:demo` for the demo server, [`STDIO`] and the name
    /// for one on the machine.
    pub url: String,
    /// Whether its tools are offered.
    pub enabled: bool,
    /// What the last checks found.
    pub health: Health,
    /// When it was last checked, Unix milliseconds.
    pub checked_at: Option<i64>,
    /// Why the last check failed, in words for people.
    pub health_error: Option<String>,
    /// The protocol revision it spoke, such as `2026-07-28`.
    pub protocol_version: Option<String>,
    /// The name it gave itself.
    pub server_name: Option<String>,
    /// The version it gave itself.
    pub server_version: Option<String>,
    /// Tools that are switched on.
    pub tools_enabled: u32,
    /// All tools it offered at the last look.
    pub tools_total: u32,
    /// What a new or changed tool does before somebody has looked at it.
    pub tool_policy: ToolPolicy,
    /// Whether its names stand on the organisation's endpoint without its slug before them.
    pub unprefixed: bool,
    /// The static headers it is sent; values are never shown again.
    pub headers: Vec<HeaderInfo>,
    /// How it authenticates itself.
    pub credentials: CredentialKind,
    /// Whether what the organisation gave for it works no more, so that somebody has to give it again.
    pub needs_reauth: bool,
    /// How long its server may take to begin an answer, seconds, if not [`FIRST_BYTE`].
    pub first_byte_seconds: Option<u32>,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// When it was last changed by a person, Unix milliseconds.
    pub updated_at: i64,
}

/// What stands before the name of a server on the machine, instead of a URL.
pub const STDIO: &str = "stdio:";

/// A server on the machine that the operator offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalServer {
    /// Its name in the configuration.
    pub name: String,
    /// What the operator says about it; may be empty.
    pub about: String,
}

/// How a server on the machine does, as the process that answers knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalState {
    /// Since when each of its processes runs, Unix milliseconds.
    pub running: Vec<i64>,
    /// Seconds until it is started again after it ended too often.
    pub rests: Option<u32>,
    /// What it wrote to its standard error, and what happened to it; the oldest first.
    pub log: Vec<LocalLine>,
}

/// A line of a [`LocalState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalLine {
    /// When it came, Unix milliseconds.
    pub at: i64,
    /// Whether it is Gatehouse's own.
    pub own: bool,
    /// Untrusted text of the server, unless it is Gatehouse's own.
    pub text: String,
}

/// The length of a [`HealthSlot`] in milliseconds: half an hour.
pub const HEALTH_SLOT: i64 = 30 * 60 * 1000;

/// What the checks of half an hour found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSlot {
    /// Its beginning, Unix milliseconds.
    pub began_at: i64,
    /// Checks that were answered.
    pub good: u32,
    /// Checks that failed.
    pub failed: u32,
    /// How long the good ones took on average, milliseconds.
    pub average_ms: Option<u32>,
    /// Why the last failed one did, in words for people.
    pub error: Option<String>,
}

/// Whether a server that keeps failing is asked (UPS-09).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// It is.
    Closed,
    /// It is not, for so long.
    Open {
        /// Seconds until one call may try.
        seconds: u32,
        /// The last failure, in words for people.
        why: String,
    },
    /// One call tries just now.
    HalfOpen {
        /// The last failure, in words for people.
        why: String,
    },
}

/// The checks of the last day, and what the process that answers does about the server just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthHistory {
    /// The beginning of the first half hour, Unix milliseconds.
    pub began_at: i64,
    /// Half hours in which it was checked, the oldest first.
    pub slots: Vec<HealthSlot>,
    /// Whether the server is asked.
    pub breaker: Breaker,
}

/// A header that is sent upstream; its value is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderInfo {
    /// The header's name, lower case.
    pub name: String,
    /// When its value was set, Unix milliseconds.
    pub set_at: i64,
    /// Who set it.
    pub set_by: String,
}

/// One tool of a connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The name upstream.
    pub name: String,
    /// The name that agents see: `slug__name`.
    pub public_name: String,
    /// A title for people, if the server gave one.
    pub title: Option<String>,
    /// What it does, in the server's words: untrusted text.
    pub description: String,
    /// Whether agents are offered it.
    pub enabled: bool,
    /// `readOnlyHint`.
    pub read_only: Option<bool>,
    /// `destructiveHint`.
    pub destructive: Option<bool>,
    /// `idempotentHint`.
    pub idempotent: Option<bool>,
    /// `openWorldHint`.
    pub open_world: Option<bool>,
    /// The input schema, pretty-printed.
    pub input_schema: String,
    /// The name that an admin gave it, without the prefix.
    pub alias: Option<String>,
    /// Whether its public name was shortened, because clients would refuse it.
    pub shortened: bool,
    /// The tool that has the same public name already: this one is not offered.
    pub clash: Option<String>,
    /// The description that an admin gave it.
    pub own_words: Option<String>,
    /// How long a call may go without progress, seconds.
    pub timeout_seconds: Option<u32>,
    /// What people have said about its definition.
    pub review: Review,
    /// Whether it is not offered because of that.
    pub held: bool,
    /// When somebody last approved or rejected, Unix milliseconds.
    pub reviewed_at: Option<i64>,
    /// Who, by name.
    pub reviewed_by: Option<String>,
    /// Since when its server leaves it out, Unix milliseconds.
    pub gone_at: Option<i64>,
    /// What is suspicious about its definition, in words for people.
    pub warnings: Vec<String>,
}

/// What a probe of a URL found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The protocol revision agreed on.
    pub protocol_version: String,
    /// The name the server gave itself.
    pub server_name: Option<String>,
    /// The version it gave itself.
    pub server_version: Option<String>,
    /// How many tools it offers.
    pub tools: u32,
}

/// How long a server may take to begin an answer, seconds, and what may be chosen instead (UPS-02).
pub const FIRST_BYTE: u32 = 30;
/// The shortest and the longest.
pub const FIRST_BYTE_RANGE: (u32, u32) = (5, 300);
/// What is shown instead of a URL's query, which often holds a key. Sent back as it is, the query stays.
pub const HIDDEN_QUERY: &str = "?••••••";
/// The longest connector name in characters.
pub const MAX_NAME: usize = 64;
/// The longest description in characters.
pub const MAX_DESCRIPTION: usize = 280;
/// How many static headers a connector may have.
pub const MAX_HEADERS: usize = 16;
