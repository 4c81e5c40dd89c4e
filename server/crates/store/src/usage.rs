//! Limits, quotas and usage in numbers.

use model::OrgId;

use crate::{Error, Result, Tx, db::parsed};

/// Calls of a month with what limits them, as [`Row`] has them.
macro_rules! used {
    ($rest:literal) => {
        concat!(
            "SELECT m.org_id, o.slug, o.plan, m.used, s.rate_per_minute, s.monthly_quota, s.log_bodies, s.log_days, s.thresholds \
             FROM usage_months m JOIN orgs o ON o.id = m.org_id LEFT JOIN usage_settings s ON s.org_id = m.org_id \
             WHERE m.month = $1 AND m.used > 0 AND o.deleted_at IS NULL",
            $rest
        )
    };
}

statements! {
    SETTINGS = "SELECT rate_per_minute, monthly_quota, log_bodies, log_days, thresholds FROM usage_settings WHERE org_id = $1";
    PUT_SETTINGS = "INSERT INTO usage_settings (org_id, rate_per_minute, monthly_quota, log_bodies, log_days, thresholds) \
                    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (org_id) DO UPDATE SET rate_per_minute = excluded.rate_per_minute, \
                    monthly_quota = excluded.monthly_quota, log_bodies = excluded.log_bodies, log_days = excluded.log_days, \
                    thresholds = excluded.thresholds";
    LIST_LOG_DAYS = "SELECT o.id, o.plan, u.log_days FROM orgs o LEFT JOIN usage_settings u ON u.org_id = o.id";
    MONTH = "SELECT used, reserved FROM usage_months WHERE org_id = $1 AND month = $2";
    LOCK_MONTH = "INSERT INTO usage_months (org_id, month, used, reserved) SELECT id, $2, 0, 0 FROM orgs WHERE id = $1 \
                  ON CONFLICT (org_id, month) DO UPDATE SET used = usage_months.used RETURNING used, reserved";
    SET_RESERVED = "UPDATE usage_months SET reserved = $3 WHERE org_id = $1 AND month = $2";
    GIVE_BACK = "UPDATE usage_months SET reserved = reserved - $3 WHERE org_id = $1 AND month = $2";
    FORGET_RESERVED = "UPDATE usage_months SET reserved = used WHERE month >= $1 AND reserved <> used";
    ADD_USED = "INSERT INTO usage_months (org_id, month, used, reserved) SELECT id, $2, $3, 0 FROM orgs WHERE id = $1 \
                ON CONFLICT (org_id, month) DO UPDATE SET used = usage_months.used + excluded.used RETURNING used";
    ADD_ALERT = "INSERT INTO usage_alerts (org_id, month, threshold, fired_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (org_id, month, threshold) DO NOTHING";
    LIST_ALERTS = "SELECT threshold FROM usage_alerts WHERE org_id = $1 AND month = $2 ORDER BY threshold";
    LIST_ALERTS_OF_MONTH = "SELECT org_id, threshold FROM usage_alerts WHERE month = $1";
    LIST_USED = used!("");
    FIND_USED = used!(" AND m.org_id = $2");
    LOCK_BUCKET = "INSERT INTO rate_buckets (org_id, bucket, arrival) SELECT id, $2, 0 FROM orgs WHERE id = $1 \
                   ON CONFLICT (org_id, bucket) DO UPDATE SET arrival = rate_buckets.arrival RETURNING arrival";
    SET_BUCKET = "UPDATE rate_buckets SET arrival = $3 WHERE org_id = $1 AND bucket = $2";
    DELETE_BUCKETS = "DELETE FROM rate_buckets WHERE arrival < $1";
    ADD_HOUR = "INSERT INTO usage_hours (org_id, hour, connector_id, outcome, requests, duration_us, bytes_in, bytes_out) \
                SELECT id, $2, $3, $4, $5, $6, $7, $8 FROM orgs WHERE id = $1 \
                ON CONFLICT (org_id, hour, connector_id, outcome) DO UPDATE SET \
                requests = usage_hours.requests + excluded.requests, duration_us = usage_hours.duration_us + excluded.duration_us, \
                bytes_in = usage_hours.bytes_in + excluded.bytes_in, bytes_out = usage_hours.bytes_out + excluded.bytes_out";
    ADD_LATENCY = "INSERT INTO usage_latency (org_id, hour, class, requests) SELECT id, $2, $3, $4 FROM orgs WHERE id = $1 \
                   ON CONFLICT (org_id, hour, class) DO UPDATE SET requests = usage_latency.requests + excluded.requests";
    ADD_DAY = "INSERT INTO usage_days (org_id, day, connector_id, tool, principal_kind, principal_id, calls, errors, duration_us, \
               bytes_in, bytes_out) SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM orgs WHERE id = $1 \
               ON CONFLICT (org_id, day, connector_id, tool, principal_kind, principal_id) DO UPDATE SET \
               calls = usage_days.calls + excluded.calls, errors = usage_days.errors + excluded.errors, \
               duration_us = usage_days.duration_us + excluded.duration_us, bytes_in = usage_days.bytes_in + excluded.bytes_in, \
               bytes_out = usage_days.bytes_out + excluded.bytes_out";
    LIST_HOURS = "SELECT hour, outcome, CAST(SUM(requests) AS BIGINT) FROM usage_hours WHERE org_id = $1 AND hour >= $2 AND hour <= $3 \
                  GROUP BY hour, outcome ORDER BY hour, outcome";
    LIST_LATENCY = "SELECT class, CAST(SUM(requests) AS BIGINT) FROM usage_latency WHERE org_id = $1 AND hour >= $2 AND hour <= $3 \
                    GROUP BY class ORDER BY class";
    LIST_DAYS = "SELECT day, connector_id, tool, principal_kind, principal_id, calls, errors, duration_us, bytes_in, bytes_out \
                 FROM usage_days WHERE org_id = $1 AND day >= $2 AND day <= $3 \
                 ORDER BY day, connector_id, tool, principal_kind, principal_id";
    DELETE_HOURS = "DELETE FROM usage_hours WHERE hour < $1";
    DELETE_LATENCY = "DELETE FROM usage_latency WHERE hour < $1";
    DELETE_DAYS = "DELETE FROM usage_days WHERE day < $1";
}

/// What an organisation, or the operator for it, chose. Numbers are as stored: `None` is the plan's, -1 none.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Settings {
    /// Requests in a minute of one principal.
    pub rate_per_minute: Option<i64>,
    /// Calls in a month.
    pub monthly_quota: Option<i64>,
    /// Whether arguments and results are kept.
    pub log_bodies: bool,
    /// How long the log is kept, days.
    pub log_days: i64,
    /// Per cent of the quota, with commas between.
    pub thresholds: String,
}

/// What was chosen, if anything was.
pub async fn settings(tx: &mut Tx, org: OrgId) -> Result<Option<Settings>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(SETTINGS).bind(org).fetch_optional(c).await)?)
}

/// Writes all of it.
pub async fn put_settings(tx: &mut Tx, org: OrgId, settings: &Settings) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(PUT_SETTINGS)
        .bind(org)
        .bind(settings.rate_per_minute)
        .bind(settings.monthly_quota)
        .bind(settings.log_bodies)
        .bind(settings.log_days)
        .bind(&settings.thresholds)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Every organisation with its plan's name and how long its log is kept, if it chose that.
pub async fn list_log_days(tx: &mut Tx) -> Result<Vec<(String, String, Option<i64>)>> {
    Ok(on!(tx, |c| sqlx::query_as(LIST_LOG_DAYS).fetch_all(c).await)?)
}

/// Calls of a month: used, and reserved by nodes.
pub async fn month(tx: &mut Tx, org: OrgId, month: i64) -> Result<(i64, i64)> {
    let org = org.to_string();
    let row: Option<(i64, i64)> =
        on!(tx, |c| sqlx::query_as(MONTH).bind(org).bind(month).fetch_optional(c).await)?;
    Ok(row.unwrap_or_default())
}

/// The same, and nobody else changes it until the transaction ends. `None` when the organisation is gone.
pub async fn lock_month(tx: &mut Tx, org: OrgId, month: i64) -> Result<Option<(i64, i64)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LOCK_MONTH).bind(org).bind(month).fetch_optional(c).await)?)
}

/// Writes how much of a month's quota was handed out to nodes.
pub async fn set_reserved(tx: &mut Tx, org: OrgId, month: i64, reserved: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(SET_RESERVED).bind(org).bind(month).bind(reserved).execute(c).await.map(drop))?;
    Ok(())
}

/// Takes back what a node did not use.
pub async fn give_back(tx: &mut Tx, org: OrgId, month: i64, calls: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(GIVE_BACK).bind(org).bind(month).bind(calls).execute(c).await.map(drop))?;
    Ok(())
}

/// Takes back what nodes that are gone did not use, from this month on. Only where no other node can be running.
pub async fn forget_reserved(tx: &mut Tx, month: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(FORGET_RESERVED).bind(month).execute(c).await.map(drop))?;
    Ok(())
}

/// Adds calls to a month; how many there are then. `None` when the organisation is gone.
pub async fn add_used(tx: &mut Tx, org: OrgId, month: i64, calls: i64) -> Result<Option<i64>> {
    let org = org.to_string();
    let row: Option<(i64,)> =
        on!(tx, |c| sqlx::query_as(ADD_USED).bind(org).bind(month).bind(calls).fetch_optional(c).await)?;
    Ok(row.map(|(used,)| used))
}

/// Notes that a threshold was told; whether it was not before (RLM-05).
pub async fn add_alert(tx: &mut Tx, org: OrgId, month: i64, threshold: i64, at: i64) -> Result<bool> {
    let org = org.to_string();
    let done = on!(tx, |c| sqlx::query(ADD_ALERT)
        .bind(org)
        .bind(month)
        .bind(threshold)
        .bind(at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done > 0)
}

/// The thresholds of a month that were told.
pub async fn list_alerts(tx: &mut Tx, org: OrgId, month: i64) -> Result<Vec<i64>> {
    let org = org.to_string();
    let rows: Vec<(i64,)> =
        on!(tx, |c| sqlx::query_as(LIST_ALERTS).bind(org).bind(month).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(threshold,)| threshold).collect())
}

/// How many calls an organisation has made in a month, and what limits them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedRow {
    /// The organisation.
    pub org: OrgId,
    /// Its slug.
    pub slug: String,
    /// Its plan's name.
    pub plan: String,
    /// How many.
    pub used: i64,
    /// What was chosen, if anything was.
    pub settings: Option<Settings>,
}

#[derive(sqlx::FromRow)]
struct Row {
    org_id: String,
    slug: String,
    plan: String,
    used: i64,
    rate_per_minute: Option<i64>,
    monthly_quota: Option<i64>,
    log_bodies: Option<bool>,
    log_days: Option<i64>,
    thresholds: Option<String>,
}

impl TryFrom<Row> for UsedRow {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let settings = match (row.log_bodies, row.log_days, row.thresholds) {
            (Some(log_bodies), Some(log_days), Some(thresholds)) => Some(Settings {
                rate_per_minute: row.rate_per_minute,
                monthly_quota: row.monthly_quota,
                log_bodies,
                log_days,
                thresholds,
            }),
            _ => None,
        };
        let org = parsed(&row.org_id, "usage_months", "org_id", &row.org_id)?;
        Ok(Self { org, slug: row.slug, plan: row.plan, used: row.used, settings })
    }
}

/// The organisations that made calls in a month.
pub async fn list_used(tx: &mut Tx, month: i64) -> Result<Vec<UsedRow>> {
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_USED).bind(month).fetch_all(c).await)?;
    rows.into_iter().map(UsedRow::try_from).collect()
}

/// The same of one organisation; `None` without a call.
pub async fn find_used(tx: &mut Tx, org: OrgId, month: i64) -> Result<Option<UsedRow>> {
    let org = org.to_string();
    let row: Option<Row> =
        on!(tx, |c| sqlx::query_as(FIND_USED).bind(month).bind(org).fetch_optional(c).await)?;
    row.map(UsedRow::try_from).transpose()
}

/// The thresholds of a month that were told, of all organisations.
pub async fn list_alerts_of_month(tx: &mut Tx, month: i64) -> Result<Vec<(OrgId, i64)>> {
    let rows: Vec<(String, i64)> =
        on!(tx, |c| sqlx::query_as(LIST_ALERTS_OF_MONTH).bind(month).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(org, threshold)| Ok((parsed(&org, "usage_alerts", "org_id", &org)?, threshold)))
        .collect()
}

/// A rate's theoretical arrival time, Unix microseconds; nobody else changes it until the transaction ends. `None` when
/// the organisation is gone.
pub async fn lock_bucket(tx: &mut Tx, org: OrgId, bucket: &str) -> Result<Option<i64>> {
    let org = org.to_string();
    let row: Option<(i64,)> =
        on!(tx, |c| sqlx::query_as(LOCK_BUCKET).bind(org).bind(bucket).fetch_optional(c).await)?;
    Ok(row.map(|(arrival,)| arrival))
}

/// Writes it.
pub async fn set_bucket(tx: &mut Tx, org: OrgId, bucket: &str, arrival: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(SET_BUCKET).bind(org).bind(bucket).bind(arrival).execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes rates that have been full since before then, Unix microseconds.
pub async fn delete_buckets(tx: &mut Tx, before: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_BUCKETS).bind(before).execute(c).await.map(drop))?;
    Ok(())
}

/// Requests of one hour, connector and outcome.
#[derive(Clone, Copy, Debug)]
pub struct HourRow<'a> {
    /// Hours since 1970.
    pub hour: i64,
    /// Empty for none.
    pub connector: &'a str,
    /// The outcome's name.
    pub outcome: &'a str,
    /// How many.
    pub requests: i64,
    /// All together, microseconds.
    pub duration_us: i64,
    /// Received.
    pub bytes_in: i64,
    /// Sent.
    pub bytes_out: i64,
}

/// Adds to what is there.
pub async fn add_hour(tx: &mut Tx, org: OrgId, row: HourRow<'_>) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(ADD_HOUR)
        .bind(org)
        .bind(row.hour)
        .bind(row.connector)
        .bind(row.outcome)
        .bind(row.requests)
        .bind(row.duration_us)
        .bind(row.bytes_in)
        .bind(row.bytes_out)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Adds calls to a class of duration.
pub async fn add_latency(tx: &mut Tx, org: OrgId, hour: i64, class: i64, requests: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(ADD_LATENCY)
        .bind(org)
        .bind(hour)
        .bind(class)
        .bind(requests)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Calls of one day, connector, tool and principal.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DayRow {
    /// Days since 1970.
    pub day: i64,
    /// The connector's id.
    pub connector_id: String,
    /// The tool's name upstream.
    pub tool: String,
    /// `api_key` and so on.
    pub principal_kind: String,
    /// The public id.
    pub principal_id: String,
    /// How many.
    pub calls: i64,
    /// Of these, how many failed.
    pub errors: i64,
    /// All together, microseconds.
    pub duration_us: i64,
    /// Received.
    pub bytes_in: i64,
    /// Sent.
    pub bytes_out: i64,
}

/// Adds to what is there.
pub async fn add_day(tx: &mut Tx, org: OrgId, row: &DayRow) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(ADD_DAY)
        .bind(org)
        .bind(row.day)
        .bind(&row.connector_id)
        .bind(&row.tool)
        .bind(&row.principal_kind)
        .bind(&row.principal_id)
        .bind(row.calls)
        .bind(row.errors)
        .bind(row.duration_us)
        .bind(row.bytes_in)
        .bind(row.bytes_out)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Requests by hour and outcome, both hours included.
pub async fn list_hours(tx: &mut Tx, org: OrgId, from: i64, to: i64) -> Result<Vec<(i64, String, i64)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LIST_HOURS).bind(org).bind(from).bind(to).fetch_all(c).await)?)
}

/// Calls by class of duration, both hours included.
pub async fn list_latency(tx: &mut Tx, org: OrgId, from: i64, to: i64) -> Result<Vec<(i64, i64)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LIST_LATENCY).bind(org).bind(from).bind(to).fetch_all(c).await)?)
}

/// Calls by day, connector, tool and principal, both days included.
pub async fn list_days(tx: &mut Tx, org: OrgId, from: i64, to: i64) -> Result<Vec<DayRow>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LIST_DAYS).bind(org).bind(from).bind(to).fetch_all(c).await)?)
}

/// Deletes usage from before an hour, and from before a day.
pub async fn delete_before(tx: &mut Tx, hour: i64, day: i64) -> Result<()> {
    for (sql, before) in [(DELETE_HOURS, hour), (DELETE_LATENCY, hour), (DELETE_DAYS, day)] {
        on!(&mut *tx, |c| sqlx::query(sql).bind(before).execute(c).await.map(drop))?;
    }
    crate::usage_reports::delete_before(tx, hour, day).await
}
