//! Who may ask a server now: its breaker, and how much is asked of it at once. What a connector's server does to the
//! calls of one organisation must not reach those of another (TEN-07, D09).

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    UpstreamError, UpstreamSettings,
    breaker::{Breaker, BreakerState, Pass, Refused},
};
use crate::net::{NetError, ProcessFault};

#[derive(Debug)]
struct Shared {
    breaker: Mutex<Breaker>,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The guard of one connector's server. Clones are the same guard.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    concurrency: usize,
    waiting: usize,
    turn: Duration,
}

/// The right to ask once. Whoever drops it without having said what came of it has learnt nothing.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    pass: Option<Pass>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Shared {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole seconds, at least one: what `Retry-After` can say.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

impl Guard {
    pub(super) fn new(settings: &UpstreamSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                breaker: Mutex::new(Breaker::new(Instant::now())),
                running: Arc::new(Semaphore::new(settings.concurrency)),
                waiting: AtomicUsize::new(0),
            }),
            concurrency: settings.concurrency,
            waiting: settings.waiting,
            turn: settings.turn,
        }
    }

    /// Waits for a turn to ask. A burst waits a moment; a load that stays is refused rather than queued.
    ///
    /// # Errors
    /// [`UpstreamError::Open`] while the server is left alone, [`UpstreamError::Full`] when too much is under way.
    pub(super) async fn enter(&self) -> Result<Ticket, UpstreamError> {
        let permit = match Arc::clone(&self.shared.running).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        // Only now: a trial must not stand in a queue.
        let pass = self.shared.breaker().admit(Instant::now());
        match pass {
            Ok(pass) => {
                Ok(Ticket { shared: Arc::clone(&self.shared), pass: Some(pass), _permit: Some(permit) })
            }
            Err(Refused { wait, why }) => Err(UpstreamError::Open { retry_after: seconds(wait), why }),
        }
    }

    /// For checks, which are few: past the breaker, so that a server that is back is noticed, and past the queue.
    pub(super) fn check(&self) -> Ticket {
        Ticket { shared: Arc::clone(&self.shared), pass: Some(Pass::Plain), _permit: None }
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        let full = || UpstreamError::Full { concurrency: self.concurrency };
        // An open breaker answers at once, however long the queue.
        if let BreakerState::Open { wait, why } = self.state() {
            return Err(UpstreamError::Open { retry_after: seconds(wait), why });
        }
        let _place = Place::take(&self.shared.waiting, self.waiting).ok_or_else(full)?;
        match timeout(self.turn, Arc::clone(&self.shared.running).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(full()),
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.shared.breaker().state(Instant::now())
    }

    /// Whether somebody else holds it.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// How many calls are under way.
    pub(super) fn running(&self) -> usize {
        self.concurrency.saturating_sub(self.shared.running.available_permits())
    }
}

/// A place in the queue.
struct Place<'s>(&'s AtomicUsize);

impl<'s> Place<'s> {
    fn take(waiting: &'s AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ticket {
    /// The server answered, whatever it said.
    pub(super) fn good(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.shared.breaker().good(pass, Instant::now());
        }
    }

    /// What went wrong; whether it is the server's fault is decided here.
    pub(super) fn failed(&mut self, error: &UpstreamError) {
        match blame(error) {
            Blame::Server => {
                let Some(pass) = self.pass.take() else { return };
                if self.shared.breaker().bad(pass, Instant::now(), error) {
                    tracing::warn!(error = %error, "an upstream server keeps failing and is left alone for a while");
                }
            }
            Blame::Answered => self.good(),
            Blame::Nobody => {}
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.shared.breaker().unknown(pass, Instant::now());
        }
    }
}

/// What a failure says about a server.
enum Blame {
    /// It is not there, or in no state to answer.
    Server,
    /// It is there, and this one answer was not what it should be: another tool or another caller may fare better.
    Answered,
    /// Nothing: it was not asked.
    Nobody,
}

fn blame(error: &UpstreamError) -> Blame {
    match error {
        UpstreamError::Net(
            NetError::Blocked(_)
            | NetError::Process(
                ProcessFault::NotListed
                | ProcessFault::Stopped
                | ProcessFault::Resting(_)
                | ProcessFault::TooMany(_),
            ),
        )
        | UpstreamError::NotAuthorized(_)
        | UpstreamError::Open { .. }
        | UpstreamError::Full { .. } => Blame::Nobody,
        UpstreamError::Net(NetError::Process(ProcessFault::TooLarge(_))) => Blame::Answered,
        UpstreamError::Net(_)
        | UpstreamError::Timeout(_)
        | UpstreamError::Failed(_)
        | UpstreamError::WebPage
        | UpstreamError::NotMcp(_) => Blame::Server,
        _ => Blame::Answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(concurrency: usize, waiting: usize) -> Guard {
        Guard::new(&UpstreamSettings { concurrency, waiting, ..UpstreamSettings::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn ten_07_what_is_too_much_at_once_is_refused_and_not_queued_for_ever() {
        let guard = guard(2, 1);
        let (first, second) = (guard.enter().await.unwrap(), guard.enter().await.unwrap());
        assert_eq!(guard.running(), 2);
        let waits = tokio::spawn({
            let guard = guard.clone();
            async move { guard.enter().await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(guard.enter().await.unwrap_err(), UpstreamError::Full { concurrency: 2 });
        drop(first);
        waits.await.unwrap().unwrap();
        let _third = guard.enter().await.unwrap();
        // Nobody makes room.
        let began = Instant::now();
        assert!(matches!(guard.enter().await, Err(UpstreamError::Full { .. })));
        assert_eq!(began.elapsed(), guard.turn);
        drop(second);
        assert!(guard.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn ups_09_only_what_the_server_is_to_blame_for_opens_the_breaker() {
        let harmless = [
            UpstreamError::TooLarge(1),
            UpstreamError::NeedsAuth { status: 401, oauth: false },
            UpstreamError::Busy { retry_after: None },
            UpstreamError::Protocol("x"),
            UpstreamError::Net(NetError::Blocked(crate::net::Blocked::Address)),
        ];
        for error in harmless {
            let guard = guard(4, 4);
            for _ in 0..30 {
                guard.enter().await.unwrap().failed(&error);
            }
            assert_eq!(guard.state(), BreakerState::Closed, "{error}");
        }
        for error in [
            UpstreamError::Net(NetError::Unreachable),
            UpstreamError::Timeout(Duration::from_secs(30)),
            UpstreamError::Failed(503),
        ] {
            let guard = guard(4, 4);
            for _ in 0..5 {
                guard.enter().await.unwrap().failed(&error);
            }
            let Err(UpstreamError::Open { retry_after, why }) = guard.enter().await else {
                panic!("{error}: it is still asked")
            };
            assert_eq!((retry_after, &*why), (30, error.to_string().as_str()));
            // A check goes past it, and what it finds counts.
            guard.check().good();
            let mut trial = guard.enter().await.unwrap();
            assert!(guard.enter().await.is_err(), "one at a time");
            trial.good();
            assert_eq!(guard.state(), BreakerState::Closed);
        }
    }
}
