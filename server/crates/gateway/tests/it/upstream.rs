//! What the Add connector page hears about a server.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use domain::mcp::{
    exchange::{BodyStream, Exchange, NetError},
    upstream::{HttpUpstream, Upstream, UpstreamError, UpstreamSettings},
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::InProcess;

fn at(exchange: impl Exchange) -> Upstream {
    let uri = "http://server.test/mcp".parse().unwrap();
    Upstream::Http(HttpUpstream::new(Arc::new(exchange), uri, HeaderMap::new(), UpstreamSettings::default()))
}

async fn probe(app: Router) -> Result<domain::mcp::upstream::ProbeReport, UpstreamError> {
    at(InProcess(app)).probe(10).await
}

fn always(status: u16, headers: &'static [(&'static str, &'static str)], body: &'static str) -> Router {
    Router::new().fallback(move || async move {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
    })
}

/// A server that answers each JSON-RPC method with what a function says.
fn scripted(answer: impl Fn(&Value) -> (u16, Value) + Clone + Send + Sync + 'static) -> Router {
    Router::new().fallback(move |request: Request| {
        let answer = answer.clone();
        async move {
            if request.method() != Method::POST {
                return StatusCode::METHOD_NOT_ALLOWED.into_response();
            }
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap();
            let (status, mut reply) = answer(&message);
            if message.get("id").is_none() {
                return StatusCode::ACCEPTED.into_response();
            }
            reply["jsonrpc"] = json!("2.0");
            reply["id"] = message["id"].clone();
            let kind = [("content-type", "application/json; charset=utf-8")];
            (StatusCode::from_u16(status).unwrap(), kind, reply.to_string()).into_response()
        }
    })
}

struct Failing(NetError);

impl Exchange for Failing {
    fn send(&self, _: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>> {
        Box::pin(std::future::ready(Err(self.0)))
    }
}

#[tokio::test]
async fn ups_01_failures_of_the_network_are_told_apart() {
    for (error, code, says) in [
        (NetError::Dns, -32010, "name"),
        (NetError::Unreachable, -32010, "reached"),
        (NetError::Tls, -32010, "secure"),
        (NetError::Timeout, -32011, "too long"),
        (NetError::Blocked(domain::net::Blocked::Address), -32010, "GATEHOUSE_EGRESS_ALLOW"),
    ] {
        let found = at(Failing(error)).probe(0).await.unwrap_err();
        assert_eq!(found.code(), code, "{found}");
        assert!(found.to_string().contains(says), "{found}");
    }
}

#[tokio::test]
async fn a_page_and_a_login_are_told_apart() {
    let html = always(200, &[("content-type", "text/html; charset=utf-8")], "<html>hidden</html>");
    let error = probe(html).await.unwrap_err();
    assert_eq!(error, UpstreamError::WebPage);
    assert!(error.to_string().contains("web page") && !error.to_string().contains("hidden"));
    let missing = always(404, &[("content-type", "text/plain")], "nope");
    assert_eq!(probe(missing).await.unwrap_err(), UpstreamError::NotMcp(404));
    let login = always(401, &[], "");
    assert_eq!(probe(login).await.unwrap_err(), UpstreamError::NeedsAuth { status: 401, oauth: false });
    let challenge = &[("www-authenticate", "Bearer resource_metadata=\"https://server.test/x\"")];
    let oauth = probe(always(401, challenge, "")).await.unwrap_err();
    assert_eq!(oauth, UpstreamError::NeedsAuth { status: 401, oauth: true });
    assert!(oauth.to_string().contains("OAuth"));
    let moved = always(302, &[("location", "http://127.0.0.1/")], "");
    assert_eq!(probe(moved).await.unwrap_err(), UpstreamError::Redirect);
    let failing = always(500, &[], "stack trace");
    assert_eq!(probe(failing).await.unwrap_err(), UpstreamError::Failed(500));
}

#[tokio::test]
async fn every_answer_to_the_first_probe_but_a_modern_one_means_legacy() {
    let legacy = |discover: (u16, Value)| {
        scripted(move |message| match message["method"].as_str().unwrap() {
            "server/discover" => discover.clone(),
            "initialize" => (
                200,
                json!({"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"old","version":"3"}}}),
            ),
            _ => (200, json!({"result":{"tools":[]}})),
        })
    };
    for discover in [
        (400, json!({"error":{"code":-32000,"message":"Server not initialized"}})),
        (404, json!({"error":{"code":-32601,"message":"no"}})),
        (200, json!({"error":{"code":-32601,"message":"no"}})),
        (400, json!({"error":{"code":-32022,"message":"no","data":{"supported":["2025-06-18"]}}})),
        (500, json!({})),
        (403, json!({})),
        (200, json!({"result":{"supportedVersions":["2025-06-18"]}})),
    ] {
        let report = probe(legacy(discover.clone())).await.unwrap_or_else(|e| panic!("{discover:?}: {e}"));
        assert_eq!(report.protocol_version, "2025-06-18");
        assert_eq!(
            (report.server_name.as_deref(), report.server_version.as_deref()),
            (Some("old"), Some("3"))
        );
    }
    let future = scripted(|_| {
        (400, json!({"error":{"code":-32022,"message":"no","data":{"supported":["2031-01-01"]}}}))
    });
    assert_eq!(probe(future).await.unwrap_err(), UpstreamError::UnsupportedVersion);
    let strange = legacy((404, json!({})));
    assert!(probe(strange).await.is_ok());
}

#[tokio::test]
async fn ups_12_lists_are_read_page_by_page_and_bad_tools_dropped() {
    let paged = scripted(|message| match message["method"].as_str().unwrap() {
        "server/discover" => (
            200,
            json!({"result":{"supportedVersions":["2026-07-28"],"serverInfo":{"name":"n\u{7}ew","version":"1"}}}),
        ),
        _ => match message["params"]["cursor"].as_str() {
            None => (
                200,
                json!({"result":{"nextCursor":"p2","tools":[
                {"name":"a","inputSchema":{"type":"object"},"future":1},
                {"name":"b c","inputSchema":{"type":"object"}},
                {"name":"d","inputSchema":{"type":"object","properties":{"x":{"type":"object","x-mcp-header":"X"}}}}]}}),
            ),
            Some("p2") => (
                200,
                json!({"result":{"tools":[{"name":"e","inputSchema":{}},{"name":"a","inputSchema":{}}]}}),
            ),
            Some(_) => (200, json!({"error":{"code":-32602,"message":"no"}})),
        },
    });
    let report = probe(paged).await.unwrap();
    assert_eq!(report.server_name.as_deref(), Some("new"));
    let names: Vec<_> = report.list.tools.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a", "e"]);
    assert!(report.list.tools[0].raw.get().contains("\"future\":1"));
    let dropped: Vec<_> = report.list.dropped.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(dropped, ["b c", "d", "a"]);
    let endless = scripted(|message| match message["method"].as_str().unwrap() {
        "server/discover" => (200, json!({"result":{"supportedVersions":["2026-07-28"]}})),
        _ => (200, json!({"result":{"tools":[],"nextCursor":"again"}})),
    });
    assert!(matches!(probe(endless).await.unwrap_err(), UpstreamError::Protocol(_)));
    let toolless = scripted(|message| match message["method"].as_str().unwrap() {
        "server/discover" => (200, json!({"result":{"supportedVersions":["2026-07-28"]}})),
        _ => (404, json!({"error":{"code":-32601,"message":"no"}})),
    });
    assert!(probe(toolless).await.unwrap().list.tools.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_the_probe_unanswered_is_asked_in_the_old_way() {
    let silent = Router::new().fallback(|request: Request| async move {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap();
        let result = match message["method"].as_str().unwrap() {
            "server/discover" => std::future::pending().await,
            "initialize" => json!({"protocolVersion":"2025-03-26","capabilities":{},"serverInfo":{"name":"s","version":"1"}}),
            "tools/list" => json!({"tools":[]}),
            _ => return StatusCode::ACCEPTED.into_response(),
        };
        // As the SDKs do: an event stream for a single answer.
        let answer = json!({"jsonrpc":"2.0","id":message["id"],"result":result});
        ([("content-type", "text/event-stream")], format!("event: message\ndata: {answer}\n\n")).into_response()
    });
    let report = probe(silent).await.unwrap();
    assert_eq!(report.protocol_version, "2025-03-26");
}

#[tokio::test(start_paused = true)]
async fn ups_07_a_list_that_failed_is_asked_for_twice_more_and_no_further() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    for (failures, answered) in [(2, true), (3, false)] {
        let lists = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lists);
        let app = Router::new().fallback(move |request: Request| {
            let lists = Arc::clone(&counted);
            async move {
                let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                let message: Value = serde_json::from_slice(&body).unwrap();
                let result = if message["method"] == "server/discover" {
                    json!({"supportedVersions":["2026-07-28"]})
                } else if lists.fetch_add(1, Ordering::SeqCst) < failures {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                } else {
                    json!({"tools":[]})
                };
                let answer = json!({"jsonrpc":"2.0","id":message["id"],"result":result});
                ([("content-type", "application/json")], answer.to_string()).into_response()
            }
        });
        let began = tokio::time::Instant::now();
        let found = probe(app).await;
        assert_eq!(found.is_ok(), answered, "{failures}");
        assert_eq!(lists.load(Ordering::SeqCst), 3);
        assert!(began.elapsed() < std::time::Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_server_that_names_the_very_revision_it_refused_is_asked_once_more() {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let refuses = |times: usize| {
        let asked = Arc::clone(&asked);
        scripted(move |message| match message["method"].as_str().unwrap() {
            "server/discover" if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < times => (
                400,
                json!({"error":{"code":-32022,"message":"no","data":{"supported":["2026-07-28"],"requested":"x"}}}),
            ),
            "server/discover" => {
                (200, json!({"result":{"supportedVersions":["2026-07-28"],"capabilities":{}}}))
            }
            "tools/list" => (200, json!({"result":{"resultType":"complete","tools":[]}})),
            _ => (404, json!({"error":{"code":-32601,"message":"no"}})),
        })
    };
    assert_eq!(probe(refuses(1)).await.unwrap().protocol_version, "2026-07-28");
    asked.store(0, std::sync::atomic::Ordering::SeqCst);
    assert!(probe(refuses(9)).await.is_err());
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2, "and no more");
}

/// A legacy server whose answer to a call is a stream that ends early, and goes on where the client comes back to it.
fn breaking_off(after: &'static str, again: &'static str) -> Router {
    Router::new().fallback(move |request: Request| async move {
        let stream = |text: String| ([("content-type", "text/event-stream")], text).into_response();
        if request.method() == Method::GET {
            let from = request.headers().get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
            assert_eq!(request.headers()["mcp-session-id"], "s");
            return match from.as_deref() {
                Some("e1") => stream(again.to_owned()),
                _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
            };
        }
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap();
        let id = &message["id"];
        match message["method"].as_str().unwrap() {
            "initialize" => {
                let result = json!({"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}});
                let answer = json!({"jsonrpc":"2.0","id":id,"result":result}).to_string();
                ([("content-type", "application/json"), ("mcp-session-id", "s")], answer).into_response()
            }
            "tools/call" => stream(after.replace("ID", &id.to_string())),
            "server/discover" => StatusCode::NOT_FOUND.into_response(),
            _ => StatusCode::ACCEPTED.into_response(),
        }
    })
}

async fn call(app: Router) -> Result<String, UpstreamError> {
    let call = domain::mcp::upstream::Call { name: "x", ..Default::default() };
    Ok(at(InProcess(app)).call(&call).await?.finish().await?.text().to_owned())
}

#[tokio::test(start_paused = true)]
async fn ups_08_a_stream_that_can_be_resumed_is_resumed_when_the_server_said() {
    let began = tokio::time::Instant::now();
    // The id of the call is the second that was made: the first was the handshake's probe.
    let app = breaking_off(
        "id: e1\nretry: 700\ndata: \n\n",
        "id: e2\ndata: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"content\":[]}}\n\n",
    );
    assert_eq!(call(app).await.unwrap(), r#"{"content":[]}"#);
    assert_eq!(began.elapsed().as_millis(), 700);
}

#[tokio::test(start_paused = true)]
async fn ups_08_a_stream_that_cannot_be_resumed_ends_the_call() {
    for after in ["data: \n\n", "id: e9\nretry: 5\ndata: \n\n"] {
        let error = call(breaking_off(after, "")).await.unwrap_err();
        assert_eq!(error.word(), "upstream_protocol_error", "{error}");
        assert!(error.to_string().contains("ended the stream without an answer"), "{error}");
    }
    // One that breaks off again and again is given up in time.
    let began = tokio::time::Instant::now();
    let error = call(breaking_off("id: e1\nretry: 1000\ndata: \n\n", "")).await.unwrap_err();
    assert_eq!(error.word(), "upstream_timeout", "{error}");
    assert_eq!(began.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn ups_02_a_connector_has_its_own_patience() {
    struct Silent;
    impl Exchange for Silent {
        fn send(
            &self,
            _: http::Request<Bytes>,
        ) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>> {
            Box::pin(std::future::pending())
        }
    }
    let upstreams =
        domain::mcp::upstream::Upstreams::new(Arc::new(Silent), Arc::new(|| 0), UpstreamSettings::default());
    for (own, expected) in [(None, 30), (Some(7), 7), (Some(300), 300)] {
        let uri = "http://server.test/mcp".parse().unwrap();
        let own = own.map(std::time::Duration::from_secs);
        let http =
            upstreams.http(upstreams.exchange(), uri, HeaderMap::new(), own).expecting(Some("2025-11-25"));
        let began = tokio::time::Instant::now();
        let call = domain::mcp::upstream::Call { name: "x", ..Default::default() };
        let error = Upstream::Http(http).call(&call).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Timeout(_)), "{error}");
        assert_eq!(began.elapsed().as_secs(), expected);
    }
}

/// A legacy server that asks on the stream of its session and not on that of the call, as many libraries do.
#[derive(Clone, Default)]
struct AsksBeside(Arc<AsksBesideInner>);

#[derive(Default)]
struct AsksBesideInner {
    streams: std::sync::Mutex<Vec<tokio::sync::mpsc::UnboundedSender<String>>>,
    answers: tokio::sync::watch::Sender<Option<Value>>,
}

async fn asks_beside(
    axum::extract::State(server): axum::extract::State<AsksBeside>,
    request: Request,
) -> Response {
    if request.method() == Method::GET {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<String>();
        server.0.streams.lock().unwrap().push(sender);
        let events = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((Ok::<_, std::convert::Infallible>(receiver.recv().await?), receiver))
        });
        return ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response();
    }
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let message: Value = serde_json::from_slice(&body).unwrap();
    let result = match message["method"].as_str() {
        Some("initialize") => {
            json!({"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}})
        }
        Some("tools/call") => {
            let question =
                json!({"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}});
            for stream in server.0.streams.lock().unwrap().iter() {
                let _ = stream.send(format!("data: {question}\n\n"));
            }
            let mut answers = server.0.answers.subscribe();
            let answer = answers.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            json!({"content":[{"type":"text","text":answer.to_string()}]})
        }
        None => {
            let said = if message["error"].is_null() { "result" } else { "error" };
            server.0.answers.send_replace(Some(message[said].clone()));
            return StatusCode::ACCEPTED.into_response();
        }
        Some("server/discover") => return StatusCode::NOT_FOUND.into_response(),
        Some(_) => return StatusCode::ACCEPTED.into_response(),
    };
    let answer = json!({"jsonrpc":"2.0","id":message["id"],"result":result}).to_string();
    ([("content-type", "application/json"), ("mcp-session-id", "s")], answer).into_response()
}

#[tokio::test]
async fn ups_11_a_question_beside_the_call_reaches_its_client_where_no_other_can_be_meant() {
    use domain::mcp::{
        asks::Asks,
        upstream::{Call, CallEvent, Reply, Session},
    };

    let asks = Asks::read(r#"{"elicitation":{}}"#);
    let shared =
        Call { name: "x", session: Session { client: None, asks, legacy: false }, ..Call::default() };
    let server = AsksBeside::default();
    let client = at(InProcess(Router::new().fallback(asks_beside).with_state(server.clone())));
    let Reply::Stream(mut stream) = client.call(&shared).await.unwrap() else { panic!("a stream") };
    let CallEvent::Request(question) = stream.next().await.unwrap() else { panic!("a question") };
    stream.answer(&question.id, r#""result":{"action":"accept"}"#);
    let CallEvent::Answer(answer) = stream.next().await.unwrap() else { panic!("an answer") };
    assert!(answer.text().contains("accept"), "{}", answer.text());
    assert_eq!(server.0.streams.lock().unwrap().len(), 1);

    // With two calls at once nobody knows whose question it is.
    let server = AsksBeside::default();
    let client = at(InProcess(Router::new().fallback(asks_beside).with_state(server)));
    let both = futures_util::future::join(client.call(&shared), client.call(&shared));
    let (one, two) = tokio::time::timeout(std::time::Duration::from_secs(10), both).await.unwrap();
    let mut refused = 0;
    for reply in [one.unwrap(), two.unwrap()] {
        refused += usize::from(reply.finish().await.unwrap().text().contains("not certain"));
    }
    assert!(refused > 0, "the second question came while two calls were under way");
}
