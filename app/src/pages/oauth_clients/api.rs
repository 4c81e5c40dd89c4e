//! Server functions of OAuth clients.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError, ConnectorSlug,
    api_keys::Snippet,
    oauth::{NewOauthClient, OauthClient, OauthClientsPage},
};
use serde::{Deserialize, Serialize};

/// What the pages of one client show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneClient {
    /// The client.
    pub client: OauthClient,
    /// Connectors to choose from, by name: slug and name.
    pub connectors: Vec<(ConnectorSlug, String)>,
    /// How many connections of the organisation are live.
    pub live: i64,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// A client with a secret that was just made. It holds the secret, so it is only ever the answer to a POST.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownSecret {
    /// The client with its secret.
    pub made: NewOauthClient,
    /// How a machine asks for a token with it.
    pub token: Option<Snippet>,
}

/// All clients, and what the page needs beside them.
#[server(prefix = "/api", endpoint = "load_oauth_clients")]
pub async fn load_oauth_clients() -> Result<OauthClientsPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::oauth_clients::page(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))
}

/// One client.
#[server(prefix = "/api", endpoint = "load_oauth_client")]
pub async fn load_oauth_client(id: String) -> Result<OneClient, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let client = domain::oauth_clients::get(&ctx.env, &actor, &id).await.map_err(&told)?;
    let page = domain::oauth_clients::page(&ctx.env, &actor).await.map_err(&told)?;
    Ok(OneClient { client, live: page.live(), connectors: page.connectors, now: page.now })
}

/// Makes a client. `kind` is `machine` or `code`, `access` is `all` or `only`, redirect URIs stand a line each.
#[server(prefix = "/api", endpoint = "create_oauth_client")]
pub async fn create_oauth_client(
    name: String,
    kind: String,
    access: String,
    #[server(default)] connectors: Vec<ConnectorSlug>,
    proof: String,
    #[server(default)] redirect_uris: String,
    cut: Option<String>,
) -> Result<ShownSecret, AppError> {
    use domain::oauth_clients::{NewClient, Proof};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let proof = Proof::parse(&proof)
        .ok_or_else(|| AppError::field("proof", "proof", "Choose how the client sends its secret"))?;
    let new = NewClient {
        name,
        redirect_uris: (kind == "code").then(|| server::lines(&redirect_uris)),
        proof,
        scope: server::scope(&access, connectors),
        keep_refresh_tokens: cut.is_none(),
    };
    let made = domain::oauth_clients::create(&ctx.env, &actor, &new).await.map_err(&told)?;
    let token = server::token_request(&ctx, &made);
    Ok(ShownSecret { made, token })
}

/// Gives a client a new secret. `overlap` is `now`, `1h`, `24h` or `7d`.
#[server(prefix = "/api", endpoint = "rotate_oauth_client")]
pub async fn rotate_oauth_client(id: String, overlap: String) -> Result<ShownSecret, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let overlap = model::oauth::Overlap::parse(&overlap)
        .ok_or_else(|| AppError::field("overlap", "overlap", "Choose how long the old secret works on"))?;
    let made = domain::oauth_clients::rotate_secret(&ctx.env, &actor, &id, overlap).await.map_err(&told)?;
    let token = server::token_request(&ctx, &made);
    Ok(ShownSecret { made, token })
}

/// Changes a client. Arguments as in [`create_oauth_client`].
#[server(prefix = "/api", endpoint = "update_oauth_client")]
pub async fn update_oauth_client(
    id: String,
    name: String,
    access: String,
    #[server(default)] connectors: Vec<ConnectorSlug>,
    #[server(default)] redirect_uris: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let changes = domain::oauth_clients::ClientChanges {
        name,
        redirect_uris: server::lines(&redirect_uris),
        scope: server::scope(&access, connectors),
    };
    domain::oauth_clients::update(&ctx.env, &actor, &id, &changes).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=client-saved", model::paths::oauth_client(&id)));
    Ok(())
}

/// Deletes a client that the organisation made, whose name has to be typed; or revokes all connections of one that
/// belongs to nobody.
#[server(prefix = "/api", endpoint = "delete_oauth_client")]
pub async fn delete_oauth_client(
    id: String,
    #[server(default)] confirm: String,
    cut: Option<String>,
) -> Result<(), AppError> {
    use model::permissions::can;

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::<can::OauthClientsWrite>::require(&ctx).await.map_err(&told)?;
    let reader = actor.with::<can::OauthClientsRead>().map_err(&told)?;
    let client = domain::oauth_clients::get(&ctx.env, &reader, &id).await.map_err(&told)?;
    let own = client.kind.is_own();
    if own && confirm.trim() != client.name {
        let message = format!("Type {} to delete this client", client.name);
        return Err(AppError::field("confirm", "confirm", message));
    }
    domain::oauth_clients::delete(&ctx.env, &actor, &id, cut.is_none()).await.map_err(&told)?;
    let word = if own { "client-deleted" } else { "client-revoked" };
    crate::ssr::redirect(&format!("{}?notice={word}", model::paths::settings_oauth_clients()));
    Ok(())
}

/// Changes how long connections last, what the replay of a refresh token does, and whether clients that nobody here made
/// may be given access.
#[server(prefix = "/api", endpoint = "set_oauth_settings")]
pub async fn set_oauth_settings(
    days: i64,
    reuse: String,
    open_clients: Option<String>,
) -> Result<(), AppError> {
    use model::oauth::{OauthSettings, RefreshLifetime, ReusePolicy};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let settings = OauthSettings {
        lifetime: RefreshLifetime::from_days(days)
            .ok_or_else(|| AppError::field("days", "days", "Choose 1, 7, 30 or 90 days"))?,
        reuse: ReusePolicy::parse(&reuse)
            .ok_or_else(|| AppError::field("reuse", "reuse", "Choose what a replay does"))?,
        open_clients: open_clients.is_some(),
    };
    domain::oauth_clients::set_settings(&ctx.env, &actor, settings).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=oauth-settings-saved", model::paths::settings_oauth_clients()));
    Ok(())
}

#[cfg(feature = "ssr")]
mod server {
    use domain::request::RequestContext;
    use model::{ConnectorSlug, Scope, api_keys::Snippet, oauth::NewOauthClient, paths};

    /// What a form says about access. Only the word `all` means all.
    pub(super) fn scope(access: &str, connectors: Vec<ConnectorSlug>) -> Scope {
        if access == "all" { Scope::everything() } else { Scope::only(connectors) }
    }

    /// The lines of a text, without empty ones.
    pub(super) fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The request for a token with the secret that was just made.
    pub(super) fn token_request(ctx: &RequestContext, made: &NewOauthClient) -> Option<Snippet> {
        if made.client.kind != model::oauth::ClientKind::Machine {
            return None;
        }
        let secret = made.secret.as_deref()?;
        let url = ctx.env.settings.absolute(paths::token());
        let (id, scope) = (&made.client.id, &made.client.scope);
        let basic = made.client.auth_method == "client_secret_basic";
        // Everything here is made of letters, digits, `_`, `-` and `:`, so nothing has to be quoted but the scope's spaces.
        let text = |secret: &str| {
            let who = if basic {
                format!("  -u \"{id}:{secret}\" \\\n")
            } else {
                format!("  -d \"client_id={id}\" \\\n  -d \"client_secret={secret}\" \\\n")
            };
            format!(
                "curl -X POST {url} \\\n  -H \"Content-Type: application/x-www-form-urlencoded\" \\\n{who}  \
                 -d \"grant_type=client_credentials\" \\\n  -d \"scope={scope}\""
            )
        };
        let masked = format!("gth_secret_…{}", &secret[secret.len() - 4..]);
        Some(Snippet { label: "Terminal".to_owned(), text: text(secret), shown: text(&masked) })
    }
}
