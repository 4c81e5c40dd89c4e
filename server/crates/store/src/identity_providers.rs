//! The identity provider that an organisation brought for its MCP endpoint: one at most.

use model::{IdentityProviderId, OrgId};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    FIND = "SELECT id, issuer, jwks_uri, audience, enabled, rules, created_at, updated_at, updated_by \
            FROM identity_providers WHERE org_id = $1";
    PUT = "INSERT INTO identity_providers (id, org_id, issuer, jwks_uri, audience, enabled, rules, created_at, updated_at, updated_by) \
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
           ON CONFLICT (org_id) DO UPDATE SET issuer = excluded.issuer, jwks_uri = excluded.jwks_uri, \
           audience = excluded.audience, enabled = excluded.enabled, rules = excluded.rules, \
           updated_at = excluded.updated_at, updated_by = excluded.updated_by";
    DELETE = "DELETE FROM identity_providers WHERE org_id = $1";
}

/// A provider's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityProvider {
    /// Its id.
    pub id: IdentityProviderId,
    /// What its tokens name as `iss`, byte for byte.
    pub issuer: String,
    /// Where its public keys are.
    pub jwks_uri: String,
    /// What its tokens must name as `aud`.
    pub audience: String,
    /// Whether its tokens are accepted.
    pub enabled: bool,
    /// JSON: claim rules, required scope, whether ID tokens pass.
    pub rules: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Who changed it last, by name.
    pub updated_by: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    issuer: String,
    jwks_uri: String,
    audience: String,
    enabled: bool,
    rules: String,
    created_at: i64,
    updated_at: i64,
    updated_by: String,
}

impl TryFrom<Row> for IdentityProvider {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "identity_providers", "id", &row.id)?,
            issuer: row.issuer,
            jwks_uri: row.jwks_uri,
            audience: row.audience,
            enabled: row.enabled,
            rules: row.rules,
            created_at: row.created_at,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
        })
    }
}

/// The organisation's provider.
pub async fn find(tx: &mut Tx, org: OrgId) -> Result<Option<IdentityProvider>> {
    let org = org.to_string();
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).fetch_optional(c).await)?;
    row.map(IdentityProvider::try_from).transpose()
}

/// Writes the organisation's provider, in place of the one it had. [`Error::Taken`] when another organisation has the
/// same issuer with the same audience.
pub async fn put(tx: &mut Tx, org: OrgId, provider: &IdentityProvider) -> Result<()> {
    let (id, org) = (provider.id.to_string(), org.to_string());
    on!(tx, |c| sqlx::query(PUT)
        .bind(id)
        .bind(org)
        .bind(&provider.issuer)
        .bind(&provider.jwks_uri)
        .bind(&provider.audience)
        .bind(provider.enabled)
        .bind(&provider.rules)
        .bind(provider.created_at)
        .bind(provider.updated_at)
        .bind(&provider.updated_by)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes the organisation's provider; whether there was one.
pub async fn delete(tx: &mut Tx, org: OrgId) -> Result<bool> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query(DELETE).bind(org).execute(c).await.map(|done| done.rows_affected()))? == 1)
}
