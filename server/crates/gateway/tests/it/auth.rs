//! Who gets in, and what those hear who do not.

use std::{sync::atomic::Ordering, time::Duration};

use domain::dataplane::PlaneScope;
use http::Method;
use serde_json::json;

use crate::support::{Bench, PUBLIC, Speaks, ask, call_params, connector_id, key, plane_key, post, rpc};

fn list() -> serde_json::Value {
    rpc(1, "tools/list", json!({}))
}

#[tokio::test]
async fn apk_01_ten_thousand_mistyped_keys_cause_no_lookup() {
    let bench = Bench::new(Speaks::Modern);
    let mut bad = key(1).into_bytes();
    for n in 0..10_000u32 {
        let at = 12 + (n as usize % 43);
        bad[at] = if bad[at] == b'x' { b'y' } else { b'x' };
        let text = String::from_utf8(bad.clone()).unwrap();
        if domain::key_format::check(&text) {
            continue;
        }
        let answer = bench.send(post("/mcp/acme").header("x-api-key", &text).json(&list())).await;
        assert_eq!(answer.status, 401);
    }
    // Which addresses the organisation lets in comes before the credential (RSV-01): one snapshot tells it to all of them.
    assert!(bench.directory.loads.load(Ordering::Relaxed) <= 1);
}

#[tokio::test]
async fn apk_02_good_keys_share_one_snapshot() {
    let bench = Bench::new(Speaks::Modern);
    let list = list();
    let calls = (0..50).map(|_| bench.bare("/mcp/acme", 1, &list));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(bench.directory.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn apk_03_a_key_stands_in_one_of_two_headers() {
    let bench = Bench::new(Speaks::Modern);
    let good = key(1);
    let send = |headers: &[(&str, &str)]| {
        let asking =
            headers.iter().fold(post("/mcp/acme"), |asking, (name, value)| asking.header(name, value));
        bench.send(asking.json(&list()))
    };
    let bearer = format!("Bearer {good}");
    assert_eq!(send(&[("x-api-key", &good)]).await.status, 200);
    assert_eq!(send(&[("X-API-KEY", &good)]).await.status, 200);
    assert_eq!(send(&[("authorization", &bearer)]).await.status, 200);
    assert_eq!(send(&[("authorization", &format!("bearer {good}"))]).await.status, 200);
    assert_eq!(send(&[("authorization", &bearer), ("x-api-key", &good)]).await.status, 200);

    let other = key(2);
    for ambiguous in [
        &[("authorization", bearer.as_str()), ("x-api-key", other.as_str())][..],
        &[("authorization", "Basic eA=="), ("x-api-key", &good)],
        &[("x-api-key", &good), ("x-api-key", &good)],
        &[("authorization", &bearer), ("authorization", &bearer)],
    ] {
        let answer = send(ambiguous).await;
        assert_eq!((answer.status, answer.word().as_str()), (400, "ambiguous_credentials"), "{ambiguous:?}");
    }
    for bad in [
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\t"),
        good.to_lowercase(),
        String::new(),
        "gth_live_sk_".to_owned(),
    ] {
        assert_eq!(send(&[("x-api-key", &bad)]).await.status, 401, "{bad:?}");
    }
    for bad in ["Bearer", "Bearer ", "Basic eA==", &good, &format!("Token {good}")] {
        assert_eq!(send(&[("authorization", bad)]).await.status, 401, "{bad:?}");
    }
}

#[tokio::test]
async fn apk_04_another_orgs_key_is_a_random_key() {
    let bench = Bench::new(Speaks::Modern);
    let foreign = bench.bare("/mcp/acme", 11, &list()).await;
    let random = bench.bare("/mcp/acme", 777, &list()).await;
    assert_eq!(foreign.status, 401);
    assert_eq!(foreign.body, random.body);
    assert_eq!(foreign.headers, random.headers);
    assert_eq!(bench.bare("/mcp/bolt", 11, &list()).await.status, 200);
}

#[tokio::test]
async fn rsv_01_an_unknown_slug_answers_like_a_known_one() {
    let bench = Bench::new(Speaks::Modern);
    for asking in
        [|path| post(path), |path| post(path).key(777), |path| post(path).header("x-api-key", "junk")]
    {
        let known = bench.send(asking("/mcp/acme").json(&list())).await;
        let unknown = bench.send(asking("/mcp/nobody").json(&list())).await;
        assert_eq!((known.status, unknown.status), (401, 401));
        assert_eq!(known.body, unknown.body);
        let challenge = |answer: &crate::support::Answer| answer.header("www-authenticate").to_owned();
        assert_eq!(challenge(&known).replace("acme", "nobody"), challenge(&unknown));
    }
    for path in ["/mcp/ACME", "/mcp/a_b", "/mcp/-acme"] {
        assert_eq!(bench.bare(path, 1, &list()).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn rsv_01_nothing_is_said_before_the_credential_is_good() {
    let bench = Bench::new(Speaks::Modern);
    // Wrong method, wrong type, broken body, unknown connector: first of all, no credential.
    for method in [Method::GET, Method::HEAD, Method::DELETE, Method::PUT, Method::OPTIONS] {
        assert_eq!(bench.send(ask(method, "/mcp/acme").empty()).await.status, 401);
    }
    assert_eq!(bench.send(post("/mcp/acme").body("[".into())).await.status, 401);
    assert_eq!(bench.send(post("/mcp/acme/nothing").empty()).await.status, 401);
    assert_eq!(bench.bare("/mcp/acme/nothing", 1, &list()).await.status, 404);
    let get = bench.send(ask(Method::GET, "/mcp/acme").key(1).empty()).await;
    assert_eq!((get.status, get.header("allow")), (405, "POST, DELETE"));
}

#[tokio::test]
async fn rsv_05_no_header_grants_identity() {
    let bench = Bench::new(Speaks::Modern);
    for (name, value) in [
        ("x-forwarded-user", "admin"),
        ("x-user-id", "usr_1"),
        ("mcp-init-host", "acme"),
        ("x-api-key-id", "key_1"),
        ("mcp-session-id", "session-1"),
        ("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),
        ("cookie", "session=x"),
    ] {
        assert_eq!(
            bench.send(post("/mcp/acme").header(name, value).json(&list())).await.status,
            401,
            "{name}"
        );
    }
    assert!(bench.meter.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn oam_03_the_challenge_is_exact() {
    let bench = Bench::new(Speaks::Modern);
    let metadata = format!("{PUBLIC}/.well-known/oauth-protected-resource/mcp/acme");
    let none = bench.send(post("/mcp/acme").json(&list())).await;
    assert_eq!(
        none.header("www-authenticate"),
        format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp:call\"")
    );
    assert!(none.header("access-control-expose-headers").contains("WWW-Authenticate"));
    assert_eq!(none.header("cache-control"), "no-store");
    assert_eq!(none.word(), "credential_missing");
    let wrong = bench.send(ask(Method::GET, "/mcp/acme").key(777).empty()).await;
    assert_eq!(
        wrong.header("www-authenticate"),
        format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp:call\", error=\"invalid_token\"")
    );
    let nested = bench.send(post("/mcp/acme/alpha").json(&list())).await;
    assert!(nested.header("www-authenticate").contains(&format!("{metadata}/alpha\"")));
}

#[tokio::test]
async fn oam_02_every_slug_has_a_metadata_document() {
    let bench = Bench::new(Speaks::Modern);
    for path in ["/mcp/acme", "/mcp/nobody", "/mcp/acme/alpha"] {
        let well_known = format!("/.well-known/oauth-protected-resource{path}");
        let request = ask(Method::GET, &well_known)
            .header("mcp-protocol-version", "2024-11-05")
            .header("origin", "https://inspector.test");
        let answer = bench.send(request.empty()).await;
        assert_eq!(answer.status, 200);
        let document = answer.json();
        assert_eq!(document["resource"], format!("{PUBLIC}{path}"));
        assert_eq!(document["scopes_supported"], json!(["mcp:call"]));
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
        // The issuer, exactly as tokens and the server's own metadata spell it.
        assert_eq!(document["authorization_servers"], json!([PUBLIC]));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    let bad = ask(Method::GET, "/.well-known/oauth-protected-resource/mcp/A_B").empty();
    assert_eq!(bench.send(bad).await.status, 404);
}

#[tokio::test]
async fn apk_05_a_revoked_key_gets_401_and_comes_back() {
    let bench = Bench::new(Speaks::Modern);
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 200);
    bench.directory.change(|plane| {
        plane.keys.remove(&plane_key(1).0);
    });
    bench.gateway.invalidate(crate::support::org_id(1));
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 401);
    assert_eq!(bench.bare("/mcp/acme", 2, &list()).await.status, 200);
    bench.directory.change(|plane| {
        plane.keys.extend([plane_key(1)]);
    });
    bench.gateway.invalidate_all();
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn apk_05_a_stream_of_a_revoked_key_ends_with_a_comment() {
    use http_body_util::BodyExt as _;

    let bench = Bench::new(Speaks::Modern);
    let request = crate::support::modern("/mcp/acme", 1, "tools/call", {
        let mut params = call_params("alpha__drip", "m");
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
        params
    });
    let mut body = bench.open(request).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(std::str::from_utf8(&first).unwrap().contains("begun"));
    bench.directory.change(|plane| {
        plane.keys.remove(&plane_key(1).0);
    });
    bench.gateway.invalidate(crate::support::org_id(1));
    let begun = tokio::time::Instant::now();
    let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(begun.elapsed() <= std::time::Duration::from_secs(5));
    assert!(last.starts_with(b": "), "{last:?}");
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!(bench.upstream.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn apk_05_a_stream_that_never_pauses_ends_too() {
    use http_body_util::BodyExt as _;

    let bench =
        Bench::with(Speaks::Modern, |settings| settings.recheck = std::time::Duration::from_millis(50));
    let mut params = call_params("alpha__flood", "m");
    params["_meta"]["progressToken"] = json!(1);
    let mut body = bench.open(crate::support::modern("/mcp/acme", 1, "tools/call", params)).await.into_body();
    bench.directory.change(|plane| plane.keys.clear());
    bench.gateway.invalidate(crate::support::org_id(1));
    let mut last = bytes::Bytes::new();
    while let Some(piece) = body.frame().await {
        last = piece.unwrap().into_data().unwrap();
        tokio::task::yield_now().await;
    }
    assert!(last.starts_with(b": "), "{last:?}");
}

#[tokio::test]
async fn apk_06_a_scoped_key_sees_and_calls_its_connectors_alone() {
    let bench = Bench::new(Speaks::Modern);
    let listed = bench.bare("/mcp/acme", 3, &list()).await.json();
    let names: Vec<_> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["beta__echo", "beta__other"]);
    assert_eq!(
        bench.bare("/mcp/acme", 3, &rpc(1, "tools/call", call_params("beta__echo", "m"))).await.status,
        200
    );
    for (path, params) in
        [("/mcp/acme", call_params("alpha__echo", "m")), ("/mcp/acme/alpha", call_params("echo", "m"))]
    {
        let refused = bench.bare(path, 3, &rpc(1, "tools/call", params)).await;
        assert_eq!((refused.status, refused.word().as_str()), (403, "insufficient_scope"));
        let challenge = refused.header("www-authenticate");
        assert!(challenge.starts_with(
            "Bearer error=\"insufficient_scope\", scope=\"mcp:call:alpha\", resource_metadata=\""
        ));
    }
    assert_eq!(bench.bare("/mcp/acme/alpha", 3, &list()).await.status, 403);
    assert!(bench.upstream.seen("tools/call").iter().all(|seen| seen.host == "beta.upstream.test"));
    // The scope follows the key's change.
    bench.directory.change(|plane| {
        plane.keys.get_mut(&plane_key(3).0).unwrap().scope =
            PlaneScope::Only(std::sync::Arc::new([connector_id(1)].into()));
    });
    bench.gateway.invalidate(crate::support::org_id(1));
    let call = rpc(1, "tools/call", call_params("beta__echo", "m"));
    assert_eq!(bench.bare("/mcp/acme", 3, &call).await.status, 403);
}

#[tokio::test]
async fn apk_08_an_expired_key_gets_401() {
    let bench = Bench::new(Speaks::Modern);
    let expires_at = 1_795_219_200_000 + 5000;
    bench
        .directory
        .change(|plane| plane.keys.get_mut(&plane_key(1).0).unwrap().expires_at = Some(expires_at));
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 200);
    bench.clock.advance(5000);
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 401);
}

#[tokio::test]
async fn apk_09_credentials_in_the_query_need_two_consents() {
    let bench = Bench::new(Speaks::Modern);
    let url_key = key(4);
    let ask = |query: String| bench.send(post(&format!("/mcp/acme?{query}")).json(&list()));
    let refused = |answer: crate::support::Answer| {
        assert_eq!((answer.status, answer.word().as_str()), (401, "credential_in_query"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("gth_live"));
        assert!(!answer.headers.values().any(|v| v.as_bytes().windows(8).any(|w| w == b"gth_live")));
    };
    refused(ask(format!("api_key={url_key}")).await);
    bench.directory.change(|plane| plane.url_keys = true);
    bench.gateway.invalidate(crate::support::org_id(1));
    assert_eq!(ask(format!("api_key={url_key}")).await.status, 200);
    assert_eq!(ask(format!("x=1&api%5Fkey={}", url_key.replace('_', "%5F"))).await.status, 200);
    // A key that is not marked, one of nobody, and other names.
    refused(ask(format!("api_key={}", key(1))).await);
    refused(ask(format!("api_key={}", key(777))).await);
    refused(ask(format!("access_token={url_key}")).await);
    refused(ask(format!("token={url_key}")).await);
    refused(bench.send(post("/mcp/acme?access_token=x").key(1).json(&list())).await);
    refused(bench.send(post(&format!("/mcp/nobody?api_key={url_key}")).json(&list())).await);
    let twice = ask(format!("api_key={url_key}&api_key={url_key}")).await;
    assert_eq!((twice.status, twice.word().as_str()), (400, "ambiguous_credentials"));
    let both = bench.send(post(&format!("/mcp/acme?api_key={url_key}")).key(4).json(&list())).await;
    assert_eq!(both.word(), "ambiguous_credentials");
}

#[tokio::test(start_paused = true)]
async fn err_05_without_data_nobody_gets_in() {
    let bench = Bench::new(Speaks::Modern);
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 200);
    bench.directory.broken.store(true, Ordering::Relaxed);
    // What is known may still be used for a while, but not after it was declared stale or has become old.
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 200);
    bench.clock.advance(30_001);
    let answer = bench.bare("/mcp/acme", 1, &list()).await;
    assert_eq!((answer.status, answer.word().as_str()), (503, "unavailable"));
    bench.directory.broken.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 200);
    bench.directory.broken.store(true, Ordering::Relaxed);
    bench.gateway.invalidate(crate::support::org_id(1));
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn err_05_a_failure_is_shared_and_the_database_is_left_alone_for_a_moment() {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.broken.store(true, Ordering::Relaxed);
    let many = async |count: usize| {
        let list = list();
        let answers = (0..count).map(|_| bench.bare("/mcp/acme", 1, &list));
        futures_util::future::join_all(answers).await
    };
    let answers = many(100).await;
    for answer in &answers {
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    }
    assert_eq!(bench.directory.loads.load(Ordering::Relaxed), 1);
    many(100).await;
    assert_eq!(bench.directory.loads.load(Ordering::Relaxed), 1, "asked again too soon");
    bench.directory.broken.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(many(100).await.iter().all(|answer| answer.status == 200));
    assert_eq!(bench.directory.loads.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn err_05_a_database_that_never_answers_keeps_nobody_waiting() {
    let bench = Bench::with(Speaks::Modern, |settings| settings.waiting_per_load = 20);
    bench.directory.stuck.store(true, Ordering::Relaxed);
    let list = list();
    let begun = tokio::time::Instant::now();
    let asked = (0..100).map(async |_| {
        let answer = bench.bare("/mcp/acme", 1, &list).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
        assert_eq!(answer.word(), "unavailable");
        begun.elapsed() >= Duration::from_secs(5)
    });
    let waited = futures_util::future::join_all(asked).await.into_iter().filter(|waited| *waited).count();
    assert_eq!(waited, 20, "the others are refused at once");
    assert!(begun.elapsed() < Duration::from_secs(6));
    // The load goes on, but nobody waits for it any more.
    assert_eq!(bench.bare("/mcp/acme", 1, &list).await.status, 503);
    assert!(begun.elapsed() < Duration::from_secs(6));
    assert_eq!(bench.directory.loads.load(Ordering::Relaxed), 1);
    // Another organisation is not touched by it.
    bench.directory.stuck.store(false, Ordering::Relaxed);
    assert_eq!(bench.bare("/mcp/bolt", 11, &list).await.status, 200);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(bench.bare("/mcp/acme", 1, &list).await.status, 200, "it recovers by itself");
}

#[tokio::test]
async fn a_suspended_org_and_one_that_is_gone_are_refused() {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| plane.suspended = true);
    let answer = bench.bare("/mcp/acme", 1, &list()).await;
    assert_eq!((answer.status, answer.word().as_str()), (403, "org_suspended"));
    bench.directory.planes.lock().unwrap().remove(&crate::support::org_id(1));
    bench.gateway.invalidate(crate::support::org_id(1));
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 401);
}

#[tokio::test]
async fn apk_08_every_use_is_noted() {
    let bench = Bench::new(Speaks::Modern);
    bench.send(post("/mcp/acme").key(1).header("user-agent", "curl/8").json(&list())).await;
    bench.bare("/mcp/acme", 777, &list()).await;
    let noted = bench.meter.0.lock().unwrap();
    assert_eq!(noted.len(), 1);
    let who = domain::dataplane::Principal::ApiKey(crate::support::key_id(1));
    assert_eq!(noted[0], (who, crate::support::org_id(1), Some("curl/8".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn ipa_03_a_stream_of_an_address_that_is_taken_off_the_list_ends() {
    use http_body_util::BodyExt as _;

    let bench = Bench::new(Speaks::Modern);
    let mut request = crate::support::modern("/mcp/acme", 1, "tools/call", {
        let mut params = call_params("alpha__drip", "m");
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
        params
    });
    request.extensions_mut().insert(domain::request::ClientIp("203.0.113.7".parse().unwrap()));
    bench.directory.change(|plane| {
        plane.allowlist =
            std::sync::Arc::new(domain::allowlist::Allowlist::enforced(&["203.0.113.0/24"]).unwrap());
    });
    let mut body = bench.open(request).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(std::str::from_utf8(&first).unwrap().contains("begun"));
    bench.directory.change(|plane| {
        plane.allowlist =
            std::sync::Arc::new(domain::allowlist::Allowlist::enforced(&["198.51.100.0/24"]).unwrap());
    });
    bench.gateway.invalidate(crate::support::org_id(1));
    let begun = tokio::time::Instant::now();
    let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(begun.elapsed() <= std::time::Duration::from_secs(5));
    assert!(last.starts_with(b": "), "{last:?}");
    assert!(body.frame().await.is_none());
}
