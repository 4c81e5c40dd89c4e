//! Connectors, their sealed headers and their tools.

use model::{
    ConnectorId, ConnectorSlug, OrgId,
    connectors::{Health, ToolPolicy, Transport},
};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    LIST = "SELECT id, slug, name, description, transport, url, enabled, health, health_failures, health_error, checked_at, \
            protocol_version, server_name, server_version, created_at, updated_at, tool_policy, instructions, unprefixed, first_byte_seconds FROM connectors WHERE org_id = $1 ORDER BY name, id";
    FIND = "SELECT id, slug, name, description, transport, url, enabled, health, health_failures, health_error, checked_at, \
            protocol_version, server_name, server_version, created_at, updated_at, tool_policy, instructions, unprefixed, first_byte_seconds FROM connectors WHERE org_id = $1 AND id = $2";
    FIND_BY_SLUG = "SELECT id, slug, name, description, transport, url, enabled, health, health_failures, health_error, checked_at, \
            protocol_version, server_name, server_version, created_at, updated_at, tool_policy, instructions, unprefixed, first_byte_seconds FROM connectors WHERE org_id = $1 AND slug = $2";
    INSERT = "INSERT INTO connectors (id, org_id, slug, name, description, transport, url, enabled, health, health_failures, \
              created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'unknown', 0, $9, $9)";
    IS_SLUG_CLAIMED = "SELECT COUNT(*) FROM connector_slugs WHERE org_id = $1 AND slug = $2";
    CLAIM_SLUG = "INSERT INTO connector_slugs (org_id, slug) VALUES ($1, $2)";
    UPDATE = "UPDATE connectors SET name = $3, description = $4, url = $5, enabled = $6, updated_at = $7, first_byte_seconds = $8 WHERE org_id = $1 AND id = $2";
    SET_HEALTH = "UPDATE connectors SET health = $3, health_failures = $4, health_error = $5, checked_at = $6, \
                  protocol_version = COALESCE($7, protocol_version), server_name = COALESCE($8, server_name), \
                  server_version = COALESCE($9, server_version), transport = COALESCE($10, transport) WHERE org_id = $1 AND id = $2";
    DELETE = "DELETE FROM connectors WHERE org_id = $1 AND id = $2";
    LIST_WITH_QUERY = "SELECT org_id, id FROM connectors WHERE url LIKE '%?%' ORDER BY org_id, id";
    LIST_ENABLED_BY_TRANSPORT = "SELECT org_id, id FROM connectors WHERE transport = $1 AND enabled ORDER BY org_id, id";
    LIST_HEADERS = "SELECT connector_id, name, value_sealed, set_at, set_by FROM connector_headers WHERE org_id = $1 ORDER BY name";
    PUT_HEADER = "INSERT INTO connector_headers (org_id, connector_id, name, value_sealed, set_at, set_by) VALUES ($1, $2, $3, $4, $5, $6) \
                  ON CONFLICT (connector_id, name) DO UPDATE SET value_sealed = excluded.value_sealed, set_at = excluded.set_at, set_by = excluded.set_by";
    DELETE_HEADER = "DELETE FROM connector_headers WHERE org_id = $1 AND connector_id = $2 AND name = $3";
    LIST_TOOLS = "SELECT connector_id, name, definition, enabled, alias, description, timeout_seconds, pinned, rejected, reviewed_at, reviewed_by, gone_at \
                  FROM connector_tools WHERE org_id = $1 ORDER BY connector_id, position, name";
    LIST_TOOLS_OF = "SELECT connector_id, name, definition, enabled, alias, description, timeout_seconds, pinned, rejected, reviewed_at, reviewed_by, gone_at \
                     FROM connector_tools WHERE org_id = $1 AND connector_id = $2 ORDER BY position, name";
    PUT_TOOL = "INSERT INTO connector_tools (org_id, connector_id, name, definition, enabled, position, pinned) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                ON CONFLICT (connector_id, name) DO UPDATE SET definition = excluded.definition, position = excluded.position, gone_at = NULL";
    SET_TOOL_GONE = "UPDATE connector_tools SET gone_at = $4 WHERE org_id = $1 AND connector_id = $2 AND name = $3 AND gone_at IS NULL";
    SET_TOOL_POLICY = "UPDATE connector_tools SET alias = $4, description = $5, timeout_seconds = $6 \
                       WHERE org_id = $1 AND connector_id = $2 AND name = $3";
    SET_TOOL_REVIEW = "UPDATE connector_tools SET pinned = $4, rejected = $5, reviewed_at = $6, reviewed_by = $7 \
                       WHERE org_id = $1 AND connector_id = $2 AND name = $3";
    SET_POLICY = "UPDATE connectors SET tool_policy = $3, updated_at = $4 WHERE org_id = $1 AND id = $2";
    SET_INSTRUCTIONS = "UPDATE connectors SET instructions = $3 WHERE org_id = $1 AND id = $2";
    SET_UNPREFIXED = "UPDATE connectors SET unprefixed = $3, updated_at = $4 WHERE org_id = $1 AND id = $2";
    DELETE_TOOL = "DELETE FROM connector_tools WHERE org_id = $1 AND connector_id = $2 AND name = $3";
    SET_TOOL_ENABLED = "UPDATE connector_tools SET enabled = $4 WHERE org_id = $1 AND connector_id = $2 AND name = $3";
    COUNT_TOOLS = "SELECT connector_id, COUNT(*), COALESCE(SUM(CASE WHEN enabled THEN 1 ELSE 0 END), 0) FROM connector_tools \
                   WHERE org_id = $1 AND gone_at IS NULL GROUP BY connector_id";
}

/// A connector's row.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Its id.
    pub id: ConnectorId,
    /// The prefix of its tools.
    pub slug: ConnectorSlug,
    /// Display name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// How it is reached.
    pub transport: Transport,
    /// Where it is reached. The query is sealed beside the headers.
    pub url: String,
    /// Whether its tools are offered.
    pub enabled: bool,
    /// What the last checks found.
    pub health: Health,
    /// Checks that failed in a row.
    pub health_failures: i64,
    /// Why the last check failed.
    pub health_error: Option<String>,
    /// When it was last checked, Unix milliseconds.
    pub checked_at: Option<i64>,
    /// The revision it spoke.
    pub protocol_version: Option<String>,
    /// Its own name.
    pub server_name: Option<String>,
    /// Its own version.
    pub server_version: Option<String>,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// When a person last changed it, Unix milliseconds.
    pub updated_at: i64,
    /// What a new or changed tool does before somebody has looked at it.
    pub tool_policy: ToolPolicy,
    /// What its server says about how to use it.
    pub instructions: Option<String>,
    /// Whether its names stand on the organisation's endpoint without its slug before them.
    pub unprefixed: bool,
    /// How long its server may take to begin an answer, seconds, if not as long as others.
    pub first_byte_seconds: Option<i64>,
}

/// A header's row: the value is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose.
    pub connector: ConnectorId,
    /// Lower-case name.
    pub name: String,
    /// The sealed value.
    pub value_sealed: Vec<u8>,
    /// When it was set, Unix milliseconds.
    pub set_at: i64,
    /// Who set it, by name.
    pub set_by: String,
}

/// A tool's row.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Whose.
    pub connector: ConnectorId,
    /// The name upstream.
    pub name: String,
    /// The definition, as the server sent it.
    pub definition: String,
    /// Whether agents are offered it.
    pub enabled: bool,
    /// The name that agents see, without the prefix, if it is not the server's own.
    pub alias: Option<String>,
    /// The description that agents see, if it is not the server's own.
    pub description: Option<String>,
    /// How long a call may go without progress, seconds.
    pub timeout_seconds: Option<i64>,
    /// The definition that was approved.
    pub pinned: Option<String>,
    /// The fingerprint of the definition that was rejected last.
    pub rejected: Option<String>,
    /// When somebody last approved or rejected, Unix milliseconds.
    pub reviewed_at: Option<i64>,
    /// Who, by name.
    pub reviewed_by: Option<String>,
    /// Since when its server leaves it out, Unix milliseconds.
    pub gone_at: Option<i64>,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    /// The new state.
    pub health: Health,
    /// Checks that failed in a row.
    pub failures: i64,
    /// Why it failed; `None` clears an older reason.
    pub error: Option<&'a str>,
    /// When, Unix milliseconds.
    pub at: i64,
    /// The revision spoken; `None` leaves it.
    pub protocol_version: Option<&'a str>,
    /// The server's name; `None` leaves it.
    pub server_name: Option<&'a str>,
    /// The server's version; `None` leaves it.
    pub server_version: Option<&'a str>,
    /// How it is reached; `None` leaves it.
    pub transport: Option<Transport>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    slug: String,
    name: String,
    description: String,
    transport: String,
    url: String,
    enabled: bool,
    health: String,
    health_failures: i64,
    health_error: Option<String>,
    checked_at: Option<i64>,
    protocol_version: Option<String>,
    server_name: Option<String>,
    server_version: Option<String>,
    created_at: i64,
    updated_at: i64,
    tool_policy: String,
    instructions: Option<String>,
    unprefixed: bool,
    first_byte_seconds: Option<i64>,
}

impl TryFrom<Row> for Connector {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "connectors", "id", &row.id)?,
            slug: parsed(&row.slug, "connectors", "slug", &row.id)?,
            transport: Transport::parse(&row.transport).ok_or_else(|| Error::Inconsistent {
                table: "connectors",
                column: "transport",
                row: row.id.clone(),
            })?,
            health: Health::parse(&row.health),
            tool_policy: ToolPolicy::parse(&row.tool_policy),
            instructions: row.instructions,
            unprefixed: row.unprefixed,
            first_byte_seconds: row.first_byte_seconds,
            name: row.name,
            description: row.description,
            url: row.url,
            enabled: row.enabled,
            health_failures: row.health_failures,
            health_error: row.health_error,
            checked_at: row.checked_at,
            protocol_version: row.protocol_version,
            server_name: row.server_name,
            server_version: row.server_version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The organisation's connectors, by name.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<Connector>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(Connector::try_from).collect()
}

/// One connector.
pub async fn find(tx: &mut Tx, org: OrgId, id: ConnectorId) -> Result<Option<Connector>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(Connector::try_from).transpose()
}

/// One connector, by slug.
pub async fn find_by_slug(tx: &mut Tx, org: OrgId, slug: &ConnectorSlug) -> Result<Option<Connector>> {
    let org = org.to_string();
    let row: Option<Row> =
        on!(tx, |c| sqlx::query_as(FIND_BY_SLUG).bind(org).bind(slug.as_str()).fetch_optional(c).await)?;
    row.map(Connector::try_from).transpose()
}

/// Adds a connector and claims its slug for ever. [`Error::Taken`] when the slug is or was in use.
pub async fn insert(tx: &mut Tx, org: OrgId, connector: &Connector) -> Result<()> {
    let (org, id) = (org.to_string(), connector.id.to_string());
    on!(tx, |c| sqlx::query(CLAIM_SLUG).bind(&org).bind(connector.slug.as_str()).execute(c).await.map(drop))?;
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(&org)
        .bind(connector.slug.as_str())
        .bind(&connector.name)
        .bind(&connector.description)
        .bind(connector.transport.as_str())
        .bind(&connector.url)
        .bind(connector.enabled)
        .bind(connector.created_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Whether a connector of the organisation has, or had, the slug.
pub async fn is_slug_claimed(tx: &mut Tx, org: OrgId, slug: &ConnectorSlug) -> Result<bool> {
    let org = org.to_string();
    let (count,): (i64,) =
        on!(tx, |c| sqlx::query_as(IS_SLUG_CLAIMED).bind(org).bind(slug.as_str()).fetch_one(c).await)?;
    Ok(count > 0)
}

/// Writes what a person may change: name, description, URL, enabled, patience.
pub async fn update(tx: &mut Tx, org: OrgId, connector: &Connector) -> Result<()> {
    let (org, id) = (org.to_string(), connector.id.to_string());
    on!(tx, |c| sqlx::query(UPDATE)
        .bind(org)
        .bind(id)
        .bind(&connector.name)
        .bind(&connector.description)
        .bind(&connector.url)
        .bind(connector.enabled)
        .bind(connector.updated_at)
        .bind(connector.first_byte_seconds)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes what a check found.
pub async fn set_health(tx: &mut Tx, org: OrgId, id: ConnectorId, checked: &Checked<'_>) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_HEALTH)
        .bind(org)
        .bind(id)
        .bind(checked.health.as_str())
        .bind(checked.failures)
        .bind(checked.error)
        .bind(checked.at)
        .bind(checked.protocol_version)
        .bind(checked.server_name)
        .bind(checked.server_version)
        .bind(checked.transport.map(Transport::as_str))
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes what a connector's server says about how to use it.
pub async fn set_instructions(
    tx: &mut Tx,
    org: OrgId,
    id: ConnectorId,
    instructions: Option<&str>,
) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_INSTRUCTIONS)
        .bind(org)
        .bind(id)
        .bind(instructions)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Decides whether a connector's names stand on the organisation's endpoint without its slug before them.
pub async fn set_unprefixed(
    tx: &mut Tx,
    org: OrgId,
    id: ConnectorId,
    unprefixed: bool,
    at: i64,
) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_UNPREFIXED)
        .bind(org)
        .bind(id)
        .bind(unprefixed)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes a connector with its headers and tools; whether there was one. Its slug stays claimed.
pub async fn delete(tx: &mut Tx, org: OrgId, id: ConnectorId) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query(DELETE).bind(org).bind(id).execute(c).await.map(|done| done.rows_affected()))?
        == 1)
}

/// Connectors of all organisations whose URL has a query in plain, as early versions stored it.
pub async fn list_with_query(tx: &mut Tx) -> Result<Vec<(OrgId, ConnectorId)>> {
    pairs(on!(tx, |c| sqlx::query_as(LIST_WITH_QUERY).fetch_all(c).await)?)
}

/// Enabled connectors of all organisations that are reached in this way.
pub async fn list_enabled_by_transport(
    tx: &mut Tx,
    transport: Transport,
) -> Result<Vec<(OrgId, ConnectorId)>> {
    pairs(on!(tx, |c| sqlx::query_as(LIST_ENABLED_BY_TRANSPORT).bind(transport.as_str()).fetch_all(c).await)?)
}

fn pairs(rows: Vec<(String, String)>) -> Result<Vec<(OrgId, ConnectorId)>> {
    rows.into_iter()
        .map(|(org, id)| {
            Ok((parsed(&org, "connectors", "org_id", &id)?, parsed(&id, "connectors", "id", &id)?))
        })
        .collect()
}

/// The sealed headers of all connectors of the organisation, by name.
pub async fn list_headers(tx: &mut Tx, org: OrgId) -> Result<Vec<Header>> {
    let org = org.to_string();
    let rows: Vec<(String, String, Vec<u8>, i64, String)> =
        on!(tx, |c| sqlx::query_as(LIST_HEADERS).bind(org).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(connector, name, value_sealed, set_at, set_by)| {
            let connector = parsed(&connector, "connector_headers", "connector_id", &name)?;
            Ok(Header { connector, name, value_sealed, set_at, set_by })
        })
        .collect()
}

/// Sets a header.
pub async fn put_header(tx: &mut Tx, org: OrgId, header: &Header) -> Result<()> {
    let (org, connector) = (org.to_string(), header.connector.to_string());
    on!(tx, |c| sqlx::query(PUT_HEADER)
        .bind(org)
        .bind(connector)
        .bind(&header.name)
        .bind(&header.value_sealed)
        .bind(header.set_at)
        .bind(&header.set_by)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Removes a header; whether there was one.
pub async fn delete_header(tx: &mut Tx, org: OrgId, connector: ConnectorId, name: &str) -> Result<bool> {
    let (org, connector) = (org.to_string(), connector.to_string());
    Ok(on!(tx, |c| sqlx::query(DELETE_HEADER)
        .bind(org)
        .bind(connector)
        .bind(name)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

#[derive(sqlx::FromRow)]
struct ToolRow {
    connector_id: String,
    name: String,
    definition: String,
    enabled: bool,
    alias: Option<String>,
    description: Option<String>,
    timeout_seconds: Option<i64>,
    pinned: Option<String>,
    rejected: Option<String>,
    reviewed_at: Option<i64>,
    reviewed_by: Option<String>,
    gone_at: Option<i64>,
}

fn tools(rows: Vec<ToolRow>) -> Result<Vec<Tool>> {
    rows.into_iter()
        .map(|row| {
            Ok(Tool {
                connector: parsed(&row.connector_id, "connector_tools", "connector_id", &row.name)?,
                name: row.name,
                definition: row.definition,
                enabled: row.enabled,
                alias: row.alias,
                description: row.description,
                timeout_seconds: row.timeout_seconds,
                pinned: row.pinned,
                rejected: row.rejected,
                reviewed_at: row.reviewed_at,
                reviewed_by: row.reviewed_by,
                gone_at: row.gone_at,
            })
        })
        .collect()
}

/// The tools of all connectors of the organisation, in each server's order.
pub async fn list_tools(tx: &mut Tx, org: OrgId) -> Result<Vec<Tool>> {
    let org = org.to_string();
    tools(on!(tx, |c| sqlx::query_as(LIST_TOOLS).bind(org).fetch_all(c).await)?)
}

/// The tools of one connector, in the server's order.
pub async fn list_tools_of(tx: &mut Tx, org: OrgId, connector: ConnectorId) -> Result<Vec<Tool>> {
    let (org, connector) = (org.to_string(), connector.to_string());
    tools(on!(tx, |c| sqlx::query_as(LIST_TOOLS_OF).bind(org).bind(connector).fetch_all(c).await)?)
}

/// Writes a tool's definition and place; `enabled` and `pinned` count only for a tool that is new.
pub async fn put_tool(tx: &mut Tx, org: OrgId, tool: &Tool, position: i64) -> Result<()> {
    let (org, connector) = (org.to_string(), tool.connector.to_string());
    on!(tx, |c| sqlx::query(PUT_TOOL)
        .bind(org)
        .bind(connector)
        .bind(&tool.name)
        .bind(&tool.definition)
        .bind(tool.enabled)
        .bind(position)
        .bind(&tool.pinned)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Removes a tool that the server no longer offers.
pub async fn delete_tool(tx: &mut Tx, org: OrgId, connector: ConnectorId, name: &str) -> Result<()> {
    let (org, connector) = (org.to_string(), connector.to_string());
    on!(tx, |c| sqlx::query(DELETE_TOOL).bind(org).bind(connector).bind(name).execute(c).await.map(drop))?;
    Ok(())
}

/// Says since when a tool's server leaves it out, Unix milliseconds, unless that is said already.
pub async fn set_tool_gone(
    tx: &mut Tx,
    org: OrgId,
    connector: ConnectorId,
    name: &str,
    at: i64,
) -> Result<()> {
    let (org, connector) = (org.to_string(), connector.to_string());
    on!(tx, |c| sqlx::query(SET_TOOL_GONE)
        .bind(org)
        .bind(connector)
        .bind(name)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes what people decided about how a tool is offered: its alias, description and time-out.
pub async fn set_tool_policy(tx: &mut Tx, org: OrgId, tool: &Tool) -> Result<()> {
    let (org, connector) = (org.to_string(), tool.connector.to_string());
    on!(tx, |c| sqlx::query(SET_TOOL_POLICY)
        .bind(org)
        .bind(connector)
        .bind(&tool.name)
        .bind(&tool.alias)
        .bind(&tool.description)
        .bind(tool.timeout_seconds)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes what people decided about a tool's definition: what is pinned, what is rejected, when and by whom.
pub async fn set_tool_review(tx: &mut Tx, org: OrgId, tool: &Tool) -> Result<()> {
    let (org, connector) = (org.to_string(), tool.connector.to_string());
    on!(tx, |c| sqlx::query(SET_TOOL_REVIEW)
        .bind(org)
        .bind(connector)
        .bind(&tool.name)
        .bind(&tool.pinned)
        .bind(&tool.rejected)
        .bind(tool.reviewed_at)
        .bind(&tool.reviewed_by)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Sets what a new or changed tool does before somebody has looked at it.
pub async fn set_policy(tx: &mut Tx, org: OrgId, id: ConnectorId, policy: ToolPolicy, at: i64) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_POLICY)
        .bind(org)
        .bind(id)
        .bind(policy.as_str())
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Switches a tool; whether there is one of that name.
pub async fn set_tool_enabled(
    tx: &mut Tx,
    org: OrgId,
    connector: ConnectorId,
    name: &str,
    enabled: bool,
) -> Result<bool> {
    let (org, connector) = (org.to_string(), connector.to_string());
    Ok(on!(tx, |c| sqlx::query(SET_TOOL_ENABLED)
        .bind(org)
        .bind(connector)
        .bind(name)
        .bind(enabled)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// How many tools each connector has, and how many are enabled.
pub async fn count_tools(tx: &mut Tx, org: OrgId) -> Result<Vec<(ConnectorId, i64, i64)>> {
    let org = org.to_string();
    let rows: Vec<(String, i64, i64)> =
        on!(tx, |c| sqlx::query_as(COUNT_TOOLS).bind(org).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(id, total, enabled)| {
            Ok((parsed(&id, "connector_tools", "connector_id", &id)?, total, enabled))
        })
        .collect()
}
