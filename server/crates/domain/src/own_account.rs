//! What people do with their own account: address, password, organisations.

use model::{
    AppError, ErrorKind, Role, UserId,
    links::{OwnAccount, OwnOrg},
    text,
};
use store::{Tx, users::User};

use crate::{
    Env, Error, Result,
    accounts::{check_password, check_password_beside, note_of_user},
    authz::{self, Principal},
    change::Event,
    mail::{self, Letter, Wanted, letters},
    one_time::{self, Kind},
    recovery,
    request::{AuthMethod, Origin, RequestContext},
    step_up, throttle, trusted_browsers,
};

const HOUR: i64 = 60 * 60 * 1000;
/// Mails that somebody may ask for in an hour to prove an address.
const MAILS: i64 = 5;

/// Whoever is signed in.
pub(crate) async fn own(ctx: &RequestContext) -> Result<User> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)
}

fn principal(user: &User) -> Principal {
    Principal::User { id: user.id, name: user.name.clone() }
}

/// What the person may do with their account, and their organisations.
pub async fn overview(ctx: &RequestContext) -> Result<OwnAccount> {
    let user = own(ctx).await?;
    let mut tx = ctx.env.db.read().await?;
    let mut orgs = Vec::new();
    for org in store::orgs::list_of_user(&mut tx, user.id).await? {
        let Some(role) = store::members::find_role(&mut tx, org.id, user.id).await? else { continue };
        let last_owner =
            role == Role::Owner && store::members::count_in_role(&mut tx, org.id, Role::Owner).await? < 2;
        let connections = store::connections::list_of_user(&mut tx, org.id, user.id).await?;
        let live = connections.iter().filter(|row| row.revoked_at.is_none()).count();
        orgs.push(OwnOrg {
            org: org.id,
            name: org.name,
            slug: org.slug.to_string(),
            role,
            last_owner,
            connections: i64::try_from(live).unwrap_or(i64::MAX),
        });
    }
    Ok(OwnAccount {
        verified: user.email_verified_at.is_some(),
        no_password: !user.has_password(),
        email: user.email,
        mails: ctx.env.sends_mail(),
        orgs,
    })
}

/// Asks somebody who has no password, because they log in by SSO, for what stands in for one: a log-in, or a passkey or a code,
/// of the last five minutes. Everything that takes a password takes this (MFA-05, DEL-04).
async fn confirm_without_password(ctx: &RequestContext) -> Result<()> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    if step_up::is_fresh(&mut tx, signed_in, ctx.env.now()).await? {
        return Ok(());
    }
    Err(AppError::new(
        ErrorKind::Forbidden,
        "reauth_required",
        "Your account has no password, so a log-in of the last five minutes stands in for it. Nothing was changed; log in again with SSO, then do this again.",
    )
    .into())
}

/// Checks the person's present password. It is throttled by itself, so that whoever found a browser open cannot guess, and
/// their guesses keep nobody from logging in.
pub(crate) async fn confirm_password(
    ctx: &RequestContext,
    user: &User,
    field: &str,
    password: &str,
    action: &'static str,
) -> Result<()> {
    let env = &ctx.env;
    if !user.has_password() {
        return confirm_without_password(ctx).await;
    }
    if password.is_empty() {
        return Err(AppError::field(field, "required", "Enter your password").into());
    }
    let attempt = throttle::begin(env, &format!("confirm:{}", user.id), None, ctx.origin.address).await?;
    let verified = match env.passwords.verify(Some(&user.password_hash), password).await {
        Ok(verified) => verified,
        Err(busy) => {
            attempt.not_made(env).await?;
            return Err(busy.into());
        }
    };
    let mut tx = env.db.write().await?;
    if verified.ok {
        attempt.succeeded(&mut tx).await?;
        tx.commit().await?;
        return Ok(());
    }
    let event = Event::new(action).target("user", user.id, &user.email);
    note_of_user(env, &mut tx, user.id, &principal(user), &ctx.origin, &event, "failed").await?;
    tx.commit().await?;
    Err(AppError::field(field, "wrong_password", "This is not your password").into())
}

/// Changes the password, for whoever knows the present one (PWD-09). Their other sessions end.
pub async fn change_password(ctx: &RequestContext, current: &str, new: &str) -> Result<u64> {
    let env = &ctx.env;
    let user = own(ctx).await?;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let has_factor = {
        let mut tx = env.db.read().await?;
        store::factors::has(&mut tx, user.id).await?
    };
    check_password_beside(env, new, &[&user.email, &user.name], has_factor).map_err(at_new_password)?;
    if !user.has_password() {
        let words = "Your account has no password yet. Ask for a link to set one where passwords are forgotten, at the log-in";
        return Err(AppError::field("current_password", "no_password", words).into());
    }
    confirm_password(ctx, &user, "current_password", current, "auth.password_changed").await?;
    if current == new {
        let words = "Choose another password than the present one";
        return Err(AppError::field("new_password", "same_password", words).into());
    }
    let hash = env.passwords.hash(env.rng.as_ref(), new).await?;
    let mut tx = env.db.write().await?;
    store::users::set_password_hash(&mut tx, user.id, &hash, env.now()).await?;
    let ended = store::sessions::delete_others(&mut tx, user.id, signed_in.session).await?;
    trusted_browsers::end_all(&mut tx, user.id).await?;
    // A link that somebody has to set yet another password is worth nothing any more.
    store::account_links::delete_of_user(&mut tx, user.id).await?;
    let event = Event::new("auth.password_changed")
        .target("user", user.id, &user.email)
        .with("sessions_ended", ended);
    note_of_user(env, &mut tx, user.id, &principal(&user), &ctx.origin, &event, "ok").await?;
    mail::notify(env, &mut tx, letters::password_changed(&env.settings, &user.email, false)).await?;
    tx.commit().await?;
    Ok(ended)
}

/// In the form for a new password beside the present one the field has another name.
fn at_new_password(mut error: AppError) -> AppError {
    for at in &mut error.fields {
        "new_password".clone_into(&mut at.field);
    }
    error
}

/// Asks for a link to turn the account to another address. The answer is the same whether or not that has an account.
pub async fn ask_for_address(ctx: &RequestContext, email: &str, password: &str) -> Result<()> {
    let env = &ctx.env;
    let user = own(ctx).await?;
    let email = text::email("email", email)?;
    if store::users::email_key(&email) == store::users::email_key(&user.email) {
        return Err(AppError::field("email", "same_address", "This is your address already").into());
    }
    confirm_password(ctx, &user, "password", password, "auth.email_change_requested").await?;
    throttle::take_of(env, format!("address:{}", user.id), MAILS, HOUR).await?;
    let mut tx = env.db.write().await?;
    let event = Event::new("auth.email_change_requested").target("user", user.id, &user.email);
    note_of_user(env, &mut tx, user.id, &principal(&user), &ctx.origin, &event, "ok").await?;
    let wanted = Wanted::NewAddress { user: user.id, email };
    mail::queue(env, &mut tx, None, None, &wanted, one_time::LIFETIME).await?;
    tx.commit().await?;
    Ok(())
}

/// Writes the mail for a queued wish: a link, or to the one whose address it is, word that they have an account.
pub(crate) async fn write_new_address(
    env: &Env,
    tx: &mut Tx,
    user: UserId,
    email: &str,
) -> Result<Option<Letter>> {
    let Some(user) = store::users::find(tx, user).await? else { return Ok(None) };
    if let Some(other) = store::users::find_by_email(tx, email).await? {
        return Ok(Some(letters::has_account(&env.settings, &other.email)));
    }
    let link = one_time::make(env, tx, Kind::Email, Some(user.id), email).await?;
    Ok(Some(letters::new_address(email, &user.name, link)))
}

/// Sends a link to prove the present address.
pub async fn ask_to_verify(ctx: &RequestContext) -> Result<()> {
    let env = &ctx.env;
    let user = own(ctx).await?;
    throttle::take_of(env, format!("address:{}", user.id), MAILS, HOUR).await?;
    let mut tx = env.db.write().await?;
    let link = one_time::make(env, &mut tx, Kind::Verify, Some(user.id), &user.email).await?;
    let event = Event::new("auth.verification_requested").target("user", user.id, &user.email);
    note_of_user(env, &mut tx, user.id, &principal(&user), &ctx.origin, &event, "ok").await?;
    let wanted = Wanted::Letter(letters::verify(&user.email, link));
    mail::queue(env, &mut tx, None, None, &wanted, one_time::LIFETIME).await?;
    tx.commit().await?;
    Ok(())
}

/// Confirms an address with a link: the present one, or a new one, which the account has from now on.
pub async fn confirm_address(env: &Env, origin: &Origin, token: &str) -> Result<()> {
    let kind = {
        let mut tx = env.db.read().await?;
        let link = store::account_links::find(&mut tx, &one_time::hash(token)).await?;
        match link.as_ref().map(|link| link.kind.as_str()) {
            Some("email") => Kind::Email,
            _ => Kind::Verify,
        }
    };
    let mut tx = env.db.write().await?;
    let link = one_time::take(env, &mut tx, kind, token).await?;
    let user = match link.user {
        Some(id) => store::users::find(&mut tx, id).await?,
        None => None,
    };
    let user = user.ok_or_else(one_time::dead)?;
    let origin = &origin.shown(AuthMethod::Link);
    if kind == Kind::Email {
        return turn(env, tx, &user, &link.email, &principal(&user), origin).await;
    }
    if store::users::email_key(&user.email) != store::users::email_key(&link.email) {
        return Err(one_time::dead());
    }
    store::users::set_verified(&mut tx, user.id, env.now()).await?;
    let event = Event::new("auth.email_verified").target("user", user.id, &user.email);
    note_of_user(env, &mut tx, user.id, &principal(&user), origin, &event, "ok").await?;
    tx.commit().await?;
    Ok(())
}

/// Turns an account to another address, and tells the one before.
async fn turn(
    env: &Env,
    mut tx: Tx,
    user: &User,
    email: &str,
    by: &Principal,
    origin: &Origin,
) -> Result<()> {
    let now = env.now();
    let done = match by {
        Principal::User { .. } => store::users::set_email(&mut tx, user.id, email, now).await,
        _ => store::users::set_email_unverified(&mut tx, user.id, email, now).await,
    };
    match done {
        Err(store::Error::Taken(_)) => {
            let mut error =
                AppError::field("email", "email_taken", "This address has another account by now");
            error.kind = ErrorKind::Conflict;
            return Err(error.into());
        }
        done => done?,
    }
    store::account_links::delete_of_user(&mut tx, user.id).await?;
    let event = Event::new("auth.email_changed").target("user", user.id, email).changed(
        "email",
        user.email.as_str(),
        email,
    );
    note_of_user(env, &mut tx, user.id, by, origin, &event, "ok").await?;
    mail::notify(env, &mut tx, letters::address_changed(&env.settings, &user.email, email)).await?;
    tx.commit().await?;
    Ok(())
}

/// Turns an account to another address, as the operator.
pub async fn set_address_by_operator(env: &Env, email: &str, new: &str) -> Result<()> {
    let new = text::email("new-email", new)?;
    let mut tx = env.db.write().await?;
    let user = store::users::find_by_email(&mut tx, email).await?.ok_or_else(|| Error::not_found("user"))?;
    turn(env, tx, &user, &new, &Principal::Operator, &Origin::default()).await
}

/// Ends all sessions of somebody, as the operator; how many that were.
pub async fn end_sessions_by_operator(env: &Env, email: &str) -> Result<u64> {
    let mut tx = env.db.write().await?;
    let user = store::users::find_by_email(&mut tx, email).await?.ok_or_else(|| Error::not_found("user"))?;
    let ended = store::sessions::delete_all_of_user(&mut tx, user.id).await?;
    let event =
        Event::new("auth.sessions_revoked").target("user", user.id, &user.email).with("sessions", ended);
    note_of_user(env, &mut tx, user.id, &Principal::Operator, &Origin::default(), &event, "ok").await?;
    tx.commit().await?;
    Ok(ended)
}

/// Sets somebody's password, as the operator: their sessions and connections end and their count of failures is forgotten.
pub async fn set_password_by_operator(env: &Env, email: &str, password: &str) -> Result<()> {
    let user = {
        let mut tx = env.db.read().await?;
        store::users::find_by_email(&mut tx, email).await?.ok_or_else(|| Error::not_found("user"))?
    };
    check_password(env, password, &[&user.email, &user.name])?;
    let hash = env.passwords.hash(env.rng.as_ref(), password).await?;
    let tx = env.db.write().await?;
    recovery::put_password(env, tx, &user, &hash, &Principal::Operator, &Origin::default()).await
}
