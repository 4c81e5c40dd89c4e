//! The two databases behind one closed enum.

use std::{future::Future, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, Postgres, Sqlite, Transaction,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{Error, Result};

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("../../../migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("../../../migrations/postgres");

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Embedded; one machine.
    Sqlite,
    /// For several nodes.
    Postgres,
}

/// A statement as the tests see it: its name, its text, and the only database it is for, if not both.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// `module::NAME`.
    pub name: &'static str,
    /// The SQL.
    pub sql: &'static str,
    /// `None` for both.
    pub only: Option<Kind>,
}

/// Declares the statements of a module as constants and lists them in `STATEMENTS`.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* const $name: &str = $sql;)*

        /// The statements of this module.
        pub const STATEMENTS: &[crate::db::Statement] = &[
            $(crate::db::Statement { name: concat!(module_path!(), "::", stringify!($name)), sql: $name, only: None }),*
        ];
    };
}

/// Runs one query expression on whichever database the transaction is of.
macro_rules! on {
    ($tx:expr, |$c:ident| $body:expr) => {
        match $tx {
            $crate::Tx::Sqlite(inner) => {
                let $c = &mut **inner;
                $body
            }
            $crate::Tx::Postgres(inner) => {
                let $c = &mut **inner;
                $crate::db::patiently(async { $body }).await
            }
        }
    };
}

/// How long it may take until a connection is there to be used.
const ACQUIRE: Duration = Duration::from_secs(5);
/// For how long somebody who empties `SQLite`'s log waits for readers, while nobody can write.
const FOLD_PATIENCE: Duration = Duration::from_millis(100);
/// How long `PostgreSQL` may take for an answer. Its own limits ([`LIMITS`]) come first; this one holds when the network
/// swallows everything.
const PATIENCE: Duration = Duration::from_secs(15);
/// What `PostgreSQL` itself gives up on: a statement, the wait for a lock, a transaction that nobody goes on with.
const LIMITS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
                      SET idle_in_transaction_session_timeout = '30s'";
/// For migrations, which take the time they need and wait for each other.
const NO_LIMITS: &str =
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// Waits for `PostgreSQL` no longer than [`PATIENCE`].
pub(crate) async fn patiently<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer"))
}

/// The database: one writer and a pool of readers on `SQLite`, one pool on `PostgreSQL`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pools: Pools,
}

#[derive(Clone, Debug)]
enum Pools {
    Sqlite { writer: sqlx::SqlitePool, readers: sqlx::SqlitePool },
    Postgres(sqlx::PgPool),
}

/// A transaction. Dropped without [`Tx::commit`], it leaves nothing behind.
#[derive(Debug)]
pub enum Tx {
    /// On `SQLite`; for writing it began with `BEGIN IMMEDIATE`, so it never fails half-way for want of the lock (D03).
    Sqlite(Transaction<'static, Sqlite>),
    /// On `PostgreSQL`.
    Postgres(Transaction<'static, Postgres>),
}

impl Db {
    /// Connects to `sqlite://path` or `postgres://…`, making an `SQLite` file that is not there yet. Does not migrate.
    ///
    /// # Errors
    /// [`Error::Setup`] for a URL of another kind; [`Error::Driver`] when the database cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        if url.starts_with("sqlite:") {
            Self::connect_sqlite(url).await
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let options = PgConnectOptions::from_str(url).map_err(|_| {
                Error::Setup("the database URL is not of the form postgres://user:password@host/name".into())
            })?;
            Self::connect_postgres(options).await
        } else {
            Err(Error::Setup("the database URL must begin with sqlite:// or postgres://".into()))
        }
    }

    async fn connect_postgres(options: PgConnectOptions) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(ACQUIRE)
            .max_lifetime(Duration::from_mins(10))
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(LIMITS).execute(connection).await.map(drop) })
            })
            // A connection that does not answer must not keep its place in the pool: sqlx itself would wait for ever.
            .after_release(|connection, _| {
                Box::pin(async move {
                    tokio::time::timeout(ACQUIRE, connection.ping())
                        .await
                        .unwrap_or_else(|_| Err(no_answer()))
                        .map(|()| true)
                })
            })
            .connect_with(options)
            .await?;
        Ok(Self { pools: Pools::Postgres(pool) })
    }

    async fn connect_sqlite(url: &str) -> Result<Self> {
        let options = SqliteConnectOptions::from_str(url).map_err(|_| {
            Error::Setup("the database URL is not of the form sqlite://path/to/file.db".into())
        })?;
        // Hashes and sealed secrets: for its owner only. SQLite gives the files beside it the same permissions.
        match crate::maintenance::create_private(options.get_filename()) {
            Err(why) if why.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Driver(sqlx::Error::Io(why)));
            }
            _ => {}
        }
        let options = options
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL keeps the newest commits through a power loss; NORMAL would not (D02).
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            .pragma("trusted_schema", "OFF")
            .pragma("secure_delete", "ON")
            .pragma("journal_size_limit", "67108864");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .min_connections(0)
            .acquire_timeout(ACQUIRE)
            .connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self { pools: Pools::Sqlite { writer, readers } })
    }

    /// Which database it is.
    pub fn kind(&self) -> Kind {
        match self.pools {
            Pools::Sqlite { .. } => Kind::Sqlite,
            Pools::Postgres(_) => Kind::Postgres,
        }
    }

    /// Folds the write-ahead log of `SQLite` into the file and empties it, so that what was removed is in neither. Whether
    /// that was done: it is not while somebody still reads what was there before. On `PostgreSQL` that is its own business.
    pub async fn fold(&self) -> Result<bool> {
        let Pools::Sqlite { writer, .. } = &self.pools else { return Ok(true) };
        // A connection of its own: the writer's would wait for readers for seconds, and everybody who writes with it.
        let options = SqliteConnectOptions::clone(&writer.connect_options()).busy_timeout(FOLD_PATIENCE);
        let mut connection = options.connect().await?;
        let (busy, _, _): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(busy == 0)
    }

    /// How many connections are open.
    pub fn connections(&self) -> u32 {
        match &self.pools {
            Pools::Sqlite { writer, readers } => writer.size() + readers.size(),
            Pools::Postgres(pool) => pool.size(),
        }
    }

    /// Brings the schema to this version. Forward only; two processes at once wait for each other.
    ///
    /// # Errors
    /// [`Error::Setup`] when the database was written by a newer version.
    pub async fn migrate(&self) -> Result<()> {
        let done = match &self.pools {
            Pools::Sqlite { writer, .. } => SQLITE_MIGRATIONS.run(writer).await,
            Pools::Postgres(pool) => {
                let mut connection = pool.acquire().await?;
                sqlx::raw_sql(NO_LIMITS).execute(&mut *connection).await?;
                let done = POSTGRES_MIGRATIONS.run(&mut connection).await;
                connection.close_on_drop();
                done
            }
        };
        done.map_err(|error| match error {
            MigrateError::VersionMissing(version) => Error::Setup(format!(
                "the database was written by a newer Gatehouse (migration {version}): start that version"
            )),
            MigrateError::VersionMismatch(version) => Error::Setup(format!(
                "migration {version} of the database is not the one this Gatehouse knows"
            )),
            MigrateError::Execute(error) => Error::Driver(error),
            other => Error::Setup(format!("migrations: {other}")),
        })
    }

    /// Begins a transaction that may write.
    pub async fn write(&self) -> Result<Tx> {
        Ok(match &self.pools {
            Pools::Sqlite { writer, .. } => Tx::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
            Pools::Postgres(pool) => Tx::Postgres(patiently(pool.begin()).await?),
        })
    }

    /// Begins a transaction that only reads. On `SQLite` it does not wait for the writer.
    pub async fn read(&self) -> Result<Tx> {
        Ok(match &self.pools {
            Pools::Sqlite { readers, .. } => Tx::Sqlite(readers.begin().await?),
            Pools::Postgres(pool) => Tx::Postgres(patiently(pool.begin()).await?),
        })
    }

    /// Begins a transaction that only reads, and from its first question to its last sees the database as it was then.
    pub async fn snapshot(&self) -> Result<Tx> {
        let mut tx = self.read().await?;
        if let Tx::Postgres(inner) = &mut tx {
            let whole = sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
            patiently(whole.execute(&mut **inner)).await?;
        }
        Ok(tx)
    }

    /// Whether the database may be written to at all, as far as can be told without writing: on `SQLite` that it can be
    /// read and its writer has not been closed, on `PostgreSQL` that this is no standby.
    pub(crate) async fn looks_writable(&self) -> Result<bool> {
        let mut tx = self.read().await?;
        if let Pools::Sqlite { writer, .. } = &self.pools
            && writer.is_closed()
        {
            return Ok(false);
        }
        match &mut tx {
            Tx::Sqlite(inner) => {
                sqlx::query("SELECT COUNT(*) FROM sqlite_schema").execute(&mut **inner).await?;
                Ok(true)
            }
            Tx::Postgres(inner) => {
                let asked = sqlx::query_as("SELECT current_setting('transaction_read_only')");
                let (read_only,): (String,) = patiently(asked.fetch_one(&mut **inner)).await?;
                Ok(read_only == "off")
            }
        }
    }

    /// Closes every connection; on `SQLite` this folds the write-ahead log into the file.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// Makes the transaction's changes last.
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => patiently(tx.commit()).await?,
        }
        Ok(())
    }

    /// Which database it is of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }
}

/// Parses a value that this version wrote, or tells where the database disagrees.
pub(crate) fn parsed<T: FromStr>(
    text: &str,
    table: &'static str,
    column: &'static str,
    row: &str,
) -> Result<T> {
    text.parse().map_err(|_| Error::Inconsistent { table, column, row: row.to_owned() })
}

impl Db {
    /// `VACUUM INTO` on the writer's connection, which must not be inside a transaction.
    pub(crate) async fn vacuum_into(&self, path: &str) -> Result<()> {
        if let Pools::Sqlite { writer, .. } = &self.pools {
            sqlx::query("VACUUM INTO $1").bind(path).execute(writer).await?;
        }
        Ok(())
    }
}
