//! Servers that speak only the transport of 2024-11-05: an event stream, and an address to post to.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use domain::mcp::{
    asks::Asks,
    upstream::{
        Answer, Call, CallEvent, HttpUpstream, Reply, Session, Upstream, UpstreamError, UpstreamSettings,
        Wanted,
    },
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::support::InProcess;

/// Asked whether it speaks anything newer, it says 405, or this.
#[derive(Clone, Default)]
struct Old(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// What stands in the `endpoint` event before the session's number.
    endpoint: Mutex<String>,
    sessions: Mutex<HashMap<u64, UnboundedSender<String>>>,
    opened: AtomicU64,
    calls: AtomicU64,
    seen: Mutex<Vec<(String, HeaderMap)>>,
}

impl Old {
    fn new(endpoint: &str) -> Self {
        let old = Self::default();
        endpoint.clone_into(&mut old.0.endpoint.lock().unwrap());
        old
    }

    fn client(&self) -> Upstream {
        let app =
            Router::new().route("/sse", get(open)).route("/messages", post(message)).with_state(self.clone());
        let uri = "http://server.test/sse".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-key", "secret".parse().unwrap());
        let settings = UpstreamSettings { first_byte: Duration::from_secs(2), ..UpstreamSettings::default() };
        Upstream::Http(HttpUpstream::new(Arc::new(InProcess(app)), uri, headers, settings))
    }

    fn say(&self, session: u64, message: &Value) {
        let sessions = self.0.sessions.lock().unwrap();
        if let Some(session) = sessions.get(&session) {
            let _ = session.send(format!("event: message\ndata: {message}\n\n"));
        }
    }

    /// Breaks all streams off.
    fn restart(&self) {
        self.0.sessions.lock().unwrap().clear();
    }
}

async fn open(State(old): State<Old>, headers: HeaderMap) -> Response {
    old.0.seen.lock().unwrap().push(("GET".to_owned(), headers));
    let session = old.0.opened.fetch_add(1, Ordering::SeqCst) + 1;
    let (sender, receiver) = unbounded_channel::<String>();
    let endpoint = old.0.endpoint.lock().unwrap().clone();
    sender.send(format!(": hello\n\nevent: endpoint\ndata: {endpoint}{session}\n\n")).unwrap();
    old.0.sessions.lock().unwrap().insert(session, sender);
    let events = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((Ok::<_, Infallible>(receiver.recv().await?), receiver))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events.boxed())).into_response()
}

async fn message(
    State(old): State<Old>,
    Query(query): Query<HashMap<String, u64>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let session = query["s"];
    let message: Value = serde_json::from_slice(&body).unwrap();
    old.0.seen.lock().unwrap().push((message["method"].as_str().unwrap_or("answer").to_owned(), headers));
    if !old.0.sessions.lock().unwrap().contains_key(&session) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let id = &message["id"];
    let result = match message["method"].as_str() {
        Some("initialize") => json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
            "serverInfo": {"name": "old", "version": "1"}}),
        Some("tools/list") => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        Some("tools/call") if message["params"]["name"] == "ask" => {
            old.say(session, &json!({"jsonrpc": "2.0", "id": id.to_string(), "method": "elicitation/create", "params": {"message": "?"}}));
            return StatusCode::ACCEPTED.into_response();
        }
        Some("tools/call") if message["params"]["name"] == "wait" => {
            return StatusCode::ACCEPTED.into_response();
        }
        Some("tools/call") if message["params"]["name"] == "news" => {
            old.say(session, &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
            json!({"content": []})
        }
        Some("tools/call") => {
            let call = old.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
            json!({"content": [{"type": "text", "text": format!("{call} in {session}")}]})
        }
        // The answer to its question ends the call that it asked in.
        None => {
            let id: u64 = id.as_str().unwrap().parse().unwrap();
            let text = message["result"].to_string();
            old.say(
                session,
                &json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}),
            );
            return StatusCode::ACCEPTED.into_response();
        }
        Some(_) => return StatusCode::ACCEPTED.into_response(),
    };
    old.say(session, &json!({"jsonrpc": "2.0", "id": id, "result": result}));
    StatusCode::ACCEPTED.into_response()
}

async fn text(client: &Upstream, tool: &str) -> Result<String, UpstreamError> {
    let call = Call { name: tool, arguments: Some("{}"), ..Call::default() };
    Ok(read(&client.call(&call).await?.finish().await?))
}

fn read(answer: &Answer) -> String {
    let value: Value = serde_json::from_str(answer.text()).unwrap();
    value["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

#[tokio::test]
async fn an_old_server_is_found_out_and_used_like_any_other() {
    let old = Old::new("/messages?s=");
    let client = old.client();
    let report = client.probe(0).await.unwrap();
    assert!(report.old_transport);
    assert_eq!((report.protocol_version, report.list.tools.len()), ("2024-11-05", 1));
    assert_eq!(report.server_name.as_deref(), Some("old"));
    assert_eq!(text(&client, "echo").await.unwrap(), "1 in 2", "the first stream was for finding out");
    assert_eq!(text(&client, "echo").await.unwrap(), "2 in 2");
    for (what, headers) in old.0.seen.lock().unwrap().iter() {
        assert_eq!(headers["x-key"], "secret", "{what}: the connector's own header");
        assert!(!headers.contains_key("mcp-session-id"), "{what}");
    }
}

#[tokio::test]
async fn a_stream_that_broke_off_is_opened_anew_with_the_next_call() {
    let old = Old::new("/messages?s=");
    let client = old.client();
    assert_eq!(text(&client, "echo").await.unwrap(), "1 in 2");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { text(&client, "wait").await }
    });
    while !old.0.seen.lock().unwrap().iter().any(|(what, _)| what == "tools/call") {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    old.restart();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.word(), "upstream_protocol_error", "{error}");
    assert_eq!(text(&client, "echo").await.unwrap(), "2 in 3", "sent once, on another stream");
}

#[tokio::test]
async fn ups_11_a_question_on_the_stream_reaches_the_client_in_whose_session_it_is() {
    let old = Old::new("/messages?s=");
    let client = old.client();
    let asks = Asks::read(r#"{"elicitation":{}}"#);
    let session = Session { client: Some(1), asks, legacy: true };
    let call = Call { name: "ask", arguments: Some("{}"), session, ..Call::default() };
    let Reply::Stream(mut stream) = client.call(&call).await.unwrap() else { panic!("a stream") };
    let CallEvent::Request(question) = stream.next().await.unwrap() else { panic!("a question") };
    stream.answer(&question.id, r#""result":{"action":"decline"}"#);
    let CallEvent::Answer(answer) = stream.next().await.unwrap() else { panic!("an answer") };
    assert_eq!(read(&answer), r#"{"action":"decline"}"#);
}

#[tokio::test]
async fn ups_11_while_somebody_thinks_about_a_question_others_have_another_stream() {
    let old = Old::new("/messages?s=");
    let client = old.client();
    let session = Session { client: None, asks: Asks::read(r#"{"elicitation":{}}"#), legacy: false };
    let call = Call { name: "ask", arguments: Some("{}"), session, ..Call::default() };
    let mut open = Vec::new();
    for _ in 0..2 {
        let Reply::Stream(mut stream) = client.call(&call).await.unwrap() else { panic!("a stream") };
        let CallEvent::Request(question) = stream.next().await.unwrap() else { panic!("a question") };
        open.push((stream, question));
    }
    assert_eq!(old.0.sessions.lock().unwrap().len(), 3, "one for finding out, and one each");
    for (stream, question) in &mut open {
        stream.answer(&question.id, r#""result":{"action":"accept"}"#);
        let CallEvent::Answer(answer) = stream.next().await.unwrap() else { panic!("an answer") };
        assert_eq!(read(&answer), r#"{"action":"accept"}"#);
    }
}

#[tokio::test]
async fn news_of_an_old_server_are_heard() {
    let old = Old::new("/messages?s=");
    let client = old.client();
    let wanted = Wanted { tools: true, ..Wanted::default() };
    let mut listener = client.listen(&wanted).await.unwrap().expect("a stream");
    let call = Call { name: "news", arguments: Some("{}"), ..Call::default() };
    client.call(&call).await.unwrap().finish().await.unwrap();
    let message = listener.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&message).contains("tools/list_changed"));
    old.restart();
    assert!(listener.next().await.is_err());
}

#[tokio::test]
async fn ssr_01_an_address_elsewhere_is_not_posted_to() {
    for elsewhere in ["http://evil.test/messages?s=", "//evil.test/?s=", "https://server.test/messages?s="] {
        let old = Old::new(elsewhere);
        let error = old.client().probe(0).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "The server does not keep to the protocol: it wants to be answered at another server."
        );
        let seen = old.0.seen.lock().unwrap();
        assert!(seen.iter().all(|(what, _)| what == "GET"), "{elsewhere}: nothing was posted");
    }
}
