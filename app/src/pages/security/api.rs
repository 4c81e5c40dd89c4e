//! Server functions of the security settings.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::AppError;

/// After how many minutes without a request members are logged out.
#[server(prefix = "/api", endpoint = "load_security")]
pub async fn load_security() -> Result<i64, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::sessions::timeout_minutes(&ctx.env, &actor).await.map_err(&told)
}

/// Sets it. Text, because whatever was typed is told back at its field.
#[server(prefix = "/api", endpoint = "set_session_timeout")]
pub async fn set_session_timeout(minutes: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    // Out of the range, and so refused, like any other number that is.
    let minutes = minutes.trim().parse().unwrap_or(-1);
    domain::sessions::set_timeout(&ctx.env, &actor, minutes).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=saved", model::paths::settings_security()));
    Ok(())
}
