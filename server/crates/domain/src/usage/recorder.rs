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
    LogEntryId, OrgId,
    activity::{Bodies, Outcome, Timings},
};
use serde_json::{Value, json};
use store::Tx;
use uuid::Uuid;

use super::{
    alerts::{Standing, Told},
    redact,
    rows::Rows,
    tally::{self, Tally, Used},
};
use crate::{
    Env, Result,
    dataplane::{Access, OrgPlane, PlaneConnector},
    orgs,
    sealer::{Aad, DataKey},
};

/// The most requests that wait to be written.
const MOST_WAITING: usize = 10_000;
/// Rows that are handed over at once.
const BATCH: usize = 500;
/// Random bytes in the id of a row.
const RANDOM: usize = 8;

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
    alerts: Told,
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
        // One organisation that cannot be told holds up no other; it is tried again every minute.
        let mut failed = None;
        for (org, month, used, plane) in used {
            let standing = Standing {
                org,
                month,
                slug: plane.slug.as_str(),
                used,
                quota: plane.policy.limits.calls_per_month,
                thresholds: &plane.policy.thresholds,
            };
            if let Err(error) = self.alerts.tell(env, &standing).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
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
}

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
    let used = tally::write(&mut tx, tally).await?;
    tx.commit().await?;
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
