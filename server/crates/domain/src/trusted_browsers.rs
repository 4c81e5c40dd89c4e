//! Browsers that are not asked for the second factor for thirty days, because their person said so at the second step.
//!
//! What trusts one is a random cookie, of which the database has the hash. The password is still asked for. Nobody may
//! trust a browser while an organisation of theirs that requires a second factor wants it at each log-in; and no browser
//! stays trusted when the password or a factor changes.

use model::{OrgId, TrustedBrowserId, UserId, orgs::TrustedBrowser, permissions::can};
use sha2::{Digest as _, Sha256};
use store::{Tx, trusted_browsers as rows, users::User};

use crate::{
    Env, Error, OrgActor, Result, accounts,
    authz::{self, Principal},
    change::Event,
    mfa,
    request::{Origin, RequestContext},
    step_up::Proven,
};

/// For how long one is trusted, milliseconds.
pub const FOR: i64 = 30 * 24 * 60 * 60 * 1000;
/// Browsers that somebody may trust at once.
const MOST: usize = 20;

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Whether the person may trust a browser.
pub(crate) async fn may(tx: &mut Tx, user: UserId) -> Result<bool> {
    Ok(!rows::is_forbidden(tx, user).await?)
}

/// Whether this browser skips the second step of the person.
pub(crate) async fn skips(env: &Env, tx: &mut Tx, user: UserId, cookie: Option<&str>) -> Result<bool> {
    let Some(cookie) = cookie else { return Ok(false) };
    Ok(may(tx, user).await? && rows::take(tx, user, &hash(cookie), env.now()).await?)
}

/// Trusts the browser of somebody who has just taken the second step. Answers with the cookie's value, or `None` where they
/// may not.
pub(crate) async fn trust(env: &Env, tx: &mut Tx, user: &User, origin: &Origin) -> Result<Option<String>> {
    if !may(tx, user.id).await? {
        return Ok(None);
    }
    let now = env.now();
    for old in rows::list(tx, user.id, now).await?.into_iter().skip(MOST - 1) {
        rows::delete(tx, user.id, old.id).await?;
    }
    let token = env.token();
    let browser = rows::TrustedBrowser {
        id: TrustedBrowserId::from_uuid(env.uuid()),
        token_hash: hash(&token),
        address: origin.address_text(),
        user_agent: origin.user_agent.clone().unwrap_or_default(),
        created_at: now,
        last_used_at: None,
        expires_at: now + FOR,
    };
    rows::insert(tx, user.id, &browser).await?;
    let event = Event::new("auth.browser_trusted")
        .target("user", user.id, &user.email)
        .with("until", browser.expires_at);
    note(env, tx, user, origin, &event).await?;
    Ok(Some(token))
}

/// The same, for whoever has just been let in by it.
pub async fn begin(ctx: &RequestContext, user: UserId) -> Result<Option<String>> {
    let mut tx = ctx.env.db.write().await?;
    let user = store::users::find(&mut tx, user).await?.ok_or_else(authz::unauthenticated)?;
    let token = trust(&ctx.env, &mut tx, &user, &ctx.origin).await?;
    tx.commit().await?;
    Ok(token)
}

/// Whether whoever is at the second step in this browser may trust it.
pub async fn offered(ctx: &RequestContext) -> Result<bool> {
    let Some(user) = mfa::waiting(ctx).await? else { return Ok(false) };
    let mut tx = ctx.env.db.read().await?;
    may(&mut tx, user).await
}

/// The browsers that the person trusts, the latest first.
pub async fn list(ctx: &RequestContext) -> Result<Vec<TrustedBrowser>> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let own = ctx.trusted.as_deref().map(hash);
    let mut tx = ctx.env.db.read().await?;
    let browsers = rows::list(&mut tx, signed_in.user, ctx.env.now()).await?;
    Ok(browsers
        .into_iter()
        .map(|row| TrustedBrowser {
            current: own.as_ref() == Some(&row.token_hash),
            id: row.id,
            address: row.address,
            user_agent: row.user_agent,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
        })
        .collect())
}

/// Trusts one no more: its next log-in takes the second step again.
pub async fn revoke(ctx: &RequestContext, id: TrustedBrowserId) -> Result<()> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.write().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    if !rows::delete(&mut tx, user.id, id).await? {
        return Err(Error::not_found("trusted browser"));
    }
    let event =
        Event::new("auth.browser_distrusted").target("user", user.id, &user.email).with("browsers", 1);
    note(&ctx.env, &mut tx, &user, &ctx.origin, &event).await?;
    Ok(tx.commit().await?)
}

/// Trusts none of a person any more, because their password or a factor changed. The event of that change tells of it.
pub(crate) async fn end_all(tx: &mut Tx, user: UserId) -> Result<u64> {
    Ok(rows::delete_of_user(tx, user).await?)
}

/// Whether the organisation lets its members trust browsers although it requires a second factor.
pub(crate) async fn is_allowed(tx: &mut Tx, org: OrgId) -> Result<bool> {
    Ok(rows::is_allowed(tx, org).await?)
}

/// Lets members trust browsers although the organisation requires a second factor, or wants it at each log-in, of those
/// that are trusted by now as well.
pub async fn allow(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    _proven: &Proven,
    allowed: bool,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let old = rows::is_allowed(change.tx(), actor.org()).await?;
    if old == allowed {
        return Ok(());
    }
    rows::allow(change.tx(), actor.org(), allowed).await?;
    let org = store::orgs::find(change.tx(), actor.org()).await?;
    let org = org.ok_or_else(|| Error::not_found("organisation"))?;
    let event = Event::new("settings.security_updated").target("org", org.id, &org.name).changed(
        "trusted_browsers",
        old,
        allowed,
    );
    change.commit(event).await
}

async fn note(env: &Env, tx: &mut Tx, user: &User, origin: &Origin, event: &Event) -> Result<()> {
    let by = Principal::User { id: user.id, name: user.name.clone() };
    accounts::note_of_user(env, tx, user.id, &by, origin, event, "ok").await
}
