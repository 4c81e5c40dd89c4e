//! `POST /oauth/revoke` (RFC 7009).

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use domain::{Env, oauth::revoke};
use http::StatusCode;

use crate::{
    client_auth, params,
    reply::{Refused, nothing, origin, request_id},
};

pub(crate) async fn answer(State(env): State<Env>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = match params::form(&parts, body).await {
        Ok(params) => params,
        Err(refused) => return refused.into_response(),
    };
    let revoked = async {
        // What kind it is is seen from the token itself, so `token_type_hint` says nothing new.
        let token = params.need("token")?;
        let client = client_auth::client(&env, &parts, &params).await?;
        revoke::revoke(&env, &origin(&parts).client(&client.id), &client, token).await
    };
    match revoked.await {
        Ok(()) => nothing(StatusCode::OK),
        Err(failure) => Refused::of(failure, &request_id(&parts)).into_response(),
    }
}
