//! Throwaway databases. Every test that touches the store runs on both, from one body; a run without `PostgreSQL` fails.

mod filling;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

pub use self::filling::Filled;
use crate::{Db, Kind};

/// The variable that names the throwaway `PostgreSQL` server: its maintenance database.
pub const POSTGRES_URL: &str = "GATEHOUSE_TEST_POSTGRES_URL";

/// A migrated, empty database of its own. The `SQLite` file goes when this is dropped; the `PostgreSQL` database goes
/// with the throwaway server.
#[derive(Debug)]
pub struct TestDb {
    /// The database.
    pub db: Db,
    /// Its URL, for processes that a test starts.
    pub url: String,
    _folder: Option<tempfile::TempDir>,
}

impl TestDb {
    /// Makes a database of the kind.
    ///
    /// # Panics
    /// When it cannot, above all when there is no `PostgreSQL`: `make test` starts one.
    pub async fn new(kind: Kind) -> Self {
        let (url, folder) = match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                (format!("sqlite://{}", folder.path().join("test.db").display()), Some(folder))
            }
            Kind::Postgres => (create_postgres().await, None),
        };
        let db = Db::connect(&url).await.expect("a new database is reachable");
        db.migrate().await.expect("a new database migrates");
        Self { db, url, _folder: folder }
    }
}

async fn create_postgres() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = option_env_at_run(POSTGRES_URL).unwrap_or_else(|| {
        panic!("{POSTGRES_URL} is not set: run the tests with `make test` or `scripts/with-postgres.sh`")
    });
    let name = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let pool = sqlx::PgPool::connect(&server).await.expect("the throwaway PostgreSQL answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}")))
        .execute(&pool)
        .await
        .expect("dropped");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&pool)
        .await
        .expect("created");
    pool.close().await;
    let (base, _) = server.rsplit_once('/').expect("a URL with a database name");
    format!("{base}/{name}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment where the throwaway server is"
)]
fn option_env_at_run(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Defines a test that runs once on `SQLite` and once on `PostgreSQL`: `db_test!(name, |db| async move { … })`, where
/// `db` is a [`TestDb`].
#[macro_export]
macro_rules! db_test {
    ($(#[$meta:meta])* $name:ident, |$db:ident| $body:expr) => {
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn run(kind: $crate::Kind) {
                let $db = $crate::testing::TestDb::new(kind).await;
                $body.await;
            }

            #[tokio::test]
            async fn sqlite() {
                run($crate::Kind::Sqlite).await;
            }

            #[tokio::test]
            async fn postgres() {
                run($crate::Kind::Postgres).await;
            }
        }
    };
}

/// A column as the database itself describes it.
#[derive(Clone, Debug)]
pub struct Column {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// The declared type.
    pub kind: String,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// A foreign key of one column.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// The table that has it.
    pub table: String,
    /// The column that has it.
    pub column: String,
    /// The table it points to.
    pub references: String,
    /// `CASCADE`, `SET NULL`, …
    pub on_delete: String,
}

const SQLITE_COLUMNS: &str = "SELECT m.name, p.name, p.type, p.\"notnull\" = 0 FROM sqlite_schema m, pragma_table_info(m.name) p \
    WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
const POSTGRES_COLUMNS: &str = "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'YES' \
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'";
const SQLITE_KEYS: &str = "SELECT m.name, k.\"from\", k.\"table\", k.on_delete FROM sqlite_schema m, pragma_foreign_key_list(m.name) k \
    WHERE m.type = 'table'";
const POSTGRES_KEYS: &str = "SELECT c.conrelid::regclass::text, a.attname::text, c.confrelid::regclass::text, \
    CASE c.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE 'NO ACTION' END \
    FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] WHERE c.contype = 'f'";

impl Db {
    /// Prepares a statement without running it.
    pub async fn prepare(&self, sql: &'static str) -> crate::Result<()> {
        use sqlx::{Executor as _, SqlSafeStr as _};
        let mut tx = self.write().await?;
        on!(&mut tx, |c| c.prepare(sql.into_sql_str()).await.map(drop))?;
        Ok(())
    }

    /// How `SQLite` goes about a statement: a line for each table, with the index that it takes.
    pub async fn explain(&self, sql: &str) -> crate::Result<Vec<String>> {
        let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let mut tx = self.write().await?;
        let crate::Tx::Sqlite(inner) = &mut tx else { return Ok(Vec::new()) };
        let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(sql).fetch_all(&mut **inner).await?;
        Ok(rows.into_iter().map(|row| row.3).collect())
    }

    /// Runs a statement as somebody with the database in their hands would: past every rule of this crate.
    pub async fn tamper(&self, sql: &str) -> crate::Result<()> {
        let mut tx = self.write().await?;
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        on!(&mut tx, |c| sqlx::raw_sql(sql).execute(c).await.map(drop))?;
        tx.commit().await
    }

    /// Every column of every table of ours.
    pub async fn describe_columns(&self) -> crate::Result<Vec<Column>> {
        let mut tx = self.read().await?;
        let sql = if self.kind() == Kind::Sqlite { SQLITE_COLUMNS } else { POSTGRES_COLUMNS };
        let rows: Vec<(String, String, String, bool)> =
            on!(&mut tx, |c| sqlx::query_as(sql).fetch_all(c).await)?;
        Ok(rows
            .into_iter()
            .map(|(table, column, kind, nullable)| Column { table, column, kind, nullable })
            .collect())
    }

    /// Which columns hold a text somewhere, as `table.column`, and in how many rows.
    pub async fn search(&self, text: &str) -> crate::Result<Vec<(String, i64)>> {
        let (mut found, columns) = (Vec::new(), self.describe_columns().await?);
        let mut tx = self.read().await?;
        for Column { table, column, .. } in columns {
            let sql = format!("SELECT COUNT(*) FROM {table} WHERE CAST(\"{column}\" AS TEXT) LIKE $1");
            let sql = sqlx::AssertSqlSafe(sql);
            let like = format!("%{text}%");
            let (count,): (i64,) = on!(&mut tx, |c| sqlx::query_as(sql).bind(like).fetch_one(c).await)?;
            if count > 0 {
                found.push((format!("{table}.{column}"), count));
            }
        }
        Ok(found)
    }

    /// Every row of every table of ours, by table, as text: `|column=value` for each of its columns. What is no text is hex.
    pub async fn rows(&self) -> crate::Result<BTreeMap<String, Vec<String>>> {
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Column { table, column, kind, .. } in self.describe_columns().await? {
            let value = match kind.to_ascii_uppercase().as_str() {
                "BLOB" => format!("hex(\"{column}\")"),
                "BYTEA" => format!("encode(\"{column}\", 'hex')"),
                _ => format!("CAST(\"{column}\" AS TEXT)"),
            };
            tables.entry(table).or_default().push(format!("'|{column}=' || COALESCE({value}, 'NULL')"));
        }
        let (mut found, mut tx) = (BTreeMap::new(), self.read().await?);
        for (table, columns) in tables {
            let sql = sqlx::AssertSqlSafe(format!("SELECT {} FROM {table} ORDER BY 1", columns.join(" || ")));
            let rows: Vec<(String,)> = on!(&mut tx, |c| sqlx::query_as(sql).fetch_all(c).await)?;
            found.insert(table, rows.into_iter().map(|(row,)| row).collect());
        }
        Ok(found)
    }

    /// Every foreign key of every table.
    pub async fn describe_foreign_keys(&self) -> crate::Result<Vec<ForeignKey>> {
        let mut tx = self.read().await?;
        let sql = if self.kind() == Kind::Sqlite { SQLITE_KEYS } else { POSTGRES_KEYS };
        let rows: Vec<(String, String, String, String)> =
            on!(&mut tx, |c| sqlx::query_as(sql).fetch_all(c).await)?;
        Ok(rows
            .into_iter()
            .map(|(table, column, references, on_delete)| ForeignKey { table, column, references, on_delete })
            .collect())
    }
}
