//! 2025-03-26 to 2025-11-25: sessions that `initialize` opens; and bare calls, which need neither.

use std::sync::Arc;

use axum::response::Response;
use domain::mcp::{ASSUMED, IMPLEMENTATION, LEGACY, MODERN, code, json, meta};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio_util::sync::CancellationToken;

use super::{
    CAPABILITIES, Era, Exchange, bad_request, invalid_params, method_not_allowed, methods::unknown_method,
    modern::missing_meta, single, unsupported_version,
};
use crate::{
    Inner,
    reply::{RpcError, empty},
    sessions::Holder,
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

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

impl Exchange<'_> {
    /// With a session, or without any state.
    pub(super) async fn legacy(
        &self,
        version: Option<&str>,
        holder: impl FnOnce() -> Holder,
    ) -> Result<Response, RpcError> {
        let inner = &*self.caller.inner;
        let Some(method) = self.message.method.as_deref() else {
            // A response: nothing was asked, so there is nothing to do with it; in a session that is no mistake.
            return match single(self.headers, &SESSION_ID)? {
                Some(id) if inner.sessions.touch(id, &holder()) => Ok(empty(StatusCode::ACCEPTED)),
                Some(_) => Err(session_not_found()),
                None => Err(bad_request(code::INVALID_REQUEST, "Responses are not expected here.")),
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
            Some(id) if inner.sessions.touch(id, &holder()) => Some(id),
            Some(_) => return Err(session_not_found()),
            None => None,
        };
        let era = if session.is_some() { Era::Legacy } else { Era::Bare };
        if self.message.id.is_none() {
            if let (Some(session), "notifications/cancelled", Some(request)) =
                (session, method, self.message.params.request_id)
            {
                inner.sessions.cancel(session, request);
            }
            return Ok(empty(StatusCode::ACCEPTED));
        }
        match method {
            "ping" => Ok(self.result(era, "{}")),
            "tools/list" => self.list(era),
            "tools/call" => self.call(era, session).await,
            _ => Err(unknown_method(era, method)),
        }
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
            r#"{{"protocolVersion":"{version}","capabilities":{CAPABILITIES},"serverInfo":{IMPLEMENTATION}}}"#
        );
        let mut response = self.result(Era::Legacy, &value);
        let session = self.caller.inner.sessions.open(holder());
        if let Ok(session) = HeaderValue::try_from(session) {
            response.headers_mut().insert(SESSION_ID, session);
        }
        Ok(response)
    }
}

/// A call that is noted in its session, so that it can be cancelled there.
pub(crate) struct Running {
    inner: Arc<Inner>,
    session: String,
    request: String,
    pub(crate) token: CancellationToken,
}

impl Running {
    pub(super) fn new(inner: &Arc<Inner>, session: &str, request: Option<&str>) -> Self {
        let request = request.unwrap_or_default().to_owned();
        let token = inner.sessions.run(session, &request);
        Self { inner: Arc::clone(inner), session: session.to_owned(), request, token }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.inner.sessions.ended(&self.session, &self.request);
    }
}
