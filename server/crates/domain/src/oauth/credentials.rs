//! Client credentials: a machine of one organisation asks for itself (OAT-05).

use model::{Scope, oauth::ClientKind};

use super::{
    Fault, Issued, Outcome, address_may,
    clients::{AuthMethod, Client},
    not_from_here,
    resource::Named,
};
use crate::{
    Env,
    request::Origin,
    tokens::{self, Minting},
};

/// A token for a machine: no person, no connection, no refresh token.
pub async fn issue(
    env: &Env,
    origin: &Origin,
    client: &Client,
    scope: Option<&str>,
    resource: Option<&str>,
) -> Outcome<Issued> {
    let may = client.kind == ClientKind::Machine && client.auth_method != AuthMethod::None;
    let Some(org) = client.org.filter(|_| may) else {
        return Err(Fault::UnauthorizedClient.because("This client has no client credentials."));
    };
    if !address_may(env, &mut env.db.read().await?, org, origin).await? {
        return Err(not_from_here());
    }
    let limit = Scope { offline: false, ..client.scope.clone() };
    let wider = || Fault::InvalidScope.because("scope is not part of what this client registered.");
    let asked: Scope = scope.unwrap_or_default().parse().map_err(|_| wider())?;
    let asked_names = asked.connectors.clone();
    let mut scope = if asked.is_empty() { limit.clone() } else { Scope { offline: false, ..asked } };
    if !limit.covers(&scope) {
        return Err(wider());
    }
    let slug = {
        let mut tx = env.db.read().await?;
        if store::orgs::suspended_at(&mut tx, org).await?.is_some() {
            return Err(Fault::UnauthorizedClient.because("The client's organisation is suspended."));
        }
        // What is asked for by name has to be there, as when a person is asked. What was registered may be gone since.
        if !asked_names.is_empty() {
            let there = store::connectors::list(&mut tx, org).await?;
            if let Some(missing) = asked_names.iter().find(|slug| !there.iter().any(|row| row.slug == **slug))
            {
                let words = format!("The organisation has no connector {}.", missing.as_str());
                return Err(Fault::InvalidScope.because(words));
            }
        }
        super::org_of(&mut tx, org).await?.slug
    };
    let named = match resource {
        None => Named::main(slug),
        Some(text) => {
            let foreign = || {
                Fault::InvalidTarget.because("The resource is no MCP endpoint of this client's organisation.")
            };
            let named = Named::parse(&env.settings, text).ok_or_else(foreign)?;
            let found = named.find(&mut env.db.read().await?).await?;
            if found.is_none_or(|found| found.id != org) {
                return Err(foreign());
            }
            named
        }
    };
    scope = scope.narrowed(&named.limit());
    if scope.is_empty() {
        return Err(wider());
    }
    // Once a minute: a machine that asks all the time must not wait for those who write.
    let now = env.now();
    if client.last_used_at.is_none_or(|at| at < now - super::MINUTE) {
        let mut tx = env.db.write().await?;
        store::oauth_clients::set_used(&mut tx, &client.id, now).await?;
        tx.commit().await?;
    }
    let minted = tokens::mint(
        env,
        &Minting {
            subject: client.id.clone(),
            client: client.id.clone(),
            org,
            audience: named.url(&env.settings),
            scope: scope.clone(),
            grant: None,
        },
    )
    .await?;
    Ok(Issued { access_token: minted.token, expires_in: tokens::LIFETIME / 1000, refresh_token: None, scope })
}
