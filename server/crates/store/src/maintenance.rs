//! What an operator does with the database as a whole: look at it, copy it.

use std::path::Path;

use crate::{Db, Error, Kind, Result, Tx};

/// Whether the write path works: begins a writing transaction, touches nothing and rolls back (ERR-03).
pub async fn check_writable(db: &Db) -> Result<()> {
    let tx = db.write().await?;
    drop(tx);
    Ok(())
}

/// `SQLite`'s own check of the whole file; `Ok(None)` when it is whole, the first complaint otherwise. Nothing on `PostgreSQL`.
pub async fn integrity(db: &Db) -> Result<Option<String>> {
    let mut tx = db.read().await?;
    match &mut tx {
        Tx::Sqlite(inner) => {
            let (said,): (String,) =
                sqlx::query_as("PRAGMA integrity_check(1)").fetch_one(&mut **inner).await?;
            if said != "ok" {
                return Ok(Some(said));
            }
            let broken = sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut **inner).await?;
            Ok(broken.map(|_| "a row points to one that is not there".to_owned()))
        }
        Tx::Postgres(_) => Ok(None),
    }
}

/// Writes a consistent copy of the `SQLite` database to a new file while the server may be running.
///
/// # Errors
/// [`Error::Setup`] on `PostgreSQL`, whose own tools are the right ones, and when the file exists.
pub async fn backup(db: &Db, to: &Path) -> Result<()> {
    if db.kind() == Kind::Postgres {
        return Err(Error::Setup("back up a PostgreSQL database with pg_dump".into()));
    }
    if to.exists() {
        return Err(Error::Setup(format!("{} is there already; name a new file", to.display())));
    }
    let path = to.to_str().ok_or_else(|| Error::Setup("the file's name must be UTF-8".into()))?;
    db.vacuum_into(path).await
}
