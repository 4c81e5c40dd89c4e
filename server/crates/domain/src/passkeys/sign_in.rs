//! A passkey that opens something: an account, the second step of a log-in, or what needs a fresh proof.

use model::{AppError, OrgId, UserId, factors::PasskeyPurpose};
use store::{Tx, passkeys as rows, users::User};

use super::{Answer, Refused, Verifier, binding, note_refused, refused};
use crate::{
    Env, Error, Result,
    accounts::{self, SignIn},
    authz::Principal,
    change::{self, Event},
    mfa, notices,
    request::{AuthMethod, BySso, RequestContext},
};

/// Holds an answer against the challenge that it is one to, and takes both. Goes on in a transaction that has to be
/// committed for the challenge to be used up; a refusal is written down at once. `who` is whose passkey it must be, if
/// that is known.
async fn verify(
    ctx: &RequestContext,
    mut tx: Tx,
    purpose: PasskeyPurpose,
    who: Option<UserId>,
    text: &str,
) -> Result<(Tx, User)> {
    let env: &Env = &ctx.env;
    let verifier = Verifier::of(&env.settings)?;
    let binding = binding(ctx, purpose)?;
    let answer = Answer::parse(text).ok_or_else(refused)?;
    let Some((of, state)) = rows::take(&mut tx, &answer.challenge_hash(), &binding, env.now()).await? else {
        return refuse_unknown(ctx, tx).await;
    };
    let row = rows::find_locked(&mut tx, &answer.credential_id).await?;
    let Some(row) =
        row.filter(|row| of.is_none_or(|of| of == row.user) && who.is_none_or(|who| who == row.user))
    else {
        return refuse_unknown(ctx, tx).await;
    };
    let user = store::users::find(&mut tx, row.user).await?.ok_or_else(refused)?;
    // Whoever was not known before says by the handle who they are; whoever was must not be somebody else.
    let handle_fits = match &answer.user_handle {
        Some(handle) => handle.as_slice() == user.id.uuid().as_bytes(),
        None => of.is_some(),
    };
    let verdict = if !handle_fits {
        Err(Refused::Wrong("the user handle is of somebody else, or missing".to_owned()))
    } else if answer.cross_origin {
        Err(Refused::Wrong("asked for in a frame of another site".to_owned()))
    } else {
        verifier.finish_authentication(&state, text, &row.credential)?
    };
    match verdict {
        Ok(credential) => {
            rows::used(&mut tx, row.id, &credential, env.now()).await?;
            Ok((tx, user))
        }
        Err(why) => {
            note_refused(ctx, &mut tx, &user, &why).await?;
            tx.commit().await?;
            Err(refused())
        }
    }
}

/// There is nobody whose log could tell of it but the instance's.
async fn refuse_unknown(ctx: &RequestContext, mut tx: Tx) -> Result<(Tx, User)> {
    let event = Event::new("auth.passkey_refused").with("reason", "unknown");
    change::note(&ctx.env, &mut tx, &[], &Principal::System, &ctx.origin, &event, "failed").await?;
    tx.commit().await?;
    Err(refused())
}

/// Takes a passkey of somebody who is signed in, as the fresh proof that it is them. An error is no end of their session.
pub(crate) async fn take(ctx: &RequestContext, tx: Tx, user: &User, text: &str) -> Result<Tx> {
    let done = verify(ctx, tx, PasskeyPurpose::Confirm, Some(user.id), text).await;
    done.map(|(tx, _)| tx).map_err(|error| match error {
        Error::App(error) if error.code == "passkey_refused" => {
            let words = "This passkey was not accepted. Nothing was changed; try again, or use another way";
            AppError::field("passkey", "passkey_refused", words).into()
        }
        other => other,
    })
}

/// Logs somebody in by a passkey alone: it is bound to them, and its authenticator has verified them, so no second step
/// follows.
pub async fn sign_in(ctx: &RequestContext, text: &str) -> Result<SignIn> {
    let tx = ctx.env.db.write().await?;
    let (tx, user) = verify(ctx, tx, PasskeyPurpose::SignIn, None, text).await?;
    let event = Event::new("auth.signed_in").with("method", "passkey");
    open(ctx, tx, &user, event, None, 0).await
}

/// Takes a passkey as the second step after the password.
pub async fn finish(ctx: &RequestContext, text: &str) -> Result<SignIn> {
    let waiting = mfa::waiting(ctx).await?.ok_or_else(mfa::second_step_over)?;
    let tx = ctx.env.db.write().await?;
    let (mut tx, user) = verify(ctx, tx, PasskeyPurpose::SecondStep, Some(waiting), text).await?;
    let (sso, failures) = mfa::end_step(&mut tx, ctx).await?;
    let event = Event::new("auth.signed_in")
        .with("method", if sso.is_some() { "sso" } else { "password" })
        .with("second_factor", "passkey");
    open(ctx, tx, &user, event, sso, failures).await
}

/// `sso` is whose provider vouched for the first step, if there was one and it was not the password; `failures` how many wrong
/// passwords came before it.
async fn open(
    ctx: &RequestContext,
    mut tx: Tx,
    user: &User,
    event: Event,
    sso: Option<OrgId>,
    failures: i64,
) -> Result<SignIn> {
    let env = &ctx.env;
    let shown = if sso.is_some() { AuthMethod::Sso } else { AuthMethod::Passkey };
    let origin = &ctx.origin.shown(shown);
    let by = Principal::User { id: user.id, name: user.name.clone() };
    let event = event.target("user", user.id, &user.email);
    match sso {
        Some(org) => change::note(env, &mut tx, &[org], &by, origin, &event, "ok").await?,
        None => accounts::note_of_user(env, &mut tx, user.id, &by, origin, &event, "ok").await?,
    }
    let known = ctx.device.as_deref().is_some_and(|cookie| accounts::is_device_of(env, cookie, user.id));
    notices::signed_in(env, &mut tx, user, known, failures, origin).await?;
    let org = match sso {
        Some(org) => Some(org),
        None => accounts::org_in_view(&mut tx, user).await?,
    };
    tx.commit().await?;
    let sso = sso.map(|org| BySso { org, second_factor: false });
    Ok(SignIn { sso, ..accounts::signed_in(env, user.id, org, shown) })
}
