//! Whether the record that proved a domain is there still: asked for daily, and hourly while it is missing. What that means
//! is the same as for the domains of endpoints ([`records`]).

use model::{OrgId, SsoDomainId};
use store::sso_domains::Proven;

use super::domains::is_proof;
use crate::{
    Env, Result,
    authz::Principal,
    change::{Change, Event},
    mail::{self, letters},
    records::{self, Turn},
    request::Origin,
};

/// Domains that are looked at in one go.
const AT_ONCE: i64 = 50;

/// Looks for the records that are due; how many that were. Each is looked for by one node.
pub async fn recheck(env: &Env) -> Result<usize> {
    let due = {
        let mut tx = env.db.read().await?;
        store::sso_domains::list_due(&mut tx, env.now() - records::DAILY, AT_ONCE).await?
    };
    records::look_at_due(
        env,
        due,
        |env, domain| claim(env, domain.row.id, domain.row.checked_at),
        |env, domain| async move { look(&env, domain).await },
    )
    .await
}

async fn claim(env: Env, id: SsoDomainId, checked_at: i64) -> Result<bool> {
    let mut tx = env.db.write().await?;
    // Should this node die now, it is looked for again in a day.
    let claimed = store::sso_domains::claim(&mut tx, id, checked_at, env.now()).await?;
    tx.commit().await?;
    Ok(claimed)
}

async fn look(env: &Env, Proven { org, row }: Proven) -> Result<()> {
    let there = is_proof(env, &row).await.map(|(there, _)| there);
    let there = there
        .inspect_err(
            |why| tracing::info!(%why, org.id = %org, domain = row.domain, "a name server did not answer"),
        )
        .ok();
    let mut tx = env.db.write().await?;
    store::orgs::lock(&mut tx, org).await?;
    let mut change = Change::within(env, tx, org, Principal::System, Origin::default());
    // Removed, or looked for by hand, meanwhile.
    let Some(row) =
        store::sso_domains::find(change.tx(), org, row.id).await?.filter(|row| row.verified_at.is_some())
    else {
        return Ok(());
    };
    let now = env.now();
    // A look counts for a day: what is due sooner is as if it had been looked for longer ago.
    let looked = records::next_look(there, row.missing_since, now) - records::DAILY;
    store::sso_domains::claim(change.tx(), row.id, row.checked_at, looked).await?;
    let event = match records::turn(there, row.missing_since, now) {
        Turn::Same => return change.keep_quiet().await,
        Turn::Back => {
            store::sso_domains::set_missing(change.tx(), org, row.id, None).await?;
            "sso.domain_found"
        }
        Turn::Missing => {
            store::sso_domains::set_missing(change.tx(), org, row.id, Some(now)).await?;
            tell(env, &mut change, org, &row.domain, false).await?;
            "sso.domain_missing"
        }
        Turn::Lapsed => {
            store::sso_domains::set_lapsed(change.tx(), org, row.id, now).await?;
            tell(env, &mut change, org, &row.domain, true).await?;
            "sso.domain_lapsed"
        }
    };
    change.commit(Event::new(event).target("sso_domain", row.id, &row.domain)).await
}

async fn tell(env: &Env, change: &mut Change, org: OrgId, domain: &str, lapsed: bool) -> Result<()> {
    let required = super::is_required(change.tx(), org).await?;
    mail::to_admins(env, change.tx(), org, |to, name| {
        letters::sso_domain(&env.settings, to, name, domain, lapsed, required)
    })
    .await
}
