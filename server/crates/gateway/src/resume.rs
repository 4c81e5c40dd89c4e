//! Streams that answer the calls of a session, which their clients can come back to after a break (2025-11-25,
//! basic/transports, "Resumability and Redelivery"): by a GET with the id of the last event that they saw.
//!
//! A stream is driven by whoever reads it. When its reader is lost the call goes on for a while, and what it brings is kept
//! within bounds, for whoever comes back within that time: the session's own client, because the session is found only by
//! its holder (RSV-12). A client that comes back too late, or to a node that has restarted, is told so in place of the
//! answer, so that it does not wait for ever.

use core::fmt;
use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use domain::mcp::{code, envelope::is_id, json, sse};
use futures_util::stream;
use http::StatusCode;
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Inner,
    handler::Caller,
    limits::StreamSlot,
    reply::{self, RpcError},
    sessions::Live,
    stream::{Piece, Streaming},
};

/// How long a call goes on that nobody reads, and how long an answer is kept.
const GRACE: Duration = Duration::from_mins(1);
/// Events of one stream that are kept, and bytes of them. The newest is always kept: it may be the answer.
const MOST_EVENTS: usize = 128;
const MOST_BYTES: usize = 256 << 10;
/// Answers of one session that are kept after their end.
const MOST_ENDED: usize = 16;
/// Bytes that are kept on one node. Over it nothing is kept for those who do not read.
const MOST_OF_NODE: usize = 64 << 20;
/// The longest request id that is repeated in the ids of events, as written.
const LONGEST_ID: usize = 128;
/// The first event of a stream has only an id, which clients of before this revision do not expect.
const PRIMES: &str = "2025-11-25";

/// Bytes that are kept on this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<AtomicUsize>);

impl Room {
    fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MOST_OF_NODE
    }
}

/// The calls of one session whose streams can be resumed.
#[derive(Default)]
pub(crate) struct Calls(Mutex<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    streams: VecDeque<Arc<Kept>>,
    /// Whether somebody will clear away what is old.
    swept: bool,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One stream.
struct Kept {
    number: u64,
    /// What its events' ids begin and end with.
    life: u32,
    request: String,
    events: Mutex<Events>,
    news: Notify,
    /// The call; absent when it has ended.
    work: tokio::sync::Mutex<Option<Streaming>>,
    room: Room,
}

#[derive(Default)]
struct Events {
    /// With their numbers, which grow by one.
    kept: VecDeque<(u64, Bytes)>,
    bytes: usize,
    next: u64,
    /// Which reader is the present one.
    reader: u64,
    ended_at: Option<Instant>,
}

/// What the id of an event says.
struct Place<'i> {
    life: u32,
    number: u64,
    event: u64,
    request: &'i str,
}

/// Whether an id is one of a call's stream rather than of the session's own.
pub(crate) fn is_of_call(id: &str) -> bool {
    place(id).is_some()
}

fn place(id: &str) -> Option<Place<'_>> {
    let (life, rest) = id.split_once('.')?;
    let (number, rest) = rest.split_once('-')?;
    let (event, request) = rest.split_once('.')?;
    Some(Place {
        life: u32::from_str_radix(life, 16).ok()?,
        number: number.parse().ok()?,
        event: event.parse().ok()?,
        request,
    })
}

impl Kept {
    fn events(&self) -> MutexGuard<'_, Events> {
        lock(&self.events)
    }

    fn id(&self, event: u64) -> String {
        format!("{:08x}.{}-{event}.{}", self.life, self.number, self.request)
    }

    fn push(&self, message: &[u8], last: bool) {
        {
            let mut events = self.events();
            events.next += 1;
            let number = events.next;
            let mut event = format!("id: {}\n", self.id(number)).into_bytes();
            sse::encode(&mut event, message);
            events.bytes += event.len();
            self.room.0.fetch_add(event.len(), Ordering::Relaxed);
            events.kept.push_back((number, event.into()));
            while events.kept.len() > 1
                && (events.kept.len() > MOST_EVENTS || events.bytes > MOST_BYTES || self.room.is_full())
            {
                if let Some((_, lost)) = events.kept.pop_front() {
                    events.bytes -= lost.len();
                    self.room.0.fetch_sub(lost.len(), Ordering::Relaxed);
                }
            }
            if last {
                events.ended_at = Some(Instant::now());
            }
        }
        self.news.notify_waiters();
    }

    /// Ends without another event.
    fn end(&self) {
        self.events().ended_at.get_or_insert_with(Instant::now);
        self.news.notify_waiters();
    }

    /// Does the next piece of work: a comment, or nothing when there is another event or an end to be found.
    async fn step(&self) -> Option<&'static [u8]> {
        let mut work = self.work.lock().await;
        let Some(streaming) = work.as_mut() else {
            self.end();
            return None;
        };
        match streaming.step().await {
            Some((Piece::Message(message), last)) => {
                if last {
                    *work = None;
                }
                self.push(&message, last);
                None
            }
            Some((Piece::Comment(text), last)) => {
                if last {
                    *work = None;
                    self.end();
                }
                Some(text)
            }
            None => {
                *work = None;
                self.end();
                None
            }
        }
    }

    /// What comes behind an event for this reader; nothing when it is over, or another reader has come. Cancel-safe.
    async fn next(&self, at: &mut u64, reader: u64) -> Option<Bytes> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on nothing is missed.
            news.as_mut().enable();
            {
                let events = self.events();
                if events.reader != reader {
                    return None;
                }
                if let Some((number, event)) = events.kept.iter().find(|(number, _)| *number > *at) {
                    *at = *number;
                    return Some(event.clone());
                }
                if events.ended_at.is_some() {
                    return None;
                }
            }
            tokio::select! {
                biased;
                () = &mut news => {}
                comment = self.step() => {
                    if let Some(comment) = comment {
                        return Some(Bytes::from_static(comment));
                    }
                }
            }
        }
    }

    /// Makes whoever asks the reader.
    fn read(&self) -> u64 {
        let reader = {
            let mut events = self.events();
            events.reader += 1;
            events.reader
        };
        self.news.notify_waiters();
        reader
    }

    /// Goes on with a call that nobody reads.
    async fn linger(self: Arc<Self>, live: Arc<Live>, inner: Arc<Inner>, reader: u64) {
        let patience = Instant::now() + GRACE;
        let mut at = u64::MAX;
        loop {
            let next = tokio::select! {
                next = timeout_at(patience, self.next(&mut at, reader)) => next,
                () = live.ended.cancelled() => break,
                // Nobody will find it on this node any more.
                () = inner.streams.leaving.cancelled() => break,
            };
            match next {
                Ok(Some(_)) if !self.room.is_full() => {}
                Ok(None) if !self.room.is_full() => return,
                _ => break,
            }
        }
        if self.events().reader == reader {
            live.calls.remove(self.number);
            // Dropping it cancels the call upstream.
            *self.work.lock().await = None;
            self.end();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let bytes = self.events.get_mut().unwrap_or_else(PoisonError::into_inner).bytes;
        self.room.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Calls {
    fn add(&self, live: &Live, room: &Room, request: Option<&str>, streaming: Streaming) -> Arc<Kept> {
        let request = request.filter(|id| id.len() <= LONGEST_ID).unwrap_or_default();
        let mut table = lock(&self.0);
        table.next += 1;
        let kept = Arc::new(Kept {
            number: table.next,
            life: live.outbox.life(),
            request: URL_SAFE_NO_PAD.encode(request),
            events: Mutex::default(),
            news: Notify::new(),
            work: tokio::sync::Mutex::new(Some(streaming)),
            room: room.clone(),
        });
        table.streams.push_back(Arc::clone(&kept));
        kept
    }

    fn find(&self, number: u64) -> Option<Arc<Kept>> {
        lock(&self.0).streams.iter().find(|kept| kept.number == number).cloned()
    }

    fn remove(&self, number: u64) {
        lock(&self.0).streams.retain(|kept| kept.number != number);
    }

    /// Clears away what has ended and is too old, or too much.
    fn clear(&self) {
        let mut table = lock(&self.0);
        let ended = |kept: &Kept| kept.events().ended_at;
        let mut surplus =
            table.streams.iter().filter(|kept| ended(kept).is_some()).count().saturating_sub(MOST_ENDED);
        table.streams.retain(|kept| {
            let Some(at) = ended(kept) else { return true };
            let goes = surplus > 0 || at.elapsed() >= GRACE || kept.room.is_full();
            surplus = surplus.saturating_sub(1);
            !goes
        });
    }

    /// The same, and whether anything is left to be cleared away later.
    fn sweep(&self) -> bool {
        self.clear();
        let mut table = lock(&self.0);
        table.swept = !table.streams.is_empty();
        table.swept
    }
}

/// Has a session's old answers cleared away in time, by one task for all of them.
fn sweep_later(live: &Arc<Live>, runtime: &Handle) {
    let (begun, many) = {
        let mut table = lock(&live.calls.0);
        (std::mem::replace(&mut table.swept, true), table.streams.len() > 2 * MOST_ENDED)
    };
    if begun {
        if many {
            live.calls.clear();
        }
        return;
    }
    let live = Arc::downgrade(live);
    runtime.spawn(async move {
        loop {
            sleep(GRACE).await;
            if !live.upgrade().is_some_and(|live| live.calls.sweep()) {
                break;
            }
        }
    });
}

/// Somebody who reads a stream.
struct Reading {
    kept: Arc<Kept>,
    live: Arc<Live>,
    inner: Arc<Inner>,
    at: u64,
    reader: u64,
    _permit: StreamSlot,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let absent = {
            let mut events = self.kept.events();
            if events.reader != self.reader {
                return;
            }
            events.reader += 1;
            events.ended_at.is_none().then_some(events.reader)
        };
        // Without a runtime, as in a process that is going down, nobody comes back either.
        let Ok(runtime) = Handle::try_current() else { return };
        sweep_later(&self.live, &runtime);
        if let Some(nobody) = absent {
            let (kept, live) = (Arc::clone(&self.kept), Arc::clone(&self.live));
            let lingering = kept.linger(live, Arc::clone(&self.inner), nobody);
            self.inner.streams.tasks.spawn_on(lingering, &runtime);
        }
    }
}

fn body(first: Option<Bytes>, reading: Reading) -> Body {
    let rest = stream::unfold(reading, |mut reading| async move {
        let next = reading.kept.next(&mut reading.at, reading.reader).await?;
        Some((next, reading))
    });
    let all = futures_util::StreamExt::chain(stream::iter(first), rest);
    Body::from_stream(futures_util::StreamExt::map(all, Ok::<_, Infallible>))
}

/// Answers a call of a session with a stream that its client can come back to.
pub(crate) fn open(
    live: &Arc<Live>,
    inner: &Arc<Inner>,
    request: Option<&str>,
    streaming: Streaming,
    permit: StreamSlot,
) -> Body {
    let kept = live.calls.add(live, &inner.room, request, streaming);
    let first =
        (live.version == PRIMES).then(|| format!("id: {}\nretry: 1000\ndata:\n\n", kept.id(0)).into());
    let reader = kept.read();
    let (live, inner) = (Arc::clone(live), Arc::clone(inner));
    body(first, Reading { kept, live, inner, at: 0, reader, _permit: permit })
}

/// Goes on with a stream behind the event with this id, which [`is_of_call`].
pub(crate) async fn resume(caller: Caller, live: &Arc<Live>, id: &str, permit: StreamSlot) -> Response {
    let place = place(id);
    let here = place.as_ref().filter(|place| place.life == live.outbox.life());
    let Some((kept, event)) = here.and_then(|place| Some((live.calls.find(place.number)?, place.event)))
    else {
        return lost(place.map(|place| place.request).unwrap_or_default());
    };
    let inner = Arc::clone(&caller.inner);
    let reader = kept.read();
    // The one before has let go of it by now, or does so at once.
    if let Some(streaming) = kept.work.lock().await.as_mut() {
        streaming.go_on_for(caller);
    }
    let at = event.min(kept.events().next);
    let reading = Reading { kept, live: Arc::clone(live), inner, at, reader, _permit: permit };
    reply::events(body(None, reading))
}

/// What stands in place of an answer that is not here.
fn lost(request: &str) -> Response {
    let request = URL_SAFE_NO_PAD.decode(request).ok().and_then(|id| String::from_utf8(id).ok());
    // It is what a client sends, so its grammar is checked.
    let valid = |id: &String| is_id(id) && json::scan(id, &json::Limits::REQUEST, |_| ()).is_ok();
    let Some(request) = request.filter(|id| id.len() <= LONGEST_ID && valid(id)) else {
        return reply::events(Body::from(": there is nothing to resume\n\n"));
    };
    let error = RpcError::new(
        StatusCode::OK,
        code::UNAVAILABLE,
        "The answer to this call is not here any more: the connection was away for too long, or Gatehouse has restarted. Whether the call was carried out is not known. Check before you repeat it.",
    )
    .word("answer_lost");
    reply::events(Body::from(error.message(Some(&request)).event()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_calls_are_told_from_those_of_sessions() {
        let found = place("0000002a.7-3.MQ").unwrap();
        assert_eq!((found.life, found.number, found.event, found.request), (42, 7, 3, "MQ"));
        for other in ["", "0000002a-3", "0000002a.7", "0000002a.7-3", "x.7-3.MQ", "2a.-3.MQ"] {
            assert!(!is_of_call(other), "{other}");
        }
    }

    #[tokio::test]
    async fn req_06_what_is_kept_of_a_stream_is_bounded() {
        let room = Room::default();
        let kept = Kept {
            number: 1,
            life: 1,
            request: String::new(),
            events: Mutex::default(),
            news: Notify::new(),
            work: tokio::sync::Mutex::new(None),
            room: room.clone(),
        };
        for _ in 0..1000 {
            kept.push(&[b'x'; 4096], false);
        }
        assert!(kept.events().kept.len() <= MOST_EVENTS && kept.events().bytes <= MOST_BYTES);
        // One answer is kept however large, and what is kept is counted.
        kept.push(&vec![b'x'; 2 << 20], true);
        assert_eq!(kept.events().kept.len(), 1);
        assert_eq!(room.0.load(Ordering::Relaxed), kept.events().bytes);
        drop(kept);
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}
