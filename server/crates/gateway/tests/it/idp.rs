//! Tokens of organisations' own identity providers.

use std::sync::atomic::Ordering;

use http::Method;
use serde_json::json;

use crate::support::{Bench, PUBLIC, Speaks, ask, call_params, foreign, org_id, provider, rpc};

const ISSUER: &str = "https://id.acme.test";

fn list() -> serde_json::Value {
    rpc(1, "tools/list", json!({}))
}

fn with_provider() -> Bench {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| plane.idp = Some(provider(1, ISSUER)));
    bench
}

#[tokio::test]
async fn idp_01_the_path_chooses_the_provider() {
    let bench = with_provider();
    let good = foreign(ISSUER, "good");
    let listed = bench.bearer("/mcp/acme", &good, &list()).await;
    assert_eq!(listed.status, 200);
    assert!(listed.json()["result"]["tools"].as_array().unwrap().len() > 10, "every connector");
    let call = rpc(2, "tools/call", call_params("alpha__echo", "m"));
    assert_eq!(bench.bearer("/mcp/acme", &good, &call).await.status, 200);
    // Whatever it says of itself: an organisation without a provider takes none of these.
    for issuer in [ISSUER, "https://elsewhere.test", ""] {
        let answer = bench.bearer("/mcp/bolt", &foreign(issuer, "good"), &list()).await;
        assert_eq!((answer.status, answer.word().as_str()), (401, "credential_invalid"));
    }
    // A token that says it is ours is judged as ours alone.
    assert_eq!(bench.bearer("/mcp/acme", &foreign(PUBLIC, "good"), &list()).await.status, 401);
}

#[tokio::test]
async fn idp_03_a_bad_token_hears_what_every_bad_credential_hears() {
    let bench = with_provider();
    let bad = bench.bearer("/mcp/acme", &foreign(ISSUER, "bad"), &list()).await;
    let none = bench.bearer("/mcp/bolt", &foreign(ISSUER, "good"), &list()).await;
    let unknown = bench.bearer("/mcp/nobody", &foreign(ISSUER, "good"), &list()).await;
    assert_eq!(bad.status, 401);
    assert_eq!(bad.json()["error"], none.json()["error"]);
    assert_eq!(bad.json()["error"], unknown.json()["error"]);
    assert!(bad.header("www-authenticate").contains("error=\"invalid_token\""));
    assert!(!bad.json().to_string().contains("secret detail"));
    // In no other place than a bearer's.
    let good = foreign(ISSUER, "good");
    let asking = |asking: crate::support::Asking| bench.send(asking.json(&list()));
    assert_eq!(asking(ask(Method::POST, "/mcp/acme").header("x-api-key", &good)).await.status, 401);
    assert_eq!(asking(ask(Method::POST, &format!("/mcp/acme?api_key={good}"))).await.status, 401);
}

#[tokio::test]
async fn idp_05_a_provider_that_is_switched_off_or_changed_counts_at_once() {
    let bench = with_provider();
    let good = foreign(ISSUER, "good");
    assert_eq!(bench.bearer("/mcp/acme", &good, &list()).await.status, 200);
    bench.directory.change(|plane| plane.idp = None);
    bench.gateway.invalidate(org_id(1));
    assert_eq!(bench.bearer("/mcp/acme", &good, &list()).await.status, 401);
    bench.directory.change(|plane| plane.idp = Some(provider(1, ISSUER)));
    bench.gateway.invalidate(org_id(1));
    assert_eq!(bench.bearer("/mcp/acme", &good, &list()).await.status, 200);
    assert!(bench.directory.loads.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn idp_06_what_the_rules_forbid_is_403() {
    let bench = with_provider();
    let answer = bench.bearer("/mcp/acme", &foreign(ISSUER, "claimless"), &list()).await;
    assert_eq!((answer.status, answer.word().as_str()), (403, "insufficient_scope"));
    assert!(
        answer
            .header("www-authenticate")
            .starts_with("Bearer error=\"insufficient_scope\", scope=\"mcp:call\"")
    );
    assert!(!answer.json().to_string().contains("secret detail"));
}

#[tokio::test]
async fn oam_02_the_metadata_names_the_provider_after_us() {
    let bench = with_provider();
    let read = async |path: &str| {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        bench.send(ask(Method::GET, &path).empty()).await.json()["authorization_servers"].clone()
    };
    assert_eq!(read("/mcp/acme").await, json!([PUBLIC, ISSUER]));
    assert_eq!(read("/mcp/acme/alpha").await, json!([PUBLIC, ISSUER]));
    assert_eq!(read("/mcp/bolt").await, json!([PUBLIC]));
    assert_eq!(read("/mcp/nobody").await, json!([PUBLIC]));
}
