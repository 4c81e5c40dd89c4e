//! A call whose answer is a stream: notifications as they come, questions to the client, signs of life in between, and the
//! result.
//!
//! When the client goes away the stream is dropped, and with it the call upstream: in the modern era that is what a
//! disconnect means, and in the legacy era, where it need not, nobody could fetch the answer any more.

use std::{collections::BTreeMap, convert::Infallible, future::pending, sync::Arc, time::Duration};

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
    sync::{
        OwnedSemaphorePermit,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
    time::{Instant, Interval, timeout},
};

use crate::{
    handler::{Caller, Era, View},
    limits::CallSlot,
    owned::OwnedCall,
    questions::{Asked, Told},
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

pub(crate) struct Streaming {
    watch: Watchful,
    job: Job,
    source: Source,
    tick: Interval,
    sent_at: Instant,
    running: Option<Running>,
    asking: Option<Asking>,
    // Held for as long as the stream is open.
    _slots: (CallSlot, OwnedSemaphorePermit),
}

/// A piece to send, and the state to go on with unless it was the last.
type Step = Option<(Bytes, Option<Streaming>)>;

impl Streaming {
    pub(crate) fn new(
        caller: Caller,
        job: Job,
        reply: Reply,
        slots: (CallSlot, OwnedSemaphorePermit),
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
            running,
            asking,
            _slots: slots,
        }
    }

    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(Some(self), |state| async move {
            let (piece, state) = state?.step().await?;
            Some((Ok::<_, Infallible>(piece), state))
        }))
    }

    async fn step(mut self) -> Step {
        loop {
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
                        return self.last(error);
                    }
                    continue;
                }
                event = self.source.next() => match event {
                    Event::Stream(stream) => {
                        self.source = Source::Stream(stream);
                        continue;
                    }
                    Event::Call(CallEvent::Notification(message)) => return self.piece(&message),
                    Event::Call(CallEvent::Request(question)) => match self.ask(question).await {
                        Ok(step) => return step,
                        Err(unasked) => {
                            self = *unasked;
                            continue;
                        }
                    },
                    Event::Call(CallEvent::Answer(answer)) => {
                        if answer.result_type == ResultType::InputRequired && self.asking.is_some() {
                            match self.ask_all(&answer) {
                                Ok(Some(pieces)) => return Some((pieces, Some(self))),
                                Ok(None) => continue,
                                Err(error) => return self.last(error),
                            }
                        }
                        self.watch.caller.trace.answered(&answer);
                        let message = match self.job.view(&self.watch.caller).render(answer) {
                            Ok((_, message)) => message,
                            Err(error) => error.message(self.job.id.as_deref()),
                        };
                        return Some((message.event(), None));
                    }
                    Event::Failed(error) => {
                        let error = self.job.view(&self.watch.caller).failed(&error);
                        return self.last(error);
                    }
                },
            }
            if !self.watch.still_allowed(Some(self.job.connector.slug.as_str())).await {
                return Some((
                    Bytes::from_static(b": the credential of this stream does not work any more\n\n"),
                    None,
                ));
            }
            if let Err(error) = self.lose_patience() {
                return self.last(error);
            }
            if self.sent_at.elapsed() >= self.watch.caller.inner.settings.heartbeat {
                self.sent_at = Instant::now();
                return Some((Bytes::from_static(b": still at work\n\n"), Some(self)));
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is what a step comes to")]
    fn piece(mut self, message: &[u8]) -> Step {
        let mut out = Vec::new();
        sse::encode(&mut out, message);
        self.sent_at = Instant::now();
        Some((out.into(), Some(self)))
    }

    #[expect(
        clippy::needless_pass_by_value,
        clippy::unnecessary_wraps,
        reason = "it is the last step, and what a step comes to"
    )]
    fn last(self, error: RpcError) -> Step {
        self.watch.caller.trace.failed(&error);
        Some((error.message(self.job.id.as_deref()).event(), None))
    }

    /// Puts a question of the server to the client: on this stream in the legacy era, as a result in the modern one.
    async fn ask(mut self, question: Question) -> Result<Step, Box<Self>> {
        let Source::Stream(stream) = &mut self.source else { return Err(Box::new(self)) };
        if self.job.era == Era::Modern {
            let Source::Stream(stream) = self.source else { unreachable!("it was looked at above") };
            let held = hold(&self.job.view(&self.watch.caller), stream, question).await;
            let mut out = Vec::new();
            let message = match held {
                Ok((notifications, _, message)) => {
                    for notification in notifications {
                        sse::encode(&mut out, &notification);
                    }
                    message
                }
                Err(error) => error.message(self.job.id.as_deref()),
            };
            out.extend_from_slice(&message.event());
            return Ok(Some((out.into(), None)));
        }
        let id = self.asking.as_mut().and_then(|asking| asking.asked.ask(&question.id, &asking.tell));
        let (Some(id), Some(asking)) = (id, &mut self.asking) else {
            stream.refuse(&question.id);
            return Err(Box::new(self));
        };
        if asking.open.is_empty() {
            asking.since = Instant::now();
        }
        asking.open.push(question.id);
        let message = request(&id, question.method, &question.params);
        Ok(self.piece(&message))
    }

    /// Puts everything to the client that a server of the modern era wants to know before it goes on.
    fn ask_all(&mut self, answer: &Answer) -> Result<Option<Bytes>, RpcError> {
        let view = self.job.view(&self.watch.caller);
        let Some(asking) = &mut self.asking else { return Err(view.cannot_ask()) };
        asking.rounds += 1;
        let text = answer.text();
        let requests = state::input_requests(text).filter(|_| asking.rounds <= MAX_ROUNDS);
        let requests = requests.ok_or_else(|| view.cannot_ask())?;
        let state = domain::mcp::json::get(text, "requestState").map(str::to_owned);
        let mut out = Vec::new();
        for asked in &requests {
            let method = self.job.asks.allow(&asked.method, asked.params).ok_or_else(|| view.cannot_ask())?;
            let id = asking.asked.ask(&asked.key, &asking.tell).ok_or_else(|| view.cannot_ask())?;
            sse::encode(&mut out, &request(&id, method, asked.params.as_bytes()));
        }
        asking.since = Instant::now();
        self.source = Source::Client { left: requests.len(), got: BTreeMap::new(), state };
        self.go_on();
        self.sent_at = Instant::now();
        Ok((!out.is_empty()).then(|| out.into()))
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
                let outcome = match told {
                    Told::Result(value) => format!(r#""result":{value}"#),
                    Told::Error(value) => format!(r#""error":{value}"#),
                };
                stream.answer(&key, &outcome);
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

/// A request of ours to a client.
fn request(id: &str, method: &str, params: &[u8]) -> Vec<u8> {
    let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":"#);
    [head.as_bytes(), params, b"}"].concat()
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
    Ok((notifications, StatusCode::OK, message))
}
