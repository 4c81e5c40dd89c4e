//! The end of tokens before their time, and what may be asked about them (OAK-01, OAK-02).

use model::{GrantId, OrgId};
use serde_json::{Value, json};
use store::Tx;

use super::{
    Fault, Outcome, address_may,
    clients::{AuthMethod, Client},
    hashed, not_from_here, refresh,
};
use crate::{
    Env, Error, Result,
    authz::Principal,
    change::{Change, Event},
    connections,
    request::Origin,
    tokens::{self, AccessToken, Refused},
};

const BY_CLIENT: &str = "Its client signed out";

/// Revokes a token of this client (RFC 7009). Whatever the token is, the answer is the same, so that nothing is learned of
/// tokens of others.
pub async fn revoke(env: &Env, origin: &Origin, client: &Client, token: &str) -> Outcome<()> {
    if refresh::looks_like_one(token) {
        return Ok(revoke_grant(env, origin, client, token).await?);
    }
    let Some(access) = read(env, token).await? else { return Ok(()) };
    if access.client != client.id {
        return Ok(());
    }
    let mut tx = env.db.write().await?;
    store::orgs::lock(&mut tx, access.org).await?;
    if store::orgs::find(&mut tx, access.org).await?.is_none() {
        return Ok(());
    }
    store::signing_keys::revoke_token(&mut tx, access.org, &access.jti, access.expires_at).await?;
    let event = Event::new("oauth.token_revoked")
        .target("oauth_client", &client.id, &client.name)
        .with("jti", access.jti.as_str());
    Ok(Change::within(env, tx, access.org, Principal::System, origin.clone()).commit(event).await?)
}

/// Ends the grant of a refresh token, and the connection with it when it was the last one: the client signed out.
async fn revoke_grant(env: &Env, origin: &Origin, client: &Client, token: &str) -> Result<()> {
    let hash = hashed(token);
    let org = {
        let mut tx = env.db.read().await?;
        let grant = store::oauth_grants::find_by_token(&mut tx, &hash).await?;
        let Some(grant) = grant.filter(|grant| grant.client == client.id) else { return Ok(()) };
        grant.org
    };
    let mut tx = env.db.write().await?;
    store::orgs::lock(&mut tx, org).await?;
    let Some(grant) = store::oauth_grants::find_by_token(&mut tx, &hash).await? else { return Ok(()) };
    let now = env.now();
    if !store::oauth_grants::revoke(&mut tx, org, grant.id, now, BY_CLIENT).await? {
        return Ok(());
    }
    let others = store::oauth_grants::list_live(&mut tx, org, now).await?;
    let was_last = !others.iter().any(|other| other.connection == grant.connection);
    let row = store::connections::find(&mut tx, org, grant.connection).await?;
    let row = row.filter(|row| was_last && row.revoked_at.is_none());
    let mut change = Change::within(env, tx, org, Principal::System, origin.clone());
    let name = connections::named(&client.name);
    let event = match row {
        Some(row) => connections::cut(env, &mut change, org, &row, name, BY_CLIENT).await?,
        None => Event::new("oauth.grant_revoked")
            .target("connection", grant.connection, name)
            .with("grant_id", grant.id.to_string())
            .with("reason", BY_CLIENT),
    };
    change.commit(event).await
}

/// Revokes every connection of a client that belongs to nobody, in every organisation.
pub(crate) async fn connections_of(env: &Env, origin: &Origin, client: &Client, reason: &str) -> Result<()> {
    let orgs = {
        let mut tx = env.db.read().await?;
        store::connections::list_orgs_of_client(&mut tx, &client.id).await?
    };
    for org in orgs {
        let mut tx = env.db.write().await?;
        store::orgs::lock(&mut tx, org).await?;
        let mut rows = store::connections::list(&mut tx, org).await?;
        rows.retain(|row| row.client == client.id && row.revoked_at.is_none());
        let mut change = Change::within(env, tx, org, Principal::System, origin.clone());
        let Some(last) = rows.pop() else { continue };
        let name = connections::named(&client.name);
        for row in rows {
            let event = connections::cut(env, &mut change, org, &row, name, reason).await?;
            change.record(&event).await?;
        }
        let event = connections::cut(env, &mut change, org, &last, name, reason).await?;
        change.commit(event).await?;
    }
    Ok(())
}

/// An access token of ours, whatever has become of what it names.
async fn read(env: &Env, token: &str) -> Result<Option<std::sync::Arc<AccessToken>>> {
    match tokens::read(env, token).await {
        Ok(access) => Ok(Some(access)),
        Err(Refused::Invalid(_)) => Ok(None),
        Err(Refused::Unavailable) => Err(Error::Internal("the signing keys cannot be read".to_owned())),
    }
}

/// What a token of this client is (RFC 7662); for every other one the same short answer.
///
/// # Errors
/// `invalid_client` for a public client: anybody could say that they are it.
pub async fn introspect(env: &Env, origin: &Origin, client: &Client, token: &str) -> Outcome<Value> {
    if client.auth_method == AuthMethod::None {
        return Err(Fault::InvalidClient.because("Public clients cannot ask about tokens."));
    }
    if let Some(org) = client.org
        && !address_may(env, &mut env.db.read().await?, org, origin).await?
    {
        return Err(not_from_here());
    }
    let inactive = json!({"active": false});
    if refresh::looks_like_one(token) {
        return Ok(about_refresh(env, client, token).await?.unwrap_or(inactive));
    }
    let access = read(env, token).await?.filter(|access| access.client == client.id);
    let Some(access) = access else { return Ok(inactive) };
    let now = env.now();
    let mut tx = env.db.read().await?;
    let revoked = store::signing_keys::list_revoked(&mut tx, access.org, now).await?;
    let stands = match &access.grant {
        Some(named) => key_of(&mut tx, access.org, named.grant, now).await? == Some(named.key),
        None => true,
    };
    let there = store::orgs::find(&mut tx, access.org).await?.is_some();
    if !stands || !there || revoked.contains(&access.jti) || access.expires_at <= now {
        return Ok(inactive);
    }
    Ok(json!({
        "active": true,
        "token_type": "Bearer",
        "iss": env.settings.absolute(""),
        "sub": access.subject,
        "aud": access.audience,
        "client_id": access.client,
        "scope": access.scope,
        "iat": access.issued_at / 1000,
        "exp": access.expires_at / 1000,
        "jti": access.jti,
    }))
}

async fn about_refresh(env: &Env, client: &Client, token: &str) -> Result<Option<Value>> {
    let now = env.now();
    let mut tx = env.db.read().await?;
    let grant = store::oauth_grants::find_by_token(&mut tx, &hashed(token)).await?;
    let Some(grant) = grant.filter(|grant| grant.client == client.id && grant.presented == grant.generation)
    else {
        return Ok(None);
    };
    if key_of(&mut tx, grant.org, grant.id, now).await?.is_none() {
        return Ok(None);
    }
    Ok(Some(json!({
        "active": true,
        "iss": env.settings.absolute(""),
        "aud": grant.resource,
        "client_id": grant.client,
        "scope": grant.scope,
        "iat": grant.created_at / 1000,
        "exp": grant.expires_at / 1000,
    })))
}

/// The key of the connection that a grant belongs to, while both live and the person may have connections.
async fn key_of(tx: &mut Tx, org: OrgId, grant: GrantId, now: i64) -> Result<Option<model::ConnectionKeyId>> {
    let Some(grant) = store::oauth_grants::find(tx, org, grant).await? else { return Ok(None) };
    Ok(refresh::living(tx, &grant, now).await?.map(|(key, _)| key))
}
