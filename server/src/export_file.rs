//! The file of an export: the answer to a form of whoever is signed in and may, sent piece by piece. There is no address that
//! gives it by itself (DEL-05).

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Request, Response, header},
    response::IntoResponse as _,
    routing::post,
};
use domain::{OrgActor, exports::Download, request::RequestContext};
use futures_util::stream;
use model::{AppError, paths};
use oauth::ErrorPage;

use crate::file_form::{Fields, FileForm};

const FORM: FileForm =
    FileForm { longest: 4 * 1024, page: paths::settings_export(), event: "export.downloaded" };

/// `POST /settings/export-file`.
pub fn router(error_page: ErrorPage) -> Router {
    Router::new().route(paths::export_file(), post(file)).with_state(error_page)
}

async fn file(State(error_page): State<ErrorPage>, request: Request<Body>) -> Response<Body> {
    FORM.answer(error_page, request, begin, send).await
}

async fn begin(ctx: RequestContext, fields: Fields) -> Result<Download, AppError> {
    let id = ctx.origin.request_id.clone();
    let told = |error: domain::Error| error.into_app(&id);
    // Before anything is said about the export.
    let actor = OrgActor::require(&ctx).await.map_err(&told)?;
    let export = fields.of("id").parse().map_err(|_| told(domain::Error::not_found("export")))?;
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
