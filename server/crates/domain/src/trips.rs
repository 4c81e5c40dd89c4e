//! Limits that somebody ran into, for the audit log (AUD-02). What was refused is noted in memory, where it was refused
//! anyway; a job writes it. Of one principal or address and one limit there is at most one event in a window, which says how
//! many requests it stands for. Each node counts for itself.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::{OrgId, UserId};
use store::Tx;

use crate::{
    Env, Result, accounts,
    authz::Principal as By,
    change::{Event, note},
    dataplane::Principal,
    request::Origin,
};

/// For how long the same is only counted, milliseconds.
const WINDOW: i64 = 10 * 60 * 1000;
/// The most that is told apart; beyond that, what is new is counted together.
const MOST: usize = 1000;
const ACTION: &str = "security.limit_exceeded";

/// Whose limit it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// A principal of an organisation's data plane.
    Principal(OrgId, Principal),
    /// An account at which somebody tries to log in.
    Account(UserId),
    /// An address, or the network that one customer holds.
    Address(String),
    /// More principals or addresses than are told apart.
    Others,
}

#[derive(Debug)]
struct Held {
    /// When the next event may be written.
    until: i64,
    /// Requests since the last one.
    count: u64,
    /// From where the last of them came.
    address: Option<IpAddr>,
}

/// What was noted and not yet written.
#[derive(Debug, Default)]
pub struct Trips(Mutex<HashMap<(Who, &'static str), Held>>);

/// What becomes an event.
struct Due {
    key: (Who, &'static str),
    count: u64,
    address: Option<IpAddr>,
}

impl Trips {
    fn held(&self) -> MutexGuard<'_, HashMap<(Who, &'static str), Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request was refused. `limit` is a word for which limit it was. Takes no longer than a look into a map.
    pub fn note(&self, who: Who, limit: &'static str, address: Option<IpAddr>) {
        self.add((who, limit), 1, address);
    }

    fn add(&self, key: (Who, &'static str), count: u64, address: Option<IpAddr>) {
        let mut held = self.held();
        let key = if held.len() < MOST || held.contains_key(&key) { key } else { (Who::Others, key.1) };
        let known = held.entry(key).or_insert(Held { until: i64::MIN, count: 0, address: None });
        known.count += count;
        known.address = address.or(known.address);
    }

    /// What may be written at this time, or (`at_end`) all that there is; what is over is forgotten.
    fn take(&self, now: i64, at_end: bool) -> Vec<Due> {
        let mut held = self.held();
        let mut due = Vec::new();
        held.retain(|key, known| {
            if known.until > now && !at_end {
                return true;
            }
            if known.count == 0 {
                return false;
            }
            due.push(Due { key: key.clone(), count: known.count, address: known.address });
            *known = Held { until: now + WINDOW, count: 0, address: None };
            true
        });
        due
    }

    /// Writes what is due: the first of a kind soon, what follows when its window is over. What cannot be written waits for
    /// the next time.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn flush(&self, env: &Env, at_end: bool) -> Result<()> {
        let mut due = self.take(env.now(), at_end);
        if due.is_empty() {
            return Ok(());
        }
        // In one order on every node, so that two of them never wait for each other's rows.
        due.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        let written = async {
            for due in &due {
                let mut tx = env.db.write().await?;
                write(env, &mut tx, due).await?;
                tx.commit().await?;
            }
            Ok(())
        };
        let written = written.await;
        if written.is_err() {
            // Some may have been: then they are there twice, rather than not at all.
            let mut held = self.held();
            for due in due {
                let known = held.entry(due.key).or_insert(Held { until: 0, count: 0, address: None });
                known.until = i64::MIN;
                known.count += due.count;
                known.address = known.address.or(due.address);
            }
        }
        written
    }
}

async fn write(env: &Env, tx: &mut Tx, due: &Due) -> Result<()> {
    let (who, limit) = &due.key;
    let event = Event::new(ACTION).with("limit", *limit).with("requests", due.count);
    let origin = Origin { address: due.address, ..Origin::default() };
    match who {
        Who::Principal(org, principal) => {
            store::orgs::lock(tx, *org).await?;
            if store::orgs::find(tx, *org).await?.is_none() {
                return Ok(());
            }
            let name = match principal {
                Principal::ApiKey(key) => store::api_keys::find(tx, *org, *key).await?.map(|key| key.name),
                Principal::Member { name, .. } => Some(name.to_string()),
                _ => None,
            };
            let id = principal.to_string();
            let event = event.target(principal.kind(), &id, name.as_deref().unwrap_or(&id));
            note(env, tx, &[*org], &By::System, &origin, &event, "denied").await
        }
        Who::Account(user) => {
            let Some(user) = store::users::find(tx, *user).await? else { return Ok(()) };
            let event = event.target("user", user.id, &user.email);
            accounts::note_of_user(env, tx, user.id, &By::System, &origin, &event, "denied").await
        }
        Who::Address(address) => {
            let event = event.target("address", address, address);
            note(env, tx, &[], &By::System, &origin, &event, "denied").await
        }
        Who::Others => note(env, tx, &[], &By::System, &Origin::default(), &event, "denied").await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> Who {
        Who::Address(format!("192.0.2.{n}"))
    }

    fn counts(trips: &Trips, now: i64) -> Vec<u64> {
        trips.take(now, false).into_iter().map(|due| due.count).collect()
    }

    #[test]
    fn aud_02_one_event_for_whom_and_limit_in_a_window() {
        let trips = Trips::default();
        for _ in 0..3 {
            trips.note(address(1), "key", None);
        }
        assert_eq!(counts(&trips, 0), [3], "the first soon");
        for _ in 0..5 {
            trips.note(address(1), "key", None);
        }
        assert_eq!(counts(&trips, WINDOW - 1), [] as [u64; 0]);
        trips.note(address(1), "month", None);
        assert_eq!(counts(&trips, WINDOW - 1), [1], "another limit");
        assert_eq!(counts(&trips, WINDOW), [5], "what followed, when its window is over");
        // Whoever stops is forgotten.
        assert_eq!(counts(&trips, 3 * WINDOW), [] as [u64; 0]);
        assert!(trips.held().is_empty());
    }

    #[test]
    fn aud_02_a_flood_from_everywhere_is_counted_together() {
        let trips = Trips::default();
        for n in 0..MOST + 500 {
            trips.note(address(n), "address", None);
        }
        let due = trips.take(0, false);
        assert_eq!(due.len(), MOST + 1);
        let others = due.iter().find(|due| due.key.0 == Who::Others).expect("one for all others");
        assert_eq!(others.count, 500);
    }
}
