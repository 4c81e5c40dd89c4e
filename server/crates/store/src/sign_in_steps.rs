//! Log-ins whose password was right and that wait for the second factor (MFA-03). Only the SHA-256 of a cookie's value is
//! here.

use model::{SessionId, UserId};

use crate::{Result, Tx, db::parsed};

statements! {
    INSERT = "INSERT INTO sign_in_steps (token_hash, user_id, attempts, expires_at, failures) VALUES ($1, $2, 0, $3, $4)";
    FIND = "SELECT user_id FROM sign_in_steps WHERE token_hash = $1 AND expires_at > $2 AND attempts < $3";
    ATTEMPT = "UPDATE sign_in_steps SET attempts = attempts + 1 \
               WHERE token_hash = $1 AND expires_at > $2 AND attempts < $3 RETURNING user_id, attempts";
    DELETE = "DELETE FROM sign_in_steps WHERE token_hash = $1";
    FAILURES = "SELECT failures FROM sign_in_steps WHERE token_hash = $1";
    DELETE_OF_USER = "DELETE FROM sign_in_steps WHERE user_id = $1";
    DELETE_EXPIRED = "DELETE FROM sign_in_steps WHERE expires_at <= $1";
    PROVED_AT = "SELECT CASE WHEN s.sso_org IS NULL OR u.password_hash = '' THEN COALESCE(s.proved_at, s.created_at) \
                 ELSE COALESCE(s.proved_at, 0) END \
                 FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.user_id = $1 AND s.id = $2";
    SET_PROVED_AT = "UPDATE sessions SET proved_at = $3 WHERE user_id = $1 AND id = $2";
}

/// Adds a log-in that waits, before which so many failed.
pub async fn insert(
    tx: &mut Tx,
    token_hash: &[u8],
    user: UserId,
    expires_at: i64,
    failures: i64,
) -> Result<()> {
    let user = user.to_string();
    on!(tx, |c| sqlx::query(INSERT)
        .bind(token_hash)
        .bind(user)
        .bind(expires_at)
        .bind(failures)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// How many log-ins failed before one that waits; 0 when it is not there.
pub async fn failures(tx: &mut Tx, token_hash: &[u8]) -> Result<i64> {
    let row: Option<(i64,)> = on!(tx, |c| sqlx::query_as(FAILURES).bind(token_hash).fetch_optional(c).await)?;
    Ok(row.map_or(0, |(failures,)| failures))
}

/// Whose log-in waits, if it may still be tried; `most` is how often.
pub async fn find(tx: &mut Tx, token_hash: &[u8], now: i64, most: i64) -> Result<Option<UserId>> {
    let row: Option<(String,)> =
        on!(tx, |c| sqlx::query_as(FIND).bind(token_hash).bind(now).bind(most).fetch_optional(c).await)?;
    row.map(|(user,)| parsed(&user, "sign_in_steps", "user_id", &user)).transpose()
}

/// Counts an attempt before it is looked at: whose it is, and the how manieth; `None` when there may be no more.
pub async fn attempt(tx: &mut Tx, token_hash: &[u8], now: i64, most: i64) -> Result<Option<(UserId, i64)>> {
    let row: Option<(String, i64)> =
        on!(tx, |c| sqlx::query_as(ATTEMPT).bind(token_hash).bind(now).bind(most).fetch_optional(c).await)?;
    row.map(|(user, attempts)| Ok((parsed(&user, "sign_in_steps", "user_id", &user)?, attempts))).transpose()
}

/// Ends a log-in that waits; whether it was there. Of two at once, one is told so.
pub async fn delete(tx: &mut Tx, token_hash: &[u8]) -> Result<bool> {
    let done =
        on!(tx, |c| sqlx::query(DELETE).bind(token_hash).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Ends all log-ins of a person that wait.
pub async fn delete_of_user(tx: &mut Tx, user: UserId) -> Result<()> {
    let user = user.to_string();
    on!(tx, |c| sqlx::query(DELETE_OF_USER).bind(user).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes those that may not be tried any more.
pub async fn delete_expired(tx: &mut Tx, now: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_EXPIRED).bind(now).execute(c).await.map(drop))?;
    Ok(())
}

/// When the person behind a session showed last who they are, Unix milliseconds; `None` when there is no such session. What
/// an organisation's provider said counts only for an account that has no password, 0 otherwise: its operator must not
/// get at the rest of the account.
pub async fn proved_at(tx: &mut Tx, user: UserId, session: SessionId) -> Result<Option<i64>> {
    let (user, session) = (user.to_string(), session.to_string());
    let row: Option<(i64,)> =
        on!(tx, |c| sqlx::query_as(PROVED_AT).bind(user).bind(session).fetch_optional(c).await)?;
    Ok(row.map(|(at,)| at))
}

/// Notes that the person behind a session has shown who they are.
pub async fn set_proved_at(tx: &mut Tx, user: UserId, session: SessionId, at: i64) -> Result<()> {
    let (user, session) = (user.to_string(), session.to_string());
    on!(tx, |c| sqlx::query(SET_PROVED_AT).bind(user).bind(session).bind(at).execute(c).await.map(drop))?;
    Ok(())
}
