//! Rates, quotas and how many at once.

use std::sync::atomic::Ordering;

use domain::request::ClientIp;
use futures_util::future::join_all;
use model::Limits;
use serde_json::json;

use crate::support::*;

fn list() -> serde_json::Value {
    rpc(1, "tools/list", json!({}))
}

fn echo() -> serde_json::Value {
    rpc(7, "tools/call", call_params("alpha__echo", "m"))
}

#[tokio::test]
async fn rlm_01_over_the_rate_is_429_with_headers_and_the_requests_id() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { key_per_minute: Some(3), ..Limits::default() });
    for left in ["2", "1", "0"] {
        let answer = bench.bare("/mcp/acme", 1, &list()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), r#""key";q=3;w=60"#);
        assert!(answer.header("ratelimit").starts_with(&format!(r#""key";r={left};t="#)), "{answer:?}");
    }
    let refused = bench.bare("/mcp/acme", 1, &echo()).await;
    assert_eq!((refused.status, refused.word().as_str()), (429, "rate_limited"));
    assert_eq!(refused.json()["id"], 7);
    assert_eq!(refused.json()["error"]["data"]["policy"], "key");
    assert_eq!(refused.header("retry-after"), "20");
    assert_eq!(refused.header("ratelimit"), r#""key";r=0;t=20"#);
    // The audit log hears of it (AUD-02), and of nothing that was allowed.
    let trips: Vec<_> =
        bench.meter.2.lock().unwrap().iter().map(|(who, limit)| (who.is_some(), *limit)).collect();
    assert_eq!(trips, [(true, "key")]);
    // Waiting as long as it says is enough (RLM-02).
    bench.clock.advance(20_000);
    assert_eq!(bench.bare("/mcp/acme", 1, &echo()).await.status, 200);
    assert_eq!(bench.bare("/mcp/acme", 1, &echo()).await.status, 429);
    // An organisation without limits is told of none.
    let free = bench.bare("/mcp/bolt", 11, &list()).await;
    assert_eq!((free.status, free.header("ratelimit-policy")), (200, ""));
}

#[tokio::test]
async fn rlm_03_keys_have_rates_of_their_own_and_together_the_organisations() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { key_per_minute: Some(3), org_per_minute: Some(5), ..Limits::default() });
    let mut allowed = Vec::new();
    for key in [1, 1, 1, 1, 2, 2, 2, 2] {
        allowed.push(bench.bare("/mcp/acme", key, &list()).await.status == 200);
    }
    assert_eq!(allowed, [true, true, true, false, true, true, false, false]);
    let refused = bench.bare("/mcp/acme", 2, &list()).await;
    let policy = refused.json()["error"]["data"]["policy"].as_str().unwrap_or_default().to_owned();
    assert!(policy == "key" || policy == "org", "{refused:?}");
    // Nothing of it touches another organisation.
    assert_eq!(bench.bare("/mcp/bolt", 11, &list()).await.status, 200);
}

#[tokio::test]
async fn rlm_03_no_spelling_of_the_request_passes_by_the_rate() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { key_per_minute: Some(2), ..Limits::default() });
    let key = key(1);
    let ways = || {
        [
            post("/mcp/acme").header("x-api-key", &key).json(&list()),
            post("/mcp/acme")
                .header("X-API-KEY", &key)
                .header("x-forwarded-for", "198.51.100.1")
                .json(&list()),
            post("/mcp/acme").header("authorization", &format!("bearer {key}")).json(&list()),
            post("/mcp/acme/alpha").header("x-api-key", &key).json(&list()),
            modern("/mcp/acme", 1, "tools/list", json!({})),
        ]
    };
    let mut good = 0;
    for request in ways().into_iter().chain(ways()) {
        good += usize::from(bench.send(request).await.status == 200);
    }
    for path in ["/mcp/acme/", "/MCP/acme", "/mcp%2facme", "/mcp/ACME"] {
        let status = bench.send(post(path).header("x-api-key", &key).json(&list())).await.status;
        assert!(matches!(status, 401 | 404), "{path}: {status}");
    }
    assert_eq!(good, 2);
}

#[tokio::test]
async fn rlm_03_a_connector_has_a_rate_of_its_own() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { connector_per_minute: Some(2), ..Limits::default() });
    let mut answers = Vec::new();
    for key in [1, 2, 1] {
        answers.push(bench.bare("/mcp/acme", key, &echo()).await);
    }
    assert_eq!(answers.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 200, 429]);
    assert_eq!(answers[2].json()["error"]["data"]["policy"], "connector");
    let other = bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", call_params("beta__echo", "m"))).await;
    assert_eq!(other.status, 200, "another connector goes on");
}

#[tokio::test]
async fn rlm_03_every_method_that_reaches_a_connector_counts_for_its_rate() {
    let reference = json!({"ref":{"type":"ref/prompt","name":"p1"},"argument":{"name":"a","value":""}});
    for (method, params) in [
        ("tools/call", call_params("echo", "m")),
        ("prompts/get", json!({"name":"p1"})),
        ("resources/read", json!({"uri":"test://x/1"})),
        ("completion/complete", reference),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
    ] {
        let bench = Bench::new(Speaks::Modern);
        bench.limit(Limits { connector_per_minute: Some(2), ..Limits::default() });
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(bench.bare("/mcp/acme/alpha", 1, &rpc(1, method, params.clone())).await);
        }
        assert_eq!(answers.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 200, 429], "{method}");
        // On the organisation's endpoint the others are still there.
        if method == "prompts/list" {
            let listed = bench.bare("/mcp/acme", 1, &rpc(1, method, json!({}))).await.json();
            assert_eq!(listed["result"]["_meta"]["gatehouse/unavailable"], json!(["alpha"]));
            assert_eq!(listed["result"]["prompts"][0]["name"], "beta__p1");
        }
    }
}

#[tokio::test]
async fn rlm_03_streams_and_their_ends_count_for_the_rate_of_their_key() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { key_per_minute: Some(4), ..Limits::default() });
    let session = bench.session("/mcp/acme", 1).await;
    let request = |method: http::Method, path: &str| {
        ask(method, path)
            .key(1)
            .header("mcp-session-id", &session)
            .header("accept", "text/event-stream")
            .empty()
    };
    for (method, path) in [(http::Method::GET, "/mcp/acme"), (http::Method::GET, "/mcp/acme/sse")] {
        let opened = bench.open(request(method, path)).await;
        assert_eq!(opened.status(), 200);
        assert!(opened.headers().contains_key("ratelimit"));
    }
    assert_eq!(bench.send(request(http::Method::DELETE, "/mcp/acme")).await.status, 204);
    for (method, path) in [
        (http::Method::GET, "/mcp/acme"),
        (http::Method::GET, "/mcp/acme/sse"),
        (http::Method::DELETE, "/mcp/acme"),
    ] {
        let refused = bench.send(request(method.clone(), path)).await;
        assert_eq!((refused.status, refused.word().as_str()), (429, "rate_limited"), "{method} {path}");
    }
}

#[tokio::test]
async fn rlm_03_two_nodes_share_a_rate_and_a_refusal_asks_nobody() {
    let (one, other) = (Bench::new(Speaks::Modern), Bench::new(Speaks::Modern));
    // Both nodes on one ledger: what one was handed out the other does not get.
    let limits = Limits { key_per_minute: Some(100), ..Limits::default() };
    for bench in [&one, &other] {
        bench.ledger.shared.store(true, Ordering::SeqCst);
        bench.limit(limits);
    }
    let mut good = 0;
    for _ in 0..150 {
        good += usize::from(one.bare("/mcp/acme", 1, &list()).await.status == 200);
        // The other's ledger learns of what this one's handed out.
        let out = one.ledger.rates.lock().unwrap().clone();
        other.ledger.rates.lock().unwrap().extend(out);
    }
    assert_eq!(good, 100);
    let asked = one.ledger.asked.load(Ordering::SeqCst);
    assert!(asked <= 52, "a portion at a time: {asked}");
    assert_eq!(other.bare("/mcp/acme", 1, &list()).await.status, 429);
    let asked = other.ledger.asked.load(Ordering::SeqCst);
    for _ in 0..50 {
        assert_eq!(other.bare("/mcp/acme", 1, &list()).await.status, 429);
    }
    assert_eq!(other.ledger.asked.load(Ordering::SeqCst), asked, "refused from memory");
}

#[tokio::test]
async fn rlm_03_the_monthly_quota_is_exact_with_many_calls_at_once() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { calls_per_month: Some(450), ..Limits::default() });
    let bench = &bench;
    let calls = (0..600).map(|n| async move { bench.bare("/mcp/acme", 1 + n % 2, &echo()).await });
    let answers = join_all(calls).await;
    let over: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    let exceeded = over.iter().filter(|answer| answer.word() == "quota_exceeded").count();
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    // Some may have found too many at once; none went past the quota.
    assert_eq!(good + over.len(), 600);
    assert!(good <= 450 && exceeded > 0, "{good} {exceeded}");
    let mut all = good;
    while bench.bare("/mcp/acme", 1, &echo()).await.status == 200 {
        all += 1;
    }
    assert_eq!(all, 450);
    assert_eq!(bench.upstream.seen("tools/call").len(), 450);
    let refused = bench.bare("/mcp/acme", 1, &echo()).await;
    assert_eq!((refused.status, refused.word().as_str()), (429, "quota_exceeded"));
    // 2026-11-21T00:00:00Z: ten days are left.
    assert_eq!(refused.header("retry-after"), "864000");
    assert_eq!(refused.header("ratelimit-policy"), r#""month";q=450;w=2592000"#);
    assert_eq!(refused.header("ratelimit"), r#""month";r=0;t=864000"#);
    // Lists go on, and in the next month calls do.
    assert_eq!(bench.bare("/mcp/acme", 1, &list()).await.status, 200);
    bench.clock.advance(864_000_000);
    assert_eq!(bench.bare("/mcp/acme", 1, &echo()).await.status, 200);
}

#[tokio::test]
async fn rlm_03_what_is_held_of_a_quota_is_given_back() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { calls_per_month: Some(1000), ..Limits::default() });
    let out = || bench.ledger.months.lock().unwrap().values().sum::<u64>();
    assert_eq!(bench.bare("/mcp/acme", 1, &echo()).await.status, 200);
    assert_eq!(out(), 5);
    bench.gateway.settle(false).await;
    assert_eq!(out(), 5, "it may be used in a moment");
    bench.clock.advance(2000);
    bench.gateway.settle(false).await;
    assert_eq!(out(), 1);
    assert_eq!(bench.bare("/mcp/acme", 1, &echo()).await.status, 200);
    bench.gateway.settle(true).await;
    assert_eq!(out(), 2);
}

#[tokio::test]
async fn rlm_04_only_calls_that_are_passed_on_count() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { calls_per_month: Some(200), ..Limits::default() });
    let used = || bench.ledger.months.lock().unwrap().values().sum::<u64>();
    let call = |tool: &str| rpc(1, "tools/call", call_params(tool, "m"));
    // Not found, out of scope, without a credential, wrong arguments, lists and handshakes.
    for (key, body) in [
        (1, call("alpha__nothing")),
        (1, call("alpha__off")),
        (3, call("alpha__echo")),
        (99, call("alpha__echo")),
        (1, rpc(1, "tools/call", json!({"name":"alpha__echo","arguments":[]}))),
        (1, list()),
        (1, initialize("2025-11-25")),
        (1, rpc(1, "nonsense", json!({}))),
    ] {
        bench.bare("/mcp/acme", key, &body).await;
        assert_eq!(used(), 0, "{body}");
    }
    // Passed on: once each, whatever came back.
    for (number, tool) in (1..).zip(["alpha__echo", "alpha__html", "alpha__busy", "alpha__bare_error"]) {
        bench.bare("/mcp/acme", 1, &call(tool)).await;
        assert_eq!(used(), number, "{tool}");
    }
    let counted = bench.ended().iter().filter(|record| record.counted).count();
    assert_eq!(counted, 4);
}

#[tokio::test]
async fn err_05_a_limit_that_cannot_be_read_is_503() {
    let bench = Bench::new(Speaks::Modern);
    bench.limit(Limits { calls_per_month: Some(1), ..Limits::default() });
    bench.ledger.broken.store(true, Ordering::SeqCst);
    let answer = bench.bare("/mcp/acme", 1, &echo()).await;
    assert_eq!((answer.status, answer.word().as_str()), (503, "unavailable"));
    bench.ledger.broken.store(false, Ordering::SeqCst);
    assert_eq!(bench.bare("/mcp/acme", 1, &echo()).await.status, 200);
}

#[tokio::test]
async fn rlm_03_failures_count_for_their_address_alone() {
    let bench = Bench::with(Speaks::Modern, |settings| settings.failures_per_address = 5);
    bench.limit(Limits { key_per_minute: Some(1000), calls_per_month: Some(1000), ..Limits::default() });
    let from = |address: &str, number: u64| {
        let mut request = post("/mcp/acme").key(number).header("x-forwarded-for", "192.0.2.1").json(&list());
        request.extensions_mut().insert(ClientIp(address.parse().unwrap()));
        request
    };
    for n in 0..5 {
        // One customer has a whole /64.
        let address = format!("2001:db8:1:2::{n:x}");
        assert_eq!(bench.send(from(&address, 99)).await.status, 401);
    }
    let refused = bench.send(from("2001:db8:1:2:ffff::1", 99)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "12"));
    assert_eq!(refused.header("ratelimit-policy"), r#""address";q=5;w=60"#);
    assert_eq!(*bench.meter.2.lock().unwrap(), [(None, "address")], "AUD-02");
    // Good credentials from there go on, and failures from elsewhere are what they were.
    assert_eq!(bench.send(from("2001:db8:1:2::1", 1)).await.status, 200);
    assert_eq!(bench.send(from("2001:db8:1:3::1", 99)).await.status, 401);
    assert_eq!(bench.ledger.months.lock().unwrap().len(), 0, "no quota was spent");
}

#[tokio::test(start_paused = true)]
async fn rlm_03_an_address_that_failed_too_often_waits_for_its_refusals() {
    let bench = Bench::with(Speaks::Modern, |settings| {
        settings.failures_per_address = 1;
        settings.refusals_held = 2;
    });
    let asked = |number: u64| {
        let mut request = post("/mcp/acme").key(number).json(&list());
        request.extensions_mut().insert(ClientIp("192.0.2.1".parse().unwrap()));
        let bench = &bench;
        async move {
            let began = tokio::time::Instant::now();
            let status = bench.send(request).await.status;
            (status, began.elapsed().as_millis())
        }
    };
    assert_eq!(asked(99).await, (401, 0));
    assert_eq!(asked(99).await, (429, 500));
    // A good credential does not wait, and no more refusals than there is room for.
    let mut answers = join_all([asked(99), asked(99), asked(99), asked(1)]).await;
    answers.sort_unstable();
    assert_eq!(answers, [(200, 0), (429, 0), (429, 500), (429, 500)]);
}

#[tokio::test(start_paused = true)]
async fn rlm_03_a_flood_from_everywhere_waits_for_its_refusals() {
    let bench = Bench::with(Speaks::Modern, |settings| settings.failures_everywhere = 3);
    let asked = |number: u64, address: u8| {
        let mut request = post("/mcp/acme").key(number).json(&list());
        request.extensions_mut().insert(ClientIp([192, 0, 2, address].into()));
        let bench = &bench;
        async move {
            let began = tokio::time::Instant::now();
            let status = bench.send(request).await.status;
            (status, began.elapsed().as_millis())
        }
    };
    for address in 1..=3 {
        assert_eq!(asked(99, address).await, (401, 0));
    }
    // Nobody is refused with another status for what others do, and good credentials do not wait.
    assert_eq!(asked(99, 4).await, (401, 500));
    assert_eq!(asked(1, 5).await, (200, 0));
    bench.clock.advance(20_000);
    assert_eq!(asked(99, 6).await, (401, 0));
}

#[tokio::test(start_paused = true)]
async fn rlm_06_too_many_calls_of_one_connector_are_429() {
    let bench = Bench::with(Speaks::Modern, |settings| settings.calls_per_connector = 3);
    let slow = rpc(1, "tools/call", call_params("alpha__slow", "m"));
    let (bench, slow) = (&bench, &slow);
    let calls = (0..5).map(|n| async move { bench.bare("/mcp/acme", 1 + n % 2, slow).await });
    let answers = join_all(calls).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert_eq!(refused.len(), 2);
    assert!(
        refused.iter().all(|answer| answer.word() == "concurrency" && answer.header("retry-after") == "1")
    );
    let trips = bench.meter.2.lock().unwrap();
    assert_eq!(trips.iter().map(|(_, limit)| *limit).collect::<Vec<_>>(), ["concurrency"; 2], "AUD-02");
}
