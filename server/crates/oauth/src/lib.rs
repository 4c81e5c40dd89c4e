//! The authorization server's wire: `/oauth/*` and its metadata documents; and what other authorization servers see of
//! Gatehouse as their client.
//!
//! Owns: what a request to an endpoint must look like, the error that each RFC gives to each fault, the headers, and the
//! redirects. One file for each grant. Must not know: SQL, pages, what a token or a client is allowed (that is
//! `domain::oauth`), or the data plane.
//!
//! The server mounts three routers, because three kinds of callers need different layers around them: [`authorize`] is
//! opened by browsers on the word of another site and needs the session; [`decision`] is a form of a page of ours and
//! needs the session and the check of where it comes from; [`machines`] is called by programs, from any origin.

mod authorize;
mod client_auth;
mod consent;
mod cors;
mod grants;
mod introspect;
mod metadata;
mod params;
mod register;
mod reply;
mod revoke;
mod seen;
mod sso;
mod token;
mod upstream;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use domain::Env;
use futures_util::future::BoxFuture;
use http::request::Parts;
use model::{AppError, paths};

/// Draws the page that tells a person of an error. Only the app can draw one.
pub type ErrorPage =
    Arc<dyn Fn(AppError, Parts) -> BoxFuture<'static, axum::response::Response> + Send + Sync>;

/// The largest body of any endpoint.
const LARGEST: usize = 16 * 1024;

/// What the endpoints that people's browsers meet are built from.
#[derive(Clone)]
struct People {
    env: Env,
    error_page: ErrorPage,
}

/// `/oauth/authorize`, `/oauth/upstream/callback` and `/oauth/sso/callback`: opened by whatever sends people here. They expect [`domain::request::RequestContext`] among the
/// request's extensions.
pub fn authorize(env: Env, error_page: ErrorPage) -> Router {
    Router::new()
        .route(paths::authorize(), get(authorize::get).post(authorize::post))
        .route(paths::upstream_callback(), get(upstream::callback))
        .route(paths::sso_callback(), get(sso::callback))
        .with_state(People { env, error_page })
}

/// `POST /oauth/consent/decision`: the form of the consent page. It expects
/// [`domain::request::RequestContext`] among the request's extensions, and requests from pages of ours alone.
pub fn decision(env: Env, error_page: ErrorPage) -> Router {
    Router::new()
        .route(paths::consent_decision(), post(consent::decide))
        .with_state(People { env, error_page })
}

/// What programs call: metadata, keys, tokens, registration.
pub fn machines(env: Env) -> Router {
    let documents = Router::new()
        .route(
            paths::authorization_server_metadata(),
            get(metadata::authorization_server).options(cors::read),
        )
        .route(paths::openid_configuration(), get(metadata::openid).options(cors::read))
        .route(
            &format!("{}/{{*path}}", paths::authorization_server_metadata()),
            get(metadata::none).options(cors::read),
        )
        .route(
            &format!("{}/{{*path}}", paths::openid_configuration()),
            get(metadata::none).options(cors::read),
        )
        .route(paths::jwks(), get(metadata::jwks).options(cors::read))
        .route(paths::upstream_client(), get(upstream::document).options(cors::read));
    let endpoints = Router::new()
        .route(paths::token(), post(token::answer).options(cors::write))
        .route(paths::revoke(), post(revoke::answer).options(cors::write))
        .route(paths::register(), post(register::create).options(cors::write))
        .route(
            &format!("{}/{{id}}", paths::register()),
            get(register::read).put(register::update).delete(register::delete).options(cors::write),
        );
    documents
        .merge(endpoints)
        .layer(axum::middleware::map_response(cors::open))
        .route(paths::introspect(), post(introspect::answer))
        .with_state(env)
}
