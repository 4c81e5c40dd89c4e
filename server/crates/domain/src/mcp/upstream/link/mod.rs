//! One channel that carries the messages of many requests: the standard streams of a process, or the event stream of
//! the transport of 2024-11-05. It is made to look like streamable HTTP, so that everything above it is the same.
//!
//! Such a channel does not say which call a message of the server belongs to. Answers have the id of the request and
//! progress its token, and both were made here. Questions and log messages have nothing: they are given to a call only
//! where it is certain that no other client could be meant (UPS-11).

mod old;
mod reply;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(super) use self::{
    old::OldTransport,
    reply::{answer, empty, event, events, json_answer},
};
use crate::{
    mcp::{
        envelope::{incoming, is_id},
        json, meta,
        upstream::Session,
    },
    net::NetError,
};

/// Messages before the answer that wait for a slow reader; more are dropped. The answer itself never is.
const MOST_QUEUED: usize = 1024;
/// The answer to a question that could be meant for several clients.
const AMBIGUOUS: &str = r#""error":{"code":-32603,"message":"Several clients are being served, so it is not certain whom this asks"}"#;
/// The answer to a question in the middle of nothing.
const NOBODY: &str = r#""error":{"code":-32601,"message":"There is nobody to ask"}"#;

/// What a message of the server calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It went where it belongs, or it concerns nobody.
    Done,
    /// This is to be sent.
    Reply(String),
    /// It is no JSON-RPC message.
    Garbage,
}

type Parcel = Result<Bytes, NetError>;

/// Something that waits for messages.
#[derive(Debug)]
struct Inbox {
    sender: UnboundedSender<Parcel>,
    queued: Arc<AtomicUsize>,
}

impl Inbox {
    fn new() -> (Self, Outlet) {
        let (sender, receiver) = unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        (Self { sender, queued: Arc::clone(&queued) }, Outlet { receiver, queued })
    }

    /// Puts something in that may be left out when nobody reads.
    fn offer(&self, message: Bytes) -> bool {
        if self.queued.fetch_add(1, Ordering::Relaxed) >= MOST_QUEUED {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.sender.send(Ok(message)).is_ok()
    }

    fn put(&self, parcel: Parcel) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        // Whoever waited may have gone.
        let _ = self.sender.send(parcel);
    }
}

/// The other end of an [`Inbox`].
#[derive(Debug)]
struct Outlet {
    receiver: UnboundedReceiver<Parcel>,
    queued: Arc<AtomicUsize>,
}

impl Outlet {
    async fn next(&mut self) -> Option<Parcel> {
        let parcel = self.receiver.recv().await;
        if parcel.is_some() {
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
        parcel
    }
}

/// Whose request it is, as far as it matters whom the server may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The handshake's: nobody can be asked.
    Handshake,
    /// This client's.
    Client(u128),
    /// Some client's, and others' are sent in the same way.
    Anybody,
}

impl Owner {
    pub(super) fn of(session: Option<&Session>) -> Self {
        session.and_then(|session| session.client).map_or(Self::Anybody, Self::Client)
    }
}

#[derive(Debug)]
struct Pending {
    inbox: Inbox,
    owner: Owner,
    /// Whether it is a `subscriptions/listen`, which ends when it is cancelled and not before.
    listens: bool,
    /// The ids of questions that its client has not answered.
    questions: Vec<Box<str>>,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<u64, Pending>,
    listeners: Vec<Inbox>,
    ended: Option<NetError>,
}

/// What is under way on one channel.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<State>);

/// One request that waits for messages. Dropped before the answer, it is forgotten and its `gone` is called.
pub(super) struct Waiting {
    id: u64,
    link: Arc<Link>,
    outlet: Outlet,
    gone: Option<Box<dyn FnOnce() + Send>>,
}

impl core::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Waiting").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Waiting {
    /// The next message. Cancel-safe.
    pub(super) async fn next(&mut self) -> Parcel {
        self.outlet.next().await.unwrap_or(Err(NetError::BadResponse))
    }

    /// What to do when it is dropped before it was answered.
    pub(super) fn when_dropped(&mut self, gone: impl FnOnce() + Send + 'static) {
        self.gone = Some(Box::new(gone));
    }

    /// Whether its answer has been put in, so that no more messages will follow.
    fn is_answered(&self) -> bool {
        !self.link.state().pending.contains_key(&self.id)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let unanswered = self.link.state().pending.remove(&self.id).is_some();
        if let Some(gone) = self.gone.take()
            && unanswered
        {
            gone();
        }
    }
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Expects the answer to a request that is about to be sent.
    ///
    /// # Errors
    /// When the channel has ended.
    pub(super) fn expect(
        self: &Arc<Self>,
        id: u64,
        owner: Owner,
        listens: bool,
    ) -> Result<Waiting, NetError> {
        let (inbox, outlet) = Inbox::new();
        let mut state = self.state();
        if let Some(why) = state.ended {
            return Err(why);
        }
        state.pending.insert(id, Pending { inbox, owner, listens, questions: Vec::new() });
        Ok(Waiting { id, link: Arc::clone(self), outlet, gone: None })
    }

    /// Hears of what concerns no request.
    ///
    /// # Errors
    /// When the channel has ended.
    fn listen(&self) -> Result<Outlet, NetError> {
        let (inbox, outlet) = Inbox::new();
        let mut state = self.state();
        if let Some(why) = state.ended {
            return Err(why);
        }
        state.listeners.retain(|inbox| !inbox.sender.is_closed());
        state.listeners.push(inbox);
        Ok(outlet)
    }

    /// Ends it if nobody waits for anything; whether it was so.
    pub(super) fn end_if_quiet(&self, why: NetError) -> bool {
        let mut state = self.state();
        state.listeners.retain(|inbox| !inbox.sender.is_closed());
        let quiet = state.pending.is_empty() && state.listeners.is_empty();
        if quiet {
            state.ended.get_or_insert(why);
        }
        quiet
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended.is_some()
    }

    /// A client has answered a question.
    pub(super) fn answered(&self, question: &str) {
        for pending in self.state().pending.values_mut() {
            pending.questions.retain(|id| **id != *question);
        }
    }

    /// Whether a client thinks about a question, and it is not this one. As long as that lasts, a call of another would
    /// make it uncertain whom the next question asks.
    pub(super) fn asks_another(&self, owner: Owner) -> bool {
        let same = |pending: &Pending| matches!(owner, Owner::Client(_)) && pending.owner == owner;
        self.state().pending.values().any(|pending| !pending.questions.is_empty() && !same(pending))
    }

    /// Nothing new is begun any more. What is under way may still be answered.
    pub(super) fn close(&self, why: NetError) {
        self.state().ended.get_or_insert(why);
    }

    /// The channel is no more: everybody is told why.
    pub(super) fn end(&self, why: NetError) {
        let mut state = self.state();
        state.ended.get_or_insert(why);
        for pending in std::mem::take(&mut state.pending).into_values() {
            pending.inbox.put(Err(why));
        }
        for inbox in std::mem::take(&mut state.listeners) {
            inbox.put(Err(why));
        }
    }

    /// One request will not be answered; the only one under way, if it is not known which. Whether there was one.
    pub(super) fn fail(&self, id: Option<u64>, why: NetError) -> bool {
        let mut state = self.state();
        let one = (state.pending.len() == 1).then(|| state.pending.keys().next().copied()).flatten();
        let failed = id.filter(|id| state.pending.contains_key(id)).or(one);
        let Some(pending) = failed.and_then(|id| state.pending.remove(&id)) else { return false };
        pending.inbox.put(Err(why));
        true
    }

    /// Takes one message of the server to where it belongs.
    pub(super) fn hear(&self, line: Bytes) -> Heard {
        let Ok(text) = std::str::from_utf8(&line) else { return Heard::Garbage };
        let Some(message) = incoming(text) else { return Heard::Garbage };
        let mut state = self.state();
        let Some(method) = &message.method else {
            let id = message.id.and_then(|id| id.parse().ok()).filter(|id| state.pending.contains_key(id));
            // An error that could not be matched to a request (JSON-RPC 2.0 §5) is about the only one there is.
            let unmatched = message.error.is_some() && message.id.is_none_or(|id| id == "null");
            let only =
                || state.pending.keys().next().copied().filter(|_| unmatched && state.pending.len() == 1);
            let id = id.or_else(only);
            if let Some(pending) = id.and_then(|id| state.pending.remove(&id)) {
                pending.inbox.put(Ok(line.clone()));
            }
            return Heard::Done;
        };
        if let Some(id) = message.id {
            if !is_id(id) {
                return Heard::Garbage;
            }
            if method == "ping" {
                return Heard::Reply(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
            }
            let refused = match state.certain() {
                Ok(asked) => match state.pending.get_mut(&asked) {
                    Some(pending) if pending.inbox.offer(line.clone()) => {
                        pending.questions.push(id.into());
                        return Heard::Done;
                    }
                    _ => NOBODY,
                },
                Err(refused) => refused,
            };
            return Heard::Reply(format!(r#"{{"jsonrpc":"2.0","id":{id},{refused}}}"#));
        }
        match method.as_ref() {
            "notifications/progress" => {
                let token = message.progress_token.and_then(|at| text[at].parse::<u64>().ok());
                if let Some(pending) = token.and_then(|id| state.pending.get(&id)) {
                    pending.inbox.offer(line.clone());
                }
            }
            "notifications/message" => {
                if let Some(pending) = state.certain().ok().and_then(|id| state.pending.get(&id)) {
                    pending.inbox.offer(line.clone());
                }
            }
            _ => state.tell(message.params.unwrap_or("{}"), &line),
        }
        Heard::Done
    }
}

impl State {
    /// The call that a message without any reference is about, if it can only be one client's.
    fn certain(&self) -> Result<u64, &'static str> {
        let calls = || self.pending.iter().filter(|(_, p)| !p.listens && p.owner != Owner::Handshake);
        let Some((id, newest)) = calls().max_by_key(|(id, _)| **id) else { return Err(NOBODY) };
        let same = matches!(newest.owner, Owner::Client(_)) && calls().all(|(_, p)| p.owner == newest.owner);
        if same || calls().count() == 1 { Ok(*id) } else { Err(AMBIGUOUS) }
    }

    /// News: to the subscription that it names, or to everybody who listens.
    fn tell(&self, params: &str, line: &Bytes) {
        let named = json::get(params, "_meta")
            .and_then(|meta| json::get(meta, meta::SUBSCRIPTION_ID))
            .and_then(|id| id.trim_matches('"').parse::<u64>().ok());
        if let Some(id) = named {
            if let Some(pending) = self.pending.get(&id).filter(|pending| pending.listens) {
                pending.inbox.offer(line.clone());
            }
            return;
        }
        let subscribed =
            self.pending.values().filter(|pending| pending.listens).map(|pending| &pending.inbox);
        for inbox in subscribed.chain(&self.listeners) {
            inbox.offer(line.clone());
        }
    }
}

#[cfg(test)]
mod tests;
