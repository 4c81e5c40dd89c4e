//! What the gateway knows of an organisation: one snapshot, so that no call asks the database.
//!
//! A snapshot is immutable. Whoever changes an organisation raises its version; whoever holds a snapshot of an older
//! version loads a new one.

use core::fmt;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{HeaderName, Uri};
use model::{
    ApiKeyId, ConnectionId, ConnectionKeyId, ConnectorId, ConnectorSlug, GrantId, OrgId, OrgSlug, Scope,
    UserId,
    connectors::{ToolPolicy, Transport},
    oauth::ClientKind,
    paths,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::value::RawValue;

use crate::{
    Env, Error, Result,
    allowlist::{Allowlist, KeyRanges},
    connectors, custom_domain,
    idp::{self, IdpSubject, PlaneIdp},
    mcp::tools::with_description,
    oauth::consent::may_connect,
    orgs,
    tokens::{self, AccessToken, Refused, TokenGrant},
    upstream_oauth::{PlaneAuth, standing::plane_auth},
    usage::{self, PlanePolicy},
};

/// One organisation as the gateway sees it.
#[derive(Clone, Debug)]
pub struct OrgPlane {
    /// Which one.
    pub org: OrgId,
    /// Its slug.
    pub slug: OrgSlug,
    /// Whether the operator has suspended it: valid keys are answered with 403.
    pub suspended: bool,
    /// Whether `?api_key=` works for keys that are marked for it (APK-09).
    pub url_keys: bool,
    /// Its enabled keys by SHA-256 of the key. Disabled and deleted ones are not here; expired ones may be.
    pub keys: HashMap<[u8; 32], PlaneKey>,
    /// The grants that work; expired ones may be here.
    pub grants: HashMap<GrantId, PlaneGrant>,
    /// Its machine clients, by client id.
    pub machines: HashMap<String, PlaneMachine>,
    /// The ids of access tokens that were revoked one by one.
    pub revoked_tokens: HashSet<String>,
    /// Its enabled connectors, by slug.
    pub connectors: Vec<Arc<PlaneConnector>>,
    /// The addresses that it may be reached from (IPA-03).
    pub allowlist: Arc<Allowlist>,
    /// The domain of its own that it answers on.
    pub domain: Option<PlaneDomain>,
    /// Its own identity provider, while that is enabled and in its plan.
    pub idp: Option<Arc<PlaneIdp>>,
    /// Its limits, and what is kept of its requests.
    pub policy: PlanePolicy,
    /// The version that this snapshot was made of.
    pub version: i64,
}

/// A domain that an organisation has proven (TEN-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneDomain {
    /// The host: lower case, ASCII.
    pub host: Box<str>,
    /// Its base URL, without a slash at its end.
    pub base: Box<str>,
}

impl PlaneDomain {
    /// Whether a token for this audience is meant for the organisation with this slug, on this domain: for the whole of it,
    /// or for the connector of the path. Bytes are compared, nothing is normalised (RSV-04).
    fn is_meant(&self, audience: &str, slug: &str, connector: Option<&str>) -> bool {
        let rest =
            audience.strip_prefix(&*self.base).and_then(|path| path.strip_prefix(paths::mcp_at_domain()));
        let Some(rest) = rest else { return false };
        if rest.is_empty() {
            return true;
        }
        let Some(rest) = rest.strip_prefix('/').and_then(|rest| rest.strip_prefix(slug)) else {
            return false;
        };
        rest.is_empty() || connector.is_some() && rest.strip_prefix('/') == connector
    }
}

/// Who authenticated on the data plane: what sessions, limits, usage and logs go by. It is always seen together with
/// its organisation, and says nothing of what it may do: that is [`Access`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// Whoever holds an API key.
    ApiKey(ApiKeyId),
    /// A client with somebody's consent, whichever of its access tokens it shows.
    Connection(ConnectionId),
    /// A machine client, by its client id.
    Machine(String),
    /// Somebody whom the organisation's own identity provider knows (IDP-05).
    Provider {
        /// The issuer.
        issuer: Arc<str>,
        /// The `sub` of their tokens.
        subject: Arc<str>,
    },
    /// A member of the organisation, in the dashboard.
    Member {
        /// Their account.
        id: UserId,
        /// Their name.
        name: Arc<str>,
    },
}

impl Principal {
    /// `api_key`, `connection`, `oauth_client`, `identity_provider` or `user`: the word in logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "api_key",
            Self::Connection(_) => "connection",
            Self::Machine(_) => "oauth_client",
            Self::Provider { .. } => "identity_provider",
            Self::Member { .. } => "user",
        }
    }
}

/// The public id, for logs.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey(id) => id.fmt(f),
            Self::Connection(id) => id.fmt(f),
            Self::Machine(id) => id.fmt(f),
            Self::Member { id, .. } => id.fmt(f),
            // Text of somebody else, which may hold anything.
            Self::Provider { subject, .. } => subject.escape_debug().fmt(f),
        }
    }
}

/// What a credential gives to whoever presents it. Two credentials of one principal may give different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who authenticated.
    pub principal: Principal,
    /// Which connectors may be used.
    pub scope: PlaneScope,
    /// When it ends, Unix milliseconds.
    pub expires_at: Option<i64>,
    /// The grant and the generation of the access token, if it is one of a connection.
    pub grant: Option<(GrantId, i64)>,
}

impl Access {
    /// Whether it has not ended yet.
    pub fn lives(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}

/// One enabled API key.
#[derive(Clone, Debug)]
pub struct PlaneKey {
    /// Its public id.
    pub id: ApiKeyId,
    /// Its name.
    pub name: String,
    /// Which connectors it may use.
    pub scope: PlaneScope,
    /// When it stops working, Unix milliseconds.
    pub expires_at: Option<i64>,
    /// Whether it may be used as `?api_key=`.
    pub url_key: bool,
    /// From where it may be used (IPA-05).
    pub ranges: KeyRanges,
}

impl PlaneKey {
    /// What it gives to whoever presents it.
    pub fn access(&self) -> Access {
        Access {
            principal: Principal::ApiKey(self.id),
            scope: self.scope.clone(),
            expires_at: self.expires_at,
            grant: None,
        }
    }
}

/// One grant of a connection that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneGrant {
    /// The connection.
    pub connection: ConnectionId,
    /// The connection's key: tokens that name another are dead.
    pub key: ConnectionKeyId,
    /// The client that it was given to.
    pub client: String,
    /// Who gave it.
    pub user: UserId,
    /// As the client named itself; may be empty.
    pub client_name: String,
    /// What was granted.
    pub scope: Scope,
    /// When it ends, Unix milliseconds.
    pub expires_at: i64,
}

/// One machine client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneMachine {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
}

/// The endpoint that an access token is shown to.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// The organisation's endpoint, an absolute URL.
    pub main: &'a str,
    /// The connector of the path: then its own endpoint is a resource as well.
    pub connector: Option<&'a str>,
}

impl Resource<'_> {
    /// Whether a token for this audience is meant for this endpoint. Bytes are compared, nothing is normalised (RSV-04).
    fn is_meant(&self, audience: &str) -> bool {
        let Some(rest) = audience.strip_prefix(self.main) else { return false };
        rest.is_empty() || (rest.strip_prefix('/').is_some() && rest.strip_prefix('/') == self.connector)
    }
}

impl OrgPlane {
    /// What a valid access token gives here now. Its signature and its times were judged by [`tokens::read`]; this judges
    /// what it names, and so may be asked again while a call runs, even after the token has expired: a call that was
    /// allowed to begin lasts as long as its grant.
    ///
    /// # Errors
    /// [`Refused::Invalid`] when the token is for elsewhere, was revoked, or is of a grant or client that is gone.
    pub fn admit(
        &self,
        token: &AccessToken,
        resource: Resource<'_>,
        now: i64,
    ) -> core::result::Result<Access, Refused> {
        // Both must fit, although either alone would do (RSV-04).
        if token.org != self.org {
            return Err(Refused::Invalid("it is of another organisation"));
        }
        let at_domain = || {
            let domain = self.domain.as_ref();
            domain.is_some_and(|d| d.is_meant(&token.audience, self.slug.as_str(), resource.connector))
        };
        if !resource.is_meant(&token.audience) && !at_domain() {
            return Err(Refused::Invalid("its audience is another resource"));
        }
        if self.revoked_tokens.contains(&token.jti) {
            return Err(Refused::Invalid("it was revoked"));
        }
        let Some(TokenGrant { grant: id, key, generation }) = token.grant else {
            let machine = self.machines.get(&token.client);
            let machine = machine.ok_or(Refused::Invalid("its client is gone"))?;
            return Ok(Access {
                principal: Principal::Machine(token.client.clone()),
                scope: self.resolve(&token.scope.narrowed(&machine.scope)),
                expires_at: None,
                grant: None,
            });
        };
        let grant = self.grants.get(&id).filter(|grant| now < grant.expires_at);
        let grant = grant.ok_or(Refused::Invalid("its grant has ended"))?;
        if grant.key != key {
            return Err(Refused::Invalid("the key of its connection was made anew"));
        }
        if grant.client != token.client {
            return Err(Refused::Invalid("its grant is another client's"));
        }
        Ok(Access {
            principal: Principal::Connection(grant.connection),
            scope: self.resolve(&token.scope.narrowed(&grant.scope)),
            expires_at: Some(grant.expires_at),
            grant: Some((id, generation)),
        })
    }

    /// The person whose calls these are, if they are somebody's: those of a connection.
    pub fn person(&self, access: &Access) -> Option<UserId> {
        if let Principal::Member { id, .. } = &access.principal {
            return Some(*id);
        }
        let (grant, _) = access.grant?;
        self.grants.get(&grant).map(|grant| grant.user)
    }

    /// What somebody has here whose token the organisation's own provider issued and [`idp::verify`] found good, as long
    /// as that provider is configured just so.
    ///
    /// # Errors
    /// [`Refused::Invalid`] when it is switched off, deleted or changed.
    pub fn admit_subject(
        &self,
        provider: &PlaneIdp,
        subject: &IdpSubject,
    ) -> core::result::Result<Access, Refused> {
        if subject.org != self.org || self.idp.as_deref() != Some(provider) {
            return Err(Refused::Invalid("its provider is not configured so any more"));
        }
        Ok(Access {
            principal: Principal::Provider {
                issuer: subject.issuer.as_str().into(),
                subject: subject.subject.as_str().into(),
            },
            scope: PlaneScope::All,
            // A call that was allowed to begin may end.
            expires_at: None,
            grant: None,
        })
    }

    /// The connectors that a scope reaches today.
    fn resolve(&self, scope: &Scope) -> PlaneScope {
        if scope.all {
            return PlaneScope::All;
        }
        let reached = self.connectors.iter().filter(|connector| scope.connectors.contains(&connector.slug));
        PlaneScope::Only(Arc::new(reached.map(|connector| connector.id).collect()))
    }
}

/// Which connectors a principal may use. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PlaneScope {
    /// All, also those added later.
    All,
    /// Only these.
    Only(Arc<BTreeSet<ConnectorId>>),
}

impl PlaneScope {
    /// Whether it includes a connector.
    pub fn includes(&self, connector: ConnectorId) -> bool {
        match self {
            Self::All => true,
            Self::Only(connectors) => connectors.contains(&connector),
        }
    }
}

/// One enabled connector with opened credentials.
pub struct PlaneConnector {
    /// Its id.
    pub id: ConnectorId,
    /// The prefix of its tools' names.
    pub slug: ConnectorSlug,
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Where, with the query that may hold a key; not looked at for [`Transport::Demo`]. For [`Transport::Stdio`] the host
    /// is the server's name.
    pub url: Uri,
    /// What it is sent with every request.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// How long it may take to begin an answer, if not as long as others.
    pub first_byte: Option<Duration>,
    /// The revision that it spoke when it was last checked.
    pub protocol_version: Option<String>,
    /// How it authenticates itself besides.
    pub auth: PlaneAuth,
    /// Its tools as last seen, in the server's order.
    pub tools: Vec<PlaneTool>,
    /// What its server says about how to use it. Where definitions wait for approval nobody has approved this either, so it
    /// is not here.
    pub instructions: Option<Box<str>>,
    /// Whether its names stand on the organisation's endpoint without its slug before them. One connector at most.
    pub unprefixed: bool,
    /// Changes when the address or a header changes: then the connection to the server begins anew.
    pub version: i64,
}

impl fmt::Debug for PlaneConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, host) = (self.id, self.url.host());
        f.debug_struct("PlaneConnector").field("id", &id).field("host", &host).finish_non_exhaustive()
    }
}

/// One tool of a connector.
#[derive(Debug)]
pub struct PlaneTool {
    /// Its name upstream.
    pub name: String,
    /// Its name among its connector's tools: what stands behind the prefix.
    pub published: String,
    /// Whether agents are offered it.
    pub enabled: bool,
    /// Whether it is kept from agents until somebody approves its definition (UPS-13).
    pub held: bool,
    /// How long a call may go without progress, if not as long as others.
    pub timeout: Option<Duration>,
    /// Its definition, byte for byte as the server gave it, but for a description of the organisation's own.
    pub definition: Box<RawValue>,
}

/// The snapshot could not be made, so nothing can be decided (ERR-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the organisation's data cannot be read just now")]
pub struct Unavailable;

/// Where snapshots come from.
pub trait Directory: Send + Sync + 'static {
    /// The organisation with this slug. It answers from memory: unknown slugs are asked for by anybody.
    fn lookup(&self, slug: &str) -> Option<OrgId>;

    /// The same, if it keeps a list of addresses that it may be reached from. From memory as well: it is asked before any
    /// credential is looked at, and may be half a second behind (RSV-01).
    fn restricted(&self, slug: &str) -> Option<OrgId>;

    /// The organisation that answers on this host of its own, in lower case. From memory as well; the snapshot says whether
    /// that still is so.
    fn at_host(&self, host: &str) -> Option<OrgId>;

    /// The organisation that an API key with this SHA-256 belongs to, whether or not it works. It remembers; whoever has
    /// a key of the right form that nobody knows is asked for once.
    fn org_of_key<'a>(
        &'a self,
        hash: &'a [u8; 32],
    ) -> BoxFuture<'a, core::result::Result<Option<OrgId>, Unavailable>>;

    /// A snapshot as of now, freshly read; `None` when the organisation is gone.
    fn plane(&self, org: OrgId) -> BoxFuture<'_, core::result::Result<Option<Arc<OrgPlane>>, Unavailable>>;
}

/// Snapshots from the database; slugs from a map in memory that [`Planes::refresh`] keeps up to date.
#[derive(Debug)]
pub struct Planes {
    env: Env,
    slugs: RwLock<HashMap<String, OrgId>>,
    /// The organisations that keep a list of addresses.
    restricted: RwLock<HashSet<OrgId>>,
    /// The domains that organisations have proven.
    hosts: RwLock<HashMap<String, OrgId>>,
    /// Whose the API keys are that were asked for, by SHA-256; `None` for keys that nobody knows.
    keys: RwLock<HashMap<[u8; 32], Option<OrgId>>>,
    seen: Mutex<Seen>,
}

/// The most keys whose organisation is remembered.
const MOST_KEYS: usize = 100_000;

/// What this process knows of changes. Times are the database's, Unix milliseconds.
#[derive(Debug, Default)]
struct Seen {
    /// The version of each organisation.
    versions: HashMap<OrgId, i64>,
    /// When changes were last looked for with success.
    looked_at: i64,
    /// When everything was last looked at.
    swept_at: i64,
}

/// How much further back than to the last good look changes are looked for, milliseconds: a change is stamped before it
/// is committed, and seen only after.
const MARGIN: i64 = 30_000;
/// How often everything is looked at, milliseconds: whatever took longer from stamping to commit is then found, and
/// organisations that are gone.
const SWEEP: i64 = 30_000;
/// How long a look may take. Without a limit a database that accepts and does not answer would end all news.
const PATIENCE: Duration = Duration::from_secs(5);

/// Organisations with slug and version; without a version when they were deleted.
type Versions = Vec<(OrgId, String, Option<i64>)>;

impl Seen {
    /// From when on changes count at this time; `None` to look at everything: when that is due, after an outage, and when
    /// the database's clock was set back.
    fn since(&self, now: i64) -> Option<i64> {
        let regular = (0..=MARGIN).contains(&(now - self.looked_at)) && now - self.swept_at < SWEEP;
        regular.then_some(self.looked_at - MARGIN)
    }
}

impl Planes {
    /// Reads all slugs.
    pub async fn load(env: Env) -> Result<Arc<Self>> {
        let planes = Self {
            env,
            slugs: RwLock::default(),
            restricted: RwLock::default(),
            hosts: RwLock::default(),
            keys: RwLock::default(),
            seen: Mutex::default(),
        };
        planes.look_at_lists().await?;
        let (now, _, all) = planes.look().await?;
        // Nothing was seen before, so that all of it was read.
        let all: Vec<_> =
            all.into_iter().filter_map(|(org, slug, version)| Some((org, slug, version?))).collect();
        planes
            .slugs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(all.iter().map(|(org, slug, _)| (slug.clone(), *org)));
        *planes.seen() = Seen {
            versions: all.into_iter().map(|(org, _, version)| (org, version)).collect(),
            looked_at: now,
            swept_at: now,
        };
        Ok(Arc::new(planes))
    }

    /// Looks for organisations that any process changed and tells the caches of this one. Called twice a second, so that
    /// a change counts everywhere within one. It goes back to the last look that succeeded, however long ago.
    pub async fn refresh(&self) -> Result<()> {
        let (now, whole, found) = tokio::time::timeout(PATIENCE, self.look())
            .await
            .map_err(|_| Error::Internal("the database did not tell of changes in time".into()))??;
        if !found.is_empty() {
            self.look_at_lists().await?;
        }
        let mut seen = self.seen();
        if whole {
            let there: HashSet<OrgId> = found.iter().map(|(org, ..)| *org).collect();
            let gone: Vec<OrgId> = seen.versions.keys().filter(|org| !there.contains(org)).copied().collect();
            for org in gone {
                seen.versions.remove(&org);
                self.forget(org);
                self.env.changes.notify(org);
            }
            seen.swept_at = now;
        }
        for (org, slug, version) in found {
            let Some(version) = version else {
                if seen.versions.remove(&org).is_some() {
                    self.forget(org);
                    self.env.changes.notify(org);
                }
                continue;
            };
            if seen.versions.insert(org, version) != Some(version) {
                self.remember(slug, org);
                self.env.changes.notify(org);
            }
        }
        seen.looked_at = now;
        Ok(())
    }

    /// The database's time and what changed up to it; the flag says that it is everything there is.
    async fn look(&self) -> Result<(i64, bool, Versions)> {
        let mut tx = self.env.db.read().await?;
        // The time first: what commits meanwhile is then found by the next look.
        let now = store::orgs::now(&mut tx).await?;
        let since = self.seen().since(now);
        let found = if let Some(since) = since {
            store::orgs::list_changed(&mut tx, since).await?
        } else {
            let all = store::orgs::list_versions(&mut tx).await?;
            all.into_iter().map(|(org, slug, version)| (org, slug, Some(version))).collect()
        };
        Ok((now, since.is_none(), found))
    }

    /// Which organisations keep a list of addresses, and which have a domain; few do.
    async fn look_at_lists(&self) -> Result<()> {
        let (listed, hosts) = {
            let mut tx = self.env.db.read().await?;
            (store::allowlists::list_orgs(&mut tx).await?, custom_domain::in_use(&mut tx).await?)
        };
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = hosts.into_iter().collect();
        *self.restricted.write().unwrap_or_else(PoisonError::into_inner) = listed.into_iter().collect();
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, slug: String, org: OrgId) {
        let known = self.slugs.read().unwrap_or_else(PoisonError::into_inner).get(&slug) == Some(&org);
        if !known {
            let mut slugs = self.slugs.write().unwrap_or_else(PoisonError::into_inner);
            // It may have had another, which leads nowhere from now on.
            slugs.retain(|_, known| *known != org);
            slugs.insert(slug, org);
        }
    }

    fn forget(&self, gone: OrgId) {
        self.slugs.write().unwrap_or_else(PoisonError::into_inner).retain(|_, org| *org != gone);
        self.hosts.write().unwrap_or_else(PoisonError::into_inner).retain(|_, org| *org != gone);
    }

    async fn read(&self, id: OrgId) -> Result<Option<Arc<OrgPlane>>> {
        let mut tx = self.env.db.read().await?;
        // The version is read first: a change that commits meanwhile makes this snapshot older, never newer, than it says.
        let Some(version) = store::orgs::version(&mut tx, id).await? else { return Ok(None) };
        let Some(org) = store::orgs::find(&mut tx, id).await? else { return Ok(None) };
        let data_key = orgs::data_key(&self.env, &mut tx, id).await?;
        let limits = store::api_keys::list_connectors(&mut tx, id).await?;
        let keys = store::api_keys::list(&mut tx, id)
            .await?
            .into_iter()
            .filter(|key| key.disabled_at.is_none())
            .filter_map(|key| {
                let scope = if key.all_connectors {
                    PlaneScope::All
                } else {
                    let own = limits.iter().filter(|(id, _)| *id == key.id).map(|(_, c)| *c);
                    PlaneScope::Only(Arc::new(own.collect()))
                };
                let hash: [u8; 32] = key.hash.as_slice().try_into().ok()?;
                // A key whose ranges do not read may be used from nowhere.
                let ranges = KeyRanges::stored(&key.ranges)
                    .inspect_err(|error| tracing::error!(%error, key = %key.id, "a key is left out"))
                    .ok()?;
                Some((
                    hash,
                    PlaneKey {
                        id: key.id,
                        name: key.name,
                        scope,
                        expires_at: key.expires_at,
                        url_key: key.url_key,
                        ranges,
                    },
                ))
            })
            .collect();
        let now = self.env.now();
        let suspended = store::orgs::suspended_at(&mut tx, id).await?.is_some();
        let grants = store::oauth_grants::list_live(&mut tx, id, now).await?;
        // In a suspended organisation access tokens are worth nothing; keys are known, and refused (OAR-04).
        let grants = grants.into_iter().filter(|_| !suspended);
        // Whoever lost the role that connections need has none that work (OAR-04).
        let grants = grants.filter(|grant| may_connect(&grant.role));
        let grants = grants.filter_map(plane_grant).collect();
        let clients = store::oauth_clients::list(&mut tx, id).await?;
        let machines = clients.into_iter().filter(|_| !suspended).filter_map(plane_machine).collect();
        // As long as a token may still be accepted, its revocation counts.
        let revoked = store::signing_keys::list_revoked(&mut tx, id, now - tokens::LEEWAY).await?;
        let headers = store::connectors::list_headers(&mut tx, id).await?;
        let mut tools: HashMap<ConnectorId, Vec<store::connectors::Tool>> = HashMap::new();
        for tool in store::connectors::list_tools(&mut tx, id).await? {
            tools.entry(tool.connector).or_default().push(tool);
        }
        let clients = store::upstream_credentials::list_clients(&mut tx, id).await?;
        let given = if clients.is_empty() {
            Vec::new()
        } else {
            store::upstream_credentials::list(&mut tx, id).await?
        };
        let mut connectors = Vec::new();
        for row in store::connectors::list(&mut tx, id).await?.into_iter().filter(|row| row.enabled) {
            let auth = plane_auth(&self.env, id, &row, &clients, &given);
            match plane_connector(id, &data_key, &headers, &mut tools, row, auth) {
                Ok(connector) => connectors.push(Arc::new(connector)),
                // One connector whose secret does not open must not take the others down.
                Err(error) => tracing::error!(%error, org.id = %id, "a connector is left out"),
            }
        }
        connectors.sort_by(|a, b| a.slug.cmp(&b.slug));
        // With a plan that has none, what is configured waits for one that has.
        let included = org.plan.own_identity_provider();
        let provider = store::identity_providers::find(&mut tx, id).await?;
        let idp = match provider.filter(|row| row.enabled && included) {
            // Without it its tokens are refused; everything else must not suffer from it.
            Some(row) => idp::config::plane(id, &row)
                .inspect_err(
                    |error| tracing::error!(%error, org.id = %id, "an identity provider is left out"),
                )
                .ok()
                .map(Arc::new),
            None => None,
        };
        let url_keys = org.url_keys;
        // Without it nothing can be decided: there is no snapshot then (ERR-05).
        let allowlist = Arc::new(Allowlist::load(&mut tx, id).await?);
        let policy = usage::policy(&mut tx, &org).await?;
        let domain = custom_domain::host_in_use(&mut tx, id)
            .await?
            .map(|host| PlaneDomain { base: self.env.settings.base_at(&host).into(), host: host.into() });
        Ok(Some(Arc::new(OrgPlane {
            org: id,
            slug: org.slug,
            suspended,
            url_keys,
            keys,
            grants,
            machines,
            revoked_tokens: revoked.into_iter().collect(),
            connectors,
            allowlist,
            domain,
            idp,
            policy,
            version,
        })))
    }
}

/// A stored scope. One that a newer version wrote reaches nothing here, and takes nothing else down.
fn scope_of(scope: &str, of: &dyn fmt::Display) -> Option<Scope> {
    scope
        .parse()
        .inspect_err(|error| tracing::error!(%error, scope.of = %of, "a stored scope cannot be read"))
        .ok()
}

fn plane_grant(row: store::oauth_grants::LiveGrant) -> Option<(GrantId, PlaneGrant)> {
    let grant = PlaneGrant {
        scope: scope_of(&row.scope, &row.id)?,
        connection: row.connection,
        key: row.key,
        client: row.client,
        user: row.user,
        client_name: row.client_name,
        expires_at: row.expires_at,
    };
    Some((row.id, grant))
}

fn plane_machine(row: store::oauth_clients::OauthClient) -> Option<(String, PlaneMachine)> {
    if row.kind != ClientKind::Machine {
        return None;
    }
    let scope = scope_of(&row.scope, &row.id)?;
    Some((row.id, PlaneMachine { name: row.name, scope }))
}

fn plane_connector(
    org: OrgId,
    data_key: &crate::sealer::DataKey,
    headers: &[store::connectors::Header],
    tools: &mut HashMap<ConnectorId, Vec<store::connectors::Tool>>,
    row: store::connectors::Connector,
    auth: PlaneAuth,
) -> Result<PlaneConnector> {
    let wrong = |what: &str| Error::Internal(format!("the {what} of {} cannot be sent", row.id));
    let target = connectors::Target::open(data_key, org, &row, headers)?;
    let url: Uri = match row.transport {
        Transport::Demo => Uri::default(),
        Transport::Stdio => {
            format!("stdio://{}/", connectors::local_name(&row.url)).parse().map_err(|_| wrong("name"))?
        }
        Transport::Http | Transport::Sse => {
            target.whole_url().expose_secret().parse().map_err(|_| wrong("URL"))?
        }
    };
    let mut own = Vec::with_capacity(target.headers.len());
    for (name, value) in target.headers {
        own.push((HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("header"))?, value));
    }
    let mut version = connectors::version(&row, headers);
    if !matches!(auth, PlaneAuth::Headers) {
        let mut both = DefaultHasher::new();
        (version, &auth).hash(&mut both);
        version = both.finish().cast_signed();
    }
    let said = row.instructions.as_deref().filter(|_| row.tool_policy == ToolPolicy::Alert);
    Ok(PlaneConnector {
        instructions: said.map(Box::from),
        unprefixed: row.unprefixed,
        tools: plane_tools(&row, tools.remove(&row.id).unwrap_or_default())?,
        version,
        id: row.id,
        slug: row.slug,
        name: row.name,
        transport: row.transport,
        first_byte: connectors::first_byte(row.first_byte_seconds),
        protocol_version: row.protocol_version,
        url,
        headers: own,
        auth,
    })
}

/// The tools that a connector may offer, as it publishes them. What its server leaves out and what has another's name is
/// not among them.
fn plane_tools(
    connector: &store::connectors::Connector,
    rows: Vec<store::connectors::Tool>,
) -> Result<Vec<PlaneTool>> {
    let published = connectors::publish(connector.slug.as_str(), &rows);
    let mut tools = Vec::with_capacity(rows.len());
    for (row, published) in rows.into_iter().zip(published) {
        if row.gone_at.is_some() || published.clash.is_some() {
            continue;
        }
        let held = connectors::held(connectors::review(&row), connector.tool_policy);
        let definition = match &row.description {
            Some(description) => with_description(&row.definition, description),
            None => row.definition,
        };
        let definition = RawValue::from_string(definition).map_err(|_| {
            Error::Internal(format!("the definition of a tool of {} is no JSON", connector.id))
        })?;
        tools.push(PlaneTool {
            name: row.name,
            published: published.name,
            enabled: row.enabled,
            held,
            timeout: row
                .timeout_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            definition,
        });
    }
    Ok(tools)
}

impl Directory for Planes {
    fn lookup(&self, slug: &str) -> Option<OrgId> {
        self.slugs.read().unwrap_or_else(PoisonError::into_inner).get(slug).copied()
    }

    fn restricted(&self, slug: &str) -> Option<OrgId> {
        let org = self.lookup(slug)?;
        self.restricted.read().unwrap_or_else(PoisonError::into_inner).contains(&org).then_some(org)
    }

    fn at_host(&self, host: &str) -> Option<OrgId> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(host).copied()
    }

    fn org_of_key<'a>(
        &'a self,
        hash: &'a [u8; 32],
    ) -> BoxFuture<'a, core::result::Result<Option<OrgId>, Unavailable>> {
        if let Some(known) = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(hash) {
            let known = *known;
            return Box::pin(async move { Ok(known) });
        }
        Box::pin(async move {
            let found = async {
                let mut tx = self.env.db.read().await?;
                store::api_keys::find_org(&mut tx, hash).await
            };
            let org = found.await.map_err(|error: store::Error| {
                tracing::error!(%error, "a key cannot be looked up");
                Unavailable
            })?;
            // A key that nobody knows never becomes one: its hash would have to be met.
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            if keys.len() >= MOST_KEYS {
                keys.clear();
            }
            keys.insert(*hash, org);
            Ok(org)
        })
    }

    fn plane(&self, org: OrgId) -> BoxFuture<'_, core::result::Result<Option<Arc<OrgPlane>>, Unavailable>> {
        Box::pin(async move {
            self.read(org).await.map_err(|error| {
                tracing::error!(%error, org.id = %org, "an organisation cannot be read");
                Unavailable
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{env::Changes, env_test, testing::TestEnv};

    fn plane() -> OrgPlane {
        let connector = |number, slug: &str| {
            Arc::new(PlaneConnector {
                id: ConnectorId::from_uuid(uuid::Uuid::from_u128(number)),
                slug: slug.parse().unwrap(),
                name: slug.to_owned(),
                transport: Transport::Demo,
                url: Uri::default(),
                headers: Vec::new(),
                first_byte: None,
                protocol_version: None,
                auth: PlaneAuth::Headers,
                tools: Vec::new(),
                instructions: None,
                unprefixed: false,
                version: 1,
            })
        };
        let grant = PlaneGrant {
            connection: ConnectionId::from_uuid(uuid::Uuid::from_u128(1)),
            key: named().key,
            client: "client".into(),
            user: UserId::from_uuid(uuid::Uuid::from_u128(1)),
            client_name: String::new(),
            scope: "mcp:call:x mcp:call:xy".parse().unwrap(),
            expires_at: 1000,
        };
        let machine = PlaneMachine { name: "Nightly".into(), scope: "mcp:call:x".parse().unwrap() };
        OrgPlane {
            org: OrgId::from_uuid(uuid::Uuid::from_u128(1)),
            slug: "acme".parse().unwrap(),
            suspended: false,
            url_keys: false,
            keys: HashMap::new(),
            grants: [(named().grant, grant)].into(),
            machines: [("machine".to_owned(), machine)].into(),
            revoked_tokens: HashSet::new(),
            allowlist: Arc::default(),
            domain: None,
            idp: None,
            policy: PlanePolicy::default(),
            connectors: vec![connector(1, "x"), connector(2, "xy")],
            version: 1,
        }
    }

    fn named() -> TokenGrant {
        let uuid = uuid::Uuid::from_u128(1);
        TokenGrant { grant: GrantId::from_uuid(uuid), key: ConnectionKeyId::from_uuid(uuid), generation: 4 }
    }

    fn token() -> AccessToken {
        AccessToken {
            kid: "kid".into(),
            jti: "jti".into(),
            subject: "usr".into(),
            client: "client".into(),
            org: OrgId::from_uuid(uuid::Uuid::from_u128(1)),
            audience: "https://gate.test/mcp/acme".into(),
            scope: Scope::everything(),
            grant: Some(named()),
            issued_at: 0,
            expires_at: 0,
        }
    }

    const MAIN: Resource<'static> = Resource { main: "https://gate.test/mcp/acme", connector: None };

    fn only(numbers: &[u128]) -> PlaneScope {
        let ids = numbers.iter().map(|number| ConnectorId::from_uuid(uuid::Uuid::from_u128(*number)));
        PlaneScope::Only(Arc::new(ids.collect()))
    }

    #[test]
    fn rsv_04_a_token_is_for_one_organisation_and_one_resource() {
        let plane = plane();
        assert!(plane.admit(&token(), MAIN, 0).is_ok());
        for audience in [
            "",
            "https://gate.test",
            "https://gate.test/",
            "https://gate.test/mcp",
            "https://gate.test/mcp/acme/",
            "https://gate.test/mcp/acm",
            "https://gate.test/mcp/acme2",
            "https://gate.test/mcp/ACME",
            "https://gate.test/mcp/acme/x",
            "https://GATE.test/mcp/acme",
            "http://gate.test/mcp/acme",
            "https://gate.test:443/mcp/acme",
            "https://gate.test/mcp/bolt",
        ] {
            let foreign = AccessToken { audience: audience.into(), ..token() };
            assert!(plane.admit(&foreign, MAIN, 0).is_err(), "{audience}");
        }
        // The endpoint of one connector is a resource of its own, and part of the organisation's.
        let own = Resource { connector: Some("x"), ..MAIN };
        assert!(plane.admit(&token(), own, 0).is_ok());
        for (audience, meant) in
            [("/x", true), ("/xy", false), ("/x/", false), ("//x", false), ("/", false), ("x", false)]
        {
            let token = AccessToken { audience: format!("{}{audience}", MAIN.main), ..token() };
            assert_eq!(plane.admit(&token, own, 0).is_ok(), meant, "{audience}");
        }
        // The organisation is asked for even where the audience fits.
        let other = AccessToken { org: OrgId::from_uuid(uuid::Uuid::from_u128(2)), ..token() };
        assert!(plane.admit(&other, MAIN, 0).is_err());
    }

    #[test]
    fn ten_06_a_domain_is_a_resource_as_long_as_it_is_proven() {
        let mut plane = plane();
        let admits = |plane: &OrgPlane, audience: &str, connector| {
            let token = AccessToken { audience: audience.to_owned(), ..token() };
            plane.admit(&token, Resource { connector, ..MAIN }, 0).is_ok()
        };
        assert!(!admits(&plane, "https://api.acme.com/mcp", None));
        plane.domain = Some(PlaneDomain { host: "api.acme.com".into(), base: "https://api.acme.com".into() });
        for (path, everywhere, at_x) in [
            ("/mcp", true, true),
            ("/mcp/acme", true, true),
            ("/mcp/acme/x", false, true),
            ("/mcp/acme/xy", false, false),
            ("/mcp/", false, false),
            ("/mcp/bolt", false, false),
            ("/mcp/acmex", false, false),
            ("/mcp/acme/", false, false),
            ("", false, false),
            ("/", false, false),
            (":443/mcp", false, false),
            (".evil.test/mcp", false, false),
        ] {
            let audience = format!("https://api.acme.com{path}");
            assert_eq!(admits(&plane, &audience, None), everywhere, "{audience}");
            assert_eq!(admits(&plane, &audience, Some("x")), at_x, "{audience}");
        }
        for audience in ["http://api.acme.com/mcp", "https://API.acme.com/mcp", "https://api.bolt.com/mcp"] {
            assert!(!admits(&plane, audience, None), "{audience}");
        }
        assert!(admits(&plane, MAIN.main, None), "the main address stays one");
    }

    #[test]
    fn rsv_06_a_scope_is_what_token_and_grant_both_reach() {
        let plane = plane();
        let scope = |scope: &str| {
            let token = AccessToken { scope: scope.parse().unwrap(), ..token() };
            plane.admit(&token, MAIN, 0).unwrap().scope
        };
        assert_eq!(scope("mcp:call"), only(&[1, 2]));
        assert_eq!(scope("mcp:call:x"), only(&[1]));
        assert_eq!(scope("mcp:call:xy mcp:call:gone offline_access"), only(&[2]));
        assert_eq!(scope("offline_access"), only(&[]));
        let mut wide = plane.clone();
        wide.grants.get_mut(&named().grant).unwrap().scope = Scope::everything();
        assert_eq!(wide.admit(&token(), MAIN, 0).unwrap().scope, PlaneScope::All);
        // A machine's token is narrowed when its client is.
        let machine = AccessToken { grant: None, client: "machine".into(), ..token() };
        assert_eq!(plane.admit(&machine, MAIN, 0).unwrap().scope, only(&[1]));
    }

    #[test]
    fn rsv_04_what_a_token_names_must_be_there() {
        let access = plane().admit(&token(), MAIN, 999).unwrap();
        let connection = ConnectionId::from_uuid(uuid::Uuid::from_u128(1));
        assert_eq!(access.principal, Principal::Connection(connection));
        assert_eq!((access.expires_at, access.grant), (Some(1000), Some((named().grant, 4))));
        let other = uuid::Uuid::from_u128(9);
        let refused = |change: &dyn Fn(&mut OrgPlane, &mut AccessToken)| {
            let (mut plane, mut token) = (plane(), token());
            change(&mut plane, &mut token);
            assert!(plane.admit(&token, MAIN, 0).is_err());
        };
        assert!(plane().admit(&token(), MAIN, 1000).is_err(), "the grant has ended");
        refused(&|plane, _| plane.grants.clear());
        refused(&|_, token| token.grant = Some(TokenGrant { grant: GrantId::from_uuid(other), ..named() }));
        refused(&|_, token| {
            token.grant = Some(TokenGrant { key: ConnectionKeyId::from_uuid(other), ..named() });
        });
        refused(&|_, token| token.client = "another".into());
        // Without its grant a connection's token is none of a machine.
        refused(&|_, token| token.grant = None);
        refused(&|plane, _| {
            plane.revoked_tokens.insert("jti".into());
        });
        let machine = |plane: &OrgPlane| {
            plane.admit(&AccessToken { grant: None, client: "machine".into(), ..token() }, MAIN, i64::MAX)
        };
        let access = machine(&plane()).unwrap();
        assert_eq!((access.principal, access.grant), (Principal::Machine("machine".into()), None));
        let mut without = plane();
        without.machines.clear();
        assert!(machine(&without).is_err());
    }

    env_test!(rsv_04_a_snapshot_holds_what_tokens_name_and_nothing_of_others, |t| async {
        let (acme, bolt) = (t.org("acme").await, t.org("bolt").await);
        // Somebody who is no member of acme any more.
        let gone = crate::testing::TestMember { user: bolt.user, ..acme.clone() };
        let planes = Planes::load(t.env.clone()).await.unwrap();
        let plane =
            async |org: &crate::testing::TestMember| planes.plane(org.org_id()).await.unwrap().unwrap();
        let now = t.env.now();
        let mut grants = Vec::new();
        for (number, member) in (0_u8..).zip([&acme, &acme, &gone, &bolt]) {
            grants.push(t.grant(member, &format!("client-{number}"), "mcp:call").await);
        }
        let ids = |plane: &OrgPlane| plane.grants.keys().copied().collect::<BTreeSet<_>>();
        assert_eq!(ids(&*plane(&acme).await), grants[..2].iter().map(|grant| grant.grant).collect());
        assert_eq!(ids(&*plane(&bolt).await), [grants[3].grant].into());
        let token =
            AccessToken { org: acme.org_id(), client: "client-0".into(), grant: Some(grants[0]), ..token() };
        let admitted = async || plane(&acme).await.admit(&token, MAIN, t.env.now()).is_ok();
        assert!(admitted().await);
        // Each end of a token: its own, its grant's, its connection's.
        let mut tx = t.env.db.write().await.unwrap();
        store::signing_keys::revoke_token(&mut tx, acme.org_id(), "jti", now + 1).await.unwrap();
        store::signing_keys::revoke_token(&mut tx, bolt.org_id(), "other", now + 1).await.unwrap();
        store::oauth_grants::revoke(&mut tx, acme.org_id(), grants[1].grant, now, "test").await.unwrap();
        tx.commit().await.unwrap();
        assert!(!admitted().await, "revoked by its id");
        assert_eq!(plane(&acme).await.revoked_tokens, ["jti".to_owned()].into());
        assert_eq!(ids(&*plane(&acme).await), [grants[0].grant].into());
        // The revocation counts as long as the token may be accepted, and no longer.
        t.clock.advance(tokens::LEEWAY);
        assert!(!admitted().await);
        t.clock.advance(1);
        assert!(admitted().await);
        let mut tx = t.env.db.write().await.unwrap();
        let connection = plane(&acme).await.grants[&grants[0].grant].connection;
        store::connections::revoke(&mut tx, acme.org_id(), connection, now, "Ada", "test").await.unwrap();
        tx.commit().await.unwrap();
        assert!(!admitted().await);
        assert_eq!(ids(&*plane(&bolt).await), [grants[3].grant].into());
        t.clock.advance(crate::testing::GRANT);
        assert!(plane(&bolt).await.grants.is_empty(), "ended by itself");
    });

    env_test!(rsv_04_machine_clients_are_those_of_the_organisation, |t| async {
        let (acme, bolt) = (t.org("acme").await, t.org("bolt").await);
        t.machine(&acme, "machine-a", "mcp:call").await;
        t.machine(&bolt, "machine-b", "mcp:call:x").await;
        let planes = Planes::load(t.env.clone()).await.unwrap();
        let plane = planes.plane(acme.org_id()).await.unwrap().unwrap();
        assert_eq!(plane.machines.keys().collect::<Vec<_>>(), ["machine-a"]);
        let plane = planes.plane(bolt.org_id()).await.unwrap().unwrap();
        assert_eq!(plane.machines["machine-b"].scope.to_string(), "mcp:call:x");
    });

    #[test]
    fn a_look_goes_back_to_the_last_good_one_and_to_everything_after_an_outage() {
        let seen = Seen { looked_at: 1_000_000, swept_at: 1_000_000, ..Seen::default() };
        assert_eq!(seen.since(1_000_400), Some(1_000_000 - MARGIN));
        assert_eq!(seen.since(1_000_000 + SWEEP), None, "everything is due");
        assert_eq!(seen.since(1_000_000 + 3_600_000), None, "an hour without the database");
        assert_eq!(seen.since(999_999), None, "the database's clock was set back");
        let behind = Seen { swept_at: 1_000_000 + SWEEP, ..seen };
        assert_eq!(behind.since(1_000_000 + MARGIN), Some(1_000_000 - MARGIN), "the last looks failed");
    }

    /// A node that is not this one: on the same database, with news of its own that nobody here listens to.
    fn other_node(t: &TestEnv) -> Env {
        let mut other = t.env.clone();
        other.changes = Changes::default();
        other
    }

    env_test!(what_was_missed_is_found_after_an_outage, |t| async {
        let owner = t.org("acme").await;
        let planes = Planes::load(t.env.clone()).await.unwrap();
        let mut heard = t.env.changes.subscribe();
        let operator = crate::OrgActor::<model::permissions::can::OrgUpdate>::operator(owner.org_id());
        let change = other_node(&t).change(&operator).await.unwrap();
        change.commit(crate::change::Event::new("test.changed")).await.unwrap();
        // As if the change had been stamped long before the last look.
        {
            let mut seen = planes.seen();
            let later = seen.looked_at + 3_600_000;
            (seen.looked_at, seen.swept_at) = (later, later);
        }
        planes.refresh().await.unwrap();
        assert_eq!(heard.try_recv().unwrap(), owner.org_id());
        planes.refresh().await.unwrap();
        assert!(heard.try_recv().is_err(), "the same change is told once");
        // An organisation that is there no more is forgotten with its slug.
        let gone = OrgId::from_uuid(t.env.uuid());
        planes.seen().versions.insert(gone, 1);
        planes.remember("gone".to_owned(), gone);
        planes.seen().swept_at -= SWEEP;
        planes.refresh().await.unwrap();
        assert_eq!(heard.try_recv().unwrap(), gone);
        assert_eq!((planes.lookup("gone"), planes.lookup("acme")), (None, Some(owner.org_id())));
    });
}
