//! What an organisation configures: the provider, whether members may or have to use it, what newcomers become.

use model::{
    AppError, ErrorKind, IdentityProviderId, MemberRole, OrgId, Role, RoleKey,
    permissions::can,
    sso_login::{LoginProvider, MAX_CLIENT, SsoLoginPage, SsoMode},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use store::{Tx, sso::Provider};

use super::{domains, flow, provider, reach};
use crate::{
    Env, Error, OrgActor, Result,
    authz::Principal,
    both,
    change::{Change, Event},
    idp::config::{checked_issuer, entitled},
    invitations::may_give,
    request::RequestContext,
};

/// What a person enters.
#[derive(Clone)]
pub struct Input {
    /// The issuer, byte for byte.
    pub issuer: String,
    /// Gatehouse as it is known there.
    pub client_id: String,
    /// Its secret; empty to keep the stored one, or for a client without.
    pub client_secret: SecretString,
    /// The role of newcomers; empty lets in only who was invited.
    pub default_role: String,
    /// Whether members log in with it.
    pub mode: SsoMode,
}

fn mode_of(row: &Provider) -> SsoMode {
    match (row.enabled, row.required) {
        (false, _) => SsoMode::Off,
        (true, false) => SsoMode::Optional,
        (true, true) => SsoMode::Required,
    }
}

fn listed(row: Provider) -> LoginProvider {
    LoginProvider {
        mode: mode_of(&row),
        has_secret: row.secret_sealed.is_some(),
        // One that cannot be read is shown as none: it is nothing but a report.
        tested: row.tested.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        test_passed: row.test_passed,
        issuer: row.issuer,
        client_id: row.client_id,
        default_role: row.default_role.unwrap_or_default(),
        updated_at: row.updated_at,
        updated_by: row.updated_by,
        chosen_by: Role::parse(&row.reach),
    }
}

/// Everything the page shows.
pub async fn page(env: &Env, actor: &OrgActor<can::SsoRead>) -> Result<SsoLoginPage> {
    let mut tx = env.db.read().await?;
    let org =
        store::orgs::find(&mut tx, actor.org()).await?.ok_or_else(|| Error::not_found("organisation"))?;
    let row = store::sso::find(&mut tx, org.id).await?;
    let rows = store::sso_domains::list(&mut tx, org.id).await?;
    let built = Role::ALL.iter().filter(|role| **role != Role::Owner).map(|role| MemberRole::from(*role));
    let custom = store::roles::list(&mut tx, org.id).await?;
    let roles = built.chain(custom.iter().map(store::roles::Role::held));
    Ok(SsoLoginPage {
        plan: org.plan,
        provider: row.map(listed),
        domains: rows.into_iter().map(domains::listed).collect(),
        roles: roles.map(|role| (role.key.to_string(), role.name)).collect(),
        callback: flow::callback(env),
        now: env.now(),
    })
}

/// Makes the provider, or changes it. It is asked what it says about itself before anything is kept.
pub async fn put(ctx: &RequestContext, actor: &OrgActor<can::SsoManage>, input: &Input) -> Result<()> {
    let env = &ctx.env;
    let (org, old) = {
        let mut tx = env.db.read().await?;
        let org = store::orgs::find(&mut tx, actor.org()).await?;
        (org, store::sso::find(&mut tx, actor.org()).await?)
    };
    entitled(org.ok_or_else(|| Error::not_found("organisation"))?.plan)?;
    let (issuer, (client_id, ())) = both(
        checked_issuer(env, &input.issuer),
        both(checked_client(&input.client_id), checked_secret(&input.client_secret)),
    )?;
    let same = old.as_ref().is_some_and(|old| old.issuer == issuer && old.client_id == client_id);
    let blank = input.client_secret.expose_secret().is_empty();
    if !same && blank && old.as_ref().is_some_and(|old| old.secret_sealed.is_some()) {
        return Err(AppError::field(
            "client_secret",
            "secret_elsewhere",
            "The stored secret belongs to the other issuer or client and is not sent here. Enter this one's",
        )
        .into());
    }
    let server = match (provider::discover(env, &issuer).await, &old) {
        (Ok(server), _) => (server.to_text()?, env.now()),
        // What did not change is not in the way of another change while the provider is down.
        (Err(provider::DiscoveryError::Fetch(_)), Some(old)) if old.issuer == issuer => {
            (old.server.clone(), old.discovered_at)
        }
        (Err(why), _) => {
            return Err(AppError::field("issuer", "discovery_failed", why.to_string()).into());
        }
    };

    let mut change = env.change(actor).await?;
    let old = store::sso::find(change.tx(), actor.org()).await?;
    let by = role_of(&mut change, actor).await?;
    let default_role =
        checked_role(&mut change, actor.org(), by.as_ref(), &input.default_role, old.as_ref()).await?;
    let kept = old.as_ref().filter(|old| old.issuer == issuer && old.client_id == client_id);
    let test_passed = kept.is_some_and(|old| old.test_passed);
    if input.mode == SsoMode::Required {
        may_require(&mut change, actor, test_passed).await?;
    }
    let id = old.as_ref().map_or_else(|| IdentityProviderId::from_uuid(env.uuid()), |old| old.id);
    let secret_sealed = if blank {
        kept.and_then(|old| old.secret_sealed.clone())
    } else {
        let place = id.to_string();
        Some(provider::seal_secret(env, change.tx(), actor.org(), &place, &input.client_secret).await?)
    };
    let now = env.now();
    let row = Provider {
        id,
        issuer,
        client_id,
        secret_sealed,
        server: server.0,
        discovered_at: server.1,
        enabled: input.mode != SsoMode::Off,
        required: input.mode == SsoMode::Required,
        default_role,
        tested: kept.and_then(|old| old.tested.clone()),
        test_passed,
        created_at: old.as_ref().map_or(now, |old| old.created_at),
        updated_at: now,
        updated_by: actor.principal().name().to_owned(),
        reach: kept
            .map_or_else(|| reach::of(by.as_ref()), |old| reach::saved(&old.reach, reach::of(by.as_ref()))),
    };
    store::sso::put(change.tx(), actor.org(), &row).await?;
    // What another issuer vouched for, or one that is switched off, counts no longer.
    let ended = if old.as_ref().is_some_and(|old| old.issuer != row.issuer) || !row.enabled {
        end_sessions(ctx, &mut change, actor.org()).await?
    } else {
        0
    };
    let was = old.as_ref().and_then(|old| old.default_role.as_deref());
    let roles = (
        role_name(change.tx(), actor.org(), was).await?,
        role_name(change.tx(), actor.org(), row.default_role.as_deref()).await?,
    );
    let event = changes(old.as_ref(), &row, roles, !blank).with("sessions_ended", ended);
    change.commit(event).await
}

/// What people call the role of newcomers: its key says nothing to them.
async fn role_name(tx: &mut Tx, org: OrgId, key: Option<&str>) -> Result<Option<String>> {
    let Some(key) = key.and_then(RoleKey::parse) else { return Ok(None) };
    Ok(store::roles::find_held(tx, org, key).await?.map(|role| role.name))
}

fn changes(
    old: Option<&Provider>,
    row: &Provider,
    (was_role, role): (Option<String>, Option<String>),
    secret: bool,
) -> Event {
    let was = |value: fn(&Provider) -> Value| old.map_or(Value::Null, value);
    let action = if old.is_some() { "sso.login_updated" } else { "sso.login_configured" };
    let event = Event::new(action)
        .target("identity_provider", row.id, &row.issuer)
        .changed("issuer", was(|row| row.issuer.as_str().into()), row.issuer.as_str())
        .changed("client_id", was(|row| row.client_id.as_str().into()), row.client_id.as_str())
        .changed("mode", was(|row| mode_of(row).as_str().into()), mode_of(row).as_str())
        .changed("default_role", was_role, role)
        .changed("reach", was(|row| row.reach.as_str().into()), row.reach.as_str());
    if secret {
        event.secret("client_secret", old.is_some_and(|old| old.secret_sealed.is_some()))
    } else {
        event
    }
}

async fn end_sessions(ctx: &RequestContext, change: &mut Change, org: OrgId) -> Result<u64> {
    // Whoever does it goes on.
    let own = ctx.signed_in.as_ref().map(|signed_in| signed_in.session.to_string()).unwrap_or_default();
    Ok(store::sso::delete_sessions(change.tx(), org, &own).await?)
}

/// Deletes the provider. Whoever it vouched for is logged out; identities stay, for the case that it comes back.
pub async fn delete(ctx: &RequestContext, actor: &OrgActor<can::SsoManage>) -> Result<()> {
    let mut change = ctx.env.change(actor).await?;
    let row = store::sso::find(change.tx(), actor.org()).await?;
    let row = row.ok_or_else(|| Error::not_found("identity provider"))?;
    store::sso::delete(change.tx(), actor.org()).await?;
    let ended = end_sessions(ctx, &mut change, actor.org()).await?;
    let event = Event::new("sso.login_deleted")
        .target("identity_provider", row.id, &row.issuer)
        .with("sessions_ended", ended);
    change.commit(event).await
}

/// Members may only have to log in where that has been seen to work.
async fn may_require(change: &mut Change, actor: &OrgActor<can::SsoManage>, tested: bool) -> Result<()> {
    let proven = store::sso_domains::list(change.tx(), actor.org()).await?;
    let message = if !proven.iter().any(|domain| domain.verified_at.is_some()) {
        "Prove a domain first, or no member could find the way to the provider. Nothing was changed"
    } else if !tested {
        "Save it as optional and test it first: with a fault in it no member could get in. Nothing was changed"
    } else {
        return Ok(());
    };
    let mut error = AppError::field("mode", "not_tested", message);
    error.kind = ErrorKind::Conflict;
    Err(error.into())
}

/// The role of whoever acts; the operator has none.
async fn role_of(change: &mut Change, actor: &OrgActor<can::SsoManage>) -> Result<Option<MemberRole>> {
    match actor.principal() {
        Principal::User { id, .. } => {
            let role = store::members::find_role(change.tx(), actor.org(), *id).await?;
            Ok(Some(role.ok_or_else(|| Error::not_found("member"))?))
        }
        Principal::Operator | Principal::System => Ok(None),
    }
}

async fn checked_role(
    change: &mut Change,
    org: OrgId,
    by: Option<&MemberRole>,
    text: &str,
    old: Option<&Provider>,
) -> Result<Option<String>> {
    let refuse = |code: &str, message: &str| AppError::field("default_role", code, message);
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let role = match RoleKey::parse(text) {
        Some(key) => store::roles::find_held(change.tx(), org, key).await?,
        None => None,
    };
    let role = role.ok_or_else(|| refuse("role", "Choose a role"))?;
    // What stands there already was chosen by somebody who might.
    if old.is_some_and(|old| old.default_role.as_deref() == Some(text)) {
        return Ok(Some(text.to_owned()));
    }
    if role == Role::Owner || !may_give(by, &role) {
        return Err(refuse(
            "role_above_own",
            "Choose a role that holds no more rights than your own, and not owner",
        )
        .into());
    }
    Ok(Some(text.to_owned()))
}

fn checked_client(text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AppError::field(
            "client_id",
            "required",
            "Enter the client id that the provider gave you",
        )
        .into());
    }
    // RFC 6749, appendix A.1.
    if text.len() > MAX_CLIENT || !text.bytes().all(|b| matches!(b, 0x20..=0x7E)) {
        return Err(
            AppError::field("client_id", "characters", "Use at most 512 letters, digits and signs").into()
        );
    }
    Ok(text.to_owned())
}

fn checked_secret(secret: &SecretString) -> Result<()> {
    let secret = secret.expose_secret();
    if secret.len() > MAX_CLIENT || !secret.bytes().all(|b| matches!(b, 0x20..=0x7E)) {
        let message = "Use at most 512 letters, digits and signs";
        return Err(AppError::field("client_secret", "characters", message).into());
    }
    Ok(())
}
