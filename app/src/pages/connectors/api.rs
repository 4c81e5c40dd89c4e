//! Server functions of the connectors.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]
#![expect(clippy::too_many_arguments, reason = "a form's fields are its function's arguments")]

use leptos::prelude::*;
use model::{
    AppError, ConnectorId,
    connectors::{Connector, HealthHistory, LocalServer, LocalState, Probe, Tool, ToolDetail},
};
use serde::{Deserialize, Serialize};

/// What the list shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorList {
    /// All connectors, by name.
    pub connectors: Vec<Connector>,
    /// Whether the built-in demo server can be added with one click.
    pub demo_available: bool,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What the pages of one connector show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneConnector {
    /// The connector.
    pub connector: Connector,
    /// Its tools, in the server's order.
    pub tools: Vec<Tool>,
    /// How its checks went.
    pub history: HealthHistory,
    /// How it authenticates itself.
    pub credentials: model::credentials::Credentials,
    /// How its processes do, if it runs on the machine; for people who may change the connector.
    pub local: Option<LocalState>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What the page of one tool shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTool {
    /// Its connector.
    pub connector: Connector,
    /// The tool.
    pub detail: ToolDetail,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What deleting a connector would break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorToDelete {
    /// The connector.
    pub connector: Connector,
    /// API keys that are limited to some connectors, this one among them; `None` for people who may not see keys.
    pub keys: Option<u32>,
    /// Those of them that can use nothing else.
    pub keys_left_empty: u32,
}

/// All connectors.
#[server(prefix = "/api", endpoint = "load_connectors")]
pub async fn load_connectors() -> Result<ConnectorList, AppError> {
    use model::connectors::Transport;

    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let connectors = domain::connectors::list(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))?;
    Ok(ConnectorList {
        demo_available: ctx.env.settings.demo
            && !connectors.iter().any(|connector| connector.transport == Transport::Demo),
        connectors,
        now: ctx.env.now(),
    })
}

/// One connector with its tools.
#[server(prefix = "/api", endpoint = "load_connector")]
pub async fn load_connector(id: String) -> Result<OneConnector, AppError> {
    use model::permissions::can;

    let ctx = crate::ssr::ctx()?;
    let actor =
        domain::OrgActor::<can::ConnectorsRead>::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let id = known(&id).map_err(crate::ssr::told(&ctx))?;
    let (connector, tools) =
        domain::connectors::get(&ctx.env, &actor, id).await.map_err(crate::ssr::told(&ctx))?;
    let history = domain::connectors::history(&ctx.env, &actor, id).await.map_err(crate::ssr::told(&ctx))?;
    let credentials =
        domain::upstream_oauth::config::get(&ctx.env, &actor, id).await.map_err(crate::ssr::told(&ctx))?;
    let local = match actor.with::<can::ConnectorsWrite>() {
        Ok(writer) => {
            domain::connectors::local_state(&ctx.env, &writer, id).await.map_err(crate::ssr::told(&ctx))?
        }
        Err(_) => None,
    };
    Ok(OneConnector { connector, tools, history, credentials, local, now: ctx.env.now() })
}

/// One connector, and what deleting it would break.
#[server(prefix = "/api", endpoint = "load_connector_to_delete")]
pub async fn load_connector_to_delete(id: String) -> Result<ConnectorToDelete, AppError> {
    use domain::OrgActor;
    use model::{api_keys::KeyScope, permissions::can};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = OrgActor::<can::ConnectorsDelete>::require(&ctx).await.map_err(&told)?;
    let id = known(&id).map_err(&told)?;
    let reader = actor.with::<can::ConnectorsRead>().map_err(&told)?;
    let (connector, _) = domain::connectors::get(&ctx.env, &reader, id).await.map_err(&told)?;
    let (mut keys, mut keys_left_empty) = (None, 0);
    if let Ok(reader) = actor.with::<can::ApiKeysRead>() {
        let mut limited = 0;
        for key in domain::api_keys::page(&ctx.env, &reader).await.map_err(&told)?.keys {
            if let KeyScope::Only(connectors) = key.scope
                && connectors.contains(&id)
            {
                limited += 1;
                keys_left_empty += u32::from(connectors.len() == 1);
            }
        }
        keys = Some(limited);
    }
    Ok(ConnectorToDelete { connector, keys, keys_left_empty })
}

/// The servers on the machine that the operator offers; none for people who may not add one.
#[server(prefix = "/api", endpoint = "load_local_servers")]
pub async fn load_local_servers() -> Result<Vec<LocalServer>, AppError> {
    use model::permissions::can;

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::<can::ConnectorsRead>::require(&ctx).await.map_err(&told)?;
    match actor.with::<can::ConnectorsWrite>() {
        Ok(writer) => domain::connectors::local_servers(&ctx.env, &writer).await.map_err(&told),
        Err(_) => Ok(Vec::new()),
    }
}

/// Adds a connector; its URL is tried at once. `local` is the name of a server on the machine, instead of a URL.
#[server(prefix = "/api", endpoint = "add_connector")]
pub async fn add_connector(
    name: String,
    slug: String,
    url: String,
    description: String,
    #[server(default)] header_name: Vec<String>,
    #[server(default)] header_value: Vec<String>,
    keep: Option<String>,
    sign_in: Option<String>,
    #[server(default)] local: String,
) -> Result<(), AppError> {
    use domain::connectors::NewConnector;
    use model::connectors::STDIO;

    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let headers = typed_headers(header_name, header_value);
    let url = if local.is_empty() { url } else { format!("{STDIO}{local}") };
    let new = NewConnector {
        name,
        slug,
        description,
        url,
        headers,
        even_if_unreachable: keep.is_some() || sign_in.is_some(),
    };
    let made = domain::connectors::add(&ctx.env, &actor, &new).await.map_err(crate::ssr::told(&ctx))?;
    let next = match sign_in {
        Some(_) => model::paths::connector_credentials(made.id),
        None => model::paths::connector(made.id),
    };
    crate::ssr::redirect(&format!("{next}?notice=connector-added"));
    Ok(())
}

/// Changes a connector. A header that is stored gets the new value, unless that is empty; those in `remove` are erased.
/// When the URL leads to another server each of them needs one or the other.
#[server(prefix = "/api", endpoint = "update_connector")]
pub async fn update_connector(
    id: ConnectorId,
    name: String,
    description: String,
    url: String,
    #[server(default)] stored_header_name: Vec<String>,
    #[server(default)] stored_header_value: Vec<String>,
    #[server(default)] header_name: Vec<String>,
    #[server(default)] header_value: Vec<String>,
    #[server(default)] remove: Vec<String>,
    keep: Option<String>,
    #[server(default)] first_byte: String,
) -> Result<(), AppError> {
    use domain::connectors::ConnectorChanges;

    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let (names, values): (Vec<_>, Vec<_>) = stored_header_name
        .into_iter()
        .zip(stored_header_value)
        .filter(|(name, value)| !value.is_empty() && !remove.contains(name))
        .unzip();
    let mut set_headers = typed_headers(names, values);
    set_headers.extend(typed_headers(header_name, header_value));
    let changes = ConnectorChanges {
        name,
        description,
        url,
        set_headers,
        remove_headers: remove,
        first_byte,
        even_if_unreachable: keep.is_some(),
    };
    domain::connectors::update(&ctx.env, &actor, id, &changes).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=connector-saved", model::paths::connector(id)));
    Ok(())
}

/// Switches a connector on or off.
#[server(prefix = "/api", endpoint = "set_connector_enabled")]
pub async fn set_connector_enabled(id: ConnectorId, enabled: bool) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::connectors::set_enabled(&ctx.env, &actor, id, enabled).await.map_err(crate::ssr::told(&ctx))?;
    let notice = if enabled { "connector-enabled" } else { "connector-disabled" };
    crate::ssr::redirect(&format!("{}?notice={notice}", model::paths::connector(id)));
    Ok(())
}

/// Switches one tool on or off. `q` is the filter of the page, which stays.
#[server(prefix = "/api", endpoint = "set_tool_enabled")]
pub async fn set_tool_enabled(
    id: ConnectorId,
    tool: String,
    enabled: bool,
    #[server(default)] q: String,
) -> Result<(), AppError> {
    use model::paths;

    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::connectors::set_tool_enabled(&ctx.env, &actor, id, &tool, enabled)
        .await
        .map_err(crate::ssr::told(&ctx))?;
    let filter = if q.is_empty() { String::new() } else { format!("q={}&", paths::encode(&q)) };
    let notice = if enabled { "tool-enabled" } else { "tool-disabled" };
    crate::ssr::redirect(&format!("{}?{filter}notice={notice}#tools", paths::connector(id)));
    Ok(())
}

/// One tool; `of` is the connector's id and the tool's name, with a colon between.
#[server(prefix = "/api", endpoint = "load_tool")]
pub async fn load_tool(of: String) -> Result<OneTool, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let nothing = || domain::Error::not_found("tool");
    let (id, tool) = of.split_once(':').ok_or_else(nothing).map_err(&told)?;
    let id = known(id).map_err(&told)?;
    let (connector, detail) = domain::connectors::tool(&ctx.env, &actor, id, tool).await.map_err(&told)?;
    Ok(OneTool { connector, detail, now: ctx.env.now() })
}

/// Decides how a tool is offered.
#[server(prefix = "/api", endpoint = "update_tool")]
pub async fn update_tool(
    id: ConnectorId,
    tool: String,
    alias: String,
    description: String,
    timeout: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let changes = domain::connectors::ToolChanges { alias, description, timeout };
    domain::connectors::set_tool(&ctx.env, &actor, id, &tool, &changes).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=tool-saved#tools", model::paths::connector(id)));
    Ok(())
}

/// Approves or rejects a tool's definition, the one with this fingerprint.
#[server(prefix = "/api", endpoint = "review_tool")]
pub async fn review_tool(
    id: ConnectorId,
    tool: String,
    fingerprint: String,
    approve: bool,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::connectors::review_tool(&ctx.env, &actor, id, &tool, &fingerprint, approve)
        .await
        .map_err(&told)?;
    let notice = if approve { "tool-approved" } else { "tool-rejected" };
    crate::ssr::redirect(&format!("{}?notice={notice}#tools", model::paths::connector(id)));
    Ok(())
}

/// Approves all tools of a connector that nobody has looked at yet.
#[server(prefix = "/api", endpoint = "approve_new_tools")]
pub async fn approve_new_tools(id: ConnectorId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::connectors::approve_new(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=tools-approved#tools", model::paths::connector(id)));
    Ok(())
}

/// Decides what new and changed tools of a connector do before somebody has looked at them.
#[server(prefix = "/api", endpoint = "set_tool_policy")]
pub async fn set_tool_policy(id: ConnectorId, enabled: bool) -> Result<(), AppError> {
    use model::connectors::ToolPolicy;

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let policy = if enabled { ToolPolicy::Block } else { ToolPolicy::Alert };
    domain::connectors::set_tool_policy(&ctx.env, &actor, id, policy).await.map_err(&told)?;
    let notice = if enabled { "quarantine-on" } else { "quarantine-off" };
    crate::ssr::redirect(&format!("{}?notice={notice}#tools", model::paths::connector(id)));
    Ok(())
}

/// Decides whether a connector's names have its prefix on the organisation's endpoint.
#[server(prefix = "/api", endpoint = "set_connector_prefix")]
pub async fn set_connector_prefix(id: ConnectorId, enabled: bool) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::connectors::set_unprefixed(&ctx.env, &actor, id, !enabled).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=connector-saved#tools", model::paths::connector(id)));
    Ok(())
}

/// Asks a connector's server now. What it answered, or why it did not, is the answer.
#[server(prefix = "/api", endpoint = "test_connector")]
pub async fn test_connector(id: ConnectorId) -> Result<Result<Probe, String>, AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::connectors::test(&ctx.env, &actor, id).await.map_err(crate::ssr::told(&ctx))
}

/// Deletes a connector whose slug was typed.
#[server(prefix = "/api", endpoint = "delete_connector")]
pub async fn delete_connector(
    id: ConnectorId,
    confirm: String,
    #[server(default)] pin: String,
) -> Result<(), AppError> {
    use model::{paths, permissions::can};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::<can::ConnectorsDelete>::require(&ctx).await.map_err(&told)?;
    let reader = actor.with::<can::ConnectorsRead>().map_err(&told)?;
    let (connector, _) = domain::connectors::get(&ctx.env, &reader, id).await.map_err(&told)?;
    if confirm.trim() != connector.slug.as_str() {
        let message = format!("Type {} to delete this connector", connector.slug);
        return Err(AppError::field("confirm", "confirm", message));
    }
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
    domain::connectors::delete(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=connector-deleted", paths::connectors()));
    Ok(())
}

/// An id from a URL; anything else leads to nothing.
#[cfg(feature = "ssr")]
fn known(id: &str) -> domain::Result<ConnectorId> {
    id.parse().map_err(|_| domain::Error::not_found("connector"))
}

/// Rows of names and values as they come from a form; those that were left empty are none.
#[cfg(feature = "ssr")]
fn typed_headers<V: From<String>>(names: Vec<String>, values: Vec<String>) -> Vec<(String, V)> {
    names
        .into_iter()
        .zip(values)
        .map(|(name, value)| (name, value.trim().to_owned()))
        .filter(|(name, value)| !name.trim().is_empty() || !value.is_empty())
        .map(|(name, value)| (name, value.into()))
        .collect()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::typed_headers;

    #[test]
    fn empty_rows_are_no_headers() {
        let rows = |texts: [&str; 4]| texts.map(str::to_owned).to_vec();
        let headers: Vec<(String, String)> =
            typed_headers(rows(["authorization", " ", "", "x-key"]), rows([" Bearer a ", "", "lost", ""]));
        let pairs = [("authorization", "Bearer a"), ("", "lost"), ("x-key", "")];
        assert_eq!(headers, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
