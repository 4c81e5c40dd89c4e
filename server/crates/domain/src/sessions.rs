//! The signed-in browsers of a person.

use model::{SessionId, orgs::SessionInfo};

use crate::{
    Error, Result, accounts,
    authz::{self, Principal},
    change::Event,
    request::RequestContext,
};

/// The person's sessions, the latest first (SES-05).
pub async fn list(ctx: &RequestContext) -> Result<Vec<SessionInfo>> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    let now = ctx.env.now();
    let idle = ctx.env.settings.session_idle_ms;
    let sessions = store::sessions::list_of_user(&mut tx, signed_in.user).await?;
    Ok(sessions
        .into_iter()
        .filter(|s| s.expires_at > now && s.last_seen_at + idle > now)
        .map(|s| SessionInfo {
            current: s.id == signed_in.session,
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
