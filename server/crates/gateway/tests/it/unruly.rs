//! An MCP server that misbehaves: on a socket of its own, byte by byte, because what goes wrong on a wire goes wrong
//! below HTTP. It speaks the modern era properly until a tool is called; the tool's name says what goes wrong then.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The server; it ends when it is dropped.
pub(crate) struct Unruly {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Log>,
    task: JoinHandle<()>,
}

/// What the server saw.
#[derive(Default)]
pub(crate) struct Log {
    /// Tools that were called, in their order.
    pub(crate) calls: Mutex<Vec<String>>,
    pub(crate) connections: AtomicUsize,
    /// Bytes that were taken of an answer without end.
    pub(crate) taken: AtomicUsize,
}

impl Drop for Unruly {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Unruly {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Log::default());
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                log.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(socket, Arc::clone(&log)));
            }
        });
        Self { address, seen, task }
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.lock().unwrap().len()
    }
}

/// One request's body; `None` when the client has gone.
async fn request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Value> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = serde_json::from_slice(&buffer[end + 4..end + 4 + length]).unwrap_or(Value::Null);
                buffer.drain(..end + 4 + length);
                return Some(body);
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn whole(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut all =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    all.extend_from_slice(body);
    all
}

const JSON: &str = "content-type: application/json\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

async fn serve(mut socket: TcpStream, log: Arc<Log>) {
    let mut buffer = Vec::new();
    while let Some(message) = request(&mut socket, &mut buffer).await {
        let id = message["id"].clone();
        let result = |result: Value| {
            whole("200 OK", JSON, json!({"jsonrpc":"2.0","id":id,"result":result}).to_string().as_bytes())
        };
        let answer = match message["method"].as_str().unwrap_or_default() {
            "server/discover" => result(
                json!({"resultType":"complete","supportedVersions":["2026-07-28"],"ttlMs":0,"cacheScope":"private"}),
            ),
            "tools/call" => {
                let tool = message["params"]["name"].as_str().unwrap_or_default().to_owned();
                log.calls.lock().unwrap().push(tool.clone());
                match misbehave(&mut socket, &tool, &message, &log).await {
                    Some(answer) => answer,
                    None => return,
                }
            }
            _ => result(json!({"tools":[]})),
        };
        if socket.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Writes for as long as anybody reads.
async fn for_ever(socket: &mut TcpStream, head: &str, piece: &[u8], log: &Log) {
    if socket.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    while socket.write_all(piece).await.is_ok() {
        log.taken.fetch_add(piece.len(), Ordering::SeqCst);
    }
}

/// The whole answer, or `None` when the connection is done with.
async fn misbehave(socket: &mut TcpStream, tool: &str, message: &Value, log: &Log) -> Option<Vec<u8>> {
    let id = &message["id"];
    let good = json!({"jsonrpc":"2.0","id":id,"result":{"content":[],"resultType":"complete"}});
    let text = |body: String| Some(whole("200 OK", JSON, body.as_bytes()));
    let event = |message: &Value| format!("data: {message}\n\n");
    match tool {
        "good" => text(good.to_string()),
        // Below HTTP.
        "reset" => {
            socket.set_zero_linger().unwrap();
            None
        }
        "hang_up" => None,
        "no_http" => {
            let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
            None
        }
        // Broken bodies.
        "cut_short" => {
            let body = good.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{JSON}\r\n", body.len() + 10);
            let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
            None
        }
        "cut_json" => text(good.to_string()[..40].to_owned()),
        "no_json" => text("secret-of-upstream: internal error at 10.0.0.7".to_owned()),
        "page" => Some(whole("200 OK", "content-type: text/html\r\n", b"<html>secret-of-upstream</html>")),
        "bom" => text(format!("\u{feff}{good}")),
        "not_utf8" => {
            let mut body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":""#).into_bytes();
            body.extend_from_slice(b"\xff\xfe\"}}");
            Some(whole("200 OK", JSON, &body))
        }
        "nan" => text(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":NaN}}}}"#)),
        "deep" => {
            let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
            text(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":{open}{close}}}}}"#))
        }
        "gzip" => Some(whole("200 OK", &format!("{JSON}content-encoding: gzip\r\n"), b"\x1f\x8b\x08\0")),
        // Envelopes.
        "other_id" => text(json!({"jsonrpc":"2.0","id":"424242","result":{"content":[]}}).to_string()),
        "no_version" => text(json!({"id":id,"result":{"content":[]}}).to_string()),
        "both" => {
            text(json!({"jsonrpc":"2.0","id":id,"result":{},"error":{"code":1,"message":"x"}}).to_string())
        }
        "batch" => text(json!([good]).to_string()),
        // Too much.
        "endless" => {
            let head = format!("HTTP/1.1 200 OK\r\n{JSON}connection: close\r\n\r\n{{\"a\":\"");
            for_ever(socket, &head, &[b'x'; 8192], log).await;
            None
        }
        "endless_event" => {
            for_ever(socket, &format!("{EVENTS}data: "), &[b'x'; 8192], log).await;
            None
        }
        // A megabyte of it would be a gigabyte.
        "bomb" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n";
            for_ever(socket, head, &[0; 8192], log).await;
            None
        }
        // Streams.
        "events" => {
            let token = &message["params"]["_meta"]["progressToken"];
            let note = json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":token,"progress":1}});
            for_ever(socket, EVENTS, event(&note).repeat(64).as_bytes(), log).await;
            None
        }
        "mid_stream" => {
            let token = &message["params"]["_meta"]["progressToken"];
            let note = json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":token,"progress":1}});
            let _ = socket.write_all(format!("{EVENTS}{}data: {{\"json", event(&note)).as_bytes()).await;
            None
        }
        "twice" => {
            let foreign = json!({"jsonrpc":"2.0","id":"7","result":{"content":["of somebody else"]}});
            let second = json!({"jsonrpc":"2.0","id":id,"result":{"content":["the second"]}});
            let all = [event(&foreign), event(&good), event(&second)].concat();
            let _ = socket.write_all(format!("{EVENTS}{all}").as_bytes()).await;
            None
        }
        // HTTP.
        "moved" => {
            Some(whole("302 Found", "location: http://127.0.0.1:1/canary\r\nset-cookie: a=b\r\n", b""))
        }
        "login" => Some(whole(
            "401 Unauthorized",
            "www-authenticate: Bearer realm=\"secret-of-upstream\"\r\nset-cookie: a=b\r\n",
            b"secret-of-upstream",
        )),
        "failing" => Some(whole("503 Service Unavailable", "retry-after: 9\r\n", b"secret-of-upstream")),
        "busy" => Some(whole("429 Too Many Requests", "retry-after: 7\r\n", b"")),
        other => panic!("{other} is no way to misbehave"),
    }
}
