//! Failed sign-ins, counted per account and per address, so that neither a restart nor a second node forgets (PWD-07).

use crate::{Result, Tx};

statements! {
    FIND = "SELECT failures, window_start, blocked_until FROM sign_in_failures WHERE bucket = $1";
    UPSERT = "INSERT INTO sign_in_failures (bucket, failures, window_start, blocked_until) VALUES ($1, $2, $3, $4) \
              ON CONFLICT (bucket) DO UPDATE SET failures = excluded.failures, window_start = excluded.window_start, \
              blocked_until = excluded.blocked_until";
    LOCK = "INSERT INTO sign_in_failures (bucket, failures, window_start, blocked_until) VALUES ($1, 0, 0, 0) \
            ON CONFLICT (bucket) DO UPDATE SET failures = sign_in_failures.failures";
    DELETE = "DELETE FROM sign_in_failures WHERE bucket = $1";
    DELETE_STALE = "DELETE FROM sign_in_failures WHERE window_start < $1 AND blocked_until < $1";
}

/// The count of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Failures since `window_start`.
    pub failures: i64,
    /// When counting began, Unix milliseconds.
    pub window_start: i64,
    /// Until when attempts are refused unread, Unix milliseconds.
    pub blocked_until: i64,
}

/// The count of a bucket; zero if it has none.
pub async fn get(tx: &mut Tx, bucket: &str) -> Result<Failures> {
    let row: Option<(i64, i64, i64)> =
        on!(tx, |c| sqlx::query_as(FIND).bind(bucket).fetch_optional(c).await)?;
    Ok(row.map_or_else(Failures::default, |(failures, window_start, blocked_until)| Failures {
        failures,
        window_start,
        blocked_until,
    }))
}

/// Makes other attempts on the bucket wait until this transaction ends, so that each of many at once is counted (PWD-06).
pub async fn lock(tx: &mut Tx, bucket: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(LOCK).bind(bucket).execute(c).await.map(drop))?;
    Ok(())
}

/// Writes the count of a bucket.
pub async fn put(tx: &mut Tx, bucket: &str, count: Failures) -> Result<()> {
    on!(tx, |c| sqlx::query(UPSERT)
        .bind(bucket)
        .bind(count.failures)
        .bind(count.window_start)
        .bind(count.blocked_until)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Forgets a bucket.
pub async fn delete(tx: &mut Tx, bucket: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(bucket).execute(c).await.map(drop))?;
    Ok(())
}

/// Forgets buckets that have not mattered since `before`.
pub async fn delete_stale(tx: &mut Tx, before: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_STALE).bind(before).execute(c).await.map(drop))?;
    Ok(())
}
