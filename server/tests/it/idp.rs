//! A real `OpenID` provider in front: its tokens call the endpoint, and its keys are followed when they change.

use std::{path::Path, process::Stdio, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use bytes::Bytes;
use domain::{
    Clock as _, connectors,
    env::SystemClock,
    idp::{
        config::{self, Input},
        tester,
    },
    orgs,
    testing::TestMember,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use store::Kind;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::support::{Answer, HOST, TestApp};

const AUDIENCE: &str = "http://localhost:3000/mcp/acme";

/// `oidc-provider` with a key of its own. It ends when this is dropped.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    process: Child,
}

impl Provider {
    pub(crate) async fn start(port: &str) -> Self {
        let mut process = Command::new("node")
            .arg("end2end/clients/identity-provider.mjs")
            .current_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")))
            .env("PORT", port)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        let line = line.expect("the provider starts").unwrap().expect("run `make setup-test`");
        let issuer = line.strip_prefix("listening on ").expect("its address").to_owned();
        // Whatever else it says is read: a pipe that nobody reads ends it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { issuer, process }
    }

    fn port(&self) -> String {
        self.issuer.rsplit(':').next().unwrap().to_owned()
    }

    /// The same provider with another key.
    pub(crate) async fn rotate(mut self) -> Self {
        let port = self.port();
        self.process.kill().await.expect("it ends");
        Self::start(&port).await
    }

    async fn token(&self, app: &TestApp, resource: &str, scope: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&scope={scope}&resource={}",
            model::paths::encode(resource).replace('/', "%2F")
        );
        let request = Request::post(format!("{}/token", self.issuer))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            // agent:agent-secret
            .header(header::AUTHORIZATION, "Basic YWdlbnQ6YWdlbnQtc2VjcmV0")
            .body(Bytes::from(form))
            .unwrap();
        let mut body = app.test.env.outbound.send(request).await.expect("the provider answers").into_body();
        let mut text = Vec::new();
        while let Some(piece) = body.next().await {
            text.extend_from_slice(&piece.unwrap());
        }
        let answer: Value = serde_json::from_slice(&text).expect("JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }
}

async fn list(app: &TestApp, path: &str, token: &str) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let request = Request::post(path)
        .header(header::HOST, HOST)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    app.send(request).await
}

async fn configured(kind: Kind) -> (TestApp, TestMember, Provider, Input) {
    let app = TestApp::new(kind).await;
    // The provider goes by the real time.
    app.test.clock.advance(SystemClock.now() - app.test.env.now());
    let member = app.org("acme").await;
    connectors::add_demo(&app.test.env, &member.actor().await).await.unwrap();
    let provider = Provider::start("0").await;
    let input = Input {
        issuer: provider.issuer.clone(),
        audience: AUDIENCE.to_owned(),
        enabled: true,
        ..Input::default()
    };
    config::put(&app.test.env, &member.actor().await, &input).await.expect("it is found and kept");
    app.settle().await;
    (app, member, provider, input)
}

async fn tokens_of_a_real_provider_are_accepted(kind: Kind) {
    let (app, member, provider, input) = configured(kind).await;
    let token = provider.token(&app, AUDIENCE, "tools").await;
    let answer = list(&app, "/mcp/acme", &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(answer.text.contains("demo__echo"), "{}", answer.text);
    let tested = tester::test(&app.test.env, &member.actor().await, &token).await.unwrap();
    assert_eq!(tested.subject.as_deref(), Some("agent"), "{tested:?}");

    let elsewhere = provider.token(&app, "http://localhost:3000/mcp/bolt", "tools").await;
    assert_eq!(list(&app, "/mcp/acme", &elsewhere).await.status, StatusCode::UNAUTHORIZED);
    app.org("bolt").await;
    assert_eq!(list(&app, "/mcp/bolt", &elsewhere).await.status, StatusCode::UNAUTHORIZED);

    // A scope that the organisation asks for.
    let strict = Input { scope: "tools".to_owned(), ..input };
    config::put(&app.test.env, &member.actor().await, &strict).await.unwrap();
    app.settle().await;
    assert_eq!(list(&app, "/mcp/acme", &token).await.status, StatusCode::OK);
    let scopeless = provider.token(&app, AUDIENCE, "").await;
    let answer = list(&app, "/mcp/acme", &scopeless).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert!(answer.header("www-authenticate").contains("scope=\"tools\""));

    // A plan without one: at once 401, and as before with the next plan that has it.
    let set_plan = async |plan| {
        let changes = orgs::OperatorChanges { plan: Some(plan), ..orgs::OperatorChanges::default() };
        orgs::set_by_operator(&app.test.env, member.org_id(), changes).await.unwrap();
        app.settle().await;
    };
    set_plan(model::Plan::Team).await;
    assert_eq!(list(&app, "/mcp/acme", &token).await.status, StatusCode::UNAUTHORIZED);
    set_plan(model::Plan::Enterprise).await;
    assert_eq!(list(&app, "/mcp/acme", &token).await.status, StatusCode::OK);

    config::set_enabled(&app.test.env, &member.actor().await, false).await.unwrap();
    app.settle().await;
    assert_eq!(list(&app, "/mcp/acme", &token).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn idp_03_tokens_of_a_real_provider_are_accepted_on_sqlite() {
    tokens_of_a_real_provider_are_accepted(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idp_03_tokens_of_a_real_provider_are_accepted_on_postgres() {
    tokens_of_a_real_provider_are_accepted(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idp_04_the_keys_of_a_real_provider_are_followed() {
    let (app, _member, provider, _) = configured(Kind::Sqlite).await;
    let old = provider.token(&app, AUDIENCE, "tools").await;
    assert_eq!(list(&app, "/mcp/acme", &old).await.status, StatusCode::OK);

    let provider = provider.rotate().await;
    let new = provider.token(&app, AUDIENCE, "tools").await;
    // Keys were fetched a moment ago, so the new one is looked for half a minute later.
    assert_eq!(list(&app, "/mcp/acme", &new).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(list(&app, "/mcp/acme", &old).await.status, StatusCode::OK);
    app.test.clock.advance(31_000);
    assert_eq!(list(&app, "/mcp/acme", &new).await.status, StatusCode::OK);
    assert_eq!(list(&app, "/mcp/acme", &old).await.status, StatusCode::UNAUTHORIZED);
}
