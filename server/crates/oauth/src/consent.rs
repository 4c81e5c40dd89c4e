//! `POST /oauth/consent/decision`: what the person answered.

use axum::{
    extract::{Request, State},
    response::Response,
};
use domain::{
    Error,
    oauth::consent::{self, Answer, Decision},
    request::RequestContext,
};
use http::{StatusCode, request::Parts};
use model::{AppError, ErrorKind, paths};

use crate::{
    People,
    params::{self, Params},
    reply::{answer, described, request_id, see_other},
};

pub(crate) async fn decide(State(people): State<People>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let decided = match params::body(body).await {
        Ok(body) => decided(&parts, &Params::parse(&body)).await,
        Err(_) => Err(unreadable().into()),
    };
    let answered = match decided {
        Ok(answered) => answered,
        Err(error) => {
            let error = error.into_app(&request_id(&parts));
            if error.kind == ErrorKind::Unauthenticated {
                // The session ended meanwhile. There is no way back into this request, and the page behind the log-in
                // says so.
                return see_other(&paths::sign_in_then(&paths::consent("")));
            }
            return (people.error_page)(error, parts).await;
        }
    };
    let issuer = people.env.settings.absolute("");
    let Answer { redirect_uri, state, result } = answered;
    match &result {
        Ok(code) => answer(&redirect_uri, &[("code", code)], state.as_deref(), &issuer),
        Err(refusal) => {
            let description = described(&refusal.description);
            let pairs = [("error", refusal.fault.as_str()), ("error_description", description.as_str())];
            answer(&redirect_uri, &pairs, state.as_deref(), &issuer)
        }
    }
}

async fn decided(parts: &Parts, form: &Params) -> Result<Answer, Error> {
    let ctx = parts.extensions.get::<RequestContext>().ok_or_else(|| {
        Error::Internal(format!(
            "{} without a session layer: {}",
            parts.uri.path(),
            StatusCode::INTERNAL_SERVER_ERROR
        ))
    })?;
    let one = |name: &str| form.one(name).map_err(|_| unreadable());
    let allow = match one("decision")? {
        Some("allow") => true,
        Some("deny") => false,
        _ => return Err(unreadable().into()),
    };
    let decision = Decision {
        request: one("request")?.unwrap_or_default().to_owned(),
        allow,
        org: one("org")?.map(str::parse).transpose().map_err(|_| unreadable())?,
        all: one("all")? == Some("on"),
        connectors: [form.texts("connectors"), form.texts("connectors[]")].concat(),
    };
    consent::decide(ctx, &decision).await
}

fn unreadable() -> AppError {
    AppError::new(
        ErrorKind::Invalid,
        "bad_form",
        "The form did not arrive whole, so nothing was given to the app. Go back and try again.",
    )
}
