//! Refresh tokens (OAR-01 to OAR-07). The successor of a token is derived from it, so several requests with the same token
//! get the same successor: honest clients that refresh in parallel stay on one branch, and a thief cannot open a second.

use hmac::{Hmac, KeyInit as _, Mac as _};
use model::{GrantId, Scope};
use sha2::Sha256;
use store::{Tx, oauth_grants::Grant};

use super::{
    Fault, Issued, MINUTE, Outcome, address_may,
    clients::Client,
    code::read_scope,
    consent::may_connect,
    hashed, not_from_here, quiet,
    resource::{self, Named},
    reuse,
};
use crate::{
    Env, Result,
    authz::Principal,
    change::Event,
    request::Origin,
    tokens::{self, Minting, TokenGrant},
};

/// How long the predecessor of the newest token may be presented again, milliseconds. Short, because a thief who refreshes
/// in step with the owner is not seen meanwhile.
const GRACE: i64 = 2 * MINUTE;
/// How often it may be.
const MOST_REPEATS: i64 = 100;
const PREFIX: &str = "gth_rt_";

/// What a client presents.
#[derive(Clone)]
pub struct Refresh<'a> {
    /// The refresh token.
    pub token: &'a str,
    /// `scope`: less than what was granted, for this access token.
    pub scope: Option<&'a str>,
    /// `resource`, if it is said again.
    pub resource: Option<&'a str>,
}

impl core::fmt::Debug for Refresh<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Refresh")
    }
}

/// The first refresh token of a grant.
pub(crate) fn first(env: &Env) -> String {
    format!("{PREFIX}{}", env.token())
}

/// Whether this may be a refresh token of ours.
pub(crate) fn looks_like_one(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// The token that follows `token` in a grant, as generation `generation`.
fn successor(key: &[u8; 32], token: &str, grant: GrantId, generation: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length is good");
    for part in [token.as_bytes(), grant.to_string().as_bytes(), &generation.to_be_bytes()] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    format!("{PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

/// What is to be done with a refresh token, once everything else about the request is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is the newest one.
    Rotate,
    /// It is the one before, and its successor is given out again.
    Repeat,
    /// It was replaced, and whoever presents it may be a thief.
    Reused,
}

fn judge(grant: &Grant, now: i64) -> Verdict {
    if grant.presented == grant.generation {
        return Verdict::Rotate;
    }
    if grant.presented + 1 != grant.generation {
        return Verdict::Reused;
    }
    let in_time = grant.rotated_at.is_some_and(|at| now - at <= GRACE) && grant.repeats < MOST_REPEATS;
    // Nothing of the successor was ever used: its answer did not arrive.
    let lost = grant.used_generation < grant.generation;
    if in_time || lost { Verdict::Repeat } else { Verdict::Reused }
}

fn invalid() -> super::Failure {
    Fault::InvalidGrant.because("The refresh token is unknown, ended, replaced, or not this client's.")
}

/// Renews the tokens of a grant.
pub async fn refresh(env: &Env, origin: &Origin, client: &Client, given: &Refresh<'_>) -> Outcome<Issued> {
    let hash = hashed(given.token);
    // Whatever is no refresh token of this client must not keep others from writing.
    let found = store::oauth_grants::find_by_token(&mut env.db.read().await?, &hash).await?;
    let grant = found.ok_or_else(invalid)?;
    if grant.client != client.id {
        let event = Event::new("oauth.refresh_refused")
            .target("oauth_client", &grant.client, "")
            .with("grant_id", grant.id.to_string())
            .with("presented_by", client.id.as_str());
        let key = ("refresh-client", grant.id.to_string());
        quiet::note_seldom(env, key, grant.org, &Principal::System, origin, event).await?;
        return Err(invalid());
    }
    // Before anything is used up.
    if !address_may(env, &mut env.db.read().await?, grant.org, origin).await? {
        return Err(not_from_here());
    }
    let mut tx = env.db.write().await?;
    store::oauth_grants::lock(&mut tx, grant.id).await?;
    // Again, now that nobody else changes it.
    let grant = store::oauth_grants::find_by_token(&mut tx, &hash).await?.ok_or_else(invalid)?;
    let now = env.now();
    let (key, subject) = living(&mut tx, &grant, now).await?.ok_or_else(invalid)?;
    let scope = narrowed(&grant, given)?;
    if given.resource.is_some_and(|asked| !resource::is_same(&grant.resource, asked)) {
        return Err(Fault::InvalidTarget.because("resource is not the granted one."));
    }
    // A token for a domain that is given up would be refused wherever it is shown.
    if let Some(named) = Named::parse(&env.settings, &grant.resource).filter(|named| named.host.is_some())
        && named.find(&mut tx).await?.is_none_or(|org| org.id != grant.org)
    {
        return Err(
            Fault::InvalidTarget.because("The granted domain is not in use any more. Authorize again.")
        );
    }
    let (token, generation) = match judge(&grant, now) {
        Verdict::Rotate => rotate(env, &mut tx, client, &grant, given.token).await?,
        Verdict::Repeat => (repeat(env, &mut tx, &grant, given.token).await?, grant.generation),
        Verdict::Reused => {
            // The organisation's row is locked before its grants everywhere else.
            drop(tx);
            reuse::found(env, origin, client, &hash).await?;
            return Err(invalid());
        }
    };
    tx.commit().await?;
    let minted = tokens::mint(
        env,
        &Minting {
            subject,
            client: client.id.clone(),
            org: grant.org,
            audience: grant.resource.clone(),
            scope: scope.clone(),
            grant: Some(TokenGrant { grant: grant.id, key, generation }),
        },
    )
    .await?;
    Ok(Issued {
        access_token: minted.token,
        expires_in: tokens::LIFETIME / 1000,
        refresh_token: Some(token),
        scope,
    })
}

/// The connection's key and the person, if grant, connection and membership still stand (OAR-04).
pub(super) async fn living(
    tx: &mut Tx,
    grant: &Grant,
    now: i64,
) -> Result<Option<(model::ConnectionKeyId, String)>> {
    if grant.revoked_at.is_some() || grant.expires_at <= now {
        return Ok(None);
    }
    let connection = store::connections::find(tx, grant.org, grant.connection).await?;
    let Some(connection) = connection.filter(|connection| connection.revoked_at.is_none()) else {
        return Ok(None);
    };
    let Some(user) = connection.user else { return Ok(None) };
    if store::orgs::suspended_at(tx, grant.org).await?.is_some() {
        return Ok(None);
    }
    let role = store::members::find_role(tx, grant.org, user).await?;
    Ok(role.as_ref().is_some_and(may_connect).then(|| (connection.key, user.to_string())))
}

/// What this access token may do: what was granted, or the part of it that is asked for (OAT-06).
fn narrowed(grant: &Grant, given: &Refresh<'_>) -> Outcome<Scope> {
    let granted = read_scope(&grant.scope)?;
    let wider = || Fault::InvalidScope.because("scope is not part of what was granted.");
    let asked: Scope = match given.scope {
        None => return Ok(granted),
        Some(text) => text.parse().map_err(|_| wider())?,
    };
    if asked.is_empty() {
        return Ok(granted);
    }
    if !granted.covers(&asked) {
        return Err(wider());
    }
    Ok(Scope { offline: granted.offline && asked.offline, ..asked })
}

async fn rotate(
    env: &Env,
    tx: &mut Tx,
    client: &Client,
    grant: &Grant,
    token: &str,
) -> Outcome<(String, i64)> {
    let now = env.now();
    let next = grant.generation + 1;
    // The row is locked, so this can only fail when the lock does not work: then there must be no second branch.
    if !store::oauth_grants::rotate(tx, grant.org, grant.id, grant.generation, now).await? {
        return Err(invalid());
    }
    let made = successor(&env.sealer.derive("refresh"), token, grant.id, next);
    store::oauth_grants::insert_token(tx, grant.org, grant.id, next, &hashed(&made), now).await?;
    store::oauth_grants::set_used(tx, grant.org, grant.id, grant.generation).await?;
    store::connections::set_last_token(tx, grant.org, grant.connection, now).await?;
    store::oauth_clients::set_used(tx, &client.id, now).await?;
    Ok((made, next))
}

/// The successor that was given out before. It may have been derived under a master key that was replaced since.
async fn repeat(env: &Env, tx: &mut Tx, grant: &Grant, token: &str) -> Outcome<String> {
    for key in env.sealer.derive_all("refresh") {
        let made = successor(&key, token, grant.id, grant.generation);
        let found = store::oauth_grants::find_by_token(tx, &hashed(&made)).await?;
        if found.is_some_and(|found| found.id == grant.id && found.presented == grant.generation) {
            store::oauth_grants::repeat(tx, grant.org, grant.id).await?;
            return Ok(made);
        }
    }
    Err(invalid())
}

#[cfg(test)]
mod tests {
    use model::{ConnectionId, OrgId};
    use uuid::Uuid;

    use super::*;

    fn grant(presented: i64, generation: i64) -> Grant {
        let uuid = Uuid::from_u128(1);
        Grant {
            id: GrantId::from_uuid(uuid),
            org: OrgId::from_uuid(uuid),
            connection: ConnectionId::from_uuid(uuid),
            client: String::new(),
            scope: String::new(),
            resource: String::new(),
            generation,
            rotated_at: Some(1_000_000),
            repeats: 0,
            used_generation: generation,
            created_at: 0,
            expires_at: 0,
            revoked_at: None,
            presented,
        }
    }

    #[test]
    fn oar_07_only_the_immediate_predecessor_has_grace() {
        let at = 1_000_000;
        assert_eq!(judge(&grant(3, 3), at), Verdict::Rotate);
        assert_eq!(judge(&grant(2, 3), at + GRACE), Verdict::Repeat);
        assert_eq!(judge(&grant(2, 3), at + GRACE + 1), Verdict::Reused);
        assert_eq!(judge(&grant(1, 3), at), Verdict::Reused);
        let lost = Grant { used_generation: 2, ..grant(2, 3) };
        assert_eq!(judge(&lost, at + 1000 * GRACE), Verdict::Repeat);
        let often = |repeats| Grant { repeats, ..grant(2, 3) };
        assert_eq!(judge(&often(MOST_REPEATS - 1), at), Verdict::Repeat);
        assert_eq!(judge(&often(MOST_REPEATS), at), Verdict::Reused);
        assert_eq!(judge(&Grant { used_generation: 0, ..grant(1, 3) }, at), Verdict::Reused);
    }

    #[test]
    fn oar_07_a_successor_depends_on_everything() {
        let id = |n| GrantId::from_uuid(Uuid::from_u128(n));
        let one = successor(&[1; 32], "gth_rt_a", id(1), 2);
        assert_eq!(one, successor(&[1; 32], "gth_rt_a", id(1), 2));
        assert_eq!(one.len(), PREFIX.len() + 43);
        for other in [
            successor(&[2; 32], "gth_rt_a", id(1), 2),
            successor(&[1; 32], "gth_rt_b", id(1), 2),
            successor(&[1; 32], "gth_rt_a", id(2), 2),
            successor(&[1; 32], "gth_rt_a", id(1), 3),
        ] {
            assert_ne!(one, other);
        }
    }
}
