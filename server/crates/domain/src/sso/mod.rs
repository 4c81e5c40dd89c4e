//! Logging in to the dashboard at an organisation's own `OpenID` provider: what is configured ([`settings`]), whose people
//! come by it ([`domains`], and whether they stay proven: [`recheck`]), the way there and back ([`flow`]). Who somebody is decides `join`.
//!
//! What the provider says is believed for its own organisation alone. A session that it vouched for opens no other one
//! ([`crate::request::BySso`]), it is no proof for acts on an account that has a password ([`crate::step_up`]), and an
//! account is bound to it only with an address whose domain the organisation has proven. See decision 10. Nobody is logged
//! in who holds more than whoever chose the provider: `reach`, decision 18.

pub mod domains;
pub mod flow;
mod id_token;
mod join;
mod provider;
pub(crate) mod reach;
pub mod recheck;
pub mod settings;

use model::{AppError, ErrorKind, OrgId, Plan};
use store::Tx;

use crate::{Error, Result, request::SignedIn};

/// Whether the organisation's plan has it. What is configured stays under another plan, and waits.
pub(crate) async fn is_included(tx: &mut Tx, org: OrgId) -> Result<bool> {
    Ok(store::orgs::find(tx, org).await?.is_some_and(|org| org.plan.own_identity_provider()))
}

/// Whether members have to log in at the organisation's provider.
pub(crate) async fn is_required(tx: &mut Tx, org: OrgId) -> Result<bool> {
    Ok(store::sso::is_required(tx, org).await? && is_included(tx, org).await?)
}

/// Ends what the organisation's provider vouched for once its plan has none any more; how many sessions that were. `keep` is
/// the session of whoever changes the plan, who goes on.
pub(crate) async fn end_with_plan(
    tx: &mut Tx,
    org: OrgId,
    (old, new): (Plan, Plan),
    keep: &str,
) -> Result<u64> {
    if !old.own_identity_provider() || new.own_identity_provider() {
        return Ok(0);
    }
    Ok(store::sso::delete_sessions(tx, org, keep).await?)
}

async fn name_of(tx: &mut Tx, org: OrgId) -> Result<String> {
    Ok(store::orgs::find(tx, org).await?.map(|org| org.name).unwrap_or_default())
}

/// The refusal of a session that another organisation's provider vouched for.
pub(crate) async fn reaches_one(tx: &mut Tx, org: OrgId) -> Result<Error> {
    let name = name_of(tx, org).await?;
    Ok(AppError::new(
        ErrorKind::Forbidden,
        "sso_elsewhere",
        format!(
            "You logged in at the identity provider of another organisation, which does not open {name}. Nothing was changed. Log out, then log in with your password."
        ),
    )
    .into())
}

/// The refusal of a session that was begun with a password where that is not enough.
pub(crate) async fn required(tx: &mut Tx, org: OrgId) -> Result<Error> {
    let name = name_of(tx, org).await?;
    Ok(AppError::new(
        ErrorKind::Forbidden,
        "sso_required",
        format!(
            "{name} wants its members to log in at its identity provider. Nothing was changed, and your other organisations are open as before. Log in with SSO to go on."
        ),
    )
    .into())
}

/// The refusal of somebody who holds more than whoever chose the provider.
pub(crate) async fn beyond(tx: &mut Tx, org: OrgId) -> Result<Error> {
    let name = name_of(tx, org).await?;
    Ok(AppError::new(
        ErrorKind::Forbidden,
        "sso_beyond",
        format!(
            "The identity provider of {name} was chosen by somebody who holds fewer rights there than you do, so it does not log you in. Nothing was changed. Log in with your password; an owner who saves the provider under Single sign-on vouches for it."
        ),
    )
    .into())
}

/// Whether a session may do something for an organisation, or (`None`) for the person beyond any.
pub(crate) async fn reach(tx: &mut Tx, signed_in: &SignedIn, org: Option<OrgId>) -> Result<()> {
    match (signed_in.sso, org) {
        (Some(_), Some(org)) if !signed_in.reaches(org) => Err(reaches_one(tx, org).await?),
        (Some(_), None) => Err(AppError::new(
            ErrorKind::Forbidden,
            "sso_elsewhere",
            "You logged in at your organisation's identity provider, which opens that organisation alone. Nothing was changed. Log in with your password for this.",
        )
        .into()),
        _ => Ok(()),
    }
}

/// Forgets people who were sent away and never came back.
pub async fn purge(env: &crate::Env) -> Result<()> {
    let mut tx = env.db.write().await?;
    store::sso::delete_expired(&mut tx, env.now()).await?;
    Ok(tx.commit().await?)
}
