//! The one-time link that makes the first owner. There is at most one row.

use crate::{Result, Tx};

statements! {
    REPLACE = "INSERT INTO setup_links (id, token_hash, created_at) VALUES (1, $1, $2) \
               ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, created_at = excluded.created_at";
    MATCHES = "SELECT COUNT(*) FROM setup_links WHERE token_hash = $1";
    TAKE = "DELETE FROM setup_links WHERE token_hash = $1";
    DELETE_ALL = "DELETE FROM setup_links";
}

/// Puts a new link in place of any older one.
pub async fn replace(tx: &mut Tx, token_hash: &[u8], at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(REPLACE).bind(token_hash).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Whether this is the link.
pub async fn matches(tx: &mut Tx, token_hash: &[u8]) -> Result<bool> {
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(MATCHES).bind(token_hash).fetch_one(c).await)?;
    Ok(count > 0)
}

/// Uses the link up. Of two at once, one gets `true`.
pub async fn take(tx: &mut Tx, token_hash: &[u8]) -> Result<bool> {
    Ok(on!(tx, |c| sqlx::query(TAKE).bind(token_hash).execute(c).await.map(|done| done.rows_affected()))?
        == 1)
}

/// Removes the link: the first owner exists.
pub async fn delete_all(tx: &mut Tx) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_ALL).execute(c).await.map(drop))?;
    Ok(())
}
