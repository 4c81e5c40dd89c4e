//! Server functions of passkeys. The challenge comes from the log-in pages' `begin_passkey`, whatever it is for.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{AppError, PasskeyId, factors::Passkeys};

/// Loads the page.
#[server(prefix = "/api", endpoint = "load_passkeys")]
pub async fn load_passkeys() -> Result<Passkeys, AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::passkeys::status(&ctx).await.map_err(crate::ssr::told(&ctx))
}

/// Adds the passkey that an authenticator made. Answers with backup codes when there were none; they are shown once.
#[server(prefix = "/api", endpoint = "add_passkey")]
pub async fn add_passkey(
    #[server(default)] name: String,
    #[server(default)] passkey: String,
    #[server(default)] next: String,
) -> Result<Vec<String>, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    let codes = domain::passkeys::add(&ctx, &proven, &name, &passkey).await.map_err(&told)?;
    if codes.is_empty() {
        let there = model::paths::safe_next(Some(&next).filter(|next| !next.is_empty()).map(String::as_str));
        let here = format!("{}?notice=passkey-added", model::paths::profile_passkeys());
        crate::ssr::redirect(if there == model::paths::overview() { &here } else { there });
    }
    Ok(codes)
}

/// Gives a passkey another name.
#[server(prefix = "/api", endpoint = "rename_passkey")]
pub async fn rename_passkey(id: PasskeyId, #[server(default)] name: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::passkeys::rename(&ctx, id, &name).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=passkey-renamed", model::paths::profile_passkeys()));
    Ok(())
}

/// Removes a passkey. The last second factor takes the password and a code or a passkey.
#[server(prefix = "/api", endpoint = "remove_passkey")]
pub async fn remove_passkey(
    id: PasskeyId,
    #[server(default)] password: String,
    #[server(default)] code: String,
    #[server(default)] passkey: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let proven = domain::step_up::Proven::require(&ctx).await.map_err(&told)?;
    let shown = domain::mfa::Shown::of(&code, &passkey);
    domain::passkeys::remove(&ctx, &proven, id, &password, shown).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=passkey-removed", model::paths::profile_passkeys()));
    Ok(())
}
