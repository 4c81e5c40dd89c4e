//! Sessions of legacy clients (RSV-12). A session is never authentication: each request brings its credential, and a
//! session is only found by the one that it was made for.
//!
//! A session's id is a sealed text that says all that must be known of it, so it outlives a restart and works on every
//! node. What else there is of a session (what runs in it, its log level, what it subscribed to) is in the memory of the
//! node that it is used on. A session that has ended is refused by the node that it ended on.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
};

use domain::{
    Clock, Rng,
    dataplane::Principal,
    mcp::{LEGACY, asks::Asks},
    tickets::Tickets,
};
use model::OrgId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{outbox::Outbox, questions::Questions, resume::Calls};

/// Unused sessions end after half an hour.
const IDLE_MS: i64 = 30 * 60 * 1000;
/// A session that this node does not know is taken up if it was opened within this time: a restart does not end it, but
/// what somebody kept for longer is worth nothing.
const REVIVED_MS: i64 = 24 * 60 * 60 * 1000;
/// A principal with more loses the one that it used longest ago.
const PER_PRINCIPAL: usize = 100;
/// A node with more ends what was used longest ago in the organisation that has the most, so that none can push out what
/// another has within an equal share (TEN-07).
const PER_NODE: usize = 10_000;
/// Sessions that have ended and are remembered for it.
const ENDED: usize = 50_000;
/// Without a level of its own.
const NO_LEVEL: u8 = u8::MAX;

/// For whom a session is: the organisation, who authenticated, and the connector in the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) org: OrgId,
    pub(crate) principal: Principal,
    pub(crate) connector: Option<String>,
}

/// Who somebody is, without ambiguity.
pub(crate) fn identity(principal: &Principal) -> String {
    match principal {
        Principal::Provider { issuer, subject } => format!("identity_provider\n{issuer}\n{subject}"),
        other => format!("{}\n{other}", other.kind()),
    }
}

/// What is known of a session on this node.
#[derive(Debug)]
pub(crate) struct Live {
    /// Never used again.
    pub(crate) id: u128,
    /// What the client can be asked.
    pub(crate) asks: Asks,
    /// What was agreed on.
    pub(crate) version: &'static str,
    /// Calls that run, by request id as written, so that `notifications/cancelled` finds them.
    running: Mutex<HashMap<String, CancellationToken>>,
    level: AtomicU8,
    /// What the client was asked and has not answered.
    pub(crate) questions: Questions,
    /// What is told on the session's stream.
    pub(crate) outbox: Outbox,
    /// Streams that answer its calls.
    pub(crate) calls: Calls,
    /// The URIs that the client subscribed to, as it named them.
    subscriptions: Mutex<HashSet<String>>,
    /// Told when they change.
    pub(crate) changed: Notify,
    /// Told when a call has been passed on.
    pub(crate) called: Notify,
    /// Streams of the session that are open.
    pub(crate) readers: AtomicUsize,
    /// Whether somebody listens for its news.
    pub(crate) pumped: AtomicBool,
    /// Cancelled when the session ends.
    pub(crate) ended: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// The least severe level of log messages that the client wants, as a place among the levels, if it said so.
    pub(crate) fn level(&self) -> Option<usize> {
        Some(self.level.load(Ordering::Relaxed)).filter(|level| *level != NO_LEVEL).map(usize::from)
    }

    pub(crate) fn set_level(&self, level: usize) {
        self.level.store(u8::try_from(level).unwrap_or(NO_LEVEL), Ordering::Relaxed);
    }

    /// Notes that a call runs.
    fn run(&self, request: &str) -> CancellationToken {
        let token = CancellationToken::new();
        lock(&self.running).insert(request.to_owned(), token.clone());
        token
    }

    /// Cancels a call.
    pub(crate) fn cancel(&self, request: &str) {
        let token = lock(&self.running).remove(request);
        if let Some(token) = token {
            token.cancel();
        }
    }

    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.subscriptions)
    }
}

/// A call that is noted in its session, so that it can be cancelled there.
pub(crate) struct Running {
    pub(crate) live: Arc<Live>,
    request: String,
    pub(crate) token: CancellationToken,
}

impl Running {
    pub(crate) fn new(live: &Arc<Live>, request: Option<&str>) -> Self {
        let request = request.unwrap_or_default().to_owned();
        let token = live.run(&request);
        Self { live: Arc::clone(live), request, token }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.live.running).remove(&self.request);
    }
}

#[derive(Debug)]
struct Session {
    holder: Holder,
    used_at: i64,
    live: Arc<Live>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<u128, Session>,
    /// How many sessions each organisation has, and each principal in it.
    counts: HashMap<OrgId, (usize, HashMap<Principal, usize>)>,
    /// Sessions that have ended, the oldest first.
    ended: VecDeque<u128>,
    is_ended: HashSet<u128>,
    swept_at: i64,
}

impl Table {
    fn insert(&mut self, session: Session) {
        let (of_org, of_principals) = self.counts.entry(session.holder.org).or_default();
        *of_org += 1;
        *of_principals.entry(session.holder.principal.clone()).or_default() += 1;
        self.sessions.insert(session.live.id, session);
    }

    /// Ends a session.
    fn remove(&mut self, id: u128) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
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
        if self.is_ended.insert(id) {
            self.ended.push_back(id);
        }
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.is_ended.remove(&oldest);
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

    fn sweep(&mut self, now: i64) -> Vec<Session> {
        let ended: Vec<_> =
            self.sessions.iter().filter(|(_, s)| now - s.used_at > IDLE_MS).map(|(id, _)| *id).collect();
        self.swept_at = now;
        ended.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Ends the session that was used longest ago, of those that are meant.
    fn evict_oldest(&mut self, meant: impl Fn(&Holder) -> bool) -> Option<Session> {
        let oldest = self
            .sessions
            .iter()
            .filter(|(_, s)| meant(&s.holder))
            .min_by_key(|(_, s)| s.used_at)
            .map(|(id, _)| *id)?;
        self.remove(oldest)
    }
}

/// Hears of sessions that have ended, by organisation and number.
type OnEnd = Box<dyn Fn(OrgId, u128) + Send + Sync>;

pub(crate) struct Sessions {
    table: Mutex<Table>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    tickets: Arc<Tickets>,
    on_end: OnEnd,
}

/// What a session's id says.
struct Said {
    id: u128,
    asks: Asks,
    version: &'static str,
    opened_at: i64,
}

impl Said {
    fn write(&self) -> Vec<u8> {
        let version = LEGACY.iter().position(|known| *known == self.version).unwrap_or_default();
        let mut out = vec![self.asks.bits(), u8::try_from(version).unwrap_or_default()];
        out.extend_from_slice(&self.opened_at.to_be_bytes());
        out.extend_from_slice(&self.id.to_be_bytes());
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[asks, version], rest) = bytes.split_first_chunk()?;
        let (opened_at, id) = rest.split_first_chunk()?;
        Some(Self {
            asks: Asks::from_bits(asks),
            version: LEGACY.get(usize::from(version))?,
            opened_at: i64::from_be_bytes(*opened_at),
            id: u128::from_be_bytes(id.try_into().ok()?),
        })
    }
}

impl Sessions {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        tickets: Arc<Tickets>,
        on_end: OnEnd,
    ) -> Self {
        Self { table: Mutex::default(), clock, rng, tickets, on_end }
    }

    fn bound(holder: &Holder) -> [String; 3] {
        [
            holder.org.to_string(),
            identity(&holder.principal),
            holder.connector.as_ref().map_or_else(String::new, |connector| format!("/{connector}")),
        ]
    }

    fn end(&self, sessions: impl IntoIterator<Item = Session>) {
        for session in sessions {
            session.live.ended.cancel();
            (self.on_end)(session.holder.org, session.live.id);
        }
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).sessions.len()
    }

    /// A new session: its id, a sealed text of visible ASCII.
    pub(crate) fn open(&self, holder: Holder, asks: Asks, version: &'static str) -> String {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        let said = Said { id: u128::from_be_bytes(bytes), asks, version, opened_at: self.clock.now() };
        let bound = Self::bound(&holder);
        let text =
            self.tickets.seal("session", &bound.each_ref().map(String::as_str), &said.write(), &*self.rng);
        self.admit(holder, &said);
        text
    }

    /// Puts a session among those of this node, within the limits.
    fn admit(&self, holder: Holder, said: &Said) -> Arc<Live> {
        let now = self.clock.now();
        let live = Arc::new(Live {
            id: said.id,
            asks: said.asks,
            version: said.version,
            running: Mutex::default(),
            level: AtomicU8::new(NO_LEVEL),
            questions: Questions::default(),
            outbox: Outbox::new(said.id, &*self.rng),
            calls: Calls::default(),
            subscriptions: Mutex::default(),
            changed: Notify::new(),
            called: Notify::new(),
            readers: AtomicUsize::new(0),
            pumped: AtomicBool::new(false),
            ended: CancellationToken::new(),
        });
        let mut ended = Vec::new();
        {
            let mut table = lock(&self.table);
            // A sweep looks at every session, so it is done rarely; expiry itself is checked at each use.
            if now - table.swept_at > 60_000 {
                ended = table.sweep(now);
            }
            if table.of_principal(&holder) >= PER_PRINCIPAL {
                ended
                    .extend(table.evict_oldest(|other| {
                        other.org == holder.org && other.principal == holder.principal
                    }));
            }
            if table.sessions.len() >= PER_NODE
                && let Some(largest) = table.largest()
            {
                ended.extend(table.evict_oldest(|other| other.org == largest));
            }
            table.insert(Session { holder, used_at: now, live: Arc::clone(&live) });
        }
        self.end(ended);
        live
    }

    /// The session with this id, if it lives and is this holder's. Using it keeps it alive.
    pub(crate) fn find(&self, id: &str, holder: &Holder) -> Option<Arc<Live>> {
        let bound = Self::bound(holder);
        let said = self.tickets.open("session", &bound.each_ref().map(String::as_str), id)?;
        let said = Said::read(&said)?;
        let now = self.clock.now();
        let mut gone = None;
        {
            let mut table = lock(&self.table);
            if let Some(session) = table.sessions.get_mut(&said.id) {
                if now - session.used_at <= IDLE_MS {
                    session.used_at = now;
                    return Some(Arc::clone(&session.live));
                }
                gone = table.remove(said.id);
            }
            if table.is_ended.contains(&said.id) || now - said.opened_at > REVIVED_MS {
                drop(table);
                self.end(gone);
                return None;
            }
        }
        // Opened before a restart, or on another node.
        Some(self.admit(holder.clone(), &said))
    }

    /// Ends a session of this holder.
    pub(crate) fn close(&self, id: &str, holder: &Holder) -> bool {
        let Some(live) = self.find(id, holder) else { return false };
        // Calls that run go on: their answers have their own requests.
        let session = lock(&self.table).remove(live.id);
        let known = session.is_some();
        self.end(session);
        known
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;

    use domain::{
        env::ManualClock,
        sealer::{MasterKey, Sealer},
    };
    use model::ApiKeyId;
    use uuid::Uuid;

    use super::*;

    struct Counter(AtomicU64);

    impl Rng for Counter {
        fn fill(&self, bytes: &mut [u8]) {
            for chunk in bytes.chunks_mut(8) {
                let next = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
                let next = (next ^ (next >> 29)).to_be_bytes();
                chunk.copy_from_slice(&next[..chunk.len()]);
            }
        }
    }

    fn sessions(clock: &Arc<ManualClock>, seed: u64) -> Sessions {
        let tickets = Tickets::new(&Sealer::new(MasterKey::generate(&Counter(AtomicU64::new(1)))));
        let rng = Arc::new(Counter(AtomicU64::new(seed)));
        Sessions::new(clock.clone(), rng, Arc::new(tickets), Box::new(|_, _| ()))
    }

    fn open(sessions: &Sessions, holder: Holder) -> String {
        sessions.open(holder, Asks::NONE, LEGACY[0])
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
        let sessions = sessions(&clock, 1);
        let id = open(&sessions, holder(1, 1));
        assert!(id.len() >= 22 && id.bytes().all(|b| b.is_ascii_graphic()));
        assert!(sessions.find(&id, &holder(1, 1)).is_some());
        assert!(sessions.find(&id, &holder(1, 2)).is_none());
        assert!(sessions.find(&id, &holder(2, 1)).is_none());
        assert!(sessions.find(&id, &Holder { connector: Some("x".into()), ..holder(1, 1) }).is_none());
        assert!(sessions.find("unknown", &holder(1, 1)).is_none());
        clock.advance(IDLE_MS);
        assert!(sessions.find(&id, &holder(1, 1)).is_some());
        clock.advance(IDLE_MS + 1);
        assert!(sessions.find(&id, &holder(1, 1)).is_none());
        assert!(sessions.find(&id, &holder(1, 1)).is_none(), "it does not come back");
        let id = open(&sessions, holder(1, 1));
        assert!(!sessions.close(&id, &holder(1, 2)));
        assert!(sessions.close(&id, &holder(1, 1)));
        assert!(sessions.find(&id, &holder(1, 1)).is_none());
    }

    #[test]
    fn a_session_outlives_a_restart_and_works_on_another_node() {
        let clock = ManualClock::at(1_000_000);
        let (before, after) = (sessions(&clock, 1), sessions(&clock, 2));
        let asks = Asks::read(r#"{"elicitation":{}}"#);
        let id = before.open(holder(1, 1), asks, "2025-06-18");
        let live = after.find(&id, &holder(1, 1)).unwrap();
        assert_eq!((live.asks, live.version), (asks, "2025-06-18"));
        assert!(after.find(&id, &holder(1, 2)).is_none(), "it is still its holder's alone");
        clock.advance(REVIVED_MS + 1);
        assert!(sessions(&clock, 3).find(&id, &holder(1, 1)).is_none());
    }

    #[test]
    fn rsv_12_sessions_are_bounded() {
        let clock = ManualClock::at(1_000_000);
        let sessions = sessions(&clock, 1);
        let first = open(&sessions, holder(1, 1));
        let other = open(&sessions, holder(1, 2));
        for _ in 0..PER_PRINCIPAL {
            clock.advance(1);
            open(&sessions, holder(1, 1));
        }
        assert!(sessions.find(&first, &holder(1, 1)).is_none());
        assert!(sessions.find(&other, &holder(1, 2)).is_some());
        for key in 10..10 + PER_NODE as u128 {
            clock.advance(1);
            open(&sessions, holder(1, key));
        }
        assert!(lock(&sessions.table).sessions.len() <= PER_NODE);
    }

    #[test]
    fn ten_07_one_organisation_cannot_push_out_anothers_sessions() {
        let clock = ManualClock::at(1_000_000);
        let sessions = sessions(&clock, 1);
        let quiet: Vec<_> = (0..PER_PRINCIPAL).map(|_| open(&sessions, holder(1, 1))).collect();
        for key in 0..PER_NODE as u128 {
            // Always newer than anything of the quiet one, and never over the limit of one principal.
            clock.advance(1);
            open(&sessions, holder(2, key));
        }
        assert_eq!(lock(&sessions.table).sessions.len(), PER_NODE);
        assert!(quiet.iter().all(|id| sessions.find(id, &holder(1, 1)).is_some()));
        let newcomer = open(&sessions, holder(3, 1));
        assert!(sessions.find(&newcomer, &holder(3, 1)).is_some(), "there is room for others");
        let table = lock(&sessions.table);
        assert_eq!(table.counts.values().map(|(of_org, _)| of_org).sum::<usize>(), table.sessions.len());
    }
}
