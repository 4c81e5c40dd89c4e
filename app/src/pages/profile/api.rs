//! Server functions of the profile.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]
#![cfg_attr(
    feature = "ssr",
    expect(clippy::unused_async, reason = "a server function is async even if it asks nobody")
)]

use leptos::prelude::*;
use model::{
    AppError, SessionId, TrustedBrowserId,
    orgs::{SessionInfo, TrustedBrowser},
};
use serde::{Deserialize, Serialize};

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

/// The browsers of the signed-in person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Browsers {
    /// Those that are logged in, this one first.
    pub sessions: Vec<SessionInfo>,
    /// Those that skip the second step, the latest first.
    pub trusted: Vec<TrustedBrowser>,
    /// The server's time, Unix milliseconds.
    pub now: i64,
}

/// The person's browsers.
#[server(prefix = "/api", endpoint = "load_sessions")]
pub async fn load_sessions() -> Result<Browsers, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let mut sessions = domain::sessions::list(&ctx).await.map_err(&told)?;
    sessions.sort_by_key(|session| !session.current);
    let trusted = domain::trusted_browsers::list(&ctx).await.map_err(&told)?;
    Ok(Browsers { sessions, trusted, now: ctx.env.now() })
}

/// Trusts a browser no more.
#[server(prefix = "/api", endpoint = "distrust_browser")]
pub async fn distrust_browser(id: TrustedBrowserId) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::trusted_browsers::revoke(&ctx, id).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=browser-distrusted", model::paths::profile_sessions()));
    Ok(())
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
