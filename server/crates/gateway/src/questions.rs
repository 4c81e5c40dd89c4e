//! What a legacy client was asked in the middle of a call, until it answers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use domain::mcp::{envelope::Outcome, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::sessions::Live;

/// Questions of one session that wait for an answer.
const MOST: usize = 64;
const PREFIX: &str = "gatehouse-";

/// An answer, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Result(String),
    Error(String),
}

impl Told {
    /// The member of the answer that says it.
    pub(crate) fn outcome(&self) -> String {
        match self {
            Self::Result(value) => format!(r#""result":{value}"#),
            Self::Error(value) => format!(r#""error":{value}"#),
        }
    }
}

impl From<Outcome<'_>> for Told {
    fn from(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Result(value) => Self::Result(value.to_owned()),
            Outcome::Error(value) => Self::Error(value.to_owned()),
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_number: HashMap<u64, (String, UnboundedSender<(String, Told)>)>,
}

/// The questions of one session.
#[derive(Debug, Default)]
pub(crate) struct Questions(Mutex<Waiting>);

impl Questions {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an answer to where it is waited for. Others go nowhere.
    pub(crate) fn answer(&self, id: &str, outcome: Outcome<'_>) {
        let number = json::string(id).and_then(|id| id.strip_prefix(PREFIX)?.parse().ok());
        let asked = number.and_then(|number: u64| self.waiting().by_number.remove(&number));
        if let Some((key, to)) = asked {
            // Whoever asked may have gone.
            let _ = to.send((key, outcome.into()));
        }
    }
}

/// Questions of one call. They are not waited for any more when it is dropped.
#[derive(Debug)]
pub(crate) struct Asked {
    live: Arc<Live>,
    numbers: Vec<u64>,
}

impl Asked {
    pub(crate) const fn new(live: Arc<Live>) -> Self {
        Self { live, numbers: Vec::new() }
    }

    /// Notes a question, whose answer will come by `to` with this key. What comes back is its id, as JSON; nothing when
    /// too many wait.
    pub(crate) fn ask(&mut self, key: &str, to: &UnboundedSender<(String, Told)>) -> Option<String> {
        let mut waiting = self.live.questions.waiting();
        if waiting.by_number.len() >= MOST {
            return None;
        }
        waiting.next += 1;
        let number = waiting.next;
        waiting.by_number.insert(number, (key.to_owned(), to.clone()));
        self.numbers.push(number);
        Some(format!("\"{PREFIX}{number}\""))
    }
}

/// A request of ours to a client.
pub(crate) fn request(id: &str, method: &str, params: &[u8]) -> Bytes {
    let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":"#);
    [head.as_bytes(), params, b"}"].concat().into()
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut waiting = self.live.questions.waiting();
        for number in &self.numbers {
            waiting.by_number.remove(number);
        }
    }
}
