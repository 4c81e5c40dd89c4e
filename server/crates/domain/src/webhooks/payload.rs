//! What is sent: small, without secrets, the same at every attempt (WHK-07).

use model::{OrgId, OutboxId, webhooks::TOPICS};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Error, Result};

/// The largest body in bytes.
pub const LARGEST: usize = 20 * 1024;
/// The largest `data`: what is around it is far smaller than a KiB.
const LARGEST_DATA: usize = LARGEST - 1024;

#[derive(Serialize)]
struct Body<'a> {
    id: OutboxId,
    #[serde(rename = "type")]
    kind: &'a str,
    event: &'a str,
    timestamp: String,
    organization_id: OrgId,
    data: &'a RawValue,
}

/// The body of an event that happened at `at`, Unix milliseconds; `data` is JSON.
pub fn body(org: OrgId, id: OutboxId, event: &str, at: i64, data: &str) -> Result<String> {
    let wrong = || Error::Internal(format!("the payload of {id} cannot be read"));
    let data: &RawValue = serde_json::from_str(data).map_err(|_| wrong())?;
    let body = Body { id, kind: event, event, timestamp: timestamp(at), organization_id: org, data };
    serde_json::to_string(&body).map_err(|_| wrong())
}

/// RFC 3339 in whole seconds, UTC.
pub(super) fn timestamp(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp(at.div_euclid(1000))
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// The data of an event, cut to what a body may hold: lists and texts lose their ends, and `truncated` says so. An event
/// is never left out for its size, and a change never fails for it.
pub(crate) fn fit(data: &Value) -> String {
    let whole = data.to_string();
    if whole.len() <= LARGEST_DATA {
        return whole;
    }
    for (items, characters) in [(50, 200), (20, 100), (5, 40), (0, 20)] {
        let mut cut = cut(data, items, characters);
        if let Value::Object(members) = &mut cut {
            members.insert("truncated".to_owned(), Value::Bool(true));
        }
        let text = cut.to_string();
        if text.len() <= LARGEST_DATA {
            return text;
        }
    }
    serde_json::json!({"truncated": true}).to_string()
}

fn cut(value: &Value, items: usize, characters: usize) -> Value {
    match value {
        Value::Array(all) => all.iter().take(items).map(|one| cut(one, items, characters)).collect(),
        Value::Object(all) => {
            all.iter().map(|(name, one)| (name.clone(), cut(one, items, characters))).collect()
        }
        Value::String(text) if text.chars().count() > characters => {
            Value::String(text.chars().take(characters).chain(['…']).collect())
        }
        other => other.clone(),
    }
}

/// An example of an event's data.
pub fn example(event: &str) -> Option<&'static str> {
    let mut topics = TOPICS.iter().flat_map(|(_, topics)| topics.iter());
    topics.find(|topic| topic.name == event).map(|topic| topic.data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whk_07_a_body_has_the_fields_of_the_documentation_and_id_and_type() {
        let org = "org_00000000000000000000000007".parse().unwrap();
        let id = "msg_00000000000000000000000008".parse().unwrap();
        let body =
            body(org, id, "mcp.created", 1_705_314_600_123, r#"{"mcp_id":"mcp_1","name":"Weather API"}"#);
        assert_eq!(
            body.unwrap(),
            r#"{"id":"msg_00000000000000000000000008","type":"mcp.created","event":"mcp.created","timestamp":"2024-01-15T10:30:00Z","organization_id":"org_00000000000000000000000007","data":{"mcp_id":"mcp_1","name":"Weather API"}}"#
        );
    }

    #[test]
    fn whk_07_a_body_is_never_larger_than_20_kib() {
        let small = json!({"mcp_id": "mcp_1", "name": "x"});
        assert_eq!(fit(&small), small.to_string());
        let names: Vec<_> = (0..5000).map(|n| format!("tool_{n}_{}", "é".repeat(100))).collect();
        for large in [
            json!({"mcp_id": "mcp_1", "added": names.clone(), "removed": names.clone()}),
            json!({"mcp_id": "mcp_1", "name": "x".repeat(100_000)}),
            json!({"mcp_id": "mcp_1", "added": names.iter().map(|n| json!([n, n, n])).collect::<Vec<_>>()}),
            (0..10_000).map(|n| (n.to_string(), json!("x".repeat(50)))).collect::<Value>(),
        ] {
            let data = fit(&large);
            assert!(data.len() <= LARGEST_DATA && data.contains("truncated"), "{}", data.len());
            let org = "org_00000000000000000000000007".parse().unwrap();
            let id = "msg_00000000000000000000000008".parse().unwrap();
            assert!(body(org, id, "connection.reuse_detected", 0, &data).unwrap().len() <= LARGEST);
        }
        let many = fit(&json!({"mcp_id": "mcp_1", "added": names}));
        assert!(many.contains("mcp_1") && many.contains("tool_49_"), "what fits is kept");
    }

    #[test]
    fn every_event_has_an_example_that_is_an_object() {
        for topic in TOPICS.iter().flat_map(|(_, topics)| topics.iter()) {
            let data: Value = serde_json::from_str(example(topic.name).unwrap()).unwrap();
            assert!(data.is_object(), "{}", topic.name);
        }
    }
}
