//! The signed-in browsers of a person, and how long they may be idle.

use std::collections::{HashMap, hash_map::Entry};

use model::{
    AppError, OrgId, SessionId, UserId,
    orgs::{SESSION_MINUTES, SessionInfo},
    permissions::can,
};
use store::Tx;
use url::Url;

use crate::{
    Env, Error, OrgActor, Result, accounts,
    authz::{self, Principal},
    change::Event,
    request::{AuthMethod, RequestContext},
};

const MINUTE: i64 = 60 * 1000;
/// Sessions that a person may have at once; beyond that the one that was idle longest ends (SES-10).
pub const MOST: usize = 50;

/// For how long a session may be idle, milliseconds: the strictest setting among the organisations of its person counts,
/// as it is at this moment (SES-04).
pub async fn idle_ms(env: &Env, tx: &mut Tx, user: Option<UserId>) -> Result<i64> {
    let default = env.settings.session_idle_ms;
    let Some(user) = user else { return Ok(default) };
    Ok(store::sessions::strictest_minutes(tx, user, default / MINUTE).await? * MINUTE)
}

/// Ends the sessions of a person that are too many: those that were idle longest.
pub async fn end_surplus(tx: &mut Tx, user: UserId) -> Result<()> {
    for session in store::sessions::list_of_user(tx, user).await?.into_iter().skip(MOST) {
        store::sessions::delete(tx, &session.token_hash).await?;
    }
    Ok(())
}

/// After how many minutes without a request the organisation logs its members out.
pub async fn timeout_minutes(env: &Env, actor: &OrgActor<can::SecurityRead>) -> Result<i64> {
    let mut tx = env.db.read().await?;
    minutes_of(env, &mut tx, actor.org()).await
}

async fn minutes_of(env: &Env, tx: &mut Tx, org: OrgId) -> Result<i64> {
    let chosen = store::sessions::minutes(tx, org).await?;
    Ok(chosen.unwrap_or(env.settings.session_idle_ms / MINUTE))
}

/// Sets after how many minutes without a request the organisation logs its members out. It counts for running sessions as
/// well, at once.
pub async fn set_timeout(env: &Env, actor: &OrgActor<can::SecurityManage>, minutes: i64) -> Result<()> {
    if !SESSION_MINUTES.contains(&minutes) {
        let message = "Choose between 15 minutes and 30 days (43200 minutes)";
        return Err(AppError::field("minutes", "range", message).into());
    }
    let mut change = env.change(actor).await?;
    let old = minutes_of(env, change.tx(), actor.org()).await?;
    store::sessions::set_minutes(change.tx(), actor.org(), minutes).await?;
    let org = store::orgs::find(change.tx(), actor.org()).await?;
    let name = org.map(|org| org.name).unwrap_or_default();
    let event = Event::new("settings.security_updated").target("org", actor.org(), &name);
    change.commit(event.changed("session_timeout_minutes", old, minutes)).await
}

/// The host of the organisation's identity provider, if it has one.
pub(crate) async fn provider(tx: &mut Tx, org: OrgId) -> Result<Option<String>> {
    let row = store::sso::find(tx, org).await?;
    Ok(row.and_then(|row| Some(Url::parse(&row.issuer).ok()?.host_str()?.to_owned())))
}

/// By which way a session was begun, in words. `provider` is the host of the one that vouched for it.
pub(crate) fn way(method: Option<&str>, provider: Option<&str>) -> String {
    match (method.and_then(AuthMethod::parse), provider) {
        (Some(AuthMethod::Password), _) => "Password".to_owned(),
        (Some(AuthMethod::PasswordAndCode), _) => "Password and code".to_owned(),
        (Some(AuthMethod::Passkey), _) => "Passkey".to_owned(),
        (Some(AuthMethod::Sso), Some(host)) => format!("SSO at {host}"),
        (Some(AuthMethod::Sso), None) => "SSO".to_owned(),
        (Some(AuthMethod::Link), _) => "Link by email".to_owned(),
        // No browser is signed in by the others.
        _ => String::new(),
    }
}

/// The person's sessions, the latest first (SES-05).
pub async fn list(ctx: &RequestContext) -> Result<Vec<SessionInfo>> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    let now = ctx.env.now();
    let idle = idle_ms(&ctx.env, &mut tx, Some(signed_in.user)).await?;
    let sessions = store::sessions::list_of_user(&mut tx, signed_in.user).await?;
    let mut providers: HashMap<OrgId, Option<String>> = HashMap::new();
    for org in sessions.iter().filter_map(|session| session.sso_org) {
        if let Entry::Vacant(place) = providers.entry(org) {
            place.insert(provider(&mut tx, org).await?);
        }
    }
    Ok(sessions
        .into_iter()
        .filter(|s| s.expires_at > now && s.last_seen_at + idle > now)
        .map(|s| SessionInfo {
            current: s.id == signed_in.session,
            way: way(s.method.as_deref(), s.sso_org.and_then(|org| providers.get(&org)?.as_deref())),
            id: s.id,
            address: s.address,
            user_agent: s.user_agent,
            created_at: s.created_at,
            last_seen_at: s.last_seen_at,
        })
        .collect())
}

/// Ends one session of the person.
pub async fn revoke(ctx: &RequestContext, id: SessionId) -> Result<()> {
    end(ctx, Some(id)).await.map(drop)
}

/// Ends every session of the person but this one; how many that were.
pub async fn revoke_others(ctx: &RequestContext) -> Result<u64> {
    end(ctx, None).await
}

async fn end(ctx: &RequestContext, only: Option<SessionId>) -> Result<u64> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.write().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    let ended = match only {
        Some(id) => store::sessions::delete_of_user(&mut tx, user.id, id).await?,
        None => store::sessions::delete_others(&mut tx, user.id, signed_in.session).await?,
    };
    if ended == 0 && only.is_some() {
        return Err(Error::not_found("session"));
    }
    let event =
        Event::new("auth.sessions_revoked").target("user", user.id, &user.email).with("sessions", ended);
    let by = Principal::User { id: user.id, name: user.name };
    accounts::note_of_user(&ctx.env, &mut tx, user.id, &by, &ctx.origin, &event, "ok").await?;
    tx.commit().await?;
    Ok(ended)
}
