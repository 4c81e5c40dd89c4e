//! Answers: RFC 6749 JSON for programs, redirects for browsers. Every error has its form here and nowhere else.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use domain::{
    Error,
    oauth::{Failure, Fault, Refusal},
    request::{ClientIp, Origin, RequestId},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use model::ErrorKind;
use serde_json::{Value, json};

use crate::params::encode;

/// An error as a program gets it.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: String,
    pub(crate) retry_after: Option<u32>,
    /// Whether the client tried HTTP authentication, or has to be told how.
    pub(crate) challenge: Option<&'static str>,
}

impl Refused {
    /// `invalid_request`.
    pub(crate) fn invalid(description: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: Fault::InvalidRequest.as_str(),
            description: description.to_owned(),
            retry_after: None,
            challenge: None,
        }
    }

    /// What a failure looks like from outside. Internal text is logged, under the request's id, and stays here.
    pub(crate) fn of(failure: Failure, request_id: &str) -> Self {
        match failure {
            Failure::Refused(Refusal { fault, description }) => {
                let (status, challenge) = match fault {
                    Fault::InvalidClient => (StatusCode::UNAUTHORIZED, Some("Basic realm=\"Gatehouse\"")),
                    Fault::InvalidToken => (StatusCode::UNAUTHORIZED, Some("Bearer error=\"invalid_token\"")),
                    Fault::AccessDenied => (StatusCode::FORBIDDEN, None),
                    _ => (StatusCode::BAD_REQUEST, None),
                };
                Self { status, error: fault.as_str(), description, retry_after: None, challenge }
            }
            Failure::Failed(error) => Self::failed(error, request_id),
        }
    }

    fn failed(error: Error, request_id: &str) -> Self {
        let told = error.into_app(request_id);
        let (status, error) = match told.kind {
            ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        Self { status, error, description: told.message, retry_after: told.retry_after, challenge: None }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": described(&self.description)});
        let mut response = secret(self.status, &body);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// A description has no quotes, backslashes or anything outside ASCII (RFC 6749 §5.2).
pub(crate) fn described(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '\'' }).collect()
}

/// A JSON answer that nobody may keep (RFC 6749 §5.1).
pub(crate) fn secret(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::PRAGMA, "no-cache"),
    ];
    (status, headers, body.to_string()).into_response()
}

/// An empty answer that nobody may keep.
pub(crate) fn nothing(status: StatusCode) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], Body::empty())
        .into_response()
}

/// 303, which never repeats a POST (OAZ-01).
pub(crate) fn see_other(target: &str) -> Response {
    let mut response = nothing(StatusCode::SEE_OTHER);
    match HeaderValue::from_str(target) {
        Ok(target) => {
            response.headers_mut().insert(header::LOCATION, target);
        }
        // Redirect URIs are ASCII, and everything else is encoded.
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// The redirect that answers an authorization request, with `state` as it came and `iss` (RFC 9207).
pub(crate) fn answer(
    redirect_uri: &str,
    answer: &[(&str, &str)],
    state: Option<&str>,
    issuer: &str,
) -> Response {
    let mut target = redirect_uri.to_owned();
    let mut separator = if redirect_uri.contains('?') { '&' } else { '?' };
    let common = [("state", state), ("iss", Some(issuer))];
    let common = common.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in answer.iter().copied().chain(common) {
        target.push(separator);
        target.push_str(name);
        target.push('=');
        target.push_str(&encode(value));
        separator = '&';
    }
    see_other(&target)
}

/// The request's id.
pub(crate) fn request_id(parts: &Parts) -> String {
    parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// Where a request came from.
pub(crate) fn origin(parts: &Parts) -> Origin {
    Origin {
        address: parts.extensions.get::<ClientIp>().map(|client| client.0),
        user_agent: user_agent(&parts.headers),
        request_id: request_id(parts),
        ..Origin::default()
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?;
    Some(String::from_utf8_lossy(agent.as_bytes()).chars().filter(|c| !c.is_control()).take(256).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(response: &Response) -> &str {
        response.headers()[header::LOCATION].to_str().unwrap()
    }

    #[test]
    fn oaz_10_every_redirect_names_the_issuer_and_echoes_the_state() {
        let response =
            answer("https://a.example/cb?x=1", &[("code", "c")], Some("a b&\"é"), "https://g.example");
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(
            location(&response),
            "https://a.example/cb?x=1&code=c&state=a%20b%26%22%C3%A9&iss=https%3A%2F%2Fg.example"
        );
        let response = answer("cursor://x/cb", &[("error", "access_denied")], None, "https://g.example");
        assert_eq!(location(&response), "cursor://x/cb?error=access_denied&iss=https%3A%2F%2Fg.example");
    }

    #[test]
    fn err_01_failures_of_ours_tell_nothing() {
        let failure = Failure::Failed(Error::Internal("SELECT secret".to_owned()));
        let refused = Refused::of(failure, "r");
        assert_eq!((refused.status, refused.error), (StatusCode::INTERNAL_SERVER_ERROR, "server_error"));
        assert!(!refused.description.contains("SELECT"));
        assert_eq!(described("a \"b\" \\ é\n"), "a 'b' ' ''");
    }
}
