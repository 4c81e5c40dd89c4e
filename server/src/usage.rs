//! What the data plane tells of: last-used times of keys, connections and clients, requests that ended, and limits that
//! somebody ran into. All are noted in memory on the path of a call and written in batches.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::{
    Env,
    dataplane::{Access, Principal},
    throttle,
    trips::{Trips, Who},
    usage::{Record, Recorder},
};
use model::{GrantId, OrgId};
use store::{Tx, api_keys::Use};

use crate::metrics::Counts;

/// How many shards the notes are spread over, so that calls on different keys do not wait for each other.
const SHARDS: usize = 16;
/// The longest client name that is kept, characters.
const LONGEST_AGENT: usize = 128;

#[derive(Debug)]
struct Note {
    at: i64,
    address: Option<IpAddr>,
    agent: Option<String>,
    /// The newest generation of each grant of which an access token was used (OAR-07).
    grants: HashMap<GrantId, i64>,
}

type Notes = HashMap<(OrgId, Principal), Note>;

/// What was used since the last writing.
#[derive(Debug)]
pub struct UsageMeter {
    shards: [Mutex<Notes>; SHARDS],
    hasher: RandomState,
    /// Requests that ended.
    pub requests: Recorder,
    /// The same in numbers of this process.
    pub counts: Counts,
    /// Limits that somebody ran into.
    pub trips: Trips,
}

impl Default for UsageMeter {
    fn default() -> Self {
        Self {
            shards: core::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            requests: Recorder::default(),
            counts: Counts::default(),
            trips: Trips::default(),
        }
    }
}

impl gateway::Meter for UsageMeter {
    fn used(&self, access: &Access, org: OrgId, at: i64, address: Option<IpAddr>, agent: Option<&str>) {
        let mut notes = self.shard(&access.principal);
        let note = notes.entry((org, access.principal.clone())).or_insert_with(|| Note {
            at,
            address: None,
            agent: None,
            grants: HashMap::new(),
        });
        note.at = note.at.max(at);
        note.address = address.or(note.address);
        // Most calls of a key come from one client: then nothing is allocated.
        if let Some(agent) = agent
            && note.agent.as_deref() != Some(agent)
        {
            note.agent = Some(shortened(agent));
        }
        if let Some((grant, generation)) = access.grant {
            let newest = note.grants.entry(grant).or_default();
            *newest = generation.max(*newest);
        }
    }

    fn ended(&self, record: Record) {
        self.counts.note(&record);
        self.requests.note(record);
    }

    fn limited(&self, access: &Access, org: OrgId, limit: &'static str, address: Option<IpAddr>) {
        self.trips.note(Who::Principal(org, access.principal.clone()), limit, address);
    }

    fn flooded(&self, address: IpAddr) {
        self.trips.note(Who::Address(throttle::network(address)), "address", Some(address));
    }
}

fn shortened(agent: &str) -> String {
    agent.chars().filter(|c| model::text::printable(*c)).take(LONGEST_AGENT).collect()
}

impl UsageMeter {
    fn shard(&self, principal: &Principal) -> MutexGuard<'_, Notes> {
        let at = usize::from(self.hasher.hash_one(principal).to_le_bytes()[0]) % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what the audit log says of limits: what is due, or (`at_end`) all that there is.
    pub async fn flush_trips(&self, env: &Env, at_end: bool) -> domain::Result<()> {
        self.trips.flush(env, at_end).await?;
        env.oauth.trips.flush(env, at_end).await
    }

    /// Writes what was noted. What cannot be written is noted again, unless something newer was meanwhile.
    pub async fn flush(&self, env: &Env) -> domain::Result<()> {
        let mut notes: Vec<((OrgId, Principal), Note)> = Vec::new();
        for shard in &self.shards {
            notes.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).drain());
        }
        if notes.is_empty() {
            return Ok(());
        }
        // In one order on every node, so that two of them never wait for each other's rows.
        notes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let written = async {
            write_grants(env, &notes).await?;
            let mut tx = env.db.write().await?;
            for ((org, principal), note) in &notes {
                write(&mut tx, *org, principal, note).await?;
            }
            tx.commit().await
        };
        if let Err(error) = written.await {
            for (key, note) in notes {
                self.note_again(key, note);
            }
            return Err(error.into());
        }
        Ok(())
    }

    fn note_again(&self, key: (OrgId, Principal), old: Note) {
        let mut notes = self.shard(&key.1);
        let Some(newer) = notes.get_mut(&key) else {
            notes.insert(key, old);
            return;
        };
        newer.address = newer.address.or(old.address);
        newer.agent = newer.agent.take().or(old.agent);
        for (grant, generation) in old.grants {
            let newest = newer.grants.entry(grant).or_default();
            *newest = generation.max(*newest);
        }
    }
}

async fn write(tx: &mut Tx, org: OrgId, principal: &Principal, note: &Note) -> store::Result<()> {
    let used = Use {
        at: note.at,
        address: note.address.map(|address| address.to_string()),
        agent: note.agent.clone(),
    };
    match principal {
        Principal::ApiKey(key) => store::api_keys::set_used(tx, org, *key, &used).await?,
        Principal::Connection(connection) => {
            store::connections::set_used(tx, org, *connection, &used).await?;
        }
        // Nothing here stands for them that could show when it was used.
        Principal::Provider { .. } | Principal::Member { .. } => {}
        Principal::Machine(client) => store::oauth_clients::set_used(tx, client, note.at).await?,
    }
    Ok(())
}

/// A transaction of its own: a refresh holds a grant while it asks for its connection, and a revocation the other way round.
async fn write_grants(env: &Env, notes: &[((OrgId, Principal), Note)]) -> store::Result<()> {
    let used = notes.iter().flat_map(|((org, _), note)| note.grants.iter().map(move |used| (*org, used)));
    let mut used: Vec<_> = used.collect();
    if used.is_empty() {
        return Ok(());
    }
    used.sort_unstable();
    let mut tx = env.db.write().await?;
    for (org, (grant, generation)) in used {
        store::oauth_grants::set_used(&mut tx, org, *grant, *generation).await?;
    }
    tx.commit().await
}
