//! Requests in numbers: added up in memory, written by the hour and by the day.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use model::{ConnectorId, OrgId, activity::Outcome};
use store::{
    Tx,
    usage::{DayRow, HourRow},
    usage_reports::{self, Calls},
};

use super::{
    period,
    recorder::Record,
    rows::{principal_id, short},
};
use crate::{
    Result,
    dataplane::{OrgPlane, Principal},
};

/// The most tools and principals that usage is added up for apart while the database is away.
const MOST_KINDS: usize = 20_000;
/// The ends of the classes of duration, milliseconds; the last class has none.
pub const CLASSES: &[i64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

/// Times something was done, and what it took.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    requests: i64,
    errors: i64,
    duration_us: i64,
    bytes_in: i64,
    bytes_out: i64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.duration_us += other.duration_us;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

type Hour = (OrgId, i64, Option<ConnectorId>, Outcome);
type OfTool = (OrgId, i64, ConnectorId, String, Principal);

/// Requests in numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    hours: HashMap<Hour, Sum>,
    classes: HashMap<(OrgId, i64, usize), i64>,
    /// By hour, connector, tool and principal.
    calls: HashMap<OfTool, Sum>,
    /// Calls of a month that count for the quota, and the newest snapshot with the limits that hold.
    used: HashMap<(OrgId, i64), (i64, Arc<OrgPlane>)>,
}

impl Tally {
    pub(super) fn count(&mut self, record: &Record) {
        let (org, at) = (record.plane.org, record.ended);
        let sum = Sum {
            requests: 1,
            errors: i64::from(record.outcome.is_error()),
            duration_us: record.timings.total,
            bytes_in: i64::try_from(record.bytes_in).unwrap_or(i64::MAX),
            bytes_out: i64::try_from(record.bytes_out).unwrap_or(i64::MAX),
        };
        let connector = record.connector.as_ref().map(|connector| connector.id);
        self.hours.entry((org, period::hour(at), connector, record.outcome)).or_default().add(sum);
        if let Some(connector) = connector {
            let total = record.timings.total / 1000;
            let class = CLASSES.iter().position(|end| total < *end).unwrap_or(CLASSES.len());
            *self.classes.entry((org, period::hour(at), class)).or_default() += 1;
            let mut of =
                (org, period::hour(at), connector, record.tool.clone(), record.access.principal.clone());
            if self.calls.len() >= MOST_KINDS && !self.calls.contains_key(&of) {
                of.3 = String::new();
            }
            self.calls.entry(of).or_default().add(sum);
        }
        if record.counted {
            let month = (org, period::month(at));
            let used = self.used.entry(month).or_insert_with(|| (0, Arc::clone(&record.plane)));
            used.0 += 1;
            if record.plane.version > used.1.version {
                used.1 = Arc::clone(&record.plane);
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, sum) in other.hours {
            self.hours.entry(key).or_default().add(sum);
        }
        for (key, count) in other.classes {
            *self.classes.entry(key).or_default() += count;
        }
        for (key, sum) in other.calls {
            self.calls.entry(key).or_default().add(sum);
        }
        for (key, (count, plane)) in other.used {
            self.used.entry(key).or_insert((0, plane)).0 += count;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hours.is_empty() && self.used.is_empty()
    }
}

/// Calls of an organisation in a month after what was written, with the snapshot that says its limits.
pub(super) type Used = Vec<(OrgId, i64, i64, Arc<OrgPlane>)>;

/// In one order on every node, so that two of them never wait for each other's rows.
pub(super) async fn write(tx: &mut Tx, tally: &Tally) -> Result<Used> {
    write_outcomes(tx, tally).await?;
    write_latency(tx, tally).await?;
    write_calls(tx, tally).await?;
    let mut months: Vec<_> = tally.used.iter().collect();
    months.sort_unstable_by_key(|(key, _)| **key);
    let mut used = Vec::with_capacity(months.len());
    for ((org, month), (calls, plane)) in months {
        if let Some(now) = store::usage::add_used(tx, *org, *month, *calls).await? {
            used.push((*org, *month, now, Arc::clone(plane)));
        }
    }
    Ok(used)
}

async fn write_outcomes(tx: &mut Tx, tally: &Tally) -> Result<()> {
    let mut hours: Vec<_> = tally.hours.iter().collect();
    hours.sort_unstable_by_key(|(key, _)| **key);
    let mut days: BTreeMap<Hour, (i64, i64)> = BTreeMap::new();
    for ((org, hour, connector, outcome), sum) in hours {
        let day = days.entry((*org, period::day_of(*hour), *connector, *outcome)).or_default();
        *day = (day.0 + sum.requests, day.1 + sum.duration_us);
        let connector = connector.map(|id| id.to_string()).unwrap_or_default();
        let row = HourRow {
            hour: *hour,
            connector: &connector,
            outcome: outcome.as_str(),
            requests: sum.requests,
            duration_us: sum.duration_us,
            bytes_in: sum.bytes_in,
            bytes_out: sum.bytes_out,
        };
        store::usage::add_hour(tx, *org, row).await?;
    }
    for ((org, day, connector, outcome), (requests, duration_us)) in days {
        let connector = connector.map(|id| id.to_string()).unwrap_or_default();
        let of = (connector.as_str(), outcome.as_str());
        usage_reports::add_outcome_day(tx, org, day, of, requests, duration_us).await?;
    }
    Ok(())
}

async fn write_latency(tx: &mut Tx, tally: &Tally) -> Result<()> {
    let mut classes: Vec<_> = tally.classes.iter().collect();
    classes.sort_unstable();
    let mut days: BTreeMap<(OrgId, i64, i64), i64> = BTreeMap::new();
    for ((org, hour, class), requests) in classes {
        let class = i64::try_from(*class).unwrap_or(i64::MAX);
        *days.entry((*org, period::day_of(*hour), class)).or_default() += requests;
        store::usage::add_latency(tx, *org, *hour, class, *requests).await?;
    }
    for ((org, day, class), requests) in days {
        usage_reports::add_latency_day(tx, org, day, class, requests).await?;
    }
    Ok(())
}

/// Calls of a connector are kept four times: by everything and day, by tool and hour, by tool and day, and by principal and
/// day.
async fn write_calls(tx: &mut Tx, tally: &Tally) -> Result<()> {
    let mut days: BTreeMap<(OrgId, i64, ConnectorId, &str, &Principal), Sum> = BTreeMap::new();
    let mut tool_hours: BTreeMap<(OrgId, i64, ConnectorId, &str), Calls> = BTreeMap::new();
    let mut tool_days = tool_hours.clone();
    let mut principals: BTreeMap<(OrgId, &Principal, i64), Calls> = BTreeMap::new();
    for ((org, hour, connector, tool, principal), sum) in &tally.calls {
        let day = period::day_of(*hour);
        days.entry((*org, day, *connector, tool, principal)).or_default().add(*sum);
        let calls = Calls { calls: sum.requests, errors: sum.errors, duration_us: sum.duration_us };
        for sum in [
            tool_hours.entry((*org, *hour, *connector, tool)).or_default(),
            tool_days.entry((*org, day, *connector, tool)).or_default(),
            principals.entry((*org, principal, day)).or_default(),
        ] {
            *sum = sum.and(calls);
        }
    }
    for ((org, day, connector, tool, principal), sum) in days {
        let row = DayRow {
            day,
            connector_id: connector.to_string(),
            tool: short(tool).into_owned(),
            principal_kind: principal.kind().to_owned(),
            principal_id: principal_id(principal),
            calls: sum.requests,
            errors: sum.errors,
            duration_us: sum.duration_us,
            bytes_in: sum.bytes_in,
            bytes_out: sum.bytes_out,
        };
        store::usage::add_day(tx, org, &row).await?;
    }
    for ((org, hour, connector, tool), sum) in tool_hours {
        let of = (&*connector.to_string(), &*short(tool));
        usage_reports::add_tool_hour(tx, org, hour, of, sum).await?;
    }
    for ((org, day, connector, tool), sum) in tool_days {
        let of = (&*connector.to_string(), &*short(tool));
        usage_reports::add_tool_day(tx, org, day, of, sum).await?;
    }
    for ((org, principal, day), sum) in principals {
        let of = (principal.kind(), &*principal_id(principal));
        usage_reports::add_principal_day(tx, org, of, day, sum).await?;
    }
    Ok(())
}
