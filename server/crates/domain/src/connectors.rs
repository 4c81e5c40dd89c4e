//! Connectors: the MCP servers of an organisation, their credentials, tools and health.

use std::{collections::HashSet, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{
    AppError, ConnectorId, ConnectorSlug, ErrorKind, OrgId,
    connectors::{
        Connector, HeaderInfo, Health, MAX_DESCRIPTION, MAX_HEADERS, MAX_NAME, Probe, Tool, Transport,
    },
    permissions::can,
    text,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use store::{
    Tx,
    connectors::{Checked, Connector as Row, Header as HeaderRow, Tool as ToolRow},
};
use url::Url;

use crate::{
    Env, Error, OrgActor, Result,
    change::{Change, Event},
    mcp::{
        demo::Demo,
        tools::SEPARATOR,
        upstream::{HttpUpstream, ProbeReport, Upstream, UpstreamError, UpstreamSettings},
    },
    net::NetError,
    orgs,
    sealer::Aad,
};

/// The URL under which the built-in demo server is listed. It is never dialled.
pub const DEMO_URL: &str = "gatehouse:demo";
/// The most connectors an organisation may have.
const MOST_CONNECTORS: usize = 200;
/// The longest header value in bytes.
const MAX_HEADER_VALUE: usize = 8 * 1024;
/// Failed checks in a row after which a connector counts as down (UPS-15).
const DOWN_AFTER: i64 = 3;

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

/// Headers that belong to the protocol or to the connection, so nobody may set them.
const FORBIDDEN_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn check_header(name: &str, value: &SecretString) -> core::result::Result<String, AppError> {
    let name = name.trim().to_ascii_lowercase();
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(AppError::field(
            "header_name",
            "header_name",
            "Use letters, digits and hyphens for a header's name",
        ));
    }
    if FORBIDDEN_HEADERS.contains(&name.as_str()) || name.starts_with("mcp-") {
        return Err(AppError::field(
            "header_name",
            "header_reserved",
            format!("Choose another header: {name} is set by Gatehouse itself"),
        ));
    }
    let text = value.expose_secret();
    if text.is_empty() || text.len() > MAX_HEADER_VALUE || http::HeaderValue::from_str(text).is_err() {
        return Err(AppError::field(
            "header_value",
            "header_value",
            "Enter a value of visible ASCII characters, at most 8 KiB",
        ));
    }
    Ok(name)
}

fn parse_url(input: &str) -> core::result::Result<Url, AppError> {
    let field = |message: &str| AppError::field("url", "url", message);
    let input = input.trim();
    if input.is_empty() {
        return Err(field("Enter the server's URL, such as https://mcp.example.com/mcp"));
    }
    if input.len() > 2048 {
        return Err(field("Use a URL of at most 2048 characters"));
    }
    let url =
        Url::parse(input).map_err(|_| field("Enter a whole URL, such as https://mcp.example.com/mcp"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err(field("Enter a URL that begins with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(field(
            "Leave user name and password out of the URL; put credentials into a header, where they are sealed",
        ));
    }
    if url.fragment().is_some() {
        return Err(field("Leave the part after # out of the URL"));
    }
    Ok(url)
}

/// Looks at a URL without keeping anything.
pub async fn probe(
    env: &Env,
    _: &OrgActor<can::ConnectorsWrite>,
    url: &str,
    headers: &[(String, SecretString)],
) -> Result<Probe> {
    let url = parse_url(url)?;
    let headers = checked_headers(headers)?;
    let report = ask(env, Transport::Http, url.as_str(), &headers, 0).await?.map_err(|why| at_url(&why))?;
    Ok(summary(&report))
}

/// Asks a server what it is and offers. `slug` is the length of what will stand before its tools' names.
async fn ask(
    env: &Env,
    transport: Transport,
    url: &str,
    headers: &[(String, SecretString)],
    slug: usize,
) -> Result<core::result::Result<ProbeReport, UpstreamError>> {
    let wrong = || Error::Internal("a checked URL or header cannot be sent".into());
    let upstream = match transport {
        Transport::Demo => {
            let clock = env.clock.clone();
            Upstream::Demo(Demo::new(Arc::new(move || clock.now())))
        }
        Transport::Http => {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
                let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| wrong())?;
                value.set_sensitive(true);
                map.insert(name, value);
            }
            let uri = url.parse().map_err(|_| wrong())?;
            Upstream::Http(HttpUpstream::new(
                Arc::new(env.outbound.clone()),
                uri,
                map,
                UpstreamSettings::default(),
            ))
        }
    };
    Ok(upstream.probe(slug + SEPARATOR.len()).await)
}

/// Whether a failure may be gone later, so that the connector is worth keeping.
fn may_pass(why: &UpstreamError) -> bool {
    match why {
        UpstreamError::Net(NetError::Blocked(_)) => false,
        UpstreamError::Net(_)
        | UpstreamError::Timeout(_)
        | UpstreamError::NeedsAuth { .. }
        | UpstreamError::Busy { .. }
        | UpstreamError::Failed(_)
        | UpstreamError::Refused(_) => true,
        _ => false,
    }
}

fn summary(report: &ProbeReport) -> Probe {
    Probe {
        protocol_version: report.protocol_version.to_owned(),
        server_name: report.server_name.clone(),
        server_version: report.server_version.clone(),
        tools: u32::try_from(report.list.tools.len()).unwrap_or(u32::MAX),
    }
}

fn checked_headers(headers: &[(String, SecretString)]) -> Result<Vec<(String, SecretString)>> {
    if headers.len() > MAX_HEADERS {
        return Err(
            AppError::field("header_name", "too_many", format!("Use at most {MAX_HEADERS} headers")).into()
        );
    }
    headers.iter().map(|(name, value)| Ok((check_header(name, value)?, value.clone()))).collect()
}

fn at_url(why: &UpstreamError) -> Error {
    AppError::field("url", why.word(), why.to_string()).into()
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

/// A URL's query may hold a credential, so logs get the rest only.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

fn parse_slug(input: &str) -> Result<ConnectorSlug> {
    let input = input.trim();
    if input.contains("__") {
        return Err(AppError::field("slug", "slug", "Use single hyphens between words").into());
    }
    input.parse().map_err(|why: model::slug::InvalidSlug| {
        let message = match why {
            model::slug::InvalidSlug::Length => "Use 1 to 63 characters".to_owned(),
            other => other.to_string(),
        };
        AppError::field("slug", "slug", message).into()
    })
}

fn slug_taken() -> Error {
    let mut error = AppError::field(
        "slug",
        "slug_taken",
        "Choose another slug: a connector of this organisation has, or had, this one, and tool names must stay unambiguous",
    );
    error.kind = ErrorKind::Conflict;
    error.into()
}

async fn put_headers(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    connector: ConnectorId,
    headers: &[(String, SecretString)],
    by: &str,
) -> Result<()> {
    if headers.is_empty() {
        return Ok(());
    }
    let data_key = orgs::data_key(env, tx, org).await?;
    for (name, value) in headers {
        let row = format!("{connector}/{name}");
        let aad = Aad { org, table: "connector_headers", column: "value_sealed", row: &row };
        let header = HeaderRow {
            connector,
            name: name.clone(),
            value_sealed: data_key.seal(&aad, value.expose_secret().as_bytes(), env.rng.as_ref()),
            set_at: env.now(),
            set_by: by.to_owned(),
        };
        store::connectors::put_header(tx, org, &header).await?;
    }
    Ok(())
}

/// The headers of a connector, opened: for calling it, never for showing.
pub(crate) fn open_headers(
    data_key: &crate::sealer::DataKey,
    org: OrgId,
    rows: &[HeaderRow],
    connector: ConnectorId,
) -> Result<Vec<(String, SecretString)>> {
    rows.iter()
        .filter(|row| row.connector == connector)
        .map(|row| {
            let key = format!("{connector}/{}", row.name);
            let aad = Aad { org, table: "connector_headers", column: "value_sealed", row: &key };
            let bytes = data_key.open(&aad, &row.value_sealed).map_err(|_| {
                Error::Internal(format!("the header {} of {connector} does not open", row.name))
            })?;
            let text = String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::Internal(format!("the header {} of {connector} is no text", row.name)))?;
            Ok((row.name.clone(), SecretString::from(text)))
        })
        .collect()
}

/// Writes what a check found: health with hysteresis, names, tools. Whether anything that agents see changed.
async fn note_check(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    row: &Row,
    found: core::result::Result<&ProbeReport, &UpstreamError>,
) -> Result<bool> {
    let (health, failures) = after_check(row.health, row.health_failures, found.is_ok());
    let reason = found.err().map(ToString::to_string);
    let report = found.ok();
    let checked = Checked {
        health,
        failures,
        error: reason.as_deref(),
        at: env.now(),
        protocol_version: report.map(|r| r.protocol_version),
        server_name: report.and_then(|r| r.server_name.as_deref()),
        server_version: report.and_then(|r| r.server_version.as_deref()),
    };
    store::connectors::set_health(tx, org, row.id, &checked).await?;
    match report {
        Some(report) => put_tools(tx, org, row.id, report).await,
        None => Ok(false),
    }
}

/// The next state and count: three failures in a row make it down, two successes in a row make it healthy again.
/// A negative count stands for successes since it was down.
fn after_check(health: Health, failures: i64, ok: bool) -> (Health, i64) {
    match (ok, health) {
        (true, Health::Down) => (Health::Degraded, -1),
        (true, _) => (Health::Healthy, 0),
        (false, Health::Down) => (Health::Down, DOWN_AFTER),
        (false, _) => {
            let failures = failures.max(0) + 1;
            (if failures >= DOWN_AFTER { Health::Down } else { Health::Degraded }, failures)
        }
    }
}

async fn put_tools(tx: &mut Tx, org: OrgId, connector: ConnectorId, report: &ProbeReport) -> Result<bool> {
    let old = store::connectors::list_tools_of(tx, org, connector).await?;
    let offered: HashSet<&str> = report.list.tools.iter().map(|tool| tool.name.as_str()).collect();
    // A tool that is switched off stays known when its server leaves it out: should it come back, it must not come back on.
    let (current, gone): (Vec<_>, Vec<_>) = old.iter().partition(|tool| offered.contains(tool.name.as_str()));
    let gone: Vec<_> = gone.into_iter().filter(|tool| tool.enabled).collect();
    let same = gone.is_empty()
        && current.len() == report.list.tools.len()
        && current
            .iter()
            .zip(&report.list.tools)
            .all(|(old, new)| old.name == new.name && old.definition == new.raw.get());
    if same {
        return Ok(false);
    }
    for gone in gone {
        store::connectors::delete_tool(tx, org, connector, &gone.name).await?;
    }
    for (position, tool) in (0..).zip(&report.list.tools) {
        let row = ToolRow {
            connector,
            name: tool.name.clone(),
            definition: tool.raw.get().to_owned(),
            enabled: true,
        };
        store::connectors::put_tool(tx, org, &row, position).await?;
    }
    Ok(true)
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

/// Tries a connector now and keeps what it found. A failure is an answer, not an error.
pub async fn test(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
) -> Result<core::result::Result<Probe, String>> {
    let found = check(env, actor, id).await?;
    Ok(found.map(|report| summary(&report)).map_err(|why| why.to_string()))
}

/// Asks a connector what it offers and writes it down. Events are written only for what changed.
async fn check<P: model::permissions::Grant>(
    env: &Env,
    actor: &OrgActor<P>,
    id: ConnectorId,
) -> Result<core::result::Result<ProbeReport, UpstreamError>> {
    let org = actor.org();
    let (row, headers) = {
        let mut tx = env.db.read().await?;
        let row = find(&mut tx, org, id).await?;
        let rows = store::connectors::list_headers(&mut tx, org).await?;
        let data_key = orgs::data_key(env, &mut tx, org).await?;
        (row, open_headers(&data_key, org, &rows, id)?)
    };
    let found = ask(env, row.transport, &row.url, &headers, row.slug.as_str().len()).await?;
    let mut change = env.change(actor).await?;
    // It may have been changed or deleted while the network was slow: the check then says nothing about what is there now.
    let Some(now) = store::connectors::find(change.tx(), org, id).await? else { return Ok(found) };
    if now.url != row.url {
        return Ok(found);
    }
    let tools_changed = note_check(env, change.tx(), org, &now, found.as_ref()).await?;
    finish_check(change, org, &now, tools_changed).await?;
    Ok(found)
}

async fn finish_check(mut change: Change, org: OrgId, old: &Row, tools_changed: bool) -> Result<()> {
    let new = find(change.tx(), org, old.id).await?;
    let health_changed = new.health != old.health && old.health != Health::Unknown;
    let health = Event::new("mcp.health_changed")
        .target("connector", old.id, &old.name)
        .changed("health", old.health.as_str(), new.health.as_str())
        .publish(
            "mcp.health_changed",
            json!({"mcp_id": old.id, "name": old.name, "status": new.health.as_str(), "previous": old.health.as_str()}),
        );
    let tools = Event::new("mcp.tools_changed")
        .target("connector", old.id, &old.name)
        .publish("mcp.tools_changed", json!({"mcp_id": old.id, "name": old.name}));
    match (health_changed, tools_changed) {
        (true, true) => {
            change.record(&tools).await?;
            change.commit(health).await
        }
        (true, false) => change.commit(health).await,
        (false, true) => change.commit(tools).await,
        (false, false) => change.keep_quiet().await,
    }
}

/// Checks connectors that were not looked at for `older_than` milliseconds, at most `limit` of them, a few at a time.
/// How many were checked.
pub async fn check_due(env: &Env, older_than: i64, limit: i64) -> Result<usize> {
    use futures_util::StreamExt as _;
    let due = {
        let mut tx = env.db.read().await?;
        store::connectors::list_due(&mut tx, env.now() - older_than, limit).await?
    };
    let count = due.len();
    futures_util::stream::iter(due)
        .for_each_concurrent(8, |(org, id)| async move {
            if let Err(error) = check(env, &OrgActor::<can::ConnectorsWrite>::system(org), id).await {
                tracing::warn!(%error, org.id = %org, connector.id = %id, "a connector could not be checked");
            }
        })
        .await;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ups_15_three_failures_are_down_and_two_successes_are_healthy_again() {
        use Health::{Degraded, Down, Healthy};

        let mut state = (Health::Unknown, 0);
        let mut seen = Vec::new();
        for ok in [true, false, false, false, false, true, true, false, true] {
            state = after_check(state.0, state.1, ok);
            seen.push(state.0);
        }
        assert_eq!(seen, [Healthy, Degraded, Degraded, Down, Down, Degraded, Healthy, Degraded, Healthy]);
    }

    #[test]
    fn headers_of_the_protocol_are_refused() {
        let value = SecretString::from("x".to_owned());
        assert_eq!(check_header("Authorization", &value).unwrap(), "authorization");
        for bad in ["Host", "Mcp-Session-Id", "content-length", "a b", "", "x:y"] {
            assert!(check_header(bad, &value).is_err(), "{bad}");
        }
        assert!(check_header("x-key", &SecretString::from("a\r\nb: c".to_owned())).is_err());
        assert!(check_header("x-key", &SecretString::from(String::new())).is_err());
    }

    #[test]
    fn urls_are_whole_and_hold_no_credentials() {
        assert!(parse_url(" https://mcp.example.com/mcp?x=1 ").is_ok());
        for bad in
            ["", "mcp.example.com", "ftp://x.y/", "https://u:p@x.y/", "https://x.y/#a", "javascript:alert(1)"]
        {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
