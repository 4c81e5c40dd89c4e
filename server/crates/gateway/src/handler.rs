//! One request, from its head to its answer: the order of RSV-01, the three ways to speak (modern, legacy session, bare
//! call), and the methods.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use domain::{
    dataplane::Access,
    mcp::{
        ASSUMED, IMPLEMENTATION, LEGACY, MODERN, SUPPORTED, code,
        envelope::{self, Message, Params},
        header as wire, json, meta,
        tools::{check_headers, headers_for},
        upstream::{Answer, Call, Reply, ResultType, UpstreamError},
    },
    request::ClientIp,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    Gateway, Inner,
    auth::{self, Credential, Endpoint, Presented},
    guard,
    limits::CallSlot,
    metadata::well_formed,
    planes::{Ready, ReadyConnector},
    reply::{self, RpcError, empty},
    sessions::Holder,
    stream::Streaming,
    tools,
};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
/// How long a list may be kept by a client. Nothing tells it of changes yet, so it is short; a call is checked anyway.
const TTL_MS: u32 = 60_000;
/// A body that brings less than this many bytes in [`BODY_WINDOW`] is cut (REQ-04).
const BODY_LEAST: usize = 30 << 10;
const BODY_WINDOW: Duration = Duration::from_secs(30);
/// What is advertised: tools, without news of changes.
const CAPABILITIES: &str = r#"{"tools":{"listChanged":false}}"#;

pub(crate) async fn org(
    State(gateway): State<Gateway>,
    Path(slug): Path<String>,
    request: Request,
) -> Response {
    serve(&gateway, &slug, None, request).await
}

pub(crate) async fn connector(
    State(gateway): State<Gateway>,
    Path((slug, connector)): Path<(String, String)>,
    request: Request,
) -> Response {
    serve(&gateway, &slug, Some(&connector), request).await
}

/// Host and Origin come before everything, and browsers' questions before authentication.
async fn serve(gateway: &Gateway, slug: &str, connector: Option<&str>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let origin = match gateway.0.site.check(&head.uri, &head.headers) {
        Ok(origin) => origin.cloned(),
        Err(error) => return error.respond(None),
    };
    if let Some(origin) = &origin
        && guard::is_preflight(&head.method, &head.headers)
    {
        return guard::preflight(&head.headers, origin);
    }
    let mut response = if well_formed(slug) && connector.is_none_or(well_formed) {
        let endpoint = Endpoint { site: &gateway.0.site, slug, connector };
        judged(&gateway.0, endpoint, head, body).await
    } else {
        not_found().respond(None)
    };
    if let Some(origin) = &origin {
        guard::cors(&mut response, origin);
    }
    response
}

fn not_found() -> RpcError {
    RpcError::new(StatusCode::NOT_FOUND, code::INVALID_REQUEST, "There is no MCP endpoint at this path.")
        .word("not_found")
}

fn bad_request(code: i64, message: impl Into<String>) -> RpcError {
    RpcError::new(StatusCode::BAD_REQUEST, code, message)
}

/// A request whose credential was found good.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) inner: Arc<Inner>,
    pub(crate) ready: Arc<Ready>,
    pub(crate) access: Arc<Access>,
    /// To authenticate again, in a newer snapshot.
    pub(crate) credential: Credential,
}

async fn judged(inner: &Arc<Inner>, endpoint: Endpoint<'_>, head: request::Parts, body: Body) -> Response {
    let caller = match authenticate(inner, endpoint, &head).await {
        Ok(caller) => caller,
        Err(error) => return error.respond(None),
    };
    let only = match endpoint.connector {
        None => None,
        Some(slug) => match caller.ready.connector(slug) {
            None => return not_found().respond(None),
            Some(connector) if !caller.access.scope.includes(connector.plane.id) => {
                return endpoint.insufficient_scope(slug).respond(None);
            }
            some => some,
        },
    };
    let holder = || Holder {
        org: caller.ready.plane.org,
        principal: caller.access.principal.clone(),
        connector: endpoint.connector.map(str::to_owned),
    };
    match head.method {
        Method::POST => {}
        Method::DELETE => return delete(inner, &head.headers, &holder()),
        _ => return method_not_allowed("POST, DELETE").respond(None),
    }
    let (accepts, body) = match transport(inner, &head.headers, body).await {
        Ok(ready) => ready,
        Err(error) => return error.respond(None),
    };
    let message = match envelope::parse(&body) {
        Ok(message) => message,
        Err(malformed) => {
            return bad_request(malformed.code, format!("Not a valid request: {}.", malformed.reason))
                .respond(malformed.id.as_deref());
        }
    };
    let exchange =
        Exchange { caller: &caller, endpoint, headers: &head.headers, only, accepts, message: &message };
    match exchange.answer(holder).await {
        Ok(response) => response,
        Err(error) => error.respond(message.id),
    }
}

/// Path, organisation, credential for that organisation (RSV-01). Nothing about the request's body or method is said
/// to whoever has no credential.
async fn authenticate(
    inner: &Arc<Inner>,
    endpoint: Endpoint<'_>,
    head: &request::Parts,
) -> Result<Caller, RpcError> {
    let presented = auth::presented(&head.headers, head.uri.query(), &endpoint)?;
    let in_query = match presented {
        Presented::Nothing => return Err(endpoint.missing()),
        Presented::Forbidden => return Err(endpoint.in_query()),
        Presented::Query(_) => true,
        Presented::Header(_) => false,
    };
    let invalid = || if in_query { endpoint.in_query() } else { endpoint.invalid() };
    let credential = Credential::read(&presented).ok_or_else(invalid)?;
    let org = inner.planes.lookup(endpoint.slug).ok_or_else(invalid)?;
    let ready = inner.planes.ready(org).await.map_err(|_| {
        RpcError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code::UNAVAILABLE,
            "Gatehouse cannot check credentials just now. Try again.",
        )
        .word("unavailable")
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    })?;
    let ready = ready.ok_or_else(invalid)?;
    let now = inner.clock.now();
    let access = credential.authenticate(&ready, now).ok_or_else(invalid)?;
    if ready.plane.suspended {
        return Err(RpcError::new(StatusCode::FORBIDDEN, code::FORBIDDEN, "This organisation is suspended.")
            .word("org_suspended"));
    }
    let address: Option<IpAddr> = head.extensions.get::<ClientIp>().map(|ip| ip.0);
    let agent = head.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    inner.meter.used(&access.principal, ready.plane.org, now, address, agent);
    Ok(Caller { inner: Arc::clone(inner), ready, access, credential })
}

fn method_not_allowed(allow: &'static str) -> RpcError {
    RpcError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        code::INVALID_REQUEST,
        "Send messages with POST. There is no stream to GET here.",
    )
    .word("method_not_allowed")
    .header(header::ALLOW, HeaderValue::from_static(allow))
}

fn session_not_found() -> RpcError {
    RpcError::new(
        StatusCode::NOT_FOUND,
        code::INVALID_REQUEST,
        "There is no such session, or it has ended. Send initialize again.",
    )
    .word("session_not_found")
}

fn delete(inner: &Inner, headers: &HeaderMap, holder: &Holder) -> Response {
    match single(headers, &SESSION_ID) {
        Ok(Some(id)) if inner.sessions.close(id, holder) => empty(StatusCode::NO_CONTENT),
        Ok(Some(_)) => session_not_found().respond(None),
        // The modern era has no sessions to end.
        _ => method_not_allowed("POST").respond(None),
    }
}

/// The one value of a header.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, RpcError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(bad_request(code::INVALID_REQUEST, format!("The header {name} is there twice.")));
    }
    match value.map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.trim_matches([' ', '\t']))),
        Some(Err(_)) => {
            Err(bad_request(code::INVALID_REQUEST, format!("The header {name} is not readable.")))
        }
    }
}

/// What a client takes as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepts {
    json: bool,
    events: bool,
}

impl Accepts {
    fn read(headers: &HeaderMap) -> Self {
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
async fn transport(inner: &Inner, headers: &HeaderMap, body: Body) -> Result<(Accepts, Bytes), RpcError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(RpcError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::INVALID_REQUEST,
            "Send the message with Content-Type: application/json.",
        ));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(RpcError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::INVALID_REQUEST,
            "Send the message without Content-Encoding.",
        ));
    }
    let accepts = Accepts::read(headers);
    if !accepts.json && !accepts.events {
        return Err(RpcError::new(
            StatusCode::NOT_ACCEPTABLE,
            code::INVALID_REQUEST,
            "Answers are application/json or text/event-stream: accept at least one of them.",
        ));
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
            return Err(bad_request(code::PARSE, "The message broke off."));
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

/// How a request is spoken. It is told by the body and the session alone: headers such as `Mcp-Method` come from
/// legacy clients too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// `_meta` names the revision.
    Modern,
    /// `initialize`, or a session that it made.
    Legacy,
    /// Neither: somebody's curl. Answered without state, as JSON.
    Bare,
}

/// A message with everything that decides about its answer.
struct Exchange<'a> {
    caller: &'a Caller,
    endpoint: Endpoint<'a>,
    headers: &'a HeaderMap,
    only: Option<&'a ReadyConnector>,
    accepts: Accepts,
    message: &'a Message<'a>,
}

fn unsupported_version(requested: &str) -> RpcError {
    let supported: Vec<_> = SUPPORTED.iter().map(|v| format!("\"{v}\"")).collect();
    let requested: String = requested.chars().take(64).collect();
    bad_request(code::UNSUPPORTED_VERSION, "Unsupported protocol version").data(format!(
        r#"{{"supported":[{}],"requested":{}}}"#,
        supported.join(","),
        json::quoted(&requested)
    ))
}

fn mismatch(header: &str, what: &str) -> RpcError {
    bad_request(code::HEADER_MISMATCH, format!("Header mismatch: {header} {what}"))
}

fn invalid_params(message: &str) -> RpcError {
    bad_request(code::INVALID_PARAMS, message)
}

impl Exchange<'_> {
    async fn answer(&self, holder: impl FnOnce() -> Holder) -> Result<Response, RpcError> {
        let inner = &*self.caller.inner;
        let version = single(self.headers, &PROTOCOL_VERSION)?;
        let meta = self.message.params.meta.as_ref();
        if let Some(claimed) = meta.and_then(|meta| meta.protocol_version) {
            return self.modern(claimed, version).await;
        }
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

    /// 2026-07-28: every request stands alone, and its headers say the same as its body (RSV-08).
    async fn modern(&self, claimed: &str, header_version: Option<&str>) -> Result<Response, RpcError> {
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
            "server/discover" => Ok(self.discover()),
            "tools/list" => self.list(Era::Modern),
            "tools/call" => {
                let name = self.tool_name()?;
                let mut sent = self.headers.get_all(&MCP_NAME).iter();
                match (sent.next(), sent.next()) {
                    (None, _) => return Err(mismatch("Mcp-Name", "is missing")),
                    (Some(header), None) if wire::decode(header).is_some_and(|header| header == name) => {}
                    _ => return Err(mismatch("Mcp-Name", "does not match params.name")),
                }
                self.call(Era::Modern, None).await
            }
            _ => Err(unknown_method(Era::Modern, method)),
        }
    }

    /// A result that was written here.
    fn result(&self, era: Era, value: &str) -> Response {
        self.respond(era, reply::Message::new(self.message.id, "result").text(value))
    }

    fn respond(&self, era: Era, message: reply::Message) -> Response {
        if self.accepts.json || era == Era::Bare {
            message.json(StatusCode::OK)
        } else {
            reply::events(Body::from(message.event()))
        }
    }

    fn discover(&self) -> Response {
        let supported: Vec<_> = SUPPORTED.iter().map(|v| format!("\"{v}\"")).collect();
        let value = format!(
            r#"{{"supportedVersions":[{}],"capabilities":{CAPABILITIES}{}"#,
            supported.join(","),
            modern_tail()
        );
        self.result(Era::Modern, &value)
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

    fn list(&self, era: Era) -> Result<Response, RpcError> {
        let page = self.caller.inner.settings.page;
        let listing = self.caller.ready.listing(&self.caller.access.scope, self.only, page);
        let (tools, next) = listing.page(self.message.params.cursor)?;
        let next = next.map_or(String::new(), |cursor| format!(r#","nextCursor":{cursor}"#));
        let tail = if era == Era::Modern { modern_tail() } else { "}".to_owned() };
        let message = reply::Message::new(self.message.id, "result")
            .text(r#"{"tools":"#)
            .value(tools)
            .text(&next)
            .text(&tail);
        Ok(self.respond(era, message))
    }

    fn tool_name(&self) -> Result<std::borrow::Cow<'_, str>, RpcError> {
        self.message
            .params
            .name
            .and_then(json::string)
            .ok_or_else(|| invalid_params("tools/call needs params.name, a string."))
    }

    async fn call(&self, era: Era, session: Option<&str>) -> Result<Response, RpcError> {
        let Params { arguments, others, meta, second_round, .. } = &self.message.params;
        let name = self.tool_name()?;
        let (connector, tool, ready) =
            tools::find(&self.caller.ready, &self.caller.access.scope, self.only, &name, self.endpoint)?;
        let arguments = arguments.filter(|a| *a != "null");
        if arguments.is_some_and(|a| !a.starts_with('{')) {
            return Err(invalid_params("params.arguments must be an object."));
        }
        if *second_round {
            // Nobody was given a state by Gatehouse, so this one is not its own (RSV-12).
            return Err(invalid_params("requestState and inputResponses are not supported here."));
        }
        if era == Era::Modern {
            check_headers(&ready.params, arguments, self.headers)
                .map_err(|header| mismatch(header.as_str(), "does not match the arguments"))?;
        }
        let mut headers = headers_for(&ready.params, arguments);
        if era == Era::Modern {
            // Headers of this kind that the tool does not know are passed on (RFC 9110, MCP "Custom Headers").
            let known = headers.len();
            for (name, value) in self.headers {
                if name.as_str().starts_with("mcp-param-") && !headers[..known].iter().any(|(n, _)| n == name)
                {
                    headers.push((name.clone(), value.clone()));
                }
            }
        }
        let slot = self.caller.inner.limits.call(&self.caller.access.principal).await?;
        let meta = meta.as_ref();
        let call = Call {
            tool,
            arguments,
            others,
            meta: meta.map_or(&[], |meta| &meta.others),
            progress_token: meta.and_then(|meta| meta.progress_token).filter(|token| envelope::is_id(token)),
            capabilities: meta.and_then(|meta| meta.client_capabilities),
            log_level: meta.and_then(|meta| meta.log_level).filter(|level| json::string(level).is_some()),
            logs: era == Era::Legacy,
            headers: &headers,
        };
        let running = session.map(|session| Running::new(&self.caller.inner, session, self.message.id));
        let streaming = era != Era::Bare && self.accepts.events;
        let work = async {
            match connector.upstream.call(&call).await {
                Ok(Reply::Stream(stream)) if streaming => Ok(Reply::Stream(stream)),
                Ok(reply) => reply.finish().await.map(Reply::Answer),
                Err(error) => Err(error),
            }
        };
        let outcome = match &running {
            None => work.await,
            Some(running) => tokio::select! {
                biased;
                outcome = work => outcome,
                // The client has said that it does not wait any more: no answer is due.
                () = running.token.cancelled() => return Ok(empty(StatusCode::ACCEPTED)),
            },
        };
        let slug = connector.plane.slug.as_str();
        match outcome {
            Ok(Reply::Answer(answer)) => match render(era, self.message.id, slug, answer) {
                Ok(message) => Ok(self.respond(era, message)),
                Err(error) => Err(error),
            },
            Ok(Reply::Stream(stream)) => self.stream(era, slug, *stream, slot, running).await,
            Err(error) => Err(failed(self.caller, slug, &error)),
        }
    }

    async fn stream(
        &self,
        era: Era,
        slug: &str,
        stream: domain::mcp::upstream::CallStream,
        slot: CallSlot,
        running: Option<Running>,
    ) -> Result<Response, RpcError> {
        let Some(permit) = slot.stream() else {
            // Too many streams: the result is what counts, so it is collected, and its notifications are lost.
            let answer = Reply::Stream(Box::new(stream)).finish().await;
            let answer = answer.map_err(|error| failed(self.caller, slug, &error))?;
            return render(era, self.message.id, slug, answer).map(|message| self.respond(era, message));
        };
        let streaming =
            Streaming::new(self.caller.clone(), era, slug, self.message.id, stream, (slot, permit), running);
        Ok(reply::events(streaming.into_body()))
    }
}

/// What closes a result of the modern era that was written here.
fn modern_tail() -> String {
    format!(
        r#","resultType":"complete","ttlMs":{TTL_MS},"cacheScope":"private","_meta":{{"{}":{IMPLEMENTATION}}}}}"#,
        meta::SERVER_INFO
    )
}

fn missing_meta(key: &str) -> RpcError {
    invalid_params(&format!("params._meta needs \"{key}\"."))
}

fn unknown_method(era: Era, method: &str) -> RpcError {
    let shown: String = method.chars().take(64).collect();
    // A legacy client takes 404 for the end of its session.
    let status = if era == Era::Legacy { StatusCode::OK } else { StatusCode::NOT_FOUND };
    RpcError::new(status, code::METHOD_NOT_FOUND, format!("Method not found: {shown}"))
}

/// A call that is noted in its session, so that it can be cancelled there.
pub(crate) struct Running {
    inner: Arc<Inner>,
    session: String,
    request: String,
    pub(crate) token: CancellationToken,
}

impl Running {
    fn new(inner: &Arc<Inner>, session: &str, request: Option<&str>) -> Self {
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

/// An upstream's failure, as a result of the call rather than of HTTP: clients show it to their model.
pub(crate) fn failed(caller: &Caller, slug: &str, error: &UpstreamError) -> RpcError {
    let principal = &caller.access.principal;
    tracing::info!(
        org.id = %caller.ready.plane.org,
        principal.kind = principal.kind(),
        principal.id = %principal,
        connector.slug = slug,
        error.code = error.code(),
        error = %error,
        "call of an upstream server failed"
    );
    let wait = match error {
        UpstreamError::Busy { retry_after: Some(seconds) } => format!(r#","retry_after":{seconds}"#),
        _ => String::new(),
    };
    let rpc =
        RpcError::new(StatusCode::OK, error.code(), format!("The connector \"{slug}\" failed. {error}"))
            .data(format!(r#"{{"code":"{}","connector":"{slug}"{wait}}}"#, error.word()));
    match error {
        UpstreamError::Busy { retry_after: Some(seconds) } => {
            rpc.header(header::RETRY_AFTER, HeaderValue::from(*seconds))
        }
        _ => rpc,
    }
}

/// An upstream's answer in the words of the client's era.
///
/// # Errors
/// For answers that cannot be passed on.
pub(crate) fn render(
    era: Era,
    id: Option<&str>,
    slug: &str,
    answer: Answer,
) -> Result<reply::Message, RpcError> {
    let cannot = |word: &str, message: String| {
        Err(RpcError::new(StatusCode::OK, code::UPSTREAM_PROTOCOL, message)
            .data(format!(r#"{{"code":"{word}","connector":"{slug}"}}"#)))
    };
    let value = answer.value;
    match (answer.error, answer.result_type) {
        // About headers and versions that Gatehouse chose: nothing that the client could mend.
        (Some(code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION), _) => cannot(
            "upstream_protocol_error",
            format!(
                "The connector \"{slug}\" failed. The server does not take the request as its list of tools says; refresh its tools."
            ),
        ),
        // -32042 of 2025-11-25 asks the user to open a page; the modern era does not know it.
        (Some(-32042), _) | (None, ResultType::InputRequired) => cannot(
            "input_not_supported",
            format!(
                "The tool of the connector \"{slug}\" asks for input in the middle of the call, which Gatehouse does not pass on yet."
            ),
        ),
        (Some(code::MISSING_CAPABILITY), _) if era == Era::Modern => {
            Ok(reply::Message::new(id, "error").value(value))
        }
        (Some(_), _) => Ok(reply::Message::new(id, "error").value(value)),
        (None, ResultType::Other) => cannot(
            "upstream_protocol_error",
            format!(
                "The connector \"{slug}\" failed. The server's result is of a type that Gatehouse does not know."
            ),
        ),
        (None, ResultType::Absent) if era == Era::Modern => {
            let rest = value.slice(1..);
            let is_empty = rest.trim_ascii_start().starts_with(b"}");
            let comma = if is_empty { "" } else { "," };
            Ok(reply::Message::new(id, "result").text(r#"{"resultType":"complete""#).text(comma).value(rest))
        }
        (None, ResultType::Complete) if era != Era::Modern => {
            let message = reply::Message::new(id, "result");
            Ok(match answer.result_type_at.and_then(|at| without(&value, at)) {
                Some((before, after)) => message.value(before).value(after),
                None => message.value(value),
            })
        }
        (None, _) => Ok(reply::Message::new(id, "result").value(value)),
    }
}

/// An object without one member: what stands before it and behind it, one comma less.
fn without(object: &Bytes, member: std::ops::Range<usize>) -> Option<(Bytes, Bytes)> {
    let before = object.get(..member.start)?;
    let after = object.get(member.end..)?;
    let skipped = after.len() - after.trim_ascii_start().len();
    if after.get(skipped) == Some(&b',') {
        return Some((object.slice(..member.start), object.slice(member.end + skipped + 1..)));
    }
    let kept = before.trim_ascii_end();
    let kept = kept.strip_suffix(b",").unwrap_or(kept);
    Some((object.slice(..kept.len()), object.slice(member.end..)))
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

    #[test]
    fn a_member_is_taken_out_with_one_comma() {
        for (object, member, rest) in [
            (r#"{"resultType":"complete","a":1}"#, 1..24, r#"{"a":1}"#),
            (r#"{"a":1,"resultType":"complete"}"#, 7..30, r#"{"a":1}"#),
            (r#"{"resultType":"complete"}"#, 1..24, "{}"),
            (r#"{"a":1 , "resultType":"complete" , "b":2}"#, 9..32, r#"{"a":1 ,  "b":2}"#),
        ] {
            let bytes = Bytes::from_static(object.as_bytes());
            let (before, after) = without(&bytes, member).unwrap();
            assert_eq!(String::from_utf8([before, after].concat()).unwrap(), rest);
        }
    }
}
