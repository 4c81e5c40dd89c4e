//! Access tokens on the data plane: whom they are, where they count, and when they end.

use std::sync::atomic::Ordering;

use domain::{
    dataplane::Principal,
    tokens::{AccessToken, TokenGrant},
};
use http::Method;
use serde_json::json;

use crate::support::{
    Answer, Bench, PUBLIC, Speaks, ask, call_params, connection_id, initialize, key, modern, org_id,
    plane_grant, plane_machine, post, rpc, token, token_grant,
};

fn list() -> serde_json::Value {
    rpc(1, "tools/list", json!({}))
}

/// A gateway where `token` is good for acme.
fn bench() -> Bench {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| plane.grants.extend([plane_grant()]));
    bench.tokens.add("token", token());
    bench
}

impl Bench {
    fn change(&self, change: impl FnOnce(&mut domain::dataplane::OrgPlane)) {
        self.directory.change(change);
        self.gateway.invalidate(org_id(1));
    }
}

fn names(answer: &Answer) -> Vec<String> {
    let tools = answer.json()["result"]["tools"].clone();
    tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_token_calls_like_a_key() {
    let bench = bench();
    let listed = bench.bearer("/mcp/acme", "token", &list()).await;
    assert_eq!((listed.status, names(&listed)), (200, names(&bench.bare("/mcp/acme", 1, &list()).await)));
    let call = rpc(1, "tools/call", call_params("alpha__echo", "m"));
    assert_eq!(bench.bearer("/mcp/acme", "token", &call).await.status, 200);
    assert_eq!(bench.bearer("/mcp/acme/beta", "token", &list()).await.status, 200);
    // RSV-07: nothing of it goes upstream.
    for seen in bench.upstream.seen("tools/call") {
        assert!(!seen.headers.contains_key("authorization"));
    }
    let noted = bench.meter.0.lock().unwrap();
    assert!(
        noted
            .iter()
            .any(|(who, org, _)| *who == Principal::Connection(connection_id(1)) && *org == org_id(1))
    );
}

#[tokio::test]
async fn rsv_04_a_token_for_elsewhere_gets_401() {
    let bench = bench();
    let refused = async |name: &str, path: &str, token: AccessToken| {
        bench.tokens.add(name, token);
        let answer = bench.bearer(path, name, &list()).await;
        assert_eq!((answer.status, answer.word().as_str()), (401, "credential_invalid"), "{name} {path}");
        assert!(answer.header("www-authenticate").ends_with(", error=\"invalid_token\""));
    };
    refused("same", "/mcp/bolt", token()).await;
    refused("same", "/mcp/nobody", token()).await;
    for audience in ["", "/", "/mcp", "/mcp/bolt", "/mcp/acme/", "/mcp/acme/alpha", "/sign-in"] {
        refused("other", "/mcp/acme", AccessToken { audience: format!("{PUBLIC}{audience}"), ..token() })
            .await;
    }
    refused("foreign", "/mcp/acme", AccessToken { org: org_id(2), ..token() }).await;
    // What names bolt in every claim has no grant there.
    let bolt = AccessToken { org: org_id(2), audience: format!("{PUBLIC}/mcp/bolt"), ..token() };
    refused("bolt", "/mcp/bolt", bolt).await;
    // For one connector's endpoint: there alone.
    let alpha = AccessToken { audience: format!("{PUBLIC}/mcp/acme/alpha"), ..token() };
    bench.tokens.add("alpha", alpha.clone());
    assert_eq!(bench.bearer("/mcp/acme/alpha", "alpha", &list()).await.status, 200);
    refused("alpha", "/mcp/acme/beta", alpha).await;
}

#[tokio::test]
async fn rsv_04_other_secrets_are_no_tokens() {
    let bench = bench();
    for secret in [
        "gth_conn_sk_0123456789012345678901234567890123456789012",
        "gth_rt_0123456789012345678901234567890123456789012",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "eyJhbGciOiJub25lIn0.e30.",
        "usr",
        "jti",
    ] {
        assert_eq!(bench.bearer("/mcp/acme", secret, &list()).await.status, 401, "{secret}");
    }
    // A token stands as a bearer and nowhere else.
    assert_eq!(bench.send(post("/mcp/acme").header("x-api-key", "token").json(&list())).await.status, 401);
    for query in ["access_token=token", "token=token", "api_key=token"] {
        assert_eq!(
            bench.send(post(&format!("/mcp/acme?{query}")).json(&list())).await.status,
            401,
            "{query}"
        );
    }
    for value in ["token", "Basic token", "DPoP token", "Bearer", "Bearer token token"] {
        let answer = bench.send(post("/mcp/acme").header("authorization", value).json(&list())).await;
        assert_eq!(answer.status, 401, "{value}");
    }
    assert!(bench.meter.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn rsv_05_neither_way_falls_back_to_the_other() {
    let bench = bench();
    // What looks like a key is judged as a key, even if it were known as a token.
    let unknown = key(777);
    bench.tokens.add(&unknown, token());
    assert_eq!(bench.bearer("/mcp/acme", &unknown, &list()).await.status, 401);
    let broken = format!("{}x", key(1));
    bench.tokens.add(&broken, token());
    assert_eq!(bench.bearer("/mcp/acme", &broken, &list()).await.status, 401);
    // A bad token beside a good key is no choice.
    let both = post("/mcp/acme").key(1).header("authorization", "Bearer bad").json(&list());
    assert_eq!(bench.send(both).await.word(), "ambiguous_credentials");
    bench.tokens.broken.store(true, Ordering::Relaxed);
    let answer = bench.bearer("/mcp/acme", "token", &list()).await;
    assert_eq!((answer.status, answer.word().as_str()), (503, "unavailable"));
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 200);
}

#[tokio::test]
async fn rsv_06_a_scope_that_does_not_reach_is_named() {
    let bench = bench();
    let scoped = |scope: &str| AccessToken { scope: scope.parse().unwrap(), ..token() };
    bench.tokens.add("beta", scoped("mcp:call:beta offline_access"));
    assert_eq!(names(&bench.bearer("/mcp/acme", "beta", &list()).await), ["beta__echo", "beta__other"]);
    assert_eq!(bench.bearer("/mcp/acme/beta", "beta", &list()).await.status, 200);
    let metadata = format!("{PUBLIC}/.well-known/oauth-protected-resource/mcp/acme");
    for (path, name, metadata) in [
        ("/mcp/acme", "alpha__echo", metadata.clone()),
        ("/mcp/acme/alpha", "echo", format!("{metadata}/alpha")),
    ] {
        let answer = bench.bearer(path, "beta", &rpc(1, "tools/call", call_params(name, "m"))).await;
        assert_eq!((answer.status, answer.word().as_str()), (403, "insufficient_scope"));
        assert_eq!(
            answer.header("www-authenticate"),
            format!(
                "Bearer error=\"insufficient_scope\", scope=\"mcp:call:alpha\", resource_metadata=\"{metadata}\""
            )
        );
        assert!(answer.header("access-control-expose-headers").contains("WWW-Authenticate"));
    }
    // A token that reaches nothing, and one whose connectors are gone.
    bench.tokens.add("nothing", scoped("offline_access"));
    let answer = bench.bearer("/mcp/acme", "nothing", &list()).await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("www-authenticate").contains("scope=\"mcp:call\""));
    bench.tokens.add("gone", scoped("mcp:call:gone"));
    assert!(names(&bench.bearer("/mcp/acme", "gone", &list()).await).is_empty());
    assert!(bench.upstream.seen("tools/call").is_empty());
}

#[tokio::test]
async fn oam_03_get_and_head_are_challenged_before_they_are_refused() {
    let bench = bench();
    let metadata = format!("{PUBLIC}/.well-known/oauth-protected-resource/mcp/acme");
    for method in [Method::GET, Method::HEAD] {
        let none = bench.send(ask(method.clone(), "/mcp/acme").empty()).await;
        assert_eq!(none.status, 401);
        assert_eq!(
            none.header("www-authenticate"),
            format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp:call\"")
        );
        let bad = ask(method.clone(), "/mcp/acme").header("authorization", "Bearer bad").empty();
        let bad = bench.send(bad).await;
        assert_eq!(bad.status, 401);
        assert_eq!(
            bad.header("www-authenticate"),
            format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp:call\", error=\"invalid_token\"")
        );
        let good = ask(method, "/mcp/acme").header("authorization", "bearer token").empty();
        assert_eq!(bench.send(good).await.status, 405);
    }
}

#[tokio::test]
async fn oar_04_a_token_dies_with_what_it_names() {
    let bench = bench();
    let status = async |name: &str| bench.bearer("/mcp/acme", name, &list()).await.status;
    assert_eq!(status("token").await, 200);
    bench.change(|plane| plane.grants.clear());
    assert_eq!(status("token").await, 401);
    bench.change(|plane| plane.grants.extend([plane_grant()]));
    assert_eq!(status("token").await, 200);
    bench.change(|plane| plane.grants.values_mut().for_each(|grant| grant.key = token_grant(2).key));
    assert_eq!(status("token").await, 401, "the connection has another key");
    bench.change(|plane| {
        plane.grants.extend([plane_grant()]);
        plane.revoked_tokens.insert("jti".into());
    });
    assert_eq!(status("token").await, 401);
    bench.change(|plane| {
        plane.revoked_tokens.clear();
        plane.machines.extend([plane_machine("mcp:call:beta")]);
    });
    bench.tokens.add("machine", AccessToken { client: "machine".into(), grant: None, ..token() });
    let listed = bench.bearer("/mcp/acme", "machine", &list()).await;
    assert_eq!(names(&listed), ["beta__echo", "beta__other"]);
    bench.change(|plane| plane.machines.clear());
    assert_eq!(status("machine").await, 401);
    bench.tokens.removed.store(true, Ordering::Relaxed);
    assert_eq!(status("token").await, 401);
}

#[tokio::test]
async fn rsv_12_a_session_is_the_connections_and_not_the_tokens() {
    let bench = bench();
    let opened = bench.bearer("/mcp/acme", "token", &initialize("2025-11-25")).await;
    let session = opened.header("mcp-session-id").to_owned();
    let ping = async |name: &str| {
        let request = post("/mcp/acme")
            .header("authorization", &format!("Bearer {name}"))
            .header("mcp-session-id", &session)
            .header("mcp-protocol-version", "2025-11-25");
        bench.send(request.json(&rpc(1, "ping", json!({})))).await.status
    };
    assert_eq!(ping("token").await, 200);
    // A refreshed token of the same grant, and one of a further grant of the same connection.
    let refreshed = TokenGrant { generation: 2, ..token_grant(1) };
    bench.tokens.add("refreshed", AccessToken { jti: "2".into(), grant: Some(refreshed), ..token() });
    bench.change(|plane| {
        let again = plane_grant().1;
        plane.grants.insert(token_grant(2).grant, again.clone());
        let another = domain::dataplane::PlaneGrant { connection: connection_id(3), ..again };
        plane.grants.insert(token_grant(3).grant, another);
    });
    let of = |number| Some(TokenGrant { key: token_grant(1).key, ..token_grant(number) });
    bench.tokens.add("again", AccessToken { grant: of(2), ..token() });
    bench.tokens.add("another", AccessToken { grant: of(3), ..token() });
    assert_eq!((ping("refreshed").await, ping("again").await), (200, 200));
    assert_eq!(ping("another").await, 404, "another connection");
    let with_key = post("/mcp/acme").key(1).header("mcp-session-id", &session);
    let with_key = with_key.header("mcp-protocol-version", "2025-11-25");
    assert_eq!(bench.send(with_key.json(&rpc(1, "ping", json!({})))).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn oar_04_a_stream_ends_with_its_grant_or_its_signing_key_but_not_with_its_token() {
    use http_body_util::BodyExt as _;

    for removed in [false, true] {
        let bench = bench();
        let mut params = call_params("alpha__drip", "m");
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
        let mut request = modern("/mcp/acme", 1, "tools/call", params);
        request.headers_mut().remove("x-api-key");
        request.headers_mut().insert("authorization", "Bearer token".parse().unwrap());
        let mut body = bench.open(request).await.into_body();
        let mut piece = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(std::str::from_utf8(&piece().await).unwrap().contains("begun"));
        // The token itself has long expired: whoever was let in stays while the grant lasts.
        bench.clock.advance(2 * 60 * 60 * 1000);
        bench.gateway.invalidate(org_id(1));
        assert_eq!(&piece().await[..], b": still at work\n\n");
        if removed {
            bench.tokens.removed.store(true, Ordering::Relaxed);
        } else {
            bench.change(|plane| plane.grants.clear());
        }
        let begun = tokio::time::Instant::now();
        let last = piece().await;
        assert!(begun.elapsed() <= std::time::Duration::from_secs(5));
        assert!(last.starts_with(b": the credential"), "{last:?}");
        assert!(body.frame().await.is_none());
    }
}
