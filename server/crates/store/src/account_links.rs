//! Links that a person got by e-mail and uses once. Only the SHA-256 of their tokens is here (PWD-08).

use model::UserId;

use crate::{Result, Tx, db::parsed, users::email_key};

statements! {
    FIND = "SELECT kind, user_id, email, expires_at FROM account_links WHERE token_hash = $1";
    TAKE = "DELETE FROM account_links WHERE token_hash = $1 AND kind = $2 AND expires_at > $3 RETURNING kind, user_id, email, expires_at";
    INSERT = "INSERT INTO account_links (token_hash, kind, user_id, email, email_key, created_at, expires_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7)";
    DELETE_OLDER_OF_USER = "DELETE FROM account_links WHERE kind = $1 AND user_id = $2";
    DELETE_OLDER_OF_ADDRESS = "DELETE FROM account_links WHERE kind = $1 AND email_key = $2 AND user_id IS NULL";
    DELETE_OF_USER = "DELETE FROM account_links WHERE user_id = $1";
    DELETE_EXPIRED = "DELETE FROM account_links WHERE expires_at < $1";
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLink {
    /// `reset`, `verify`, `email` or `sign_up`.
    pub kind: String,
    /// Whose account; `None` for one that is yet to be made.
    pub user: Option<UserId>,
    /// The address that it was sent to.
    pub email: String,
    /// Until when it works, Unix milliseconds.
    pub expires_at: i64,
}

type Row = (String, Option<String>, String, i64);

fn link((kind, user, email, expires_at): Row) -> Result<AccountLink> {
    let user = user.map(|user| parsed(&user, "account_links", "user_id", &user)).transpose()?;
    Ok(AccountLink { kind, user, email, expires_at })
}

/// The link with this token. Looking changes nothing.
pub async fn find(tx: &mut Tx, token_hash: &[u8]) -> Result<Option<AccountLink>> {
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(token_hash).fetch_optional(c).await)?;
    row.map(link).transpose()
}

/// Uses a link of this kind up, if it still works. Of two at once, one gets it.
pub async fn take(tx: &mut Tx, token_hash: &[u8], kind: &str, now: i64) -> Result<Option<AccountLink>> {
    let row: Option<Row> =
        on!(tx, |c| sqlx::query_as(TAKE).bind(token_hash).bind(kind).bind(now).fetch_optional(c).await)?;
    row.map(link).transpose()
}

/// Adds a link; older ones of the kind for the same account, or the same address without one, stop
/// working.
pub async fn replace(tx: &mut Tx, token_hash: &[u8], new: &AccountLink, at: i64) -> Result<()> {
    let (user, key) = (new.user.map(|user| user.to_string()), email_key(&new.email));
    // Somebody else's link to the same address is theirs.
    let (older, of) = match &user {
        Some(user) => (DELETE_OLDER_OF_USER, user),
        None => (DELETE_OLDER_OF_ADDRESS, &key),
    };
    on!(tx, |c| sqlx::query(older).bind(&new.kind).bind(of).execute(c).await.map(drop))?;
    on!(tx, |c| sqlx::query(INSERT)
        .bind(token_hash)
        .bind(&new.kind)
        .bind(&user)
        .bind(&new.email)
        .bind(&key)
        .bind(at)
        .bind(new.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Makes every link of an account worthless.
pub async fn delete_of_user(tx: &mut Tx, user: UserId) -> Result<()> {
    let user = user.to_string();
    on!(tx, |c| sqlx::query(DELETE_OF_USER).bind(user).execute(c).await.map(drop))?;
    Ok(())
}

/// Forgets links that ended before a time.
pub async fn delete_expired(tx: &mut Tx, before: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_EXPIRED).bind(before).execute(c).await.map(drop))?;
    Ok(())
}
