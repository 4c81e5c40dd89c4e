//! 2025-03-26 to 2025-11-25: sessions that `initialize` opens; and bare calls, which need neither.

use axum::response::Response;
use domain::mcp::{
    ASSUMED, IMPLEMENTATION, LEGACY, MODERN,
    asks::Asks,
    code, json, meta,
    upstream::{LEVELS, Method},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    Accepts, CAPABILITIES, Caller, Era, Exchange, bad_request, invalid_params, method_not_allowed,
    modern::missing_meta, single, unsupported_version,
};
use crate::{
    Inner, attend, events,
    planes::ReadyConnector,
    reply::{RpcError, empty},
    resume,
    sessions::{Holder, Live},
};

/// Resources that one session can be told of.
const MAX_SUBSCRIPTIONS: usize = 256;
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

fn session_not_found() -> RpcError {
    RpcError::new(
        StatusCode::NOT_FOUND,
        code::INVALID_REQUEST,
        "There is no such session, or it has ended. Send initialize again.",
    )
    .word("session_not_found")
}

/// Ends a session.
pub(super) fn delete(inner: &Inner, headers: &HeaderMap, holder: &Holder) -> Response {
    match single(headers, &SESSION_ID) {
        Ok(Some(id)) if inner.sessions.close(id, holder) => empty(StatusCode::NO_CONTENT),
        Ok(Some(_)) => session_not_found().respond(None),
        // The modern era has no sessions to end.
        _ => method_not_allowed("POST").respond(None),
    }
}

/// Opens the stream of a session, or goes on with one that answers a call.
pub(super) async fn get(
    caller: &Caller,
    only: Option<&ReadyConnector>,
    headers: &HeaderMap,
    holder: &Holder,
) -> Result<Response, RpcError> {
    let inner = &caller.inner;
    // The modern era has no such streams, and what is no session cannot have one.
    let Some(id) = single(headers, &SESSION_ID)? else { return Err(method_not_allowed("POST, DELETE")) };
    let live = inner.sessions.find(id, holder).ok_or_else(session_not_found)?;
    if !Accepts::read(headers).events {
        return Err(RpcError::new(
            StatusCode::NOT_ACCEPTABLE,
            code::INVALID_REQUEST,
            "There is only an event stream to GET here: accept text/event-stream.",
        ));
    }
    let last_seen = single(headers, &HeaderName::from_static("last-event-id"))?;
    let permit = inner.limits.stream(caller)?;
    if let Some(id) = last_seen.filter(|id| resume::is_of_call(id)) {
        return Ok(resume::resume(caller.clone(), &live, id, permit).await);
    }
    Ok(events::get(caller.clone(), only.map(|only| only.plane.id), &live, last_seen, permit))
}

impl Exchange<'_> {
    /// With a session, or without any state.
    pub(super) async fn legacy(
        &self,
        version: Option<&str>,
        holder: impl FnOnce() -> Holder,
    ) -> Result<Response, RpcError> {
        let inner = &*self.caller.inner;
        let Some(method) = self.message.method.as_deref() else {
            // The answer to a question of ours, in the session where it was asked.
            return match (single(self.headers, &SESSION_ID)?, self.message.answer) {
                (Some(id), Some(outcome)) => {
                    let live = inner.sessions.find(id, &holder()).ok_or_else(session_not_found)?;
                    live.questions.answer(self.message.id.unwrap_or_default(), outcome);
                    Ok(empty(StatusCode::ACCEPTED))
                }
                _ => Err(bad_request(code::INVALID_REQUEST, "Responses are not expected here.")),
            };
        };
        if version == Some(MODERN) {
            // Header rules of notifications are not defined in that revision.
            return if self.message.id.is_none() {
                Ok(empty(StatusCode::ACCEPTED))
            } else {
                Err(missing_meta(meta::PROTOCOL_VERSION))
            };
        }
        if method == "initialize" {
            return self.initialize(holder);
        }
        let version = version.unwrap_or(ASSUMED);
        if !LEGACY.contains(&version) {
            return Err(unsupported_version(version));
        }
        let session = match single(self.headers, &SESSION_ID)? {
            Some(id) => Some(inner.sessions.find(id, &holder()).ok_or_else(session_not_found)?),
            None => None,
        };
        let session = session.as_ref();
        let era = if session.is_some() { Era::Legacy } else { Era::Bare };
        if self.message.id.is_none() {
            if let (Some(live), "notifications/cancelled", Some(request)) =
                (session, method, self.message.params.request_id)
            {
                live.cancel(request);
            }
            if let (Some(live), "notifications/roots/list_changed") = (session, method) {
                for connector in self.reachable() {
                    self.upstream(connector).roots_changed(attend::session(live));
                }
            }
            return Ok(empty(StatusCode::ACCEPTED));
        }
        match (method, session) {
            ("ping", _) => Ok(self.result(era, "{}")),
            ("logging/setLevel", Some(live)) => self.set_level(live),
            ("resources/subscribe", Some(live)) => self.subscribe(live, true).await,
            ("resources/unsubscribe", Some(live)) => self.subscribe(live, false).await,
            ("logging/setLevel" | "resources/subscribe" | "resources/unsubscribe", None) => Err(bad_request(
                code::INVALID_REQUEST,
                "This needs a session. Send initialize first, and its Mcp-Session-Id with each request.",
            )
            .word("session_required")),
            _ => self.common(era, session, method).await,
        }
    }

    /// From which level on the client wants log messages. It counts for the calls of its session, on the node that it is
    /// used on.
    fn set_level(&self, live: &Live) -> Result<Response, RpcError> {
        let level = self.message.params.others.iter().find(|(key, _)| *key == "level");
        let level = level.and_then(|(_, value)| json::string(value));
        let level = level.and_then(|level| LEVELS.iter().position(|known| *known == level));
        let level = level.ok_or_else(|| {
            invalid_params(&format!("logging/setLevel needs params.level, one of {}.", LEVELS.join(", ")))
        })?;
        live.set_level(level);
        Ok(self.result(Era::Legacy, "{}"))
    }

    /// Begins or ends to tell a session of changes of one resource.
    async fn subscribe(&self, live: &Live, on: bool) -> Result<Response, RpcError> {
        let method = if on { Method::Subscribe } else { Method::Unsubscribe };
        let uri = self.subject(method)?;
        if on {
            let (connector, own) = self.find_resource(Era::Legacy, &uri).await?;
            self.caller.trace.goes_to(&connector.plane, &own);
            let mut subscriptions = live.subscriptions();
            if subscriptions.len() >= MAX_SUBSCRIPTIONS {
                return Err(RpcError::new(
                    StatusCode::OK,
                    code::LIMITED,
                    format!("This session has {MAX_SUBSCRIPTIONS} subscriptions. End one first."),
                ));
            }
            subscriptions.insert(uri.into_owned());
        } else {
            live.subscriptions().remove(uri.as_ref());
        }
        live.changed.notify_one();
        Ok(self.result(Era::Legacy, "{}"))
    }

    fn initialize(&self, holder: impl FnOnce() -> Holder) -> Result<Response, RpcError> {
        if self.message.id.is_none() {
            return Err(bad_request(code::INVALID_REQUEST, "initialize needs an id."));
        }
        let requested = self.message.params.protocol_version.and_then(json::string);
        let requested =
            requested.ok_or_else(|| invalid_params("initialize needs params.protocolVersion."))?;
        let version = LEGACY.iter().find(|known| **known == requested).unwrap_or(&LEGACY[0]);
        let value = format!(
            r#"{{"protocolVersion":"{version}","capabilities":{CAPABILITIES},"serverInfo":{IMPLEMENTATION}{}}}"#,
            self.instructions()
        );
        let mut response = self.result(Era::Legacy, &value);
        let capabilities = self.message.params.others.iter().find(|(key, _)| *key == "capabilities");
        let asks = capabilities.map(|(_, value)| Asks::read(value)).unwrap_or_default();
        let session = self.caller.inner.sessions.open(holder(), asks, version);
        if let Ok(session) = HeaderValue::try_from(session) {
            response.headers_mut().insert(SESSION_ID, session);
        }
        Ok(response)
    }
}
