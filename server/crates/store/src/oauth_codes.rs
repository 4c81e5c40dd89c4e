//! Stored authorization requests and the hashes of authorization codes.

use model::{GrantId, OrgId, SessionId, UserId};

use crate::{Result, Tx, db::parsed};

statements! {
    INSERT_REQUEST = "INSERT INTO authorization_requests (token_hash, session_id, user_id, client_id, params, created_at, expires_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";
    FIND_REQUEST = "SELECT session_id, user_id, client_id, params, created_at, expires_at FROM authorization_requests WHERE token_hash = $1";
    TAKE_REQUEST = "DELETE FROM authorization_requests WHERE token_hash = $1";
    COUNT_REQUESTS = "SELECT COUNT(*) FROM authorization_requests WHERE user_id = $1";
    DELETE_OLDEST_REQUEST = "DELETE FROM authorization_requests WHERE token_hash = \
                             (SELECT token_hash FROM authorization_requests WHERE user_id = $1 ORDER BY created_at LIMIT 1)";
    PURGE_REQUESTS = "DELETE FROM authorization_requests WHERE expires_at < $1";
    INSERT = "INSERT INTO oauth_codes (hash, org_id, user_id, client_id, redirect_uri, code_challenge, scope, resource, session_id, \
              address, user_agent, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    USE = "UPDATE oauth_codes SET used_at = $2 WHERE hash = $1 AND used_at IS NULL";
    FIND = "SELECT org_id, user_id, client_id, redirect_uri, code_challenge, scope, resource, session_id, address, user_agent, \
            created_at, expires_at, used_at, grant_id FROM oauth_codes WHERE hash = $1";
    SET_GRANT = "UPDATE oauth_codes SET grant_id = $2 WHERE hash = $1";
    PURGE = "DELETE FROM oauth_codes WHERE expires_at < $1";
}

/// A stored authorization request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The session that may decide.
    pub session: SessionId,
    /// The person that may decide.
    pub user: UserId,
    /// The client that asks.
    pub client: String,
    /// What it asks for: JSON.
    pub params: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub expires_at: i64,
}

#[derive(sqlx::FromRow)]
struct RequestRow {
    session_id: String,
    user_id: String,
    client_id: String,
    params: String,
    created_at: i64,
    expires_at: i64,
}

/// An authorization code's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The organisation that was chosen.
    pub org: OrgId,
    /// Who allowed it.
    pub user: UserId,
    /// To whom it was given.
    pub client: String,
    /// The redirect URI of the request, byte for byte.
    pub redirect_uri: String,
    /// The S256 challenge.
    pub code_challenge: String,
    /// What was granted.
    pub scope: String,
    /// The resource that its tokens are for.
    pub resource: String,
    /// The session it was allowed in.
    pub session: SessionId,
    /// The browser's address.
    pub address: String,
    /// The browser.
    pub user_agent: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub expires_at: i64,
    /// When it was presented.
    pub used_at: Option<i64>,
    /// The grant that it brought.
    pub grant: Option<GrantId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    org_id: String,
    user_id: String,
    client_id: String,
    redirect_uri: String,
    code_challenge: String,
    scope: String,
    resource: String,
    session_id: String,
    address: String,
    user_agent: String,
    created_at: i64,
    expires_at: i64,
    used_at: Option<i64>,
    grant_id: Option<String>,
}

/// Stores a request. A person has at most `most` open ones: the oldest gives way.
pub async fn insert_request(tx: &mut Tx, hash: &[u8], request: &Request, most: i64) -> Result<()> {
    let (session, user) = (request.session.to_string(), request.user.to_string());
    let (open,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_REQUESTS).bind(&user).fetch_one(c).await)?;
    if open >= most {
        on!(tx, |c| sqlx::query(DELETE_OLDEST_REQUEST).bind(&user).execute(c).await.map(drop))?;
    }
    on!(tx, |c| sqlx::query(INSERT_REQUEST)
        .bind(hash)
        .bind(session)
        .bind(user)
        .bind(&request.client)
        .bind(&request.params)
        .bind(request.created_at)
        .bind(request.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// A stored request.
pub async fn find_request(tx: &mut Tx, hash: &[u8]) -> Result<Option<Request>> {
    let row: Option<RequestRow> =
        on!(tx, |c| sqlx::query_as(FIND_REQUEST).bind(hash).fetch_optional(c).await)?;
    row.map(|row| {
        Ok(Request {
            session: parsed(&row.session_id, "authorization_requests", "session_id", &row.session_id)?,
            user: parsed(&row.user_id, "authorization_requests", "user_id", &row.user_id)?,
            client: row.client_id,
            params: row.params,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    })
    .transpose()
}

/// Takes a stored request away, so that it is decided once; whether it was still there.
pub async fn take_request(tx: &mut Tx, hash: &[u8]) -> Result<bool> {
    Ok(on!(tx, |c| sqlx::query(TAKE_REQUEST).bind(hash).execute(c).await.map(|done| done.rows_affected()))?
        == 1)
}

/// Adds a code.
pub async fn insert(tx: &mut Tx, hash: &[u8], code: &Code) -> Result<()> {
    let (org, user, session) = (code.org.to_string(), code.user.to_string(), code.session.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(hash)
        .bind(org)
        .bind(user)
        .bind(&code.client)
        .bind(&code.redirect_uri)
        .bind(&code.code_challenge)
        .bind(&code.scope)
        .bind(&code.resource)
        .bind(session)
        .bind(&code.address)
        .bind(&code.user_agent)
        .bind(code.created_at)
        .bind(code.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Marks a code as presented; whether this was the first time. One statement decides between two that come at once
/// (OAT-02).
pub async fn mark_used(tx: &mut Tx, hash: &[u8], at: i64) -> Result<bool> {
    Ok(on!(tx, |c| sqlx::query(USE).bind(hash).bind(at).execute(c).await.map(|done| done.rows_affected()))?
        == 1)
}

/// A code, also a used or expired one: the caller judges.
pub async fn find(tx: &mut Tx, hash: &[u8]) -> Result<Option<Code>> {
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(hash).fetch_optional(c).await)?;
    row.map(|row| {
        let parsed_id = |text: &str, column| parsed(text, "oauth_codes", column, text);
        Ok(Code {
            org: parsed_id(&row.org_id, "org_id")?,
            user: parsed(&row.user_id, "oauth_codes", "user_id", &row.user_id)?,
            client: row.client_id,
            redirect_uri: row.redirect_uri,
            code_challenge: row.code_challenge,
            scope: row.scope,
            resource: row.resource,
            session: parsed(&row.session_id, "oauth_codes", "session_id", &row.session_id)?,
            address: row.address,
            user_agent: row.user_agent,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
            grant: row.grant_id.map(|id| parsed(&id, "oauth_codes", "grant_id", &id)).transpose()?,
        })
    })
    .transpose()
}

/// Notes which grant a code brought.
pub async fn set_grant(tx: &mut Tx, hash: &[u8], grant: GrantId) -> Result<()> {
    let grant = grant.to_string();
    on!(tx, |c| sqlx::query(SET_GRANT).bind(hash).bind(grant).execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes requests that expired before `requests` and codes that expired before `codes`, Unix milliseconds. A code is
/// kept for as long as its tokens may live, so that its second use is recognised.
pub async fn purge(tx: &mut Tx, requests: i64, codes: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(PURGE_REQUESTS).bind(requests).execute(c).await.map(drop))?;
    on!(tx, |c| sqlx::query(PURGE).bind(codes).execute(c).await.map(drop))?;
    Ok(())
}
