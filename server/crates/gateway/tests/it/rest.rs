//! Tools for callers that do not speak MCP.

use http::Method;
use model::{Limits, activity::Outcome};
use serde_json::{Value, json};

use crate::support::*;

const INVOKE: &str = "/v1/mcp/invoke";

async fn invoke(bench: &Bench, number: u64, body: &Value) -> Answer {
    bench.send(post(INVOKE).key(number).json(body)).await
}

fn echo() -> Value {
    json!({"connector":"alpha","tool":"echo","arguments":{"marker":"m"}})
}

#[tokio::test]
async fn rsv_14_a_call_without_mcp_takes_the_same_way() {
    let bench = Bench::new(Speaks::Modern);
    let answer = invoke(&bench, 1, &echo()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.json()["result"]["content"][0]["future"], "m");
    assert_eq!(answer.header("cache-control"), "no-store");
    let seen = bench.upstream.seen("tools/call");
    assert_eq!((seen.len(), &seen[0].body["params"]["name"]), (1, &json!("echo")));
    // The caller's own credential stays here (RSV-07).
    assert!(!seen[0].headers.contains_key("authorization"));
    let ended = bench.ended();
    assert_eq!((ended.len(), ended[0].outcome, ended[0].tool.as_str()), (1, Outcome::Ok, "echo"));
    // The organisation is that of the credential.
    let answer = invoke(&bench, 11, &echo()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(bench.ended()[0].plane.slug.as_str(), "bolt");
}

#[tokio::test]
async fn rsv_14_nobody_gets_in_who_would_not_at_the_endpoint() {
    let bench = Bench::new(Speaks::Modern);
    let problem = |answer: &Answer| {
        assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
        assert_eq!(answer.json()["status"], answer.status);
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let none = bench.send(post(INVOKE).json(&echo())).await;
    assert_eq!(problem(&none), (401, "credential_missing".into()));
    assert_eq!(none.header("www-authenticate"), "Bearer");
    let unknown = invoke(&bench, 99, &echo()).await;
    assert_eq!(problem(&unknown), (401, "credential_invalid".into()));
    for bearer in ["x", "gth_live_sk_wrong", "a.b.c"] {
        let answer = bench.bearer(INVOKE, bearer, &echo()).await;
        assert_eq!(answer.status, 401, "{bearer}");
    }
    // In the URL only where the organisation allows it.
    let path = format!("{INVOKE}?api_key={}", key(4));
    assert_eq!(bench.send(post(&path).json(&echo())).await.status, 401);
    // Out of the key's scope.
    let scoped = invoke(&bench, 3, &echo()).await;
    assert_eq!(problem(&scoped), (403, "insufficient_scope".into()));
    assert!(scoped.header("www-authenticate").contains("mcp:call:alpha"));
    bench.directory.change(|plane| plane.suspended = true);
    bench.gateway.invalidate(org_id(1));
    assert_eq!(problem(&invoke(&bench, 1, &echo()).await), (403, "org_suspended".into()));
    assert!(bench.upstream.seen("tools/call").is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told_as_a_problem() {
    let bench = Bench::new(Speaks::Modern);
    let call = |tool: &str| json!({"connector":"alpha","tool":tool});
    for (body, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!([]), 400, "invalid_request"),
        (json!({"connector":"alpha"}), 400, "invalid_request"),
        (json!({"connector":"alpha","tool":1}), 400, "invalid_request"),
        (json!({"connector":"alpha","tool":"echo","more":1}), 400, "invalid_request"),
        (json!({"connector":"../alpha","tool":"echo"}), 404, "unknown_connector"),
        (json!({"connector":"nobody","tool":"echo"}), 404, "not_found"),
        (call("nothing"), 404, "unknown_tool"),
        (call("off"), 404, "unknown_tool"),
        (call("html"), 502, "upstream_protocol_error"),
        (call("bare_error"), 502, "tool_error"),
    ] {
        let answer = invoke(&bench, 1, &body).await;
        assert_eq!(answer.header("content-type"), "application/problem+json", "{body} {answer:?}");
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{body}");
    }
    let twice = post(INVOKE).key(1).text(r#"{"connector":"alpha","tool":"off","tool":"echo"}"#);
    assert_eq!(bench.send(twice).await.status, 400);
    let wrong = post(INVOKE).key(1).header("content-type", "text/plain").body("{}".into());
    assert_eq!(bench.send(wrong).await.status, 415);
    let get = bench.send(ask(Method::GET, INVOKE).key(1).empty()).await;
    assert_eq!(get.status, 405);
}

#[tokio::test]
async fn rlm_01_over_a_limit_is_a_problem_that_names_the_policy() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { key_per_minute: Some(2), ..Limits::default() });
    for left in [1, 0] {
        let answer = invoke(&bench, 1, &echo()).await;
        assert!(answer.header("ratelimit").starts_with(&format!("\"key\";r={left};")), "{answer:?}");
    }
    let refused = invoke(&bench, 1, &echo()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "30"));
    assert_eq!(refused.header("ratelimit-policy"), r#""key";q=2;w=60"#);
    let body = refused.json();
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!((&body["code"], &body["violated-policies"]), (&json!("rate_limited"), &json!(["key"])));
    // The same bucket as at the endpoint (RLM-03).
    assert_eq!(bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({}))).await.status, 429);
}

#[tokio::test]
async fn tools_are_listed_with_their_connector() {
    let bench = Bench::with(Speaks::Modern, |settings| settings.page = 10);
    let mut found = Vec::new();
    let mut path = "/v1/mcp/tools".to_owned();
    loop {
        let answer = bench.send(ask(Method::GET, &path).key(1).empty()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        for tool in body["tools"].as_array().unwrap() {
            assert!(tool["inputSchema"].is_object() && tool.get("name").is_none());
            assert_eq!(tool["vendorField"], json!([1, 2.5]), "members that nobody knows stay");
            found.push(format!("{}/{}", tool["connector"].as_str().unwrap(), tool["tool"].as_str().unwrap()));
        }
        let Some(cursor) = body["next_cursor"].as_str() else { break };
        path = format!("/v1/mcp/tools?cursor={cursor}");
    }
    assert_eq!(found.len(), 16);
    assert!(found.contains(&"alpha/echo".to_owned()) && found.contains(&"beta/other".to_owned()));
    let scoped = bench.send(ask(Method::GET, "/v1/mcp/tools").key(3).empty()).await.json();
    assert_eq!(scoped["tools"].as_array().unwrap().len(), 2);
    assert_eq!(bench.send(ask(Method::GET, "/v1/mcp/tools").empty()).await.status, 401);
}

#[tokio::test]
async fn the_document_describes_both() {
    let bench = Bench::new(Speaks::Modern);
    let answer = bench.send(ask(Method::GET, "/v1/openapi.json").empty()).await;
    let document = answer.json();
    assert_eq!((&document["openapi"], &document["servers"][0]["url"]), (&json!("3.1.0"), &json!(PUBLIC)));
    assert!(document["paths"]["/v1/mcp/invoke"]["post"]["responses"]["429"].is_object());
    assert!(document["paths"]["/v1/mcp/tools"]["get"]["responses"]["200"].is_object());
}
