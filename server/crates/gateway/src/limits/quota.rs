//! The calls of a month (RLM-03). A portion is taken from the ledger at a time, so that most calls ask nobody, nodes
//! together never exceed the quota, and a restart forgets nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{
    dataplane::Unavailable,
    usage::{Ledger, period},
};
use model::OrgId;

use super::standing::{Policy, Standing};

/// For how long everybody is refused before the ledger is asked again, milliseconds: another node may have given back
/// what it did not use, or the quota may have been raised.
const REFUSED: i64 = 1000;
/// For how long a portion is held that nobody uses, milliseconds.
const HELD: i64 = 2000;
/// The part of the quota that a node takes at once, and the most.
const PORTION: u64 = 200;
const MOST: u64 = 1000;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    month: i64,
    quota: u64,
    /// Calls that may be made without asking.
    held: u64,
    /// What the ledger had left beside them.
    left: u64,
    used_at: i64,
    refused_until: i64,
}

/// The quota of one organisation on this node. Times are Unix milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    state: Mutex<State>,
    asking: tokio::sync::Mutex<()>,
}

impl Quota {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call of this month's quota.
    ///
    /// # Errors
    /// How it stands when it is used up; [`Unavailable`] when that cannot be said.
    pub(crate) async fn take(
        self: &Arc<Self>,
        org: OrgId,
        quota: u64,
        now: i64,
        ledger: &Arc<dyn Ledger>,
    ) -> Result<Result<Standing, Standing>, Unavailable> {
        let month = period::month(now);
        let (start, end) = (period::month_start(month), period::month_start(month + 1));
        let seconds = |millis: i64| u64::try_from(millis).unwrap_or(0).div_ceil(1000);
        let standing = |left| Standing {
            policy: Policy::Month,
            limit: quota,
            window: seconds(end - start),
            left,
            reset: seconds(end - now).max(1),
        };
        let mut asking = None;
        loop {
            {
                let mut state = self.state();
                if state.month != month {
                    *state = State { month, ..State::default() };
                }
                if state.quota != quota {
                    (state.quota, state.refused_until) = (quota, 0);
                }
                if state.held > 0 {
                    state.held -= 1;
                    state.used_at = now;
                    return Ok(Ok(standing(state.held.saturating_add(state.left))));
                }
                if (1..=REFUSED).contains(&(state.refused_until - now)) {
                    return Ok(Err(standing(0)));
                }
            }
            // One asks; the others wait for what it gets.
            if asking.is_none() {
                asking = Some(self.asking.lock().await);
                continue;
            }
            // A task of its own: what the ledger has handed out must be noted also when the one who asked goes away.
            let (this, ledger) = (Arc::clone(self), Arc::clone(ledger));
            let asked = tokio::spawn(async move { this.ask(org, month, quota, now, ledger.as_ref()).await });
            asked.await.unwrap_or(Err(Unavailable))?;
        }
    }

    async fn ask(
        &self,
        org: OrgId,
        month: i64,
        quota: u64,
        now: i64,
        ledger: &dyn Ledger,
    ) -> Result<(), Unavailable> {
        let reserved = ledger.reserve(org, month, quota, (quota / PORTION).clamp(1, MOST)).await?;
        let mut state = self.state();
        if state.month == month {
            if reserved.granted == 0 {
                state.refused_until = now + REFUSED;
            }
            (state.held, state.left, state.used_at) = (state.held + reserved.granted, reserved.left, now);
        }
        Ok(())
    }

    /// Gives back what is held and not used; at the end, whenever it was used.
    pub(crate) async fn settle(&self, org: OrgId, now: i64, at_end: bool, ledger: &dyn Ledger) {
        let (month, held) = {
            let mut state = self.state();
            let due = at_end || !(0..HELD).contains(&(now - state.used_at));
            if state.held == 0 || !due {
                return;
            }
            (state.month, std::mem::take(&mut state.held))
        };
        if ledger.give_back(org, month, held).await.is_err() {
            // It is still ours.
            let mut state = self.state();
            if state.month == month {
                state.held += held;
            }
        }
    }
}
