//! What became of events on their way to webhooks, sending them once more, and trying a webhook out (WHK-04, WHK-06).

use model::{
    AppError, ErrorKind, OutboxId, WebhookId,
    permissions::can,
    webhooks::{
        Attempt, Cause, Delivery, DeliveryDetail, DeliveryList, DeliveryQuery, DeliveryState, KEPT_DAYS,
        ReplayRange, TEST, Webhook,
    },
};
use serde_json::json;
use store::{
    Tx,
    webhook_deliveries::{Delivery as Row, Filter},
};

use super::{
    DAY,
    deliver::{Claimed, Courier, LEASE},
    event, find, missing, payload, shown,
};
use crate::{Env, Error, OrgActor, Result};

/// Deliveries of a page.
const PAGE: i64 = 50;
/// Attempts that are shown.
const ATTEMPTS: i64 = 50;
/// Tests of one webhook in [`TEST_WINDOW`] (WHK-06).
const TESTS: i64 = 10;
const TEST_WINDOW: i64 = 60 * 1000;

fn told(row: &Row) -> Delivery {
    Delivery {
        id: row.outbox,
        event: row.event.clone(),
        created_at: row.created_at,
        state: row.state,
        attempts: row.attempts,
        tried_at: row.tried_at,
        took: row.took,
        status: row.status,
        error: row.error.clone(),
        // While somebody tries it, its time is that of their lease.
        next_at: row.due_at.filter(|_| row.lease.is_none()),
    }
}

/// A page of deliveries, the newest event first.
pub async fn list(
    env: &Env,
    actor: &OrgActor<can::WebhooksRead>,
    query: DeliveryQuery,
) -> Result<DeliveryList> {
    let id: WebhookId = query.webhook.parse().map_err(|_| missing())?;
    let (org, now) = (actor.org(), env.now());
    let mut tx = env.db.read().await?;
    let row = find(&mut tx, org, id).await?;
    let webhook = shown(&mut tx, row, now).await?;
    let mut list = DeliveryList { webhook, query, problem: None, deliveries: Vec::new(), older: None, now };
    let (from, to) = match list.query.range() {
        Ok(range) => range,
        Err(problem) => {
            list.problem = Some(problem.to_owned());
            return Ok(list);
        }
    };
    let filter = Filter {
        before: list.query.before.parse().ok(),
        from: from.unwrap_or(i64::MIN),
        to: to.unwrap_or(i64::MAX),
        state: DeliveryState::parse(&list.query.state),
        event: &list.query.event,
        limit: PAGE + 1,
    };
    let mut rows = store::webhook_deliveries::list(&mut tx, org, id, &filter).await?;
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) > PAGE;
    rows.truncate(usize::try_from(PAGE).unwrap_or_default());
    list.older = rows.last().filter(|_| more).map(|row| row.outbox);
    list.deliveries = rows.iter().map(told).collect();
    Ok(list)
}

/// One delivery with its attempts.
pub async fn get(
    env: &Env,
    actor: &OrgActor<can::WebhooksRead>,
    webhook: WebhookId,
    id: OutboxId,
) -> Result<DeliveryDetail> {
    let org = actor.org();
    let mut tx = env.db.read().await?;
    let row = find(&mut tx, org, webhook).await?;
    let hook: Webhook = shown(&mut tx, row, env.now()).await?;
    let no_delivery = || Error::not_found("delivery");
    let row = store::webhook_deliveries::find(&mut tx, org, webhook, id).await?.ok_or_else(no_delivery)?;
    let (name, data, at) = store::outbox::find(&mut tx, org, id).await?.ok_or_else(no_delivery)?;
    let attempts = store::webhook_deliveries::list_attempts(&mut tx, org, webhook, id, ATTEMPTS).await?;
    let attempts = attempts.into_iter().map(attempt).collect::<Result<_>>()?;
    let body = payload::body(org, id, &name, at, &data)?;
    Ok(DeliveryDetail { delivery: told(&row), webhook: hook, body, attempts })
}

fn attempt(row: store::webhook_deliveries::Attempt) -> Result<Attempt> {
    let wrong = || Error::Internal(format!("attempt {} cannot be read", row.number));
    Ok(Attempt {
        number: row.number,
        cause: Cause::parse(&row.cause).ok_or_else(wrong)?,
        at: row.started_at,
        took: row.took,
        delivered: row.delivered,
        status: row.status,
        headers: serde_json::from_str(&row.headers).map_err(|_| wrong())?,
        error: row.error,
        body: row.body,
        cut: row.cut,
    })
}

/// Sends one event once more, with the same id.
pub async fn replay(
    env: &Env,
    actor: &OrgActor<can::WebhooksWrite>,
    webhook: WebhookId,
    id: OutboxId,
) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), org, webhook).await?;
    let no_delivery = || Error::not_found("delivery");
    let found =
        store::webhook_deliveries::find(change.tx(), org, webhook, id).await?.ok_or_else(no_delivery)?;
    if found.cause == Cause::Test {
        let message = "This was a test, which is not sent again. Send a new one.";
        return Err(AppError::new(ErrorKind::Conflict, "test", message).into());
    }
    store::webhook_deliveries::lock(change.tx(), webhook).await?;
    if !store::webhook_deliveries::replay(change.tx(), org, webhook, id, env.now()).await? {
        let message =
            "This event is being sent at this moment. Nothing was changed; look again in a few seconds.";
        return Err(AppError::new(ErrorKind::Conflict, "under_way", message).into());
    }
    change.commit(event("webhook.replayed", &row).with("event", id.to_string()).with("count", 1)).await
}

/// The days of a range, whole and within what is kept.
fn days(env: &Env, from: &str, to: &str) -> Result<(i64, i64)> {
    let (first, last) = model::audit::range(from, to)
        .map_err(|problem| AppError::field(if to.is_empty() { "from" } else { "to" }, "day", problem))?;
    let Some(first) = first else {
        return Err(AppError::field("from", "required", "Choose the first day").into());
    };
    let oldest = env.now() - KEPT_DAYS * DAY;
    if last.is_some_and(|last| last <= oldest) {
        let message = format!("Choose days of the last {KEPT_DAYS}: older events are no longer kept");
        return Err(AppError::field("to", "too_old", message).into());
    }
    Ok((first.max(oldest), last.unwrap_or(i64::MAX)))
}

/// How many events [`replay_range`] would send.
pub async fn count_range(
    env: &Env,
    actor: &OrgActor<can::WebhooksWrite>,
    webhook: WebhookId,
    (from, to): (&str, &str),
    delivered_too: bool,
) -> Result<ReplayRange> {
    let (first, before) = days(env, from, to)?;
    let org = actor.org();
    let mut tx: Tx = env.db.read().await?;
    find(&mut tx, org, webhook).await?;
    let count =
        store::webhook_deliveries::count_range(&mut tx, org, webhook, first, before, delivered_too).await?;
    Ok(ReplayRange { from: from.to_owned(), to: to.to_owned(), delivered_too, count })
}

/// Sends the events of some days once more: those that were given up or skipped, and if wanted also those that were
/// delivered. How many.
pub async fn replay_range(
    env: &Env,
    actor: &OrgActor<can::WebhooksWrite>,
    webhook: WebhookId,
    (from, to): (&str, &str),
    delivered_too: bool,
) -> Result<u64> {
    let (first, before) = days(env, from, to)?;
    let (org, now) = (actor.org(), env.now());
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), org, webhook).await?;
    store::webhook_deliveries::lock(change.tx(), webhook).await?;
    let count = store::webhook_deliveries::replay_range(
        change.tx(),
        org,
        webhook,
        (first, before),
        delivered_too,
        now,
    )
    .await?;
    let event = event("webhook.replayed", &row).with("from", from).with("to", to).with("count", count);
    change.commit(event).await?;
    Ok(count)
}

/// Tries a webhook out: sends it an event that says it is a test, also while it is paused or disabled, and waits for the
/// answer. It is sent once and counts neither for nor against the webhook.
pub async fn test(
    courier: &Courier,
    env: &Env,
    actor: &OrgActor<can::WebhooksWrite>,
    webhook: WebhookId,
) -> Result<DeliveryDetail> {
    let (org, now) = (actor.org(), env.now());
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), org, webhook).await?;
    let (sent, first) =
        store::webhook_deliveries::count_tests(change.tx(), org, webhook, now - TEST_WINDOW).await?;
    if sent >= TESTS {
        let seconds = (first.unwrap_or(now) + TEST_WINDOW - now + 999) / 1000;
        let message = format!(
            "{TESTS} tests were sent in the last minute. Nothing was sent; try again in {seconds} seconds."
        );
        let mut error = AppError::new(ErrorKind::RateLimited, "too_many_tests", message);
        error.retry_after = u32::try_from(seconds).ok();
        return Err(error.into());
    }
    let id = OutboxId::from_uuid(env.uuid());
    let data = json!({"webhook_id": webhook, "message": "This is a test. Nothing has happened."}).to_string();
    store::outbox::insert(change.tx(), id, org, TEST, &data, now).await?;
    let lease = env.uuid().to_string();
    store::webhook_deliveries::insert_test(change.tx(), org, webhook, id, TEST, now, (&lease, now + LEASE))
        .await?;
    change.commit(event("webhook.tested", &row).with("event", id.to_string())).await?;
    courier.deliver(&Claimed { org, webhook, outbox: id, lease }).await?;
    get(env, &actor.with()?, webhook, id).await
}

/// How long the queue is, and how long the first in it waits, milliseconds (WHK-05).
pub async fn backlog(env: &Env) -> Result<(i64, i64)> {
    let now = env.now();
    let mut tx = env.db.read().await?;
    let (count, since) = store::webhook_deliveries::backlog(&mut tx, now).await?;
    Ok((count, since.map_or(0, |since| (now - since).max(0))))
}
