//! `POST /oauth/register` (RFC 7591) and the management of a registration (RFC 7592).

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use domain::{
    Env,
    oauth::{
        Fault, Outcome,
        clients::AuthMethod,
        register::{self, Registered},
    },
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use model::paths;
use serde_json::{Map, Value, json};

use crate::{
    params,
    reply::{Refused, nothing, origin, request_id, secret},
};

pub(crate) async fn create(State(env): State<Env>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let object = match read_object(&parts, body).await {
        Ok(object) => object,
        Err(refused) => return refused.into_response(),
    };
    let made = register::register(&env, &origin(&parts), &object).await;
    answer(&env, &parts, StatusCode::CREATED, made)
}

pub(crate) async fn read(State(env): State<Env>, Path(id): Path<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let found = match token(&parts.headers) {
        Ok(token) => register::get(&env, &id, token).await,
        Err(failure) => Err(failure),
    };
    answer(&env, &parts, StatusCode::OK, found)
}

pub(crate) async fn update(State(env): State<Env>, Path(id): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let token = match token(&parts.headers) {
        Ok(token) => token,
        Err(failure) => return answer(&env, &parts, StatusCode::OK, Err(failure)),
    };
    let object = match read_object(&parts, body).await {
        Ok(object) => object,
        Err(refused) => return refused.into_response(),
    };
    let changed = register::put(&env, &id, token, &object).await;
    answer(&env, &parts, StatusCode::OK, changed)
}

pub(crate) async fn delete(State(env): State<Env>, Path(id): Path<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let deleted = match token(&parts.headers) {
        Ok(token) => register::delete(&env, &origin(&parts), &id, token).await,
        Err(failure) => Err(failure),
    };
    match deleted {
        Ok(()) => nothing(StatusCode::NO_CONTENT),
        Err(failure) => Refused::of(failure, &request_id(&parts)).into_response(),
    }
}

async fn read_object(parts: &Parts, body: Body) -> Result<Map<String, Value>, Refused> {
    let invalid = |description: &str| Refused {
        error: Fault::InvalidClientMetadata.as_str(),
        ..Refused::invalid(description)
    };
    if !params::is_of_type(&parts.headers, "application/json") {
        return Err(invalid("The body is application/json."));
    }
    let body = params::body(body).await?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(invalid("The body is a JSON object.")),
    }
}

/// The registration access token.
fn token(headers: &HeaderMap) -> Outcome<&str> {
    let line = headers.get(header::AUTHORIZATION).and_then(|line| line.to_str().ok()).unwrap_or_default();
    let (scheme, token) = line.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() {
        return Ok(token.trim());
    }
    Err(Fault::InvalidToken.because("Send the registration access token as a bearer token."))
}

fn answer(env: &Env, parts: &Parts, status: StatusCode, done: Outcome<Registered>) -> Response {
    match done {
        Ok(registered) => secret(status, &document(env, registered)),
        Err(failure) => Refused::of(failure, &request_id(parts)).into_response(),
    }
}

fn document(env: &Env, registered: Registered) -> Value {
    let Registered { client, claims, management, secret } = registered;
    let uri = format!("{}/{}", paths::register(), paths::encode_segment(&client.id));
    let mut document = claims;
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("client_id", json!(client.id));
    put("client_id_issued_at", json!(client.created_at / 1000));
    put("client_name", json!(client.name));
    put("redirect_uris", json!(client.redirect_uris));
    put("token_endpoint_auth_method", json!(client.auth_method.as_str()));
    put("grant_types", json!(["authorization_code", "refresh_token"]));
    put("response_types", json!(["code"]));
    put("scope", json!(client.scope));
    put("registration_access_token", json!(management));
    put("registration_client_uri", json!(env.settings.absolute(&uri)));
    if client.auth_method != AuthMethod::None {
        put("client_secret_expires_at", json!(0));
    }
    if let Some(secret) = secret {
        put("client_secret", json!(secret));
    }
    Value::Object(document)
}
