//! Parts of the monthly quota that are used up are told once per threshold and month, whichever node notices (RLM-05).
//!
//! Calls are counted in one transaction and told in another. What was counted and not told, because the process ended
//! between the two or because a limit fell below what was used already, is found by comparing the two tables:
//! [`tell_due`] does so at the start of a process and every minute, a change of limits does it for its organisation.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::{OrgId, Plan, permissions::can};
use serde_json::json;
use store::usage::UsedRow;

use super::{Chosen, period};
use crate::{Env, OrgActor, Result, change::Event};

/// For how long after its end a month is still looked at, milliseconds: its last calls are written a little later.
const LATE: i64 = 5 * 60 * 1000;

/// How much of an organisation's quota is used.
pub(super) struct Standing<'s> {
    pub(super) org: OrgId,
    pub(super) month: i64,
    pub(super) slug: &'s str,
    pub(super) used: i64,
    pub(super) quota: Option<u64>,
    pub(super) thresholds: &'s [u8],
}

impl Standing<'_> {
    /// The thresholds that are reached.
    fn reached(&self) -> Vec<u8> {
        let (Some(quota), Ok(used)) = (self.quota, u128::try_from(self.used)) else { return Vec::new() };
        // Of nothing nothing is used up: before the first call there is nothing to tell.
        if used == 0 {
            return Vec::new();
        }
        let reached = |threshold: &u8| used * 100 >= u128::from(*threshold) * u128::from(quota);
        self.thresholds.iter().copied().filter(reached).collect()
    }

    /// Tells of thresholds that were not told, together with the note that they were.
    async fn tell(&self, env: &Env, reached: &[u8]) -> Result<()> {
        let mut change = env.change(&OrgActor::<can::UsageRead>::system(self.org)).await?;
        if store::orgs::find(change.tx(), self.org).await?.is_none() {
            return Ok(());
        }
        let mut last: Option<Event> = None;
        for threshold in reached {
            let new =
                store::usage::add_alert(change.tx(), self.org, self.month, i64::from(*threshold), env.now());
            if !new.await? {
                continue;
            }
            let data = json!({
                "threshold": threshold,
                "used": self.used,
                "quota": self.quota,
                "period": period::month_name(self.month),
            });
            let event = Event::new("usage.threshold")
                .target("org", self.org, self.slug)
                .with("threshold", *threshold)
                .with("used", self.used)
                .with("quota", self.quota)
                .publish("usage.threshold", data);
            if let Some(earlier) = last.replace(event) {
                change.record(&earlier).await?;
            }
        }
        match last {
            Some(event) => change.commit(event).await,
            None => Ok(()),
        }
    }
}

/// Thresholds that this process knows to have been told.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<(OrgId, i64), Vec<u8>>>);

impl Told {
    fn lock(&self) -> MutexGuard<'_, HashMap<(OrgId, i64), Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what is new. The database is asked only when there seems to be something.
    pub(super) async fn tell(&self, env: &Env, standing: &Standing<'_>) -> Result<()> {
        let mut reached = standing.reached();
        let key = (standing.org, standing.month);
        if let Some(told) = self.lock().get(&key) {
            reached.retain(|threshold| !told.contains(threshold));
        }
        if reached.is_empty() {
            return Ok(());
        }
        standing.tell(env, &reached).await?;
        let mut all = self.lock();
        all.retain(|(_, of), _| *of >= standing.month);
        all.entry(key).or_default().extend(reached);
        Ok(())
    }
}

/// Tells of every threshold that is reached and was not told, of all organisations. One that fails holds up no other; the
/// first failure is given back.
pub async fn tell_due(env: &Env) -> Result<()> {
    let now = env.now();
    let mut months = vec![period::month(now - LATE), period::month(now)];
    months.dedup();
    let mut failed = None;
    for month in months {
        let (used, told) = {
            let mut tx = env.db.read().await?;
            let used = store::usage::list_used(&mut tx, month).await?;
            let told: HashSet<_> =
                store::usage::list_alerts_of_month(&mut tx, month).await?.into_iter().collect();
            (used, told)
        };
        for row in used {
            let org = row.org;
            let told = |threshold: u8| told.contains(&(org, i64::from(threshold)));
            if let Err(error) = tell_row(env, month, row, told).await {
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn tell_row(env: &Env, month: i64, row: UsedRow, told: impl Fn(u8) -> bool) -> Result<()> {
    let chosen = Chosen::of(row.settings);
    let Some(plan) = Plan::parse(&row.plan) else { return Ok(()) };
    let standing = Standing {
        org: row.org,
        month,
        slug: &row.slug,
        used: row.used,
        quota: chosen.limits(plan).calls_per_month,
        thresholds: &chosen.thresholds,
    };
    let mut reached = standing.reached();
    reached.retain(|threshold| !told(*threshold));
    if reached.is_empty() { Ok(()) } else { standing.tell(env, &reached).await }
}

/// Limits of an organisation are others now: what that means for its quota is told at once. The limits hold whether or not
/// this works; what is missed here is found by [`tell_due`].
pub(crate) async fn limits_changed(env: &Env, org: OrgId) {
    let month = period::month(env.now());
    let done = async {
        let row = {
            let mut tx = env.db.read().await?;
            store::usage::find_used(&mut tx, org, month).await?
        };
        match row {
            Some(row) => tell_row(env, month, row, |_| false).await,
            None => Ok(()),
        }
    };
    if let Err(error) = done.await {
        tracing::warn!(%error, org.id = %org, "what a change of limits means for the quota is told later");
    }
}
