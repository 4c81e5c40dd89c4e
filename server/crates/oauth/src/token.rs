//! `POST /oauth/token`.

use axum::{
    body::Body,
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
    client_auth, grants, params,
    reply::{Refused, origin, request_id, secret},
};

pub(crate) async fn answer(State(env): State<Env>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match issue(&env, &parts, body).await {
        Ok(issued) => granted(&issued),
        Err(refused) => refused.into_response(),
    }
}

async fn issue(env: &Env, parts: &Parts, body: Body) -> Result<Issued, Refused> {
    let params = params::form(parts, body).await?;
    let issued = async {
        let grant = params.need("grant_type")?;
        let known = ["authorization_code", "refresh_token", "client_credentials"];
        if !known.contains(&grant) {
            return Err(Fault::UnsupportedGrantType.because("This grant_type is not known here."));
        }
        let client = client_auth::client(env, &parts.headers, &params).await?;
        let origin = origin(parts);
        match grant {
            "authorization_code" => grants::authorization_code::issue(env, &origin, &client, &params).await,
            "refresh_token" => grants::refresh_token::issue(env, &origin, &client, &params).await,
            _ => grants::client_credentials::issue(env, &client, &params).await,
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
