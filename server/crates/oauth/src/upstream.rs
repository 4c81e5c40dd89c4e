//! Gatehouse as a client of other authorization servers: where they send people back to, and the document about it.

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use domain::{
    Env, Error,
    request::RequestContext,
    upstream_oauth::{
        client,
        flow::{self, Finished, Return},
    },
};
use http::{StatusCode, header, request::Parts};
use model::{AppError, ErrorKind, paths};

use crate::{
    People,
    params::Params,
    reply::{request_id, see_other},
};

/// `GET /oauth/upstream/callback`. Other sites lead here, and it changes something: what protects it is `state`, which is
/// good once, for the session that it was made in (RFC 6749 §10.12).
pub(crate) async fn callback(State(people): State<People>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match finished(&parts).await {
        Ok(Finished { personal: true, .. }) => {
            see_other(&format!("{}?notice=authorized", paths::profile_authorizations()))
        }
        Ok(Finished { connector, .. }) => {
            see_other(&format!("{}?notice=authorized", paths::connector_credentials(connector)))
        }
        Err(error) => {
            let error = error.into_app(&request_id(&parts));
            if error.kind == ErrorKind::Unauthenticated {
                // The session ended meanwhile, and with it what was begun in it.
                return see_other(&paths::sign_in_then(paths::profile_authorizations()));
            }
            (people.error_page)(error, parts).await
        }
    }
}

async fn finished(parts: &Parts) -> Result<Finished, Error> {
    let ctx = parts.extensions.get::<RequestContext>().ok_or_else(|| {
        Error::Internal(format!(
            "{} without a session layer: {}",
            parts.uri.path(),
            StatusCode::INTERNAL_SERVER_ERROR
        ))
    })?;
    let finished = flow::finish(ctx, &returned(parts)?).await?;
    // Its list of tools is of use at once; whether it can be had now does not change what was given.
    let (env, id) = (ctx.env.clone(), finished);
    tokio::spawn(async move {
        let actor = domain::OrgActor::<model::permissions::can::ConnectorsWrite>::system(id.org);
        if let Err(error) = domain::connectors::test(&env, &actor, id.connector).await {
            tracing::warn!(%error, connector.id = %id.connector, "a connector could not be asked after it was authorised");
        }
    });
    Ok(finished)
}

/// What an authorization server sent along with a person.
pub(crate) fn returned(parts: &Parts) -> Result<Return, AppError> {
    let params = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let one = |name: &str| params.one(name).map(|value| value.map(str::to_owned)).map_err(|_| twice());
    Ok(Return { state: one("state")?, code: one("code")?, iss: one("iss")?, error: one("error")? })
}

fn twice() -> AppError {
    AppError::new(
        ErrorKind::Invalid,
        "bad_request",
        "The server that you come from sent you back with the same thing twice. Nothing was changed: start again where you began.",
    )
}

/// `GET /oauth/upstream/client.json`.
pub(crate) async fn document(State(env): State<Env>) -> Response {
    match client::document(&env) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(document) => (
            [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=3600")],
            document.to_string(),
        )
            .into_response(),
    }
}
