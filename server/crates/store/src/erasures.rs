//! People who deleted their account and whose names are still to be taken out of the log.

use model::OrgId;

use crate::{Result, Tx};

statements! {
    INSERT = "INSERT INTO erasures (user_id, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (user_id) DO NOTHING";
    LIST = "SELECT user_id, sealed, created_at FROM erasures ORDER BY created_at, user_id";
    DELETE = "DELETE FROM erasures WHERE user_id = $1";
    API_KEYS = "UPDATE api_keys SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    HEADERS = "UPDATE connector_headers SET set_by = $3 WHERE org_id = $1 AND set_by = $2";
    TOOLS = "UPDATE connector_tools SET reviewed_by = $3 WHERE org_id = $1 AND reviewed_by = $2";
    CLIENTS = "UPDATE oauth_clients SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    SECRETS = "UPDATE oauth_client_secrets SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    CONNECTIONS = "UPDATE connections SET revoked_by = $3 WHERE org_id = $1 AND revoked_by = $2";
    PROVIDERS = "UPDATE identity_providers SET updated_by = $3 WHERE org_id = $1 AND updated_by = $2";
    INVITATIONS = "UPDATE invitations SET inviter_name = $3 WHERE org_id = $1 AND inviter_name = $2";
    OAUTH = "UPDATE connector_oauth SET set_by = $3 WHERE org_id = $1 AND set_by = $2";
    GIVEN = "UPDATE upstream_authorizations SET authorized_by = $3 WHERE org_id = $1 AND authorized_by = $2";
    WEBHOOKS = "UPDATE webhooks SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    WEBHOOK_SECRETS = "UPDATE webhook_secrets SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    EXPORTS = "UPDATE exports SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    STREAMS = "UPDATE audit_streams SET updated_by = $3 WHERE org_id = $1 AND updated_by = $2";
    LOG_IN_PROVIDERS = "UPDATE sso_providers SET updated_by = $3 WHERE org_id = $1 AND updated_by = $2";
    LIST_EVENTS = "SELECT id, payload FROM outbox WHERE org_id = $1 AND (payload LIKE $2 OR payload LIKE $3)";
    SET_EVENT = "UPDATE outbox SET payload = $3 WHERE org_id = $1 AND id = $2";
    LIST_REQUESTS = "SELECT id FROM request_log WHERE org_id = $1 AND id > $2 AND principal_kind = 'user' AND principal_id = $3 \
                     AND principal_name <> $4 ORDER BY id LIMIT $5";
    SET_REQUEST = "UPDATE request_log SET principal_name = $3, words = REPLACE(words, $4, $5) WHERE org_id = $1 AND id = $2";
    NAMESAKES = "SELECT COUNT(*) FROM members m JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND u.name = $2";
}

/// The columns that say who made something, by name. A test walks the schema for others.
const NAMES: &[&str] = &[
    API_KEYS,
    HEADERS,
    TOOLS,
    CLIENTS,
    SECRETS,
    CONNECTIONS,
    PROVIDERS,
    INVITATIONS,
    OAUTH,
    GIVEN,
    WEBHOOKS,
    WEBHOOK_SECRETS,
    EXPORTS,
    STREAMS,
    LOG_IN_PROVIDERS,
];

/// The columns in which names of people are replaced, as `table.column`.
pub fn columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMES.iter().filter_map(|sql| sql.strip_prefix("UPDATE ")?.split(" = ").next()?.split_once(" SET "))
}

/// Adds somebody; `sealed` is what has to be found.
pub async fn insert(tx: &mut Tx, user: &str, sealed: &[u8], at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(INSERT).bind(user).bind(sealed).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Everybody, and since when, Unix milliseconds; the longest waiting first.
pub async fn list(tx: &mut Tx) -> Result<Vec<(String, Vec<u8>, i64)>> {
    Ok(on!(tx, |c| sqlx::query_as(LIST).fetch_all(c).await)?)
}

/// Puts other words in place of a name wherever an organisation's rows say who made them, unless a member has that name.
pub async fn forget_name(tx: &mut Tx, org: OrgId, name: &str, instead: &str) -> Result<()> {
    let org = org.to_string();
    let (namesakes,): (i64,) =
        on!(tx, |c| sqlx::query_as(NAMESAKES).bind(&org).bind(name).fetch_one(c).await)?;
    if namesakes > 0 {
        return Ok(());
    }
    for sql in NAMES {
        on!(tx, |c| sqlx::query(*sql).bind(&org).bind(name).bind(instead).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Id and payload of an organisation's published events in which an id or an address stands.
pub async fn list_published(
    tx: &mut Tx,
    org: OrgId,
    user: &str,
    email: &str,
) -> Result<Vec<(String, String)>> {
    let like = |text: &str| format!("%{}%", text.replace(['%', '_'], "_"));
    let (org, user, email) = (org.to_string(), like(user), like(email));
    Ok(on!(tx, |c| sqlx::query_as(LIST_EVENTS).bind(org).bind(user).bind(email).fetch_all(c).await)?)
}

/// Puts another payload in the place of one.
pub async fn set_published(tx: &mut Tx, org: OrgId, event: &str, payload: &str) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(SET_EVENT).bind(org).bind(event).bind(payload).execute(c).await.map(drop))?;
    Ok(())
}

/// Requests after an id that somebody made in the dashboard and that still say another name than `instead`.
pub async fn list_requests(
    tx: &mut Tx,
    org: OrgId,
    after: &str,
    user: &str,
    instead: &str,
    most: i64,
) -> Result<Vec<String>> {
    let org = org.to_string();
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(LIST_REQUESTS)
        .bind(org)
        .bind(after)
        .bind(user)
        .bind(instead)
        .bind(most)
        .fetch_all(c)
        .await)?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Takes a name out of a request: out of what is shown, and out of the words by which it is found.
pub async fn forget_in_request(tx: &mut Tx, org: OrgId, id: &str, name: &str, instead: &str) -> Result<()> {
    let org = org.to_string();
    // A word among others, in lower case.
    let word = |text: &str| format!(" {} ", text.to_lowercase());
    let (old, new) = (word(name), word(instead));
    on!(tx, |c| sqlx::query(SET_REQUEST)
        .bind(org)
        .bind(id)
        .bind(instead)
        .bind(old)
        .bind(new)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Their names are gone.
pub async fn delete(tx: &mut Tx, user: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(user).execute(c).await.map(drop))?;
    Ok(())
}
