//! Audit events: appended, read, never changed.

use model::{AuditEventId, OrgId};

use crate::{Result, Tx};

statements! {
    INSERT = "INSERT INTO audit_events (id, org_id, seq, occurred_at, action, result, actor_kind, actor_id, actor_name, detail, context) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    LIST_LATEST = "SELECT occurred_at, action, result, actor_name, detail FROM audit_events \
                   WHERE org_id = $1 ORDER BY seq DESC LIMIT $2";
    LIST_ACTIONS = "SELECT action, result FROM audit_events WHERE org_id = $1 ORDER BY seq";
    LIST_INSTANCE_ACTIONS = "SELECT action, result FROM audit_events WHERE org_id IS NULL ORDER BY occurred_at, id";
}

/// A line to append.
#[derive(Clone, Debug)]
pub struct NewEvent<'a> {
    /// Its id.
    pub id: AuditEventId,
    /// Whose log; `None` for the instance's.
    pub org: Option<OrgId>,
    /// The organisation's version after the change; 0 for the instance.
    pub seq: i64,
    /// Unix microseconds.
    pub occurred_at: i64,
    /// `api_key.created`.
    pub action: &'a str,
    /// `ok` or `denied` or `failed`.
    pub result: &'a str,
    /// `user`, `operator` or `system`.
    pub actor_kind: &'a str,
    /// The actor's id; empty for operator and system.
    pub actor_id: &'a str,
    /// The actor's name at that time.
    pub actor_name: &'a str,
    /// JSON: targets, changes, metadata.
    pub detail: &'a str,
    /// JSON: address, user agent, request id.
    pub context: &'a str,
}

/// A line as recent activity shows it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Line {
    /// Unix microseconds.
    pub occurred_at: i64,
    /// `api_key.created`.
    pub action: String,
    /// `ok` or `denied` or `failed`.
    pub result: String,
    /// The actor's name at that time.
    pub actor_name: String,
    /// JSON: targets, changes, metadata.
    pub detail: String,
}

/// Appends an event.
pub async fn insert(tx: &mut Tx, event: &NewEvent<'_>) -> Result<()> {
    let id = event.id.to_string();
    let org = event.org.map(|org| org.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(event.seq)
        .bind(event.occurred_at)
        .bind(event.action)
        .bind(event.result)
        .bind(event.actor_kind)
        .bind(event.actor_id)
        .bind(event.actor_name)
        .bind(event.detail)
        .bind(event.context)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The latest lines of an organisation, newest first.
pub async fn list_latest(tx: &mut Tx, org: OrgId, limit: i64) -> Result<Vec<Line>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LIST_LATEST).bind(org).bind(limit).fetch_all(c).await)?)
}

/// Action and result of every event of an organisation in order, or of the instance.
pub async fn list_actions(tx: &mut Tx, org: Option<OrgId>) -> Result<Vec<(String, String)>> {
    Ok(match org.map(|org| org.to_string()) {
        Some(org) => on!(tx, |c| sqlx::query_as(LIST_ACTIONS).bind(org).fetch_all(c).await)?,
        None => on!(tx, |c| sqlx::query_as(LIST_INSTANCE_ACTIONS).fetch_all(c).await)?,
    })
}
