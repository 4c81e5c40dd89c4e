//! Connectors that come from a file: each is checked like one that somebody adds, and all of them are made, or none.

use core::time::Duration;

use futures_util::{StreamExt as _, stream};
use model::{
    AppError, ConnectorSlug, ErrorKind, OrgId,
    connectors::{MAX_DESCRIPTION, MAX_NAME, MAX_TOOL_DESCRIPTION, MAX_TOOL_TIMEOUT, ToolPolicy, Transport},
    permissions::can,
    text,
};
use serde_json::json;
use store::{Tx, connectors::Tool as ToolRow};

use super::{
    DEMO_URL, EXAMPLE, MOST_CONNECTORS,
    check::{ask, may_pass, note_check},
    input::{Query, parse_patience, parse_slug, parse_url},
    local, new_row, policy,
    secrets::Target,
};
use crate::{Env, OrgActor, Result, change::Event, mcp::upstream::ProbeReport};

/// Servers that are asked at once.
const AT_ONCE: usize = 16;
/// How long an answer is waited for. A server that takes longer is checked when its turn comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What people decided about a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// The tool's name at its server.
    pub(crate) name: String,
    /// Whether agents are offered it.
    pub(crate) enabled: bool,
    /// The name that agents see.
    pub(crate) alias: String,
    /// The description that agents see.
    pub(crate) description: String,
    /// How long a call may go without progress, seconds.
    pub(crate) timeout: Option<i64>,
}

impl Decided {
    fn is_usual(&self) -> bool {
        self.enabled && self.alias.is_empty() && self.description.is_empty() && self.timeout.is_none()
    }
}

/// A connector as a file has it, understood as far as it can be without its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Display name.
    pub(crate) name: String,
    /// Its slug.
    pub(crate) slug: ConnectorSlug,
    /// Free text.
    pub(crate) description: String,
    /// How it is reached.
    pub(crate) transport: Transport,
    /// Where it is, without a query.
    pub(crate) url: String,
    /// Whether its tools are offered.
    pub(crate) enabled: bool,
    /// What a new tool does before somebody has looked at it.
    pub(crate) tool_policy: ToolPolicy,
    /// The patience with its server, seconds.
    pub(crate) patience: Option<i64>,
    /// What people decided about its tools.
    pub(crate) tools: Vec<Decided>,
}

/// What a file says of a connector, before it is checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    pub(crate) name: String,
    pub(crate) slug: String,
    pub(crate) description: String,
    pub(crate) transport: String,
    pub(crate) url: String,
    pub(crate) enabled: bool,
    pub(crate) tool_policy: String,
    pub(crate) patience: Option<i64>,
    pub(crate) tools: Vec<Decided>,
}

fn field(name: &str, message: impl Into<String>) -> AppError {
    AppError::field(name, "value", message)
}

impl Candidate {
    /// Checks what can be checked without asking anybody. An error names the field of the connector.
    pub(crate) fn check(typed: Typed) -> Result<Self> {
        let name = text::name("name", "the connector", &typed.name, MAX_NAME)?;
        let slug = parse_slug(&typed.slug)?;
        let description = text::description("description", &typed.description, MAX_DESCRIPTION)?;
        let transport = Transport::parse(&typed.transport)
            .ok_or_else(|| field("transport", "Use http, stdio or demo"))?;
        let url = match transport {
            Transport::Demo => DEMO_URL.to_owned(),
            Transport::Stdio => typed.url.trim().to_owned(),
            Transport::Http | Transport::Sse => {
                let (url, query) = parse_url(&typed.url, "the server's", EXAMPLE)?;
                if !matches!(query, Query::Set(None)) {
                    return Err(field(
                        "url",
                        "Leave out what stands after ?: it may hold a key, and is entered anew after the import",
                    )
                    .into());
                }
                url.into()
            }
        };
        let tool_policy = match typed.tool_policy.as_str() {
            "alert" => ToolPolicy::Alert,
            "block" => ToolPolicy::Block,
            _ => return Err(field("tool_policy", "Use alert or block").into()),
        };
        let patience = match typed.patience {
            None => None,
            Some(seconds) => parse_patience(&seconds.to_string()).map_err(|_| {
                let (least, most) = model::connectors::FIRST_BYTE_RANGE;
                field(
                    "first_byte_seconds",
                    format!("Use a number of seconds from {least} to {most}, or null"),
                )
            })?,
        };
        for tool in &typed.tools {
            check_tool(slug.as_str(), tool)?;
        }
        Ok(Self {
            name,
            slug,
            description,
            transport,
            url,
            enabled: typed.enabled,
            tool_policy,
            patience,
            tools: typed.tools,
        })
    }

    fn target(&self) -> Target {
        Target {
            transport: self.transport,
            url: self.url.clone(),
            query: None,
            headers: Vec::new(),
            first_byte: super::first_byte(self.patience),
        }
    }
}

fn check_tool(slug: &str, tool: &Decided) -> Result<()> {
    let at = |what: &str, message: String| field(what, format!("{}: {message}", tool.name));
    if tool.name.is_empty() || tool.name.chars().count() > 256 || !tool.name.chars().all(text::printable) {
        return Err(field("tools", "Use a tool's name of 1 to 256 printable characters").into());
    }
    policy::alias(slug, &tool.alias)?;
    text::description("tools", &tool.description, MAX_TOOL_DESCRIPTION)?;
    if tool.timeout.is_some_and(|seconds| !(1..=i64::from(MAX_TOOL_TIMEOUT)).contains(&seconds)) {
        return Err(
            at("tools", format!("use a timeout_seconds from 1 to {MAX_TOOL_TIMEOUT}, or null")).into()
        );
    }
    Ok(())
}

/// What a server said, if it was quick enough.
pub(crate) type Found = Option<(core::result::Result<ProbeReport, crate::mcp::upstream::UpstreamError>, i64)>;

/// Checks where each connector is as [`super::add`] does: whether it may be reached at all, what is there. What a server says
/// only counts where it will not go away: one that wants credentials, or does not answer now, is kept.
///
/// # Errors
/// The number of the connector that cannot be made, and why.
pub(crate) async fn check_all(
    env: &Env,
    org: OrgId,
    candidates: &[Candidate],
) -> core::result::Result<Vec<Found>, (usize, crate::Error)> {
    let asked = candidates.iter().cloned().enumerate().map(|(at, candidate)| {
        let env = env.clone();
        async move { check_one(&env, org, &candidate).await.map_err(|why| (at, why)) }
    });
    let asked: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    asked.into_iter().collect()
}

async fn check_one(env: &Env, org: OrgId, candidate: &Candidate) -> Result<Found> {
    match candidate.transport {
        Transport::Stdio => {
            local::check_offered(env, org, &candidate.url).await.map_err(|_| {
                field("url", "The operator of this Gatehouse offers no such server; they list those on this machine in the configuration file")
            })?;
            // It is started when its first check is due.
            return Ok(None);
        }
        Transport::Demo if !env.settings.demo => {
            return Err(field("transport", "This instance has no demo server").into());
        }
        Transport::Demo | Transport::Http | Transport::Sse => {}
    }
    let target = candidate.target();
    let began = env.now();
    let answer = tokio::time::timeout(PATIENCE, ask(env, org, &target, candidate.slug.as_str().len()));
    let Ok(asked) = answer.await else { return Ok(None) };
    let asked = asked?;
    if let Err(why) = &asked.found
        && !may_pass(why)
    {
        return Err(asked.refusal(why, target.transport));
    }
    Ok(Some((asked.found, env.now() - began)))
}

/// Makes all of them in one transaction, each with its event.
pub(crate) async fn make_all(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    from: &str,
    made: Vec<(Candidate, ConnectorSlug, Found)>,
) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let there = store::connectors::list(change.tx(), org).await?.len();
    if there + made.len() > MOST_CONNECTORS {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "too_many_connectors",
            format!(
                "An organisation has at most {MOST_CONNECTORS} connectors; this one has {there}, and {} would come. Nothing was added: delete some, or shorten the file.",
                made.len()
            ),
        )
        .into());
    }
    let mut events = Vec::new();
    for (candidate, slug, found) in made {
        let mut row =
            new_row(env, slug, candidate.name.clone(), candidate.description.clone(), &candidate.target());
        row.enabled = candidate.enabled;
        row.tool_policy = candidate.tool_policy;
        row.first_byte_seconds = candidate.patience;
        match store::connectors::insert(change.tx(), org, &row).await {
            Err(store::Error::Taken(_)) => {
                return Err(AppError::new(
                    ErrorKind::Conflict,
                    "changed_meanwhile",
                    format!("Somebody took the slug {} in the meantime. Nothing was added: look at the plan again.", row.slug),
                )
                .into());
            }
            done => done?,
        }
        if row.first_byte_seconds.is_some() {
            store::connectors::update(change.tx(), org, &row).await?;
        }
        store::connectors::set_policy(change.tx(), org, row.id, row.tool_policy, row.updated_at).await?;
        for tool in candidate.tools.iter().filter(|tool| !tool.is_usual()) {
            put_decided(env, change.tx(), org, &row, tool).await?;
        }
        if let Some((found, took)) = found {
            note_check(env, change.tx(), org, &row, found.as_ref(), took).await?;
        }
        events.push(
            Event::new("mcp.created")
                .target("connector", row.id, &row.name)
                .with("slug", row.slug.as_str())
                .with("url", row.url.as_str())
                .with("imported_from", from)
                .publish("mcp.created", json!({"mcp_id": row.id, "name": row.name})),
        );
    }
    let Some(last) = events.pop() else { return Ok(()) };
    for event in &events {
        change.record(event).await?;
    }
    change.commit(last).await
}

/// Keeps what was decided about a tool until its server says that there is one: the definition in a file is nobody's word.
async fn put_decided(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    row: &store::connectors::Connector,
    decided: &Decided,
) -> Result<()> {
    let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let tool = ToolRow {
        connector: row.id,
        name: decided.name.clone(),
        definition: json!({"name": decided.name, "inputSchema": {"type": "object"}}).to_string(),
        enabled: decided.enabled,
        alias: some(&decided.alias).filter(|alias| *alias != decided.name),
        description: some(&decided.description),
        timeout_seconds: decided.timeout,
        pinned: None,
        rejected: None,
        reviewed_at: None,
        reviewed_by: None,
        gone_at: None,
    };
    store::connectors::put_tool(tx, org, &tool, 0).await?;
    store::connectors::set_tool_policy(tx, org, &tool).await?;
    store::connectors::set_tool_gone(tx, org, row.id, &tool.name, env.now()).await?;
    Ok(())
}
