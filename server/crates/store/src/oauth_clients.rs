//! OAuth clients and the hashes of their secrets.

use model::{ClientSecretId, OrgId, oauth::ClientKind};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    FIND = "SELECT id, org_id, kind, name, redirect_uris, auth_method, scope, metadata, management_hash, fresh_until, \
            created_at, created_by, updated_at, last_used_at FROM oauth_clients WHERE id = $1";
    LIST = "SELECT id, org_id, kind, name, redirect_uris, auth_method, scope, metadata, management_hash, fresh_until, \
            created_at, created_by, updated_at, last_used_at FROM oauth_clients WHERE org_id = $1 ORDER BY created_at DESC, id DESC";
    LIST_CONNECTED = "SELECT c.id, c.org_id, c.kind, c.name, c.redirect_uris, c.auth_method, c.scope, c.metadata, c.management_hash, \
                      c.fresh_until, c.created_at, c.created_by, c.updated_at, c.last_used_at FROM oauth_clients c \
                      WHERE c.org_id IS NULL AND EXISTS (SELECT 1 FROM connections n WHERE n.client_id = c.id AND n.org_id = $1) \
                      ORDER BY c.created_at DESC, c.id DESC";
    INSERT = "INSERT INTO oauth_clients (id, org_id, kind, name, redirect_uris, auth_method, scope, metadata, management_hash, \
              fresh_until, created_at, created_by, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    UPDATE = "UPDATE oauth_clients SET name = $2, redirect_uris = $3, auth_method = $4, scope = $5, metadata = $6, fresh_until = $7, \
              updated_at = $8 WHERE id = $1";
    DELETE = "DELETE FROM oauth_clients WHERE id = $1";
    USED = "UPDATE oauth_clients SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)";
    COUNT_REGISTERED_SINCE = "SELECT COUNT(*) FROM oauth_clients WHERE kind = 'registered' AND created_at >= $1";
    PURGE = "DELETE FROM oauth_clients WHERE org_id IS NULL AND ((last_used_at IS NULL AND created_at < $1) OR last_used_at < $2) \
             AND NOT EXISTS (SELECT 1 FROM connections n WHERE n.client_id = oauth_clients.id AND n.revoked_at IS NULL)";
    LIST_SECRETS = "SELECT id, client_id, hash, last4, created_at, created_by, expires_at, last_used_at FROM oauth_client_secrets \
                    WHERE client_id = $1 ORDER BY created_at DESC, id DESC";
    INSERT_SECRET = "INSERT INTO oauth_client_secrets (id, org_id, client_id, hash, last4, created_at, created_by) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)";
    EXPIRE_SECRET = "UPDATE oauth_client_secrets SET expires_at = $2 WHERE id = $1";
    DELETE_SECRET = "DELETE FROM oauth_client_secrets WHERE id = $1";
    SECRET_USED = "UPDATE oauth_client_secrets SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)";
}

/// A client's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthClient {
    /// `gth_client_…`, or the URL of its metadata document.
    pub id: String,
    /// Whose it is; `None` for one that registered itself.
    pub org: Option<OrgId>,
    /// How it came to be known.
    pub kind: ClientKind,
    /// Its name; may be empty for one that registered itself.
    pub name: String,
    /// Where it may be sent back to: a JSON array of strings.
    pub redirect_uris: String,
    /// `none`, `client_secret_basic` or `client_secret_post`.
    pub auth_method: String,
    /// What it may ask for.
    pub scope: String,
    /// What else it says about itself: a JSON object.
    pub metadata: String,
    /// SHA-256 of the registration access token.
    pub management_hash: Option<Vec<u8>>,
    /// Until when the fetched document counts as fresh, Unix milliseconds.
    pub fresh_until: Option<i64>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// The name of who made it, or the address that registered it.
    pub created_by: String,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// When a token was last issued to it, at most a minute stale.
    pub last_used_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    org_id: Option<String>,
    kind: String,
    name: String,
    redirect_uris: String,
    auth_method: String,
    scope: String,
    metadata: String,
    management_hash: Option<Vec<u8>>,
    fresh_until: Option<i64>,
    created_at: i64,
    created_by: String,
    updated_at: i64,
    last_used_at: Option<i64>,
}

impl TryFrom<Row> for OauthClient {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            org: row.org_id.map(|org| parsed(&org, "oauth_clients", "org_id", &row.id)).transpose()?,
            kind: ClientKind::parse(&row.kind).ok_or_else(|| Error::Inconsistent {
                table: "oauth_clients",
                column: "kind",
                row: row.id.clone(),
            })?,
            id: row.id,
            name: row.name,
            redirect_uris: row.redirect_uris,
            auth_method: row.auth_method,
            scope: row.scope,
            metadata: row.metadata,
            management_hash: row.management_hash,
            fresh_until: row.fresh_until,
            created_at: row.created_at,
            created_by: row.created_by,
            updated_at: row.updated_at,
            last_used_at: row.last_used_at,
        })
    }
}

/// A secret's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSecret {
    /// Its public id.
    pub id: ClientSecretId,
    /// Whose it is.
    pub client: String,
    /// SHA-256 of the secret.
    pub hash: Vec<u8>,
    /// The last four characters.
    pub last4: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Who made it, by name.
    pub created_by: String,
    /// The end of the overlap, Unix milliseconds.
    pub expires_at: Option<i64>,
    /// When a token was last asked for with it, at most a minute stale.
    pub last_used_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct SecretRow {
    id: String,
    client_id: String,
    hash: Vec<u8>,
    last4: String,
    created_at: i64,
    created_by: String,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl TryFrom<SecretRow> for ClientSecret {
    type Error = Error;

    fn try_from(row: SecretRow) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "oauth_client_secrets", "id", &row.id)?,
            client: row.client_id,
            hash: row.hash,
            last4: row.last4,
            created_at: row.created_at,
            created_by: row.created_by,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        })
    }
}

/// A use is written at most this often, milliseconds.
const USE_GRAIN: i64 = 60_000;

/// A client, whoever's it is: client ids are unique in the instance and no secret. Callers check `org`.
pub async fn find(tx: &mut Tx, id: &str) -> Result<Option<OauthClient>> {
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
    row.map(OauthClient::try_from).transpose()
}

/// The clients that the organisation made, newest first.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<OauthClient>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(OauthClient::try_from).collect()
}

/// The clients that belong to nobody and have, or had, a connection in the organisation, newest first.
pub async fn list_connected(tx: &mut Tx, org: OrgId) -> Result<Vec<OauthClient>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_CONNECTED).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(OauthClient::try_from).collect()
}

/// Adds a client. [`Error::Taken`] when the id is in use.
pub async fn insert(tx: &mut Tx, client: &OauthClient) -> Result<()> {
    let org = client.org.map(|org| org.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(&client.id)
        .bind(org)
        .bind(client.kind.as_str())
        .bind(&client.name)
        .bind(&client.redirect_uris)
        .bind(&client.auth_method)
        .bind(&client.scope)
        .bind(&client.metadata)
        .bind(&client.management_hash)
        .bind(client.fresh_until)
        .bind(client.created_at)
        .bind(&client.created_by)
        .bind(client.updated_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes what may change: name, redirect URIs, authentication method, scope, metadata, freshness.
pub async fn update(tx: &mut Tx, client: &OauthClient) -> Result<()> {
    on!(tx, |c| sqlx::query(UPDATE)
        .bind(&client.id)
        .bind(&client.name)
        .bind(&client.redirect_uris)
        .bind(&client.auth_method)
        .bind(&client.scope)
        .bind(&client.metadata)
        .bind(client.fresh_until)
        .bind(client.updated_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes a client and its secrets; whether there was one. Its connections are the caller's business.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<bool> {
    Ok(on!(tx, |c| sqlx::query(DELETE).bind(id).execute(c).await.map(|done| done.rows_affected()))? == 1)
}

/// Notes that a token was issued to it, at most once a minute.
pub async fn set_used(tx: &mut Tx, id: &str, at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(USED).bind(id).bind(at).bind(at - USE_GRAIN).execute(c).await.map(drop))?;
    Ok(())
}

/// How many clients registered themselves since then, Unix milliseconds (OAD-03).
pub async fn count_registered_since(tx: &mut Tx, since: i64) -> Result<i64> {
    let (count,): (i64,) =
        on!(tx, |c| sqlx::query_as(COUNT_REGISTERED_SINCE).bind(since).fetch_one(c).await)?;
    Ok(count)
}

/// Deletes clients of nobody without a live connection that were never used since `registered`, or not since `used`
/// (Unix milliseconds); how many.
pub async fn purge(tx: &mut Tx, registered: i64, used: i64) -> Result<u64> {
    Ok(on!(tx, |c| sqlx::query(PURGE)
        .bind(registered)
        .bind(used)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// A client's secrets, newest first; also those whose overlap has ended.
pub async fn list_secrets(tx: &mut Tx, client: &str) -> Result<Vec<ClientSecret>> {
    let rows: Vec<SecretRow> = on!(tx, |c| sqlx::query_as(LIST_SECRETS).bind(client).fetch_all(c).await)?;
    rows.into_iter().map(ClientSecret::try_from).collect()
}

/// Adds a secret. `org` is that of the client.
pub async fn insert_secret(tx: &mut Tx, org: Option<OrgId>, secret: &ClientSecret) -> Result<()> {
    let (id, org) = (secret.id.to_string(), org.map(|org| org.to_string()));
    on!(tx, |c| sqlx::query(INSERT_SECRET)
        .bind(id)
        .bind(org)
        .bind(&secret.client)
        .bind(&secret.hash)
        .bind(&secret.last4)
        .bind(secret.created_at)
        .bind(&secret.created_by)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Sets the end of a secret's overlap.
pub async fn expire_secret(tx: &mut Tx, id: ClientSecretId, at: i64) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(EXPIRE_SECRET).bind(id).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes a secret.
pub async fn delete_secret(tx: &mut Tx, id: ClientSecretId) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(DELETE_SECRET).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Notes a secret's use, at most once a minute.
pub async fn set_secret_used(tx: &mut Tx, id: ClientSecretId, at: i64) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(SECRET_USED).bind(id).bind(at).bind(at - USE_GRAIN).execute(c).await.map(drop))?;
    Ok(())
}
