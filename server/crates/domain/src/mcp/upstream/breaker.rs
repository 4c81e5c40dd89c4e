//! When a server that keeps failing is left alone for a while (UPS-09).

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open a breaker.
const IN_A_ROW: u32 = 5;
/// Calls in the window from which on the share of failures counts.
const ENOUGH: u32 = 20;
/// How far back the share of failures looks, in slices.
const WINDOW: Duration = Duration::from_secs(30);
const SLICES: usize = 6;
/// How long a server is left alone.
pub(super) const REST: Duration = Duration::from_secs(30);
/// How long whoever comes while one call tries is told to wait.
const SHORTLY: Duration = Duration::from_secs(1);

/// What a breaker lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing, for so long.
    Open {
        /// Until one call may try.
        wait: Duration,
        /// The last failure, in words for people.
        why: Box<str>,
    },
    /// One call, which decides: it is under way, or the next one is it.
    HalfOpen {
        /// The last failure, in words for people.
        why: Box<str>,
    },
}

/// The way through, as it was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// One of many.
    Plain,
    /// The one call that decides whether the breaker closes.
    Trial,
}

/// Not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) wait: Duration,
    pub(super) why: Box<str>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    good: u32,
    bad: u32,
}

#[derive(Debug)]
enum Inner {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

/// The breaker of one connector. Time is the caller's, so that it never asks a clock twice for one decision.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Inner,
    in_a_row: u32,
    slices: [Slice; SLICES],
    /// Which slice is being filled, counted from `began`.
    at: u64,
    began: Instant,
    why: Box<str>,
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: Inner::Closed,
            in_a_row: 0,
            slices: [Slice::default(); SLICES],
            at: 0,
            began: now,
            why: "".into(),
        }
    }

    /// Whether a call may go now.
    ///
    /// # Errors
    /// [`Refused`] while the server is left alone.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Pass, Refused> {
        match self.state {
            Inner::Closed => Ok(Pass::Plain),
            Inner::Open { until } if now >= until => {
                self.state = Inner::HalfOpen;
                Ok(Pass::Trial)
            }
            Inner::Open { until } => Err(Refused { wait: until - now, why: self.why.clone() }),
            Inner::HalfOpen => Err(Refused { wait: SHORTLY, why: self.why.clone() }),
        }
    }

    /// The server answered.
    pub(super) fn good(&mut self, pass: Pass, now: Instant) {
        self.in_a_row = 0;
        self.slice(now).good += 1;
        match (&self.state, pass) {
            (Inner::HalfOpen, Pass::Trial) => {
                self.state = Inner::Closed;
                self.slices = [Slice::default(); SLICES];
            }
            // A call from before it opened, or a check. Within the rest that is worth a try, no more; after it there was
            // nobody to try, and the check did.
            (Inner::Open { until }, _) if now < *until => self.state = Inner::Open { until: now },
            (Inner::Open { .. }, _) => self.state = Inner::Closed,
            _ => {}
        }
    }

    /// The server failed. Whether this opened the breaker.
    pub(super) fn bad(&mut self, pass: Pass, now: Instant, why: &dyn core::fmt::Display) -> bool {
        self.in_a_row += 1;
        self.slice(now).bad += 1;
        let (good, bad) =
            self.slices.iter().fold((0, 0), |(good, bad), slice| (good + slice.good, bad + slice.bad));
        let opens = match (&self.state, pass) {
            (Inner::HalfOpen, Pass::Trial) => true,
            (Inner::Closed, _) => self.in_a_row >= IN_A_ROW || (good + bad >= ENOUGH && bad * 2 > good + bad),
            // Calls that were under way when it opened say nothing new.
            _ => false,
        };
        if opens {
            self.state = Inner::Open { until: now + REST };
            self.why = why.to_string().into();
        }
        opens
    }

    /// Nothing was learnt: whoever waited went away. A trial may be made by the next.
    pub(super) fn unknown(&mut self, pass: Pass, now: Instant) {
        if pass == Pass::Trial && matches!(self.state, Inner::HalfOpen) {
            self.state = Inner::Open { until: now };
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            Inner::Closed => BreakerState::Closed,
            Inner::Open { until } if now < until => {
                BreakerState::Open { wait: until - now, why: self.why.clone() }
            }
            Inner::Open { .. } | Inner::HalfOpen => BreakerState::HalfOpen { why: self.why.clone() },
        }
    }

    /// The slice of now; those that are too old are emptied.
    fn slice(&mut self, now: Instant) -> &mut Slice {
        let length = (WINDOW / u32::try_from(SLICES).unwrap_or(1)).as_millis().max(1);
        let at =
            u64::try_from(now.saturating_duration_since(self.began).as_millis() / length).unwrap_or(u64::MAX);
        let slices = SLICES as u64;
        for empty in 0..at.saturating_sub(self.at).min(slices) {
            self.slices[usize::try_from((self.at + 1 + empty) % slices).unwrap_or(0)] = Slice::default();
        }
        self.at = self.at.max(at);
        &mut self.slices[usize::try_from(self.at % slices).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> (Breaker, Instant) {
        let now = Instant::now();
        (Breaker::new(now), now)
    }

    fn fail(breaker: &mut Breaker, now: Instant) -> bool {
        let pass = breaker.admit(now).expect("it is let through");
        breaker.bad(pass, now, &"it is broken")
    }

    #[test]
    fn ups_09_five_failures_in_a_row_open_it_and_one_success_closes_it() {
        let (mut b, now) = breaker();
        for _ in 0..4 {
            assert!(!fail(&mut b, now));
        }
        b.good(Pass::Plain, now);
        for _ in 0..4 {
            assert!(!fail(&mut b, now), "a success in between begins the count anew");
        }
        assert!(fail(&mut b, now));
        let refused = b.admit(now + 10 * SECOND).unwrap_err();
        assert_eq!((refused.wait, &*refused.why), (20 * SECOND, "it is broken"));
        // After the rest one call may try, and only one.
        let later = now + REST;
        assert_eq!(b.admit(later), Ok(Pass::Trial));
        assert_eq!(b.admit(later).unwrap_err().wait, SHORTLY);
        assert_eq!(b.state(later), BreakerState::HalfOpen { why: "it is broken".into() });
        assert!(b.bad(Pass::Trial, later, &"still"));
        assert!(b.admit(later + 29 * SECOND).is_err());
        assert_eq!(b.admit(later + REST), Ok(Pass::Trial));
        b.good(Pass::Trial, later + REST);
        assert_eq!(b.state(later + REST), BreakerState::Closed);
        assert!(!fail(&mut b, later + REST), "the old failures are forgotten");
    }

    #[test]
    fn ups_09_more_than_half_of_twenty_in_half_a_minute_open_it() {
        let (mut b, now) = breaker();
        let mut opened = Vec::new();
        for n in 0..20_u32 {
            let pass = b.admit(now).unwrap();
            if n % 2 == 0 {
                opened.push(b.bad(pass, now, &"x"));
            } else {
                b.good(pass, now);
            }
        }
        assert!(opened.iter().all(|opened| !opened), "ten of twenty are not more than half");
        assert!(fail(&mut b, now), "eleven of twenty-one are");
        // The same failures spread over a longer time are none.
        let (mut b, now) = breaker();
        for n in 0..60_u32 {
            let at = now + 4 * SECOND * n;
            let pass = b.admit(at).unwrap();
            if n % 3 == 0 {
                b.good(pass, at);
            } else {
                assert!(!b.bad(pass, at, &"x"), "{n}");
            }
        }
    }

    #[test]
    fn ups_09_a_trial_that_nobody_waited_for_is_made_again() {
        let (mut b, now) = breaker();
        for _ in 0..5 {
            fail(&mut b, now);
        }
        let later = now + REST;
        assert_eq!(b.admit(later), Ok(Pass::Trial));
        b.unknown(Pass::Trial, later);
        assert_eq!(b.admit(later), Ok(Pass::Trial));
        // What was under way when it opened neither closes it nor keeps it open.
        assert!(!b.bad(Pass::Plain, later, &"late"));
        b.good(Pass::Plain, later);
        assert!(b.admit(later).is_err());
        b.good(Pass::Trial, later);
        assert_eq!(b.admit(later), Ok(Pass::Plain));
    }

    #[test]
    fn ups_09_a_good_check_lets_the_next_call_try_at_once() {
        let (mut b, now) = breaker();
        for _ in 0..5 {
            fail(&mut b, now);
        }
        assert!(b.admit(now + SECOND).is_err());
        b.good(Pass::Plain, now + SECOND);
        assert!(matches!(b.state(now + SECOND), BreakerState::HalfOpen { .. }));
        assert_eq!(b.admit(now + SECOND), Ok(Pass::Trial));
        // Where nobody calls, good checks close it.
        let (mut b, now) = breaker();
        for _ in 0..5 {
            fail(&mut b, now);
        }
        b.good(Pass::Plain, now + SECOND);
        b.good(Pass::Plain, now + SECOND * 60);
        assert_eq!(b.state(now + SECOND * 60), BreakerState::Closed);
    }

    /// D16: whatever the order of events, at most one trial is under way, and after a rest somebody may always try.
    #[test]
    fn d16_no_order_of_events_lets_two_try_or_shuts_it_for_ever() {
        let began = Instant::now();
        for seed in 1..=10_000_u64 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut next = |most: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % most
            };
            let (mut b, mut now) = (Breaker::new(began), began);
            let mut under_way: Vec<Pass> = Vec::new();
            for _ in 0..60 {
                now += Duration::from_millis(next(9_000));
                if next(2) == 0 {
                    if let Ok(pass) = b.admit(now) {
                        under_way.push(pass);
                    }
                } else if !under_way.is_empty() {
                    let pass = under_way.swap_remove(usize::try_from(next(under_way.len() as u64)).unwrap());
                    match next(4) {
                        0 => b.good(pass, now),
                        1 => b.unknown(pass, now),
                        _ => drop(b.bad(pass, now, &"x")),
                    }
                }
                assert!(under_way.iter().filter(|pass| **pass == Pass::Trial).count() <= 1, "seed {seed}");
            }
            for pass in under_way {
                b.unknown(pass, now);
            }
            assert!(b.admit(now + REST).is_ok(), "seed {seed}");
        }
    }
}
