//! The data plane: `/mcp/{org}` and `/mcp/{org}/{connector}`, and `/v1/mcp` for callers that do not speak MCP.
//!
//! Owns: the order in which a request is judged (RSV-01), what each protocol era gets as an answer, the sessions of legacy
//! clients, how connectors' tools become one list, and how a call reaches its connector and comes back. Must not know: the
//! database, cookies, pages, or how anything is changed. It sees an organisation only as a snapshot
//! ([`domain::dataplane`]), asks nobody on the path of a call, and passes on what it does not understand byte for byte.
//!
//! On a domain of an organisation's own the same is answered, and nothing else: `domains`.
//!
//! A request passes, in this order: `guard` (Host, Origin), `auth` (credential for that organisation), `handler`
//! (method, headers, body, era), `tools` (scope, routing), and comes back through `reply` or `stream`.

mod attend;
mod auth;
mod domains;
mod ending;
mod events;
mod guard;
mod handler;
mod held;
mod journal;
mod limits;
mod metadata;
mod old;
mod outbox;
mod owned;
mod planes;
mod questions;
mod reply;
mod resume;
mod seen;
mod sessions;
mod state;
mod stream;
mod tools;
mod uris;
mod watch;
mod watchful;
mod ways;

pub use domains::Domain;
pub use journal::clocked;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{any, get, post},
};
use domain::{
    Clock, Rng,
    dataplane::{Access, Directory},
    doctor::Journal,
    idp::Judge,
    mcp::upstream::Upstreams,
    tickets::Tickets,
    tokens::Reader,
    upstream_oauth::Keeper,
    usage::{Ledger, Record},
};
use futures_util::future::BoxFuture;
use model::{ConnectorId, OrgId, paths};
use url::Url;

use crate::{
    ending::Streams, guard::Site, held::HeldCalls, limits::Limits, old::Channels, planes::Planes,
    resume::Room, sessions::Sessions, watch::Watchers,
};

/// Hears of every request with a valid credential. It is called on the path of each call, so it must be cheap: it notes, and
/// writes later.
pub trait Meter: Send + Sync + 'static {
    /// Somebody used their credential at this time (Unix milliseconds), from this address, with this client.
    fn used(&self, access: &Access, org: OrgId, at: i64, address: Option<IpAddr>, agent: Option<&str>);

    /// A request has ended.
    fn ended(&self, record: Record);

    /// A request was refused because its principal ran into a limit, which has this name.
    fn limited(&self, access: &Access, org: OrgId, limit: &'static str, address: Option<IpAddr>);

    /// A request without a good credential was refused because there were too many from its address.
    fn flooded(&self, address: IpAddr);
}

/// Fetches what a connector offers, because its server says that it has changed.
pub trait Refresh: Send + Sync + 'static {
    /// Fetches the tools of a connector and keeps them. It ends when they are kept, or could not be fetched.
    fn tools_changed(&self, org: OrgId, connector: ConnectorId) -> BoxFuture<'_, ()>;
}

/// What the operator decides about the data plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The instance's base URL: what `Host` and `Origin` are compared with, and what documents name. Never the request's.
    pub public_url: Url,
    /// The largest request body in bytes (REQ-01).
    pub max_body: usize,
    /// How old a snapshot may be without having been confirmed.
    pub max_staleness: Duration,
    /// How long a request waits for a snapshot before it is refused with 503.
    pub load_wait: Duration,
    /// How long making a snapshot may take, whoever waits.
    pub load_limit: Duration,
    /// For how long nobody asks again after a snapshot could not be made.
    pub load_rest: Duration,
    /// Requests that may wait for the snapshot of one organisation; more are refused at once.
    pub waiting_per_load: usize,
    /// Snapshots that are made at once, so that they leave the rest of the process some of the database.
    pub loads: usize,
    /// Calls of one principal at once (RLM-06).
    pub calls_per_key: usize,
    /// Calls of one organisation at once.
    pub calls_per_org: usize,
    /// Calls of one connector at once.
    pub calls_per_connector: usize,
    /// Authentications from one address that may fail in a minute (RLM-03). No key can be guessed; this is about load.
    pub failures_per_address: u32,
    /// The same from all addresses together, whose refusals are held back beyond it: a flood need not come from one address.
    pub failures_everywhere: u32,
    /// For how long a refusal is held back.
    pub refusal_held: Duration,
    /// Refusals that are held back at once; more are given at once.
    pub refusals_held: usize,
    /// Calls of one principal that may wait for their turn, for [`Settings::turn`] at most.
    pub waiting_per_key: usize,
    /// How long a call may wait for its turn before it is refused with 429.
    pub turn: Duration,
    /// Event streams of one principal at once (REQ-06). A call over it is answered without a stream.
    pub streams_per_key: usize,
    /// Event streams of one organisation at once.
    pub streams_per_org: usize,
    /// Between two signs of life on a stream.
    pub heartbeat: Duration,
    /// How often a stream asks whether its credential still works (APK-05: at most 5 s).
    pub recheck: Duration,
    /// Tools on one page of a list.
    pub page: usize,
}

impl Settings {
    /// The defaults, for an instance at this URL.
    pub fn new(public_url: Url) -> Self {
        Self {
            public_url,
            max_body: 4 << 20,
            max_staleness: Duration::from_secs(30),
            load_wait: Duration::from_secs(5),
            load_limit: Duration::from_secs(10),
            load_rest: Duration::from_millis(500),
            waiting_per_load: 1024,
            loads: 8,
            calls_per_key: 64,
            calls_per_org: 1024,
            calls_per_connector: 256,
            failures_per_address: 3000,
            failures_everywhere: 30_000,
            refusal_held: Duration::from_millis(500),
            refusals_held: 1024,
            waiting_per_key: 256,
            turn: Duration::from_secs(2),
            streams_per_key: 16,
            streams_per_org: 1000,
            heartbeat: Duration::from_secs(15),
            recheck: Duration::from_secs(2),
            page: 1000,
        }
    }
}

/// What the gateway is built from.
pub struct Parts {
    /// Snapshots of organisations.
    pub directory: Arc<dyn Directory>,
    /// The clients of upstream servers.
    pub upstreams: Upstreams,
    /// Where the access tokens for upstream servers come from.
    pub keeper: Arc<dyn Keeper>,
    /// What reads access tokens.
    pub tokens: Arc<dyn Reader>,
    /// What judges tokens of organisations' own identity providers.
    pub judge: Arc<dyn Judge>,
    /// Where steps of clients on their way to a connection are noted.
    pub journal: Arc<Journal>,
    /// Where portions of limits come from that nodes share.
    pub ledger: Arc<dyn Ledger>,
    /// Who hears of credentials being used and of requests that ended.
    pub meter: Arc<dyn Meter>,
    /// What fetches tools that have changed.
    pub refresh: Arc<dyn Refresh>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for session ids.
    pub rng: Arc<dyn Rng>,
    /// What seals session ids and states of calls.
    pub tickets: Arc<Tickets>,
    /// What the operator decided.
    pub settings: Settings,
}

/// The data plane of one process. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    planes: Arc<Planes>,
    sessions: Sessions,
    held: HeldCalls,
    channels: Channels,
    streams: Streams,
    room: Room,
    watchers: Arc<Watchers>,
    /// How long a question about all connectors waits for each of them, from what the last one took.
    patience: Mutex<HashMap<ConnectorId, Duration>>,
    tickets: Arc<Tickets>,
    rng: Arc<dyn Rng>,
    limits: Limits,
    tokens: Arc<dyn Reader>,
    judge: Arc<dyn Judge>,
    journal: Arc<Journal>,
    meter: Arc<dyn Meter>,
    clock: Arc<dyn Clock>,
    site: Site,
    settings: Settings,
}

/// What a gateway has open.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Sessions of clients of 2025-11-25 and older.
    pub sessions: usize,
    /// Answers and streams that run here without a connection of their own.
    pub tasks: usize,
}

impl Gateway {
    /// A gateway with empty caches.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            directory,
            upstreams,
            keeper,
            tokens,
            judge,
            journal,
            ledger,
            meter,
            refresh,
            clock,
            rng,
            tickets,
            settings,
        } = parts;
        let planes =
            Arc::new(Planes::new(directory, upstreams, keeper, Arc::clone(&clock), settings.clone()));
        let closing = Arc::clone(&planes);
        let on_end = Box::new(move |org, session| closing.close_session(org, session));
        let sessions = Sessions::new(Arc::clone(&clock), Arc::clone(&rng), Arc::clone(&tickets), on_end);
        Self(Arc::new(Inner {
            planes,
            sessions,
            held: HeldCalls::default(),
            channels: Channels::default(),
            streams: Streams::default(),
            room: Room::default(),
            watchers: Arc::new(Watchers::new(refresh)),
            patience: Mutex::default(),
            tickets,
            rng,
            limits: Limits::new(&settings, Arc::clone(&clock), ledger),
            tokens,
            judge,
            journal,
            meter,
            clock,
            site: Site::new(&settings.public_url),
            settings,
        }))
    }

    /// Whether a request is so plainly a message to an endpoint that [`Gateway::answer`] can answer it, as [`router`] would.
    pub fn is_message(request: &Request) -> bool {
        handler::is_message(request)
    }

    /// Answers a message to an endpoint without the router.
    pub fn answer(&self, request: Request) -> impl Future<Output = Response> + Send + use<> {
        handler::answer(self.clone(), request)
    }

    /// Says that an organisation changed: the next request sees the change, running streams within
    /// [`Settings::recheck`].
    pub fn invalidate(&self, org: OrgId) {
        self.0.planes.invalidate(org);
    }

    /// Gives back what this process holds of quotas and does not use: now and then, and all of it when it stops.
    pub async fn settle(&self, at_end: bool) {
        self.0.limits.settle(at_end).await;
    }

    /// Ends the event streams that are open, so that their clients go on elsewhere (D12). Calls that run are left alone, and
    /// whoever still comes is served: a stream opened from now on lasts until [`Gateway::close`].
    pub fn leave(&self) {
        self.0.streams.leave();
    }

    /// Ends all event streams, also those that are opened later: nothing is accepted any more.
    pub fn close(&self) {
        self.0.streams.close();
    }

    /// Waits, after [`Gateway::close`], for what runs here without a connection of its own, so that the last request has
    /// been told to the [`Meter`].
    pub async fn finished(&self) {
        self.0.streams.tasks.wait().await;
    }

    /// What is open just now, for the operator's figures.
    pub fn open(&self) -> Open {
        Open { sessions: self.0.sessions.count(), tasks: self.0.streams.tasks.len() }
    }

    /// Says that any organisation may have changed, as after news were missed.
    pub fn invalidate_all(&self) {
        self.0.planes.invalidate_all();
    }
}

impl core::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gateway").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// The routes of the data plane and of its discovery documents.
pub fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/mcp/{slug}", any(handler::org))
        .route("/mcp/{slug}/{connector}", any(handler::connector))
        .route("/mcp/{slug}/sse", any(old::org))
        .route("/mcp/{slug}/{connector}/sse", any(old::connector))
        .route(
            "/.well-known/oauth-protected-resource/mcp/{slug}",
            get(metadata::org).options(metadata::preflight),
        )
        .route(
            "/.well-known/oauth-protected-resource/mcp/{slug}/{connector}",
            get(metadata::connector).options(metadata::preflight),
        )
        .route(paths::rest_invoke(), post(handler::rest::invoke).options(handler::rest::invoke))
        .route(paths::rest_tools(), get(handler::rest::tools).options(handler::rest::tools))
        .route(paths::rest_openapi(), get(handler::rest::openapi))
        .with_state(gateway)
}
