//! Measures a built Gatehouse from outside, and prints what `docs/benchmarks.md` explains.
//!
//! Owns: a small MCP server to call (`upstream`), the least a process can do between it and a client (`floor`), the least
//! that does a gateway's own work (`work`), the load, and the arithmetic. Must not know: anything of Gatehouse but its command line, its settings and its wire. Nothing here
//! asserts a time; every reply is checked.
//!
//! `bench run --gatehouse FILE [--postgres URL] [--quick]` and `bench memory --gatehouse FILE [--orgs N] [--streams N]` are
//! what `make bench` calls, `bench soak --gatehouse FILE [--postgres URL] [--minutes N]` what `make soak` does. They start the others themselves.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "these are measurements, to three digits"
)]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod calls;
mod floor;
mod load;
mod machine;
mod memory;
mod oauth;
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
    /// Minutes of the soak.
    pub(crate) minutes: f64,
    /// Organisations whose memory is looked at.
    pub(crate) orgs: usize,
    /// Streams that are open at once.
    pub(crate) streams: usize,
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
            minutes: 60.0,
            orgs: 50,
            streams: 10_000,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--gatehouse" => plan.gatehouse = value()?.into(),
                "--postgres" => plan.postgres = Some(value()?),
                "--minutes" => plan.minutes = value()?.parse()?,
                "--orgs" => plan.orgs = value()?.parse()?,
                "--streams" => plan.streams = value()?.parse()?,
                "--quick" => {
                    (plan.orgs, plan.streams) = (4, 200);
                    (plan.rounds, plan.calls) = (2, [100, 400, 400]);
                    (plan.steady, plan.tokens, plan.flood) = (3, 100, 200);
                }
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        if plan.gatehouse.as_os_str().is_empty() {
            return Err("--gatehouse FILE is needed".into());
        }
        Ok(plan)
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
        Some("memory") => match Plan::read(arguments) {
            Ok(plan) => memory::memory(&plan).await,
            Err(why) => Err(why),
        },
        Some("run") => match Plan::read(arguments) {
            Ok(plan) => run(&plan).await,
            Err(why) => Err(why),
        },
        _ => Err("bench run|memory|soak --gatehouse FILE [--postgres URL] [--quick] [--minutes N] [--orgs N] [--streams N]".into()),
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
    calls::bad_keys(plan, all).await?;
    oauth::verification(plan, &gatehouse, &keys).await?;
    oauth::without_database(&place, &gatehouse, &keys).await?;
    oauth::token_endpoint(plan, &gatehouse, &keys).await?;
    println!("resident {:.1} MiB after all of it", gatehouse.server.resident()?);
    Ok(())
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
