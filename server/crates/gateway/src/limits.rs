//! How much one principal may do at once (RLM-06, REQ-06).

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{dataplane::Principal, mcp::code};
use http::{HeaderValue, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Settings, reply::RpcError};

/// Maps are swept of principals that do nothing when they have grown to this.
const SWEEP_AT: usize = 1024;
const SHARDS: usize = 16;

#[derive(Debug)]
struct Slots {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Limits {
    // Sharded: every call passes here.
    shards: [Mutex<HashMap<Principal, Arc<Slots>>>; SHARDS],
    hasher: RandomState,
    calls: usize,
    streams: usize,
    waiting: usize,
    turn: Duration,
}

/// The right to make one call; ends when dropped.
#[derive(Debug)]
pub(crate) struct CallSlot {
    slots: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
}

impl CallSlot {
    /// The right to answer with a stream, unless the principal has too many open.
    pub(crate) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots.streams).try_acquire_owned().ok()
    }
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            shards: core::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            calls: settings.calls_per_key,
            streams: settings.streams_per_key,
            waiting: settings.waiting_per_key,
            turn: settings.turn,
        }
    }

    fn slots(&self, principal: &Principal) -> Arc<Slots> {
        let shard = &self.shards[usize::from(self.hasher.hash_one(principal).to_le_bytes()[0]) % SHARDS];
        let mut known = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = known.get(principal) {
            return Arc::clone(slots);
        }
        if known.len() >= SWEEP_AT {
            known.retain(|_, slots| Arc::strong_count(slots) > 1);
        }
        let slots = Arc::new(Slots {
            calls: Arc::new(Semaphore::new(self.calls)),
            streams: Arc::new(Semaphore::new(self.streams)),
            waiting: AtomicUsize::new(0),
        });
        known.insert(principal.clone(), Arc::clone(&slots));
        slots
    }

    /// The right to keep a stream open without a call (REQ-06).
    ///
    /// # Errors
    /// 429.
    pub(crate) fn stream(&self, principal: &Principal) -> Result<OwnedSemaphorePermit, RpcError> {
        Arc::clone(&self.slots(principal).streams).try_acquire_owned().map_err(|_| {
            RpcError::new(
                StatusCode::TOO_MANY_REQUESTS,
                code::LIMITED,
                format!("This credential has {} streams open. Close some first.", self.streams),
            )
            .word("streams")
            .header(header::RETRY_AFTER, HeaderValue::from_static("5"))
        })
    }

    /// Waits for the right to make a call. Bursts wait a moment; a load that stays is refused rather than queued.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn call(&self, principal: &Principal) -> Result<CallSlot, RpcError> {
        let slots = self.slots(principal);
        if let Ok(permit) = Arc::clone(&slots.calls).try_acquire_owned() {
            return Ok(CallSlot { slots, _permit: permit });
        }
        let refused = || {
            RpcError::new(
                StatusCode::TOO_MANY_REQUESTS,
                code::LIMITED,
                format!("This credential has {} calls running. Wait for some to end.", self.calls),
            )
            .word("concurrency")
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        };
        let place = Place::take(&slots, self.waiting).ok_or_else(refused)?;
        let permit = tokio::time::timeout(self.turn, Arc::clone(&slots.calls).acquire_owned()).await;
        drop(place);
        match permit {
            Ok(Ok(permit)) => Ok(CallSlot { slots, _permit: permit }),
            _ => Err(refused()),
        }
    }
}

/// A place in the queue.
struct Place<'s>(&'s Slots);

impl<'s> Place<'s> {
    fn take(slots: &'s Slots, most: usize) -> Option<Self> {
        if slots.waiting.fetch_add(1, Ordering::Relaxed) >= most {
            slots.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(slots))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
