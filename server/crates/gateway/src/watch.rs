//! News of upstream servers, told to the clients that listen. One stream is open to a server for as long as somebody
//! listens, however many they are.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::mcp::{
    envelope::incoming,
    json,
    upstream::{Upstream, Wanted},
};
use model::{ConnectorId, OrgId, UserId};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{Refresh, planes::ReadyConnector};

/// Between two attempts to reach a server, at first and at most; and to ask one again that has no such stream.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_mins(1);
const NO_STREAM: Duration = Duration::from_mins(5);
/// How often a server may have its tools fetched by saying that they changed: so often in a minute, then only this often.
const REFRESHES: usize = 6;
const REFRESH_SLOWLY: Duration = Duration::from_secs(10);

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Tools,
    Prompts,
    Resources,
    /// A resource, by its URI upstream.
    Updated(String),
}

/// Where a listener hears of news. A listener that does not read loses some: they say no more than to look again.
pub(crate) type Ear = mpsc::Sender<(ConnectorId, News)>;

#[derive(Debug)]
struct Listening {
    ear: Ear,
    uris: BTreeSet<String>,
}

/// The stream of one server.
#[derive(Debug)]
struct Watcher {
    connector: ConnectorId,
    listening: Mutex<HashMap<u64, Listening>>,
    next: AtomicU64,
    changed: Notify,
    /// Whether the server has been asked for the first time.
    ready: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Watcher {
    fn listening(&self) -> MutexGuard<'_, HashMap<u64, Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> Wanted {
        let uris: BTreeSet<_> = self.listening().values().flat_map(|one| one.uris.iter().cloned()).collect();
        Wanted { tools: true, prompts: true, resources: true, uris: uris.into_iter().collect() }
    }

    fn tell(&self, news: &News) {
        for one in self.listening().values() {
            if !matches!(news, News::Updated(uri) if !one.uris.contains(uri)) {
                // Full means that there is something to read already.
                let _ = one.ear.try_send((self.connector, news.clone()));
            }
        }
    }

    async fn run(self: Arc<Self>, org: OrgId, upstream: Upstream, refresh: Arc<dyn Refresh>) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.listen(org, &upstream, refresh.as_ref()) => {}
        }
    }

    async fn listen(&self, org: OrgId, upstream: &Upstream, refresh: &dyn Refresh) {
        let mut pause = AGAIN;
        let mut refreshed = VecDeque::new();
        loop {
            let wanted = self.wanted();
            let begun = Instant::now();
            let outcome = upstream.listen(&wanted).await;
            let mut listener = match outcome {
                Ok(Some(listener)) => listener,
                Ok(None) => {
                    self.ready.send_replace(true);
                    sleep(NO_STREAM).await;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(connector.id = %self.connector, %error, "no news of an upstream server");
                    self.ready.send_replace(true);
                    sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AT_MOST);
                    continue;
                }
            };
            // The head of the answer says that the server listens.
            self.ready.send_replace(true);
            loop {
                let message = tokio::select! {
                    () = self.changed.notified() => {
                        if self.wanted() == wanted {
                            continue;
                        }
                        break;
                    }
                    message = listener.next() => message,
                };
                let Ok(Some(message)) = message else {
                    // Servers end such streams now and then.
                    if begun.elapsed() > AGAIN_AT_MOST {
                        pause = AGAIN;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AT_MOST);
                    break;
                };
                let Some(news) = std::str::from_utf8(&message).ok().and_then(read) else { continue };
                if news == News::Tools {
                    slow_down(&mut refreshed).await;
                    refresh.tools_changed(org, self.connector).await;
                }
                self.tell(&news);
            }
        }
    }
}

/// Waits before a server's tools are fetched again, if it has caused that often lately.
async fn slow_down(refreshed: &mut VecDeque<Instant>) {
    let now = Instant::now();
    while refreshed.front().is_some_and(|at| now - *at > Duration::from_mins(1)) {
        refreshed.pop_front();
    }
    if refreshed.len() >= REFRESHES
        && let Some(last) = refreshed.back()
    {
        sleep_until(*last + REFRESH_SLOWLY).await;
    }
    refreshed.push_back(Instant::now());
}

fn read(message: &str) -> Option<News> {
    let found = incoming(message)?;
    match found.method.as_deref()? {
        "notifications/tools/list_changed" => Some(News::Tools),
        "notifications/prompts/list_changed" => Some(News::Prompts),
        "notifications/resources/list_changed" => Some(News::Resources),
        "notifications/resources/updated" => {
            let uri = json::get(found.params?, "uri").and_then(json::string)?;
            Some(News::Updated(uri.into_owned()))
        }
        _ => None,
    }
}

/// Somebody who listens to one server. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    watcher: Arc<Watcher>,
    id: u64,
    all: Arc<Watchers>,
    key: Key,
}

impl Watching {
    /// Which resources are listened for.
    pub(crate) fn set_uris(&self, uris: BTreeSet<String>) {
        {
            let mut listening = self.watcher.listening();
            let Some(own) = listening.get_mut(&self.id).filter(|own| own.uris != uris) else { return };
            own.uris = uris;
        }
        self.watcher.changed.notify_one();
    }

    /// Waits until the server has been asked.
    pub(crate) async fn ready(&self) {
        // An error means that it has ended, which is no reason to wait.
        let _ = self.watcher.ready.subscribe().wait_for(|ready| *ready).await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Under the lock of the table, so that nobody joins a stream that is about to end.
        let mut table = self.all.table();
        let mut listening = self.watcher.listening();
        listening.remove(&self.id);
        if listening.is_empty() {
            self.watcher.stop.cancel();
            if table.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.watcher)) {
                table.remove(&self.key);
            }
        }
    }
}

/// A connector with the version of its address and credentials, and whose connection to it where each has their own.
type Key = (OrgId, ConnectorId, i64, Option<UserId>);

/// The streams of this node.
pub(crate) struct Watchers {
    table: Mutex<HashMap<Key, Arc<Watcher>>>,
    refresh: Arc<dyn Refresh>,
}

impl core::fmt::Debug for Watchers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Watchers")
    }
}

impl Watchers {
    pub(crate) fn new(refresh: Arc<dyn Refresh>) -> Self {
        Self { table: Mutex::default(), refresh }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Arc<Watcher>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a connector.
    pub(crate) fn watch(
        self: &Arc<Self>,
        org: OrgId,
        connector: &ReadyConnector,
        person: Option<UserId>,
        uris: BTreeSet<String>,
        ear: Ear,
    ) -> Watching {
        let owner = connector.upstream.owner(person);
        let key = (org, connector.plane.id, connector.plane.version, owner);
        let mut table = self.table();
        let known = table.get(&key).cloned();
        let is_new = known.is_none();
        let watcher = known.unwrap_or_else(|| {
            Arc::new(Watcher {
                connector: connector.plane.id,
                listening: Mutex::default(),
                next: AtomicU64::new(0),
                changed: Notify::new(),
                ready: watch::channel(false).0,
                stop: CancellationToken::new(),
            })
        });
        if is_new {
            table.insert(key, Arc::clone(&watcher));
        }
        let id = watcher.next.fetch_add(1, Ordering::Relaxed);
        let new_uris = !uris.is_empty();
        watcher.listening().insert(id, Listening { ear, uris });
        if is_new {
            let upstream = connector.upstream.of(&connector.plane, person);
            tokio::spawn(Arc::clone(&watcher).run(org, upstream, Arc::clone(&self.refresh)));
        } else if new_uris {
            watcher.changed.notify_one();
        }
        Watching { watcher, id, all: Arc::clone(self), key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_read() {
        let note = |method: &str, params: &str| {
            read(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{params}}}"#))
        };
        assert_eq!(note("tools/list_changed", "{}"), Some(News::Tools));
        assert_eq!(note("resources/updated", r#"{"uri":"a:b"}"#), Some(News::Updated("a:b".into())));
        assert_eq!(note("resources/updated", "{}"), None);
        assert_eq!(note("progress", "{}"), None);
    }
}
