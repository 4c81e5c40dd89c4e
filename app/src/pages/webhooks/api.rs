//! Server functions of webhooks.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError, OutboxId, WebhookId,
    webhooks::{Delivery, DeliveryDetail, DeliveryList, ReplayRange, ShownWebhook, Webhook},
};
use serde::{Deserialize, Serialize};

/// What the list shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookList {
    /// The webhooks, oldest first.
    pub webhooks: Vec<Webhook>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What the pages of one webhook show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneWebhook {
    /// The webhook; none for one that is about to be made.
    pub webhook: Option<Webhook>,
    /// Its latest deliveries.
    pub recent: Vec<Delivery>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// A page of deliveries, or one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deliveries {
    /// Many.
    Many(DeliveryList),
    /// One, and the server's time in Unix milliseconds.
    One(DeliveryDetail, i64),
}

/// All webhooks.
#[server(prefix = "/api", endpoint = "load_webhooks")]
pub async fn load_webhooks() -> Result<WebhookList, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let webhooks = domain::webhooks::list(&ctx.env, &actor).await.map_err(&told)?;
    Ok(WebhookList { webhooks, now: ctx.env.now() })
}

/// One webhook with its latest deliveries; without an id, an empty form.
#[server(prefix = "/api", endpoint = "load_webhook")]
pub async fn load_webhook(id: String) -> Result<OneWebhook, AppError> {
    use model::webhooks::DeliveryQuery;

    /// Deliveries that the page of a webhook shows.
    const RECENT: usize = 10;
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let now = ctx.env.now();
    if id.is_empty() {
        return Ok(OneWebhook { webhook: None, recent: Vec::new(), now });
    }
    let query = DeliveryQuery { webhook: id, ..DeliveryQuery::default() };
    let list = domain::webhooks::log::list(&ctx.env, &actor, query).await.map_err(&told)?;
    let recent = list.deliveries.into_iter().take(RECENT).collect();
    Ok(OneWebhook { webhook: Some(list.webhook), recent, now })
}

/// The deliveries that the search of the address asks for, or the one.
#[server(prefix = "/api", endpoint = "load_deliveries")]
pub async fn load_deliveries(search: String) -> Result<Deliveries, AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    let told = ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let fields = ssr::parse_form(search.as_bytes());
    let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let query = model::webhooks::DeliveryQuery::from_pairs(fields);
    if query.id.is_empty() {
        return Ok(Deliveries::Many(
            domain::webhooks::log::list(&ctx.env, &actor, query).await.map_err(&told)?,
        ));
    }
    let missing = |_| told(domain::Error::not_found("delivery"));
    let (webhook, id) = (query.webhook.parse().map_err(missing)?, query.id.parse().map_err(missing)?);
    let one = domain::webhooks::log::get(&ctx.env, &actor, webhook, id).await.map_err(&told)?;
    Ok(Deliveries::One(one, ctx.env.now()))
}

/// Adds a webhook. `access` is `all` or `only`.
#[server(prefix = "/api", endpoint = "create_webhook")]
pub async fn create_webhook(
    url: String,
    #[server(default)] description: String,
    access: String,
    #[server(default)] events: Vec<String>,
) -> Result<ShownWebhook, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let wanted = domain::webhooks::Wanted { url, description, all: access == "all", events };
    domain::webhooks::create(&ctx.env, &actor, &wanted).await.map_err(&told)
}

/// Changes a webhook. Arguments as in [`create_webhook`].
#[server(prefix = "/api", endpoint = "update_webhook")]
pub async fn update_webhook(
    id: WebhookId,
    url: String,
    #[server(default)] description: String,
    access: String,
    #[server(default)] events: Vec<String>,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let wanted = domain::webhooks::Wanted { url, description, all: access == "all", events };
    domain::webhooks::update(&ctx.env, &actor, id, &wanted).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=webhook-saved", model::paths::webhook(id)));
    Ok(())
}

/// Gives a webhook a new secret.
#[server(prefix = "/api", endpoint = "rotate_webhook")]
pub async fn rotate_webhook(id: WebhookId) -> Result<ShownWebhook, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::webhooks::rotate(&ctx.env, &actor, id).await.map_err(&told)
}

/// Pauses a webhook.
#[server(prefix = "/api", endpoint = "pause_webhook")]
pub async fn pause_webhook(id: WebhookId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::webhooks::pause(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=webhook-paused", model::paths::webhook(id)));
    Ok(())
}

/// Resumes a webhook. With `waiting` as `skip`, what waits is left out.
#[server(prefix = "/api", endpoint = "resume_webhook")]
pub async fn resume_webhook(id: WebhookId, #[server(default)] waiting: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::webhooks::resume(&ctx.env, &actor, id, waiting == "skip").await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=webhook-resumed", model::paths::webhook(id)));
    Ok(())
}

/// Deletes a webhook with its log.
#[server(prefix = "/api", endpoint = "delete_webhook")]
pub async fn delete_webhook(id: WebhookId, #[server(default)] pin: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
    domain::webhooks::delete(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=webhook-deleted", model::paths::settings_webhooks()));
    Ok(())
}

/// Sends a test, and waits for what comes of it.
#[server(prefix = "/api", endpoint = "test_webhook")]
pub async fn test_webhook(id: WebhookId) -> Result<DeliveryDetail, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let courier = domain::webhooks::deliver::Courier::new(ctx.env.clone());
    domain::webhooks::log::test(&courier, &ctx.env, &actor, id).await.map_err(&told)
}

/// Sends one event once more.
#[server(prefix = "/api", endpoint = "replay_delivery")]
pub async fn replay_delivery(webhook: WebhookId, id: OutboxId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::webhooks::log::replay(&ctx.env, &actor, webhook, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}&notice=event-replayed", model::paths::webhook_delivery(webhook, id)));
    Ok(())
}

/// How many events of some days would be sent once more.
#[server(prefix = "/api", endpoint = "count_replay")]
pub async fn count_replay(
    id: WebhookId,
    from: String,
    #[server(default)] to: String,
    delivered: Option<String>,
) -> Result<ReplayRange, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let days = (from.as_str(), to.as_str());
    domain::webhooks::log::count_range(&ctx.env, &actor, id, days, delivered.is_some()).await.map_err(&told)
}

/// Sends them.
#[server(prefix = "/api", endpoint = "replay_events")]
pub async fn replay_events(
    id: WebhookId,
    from: String,
    #[server(default)] to: String,
    delivered: Option<String>,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let days = (from.as_str(), to.as_str());
    domain::webhooks::log::replay_range(&ctx.env, &actor, id, days, delivered.is_some())
        .await
        .map_err(&told)?;
    crate::ssr::redirect(&format!("{}&notice=events-replayed", model::paths::webhook_deliveries(id)));
    Ok(())
}
