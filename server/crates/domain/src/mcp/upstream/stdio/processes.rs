//! The processes of one connector, as a server of streamable HTTP.
//!
//! In the legacy era a process serves one handshake, so there is one for each set of things that clients can be asked;
//! or, where the operator wants it so, one for each session. The session's id is the number of the process: when that is
//! gone the session is, and whoever comes next makes another. In the modern era one process serves everybody.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use super::{
    Common, FAREWELL, Listed, ProcessReport,
    log::Log,
    process::{Place, Process},
};
use crate::{
    mcp::{
        envelope::{Incoming, incoming},
        exchange::Exchange,
        json,
        upstream::{
            Session,
            link::{Owner, answer, empty, events, json_answer},
            stream::LEVELS,
        },
    },
    net::{BodyStream, NetError, ProcessFault},
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// A process that lived for so long has not failed at its start.
const LONG: Duration = Duration::from_mins(1);
/// The longest rest between two attempts.
const LONGEST_REST: u64 = 60;
/// How long it then waits, so that the end is known.
const BREATH: Duration = Duration::from_millis(50);
/// How often a request looks for a process, when the one it found ends at that moment.
const TRIES: usize = 3;

type Answered = Result<Response<BodyStream>, NetError>;

/// What a process is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// It was only asked what it speaks.
    Fresh,
    /// Requests of the modern era.
    Modern,
    /// Sessions of clients with these capabilities, or one of them.
    Legacy(Box<str>),
}

struct Slot {
    process: Arc<Process>,
    role: Role,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    /// How often a process has ended by itself soon after its start, one after the other.
    failures: u32,
    rests_until: Option<Instant>,
}

pub(super) struct Processes {
    me: Weak<Self>,
    listed: Arc<Listed>,
    common: Arc<Common>,
    max_bytes: usize,
    log: Arc<Log>,
    serial: AtomicU64,
    state: Mutex<State>,
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.state().slots.iter().for_each(|slot| slot.process.stop());
    }
}

impl Processes {
    pub(super) fn new(listed: Arc<Listed>, common: Arc<Common>, max_bytes: usize) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            listed,
            common,
            max_bytes,
            log: Arc::default(),
            serial: AtomicU64::new(1),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> ProcessReport {
        let state = self.state();
        ProcessReport {
            running: state.slots.iter().map(|slot| slot.process.since).collect(),
            rests: state.rest(),
            log: self.log.read(&self.listed.server.env),
        }
    }

    /// Whether none runs and none has failed.
    pub(super) fn sleeps(&self) -> bool {
        let state = self.state();
        state.slots.is_empty() && state.failures == 0
    }

    /// A process has ended, by itself after so long or because it was stopped.
    pub(super) fn ended(&self, serial: u64, by_itself: bool, lived: Duration) {
        let mut state = self.state();
        state.slots.retain(|slot| slot.process.serial != serial);
        if by_itself {
            state.failures = if lived >= LONG { 1 } else { state.failures.saturating_add(1) };
            state.rest_now();
        } else {
            state.failures = 0;
        }
    }

    /// A process for a role, started if there is none.
    async fn obtain(&self, role: &Role) -> Result<Arc<Process>, NetError> {
        let full = self.listed.places.available_permits() == 0;
        if let Some(process) = self.state().find(role, self.listed.server.per_session, full) {
            return Ok(process);
        }
        let permit = self.place().await?;
        let mut state = self.state();
        // Somebody else may have been faster.
        if let Some(process) = state.find(role, self.listed.server.per_session, full) {
            return Ok(process);
        }
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            owner: Weak::clone(&self.me),
            common: Arc::clone(&self.common),
            log: Arc::clone(&self.log),
            permit,
            max_bytes: self.max_bytes,
        };
        match Process::start(&self.listed.server, serial, place) {
            Ok(process) => {
                state.slots.push(Slot { process: Arc::clone(&process), role: role.clone() });
                Ok(process)
            }
            Err(fault) => {
                state.failures = state.failures.saturating_add(1);
                state.rest_now();
                Err(fault.into())
            }
        }
    }

    /// A place among the processes that may run. If all are taken, one of ours that nobody uses makes room.
    async fn place(&self) -> Result<OwnedSemaphorePermit, NetError> {
        if *self.common.stopping.borrow() {
            return Err(ProcessFault::Stopped.into());
        }
        let (ending, unused) = {
            let state = self.state();
            if let Some(seconds) = state.rest() {
                return Err(ProcessFault::Resting(seconds).into());
            }
            let places: &Arc<Semaphore> = &self.listed.places;
            if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
                return Ok(permit);
            }
            let mut unused: Vec<_> = state.slots.iter().map(|slot| Arc::clone(&slot.process)).collect();
            unused.sort_by_key(|process| core::cmp::Reverse(process.unused()));
            (unused.iter().any(|process| process.link.has_ended()), unused)
        };
        let full = || ProcessFault::TooMany(self.listed.server.processes).into();
        if !ending {
            let room = unused.iter().find(|process| process.link.end_if_quiet(ProcessFault::Stopped.into()));
            room.ok_or_else(full)?.stop();
        }
        match timeout(FAREWELL * 3, Arc::clone(&self.listed.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(full()),
        }
    }

    /// Whether another process could be started now.
    fn has_room(&self) -> bool {
        self.listed.places.available_permits() > 0 && self.state().rest().is_none()
    }

    async fn post(&self, request: Request<Bytes>) -> Answered {
        let owner = Owner::of(request.extensions().get::<Session>());
        let session = request.headers().get(&SESSION_ID).map(|id| id.to_str().ok()?.parse::<u64>().ok());
        let body = request.into_body();
        let text = std::str::from_utf8(&body).map_err(|_| NetError::BadResponse)?;
        let message = incoming(text).ok_or(NetError::BadResponse)?;
        let process = match session {
            None => None,
            Some(serial) => match serial.and_then(|serial| self.state().of(serial)) {
                Some(process) => Some(process),
                // Its process has ended.
                None => return Ok(empty(StatusCode::NOT_FOUND)),
            },
        };
        let (Some(method), Some(id)) = (&message.method, message.id) else {
            return self.told(process, &message, &body).await;
        };
        let id = id.parse::<u64>().map_err(|_| NetError::BadResponse)?;
        match (method.as_ref(), process) {
            ("initialize", _) => self.initialize(id, &message, &body).await,
            ("logging/setLevel", Some(process)) if !process.raises(&message) => Ok(json_answer(nothing(id))),
            // Another process, then, so that it stays certain whom this one asks; unless there is no room for one.
            (_, Some(process)) if process.link.asks_another(owner) && self.has_room() => {
                Ok(empty(StatusCode::NOT_FOUND))
            }
            (_, Some(process)) => match ask(&process, id, owner, method, &body, false).await {
                // It was about to end, and was not asked: the session goes with it.
                Err(NetError::Process(ProcessFault::Stopped)) => Ok(empty(StatusCode::NOT_FOUND)),
                other => other,
            },
            ("server/discover", None) => self.discover(id, &body).await,
            (_, None) => {
                let mut tries = 0;
                loop {
                    let process = self.obtain(&Role::Modern).await?;
                    tries += 1;
                    match ask(&process, id, owner, method, &body, true).await {
                        // It was about to end, and was not asked.
                        Err(NetError::Process(ProcessFault::Stopped)) if tries < TRIES => sleep(BREATH).await,
                        other => return other,
                    }
                }
            }
        }
    }

    /// A notification, or the answer to a question of the server.
    async fn told(&self, process: Option<Arc<Process>>, message: &Incoming<'_>, body: &Bytes) -> Answered {
        let process = process.or_else(|| self.state().find(&Role::Modern, false, true));
        let Some(process) = process else { return Ok(empty(StatusCode::ACCEPTED)) };
        if let (None, Some(question)) = (&message.method, message.id) {
            process.link.answered(question);
        }
        let again = message.method.as_deref() == Some("notifications/initialized")
            && process.initialized.swap(true, Ordering::Relaxed);
        if !again {
            process.send(body.clone()).await?;
        }
        Ok(empty(StatusCode::ACCEPTED))
    }

    async fn discover(&self, id: u64, body: &Bytes) -> Answered {
        let process = self.obtain(&Role::Fresh).await?;
        let waiting = process.link.expect(id, Owner::Handshake, false)?;
        process.send(body.clone()).await?;
        answer(waiting).await
    }

    /// Begins a session: with a handshake, or with the result of the one that was made for others like it.
    async fn initialize(&self, id: u64, message: &Incoming<'_>, body: &Bytes) -> Answered {
        let capabilities =
            message.params.and_then(|params| json::get(params, "capabilities")).unwrap_or("{}");
        let process = self.obtain(&Role::Legacy(capabilities.into())).await?;
        let mut handshake = process.handshake.lock().await;
        let answered = if let Some(result) = &*handshake {
            json_answer(with_id(id, result))
        } else {
            let mut waiting = process.link.expect(id, Owner::Handshake, false)?;
            process.send(body.clone()).await?;
            let reply = waiting.next().await?;
            let result = std::str::from_utf8(&reply).ok().and_then(incoming).and_then(|reply| reply.result);
            *handshake = result.map(|result| reply.slice_ref(result.as_bytes()));
            json_answer(reply)
        };
        drop(handshake);
        let mut response = answered;
        response.headers_mut().insert(SESSION_ID, HeaderValue::from(process.serial));
        Ok(response)
    }

    /// A client's session is over.
    fn delete(&self, request: &Request<Bytes>) -> Response<BodyStream> {
        let serial = request.headers().get(&SESSION_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        if self.listed.server.per_session
            && let Some(process) = serial.and_then(|serial| self.state().of(serial))
            && process.link.end_if_quiet(ProcessFault::Stopped.into())
        {
            process.stop();
        }
        empty(StatusCode::NO_CONTENT)
    }

    /// The stream of a session's news.
    fn get(&self, request: &Request<Bytes>) -> Answered {
        let serial = request.headers().get(&SESSION_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        match serial.and_then(|serial| self.state().of(serial)) {
            Some(process) => {
                process.touch();
                events(&process.link)
            }
            None => Ok(empty(StatusCode::NOT_FOUND)),
        }
    }
}

impl State {
    fn of(&self, serial: u64) -> Option<Arc<Process>> {
        let slot = self.slots.iter().find(|slot| slot.process.serial == serial)?;
        (!slot.process.link.has_ended()).then(|| Arc::clone(&slot.process))
    }

    /// A process that can have this role; it has it from now on. One that waits for the answer to a question is left alone
    /// unless there is no room for another (`full`).
    fn find(&mut self, role: &Role, per_session: bool, full: bool) -> Option<Arc<Process>> {
        let own = per_session && matches!(role, Role::Legacy(_));
        let living = || self.slots.iter().enumerate().filter(|(_, slot)| !slot.process.link.has_ended());
        let free = |slot: &Slot| !slot.process.link.asks_another(Owner::Anybody);
        let same = living().find(|(_, slot)| {
            (slot.role == *role && !own && (full || free(slot)))
                || (*role == Role::Fresh && slot.role == Role::Modern)
        });
        let (at, _) = same.or_else(|| living().find(|(_, slot)| slot.role == Role::Fresh))?;
        let slot = &mut self.slots[at];
        if slot.role == Role::Fresh {
            slot.role = role.clone();
        }
        Some(Arc::clone(&slot.process))
    }

    /// Seconds until a process may be started again.
    fn rest(&self) -> Option<u32> {
        let left = self.rests_until?.checked_duration_since(Instant::now())?;
        u32::try_from(left.as_millis().div_ceil(1000)).ok().filter(|seconds| *seconds > 0)
    }

    /// The first failure is followed by another attempt at once, each further one by a longer rest.
    fn rest_now(&mut self) {
        let seconds = match self.failures {
            0 | 1 => return,
            failures => 1u64.checked_shl(failures - 2).unwrap_or(LONGEST_REST).min(LONGEST_REST),
        };
        self.rests_until = Some(Instant::now() + Duration::from_secs(seconds));
    }
}

impl Process {
    /// Whether more is to be logged than before. Clients share the process, so it is only ever made to say more.
    fn raises(&self, message: &Incoming<'_>) -> bool {
        let level = message.params.and_then(|params| json::get(params, "level")).unwrap_or_default();
        let level = LEVELS.iter().position(|known| level.trim_matches('"') == *known);
        let Some(level) = level.and_then(|level| u8::try_from(level).ok()) else { return true };
        self.level.fetch_min(level, Ordering::Relaxed) > level
    }
}

/// Asks a process something.
async fn ask(
    process: &Arc<Process>,
    id: u64,
    owner: Owner,
    method: &str,
    body: &Bytes,
    modern: bool,
) -> Answered {
    let mut waiting = process.link.expect(id, owner, method == "subscriptions/listen")?;
    if modern {
        // In the legacy era this is sent by whoever asked.
        let process = Arc::clone(process);
        waiting.when_dropped(move || process.send_soon(cancelled(id)));
    }
    // Checks list tools all the time: that is no use.
    if method != "tools/list" {
        process.touch();
    }
    process.send(body.clone()).await?;
    answer(waiting).await
}

fn nothing(id: u64) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#).into()
}

fn with_id(id: u64, result: &[u8]) -> Bytes {
    let result = String::from_utf8_lossy(result);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()
}

fn cancelled(id: u64) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"the client went away"}}}}"#
    )
    .into()
}

impl Exchange for Processes {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Answered> {
        Box::pin(async move {
            match *request.method() {
                Method::POST => self.post(request).await,
                Method::GET => self.get(&request),
                _ => Ok(self.delete(&request)),
            }
        })
    }
}

/// The way to a server that is not listed.
pub(in super::super) struct NotListed;

impl Exchange for NotListed {
    fn send(&self, _: Request<Bytes>) -> BoxFuture<'_, Answered> {
        Box::pin(async { Err(ProcessFault::NotListed.into()) })
    }
}
