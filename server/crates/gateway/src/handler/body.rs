//! What HTTP says about a message, and its body.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use domain::mcp::code;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use super::bad_request;
use crate::{Inner, reply::RpcError};

/// A body that brings less than this many bytes in [`BODY_WINDOW`] is cut (REQ-04).
const BODY_LEAST: usize = 30 << 10;
const BODY_WINDOW: Duration = Duration::from_secs(30);

/// What a client takes as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    pub(super) json: bool,
    pub(super) events: bool,
}

impl Accepts {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut accepts = Self { json: false, events: false };
        let mut values = headers.get_all(header::ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Self { json: true, events: true };
        }
        for range in values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let refused = parts.any(|p| {
                p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")).is_some_and(|q| q.parse() == Ok(0f32))
            });
            if !refused {
                accepts.json |= matches!(kind.as_str(), "*/*" | "application/*" | "application/json");
                accepts.events |= matches!(kind.as_str(), "*/*" | "text/*" | "text/event-stream");
            }
        }
        accepts
    }
}

/// Checks what HTTP says about the body, and reads it (REQ-01, REQ-03).
pub(super) async fn transport(
    inner: &Inner,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Accepts, Bytes), RpcError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(RpcError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::INVALID_REQUEST,
            "Send the message with Content-Type: application/json.",
        )
        .word("unsupported_media_type"));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(RpcError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::INVALID_REQUEST,
            "Send the message without Content-Encoding.",
        )
        .word("unsupported_media_type"));
    }
    let accepts = Accepts::read(headers);
    if !accepts.json && !accepts.events {
        return Err(RpcError::new(
            StatusCode::NOT_ACCEPTABLE,
            code::INVALID_REQUEST,
            "Answers are application/json or text/event-stream: accept at least one of them.",
        )
        .word("not_acceptable"));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > inner.settings.max_body) {
        return Err(too_large(inner.settings.max_body));
    }
    Ok((accepts, read(body, inner.settings.max_body, length).await?))
}

fn too_large(max: usize) -> RpcError {
    RpcError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        code::INVALID_REQUEST,
        format!("The message is larger than {} MiB.", max >> 20),
    )
    .word("too_large")
    // What is left of the body is not read.
    .header(header::CONNECTION, HeaderValue::from_static("close"))
}

async fn read(mut body: Body, max: usize, length: Option<usize>) -> Result<Bytes, RpcError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let (mut window_end, mut in_window) = (Instant::now() + BODY_WINDOW, 0);
    loop {
        let frame = match timeout_at(window_end, body.frame()).await {
            Err(_) if in_window >= BODY_LEAST => {
                (window_end, in_window) = (Instant::now() + BODY_WINDOW, 0);
                continue;
            }
            Err(_) => {
                return Err(RpcError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    code::INVALID_REQUEST,
                    "The message arrived too slowly.",
                )
                .header(header::CONNECTION, HeaderValue::from_static("close")));
            }
            Ok(frame) => frame,
        };
        let Some(frame) = frame else { break };
        let Ok(frame) = frame else {
            return Err(bad_request(code::PARSE, "The message broke off.").word("parse_error"));
        };
        let Ok(data) = frame.into_data() else { continue };
        in_window += data.len();
        if first.len() + all.len() + data.len() > max {
            return Err(too_large(max));
        }
        // Nearly every message is one piece, which is then not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.reserve(length.unwrap_or(first.len() + data.len()));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: Option<&'static str>) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        }
        let accepts = Accepts::read(&headers);
        (accepts.json, accepts.events)
    }

    #[test]
    fn req_03_accept_is_read_with_wildcards_and_refusals() {
        assert_eq!(accepts(None), (true, true));
        assert_eq!(accepts(Some("*/*")), (true, true));
        assert_eq!(accepts(Some("application/json, text/event-stream")), (true, true));
        assert_eq!(accepts(Some("Application/JSON;q=0.5")), (true, false));
        assert_eq!(accepts(Some("text/*")), (false, true));
        assert_eq!(accepts(Some("application/json;q=0, text/event-stream")), (false, true));
        assert_eq!(accepts(Some("text/html")), (false, false));
    }
}
