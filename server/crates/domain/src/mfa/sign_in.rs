//! The second step of logging in: a challenge of its own, bound to the password step and to the browser (MFA-03).

use model::{AppError, ErrorKind, OrgId, UserId, factors::SecondStep};
use sha2::{Digest as _, Sha256};
use store::{Tx, users::User};

use super::take;
use crate::{
    Env, Error, Result,
    accounts::{self, SignIn},
    authz::Principal,
    change::{Event, note},
    notices,
    request::{AuthMethod, BySso, Origin, RequestContext},
};

/// How long the second step may take, milliseconds.
const WITHIN: i64 = 10 * 60 * 1000;
/// How many codes of one log-in are looked at.
const ATTEMPTS: i64 = 5;

fn hashed(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The second step is over, or never began.
pub(crate) fn over() -> Error {
    AppError::new(
        ErrorKind::Unauthenticated,
        "second_step_over",
        "This log-in took too long or too many codes. Log in again with your password.",
    )
    .into()
}

/// Begins the second step of somebody whose password was right, after so many wrong ones. The value belongs into a cookie; it
/// opens nothing.
pub async fn begin(env: &Env, tx: &mut Tx, user: &User, failures: i64) -> Result<String> {
    let now = env.now();
    let token = env.token();
    store::sign_in_steps::delete_expired(tx, now).await?;
    store::sign_in_steps::insert(tx, &hashed(&token), user.id, now + WITHIN, failures).await?;
    Ok(token)
}

/// The same for somebody whom an organisation's provider vouched for, but without a second factor of its own.
pub(crate) async fn begin_by_sso(env: &Env, tx: &mut Tx, user: &User, org: OrgId) -> Result<String> {
    let token = begin(env, tx, user, 0).await?;
    store::sso::set_step_org(tx, &hashed(&token), org).await?;
    Ok(token)
}

/// Whose log-in waits for its second step in this browser.
pub(crate) async fn waiting(ctx: &RequestContext) -> Result<Option<UserId>> {
    let Some(token) = &ctx.step else { return Ok(None) };
    let mut tx = ctx.env.db.read().await?;
    Ok(store::sign_in_steps::find(&mut tx, &hashed(token), ctx.env.now(), ATTEMPTS).await?)
}

/// Whether a log-in of this browser waits for its second step, and for what.
pub async fn waits(ctx: &RequestContext) -> Result<Option<SecondStep>> {
    let Some(user) = waiting(ctx).await? else { return Ok(None) };
    let mut tx = ctx.env.db.read().await?;
    Ok(Some(super::ways(&mut tx, user).await?))
}

/// Ends a log-in that waits, because its second step was taken. Of two at once, one is told that it is over. Whose provider
/// vouched for the first step, if one did, and how many log-ins failed before.
pub(crate) async fn end_step(tx: &mut Tx, ctx: &RequestContext) -> Result<(Option<OrgId>, i64)> {
    take_step(tx, &hashed(ctx.step.as_deref().ok_or_else(over)?)).await
}

async fn take_step(tx: &mut Tx, hash: &[u8]) -> Result<(Option<OrgId>, i64)> {
    let sso = store::sso::find_step_org(tx, hash).await?;
    let failures = store::sign_in_steps::failures(tx, hash).await?;
    if store::sign_in_steps::delete(tx, hash).await? { Ok((sso, failures)) } else { Err(over()) }
}

/// Ends a log-in that waits, because the person wants to begin again.
pub async fn forget(ctx: &RequestContext) -> Result<()> {
    let Some(token) = &ctx.step else { return Ok(()) };
    let mut tx = ctx.env.db.write().await?;
    store::sign_in_steps::delete(&mut tx, &hashed(token)).await?;
    Ok(tx.commit().await?)
}

/// Takes the code: after it the person is signed in. An attempt is counted before it is looked at.
pub async fn finish(
    env: &Env,
    origin: &Origin,
    token: Option<&str>,
    code: &str,
    device: Option<&str>,
) -> Result<SignIn> {
    let hash = hashed(token.ok_or_else(over)?);
    let mut tx = env.db.write().await?;
    let step = store::sign_in_steps::attempt(&mut tx, &hash, env.now(), ATTEMPTS).await?;
    let (user, attempts) = step.ok_or_else(over)?;
    let user = store::users::find(&mut tx, user).await?.ok_or_else(over)?;
    let origin = &origin.shown(AuthMethod::Password);
    let (mut tx, factor) = match take(env, tx, &user, code, device, origin).await {
        Err(Error::App(error)) if error.code == "wrong_code" && attempts >= ATTEMPTS => return Err(over()),
        // There is one field, and the form as a whole says it.
        Err(Error::App(mut error)) if error.code == "wrong_code" => {
            error.fields.clear();
            error.message.push('.');
            return Err(error.into());
        }
        done => done?,
    };
    let (sso, failures) = take_step(&mut tx, &hash).await?;
    let by = Principal::User { id: user.id, name: user.name.clone() };
    let shown = if sso.is_some() { AuthMethod::Sso } else { AuthMethod::PasswordAndCode };
    let origin = &origin.shown(shown);
    let event = Event::new("auth.signed_in")
        .target("user", user.id, &user.email)
        .with("method", if sso.is_some() { "sso" } else { "password" })
        .with("second_factor", factor.as_str());
    match sso {
        Some(org) => note(env, &mut tx, &[org], &by, origin, &event, "ok").await?,
        None => accounts::note_of_user(env, &mut tx, user.id, &by, origin, &event, "ok").await?,
    }
    let known = device.is_some_and(|cookie| accounts::is_device_of(env, cookie, user.id));
    notices::signed_in(env, &mut tx, &user, known, failures, origin).await?;
    let org = match sso {
        Some(org) => Some(org),
        None => accounts::org_in_view(&mut tx, &user).await?,
    };
    tx.commit().await?;
    let sso = sso.map(|org| BySso { org, second_factor: false });
    Ok(SignIn { sso, ..accounts::signed_in(env, user.id, org, shown) })
}
