//! API keys: hashes, and sealed copies where the organisation asked for them.

use model::{ApiKeyId, ConnectorId, OrgId};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    FIND_ORG = "SELECT org_id FROM api_keys WHERE hash = $1";
    LIST = "SELECT id, name, hash, prefix, last4, sealed, url_key, all_connectors, disabled_at, expires_at, last_used_at, \
            last_used_address, last_used_agent, created_at, created_by, ranges FROM api_keys WHERE org_id = $1 ORDER BY created_at DESC, id DESC";
    FIND = "SELECT id, name, hash, prefix, last4, sealed, url_key, all_connectors, disabled_at, expires_at, last_used_at, \
            last_used_address, last_used_agent, created_at, created_by, ranges FROM api_keys WHERE org_id = $1 AND id = $2";
    INSERT = "INSERT INTO api_keys (id, org_id, name, hash, prefix, last4, sealed, url_key, all_connectors, expires_at, created_at, created_by, ranges) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    UPDATE = "UPDATE api_keys SET name = $3, url_key = $4, all_connectors = $5, disabled_at = $6, expires_at = $7, ranges = $8 WHERE org_id = $1 AND id = $2";
    DELETE = "DELETE FROM api_keys WHERE org_id = $1 AND id = $2";
    ERASE_SEALED = "UPDATE api_keys SET sealed = NULL WHERE org_id = $1";
    LIST_CONNECTORS = "SELECT api_key_id, connector_id FROM api_key_connectors WHERE org_id = $1 ORDER BY connector_id";
    ADD_CONNECTOR = "INSERT INTO api_key_connectors (org_id, api_key_id, connector_id) VALUES ($1, $2, $3)";
    CLEAR_CONNECTORS = "DELETE FROM api_key_connectors WHERE org_id = $1 AND api_key_id = $2";
    USED = "UPDATE api_keys SET last_used_at = $3, last_used_address = $4, last_used_agent = $5 \
            WHERE org_id = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at < $3)";
    LAST_USED = "SELECT MAX(last_used_at) FROM api_keys WHERE org_id = $1";
}

/// A key's row.
#[derive(Clone)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its name.
    pub name: String,
    /// SHA-256 of the key (APK-02).
    pub hash: Vec<u8>,
    /// The recognisable beginning.
    pub prefix: String,
    /// The last four characters.
    pub last4: String,
    /// The sealed key, in organisations with copyable keys.
    pub sealed: Option<Vec<u8>>,
    /// Whether it may be used as `?api_key=`.
    pub url_key: bool,
    /// Whether it may use all connectors.
    pub all_connectors: bool,
    /// When it was disabled, Unix milliseconds.
    pub disabled_at: Option<i64>,
    /// When it ends, Unix milliseconds.
    pub expires_at: Option<i64>,
    /// When it was last used, Unix milliseconds.
    pub last_used_at: Option<i64>,
    /// From where.
    pub last_used_address: Option<String>,
    /// By what.
    pub last_used_agent: Option<String>,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// Who made it, by name.
    pub created_by: String,
    /// From where it may be used: ranges in CIDR notation with spaces between; empty for everywhere.
    pub ranges: String,
}

impl core::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    hash: Vec<u8>,
    prefix: String,
    last4: String,
    sealed: Option<Vec<u8>>,
    url_key: bool,
    all_connectors: bool,
    disabled_at: Option<i64>,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    last_used_address: Option<String>,
    last_used_agent: Option<String>,
    created_at: i64,
    created_by: String,
    ranges: String,
}

impl TryFrom<Row> for ApiKey {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "api_keys", "id", &row.id)?,
            name: row.name,
            hash: row.hash,
            prefix: row.prefix,
            last4: row.last4,
            sealed: row.sealed,
            url_key: row.url_key,
            all_connectors: row.all_connectors,
            disabled_at: row.disabled_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            last_used_address: row.last_used_address,
            last_used_agent: row.last_used_agent,
            created_at: row.created_at,
            created_by: row.created_by,
            ranges: row.ranges,
        })
    }
}

/// When, from where and by what a key was used.
#[derive(Clone, Debug)]
pub struct Use {
    /// Unix milliseconds.
    pub at: i64,
    /// The address.
    pub address: Option<String>,
    /// The client, as it calls itself.
    pub agent: Option<String>,
}

/// The organisation's keys, newest first.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<ApiKey>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// One key.
pub async fn find(tx: &mut Tx, org: OrgId, id: ApiKeyId) -> Result<Option<ApiKey>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(ApiKey::try_from).transpose()
}

/// Adds a key.
pub async fn insert(tx: &mut Tx, org: OrgId, key: &ApiKey) -> Result<()> {
    let (org, id) = (org.to_string(), key.id.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(&key.name)
        .bind(&key.hash)
        .bind(&key.prefix)
        .bind(&key.last4)
        .bind(&key.sealed)
        .bind(key.url_key)
        .bind(key.all_connectors)
        .bind(key.expires_at)
        .bind(key.created_at)
        .bind(&key.created_by)
        .bind(&key.ranges)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes what a person may change: name, URL use, scope flag, disabled, expiry, ranges.
pub async fn update(tx: &mut Tx, org: OrgId, key: &ApiKey) -> Result<()> {
    let (org, id) = (org.to_string(), key.id.to_string());
    on!(tx, |c| sqlx::query(UPDATE)
        .bind(org)
        .bind(id)
        .bind(&key.name)
        .bind(key.url_key)
        .bind(key.all_connectors)
        .bind(key.disabled_at)
        .bind(key.expires_at)
        .bind(&key.ranges)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes a key; whether there was one.
pub async fn delete(tx: &mut Tx, org: OrgId, id: ApiKeyId) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query(DELETE).bind(org).bind(id).execute(c).await.map(|done| done.rows_affected()))?
        == 1)
}

/// Forgets the sealed copies of all keys of the organisation: from now on keys are shown once.
pub async fn erase_sealed(tx: &mut Tx, org: OrgId) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(ERASE_SEALED).bind(org).execute(c).await.map(drop))?;
    Ok(())
}

/// Which keys are limited to which connectors.
pub async fn list_connectors(tx: &mut Tx, org: OrgId) -> Result<Vec<(ApiKeyId, ConnectorId)>> {
    let org = org.to_string();
    let rows: Vec<(String, String)> =
        on!(tx, |c| sqlx::query_as(LIST_CONNECTORS).bind(org).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(key, connector)| {
            Ok((
                parsed(&key, "api_key_connectors", "api_key_id", &key)?,
                parsed(&connector, "api_key_connectors", "connector_id", &key)?,
            ))
        })
        .collect()
}

/// Limits a key to exactly these connectors.
pub async fn set_connectors(tx: &mut Tx, org: OrgId, id: ApiKeyId, connectors: &[ConnectorId]) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(CLEAR_CONNECTORS).bind(&org).bind(&id).execute(c).await.map(drop))?;
    for connector in connectors {
        let connector = connector.to_string();
        on!(tx, |c| sqlx::query(ADD_CONNECTOR)
            .bind(&org)
            .bind(&id)
            .bind(connector)
            .execute(c)
            .await
            .map(drop))?;
    }
    Ok(())
}

/// Notes a use, unless a later one is noted.
pub async fn set_used(tx: &mut Tx, org: OrgId, id: ApiKeyId, used: &Use) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(USED)
        .bind(org)
        .bind(id)
        .bind(used.at)
        .bind(&used.address)
        .bind(&used.agent)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// When any key of the organisation was last used, Unix milliseconds.
pub async fn last_used(tx: &mut Tx, org: OrgId) -> Result<Option<i64>> {
    let org = org.to_string();
    let (at,): (Option<i64>,) = on!(tx, |c| sqlx::query_as(LAST_USED).bind(org).fetch_one(c).await)?;
    Ok(at)
}

/// The organisation of the key with this SHA-256, whether or not it works. It says only where to ask: whether the key may
/// do anything is decided by that organisation's own keys.
pub async fn find_org(tx: &mut Tx, hash: &[u8; 32]) -> Result<Option<OrgId>> {
    let hash = hash.as_slice();
    let row: Option<(String,)> = on!(tx, |c| sqlx::query_as(FIND_ORG).bind(hash).fetch_optional(c).await)?;
    row.map(|(org,)| parsed(&org, "api_keys", "org_id", "")).transpose()
}
