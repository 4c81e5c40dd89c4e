//! Server functions of the security settings.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{AppError, allowlist::AllowlistPage, factors::OrgSecurity};
use serde::{Deserialize, Serialize};

/// What the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// After how many minutes without a request members are logged out.
    pub minutes: i64,
    /// What is asked of members.
    pub asked: OrgSecurity,
}

/// Loads the security settings of the organisation in view.
#[server(prefix = "/api", endpoint = "load_security")]
pub async fn load_security() -> Result<Security, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let minutes = domain::sessions::timeout_minutes(&ctx.env, &actor).await.map_err(&told)?;
    let asked = domain::org_security::get(&ctx, &actor).await.map_err(&told)?;
    Ok(Security { minutes, asked })
}

/// Begins or ends to require a second factor of all members.
#[server(prefix = "/api", endpoint = "set_require_mfa")]
pub async fn set_require_mfa(on: bool) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    domain::org_security::set_require_mfa(&ctx.env, &actor, &proven, on).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=saved", model::paths::settings_security()));
    Ok(())
}

/// Lets members trust a browser although a second factor is required, or wants it at each log-in.
#[server(prefix = "/api", endpoint = "allow_trusted_browsers")]
pub async fn allow_trusted_browsers(on: bool) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    domain::trusted_browsers::allow(&ctx.env, &actor, &proven, on).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=saved", model::paths::settings_security()));
    Ok(())
}

/// Begins or ends to ask for a PIN before some acts. Ending it needs the PIN.
#[server(prefix = "/api", endpoint = "set_pin_protection")]
pub async fn set_pin_protection(on: bool, #[server(default)] pin: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    // Before the PIN is looked at: a proof that is too old must not cost an attempt.
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
    domain::org_security::set_pin_protection(&ctx.env, &actor, &proven, on).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=saved", model::paths::settings_security()));
    Ok(())
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

/// Loads the list of addresses, and what it would have refused lately.
#[server(prefix = "/api", endpoint = "load_allowlist")]
pub async fn load_allowlist() -> Result<AllowlistPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::allowlist::page(&ctx, &actor).await.map_err(&told)
}

/// Adds a range. One that lets in nearly everybody needs the PIN where the list is enforced and the organisation asks for one.
#[server(prefix = "/api", endpoint = "add_allowed_range")]
pub async fn add_allowed_range(
    #[server(default)] range: String,
    #[server(default)] note: String,
    confirm: Option<String>,
    #[server(default)] pin: String,
) -> Result<(), AppError> {
    use domain::allowlist::{Insists, add, add_wide};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let proven = server::insists(&ctx, confirm.is_some()).await?;
    let insists = Insists(proven.as_ref());
    if pin.is_empty() {
        add(&ctx.env, &actor, &range, &note, insists).await
    } else {
        let shown = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
        add_wide(&ctx.env, &shown, &range, &note, insists).await
    }
    .map_err(&told)?;
    server::saved("allowlist-saved");
    Ok(())
}

/// Adds the ranges that a maker of hosted agents publishes.
#[server(prefix = "/api", endpoint = "add_vendor_ranges")]
pub async fn add_vendor_ranges(vendor: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::allowlist::add_vendor(&ctx.env, &actor, &vendor).await.map_err(&told)?;
    server::saved("allowlist-saved");
    Ok(())
}

/// Removes a range.
#[server(prefix = "/api", endpoint = "remove_allowed_range")]
pub async fn remove_allowed_range(range: String, confirm: Option<String>) -> Result<(), AppError> {
    use domain::allowlist::{Insists, remove};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let proven = server::insists(&ctx, confirm.is_some()).await?;
    remove(&ctx.env, &actor, &range, Insists(proven.as_ref())).await.map_err(&told)?;
    server::saved("allowlist-saved");
    Ok(())
}

/// Begins to enforce the list, on trial.
#[server(prefix = "/api", endpoint = "turn_on_allowlist")]
pub async fn turn_on_allowlist(confirm: Option<String>) -> Result<(), AppError> {
    use domain::allowlist::{Insists, turn_on};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let proven = server::insists(&ctx, confirm.is_some()).await?;
    turn_on(&ctx.env, &actor, Insists(proven.as_ref())).await.map_err(&told)?;
    server::saved("allowlist-trial");
    Ok(())
}

/// Keeps what is on trial.
#[server(prefix = "/api", endpoint = "keep_allowlist")]
pub async fn keep_allowlist() -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::allowlist::keep(&ctx.env, &actor).await.map_err(&told)?;
    server::saved("allowlist-kept");
    Ok(())
}

/// Stops enforcing the list. It needs the PIN where the organisation asks for one.
#[server(prefix = "/api", endpoint = "turn_off_allowlist")]
pub async fn turn_off_allowlist(#[server(default)] pin: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
    domain::allowlist::turn_off(&ctx.env, &actor).await.map_err(&told)?;
    server::saved("allowlist-off");
    Ok(())
}

#[cfg(feature = "ssr")]
mod server {
    use domain::{request::RequestContext, step_up::Proven};
    use model::{AppError, paths};

    use crate::ssr;

    /// Who would lock themselves out and wants it shows who they are (IPA-04).
    pub(super) async fn insists(ctx: &RequestContext, ticked: bool) -> Result<Option<Proven>, AppError> {
        if !ticked {
            return Ok(None);
        }
        Proven::require(ctx).await.map(Some).map_err(ssr::told(ctx))
    }

    pub(super) fn saved(notice: &str) {
        ssr::redirect(&format!("{}?notice={notice}", paths::settings_allowlist()));
    }
}
