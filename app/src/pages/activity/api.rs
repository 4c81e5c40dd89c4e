//! Server functions of the request log.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError,
    activity::{LogEntry, LogPage, UsageSettings},
};

/// A page of the log; `search` is the query of the page's address.
#[server(prefix = "/api", endpoint = "load_activity")]
pub async fn load_activity(search: String) -> Result<LogPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let mut wanted = model::activity::LogSearch::default();
    for (name, value) in crate::ssr::parse_form(search.as_bytes()) {
        wanted.set(&name, value);
    }
    domain::usage::list(&ctx.env, &actor, &wanted).await.map_err(&told)
}

/// Only looks whether there is still somebody who may: whoever sends it gets the page anew, with and without scripts.
#[server(prefix = "/api", endpoint = "refresh_activity")]
pub async fn refresh_activity() -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::OrgActor::<model::permissions::can::LogsRead>::require(&ctx)
        .await
        .map_err(crate::ssr::told(&ctx))?;
    Ok(())
}

/// One request.
#[server(prefix = "/api", endpoint = "load_request")]
pub async fn load_request(id: String) -> Result<LogEntry, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    // Anything else in the URL leads to nothing.
    let id = id.parse().map_err(|_| told(domain::Error::not_found("request")))?;
    domain::usage::entry(&ctx.env, &actor, id).await.map_err(&told)
}

/// What is kept, and the limits that hold.
#[server(prefix = "/api", endpoint = "load_activity_settings")]
pub async fn load_activity_settings() -> Result<UsageSettings, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::usage::settings(&ctx.env, &actor).await.map_err(&told)
}

/// Chooses what is kept and for how many days, and at which parts of the quota an event is published.
#[server(prefix = "/api", endpoint = "set_activity")]
pub async fn set_activity(bodies: Option<String>, days: String, thresholds: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::usage::set(&ctx.env, &actor, bodies.is_some(), &days, &thresholds).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=activity-saved", model::paths::activity_settings()));
    Ok(())
}
