//! Errors of the edge as `application/problem+json` (RFC 9457).

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use model::ErrorKind;
use serde_json::json;

/// A refusal with a word for programs and a sentence for people. Internal text has no way in (ERR-01). `kind` and
/// `message` are what pages read of the error of a server function, so that they can show this one too.
pub fn problem(status: StatusCode, code: &str, detail: &str, request_id: &str) -> Response<Body> {
    let body = json!({
        "kind": kind(status),
        "message": detail,
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
        "request_id": request_id,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn kind(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
        StatusCode::FORBIDDEN => ErrorKind::Forbidden,
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::CONFLICT => ErrorKind::Conflict,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
        status if status.is_client_error() => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_read_a_refusal_of_the_edge() {
        let response = problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Send less.", "req_1");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let error: model::AppError = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (error.kind, error.code.as_str(), error.message.as_str()),
            (ErrorKind::Invalid, "too_large", "Send less.")
        );
        assert_eq!(error.request_id.as_deref(), Some("req_1"));
    }
}
