//! How connectors authenticate to their servers with OAuth: the client, what was given, and who is on the way to give it.

use model::{
    AuthorizationId, ConnectorId, OrgId, SessionId, UserId,
    credentials::{ClientSource, CredentialKind},
};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    FIND_CLIENT = "SELECT connector_id, kind, issuer, server, resource, scope, scope_wanted, client_source, client_id, client_secret_sealed, \
                   auth_method, secret_expires_at, set_at, set_by FROM connector_oauth WHERE org_id = $1 AND connector_id = $2";
    LIST_CLIENTS = "SELECT connector_id, kind, issuer, server, resource, scope, scope_wanted, client_source, client_id, client_secret_sealed, \
                    auth_method, secret_expires_at, set_at, set_by FROM connector_oauth WHERE org_id = $1 ORDER BY connector_id";
    PUT_CLIENT = "INSERT INTO connector_oauth (org_id, connector_id, kind, issuer, server, resource, scope, scope_wanted, client_source, \
                  client_id, client_secret_sealed, auth_method, secret_expires_at, set_at, set_by) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
                  ON CONFLICT (connector_id) DO UPDATE SET kind = excluded.kind, issuer = excluded.issuer, server = excluded.server, \
                  resource = excluded.resource, scope = excluded.scope, scope_wanted = excluded.scope_wanted, \
                  client_source = excluded.client_source, client_id = excluded.client_id, \
                  client_secret_sealed = excluded.client_secret_sealed, auth_method = excluded.auth_method, \
                  secret_expires_at = excluded.secret_expires_at, set_at = excluded.set_at, set_by = excluded.set_by";
    SET_SCOPE_WANTED = "UPDATE connector_oauth SET scope_wanted = $3 WHERE org_id = $1 AND connector_id = $2";
    DELETE_CLIENT = "DELETE FROM connector_oauth WHERE org_id = $1 AND connector_id = $2";
    FIND = "SELECT id, connector_id, user_id, issuer, resource, scope, tokens_sealed, issued_at, expires_at, refreshable, generation, \
            lost_at, lost_reason, authorized_at, authorized_by FROM upstream_authorizations WHERE org_id = $1 AND id = $2";
    LIST = "SELECT id, connector_id, user_id, issuer, resource, scope, tokens_sealed, issued_at, expires_at, refreshable, generation, \
            lost_at, lost_reason, authorized_at, authorized_by FROM upstream_authorizations WHERE org_id = $1 ORDER BY authorized_at DESC, id DESC";
    LIST_OF_USER = "SELECT id, connector_id, user_id, issuer, resource, scope, tokens_sealed, issued_at, expires_at, refreshable, generation, \
            lost_at, lost_reason, authorized_at, authorized_by FROM upstream_authorizations WHERE org_id = $1 AND user_id = $2 ORDER BY id";
    INSERT = "INSERT INTO upstream_authorizations (org_id, id, connector_id, user_id, issuer, resource, scope, tokens_sealed, issued_at, \
              expires_at, refreshable, generation, authorized_at, authorized_by) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    LEASE = "UPDATE upstream_authorizations SET lease = $4, lease_until = $5 WHERE org_id = $1 AND id = $2 AND generation = $3 \
             AND lost_at IS NULL AND (lease_until IS NULL OR lease_until <= $6)";
    RELEASE = "UPDATE upstream_authorizations SET lease = NULL, lease_until = NULL WHERE org_id = $1 AND id = $2 AND lease = $3";
    RENEW = "UPDATE upstream_authorizations SET tokens_sealed = $4, issued_at = $5, expires_at = $6, refreshable = $7, scope = $8, \
             generation = generation + 1, lease = NULL, lease_until = NULL WHERE org_id = $1 AND id = $2 AND generation = $3";
    LOSE = "UPDATE upstream_authorizations SET lost_at = $4, lost_reason = $5, lease = NULL, lease_until = NULL \
            WHERE org_id = $1 AND id = $2 AND generation = $3 AND lost_at IS NULL";
    DELETE = "DELETE FROM upstream_authorizations WHERE org_id = $1 AND id = $2";
    DELETE_OF = "DELETE FROM upstream_authorizations WHERE org_id = $1 AND connector_id = $2 AND COALESCE(user_id, '') = $3";
    DELETE_ALL_OF = "DELETE FROM upstream_authorizations WHERE org_id = $1 AND connector_id = $2";
    INSERT_ATTEMPT = "INSERT INTO upstream_attempts (state_hash, org_id, connector_id, session_id, user_id, personal, issuer, client_id, \
                      scope, verifier_sealed, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    FIND_ATTEMPT = "SELECT org_id, connector_id, session_id, user_id, personal, issuer, client_id, scope, verifier_sealed, created_at, \
                    expires_at FROM upstream_attempts WHERE state_hash = $1";
    TAKE_ATTEMPT = "DELETE FROM upstream_attempts WHERE state_hash = $1";
    PURGE_ATTEMPTS = "DELETE FROM upstream_attempts WHERE expires_at < $1";
    PURGE_ATTEMPTS_OF = "DELETE FROM upstream_attempts WHERE org_id = $1 AND user_id = $2 AND connector_id = $3";
}

/// As which client Gatehouse comes to a connector's authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The connector.
    pub connector: ConnectorId,
    /// The way; never [`CredentialKind::Static`].
    pub kind: CredentialKind,
    /// The authorization server.
    pub issuer: String,
    /// What it said about itself: JSON.
    pub server: String,
    /// What access is asked for.
    pub resource: String,
    /// The scope that somebody typed.
    pub scope: String,
    /// What the server has asked for beyond it.
    pub scope_wanted: String,
    /// Where the client came from; `None` while there is none.
    pub source: Option<ClientSource>,
    /// Its id.
    pub client_id: String,
    /// Its secret, sealed.
    pub secret_sealed: Option<Vec<u8>>,
    /// How it authenticates at the token endpoint.
    pub auth_method: String,
    /// When the secret ends, Unix milliseconds.
    pub secret_expires_at: Option<i64>,
    /// Unix milliseconds.
    pub set_at: i64,
    /// By name.
    pub set_by: String,
}

/// What was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Its id.
    pub id: AuthorizationId,
    /// For which connector.
    pub connector: ConnectorId,
    /// Whose; `None` for the organisation's own.
    pub user: Option<UserId>,
    /// Who issued the tokens.
    pub issuer: String,
    /// What they are for.
    pub resource: String,
    /// What they may do; empty if that was not said.
    pub scope: String,
    /// The tokens, sealed.
    pub tokens_sealed: Vec<u8>,
    /// Unix milliseconds.
    pub issued_at: i64,
    /// When the access token ends, Unix milliseconds.
    pub expires_at: Option<i64>,
    /// Whether it can be renewed without a person.
    pub refreshable: bool,
    /// Raised whenever the tokens are replaced.
    pub generation: i64,
    /// Since when it does not work any more, and why.
    pub lost: Option<(i64, String)>,
    /// Unix milliseconds.
    pub authorized_at: i64,
    /// By name.
    pub authorized_by: String,
}

/// Tokens that take the place of others.
#[derive(Clone, Debug)]
pub struct Renewed<'a> {
    /// The tokens, sealed.
    pub tokens_sealed: &'a [u8],
    /// Unix milliseconds.
    pub issued_at: i64,
    /// Unix milliseconds.
    pub expires_at: Option<i64>,
    /// Whether there is something to renew them with.
    pub refreshable: bool,
    /// What they may do.
    pub scope: &'a str,
}

/// Somebody on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The organisation.
    pub org: OrgId,
    /// The connector.
    pub connector: ConnectorId,
    /// The session that may come back.
    pub session: SessionId,
    /// Whose that is.
    pub user: UserId,
    /// Whether it is for this person alone.
    pub personal: bool,
    /// Where they were sent.
    pub issuer: String,
    /// As which client.
    pub client_id: String,
    /// What was asked for.
    pub scope: String,
    /// The PKCE verifier, sealed.
    pub verifier_sealed: Vec<u8>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub expires_at: i64,
}

#[derive(sqlx::FromRow)]
struct ClientRow {
    connector_id: String,
    kind: String,
    issuer: String,
    server: String,
    resource: String,
    scope: String,
    scope_wanted: String,
    client_source: String,
    client_id: String,
    client_secret_sealed: Option<Vec<u8>>,
    auth_method: String,
    secret_expires_at: Option<i64>,
    set_at: i64,
    set_by: String,
}

impl TryFrom<ClientRow> for Client {
    type Error = Error;

    fn try_from(row: ClientRow) -> Result<Self> {
        let wrong =
            |column| Error::Inconsistent { table: "connector_oauth", column, row: row.connector_id.clone() };
        Ok(Self {
            connector: parsed(&row.connector_id, "connector_oauth", "connector_id", &row.connector_id)?,
            kind: CredentialKind::parse(&row.kind).ok_or_else(|| wrong("kind"))?,
            source: match row.client_source.as_str() {
                "" => None,
                source => Some(ClientSource::parse(source).ok_or_else(|| wrong("client_source"))?),
            },
            issuer: row.issuer,
            server: row.server,
            resource: row.resource,
            scope: row.scope,
            scope_wanted: row.scope_wanted,
            client_id: row.client_id,
            secret_sealed: row.client_secret_sealed,
            auth_method: row.auth_method,
            secret_expires_at: row.secret_expires_at,
            set_at: row.set_at,
            set_by: row.set_by,
        })
    }
}

#[derive(sqlx::FromRow)]
struct AuthorizationRow {
    id: String,
    connector_id: String,
    user_id: Option<String>,
    issuer: String,
    resource: String,
    scope: String,
    tokens_sealed: Vec<u8>,
    issued_at: i64,
    expires_at: Option<i64>,
    refreshable: bool,
    generation: i64,
    lost_at: Option<i64>,
    lost_reason: Option<String>,
    authorized_at: i64,
    authorized_by: String,
}

impl TryFrom<AuthorizationRow> for Authorization {
    type Error = Error;

    fn try_from(row: AuthorizationRow) -> Result<Self> {
        const TABLE: &str = "upstream_authorizations";
        Ok(Self {
            id: parsed(&row.id, TABLE, "id", &row.id)?,
            connector: parsed(&row.connector_id, TABLE, "connector_id", &row.id)?,
            user: row.user_id.map(|user| parsed(&user, TABLE, "user_id", &row.id)).transpose()?,
            issuer: row.issuer,
            resource: row.resource,
            scope: row.scope,
            tokens_sealed: row.tokens_sealed,
            issued_at: row.issued_at,
            expires_at: row.expires_at,
            refreshable: row.refreshable,
            generation: row.generation,
            lost: row.lost_at.map(|at| (at, row.lost_reason.unwrap_or_default())),
            authorized_at: row.authorized_at,
            authorized_by: row.authorized_by,
        })
    }
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    org_id: String,
    connector_id: String,
    session_id: String,
    user_id: String,
    personal: bool,
    issuer: String,
    client_id: String,
    scope: String,
    verifier_sealed: Vec<u8>,
    created_at: i64,
    expires_at: i64,
}

impl TryFrom<AttemptRow> for Attempt {
    type Error = Error;

    fn try_from(row: AttemptRow) -> Result<Self> {
        const TABLE: &str = "upstream_attempts";
        Ok(Self {
            org: parsed(&row.org_id, TABLE, "org_id", "")?,
            connector: parsed(&row.connector_id, TABLE, "connector_id", "")?,
            session: parsed(&row.session_id, TABLE, "session_id", "")?,
            user: parsed(&row.user_id, TABLE, "user_id", "")?,
            personal: row.personal,
            issuer: row.issuer,
            client_id: row.client_id,
            scope: row.scope,
            verifier_sealed: row.verifier_sealed,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }
}

/// The client of a connector; `None` for one with static headers.
pub async fn find_client(tx: &mut Tx, org: OrgId, connector: ConnectorId) -> Result<Option<Client>> {
    let (org, connector) = (org.to_string(), connector.to_string());
    let row: Option<ClientRow> =
        on!(tx, |c| sqlx::query_as(FIND_CLIENT).bind(org).bind(connector).fetch_optional(c).await)?;
    row.map(Client::try_from).transpose()
}

/// The clients of all connectors.
pub async fn list_clients(tx: &mut Tx, org: OrgId) -> Result<Vec<Client>> {
    let org = org.to_string();
    let rows: Vec<ClientRow> = on!(tx, |c| sqlx::query_as(LIST_CLIENTS).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(Client::try_from).collect()
}

/// Writes the client of a connector in place of the one it had.
pub async fn put_client(tx: &mut Tx, org: OrgId, client: &Client) -> Result<()> {
    let (org, connector) = (org.to_string(), client.connector.to_string());
    on!(tx, |c| sqlx::query(PUT_CLIENT)
        .bind(org)
        .bind(connector)
        .bind(client.kind.as_str())
        .bind(&client.issuer)
        .bind(&client.server)
        .bind(&client.resource)
        .bind(&client.scope)
        .bind(&client.scope_wanted)
        .bind(client.source.map_or("", ClientSource::as_str))
        .bind(&client.client_id)
        .bind(client.secret_sealed.as_deref())
        .bind(&client.auth_method)
        .bind(client.secret_expires_at)
        .bind(client.set_at)
        .bind(&client.set_by)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes what the server asked for.
pub async fn set_scope_wanted(tx: &mut Tx, org: OrgId, connector: ConnectorId, scope: &str) -> Result<()> {
    let (org, connector) = (org.to_string(), connector.to_string());
    on!(tx, |c| sqlx::query(SET_SCOPE_WANTED)
        .bind(org)
        .bind(connector)
        .bind(scope)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes the client of a connector; whether there was one.
pub async fn delete_client(tx: &mut Tx, org: OrgId, connector: ConnectorId) -> Result<bool> {
    let (org, connector) = (org.to_string(), connector.to_string());
    let done = on!(tx, |c| sqlx::query(DELETE_CLIENT)
        .bind(org)
        .bind(connector)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// One authorisation.
pub async fn find(tx: &mut Tx, org: OrgId, id: AuthorizationId) -> Result<Option<Authorization>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<AuthorizationRow> =
        on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(Authorization::try_from).transpose()
}

/// All authorisations of the organisation, newest first.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<Authorization>> {
    let org = org.to_string();
    let rows: Vec<AuthorizationRow> = on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(Authorization::try_from).collect()
}

/// Those of one member.
pub async fn list_of_user(tx: &mut Tx, org: OrgId, user: UserId) -> Result<Vec<Authorization>> {
    let (org, user) = (org.to_string(), user.to_string());
    let rows: Vec<AuthorizationRow> =
        on!(tx, |c| sqlx::query_as(LIST_OF_USER).bind(org).bind(user).fetch_all(c).await)?;
    rows.into_iter().map(Authorization::try_from).collect()
}

/// Writes a new authorisation in place of the one that the same owner had for the connector.
pub async fn replace(tx: &mut Tx, org: OrgId, new: &Authorization) -> Result<()> {
    delete_of(tx, org, new.connector, new.user).await?;
    let (org, id, connector) = (org.to_string(), new.id.to_string(), new.connector.to_string());
    let user = new.user.map(|user| user.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(org)
        .bind(id)
        .bind(connector)
        .bind(user)
        .bind(&new.issuer)
        .bind(&new.resource)
        .bind(&new.scope)
        .bind(&new.tokens_sealed)
        .bind(new.issued_at)
        .bind(new.expires_at)
        .bind(new.refreshable)
        .bind(new.generation)
        .bind(new.authorized_at)
        .bind(&new.authorized_by)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Takes the right to renew tokens of this generation, until then; whether it was free. Two nodes never have it at once.
pub async fn lease(
    tx: &mut Tx,
    org: OrgId,
    id: AuthorizationId,
    generation: i64,
    holder: &str,
    until: i64,
    now: i64,
) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(LEASE)
        .bind(org)
        .bind(id)
        .bind(generation)
        .bind(holder)
        .bind(until)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Gives that right back.
pub async fn release(tx: &mut Tx, org: OrgId, id: AuthorizationId, holder: &str) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(RELEASE).bind(org).bind(id).bind(holder).execute(c).await.map(drop))?;
    Ok(())
}

/// Replaces the tokens of a generation; whether it was still the newest.
pub async fn renew(
    tx: &mut Tx,
    org: OrgId,
    id: AuthorizationId,
    generation: i64,
    new: &Renewed<'_>,
) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(RENEW)
        .bind(org)
        .bind(id)
        .bind(generation)
        .bind(new.tokens_sealed)
        .bind(new.issued_at)
        .bind(new.expires_at)
        .bind(new.refreshable)
        .bind(new.scope)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Notes that an authorisation works no more, unless it was renewed meanwhile; whether that is news.
pub async fn lose(
    tx: &mut Tx,
    org: OrgId,
    id: AuthorizationId,
    generation: i64,
    at: i64,
    reason: &str,
) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(LOSE)
        .bind(org)
        .bind(id)
        .bind(generation)
        .bind(at)
        .bind(reason)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Deletes one authorisation; whether there was one.
pub async fn delete(tx: &mut Tx, org: OrgId, id: AuthorizationId) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(DELETE)
        .bind(org)
        .bind(id)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Deletes what an owner gave for a connector: a member, or with `None` the organisation.
pub async fn delete_of(
    tx: &mut Tx,
    org: OrgId,
    connector: ConnectorId,
    user: Option<UserId>,
) -> Result<bool> {
    let (org, connector) = (org.to_string(), connector.to_string());
    let user = user.map(|user| user.to_string()).unwrap_or_default();
    let done = on!(tx, |c| sqlx::query(DELETE_OF)
        .bind(org)
        .bind(connector)
        .bind(user)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Deletes everything that was given for a connector; how much it was.
pub async fn delete_all_of(tx: &mut Tx, org: OrgId, connector: ConnectorId) -> Result<u64> {
    let (org, connector) = (org.to_string(), connector.to_string());
    Ok(on!(tx, |c| sqlx::query(DELETE_ALL_OF)
        .bind(org)
        .bind(connector)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// Notes that somebody is on the way. What the same person began for the same connector before is forgotten.
pub async fn insert_attempt(tx: &mut Tx, state_hash: &[u8], attempt: &Attempt) -> Result<()> {
    let (org, connector) = (attempt.org.to_string(), attempt.connector.to_string());
    let (session, user) = (attempt.session.to_string(), attempt.user.to_string());
    on!(tx, |c| sqlx::query(PURGE_ATTEMPTS_OF)
        .bind(&org)
        .bind(&user)
        .bind(&connector)
        .execute(c)
        .await
        .map(drop))?;
    on!(tx, |c| sqlx::query(INSERT_ATTEMPT)
        .bind(state_hash)
        .bind(org)
        .bind(connector)
        .bind(session)
        .bind(user)
        .bind(attempt.personal)
        .bind(&attempt.issuer)
        .bind(&attempt.client_id)
        .bind(&attempt.scope)
        .bind(&attempt.verifier_sealed)
        .bind(attempt.created_at)
        .bind(attempt.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Who is on the way with this state. It names the organisation by itself, because whoever comes back names nothing else.
pub async fn find_attempt(tx: &mut Tx, state_hash: &[u8]) -> Result<Option<Attempt>> {
    let row: Option<AttemptRow> =
        on!(tx, |c| sqlx::query_as(FIND_ATTEMPT).bind(state_hash).fetch_optional(c).await)?;
    row.map(Attempt::try_from).transpose()
}

/// Ends an attempt; whether it was there. Only one of two that come back with the same state gets `true`.
pub async fn take_attempt(tx: &mut Tx, state_hash: &[u8]) -> Result<bool> {
    let done = on!(tx, |c| sqlx::query(TAKE_ATTEMPT)
        .bind(state_hash)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Forgets attempts that ended before this time.
pub async fn purge_attempts(tx: &mut Tx, before: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(PURGE_ATTEMPTS).bind(before).execute(c).await.map(drop))?;
    Ok(())
}
