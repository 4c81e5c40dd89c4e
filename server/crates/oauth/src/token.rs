//! `POST /oauth/token`.

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use domain::{
    Env,
    oauth::{Failure, Fault, Issued},
};
use http::{StatusCode, request::Parts};
use serde_json::json;

use crate::{
    client_auth, grants,
    params::{self, Params},
    reply::{Refused, origin, request_id, secret},
    seen,
};

pub(crate) async fn answer(State(env): State<Env>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = match params::form(&parts, body).await {
        Ok(params) => params,
        Err(refused) => return refused.into_response(),
    };
    let issued = issue(&env, &parts, &params).await;
    let error = issued.as_ref().err().map(|refused| refused.error);
    seen::token(&env, &origin(&parts), &params, error).await;
    match issued {
        Ok(issued) => granted(&issued),
        Err(refused) => refused.into_response(),
    }
}

async fn issue(env: &Env, parts: &Parts, params: &Params) -> Result<Issued, Refused> {
    let issued = async {
        let grant = params.need("grant_type")?;
        let known = ["authorization_code", "refresh_token", "client_credentials"];
        if !known.contains(&grant) {
            return Err(Fault::UnsupportedGrantType.because("This grant_type is not known here."));
        }
        let client = client_auth::client(env, parts, params).await?;
        let origin = origin(parts).client(&client.id);
        match grant {
            "authorization_code" => grants::authorization_code::issue(env, &origin, &client, params).await,
            "refresh_token" => grants::refresh_token::issue(env, &origin, &client, params).await,
            _ => grants::client_credentials::issue(env, &origin, &client, params).await,
        }
    };
    issued.await.map_err(|failure: Failure| Refused::of(failure, &request_id(parts)))
}

fn granted(issued: &Issued) -> Response {
    let mut body = json!({
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scope,
    });
    if let Some(refresh_token) = &issued.refresh_token {
        body["refresh_token"] = json!(refresh_token);
    }
    secret(StatusCode::OK, &body)
}
