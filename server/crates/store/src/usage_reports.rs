//! Usage as pages show it: few rows for a long time. Written in the transaction of the other numbers ([`crate::usage`]).
//!
//! Each number is there twice, by hour for a few weeks and by day for more than a year, so that neither a day nor a year is
//! read from many rows.

use model::OrgId;

use crate::{Result, Tx};

statements! {
    ADD_TOOL_HOUR = "INSERT INTO usage_tool_hours (org_id, hour, connector_id, tool, calls, errors, duration_us) \
                     SELECT id, $2, $3, $4, $5, $6, $7 FROM orgs WHERE id = $1 \
                     ON CONFLICT (org_id, hour, connector_id, tool) DO UPDATE SET \
                     calls = usage_tool_hours.calls + excluded.calls, errors = usage_tool_hours.errors + excluded.errors, \
                     duration_us = usage_tool_hours.duration_us + excluded.duration_us";
    ADD_TOOL_DAY = "INSERT INTO usage_tool_days (org_id, day, connector_id, tool, calls, errors, duration_us) \
                    SELECT id, $2, $3, $4, $5, $6, $7 FROM orgs WHERE id = $1 \
                    ON CONFLICT (org_id, day, connector_id, tool) DO UPDATE SET \
                    calls = usage_tool_days.calls + excluded.calls, errors = usage_tool_days.errors + excluded.errors, \
                    duration_us = usage_tool_days.duration_us + excluded.duration_us";
    ADD_OUTCOME_DAY = "INSERT INTO usage_outcome_days (org_id, day, connector_id, outcome, requests, duration_us) \
                       SELECT id, $2, $3, $4, $5, $6 FROM orgs WHERE id = $1 \
                       ON CONFLICT (org_id, day, connector_id, outcome) DO UPDATE SET \
                       requests = usage_outcome_days.requests + excluded.requests, \
                       duration_us = usage_outcome_days.duration_us + excluded.duration_us";
    ADD_LATENCY_DAY = "INSERT INTO usage_latency_days (org_id, day, class, requests) SELECT id, $2, $3, $4 FROM orgs WHERE id = $1 \
                       ON CONFLICT (org_id, day, class) DO UPDATE SET requests = usage_latency_days.requests + excluded.requests";
    ADD_PRINCIPAL_DAY = "INSERT INTO usage_principal_days (org_id, principal_kind, principal_id, day, calls, errors, duration_us) \
                         SELECT id, $2, $3, $4, $5, $6, $7 FROM orgs WHERE id = $1 \
                         ON CONFLICT (org_id, principal_kind, principal_id, day) DO UPDATE SET \
                         calls = usage_principal_days.calls + excluded.calls, \
                         errors = usage_principal_days.errors + excluded.errors, \
                         duration_us = usage_principal_days.duration_us + excluded.duration_us";
    OUTCOMES_BY_HOUR = "SELECT hour, outcome, CAST(SUM(requests) AS BIGINT) FROM usage_hours \
                        WHERE org_id = $1 AND hour >= $2 AND hour < $3 GROUP BY hour, outcome ORDER BY hour, outcome";
    OUTCOMES_BY_DAY = "SELECT day, outcome, CAST(SUM(requests) AS BIGINT) FROM usage_outcome_days \
                       WHERE org_id = $1 AND day >= $2 AND day < $3 GROUP BY day, outcome ORDER BY day, outcome";
    LATENCY_BY_HOUR = "SELECT hour, class, requests FROM usage_latency \
                       WHERE org_id = $1 AND hour >= $2 AND hour < $3 ORDER BY hour, class";
    LATENCY_BY_DAY = "SELECT day, class, requests FROM usage_latency_days \
                      WHERE org_id = $1 AND day >= $2 AND day < $3 ORDER BY day, class";
    CONNECTORS_OF_HOURS = "SELECT connector_id, outcome, CAST(SUM(requests) AS BIGINT), CAST(SUM(duration_us) AS BIGINT) \
                           FROM usage_hours WHERE org_id = $1 AND hour >= $2 AND hour < $3 AND connector_id <> '' \
                           GROUP BY connector_id, outcome ORDER BY connector_id, outcome";
    CONNECTORS_OF_DAYS = "SELECT connector_id, outcome, CAST(SUM(requests) AS BIGINT), CAST(SUM(duration_us) AS BIGINT) \
                          FROM usage_outcome_days WHERE org_id = $1 AND day >= $2 AND day < $3 AND connector_id <> '' \
                          GROUP BY connector_id, outcome ORDER BY connector_id, outcome";
    TOOLS = "SELECT connector_id, tool, CAST(SUM(calls) AS BIGINT) AS calls, CAST(SUM(errors) AS BIGINT) AS errors, \
             CAST(SUM(duration_us) AS BIGINT) AS duration_us FROM ( \
             SELECT connector_id, tool, calls, errors, duration_us FROM usage_tool_hours WHERE org_id = $1 AND hour >= $2 AND hour < $3 \
             UNION ALL \
             SELECT connector_id, tool, calls, errors, duration_us FROM usage_tool_days WHERE org_id = $1 AND day >= $4 AND day < $5 \
             UNION ALL \
             SELECT connector_id, tool, calls, errors, duration_us FROM usage_tool_hours WHERE org_id = $1 AND hour >= $6 AND hour < $7 \
             ) AS counted WHERE tool <> '' GROUP BY connector_id, tool ORDER BY 3 DESC, 1, 2 LIMIT $8";
    DAYS_OF_KIND = "SELECT principal_id, day, calls, errors, duration_us FROM usage_principal_days \
                    WHERE org_id = $1 AND principal_kind = $2 AND day >= $3 AND day < $4 ORDER BY principal_id, day";
    DELETE_TOOL_HOURS = "DELETE FROM usage_tool_hours WHERE hour < $1";
    DELETE_TOOL_DAYS = "DELETE FROM usage_tool_days WHERE day < $1";
    DELETE_OUTCOME_DAYS = "DELETE FROM usage_outcome_days WHERE day < $1";
    DELETE_LATENCY_DAYS = "DELETE FROM usage_latency_days WHERE day < $1";
    DELETE_PRINCIPAL_DAYS = "DELETE FROM usage_principal_days WHERE day < $1";
}

/// A time as these tables count it, since 1970 in UTC: from the first on, before the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Hours.
    Hours(i64, i64),
    /// Days.
    Days(i64, i64),
}

impl Span {
    /// The same time in three pieces that follow each other, the first and the last of hours and the middle one of days: what is
    /// asked for as a whole is read from few rows. Pieces may be empty.
    #[must_use]
    pub const fn in_days(self) -> [Self; 3] {
        match self {
            Self::Days(..) => [Self::Hours(0, 0), self, Self::Hours(0, 0)],
            Self::Hours(from, to) => {
                let (first, last) = ((from + 23).div_euclid(24), to.div_euclid(24));
                if first < last {
                    [Self::Hours(from, first * 24), Self::Days(first, last), Self::Hours(last * 24, to)]
                } else {
                    [self, Self::Days(0, 0), Self::Hours(0, 0)]
                }
            }
        }
    }

    const fn ends(self) -> (i64, i64) {
        match self {
            Self::Hours(from, to) | Self::Days(from, to) => (from, to),
        }
    }

    const fn of<'a>(self, hours: &'a str, days: &'a str) -> &'a str {
        match self {
            Self::Hours(..) => hours,
            Self::Days(..) => days,
        }
    }
}

/// Calls, of these those that failed, and what they took together in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many.
    pub calls: i64,
    /// Of these, how many failed.
    pub errors: i64,
    /// All together, microseconds.
    pub duration_us: i64,
}

impl Calls {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            errors: self.errors + other.errors,
            duration_us: self.duration_us + other.duration_us,
        }
    }
}

async fn add_tool(
    tx: &mut Tx,
    sql: &'static str,
    org: OrgId,
    at: i64,
    of: (&str, &str),
    sum: Calls,
) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(sql)
        .bind(org)
        .bind(at)
        .bind(of.0)
        .bind(of.1)
        .bind(sum.calls)
        .bind(sum.errors)
        .bind(sum.duration_us)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Adds calls of a tool (connector's id, tool) to an hour.
pub async fn add_tool_hour(tx: &mut Tx, org: OrgId, hour: i64, of: (&str, &str), sum: Calls) -> Result<()> {
    add_tool(tx, ADD_TOOL_HOUR, org, hour, of, sum).await
}

/// Adds calls of a tool (connector's id, tool) to a day.
pub async fn add_tool_day(tx: &mut Tx, org: OrgId, day: i64, of: (&str, &str), sum: Calls) -> Result<()> {
    add_tool(tx, ADD_TOOL_DAY, org, day, of, sum).await
}

/// Adds requests of a connector (empty for none) and outcome to a day.
pub async fn add_outcome_day(
    tx: &mut Tx,
    org: OrgId,
    day: i64,
    of: (&str, &str),
    requests: i64,
    duration_us: i64,
) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(ADD_OUTCOME_DAY)
        .bind(org)
        .bind(day)
        .bind(of.0)
        .bind(of.1)
        .bind(requests)
        .bind(duration_us)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Adds calls to a class of duration of a day.
pub async fn add_latency_day(tx: &mut Tx, org: OrgId, day: i64, class: i64, requests: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(ADD_LATENCY_DAY)
        .bind(org)
        .bind(day)
        .bind(class)
        .bind(requests)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Adds calls of a principal (kind, public id) to a day.
pub async fn add_principal_day(
    tx: &mut Tx,
    org: OrgId,
    of: (&str, &str),
    day: i64,
    sum: Calls,
) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(ADD_PRINCIPAL_DAY)
        .bind(org)
        .bind(of.0)
        .bind(of.1)
        .bind(day)
        .bind(sum.calls)
        .bind(sum.errors)
        .bind(sum.duration_us)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Requests by hour or day and outcome.
pub async fn outcomes(tx: &mut Tx, org: OrgId, span: Span) -> Result<Vec<(i64, String, i64)>> {
    let ((from, to), org) = (span.ends(), org.to_string());
    let sql = span.of(OUTCOMES_BY_HOUR, OUTCOMES_BY_DAY);
    Ok(on!(tx, |c| sqlx::query_as(sql).bind(org).bind(from).bind(to).fetch_all(c).await)?)
}

/// Calls by hour or day and class of duration.
pub async fn latency(tx: &mut Tx, org: OrgId, span: Span) -> Result<Vec<(i64, i64, i64)>> {
    let ((from, to), org) = (span.ends(), org.to_string());
    let sql = span.of(LATENCY_BY_HOUR, LATENCY_BY_DAY);
    Ok(on!(tx, |c| sqlx::query_as(sql).bind(org).bind(from).bind(to).fetch_all(c).await)?)
}

/// Requests of all the time by connector's id and outcome, and what they took together in microseconds. Those that asked no
/// connector are left out.
pub async fn connectors(tx: &mut Tx, org: OrgId, span: Span) -> Result<Vec<(String, String, i64, i64)>> {
    let ((from, to), org) = (span.ends(), org.to_string());
    let sql = span.of(CONNECTORS_OF_HOURS, CONNECTORS_OF_DAYS);
    Ok(on!(tx, |c| sqlx::query_as(sql).bind(org).bind(from).bind(to).fetch_all(c).await)?)
}

/// The tools that were called most: connector's id, tool, and its calls.
pub async fn tools(tx: &mut Tx, org: OrgId, span: Span, most: i64) -> Result<Vec<(String, String, Calls)>> {
    let org = org.to_string();
    let rows: Vec<(String, String, i64, i64, i64)> = on!(tx, |c| {
        let mut query = sqlx::query_as(TOOLS).bind(org);
        for (from, to) in span.in_days().map(Span::ends) {
            query = query.bind(from).bind(to);
        }
        query.bind(most).fetch_all(c).await
    })?;
    let calls = |(connector, tool, calls, errors, duration_us)| {
        (connector, tool, Calls { calls, errors, duration_us })
    };
    Ok(rows.into_iter().map(calls).collect())
}

/// Calls by public id and day of all principals of a kind, in days from the first on and before the last.
pub async fn of_kind(
    tx: &mut Tx,
    org: OrgId,
    kind: &str,
    from: i64,
    to: i64,
) -> Result<Vec<(String, i64, Calls)>> {
    let org = org.to_string();
    let rows: Vec<(String, i64, i64, i64, i64)> = on!(tx, |c| sqlx::query_as(DAYS_OF_KIND)
        .bind(org)
        .bind(kind)
        .bind(from)
        .bind(to)
        .fetch_all(c)
        .await)?;
    let calls = |(id, day, calls, errors, duration_us)| (id, day, Calls { calls, errors, duration_us });
    Ok(rows.into_iter().map(calls).collect())
}

/// Deletes what is from before an hour, and from before a day.
pub async fn delete_before(tx: &mut Tx, hour: i64, day: i64) -> Result<()> {
    for (sql, before) in [
        (DELETE_TOOL_HOURS, hour),
        (DELETE_TOOL_DAYS, day),
        (DELETE_OUTCOME_DAYS, day),
        (DELETE_LATENCY_DAYS, day),
        (DELETE_PRINCIPAL_DAYS, day),
    ] {
        on!(&mut *tx, |c| sqlx::query(sql).bind(before).execute(c).await.map(drop))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_days_is_the_same_time() {
        for (from, to) in
            [(0, 0), (5, 7), (5, 30), (24, 48), (23, 49), (24 * 20_000 + 7, 24 * 20_007 + 7), (-30, 30)]
        {
            let mut hours: Vec<i64> = Vec::new();
            for piece in Span::Hours(from, to).in_days() {
                match piece {
                    Span::Hours(from, to) => hours.extend(from..to),
                    Span::Days(from, to) => hours.extend(from * 24..to * 24),
                }
            }
            assert_eq!(hours, (from..to).collect::<Vec<_>>(), "{from} to {to}");
        }
        let [first, days, last] = Span::Hours(23, 24 * 6 + 1).in_days();
        assert_eq!((first, days, last), (Span::Hours(23, 24), Span::Days(1, 6), Span::Hours(144, 145)));
        assert_eq!(Span::Days(3, 9).in_days()[1], Span::Days(3, 9));
    }
}
