//! Passkeys (W3C Web Authentication): added by somebody who has shown who they are, a way to log in without a password,
//! and a second factor beside it (MFA-07).
//!
//! A passkey counts only when its authenticator has verified its person, so one alone is two factors. A challenge is of
//! 32 bytes, answered once, within five minutes, by what it was given to: a browser before its log-in, a log-in that
//! waits for its second step, or a session.

mod answer;
mod sign_in;
mod verifier;

use model::{
    AppError, ErrorKind, PasskeyId, UserId,
    factors::{PasskeyPurpose, Passkeys},
    text,
};
use sha2::{Digest as _, Sha256};
use store::{Tx, passkeys as rows, users::User};

pub(crate) use self::sign_in::take;
use self::{
    answer::Answer,
    verifier::{Refused, Verifier},
};
pub use self::{
    sign_in::{finish, sign_in},
    verifier::offer,
};
use crate::{
    Error, Result, accounts,
    authz::{self, Principal},
    change::Event,
    mail::{
        self,
        letters::{self, FactorNews},
    },
    mfa::{self, Shown},
    request::{Origin, RequestContext},
    step_up::{self, Proven},
    throttle, trusted_browsers,
};

/// How long an answer may take, milliseconds.
pub(crate) const WITHIN: i64 = 5 * 60 * 1000;
/// Passkeys that somebody may have.
const MOST: usize = 20;
/// The longest name of one in characters.
const MAX_NAME: usize = 64;
/// Challenges that are given out to one address in a minute while nobody is signed in.
const PER_ADDRESS: i64 = 30;
const MINUTE: i64 = 60 * 1000;

/// What a challenge is given to: nothing else may answer it.
fn binding(ctx: &RequestContext, purpose: PasskeyPurpose) -> Result<[u8; 32]> {
    let to = match purpose {
        PasskeyPurpose::SignIn => ctx.form_token.clone(),
        PasskeyPurpose::SecondStep => ctx.step.clone().ok_or_else(mfa::second_step_over)?,
        PasskeyPurpose::Confirm | PasskeyPurpose::Register => {
            ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?.session.to_string()
        }
    };
    let mut hash = Sha256::new();
    hash.update(purpose.as_str().as_bytes());
    hash.update([0]);
    hash.update(to.as_bytes());
    Ok(hash.finalize().into())
}

fn refused() -> Error {
    AppError::new(
        ErrorKind::Unauthenticated,
        "passkey_refused",
        "This passkey was not accepted. Try again; if it is not known here any more, use another way.",
    )
    .into()
}

fn none_yet() -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "no_passkey",
        "Your account has no passkey, so nothing was changed. Use your password or a code.",
    )
    .into()
}

/// Makes a challenge for the browser: the options of `navigator.credentials` as JSON.
pub async fn begin(ctx: &RequestContext, purpose: PasskeyPurpose) -> Result<String> {
    let env = &ctx.env;
    let verifier = Verifier::of(&env.settings)?;
    let binding = binding(ctx, purpose)?;
    let (user, begun) = match purpose {
        PasskeyPurpose::SignIn => {
            if let Some(address) = ctx.origin.address {
                throttle::take(env, "passkey", address, PER_ADDRESS, MINUTE).await?;
            }
            (None, verifier.begin_authentication(&[])?)
        }
        PasskeyPurpose::SecondStep | PasskeyPurpose::Confirm => {
            let user = match purpose {
                PasskeyPurpose::SecondStep => mfa::waiting(ctx).await?.ok_or_else(mfa::second_step_over)?,
                _ => ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?.user,
            };
            let mut tx = env.db.read().await?;
            let known: Vec<String> =
                rows::list(&mut tx, user).await?.into_iter().map(|row| row.credential).collect();
            if known.is_empty() {
                return Err(none_yet());
            }
            (Some(user), verifier.begin_authentication(&known)?)
        }
        PasskeyPurpose::Register => {
            let proven = Proven::require(ctx).await?;
            let mut tx = env.db.read().await?;
            let known: Vec<Vec<u8>> =
                rows::list(&mut tx, proven.user()).await?.into_iter().map(|row| row.credential_id).collect();
            check_room(known.len())?;
            (Some(proven.user()), verifier.begin_registration(&proven.user, &known)?)
        }
    };
    let challenge = rows::Challenge {
        hash: Sha256::digest(&begun.challenge).into(),
        binding,
        user,
        state: &begun.state,
        expires_at: env.now() + WITHIN,
    };
    let mut tx = env.db.write().await?;
    rows::give_out(&mut tx, &challenge, env.now()).await?;
    tx.commit().await?;
    Ok(begun.options)
}

fn check_room(have: usize) -> Result<()> {
    if have < MOST {
        return Ok(());
    }
    let words = format!("You have {MOST} passkeys, which is the most. Remove one that you do not use first.");
    Err(AppError::new(ErrorKind::Conflict, "too_many", words).into())
}

/// What the page of passkeys shows.
pub async fn status(ctx: &RequestContext) -> Result<Passkeys> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let env = &ctx.env;
    let mut tx = env.db.read().await?;
    let list = rows::list(&mut tx, signed_in.user).await?;
    Ok(Passkeys {
        list: list
            .into_iter()
            .map(|row| model::factors::Passkey {
                id: row.id,
                name: row.name,
                created_at: row.created_at,
                last_used_at: row.last_used_at,
            })
            .collect(),
        app: store::factors::find_totp(&mut tx, signed_in.user).await?.is_some(),
        codes_left: store::factors::count_codes(&mut tx, signed_in.user).await?,
        required_by: mfa::required_by(&mut tx, signed_in.user).await?,
        offer: offer(&env.settings),
        host: env.settings.public_url.host_str().unwrap_or_default().to_owned(),
        fresh: step_up::is_fresh(&mut tx, signed_in, env.now()).await?,
        no_password: mfa::has_no_password(&mut tx, signed_in.user).await?,
        now: env.now(),
    })
}

/// Adds the passkey that an authenticator made. Answers with backup codes if there were none: they are told here and
/// nowhere else.
pub async fn add(ctx: &RequestContext, proven: &Proven, name: &str, text: &str) -> Result<Vec<String>> {
    let (env, user) = (&ctx.env, &proven.user);
    let name = name.trim();
    let name = text::name("name", "this passkey", if name.is_empty() { "Passkey" } else { name }, MAX_NAME)?;
    let verifier = Verifier::of(&env.settings)?;
    let binding = binding(ctx, PasskeyPurpose::Register)?;
    let answer = Answer::parse(text).ok_or_else(not_added)?;
    // The hashes take their time: meanwhile nobody waits for the transaction.
    let needs_codes = {
        let mut tx = env.db.read().await?;
        store::factors::count_codes(&mut tx, user.id).await? == 0
    };
    let (shown, hashes) = if needs_codes { mfa::new_codes(env).await? } else { (Vec::new(), Vec::new()) };
    let mut tx = env.db.write().await?;
    let taken = rows::take(&mut tx, &answer.challenge_hash(), &binding, env.now()).await?;
    let (of, state) = taken.ok_or_else(not_added)?;
    if of != Some(user.id) {
        return Err(not_added());
    }
    let made = match verifier.finish_registration(&state, text)? {
        Ok(made) => made,
        Err(why) => {
            note_refused(ctx, &mut tx, user, &why).await?;
            tx.commit().await?;
            return Err(not_added());
        }
    };
    let first = !store::factors::has(&mut tx, user.id).await?;
    check_room(rows::list(&mut tx, user.id).await?.len())?;
    let row = rows::Passkey {
        id: PasskeyId::from_uuid(env.uuid()),
        user: user.id,
        credential_id: made.id,
        credential: made.credential,
        name,
        created_at: env.now(),
        last_used_at: None,
    };
    match rows::insert(&mut tx, &row).await {
        Err(store::Error::Taken(_)) => return Err(taken_already()),
        done => done?,
    }
    trusted_browsers::end_all(&mut tx, user.id).await?;
    if needs_codes {
        store::factors::put_codes(&mut tx, user.id, &hashes).await?;
    }
    let event = Event::new("auth.passkey_added")
        .target("user", user.id, &user.email)
        .with("passkey", row.id.to_string())
        .with("name", row.name.as_str())
        .with("first_factor", first);
    note(ctx, &mut tx, user, &event).await?;
    let letter = letters::second_factor(&env.settings, &user.email, FactorNews::PasskeyAdded);
    mail::notify(env, &mut tx, letter).await?;
    tx.commit().await?;
    Ok(shown)
}

fn not_added() -> Error {
    AppError::new(
        ErrorKind::Invalid,
        "passkey_refused",
        "This passkey could not be added: its answer came too late, or was not one to what was asked. Nothing was changed; try again.",
    )
    .into()
}

fn taken_already() -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "passkey_taken",
        "This passkey belongs to an account already, so nothing was changed. Use another authenticator.",
    )
    .into()
}

fn no_such() -> Error {
    Error::not_found("passkey")
}

async fn find(tx: &mut Tx, user: UserId, id: PasskeyId) -> Result<rows::Passkey> {
    rows::list(tx, user).await?.into_iter().find(|row| row.id == id).ok_or_else(no_such)
}

/// Gives a passkey of the person another name.
pub async fn rename(ctx: &RequestContext, id: PasskeyId, name: &str) -> Result<()> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let name = text::name("name", "this passkey", name, MAX_NAME)?;
    let mut tx = ctx.env.db.write().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    let old = find(&mut tx, user.id, id).await?;
    if !rows::rename(&mut tx, user.id, id, &name).await? {
        return Err(no_such());
    }
    let event = Event::new("auth.passkey_renamed")
        .target("user", user.id, &user.email)
        .with("passkey", id.to_string())
        .changed("name", old.name, name.as_str());
    note(ctx, &mut tx, &user, &event).await?;
    Ok(tx.commit().await?)
}

/// Removes a passkey. While there is another factor a fresh proof is enough; the last one takes the password and a code or
/// a passkey, as turning the second factor off does, and goes only where nobody requires one (MFA-05, MFA-08).
pub async fn remove(
    ctx: &RequestContext,
    proven: &Proven,
    id: PasskeyId,
    password: &str,
    shown: Shown<'_>,
) -> Result<()> {
    let (env, user) = (&ctx.env, &proven.user);
    let last = {
        let mut tx = env.db.read().await?;
        find(&mut tx, user.id, id).await?;
        let last = is_last(&mut tx, user.id).await?;
        if last {
            mfa::may_go_without(&mut tx, user.id).await?;
        }
        last
    };
    let (mut tx, proof) = if last {
        let (tx, factor) = mfa::prove_to_turn_off(ctx, user, password, shown).await?;
        (tx, factor.as_str())
    } else {
        let mut tx = env.db.write().await?;
        mfa::lock(&mut tx, user.id).await?;
        (tx, "session")
    };
    // Again, now that nobody else changes their factors.
    let row = find(&mut tx, user.id, id).await?;
    let last_now = is_last(&mut tx, user.id).await?;
    if last_now {
        mfa::may_go_without(&mut tx, user.id).await?;
        if !last {
            return Err(AppError::new(
                ErrorKind::Conflict,
                "last_factor",
                "This has just become your last second factor, so nothing was changed. Load the page again.",
            )
            .into());
        }
    }
    if !rows::delete(&mut tx, user.id, id).await? {
        return Err(no_such());
    }
    let event = Event::new("auth.passkey_removed")
        .target("user", user.id, &user.email)
        .with("passkey", id.to_string())
        .with("name", row.name.as_str())
        .with("proof", proof)
        .with("last_factor", last_now);
    note(ctx, &mut tx, user, &event).await?;
    trusted_browsers::end_all(&mut tx, user.id).await?;
    if last_now {
        mfa::may_stand_alone(env, user, password)?;
        mfa::clear(&mut tx, user.id).await?;
    }
    let news = if last_now { FactorNews::Off } else { FactorNews::PasskeyRemoved };
    mail::notify(env, &mut tx, letters::second_factor(&env.settings, &user.email, news)).await?;
    Ok(tx.commit().await?)
}

async fn is_last(tx: &mut Tx, user: UserId) -> Result<bool> {
    Ok(rows::count(tx, user).await? == 1 && store::factors::find_totp(tx, user).await?.is_none())
}

async fn note(ctx: &RequestContext, tx: &mut Tx, user: &User, event: &Event) -> Result<()> {
    let by = Principal::User { id: user.id, name: user.name.clone() };
    accounts::note_of_user(&ctx.env, tx, user.id, &by, &ctx.origin, event, "ok").await
}

async fn note_refused(ctx: &RequestContext, tx: &mut Tx, user: &User, why: &Refused) -> Result<()> {
    tracing::info!(user.id = %user.id, ?why, "a passkey was refused");
    let event =
        Event::new("auth.passkey_refused").target("user", user.id, &user.email).with("reason", why.as_str());
    let origin: &Origin = &ctx.origin;
    accounts::note_of_user(&ctx.env, tx, user.id, &Principal::System, origin, &event, "failed").await
}
