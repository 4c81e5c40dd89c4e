//! Servers that are commands on this machine (2026-07-28, transports/stdio). Only the operator names commands, in the
//! configuration file; an organisation uses one by its name, and each connector has processes of its own.
//!
//! * [`StdioServer`]: what the operator wrote. * [`Stdio`]: all of them, and the processes that run.
//! * [`processes`]: those of one connector, behind an [`Exchange`](crate::mcp::exchange::Exchange).
//! * [`process`]: one of them. * [`log`]: what they wrote to their standard error. * [`os`]: what the system is asked for.

mod log;
mod os;
mod process;
mod processes;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use model::ConnectorId;
use secrecy::SecretString;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

pub use self::log::LogLine;
use self::processes::{NotListed, Processes};
use crate::mcp::{demo::Now, exchange::Exchange};

/// How long a process may take to end after its input was closed, and again after it was told to (SIGTERM).
const FAREWELL: Duration = Duration::from_secs(2);

/// Which organisations may use a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// All, also those made later.
    Everybody,
    /// Those with these slugs.
    To(BTreeSet<String>),
}

impl Offered {
    /// Whether the organisation with this slug is among them.
    pub fn includes(&self, org: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::To(slugs) => slugs.contains(org),
        }
    }
}

/// A server that the operator lists.
#[derive(Clone, Debug)]
pub struct StdioServer {
    /// What it is called in the configuration and by connectors: lower-case letters, digits and hyphens.
    pub name: String,
    /// What people are shown besides; may be empty.
    pub about: String,
    /// The program: a path, or a name that is looked for in [`StdioServer::env`]'s `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment: nothing is inherited.
    pub env: Vec<(String, SecretString)>,
    /// Its working directory; Gatehouse's own if there is none.
    pub dir: Option<PathBuf>,
    /// Who may use it.
    pub offered: Offered,
    /// Whether it runs all the time, rather than when it is needed.
    pub always: bool,
    /// Whether each session of a client has a process of its own, rather than all clients of a connector one.
    pub per_session: bool,
    /// For how long a process runs that nobody uses.
    pub idle: Duration,
    /// How long the handshake may take, from the start of the process.
    pub start: Duration,
    /// How many processes may run at once, those of all organisations together.
    pub processes: u32,
    /// Data memory of each process in bytes.
    pub memory: Option<u64>,
    /// Seconds of processor time after which a process is ended.
    pub cpu: Option<u64>,
    /// User and group, by number, that it runs as.
    pub run_as: Option<(u32, u32)>,
}

impl StdioServer {
    /// A server with nothing but a command, offered to everybody.
    pub fn new(name: &str, command: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: String::new(),
            command: command.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            offered: Offered::Everybody,
            always: false,
            per_session: false,
            idle: Duration::from_mins(10),
            start: Duration::from_secs(30),
            processes: 16,
            memory: None,
            cpu: None,
            run_as: None,
        }
    }
}

/// A listed server and the places of its processes.
#[derive(Debug)]
struct Listed {
    server: StdioServer,
    places: Arc<Semaphore>,
}

/// What processes have in common.
struct Common {
    now: Now,
    /// Raised when all are to end.
    stopping: watch::Sender<bool>,
    /// How many there are.
    alive: watch::Sender<usize>,
}

/// How a server on this machine does, as far as this process of Gatehouse knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessReport {
    /// Since when its processes run, Unix milliseconds.
    pub running: Vec<i64>,
    /// Seconds until it is started again after it ended too often.
    pub rests: Option<u32>,
    /// The last lines that it wrote to its standard error, and what happened to it, the oldest first.
    pub log: Vec<LogLine>,
}

/// The servers that the operator lists, and their processes. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Stdio(Arc<Inner>);

struct Inner {
    servers: BTreeMap<String, Arc<Listed>>,
    common: Arc<Common>,
    /// Puts what the gateway wants between itself and every server.
    wrap: fn(Arc<dyn Exchange>) -> Arc<dyn Exchange>,
    connectors: Mutex<HashMap<ConnectorId, Weak<Processes>>>,
}

impl core::fmt::Debug for Stdio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stdio").field("servers", &self.0.servers.keys()).finish_non_exhaustive()
    }
}

impl Default for Stdio {
    fn default() -> Self {
        Self::new(Vec::new(), Arc::new(|| 0), |exchange| exchange)
    }
}

impl Stdio {
    /// With these servers; `wrap` is put around the way to each. Nothing is started.
    pub fn new(
        servers: Vec<StdioServer>,
        now: Now,
        wrap: fn(Arc<dyn Exchange>) -> Arc<dyn Exchange>,
    ) -> Self {
        let listed = |server: StdioServer| {
            let places = Arc::new(Semaphore::new(server.processes as usize));
            (server.name.clone(), Arc::new(Listed { server, places }))
        };
        Self(Arc::new(Inner {
            servers: servers.into_iter().map(listed).collect(),
            common: Arc::new(Common {
                now,
                stopping: watch::Sender::new(false),
                alive: watch::Sender::new(0),
            }),
            wrap,
            connectors: Mutex::default(),
        }))
    }

    /// What an organisation may choose from.
    pub fn offered<'s>(&'s self, org: &str) -> impl Iterator<Item = &'s StdioServer> {
        self.0
            .servers
            .values()
            .map(|listed| &listed.server)
            .filter(move |server| server.offered.includes(org))
    }

    /// One of them, if the organisation may use it.
    pub fn find(&self, name: &str, org: &str) -> Option<&StdioServer> {
        self.listed(name, org).map(|listed| &listed.server)
    }

    fn listed(&self, name: &str, org: &str) -> Option<&Arc<Listed>> {
        self.0.servers.get(name).filter(|listed| listed.server.offered.includes(org))
    }

    /// The way to a server, with processes of its own; they end with it. `connector` is whose it is, if it is saved.
    /// Nothing is started yet. What is not listed has a way on which nothing is sent.
    pub(super) fn way(
        &self,
        name: &str,
        org: &str,
        connector: Option<ConnectorId>,
        max_bytes: usize,
    ) -> Arc<dyn Exchange> {
        let Some(listed) = self.listed(name, org) else { return Arc::new(NotListed) };
        let processes = Processes::new(Arc::clone(listed), Arc::clone(&self.0.common), max_bytes);
        if let Some(connector) = connector {
            let mut connectors = self.0.connectors.lock().unwrap_or_else(PoisonError::into_inner);
            connectors.retain(|_, processes| processes.strong_count() > 0);
            connectors.insert(connector, Arc::downgrade(&processes));
        }
        (self.0.wrap)(processes)
    }

    fn of(&self, connector: ConnectorId) -> Option<Arc<Processes>> {
        self.0.connectors.lock().unwrap_or_else(PoisonError::into_inner).get(&connector)?.upgrade()
    }

    /// Whether there are any that run all the time.
    pub fn any_always(&self) -> bool {
        self.0.servers.values().any(|listed| listed.server.always)
    }

    /// How a connector's server does.
    pub fn report(&self, connector: ConnectorId) -> ProcessReport {
        self.of(connector).map(|processes| processes.report()).unwrap_or_default()
    }

    /// Whether a connector's server is at rest because nobody needs it, so that a check would only wake it up.
    pub fn sleeps(&self, name: &str, connector: ConnectorId) -> bool {
        let always = self.0.servers.get(name).is_some_and(|listed| listed.server.always);
        !always && self.of(connector).is_none_or(|processes| processes.sleeps())
    }

    /// Ends all processes and waits until they have; none is started from now on.
    pub async fn stop(&self) {
        let common = &self.0.common;
        common.stopping.send_replace(true);
        let mut alive = common.alive.subscribe();
        // Each is killed at the latest after twice the farewell; a moment more is for the system.
        let all = alive.wait_for(|alive| *alive == 0);
        if timeout(FAREWELL * 2 + Duration::from_secs(1), all).await.is_err() {
            tracing::error!("processes of servers on this machine did not end");
        }
    }
}
