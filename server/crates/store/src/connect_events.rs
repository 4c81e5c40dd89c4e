//! Single steps of clients on their way to a connection, kept for a week.

use model::{ConnectEventId, OrgId};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    INSERT = "INSERT INTO connect_events (id, org_id, at, step, error, detail, client_id, client_name, address, user_agent) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    LIST = "SELECT id, at, step, error, detail, client_id, client_name, address, user_agent FROM connect_events \
            WHERE org_id = $1 AND at >= $2 ORDER BY at DESC, id DESC LIMIT $3";
    LIST_OF_NOBODY = "SELECT e.id, e.at, e.step, e.error, e.detail, e.client_id, e.client_name, e.address, e.user_agent \
                      FROM connect_events e WHERE e.org_id IS NULL AND e.at >= $2 AND e.client_id IN \
                      (SELECT o.client_id FROM connect_events o WHERE o.org_id = $1 AND o.client_id IS NOT NULL) \
                      ORDER BY e.at DESC, e.id DESC LIMIT $3";
    DELETE_BEFORE = "DELETE FROM connect_events WHERE at < $1";
    TRIM = "DELETE FROM connect_events WHERE org_id = $1 AND id NOT IN \
            (SELECT k.id FROM connect_events k WHERE k.org_id = $1 ORDER BY k.at DESC, k.id DESC LIMIT $2)";
    TRIM_NOBODY = "DELETE FROM connect_events WHERE org_id IS NULL AND id NOT IN \
                   (SELECT k.id FROM connect_events k WHERE k.org_id IS NULL ORDER BY k.at DESC, k.id DESC LIMIT $1)";
}

/// One step that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectEvent {
    /// Its id.
    pub id: ConnectEventId,
    /// When, Unix milliseconds.
    pub at: i64,
    /// Which step: `challenge`, `register`, `token`, …
    pub step: String,
    /// An error code; `None` when it went well.
    pub error: Option<String>,
    /// What else is worth knowing, in words; may be empty.
    pub detail: String,
    /// The client, once it has an id.
    pub client_id: Option<String>,
    /// What it calls itself.
    pub client_name: Option<String>,
    /// From where.
    pub address: String,
    /// By what.
    pub user_agent: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    at: i64,
    step: String,
    error: Option<String>,
    detail: String,
    client_id: Option<String>,
    client_name: Option<String>,
    address: String,
    user_agent: String,
}

impl TryFrom<Row> for ConnectEvent {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "connect_events", "id", &row.id)?,
            at: row.at,
            step: row.step,
            error: row.error,
            detail: row.detail,
            client_id: row.client_id,
            client_name: row.client_name,
            address: row.address,
            user_agent: row.user_agent,
        })
    }
}

/// Adds a step. `org` is `None` for steps that name no organisation.
pub async fn insert(tx: &mut Tx, org: Option<OrgId>, event: &ConnectEvent) -> Result<()> {
    let (id, org) = (event.id.to_string(), org.map(|org| org.to_string()));
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(event.at)
        .bind(&event.step)
        .bind(&event.error)
        .bind(&event.detail)
        .bind(&event.client_id)
        .bind(&event.client_name)
        .bind(&event.address)
        .bind(&event.user_agent)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The organisation's steps since then, newest first.
pub async fn list(tx: &mut Tx, org: OrgId, since: i64, limit: i64) -> Result<Vec<ConnectEvent>> {
    let org = org.to_string();
    let rows: Vec<Row> =
        on!(tx, |c| sqlx::query_as(LIST).bind(org).bind(since).bind(limit).fetch_all(c).await)?;
    rows.into_iter().map(ConnectEvent::try_from).collect()
}

/// Steps that name no organisation, of clients that the organisation has seen itself, newest first. Those of other
/// clients are nobody's business (TEN-01).
pub async fn list_of_nobody(tx: &mut Tx, org: OrgId, since: i64, limit: i64) -> Result<Vec<ConnectEvent>> {
    let org = org.to_string();
    let rows: Vec<Row> =
        on!(tx, |c| sqlx::query_as(LIST_OF_NOBODY).bind(org).bind(since).bind(limit).fetch_all(c).await)?;
    rows.into_iter().map(ConnectEvent::try_from).collect()
}

/// Deletes steps from before then; how many.
pub async fn delete_before(tx: &mut Tx, at: i64) -> Result<u64> {
    Ok(on!(tx, |c| sqlx::query(DELETE_BEFORE).bind(at).execute(c).await.map(|done| done.rows_affected()))?)
}

/// Keeps only the newest `most` steps of an organisation, or of nobody.
pub async fn trim(tx: &mut Tx, org: Option<OrgId>, most: i64) -> Result<()> {
    match org.map(|org| org.to_string()) {
        Some(org) => on!(tx, |c| sqlx::query(TRIM).bind(org).bind(most).execute(c).await.map(drop))?,
        None => on!(tx, |c| sqlx::query(TRIM_NOBODY).bind(most).execute(c).await.map(drop))?,
    }
    Ok(())
}
