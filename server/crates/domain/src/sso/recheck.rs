//! Whether the record that proved a domain is there still. It is asked for daily. A domain whose record has been missing for
//! three days counts no longer: whoever owns it by then may be somebody else.
//!
//! Only a name server's word that there is no such record counts as missing. One that does not answer changes nothing.

use model::OrgId;
use store::sso_domains::Proven;

use super::domains::is_proof;
use crate::{
    Env, Result,
    authz::Principal,
    change::{Change, Event},
    mail::{self, letters},
    request::Origin,
};

const HOUR: i64 = 60 * 60 * 1000;
/// How often a record is looked for, milliseconds.
const EVERY: i64 = 24 * HOUR;
/// After so long a name server that did not answer is asked again, milliseconds.
const AGAIN: i64 = HOUR;
/// For so long a record may be missing before the domain counts no longer, milliseconds.
pub const LAPSES_AFTER: i64 = 72 * HOUR;
/// Domains that are looked at in one go.
const AT_ONCE: i64 = 50;

/// Looks for the records that are due; how many that were. Each is looked for by one node.
pub async fn recheck(env: &Env) -> Result<u32> {
    let due = {
        let mut tx = env.db.read().await?;
        store::sso_domains::list_due(&mut tx, env.now() - EVERY, AT_ONCE).await?
    };
    let mut looked = 0;
    for domain in due {
        if claim(env, &domain).await? {
            look(env, domain).await?;
            looked += 1;
        }
    }
    Ok(looked)
}

async fn claim(env: &Env, domain: &Proven) -> Result<bool> {
    let mut tx = env.db.write().await?;
    // Should this node die now, it is looked for again in a day.
    let claimed = store::sso_domains::claim(&mut tx, domain.row.id, domain.row.checked_at, env.now()).await?;
    tx.commit().await?;
    Ok(claimed)
}

async fn look(env: &Env, Proven { org, row }: Proven) -> Result<()> {
    let there = match is_proof(env, &row).await {
        Ok((there, _)) => there,
        Err(why) => {
            tracing::info!(%why, org.id = %org, domain = row.domain, "a name server did not answer");
            let mut tx = env.db.write().await?;
            let now = env.now();
            store::sso_domains::claim(&mut tx, row.id, now, now - EVERY + AGAIN).await?;
            return Ok(tx.commit().await?);
        }
    };
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
    let event = match (there, row.missing_since) {
        (true, None) => return Ok(()),
        (true, Some(_)) => {
            store::sso_domains::set_missing(change.tx(), org, row.id, None).await?;
            "sso.domain_found"
        }
        (false, None) => {
            store::sso_domains::set_missing(change.tx(), org, row.id, Some(now)).await?;
            tell(env, &mut change, org, &row.domain, false).await?;
            "sso.domain_missing"
        }
        (false, Some(since)) if now - since < LAPSES_AFTER => return Ok(()),
        (false, Some(_)) => {
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
