//! What clients read first (RFC 8414): where the endpoints are and what they can do. Nothing of it comes from the request.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use domain::{
    Env,
    oauth::{Failure, clients::AuthMethod, register},
};
use http::{StatusCode, header};
use model::paths;
use serde_json::{Value, json};

use crate::reply::Refused;

fn document(env: &Env) -> Value {
    let url = |path: &str| env.settings.absolute(path);
    let methods: Vec<_> = AuthMethod::ALL.iter().map(|method| method.as_str()).collect();
    let secret: Vec<_> = methods.iter().filter(|name| **name != AuthMethod::None.as_str()).collect();
    let mut document = json!({
        "issuer": url(""),
        "authorization_endpoint": url(paths::authorize()),
        "token_endpoint": url(paths::token()),
        "jwks_uri": url(paths::jwks()),
        "revocation_endpoint": url(paths::revoke()),
        "introspection_endpoint": url(paths::introspect()),
        "scopes_supported": ["mcp:call", "offline_access"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": secret,
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": env.settings.cimd,
        "service_documentation": url(paths::help_authentication()),
    });
    if register::is_open(env) {
        document["registration_endpoint"] = json!(url(paths::register()));
    }
    document
}

fn public(body: String, cache: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, cache)], body).into_response()
}

/// `/.well-known/oauth-authorization-server`.
pub(crate) async fn authorization_server(State(env): State<Env>) -> Response {
    public(document(&env).to_string(), "public, max-age=300")
}

/// `/.well-known/openid-configuration`: the same document. Its readers insist on two members more, though no ID token is
/// ever issued.
pub(crate) async fn openid(State(env): State<Env>) -> Response {
    let mut document = document(&env);
    document["subject_types_supported"] = json!(["public"]);
    document["id_token_signing_alg_values_supported"] = json!(["RS256"]);
    public(document.to_string(), "public, max-age=300")
}

/// There is one issuer, and its URL has no path.
pub(crate) async fn none() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// `/oauth/jwks.json` (OAK-03). Not kept for longer than a new key is published before it signs.
pub(crate) async fn jwks(State(env): State<Env>) -> Response {
    match env.keys.jwks(&env).await {
        Ok(keys) => public(keys.to_string(), "public, max-age=3600"),
        Err(error) => Refused::of(Failure::Failed(error), "").into_response(),
    }
}
