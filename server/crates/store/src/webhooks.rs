//! Webhooks and the secrets that their deliveries are signed with. The queue is in [`crate::webhook_deliveries`].

use model::{
    OrgId, WebhookId,
    webhooks::{DisabledFor, WebhookState},
};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    LIST = "SELECT id, org_id, url, query_sealed, description, events, state, state_at, reason, failing_since, warned_at, created_at, \
            created_by, updated_at FROM webhooks WHERE org_id = $1 ORDER BY created_at, id";
    FIND = "SELECT id, org_id, url, query_sealed, description, events, state, state_at, reason, failing_since, warned_at, created_at, \
            created_by, updated_at FROM webhooks WHERE org_id = $1 AND id = $2";
    INSERT = "INSERT INTO webhooks (id, org_id, url, query_sealed, description, events, state, state_at, created_at, created_by, \
              updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    UPDATE = "UPDATE webhooks SET url = $3, query_sealed = $4, description = $5, events = $6, updated_at = $7 \
              WHERE org_id = $1 AND id = $2";
    SET_STATE = "UPDATE webhooks SET state = $3, state_at = $4, reason = $5, failing_since = NULL, warned_at = NULL \
                 WHERE org_id = $1 AND id = $2";
    SET_FAILING = "UPDATE webhooks SET failing_since = $3, warned_at = $4 WHERE org_id = $1 AND id = $2";
    DELETE = "DELETE FROM webhooks WHERE org_id = $1 AND id = $2";
    LIST_SECRETS = "SELECT number, sealed, created_at, created_by, expires_at FROM webhook_secrets \
                    WHERE org_id = $1 AND webhook_id = $2 ORDER BY number DESC";
    INSERT_SECRET = "INSERT INTO webhook_secrets (webhook_id, number, org_id, sealed, created_at, created_by) \
                     VALUES ($1, $2, $3, $4, $5, $6)";
    EXPIRE_SECRETS = "UPDATE webhook_secrets SET expires_at = $4 WHERE org_id = $1 AND webhook_id = $2 AND number < $3 \
                      AND expires_at IS NULL";
    DELETE_EXPIRED_SECRETS = "DELETE FROM webhook_secrets WHERE expires_at <= $1";
}

/// A webhook's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub org: OrgId,
    /// Where it is, without the query.
    pub url: String,
    /// The query, sealed.
    pub query_sealed: Option<Vec<u8>>,
    /// What it is for.
    pub description: String,
    /// `*`, or the names of events with a space before and behind each.
    pub events: String,
    /// Whether it hears of events.
    pub state: WebhookState,
    /// Since when, Unix milliseconds.
    pub state_at: i64,
    /// Why Gatehouse disabled it.
    pub reason: Option<DisabledFor>,
    /// Since when no delivery was taken, Unix milliseconds.
    pub failing_since: Option<i64>,
    /// When the admins were warned of that, Unix milliseconds.
    pub warned_at: Option<i64>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// The name of who made it.
    pub created_by: String,
    /// Unix milliseconds.
    pub updated_at: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    org_id: String,
    url: String,
    query_sealed: Option<Vec<u8>>,
    description: String,
    events: String,
    state: String,
    state_at: i64,
    reason: Option<String>,
    failing_since: Option<i64>,
    warned_at: Option<i64>,
    created_at: i64,
    created_by: String,
    updated_at: i64,
}

impl TryFrom<Row> for Webhook {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let wrong =
            |column: &'static str| Error::Inconsistent { table: "webhooks", column, row: row.id.clone() };
        Ok(Self {
            id: parsed(&row.id, "webhooks", "id", &row.id)?,
            org: parsed(&row.org_id, "webhooks", "org_id", &row.id)?,
            state: WebhookState::parse(&row.state).ok_or_else(|| wrong("state"))?,
            reason: match &row.reason {
                Some(reason) => Some(DisabledFor::parse(reason).ok_or_else(|| wrong("reason"))?),
                None => None,
            },
            url: row.url,
            query_sealed: row.query_sealed,
            description: row.description,
            events: row.events,
            state_at: row.state_at,
            failing_since: row.failing_since,
            warned_at: row.warned_at,
            created_at: row.created_at,
            created_by: row.created_by,
            updated_at: row.updated_at,
        })
    }
}

/// What deliveries of a webhook are signed with.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Secret {
    /// Its number among those of the webhook, the first being 1.
    pub number: i64,
    /// The key, sealed.
    pub sealed: Vec<u8>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// The name of who made it.
    pub created_by: String,
    /// Until when it still signs after another took its place, Unix milliseconds.
    pub expires_at: Option<i64>,
}

/// The webhooks of an organisation, oldest first.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<Webhook>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// One of them.
pub async fn find(tx: &mut Tx, org: OrgId, id: WebhookId) -> Result<Option<Webhook>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(TryInto::try_into).transpose()
}

/// Adds a webhook.
pub async fn insert(tx: &mut Tx, new: &Webhook) -> Result<()> {
    let (id, org) = (new.id.to_string(), new.org.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(&new.url)
        .bind(&new.query_sealed)
        .bind(&new.description)
        .bind(&new.events)
        .bind(new.state.as_str())
        .bind(new.state_at)
        .bind(new.created_at)
        .bind(&new.created_by)
        .bind(new.updated_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Changes where it is and what it hears of.
pub async fn update(tx: &mut Tx, row: &Webhook) -> Result<()> {
    let (org, id) = (row.org.to_string(), row.id.to_string());
    on!(tx, |c| sqlx::query(UPDATE)
        .bind(org)
        .bind(id)
        .bind(&row.url)
        .bind(&row.query_sealed)
        .bind(&row.description)
        .bind(&row.events)
        .bind(row.updated_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Changes its state. Whatever it failed at before is forgotten.
pub async fn set_state(
    tx: &mut Tx,
    org: OrgId,
    id: WebhookId,
    state: WebhookState,
    at: i64,
    reason: Option<DisabledFor>,
) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_STATE)
        .bind(org)
        .bind(id)
        .bind(state.as_str())
        .bind(at)
        .bind(reason.map(DisabledFor::as_str))
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes since when it fails and when its admins were warned; `None` when it does not.
pub async fn set_failing(
    tx: &mut Tx,
    org: OrgId,
    id: WebhookId,
    since: Option<i64>,
    warned_at: Option<i64>,
) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_FAILING)
        .bind(org)
        .bind(id)
        .bind(since)
        .bind(warned_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Removes a webhook with its queue, its log and its secrets.
pub async fn delete(tx: &mut Tx, org: OrgId, id: WebhookId) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(DELETE).bind(org).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// The secrets of a webhook, newest first; also those whose time is over.
pub async fn list_secrets(tx: &mut Tx, org: OrgId, id: WebhookId) -> Result<Vec<Secret>> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query_as(LIST_SECRETS).bind(org).bind(id).fetch_all(c).await)?)
}

/// Adds a secret, and gives those before it until `overlap_until`.
pub async fn insert_secret(
    tx: &mut Tx,
    org: OrgId,
    id: WebhookId,
    secret: &Secret,
    overlap_until: i64,
) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    let (o, i) = (org.clone(), id.clone());
    on!(tx, |c| sqlx::query(EXPIRE_SECRETS)
        .bind(o)
        .bind(i)
        .bind(secret.number)
        .bind(overlap_until)
        .execute(c)
        .await
        .map(drop))?;
    on!(tx, |c| sqlx::query(INSERT_SECRET)
        .bind(id)
        .bind(secret.number)
        .bind(org)
        .bind(&secret.sealed)
        .bind(secret.created_at)
        .bind(&secret.created_by)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Removes secrets whose time is over, of all webhooks.
pub async fn delete_expired_secrets(tx: &mut Tx, now: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_EXPIRED_SECRETS).bind(now).execute(c).await.map(drop))?;
    Ok(())
}
