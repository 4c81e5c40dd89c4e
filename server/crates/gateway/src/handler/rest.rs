//! Tools without MCP: `POST /v1/mcp/invoke` and `GET /v1/mcp/tools`.
//!
//! Both become a message to the organisation's own MCP endpoint and take its way, so that there is one place that
//! authenticates, authorises, limits and logs (RSV-14). What comes back is told as REST tells it: a result, or a problem
//! (RFC 9457).

use std::{fmt::Write as _, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use domain::{
    mcp::{
        code,
        json::{self, Limits},
    },
    request::RequestId,
    tokens::Refused,
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request};
use http_body_util::BodyExt as _;
use model::{ConnectorSlug, OrgId, paths};

use super::{address, body, check_address, judged, unavailable};
use crate::{
    Gateway, Inner,
    auth::{self, Credential, Endpoint, Presented},
    guard,
    limits::tell,
    metadata::well_formed,
    planes::Ready,
    reply::RpcError,
};

/// The problem type of limits (draft-ietf-httpapi-ratelimit-headers).
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Calls a tool.
pub(crate) async fn invoke(State(gateway): State<Gateway>, request: Request) -> Response {
    answer(&gateway, request, Wanted::Invoke).await
}

/// Lists tools.
pub(crate) async fn tools(State(gateway): State<Gateway>, request: Request) -> Response {
    answer(&gateway, request, Wanted::Tools).await
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Invoke,
    Tools,
}

async fn answer(gateway: &Gateway, request: Request, wanted: Wanted) -> Response {
    let (head, body) = request.into_parts();
    let inner = &gateway.0;
    let request_id = head.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let origin = match inner.site.check(&head.uri, &head.headers) {
        Ok(origin) => origin.cloned(),
        Err(error) => return problem(&error, &request_id),
    };
    if let Some(origin) = &origin
        && guard::is_preflight(&head.method, &head.headers)
    {
        return guard::preflight(&head.headers, origin);
    }
    let mut response =
        asked(inner, head, body, wanted).await.unwrap_or_else(|error| problem(&error, &request_id));
    if let Some(origin) = &origin {
        guard::cors(&mut response, origin);
    }
    response
}

fn invalid(message: impl Into<String>) -> RpcError {
    RpcError::new(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, message).word("invalid_request")
}

/// Nobody, or nobody who is known. Which organisation it would be is not known either, so no metadata is named.
fn unauthenticated(sent: bool) -> RpcError {
    let (word, message) = if sent {
        (
            "credential_invalid",
            "The credential is not valid. Check the key or token, that it is enabled and has not expired.",
        )
    } else {
        (
            "credential_missing",
            "Send an API key as X-API-Key, or a key or access token as Authorization: Bearer.",
        )
    };
    let challenge = if sent { "Bearer error=\"invalid_token\"" } else { "Bearer" };
    RpcError::new(StatusCode::UNAUTHORIZED, code::UNAUTHENTICATED, message)
        .word(word)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

async fn asked(
    inner: &Arc<Inner>,
    head: request::Parts,
    body: Body,
    wanted: Wanted,
) -> Result<Response, RpcError> {
    let org = whose(inner, &head).await?;
    let ready = inner.planes.ready(org).await.map_err(|_| unavailable())?;
    let ready = ready.ok_or_else(|| unauthenticated(true))?;
    let slug = ready.plane.slug.as_str();
    let endpoint = Endpoint { site: &inner.site, slug, connector: None, at: None };
    passed(inner, &ready, endpoint, (head, body), wanted).await
}

/// The same on a domain of the organisation's own: whose it is says the host, and only credentials of theirs are looked at.
pub(crate) async fn at_domain(
    inner: &Arc<Inner>,
    ready: &Ready,
    endpoint: Endpoint<'_>,
    (head, body): (request::Parts, Body),
    wanted: Wanted,
) -> Response {
    let request_id = head.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let answer = async {
        check_address(inner, ready, &head)?;
        let presented = auth::presented(&head.headers, head.uri.query(), &endpoint)?;
        if matches!(presented, Presented::Nothing) {
            return Err(endpoint.missing());
        }
        // What another organisation's provider issued is judged where tokens are; of all others it is known whose they are.
        if Credential::of_provider(&presented, &endpoint).is_none() {
            match whose(inner, &head).await {
                Ok(org) if org == ready.plane.org => {}
                Err(error) if error.status != StatusCode::UNAUTHORIZED => return Err(error),
                Ok(_) | Err(_) => return Err(endpoint.invalid()),
            }
        }
        passed(inner, ready, endpoint, (head, body), wanted).await
    };
    answer.await.unwrap_or_else(|error: RpcError| problem(&error, &request_id))
}

async fn passed(
    inner: &Arc<Inner>,
    ready: &Ready,
    endpoint: Endpoint<'_>,
    (mut head, body): (request::Parts, Body),
    wanted: Wanted,
) -> Result<Response, RpcError> {
    let request_id = head.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let (connector, message) = match wanted {
        Wanted::Tools => (None, list(head.uri.query())),
        Wanted::Invoke => {
            let (_, body) = body::transport(inner, &plain(&head.headers, None), body).await?;
            let (connector, message) = call(&body)?;
            (Some(connector), message)
        }
    };
    let endpoint = Endpoint { connector: connector.as_deref(), ..endpoint };
    head.headers = plain(&head.headers, Some(message.len()));
    head.method = http::Method::POST;
    let answer = judged(inner, endpoint, head, Body::from(message)).await;
    told(ready, answer, wanted, &request_id).await
}

/// What of a request's headers goes on: who asks. What it says of the protocol is none of it.
fn plain(headers: &HeaderMap, length: Option<usize>) -> HeaderMap {
    let mut plain = headers.clone();
    let foreign: Vec<_> = plain.keys().filter(|name| name.as_str().starts_with("mcp-")).cloned().collect();
    for name in foreign.into_iter().chain([header::ACCEPT]) {
        plain.remove(name);
    }
    if let Some(length) = length {
        plain.remove(header::CONTENT_ENCODING);
        plain.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        plain.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    plain
}

/// Whose credential it is. Nothing is allowed by that yet: the endpoint of that organisation judges it as any other.
async fn whose(inner: &Arc<Inner>, head: &request::Parts) -> Result<OrgId, RpcError> {
    let nowhere = Endpoint { site: &inner.site, slug: "", connector: None, at: None };
    let presented = auth::presented(&head.headers, head.uri.query(), &nowhere);
    let presented = match presented {
        Ok(Presented::Nothing) => return Err(unauthenticated(false)),
        Ok(presented) => presented,
        Err(error) if error.status == StatusCode::BAD_REQUEST => return Err(error),
        Err(_) => return Err(unauthenticated(true)),
    };
    let read = Credential::read(&presented, &nowhere, inner.tokens.as_ref()).await;
    let org = match read {
        Ok(Credential::ApiKey { hash, .. }) => {
            inner.planes.org_of_key(&hash).await.map_err(|_| unavailable())?
        }
        Ok(Credential::Token { token, .. }) => Some(token.org),
        Err(Refused::Unavailable) => return Err(unavailable()),
        // A token of an organisation's own provider says nothing of the organisation.
        Ok(_) | Err(Refused::Invalid(_)) => None,
    };
    match org {
        Some(org) => Ok(org),
        None => Err(refused(inner, head).await),
    }
}

/// What somebody hears whose credential is nobody's.
async fn refused(inner: &Inner, head: &request::Parts) -> RpcError {
    // The same bucket as at the endpoint (RLM-03).
    let Some(from) = address(head) else { return unauthenticated(true) };
    let Err(standing) = inner.limits.failed(from).await else { return unauthenticated(true) };
    inner.meter.flooded(from);
    let mut headers = HeaderMap::new();
    tell(&mut headers, [&standing]);
    headers.into_iter().fold(standing.refusal(), |error, (name, value)| match name {
        Some(name) => error.header(name, value),
        None => error,
    })
}

/// The message that lists, from where `?cursor=` says.
fn list(query: Option<&str>) -> Bytes {
    let cursor = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("cursor="))
        .filter(|cursor| cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
    let params = cursor.map_or_else(String::new, |cursor| format!(r#""cursor":"{cursor}""#));
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{params}}}}}"#).into()
}

/// The connector and the message that calls its tool. A member that decides something may be there once only (RSV-09).
fn call(body: &[u8]) -> Result<(String, Bytes), RpcError> {
    let text = std::str::from_utf8(body).map_err(|_| invalid("The body is not UTF-8."))?;
    json::scan(text, &Limits::REQUEST, |_| ()).map_err(|_| invalid("The body is not JSON."))?;
    if !text.trim_start().starts_with('{') {
        return Err(invalid("The body must be an object with connector, tool and arguments."));
    }
    let (mut connector, mut tool, mut arguments) = (None, None, None);
    for (key, value, _) in json::members(text) {
        let slot = if key.is("connector") {
            &mut connector
        } else if key.is("tool") {
            &mut tool
        } else if key.is("arguments") {
            &mut arguments
        } else {
            let name = key.text().unwrap_or_default();
            let name: String = name.chars().take(64).collect();
            return Err(invalid(format!(
                "There is no member \"{name}\" here: only connector, tool and arguments."
            )));
        };
        if slot.replace(value).is_some() {
            return Err(invalid("A member of the body is there twice."));
        }
    }
    let text = |value: Option<&str>, name: &str| {
        value
            .and_then(json::string)
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| invalid(format!("The body needs {name}, a string.")))
    };
    let connector = text(connector, "connector")?;
    if !well_formed(&connector) || connector.parse::<ConnectorSlug>().is_err() {
        return Err(unknown_connector(&connector));
    }
    let tool = text(tool, "tool")?;
    let arguments = arguments.unwrap_or("{}");
    let message = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{},"arguments":{arguments}}}}}"#,
        json::quoted(&tool)
    );
    Ok((connector, message.into()))
}

fn unknown_connector(slug: &str) -> RpcError {
    let shown: String = slug.chars().take(64).collect();
    let message = format!("There is no connector \"{shown}\" here. List the tools to see what there is.");
    RpcError::new(StatusCode::NOT_FOUND, code::INVALID_PARAMS, message).word("unknown_connector")
}

/// The endpoint's answer, as REST tells it.
async fn told(
    ready: &Ready,
    answer: Response,
    wanted: Wanted,
    request_id: &str,
) -> Result<Response, RpcError> {
    let (mut head, body) = answer.into_parts();
    let whole = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = std::str::from_utf8(&whole).unwrap_or_default();
    let body = match (json::get(text, "result"), json::get(text, "error")) {
        (Some(result), _) if head.status.is_success() => match wanted {
            Wanted::Invoke => format!(r#"{{"result":{result}}}"#),
            Wanted::Tools => listed(ready, result),
        },
        (_, Some(error)) => {
            head.status = status(head.status, error);
            return Ok(problem_with(head, error, request_id));
        }
        _ => return Err(unavailable()),
    };
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(Response::from_parts(head, Body::from(body)))
}

/// Tools with their connector apart from their name.
fn listed(ready: &Ready, result: &str) -> String {
    let mut out = String::from(r#"{"tools":["#);
    for tool in json::get(result, "tools").into_iter().flat_map(json::elements) {
        let Some(name) = json::get(tool, "name").and_then(json::string) else { continue };
        let Some((connector, name)) = ready.place(&name) else { continue };
        let connector = connector.plane.slug.as_str();
        if !out.ends_with('[') {
            out.push(',');
        }
        let _ = write!(out, r#"{{"connector":{},"tool":{}"#, json::quoted(connector), json::quoted(name));
        for (key, value, _) in json::members(tool) {
            let key = key.text().unwrap_or_default();
            if !matches!(key.as_ref(), "name" | "connector" | "tool") {
                let _ = write!(out, ",{}:{value}", json::quoted(&key));
            }
        }
        out.push('}');
    }
    out.push(']');
    if let Some(cursor) = json::get(result, "nextCursor") {
        out.push_str(r#","next_cursor":"#);
        out.push_str(cursor);
    }
    out.push('}');
    out
}

/// HTTP's word for an error that the protocol tells with 200.
fn status(status: StatusCode, error: &str) -> StatusCode {
    if !status.is_success() {
        return status;
    }
    let word = json::get(error, "data").and_then(|data| json::get(data, "code")).and_then(json::string);
    match (json::get(error, "code").and_then(|code| code.parse().ok()), word.as_deref()) {
        (_, Some("unknown_tool")) => StatusCode::NOT_FOUND,
        (Some(code::UPSTREAM_TIMEOUT), _) => StatusCode::GATEWAY_TIMEOUT,
        (Some(code::INVALID_PARAMS), _) => StatusCode::BAD_REQUEST,
        // Not approved.
        (Some(-32014), _) => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_GATEWAY,
    }
}

fn problem(error: &RpcError, request_id: &str) -> Response {
    let mut head = http::Response::new(()).into_parts().0;
    head.status = error.status;
    for (name, value) in &error.headers {
        head.headers.append(name.clone(), value.clone());
    }
    let data = error.data.as_deref().unwrap_or("{}");
    let text =
        format!(r#"{{"code":{},"message":{},"data":{data}}}"#, error.code, json::quoted(&error.message));
    problem_with(head, &text, request_id)
}

/// An error of the protocol as a problem (RFC 9457).
fn problem_with(mut head: http::response::Parts, error: &str, request_id: &str) -> Response {
    let data = json::get(error, "data").unwrap_or("{}");
    let string =
        |of: &str, name: &str| json::get(of, name).and_then(json::string).map(std::borrow::Cow::into_owned);
    let policy = string(data, "policy");
    let mut body = serde_json::json!({
        "type": if policy.is_some() { QUOTA_EXCEEDED } else { "about:blank" },
        "title": head.status.canonical_reason().unwrap_or_default(),
        "status": head.status.as_u16(),
        "detail": string(error, "message").unwrap_or_default(),
        "code": string(data, "code").unwrap_or_else(|| "tool_error".to_owned()),
        "request_id": request_id,
    });
    if let Some(policy) = policy {
        body["violated-policies"] = serde_json::json!([policy]);
    }
    // What a tool's own server said about the error.
    if let Some(code) = json::get(error, "code").and_then(|code| code.parse::<i64>().ok()) {
        body["rpc_code"] = code.into();
    }
    let body = body.to_string();
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Response::from_parts(head, Body::from(body))
}

/// The `OpenAPI` document of both.
pub(crate) async fn openapi(State(gateway): State<Gateway>) -> Response {
    let document = document(&gateway.0.site.absolute(""));
    let mut response = Response::new(Body::from(document.to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

fn document(server: &str) -> serde_json::Value {
    use serde_json::json;

    let problem = |about: &str| json!({"description": about, "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}});
    let limited = json!({
        "description": "Over a rate, a quota or a number of calls at once. Retry-After says when to try again.",
        "headers": {
            "Retry-After": {"schema": {"type": "integer", "minimum": 1}},
            "RateLimit-Policy": {"schema": {"type": "string"}},
            "RateLimit": {"schema": {"type": "string"}},
        },
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let refusals = |more: &[(&str, &str)]| {
        let mut all = json!({
            "401": problem("No credential, or none that is valid."),
            "403": problem("A valid credential whose scope does not reach the connector."),
            "429": limited,
            "503": problem("Gatehouse cannot check credentials or limits just now."),
        });
        for (status, about) in more {
            all[*status] = problem(about);
        }
        all
    };
    let mut invoked = refusals(&[
        ("400", "The body, or the tool's arguments, are wrong."),
        ("404", "There is no such connector or tool, or it is switched off."),
        ("502", "The connector's server failed."),
        ("504", "The connector's server did not answer in time."),
    ]);
    invoked["200"] = json!({
        "description": "The tool's result. isError in it says that the tool itself failed.",
        "content": {"application/json": {"schema": {
            "type": "object", "required": ["result"],
            "properties": {"result": {"type": "object", "description": "CallToolResult of MCP."}},
        }}},
    });
    let mut listed = refusals(&[("400", "The cursor is not of this list.")]);
    listed["200"] = json!({
        "description": "The tools that the credential may call.",
        "content": {"application/json": {"schema": {
            "type": "object", "required": ["tools"],
            "properties": {
                "tools": {"type": "array", "items": {"$ref": "#/components/schemas/Tool"}},
                "next_cursor": {"type": "string", "description": "There is more: ask again with ?cursor=."},
            },
        }}},
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gatehouse tools",
            "description": "The tools of an organisation, for callers that do not speak MCP. The organisation is that of the credential.",
            "version": "1",
        },
        "servers": [{"url": server}],
        "security": [{"key": []}, {"bearer": []}],
        "paths": {
            (paths::rest_invoke()): {"post": {
                "operationId": "invokeTool",
                "summary": "Call a tool",
                "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Invocation"}}}},
                "responses": invoked,
            }},
            (paths::rest_tools()): {"get": {
                "operationId": "listTools",
                "summary": "List tools",
                "parameters": [{"name": "cursor", "in": "query", "schema": {"type": "string"}}],
                "responses": listed,
            }},
        },
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {
                "Invocation": {
                    "type": "object", "required": ["connector", "tool"], "additionalProperties": false,
                    "properties": {
                        "connector": {"type": "string", "description": "The connector's slug."},
                        "tool": {"type": "string", "description": "The tool's name, without the connector before it."},
                        "arguments": {"type": "object", "description": "As the tool's inputSchema asks for."},
                    },
                    "example": {"connector": "demo", "tool": "echo", "arguments": {"text": "Hello"}},
                },
                "Tool": {
                    "type": "object", "required": ["connector", "tool", "inputSchema"],
                    "properties": {
                        "connector": {"type": "string"},
                        "tool": {"type": "string"},
                        "description": {"type": "string"},
                        "inputSchema": {"type": "object"},
                    },
                },
                "Problem": {
                    "type": "object", "required": ["type", "title", "status", "detail", "code", "request_id"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "code": {"type": "string", "description": "A word for programs, such as rate_limited."},
                        "request_id": {"type": "string"},
                        "rpc_code": {"type": "integer", "description": "The JSON-RPC error code behind it."},
                        "violated-policies": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
        },
    })
}
