//! Requests as they end: noted in memory on the path of a call, written in batches by a job.
//!
//! What waits is bounded. When the database is away, or slower than requests come, for so long that the bound is reached,
//! lines of the log are left out and counted, and why; usage is added up in memory and is not lost.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use model::{
    ConnectorId, LogEntryId, OrgId,
    activity::{Bodies, Outcome, Timings},
    permissions::can,
};
use serde_json::{Value, json};
use store::{
    Tx,
    usage::{DayRow, HourRow},
};
use uuid::Uuid;

use super::{
    period, redact,
    rows::{Rows, principal_id, short},
};
use crate::{
    Env, OrgActor, Result,
    change::Event,
    dataplane::{Access, OrgPlane, PlaneConnector, Principal},
    orgs,
    sealer::{Aad, DataKey},
};

/// The most requests that wait to be written.
const MOST_WAITING: usize = 10_000;
/// Rows that are handed over at once.
const BATCH: usize = 500;
/// Random bytes in the id of a row.
const RANDOM: usize = 8;
/// The most tools and principals that usage is added up for apart while the database is away.
const MOST_KINDS: usize = 20_000;
/// The ends of the classes of duration, milliseconds; the last class has none.
pub const CLASSES: &[i64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

/// One request as the gateway saw it. What is needed for names is shared with the snapshot that it ran on.
#[derive(Clone, Debug)]
pub struct Record {
    /// The organisation.
    pub plane: Arc<OrgPlane>,
    /// Who.
    pub access: Arc<Access>,
    /// When it began and ended, Unix milliseconds.
    pub began: i64,
    /// See above.
    pub ended: i64,
    /// `tools/call` and so on, as the client wrote it.
    pub method: String,
    /// The connector, once it was found.
    pub connector: Option<Arc<PlaneConnector>>,
    /// The tool, prompt or resource: as its server knows it once the connector was found, until then as asked for.
    pub tool: String,
    /// What came of it.
    pub outcome: Outcome,
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC error code.
    pub code: Option<i64>,
    /// What was said about an error, in our words.
    pub message: String,
    /// Where the time went.
    pub timings: Timings,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// HTTP requests to the connector's server.
    pub upstream_requests: u32,
    /// Whether it counts for the monthly quota: it was passed on to the connector (RLM-04).
    pub counted: bool,
    /// The id in `X-Request-Id`.
    pub request_id: String,
    /// The W3C trace id of the client, if it sent one.
    pub trace_id: Option<String>,
    /// What the client calls itself.
    pub client: String,
    /// From where.
    pub address: Option<IpAddr>,
    /// Arguments and result as JSON, where the organisation wants them kept.
    pub bodies: Option<(Bytes, Bytes)>,
}

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
type Day = (OrgId, i64, ConnectorId, String, Principal);

/// Requests in numbers.
#[derive(Clone, Debug, Default)]
struct Tally {
    hours: HashMap<Hour, Sum>,
    classes: HashMap<(OrgId, i64, usize), i64>,
    days: HashMap<Day, Sum>,
    /// Calls of a month that count for the quota, and the newest snapshot with the limits that hold.
    used: HashMap<(OrgId, i64), (i64, Arc<OrgPlane>)>,
}

impl Tally {
    fn count(&mut self, record: &Record) {
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
            let mut day =
                (org, period::day(at), connector, record.tool.clone(), record.access.principal.clone());
            if self.days.len() >= MOST_KINDS && !self.days.contains_key(&day) {
                day.3 = String::new();
            }
            self.days.entry(day).or_default().add(sum);
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

    fn merge(&mut self, other: Self) {
        for (key, sum) in other.hours {
            self.hours.entry(key).or_default().add(sum);
        }
        for (key, count) in other.classes {
            *self.classes.entry(key).or_default() += count;
        }
        for (key, sum) in other.days {
            self.days.entry(key).or_default().add(sum);
        }
        for (key, (count, plane)) in other.used {
            self.used.entry(key).or_insert((0, plane)).0 += count;
        }
    }

    fn is_empty(&self) -> bool {
        self.hours.is_empty() && self.used.is_empty()
    }
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Record>,
    /// What there was no room for any more, and what could not be written.
    tally: Tally,
}

/// How many requests are not in the log, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The database could not be written to.
    pub away: u64,
    /// It was written to, more slowly than requests came.
    pub slow: u64,
}

impl LeftOut {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.away + self.slow
    }
}

/// What a node has left out since it was first started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOutBy {
    /// Which node.
    pub node: String,
    /// How many.
    pub count: LeftOut,
    /// When it was last noticed, Unix milliseconds.
    pub at: i64,
}

/// The beginning of the names of the facts that say so.
const FACT: &str = "request_log_left_out/";

fn read_fact(value: &[u8]) -> Option<(LeftOut, i64)> {
    let value: Value = serde_json::from_slice(value).ok()?;
    Some((LeftOut { away: value["away"].as_u64()?, slow: value["slow"].as_u64()? }, value["at"].as_i64()?))
}

/// What every node has left out of the request log.
pub async fn left_out_by(env: &Env) -> Result<Vec<LeftOutBy>> {
    let mut tx = env.db.read().await?;
    let facts = store::instance_facts::list(&mut tx, FACT).await?;
    let read = facts.into_iter().filter_map(|(name, value)| {
        let (count, at) = read_fact(&value)?;
        Some(LeftOutBy { node: name.strip_prefix(FACT)?.to_owned(), count, at })
    });
    Ok(read.collect())
}

/// Where requests are noted. Noting never waits for anything but another note.
#[derive(Debug, Default)]
pub struct Recorder {
    waiting: Mutex<Waiting>,
    /// Requests that are not in the log because the database was away, and because it was slow.
    left_out: [AtomicU64; 2],
    told: Mutex<LeftOut>,
    /// Whether the last attempt to write failed.
    failing: AtomicBool,
    /// Thresholds that are known to have been told.
    alerts: Mutex<HashMap<(OrgId, i64), Vec<u8>>>,
}

impl Recorder {
    /// Notes a request that has ended.
    pub fn note(&self, record: Record) {
        let mut waiting = self.waiting();
        if waiting.records.len() < MOST_WAITING {
            waiting.records.push_back(record);
        } else {
            waiting.tally.count(&record);
            drop(waiting);
            self.leave_out(1);
        }
    }

    fn leave_out(&self, count: u64) {
        let why = usize::from(!self.failing.load(Ordering::Relaxed));
        self.left_out[why].fetch_add(count, Ordering::Relaxed);
    }

    /// How many requests since the start are not in the log, and why.
    pub fn left_out(&self) -> LeftOut {
        let [away, slow] = &self.left_out;
        LeftOut { away: away.load(Ordering::Relaxed), slow: slow.load(Ordering::Relaxed) }
    }

    /// Requests that wait to be written.
    pub fn waiting_now(&self) -> usize {
        self.waiting().records.len()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was noted. What cannot be written waits for the next time.
    pub async fn flush(&self, env: &Env) -> Result<()> {
        self.tell_left_out(env).await;
        let (records, tally) = {
            let mut waiting = self.waiting();
            (core::mem::take(&mut waiting.records), core::mem::take(&mut waiting.tally))
        };
        if records.is_empty() && tally.is_empty() {
            return Ok(());
        }
        let records: Vec<Record> = records.into();
        let mut whole = Tally::default();
        for record in &records {
            whole.count(record);
        }
        // What has no record any more must survive a failure; usually there is none.
        let kept = tally.clone();
        whole.merge(tally);
        let used = match write(env, &records, &whole).await {
            Ok(used) => used,
            Err(error) => {
                self.failing.store(true, Ordering::Relaxed);
                self.put_back(records, kept);
                return Err(error);
            }
        };
        self.failing.store(false, Ordering::Relaxed);
        for (org, month, used, plane) in used {
            self.tell_thresholds(env, org, month, used, &plane).await?;
        }
        Ok(())
    }

    /// Notes again what could not be written, as far as there is room.
    fn put_back(&self, records: Vec<Record>, tally: Tally) {
        let mut waiting = self.waiting();
        let newer = core::mem::take(&mut waiting.records);
        waiting.records = records.into();
        waiting.records.extend(newer);
        while waiting.records.len() > MOST_WAITING {
            if let Some(record) = waiting.records.pop_front() {
                waiting.tally.count(&record);
                self.leave_out(1);
            }
        }
        waiting.tally.merge(tally);
    }

    /// Tells the operator what was left out, once it is over: in the log, and for `gatehouse doctor`.
    async fn tell_left_out(&self, env: &Env) {
        let (now, told) = (self.left_out(), *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        if now == told || self.waiting_now() > MOST_WAITING / 2 {
            return;
        }
        let new = LeftOut { away: now.away - told.away, slow: now.slow - told.slow };
        let written = async {
            let name = format!("{FACT}{}", env.settings.node);
            let mut tx = env.db.write().await?;
            let before = store::instance_facts::find(&mut tx, &name).await?;
            let before =
                before.and_then(|value| read_fact(&value)).map(|(count, _)| count).unwrap_or_default();
            let (away, slow) = (before.away + new.away, before.slow + new.slow);
            let value = json!({"away": away, "slow": slow, "at": env.now()}).to_string();
            store::instance_facts::put(&mut tx, &name, value.as_bytes()).await?;
            tx.commit().await
        };
        // What could not be told now is told the next time.
        if written.await.is_ok() {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = now;
            tracing::warn!(
                requests = new.total(),
                database_away = new.away,
                database_slow = new.slow,
                "requests were left out of the request log; usage and quotas counted them"
            );
        }
    }

    /// Tells that a part of the quota is used up: once per threshold and month, whichever node notices (RLM-05).
    async fn tell_thresholds(
        &self,
        env: &Env,
        org: OrgId,
        month: i64,
        used: i64,
        plane: &OrgPlane,
    ) -> Result<()> {
        let Some(quota) = plane.policy.limits.calls_per_month else { return Ok(()) };
        let used = u64::try_from(used).unwrap_or(0);
        let reached = plane
            .policy
            .thresholds
            .iter()
            .copied()
            .filter(|t| u128::from(used) * 100 >= u128::from(*t) * u128::from(quota));
        for threshold in reached {
            let known = |alerts: &HashMap<(OrgId, i64), Vec<u8>>| {
                alerts.get(&(org, month)).is_some_and(|told| told.contains(&threshold))
            };
            if known(&self.alerts()) {
                continue;
            }
            let mut change = env.change(&OrgActor::<can::UsageRead>::system(org)).await?;
            if store::usage::add_alert(change.tx(), org, month, i64::from(threshold), env.now()).await? {
                let data = json!({
                    "threshold": threshold,
                    "used": used,
                    "quota": quota,
                    "period": period::month_name(month),
                });
                let event = Event::new("usage.threshold")
                    .target("org", org, plane.slug.as_str())
                    .with("threshold", threshold)
                    .with("used", used)
                    .with("quota", quota)
                    .publish("usage.threshold", data);
                change.commit(event).await?;
            }
            let mut alerts = self.alerts();
            alerts.retain(|(_, of), _| *of >= month);
            alerts.entry((org, month)).or_default().push(threshold);
        }
        Ok(())
    }

    fn alerts(&self) -> MutexGuard<'_, HashMap<(OrgId, i64), Vec<u8>>> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls of an organisation in a month after what was written, with the snapshot that says its limits.
type Used = Vec<(OrgId, i64, i64, Arc<OrgPlane>)>;

async fn write(env: &Env, records: &[Record], tally: &Tally) -> Result<Used> {
    let mut tx = env.db.write().await?;
    let mut keys: HashMap<OrgId, Option<DataKey>> = HashMap::new();
    let mut rows = Rows::new(&env.settings.node);
    for (batch, records) in records.chunks(BATCH).enumerate() {
        // One question to the system for all of them.
        let mut random = vec![0; records.len() * RANDOM];
        env.rng.fill(&mut random);
        let ids: Vec<_> = records
            .iter()
            .zip(random.chunks_exact(RANDOM))
            .enumerate()
            .map(|(at, (record, random))| id(record, random, batch * BATCH + at))
            .collect();
        let new = records.iter().zip(&ids).map(|(record, id)| rows.row(record, *id)).collect();
        store::request_log::insert(&mut tx, new).await?;
        for (record, id) in records.iter().zip(ids) {
            if let Some((arguments, result)) = &record.bodies {
                write_bodies(env, &mut tx, &mut keys, record.plane.org, id, arguments, result).await?;
            }
        }
    }
    let used = write_tally(&mut tx, tally).await?;
    tx.commit().await?;
    Ok(used)
}

/// In one order on every node, so that two of them never wait for each other's rows.
async fn write_tally(tx: &mut Tx, tally: &Tally) -> Result<Used> {
    let mut hours: Vec<_> = tally.hours.iter().collect();
    hours.sort_unstable_by_key(|(key, _)| **key);
    for ((org, hour, connector, outcome), sum) in hours {
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
    let mut classes: Vec<_> = tally.classes.iter().collect();
    classes.sort_unstable();
    for ((org, hour, class), requests) in classes {
        let class = i64::try_from(*class).unwrap_or(i64::MAX);
        store::usage::add_latency(tx, *org, *hour, class, *requests).await?;
    }
    let mut days: Vec<_> = tally.days.iter().collect();
    days.sort_unstable_by_key(|(key, _)| *key);
    for ((org, day, connector, tool, principal), sum) in days {
        let row = DayRow {
            day: *day,
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
        store::usage::add_day(tx, *org, &row).await?;
    }
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

/// Ids are in the order in which requests ended, also within a millisecond: `at` is the place in the batch. `random` is
/// that of this row.
fn id(record: &Record, random: &[u8], at: usize) -> LogEntryId {
    let mut bits = [0; 10];
    bits[2..].copy_from_slice(random);
    bits[..2].copy_from_slice(&u16::try_from(at & 0xFFF).unwrap_or(0).to_be_bytes());
    let millis = u64::try_from(record.ended).unwrap_or(0);
    LogEntryId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid())
}

async fn write_bodies(
    env: &Env,
    tx: &mut Tx,
    keys: &mut HashMap<OrgId, Option<DataKey>>,
    org: OrgId,
    id: LogEntryId,
    arguments: &[u8],
    result: &[u8],
) -> Result<()> {
    if let std::collections::hash_map::Entry::Vacant(slot) = keys.entry(org) {
        slot.insert(orgs::data_key(env, tx, org).await.ok());
    }
    // An organisation that is gone has no key any more, nor rows.
    let Some(Some(key)) = keys.get(&org) else { return Ok(()) };
    let bodies = Bodies { arguments: redact::body(arguments), result: redact::body(result) };
    let row = id.to_string();
    let plain = json!(bodies).to_string();
    let sealed = key.seal(&place(org, &row), plain.as_bytes(), env.rng.as_ref());
    Ok(store::request_log::set_bodies(tx, org, id, &sealed).await?)
}

/// Where the bodies of a request are sealed for.
pub(super) fn place(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "request_log", column: "bodies", row }
}

/// The smallest id of a request that ended at this time or later, Unix milliseconds.
pub(super) fn first_id(at: i64) -> LogEntryId {
    let millis = u64::try_from(at).unwrap_or(0);
    LogEntryId::from_uuid(Uuid::from_u128(u128::from(millis) << 80))
}

/// The members of [`row`]'s detail, for whoever reads them.
pub(super) fn detail(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}
