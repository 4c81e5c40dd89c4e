//! Clients in browsers may call from any page (OAM-01): nothing here goes by cookies, so there is nothing to borrow.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};

/// Lets every page read the answer.
pub(crate) async fn open(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("WWW-Authenticate, Retry-After, X-Request-Id"),
    );
    // The site-wide policy would keep other sites' pages from reading it.
    let name = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(name, HeaderValue::from_static("cross-origin"));
    response
}

fn preflight(methods: &'static str) -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, MCP-Protocol-Version"),
        (header::ACCESS_CONTROL_MAX_AGE, "3600"),
    ];
    (StatusCode::NO_CONTENT, headers, Body::empty()).into_response()
}

/// The preflight of documents.
pub(crate) async fn read() -> Response {
    preflight("GET")
}

/// The preflight of endpoints.
pub(crate) async fn write() -> Response {
    preflight("GET, POST, PUT, DELETE")
}
