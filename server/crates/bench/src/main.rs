//! Measures a built Gatehouse from outside, and prints what `docs/benchmarks.md` explains.
//!
//! Owns: a small MCP server to call (`upstream`), the least a process can do between it and a client (`floor`), the least
//! that does a gateway's own work (`work`), the load, and the arithmetic. Must not know: anything of Gatehouse but its command line, its settings and its wire. Nothing here
//! asserts a time; every reply is checked.
//!
//! `bench run --gatehouse FILE [--postgres URL] [--quick] [--rounds N] [--only PART]` and `bench memory --gatehouse FILE
//! [--orgs N] [--streams N]` are what `make bench` calls, `bench soak --gatehouse FILE [--postgres URL] [--minutes N]` what
//! `make soak` does; `bench audit` is the part about the audit log alone, of `--rows N` events, and `bench overview` looks at the
//! overview of an organisation with `--rows N` requests. They start the others themselves.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "these are measurements, to three digits"
)]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod audit;
mod calls;
mod floor;
mod load;
mod machine;
mod memory;
mod neighbours;
mod oauth;
mod overview;
mod sign_in;
mod soak;
mod stats;
mod upstream;
mod work;

use std::{path::PathBuf, process::ExitCode};

use crate::{
    calls::Contestants,
    machine::{Gatehouse, Place, Started},
};

/// Why there is no result.
type Problem = Box<dyn std::error::Error + Send + Sync>;
type Done<T = ()> = Result<T, Problem>;

/// What to do, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) gatehouse: PathBuf,
    /// An empty database; `SQLite` without one.
    pub(crate) postgres: Option<String>,
    /// Rounds of each comparison.
    pub(crate) rounds: usize,
    /// Calls of one round, by how many at once: 1, 8, 32.
    pub(crate) calls: [usize; 3],
    /// Seconds of steady load on the token endpoint.
    pub(crate) steady: u64,
    /// Tokens to be verified for the first time.
    pub(crate) tokens: usize,
    /// Registrations of the flood.
    pub(crate) flood: usize,
    /// Wrong passwords of people who have an account.
    pub(crate) sign_ins: usize,
    /// Minutes of the soak.
    pub(crate) minutes: f64,
    /// Events of the audit log.
    pub(crate) rows: i64,
    /// Organisations whose memory is looked at.
    pub(crate) orgs: usize,
    /// Streams that are open at once.
    pub(crate) streams: usize,
    /// The one part to measure, if not all.
    pub(crate) only: Option<Part>,
}

/// What is measured, for whoever looks into one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `tools/call`, so many at once.
    Calls(usize),
    Lists,
    Shapes,
    Flood,
    Neighbours,
    OAuth,
}

impl Part {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "calls-1" => Self::Calls(1),
            "calls-8" => Self::Calls(8),
            "calls-32" => Self::Calls(32),
            "lists" => Self::Lists,
            "shapes" => Self::Shapes,
            "flood" => Self::Flood,
            "neighbours" => Self::Neighbours,
            "oauth" => Self::OAuth,
            _ => return None,
        })
    }
}

impl Plan {
    fn read(mut arguments: impl Iterator<Item = String>) -> Done<Self> {
        let mut plan = Self {
            gatehouse: PathBuf::new(),
            postgres: None,
            rounds: 7,
            calls: [1000, 4000, 4000],
            steady: 20,
            tokens: 4000,
            flood: 5000,
            sign_ins: 200,
            minutes: 60.0,
            rows: 1_000_000,
            only: None,
            orgs: 50,
            streams: 10_000,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--gatehouse" => plan.gatehouse = value()?.into(),
                "--postgres" => plan.postgres = Some(value()?),
                "--minutes" => plan.minutes = value()?.parse()?,
                "--rows" => plan.rows = value()?.parse()?,
                "--rounds" => plan.rounds = value()?.parse()?,
                "--only" => {
                    plan.only = Some(
                        Part::read(&value()?)
                            .ok_or("calls-1, calls-8, calls-32, lists, shapes, flood, neighbours or oauth")?,
                    );
                }
                "--orgs" => plan.orgs = value()?.parse()?,
                "--streams" => plan.streams = value()?.parse()?,
                "--quick" => {
                    plan.rows = 20_000;
                    (plan.orgs, plan.streams) = (4, 200);
                    (plan.rounds, plan.calls) = (2, [100, 400, 400]);
                    (plan.steady, plan.tokens, plan.flood) = (3, 100, 200);
                    plan.sign_ins = 20;
                }
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        if plan.gatehouse.as_os_str().is_empty() {
            return Err("--gatehouse FILE is needed".into());
        }
        Ok(plan)
    }

    pub(crate) fn measures(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("upstream") => upstream::serve().await,
        Some("floor") => match arguments.next() {
            Some(to) => floor::serve(&to).await,
            None => Err("floor needs the address of the upstream".into()),
        },
        Some("work") => match (arguments.next(), arguments.next()) {
            (Some(to), Some(key)) => work::serve(&to, &key).await,
            _ => Err("work needs the address of the upstream and a key".into()),
        },
        Some("soak") => match Plan::read(arguments) {
            Ok(plan) => soak(&plan).await,
            Err(why) => Err(why),
        },
        Some("audit") => match Plan::read(arguments) {
            Ok(plan) => audit::figures(&plan).await,
            Err(why) => Err(why),
        },
        Some("overview") => match Plan::read(arguments) {
            Ok(plan) => overview::figures(&plan).await,
            Err(why) => Err(why),
        },
        Some("memory") => match Plan::read(arguments) {
            Ok(plan) => memory::memory(&plan).await,
            Err(why) => Err(why),
        },
        Some("run") => match Plan::read(arguments) {
            Ok(plan) => run(&plan).await,
            Err(why) => Err(why),
        },
        _ => Err("bench run|audit|overview|memory|soak --gatehouse FILE [--postgres URL] [--quick] [--rounds N] [--only PART] [--rows N] [--minutes N] [--orgs N] [--streams N]"
            .into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("failed: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(plan: &Plan) -> Done {
    let upstream = Started::own(&["upstream"]).await?;
    let floor = Started::own(&["floor", &upstream.address]).await?;
    let place = Place::new(plan)?;
    println!("## {} · {}\n", place.database(), machine::describe());
    let first = Gatehouse::start(&place).await?;
    let first_start = first.start;
    let keys = calls::set_up(&place, &upstream).await?;
    drop(first);
    let gatehouse = Gatehouse::start(&place).await?;
    println!(
        "start {:.0} ms on an empty database, {:.0} ms again; resident {:.1} MiB when idle\n",
        first_start.as_secs_f64() * 1e3,
        gatehouse.start.as_secs_f64() * 1e3,
        gatehouse.server.resident()?,
    );
    let keys = calls::with_token(keys, &gatehouse).await?;
    let work = Started::own(&["work", &upstream.address, &keys.api_key]).await?;
    let all =
        Contestants { upstream: &upstream, pass: &floor, work: &work, gatehouse: &gatehouse, keys: &keys };
    calls::compare(plan, all).await?;
    if plan.measures(Part::Flood) {
        calls::bad_keys(plan, all).await?;
    }
    if plan.measures(Part::Neighbours) {
        neighbours::figures(plan, &place, &gatehouse, &upstream, &keys).await?;
    }
    if plan.measures(Part::OAuth) {
        oauth::verification(plan, &gatehouse, &keys).await?;
        oauth::without_database(&place, &gatehouse, &keys).await?;
        oauth::token_endpoint(plan, &gatehouse, &keys).await?;
        sign_in::telling(plan, &place, &gatehouse).await?;
        sign_in::beside_calls(plan, &gatehouse, &keys).await?;
    }
    println!("resident {:.1} MiB after all of it\n", gatehouse.server.resident()?);
    drop(gatehouse);
    if plan.only.is_none() { audit::figures(plan).await } else { Ok(()) }
}

async fn soak(plan: &Plan) -> Done {
    let upstream = Started::own(&["upstream"]).await?;
    let place = Place::new(plan)?;
    println!("## {} · {}\n", place.database(), machine::describe());
    let keys = calls::set_up(&place, &upstream).await?;
    let gatehouse = Gatehouse::start(&place).await?;
    let lasting = std::time::Duration::from_secs_f64(plan.minutes.max(0.1) * 60.0);
    soak::soak(plan, &gatehouse, &keys, lasting).await
}
