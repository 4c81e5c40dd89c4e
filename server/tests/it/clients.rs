//! Real clients in front, a real server behind: the official TypeScript SDK and rmcp call the MCP reference server
//! through the gateway, over sockets on 127.0.0.1, on both databases.

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use domain::connectors::{self, NewConnector};
use model::api_keys::KeyScope;
use rmcp::{
    ServiceExt as _,
    model::CallToolRequestParams,
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};
use server::accept;
use store::Kind;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::support::TestApp;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The MCP reference server, on a free port of 127.0.0.1. It ends when this is dropped.
pub(crate) struct Everything {
    pub(crate) url: String,
    _process: Child,
}

pub(crate) async fn everything() -> Everything {
    let mut process = Command::new("node")
        .arg("--import")
        .arg("./end2end/bind-loopback.mjs")
        .arg("end2end/node_modules/@modelcontextprotocol/server-everything/dist/index.js")
        .arg("streamableHttp")
        .current_dir(repository())
        .env("PORT", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed");
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut errors = BufReader::new(process.stderr.take().unwrap()).lines();
    let address = async {
        loop {
            let line = tokio::select! {
                line = lines.next_line() => line,
                line = errors.next_line() => line,
            };
            let line = line.unwrap().expect("the reference server ended; run `make setup-test`");
            // It also says on which port it was told to listen; the address is the loader's word.
            if let Some(address) = line.split("listening on ").nth(1).filter(|rest| rest.starts_with("127."))
            {
                return address.trim().to_owned();
            }
        }
    };
    let address =
        tokio::time::timeout(Duration::from_secs(30), address).await.expect("the reference server starts");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    tokio::spawn(async move { while let Ok(Some(_)) = errors.next_line().await {} });
    Everything { url: format!("http://{address}/mcp"), _process: process }
}

/// The whole server on a socket.
struct Listening {
    app: TestApp,
    base: String,
    stop: accept::Stop,
}

impl Listening {
    async fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = TestApp::with(kind, &[("GATEHOUSE_PUBLIC_URL", &base)]).await;
        let stop = accept::Stop::default();
        tokio::spawn(accept::serve(listener, app.front.clone(), accept::Limits::default(), stop.clone()));
        Self { app, base, stop }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.accepting.cancel();
    }
}

async fn with_everything(kind: Kind) -> (Listening, Everything, String) {
    let server = Listening::start(kind).await;
    let upstream = everything().await;
    let member = server.app.org("acme").await;
    let new = NewConnector {
        name: "Everything".into(),
        slug: "ev".into(),
        description: String::new(),
        url: upstream.url.clone(),
        headers: Vec::new(),
        even_if_unreachable: false,
    };
    let connector =
        connectors::add(&server.app.test.env, &member.actor().await, &new).await.expect("it answers");
    assert_eq!(connector.health, model::connectors::Health::Healthy);
    assert!(connector.tools_total >= 5, "{connector:?}");
    let key = server.app.key(&member, KeyScope::All).await.secret;
    (server, upstream, key)
}

async fn typescript(url: &str, key: &str, tool: &str, arguments: &Value) -> Value {
    let output = Command::new("node")
        .arg("end2end/clients/list-and-call.mjs")
        .args([url, key, tool])
        .arg(arguments.to_string())
        .current_dir(repository())
        .kill_on_drop(true)
        .output()
        .await
        .expect("node is installed");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

async fn the_typescript_sdk_lists_and_calls(kind: Kind) {
    let (server, _upstream, key) = with_everything(kind).await;
    let url = format!("{}/mcp/acme", server.base);
    let seen = typescript(&url, &key, "ev__echo", &json!({"message": "through the gate"})).await;
    assert!(seen["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "ev__echo"), "{seen}");
    assert!(seen["result"]["content"][0]["text"].as_str().unwrap().contains("through the gate"), "{seen}");
    let refused = typescript(&url, "gth_live_sk_wrong", "ev__echo", &json!({})).await;
    assert!(refused["error"].is_object(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_lists_and_calls_on_sqlite() {
    the_typescript_sdk_lists_and_calls(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_lists_and_calls_on_postgres() {
    the_typescript_sdk_lists_and_calls(Kind::Postgres).await;
}

async fn rmcp_lists_and_calls(kind: Kind) {
    let (server, _upstream, key) = with_everything(kind).await;
    let config =
        StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp/acme", server.base)).auth_header(key);
    let client = ().serve(StreamableHttpClientTransport::from_config(config)).await.expect("rmcp connects");
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "ev__echo"));
    let arguments = json!({"message": "through the gate"}).as_object().unwrap().clone();
    let call = CallToolRequestParams::new("ev__echo").with_arguments(arguments);
    let result = client.call_tool(call).await.unwrap();
    assert!(serde_json::to_string(&result).unwrap().contains("through the gate"));
    client.cancel().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_lists_and_calls_on_sqlite() {
    rmcp_lists_and_calls(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_lists_and_calls_on_postgres() {
    rmcp_lists_and_calls(Kind::Postgres).await;
}

/// UPS-09: a list with one dead connector has the tools of the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connector_takes_nothing_from_the_others() {
    let (server, upstream, key) = with_everything(Kind::Sqlite).await;
    let member = server.app.test.env.clone();
    let planes = Arc::clone(&server.app.work.planes);
    let org = domain::dataplane::Directory::lookup(planes.as_ref(), "acme").unwrap();
    connectors::add_demo(&member, &domain::OrgActor::operator(org)).await.unwrap();
    server.app.settle().await;
    drop(upstream);
    let url = format!("{}/mcp/acme", server.base);
    let seen = typescript(&url, &key, "demo__echo", &json!({"text": "still here"})).await;
    assert!(seen["result"]["content"][0]["text"].as_str().unwrap().contains("still here"), "{seen}");
    let dead = typescript(&url, &key, "ev__echo", &json!({"message": "x"})).await;
    assert_eq!(dead["error"]["code"], -32010, "{dead}");
}
