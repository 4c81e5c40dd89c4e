//! What misbehaviour may cost: memory, time, places. Servers are real sockets where the cost is the socket's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::Request, response::IntoResponse as _};
use domain::{
    dataplane::PlaneConnector,
    mcp::{exchange::Exchange, upstream::UpstreamSettings},
    net::{Outbound, OutboundSettings},
};
use futures_util::future::join_all;
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UdpSocket};

use crate::{
    events::Events,
    support::{Bench, InProcess, Speaks, TOOLS, ask, call_params, connector, key, modern, org_id, rpc},
    unruly::Unruly,
};

fn outbound(adjust: impl FnOnce(&mut OutboundSettings)) -> Arc<dyn Exchange> {
    let mut settings = OutboundSettings {
        allow: "127.0.0.0/8".parse().unwrap(),
        user_agent: "gatehouse/test".to_owned(),
        ..OutboundSettings::default()
    };
    adjust(&mut settings);
    Arc::new(Outbound::new(settings).unwrap())
}

/// A gateway whose connector `alpha` has these tools at this URL, over the network.
fn at(exchange: Arc<dyn Exchange>, url: &str, tools: &[&str]) -> Bench {
    let bench = Bench::over(exchange, UpstreamSettings::default());
    let tools: Vec<_> = tools.iter().map(|tool| (*tool, true)).collect();
    let alpha = PlaneConnector { url: url.parse().unwrap(), ..connector(1, "alpha", &tools) };
    bench.directory.change(|plane| plane.connectors[0] = Arc::new(alpha));
    bench.gateway.invalidate_all();
    bench
}

fn call(id: u64, tool: &str) -> Value {
    rpc(id, "tools/call", call_params(&format!("alpha__{tool}"), "m"))
}

/// Resident memory of this process, KiB. Each test is a process of its own.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The most that is resident while something is done, less what was before, KiB.
async fn grows(work: impl Future<Output = ()>) -> usize {
    let before = resident();
    let mut most = before;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    tokio::pin!(work);
    loop {
        tokio::select! {
            () = &mut work => return most.max(resident()) - before,
            _ = look.tick() => most = most.max(resident()),
        }
    }
}

#[tokio::test]
async fn ups_01_whatever_keeps_a_server_from_answering_is_told_in_time() {
    // A name server that never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = silent.local_addr().unwrap();
    let lost = at(
        outbound(|settings| settings.dns_resolver = Some(resolver)),
        "https://lost.example/mcp",
        &["echo"],
    );
    // One that answers, and does not speak TLS.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/mcp", plain.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let Ok((mut socket, _)) = plain.accept().await else { return };
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let no_tls = at(outbound(|_| ()), &url, &["echo"]);
    // Nobody at all.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", free.local_addr().unwrap());
    drop(free);
    let nobody = at(outbound(|_| ()), &url, &["echo"]);
    for (name, bench) in [("a lost name", lost), ("no TLS", no_tls), ("nobody", nobody)] {
        let began = Instant::now();
        let answer = bench.bare("/mcp/acme", 1, &call(3, "echo")).await;
        assert_eq!(
            (answer.status, answer.code(), &answer.json()["id"]),
            (200, -32010, &json!(3)),
            "{name}: {answer:?}"
        );
        assert!(began.elapsed() <= Duration::from_millis(5500), "{name}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn ups_04_an_endless_answer_costs_no_more_than_twice_the_limit() {
    let server = Unruly::start().await;
    let url = format!("http://{}/mcp", server.address);
    let bench = at(outbound(|_| ()), &url, &["good", "endless", "endless_event"]);
    bench.bare("/mcp/acme", 1, &call(1, "good")).await;
    for tool in ["endless", "endless_event"] {
        let rise = grows(async {
            let answer = bench.bare("/mcp/acme", 1, &call(5, tool)).await;
            assert_eq!((answer.code(), answer.word().as_str()), (-32013, "upstream_too_large"), "{tool}");
        });
        let rise = rise.await;
        assert!(rise <= 20 << 10, "{tool}: {rise} KiB");
    }
}

#[tokio::test]
async fn ups_04_events_without_end_wait_for_their_reader() {
    let server = Unruly::start().await;
    let url = format!("http://{}/mcp", server.address);
    let bench = at(outbound(|_| ()), &url, &["events"]);
    let mut params = call_params("alpha__events", "m");
    params["_meta"]["progressToken"] = json!("p");
    let response = bench.open(modern("/mcp/acme", 1, "tools/call", params)).await;
    let mut body = response.into_body();
    let rise = grows(async {
        // Some are read, then none any more.
        for _ in 0..100 {
            body.frame().await.unwrap().unwrap();
        }
        let mut taken = 0;
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = server.seen.taken.load(Ordering::SeqCst);
            if now == taken {
                break;
            }
            taken = now;
        }
        assert!(taken < 12 << 20, "what was taken waits in the buffers of two sockets: {taken}");
    });
    let rise = rise.await;
    assert!(rise <= 16 << 10, "{rise} KiB");
    // A million are passed on to whoever reads, in no more memory.
    let rise = grows(async {
        let mut read = 0;
        while read < 1_000_000 {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            read += piece.windows(2).filter(|end| end == b"\n\n").count();
        }
    });
    let rise = rise.await;
    assert!(rise <= 16 << 10, "{rise} KiB");
}

#[tokio::test]
async fn ups_04_what_is_packed_is_not_unpacked() {
    let server = Unruly::start().await;
    let url = format!("http://{}/mcp", server.address);
    let bench = at(outbound(|_| ()), &url, &["bomb"]);
    let rise = grows(async {
        let answer = bench.bare("/mcp/acme", 1, &call(5, "bomb")).await;
        assert_eq!((answer.code(), &answer.json()["id"]), (-32012, &json!(5)), "{answer:?}");
    });
    let rise = rise.await;
    assert!(rise <= 20 << 10, "{rise} KiB");
}

#[tokio::test]
async fn ups_07_a_servers_wish_to_be_left_alone_is_passed_on() {
    let server = Unruly::start().await;
    let url = format!("http://{}/mcp", server.address);
    let bench = at(outbound(|_| ()), &url, &["busy"]);
    let answer = bench.bare("/mcp/acme", 1, &call(5, "busy")).await;
    assert_eq!((answer.code(), answer.word().as_str()), (-32010, "upstream_rate_limited"));
    assert_eq!(
        (answer.header("retry-after"), &answer.json()["error"]["data"]["retry_after"]),
        ("7", &json!(7))
    );
    assert_eq!(server.calls(), 1);
}

/// Ten connectors behind one exchange, of which one, by its host, is dead in some way, as long as `dead` has an answer.
fn ten(
    dead: impl Fn() -> futures_util::future::BoxFuture<'static, Option<axum::response::Response>>
    + Clone
    + Send
    + Sync
    + 'static,
) -> Bench {
    let router = Router::new().fallback(move |request: Request| {
        let dead = dead.clone();
        async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            let result = if message["method"] == "server/discover" {
                json!({"supportedVersions":["2026-07-28"],"capabilities":{"prompts":{}}})
            } else if host.starts_with("c3.")
                && let Some(answer) = dead().await
            {
                return answer;
            } else {
                json!({"resultType":"complete","prompts":[{"name":host}]})
            };
            let body = json!({"jsonrpc":"2.0","id":message["id"],"result":result}).to_string();
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
    });
    let bench = Bench::over(Arc::new(InProcess(router)), UpstreamSettings::default());
    bench.directory.change(|plane| {
        let all = (0..10).map(|number| Arc::new(connector(number, &format!("c{number}"), TOOLS)));
        plane.connectors = all.collect();
    });
    bench.gateway.invalidate_all();
    bench
}

#[tokio::test(start_paused = true)]
async fn ups_09_a_list_of_ten_has_the_nine_that_are_there() {
    let list = rpc(1, "prompts/list", json!({}));
    let nine = |listed: &Value| {
        assert_eq!(listed["result"]["prompts"].as_array().map(Vec::len), Some(9), "{listed}");
        assert_eq!(listed["result"]["_meta"]["gatehouse/unavailable"], json!(["c3"]));
    };
    // One that fails costs nothing, but for the two attempts that a list is worth (UPS-07).
    let failing = ten(|| Box::pin(async { Some(StatusCode::BAD_GATEWAY.into_response()) }));
    let began = tokio::time::Instant::now();
    nine(&failing.bare("/mcp/acme", 1, &list).await.json());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // One that was there and falls silent keeps the others for a second at most.
    let alive = Arc::new(AtomicBool::new(true));
    let falls_silent = ten({
        let alive = alive.clone();
        move || {
            let alive = alive.load(Ordering::Relaxed);
            Box::pin(async move { if alive { None } else { std::future::pending().await } })
        }
    });
    let all = falls_silent.bare("/mcp/acme", 1, &list).await.json();
    assert_eq!(all["result"]["prompts"].as_array().map(Vec::len), Some(10), "{all}");
    alive.store(false, Ordering::Relaxed);
    // One that never was there is waited for a little longer, once.
    let silent = ten(|| Box::pin(std::future::pending()));
    let began = tokio::time::Instant::now();
    nine(&silent.bare("/mcp/acme", 1, &list).await.json());
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    for bench in [&falls_silent, &silent] {
        for _ in 0..3 {
            let began = tokio::time::Instant::now();
            nine(&bench.bare("/mcp/acme", 1, &list).await.json());
            assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
        }
    }
}

/// Calls of a dead server.
const MANY: usize = 10_000;

#[tokio::test]
async fn d09_ten_thousand_calls_of_a_dead_server_cost_little_and_nobody_else() {
    let router = Router::new().fallback(|request: Request| async move {
        let is_dead = request.uri().host().is_some_and(|host| host.starts_with("alpha"));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let result = match message["method"].as_str() {
            Some("tools/call") if is_dead => std::future::pending().await,
            Some("tools/call") => json!({"content":[]}),
            _ => json!({"supportedVersions":["2026-07-28"],"tools":[]}),
        };
        let body = json!({"jsonrpc":"2.0","id":message["id"],"result":result}).to_string();
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    });
    // The limits are as large, so that every one of them is in flight.
    let patience = UpstreamSettings { concurrency: MANY, waiting: MANY, ..UpstreamSettings::default() };
    let bench = Bench::over_with(Arc::new(InProcess(router)), patience, |settings| {
        (settings.calls_per_key, settings.calls_per_org) = (2 * MANY, 2 * MANY);
        settings.calls_per_connector = 2 * MANY;
    });
    let other = rpc(1, "tools/call", call_params("beta__echo", "m"));
    let good = async || {
        let began = Instant::now();
        for _ in 0..200 {
            let answer = bench.bare("/mcp/acme", 2, &other).await;
            assert_eq!(answer.json()["result"]["content"], json!([]));
        }
        began.elapsed()
    };
    good().await;
    let quiet = good().await;
    let before = resident();
    let dead = join_all((0..MANY as u64).map(|id| {
        let bench = &bench;
        async move {
            let call = call(id, "echo");
            let _ = tokio::time::timeout(Duration::from_secs(20), bench.bare("/mcp/acme", 1, &call)).await;
        }
    }));
    tokio::pin!(dead);
    // All of them are sent; then the others have their turn beside them.
    assert!(tokio::time::timeout(Duration::from_secs(4), &mut dead).await.is_err(), "they wait");
    let beside = good().await;
    let rise = resident().saturating_sub(before);
    assert!(rise <= 512 << 10, "{rise} KiB");
    assert!(beside < quiet * 4, "{beside:?} beside them, {quiet:?} without");
}

#[tokio::test]
async fn req_06_streams_of_a_principal_and_of_an_organisation_are_bounded() {
    let bench = Bench::with(Speaks::Modern, |settings| {
        (settings.streams_per_key, settings.streams_per_org) = (2, 3);
    });
    let listen = |key: u64| {
        let wish = json!({"notifications":{"toolsListChanged":true}});
        bench.open(modern("/mcp/acme", key, "subscriptions/listen", wish))
    };
    let mut open = Vec::new();
    for (key, status) in [(1, 200), (1, 200), (1, 429), (2, 200), (2, 429), (3, 429)] {
        let response = listen(key).await;
        assert_eq!(response.status().as_u16(), status, "{key}");
        open.push(response);
    }
    // Another organisation has its own, and an end makes room.
    let wish = json!({"notifications":{"toolsListChanged":true}});
    let theirs = bench.open(modern("/mcp/bolt", 11, "subscriptions/listen", wish)).await;
    assert_eq!(theirs.status().as_u16(), 200);
    drop(open.remove(0));
    let last = listen(2).await;
    assert_eq!(last.status().as_u16(), 200);
    // A call over the limit is answered without a stream.
    let called = bench.send(modern("/mcp/acme", 2, "tools/call", call_params("alpha__stream", "m"))).await;
    assert_eq!((called.status, called.header("content-type")), (200, "application/json"));
}

#[tokio::test]
async fn req_07_schemas_are_passed_on_and_nothing_in_them_is_fetched() {
    let bench = Bench::new(Speaks::Modern);
    let schema = r#"{"$schema":"http://canary.test/draft","type":"object","properties":{"marker":{"$ref":"http://canary.test/schema.json#/a","pattern":"(a+)+$"}},"$dynamicRef":"https://canary.test/x"}"#;
    let definition =
        format!(r#"{{"name":"echo","inputSchema":{schema},"icons":[{{"src":"http://canary.test/i.png"}}]}}"#);
    bench.directory.change(|plane| {
        let mut alpha = connector(1, "alpha", &[("echo", true)]);
        alpha.tools[0].definition = serde_json::value::RawValue::from_string(definition).unwrap();
        plane.connectors[0] = Arc::new(alpha);
    });
    bench.gateway.invalidate(org_id(1));
    let listed = bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({}))).await;
    let text = std::str::from_utf8(&listed.body).unwrap();
    assert!(text.contains(schema), "byte for byte: {text}");
    let hostile = format!("{}!", "a".repeat(40));
    let began = Instant::now();
    let called =
        bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", call_params("alpha__echo", &hostile))).await;
    assert_eq!(called.json()["result"]["content"][0]["future"], json!(hostile));
    assert!(began.elapsed() < Duration::from_secs(1), "no pattern of theirs is run here");
    let hosts: Vec<_> = bench.upstream.seen.lock().unwrap().iter().map(|seen| seen.host.clone()).collect();
    assert!(hosts.iter().all(|host| host == "alpha.upstream.test"), "{hosts:?}");
}

#[tokio::test]
async fn rsv_14_every_way_in_refuses_the_same() {
    let bench = Bench::new(Speaks::Modern);
    let list = rpc(1, "tools/list", json!({}));
    let invoke = json!({"connector":"alpha","tool":"echo","arguments":{}});
    let ways = [
        (http::Method::POST, "/mcp/acme", Some(&list)),
        (http::Method::GET, "/mcp/acme", None),
        (http::Method::DELETE, "/mcp/acme", None),
        (http::Method::POST, "/mcp/acme/alpha", Some(&list)),
        (http::Method::GET, "/mcp/acme/sse", None),
        (http::Method::POST, "/mcp/acme/sse?session_id=00000000000000000000000000000000", Some(&list)),
        (http::Method::GET, "/mcp/acme/alpha/sse", None),
        (http::Method::POST, "/v1/mcp/invoke", Some(&invoke)),
        (http::Method::GET, "/v1/mcp/tools", None),
    ];
    let send = async |way: &(http::Method, &str, Option<&Value>),
                      credential: Option<(&str, String)>,
                      origin: Option<&str>| {
        let mut asking = ask(way.0.clone(), way.1).header("accept", "application/json, text/event-stream");
        for (name, value) in
            credential.iter().map(|(n, v)| (*n, v.as_str())).chain(origin.map(|o| ("origin", o)))
        {
            asking = asking.header(name, value);
        }
        let request = match way.2 {
            Some(body) => asking.json(body),
            None => asking.empty(),
        };
        bench.send(request).await
    };
    for way in &ways {
        for (what, credential) in [
            ("nothing", None),
            ("garbage", Some(("x-api-key", "garbage".to_owned()))),
            ("an unknown key", Some(("x-api-key", key(99)))),
            ("an unknown bearer", Some(("authorization", format!("Bearer {}", key(99))))),
            ("an identity", Some(("x-forwarded-user", "ada".to_owned()))),
            ("a cookie", Some(("cookie", format!("gatehouse={}", key(1))))),
        ] {
            let answer = send(way, credential, None).await;
            assert_eq!(answer.status, 401, "{what} at {way:?}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what} at {way:?}");
        }
        let good = Some(("x-api-key", key(1)));
        let foreign = send(way, good.clone(), Some("https://evil.test")).await;
        assert_eq!(foreign.status, 403, "a foreign origin at {way:?}");
        // A key of another organisation, where the path names one.
        if way.1.starts_with("/mcp") {
            assert_eq!(send(way, Some(("x-api-key", key(11))), None).await.status, 401, "{way:?}");
        }
        // A key for beta alone.
        if way.1.contains("alpha") || way.1.ends_with("invoke") {
            assert_eq!(send(way, Some(("x-api-key", key(3))), None).await.status, 403, "{way:?}");
        }
    }
    // A good one is let in everywhere; suspended, nowhere.
    bench.directory.change(|plane| plane.suspended = true);
    bench.gateway.invalidate_all();
    for way in &ways {
        let answer = send(way, Some(("x-api-key", key(1))), None).await;
        assert_eq!(answer.status, 403, "{way:?}");
    }
    assert!(bench.upstream.seen.lock().unwrap().is_empty(), "nothing went upstream");
}

#[tokio::test(start_paused = true)]
async fn rsv_11_streams_of_two_clients_with_one_id_carry_their_own() {
    let bench = Bench::new(Speaks::Modern);
    let open = |key: u64, path: &'static str, marker: &'static str| {
        let mut params = call_params("alpha__stream", marker);
        params["_meta"]["progressToken"] = json!(0);
        bench.open(modern(path, key, "tools/call", params))
    };
    let streams = [open(1, "/mcp/acme", "one"), open(2, "/mcp/acme", "two"), open(11, "/mcp/bolt", "three")];
    for (response, marker) in join_all(streams).await.into_iter().zip(["one", "two", "three"]) {
        let mut events = Events::new(response);
        let mut seen = 0;
        while let Some((_, _, data)) = events.next().await {
            let message: Value = serde_json::from_str(&data).unwrap();
            let told = if message["id"] == 1 {
                message["result"]["content"][0]["future"].clone()
            } else {
                assert_eq!(message["params"]["progressToken"], 0);
                message["params"]["message"].clone()
            };
            assert_eq!(told, marker, "{message}");
            seen += 1;
        }
        assert_eq!(seen, 3);
    }
}
