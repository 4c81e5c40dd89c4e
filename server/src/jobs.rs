//! What happens in the background: news of other processes, deliveries of webhooks, last-used times, health of connectors,
//! old sessions, and whether the database can be written to.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::{Env, dataplane::Planes, doctor::Journal, throttle};
use futures_util::{FutureExt as _, future::BoxFuture};
use gateway::Gateway;
use model::webhooks::KEPT_DAYS;
use tokio::{sync::broadcast::error::RecvError, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{exports, middleware::client::panic_text, usage::UsageMeter, webhooks};

/// How often changes of other processes are looked for: a change counts within a second.
const NEWS: Duration = Duration::from_millis(400);
/// How often last-used times are written.
const FLUSH: Duration = Duration::from_secs(5);
/// How often requests that ended are written (D02).
const RECORD: Duration = Duration::from_millis(250);
/// How often unused portions of quotas are given back.
const SETTLE: Duration = Duration::from_secs(1);
/// How often it is asked whether connectors or domains are due for a check.
const CHECK: Duration = Duration::from_secs(5);
/// How often it is asked whether a signing key is due to be made or replaced.
const KEYS: Duration = Duration::from_mins(1);
/// How often sessions with upstream servers that nobody uses are looked for.
const TIDY: Duration = Duration::from_mins(1);
/// How often it is tried whether the database can be written to.
const WRITABLE: Duration = Duration::from_secs(5);
/// How long a job that panicked rests before it goes on.
const REST: Duration = Duration::from_secs(5);
/// How often it is asked whether mails are due.
const MAILS: Duration = Duration::from_secs(1);
/// How often it is asked whether audit events wait to be streamed.
const STREAMS: Duration = Duration::from_secs(1);
/// How often it is looked whether an organisation was deleted, whose rows are to be removed (DEL-03).
const ENDS: Duration = Duration::from_secs(2);
/// How often old rows are cleared away.
const CLEAN: Duration = Duration::from_hours(1);
/// How often it is signed where the chains of the audit log end.
const CHECKPOINTS: Duration = Duration::from_hours(1);
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
    /// Whether the database could be written to when it was last tried.
    pub write_path: WritePath,
}

/// Whether the database could be written to when it was last tried. It is tried in the background, so that asking does
/// not take a place among those who write (ERR-03).
#[derive(Clone, Debug)]
pub struct WritePath(Arc<AtomicBool>);

impl Default for WritePath {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl WritePath {
    /// Whether it could.
    pub fn works(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Tries it.
    pub async fn check(&self, env: &Env) -> domain::Result<()> {
        let done = store::maintenance::check_writable(&env.db).await;
        self.0.store(done.is_ok(), Ordering::Relaxed);
        Ok(done?)
    }
}

/// One round of a job.
type Round = BoxFuture<'static, domain::Result<()>>;

/// Starts the jobs; they end with `stop`, the last-used times written.
pub fn start(work: Work, stop: &CancellationToken) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    let (w, s) = (work.clone(), stop.clone());
    jobs.spawn(supervised("changes", stop.clone(), move || forward_changes(w.clone(), s.clone())));
    let (w, s) = (work.clone(), stop.clone());
    jobs.spawn(supervised("webhooks", stop.clone(), move || webhooks::run(w.env.clone(), s.clone())));
    let (w, s) = (work.clone(), stop.clone());
    jobs.spawn(supervised("exports", stop.clone(), move || exports::run(w.env.clone(), s.clone())));
    let repeated = |name, pause, round: fn(Work) -> Round| {
        let (work, stop) = (work.clone(), stop.clone());
        supervised(name, stop.clone(), move || {
            let work = work.clone();
            every(pause, stop.clone(), name, move || round(work.clone()))
        })
    };
    jobs.spawn(repeated("news", NEWS, |w| Box::pin(async move { w.planes.refresh().await })));
    jobs.spawn(repeated("news of signing keys", NEWS, |w| {
        Box::pin(async move { w.env.keys.refresh(&w.env).await })
    }));
    jobs.spawn(repeated("signing keys", KEYS, |w| {
        Box::pin(async move { domain::signing::maintain(&w.env).await })
    }));
    jobs.spawn(repeated("deleted organisations", ENDS, |w| {
        Box::pin(async move { domain::org_deletion::finish(&w.env).await })
    }));
    jobs.spawn(repeated("health", CHECK, |w| {
        Box::pin(async move {
            domain::connectors::check_due(&w.env, w.health_interval, CHECKS_AT_ONCE).await.map(drop)
        })
    }));
    jobs.spawn(repeated("upstream servers", TIDY, |w| {
        Box::pin(async move {
            w.env.upstreams.tidy();
            domain::connectors::keep_running(&w.env).await
        })
    }));
    jobs.spawn(repeated("write path", WRITABLE, |w| {
        Box::pin(async move { w.write_path.check(&w.env).await })
    }));
    jobs.spawn(repeated("allowlists on trial", TIDY, |w| {
        Box::pin(async move { domain::allowlist::settle(&w.env).await })
    }));
    jobs.spawn(repeated("domains of SSO", TIDY, |w| {
        Box::pin(async move { domain::sso::recheck::recheck(&w.env).await.map(drop) })
    }));
    jobs.spawn(repeated("domains", CHECK, |w| {
        Box::pin(async move { domain::custom_domain::check_due(&w.env).await.map(drop) })
    }));
    jobs.spawn(repeated("audit checkpoints", CHECKPOINTS, |w| {
        Box::pin(async move { domain::audit::take_checkpoints(&w.env).await })
    }));
    jobs.spawn(repeated("audit streams", STREAMS, |w| {
        Box::pin(async move { domain::audit::stream::deliver(&w.env).await.map(drop) })
    }));
    jobs.spawn(repeated("mails", MAILS, |w| {
        Box::pin(async move { domain::mail::deliver_due(&w.env).await.map(drop) })
    }));
    jobs.spawn(repeated("alerts of quotas", TIDY, |w| {
        Box::pin(async move { domain::usage::tell_due(&w.env).await })
    }));
    jobs.spawn(repeated("erasures", TIDY, |w| {
        Box::pin(async move { domain::audit::erasure::run(&w.env).await })
    }));
    jobs.spawn(repeated("cleaning", CLEAN, |w| Box::pin(async move { clean(&w.env).await })));
    jobs.spawn(repeated("steps of clients", FLUSH, |w| {
        Box::pin(async move { w.env.journal.flush(&w.env).await })
    }));
    let settling = repeated("quotas", SETTLE, |w| {
        Box::pin(async move {
            w.gateway.settle(false).await;
            Ok(())
        })
    });
    let w = work.clone();
    jobs.spawn(async move {
        settling.await;
        w.gateway.settle(true).await;
    });
    let recording =
        repeated("request log", RECORD, |w| Box::pin(async move { w.meter.requests.flush(&w.env).await }));
    let w = work.clone();
    jobs.spawn(async move {
        recording.await;
        if let Err(error) = w.meter.requests.flush(&w.env).await {
            let requests = w.meter.requests.waiting_now();
            tracing::error!(%error, requests, "the last requests are not in the log");
        }
    });
    let telling =
        repeated("limits", FLUSH, |w| Box::pin(async move { w.meter.flush_trips(&w.env, false).await }));
    let w = work.clone();
    jobs.spawn(async move {
        telling.await;
        if let Err(error) = w.meter.flush_trips(&w.env, true).await {
            tracing::error!(%error, "who ran into a limit in the last seconds is not in the audit log");
        }
    });
    let flushing =
        repeated("last-used times", FLUSH, |w| Box::pin(async move { w.meter.flush(&w.env).await }));
    jobs.spawn(async move {
        flushing.await;
        if let Err(error) = work.meter.flush(&work.env).await {
            tracing::error!(%error, "the last-used times of the last seconds are lost");
        }
    });
    jobs
}

/// Runs a job to its end, and again after a pause when it panics: it must not be missing without anybody knowing.
async fn supervised<F, R>(name: &'static str, stop: CancellationToken, job: F)
where
    F: Fn() -> R + Send,
    R: Future<Output = ()> + Send,
{
    while let Err(panic) = AssertUnwindSafe(async { job().await }).catch_unwind().await {
        let panic = panic_text(panic.as_ref());
        tracing::error!(job = name, panic, "a background job panicked; it starts again after a pause");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REST) => {}
        }
    }
}

async fn every<F, R>(pause: Duration, stop: CancellationToken, name: &'static str, round: F)
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
        match round().await {
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
    // What was said before nobody heard.
    work.gateway.invalidate_all();
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

/// Removes sessions that ended, failures that no longer count, and events that are too old to be sent once more, with the
/// log of their deliveries (WHK-06).
pub async fn clean(env: &Env) -> domain::Result<()> {
    Journal::clean(env).await?;
    domain::usage::clean(env).await?;
    let now = env.now();
    let mut tx = env.db.write().await?;
    store::sessions::delete_expired(&mut tx, now, now - env.settings.session_idle_ms).await?;
    store::sign_in_failures::delete_stale(&mut tx, now - throttle::FORGOTTEN_AFTER).await?;
    store::outbox::delete_before(&mut tx, now - KEPT_DAYS * DAY).await?;
    store::webhooks::delete_expired_secrets(&mut tx, now).await?;
    store::account_links::delete_expired(&mut tx, now).await?;
    store::invitations::delete_before(&mut tx, now - 90 * DAY).await?;
    tx.commit().await?;
    domain::exports::purge(env).await?;
    domain::audit::retain(env).await?;
    domain::connectors::purge(env).await?;
    domain::upstream_oauth::purge(env).await?;
    domain::sso::purge(env).await?;
    domain::oauth::purge(env).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panics_starts_again() {
        let (rounds, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let (r, s) = (rounds.clone(), stop.clone());
        let job = supervised("test", stop.clone(), move || {
            let (r, s) = (r.clone(), s.clone());
            async move {
                match r.fetch_add(1, Ordering::SeqCst) {
                    0 | 1 => panic!("a fault of ours"),
                    _ => s.cancelled().await,
                }
            }
        });
        let job = tokio::spawn(job);
        tokio::time::sleep(REST * 3).await;
        assert_eq!(rounds.load(Ordering::SeqCst), 3);
        stop.cancel();
        job.await.expect("it ends in order");
    }
}
