//! Accounts.

use model::{OrgId, UserId};

use crate::{Result, Tx, db::parsed};

statements! {
    FIND = "SELECT id, email, name, password_hash, last_org_id, created_at, email_verified_at FROM users WHERE id = $1";
    FIND_BY_EMAIL = "SELECT id, email, name, password_hash, last_org_id, created_at, email_verified_at FROM users WHERE email_key = $1";
    INSERT = "INSERT INTO users (id, email, email_key, name, password_hash, created_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $6)";
    SET_PASSWORD_HASH = "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1";
    SET_NAME = "UPDATE users SET name = $2, updated_at = $3 WHERE id = $1";
    SET_LAST_ORG = "UPDATE users SET last_org_id = $2 WHERE id = $1";
    SET_EMAIL = "UPDATE users SET email = $2, email_key = $3, email_verified_at = $4, updated_at = $4 WHERE id = $1";
    SET_VERIFIED = "UPDATE users SET email_verified_at = COALESCE(email_verified_at, $2) WHERE id = $1";
    SET_UNVERIFIED = "UPDATE users SET email = $2, email_key = $3, email_verified_at = NULL, updated_at = $4 WHERE id = $1";
    LOCK = "UPDATE users SET updated_at = updated_at WHERE id = $1";
    DELETE = "DELETE FROM users WHERE id = $1";
    COUNT = "SELECT COUNT(*) FROM users";
}

/// A person's account.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The address as it was typed.
    pub email: String,
    /// Display name.
    pub name: String,
    /// PHC string of the password's argon2id hash (PWD-01); empty where there is none.
    pub password_hash: String,
    /// The organisation a new session opens.
    pub last_org: Option<OrgId>,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// When the person proved that the address is theirs, Unix milliseconds.
    pub email_verified_at: Option<i64>,
}

impl User {
    /// Whether there is a password; an account that an organisation's provider made has none until its person sets one.
    pub fn has_password(&self) -> bool {
        !self.password_hash.is_empty()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    email: String,
    name: String,
    password_hash: String,
    last_org_id: Option<String>,
    created_at: i64,
    email_verified_at: Option<i64>,
}

impl TryFrom<Row> for User {
    type Error = crate::Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "users", "id", &row.id)?,
            last_org: row.last_org_id.map(|org| parsed(&org, "users", "last_org_id", &row.id)).transpose()?,
            email: row.email,
            name: row.name,
            password_hash: row.password_hash,
            created_at: row.created_at,
            email_verified_at: row.email_verified_at,
        })
    }
}

/// The form in which two addresses are compared.
pub fn email_key(email: &str) -> String {
    email.trim().to_lowercase()
}

/// The account with this id.
pub async fn find(tx: &mut Tx, id: UserId) -> Result<Option<User>> {
    let id = id.to_string();
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
    row.map(User::try_from).transpose()
}

/// The account with this address, in any spelling of upper and lower case.
pub async fn find_by_email(tx: &mut Tx, email: &str) -> Result<Option<User>> {
    let key = email_key(email);
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND_BY_EMAIL).bind(key).fetch_optional(c).await)?;
    row.map(User::try_from).transpose()
}

/// Adds an account. [`crate::Error::Taken`] when the address has one.
pub async fn insert(
    tx: &mut Tx,
    id: UserId,
    email: &str,
    name: &str,
    password_hash: &str,
    at: i64,
) -> Result<()> {
    let id = id.to_string();
    let key = email_key(email);
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(email)
        .bind(key)
        .bind(name)
        .bind(password_hash)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Replaces the password's hash.
pub async fn set_password_hash(tx: &mut Tx, id: UserId, hash: &str, at: i64) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(SET_PASSWORD_HASH).bind(id).bind(hash).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Replaces the address; whoever does it has proven that it is theirs. [`crate::Error::Taken`] when it has another account.
pub async fn set_email(tx: &mut Tx, id: UserId, email: &str, at: i64) -> Result<()> {
    let (id, key) = (id.to_string(), email_key(email));
    on!(tx, |c| sqlx::query(SET_EMAIL).bind(id).bind(email).bind(key).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Replaces the address by one that nobody has proven to be the person's. [`crate::Error::Taken`] likewise.
pub async fn set_email_unverified(tx: &mut Tx, id: UserId, email: &str, at: i64) -> Result<()> {
    let (id, key) = (id.to_string(), email_key(email));
    on!(tx, |c| sqlx::query(SET_UNVERIFIED)
        .bind(id)
        .bind(email)
        .bind(key)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes that the person proved that the address is theirs; the first time counts.
pub async fn set_verified(tx: &mut Tx, id: UserId, at: i64) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(SET_VERIFIED).bind(id).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Makes other changes of the account wait until this transaction ends.
pub async fn lock(tx: &mut Tx, id: UserId) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(LOCK).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes an account, and with it its memberships, sessions and links.
pub async fn delete(tx: &mut Tx, id: UserId) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(DELETE).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Replaces the display name.
pub async fn set_name(tx: &mut Tx, id: UserId, name: &str, at: i64) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(SET_NAME).bind(id).bind(name).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Remembers the organisation that the person looked at last.
pub async fn set_last_org(tx: &mut Tx, id: UserId, org: OrgId) -> Result<()> {
    let (id, org) = (id.to_string(), org.to_string());
    on!(tx, |c| sqlx::query(SET_LAST_ORG).bind(id).bind(org).execute(c).await.map(drop))?;
    Ok(())
}

/// How many accounts there are.
pub async fn count(tx: &mut Tx) -> Result<i64> {
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT).fetch_one(c).await)?;
    Ok(count)
}
