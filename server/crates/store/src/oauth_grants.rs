//! Grants and the hashes of their refresh tokens.

use model::{ConnectionId, ConnectionKeyId, GrantId, MemberRole, OrgId, UserId};

use crate::{Error, Result, Tx, db::parsed, roles::held};

statements! {
    FIND_BY_TOKEN = "SELECT g.id, g.org_id, g.connection_id, g.client_id, g.scope, g.resource, g.generation, g.rotated_at, g.repeats, \
                     g.used_generation, g.created_at, g.expires_at, g.revoked_at, t.generation AS presented \
                     FROM refresh_tokens t JOIN oauth_grants g ON g.id = t.grant_id WHERE t.hash = $1";
    FIND = "SELECT id, org_id, connection_id, client_id, scope, resource, generation, rotated_at, repeats, used_generation, \
            created_at, expires_at, revoked_at, generation AS presented FROM oauth_grants WHERE org_id = $1 AND id = $2";
    LIST_LIVE = "SELECT g.id, g.connection_id, n.key_id, g.client_id, n.client_name, n.user_id, m.role, r.name AS role_name, r.permissions, g.scope, g.created_at, g.expires_at \
                 FROM oauth_grants g JOIN connections n ON n.id = g.connection_id \
                 JOIN members m ON m.org_id = g.org_id AND m.user_id = n.user_id \
                 LEFT JOIN roles r ON r.org_id = m.org_id AND r.id = m.role \
                 WHERE g.org_id = $1 AND g.revoked_at IS NULL AND g.expires_at > $2 AND n.revoked_at IS NULL";
    LOCK = "UPDATE oauth_grants SET generation = generation WHERE id = $1";
    INSERT = "INSERT INTO oauth_grants (id, org_id, connection_id, client_id, scope, resource, generation, repeats, used_generation, \
              created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, 1, 0, 0, $7, $8)";
    ROTATE = "UPDATE oauth_grants SET generation = generation + 1, rotated_at = $3, repeats = 0 \
              WHERE org_id = $1 AND id = $2 AND generation = $4 AND revoked_at IS NULL";
    REPEAT = "UPDATE oauth_grants SET repeats = repeats + 1 WHERE org_id = $1 AND id = $2";
    SET_USED = "UPDATE oauth_grants SET used_generation = $3 WHERE org_id = $1 AND id = $2 AND used_generation < $3";
    REVOKE = "UPDATE oauth_grants SET revoked_at = $3, revoked_reason = $4 WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL";
    REVOKE_OF_CONNECTION = "UPDATE oauth_grants SET revoked_at = $3, revoked_reason = $4 \
                            WHERE org_id = $1 AND connection_id = $2 AND revoked_at IS NULL";
    LIST_OF_CONNECTION = "SELECT id, scope FROM oauth_grants \
                          WHERE org_id = $1 AND connection_id = $2 AND revoked_at IS NULL AND expires_at > $3 ORDER BY created_at, id";
    SET_SCOPE = "UPDATE oauth_grants SET scope = $3 WHERE org_id = $1 AND id = $2";
    INSERT_TOKEN = "INSERT INTO refresh_tokens (hash, org_id, grant_id, generation, created_at) VALUES ($1, $2, $3, $4, $5)";
    PURGE = "DELETE FROM oauth_grants WHERE expires_at < $1";
}

/// A grant's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Its organisation.
    pub org: OrgId,
    /// The connection that it belongs to.
    pub connection: ConnectionId,
    /// The client that it was given to.
    pub client: String,
    /// What was granted.
    pub scope: String,
    /// The resource that its tokens are for.
    pub resource: String,
    /// The generation of its newest refresh token.
    pub generation: i64,
    /// When that one was made by rotation, Unix milliseconds.
    pub rotated_at: Option<i64>,
    /// How often its predecessor was presented again since.
    pub repeats: i64,
    /// The newest generation of which a refresh or access token was used.
    pub used_generation: i64,
    /// When consent was given, Unix milliseconds.
    pub created_at: i64,
    /// When it ends, Unix milliseconds. Rotation does not move it.
    pub expires_at: i64,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// The generation of the refresh token it was found by; its own when it was found by its id.
    pub presented: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    org_id: String,
    connection_id: String,
    client_id: String,
    scope: String,
    resource: String,
    generation: i64,
    rotated_at: Option<i64>,
    repeats: i64,
    used_generation: i64,
    created_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    presented: i64,
}

impl TryFrom<Row> for Grant {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "oauth_grants", "id", &row.id)?,
            org: parsed(&row.org_id, "oauth_grants", "org_id", &row.id)?,
            connection: parsed(&row.connection_id, "oauth_grants", "connection_id", &row.id)?,
            client: row.client_id,
            scope: row.scope,
            resource: row.resource,
            generation: row.generation,
            rotated_at: row.rotated_at,
            repeats: row.repeats,
            used_generation: row.used_generation,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            presented: row.presented,
        })
    }
}

/// The grant that a refresh token belongs to, also when it has ended: the caller judges.
pub async fn find_by_token(tx: &mut Tx, hash: &[u8]) -> Result<Option<Grant>> {
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND_BY_TOKEN).bind(hash).fetch_optional(c).await)?;
    row.map(Grant::try_from).transpose()
}

/// One grant.
pub async fn find(tx: &mut Tx, org: OrgId, id: GrantId) -> Result<Option<Grant>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(Grant::try_from).transpose()
}

/// A grant that works, with what its connection says: what access tokens are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveGrant {
    /// Its id.
    pub id: GrantId,
    /// The connection that it belongs to.
    pub connection: ConnectionId,
    /// The connection's key.
    pub key: ConnectionKeyId,
    /// The client that it was given to.
    pub client: String,
    /// As the client named itself; may be empty.
    pub client_name: String,
    /// Who gave it.
    pub user: UserId,
    /// Their role now: not everyone may have connections.
    pub role: MemberRole,
    /// What was granted.
    pub scope: String,
    /// When consent was given, Unix milliseconds.
    pub created_at: i64,
    /// When it ends, Unix milliseconds.
    pub expires_at: i64,
}

#[derive(sqlx::FromRow)]
struct LiveRow {
    id: String,
    connection_id: String,
    key_id: String,
    client_id: String,
    client_name: String,
    user_id: String,
    role: String,
    role_name: Option<String>,
    permissions: Option<String>,
    scope: String,
    created_at: i64,
    expires_at: i64,
}

/// The grants of live connections that have not ended by `now`, as far as who gave them is still a member.
pub async fn list_live(tx: &mut Tx, org: OrgId, now: i64) -> Result<Vec<LiveGrant>> {
    let org = org.to_string();
    let rows: Vec<LiveRow> = on!(tx, |c| sqlx::query_as(LIST_LIVE).bind(org).bind(now).fetch_all(c).await)?;
    rows.into_iter()
        .map(|row| {
            Ok(LiveGrant {
                id: parsed(&row.id, "oauth_grants", "id", &row.id)?,
                connection: parsed(&row.connection_id, "oauth_grants", "connection_id", &row.id)?,
                key: parsed(&row.key_id, "connections", "key_id", &row.connection_id)?,
                user: parsed(&row.user_id, "connections", "user_id", &row.connection_id)?,
                role: held(&row.role, row.role_name.zip(row.permissions), "members", &row.user_id)?,
                client: row.client_id,
                client_name: row.client_name,
                scope: row.scope,
                created_at: row.created_at,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// Makes other refreshes of the grant wait until this transaction ends. Read it afterwards.
pub async fn lock(tx: &mut Tx, id: GrantId) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(LOCK).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Adds a grant of generation 1. Its refresh token is added by [`insert_token`].
pub async fn insert(tx: &mut Tx, grant: &Grant) -> Result<()> {
    let (id, org, connection) = (grant.id.to_string(), grant.org.to_string(), grant.connection.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(connection)
        .bind(&grant.client)
        .bind(&grant.scope)
        .bind(&grant.resource)
        .bind(grant.created_at)
        .bind(grant.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Raises the generation, if it still is `from` and the grant lives; whether it did (OAR-05).
pub async fn rotate(tx: &mut Tx, org: OrgId, id: GrantId, from: i64, at: i64) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query(ROTATE)
        .bind(org)
        .bind(id)
        .bind(at)
        .bind(from)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// Counts one more presentation of the predecessor.
pub async fn repeat(tx: &mut Tx, org: OrgId, id: GrantId) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(REPEAT).bind(org).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Notes that a token of this generation was used.
pub async fn set_used(tx: &mut Tx, org: OrgId, id: GrantId, generation: i64) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_USED).bind(org).bind(id).bind(generation).execute(c).await.map(drop))?;
    Ok(())
}

/// Revokes a grant; whether it was live.
pub async fn revoke(tx: &mut Tx, org: OrgId, id: GrantId, at: i64, reason: &str) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query(REVOKE)
        .bind(org)
        .bind(id)
        .bind(at)
        .bind(reason)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// Revokes all grants of a connection.
pub async fn revoke_of_connection(
    tx: &mut Tx,
    org: OrgId,
    id: ConnectionId,
    at: i64,
    reason: &str,
) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(REVOKE_OF_CONNECTION)
        .bind(org)
        .bind(id)
        .bind(at)
        .bind(reason)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The grants of a connection that have not ended by `now`, with what each was given; the oldest first.
pub async fn list_of_connection(
    tx: &mut Tx,
    org: OrgId,
    id: ConnectionId,
    now: i64,
) -> Result<Vec<(GrantId, String)>> {
    let (org, id) = (org.to_string(), id.to_string());
    let rows: Vec<(String, String)> =
        on!(tx, |c| sqlx::query_as(LIST_OF_CONNECTION).bind(org).bind(id).bind(now).fetch_all(c).await)?;
    rows.into_iter().map(|(id, scope)| Ok((parsed(&id, "oauth_grants", "id", &id)?, scope))).collect()
}

/// Changes what a grant was given.
pub async fn set_scope(tx: &mut Tx, org: OrgId, id: GrantId, scope: &str) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_SCOPE).bind(org).bind(id).bind(scope).execute(c).await.map(drop))?;
    Ok(())
}

/// Adds the hash of a refresh token.
pub async fn insert_token(
    tx: &mut Tx,
    org: OrgId,
    id: GrantId,
    generation: i64,
    hash: &[u8],
    at: i64,
) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(INSERT_TOKEN)
        .bind(hash)
        .bind(org)
        .bind(id)
        .bind(generation)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes grants, with their refresh tokens, that ended before then (Unix milliseconds); how many.
pub async fn purge(tx: &mut Tx, before: i64) -> Result<u64> {
    Ok(on!(tx, |c| sqlx::query(PURGE).bind(before).execute(c).await.map(|done| done.rows_affected()))?)
}
