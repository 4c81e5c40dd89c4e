//! The second factor of a person: setting an authenticator app up, backup codes, taking a code once, and turning it off.
//! Passkeys, which are one as well, are in [`crate::passkeys`].
//!
//! A code is taken in the transaction of what it proves, so a transaction that fails has taken none.

mod backup;
mod sign_in;
mod totp;

use model::{
    AppError, ErrorKind, UserId,
    factors::{BACKUP_CODES, CODE_DIGITS, Enrolment, SecondStep, TwoFactor},
};
use store::{Tx, sign_in_failures as failures, users::User};

pub(crate) use self::sign_in::begin_by_sso;
pub use self::sign_in::{begin, finish, forget, waits};
use self::totp::Secret;
pub(crate) use self::{
    backup::make as new_codes,
    sign_in::{end_step, over as second_step_over, waiting},
};
use crate::{
    Env, Error, Result, accounts,
    authz::{self, Principal},
    change::Event,
    mail::{
        self,
        letters::{self, FactorNews},
    },
    passkeys,
    request::{Origin, RequestContext},
    step_up::{self, Proven},
    throttle, trusted_browsers,
};

/// Wrong codes of an account in an hour, over everything that asks for one (MFA-03).
const WRONG_CODES: i64 = 10;
const HOUR: i64 = 60 * 60 * 1000;
/// How long an app may be in the making, milliseconds.
const ENROL_WITHIN: i64 = 60 * 60 * 1000;

/// Which factor a code was of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// The authenticator app.
    Totp,
    /// A backup code.
    BackupCode {
        /// How many are left.
        left: i64,
    },
    /// A passkey.
    Passkey,
}

/// What somebody shows as their second factor.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    /// A code of the app, or a backup code.
    Code(&'a str),
    /// What an authenticator answered, JSON.
    Passkey(&'a str),
}

impl core::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Shown([REDACTED])")
    }
}

impl<'a> Shown<'a> {
    /// What a form has in its two fields.
    pub fn of(code: &'a str, passkey: &'a str) -> Self {
        if passkey.is_empty() { Self::Code(code) } else { Self::Passkey(passkey) }
    }

    /// Whether nothing is shown.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Code(text) | Self::Passkey(text) => text.trim().is_empty(),
        }
    }
}

impl Factor {
    /// The word in audit events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::BackupCode { .. } => "backup_code",
            Self::Passkey => "passkey",
        }
    }
}

fn wrong_code() -> Error {
    let mut error = AppError::field(
        "code",
        "wrong_code",
        "This code is not right, or was used already. Wait for the next one in your app, or enter another backup code",
    );
    error.kind = ErrorKind::Unauthenticated;
    error.into()
}

/// Counts a code before it is looked at, or refuses it.
async fn count(tx: &mut Tx, bucket: &str, now: i64) -> Result<()> {
    failures::lock(tx, bucket).await?;
    let mut count = failures::get(tx, bucket).await?;
    if now - count.window_start >= HOUR {
        count = failures::Failures { window_start: now, ..failures::Failures::default() };
    }
    if count.failures >= WRONG_CODES {
        return Err(throttle::too_many(count.window_start + HOUR - now));
    }
    count.failures += 1;
    Ok(failures::put(tx, bucket, count).await?)
}

/// Takes the count back: the code was right.
async fn give_back(tx: &mut Tx, bucket: &str) -> Result<()> {
    failures::lock(tx, bucket).await?;
    let mut count = failures::get(tx, bucket).await?;
    count.failures = (count.failures - 1).max(0);
    Ok(failures::put(tx, bucket, count).await?)
}

/// Takes a code of a person, once. Goes on in a transaction that has to be committed for the code to be used up; a wrong
/// one is written down at once. `device` names a browser that signed in to this account before and so has a count of its
/// own, so that somebody who knows the password cannot keep the person out.
async fn take(
    env: &Env,
    mut tx: Tx,
    user: &User,
    code: &str,
    device: Option<&str>,
    origin: &Origin,
) -> Result<(Tx, Factor)> {
    let now = env.now();
    let bucket = match device.filter(|cookie| accounts::is_device_of(env, cookie, user.id)) {
        Some(device) => format!("code-device:{device}"),
        None => format!("code:{}", user.id),
    };
    count(&mut tx, &bucket, now).await?;
    let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if digits.len() == CODE_DIGITS && digits.bytes().all(|b| b.is_ascii_digit()) {
        let factor = store::factors::find_totp(&mut tx, user.id).await?;
        let secret = factor.map(|factor| Secret::open(env, user.id, &factor.secret_sealed)).transpose()?;
        if let Some(step) = secret.and_then(|secret| secret.step_of(&digits, now))
            && store::factors::take_step(&mut tx, user.id, step, now).await?
        {
            give_back(&mut tx, &bucket).await?;
            return Ok((tx, Factor::Totp));
        }
    } else if let Some(typed) = backup::parse(code) {
        // The hash takes its time: meanwhile nobody waits for this transaction, and the attempt is counted.
        tx.commit().await?;
        let hash = backup::verify(env, user.id, &typed).await?;
        tx = env.db.write().await?;
        if let Some(hash) = hash
            && store::factors::use_code(&mut tx, user.id, typed.position, &hash, now).await?
        {
            give_back(&mut tx, &bucket).await?;
            let left = store::factors::count_codes(&mut tx, user.id).await?;
            let event =
                Event::new("auth.backup_code_used").target("user", user.id, &user.email).with("left", left);
            let by = Principal::User { id: user.id, name: user.name.clone() };
            accounts::note_of_user(env, &mut tx, user.id, &by, origin, &event, "ok").await?;
            let letter = letters::backup_code_used(&env.settings, &user.email, left, &origin.address_text());
            mail::notify(env, &mut tx, letter).await?;
            return Ok((tx, Factor::BackupCode { left }));
        }
    }
    let event = Event::new("auth.code_refused").target("user", user.id, &user.email);
    accounts::note_of_user(env, &mut tx, user.id, &Principal::System, origin, &event, "failed").await?;
    tx.commit().await?;
    Err(wrong_code())
}

/// Takes what somebody who is signed in shows, once; an error is at its field. Goes on in a transaction as [`take`] does.
pub(crate) async fn take_shown(ctx: &RequestContext, user: &User, shown: Shown<'_>) -> Result<(Tx, Factor)> {
    let tx = ctx.env.db.write().await?;
    match shown {
        Shown::Code(code) => take(&ctx.env, tx, user, code, ctx.device.as_deref(), &ctx.origin)
            .await
            .map_err(step_up::at_field),
        Shown::Passkey(answer) => passkeys::take(ctx, tx, user, answer).await.map(|tx| (tx, Factor::Passkey)),
    }
}

/// What a person can show as their second factor.
pub(crate) async fn ways(tx: &mut Tx, user: UserId) -> Result<SecondStep> {
    Ok(SecondStep {
        app: store::factors::find_totp(tx, user).await?.is_some(),
        passkey: store::passkeys::count(tx, user).await? > 0,
        no_password: has_no_password(tx, user).await?,
    })
}

/// The names of a person's organisations that require a second factor.
pub(crate) async fn required_by(tx: &mut Tx, user: UserId) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for org in store::orgs::list_of_user(tx, user).await? {
        if store::org_security::get(tx, org.id).await?.require_mfa {
            names.push(org.name);
        }
    }
    Ok(names)
}

/// What the page of the second factor shows.
pub async fn status(ctx: &RequestContext) -> Result<TwoFactor> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let now = ctx.env.now();
    let mut tx = ctx.env.db.read().await?;
    let totp = store::factors::find_totp(&mut tx, signed_in.user).await?;
    let enrolment = store::factors::find_enrolment(&mut tx, signed_in.user).await?;
    Ok(TwoFactor {
        since: totp.as_ref().map(|totp| totp.created_at),
        last_used_at: totp.and_then(|totp| totp.last_used_at),
        codes_left: store::factors::count_codes(&mut tx, signed_in.user).await?,
        enrolling: enrolment.is_some_and(|(_, at)| now < at + ENROL_WITHIN),
        required_by: required_by(&mut tx, signed_in.user).await?,
        passkeys: store::passkeys::count(&mut tx, signed_in.user).await?,
        offer: passkeys::offer(&ctx.env.settings),
        fresh: step_up::is_fresh(&mut tx, signed_in, now).await?,
        no_password: has_no_password(&mut tx, signed_in.user).await?,
        now,
    })
}

/// Whether somebody has no password, because they log in by SSO only.
pub(crate) async fn has_no_password(tx: &mut Tx, user: UserId) -> Result<bool> {
    Ok(store::users::find(tx, user).await?.is_some_and(|user| !user.has_password()))
}

/// Begins to set an app up: what is told here is told once. Until a code confirms it, nothing has changed (MFA-01).
pub async fn enrol(ctx: &RequestContext, proven: &Proven) -> Result<Enrolment> {
    let env = &ctx.env;
    let secret = Secret::generate(env.rng.as_ref());
    let told = secret.enrolment(&proven.user.email)?;
    let mut tx = env.db.write().await?;
    let sealed = secret.seal(env, proven.user.id);
    store::factors::put_enrolment(&mut tx, proven.user.id, &sealed, env.now()).await?;
    tx.commit().await?;
    Ok(told)
}

/// Confirms the app with a code, which makes it the person's, in place of any other. Answers with new backup codes: they
/// are told here and nowhere else.
pub async fn confirm(ctx: &RequestContext, proven: &Proven, code: &str) -> Result<Vec<String>> {
    let (env, user) = (&ctx.env, &proven.user);
    let now = env.now();
    let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if digits.is_empty() {
        return Err(AppError::field("code", "required", "Enter the code that your app shows").into());
    }
    let bucket = format!("enrol:{}", user.id);
    let (sealed, step) = {
        let mut tx = env.db.write().await?;
        count(&mut tx, &bucket, now).await?;
        let begun = store::factors::find_enrolment(&mut tx, user.id).await?;
        tx.commit().await?;
        let (sealed, _) = begun.filter(|(_, at)| now < at + ENROL_WITHIN).ok_or_else(not_enrolling)?;
        let step = Secret::open(env, user.id, &sealed)?.step_of(&digits, now);
        (sealed, step)
    };
    let step = step.ok_or_else(|| {
        AppError::field(
            "code",
            "wrong_code",
            "This is not the code that your app shows now. Check that the clock of your phone is right, then enter the next one",
        )
    })?;
    let (shown, hashes) = backup::make(env).await?;
    let mut tx = env.db.write().await?;
    // Of two at once one sets it up; and it is still the one that the code was of.
    let unchanged =
        store::factors::find_enrolment(&mut tx, user.id).await?.is_some_and(|(now, _)| now == sealed);
    if !unchanged || !store::factors::delete_enrolment(&mut tx, user.id).await? {
        return Err(not_enrolling());
    }
    let replaced = store::factors::find_totp(&mut tx, user.id).await?.is_some();
    store::factors::put_totp(&mut tx, user.id, &sealed, step, now).await?;
    store::factors::put_codes(&mut tx, user.id, &hashes).await?;
    trusted_browsers::end_all(&mut tx, user.id).await?;
    give_back(&mut tx, &bucket).await?;
    let event = Event::new("auth.mfa_enabled")
        .target("user", user.id, &user.email)
        .with("factor", "totp")
        .with("replaced", replaced);
    note(ctx, &mut tx, user, &event).await?;
    let what = if replaced { FactorNews::Replaced } else { FactorNews::On };
    mail::notify(env, &mut tx, letters::second_factor(&env.settings, &user.email, what)).await?;
    tx.commit().await?;
    Ok(shown)
}

fn not_enrolling() -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "not_enrolling",
        "No app is being set up any more, so nothing was changed. Begin again with a new QR code.",
    )
    .into()
}

/// Makes new backup codes; the old ones are worth nothing from then on.
pub async fn make_codes(ctx: &RequestContext, proven: &Proven) -> Result<Vec<String>> {
    let (env, user) = (&ctx.env, &proven.user);
    let (shown, hashes) = backup::make(env).await?;
    let mut tx = env.db.write().await?;
    if !store::factors::has(&mut tx, user.id).await? {
        return Err(off_already());
    }
    store::factors::put_codes(&mut tx, user.id, &hashes).await?;
    let event =
        Event::new("auth.backup_codes_made").target("user", user.id, &user.email).with("codes", BACKUP_CODES);
    note(ctx, &mut tx, user, &event).await?;
    let letter = letters::second_factor(&env.settings, &user.email, FactorNews::NewCodes);
    mail::notify(env, &mut tx, letter).await?;
    tx.commit().await?;
    Ok(shown)
}

fn off_already() -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "mfa_off",
        "Two-factor authentication is off already, so nothing was changed.",
    )
    .into()
}

/// Turns the authenticator app off. It takes the password and a code or a passkey, and unless a passkey remains, no
/// organisation of the person may require a second factor (MFA-05, MFA-08). Whether it was the last factor.
pub async fn turn_off(ctx: &RequestContext, password: &str, shown: Shown<'_>) -> Result<bool> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let user = {
        let mut tx = env.db.read().await?;
        let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
        if store::factors::find_totp(&mut tx, user.id).await?.is_none() {
            return Err(off_already());
        }
        if store::passkeys::count(&mut tx, user.id).await? == 0 {
            may_go_without(&mut tx, user.id).await?;
        }
        user
    };
    let (mut tx, factor) = prove_to_turn_off(ctx, &user, password, shown).await?;
    let last = store::passkeys::count(&mut tx, user.id).await? == 0;
    if last {
        may_go_without(&mut tx, user.id).await?;
    }
    if !store::factors::delete_totp(&mut tx, user.id).await? {
        return Err(off_already());
    }
    if last {
        may_stand_alone(env, &user, password)?;
        clear(&mut tx, user.id).await?;
    }
    trusted_browsers::end_all(&mut tx, user.id).await?;
    let event = Event::new("auth.mfa_disabled")
        .target("user", user.id, &user.email)
        .with("proof", factor.as_str())
        .with("last_factor", last);
    note(ctx, &mut tx, &user, &event).await?;
    let news = if last { FactorNews::Off } else { FactorNews::AppRemoved };
    mail::notify(env, &mut tx, letters::second_factor(&env.settings, &user.email, news)).await?;
    tx.commit().await?;
    Ok(last)
}

/// Asks for the password and a code or a passkey of somebody who wants less of a second factor (MFA-05). Goes on in a
/// transaction in which nobody else changes their factors.
pub(crate) async fn prove_to_turn_off(
    ctx: &RequestContext,
    user: &User,
    password: &str,
    shown: Shown<'_>,
) -> Result<(Tx, Factor)> {
    let asked = [
        ("password", password.is_empty() && user.has_password(), "Enter your password"),
        ("code", shown.is_empty(), "Enter a code, or use a passkey"),
    ];
    if asked.iter().any(|(_, missing, _)| *missing) {
        return Err(accounts::joined(
            asked.map(|(field, missing, words)| missing.then(|| AppError::field(field, "required", words))),
        ));
    }
    step_up::check_password(ctx, user, password).await?;
    let (mut tx, factor) = take_shown(ctx, user, shown).await?;
    lock(&mut tx, user.id).await?;
    Ok((tx, factor))
}

/// Makes others who change the factors of a person wait until this transaction ends, so that of the last two one remains
/// where one is required.
pub(crate) async fn lock(tx: &mut Tx, user: UserId) -> Result<()> {
    Ok(store::users::lock(tx, user).await?)
}

/// Refuses to leave a person without a second factor where an organisation of theirs requires one (MFA-08).
pub(crate) async fn may_go_without(tx: &mut Tx, user: UserId) -> Result<()> {
    if store::org_security::requires_mfa_of(tx, user).await? {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "mfa_required_by_org",
            "An organisation of yours requires two-factor authentication, so this stays. You can set up another app or passkey in place of it.",
        )
        .into());
    }
    Ok(())
}

/// Refuses to leave an account to a password that is good enough beside a second factor only (PWD-03).
pub(crate) fn may_stand_alone(env: &Env, user: &User, password: &str) -> Result<()> {
    // Without a password there is none that could stand alone: the way in is the provider.
    if !user.has_password() || accounts::check_password(env, password, &[&user.email, &user.name]).is_ok() {
        return Ok(());
    }
    let words = "This password is strong enough beside a second factor only. Change it to one of 15 characters or more first";
    Err(AppError::field("password", "password_too_weak_alone", words).into())
}

/// Forgets what hangs on having a second factor: there is none any more.
pub(crate) async fn clear(tx: &mut Tx, user: UserId) -> Result<()> {
    store::factors::delete_codes(tx, user).await?;
    store::factors::delete_enrolment(tx, user).await?;
    trusted_browsers::end_all(tx, user).await?;
    Ok(store::sign_in_steps::delete_of_user(tx, user).await?)
}

async fn remove(tx: &mut Tx, user: UserId) -> Result<bool> {
    clear(tx, user).await?;
    let passkeys = store::passkeys::delete_of_user(tx, user).await?;
    Ok(store::factors::delete_totp(tx, user).await? || passkeys > 0)
}

/// Takes somebody's second factor away, as the operator: for people who lost everything. Their sessions end.
pub async fn reset_by_operator(env: &Env, email: &str) -> Result<bool> {
    let mut tx = env.db.write().await?;
    let user = store::users::find_by_email(&mut tx, email).await?.ok_or_else(|| Error::not_found("user"))?;
    let had = remove(&mut tx, user.id).await?;
    store::sessions::delete_all_of_user(&mut tx, user.id).await?;
    failures::delete(&mut tx, &format!("code:{}", user.id)).await?;
    let event = Event::new("auth.mfa_reset").target("user", user.id, &user.email);
    let by = &Principal::Operator;
    accounts::note_of_user(env, &mut tx, user.id, by, &Origin::default(), &event, "ok").await?;
    if had {
        mail::notify(env, &mut tx, letters::second_factor(&env.settings, &user.email, FactorNews::Reset))
            .await?;
    }
    tx.commit().await?;
    Ok(had)
}

async fn note(ctx: &RequestContext, tx: &mut Tx, user: &User, event: &Event) -> Result<()> {
    let by = Principal::User { id: user.id, name: user.name.clone() };
    accounts::note_of_user(&ctx.env, tx, user.id, &by, &ctx.origin, event, "ok").await
}

/// What an app shows at a time that was told this secret, for tests.
#[cfg(feature = "testing")]
pub fn code_of(secret: &str, now: i64) -> String {
    Secret::parse(secret).expect("a secret").code_at(now)
}

/// What the app of a person shows at this moment, for tests.
#[cfg(feature = "testing")]
pub async fn code_now(env: &Env, user: UserId) -> Option<String> {
    let mut tx = env.db.read().await.ok()?;
    let sealed = store::factors::find_totp(&mut tx, user).await.ok()??.secret_sealed;
    Some(Secret::open(env, user, &sealed).ok()?.code_at(env.now()))
}
