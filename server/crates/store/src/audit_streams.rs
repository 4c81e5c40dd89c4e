//! Where audit events are streamed to, and how far each stream has come. What waits to be sent is the log itself, so nothing
//! is kept twice and nothing is lost between the two.

use model::OrgId;

use crate::{Result, Tx, db::parsed};

statements! {
    FIND = "SELECT kind, url, token_sealed, enabled, cursor, due_at, failures, last_sent_at, last_error, last_error_at, skipped, \
            updated_at, updated_by FROM audit_streams WHERE org_id = $1";
    PUT = "INSERT INTO audit_streams (org_id, kind, url, token_sealed, enabled, cursor, leased_until, due_at, failures, skipped, \
           updated_at, updated_by) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, $7, $8) \
           ON CONFLICT (org_id) DO UPDATE SET kind = excluded.kind, url = excluded.url, token_sealed = excluded.token_sealed, \
           enabled = excluded.enabled, due_at = 0, failures = 0, updated_at = excluded.updated_at, updated_by = excluded.updated_by";
    DELETE = "DELETE FROM audit_streams WHERE org_id = $1";
    LIST_DUE = "SELECT s.org_id FROM audit_streams s JOIN orgs o ON o.id = s.org_id WHERE s.enabled AND s.due_at <= $1 \
                AND s.leased_until <= $1 AND s.cursor < o.version ORDER BY s.due_at, s.org_id LIMIT $2";
    LEASE = "UPDATE audit_streams SET leased_until = $3 WHERE org_id = $1 AND leased_until <= $2 AND enabled AND due_at <= $2";
    SENT = "UPDATE audit_streams SET cursor = $3, skipped = skipped + $4, last_sent_at = $5, failures = 0, due_at = 0, \
            last_error = NULL, last_error_at = NULL WHERE org_id = $1 AND cursor = $2";
    FAILED = "UPDATE audit_streams SET failures = failures + 1, due_at = $3, last_error = $4, last_error_at = $5, leased_until = 0 \
              WHERE org_id = $1 AND cursor = $2";
    RELEASE = "UPDATE audit_streams SET leased_until = 0 WHERE org_id = $1";
    LIST_ENABLED = "SELECT org_id, cursor FROM audit_streams WHERE enabled";
}

/// A stream.
#[derive(Clone, sqlx::FromRow)]
pub struct Stream {
    /// In which form events are sent: `json_lines` or `splunk_hec`.
    pub kind: String,
    /// Where to.
    pub url: String,
    /// The sealed token.
    pub token_sealed: Option<Vec<u8>>,
    /// Whether events are sent.
    pub enabled: bool,
    /// The sequence number of the last event that was taken.
    pub cursor: i64,
    /// Not before then, Unix milliseconds.
    pub due_at: i64,
    /// How often it failed in a row.
    pub failures: i64,
    /// When the last events were taken, Unix milliseconds.
    pub last_sent_at: Option<i64>,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// When that was, Unix milliseconds.
    pub last_error_at: Option<i64>,
    /// How many events were gone before they could be sent.
    pub skipped: i64,
    /// When it was last changed, Unix milliseconds.
    pub updated_at: i64,
    /// By whom, by name.
    pub updated_by: String,
}

impl core::fmt::Debug for Stream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stream")
            .field("kind", &self.kind)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why, as people are told.
    pub why: String,
    /// When, Unix milliseconds.
    pub at: i64,
    /// Not again before then, Unix milliseconds.
    pub due_at: i64,
}

/// The stream of an organisation.
pub async fn find(tx: &mut Tx, org: OrgId) -> Result<Option<Stream>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(FIND).bind(org).fetch_optional(c).await)?)
}

/// Writes what people decide of a stream. A new one begins at its cursor; one that is there goes on where it is, at once.
pub async fn put(tx: &mut Tx, org: OrgId, stream: &Stream) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(PUT)
        .bind(org)
        .bind(&stream.kind)
        .bind(&stream.url)
        .bind(&stream.token_sealed)
        .bind(stream.enabled)
        .bind(stream.cursor)
        .bind(stream.updated_at)
        .bind(&stream.updated_by)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Removes the stream; whether there was one.
pub async fn delete(tx: &mut Tx, org: OrgId) -> Result<bool> {
    let org = org.to_string();
    let gone = on!(tx, |c| sqlx::query(DELETE).bind(org).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(gone == 1)
}

/// The organisations with events to send that nobody is sending.
pub async fn list_due(tx: &mut Tx, now: i64, most: i64) -> Result<Vec<OrgId>> {
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(LIST_DUE).bind(now).bind(most).fetch_all(c).await)?;
    rows.into_iter().map(|(org,)| parsed(&org, "audit_streams", "org_id", &org)).collect()
}

/// Takes a stream for oneself until then; whether nobody else has it.
pub async fn lease(tx: &mut Tx, org: OrgId, now: i64, until: i64) -> Result<bool> {
    let org = org.to_string();
    let taken = on!(tx, |c| sqlx::query(LEASE)
        .bind(org)
        .bind(now)
        .bind(until)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(taken == 1)
}

/// Moves the cursor on from where it was; whether it still was there.
pub async fn sent(tx: &mut Tx, org: OrgId, (from, to): (i64, i64), skipped: i64, now: i64) -> Result<bool> {
    let org = org.to_string();
    let moved = on!(tx, |c| sqlx::query(SENT)
        .bind(org)
        .bind(from)
        .bind(to)
        .bind(skipped)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(moved == 1)
}

/// Notes that an attempt failed, and gives the stream back.
pub async fn failed(tx: &mut Tx, org: OrgId, cursor: i64, failure: &Failure) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(FAILED)
        .bind(org)
        .bind(cursor)
        .bind(failure.due_at)
        .bind(&failure.why)
        .bind(failure.at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Gives the stream back.
pub async fn release(tx: &mut Tx, org: OrgId) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(RELEASE).bind(org).execute(c).await.map(drop))?;
    Ok(())
}

/// The organisations that stream their events, and up to which sequence number they were taken.
pub async fn list_enabled(tx: &mut Tx) -> Result<Vec<(OrgId, i64)>> {
    let rows: Vec<(String, i64)> = on!(tx, |c| sqlx::query_as(LIST_ENABLED).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(org, cursor)| Ok((parsed(&org, "audit_streams", "org_id", &org)?, cursor)))
        .collect()
}
