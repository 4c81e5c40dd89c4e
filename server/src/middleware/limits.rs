//! Forms are read here, whole, before anything else looks at them: small, in time, and without characters that no
//! database keeps (REQ-01, REQ-04, PWD-03).

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderValue, Method, Response, StatusCode, header},
    middleware::Next,
};
use domain::request::RequestId;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::{body::TooSlow, problem::problem};

/// The server functions that take a password.
const WITH_PASSWORD: &[&str] = &[
    "complete_setup",
    "sign_in",
    "reset_password",
    "finish_sign_up",
    "accept_as_new",
    "change_password",
    "ask_for_address",
    "delete_account",
    "delete_org",
    "finish_sign_in",
    "confirm_identity",
    "turn_off_two_factor",
    "remove_passkey",
    "set_pin",
    "remove_pin",
];
/// Their largest form: it is refused before anything is hashed.
const CREDENTIALS: usize = 4 * 1024;
/// The largest of any other form.
const LARGEST: usize = app::ssr::MAX_FORM_BYTES;

/// Reads a form into memory, or says why not.
pub async fn forms(request: Request, next: Next) -> Response<Body> {
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    if has_nul(request.uri().query().unwrap_or_default().as_bytes()) {
        return refused(Refused::Nul, &id);
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let limit = if takes_password(&request) { CREDENTIALS } else { LARGEST };
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let read = match length {
        Some(length) if length > limit => Err(Refused::TooLarge(limit)),
        _ => read(body, limit).await,
    };
    match read {
        Ok(form) => next.run(Request::from_parts(parts, Body::from(form))).await,
        Err(why) => refused(why, &id),
    }
}

/// Why a form is not read.
enum Refused {
    TooLarge(usize),
    TooSlow,
    BrokenOff,
    Nul,
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Refused> {
    let form = match Limited::new(body, limit).collect().await {
        Ok(form) => form.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Refused::TooLarge(limit)),
        Err(error) if is_too_slow(error.as_ref()) => return Err(Refused::TooSlow),
        Err(_) => return Err(Refused::BrokenOff),
    };
    if has_nul(&form) { Err(Refused::Nul) } else { Ok(form) }
}

fn is_too_slow(error: &(dyn core::error::Error + 'static)) -> bool {
    core::iter::successors(Some(error), |error| error.source()).any(<dyn core::error::Error>::is::<TooSlow>)
}

/// Whether an urlencoded text holds U+0000, which nobody types and `PostgreSQL` does not store.
fn has_nul(urlencoded: &[u8]) -> bool {
    urlencoded.contains(&0) || urlencoded.windows(3).any(|three| three == b"%00")
}

fn refused(why: Refused, id: &str) -> Response<Body> {
    let (status, code, detail) = match why {
        Refused::TooLarge(CREDENTIALS) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "This form takes at most 4 KiB. Nothing was changed; use a password of at most 128 characters.",
        ),
        Refused::TooLarge(_) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "A form takes at most 256 KiB. Nothing was changed; shorten its texts.",
        ),
        Refused::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "The form arrived too slowly. Nothing was changed; send it again.",
        ),
        Refused::BrokenOff => {
            (StatusCode::BAD_REQUEST, "broken_off", "The form broke off. Nothing was changed; send it again.")
        }
        Refused::Nul => (
            StatusCode::BAD_REQUEST,
            "characters",
            "The form holds the character U+0000, which cannot be stored. Nothing was changed; remove it and send the form again.",
        ),
    };
    let mut response = problem(status, code, detail, id);
    // What is left of the body is not read.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn takes_password(request: &Request) -> bool {
    let called = request.uri().path().strip_prefix("/api/");
    let posted =
        request.uri().query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("do=")));
    [called, posted].into_iter().flatten().any(|function| WITH_PASSWORD.contains(&function))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{
        Router,
        middleware::{from_fn, map_request},
        routing::post,
    };
    use futures_util::stream;
    use tower::ServiceExt as _;

    use super::*;

    /// What a form is answered that comes a piece every so many seconds.
    async fn answer(pieces: usize, piece: &'static str, pause: u64) -> StatusCode {
        let router = Router::new()
            .route("/", post(|form: String| async move { form.len().to_string() }))
            .layer(from_fn(forms))
            .layer(map_request(async |request| crate::middleware::body::paced(request)));
        let body = Body::from_stream(stream::unfold(0, move |sent| async move {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            (sent < pieces).then(|| (Ok::<_, std::io::Error>(piece), sent + 1))
        }));
        router.oneshot(Request::post("/").body(body).unwrap()).await.unwrap().status()
    }

    #[tokio::test(start_paused = true)]
    async fn req_04_a_form_that_dribbles_is_answered_408() {
        assert_eq!(answer(100, "x", 1).await, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer(1, "x", 31).await, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer(10, "name=x&", 1).await, StatusCode::OK);
    }

    #[tokio::test]
    async fn req_01_a_form_without_a_length_is_cut_at_the_limit() {
        assert_eq!(
            answer(4 * 1024 + 1, "0123456789012345678901234567890123456789012345678901234567890123", 0).await,
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }

    #[tokio::test]
    async fn a_character_that_cannot_be_stored_is_refused() {
        assert_eq!(answer(1, "name=a%00b", 0).await, StatusCode::BAD_REQUEST);
        assert_eq!(answer(1, "name=a\0b", 0).await, StatusCode::BAD_REQUEST);
        assert_eq!(answer(1, "name=a%2500b", 0).await, StatusCode::OK, "a per cent sign and two zeros");
    }
}
