//! Forms that are answered with a file, without scripts: who asks, what the fields say, and what stands in for the file when
//! there is none.

use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
    response::{IntoResponse as _, Redirect},
};
use domain::request::{RequestContext, Wants};
use model::{AppError, ErrorKind, paths};
use oauth::ErrorPage;

/// What tells one such form from others.
#[derive(Clone, Copy, Debug)]
pub struct FileForm {
    /// The largest body that is read.
    pub longest: usize,
    /// The page that the form stands on. The file cannot be asked for again by going there, so whoever has to log in first is
    /// led back to the page.
    pub page: &'static str,
    /// The event that a refusal is one of.
    pub event: &'static str,
}

/// What the form's fields say.
#[derive(Debug)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// A field's value; empty when it is not there.
    pub fn of(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// All of them.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FileForm {
    /// The answer: what `send` makes of what `begin` began, or a page that says why there is no file.
    pub async fn answer<T, F>(
        self,
        error_page: ErrorPage,
        request: Request<Body>,
        begin: impl FnOnce(RequestContext, Fields) -> F,
        send: fn(T) -> Response<Body>,
    ) -> Response<Body>
    where
        F: Future<Output = Result<T, AppError>>,
    {
        let (parts, body) = request.into_parts();
        let Some(mut ctx) = parts.extensions.get::<RequestContext>().cloned() else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let Ok(body) = axum::body::to_bytes(body, self.longest).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        let asked = ctx.clone();
        let fields = Fields(app::ssr::parse_form(&body));
        ctx.wants = Wants::Change { made_in: fields.of(app::form::MADE_IN).parse().ok() };
        match begin(ctx, fields).await {
            Ok(file) => send(file),
            Err(error) if error.kind == ErrorKind::Unauthenticated => {
                Redirect::to(&paths::sign_in_then(self.page)).into_response()
            }
            Err(error) => {
                domain::refusals::note(&asked, self.event, &error).await;
                error_page(error, parts).await
            }
        }
    }
}
