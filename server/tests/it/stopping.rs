//! How the binary ends while clients listen and calls run (D12).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, response::IntoResponse as _, routing::post};
use serde_json::{Value, json};

use crate::process::{Place, Running, reqwest_client, start};

/// A small modern MCP server whose one tool takes as many milliseconds as it is told.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

async fn answer(State(slow): State<Slow>, Json(body): Json<Value>) -> axum::response::Response {
    let result = match body["method"].as_str().unwrap_or_default() {
        "server/discover" => {
            json!({"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"})
        }
        "tools/list" => {
            json!({"tools":[{"name":"wait","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"private"})
        }
        "tools/call" => {
            slow.begun.fetch_add(1, Ordering::SeqCst);
            let wait = body["params"]["arguments"]["ms"].as_u64().unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(wait)).await;
            slow.ended.fetch_add(1, Ordering::SeqCst);
            json!({"resultType":"complete","content":[{"type":"text","text":"done"}]})
        }
        _ => {
            let error = json!({"jsonrpc":"2.0","id":body["id"],"error":{"code":-32601,"message":"no"}});
            return Json(error).into_response();
        }
    };
    Json(json!({"jsonrpc":"2.0","id":body["id"],"result":result})).into_response()
}

struct Scene {
    place: Place,
    slow: Slow,
    running: Running,
    key: String,
}

impl Scene {
    async fn new() -> Self {
        let place = Place::new().with("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8");
        place.set_up();
        let slow = Slow::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let router = Router::new().route("/mcp", post(answer)).with_state(slow.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let admin = |arguments: &[&str]| {
            let all: Vec<_> =
                ["admin"].iter().chain(arguments).chain(&["--org", "acme", "--json"]).copied().collect();
            // The server of the connector runs in this very process.
            tokio::task::block_in_place(|| place.json(&all))
        };
        admin(&["connector", "add", "--slug", "slow", "--name", "Slow", "--url", &url]);
        let key = admin(&["api-key", "create", "--name", "k"])["key"].as_str().unwrap().to_owned();
        let running = tokio::task::block_in_place(|| start(&place));
        Self { place, slow, running, key }
    }

    fn request(&self, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        reqwest_client()
            .request(method, format!("{}{path}", self.running.base))
            .header("x-api-key", &self.key)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
    }

    fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        self.request(http::Method::POST, "/mcp/acme").body(body.to_string())
    }

    /// A `subscriptions/listen`, the stream of a session, and the stream of 2024-11-05.
    async fn streams(&self) -> Vec<reqwest::Response> {
        let meta = json!({"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}});
        let params = json!({"notifications":{"toolsListChanged":true},"_meta":meta});
        let listen = json!({"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":params});
        let listen = self
            .post(&listen)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "subscriptions/listen");
        let params =
            json!({"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}});
        let initialize = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":params});
        let opened = self.post(&initialize).send().await.unwrap();
        let session = opened.headers()["mcp-session-id"].clone();
        let get = self.request(http::Method::GET, "/mcp/acme").header("mcp-session-id", session);
        let old = self.request(http::Method::GET, "/mcp/acme/sse");
        let mut streams = Vec::new();
        for request in [listen, get, old] {
            let stream = request.send().await.unwrap();
            assert_eq!(stream.status().as_u16(), 200);
            assert_eq!(stream.headers()["content-type"], "text/event-stream");
            streams.push(stream);
        }
        streams
    }

    /// A call that takes so long, once it has reached the server.
    async fn call(&self, ms: u64) -> tokio::task::JoinHandle<reqwest::Result<(u16, Value)>> {
        let params = json!({"name":"slow__wait","arguments":{"ms":ms}});
        let request = self.post(&json!({"jsonrpc":"2.0","id":7,"method":"tools/call","params":params}));
        let before = self.slow.begun.load(Ordering::SeqCst);
        let call = tokio::spawn(async move {
            let answer = request.send().await?;
            Ok((answer.status().as_u16(), serde_json::from_str(&answer.text().await?).unwrap_or_default()))
        });
        while self.slow.begun.load(Ordering::SeqCst) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        call
    }

    fn terminate(&self) {
        let pid = self.running.process.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end: after how long, and whether it said that it was in order.
    async fn ended(&mut self, since: Instant) -> (Duration, bool) {
        loop {
            if let Some(status) = self.running.process.try_wait().unwrap() {
                return (since.elapsed(), status.success());
            }
            assert!(since.elapsed() < Duration::from_secs(40), "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("log")).unwrap()
    }
}

/// Reads a stream to its end, which has to be one of HTTP: the last piece with something in it.
async fn last(mut stream: reqwest::Response) -> String {
    let mut last = String::new();
    while let Some(piece) = stream.chunk().await.expect("it ends cleanly") {
        last = String::from_utf8(piece.to_vec()).unwrap();
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_streams_end_at_once_and_the_process_with_them() {
    let mut scene = Scene::new().await;
    let streams = scene.streams().await;
    let since = Instant::now();
    scene.terminate();
    let ends = tokio::time::timeout(
        Duration::from_secs(1),
        futures_util::future::join_all(streams.into_iter().map(last)),
    );
    let ends = ends.await.expect("they end within a second");
    assert!(ends[0].contains(r#""resultType":"complete""#) && ends[0].contains(r#""id":"l""#), "{ends:?}");
    assert!(ends[1..].iter().all(|end| end.starts_with(": ")), "{ends:?}");
    let (after, in_order) = scene.ended(since).await;
    assert!(in_order && after < Duration::from_secs(2), "{after:?}");
    assert!(!scene.log().contains("cut off"), "{}", scene.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_calls_are_finished_and_told_and_newcomers_served_while_somebody_looks_at_readiness() {
    let mut scene = Scene::new().await;
    let ready = || scene.request(http::Method::GET, "/readyz").send();
    assert_eq!(ready().await.unwrap().status().as_u16(), 200);
    let streams = scene.streams().await;
    let (short, long) = (scene.call(1_500).await, scene.call(6_000).await);
    let since = Instant::now();
    scene.terminate();
    while ready().await.unwrap().status().as_u16() == 200 {
        assert!(since.elapsed() < Duration::from_millis(300), "it still says that it is ready");
    }
    let ends = futures_util::future::join_all(streams.into_iter().map(last));
    tokio::time::timeout(Duration::from_secs(1), ends).await.expect("they end at once");
    // Who has not noticed yet is served, with calls and with streams.
    let late = scene.streams().await;
    let call = scene.call(0).await.await.unwrap().unwrap();
    assert_eq!(call.1["result"]["content"][0]["text"], "done");
    for call in [short, long] {
        let (status, answer) = call.await.unwrap().expect("its connection lasts until it is answered");
        assert_eq!((status, &answer["result"]["content"][0]["text"]), (200, &json!("done")), "{answer}");
    }
    let ends = futures_util::future::join_all(late.into_iter().map(last));
    tokio::time::timeout(Duration::from_secs(1), ends).await.expect("the late ones have ended too");
    let (after, in_order) = scene.ended(since).await;
    assert!(in_order && after < Duration::from_secs(9), "{after:?}");
    assert_eq!(scene.slow.ended.load(Ordering::SeqCst), 3, "no call was cut");
    // Every request is in the log: three calls, two initialize and two streams.
    let database = format!("sqlite://{}", scene.place.path("data/gatehouse.db").display());
    let db = store::Db::connect(&database).await.unwrap();
    let mut tx = db.read().await.unwrap();
    let org = store::orgs::find_by_slug(&mut tx, &"acme".parse().unwrap()).await.unwrap().unwrap().id;
    let filter = store::request_log::Filter::default();
    let mut methods: Vec<_> = store::request_log::list(&mut tx, org, &filter, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|line| line.method)
        .collect();
    methods.sort();
    assert_eq!(
        methods,
        [
            "initialize",
            "initialize",
            "subscriptions/listen",
            "subscriptions/listen",
            "tools/call",
            "tools/call",
            "tools/call"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_second_signal_ends_it_within_a_second() {
    let mut scene = Scene::new().await;
    let call = scene.call(30_000).await;
    scene.terminate();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(scene.running.process.try_wait().unwrap().is_none(), "a call is waited for");
    let since = Instant::now();
    scene.terminate();
    let (after, in_order) = scene.ended(since).await;
    assert!(in_order && after < Duration::from_millis(1_500), "{after:?}");
    assert!(call.await.unwrap().is_err(), "the call was cut");
    assert!(scene.log().contains("cut off"));
}

/// Two nodes, and which of them say that they are ready, as a load balancer knows it.
#[derive(Clone, Default)]
struct Balancer {
    nodes: Arc<Mutex<Vec<String>>>,
    ready: Arc<Mutex<Vec<String>>>,
}

impl Balancer {
    async fn look(self) {
        let client = reqwest_client();
        loop {
            let mut ready = Vec::new();
            let nodes = self.nodes.lock().unwrap().clone();
            for base in nodes {
                let asked = client.get(format!("{base}/readyz")).timeout(Duration::from_millis(500)).send();
                if asked.await.is_ok_and(|answer| answer.status().as_u16() == 200) {
                    ready.push(base);
                }
            }
            *self.ready.lock().unwrap() = ready;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn pick(&self, number: usize) -> Option<String> {
        let ready = self.ready.lock().unwrap();
        (!ready.is_empty()).then(|| ready[number % ready.len()].clone())
    }
}

/// One client with a session whose stream it opens again whenever it ends: how long it was without.
async fn listen(balancer: Balancer, key: String, number: usize, gaps: Arc<Mutex<Vec<Duration>>>) {
    let client = reqwest_client();
    let request = |method: http::Method, base: &str| {
        client
            .request(method, format!("{base}/mcp/acme"))
            .header("host", HOST)
            .header("x-api-key", &key)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
    };
    let params =
        json!({"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}});
    let initialize = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":params});
    let base = balancer.pick(number).expect("a node");
    let opened = request(http::Method::POST, &base).body(initialize.to_string()).send().await.unwrap();
    let session = opened.headers()["mcp-session-id"].clone();
    let mut ended: Option<Instant> = None;
    loop {
        let Some(base) = balancer.pick(number) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let stream = request(http::Method::GET, &base).header("mcp-session-id", &session).send().await;
        let Some(mut stream) = stream.ok().filter(|stream| stream.status().as_u16() == 200) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if let Some(ended) = ended {
            gaps.lock().unwrap().push(ended.elapsed());
        }
        while let Ok(Some(_)) = stream.chunk().await {}
        ended = Some(Instant::now());
    }
}

const HOST: &str = "127.0.0.1:9000";

#[tokio::test(flavor = "multi_thread")]
async fn d12_two_nodes_are_restarted_in_turn_and_nobody_fails() {
    const STREAMS: usize = 30;
    let db = store::testing::TestDb::new(store::Kind::Postgres).await;
    let place = || {
        Place::new()
            .with("GATEHOUSE_DATABASE_URL", &db.url)
            .with("GATEHOUSE_MASTER_KEY", "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=")
            .with("GATEHOUSE_PUBLIC_URL", &format!("http://{HOST}"))
            .with("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8")
    };
    let places = [place(), place()];
    places[0].set_up();
    let slow = Slow::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let router = Router::new().route("/mcp", post(answer)).with_state(slow.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let admin = |arguments: &[&str]| {
        let all: Vec<_> =
            ["admin"].iter().chain(arguments).chain(&["--org", "acme", "--json"]).copied().collect();
        tokio::task::block_in_place(|| places[0].json(&all))
    };
    admin(&["connector", "add", "--slug", "slow", "--name", "Slow", "--url", &url]);
    let keys: Vec<String> = (0..3)
        .map(|n| {
            let made = admin(&["api-key", "create", "--name", &format!("k{n}")]);
            made["key"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut nodes: Vec<Running> =
        places.iter().map(|place| tokio::task::block_in_place(|| start(place))).collect();
    let balancer = Balancer::default();
    *balancer.nodes.lock().unwrap() = nodes.iter().map(|node| node.base.clone()).collect();
    tokio::spawn(balancer.clone().look());
    while balancer.ready.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let gaps = Arc::new(Mutex::new(Vec::new()));
    for number in 0..STREAMS {
        let key = keys[number % keys.len()].clone();
        tokio::spawn(listen(balancer.clone(), key, number, Arc::clone(&gaps)));
    }
    // Forty calls a second all the while, each on a connection of its own or a kept one, as it comes.
    let failed = Arc::new(Mutex::new(Vec::new()));
    let called = Arc::new(AtomicUsize::new(0));
    let calling = {
        let (balancer, failed, called, key) =
            (balancer.clone(), Arc::clone(&failed), Arc::clone(&called), keys[2].clone());
        tokio::spawn(async move {
            let client = reqwest_client();
            for number in 0.. {
                let params = json!({"name":"slow__wait","arguments":{"ms":50}});
                let body = json!({"jsonrpc":"2.0","id":number,"method":"tools/call","params":params});
                let base = balancer.pick(number).expect("one is always ready");
                let request = client
                    .post(format!("{base}/mcp/acme"))
                    .header("host", HOST)
                    .header("x-api-key", &key)
                    .header("content-type", "application/json")
                    .body(body.to_string());
                let (failed, called) = (Arc::clone(&failed), Arc::clone(&called));
                tokio::spawn(async move {
                    let told = match request.send().await {
                        Ok(answer) => {
                            format!("{} {}", answer.status(), answer.text().await.unwrap_or_default())
                        }
                        Err(error) => format!("{error:?}"),
                    };
                    called.fetch_add(1, Ordering::SeqCst);
                    if !told.contains("done") {
                        failed.lock().unwrap().push(told);
                    }
                });
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (at, place) in places.iter().enumerate() {
        let pid = nodes[at].process.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let since = Instant::now();
        while nodes[at].process.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < Duration::from_secs(12), "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        nodes[at] = tokio::task::block_in_place(|| start(place));
        balancer.nodes.lock().unwrap()[at].clone_from(&nodes[at].base);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    calling.abort();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(*failed.lock().unwrap(), Vec::<String>::new(), "of {} calls", called.load(Ordering::SeqCst));
    assert!(called.load(Ordering::SeqCst) > 100);
    let gaps = gaps.lock().unwrap().clone();
    assert!(gaps.len() >= STREAMS, "every stream has ended and is back: {}", gaps.len());
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(2)), "{gaps:?}");
}
