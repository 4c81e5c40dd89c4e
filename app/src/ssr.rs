//! The server's side of pages: rendering, form posts, server functions, and what views and server functions may ask
//! of the response.
//!
//! The server mounts [`router`] and nothing else. What pages need to know comes by context from the closure it is
//! given: at least [`crate::SiteAssets`].

use std::{pin::Pin, sync::OnceLock};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use domain::request::{RequestContext, RequestId, Wants};
use leptos::{nonce::use_nonce, prelude::*, reactive::owner::Owner};
use leptos_axum::ResponseOptions;
use leptos_meta::ServerMetaContext;
use leptos_router::{PathSegment, RouteList, location::RequestUrl};
use model::{AppError, ErrorKind};
use server_fn::redirect::REDIRECT_HEADER;

use crate::{
    App,
    form::{MADE_IN, PostOutcome, is_secret_field},
    functions::{self, Function},
    shell,
    state::GivenError,
};

/// The largest form that is read.
pub const MAX_FORM_BYTES: usize = 256 * 1024;

/// `GET` of every page, `POST` of every page (a form, see [`crate::form`]), and `POST /api/{function}`.
///
/// `context` is called in the reactive owner of every page and every server function, after `Parts` and
/// [`ResponseOptions`] were provided; it provides what the app needs. Checks of origin, sessions and rates belong in
/// layers around this router.
pub fn router<C>(context: C) -> Router
where
    C: Fn() + Clone + Send + Sync + 'static,
{
    // Fails only when it was done before, which is as good.
    _ = any_spawner::Executor::init_tokio();

    let mut router = Router::new();
    for path in page_paths() {
        let (for_get, for_post) = (context.clone(), context.clone());
        router = router.route(
            &path,
            get(move |request: Request<Body>| render(for_get.clone(), request))
                .post(move |request: Request<Body>| answer_post(for_post.clone(), request)),
        );
    }
    router
        .route("/api/{*function}", post(move |request: Request<Body>| answer_call(context.clone(), request)))
}

/// The page for an address that is no page; status 404.
pub async fn not_found<C>(context: C, request: Request<Body>) -> Response
where
    C: Fn() + Clone + Send + Sync + 'static,
{
    render(context, request).await
}

/// The page that tells a person of an error where there is no page of its own, such as of a request that no answer can be
/// sent back for. It has the error's status.
pub async fn error_page<C>(context: C, mut parts: Parts, error: AppError) -> Response
where
    C: Fn() + Clone + Send + Sync + 'static,
{
    parts.method = Method::GET;
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    let context = move || {
        context();
        provide_context(GivenError(error.clone()));
    };
    render(context, Request::from_parts(parts, Body::empty())).await
}

/// Lets the form of the page that is being rendered lead to this origin (or `scheme:`) in the end: browsers hold a
/// redirect that answers a form against the policy as well (OAZ-08).
pub fn allow_form_target(target: &str) {
    let plain = target.bytes().all(|b| b.is_ascii_alphanumeric() || b":/.-+[]_".contains(&b));
    let Some(options) = use_context::<ResponseOptions>().filter(|_| plain && !target.is_empty()) else {
        return;
    };
    let policy = options.0.read().ok().and_then(|parts| {
        let policy = parts.headers.get(header::CONTENT_SECURITY_POLICY)?.to_str().ok()?;
        Some(policy.replace("form-action 'self'", &format!("form-action 'self' {target}")))
    });
    if let Some(policy) = policy.and_then(|policy| HeaderValue::from_str(&policy).ok()) {
        options.insert_header(header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// The paths of all pages as axum writes them, such as `/connectors/{id}`.
pub fn page_paths() -> Vec<String> {
    // Once for the process: meanwhile leptos keeps every resource of the process from loading, and a page that is
    // rendered just then, as in tests that run side by side, would wait for ever.
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(find_page_paths).clone()
}

fn find_page_paths() -> Vec<String> {
    let routes = Owner::new_root(None).with(|| {
        provide_context(RequestUrl::new(""));
        let (meta, _) = ServerMetaContext::new();
        provide_context(meta);
        RouteList::generate(App)
    });
    let mut paths: Vec<String> =
        routes.iter().flat_map(RouteList::iter).map(|route| axum_path(route.path())).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn axum_path(segments: &[PathSegment]) -> String {
    let mut path = String::new();
    for segment in segments {
        let (open, text, close) = match segment {
            PathSegment::Static(text) => ("", text.trim_matches('/'), ""),
            PathSegment::Param(name) | PathSegment::OptionalParam(name) => ("{", name.as_ref(), "}"),
            PathSegment::Splat(name) => ("{*", name.as_ref(), "}"),
            PathSegment::Unit => continue,
        };
        if !text.is_empty() {
            path.push('/');
            path.push_str(open);
            path.push_str(text);
            path.push_str(close);
        }
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

/// Redirects: 303 for a page that is being rendered (SES-03); for a server function a `Location` that the form mechanism
/// turns into 303 or, with scripts, into a navigation.
pub fn redirect(path: &str) {
    leptos_axum::redirect(path);
    let Some(options) = use_context::<ResponseOptions>() else { return };
    let is_page = options.0.read().is_ok_and(|parts| parts.status == Some(StatusCode::FOUND));
    if is_page {
        options.set_status(StatusCode::SEE_OTHER);
    }
}

/// Sets the status of the page that is being rendered. A redirect that was asked for while rendering wins over the state
/// that the rest of the page shows, whichever comes first: parts of a page are rendered side by side.
pub fn set_status(status: u16) {
    if let (Some(options), Ok(status)) = (use_context::<ResponseOptions>(), StatusCode::from_u16(status))
        && let Ok(mut parts) = options.0.write()
        && !parts.status.is_some_and(|known| known.is_redirection())
    {
        parts.status = Some(status);
    }
}

/// What the edge learned about the request that is being answered. The server provides it in context.
pub fn ctx() -> Result<RequestContext, AppError> {
    use_context().ok_or_else(|| {
        AppError::new(
            ErrorKind::Internal,
            "no_context",
            "Gatehouse could not read this request. Nothing was changed.",
        )
    })
}

/// Turns what `domain` refused into what a person is told: `.map_err(ssr::told(&ctx))`.
pub fn told(ctx: &RequestContext) -> impl Fn(domain::Error) -> AppError + '_ {
    move |error| error.into_app(&ctx.origin.request_id)
}

/// A cookie of the request that is being answered.
pub fn cookie(name: &str) -> Option<String> {
    let parts = use_context::<Parts>()?;
    parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// Adds a `Set-Cookie` to the response that is being made.
pub fn set_cookie(cookie: &str) {
    if let (Some(options), Ok(value)) = (use_context::<ResponseOptions>(), HeaderValue::from_str(cookie)) {
        options.append_header(header::SET_COOKIE, value);
    }
}

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

fn render<C>(context: C, mut request: Request<Body>) -> Answer
where
    C: Fn() + Clone + Send + Sync + 'static,
{
    // Whatever the client says it takes, it gets a page; and leptos makes a real redirect only for those.
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/html"));
    let context = move || {
        page_headers();
        context();
    };
    leptos_axum::render_app_async_with_context(context, shell)(request)
}

/// The headers that depend on what a page loads. The nonce is made for this response alone.
fn page_headers() {
    let (Some(options), Some(nonce)) = (use_context::<ResponseOptions>(), use_nonce()) else { return };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; \
         base-uri 'none'; object-src 'none'; frame-ancestors 'none'; report-to csp"
    );
    let reports = format!("csp=\"{}\"", model::paths::csp_reports());
    if let Ok(reports) = HeaderValue::from_str(&reports) {
        options.insert_header(axum::http::HeaderName::from_static("reporting-endpoints"), reports);
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        options.insert_header(header::CONTENT_SECURITY_POLICY, policy);
    }
    options.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// `POST /api/{function}`: a call from a hydrated page.
async fn answer_call<C>(context: C, request: Request<Body>) -> Response
where
    C: Fn() + Clone + Send + Sync + 'static,
{
    let (mut parts, body) = request.into_parts();
    if server_fn::axum::get_server_fn_service(parts.uri.path(), Method::POST).is_none() {
        return StatusCode::NOT_FOUND.into_response();
    }
    // A form posts to its page. If this were answered as a form, it would redirect to wherever the Referer says.
    parts.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    match to_bytes(body, MAX_FORM_BYTES).await {
        Ok(body) => call(context, parts, body).await.into_response(),
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
}

/// `POST` of a page with `?do=`: a form without scripts.
async fn answer_post<C>(context: C, request: Request<Body>) -> Response
where
    C: Fn() + Clone + Send + Sync + 'static,
{
    let (parts, body) = request.into_parts();
    let query = parse_form(parts.uri.query().unwrap_or_default().as_bytes());
    let Some(function) = query.into_iter().find_map(|(name, value)| (name == "do").then_some(value)) else {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    };
    // As it stands, not decoded: what looked at the query before this did not decode it either.
    let literal = format!("do={function}");
    let known = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == literal))
        && function.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && server_fn::axum::get_server_fn_service(&format!("/api/{function}"), Method::POST).is_some();
    let Some(uri) = known.then(|| format!("/api/{function}").parse::<Uri>().ok()).flatten() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let is_form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let Ok(body) = to_bytes(body, MAX_FORM_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let fields = parse_form(&body)
        .into_iter()
        .filter(|(name, _)| !name.is_empty() && !is_secret_field(name))
        .collect();

    let mut called = parts.clone();
    called.uri = uri;
    called.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let answer = call(context.clone(), called, body).await;

    if let Some(location) = answer.headers.get(header::LOCATION) {
        let mut response = StatusCode::SEE_OTHER.into_response();
        response.headers_mut().insert(header::LOCATION, location.clone());
        copy_cookies(&answer.headers, response.headers_mut());
        return response;
    }

    let outcome = PostOutcome {
        function,
        status: answer.status.as_u16(),
        result: String::from_utf8_lossy(&answer.body).into_owned(),
        fields,
    };
    let mut parts = parts;
    parts.method = Method::GET;
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    let status = answer.status;
    let retry_after = answer.headers.get(header::RETRY_AFTER).cloned();
    let context = move || {
        context();
        provide_context(outcome.clone());
        if let Some(options) = use_context::<ResponseOptions>() {
            // Before rendering, so that the page may know better.
            options.set_status(status);
            if let Some(retry_after) = retry_after.clone() {
                options.insert_header(header::RETRY_AFTER, retry_after);
            }
        }
    };
    let mut response = render(context, Request::from_parts(parts, Body::empty())).await;
    copy_cookies(&answer.headers, response.headers_mut());
    response
}

fn copy_cookies(from: &HeaderMap, to: &mut HeaderMap) {
    for cookie in from.get_all(header::SET_COOKIE) {
        to.append(header::SET_COOKIE, cookie.clone());
    }
}

/// What a server function answered.
struct Called {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Called {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// Whether a server function only looks: they are named so.
fn only_reads(path: &str) -> bool {
    path.starts_with("/api/load_")
}

/// Runs a server function. Leptos answers every error with 500: here it gets the status of its kind.
async fn call<C>(context: C, mut parts: Parts, body: Bytes) -> Called
where
    C: Fn() + Clone + Send + Sync + 'static,
{
    let mut acts = None;
    if !only_reads(parts.uri.path())
        && let Some(ctx) = parts.extensions.get_mut::<RequestContext>()
    {
        let field = parse_form(&body).into_iter().find(|(name, _)| name == MADE_IN);
        ctx.wants = Wants::Change { made_in: field.and_then(|(_, org)| org.parse().ok()) };
        acts = Some(ctx.clone());
    }
    let function = parts.uri.path().strip_prefix("/api/").and_then(functions::find);
    let request_id = parts.extensions.get::<RequestId>().map(|RequestId(id)| id.clone());
    let request = Request::from_parts(parts, Body::from(body));
    let response = leptos_axum::handle_server_fns_with_context(context, request).await.into_response();
    let (mut parts, body) = response.into_parts();
    // The body is ours and in memory: reading it does not fail.
    let mut body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if parts.status.is_server_error() {
        let mut error = serde_json::from_slice::<AppError>(&body).unwrap_or_else(|_| {
            AppError::new(ErrorKind::Internal, "internal", crate::copy::UNREADABLE_ANSWER)
        });
        if error.request_id.is_none() && matches!(error.kind, ErrorKind::Internal | ErrorKind::Unavailable) {
            error.request_id = request_id;
        }
        if let (Some(ctx), Some(action)) = (acts, function.and_then(Function::refused_as)) {
            domain::refusals::note(&ctx, action, &error).await;
        }
        parts.status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(seconds) = error.retry_after {
            parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        body = serde_json::to_vec(&error).unwrap_or_default().into();
        parts.headers.remove(header::CONTENT_LENGTH);
        // A function that failed goes nowhere, even if it had meant to.
        parts.headers.remove(header::LOCATION);
        parts.headers.remove(REDIRECT_HEADER);
    }
    Called { status: parts.status, headers: parts.headers, body }
}

/// `application/x-www-form-urlencoded` as pairs.
/// The fields of a form, or of a query, decoded once.
pub fn parse_form(bytes: &[u8]) -> Vec<(String, String)> {
    bytes
        .split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            (decode(&pair[..at]), decode(pair.get(at + 1..).unwrap_or_default()))
        })
        .collect()
}

fn decode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = tail;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        assert_eq!(
            parse_form(b"name=ci+bot%21&empty=&flag&c%5B%5D=a%zz"),
            [("name", "ci bot!"), ("empty", ""), ("flag", ""), ("c[]", "a%zz")]
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn every_page_has_a_path() {
        // No runtime in a unit test; what is spawned here is never awaited.
        _ = any_spawner::Executor::init_futures_executor();
        let paths = page_paths();
        for path in ["/", "/sign-in", "/connectors/{id}/edit", "/settings/api-keys", "/help/quickstart"] {
            assert!(paths.iter().any(|p| p == path), "{path} is missing in {paths:?}");
        }
    }
}
