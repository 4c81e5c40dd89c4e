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
    let (form, decided) = match params::body(body).await {
        Ok(body) => {
            let form = Params::parse(&body);
            let decided = decided(&parts, &form).await;
            (form, decided)
        }
        Err(_) => (Params::default(), Err(unreadable().into())),
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
            // What only has to be chosen otherwise is said where it is chosen: the request is still open.
            if let Some(again) = error.fields.first().and_then(|flaw| again(&form, &flaw.field)) {
                return see_other(&again);
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

/// The consent page of the same request, with the field that has to change.
fn again(form: &Params, field: &str) -> Option<String> {
    let request = form.one("request").ok()??;
    let org = form.one("org").ok()?.unwrap_or_default();
    Some(paths::consent_again(request, org, field))
}

fn unreadable() -> AppError {
    AppError::new(
        ErrorKind::Invalid,
        "bad_form",
        "The form did not arrive whole, so nothing was given to the app. Go back and try again.",
    )
}
