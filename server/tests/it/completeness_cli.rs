//! Every step of the command line is an event as well (AUD-02): a walk over all commands that there are.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use serde_json::Value;

use crate::process::Place;

const PASSWORD: &str = "correct horse battery staple 9";

/// The commands that only look, or write no database of Gatehouse's.
const LOOKING: &[&str] = &[
    "serve",
    "doctor",
    "verify-audit",
    "backup",
    "restore",
    "keys list",
    "admin domain show",
    "admin domain verify",
];

/// All commands, each as its words.
fn commands(of: &clap::Command, before: &str, into: &mut BTreeSet<String>) {
    let mut has_more = false;
    for one in of.get_subcommands() {
        has_more = true;
        commands(one, &format!("{before} {}", one.get_name()), into);
    }
    if !has_more {
        into.insert(before.trim().to_owned());
    }
}

/// How many events all logs hold, which still prove.
fn events(place: &Place) -> i64 {
    let report = place.json(&["verify-audit", "--json"]);
    assert_eq!(report["ok"], true, "{report}");
    let chains = report["chains"].as_array().expect("chains");
    chains.iter().map(|chain| chain["events"].as_i64().expect("a number")).sum()
}

struct Walk {
    place: Place,
    done: BTreeSet<String>,
}

impl Walk {
    /// Does a step, and looks whether it left so many events.
    fn step(&mut self, command: &str, arguments: &[&str], wanted: i64) -> Value {
        let before = if self.done.is_empty() { 0 } else { events(&self.place) };
        let words: Vec<&str> =
            command.split(' ').chain(arguments.iter().copied()).chain(["--json"]).collect();
        let answer = self.place.json(&words);
        assert_eq!(events(&self.place) - before, wanted, "{command} {arguments:?}");
        self.done.insert(command.to_owned());
        answer
    }
}

#[test]
fn aud_02_every_step_of_the_operator_is_an_event() {
    let mut walk = Walk { place: Place::new(), done: BTreeSet::new() };
    let acme = ["--org", "acme"];
    let of = |more: &[&'static str]| -> Vec<&'static str> { acme.iter().chain(more).copied().collect() };
    let (ada, bob) = ("ada@example.com", "bob@example.com");
    // An account and an organisation.
    let fields = ["--email", ada, "--password", PASSWORD, "--org-name", "Acme", "--org-slug", "acme"];
    walk.step("admin setup", &fields, 2);
    walk.step("admin user create", &["--email", bob, "--password", PASSWORD], 1);
    walk.step("admin org create", &["--name", "Beta", "--slug", "beta", "--owner", ada], 1);
    for (setting, value) in [
        ("--plan", "team"),
        ("--rate-per-minute", "7"),
        ("--monthly-quota", "700"),
        ("--key-visibility", "copyable"),
        ("--url-keys", "on"),
        ("--audit-days", "90"),
        ("--session-timeout", "60"),
        ("--ip-allowlist", "off"),
    ] {
        // What is off already is not switched off.
        let wanted = i64::from(setting != "--ip-allowlist");
        walk.step("admin org set", &of(&[setting, value]), wanted);
    }
    walk.step("admin org member add", &of(&["--email", bob, "--role", "viewer"]), 1);
    walk.step("admin org member add", &of(&["--email", bob, "--role", "member"]), 1);
    walk.step("admin sessions revoke", &["--email", bob], 1);
    walk.step("admin user reset-link", &["--email", bob], 1);
    walk.step("admin user set-password", &["--email", bob, "--password", "an0ther-long-passphrase"], 1);
    walk.step("admin user set-email", &["--email", bob, "--new-email", "rob@example.com"], 1);
    walk.step("admin org member remove", &of(&["--email", "rob@example.com"]), 1);
    walk.step("admin user delete", &["--email", "rob@example.com"], 1);
    walk.step("admin org invite create", &of(&["--email", "new@example.com", "--role", "viewer"]), 1);
    walk.step("admin org invite link", &of(&["--email", "new@example.com"]), 1);
    walk.step(
        "admin connector add",
        &of(&["--slug", "docs", "--name", "Docs", "--url", "https://mcp.invalid/"]),
        1,
    );
    walk.step("admin api-key create", &of(&["--name", "ci"]), 1);
    walk.step("admin domain add", &of(&["--host", "mcp.acme.com"]), 1);
    walk.step("admin domain remove", &of(&[]), 1);
    walk.step("admin oauth-client create", &of(&["--name", "robot"]), 1);
    let folder = tempfile::tempdir().expect("a folder");
    let zip = folder.path().join("acme.zip").display().to_string();
    // Asked for, made, taken, deleted.
    let made = walk.step("admin export", &["--org", "acme", "--file", &zip], 4);
    assert_eq!((&made["rows"]["connectors"], &made["rows"]["api-keys"]), (&1.into(), &1.into()), "{made}");
    let packed = std::fs::File::open(&zip).expect("the file");
    let mut packed = zip::ZipArchive::new(packed).expect("a ZIP");
    let json = folder.path().join("connectors.json");
    let mut out = std::fs::File::create(&json).expect("a file");
    std::io::copy(&mut packed.by_name("connectors.json").expect("connectors"), &mut out).expect("unpacked");
    let json = json.display().to_string();
    let planned = walk.step("admin import", &["--org", "beta", "--file", &json], 0);
    assert_eq!((&planned["imported"], &planned["connectors"][0]["becomes"]), (&false.into(), &"docs".into()));
    let imported = walk.step("admin import", &["--org", "beta", "--file", &json, "--yes"], 1);
    assert_eq!(imported["imported"], true);
    walk.step("admin org rename", &["--org", "beta", "--to", "gamma"], 1);
    walk.step("admin org suspend", &acme, 1);
    walk.step("admin org resume", &acme, 1);
    walk.step("keys rotate", &[], 1);

    let mut all = BTreeSet::new();
    commands(&server::cli::Arguments::command(), "", &mut all);
    let mut known: BTreeSet<String> = walk.done.clone();
    known.extend(LOOKING.iter().map(|one| (*one).to_owned()));
    // These need what a command line cannot make: a second factor, and a key that signs. What they write is tested beside
    // what they do.
    known.extend(["admin user reset-mfa", "keys retire"].map(str::to_owned));
    assert_eq!(all, known, "each command is walked here, or only looks");
}
