//! The command line. `gatehouse` alone serves.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

mod people;

pub use people::{InviteCommand, MemberCommand, SessionsCommand, UserCommand};

use crate::{
    admin,
    config::{self, Config, LogFormat},
    operate, serve, signing_keys, verify_audit,
};

/// Self-hosted, multi-tenant MCP gateway with a dashboard.
#[derive(Debug, Parser)]
#[command(name = "gatehouse", version, about, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(clippy::doc_markdown, reason = "these texts are the help on the terminal")]
pub enum Command {
    /// Serve the dashboard and the MCP endpoints (the default).
    Serve,
    /// Do a step that a script needs, on the configured database, whether or not a server is running.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// The keys that access tokens are signed with.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Check settings, database, keys, egress and clock.
    Doctor,
    /// Check that no event of the audit log was changed, removed or put in. Exits non-zero and names the first that does
    /// not fit.
    VerifyAudit {
        /// Only the log of the organisation with this slug.
        #[arg(long)]
        org: Option<String>,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Write a consistent copy of the SQLite database to a new file, also while the server runs.
    Backup {
        /// The file to write.
        file: PathBuf,
    },
    /// Put a copy in place as the configured SQLite database, which must not exist yet.
    Restore {
        /// The copy to read.
        file: PathBuf,
    },
}

/// The steps.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Make the first user and organisation. Done again, it changes nothing.
    Setup {
        /// The user's address.
        #[arg(long)]
        email: String,
        /// The user's password; `-` reads it from standard input.
        #[arg(long)]
        password: String,
        /// The organisation's name.
        #[arg(long)]
        org_name: String,
        /// The organisation's slug.
        #[arg(long)]
        org_slug: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Users.
    #[command(subcommand)]
    User(UserCommand),
    /// Sessions of people in the dashboard.
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Organisations.
    #[command(subcommand)]
    Org(OrgCommand),
    /// Connectors.
    #[command(subcommand)]
    Connector(ConnectorCommand),
    /// API keys.
    #[command(subcommand)]
    ApiKey(ApiKeyCommand),
    /// OAuth clients.
    #[command(subcommand)]
    OauthClient(OauthClientCommand),
    /// Domains of organisations' own.
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Export an organisation's data into a ZIP. Nothing of it stays in the database.
    Export {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// connectors, api-keys, members, usage or audit. May be repeated; without any, all of them.
        #[arg(long = "part")]
        parts: Vec<String>,
        /// In which form the parts are written.
        #[arg(long, value_enum, default_value_t = ExportFormatName::Json)]
        format: ExportFormatName,
        /// The first day of usage and audit log (UTC), such as 2026-03-12.
        #[arg(long, default_value = "")]
        from: String,
        /// The last one.
        #[arg(long, default_value = "")]
        to: String,
        /// The file to make. It must not be there yet.
        #[arg(long)]
        file: PathBuf,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Bring the connectors of an export into an organisation. Without --yes it only says what would be made.
    Import {
        /// The slug of the organisation that gets them.
        #[arg(long)]
        org: String,
        /// connectors.json of an export; `-` reads it from standard input.
        #[arg(long)]
        file: PathBuf,
        /// What becomes of a connector whose slug is, or was, taken.
        #[arg(long, value_enum, default_value_t = ClashName::Rename)]
        clash: ClashName,
        /// Make what it says.
        #[arg(long)]
        yes: bool,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// In which form an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormatName {
    /// For programs, and for importing connectors.
    Json,
    /// For spreadsheets.
    Csv,
}

/// What becomes of a connector whose slug is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClashName {
    /// It gets a number behind it.
    Rename,
    /// It is left out.
    Skip,
}

/// How to answer.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Answer in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Steps on signing keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List them, the oldest first.
    List {
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Publish the next key. It signs two hours later; this happens by itself every 90 days.
    Rotate {
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Remove a key in an emergency: no token that it signed is accepted any more.
    Retire {
        /// The key's id.
        kid: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// Steps on organisations.
#[derive(Debug, Subcommand)]
pub enum OrgCommand {
    /// Make an organisation.
    Create {
        /// Its name.
        #[arg(long)]
        name: String,
        /// Its slug, for ever.
        #[arg(long)]
        slug: String,
        /// The address of its first owner.
        #[arg(long)]
        owner: String,
        /// Its plan: free, pro, team or enterprise.
        #[arg(long)]
        plan: Option<String>,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Change settings of an organisation.
    Set {
        /// Its slug.
        #[arg(long)]
        org: String,
        /// Its plan: free, pro, team or enterprise.
        #[arg(long)]
        plan: Option<String>,
        /// Requests in a minute of one key; `plan` for what the plan says, `unlimited` for none.
        #[arg(long)]
        rate_per_minute: Option<String>,
        /// Calls in a month; `plan` for what the plan says, `unlimited` for none.
        #[arg(long)]
        monthly_quota: Option<String>,
        /// `off` stops enforcing its IP allowlist: for whoever locked themselves out.
        #[arg(long)]
        ip_allowlist: Option<OnlyOff>,
        /// Whether its members need a second factor.
        #[arg(long)]
        require_mfa: Option<Switch>,
        /// Whether keys can be read again.
        #[arg(long)]
        key_visibility: Option<Visibility>,
        /// Whether keys that are marked for it work in URLs.
        #[arg(long)]
        url_keys: Option<Switch>,
        /// For how many days its audit log is kept; 0 is as its plan says.
        #[arg(long)]
        audit_days: Option<i64>,
        /// After how many minutes without a request its members are logged out: 15 to 43200.
        #[arg(long)]
        session_timeout: Option<i64>,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Give an organisation another slug. Its endpoints move at once, keys with them; every connection is revoked, and
    /// the old slug is never used again.
    Rename {
        /// Its present slug.
        #[arg(long)]
        org: String,
        /// The new one.
        #[arg(long)]
        to: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Keep an organisation from working: nobody gets in, its endpoint answers 403, its tokens die. Nothing is removed.
    Suspend {
        /// Its slug.
        #[arg(long)]
        org: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Let a suspended organisation work again, with everything that it had.
    Resume {
        /// Its slug.
        #[arg(long)]
        org: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Members.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Invitations.
    #[command(subcommand)]
    Invite(InviteCommand),
}

/// Steps on connectors.
#[derive(Debug, Subcommand)]
pub enum ConnectorCommand {
    /// Add a connector. It is kept even if its server does not answer now.
    Add {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// The connector's slug: the prefix of its tools.
        #[arg(long)]
        slug: String,
        /// Its name.
        #[arg(long)]
        name: String,
        /// Where it is: a URL, or with `--transport stdio` the name of a server in the configuration file.
        #[arg(long)]
        url: String,
        /// How it is reached.
        #[arg(long, default_value = "http")]
        transport: TransportName,
        /// A header to send it, as `Name: value`. May be repeated.
        #[arg(long = "header")]
        headers: Vec<String>,
        /// Leave the prefix out of its names. Only for the organisation's only connector.
        #[arg(long)]
        no_prefix: bool,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// Steps on API keys.
#[derive(Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key. It is printed once.
    Create {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// Where it will be used.
        #[arg(long)]
        name: String,
        /// The slug of a connector that it is limited to. May be repeated; without any, it may use all.
        #[arg(long = "connector")]
        connectors: Vec<String>,
        /// Whether it may be used as `?api_key=`.
        #[arg(long)]
        url_key: bool,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// Steps on OAuth clients.
#[derive(Debug, Subcommand)]
pub enum OauthClientCommand {
    /// Make a client for a machine (client credentials). Its secret is printed once. Every refresh token of the organisation
    /// is revoked with it.
    Create {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// What it is called.
        #[arg(long)]
        name: String,
        /// What it may ask for: mcp:call, or mcp:call:CONNECTOR. May be repeated; without any, mcp:call.
        #[arg(long = "scope")]
        scopes: Vec<String>,
        /// How it sends its secret, in this way alone.
        #[arg(long, value_enum, default_value_t = SecretIn::Post)]
        auth_method: SecretIn,
        /// Leave the organisation's refresh tokens alone.
        #[arg(long)]
        keep_refresh_tokens: bool,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// Steps on domains of organisations' own.
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Show the domain, its DNS records, and how it stands.
    Show {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Enter a domain. It is in use once its records are found.
    Add {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// The host name, such as mcp.acme.com.
        #[arg(long)]
        host: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Ask the name server for the records now.
    Verify {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Remove the domain: nothing answers on it any more.
    Remove {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// How a client sends its secret, as RFC 7591 calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SecretIn {
    /// In the body of the request.
    #[value(name = "client_secret_post")]
    Post,
    /// In its `Authorization` header.
    #[value(name = "client_secret_basic")]
    Basic,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// What can only be switched off here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnlyOff {
    /// Off.
    Off,
}

/// Whether keys can be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Visibility {
    /// Shown once.
    Once,
    /// A sealed copy is kept.
    Copyable,
}

/// How a connector is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransportName {
    /// Over HTTP; that a server speaks only HTTP+SSE of 2024-11-05 is found out.
    Http,
    /// The same: the transport of 2024-11-05 is found out.
    Sse,
    /// A command on this machine, listed in the configuration file.
    Stdio,
}

/// Does what the arguments say. The text of an error is one sentence for the terminal.
pub fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let config = config::from_environment()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| format!("no runtime could be started: {why}"))?;
    let command = arguments.command.unwrap_or(Command::Serve);
    log(&config, matches!(command, Command::Serve))?;
    runtime.block_on(async {
        match command {
            Command::Serve => serve::run(config).await.map(|()| ExitCode::SUCCESS),
            Command::Admin(command) => admin::run(&config, command).await.map(|()| ExitCode::SUCCESS),
            Command::Keys(command) => signing_keys::run(&config, command).await.map(|()| ExitCode::SUCCESS),
            Command::Doctor => operate::doctor(&config).await,
            Command::VerifyAudit { org, output } => verify_audit::run(&config, org.as_deref(), output).await,
            Command::Backup { file } => operate::backup(&config, &file).await.map(|()| ExitCode::SUCCESS),
            Command::Restore { file } => operate::restore(&config, &file).await.map(|()| ExitCode::SUCCESS),
        }
    })
}

/// Which lines are written: those of these directives, and at any level those that nobody may lose (AUD-04).
///
/// # Errors
/// The directives do not read.
pub fn log_filter(wanted: &str) -> Result<tracing_subscriber::EnvFilter, String> {
    let filter = tracing_subscriber::EnvFilter::try_new(wanted)
        .map_err(|_| "GATEHOUSE_LOG must be directives such as info,domain=debug")?;
    let kept = format!("{}=info", domain::KEPT).parse().map_err(|_| "the directive for kept lines")?;
    Ok(filter.add_directive(kept))
}

/// Logs go to standard error. A command says only what went wrong; the server what the operator asked for.
fn log(config: &Config, serving: bool) -> Result<(), String> {
    let wanted = if serving { config.log.as_str() } else { "warn" };
    let filter = log_filter(wanted)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(false).init(),
    }
    Ok(())
}
