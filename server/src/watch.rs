//! Server-sent events for pages that are watched: they tell that there is something new, not what it is, and the page then
//! asks for it as it always does.

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::RawQuery,
    http::{Response, StatusCode, header},
    routing::get,
};
use domain::{Env, OrgActor, request::RequestContext, sessions, usage};
use futures_util::stream;
use model::{LogEntryId, activity::LogSearch, paths, permissions::can};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::middleware::problem::problem;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// After so long the browser has to come again (REQ-06).
const LONGEST: Duration = Duration::from_hours(1);
/// Every so many looks it is asked whether the session still works and its role still allows it.
const RECHECK: u32 = 3;
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How far back each look goes, milliseconds: nodes write in batches, in any order.
const BACK: i64 = 10_000;
/// The most pages of a process that are watched at once.
const MOST: usize = 256;

struct Watching {
    ctx: RequestContext,
    looks: u32,
    actor: OrgActor<can::LogsRead>,
    search: LogSearch,
    since: i64,
    told: HashSet<LogEntryId>,
    until: Instant,
    said_at: Instant,
    stopping: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// Looking does not keep a session alive, so its end is noticed here.
    async fn still_allowed(&mut self) -> bool {
        let sessions = sessions::list(&self.ctx).await;
        let Ok(actor) = OrgActor::require(&self.ctx).await else { return false };
        let same = actor.org() == self.actor.org();
        self.actor = actor;
        same && sessions.is_ok_and(|sessions| sessions.iter().any(|session| session.current))
    }

    /// What to say next; nothing when it is over.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                () = tokio::time::sleep(LOOK) => {}
            }
            if Instant::now() >= self.until {
                return None;
            }
            let since = self.since.max(self.ctx.env.now() - BACK);
            self.looks += 1;
            if self.looks.is_multiple_of(RECHECK) && !self.still_allowed().await {
                return None;
            }
            // When the database is away the browser tries again.
            let lines = usage::newer(&self.ctx.env, &self.actor, &self.search, since).await.ok()?;
            let fresh = lines.iter().filter(|line| !self.told.contains(&line.id)).count();
            self.told = lines.into_iter().map(|line| line.id).collect();
            if fresh > 0 {
                self.said_at = Instant::now();
                return Some((Ok(Bytes::from(format!("event: new\ndata: {fresh}\n\n"))), self));
            }
            if self.said_at.elapsed() >= HEARTBEAT {
                self.said_at = Instant::now();
                return Some((Ok(Bytes::from_static(b": nothing new\n\n")), self));
            }
        }
    }
}

/// The events of the request log.
pub fn router(env: Env, stopping: CancellationToken) -> Router {
    let places = Arc::new(Semaphore::new(MOST));
    let activity = move |Extension(ctx): Extension<RequestContext>, RawQuery(query): RawQuery| {
        let (env, stopping, places) = (env.clone(), stopping.clone(), Arc::clone(&places));
        async move {
            let request_id = ctx.origin.request_id.clone();
            let actor = match OrgActor::require(&ctx).await {
                Ok(actor) => actor,
                Err(error) => {
                    let error = error.into_app(&request_id);
                    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::FORBIDDEN);
                    return problem(status, &error.code, &error.message, &request_id);
                }
            };
            let Ok(place) = places.try_acquire_owned() else {
                let detail = "Too many pages are being watched. Reload the page to see what is new.";
                return problem(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail, &request_id);
            };
            let mut search = LogSearch::default();
            for (name, value) in app::ssr::parse_form(query.unwrap_or_default().as_bytes()) {
                search.set(&name, value);
            }
            let now = Instant::now();
            let watching = Watching {
                // What ended while the browser was on its way counts too.
                since: env.now() - 2_000,
                told: HashSet::new(),
                until: now + LONGEST,
                said_at: now,
                ctx,
                looks: 0,
                actor,
                search,
                stopping,
                _place: place,
            };
            let hello = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"retry: 1000\n\n"))]);
            let events = stream::unfold(watching, Watching::next);
            let mut response =
                Response::new(Body::from_stream(futures_util::StreamExt::chain(hello, events)));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
            headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
            response
        }
    };
    Router::new().route(paths::activity_events(), get(activity))
}
