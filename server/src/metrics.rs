//! `/metrics` for Prometheus, and which certificates a proxy may get, on a listener of its own (ERR-03): figures of this process, by no label that a tenant
//! chooses (ERR-04).

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use domain::{
    dataplane::{Directory as _, Planes},
    usage::{CLASSES, Record},
};
use model::activity::Outcome;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use serde::Deserialize;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::jobs::Work;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

/// What is counted while requests end: all that the path of a call meets of this.
#[derive(Debug)]
pub struct Counts {
    /// One for each of [`Outcome::ALL`], found by its place.
    outcomes: Vec<Counter>,
    family: Family<OutcomeLabel, Counter>,
    durations: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        let family = Family::<OutcomeLabel, Counter>::default();
        // Each is there from the start, so that a rate is known from the first failure on.
        let counter =
            |outcome: &Outcome| family.get_or_create_owned(&OutcomeLabel { outcome: outcome.as_str() });
        let outcomes = Outcome::ALL.iter().map(counter).collect();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let ends = CLASSES.iter().map(|end| *end as f64 / 1000.0);
        Self { outcomes, family, durations: Histogram::new(ends) }
    }
}

impl Counts {
    /// Counts a request that ended.
    pub fn note(&self, record: &Record) {
        if let Some(place) = Outcome::ALL.iter().position(|outcome| *outcome == record.outcome) {
            self.outcomes[place].inc();
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a request")]
        self.durations.observe(record.timings.total as f64 / 1e6);
    }
}

/// All of the figures, and where those come from that are looked up when somebody asks.
#[derive(Clone)]
struct Metrics {
    registry: Arc<Registry>,
    gauges: Gauges,
    work: Work,
}

/// What is looked up when somebody asks.
#[derive(Clone, Default)]
struct Gauges {
    ready: Gauge,
    sessions: Gauge,
    streams: Gauge,
    waiting: Gauge,
    left_out: Family<WhyLabel, Gauge>,
    database: Gauge,
    webhooks_due: Gauge,
    webhooks_age: Gauge,
    resident: Gauge,
    files: Gauge,
}

impl Metrics {
    fn new(work: Work) -> Self {
        let gauges = Gauges::default();
        let mut registry = Registry::with_prefix("gatehouse");
        let build = Family::<VersionLabel, Gauge>::default();
        build.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The version of this process", build);
        let counts = &work.meter.counts;
        registry.register(
            "mcp_requests",
            "MCP requests with a good credential that ended",
            counts.family.clone(),
        );
        registry.register_with_unit(
            "mcp_request_duration",
            "From the first byte of a request to the last of its answer",
            Unit::Seconds,
            counts.durations.clone(),
        );
        let g = &gauges;
        registry.register(
            "ready",
            "Whether the database could be written to when last tried",
            g.ready.clone(),
        );
        registry.register("mcp_sessions", "Sessions of clients of 2025-11-25 and older", g.sessions.clone());
        registry.register(
            "mcp_tasks",
            "Answers and streams that run without a connection",
            g.streams.clone(),
        );
        registry.register("log_rows_waiting", "Requests that wait to be written", g.waiting.clone());
        registry.register(
            "log_rows_left_out",
            "Requests since the start that are not in the log",
            g.left_out.clone(),
        );
        registry.register("database_connections", "Open connections to the database", g.database.clone());
        registry.register(
            "webhook_deliveries_due",
            "Deliveries to active webhooks whose time has come and that nobody sends yet",
            g.webhooks_due.clone(),
        );
        registry.register_with_unit(
            "webhook_oldest_due",
            "For how long the first of them waits",
            Unit::Seconds,
            g.webhooks_age.clone(),
        );
        registry.register_with_unit("resident_memory", "Memory in use", Unit::Bytes, g.resident.clone());
        registry.register("open_files", "Files and sockets that are open", g.files.clone());
        Self { registry: Arc::new(registry), gauges, work }
    }

    fn text(&self) -> String {
        let (work, gauges) = (&self.work, &self.gauges);
        let count = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauges.ready.set(i64::from(work.write_path.works()));
        let open = work.gateway.open();
        count(&gauges.sessions, open.sessions);
        count(&gauges.streams, open.tasks);
        count(&gauges.waiting, work.meter.requests.waiting_now());
        let left_out = work.meter.requests.left_out();
        for (why, rows) in [("database_away", left_out.away), ("database_slow", left_out.slow)] {
            let gauge = gauges.left_out.get_or_create_owned(&WhyLabel { why });
            gauge.set(i64::try_from(rows).unwrap_or(i64::MAX));
        }
        gauges.database.set(i64::from(work.env.db.connections()));
        if let Some(resident) = resident() {
            gauges.resident.set(resident);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            count(&gauges.files, files.count());
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            text.clear();
            let _ = writeln!(text, "# {error}");
        }
        text
    }
}

/// The memory of this process, bytes, where the system tells.
fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<i64>().ok().map(|kib| kib * 1024)
}

/// The routes, for a listener that only the operator reaches.
pub fn router(work: Work) -> Router {
    let planes = Arc::clone(&work.planes);
    Router::new()
        .route("/metrics", get(answer))
        .with_state(Metrics::new(work))
        .route("/internal/tls/ask", get(ask).with_state(planes))
}

/// Which host a proxy wants a certificate for.
#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    domain: String,
}

/// Whether a proxy may get a certificate for a host: only for a domain that an organisation has proven (TEN-06). From
/// memory, because anybody who connects to the proxy makes it ask.
async fn ask(State(planes): State<Arc<Planes>>, Query(wanted): Query<Wanted>) -> StatusCode {
    let host = wanted.domain.trim_end_matches('.').to_ascii_lowercase();
    if planes.at_host(&host).is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

/// How long the queue of webhooks may be looked for: a database that is away must not keep the other figures back.
const LOOK: Duration = Duration::from_secs(2);

async fn answer(State(metrics): State<Metrics>) -> impl IntoResponse {
    // What is not known keeps its last figure.
    if let Ok(Ok((due, age))) = timeout(LOOK, domain::webhooks::log::backlog(&metrics.work.env)).await {
        metrics.gauges.webhooks_due.set(due);
        metrics.gauges.webhooks_age.set(age / 1000);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text())
}

/// Serves the figures until `stop`.
pub async fn serve(listener: TcpListener, work: Work, stop: CancellationToken) {
    let served = axum::serve(listener, router(work)).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::warn!(%error, "metrics are not served any more");
    }
}
