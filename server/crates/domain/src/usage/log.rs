//! Looking at the request log, and clearing it.

use model::{
    LogEntryId, Plan,
    activity::{Bodies, LogChoices, LogEntry, LogLine, LogPage, LogSearch, Outcome},
    audit,
    permissions::can,
};
use store::request_log::Filter;

use super::{Chosen, LOG_DAYS, period, recorder};
use crate::{Env, Error, OrgActor, Result, orgs};

/// Requests on a page.
const PAGE: i64 = 50;
/// Requests that are told of at once while somebody watches.
const MOST_NEWER: i64 = 100;
/// Rows that are deleted in one transaction, so that others get their turn.
const DELETED_AT_ONCE: i64 = 5000;
/// How long usage by hour is kept, hours: five weeks and a day.
pub(super) const KEPT_HOURS: i64 = 36 * 24;
/// How long usage by day is kept, days: thirteen months.
pub(super) const KEPT_DAYS: i64 = 400;
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// A minute in UTC as charts write it into addresses, `2026-03-12T10:00Z`; Unix milliseconds.
fn minute(text: &str) -> Option<i64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (hours, minutes) = time.split_once(':')?;
    let number = |part: &str, most: i64| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i64>().ok().filter(|number| digits && *number < most)
    };
    let (begins, _) = audit::range(day, "").ok()?;
    Some(begins? + number(hours, 24)? * HOUR + number(minutes, 60)? * 60 * 1000)
}

/// The time that a search is about, from and before, Unix milliseconds: one of [`LogSearch::RANGES`], or an interval with
/// both ends (ISO 8601, `2026-03-12T10:00Z/2026-03-12T11:00Z`).
fn times(range: &str, now: i64) -> (Option<i64>, Option<i64>) {
    if let Some((.., back)) = LogSearch::RANGES.iter().find(|(name, ..)| *name == range) {
        return (Some(now - back), None);
    }
    let Some((from, to)) = range.split_once('/') else { return (None, None) };
    (minute(from), minute(to))
}

fn filter(search: &LogSearch, now: i64) -> Filter {
    let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let (since, until) = times(&search.range, now);
    let page: Option<LogEntryId> = search.before.parse().ok();
    Filter {
        before: [page, until.map(recorder::first_id)].into_iter().flatten().min(),
        since: since.map(recorder::first_id),
        connector: some(&search.connector),
        principal: some(&search.principal),
        outcome: Outcome::parse(&search.outcome),
        tool: some(&search.tool),
        text: some(&search.q).map(|text| text.chars().take(200).collect()),
    }
}

/// A page of the log.
pub async fn list(env: &Env, actor: &OrgActor<can::LogsRead>, search: &LogSearch) -> Result<LogPage> {
    let (org, now) = (actor.org(), env.now());
    let mut tx = env.db.read().await?;
    let found = super::org(&mut tx, org).await?;
    let chosen = Chosen::read(&mut tx, org).await?;
    let mut lines = store::request_log::list(&mut tx, org, &filter(search, now), PAGE + 1).await?;
    let more = i64::try_from(lines.len()).unwrap_or(0) > PAGE;
    lines.truncate(usize::try_from(PAGE).unwrap_or(50));
    let next = if more { lines.last().map(|line| line.id) } else { None };
    let any =
        !lines.is_empty() || !store::request_log::list(&mut tx, org, &Filter::default(), 1).await?.is_empty();
    let connectors = store::connectors::list(&mut tx, org).await?;
    let choices = LogChoices {
        connectors: connectors.into_iter().map(|c| (c.id.to_string(), c.name)).collect(),
        principals: store::request_log::recent_principals(&mut tx, org).await?,
    };
    let search = search.clone();
    Ok(LogPage {
        lines,
        search,
        next,
        choices,
        any,
        days: chosen.days(found.plan),
        bodies: chosen.bodies,
        now,
    })
}

/// What ended since a time, Unix milliseconds, the newest first: for a page that is watched. Batches of several nodes come
/// in any order, so whoever asks looks a little further back than to the last answer.
pub async fn newer(
    env: &Env,
    actor: &OrgActor<can::LogsRead>,
    search: &LogSearch,
    since: i64,
) -> Result<Vec<LogLine>> {
    let mut tx = env.db.read().await?;
    let asked = filter(search, env.now());
    let since = asked.since.max(Some(recorder::first_id(since)));
    let until = times(&search.range, env.now()).1.map(recorder::first_id);
    let filter = Filter { before: until, since, ..asked };
    Ok(store::request_log::list(&mut tx, actor.org(), &filter, MOST_NEWER).await?)
}

/// One request, whole.
pub async fn entry(env: &Env, actor: &OrgActor<can::LogsRead>, id: LogEntryId) -> Result<LogEntry> {
    let org = actor.org();
    let mut tx = env.db.read().await?;
    let found =
        store::request_log::find(&mut tx, org, id).await?.ok_or_else(|| Error::not_found("request"))?;
    let bodies = match &found.bodies {
        None => None,
        Some(sealed) => {
            let row = id.to_string();
            let key = orgs::data_key(env, &mut tx, org).await?;
            let plain = key
                .open(&recorder::place(org, &row), sealed)
                .map_err(|_| Error::Internal(format!("the bodies of {id} do not open")))?;
            serde_json::from_slice::<Bodies>(&plain).ok()
        }
    };
    let detail = recorder::detail(&found.detail);
    let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| detail[name].as_i64().unwrap_or_default();
    Ok(LogEntry {
        status: u16::try_from(number("status")).unwrap_or_default(),
        code: detail["code"].as_i64(),
        message: text("message"),
        timings: serde_json::from_value(detail["timings"].clone()).unwrap_or_default(),
        bytes_in: number("bytes_in"),
        bytes_out: number("bytes_out"),
        upstream_requests: number("upstream_requests"),
        request_id: text("request_id"),
        trace_id: text("trace_id"),
        client: text("client"),
        address: text("address"),
        node: text("node"),
        line: found.line,
        principal_kind: found.principal_kind,
        principal_id: found.principal_id,
        bodies,
        now: env.now(),
    })
}

/// Deletes what is older than each organisation keeps its log, and old usage.
pub async fn clean(env: &Env) -> Result<()> {
    let now = env.now();
    let mut tx = env.db.read().await?;
    let orgs = store::usage::list_log_days(&mut tx).await?;
    drop(tx);
    for (org, plan, days) in orgs {
        let (Ok(org), Some(plan)) = (org.parse(), Plan::parse(&plan)) else { continue };
        let days = days.and_then(|days| u16::try_from(days).ok()).unwrap_or(LOG_DAYS);
        let before = recorder::first_id(now - i64::from(days.clamp(1, plan.limits().most_log_days)) * DAY);
        loop {
            let mut tx = env.db.write().await?;
            let gone = store::request_log::delete_before(&mut tx, org, before, DELETED_AT_ONCE).await?;
            tx.commit().await?;
            if gone < u64::try_from(DELETED_AT_ONCE).unwrap_or(u64::MAX) {
                break;
            }
        }
    }
    let mut tx = env.db.write().await?;
    store::usage::delete_before(&mut tx, period::hour(now) - KEPT_HOURS, period::day(now) - KEPT_DAYS)
        .await?;
    // Rates that have been full for an hour are as good as new.
    store::usage::delete_buckets(&mut tx, (now - 60 * 60 * 1000) * 1000).await?;
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_two_ends_in_utc() {
        assert_eq!(minute("1970-01-02T03:04Z"), Some(DAY + 3 * HOUR + 4 * 60 * 1000));
        for wrong in [
            "",
            "1970-01-02",
            "1970-01-02T03:04",
            "1970-02-30T03:04Z",
            "1970-01-02T24:00Z",
            "1970-01-02T+3:04Z",
        ] {
            assert_eq!(minute(wrong), None, "{wrong}");
        }
        assert_eq!(times("1970-01-01T01:00Z/1970-01-01T02:00Z", 5), (Some(HOUR), Some(2 * HOUR)));
        assert_eq!(times("1h", 2 * HOUR), (Some(HOUR), None));
        assert_eq!(times("always", 5), (None, None));
    }
}
