//! The transport of 2024-11-05, HTTP+SSE: a GET opens a stream that first names where to POST, and everything that is
//! answered comes on that stream. Behind it is a session like any other; only the way of the bytes differs.
//!
//! The stream is a matter of one connection, so what is posted has to reach the node that has it.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::Response,
};
use bytes::Bytes;
use domain::mcp::{code, sse};
use futures_util::stream;
use http::{HeaderValue, Method, StatusCode, header, request};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Gateway, Inner,
    auth::Endpoint,
    ending::Ending,
    events::LEAVING,
    handler::{self, SESSION_ID, method_not_allowed},
    limits::StreamSlot,
    reply::{self, RpcError, empty},
    sessions::Holder,
    watchful::Watchful,
};

/// Messages that wait for a stream to be read. Whoever sends more waits.
const WAITING: usize = 64;
/// The name of the stream in the query.
const STREAM: &str = "session_id";

/// An open stream.
struct Channel {
    holder: Holder,
    to: mpsc::Sender<Bytes>,
    /// The session, once it was opened.
    session: Mutex<Option<String>>,
    /// Cancelled when the stream ends, and with it all that was to be answered on it.
    ended: CancellationToken,
    /// Messages that are being answered.
    answering: watch::Sender<usize>,
}

impl Channel {
    fn answering(&self) -> Answering<'_> {
        self.answering.send_modify(|count| *count += 1);
        Answering(self)
    }
}

/// One message that is being answered.
struct Answering<'c>(&'c Channel);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answering.send_modify(|count| *count -= 1);
    }
}

/// The open streams of this node.
#[derive(Clone, Default)]
pub(crate) struct Channels(Arc<Mutex<HashMap<u128, Arc<Channel>>>>);

impl Channels {
    fn table(&self) -> MutexGuard<'_, HashMap<u128, Arc<Channel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a channel out of the table, and ends its session, when its stream is dropped.
struct Open {
    inner: Arc<Inner>,
    id: u128,
    _ended: DropGuard,
}

impl Drop for Open {
    fn drop(&mut self) {
        let channel = self.inner.channels.table().remove(&self.id);
        let Some(channel) = channel else { return };
        let session = channel.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = session {
            self.inner.sessions.close(&session, &channel.holder);
        }
    }
}

pub(crate) async fn org(
    State(gateway): State<Gateway>,
    Path(slug): Path<String>,
    request: Request,
) -> Response {
    handler::guarded(&gateway, &slug, None, request, Box::new(|i, e, h, b| Box::pin(serve(i, e, h, b)))).await
}

pub(crate) async fn connector(
    State(gateway): State<Gateway>,
    Path((slug, connector)): Path<(String, String)>,
    request: Request,
) -> Response {
    let serve: handler::Serve = Box::new(|i, e, h, b| Box::pin(serve(i, e, h, b)));
    handler::guarded(&gateway, &slug, Some(&connector), request, serve).await
}

pub(crate) async fn serve(
    inner: Arc<Inner>,
    endpoint: Endpoint<'_>,
    head: request::Parts,
    body: Body,
) -> Response {
    let caller = match handler::admitted(&inner, endpoint, &head).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let holder = Holder {
        org: caller.ready.plane.org,
        principal: caller.access.principal.clone(),
        connector: endpoint.connector.map(str::to_owned),
    };
    match head.method {
        Method::GET => {
            let admitted = inner.limits.admit(&caller).await;
            let trace = Arc::clone(&caller.trace);
            trace.tell(match admitted.and_then(|()| inner.limits.stream(&caller)) {
                Ok(permit) => open(&inner, endpoint, caller, holder, permit),
                Err(error) => error.respond(None),
            })
        }
        Method::POST => match find(&inner, &head, &holder) {
            Some(channel) => {
                let (slug, connector) = (endpoint.slug.to_owned(), endpoint.connector.map(str::to_owned));
                let tasks = inner.streams.tasks.clone();
                tasks.spawn(answer(inner, channel, slug, connector, head, body));
                empty(StatusCode::ACCEPTED)
            }
            None => RpcError::new(
                StatusCode::NOT_FOUND,
                code::INVALID_REQUEST,
                "There is no such stream, or it has ended. Open it again with GET.",
            )
            .word("session_not_found")
            .respond(None),
        },
        _ => method_not_allowed("GET, POST").respond(None),
    }
}

/// Opens a stream.
fn open(
    inner: &Arc<Inner>,
    endpoint: Endpoint<'_>,
    caller: handler::Caller,
    holder: Holder,
    permit: StreamSlot,
) -> Response {
    let mut bytes = [0; 16];
    inner.rng.fill(&mut bytes);
    let id = u128::from_be_bytes(bytes);
    let (to, from) = mpsc::channel(WAITING);
    let ended = CancellationToken::new();
    let answering = watch::Sender::new(0);
    let channel =
        Arc::new(Channel { holder, to, session: Mutex::default(), ended: ended.clone(), answering });
    let quiet = channel.answering.subscribe();
    inner.channels.table().insert(id, channel);
    let path = endpoint.path();
    // Relative to the origin, as clients of that revision expect it.
    let first = Bytes::from(format!("event: endpoint\ndata: {path}/sse?{STREAM}={id:032x}\n\n"));
    let watch = Watchful::new(caller);
    let stream_state = Reading {
        tick: watch.interval(),
        ending: Some(inner.streams.ending()),
        quiet,
        watch,
        connector: endpoint.connector.map(str::to_owned),
        from,
        sent_at: Instant::now(),
        _open: Open { inner: Arc::clone(inner), id, _ended: ended.drop_guard() },
        _permit: permit,
    };
    let rest = stream::unfold(Some(stream_state), |state| async move { state?.step().await });
    let body = futures_util::StreamExt::chain(stream::iter([first]), rest);
    reply::events(Body::from_stream(futures_util::StreamExt::map(body, Ok::<_, Infallible>)))
}

/// A stream that is being read.
struct Reading {
    watch: Watchful,
    connector: Option<String>,
    from: mpsc::Receiver<Bytes>,
    tick: Interval,
    sent_at: Instant,
    /// Absent once the process has begun to stop.
    ending: Option<Ending>,
    /// How many messages are being answered.
    quiet: watch::Receiver<usize>,
    _open: Open,
    _permit: StreamSlot,
}

impl Reading {
    async fn step(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            tokio::select! {
                biased;
                _ = self.tick.tick() => {}
                piece = self.from.recv() => {
                    self.sent_at = Instant::now();
                    return Some((piece?, Some(self)));
                }
                // Answers come on this stream alone, so what is being answered is waited for.
                () = over(self.ending.as_mut(), &mut self.quiet) => {
                    if self.ending.take().is_none() {
                        return Some((Bytes::from_static(LEAVING), None));
                    }
                    continue;
                }
            }
            if !self.watch.still_allowed(self.connector.as_deref()).await {
                return Some((
                    Bytes::from_static(b": the credential of this stream does not work any more\n\n"),
                    None,
                ));
            }
            if self.sent_at.elapsed() >= self.watch.caller.inner.settings.heartbeat {
                self.sent_at = Instant::now();
                return Some((Bytes::from_static(b": listening\n\n"), Some(self)));
            }
        }
    }
}

/// First the end of streams, then that nothing is being answered any more.
async fn over(ending: Option<&mut Ending>, answering: &mut watch::Receiver<usize>) {
    match ending {
        Some(ending) => ending.come().await,
        // An error means that there is nobody left to answer.
        None => drop(answering.wait_for(|count| *count == 0).await),
    }
}

/// The stream that a POST belongs to, if it is this holder's.
fn find(inner: &Inner, head: &request::Parts, holder: &Holder) -> Option<Arc<Channel>> {
    let query = head.uri.query()?;
    let id = query.split('&').find_map(|pair| pair.strip_prefix(STREAM)?.strip_prefix('='))?;
    let id = u128::from_str_radix(id, 16).ok().filter(|_| id.len() == 32)?;
    inner.channels.table().get(&id).filter(|channel| channel.holder == *holder).cloned()
}

/// Answers one message on the stream.
async fn answer(
    inner: Arc<Inner>,
    channel: Arc<Channel>,
    slug: String,
    connector: Option<String>,
    mut head: request::Parts,
    body: Body,
) {
    let ended = channel.ended.clone();
    let answering = channel.answering();
    let work = async {
        let both = HeaderValue::from_static("application/json, text/event-stream");
        head.headers.insert(header::ACCEPT, both);
        head.headers.remove(SESSION_ID);
        let session = channel.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(session) = session.and_then(|session| HeaderValue::try_from(session).ok()) {
            head.headers.insert(SESSION_ID, session);
        }
        let endpoint = Endpoint { site: &inner.site, slug: &slug, connector: connector.as_deref(), at: None };
        let mut listening = head.clone();
        let response = handler::judged(&inner, endpoint, head, body).await;
        let opened = response.headers().get(&SESSION_ID).cloned();
        if let Some(session) = opened.as_ref().and_then(|session| session.to_str().ok()) {
            *channel.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.to_owned());
        }
        pass(&channel, response).await;
        drop(answering);
        if let Some(session) = opened {
            // What the session is told without having asked goes the same way.
            listening.method = Method::GET;
            listening.headers.insert(SESSION_ID, session);
            pass(&channel, handler::judged(&inner, endpoint, listening, Body::empty()).await).await;
        }
    };
    tokio::select! {
        () = ended.cancelled() => {}
        () = work => {}
    }
}

/// Puts an answer on the stream. Streams are passed on event by event.
async fn pass(channel: &Channel, response: Response) {
    let kind = response.headers().get(header::CONTENT_TYPE).cloned();
    let is = |what: &str| kind.as_ref().is_some_and(|kind| kind.as_bytes().starts_with(what.as_bytes()));
    let (is_stream, is_json) = (is("text/event-stream"), is("application/json"));
    let mut body = response.into_body();
    if is_stream {
        // Each piece is made of whole events.
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(piece) = frame.into_data() else { continue };
            // An event that has only an id says where to resume, which this transport cannot.
            if piece.ends_with(b"\ndata:\n\n") {
                continue;
            }
            if channel.to.send(piece).await.is_err() {
                return;
            }
        }
    } else if is_json && let Ok(whole) = body.collect().await {
        let mut out = Vec::new();
        sse::encode(&mut out, &whole.to_bytes());
        // Nobody reads any more: then nobody waits for it either.
        let _ = channel.to.send(out.into()).await;
    }
}
