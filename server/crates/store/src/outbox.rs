//! The transactional outbox: an event that somebody outside may want, written with the change itself (WHK-02).

use model::{OrgId, OutboxId};

use crate::{Result, Tx};

statements! {
    INSERT = "INSERT INTO outbox (id, org_id, event, payload, created_at) VALUES ($1, $2, $3, $4, $5)";
    LIST = "SELECT event, payload FROM outbox WHERE org_id = $1 ORDER BY created_at, id";
    FIND = "SELECT event, payload, created_at FROM outbox WHERE org_id = $1 AND id = $2";
    DELETE_BEFORE = "DELETE FROM outbox WHERE created_at < $1";
}

/// Appends an event; `payload` is its `data`, JSON.
pub async fn insert(
    tx: &mut Tx,
    id: OutboxId,
    org: OrgId,
    event: &str,
    payload: &str,
    at: i64,
) -> Result<()> {
    let (id, org) = (id.to_string(), org.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(event)
        .bind(payload)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Name and payload of an organisation's events, oldest first.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<(String, String)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?)
}

/// Name, payload and time (Unix milliseconds) of one event.
pub async fn find(tx: &mut Tx, org: OrgId, id: OutboxId) -> Result<Option<(String, String, i64)>> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?)
}

/// Removes events older than a time, and with them their deliveries and what came of these.
pub async fn delete_before(tx: &mut Tx, before: i64) -> Result<u64> {
    Ok(on!(tx, |c| sqlx::query(DELETE_BEFORE)
        .bind(before)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}
