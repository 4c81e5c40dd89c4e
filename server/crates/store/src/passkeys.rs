//! Passkeys of people, and the challenges that were given out (MFA-07). A credential is public: what opens the account
//! never leaves the authenticator. Only the SHA-256 of a challenge is looked for here.

use model::{PasskeyId, UserId};

use crate::{Result, Tx, db::parsed};

statements! {
    INSERT = "INSERT INTO passkeys (id, user_id, credential_id, credential, name, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    LIST = "SELECT id, user_id, credential_id, credential, name, created_at, last_used_at FROM passkeys \
            WHERE user_id = $1 ORDER BY created_at, id";
    COUNT = "SELECT COUNT(*) FROM passkeys WHERE user_id = $1";
    LOCK = "UPDATE passkeys SET last_used_at = last_used_at WHERE credential_id = $1";
    FIND = "SELECT id, user_id, credential_id, credential, name, created_at, last_used_at FROM passkeys WHERE credential_id = $1";
    USE = "UPDATE passkeys SET credential = $2, last_used_at = $3 WHERE id = $1";
    RENAME = "UPDATE passkeys SET name = $3 WHERE user_id = $1 AND id = $2";
    DELETE = "DELETE FROM passkeys WHERE user_id = $1 AND id = $2";
    DELETE_OF_USER = "DELETE FROM passkeys WHERE user_id = $1";
    GIVE_OUT = "INSERT INTO passkey_challenges (challenge_hash, binding_hash, user_id, state, expires_at) VALUES ($1, $2, $3, $4, $5)";
    TAKE = "DELETE FROM passkey_challenges WHERE challenge_hash = $1 AND binding_hash = $2 AND expires_at > $3 \
            RETURNING user_id, state";
    DELETE_CHALLENGES_OF_USER = "DELETE FROM passkey_challenges WHERE user_id = $1";
    DELETE_EXPIRED = "DELETE FROM passkey_challenges WHERE expires_at <= $1";
}

/// A passkey.
#[derive(Clone, Debug)]
pub struct Passkey {
    /// Its id in lists.
    pub id: PasskeyId,
    /// Whose it is.
    pub user: UserId,
    /// What the authenticator calls it.
    pub credential_id: Vec<u8>,
    /// JSON: the public key, the counter, and what the authenticator said of itself.
    pub credential: String,
    /// What the person calls it.
    pub name: String,
    /// When it was added, Unix milliseconds.
    pub created_at: i64,
    /// When it was used last, Unix milliseconds.
    pub last_used_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    user_id: String,
    credential_id: Vec<u8>,
    credential: String,
    name: String,
    created_at: i64,
    last_used_at: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Passkey> {
        Ok(Passkey {
            id: parsed(&self.id, "passkeys", "id", &self.id)?,
            user: parsed(&self.user_id, "passkeys", "user_id", &self.id)?,
            credential_id: self.credential_id,
            credential: self.credential,
            name: self.name,
            created_at: self.created_at,
            last_used_at: self.last_used_at,
        })
    }
}

/// Adds a passkey. [`crate::Error::Taken`] when its credential is somebody's already.
pub async fn insert(tx: &mut Tx, passkey: &Passkey) -> Result<()> {
    let (id, user) = (passkey.id.to_string(), passkey.user.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(user)
        .bind(&passkey.credential_id)
        .bind(&passkey.credential)
        .bind(&passkey.name)
        .bind(passkey.created_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The passkeys of a person, the oldest first.
pub async fn list(tx: &mut Tx, user: UserId) -> Result<Vec<Passkey>> {
    let user = user.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(user).fetch_all(c).await)?;
    rows.into_iter().map(Row::read).collect()
}

/// How many passkeys a person has.
pub async fn count(tx: &mut Tx, user: UserId) -> Result<i64> {
    let user = user.to_string();
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT).bind(user).fetch_one(c).await)?;
    Ok(count)
}

/// The passkey with a credential, held until the transaction ends: of two uses at once the second sees the counter of the
/// first.
pub async fn find_locked(tx: &mut Tx, credential_id: &[u8]) -> Result<Option<Passkey>> {
    on!(tx, |c| sqlx::query(LOCK).bind(credential_id).execute(c).await.map(drop))?;
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(credential_id).fetch_optional(c).await)?;
    row.map(Row::read).transpose()
}

/// Notes that a passkey was used, with what its authenticator counts now.
pub async fn used(tx: &mut Tx, id: PasskeyId, credential: &str, at: i64) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(USE).bind(id).bind(credential).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Gives a passkey of a person another name; whether there is one.
pub async fn rename(tx: &mut Tx, user: UserId, id: PasskeyId, name: &str) -> Result<bool> {
    let (user, id) = (user.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(RENAME)
        .bind(user)
        .bind(id)
        .bind(name)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Removes a passkey of a person; whether there was one.
pub async fn delete(tx: &mut Tx, user: UserId, id: PasskeyId) -> Result<bool> {
    let (user, id) = (user.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(DELETE)
        .bind(user)
        .bind(id)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Removes all passkeys of a person, and what they were asked for; how many that were.
pub async fn delete_of_user(tx: &mut Tx, user: UserId) -> Result<u64> {
    let user = user.to_string();
    on!(tx, |c| sqlx::query(DELETE_CHALLENGES_OF_USER).bind(&user).execute(c).await.map(drop))?;
    let done = on!(tx, |c| sqlx::query(DELETE_OF_USER)
        .bind(&user)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done)
}

/// A challenge to be given out.
#[derive(Clone, Debug)]
pub struct Challenge<'a> {
    /// SHA-256 of its bytes.
    pub hash: [u8; 32],
    /// SHA-256 of what it is given to and what for.
    pub binding: [u8; 32],
    /// Whose passkey may answer; `None` is anybody's.
    pub user: Option<UserId>,
    /// JSON: what the answer is held against.
    pub state: &'a str,
    /// Until when, Unix milliseconds.
    pub expires_at: i64,
}

/// Gives a challenge out, and forgets those that are too old.
pub async fn give_out(tx: &mut Tx, challenge: &Challenge<'_>, now: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_EXPIRED).bind(now).execute(c).await.map(drop))?;
    let user = challenge.user.map(|user| user.to_string());
    on!(tx, |c| sqlx::query(GIVE_OUT)
        .bind(challenge.hash.as_slice())
        .bind(challenge.binding.as_slice())
        .bind(user)
        .bind(challenge.state)
        .bind(challenge.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Takes a challenge, once: whose passkey may answer it, and what the answer is held against.
pub async fn take(
    tx: &mut Tx,
    hash: &[u8],
    binding: &[u8],
    now: i64,
) -> Result<Option<(Option<UserId>, String)>> {
    let row: Option<(Option<String>, String)> =
        on!(tx, |c| sqlx::query_as(TAKE).bind(hash).bind(binding).bind(now).fetch_optional(c).await)?;
    row.map(|(user, state)| {
        let user = user.map(|user| parsed(&user, "passkey_challenges", "user_id", &user)).transpose()?;
        Ok((user, state))
    })
    .transpose()
}
