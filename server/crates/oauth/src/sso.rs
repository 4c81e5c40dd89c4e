//! Where an organisation's identity provider sends people back to who log in to the dashboard.

use axum::{
    extract::{Request, State},
    response::Response,
};
use domain::{
    Error,
    accounts::SignIn,
    request::RequestContext,
    sso::flow::{self, Finished},
};
use http::{HeaderValue, header, request::Parts};
use model::{ErrorKind, cookies, paths};

use crate::{
    People,
    reply::{request_id, see_other},
    upstream::returned,
};

/// `GET /oauth/sso/callback`. Other sites lead here, and it logs somebody in: what protects it is `state`, which is good
/// once, for the browser that it was made in (RFC 6749 §10.12).
pub(crate) async fn callback(State(people): State<People>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match finished(&parts).await {
        Ok(response) => response,
        Err(error) => {
            let error = error.into_app(&request_id(&parts));
            if error.kind == ErrorKind::Unauthenticated {
                // Whoever tried it out was logged out meanwhile.
                return see_other(&paths::sign_in_then(paths::settings_sso_login()));
            }
            (people.error_page)(error, parts).await
        }
    }
}

async fn finished(parts: &Parts) -> Result<Response, Error> {
    let ctx = parts
        .extensions
        .get::<RequestContext>()
        .ok_or_else(|| Error::Internal(format!("{} without a session layer", parts.uri.path())))?;
    let back = returned(parts)?;
    let secure = ctx.env.settings.public_url.scheme() == "https";
    Ok(match Box::pin(flow::finish(ctx, &back)).await? {
        Finished::Tested => see_other(&format!("{}?notice=sso-tested", paths::settings_sso_login())),
        Finished::SecondFactor(step, next) => {
            let again = ctx.signed_in.is_some();
            let target = if again { paths::sign_in_again_then(&next) } else { paths::sign_in_then(&next) };
            with_cookie(see_other(&target), &cookies::step(&step, secure))
        }
        Finished::SignedIn(SignIn { user, org, device, by, sso }, next) => {
            ctx.session.begin(user, org, by, sso).await?;
            with_cookie(see_other(&next), &cookies::device(&device, secure))
        }
    })
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}
