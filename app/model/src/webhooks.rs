//! Webhooks as their pages show them: what they may hear of, what became of each event.

use serde::{Deserialize, Serialize};

use crate::{OutboxId, WebhookId, audit::range, paths};

/// The longest description in characters.
pub const MAX_DESCRIPTION: usize = 200;
/// For how many days deliveries are kept, and can be replayed.
pub const KEPT_DAYS: i64 = 30;
/// The event that a test sends; nobody subscribes to it.
pub const TEST: &str = "webhook.test";
/// The event that tells of a webhook that Gatehouse disabled.
pub const DISABLED: &str = "webhook.disabled";

/// An event that a webhook may hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// `mcp.created`.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
    /// An example of its `data`.
    pub data: &'static str,
}

const fn topic(name: &'static str, about: &'static str, data: &'static str) -> Topic {
    Topic { name, about, data }
}

/// Every event that a webhook may hear of, in groups.
pub const TOPICS: &[(&str, &[Topic])] = &[
    (
        "Connectors",
        &[
            topic("mcp.created", "New MCP added", r#"{"mcp_id": "mcp_…", "name": "Weather API"}"#),
            topic("mcp.updated", "MCP settings changed", r#"{"mcp_id": "mcp_…", "name": "Weather API"}"#),
            topic("mcp.deleted", "MCP removed", r#"{"mcp_id": "mcp_…", "name": "Weather API"}"#),
            topic(
                "mcp.health_changed",
                "MCP health status changed",
                r#"{"mcp_id": "mcp_…", "name": "Weather API", "status": "down", "previous": "healthy"}"#,
            ),
            topic(
                "mcp.needs_reauth",
                "MCP lost the authorisation at its server",
                r#"{"mcp_id": "mcp_…", "name": "Weather API", "personal": false, "reason": "…", "url": "…"}"#,
            ),
            topic(
                "mcp.tools_changed",
                "MCP offers other tools than before",
                r#"{"mcp_id": "mcp_…", "name": "Weather API", "added": ["forecast"], "changed": [], "removed": []}"#,
            ),
        ],
    ),
    (
        "API keys and connections",
        &[
            topic(
                "api_key.created",
                "New API key generated",
                r#"{"api_key_id": "key_…", "name": "ci", "prefix": "gth_live_sk_…"}"#,
            ),
            topic(
                "api_key.revoked",
                "API key revoked",
                r#"{"api_key_id": "key_…", "name": "ci", "prefix": "gth_live_sk_…"}"#,
            ),
            topic(
                "connection.created",
                "Client connected by a member",
                r#"{"connection_id": "conn_…", "client_id": "…", "client_name": "Claude", "user_id": "usr_…", "scope": "mcp:call", "organisation": "Acme", "expires_at": 1792592000000}"#,
            ),
            topic(
                "connection.revoked",
                "Client's connection revoked",
                r#"{"connection_id": "conn_…", "client_id": "…", "client_name": "Claude", "user_email": "ada@example.com", "reason": "…"}"#,
            ),
            topic(
                "connection.reuse_detected",
                "Refresh token of a connection used twice",
                r#"{"connection_id": "conn_…", "client_id": "…", "client_name": "Claude", "user_id": "usr_…", "user_email": "ada@example.com", "ended": true, "address": "203.0.113.7"}"#,
            ),
        ],
    ),
    (
        "Team and usage",
        &[
            topic(
                "team.member_added",
                "New team member joined",
                r#"{"user_id": "usr_…", "email": "ada@example.com", "role": "member"}"#,
            ),
            topic(
                "team.member_removed",
                "Team member removed",
                r#"{"user_id": "usr_…", "email": "ada@example.com", "role": "member"}"#,
            ),
            topic(
                "usage.threshold",
                "Usage threshold reached",
                r#"{"threshold": 80, "used": 40000, "quota": 50000, "period": "2026-03"}"#,
            ),
            topic(
                DISABLED,
                "Another webhook was disabled",
                r#"{"webhook_id": "wh_…", "url": "https://hooks.example.com/", "reason": "failing", "failing_since": "2026-03-01T10:30:00Z"}"#,
            ),
        ],
    ),
];

/// Whether a webhook may hear of an event.
pub fn is_topic(name: &str) -> bool {
    TOPICS.iter().any(|(_, topics)| topics.iter().any(|topic| topic.name == name))
}

/// How many events there are.
pub fn topics() -> usize {
    TOPICS.iter().map(|(_, topics)| topics.len()).sum()
}

words! {
    /// Whether a webhook is sent events.
    WebhookState {
        /// It is.
        Active = "active",
        /// Somebody paused it: events wait.
        Paused = "paused",
        /// Gatehouse disabled it: events wait.
        Disabled = "disabled",
    }
}

words! {
    /// Why Gatehouse disabled a webhook.
    DisabledFor {
        /// It took no delivery for five days.
        Failing = "failing",
        /// It answered 410 Gone.
        Gone = "gone",
    }
}

words! {
    /// What became of an event on its way to a webhook.
    DeliveryState {
        /// It waits, or is tried again.
        Pending = "pending",
        /// It was taken.
        Delivered = "delivered",
        /// It was given up.
        Failed = "failed",
        /// It was left out when the webhook was resumed.
        Skipped = "skipped",
    }
}

words! {
    /// What an attempt was for.
    Cause {
        /// The event itself.
        Event = "event",
        /// An attempt before that failed.
        Retry = "retry",
        /// Somebody wanted it once more.
        Replay = "replay",
        /// Somebody tried the webhook out.
        Test = "test",
    }
}

/// A secret that deliveries are signed with. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// Unix milliseconds.
    pub created_at: i64,
    /// Who made it.
    pub created_by: String,
    /// Until when it signs besides its successor, Unix milliseconds.
    pub expires_at: Option<i64>,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where it is, a query hidden ([`crate::connectors::HIDDEN_QUERY`]).
    pub url: String,
    /// What it is for; may be empty.
    pub description: String,
    /// Whether it hears of all events, also future ones.
    pub all: bool,
    /// Those that it hears of, if not of all.
    pub events: Vec<String>,
    /// Whether it is sent events.
    pub state: WebhookState,
    /// Since when, Unix milliseconds.
    pub state_at: i64,
    /// Why Gatehouse disabled it.
    pub reason: Option<DisabledFor>,
    /// Since when no delivery was taken, Unix milliseconds.
    pub failing_since: Option<i64>,
    /// What its deliveries are signed with, newest first.
    pub secrets: Vec<SecretInfo>,
    /// Attempts in the last 24 hours.
    pub tried: i64,
    /// How many of them were taken.
    pub taken: i64,
    /// When a delivery was taken last, Unix milliseconds.
    pub delivered_at: Option<i64>,
    /// Deliveries that wait.
    pub waiting: i64,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Who made it.
    pub created_by: String,
}

impl Webhook {
    /// "All events", "3 of 15 events".
    pub fn hears_of(&self) -> String {
        if self.all {
            "All events".to_owned()
        } else {
            format!("{} of {} events", self.events.len(), topics())
        }
    }

    /// The host of its URL.
    pub fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default()
    }
}

/// A webhook with its secret, which is told once: when it is made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// `whsec_…`.
    pub secret: String,
}

/// One event on its way to a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The event's id, which is its `webhook-id`.
    pub id: OutboxId,
    /// The event's name.
    pub event: String,
    /// When it happened, Unix milliseconds.
    pub created_at: i64,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it was last tried, Unix milliseconds.
    pub tried_at: Option<i64>,
    /// How long that took, milliseconds.
    pub took: Option<i64>,
    /// The status that it was answered with.
    pub status: Option<i64>,
    /// The class of the network error, if it was not answered.
    pub error: Option<String>,
    /// When it is tried next, Unix milliseconds.
    pub next_at: Option<i64>,
}

impl Delivery {
    /// What the last attempt came to, in a few words.
    pub fn answer(&self) -> String {
        answer(self.status, self.error.as_deref())
    }
}

/// "200", "No answer in time", or nothing before the first attempt.
pub fn answer(status: Option<i64>, error: Option<&str>) -> String {
    match (status, error) {
        (Some(status), _) => status.to_string(),
        (None, Some("blocked_destination")) => "Destination not allowed".to_owned(),
        (None, Some("unreachable")) => "Not reachable".to_owned(),
        (None, Some("timeout")) => "No answer in time".to_owned(),
        (None, Some("tls_error")) => "TLS failed".to_owned(),
        (None, Some("bad_response")) => "Answer broken off".to_owned(),
        (None, Some(other)) => other.to_owned(),
        (None, None) => String::new(),
    }
}

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number among those of the delivery, the first being 1.
    pub number: i64,
    /// What it was for.
    pub cause: Cause,
    /// When it began, Unix milliseconds.
    pub at: i64,
    /// How long it took, milliseconds.
    pub took: i64,
    /// Whether it was taken.
    pub delivered: bool,
    /// The status of the answer.
    pub status: Option<i64>,
    /// The class of the network error.
    pub error: Option<String>,
    /// Headers of the answer.
    pub headers: Vec<(String, String)>,
    /// The beginning of its body.
    pub body: String,
    /// Whether there was more of it.
    pub cut: bool,
}

/// A delivery with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryDetail {
    /// The delivery.
    pub delivery: Delivery,
    /// The webhook.
    pub webhook: Webhook,
    /// The body that is sent, byte for byte.
    pub body: String,
    /// The last attempts, newest first.
    pub attempts: Vec<Attempt>,
}

/// Which deliveries a page shows, as its address says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryQuery {
    /// The webhook's id.
    pub webhook: String,
    /// One event's id; empty for all.
    pub id: String,
    /// A [`DeliveryState`]; empty for all.
    pub state: String,
    /// An event; empty for all.
    pub event: String,
    /// The first day, `2026-03-12`, UTC; empty for no limit.
    pub from: String,
    /// The last day, likewise.
    pub to: String,
    /// Only events before this one: the next older page.
    pub before: String,
}

impl DeliveryQuery {
    /// What the fields of an address say. Unknown ones are left alone.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs {
            let value = value.trim();
            match name {
                "webhook" => value.clone_into(&mut query.webhook),
                "id" => value.clone_into(&mut query.id),
                "state" => value.clone_into(&mut query.state),
                "event" => value.clone_into(&mut query.event),
                "from" => value.clone_into(&mut query.from),
                "to" => value.clone_into(&mut query.to),
                "before" => value.clone_into(&mut query.before),
                _ => {}
            }
        }
        query
    }

    /// Whether anything is left out.
    pub fn is_filtered(&self) -> bool {
        [&self.state, &self.event, &self.from, &self.to].iter().any(|value| !value.is_empty())
    }

    /// The page with these filters that begins before an event.
    pub fn older(&self, before: OutboxId) -> String {
        let mut address = format!("/settings/webhooks/deliveries?webhook={}", paths::encode(&self.webhook));
        for (name, value) in
            [("state", &self.state), ("event", &self.event), ("from", &self.from), ("to", &self.to)]
        {
            if !value.is_empty() {
                for part in ["&", name, "=", &paths::encode(value)] {
                    address.push_str(part);
                }
            }
        }
        format!("{address}&before={before}")
    }

    /// The time that is asked for, Unix milliseconds: from, and before.
    ///
    /// # Errors
    /// A sentence for a person when a day is none of the calendar, or the range is upside down.
    pub fn range(&self) -> Result<(Option<i64>, Option<i64>), &'static str> {
        range(&self.from, &self.to)
    }
}

/// A page of deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryList {
    /// The webhook.
    pub webhook: Webhook,
    /// What was asked for.
    pub query: DeliveryQuery,
    /// Why nothing was looked for.
    pub problem: Option<String>,
    /// The deliveries, newest event first.
    pub deliveries: Vec<Delivery>,
    /// Behind which event the next older page begins.
    pub older: Option<OutboxId>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What came of a replay that is about to be made: how many events it would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRange {
    /// The first day, UTC.
    pub from: String,
    /// The last day, UTC.
    pub to: String,
    /// Whether also those that were delivered.
    pub delivered_too: bool,
    /// How many.
    pub count: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_there_once() {
        let mut names: Vec<_> =
            TOPICS.iter().flat_map(|(_, topics)| topics.iter().map(|topic| topic.name)).collect();
        assert_eq!(names.len(), topics());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), topics());
        // A subscription is found by a pattern with a space on both sides.
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b))));
        assert!(!is_topic(TEST) && is_topic("mcp.created"));
    }

    #[test]
    fn words_survive_the_round_trip() {
        for state in [WebhookState::Active, WebhookState::Paused, WebhookState::Disabled] {
            assert_eq!(WebhookState::parse(state.as_str()), Some(state));
        }
        assert_eq!(Cause::parse("replay"), Some(Cause::Replay));
        assert_eq!(DeliveryState::parse("nothing"), None);
        assert_eq!(answer(Some(500), None), "500");
        assert_eq!(answer(None, Some("timeout")), "No answer in time");
    }
}
