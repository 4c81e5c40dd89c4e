//! Server functions of connections.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError, ConnectionId,
    api_keys::Snippet,
    oauth::{Connection, ConnectionAlert, OauthWay, OwnConnection},
};
use serde::{Deserialize, Serialize};

/// What the list shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionList {
    /// All connections, live ones first.
    pub connections: Vec<Connection>,
    /// What happened to some of them that somebody has to look at, the newest first.
    pub alerts: Vec<ConnectionAlert>,
    /// The configuration file of Claude Desktop that connects it here.
    pub desktop: Option<Snippet>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What the list of one's own connections shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnConnectionList {
    /// The connections, live ones first.
    pub connections: Vec<OwnConnection>,
    /// What happened to some of them that one has to look at, the newest first.
    pub alerts: Vec<ConnectionAlert>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// All connections of the organisation.
#[server(prefix = "/api", endpoint = "load_connections")]
pub async fn load_connections() -> Result<ConnectionList, AppError> {
    use model::permissions::can;

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::<can::ApiKeysRead>::require(&ctx).await.map_err(&told)?;
    let connections = domain::connections::list(&ctx.env, &actor).await.map_err(&told)?;
    let alerts = domain::connections::alerts::list(&ctx.env, &actor).await.map_err(&told)?;
    let (ways, _) = ways(&ctx).await?;
    Ok(ConnectionList { connections, alerts, desktop: desktop(&ways), now: ctx.env.now() })
}

/// One connection, and the server's time in Unix milliseconds.
#[server(prefix = "/api", endpoint = "load_connection")]
pub async fn load_connection(id: String) -> Result<(Connection, i64), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    // Anything else in the URL leads to nothing.
    let id: ConnectionId = id.parse().map_err(|_| told(domain::Error::not_found("connection")))?;
    let connection = domain::connections::get(&ctx.env, &actor, id).await.map_err(&told)?;
    Ok((connection, ctx.env.now()))
}

/// Revokes a connection.
#[server(prefix = "/api", endpoint = "revoke_connection")]
pub async fn revoke_connection(id: ConnectionId, #[server(default)] pin: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(crate::ssr::told(&ctx))?;
    domain::connections::revoke(&ctx.env, &actor, id).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=connection-revoked", model::paths::settings_connections()));
    Ok(())
}

/// Gives a connection a new key in place of the one with this prefix.
#[server(prefix = "/api", endpoint = "regenerate_connection")]
pub async fn regenerate_connection(
    id: ConnectionId,
    prefix: String,
    #[server(default)] pin: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(crate::ssr::told(&ctx))?;
    domain::connections::regenerate(&ctx.env, &actor, id, Some(&prefix))
        .await
        .map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=connection-key-made", model::paths::settings_connections()));
    Ok(())
}

/// How each client is connected by signing in, and where else the endpoint answers. Every member may know that.
#[server(prefix = "/api", endpoint = "load_oauth_ways")]
pub async fn load_oauth_ways() -> Result<(Vec<OauthWay>, Option<String>), AppError> {
    ways(&crate::ssr::ctx()?).await
}

/// Puts a notice about a connection away, for everybody who looks after the organisation's connections.
#[server(prefix = "/api", endpoint = "dismiss_alert")]
pub async fn dismiss_alert(connection: ConnectionId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::connections::alerts::dismiss(&ctx.env, &actor, connection).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=saved", model::paths::settings_connections()));
    Ok(())
}

/// The connections of the signed-in person in all organisations.
#[server(prefix = "/api", endpoint = "load_own_connections")]
pub async fn load_own_connections() -> Result<OwnConnectionList, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let connections = domain::connections::list_own(&ctx).await.map_err(&told)?;
    let alerts = domain::connections::alerts::list_own(&ctx).await.map_err(&told)?;
    Ok(OwnConnectionList { connections, alerts, now: ctx.env.now() })
}

/// Puts a notice about a connection of the signed-in person away.
#[server(prefix = "/api", endpoint = "dismiss_own_alert")]
pub async fn dismiss_own_alert(connection: ConnectionId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    domain::connections::alerts::dismiss_own(&ctx, connection).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=saved", model::paths::profile_connections()));
    Ok(())
}

/// Revokes a connection of the signed-in person.
#[server(prefix = "/api", endpoint = "revoke_own_connection")]
pub async fn revoke_own_connection(id: ConnectionId, #[server(default)] pin: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::connections::revoke_own(&ctx, id, &pin).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=connection-revoked", model::paths::profile_connections()));
    Ok(())
}

#[cfg(feature = "ssr")]
async fn ways(ctx: &domain::request::RequestContext) -> Result<(Vec<OauthWay>, Option<String>), AppError> {
    let told = crate::ssr::told(ctx);
    let actor =
        domain::OrgActor::<model::permissions::can::ConnectorsRead>::require(ctx).await.map_err(&told)?;
    let (org, addresses) = domain::custom_domain::of(&ctx.env, &actor).await.map_err(&told)?;
    let (endpoint, other) = addresses.split();
    Ok((domain::install::oauth_ways(&endpoint, org.slug.as_str()), other))
}

/// The text of Claude Desktop's configuration file.
#[cfg(feature = "ssr")]
fn desktop(ways: &[OauthWay]) -> Option<Snippet> {
    ways.iter().find(|way| way.client == "claude-desktop")?.snippets.last().cloned()
}
