//! How checks went over time, and whether a server is asked just now.

use model::{
    ConnectorId, OrgId,
    connectors::{Breaker, HEALTH_SLOT, HealthHistory, HealthSlot},
    permissions::can,
};
use store::{Tx, connector_health::Slot};

use super::find;
use crate::{Env, OrgActor, Result, mcp::upstream::BreakerState};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// How far back is shown.
const SHOWN: i64 = DAY;
/// How far back is kept.
const KEPT: i64 = 7 * DAY;

/// Notes one check at a time, Unix milliseconds, that took so many milliseconds or failed.
pub(super) async fn note(
    tx: &mut Tx,
    org: OrgId,
    id: ConnectorId,
    at: i64,
    took: i64,
    error: Option<&str>,
) -> Result<()> {
    let slot = Slot {
        began_at: at - at.rem_euclid(HEALTH_SLOT),
        good: i64::from(error.is_none()),
        failed: i64::from(error.is_some()),
        took: if error.is_none() { took.max(0) } else { 0 },
        error: error.map(str::to_owned),
    };
    Ok(store::connector_health::note(tx, org, id, &slot).await?)
}

/// The checks of the last day, half an hour at a time, and what this process does about the server just now.
pub async fn history(
    env: &Env,
    actor: &OrgActor<can::ConnectorsRead>,
    id: ConnectorId,
) -> Result<HealthHistory> {
    let mut tx = env.db.read().await?;
    find(&mut tx, actor.org(), id).await?;
    let now = env.now();
    let end = now - now.rem_euclid(HEALTH_SLOT) + HEALTH_SLOT;
    let began_at = end - SHOWN;
    let number = |number: i64| u32::try_from(number).unwrap_or(0);
    let slots = store::connector_health::list_since(&mut tx, actor.org(), id, began_at)
        .await?
        .into_iter()
        .map(|slot| HealthSlot {
            began_at: slot.began_at,
            good: number(slot.good),
            failed: number(slot.failed),
            average_ms: (slot.good > 0).then(|| number(slot.took / slot.good)),
            error: slot.error,
        })
        .collect();
    let breaker = match env.upstreams.breaker(id) {
        Some(BreakerState::Open { wait, why }) => Breaker::Open {
            seconds: u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX),
            why: why.into(),
        },
        Some(BreakerState::HalfOpen { why }) => Breaker::HalfOpen { why: why.into() },
        _ => Breaker::Closed,
    };
    Ok(HealthHistory { began_at, slots, breaker })
}

/// Forgets checks that are too old to be shown.
pub async fn purge(env: &Env) -> Result<()> {
    let mut tx = env.db.write().await?;
    store::connector_health::delete_before(&mut tx, env.now() - KEPT).await?;
    Ok(tx.commit().await?)
}
