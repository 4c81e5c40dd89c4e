//! Mails about what happens to somebody's account (PWD-10). They go with the change itself.

use store::{Tx, users::User};

use crate::{
    Env, Result,
    mail::{self, letters},
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
