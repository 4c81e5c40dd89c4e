//! Last-used times of keys: noted in memory on the path of a call, written in batches.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use domain::{Env, dataplane::Principal};
use model::{ApiKeyId, OrgId};
use store::api_keys::Use;

/// How many shards the notes are spread over, so that calls on different keys do not wait for each other.
const SHARDS: usize = 16;
/// The longest client name that is kept, characters.
const LONGEST_AGENT: usize = 128;

#[derive(Debug)]
struct Note {
    org: OrgId,
    at: i64,
    address: Option<IpAddr>,
    agent: Option<String>,
}

/// What was used since the last writing.
#[derive(Debug, Default)]
pub struct UsageMeter {
    shards: [Mutex<HashMap<ApiKeyId, Note>>; SHARDS],
}

impl gateway::Meter for UsageMeter {
    fn used(&self, principal: &Principal, org: OrgId, at: i64, address: Option<IpAddr>, agent: Option<&str>) {
        let Principal::ApiKey(key) = *principal;
        let shard = (key.uuid().as_u128() % SHARDS as u128) as usize;
        let mut notes = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        match notes.get_mut(&key) {
            Some(note) => {
                note.at = note.at.max(at);
                note.address = address.or(note.address);
                // Most calls of a key come from one client: then nothing is allocated.
                if let Some(agent) = agent
                    && note.agent.as_deref() != Some(agent)
                {
                    note.agent = Some(shortened(agent));
                }
            }
            None => {
                notes.insert(key, Note { org, at, address, agent: agent.map(shortened) });
            }
        }
    }
}

fn shortened(agent: &str) -> String {
    agent.chars().filter(|c| model::text::printable(*c)).take(LONGEST_AGENT).collect()
}

impl UsageMeter {
    /// Writes what was noted. What cannot be written is noted again, unless something newer was meanwhile.
    pub async fn flush(&self, env: &Env) -> domain::Result<()> {
        let mut notes: Vec<(ApiKeyId, Note)> = Vec::new();
        for shard in &self.shards {
            notes.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).drain());
        }
        if notes.is_empty() {
            return Ok(());
        }
        let written = async {
            let mut tx = env.db.write().await?;
            for (key, note) in &notes {
                let used = Use {
                    at: note.at,
                    address: note.address.map(|address| address.to_string()),
                    agent: note.agent.clone(),
                };
                store::api_keys::set_used(&mut tx, note.org, *key, &used).await?;
            }
            tx.commit().await
        };
        if let Err(error) = written.await {
            for (key, note) in notes {
                let principal = Principal::ApiKey(key);
                gateway::Meter::used(
                    self,
                    &principal,
                    note.org,
                    note.at,
                    note.address,
                    note.agent.as_deref(),
                );
            }
            return Err(error.into());
        }
        Ok(())
    }
}
