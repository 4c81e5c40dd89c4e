//! `POST /oauth/introspect` (RFC 7662).

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use domain::{Env, oauth::revoke};
use http::StatusCode;

use crate::{
    client_auth, params,
    reply::{Refused, origin, request_id, secret},
};

pub(crate) async fn answer(State(env): State<Env>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = match params::form(&parts, body).await {
        Ok(params) => params,
        Err(refused) => return refused.into_response(),
    };
    let told = async {
        let token = params.need("token")?;
        let client = client_auth::client(&env, &parts, &params).await?;
        revoke::introspect(&env, &origin(&parts), &client, token).await
    };
    match told.await {
        Ok(told) => secret(StatusCode::OK, &told),
        Err(failure) => Refused::of(failure, &request_id(&parts)).into_response(),
    }
}
