//! The end of an organisation (DEL-01 to DEL-03): asked for by an owner who types its slug, their password and whatever else
//! proves them; from then on nothing of it works, and within a minute nothing of it is left but that its slug was taken.

use data_encoding::HEXLOWER;
use model::{AppError, OrgId, factors::SecondStep, orgs::OrgDeletion, permissions::can};
use sha2::{Digest as _, Sha256};

use crate::{
    Env, Error, OrgActor, Result, accounts,
    authz::{self, Principal},
    change::{Event, note},
    mail::{self, letters},
    mfa::{self, Shown},
    pin::Guarded,
    request::RequestContext,
    step_up,
};

/// Rows of one portion: a transaction of well under a second.
const PORTION: i64 = 5000;
/// For how long the row of a deleted organisation stays, milliseconds: until every node has seen that it is gone.
const STAYS: i64 = 5000;

/// What will be deleted, and what is asked for.
pub async fn facts(env: &Env, actor: &OrgActor<can::OrgDelete>) -> Result<OrgDeletion> {
    let mut tx = env.db.read().await?;
    let org =
        store::orgs::find(&mut tx, actor.org()).await?.ok_or_else(|| Error::not_found("organisation"))?;
    let ways = match actor.principal() {
        Principal::User { id, .. } => mfa::ways(&mut tx, *id).await?,
        Principal::Operator | Principal::System => SecondStep::default(),
    };
    let counts = store::org_ends::counts(&mut tx, org.id).await?;
    let [connectors, keys, members, connections, clients, invitations, events, rest @ ..] = counts;
    let [webhooks, domains, providers, roles, exports] = rest;
    Ok(OrgDeletion {
        name: org.name,
        slug: org.slug.to_string(),
        ways,
        connectors,
        keys,
        members,
        connections,
        clients,
        invitations,
        events,
        webhooks,
        domains,
        providers,
        roles,
        exports,
    })
}

/// Deletes the organisation in view. Where the person has a second factor, `shown` is asked for.
///
/// # Errors
/// `Invalid` at the field that is missing or wrong; then nothing was deleted.
pub async fn delete(
    ctx: &RequestContext,
    actor: &Guarded<can::OrgDelete>,
    slug: &str,
    password: &str,
    shown: Shown<'_>,
) -> Result<()> {
    let (env, id) = (&ctx.env, actor.org());
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let (org, user, factor) = {
        let mut tx = env.db.read().await?;
        let org = store::orgs::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("organisation"))?;
        let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
        let factor = store::factors::has(&mut tx, user.id).await?;
        (org, user, factor)
    };
    let flaws = [
        (slug.trim() != org.slug.as_str(), "confirm", "confirm", format!("Type the slug: {}", org.slug)),
        (
            password.is_empty() && user.has_password(),
            "password",
            "required",
            "Enter your password".to_owned(),
        ),
        (factor && shown.is_empty(), "code", "required", "Enter a code, or use a passkey".to_owned()),
    ];
    if flaws.iter().any(|(wrong, ..)| *wrong) {
        return Err(accounts::joined(
            flaws.map(|(wrong, field, word, words)| wrong.then(|| AppError::field(field, word, words))),
        ));
    }
    step_up::check_password(ctx, &user, password).await?;
    let mut tx = if factor { mfa::take_shown(ctx, &user, shown).await?.0 } else { env.db.write().await? };
    store::orgs::lock(&mut tx, id).await?;
    // Again: somebody may have taken the right meanwhile, or have been quicker.
    let role = store::members::find_role(&mut tx, id, user.id).await?;
    if !role.is_some_and(|role| role.allows(model::Permission::OrgDelete)) {
        return Err(Error::not_found("organisation"));
    }
    let told = store::members::list(&mut tx, id).await?;
    let digest = HEXLOWER.encode(&Sha256::digest(id.to_string()));
    store::org_ends::begin(&mut tx, id, env.now(), &digest, &user.id.to_string()).await?;
    let by = Principal::User { id: user.id, name: user.name.clone() };
    let event = Event::new("org.deleted").target("org", &digest, org.slug.as_str());
    note(env, &mut tx, &[], &by, &ctx.origin, &event, "ok").await?;
    for member in told {
        let letter = letters::org_deleted(&member.email, &org.name, &user.name);
        mail::notify(env, &mut tx, letter).await?;
    }
    tx.commit().await?;
    env.changes.notify(id);
    Ok(())
}

/// Removes what is left of deleted organisations, portion by portion: called again and again, and whoever is interrupted goes
/// on where they were.
pub async fn finish(env: &Env) -> Result<()> {
    let ending = store::org_ends::list(&mut env.db.read().await?).await?;
    for (org, deleted_at) in ending {
        clear(env, org).await?;
        if env.now() >= deleted_at + STAYS {
            let mut tx = env.db.write().await?;
            store::org_ends::end(&mut tx, org, env.uuid().as_bytes()).await?;
            tx.commit().await?;
        }
    }
    fold(env).await
}

/// Empties the log of the database of what was removed. While somebody reads what was there before it cannot be done, and is
/// tried again with the next round; a process that was stopped before it has left the note that it is to be done.
async fn fold(env: &Env) -> Result<()> {
    let Some(last) = store::org_ends::unfolded(&mut env.db.read().await?).await? else { return Ok(()) };
    if env.db.fold().await? {
        let mut tx = env.db.write().await?;
        store::org_ends::set_folded(&mut tx, &last).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn clear(env: &Env, org: OrgId) -> Result<()> {
    loop {
        let mut tx = env.db.write().await?;
        let gone = store::org_ends::remove_some(&mut tx, org, PORTION).await?;
        tx.commit().await?;
        if gone == 0 {
            return Ok(());
        }
        // The database is others' as well.
        tokio::task::yield_now().await;
    }
}
