//! The audit log as a file: the answer to a form, sent while it is being read, so that memory does not grow with it and
//! no scripts are needed.

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, Response, header},
    response::IntoResponse as _,
    routing::post,
};
use domain::{
    OrgActor,
    audit::{Export, Format},
    request::RequestContext,
};
use futures_util::stream;
use model::{AppError, ErrorKind, audit::AuditQuery, paths};
use oauth::ErrorPage;

use crate::file_form::{Fields, FileForm};

const FORM: FileForm =
    FileForm { longest: 16 * 1024, page: paths::settings_audit(), event: "audit.exported" };

/// `POST /settings/audit-export`.
pub fn router(error_page: ErrorPage) -> Router {
    Router::new().route(paths::audit_export(), post(export)).with_state(error_page)
}

async fn export(State(error_page): State<ErrorPage>, request: Request<Body>) -> Response<Body> {
    FORM.answer(error_page, request, begin, send).await
}

async fn begin(ctx: RequestContext, fields: Fields) -> Result<Export, AppError> {
    let query = AuditQuery::from_pairs(fields.pairs());
    let format = Format::parse(fields.of("format")).ok_or_else(|| {
        AppError::new(ErrorKind::Invalid, "format", "Choose CSV or JSON. Nothing was exported.")
    })?;
    let id = ctx.origin.request_id.clone();
    let told = |error: domain::Error| error.into_app(&id);
    let actor = OrgActor::require(&ctx).await.map_err(&told)?;
    Export::begin(&ctx.env, &actor, &query, format).await.map_err(&told)
}

fn send(export: Export) -> Response<Body> {
    let kind = match export.format() {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Json => "application/json",
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", export.file_name())),
    ];
    let pieces = stream::try_unfold(export, |mut export| async move {
        let piece = export.next().await.inspect_err(|error| {
            // The head is sent: all that is left is to break off, so that nobody takes the file for whole.
            tracing::error!(%error, "an export of the audit log broke off");
        })?;
        Ok::<_, domain::Error>(piece.map(|piece| (piece, export)))
    });
    (headers, Body::from_stream(pieces)).into_response()
}
