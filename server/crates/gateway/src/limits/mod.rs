//! How much one principal, organisation, connector and address may do: at once (RLM-06, REQ-06), in a minute and in a
//! month (RLM-01 to RLM-04).
//!
//! Each request with a valid credential counts for the rates of its principal and its organisation. Each call that is
//! passed on to a connector counts for the connector's rate too, and as one call of the month. Everything is decided in
//! memory; the ledger is asked for a portion now and then, and only where there is a limit.

mod quota;
mod rate;
mod standing;

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use domain::{Clock, dataplane::Principal, mcp::code, usage::Ledger};
use http::{HeaderValue, StatusCode, header};
use model::{ConnectorId, OrgId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

pub(crate) use self::standing::{Policy, Standing, tell};
use self::{
    quota::Quota,
    rate::{Bucket, Rate},
};
use crate::{
    Settings,
    handler::{Caller, unavailable},
    planes::ReadyConnector,
    reply::RpcError,
};

/// Maps are swept of those who do nothing when they have grown to this.
const SWEEP_AT: usize = 1024;
const SHARDS: usize = 16;
/// The name of the limit on what runs at once.
const CONCURRENCY: &str = "concurrency";
/// The most addresses that failures are counted of, per shard.
const MOST_ADDRESSES: usize = 4096;

/// What one principal may do.
#[derive(Debug)]
struct Slots {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    waiting: AtomicUsize,
    rate: Rate,
}

/// What everybody may do with one connector.
#[derive(Debug)]
struct Shared {
    calls: Arc<Semaphore>,
    rate: Rate,
}

impl Shared {
    fn new(calls: usize) -> Self {
        Self { calls: Arc::new(Semaphore::new(calls)), rate: Rate::default() }
    }
}

/// What everybody of one organisation may do.
#[derive(Debug)]
struct Org {
    all: Shared,
    streams: Arc<Semaphore>,
    quota: Arc<Quota>,
    principals: Mutex<HashMap<Principal, Arc<Slots>>>,
    connectors: Mutex<HashMap<ConnectorId, Arc<Shared>>>,
}

pub(crate) struct Limits {
    orgs: RwLock<HashMap<OrgId, Arc<Org>>>,
    // Sharded: a flood of failures comes from many at once.
    addresses: [Mutex<HashMap<u128, Arc<Rate>>>; SHARDS],
    hasher: RandomState,
    /// Failures of all addresses.
    failures: Rate,
    /// Refusals that may be held back.
    held_back: Semaphore,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

/// The right to make one call; ends when dropped.
#[derive(Debug)]
pub(crate) struct CallSlot {
    slots: Arc<Slots>,
    streams: Arc<Semaphore>,
    _permits: [OwnedSemaphorePermit; 3],
}

/// The right to keep one event stream open; ends when dropped.
#[derive(Debug)]
pub(crate) struct StreamSlot(#[expect(dead_code, reason = "it is held")] [OwnedSemaphorePermit; 2]);

impl StreamSlot {
    fn take(slots: &Slots, of_org: &Arc<Semaphore>) -> Option<Self> {
        let own = Arc::clone(&slots.streams).try_acquire_owned().ok()?;
        Some(Self([own, Arc::clone(of_org).try_acquire_owned().ok()?]))
    }
}

impl CallSlot {
    /// The right to answer with a stream, unless the principal or its organisation has too many open.
    pub(crate) fn stream(&self) -> Option<StreamSlot> {
        StreamSlot::take(&self.slots, &self.streams)
    }
}

/// Tells that somebody ran into a limit, for the audit log (AUD-02). Noted in memory, and only of what is refused.
fn tripped(caller: &Caller, limit: &'static str) {
    let org = caller.ready.plane.org;
    caller.inner.meter.limited(&caller.access, org, limit, caller.trace.address());
}

fn concurrency(message: String) -> RpcError {
    RpcError::new(StatusCode::TOO_MANY_REQUESTS, code::LIMITED, message)
        .data(r#"{"code":"concurrency","retry_after":1}"#.to_owned())
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Addresses that one customer holds count as one: an IPv6 /64.
fn customer(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

impl Limits {
    pub(crate) fn new(settings: &Settings, clock: Arc<dyn Clock>, ledger: Arc<dyn Ledger>) -> Self {
        Self {
            orgs: RwLock::default(),
            addresses: core::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            failures: Rate::default(),
            held_back: Semaphore::new(settings.refusals_held),
            ledger,
            clock,
            settings: settings.clone(),
        }
    }

    fn org(&self, org: OrgId) -> Arc<Org> {
        if let Some(known) = self.orgs.read().unwrap_or_else(PoisonError::into_inner).get(&org) {
            return Arc::clone(known);
        }
        let mut orgs = self.orgs.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Org {
                all: Shared::new(self.settings.calls_per_org),
                streams: Arc::new(Semaphore::new(self.settings.streams_per_org)),
                quota: Arc::default(),
                principals: Mutex::default(),
                connectors: Mutex::default(),
            })
        };
        Arc::clone(orgs.entry(org).or_insert_with(new))
    }

    fn slots(&self, org: &Org, principal: &Principal, now: i64) -> Arc<Slots> {
        let mut known = org.principals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = known.get(principal) {
            return Arc::clone(slots);
        }
        if known.len() >= SWEEP_AT {
            known.retain(|_, slots| Arc::strong_count(slots) > 1 || !slots.rate.is_full(now));
        }
        let slots = Arc::new(Slots {
            calls: Arc::new(Semaphore::new(self.settings.calls_per_key)),
            streams: Arc::new(Semaphore::new(self.settings.streams_per_key)),
            waiting: AtomicUsize::new(0),
            rate: Rate::default(),
        });
        known.insert(principal.clone(), Arc::clone(&slots));
        slots
    }

    /// Counts a request with a valid credential, before anything of it is done.
    ///
    /// # Errors
    /// 429 over the rate of its principal or organisation; 503 when that cannot be said (ERR-05).
    pub(crate) async fn admit(&self, caller: &Caller) -> Result<(), RpcError> {
        let (limits, id) = (&caller.ready.plane.policy.limits, caller.ready.plane.org);
        if limits.key_per_minute.is_none() && limits.org_per_minute.is_none() {
            return Ok(());
        }
        let (org, now) = (self.org(id), self.clock.now_micros());
        let principal = &caller.access.principal;
        if let Some(per_minute) = limits.key_per_minute {
            let slots = self.slots(&org, principal, now);
            let name = || format!("{}:{principal}", principal.kind());
            let bucket = Bucket { policy: Policy::Key, org: id, name: &name };
            self.take(caller, &slots.rate, bucket, per_minute, now).await?;
        }
        if let Some(per_minute) = limits.org_per_minute {
            let bucket = Bucket { policy: Policy::Org, org: id, name: &|| "org".to_owned() };
            self.take(caller, &org.all.rate, bucket, per_minute, now).await?;
        }
        Ok(())
    }

    async fn take(
        &self,
        caller: &Caller,
        rate: &Rate,
        bucket: Bucket<'_>,
        per_minute: u32,
        now: i64,
    ) -> Result<(), RpcError> {
        match rate.take(bucket, per_minute, now, self.ledger.as_ref()).await {
            Err(_) => Err(unavailable()),
            Ok(Ok(standing)) => {
                // Of rates only the caller's own is told on good answers.
                if standing.policy == Policy::Key {
                    caller.trace.stands(standing);
                }
                Ok(())
            }
            Ok(Err(standing)) => {
                caller.trace.stands(standing);
                tripped(caller, standing.policy.as_str());
                Err(standing.refusal())
            }
        }
    }

    /// Waits for the right to pass a call on to a connector, and counts it. Bursts of one principal wait a moment; a load
    /// that stays is refused rather than queued. What is not `paid` counts for everything but the month: a further round of
    /// a call that was counted.
    ///
    /// # Errors
    /// 429 with too many calls at once, over the connector's rate, or when the month's quota is used up; 503 when that
    /// cannot be said.
    pub(crate) async fn call(
        &self,
        caller: &Caller,
        connector: &ReadyConnector,
        paid: bool,
    ) -> Result<CallSlot, RpcError> {
        let plane = &caller.ready.plane;
        let org = self.org(plane.org);
        let slots = self.slots(&org, &caller.access.principal, self.clock.now_micros());
        let own = self.turn(caller, &slots).await?;
        let [of_connector, of_org] = self.reach(caller, &org, connector).await?;
        // The last, because it is paid for: whatever is refused before does not count (RLM-04).
        if let Some(quota) = plane.policy.limits.calls_per_month.filter(|_| paid) {
            let taken = org.quota.take(plane.org, quota, self.clock.now(), &self.ledger).await;
            let taken = taken.map_err(|_| unavailable())?;
            let (Ok(standing) | Err(standing)) = taken;
            caller.trace.stands(standing);
            taken.map_err(|standing| {
                tripped(caller, standing.policy.as_str());
                standing.refusal()
            })?;
        }
        caller.trace.passed_on(paid);
        let streams = Arc::clone(&org.streams);
        Ok(CallSlot { slots, streams, _permits: [own, of_connector, of_org] })
    }

    /// The right to ask a connector what it offers. It is no call of the month, and whoever asks many at once takes one turn
    /// for all of them ([`Limits::own_turn`]).
    ///
    /// # Errors
    /// 429 with too many calls at once, or over the connector's rate; 503 when that cannot be said.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        connector: &ReadyConnector,
    ) -> Result<[OwnedSemaphorePermit; 2], RpcError> {
        let org = self.org(caller.ready.plane.org);
        self.reach(caller, &org, connector).await
    }

    /// What everybody shares who reaches a connector.
    async fn reach(
        &self,
        caller: &Caller,
        org: &Org,
        connector: &ReadyConnector,
    ) -> Result<[OwnedSemaphorePermit; 2], RpcError> {
        let (plane, id) = (&caller.ready.plane, connector.plane.id);
        let shared = {
            let mut known = org.connectors.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= SWEEP_AT {
                known.retain(|_, shared| Arc::strong_count(shared) > 1);
            }
            let new = || Arc::new(Shared::new(self.settings.calls_per_connector));
            Arc::clone(known.entry(id).or_insert_with(new))
        };
        let of_connector = Arc::clone(&shared.calls).try_acquire_owned().map_err(|_| {
            tripped(caller, CONCURRENCY);
            concurrency(format!(
                "The connector \"{}\" has {} calls running. Wait for some to end.",
                connector.plane.slug, self.settings.calls_per_connector
            ))
        })?;
        let of_org = Arc::clone(&org.all.calls).try_acquire_owned().map_err(|_| {
            tripped(caller, CONCURRENCY);
            concurrency(format!(
                "This organisation has {} calls running. Wait for some to end.",
                self.settings.calls_per_org
            ))
        })?;
        if let Some(per_minute) = plane.policy.limits.connector_per_minute {
            let name = || format!("connector:{id}");
            let bucket = Bucket { policy: Policy::Connector, org: plane.org, name: &name };
            self.take(caller, &shared.rate, bucket, per_minute, self.clock.now_micros()).await?;
        }
        Ok([of_connector, of_org])
    }

    /// The right to keep a stream open without a call (REQ-06).
    ///
    /// # Errors
    /// 429.
    pub(crate) fn stream(&self, caller: &Caller) -> Result<StreamSlot, RpcError> {
        let org = self.org(caller.ready.plane.org);
        let slots = self.slots(&org, &caller.access.principal, self.clock.now_micros());
        StreamSlot::take(&slots, &org.streams).ok_or_else(|| {
            tripped(caller, "streams");
            let message = if slots.streams.available_permits() == 0 {
                format!(
                    "This credential has {} streams open. Close some first.",
                    self.settings.streams_per_key
                )
            } else {
                format!(
                    "This organisation has {} streams open. Close some first.",
                    self.settings.streams_per_org
                )
            };
            RpcError::new(StatusCode::TOO_MANY_REQUESTS, code::LIMITED, message)
                .data(r#"{"code":"streams","retry_after":5}"#.to_owned())
                .header(header::RETRY_AFTER, HeaderValue::from_static("5"))
        })
    }

    /// Waits for the right to ask several connectors what they offer, which is no call of any of them.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn own_turn(&self, caller: &Caller) -> Result<OwnedSemaphorePermit, RpcError> {
        let org = self.org(caller.ready.plane.org);
        let slots = self.slots(&org, &caller.access.principal, self.clock.now_micros());
        self.turn(caller, &slots).await
    }

    /// Waits until the principal may make one more call.
    async fn turn(&self, caller: &Caller, slots: &Arc<Slots>) -> Result<OwnedSemaphorePermit, RpcError> {
        if let Ok(permit) = Arc::clone(&slots.calls).try_acquire_owned() {
            return Ok(permit);
        }
        let refused = || {
            tripped(caller, CONCURRENCY);
            concurrency(format!(
                "This credential has {} calls running. Wait for some to end.",
                self.settings.calls_per_key
            ))
        };
        let since = Instant::now();
        let place = Place::take(slots, self.settings.waiting_per_key).ok_or_else(refused)?;
        let permit = tokio::time::timeout(self.settings.turn, Arc::clone(&slots.calls).acquire_owned()).await;
        drop(place);
        caller.trace.queued(since.elapsed());
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(refused()),
        }
    }

    /// Counts an authentication from this address that failed. Good credentials from it go on working, and no
    /// organisation's limits are touched (RLM-03). Of an address that has failed too often the refusal is held back for a
    /// moment, and that of anybody while failures come from everywhere, so that a flood waits instead of the calls of others.
    ///
    /// # Errors
    /// How the address stands when it has failed too often.
    pub(crate) async fn failed(&self, address: IpAddr) -> Result<(), Standing> {
        let counted = self.count_failure(address);
        let (everywhere, now) = (self.settings.failures_everywhere, self.clock.now_micros());
        let flooded = self.failures.take_here(Policy::Address, everywhere, now).is_err();
        if (flooded || counted.is_err())
            && let Ok(_place) = self.held_back.try_acquire()
        {
            tokio::time::sleep(self.settings.refusal_held).await;
        }
        counted
    }

    fn count_failure(&self, address: IpAddr) -> Result<(), Standing> {
        let (customer, now) = (customer(address), self.clock.now_micros());
        let shard = &self.addresses[usize::from(self.hasher.hash_one(customer).to_le_bytes()[0]) % SHARDS];
        let rate = {
            let mut known = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST_ADDRESSES && !known.contains_key(&customer) {
                known.retain(|_, rate| !rate.is_full(now));
                // So many at once are a flood from everywhere: nobody is told from anybody any more.
                if known.len() >= MOST_ADDRESSES {
                    known.clear();
                }
            }
            Arc::clone(known.entry(customer).or_default())
        };
        rate.take_here(Policy::Address, self.settings.failures_per_address, now).map(drop)
    }

    /// Gives back what is held of quotas and not used.
    pub(crate) async fn settle(&self, at_end: bool) {
        let orgs: Vec<_> = {
            let orgs = self.orgs.read().unwrap_or_else(PoisonError::into_inner);
            orgs.iter().map(|(id, org)| (*id, Arc::clone(org))).collect()
        };
        let now = self.clock.now();
        for (id, org) in orgs {
            org.quota.settle(id, now, at_end, self.ledger.as_ref()).await;
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
