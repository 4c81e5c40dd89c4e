//! Snapshots of organisations, made ready for calls and kept until something changes.
//!
//! A snapshot that was declared stale is never used again: whoever comes next waits for a new one, and is refused when
//! there is none (ERR-05). Loading is done once, however many wait.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{
    Clock,
    dataplane::{Directory, OrgPlane, PlaneConnector, PlaneKey, PlaneScope, Unavailable},
    mcp::{
        demo::Demo,
        exchange::Exchange,
        json,
        tools::{ParamHeader, SEPARATOR, is_name, param_headers},
        upstream::{HttpUpstream, Upstream},
    },
};
use http::{HeaderMap, HeaderValue};
use model::{ApiKeyId, ConnectorId, OrgId, connectors::Transport};
use secrecy::ExposeSecret as _;

use crate::{Settings, tools::Listing};

/// How many lists of keys with a scope are kept for one organisation.
const LISTINGS: usize = 64;

/// One tool, ready to be called.
#[derive(Debug)]
pub(crate) struct ReadyTool {
    pub(crate) enabled: bool,
    pub(crate) params: Vec<ParamHeader>,
}

/// One connector, ready to be called.
#[derive(Debug)]
pub(crate) struct ReadyConnector {
    pub(crate) plane: Arc<PlaneConnector>,
    pub(crate) upstream: Upstream,
    pub(crate) tools: HashMap<Box<str>, ReadyTool>,
}

type ListKey = (Option<ApiKeyId>, Option<ConnectorId>);

/// One organisation, ready for calls.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) plane: Arc<OrgPlane>,
    pub(crate) connectors: Vec<ReadyConnector>,
    by_slug: HashMap<Box<str>, usize>,
    /// The keys of the snapshot, so that a call holds one without copying it.
    pub(crate) keys: HashMap<[u8; 32], Arc<PlaneKey>>,
    /// Lists of tools as they are sent: the common one, and those of keys with a scope or of one connector.
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

    /// The list for a key, made at its first use. `only` is the connector of the path.
    pub(crate) fn listing(&self, key: &PlaneKey, only: Option<&ReadyConnector>, page: usize) -> Arc<Listing> {
        let whole = key.scope == PlaneScope::All;
        if whole && only.is_none() {
            return Arc::clone(self.whole.get_or_init(|| Arc::new(Listing::new(self, key, None, page))));
        }
        let name = ((!whole).then_some(key.id), only.map(|c| c.plane.id));
        if let Some(listing) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Arc::clone(listing);
        }
        // Made without the lock: two that come at once make the same.
        let listing = Arc::new(Listing::new(self, key, only, page));
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
    loading: tokio::sync::Mutex<()>,
}

pub(crate) struct Planes {
    directory: Arc<dyn Directory>,
    exchange: Arc<dyn Exchange>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    slots: RwLock<HashMap<OrgId, Arc<Slot>>>,
    /// Raised by [`Planes::invalidate_all`], also for organisations that have no slot yet.
    all: AtomicU64,
}

impl Planes {
    pub(crate) fn new(
        directory: Arc<dyn Directory>,
        exchange: Arc<dyn Exchange>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        Self { directory, exchange, clock, settings, slots: RwLock::default(), all: AtomicU64::new(0) }
    }

    pub(crate) fn lookup(&self, slug: &str) -> Option<OrgId> {
        self.directory.lookup(slug)
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
    pub(crate) async fn ready(&self, org: OrgId) -> Result<Option<Arc<Ready>>, Unavailable> {
        let slot = self.slot(org);
        if let Some(ready) = self.fresh(&slot) {
            return Ok(Some(ready));
        }
        // Held across the await on purpose: everybody here needs the same thing.
        let _one_at_a_time = slot.loading.lock().await;
        // A change while loading makes the result stale at birth; after a few of those the last one has to do for the
        // requests that waited, which came before the change was announced.
        for attempt in 0.. {
            if let Some(ready) = self.fresh(&slot) {
                return Ok(Some(ready));
            }
            let generation = self.generation(&slot);
            let loaded_at = self.clock.now();
            let Some(plane) = self.directory.plane(org).await? else {
                *slot.ready.write().unwrap_or_else(PoisonError::into_inner) = None;
                return Ok(None);
            };
            let old = slot.ready.read().unwrap_or_else(PoisonError::into_inner).clone();
            let ready = Arc::new(self.prepare(plane, old.as_deref(), generation, loaded_at));
            *slot.ready.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&ready));
            if self.generation(&slot) == generation || attempt >= 2 {
                return Ok(Some(ready));
            }
        }
        Err(Unavailable)
    }

    fn prepare(&self, plane: Arc<OrgPlane>, old: Option<&Ready>, generation: u64, loaded_at: i64) -> Ready {
        let connectors: Vec<_> = plane
            .connectors
            .iter()
            .map(|connector| {
                let before = old.and_then(|old| old.connector(connector.slug.as_str()));
                let before = before.filter(|before| {
                    before.plane.id == connector.id && before.plane.version == connector.version
                });
                let upstream =
                    before.map_or_else(|| self.upstream(connector), |before| before.upstream.clone());
                ReadyConnector { plane: Arc::clone(connector), upstream, tools: tools(connector) }
            })
            .collect();
        let keys = plane.keys.iter().map(|(hash, key)| (*hash, Arc::new(key.clone()))).collect();
        let by_slug =
            connectors.iter().enumerate().map(|(at, c)| (Box::from(c.plane.slug.as_str()), at)).collect();
        Ready {
            plane,
            connectors,
            by_slug,
            keys,
            whole: OnceLock::new(),
            parts: Mutex::default(),
            generation,
            loaded_at,
        }
    }

    fn upstream(&self, connector: &PlaneConnector) -> Upstream {
        match connector.transport {
            Transport::Demo => {
                let clock = Arc::clone(&self.clock);
                Upstream::Demo(Demo::new(Arc::new(move || clock.now())))
            }
            Transport::Http => {
                let mut headers = HeaderMap::with_capacity(connector.headers.len());
                for (name, value) in &connector.headers {
                    let Ok(mut value) = HeaderValue::from_str(value.expose_secret()) else {
                        tracing::warn!(connector.id = %connector.id, header = %name, "header of a connector left out: its value cannot be sent");
                        continue;
                    };
                    value.set_sensitive(true);
                    headers.append(name.clone(), value);
                }
                Upstream::Http(HttpUpstream::new(
                    Arc::clone(&self.exchange),
                    connector.url.clone(),
                    headers,
                    self.settings.upstream,
                ))
            }
        }
    }
}

/// The tools of a connector that may be offered. What is stored was checked when it was fetched; names are checked
/// again because a name decides where a call goes.
fn tools(connector: &PlaneConnector) -> HashMap<Box<str>, ReadyTool> {
    let prefix = connector.slug.as_str().len() + SEPARATOR.len();
    let fitting = connector.tools.iter().filter(|tool| is_name(&tool.name, prefix));
    fitting
        .filter_map(|tool| {
            let schema = json::get(tool.definition.get(), "inputSchema")?;
            let params = param_headers(schema).ok()?;
            Some((Box::from(tool.name.as_str()), ReadyTool { enabled: tool.enabled, params }))
        })
        .collect()
}
