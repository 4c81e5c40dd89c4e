//! `gatehouse serve`: from settings to a running server, and its orderly end.

use std::{path::Path, sync::Arc, time::Duration};

use domain::{
    Clock, Env, Settings,
    dataplane::Planes,
    doctor::Journal,
    env::{Changes, SystemClock, SystemRng},
    idp::Jwks,
    mail::{Mailer, Smtp, SmtpSettings},
    mcp::upstream::{UpstreamSettings, Upstreams, stdio::Stdio},
    net::{Outbound, OutboundSettings},
    password::{PasswordSettings, Passwords},
    signing::KeyRing,
};
use gateway::Gateway;
use store::Db;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    accept,
    config::{Config, sqlite_path},
    front::Front,
    jobs::{self, Work, WritePath},
    keys,
    routes::{self, RouteParts, Stopping},
    usage::UsageMeter,
};

/// How long an unused session lives, milliseconds: eight hours (SES-04).
const SESSION_IDLE: i64 = 8 * 60 * 60 * 1000;
/// How long the process still accepts connections after it was told to stop, so that whoever asks for its readiness notices
/// (D12). Where nobody does, nobody has to.
const LAME_DUCK: Duration = Duration::from_secs(5);
/// How long what has no connection of its own may take to end.
const LOOSE_ENDS: Duration = Duration::from_secs(1);
/// How long the end may take that somebody asks for a second time.
const AT_ONCE: Duration = Duration::from_millis(700);
/// How long jobs and the database may take to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Makes a folder for the database and the key, which only its owner may enter. One that is there stays as it is.
pub fn private_folder(folder: &Path) -> Result<(), String> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder).map_err(|why| format!("cannot make the folder {}: {why}", folder.display()))
}

/// Connects, migrates and checks the master key: what every command needs.
pub async fn environment(config: &Config) -> Result<Env, String> {
    let rng = Arc::new(SystemRng);
    if let Some(path) = sqlite_path(&config.database_url)?
        && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
    {
        private_folder(folder)?;
    }
    let db = Db::connect(&config.database_url)
        .await
        .map_err(|why| format!("the database cannot be opened: {why}"))?;
    db.migrate().await.map_err(|why| format!("the database cannot be brought up to date: {why}"))?;
    let sealer = keys::sealer(config, rng.as_ref())?;
    keys::check(&db, &sealer).await?;
    let outbound = Outbound::new(OutboundSettings {
        allow: config.egress_allow.clone(),
        extra_ca_pem: config.extra_ca.clone(),
        dns_resolver: config.dns_resolver,
        user_agent: concat!("gatehouse/", env!("CARGO_PKG_VERSION")).to_owned(),
    })
    .map_err(|why| why.to_string())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let upstreams = {
        let clock = clock.clone();
        let now: domain::mcp::demo::Now = Arc::new(move || clock.now());
        Upstreams::with_stdio(
            gateway::clocked(Arc::new(outbound.clone())),
            now.clone(),
            UpstreamSettings::default(),
            Stdio::new(config.stdio.clone(), now, gateway::clocked),
        )
    };
    let mailer = mailer(config)?;
    Ok(Env {
        db,
        clock,
        rng,
        sealer: Arc::new(sealer),
        keys: Arc::new(KeyRing::default()),
        jwks: Arc::new(Jwks::default()),
        journal: Arc::new(Journal::default()),
        passwords: Arc::new(Passwords::new(PasswordSettings::default())),
        outbound,
        mailer,
        upstreams,
        settings: Arc::new(Settings {
            public_url: config.public_url.clone(),
            default_plan: config.default_plan,
            demo: config.demo,
            node: config.node.clone(),
            sign_up: config.sign_up,
            session_idle_ms: SESSION_IDLE,
            registration: config.registration,
            cimd: config.cimd,
            native_schemes: config.native_schemes.clone(),
            gateway_host: config.gateway_host.clone(),
        }),
        changes: Changes::default(),
        oauth: Arc::default(),
        upstream: Arc::default(),
    })
}

/// Whoever sends mails, if the operator named a server for them.
fn mailer(config: &Config) -> Result<Option<Arc<dyn Mailer>>, String> {
    let Some(url) = config.smtp_url.clone() else { return Ok(None) };
    let settings =
        SmtpSettings { url, from: config.smtp_from.clone(), extra_ca_pem: config.extra_ca.clone() };
    Ok(Some(Arc::new(Smtp::new(&settings)?)))
}

/// A server that is ready to accept: its routes and the work behind them.
pub struct Ready {
    /// What answers requests.
    pub front: Front,
    /// What the jobs work on.
    pub work: Work,
}

/// Puts the parts together. Nothing runs yet.
pub async fn assemble(env: Env, config: &Config, stopping: Stopping) -> Result<Ready, String> {
    domain::connectors::seal_queries(&env)
        .await
        .map_err(|why| format!("the URLs of connectors cannot be sealed: {why}"))?;
    domain::usage::recover(&env).await.map_err(|why| format!("the quotas cannot be read: {why}"))?;
    let planes =
        Planes::load(env.clone()).await.map_err(|why| format!("the organisations cannot be read: {why}"))?;
    let meter = Arc::new(UsageMeter::default());
    let mut settings = gateway::Settings::new(config.public_url.clone());
    settings.max_body = config.max_body;
    let tickets = Arc::new(domain::tickets::Tickets::new(&env.sealer));
    let gateway = Gateway::new(gateway::Parts {
        directory: planes.clone(),
        upstreams: env.upstreams.clone(),
        keeper: Arc::new(env.clone()),
        tokens: Arc::new(env.clone()),
        judge: Arc::new(env.clone()),
        journal: env.journal.clone(),
        ledger: Arc::new(env.clone()),
        meter: meter.clone(),
        refresh: Arc::new(crate::refresh::Refresher(env.clone())),
        clock: env.clock.clone(),
        rng: env.rng.clone(),
        tickets,
        settings,
    });
    let write_path = WritePath::default();
    let front = routes::front(RouteParts {
        env: env.clone(),
        gateway: gateway.clone(),
        trusted_proxies: config.trusted_proxies.clone().into(),
        stopping,
        write_path: write_path.clone(),
    });
    let health_interval = i64::from(config.health_interval) * 1000;
    Ok(Ready { front, work: Work { env, planes, gateway, meter, health_interval, write_path } })
}

/// Runs until the process is told to stop.
pub async fn run(config: Config) -> Result<(), String> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|why| format!("cannot listen on {}: {why}; set GATEHOUSE_LISTEN", config.listen))?;
    let metrics = match config.metrics_listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|why| {
            format!("cannot listen on {address} for metrics: {why}; set GATEHOUSE_METRICS_LISTEN")
        })?),
        None => None,
    };
    let env = environment(&config).await?;
    let (stopping, stop, stop_jobs) =
        (Stopping::default(), accept::Stop::default(), CancellationToken::new());
    let ready = assemble(env.clone(), &config, stopping.clone()).await?;
    let gateway = ready.work.gateway.clone();
    let mut jobs = jobs::start(ready.work.clone(), &stop_jobs);
    if let Some(listener) = metrics {
        jobs.spawn(crate::metrics::serve(listener, ready.work, stop_jobs.clone()));
    }
    announce(&env, &config).await?;

    let limits = accept::Limits {
        connections: config.max_connections,
        trusted: config.trusted_proxies.clone().into(),
    };
    let accept = tokio::spawn(accept::serve(listener, ready.front, limits, stop.clone()));
    told_to_stop().await;
    tracing::info!("stopping");
    let hurry = CancellationToken::new();
    {
        let hurry = hurry.clone();
        tokio::spawn(async move {
            told_to_stop().await;
            hurry.cancel();
        });
    }
    stopping.now.cancel();
    gateway.leave();
    if stopping.is_watched() {
        let _ = tokio::time::timeout(LAME_DUCK, hurry.cancelled()).await;
    }
    stop.accepting.cancel();
    gateway.close();
    let accept = async {
        let _ = accept.await;
        let _ = tokio::time::timeout(LOOSE_ENDS, gateway.finished()).await;
    };
    let mut accept = std::pin::pin!(accept);
    tokio::select! {
        () = &mut accept => {}
        () = hurry.cancelled() => {
            stop.answering.cancel();
            let _ = tokio::time::timeout(AT_ONCE, accept).await;
        }
    }
    stop_jobs.cancel();
    let farewell = async {
        env.upstreams.end().await;
        while jobs.join_next().await.is_some() {}
        env.db.close().await;
    };
    let late = async {
        tokio::select! {
            () = tokio::time::sleep(FAREWELL) => {}
            () = async {
                hurry.cancelled().await;
                tokio::time::sleep(AT_ONCE).await;
            } => {}
        }
    };
    tokio::select! {
        () = farewell => {}
        () = late => tracing::warn!("the database did not answer while stopping"),
    }
    Ok(())
}

/// Tells the operator where the server is, and how to take possession of it.
#[expect(clippy::print_stdout, reason = "the set-up link is for the person at the terminal")]
async fn announce(env: &Env, config: &Config) -> Result<(), String> {
    tracing::info!(listen = %config.listen, public_url = %config.public_url, database = ?env.db.kind(), "listening");
    println!("Gatehouse listens on {} as {}", config.listen, env.settings.absolute("/"));
    let link = domain::accounts::setup_link(env)
        .await
        .map_err(|why| format!("no set-up link could be made: {why}"))?;
    if let Some(link) = link {
        println!("Nobody has set it up yet. Open this link once to become its owner:\n\n    {link}\n");
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
async fn told_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}
