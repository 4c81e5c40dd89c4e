//! Looking at a domain's records, when somebody asks for it and by itself, and what comes of it.

use model::{
    AppError, ErrorKind, OrgId,
    custom_domain::{DomainAnswer, DomainState},
    permissions::can,
};
use store::custom_domains::CustomDomain as Row;

use super::{HOUR, MINUTE, SEARCH, entitled, no_domain, no_org, record, seen, state, value};
use crate::{
    Env, Error, OrgActor, Result,
    change::{Change, Event},
    mail::{
        self,
        letters::{self, DomainNews},
    },
    records::{self, Turn},
    throttle,
};

/// When a new domain is looked at for the first time.
pub(super) const SOON: i64 = MINUTE / 2;
/// Between two looks for records that are not there yet: longer and longer, as far as this.
const SELDOM: i64 = HOUR;
/// Domains that are looked at in one go.
const AT_ONCE: i64 = 16;
/// How long whoever looks at a domain has it for themself: longer than the name server may take.
const LEASE: i64 = MINUTE;
/// Questions to the name server that an organisation may have in a minute.
const QUESTIONS: i64 = 30;
/// Records that are shown, and how much of each, characters.
const SHOWN: usize = 10;
const SHOWN_CHARS: usize = 200;

/// Asks the name server at this moment.
async fn look(env: &Env, row: &Row) -> DomainAnswer {
    let proof = record(&row.host);
    let (cname, txt) = tokio::join!(env.outbound.cname(&row.host), env.outbound.txt(&proof));
    let answered = cname.is_ok() && txt.is_ok();
    let (cname, txt) = (cname.unwrap_or_default(), txt.unwrap_or_default());
    let target = env.settings.gateway_host.trim_end_matches('.');
    let wanted = value(row);
    let cut = |all: Vec<String>| {
        all.into_iter().take(SHOWN).map(|text| text.chars().take(SHOWN_CHARS).collect()).collect()
    };
    DomainAnswer {
        at: env.now(),
        answered,
        cname_fits: cname.iter().any(|name| name.eq_ignore_ascii_case(target)),
        txt_fits: txt.iter().any(|text| text.trim() == wanted),
        cname: cut(cname),
        txt: cut(txt),
        taken: false,
    }
}

/// Looks at the organisation's domain now, because somebody asks for it. Where nobody looked any more, it is looked for
/// again from now on. Whether it is in use afterwards; what was seen is on the page.
pub async fn verify(env: &Env, actor: &OrgActor<can::DomainsManage>) -> Result<bool> {
    let org = actor.org();
    let row = {
        let mut tx = env.db.read().await?;
        let plan = store::orgs::find(&mut tx, org).await?.ok_or_else(no_org)?.plan;
        let row = store::custom_domains::find(&mut tx, org).await?.ok_or_else(no_domain)?;
        entitled(plan)?;
        row
    };
    throttle::take_of(env, format!("domain:dns:{org}"), QUESTIONS, MINUTE).await?;
    let answer = look(env, &row).await;
    let change = env.change(actor).await?;
    match conclude(env, change, org, &row.token, answer, true).await? {
        None => Err(no_domain()),
        Some(row) if seen(&row).is_some_and(|seen| seen.taken) => Err(taken(&row.host)),
        Some(row) => Ok(state(&row).0.is_in_use()),
    }
}

fn taken(host: &str) -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "domain_taken",
        format!(
            "Another organisation of this instance has proven {host}, so it is theirs as long as their records are there. Take their TXT record away: three days later it is free, and yours if yours is there. If you do not know them, ask whoever operates this instance."
        ),
    )
    .into()
}

/// Looks at the domains that are due; how many there were. Each is looked at by one node, whoever else asks for them.
pub async fn check_due(env: &Env) -> Result<usize> {
    let due = {
        let mut tx = env.db.read().await?;
        store::custom_domains::list_due(&mut tx, env.now(), AT_ONCE).await?
    };
    records::look_at_due(
        env,
        due,
        |env, one| claim(env, *one),
        |env, (org, _)| async move { check(&env, org).await },
    )
    .await
}

async fn claim(env: Env, (org, at): (OrgId, i64)) -> Result<bool> {
    let mut tx = env.db.write().await?;
    let ours = store::custom_domains::claim(&mut tx, org, at, env.now() + LEASE).await?;
    tx.commit().await?;
    Ok(ours)
}

async fn check(env: &Env, org: OrgId) -> Result<()> {
    let row = {
        let mut tx = env.db.read().await?;
        store::custom_domains::find(&mut tx, org).await?
    };
    let Some(row) = row else { return Ok(()) };
    let answer = look(env, &row).await;
    let change = env.change(&OrgActor::<can::DomainsManage>::system(org)).await?;
    conclude(env, change, org, &row.token, answer, false).await.map(drop)
}

/// Writes down what was seen, and what comes of it. The domain afterwards; nothing when it is not that claim's any more.
async fn conclude(
    env: &Env,
    mut change: Change,
    org: OrgId,
    token: &str,
    mut answer: DomainAnswer,
    by_hand: bool,
) -> Result<Option<Row>> {
    let row = store::custom_domains::find(change.tx(), org).await?.filter(|row| row.token == token);
    let Some(mut row) = row else { return Ok(None) };
    let proven = answer.cname_fits && answer.txt_fits;
    if proven && row.verified_at.is_none() {
        let owner = store::custom_domains::find_owner(change.tx(), &row.host).await?;
        answer.taken = owner.is_some_and(|owner| owner != org);
    }
    let now = env.now();
    if by_hand && matches!(state(&row).0, DomainState::GaveUp | DomainState::Lapsed) {
        row.sought_since = now;
    }
    let news = match row.verified_at {
        None if proven && !answer.taken => {
            (row.verified_at, row.lapsed_at, row.next_check_at) =
                (Some(now), None, Some(now + records::DAILY));
            Some(Event::new("domain.verified"))
        }
        None if now - row.sought_since >= SEARCH => {
            row.next_check_at = None;
            row.lapsed_at = None;
            tell(env, &mut change, org, &row, DomainNews::NotFound).await?;
            Some(Event::new("domain.not_found"))
        }
        None => {
            row.next_check_at = Some(now + ((now - row.sought_since) / 10).clamp(SOON, SELDOM));
            None
        }
        Some(_) => {
            let there = answer.answered.then_some(proven);
            row.next_check_at = Some(records::next_look(there, row.failing_since, now));
            match records::turn(there, row.failing_since, now) {
                Turn::Same => None,
                Turn::Back => {
                    row.failing_since = None;
                    Some(Event::new("domain.recovered"))
                }
                Turn::Missing => {
                    row.failing_since = Some(now);
                    tell(env, &mut change, org, &row, DomainNews::Failing).await?;
                    Some(Event::new("domain.failing"))
                }
                Turn::Lapsed => {
                    (row.verified_at, row.failing_since, row.next_check_at) = (None, None, None);
                    row.lapsed_at = Some(now);
                    tell(env, &mut change, org, &row, DomainNews::Removed).await?;
                    let event = Event::new("domain.removed").with("reason", "records_missing");
                    Some(event.with("was_in_use", true))
                }
            }
        }
    };
    row.seen = Some(serde_json::to_string(&answer).map_err(|why| Error::Internal(why.to_string()))?);
    match store::custom_domains::update(change.tx(), org, &row).await {
        // Somebody else proved it while this was written: the next look says so.
        Err(store::Error::Taken(_)) => return Err(taken(&row.host)),
        done => done?,
    };
    match news {
        Some(event) => change.commit(event.target("domain", &row.host, &row.host)).await?,
        None => change.keep_quiet().await?,
    }
    Ok(Some(row))
}

async fn tell(env: &Env, change: &mut Change, org: OrgId, row: &Row, news: DomainNews) -> Result<()> {
    mail::to_admins(env, change.tx(), org, |to, name| {
        letters::domain(&env.settings, to, name, &row.host, news)
    })
    .await
}
