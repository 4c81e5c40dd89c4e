//! Figures for Prometheus, on a listener of their own.

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use model::api_keys::KeyScope;
use serde_json::json;
use server::metrics;
use store::Kind;
use tower::ServiceExt as _;

use crate::support::{HOST, TestApp};

async fn figures(app: &TestApp) -> String {
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let answer = metrics::router(app.work.clone()).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn figure(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn whk_05_the_queue_of_webhooks_is_a_figure() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let wanted = domain::webhooks::Wanted {
        url: "http://127.0.0.1:9/".into(),
        description: String::new(),
        all: true,
        events: Vec::new(),
    };
    domain::webhooks::create(&app.test.env, &member.actor().await, &wanted).await.unwrap();
    app.key(&member, KeyScope::All).await;
    app.test.clock.advance(7_000);
    let text = figures(&app).await;
    assert!((figure(&text, "gatehouse_webhook_deliveries_due") - 1.0).abs() < 0.5, "{text}");
    assert!((figure(&text, "gatehouse_webhook_oldest_due_seconds") - 7.0).abs() < 0.5, "{text}");
}

#[tokio::test]
async fn err_03_figures_are_on_a_listener_of_their_own_and_name_no_tenant() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let key = app.key(&member, KeyScope::All).await;
    let before = figures(&app).await;
    assert!(figure(&before, "gatehouse_mcp_requests_total{outcome=\"ok\"}") < 0.5);
    for (path, method) in [("/mcp/acme", "tools/list"), ("/mcp/acme", "tools/call")] {
        app.rpc(path, &key.secret, method, json!({"name": "none__such", "arguments": {}})).await;
    }
    let text = figures(&app).await;
    for (name, value) in [
        ("gatehouse_mcp_requests_total{outcome=\"ok\"}", 1.0),
        ("gatehouse_mcp_requests_total{outcome=\"bad_request\"}", 1.0),
        ("gatehouse_mcp_request_duration_seconds_count", 2.0),
        ("gatehouse_log_rows_waiting", 2.0),
        ("gatehouse_log_rows_left_out{why=\"database_away\"}", 0.0),
        ("gatehouse_ready", 1.0),
    ] {
        assert!((figure(&text, name) - value).abs() < 0.5, "{name} in {text}");
    }
    assert!(figure(&text, "gatehouse_resident_memory_bytes") > 1e6, "{text}");
    assert!(!text.contains("acme") && !text.contains("none__such"), "{text}");
    let public = app.send(Request::get("/metrics").header("host", HOST).body(Body::empty()).unwrap()).await;
    assert_eq!(public.status, StatusCode::NOT_FOUND);
}
