//! The MCP endpoint through the whole server, with the built-in demo server behind it.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use domain::{
    api_keys::{self, KeyChanges},
    connectors,
};
use model::api_keys::KeyScope;
use serde_json::json;
use store::Kind;

use crate::support::{HOST, TestApp, rpc_request};

#[tokio::test]
async fn the_first_call_works_with_nothing_but_a_key() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let app = TestApp::new(kind).await;
        let member = app.org("acme").await;
        connectors::add_demo(&app.test.env, &member.actor().await).await.unwrap();
        let key = app.key(&member, KeyScope::All).await;

        let list = app.rpc("/mcp/acme", &key.secret, "tools/list", json!({})).await;
        assert_eq!(list.status, StatusCode::OK, "{}", list.text);
        assert_eq!(list.header("content-type"), "application/json");
        let names: Vec<_> = list.json()["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["demo__echo", "demo__time", "demo__add"]);

        let call = json!({"name": "demo__add", "arguments": {"a": 2, "b": 40}});
        let answer = app.rpc("/mcp/acme", &key.secret, "tools/call", call).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert!(
            answer.json()["result"]["content"][0]["text"].as_str().unwrap().contains("42"),
            "{}",
            answer.text
        );
        assert_eq!(answer.json()["id"], 1);

        let one = app
            .rpc(
                "/mcp/acme/demo",
                &key.secret,
                "tools/call",
                json!({"name": "echo", "arguments": {"text": "hi"}}),
            )
            .await;
        assert!(one.text.contains("hi"), "{}", one.text);

        // The meter writes when the key was used.
        app.work.meter.flush(&app.test.env).await.unwrap();
        let page = api_keys::page(&app.test.env, &member.actor().await).await.unwrap();
        assert_eq!(page.keys[0].last_used_at, Some(app.test.env.now()));
    }
}

#[tokio::test]
async fn apk_05_a_disabled_or_deleted_key_gets_401_on_the_next_request() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let key = app.key(&member, KeyScope::All).await;
    // The forwarder of the running server, without waiting for it.
    let mut news = app.test.env.changes.subscribe();
    let mut ask = async || {
        while let Ok(org) = news.try_recv() {
            app.work.gateway.invalidate(org);
        }
        app.rpc("/mcp/acme", &key.secret, "ping", json!({})).await.status
    };
    assert_eq!(ask().await, StatusCode::OK);
    let switch = |enabled| KeyChanges { enabled: Some(enabled), ..KeyChanges::default() };
    api_keys::update(&app.test.env, &member.actor().await, key.key.id, &switch(false)).await.unwrap();
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
    api_keys::update(&app.test.env, &member.actor().await, key.key.id, &switch(true)).await.unwrap();
    assert_eq!(ask().await, StatusCode::OK);
    api_keys::delete(&app.test.env, &member.guarded().await, key.key.id, true).await.unwrap();
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn apk_04_rsv_01_nothing_tells_a_foreign_key_from_a_random_one_or_a_slug_from_none() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (_ours, theirs) = (app.org("ours").await, app.org("theirs").await);
    let foreign = app.key(&theirs, KeyScope::All).await.secret;
    let random = domain::key_format::generate(|bytes| bytes.fill(7));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let strip = |answer: &crate::support::Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        (answer.status, format!("{headers:?}").replace("nobody-here", "ours"), answer.text.clone())
    };
    let with_foreign = app.send(rpc_request("/mcp/ours", Some(&foreign), &body)).await;
    let with_random = app.send(rpc_request("/mcp/ours", Some(&random), &body)).await;
    let unknown_slug = app.send(rpc_request("/mcp/nobody-here", Some(&random), &body)).await;
    assert_eq!(with_foreign.status, StatusCode::UNAUTHORIZED);
    assert_eq!(strip(&with_foreign), strip(&with_random));
    assert_eq!(strip(&with_random), strip(&unknown_slug));
    let (bare, bare_unknown) = (
        app.send(rpc_request("/mcp/ours", None, &body)).await,
        app.send(rpc_request("/mcp/nobody-here", None, &body)).await,
    );
    assert_eq!(strip(&bare), strip(&bare_unknown));
    assert_eq!(
        bare.header("www-authenticate"),
        r#"Bearer resource_metadata="http://localhost:3000/.well-known/oauth-protected-resource/mcp/ours", scope="mcp:call""#
    );
    let named = Request::get("/.well-known/oauth-protected-resource/mcp/ours")
        .header(header::HOST, HOST)
        .body(Body::empty());
    let document = app.send(named.unwrap()).await;
    assert_eq!(document.json()["resource"], "http://localhost:3000/mcp/ours");
}

#[tokio::test]
async fn apk_06_a_limited_key_sees_and_calls_its_connectors_only() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let first = connectors::add_demo(&app.test.env, &member.actor().await).await.unwrap();
    let second = connectors::add_demo(&app.test.env, &member.actor().await).await.unwrap();
    assert_eq!(second.slug.as_str(), "demo-2");
    let key = app.key(&member, KeyScope::Only(vec![first.id])).await;
    let list = app.rpc("/mcp/acme", &key.secret, "tools/list", json!({})).await;
    assert!(list.text.contains("demo__echo") && !list.text.contains("demo-2__echo"), "{}", list.text);
    let call = json!({"name": "demo-2__echo", "arguments": {"text": "x"}});
    let refused = app.rpc("/mcp/acme", &key.secret, "tools/call", call).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert!(refused.header("www-authenticate").contains("insufficient_scope"));
    let whole = app.rpc("/mcp/acme/demo-2", &key.secret, "tools/list", json!({})).await;
    assert_eq!(whole.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_switched_off_tool_or_connector_is_neither_listed_nor_called() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let demo = connectors::add_demo(&app.test.env, &member.actor().await).await.unwrap();
    let key = app.key(&member, KeyScope::All).await;
    connectors::set_tool_enabled(&app.test.env, &member.actor().await, demo.id, "echo", false).await.unwrap();
    app.settle().await;
    let list = app.rpc("/mcp/acme", &key.secret, "tools/list", json!({})).await;
    assert!(!list.text.contains("demo__echo") && list.text.contains("demo__add"));
    let call = json!({"name": "demo__echo", "arguments": {"text": "x"}});
    let refused = app.rpc("/mcp/acme", &key.secret, "tools/call", call.clone()).await;
    assert_eq!(refused.json()["error"]["code"], -32602, "{}", refused.text);
    connectors::set_enabled(&app.test.env, &member.actor().await, demo.id, false).await.unwrap();
    app.settle().await;
    let list = app.rpc("/mcp/acme", &key.secret, "tools/list", json!({})).await;
    assert_eq!(list.json()["result"]["tools"], json!([]));
}

#[tokio::test]
async fn ten_02_ids_and_roles_in_a_body_move_nothing() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (ours, theirs) = (app.org("ours").await, app.org("theirs").await);
    let mut browser = app.signed_in(&ours).await;
    let their_id = theirs.org_id().to_string();
    let fields = [
        ("name", "Renamed"),
        ("description", ""),
        ("org", their_id.as_str()),
        ("org_id", their_id.as_str()),
        ("slug", "stolen"),
        ("plan", "free"),
        ("role", "owner"),
        ("created_at", "0"),
    ];
    let answer = browser.post("/settings?do=update_org", &fields).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let mut tx = app.test.env.db.read().await.unwrap();
    let mine = store::orgs::find(&mut tx, ours.org_id()).await.unwrap().unwrap();
    assert_eq!(
        mine,
        model::orgs::Org { name: "Renamed".into(), ..ours.org.clone() },
        "the name and nothing else"
    );
    assert_eq!(store::orgs::find(&mut tx, theirs.org_id()).await.unwrap().unwrap(), theirs.org);
    drop(tx);
    let answer = browser.post("/?do=switch_org", &[("org", their_id.as_str())]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn apk_07_a_key_opens_nothing_of_the_dashboard() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let key = app.key(&member, KeyScope::All).await;
    for path in ["/settings/api-keys", "/api/load_me", "/api/create_api_key"] {
        let request = Request::post(path)
            .header(header::HOST, HOST)
            .header("sec-fetch-site", "same-origin")
            .header("x-api-key", &key.secret)
            .header(header::AUTHORIZATION, format!("Bearer {}", key.secret))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from("name=stolen&access=all"))
            .unwrap();
        let answer = app.send(request).await;
        assert!(!answer.status.is_success(), "{path}: {}", answer.status);
    }
    let page = api_keys::page(&app.test.env, &member.actor().await).await.unwrap();
    assert_eq!(page.keys.len(), 1);
}
