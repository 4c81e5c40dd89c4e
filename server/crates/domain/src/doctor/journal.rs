//! What is noted on the path of requests: into memory, bounded, and written by a job.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use model::{ConnectEventId, OrgId, doctor::Stage};
use store::connect_events::{self, ConnectEvent};

use super::KEPT;
use crate::{Env, Result};

/// The most steps that wait to be written. Further ones are forgotten.
const MOST_WAITING: usize = 4096;
/// Of these, the most of one organisation; of nobody likewise. So one that is flooded does not drown the others.
const MOST_WAITING_EACH: u32 = 256;
/// The most steps that are kept of one organisation.
const MOST_KEPT: i64 = 2000;
/// The most steps that are kept of nobody: documents that were read, and registrations.
const MOST_KEPT_OF_NOBODY: i64 = 10_000;
/// For how long the same step of the same client is not noted again, milliseconds.
const QUIET: i64 = 60 * 1000;
/// How many steps and first calls are remembered, to know them again.
const REMEMBERED: usize = 10_000;
/// The longest texts that are kept, characters.
const LONGEST: usize = 256;

/// One step of a client, as whoever answers it tells it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// Whose endpoint it was about; `None` where that is not known, as at registration.
    pub org: Option<OrgId>,
    /// An error code when it failed.
    pub error: Option<&'static str>,
    /// What else is worth knowing, in our own words. Never a secret, nor what a token says.
    pub detail: String,
    /// The client's id, once it has one.
    pub client_id: Option<String>,
    /// What it calls itself.
    pub client_name: Option<String>,
    /// From where.
    pub address: Option<IpAddr>,
    /// By what.
    pub user_agent: Option<String>,
}

impl Step {
    /// A step that went well, of nobody in particular so far.
    pub const fn new(stage: Stage) -> Self {
        Self {
            stage,
            org: None,
            error: None,
            detail: String::new(),
            client_id: None,
            client_name: None,
            address: None,
            user_agent: None,
        }
    }

    fn digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        (self.stage, self.org, self.error, &self.client_id).hash(&mut digest);
        (self.address, &self.user_agent).hash(&mut digest);
        digest.finish()
    }
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<(i64, Step)>,
    waiting_of: HashMap<Option<OrgId>, u32>,
    /// When each step was last noted, by its digest.
    noted: HashMap<u64, i64>,
    /// Whose first call was noted.
    called: HashSet<u64>,
}

/// Where steps are noted. Noting never waits for anything but another note.
#[derive(Debug, Default)]
pub struct Journal {
    inner: Mutex<Inner>,
}

impl Journal {
    /// Notes a step at this time, Unix milliseconds. What comes too often, or too much of it, is left out.
    pub fn note(&self, at: i64, step: Step) {
        // Our own self-test is nobody's attempt.
        if step.user_agent.as_deref().is_some_and(|agent| agent.starts_with("gatehouse/")) {
            return;
        }
        let digest = step.digest();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.noted.get(&digest).is_some_and(|last| (0..QUIET).contains(&(at - last))) {
            return;
        }
        if inner.waiting.len() >= MOST_WAITING {
            return;
        }
        let of = inner.waiting_of.entry(step.org).or_default();
        if *of >= MOST_WAITING_EACH {
            return;
        }
        *of += 1;
        if inner.noted.len() >= REMEMBERED {
            inner.noted.clear();
        }
        inner.noted.insert(digest, at);
        inner.waiting.push_back((at, step));
    }

    /// Notes the first good request of an authorisation, and none after it. `authorisation` tells one from the next.
    pub fn first_call(&self, at: i64, authorisation: impl core::hash::Hash, step: impl FnOnce() -> Step) {
        let mut digest = DefaultHasher::new();
        authorisation.hash(&mut digest);
        {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            if inner.called.len() >= REMEMBERED {
                inner.called.clear();
            }
            if !inner.called.insert(digest.finish()) {
                return;
            }
        }
        self.note(at, step());
    }

    /// Writes what was noted.
    pub async fn flush(&self, env: &Env) -> Result<()> {
        let steps = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.waiting_of.clear();
            core::mem::take(&mut inner.waiting)
        };
        if steps.is_empty() {
            return Ok(());
        }
        let mut tx = env.db.write().await?;
        let mut orgs: HashMap<Option<OrgId>, bool> = HashMap::new();
        for (at, step) in steps {
            // One that was deleted meanwhile takes its steps with it.
            let there = match (orgs.get(&step.org), step.org) {
                (Some(there), _) => *there,
                (None, None) => true,
                (None, Some(org)) => store::orgs::version(&mut tx, org).await?.is_some(),
            };
            orgs.insert(step.org, there);
            if there {
                connect_events::insert(&mut tx, step.org, &row(env, at, &step)).await?;
            }
        }
        for (org, _) in orgs.into_iter().filter(|(_, there)| *there) {
            let most = if org.is_some() { MOST_KEPT } else { MOST_KEPT_OF_NOBODY };
            connect_events::trim(&mut tx, org, most).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Deletes steps that are too old.
    pub async fn clean(env: &Env) -> Result<()> {
        let mut tx = env.db.write().await?;
        connect_events::delete_before(&mut tx, env.now() - KEPT).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn row(env: &Env, at: i64, step: &Step) -> ConnectEvent {
    let short = |text: &str| -> String {
        text.chars().filter(|c| model::text::printable(*c)).take(LONGEST).collect()
    };
    ConnectEvent {
        id: ConnectEventId::from_uuid(env.uuid()),
        at,
        step: step.stage.as_str().to_owned(),
        error: step.error.map(str::to_owned),
        detail: short(&step.detail),
        // Ids are compared whole, so they are not cut: one that is too long is none of ours.
        client_id: step.client_id.clone().filter(|id| id.len() <= 512),
        client_name: step.client_name.as_deref().map(short),
        address: step.address.map(|address| address.to_string()).unwrap_or_default(),
        user_agent: step.user_agent.as_deref().map(short).unwrap_or_default(),
    }
}
