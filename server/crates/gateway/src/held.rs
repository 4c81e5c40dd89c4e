//! Calls of legacy servers that wait, in the middle, for the answer of a client of the modern era. Such a client has been
//! given a result that asks for input; the server still waits on its open stream, which is held here until the client
//! calls again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    dataplane::Principal,
    mcp::upstream::{CallStream, Question},
};
use model::OrgId;
use tokio::time::{Instant, sleep};

/// How long a call is held.
const PATIENCE: Duration = Duration::from_mins(10);
/// Calls held for one principal, and on one node. An older one is given up for a newer one.
const PER_PRINCIPAL: usize = 16;
const PER_NODE: usize = 2000;

/// The key of a question, by its place.
pub(crate) fn key(place: usize) -> String {
    format!("question-{}", place + 1)
}

/// A call that waits.
pub(crate) struct Held {
    pub(crate) stream: Box<CallStream>,
    /// What the server asked, by the keys under which the client knows it.
    pub(crate) questions: Vec<Question>,
    owner: (OrgId, Principal),
    until: Instant,
}

/// The calls of this node that wait. Dropping one cancels it upstream.
#[derive(Clone, Default)]
pub(crate) struct HeldCalls(Arc<Mutex<HashMap<u128, Held>>>);

impl HeldCalls {
    fn calls(&self) -> MutexGuard<'_, HashMap<u128, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(
        &self,
        id: u128,
        owner: (OrgId, Principal),
        stream: Box<CallStream>,
        questions: Vec<Question>,
    ) {
        let now = Instant::now();
        let mut given_up = None;
        {
            let mut calls = self.calls();
            let of_owner = calls.values().filter(|held| held.owner == owner).count();
            if of_owner >= PER_PRINCIPAL || calls.len() >= PER_NODE {
                let oldest = calls
                    .iter()
                    .filter(|(_, held)| of_owner < PER_PRINCIPAL || held.owner == owner)
                    .min_by_key(|(_, held)| held.until)
                    .map(|(id, _)| *id);
                given_up = oldest.and_then(|id| calls.remove(&id));
            }
            calls.insert(id, Held { stream, questions, owner, until: now + PATIENCE });
        }
        // Outside of the lock: this tells servers.
        drop(given_up);
        let calls = self.clone();
        tokio::spawn(async move {
            sleep(PATIENCE + Duration::from_secs(1)).await;
            calls.sweep();
        });
    }

    /// Takes a call out; nothing when it is not held here any more.
    pub(crate) fn take(&self, id: u128) -> Option<Held> {
        self.calls().remove(&id).filter(|held| held.until >= Instant::now())
    }

    /// Gives up what has waited too long.
    fn sweep(&self) {
        let now = Instant::now();
        let late: Vec<_> = {
            let mut calls = self.calls();
            let late: Vec<_> = calls.iter().filter(|(_, held)| held.until < now).map(|(id, _)| *id).collect();
            late.iter().filter_map(|id| calls.remove(id)).collect()
        };
        drop(late);
    }
}
