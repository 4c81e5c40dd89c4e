//! Whose account somebody is who comes by a provider. The same subject of the same issuer is the same account; a new one is
//! bound by an address that the provider vouches for, and only if the organisation has proven the address' domain.

use model::{AppError, ErrorKind, OrgId, RoleKey, UserId, links::SignUp, text};
use serde_json::json;
use store::{sso::Provider, users::User};

use super::{beyond, domains, id_token::Person, reach};
use crate::{
    Env, Error, Result,
    accounts::MAX_NAME,
    authz::Principal,
    change::{Change, Event},
    request::Origin,
};

fn refused(code: &str, message: String) -> Error {
    AppError::new(ErrorKind::Forbidden, code, message).into()
}

/// The account, which is a member's when this is done. The change is the caller's to commit.
pub(super) async fn person(
    env: &Env,
    origin: &Origin,
    org: OrgId,
    provider: &Provider,
    person: &Person,
) -> Result<(User, Change)> {
    let mut tx = env.db.write().await?;
    store::orgs::lock(&mut tx, org).await?;
    let name = store::orgs::find(&mut tx, org).await?.ok_or_else(|| Error::not_found("organisation"))?.name;
    let known = store::sso::find_identity(&mut tx, org, &provider.issuer, &person.subject).await?;
    let mut change = Change::within(env, tx, org, Principal::System, origin.clone());
    let now = env.now();
    let user = match known {
        Some(user) => {
            store::sso::touch_identity(change.tx(), org, &provider.issuer, &person.subject, now).await?;
            let user =
                store::users::find(change.tx(), user).await?.ok_or_else(|| Error::not_found("user"))?;
            still_proven(&mut change, org, &name, &user.email).await?;
            user
        }
        None => bind(env, &mut change, org, &name, provider, person).await?,
    };
    change.act_as(Principal::User { id: user.id, name: user.name.clone() });
    let member = store::members::find_role(change.tx(), org, user.id).await?.is_some();
    if !member {
        join(env, &mut change, org, &name, provider, &user, known.is_some()).await?;
    }
    // Also whoever became a member just now, as an invitation or the role of newcomers said.
    let role = store::members::find_role(change.tx(), org, user.id).await?;
    if !role.is_some_and(|role| reach::includes(&provider.reach, &role)) {
        return Err(beyond(change.tx(), org).await?);
    }
    Ok((user, change))
}

/// Refuses somebody whose domain was the organisation's, until its record was gone for too long.
async fn still_proven(change: &mut Change, org: OrgId, org_name: &str, email: &str) -> Result<()> {
    let domain = domains::of_address(email);
    let lapsed = store::sso_domains::list(change.tx(), org)
        .await?
        .iter()
        .any(|row| row.lapsed_at.is_some() && Some(&row.domain) == domain.as_ref());
    if !lapsed {
        return Ok(());
    }
    Err(refused(
        "domain_lapsed",
        format!(
            "The record that proves that the domain of {email} belongs to {org_name} is gone, so its identity provider cannot speak for this address any more. Nothing was changed: ask an owner of {org_name}."
        ),
    ))
}

/// Binds a subject that comes for the first time to the account with its address, or to a new one.
async fn bind(
    env: &Env,
    change: &mut Change,
    org: OrgId,
    org_name: &str,
    provider: &Provider,
    person: &Person,
) -> Result<User> {
    let email = vouched(change, org, org_name, person).await?;
    let user = match store::users::find_by_email(change.tx(), &email).await? {
        Some(user) => {
            let member = store::members::find_role(change.tx(), org, user.id).await?.is_some();
            // Somebody may have made it with this address without it being theirs, to wait for whoever it belongs to.
            if !member && user.email_verified_at.is_none() {
                return Err(refused(
                    "address_unproven",
                    format!(
                        "An account here has the address {email}, and nobody has proven that it is theirs, so it was not connected with your identity at {org_name}. Log in with its password and confirm the address in your profile, or ask an owner of {org_name} to invite you."
                    ),
                ));
            }
            let bound = store::sso::find_subject(change.tx(), org, &provider.issuer, user.id).await?;
            if bound.is_some() {
                return Err(refused(
                    "address_bound",
                    format!(
                        "The account with the address {email} belongs to another identity at your provider, as when an address is given to somebody new. Nothing was changed: ask an owner of {org_name}."
                    ),
                ));
            }
            user
        }
        None => made(env, change, &email, person).await?,
    };
    let identity = (provider.issuer.as_str(), person.subject.as_str());
    store::sso::insert_identity(change.tx(), org, identity, user.id, env.now()).await?;
    let event = Event::new("auth.sso_linked")
        .target("user", user.id, &user.email)
        .with("issuer", provider.issuer.as_str())
        .with("subject", person.subject.as_str());
    change.record(&event).await?;
    Ok(user)
}

/// The person's address, if the provider vouches for it and may.
async fn vouched(change: &mut Change, org: OrgId, org_name: &str, person: &Person) -> Result<String> {
    let email = person.email.as_deref().and_then(|email| text::email("email", email).ok());
    let email = email.ok_or_else(|| {
        refused(
            "no_email",
            format!("The identity provider of {org_name} did not say your email address, so nothing was changed. Ask whoever manages it to send the claim email."),
        )
    })?;
    if !person.email_verified {
        return Err(refused(
            "email_unverified",
            format!(
                "The identity provider of {org_name} does not say that {email} is really yours (email_verified), so nothing was changed. Ask whoever manages it."
            ),
        ));
    }
    let owner = match domains::of_address(&email) {
        Some(domain) => store::sso_domains::find_owner(change.tx(), &domain).await?,
        None => None,
    };
    if owner != Some(org) {
        return Err(refused(
            "foreign_domain",
            format!(
                "{org_name} has not proven the domain of {email}, so its identity provider cannot speak for this address. Nothing was changed."
            ),
        ));
    }
    Ok(email)
}

/// A new account, without a password.
async fn made(env: &Env, change: &mut Change, email: &str, person: &Person) -> Result<User> {
    if env.settings.sign_up == SignUp::Closed {
        return Err(refused(
            "sign_up_closed",
            "Accounts on this instance are made by whoever operates it. Ask them for one, then log in again."
                .to_owned(),
        ));
    }
    let said: String = person
        .name
        .as_deref()
        .unwrap_or_default()
        .chars()
        .filter(|c| text::printable(*c))
        .take(MAX_NAME)
        .collect();
    let local = email.split('@').next().unwrap_or_default();
    let name = if said.trim().is_empty() { local } else { said.trim() };
    let id = UserId::from_uuid(env.uuid());
    match store::users::insert(change.tx(), id, email, name, "", env.now()).await {
        Err(store::Error::Taken(_)) => {
            return Err(AppError::new(
                ErrorKind::Conflict,
                "email_taken",
                "This address got an account just now. Log in once more.",
            )
            .into());
        }
        done => done?,
    }
    store::users::set_verified(change.tx(), id, env.now()).await?;
    change.record(&Event::new("auth.user_created").target("user", id, email).with("method", "sso")).await?;
    store::users::find(change.tx(), id).await?.ok_or_else(|| Error::not_found("user"))
}

/// Makes somebody a member: as they were invited, else as the provider's newcomers. Whoever was here before and was
/// removed needs an invitation.
async fn join(
    env: &Env,
    change: &mut Change,
    org: OrgId,
    org_name: &str,
    provider: &Provider,
    user: &User,
    was_here: bool,
) -> Result<()> {
    let now = env.now();
    let invited = match store::invitations::find_open(change.tx(), org, &user.email).await? {
        Some(row) if crate::invitations::counts(change.tx(), &row, now).await? => Some(row),
        _ => None,
    };
    let newcomer = match provider.default_role.as_deref().filter(|_| !was_here).and_then(RoleKey::parse) {
        Some(key) => store::roles::find_held(change.tx(), org, key).await?,
        None => None,
    };
    let role = match (&invited, newcomer) {
        (Some(row), _) => row.role.clone(),
        (None, Some(role)) => role,
        (None, None) => {
            return Err(refused(
                "not_invited",
                format!(
                    "You are not a member of {org_name}. Ask an owner or admin to invite you, then log in again; nothing was changed."
                ),
            ));
        }
    };
    if let Some(row) = &invited {
        store::invitations::close(change.tx(), org, row.id, "accepted", now).await?;
    }
    store::members::insert(change.tx(), org, user.id, &role, now).await?;
    store::users::set_last_org(change.tx(), user.id, org).await?;
    store::sessions::renew_all(change.tx(), user.id).await?;
    let data = json!({"user_id": user.id, "email": user.email, "role": role.as_str()});
    let mut event = Event::new("team.member_added")
        .target("user", user.id, &user.email)
        .with("role", role.as_str())
        .with("method", "sso")
        .publish("team.member_added", data);
    if let Some(row) = invited {
        event = event.with("invitation", row.id.to_string());
    }
    change.record(&event).await
}
