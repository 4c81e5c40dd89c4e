//! Browsers that a person trusts to skip the second step of a log-in. Only the SHA-256 of a cookie's value is here.

use model::{OrgId, TrustedBrowserId, UserId};

use crate::{Result, Tx, db::parsed};

statements! {
    INSERT = "INSERT INTO trusted_browsers (id, user_id, token_hash, address, user_agent, created_at, expires_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7)";
    USE = "UPDATE trusted_browsers SET last_used_at = $3 WHERE token_hash = $1 AND user_id = $2 AND expires_at > $3";
    LIST = "SELECT id, token_hash, address, user_agent, created_at, last_used_at, expires_at FROM trusted_browsers \
            WHERE user_id = $1 AND expires_at > $2 ORDER BY created_at DESC, id";
    DELETE = "DELETE FROM trusted_browsers WHERE user_id = $1 AND id = $2";
    DELETE_OF_USER = "DELETE FROM trusted_browsers WHERE user_id = $1";
    DELETE_EXPIRED = "DELETE FROM trusted_browsers WHERE expires_at <= $1";
    COUNT_FORBIDDING = "SELECT COUNT(*) FROM members m JOIN orgs o ON o.id = m.org_id \
                        WHERE m.user_id = $1 AND o.require_mfa AND NOT o.trusted_browsers";
    ALLOWED = "SELECT trusted_browsers FROM orgs WHERE id = $1";
    ALLOW = "UPDATE orgs SET trusted_browsers = $2 WHERE id = $1";
}

/// A trusted browser.
#[derive(Clone, Debug)]
pub struct TrustedBrowser {
    /// Its id in lists; not the cookie's value.
    pub id: TrustedBrowserId,
    /// SHA-256 of the cookie's value.
    pub token_hash: Vec<u8>,
    /// Where it was when it was trusted.
    pub address: String,
    /// The browser's own description.
    pub user_agent: String,
    /// Since when, Unix milliseconds.
    pub created_at: i64,
    /// When it skipped the second step last, Unix milliseconds.
    pub last_used_at: Option<i64>,
    /// Until when, Unix milliseconds.
    pub expires_at: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    token_hash: Vec<u8>,
    address: String,
    user_agent: String,
    created_at: i64,
    last_used_at: Option<i64>,
    expires_at: i64,
}

/// Trusts a browser of a person, and forgets those that were trusted long enough.
pub async fn insert(tx: &mut Tx, user: UserId, browser: &TrustedBrowser) -> Result<()> {
    let (id, user) = (browser.id.to_string(), user.to_string());
    on!(tx, |c| sqlx::query(DELETE_EXPIRED).bind(browser.created_at).execute(c).await.map(drop))?;
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(user)
        .bind(&browser.token_hash)
        .bind(&browser.address)
        .bind(&browser.user_agent)
        .bind(browser.created_at)
        .bind(browser.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes that a browser skips the second step of its person; false when it is not trusted to.
pub async fn take(tx: &mut Tx, user: UserId, token_hash: &[u8], now: i64) -> Result<bool> {
    let user = user.to_string();
    let done = on!(tx, |c| sqlx::query(USE)
        .bind(token_hash)
        .bind(user)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// The trusted browsers of a person, the latest first.
pub async fn list(tx: &mut Tx, user: UserId, now: i64) -> Result<Vec<TrustedBrowser>> {
    let user = user.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(user).bind(now).fetch_all(c).await)?;
    rows.into_iter()
        .map(|row| {
            Ok(TrustedBrowser {
                id: parsed(&row.id, "trusted_browsers", "id", &row.id)?,
                token_hash: row.token_hash,
                address: row.address,
                user_agent: row.user_agent,
                created_at: row.created_at,
                last_used_at: row.last_used_at,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// Trusts a browser of a person no more; whether it was trusted.
pub async fn delete(tx: &mut Tx, user: UserId, id: TrustedBrowserId) -> Result<bool> {
    let (user, id) = (user.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(DELETE)
        .bind(user)
        .bind(id)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Trusts no browser of a person any more; how many that were.
pub async fn delete_of_user(tx: &mut Tx, user: UserId) -> Result<u64> {
    let user = user.to_string();
    Ok(on!(tx, |c| sqlx::query(DELETE_OF_USER).bind(user).execute(c).await.map(|done| done.rows_affected()))?)
}

/// Whether an organisation of the person that requires a second factor wants it at every log-in.
pub async fn is_forbidden(tx: &mut Tx, user: UserId) -> Result<bool> {
    let user = user.to_string();
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_FORBIDDING).bind(user).fetch_one(c).await)?;
    Ok(count > 0)
}

/// Whether the organisation lets its members trust browsers although it requires a second factor.
pub async fn is_allowed(tx: &mut Tx, org: OrgId) -> Result<bool> {
    let org = org.to_string();
    let row: Option<(bool,)> = on!(tx, |c| sqlx::query_as(ALLOWED).bind(org).fetch_optional(c).await)?;
    Ok(row.is_some_and(|(allowed,)| allowed))
}

/// Writes whether it does.
pub async fn allow(tx: &mut Tx, org: OrgId, allowed: bool) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(ALLOW).bind(org).bind(allowed).execute(c).await.map(drop))?;
    Ok(())
}
