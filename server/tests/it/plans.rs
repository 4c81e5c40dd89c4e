//! What plans give, as callers meet it: over HTTP, at the edge of each limit, with the plan itself and no override.

use axum::http::StatusCode;
use domain::{connectors, orgs::OperatorChanges, testing::TestMember, usage::period};
use model::{Plan, api_keys::KeyScope};
use serde_json::{Value, json};
use store::Kind;

use crate::support::{Answer, Browser, TestApp, rpc_request};

/// An organisation of this plan with something to call.
async fn org(app: &TestApp, slug: &str, plan: Plan) -> TestMember {
    let owner = app.org(slug).await;
    connectors::add_demo(&app.test.env, &owner.actor().await).await.unwrap();
    set_plan(app, &owner, plan).await;
    owner
}

async fn set_plan(app: &TestApp, owner: &TestMember, plan: Plan) {
    let changes = OperatorChanges { plan: Some(plan), ..OperatorChanges::default() };
    domain::orgs::set_by_operator(&app.test.env, owner.org_id(), changes).await.unwrap();
    app.settle().await;
}

async fn over_mcp(app: &TestApp, slug: &str, key: &str) -> Answer {
    let params = json!({"name": "demo__echo", "arguments": {"text": "hello"}});
    app.rpc(&format!("/mcp/{slug}"), key, "tools/call", params).await
}

async fn over_rest(app: &TestApp, key: &str) -> Answer {
    let body = json!({"connector": "demo", "tool": "echo", "arguments": {"text": "hello"}});
    app.send(rpc_request("/v1/mcp/invoke", Some(key), &body)).await
}

/// What a call in the playground came to, as an agent would have got it.
async fn in_playground(browser: &mut Browser<'_>) -> (u64, Value) {
    let fields = [("tool", "demo/echo"), ("names[0]", "text"), ("args[0]", "hello")];
    let answer = browser.post("/api/run_tool", &fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let played = answer.json();
    let response = serde_json::from_str(played["response"].as_str().unwrap()).unwrap();
    (played["status"].as_u64().unwrap(), response)
}

/// That an answer refuses for this limit, and says when to come again (RLM-01).
fn refuses(answer: &Answer, code: &str) {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.text);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    let body = answer.json();
    let said = body["error"]["data"]["code"].as_str().or(body["code"].as_str());
    assert_eq!(said, Some(code), "{}", answer.text);
}

async fn calls_of_a_month(kind: Kind) {
    for (plan, calls) in [(Plan::Free, 1_000), (Plan::Pro, 50_000), (Plan::Team, 500_000)] {
        let app = TestApp::new(kind).await;
        let acme = org(&app, "acme", plan).await;
        let key = app.key(&acme, KeyScope::All).await.secret;
        let mut browser = app.signed_in(&acme).await;
        {
            let mut tx = app.test.env.db.write().await.unwrap();
            let month = period::month(app.test.env.now());
            store::usage::add_used(&mut tx, acme.org_id(), month, calls - 3).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(over_mcp(&app, "acme", &key).await.status, StatusCode::OK, "{plan}");
        assert_eq!(over_rest(&app, &key).await.status, StatusCode::OK, "{plan}");
        assert_eq!(in_playground(&mut browser).await.0, 200, "{plan}");
        // The next one is the first too many, by whichever way.
        refuses(&over_mcp(&app, "acme", &key).await, "quota_exceeded");
        refuses(&over_rest(&app, &key).await, "quota_exceeded");
        let (status, refusal) = in_playground(&mut browser).await;
        assert_eq!((status, &refusal["error"]["data"]["code"]), (429, &json!("quota_exceeded")), "{plan}");
        // What is no call still works.
        let listed = app.rpc("/mcp/acme", &key, "tools/list", json!({})).await;
        assert_eq!(listed.status, StatusCode::OK, "{}", listed.text);
        // A plan that gives more does so with the next call.
        set_plan(&app, &acme, Plan::Enterprise).await;
        assert_eq!(over_mcp(&app, "acme", &key).await.status, StatusCode::OK, "{plan}");
        assert_eq!(in_playground(&mut browser).await.0, 200, "{plan}");
    }
}

#[tokio::test]
async fn rlm_01_the_call_after_the_last_of_the_month_is_refused_by_every_way_on_sqlite() {
    calls_of_a_month(Kind::Sqlite).await;
}

#[tokio::test]
async fn rlm_01_the_call_after_the_last_of_the_month_is_refused_by_every_way_on_postgres() {
    calls_of_a_month(Kind::Postgres).await;
}

async fn calls_of_a_minute(kind: Kind) {
    let app = TestApp::new(kind).await;
    let acme = org(&app, "acme", Plan::Free).await;
    let (one, two) = (app.key(&acme, KeyScope::All).await.secret, app.key(&acme, KeyScope::All).await.secret);
    let mut browser = app.signed_in(&acme).await;
    for n in 1..=60 {
        assert_eq!(over_mcp(&app, "acme", &one).await.status, StatusCode::OK, "{n}");
        assert_eq!(over_rest(&app, &two).await.status, StatusCode::OK, "{n}");
        assert_eq!(in_playground(&mut browser).await.0, 200, "{n}");
    }
    // Each key, and each person, has a rate of its own.
    refuses(&over_mcp(&app, "acme", &one).await, "rate_limited");
    refuses(&over_rest(&app, &one).await, "rate_limited");
    refuses(&over_rest(&app, &two).await, "rate_limited");
    let (status, refusal) = in_playground(&mut browser).await;
    assert_eq!((status, &refusal["error"]["data"]["code"]), (429, &json!("rate_limited")));
    let third = app.key(&acme, KeyScope::All).await.secret;
    assert_eq!(over_mcp(&app, "acme", &third).await.status, StatusCode::OK);
    // A second gives one (RLM-02), and a larger plan more.
    app.test.clock.advance(1_000);
    assert_eq!(over_mcp(&app, "acme", &one).await.status, StatusCode::OK);
    refuses(&over_mcp(&app, "acme", &one).await, "rate_limited");
    // A node that shares the rate with others remembers a refusal for as long as it told the caller to wait.
    app.test.clock.advance(60_000);
    set_plan(&app, &acme, Plan::Pro).await;
    for n in 0..100 {
        assert_eq!(over_mcp(&app, "acme", &one).await.status, StatusCode::OK, "{n}");
    }
}

#[tokio::test]
async fn rlm_01_the_call_after_the_last_of_the_minute_is_refused_by_every_way_on_sqlite() {
    calls_of_a_minute(Kind::Sqlite).await;
}

#[tokio::test]
async fn rlm_01_the_call_after_the_last_of_the_minute_is_refused_by_every_way_on_postgres() {
    calls_of_a_minute(Kind::Postgres).await;
}
