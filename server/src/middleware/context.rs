//! Who is signed in: from the cookie to [`RequestContext`].

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    middleware::Next,
};
use domain::{
    Env, Error,
    request::{AuthMethod, BySso, ClientIp, Origin, RequestContext, RequestId, SessionControl, Wants},
};
use futures_util::future::BoxFuture;
use model::{OrgId, UserId, cookies};
use sha2::{Digest as _, Sha256};
use tower_sessions::Session;

use super::problem::problem;
use crate::session::{self, is_https};

/// The browser's session, as rules may touch it.
struct BrowserSession {
    session: Session,
    env: Env,
    origin: Origin,
}

fn internal(error: tower_sessions::session::Error) -> Error {
    Error::Internal(format!("session: {error}"))
}

impl SessionControl for BrowserSession {
    fn begin(
        &self,
        user: UserId,
        org: Option<OrgId>,
        by: AuthMethod,
        sso: Option<BySso>,
    ) -> BoxFuture<'_, domain::Result<()>> {
        Box::pin(async move {
            session::begin(&self.session, &self.env, user, (org, sso), &self.origin, by)
                .await
                .map_err(internal)
        })
    }

    fn set_org(&self, org: OrgId) -> BoxFuture<'_, domain::Result<()>> {
        Box::pin(async move { session::set_org(&self.session, Some(org)).await.map_err(internal) })
    }

    fn end(&self) -> BoxFuture<'_, domain::Result<()>> {
        Box::pin(async move { self.session.flush().await.map_err(internal) })
    }
}

fn form_cookie(env: &Env) -> &'static str {
    if is_https(env) { "__Host-gatehouse-form" } else { "gatehouse-form" }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The hidden field that belongs to a form cookie: a signed double submit, which works before there is a session.
fn form_token(env: &Env, cookie: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(env.sealer.derive("form token").as_slice());
    hash.update(cookie.as_bytes());
    data_encoding::BASE64URL_NOPAD.encode(&hash.finalize())
}

/// Puts [`RequestContext`] into the request's extensions. Without a database there is no answer: fail closed (ERR-05).
pub async fn provide(
    State(env): State<Env>,
    session: Session,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let signed_in = async {
        let signed_in = session::signed_in(&session).await?;
        session::renew_if_due(&session, &env).await?;
        let auth = session::auth(&session).await?;
        Ok::<_, tower_sessions::session::Error>((signed_in, auth))
    };
    let (signed_in, auth) = match signed_in.await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%error, request_id = %id, "a session could not be read");
            return problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "session_unavailable",
                "Your session could not be read, and nothing was changed. Try again in a few seconds.",
                &id,
            );
        }
    };
    let headers = request.headers();
    let user_agent = headers.get(header::USER_AGENT).map(|agent| {
        String::from_utf8_lossy(agent.as_bytes()).chars().filter(|c| !c.is_control()).take(256).collect()
    });
    let origin = Origin {
        address: request.extensions().get::<ClientIp>().map(|client| client.0),
        user_agent,
        request_id: id,
        auth,
    };
    let known = cookie(headers, form_cookie(&env)).filter(|value| value.len() == 43).map(ToOwned::to_owned);
    let (form, fresh) = known.map_or_else(|| (env.token(), true), |value| (value, false));
    let context = RequestContext {
        signed_in,
        // The app knows better when it has read the form.
        wants: Wants::default(),
        form_token: form_token(&env, &form),
        device: cookie(headers, &cookies::device_name(is_https(&env))).map(ToOwned::to_owned),
        step: cookie(headers, &cookies::step_name(is_https(&env))).map(ToOwned::to_owned),
        trusted: cookie(headers, &cookies::trusted_name(is_https(&env))).map(ToOwned::to_owned),
        session: Arc::new(BrowserSession { session, env: env.clone(), origin: origin.clone() }),
        origin,
        env: env.clone(),
    };
    request.extensions_mut().insert(context);
    let mut response = next.run(request).await;
    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if fresh && is_page {
        let secure = if is_https(&env) { "; Secure" } else { "" };
        let line = format!("{}={form}; Path=/; HttpOnly; SameSite=Lax{secure}", form_cookie(&env));
        if let Ok(value) = HeaderValue::from_str(&line) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}
