//! Server functions of the audit log. The export is a plain answer to a form, outside of this.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError,
    audit::{AuditEvent, AuditList},
    audit_stream::AuditStreamPage,
};

/// The page of the log that the search of the address asks for.
#[server(prefix = "/api", endpoint = "load_audit")]
pub async fn load_audit(search: String) -> Result<AuditList, AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    let told = ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let fields = ssr::parse_form(search.as_bytes());
    let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let query = model::audit::AuditQuery::from_pairs(fields);
    domain::audit::list(&ctx.env, &actor, query).await.map_err(&told)
}

/// One event, and the server's time in Unix milliseconds.
#[server(prefix = "/api", endpoint = "load_audit_event")]
pub async fn load_audit_event(id: String) -> Result<(AuditEvent, i64), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let id = id.parse().map_err(|_| told(domain::Error::not_found("event")))?;
    Ok((domain::audit::get(&ctx.env, &actor, id).await.map_err(&told)?, ctx.env.now()))
}

/// Loads where the log is streamed to, and how far that has come.
#[server(prefix = "/api", endpoint = "load_audit_stream")]
pub async fn load_audit_stream() -> Result<AuditStreamPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::audit::stream::page(&ctx.env, &actor).await.map_err(&told)
}

/// Sets where the log is streamed to. An empty token leaves the one that is stored; `bare` erases it.
#[server(prefix = "/api", endpoint = "put_audit_stream")]
pub async fn put_audit_stream(
    kind: String,
    url: String,
    #[server(default)] token: String,
    bare: Option<String>,
    enabled: Option<String>,
) -> Result<(), AppError> {
    use domain::audit::stream::{self, Input};
    use model::{audit_stream::StreamKind, paths};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let kind = StreamKind::parse(&kind)
        .ok_or_else(|| AppError::field("kind", "kind", "Choose in which form events are sent"))?;
    let input =
        Input { kind, url, token: token.into(), without_token: bare.is_some(), enabled: enabled.is_some() };
    stream::put(&ctx.env, &actor, &input).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=saved", paths::settings_audit_stream()));
    Ok(())
}

/// Sends a test event. What came of it is the answer.
#[server(prefix = "/api", endpoint = "test_audit_stream")]
pub async fn test_audit_stream() -> Result<Result<(), String>, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::audit::stream::test(&ctx.env, &actor).await.map_err(&told)
}

/// Ends the stream.
#[server(prefix = "/api", endpoint = "delete_audit_stream")]
pub async fn delete_audit_stream() -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::audit::stream::delete(&ctx.env, &actor).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=saved", model::paths::settings_audit_stream()));
    Ok(())
}
