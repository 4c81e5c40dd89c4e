//! The stream of audit events to a SIEM, as its page shows it (AUD-07).

use serde::{Deserialize, Serialize};

use crate::Plan;

/// For how many days events wait for a receiver that is down, at least.
pub const KEPT_DAYS: i64 = 7;

/// In which form events are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamKind {
    /// One JSON object a line.
    #[default]
    JsonLines,
    /// As Splunk's HTTP Event Collector takes them.
    SplunkHec,
}

impl StreamKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::JsonLines, Self::SplunkHec];

    /// The name in forms and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonLines => "json_lines",
            Self::SplunkHec => "splunk_hec",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStream {
    /// In which form events are sent.
    pub kind: StreamKind,
    /// Where to.
    pub url: String,
    /// Whether a token is stored.
    pub has_token: bool,
    /// Whether events are sent.
    pub enabled: bool,
    /// How many events wait.
    pub waiting: i64,
    /// When the oldest of them happened, Unix milliseconds.
    pub waiting_since: Option<i64>,
    /// When the last events were taken, Unix milliseconds.
    pub last_sent_at: Option<i64>,
    /// Why the last attempt failed, and when, Unix milliseconds; `None` when it did not.
    pub last_error: Option<(String, i64)>,
    /// When it is tried again, Unix milliseconds.
    pub next_at: Option<i64>,
    /// How many events were gone before they could be sent.
    pub skipped: i64,
    /// When it was last changed, Unix milliseconds.
    pub updated_at: i64,
    /// By whom, by name.
    pub updated_by: String,
}

/// What the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStreamPage {
    /// The plan of the organisation.
    pub plan: Plan,
    /// The stream, if there is one.
    pub stream: Option<AuditStream>,
    /// The server's time, Unix milliseconds.
    pub now: i64,
}
