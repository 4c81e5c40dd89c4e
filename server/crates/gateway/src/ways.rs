//! The ways to connectors' servers: with static headers, with tokens of the organisation's, or with those of whoever calls.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    dataplane::PlaneConnector,
    mcp::{
        exchange::Exchange,
        upstream::{Key, Upstream, Upstreams},
    },
    upstream_oauth::{Authorized, Keeper, standing::Standing},
};
use http::{HeaderMap, HeaderValue};
use model::{AuthorizationId, UserId, connectors::Transport};
use secrecy::ExposeSecret as _;

/// People whose connections to one server are kept.
const PEOPLE: usize = 1000;

/// The ways to a connector's server: one for everybody, or one for each person.
#[derive(Clone, Debug)]
pub(crate) enum Ways {
    One(Upstream),
    Personal(Arc<Personal>),
}

impl Ways {
    /// The ways to a server over HTTP. Nothing is connected yet.
    pub(crate) fn http(
        upstreams: &Upstreams,
        keeper: &Arc<dyn Keeper>,
        connector: &PlaneConnector,
        key: Key,
    ) -> Self {
        if connector.auth.is_personal() {
            return Self::Personal(Arc::new(Personal {
                upstreams: upstreams.clone(),
                keeper: Arc::clone(keeper),
                key,
                made: Mutex::default(),
            }));
        }
        Self::One(upstreams.get(key, || {
            let standing = connector.auth.of(None).map(|standing| standing.cloned().map_err(Clone::clone));
            let way = authorized(upstreams, keeper, standing);
            let http = upstreams.http(way, connector.url.clone(), headers(connector), connector.first_byte);
            let http = http.with_old_transport(connector.transport == Transport::Sse);
            Upstream::Http(http.expecting(connector.protocol_version.as_deref()))
        }))
    }

    /// The way to a server on this machine. Nothing is started yet.
    pub(crate) fn local(upstreams: &Upstreams, org: &str, connector: &PlaneConnector, key: Key) -> Self {
        Self::One(upstreams.get(key, || {
            let name = connector.url.host().unwrap_or_default();
            let http = upstreams.local(name, org, Some(connector.id), connector.first_byte);
            Upstream::Http(http.expecting(connector.protocol_version.as_deref()))
        }))
    }

    /// The way that a call of this person goes.
    pub(crate) fn of(&self, plane: &PlaneConnector, person: Option<UserId>) -> Upstream {
        match self {
            Self::One(upstream) => upstream.clone(),
            Self::Personal(personal) => personal.of(plane, person),
        }
    }

    /// Whose way it is: nobody's own where everybody goes the same.
    pub(crate) const fn owner(&self, person: Option<UserId>) -> Option<UserId> {
        match self {
            Self::One(_) => None,
            Self::Personal(_) => person,
        }
    }

    /// Gives up what was agreed for one client's session.
    pub(crate) fn close(&self, session: u128) {
        match self {
            Self::One(upstream) => upstream.close(session),
            Self::Personal(personal) => {
                let made = personal.made.lock().unwrap_or_else(PoisonError::into_inner);
                made.values().for_each(|(_, upstream)| upstream.close(session));
            }
        }
    }
}

/// Connections to a server that each person has for themselves: sessions there are theirs.
pub(crate) struct Personal {
    upstreams: Upstreams,
    keeper: Arc<dyn Keeper>,
    key: Key,
    /// With the authorisation that each goes with.
    made: Mutex<HashMap<UserId, (AuthorizationId, Upstream)>>,
}

impl core::fmt::Debug for Personal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Personal").finish_non_exhaustive()
    }
}

impl Personal {
    fn of(&self, plane: &PlaneConnector, person: Option<UserId>) -> Upstream {
        let standing = plane.auth.of(person);
        let connect = |standing: Option<Standing>| {
            let way = authorized(&self.upstreams, &self.keeper, standing);
            let (url, headers) = (plane.url.clone(), headers(plane));
            let http = self.upstreams.personal(self.key, way, url, headers, plane.first_byte);
            let http = http.with_old_transport(plane.transport == Transport::Sse);
            Upstream::Http(http.expecting(plane.protocol_version.as_deref()))
        };
        let (Some(person), Some(Ok(holder))) = (person, standing) else {
            // It says why not, and connects to nothing.
            return connect(standing.map(|standing| standing.cloned().map_err(Clone::clone)));
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((with, upstream)) = made.get(&person)
            && *with == holder.authorization
        {
            return upstream.clone();
        }
        if made.len() >= PEOPLE {
            made.clear();
        }
        let upstream = connect(Some(Ok(holder.clone())));
        made.insert(person, (holder.authorization, upstream.clone()));
        upstream
    }
}

/// The way of requests: with tokens, where the connector has some to go with.
fn authorized(
    upstreams: &Upstreams,
    keeper: &Arc<dyn Keeper>,
    standing: Option<Standing>,
) -> Arc<dyn Exchange> {
    match standing {
        None => upstreams.exchange(),
        Some(standing) => Arc::new(Authorized::new(upstreams.exchange(), Arc::clone(keeper), standing)),
    }
}

/// A connector's static headers.
fn headers(connector: &PlaneConnector) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(connector.headers.len());
    for (name, value) in &connector.headers {
        let Ok(mut value) = HeaderValue::from_str(value.expose_secret()) else {
            tracing::warn!(connector.id = %connector.id, header = %name, "header of a connector left out: its value cannot be sent");
            continue;
        };
        value.set_sensitive(true);
        headers.append(name.clone(), value);
    }
    headers
}
