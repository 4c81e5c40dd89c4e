//! Connectors: the MCP servers of an organisation, their credentials, tools and health.

mod check;
mod input;
mod secrets;

use model::{
    AppError, ConnectorId, ConnectorSlug, ErrorKind, OrgId,
    connectors::{Connector, HeaderInfo, Health, MAX_DESCRIPTION, MAX_HEADERS, MAX_NAME, Tool, Transport},
    permissions::can,
    text,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use store::{
    Tx,
    connectors::{Connector as Row, Header as HeaderRow, Tool as ToolRow},
};

pub use self::check::{check_due, probe, test};
pub(crate) use self::secrets::open_headers;
use self::{
    check::{ask, at_url, may_pass, note_check},
    input::{checked_headers, parse_slug, parse_url, slug_taken, without_query},
    secrets::put_headers,
};
use crate::{
    Env, Error, OrgActor, Result,
    change::Event,
    mcp::{
        tools::SEPARATOR,
        upstream::{ProbeReport, UpstreamError},
    },
    orgs,
};

/// The URL under which the built-in demo server is listed. It is never dialled.
pub const DEMO_URL: &str = "gatehouse:demo";
/// The most connectors an organisation may have.
const MOST_CONNECTORS: usize = 200;
/// What a new connector shall be.
#[derive(Clone)]
pub struct NewConnector {
    /// Display name.
    pub name: String,
    /// Prefix of its tools.
    pub slug: String,
    /// Free text.
    pub description: String,
    /// Where it is.
    pub url: String,
    /// Static headers to send.
    pub headers: Vec<(String, SecretString)>,
    /// Whether to keep it even if it does not answer now.
    pub even_if_unreachable: bool,
}

/// What may be changed about a connector.
#[derive(Clone)]
pub struct ConnectorChanges {
    /// Display name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Where it is.
    pub url: String,
    /// Headers to set.
    pub set_headers: Vec<(String, SecretString)>,
    /// Headers to remove.
    pub remove_headers: Vec<String>,
    /// Whether to keep the change even if the server does not answer now.
    pub even_if_unreachable: bool,
}

/// Adds a connector: the URL is tried at once, and what it offers is kept. When it fails, the reason is at the field
/// `url` and nothing is kept, unless the caller wants it kept anyway.
pub async fn add(env: &Env, actor: &OrgActor<can::ConnectorsWrite>, new: &NewConnector) -> Result<Connector> {
    let name = text::name("name", "the connector", &new.name, MAX_NAME)?;
    let slug = parse_slug(&new.slug)?;
    let description = text::description("description", &new.description, MAX_DESCRIPTION)?;
    let url = parse_url(&new.url)?;
    let headers = checked_headers(&new.headers)?;
    {
        // A taken slug is told before anybody waits for a network.
        let mut tx = env.db.read().await?;
        if store::connectors::is_slug_claimed(&mut tx, actor.org(), &slug).await? {
            return Err(slug_taken());
        }
    }
    let found = ask(env, Transport::Http, url.as_str(), &headers, slug.as_str().len()).await?;
    if let Err(why) = &found
        && !(new.even_if_unreachable && may_pass(why))
    {
        return Err(at_url(why));
    }
    let row = new_row(env, slug, name, description, Transport::Http, url.to_string());
    insert(env, actor, row, &headers, found).await
}

/// Adds the built-in demo server.
pub async fn add_demo(env: &Env, actor: &OrgActor<can::ConnectorsWrite>) -> Result<Connector> {
    if !env.settings.demo {
        return Err(AppError::new(
            ErrorKind::NotFound,
            "no_demo",
            "This instance has no demo server. The operator can switch it on with GATEHOUSE_DEMO=on.",
        )
        .into());
    }
    let slug = free_demo_slug(env, actor.org()).await?;
    let description = "Three small tools inside Gatehouse itself: echo, time and add.".to_owned();
    let row = new_row(env, slug, "Demo".to_owned(), description, Transport::Demo, DEMO_URL.to_owned());
    let found = ask(env, Transport::Demo, DEMO_URL, &[], row.slug.as_str().len()).await?;
    insert(env, actor, row, &[], found).await
}

/// `demo`, or `demo-2` and so on where a deleted demo connector keeps the slug.
async fn free_demo_slug(env: &Env, org: OrgId) -> Result<ConnectorSlug> {
    let mut tx = env.db.read().await?;
    for n in 1..1000 {
        let slug = parse_slug(&if n == 1 { "demo".to_owned() } else { format!("demo-{n}") })?;
        if !store::connectors::is_slug_claimed(&mut tx, org, &slug).await? {
            return Ok(slug);
        }
    }
    Err(slug_taken())
}

fn new_row(
    env: &Env,
    slug: ConnectorSlug,
    name: String,
    description: String,
    transport: Transport,
    url: String,
) -> Row {
    let now = env.now();
    Row {
        id: ConnectorId::from_uuid(env.uuid()),
        slug,
        name,
        description,
        transport,
        url,
        enabled: true,
        health: Health::Unknown,
        health_failures: 0,
        health_error: None,
        checked_at: None,
        protocol_version: None,
        server_name: None,
        server_version: None,
        created_at: now,
        updated_at: now,
    }
}

async fn insert(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    row: Row,
    headers: &[(String, SecretString)],
    found: core::result::Result<ProbeReport, UpstreamError>,
) -> Result<Connector> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    if store::connectors::list(change.tx(), org).await?.len() >= MOST_CONNECTORS {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "too_many_connectors",
            format!("This organisation has {MOST_CONNECTORS} connectors. Delete one that is not used; nothing was added."),
        )
        .into());
    }
    match store::connectors::insert(change.tx(), org, &row).await {
        Err(store::Error::Taken(_)) => return Err(slug_taken()),
        done => done?,
    }
    put_headers(env, change.tx(), org, row.id, headers, actor.principal().name()).await?;
    note_check(env, change.tx(), org, &row, found.as_ref()).await?;
    let event = Event::new("mcp.created")
        .target("connector", row.id, &row.name)
        .with("slug", row.slug.as_str())
        .with("url", without_query(&row.url))
        .publish("mcp.created", json!({"mcp_id": row.id, "name": row.name}));
    let connector = read(change.tx(), org, row.id).await?.0;
    change.commit(event).await?;
    Ok(connector)
}

/// The organisation's connectors, by name.
pub async fn list(env: &Env, actor: &OrgActor<can::ConnectorsRead>) -> Result<Vec<Connector>> {
    let mut tx = env.db.read().await?;
    let org = actor.org();
    let headers = store::connectors::list_headers(&mut tx, org).await?;
    let counts = store::connectors::count_tools(&mut tx, org).await?;
    let rows = store::connectors::list(&mut tx, org).await?;
    Ok(rows.into_iter().map(|row| shown(row, &headers, &counts)).collect())
}

/// One connector and its tools.
pub async fn get(
    env: &Env,
    actor: &OrgActor<can::ConnectorsRead>,
    id: ConnectorId,
) -> Result<(Connector, Vec<Tool>)> {
    let mut tx = env.db.read().await?;
    read(&mut tx, actor.org(), id).await
}

async fn read(tx: &mut Tx, org: OrgId, id: ConnectorId) -> Result<(Connector, Vec<Tool>)> {
    let row = find(tx, org, id).await?;
    let headers = store::connectors::list_headers(tx, org).await?;
    let counts = store::connectors::count_tools(tx, org).await?;
    let slug = row.slug.clone();
    let tools = store::connectors::list_tools_of(tx, org, id)
        .await?
        .iter()
        .map(|tool| shown_tool(&slug, tool))
        .collect();
    Ok((shown(row, &headers, &counts), tools))
}

async fn find(tx: &mut Tx, org: OrgId, id: ConnectorId) -> Result<Row> {
    store::connectors::find(tx, org, id).await?.ok_or_else(|| Error::not_found("connector"))
}

fn shown(row: Row, headers: &[HeaderRow], counts: &[(ConnectorId, i64, i64)]) -> Connector {
    let (total, enabled) =
        counts.iter().find(|(id, ..)| *id == row.id).map_or((0, 0), |(_, total, enabled)| (*total, *enabled));
    Connector {
        headers: headers
            .iter()
            .filter(|header| header.connector == row.id)
            .map(|header| HeaderInfo {
                name: header.name.clone(),
                set_at: header.set_at,
                set_by: header.set_by.clone(),
            })
            .collect(),
        tools_enabled: u32::try_from(enabled).unwrap_or(u32::MAX),
        tools_total: u32::try_from(total).unwrap_or(u32::MAX),
        id: row.id,
        slug: row.slug,
        name: row.name,
        description: row.description,
        transport: row.transport,
        url: row.url,
        enabled: row.enabled,
        health: row.health,
        checked_at: row.checked_at,
        health_error: row.health_error,
        protocol_version: row.protocol_version,
        server_name: row.server_name,
        server_version: row.server_version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

fn shown_tool(slug: &ConnectorSlug, row: &ToolRow) -> Tool {
    let definition: Value = serde_json::from_str(&row.definition).unwrap_or_default();
    let hint = |name: &str| definition["annotations"][name].as_bool();
    let clean = |value: &Value| {
        value.as_str().map(|s| s.chars().filter(|c| *c == '\n' || text::printable(*c)).collect::<String>())
    };
    Tool {
        public_name: format!("{slug}{SEPARATOR}{}", row.name),
        name: row.name.clone(),
        title: clean(&definition["title"]).or_else(|| clean(&definition["annotations"]["title"])),
        description: clean(&definition["description"]).unwrap_or_default(),
        enabled: row.enabled,
        read_only: hint("readOnlyHint"),
        destructive: hint("destructiveHint"),
        idempotent: hint("idempotentHint"),
        open_world: hint("openWorldHint"),
        input_schema: serde_json::to_string_pretty(&definition["inputSchema"]).unwrap_or_default(),
    }
}

/// Changes a connector. A new URL or new headers are tried first, as in [`add`].
pub async fn update(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    changes: &ConnectorChanges,
) -> Result<Connector> {
    let org = actor.org();
    let name = text::name("name", "the connector", &changes.name, MAX_NAME)?;
    let description = text::description("description", &changes.description, MAX_DESCRIPTION)?;
    let set = checked_headers(&changes.set_headers)?;
    let removed: Vec<String> =
        changes.remove_headers.iter().map(|name| name.trim().to_ascii_lowercase()).collect();

    let (old, headers) = {
        let mut tx = env.db.read().await?;
        let old = find(&mut tx, org, id).await?;
        let rows = store::connectors::list_headers(&mut tx, org).await?;
        let data_key = orgs::data_key(env, &mut tx, org).await?;
        (old, open_headers(&data_key, org, &rows, id)?)
    };
    let url = match old.transport {
        Transport::Demo => old.url.clone(),
        Transport::Http => parse_url(&changes.url)?.to_string(),
    };
    let reaches_elsewhere = url != old.url || !set.is_empty() || !removed.is_empty();
    let mut found = None;
    if old.transport == Transport::Http && reaches_elsewhere {
        let target = parse_url(&url)?;
        let mut merged: Vec<_> = headers
            .into_iter()
            .filter(|(name, _)| !removed.contains(name) && !set.iter().any(|(new, _)| new == name))
            .collect();
        merged.extend(set.iter().cloned());
        if merged.len() > MAX_HEADERS {
            return Err(AppError::field(
                "header_name",
                "too_many",
                format!("Use at most {MAX_HEADERS} headers"),
            )
            .into());
        }
        let report = ask(env, Transport::Http, target.as_str(), &merged, old.slug.as_str().len()).await?;
        if let Err(why) = &report
            && !(changes.even_if_unreachable && may_pass(why))
        {
            return Err(at_url(why));
        }
        found = Some(report);
    }

    let mut change = env.change(actor).await?;
    let old = find(change.tx(), org, id).await?;
    let mut new = old.clone();
    new.name = name;
    new.description = description;
    new.url = url;
    new.updated_at = env.now();
    store::connectors::update(change.tx(), org, &new).await?;
    put_headers(env, change.tx(), org, id, &set, actor.principal().name()).await?;
    for name in &removed {
        store::connectors::delete_header(change.tx(), org, id, name).await?;
    }
    if let Some(report) = &found {
        note_check(env, change.tx(), org, &new, report.as_ref()).await?;
    }
    let mut event = Event::new("mcp.updated")
        .target("connector", id, &new.name)
        .changed("name", old.name, new.name.as_str())
        .changed("description", old.description, new.description.as_str())
        .changed("url", without_query(&old.url), without_query(&new.url));
    for (name, _) in &set {
        event = event.secret(&format!("header.{name}"), false);
    }
    for name in &removed {
        event = event.changed(&format!("header.{name}"), "•set", "");
    }
    let connector = read(change.tx(), org, id).await?.0;
    change.commit(event.publish("mcp.updated", json!({"mcp_id": id, "name": connector.name}))).await?;
    Ok(connector)
}

/// Switches a connector on or off. Off, its tools are neither listed nor called.
pub async fn set_enabled(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    enabled: bool,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let mut row = find(change.tx(), actor.org(), id).await?;
    if row.enabled == enabled {
        return Ok(());
    }
    row.enabled = enabled;
    row.updated_at = env.now();
    store::connectors::update(change.tx(), actor.org(), &row).await?;
    let event = Event::new(if enabled { "mcp.enabled" } else { "mcp.disabled" })
        .target("connector", id, &row.name)
        .changed("enabled", !enabled, enabled)
        .publish("mcp.updated", json!({"mcp_id": id, "name": row.name}));
    change.commit(event).await
}

/// Switches one tool on or off.
pub async fn set_tool_enabled(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    tool: &str,
    enabled: bool,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    if !store::connectors::set_tool_enabled(change.tx(), actor.org(), id, tool, enabled).await? {
        return Err(Error::not_found("tool"));
    }
    let event = Event::new(if enabled { "mcp.tool_enabled" } else { "mcp.tool_disabled" })
        .target("connector", id, &row.name)
        .target("tool", tool, tool)
        .publish("mcp.updated", json!({"mcp_id": id, "name": row.name}));
    change.commit(event).await
}

/// Deletes a connector. Its slug stays taken, because old clients may still call its tools by name.
pub async fn delete(env: &Env, actor: &OrgActor<can::ConnectorsDelete>, id: ConnectorId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    store::connectors::delete(change.tx(), actor.org(), id).await?;
    let event = Event::new("mcp.deleted")
        .target("connector", id, &row.name)
        .with("slug", row.slug.as_str())
        .publish("mcp.deleted", json!({"mcp_id": id, "name": row.name}));
    change.commit(event).await
}
