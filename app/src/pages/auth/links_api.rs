//! Server functions of whoever is not logged in yet: one-time links, forgotten passwords, sign-up.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]
#![cfg_attr(
    feature = "ssr",
    expect(clippy::unused_async, reason = "a server function is async even if it asks nobody")
)]

use leptos::prelude::*;
use model::{
    AppError,
    links::{Link, SignUp},
    sso_login::LoginLink,
};
use serde::{Deserialize, Serialize};

/// What the pages need that ask for a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskStart {
    /// The value of the hidden field `csrf`.
    pub csrf: String,
    /// Whether this instance sends mail.
    pub mails: bool,
    /// Whether strangers may make accounts.
    pub sign_up: SignUp,
}

/// Loads the page of a forgotten password, or of sign-up.
#[server(prefix = "/api", endpoint = "load_ask")]
pub async fn load_ask() -> Result<AskStart, AppError> {
    let ctx = crate::ssr::ctx()?;
    let (mails, sign_up) = (ctx.env.sends_mail(), ctx.env.settings.sign_up);
    Ok(AskStart { csrf: ctx.form_token, mails, sign_up })
}

/// Where somebody with this address logs in at their organisation's provider. It says nothing about accounts.
#[server(prefix = "/api", endpoint = "start_sso")]
pub async fn start_sso(email: String, csrf: String, next: Option<String>) -> Result<LoginLink, AppError> {
    let ctx = crate::ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    let next = model::paths::safe_next(next.as_deref());
    domain::sso::flow::begin(&ctx, email.trim(), next).await.map_err(crate::ssr::told(&ctx))
}

/// Asks for a link to set a new password: answered alike for every address.
#[server(prefix = "/api", endpoint = "ask_reset")]
pub async fn ask_reset(email: String, csrf: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    domain::recovery::ask(&ctx.env, &ctx.origin, &email).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::set_status(202);
    Ok(())
}

/// Asks for a link to make an account: answered alike for every address.
#[server(prefix = "/api", endpoint = "ask_sign_up")]
pub async fn ask_sign_up(email: String, csrf: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    domain::sign_up::ask(&ctx.env, &ctx.origin, &email).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::set_status(202);
    Ok(())
}

/// What the page of a one-time link needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStart {
    /// What stands behind the link.
    pub link: Link,
    /// The value of the hidden field `csrf`.
    pub csrf: String,
    /// What stands before the slug in an endpoint URL.
    pub endpoint: String,
    /// Whether somebody is logged in.
    pub signed_in: bool,
    /// The server's time, Unix milliseconds.
    pub now: i64,
}

/// Looks at a one-time link; that changes nothing.
#[server(prefix = "/api", endpoint = "load_link")]
pub async fn load_link(token: String) -> Result<LinkStart, AppError> {
    let ctx = crate::ssr::ctx()?;
    let link = domain::one_time::look(&ctx, &token).await.map_err(crate::ssr::told(&ctx))?;
    let endpoint = super::api::server::endpoint_prefix(&ctx);
    let signed_in = ctx.signed_in.is_some();
    let now = ctx.env.now();
    Ok(LinkStart { link, csrf: ctx.form_token, endpoint, signed_in, now })
}

/// Sets a new password with a link.
#[server(prefix = "/api", endpoint = "reset_password")]
pub async fn reset_password(token: String, csrf: String, password: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    domain::recovery::reset(&ctx.env, &ctx.origin, &token, &password).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=password-set", model::paths::sign_in()));
    Ok(())
}

/// Makes the account that a link is for, and its organisation, and begins a session.
#[server(prefix = "/api", endpoint = "finish_sign_up")]
pub async fn finish_sign_up(
    token: String,
    csrf: String,
    name: String,
    password: String,
    org_name: String,
    org_slug: String,
) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    let new = domain::sign_up::NewAccount {
        name: &name,
        password: &password,
        org_name: &org_name,
        org_slug: &org_slug,
    };
    let done = domain::sign_up::complete(&ctx.env, &ctx.origin, &token, &new).await;
    super::api::server::begin(&ctx, done.map_err(ssr::told(&ctx))?).await?;
    ssr::redirect(&format!("{}?notice=signed-up", model::paths::overview()));
    Ok(())
}

/// Confirms an address with a link.
#[server(prefix = "/api", endpoint = "confirm_address")]
pub async fn confirm_address(token: String, csrf: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    domain::own_account::confirm_address(&ctx.env, &ctx.origin, &token).await.map_err(ssr::told(&ctx))?;
    let next =
        if ctx.signed_in.is_some() { model::paths::profile_account() } else { model::paths::sign_in() };
    ssr::redirect(&format!("{next}?notice=address-confirmed"));
    Ok(())
}

/// Makes an account with the address of an invitation, joins, and begins a session.
#[server(prefix = "/api", endpoint = "accept_as_new")]
pub async fn accept_as_new(
    token: String,
    csrf: String,
    name: String,
    password: String,
) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    let done = domain::invitations::accept_as_new(&ctx.env, &ctx.origin, &token, &name, &password).await;
    let done = done.map_err(ssr::told(&ctx))?;
    let enrol = super::api::server::must_enrol(&ctx, done.org, done.user).await?;
    super::api::server::begin(&ctx, done).await?;
    super::api::server::joined(enrol);
    Ok(())
}

/// Joins with the account that is logged in, and shows the organisation.
#[server(prefix = "/api", endpoint = "accept_invitation")]
pub async fn accept_invitation(token: String, csrf: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    let org = domain::invitations::accept(&ctx, &token).await.map_err(ssr::told(&ctx))?;
    ctx.session.set_org(org).await.map_err(ssr::told(&ctx))?;
    let enrol = match &ctx.signed_in {
        Some(signed_in) => super::api::server::must_enrol(&ctx, Some(org), signed_in.user).await?,
        None => false,
    };
    super::api::server::joined(enrol);
    Ok(())
}

/// Asks for another invitation in place of one that is too old. The answer is the same for every link.
#[server(prefix = "/api", endpoint = "ask_another_invitation")]
pub async fn ask_another_invitation(token: String, csrf: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    domain::invitations::ask_again(&ctx.env, &ctx.origin, &token).await.map_err(crate::ssr::told(&ctx))
}

/// Declines an invitation.
#[server(prefix = "/api", endpoint = "decline_invitation")]
pub async fn decline_invitation(token: String, csrf: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    super::api::server::check_form(&ctx, &csrf)?;
    domain::invitations::decline(&ctx, &token).await.map_err(ssr::told(&ctx))?;
    let next = if ctx.signed_in.is_some() { model::paths::overview() } else { model::paths::sign_in() };
    ssr::redirect(&format!("{next}?notice=declined"));
    Ok(())
}

/// Logs out, and shows the invitation again.
#[server(prefix = "/api", endpoint = "switch_account")]
pub async fn switch_account(token: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::accounts::sign_out(&ctx).await.map_err(ssr::told(&ctx))?;
    ctx.session.end().await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&model::paths::invitation(&token));
    Ok(())
}
