//! The audit log as pages and exports show it.

use serde::{Deserialize, Serialize};

use crate::{AuditEventId, Plan, paths};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The groups of actions that a person can filter by: name in the address and in the database, and in words.
pub const CATEGORIES: &[(&str, &str)] = &[
    ("authentication", "Authentication"),
    ("connectors", "Connectors"),
    ("api-keys", "API keys"),
    ("oauth", "OAuth and connections"),
    ("team", "Team"),
    ("settings", "Settings"),
    ("security", "Security"),
    ("webhooks", "Webhooks"),
    ("domains", "Domains"),
    ("export", "Audit and export"),
    ("billing", "Billing"),
    ("other", "Other"),
];

/// The group that an action belongs to. It is stored with the event, so a change here is for new events only.
pub fn category_of(action: &str) -> &'static str {
    match action.split('.').next().unwrap_or_default() {
        "auth" | "profile" | "session" => "authentication",
        "mcp" | "connector" | "upstream" => "connectors",
        "api_key" => "api-keys",
        "oauth" | "oauth_client" | "connection" => "oauth",
        "team" | "invitation" | "role" => "team",
        "settings" | "org" | "onboarding" => "settings",
        "security" | "sso" | "signing_key" | "pin" | "mfa" => "security",
        "webhook" => "webhooks",
        "domain" => "domains",
        "export" | "audit" | "audit_stream" => "export",
        "billing" | "usage" => "billing",
        _ => "other",
    }
}

/// For how many days the plan keeps events; `None` is for ever.
pub const fn days_of(plan: Plan) -> Option<i64> {
    match plan {
        // Nobody can read them there, but an organisation that changes its plan finds what happened lately.
        Plan::Free | Plan::Pro => Some(30),
        Plan::Team => Some(365),
        Plan::Enterprise => None,
    }
}

/// Whether the plan lets people read the log.
pub const fn readable(plan: Plan) -> bool {
    !matches!(plan, Plan::Free)
}

/// Which events are wanted, as the address of the page says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// First day, `2026-03-12`, UTC; empty for no limit.
    pub from: String,
    /// Last day, likewise.
    pub to: String,
    /// A person's id, `operator` or `system`; empty for anybody.
    pub user: String,
    /// A category or an action; empty for all.
    pub action: String,
    /// Only events before this sequence number: the next older page.
    pub before: Option<i64>,
    /// Only events after it: the next newer page.
    pub after: Option<i64>,
}

impl AuditQuery {
    /// What the fields of a form or of an address say. Unknown ones are left alone.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs {
            let value = value.trim();
            match name {
                "from" => value.clone_into(&mut query.from),
                "to" => value.clone_into(&mut query.to),
                "user" => value.clone_into(&mut query.user),
                "action" => value.clone_into(&mut query.action),
                "before" => query.before = value.parse().ok(),
                "after" => query.after = value.parse().ok(),
                _ => {}
            }
        }
        query
    }

    /// Whether anything is filtered by.
    pub fn is_filtered(&self) -> bool {
        [&self.from, &self.to, &self.user, &self.action].into_iter().any(|text| !text.is_empty())
    }

    /// The filters as fields: what a form repeats.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        [("from", &self.from), ("to", &self.to), ("user", &self.user), ("action", &self.action)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, value.clone()))
            .collect()
    }

    /// The page with these filters, and `cursor` as its place.
    pub fn address(&self, cursor: Option<(&str, i64)>) -> String {
        let mut address = paths::settings_audit().to_owned();
        let cursor = cursor.map(|(name, seq)| (name.to_owned(), seq.to_string()));
        let fields = self.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).chain(cursor);
        for (at, (name, value)) in fields.enumerate() {
            address.push(if at == 0 { '?' } else { '&' });
            address.push_str(&name);
            address.push('=');
            address.push_str(&paths::encode(&value));
        }
        address
    }

    /// The time that is asked for, as [`range`] has it.
    ///
    /// # Errors
    /// As [`range`].
    pub fn range(&self) -> Result<(Option<i64>, Option<i64>), &'static str> {
        range(&self.from, &self.to)
    }
}

/// The time from a first day to a last one, both whole, in Unix milliseconds: from, and before.
///
/// # Errors
/// A sentence for a person when a day is none of the calendar, or the range is upside down.
pub fn range(from: &str, to: &str) -> Result<(Option<i64>, Option<i64>), &'static str> {
    let from = day(from)?;
    let to = day(to)?.map(|start| start + DAY);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err("The first day comes after the last one. Swap them");
    }
    Ok((from, to))
}

/// The start of a day in Unix milliseconds, after Howard Hinnant's `days_from_civil`.
fn day(text: &str) -> Result<Option<i64>, &'static str> {
    const WRONG: &str = "Write a day as year, month and day: 2026-03-12";
    if text.is_empty() {
        return Ok(None);
    }
    let mut parts = text.splitn(3, '-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(of_month)) = (number(4), number(2), number(2)) else {
        return Err(WRONG);
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(WRONG),
    };
    if !(1..=longest).contains(&of_month) {
        return Err("There is no such day in the calendar");
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + of_month - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Ok(Some(days * DAY))
}

/// Something that was acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditTarget {
    /// `api_key`, `user`, …
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its name then.
    pub name: String,
}

/// A field that changed. Secrets are `•set` and `•changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditChange {
    /// Which.
    pub field: String,
    /// Before.
    pub old: String,
    /// After.
    pub new: String,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its id.
    pub id: AuditEventId,
    /// Its place in the organisation's log, without gaps.
    pub seq: i64,
    /// When, Unix microseconds.
    pub at_micros: i64,
    /// In which version it is written; version 1 did not say how the actor had shown who they are.
    pub version: i64,
    /// `api_key.created`.
    pub action: String,
    /// Its group, see [`CATEGORIES`].
    pub category: String,
    /// `ok`, `denied` or `failed`.
    pub result: String,
    /// `user`, `operator` or `system`.
    pub actor_kind: String,
    /// The person's id; empty for the others.
    pub actor_id: String,
    /// The name then.
    pub actor: String,
    /// How the actor had shown who they are: `password`, `token`, `cli`, …; empty for not at all.
    pub auth_method: String,
    /// The public id of the credential: of a session, a client; may be empty.
    pub key_id: String,
    /// What it was done to.
    pub targets: Vec<AuditTarget>,
    /// What changed.
    pub changes: Vec<AuditChange>,
    /// Anything else, as name and value.
    pub more: Vec<(String, String)>,
    /// The address it came from; empty for none.
    pub address: String,
    /// What it came with.
    pub user_agent: String,
    /// The request.
    pub request_id: String,
    /// The node that did it.
    pub node: String,
}

/// A page of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    /// The plan of the organisation. Where it has no log, there are no events here.
    pub plan: Plan,
    /// For how many days events are kept; `None` is for ever.
    pub days: Option<i64>,
    /// What was asked for.
    pub query: AuditQuery,
    /// What is wrong with it, if something is.
    pub problem: Option<String>,
    /// The events, the newest first.
    pub events: Vec<AuditEvent>,
    /// Where the next older page begins.
    pub older: Option<i64>,
    /// Where the next newer page begins.
    pub newer: Option<i64>,
    /// Whom one can filter by: id and name.
    pub people: Vec<(String, String)>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day("1970-01-01"), Ok(Some(0)));
        assert_eq!(day("2026-03-12"), Ok(Some(1_773_273_600_000)));
        assert_eq!(day("2000-02-29"), Ok(Some(951_782_400_000)));
        assert_eq!(day(""), Ok(None));
        for wrong in
            ["2026-02-29", "2026-13-01", "26-1-1", "2026-00-10", "12.03.2026", "2026-03-1x", "-026-03-01"]
        {
            assert!(day(wrong).is_err(), "{wrong}");
        }
        let query =
            AuditQuery { from: "2026-03-12".into(), to: "2026-03-12".into(), ..AuditQuery::default() };
        assert_eq!(
            query.range(),
            Ok((Some(1_773_273_600_000), Some(1_773_360_000_000))),
            "the last day is whole"
        );
        let query = AuditQuery { from: "2026-03-13".into(), ..query };
        assert!(query.range().is_err());
    }

    #[test]
    fn filters_travel_in_the_address() {
        let query = AuditQuery::from_pairs([
            ("user", " user_1 "),
            ("action", "api-keys"),
            ("before", "17"),
            ("x", "y"),
        ]);
        assert_eq!(query.before, Some(17));
        assert_eq!(query.address(None), "/settings/audit?user=user_1&action=api-keys");
        assert_eq!(
            query.address(Some(("before", 9))),
            "/settings/audit?user=user_1&action=api-keys&before=9"
        );
        assert_eq!(AuditQuery::default().address(Some(("after", 9))), "/settings/audit?after=9");
        assert!(query.is_filtered() && !AuditQuery::default().is_filtered());
    }

    #[test]
    fn every_group_has_a_name() {
        for action in
            ["auth.signed_in", "mcp.created", "api_key.created", "oauth.consent_granted", "x.y", "audit.read"]
        {
            assert!(CATEGORIES.iter().any(|(name, _)| *name == category_of(action)), "{action}");
        }
    }
}
