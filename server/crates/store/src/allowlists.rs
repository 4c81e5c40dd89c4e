//! The addresses that organisations may be reached from, as JSON that `domain` reads and writes.

use model::OrgId;

use crate::{Result, Tx, db::parsed};

statements! {
    FIND = "SELECT entries, entries_before, revert_at FROM allowlists WHERE org_id = $1";
    PUT = "INSERT INTO allowlists (org_id, entries, entries_before, revert_at) VALUES ($1, $2, $3, $4) \
           ON CONFLICT (org_id) DO UPDATE SET entries = excluded.entries, entries_before = excluded.entries_before, \
           revert_at = excluded.revert_at";
    LIST_DUE = "SELECT org_id FROM allowlists WHERE revert_at <= $1";
    LIST_ORGS = "SELECT org_id FROM allowlists";
    RECENT = "SELECT detail, principal_kind, principal_id FROM request_log WHERE org_id = $1 AND at >= $2 \
              ORDER BY id DESC LIMIT $3";
    SESSIONS = "SELECT u.name, s.address FROM sessions s JOIN members m ON m.user_id = s.user_id \
                JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND s.last_seen_at >= $2 AND s.address <> '' \
                ORDER BY s.last_seen_at DESC LIMIT $3";
}

/// A list, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The list, JSON.
    pub entries: String,
    /// What counts again from [`Stored::revert_at`] on, JSON.
    pub before: Option<String>,
    /// Unix milliseconds.
    pub revert_at: Option<i64>,
}

/// The list of an organisation.
pub async fn find(tx: &mut Tx, org: OrgId) -> Result<Option<Stored>> {
    let org = org.to_string();
    let row: Option<(String, Option<String>, Option<i64>)> =
        on!(tx, |c| sqlx::query_as(FIND).bind(org).fetch_optional(c).await)?;
    Ok(row.map(|(entries, before, revert_at)| Stored { entries, before, revert_at }))
}

/// Writes the list of an organisation.
pub async fn put(tx: &mut Tx, org: OrgId, stored: &Stored) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(PUT)
        .bind(org)
        .bind(&stored.entries)
        .bind(&stored.before)
        .bind(stored.revert_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Organisations whose change nobody has kept in time.
pub async fn list_due(tx: &mut Tx, now: i64) -> Result<Vec<OrgId>> {
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(LIST_DUE).bind(now).fetch_all(c).await)?;
    rows.into_iter().map(|(org,)| parsed(&org, "allowlists", "org_id", &org)).collect()
}

/// The organisations that have a list, enforced or not.
pub async fn list_orgs(tx: &mut Tx) -> Result<Vec<OrgId>> {
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(LIST_ORGS).fetch_all(c).await)?;
    rows.into_iter().map(|(org,)| parsed(&org, "allowlists", "org_id", &org)).collect()
}

/// The latest requests to an organisation's endpoint since a time: the log's detail, and who it was.
pub async fn list_recent(
    tx: &mut Tx,
    org: OrgId,
    since: i64,
    most: i64,
) -> Result<Vec<(String, String, String)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(RECENT).bind(org).bind(since).bind(most).fetch_all(c).await)?)
}

/// The members whose browsers were seen since a time, by name, and from where.
pub async fn list_sessions(tx: &mut Tx, org: OrgId, since: i64, most: i64) -> Result<Vec<(String, String)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(SESSIONS).bind(org).bind(since).bind(most).fetch_all(c).await)?)
}
