//! The file of an export: the answer to a form of whoever is signed in and may, sent piece by piece. There is no address that
//! gives it by itself (DEL-05).

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Request, Response, StatusCode, header},
    response::{IntoResponse as _, Redirect},
    routing::post,
};
use domain::{
    OrgActor,
    exports::Download,
    request::{RequestContext, Wants},
};
use futures_util::stream;
use model::{AppError, ErrorKind, paths};
use oauth::ErrorPage;

/// The largest form that is read.
const MAX_FORM: usize = 4 * 1024;

/// `POST /settings/export-file`.
pub fn router(error_page: ErrorPage) -> Router {
    Router::new().route(paths::export_file(), post(file)).with_state(error_page)
}

async fn file(State(error_page): State<ErrorPage>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Some(ctx) = parts.extensions.get::<RequestContext>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Ok(body) = axum::body::to_bytes(body, MAX_FORM).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match begin(ctx.clone(), &body).await {
        Ok(download) => send(download),
        // The file cannot be asked for again by going there, so the way leads back to the list.
        Err(error) if error.kind == ErrorKind::Unauthenticated => {
            Redirect::to(&paths::sign_in_then(paths::settings_export())).into_response()
        }
        Err(error) => {
            domain::refusals::note(&ctx, "export.downloaded", &error).await;
            error_page(error, parts).await
        }
    }
}

async fn begin(mut ctx: RequestContext, body: &[u8]) -> Result<Download, AppError> {
    let fields = app::ssr::parse_form(body);
    let of = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    ctx.wants = Wants::Change { made_in: of(app::form::MADE_IN).parse().ok() };
    let id = ctx.origin.request_id.clone();
    let told = |error: domain::Error| error.into_app(&id);
    // Before anything is said about the export.
    let actor = OrgActor::require(&ctx).await.map_err(&told)?;
    let export = of("id").parse().map_err(|_| told(domain::Error::not_found("export")))?;
    Download::begin(&ctx.env, &actor, export).await.map_err(&told)
}

fn send(download: Download) -> Response<Body> {
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_LENGTH, download.size().to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", download.file_name())),
    ];
    let pieces = stream::try_unfold(download, |mut download| async move {
        let piece = download.next().await.inspect_err(|error| {
            // The head is sent: all that is left is to break off, so that nobody takes the file for whole.
            tracing::error!(%error, "the download of an export broke off");
        })?;
        Ok::<_, domain::Error>(piece.map(|piece| (Bytes::copy_from_slice(&piece), download)))
    });
    (headers, Body::from_stream(pieces)).into_response()
}
