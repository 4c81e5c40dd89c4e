//! One rate: so many in a minute (RLM-02).
//!
//! It is GCRA: a single time, at which the next request would arrive if they came evenly. A burst may be as large as a
//! minute's requests, so that what is allowed in any minute is the rate and a burst, and in any moment no more than the
//! rate: windows have no edge. Where several nodes share it, that time is in the ledger, and a node takes a small portion
//! at once; whoever is over it is refused from memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{
    dataplane::Unavailable,
    usage::{Ledger, WINDOW},
};
use model::OrgId;

use super::standing::{Policy, Standing};

/// How long a portion may be held, microseconds.
const HELD: i64 = 5_000_000;
/// The part of a minute's requests that a node takes at once.
const PORTION: u32 = 50;

/// The state of a rate. Times are Unix microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    per_minute: u32,
    /// When the next would arrive if they came evenly.
    arrival: i64,
    /// Requests that may be made without asking the ledger, and until when.
    held: u32,
    held_until: i64,
    /// What the ledger had left beside them.
    left: u32,
    /// Until when everybody is refused.
    refused_until: i64,
}

/// What one request finds.
enum Found {
    Allowed { left: u32, reset: i64 },
    Refused { wait: i64 },
    Ask,
}

impl State {
    /// Makes it that of another rate.
    fn set(&mut self, per_minute: u32) {
        if self.per_minute != per_minute {
            *self = Self { per_minute, ..Self::default() };
        }
    }

    /// One request, by this node alone.
    fn take(&mut self, now: i64) -> Found {
        let interval = WINDOW / i64::from(self.per_minute.max(1));
        // An arrival beyond the window comes from a clock that was set back.
        let arrival = if self.arrival > now + WINDOW { now } else { self.arrival.max(now) };
        let next = arrival + interval;
        if next > now + WINDOW {
            return Found::Refused { wait: next - now - WINDOW };
        }
        self.arrival = next;
        let left = u32::try_from((now + WINDOW - next) / interval).unwrap_or(0);
        Found::Allowed { left, reset: if left == 0 { next + interval - now - WINDOW } else { next - now } }
    }

    /// One request out of the portion that is held.
    fn take_held(&mut self, now: i64) -> Found {
        if self.held > 0 && (0..=HELD).contains(&(self.held_until - now)) {
            self.held -= 1;
            let left = self.held.saturating_add(self.left);
            let interval = WINDOW / i64::from(self.per_minute.max(1));
            let gone = i64::from(self.per_minute.saturating_sub(left));
            return Found::Allowed { left, reset: if left == 0 { interval } else { gone * interval } };
        }
        match self.refused_until - now {
            // Longer than a window is a clock that was set back.
            wait @ 1..=WINDOW => Found::Refused { wait },
            _ => Found::Ask,
        }
    }
}

/// A rate of one principal, organisation or connector.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    state: Mutex<State>,
    asking: tokio::sync::Mutex<()>,
}

/// Whose rate it is.
#[derive(Clone, Copy)]
pub(crate) struct Bucket<'b> {
    pub(crate) policy: Policy,
    pub(crate) org: OrgId,
    /// What tells it from others of the organisation.
    pub(crate) name: &'b (dyn Fn() -> String + Sync),
}

/// Whole seconds, at least one.
fn seconds(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).div_ceil(1_000_000).max(1)
}

impl Rate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is as good as new at this time.
    pub(crate) fn is_full(&self, now: i64) -> bool {
        let state = self.state();
        state.arrival <= now && state.refused_until <= now && state.held == 0
    }

    /// One request by this node alone, of so many in a minute.
    pub(crate) fn take_here(&self, policy: Policy, per_minute: u32, now: i64) -> Result<Standing, Standing> {
        let mut state = self.state();
        state.set(per_minute);
        let found = state.take(now);
        // This node alone never has to ask.
        told(policy, per_minute, &found).unwrap_or_else(|| Err(standing(policy, per_minute, 0, WINDOW)))
    }

    /// One request, of so many in a minute.
    ///
    /// # Errors
    /// How it stands when the request is over it; [`Unavailable`] when that cannot be said.
    pub(crate) async fn take(
        &self,
        bucket: Bucket<'_>,
        per_minute: u32,
        now: i64,
        ledger: &dyn Ledger,
    ) -> Result<Result<Standing, Standing>, Unavailable> {
        if !ledger.shares_rates() {
            return Ok(self.take_here(bucket.policy, per_minute, now));
        }
        let mut asking = None;
        loop {
            {
                let mut state = self.state();
                state.set(per_minute);
                if let Some(found) = told(bucket.policy, per_minute, &state.take_held(now)) {
                    return Ok(found);
                }
            }
            // One asks; the others wait for what it gets.
            if asking.is_none() {
                asking = Some(self.asking.lock().await);
                continue;
            }
            let want = (per_minute / PORTION).max(1);
            let taken = ledger.take(bucket.org, &(bucket.name)(), per_minute, want, now).await?;
            let mut state = self.state();
            if taken.granted == 0 {
                state.refused_until = now + taken.wait_us.clamp(1, WINDOW);
            } else {
                (state.held, state.held_until, state.left) = (taken.granted, now + HELD, taken.left);
            }
        }
    }
}

fn standing(policy: Policy, per_minute: u32, left: u32, reset: i64) -> Standing {
    Standing { policy, limit: per_minute.into(), window: 60, left: left.into(), reset: seconds(reset) }
}

/// `None` when the ledger has to be asked.
fn told(policy: Policy, per_minute: u32, found: &Found) -> Option<Result<Standing, Standing>> {
    match *found {
        Found::Allowed { left, reset } => Some(Ok(standing(policy, per_minute, left, reset))),
        Found::Refused { wait } => Some(Err(standing(policy, per_minute, 0, wait))),
        Found::Ask => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn allowed(rate: &Rate, per_minute: u32, now: i64) -> bool {
        rate.take_here(Policy::Key, per_minute, now).is_ok()
    }

    #[test]
    fn rlm_02_a_minute_holds_a_burst_and_the_rate_and_no_edge_doubles_it() {
        let rate = Rate::default();
        let start = 1_000 * SECOND;
        assert_eq!((0..100).filter(|_| allowed(&rate, 60, start)).count(), 60);
        let refused = rate.take_here(Policy::Key, 60, start).unwrap_err();
        assert_eq!((refused.left, refused.reset), (0, 1));
        // Waiting as long as it says is enough, and gives one.
        assert_eq!((0..10).filter(|_| allowed(&rate, 60, start + SECOND)).count(), 1);
        // Whatever the edge, two seconds hold a burst and two more.
        let rate = Rate::default();
        for edge in [0, 30, 59, 60, 61, 119] {
            let rate = &rate;
            let count = (0..200)
                .filter(|n| allowed(rate, 60, start + 1000 * SECOND * (edge + 1) + n * SECOND / 100))
                .count();
            assert!((60..=62).contains(&count), "{count} at {edge}");
        }
        // A steady flood gets a burst and the rate in its first minute, the rate in each further one.
        let rate = Rate::default();
        let minute = |of: i64| {
            (0..6000).filter(|n| allowed(&rate, 60, start + (of * 6000 + n) * SECOND / 100)).count()
        };
        let counts = [minute(0), minute(1), minute(2)];
        assert!((119..=120).contains(&counts[0]) && (59..=61).contains(&counts[1]), "{counts:?}");
        assert!((59..=61).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn rlm_02_waiting_as_told_is_enough_at_any_rate() {
        for per_minute in [1, 2, 7, 60, 61, 600, 100_000] {
            let rate = Rate::default();
            let mut now = 1_000 * SECOND;
            while allowed(&rate, per_minute, now) {}
            for _ in 0..5 {
                let refused = rate.take_here(Policy::Key, per_minute, now).unwrap_err();
                assert!(refused.reset >= 1);
                now += i64::try_from(refused.reset).unwrap() * SECOND;
                assert!(allowed(&rate, per_minute, now), "{per_minute}");
                while allowed(&rate, per_minute, now) {}
            }
        }
    }

    #[test]
    fn rlm_02_a_clock_that_is_set_back_refuses_nobody_for_long() {
        let rate = Rate::default();
        while allowed(&rate, 60, 10_000 * SECOND) {}
        assert!(allowed(&rate, 60, 6_000 * SECOND));
    }

    #[test]
    fn rlm_01_what_is_left_is_told_and_never_negative() {
        let rate = Rate::default();
        let left: Vec<_> = (0..5)
            .map(|_| match rate.take_here(Policy::Key, 3, 1_000 * SECOND) {
                Ok(standing) | Err(standing) => (standing.left, standing.reset),
            })
            .collect();
        assert_eq!(left, [(2, 20), (1, 40), (0, 20), (0, 20), (0, 20)]);
    }
}
