//! Connectors: the MCP servers of an organisation, their credentials, tools and health.

mod check;
mod definition;
mod history;
mod import;
pub(crate) mod input;
mod local;
mod names;
mod policy;
mod secrets;

use model::{
    AppError, ConnectorId, ConnectorSlug, ErrorKind, FieldError, OrgId,
    connectors::{
        Connector, FIRST_BYTE, Health, MAX_DESCRIPTION, MAX_HEADERS, MAX_NAME, STDIO, Tool, ToolPolicy,
        Transport,
    },
    permissions::can,
    text,
};
use secrecy::SecretString;
use serde_json::json;
use store::{
    Tx,
    connectors::{Connector as Row, Header as HeaderRow},
    upstream_credentials::{Authorization, Client},
};
use url::Url;

pub(crate) use self::secrets::{Target, export_shape, first_byte, version, whole_url};
use self::{
    check::{ask, may_pass, note_check},
    input::{Query, checked_headers, parse_patience, parse_slug, parse_url, slug_taken},
    secrets::{put_headers, put_query, sealed},
};
pub use self::{
    check::{check_due, keep_running, test},
    history::{history, purge},
    local::{offered as local_servers, state as local_state},
    policy::{
        ToolChanges, approve_new, review_tool, set_tool, set_tool_enabled, set_tool_policy, set_unprefixed,
        tool,
    },
    secrets::seal_queries,
};
pub(crate) use self::{
    definition::{held, review},
    import::{Candidate, Decided, Typed, check_all, make_all},
    local::name as local_name,
    names::publish,
    policy::offered,
};
use crate::{
    Env, Error, OrgActor, Result, both,
    change::Event,
    mcp::upstream::{ProbeReport, UpstreamError},
    orgs,
    pin::Guarded,
};

/// The URL under which the built-in demo server is listed. It is never dialled.
pub const DEMO_URL: &str = "gatehouse:demo";
/// A URL that would do.
const EXAMPLE: &str = "https://mcp.example.com/mcp";
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
    /// Where it is, or [`STDIO`] and the name of a server that the operator offers.
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
    /// How long its server may take to begin an answer, seconds as typed; nothing for the usual.
    pub first_byte: String,
    /// Whether to keep the change even if the server does not answer now.
    pub even_if_unreachable: bool,
}

/// Adds a connector: the URL is tried at once, and what it offers is kept. When it fails, the reason is at the field
/// `url` and nothing is kept, unless the caller wants it kept anyway.
pub async fn add(env: &Env, actor: &OrgActor<can::ConnectorsWrite>, new: &NewConnector) -> Result<Connector> {
    // In the order of the form.
    let ((name, slug), (description, (place, headers))) = both(
        both(
            text::name("name", "the connector", &new.name, MAX_NAME).map_err(Into::into),
            parse_slug(&new.slug),
        ),
        both(
            text::description("description", &new.description, MAX_DESCRIPTION).map_err(Into::into),
            both(where_it_is(&new.url), checked_headers(&new.headers)),
        ),
    )?;
    let (transport, url, query) = place;
    if transport == Transport::Stdio {
        local::check_offered(env, actor.org(), &url).await?;
        no_headers(&headers)?;
    }
    let target = Target { transport, url, query, headers, first_byte: None };
    {
        // A taken slug is told before anybody waits for a network.
        let mut tx = env.db.read().await?;
        if store::connectors::is_slug_claimed(&mut tx, actor.org(), &slug).await? {
            return Err(slug_taken());
        }
    }
    let began = env.now();
    let asked = ask(env, actor.org(), &target, slug.as_str().len()).await?;
    let took = env.now() - began;
    if let Err(why) = &asked.found
        && !(new.even_if_unreachable && may_pass(why))
    {
        return Err(asked.refusal(why, target.transport));
    }
    insert(env, actor, new_row(env, slug, name, description, &target), &target, asked.found, took).await
}

/// Where a new connector shall be: how it is reached, its address and the query of that.
fn where_it_is(url: &str) -> Result<(Transport, String, Option<SecretString>)> {
    if url.trim().starts_with(STDIO) {
        return Ok((Transport::Stdio, url.trim().to_owned(), None));
    }
    let (url, query) = parse_url(url, "the server's", EXAMPLE)?;
    let Query::Set(query) = query else {
        return Err(AppError::field("url", "url", "Type what stands after ? in the URL").into());
    };
    Ok((Transport::Http, url.into(), query))
}

/// A server on this machine is sent no headers.
fn no_headers(headers: &[(String, SecretString)]) -> Result<()> {
    if headers.is_empty() {
        return Ok(());
    }
    let message = "Leave the headers empty: a server on this machine gets its secrets from the operator";
    Err(AppError::field("header_name", "no_headers", message).into())
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
    let target = Target {
        transport: Transport::Demo,
        url: DEMO_URL.to_owned(),
        query: None,
        headers: Vec::new(),
        first_byte: None,
    };
    let row = new_row(env, slug, "Demo".to_owned(), description, &target);
    let found = ask(env, actor.org(), &target, row.slug.as_str().len()).await?.found;
    insert(env, actor, row, &target, found, 0).await
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

fn new_row(env: &Env, slug: ConnectorSlug, name: String, description: String, target: &Target) -> Row {
    let now = env.now();
    Row {
        id: ConnectorId::from_uuid(env.uuid()),
        slug,
        name,
        description,
        transport: target.transport,
        url: target.url.clone(),
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
        tool_policy: ToolPolicy::Alert,
        instructions: None,
        unprefixed: false,
        first_byte_seconds: None,
    }
}

async fn insert(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    row: Row,
    target: &Target,
    found: core::result::Result<ProbeReport, UpstreamError>,
    took: i64,
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
    let by = actor.principal().name();
    put_headers(env, change.tx(), org, row.id, &target.headers, by).await?;
    put_query(env, change.tx(), org, row.id, target.query.as_ref(), by).await?;
    note_check(env, change.tx(), org, &row, found.as_ref(), took).await?;
    let event = Event::new("mcp.created")
        .target("connector", row.id, &row.name)
        .with("slug", row.slug.as_str())
        .with("url", row.url.as_str())
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
    let clients = store::upstream_credentials::list_clients(&mut tx, org).await?;
    let given = store::upstream_credentials::list(&mut tx, org).await?;
    Ok(rows.into_iter().map(|row| shown(row, &headers, &counts, &clients, &given)).collect())
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
    let tools = policy::tools(tx, org, &row).await?;
    let clients = store::upstream_credentials::list_clients(tx, org).await?;
    let given = store::upstream_credentials::list(tx, org).await?;
    Ok((shown(row, &headers, &counts, &clients, &given), tools))
}

async fn find(tx: &mut Tx, org: OrgId, id: ConnectorId) -> Result<Row> {
    store::connectors::find(tx, org, id).await?.ok_or_else(|| Error::not_found("connector"))
}

fn shown(
    row: Row,
    headers: &[HeaderRow],
    counts: &[(ConnectorId, i64, i64)],
    clients: &[Client],
    given: &[Authorization],
) -> Connector {
    let credentials = clients.iter().find(|client| client.connector == row.id).map(|client| client.kind);
    let lost =
        given.iter().any(|given| given.connector == row.id && given.user.is_none() && given.lost.is_some());
    let (total, enabled) =
        counts.iter().find(|(id, ..)| *id == row.id).map_or((0, 0), |(_, total, enabled)| (*total, *enabled));
    let (url, headers) = secrets::shown(&row, headers);
    Connector {
        headers,
        tools_enabled: u32::try_from(enabled).unwrap_or(u32::MAX),
        tools_total: u32::try_from(total).unwrap_or(u32::MAX),
        tool_policy: row.tool_policy,
        unprefixed: row.unprefixed,
        credentials: credentials.unwrap_or_default(),
        needs_reauth: lost,
        first_byte_seconds: row.first_byte_seconds.and_then(|seconds| u32::try_from(seconds).ok()),
        id: row.id,
        slug: row.slug,
        name: row.name,
        description: row.description,
        transport: row.transport,
        url,
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

/// Changes a connector. A new URL or new headers are tried first, as in [`add`]. What is stored for one server is never
/// sent to another: when the URL leads elsewhere, each stored secret is entered anew or removed.
pub async fn update(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    changes: &ConnectorChanges,
) -> Result<Connector> {
    let org = actor.org();
    let (name, (description, (set, patience))) = both(
        text::name("name", "the connector", &changes.name, MAX_NAME).map_err(Into::into),
        both(
            text::description("description", &changes.description, MAX_DESCRIPTION).map_err(Into::into),
            both(checked_headers(&changes.set_headers), parse_patience(&changes.first_byte)),
        ),
    )?;

    let (read, rows, old) = {
        let mut tx = env.db.read().await?;
        let row = find(&mut tx, org, id).await?;
        let rows = sealed(&mut tx, org, id).await?;
        let data_key = orgs::data_key(env, &mut tx, org).await?;
        let target = Target::open(&data_key, org, &row, &rows)?;
        (row, rows, target)
    };
    // A header that is removed and set has the value that was set.
    let mut removed: Vec<String> =
        changes.remove_headers.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    removed.retain(|name| has(&old.headers, name) && !has(&set, name));
    let mut new = changed_target(&old, &changes.url, &set, &removed)?;
    new.first_byte = first_byte(patience);
    let query_changed = new.query() != old.query();
    let mut found = None;
    if new.url != old.url || query_changed || !set.is_empty() || !removed.is_empty() {
        let began = env.now();
        let asked = ask(env, org, &new, read.slug.as_str().len()).await?;
        if let Err(why) = &asked.found
            && !(changes.even_if_unreachable && may_pass(why))
        {
            return Err(asked.refusal(why, new.transport));
        }
        found = Some((asked.found, env.now() - began));
    }

    let mut change = env.change(actor).await?;
    let before = find(change.tx(), org, id).await?;
    if before.url != read.url || sealed(change.tx(), org, id).await? != rows {
        // What was decided about stored secrets was decided about others.
        return Err(AppError::new(
            ErrorKind::Conflict,
            "changed_meanwhile",
            "Somebody else changed this connector in the meantime. Nothing was saved: look at it again.",
        )
        .into());
    }
    let mut row = before.clone();
    row.name = name;
    row.description = description;
    row.url.clone_from(&new.url);
    row.first_byte_seconds = patience;
    row.updated_at = env.now();
    store::connectors::update(change.tx(), org, &row).await?;
    let by = actor.principal().name();
    put_headers(env, change.tx(), org, id, &set, by).await?;
    for name in &removed {
        store::connectors::delete_header(change.tx(), org, id, name).await?;
    }
    if query_changed || before.url != old.url {
        put_query(env, change.tx(), org, id, new.query.as_ref(), by).await?;
    }
    if let Some((report, took)) = &found {
        note_check(env, change.tx(), org, &row, report.as_ref(), *took).await?;
    }
    let mut event = Event::new("mcp.updated")
        .target("connector", id, &row.name)
        .changed("name", before.name, row.name.as_str())
        .changed("description", before.description, row.description.as_str())
        .changed("url", old.url, new.url);
    if before.first_byte_seconds != patience {
        event = event.changed(
            "first_byte_seconds",
            shown_patience(before.first_byte_seconds),
            shown_patience(patience),
        );
    }
    event = match (&new.query, query_changed) {
        (Some(_), true) => event.secret("url.query", old.query.is_some()),
        (None, true) => event.changed("url.query", "•set", ""),
        (_, false) => event,
    };
    for (name, _) in &set {
        event = event.secret(&format!("header.{name}"), has(&old.headers, name));
    }
    for name in &removed {
        event = event.changed(&format!("header.{name}"), "•set", "");
    }
    let connector = self::read(change.tx(), org, id).await?.0;
    change.commit(event.publish("mcp.updated", json!({"mcp_id": id, "name": connector.name}))).await?;
    Ok(connector)
}

fn shown_patience(seconds: Option<i64>) -> String {
    seconds.unwrap_or(i64::from(FIRST_BYTE)).to_string()
}

fn has(headers: &[(String, SecretString)], name: &str) -> bool {
    headers.iter().any(|(other, _)| other == name)
}

/// Where a connector shall be and what it shall be sent, after a change.
fn changed_target(
    old: &Target,
    url: &str,
    set: &[(String, SecretString)],
    removed: &[String],
) -> Result<Target> {
    let (url, query) = match old.transport {
        Transport::Demo => (old.url.clone(), Query::Keep),
        Transport::Stdio => {
            no_headers(set)?;
            (old.url.clone(), Query::Keep)
        }
        Transport::Http | Transport::Sse => {
            let (url, query) = parse_url(url, "the server's", EXAMPLE)?;
            let kept = old.headers.iter().map(|(name, _)| name.as_str());
            let kept = kept.filter(|name| !has(set, name) && !removed.iter().any(|other| other == name));
            let query_kept = old.query.is_some() && matches!(query, Query::Keep);
            let before = Url::parse(&old.url).map_err(|_| Error::Internal("a stored URL is none".into()))?;
            if url.origin() != before.origin() {
                check_nothing_is_kept(&before, kept, query_kept)?;
            }
            (url.into(), query)
        }
    };
    let mut headers = old.headers.clone();
    headers.retain(|(name, _)| !has(set, name) && !removed.contains(name));
    headers.extend(set.iter().cloned());
    if headers.len() > MAX_HEADERS {
        return Err(
            AppError::field("header_name", "too_many", format!("Use at most {MAX_HEADERS} headers")).into()
        );
    }
    let query = match query {
        Query::Keep => old.query.clone(),
        Query::Set(query) => query,
    };
    Ok(Target { transport: old.transport, url, query, headers, first_byte: old.first_byte })
}

/// Refuses to take secrets along to another server.
fn check_nothing_is_kept<'n>(
    before: &Url,
    headers: impl Iterator<Item = &'n str>,
    query: bool,
) -> Result<()> {
    let headers: Vec<_> = headers.collect();
    let host = before.host_str().unwrap_or_default();
    let mut fields = Vec::new();
    if query {
        fields.push((
            "url",
            format!(
                "Type all that stands after ?, or leave it out: what is stored belongs to {host} and is not sent to another server"
            ),
        ));
    }
    if !headers.is_empty() {
        fields.push((
            "stored_header_value",
            format!(
                "Enter {} again, or remove it: what is stored belongs to {host} and is not sent to another server",
                headers.join(", ")
            ),
        ));
    }
    let Some((_, message)) = fields.first() else { return Ok(()) };
    let mut error = AppError::new(ErrorKind::Invalid, "credentials_needed", message.clone());
    error.fields =
        fields.into_iter().map(|(field, message)| FieldError { field: field.to_owned(), message }).collect();
    Err(error.into())
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

/// Deletes a connector. Its slug stays taken, because old clients may still call its tools by name.
pub async fn delete(env: &Env, actor: &Guarded<can::ConnectorsDelete>, id: ConnectorId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    store::connectors::delete(change.tx(), actor.org(), id).await?;
    let event = Event::new("mcp.deleted")
        .target("connector", id, &row.name)
        .with("slug", row.slug.as_str())
        .publish("mcp.deleted", json!({"mcp_id": id, "name": row.name}));
    change.commit(event).await
}
