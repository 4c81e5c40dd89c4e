//! Webhooks: organisations hear of what happens to them, signed after Standard Webhooks 1.0.0 (WHK-01 to WHK-09).
//!
//! An event is queued for every webhook that hears of it in the transaction of the change itself ([`crate::change`]), so
//! none is lost and none invented. [`deliver`] takes what is due and sends it, [`log`] tells what came of it. Deliveries are
//! made at least once and in no promised order; a receiver knows a repetition by its `webhook-id`.

pub mod deliver;
pub mod log;
pub mod payload;
pub mod sign;

use model::{
    AppError, ErrorKind, OrgId, WebhookId,
    connectors::HIDDEN_QUERY,
    permissions::can,
    text,
    webhooks::{MAX_DESCRIPTION, SecretInfo, ShownWebhook, Webhook, WebhookState, is_topic},
};
use secrecy::{ExposeSecret as _, SecretString};
use store::{
    Tx,
    webhooks::{Secret as SecretRow, Webhook as Row},
};
use url::Url;

use crate::{
    Env, Error, OrgActor, Result,
    change::{Change, Event},
    connectors::input::{Query, parse_url},
    error::both,
    orgs,
    pin::Guarded,
    sealer::{Aad, DataKey},
};

/// The most webhooks of an organisation.
const MOST: usize = 50;
/// The most secrets of a webhook that sign at once: a header has to hold all signatures.
const MOST_SECRETS: usize = 5;
/// For how long a secret signs besides its successor, milliseconds (WHK-01).
pub const OVERLAP: i64 = 24 * 60 * 60 * 1000;
const DAY: i64 = 24 * 60 * 60 * 1000;
const EXAMPLE: &str = "https://hooks.example.com/gatehouse";

/// What a webhook shall be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it is; a hidden query stays.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// Whether it hears of all events, also future ones.
    pub all: bool,
    /// Those that it hears of otherwise.
    pub events: Vec<String>,
}

/// The same, checked.
struct Checked {
    url: Url,
    query: Query,
    description: String,
    events: String,
}

fn check(env: &Env, wanted: &Wanted) -> Result<Checked> {
    let url = || -> Result<(Url, Query)> {
        let (url, query) = parse_url(&wanted.url, "the receiver's", EXAMPLE)?;
        env.outbound.check_url(&url).map_err(|why| AppError::field("url", why.class(), why.to_string()))?;
        Ok((url, query))
    };
    let description = text::description("description", &wanted.description, MAX_DESCRIPTION);
    let ((url, query), (description, events)) =
        both(url(), both(description.map_err(Into::into), subscription(wanted)))?;
    Ok(Checked { url, query, description, events })
}

/// The events in the form of their column.
fn subscription(wanted: &Wanted) -> Result<String> {
    if wanted.all {
        return Ok("*".to_owned());
    }
    let mut names: Vec<&str> = wanted.events.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(AppError::field("events", "required", "Choose at least one event, or all of them").into());
    }
    match names.iter().find(|name| !is_topic(name)) {
        None => Ok(format!(" {} ", names.join(" "))),
        Some(name) => {
            let message = format!("There is no event {name}. Reload the page and choose again");
            Err(AppError::field("events", "unknown_event", message).into())
        }
    }
}

fn place(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "webhooks", column: "query_sealed", row }
}

fn seal_query(
    env: &Env,
    key: &DataKey,
    org: OrgId,
    id: WebhookId,
    query: Option<&SecretString>,
) -> Option<Vec<u8>> {
    let row = id.to_string();
    query.map(|query| key.seal(&place(org, &row), query.expose_secret().as_bytes(), env.rng.as_ref()))
}

/// The URL as it is called. It may hold a key, so it is never shown.
fn whole_url(key: &DataKey, row: &Row) -> Result<SecretString> {
    let Some(sealed) = &row.query_sealed else { return Ok(row.url.clone().into()) };
    let failed = || Error::Internal(format!("the query of {} does not open", row.id));
    let query = key.open(&place(row.org, &row.id.to_string()), sealed).map_err(|_| failed())?;
    let query = core::str::from_utf8(&query).map_err(|_| failed())?;
    Ok(format!("{}?{query}", row.url).into())
}

/// The URL as people see it.
fn shown_url(row: &Row) -> String {
    format!("{}{}", row.url, if row.query_sealed.is_some() { HIDDEN_QUERY } else { "" })
}

fn missing() -> Error {
    Error::not_found("webhook")
}

async fn find(tx: &mut Tx, org: OrgId, id: WebhookId) -> Result<Row> {
    store::webhooks::find(tx, org, id).await?.ok_or_else(missing)
}

async fn shown(tx: &mut Tx, row: Row, now: i64) -> Result<Webhook> {
    let (org, id) = (row.org, row.id);
    let secrets = store::webhooks::list_secrets(tx, org, id).await?;
    let (tried, taken, _) = store::webhook_deliveries::rate(tx, org, id, now - DAY).await?;
    Ok(Webhook {
        id,
        url: shown_url(&row),
        description: row.description,
        all: row.events == "*",
        events: row.events.split_whitespace().filter(|name| *name != "*").map(str::to_owned).collect(),
        state: row.state,
        state_at: row.state_at,
        reason: row.reason,
        failing_since: row.failing_since,
        secrets: secrets.into_iter().filter(|secret| lives(secret, now)).map(told).collect(),
        tried,
        taken,
        delivered_at: store::webhook_deliveries::last_delivered(tx, org, id).await?,
        waiting: store::webhook_deliveries::count_waiting(tx, org, id).await?,
        created_at: row.created_at,
        created_by: row.created_by,
    })
}

fn lives(secret: &SecretRow, now: i64) -> bool {
    secret.expires_at.is_none_or(|at| at > now)
}

fn told(secret: SecretRow) -> SecretInfo {
    SecretInfo { created_at: secret.created_at, created_by: secret.created_by, expires_at: secret.expires_at }
}

/// The webhooks of an organisation, oldest first.
pub async fn list(env: &Env, actor: &OrgActor<can::WebhooksRead>) -> Result<Vec<Webhook>> {
    let mut tx = env.db.read().await?;
    let mut webhooks = Vec::new();
    for row in store::webhooks::list(&mut tx, actor.org()).await? {
        webhooks.push(shown(&mut tx, row, env.now()).await?);
    }
    Ok(webhooks)
}

/// One of them.
pub async fn get(env: &Env, actor: &OrgActor<can::WebhooksRead>, id: WebhookId) -> Result<Webhook> {
    let mut tx = env.db.read().await?;
    let row = find(&mut tx, actor.org(), id).await?;
    shown(&mut tx, row, env.now()).await
}

/// Something that was done to a webhook.
fn event(action: &'static str, row: &Row) -> Event {
    Event::new(action).target("webhook", row.id, &row.url)
}

/// A new secret in its place, and those before it on their way out.
async fn put_secret(env: &Env, change: &mut Change, row: &Row, by: &str, number: i64) -> Result<String> {
    let key = orgs::data_key(env, change.tx(), row.org).await?;
    let (secret, sealed) = sign::generate(env, &key, row.org, row.id, number);
    let secret_row =
        SecretRow { number, sealed, created_at: env.now(), created_by: by.to_owned(), expires_at: None };
    let until = env.now() + OVERLAP;
    store::webhooks::insert_secret(change.tx(), row.org, row.id, &secret_row, until).await?;
    Ok(secret)
}

/// Adds a webhook. Its secret is in the answer and nowhere else.
pub async fn create(
    env: &Env,
    actor: &OrgActor<can::WebhooksWrite>,
    wanted: &Wanted,
) -> Result<ShownWebhook> {
    let Checked { url, query, description, events } = check(env, wanted)?;
    let Query::Set(query) = query else {
        return Err(AppError::field("url", "url", "Type the whole URL, also what stands after ?").into());
    };
    let (org, now) = (actor.org(), env.now());
    let by = actor.principal().name();
    let mut change = env.change(actor).await?;
    if store::webhooks::list(change.tx(), org).await?.len() >= MOST {
        let message =
            format!("This organisation has {MOST} webhooks. Delete some that are not used; none was added.");
        return Err(AppError::new(ErrorKind::Conflict, "too_many_webhooks", message).into());
    }
    let id = WebhookId::from_uuid(env.uuid());
    let key = orgs::data_key(env, change.tx(), org).await?;
    let row = Row {
        id,
        org,
        url: url.to_string(),
        query_sealed: seal_query(env, &key, org, id, query.as_ref()),
        description,
        events,
        state: WebhookState::Active,
        state_at: now,
        reason: None,
        failing_since: None,
        warned_at: None,
        created_at: now,
        created_by: by.to_owned(),
        updated_at: now,
    };
    store::webhooks::insert(change.tx(), &row).await?;
    let secret = put_secret(env, &mut change, &row, by, 1).await?;
    let event = event("webhook.created", &row).with("events", row.events.trim());
    let webhook = shown(change.tx(), row, now).await?;
    change.commit(event).await?;
    Ok(ShownWebhook { webhook, secret })
}

/// Changes where it is and what it hears of.
pub async fn update(
    env: &Env,
    actor: &OrgActor<can::WebhooksWrite>,
    id: WebhookId,
    wanted: &Wanted,
) -> Result<()> {
    let Checked { url, query, description, events } = check(env, wanted)?;
    let mut change = env.change(actor).await?;
    let org = actor.org();
    let old = find(change.tx(), org, id).await?;
    let query_sealed = match query {
        Query::Keep if url.as_str() == old.url => old.query_sealed.clone(),
        // A key of one place must not be sent to another.
        Query::Keep => {
            let message =
                "Type the whole URL, also what stands after ?: the hidden part belongs to the old address";
            return Err(AppError::field("url", "url", message).into());
        }
        Query::Set(query) => {
            let key = orgs::data_key(env, change.tx(), org).await?;
            seal_query(env, &key, org, id, query.as_ref())
        }
    };
    let new_query = query_sealed != old.query_sealed;
    let row =
        Row { url: url.to_string(), query_sealed, description, events, updated_at: env.now(), ..old.clone() };
    store::webhooks::update(change.tx(), &row).await?;
    let mut event = event("webhook.updated", &row)
        .changed("url", old.url, row.url.clone())
        .changed("description", old.description, row.description.clone())
        .changed("events", old.events.trim(), row.events.trim());
    if new_query {
        event = event.secret("query", old.query_sealed.is_some());
    }
    change.commit(event).await
}

/// Gives a webhook a new secret, which is in the answer and nowhere else. The old one signs besides it for [`OVERLAP`].
pub async fn rotate(env: &Env, actor: &OrgActor<can::WebhooksWrite>, id: WebhookId) -> Result<ShownWebhook> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    let secrets = store::webhooks::list_secrets(change.tx(), actor.org(), id).await?;
    if secrets.iter().filter(|secret| lives(secret, env.now())).count() >= MOST_SECRETS {
        let message = format!(
            "{MOST_SECRETS} secrets of this webhook sign at this time. Wait until the time of one is over; no secret was made."
        );
        return Err(AppError::new(ErrorKind::Conflict, "too_many_secrets", message).into());
    }
    let number = secrets.first().map_or(1, |newest| newest.number + 1);
    let by = actor.principal().name();
    let secret = put_secret(env, &mut change, &row, by, number).await?;
    let event = event("webhook.secret_rotated", &row);
    let webhook = shown(change.tx(), row, env.now()).await?;
    change.commit(event).await?;
    Ok(ShownWebhook { webhook, secret })
}

/// Pauses a webhook: events wait from now on.
pub async fn pause(env: &Env, actor: &OrgActor<can::WebhooksWrite>, id: WebhookId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    if row.state != WebhookState::Active {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "not_active",
            "This webhook is paused or disabled already. Nothing was changed.",
        )
        .into());
    }
    store::webhooks::set_state(change.tx(), row.org, id, WebhookState::Paused, env.now(), None).await?;
    change.commit(event("webhook.paused", &row)).await
}

/// Lets a paused or disabled webhook hear of events again. What waited is sent, or skipped; skipped events can be replayed.
pub async fn resume(
    env: &Env,
    actor: &OrgActor<can::WebhooksWrite>,
    id: WebhookId,
    skip: bool,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    if row.state == WebhookState::Active {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "active",
            "This webhook is active already. Nothing was changed.",
        )
        .into());
    }
    store::webhooks::set_state(change.tx(), row.org, id, WebhookState::Active, env.now(), None).await?;
    let mut event = event("webhook.resumed", &row).with("was", row.state.as_str());
    if skip {
        let skipped = store::webhook_deliveries::skip_waiting(change.tx(), row.org, id).await?;
        event = event.with("skipped", skipped);
    }
    change.commit(event).await
}

/// Deletes a webhook with its log. What waits for it is not sent.
pub async fn delete(env: &Env, actor: &Guarded<can::WebhooksWrite>, id: WebhookId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    store::webhooks::delete(change.tx(), row.org, id).await?;
    change.commit(event("webhook.deleted", &row)).await
}
