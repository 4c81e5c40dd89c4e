//! A new password for whoever forgot theirs.
//!
//! Asking is answered alike for every address, in the same time: only the wish is queued (PWD-05). Setting the password
//! ends all sessions of the person and revokes their connections (PWD-08, OAR-04); a second factor stays.

use model::{ErrorKind, OrgId, UserId};
use store::{Tx, users::User};

use crate::{
    Env, Error, Result,
    accounts::{check_password_beside, note_of_user},
    authz::Principal,
    change::{Change, Event},
    connections,
    mail::{self, Letter, Wanted, Whence, letters},
    one_time::{self, Kind},
    request::{AuthMethod, Origin},
    throttle, trusted_browsers,
};

const MINUTE: i64 = 60 * 1000;
/// Wishes for one address in a quarter of an hour; further ones are answered alike and left alone, so that nobody's mailbox
/// is filled and the latest link goes on working.
const PER_ACCOUNT: i64 = 3;
/// Wishes from one network address in a quarter of an hour.
const PER_ADDRESS: i64 = 20;
const WINDOW: i64 = 15 * MINUTE;
const REASON: &str = "The password of its person was set anew";

/// Counts a wish of a stranger for something by mail. `false` when there were enough for this address.
pub(crate) async fn admit(env: &Env, origin: &Origin, what: &'static str, email: &str) -> Result<bool> {
    if let Some(address) = origin.address {
        throttle::take(env, what, address, PER_ADDRESS, WINDOW).await?;
    }
    let bucket = format!("{what}:account:{}", store::users::email_key(email));
    match throttle::take_of(env, bucket, PER_ACCOUNT, WINDOW).await {
        Ok(()) => Ok(true),
        Err(Error::App(error)) if error.kind == ErrorKind::RateLimited => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks for a link to set a new password. The answer is the same whether or not the address has an account. Where no mail is
/// sent, the operator finds the link in the log.
pub async fn ask(env: &Env, origin: &Origin, email: &str) -> Result<()> {
    let email = model::text::email("email", email)?;
    if admit(env, origin, "reset", &email).await? {
        let mut tx = env.db.write().await?;
        let wanted = Wanted::Reset { email, from: Whence::of(origin) };
        mail::queue(env, &mut tx, None, None, &wanted, one_time::LIFETIME).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Writes the mail for a queued wish, if somebody has the address.
pub(crate) async fn write_reset(env: &Env, tx: &mut Tx, email: &str, from: Whence) -> Result<Option<Letter>> {
    let Some(user) = store::users::find_by_email(tx, email).await? else { return Ok(None) };
    let link = one_time::make(env, tx, Kind::Reset, Some(user.id), &user.email).await?;
    let event = Event::new("auth.reset_requested").target("user", user.id, &user.email);
    note_of_user(env, tx, user.id, &Principal::System, &from.origin(), &event, "ok").await?;
    Ok(Some(letters::reset(&user.email, link)))
}

/// A link to set a new password, for the operator to hand over.
pub async fn link_by_operator(env: &Env, email: &str) -> Result<String> {
    let mut tx = env.db.write().await?;
    let user = store::users::find_by_email(&mut tx, email).await?.ok_or_else(|| Error::not_found("user"))?;
    let link = one_time::make(env, &mut tx, Kind::Reset, Some(user.id), &user.email).await?;
    let event = Event::new("auth.reset_requested").target("user", user.id, &user.email);
    note_of_user(env, &mut tx, user.id, &Principal::Operator, &Origin::default(), &event, "ok").await?;
    tx.commit().await?;
    Ok(link)
}

/// Sets a new password with a link.
pub async fn reset(env: &Env, origin: &Origin, token: &str, password: &str) -> Result<()> {
    let (user, has_factor) = {
        let mut tx = env.db.read().await?;
        let link = one_time::find(env, &mut tx, Kind::Reset, token).await?;
        let user = link.user.ok_or_else(one_time::dead)?;
        let user = store::users::find(&mut tx, user).await?.ok_or_else(one_time::dead)?;
        let has_factor = store::factors::has(&mut tx, user.id).await?;
        (user, has_factor)
    };
    check_password_beside(env, password, &[&user.email, &user.name], has_factor)?;
    let hash = env.passwords.hash(env.rng.as_ref(), password).await?;
    let mut tx = env.db.write().await?;
    let link = one_time::take(env, &mut tx, Kind::Reset, token).await?;
    // The link was sent there: whoever has it reads that mailbox.
    if store::users::email_key(&link.email) == store::users::email_key(&user.email) {
        store::users::set_verified(&mut tx, user.id, env.now()).await?;
    }
    let by = Principal::User { id: user.id, name: user.name.clone() };
    put_password(env, tx, &user, &hash, &by, &origin.shown(AuthMethod::Link)).await
}

/// Sets a password anew and ends everything that was opened with the one before.
pub(crate) async fn put_password(
    env: &Env,
    mut tx: Tx,
    user: &User,
    hash: &str,
    by: &Principal,
    origin: &Origin,
) -> Result<()> {
    store::users::set_password_hash(&mut tx, user.id, hash, env.now()).await?;
    let ended = store::sessions::delete_all_of_user(&mut tx, user.id).await?;
    trusted_browsers::end_all(&mut tx, user.id).await?;
    store::account_links::delete_of_user(&mut tx, user.id).await?;
    throttle::forget(&mut tx, &store::users::email_key(&user.email)).await?;
    let (mut tx, orgs) = cut_connections(env, tx, user.id, by, origin, REASON).await?;
    let event =
        Event::new("auth.password_reset").target("user", user.id, &user.email).with("sessions_ended", ended);
    note_of_user(env, &mut tx, user.id, by, origin, &event, "ok").await?;
    mail::notify(env, &mut tx, letters::password_changed(&env.settings, &user.email, true)).await?;
    tx.commit().await?;
    for org in orgs {
        env.changes.notify(org);
    }
    Ok(())
}

/// Locks all organisations of a person and those that connections of theirs lead to, in the order in which everybody does.
pub(crate) async fn lock_orgs(tx: &mut Tx, user: UserId) -> Result<Vec<OrgId>> {
    let mut orgs: Vec<OrgId> =
        store::orgs::list_of_user(tx, user).await?.into_iter().map(|org| org.id).collect();
    orgs.extend(store::connections::list_orgs_of_user(tx, user).await?);
    orgs.sort_unstable();
    orgs.dedup();
    for org in &orgs {
        store::orgs::lock(tx, *org).await?;
    }
    Ok(orgs)
}

/// Revokes every live connection of a person, wherever it leads. What comes back is the transaction and the
/// organisations that have to hear of it once it is committed.
pub(crate) async fn cut_connections(
    env: &Env,
    mut tx: Tx,
    user: UserId,
    by: &Principal,
    origin: &Origin,
    reason: &str,
) -> Result<(Tx, Vec<OrgId>)> {
    let orgs = lock_orgs(&mut tx, user).await?;
    for org in &orgs {
        let mut change = Change::within(env, tx, *org, by.clone(), origin.clone());
        for row in store::connections::list_of_user(change.tx(), *org, user).await? {
            if row.revoked_at.is_none() {
                let event = connections::cut(env, &mut change, *org, &row, by.name(), reason).await?;
                change.record(&event).await?;
            }
        }
        tx = change.into_tx();
    }
    Ok((tx, orgs))
}
