//! Server functions of the identity provider.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError,
    sso::{Discovered, SsoPage, TokenTest},
};

/// The provider, and what the page needs beside it.
#[server(prefix = "/api", endpoint = "load_sso")]
pub async fn load_sso() -> Result<SsoPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::idp::config::page(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))
}

/// Saves the provider; with `act=discover` it only asks the issuer where its keys are. `accept` may hold `tokens`, without
/// which the provider is switched off, and `id_tokens`.
#[server(prefix = "/api", endpoint = "put_idp")]
pub async fn put_idp(
    issuer: String,
    #[server(default)] jwks_uri: String,
    audience: String,
    #[server(default)] claims: String,
    #[server(default)] scope: String,
    #[server(default)] accept: Vec<String>,
    #[server(default)] act: String,
) -> Result<Option<Discovered>, AppError> {
    use domain::idp::config::{self, Input};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    if act == "discover" {
        return config::discover(&ctx.env, &actor, &issuer).await.map(Some).map_err(&told);
    }
    let accepts = |what: &str| accept.iter().any(|word| word == what);
    let (enabled, id_tokens) = (accepts("tokens"), accepts("id_tokens"));
    let input = Input { issuer, jwks_uri, audience, claims, scope, id_tokens, enabled };
    config::put(&ctx.env, &actor, &input).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=idp-saved", model::paths::settings_sso()));
    Ok(None)
}

/// Switches the provider on or off.
#[server(prefix = "/api", endpoint = "set_idp_enabled")]
pub async fn set_idp_enabled(enabled: bool) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::idp::config::set_enabled(&ctx.env, &actor, enabled).await.map_err(crate::ssr::told(&ctx))?;
    let word = if enabled { "idp-enabled" } else { "idp-disabled" };
    crate::ssr::redirect(&format!("{}?notice={word}", model::paths::settings_sso()));
    Ok(())
}

/// Deletes the provider. `understood` is the tick under what follows from it.
#[server(prefix = "/api", endpoint = "delete_idp")]
pub async fn delete_idp(understood: Option<String>) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    if understood.is_none() {
        return Err(AppError::field("understood", "understood", "Tick this to delete the provider"));
    }
    domain::idp::config::delete(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=idp-deleted", model::paths::settings_sso()));
    Ok(())
}

/// Says what is wrong with a token. It is looked at and forgotten.
#[server(prefix = "/api", endpoint = "test_idp_token")]
pub async fn test_idp_token(token: String) -> Result<TokenTest, AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    if token.trim().is_empty() {
        return Err(AppError::field("token", "required", "Paste a token that the provider issued"));
    }
    domain::idp::tester::test(&ctx.env, &actor, &token).await.map_err(crate::ssr::told(&ctx))
}
