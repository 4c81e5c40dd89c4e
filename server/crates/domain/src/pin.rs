//! The PIN of a member in an organisation, and the acts that ask for it (PIN-01 to PIN-05).
//!
//! An act that is protected takes a [`Guarded`] in place of an [`OrgActor`]: there is no other way to one than showing the
//! PIN, if the organisation wants that. A PIN proves one act, and nothing elsewhere.

use core::ops::Deref;

use hmac::{Hmac, KeyInit, Mac};
use model::{AppError, ErrorKind, OrgId, UserId, orgs::PinAsked, permissions::Grant};
use sha2::Sha256;
use store::{Tx, org_security::Pin};
use zeroize::Zeroizing;

use crate::{
    Env, Error, OrgActor, Result,
    authz::{self, Principal},
    change::{Change, Event, note},
    mfa::{self, Shown},
    oauth::quiet,
    request::{Origin, RequestContext},
    step_up::{self, Proven},
};

/// Digits of a PIN.
const DIGITS: usize = 6;
/// Wrong ones in a row after which none is looked at for [`LOCKED`].
const IN_A_ROW: i64 = 5;
/// For how long, milliseconds.
const LOCKED: i64 = 15 * 60 * 1000;
/// Wrong ones in a day after which the PIN has to be set anew.
const IN_A_DAY: i64 = 15;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Somebody who may do `P` and has shown their PIN, if the organisation asks for one.
#[derive(Clone, Debug)]
pub struct Guarded<P>(OrgActor<P>);

impl<P: Grant> Guarded<P> {
    /// As [`OrgActor::require`], and asks for the PIN besides.
    ///
    /// # Errors
    /// `Forbidden` with the code `pin_required` without a PIN, `Invalid` at the field `pin` for a wrong one, `Locked`
    /// with `pin_locked` after too many.
    pub async fn require(ctx: &RequestContext, pin: &str) -> Result<Self> {
        let actor = OrgActor::<P>::require(ctx).await?;
        if let Principal::User { id, .. } = actor.principal() {
            check(&ctx.env, actor.org(), *id, actor.principal(), actor.origin(), pin).await?;
        }
        Ok(Self(actor))
    }

    /// The operator, who has no PIN.
    pub fn operator(org: OrgId) -> Self {
        Self(OrgActor::operator(org))
    }

    /// Somebody in a test that is not about PINs.
    #[cfg(feature = "testing")]
    pub fn for_tests(actor: OrgActor<P>) -> Self {
        Self(actor)
    }
}

impl<P> Deref for Guarded<P> {
    type Target = OrgActor<P>;

    fn deref(&self) -> &OrgActor<P> {
        &self.0
    }
}

/// What is hashed: the PIN under keys that the database does not hold, the present one first (PIN-02).
fn peppered(env: &Env, org: OrgId, user: UserId, pin: &str) -> Vec<Zeroizing<String>> {
    let keys = env.sealer.derive_all("pin pepper");
    keys.iter()
        .map(|key| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("any length of key will do");
            mac.update(org.uuid().as_bytes());
            mac.update(user.uuid().as_bytes());
            mac.update(pin.as_bytes());
            Zeroizing::new(data_encoding::BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
        })
        .collect()
}

/// Compares; every key that may have been used is tried, so that the time tells nothing.
async fn matches(env: &Env, org: OrgId, user: UserId, hash: Option<&str>, pin: &str) -> Result<bool> {
    let mut right = false;
    for text in peppered(env, org, user, pin) {
        right |= env.passwords.verify_code(hash, &text).await?;
    }
    Ok(right)
}

async fn hash(env: &Env, org: OrgId, user: UserId, pin: &str) -> Result<String> {
    let texts = peppered(env, org, user, pin);
    let text = texts.first().ok_or_else(|| Error::Internal("there is no master key".into()))?;
    Ok(env.passwords.hash_code(env.rng.as_ref(), text).await?)
}

fn required(message: &str) -> Error {
    let mut error = AppError::field("pin", "pin_required", message);
    error.kind = ErrorKind::Forbidden;
    error.into()
}

fn locked(until: i64, now: i64) -> Error {
    let seconds = u32::try_from((until - now + 999) / 1000).unwrap_or(u32::MAX).max(1);
    let minutes = seconds.div_ceil(60);
    let s = if minutes == 1 { "" } else { "s" };
    let words =
        format!("There were too many wrong PINs. Nothing was changed; try again in {minutes} minute{s}");
    let mut error = AppError::field("pin", "pin_locked", words);
    error.kind = ErrorKind::Locked;
    error.retry_after = Some(seconds);
    error.into()
}

fn used_up() -> Error {
    let mut error = AppError::field(
        "pin",
        "pin_locked",
        "There were too many wrong PINs within a day, so this PIN is no longer taken. Nothing was changed; set a new PIN in your profile, with your password",
    );
    error.kind = ErrorKind::Locked;
    error.retry_after = Some(u32::try_from(LOCKED / 1000).unwrap_or(u32::MAX));
    error.into()
}

/// Counts an attempt before the PIN is looked at, so that of many at once no more than allowed are (PIN-03).
fn begin(pin: &mut Pin, now: i64) -> core::result::Result<(), Error> {
    // First of all: waiting does not help, and the day does not end it. Only setting the PIN anew does.
    if pin.day_failures >= IN_A_DAY {
        return Err(used_up());
    }
    if pin.locked_until > now {
        return Err(locked(pin.locked_until, now));
    }
    if now - pin.day_start >= DAY {
        (pin.day_start, pin.day_failures) = (now, 0);
    }
    pin.failures += 1;
    pin.day_failures += 1;
    if pin.failures >= IN_A_ROW {
        pin.failures = 0;
        pin.locked_until = now + LOCKED;
    }
    Ok(())
}

/// Whether a member is asked for a PIN, and has one.
pub(crate) async fn asked(tx: &mut Tx, org: OrgId, user: UserId) -> Result<PinAsked> {
    if !store::org_security::get(tx, org).await?.pin_protection {
        return Ok(PinAsked::No);
    }
    let pin = store::org_security::find_pin(tx, org, user).await?;
    Ok(if pin.is_some() { PinAsked::Yes } else { PinAsked::Unset })
}

/// Refuses a member who has shown no PIN an act that needs one here only at times.
pub(crate) async fn require_shown(tx: &mut Tx, org: OrgId, principal: &Principal) -> Result<()> {
    match principal {
        Principal::User { id, .. } if asked(tx, org, *id).await? != PinAsked::No => {
            Err(required("This would let in nearly everybody, so it takes your PIN. Nothing was changed"))
        }
        _ => Ok(()),
    }
}

/// Asks for the PIN of a member, if the organisation wants that.
pub(crate) async fn check(
    env: &Env,
    org: OrgId,
    user: UserId,
    principal: &Principal,
    origin: &Origin,
    given: &str,
) -> Result<()> {
    {
        let mut tx = env.db.read().await?;
        match asked(&mut tx, org, user).await? {
            PinAsked::No => return Ok(()),
            PinAsked::Yes => {}
            PinAsked::Unset => {
                return Err(required(
                    "This organisation protects this with a PIN, and you have none yet. Set yours in your profile under Security, then do it again",
                ));
            }
        }
    }
    if given.is_empty() {
        return Err(required("Enter your PIN"));
    }
    verify(env, org, user, principal, origin, given).await
}

/// Looks at a PIN, once.
async fn verify(
    env: &Env,
    org: OrgId,
    user: UserId,
    principal: &Principal,
    origin: &Origin,
    given: &str,
) -> Result<()> {
    let now = env.now();
    let attempt = {
        let mut tx = env.db.write().await?;
        store::org_security::lock_pin(&mut tx, org, user).await?;
        let found = store::org_security::find_pin(&mut tx, org, user).await?;
        let mut pin = found.ok_or_else(|| required("Set your PIN first"))?;
        let attempt = begin(&mut pin, now);
        if attempt.is_ok() {
            store::org_security::put_pin(&mut tx, org, user, &pin).await?;
            tx.commit().await?;
        }
        attempt.map(|()| pin)
    };
    let pin = match attempt {
        Ok(pin) => pin,
        Err(why) => {
            // As long as a look would have taken.
            matches(env, org, user, None, given).await?;
            let event = Event::new("pin.refused").target("user", user, principal.name());
            let key = ("pin", format!("{org} {user}"));
            quiet::note_seldom(env, key, org, principal, origin, event.with("refused", "pin_locked")).await?;
            return Err(why);
        }
    };
    let right = matches(env, org, user, Some(&pin.hash), given).await?;
    let mut tx = env.db.write().await?;
    if right {
        store::org_security::lock_pin(&mut tx, org, user).await?;
        if let Some(mut now_there) = store::org_security::find_pin(&mut tx, org, user).await? {
            now_there.failures = 0;
            now_there.locked_until = 0;
            now_there.day_failures = (now_there.day_failures - 1).max(0);
            store::org_security::put_pin(&mut tx, org, user, &now_there).await?;
        }
        return Ok(tx.commit().await?);
    }
    let is_locked = pin.locked_until > now;
    let event = Event::new(if is_locked { "pin.locked" } else { "pin.refused" });
    let event = event.target("user", user, principal.name());
    note(env, &mut tx, &[org], principal, origin, &event, "failed").await?;
    tx.commit().await?;
    if is_locked {
        return Err(locked(pin.locked_until, now));
    }
    let left = IN_A_ROW - pin.failures;
    let s = if left == 1 { "y" } else { "ies" };
    Err(AppError::field(
        "pin",
        "wrong_pin",
        format!("This is not your PIN. {left} more tr{s} before it is locked"),
    )
    .into())
}

/// A PIN that anybody would try first.
fn is_weak(pin: &str) -> bool {
    let digits: Vec<u8> = pin.bytes().map(|b| b - b'0').collect();
    let steps: Vec<u8> = digits.windows(2).map(|two| (two[1] + 10 - two[0]) % 10).collect();
    let run = steps.iter().all(|step| *step == steps[0]) && [0, 1, 9].contains(&steps[0]);
    let repeats = |n: usize| digits.chunks(n).all(|chunk| chunk == &digits[..n]);
    let pairs = digits.chunks(2).all(|two| two[0] == two[1]);
    let mirrored = digits[3..].iter().rev().eq(digits[..3].iter());
    let known = ["123654", "159753", "147258", "258456", "112358", "314159", "271828", "102030", "131415"];
    run || repeats(2) || repeats(3) || pairs || mirrored || known.contains(&pin)
}

/// Reads a new PIN and its repetition.
fn new_pin(pin: &str, again: &str) -> Result<()> {
    if pin.len() != DIGITS || !pin.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AppError::field("new_pin", "pin_form", "Enter six digits").into());
    }
    if is_weak(pin) {
        let words =
            "This PIN is one of the first that anybody would try. Choose six digits without a pattern";
        return Err(AppError::field("new_pin", "pin_weak", words).into());
    }
    if pin != again {
        return Err(AppError::field("again_pin", "pin_differs", "Enter the same six digits once more").into());
    }
    Ok(())
}

/// How somebody shows that a PIN that is set may be replaced.
#[derive(Clone, Copy, Debug)]
pub enum Old<'a> {
    /// By it.
    Pin(&'a str),
    /// By the password, and a code where there is a second factor: it is forgotten, or was missed too often (PIN-03).
    Forgotten {
        /// The password.
        password: &'a str,
        /// The second factor.
        shown: Shown<'a>,
    },
}

/// What the page of the PIN shows.
pub async fn status(ctx: &RequestContext) -> Result<model::factors::PinStatus> {
    let (org, user, name) = member(ctx).await?;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let now = ctx.env.now();
    let mut tx = ctx.env.db.read().await?;
    Ok(model::factors::PinStatus {
        org: name,
        protects: store::org_security::get(&mut tx, org).await?.pin_protection,
        set_at: store::org_security::find_pin(&mut tx, org, user).await?.map(|pin| pin.set_at),
        second_factor: mfa::ways(&mut tx, user).await?,
        fresh: step_up::is_fresh(&mut tx, signed_in, now).await?,
        now,
    })
}

/// The organisation in view, of which anybody with any role may have a PIN.
async fn member(ctx: &RequestContext) -> Result<(OrgId, UserId, String)> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    let (org, _) = authz::membership(&mut tx, &user, signed_in.org).await?;
    authz::same_org(&mut tx, ctx, &user, org).await?;
    let name = store::orgs::find(&mut tx, org).await?.map(|org| org.name).unwrap_or_default();
    Ok((org, user.id, name))
}

/// Sets the PIN of the signed-in person in the organisation in view, or replaces it.
pub async fn set(ctx: &RequestContext, proven: &Proven, old: Old<'_>, pin: &str, again: &str) -> Result<()> {
    let env = &ctx.env;
    let (org, user, _) = member(ctx).await?;
    let principal = Principal::User { id: user, name: proven.user.name.clone() };
    new_pin(pin, again)?;
    let before = {
        let mut tx = env.db.read().await?;
        store::org_security::find_pin(&mut tx, org, user).await?
    };
    if before.is_some() {
        show_old(ctx, proven, org, &principal, old).await?;
    }
    let hash = hash(env, org, user, pin).await?;
    let now = env.now();
    let fresh = Pin { hash, failures: 0, locked_until: 0, day_start: now, day_failures: 0, set_at: now };
    let mut change = own_change(ctx, org, &principal).await?;
    store::org_security::put_pin(change.tx(), org, user, &fresh).await?;
    let event =
        Event::new("pin.set").target("user", user, &proven.user.email).secret("pin", before.is_some());
    change.commit(event).await
}

async fn show_old(
    ctx: &RequestContext,
    proven: &Proven,
    org: OrgId,
    principal: &Principal,
    old: Old<'_>,
) -> Result<()> {
    let (env, user) = (&ctx.env, &proven.user);
    match old {
        Old::Pin("") => {
            Err(AppError::field("pin", "required", "Enter your present PIN, or say below that you forgot it")
                .into())
        }
        Old::Pin(pin) => verify(env, org, user.id, principal, &ctx.origin, pin).await,
        Old::Forgotten { password: "", .. } if user.has_password() => {
            Err(AppError::field("password", "required", "Enter your password").into())
        }
        Old::Forgotten { password, shown } => {
            step_up::check_password(ctx, user, password).await?;
            let has_factor = {
                let mut tx = env.db.read().await?;
                store::factors::has(&mut tx, user.id).await?
            };
            if has_factor {
                if shown.is_empty() {
                    let words = "Enter a code of your authenticator app, or a backup code, or use a passkey";
                    return Err(AppError::field("code", "required", words).into());
                }
                mfa::take_shown(ctx, user, shown).await?.0.commit().await?;
            }
            Ok(())
        }
    }
}

/// Removes the PIN of the signed-in person. Where the organisation asks for one, they will have to set another.
pub async fn remove(ctx: &RequestContext, proven: &Proven, pin: &str) -> Result<()> {
    let (org, user, _) = member(ctx).await?;
    let principal = Principal::User { id: user, name: proven.user.name.clone() };
    if pin.is_empty() {
        return Err(required("Enter your PIN"));
    }
    verify(&ctx.env, org, user, &principal, &ctx.origin, pin).await?;
    let mut change = own_change(ctx, org, &principal).await?;
    store::org_security::delete_pin(change.tx(), org, user).await?;
    change.commit(Event::new("pin.removed").target("user", user, &proven.user.email)).await
}

async fn own_change(ctx: &RequestContext, org: OrgId, principal: &Principal) -> Result<Change> {
    let mut tx: Tx = ctx.env.db.write().await?;
    store::orgs::lock(&mut tx, org).await?;
    Ok(Change::within(&ctx.env, tx, org, principal.clone(), ctx.origin.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_01_pins_that_anybody_would_try_are_weak() {
        for weak in [
            "000000", "123456", "654321", "111111", "121212", "123123", "112233", "890123", "123321",
            "159753",
        ] {
            assert!(is_weak(weak), "{weak}");
        }
        for good in ["483920", "705318", "926174", "100384"] {
            assert!(!is_weak(good), "{good}");
        }
        assert!(new_pin("48392", "48392").is_err() && new_pin("48392a", "48392a").is_err());
        assert!(new_pin("483920", "483921").is_err() && new_pin("483920", "483920").is_ok());
    }

    #[test]
    fn pin_03_attempts_are_counted_before_they_are_looked_at() {
        let mut pin = Pin {
            hash: String::new(),
            failures: 0,
            locked_until: 0,
            day_start: 0,
            day_failures: 0,
            set_at: 0,
        };
        for _ in 0..5 {
            assert!(begin(&mut pin, 1000).is_ok());
        }
        assert!(begin(&mut pin, 1000).is_err(), "the sixth");
        let later = 1000 + LOCKED;
        for _ in 0..5 {
            assert!(begin(&mut pin, later).is_ok());
        }
        for _ in 0..5 {
            assert!(begin(&mut pin, later + LOCKED).is_ok());
        }
        let error = begin(&mut pin, later + 2 * LOCKED).unwrap_err().into_app("");
        assert_eq!(error.code, "pin_locked", "fifteen in a day");
        assert!(error.message.contains("set a new PIN"), "{}", error.message);
        for days in [1, 2, 30] {
            let error = begin(&mut pin, later + days * DAY).unwrap_err().into_app("");
            assert!(error.message.contains("set a new PIN"), "{days} days later: {}", error.message);
        }
        // Fewer are forgotten with the day.
        (pin.day_start, pin.day_failures, pin.failures, pin.locked_until) = (0, IN_A_DAY - 1, 0, 0);
        assert!(begin(&mut pin, DAY).is_ok());
        assert_eq!(pin.day_failures, 1);
    }
}
