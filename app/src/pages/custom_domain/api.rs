//! Server functions of the organisation's own domain.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{AppError, custom_domain::DomainPage};

/// The domain, its records, and how it stands.
#[server(prefix = "/api", endpoint = "load_domain")]
pub async fn load_domain() -> Result<DomainPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::custom_domain::page(&ctx.env, &actor).await.map_err(&told)
}

/// Claims a domain.
#[server(prefix = "/api", endpoint = "add_domain")]
pub async fn add_domain(#[server(default)] host: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::custom_domain::add(&ctx.env, &actor, &host).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=domain-added", model::paths::settings_domain()));
    Ok(())
}

/// Asks the name server now. Whether the domain is in use afterwards; the page tells what was seen.
#[server(prefix = "/api", endpoint = "verify_domain")]
pub async fn verify_domain() -> Result<bool, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::custom_domain::verify(&ctx.env, &actor).await.map_err(&told)
}

/// Gives the domain up. `host` is what was typed to confirm.
#[server(prefix = "/api", endpoint = "remove_domain")]
pub async fn remove_domain(#[server(default)] host: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::custom_domain::remove(&ctx.env, &actor, Some(&host)).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=domain-removed", model::paths::settings_domain()));
    Ok(())
}
