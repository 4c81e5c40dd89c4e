//! Sessions of the legacy era with a server that uses all of them: streams that are resumed, questions outside of calls,
//! roots that change, pages to open first.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use domain::mcp::upstream::UpstreamSettings;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast};

use crate::{
    events::Events,
    support::{Bench, InProcess, ask, call_params, modern, post, rpc},
};

/// A server of 2025-11-25.
#[derive(Clone)]
struct Server(Arc<Seen>);

struct Seen {
    /// What it was sent, with the session.
    messages: Mutex<Vec<(String, Value)>>,
    /// What it says on the streams of sessions.
    aside: broadcast::Sender<(String, Value)>,
    /// Lets the tool `late` go on.
    go: Notify,
    answers: broadcast::Sender<Value>,
    dropped: AtomicUsize,
    sessions: AtomicUsize,
}

impl Server {
    fn new() -> Self {
        Self(Arc::new(Seen {
            messages: Mutex::default(),
            aside: broadcast::channel(16).0,
            go: Notify::new(),
            answers: broadcast::channel(16).0,
            dropped: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
        }))
    }

    fn bench(&self) -> Bench {
        let router = Router::new().fallback(answer).with_state(self.clone());
        Bench::over(Arc::new(InProcess(router)), UpstreamSettings::default())
    }

    /// Sessions in which this was sent.
    fn sent(&self, method: &str) -> Vec<String> {
        let messages = self.0.messages.lock().unwrap();
        let found = messages.iter().filter(|(_, message)| message["method"] == method);
        found.map(|(session, _)| session.clone()).collect()
    }

    fn capabilities(&self) -> Vec<Value> {
        let messages = self.0.messages.lock().unwrap();
        let found = messages.iter().filter(|(_, message)| message["method"] == "initialize");
        found.map(|(_, message)| message["params"]["capabilities"].clone()).collect()
    }
}

struct Dropped(Server);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn event(message: &Value) -> Bytes {
    format!("event: message\ndata: {message}\n\n").into()
}

fn events(events: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(events.map(Ok::<_, std::convert::Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn whole(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn text(id: &Value, text: &str) -> Value {
    json!({"jsonrpc":"2.0","id":id,"result":{"content":[{"type":"text","text":text}]}})
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let session =
        head.headers.get("mcp-session-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    if head.method == Method::GET {
        let mine = server.0.aside.subscribe();
        server.0.messages.lock().unwrap().push((session.clone(), json!({"method":"GET"})));
        return events(stream::unfold((mine, session), |(mut mine, session)| async move {
            loop {
                match mine.recv().await {
                    Ok((to, message)) if to == session => return Some((event(&message), (mine, session))),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        }));
    }
    let body = body.collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    server.0.messages.lock().unwrap().push((session.clone(), body.clone()));
    let id = &body["id"];
    match body["method"].as_str() {
        None => {
            let _ = server.0.answers.send(body);
            StatusCode::ACCEPTED.into_response()
        }
        Some("initialize") => {
            let number = server.0.sessions.fetch_add(1, Ordering::SeqCst);
            let result = json!({"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}});
            let mut response = whole(&json!({"jsonrpc":"2.0","id":id,"result":result}));
            let session = HeaderValue::try_from(format!("s-{number}")).unwrap();
            response.headers_mut().insert("mcp-session-id", session);
            response
        }
        Some(_) if id.is_null() => StatusCode::ACCEPTED.into_response(),
        Some("tools/call") => call(&server, &body, &session),
        Some(_) => whole(&json!({"jsonrpc":"2.0","id":id,"error":{"code":-32601,"message":"no"}})),
    }
}

fn call(server: &Server, body: &Value, session: &str) -> Response {
    let id = body["id"].clone();
    match body["params"]["name"].as_str().unwrap_or_default() {
        // Says that it is at work, waits until it may go on, and answers.
        "stream" => {
            let token = body["params"]["_meta"]["progressToken"].clone();
            let note = |n| json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":token,"progress":n}});
            let (first, second) = (note(1), note(2));
            let guard = Dropped(server.clone());
            let rest = stream::once(async move {
                guard.0.0.go.notified().await;
                let both = [event(&second), event(&text(&id, "at last"))].concat();
                drop(guard);
                Bytes::from(both)
            });
            events(stream::iter([event(&first)]).chain(rest))
        }
        // Asks for the client's roots.
        "ask" => {
            let question = json!({"jsonrpc":"2.0","id":"roots","method":"roots/list"});
            let mut answers = server.0.answers.subscribe();
            let rest = stream::once(async move {
                let told = answers.recv().await.unwrap();
                event(&text(&id, &told["result"].to_string()))
            });
            events(stream::iter([event(&question)]).chain(rest))
        }
        // Wants a page opened, once for each session.
        "slow" => {
            let calls = server.sent("tools/call");
            if calls.iter().filter(|other| *other == session).count() > 1 {
                return whole(&text(&id, "opened"));
            }
            let page =
                json!({"mode":"url","elicitationId":"e-1","url":"https://pages.test/","message":"Sign in"});
            whole(
                &json!({"jsonrpc":"2.0","id":id,"error":{"code":-32042,"message":"pages","data":{"elicitations":[page]}}}),
            )
        }
        _ => whole(&text(&id, "hello")),
    }
}

async fn open_session(bench: &Bench, version: &str, capabilities: Value) -> String {
    let body = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":
        {"protocolVersion":version,"capabilities":capabilities,"clientInfo":{"name":"t","version":"1"}}});
    bench.bare("/mcp/acme", 1, &body).await.header("mcp-session-id").to_owned()
}

fn within(key: u64, session: &str, body: &Value) -> http::Request<Body> {
    post("/mcp/acme")
        .key(key)
        .header("mcp-session-id", session)
        .header("accept", "application/json, text/event-stream")
        .json(body)
}

fn get(key: u64, session: &str, last: Option<&str>) -> http::Request<Body> {
    let request = ask(Method::GET, "/mcp/acme")
        .key(key)
        .header("mcp-session-id", session)
        .header("accept", "text/event-stream");
    match last {
        Some(last) => request.header("last-event-id", last).empty(),
        None => request.empty(),
    }
}

fn streaming(id: u64) -> Value {
    let mut params = call_params("alpha__stream", "m");
    params["_meta"]["progressToken"] = json!("p");
    rpc(id, "tools/call", params)
}

#[tokio::test(start_paused = true)]
async fn rsv_12_an_answer_that_broke_off_is_fetched_by_its_own_client() {
    let server = Server::new();
    let bench = server.bench();
    let id = open_session(&bench, "2025-11-25", json!({})).await;
    let mut events = Events::new(bench.open(within(1, &id, &streaming(7))).await);
    // The first event of all is one to come back to.
    let primed = events.raw().await;
    assert!(
        primed.contains("id: ") && primed.contains("retry: ") && primed.ends_with("data:\n\n"),
        "{primed}"
    );
    let (first, _, progress) = events.next().await.unwrap();
    assert!(progress.contains(r#""progress":1"#) && !first.is_empty(), "{progress}");
    drop(events);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.0.dropped.load(Ordering::SeqCst), 0, "the call goes on");
    assert!(bench.ended().iter().all(|record| record.method != "tools/call"), "it has not ended");
    server.0.go.notify_one();
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Nobody else has it, and the session's own stream does not show it.
    assert_eq!(bench.send(get(2, &id, Some(&first))).await.status, 404);
    let own = bench.open(get(1, &id, None)).await;
    let mut own = Events::new(own);
    assert!(tokio::time::timeout(Duration::from_secs(3), own.next()).await.is_err());
    drop(own);
    // From the event that was seen last, or from the beginning.
    for (from, count) in [(first.clone(), 2), (first.replacen("-1.", "-0.", 1), 3)] {
        let mut again = Events::new(bench.open(get(1, &id, Some(&from))).await);
        let mut messages = Vec::new();
        while let Some((_, _, data)) = again.next().await {
            messages.push(serde_json::from_str::<Value>(&data).unwrap());
        }
        assert_eq!(messages.len(), count, "{messages:?}");
        let answer = messages.last().unwrap();
        assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(7), &json!("at last")));
    }
    let ended = bench.ended();
    let call: Vec<_> = ended.iter().filter(|record| record.method == "tools/call").collect();
    assert_eq!((call.len(), call[0].outcome), (1, model::activity::Outcome::Ok));
    assert_eq!(server.sent("tools/call").len(), 1, "it was called once");
    // After a while it is gone, and the client is told so instead of waiting.
    tokio::time::sleep(Duration::from_mins(3)).await;
    let mut late = Events::new(bench.open(get(1, &id, Some(&first))).await);
    let answer = late.message().await;
    assert_eq!((&answer["id"], &answer["error"]["data"]["code"]), (&json!(7), &json!("answer_lost")));
    assert!(late.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_while_the_call_runs_takes_the_stream_over() {
    let server = Server::new();
    let bench = server.bench();
    // Before 2025-11-25 no event is without data, but each has an id.
    let id = open_session(&bench, "2025-06-18", json!({})).await;
    let mut events = Events::new(bench.open(within(1, &id, &streaming(8))).await);
    let first = events.raw().await;
    assert!(first.starts_with("id: ") && first.contains("progress"), "{first}");
    let seen = first.lines().next().unwrap().trim_start_matches("id: ").to_owned();
    // Its old connection hangs, which only the client knows.
    let mut again = Events::new(bench.open(get(1, &id, Some(&seen))).await);
    assert!(events.next().await.is_none(), "there is one reader");
    server.0.go.notify_one();
    assert_eq!(again.message().await["params"]["progress"], 2);
    assert_eq!(again.message().await["result"]["content"][0]["text"], "at last");
    assert!(again.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn req_06_nobody_comes_back_and_the_call_is_given_up() {
    let server = Server::new();
    let bench = server.bench();
    let id = open_session(&bench, "2025-11-25", json!({})).await;
    for call in 0..20 {
        let mut events = Events::new(bench.open(within(1, &id, &streaming(call))).await);
        events.next().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(server.0.dropped.load(Ordering::SeqCst), 0);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(server.0.dropped.load(Ordering::SeqCst), 20);
    assert_eq!(server.sent("notifications/cancelled").len(), 20, "the server is told");
    let told = bench.ended();
    let calls = told.iter().filter(|record| record.method == "tools/call");
    assert_eq!(calls.filter(|record| record.outcome == model::activity::Outcome::Cancelled).count(), 20);
    // The end of the session ends them at once.
    let mut events = Events::new(bench.open(within(1, &id, &streaming(99))).await);
    events.next().await.unwrap();
    drop(events);
    let delete = ask(Method::DELETE, "/mcp/acme").key(1).header("mcp-session-id", &id).empty();
    assert_eq!(bench.send(delete).await.status, 204);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.0.dropped.load(Ordering::SeqCst), 21);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_life_is_told_to_be_lost() {
    let (before, after) = (Server::new(), Server::new());
    let (bench, restarted) = (before.bench(), after.bench());
    let id = open_session(&bench, "2025-11-25", json!({})).await;
    let mut events = Events::new(bench.open(within(1, &id, &streaming(7))).await);
    let (first, ..) = events.next().await.unwrap();
    // The rng of both is the same, so the lives are told apart by what came before.
    open_session(&restarted, "2025-11-25", json!({})).await;
    let mut lost = Events::new(restarted.open(get(1, &id, Some(&first))).await);
    let answer = lost.message().await;
    assert_eq!((&answer["id"], &answer["error"]["data"]["code"]), (&json!(7), &json!("answer_lost")));
    // What is no id of ours resumes nothing, and injects nothing.
    let forged = format!("{}.1-1.{}", &first[..8], "IjEiLCJ4IjoiMSI");
    let answer = bench.send(get(1, &id, Some(&forged.replace(".1-", ".99-")))).await;
    assert_eq!(std::str::from_utf8(&answer.body).unwrap(), ": there is nothing to resume\n\n");
}

#[tokio::test(start_paused = true)]
async fn ups_11_a_question_outside_of_a_call_reaches_the_client_whose_session_it_is() {
    let server = Server::new();
    let bench = server.bench();
    let can = json!({"elicitation":{"form":{},"url":{}}});
    let (asked, other) = (
        open_session(&bench, "2025-11-25", can.clone()).await,
        open_session(&bench, "2025-11-25", can).await,
    );
    let mut mine = Events::new(bench.open(get(1, &asked, None)).await);
    let mut theirs = Events::new(bench.open(get(1, &other, None)).await);
    let echo = rpc(1, "tools/call", call_params("alpha__echo", "m"));
    for session in [&asked, &other] {
        assert_eq!(bench.send(within(1, session, &echo)).await.status, 200);
    }
    let sessions = server.sent("tools/call");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let opened = server.sent("GET");
    assert!(sessions.iter().all(|session| opened.contains(session)), "{opened:?}");
    let say = |message: Value| server.0.aside.send((sessions[0].clone(), message)).unwrap();
    say(json!({"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}));
    let question = mine.message().await;
    assert_eq!(
        (&question["method"], &question["params"]),
        (&json!("elicitation/create"), &json!({"message":"?"}))
    );
    let mut answers = server.0.answers.subscribe();
    let told = json!({"jsonrpc":"2.0","id":question["id"],"result":{"action":"decline"}});
    assert_eq!(bench.send(within(1, &asked, &told)).await.status, 202);
    let answer = answers.recv().await.unwrap();
    assert_eq!((&answer["id"], &answer["result"]["action"]), (&json!("q"), &json!("decline")));
    // What the client did not declare is refused for it.
    say(json!({"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{}}));
    assert_eq!(answers.recv().await.unwrap()["error"]["code"], -32601);
    // News of its own reach it, and those that everybody hears come once.
    say(json!({"jsonrpc":"2.0","method":"notifications/tools/list_changed"}));
    say(
        json!({"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}),
    );
    assert_eq!(mine.message().await["method"], "notifications/elicitation/complete");
    let nothing = tokio::time::timeout(Duration::from_secs(5), theirs.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

#[tokio::test(start_paused = true)]
async fn changed_roots_are_told_to_the_servers_that_asked_for_them() {
    let server = Server::new();
    let bench = server.bench();
    let id = open_session(&bench, "2025-11-25", json!({"roots":{"listChanged":true}})).await;
    let changed = json!({"jsonrpc":"2.0","method":"notifications/roots/list_changed"});
    // One server has a session of this client's, and has not asked.
    let echo = rpc(1, "tools/call", call_params("beta__echo", "m"));
    bench.send(within(1, &id, &echo)).await;
    assert_eq!(bench.send(within(1, &id, &changed)).await.status, 202);
    let mut events =
        Events::new(bench.open(within(1, &id, &rpc(2, "tools/call", call_params("alpha__ask", "m")))).await);
    let question = events.message().await;
    assert_eq!(question["method"], "roots/list");
    let told = json!({"jsonrpc":"2.0","id":question["id"],"result":{"roots":[]}});
    bench.send(within(1, &id, &told)).await;
    assert_eq!(events.message().await["result"]["content"][0]["text"], r#"{"roots":[]}"#);
    assert!(server.capabilities().contains(&json!({"roots":{"listChanged":true}})));
    assert!(server.sent("notifications/roots/list_changed").is_empty());
    let asked = server.sent("tools/call").pop().unwrap();
    assert_eq!(bench.send(within(1, &id, &changed)).await.status, 202);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.sent("notifications/roots/list_changed"), [asked]);
}

#[tokio::test]
async fn pages_to_open_first_are_asked_for_in_the_words_of_each_era() {
    let server = Server::new();
    let bench = server.bench();
    // A legacy client hears what the server said.
    let id = open_session(&bench, "2025-11-25", json!({"elicitation":{"url":{}}})).await;
    let call = rpc(3, "tools/call", call_params("alpha__slow", "m"));
    let answer = bench.send(within(1, &id, &call)).await.json();
    assert_eq!(answer["error"]["code"], -32042);
    assert_eq!(answer["error"]["data"]["elicitations"][0]["elicitationId"], "e-1");
    assert_eq!(bench.send(within(1, &id, &call)).await.json()["result"]["content"][0]["text"], "opened");
    // A modern one is asked, and calls again.
    let mut params = call_params("alpha__slow", "m");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation":{"url":{}}});
    let asked = bench.modern("/mcp/acme", 1, "tools/call", params.clone()).await;
    let result = &asked.json()["result"];
    assert_eq!(result["resultType"], "input_required");
    assert_eq!(
        result["inputRequests"]["question-1"],
        json!({"method":"elicitation/create","params":{"mode":"url","url":"https://pages.test/","message":"Sign in"}})
    );
    params["inputResponses"] = json!({"question-1":{"action":"accept"}});
    let done = bench.modern("/mcp/acme", 1, "tools/call", params).await.json();
    assert_eq!(
        (&done["result"]["resultType"], &done["result"]["content"][0]["text"]),
        (&json!("complete"), &json!("opened"))
    );
    // Who cannot be asked hears why.
    let server = Server::new();
    let bench = server.bench();
    let refused = bench.send(modern("/mcp/acme", 1, "tools/call", call_params("alpha__slow", "m"))).await;
    assert_eq!((refused.code(), refused.word().as_str()), (-32012, "input_not_supported"));
}

/// A server of 2026-07-28 that wants a page opened before each call.
async fn modern_pages(request: Request) -> Response {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = if body["method"] == "server/discover" {
        json!({"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"})
    } else if body["params"]["inputResponses"]["a"]["action"] == "accept" {
        json!({"resultType":"complete","content":[{"type":"text","text":"opened"}]})
    } else {
        let params = json!({"mode":"url","url":"https://pages.test/","message":"Sign in"});
        json!({"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":params}},"requestState":"s"})
    };
    whole(&json!({"jsonrpc":"2.0","id":body["id"],"result":result}))
}

#[tokio::test]
async fn a_modern_servers_pages_are_opened_by_legacy_clients() {
    let router = Router::new().fallback(modern_pages);
    let bench = Bench::over(Arc::new(InProcess(router)), UpstreamSettings::default());
    let id = open_session(&bench, "2025-11-25", json!({"elicitation":{"url":{}}})).await;
    let call = rpc(3, "tools/call", call_params("alpha__echo", "m"));
    // On a stream it is a question with the id that this era wants.
    let mut events = Events::new(bench.open(within(1, &id, &call)).await);
    let question = events.message().await;
    assert_eq!(
        (&question["method"], &question["params"]["mode"]),
        (&json!("elicitation/create"), &json!("url"))
    );
    assert_eq!(question["params"]["elicitationId"].as_str().map(str::len), Some(32), "{question}");
    let told = json!({"jsonrpc":"2.0","id":question["id"],"result":{"action":"accept"}});
    assert_eq!(bench.send(within(1, &id, &told)).await.status, 202);
    assert_eq!(events.message().await["result"]["content"][0]["text"], "opened");
    // Without a stream it is the error of that revision.
    let mut request = within(1, &id, &call);
    request.headers_mut().insert("accept", HeaderValue::from_static("application/json"));
    let error = bench.send(request).await.json()["error"].clone();
    assert_eq!(error["code"], -32042);
    let page = &error["data"]["elicitations"][0];
    assert_eq!((&page["url"], page["elicitationId"].is_string()), (&json!("https://pages.test/"), true));
    // Who did not say that it can open pages is not asked to.
    let other = open_session(&bench, "2025-11-25", json!({"elicitation":{}})).await;
    let mut events = Events::new(bench.open(within(1, &other, &call)).await);
    assert_eq!(events.message().await["error"]["data"]["code"], "input_not_supported");
}
