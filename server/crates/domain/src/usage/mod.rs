//! Limits, usage and the request log: what holds for an organisation, what was used of it, and who did what.
//!
//! The gateway decides with the limits of its snapshot ([`PlanePolicy`]) and takes portions of what nodes share from a
//! [`Ledger`]; a [`Recorder`] hears of each request that ended. What counts for the monthly quota: each call that was
//! passed on to a connector, once, whatever came back (RLM-04). Lists, handshakes and refusals do not.

pub(crate) mod alerts;
mod ledger;
mod log;
pub mod period;
mod recorder;
mod redact;
mod report;
mod rows;
pub(crate) use self::rows::as_logged;
mod tally;

use std::sync::Arc;

use model::{
    AppError, Limits, OrgId, Plan,
    activity::{LastDay, Outcome, UsageSettings},
    orgs::Org,
    permissions::can,
    plan::Override,
};
use store::Tx;

pub use store::usage_reports::Calls;

pub use self::{
    alerts::tell_due,
    ledger::{Ledger, Reserved, Taken, WINDOW, recover},
    log::{clean, entry, list, newer},
    recorder::{LeftOut, LeftOutBy, Record, Recorder, left_out_by},
    report::{Asked, Durations, Frame, KeyUsage, Named, Quota, RANGES, Report, Step, keys_usage, report},
    tally::CLASSES,
};
use crate::{Env, Error, OrgActor, Result, change::Event};

/// How long the request log is kept unless somebody chose otherwise, days.
pub const LOG_DAYS: u16 = 7;
/// At which parts of the quota an event is published unless somebody chose otherwise, per cent.
pub const THRESHOLDS: &[u8] = &[50, 80, 100];
/// The most thresholds.
const MOST_THRESHOLDS: usize = 10;
const UNLIMITED: i64 = -1;

/// What the gateway has to know of an organisation's limits and log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanePolicy {
    /// The limits that hold.
    pub limits: Limits,
    /// At which parts of the monthly quota an event is published, per cent.
    pub thresholds: Arc<[u8]>,
    /// Whether arguments and results are kept.
    pub log_bodies: bool,
}

/// What was chosen, as far as anything was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    rate: Override<u32>,
    quota: Override<u64>,
    bodies: bool,
    days: u16,
    thresholds: Vec<u8>,
}

fn read_override<T: TryFrom<i64>>(stored: Option<i64>) -> Override<T> {
    match stored {
        None => Override::Plan,
        Some(UNLIMITED) => Override::Unlimited,
        Some(limit) => T::try_from(limit).map_or(Override::Plan, Override::At),
    }
}

fn write_override<T: TryInto<i64>>(wanted: Override<T>) -> Option<i64> {
    match wanted {
        Override::Plan => None,
        Override::Unlimited => Some(UNLIMITED),
        Override::At(limit) => Some(limit.try_into().unwrap_or(i64::MAX)),
    }
}

impl Chosen {
    async fn read(tx: &mut Tx, org: OrgId) -> Result<Self> {
        Ok(Self::of(store::usage::settings(tx, org).await?))
    }

    fn of(row: Option<store::usage::Settings>) -> Self {
        let Some(row) = row else {
            return Self {
                rate: Override::Plan,
                quota: Override::Plan,
                bodies: false,
                days: LOG_DAYS,
                thresholds: THRESHOLDS.to_vec(),
            };
        };
        Self {
            rate: read_override(row.rate_per_minute),
            quota: read_override(row.monthly_quota),
            bodies: row.log_bodies,
            days: u16::try_from(row.log_days).unwrap_or(LOG_DAYS),
            thresholds: row.thresholds.split(',').filter_map(|part| part.parse().ok()).collect(),
        }
    }

    async fn write(&self, tx: &mut Tx, org: OrgId) -> Result<()> {
        let row = store::usage::Settings {
            rate_per_minute: write_override(self.rate),
            monthly_quota: write_override(self.quota),
            log_bodies: self.bodies,
            log_days: i64::from(self.days),
            thresholds: self.thresholds_text(),
        };
        Ok(store::usage::put_settings(tx, org, &row).await?)
    }

    fn thresholds_text(&self) -> String {
        self.thresholds.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
    }

    fn limits(&self, plan: Plan) -> Limits {
        Limits::of(plan, self.rate, self.quota)
    }

    /// A plan that allows less than what was chosen under another.
    fn days(&self, plan: Plan) -> u16 {
        self.days.clamp(1, plan.limits().most_log_days)
    }
}

/// What the gateway has to know.
pub(crate) async fn policy(tx: &mut Tx, org: &Org) -> Result<PlanePolicy> {
    let chosen = Chosen::read(tx, org.id).await?;
    Ok(PlanePolicy {
        limits: chosen.limits(org.plan),
        log_bodies: chosen.bodies,
        thresholds: chosen.thresholds.into(),
    })
}

async fn org(tx: &mut Tx, id: OrgId) -> Result<Org> {
    store::orgs::find(tx, id).await?.ok_or_else(|| Error::not_found("organisation"))
}

/// What an organisation chose, what holds for it, and what it has used of it.
pub async fn settings(env: &Env, actor: &OrgActor<can::LogsRead>) -> Result<UsageSettings> {
    of_org(env, actor.org()).await
}

/// The same for the operator, who may always look.
pub async fn of_org(env: &Env, id: OrgId) -> Result<UsageSettings> {
    let mut tx = env.db.read().await?;
    let org = org(&mut tx, id).await?;
    let chosen = Chosen::read(&mut tx, id).await?;
    let (used, _) = store::usage::month(&mut tx, id, period::month(env.now())).await?;
    Ok(UsageSettings {
        plan: org.plan,
        bodies: chosen.bodies,
        days: chosen.days(org.plan),
        limits: chosen.limits(org.plan),
        thresholds: chosen.thresholds,
        used: u64::try_from(used).unwrap_or(0),
    })
}

/// Requests of the last 24 hours, this one not yet whole.
pub(crate) async fn last_day(tx: &mut Tx, org: OrgId, now: i64) -> Result<LastDay> {
    let (from, to) = (period::hour(now) - 23, period::hour(now));
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let mut day = LastDay::default();
    for (_, outcome, requests) in store::usage::list_hours(tx, org, from, to).await? {
        day.requests += count(requests);
        if Outcome::parse(&outcome).is_some_and(Outcome::is_error) {
            day.errors += count(requests);
        }
    }
    let classes = store::usage::list_latency(tx, org, from, to).await?;
    day.p95_ms = p95(&classes);
    Ok(day)
}

/// The end of the class in which the 95th of 100 calls lies.
fn p95(classes: &[(i64, i64)]) -> Option<u32> {
    let all: i64 = classes.iter().map(|(_, requests)| requests).sum();
    let mut so_far = 0;
    let (class, _) = classes.iter().find(|(_, requests)| {
        so_far += requests;
        so_far * 100 >= all * 95
    })?;
    CLASSES.get(usize::try_from(*class).ok()?).and_then(|end| u32::try_from(*end).ok())
}

/// Reads thresholds as a person writes them: `50, 80, 100`.
fn parse_thresholds(text: &str) -> Result<Vec<u8>> {
    let wrong = || {
        Error::from(AppError::field(
            "thresholds",
            "thresholds",
            "Enter up to ten whole numbers from 1 to 100 with commas between, such as 50, 80, 100",
        ))
    };
    let mut parsed = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.trim_end_matches('%').trim().parse::<u8>().map_err(|_| wrong()))
        .collect::<Result<Vec<_>>>()?;
    parsed.sort_unstable();
    parsed.dedup();
    if parsed.len() > MOST_THRESHOLDS || parsed.iter().any(|t| !(1..=100).contains(t)) {
        return Err(wrong());
    }
    Ok(parsed)
}

/// Chooses whether arguments and results are kept, for how many days the log is, and at which parts of the quota an
/// event is published. Switching bodies off leaves those that are kept until their time is over.
pub async fn set(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    bodies: bool,
    days: &str,
    thresholds: &str,
) -> Result<()> {
    let thresholds = parse_thresholds(thresholds)?;
    let mut change = env.change(actor).await?;
    let org = org(change.tx(), actor.org()).await?;
    let most = org.plan.limits().most_log_days;
    let days = days.trim().parse::<u16>().ok().filter(|days| (1..=most).contains(days)).ok_or_else(|| {
        let message =
            format!("Enter a whole number of days from 1 to {most}, the most of the {} plan", org.plan);
        AppError::field("days", "days", message)
    })?;
    let old = Chosen::read(change.tx(), org.id).await?;
    let new = Chosen { bodies, days, thresholds, ..old.clone() };
    if new == old {
        return Ok(());
    }
    new.write(change.tx(), org.id).await?;
    let event = Event::new("settings.activity_updated")
        .target("org", org.id, &org.name)
        .changed("log_bodies", old.bodies, new.bodies)
        .changed("log_days", old.days, new.days)
        .changed("thresholds", old.thresholds_text(), new.thresholds_text());
    change.commit(event).await?;
    alerts::limits_changed(env, actor.org()).await;
    Ok(())
}

/// What the operator sets in place of the plan's limits; `None` leaves it.
pub async fn set_limits(
    env: &Env,
    org_id: OrgId,
    rate: Option<Override<u32>>,
    quota: Option<Override<u64>>,
) -> Result<()> {
    let actor = OrgActor::<can::BillingManage>::operator(org_id);
    let mut change = env.change(&actor).await?;
    let org = org(change.tx(), org_id).await?;
    let old = Chosen::read(change.tx(), org_id).await?;
    let new = Chosen { rate: rate.unwrap_or(old.rate), quota: quota.unwrap_or(old.quota), ..old.clone() };
    if new == old {
        return Ok(());
    }
    new.write(change.tx(), org_id).await?;
    let (before, after) = (old.limits(org.plan), new.limits(org.plan));
    let event = Event::new("settings.limits_updated")
        .target("org", org.id, &org.name)
        .changed("rate_per_minute", before.key_per_minute, after.key_per_minute)
        .changed("monthly_quota", before.calls_per_month, after.calls_per_month);
    change.commit(event).await?;
    alerts::limits_changed(env, org_id).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::p95;

    #[test]
    fn the_95th_of_a_hundred_calls_is_found() {
        assert_eq!(p95(&[]), None);
        assert_eq!(p95(&[(0, 1)]), Some(1));
        assert_eq!(p95(&[(1, 95), (6, 5)]), Some(2));
        assert_eq!(p95(&[(1, 94), (6, 6)]), Some(100));
        assert_eq!(p95(&[(1, 1), (13, 99)]), None, "longer than the classes go");
    }
}
