//! Asking connectors: when they are added or changed, when somebody wants to know, and in the background; and what is
//! kept of the answer.

use std::{collections::HashSet, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{
    AppError, ConnectorId, OrgId,
    connectors::{Health, Probe, ToolPolicy, Transport},
    permissions::can,
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use store::{
    Tx,
    connectors::{Checked, Connector as Row, Tool as ToolRow},
};

use super::{
    definition::{fingerprint, held, review},
    find, history, local,
    secrets::{Target, sealed, version},
};
use crate::{
    Env, Error, OrgActor, Result,
    change::{Change, Event},
    mcp::{
        tools::SEPARATOR,
        upstream::{Key, ProbeReport, Upstream, UpstreamError},
    },
    net::{NetError, ProcessFault},
    orgs,
    upstream_oauth::{
        Authorized,
        standing::{self, Standing},
    },
};

/// Failed checks in a row after which a connector counts as down (UPS-15).
const DOWN_AFTER: i64 = 3;

/// What came of asking a server.
pub(super) struct Asked {
    /// What it is and offers.
    pub(super) found: core::result::Result<ProbeReport, UpstreamError>,
    /// The last that it wrote to its standard error, if it runs on this machine.
    said: Option<String>,
}

impl Asked {
    /// The failure for the person who entered where the server is, at the field where they did.
    pub(super) fn refusal(&self, why: &UpstreamError, transport: Transport) -> Error {
        let field = if transport == Transport::Stdio { local::FIELD } else { "url" };
        let said = self.said.as_ref().map(|said| format!(" Its standard error ends with: {said}"));
        AppError::field(field, why.word(), format!("{why}{}", said.unwrap_or_default())).into()
    }
}

/// Asks a server what it is and offers, before anything of it is kept. `slug` is the length of what will stand before
/// its tools' names.
pub(super) async fn ask(env: &Env, org: OrgId, target: &Target, slug: usize) -> Result<Asked> {
    let slug = slug + SEPARATOR.len();
    if target.transport != Transport::Stdio {
        return Ok(Asked { found: client(env, target, None, None)?.probe(slug).await, said: None });
    }
    let org = local::org_slug(&mut env.db.read().await?, org).await?;
    // Nobody's id, to hear what the process writes.
    let trial = ConnectorId::from_uuid(env.uuid());
    let way = env.upstreams.local(local::name(&target.url), &org, Some(trial), target.first_byte);
    let upstream = Upstream::Http(way);
    let found = upstream.probe(slug).await;
    Ok(Asked { found, said: local::last_words(&env.upstreams.stdio().report(trial)) })
}

/// A client of a server. `version` is the revision that it spoke before, `standing` its OAuth tokens, where it has some.
fn client(env: &Env, target: &Target, version: Option<&str>, standing: Option<Standing>) -> Result<Upstream> {
    let wrong = || Error::Internal("a checked URL or header cannot be sent".into());
    Ok(match target.transport {
        Transport::Demo => env.upstreams.demo(),
        Transport::Stdio => return Err(Error::Internal("a server on this machine has no address".into())),
        Transport::Http | Transport::Sse => {
            let mut map = HeaderMap::new();
            for (name, value) in &target.headers {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
                let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| wrong())?;
                value.set_sensitive(true);
                map.insert(name, value);
            }
            let uri = target.whole_url().expose_secret().parse().map_err(|_| wrong())?;
            let way = match standing {
                None => env.upstreams.exchange(),
                Some(standing) => {
                    Arc::new(Authorized::new(env.upstreams.exchange(), Arc::new(env.clone()), standing))
                }
            };
            let old = target.transport == Transport::Sse;
            Upstream::Http(
                env.upstreams
                    .http(way, uri, map, target.first_byte)
                    .expecting(version)
                    .with_old_transport(old),
            )
        }
    })
}

/// Whether a failure may be gone later, so that the connector is worth keeping.
pub(super) fn may_pass(why: &UpstreamError) -> bool {
    match why {
        UpstreamError::Net(NetError::Blocked(_) | NetError::Process(ProcessFault::NotListed)) => false,
        UpstreamError::Net(_)
        | UpstreamError::Timeout(_)
        | UpstreamError::NeedsAuth { .. }
        | UpstreamError::NotAuthorized(_)
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

/// Writes what a check found that took so many milliseconds: health with hysteresis, names, tools. What
/// changed among the tools.
pub(super) async fn note_check(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    row: &Row,
    found: core::result::Result<&ProbeReport, &UpstreamError>,
    took: i64,
) -> Result<Changed> {
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
        transport: report.and_then(|report| match row.transport {
            Transport::Http | Transport::Sse => {
                Some(if report.old_transport { Transport::Sse } else { Transport::Http })
            }
            Transport::Demo | Transport::Stdio => None,
        }),
    };
    store::connectors::set_health(tx, org, row.id, &checked).await?;
    history::note(tx, org, row.id, env.now(), took, reason.as_deref()).await?;
    let Some(report) = report else { return Ok(Changed::default()) };
    let mut changed = put_tools(tx, org, row, env.now(), report).await?;
    if report.instructions != row.instructions {
        store::connectors::set_instructions(tx, org, row.id, report.instructions.as_deref()).await?;
        changed.instructions = true;
    }
    Ok(changed)
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

/// Keeps what a server offers. What somebody decided about a tool is kept when its server leaves it out: should it come
/// back, it must not come back as another.
async fn put_tools(tx: &mut Tx, org: OrgId, row: &Row, at: i64, report: &ProbeReport) -> Result<Changed> {
    let connector = row.id;
    let old = store::connectors::list_tools_of(tx, org, connector).await?;
    let offered: HashSet<&str> = report.list.tools.iter().map(|tool| tool.name.as_str()).collect();
    let (current, gone): (Vec<_>, Vec<_>) = old.iter().partition(|tool| offered.contains(tool.name.as_str()));
    let gone: Vec<_> = gone.into_iter().filter(|tool| tool.gone_at.is_none()).collect();
    let same = gone.is_empty()
        && current.len() == report.list.tools.len()
        && current.iter().zip(&report.list.tools).all(|(old, new)| {
            old.name == new.name && old.definition == new.raw.get() && old.gone_at.is_none()
        });
    let mut changed = Changed::default();
    if same {
        return Ok(changed);
    }
    changed.any = true;
    for gone in gone {
        if is_decided(gone, row.tool_policy) {
            store::connectors::set_tool_gone(tx, org, connector, &gone.name, at).await?;
        } else {
            store::connectors::delete_tool(tx, org, connector, &gone.name).await?;
        }
        changed.removed.push(gone.name.clone());
    }
    for (position, tool) in (0..).zip(&report.list.tools) {
        let definition = tool.raw.get().to_owned();
        match current.iter().find(|old| old.name == tool.name) {
            None => changed.added.push(tool.name.clone()),
            Some(old)
                if old.definition != definition
                    && fingerprint(&old.definition) != fingerprint(&definition) =>
            {
                changed.altered.push(tool.name.clone());
            }
            Some(_) => {}
        }
        let tool = ToolRow {
            connector,
            name: tool.name.clone(),
            // Under the milder policy what comes first is what is expected; under the stricter one somebody approves it.
            pinned: (row.tool_policy == ToolPolicy::Alert).then(|| definition.clone()),
            definition,
            enabled: true,
            alias: None,
            description: None,
            timeout_seconds: None,
            rejected: None,
            reviewed_at: None,
            reviewed_by: None,
            gone_at: None,
        };
        store::connectors::put_tool(tx, org, &tool, position).await?;
    }
    Ok(changed)
}

/// Whether somebody decided something about a tool, or should.
fn is_decided(tool: &ToolRow, policy: ToolPolicy) -> bool {
    !tool.enabled
        || tool.alias.is_some()
        || tool.description.is_some()
        || tool.timeout_seconds.is_some()
        || tool.reviewed_at.is_some()
        || held(review(tool), policy)
}

/// What changed among the tools of a server.
#[derive(Debug, Default)]
pub(super) struct Changed {
    any: bool,
    added: Vec<String>,
    altered: Vec<String>,
    removed: Vec<String>,
    /// Whether the server says something else about how to use it.
    instructions: bool,
}

/// Tries a connector now and keeps what it found. A failure is an answer, not an error.
pub async fn test(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
) -> Result<core::result::Result<Probe, String>> {
    let found = check(env, actor, id, true).await?;
    let found = found.ok_or_else(|| Error::Internal("a check that was asked for was not made".into()))?;
    Ok(found.map(|report| summary(&report)).map_err(|why| why.to_string()))
}

/// Asks a connector what it offers and writes it down. Events are written only for what changed. A server on this machine
/// is woken up for it only if it is `wanted`.
async fn check<P: model::permissions::Grant>(
    env: &Env,
    actor: &OrgActor<P>,
    id: ConnectorId,
    wanted: bool,
) -> Result<Option<core::result::Result<ProbeReport, UpstreamError>>> {
    let org = actor.org();
    let (row, rows, target, standing, slug) = {
        let mut tx = env.db.read().await?;
        let row = find(&mut tx, org, id).await?;
        let slug = match row.transport {
            Transport::Stdio => local::org_slug(&mut tx, org).await?,
            _ => String::new(),
        };
        let rows = sealed(&mut tx, org, id).await?;
        let data_key = orgs::data_key(env, &mut tx, org).await?;
        let target = Target::open(&data_key, org, &row, &rows)?;
        let standing = standing::for_check(env, &mut tx, org, &row).await?;
        (row, rows, target, standing, slug)
    };
    if row.transport == Transport::Stdio
        && !wanted
        && row.health == Health::Healthy
        && env.upstreams.stdio().sleeps(local::name(&row.url), id)
    {
        return Ok(None);
    }
    // The client that calls use: it knows the server's era and session, and its breaker hears what the check finds. With
    // tokens the check goes by itself, as those of calls may be of many people.
    let key = Key { connector: id, version: version(&row, &rows) };
    let spoke = row.protocol_version.as_deref();
    let upstream = if row.transport == Transport::Stdio {
        let name = local::name(&row.url);
        let made = || env.upstreams.local(name, &slug, Some(id), target.first_byte).expecting(spoke);
        env.upstreams.get(key, || Upstream::Http(made()))
    } else {
        let alone = standing.is_some();
        let made = client(env, &target, spoke, standing)?;
        if alone { made } else { env.upstreams.get(key, || made) }
    };
    let began = env.now();
    let found = upstream.probe(row.slug.as_str().len() + SEPARATOR.len()).await;
    let took = env.now() - began;
    let mut change = env.change(actor).await?;
    // It may have been changed or deleted while the network was slow: the check then says nothing about what is there now.
    let Some(now) = store::connectors::find(change.tx(), org, id).await? else { return Ok(Some(found)) };
    if now.url != row.url || sealed(change.tx(), org, id).await? != rows {
        return Ok(Some(found));
    }
    let changed = note_check(env, change.tx(), org, &now, found.as_ref(), took).await?;
    finish_check(change, org, &now, changed).await?;
    Ok(Some(found))
}

async fn finish_check(mut change: Change, org: OrgId, old: &Row, changed: Changed) -> Result<()> {
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
        .with("added", changed.added.clone())
        .with("changed", changed.altered.clone())
        .with("removed", changed.removed.clone())
        .publish(
            "mcp.tools_changed",
            json!({
                "mcp_id": old.id,
                "name": old.name,
                "added": changed.added,
                "changed": changed.altered,
                "removed": changed.removed,
            }),
        );
    match (health_changed, changed.any) {
        (true, true) => {
            change.record(&tools).await?;
            change.commit(health).await
        }
        (true, false) => change.commit(health).await,
        (false, true) => change.commit(tools).await,
        (false, false) if changed.instructions => {
            let said = Event::new("mcp.updated")
                .target("connector", old.id, &old.name)
                .with("instructions", "changed")
                .publish("mcp.updated", json!({"mcp_id": old.id, "name": old.name}));
            change.commit(said).await
        }
        (false, false) => change.keep_quiet().await,
    }
}

/// Starts those servers on this machine that are to run all the time and do not, by asking them. Called once a minute.
pub async fn keep_running(env: &Env) -> Result<()> {
    let stdio = env.upstreams.stdio();
    if !stdio.any_always() {
        return Ok(());
    }
    let all = {
        let mut tx = env.db.read().await?;
        store::connectors::list_enabled_by_transport(&mut tx, Transport::Stdio).await?
    };
    for (org, id) in all {
        if !stdio.report(id).running.is_empty() {
            continue;
        }
        let always = {
            let mut tx = env.db.read().await?;
            let Some(row) = store::connectors::find(&mut tx, org, id).await? else { continue };
            let slug = local::org_slug(&mut tx, org).await?;
            stdio.find(local::name(&row.url), &slug).is_some_and(|server| server.always)
        };
        if always {
            let system = OrgActor::<can::ConnectorsWrite>::system(org);
            if let Err(error) = check(env, &system, id, true).await {
                tracing::warn!(%error, org.id = %org, connector.id = %id, "a server on this machine could not be started");
            }
        }
    }
    Ok(())
}

/// Checks connectors that were not looked at for `interval` milliseconds, at most `limit` of them, a few at a time.
/// How many were checked. Several processes that do this at once check each connector once (UPS-15).
pub async fn check_due(env: &Env, interval: i64, limit: i64) -> Result<usize> {
    use futures_util::StreamExt as _;
    let due = {
        let mut tx = env.db.write().await?;
        let now = env.now();
        let due = store::connector_health::claim(&mut tx, now, now - interval, now + interval, limit).await?;
        tx.commit().await?;
        due
    };
    let count = due.len();
    futures_util::stream::iter(due)
        .for_each_concurrent(8, |(org, id)| async move {
            if let Err(error) = check(env, &OrgActor::<can::ConnectorsWrite>::system(org), id, false).await {
                tracing::warn!(%error, org.id = %org, connector.id = %id, "a connector could not be checked");
            }
            if let Err(error) = put_off(env, org, id, interval).await {
                tracing::warn!(%error, org.id = %org, connector.id = %id, "the next check of a connector was not set");
            }
        })
        .await;
    Ok(count)
}

/// Sets the next check: up to a fifth later than the interval says, so that connectors that were added together are not
/// checked together for ever.
async fn put_off(env: &Env, org: OrgId, id: ConnectorId, interval: i64) -> Result<()> {
    let mut random = [0; 4];
    env.rng.fill(&mut random);
    let later = i64::from(u32::from_le_bytes(random)) * (interval / 5) / i64::from(u32::MAX);
    let mut tx = env.db.write().await?;
    store::connector_health::set_next(&mut tx, org, id, env.now() + interval + later).await?;
    Ok(tx.commit().await?)
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
}
