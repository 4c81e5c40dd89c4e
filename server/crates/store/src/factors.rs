//! Second factors of people: the authenticator app, one that is being set up, and backup codes. Secrets are sealed or
//! hashed before they come here (KEY-02).

use model::{OrgId, UserId};

use crate::{Result, Tx};

statements! {
    FIND_TOTP = "SELECT secret_sealed, last_used_at, created_at FROM totp_factors WHERE user_id = $1";
    PUT_TOTP = "INSERT INTO totp_factors (user_id, secret_sealed, last_step, created_at) VALUES ($1, $2, $3, $4) \
                ON CONFLICT (user_id) DO UPDATE SET secret_sealed = excluded.secret_sealed, \
                last_step = excluded.last_step, last_used_at = NULL, created_at = excluded.created_at";
    TAKE_STEP = "UPDATE totp_factors SET last_step = $2, last_used_at = $3 WHERE user_id = $1 AND last_step < $2";
    DELETE_TOTP = "DELETE FROM totp_factors WHERE user_id = $1";
    FIND_ENROLMENT = "SELECT secret_sealed, created_at FROM totp_enrolments WHERE user_id = $1";
    PUT_ENROLMENT = "INSERT INTO totp_enrolments (user_id, secret_sealed, created_at) VALUES ($1, $2, $3) \
                     ON CONFLICT (user_id) DO UPDATE SET secret_sealed = excluded.secret_sealed, created_at = excluded.created_at";
    DELETE_ENROLMENT = "DELETE FROM totp_enrolments WHERE user_id = $1";
    INSERT_CODE = "INSERT INTO backup_codes (user_id, position, hash) VALUES ($1, $2, $3)";
    FIND_CODE = "SELECT hash FROM backup_codes WHERE user_id = $1 AND position = $2 AND used_at IS NULL";
    USE_CODE = "UPDATE backup_codes SET used_at = $4 WHERE user_id = $1 AND position = $2 AND hash = $3 AND used_at IS NULL";
    COUNT_CODES = "SELECT COUNT(*) FROM backup_codes WHERE user_id = $1 AND used_at IS NULL";
    DELETE_CODES = "DELETE FROM backup_codes WHERE user_id = $1";
    COUNT = "SELECT (SELECT COUNT(*) FROM totp_factors WHERE user_id = $1) \
             + (SELECT COUNT(*) FROM passkeys WHERE user_id = $1)";
    LACKING = "SELECT u.name, u.email FROM members m JOIN users u ON u.id = m.user_id \
               WHERE m.org_id = $1 AND NOT EXISTS (SELECT 1 FROM totp_factors t WHERE t.user_id = m.user_id) \
               AND NOT EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = m.user_id) \
               ORDER BY u.name, u.id";
    WITH_FACTOR = "SELECT m.user_id FROM members m WHERE m.org_id = $1 \
                   AND (EXISTS (SELECT 1 FROM totp_factors t WHERE t.user_id = m.user_id) \
                   OR EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = m.user_id))";
}

/// An authenticator app.
#[derive(Clone, Debug)]
pub struct Totp {
    /// Its secret, sealed.
    pub secret_sealed: Vec<u8>,
    /// When a code of it was taken last, Unix milliseconds.
    pub last_used_at: Option<i64>,
    /// When it was confirmed, Unix milliseconds.
    pub created_at: i64,
}

/// The authenticator app of a person.
pub async fn find_totp(tx: &mut Tx, user: UserId) -> Result<Option<Totp>> {
    let user = user.to_string();
    let row: Option<(Vec<u8>, Option<i64>, i64)> =
        on!(tx, |c| sqlx::query_as(FIND_TOTP).bind(user).fetch_optional(c).await)?;
    Ok(row.map(|(secret_sealed, last_used_at, created_at)| Totp { secret_sealed, last_used_at, created_at }))
}

/// Makes an authenticator app that of a person, in place of any other. `step` is that of the code that confirmed it.
pub async fn put_totp(tx: &mut Tx, user: UserId, secret_sealed: &[u8], step: i64, at: i64) -> Result<()> {
    let user = user.to_string();
    on!(tx, |c| sqlx::query(PUT_TOTP)
        .bind(user)
        .bind(secret_sealed)
        .bind(step)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Takes the code of a step; false when this one or a later one was taken already (MFA-02).
pub async fn take_step(tx: &mut Tx, user: UserId, step: i64, at: i64) -> Result<bool> {
    let user = user.to_string();
    let done = on!(tx, |c| sqlx::query(TAKE_STEP)
        .bind(user)
        .bind(step)
        .bind(at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Removes the authenticator app of a person; whether there was one.
pub async fn delete_totp(tx: &mut Tx, user: UserId) -> Result<bool> {
    let user = user.to_string();
    let done =
        on!(tx, |c| sqlx::query(DELETE_TOTP).bind(user).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// The sealed secret of an app that is being set up, and since when.
pub async fn find_enrolment(tx: &mut Tx, user: UserId) -> Result<Option<(Vec<u8>, i64)>> {
    let user = user.to_string();
    Ok(on!(tx, |c| sqlx::query_as(FIND_ENROLMENT).bind(user).fetch_optional(c).await)?)
}

/// Begins to set an app up, in place of any other that was begun.
pub async fn put_enrolment(tx: &mut Tx, user: UserId, secret_sealed: &[u8], at: i64) -> Result<()> {
    let user = user.to_string();
    on!(tx, |c| sqlx::query(PUT_ENROLMENT)
        .bind(user)
        .bind(secret_sealed)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Ends setting an app up; whether one was being set up. Of two at once, one is told so.
pub async fn delete_enrolment(tx: &mut Tx, user: UserId) -> Result<bool> {
    let user = user.to_string();
    let done = on!(tx, |c| sqlx::query(DELETE_ENROLMENT)
        .bind(user)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Replaces the backup codes of a person. A code's place in `hashes` is its position.
pub async fn put_codes(tx: &mut Tx, user: UserId, hashes: &[String]) -> Result<()> {
    delete_codes(tx, user).await?;
    let user = user.to_string();
    for (position, hash) in (0_i64..).zip(hashes) {
        on!(tx, |c| sqlx::query(INSERT_CODE)
            .bind(&user)
            .bind(position)
            .bind(hash)
            .execute(c)
            .await
            .map(drop))?;
    }
    Ok(())
}

/// The hash of an unused backup code.
pub async fn find_code(tx: &mut Tx, user: UserId, position: i64) -> Result<Option<String>> {
    let user = user.to_string();
    let row: Option<(String,)> =
        on!(tx, |c| sqlx::query_as(FIND_CODE).bind(user).bind(position).fetch_optional(c).await)?;
    Ok(row.map(|(hash,)| hash))
}

/// Uses a backup code; false when it was used meanwhile (MFA-04).
pub async fn use_code(tx: &mut Tx, user: UserId, position: i64, hash: &str, at: i64) -> Result<bool> {
    let user = user.to_string();
    let done = on!(tx, |c| sqlx::query(USE_CODE)
        .bind(user)
        .bind(position)
        .bind(hash)
        .bind(at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// How many backup codes are left.
pub async fn count_codes(tx: &mut Tx, user: UserId) -> Result<i64> {
    let user = user.to_string();
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_CODES).bind(user).fetch_one(c).await)?;
    Ok(count)
}

/// Removes all backup codes of a person.
pub async fn delete_codes(tx: &mut Tx, user: UserId) -> Result<()> {
    let user = user.to_string();
    on!(tx, |c| sqlx::query(DELETE_CODES).bind(user).execute(c).await.map(drop))?;
    Ok(())
}

/// Whether a person has a second factor: an authenticator app or a passkey.
pub async fn has(tx: &mut Tx, user: UserId) -> Result<bool> {
    let user = user.to_string();
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT).bind(user).fetch_one(c).await)?;
    Ok(count > 0)
}

/// The members of an organisation without a second factor: name and address, by name.
pub async fn list_lacking(tx: &mut Tx, org: OrgId) -> Result<Vec<(String, String)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LACKING).bind(org).fetch_all(c).await)?)
}

/// The members of an organisation with a second factor.
pub async fn list_with(tx: &mut Tx, org: OrgId) -> Result<Vec<UserId>> {
    let org = org.to_string();
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(WITH_FACTOR).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(|(id,)| crate::db::parsed(&id, "users", "id", &id)).collect()
}
