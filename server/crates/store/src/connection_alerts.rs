//! What the people of a connection have to be told: that somebody presented a refresh token which had been replaced. One
//! for each connection, the newest; it stays until it was seen by both sides.

use model::{ConnectionId, OrgId, UserId};

use crate::{Result, Tx, db::parsed};

statements! {
    PUT = "INSERT INTO connection_alerts (connection_id, org_id, ended, address, user_agent, at) VALUES ($1, $2, $3, $4, $5, $6) \
           ON CONFLICT (connection_id) DO UPDATE SET ended = excluded.ended, address = excluded.address, \
           user_agent = excluded.user_agent, at = excluded.at, seen_by_user_at = NULL, seen_by_org_at = NULL";
    LIST = "SELECT connection_id, ended, address, user_agent, at FROM connection_alerts \
            WHERE org_id = $1 AND seen_by_org_at IS NULL ORDER BY at DESC, connection_id";
    LIST_OF_USER = "SELECT a.connection_id, a.ended, a.address, a.user_agent, a.at FROM connection_alerts a \
                    JOIN connections n ON n.id = a.connection_id \
                    WHERE a.org_id = $1 AND n.user_id = $2 AND a.seen_by_user_at IS NULL ORDER BY a.at DESC, a.connection_id";
    SEEN_BY_ORG = "UPDATE connection_alerts SET seen_by_org_at = $3 \
                   WHERE org_id = $1 AND connection_id = $2 AND seen_by_org_at IS NULL";
    SEEN_BY_USER = "UPDATE connection_alerts SET seen_by_user_at = $3 \
                    WHERE org_id = $1 AND connection_id = $2 AND seen_by_user_at IS NULL";
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Of which connection.
    pub connection: ConnectionId,
    /// Whether the connection's grant was ended with it; otherwise only that request was refused.
    pub ended: bool,
    /// From which address it came; empty when that is not known.
    pub address: String,
    /// By what.
    pub user_agent: String,
    /// When, Unix milliseconds.
    pub at: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    connection_id: String,
    ended: bool,
    address: String,
    user_agent: String,
    at: i64,
}

fn read(rows: Vec<Row>) -> Result<Vec<Alert>> {
    rows.into_iter()
        .map(|row| {
            let id = &row.connection_id;
            Ok(Alert {
                connection: parsed(id, "connection_alerts", "connection_id", id)?,
                ended: row.ended,
                address: row.address,
                user_agent: row.user_agent,
                at: row.at,
            })
        })
        .collect()
}

/// Writes it, in place of an older one; nobody has seen it yet.
pub async fn put(tx: &mut Tx, org: OrgId, alert: &Alert) -> Result<()> {
    let (org, id) = (org.to_string(), alert.connection.to_string());
    on!(tx, |c| sqlx::query(PUT)
        .bind(id)
        .bind(org)
        .bind(alert.ended)
        .bind(&alert.address)
        .bind(&alert.user_agent)
        .bind(alert.at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Those that nobody of the organisation has put away, the newest first.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<Alert>> {
    let org = org.to_string();
    read(on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?)
}

/// Those of a person's connections that they have not put away, the newest first.
pub async fn list_of_user(tx: &mut Tx, org: OrgId, user: UserId) -> Result<Vec<Alert>> {
    let (org, user) = (org.to_string(), user.to_string());
    read(on!(tx, |c| sqlx::query_as(LIST_OF_USER).bind(org).bind(user).fetch_all(c).await)?)
}

/// Notes that the organisation has seen it; whether it had not before.
pub async fn seen_by_org(tx: &mut Tx, org: OrgId, id: ConnectionId, at: i64) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(SEEN_BY_ORG)
        .bind(org)
        .bind(id)
        .bind(at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Notes that the person has seen it; whether they had not before.
pub async fn seen_by_user(tx: &mut Tx, org: OrgId, id: ConnectionId, at: i64) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(SEEN_BY_USER)
        .bind(org)
        .bind(id)
        .bind(at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}
