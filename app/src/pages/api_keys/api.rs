//! Server functions of the API keys and of the agent helper.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]
#![expect(clippy::too_many_arguments, reason = "a form's fields are its function's arguments")]

use leptos::prelude::*;
use model::{
    ApiKeyId, AppError, ConnectorId,
    api_keys::{ApiKey, ApiKeysPage, ConnectHelper, InstallMethod, NewApiKey},
};
use serde::{Deserialize, Serialize};

/// What the pages of one key show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneKey {
    /// The key.
    pub key: ApiKey,
    /// Connectors to choose from, by name: id, name, slug.
    pub connectors: Vec<(ConnectorId, String, String)>,
    /// Whether `?api_key=` works in this organisation.
    pub url_keys: bool,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// A key that was just made, and how to use it. It holds a whole key, so it is only ever the answer to a POST.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedKey {
    /// The key with its secret.
    pub made: NewApiKey,
    /// The helper's entries with this key.
    pub methods: Vec<InstallMethod>,
    /// The address of this instance, where the entries name the organisation's own domain.
    pub also_at: Option<String>,
}

/// All keys, and what the page needs beside them.
#[server(prefix = "/api", endpoint = "load_api_keys")]
pub async fn load_api_keys() -> Result<ApiKeysPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor =
        domain::OrgActor::<model::permissions::can::ApiKeysRead>::require(&ctx).await.map_err(&told)?;
    let mut page = domain::api_keys::page(&ctx.env, &actor).await.map_err(&told)?;
    if let Ok(reader) = actor.with() {
        let ids: Vec<_> = page.keys.iter().map(|key| key.id).collect();
        let usage = domain::usage::keys_usage(&ctx.env, &reader, &ids).await.map_err(&told)?;
        let logs = actor.also(model::Permission::LogsRead);
        let drawn =
            ids.iter().zip(&usage).map(|(id, usage)| crate::charts::of_key(&id.to_string(), usage, logs));
        page.usage = drawn.collect();
    }
    Ok(page)
}

/// One key.
#[server(prefix = "/api", endpoint = "load_api_key")]
pub async fn load_api_key(id: String) -> Result<OneKey, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    // Anything else in the URL leads to nothing.
    let id: Option<ApiKeyId> = id.parse().ok();
    let page = domain::api_keys::page(&ctx.env, &actor).await.map_err(&told)?;
    let key = page.keys.into_iter().find(|key| Some(key.id) == id);
    Ok(OneKey {
        key: key.ok_or_else(|| domain::Error::not_found("key")).map_err(&told)?,
        connectors: page.connectors,
        url_keys: page.url_keys,
        now: page.now,
    })
}

/// Makes a key. `access` is `all` or `only`; `expires` is `never`, a number of days, or `date` with the day in
/// `expires_on`.
#[server(prefix = "/api", endpoint = "create_api_key")]
pub async fn create_api_key(
    name: String,
    access: String,
    #[server(default)] connectors: Vec<ConnectorId>,
    expires: String,
    #[server(default)] expires_on: String,
    url_key: Option<String>,
    #[server(default)] ranges: String,
) -> Result<CreatedKey, AppError> {
    use domain::api_keys::NewKey;

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let scope = scope(&access, connectors);
    let end = domain::api_keys::end(ctx.env.now(), &expires, &expires_on).map_err(Into::into);
    let ranges = domain::allowlist::KeyRanges::typed(&ranges).map_err(Into::into);
    let checked = domain::both(domain::api_keys::check(&name, &scope), end);
    let ((_, expires_at), ranges) = domain::both(checked, ranges).map_err(&told)?;
    let new = NewKey { name, scope, expires_at, url_key: url_key.is_some() };
    let made = domain::api_keys::create_within(&ctx.env, &actor, &new, &ranges).await.map_err(&told)?;
    let (methods, also_at) = domain::api_keys::methods_for(&ctx.env, &actor, &made).await.map_err(&told)?;
    Ok(CreatedKey { made, methods, also_at })
}

/// Gives a key another name.
#[server(prefix = "/api", endpoint = "rename_api_key")]
pub async fn rename_api_key(id: ApiKeyId, name: String) -> Result<(), AppError> {
    use domain::api_keys::KeyChanges;

    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let changes = KeyChanges { name: Some(name), ..KeyChanges::default() };
    domain::api_keys::update(&ctx.env, &actor, id, &changes).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=key-saved", model::paths::settings_api_keys()));
    Ok(())
}

/// Switches a key on or off; the list then offers to undo it.
#[server(prefix = "/api", endpoint = "set_api_key_enabled")]
pub async fn set_api_key_enabled(id: ApiKeyId, enabled: bool) -> Result<(), AppError> {
    use domain::api_keys::KeyChanges;

    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let changes = KeyChanges { enabled: Some(enabled), ..KeyChanges::default() };
    domain::api_keys::update(&ctx.env, &actor, id, &changes).await.map_err(crate::ssr::told(&ctx))?;
    let word = if enabled { "enabled" } else { "disabled" };
    crate::ssr::redirect(&format!("{}?{word}={id}", model::paths::settings_api_keys()));
    Ok(())
}

/// Changes a key. Arguments as in [`create_api_key`]; `expires` may also be `keep`.
#[server(prefix = "/api", endpoint = "update_api_key")]
pub async fn update_api_key(
    id: ApiKeyId,
    name: String,
    access: String,
    #[server(default)] connectors: Vec<ConnectorId>,
    expires: String,
    #[server(default)] expires_on: String,
    url_key: Option<String>,
    #[server(default)] ranges: String,
) -> Result<(), AppError> {
    use domain::api_keys::KeyChanges;

    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let expires_at = match expires.as_str() {
        "keep" => None,
        choice => Some(domain::api_keys::end(ctx.env.now(), choice, &expires_on)?),
    };
    let changes = KeyChanges {
        name: Some(name),
        scope: Some(scope(&access, connectors)),
        enabled: None,
        expires_at,
        url_key: Some(url_key.is_some()),
        ranges: Some(domain::allowlist::KeyRanges::typed(&ranges)?),
    };
    domain::api_keys::update(&ctx.env, &actor, id, &changes).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=key-saved", model::paths::settings_api_keys()));
    Ok(())
}

/// The whole key again, where the organisation keeps sealed copies.
#[server(prefix = "/api", endpoint = "copy_api_key")]
pub async fn copy_api_key(id: ApiKeyId, #[server(default)] pin: String) -> Result<NewApiKey, AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(crate::ssr::told(&ctx))?;
    domain::api_keys::copy(&ctx.env, &actor, id).await.map_err(crate::ssr::told(&ctx))
}

/// Deletes a key. One that was used in the last 24 hours needs its name typed, by somebody who was told.
#[server(prefix = "/api", endpoint = "delete_api_key")]
pub async fn delete_api_key(
    id: ApiKeyId,
    #[server(default)] confirm: String,
    acknowledged: Option<String>,
    #[server(default)] pin: String,
) -> Result<(), AppError> {
    use model::{paths, permissions::can};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::<can::ApiKeysRevoke>::require(&ctx).await.map_err(&told)?;
    if acknowledged.is_some() {
        let reader = actor.with::<can::ApiKeysRead>().map_err(&told)?;
        let key = domain::api_keys::get(&ctx.env, &reader, id).await.map_err(&told)?;
        if confirm.trim() != key.name {
            let message = format!("Type {} to delete this key", key.name);
            return Err(AppError::field("confirm", "confirm", message));
        }
    }
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
    domain::api_keys::delete(&ctx.env, &actor, id, acknowledged.is_some()).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=key-deleted", paths::settings_api_keys()));
    Ok(())
}

/// Opens the agent helper. With `client` it makes a key for that client, where keys are shown once.
#[server(prefix = "/api", endpoint = "open_connect_helper")]
pub async fn open_connect_helper(
    client: Option<String>,
    #[server(default)] pin: String,
) -> Result<ConnectHelper, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let guarded = match domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told) {
        Ok(guarded) => Some(guarded),
        // It opens all the same, without a key that is kept.
        Err(error) if error.code == "pin_required" => None,
        Err(error) => return Err(error),
    };
    let helper = domain::api_keys::connect_helper(&ctx.env, &actor, guarded.as_ref(), client.as_deref());
    helper.await.map_err(&told)
}

/// Changes whether keys can be read again and whether they work in URLs. `understood` is asked for where that destroys
/// copies of keys.
#[server(prefix = "/api", endpoint = "set_key_settings")]
pub async fn set_key_settings(
    visibility: String,
    url_keys: Option<String>,
    understood: Option<String>,
) -> Result<(), AppError> {
    use model::{orgs::KeyVisibility, paths, permissions::can};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::<can::SecurityManage>::require(&ctx).await.map_err(&told)?;
    let visibility = KeyVisibility::parse(&visibility).ok_or_else(|| {
        AppError::field("visibility", "visibility", "Choose whether keys can be copied again")
    })?;
    if visibility == KeyVisibility::Once && understood.is_none() {
        let reader = actor.with::<can::ApiKeysRead>().map_err(&told)?;
        let keys = domain::api_keys::page(&ctx.env, &reader).await.map_err(&told)?.keys;
        if keys.iter().any(|key| key.copyable) {
            let message = "Tick this to destroy the stored copies, or leave keys copyable";
            return Err(AppError::field("understood", "understood", message));
        }
    }
    domain::orgs::set_key_settings(&ctx.env, &actor, visibility, url_keys.is_some()).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=key-settings-saved", paths::settings_api_keys()));
    Ok(())
}

/// What a form says about access. Only the word `all` means all.
#[cfg(feature = "ssr")]
fn scope(access: &str, connectors: Vec<ConnectorId>) -> model::api_keys::KeyScope {
    use model::api_keys::KeyScope;

    if access == "all" { KeyScope::All } else { KeyScope::Only(connectors) }
}
