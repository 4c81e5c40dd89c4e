//! One request, from its head to its answer: the order of RSV-01. How it is spoken is the business of [`modern`] and
//! [`legacy`], what is asked that of [`methods`], and what came of it that of [`outcome`].

mod body;
mod find;
mod instructions;
mod legacy;
mod lists;
mod member;
mod methods;
mod modern;
mod outcome;
pub(crate) mod rest;

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::Response,
};
use domain::{
    dataplane::Access,
    mcp::{
        SUPPORTED, code,
        envelope::{self, Message},
        json,
    },
    request::ClientIp,
    tokens::Refused,
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use tokio::time::Instant;

use self::body::Accepts;
pub(crate) use self::{legacy::SESSION_ID, outcome::View};
use crate::{
    Gateway, Inner,
    auth::{self, Credential, Endpoint, Presented},
    guard,
    journal::Trace,
    limits::tell,
    metadata::well_formed,
    planes::{Ready, ReadyConnector},
    reply::{self, RpcError},
    seen,
    sessions::Holder,
};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// What is advertised. It is the same whatever the connectors offer: a list of what none of them has is empty.
const CAPABILITIES: &str = r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"completions":{},"logging":{}}"#;

/// The organisation and the connector that a path is the endpoint of, if it is so plain that nothing of it has to be
/// decoded. What is not is the router's to judge, and so is the older transport's `sse`.
fn endpoint_of(path: &str) -> Option<(&str, Option<&str>)> {
    let rest = path.strip_prefix("/mcp/").filter(|rest| !rest.contains('%'))?;
    match rest.split_once('/') {
        None => (!rest.is_empty()).then_some((rest, None)),
        Some((slug, connector)) => {
            let plain = !slug.is_empty() && !connector.is_empty() && !connector.contains('/');
            (plain && connector != "sse").then_some((slug, Some(connector)))
        }
    }
}

/// Whether a request is so plainly a message to an endpoint that the router need not be asked.
pub(crate) fn is_message(request: &Request) -> bool {
    *request.method() == Method::POST && endpoint_of(request.uri().path()).is_some()
}

/// Answers what [`is_message`] says is a message to an endpoint.
pub(crate) async fn answer(gateway: Gateway, request: Request) -> Response {
    let uri = request.uri().clone();
    match endpoint_of(uri.path()) {
        Some((slug, connector)) => guarded(&gateway, slug, connector, request, streamable()).await,
        None => not_found().respond(None),
    }
}

pub(crate) async fn org(
    State(gateway): State<Gateway>,
    Path(slug): Path<String>,
    request: Request,
) -> Response {
    guarded(&gateway, &slug, None, request, streamable()).await
}

pub(crate) async fn connector(
    State(gateway): State<Gateway>,
    Path((slug, connector)): Path<(String, String)>,
    request: Request,
) -> Response {
    guarded(&gateway, &slug, Some(&connector), request, streamable()).await
}

/// What answers a request that may be looked at.
pub(crate) type Serve =
    Box<dyn for<'e> FnOnce(Arc<Inner>, Endpoint<'e>, request::Parts, Body) -> BoxFuture<'e, Response> + Send>;

fn streamable() -> Serve {
    Box::new(|inner, endpoint, head, body| {
        Box::pin(async move { judged(&inner, endpoint, head, body).await })
    })
}

/// Host and Origin come before everything, and browsers' questions before authentication.
pub(crate) async fn guarded(
    gateway: &Gateway,
    slug: &str,
    connector: Option<&str>,
    request: Request,
    serve: Serve,
) -> Response {
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
        let endpoint = Endpoint { site: &gateway.0.site, slug, connector, at: None };
        serve(Arc::clone(&gateway.0), endpoint, head, body).await
    } else {
        not_found().respond(None)
    };
    if let Some(origin) = &origin {
        guard::cors(&mut response, origin);
    }
    response
}

pub(crate) fn not_found() -> RpcError {
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
    /// The request, for the log; whoever keeps this keeps the request from having ended.
    pub(crate) trace: Arc<Trace>,
}

/// The caller of a request whose credential is good and reaches the endpoint's connector.
///
/// # Errors
/// The whole answer to any other.
pub(crate) async fn admitted(
    inner: &Arc<Inner>,
    endpoint: Endpoint<'_>,
    head: &request::Parts,
) -> Result<Caller, Response> {
    let caller = match authenticate(inner, endpoint, head).await {
        Ok(caller) => caller,
        Err(error) => {
            if error.status == StatusCode::UNAUTHORIZED
                && let Ok(presented) = auth::presented(&head.headers, head.uri.query(), &endpoint)
            {
                if let Some(from) = address(head)
                    && let Err(standing) = inner.limits.failed(from).await
                {
                    inner.meter.flooded(from);
                    let mut response = standing.refusal().respond(None);
                    tell(response.headers_mut(), [&standing]);
                    return Err(response);
                }
                seen::refused(inner, &endpoint, head, &presented);
            }
            return Err(error.respond(None));
        }
    };
    match endpoint.connector.map(|slug| (slug, caller.ready.connector(slug))) {
        Some((_, None)) => Err(not_found().respond(None)),
        Some((slug, Some(connector))) if !caller.access.scope.includes(connector.plane.id) => {
            Err(endpoint.insufficient_scope(slug).respond(None))
        }
        _ => Ok(caller),
    }
}

pub(crate) async fn judged(
    inner: &Arc<Inner>,
    endpoint: Endpoint<'_>,
    head: request::Parts,
    body: Body,
) -> Response {
    let caller = match admitted(inner, endpoint, &head).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    asked(&caller, endpoint, head, body).await
}

/// A request of somebody who was found to be who they say, and whose scope reaches the endpoint's connector.
async fn asked(caller: &Caller, endpoint: Endpoint<'_>, head: request::Parts, body: Body) -> Response {
    let inner = &caller.inner;
    let only = match endpoint.connector {
        None => None,
        Some(slug) => match caller.ready.connector(slug) {
            None => return not_found().respond(None),
            some => some,
        },
    };
    let holder = || Holder {
        org: caller.ready.plane.org,
        principal: caller.access.principal.clone(),
        connector: endpoint.connector.map(str::to_owned),
    };
    // Counted before the body, which may be anything, and told with the id that is in it.
    let admitted = inner.limits.admit(caller).await;
    if head.method != Method::POST {
        let answer = match (admitted, head.method) {
            (Err(error), _) => Err(error),
            (Ok(()), Method::GET) => legacy::get(caller, only, &head.headers, &holder()).await,
            (Ok(()), Method::DELETE) => Ok(legacy::delete(inner, &head.headers, &holder())),
            _ => Err(method_not_allowed("POST, GET, DELETE")),
        };
        return caller.trace.tell(answer.unwrap_or_else(|error| error.respond(None)));
    }
    let (accepts, body) = match body::transport(inner, &head.headers, body).await {
        Ok(ready) => ready,
        Err(error) => return error.respond(None),
    };
    let message = match envelope::parse(&body) {
        Ok(message) => message,
        Err(malformed) => {
            let word = if malformed.code == code::PARSE { "parse_error" } else { "invalid_request" };
            return bad_request(malformed.code, format!("Not a valid request: {}.", malformed.reason))
                .word(word)
                .respond(malformed.id.as_deref());
        }
    };
    let exchange = Exchange { caller, endpoint, headers: &head.headers, only, accepts, message: &message };
    caller.trace.asked(&message, body.len());
    let answer = match admitted {
        Ok(()) => exchange.answer(holder).await,
        Err(error) => Err(error),
    };
    let response = answer.unwrap_or_else(|error| {
        caller.trace.failed(&error);
        error.respond(message.id)
    });
    Arc::clone(&caller.trace).finish(response)
}

/// Where a request came from.
fn address(head: &request::Parts) -> Option<IpAddr> {
    head.extensions.get::<ClientIp>().map(|ip| ip.0)
}

/// Path, organisation, address, credential for that organisation (RSV-01). Nothing about the request's body or method is said
/// to whoever has no credential.
async fn authenticate(
    inner: &Arc<Inner>,
    endpoint: Endpoint<'_>,
    head: &request::Parts,
) -> Result<Caller, RpcError> {
    let started = Instant::now();
    let presented = auth::presented(&head.headers, head.uri.query(), &endpoint)?;
    // Before the credential: whoever may not ask is not told whether theirs is good. Where there is no list, a credential of
    // the wrong form ends without a look at the organisation.
    if let Some(org) = inner.planes.restricted(endpoint.slug)
        && let Some(ready) = inner.planes.ready(org).await.map_err(|_| unavailable())?
    {
        check_address(inner, &ready, head)?;
    }
    let in_query = match presented {
        Presented::Nothing => return Err(endpoint.missing()),
        Presented::Forbidden => return Err(endpoint.in_query()),
        Presented::Query(_) => true,
        Presented::Key(_) | Presented::Bearer(_) => false,
    };
    let invalid = || if in_query { endpoint.in_query() } else { endpoint.invalid() };
    let refused = |why| match why {
        Refused::Invalid(why) => {
            tracing::debug!(org.slug = endpoint.slug, why, "a credential was refused");
            invalid()
        }
        Refused::Unavailable => unavailable(),
    };
    let tokens = inner.tokens.as_ref();
    let foreign = Credential::of_provider(&presented, &endpoint);
    let read = match foreign {
        Some(_) => None,
        None => Some(Credential::read(&presented, &endpoint, tokens).await.map_err(refused)?),
    };
    let org = inner.planes.lookup(endpoint.slug).ok_or_else(invalid)?;
    let ready = inner.planes.ready(org).await.map_err(|_| unavailable())?;
    let ready = ready.ok_or_else(invalid)?;
    // Again: what is known of lists may be half a second old, a snapshot is not.
    check_address(inner, &ready, head)?;
    let credential = match (read, foreign) {
        (None, Some(token)) => Credential::judge(&ready, inner.judge.as_ref(), token, endpoint).await?,
        (read, _) => read.ok_or_else(invalid)?,
    };
    let now = inner.clock.now();
    let access = credential.authenticate(&ready, tokens, now).map_err(refused)?;
    if !credential.admits(&ready, address(head)) {
        return Err(key_not_from_here());
    }
    if ready.plane.suspended {
        return Err(suspended());
    }
    credential.check_scope(endpoint)?;
    let agent = head.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    inner.meter.used(&access, ready.plane.org, now, address(head), agent);
    if let Credential::Token { token, .. } = &credential {
        let grant = token.grant.and_then(|grant| ready.plane.grants.get(&grant.grant));
        seen::called(inner, ready.plane.org, token, grant.map(|grant| grant.client_name.as_str()), head);
    }
    let trace = Trace::new(inner, &ready.plane, &access, head, started);
    Ok(Caller { inner: Arc::clone(inner), ready, access, credential, trace })
}

/// Refuses an address that the organisation's list does not have (IPA-03).
fn check_address(inner: &Inner, ready: &Ready, head: &request::Parts) -> Result<(), RpcError> {
    if ready.plane.allowlist.admits(address(head), inner.clock.now()) {
        return Ok(());
    }
    Err(RpcError::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "This organisation can be reached from certain addresses only, and yours is none of them.",
    )
    .word("ip_not_allowed"))
}

fn key_not_from_here() -> RpcError {
    let told = domain::allowlist::not_from_here();
    RpcError::new(StatusCode::FORBIDDEN, code::FORBIDDEN, told.message).word("ip_not_allowed")
}

fn suspended() -> RpcError {
    RpcError::new(StatusCode::FORBIDDEN, code::FORBIDDEN, "This organisation is suspended.")
        .word("org_suspended")
}

pub(crate) fn unavailable() -> RpcError {
    RpcError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::UNAVAILABLE,
        "Gatehouse cannot check credentials just now. Try again.",
    )
    .word("unavailable")
    .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

pub(crate) fn method_not_allowed(allow: &'static str) -> RpcError {
    RpcError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        code::INVALID_REQUEST,
        "Send messages with POST. There is a stream to GET only in a session that initialize has opened.",
    )
    .word("method_not_allowed")
    .header(header::ALLOW, HeaderValue::from_static(allow))
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

fn invalid_params(message: &str) -> RpcError {
    bad_request(code::INVALID_PARAMS, message)
}

impl Exchange<'_> {
    async fn answer(&self, holder: impl FnOnce() -> Holder) -> Result<Response, RpcError> {
        let version = single(self.headers, &PROTOCOL_VERSION)?;
        let meta = self.message.params.meta.as_ref();
        match meta.and_then(|meta| meta.protocol_version) {
            Some(claimed) => self.modern(claimed, version).await,
            None => self.legacy(version, holder).await,
        }
    }

    /// A result that was written here.
    fn result(&self, era: Era, value: &str) -> Response {
        self.respond(era, reply::Message::new(self.message.id, "result").text(value))
    }

    fn respond(&self, era: Era, message: reply::Message) -> Response {
        self.respond_as(era, StatusCode::OK, message)
    }

    fn respond_as(&self, era: Era, status: StatusCode, message: reply::Message) -> Response {
        if self.accepts.json || era == Era::Bare || status != StatusCode::OK {
            message.json(status)
        } else {
            reply::events(Body::from(message.event()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_go_past_the_router() {
        assert_eq!(endpoint_of("/mcp/acme"), Some(("acme", None)));
        assert_eq!(endpoint_of("/mcp/acme/git"), Some(("acme", Some("git"))));
        for others in [
            "/",
            "/mcp",
            "/mcp/",
            "/mcp//git",
            "/mcp/acme/",
            "/mcp/acme/git/",
            "/mcp/acme/git/sse",
            "/mcp/acme/sse",
            "/mcp/%61cme",
            "/mcp/acme/%73se",
            "/MCP/acme",
            "/v1/mcp/invoke",
        ] {
            assert_eq!(endpoint_of(others), None, "{others}");
        }
    }
}
