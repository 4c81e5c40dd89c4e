//! The domains of addresses whose people log in at their organisation's provider. One organisation at most has verified
//! a domain.

use model::{OrgId, SsoDomainId};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    FIND = "SELECT id, domain, token, verified_at, created_at, checked_at, missing_since, lapsed_at FROM sso_domains \
            WHERE org_id = $1 AND id = $2";
    LIST = "SELECT id, domain, token, verified_at, created_at, checked_at, missing_since, lapsed_at FROM sso_domains \
            WHERE org_id = $1 ORDER BY domain";
    LIST_DUE = "SELECT org_id, id, domain, token, verified_at, created_at, checked_at, missing_since, lapsed_at FROM sso_domains \
                WHERE verified_at IS NOT NULL AND checked_at <= $1 ORDER BY checked_at, id LIMIT $2";
    FIND_OWNER = "SELECT org_id FROM sso_domains WHERE domain = $1 AND verified_at IS NOT NULL";
    INSERT = "INSERT INTO sso_domains (id, org_id, domain, token, verified_at, created_at) VALUES ($1, $2, $3, $4, NULL, $5)";
    SET_VERIFIED = "UPDATE sso_domains SET verified_at = $3, checked_at = $3, missing_since = NULL, lapsed_at = NULL \
                    WHERE org_id = $1 AND id = $2 AND verified_at IS NULL";
    CLAIM = "UPDATE sso_domains SET checked_at = $3 WHERE id = $1 AND checked_at = $2 AND verified_at IS NOT NULL";
    SET_MISSING = "UPDATE sso_domains SET missing_since = $3 WHERE org_id = $1 AND id = $2";
    SET_LAPSED = "UPDATE sso_domains SET verified_at = NULL, missing_since = NULL, lapsed_at = $3 WHERE org_id = $1 AND id = $2";
    DELETE = "DELETE FROM sso_domains WHERE org_id = $1 AND id = $2";
}

/// A domain that an organisation claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsoDomain {
    /// Its id.
    pub id: SsoDomainId,
    /// Lower case, ASCII.
    pub domain: String,
    /// What a TXT record has to hold.
    pub token: String,
    /// Since when it is proven, Unix milliseconds.
    pub verified_at: Option<i64>,
    /// Since when it is claimed, Unix milliseconds.
    pub created_at: i64,
    /// When the record of a proven one was last looked for, Unix milliseconds.
    pub checked_at: i64,
    /// Since when the record of a proven one is missing, Unix milliseconds.
    pub missing_since: Option<i64>,
    /// When it stopped counting because the record was missing, Unix milliseconds.
    pub lapsed_at: Option<i64>,
}

/// A proven domain, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The organisation.
    pub org: OrgId,
    /// The domain.
    pub row: SsoDomain,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    domain: String,
    token: String,
    verified_at: Option<i64>,
    created_at: i64,
    checked_at: i64,
    missing_since: Option<i64>,
    lapsed_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Due {
    org_id: String,
    #[sqlx(flatten)]
    row: Row,
}

impl TryFrom<Row> for SsoDomain {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "sso_domains", "id", &row.id)?,
            domain: row.domain,
            token: row.token,
            verified_at: row.verified_at,
            created_at: row.created_at,
            checked_at: row.checked_at,
            missing_since: row.missing_since,
            lapsed_at: row.lapsed_at,
        })
    }
}

/// A domain of the organisation.
pub async fn find(tx: &mut Tx, org: OrgId, id: SsoDomainId) -> Result<Option<SsoDomain>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(SsoDomain::try_from).transpose()
}

/// The organisation's domains, by name.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<SsoDomain>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(SsoDomain::try_from).collect()
}

/// Which organisation has verified a domain.
pub async fn find_owner(tx: &mut Tx, domain: &str) -> Result<Option<OrgId>> {
    let row: Option<(String,)> =
        on!(tx, |c| sqlx::query_as(FIND_OWNER).bind(domain).fetch_optional(c).await)?;
    row.map(|(org,)| parsed(&org, "sso_domains", "org_id", &org)).transpose()
}

/// Adds a domain that nobody has proven yet. [`Error::Taken`] when the organisation claims it already.
pub async fn insert(tx: &mut Tx, org: OrgId, new: &SsoDomain) -> Result<()> {
    let (id, org) = (new.id.to_string(), org.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(&new.domain)
        .bind(&new.token)
        .bind(new.created_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes that a domain is proven; whether it was not yet. [`Error::Taken`] when another organisation has it.
pub async fn set_verified(tx: &mut Tx, org: OrgId, id: SsoDomainId, at: i64) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(SET_VERIFIED)
        .bind(org)
        .bind(id)
        .bind(at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Proven domains whose record was not looked for since a time, those that waited longest first.
pub async fn list_due(tx: &mut Tx, since: i64, most: i64) -> Result<Vec<Proven>> {
    let rows: Vec<Due> = on!(tx, |c| sqlx::query_as(LIST_DUE).bind(since).bind(most).fetch_all(c).await)?;
    let proven = |due: Due| {
        let org = parsed(&due.org_id, "sso_domains", "org_id", &due.row.id)?;
        Ok(Proven { org, row: due.row.try_into()? })
    };
    rows.into_iter().map(proven).collect()
}

/// Notes that the record of a proven domain is looked for, unless somebody else did since `before`; whether this one does.
pub async fn claim(tx: &mut Tx, id: SsoDomainId, before: i64, now: i64) -> Result<bool> {
    let id = id.to_string();
    let done = on!(tx, |c| sqlx::query(CLAIM)
        .bind(id)
        .bind(before)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Notes since when the record is missing; `None` for no longer.
pub async fn set_missing(tx: &mut Tx, org: OrgId, id: SsoDomainId, since: Option<i64>) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_MISSING).bind(org).bind(id).bind(since).execute(c).await.map(drop))?;
    Ok(())
}

/// Makes a domain one that is not proven any more, because the record was missing for too long.
pub async fn set_lapsed(tx: &mut Tx, org: OrgId, id: SsoDomainId, at: i64) -> Result<()> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(SET_LAPSED).bind(org).bind(id).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Gives a domain up; whether it was there.
pub async fn delete(tx: &mut Tx, org: OrgId, id: SsoDomainId) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    let done = on!(tx, |c| sqlx::query(DELETE)
        .bind(org)
        .bind(id)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}
