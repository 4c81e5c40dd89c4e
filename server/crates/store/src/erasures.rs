//! People who deleted their account and whose names are still to be taken out of the log.

use crate::{Result, Tx};

statements! {
    INSERT = "INSERT INTO erasures (user_id, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (user_id) DO NOTHING";
    LIST = "SELECT user_id, sealed FROM erasures ORDER BY created_at, user_id";
    DELETE = "DELETE FROM erasures WHERE user_id = $1";
}

/// Adds somebody; `sealed` is what has to be found.
pub async fn insert(tx: &mut Tx, user: &str, sealed: &[u8], at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(INSERT).bind(user).bind(sealed).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Everybody, the longest waiting first.
pub async fn list(tx: &mut Tx) -> Result<Vec<(String, Vec<u8>)>> {
    Ok(on!(tx, |c| sqlx::query_as(LIST).fetch_all(c).await)?)
}

/// Their names are gone.
pub async fn delete(tx: &mut Tx, user: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(user).execute(c).await.map(drop))?;
    Ok(())
}
