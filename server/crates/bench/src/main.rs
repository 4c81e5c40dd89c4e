//! Measures a built Gatehouse from outside, and prints what `docs/benchmarks.md` explains.
//!
//! Owns: a small MCP server to call (`upstream`), the least a process can do between it and a client (`floor`), the load,
//! and the arithmetic. Must not know: anything of Gatehouse but its command line, its settings and its wire. Nothing here
//! asserts a time; every reply is checked.
//!
//! `bench run --gatehouse FILE [--postgres URL] [--quick]` is what `make bench` calls. It starts the others itself.

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
mod oauth;
mod stats;
mod upstream;

use std::{path::PathBuf, process::ExitCode};

use crate::machine::{Gatehouse, Place, Started};

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
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--gatehouse" => plan.gatehouse = value()?.into(),
                "--postgres" => plan.postgres = Some(value()?),
                "--quick" => {
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
        Some("run") => match Plan::read(arguments) {
            Ok(plan) => run(&plan).await,
            Err(why) => Err(why),
        },
        _ => Err("bench run --gatehouse FILE [--postgres URL] [--quick]".into()),
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
    calls::compare(plan, &gatehouse, &upstream, &floor, &keys).await?;
    calls::bad_keys(plan, &gatehouse, &keys).await?;
    oauth::verification(plan, &gatehouse, &keys).await?;
    oauth::without_database(&place, &gatehouse, &keys).await?;
    oauth::token_endpoint(plan, &gatehouse, &keys).await?;
    println!("resident {:.1} MiB after all of it", gatehouse.server.resident()?);
    Ok(())
}
