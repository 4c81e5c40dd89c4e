//! The upstream servers that this process speaks to, one client each: the data plane and the checks share what was
//! agreed with a server, its breaker, and in the legacy era its session.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::HeaderMap;
use model::ConnectorId;

use super::{BreakerState, HttpUpstream, Upstream, UpstreamSettings};
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
    known: RwLock<HashMap<ConnectorId, (i64, Upstream)>>,
}

impl core::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Upstreams").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Upstreams {
    /// None yet. `now` is the clock of the demo server.
    pub fn new(exchange: Arc<dyn Exchange>, now: Now, settings: UpstreamSettings) -> Self {
        Self(Arc::new(Inner { exchange, now, settings, known: RwLock::default() }))
    }

    /// A client of a server, known to nobody else: for trying what is not saved yet.
    pub fn http(&self, uri: http::Uri, headers: HeaderMap) -> HttpUpstream {
        HttpUpstream::new(Arc::clone(&self.0.exchange), uri, headers, self.0.settings)
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
    }

    /// Ends sessions that nobody has used for a while, and forgets clients that nobody holds. Called once a minute.
    pub fn tidy(&self) {
        let idle = self.0.settings.session_idle;
        self.0.known.write().unwrap_or_else(PoisonError::into_inner).retain(
            |_, (_, upstream)| match upstream {
                Upstream::Demo(_) => false,
                Upstream::Http(http) => {
                    let Some(unused) = http.unused() else { return true };
                    if unused >= idle {
                        http.rest(unused >= FORGOTTEN);
                    }
                    unused < FORGOTTEN || http.is_shared()
                }
            },
        );
    }

    /// Ends all sessions, as before the process ends.
    pub fn close(&self) {
        let known = std::mem::take(&mut *self.0.known.write().unwrap_or_else(PoisonError::into_inner));
        for (_, upstream) in known.into_values() {
            if let Upstream::Http(http) = upstream {
                http.rest(true);
            }
        }
    }
}
