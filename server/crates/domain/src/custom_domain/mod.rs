//! The host name of its own that an organisation's endpoint answers on (TEN-06).
//!
//! Whoever can set two records has a host: a CNAME that leads here, and a TXT record with a token of the claim's own. A claim
//! that is not proven counts for nothing, and keeps nobody from proving the same host; of two who prove it, one has it. How it
//! is looked at, and what comes of that, is [`check`].

mod check;
mod host;

pub use check::{check_due, verify};
use model::{
    AppError, ErrorKind, OrgId, Plan,
    custom_domain::{CustomDomain, DomainAnswer, DomainPage, DomainState, SEARCH_HOURS},
    orgs::Org,
    paths,
    permissions::can,
};
use store::{Tx, custom_domains::CustomDomain as Row};

use crate::{Env, Error, OrgActor, Result, change::Event, records};

const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;
/// How long records are looked for by themselves.
const SEARCH: i64 = SEARCH_HOURS * HOUR;

fn record(host: &str) -> String {
    format!("_gatehouse-verify.{host}")
}

fn value(row: &Row) -> String {
    format!("gatehouse-domain={}", row.token)
}

fn state(row: &Row) -> (DomainState, i64) {
    match row {
        Row { verified_at: Some(_), failing_since: Some(at), .. } => (DomainState::Failing, *at),
        Row { verified_at: Some(at), .. } => (DomainState::Verified, *at),
        Row { next_check_at: Some(_), .. } => (DomainState::Pending, row.sought_since),
        Row { lapsed_at: Some(at), .. } => (DomainState::Lapsed, *at),
        _ => (DomainState::GaveUp, row.sought_since + SEARCH),
    }
}

/// An observation as it is stored. One that does not read is none.
fn seen(row: &Row) -> Option<DomainAnswer> {
    serde_json::from_str(row.seen.as_deref()?)
        .inspect_err(|error| tracing::error!(%error, "what was seen of a domain does not read"))
        .ok()
}

fn shown(env: &Env, row: &Row) -> CustomDomain {
    let (state, since) = state(row);
    let ends_at = match state {
        DomainState::Pending => Some(since + SEARCH),
        DomainState::Failing => Some(since + records::GRACE),
        DomainState::Verified | DomainState::GaveUp | DomainState::Lapsed => None,
    };
    CustomDomain {
        state,
        since,
        ends_at,
        next_check_at: row.next_check_at,
        record: record(&row.host),
        value: value(row),
        endpoint: endpoint_at(env, &row.host),
        seen: seen(row),
        host: row.host.clone(),
    }
}

fn no_org() -> Error {
    Error::not_found("organisation")
}

fn no_domain() -> Error {
    Error::not_found("domain")
}

fn entitled(plan: Plan) -> Result<()> {
    if plan.custom_domain() {
        return Ok(());
    }
    Err(AppError::new(
        ErrorKind::Forbidden,
        "plan",
        format!("The plan {plan} does not include a custom domain; Pro, Team and Enterprise do. Nothing was changed."),
    )
    .into())
}

/// What the page shows.
pub async fn page(env: &Env, actor: &OrgActor<can::DomainsRead>) -> Result<DomainPage> {
    let mut tx = env.db.read().await?;
    let org = store::orgs::find(&mut tx, actor.org()).await?.ok_or_else(no_org)?;
    let row = store::custom_domains::find(&mut tx, actor.org()).await?;
    Ok(DomainPage {
        plan: org.plan,
        target: env.settings.gateway_host.clone(),
        domain: row.map(|row| shown(env, &row)),
        endpoint: env.settings.absolute(&paths::mcp(org.slug.as_str())),
        now: env.now(),
    })
}

/// The host of the organisation's own, while its endpoint answers there.
pub(crate) async fn host_in_use(tx: &mut Tx, org: OrgId) -> Result<Option<String>> {
    let row = store::custom_domains::find(tx, org).await?.filter(|row| row.verified_at.is_some());
    let Some(row) = row else { return Ok(None) };
    Ok((owner(tx, &row.host).await? == Some(org)).then_some(row.host))
}

/// When the records of the organisation's domain were last looked at, Unix milliseconds.
pub(crate) async fn looked_at(tx: &mut Tx, org: OrgId) -> Result<Option<i64>> {
    let row = store::custom_domains::find(tx, org).await?;
    Ok(row.and_then(|row| seen(&row)).map(|seen| seen.at))
}

/// Where an organisation's endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// On the domain of its own, while that is in use.
    pub own: Option<String>,
    /// At this instance: with or without a domain.
    pub instance: String,
}

impl Addresses {
    /// The one that clients are connected to, and the other one, if there are two.
    pub fn split(self) -> (String, Option<String>) {
        match self.own {
            Some(own) => (own, Some(self.instance)),
            None => (self.instance, None),
        }
    }
}

/// Where an organisation's endpoint answers now.
pub(crate) async fn addresses(env: &Env, tx: &mut Tx, org: &Org) -> Result<Addresses> {
    let own = host_in_use(tx, org.id).await?.map(|host| endpoint_at(env, &host));
    Ok(Addresses { own, instance: env.settings.absolute(&paths::mcp(org.slug.as_str())) })
}

/// The organisation, and where its endpoint answers. Every member may know that.
pub async fn of(env: &Env, actor: &OrgActor<can::ConnectorsRead>) -> Result<(Org, Addresses)> {
    let mut tx = env.db.read().await?;
    let org = store::orgs::find(&mut tx, actor.org()).await?.ok_or_else(no_org)?;
    let addresses = addresses(env, &mut tx, &org).await?;
    Ok((org, addresses))
}

fn endpoint_at(env: &Env, host: &str) -> String {
    format!("{}{}", env.settings.base_at(host), paths::mcp_at_domain())
}

/// Claims a domain. It counts for nothing before it is proven; its records are looked for from now on.
pub async fn add(env: &Env, actor: &OrgActor<can::DomainsManage>, host: &str) -> Result<()> {
    let host = host::parse(&env.settings, host)?;
    let mut change = env.change(actor).await?;
    let org = store::orgs::find(change.tx(), actor.org()).await?.ok_or_else(no_org)?;
    entitled(org.plan)?;
    let (now, token) = (env.now(), env.token());
    match store::custom_domains::insert(change.tx(), actor.org(), (&host, &token), now, now + check::SOON)
        .await
    {
        Err(store::Error::Taken(_)) => {
            return Err(AppError::field(
                "host",
                "one_domain",
                "The organisation has a domain already. Nothing was changed; remove that one first",
            )
            .into());
        }
        done => done?,
    }
    change.commit(Event::new("domain.added").target("domain", &host, &host)).await
}

/// Gives the domain up: it is out of use from now on. `confirmed` is what somebody typed to confirm it, where a person is
/// asked.
pub async fn remove(env: &Env, actor: &OrgActor<can::DomainsManage>, confirmed: Option<&str>) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = store::custom_domains::find(change.tx(), actor.org()).await?.ok_or_else(no_domain)?;
    let same = |typed: &str| typed.trim().trim_end_matches('.').eq_ignore_ascii_case(&row.host);
    if !confirmed.is_none_or(same) {
        let words = format!("Type {} to remove it. Nothing was changed", row.host);
        return Err(AppError::field("host", "confirm", words).into());
    }
    store::custom_domains::delete(change.tx(), actor.org()).await?;
    let event = Event::new("domain.removed").target("domain", &row.host, &row.host);
    change.commit(event.with("was_in_use", row.verified_at.is_some())).await
}

/// Whose a host is that is in use: of an organisation that works, whose plan has a domain in it.
pub(crate) async fn owner(tx: &mut Tx, host: &str) -> Result<Option<OrgId>> {
    let found = store::custom_domains::find_in_use(tx, host).await?;
    Ok(found.filter(|(_, plan)| may(plan)).map(|(org, _)| org))
}

/// All hosts that are in use, with whose they are.
pub(crate) async fn in_use(tx: &mut Tx) -> Result<Vec<(String, OrgId)>> {
    let all = store::custom_domains::list_in_use(tx).await?;
    Ok(all.into_iter().filter(|(_, _, plan)| may(plan)).map(|(host, org, _)| (host, org)).collect())
}

/// Whether the plan of this name has a domain in it.
fn may(plan: &str) -> bool {
    Plan::parse(plan).is_some_and(Plan::custom_domain)
}
