//! What happens in the background: news of other processes, last-used times, health of connectors, old sessions.

use std::{future::Future, sync::Arc, time::Duration};

use domain::{Env, dataplane::Planes, doctor::Journal};
use gateway::Gateway;
use tokio::{sync::broadcast::error::RecvError, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::usage::UsageMeter;

/// How often changes of other processes are looked for: a change counts within a second.
const NEWS: Duration = Duration::from_millis(400);
/// How often last-used times are written.
const FLUSH: Duration = Duration::from_secs(5);
/// How often it is asked whether connectors are due for a check.
const CHECK: Duration = Duration::from_secs(5);
/// How often it is asked whether a signing key is due to be made or replaced.
const KEYS: Duration = Duration::from_mins(1);
/// How often old rows are cleared away.
const CLEAN: Duration = Duration::from_hours(1);
/// Connectors that are checked in one go.
const CHECKS_AT_ONCE: i64 = 64;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Everything that the jobs work on.
#[derive(Clone)]
pub struct Work {
    /// The environment.
    pub env: Env,
    /// Snapshots and slugs.
    pub planes: Arc<Planes>,
    /// The data plane, whose caches hear of changes.
    pub gateway: Gateway,
    /// Last-used times.
    pub meter: Arc<UsageMeter>,
    /// How often each connector is checked, milliseconds.
    pub health_interval: i64,
}

/// Starts the jobs; they end with `stop`, the last-used times written.
pub fn start(work: Work, stop: &CancellationToken) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    jobs.spawn(forward_changes(work.clone(), stop.clone()));
    let w = work.clone();
    jobs.spawn(every(NEWS, stop.clone(), "news", move || {
        let w = w.clone();
        async move { w.planes.refresh().await }
    }));
    let w = work.clone();
    jobs.spawn(every(NEWS, stop.clone(), "news of signing keys", move || {
        let w = w.clone();
        async move { w.env.keys.refresh(&w.env).await }
    }));
    let w = work.clone();
    jobs.spawn(every(KEYS, stop.clone(), "signing keys", move || {
        let w = w.clone();
        async move { domain::signing::maintain(&w.env).await }
    }));
    let w = work.clone();
    jobs.spawn(every(CHECK, stop.clone(), "health", move || {
        let w = w.clone();
        async move { domain::connectors::check_due(&w.env, w.health_interval, CHECKS_AT_ONCE).await.map(drop) }
    }));
    let w = work.clone();
    jobs.spawn(every(CLEAN, stop.clone(), "cleaning", move || {
        let w = w.clone();
        async move { clean(&w.env).await }
    }));
    let w = work.clone();
    jobs.spawn(every(FLUSH, stop.clone(), "steps of clients", move || {
        let w = w.clone();
        async move { w.env.journal.flush(&w.env).await }
    }));
    let flush_stop = stop.clone();
    jobs.spawn(async move {
        let w = work.clone();
        every(FLUSH, flush_stop, "last-used times", move || {
            let w = w.clone();
            async move { w.meter.flush(&w.env).await }
        })
        .await;
        if let Err(error) = work.meter.flush(&work.env).await {
            tracing::error!(%error, "the last-used times of the last seconds are lost");
        }
    });
    jobs
}

async fn every<F, R>(pause: Duration, stop: CancellationToken, name: &'static str, work: F)
where
    F: Fn() -> R + Send,
    R: Future<Output = domain::Result<()>> + Send,
{
    let mut failed = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match work().await {
            Ok(()) => failed = false,
            // Once is enough in the log while it lasts.
            Err(error) if !failed => {
                failed = true;
                tracing::error!(%error, job = name, "a background job failed");
            }
            Err(_) => {}
        }
    }
}

async fn forward_changes(work: Work, stop: CancellationToken) {
    let mut changes = work.env.changes.subscribe();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            heard = changes.recv() => match heard {
                Ok(org) => work.gateway.invalidate(org),
                Err(RecvError::Lagged(_)) => work.gateway.invalidate_all(),
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Removes sessions that ended, failures that no longer count, and outbox rows that nobody can have subscribed to.
pub async fn clean(env: &Env) -> domain::Result<()> {
    Journal::clean(env).await?;
    let now = env.now();
    let mut tx = env.db.write().await?;
    store::sessions::delete_expired(&mut tx, now, now - env.settings.session_idle_ms).await?;
    store::sign_in_failures::delete_stale(&mut tx, now - DAY).await?;
    store::outbox::delete_before(&mut tx, now - 30 * DAY).await?;
    tx.commit().await?;
    Ok(())
}
