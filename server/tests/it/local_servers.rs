//! Servers on this machine: who may use what the operator lists, and what its pages show.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::{
    Env,
    mcp::upstream::{
        UpstreamSettings, Upstreams,
        stdio::{Offered, Stdio, StdioServer},
    },
};
use model::{Role, api_keys::KeyScope};
use secrecy::SecretString;
use serde_json::json;
use store::Kind;

use crate::support::{Browser, TestApp};

/// An MCP server in a few lines of shell.
const SERVER: &str = r#"
echo "ready with $TOKEN" >&2
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in
    *server/discover*) result='{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}';;
    *tools/list*) result='{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"who","inputSchema":{"type":"object"}}]}';;
    *tools/call*) result='{"resultType":"complete","content":[{"type":"text","text":"it is me"}]}';;
    *) continue;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

fn list_server(env: &mut Env) {
    let server = StdioServer {
        about: "A <b>server</b>".to_owned(),
        args: vec!["-c".to_owned(), SERVER.to_owned()],
        env: vec![("TOKEN".to_owned(), SecretString::from("hunter2hunter2".to_owned()))],
        offered: Offered::To(["acme".to_owned()].into()),
        ..StdioServer::new("shell", "sh")
    };
    let clock = env.clock.clone();
    let now: domain::mcp::demo::Now = Arc::new(move || clock.now());
    env.upstreams = Upstreams::with_stdio(
        gateway::clocked(Arc::new(env.outbound.clone())),
        now.clone(),
        UpstreamSettings::default(),
        Stdio::new(vec![server], now, gateway::clocked),
    );
}

async fn add(browser: &mut Browser<'_>, local: &str, url: &str) -> crate::support::Answer {
    let fields = [("name", "Shell"), ("slug", "shell"), ("url", url), ("description", ""), ("local", local)];
    browser.post("/connectors/new?do=add_connector", &fields).await
}

#[tokio::test]
async fn an_organisation_uses_what_the_operator_offers_it_and_nothing_else() {
    let app = TestApp::with_env(Kind::Sqlite, &[], list_server).await;
    let (acme, other) = (app.org("acme").await, app.org("other").await);
    let mut browser = app.signed_in(&acme).await;
    let page = browser.get("/connectors/new").await;
    assert!(page.text.contains("shell: A &lt;b&gt;server&lt;/b&gt;"), "{}", page.text);
    let added = add(&mut browser, "shell", "").await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    let path = added.header("location").split('?').next().unwrap().to_owned();
    let key = app.key(&acme, KeyScope::All).await;
    let answer = app.rpc("/mcp/acme", &key.secret, "tools/call", json!({"name": "shell__who"})).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "it is me", "{}", answer.text);

    // What it writes is for those who look after it, without the operator's secrets.
    let page = browser.get(&path).await;
    assert!(page.text.contains("ready with [TOKEN]"), "{}", page.text);
    assert!(!page.text.contains("hunter2"));
    assert!(page.text.contains("One, since"), "{}", page.text);
    app.test.member(&acme, "vi", Role::Viewer).await;
    let mut viewer = app.browser();
    viewer.log_in("vi@acme.example", domain::testing::PASSWORD).await;
    let page = viewer.get(&path).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.text.contains("ready with"), "{}", page.text);

    // It is sent no headers, and its address cannot be changed into a command.
    let id = path.strip_prefix("/connectors/").unwrap().to_owned();
    let edit = |url: &'static str, header: &'static str| {
        [
            ("id", id.clone()),
            ("name", "Shell".to_owned()),
            ("description", String::new()),
            ("url", url.to_owned()),
            ("header_name[]", header.to_owned()),
            ("header_value[]", header.to_owned()),
        ]
    };
    for (url, header, status) in
        [("stdio:other", "", StatusCode::SEE_OTHER), ("", "x-key", StatusCode::UNPROCESSABLE_ENTITY)]
    {
        let fields = edit(url, header);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let saved = browser.post(&format!("{path}/edit?do=update_connector"), &fields).await;
        assert_eq!(saved.status, status, "{}", saved.text);
    }
    let page = browser.get(&path).await;
    assert!(page.text.contains("<code>shell<"), "{}", page.text);
    assert!(page.text.contains("on the machine of Gatehouse"), "{}", page.text);

    // Another organisation neither sees nor reaches it.
    let mut browser = app.signed_in(&other).await;
    let page = browser.get("/connectors/new").await;
    assert!(!page.text.contains("Where it runs"), "{}", page.text);
    for (local, url) in [("shell", ""), ("", "stdio:shell"), ("sh -c id", ""), ("", "stdio:/bin/sh")] {
        let refused = add(&mut browser, local, url).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
        assert!(refused.text.contains("Choose a server that the operator"), "{}", refused.text);
    }
    app.test.env.upstreams.end().await;
}
