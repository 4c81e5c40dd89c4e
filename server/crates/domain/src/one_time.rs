//! One-time links: what stands behind the token in one. Looking changes nothing (PWD-08); tokens are 256 random bits, and
//! only their SHA-256 is stored.

use model::{
    AppError, ErrorKind, UserId,
    links::{Dead, Guest, Invited, Link, SignUp},
    paths,
};
use sha2::{Digest as _, Sha256};
use store::{Tx, account_links::AccountLink};

use crate::{Env, Error, Result, request::RequestContext};

/// For how long a link to an account works, milliseconds: half an hour.
pub const LIFETIME: i64 = 30 * 60 * 1000;

/// What a token is stored as.
pub(crate) fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A new password.
    Reset,
    /// Proof of an address.
    Verify,
    /// A new address.
    Email,
    /// A new account.
    SignUp,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Verify => "verify",
            Self::Email => "email",
            Self::SignUp => "sign_up",
        }
    }

    fn path(self, token: &str) -> String {
        match self {
            Self::Reset => paths::reset_password(token),
            Self::Verify | Self::Email => paths::confirm_address(token),
            Self::SignUp => paths::finish_sign_up(token),
        }
    }
}

/// Makes a link; older ones of the kind stop working. The whole of it, for a mail or for whoever hands it over.
pub(crate) async fn make(
    env: &Env,
    tx: &mut Tx,
    kind: Kind,
    user: Option<UserId>,
    email: &str,
) -> Result<String> {
    let (token, now) = (env.token(), env.now());
    let link =
        AccountLink { kind: kind.as_str().into(), user, email: email.to_owned(), expires_at: now + LIFETIME };
    store::account_links::replace(tx, &hash(&token), &link, now).await?;
    Ok(env.settings.absolute(&kind.path(&token)))
}

/// The link with this token, if it still works.
pub(crate) async fn find(env: &Env, tx: &mut Tx, kind: Kind, token: &str) -> Result<AccountLink> {
    let link = store::account_links::find(tx, &hash(token)).await?;
    link.filter(|link| link.kind == kind.as_str() && link.expires_at > env.now()).ok_or_else(dead)
}

/// Uses a link up. Of two at once, one gets it.
pub(crate) async fn take(env: &Env, tx: &mut Tx, kind: Kind, token: &str) -> Result<AccountLink> {
    store::account_links::take(tx, &hash(token), kind.as_str(), env.now()).await?.ok_or_else(dead)
}

/// The refusal of a link that does nothing.
pub(crate) fn dead() -> Error {
    AppError::new(
        ErrorKind::NotFound,
        "link_used",
        "This link was used, has expired, or was replaced by a newer one. Nothing was changed; ask for a new link.",
    )
    .into()
}

/// What stands behind a token, for whoever opened the link.
pub async fn look(ctx: &RequestContext, token: &str) -> Result<Link> {
    let env = &ctx.env;
    let mut tx = env.db.read().await?;
    let token = hash(token);
    if let Some(link) = store::account_links::find(&mut tx, &token).await? {
        if link.expires_at <= env.now() {
            return Ok(Link::Dead(Dead::Unknown));
        }
        return Ok(match link.kind.as_str() {
            "reset" => Link::Reset(link.email),
            "verify" => Link::Verify(link.email),
            "email" => Link::Email(link.email),
            "sign_up" => Link::SignUp(link.email),
            other => return Err(Error::Internal(format!("a link of the kind {other}"))),
        });
    }
    let Some(invitation) = store::invitations::find_by_token(&mut tx, &token).await? else {
        return Ok(Link::Dead(Dead::Unknown));
    };
    let dead = match invitation.state.as_str() {
        "accepted" => Some(Dead::Accepted),
        "declined" => Some(Dead::Declined),
        "withdrawn" => Some(Dead::Withdrawn),
        _ if invitation.expires_at <= env.now() => Some(Dead::Expired),
        _ => None,
    };
    let account = store::users::find_by_email(&mut tx, &invitation.email).await?;
    let here = match &ctx.signed_in {
        Some(signed_in) => store::users::find(&mut tx, signed_in.user).await?,
        None => None,
    };
    let member = match &here {
        Some(user) => store::members::find_role(&mut tx, invitation.org, user.id).await?.is_some(),
        None => false,
    };
    let same = here.as_ref().zip(account.as_ref()).is_some_and(|(here, account)| here.id == account.id);
    let guest = match (here, account) {
        _ if member && (same || dead == Some(Dead::Accepted)) => Guest::Member,
        (Some(_), Some(_)) if same => Guest::Join,
        (Some(here), _) => Guest::Other(here.email),
        (None, Some(_)) => Guest::LogIn,
        (None, None) if env.settings.sign_up == SignUp::Closed => Guest::Closed,
        (None, None) => Guest::New,
    };
    if let (Some(dead), false) = (dead, guest == Guest::Member) {
        return Ok(Link::Dead(dead));
    }
    let org = store::orgs::find(&mut tx, invitation.org).await?.ok_or_else(dead_org)?;
    Ok(Link::Invitation(Invited {
        org: org.name,
        inviter: invitation.inviter_name,
        role: invitation.role,
        email: invitation.email,
        expires_at: invitation.expires_at,
        guest,
    }))
}

fn dead_org() -> Error {
    Error::not_found("organisation")
}
