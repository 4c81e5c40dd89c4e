//! What was agreed with a server: the modern era once, the legacy era once per session.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8},
    },
};

use super::{session::ServerSession, side::Side};
use crate::mcp::{asks::Asks, upstream::Session};

/// Sessions with one server at once. With more, one that was not used for the longest is given up.
const MOST_SESSIONS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Era {
    Modern,
    Legacy,
}

/// What was agreed with a server.
#[derive(Debug)]
pub(in super::super) struct Agreed {
    pub(in super::super) era: Era,
    pub(super) version: &'static str,
    pub(super) session: Option<ServerSession>,
    /// Its stream, where its client can be asked something.
    pub(in super::super) side: Option<Side>,
    pub(super) server_name: Option<String>,
    pub(super) server_version: Option<String>,
    /// What the server says about how to use it; untrusted.
    pub(super) instructions: Option<String>,
    /// The server's capabilities, a JSON object.
    pub(super) capabilities: String,
    /// The level of log messages that the session was set to, as a place among the levels; 255 for the server's own.
    pub(super) level: AtomicU8,
    /// Whether the server has asked for the client's roots, so that it wants to hear when they change.
    pub(in super::super) asked_roots: AtomicBool,
}

impl Agreed {
    /// Whether there is a session that the server might forget.
    pub(in super::super) const fn has_session(&self) -> bool {
        self.session.is_some()
    }
}

/// Which session of the legacy era.
type Key = (Option<u128>, Asks);

#[derive(Debug, Default)]
pub(super) struct Agreements {
    /// Whether the server speaks it; unknown before the first handshake.
    pub(super) speaks_modern: Option<bool>,
    pub(super) speaks_legacy: bool,
    modern: Option<Arc<Agreed>>,
    legacy: HashMap<Key, (u64, Arc<Agreed>)>,
    made: u64,
}

impl Agreements {
    /// Whether the legacy era is the one to use; unknown before the first handshake.
    pub(super) fn wants_legacy(&self, session: Session) -> Option<bool> {
        match self.speaks_modern {
            None => None,
            Some(false) => Some(true),
            Some(true) => Some(session.legacy && self.speaks_legacy),
        }
    }

    pub(super) fn find(&self, session: Session) -> Option<Arc<Agreed>> {
        if self.wants_legacy(session)? {
            self.legacy.get(&(session.client, session.asks)).map(|(_, agreed)| Arc::clone(agreed))
        } else {
            self.modern.clone()
        }
    }

    /// Keeps what was agreed.
    pub(super) fn put(&mut self, session: Session, agreed: &Arc<Agreed>) {
        if agreed.era == Era::Modern {
            self.modern = Some(Arc::clone(agreed));
            return;
        }
        if self.legacy.len() >= MOST_SESSIONS {
            let oldest = self.legacy.iter().min_by_key(|(_, (made, _))| *made).map(|(key, _)| *key);
            oldest.and_then(|key| self.legacy.remove(&key));
        }
        self.made += 1;
        self.legacy.insert((session.client, session.asks), (self.made, Arc::clone(agreed)));
    }

    /// Drops what turned out stale. Where the server may have been exchanged for another (`exchanged`) it is asked anew
    /// what it speaks; a server that has only forgotten a session speaks what it spoke before.
    pub(super) fn forget(&mut self, stale: &Arc<Agreed>, exchanged: bool) {
        let before = self.legacy.len();
        self.legacy.retain(|_, (_, agreed)| !Arc::ptr_eq(agreed, stale));
        let modern = self.modern.as_ref().is_some_and(|agreed| Arc::ptr_eq(agreed, stale));
        if modern {
            self.modern = None;
        }
        if modern || (exchanged && self.legacy.len() < before) {
            self.speaks_modern = None;
        }
    }

    /// Gives the sessions of one client up; each ends when nobody uses it any more.
    pub(super) fn close(&mut self, client: u128) {
        self.legacy.retain(|(owner, _), _| *owner != Some(client));
    }

    /// Gives the sessions up that clients share, or all.
    pub(super) fn rest(&mut self, all: bool) {
        self.legacy.retain(|(owner, _), _| !all && owner.is_some());
    }
}
