//! The end of an account (DEL-04): what was the person's goes, what belongs to their organisations stays, and their name and
//! address leave the log, where their id remains.

use model::{AppError, ErrorKind, Role, UserId};
use store::users::User;

use crate::{
    Env, Error, Result, audit,
    authz::{self, Principal},
    change::{Change, Event, note},
    mail::{self, letters},
    own_account::{confirm_password, own},
    recovery::cut_connections,
    request::{Origin, RequestContext},
    team, throttle,
};

const REASON: &str = "Its person deleted their account";

/// Deletes the account of the signed-in person, who types its address and their password.
pub async fn delete_own(ctx: &RequestContext, email: &str, password: &str) -> Result<()> {
    let user = own(ctx).await?;
    if store::users::email_key(email) != store::users::email_key(&user.email) {
        let words = format!("Type the address of your account: {}", user.email);
        return Err(AppError::field("email", "confirm", words).into());
    }
    confirm_password(ctx, &user, "password", password, "auth.account_deleted").await?;
    let by = Principal::User { id: user.id, name: user.name.clone() };
    delete(&ctx.env, &user, &by, &ctx.origin).await
}

/// Deletes an account, as the operator.
pub async fn delete_by_operator(env: &Env, email: &str) -> Result<UserId> {
    let user = {
        let mut tx = env.db.read().await?;
        store::users::find_by_email(&mut tx, email).await?.ok_or_else(|| Error::not_found("user"))?
    };
    delete(env, &user, &Principal::Operator, &Origin::default()).await?;
    Ok(user.id)
}

async fn delete(env: &Env, user: &User, by: &Principal, origin: &Origin) -> Result<()> {
    let mut tx = env.db.write().await?;
    store::users::lock(&mut tx, user.id).await?;
    if store::users::find(&mut tx, user.id).await?.is_none() {
        return Err(authz::unauthenticated());
    }
    let (mut tx, mut changed) = cut_connections(env, tx, user.id, by, origin, REASON).await?;
    let orgs = store::orgs::list_of_user(&mut tx, user.id).await?;
    let mut kept = Vec::new();
    for org in &orgs {
        let role = store::members::find_role(&mut tx, org.id, user.id).await?;
        if role.is_some_and(|role| role == Role::Owner)
            && store::members::count_in_role(&mut tx, org.id, Role::Owner).await? < 2
        {
            kept.push(org.name.as_str());
        }
    }
    if !kept.is_empty() {
        let message = format!(
            "You are the last owner of {}. Make another member an owner first; nothing was changed.",
            kept.join(", ")
        );
        return Err(AppError::new(ErrorKind::Conflict, "last_owner", message).into());
    }
    let ids: Vec<_> = orgs.iter().map(|org| org.id).collect();
    let event = Event::new("auth.account_deleted").target("user", user.id, &user.email);
    note(env, &mut tx, &ids, by, origin, &event, "ok").await?;
    for org in &ids {
        let Some(role) = store::members::find_role(&mut tx, *org, user.id).await? else { continue };
        let mut change = Change::within(env, tx, *org, by.clone(), origin.clone());
        let event =
            team::take_out(env, &mut change, *org, user.id, role, by.name(), "team.member_left").await?;
        change.record(&event).await?;
        tx = change.into_tx();
        store::erasures::forget_name(&mut tx, *org, &user.name, audit::erasure::NOBODY).await?;
    }
    mail::notify(env, &mut tx, letters::account_deleted(&user.email)).await?;
    audit::erasure::queue(env, &mut tx, user).await?;
    store::connections::forget_address(&mut tx, user.id).await?;
    store::invitations::delete_of_address(&mut tx, &user.email).await?;
    throttle::forget(&mut tx, &store::users::email_key(&user.email)).await?;
    store::users::delete(&mut tx, user.id).await?;
    tx.commit().await?;
    changed.extend(ids);
    for org in changed {
        env.changes.notify(org);
    }
    Ok(())
}
