//! Connections: who authorised which client, and the hash of each connection's own key.

use model::{ConnectionId, ConnectionKeyId, OrgId, UserId, oauth::ClientKind};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    LIST = "SELECT n.id, n.user_id, COALESCE(u.email, n.user_email) AS user_email, n.client_id, n.client_name, n.client_kind, \
            n.redirect_host, n.scope, n.key_id, n.key_hash, n.key_prefix, n.key_made_at, n.created_at, n.created_address, \
            n.created_agent, n.expires_at, n.last_token_at, n.last_used_at, n.last_used_address, n.last_used_agent, n.revoked_at, \
            n.revoked_by, n.revoked_reason FROM connections n LEFT JOIN users u ON u.id = n.user_id WHERE n.org_id = $1 \
            ORDER BY CASE WHEN n.revoked_at IS NULL THEN 0 ELSE 1 END, n.created_at DESC, n.id DESC";
    FIND = "SELECT n.id, n.user_id, COALESCE(u.email, n.user_email) AS user_email, n.client_id, n.client_name, n.client_kind, \
            n.redirect_host, n.scope, n.key_id, n.key_hash, n.key_prefix, n.key_made_at, n.created_at, n.created_address, \
            n.created_agent, n.expires_at, n.last_token_at, n.last_used_at, n.last_used_address, n.last_used_agent, n.revoked_at, \
            n.revoked_by, n.revoked_reason FROM connections n LEFT JOIN users u ON u.id = n.user_id WHERE n.org_id = $1 AND n.id = $2";
    LIST_OF_USER = "SELECT n.id, n.user_id, COALESCE(u.email, n.user_email) AS user_email, n.client_id, n.client_name, n.client_kind, \
                    n.redirect_host, n.scope, n.key_id, n.key_hash, n.key_prefix, n.key_made_at, n.created_at, n.created_address, \
                    n.created_agent, n.expires_at, n.last_token_at, n.last_used_at, n.last_used_address, n.last_used_agent, \
                    n.revoked_at, n.revoked_by, n.revoked_reason FROM connections n LEFT JOIN users u ON u.id = n.user_id \
                    WHERE n.org_id = $1 AND n.user_id = $2 \
                    ORDER BY CASE WHEN n.revoked_at IS NULL THEN 0 ELSE 1 END, n.created_at DESC, n.id DESC";
    LIST_ORGS_OF_USER = "SELECT DISTINCT org_id FROM connections WHERE user_id = $1";
    FIND_ACTIVE = "SELECT id FROM connections WHERE org_id = $1 AND user_id = $2 AND client_id = $3 AND revoked_at IS NULL \
                   ORDER BY created_at DESC LIMIT 1";
    LIST_ORGS_OF_CLIENT = "SELECT DISTINCT org_id FROM connections WHERE client_id = $1 AND revoked_at IS NULL";
    FORGET_ADDRESS = "UPDATE connections SET user_email = '' WHERE user_id = $1";
    INSERT = "INSERT INTO connections (id, org_id, user_id, user_email, client_id, client_name, client_kind, redirect_host, scope, \
              key_id, key_hash, key_prefix, key_made_at, created_at, created_address, created_agent, expires_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    REGRANT = "UPDATE connections SET scope = $3, client_name = $4, redirect_host = $5, expires_at = $6 WHERE org_id = $1 AND id = $2";
    SET_KEY = "UPDATE connections SET key_id = $3, key_hash = $4, key_prefix = $5, key_made_at = $6 WHERE org_id = $1 AND id = $2";
    SET_TOKEN = "UPDATE connections SET last_token_at = $3 WHERE org_id = $1 AND id = $2";
    REVOKE = "UPDATE connections SET revoked_at = $3, revoked_by = $4, revoked_reason = $5 \
              WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL";
    USED = "UPDATE connections SET last_used_at = $3, last_used_address = $4, last_used_agent = $5 \
            WHERE org_id = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at < $3)";
    LAST_USED = "SELECT MAX(last_used_at) FROM connections WHERE org_id = $1";
}

/// A connection's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Who authorised it; `None` when the account is gone.
    pub user: Option<UserId>,
    /// Their e-mail address.
    pub user_email: String,
    /// Which client.
    pub client: String,
    /// As it named itself; may be empty.
    pub client_name: String,
    /// How it came to be known.
    pub client_kind: ClientKind,
    /// The host, or the scheme of an app, that it is sent back to.
    pub redirect_host: String,
    /// What it may do.
    pub scope: String,
    /// The public id of its key.
    pub key: ConnectionKeyId,
    /// SHA-256 of its key.
    pub key_hash: Vec<u8>,
    /// The recognisable beginning of its key.
    pub key_prefix: String,
    /// When its key was made, Unix milliseconds.
    pub key_made_at: i64,
    /// When the flow was first completed, Unix milliseconds.
    pub created_at: i64,
    /// From which address.
    pub created_address: String,
    /// By which browser.
    pub created_agent: String,
    /// The end of its newest grant, Unix milliseconds.
    pub expires_at: i64,
    /// When it last got an access token.
    pub last_token_at: Option<i64>,
    /// When a request last used it, at most a minute stale.
    pub last_used_at: Option<i64>,
    /// From where.
    pub last_used_address: Option<String>,
    /// By what.
    pub last_used_agent: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// By whom, by name.
    pub revoked_by: Option<String>,
    /// Why, in words.
    pub revoked_reason: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    user_id: Option<String>,
    user_email: String,
    client_id: String,
    client_name: String,
    client_kind: String,
    redirect_host: String,
    scope: String,
    key_id: String,
    key_hash: Vec<u8>,
    key_prefix: String,
    key_made_at: i64,
    created_at: i64,
    created_address: String,
    created_agent: String,
    expires_at: i64,
    last_token_at: Option<i64>,
    last_used_at: Option<i64>,
    last_used_address: Option<String>,
    last_used_agent: Option<String>,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
    revoked_reason: Option<String>,
}

impl TryFrom<Row> for Connection {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "connections", "id", &row.id)?,
            user: row.user_id.map(|user| parsed(&user, "connections", "user_id", &row.id)).transpose()?,
            client_kind: ClientKind::parse(&row.client_kind).ok_or_else(|| Error::Inconsistent {
                table: "connections",
                column: "client_kind",
                row: row.id.clone(),
            })?,
            key: parsed(&row.key_id, "connections", "key_id", &row.id)?,
            user_email: row.user_email,
            client: row.client_id,
            client_name: row.client_name,
            redirect_host: row.redirect_host,
            scope: row.scope,
            key_hash: row.key_hash,
            key_prefix: row.key_prefix,
            key_made_at: row.key_made_at,
            created_at: row.created_at,
            created_address: row.created_address,
            created_agent: row.created_agent,
            expires_at: row.expires_at,
            last_token_at: row.last_token_at,
            last_used_at: row.last_used_at,
            last_used_address: row.last_used_address,
            last_used_agent: row.last_used_agent,
            revoked_at: row.revoked_at,
            revoked_by: row.revoked_by,
            revoked_reason: row.revoked_reason,
        })
    }
}

/// The organisation's connections: live ones first, newest first.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<Connection>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(Connection::try_from).collect()
}

/// One connection.
pub async fn find(tx: &mut Tx, org: OrgId, id: ConnectionId) -> Result<Option<Connection>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(Connection::try_from).transpose()
}

/// A person's connections in one organisation: live ones first, newest first.
pub async fn list_of_user(tx: &mut Tx, org: OrgId, user: UserId) -> Result<Vec<Connection>> {
    let (org, user) = (org.to_string(), user.to_string());
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_OF_USER).bind(org).bind(user).fetch_all(c).await)?;
    rows.into_iter().map(Connection::try_from).collect()
}

/// The organisations in which a person has, or had, connections.
pub async fn list_orgs_of_user(tx: &mut Tx, user: UserId) -> Result<Vec<OrgId>> {
    let user = user.to_string();
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(LIST_ORGS_OF_USER).bind(user).fetch_all(c).await)?;
    rows.into_iter().map(|(org,)| parsed(&org, "connections", "org_id", &org)).collect()
}

/// The live connection of a person and a client, if there is one.
pub async fn find_active(
    tx: &mut Tx,
    org: OrgId,
    user: UserId,
    client: &str,
) -> Result<Option<ConnectionId>> {
    let (org, user) = (org.to_string(), user.to_string());
    let row: Option<(String,)> =
        on!(tx, |c| sqlx::query_as(FIND_ACTIVE).bind(org).bind(user).bind(client).fetch_optional(c).await)?;
    row.map(|(id,)| parsed(&id, "connections", "id", &id)).transpose()
}

/// The organisations in which a client has live connections.
pub async fn list_orgs_of_client(tx: &mut Tx, client: &str) -> Result<Vec<OrgId>> {
    let rows: Vec<(String,)> =
        on!(tx, |c| sqlx::query_as(LIST_ORGS_OF_CLIENT).bind(client).fetch_all(c).await)?;
    rows.into_iter().map(|(org,)| parsed(&org, "connections", "org_id", &org)).collect()
}

/// Adds a connection that is live and was never used.
pub async fn insert(tx: &mut Tx, org: OrgId, connection: &Connection) -> Result<()> {
    let (id, org, key) = (connection.id.to_string(), org.to_string(), connection.key.to_string());
    let user = connection.user.map(|user| user.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(user)
        .bind(&connection.user_email)
        .bind(&connection.client)
        .bind(&connection.client_name)
        .bind(connection.client_kind.as_str())
        .bind(&connection.redirect_host)
        .bind(&connection.scope)
        .bind(key)
        .bind(&connection.key_hash)
        .bind(&connection.key_prefix)
        .bind(connection.key_made_at)
        .bind(connection.created_at)
        .bind(&connection.created_address)
        .bind(&connection.created_agent)
        .bind(connection.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes what a further consent changes: scope, the client's name, the redirect host, the end.
pub async fn regrant(tx: &mut Tx, org: OrgId, connection: &Connection) -> Result<()> {
    let (org, id) = (org.to_string(), connection.id.to_string());
    on!(tx, |c| sqlx::query(REGRANT)
        .bind(org)
        .bind(id)
        .bind(&connection.scope)
        .bind(&connection.client_name)
        .bind(&connection.redirect_host)
        .bind(connection.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Gives a connection another key.
pub async fn set_key(tx: &mut Tx, org: OrgId, connection: &Connection) -> Result<()> {
    let (org, id, key) = (org.to_string(), connection.id.to_string(), connection.key.to_string());
    on!(tx, |c| sqlx::query(SET_KEY)
        .bind(org)
        .bind(id)
        .bind(key)
        .bind(&connection.key_hash)
        .bind(&connection.key_prefix)
        .bind(connection.key_made_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes when it last got an access token.
pub async fn set_last_token(tx: &mut Tx, org: OrgId, id: ConnectionId, at: i64) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_TOKEN).bind(org).bind(id).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Revokes a connection; whether it was live.
pub async fn revoke(
    tx: &mut Tx,
    org: OrgId,
    id: ConnectionId,
    at: i64,
    by: &str,
    reason: &str,
) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query(REVOKE)
        .bind(org)
        .bind(id)
        .bind(at)
        .bind(by)
        .bind(reason)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// Notes a use, unless a later one is noted.
pub async fn set_used(tx: &mut Tx, org: OrgId, id: ConnectionId, used: &crate::api_keys::Use) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(USED)
        .bind(org)
        .bind(id)
        .bind(used.at)
        .bind(&used.address)
        .bind(&used.agent)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// When any connection of the organisation was last used, Unix milliseconds.
pub async fn last_used(tx: &mut Tx, org: OrgId) -> Result<Option<i64>> {
    let org = org.to_string();
    let (at,): (Option<i64>,) = on!(tx, |c| sqlx::query_as(LAST_USED).bind(org).fetch_one(c).await)?;
    Ok(at)
}

/// Takes the address of somebody out of the connections that stay behind them.
pub async fn forget_address(tx: &mut Tx, user: UserId) -> Result<()> {
    on!(tx, |c| sqlx::query(FORGET_ADDRESS).bind(user.to_string()).execute(c).await.map(drop))?;
    Ok(())
}
