//! The people of an organisation: who they are, which role they have, and what becomes of what was theirs when they go.

use std::collections::{BTreeSet, HashMap};

use model::{
    ApiKeyId, AppError, ErrorKind, MemberRole, OrgId, Role, RoleKey, UserId,
    permissions::{Grant, can},
    team::{Leaving, TeamKey, TeamMember},
};
use serde_json::{Value, json};
use store::{
    Tx,
    audit::{Actions, Wanted},
};

use crate::{
    Env, Error, OrgActor, Result,
    authz::{self, Principal},
    change::{Change, Event},
    connections, invitations,
    mail::{self, letters},
    pin::Guarded,
    request::RequestContext,
    roles, sessions, sso,
};

/// Events that are looked through for the keys that somebody made.
const LOOKED_THROUGH: i64 = 1000;
const GONE: &str = "Its person is no member any more";

fn not_a_member() -> Error {
    Error::not_found("member")
}

/// The refusal to leave an organisation without an owner (TEN-04).
pub(crate) fn last_owner() -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "last_owner",
        "This is the last owner. Make another member an owner first; nothing was changed.",
    )
    .into()
}

/// All members, by name.
pub async fn list(env: &Env, actor: &OrgActor<can::TeamRead>) -> Result<Vec<TeamMember>> {
    let mut tx = env.db.read().await?;
    let members = store::members::list_full(&mut tx, actor.org()).await?;
    let with_factor = store::factors::list_with(&mut tx, actor.org()).await?;
    let owners = members.iter().filter(|member| member.role == Role::Owner).count();
    let provider = sessions::provider(&mut tx, actor.org()).await?;
    // Of several sessions the latest stays.
    let ways: HashMap<UserId, String> = store::sessions::list_methods(&mut tx, actor.org())
        .await?
        .into_iter()
        .map(|(user, method, sso)| {
            (user, sessions::way(method.as_deref(), provider.as_deref().filter(|_| sso)))
        })
        .collect();
    Ok(members
        .into_iter()
        .map(|member| TeamMember {
            way: ways.get(&member.user).cloned().unwrap_or_default(),
            you: actor.principal().id() == member.user.to_string(),
            last_owner: member.role == Role::Owner && owners == 1,
            second_factor: with_factor.contains(&member.user),
            user: member.user,
            email: member.email,
            name: member.name,
            role: member.role,
            joined_at: member.joined_at,
            last_seen_at: member.last_seen_at,
        })
        .collect())
}

/// One member and what they would leave behind: the question before they go.
pub async fn leaving(env: &Env, actor: &OrgActor<can::TeamRead>, user: UserId) -> Result<Leaving> {
    let member = list(env, actor).await?.into_iter().find(|member| member.user == user);
    let member = member.ok_or_else(not_a_member)?;
    let mut tx = env.db.read().await?;
    let elsewhere = store::orgs::list_of_user(&mut tx, user).await?.len() > 1;
    let sessions = if elsewhere {
        store::sessions::count_in_view(&mut tx, user, actor.org()).await?
    } else {
        i64::try_from(store::sessions::list_of_user(&mut tx, user).await?.len()).unwrap_or(i64::MAX)
    };
    let connections = store::connections::list_of_user(&mut tx, actor.org(), user).await?;
    let keys = keys_of(&mut tx, actor.org(), user, &member.name).await?;
    Ok(Leaving {
        member,
        sessions,
        connections: connections
            .iter()
            .filter(|row| row.revoked_at.is_none())
            .count()
            .try_into()
            .unwrap_or(i64::MAX),
        keys,
    })
}

/// The API keys that somebody made and that are there still. They belong to the organisation, so they stay.
async fn keys_of(tx: &mut Tx, org: OrgId, user: UserId, name: &str) -> Result<Vec<TeamKey>> {
    const ACTION: &str = "api_key.created";
    let who = user.to_string();
    let wanted = Wanted {
        after: 0,
        before: i64::MAX,
        from: i64::MIN,
        to: i64::MAX,
        actor_kind: "",
        actor: Some(&who),
        actions: Actions::One(ACTION),
        limit: LOOKED_THROUGH,
        upwards: false,
    };
    let made: BTreeSet<ApiKeyId> = store::audit::list(tx, org, &wanted)
        .await?
        .iter()
        .filter_map(|row| {
            serde_json::from_str::<Value>(&row.detail).ok()?["targets"][0]["id"].as_str()?.parse().ok()
        })
        .collect();
    // A key that is older than what the log keeps has the name of its maker.
    Ok(store::api_keys::list(tx, org)
        .await?
        .into_iter()
        .filter(|key| made.contains(&key.id) || key.created_by == name)
        .map(|key| TeamKey { id: key.id, name: key.name, last_used_at: key.last_used_at })
        .collect())
}

/// What somebody is at this moment, after the organisation was locked: meanwhile their own role may have changed.
async fn still<P: Grant>(change: &mut Change, actor: &OrgActor<P>) -> Result<Option<MemberRole>> {
    let Principal::User { id, .. } = actor.principal() else { return Ok(None) };
    let (org, id) = (actor.org(), *id);
    let role = store::members::find_role(change.tx(), org, id).await?;
    match role {
        Some(role) if role.allows(P::PERMISSION) => Ok(Some(role)),
        _ => Err(authz::denied(P::PERMISSION).into()),
    }
}

/// Whether somebody with this role (`None` is the operator) may touch an owner, or make one.
fn may_touch_owners(by: Option<&MemberRole>) -> Result<()> {
    if by.is_none_or(|role| *role == Role::Owner) {
        return Ok(());
    }
    Err(AppError::new(
        ErrorKind::Forbidden,
        "owners_only",
        "Only an owner can make somebody an owner, or change or remove one. Nothing was changed.",
    )
    .into())
}

/// Whether somebody may deal with a member of this role: nobody reaches beyond what they hold (TEN-04).
fn may_reach(by: Option<&MemberRole>, role: &MemberRole) -> Result<()> {
    if by.is_none_or(|by| by.covers(role)) {
        return Ok(());
    }
    Err(AppError::new(
        ErrorKind::Forbidden,
        "above_own",
        "This member's role holds rights that yours does not. Ask an owner or admin; nothing was changed.",
    )
    .into())
}

/// Gives a member another role. Nobody raises their own, only owners deal with owners, and one owner stays (TEN-04).
pub async fn set_role(
    env: &Env,
    actor: &OrgActor<can::TeamRoles>,
    user: UserId,
    role: impl Into<RoleKey>,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let by = still(&mut change, actor).await?;
    let org = actor.org();
    let old = store::members::find_role(change.tx(), org, user).await?.ok_or_else(not_a_member)?;
    let role = roles::chosen(change.tx(), org, role.into()).await?;
    if old.key == role.key {
        return Ok(());
    }
    if old == Role::Owner || role == Role::Owner {
        may_touch_owners(by.as_ref())?;
    }
    let own = actor.principal().id() == user.to_string();
    if own && !old.rights.include(role.rights) {
        let message =
            "Nobody can give themself more rights. Ask another owner or admin; nothing was changed.";
        return Err(AppError::new(ErrorKind::Forbidden, "own_role", message).into());
    }
    may_reach(by.as_ref(), &old)?;
    if by.as_ref().is_some_and(|by| !by.covers(&role)) {
        return Err(roles::above_own());
    }
    if old == Role::Owner && store::members::count_in_role(change.tx(), org, Role::Owner).await? < 2 {
        return Err(last_owner());
    }
    let person = store::users::find(change.tx(), user).await?.ok_or_else(not_a_member)?;
    store::members::set_role(change.tx(), org, user, &role).await?;
    store::sessions::renew_all(change.tx(), user).await?;
    invitations::take_back_of(env, &mut change, org, user, Some(&role)).await?;
    if !own && let Some(org) = store::orgs::find(change.tx(), org).await? {
        mail::notify(env, change.tx(), letters::role_changed(&person.email, &org.name, &role)).await?;
    }
    let event = Event::new("team.role_changed").target("user", user, &person.email).changed(
        "role",
        old.as_str(),
        role.as_str(),
    );
    change.commit(event).await
}

/// Removes a member: their sessions end and their connections are revoked at once; keys that they made stay.
pub async fn remove(env: &Env, actor: &Guarded<can::TeamRemove>, user: UserId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let by = still(&mut change, actor).await?;
    let old = store::members::find_role(change.tx(), actor.org(), user).await?.ok_or_else(not_a_member)?;
    if old == Role::Owner {
        may_touch_owners(by.as_ref())?;
    }
    may_reach(by.as_ref(), &old)?;
    let name = actor.principal().name().to_owned();
    let event = take_out(env, &mut change, actor.org(), user, old, &name, "team.member_removed").await?;
    change.commit(event).await
}

/// Leaves the organisation that is in view.
pub async fn leave(ctx: &RequestContext, org: OrgId) -> Result<()> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = env.db.write().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    sso::reach(&mut tx, signed_in, Some(org)).await?;
    store::orgs::lock(&mut tx, org).await?;
    let old = store::members::find_role(&mut tx, org, user.id).await?.ok_or_else(not_a_member)?;
    let principal = Principal::User { id: user.id, name: user.name.clone() };
    let mut change = Change::within(env, tx, org, principal, ctx.origin.clone());
    let event = take_out(env, &mut change, org, user.id, old, &user.name, "team.member_left").await?;
    change.commit(event).await
}

pub(crate) async fn take_out(
    env: &Env,
    change: &mut Change,
    org: OrgId,
    user: UserId,
    old: MemberRole,
    by: &str,
    action: &'static str,
) -> Result<Event> {
    if old == Role::Owner && store::members::count_in_role(change.tx(), org, Role::Owner).await? < 2 {
        return Err(last_owner());
    }
    let person = store::users::find(change.tx(), user).await?.ok_or_else(not_a_member)?;
    let keys = keys_of(change.tx(), org, user, &person.name).await?;
    let mut cut = 0_i64;
    for row in store::connections::list_of_user(change.tx(), org, user).await? {
        if row.revoked_at.is_none() {
            let event = connections::cut(env, change, org, &row, by, GONE).await?;
            change.record(&event).await?;
            cut += 1;
        }
    }
    invitations::take_back_of(env, change, org, user, None).await?;
    store::members::delete(change.tx(), org, user).await?;
    let by_others = action != "team.member_left";
    // Somebody who leaves by themself stays logged in. Somebody who is removed does so where they work for others: nobody
    // logs people out of an organisation that is not theirs.
    let ended = if !by_others {
        0
    } else if store::orgs::list_of_user(change.tx(), user).await?.is_empty() {
        store::sessions::delete_all_of_user(change.tx(), user).await?
    } else {
        store::sessions::delete_in_view(change.tx(), user, org).await?
    };
    // Their rights changed, so what is left gets new identifiers (SES-02).
    store::sessions::renew_all(change.tx(), user).await?;
    if by_others && let Some(org) = store::orgs::find(change.tx(), org).await? {
        mail::notify(env, change.tx(), letters::removed(&person.email, &org.name)).await?;
    }
    let data = json!({"user_id": user, "email": person.email, "role": old.as_str()});
    Ok(Event::new(action)
        .target("user", user, &person.email)
        .with("role", old.as_str())
        .with("sessions_ended", ended)
        .with("connections_revoked", cut)
        .with("keys_kept", keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>())
        .publish("team.member_removed", data))
}
