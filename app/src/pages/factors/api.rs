//! Server functions of second factor, PIN and fresh proofs.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError,
    factors::{Enrolment, PinStatus, TwoFactor},
};
use serde::{Deserialize, Serialize};

/// What one of the pages shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Factors {
    /// The second factor.
    TwoFactor(TwoFactor),
    /// The PIN in the organisation in view.
    Pin(PinStatus),
}

/// Loads the page of one kind of proof.
#[server(prefix = "/api", endpoint = "load_factors")]
pub async fn load_factors(what: String) -> Result<Factors, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    match what.as_str() {
        "two-factor" => domain::mfa::status(&ctx).await.map(Factors::TwoFactor).map_err(&told),
        "pin" => domain::pin::status(&ctx).await.map(Factors::Pin).map_err(&told),
        _ => Err(told(domain::Error::not_found("page"))),
    }
}

/// Takes the password, a code of the second factor, or a passkey, as a fresh proof of who is there, and goes on to `next`.
#[server(prefix = "/api", endpoint = "confirm_identity")]
pub async fn confirm_identity(
    #[server(default)] password: String,
    #[server(default)] code: String,
    #[server(default)] passkey: String,
    next: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let shown = domain::mfa::Shown::of(&code, &passkey);
    domain::step_up::prove(&ctx, &password, shown).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(model::paths::safe_next(Some(&next)));
    Ok(())
}

/// Begins to set an authenticator app up. What is answered is shown once.
#[server(prefix = "/api", endpoint = "begin_two_factor")]
pub async fn begin_two_factor() -> Result<Enrolment, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    domain::mfa::enrol(&ctx, &proven).await.map_err(&told)
}

/// Confirms the app with a code. Answers with the backup codes, which are shown once.
#[server(prefix = "/api", endpoint = "confirm_two_factor")]
pub async fn confirm_two_factor(#[server(default)] code: String) -> Result<Vec<String>, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    domain::mfa::confirm(&ctx, &proven, &code).await.map_err(&told)
}

/// Makes new backup codes in place of the old ones. They are shown once.
#[server(prefix = "/api", endpoint = "make_backup_codes")]
pub async fn make_backup_codes() -> Result<Vec<String>, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    domain::mfa::make_codes(&ctx, &proven).await.map_err(&told)
}

/// Turns the authenticator app off. Password and code or passkey are asked for, however fresh the last proof is.
#[server(prefix = "/api", endpoint = "turn_off_two_factor")]
pub async fn turn_off_two_factor(
    #[server(default)] password: String,
    #[server(default)] code: String,
    #[server(default)] passkey: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let shown = domain::mfa::Shown::of(&code, &passkey);
    let last = domain::mfa::turn_off(&ctx, &password, shown).await.map_err(crate::ssr::told(&ctx))?;
    let notice = if last { "mfa-off" } else { "app-off" };
    crate::ssr::redirect(&format!("{}?notice={notice}", model::paths::profile_two_factor()));
    Ok(())
}

/// Sets the PIN, or replaces it.
#[server(prefix = "/api", endpoint = "set_pin")]
pub async fn set_pin(
    #[server(default)] pin: String,
    #[server(default)] new_pin: String,
    #[server(default)] again_pin: String,
    forgotten: Option<String>,
    #[server(default)] password: String,
    #[server(default)] code: String,
    #[server(default)] passkey: String,
) -> Result<(), AppError> {
    use domain::pin::{self, Old};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    let old = match forgotten {
        Some(_) => Old::Forgotten { password: &password, shown: domain::mfa::Shown::of(&code, &passkey) },
        None => Old::Pin(&pin),
    };
    pin::set(&ctx, &proven, old, &new_pin, &again_pin).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=pin-set", model::paths::profile_pin()));
    Ok(())
}

/// Removes the PIN.
#[server(prefix = "/api", endpoint = "remove_pin")]
pub async fn remove_pin(#[server(default)] pin: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    domain::pin::remove(&ctx, &proven, &pin).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=pin-removed", model::paths::profile_pin()));
    Ok(())
}
