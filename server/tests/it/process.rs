//! The binary itself: settings, the command line, start and stop, backups.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use store::{Kind, testing::TestDb};

const PASSWORD: &str = "correct horse battery staple 9";

/// A folder in which the binary runs with nothing but what a test gives it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), settings: Vec::new() }
    }

    /// One whose processes share a `PostgreSQL` database.
    pub(crate) fn on(db: &TestDb) -> Self {
        Self::new()
            .with("GATEHOUSE_DATABASE_URL", &db.url)
            .with("GATEHOUSE_MASTER_KEY", "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=")
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            // A start that a test expects to fail, and that does not, disturbs nobody.
            .env("GATEHOUSE_LISTEN", "127.0.0.1:0")
            .envs(self.settings.iter().cloned());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The one sentence with which a command fails.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} should fail");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        text
    }

    /// What a process here works with, in this one. Only after [`Place::set_up`], which makes the key.
    pub(crate) async fn environment(&self) -> domain::Env {
        let mut settings: BTreeMap<String, String> = self.settings.iter().cloned().collect();
        settings
            .entry("GATEHOUSE_DATABASE_URL".into())
            .or_insert_with(|| format!("sqlite://{}", self.path("data/gatehouse.db").display()));
        if !settings.contains_key("GATEHOUSE_MASTER_KEY") {
            let file = self.path("data/master.key").display().to_string();
            settings.insert("GATEHOUSE_MASTER_KEY_FILE".into(), file);
        }
        server::serve::environment(&server::config::load(settings).unwrap()).await.unwrap()
    }

    pub(crate) fn set_up(&self) -> Value {
        self.json(&[
            "admin",
            "setup",
            "--email",
            "ada@example.com",
            "--password",
            PASSWORD,
            "--org-name",
            "Acme",
            "--org-slug",
            "acme",
            "--json",
        ])
    }
}

/// A running server. It is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) process: Child,
    pub(crate) base: String,
    printed: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn start(place: &Place) -> Running {
    serve(place, place.command(&["serve"]))
}

/// The same with so many file descriptors.
#[cfg(unix)]
pub(crate) fn start_with_files(place: &Place, files: u32) -> Running {
    let serving = place.command(&["serve"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"])
        .arg(serving.get_program())
        .args(serving.get_args())
        .current_dir(place.folder.path())
        .env_clear();
    for (name, value) in serving.get_envs() {
        if let Some(value) = value {
            limited.env(name, value);
        }
    }
    serve(place, limited)
}

fn serve(place: &Place, mut command: Command) -> Running {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut process = command
        .env("GATEHOUSE_LISTEN", &listen)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(place.path("log")).unwrap())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    for line in lines.by_ref() {
        printed.push_str(&line.unwrap());
        printed.push('\n');
        if printed.contains("listens on") {
            break;
        }
    }
    // The rest comes in the same breath; a thread keeps the pipe open.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    while let Ok(line) = receiver.recv_timeout(Duration::from_millis(300)) {
        printed.push_str(&line);
        printed.push('\n');
    }
    std::thread::spawn(move || while receiver.recv().is_ok() {});
    Running { process, base: format!("http://{listen}"), printed }
}

/// The status of a bare `tools/list`.
async fn list(base: &str, org: &str, key: &str) -> u16 {
    let request = rpc(format!("{base}/mcp/{org}"), "tools/list").header("x-api-key", key);
    request.send().await.unwrap().status().as_u16()
}

/// A bare JSON-RPC request.
fn rpc(url: String, method: &str) -> reqwest::RequestBuilder {
    let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
    reqwest_client().post(url).header("content-type", "application/json").body(body)
}

#[expect(clippy::disallowed_methods, reason = "a test is outside the product and talks to loopback")]
pub(crate) fn reqwest_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) async fn until(deadline: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[test]
fn key_05_a_wrong_setting_ends_the_start_with_one_sentence() {
    for (name, value) in [
        ("GATEHOUSE_LISTEN", "nowhere"),
        ("GATEHOUSE_PUBLIC_URL", "http://gatehouse.example.com"),
        ("GATEHOUSE_DATABASE_URL", "mysql://user:topsecret@host/db"),
        ("GATEHOUSE_DATABASE_URL", "postgres://user:topsecret@127.0.0.1:1/db"),
        ("GATEHOUSE_MASTER_KEY", "topsecret"),
        ("GATEHOUSE_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("GATEHOUSE_NO_SUCH_THING", "topsecret"),
    ] {
        let text = Place::new().with(name, value).fails(&["serve"]);
        assert!(text.contains("GATEHOUSE_"), "{text}");
        assert!(!text.contains("topsecret"), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn key_05_a_world_readable_key_file_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.set_up();
    let file = place.path("data/master.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(place.fails(&["serve"]).contains("GATEHOUSE_MASTER_KEY_FILE"));
}

#[test]
fn key_05_a_database_of_another_key_is_refused() {
    let place = Place::new();
    place.set_up();
    std::fs::remove_file(place.path("data/master.key")).unwrap();
    assert!(place.fails(&["serve"]).contains("another master key"));
}

#[test]
fn pwd_11_there_is_no_default_account() {
    let place = Place::new();
    let running = start(&place);
    assert!(running.printed.contains("/setup/"), "{}", running.printed);
    drop(running);
    place.set_up();
    let running = start(&place);
    assert!(!running.printed.contains("/setup/"), "{}", running.printed);
}

async fn admin_does_every_step(place: Place) {
    let done = place.set_up();
    assert_eq!(done, place.set_up(), "done again, it changes nothing");
    assert!(done["org_id"].as_str().unwrap().starts_with("org_"));

    let user = place.json(&[
        "admin",
        "user",
        "create",
        "--email",
        "bob@example.com",
        "--password",
        PASSWORD,
        "--json",
    ]);
    assert!(user["id"].as_str().unwrap().starts_with("usr_"));
    let org = place.json(&[
        "admin",
        "org",
        "create",
        "--name",
        "Other",
        "--slug",
        "other",
        "--owner",
        "bob@example.com",
        "--plan",
        "team",
        "--json",
    ]);
    assert_eq!((org["slug"].as_str(), org["plan"].as_str()), (Some("other"), Some("team")));
    let member = place.json(&[
        "admin",
        "org",
        "member",
        "add",
        "--org",
        "acme",
        "--email",
        "bob@example.com",
        "--role",
        "developer",
        "--json",
    ]);
    assert_eq!(member["role"], "developer");
    let connector = place.json(&[
        "admin",
        "connector",
        "add",
        "--org",
        "acme",
        "--slug",
        "dead",
        "--name",
        "Dead",
        "--url",
        "http://127.0.0.1:9/mcp",
        "--transport",
        "http",
        "--header",
        "Authorization: Bearer x",
        "--json",
    ]);
    assert_eq!(connector["health"], "degraded", "kept, and marked as not answering: {connector}");
    let changed = place.json(&[
        "admin",
        "org",
        "set",
        "--org",
        "acme",
        "--key-visibility",
        "copyable",
        "--url-keys",
        "on",
        "--plan",
        "pro",
        "--json",
    ]);
    assert_eq!(changed["url_keys"], "on");

    // A running server honours what the command line changes within a second.
    let running = start(&place);
    let key = place.json(&[
        "admin",
        "api-key",
        "create",
        "--org",
        "acme",
        "--name",
        "ci",
        "--connector",
        "dead",
        "--url-key",
        "--json",
    ]);
    let secret = key["key"].as_str().unwrap();
    assert!(domain::key_format::check(secret));
    assert!(
        secret.starts_with(key["prefix"].as_str().unwrap())
            && key["id"].as_str().unwrap().starts_with("key_")
    );
    assert!(until(Duration::from_secs(1), async || list(&running.base, "acme", secret).await == 200).await);
    let in_url = async || {
        let url = format!("{}/mcp/acme?api_key={secret}", running.base);
        rpc(url, "ping").send().await.unwrap().status().as_u16()
    };
    assert_eq!(in_url().await, 200);
    place.json(&["admin", "org", "set", "--org", "acme", "--url-keys", "off", "--json"]);
    assert!(until(Duration::from_secs(1), async || in_url().await == 401).await);

    // IPA-04, MFA-06: the ways back in, which change nothing where there is nothing to take away.
    place.json(&[
        "admin",
        "org",
        "set",
        "--org",
        "acme",
        "--ip-allowlist",
        "off",
        "--require-mfa",
        "on",
        "--json",
    ]);
    place.json(&["admin", "org", "set", "--org", "acme", "--require-mfa", "off", "--json"]);
    let reset = place.json(&["admin", "user", "reset-mfa", "--email", "bob@example.com", "--json"]);
    assert_eq!(reset["had_second_factor"], false);

    for (arguments, word) in [
        (
            &["admin", "org", "create", "--name", "X", "--slug", "acme", "--owner", "bob@example.com"][..],
            "slug",
        ),
        (
            &[
                "admin",
                "org",
                "member",
                "add",
                "--org",
                "acme",
                "--email",
                "bob@example.com",
                "--role",
                "king",
            ],
            "--role",
        ),
        (&["admin", "api-key", "create", "--org", "nobody", "--name", "x"], "organisation"),
        (&["admin", "api-key", "create", "--org", "acme", "--name", "x", "--connector", "nope"], "nope"),
        (&["admin", "user", "create", "--email", "x@example.com", "--password", "short"], "password"),
        (
            &[
                "admin",
                "connector",
                "add",
                "--org",
                "acme",
                "--slug",
                "m",
                "--name",
                "M",
                "--url",
                "http://169.254.169.254/",
            ],
            "GATEHOUSE_EGRESS_ALLOW",
        ),
    ] {
        let text = place.fails(arguments);
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_does_every_step_on_sqlite() {
    admin_does_every_step(Place::new().with("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_does_every_step_on_postgres() {
    let db = TestDb::new(Kind::Postgres).await;
    admin_does_every_step(Place::on(&db).with("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8")).await;
}

#[test]
fn doctor_says_whether_it_is_well() {
    let place = Place::new();
    place.set_up();
    let well = place.run(&["doctor"]);
    assert!(well.status.success());
    let text = String::from_utf8(well.stdout).unwrap();
    assert!(text.contains("ok    database") && !text.contains("FAIL"), "{text}");
    assert!(text.contains("ok    request log: no request was ever left out"), "{text}");
    std::fs::remove_file(place.path("data/master.key")).unwrap();
    for ill in [place, Place::new()] {
        let found = ill.run(&["doctor"]);
        assert!(!found.status.success());
        assert!(String::from_utf8(found.stdout).unwrap().contains("FAIL"));
    }
}

#[test]
fn doctor_makes_nothing() {
    let place = Place::new();
    assert!(!place.run(&["doctor"]).status.success());
    assert!(!place.path("data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn d05_a_backup_made_under_load_comes_back_whole() {
    let place = Place::new();
    place.set_up();
    let key = place.json(&["admin", "api-key", "create", "--org", "acme", "--name", "kept", "--json"]);
    let secret = key["key"].as_str().unwrap().to_owned();
    let running = start(&place);
    let backup = place.path("copy.db");
    let output = place.run(&["backup", backup.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(place.fails(&["backup", backup.to_str().unwrap()]).contains("already"));
    assert!(place.fails(&["restore", backup.to_str().unwrap()]).contains("already"));
    drop(running);

    let elsewhere = Place::new();
    assert!(elsewhere.fails(&["restore", backup.to_str().unwrap()]).contains("another master key"));
    assert!(!elsewhere.path("data/gatehouse.db").exists(), "what does not fit is not put in place");
    std::fs::copy(place.path("data/master.key"), elsewhere.path("data/master.key")).unwrap();
    let output = elsewhere.run(&["restore", backup.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let running = start(&elsewhere);
    assert_eq!(list(&running.base, "acme", &secret).await, 200);
}

#[test]
fn d05_a_backup_of_no_database_is_refused() {
    let place = Place::new();
    let text = place.fails(&["backup", "copy.db"]);
    assert!(text.contains("data/gatehouse.db") && text.contains("GATEHOUSE_DATABASE_URL"), "{text}");
    assert!(!place.path("data").exists() && !place.path("copy.db").exists(), "nothing was made");

    std::fs::write(place.path("notes.db"), "").unwrap();
    let place = place.with("GATEHOUSE_DATABASE_URL", "sqlite://notes.db");
    assert!(place.fails(&["backup", "copy.db"]).contains("no database of Gatehouse"));
    assert!(!place.path("copy.db").exists());
}

#[cfg(unix)]
#[test]
fn key_05_what_is_made_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.set_up();
    let running = start(&place);
    assert!(place.run(&["backup", "copy.db"]).status.success());
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    for file in
        ["data/gatehouse.db", "data/gatehouse.db-wal", "data/gatehouse.db-shm", "data/master.key", "copy.db"]
    {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    drop(running);
    std::fs::rename(place.path("data/gatehouse.db"), place.path("moved.db")).unwrap();
    for leftover in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(place.path(&format!("data/gatehouse.db{leftover}")));
    }
    std::fs::set_permissions(place.path("copy.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(place.run(&["restore", "copy.db"]).status.success());
    assert_eq!(mode("data/gatehouse.db"), 0o600, "whatever the copy's own permissions are");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn d12_a_stop_is_orderly() {
    let place = Place::new();
    place.set_up();
    let mut running = start(&place);
    let ready = format!("{}/readyz", running.base);
    assert_eq!(reqwest_client().get(&ready).send().await.unwrap().status().as_u16(), 200);
    let pid = running.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let draining = async || {
        reqwest_client().get(&ready).send().await.is_ok_and(|answer| answer.status().as_u16() == 503)
    };
    assert!(until(Duration::from_secs(1), draining).await, "not ready any more, but still answering");
    let ended = until(Duration::from_secs(10), async || running.process.try_wait().unwrap().is_some()).await;
    assert!(ended);
    assert!(running.process.wait().unwrap().success());
}

#[test]
fn key_03_no_secret_is_in_the_files_or_in_the_output() {
    let place = Place::new().with("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8").with("GATEHOUSE_LOG", "trace");
    place.set_up();
    let canary = "canary-5d1f0c9b7e";
    place.json(&[
        "admin",
        "connector",
        "add",
        "--org",
        "acme",
        "--slug",
        "c",
        "--name",
        "C",
        "--url",
        "http://127.0.0.1:9/mcp",
        "--header",
        &format!("X-Token: {canary}"),
        "--json",
    ]);
    place.json(&["admin", "org", "set", "--org", "acme", "--key-visibility", "copyable", "--json"]);
    let key = place.json(&["admin", "api-key", "create", "--org", "acme", "--name", "k", "--json"]);
    let secret = key["key"].as_str().unwrap();
    let backup = place.path("copy.db");
    assert!(place.run(&["backup", backup.to_str().unwrap()]).status.success());
    let mut looked_at = 0;
    for folder in [place.path("data"), place.folder.path().to_owned()] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                looked_at += 1;
                assert_clean(&path, &[canary, secret, PASSWORD]);
            }
        }
    }
    assert!(looked_at >= 3, "database, key file, backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn err_02_apk_09_no_credential_is_in_the_log() {
    let place = Place::new().with("GATEHOUSE_LOG", "trace").with("GATEHOUSE_LOG_FORMAT", "json");
    place.set_up();
    place.json(&["admin", "org", "set", "--org", "acme", "--url-keys", "on", "--json"]);
    let key =
        place.json(&["admin", "api-key", "create", "--org", "acme", "--name", "k", "--url-key", "--json"]);
    let secret = key["key"].as_str().unwrap();
    let running = start(&place);
    assert_eq!(list(&running.base, "acme", secret).await, 200);
    let client = reqwest_client();
    let (cookie, password) = ("cookie-9f3b1c77", "password-4410be92");
    for request in [
        client
            .post(format!("{}/mcp/acme?api_key={secret}", running.base))
            .header("content-type", "application/json"),
        client
            .post(format!("{}/mcp/acme", running.base))
            .bearer_auth(secret)
            .header("content-type", "application/json"),
        client
            .get(format!("{}/settings?api_key={secret}", running.base))
            .header("cookie", format!("gatehouse={cookie}")),
        client
            .post(format!("{}/sign-in?do=sign_in", running.base))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("email=ada%40example.com&password={password}&csrf=x")),
    ] {
        request.send().await.unwrap();
    }
    let token = "link-77aa01c2d3e4f5";
    for below in model::paths::SECRET_BELOW {
        client.get(format!("{}{below}{token}", running.base)).send().await.unwrap();
        let form = client.post(format!("{}{below}{token}?do=reset_password", running.base));
        form.header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}&password={password}"))
            .send()
            .await
            .unwrap();
    }
    drop(running);
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("/mcp/acme"), "the requests are in the log");
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "each line is JSON");
    for hidden in [secret, cookie, password, token] {
        let at = log.lines().find(|line| line.contains(hidden));
        assert!(at.is_none(), "{hidden}: {at:?}");
    }
    assert!(log.contains("/reset-password/…"), "that there was such a request is told");
}

fn assert_clean(path: &Path, secrets: &[&str]) {
    let bytes = std::fs::read(path).unwrap();
    for secret in secrets {
        let forms = [
            secret.as_bytes().to_vec(),
            data_encoding::BASE64.encode(secret.as_bytes()).trim_end_matches('=').as_bytes().to_vec(),
            data_encoding::HEXLOWER.encode(secret.as_bytes()).into_bytes(),
            model::paths::encode(secret).into_bytes(),
        ];
        for form in forms {
            assert!(
                !bytes.windows(form.len()).any(|window| window == form),
                "{} holds a secret",
                path.display()
            );
        }
    }
}

#[test]
fn oak_04_the_operator_rotates_and_removes_signing_keys() {
    let place = Place::new();
    assert_eq!(place.json(&["keys", "list", "--json"])["keys"], serde_json::json!([]));
    let status = |answer: &Value| -> Vec<(String, String)> {
        let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        answer["keys"].as_array().unwrap().iter().map(|k| (text(k, "kid"), text(k, "status"))).collect()
    };
    let first = status(&place.json(&["keys", "rotate", "--json"]));
    assert_eq!(first[0].1, "signing", "without any key it signs at once");
    let both = status(&place.json(&["keys", "rotate", "--json"]));
    assert_eq!((both[0].1.as_str(), both[1].1.as_str()), ("signing", "next"));
    assert!(place.fails(&["keys", "rotate"]).contains(&both[1].0));
    let after = status(&place.json(&["keys", "retire", &both[0].0, "--json"]));
    assert_eq!((after[0].1.as_str(), after[1].1.as_str()), ("removed", "signing"));
    assert!(place.fails(&["keys", "retire", &both[0].0]).contains("signing key"));
    let text = String::from_utf8(place.run(&["keys", "list"]).stdout).unwrap();
    assert!(text.contains(&format!("{}  removed", both[0].0)), "{text}");
}
