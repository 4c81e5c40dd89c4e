//! Who is signed in: setting up, logging in and out, organisations of a person, and how the dashboard looks.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]
#![cfg_attr(
    feature = "ssr",
    expect(clippy::unused_async, reason = "a server function is async even if it asks nobody")
)]

use leptos::prelude::*;
use model::{AppError, OrgId, factors::SecondStep, orgs::Me};
use serde::{Deserialize, Serialize};

/// The signed-in person with their organisations, for the shell of every page.
#[server(prefix = "/api", endpoint = "load_me")]
pub async fn load_me() -> Result<Me, AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::orgs::me(&ctx).await.map_err(crate::ssr::told(&ctx))
}

/// What the log-in page needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct SignInStart {
    /// The value of the hidden field `csrf`.
    pub csrf: String,
    /// Whether somebody is logged in already.
    pub signed_in: bool,
    /// When the password was right: what the second step can be taken with.
    pub waiting: Option<SecondStep>,
    /// Whether this browser may be trusted to skip that step for a while.
    pub trust: bool,
    /// Whether passkeys can be used.
    pub passkeys: bool,
    /// Whether anybody has an account.
    pub set_up: bool,
    /// The client that is to be connected afterwards, as it named itself: untrusted text.
    pub client: Option<String>,
    /// Whether strangers may make accounts.
    pub sign_up: bool,
}

/// Loads the log-in page. `next` is where the person goes afterwards.
#[server(prefix = "/api", endpoint = "load_sign_in")]
pub async fn load_sign_in(#[server(default)] next: String) -> Result<SignInStart, AppError> {
    let ctx = crate::ssr::ctx()?;
    let client =
        domain::oauth_clients::name_on_the_way(&ctx.env, &next).await.map_err(crate::ssr::told(&ctx))?;
    // A session alone is not enough: its account may be gone, and then this page is the way on.
    let signed_in = ctx.signed_in.is_some() && domain::orgs::me(&ctx).await.is_ok();
    let set_up = domain::accounts::is_set_up(&ctx.env).await.map_err(crate::ssr::told(&ctx))?;
    let sign_up = ctx.env.settings.sign_up == model::links::SignUp::Open;
    let waiting = domain::mfa::waits(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let passkeys = domain::passkeys::offer(&ctx.env.settings).is_offered();
    let trust = domain::trusted_browsers::offered(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    Ok(SignInStart { csrf: ctx.form_token, signed_in, waiting, trust, passkeys, set_up, client, sign_up })
}

/// Checks address and password, and begins a session or the second step.
#[server(prefix = "/api", endpoint = "sign_in")]
pub async fn sign_in(
    email: String,
    password: String,
    csrf: String,
    next: Option<String>,
) -> Result<(), AppError> {
    use domain::accounts::{AfterPassword, Known};

    use crate::ssr;

    let ctx = ssr::ctx()?;
    server::check_form(&ctx, &csrf)?;
    let missing =
        [("email", email.trim(), "Enter your email"), ("password", &password, "Enter your password")];
    let missing = missing.into_iter().filter(|(_, text, _)| text.is_empty());
    let missing = missing.map(|(field, _, words)| AppError::field(field, "required", words));
    if let Some(error) = missing.reduce(AppError::and) {
        return Err(error);
    }
    let browser = Known { device: ctx.device.as_deref(), trusted: ctx.trusted.as_deref() };
    let done = domain::accounts::sign_in(&ctx.env, &ctx.origin, email.trim(), &password, browser)
        .await
        .map_err(ssr::told(&ctx))?;
    let next = model::paths::safe_next(next.as_deref());
    match done {
        AfterPassword::SignedIn(done) => {
            let enrol = server::must_enrol(&ctx, done.org, done.user).await?;
            server::begin(&ctx, done).await?;
            let forced = model::paths::profile_two_factor_then(next);
            ssr::redirect(if enrol { &forced } else { next });
        }
        AfterPassword::SecondFactor(step) => {
            server::set_step(&ctx, &step);
            // Somebody who is logged in and has to do it once more stays on the way to that.
            let again = ctx.signed_in.is_some();
            let here =
                if again { model::paths::sign_in_again_then(next) } else { model::paths::sign_in_then(next) };
            ssr::redirect(&here);
        }
    }
    Ok(())
}

/// Takes the code of the second step, and begins a session.
#[server(prefix = "/api", endpoint = "finish_sign_in")]
pub async fn finish_sign_in(
    #[server(default)] code: String,
    trust: Option<String>,
    csrf: String,
    next: Option<String>,
) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    server::check_form(&ctx, &csrf)?;
    if code.trim().is_empty() {
        return Err(AppError::field("code", "required", "Enter the code"));
    }
    let (step, device) = (ctx.step.as_deref(), ctx.device.as_deref());
    let done =
        domain::mfa::finish(&ctx.env, &ctx.origin, step, &code, device).await.map_err(ssr::told(&ctx))?;
    if trust.is_some() {
        server::trust(&ctx, done.user).await?;
    }
    server::begin(&ctx, done).await?;
    ssr::redirect(model::paths::safe_next(next.as_deref()));
    Ok(())
}

/// Makes a challenge for a passkey: the options of `navigator.credentials` as JSON. The script of passkeys asks for it.
#[server(prefix = "/api", endpoint = "begin_passkey")]
pub async fn begin_passkey(purpose: String) -> Result<String, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let purpose = model::factors::PasskeyPurpose::parse(&purpose);
    let purpose = purpose.ok_or_else(|| told(domain::Error::not_found("use of a passkey")))?;
    domain::passkeys::begin(&ctx, purpose).await.map_err(&told)
}

/// Takes a passkey in place of address and password, and begins a session.
#[server(prefix = "/api", endpoint = "sign_in_with_passkey")]
pub async fn sign_in_with_passkey(
    #[server(default)] passkey: String,
    csrf: String,
    next: Option<String>,
) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    server::check_form(&ctx, &csrf)?;
    let done = domain::passkeys::sign_in(&ctx, &passkey).await.map_err(ssr::told(&ctx))?;
    server::begin(&ctx, done).await?;
    ssr::redirect(model::paths::safe_next(next.as_deref()));
    Ok(())
}

/// Takes a passkey as the second step, and begins a session.
#[server(prefix = "/api", endpoint = "finish_with_passkey")]
pub async fn finish_with_passkey(
    #[server(default)] passkey: String,
    trust: Option<String>,
    csrf: String,
    next: Option<String>,
) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    server::check_form(&ctx, &csrf)?;
    let done = domain::passkeys::finish(&ctx, &passkey).await.map_err(ssr::told(&ctx))?;
    if trust.is_some() {
        server::trust(&ctx, done.user).await?;
    }
    server::begin(&ctx, done).await?;
    ssr::redirect(model::paths::safe_next(next.as_deref()));
    Ok(())
}

/// Leaves the second step, to log in as somebody else or anew.
#[server(prefix = "/api", endpoint = "restart_sign_in")]
pub async fn restart_sign_in(csrf: String, next: Option<String>) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    server::check_form(&ctx, &csrf)?;
    domain::mfa::forget(&ctx).await.map_err(ssr::told(&ctx))?;
    server::set_step(&ctx, "");
    ssr::redirect(&model::paths::sign_in_then(model::paths::safe_next(next.as_deref())));
    Ok(())
}

/// What the set-up page needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupStart {
    /// Whether the link is good.
    pub works: bool,
    /// Whether somebody is logged in.
    pub signed_in: bool,
    /// The value of the hidden field `csrf`.
    pub csrf: String,
    /// What stands before the slug in an endpoint URL.
    pub endpoint: String,
}

/// Looks at a set-up link; that changes nothing.
#[server(prefix = "/api", endpoint = "load_setup")]
pub async fn load_setup(token: String) -> Result<SetupStart, AppError> {
    let ctx = crate::ssr::ctx()?;
    let works = domain::accounts::setup_link_works(&ctx.env, &token).await.map_err(crate::ssr::told(&ctx))?;
    let endpoint = server::endpoint_prefix(&ctx);
    let signed_in = ctx.signed_in.is_some() && domain::orgs::me(&ctx).await.is_ok();
    Ok(SetupStart { works, signed_in, csrf: ctx.form_token, endpoint })
}

/// Uses a set-up link: makes the first owner and their organisation, and begins a session.
#[server(prefix = "/api", endpoint = "complete_setup")]
pub async fn complete_setup(
    token: String,
    csrf: String,
    name: String,
    email: String,
    password: String,
    org_name: String,
    org_slug: String,
) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    server::check_form(&ctx, &csrf)?;
    let owner = domain::accounts::FirstOwner {
        name: &name,
        email: &email,
        password: &password,
        org_name: &org_name,
        org_slug: &org_slug,
    };
    let done = domain::accounts::complete_setup(&ctx.env, &ctx.origin, &token, &owner)
        .await
        .map_err(ssr::told(&ctx))?;
    server::begin(&ctx, done).await?;
    ssr::redirect(&format!("{}?notice=setup-done", model::paths::overview()));
    Ok(())
}

/// Ends the session of this browser.
#[server(prefix = "/api", endpoint = "sign_out")]
pub async fn sign_out() -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::accounts::sign_out(&ctx).await.map_err(ssr::told(&ctx))?;
    ctx.session.end().await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=signed-out", model::paths::sign_in()));
    Ok(())
}

/// Shows another organisation of the person.
#[server(prefix = "/api", endpoint = "switch_org")]
pub async fn switch_org(org: OrgId) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    domain::orgs::switch(&ctx, org).await.map_err(ssr::told(&ctx))?;
    ctx.session.set_org(org).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=org-switched", model::paths::overview()));
    Ok(())
}

/// What stands before the slug in an endpoint URL, for the form of a new organisation.
#[server(prefix = "/api", endpoint = "load_new_org")]
pub async fn load_new_org() -> Result<String, AppError> {
    Ok(server::endpoint_prefix(&crate::ssr::ctx()?))
}

/// Makes an organisation that the person owns, and shows it.
#[server(prefix = "/api", endpoint = "create_org")]
pub async fn create_org(name: String, slug: String) -> Result<(), AppError> {
    use crate::ssr;

    let ctx = ssr::ctx()?;
    let org = domain::orgs::create(&ctx, &name, &slug).await.map_err(ssr::told(&ctx))?;
    ctx.session.set_org(org.id).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=org-created", model::paths::overview()));
    Ok(())
}

/// Remembers the theme in a cookie of this browser, and answers with it.
#[server(prefix = "/api", endpoint = "set_theme")]
pub async fn set_theme(theme: String, next: String) -> Result<String, AppError> {
    use crate::{ssr, state::Theme};

    let chosen = Theme::parse(&theme);
    let (value, age) = chosen.map_or(("", 0), |theme| (theme.as_str(), 365 * 24 * 60 * 60));
    ssr::set_cookie(&format!("{}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax", Theme::COOKIE));
    ssr::redirect(model::paths::safe_next(Some(&next)));
    Ok(chosen.map_or("system", Theme::as_str).to_owned())
}

#[cfg(feature = "ssr")]
pub(super) mod server {
    use domain::{accounts::SignIn, request::RequestContext};
    use model::{AppError, ErrorKind, OrgId, UserId, cookies, paths};

    use crate::ssr;

    /// Whether somebody who comes into an organisation has to set up a second factor before anything else (MFA-06).
    pub(in crate::pages::auth) async fn must_enrol(
        ctx: &RequestContext,
        org: Option<OrgId>,
        user: UserId,
    ) -> Result<bool, AppError> {
        match org {
            Some(org) => domain::org_security::must_enrol(&ctx.env, org, user).await.map_err(ssr::told(ctx)),
            None => Ok(false),
        }
    }

    /// Where somebody goes who has joined an organisation.
    pub(in crate::pages::auth) fn joined(enrol: bool) {
        let next = format!("{}?notice=joined", paths::overview());
        ssr::redirect(&if enrol { paths::profile_two_factor_then(&next) } else { next });
    }

    /// The form was made for this browser: beside the origin that the edge checks (SES-06).
    pub(crate) fn check_form(ctx: &RequestContext, token: &str) -> Result<(), AppError> {
        if same(ctx.form_token.as_bytes(), token.as_bytes()) {
            return Ok(());
        }
        Err(AppError::new(
            ErrorKind::Forbidden,
            "csrf",
            "This form was not made for this browser, so nothing was changed. Allow cookies for this site, reload the page and try again.",
        ))
    }

    /// Compares without telling by its time where the two differ.
    fn same(a: &[u8], b: &[u8]) -> bool {
        a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }

    /// Begins a session under a new identifier, and lets this browser be known the next time.
    pub(in crate::pages::auth) async fn begin(ctx: &RequestContext, done: SignIn) -> Result<(), AppError> {
        ctx.session.begin(done.user, done.org, done.by, done.sso).await.map_err(ssr::told(ctx))?;
        if ctx.step.is_some() {
            set_step(ctx, "");
        }
        ssr::set_cookie(&cookies::device(&done.device, is_secure(ctx)));
        Ok(())
    }

    /// Notes in a cookie that the second step is waited for; an empty value ends that (MFA-03).
    pub(super) fn set_step(ctx: &RequestContext, value: &str) {
        ssr::set_cookie(&cookies::step(value, is_secure(ctx)));
    }

    fn is_secure(ctx: &RequestContext) -> bool {
        ctx.env.settings.public_url.scheme() == "https"
    }

    /// Lets this browser skip the second step for as long as it is trusted, if the person's organisations allow that.
    pub(super) async fn trust(ctx: &RequestContext, user: UserId) -> Result<(), AppError> {
        if let Some(value) = domain::trusted_browsers::begin(ctx, user).await.map_err(ssr::told(ctx))? {
            let seconds = u32::try_from(domain::trusted_browsers::FOR / 1000).unwrap_or(0);
            ssr::set_cookie(&cookies::trusted(&value, is_secure(ctx), seconds));
        }
        Ok(())
    }

    /// `https://gatehouse.example.com/mcp/`
    pub(in crate::pages::auth) fn endpoint_prefix(ctx: &RequestContext) -> String {
        ctx.env.settings.absolute(&paths::mcp(""))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ses_06_a_form_token_is_compared_whole() {
            assert!(same(b"token", b"token"));
            for other in ["", "toke", "tokens", "tokem", "Token"] {
                assert!(!same(b"token", other.as_bytes()), "{other}");
            }
        }
    }
}
