//! The host names of their own that organisations' endpoints answer on. One organisation at most has verified a host.

use model::OrgId;

use crate::{Result, Tx, db::parsed};

statements! {
    FIND = "SELECT host, token, created_at, sought_since, verified_at, failing_since, lapsed_at, next_check_at, seen \
            FROM custom_domains WHERE org_id = $1";
    INSERT = "INSERT INTO custom_domains (org_id, host, token, created_at, sought_since, next_check_at) VALUES ($1, $2, $3, $4, $4, $5)";
    UPDATE = "UPDATE custom_domains SET sought_since = $3, verified_at = $4, failing_since = $5, lapsed_at = $6, next_check_at = $7, \
              seen = $8 WHERE org_id = $1 AND token = $2";
    DELETE = "DELETE FROM custom_domains WHERE org_id = $1";
    FIND_OWNER = "SELECT org_id FROM custom_domains WHERE host = $1 AND verified_at IS NOT NULL";
    FIND_IN_USE = "SELECT d.org_id, o.plan FROM custom_domains d JOIN orgs o ON o.id = d.org_id \
                   WHERE d.host = $1 AND d.verified_at IS NOT NULL AND o.suspended_at IS NULL AND o.deleted_at IS NULL";
    LIST_IN_USE = "SELECT d.host, d.org_id, o.plan FROM custom_domains d JOIN orgs o ON o.id = d.org_id \
                   WHERE d.verified_at IS NOT NULL AND o.suspended_at IS NULL AND o.deleted_at IS NULL";
    LIST_DUE = "SELECT org_id, next_check_at FROM custom_domains WHERE next_check_at <= $1 ORDER BY next_check_at, org_id LIMIT $2";
    CLAIM = "UPDATE custom_domains SET next_check_at = $3 WHERE org_id = $1 AND next_check_at = $2";
}

/// A host that an organisation claims.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct CustomDomain {
    /// Lower case, ASCII.
    pub host: String,
    /// What a TXT record has to hold. It is another one for each claim, so it names the claim as well.
    pub token: String,
    /// Since when it is claimed, Unix milliseconds.
    pub created_at: i64,
    /// Since when its records are looked for, Unix milliseconds.
    pub sought_since: i64,
    /// Since when it is in use, Unix milliseconds.
    pub verified_at: Option<i64>,
    /// Since when its records are missing although it is in use, Unix milliseconds.
    pub failing_since: Option<i64>,
    /// When it went out of use by itself, Unix milliseconds.
    pub lapsed_at: Option<i64>,
    /// When it is looked at next, Unix milliseconds.
    pub next_check_at: Option<i64>,
    /// What was seen last, as JSON of `domain`.
    pub seen: Option<String>,
}

/// The domain of an organisation.
pub async fn find(tx: &mut Tx, org: OrgId) -> Result<Option<CustomDomain>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(FIND).bind(org).fetch_optional(c).await)?)
}

/// Claims a host that is looked at from `due` on. [`crate::Error::Taken`] when the organisation has a domain already.
pub async fn insert(tx: &mut Tx, org: OrgId, (host, token): (&str, &str), now: i64, due: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(INSERT)
        .bind(org)
        .bind(host)
        .bind(token)
        .bind(now)
        .bind(due)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes how a claim stands; whether it still is there. [`crate::Error::Taken`] when it is verified and another organisation
/// has the host.
pub async fn update(tx: &mut Tx, org: OrgId, row: &CustomDomain) -> Result<bool> {
    let org = org.to_string();
    let done = on!(tx, |c| sqlx::query(UPDATE)
        .bind(org)
        .bind(&row.token)
        .bind(row.sought_since)
        .bind(row.verified_at)
        .bind(row.failing_since)
        .bind(row.lapsed_at)
        .bind(row.next_check_at)
        .bind(&row.seen)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Gives the domain up; whether there was one.
pub async fn delete(tx: &mut Tx, org: OrgId) -> Result<bool> {
    let org = org.to_string();
    let done = on!(tx, |c| sqlx::query(DELETE).bind(org).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Which organisation has verified a host, whether or not it may use it.
pub async fn find_owner(tx: &mut Tx, host: &str) -> Result<Option<OrgId>> {
    let row: Option<(String,)> = on!(tx, |c| sqlx::query_as(FIND_OWNER).bind(host).fetch_optional(c).await)?;
    row.map(|(org,)| parsed(&org, "custom_domains", "org_id", &org)).transpose()
}

/// Whose a host is that is in use, and the plan of that organisation by name.
pub async fn find_in_use(tx: &mut Tx, host: &str) -> Result<Option<(OrgId, String)>> {
    let row: Option<(String, String)> =
        on!(tx, |c| sqlx::query_as(FIND_IN_USE).bind(host).fetch_optional(c).await)?;
    row.map(|(org, plan)| Ok((parsed(&org, "custom_domains", "org_id", &org)?, plan))).transpose()
}

/// All hosts that are in use, with whose they are and the plan of that organisation by name.
pub async fn list_in_use(tx: &mut Tx) -> Result<Vec<(String, OrgId, String)>> {
    let rows: Vec<(String, String, String)> = on!(tx, |c| sqlx::query_as(LIST_IN_USE).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(host, org, plan)| Ok((host, parsed(&org, "custom_domains", "org_id", &org)?, plan)))
        .collect()
}

/// The domains that are to be looked at, and since when.
pub async fn list_due(tx: &mut Tx, now: i64, most: i64) -> Result<Vec<(OrgId, i64)>> {
    let rows: Vec<(String, i64)> =
        on!(tx, |c| sqlx::query_as(LIST_DUE).bind(now).bind(most).fetch_all(c).await)?;
    rows.into_iter().map(|(org, due)| Ok((parsed(&org, "custom_domains", "org_id", &org)?, due))).collect()
}

/// Takes a domain to look at until then; whether nobody else has.
pub async fn claim(tx: &mut Tx, org: OrgId, due: i64, until: i64) -> Result<bool> {
    let org = org.to_string();
    let taken = on!(tx, |c| sqlx::query(CLAIM)
        .bind(org)
        .bind(due)
        .bind(until)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(taken == 1)
}
