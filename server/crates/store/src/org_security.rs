//! What an organisation asks of its members before they may do something, and their PINs. A PIN comes here hashed under a
//! key that the database does not hold (PIN-02).

use model::{OrgId, UserId};

use crate::{Error, Result, Tx};

statements! {
    FIND = "SELECT require_mfa, pin_protection FROM orgs WHERE id = $1";
    SET = "UPDATE orgs SET require_mfa = $2, pin_protection = $3 WHERE id = $1";
    COUNT_REQUIRING = "SELECT COUNT(*) FROM members m JOIN orgs o ON o.id = m.org_id WHERE m.user_id = $1 AND o.require_mfa";
    FIND_PIN = "SELECT hash, failures, locked_until, day_start, day_failures, set_at FROM member_pins WHERE org_id = $1 AND user_id = $2";
    LOCK_PIN = "UPDATE member_pins SET failures = failures WHERE org_id = $1 AND user_id = $2";
    PUT_PIN = "INSERT INTO member_pins (org_id, user_id, hash, failures, locked_until, day_start, day_failures, set_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
               ON CONFLICT (org_id, user_id) DO UPDATE SET hash = excluded.hash, failures = excluded.failures, \
               locked_until = excluded.locked_until, day_start = excluded.day_start, \
               day_failures = excluded.day_failures, set_at = excluded.set_at";
    DELETE_PIN = "DELETE FROM member_pins WHERE org_id = $1 AND user_id = $2";
}

/// What an organisation asks of its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrgSecurity {
    /// A second factor.
    pub require_mfa: bool,
    /// A PIN for the acts that cannot be undone.
    pub pin_protection: bool,
}

/// A member's PIN, and how often it was missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// PHC string.
    pub hash: String,
    /// Wrong ones in a row.
    pub failures: i64,
    /// Until when none is looked at, Unix milliseconds.
    pub locked_until: i64,
    /// Since when [`Pin::day_failures`] counts, Unix milliseconds.
    pub day_start: i64,
    /// Wrong ones since then.
    pub day_failures: i64,
    /// When it was set, Unix milliseconds.
    pub set_at: i64,
}

/// What the organisation asks.
pub async fn get(tx: &mut Tx, org: OrgId) -> Result<OrgSecurity> {
    let org = org.to_string();
    let row: Option<(bool, bool)> = on!(tx, |c| sqlx::query_as(FIND).bind(org).fetch_optional(c).await)?;
    let (require_mfa, pin_protection) = row.ok_or(Error::Missing("orgs"))?;
    Ok(OrgSecurity { require_mfa, pin_protection })
}

/// Writes what the organisation asks.
pub async fn set(tx: &mut Tx, org: OrgId, security: OrgSecurity) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(SET)
        .bind(org)
        .bind(security.require_mfa)
        .bind(security.pin_protection)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Whether an organisation of the person asks for a second factor.
pub async fn requires_mfa_of(tx: &mut Tx, user: UserId) -> Result<bool> {
    let user = user.to_string();
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_REQUIRING).bind(user).fetch_one(c).await)?;
    Ok(count > 0)
}

/// A member's PIN.
pub async fn find_pin(tx: &mut Tx, org: OrgId, user: UserId) -> Result<Option<Pin>> {
    let (org, user) = (org.to_string(), user.to_string());
    let row: Option<(String, i64, i64, i64, i64, i64)> =
        on!(tx, |c| sqlx::query_as(FIND_PIN).bind(org).bind(user).fetch_optional(c).await)?;
    Ok(row.map(|(hash, failures, locked_until, day_start, day_failures, set_at)| Pin {
        hash,
        failures,
        locked_until,
        day_start,
        day_failures,
        set_at,
    }))
}

/// Makes other attempts on a PIN wait until this transaction ends, so that each of many at once is counted (PIN-03).
pub async fn lock_pin(tx: &mut Tx, org: OrgId, user: UserId) -> Result<()> {
    let (org, user) = (org.to_string(), user.to_string());
    on!(tx, |c| sqlx::query(LOCK_PIN).bind(org).bind(user).execute(c).await.map(drop))?;
    Ok(())
}

/// Writes a member's PIN.
pub async fn put_pin(tx: &mut Tx, org: OrgId, user: UserId, pin: &Pin) -> Result<()> {
    let (org, user) = (org.to_string(), user.to_string());
    on!(tx, |c| sqlx::query(PUT_PIN)
        .bind(org)
        .bind(user)
        .bind(&pin.hash)
        .bind(pin.failures)
        .bind(pin.locked_until)
        .bind(pin.day_start)
        .bind(pin.day_failures)
        .bind(pin.set_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Removes a member's PIN; whether there was one.
pub async fn delete_pin(tx: &mut Tx, org: OrgId, user: UserId) -> Result<bool> {
    let (org, user) = (org.to_string(), user.to_string());
    let done = on!(tx, |c| sqlx::query(DELETE_PIN)
        .bind(org)
        .bind(user)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}
