//! The transport of 2024-11-05: an event stream per session, whose first event names the address to post to. It is the
//! way of requests to such a server, and looks like streamable HTTP to whoever sends them.
//!
//! The address has to have the origin of the connector's own, as credentials go there; everything passes the guarded
//! client (SSR-01). When the stream breaks off its session is gone, and whoever comes next opens another.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tokio::{task::JoinHandle, time::timeout};
use url::Url;

use super::{Heard, Link, Owner, answer, empty, events};
use crate::{
    mcp::{
        envelope::incoming,
        exchange::Exchange,
        sse::Decoder,
        upstream::{Session, UpstreamError, http::essence},
    },
    net::{BodyStream, NetError},
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// What is sent that nobody waits for may take so long.
const SIDE_REQUEST: Duration = Duration::from_secs(10);

type Answered = Result<Response<BodyStream>, NetError>;

/// One open stream. Dropped, it ends.
struct Stream {
    link: Arc<Link>,
    endpoint: Uri,
    reader: JoinHandle<()>,
    /// It only waits for the answers of what is under way: nobody will say that its session is over.
    retired: AtomicBool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
        self.link.end(NetError::BadResponse);
    }
}

pub(in super::super) struct OldTransport {
    me: Weak<Self>,
    exchange: Arc<dyn Exchange>,
    uri: Uri,
    /// The connector's own.
    headers: HeaderMap,
    max_bytes: usize,
    /// How long the stream may take to open and to name the address.
    patience: Duration,
    streams: Mutex<HashMap<u64, Arc<Stream>>>,
    serial: AtomicU64,
}

/// An answer that says what is wrong.
fn wrong(error: UpstreamError) -> Response<BodyStream> {
    let mut response = empty(StatusCode::BAD_GATEWAY);
    response.extensions_mut().insert(error);
    response
}

/// The address that an `endpoint` event names, if it may be used.
fn endpoint(base: &Uri, named: &str) -> Option<Uri> {
    let base = Url::parse(&base.to_string()).ok()?;
    let url = base.join(named.trim()).ok()?;
    let same = url.origin() == base.origin() && url.username().is_empty() && url.password().is_none();
    same.then(|| url.as_str().parse().ok())?
}

impl OldTransport {
    pub(in super::super) fn new(
        exchange: Arc<dyn Exchange>,
        uri: Uri,
        headers: HeaderMap,
        max_bytes: usize,
        patience: Duration,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            exchange,
            uri,
            headers,
            max_bytes,
            patience,
            streams: Mutex::default(),
            serial: AtomicU64::new(1),
        })
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream_of(&self, headers: &HeaderMap) -> Option<(u64, Arc<Stream>)> {
        let serial = headers.get(&SESSION_ID)?.to_str().ok()?.parse().ok()?;
        let stream = self.streams().get(&serial).filter(|stream| !stream.link.has_ended()).cloned();
        Some((serial, stream?))
    }

    /// Opens a stream and waits for its address. What the server answers instead is told as it is.
    async fn open(&self) -> Result<(u64, Arc<Stream>), Answered> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let events = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(header::ACCEPT, events);
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let response = self.exchange.send(request).await.map_err(Err)?;
        if !response.status().is_success() || essence(response.headers()) != "text/event-stream" {
            return Err(Ok(response));
        }
        let mut body = response.into_body();
        let mut decoder = Decoder::new(self.max_bytes);
        let first = loop {
            match decoder.take() {
                Ok(Some(event)) => break event,
                Ok(None) => {}
                Err(_) => return Err(Ok(wrong(UpstreamError::TooLarge(self.max_bytes)))),
            }
            match body.next().await {
                Some(chunk) => decoder.push(&chunk.map_err(Err)?),
                None => return Err(Err(NetError::BadResponse)),
            }
        };
        let named = std::str::from_utf8(&first.data).unwrap_or_default();
        if first.kind.as_deref() != Some("endpoint") {
            return Err(Ok(wrong(UpstreamError::Protocol(
                "its event stream does not begin with an address",
            ))));
        }
        let Some(endpoint) = endpoint(&self.uri, named) else {
            return Err(Ok(wrong(UpstreamError::Protocol("it wants to be answered at another server"))));
        };
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let link = Arc::<Link>::default();
        let reader = Reader {
            owner: Weak::clone(&self.me),
            link: Arc::clone(&link),
            serial,
            endpoint: endpoint.clone(),
            max_bytes: self.max_bytes,
        };
        let stream = Arc::new(Stream {
            link,
            endpoint,
            reader: tokio::spawn(reader.read(body, decoder)),
            retired: AtomicBool::new(false),
        });
        let over = |stream: &Stream| {
            stream.retired.load(Ordering::Relaxed) && stream.link.end_if_quiet(NetError::BadResponse)
        };
        let mut streams = self.streams();
        let ended: Vec<_> = streams.extract_if(|_, stream| over(stream)).collect();
        streams.insert(serial, Arc::clone(&stream));
        drop(streams);
        drop(ended);
        Ok((serial, stream))
    }

    /// Posts a message to the address of a stream.
    async fn post_to(&self, endpoint: &Uri, mut headers: HeaderMap, body: Bytes) -> Answered {
        headers.remove(&SESSION_ID);
        headers.remove(&PROTOCOL_VERSION);
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.clone();
        *request.headers_mut() = headers;
        self.exchange.send(request).await
    }

    async fn post(&self, request: Request<Bytes>) -> Answered {
        let (head, body) = request.into_parts();
        let text = std::str::from_utf8(&body).map_err(|_| NetError::BadResponse)?;
        let message = incoming(text).ok_or(NetError::BadResponse)?;
        let (serial, stream) = if message.method.as_deref() == Some("initialize") {
            match timeout(self.patience, self.open()).await {
                Ok(Ok(opened)) => opened,
                Ok(Err(answered)) => return answered,
                Err(_) => return Ok(wrong(UpstreamError::Timeout(self.patience))),
            }
        } else {
            match self.stream_of(&head.headers) {
                Some(found) => found,
                None => return Ok(empty(StatusCode::NOT_FOUND)),
            }
        };
        let owner = match message.method.as_deref() {
            Some("initialize") => Owner::Handshake,
            _ => Owner::of(head.extensions.get::<Session>()),
        };
        match (&message.method, message.id) {
            (None, Some(question)) => stream.link.answered(question),
            // Another stream, then, so that it stays certain whom this one asks.
            (Some(_), Some(_)) if stream.link.asks_another(owner) => {
                stream.retired.store(true, Ordering::Relaxed);
                return Ok(empty(StatusCode::NOT_FOUND));
            }
            _ => {}
        }
        let id = message.method.as_ref().and(message.id).and_then(|id| id.parse::<u64>().ok());
        let waiting = id.map(|id| stream.link.expect(id, owner, false)).transpose()?;
        let posted = self.post_to(&stream.endpoint, head.headers, body.clone()).await?;
        let status = posted.status();
        if !status.is_success() {
            if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
                // Its session is gone there, so it is here.
                self.streams().remove(&serial);
            }
            return Ok(posted);
        }
        let Some(waiting) = waiting else { return Ok(empty(StatusCode::ACCEPTED)) };
        let mut answered = answer(waiting).await?;
        if owner == Owner::Handshake {
            answered.headers_mut().insert(SESSION_ID, HeaderValue::from(serial));
        }
        Ok(answered)
    }
}

impl Exchange for OldTransport {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Answered> {
        Box::pin(async move {
            match *request.method() {
                Method::POST => self.post(request).await,
                Method::GET => match self.stream_of(request.headers()) {
                    Some((_, stream)) => events(&stream.link),
                    None => Ok(empty(StatusCode::NOT_FOUND)),
                },
                _ => {
                    let found = self.stream_of(request.headers());
                    let ended = found.and_then(|(serial, _)| self.streams().remove(&serial));
                    drop(ended);
                    Ok(empty(StatusCode::NO_CONTENT))
                }
            }
        })
    }
}

/// Takes what comes on a stream to where it belongs, until it ends.
struct Reader {
    owner: Weak<OldTransport>,
    link: Arc<Link>,
    serial: u64,
    endpoint: Uri,
    max_bytes: usize,
}

impl Reader {
    async fn read(self, mut body: BodyStream, mut decoder: Decoder) {
        let why = loop {
            match decoder.take() {
                Ok(Some(event)) if event.kind.is_none() => {
                    if let Heard::Reply(reply) = self.link.hear(event.data) {
                        self.reply(reply);
                    }
                    continue;
                }
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(_) => break crate::net::ProcessFault::TooLarge(self.max_bytes).into(),
            }
            match body.next().await {
                Some(Ok(chunk)) => decoder.push(&chunk),
                Some(Err(why)) => break why,
                None => break NetError::BadResponse,
            }
        };
        if let Some(owner) = self.owner.upgrade() {
            // Only from the map: its own end would end this.
            let stream = owner.streams().remove(&self.serial);
            self.link.end(why);
            drop(stream);
        }
    }

    fn reply(&self, reply: String) {
        let (owner, endpoint) = (Weak::clone(&self.owner), self.endpoint.clone());
        tokio::spawn(async move {
            let Some(owner) = owner.upgrade() else { return };
            let mut headers = owner.headers.clone();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let _ = timeout(SIDE_REQUEST, owner.post_to(&endpoint, headers, reply.into())).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_to_post_to_has_the_origin_of_the_stream() {
        let base = Uri::from_static("https://mcp.example.com:8443/base/sse?key=1");
        let found = |named| endpoint(&base, named).map(|uri| uri.to_string());
        assert_eq!(found("/messages?s=1").as_deref(), Some("https://mcp.example.com:8443/messages?s=1"));
        assert_eq!(found("messages").as_deref(), Some("https://mcp.example.com:8443/base/messages"));
        assert_eq!(
            found("https://mcp.example.com:8443/x").as_deref(),
            Some("https://mcp.example.com:8443/x")
        );
        for elsewhere in [
            "https://mcp.example.com/x",
            "http://mcp.example.com:8443/x",
            "//evil.example.com/x",
            "https://evil.example.com:8443/",
            "https://user@mcp.example.com:8443/x",
            "\\\\evil.example.com\\x",
            "javascript:alert(1)",
        ] {
            assert_eq!(found(elsewhere), None, "{elsewhere}");
        }
    }
}
