//! Server functions of connectors' credentials, the organisation's and each member's own.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError, ConnectorId,
    connectors::Transport,
    credentials::{Credentials, OwnAuthorization, SignInLink},
};
use serde::{Deserialize, Serialize};

/// What the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsData {
    /// The credentials, without secrets.
    pub credentials: Credentials,
    /// How the connector is reached.
    pub transport: Transport,
    /// The authorization server that somebody typed, if they did.
    pub typed_issuer: String,
    /// Where authorization servers send people back to.
    pub redirect_uri: String,
    /// The document about Gatehouse as a client, where there is one.
    pub document: Option<String>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

#[cfg(feature = "ssr")]
fn known(id: &str) -> domain::Result<ConnectorId> {
    id.parse().map_err(|_| domain::Error::not_found("connector"))
}

/// The credentials of a connector.
#[server(prefix = "/api", endpoint = "load_credentials")]
pub async fn load_credentials(id: String) -> Result<CredentialsData, AppError> {
    use domain::upstream_oauth::{client, config};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let id = known(&id).map_err(&told)?;
    let (connector, _) = domain::connectors::get(&ctx.env, &actor, id).await.map_err(&told)?;
    let (credentials, typed_issuer) = config::get_with_issuer(&ctx.env, &actor, id).await.map_err(&told)?;
    Ok(CredentialsData {
        credentials,
        transport: connector.transport,
        typed_issuer,
        redirect_uri: client::redirect_uri(&ctx.env),
        document: client::document_url(&ctx.env),
        now: ctx.env.now(),
    })
}

/// Sets how a connector authenticates itself. The server is asked at once.
#[server(prefix = "/api", endpoint = "put_credentials")]
pub async fn put_credentials(
    id: ConnectorId,
    kind: String,
    #[server(default)] client_id: String,
    #[server(default)] client_secret: String,
    #[server(default)] scope: String,
    #[server(default)] issuer: String,
) -> Result<(), AppError> {
    use domain::upstream_oauth::config::{self, Input};
    use model::{credentials::CredentialKind, paths};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let kind = CredentialKind::parse(&kind)
        .ok_or_else(|| AppError::field("kind", "required", "Choose how it authenticates itself"))?;
    let input = Input { kind, issuer, scope, client_id, client_secret: client_secret.into() };
    config::put(&ctx.env, &actor, id, &input).await.map_err(&told)?;
    if kind == CredentialKind::ClientCredentials {
        // Its tools are of use at once; what comes of it is shown with its health.
        _ = domain::connectors::test(&ctx.env, &actor, id).await.map_err(&told)?;
    }
    crate::ssr::redirect(&format!("{}?notice=credentials-saved", paths::connector_credentials(id)));
    Ok(())
}

/// Where the person goes to give access for the whole organisation.
#[server(prefix = "/api", endpoint = "begin_authorization")]
pub async fn begin_authorization(id: ConnectorId) -> Result<SignInLink, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::upstream_oauth::flow::begin(&ctx, &actor, id).await.map_err(&told)
}

/// Erases what was given for the whole organisation.
#[server(prefix = "/api", endpoint = "disconnect")]
pub async fn disconnect(id: ConnectorId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::upstream_oauth::config::disconnect(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=disconnected", model::paths::connector_credentials(id)));
    Ok(())
}

/// The connectors that each member authorises, with what this person has given, and the server's time in Unix
/// milliseconds.
#[server(prefix = "/api", endpoint = "load_own_authorizations")]
pub async fn load_own_authorizations() -> Result<(Vec<OwnAuthorization>, i64), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let own = domain::upstream_oauth::own::list(&ctx.env, &actor).await.map_err(&told)?;
    Ok((own, ctx.env.now()))
}

/// Where the person goes to give access for themselves.
#[server(prefix = "/api", endpoint = "begin_own_authorization")]
pub async fn begin_own_authorization(id: ConnectorId) -> Result<SignInLink, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::upstream_oauth::flow::begin_own(&ctx, &actor, id).await.map_err(&told)
}

/// Erases what the person gave.
#[server(prefix = "/api", endpoint = "remove_own_authorization")]
pub async fn remove_own_authorization(id: ConnectorId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::upstream_oauth::own::remove(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=authorization-removed", model::paths::profile_authorizations()));
    Ok(())
}
