//! A call whose answer is a stream: notifications as they come, questions to the client, signs of life in between, and the
//! result.
//!
//! When the client goes away the stream is dropped, and with it the call upstream: in the modern era that is what a
//! disconnect means. In a session of the legacy era it does not, so there the stream can be resumed ([`crate::resume`]).

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    future::pending,
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use domain::{
    dataplane::PlaneConnector,
    mcp::{
        asks::Asks,
        code, sse,
        upstream::{
            Answer, CallEvent, CallStream, Method, Question, Reply, ResultType, Upstream, UpstreamError,
        },
    },
};
use futures_util::{future::BoxFuture, stream};
use http::StatusCode;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::{Instant, Interval, timeout},
};

use crate::{
    handler::{Caller, Era, View},
    limits::{CallSlot, StreamSlot},
    owned::OwnedCall,
    questions::{Asked, Told, request},
    reply::{Message, RpcError},
    sessions::Running,
    state,
    watchful::Watchful,
};

/// How long a client may take over a question.
const PATIENCE: Duration = Duration::from_mins(10);
/// Between two questions of a server that belong together.
const TOGETHER: Duration = Duration::from_millis(40);
/// How often one call may ask.
const MAX_ROUNDS: u8 = 16;

/// What a streamed answer needs to know of its call.
pub(crate) struct Job {
    pub(crate) era: Era,
    pub(crate) id: Option<String>,
    pub(crate) method: Method,
    pub(crate) connector: Arc<PlaneConnector>,
    pub(crate) name: String,
    pub(crate) prefixed: bool,
    pub(crate) asks: Asks,
}

impl Job {
    fn view<'a>(&'a self, caller: &'a Caller) -> View<'a> {
        View {
            caller,
            era: self.era,
            id: self.id.as_deref(),
            method: self.method,
            connector: &self.connector,
            name: &self.name,
            prefixed: self.prefixed,
            asks: self.asks,
        }
    }
}

/// Where the next event comes from.
enum Source {
    Stream(Box<CallStream>),
    /// The call is made again.
    Again(BoxFuture<'static, Result<Reply, UpstreamError>>),
    /// Only from the client: the server has answered that it needs to know these first.
    Client {
        left: usize,
        got: BTreeMap<String, String>,
        state: Option<String>,
    },
    /// An answer that came before there was a stream.
    Ready(Option<Answer>),
}

enum Event {
    Call(CallEvent),
    Failed(UpstreamError),
    Stream(Box<CallStream>),
}

impl Source {
    /// Cancel-safe.
    async fn next(&mut self) -> Event {
        let event = match self {
            Self::Stream(stream) => stream.next().await,
            Self::Again(reply) => match reply.await {
                Ok(Reply::Stream(stream)) => return Event::Stream(stream),
                Ok(Reply::Answer(answer)) => Ok(CallEvent::Answer(answer)),
                Err(error) => Err(error),
            },
            Self::Ready(answer) => match answer.take() {
                Some(answer) => Ok(CallEvent::Answer(answer)),
                None => pending().await,
            },
            Self::Client { .. } => pending().await,
        };
        event.map_or_else(Event::Failed, Event::Call)
    }
}

/// What a client of the legacy era is asked.
pub(crate) struct Asking {
    asked: Asked,
    tell: UnboundedSender<(String, Told)>,
    told: UnboundedReceiver<(String, Told)>,
    /// Questions of the server's stream that are open, by the server's id.
    open: Vec<String>,
    since: Instant,
    rounds: u8,
    call: OwnedCall,
    upstream: Upstream,
}

impl Asking {
    pub(crate) fn new(running: &Running, call: OwnedCall, upstream: Upstream) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            asked: Asked::new(Arc::clone(&running.live)),
            tell,
            told,
            open: Vec::new(),
            since: Instant::now(),
            rounds: 0,
            call,
            upstream,
        }
    }
}

/// One call that is answered with a stream.
pub(crate) struct Streaming {
    watch: Watchful,
    job: Job,
    source: Source,
    tick: Interval,
    sent_at: Instant,
    /// What is to be sent next.
    queue: VecDeque<Bytes>,
    /// Whether nothing follows the queue.
    finished: bool,
    running: Option<Running>,
    asking: Option<Asking>,
    // Held for as long as the call runs.
    _slot: CallSlot,
}

/// What is sent.
pub(crate) enum Piece {
    /// A message, as JSON.
    Message(Bytes),
    /// A sign of life, or a last word to whoever reads the wire.
    Comment(&'static [u8]),
}

impl Streaming {
    pub(crate) fn new(
        caller: Caller,
        job: Job,
        reply: Reply,
        slot: CallSlot,
        running: Option<Running>,
        asking: Option<Asking>,
    ) -> Self {
        let watch = Watchful::new(caller);
        Self {
            tick: watch.interval(),
            watch,
            job,
            source: match reply {
                Reply::Answer(answer) => Source::Ready(Some(answer)),
                Reply::Stream(stream) => Source::Stream(stream),
            },
            sent_at: Instant::now(),
            queue: VecDeque::new(),
            finished: false,
            running,
            asking,
            _slot: slot,
        }
    }

    /// A body that is the stream, and ends the call when it is dropped.
    pub(crate) fn into_body(self, permit: StreamSlot) -> Body {
        Body::from_stream(stream::unfold(Some((self, permit)), |state| async move {
            let (mut streaming, permit) = state?;
            let (piece, last) = streaming.step().await?;
            let piece = match piece {
                Piece::Comment(text) => Bytes::from_static(text),
                Piece::Message(message) => {
                    let mut out = Vec::new();
                    sse::encode(&mut out, &message);
                    out.into()
                }
            };
            Some((Ok::<_, Infallible>(piece), (!last).then_some((streaming, permit))))
        }))
    }

    /// Goes on for the same client with another credential of it.
    pub(crate) fn go_on_for(&mut self, caller: Caller) {
        let trace = Arc::clone(&self.watch.caller.trace);
        self.watch = Watchful::new(Caller { trace, ..caller });
    }

    /// The next piece, and whether it is the last; nothing when the client has cancelled the call. Cancel-safe in the legacy
    /// era.
    pub(crate) async fn step(&mut self) -> Option<(Piece, bool)> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                self.sent_at = Instant::now();
                return Some((Piece::Message(message), self.finished && self.queue.is_empty()));
            }
            let cancelled = async {
                match &self.running {
                    Some(running) => running.token.cancelled().await,
                    None => pending().await,
                }
            };
            let told = async {
                match &mut self.asking {
                    Some(asking) => asking.told.recv().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // The clock first: a server that never pauses must not keep the key from being looked at.
                biased;
                _ = self.tick.tick() => {}
                () = cancelled => return None,
                Some((key, told)) = told => {
                    if let Err(error) = self.told(key, told) {
                        self.fail(&error);
                    }
                    continue;
                }
                event = self.source.next() => {
                    self.event(event).await;
                    continue;
                }
            }
            if !self.watch.still_allowed(Some(self.job.connector.slug.as_str())).await {
                return Some((
                    Piece::Comment(b": the credential of this stream does not work any more\n\n"),
                    true,
                ));
            }
            if let Err(error) = self.lose_patience() {
                self.fail(&error);
                continue;
            }
            if self.sent_at.elapsed() >= self.watch.caller.inner.settings.heartbeat {
                self.sent_at = Instant::now();
                return Some((Piece::Comment(b": still at work\n\n"), false));
            }
        }
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Stream(stream) => self.source = Source::Stream(stream),
            Event::Call(CallEvent::Notification(message)) => self.queue.push_back(message),
            Event::Call(CallEvent::Request(question)) => self.ask(question).await,
            Event::Call(CallEvent::Answer(answer)) => {
                if answer.result_type == ResultType::InputRequired && self.asking.is_some() {
                    if let Err(error) = self.ask_all(&answer) {
                        self.fail(&error);
                    }
                    return;
                }
                self.watch.caller.trace.answered(&answer);
                let message = match self.job.view(&self.watch.caller).render(answer) {
                    Ok((_, message)) => message,
                    Err(error) => error.message(self.job.id.as_deref()),
                };
                self.finish(message);
            }
            Event::Failed(error) => {
                let error = self.job.view(&self.watch.caller).failed(&error);
                self.fail(&error);
            }
        }
    }

    fn finish(&mut self, message: Message) {
        self.queue.push_back(message.joined());
        self.finished = true;
    }

    fn fail(&mut self, error: &RpcError) {
        self.watch.caller.trace.failed(error);
        self.finish(error.message(self.job.id.as_deref()));
    }

    /// Puts a question of the server to the client: on this stream in the legacy era, as a result in the modern one.
    async fn ask(&mut self, question: Question) {
        if self.job.era == Era::Modern {
            let Source::Stream(stream) = std::mem::replace(&mut self.source, Source::Ready(None)) else {
                return;
            };
            match hold(&self.job.view(&self.watch.caller), stream, question).await {
                Ok((notifications, _, message)) => {
                    self.queue.extend(notifications);
                    self.finish(message);
                }
                Err(error) => self.fail(&error),
            }
            return;
        }
        let Source::Stream(stream) = &mut self.source else { return };
        let id = self.asking.as_mut().and_then(|asking| asking.asked.ask(&question.id, &asking.tell));
        let (Some(id), Some(asking)) = (id, &mut self.asking) else {
            stream.refuse(&question.id);
            return;
        };
        if asking.open.is_empty() {
            asking.since = Instant::now();
        }
        asking.open.push(question.id);
        self.queue.push_back(request(&id, question.method, &question.params));
    }

    /// Puts everything to the client that a server of the modern era wants to know before it goes on.
    fn ask_all(&mut self, answer: &Answer) -> Result<(), RpcError> {
        let view = self.job.view(&self.watch.caller);
        let Some(asking) = &mut self.asking else { return Err(view.cannot_ask()) };
        asking.rounds += 1;
        let text = answer.text();
        let requests = state::input_requests(text).filter(|_| asking.rounds <= MAX_ROUNDS);
        let requests = requests.ok_or_else(|| view.cannot_ask())?;
        let state = domain::mcp::json::get(text, "requestState").map(str::to_owned);
        let mut messages = Vec::new();
        for asked in &requests {
            let method = self.job.asks.allow(&asked.method, asked.params).ok_or_else(|| view.cannot_ask())?;
            let id = asking.asked.ask(&asked.key, &asking.tell).ok_or_else(|| view.cannot_ask())?;
            messages.push(request(&id, method, &view.asked_of_legacy(asked.params, method)));
        }
        asking.since = Instant::now();
        self.source = Source::Client { left: requests.len(), got: BTreeMap::new(), state };
        self.queue.extend(messages);
        self.go_on();
        Ok(())
    }

    /// Makes the call again when the client has answered everything.
    fn go_on(&mut self) {
        let (Source::Client { left: 0, got, state }, Some(asking)) = (&mut self.source, &self.asking) else {
            return;
        };
        let responses = state::input_responses(got.iter());
        let again = asking.call.clone().again(asking.upstream.clone(), state.take(), responses);
        self.source = Source::Again(Box::pin(again));
    }

    /// Takes an answer of the client to where it is waited for.
    fn told(&mut self, key: String, told: Told) -> Result<(), RpcError> {
        match (&mut self.source, told) {
            (Source::Stream(stream), told) => {
                if let Some(asking) = &mut self.asking {
                    asking.open.retain(|open| *open != key);
                }
                stream.answer(&key, &told.outcome());
            }
            (Source::Client { left, got, .. }, Told::Result(value)) => {
                if got.insert(key, value).is_none() {
                    *left = left.saturating_sub(1);
                }
                self.go_on();
            }
            (Source::Client { .. }, Told::Error(_)) => {
                return Err(RpcError::new(
                    StatusCode::OK,
                    code::INVALID_REQUEST,
                    "The client answered a question of the server with an error, so the call cannot go on.",
                )
                .word("input_refused"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives up on questions that are not answered.
    fn lose_patience(&mut self) -> Result<(), RpcError> {
        let Some(asking) = self.asking.as_mut().filter(|asking| asking.since.elapsed() > PATIENCE) else {
            return Ok(());
        };
        match &mut self.source {
            Source::Stream(stream) => {
                for id in asking.open.drain(..) {
                    stream.refuse(&id);
                }
                Ok(())
            }
            Source::Client { .. } => Err(RpcError::new(
                StatusCode::OK,
                code::INVALID_REQUEST,
                "The client did not answer what the server asked within ten minutes. The call was given up.",
            )
            .word("input_timeout")),
            _ => Ok(()),
        }
    }
}

/// Holds a call open and gives the result that asks a modern client for input, and the notifications that came before it.
/// Servers that ask several things at once send several requests, so the next ones are waited for a moment.
///
/// # Errors
/// When the server breaks off instead of waiting.
pub(crate) async fn hold(
    view: &View<'_>,
    mut stream: Box<CallStream>,
    first: Question,
) -> Result<(Vec<Bytes>, StatusCode, Message), RpcError> {
    let inner = &view.caller.inner;
    let (mut notifications, mut questions) = (Vec::new(), vec![first]);
    while let Ok(event) = timeout(TOGETHER, stream.next()).await {
        match event.map_err(|error| view.failed(&error))? {
            CallEvent::Request(question) => questions.push(question),
            CallEvent::Notification(message) => notifications.push(message),
            // It did not wait for what it asked.
            CallEvent::Answer(answer) => {
                view.caller.trace.answered(&answer);
                let (status, message) = view.render(answer)?;
                return Ok((notifications, status, message));
            }
        }
    }
    let mut bytes = [0; 16];
    inner.rng.fill(&mut bytes);
    let id = u128::from_be_bytes(bytes);
    let message = view.questions(id, &questions);
    let owner = (view.caller.ready.plane.org, view.caller.access.principal.clone());
    inner.held.put(id, owner, stream, questions);
    view.caller.trace.given();
    Ok((notifications, StatusCode::OK, message))
}
