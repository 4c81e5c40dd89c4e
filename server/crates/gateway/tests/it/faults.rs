//! What a client meets when a server misbehaves (UPS-01 to UPS-10, D09): an error of its own call, in time, that says
//! nothing of what the server sent; and a gateway that goes on.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::IntoResponse as _};
use bytes::Bytes;
use domain::{
    mcp::{
        exchange::{BodyStream, Exchange, NetError},
        upstream::{BreakerState, UpstreamSettings},
    },
    net::{Outbound, OutboundSettings},
};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::{
    support::{Bench, Speaks, call_params, connector, connector_id, modern, org_id, rpc},
    unruly::Unruly,
};

/// Faults by the tool that shows them, and what the client is told.
const FAULTS: &[(&str, &[i64])] = &[
    ("reset", &[-32010, -32012]),
    ("hang_up", &[-32010, -32012]),
    ("no_http", &[-32012]),
    ("cut_short", &[-32012]),
    ("cut_json", &[-32012]),
    ("no_json", &[-32012]),
    ("page", &[-32012]),
    ("bom", &[-32012]),
    ("not_utf8", &[-32012]),
    ("nan", &[-32012]),
    ("deep", &[-32012]),
    ("gzip", &[-32012]),
    ("other_id", &[-32012]),
    ("no_version", &[-32012]),
    ("both", &[-32012]),
    ("batch", &[-32012]),
    ("endless", &[-32013]),
    ("endless_event", &[-32013]),
    ("moved", &[-32012]),
    ("login", &[-32010]),
    ("failing", &[-32010]),
    ("busy", &[-32010]),
];

fn outbound() -> Arc<dyn Exchange> {
    let settings = OutboundSettings {
        allow: "127.0.0.0/8".parse().unwrap(),
        user_agent: "gatehouse/test".to_owned(),
        ..OutboundSettings::default()
    };
    Arc::new(Outbound::new(settings).unwrap())
}

/// A gateway whose connector `alpha` leads to this server, over the network.
fn bench(server: &Unruly, settings: UpstreamSettings) -> Bench {
    let bench = Bench::over(outbound(), settings);
    let mut names: Vec<_> = FAULTS.iter().map(|(tool, _)| (*tool, true)).collect();
    names.extend([("good", true), ("mid_stream", true), ("twice", true)]);
    let mut alpha = connector(1, "alpha", &names);
    alpha.url = format!("http://{}/mcp", server.address).parse().unwrap();
    bench.directory.change(|plane| plane.connectors[0] = Arc::new(alpha));
    bench.gateway.invalidate(org_id(1));
    bench
}

fn call(id: u64, tool: &str) -> Value {
    rpc(id, "tools/call", call_params(&format!("alpha__{tool}"), "m"))
}

#[tokio::test]
async fn ups_05_ups_06_ups_07_ups_10_every_fault_is_an_error_of_the_call_and_of_nothing_else() {
    let server = Unruly::start().await;
    let bench = bench(&server, UpstreamSettings::default());
    for (id, (tool, codes)) in (1..).zip(FAULTS) {
        let answer = bench.bare("/mcp/acme", 1, &call(id, tool)).await;
        let said = answer.json();
        assert_eq!((answer.status, &said["id"]), (200, &json!(id)), "{tool}: {said}");
        assert!(codes.contains(&answer.code()), "{tool}: {said}");
        assert_eq!(said["error"]["data"]["connector"], "alpha", "{tool}: {said}");
        let text = said.to_string();
        for secret in ["secret-of-upstream", "10.0.0.7", "canary", "of somebody else"] {
            assert!(!text.contains(secret), "{tool}: {text}");
        }
        for name in ["set-cookie", "location", "www-authenticate"] {
            assert!(!answer.headers.contains_key(name), "{tool}: {:?}", answer.headers);
        }
        // A good call in between: faults in a row are another test's.
        let good = bench.bare("/mcp/acme", 1, &call(1000 + id, "good")).await;
        assert_eq!(good.json()["result"]["content"], json!([]), "after {tool}: {good:?}");
    }
    // UPS-07: each was sent once.
    assert_eq!(server.calls(), 2 * FAULTS.len());
}

#[tokio::test]
async fn ups_04_an_answer_without_end_is_cut_at_the_limit() {
    let server = Unruly::start().await;
    let bench = bench(&server, UpstreamSettings { max_bytes: 1 << 20, ..UpstreamSettings::default() });
    for tool in ["endless", "endless_event"] {
        server.seen.taken.store(0, Ordering::SeqCst);
        let answer = bench.bare("/mcp/acme", 1, &call(5, tool)).await;
        assert_eq!((answer.code(), answer.word().as_str()), (-32013, "upstream_too_large"), "{tool}");
        // What was taken beyond the limit waits in the buffers of two sockets.
        let taken = server.seen.taken.load(Ordering::SeqCst);
        assert!(taken < (1 << 20) + (12 << 20), "{tool}: {taken}");
    }
}

#[tokio::test]
async fn ups_06_only_the_first_answer_with_the_right_id_counts() {
    let server = Unruly::start().await;
    let bench = bench(&server, UpstreamSettings::default());
    let answer = bench.bare("/mcp/acme", 1, &call(7, "twice")).await;
    assert_eq!(answer.json(), json!({"jsonrpc":"2.0","id":7,"result":{"content":[]}}));
}

#[tokio::test]
async fn ups_08_a_stream_that_breaks_off_ends_with_an_error_and_cleanly() {
    let server = Unruly::start().await;
    let bench = bench(&server, UpstreamSettings::default());
    let mut params = call_params("alpha__mid_stream", "m");
    params["_meta"]["progressToken"] = json!("p");
    let events = bench.modern("/mcp/acme", 1, "tools/call", params).await.events();
    assert_eq!(events[0]["params"]["progressToken"], "p");
    assert_eq!((&events[1]["id"], &events[1]["error"]["code"]), (&json!(1), &json!(-32012)));
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn calls_in_a_row_need_one_connection_and_one_request_each() {
    let server = Unruly::start().await;
    let bench = bench(&server, UpstreamSettings::default());
    for id in 0..50 {
        let answer = bench.bare("/mcp/acme", 1, &call(id, "good")).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(server.calls(), 50);
    assert_eq!(server.seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn ups_01_a_server_that_is_not_there_is_told_at_once_and_left_alone() {
    let server = Unruly::start().await;
    let bench = bench(&server, UpstreamSettings::default());
    drop(server);
    tokio::task::yield_now().await;
    for id in 0..5 {
        let answer = bench.bare("/mcp/acme", 1, &call(id, "good")).await;
        assert_eq!((answer.code(), answer.word().as_str()), (-32010, "upstream_unavailable"), "{answer:?}");
    }
    let refused = bench.bare("/mcp/acme", 1, &call(9, "good")).await;
    assert_eq!((refused.code(), refused.word().as_str()), (-32010, "upstream_circuit_open"));
}

/// What a server in the process does with a call.
type Behaviour = Arc<dyn Fn(Value) -> BoxFuture<'static, axum::response::Response> + Send + Sync>;

/// A well-behaved modern server but for its calls.
struct Acting {
    behaviour: Behaviour,
    calls: Arc<AtomicUsize>,
}

impl Exchange for Acting {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>> {
        let (behaviour, calls) = (Arc::clone(&self.behaviour), Arc::clone(&self.calls));
        let app = Router::new().fallback(move |request: Request| async move {
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            if message["method"] == "tools/call" {
                calls.fetch_add(1, Ordering::SeqCst);
                return behaviour(message).await;
            }
            let result = json!({"jsonrpc":"2.0","id":message["id"],"result":{"supportedVersions":["2026-07-28"],"tools":[]}});
            ([(header::CONTENT_TYPE, "application/json")], result.to_string()).into_response()
        });
        crate::support::in_process(app, request)
    }
}

fn acting<F>(behaviour: impl Fn(Value) -> F + Send + Sync + 'static) -> (Bench, Arc<AtomicUsize>)
where
    F: Future<Output = axum::response::Response> + Send + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let behaviour: Behaviour = Arc::new(move |message| Box::pin(behaviour(message)));
    let exchange = Acting { behaviour, calls: Arc::clone(&calls) };
    (Bench::over(Arc::new(exchange), UpstreamSettings::default()), calls)
}

fn events(pieces: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> axum::response::Response {
    let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn result(message: &Value) -> Bytes {
    format!("data: {}\n\n", json!({"jsonrpc":"2.0","id":message["id"],"result":{"content":[]}})).into()
}

#[tokio::test(start_paused = true)]
async fn ups_03_a_body_that_dribbles_is_given_up_after_the_total() {
    let (bench, _) = acting(|_| async {
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
        });
        ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(drops)).into_response()
    });
    let began = tokio::time::Instant::now();
    let answer = bench.bare("/mcp/acme", 1, &call(3, "echo")).await;
    assert_eq!((answer.code(), &answer.json()["id"]), (-32011, &json!(3)));
    assert_eq!(began.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn ups_03_a_silent_stream_is_given_up_and_comments_are_signs_of_life() {
    for (pause, ends) in [(59, 120), (3600, 60)] {
        let (bench, _) = acting(move |_| async move {
            events(stream::unfold((), move |()| async move {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                Some((Bytes::from_static(b": at work\n\n"), ()))
            }))
        });
        let began = tokio::time::Instant::now();
        let answer = bench.bare("/mcp/acme", 1, &call(3, "echo")).await;
        assert_eq!(answer.code(), -32011);
        assert_eq!(began.elapsed().as_secs(), ends);
    }
}

/// A server that reports progress each minute, and is done after so many.
fn minutes(many: u32) -> (Bench, Arc<AtomicUsize>) {
    acting(move |message| async move {
        let token = message["params"]["_meta"]["progressToken"].clone();
        events(stream::unfold(0, move |minute| {
            let (message, token) = (message.clone(), token.clone());
            async move {
                tokio::time::sleep(Duration::from_mins(1) - Duration::from_secs(1)).await;
                let progress = json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":token,"progress":minute}});
                let piece =
                    if minute == many { result(&message) } else { format!("data: {progress}\n\n").into() };
                (minute <= many).then_some((piece, minute + 1))
            }
        }))
    })
}

#[tokio::test(start_paused = true)]
async fn ups_03_progress_puts_the_end_off_but_not_for_ever() {
    let mut params = call_params("alpha__echo", "m");
    params["_meta"]["progressToken"] = json!(1);
    let (bench, _) = minutes(30);
    let done = bench.modern("/mcp/acme", 1, "tools/call", params.clone()).await.events();
    assert_eq!(done.last().unwrap()["result"]["content"], json!([]), "half an hour with progress");
    let (bench, _) = minutes(600);
    let began = tokio::time::Instant::now();
    let cut = bench.modern("/mcp/acme", 1, "tools/call", params).await.events();
    assert_eq!(cut.last().unwrap()["error"]["code"], -32011);
    assert_eq!(began.elapsed(), Duration::from_hours(1));
    // Without a token there is no progress, and two minutes are all.
    let (bench, _) = minutes(30);
    let answer = bench.bare("/mcp/acme", 1, &call(1, "echo")).await;
    assert_eq!(answer.code(), -32011);
}

#[tokio::test(start_paused = true)]
async fn ups_09_a_failing_server_is_left_alone_while_others_are_not() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let (bench, calls) = acting(move |message| {
        let broken = state.load(Ordering::SeqCst) && message["params"]["arguments"]["marker"] == "m";
        async move {
            if broken {
                StatusCode::BAD_GATEWAY.into_response()
            } else {
                let good = json!({"jsonrpc":"2.0","id":message["id"],"result":{"content":[]}});
                ([(header::CONTENT_TYPE, "application/json")], good.to_string()).into_response()
            }
        }
    });
    for id in 0..5 {
        let answer = bench.bare("/mcp/acme", 1, &call(id, "echo")).await;
        assert_eq!(answer.word(), "upstream_unavailable");
    }
    let refused = bench.bare("/mcp/acme", 1, &call(9, "echo")).await;
    assert_eq!((refused.status, refused.code(), &refused.json()["id"]), (200, -32010, &json!(9)));
    assert_eq!((refused.word().as_str(), refused.header("retry-after")), ("upstream_circuit_open", "30"));
    let error = &refused.json()["error"];
    assert_eq!(error["data"]["retry_after"], 30);
    assert!(error["message"].as_str().unwrap().contains("HTTP status 502"), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 5, "nothing was sent");
    assert!(matches!(bench.upstreams.breaker(connector_id(1)), Some(BreakerState::Open { .. })));
    // Another connector of the organisation, and the same server of another organisation.
    let other = rpc(1, "tools/call", call_params("beta__echo", "x"));
    assert_eq!(bench.bare("/mcp/acme", 1, &other).await.json()["result"]["content"], json!([]));
    let theirs = rpc(1, "tools/call", call_params("alpha__echo", "x"));
    assert_eq!(bench.bare("/mcp/bolt", 11, &theirs).await.json()["result"]["content"], json!([]));
    // Its tools stay listed.
    let listed = bench.bare("/mcp/acme", 1, &rpc(2, "tools/list", json!({}))).await.json();
    assert!(listed["result"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "alpha__echo"));
    // After the rest one call tries; it fails, so the next is refused again.
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(bench.bare("/mcp/acme", 1, &call(10, "echo")).await.word(), "upstream_unavailable");
    assert_eq!(bench.bare("/mcp/acme", 1, &call(11, "echo")).await.word(), "upstream_circuit_open");
    broken.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(30)).await;
    for id in 20..23 {
        assert_eq!(
            bench.bare("/mcp/acme", 1, &call(id, "echo")).await.json()["result"]["content"],
            json!([])
        );
    }
    assert_eq!(bench.upstreams.breaker(connector_id(1)), Some(BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn d09_a_dead_server_holds_a_bounded_number_of_calls() {
    let settings = UpstreamSettings { concurrency: 4, waiting: 4, ..UpstreamSettings::default() };
    let calls = Arc::new(AtomicUsize::new(0));
    let behaviour: Behaviour = Arc::new(|_| Box::pin(std::future::pending()));
    let bench = Bench::over(Arc::new(Acting { behaviour, calls: Arc::clone(&calls) }), settings);
    let all = (0..40).map(|id| {
        let (bench, call) = (&bench, call(id, "echo"));
        async move { bench.bare("/mcp/acme", 1, &call).await.word() }
    });
    let mut words = futures_util::future::join_all(all).await;
    words.sort();
    let count = |word: &str| words.iter().filter(|w| *w == word).count();
    assert_eq!((count("upstream_timeout"), count("connector_busy")), (4, 36), "{words:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn sessions_upstream_that_nobody_uses_are_ended() {
    let bench = Bench::new(Speaks::Legacy);
    let echo = rpc(1, "tools/call", call_params("alpha__echo", "m"));
    bench.bare("/mcp/acme", 1, &echo).await;
    let deleted = || {
        let seen = bench.upstream.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.method().is_empty() && seen.headers.contains_key("mcp-session-id"))
            .count()
    };
    bench.upstreams.tidy();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(deleted(), 0);
    tokio::time::advance(Duration::from_mins(11)).await;
    bench.upstreams.tidy();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(deleted(), 1);
    // The next call begins another, and the server's era is known by now.
    let answer = bench.bare("/mcp/acme", 1, &echo).await;
    assert_eq!(answer.json()["result"]["content"][0]["future"], "m");
    assert_eq!(bench.upstream.seen("initialize").len(), 2);
    assert_eq!(bench.upstream.seen("server/discover").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_says_nothing_about_the_server() {
    let (bench, _) = acting(|_| std::future::pending::<axum::response::Response>());
    for _ in 0..10 {
        let request = modern("/mcp/acme", 1, "tools/call", call_params("alpha__echo", "m"));
        assert!(tokio::time::timeout(Duration::from_secs(1), bench.open(request)).await.is_err());
    }
    assert_eq!(bench.upstreams.breaker(connector_id(1)), Some(BreakerState::Closed));
}

#[tokio::test]
async fn ups_13_a_tool_that_waits_for_approval_is_neither_listed_nor_called() {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| {
        let mut alpha = connector(1, "alpha", &[("echo", true), ("drip", true)]);
        alpha.tools[0].held = true;
        plane.connectors[0] = Arc::new(alpha);
    });
    for (path, prefix) in [("/mcp/acme", "alpha__"), ("/mcp/acme/alpha", "")] {
        let listed = bench.bare(path, 1, &rpc(1, "tools/list", json!({}))).await.json();
        let names: Vec<_> =
            listed["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
        assert!(
            names.contains(&json!(format!("{prefix}drip")))
                && !names.contains(&json!(format!("{prefix}echo")))
        );
        let refused =
            bench.bare(path, 1, &rpc(7, "tools/call", call_params(&format!("{prefix}echo"), "m"))).await;
        assert_eq!((refused.status, refused.code(), &refused.json()["id"]), (200, -32014, &json!(7)));
        assert_eq!(refused.word(), "tool_quarantined");
    }
    assert!(bench.upstream.seen("tools/call").is_empty());
}

#[tokio::test]
async fn a_renamed_tool_is_listed_and_called_by_its_new_name_alone() {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| {
        let mut alpha = connector(1, "alpha", &[("echo", true)]);
        alpha.tools[0].published = "say".to_owned();
        plane.connectors[0] = Arc::new(alpha);
    });
    let listed = bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({}))).await.json();
    assert_eq!(listed["result"]["tools"][0]["name"], "alpha__say");
    let said = bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", call_params("alpha__say", "m"))).await.json();
    assert_eq!(said["result"]["content"][0]["future"], "m");
    assert_eq!(bench.upstream.seen("tools/call")[0].body["params"]["name"], "echo");
    assert_eq!(bench.upstream.seen("tools/call")[0].headers["mcp-name"], "echo");
    let old = bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", call_params("alpha__echo", "m"))).await;
    assert_eq!(old.word(), "unknown_tool");
}

#[tokio::test(start_paused = true)]
async fn a_tool_with_a_time_out_of_its_own_has_it_and_progress_puts_it_off() {
    let with_timeout = |bench: &Bench, seconds| {
        bench.directory.change(|plane| {
            let mut alpha = connector(1, "alpha", &[("echo", true)]);
            alpha.tools[0].timeout = Some(Duration::from_secs(seconds));
            plane.connectors[0] = Arc::new(alpha);
        });
        bench.gateway.invalidate(org_id(1));
    };
    // Shorter, and longer than the first byte may otherwise take.
    for seconds in [3, 600] {
        let (bench, _) = acting(|_| std::future::pending::<axum::response::Response>());
        with_timeout(&bench, seconds);
        let began = tokio::time::Instant::now();
        let answer = bench.bare("/mcp/acme", 1, &call(1, "echo")).await;
        assert_eq!((answer.code(), began.elapsed().as_secs()), (-32011, seconds));
    }
    // The client asked for no progress, and hears of none.
    let (bench, _) = minutes(5);
    with_timeout(&bench, 90);
    let answer = bench.bare("/mcp/acme", 1, &call(1, "echo")).await;
    assert_eq!(answer.json()["result"]["content"], json!([]), "{answer:?}");
    let (bench, _) = minutes(5);
    with_timeout(&bench, 50);
    assert_eq!(bench.bare("/mcp/acme", 1, &call(1, "echo")).await.code(), -32011);
}
