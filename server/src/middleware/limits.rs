//! Forms with a password are small: a larger body is refused before anything is hashed (PWD-03, REQ-01).

use axum::{
    body::Body,
    extract::Request,
    http::{Response, StatusCode, header},
    middleware::Next,
};
use domain::request::RequestId;
use http_body_util::Limited;

use super::problem::problem;

/// The server functions that take a password.
const WITH_PASSWORD: &[&str] = &["complete_setup", "sign_in"];
const LARGEST: usize = 4 * 1024;

/// Caps the body of a request to a function that takes a password.
pub async fn credentials(request: Request, next: Next) -> Response<Body> {
    if !takes_password(&request) {
        return next.run(request).await;
    }
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > LARGEST) {
        let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        let detail =
            "This form takes at most 4 KiB. Nothing was changed; use a password of at most 128 characters.";
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, &id);
    }
    next.run(request.map(|body| Body::new(Limited::new(body, LARGEST)))).await
}

fn takes_password(request: &Request) -> bool {
    let called = request.uri().path().strip_prefix("/api/");
    let posted =
        request.uri().query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("do=")));
    [called, posted].into_iter().flatten().any(|function| WITH_PASSWORD.contains(&function))
}
