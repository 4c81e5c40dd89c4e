//! Organisations that the operator keeps from working (OAR-04). Nothing is removed; everything is refused.

use model::{AppError, ErrorKind, OrgId, permissions::can};
use store::Tx;

use crate::{Env, Error, OrgActor, Result, change::Event};

/// The refusal of everything that is done in a suspended organisation.
pub(crate) fn suspended() -> Error {
    AppError::new(
        ErrorKind::Forbidden,
        "org_suspended",
        "Whoever operates this instance has suspended the organisation. Nothing was changed or removed; ask them why.",
    )
    .into()
}

/// Whether the organisation may work.
pub(crate) async fn check(tx: &mut Tx, org: OrgId) -> Result<()> {
    if store::orgs::suspended_at(tx, org).await?.is_some() { Err(suspended()) } else { Ok(()) }
}

/// Suspends an organisation, or lets it work again. Done again, it changes nothing.
pub async fn set(env: &Env, org: OrgId, on: bool) -> Result<()> {
    let mut change = env.change(&OrgActor::<can::OrgUpdate>::operator(org)).await?;
    let name =
        store::orgs::find(change.tx(), org).await?.ok_or_else(|| Error::not_found("organisation"))?.name;
    if store::orgs::suspended_at(change.tx(), org).await?.is_some() == on {
        return Ok(());
    }
    let since = on.then(|| env.now());
    store::orgs::set_suspended(change.tx(), org, since).await?;
    let action = if on { "org.suspended" } else { "org.resumed" };
    change.commit(Event::new(action).target("org", org, &name)).await
}
