//! A small MCP server: `echo` at `/mcp`, 300 tools at `/many`. It answers whatever era it is asked in, and counts.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Done;

type Answer = UnsyncBoxBody<Bytes, Infallible>;

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Says on which address it listens, and serves until it is killed.
pub(crate) async fn serve() -> Done {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let served = hyper::server::conn::http1::Builder::new();
            let _ = served.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

fn reply(status: StatusCode, body: String) -> Response<Answer> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    if request.uri().path() == "/count" {
        let count =
            json!([REQUESTS.load(Ordering::Relaxed), CONNECTIONS.load(Ordering::Relaxed)]).to_string();
        return Ok(reply(StatusCode::OK, count));
    }
    REQUESTS.fetch_add(1, Ordering::Relaxed);
    if request.method() != Method::POST {
        return Ok(reply(StatusCode::METHOD_NOT_ALLOWED, String::new()));
    }
    let many = request.uri().path() == "/many";
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(reply(StatusCode::BAD_REQUEST, String::new())),
    };
    let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
        return Ok(reply(StatusCode::BAD_REQUEST, String::new()));
    };
    if asked.get("id").is_none() {
        return Ok(reply(StatusCode::ACCEPTED, String::new()));
    }
    let result = match asked["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bench", "version": "1"},
        }),
        "ping" => json!({}),
        "tools/list" => json!({"tools": tools(many)}),
        "tools/call" if asked["params"]["name"] == "drip" => return Ok(drip(&asked)),
        // Longer than anybody waits.
        "tools/call" if asked["params"]["name"] == "hang" => {
            tokio::time::sleep(std::time::Duration::from_mins(10)).await;
            json!({"content": []})
        }
        "tools/call" if asked["params"]["name"] == "big" => {
            let text = asked["params"]["arguments"]["text"].as_str().unwrap_or_default();
            json!({"content": [{"type": "text", "text": format!("{text}{}", "x".repeat(1 << 20))}]})
        }
        "tools/call" => {
            let text = asked["params"]["arguments"]["text"].as_str().unwrap_or_default();
            json!({"content": [{"type": "text", "text": text}]})
        }
        _ => {
            let error =
                json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}});
            return Ok(reply(StatusCode::NOT_FOUND, error.to_string()));
        }
    };
    Ok(reply(StatusCode::OK, json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string()))
}

/// A second of progress, ten times, and an answer.
fn drip(asked: &Value) -> Response<Answer> {
    let (id, token) = (asked["id"].clone(), asked["params"]["_meta"]["progressToken"].clone());
    let events = futures_util::stream::unfold(0, move |n| {
        let (id, token) = (id.clone(), token.clone());
        async move {
            let message = match n {
                0..10 => {
                    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": n}})
                }
                10 => {
                    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "done"}]}})
                }
                _ => return None,
            };
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            Some((Ok(Frame::data(Bytes::from(format!("data: {message}\n\n")))), n + 1))
        }
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    response
}

fn tools(many: bool) -> Vec<Value> {
    let tool = |name: String| {
        json!({
            "name": name,
            "description": "Says what it is told, and nothing else. ".repeat(12),
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        })
    };
    if many {
        (0..300).map(|n| tool(format!("tool_{n}"))).collect()
    } else {
        ["echo", "big", "drip", "hang"].map(|name| tool(name.to_owned())).into()
    }
}
