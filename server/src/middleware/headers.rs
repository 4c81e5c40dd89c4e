//! Headers of every answer (HDR-01, HDR-02), plain http refused (HDR-03), and the `Host` that is ours.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header},
    middleware::Next,
};
use domain::{Env, request::RequestId};

use super::{client::ForwardedHttps, problem::problem};
use crate::{config::is_loopback, session::is_https};

/// Added unless the answer has its own. The content security policy of pages carries a nonce, so pages set theirs; this
/// one is for everything that is no page.
const DEFAULTS: [(HeaderName, HeaderValue); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ),
];

/// Sets the headers of every answer.
pub fn secure(env: &Env, headers: &mut HeaderMap) {
    headers.reserve(DEFAULTS.len() + 1);
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
    if is_https(env) {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000; includeSubDomains"),
        );
    }
    headers.remove(header::SERVER);
}

/// What came in the clear where the instance is on https, as proxies say. People are led to https; programs are refused,
/// because a credential that was sent in the clear must not seem to work.
pub fn refuse_plain(env: &Env, request: &Request, id: &str) -> Option<Response<Body>> {
    if !is_https(env) || request.extensions().get() != Some(&ForwardedHttps(false)) {
        return None;
    }
    let path = request.uri().path();
    let for_people = request.method() == Method::GET
        && is_own_host(env, request)
        && !["/mcp", "/oauth", "/v1", "/api", "/.well-known"].iter().any(|prefix| path.starts_with(prefix));
    if !for_people {
        return Some(problem(
            StatusCode::FORBIDDEN,
            "https_required",
            "Use https. Nothing was done; change a key that was sent in the clear.",
            id,
        ));
    }
    let target = env.settings.absolute(request.uri().path_and_query().map_or("/", |rest| rest.as_str()));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(value) = HeaderValue::from_str(&target) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    Some(response)
}

/// Refuses a `Host` that is not this instance's, so that no answer is made for a name an attacker points here (RSV-10).
pub async fn own_host(State(env): State<Env>, request: Request, next: Next) -> Response<Body> {
    if is_own_host(&env, &request) {
        return next.run(request).await;
    }
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    problem(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        "This host name is not the one of this Gatehouse. The operator sets it with GATEHOUSE_PUBLIC_URL.",
        &id,
    )
}

fn is_own_host(env: &Env, request: &Request) -> bool {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let ours = &env.settings.public_url;
    let Some(uri) = host.and_then(|host| format!("{}://{host}/", ours.scheme()).parse::<url::Url>().ok())
    else {
        return false;
    };
    let same_host = uri.host_str() == ours.host_str() || (is_loopback(&uri) && is_loopback(ours));
    same_host && uri.port_or_known_default() == ours.port_or_known_default()
}

/// Whether a URL in `Origin` is this instance's own, with the loopback names counting as one.
pub fn is_own_origin(env: &Env, origin: &str) -> bool {
    let ours = &env.settings.public_url;
    let Ok(url) = origin.parse::<url::Url>() else { return false };
    origin.parse::<Uri>().is_ok()
        && url.scheme() == ours.scheme()
        && (url.host_str() == ours.host_str() || (is_loopback(&url) && is_loopback(ours)))
        && url.port_or_known_default() == ours.port_or_known_default()
}

/// Pages and server functions are about somebody: no cache keeps them.
pub async fn no_store(request: Request, next: Next) -> Response<Body> {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
