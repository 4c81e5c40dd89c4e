//! Organisations and their slugs.

use model::{
    OrgId, OrgSlug, Plan, UserId,
    oauth::{OauthSettings, RefreshLifetime, ReusePolicy},
    orgs::{KeyVisibility, Org},
};

use crate::{Error, Kind, Result, Tx, db::parsed};

statements! {
    FIND = "SELECT id, slug, name, description, plan, key_visibility, url_keys, created_at FROM orgs WHERE id = $1 AND deleted_at IS NULL";
    FIND_BY_SLUG = "SELECT id, slug, name, description, plan, key_visibility, url_keys, created_at FROM orgs WHERE slug = $1 AND deleted_at IS NULL";
    LIST_VERSIONS = "SELECT id, slug, version FROM orgs WHERE deleted_at IS NULL";
    LIST_OF_USER = "SELECT o.id, o.slug, o.name, o.description, o.plan, o.key_visibility, o.url_keys, o.created_at \
                    FROM orgs o JOIN members m ON m.org_id = o.id WHERE m.user_id = $1 ORDER BY o.name, o.id";
    DATA_KEY = "SELECT data_key FROM orgs WHERE id = $1";
    INSERT = "INSERT INTO orgs (id, slug, name, description, plan, key_visibility, url_keys, data_key, version, changed_at, created_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $9)";
    UPDATE = "UPDATE orgs SET name = $2, description = $3, plan = $4, key_visibility = $5, url_keys = $6 WHERE id = $1";
    SET_SLUG = "UPDATE orgs SET slug = $2 WHERE id = $1";
    LOCK = "UPDATE orgs SET version = version WHERE id = $1";
    LIST_CHANGED = "SELECT id, slug, CASE WHEN deleted_at IS NULL THEN version END FROM orgs WHERE changed_at >= $1";
    VERSION = "SELECT version FROM orgs WHERE id = $1 AND deleted_at IS NULL";
    BURY_SLUG = "INSERT INTO slug_tombstones (slug, buried_at) VALUES ($1, $2) ON CONFLICT (slug) DO NOTHING";
    IS_BURIED = "SELECT COUNT(*) FROM slug_tombstones WHERE slug = $1";
    ONBOARDING = "SELECT onboarding_dismissed_at FROM orgs WHERE id = $1";
    DISMISS_ONBOARDING = "UPDATE orgs SET onboarding_dismissed_at = $2 WHERE id = $1";
    SUSPENDED = "SELECT suspended_at FROM orgs WHERE id = $1";
    SET_SUSPENDED = "UPDATE orgs SET suspended_at = $2 WHERE id = $1";
    COUNT = "SELECT COUNT(*) FROM orgs WHERE deleted_at IS NULL";
    OAUTH_SETTINGS = "SELECT refresh_days, reuse_policy, open_clients FROM orgs WHERE id = $1";
    SET_OAUTH_SETTINGS = "UPDATE orgs SET refresh_days = $2, reuse_policy = $3, open_clients = $4 WHERE id = $1";
}

/// What must differ by database: its own time in Unix milliseconds, as of the statement and not of the transaction.
macro_rules! by_kind {
    ($tx:expr, $before:literal, $after:literal) => {
        match $tx.kind() {
            Kind::Sqlite => concat!($before, "CAST(unixepoch('subsec') * 1000 AS INTEGER)", $after),
            Kind::Postgres => {
                concat!($before, "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)", $after)
            }
        }
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    slug: String,
    name: String,
    description: String,
    plan: String,
    key_visibility: String,
    url_keys: bool,
    created_at: i64,
}

impl TryFrom<Row> for Org {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let wrong = |column| Error::Inconsistent { table: "orgs", column, row: row.id.clone() };
        Ok(Self {
            id: parsed(&row.id, "orgs", "id", &row.id)?,
            slug: parsed(&row.slug, "orgs", "slug", &row.id)?,
            plan: Plan::parse(&row.plan).ok_or_else(|| wrong("plan"))?,
            key_visibility: KeyVisibility::parse(&row.key_visibility)
                .ok_or_else(|| wrong("key_visibility"))?,
            name: row.name,
            description: row.description,
            url_keys: row.url_keys,
            created_at: row.created_at,
        })
    }
}

/// The organisation with this id.
pub async fn find(tx: &mut Tx, id: OrgId) -> Result<Option<Org>> {
    let id = id.to_string();
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(id).fetch_optional(c).await)?;
    row.map(Org::try_from).transpose()
}

/// The organisation with this slug.
pub async fn find_by_slug(tx: &mut Tx, slug: &OrgSlug) -> Result<Option<Org>> {
    let slug = slug.as_str();
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND_BY_SLUG).bind(slug).fetch_optional(c).await)?;
    row.map(Org::try_from).transpose()
}

/// Every organisation's id, slug and version: what the gateway needs to route without asking again, and to notice
/// changes.
pub async fn list_versions(tx: &mut Tx) -> Result<Vec<(OrgId, String, i64)>> {
    let rows: Vec<(String, String, i64)> = on!(tx, |c| sqlx::query_as(LIST_VERSIONS).fetch_all(c).await)?;
    rows.into_iter().map(|(id, slug, version)| Ok((parsed(&id, "orgs", "id", &id)?, slug, version))).collect()
}

/// The database's own time, Unix milliseconds: what the nodes agree on, whatever their clocks say.
pub async fn now(tx: &mut Tx) -> Result<i64> {
    let sql = by_kind!(tx, "SELECT ", "");
    let (now,): (i64,) = on!(tx, |c| sqlx::query_as(sql).fetch_one(c).await)?;
    Ok(now)
}

/// The organisations of a person, by name.
pub async fn list_of_user(tx: &mut Tx, user: UserId) -> Result<Vec<Org>> {
    let user = user.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_OF_USER).bind(user).fetch_all(c).await)?;
    rows.into_iter().map(Org::try_from).collect()
}

/// What the organisation chose about OAuth.
pub async fn oauth_settings(tx: &mut Tx, id: OrgId) -> Result<OauthSettings> {
    let id = id.to_string();
    let row: Option<(i64, String, bool)> =
        on!(tx, |c| sqlx::query_as(OAUTH_SETTINGS).bind(&id).fetch_optional(c).await)?;
    let (days, reuse, open_clients) = row.ok_or(Error::Missing("orgs"))?;
    let wrong = |column| Error::Inconsistent { table: "orgs", column, row: id.clone() };
    Ok(OauthSettings {
        lifetime: RefreshLifetime::from_days(days).ok_or_else(|| wrong("refresh_days"))?,
        reuse: ReusePolicy::parse(&reuse).ok_or_else(|| wrong("reuse_policy"))?,
        open_clients,
    })
}

/// Writes what the organisation chose about OAuth.
pub async fn set_oauth_settings(tx: &mut Tx, id: OrgId, settings: OauthSettings) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(SET_OAUTH_SETTINGS)
        .bind(id)
        .bind(settings.lifetime.days())
        .bind(settings.reuse.as_str())
        .bind(settings.open_clients)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The organisation's wrapped data key.
pub async fn data_key(tx: &mut Tx, id: OrgId) -> Result<Vec<u8>> {
    let id = id.to_string();
    let row: Option<(Vec<u8>,)> = on!(tx, |c| sqlx::query_as(DATA_KEY).bind(id).fetch_optional(c).await)?;
    row.map(|(key,)| key).ok_or(Error::Missing("orgs"))
}

/// Adds an organisation. [`Error::Taken`] when the slug is in use; ask [`is_buried`] for slugs of the past.
pub async fn insert(tx: &mut Tx, org: &Org, data_key: &[u8]) -> Result<()> {
    let id = org.id.to_string();
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org.slug.as_str())
        .bind(&org.name)
        .bind(&org.description)
        .bind(org.plan.as_str())
        .bind(org.key_visibility.as_str())
        .bind(org.url_keys)
        .bind(data_key)
        .bind(org.created_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes everything of the organisation that may change.
pub async fn update(tx: &mut Tx, org: &Org) -> Result<()> {
    let id = org.id.to_string();
    on!(tx, |c| sqlx::query(UPDATE)
        .bind(id)
        .bind(&org.name)
        .bind(&org.description)
        .bind(org.plan.as_str())
        .bind(org.key_visibility.as_str())
        .bind(org.url_keys)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Gives the organisation another slug. [`Error::Taken`] when another has it.
pub async fn set_slug(tx: &mut Tx, id: OrgId, slug: &OrgSlug) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(SET_SLUG).bind(id).bind(slug.as_str()).execute(c).await.map(drop))?;
    Ok(())
}

/// Raises the organisation's version, which is the sequence number of the change's audit event, and stamps it with the
/// database's time. The row stays locked until the transaction ends, so versions are gapless.
pub async fn bump(tx: &mut Tx, id: OrgId) -> Result<i64> {
    let id = id.to_string();
    let sql = by_kind!(
        tx,
        "UPDATE orgs SET version = version + 1, changed_at = ",
        " WHERE id = $1 RETURNING version"
    );
    let row: Option<(i64,)> = on!(tx, |c| sqlx::query_as(sql).bind(id).fetch_optional(c).await)?;
    row.map(|(version,)| version).ok_or(Error::Missing("orgs"))
}

/// Stamps the organisation with the database's time without raising its version: whoever looks for changes finds it.
pub async fn stamp(tx: &mut Tx, id: OrgId) -> Result<()> {
    let id = id.to_string();
    let sql = by_kind!(tx, "UPDATE orgs SET changed_at = ", " WHERE id = $1");
    on!(tx, |c| sqlx::query(sql).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Makes other changes of the organisation wait until this transaction ends, so that what is read now still holds when
/// it is written back. `SQLite` has one writer anyway.
pub async fn lock(tx: &mut Tx, id: OrgId) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(LOCK).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Organisations changed at or after a time of the database ([`now`]), with slug and version; without a version when they
/// were deleted.
pub async fn list_changed(tx: &mut Tx, since: i64) -> Result<Vec<(OrgId, String, Option<i64>)>> {
    let rows: Vec<(String, String, Option<i64>)> =
        on!(tx, |c| sqlx::query_as(LIST_CHANGED).bind(since).fetch_all(c).await)?;
    rows.into_iter().map(|(id, slug, version)| Ok((parsed(&id, "orgs", "id", &id)?, slug, version))).collect()
}

/// The organisation's version.
pub async fn version(tx: &mut Tx, id: OrgId) -> Result<Option<i64>> {
    let id = id.to_string();
    let row: Option<(i64,)> = on!(tx, |c| sqlx::query_as(VERSION).bind(id).fetch_optional(c).await)?;
    Ok(row.map(|(version,)| version))
}

/// Keeps a slug from ever being issued again (TEN-05).
pub async fn bury_slug(tx: &mut Tx, slug: &str, at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(BURY_SLUG).bind(slug).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Whether a slug belonged to an organisation that is gone.
pub async fn is_buried(tx: &mut Tx, slug: &str) -> Result<bool> {
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(IS_BURIED).bind(slug).fetch_one(c).await)?;
    Ok(count > 0)
}

/// When the onboarding checklist was closed, if it was.
pub async fn onboarding_dismissed_at(tx: &mut Tx, id: OrgId) -> Result<Option<i64>> {
    let id = id.to_string();
    let row: Option<(Option<i64>,)> =
        on!(tx, |c| sqlx::query_as(ONBOARDING).bind(id).fetch_optional(c).await)?;
    Ok(row.and_then(|(at,)| at))
}

/// Closes the onboarding checklist.
pub async fn dismiss_onboarding(tx: &mut Tx, id: OrgId, at: i64) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(DISMISS_ONBOARDING).bind(id).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Since when the operator keeps the organisation from working, Unix milliseconds.
pub async fn suspended_at(tx: &mut Tx, id: OrgId) -> Result<Option<i64>> {
    let id = id.to_string();
    let row: Option<(Option<i64>,)> =
        on!(tx, |c| sqlx::query_as(SUSPENDED).bind(id).fetch_optional(c).await)?;
    Ok(row.and_then(|(at,)| at))
}

/// Keeps the organisation from working since a time, or lets it work again.
pub async fn set_suspended(tx: &mut Tx, id: OrgId, at: Option<i64>) -> Result<()> {
    let id = id.to_string();
    on!(tx, |c| sqlx::query(SET_SUSPENDED).bind(id).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// How many organisations there are.
pub async fn count(tx: &mut Tx) -> Result<i64> {
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT).fetch_one(c).await)?;
    Ok(count)
}
