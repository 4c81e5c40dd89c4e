//! Refusals that whoever holds an old token can cause as often as they like. The first is written to the audit log at
//! once; those that follow are counted, and become one event when their time is over. Each node counts for itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::OrgId;

use super::MINUTE;
use crate::{
    Env, Result,
    authz::Principal,
    change::{Event, note},
    request::Origin,
};

/// For how long the same is only counted, milliseconds.
const WINDOW: i64 = 10 * MINUTE;
/// The most that is remembered; beyond that everything is written.
const MOST: usize = 10_000;

/// What happens again and again, by what it is and to what.
pub(crate) type Key = (&'static str, String);

#[derive(Debug)]
struct Held {
    org: OrgId,
    until: i64,
    /// How often it happened since it was last written.
    count: i64,
    /// The last of those.
    last: Option<(Event, Principal, Origin)>,
}

/// What was written lately, and what was only counted since.
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<HashMap<Key, Held>>);

impl Quiet {
    fn held(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this has to be written now, and how often it happened unwritten before; otherwise it was counted.
    pub(crate) fn is_due(
        &self,
        key: &Key,
        org: OrgId,
        event: &Event,
        (by, origin): (&Principal, &Origin),
        now: i64,
    ) -> Option<i64> {
        let mut held = self.held();
        if let Some(known) = held.get_mut(key).filter(|known| now < known.until) {
            known.count += 1;
            known.last = Some((event.clone(), by.clone(), origin.clone()));
            return None;
        }
        let before = held.remove(key).map_or(0, |known| known.count);
        if held.len() >= MOST {
            held.retain(|_, known| known.count > 0 || now < known.until);
        }
        if held.len() < MOST {
            held.insert(key.clone(), Held { org, until: now + WINDOW, count: 0, last: None });
        }
        Some(before)
    }

    /// Nothing was written after all: the next one has to be.
    pub(crate) fn forget(&self, key: &Key) {
        self.held().remove(key);
    }

    /// What was counted and whose time is over.
    fn take_over(&self, now: i64) -> Vec<(Key, Held)> {
        let mut held = self.held();
        let over: Vec<Key> =
            held.iter().filter(|(_, known)| known.until <= now).map(|(key, _)| key.clone()).collect();
        over.into_iter().filter_map(|key| held.remove_entry(&key)).filter(|(_, k)| k.count > 0).collect()
    }

    fn put_back(&self, key: Key, known: Held) {
        self.held().entry(key).or_insert(known);
    }
}

/// Writes a refusal, unless the same was written a short while ago.
pub(crate) async fn note_seldom(
    env: &Env,
    key: Key,
    org: OrgId,
    by: &Principal,
    origin: &Origin,
    event: Event,
) -> Result<()> {
    let quiet = &env.oauth.quiet;
    let Some(before) = quiet.is_due(&key, org, &event, (by, origin), env.now()) else { return Ok(()) };
    let written = write(env, org, by, origin, event, before).await;
    if written.is_err() {
        quiet.forget(&key);
    }
    written
}

async fn write(
    env: &Env,
    org: OrgId,
    by: &Principal,
    origin: &Origin,
    event: Event,
    repeated: i64,
) -> Result<()> {
    let mut tx = env.db.write().await?;
    store::orgs::lock(&mut tx, org).await?;
    if store::orgs::find(&mut tx, org).await?.is_none() {
        return Ok(());
    }
    let event = event.with("repeated", repeated);
    note(env, &mut tx, &[org], by, origin, &event, "denied").await?;
    Ok(tx.commit().await?)
}

/// Writes what was only counted, once its time is over.
pub(super) async fn flush(env: &Env) -> Result<()> {
    let mut over = env.oauth.quiet.take_over(env.now()).into_iter();
    while let Some((key, known)) = over.next() {
        let Some((event, by, origin)) = &known.last else { continue };
        // The last one stands for itself, the others are its repetitions.
        let written = write(env, known.org, by, origin, event.clone(), known.count - 1).await;
        if written.is_err() {
            env.oauth.quiet.put_back(key, known);
            over.for_each(|(key, known)| env.oauth.quiet.put_back(key, known));
            return written;
        }
    }
    Ok(())
}
