//! When connectors are checked, and how checks went.

use model::{ConnectorId, OrgId};

use crate::{Result, Tx, db::parsed};

statements! {
    CLAIM = "UPDATE connectors SET check_at = $3 WHERE id IN (SELECT id FROM connectors WHERE enabled AND check_at <= $1 \
             AND (checked_at IS NULL OR checked_at < $2) ORDER BY check_at, id LIMIT $4) AND check_at <= $1 RETURNING org_id, id";
    SET_NEXT = "UPDATE connectors SET check_at = $3 WHERE org_id = $1 AND id = $2";
    NOTE = "INSERT INTO connector_health (org_id, connector_id, began_at, good, failed, took, error) VALUES ($1, $2, $3, $4, $5, $6, $7) \
            ON CONFLICT (connector_id, began_at) DO UPDATE SET good = connector_health.good + excluded.good, \
            failed = connector_health.failed + excluded.failed, took = connector_health.took + excluded.took, \
            error = COALESCE(excluded.error, connector_health.error)";
    LIST_SINCE = "SELECT began_at, good, failed, took, error FROM connector_health WHERE org_id = $1 AND connector_id = $2 \
                  AND began_at >= $3 ORDER BY began_at";
    DELETE_BEFORE = "DELETE FROM connector_health WHERE began_at < $1";
}

/// What the checks of half an hour found.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Slot {
    /// Its beginning, Unix milliseconds.
    pub began_at: i64,
    /// Checks that were answered.
    pub good: i64,
    /// Checks that failed.
    pub failed: i64,
    /// Milliseconds that the good ones took, altogether.
    pub took: i64,
    /// Why the last failed one did.
    pub error: Option<String>,
}

/// Enabled connectors of all organisations that are due at `now` and were not checked since `checked_before`; until
/// `next` they are nobody else's to check. All Unix milliseconds.
pub async fn claim(
    tx: &mut Tx,
    now: i64,
    checked_before: i64,
    next: i64,
    limit: i64,
) -> Result<Vec<(OrgId, ConnectorId)>> {
    let rows: Vec<(String, String)> = on!(tx, |c| sqlx::query_as(CLAIM)
        .bind(now)
        .bind(checked_before)
        .bind(next)
        .bind(limit)
        .fetch_all(c)
        .await)?;
    rows.into_iter()
        .map(|(org, id)| {
            Ok((parsed(&org, "connectors", "org_id", &id)?, parsed(&id, "connectors", "id", &id)?))
        })
        .collect()
}

/// Says when a connector is checked next, Unix milliseconds.
pub async fn set_next(tx: &mut Tx, org: OrgId, id: ConnectorId, next: i64) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_NEXT).bind(org).bind(id).bind(next).execute(c).await.map(drop))?;
    Ok(())
}

/// Adds to what is known of half an hour.
pub async fn note(tx: &mut Tx, org: OrgId, id: ConnectorId, slot: &Slot) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(NOTE)
        .bind(org)
        .bind(id)
        .bind(slot.began_at)
        .bind(slot.good)
        .bind(slot.failed)
        .bind(slot.took)
        .bind(&slot.error)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// What checks found from a time on, the oldest first.
pub async fn list_since(tx: &mut Tx, org: OrgId, id: ConnectorId, since: i64) -> Result<Vec<Slot>> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query_as(LIST_SINCE).bind(org).bind(id).bind(since).fetch_all(c).await)?)
}

/// Forgets what is older; how many half hours it was.
pub async fn delete_before(tx: &mut Tx, before: i64) -> Result<u64> {
    Ok(on!(tx, |c| sqlx::query(DELETE_BEFORE)
        .bind(before)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}
