//! Agreeing with a server on an era.

use std::sync::{
    Arc, PoisonError,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, header};
use tokio::time::timeout;

use super::{
    Agreed, Era, Failure, Inner, LOCKS, SESSION_ID,
    incoming::{ERROR_BODY, essence},
    outgoing::write_meta,
    session::ServerSession,
};
use crate::{
    mcp::{
        IMPLEMENTATION, LEGACY, MODERN, code, json, meta,
        sse::Decoder,
        upstream::{Call, Session, UpstreamError},
    },
    net::{NetError, ProcessFault},
};

/// A short text of a server about itself.
fn label(object: Option<&str>, name: &str) -> Option<String> {
    let text = json::string(json::get(object?, name)?)?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(128).collect();
    (!text.is_empty()).then_some(text)
}

/// What a server says about how to use it, without characters that hide something, and not too much of it.
fn instructions(result: &str) -> Option<String> {
    const LONGEST: usize = 4096;
    let text = json::get(result, "instructions").and_then(json::string)?;
    let text: String =
        text.chars().filter(|c| *c == '\n' || model::text::printable(*c)).take(LONGEST).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What a result of the handshake says that the server can do.
fn capabilities(result: &str) -> String {
    json::get(result, "capabilities").filter(|c| c.starts_with('{')).unwrap_or("{}").to_owned()
}

impl Inner {
    pub(in super::super) async fn connect(
        self: &Arc<Self>,
        session: Session,
    ) -> Result<Arc<Agreed>, UpstreamError> {
        if let Some(agreed) = self.current(session) {
            return Ok(agreed);
        }
        // The one lock that is held across an await: whoever waits for it has nothing to do without its outcome. Clients
        // with sessions of their own need not wait for each other.
        let lock = session.client.map_or(0, |client| (client % LOCKS as u128) as usize);
        let _one_at_a_time = self.connecting[lock].lock().await;
        if let Some(agreed) = self.current(session) {
            return Ok(agreed);
        }
        let agreed = Arc::new(self.negotiate(session).await?);
        self.agreements().put(session, &agreed);
        Ok(agreed)
    }

    /// What the server is known to speak; otherwise modern, then legacy: only a result or an error of the modern era
    /// proves the modern era. A client of the legacy era gets a session where the server offers it too: then nothing has
    /// to be translated.
    async fn negotiate(self: &Arc<Self>, session: Session) -> Result<Agreed, UpstreamError> {
        let mut known = self.agreed.read().unwrap_or_else(PoisonError::into_inner).wants_legacy(session);
        if known == Some(true) {
            match self.initialize(session).await {
                // It may have been exchanged for one of the other era.
                Err(
                    UpstreamError::Refused(_)
                    | UpstreamError::NotMcp(_)
                    | UpstreamError::Protocol(_)
                    | UpstreamError::UnsupportedVersion,
                ) => {
                    self.set_old(false);
                    self.agreements().speaks_modern = None;
                    known = None;
                }
                other => return other,
            }
        }
        if known != Some(true) {
            let found = match self.discover().await {
                // It has named the very revision that it was asked in: once more, then.
                Err(UpstreamError::Refused(code::UNSUPPORTED_VERSION)) => self.discover().await,
                other => other,
            };
            match found {
                Ok(Some((agreed, speaks_legacy))) => {
                    {
                        let mut agreements = self.agreements();
                        agreements.speaks_modern = Some(true);
                        agreements.speaks_legacy = speaks_legacy;
                    }
                    if !(session.legacy && speaks_legacy) {
                        return Ok(agreed);
                    }
                    let modern = Arc::new(agreed);
                    self.agreements().put(Session::default(), &modern);
                }
                // Some servers end when they are asked what they do not know. The next process is not.
                Err(UpstreamError::Net(NetError::Process(ProcessFault::Ended(_)))) => {}
                // These would be the same again.
                Err(
                    error @ (UpstreamError::Net(_)
                    | UpstreamError::NeedsAuth { status: 401, .. }
                    | UpstreamError::NotAuthorized(_)
                    | UpstreamError::Redirect
                    | UpstreamError::Busy { .. }
                    | UpstreamError::UnsupportedVersion),
                ) => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        match self.initialize(session).await {
            Ok(agreed) => {
                let mut agreements = self.agreements();
                agreements.speaks_modern.get_or_insert(false);
                agreements.speaks_legacy = true;
                Ok(agreed)
            }
            Err(
                error @ (UpstreamError::WebPage
                | UpstreamError::NotMcp(_)
                | UpstreamError::Refused(_)
                | UpstreamError::Protocol(_)),
            ) => {
                if !self.offers_old_transport().await {
                    return Err(error);
                }
                self.set_old(true);
                let agreed = self.initialize(session).await;
                if agreed.is_err() {
                    self.set_old(false);
                    self.agreements().speaks_modern = None;
                }
                agreed
            }
            other => other,
        }
    }

    /// What the server says to the modern era, and whether it says that it speaks the legacy era too.
    async fn discover(self: &Arc<Self>) -> Result<Option<(Agreed, bool)>, UpstreamError> {
        let modern = |server_name, server_version| Agreed {
            era: Era::Modern,
            version: MODERN,
            session: None,
            side: None,
            server_name,
            server_version,
            instructions: None,
            capabilities: "{}".to_owned(),
            level: AtomicU8::new(u8::MAX),
            asked_roots: AtomicBool::new(false),
        };
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut params = String::new();
        write_meta(&mut params, &modern(None, None), &Call::default(), id);
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{{{params}}}}}"#);
        let request = self.post(Some(&modern(None, None)), "server/discover", None, body);
        let mut patience = self.settings.patience(None);
        patience.first_byte = self.settings.probe;
        let reply = self.exchange(request, None, id, patience, None).await.map_err(Failure::error)?;
        let answer = reply.finish().await?;
        let versions = |list: Option<&str>, version: &str| {
            json::elements(list.unwrap_or_default()).filter_map(json::string).any(|v| v == version)
        };
        let text = answer.text();
        match answer.error {
            None => {
                // Some servers have an answer to everything.
                let Some(supported) = json::get(text, "supportedVersions") else { return Ok(None) };
                let supported = Some(supported);
                if !versions(supported, MODERN) {
                    return if LEGACY.iter().any(|v| versions(supported, v)) {
                        Ok(None)
                    } else {
                        Err(UpstreamError::UnsupportedVersion)
                    };
                }
                let info = json::get(text, "_meta")
                    .and_then(|m| json::get(m, meta::SERVER_INFO))
                    .or_else(|| json::get(text, "serverInfo"));
                let mut agreed = modern(label(info, "name"), label(info, "version"));
                agreed.capabilities = capabilities(text);
                agreed.instructions = instructions(text);
                Ok(Some((agreed, LEGACY.iter().any(|v| versions(supported, v)))))
            }
            Some(code::UNSUPPORTED_VERSION) => {
                let supported = json::get(text, "data").and_then(|data| json::get(data, "supported"));
                if versions(supported, MODERN) {
                    Err(UpstreamError::Refused(code::UNSUPPORTED_VERSION))
                } else if LEGACY.iter().any(|v| versions(supported, v)) {
                    Ok(None)
                } else {
                    Err(UpstreamError::UnsupportedVersion)
                }
            }
            Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY) => Ok(Some((modern(None, None), false))),
            Some(_) => Ok(None),
        }
    }

    async fn initialize(self: &Arc<Self>, session: Session) -> Result<Agreed, UpstreamError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{}","capabilities":{},"clientInfo":{IMPLEMENTATION}}}}}"#,
            LEGACY[0],
            session.asks.capabilities()
        );
        let request = self.post(None, "initialize", None, body);
        let response = self.head(request, self.settings.handshake).await?;
        // A client with a session of its own may open its stream itself.
        let beside = session.client.is_none() && !session.asks.is_empty();
        let session = response.headers().get(&SESSION_ID).cloned();
        if session.as_ref().is_some_and(|id| !id.as_bytes().iter().all(u8::is_ascii_graphic)) {
            return Err(UpstreamError::Protocol("its session id has forbidden characters"));
        }
        let patience = self.settings.patience(None);
        let reply = self.receive(response, None, id, patience).await.map_err(Failure::error)?;
        let answer = reply.finish().await?;
        if let Some(code) = answer.error {
            return Err(UpstreamError::Refused(code));
        }
        let text = answer.text();
        let version = json::get(text, "protocolVersion")
            .and_then(json::string)
            .ok_or(UpstreamError::Protocol("its handshake names no version"))?;
        let version =
            LEGACY.iter().find(|v| **v == version).copied().ok_or(UpstreamError::UnsupportedVersion)?;
        let info = json::get(text, "serverInfo");
        let mut agreed = Agreed {
            era: Era::Legacy,
            version,
            session: session.map(|id| ServerSession::new(self, id, version)),
            side: None,
            server_name: label(info, "name"),
            server_version: label(info, "version"),
            instructions: instructions(text),
            capabilities: capabilities(text),
            level: AtomicU8::new(u8::MAX),
            asked_roots: AtomicBool::new(false),
        };
        let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
        let request = self.post(Some(&agreed), "notifications/initialized", None, body);
        // Whether the server liked it shows with the next request.
        self.head(request, self.settings.first_byte).await?;
        // On one channel for everything there is nothing beside it.
        if beside && agreed.has_session() && !self.is_channel() {
            agreed.side = self.open_side(&agreed).await;
        }
        Ok(agreed)
    }

    /// Whether a GET opens the event stream of 2024-11-05, whose first event is `endpoint`.
    async fn offers_old_transport(&self) -> bool {
        let mut request = http::Request::new(Bytes::new());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let look = async {
            let response = self.exchange.send(request).await.ok()?;
            if !response.status().is_success() || essence(response.headers()) != "text/event-stream" {
                return None;
            }
            let mut body = response.into_body();
            let mut decoder = Decoder::new(ERROR_BODY);
            loop {
                decoder.push(&body.next().await?.ok()?);
                if let Some(event) = decoder.take().ok()? {
                    return Some(event.kind.as_deref() == Some("endpoint"));
                }
            }
        };
        timeout(self.settings.probe, look).await.ok().flatten().unwrap_or(false)
    }
}
