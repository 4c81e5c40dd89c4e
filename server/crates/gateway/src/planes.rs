//! Snapshots of organisations, made ready for calls and kept until something changes.
//!
//! A snapshot that was declared stale is never used again: whoever comes next waits for a new one, and is refused when
//! there is none (ERR-05). Loading is done once, however many wait; they share its failure too, and after one the
//! database is left alone for a moment. A load that takes too long keeps nobody: it goes on by itself, and those who
//! come meanwhile are refused at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    Clock,
    allowlist::KeyRanges,
    dataplane::{Access, Directory, OrgPlane, PlaneConnector, PlaneScope, Unavailable},
    mcp::{
        json,
        tools::{ParamHeader, SEPARATOR, is_name, param_headers},
        upstream::{Key, Upstreams},
    },
    upstream_oauth::Keeper,
};
use model::{ConnectorId, OrgId, connectors::Transport};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{Settings, tools::Listing, ways::Ways};

/// How many lists of scopes are kept for one organisation.
const LISTINGS: usize = 64;

/// One tool, ready to be called.
#[derive(Debug)]
pub(crate) struct ReadyTool {
    /// Its name upstream.
    pub(crate) name: Box<str>,
    pub(crate) enabled: bool,
    /// Kept from agents until somebody approves its definition.
    pub(crate) held: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) params: Vec<ParamHeader>,
}

/// One connector, ready to be called.
#[derive(Debug)]
pub(crate) struct ReadyConnector {
    pub(crate) plane: Arc<PlaneConnector>,
    pub(crate) upstream: Ways,
    pub(crate) tools: HashMap<Box<str>, ReadyTool>,
}

/// One enabled API key.
#[derive(Debug)]
pub(crate) struct ReadyKey {
    /// What it gives, so that a call holds it without copying.
    pub(crate) access: Arc<Access>,
    /// Whether it may be used as `?api_key=`.
    pub(crate) url_key: bool,
    /// From where it may be used.
    pub(crate) ranges: KeyRanges,
}

/// Whose list it is: a scope's, and perhaps of one connector alone.
type ListKey = (PlaneScope, Option<ConnectorId>);

/// One organisation, ready for calls.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) plane: Arc<OrgPlane>,
    pub(crate) connectors: Vec<ReadyConnector>,
    by_slug: HashMap<Box<str>, usize>,
    /// The connector whose names have no prefix.
    unprefixed: Option<usize>,
    /// Its API keys, by hash.
    pub(crate) keys: HashMap<[u8; 32], ReadyKey>,
    /// Lists of tools as they are sent: the common one, and those of narrower scopes or of one connector.
    whole: OnceLock<Arc<Listing>>,
    parts: Mutex<HashMap<ListKey, Arc<Listing>>>,
    /// Which generation of the slot it was loaded for, and when.
    generation: u64,
    loaded_at: i64,
}

impl Ready {
    pub(crate) fn connector(&self, slug: &str) -> Option<&ReadyConnector> {
        self.by_slug.get(slug).map(|at| &self.connectors[*at])
    }

    /// The connector whose names stand without a prefix on the organisation's endpoint.
    pub(crate) fn unprefixed(&self) -> Option<&ReadyConnector> {
        self.unprefixed.map(|at| &self.connectors[at])
    }

    /// Where a name on the organisation's endpoint leads: to a connector, and its own name there. A name that begins with a
    /// connector's prefix is that connector's, whatever others call theirs.
    pub(crate) fn place<'n>(&self, name: &'n str) -> Option<(&ReadyConnector, &'n str)> {
        // Slugs have no underscore, so the first separator ends the slug.
        let prefixed = name.split_once(SEPARATOR).and_then(|(slug, own)| Some((self.connector(slug)?, own)));
        prefixed.or_else(|| Some((self.unprefixed()?, name)))
    }

    /// A connector's name for something as it stands on the organisation's endpoint; nothing when it would lead to another
    /// connector.
    pub(crate) fn public_name(&self, connector: &ReadyConnector, own: &str) -> Option<String> {
        if !connector.plane.unprefixed {
            return Some(format!("{}{SEPARATOR}{own}", connector.plane.slug));
        }
        let leads_here = self.place(own).is_some_and(|(found, _)| found.plane.id == connector.plane.id);
        leads_here.then(|| own.to_owned())
    }

    /// The list for a scope, made at its first use. `only` is the connector of the path.
    pub(crate) fn listing(
        &self,
        scope: &PlaneScope,
        only: Option<&ReadyConnector>,
        page: usize,
    ) -> Arc<Listing> {
        if *scope == PlaneScope::All && only.is_none() {
            return Arc::clone(self.whole.get_or_init(|| Arc::new(Listing::new(self, scope, None, page))));
        }
        let name = (scope.clone(), only.map(|c| c.plane.id));
        if let Some(listing) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Arc::clone(listing);
        }
        // Made without the lock: two that come at once make the same.
        let listing = Arc::new(Listing::new(self, scope, only, page));
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.len() >= LISTINGS {
            parts.clear();
        }
        parts.insert(name, Arc::clone(&listing));
        listing
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }
}

#[derive(Debug, Default)]
struct Slot {
    ready: RwLock<Option<Arc<Ready>>>,
    /// Raised whenever what is here may be out of date.
    generation: AtomicU64,
    loading: Mutex<Loading>,
    /// Requests that wait for a load.
    waiting: AtomicUsize,
}

impl Slot {
    fn loading(&self) -> MutexGuard<'_, Loading> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The load that runs, if any, or what the last one left behind.
#[derive(Debug, Default)]
struct Loading {
    running: Option<Load>,
    /// After a failure: until when nobody tries again.
    rest_until: Option<Instant>,
}

/// A load, as those see it who wait for it.
#[derive(Clone, Debug)]
struct Load {
    outcome: watch::Receiver<Option<Outcome>>,
    /// Until when it is worth waiting for.
    give_up: Instant,
}

/// What a load found, and for which generation.
type Outcome = Result<(u64, Option<Arc<Ready>>), Unavailable>;

/// What somebody finds who needs a snapshot.
enum Join {
    Fresh(Arc<Ready>),
    Load(Load),
}

/// A place among those who wait.
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

pub(crate) struct Planes {
    directory: Arc<dyn Directory>,
    upstreams: Upstreams,
    keeper: Arc<dyn Keeper>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    slots: RwLock<HashMap<OrgId, Arc<Slot>>>,
    /// How many snapshots are made at once.
    loads: Semaphore,
    /// Raised by [`Planes::invalidate_all`], also for organisations that have no slot yet.
    all: AtomicU64,
}

impl Planes {
    pub(crate) fn new(
        directory: Arc<dyn Directory>,
        upstreams: Upstreams,
        keeper: Arc<dyn Keeper>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        Self {
            directory,
            upstreams,
            keeper,
            clock,
            slots: RwLock::default(),
            loads: Semaphore::new(settings.loads),
            all: AtomicU64::new(0),
            settings,
        }
    }

    /// The organisation, if it keeps a list of addresses.
    pub(crate) fn restricted(&self, slug: &str) -> Option<OrgId> {
        self.directory.restricted(slug)
    }

    pub(crate) fn lookup(&self, slug: &str) -> Option<OrgId> {
        self.directory.lookup(slug)
    }

    pub(crate) fn at_host(&self, host: &str) -> Option<OrgId> {
        self.directory.at_host(host)
    }

    pub(crate) async fn org_of_key(&self, hash: &[u8; 32]) -> Result<Option<OrgId>, Unavailable> {
        self.directory.org_of_key(hash).await
    }

    fn slot(&self, org: OrgId) -> Arc<Slot> {
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&org) {
            return Arc::clone(slot);
        }
        Arc::clone(self.slots.write().unwrap_or_else(PoisonError::into_inner).entry(org).or_default())
    }

    pub(crate) fn invalidate(&self, org: OrgId) {
        // Without a slot nothing is loaded or being loaded.
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&org) {
            slot.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Gives up what was agreed with upstream servers for one client's session.
    pub(crate) fn close_session(&self, org: OrgId, session: u128) {
        let slot = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&org).cloned();
        let ready = slot.and_then(|slot| slot.ready.read().unwrap_or_else(PoisonError::into_inner).clone());
        for connector in ready.iter().flat_map(|ready| &ready.connectors) {
            connector.upstream.close(session);
        }
    }

    pub(crate) fn invalidate_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    fn generation(&self, slot: &Slot) -> u64 {
        // Both only grow, so the sum changes when either does.
        slot.generation.load(Ordering::SeqCst).wrapping_add(self.all.load(Ordering::SeqCst))
    }

    fn fresh(&self, slot: &Slot) -> Option<Arc<Ready>> {
        let ready = slot.ready.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        let age = self.clock.now() - ready.loaded_at;
        let young =
            (0..=i64::try_from(self.settings.max_staleness.as_millis()).unwrap_or(i64::MAX)).contains(&age);
        (young && ready.generation == self.generation(slot)).then_some(ready)
    }

    /// Whether a snapshot is still the newest there is.
    pub(crate) fn is_current(&self, ready: &Ready) -> bool {
        self.generation(&self.slot(ready.plane.org)) == ready.generation()
    }

    /// The organisation as of now; `None` when it is gone.
    pub(crate) async fn ready(self: &Arc<Self>, org: OrgId) -> Result<Option<Arc<Ready>>, Unavailable> {
        let slot = self.slot(org);
        if let Some(ready) = self.fresh(&slot) {
            return Ok(Some(ready));
        }
        let _place = Place::take(&slot.waiting, self.settings.waiting_per_load).ok_or(Unavailable)?;
        // What was announced before this request came must be seen by it. A load that began earlier is waited for all the
        // same, because the next one begins after it.
        let wanted = self.generation(&slot);
        loop {
            let mut load = match self.join(org, &slot)? {
                Join::Fresh(ready) => return Ok(Some(ready)),
                Join::Load(load) => load,
            };
            let outcome = match timeout_at(load.give_up, load.outcome.wait_for(Option::is_some)).await {
                Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(Unavailable)),
                // It takes too long, or it panicked.
                _ => Err(Unavailable),
            };
            let (generation, ready) = outcome?;
            if generation >= wanted {
                return Ok(ready);
            }
        }
    }

    /// Finds the load that runs, or begins one, unless the last one has just failed.
    fn join(self: &Arc<Self>, org: OrgId, slot: &Arc<Slot>) -> Result<Join, Unavailable> {
        let mut loading = slot.loading();
        if let Some(ready) = self.fresh(slot) {
            return Ok(Join::Fresh(ready));
        }
        // A load that panicked has left its closed channel behind.
        if let Some(load) = loading.running.as_ref().filter(|load| load.outcome.has_changed().is_ok()) {
            return Ok(Join::Load(load.clone()));
        }
        let now = Instant::now();
        if loading.rest_until.is_some_and(|until| now < until) {
            return Err(Unavailable);
        }
        let (tell, outcome) = watch::channel(None);
        let load = Load { outcome, give_up: now + self.settings.load_wait };
        loading.running = Some(load.clone());
        // A task of its own: it must not end because the request that began it did.
        tokio::spawn(Arc::clone(self).load(org, Arc::clone(slot), tell));
        Ok(Join::Load(load))
    }

    async fn load(self: Arc<Self>, org: OrgId, slot: Arc<Slot>, tell: watch::Sender<Option<Outcome>>) {
        let outcome = timeout(self.settings.load_limit, self.read(org, &slot)).await.unwrap_or_else(|_| {
            tracing::error!(org.id = %org, "an organisation was not read in time");
            Err(Unavailable)
        });
        {
            let mut loading = slot.loading();
            loading.running = None;
            loading.rest_until = outcome.is_err().then(|| Instant::now() + self.settings.load_rest);
        }
        tell.send_replace(Some(outcome));
    }

    async fn read(&self, org: OrgId, slot: &Slot) -> Outcome {
        let _turn = self.loads.acquire().await.map_err(|_| Unavailable)?;
        let mut attempt = 0;
        loop {
            let generation = self.generation(slot);
            let loaded_at = self.clock.now();
            let ready = self
                .directory
                .plane(org)
                .await?
                .map(|plane| Arc::new(self.prepare(plane, generation, loaded_at)));
            slot.ready.write().unwrap_or_else(PoisonError::into_inner).clone_from(&ready);
            attempt += 1;
            // A change while loading makes the result stale at birth. After a few of those the last one has to do for the
            // requests that came before the change was announced; later ones begin anew.
            if ready.is_none() || self.generation(slot) == generation || attempt == 3 {
                return Ok((generation, ready));
            }
        }
    }

    fn prepare(&self, plane: Arc<OrgPlane>, generation: u64, loaded_at: i64) -> Ready {
        let connectors: Vec<_> = plane
            .connectors
            .iter()
            .map(|connector| {
                let upstream = self.upstream(plane.slug.as_str(), connector);
                ReadyConnector { plane: Arc::clone(connector), upstream, tools: tools(connector) }
            })
            .collect();
        let keys = plane.keys.iter();
        let keys = keys
            .map(|(hash, key)| {
                let (url_key, ranges) = (key.url_key, key.ranges.clone());
                (*hash, ReadyKey { access: Arc::new(key.access()), url_key, ranges })
            })
            .collect();
        let by_slug =
            connectors.iter().enumerate().map(|(at, c)| (Box::from(c.plane.slug.as_str()), at)).collect();
        let unprefixed = connectors.iter().position(|connector| connector.plane.unprefixed);
        Ready {
            plane,
            connectors,
            by_slug,
            unprefixed,
            keys,
            whole: OnceLock::new(),
            parts: Mutex::default(),
            generation,
            loaded_at,
        }
    }

    fn upstream(&self, org: &str, connector: &PlaneConnector) -> Ways {
        let key = Key { connector: connector.id, version: connector.version };
        match connector.transport {
            Transport::Demo => Ways::One(self.upstreams.get(key, || self.upstreams.demo())),
            Transport::Stdio => Ways::local(&self.upstreams, org, connector, key),
            Transport::Http | Transport::Sse => Ways::http(&self.upstreams, &self.keeper, connector, key),
        }
    }
}

/// The tools of a connector that may be offered, by the name that they are published under. What is stored was checked when it was fetched; names are checked
/// again because a name decides where a call goes.
fn tools(connector: &PlaneConnector) -> HashMap<Box<str>, ReadyTool> {
    let prefix = connector.slug.as_str().len() + SEPARATOR.len();
    let fitting = connector.tools.iter().filter(|tool| is_name(&tool.published, prefix));
    fitting
        .filter_map(|tool| {
            let schema = json::get(tool.definition.get(), "inputSchema")?;
            let params = param_headers(schema).ok()?;
            let ready = ReadyTool {
                name: Box::from(tool.name.as_str()),
                enabled: tool.enabled,
                held: tool.held,
                timeout: tool.timeout,
                params,
            };
            Some((Box::from(tool.published.as_str()), ready))
        })
        .collect()
}
