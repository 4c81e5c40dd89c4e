//! What an organisation asks of its members: a second factor, and a PIN for some acts. And whether somebody who wants in
//! brings it (MFA-06, IPA-03).

use model::{
    AppError, ErrorKind, OrgId, Role, UserId,
    factors::{OrgSecurity, SecondStep},
    permissions::can,
};
use store::Tx;

use crate::{
    Env, Error, OrgActor, Result, allowlist,
    authz::Principal,
    change::Event,
    mfa,
    pin::Guarded,
    request::{Origin, RequestContext, SignedIn},
    sso::{
        self,
        reach::{self, Standing},
    },
    step_up::{self, Proven},
    trusted_browsers,
};

/// Lets somebody into an organisation whose member they are, or says what is missing. Everything that a member does there
/// comes through here: pages, server functions, exports, consent.
pub(crate) async fn admit(
    env: &Env,
    tx: &mut Tx,
    origin: &Origin,
    org: OrgId,
    signed_in: &SignedIn,
) -> Result<()> {
    let user = signed_in.user;
    allowlist::admit(env, tx, org, origin.address).await?;
    if !signed_in.reaches(org) {
        return Err(sso::reaches_one(tx, org).await?);
    }
    let mut factor = store::org_security::get(tx, org).await?.require_mfa;
    match (signed_in.sso, reach::standing(tx, org, user).await?) {
        // Whoever was given more rights than the provider may speak for shows themselves who they are.
        (Some(_), Standing::Beyond) => return Err(sso::beyond(tx, org).await?),
        // What the provider says counts (MFA-06).
        (Some(sso), _) => factor &= !sso.second_factor,
        (None, Standing::Required) => {
            let role = store::members::find_role(tx, org, user).await?;
            // Owners can always get in, with a second factor: the provider may be what is broken.
            if !role.is_some_and(|role| role == Role::Owner) {
                return Err(sso::required(tx, org).await?);
            }
            factor = true;
        }
        // So can whom it does not log in, where others have to.
        (None, Standing::Beyond) => factor |= sso::is_required(tx, org).await?,
        (None, Standing::Offered) => {}
    }
    if factor && !store::factors::has(tx, user).await? {
        let name = store::orgs::find(tx, org).await?.map(|org| org.name).unwrap_or_default();
        return Err(AppError::new(
            ErrorKind::Forbidden,
            "mfa_enrollment_required",
            format!(
                "{name} requires two-factor authentication. Set it up in your profile; nothing was changed."
            ),
        )
        .into());
    }
    Ok(())
}

/// Whether somebody has to set up a second factor before they can do anything in the organisation.
pub async fn must_enrol(env: &Env, org: OrgId, user: UserId) -> Result<bool> {
    let mut tx = env.db.read().await?;
    Ok(store::org_security::get(&mut tx, org).await?.require_mfa
        && !store::factors::has(&mut tx, user).await?)
}

/// What the page of the security settings shows.
pub async fn get(ctx: &RequestContext, actor: &OrgActor<can::SecurityRead>) -> Result<OrgSecurity> {
    let env = &ctx.env;
    let mut tx = env.db.read().await?;
    let security = store::org_security::get(&mut tx, actor.org()).await?;
    let lacking = store::factors::list_lacking(&mut tx, actor.org()).await?;
    let members = store::members::list(&mut tx, actor.org()).await?.len();
    let (own, fresh) = match (&ctx.signed_in, actor.principal()) {
        (Some(signed_in), Principal::User { id, .. }) => {
            (mfa::ways(&mut tx, *id).await?, step_up::is_fresh(&mut tx, signed_in, env.now()).await?)
        }
        _ => (SecondStep::default(), false),
    };
    Ok(OrgSecurity {
        require_mfa: security.require_mfa,
        trusted_browsers: trusted_browsers::is_allowed(&mut tx, actor.org()).await?,
        pin_protection: security.pin_protection,
        members: i64::try_from(members).unwrap_or(i64::MAX),
        lacking: lacking.into_iter().map(|(name, email)| format!("{name} ({email})")).collect(),
        own_factor: own,
        fresh,
    })
}

/// Begins or ends to require a second factor of all members. Whoever begins it has one (MFA-06).
pub async fn set_require_mfa(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    proven: &Proven,
    on: bool,
) -> Result<()> {
    {
        let mut tx = env.db.read().await?;
        if on && !store::factors::has(&mut tx, proven.user()).await? {
            return Err(AppError::new(
                ErrorKind::Conflict,
                "mfa_missing",
                "Set up two-factor authentication for yourself first, or this would lock you out. Nothing was changed.",
            )
            .into());
        }
    }
    write(env, actor, |security| security.require_mfa = on).await
}

/// The same by the operator, who is not a member.
pub async fn set_require_mfa_by_operator(env: &Env, org: OrgId, on: bool) -> Result<()> {
    write(env, &OrgActor::operator(org), |security| security.require_mfa = on).await
}

/// Begins or ends to ask for PINs. Ending it is itself protected.
pub async fn set_pin_protection(
    env: &Env,
    actor: &Guarded<can::SecurityManage>,
    _proven: &Proven,
    on: bool,
) -> Result<()> {
    write(env, actor, |security| security.pin_protection = on).await
}

async fn write(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    apply: impl FnOnce(&mut store::org_security::OrgSecurity),
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let old = store::org_security::get(change.tx(), actor.org()).await?;
    let mut new = old;
    apply(&mut new);
    if new == old {
        return Ok(());
    }
    store::org_security::set(change.tx(), actor.org(), new).await?;
    let org =
        store::orgs::find(change.tx(), actor.org()).await?.ok_or_else(|| Error::not_found("organisation"))?;
    let event = Event::new("settings.security_updated")
        .target("org", org.id, &org.name)
        .changed("require_mfa", old.require_mfa, new.require_mfa)
        .changed("pin_protection", old.pin_protection, new.pin_protection);
    change.commit(event).await
}
