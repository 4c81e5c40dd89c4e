//! Server functions of the profile.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]
#![cfg_attr(
    feature = "ssr",
    expect(clippy::unused_async, reason = "a server function is async even if it asks nobody")
)]

use leptos::prelude::*;
use model::{AppError, SessionId, orgs::SessionInfo};

/// The theme that this browser asked for: `light`, `dark` or `system`.
#[server(prefix = "/api", endpoint = "load_theme")]
pub async fn load_theme() -> Result<String, AppError> {
    use crate::{ssr, state::Theme};

    let theme = ssr::cookie(Theme::COOKIE).and_then(|value| Theme::parse(&value));
    Ok(theme.map_or("system", Theme::as_str).to_owned())
}

/// Changes the person's display name.
#[server(prefix = "/api", endpoint = "update_profile")]
pub async fn update_profile(name: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::accounts::rename(&ctx, &name).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=saved", model::paths::profile()));
    Ok(())
}

/// The person's sessions, this one first, and the server's time in Unix milliseconds.
#[server(prefix = "/api", endpoint = "load_sessions")]
pub async fn load_sessions() -> Result<(Vec<SessionInfo>, i64), AppError> {
    let ctx = crate::ssr::ctx()?;
    let mut sessions = domain::sessions::list(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    sessions.sort_by_key(|session| !session.current);
    Ok((sessions, ctx.env.now()))
}

/// Ends one session of the person.
#[server(prefix = "/api", endpoint = "revoke_session")]
pub async fn revoke_session(id: SessionId) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::sessions::revoke(&ctx, id).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=session-ended", model::paths::profile_sessions()));
    Ok(())
}

/// Ends every session of the person but this one.
#[server(prefix = "/api", endpoint = "revoke_other_sessions")]
pub async fn revoke_other_sessions() -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::sessions::revoke_others(&ctx).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=sessions-ended", model::paths::profile_sessions()));
    Ok(())
}
