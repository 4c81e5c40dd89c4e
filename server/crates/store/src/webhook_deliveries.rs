//! Events on their way to webhooks: the queue, and the log of what came of each.
//!
//! A delivery is written with its event. Whoever tries one takes it for themself with a lease: its `due_at` is then the
//! time at which it falls to others again, and only who still holds the lease may say what came of it (WHK-02). Locks are
//! taken in the order webhook, then deliveries.

use model::{
    OrgId, OutboxId, WebhookId,
    webhooks::{Cause, DeliveryState},
};

use crate::{Error, Kind, Result, Tx, db::Statement, db::parsed};

/// The columns of a delivery, as [`Row`] has them.
macro_rules! deliveries {
    ($rest:literal) => {
        concat!(
            "SELECT webhook_id, outbox_id, org_id, event, created_at, state, cause, tries, attempts, due_at, lease, tried_at, took, \
             status, error FROM webhook_deliveries ",
            $rest
        )
    };
}

statements! {
    ENQUEUE = "INSERT INTO webhook_deliveries (webhook_id, outbox_id, org_id, event, created_at, state, cause, tries, attempts, due_at) \
               SELECT id, CAST($2 AS TEXT), org_id, CAST($3 AS TEXT), CAST($4 AS BIGINT), 'pending', 'event', 0, 0, CAST($4 AS BIGINT) \
               FROM webhooks WHERE org_id = $1 AND (events = '*' OR events LIKE $5)";
    INSERT_TEST = "INSERT INTO webhook_deliveries (webhook_id, outbox_id, org_id, event, created_at, state, cause, tries, attempts, \
                   due_at, lease) VALUES ($1, $2, $3, $4, $5, 'pending', 'test', 0, 0, $6, $7)";
    COUNT_TESTS = "SELECT COUNT(*), MIN(created_at) FROM webhook_deliveries WHERE org_id = $1 AND webhook_id = $2 AND cause = 'test' \
                   AND created_at > $3";
    // One probe of the index for each webhook with something in its queue, however long that is.
    LIST_QUEUES = "WITH RECURSIVE queues (id) AS (\
                   SELECT MIN(webhook_id) FROM webhook_deliveries WHERE due_at IS NOT NULL \
                   UNION ALL SELECT (SELECT MIN(d.webhook_id) FROM webhook_deliveries d \
                   WHERE d.due_at IS NOT NULL AND d.webhook_id > queues.id) FROM queues WHERE queues.id IS NOT NULL) \
                   SELECT w.id, w.org_id, w.failing_since, (SELECT COUNT(*) FROM webhook_deliveries l WHERE l.webhook_id = w.id \
                   AND l.lease IS NOT NULL AND l.due_at > $1) AS taken \
                   FROM queues q JOIN webhooks w ON w.id = q.id JOIN orgs o ON o.id = w.org_id \
                   WHERE w.state = 'active' AND o.suspended_at IS NULL \
                   AND (SELECT MIN(d.due_at) FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.due_at IS NOT NULL) <= $1 \
                   ORDER BY taken, w.id";
    COUNT_TAKEN = "SELECT COUNT(*) FROM webhook_deliveries WHERE webhook_id = $1 AND lease IS NOT NULL AND due_at > $2";
    FIND = deliveries!("WHERE org_id = $1 AND webhook_id = $2 AND outbox_id = $3");
    LIST = deliveries!(
        "WHERE org_id = $1 AND webhook_id = $2 AND outbox_id < $3 AND created_at >= $4 AND created_at < $5 \
         AND (CAST($6 AS TEXT) = '' OR state = $6) AND (CAST($7 AS TEXT) = '' OR event = $7) ORDER BY outbox_id DESC LIMIT $8"
    );
    CONCLUDE = "UPDATE webhook_deliveries SET state = $4, tries = $5, attempts = attempts + 1, due_at = $6, lease = NULL, \
                tried_at = $7, took = $8, status = $9, error = $10 \
                WHERE webhook_id = $1 AND outbox_id = $2 AND lease = $3 RETURNING attempts";
    RELEASE = "UPDATE webhook_deliveries SET due_at = $4, lease = NULL WHERE webhook_id = $1 AND outbox_id = $2 AND lease = $3";
    REPLAY = "UPDATE webhook_deliveries SET state = 'pending', cause = 'replay', tries = 0, due_at = $4, lease = NULL \
              WHERE org_id = $1 AND webhook_id = $2 AND outbox_id = $3 AND (lease IS NULL OR due_at <= $4)";
    COUNT_RANGE = "SELECT COUNT(*) FROM webhook_deliveries WHERE org_id = $1 AND webhook_id = $2 AND created_at >= $3 \
                   AND created_at < $4 AND cause <> 'test' AND (state IN ('failed', 'skipped') OR (state = 'delivered' AND $5))";
    REPLAY_RANGE = "UPDATE webhook_deliveries SET state = 'pending', cause = 'replay', tries = 0, due_at = $6 \
                    WHERE org_id = $1 AND webhook_id = $2 AND created_at >= $3 AND created_at < $4 AND cause <> 'test' \
                    AND (state IN ('failed', 'skipped') OR (state = 'delivered' AND $5))";
    SKIP_WAITING = "UPDATE webhook_deliveries SET state = 'skipped', due_at = NULL, lease = NULL \
                    WHERE org_id = $1 AND webhook_id = $2 AND state = 'pending'";
    COUNT_WAITING = "SELECT COUNT(*) FROM webhook_deliveries WHERE org_id = $1 AND webhook_id = $2 AND due_at IS NOT NULL";
    RATE = "SELECT COUNT(*), COALESCE(SUM(CASE WHEN delivered THEN 1 ELSE 0 END), 0), MAX(started_at) FROM webhook_attempts \
            WHERE org_id = $1 AND webhook_id = $2 AND started_at >= $3 AND cause <> 'test'";
    LAST_DELIVERED = "SELECT started_at FROM webhook_attempts WHERE org_id = $1 AND webhook_id = $2 AND delivered \
                      ORDER BY started_at DESC LIMIT 1";
    INSERT_ATTEMPT = "INSERT INTO webhook_attempts (webhook_id, outbox_id, number, org_id, cause, started_at, took, delivered, status, \
                      error, headers, body, cut) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    LIST_ATTEMPTS = "SELECT number, cause, started_at, took, delivered, status, error, headers, body, cut FROM webhook_attempts \
                     WHERE org_id = $1 AND webhook_id = $2 AND outbox_id = $3 ORDER BY number DESC LIMIT $4";
    TRACES = "SELECT (SELECT d.outbox_id FROM webhook_deliveries d WHERE d.org_id = $1 AND d.webhook_id = $2 AND d.created_at < $4 \
              ORDER BY d.outbox_id DESC LIMIT 1), \
              (SELECT COUNT(*) FROM webhook_attempts a WHERE a.org_id = $1 AND a.webhook_id = $2 AND a.started_at >= $3 \
              AND a.started_at + a.took < $4)";
    BACKLOG = "SELECT COUNT(*), MIN(d.due_at) FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id \
               JOIN orgs o ON o.id = w.org_id WHERE d.due_at <= $1 AND w.state = 'active' AND o.suspended_at IS NULL";
}

const LOCK_SQLITE: &str = "SELECT id FROM webhooks WHERE id = $1";
const LOCK_POSTGRES: &str = "SELECT id FROM webhooks WHERE id = $1 FOR NO KEY UPDATE";
const TRY_LOCK_SQLITE: &str = "SELECT id FROM webhooks WHERE id = $1 AND state = 'active'";
const TRY_LOCK_POSTGRES: &str =
    "SELECT id FROM webhooks WHERE id = $1 AND state = 'active' FOR NO KEY UPDATE SKIP LOCKED";
/// Takes what is due of one webhook, the longest waiting first.
const CLAIM_SQLITE: &str = "UPDATE webhook_deliveries SET lease = $4, due_at = $3 WHERE webhook_id = $1 AND outbox_id IN \
    (SELECT outbox_id FROM webhook_deliveries WHERE webhook_id = $1 AND due_at <= $2 \
    ORDER BY due_at, outbox_id LIMIT $5) RETURNING outbox_id";
/// An array is made once. Behind `IN`, `PostgreSQL` may ask again for every row, which skips those just taken and so takes more
/// than the limit.
const CLAIM_POSTGRES: &str = "UPDATE webhook_deliveries SET lease = $4, due_at = $3 WHERE webhook_id = $1 AND outbox_id = ANY(ARRAY\
    (SELECT outbox_id FROM webhook_deliveries WHERE webhook_id = $1 AND due_at <= $2 \
    ORDER BY due_at, outbox_id LIMIT $5 FOR UPDATE SKIP LOCKED)) RETURNING outbox_id";

/// The statements that differ: `SQLite` has one writer and locks nothing else.
pub const LOCKS: &[Statement] = &[
    Statement { name: "webhook_deliveries::LOCK_SQLITE", sql: LOCK_SQLITE, only: Some(Kind::Sqlite) },
    Statement { name: "webhook_deliveries::LOCK_POSTGRES", sql: LOCK_POSTGRES, only: Some(Kind::Postgres) },
    Statement { name: "webhook_deliveries::TRY_LOCK_SQLITE", sql: TRY_LOCK_SQLITE, only: Some(Kind::Sqlite) },
    Statement {
        name: "webhook_deliveries::TRY_LOCK_POSTGRES",
        sql: TRY_LOCK_POSTGRES,
        only: Some(Kind::Postgres),
    },
    Statement { name: "webhook_deliveries::CLAIM_SQLITE", sql: CLAIM_SQLITE, only: Some(Kind::Sqlite) },
    Statement { name: "webhook_deliveries::CLAIM_POSTGRES", sql: CLAIM_POSTGRES, only: Some(Kind::Postgres) },
];

fn of(tx: &Tx, sqlite: &'static str, postgres: &'static str) -> &'static str {
    match tx.kind() {
        Kind::Sqlite => sqlite,
        Kind::Postgres => postgres,
    }
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The webhook.
    pub webhook: WebhookId,
    /// The event.
    pub outbox: OutboxId,
    /// Whose it is.
    pub org: OrgId,
    /// The event's name.
    pub event: String,
    /// When it happened, Unix milliseconds.
    pub created_at: i64,
    /// What became of it.
    pub state: DeliveryState,
    /// What the next attempt is for.
    pub cause: Cause,
    /// Attempts that failed since the event or its replay.
    pub tries: i64,
    /// Attempts in all.
    pub attempts: i64,
    /// When it is tried next; while somebody tries, until when they have it for themself. Unix milliseconds.
    pub due_at: Option<i64>,
    /// Who tries it.
    pub lease: Option<String>,
    /// When it was last tried, Unix milliseconds.
    pub tried_at: Option<i64>,
    /// How long that took, milliseconds.
    pub took: Option<i64>,
    /// The status that it was answered with.
    pub status: Option<i64>,
    /// The class of the network error, if it was not answered.
    pub error: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    webhook_id: String,
    outbox_id: String,
    org_id: String,
    event: String,
    created_at: i64,
    state: String,
    cause: String,
    tries: i64,
    attempts: i64,
    due_at: Option<i64>,
    lease: Option<String>,
    tried_at: Option<i64>,
    took: Option<i64>,
    status: Option<i64>,
    error: Option<String>,
}

const TABLE: &str = "webhook_deliveries";

fn wrong(table: &'static str, column: &'static str, row: &str) -> Error {
    Error::Inconsistent { table, column, row: row.to_owned() }
}

impl TryFrom<Row> for Delivery {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let id = &row.outbox_id;
        Ok(Self {
            webhook: parsed(&row.webhook_id, TABLE, "webhook_id", id)?,
            outbox: parsed(id, TABLE, "outbox_id", id)?,
            org: parsed(&row.org_id, TABLE, "org_id", id)?,
            state: DeliveryState::parse(&row.state).ok_or_else(|| wrong(TABLE, "state", id))?,
            cause: Cause::parse(&row.cause).ok_or_else(|| wrong(TABLE, "cause", id))?,
            event: row.event,
            created_at: row.created_at,
            tries: row.tries,
            attempts: row.attempts,
            due_at: row.due_at,
            lease: row.lease,
            tried_at: row.tried_at,
            took: row.took,
            status: row.status,
            error: row.error,
        })
    }
}

/// Queues an event for every webhook of the organisation that hears of it, whatever its state; in the transaction of the
/// change.
pub async fn enqueue(tx: &mut Tx, org: OrgId, outbox: OutboxId, event: &str, at: i64) -> Result<()> {
    let (org, outbox) = (org.to_string(), outbox.to_string());
    on!(tx, |c| sqlx::query(ENQUEUE)
        .bind(org)
        .bind(outbox)
        .bind(event)
        .bind(at)
        .bind(format!("% {event} %"))
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Queues a test for one webhook, in the hands of whoever sends it now.
pub async fn insert_test(
    tx: &mut Tx,
    org: OrgId,
    webhook: WebhookId,
    outbox: OutboxId,
    event: &str,
    at: i64,
    (lease, until): (&str, i64),
) -> Result<()> {
    let (org, webhook, outbox) = (org.to_string(), webhook.to_string(), outbox.to_string());
    on!(tx, |c| sqlx::query(INSERT_TEST)
        .bind(webhook)
        .bind(outbox)
        .bind(org)
        .bind(event)
        .bind(at)
        .bind(until)
        .bind(lease)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// How many tests a webhook was sent since a time, and when the first of them.
pub async fn count_tests(
    tx: &mut Tx,
    org: OrgId,
    webhook: WebhookId,
    since: i64,
) -> Result<(i64, Option<i64>)> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    Ok(on!(tx, |c| sqlx::query_as(COUNT_TESTS).bind(org).bind(webhook).bind(since).fetch_one(c).await)?)
}

/// A webhook with something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The webhook.
    pub webhook: WebhookId,
    /// Whose it is.
    pub org: OrgId,
    /// Whether its last delivery failed.
    pub failing: bool,
    /// How many of its deliveries are being tried.
    pub taken: i64,
}

/// The active webhooks with deliveries that are due, those of which the fewest are being tried first.
pub async fn list_queues(tx: &mut Tx, now: i64) -> Result<Vec<Queue>> {
    let rows: Vec<(String, String, Option<i64>, i64)> =
        on!(tx, |c| sqlx::query_as(LIST_QUEUES).bind(now).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(id, org, failing_since, taken)| {
            Ok(Queue {
                webhook: parsed(&id, "webhooks", "id", &id)?,
                org: parsed(&org, "webhooks", "org_id", &id)?,
                failing: failing_since.is_some(),
                taken,
            })
        })
        .collect()
}

/// Keeps other nodes from saying anything about a webhook's deliveries until this transaction ends. Whether it is there.
pub async fn lock(tx: &mut Tx, webhook: WebhookId) -> Result<bool> {
    let sql = of(tx, LOCK_SQLITE, LOCK_POSTGRES);
    let found: Option<(String,)> =
        on!(tx, |c| sqlx::query_as(sql).bind(webhook.to_string()).fetch_optional(c).await)?;
    Ok(found.is_some())
}

/// Takes deliveries of a webhook that are due for oneself, at most so many that `most` are being tried at once. Another node
/// that is at it goes first: then nothing is taken.
pub async fn claim(
    tx: &mut Tx,
    webhook: WebhookId,
    now: i64,
    until: i64,
    lease: &str,
    most: i64,
) -> Result<Vec<OutboxId>> {
    let id = webhook.to_string();
    let sql = of(tx, TRY_LOCK_SQLITE, TRY_LOCK_POSTGRES);
    let found: Option<(String,)> = on!(tx, |c| sqlx::query_as(sql).bind(id.clone()).fetch_optional(c).await)?;
    if found.is_none() {
        return Ok(Vec::new());
    }
    let (taken,): (i64,) =
        on!(tx, |c| sqlx::query_as(COUNT_TAKEN).bind(id.clone()).bind(now).fetch_one(c).await)?;
    if taken >= most {
        return Ok(Vec::new());
    }
    let sql = of(tx, CLAIM_SQLITE, CLAIM_POSTGRES);
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(sql)
        .bind(id)
        .bind(now)
        .bind(until)
        .bind(lease)
        .bind(most - taken)
        .fetch_all(c)
        .await)?;
    let mut taken = rows
        .into_iter()
        .map(|(id,)| parsed(&id, TABLE, "outbox_id", &id))
        .collect::<Result<Vec<OutboxId>>>()?;
    taken.sort_by_key(|id| id.uuid());
    Ok(taken)
}

/// One delivery.
pub async fn find(tx: &mut Tx, org: OrgId, webhook: WebhookId, outbox: OutboxId) -> Result<Option<Delivery>> {
    let (org, webhook, outbox) = (org.to_string(), webhook.to_string(), outbox.to_string());
    let row: Option<Row> =
        on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(webhook).bind(outbox).fetch_optional(c).await)?;
    row.map(TryInto::try_into).transpose()
}

/// Which deliveries are wanted.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    /// Only those of events before this one, by id.
    pub before: Option<OutboxId>,
    /// From this time on, Unix milliseconds.
    pub from: i64,
    /// Before this time, Unix milliseconds.
    pub to: i64,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of this event; empty for all.
    pub event: &'a str,
    /// At most so many.
    pub limit: i64,
}

/// The deliveries of a webhook, newest event first.
pub async fn list(tx: &mut Tx, org: OrgId, webhook: WebhookId, filter: &Filter<'_>) -> Result<Vec<Delivery>> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    // Behind every id.
    let before = filter.before.map_or_else(|| "n".to_owned(), |id| id.to_string());
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST)
        .bind(org)
        .bind(webhook)
        .bind(before)
        .bind(filter.from)
        .bind(filter.to)
        .bind(filter.state.map_or("", DeliveryState::as_str))
        .bind(filter.event)
        .bind(filter.limit)
        .fetch_all(c)
        .await)?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// What came of an attempt, for the delivery.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// What became of the delivery.
    pub state: DeliveryState,
    /// Attempts that failed since the event or its replay.
    pub tries: i64,
    /// When it is tried again, Unix milliseconds.
    pub due_at: Option<i64>,
    /// When the attempt began, Unix milliseconds.
    pub tried_at: i64,
    /// How long it took, milliseconds.
    pub took: i64,
    /// The status of the answer.
    pub status: Option<i64>,
    /// The class of the network error.
    pub error: Option<&'a str>,
}

/// Says what came of an attempt, and how many there were then. `None` for somebody whose lease is over: nothing is changed.
pub async fn conclude(
    tx: &mut Tx,
    webhook: WebhookId,
    outbox: OutboxId,
    lease: &str,
    outcome: &Outcome<'_>,
) -> Result<Option<i64>> {
    let (webhook, outbox) = (webhook.to_string(), outbox.to_string());
    let row: Option<(i64,)> = on!(tx, |c| sqlx::query_as(CONCLUDE)
        .bind(webhook)
        .bind(outbox)
        .bind(lease)
        .bind(outcome.state.as_str())
        .bind(outcome.tries)
        .bind(outcome.due_at)
        .bind(outcome.tried_at)
        .bind(outcome.took)
        .bind(outcome.status)
        .bind(outcome.error)
        .fetch_optional(c)
        .await)?;
    Ok(row.map(|(attempts,)| attempts))
}

/// Gives a delivery back that was not tried.
pub async fn release(
    tx: &mut Tx,
    webhook: WebhookId,
    outbox: OutboxId,
    lease: &str,
    due_at: i64,
) -> Result<()> {
    let (webhook, outbox) = (webhook.to_string(), outbox.to_string());
    on!(tx, |c| sqlx::query(RELEASE)
        .bind(webhook)
        .bind(outbox)
        .bind(lease)
        .bind(due_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Makes a delivery due again, unless it is being tried.
pub async fn replay(tx: &mut Tx, org: OrgId, webhook: WebhookId, outbox: OutboxId, now: i64) -> Result<bool> {
    let (org, webhook, outbox) = (org.to_string(), webhook.to_string(), outbox.to_string());
    Ok(on!(tx, |c| sqlx::query(REPLAY)
        .bind(org)
        .bind(webhook)
        .bind(outbox)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// How many events of a time were given up or skipped; with those that were delivered, if they are asked for.
pub async fn count_range(
    tx: &mut Tx,
    org: OrgId,
    webhook: WebhookId,
    from: i64,
    to: i64,
    delivered_too: bool,
) -> Result<i64> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_RANGE)
        .bind(org)
        .bind(webhook)
        .bind(from)
        .bind(to)
        .bind(delivered_too)
        .fetch_one(c)
        .await)?;
    Ok(count)
}

/// Makes those that [`count_range`] counts due again; how many.
pub async fn replay_range(
    tx: &mut Tx,
    org: OrgId,
    webhook: WebhookId,
    (from, to): (i64, i64),
    delivered_too: bool,
    now: i64,
) -> Result<u64> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    Ok(on!(tx, |c| sqlx::query(REPLAY_RANGE)
        .bind(org)
        .bind(webhook)
        .bind(from)
        .bind(to)
        .bind(delivered_too)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// Leaves out what waits for a webhook; how many.
pub async fn skip_waiting(tx: &mut Tx, org: OrgId, webhook: WebhookId) -> Result<u64> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    Ok(on!(tx, |c| sqlx::query(SKIP_WAITING)
        .bind(org)
        .bind(webhook)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// How many wait for a webhook.
pub async fn count_waiting(tx: &mut Tx, org: OrgId, webhook: WebhookId) -> Result<i64> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    let (count,): (i64,) =
        on!(tx, |c| sqlx::query_as(COUNT_WAITING).bind(org).bind(webhook).fetch_one(c).await)?;
    Ok(count)
}

/// What tells that something happened to a webhook before a time: its newest delivery, and how many attempts there were that
/// began at or after another time. Both in Unix milliseconds.
pub async fn traces(
    tx: &mut Tx,
    org: OrgId,
    webhook: WebhookId,
    (since, before): (i64, i64),
) -> Result<(Option<String>, i64)> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    Ok(on!(tx, |c| sqlx::query_as(TRACES)
        .bind(org)
        .bind(webhook)
        .bind(since)
        .bind(before)
        .fetch_one(c)
        .await)?)
}

/// Attempts of a webhook since a time, how many of them were taken, and when the last was.
pub async fn rate(
    tx: &mut Tx,
    org: OrgId,
    webhook: WebhookId,
    since: i64,
) -> Result<(i64, i64, Option<i64>)> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    Ok(on!(tx, |c| sqlx::query_as(RATE).bind(org).bind(webhook).bind(since).fetch_one(c).await)?)
}

/// When a webhook took a delivery last, Unix milliseconds.
pub async fn last_delivered(tx: &mut Tx, org: OrgId, webhook: WebhookId) -> Result<Option<i64>> {
    let (org, webhook) = (org.to_string(), webhook.to_string());
    let row: Option<(i64,)> =
        on!(tx, |c| sqlx::query_as(LAST_DELIVERED).bind(org).bind(webhook).fetch_optional(c).await)?;
    Ok(row.map(|(at,)| at))
}

/// An attempt, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Attempt {
    /// Its number among those of the delivery, the first being 1.
    pub number: i64,
    /// `event`, `retry`, `replay` or `test`.
    pub cause: String,
    /// Unix milliseconds.
    pub started_at: i64,
    /// Milliseconds.
    pub took: i64,
    /// Whether it was taken.
    pub delivered: bool,
    /// The status of the answer.
    pub status: Option<i64>,
    /// The class of the network error.
    pub error: Option<String>,
    /// Headers of the answer: JSON pairs.
    pub headers: String,
    /// The beginning of its body.
    pub body: String,
    /// Whether there was more of it.
    pub cut: bool,
}

/// Adds an attempt to the log.
pub async fn insert_attempt(
    tx: &mut Tx,
    org: OrgId,
    webhook: WebhookId,
    outbox: OutboxId,
    attempt: &Attempt,
) -> Result<()> {
    let (org, webhook, outbox) = (org.to_string(), webhook.to_string(), outbox.to_string());
    on!(tx, |c| sqlx::query(INSERT_ATTEMPT)
        .bind(webhook)
        .bind(outbox)
        .bind(attempt.number)
        .bind(org)
        .bind(&attempt.cause)
        .bind(attempt.started_at)
        .bind(attempt.took)
        .bind(attempt.delivered)
        .bind(attempt.status)
        .bind(&attempt.error)
        .bind(&attempt.headers)
        .bind(&attempt.body)
        .bind(attempt.cut)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The last attempts of a delivery, newest first.
pub async fn list_attempts(
    tx: &mut Tx,
    org: OrgId,
    webhook: WebhookId,
    outbox: OutboxId,
    limit: i64,
) -> Result<Vec<Attempt>> {
    let (org, webhook, outbox) = (org.to_string(), webhook.to_string(), outbox.to_string());
    Ok(on!(tx, |c| sqlx::query_as(LIST_ATTEMPTS)
        .bind(org)
        .bind(webhook)
        .bind(outbox)
        .bind(limit)
        .fetch_all(c)
        .await)?)
}

/// How many deliveries of active webhooks are due, and since when the first of them is, Unix milliseconds.
pub async fn backlog(tx: &mut Tx, now: i64) -> Result<(i64, Option<i64>)> {
    Ok(on!(tx, |c| sqlx::query_as(BACKLOG).bind(now).fetch_one(c).await)?)
}
