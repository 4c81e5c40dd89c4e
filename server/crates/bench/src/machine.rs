//! Processes: starting them, ending them, and what they cost.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::{Done, Plan, load::Connection};

/// Ticks of `/proc` in a second: fixed by the kernel's interface to programs.
const TICKS: f64 = 100.0;

/// Of databases that are gone when the benchmark is.
const MASTER_KEY: &str = "rRq0uY2c5Jt1mEoWv7Zr3bNd9sKgHfPa6TxLi4Dq0Ek";

/// A process that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Started {
    /// Starts this program in another role; its first line says where it listens.
    pub(crate) async fn own(arguments: &[&str]) -> Done<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let address = BufReader::new(output).lines().next_line().await?.ok_or("it ended at once")?;
        Ok(Self { child, address })
    }

    fn file(&self, name: &str) -> Done<String> {
        let pid = self.child.id().ok_or("it has ended")?;
        Ok(fs::read_to_string(format!("/proc/{pid}/{name}"))?)
    }

    /// Seconds of processor time, its own and the kernel's for it.
    pub(crate) fn cpu(&self) -> Done<f64> {
        let stat = self.file("stat")?;
        // The second field is a name in brackets, which may hold anything.
        let rest = stat.rsplit_once(") ").ok_or("no stat")?.1;
        let field = |n: usize| -> Done<f64> { Ok(rest.split(' ').nth(n).ok_or("no field")?.parse()?) };
        Ok((field(11)? + field(12)?) / TICKS)
    }

    /// Resident memory, MiB.
    pub(crate) fn resident(&self) -> Done<f64> {
        let status = self.file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

/// Where a Gatehouse keeps its things, and how it is set.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    program: PathBuf,
    folder: Arc<TempDir>,
    postgres: Option<String>,
    address: Arc<std::sync::Mutex<String>>,
    settings: Vec<(&'static str, String)>,
}

impl Place {
    pub(crate) fn new(plan: &Plan) -> Done<Self> {
        Ok(Self {
            program: plan.gatehouse.canonicalize()?,
            folder: Arc::new(tempfile::tempdir()?),
            postgres: plan.postgres.clone(),
            address: Arc::new(std::sync::Mutex::new("127.0.0.1:1".to_owned())),
            settings: Vec::new(),
        })
    }

    /// With one more setting than the usual ones.
    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.settings.push((name, value));
        self
    }

    pub(crate) const fn database(&self) -> &'static str {
        if self.postgres.is_some() { "PostgreSQL" } else { "SQLite" }
    }

    fn command(&self) -> Command {
        let address = self.address.lock().map(|address| address.clone()).unwrap_or_default();
        let folder = self.folder.path();
        let database = self
            .postgres
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", folder.join("gatehouse.db").display()));
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .current_dir(folder)
            .env("HOME", folder)
            .env("GATEHOUSE_LISTEN", &address)
            .env("GATEHOUSE_PUBLIC_URL", format!("http://{address}"))
            .env("GATEHOUSE_DATABASE_URL", database)
            .env("GATEHOUSE_MASTER_KEY", MASTER_KEY)
            .env("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8")
            // So that a flood can come from many addresses.
            .env("GATEHOUSE_TRUSTED_PROXIES", "127.0.0.1/32")
            .env("GATEHOUSE_LOG", "warn")
            .envs(self.settings.iter().cloned())
            .kill_on_drop(true);
        command
    }

    /// One step of `gatehouse admin`.
    pub(crate) async fn admin(&self, arguments: &[&str]) -> Done<Value> {
        let output = self.command().arg("admin").args(arguments).arg("--json").output().await?;
        if !output.status.success() {
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// How many transactions the database has ended; `None` on `SQLite`.
    pub(crate) async fn transactions(&self) -> Done<Option<i64>> {
        let Some(url) = &self.postgres else { return Ok(None) };
        // Sessions tell their counts with a delay of up to a second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let query =
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
        let output = Command::new("psql").args([url, "-AtqXc", query]).output().await?;
        if !output.status.success() {
            return Err(format!("psql: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(Some(String::from_utf8(output.stdout)?.trim().parse()?))
    }
}

/// A Gatehouse that answers.
#[derive(Debug)]
pub(crate) struct Gatehouse {
    pub(crate) server: Started,
    /// From its start to its first answer.
    pub(crate) start: Duration,
}

impl Gatehouse {
    pub(crate) async fn start(place: &Place) -> Done<Self> {
        let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        {
            let mut address = place.address.lock().map_err(|_| "poisoned")?;
            address.clone_from(&free);
        }
        let began = Instant::now();
        let child = place.command().arg("serve").stdout(Stdio::null()).spawn()?;
        let server = Started { child, address: free };
        while began.elapsed() < Duration::from_secs(30) {
            let ready = async { Connection::open(&server.address).await?.get("/readyz").await };
            if ready.await.is_ok_and(|(status, _)| status == 200) {
                return Ok(Self { start: began.elapsed(), server });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err("gatehouse did not start".into())
    }
}

/// The machine, and how busy it is with other things.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let busy = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = busy.split(' ').next().unwrap_or_default();
    format!(
        "{cores} cores,{} load {busy} at the start",
        model.trim_start_matches(['\t', ' ', ':']).to_owned() + ","
    )
}
