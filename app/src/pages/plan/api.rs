//! Server functions of the plan.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{AppError, activity::UsageSettings};

/// The plan, its limits, and what is used of them.
#[server(prefix = "/api", endpoint = "load_plan")]
pub async fn load_plan() -> Result<UsageSettings, AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::plans::overview(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))
}

/// Changes the plan.
#[server(prefix = "/api", endpoint = "change_plan")]
pub async fn change_plan(
    #[server(default)] plan: String,
    #[server(default)] pin: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
    domain::plans::change(&ctx, &actor, &plan).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=plan-changed", model::paths::settings_plan()));
    Ok(())
}
