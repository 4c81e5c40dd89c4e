//! What several nodes share of limits: portions of a month's quota, and of a rate.
//!
//! A node takes a portion before it uses it, so that nodes together never exceed a limit, and so that most calls ask
//! nobody. What a node holds and does not use it gives back after a moment; what it held when it was killed is lost to
//! the organisation for that month, half a per cent of the quota at most.

use futures_util::future::BoxFuture;
use model::OrgId;
use store::{Kind, usage};

use crate::{Env, Result, dataplane::Unavailable};

/// The length of a rate's window, microseconds.
pub const WINDOW: i64 = 60_000_000;

/// A portion of a month's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Calls that may be made; 0 when the quota is used up.
    pub granted: u64,
    /// Calls that are left for everybody else.
    pub left: u64,
}

/// A portion of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Requests that may be made; 0 when it is used up.
    pub granted: u32,
    /// Requests that could be made at once beside these.
    pub left: u32,
    /// When none was granted, how long until there is one, microseconds.
    pub wait_us: i64,
}

/// Where portions come from.
pub trait Ledger: Send + Sync + 'static {
    /// Whether rates are shared with other nodes. If not, whoever asks keeps them by itself.
    fn shares_rates(&self) -> bool;

    /// Takes up to `want` calls of what a month's quota leaves.
    fn reserve(
        &self,
        org: OrgId,
        month: i64,
        quota: u64,
        want: u64,
    ) -> BoxFuture<'_, core::result::Result<Reserved, Unavailable>>;

    /// Gives back calls that were reserved and not made.
    fn give_back(
        &self,
        org: OrgId,
        month: i64,
        calls: u64,
    ) -> BoxFuture<'_, core::result::Result<(), Unavailable>>;

    /// Takes up to `want` requests from a rate at this time, Unix microseconds.
    fn take<'a>(
        &'a self,
        org: OrgId,
        bucket: &'a str,
        per_minute: u32,
        want: u32,
        now: i64,
    ) -> BoxFuture<'a, core::result::Result<Taken, Unavailable>>;
}

/// How many requests fit into a rate now, and the arrival time after `taken` of them (GCRA with a burst of a whole
/// minute's requests).
fn fitting(arrival: i64, per_minute: u32, now: i64) -> (i64, i64, i64) {
    let interval = WINDOW / i64::from(per_minute.max(1));
    // An arrival beyond the window was written by a clock that went wrong.
    let arrival = if arrival > now + WINDOW { now } else { arrival.max(now) };
    ((now + WINDOW - arrival) / interval, interval, arrival)
}

async fn reserve(env: &Env, org: OrgId, month: i64, quota: u64, want: u64) -> Result<Reserved> {
    let mut tx = env.db.write().await?;
    let Some((used, reserved)) = usage::lock_month(&mut tx, org, month).await? else {
        return Ok(Reserved { granted: 0, left: 0 });
    };
    let gone = used.max(reserved);
    let left = quota.saturating_sub(u64::try_from(gone).unwrap_or(0));
    // Near the end portions become small, so that one node does not sit on what another could use.
    let granted = want.min(left.div_ceil(8));
    let held = i64::try_from(granted).unwrap_or(i64::MAX);
    usage::set_reserved(&mut tx, org, month, gone.saturating_add(held)).await?;
    tx.commit().await?;
    Ok(Reserved { granted, left: left - granted })
}

async fn give_back(env: &Env, org: OrgId, month: i64, calls: u64) -> Result<()> {
    let mut tx = env.db.write().await?;
    usage::give_back(&mut tx, org, month, i64::try_from(calls).unwrap_or(0)).await?;
    Ok(tx.commit().await?)
}

async fn take(env: &Env, org: OrgId, bucket: &str, per_minute: u32, want: u32, now: i64) -> Result<Taken> {
    let mut tx = env.db.write().await?;
    let Some(arrival) = usage::lock_bucket(&mut tx, org, bucket).await? else {
        return Ok(Taken { granted: 0, left: 0, wait_us: WINDOW });
    };
    let (fit, interval, arrival) = fitting(arrival, per_minute, now);
    let granted = fit.clamp(0, i64::from(want));
    if granted == 0 {
        return Ok(Taken { granted: 0, left: 0, wait_us: arrival + interval - now - WINDOW });
    }
    usage::set_bucket(&mut tx, org, bucket, arrival + granted * interval).await?;
    tx.commit().await?;
    let number = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(Taken { granted: number(granted), left: number(fit - granted), wait_us: 0 })
}

fn unavailable(error: &crate::Error) -> Unavailable {
    tracing::error!(%error, "a limit cannot be read");
    Unavailable
}

impl Ledger for Env {
    fn shares_rates(&self) -> bool {
        // On SQLite there is one node.
        self.db.kind() == Kind::Postgres
    }

    fn reserve(
        &self,
        org: OrgId,
        month: i64,
        quota: u64,
        want: u64,
    ) -> BoxFuture<'_, core::result::Result<Reserved, Unavailable>> {
        Box::pin(async move { reserve(self, org, month, quota, want).await.map_err(|e| unavailable(&e)) })
    }

    fn give_back(
        &self,
        org: OrgId,
        month: i64,
        calls: u64,
    ) -> BoxFuture<'_, core::result::Result<(), Unavailable>> {
        Box::pin(async move { give_back(self, org, month, calls).await.map_err(|e| unavailable(&e)) })
    }

    fn take<'a>(
        &'a self,
        org: OrgId,
        bucket: &'a str,
        per_minute: u32,
        want: u32,
        now: i64,
    ) -> BoxFuture<'a, core::result::Result<Taken, Unavailable>> {
        Box::pin(
            async move { take(self, org, bucket, per_minute, want, now).await.map_err(|e| unavailable(&e)) },
        )
    }
}

/// Takes back what a killed process held. Only on `SQLite`, where no other can be running.
pub async fn recover(env: &Env) -> Result<()> {
    if env.db.kind() == Kind::Sqlite {
        let mut tx = env.db.write().await?;
        usage::forget_reserved(&mut tx, super::period::month(env.now())).await?;
        tx.commit().await?;
    }
    Ok(())
}
