//! What can go wrong with the database, and who may try again.

/// A failure of the database or of what is in it. Its text is for the log, never for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver or the database refused.
    #[error("database: {0}")]
    Driver(#[source] sqlx::Error),
    /// A unique constraint was hit: somebody was first.
    #[error("already there: {0}")]
    Taken(String),
    /// A row that must be there is not.
    #[error("no such row in {0}")]
    Missing(&'static str),
    /// A value in the database is not of the shape that this version writes.
    #[error("inconsistent value in {table}.{column} of {row}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
    },
    /// A text holds a character that the database cannot keep: U+0000 on `PostgreSQL`.
    #[error("a text holds a character that the database cannot keep")]
    Unstorable,
    /// The URL of the database, its folder or its version is wrong; the text says how, for the operator.
    #[error("{0}")]
    Setup(String),
}

impl Error {
    /// Whether the same transaction may work when it is tried again: locks, time limits, lost connections, a fail-over.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Driver(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_)) => true,
            Self::Driver(sqlx::Error::Database(e)) => e.code().is_some_and(|code| {
                matches!(
                    code.as_ref(),
                    "5" | "6" | "261" | "517" | "40001" | "40P01" | "25006" | "25P03" | "55P03" | "57014"
                ) || code.starts_with("08")
                    || code.starts_with("57P")
            }),
            _ => false,
        }
    }

    /// Whether the disk is full (`SQLite` 13, `PostgreSQL` 53100).
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Driver(sqlx::Error::Database(e)) if e.code().is_some_and(|c| c == "13" || c == "53100"))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(e) if e.is_unique_violation() => {
                Self::Taken(e.constraint().unwrap_or_else(|| e.message()).to_owned())
            }
            sqlx::Error::Database(e) if e.code().is_some_and(|code| code == "22021") => Self::Unstorable,
            _ => Self::Driver(error),
        }
    }
}
