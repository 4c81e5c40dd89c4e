//! Streams of news: `subscriptions/listen` of the modern era, and the GET stream of a legacy session.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use domain::mcp::{IMPLEMENTATION, json, meta, sse};
use futures_util::{future::join_all, stream};
use model::ConnectorId;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, timeout},
};

use crate::{
    attend::Attending,
    ending::Ending,
    handler::Caller,
    limits::StreamSlot,
    outbox::Position,
    planes::ReadyConnector,
    reply,
    sessions::Live,
    uris,
    watch::{News, Watching},
    watchful::Watchful,
};

/// How long a stream waits at its beginning for the servers, so that what changes from then on is told.
const READY: Duration = Duration::from_millis(1500);
/// The longest life of a stream (REQ-06).
const LIFE: Duration = Duration::from_hours(1);
/// For how long news are kept for a session whose stream broke off.
const GRACE: Duration = Duration::from_mins(2);
/// What a stream ends with when the process stops.
pub(crate) const LEAVING: &[u8] = b": this server is about to stop; open the stream again\n\n";
/// News that wait for one listener.
const EAR: usize = 64;

/// What a client wants to hear of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
    /// Resources by URI, as the client names them.
    pub(crate) uris: HashSet<String>,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Changed(&'static str),
    /// A resource, as the client names it.
    Updated(String),
    /// Time has passed.
    Nothing,
    /// The credential does not work any more.
    Over,
}

/// Where in the connectors of a caller its news come from.
struct Ears {
    watch: Watchful,
    only: Option<ConnectorId>,
    filter: Filter,
    tick: Interval,
    ear: mpsc::Sender<(ConnectorId, News)>,
    news: mpsc::Receiver<(ConnectorId, News)>,
    watching: HashMap<(ConnectorId, i64), Watching>,
    /// The client's names of the resources that it wants to hear of, by connector and the server's name.
    names: HashMap<ConnectorId, BTreeMap<String, BTreeSet<String>>>,
    /// Of the list of tools that the client can have seen.
    tools: u32,
    /// The snapshot that this is in line with.
    version: i64,
}

impl Ears {
    fn new(caller: Caller, only: Option<ConnectorId>, filter: Filter) -> Self {
        let (ear, news) = mpsc::channel(EAR);
        let watch = Watchful::new(caller);
        let mut ears = Self {
            tick: watch.interval(),
            watch,
            only,
            filter,
            ear,
            news,
            watching: HashMap::new(),
            names: HashMap::new(),
            tools: 0,
            version: 0,
        };
        ears.tools = ears.tools_checksum();
        ears.sync();
        ears
    }

    fn tools_checksum(&self) -> u32 {
        let caller = &self.watch.caller;
        let only = self.only.and_then(|id| caller.ready.connectors.iter().find(|c| c.plane.id == id));
        caller.ready.listing(&caller.access.scope, only, caller.inner.settings.page).checksum()
    }

    /// Listens to the connectors that there are now.
    fn sync(&mut self) {
        let caller = &self.watch.caller;
        self.version = caller.ready.plane.version;
        let reach = |connector: &&ReadyConnector| {
            self.only.is_none_or(|only| only == connector.plane.id)
                && caller.access.scope.includes(connector.plane.id)
        };
        let connectors: Vec<_> = caller.ready.connectors.iter().filter(reach).collect();
        self.names.clear();
        for uri in &self.filter.uris {
            let place = match self.only {
                Some(only) => Some((only, uri.as_str())),
                None => match uris::split(uri)
                    .and_then(|(slug, own)| Some((caller.ready.connector(slug)?, own)))
                {
                    Some((connector, own)) => Some((connector.plane.id, own)),
                    None if caller.ready.unprefixed().is_some() => {
                        caller.ready.unprefixed().map(|connector| (connector.plane.id, uri.as_str()))
                    }
                    // Without a prefix it can only be of the one connector that there is.
                    None if connectors.len() == 1 => Some((connectors[0].plane.id, uri.as_str())),
                    None => None,
                },
            };
            if let Some((connector, own)) = place.filter(|(id, _)| caller.access.scope.includes(*id)) {
                let names = self.names.entry(connector).or_default();
                names.entry(own.to_owned()).or_default().insert(uri.clone());
            }
        }
        let mut watching = HashMap::new();
        for connector in connectors {
            let id = connector.plane.id;
            let own: BTreeSet<_> =
                self.names.get(&id).into_iter().flat_map(|names| names.keys().cloned()).collect();
            let key = (id, connector.plane.version);
            let one = if let Some(one) = self.watching.remove(&key) {
                one.set_uris(own);
                one
            } else {
                let org = caller.ready.plane.org;
                let person = caller.ready.plane.person(&caller.access);
                caller.inner.watchers.watch(org, connector, person, own, self.ear.clone())
            };
            watching.insert(key, one);
        }
        self.watching = watching;
    }

    /// Waits until the servers listen, but not for long.
    async fn ready(&self) {
        let _ = timeout(READY, join_all(self.watching.values().map(Watching::ready))).await;
    }

    /// The URIs that somebody can tell of.
    fn honoured(&self) -> BTreeSet<&String> {
        self.names.values().flat_map(BTreeMap::values).flatten().collect()
    }

    /// Cancel-safe.
    async fn next(&mut self) -> Vec<Heard> {
        tokio::select! {
            biased;
            _ = self.tick.tick() => {}
            Some((connector, news)) = self.news.recv() => return self.heard(connector, &news),
        }
        if !self.watch.still_allowed(None).await {
            return vec![Heard::Over];
        }
        if self.watch.caller.ready.plane.version == self.version {
            return vec![Heard::Nothing];
        }
        // A connector that came or went took its prompts and resources along.
        let before: BTreeSet<_> = self.watching.keys().copied().collect();
        self.sync();
        let mut heard = Vec::new();
        let tools = self.tools_checksum();
        if tools != self.tools {
            self.tools = tools;
            heard.extend(self.filter.tools.then_some(Heard::Changed("tools")));
        }
        if before != self.watching.keys().copied().collect() {
            heard.extend(self.filter.prompts.then_some(Heard::Changed("prompts")));
            heard.extend(self.filter.resources.then_some(Heard::Changed("resources")));
        }
        heard
    }

    fn heard(&mut self, connector: ConnectorId, news: &News) -> Vec<Heard> {
        match news {
            News::Tools if self.filter.tools => vec![Heard::Changed("tools")],
            News::Prompts if self.filter.prompts => vec![Heard::Changed("prompts")],
            News::Resources if self.filter.resources => vec![Heard::Changed("resources")],
            News::Updated(uri) => {
                let names = self.names.get(&connector).and_then(|names| names.get(uri));
                names.into_iter().flatten().map(|name| Heard::Updated(name.clone())).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A notification; `meta` is what stands in `_meta`.
fn notification(heard: &Heard, meta: Option<&str>) -> Option<String> {
    let meta = meta.map(|meta| format!(r#""_meta":{{{meta}}}"#));
    let params = |own: Option<String>| {
        let members: Vec<_> = own.into_iter().chain(meta.clone()).collect();
        if members.is_empty() { String::new() } else { format!(r#","params":{{{}}}"#, members.join(",")) }
    };
    match heard {
        Heard::Changed(what) => Some(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/{what}/list_changed"{}}}"#,
            params(None)
        )),
        Heard::Updated(uri) => Some(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated"{}}}"#,
            params(Some(format!(r#""uri":{}"#, json::quoted(uri))))
        )),
        Heard::Nothing | Heard::Over => None,
    }
}

/// One `subscriptions/listen`.
struct Listen {
    ears: Ears,
    /// The id of its request, as written: what everything on it names.
    id: String,
    since: Instant,
    sent_at: Instant,
    ending: Ending,
    _permit: StreamSlot,
}

impl Listen {
    fn meta(&self) -> String {
        format!(r#""io.modelcontextprotocol/subscriptionId":{}"#, self.id)
    }

    /// What it begins with: which part of the wish is fulfilled.
    fn acknowledged(&self) -> Bytes {
        let Filter { tools, prompts, resources, .. } = self.ears.filter;
        let mut honoured = Vec::new();
        for (wanted, name) in [
            (tools, "toolsListChanged"),
            (prompts, "promptsListChanged"),
            (resources, "resourcesListChanged"),
        ] {
            if wanted {
                honoured.push(format!(r#""{name}":true"#));
            }
        }
        let uris: Vec<_> = self.ears.honoured().into_iter().map(|uri| json::quoted(uri)).collect();
        if !uris.is_empty() {
            honoured.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
        }
        let message = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{{{}}},"_meta":{{{}}}}}}}"#,
            honoured.join(","),
            self.meta()
        );
        let mut out = Vec::new();
        sse::encode(&mut out, message.as_bytes());
        out.into()
    }

    async fn step(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            let (heard, is_over) = tokio::select! {
                biased;
                heard = self.ears.next() => (heard, self.since.elapsed() > LIFE),
                () = self.ending.come() => (Vec::new(), true),
            };
            let mut out = Vec::new();
            for one in &heard {
                if *one == Heard::Over {
                    return Some((
                        Bytes::from_static(b": the credential of this stream does not work any more\n\n"),
                        None,
                    ));
                }
                if let Some(message) = notification(one, Some(&self.meta())) {
                    sse::encode(&mut out, message.as_bytes());
                }
            }
            if is_over {
                let result = format!(
                    r#"{{"resultType":"complete","_meta":{{{},"{}":{IMPLEMENTATION}}}}}"#,
                    self.meta(),
                    meta::SERVER_INFO
                );
                let last = reply::Message::new(Some(&self.id), "result").text(&result).event();
                out.extend_from_slice(&last);
                return Some((out.into(), None));
            }
            if out.is_empty() && self.sent_at.elapsed() >= self.ears.watch.caller.inner.settings.heartbeat {
                out.extend_from_slice(b": listening\n\n");
            }
            if !out.is_empty() {
                self.sent_at = Instant::now();
                return Some((out.into(), Some(self)));
            }
        }
    }
}

/// The answer to `subscriptions/listen`.
pub(crate) async fn listen(
    caller: Caller,
    only: Option<ConnectorId>,
    id: &str,
    filter: Filter,
    permit: StreamSlot,
) -> Response {
    let ending = caller.inner.streams.ending();
    caller.trace.given();
    let ears = Ears::new(caller, only, filter);
    ears.ready().await;
    let now = Instant::now();
    let listen = Listen { ears, id: id.to_owned(), since: now, sent_at: now, ending, _permit: permit };
    let first = listen.acknowledged();
    let rest = stream::unfold(Some(listen), |state| async move { state?.step().await });
    let body = futures_util::StreamExt::chain(stream::iter([first]), rest);
    reply::events(Body::from_stream(futures_util::StreamExt::map(body, Ok::<_, Infallible>)))
}

/// Hears of news for a session as long as somebody reads them, and a while longer, so that a client whose connection broke
/// misses nothing.
async fn pump(caller: Caller, only: Option<ConnectorId>, live: Arc<Live>) {
    let filter =
        || Filter { tools: true, prompts: true, resources: true, uris: live.subscriptions().clone() };
    let mut ears = Ears::new(caller, only, filter());
    let mut attending = Attending::new(&live);
    let mut read_at = Instant::now();
    loop {
        if live.readers.load(Ordering::SeqCst) > 0 {
            read_at = Instant::now();
        } else if read_at.elapsed() > GRACE {
            break;
        }
        attending.look(&ears.watch.caller, only);
        let heard = tokio::select! {
            biased;
            () = live.ended.cancelled() => break,
            // Perhaps a server has a session of the client's now.
            () = live.called.notified() => continue,
            () = live.changed.notified() => {
                ears.filter = filter();
                ears.sync();
                continue;
            }
            heard = ears.next() => heard,
        };
        if heard.contains(&Heard::Over) {
            break;
        }
        for message in heard.iter().filter_map(|one| notification(one, None)) {
            live.outbox.push(message.into());
        }
    }
    live.pumped.store(false, Ordering::SeqCst);
}

/// Counts who reads the stream of a session.
struct Reader(Arc<Live>);

impl Reader {
    fn new(live: &Arc<Live>) -> Self {
        live.readers.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(live))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One GET stream.
struct Get {
    reader: Reader,
    position: Position,
    watch: Watchful,
    only: Option<ConnectorId>,
    tick: Interval,
    since: Instant,
    sent_at: Instant,
    ending: Ending,
    _permit: StreamSlot,
}

impl Get {
    fn keep_pumping(&self) {
        let live = &self.reader.0;
        if !live.pumped.swap(true, Ordering::SeqCst) {
            tokio::spawn(pump(self.watch.caller.clone(), self.only, Arc::clone(live)));
        }
    }

    /// With an id, so that the client can go on from here after its connection broke.
    fn first(&self) -> Bytes {
        let live = &self.reader.0;
        let at = live.outbox.id_at(&self.position);
        // Clients of before 2025-11-25 do not expect an event without data.
        if live.version == "2025-11-25" {
            format!("id: {at}\nretry: 1000\ndata:\n\n").into()
        } else {
            Bytes::from_static(b": listening\n\n")
        }
    }

    async fn step(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            let live = Arc::clone(&self.reader.0);
            tokio::select! {
                biased;
                _ = self.tick.tick() => {}
                () = live.ended.cancelled() => return None,
                () = self.ending.come() => return Some((Bytes::from_static(LEAVING), None)),
                next = live.outbox.next(&mut self.position) => {
                    // Another stream of the same session has taken over.
                    let (id, message) = next?;
                    let mut out = format!("id: {id}\n").into_bytes();
                    sse::encode(&mut out, &message);
                    self.sent_at = Instant::now();
                    return Some((out.into(), Some(self)));
                }
            }
            if !self.watch.still_allowed(None).await {
                return Some((
                    Bytes::from_static(b": the credential of this stream does not work any more\n\n"),
                    None,
                ));
            }
            if self.since.elapsed() > LIFE {
                return None;
            }
            self.keep_pumping();
            if self.sent_at.elapsed() >= self.watch.caller.inner.settings.heartbeat {
                self.sent_at = Instant::now();
                return Some((Bytes::from_static(b": listening\n\n"), Some(self)));
            }
        }
    }
}

/// The answer to a GET in a session.
pub(crate) fn get(
    caller: Caller,
    only: Option<ConnectorId>,
    live: &Arc<Live>,
    last_seen: Option<&str>,
    permit: StreamSlot,
) -> Response {
    let ending = caller.inner.streams.ending();
    let watch = Watchful::new(caller);
    let get = Get {
        ending,
        reader: Reader::new(live),
        position: live.outbox.read(last_seen),
        tick: watch.interval(),
        watch,
        only,
        since: Instant::now(),
        sent_at: Instant::now(),
        _permit: permit,
    };
    get.keep_pumping();
    let first = get.first();
    let rest = stream::unfold(Some(get), |state| async move { state?.step().await });
    let body = futures_util::StreamExt::chain(stream::iter([first]), rest);
    reply::events(Body::from_stream(futures_util::StreamExt::map(body, Ok::<_, Infallible>)))
}
