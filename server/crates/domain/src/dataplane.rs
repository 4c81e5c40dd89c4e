//! What the gateway knows of an organisation: one snapshot, so that no call asks the database.
//!
//! A snapshot is immutable. Whoever changes an organisation raises its version; whoever holds a snapshot of an older
//! version loads a new one.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use futures_util::future::BoxFuture;
use http::{HeaderName, Uri};
use model::{ApiKeyId, ConnectorId, ConnectorSlug, OrgId, OrgSlug, connectors::Transport};
use secrecy::SecretString;
use serde_json::value::RawValue;

use crate::{Env, Error, Result, connectors, orgs};

/// One organisation as the gateway sees it.
#[derive(Debug)]
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
    /// Its enabled connectors, by slug.
    pub connectors: Vec<Arc<PlaneConnector>>,
    /// The version that this snapshot was made of.
    pub version: i64,
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
}

/// Which connectors a principal may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaneScope {
    /// All, also those added later.
    All,
    /// Only these.
    Only(HashSet<ConnectorId>),
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
#[derive(Debug)]
pub struct PlaneConnector {
    /// Its id.
    pub id: ConnectorId,
    /// The prefix of its tools' names.
    pub slug: ConnectorSlug,
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Where; not looked at for [`Transport::Demo`].
    pub url: Uri,
    /// What it is sent with every request.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// Its tools as last seen, in the server's order.
    pub tools: Vec<PlaneTool>,
    /// Changes when the address or a header changes: then the connection to the server begins anew.
    pub version: i64,
}

/// One tool of a connector.
#[derive(Debug)]
pub struct PlaneTool {
    /// Its name upstream.
    pub name: String,
    /// Whether agents are offered it.
    pub enabled: bool,
    /// Its definition, byte for byte as the server gave it.
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

    /// A snapshot as of now, freshly read; `None` when the organisation is gone.
    fn plane(&self, org: OrgId) -> BoxFuture<'_, core::result::Result<Option<Arc<OrgPlane>>, Unavailable>>;
}

/// Snapshots from the database; slugs from a map in memory that [`Planes::refresh`] keeps up to date.
#[derive(Debug)]
pub struct Planes {
    env: Env,
    slugs: RwLock<HashMap<String, OrgId>>,
    /// The version of each organisation that was changed lately, as this process last saw it.
    seen: Mutex<HashMap<OrgId, i64>>,
}

/// How far back changes are looked for, milliseconds: longer than any transaction takes from stamping to commit.
const LOOK_BACK: i64 = 30_000;

impl Planes {
    /// Reads all slugs.
    pub async fn load(env: Env) -> Result<Arc<Self>> {
        let slugs = {
            let mut tx = env.db.read().await?;
            store::orgs::list_slugs(&mut tx).await?
        };
        let slugs = slugs.into_iter().map(|(id, slug)| (slug, id)).collect();
        Ok(Arc::new(Self { env, slugs: RwLock::new(slugs), seen: Mutex::default() }))
    }

    /// Looks for organisations that any process changed and tells the caches of this one. Called twice a second.
    pub async fn refresh(&self) -> Result<()> {
        let changed = {
            let mut tx = self.env.db.read().await?;
            store::orgs::list_changed(&mut tx, self.env.now() - LOOK_BACK).await?
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = HashMap::with_capacity(changed.len());
        for (org, slug, version) in changed {
            if seen.get(&org) != Some(&version) {
                self.remember(slug, org);
                self.env.changes.notify(org);
            }
            latest.insert(org, version);
        }
        *seen = latest;
        Ok(())
    }

    fn remember(&self, slug: String, org: OrgId) {
        let known = self.slugs.read().unwrap_or_else(PoisonError::into_inner).get(&slug) == Some(&org);
        if !known {
            self.slugs.write().unwrap_or_else(PoisonError::into_inner).insert(slug, org);
        }
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
                    PlaneScope::Only(limits.iter().filter(|(id, _)| *id == key.id).map(|(_, c)| *c).collect())
                };
                let hash: [u8; 32] = key.hash.as_slice().try_into().ok()?;
                Some((
                    hash,
                    PlaneKey {
                        id: key.id,
                        name: key.name,
                        scope,
                        expires_at: key.expires_at,
                        url_key: key.url_key,
                    },
                ))
            })
            .collect();
        let headers = store::connectors::list_headers(&mut tx, id).await?;
        let mut tools: HashMap<ConnectorId, Vec<PlaneTool>> = HashMap::new();
        for tool in store::connectors::list_tools(&mut tx, id).await? {
            let definition = RawValue::from_string(tool.definition).map_err(|_| {
                Error::Internal(format!("the definition of a tool of {} is no JSON", tool.connector))
            })?;
            tools.entry(tool.connector).or_default().push(PlaneTool {
                name: tool.name,
                enabled: tool.enabled,
                definition,
            });
        }
        let mut connectors = Vec::new();
        for row in store::connectors::list(&mut tx, id).await?.into_iter().filter(|row| row.enabled) {
            match plane_connector(id, &data_key, &headers, &mut tools, row) {
                Ok(connector) => connectors.push(Arc::new(connector)),
                // One connector whose secret does not open must not take the others down.
                Err(error) => tracing::error!(%error, org.id = %id, "a connector is left out"),
            }
        }
        connectors.sort_by(|a, b| a.slug.cmp(&b.slug));
        let url_keys = org.url_keys;
        Ok(Some(Arc::new(OrgPlane {
            org: id,
            slug: org.slug,
            suspended: false,
            url_keys,
            keys,
            connectors,
            version,
        })))
    }
}

fn plane_connector(
    org: OrgId,
    data_key: &crate::sealer::DataKey,
    headers: &[store::connectors::Header],
    tools: &mut HashMap<ConnectorId, Vec<PlaneTool>>,
    row: store::connectors::Connector,
) -> Result<PlaneConnector> {
    let wrong = |what: &str| Error::Internal(format!("the {what} of {} cannot be sent", row.id));
    let opened = connectors::open_headers(data_key, org, headers, row.id)?;
    let url: Uri = if row.transport == Transport::Demo {
        Uri::default()
    } else {
        row.url.parse().map_err(|_| wrong("URL"))?
    };
    let mut own = Vec::with_capacity(opened.len());
    for (name, value) in opened {
        own.push((HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("header"))?, value));
    }
    // What decides whether a connection may be kept: the address and when each header was last set.
    let mut version = DefaultHasher::new();
    row.url.hash(&mut version);
    for header in headers.iter().filter(|header| header.connector == row.id) {
        (&header.name, header.set_at, &header.value_sealed).hash(&mut version);
    }
    Ok(PlaneConnector {
        tools: tools.remove(&row.id).unwrap_or_default(),
        version: version.finish().cast_signed(),
        id: row.id,
        slug: row.slug,
        name: row.name,
        transport: row.transport,
        url,
        headers: own,
    })
}

impl Directory for Planes {
    fn lookup(&self, slug: &str) -> Option<OrgId> {
        self.slugs.read().unwrap_or_else(PoisonError::into_inner).get(slug).copied()
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
