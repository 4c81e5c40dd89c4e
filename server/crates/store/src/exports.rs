//! Exports of organisations' data: the jobs, their files in sealed pieces, and the rows that only an export reads.

use model::{
    ExportId, OrgId, UserId,
    exports::{ExportFormat, ExportState},
};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    LIST = "SELECT id, org_id, format, parts, first_day, last_day, state, created_at, created_by, asked_by, tries, progress, failure, \
            expires_at, size, chunks, sha256 FROM exports WHERE org_id = $1 AND expires_at > $2 ORDER BY created_at DESC, id DESC";
    FIND = "SELECT id, org_id, format, parts, first_day, last_day, state, created_at, created_by, asked_by, tries, progress, failure, \
            expires_at, size, chunks, sha256 FROM exports WHERE org_id = $1 AND id = $2 AND expires_at > $3";
    INSERT = "INSERT INTO exports (id, org_id, format, parts, first_day, last_day, state, created_at, created_by, asked_by, \
              tries, leased_until, progress, expires_at, size, chunks, sha256) \
              VALUES ($1, $2, $3, $4, $5, $6, 'waiting', $7, $8, $9, 0, 0, $10, $11, 0, 0, '')";
    DELETE = "DELETE FROM exports WHERE org_id = $1 AND id = $2";
    LIST_DUE = "SELECT id, org_id, format, parts, first_day, last_day, state, created_at, created_by, asked_by, tries, progress, failure, \
                expires_at, size, chunks, sha256 FROM exports \
                WHERE state IN ('waiting', 'running') AND leased_until <= $1 ORDER BY created_at, id LIMIT $2";
    CLAIM = "UPDATE exports SET state = 'running', lease = $2, leased_until = $3, tries = tries + 1, size = 0, chunks = 0 \
             WHERE id = $1 AND state IN ('waiting', 'running') AND leased_until <= $4";
    CLEAR_CHUNKS = "DELETE FROM export_chunks WHERE export_id = $1";
    ADVANCE = "UPDATE exports SET leased_until = $3, progress = $4, size = $5, chunks = $6 \
               WHERE id = $1 AND lease = $2 AND state = 'running'";
    PUT_CHUNK = "INSERT INTO export_chunks (export_id, number, org_id, sealed) VALUES ($1, $2, $3, $4)";
    CHUNK = "SELECT c.sealed FROM export_chunks c JOIN exports e ON e.id = c.export_id \
             WHERE c.org_id = $1 AND c.export_id = $2 AND c.number = $3 AND e.state = 'ready' AND e.expires_at > $4";
    FINISH = "UPDATE exports SET state = 'ready', lease = NULL, leased_until = 0, sha256 = $3, finished_at = $4, expires_at = $5 \
              WHERE id = $1 AND lease = $2 AND state = 'running'";
    FAIL = "UPDATE exports SET state = 'failed', lease = NULL, leased_until = 0, failure = $3, finished_at = $4, size = 0, chunks = 0 \
            WHERE id = $1 AND lease = $2 AND state = 'running'";
    RELEASE = "UPDATE exports SET state = 'waiting', lease = NULL, leased_until = $2, tries = tries - $3 \
               WHERE lease = $1 AND state = 'running'";
    DELETE_EXPIRED = "DELETE FROM exports WHERE expires_at <= $1";
    COUNT_KEYS = "SELECT COUNT(*) FROM api_keys WHERE org_id = $1";
    COUNT_MEMBERS = "SELECT COUNT(*) FROM members WHERE org_id = $1";
    COUNT_CONNECTORS = "SELECT COUNT(*) FROM connectors WHERE org_id = $1";
    COUNT_USAGE = "SELECT COUNT(*) FROM usage_days WHERE org_id = $1 AND day >= $2 AND day < $3";
    COUNT_AUDIT = "SELECT COUNT(*) FROM audit_events WHERE org_id = $1 AND seq > $2 AND seq < $3 AND occurred_at >= $4 AND occurred_at < $5";
    LIST_USAGE = "SELECT day, connector_id, tool, principal_kind, principal_id, calls, errors, duration_us, bytes_in, bytes_out \
                  FROM usage_days WHERE org_id = $1 AND day >= $2 AND day < $3 \
                  AND (day, connector_id, tool, principal_kind, principal_id) > ($4, $5, $6, $7, $8) \
                  ORDER BY day, connector_id, tool, principal_kind, principal_id LIMIT $9";
}

/// An export's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// Whose it is.
    pub org: OrgId,
    /// In which form.
    pub format: ExportFormat,
    /// The names of its parts, with spaces between.
    pub parts: String,
    /// The first day of usage and audit log as typed; may be empty.
    pub first_day: String,
    /// The last one.
    pub last_day: String,
    /// How far it is.
    pub state: ExportState,
    /// Unix milliseconds.
    pub created_at: i64,
    /// The name of who asked for it.
    pub created_by: String,
    /// Their account, while it is there.
    pub asked_by: Option<UserId>,
    /// How often it was begun.
    pub tries: i64,
    /// JSON: how far each part is.
    pub progress: String,
    /// Why it failed, for people.
    pub failure: Option<String>,
    /// When it goes, Unix milliseconds.
    pub expires_at: i64,
    /// Bytes of the file so far.
    pub size: i64,
    /// Pieces of the file so far.
    pub chunks: i64,
    /// SHA-256 of the whole file in hexadecimal; empty before.
    pub sha256: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    org_id: String,
    format: String,
    parts: String,
    first_day: String,
    last_day: String,
    state: String,
    created_at: i64,
    created_by: String,
    asked_by: Option<String>,
    tries: i64,
    progress: String,
    failure: Option<String>,
    expires_at: i64,
    size: i64,
    chunks: i64,
    sha256: String,
}

impl TryFrom<Row> for Export {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let wrong =
            |column: &'static str| Error::Inconsistent { table: "exports", column, row: row.id.clone() };
        Ok(Self {
            id: parsed(&row.id, "exports", "id", &row.id)?,
            org: parsed(&row.org_id, "exports", "org_id", &row.id)?,
            format: ExportFormat::parse(&row.format).ok_or_else(|| wrong("format"))?,
            state: ExportState::parse(&row.state).ok_or_else(|| wrong("state"))?,
            parts: row.parts,
            first_day: row.first_day,
            last_day: row.last_day,
            created_at: row.created_at,
            created_by: row.created_by,
            asked_by: row.asked_by.map(|user| parsed(&user, "exports", "asked_by", &row.id)).transpose()?,
            tries: row.tries,
            progress: row.progress,
            failure: row.failure,
            expires_at: row.expires_at,
            size: row.size,
            chunks: row.chunks,
            sha256: row.sha256,
        })
    }
}

/// The exports of an organisation that are still there at `now` (Unix milliseconds), the newest first.
pub async fn list(tx: &mut Tx, org: OrgId, now: i64) -> Result<Vec<Export>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(org).bind(now).fetch_all(c).await)?;
    rows.into_iter().map(Export::try_from).collect()
}

/// One export of an organisation, if it is still there at `now`.
pub async fn find(tx: &mut Tx, org: OrgId, id: ExportId, now: i64) -> Result<Option<Export>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> =
        on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).bind(now).fetch_optional(c).await)?;
    row.map(Export::try_from).transpose()
}

/// Adds an export that waits to be written.
///
/// # Errors
/// [`Error::Taken`] while another one of the organisation is open.
pub async fn insert(tx: &mut Tx, export: &Export) -> Result<()> {
    on!(tx, |c| sqlx::query(INSERT)
        .bind(export.id.to_string())
        .bind(export.org.to_string())
        .bind(export.format.as_str())
        .bind(&export.parts)
        .bind(&export.first_day)
        .bind(&export.last_day)
        .bind(export.created_at)
        .bind(&export.created_by)
        .bind(export.asked_by.map(|user| user.to_string()))
        .bind(&export.progress)
        .bind(export.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Removes an export with its file.
pub async fn delete(tx: &mut Tx, org: OrgId, id: ExportId) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(DELETE).bind(org).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Exports of any organisation that are to be written and that nobody writes, the oldest first.
pub async fn list_due(tx: &mut Tx, now: i64, most: i64) -> Result<Vec<Export>> {
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_DUE).bind(now).bind(most).fetch_all(c).await)?;
    rows.into_iter().map(Export::try_from).collect()
}

/// Takes an export for oneself until then, and throws away what somebody may have written of it before; whether nobody was
/// quicker.
pub async fn claim(tx: &mut Tx, id: ExportId, lease: &str, now: i64, until: i64) -> Result<bool> {
    let id = id.to_string();
    let taken = on!(tx, |c| sqlx::query(CLAIM)
        .bind(&id)
        .bind(lease)
        .bind(until)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    if taken == 1 {
        on!(tx, |c| sqlx::query(CLEAR_CHUNKS).bind(&id).execute(c).await.map(drop))?;
    }
    Ok(taken == 1)
}

/// How far somebody is who has taken an export.
#[derive(Clone, Copy, Debug)]
pub struct Advance<'a> {
    /// The export.
    pub id: ExportId,
    /// The token it was taken with.
    pub lease: &'a str,
    /// Until when it is theirs from now on, Unix milliseconds.
    pub until: i64,
    /// JSON: how far each part is.
    pub progress: &'a str,
    /// Bytes of the file.
    pub size: i64,
    /// Pieces of the file.
    pub chunks: i64,
}

/// Notes how far it is; whether it still is theirs.
pub async fn advance(tx: &mut Tx, how: Advance<'_>) -> Result<bool> {
    let id = how.id.to_string();
    let noted = on!(tx, |c| sqlx::query(ADVANCE)
        .bind(id)
        .bind(how.lease)
        .bind(how.until)
        .bind(how.progress)
        .bind(how.size)
        .bind(how.chunks)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(noted == 1)
}

/// Adds a piece of the file. Only after [`advance`] in the same transaction, which holds the row.
pub async fn put_chunk(tx: &mut Tx, org: OrgId, id: ExportId, number: i64, sealed: &[u8]) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(PUT_CHUNK)
        .bind(id)
        .bind(number)
        .bind(org)
        .bind(sealed)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// A piece of a file that is ready and still there at `now`.
pub async fn chunk(tx: &mut Tx, org: OrgId, id: ExportId, number: i64, now: i64) -> Result<Option<Vec<u8>>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<(Vec<u8>,)> =
        on!(tx, |c| sqlx::query_as(CHUNK).bind(org).bind(id).bind(number).bind(now).fetch_optional(c).await)?;
    Ok(row.map(|(sealed,)| sealed))
}

/// Makes an export ready; whether it still was theirs.
pub async fn finish(
    tx: &mut Tx,
    id: ExportId,
    lease: &str,
    sha256: &str,
    (at, expires_at): (i64, i64),
) -> Result<bool> {
    let id = id.to_string();
    let done = on!(tx, |c| sqlx::query(FINISH)
        .bind(id)
        .bind(lease)
        .bind(sha256)
        .bind(at)
        .bind(expires_at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Gives an export up, with its pieces; whether it still was theirs.
pub async fn fail(tx: &mut Tx, id: ExportId, lease: &str, why: &str, at: i64) -> Result<bool> {
    let id = id.to_string();
    let done = on!(tx, |c| sqlx::query(FAIL)
        .bind(&id)
        .bind(lease)
        .bind(why)
        .bind(at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    if done == 1 {
        on!(tx, |c| sqlx::query(CLEAR_CHUNKS).bind(&id).execute(c).await.map(drop))?;
    }
    Ok(done == 1)
}

/// Gives back what was taken with this token and is not finished, not to be begun again before `not_before` (Unix
/// milliseconds). With `uncounted`, having begun it does not count as a try.
pub async fn release(tx: &mut Tx, lease: &str, not_before: i64, uncounted: bool) -> Result<()> {
    on!(tx, |c| sqlx::query(RELEASE)
        .bind(lease)
        .bind(not_before)
        .bind(i64::from(uncounted))
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Removes what is too old, rows and pieces; how many exports.
pub async fn delete_expired(tx: &mut Tx, now: i64) -> Result<u64> {
    Ok(on!(tx, |c| sqlx::query(DELETE_EXPIRED).bind(now).execute(c).await.map(|done| done.rows_affected()))?)
}

/// How many connectors, keys and members an organisation has.
pub async fn count_kept(tx: &mut Tx, org: OrgId) -> Result<[i64; 3]> {
    let org = org.to_string();
    let mut counts = [0; 3];
    for (count, sql) in counts.iter_mut().zip([COUNT_CONNECTORS, COUNT_KEYS, COUNT_MEMBERS]) {
        (*count,) = on!(tx, |c| sqlx::query_as(sql).bind(&org).fetch_one(c).await)?;
    }
    Ok(counts)
}

/// How many rows of usage there are from one day and before another (since 1970, UTC).
pub async fn count_usage(tx: &mut Tx, org: OrgId, (from, before): (i64, i64)) -> Result<i64> {
    let org = org.to_string();
    let (count,): (i64,) =
        on!(tx, |c| sqlx::query_as(COUNT_USAGE).bind(org).bind(from).bind(before).fetch_one(c).await)?;
    Ok(count)
}

/// How many events there are between two sequence numbers, not included, from one time and before another (Unix
/// microseconds).
pub async fn count_audit(
    tx: &mut Tx,
    org: OrgId,
    (after, before): (i64, i64),
    (from, to): (i64, i64),
) -> Result<i64> {
    let org = org.to_string();
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_AUDIT)
        .bind(org)
        .bind(after)
        .bind(before)
        .bind(from)
        .bind(to)
        .fetch_one(c)
        .await)?;
    Ok(count)
}

/// A row of usage: calls of a day by connector, tool and principal.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Usage {
    /// Since 1970, UTC.
    pub day: i64,
    /// The connector's id; empty for none.
    pub connector_id: String,
    /// The tool.
    pub tool: String,
    /// What kind of principal called.
    pub principal_kind: String,
    /// Its public id.
    pub principal_id: String,
    /// Calls.
    pub calls: i64,
    /// Of these, failed ones.
    pub errors: i64,
    /// Microseconds of all calls together.
    pub duration_us: i64,
    /// Bytes that came in.
    pub bytes_in: i64,
    /// Bytes that went out.
    pub bytes_out: i64,
}

/// The rows of usage that come after another one, in the order of the key.
pub async fn list_usage(
    tx: &mut Tx,
    org: OrgId,
    (from, before): (i64, i64),
    after: &Usage,
    most: i64,
) -> Result<Vec<Usage>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LIST_USAGE)
        .bind(org)
        .bind(from)
        .bind(before)
        .bind(after.day)
        .bind(&after.connector_id)
        .bind(&after.tool)
        .bind(&after.principal_kind)
        .bind(&after.principal_id)
        .bind(most)
        .fetch_all(c)
        .await)?)
}
