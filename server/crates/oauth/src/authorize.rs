//! `/oauth/authorize`: what the parameters must look like, and where the browser goes next.

use axum::{
    extract::{Request, State},
    response::Response,
};
use domain::{
    Error,
    oauth::{
        Failure, Fault, Refusal,
        authorize::{self, Ask, Next, Trusted},
    },
    request::RequestContext,
};
use http::{StatusCode, request::Parts};
use model::{AppError, ErrorKind, paths};

use crate::{
    People,
    params::{self, Params, encode},
    reply::{answer, described, request_id, see_other},
};

/// The longest `state` that is given back.
const LONGEST_STATE: usize = 2 * 1024;
/// A parameter of our own: from when on a log-in counts. Whoever changes it changes what their own browser is asked.
const SIGNED_IN_AFTER: &str = "signed_in_after";

pub(crate) async fn get(State(people): State<People>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let resumed = authorize::unpack(query);
    let params = Params::parse(resumed.as_deref().unwrap_or(query).as_bytes());
    respond(&people, parts, &params).await
}

pub(crate) async fn post(State(people): State<People>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match params::body(body).await {
        Ok(body) if params::is_of_type(&parts.headers, "application/x-www-form-urlencoded") => body,
        _ => return page(&people, parts, malformed()).await,
    };
    respond(&people, parts, &Params::parse(&body)).await
}

fn malformed() -> AppError {
    AppError::new(
        ErrorKind::Invalid,
        "bad_request",
        "The app that sent you here asked in a form that cannot be read, so nothing was given to it. Start again in the app.",
    )
}

/// An error that only the person is told, with status 400 (OAZ-01).
async fn page(people: &People, parts: Parts, error: AppError) -> Response {
    let is_ours = matches!(error.kind, ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::RateLimited);
    let mut response = (people.error_page)(error, parts).await;
    if !is_ours {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
}

async fn respond(people: &People, parts: Parts, params: &Params) -> Response {
    let Some(ctx) = parts.extensions.get::<RequestContext>().cloned() else {
        let error = Error::Internal("the authorization endpoint has no session layer".to_owned());
        let error = error.into_app(&request_id(&parts));
        return page(people, parts, error).await;
    };
    let (Ok(client_id), Ok(redirect_uri)) = (params.one("client_id"), params.one("redirect_uri")) else {
        return page(people, parts, malformed()).await;
    };
    let trusted = match authorize::trust(&people.env, &ctx.origin, client_id, redirect_uri).await {
        Ok(trusted) => trusted,
        Err(error) => {
            let error = error.into_app(&request_id(&parts));
            return page(people, parts, error).await;
        }
    };
    // A state that cannot be given back as it came is not given back.
    let state = params.one("state").ok().flatten().filter(|state| state.len() <= LONGEST_STATE);
    match next(&ctx, &trusted, params, state).await {
        Ok(Next::Consent(request)) => see_other(&paths::consent(&request)),
        Ok(Next::LogIn { again: None }) => see_other(&paths::sign_in_then(&here(&again(params, None)))),
        Ok(Next::LogIn { again: Some(after) }) => {
            see_other(&paths::sign_in_again_then(&here(&again(params, Some(after)))))
        }
        Err(failure) => {
            let refusal = refusal(failure, &request_id(&parts));
            let description = described(&refusal.1);
            let pairs = [("error", refusal.0), ("error_description", description.as_str())];
            answer(&trusted.redirect_uri, &pairs, state, &people.env.settings.absolute(""))
        }
    }
}

fn refusal(failure: Failure, request_id: &str) -> (&'static str, String) {
    match failure {
        Failure::Refused(Refusal { fault, description }) => (fault.as_str(), description),
        Failure::Failed(error) => {
            let told = error.into_app(request_id);
            let passing = matches!(told.kind, ErrorKind::Unavailable | ErrorKind::RateLimited);
            (if passing { "temporarily_unavailable" } else { "server_error" }, told.message)
        }
    }
}

async fn next(
    ctx: &RequestContext,
    trusted: &Trusted,
    params: &Params,
    state: Option<&str>,
) -> Result<Next, Failure> {
    if params.is_repeated("resource") {
        return Err(Fault::InvalidTarget.because("Name one resource."));
    }
    if let Some(flaw) = params.flaw() {
        return Err(Fault::InvalidRequest.because(flaw));
    }
    if params.get("state")?.is_some_and(|state| state.len() > LONGEST_STATE) {
        return Err(Fault::InvalidRequest.because("state is longer than 2048 bytes."));
    }
    if params.get("request")?.is_some() || params.get("request_uri")?.is_some() {
        return Err(Fault::RequestNotSupported.because("Request objects are not read."));
    }
    match params.need("response_type")? {
        "code" => {}
        _ => return Err(Fault::UnsupportedResponseType.because("response_type is code.")),
    }
    if params.get("response_mode")?.is_some_and(|mode| mode != "query") {
        return Err(Fault::InvalidRequest.because("response_mode is query."));
    }
    let code_challenge = params.need("code_challenge")?;
    if params.get("code_challenge_method")? != Some("S256") || !is_challenge(code_challenge) {
        return Err(Fault::InvalidRequest.because("PKCE is needed, with code_challenge_method S256."));
    }
    let prompt: Vec<&str> =
        params.get("prompt")?.unwrap_or_default().split(' ').filter(|p| !p.is_empty()).collect();
    let silent = prompt.contains(&"none");
    if silent && prompt.len() > 1 {
        return Err(Fault::InvalidRequest.because("prompt=none stands alone."));
    }
    let ask = Ask {
        state,
        scope: params.get("scope")?,
        resource: params.get("resource")?,
        code_challenge,
        silent,
        log_in_again: prompt.contains(&"login"),
        max_age: number(params, "max_age")?,
        signed_in_after: number(params, SIGNED_IN_AFTER)?,
    };
    authorize::judge(ctx, trusted, &ask).await
}

/// The S256 of something: 32 bytes in base64url.
fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn number(params: &Params, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = params.get(name)? else { return Ok(None) };
    let digits = text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(Fault::InvalidRequest.because(format!("{name} is a number."))),
    }
}

/// The same request once more, for after the log-in. When that had to be a new one, this is noted, and not asked again.
fn again(params: &Params, after: Option<i64>) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in params.iter() {
        if after.is_some() && name == SIGNED_IN_AFTER {
            continue;
        }
        let value = if after.is_some() && name == "prompt" {
            value.split(' ').filter(|prompt| *prompt != "login").collect::<Vec<_>>().join(" ")
        } else {
            value.to_owned()
        };
        pairs.push((name.to_owned(), value));
    }
    pairs.extend(after.map(|after| (SIGNED_IN_AFTER.to_owned(), after.to_string())));
    let query: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    query.join("&")
}

/// Where a query is asked.
fn here(query: &str) -> String {
    format!("{}?{}", paths::authorize(), authorize::pack(query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oaz_09_the_request_is_asked_again_without_what_was_done() {
        let params = Params::parse(b"client_id=a&prompt=login+consent&state=x%2F%2Fy%26z&signed_in_after=1");
        let query = again(&params, Some(7));
        assert_eq!(query, "client_id=a&prompt=consent&state=x%2F%2Fy%26z&signed_in_after=7");
        assert_eq!(
            again(&params, None),
            "client_id=a&prompt=login%20consent&state=x%2F%2Fy%26z&signed_in_after=1"
        );
        let path = here(&query);
        assert_eq!(paths::safe_next(Some(&path)), path);
        assert!(!path.contains('%'), "nothing in it to decode");
        assert_eq!(authorize::unpack(path.split_once('?').unwrap().1), Some(query));
        assert_eq!(authorize::unpack("resume=!"), None);
    }

    #[test]
    fn oaz_03_a_challenge_is_43_characters() {
        assert!(is_challenge(&"a-_9".repeat(11)[..43]));
        for bad in
            ["", "a", &"a".repeat(42), &"a".repeat(44), &format!("{}=", "a".repeat(42)), &"+".repeat(43)]
        {
            assert!(!is_challenge(bad), "{bad}");
        }
    }
}
