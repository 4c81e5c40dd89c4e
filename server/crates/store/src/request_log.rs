//! The request log: appended in batches, read, deleted when it is old.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use model::{
    LogEntryId, OrgId,
    activity::{LogLine, Outcome},
};
use serde::{Serialize, Serializer, ser::SerializeTuple as _};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::{
    Error, Kind, Result, Tx,
    db::{Statement, parsed},
};

statements! {
    SET_BODIES = "UPDATE request_log SET bodies = $3 WHERE org_id = $1 AND id = $2";
    LIST = "SELECT id, at, method, connector_slug, tool, principal_name, outcome, total_us FROM request_log \
            WHERE org_id = $1 AND id < $2 AND id >= $3 \
            AND (CAST($4 AS TEXT) IS NULL OR connector_id = $4) \
            AND (CAST($5 AS TEXT) IS NULL OR principal_id = $5) \
            AND (CAST($6 AS TEXT) IS NULL OR outcome = $6) \
            AND (CAST($7 AS TEXT) IS NULL OR tool = $7) \
            AND (CAST($8 AS TEXT) IS NULL OR words LIKE $8 ESCAPE '\\') \
            ORDER BY id DESC LIMIT $9";
    NEWEST = "SELECT id, at FROM request_log WHERE org_id = $1 ORDER BY id DESC LIMIT 1";
    LAST = "SELECT at FROM request_log WHERE org_id = $1 ORDER BY id DESC LIMIT 1";
    FIND = "SELECT id, at, method, connector_slug, tool, principal_name, outcome, total_us, principal_kind, principal_id, detail, \
            bodies FROM request_log WHERE org_id = $1 AND id = $2";
    RECENT_PRINCIPALS = "SELECT principal_id, MAX(principal_name) FROM (SELECT principal_id, principal_name FROM request_log \
                         WHERE org_id = $1 ORDER BY id DESC LIMIT 2000) AS recent GROUP BY principal_id ORDER BY 2, 1 LIMIT 100";
    DELETE_BEFORE = "DELETE FROM request_log WHERE org_id = $1 AND id IN \
                     (SELECT id FROM request_log WHERE org_id = $1 AND id < $2 ORDER BY id LIMIT $3)";
}

/// So many rows as places for values. A statement has a fixed number of rows, so that it is prepared once.
macro_rules! insert_sqlite {
    (1) => {
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    };
    (8) => {
        concat!(
            insert_sqlite!(1), ", ", insert_sqlite!(1), ", ", insert_sqlite!(1), ", ", insert_sqlite!(1), ", ",
            insert_sqlite!(1), ", ", insert_sqlite!(1), ", ", insert_sqlite!(1), ", ", insert_sqlite!(1)
        )
    };
    (64) => {
        concat!(
            insert_sqlite!(8), ", ", insert_sqlite!(8), ", ", insert_sqlite!(8), ", ", insert_sqlite!(8), ", ",
            insert_sqlite!(8), ", ", insert_sqlite!(8), ", ", insert_sqlite!(8), ", ", insert_sqlite!(8)
        )
    };
    (statement $rows:tt) => {
        concat!(
            "INSERT INTO request_log (id, org_id, at, method, connector_id, connector_slug, tool, principal_kind, \
             principal_id, principal_name, outcome, total_us, words, detail) VALUES ",
            insert_sqlite!($rows),
            " ON CONFLICT (id) DO NOTHING"
        )
    };
}

/// By number of rows, the largest first. Values are bound: `SQLite` takes several times as long to read them out of JSON.
const INSERT_SQLITE: [(usize, &str); 3] =
    [(64, insert_sqlite!(statement 64)), (8, insert_sqlite!(statement 8)), (1, insert_sqlite!(statement 1))];
/// Which organisations of a list are there. On `SQLite` nobody else writes meanwhile.
const ORGS_SQLITE: &str = "SELECT o.id FROM json_each($1) CROSS JOIN orgs o ON o.id = value";
/// All rows of a batch in one statement; organisations that are gone are left out.
const INSERT_POSTGRES: &str = "INSERT INTO request_log (id, org_id, at, method, connector_id, connector_slug, tool, principal_kind, \
     principal_id, principal_name, outcome, total_us, words, detail) \
     SELECT value ->> 0, o.id, CAST(value ->> 2 AS BIGINT), value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
     value ->> 8, value ->> 9, value ->> 10, CAST(value ->> 11 AS BIGINT), value ->> 12, value ->> 13 \
     FROM json_array_elements(CAST($1 AS JSON)) AS rows (value) JOIN orgs o ON o.id = value ->> 1 ON CONFLICT (id) DO NOTHING";

/// What differs by database.
pub const BULK: &[Statement] = &[
    Statement { name: "request_log::INSERT_SQLITE 64", sql: INSERT_SQLITE[0].1, only: Some(Kind::Sqlite) },
    Statement { name: "request_log::INSERT_SQLITE 8", sql: INSERT_SQLITE[1].1, only: Some(Kind::Sqlite) },
    Statement { name: "request_log::INSERT_SQLITE 1", sql: INSERT_SQLITE[2].1, only: Some(Kind::Sqlite) },
    Statement { name: "request_log::ORGS_SQLITE", sql: ORGS_SQLITE, only: Some(Kind::Sqlite) },
    Statement { name: "request_log::INSERT_POSTGRES", sql: INSERT_POSTGRES, only: Some(Kind::Postgres) },
];

/// A row to append; the order of its fields is that of the statement. Texts that many rows have are shared.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// Its id.
    pub id: LogEntryId,
    /// Whose.
    pub org: OrgId,
    /// When it began, Unix milliseconds.
    pub at: i64,
    /// The method.
    pub method: Arc<str>,
    /// The connector's id; empty for none.
    pub connector_id: Arc<str>,
    /// The connector's slug.
    pub connector_slug: Arc<str>,
    /// The tool.
    pub tool: Arc<str>,
    /// The kind of principal.
    pub principal_kind: Arc<str>,
    /// The principal's id.
    pub principal_id: Arc<str>,
    /// The principal's name.
    pub principal_name: Arc<str>,
    /// The outcome's name.
    pub outcome: Arc<str>,
    /// Microseconds in all.
    pub total_us: i64,
    /// What is searched, lower case.
    pub words: String,
    /// JSON: everything else.
    pub detail: String,
}

/// Appends rows. No text in them may hold U+0000. Rows that are there already stay as they are, and those of organisations
/// that are gone are left out.
pub async fn insert(tx: &mut Tx, rows: Vec<NewRow>) -> Result<()> {
    match tx {
        Tx::Sqlite(inner) => insert_sqlite(inner, rows).await,
        Tx::Postgres(_) => {
            let json = serde_json::to_string(&rows).map_err(|_| Error::Unstorable)?;
            on!(tx, |c| sqlx::query(INSERT_POSTGRES).bind(json).execute(c).await.map(drop))?;
            Ok(())
        }
    }
}

/// As the array that `PostgreSQL` reads.
impl Serialize for NewRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_tuple(14)?;
        row.serialize_element(&self.id)?;
        row.serialize_element(&self.org)?;
        row.serialize_element(&self.at)?;
        for text in [
            &self.method,
            &self.connector_id,
            &self.connector_slug,
            &self.tool,
            &self.principal_kind,
            &self.principal_id,
            &self.principal_name,
            &self.outcome,
        ] {
            row.serialize_element(&**text)?;
        }
        row.serialize_element(&self.total_us)?;
        row.serialize_element(&self.words)?;
        row.serialize_element(&self.detail)?;
        row.end()
    }
}

async fn insert_sqlite(connection: &mut SqliteConnection, rows: Vec<NewRow>) -> Result<()> {
    let mut orgs: HashMap<OrgId, Option<Arc<str>>> = rows.iter().map(|row| (row.org, None)).collect();
    let asked: Vec<_> = orgs.keys().collect();
    let asked = serde_json::to_string(&asked).map_err(|_| Error::Unstorable)?;
    let found: Vec<(String,)> = sqlx::query_as(ORGS_SQLITE).bind(asked).fetch_all(&mut *connection).await?;
    for (id,) in found {
        orgs.insert(parsed(&id, "orgs", "id", &id)?, Some(id.into()));
    }
    let mut rows: VecDeque<_> =
        rows.into_iter().filter_map(|row| Some((orgs.get(&row.org)?.clone()?, row))).collect();
    for (many, sql) in INSERT_SQLITE {
        while rows.len() >= many {
            let mut query = sqlx::query(sql);
            for (org, row) in rows.drain(..many) {
                query = query
                    .bind(row.id.to_string())
                    .bind(org)
                    .bind(row.at)
                    .bind(row.method)
                    .bind(row.connector_id)
                    .bind(row.connector_slug)
                    .bind(row.tool)
                    .bind(row.principal_kind)
                    .bind(row.principal_id)
                    .bind(row.principal_name)
                    .bind(row.outcome)
                    .bind(row.total_us)
                    .bind(row.words)
                    .bind(row.detail);
            }
            query.execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Keeps a request's arguments and result, sealed.
pub async fn set_bodies(tx: &mut Tx, org: OrgId, id: LogEntryId, sealed: &[u8]) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_BODIES).bind(org).bind(id).bind(sealed).execute(c).await.map(drop))?;
    Ok(())
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Older than this one.
    pub before: Option<LogEntryId>,
    /// Not older than this one.
    pub since: Option<LogEntryId>,
    /// Of this connector, by id.
    pub connector: Option<String>,
    /// Of this principal, by id.
    pub principal: Option<String>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Of the tool with just this name.
    pub tool: Option<String>,
    /// With this text somewhere in it, whatever its case.
    pub text: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    at: i64,
    method: String,
    connector_slug: String,
    tool: String,
    principal_name: String,
    outcome: String,
    total_us: i64,
}

impl TryFrom<Row> for LogLine {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let wrong = || Error::Inconsistent { table: "request_log", column: "outcome", row: row.id.clone() };
        Ok(Self {
            id: parsed(&row.id, "request_log", "id", &row.id)?,
            outcome: Outcome::parse(&row.outcome).ok_or_else(wrong)?,
            at: row.at,
            method: row.method,
            connector: row.connector_slug,
            tool: row.tool,
            principal: row.principal_name,
            total_us: row.total_us,
        })
    }
}

/// `text` as a pattern that finds it anywhere.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Requests of an organisation, the one that ended last first.
pub async fn list(tx: &mut Tx, org: OrgId, filter: &Filter, limit: i64) -> Result<Vec<LogLine>> {
    let org = org.to_string();
    let before = filter.before.unwrap_or(LogEntryId::from_uuid(Uuid::max())).to_string();
    let since = filter.since.unwrap_or(LogEntryId::from_uuid(Uuid::nil())).to_string();
    let text = filter.text.as_deref().map(pattern);
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST)
        .bind(org)
        .bind(before)
        .bind(since)
        .bind(&filter.connector)
        .bind(&filter.principal)
        .bind(filter.outcome.map(Outcome::as_str))
        .bind(&filter.tool)
        .bind(text)
        .bind(limit)
        .fetch_all(c)
        .await)?;
    rows.into_iter().map(LogLine::try_from).collect()
}

/// Id and beginning (Unix milliseconds) of the request that ended last.
pub async fn newest(tx: &mut Tx, org: OrgId) -> Result<Option<(String, i64)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(NEWEST).bind(org).fetch_optional(c).await)?)
}

/// When the latest request of the organisation that is still in the log began, Unix milliseconds.
pub async fn last_at(tx: &mut Tx, org: OrgId) -> Result<Option<i64>> {
    let org = org.to_string();
    let row: Option<(i64,)> = on!(tx, |c| sqlx::query_as(LAST).bind(org).fetch_optional(c).await)?;
    Ok(row.map(|(at,)| at))
}

/// One request, whole.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What stands in lists.
    pub line: LogLine,
    /// The kind of principal.
    pub principal_kind: String,
    /// The principal's id.
    pub principal_id: String,
    /// JSON: everything else.
    pub detail: String,
    /// Arguments and result, sealed.
    pub bodies: Option<Vec<u8>>,
}

#[derive(sqlx::FromRow)]
struct WholeRow {
    #[sqlx(flatten)]
    row: Row,
    principal_kind: String,
    principal_id: String,
    detail: String,
    bodies: Option<Vec<u8>>,
}

/// The request with this id.
pub async fn find(tx: &mut Tx, org: OrgId, id: LogEntryId) -> Result<Option<Entry>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<WholeRow> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(|whole| {
        Ok(Entry {
            line: whole.row.try_into()?,
            principal_kind: whole.principal_kind,
            principal_id: whole.principal_id,
            detail: whole.detail,
            bodies: whole.bodies,
        })
    })
    .transpose()
}

/// Principals of the newest requests, by name: id and name.
pub async fn recent_principals(tx: &mut Tx, org: OrgId) -> Result<Vec<(String, String)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(RECENT_PRINCIPALS).bind(org).fetch_all(c).await)?)
}

/// Deletes at most so many requests that are older than this one; how many.
pub async fn delete_before(tx: &mut Tx, org: OrgId, before: LogEntryId, most: i64) -> Result<u64> {
    let (org, before) = (org.to_string(), before.to_string());
    Ok(on!(tx, |c| sqlx::query(DELETE_BEFORE)
        .bind(org)
        .bind(before)
        .bind(most)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}
