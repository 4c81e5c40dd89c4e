//! How much one key may do at once (RLM-06, REQ-06).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::mcp::code;
use http::{HeaderValue, StatusCode, header};
use model::ApiKeyId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Settings, reply::RpcError};

/// Maps are swept of keys that do nothing when they have grown to this.
const SWEEP_AT: usize = 1024;
const SHARDS: usize = 16;

#[derive(Debug)]
struct KeySlots {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Limits {
    // Sharded: every call of every key passes here.
    shards: [Mutex<HashMap<ApiKeyId, Arc<KeySlots>>>; SHARDS],
    calls: usize,
    streams: usize,
    waiting: usize,
    turn: Duration,
}

/// The right to make one call; ends when dropped.
#[derive(Debug)]
pub(crate) struct CallSlot {
    slots: Arc<KeySlots>,
    _permit: OwnedSemaphorePermit,
}

impl CallSlot {
    /// The right to answer with a stream, unless the key has too many open.
    pub(crate) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots.streams).try_acquire_owned().ok()
    }
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            shards: core::array::from_fn(|_| Mutex::default()),
            calls: settings.calls_per_key,
            streams: settings.streams_per_key,
            waiting: settings.waiting_per_key,
            turn: settings.turn,
        }
    }

    fn slots(&self, key: ApiKeyId) -> Arc<KeySlots> {
        let shard = &self.shards[(key.uuid().as_u128() % SHARDS as u128) as usize];
        let mut keys = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= SWEEP_AT && !keys.contains_key(&key) {
            keys.retain(|_, slots| Arc::strong_count(slots) > 1);
        }
        Arc::clone(keys.entry(key).or_insert_with(|| {
            Arc::new(KeySlots {
                calls: Arc::new(Semaphore::new(self.calls)),
                streams: Arc::new(Semaphore::new(self.streams)),
                waiting: AtomicUsize::new(0),
            })
        }))
    }

    /// Waits for the right to make a call. Bursts wait a moment; a load that stays is refused rather than queued.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn call(&self, key: ApiKeyId) -> Result<CallSlot, RpcError> {
        let slots = self.slots(key);
        if let Ok(permit) = Arc::clone(&slots.calls).try_acquire_owned() {
            return Ok(CallSlot { slots, _permit: permit });
        }
        let refused = || {
            RpcError::new(
                StatusCode::TOO_MANY_REQUESTS,
                code::LIMITED,
                format!("This key has {} calls running. Wait for some to end.", self.calls),
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
struct Place<'s>(&'s KeySlots);

impl<'s> Place<'s> {
    fn take(slots: &'s KeySlots, most: usize) -> Option<Self> {
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
