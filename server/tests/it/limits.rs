//! Limits and the request log with the binary itself: set by the operator, kept through a stop.

use axum::{Json, Router, response::IntoResponse as _, routing::post};
use serde_json::{Value, json};

use crate::process::{Place, Running, reqwest_client, start};

/// A small MCP server on loopback, of the legacy era.
async fn upstream() -> String {
    let answer = async |Json(body): Json<Value>| {
        let result = match body["method"].as_str().unwrap_or_default() {
            "initialize" => {
                json!({"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"small","version":"1"}})
            }
            "tools/list" => json!({"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}),
            "tools/call" => json!({"content":[{"type":"text","text":"hello"}]}),
            method if body["id"].is_null() => {
                assert!(method.starts_with("notifications/"));
                return axum::http::StatusCode::ACCEPTED.into_response();
            }
            _ => {
                let error = json!({"jsonrpc":"2.0","id":body["id"],"error":{"code":-32601,"message":"no"}});
                return Json(error).into_response();
            }
        };
        Json(json!({"jsonrpc":"2.0","id":body["id"],"result":result})).into_response()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let router = Router::new().route("/mcp", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn call(running: &Running, key: &str) -> (u16, String) {
    let body = json!({"connector":"small","tool":"echo","arguments":{}});
    let answer = reqwest_client()
        .post(format!("{}/v1/mcp/invoke", running.base))
        .header("x-api-key", key)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// Ends it as an operator does, and waits for its end.
fn stop(mut running: Running) {
    let pid = running.process.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(running.process.wait().unwrap().success());
}

async fn a_stop_loses_no_call(place: Place, database: &str) {
    let place = place.with("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8");
    place.set_up();
    let url = upstream().await;
    let admin = |arguments: &[&str]| {
        let mut all = vec!["admin"];
        all.extend(arguments);
        all.push("--json");
        // The server of the connector runs in this very process.
        tokio::task::block_in_place(|| place.json(&all))
    };
    admin(&["connector", "add", "--org", "acme", "--slug", "small", "--name", "Small", "--url", &url]);
    let key =
        admin(&["api-key", "create", "--org", "acme", "--name", "k"])["key"].as_str().unwrap().to_owned();
    let set =
        admin(&["org", "set", "--org", "acme", "--rate-per-minute", "unlimited", "--monthly-quota", "50"]);
    assert_eq!((&set["rate_per_minute"], &set["monthly_quota"]), (&Value::Null, &json!(50)));
    let running = tokio::task::block_in_place(|| start(&place));
    for _ in 0..20 {
        assert_eq!(call(&running, &key).await.0, 200);
    }
    // At once, while the last calls are still in memory.
    tokio::task::block_in_place(|| stop(running));
    let db = store::Db::connect(database).await.unwrap();
    let org: model::OrgId = set["id"].as_str().unwrap().parse().unwrap();
    let counts = async || {
        let mut tx = db.read().await.unwrap();
        let now = store::orgs::now(&mut tx).await.unwrap();
        let month = domain::usage::period::month(now);
        let calls = store::usage::month(&mut tx, org, month).await.unwrap();
        let filter = store::request_log::Filter::default();
        (calls, store::request_log::list(&mut tx, org, &filter, 1000).await.unwrap().len())
    };
    assert_eq!(counts().await, ((20, 20), 20));
    // What was used is used after the restart, and not one more.
    let running = tokio::task::block_in_place(|| start(&place));
    let mut good = 0;
    for _ in 0..35 {
        good += usize::from(call(&running, &key).await.0 == 200);
    }
    assert_eq!(good, 30);
    assert_eq!(call(&running, &key).await, (429, "quota_exceeded".to_owned()));
    // A running server honours within a second what the operator sets.
    admin(&["org", "set", "--org", "acme", "--rate-per-minute", "2", "--monthly-quota", "unlimited"]);
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(call(&running, &key).await);
        if seen.last().is_some_and(|(_, code)| code == "rate_limited") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(seen.iter().any(|(status, _)| *status == 200), "{seen:?}");
    assert_eq!(seen.last().unwrap().1, "rate_limited", "{seen:?}");
    tokio::task::block_in_place(|| stop(running));
    let ((used, _), _) = counts().await;
    assert!(used >= 51, "{used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rlm_03_a_stop_loses_no_call_on_sqlite() {
    let place = Place::new();
    let database = format!("sqlite://{}", place.path("data/gatehouse.db").display());
    a_stop_loses_no_call(place, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rlm_03_a_stop_loses_no_call_on_postgres() {
    let db = store::testing::TestDb::new(store::Kind::Postgres).await;
    let master = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";
    let place = Place::new().with("GATEHOUSE_DATABASE_URL", &db.url).with("GATEHOUSE_MASTER_KEY", master);
    let url = db.url.clone();
    a_stop_loses_no_call(place, &url).await;
}

#[test]
fn limits_are_whole_numbers() {
    let place = Place::new();
    place.set_up();
    for (option, value) in [
        ("--rate-per-minute", "0"),
        ("--rate-per-minute", "x"),
        ("--rate-per-minute", "1.5"),
        ("--monthly-quota", "-1"),
        ("--monthly-quota", "9999999999999"),
    ] {
        let wanted = format!("{option}={value}");
        let text = place.fails(&["admin", "org", "set", "--org", "acme", &wanted]);
        assert!(text.contains(option), "{text}");
    }
}
