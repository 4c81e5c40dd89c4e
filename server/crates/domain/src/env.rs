//! What every operation needs from outside: the database, time, randomness, keys, the network, settings.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use model::{OrgId, Plan, links::SignUp};
use store::Db;
use tokio::sync::broadcast;
use url::Url;
use uuid::Uuid;

use crate::{
    doctor::Journal, idp::Jwks, mail::Mailer, mcp::upstream::Upstreams, net::Outbound, oauth,
    password::Passwords, sealer::Sealer, signing::KeyRing, upstream_oauth,
};

/// Where time comes from. Tests move it; nothing else in the product reads the ambient clock.
pub trait Clock: Send + Sync {
    /// Unix microseconds.
    fn now_micros(&self) -> i64;

    /// Unix milliseconds.
    fn now(&self) -> i64 {
        self.now_micros() / 1000
    }
}

/// Where randomness comes from.
pub trait Rng: Send + Sync {
    /// Fills the slice with bytes fit for secrets.
    fn fill(&self, bytes: &mut [u8]);
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now_micros(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock at this time, Unix milliseconds.
    pub fn at(millis: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(millis * 1000)))
    }

    /// Moves the clock by so many milliseconds.
    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the operator decided, as far as the rules ask.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The instance's base URL without a trailing slash, such as `https://gatehouse.example.com`.
    pub public_url: Url,
    /// The plan of a new organisation.
    pub default_plan: Plan,
    /// Whether the built-in demo server can be added as a connector.
    pub demo: bool,
    /// The name of this process in audit events.
    pub node: String,
    /// Whether strangers may make accounts.
    pub sign_up: SignUp,
    /// How long an unused session lives, milliseconds (SES-04).
    pub session_idle_ms: i64,
    /// Whether clients may register themselves (RFC 7591).
    pub registration: bool,
    /// Whether a client may be the URL of a document about it.
    pub cimd: bool,
    /// Schemes of apps that redirect URIs may have besides the known ones.
    pub native_schemes: Vec<String>,
    /// Where CNAME records of organisations' own domains lead: a host name.
    pub gateway_host: String,
}

impl Settings {
    /// An absolute URL of a path of ours. Never derived from a request's `Host`.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// The base URL of a domain of an organisation's own, without a slash at its end: the instance's with another host.
    pub fn base_at(&self, host: &str) -> String {
        let (scheme, port) = (self.public_url.scheme(), self.public_url.port());
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}")
    }
}

/// Everything an operation needs. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// The database.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Seals and opens secrets.
    pub sealer: Arc<Sealer>,
    /// Signs access tokens and verifies them.
    pub keys: Arc<KeyRing>,
    /// The keys of organisations' own identity providers.
    pub jwks: Arc<Jwks>,
    /// Where steps of clients on their way to a connection are noted.
    pub journal: Arc<Journal>,
    /// Hashes and verifies passwords.
    pub passwords: Arc<Passwords>,
    /// Sends mails; `None` when the operator named no server for them.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// The only way out to the network.
    pub outbound: Outbound,
    /// The clients of connectors' servers.
    pub upstreams: Upstreams,
    /// What the operator decided.
    pub settings: Arc<Settings>,
    /// Tells this process's caches what changed.
    pub changes: Changes,
    /// What the authorization server remembers between requests.
    pub oauth: Arc<oauth::Shared>,
    /// The access tokens for connectors' servers that are in memory.
    pub upstream: Arc<upstream_oauth::Shared>,
}

impl core::fmt::Debug for Env {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Env").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Env {
    /// Unix milliseconds.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// A new `UUIDv7` from the injected time and randomness.
    pub fn uuid(&self) -> Uuid {
        let mut random = [0; 10];
        self.rng.fill(&mut random);
        let millis = u64::try_from(self.clock.now()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// A random token of 256 bits in URL-safe base64, for links and cookies.
    pub fn token(&self) -> String {
        let mut bytes = [0; 32];
        self.rng.fill(&mut bytes);
        data_encoding::BASE64URL_NOPAD.encode(&bytes)
    }
}

/// Tells caches of this process that an organisation changed. Changes of other processes are found by polling.
#[derive(Clone, Debug)]
pub struct Changes(Arc<Mutex<broadcast::Sender<OrgId>>>);

impl Default for Changes {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(broadcast::channel(1024).0)))
    }
}

impl Changes {
    /// Says that the organisation changed.
    pub fn notify(&self, org: OrgId) {
        // Nobody listening is fine: the CLI has no caches.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(org);
    }

    /// Hears of changes from now on. A listener that lags must drop everything it cached.
    pub fn subscribe(&self) -> broadcast::Receiver<OrgId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).subscribe()
    }
}
