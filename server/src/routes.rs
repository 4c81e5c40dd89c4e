//! All routes of the process, and the layers around them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use app::SiteAssets;
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{Request, Response, StatusCode, request::Parts},
    middleware::{from_fn, from_fn_with_state},
    routing::get,
};
use domain::{Env, playground::Playground, request::RequestContext};
use gateway::Gateway;
use ipnet::IpNet;
use leptos::prelude::{provide_context, use_context};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_http::compression::{
    CompressionLayer, Predicate,
    predicate::{DefaultPredicate, NotForContentType},
};

use crate::{
    audit_export, csp_reports, export_file,
    front::Front,
    jobs::WritePath,
    middleware::{client::Edge, context, csrf, headers, limits, problem::problem},
    session, site, watch,
};

/// What the routes are built from.
#[derive(Clone)]
pub struct RouteParts {
    /// The environment.
    pub env: Env,
    /// The data plane.
    pub gateway: Gateway,
    /// Proxies to believe.
    pub trusted_proxies: Arc<[IpNet]>,
    /// That the process is about to stop.
    pub stopping: Stopping,
    /// Whether the database can be written to.
    pub write_path: WritePath,
}

/// The whole server.
pub fn front(parts: RouteParts) -> Front {
    let RouteParts { env, gateway, trusted_proxies, stopping, write_path } = parts;
    let plane: Arc<dyn Playground> = Arc::new(gateway.clone());
    let watching = watch::router(stopping.now.clone());
    let edge = Edge { env: env.clone(), ids: Arc::default(), trusted: trusted_proxies };
    let routes = Router::new()
        .merge(pages(&env, watching, plane))
        .merge(oauth(&env))
        .merge(gateway::router(gateway.clone()))
        .merge(site::router())
        .merge(csp_reports::router(&env))
        .merge(probes(Probed { env, stopping, write_path }));
    Front::new(edge, gateway, routes)
}

/// The dashboard: pages, their forms, server functions.
fn pages(env: &Env, watching: Router, plane: Arc<dyn Playground>) -> Router {
    let provide = provide_app_context(env);
    let context = move || {
        provide();
        provide_context(Arc::clone(&plane));
    };
    let for_missing = context.clone();
    let pages = app::ssr::router(context)
        .fallback(move |request: Request<Body>| app::ssr::not_found(for_missing.clone(), request))
        .merge(oauth::decision(env.clone(), error_page(env)))
        .merge(audit_export::router(error_page(env)))
        .merge(export_file::router(error_page(env)))
        .merge(watching);
    signed_in(pages, env)
        .layer(from_fn(limits::forms))
        .layer(from_fn_with_state(env.clone(), csrf::same_origin))
        .layer(from_fn_with_state(env.clone(), headers::own_host))
}

/// What a browser with its cookies asks for.
fn signed_in(router: Router, env: &Env) -> Router {
    router
        .layer(DefaultBodyLimit::disable())
        .layer(CompressionLayer::new().compress_when(unpacked()))
        .layer(from_fn(headers::no_store))
        .layer(from_fn_with_state(env.clone(), context::provide))
        .layer(session::layer(env))
}

/// What is worth packing on the way: not a file that is packed already, of which the length is told.
fn unpacked() -> impl Predicate {
    DefaultPredicate::new().and(NotForContentType::const_new("application/zip"))
}

/// The authorization server. Other sites send people to its first page, so that is not asked where a request comes from;
/// it changes nothing.
fn oauth(env: &Env) -> Router {
    signed_in(oauth::authorize(env.clone(), error_page(env)), env)
        .merge(oauth::machines(env.clone()))
        .layer(from_fn_with_state(env.clone(), headers::own_host))
}

/// Errors as pages.
fn error_page(env: &Env) -> oauth::ErrorPage {
    let context = provide_app_context(env);
    Arc::new(move |error, parts| Box::pin(app::ssr::error_page(context.clone(), parts, error)))
}

/// What the app finds in context, beside what leptos provides: the site's address and the request's context.
fn provide_app_context(env: &Env) -> impl Fn() + Clone + Send + Sync + 'static {
    let assets = SiteAssets { base: site::asset_base(), public_url: env.settings.absolute("") };
    move || {
        provide_context(assets.clone());
        let context =
            use_context::<Parts>().and_then(|parts| parts.extensions.get::<RequestContext>().cloned());
        if let Some(context) = context {
            provide_context(context);
        }
    }
}

/// That the process is about to stop, and whether somebody looks out for that.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    /// Cancelled when it is.
    pub now: CancellationToken,
    /// When `/readyz` was asked for the last time.
    asked: Arc<Mutex<Option<Instant>>>,
}

/// Whoever asks for readiness does so at least this often.
const WATCHED: Duration = Duration::from_mins(2);

impl Stopping {
    fn asked(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a load balancer, or something like it, asks `/readyz` and has to notice that it should not send anybody
    /// here any more.
    pub fn is_watched(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|at| at.elapsed() <= WATCHED)
    }
}

/// What `/readyz` looks at.
#[derive(Clone)]
struct Probed {
    env: Env,
    stopping: Stopping,
    write_path: WritePath,
}

/// `/livez` and `/readyz` (ERR-03).
fn probes(probed: Probed) -> Router {
    Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(ready).with_state(probed))
}

async fn ready(State(Probed { env, stopping, write_path }): State<Probed>) -> Response<Body> {
    let unavailable = |code, detail| problem(StatusCode::SERVICE_UNAVAILABLE, code, detail, "");
    stopping.asked();
    if stopping.now.is_cancelled() {
        return unavailable("draining", "This process is about to stop.");
    }
    // Anybody may ask, so this neither takes the writer nor writes.
    let answers = store::maintenance::check_ready(&env.db).await;
    if let Err(error) = &answers {
        tracing::warn!(%error, "not ready");
    }
    if answers.is_err() || !write_path.works() {
        return unavailable("database", "The database cannot be written to.");
    }
    Response::new(Body::from("ready"))
}
