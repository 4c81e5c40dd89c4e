//! Answers: JSON-RPC messages around values that are not copied, and the HTTP around them.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use domain::mcp::{json, sse};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::{Frame, SizeHint};

/// Answers below this size become one piece: a copy is cheaper than another write.
const JOIN_BELOW: usize = 16 << 10;

/// A body of a few pieces whose length is known.
struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        if let Some(piece) = &piece {
            self.left -= piece.len() as u64;
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A JSON-RPC message with a value in its middle that is not copied when it is large.
pub(crate) struct Message {
    before: Vec<u8>,
    value: Vec<Bytes>,
    after: Vec<u8>,
}

impl Message {
    /// `{"jsonrpc":"2.0","id":…,"{member}":` and what will follow.
    pub(crate) fn new(id: Option<&str>, member: &str) -> Self {
        let id = id.unwrap_or("null");
        let mut before = Vec::with_capacity(id.len() + member.len() + 48);
        before.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        before.extend_from_slice(id.as_bytes());
        before.extend_from_slice(br#",""#);
        before.extend_from_slice(member.as_bytes());
        before.extend_from_slice(br#"":"#);
        Self { before, value: Vec::new(), after: Vec::new() }
    }

    /// Writes text; before the first value it stands before it, else behind all.
    pub(crate) fn text(mut self, text: &str) -> Self {
        let to = if self.value.is_empty() { &mut self.before } else { &mut self.after };
        to.extend_from_slice(text.as_bytes());
        self
    }

    /// Puts a value; text written from now on stands behind it.
    pub(crate) fn value(mut self, value: Bytes) -> Self {
        self.value.push(value);
        self
    }

    fn pieces(mut self) -> VecDeque<Bytes> {
        self.after.push(b'}');
        let length: usize =
            self.before.len() + self.after.len() + self.value.iter().map(Bytes::len).sum::<usize>();
        if length <= JOIN_BELOW {
            let mut all = self.before;
            all.reserve_exact(length - all.len());
            for value in &self.value {
                all.extend_from_slice(value);
            }
            all.extend_from_slice(&self.after);
            return VecDeque::from([all.into()]);
        }
        let mut pieces = VecDeque::with_capacity(self.value.len() + 2);
        pieces.push_back(self.before.into());
        pieces.extend(self.value);
        pieces.push_back(self.after.into());
        pieces
    }

    /// The whole message in one piece.
    pub(crate) fn joined(self) -> Bytes {
        let mut pieces = self.pieces();
        if pieces.len() == 1 {
            return pieces.pop_front().unwrap_or_default();
        }
        let mut message = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
        for piece in &pieces {
            message.extend_from_slice(piece);
        }
        message.into()
    }

    /// The whole message as one event of a stream.
    pub(crate) fn event(self) -> Bytes {
        let mut out = Vec::new();
        sse::encode(&mut out, &self.joined());
        out.into()
    }

    /// The whole message as a body of JSON.
    pub(crate) fn json(self, status: StatusCode) -> Response {
        let pieces = self.pieces();
        let left = pieces.iter().map(|p| p.len() as u64).sum();
        let body = Body::new(Pieces { pieces, left });
        finish(status, HeaderValue::from_static("application/json"), body)
    }
}

fn finish(status: StatusCode, kind: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An event stream (REQ-06).
pub(crate) fn events(body: Body) -> Response {
    let mut response = finish(StatusCode::OK, HeaderValue::from_static("text/event-stream"), body);
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON-RPC error and its HTTP status.
#[derive(Debug)]
pub(crate) struct RpcError {
    pub(crate) status: StatusCode,
    pub(crate) code: i64,
    pub(crate) message: String,
    /// `data`, as JSON.
    pub(crate) data: Option<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl RpcError {
    pub(crate) fn new(status: StatusCode, code: i64, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), data: None, headers: Vec::new() }
    }

    /// Adds `data.code`, the word for programs.
    pub(crate) fn word(self, word: &str) -> Self {
        let data = format!(r#"{{"code":"{word}"}}"#);
        self.data(data)
    }

    pub(crate) fn data(mut self, data: String) -> Self {
        self.data = Some(data);
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The message, for the request with this id.
    pub(crate) fn message(&self, id: Option<&str>) -> Message {
        let data = self.data.as_ref().map_or(String::new(), |data| format!(r#","data":{data}"#));
        Message::new(id, "error").text(&format!(
            r#"{{"code":{},"message":{}{data}}}"#,
            self.code,
            json::quoted(&self.message)
        ))
    }

    /// The whole answer, for the request with this id.
    pub(crate) fn respond(self, id: Option<&str>) -> Response {
        let mut response = self.message(id).json(self.status);
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}
