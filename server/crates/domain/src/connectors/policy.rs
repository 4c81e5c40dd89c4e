//! What an organisation decides about tools: on or off, names, descriptions, time-outs, and which definitions are
//! approved.

use std::collections::HashMap;

use model::{
    AppError, ConnectorId, ErrorKind, OrgId,
    connectors::{Connector, MAX_TOOL_DESCRIPTION, MAX_TOOL_TIMEOUT, Review, Tool, ToolDetail, ToolPolicy},
    permissions::can,
    text,
};
use serde_json::{Value, json};
use store::{
    Tx,
    connectors::{Connector as ConnectorRow, Tool as Row},
};

use super::{
    definition::{diff, fingerprint, held, review, warnings},
    find,
    names::{Published, publish, room},
    read,
};
use crate::{
    Env, Error, OrgActor, Result,
    change::Event,
    mcp::tools::{SEPARATOR, with_description},
};

/// A tool as pages show it.
fn shown(connector: &ConnectorRow, row: &Row, published: Published, others: &[&str]) -> Tool {
    let definition: Value = serde_json::from_str(&row.definition).unwrap_or_default();
    let hint = |name: &str| definition["annotations"][name].as_bool();
    let clean = |value: &Value| {
        value.as_str().map(|s| s.chars().filter(|c| *c == '\n' || text::printable(*c)).collect::<String>())
    };
    let review = review(row);
    Tool {
        public_name: if connector.unprefixed {
            published.name.clone()
        } else {
            format!("{}{SEPARATOR}{}", connector.slug, published.name)
        },
        name: row.name.clone(),
        title: clean(&definition["title"]).or_else(|| clean(&definition["annotations"]["title"])),
        description: row
            .description
            .clone()
            .or_else(|| clean(&definition["description"]))
            .unwrap_or_default(),
        enabled: row.enabled,
        read_only: hint("readOnlyHint"),
        destructive: hint("destructiveHint"),
        idempotent: hint("idempotentHint"),
        open_world: hint("openWorldHint"),
        input_schema: serde_json::to_string_pretty(&definition["inputSchema"]).unwrap_or_default(),
        alias: row.alias.clone(),
        shortened: published.shortened,
        clash: published.clash,
        own_words: row.description.clone(),
        timeout_seconds: row.timeout_seconds.and_then(|seconds| u32::try_from(seconds).ok()),
        review,
        held: held(review, connector.tool_policy),
        reviewed_at: row.reviewed_at,
        reviewed_by: row.reviewed_by.clone(),
        gone_at: row.gone_at,
        warnings: warnings(&row.definition, others),
    }
}

/// The names that the other connectors of an organisation publish: descriptions that speak of them are suspicious.
async fn names_of_others(tx: &mut Tx, org: OrgId, id: ConnectorId) -> Result<Vec<String>> {
    let rows = store::connectors::list(tx, org).await?;
    let slugs: HashMap<_, _> = rows.into_iter().map(|row| (row.id, row.slug)).collect();
    let tools = store::connectors::list_tools(tx, org).await?;
    let others = tools.into_iter().filter(|tool| tool.connector != id);
    Ok(others
        .filter_map(|tool| Some(format!("{}{SEPARATOR}{}", slugs.get(&tool.connector)?, tool.name)))
        .collect())
}

/// The tools of a connector as pages show them, in the server's order.
pub(super) async fn tools(tx: &mut Tx, org: OrgId, row: &ConnectorRow) -> Result<Vec<Tool>> {
    let rows = store::connectors::list_tools_of(tx, org, row.id).await?;
    let others = names_of_others(tx, org, row.id).await?;
    let others: Vec<_> = others.iter().map(String::as_str).collect();
    let mut published = publish(row.slug.as_str(), &rows);
    if row.unprefixed {
        // A name with another connector's prefix leads there.
        let slugs: Vec<_> = store::connectors::list(tx, org).await?.into_iter().map(|row| row.slug).collect();
        for published in published.iter_mut().filter(|published| published.clash.is_none()) {
            let prefix = published.name.split_once(SEPARATOR).map(|(prefix, _)| prefix);
            if prefix.is_some_and(|prefix| slugs.iter().any(|slug| slug.as_str() == prefix)) {
                published.clash = Some(format!("of the connector {}", prefix.unwrap_or_default()));
            }
        }
    }
    Ok(rows.iter().zip(published).map(|(tool, published)| shown(row, tool, published, &others)).collect())
}

/// The tools of a connector that agents are offered: the name behind the prefix, and the definition.
pub(crate) fn offered(connector: &ConnectorRow, rows: Vec<Row>) -> Vec<(String, String)> {
    let published = publish(connector.slug.as_str(), &rows);
    rows.into_iter()
        .zip(published)
        .filter(|(row, published)| {
            row.enabled
                && row.gone_at.is_none()
                && published.clash.is_none()
                && !held(review(row), connector.tool_policy)
        })
        .map(|(row, published)| {
            let definition = match &row.description {
                Some(description) => with_description(&row.definition, description),
                None => row.definition,
            };
            (published.name, definition)
        })
        .collect()
}

fn one<'r>(rows: &'r [Row], name: &str) -> Result<&'r Row> {
    rows.iter().find(|row| row.name == name).ok_or_else(|| Error::not_found("tool"))
}

/// One tool, with all that there is to decide about it.
pub async fn tool(
    env: &Env,
    actor: &OrgActor<can::ConnectorsRead>,
    id: ConnectorId,
    name: &str,
) -> Result<(Connector, ToolDetail)> {
    let mut tx = env.db.read().await?;
    let (connector, all) = read(&mut tx, actor.org(), id).await?;
    let rows = store::connectors::list_tools_of(&mut tx, actor.org(), id).await?;
    let row = one(&rows, name)?;
    let tool = all.into_iter().find(|tool| tool.name == name).ok_or_else(|| Error::not_found("tool"))?;
    let definition: Value = serde_json::from_str(&row.definition).unwrap_or_default();
    let own = definition["description"].as_str().unwrap_or_default();
    let detail = ToolDetail {
        fingerprint: fingerprint(&row.definition),
        pinned: row.pinned.as_deref().map(fingerprint),
        diff: if tool.review == Review::Approved {
            Vec::new()
        } else {
            diff(row.pinned.as_deref(), &row.definition)
        },
        own_description: own.chars().filter(|c| *c == '\n' || text::printable(*c)).collect(),
        tool,
    };
    Ok((connector, detail))
}

/// What may be decided about how a tool is offered. Empty means the server's own.
#[derive(Clone, Debug, Default)]
pub struct ToolChanges {
    /// The name that agents see, without the prefix.
    pub alias: String,
    /// The description that agents see.
    pub description: String,
    /// How long a call may go without progress, seconds.
    pub timeout: String,
}

/// A name that somebody wants a tool to have.
pub(super) fn alias(slug: &str, typed: &str) -> Result<Option<String>> {
    let typed = typed.trim();
    if typed.is_empty() {
        return Ok(None);
    }
    let field = |code: &str, message: String| Err(AppError::field("alias", code, message).into());
    if !typed.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return field("characters", "Use the letters A to Z, digits, and _ . - only".to_owned());
    }
    let room = room(slug);
    if typed.len() > room {
        return field(
            "too_long",
            format!(
                "Use at most {room} characters: with the prefix {slug}__ it would be longer than some clients take"
            ),
        );
    }
    Ok(Some(typed.to_owned()))
}

fn timeout(typed: &str) -> Result<Option<i64>> {
    let typed = typed.trim();
    if typed.is_empty() {
        return Ok(None);
    }
    match typed.parse::<u32>() {
        Ok(seconds @ 1..=MAX_TOOL_TIMEOUT) => Ok(Some(seconds.into())),
        _ => Err(AppError::field(
            "timeout",
            "timeout",
            format!("Enter whole seconds, from 1 to {MAX_TOOL_TIMEOUT}"),
        )
        .into()),
    }
}

/// Decides how a tool is offered: its name, description and time-out.
pub async fn set_tool(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    name: &str,
    changes: &ToolChanges,
) -> Result<()> {
    let org = actor.org();
    let description = text::description("description", &changes.description, MAX_TOOL_DESCRIPTION)?;
    let timeout_seconds = timeout(&changes.timeout)?;
    let mut change = env.change(actor).await?;
    let connector = find(change.tx(), org, id).await?;
    let mut rows = store::connectors::list_tools_of(change.tx(), org, id).await?;
    let before = one(&rows, name)?.clone();
    let mut after = before.clone();
    after.alias = alias(connector.slug.as_str(), &changes.alias)?.filter(|alias| *alias != before.name);
    after.description = (!description.is_empty()).then_some(description);
    after.timeout_seconds = timeout_seconds;
    if let Some(row) = rows.iter_mut().find(|row| row.name == name) {
        *row = after.clone();
    }
    // With its new name it must not stand in another's way, nor the other in its.
    let published = publish(connector.slug.as_str(), &rows);
    let mine = rows.iter().position(|row| row.name == name);
    let clash = rows.iter().zip(&published).enumerate().find_map(|(at, (row, published))| {
        let other = published.clash.as_deref()?;
        if Some(at) == mine { Some(other.to_owned()) } else { (other == name).then(|| row.name.clone()) }
    });
    if let Some(other) = clash.filter(|_| after.alias != before.alias) {
        let mut error = AppError::field(
            "alias",
            "name_taken",
            format!("Choose another name: the tool {other} of this connector has this one"),
        );
        error.kind = ErrorKind::Conflict;
        return Err(error.into());
    }
    store::connectors::set_tool_policy(change.tx(), org, &after).await?;
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    let event = Event::new("mcp.tool_updated")
        .target("connector", id, &connector.name)
        .target("tool", name, name)
        .changed("alias", shown(&before.alias), shown(&after.alias))
        .changed("description", shown(&before.description), shown(&after.description))
        .changed("timeout_seconds", before.timeout_seconds, after.timeout_seconds)
        .publish("mcp.updated", json!({"mcp_id": id, "name": connector.name}));
    change.commit(event).await
}

/// Approves or rejects the definition with this fingerprint, as somebody saw it (UPS-13).
pub async fn review_tool(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    name: &str,
    seen: &str,
    approve: bool,
) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let connector = find(change.tx(), org, id).await?;
    let rows = store::connectors::list_tools_of(change.tx(), org, id).await?;
    let mut row = one(&rows, name)?.clone();
    let now = fingerprint(&row.definition);
    if now != seen {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "changed_meanwhile",
            "The server changed this tool again in the meantime. Nothing was decided: look at it as it is now.",
        )
        .into());
    }
    let old = row.pinned.as_deref().map(fingerprint).unwrap_or_default();
    decide(&mut row, approve, &now, env.now(), actor.principal().name());
    store::connectors::set_tool_review(change.tx(), org, &row).await?;
    let event = Event::new(if approve { "mcp.tool_approved" } else { "mcp.tool_rejected" })
        .target("connector", id, &connector.name)
        .target("tool", name, name)
        .with("approved_before", old)
        .with("fingerprint", now)
        .publish("mcp.updated", json!({"mcp_id": id, "name": connector.name}));
    change.commit(event).await
}

fn decide(row: &mut Row, approve: bool, fingerprint: &str, at: i64, by: &str) {
    if approve {
        row.pinned = Some(row.definition.clone());
        row.rejected = None;
    } else {
        row.rejected = Some(fingerprint.to_owned());
    }
    row.reviewed_at = Some(at);
    row.reviewed_by = Some(by.to_owned());
}

/// Approves every tool that nobody has looked at yet: as after adding a server that one trusts. Those that changed are
/// looked at one by one. How many it were.
pub async fn approve_new(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
) -> Result<usize> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let connector = find(change.tx(), org, id).await?;
    let rows = store::connectors::list_tools_of(change.tx(), org, id).await?;
    let mut event = Event::new("mcp.tool_approved").target("connector", id, &connector.name);
    let mut count = 0;
    for mut row in rows.into_iter().filter(|row| row.gone_at.is_none() && review(row) == Review::New) {
        let now = fingerprint(&row.definition);
        decide(&mut row, true, &now, env.now(), actor.principal().name());
        store::connectors::set_tool_review(change.tx(), org, &row).await?;
        event = event.target("tool", &row.name, &row.name);
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    change
        .commit(event.publish("mcp.updated", json!({"mcp_id": id, "name": connector.name})))
        .await
        .map(|()| count)
}

/// Decides what a new or changed tool does before somebody has looked at it.
pub async fn set_tool_policy(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    policy: ToolPolicy,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    if row.tool_policy == policy {
        return Ok(());
    }
    store::connectors::set_policy(change.tx(), actor.org(), id, policy, env.now()).await?;
    let event = Event::new("mcp.updated")
        .target("connector", id, &row.name)
        .changed("tool_policy", row.tool_policy.as_str(), policy.as_str())
        .publish("mcp.updated", json!({"mcp_id": id, "name": row.name}));
    change.commit(event).await
}

/// Decides whether a connector's names stand on the organisation's endpoint without its prefix. Only a connector that is the
/// organisation's only one can lose it, so that no two take each other's names; it keeps its names when others come.
pub async fn set_unprefixed(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    unprefixed: bool,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    if row.unprefixed == unprefixed {
        return Ok(());
    }
    if unprefixed && store::connectors::list(change.tx(), actor.org()).await?.len() > 1 {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "prefix_needed",
            "This organisation has other connectors, so names need the prefix to tell them apart. Nothing was changed.",
        )
        .into());
    }
    store::connectors::set_unprefixed(change.tx(), actor.org(), id, unprefixed, env.now()).await?;
    let word = |unprefixed| if unprefixed { "off" } else { "on" };
    let event = Event::new("mcp.updated")
        .target("connector", id, &row.name)
        .changed("prefix", word(row.unprefixed), word(unprefixed))
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
