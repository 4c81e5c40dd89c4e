//! The audit log as a file: the answer to a form, sent while it is being read, so that memory does not grow with it and
//! no scripts are needed.

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, Response, StatusCode, header},
    response::{IntoResponse as _, Redirect},
    routing::post,
};
use domain::{
    OrgActor,
    audit::{Export, Format},
    request::{RequestContext, Wants},
};
use futures_util::stream;
use model::{AppError, ErrorKind, audit::AuditQuery, paths};
use oauth::ErrorPage;

/// The largest form that is read.
const MAX_FORM: usize = 16 * 1024;

/// `POST /settings/audit-export`.
pub fn router(error_page: ErrorPage) -> Router {
    Router::new().route(paths::audit_export(), post(export)).with_state(error_page)
}

async fn export(State(error_page): State<ErrorPage>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Some(ctx) = parts.extensions.get::<RequestContext>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Ok(body) = axum::body::to_bytes(body, MAX_FORM).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match begin(ctx.clone(), &body).await {
        Ok(export) => send(export),
        // The file cannot be asked for again by going there, so the way leads back to the log.
        Err(error) if error.kind == ErrorKind::Unauthenticated => {
            Redirect::to(&paths::sign_in_then(paths::settings_audit())).into_response()
        }
        Err(error) => {
            domain::refusals::note(&ctx, "audit.exported", &error).await;
            error_page(error, parts).await
        }
    }
}

async fn begin(mut ctx: RequestContext, body: &[u8]) -> Result<Export, AppError> {
    let fields = app::ssr::parse_form(body);
    let of = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    ctx.wants = Wants::Change { made_in: of(app::form::MADE_IN).parse().ok() };
    let query = AuditQuery::from_pairs(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let format = Format::parse(of("format")).ok_or_else(|| {
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
