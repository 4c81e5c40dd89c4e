//! What legacy servers say and ask in a client's session outside of its calls: on the streams of the sessions that the client
//! has with them, put on the stream of its session with us. Only clients that can be asked something have such streams
//! opened for them, and only while they listen.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::mcp::{
    envelope::incoming,
    json,
    upstream::{Aside, LEVELS, Session, Upstream},
};
use model::ConnectorId;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::{
    handler::Caller,
    questions::{Asked, Told, request},
    sessions::Live,
};

/// A server whose stream has ended, or that has none, is not asked for another before this.
const AGAIN: Duration = Duration::from_secs(30);

/// The streams of one session. They end when this is dropped.
pub(crate) struct Attending {
    live: Arc<Live>,
    /// By connector and the version of its address: since when, or when it was last tried.
    known: HashMap<(ConnectorId, i64), Instant>,
    running: JoinSet<(ConnectorId, i64)>,
}

impl Attending {
    pub(crate) fn new(live: &Arc<Live>) -> Self {
        Self { live: Arc::clone(live), known: HashMap::new(), running: JoinSet::new() }
    }

    /// Opens the streams of servers that have a session of the client's by now.
    pub(crate) fn look(&mut self, caller: &Caller, only: Option<ConnectorId>) {
        if self.live.asks.is_empty() {
            return;
        }
        while let Some(ended) = self.running.try_join_next() {
            if let Ok(key) = ended {
                self.known.insert(key, Instant::now() + AGAIN);
            }
        }
        let session = session(&self.live);
        let now = Instant::now();
        for connector in &caller.ready.connectors {
            let key = (connector.plane.id, connector.plane.version);
            let reached = only.is_none_or(|only| only == key.0) && caller.access.scope.includes(key.0);
            // What runs is never due.
            let due = self.known.get(&key).is_none_or(|at| *at <= now);
            if !reached || !due {
                continue;
            }
            let upstream = connector.upstream.of(&connector.plane, caller.ready.plane.person(&caller.access));
            if !upstream.has_session(session) {
                continue;
            }
            self.known.insert(key, now + Duration::from_hours(24));
            let live = Arc::clone(&self.live);
            self.running.spawn(async move {
                attend(&live, &upstream, session).await;
                key
            });
        }
    }
}

/// Whose sessions with servers are used for a session's calls.
pub(crate) fn session(live: &Live) -> Session {
    Session { client: Some(live.id), asks: live.asks, legacy: true }
}

async fn attend(live: &Arc<Live>, upstream: &Upstream, session: Session) {
    let Ok(Some(mut stream)) = upstream.attend(session).await else { return };
    let mut asked = Asked::new(Arc::clone(live));
    let (tell, mut told) = mpsc::unbounded_channel::<(String, Told)>();
    loop {
        tokio::select! {
            Some((key, told)) = told.recv() => {
                stream.answer(&key, &told.outcome());
            }
            said = stream.next() => match said {
                Ok(Some(Aside::Request(question))) => match asked.ask(&question.id, &tell) {
                    Some(id) => live.outbox.push(request(&id, question.method, &question.params)),
                    None => stream.refuse(&question.id),
                },
                Ok(Some(Aside::Notification(message))) => {
                    if is_for_the_client(live, &message) {
                        live.outbox.push(message);
                    }
                }
                Ok(None) | Err(_) => return,
            },
        }
    }
}

/// Whether a notification is one that a session's stream carries. Changes of lists and resources are heard of elsewhere,
/// once for everybody.
fn is_for_the_client(live: &Live, message: &Bytes) -> bool {
    let Some(found) = std::str::from_utf8(message).ok().and_then(incoming) else { return false };
    match found.method.as_deref() {
        Some("notifications/elicitation/complete") => live.asks.has_url(),
        Some("notifications/message") => {
            let level = found.params.and_then(|params| json::get(params, "level")).and_then(json::string);
            let level = level.and_then(|level| LEVELS.iter().position(|known| *known == level));
            level.is_some_and(|level| live.level().is_none_or(|least| level >= least))
        }
        _ => false,
    }
}
