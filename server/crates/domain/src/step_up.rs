//! Showing again who one is, before acts that would make a stolen session worse (PWD-09, MFA-01, PIN-01, IPA-04).
//!
//! [`Proven`] is the proof: the operations that need it take one, and there is no other way to one than
//! [`Proven::require`].

use model::{AppError, ErrorKind, SessionId};
use store::{Tx, users::User};

use crate::{
    Env, Error, Result, accounts,
    authz::{self, Principal},
    change::Event,
    mfa::{self, Shown},
    own_account,
    request::{RequestContext, SignedIn},
};

/// For how long a proof counts, milliseconds.
pub const FRESH: i64 = 5 * 60 * 1000;

/// The person behind a session has shown in the last five minutes who they are.
#[derive(Clone, Debug)]
pub struct Proven {
    pub(crate) user: User,
}

impl Proven {
    /// Asks for the proof.
    ///
    /// # Errors
    /// `Unauthenticated` when nobody is signed in; `Forbidden` with the code `reauth_required` when the proof is too old.
    pub async fn require(ctx: &RequestContext) -> Result<Self> {
        let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
        let mut tx = ctx.env.db.read().await?;
        let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
        if !is_fresh(&mut tx, signed_in, ctx.env.now()).await? {
            return Err(AppError::new(
                ErrorKind::Forbidden,
                "reauth_required",
                "This needs a fresh proof that it is you, and nothing was changed yet. Confirm with your password or a code, then do it again.",
            )
            .into());
        }
        Ok(Self { user })
    }

    /// Whose proof it is.
    pub fn user(&self) -> model::UserId {
        self.user.id
    }
}

/// Whether the proof of a session still counts. Signing in was one.
pub(crate) async fn is_fresh(tx: &mut Tx, signed_in: &SignedIn, now: i64) -> Result<bool> {
    let at = store::sign_in_steps::proved_at(tx, signed_in.user, signed_in.session).await?;
    Ok(at.is_some_and(|at| now < at + FRESH))
}

/// The same for whoever asks.
pub async fn fresh(ctx: &RequestContext) -> Result<bool> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    is_fresh(&mut tx, signed_in, ctx.env.now()).await
}

/// Takes a password, a code of the second factor, or a passkey, as the proof.
pub async fn prove(ctx: &RequestContext, password: &str, shown: Shown<'_>) -> Result<()> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let user = {
        let mut tx = env.db.read().await?;
        store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?
    };
    let (mut tx, proof) = if matches!(shown, Shown::Code(_)) && !password.is_empty() {
        check_password(ctx, &user, password).await?;
        (env.db.write().await?, "password")
    } else if shown.is_empty() && !user.has_password() {
        let words = "Your account has no password. Log in again with SSO, or enter a code";
        return Err(AppError::field("password", "required", words).into());
    } else if shown.is_empty() {
        return Err(AppError::field("password", "required", "Enter your password").into());
    } else {
        let (tx, factor) = mfa::take_shown(ctx, &user, shown).await?;
        (tx, factor.as_str())
    };
    set(env, &mut tx, &user, signed_in.session).await?;
    let event = Event::new("auth.reauthenticated").target("user", user.id, &user.email).with("proof", proof);
    let by = Principal::User { id: user.id, name: user.name.clone() };
    accounts::note_of_user(env, &mut tx, user.id, &by, &ctx.origin, &event, "ok").await?;
    Ok(tx.commit().await?)
}

async fn set(env: &Env, tx: &mut Tx, user: &User, session: SessionId) -> Result<()> {
    Ok(store::sign_in_steps::set_proved_at(tx, user.id, session, env.now()).await?)
}

/// Looks at the password of somebody who is signed in. The error is at the field `password`.
pub(crate) async fn check_password(ctx: &RequestContext, user: &User, password: &str) -> Result<()> {
    own_account::confirm_password(ctx, user, "password", password, "auth.reauthenticated").await
}

/// A wrong code of somebody who is signed in is a wrong field, and no end of their session.
pub(crate) fn at_field(error: Error) -> Error {
    match error {
        Error::App(mut error) if error.code == "wrong_code" => {
            error.kind = ErrorKind::Invalid;
            error.into()
        }
        other => other,
    }
}
