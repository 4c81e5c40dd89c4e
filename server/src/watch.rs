//! Server-sent events for pages that somebody looks at: they tell that there is something new, not what it is, and the page
//! then asks for it as it always does. The request log has a stream of its own, since requests are no changes.

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::RawQuery,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse as _,
    routing::get,
};
use domain::{
    OrgActor,
    live::{Watched, Watcher},
    request::RequestContext,
    sessions, usage,
};
use futures_util::{StreamExt as _, stream};
use model::{LogEntryId, activity::LogSearch, paths, permissions::can};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::middleware::problem::problem;

/// How often it is looked, also whether the session still works and its role still allows it: a stream ends within a second
/// of either (SES-03, TEN-04, DEL-02).
const LOOK: Duration = Duration::from_millis(800);
/// After so long the browser has to come again (REQ-06).
const LONGEST: Duration = Duration::from_hours(1);
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How far back each look goes, milliseconds: nodes write in batches, in any order.
const BACK: i64 = 10_000;
/// The most pages of a process that are watched at once.
const MOST: usize = 256;

/// New requests of the log.
struct Requests {
    actor: OrgActor<can::LogsRead>,
    search: LogSearch,
    since: i64,
    told: HashSet<LogEntryId>,
}

impl Requests {
    async fn is_allowed(&mut self, ctx: &RequestContext) -> bool {
        let Ok(actor) = OrgActor::require(ctx).await else { return false };
        let same = actor.org() == self.actor.org();
        self.actor = actor;
        same
    }

    /// How many are new.
    async fn look(&mut self, ctx: &RequestContext) -> domain::Result<usize> {
        let since = self.since.max(ctx.env.now() - BACK);
        let lines = usage::newer(&ctx.env, &self.actor, &self.search, since).await?;
        let fresh = lines.iter().filter(|line| !self.told.contains(&line.id)).count();
        self.told = lines.into_iter().map(|line| line.id).collect();
        Ok(fresh)
    }
}

/// What is looked at.
enum What {
    Requests(Box<Requests>),
    Page(Watcher),
}

struct Watching {
    ctx: RequestContext,
    what: What,
    until: Instant,
    said_at: Instant,
    stopping: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// Looking does not keep a session alive, so its end is noticed here.
    async fn still_allowed(&mut self) -> bool {
        let sessions = sessions::list(&self.ctx).await;
        let allowed = match &mut self.what {
            What::Requests(requests) => requests.is_allowed(&self.ctx).await,
            What::Page(watcher) => watcher.is_allowed(&self.ctx).await,
        };
        allowed && sessions.is_ok_and(|sessions| sessions.iter().any(|session| session.current))
    }

    async fn look(&mut self) -> domain::Result<Option<Bytes>> {
        Ok(match &mut self.what {
            What::Requests(requests) => match requests.look(&self.ctx).await? {
                0 => None,
                fresh => Some(Bytes::from(format!("event: new\ndata: {fresh}\n\n"))),
            },
            What::Page(watcher) => {
                let stale = watcher.look(&self.ctx).await?;
                stale.then(|| Bytes::from(format!("event: stale\nid: {}\ndata: 1\n\n", watcher.seen())))
            }
        })
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
            if !self.still_allowed().await {
                return None;
            }
            // When the database is away the browser tries again.
            let news = self.look().await.ok()?;
            if news.is_some() || self.said_at.elapsed() >= HEARTBEAT {
                self.said_at = Instant::now();
                let said = news.unwrap_or(Bytes::from_static(b": nothing new\n\n"));
                return Some((Ok(said), self));
            }
        }
    }
}

/// Where the streams have their places.
#[derive(Clone)]
struct Places {
    places: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Places {
    /// The stream of somebody who may see this.
    fn watch(self, ctx: RequestContext, what: What) -> Response<Body> {
        let Ok(place) = self.places.try_acquire_owned() else {
            let detail = "Too many pages are being watched. Reload the page to see what is new.";
            let id = &ctx.origin.request_id;
            return problem(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail, id);
        };
        let now = Instant::now();
        let watching = Watching {
            ctx,
            what,
            until: now + LONGEST,
            said_at: now,
            stopping: self.stopping,
            _place: place,
        };
        let hello = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"retry: 1000\n\n"))]);
        let events = hello.chain(stream::unfold(watching, Watching::next));
        let mut response = Response::new(Body::from_stream(events));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

fn refused(ctx: &RequestContext, error: domain::Error) -> Response<Body> {
    let request_id = &ctx.origin.request_id;
    let error = error.into_app(request_id);
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::FORBIDDEN);
    problem(status, &error.code, &error.message, request_id)
}

/// What the query says.
fn pairs(query: Option<String>) -> Vec<(String, String)> {
    app::ssr::parse_form(query.unwrap_or_default().as_bytes())
}

async fn requests(places: Places, ctx: RequestContext, query: Option<String>) -> Response<Body> {
    let actor = match OrgActor::require(&ctx).await {
        Ok(actor) => actor,
        Err(error) => return refused(&ctx, error),
    };
    let mut search = LogSearch::default();
    for (name, value) in pairs(query) {
        search.set(&name, value);
    }
    // What ended while the browser was on its way counts too.
    let since = ctx.env.now() - 2_000;
    let requests = Requests { actor, search, since, told: HashSet::new() };
    places.watch(ctx, What::Requests(Box::new(requests)))
}

async fn page(
    places: Places,
    ctx: RequestContext,
    query: Option<String>,
    headers: &HeaderMap,
) -> Response<Body> {
    let at = pairs(query).into_iter().find(|(name, _)| name == "at").map(|(_, at)| at).unwrap_or_default();
    // No content: an `EventSource` does not come again then (HTML, server-sent events).
    let Some(watched) = Watched::on_page(&at) else { return StatusCode::NO_CONTENT.into_response() };
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    match Watcher::require(&ctx, watched, seen).await {
        Ok(who) => places.watch(ctx, What::Page(who)),
        Err(error) => refused(&ctx, error),
    }
}

/// The streams for pages.
pub fn router(stopping: CancellationToken) -> Router {
    let places = Places { places: Arc::new(Semaphore::new(MOST)), stopping };
    let of_page = places.clone();
    Router::new()
        .route(
            paths::activity_events(),
            get(move |Extension(ctx): Extension<RequestContext>, RawQuery(query): RawQuery| {
                requests(places.clone(), ctx, query)
            }),
        )
        .route(
            paths::live(),
            get(
                move |Extension(ctx): Extension<RequestContext>,
                      RawQuery(query): RawQuery,
                      headers: HeaderMap| {
                    let places = of_page.clone();
                    async move { page(places, ctx, query, &headers).await }
                },
            ),
        )
}
