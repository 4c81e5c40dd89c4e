//! No other site can make a signed-in browser change anything (SES-06, SES-07).

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Method, Response, StatusCode, header},
    middleware::Next,
};
use domain::{Env, request::RequestId};

use super::{headers::is_own_origin, problem::problem};

const FORM: &str = "application/x-www-form-urlencoded";

/// Lets a state-changing request through only when the browser says that it comes from a page of ours, and only with
/// the one content type that forms and server functions use.
pub async fn same_origin(State(env): State<Env>, request: Request, next: Next) -> Response<Body> {
    match refusal(&env, &request) {
        Some(refused) => refused,
        None => next.run(request).await,
    }
}

fn refusal(env: &Env, request: &Request) -> Option<Response<Body>> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let id = request.extensions().get::<RequestId>().map(|id| id.0.as_str()).unwrap_or_default();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let ours = match (header("sec-fetch-site"), header("origin")) {
        // `same-site` is refused: a sister host is somebody else.
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => is_own_origin(env, origin),
        (None, None) => false,
    };
    if !ours {
        return Some(problem(
            StatusCode::FORBIDDEN,
            "csrf",
            "This request did not come from a page of this Gatehouse, so nothing was changed. Open the page again and retry there.",
            id,
        ));
    }
    let media = header(header::CONTENT_TYPE.as_str())
        .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if media.is_some_and(|media| media != FORM) || request.headers().contains_key(header::CONTENT_ENCODING) {
        let detail = "Send a form: application/x-www-form-urlencoded.";
        return Some(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", detail, id));
    }
    None
}
