//! Server functions of the audit log. The export is a plain answer to a form, outside of this.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError,
    audit::{AuditEvent, AuditList},
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
