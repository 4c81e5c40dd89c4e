//! Sessions of legacy clients (RSV-12). A session is never authentication: each request brings its credential, and a
//! session is only found by the one that it was made for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Clock, Rng, dataplane::Principal};
use model::OrgId;
use tokio_util::sync::CancellationToken;

/// Unused sessions end after half an hour.
const IDLE_MS: i64 = 30 * 60 * 1000;
/// A principal with more loses the one that it used longest ago.
const PER_PRINCIPAL: usize = 100;
/// A node with more ends what was used longest ago in the organisation that has the most, so that none can push out what
/// another has within an equal share (TEN-07).
const PER_NODE: usize = 10_000;

/// For whom a session is: the organisation, who authenticated, and the connector in the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) org: OrgId,
    pub(crate) principal: Principal,
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
    /// How many sessions each organisation has, and each principal in it.
    counts: HashMap<OrgId, (usize, HashMap<Principal, usize>)>,
    swept_at: i64,
}

impl Table {
    fn insert(&mut self, id: String, session: Session) {
        let (of_org, of_principals) = self.counts.entry(session.holder.org).or_default();
        *of_org += 1;
        *of_principals.entry(session.holder.principal.clone()).or_default() += 1;
        self.sessions.insert(id, session);
    }

    fn remove(&mut self, id: &str) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        let Holder { org, principal, .. } = &session.holder;
        if let Some((of_org, of_principals)) = self.counts.get_mut(org) {
            *of_org -= 1;
            if let Some(count) = of_principals.get_mut(principal) {
                *count -= 1;
                if *count == 0 {
                    of_principals.remove(principal);
                }
            }
            if *of_org == 0 {
                self.counts.remove(org);
            }
        }
        Some(session)
    }

    /// How many sessions a holder's principal has.
    fn of_principal(&self, holder: &Holder) -> usize {
        let of_org = self.counts.get(&holder.org);
        of_org
            .and_then(|(_, of_principals)| of_principals.get(&holder.principal))
            .copied()
            .unwrap_or_default()
    }

    /// The organisation with the most sessions.
    fn largest(&self) -> Option<OrgId> {
        self.counts.iter().max_by_key(|(_, (of_org, _))| *of_org).map(|(org, _)| *org)
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

    /// Ends the session that was used longest ago, of those that are meant.
    fn evict_oldest(&mut self, meant: impl Fn(&Holder) -> bool) {
        let oldest = self
            .sessions
            .iter()
            .filter(|(_, s)| meant(&s.holder))
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
        let mut table = self.table();
        // A sweep looks at every session, so it is done rarely; expiry itself is checked at each use.
        if now - table.swept_at > 60_000 {
            table.sweep(now);
        }
        if table.of_principal(&holder) >= PER_PRINCIPAL {
            table.evict_oldest(|other| other.org == holder.org && other.principal == holder.principal);
        }
        if table.sessions.len() >= PER_NODE
            && let Some(largest) = table.largest()
        {
            table.evict_oldest(|other| other.org == largest);
        }
        table.insert(id.clone(), Session { holder, used_at: now, running: HashMap::new() });
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
    use model::ApiKeyId;
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
            principal: Principal::ApiKey(ApiKeyId::from_uuid(Uuid::from_u128(key))),
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

    #[test]
    fn ten_07_one_organisation_cannot_push_out_anothers_sessions() {
        let clock = ManualClock::at(1_000_000);
        let sessions = Sessions::new(clock.clone(), Arc::new(Counter(AtomicU64::new(1))));
        let quiet: Vec<_> = (0..PER_PRINCIPAL).map(|_| sessions.open(holder(1, 1))).collect();
        for key in 0..PER_NODE as u128 {
            // Always newer than anything of the quiet one, and never over the limit of one principal.
            clock.advance(1);
            sessions.open(holder(2, key));
        }
        assert_eq!(sessions.table().sessions.len(), PER_NODE);
        assert!(quiet.iter().all(|id| sessions.touch(id, &holder(1, 1))));
        let newcomer = sessions.open(holder(3, 1));
        assert!(sessions.touch(&newcomer, &holder(3, 1)), "there is room for others");
        let table = sessions.table();
        assert_eq!(table.counts.values().map(|(of_org, _)| of_org).sum::<usize>(), table.sessions.len());
    }
}
