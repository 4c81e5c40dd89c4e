//! The keys that access tokens are signed with, and single tokens that were revoked.

use model::OrgId;

use crate::{Result, Tx};

statements! {
    LIST = "SELECT kid, private_sealed, public_jwk, created_at, active_from, retire_at, removed_at FROM signing_keys ORDER BY active_from, kid";
    INSERT = "INSERT INTO signing_keys (kid, private_sealed, public_jwk, created_at, active_from) VALUES ($1, $2, $3, $4, $5)";
    RETIRE = "UPDATE signing_keys SET retire_at = $2 WHERE kid = $1";
    ACTIVATE = "UPDATE signing_keys SET active_from = $2 WHERE kid = $1";
    REMOVE = "UPDATE signing_keys SET removed_at = $2 WHERE kid = $1 AND removed_at IS NULL";
    DELETE = "DELETE FROM signing_keys WHERE kid = $1";
    RESEAL = "UPDATE signing_keys SET private_sealed = $2 WHERE kid = $1";
    REVOKE_TOKEN = "INSERT INTO revoked_tokens (jti, org_id, expires_at) VALUES ($1, $2, $3) ON CONFLICT (jti) DO NOTHING";
    LIST_REVOKED = "SELECT jti FROM revoked_tokens WHERE org_id = $1 AND expires_at > $2";
    PURGE_REVOKED = "DELETE FROM revoked_tokens WHERE expires_at < $1";
}

/// A signing key's row.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct SigningKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// PKCS #8, sealed.
    pub private_sealed: Vec<u8>,
    /// The public key as a JWK.
    pub public_jwk: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// From when it signs, Unix milliseconds.
    pub active_from: i64,
    /// Until when it is published and accepted, Unix milliseconds.
    pub retire_at: Option<i64>,
    /// When it was removed in an emergency, Unix milliseconds.
    pub removed_at: Option<i64>,
}

/// All keys, the oldest first; also removed ones.
pub async fn list(tx: &mut Tx) -> Result<Vec<SigningKey>> {
    Ok(on!(tx, |c| sqlx::query_as(LIST).fetch_all(c).await)?)
}

/// Adds a key. [`crate::Error::Taken`] when it is there.
pub async fn insert(tx: &mut Tx, key: &SigningKey) -> Result<()> {
    on!(tx, |c| sqlx::query(INSERT)
        .bind(&key.kid)
        .bind(&key.private_sealed)
        .bind(&key.public_jwk)
        .bind(key.created_at)
        .bind(key.active_from)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Sets until when a key is accepted; `None` when nothing replaces it any more.
pub async fn retire(tx: &mut Tx, kid: &str, at: Option<i64>) -> Result<()> {
    on!(tx, |c| sqlx::query(RETIRE).bind(kid).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Sets from when a key signs.
pub async fn activate(tx: &mut Tx, kid: &str, at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(ACTIVATE).bind(kid).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes a key in an emergency; whether it was accepted until now.
pub async fn remove(tx: &mut Tx, kid: &str, at: i64) -> Result<bool> {
    Ok(on!(tx, |c| sqlx::query(REMOVE).bind(kid).bind(at).execute(c).await.map(|done| done.rows_affected()))?
        == 1)
}

/// Forgets a key.
pub async fn delete(tx: &mut Tx, kid: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(kid).execute(c).await.map(drop))?;
    Ok(())
}

/// Writes a private key that was sealed anew.
pub async fn reseal(tx: &mut Tx, kid: &str, private_sealed: &[u8]) -> Result<()> {
    on!(tx, |c| sqlx::query(RESEAL).bind(kid).bind(private_sealed).execute(c).await.map(drop))?;
    Ok(())
}

/// Revokes one access token, which expires then (Unix milliseconds).
pub async fn revoke_token(tx: &mut Tx, org: OrgId, jti: &str, expires_at: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(REVOKE_TOKEN).bind(jti).bind(org).bind(expires_at).execute(c).await.map(drop))?;
    Ok(())
}

/// The organisation's revoked access tokens that have not expired by `now`.
pub async fn list_revoked(tx: &mut Tx, org: OrgId, now: i64) -> Result<Vec<String>> {
    let org = org.to_string();
    let rows: Vec<(String,)> =
        on!(tx, |c| sqlx::query_as(LIST_REVOKED).bind(org).bind(now).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(jti,)| jti).collect())
}

/// Deletes revocations of tokens that expired before then.
pub async fn purge_revoked(tx: &mut Tx, before: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(PURGE_REVOKED).bind(before).execute(c).await.map(drop))?;
    Ok(())
}
