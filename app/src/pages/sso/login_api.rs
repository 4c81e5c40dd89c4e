//! Server functions of logging in to the dashboard at the organisation's own provider.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError, SsoDomainId,
    sso_login::{DomainSeen, LoginLink, SsoLoginPage},
};

/// The provider, the domains, and what the page needs beside them.
#[server(prefix = "/api", endpoint = "load_sso_login")]
pub async fn load_sso_login() -> Result<SsoLoginPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::sso::settings::page(&ctx.env, &actor).await.map_err(&told)
}

/// Saves the provider, whether members use it, and what newcomers become.
#[server(prefix = "/api", endpoint = "put_sso_login")]
pub async fn put_sso_login(
    issuer: String,
    client_id: String,
    #[server(default)] client_secret: String,
    #[server(default)] default_role: String,
    #[server(default)] mode: String,
) -> Result<(), AppError> {
    use domain::sso::settings::{self, Input};
    use model::sso_login::SsoMode;

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let mode = SsoMode::parse(&mode)
        .ok_or_else(|| AppError::field("mode", "mode", "Choose whether members log in with it"))?;
    let input = Input { issuer, client_id, client_secret: client_secret.into(), default_role, mode };
    settings::put(&ctx, &actor, &input).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=sso-saved", model::paths::settings_sso_login()));
    Ok(())
}

/// Where to go to try the provider out.
#[server(prefix = "/api", endpoint = "test_sso_login")]
pub async fn test_sso_login() -> Result<LoginLink, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::sso::flow::begin_test(&ctx, &actor).await.map_err(&told)
}

/// Deletes the provider. `understood` is the tick under what follows from it.
#[server(prefix = "/api", endpoint = "delete_sso_login")]
pub async fn delete_sso_login(understood: Option<String>) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    if understood.is_none() {
        return Err(AppError::field("understood", "understood", "Tick this to delete the provider"));
    }
    domain::sso::settings::delete(&ctx, &actor).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=idp-deleted", model::paths::settings_sso_login()));
    Ok(())
}

/// Claims a domain.
#[server(prefix = "/api", endpoint = "add_sso_domain")]
pub async fn add_sso_domain(domain: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::sso::domains::add(&ctx.env, &actor, &domain).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=sso-domain-added", model::paths::settings_sso_login()));
    Ok(())
}

/// Asks the name server for the record of a domain, now.
#[server(prefix = "/api", endpoint = "check_sso_domain")]
pub async fn check_sso_domain(id: SsoDomainId) -> Result<DomainSeen, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::sso::domains::check(&ctx.env, &actor, id).await.map_err(&told)
}

/// Gives a domain up.
#[server(prefix = "/api", endpoint = "remove_sso_domain")]
pub async fn remove_sso_domain(id: SsoDomainId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::sso::domains::remove(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=sso-domain-removed", model::paths::settings_sso_login()));
    Ok(())
}
