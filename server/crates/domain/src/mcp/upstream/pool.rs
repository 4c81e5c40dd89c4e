//! The upstream servers that this process speaks to, one client each: the data plane and the checks share what was
//! agreed with a server, its breaker, and in the legacy era its session.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use http::HeaderMap;
use model::ConnectorId;

use super::{
    BreakerState, HttpUpstream, Upstream, UpstreamSettings, guard::Guard, http::WeakHttp, stdio::Stdio,
};
use crate::mcp::{
    demo::{Demo, Now},
    exchange::Exchange,
};

/// For how long a client is kept that nobody holds, and sessions that belong to one client each: a server may keep
/// something in them.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// A connector as it is configured: with another version it is another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which one.
    pub connector: ConnectorId,
    /// Changes when the address or a credential changes.
    pub version: i64,
}

/// One client for each connector. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    exchange: Arc<dyn Exchange>,
    now: Now,
    settings: UpstreamSettings,
    stdio: Stdio,
    known: RwLock<HashMap<ConnectorId, (i64, Upstream)>>,
    /// Guards of connectors whose clients belong to people, and those clients.
    guards: Mutex<HashMap<ConnectorId, (i64, Guard)>>,
    personal: Mutex<Vec<WeakHttp>>,
}

impl core::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Upstreams").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Upstreams {
    /// None yet. `now` is the clock of the demo server.
    pub fn new(exchange: Arc<dyn Exchange>, now: Now, settings: UpstreamSettings) -> Self {
        Self::with_stdio(exchange, now, settings, Stdio::default())
    }

    /// The same, with servers on this machine that the operator lists.
    pub fn with_stdio(
        exchange: Arc<dyn Exchange>,
        now: Now,
        settings: UpstreamSettings,
        stdio: Stdio,
    ) -> Self {
        Self(Arc::new(Inner {
            exchange,
            now,
            settings,
            stdio,
            known: RwLock::default(),
            guards: Mutex::default(),
            personal: Mutex::default(),
        }))
    }

    /// The way to servers.
    pub fn exchange(&self) -> Arc<dyn Exchange> {
        Arc::clone(&self.0.exchange)
    }

    /// A client of a server, known to nobody else: for trying what is not saved yet. `way` is [`Upstreams::exchange`], or
    /// a way by it. `first_byte` is the connector's own patience.
    pub fn http(
        &self,
        way: Arc<dyn Exchange>,
        uri: http::Uri,
        headers: HeaderMap,
        first_byte: Option<Duration>,
    ) -> HttpUpstream {
        HttpUpstream::new(way, uri, headers, self.settings(first_byte))
    }

    fn settings(&self, first_byte: Option<Duration>) -> UpstreamSettings {
        let mut settings = self.0.settings;
        if let Some(own) = first_byte {
            (settings.first_byte, settings.handshake) = (own, own);
        }
        // Whoever waits longer for the beginning waits as long for the whole at least.
        settings.total = settings.total.max(settings.first_byte);
        settings
    }

    /// The servers on this machine.
    pub fn stdio(&self) -> &Stdio {
        &self.0.stdio
    }

    /// A client of a server on this machine, by its name and the slug of the organisation that uses it. Its processes end
    /// when nobody holds the client any more.
    pub fn local(
        &self,
        name: &str,
        org: &str,
        connector: Option<ConnectorId>,
        first_byte: Option<Duration>,
    ) -> HttpUpstream {
        let mut settings = self.settings(first_byte);
        if let Some(server) = self.0.stdio.find(name, org) {
            (settings.probe, settings.handshake) = (server.start, server.start);
        }
        let way = self.0.stdio.way(name, org, connector, settings.max_bytes);
        HttpUpstream::new(way, http::Uri::from_static("stdio://server/"), HeaderMap::new(), settings)
    }

    /// A client of a connector's server for one person. People share the server's breaker and the bounds of what is asked
    /// of it, and nothing else.
    pub fn personal(
        &self,
        key: Key,
        way: Arc<dyn Exchange>,
        uri: http::Uri,
        headers: HeaderMap,
        first_byte: Option<Duration>,
    ) -> HttpUpstream {
        let guard = {
            let mut guards = self.0.guards.lock().unwrap_or_else(PoisonError::into_inner);
            match guards.get(&key.connector) {
                Some((version, guard)) if *version == key.version => guard.clone(),
                _ => {
                    let guard = Guard::new(&self.0.settings);
                    guards.insert(key.connector, (key.version, guard.clone()));
                    guard
                }
            }
        };
        let http = HttpUpstream::guarded(way, uri, headers, self.settings(first_byte), guard);
        self.0.personal.lock().unwrap_or_else(PoisonError::into_inner).push(http.weak());
        http
    }

    /// The demo server.
    pub fn demo(&self) -> Upstream {
        Upstream::Demo(Demo::new(Arc::clone(&self.0.now)))
    }

    /// The client of a connector, made if there is none or if it is another's.
    pub fn get(&self, key: Key, client: impl FnOnce() -> Upstream) -> Upstream {
        if let Some((version, upstream)) =
            self.0.known.read().unwrap_or_else(PoisonError::into_inner).get(&key.connector)
            && *version == key.version
        {
            return upstream.clone();
        }
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        match known.get(&key.connector) {
            Some((version, upstream)) if *version == key.version => upstream.clone(),
            _ => {
                let made = client();
                known.insert(key.connector, (key.version, made.clone()));
                made
            }
        }
    }

    /// Whether a connector's server is asked just now, as this process sees it.
    pub fn breaker(&self, connector: ConnectorId) -> Option<BreakerState> {
        self.0
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&connector)
            .and_then(|(_, upstream)| upstream.breaker())
            .or_else(|| {
                let guards = self.0.guards.lock().unwrap_or_else(PoisonError::into_inner);
                guards.get(&connector).map(|(_, guard)| guard.state())
            })
    }

    /// Ends sessions that nobody has used for a while, and forgets clients that nobody holds. Called once a minute.
    pub fn tidy(&self) {
        let idle = self.0.settings.session_idle;
        for http in self.held() {
            if let Some(unused) = http.unused().filter(|unused| *unused >= idle) {
                http.rest(unused >= FORGOTTEN);
            }
        }
        let guards = &self.0.guards;
        guards.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, guard)| guard.is_shared());
        self.0.known.write().unwrap_or_else(PoisonError::into_inner).retain(
            |_, (_, upstream)| match upstream {
                Upstream::Demo(_) => false,
                Upstream::Http(http) => {
                    let Some(unused) = http.unused() else { return true };
                    if unused >= idle {
                        http.rest(unused >= FORGOTTEN);
                    }
                    // What nobody asks for any more shall not keep a process.
                    unused < (if http.is_local() { idle } else { FORGOTTEN }) || http.is_shared()
                }
            },
        );
    }

    /// The clients of people that are still held.
    fn held(&self) -> Vec<HttpUpstream> {
        let mut personal = self.0.personal.lock().unwrap_or_else(PoisonError::into_inner);
        personal.retain(|http| http.strong_count() > 0);
        personal.iter().filter_map(HttpUpstream::upgrade).collect()
    }

    /// Ends all sessions and all servers on this machine, as before the process ends.
    pub async fn end(&self) {
        self.close();
        self.0.stdio.stop().await;
    }

    /// Ends all sessions.
    pub fn close(&self) {
        for http in self.held() {
            http.rest(true);
        }
        let known = std::mem::take(&mut *self.0.known.write().unwrap_or_else(PoisonError::into_inner));
        for (_, upstream) in known.into_values() {
            if let Upstream::Http(http) = upstream {
                http.rest(true);
            }
        }
    }
}
