//! One small exchange with an authorization server: through the guard, without redirects, with narrow limits (SSR-04).

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::{
    Env,
    net::{Blocked, NetError},
};

/// The largest answer, bytes.
const LARGEST: usize = 256 << 10;

/// An answer that was read to its end.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answered {
    /// The body as a JSON object.
    pub(super) fn object(&self) -> Option<Map<String, Value>> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Some(object),
            _ => None,
        }
    }
}

/// Sends a request and reads the answer whole, in ten seconds from the name to the last byte.
///
/// # Errors
/// [`NetError`]; an answer over the limit is a bad response.
pub(super) async fn send(env: &Env, request: http::Request<Bytes>) -> Result<Answered, NetError> {
    let exchange = async {
        let (head, mut stream) = env.outbound.send(request).await?.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = stream.next().await {
            body.extend_from_slice(&piece?);
            if body.len() > LARGEST {
                return Err(NetError::BadResponse);
            }
        }
        Ok(Answered { status: head.status, headers: head.headers, body })
    };
    tokio::time::timeout(env.upstream.patience, exchange).await.unwrap_or(Err(NetError::Timeout))
}

/// Asks for a JSON document.
pub(super) async fn get(env: &Env, url: &str) -> Result<Answered, NetError> {
    let request = http::Request::get(url)
        .header(header::ACCEPT, "application/json")
        // Servers that differ by revision get to know ours (2026-07-28, basic/authorization).
        .header("mcp-protocol-version", crate::mcp::MODERN)
        .body(Bytes::new())
        .map_err(|_| NetError::Blocked(Blocked::Host))?;
    send(env, request).await
}

/// Sends a JSON document.
pub(super) async fn post(env: &Env, url: &str, document: &Value) -> Result<Answered, NetError> {
    let request = http::Request::post(url)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(document.to_string()))
        .map_err(|_| NetError::Blocked(Blocked::Host))?;
    send(env, request).await
}
