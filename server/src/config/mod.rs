//! Settings: `GATEHOUSE_*` variables over an optional `gatehouse.toml`.
//!
//! Every setting is in [`TABLE`], which is also the documentation (`docs/configuration.md`, checked by a test). A name
//! that is not in the table is an error, so that a misspelt setting is noticed at start and not in an incident. Servers on
//! this machine stand in the file alone: [`stdio`].

mod stdio;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use domain::{mail::parse_sender, mcp::upstream::stdio::StdioServer, net::EgressAllow};
use ipnet::IpNet;
use model::{Plan, links::SignUp};
use secrecy::SecretString;
use url::{Host, Url};

/// One setting, as the documentation shows it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// What holds when it is not set, in words.
    pub default: &'static str,
    /// What it is for.
    pub about: &'static str,
}

/// Every setting.
pub const TABLE: &[Setting] = &[
    Setting { name: "GATEHOUSE_LISTEN", default: "127.0.0.1:3000", about: "Address and port to listen on." },
    Setting {
        name: "GATEHOUSE_METRICS_LISTEN",
        default: "none",
        about: "Address and port of a second listener with /metrics for Prometheus and /internal/tls/ask for a proxy that gets certificates. It asks for no credential: choose an address that only you reach.",
    },
    Setting {
        name: "GATEHOUSE_PUBLIC_URL",
        default: "http:// and the listen address",
        about: "The URL under which people and agents reach this instance. It must be https, except on loopback. Passkeys belong to its host and need a name: with an IP address there are none.",
    },
    Setting {
        name: "GATEHOUSE_DATABASE_URL",
        default: "sqlite://data/gatehouse.db",
        about: "The database: sqlite://path, or postgres://user:password@host/name.",
    },
    Setting {
        name: "GATEHOUSE_MASTER_KEY",
        default: "the key file",
        about: "The key that seals all secrets: 32 bytes in base64 or hex. Use it or the file, not both.",
    },
    Setting {
        name: "GATEHOUSE_MASTER_KEY_FILE",
        default: "master.key beside an SQLite database",
        about: "A file with the master key, readable by its owner only. Beside an SQLite database it is made at first start; with PostgreSQL it has to be given.",
    },
    Setting {
        name: "GATEHOUSE_TRUSTED_PROXIES",
        default: "none",
        about: "Comma-separated CIDRs of reverse proxies whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are believed.",
    },
    Setting {
        name: "GATEHOUSE_EGRESS_ALLOW",
        default: "none",
        about: "Comma-separated CIDR, CIDR:port[-port] or host:port that upstream servers may have besides public addresses.",
    },
    Setting {
        name: "GATEHOUSE_EXTRA_CA_FILE",
        default: "none",
        about: "PEM file of further certificate authorities for outgoing connections.",
    },
    Setting {
        name: "GATEHOUSE_DNS_RESOLVER",
        default: "the system's",
        about: "Address and port of the name server for outgoing connections, and for the records that prove domains.",
    },
    Setting {
        name: "GATEHOUSE_GATEWAY_HOST",
        default: "the public URL's host",
        about: "The host name that the CNAME records of organisations' own domains lead to.",
    },
    Setting {
        name: "GATEHOUSE_DEMO",
        default: "off",
        about: "on offers a built-in demo MCP server as a connector.",
    },
    Setting {
        name: "GATEHOUSE_DEFAULT_PLAN",
        default: "enterprise",
        about: "The plan of a new organisation: free, pro, team or enterprise.",
    },
    Setting {
        name: "GATEHOUSE_SIGN_UP",
        default: "invitation",
        about: "Who may make an account: open (anybody with an address; needs GATEHOUSE_SMTP_URL), invitation (whoever was invited) or closed (the operator makes them).",
    },
    Setting {
        name: "GATEHOUSE_SMTP_URL",
        default: "none",
        about: "The server for mails: smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465. Without TLS only on this machine, or with ?tls=none. Without this setting no mail is sent: links are shown to whoever invites, and written to the log, as those to accounts are, for the operator to pass on.",
    },
    Setting {
        name: "GATEHOUSE_SMTP_FROM",
        default: "Gatehouse <gatehouse@ the public host>",
        about: "Whom mails are from.",
    },
    Setting {
        name: "GATEHOUSE_REGISTRATION",
        default: "on",
        about: "off keeps OAuth clients from registering themselves; clients that are known go on working.",
    },
    Setting {
        name: "GATEHOUSE_CIMD",
        default: "on",
        about: "off refuses OAuth clients that are named by the URL of a document about them. Set it where the instance cannot reach the internet.",
    },
    Setting {
        name: "GATEHOUSE_NATIVE_SCHEMES",
        default: "none",
        about: "Comma-separated schemes of apps, besides the well-known ones, that OAuth clients may be sent back to.",
    },
    Setting {
        name: "GATEHOUSE_MAX_BODY_MIB",
        default: "4",
        about: "The largest request on the MCP endpoint, in MiB, from 1 to 16.",
    },
    Setting {
        name: "GATEHOUSE_MAX_CONNECTIONS",
        default: "10000",
        about: "How many connections may be open at once, from 16 to 1000000; one client address may hold half of them, a trusted proxy all. Raise the limit of open files with it.",
    },
    Setting {
        name: "GATEHOUSE_HEALTH_INTERVAL_SECONDS",
        default: "60",
        about: "How often each connector is checked, in seconds, from 10 to 86400.",
    },
    Setting {
        name: "GATEHOUSE_NODE_ID",
        default: "gatehouse",
        about: "The name of this process in audit events and logs.",
    },
    Setting {
        name: "GATEHOUSE_LOG",
        default: "info",
        about: "What is logged, as comma-separated target=level directives, such as info,domain=debug. Links that are to be passed on by hand and checkpoints of the audit log are written at any level.",
    },
    Setting { name: "GATEHOUSE_LOG_FORMAT", default: "text", about: "text for people, json for machines." },
    Setting {
        name: "GATEHOUSE_CONFIG",
        default: "gatehouse.toml, if it is there",
        about: "A file of settings: the same names without GATEHOUSE_ in lower case, such as public_url = \"https://…\".",
    },
];

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The settings of this process, checked.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where figures for Prometheus are served, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// The base URL, without a trailing slash in its text form.
    pub public_url: Url,
    /// The database's URL.
    pub database_url: String,
    /// The master key itself, if it was given as a value.
    pub master_key: Option<SecretString>,
    /// Where the master key is or shall be; `None` where it has to be given and was not.
    pub master_key_file: Option<PathBuf>,
    /// Whether the file may be made when it is not there.
    pub may_make_key_file: bool,
    /// Proxies to believe.
    pub trusted_proxies: Vec<IpNet>,
    /// Destinations besides public addresses.
    pub egress_allow: EgressAllow,
    /// Further certificate authorities, PEM.
    pub extra_ca: Option<Vec<u8>>,
    /// The name server for outgoing connections.
    pub dns_resolver: Option<SocketAddr>,
    /// Where CNAME records of organisations' domains lead.
    pub gateway_host: String,
    /// Whether the demo server is offered.
    pub demo: bool,
    /// The plan of a new organisation.
    pub default_plan: Plan,
    /// Whether strangers may make accounts.
    pub sign_up: SignUp,
    /// The server for mails, with user and password.
    pub smtp_url: Option<SecretString>,
    /// Whom mails are from.
    pub smtp_from: String,
    /// Whether OAuth clients may register themselves.
    pub registration: bool,
    /// Whether an OAuth client may be the URL of a document about it.
    pub cimd: bool,
    /// Schemes of apps that redirect URIs may have besides the known ones.
    pub native_schemes: Vec<String>,
    /// The largest request on the MCP endpoint, bytes.
    pub max_body: usize,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How often each connector is checked, seconds.
    pub health_interval: u32,
    /// Servers on this machine that organisations may use.
    pub stdio: Vec<StdioServer>,
    /// The name of this process.
    pub node: String,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// Reads the environment and the file that it names. The text of an error is one sentence that names the setting and
/// never its value.
pub fn from_environment() -> Result<Config, String> {
    #[expect(clippy::disallowed_methods, reason = "settings come from the environment, and from here alone")]
    let variables: BTreeMap<String, String> =
        std::env::vars().filter(|(name, _)| name.starts_with("GATEHOUSE_")).collect();
    load(variables)
}

/// Joins variables with the file that they name, or with `gatehouse.toml` if it is there, and checks everything.
pub fn load(variables: BTreeMap<String, String>) -> Result<Config, String> {
    let named = variables.get("GATEHOUSE_CONFIG").map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| PathBuf::from("gatehouse.toml"));
    let (mut settings, servers) =
        if named.is_some() || path.exists() { read_file(&path)? } else { Default::default() };
    for (name, value) in variables {
        // These two belong to the build and to the tests; an installed binary meets them on a developer's machine.
        if name == "GATEHOUSE_SITE_DIR" || name.starts_with("GATEHOUSE_TEST_") {
            continue;
        }
        settings.insert(name, value);
    }
    if let Some(unknown) = settings.keys().find(|name| !TABLE.iter().any(|setting| setting.name == **name)) {
        return Err(format!("there is no setting {unknown}; docs/configuration.md lists all of them"));
    }
    Ok(Config { stdio: servers, ..parse(&settings)? })
}

/// The settings of a file by the names of their variables, and its servers.
fn read_file(path: &Path) -> Result<(BTreeMap<String, String>, Vec<StdioServer>), String> {
    let text =
        std::fs::read_to_string(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    let mut table: toml::Table = text
        .parse()
        .map_err(|why: toml::de::Error| format!("{} is not TOML: {}", path.display(), why.message()))?;
    let servers = match table.remove("stdio") {
        None => Vec::new(),
        Some(toml::Value::Table(servers)) => {
            stdio::parse(servers).map_err(|why| format!("{} has a wrong {why}", path.display()))?
        }
        Some(_) => return Err(format!("{}: stdio must be tables such as [stdio.files]", path.display())),
    };
    let settings = table
        .into_iter()
        .map(|(key, value)| {
            let name = format!("GATEHOUSE_{}", key.to_ascii_uppercase());
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(on) => if on { "on" } else { "off" }.to_owned(),
                _ => {
                    return Err(format!(
                        "{key} in {} must be a text, a number or true or false",
                        path.display()
                    ));
                }
            };
            Ok((name, text))
        })
        .collect::<Result<_, _>>()?;
    Ok((settings, servers))
}

fn parse(settings: &BTreeMap<String, String>) -> Result<Config, String> {
    let get = |name: &str| settings.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let listen: SocketAddr = get("GATEHOUSE_LISTEN")
        .unwrap_or("127.0.0.1:3000")
        .parse()
        .map_err(|_| "GATEHOUSE_LISTEN must be an address and a port, such as 127.0.0.1:3000")?;
    let metrics_listen =
        match get("GATEHOUSE_METRICS_LISTEN") {
            Some(address) => Some(address.parse().map_err(
                |_| "GATEHOUSE_METRICS_LISTEN must be an address and a port, such as 127.0.0.1:9464",
            )?),
            None => None,
        };
    let public_url = public_url(get("GATEHOUSE_PUBLIC_URL"), listen)?;
    let database_url = get("GATEHOUSE_DATABASE_URL").unwrap_or("sqlite://data/gatehouse.db").to_owned();
    let sqlite = sqlite_path(&database_url)?;

    let master_key = get("GATEHOUSE_MASTER_KEY").map(|key| SecretString::from(key.to_owned()));
    let key_file = get("GATEHOUSE_MASTER_KEY_FILE").map(PathBuf::from);
    if master_key.is_some() && key_file.is_some() {
        return Err("set GATEHOUSE_MASTER_KEY or GATEHOUSE_MASTER_KEY_FILE, not both".into());
    }
    let beside = sqlite.as_ref().map(|path| path.parent().unwrap_or(Path::new("")).join("master.key"));
    if master_key.is_none() && key_file.is_none() && beside.is_none() {
        return Err("with PostgreSQL the master key has to be given: set GATEHOUSE_MASTER_KEY or GATEHOUSE_MASTER_KEY_FILE (openssl rand -base64 32 makes one)".into());
    }

    let extra_ca = match get("GATEHOUSE_EXTRA_CA_FILE") {
        Some(path) => Some(
            std::fs::read(path).map_err(|why| format!("GATEHOUSE_EXTRA_CA_FILE cannot be read: {why}"))?,
        ),
        None => None,
    };
    let smtp_url = get("GATEHOUSE_SMTP_URL").map(|url| SecretString::from(url.to_owned()));
    let smtp_from = match get("GATEHOUSE_SMTP_FROM") {
        Some(from) => {
            parse_sender(from).map_err(|why| format!("GATEHOUSE_SMTP_FROM {why}"))?;
            from.to_owned()
        }
        None => format!("Gatehouse <gatehouse@{}>", public_url.domain().unwrap_or("localhost")),
    };
    let gateway_host = match get("GATEHOUSE_GATEWAY_HOST") {
        Some(host) => gateway_host(host)?,
        None => public_url.host_str().unwrap_or_default().to_owned(),
    };
    let sign_up = match get("GATEHOUSE_SIGN_UP") {
        Some(name) => SignUp::parse(name).ok_or("GATEHOUSE_SIGN_UP must be open, invitation or closed")?,
        None => SignUp::default(),
    };
    if sign_up == SignUp::Open && smtp_url.is_none() {
        return Err(
            "GATEHOUSE_SIGN_UP=open needs GATEHOUSE_SMTP_URL: every address is proven by a mail".into()
        );
    }
    Ok(Config {
        listen,
        metrics_listen,
        public_url,
        gateway_host,
        sign_up,
        smtp_url,
        smtp_from,
        may_make_key_file: sqlite.is_some(),
        master_key_file: if master_key.is_some() { None } else { key_file.or(beside) },
        master_key,
        database_url,
        trusted_proxies: list(get("GATEHOUSE_TRUSTED_PROXIES"))
            .map(|cidr| {
                IpNet::from_str(cidr)
                    .or_else(|_| cidr.parse().map(|address: std::net::IpAddr| IpNet::from(address)))
                    .map_err(|_| {
                        format!("GATEHOUSE_TRUSTED_PROXIES has {cidr}, which is no CIDR such as 10.0.0.0/8")
                    })
            })
            .collect::<Result<_, _>>()?,
        egress_allow: get("GATEHOUSE_EGRESS_ALLOW")
            .unwrap_or_default()
            .parse()
            .map_err(|why| format!("GATEHOUSE_EGRESS_ALLOW: {why}"))?,
        extra_ca,
        dns_resolver: get("GATEHOUSE_DNS_RESOLVER")
            .map(|text| {
                text.parse()
                    .map_err(|_| "GATEHOUSE_DNS_RESOLVER must be an address and a port, such as 10.0.0.2:53")
            })
            .transpose()?,
        demo: switch("GATEHOUSE_DEMO", get("GATEHOUSE_DEMO"))?,
        default_plan: match get("GATEHOUSE_DEFAULT_PLAN") {
            Some(name) => {
                Plan::parse(name).ok_or("GATEHOUSE_DEFAULT_PLAN must be free, pro, team or enterprise")?
            }
            None => Plan::Enterprise,
        },
        registration: switch("GATEHOUSE_REGISTRATION", get("GATEHOUSE_REGISTRATION").or(Some("on")))?,
        cimd: switch("GATEHOUSE_CIMD", get("GATEHOUSE_CIMD").or(Some("on")))?,
        native_schemes: list(get("GATEHOUSE_NATIVE_SCHEMES"))
            .map(|scheme| {
                if domain::oauth::redirect::can_be_native(scheme) {
                    Ok(scheme.to_owned())
                } else {
                    Err(format!("GATEHOUSE_NATIVE_SCHEMES has {scheme}, which is no scheme of an app"))
                }
            })
            .collect::<Result<_, _>>()?,
        max_body: number("GATEHOUSE_MAX_BODY_MIB", get("GATEHOUSE_MAX_BODY_MIB"), 4, 1, 16)? as usize
            * 1024
            * 1024,
        max_connections: number(
            "GATEHOUSE_MAX_CONNECTIONS",
            get("GATEHOUSE_MAX_CONNECTIONS"),
            10_000,
            16,
            1_000_000,
        )? as usize,
        health_interval: number(
            "GATEHOUSE_HEALTH_INTERVAL_SECONDS",
            get("GATEHOUSE_HEALTH_INTERVAL_SECONDS"),
            60,
            10,
            86_400,
        )?,
        stdio: Vec::new(),
        node: get("GATEHOUSE_NODE_ID").unwrap_or("gatehouse").to_owned(),
        log: get("GATEHOUSE_LOG").unwrap_or("info").to_owned(),
        log_format: match get("GATEHOUSE_LOG_FORMAT") {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => return Err("GATEHOUSE_LOG_FORMAT must be text or json".into()),
        },
    })
}

fn list(value: Option<&str>) -> impl Iterator<Item = &str> {
    value.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn switch(name: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("off" | "false" | "0") => Ok(false),
        Some("on" | "true" | "1") => Ok(true),
        Some(_) => Err(format!("{name} must be on or off")),
    }
}

fn number(name: &str, value: Option<&str>, default: u32, least: u32, most: u32) -> Result<u32, String> {
    let Some(text) = value else { return Ok(default) };
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("{name} must be a number from {least} to {most}"))
}

/// The file of an `sqlite:` URL; `None` for another database.
pub fn sqlite_path(database_url: &str) -> Result<Option<PathBuf>, String> {
    let Some(rest) = database_url.strip_prefix("sqlite:") else {
        if database_url.starts_with("postgres://") || database_url.starts_with("postgresql://") {
            return Ok(None);
        }
        return Err("GATEHOUSE_DATABASE_URL must begin with sqlite:// or postgres://".into());
    };
    let path = rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default();
    if path.is_empty() || path == ":memory:" {
        return Err("GATEHOUSE_DATABASE_URL must name a file, such as sqlite://data/gatehouse.db".into());
    }
    Ok(Some(PathBuf::from(path)))
}

fn public_url(value: Option<&str>, listen: SocketAddr) -> Result<Url, String> {
    let text = value.map_or_else(|| format!("http://{listen}"), ToOwned::to_owned);
    let url = Url::parse(&text)
        .map_err(|_| "GATEHOUSE_PUBLIC_URL must be a URL such as https://gatehouse.example.com")?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err("GATEHOUSE_PUBLIC_URL must be a scheme, a host and perhaps a port, without a path".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" if value.is_none() => Err(
            "GATEHOUSE_LISTEN is not a loopback address, so GATEHOUSE_PUBLIC_URL has to be set to the https URL of the reverse proxy".into(),
        ),
        "http" => Err("GATEHOUSE_PUBLIC_URL must be https: http is for loopback only".into()),
        _ => Err("GATEHOUSE_PUBLIC_URL must begin with https://".into()),
    }
}

/// A host name, for CNAME records to lead to.
fn gateway_host(text: &str) -> Result<String, String> {
    match Host::parse(text.trim_end_matches('.')) {
        Ok(Host::Domain(host)) if host.contains('.') => Ok(host),
        _ => Err("GATEHOUSE_GATEWAY_HOST must be a host name such as gateway.example.com".into()),
    }
}

/// Whether a URL's host is this machine itself.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, String> {
        load(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn nothing_has_to_be_set() {
        let config = with(&[]).unwrap();
        assert_eq!(config.public_url.as_str(), "http://127.0.0.1:3000/");
        assert_eq!(config.master_key_file.as_deref(), Some(Path::new("data/master.key")));
        assert_eq!(config.default_plan, Plan::Enterprise);
        assert_eq!(config.gateway_host, "127.0.0.1");
        let config = with(&[("GATEHOUSE_PUBLIC_URL", "https://gate.example")]).unwrap();
        assert_eq!(config.gateway_host, "gate.example");
    }

    #[test]
    fn a_wrong_setting_is_named_in_one_sentence_without_its_value() {
        for (pairs, word) in [
            (&[("GATEHOUSE_LISTEN", "nowhere")][..], "GATEHOUSE_LISTEN"),
            (&[("GATEHOUSE_PUBLIC_URL", "http://gatehouse.example.com")], "https"),
            (&[("GATEHOUSE_PUBLIC_URL", "https://gatehouse.example.com/path")], "without a path"),
            (&[("GATEHOUSE_LISTEN", "0.0.0.0:80")], "GATEHOUSE_PUBLIC_URL"),
            (&[("GATEHOUSE_DATABASE_URL", "mysql://x")], "GATEHOUSE_DATABASE_URL"),
            (&[("GATEHOUSE_DATABASE_URL", "postgres://u:topsecret@h/d")], "GATEHOUSE_MASTER_KEY"),
            (&[("GATEHOUSE_MASTER_KEY", "topsecret"), ("GATEHOUSE_MASTER_KEY_FILE", "f")], "not both"),
            (&[("GATEHOUSE_TRUSTED_PROXIES", "10.0.0.0/8, x")], "GATEHOUSE_TRUSTED_PROXIES"),
            (&[("GATEHOUSE_EGRESS_ALLOW", "10.0.0.0/99")], "GATEHOUSE_EGRESS_ALLOW"),
            (&[("GATEHOUSE_DEMO", "maybe")], "GATEHOUSE_DEMO"),
            (&[("GATEHOUSE_DEFAULT_PLAN", "gold")], "GATEHOUSE_DEFAULT_PLAN"),
            (&[("GATEHOUSE_SIGN_UP", "perhaps")], "GATEHOUSE_SIGN_UP"),
            (&[("GATEHOUSE_SIGN_UP", "open")], "GATEHOUSE_SMTP_URL"),
            (&[("GATEHOUSE_SMTP_FROM", "nobody")], "GATEHOUSE_SMTP_FROM"),
            (&[("GATEHOUSE_REGISTRATION", "open")], "GATEHOUSE_REGISTRATION"),
            (&[("GATEHOUSE_CIMD", "perhaps")], "GATEHOUSE_CIMD"),
            (&[("GATEHOUSE_NATIVE_SCHEMES", "acme, javascript")], "GATEHOUSE_NATIVE_SCHEMES"),
            (&[("GATEHOUSE_MAX_BODY_MIB", "17")], "GATEHOUSE_MAX_BODY_MIB"),
            (&[("GATEHOUSE_MAX_CONNECTIONS", "15")], "GATEHOUSE_MAX_CONNECTIONS"),
            (&[("GATEHOUSE_GATEWAY_HOST", "127.0.0.1")], "GATEHOUSE_GATEWAY_HOST"),
            (&[("GATEHOUSE_GATEWAY_HOST", "https://gate.example")], "GATEHOUSE_GATEWAY_HOST"),
            (&[("GATEHOUSE_LISTENN", "127.0.0.1:3000")], "GATEHOUSE_LISTENN"),
        ] {
            let message = with(pairs).unwrap_err();
            assert!(message.contains(word), "{message}");
            assert!(!message.contains("topsecret") && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn the_environment_stands_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:4000\"\ndemo = true\nmax_body_mib = 8\n").unwrap();
        let config =
            with(&[("GATEHOUSE_CONFIG", path.to_str().unwrap()), ("GATEHOUSE_LISTEN", "127.0.0.1:5000")])
                .unwrap();
        assert_eq!(config.listen.port(), 5000);
        assert!(config.demo);
        assert_eq!(config.max_body, 8 * 1024 * 1024);
        std::fs::write(&path, "demo = true\n[stdio.files]\ncommand = 'x'\norgs = 'all'\n").unwrap();
        let config = with(&[("GATEHOUSE_CONFIG", path.to_str().unwrap())]).unwrap();
        assert_eq!(config.stdio.len(), 1);
        // Never from the environment.
        assert!(with(&[("GATEHOUSE_STDIO", "x")]).unwrap_err().contains("GATEHOUSE_STDIO"));
        std::fs::write(&path, "lisen = 1").unwrap();
        assert!(
            with(&[("GATEHOUSE_CONFIG", path.to_str().unwrap())]).unwrap_err().contains("GATEHOUSE_LISEN")
        );
    }

    #[test]
    fn every_setting_is_documented() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        for setting in TABLE {
            let line = format!("| `{}` | {} | {} |", setting.name, setting.default, setting.about);
            assert!(text.contains(&line), "docs/configuration.md lacks this line:\n{line}");
        }
    }
}
