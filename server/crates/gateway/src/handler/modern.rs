//! 2026-07-28: each request stands alone.

use axum::response::Response;
use domain::mcp::{IMPLEMENTATION, MODERN, SUPPORTED, code, header as wire, json, meta, upstream::Method};
use http::{HeaderName, StatusCode};

use super::{CAPABILITIES, Era, Exchange, bad_request, invalid_params, single, unsupported_version};
use crate::reply::{RpcError, empty};

const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
/// How long a list may be kept by a client. Nothing tells it of changes yet, so it is short; a call is checked anyway.
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

    fn discover(&self) -> Response {
        let supported: Vec<_> = SUPPORTED.iter().map(|v| format!("\"{v}\"")).collect();
        let value = format!(
            r#"{{"supportedVersions":[{}],"capabilities":{CAPABILITIES}{}"#,
            supported.join(","),
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
