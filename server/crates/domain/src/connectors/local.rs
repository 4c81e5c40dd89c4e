//! Connectors to servers on this machine. An organisation chooses from what the operator offers it; it never names a
//! command.

use model::{
    AppError, ConnectorId, OrgId,
    connectors::{LocalLine, LocalServer, LocalState, STDIO, Transport},
    permissions::can,
};
use store::Tx;

use super::find;
use crate::{Env, Error, OrgActor, Result, mcp::upstream::stdio::ProcessReport};

/// The field of a form where one is chosen.
pub(super) const FIELD: &str = "local";
/// The most that is repeated of what a server wrote, characters.
const LAST_WORDS: usize = 300;

/// The last line that a process wrote itself.
pub(super) fn last_words(report: &ProcessReport) -> Option<String> {
    let line = report.log.iter().rev().find(|line| !line.own && !line.text.trim().is_empty())?;
    Some(line.text.trim().chars().filter(|c| model::text::printable(*c)).take(LAST_WORDS).collect())
}

/// The name in what a connector has instead of a URL.
pub(crate) fn name(url: &str) -> &str {
    url.strip_prefix(STDIO).unwrap_or_default()
}

/// The slug by which the operator names an organisation.
pub(super) async fn org_slug(tx: &mut Tx, org: OrgId) -> Result<String> {
    let found = store::orgs::find(tx, org).await?.ok_or_else(|| Error::not_found("organisation"))?;
    Ok(found.slug.to_string())
}

/// What the operator offers the organisation, by name.
pub async fn offered(env: &Env, actor: &OrgActor<can::ConnectorsWrite>) -> Result<Vec<LocalServer>> {
    let org = org_slug(&mut env.db.read().await?, actor.org()).await?;
    let servers = env.upstreams.stdio().offered(&org);
    Ok(servers.map(|server| LocalServer { name: server.name.clone(), about: server.about.clone() }).collect())
}

/// Refuses a server that is not offered, before anything else is done.
pub(super) async fn check_offered(env: &Env, org: OrgId, url: &str) -> Result<()> {
    let slug = org_slug(&mut env.db.read().await?, org).await?;
    if env.upstreams.stdio().find(name(url), &slug).is_some() {
        return Ok(());
    }
    Err(AppError::field(
        FIELD,
        "not_offered",
        "Choose a server that the operator of this Gatehouse offers: they list it, with its command, in the configuration file",
    )
    .into())
}

/// How the server of a connector does, and what it wrote to its standard error: that is for those who look after it.
/// Nothing for a server elsewhere.
pub async fn state(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
) -> Result<Option<LocalState>> {
    let row = find(&mut env.db.read().await?, actor.org(), id).await?;
    if row.transport != Transport::Stdio {
        return Ok(None);
    }
    let report = env.upstreams.stdio().report(id);
    let log = report.log.into_iter().map(|line| LocalLine { at: line.at, own: line.own, text: line.text });
    Ok(Some(LocalState { running: report.running, rests: report.rests, log: log.collect() }))
}
