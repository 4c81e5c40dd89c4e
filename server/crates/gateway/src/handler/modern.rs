//! 2026-07-28: each request stands alone.

use axum::response::Response;
use domain::mcp::{IMPLEMENTATION, MODERN, SUPPORTED, code, header as wire, json, meta, upstream::Method};
use http::{HeaderName, StatusCode};

use super::{CAPABILITIES, Era, Exchange, bad_request, invalid_params, single, unsupported_version};
use crate::{
    events::{self, Filter},
    reply::{RpcError, empty},
};

const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Resources that one stream can tell of.
const MAX_SUBSCRIPTIONS: usize = 256;
/// How long a list may be kept by a client that does not listen for changes; a call is checked anyway.
const TTL_MS: u32 = 60_000;

impl Exchange<'_> {
    /// Its headers say the same as its body (RSV-08).
    pub(super) async fn modern(
        &self,
        claimed: &str,
        header_version: Option<&str>,
    ) -> Result<Response, RpcError> {
        if self.message.id.is_none() {
            return Ok(empty(StatusCode::ACCEPTED));
        }
        let version = json::string(claimed).ok_or_else(|| missing_meta(meta::PROTOCOL_VERSION))?;
        match header_version {
            None => return Err(mismatch("MCP-Protocol-Version", "is missing")),
            Some(header) if header != version => {
                return Err(mismatch("MCP-Protocol-Version", "does not match _meta"));
            }
            Some(_) if version != MODERN => return Err(unsupported_version(&version)),
            Some(_) => {}
        }
        let method = self.message.method.as_deref().unwrap_or_default();
        match single(self.headers, &MCP_METHOD).map_err(|_| mismatch("Mcp-Method", "is not valid"))? {
            None => return Err(mismatch("Mcp-Method", "is missing")),
            Some(header) if header != method => {
                return Err(mismatch("Mcp-Method", "does not match the method"));
            }
            Some(_) => {}
        }
        let capabilities = self.message.params.meta.as_ref().and_then(|meta| meta.client_capabilities);
        if !capabilities.is_some_and(|c| c.starts_with('{')) {
            return Err(missing_meta(meta::CLIENT_CAPABILITIES));
        }
        match method {
            "server/discover" => return Ok(self.discover()),
            "subscriptions/listen" => return self.listen().await,
            "tools/call" => self.check_name(Method::CallTool)?,
            "prompts/get" => self.check_name(Method::GetPrompt)?,
            "resources/read" => self.check_name(Method::ReadResource)?,
            _ => {}
        }
        self.common(Era::Modern, None, method).await
    }

    /// Whether `Mcp-Name` says what the body says.
    fn check_name(&self, method: Method) -> Result<(), RpcError> {
        let name = self.subject(method)?;
        let mut sent = self.headers.get_all(&MCP_NAME).iter();
        match (sent.next(), sent.next()) {
            (None, _) => Err(mismatch("Mcp-Name", "is missing")),
            (Some(header), None) if wire::decode(header).is_some_and(|header| header == name) => Ok(()),
            _ => Err(mismatch("Mcp-Name", "does not match the name or URI in params")),
        }
    }

    /// Tells of changes for as long as the client listens.
    async fn listen(&self) -> Result<Response, RpcError> {
        let others = &self.message.params.others;
        let wish = others.iter().find(|(key, _)| *key == "notifications").map(|(_, value)| *value);
        let wish = wish
            .filter(|wish| wish.starts_with('{'))
            .ok_or_else(|| invalid_params("subscriptions/listen needs params.notifications, an object."))?;
        if !self.accepts.events {
            return Err(RpcError::new(
                StatusCode::NOT_ACCEPTABLE,
                code::INVALID_REQUEST,
                "subscriptions/listen is answered with a stream: accept text/event-stream.",
            ));
        }
        let wants = |name| json::get(wish, name) == Some("true");
        let uris = json::get(wish, "resourceSubscriptions").map(json::elements);
        let filter = Filter {
            tools: wants("toolsListChanged"),
            prompts: wants("promptsListChanged"),
            resources: wants("resourcesListChanged"),
            uris: uris
                .into_iter()
                .flatten()
                .take(MAX_SUBSCRIPTIONS)
                .filter_map(|uri| Some(json::string(uri)?.into_owned()))
                .collect(),
        };
        let permit = self.caller.inner.limits.stream(self.caller)?;
        let id = self.message.id.unwrap_or("null");
        let only = self.only.map(|only| only.plane.id);
        Ok(events::listen(self.caller.clone(), only, id, filter, permit).await)
    }

    fn discover(&self) -> Response {
        let supported: Vec<_> = SUPPORTED.iter().map(|v| format!("\"{v}\"")).collect();
        let value = format!(
            r#"{{"supportedVersions":[{}],"capabilities":{CAPABILITIES}{}{}"#,
            supported.join(","),
            self.instructions(),
            tail()
        );
        self.result(Era::Modern, &value)
    }
}

/// What closes a result of the modern era that was written here.
pub(super) fn tail() -> String {
    format!(
        r#","resultType":"complete","ttlMs":{TTL_MS},"cacheScope":"private","_meta":{{"{}":{IMPLEMENTATION}}}}}"#,
        meta::SERVER_INFO
    )
}

pub(super) fn missing_meta(key: &str) -> RpcError {
    invalid_params(&format!("params._meta needs \"{key}\"."))
}

pub(super) fn mismatch(header: &str, what: &str) -> RpcError {
    bad_request(code::HEADER_MISMATCH, format!("Header mismatch: {header} {what}"))
}
