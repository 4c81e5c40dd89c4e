//! Sessions of legacy clients (RSV-12). A session is never authentication: each request brings its credential, and a
//! session is only found by the one that it was made for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Clock, Rng};
use model::{ApiKeyId, OrgId};
use tokio_util::sync::CancellationToken;

/// Unused sessions end after half an hour.
const IDLE_MS: i64 = 30 * 60 * 1000;
/// A principal with more loses the one that it used longest ago.
const PER_PRINCIPAL: usize = 100;
/// A node with more ends what was used longest ago.
const PER_NODE: usize = 10_000;

/// For whom a session is: the organisation, the credential, and the connector in the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) org: OrgId,
    pub(crate) key: ApiKeyId,
    pub(crate) connector: Option<String>,
}

#[derive(Debug)]
struct Session {
    holder: Holder,
    used_at: i64,
    /// Calls that run, by request id as written, so that `notifications/cancelled` finds them.
    running: HashMap<String, CancellationToken>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<String, Session>,
    per_principal: HashMap<(OrgId, ApiKeyId), usize>,
    swept_at: i64,
}

impl Table {
    fn remove(&mut self, id: &str) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        let principal = (session.holder.org, session.holder.key);
        if let Some(count) = self.per_principal.get_mut(&principal) {
            *count -= 1;
            if *count == 0 {
                self.per_principal.remove(&principal);
            }
        }
        Some(session)
    }

    fn sweep(&mut self, now: i64) {
        let ended: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, s)| now - s.used_at > IDLE_MS)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            self.remove(&id);
        }
        self.swept_at = now;
    }

    fn evict_oldest(&mut self, principal: Option<(OrgId, ApiKeyId)>) {
        let oldest = self
            .sessions
            .iter()
            .filter(|(_, s)| principal.is_none_or(|p| p == (s.holder.org, s.holder.key)))
            .min_by_key(|(_, s)| s.used_at)
            .map(|(id, _)| id.clone());
        if let Some(id) = oldest {
            self.remove(&id);
        }
    }
}

pub(crate) struct Sessions {
    table: Mutex<Table>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl Sessions {
    pub(crate) fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { table: Mutex::default(), clock, rng }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session: 256 random bits in URL-safe base64.
    pub(crate) fn open(&self, holder: Holder) -> String {
        let mut bytes = [0; 32];
        self.rng.fill(&mut bytes);
        let id = URL_SAFE_NO_PAD.encode(bytes);
        let now = self.clock.now();
        let principal = (holder.org, holder.key);
        let mut table = self.table();
        // A sweep looks at every session, so it is done rarely; expiry itself is checked at each use.
        if now - table.swept_at > 60_000 {
            table.sweep(now);
        }
        if table.per_principal.get(&principal).is_some_and(|count| *count >= PER_PRINCIPAL) {
            table.evict_oldest(Some(principal));
        }
        if table.sessions.len() >= PER_NODE {
            table.evict_oldest(None);
        }
        *table.per_principal.entry(principal).or_default() += 1;
        table.sessions.insert(id.clone(), Session { holder, used_at: now, running: HashMap::new() });
        id
    }

    /// Whether the session exists, lives, and is this holder's. Using it keeps it alive.
    pub(crate) fn touch(&self, id: &str, holder: &Holder) -> bool {
        let now = self.clock.now();
        let mut table = self.table();
        let Some(session) = table.sessions.get_mut(id).filter(|session| session.holder == *holder) else {
            return false;
        };
        if now - session.used_at > IDLE_MS {
            table.remove(id);
            return false;
        }
        session.used_at = now;
        true
    }

    /// Ends a session of this holder.
    pub(crate) fn close(&self, id: &str, holder: &Holder) -> bool {
        if !self.touch(id, holder) {
            return false;
        }
        // Calls that run go on: their answers have their own requests.
        self.table().remove(id).is_some()
    }

    /// Notes that a call runs, until the guard is dropped.
    pub(crate) fn run(&self, session: &str, request: &str) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(session) = self.table().sessions.get_mut(session) {
            session.running.insert(request.to_owned(), token.clone());
        }
        token
    }

    /// Forgets a call that has ended.
    pub(crate) fn ended(&self, session: &str, request: &str) {
        if let Some(session) = self.table().sessions.get_mut(session) {
            session.running.remove(request);
        }
    }

    /// Cancels a call of the session.
    pub(crate) fn cancel(&self, session: &str, request: &str) {
        let token = self.table().sessions.get_mut(session).and_then(|s| s.running.remove(request));
        if let Some(token) = token {
            token.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU64, Ordering};

    use domain::env::ManualClock;
    use uuid::Uuid;

    use super::*;

    struct Counter(AtomicU64);

    impl Rng for Counter {
        fn fill(&self, bytes: &mut [u8]) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            bytes.iter_mut().zip(next.iter().cycle()).for_each(|(byte, n)| *byte = *n);
        }
    }

    fn holder(org: u128, key: u128) -> Holder {
        Holder {
            org: OrgId::from_uuid(Uuid::from_u128(org)),
            key: ApiKeyId::from_uuid(Uuid::from_u128(key)),
            connector: None,
        }
    }

    #[test]
    fn rsv_12_a_session_is_its_holders_alone_and_ends() {
        let clock = ManualClock::at(1_000_000);
        let sessions = Sessions::new(clock.clone(), Arc::new(Counter(AtomicU64::new(1))));
        let id = sessions.open(holder(1, 1));
        assert!(id.len() >= 22 && id.bytes().all(|b| b.is_ascii_graphic()));
        assert!(sessions.touch(&id, &holder(1, 1)));
        assert!(!sessions.touch(&id, &holder(1, 2)));
        assert!(!sessions.touch(&id, &holder(2, 1)));
        assert!(!sessions.touch(&id, &Holder { connector: Some("x".into()), ..holder(1, 1) }));
        assert!(!sessions.touch("unknown", &holder(1, 1)));
        clock.advance(IDLE_MS);
        assert!(sessions.touch(&id, &holder(1, 1)));
        clock.advance(IDLE_MS + 1);
        assert!(!sessions.touch(&id, &holder(1, 1)));
        let id = sessions.open(holder(1, 1));
        assert!(!sessions.close(&id, &holder(1, 2)));
        assert!(sessions.close(&id, &holder(1, 1)));
        assert!(!sessions.touch(&id, &holder(1, 1)));
    }

    #[test]
    fn rsv_12_sessions_are_bounded() {
        let clock = ManualClock::at(1_000_000);
        let sessions = Sessions::new(clock.clone(), Arc::new(Counter(AtomicU64::new(1))));
        let first = sessions.open(holder(1, 1));
        let other = sessions.open(holder(1, 2));
        for _ in 0..PER_PRINCIPAL {
            clock.advance(1);
            sessions.open(holder(1, 1));
        }
        assert!(!sessions.touch(&first, &holder(1, 1)));
        assert!(sessions.touch(&other, &holder(1, 2)));
        for key in 10..10 + PER_NODE as u128 {
            clock.advance(1);
            sessions.open(holder(1, key));
        }
        assert!(sessions.table().sessions.len() <= PER_NODE);
    }
}
