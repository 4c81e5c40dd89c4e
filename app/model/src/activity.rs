//! The request log, usage and their settings, as pages see them.

use serde::{Deserialize, Serialize};

use crate::{Limits, LogEntryId, Plan};

/// What came of a request to the MCP endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A result.
    Ok,
    /// The tool, or its server, answered with an error.
    ToolError,
    /// The connector's server did not answer, or not as the protocol asks for.
    UpstreamError,
    /// A good credential that may not do this.
    Denied,
    /// Over a rate, a quota or a number of calls at once.
    RateLimited,
    /// The request itself was wrong: an unknown tool, arguments of the wrong form.
    BadRequest,
    /// The client went away before there was an answer.
    Cancelled,
    /// Gatehouse could not decide, or failed.
    Failed,
}

impl Outcome {
    /// Every outcome, the good one first.
    pub const ALL: &[Self] = &[
        Self::Ok,
        Self::ToolError,
        Self::UpstreamError,
        Self::Denied,
        Self::RateLimited,
        Self::BadRequest,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The name in filters and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::UpstreamError => "upstream_error",
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
            Self::BadRequest => "bad_request",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// The outcome with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|outcome| outcome.as_str() == name)
    }

    /// In words, as it stands in a list.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::ToolError => "Tool error",
            Self::UpstreamError => "Server failed",
            Self::Denied => "Denied",
            Self::RateLimited => "Over a limit",
            Self::BadRequest => "Bad request",
            Self::Cancelled => "Cancelled",
            Self::Failed => "Failed",
        }
    }

    /// Whether it counts as an error in usage.
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::Ok | Self::Cancelled)
    }
}

/// One line of the request log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its id.
    pub id: LogEntryId,
    /// When it began, Unix milliseconds.
    pub at: i64,
    /// `tools/call` and so on.
    pub method: String,
    /// The connector's slug; empty where none was asked.
    pub connector: String,
    /// The tool, prompt or resource, as the connector's server knows it; may be empty.
    pub tool: String,
    /// Who, by name.
    pub principal: String,
    /// What came of it.
    pub outcome: Outcome,
    /// From the first byte of the request to the last of the answer, microseconds.
    pub total_us: i64,
}

/// What somebody looks for in the request log, as the page's address says it. Empty texts look for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSearch {
    /// How far back: one of [`LogSearch::RANGES`], or everything there is.
    pub range: String,
    /// A connector's id.
    pub connector: String,
    /// A principal's id.
    pub principal: String,
    /// An outcome's name.
    pub outcome: String,
    /// The exact name of a tool.
    pub tool: String,
    /// A text somewhere in it.
    pub q: String,
    /// The last one of the page before.
    pub before: String,
}

impl LogSearch {
    /// How far back one can look, and how long that is in milliseconds.
    pub const RANGES: &[(&str, &str, i64)] = &[
        ("15m", "Last 15 minutes", 15 * 60_000),
        ("1h", "Last hour", 60 * 60_000),
        ("24h", "Last 24 hours", 24 * 60 * 60_000),
        ("7d", "Last 7 days", 7 * 24 * 60 * 60_000),
    ];

    /// Sets what the query calls `name`; other names say nothing.
    pub fn set(&mut self, name: &str, value: String) {
        match name {
            "range" => self.range = value,
            "connector" => self.connector = value,
            "principal" => self.principal = value,
            "outcome" => self.outcome = value,
            "tool" => self.tool = value,
            "q" => self.q = value,
            "before" => self.before = value,
            _ => {}
        }
    }

    /// The query that says the same.
    pub fn query(&self) -> String {
        let mut query = String::new();
        for (name, value) in [
            ("range", &self.range),
            ("connector", &self.connector),
            ("principal", &self.principal),
            ("outcome", &self.outcome),
            ("tool", &self.tool),
            ("q", &self.q),
            ("before", &self.before),
        ] {
            if !value.is_empty() {
                query.push(if query.is_empty() { '?' } else { '&' });
                query.push_str(name);
                query.push('=');
                query.push_str(&crate::paths::encode(value));
            }
        }
        query
    }

    /// Whether it leaves anything out.
    pub fn narrows(&self) -> bool {
        *self != Self { before: self.before.clone(), ..Self::default() }
    }
}

/// A page of the request log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The newest first.
    pub lines: Vec<LogLine>,
    /// What was looked for.
    pub search: LogSearch,
    /// Where older ones begin.
    pub next: Option<LogEntryId>,
    /// What there is to filter by.
    pub choices: LogChoices,
    /// Whether the log has anything at all in it.
    pub any: bool,
    /// How long it is kept, days.
    pub days: u16,
    /// Whether arguments and results are kept.
    pub bodies: bool,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What a request log may be filtered by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChoices {
    /// Connectors: id and name.
    pub connectors: Vec<(String, String)>,
    /// Principals that made requests of late: id and name.
    pub principals: Vec<(String, String)>,
}

/// Where the time of a request went, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Reading the head and checking the credential.
    pub auth: i64,
    /// Receiving the body from the client.
    pub receive: i64,
    /// Waiting for a turn, because too many calls ran at once.
    pub queue: i64,
    /// From sending it to the connector's server to the head of its answer; opening a session there included.
    pub first_byte: i64,
    /// From there to the end of the server's answer.
    pub upstream: i64,
    /// From the first byte of the request to the last of the answer.
    pub total: i64,
}

impl Timings {
    /// What the gateway itself took.
    pub fn gateway(&self) -> i64 {
        (self.total - self.receive - self.queue - self.first_byte - self.upstream).max(0)
    }
}

/// One request, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// What stands in the list.
    pub line: LogLine,
    /// `api_key`, `connection`, `oauth_client`, `identity_provider` or `user`.
    pub principal_kind: String,
    /// The principal's public id.
    pub principal_id: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// The JSON-RPC error code, if it was an error.
    pub code: Option<i64>,
    /// What was said about an error, in our words; may be empty.
    pub message: String,
    /// Where the time went.
    pub timings: Timings,
    /// Bytes of the request's body.
    pub bytes_in: i64,
    /// Bytes of the answer's body.
    pub bytes_out: i64,
    /// HTTP requests to the connector's server that it took.
    pub upstream_requests: i64,
    /// In the answer's `X-Request-Id` and in the server's log.
    pub request_id: String,
    /// W3C trace id; the client's, if it sent one.
    pub trace_id: String,
    /// What the client calls itself; may be empty.
    pub client: String,
    /// From where.
    pub address: String,
    /// Which process answered.
    pub node: String,
    /// Arguments and result, redacted, if they were kept.
    pub bodies: Option<Bodies>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// Arguments and result of a call, redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bodies {
    /// The arguments as JSON.
    pub arguments: String,
    /// The result or the error as JSON.
    pub result: String,
}

/// What an organisation chose about log and usage, and what holds for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSettings {
    /// Its plan.
    pub plan: Plan,
    /// Whether arguments and results are kept.
    pub bodies: bool,
    /// How long the log is kept, days.
    pub days: u16,
    /// At which parts of the monthly quota, in per cent, an event is published.
    pub thresholds: Vec<u8>,
    /// The limits that hold.
    pub limits: Limits,
    /// Calls of this month so far.
    pub used: u64,
}

/// Requests of the last 24 hours in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDay {
    /// How many.
    pub requests: u64,
    /// Of these, how many failed or were refused.
    pub errors: u64,
    /// 95 of 100 calls took less than this, milliseconds; `None` when there were none, or it is more than can be told.
    pub p95_ms: Option<u32>,
}
