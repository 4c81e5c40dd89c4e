//! Server functions of the signed-in person's own account.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{AppError, links::OwnAccount};

/// Address, password and organisations.
#[server(prefix = "/api", endpoint = "load_account")]
pub async fn load_account() -> Result<OwnAccount, AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::own_account::overview(&ctx).await.map_err(crate::ssr::told(&ctx))
}

/// Changes the password; other sessions end.
#[server(prefix = "/api", endpoint = "change_password")]
pub async fn change_password(current_password: String, new_password: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::own_account::change_password(&ctx, &current_password, &new_password)
        .await
        .map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=password-changed", model::paths::profile_account()));
    Ok(())
}

/// Asks for a link to turn the account to another address; the answer is that address.
#[server(prefix = "/api", endpoint = "ask_for_address")]
pub async fn ask_for_address(email: String, password: String) -> Result<String, AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::own_account::ask_for_address(&ctx, &email, &password).await.map_err(crate::ssr::told(&ctx))?;
    Ok(email)
}

/// Sends a link to prove the present address.
#[server(prefix = "/api", endpoint = "ask_to_verify")]
pub async fn ask_to_verify() -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::own_account::ask_to_verify(&ctx).await.map_err(crate::ssr::told(&ctx))
}

/// Deletes the account, and logs out.
#[server(prefix = "/api", endpoint = "delete_account")]
pub async fn delete_account(email: String, password: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::deletion::delete_own(&ctx, &email, &password).await.map_err(ssr::told(&ctx))?;
    ctx.session.end().await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=account-deleted", model::paths::sign_in()));
    Ok(())
}
