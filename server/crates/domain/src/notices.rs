//! Mails about what happens to somebody's account (PWD-10), or to an organisation. They go with the change itself.

use model::{OrgId, Role};
use store::{Tx, users::User};

use crate::{
    Env, Result,
    mail::{self, Letter, letters},
    request::Origin,
};

/// Failures after which a log-in that works is worth a mail.
const MANY: i64 = 10;
/// A new account's first log-in is no news.
const SETTLED: i64 = 60 * 60 * 1000;

/// Tells somebody who logged in from a browser that had not before, or after many failures.
pub(crate) async fn signed_in(
    env: &Env,
    tx: &mut Tx,
    user: &User,
    known: bool,
    failures: i64,
    origin: &Origin,
) -> Result<()> {
    let address = origin.address_text();
    if failures >= MANY {
        let letter = letters::after_failures(&env.settings, &user.email, failures, &address);
        mail::notify(env, tx, letter).await?;
    } else if !known && env.now() - user.created_at >= SETTLED {
        let agent = origin.user_agent.as_deref().unwrap_or_default();
        mail::notify(env, tx, letters::new_device(&env.settings, &user.email, &address, agent)).await?;
    }
    Ok(())
}

/// Writes to every owner and admin of an organisation: `letter` is made of an address and the organisation's name.
pub(crate) async fn to_admins(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    letter: impl Fn(&str, &str) -> Letter,
) -> Result<()> {
    let Some(row) = store::orgs::find(tx, org).await? else { return Ok(()) };
    for member in store::members::list(tx, org).await? {
        if matches!(member.role, Role::Owner | Role::Admin) {
            mail::notify(env, tx, letter(&member.email, &row.name)).await?;
        }
    }
    Ok(())
}
