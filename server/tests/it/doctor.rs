//! What the connection doctor tells of a client that comes by.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use domain::testing::TestMember;
use model::doctor::{Outcome, Stage};
use serde_json::json;
use store::Kind;

use crate::{
    oauth::{authorize, client_of, code, list_tools, redeem, text},
    support::{HOST, TestApp, rpc_request},
};

async fn get(app: &TestApp, path: &str) -> StatusCode {
    app.send(Request::get(path).header(header::HOST, HOST).body(Body::empty()).unwrap()).await.status
}

async fn every_step_of_a_client_is_told(kind: Kind) {
    let app = TestApp::new(kind).await;
    let (member, other) = (app.org("acme").await, app.org("bolt").await);
    let attempts = async |of: &TestMember| {
        domain::doctor::page(&app.test.env, &of.actor().await).await.unwrap().attempts
    };
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let pass = || app.test.clock.advance(1000);
    assert_eq!(app.send(rpc_request("/mcp/acme", None, &body)).await.status, StatusCode::UNAUTHORIZED);
    pass();
    assert_eq!(get(&app, "/.well-known/oauth-protected-resource/mcp/acme").await, StatusCode::OK);
    pass();
    assert_eq!(get(&app, "/.well-known/oauth-authorization-server").await, StatusCode::OK);
    pass();
    let client = client_of(&app, json!({"client_name": "Claude Code (gatehouse)"})).await;
    let id = text(&client, "client_id");
    pass();
    let mut browser = app.signed_in(&member).await;
    let code = code(&mut browser, &member, id).await;
    pass();
    let issued = redeem(&app, id, &code).await.json();
    app.settle().await;
    pass();
    for _ in 0..3 {
        assert_eq!(list_tools(&app, text(&issued, "access_token")).await.status, StatusCode::OK);
    }
    let told = attempts(&member).await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((told[0].client.as_str(), told[0].outcome), ("Claude Code", Outcome::Connected));
    assert_eq!(told[0].client_id.as_deref(), Some(id));
    let stages: Vec<_> = told[0].steps.iter().map(|step| (step.stage, step.times)).collect();
    assert_eq!(stages, Stage::ALL.iter().map(|stage| (*stage, 1)).collect::<Vec<_>>());
    // Nothing of it is the other organisation's business.
    assert!(attempts(&other).await.is_empty());

    // The code once more, and a client that is gone.
    app.test.clock.advance(20 * 60 * 1000);
    assert_eq!(redeem(&app, id, &code).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(browser.get(&authorize("gth_client_gone", &[])).await.status, StatusCode::BAD_REQUEST);
    let told = attempts(&member).await;
    let failed: Vec<_> = told.iter().filter(|attempt| attempt.outcome == Outcome::Failed).collect();
    assert_eq!(failed.len(), 2, "{told:#?}");
    assert!(failed.iter().any(|attempt| attempt.stuck == Some(Stage::Authorize)));
    assert!(failed.iter().any(|attempt| attempt.stuck == Some(Stage::Token)));
    // Neither codes nor tokens are in what is told.
    let words = serde_json::to_string(&told).unwrap();
    assert!(!words.contains(&code) && !words.contains(text(&issued, "access_token")));
}

#[tokio::test]
async fn every_step_of_a_client_is_told_on_sqlite() {
    every_step_of_a_client_is_told(Kind::Sqlite).await;
}

#[tokio::test]
async fn every_step_of_a_client_is_told_on_postgres() {
    every_step_of_a_client_is_told(Kind::Postgres).await;
}
