//! What is told on the stream of a session, kept for a while so that a client that lost its connection can go on where it
//! was (`Last-Event-ID`).

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use domain::Rng;
use tokio::sync::Notify;

/// Events that are kept for one session, and bytes of them.
const MOST_EVENTS: usize = 128;
const MOST_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
struct Kept {
    /// Messages with their numbers, which grow by one.
    events: VecDeque<(u64, Bytes)>,
    bytes: usize,
    next: u64,
    /// Which reader is the present one.
    reader: u64,
}

/// The messages of one session.
#[derive(Debug)]
pub(crate) struct Outbox {
    kept: Mutex<Kept>,
    news: Notify,
    /// Differs from what the same session had before a restart.
    life: u32,
}

impl Outbox {
    pub(crate) fn new(session: u128, rng: &dyn Rng) -> Self {
        let mut bytes = [0; 4];
        rng.fill(&mut bytes);
        let low = u32::try_from(session & u128::from(u32::MAX)).unwrap_or_default();
        Self { kept: Mutex::default(), news: Notify::new(), life: u32::from_be_bytes(bytes) ^ low }
    }

    /// What tells ids of this life of the session from those of another.
    pub(crate) const fn life(&self) -> u32 {
        self.life
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message. The oldest are lost when nobody reads.
    pub(crate) fn push(&self, message: Bytes) {
        {
            let mut kept = self.kept();
            kept.next += 1;
            let number = kept.next;
            kept.bytes += message.len();
            kept.events.push_back((number, message));
            while kept.events.len() > MOST_EVENTS || kept.bytes > MOST_BYTES && kept.events.len() > 1 {
                if let Some((_, lost)) = kept.events.pop_front() {
                    kept.bytes -= lost.len();
                }
            }
        }
        self.news.notify_waiters();
    }

    /// Begins to read: behind the event that was seen last, or with what comes from now on. There is one reader; an
    /// earlier one ends.
    pub(crate) fn read(&self, last_seen: Option<&str>) -> Position {
        let mut kept = self.kept();
        kept.reader += 1;
        let at = match last_seen.and_then(|id| id.split_once('-')) {
            // An event of this life.
            Some((life, number)) if life == format!("{:08x}", self.life) => {
                number.parse().unwrap_or(kept.next).min(kept.next)
            }
            // One from before a restart: everything here is newer.
            Some(_) => 0,
            None => kept.next,
        };
        let reader = kept.reader;
        drop(kept);
        self.news.notify_waiters();
        Position { at, reader }
    }

    /// The next message and its id; nothing when another reader has come. Cancel-safe.
    pub(crate) async fn next(&self, position: &mut Position) -> Option<(String, Bytes)> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on nothing is missed.
            news.as_mut().enable();
            {
                let kept = self.kept();
                if kept.reader != position.reader {
                    return None;
                }
                if let Some((number, message)) = kept.events.iter().find(|(number, _)| *number > position.at)
                {
                    position.at = *number;
                    return Some((self.id(*number), message.clone()));
                }
            }
            news.await;
        }
    }

    /// The id of the place where a reader is.
    pub(crate) fn id_at(&self, position: &Position) -> String {
        self.id(position.at)
    }

    fn id(&self, number: u64) -> String {
        format!("{:08x}-{number}", self.life)
    }
}

/// Where a reader is.
#[derive(Debug)]
pub(crate) struct Position {
    at: u64,
    reader: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zero;

    impl Rng for Zero {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[tokio::test]
    async fn a_reader_goes_on_where_it_was() {
        let outbox = Outbox::new(7, &Zero);
        outbox.push(Bytes::from_static(b"before"));
        let mut position = outbox.read(None);
        for text in ["a", "b", "c"] {
            outbox.push(Bytes::from_static(text.as_bytes()));
        }
        let (id, first) = outbox.next(&mut position).await.unwrap();
        assert_eq!(first, "a");
        let mut again = outbox.read(Some(&id));
        assert!(outbox.next(&mut position).await.is_none(), "there is one reader");
        assert_eq!(outbox.next(&mut again).await.unwrap().1, "b");
        assert_eq!(outbox.next(&mut again).await.unwrap().1, "c");
        let mut stranger = outbox.read(Some("ffffffff-3"));
        assert_eq!(outbox.next(&mut stranger).await.unwrap().1, "before");
    }

    #[test]
    fn req_06_what_nobody_reads_is_bounded() {
        let outbox = Outbox::new(7, &Zero);
        for _ in 0..10_000 {
            outbox.push(Bytes::from_static(&[b'x'; 4096]));
        }
        let kept = outbox.kept();
        assert!(kept.events.len() <= MOST_EVENTS && kept.bytes <= MOST_BYTES);
    }
}
