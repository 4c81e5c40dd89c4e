//! What an operator does with the database as a whole: look at it, copy it.

use std::{fs::File, path::Path};

use crate::{Db, Error, Kind, Result, Tx};

/// Whether the write path works: begins a writing transaction, touches nothing and rolls back (ERR-03). On `SQLite` it
/// waits for the writer.
///
/// # Errors
/// [`Error::Setup`] when the database may only be read.
pub async fn check_writable(db: &Db) -> Result<()> {
    let tx = db.write().await?;
    drop(tx);
    check_ready(db).await
}

/// Whether the database answers and may be written to, without waiting for `SQLite`'s only writer: cheap enough for
/// anybody who asks.
///
/// # Errors
/// [`Error::Setup`] when the database may only be read.
pub async fn check_ready(db: &Db) -> Result<()> {
    if db.looks_writable().await? {
        Ok(())
    } else {
        Err(Error::Setup("the database can only be read: it is a standby, or being closed".into()))
    }
}

/// Whether the tables are there: a file may be a database, and not ours.
pub async fn check_migrated(db: &Db) -> Result<()> {
    let mut tx = db.read().await?;
    crate::orgs::count(&mut tx).await.map(drop)
}

/// Makes a new, empty file that only its owner may read. `SQLite` takes an empty file for a new database.
///
/// # Errors
/// When it is there already, or its folder is not.
pub fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
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
    let path = to.to_str().ok_or_else(|| Error::Setup("the file's name must be UTF-8".into()))?;
    create_private(to).map_err(|why| match why.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::Setup(format!("{} is there already; name a new file", to.display()))
        }
        _ => Error::Setup(format!("{} cannot be made: {why}", to.display())),
    })?;
    let done = db.vacuum_into(path).await;
    if done.is_err() {
        let _ = std::fs::remove_file(to);
    }
    done
}
