//! Whether a stream may go on: credentials end, and so do connectors (APK-05).

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::handler::Caller;

/// Failed attempts to ask whether the key still works, after which it is taken not to (ERR-05).
const MAX_DOUBTS: u8 = 2;

/// A caller whose credential is looked at again and again.
pub(crate) struct Watchful {
    pub(crate) caller: Caller,
    doubts: u8,
}

impl Watchful {
    pub(crate) const fn new(caller: Caller) -> Self {
        Self { caller, doubts: 0 }
    }

    /// How often to look.
    pub(crate) fn interval(&self) -> Interval {
        let settings = &self.caller.inner.settings;
        let period = settings.recheck.min(settings.heartbeat);
        let mut tick = interval_at(Instant::now() + period, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick
    }

    /// Whether the credential could still make this call. Without news of the organisation only its expiry is looked at,
    /// and whether a token's key was removed.
    pub(crate) async fn still_allowed(&mut self, connector: Option<&str>) -> bool {
        let caller = &mut self.caller;
        let now = caller.inner.clock.now();
        // A change on trial ends with the time alone.
        if !caller.ready.plane.allowlist.admits(caller.trace.address(), now) {
            return false;
        }
        if caller.inner.planes.is_current(&caller.ready) {
            return caller.access.lives(now) && caller.credential.stands(caller.inner.tokens.as_ref());
        }
        let ready = caller.inner.planes.ready(caller.ready.plane.org);
        // A database that does not answer must not hold up the stream for longer than until the next question.
        match timeout(caller.inner.settings.recheck, ready).await {
            Err(_) | Ok(Err(_)) => {
                self.doubts += 1;
                self.doubts < MAX_DOUBTS
            }
            Ok(Ok(None)) => false,
            Ok(Ok(Some(ready))) => {
                self.doubts = 0;
                let access = caller.credential.authenticate(&ready, caller.inner.tokens.as_ref(), now);
                let allowed = !ready.plane.suspended
                    && ready.plane.allowlist.admits(caller.trace.address(), now)
                    && caller.credential.admits(&ready, caller.trace.address())
                    && access.as_ref().is_ok_and(|access| {
                        connector.is_none_or(|slug| {
                            ready.connector(slug).is_some_and(|c| access.scope.includes(c.plane.id))
                        })
                    });
                if let Ok(access) = access {
                    caller.access = access;
                }
                caller.ready = ready;
                allowed
            }
        }
    }
}
