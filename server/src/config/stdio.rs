//! `[stdio.NAME]` of the configuration file: servers on this machine that organisations may use as connectors. They are
//! commands, so they are read from the operator's file and from nowhere else.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use domain::mcp::upstream::stdio::{Offered, StdioServer};
use secrecy::SecretString;
use serde::Deserialize;

/// One table, as written. `docs/configuration.md` says what each key is for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, Value>,
    dir: Option<PathBuf>,
    orgs: Orgs,
    #[serde(default)]
    about: String,
    #[serde(default)]
    always: bool,
    #[serde(default)]
    per_session: bool,
    idle_seconds: Option<u64>,
    start_seconds: Option<u64>,
    processes: Option<u32>,
    memory_mib: Option<u64>,
    cpu_seconds: Option<u64>,
    user: Option<u32>,
    group: Option<u32>,
}

/// `"all"`, or slugs.
#[derive(Deserialize)]
#[serde(untagged)]
enum Orgs {
    Word(String),
    Slugs(Vec<String>),
}

/// The value of a variable, or the file that has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    File { file: PathBuf },
}

/// Reads all tables. The text of an error is one sentence that names the table and never a value of its environment.
pub(super) fn parse(table: toml::Table) -> Result<Vec<StdioServer>, String> {
    table
        .into_iter()
        .map(|(name, value)| server(&name, value).map_err(|why| format!("[stdio.{name}]: {why}")))
        .collect()
}

fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn server(name: &str, value: toml::Value) -> Result<StdioServer, String> {
    if !is_name(name) {
        return Err("the name must be of lower-case letters, digits and hyphens".into());
    }
    if !value.is_table() {
        return Err("it must be a table with a command".into());
    }
    let entry: Entry = value.try_into().map_err(|why: toml::de::Error| why.message().to_owned())?;
    if entry.command.trim().is_empty() {
        return Err("command must name a program".into());
    }
    let within = |key: &str, value: Option<u64>, default: u64, least: u64, most: u64| match value {
        None => Ok(default),
        Some(value) if (least..=most).contains(&value) => Ok(value),
        Some(_) => Err(format!("{key} must be from {least} to {most}")),
    };
    let seconds = |key, value, default, most| within(key, value, default, 1, most).map(Duration::from_secs);
    let like = StdioServer::new(name, &entry.command);
    let offered = match entry.orgs {
        Orgs::Word(word) if word == "all" => Offered::Everybody,
        Orgs::Word(_) => return Err("orgs must be \"all\" or a list of slugs".into()),
        Orgs::Slugs(slugs) => Offered::To(slugs.into_iter().collect()),
    };
    if let Some(dir) = &entry.dir
        && !dir.is_dir()
    {
        return Err(format!("dir {} is no folder", dir.display()));
    }
    let run_as = match (entry.user, entry.group) {
        (None, None) => None,
        (Some(user), Some(group)) => Some((user, group)),
        _ => return Err("user and group go together, both as numbers".into()),
    };
    Ok(StdioServer {
        about: entry.about,
        args: entry.args,
        env: entry.env.into_iter().map(variable).collect::<Result<_, _>>()?,
        dir: entry.dir,
        offered,
        always: entry.always,
        per_session: entry.per_session,
        idle: seconds("idle_seconds", entry.idle_seconds, like.idle.as_secs(), 86_400)?,
        start: seconds("start_seconds", entry.start_seconds, like.start.as_secs(), 600)?,
        processes: u32::try_from(within(
            "processes",
            entry.processes.map(u64::from),
            u64::from(like.processes),
            1,
            1000,
        )?)
        .unwrap_or(like.processes),
        memory: entry
            .memory_mib
            .map(|mib| within("memory_mib", Some(mib), 0, 16, 1 << 20).map(|mib| mib << 20))
            .transpose()?,
        cpu: entry
            .cpu_seconds
            .map(|seconds| within("cpu_seconds", Some(seconds), 0, 1, 31_536_000))
            .transpose()?,
        run_as,
        ..like
    })
}

fn variable((name, value): (String, Value)) -> Result<(String, SecretString), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("env has a name that no variable can have".into());
    }
    let value = match value {
        Value::Text(text) => text,
        Value::File { file } => read(&file).map_err(|why| format!("env.{name}: {why}"))?,
    };
    if value.contains('\0') {
        return Err(format!("env.{name} has a character that no variable can have"));
    }
    Ok((name, value.into()))
}

fn read(file: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(file).map_err(|why| format!("cannot read {}: {why}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn read_all(text: &str) -> Result<Vec<StdioServer>, String> {
        parse(text.parse().unwrap())
    }

    #[test]
    fn a_server_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("token");
        std::fs::write(&secret, "hunter2\n").unwrap();
        let text = format!(
            "[files]\ncommand = 'npx'\nargs = ['-y', 'server']\norgs = ['acme']\ndir = '{}'\nidle_seconds = 5\n\
             memory_mib = 64\nenv = {{ LEVEL = 'info', TOKEN = {{ file = '{}' }} }}\n",
            folder.path().display(),
            secret.display()
        );
        let [server] = &read_all(&text).unwrap()[..] else { panic!("one server") };
        assert_eq!((server.name.as_str(), server.command.as_str(), server.args.len()), ("files", "npx", 2));
        assert!(server.offered.includes("acme") && !server.offered.includes("other"));
        assert_eq!((server.idle.as_secs(), server.memory), (5, Some(64 << 20)));
        let env: Vec<_> =
            server.env.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        assert_eq!(env, [("LEVEL", "info"), ("TOKEN", "hunter2")]);
    }

    #[test]
    fn what_is_wrong_is_named_without_a_secret() {
        for (text, word) in [
            ("[files]\norgs = 'all'", "command"),
            ("[files]\ncommand = 'x'", "orgs"),
            ("[files]\ncommand = 'x'\norgs = 'some'", "orgs"),
            ("[files]\ncommand = 'x'\norgs = 'all'\ncomand = 'y'", "comand"),
            ("[files]\ncommand = ' '\norgs = 'all'", "program"),
            ("[Files]\ncommand = 'x'\norgs = 'all'", "lower-case"),
            ("[files]\ncommand = 'x'\norgs = 'all'\nidle_seconds = 0", "idle_seconds"),
            ("[files]\ncommand = 'x'\norgs = 'all'\nmemory_mib = 1", "memory_mib"),
            ("[files]\ncommand = 'x'\norgs = 'all'\nuser = 7", "user and group"),
            ("[files]\ncommand = 'x'\norgs = 'all'\ndir = '/nowhere/at/all'", "no folder"),
            ("[files]\ncommand = 'x'\norgs = 'all'\nenv = { A = { file = '/nowhere/at/all' } }", "env.A"),
            ("[files]\ncommand = 'x'\norgs = 'all'\nenv = { A = 'top\\u0000secret' }", "env.A"),
            ("files = 'x'", "table"),
        ] {
            let message = read_all(&text.replace("'top\\u0000secret'", "\"top\\u0000secret\"")).unwrap_err();
            assert!(message.contains(word), "{message}");
            assert!(message.starts_with("[stdio."), "{message}");
            assert!(!message.contains("secret") && !message.contains('\n'), "{message}");
        }
    }
}
