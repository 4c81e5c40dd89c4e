//! The authorization code: how it becomes a connection, a grant and the first tokens (OAT-02, OAT-03, OAT-06).

use model::{ConnectionId, ConnectionKeyId, GrantId, Scope, UserId, oauth::OauthSettings};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::{Tx, connections::Connection, oauth_codes::Code, oauth_grants::Grant, users::User};
use subtle::ConstantTimeEq as _;

use super::{
    Fault, Issued, Outcome, address_may,
    clients::Client,
    consent::may_connect,
    hashed,
    narrow::{Narrowed, narrow},
    not_from_here, org_of,
    redirect::Destination,
    resource,
};
use crate::{
    Env, Result,
    authz::Principal,
    change::{Change, Event},
    connections,
    request::Origin,
    tokens::{self, Minting, TokenGrant},
};

/// What a client presents.
#[derive(Clone)]
pub struct Redeem<'a> {
    /// The code.
    pub code: &'a str,
    /// `redirect_uri`, as in the request.
    pub redirect_uri: Option<&'a str>,
    /// What the challenge was made of.
    pub verifier: Option<&'a str>,
    /// `resource`, if it is said again.
    pub resource: Option<&'a str>,
}

impl core::fmt::Debug for Redeem<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Redeem")
    }
}

/// Takes a code. However it ends, the code is used up; a second use ends what the first one brought.
pub async fn redeem(env: &Env, origin: &Origin, client: &Client, given: &Redeem<'_>) -> Outcome<Issued> {
    let hash = hashed(given.code);
    let unknown = || Fault::InvalidGrant.because("The code is unknown, ended, used, or not this client's.");
    let mut tx = env.db.write().await?;
    // One statement decides between several at once; what is read afterwards is what the first one left.
    let first = store::oauth_codes::mark_used(&mut tx, &hash, env.now()).await?;
    let code = store::oauth_codes::find(&mut tx, &hash).await?.ok_or_else(unknown)?;
    if !first {
        end_grant(env, tx, origin, client, &code).await?;
        return Err(unknown());
    }
    if !address_may(env, &mut tx, code.org, origin).await? {
        tx.commit().await?;
        return Err(not_from_here());
    }
    if let Err(fault) = check(env, &mut tx, client, &code, given).await {
        // A failed attempt uses the code up as well.
        tx.commit().await?;
        return Err(fault);
    }
    let Some(user) = allowed(&mut tx, &code).await? else {
        tx.commit().await?;
        return Err(Fault::InvalidGrant.because("The person may no longer give this access."));
    };
    let (grant, key, refresh_token) = connect(env, tx, origin, client, &hash, &code, user).await?;
    let scope = read_scope(&grant.scope)?;
    let minted = tokens::mint(
        env,
        &Minting {
            subject: code.user.to_string(),
            client: client.id.clone(),
            org: code.org,
            audience: code.resource.clone(),
            scope: scope.clone(),
            grant: Some(TokenGrant { grant: grant.id, key, generation: 1 }),
        },
    )
    .await?;
    Ok(Issued {
        access_token: minted.token,
        expires_in: tokens::LIFETIME / 1000,
        refresh_token: Some(refresh_token),
        scope,
    })
}

/// A scope that this version wrote.
pub(crate) fn read_scope(text: &str) -> Result<Scope> {
    text.parse().map_err(|_| crate::Error::Internal(format!("a granted scope does not read: {text}")))
}

/// What has to agree between request and redemption. Everything is looked at, whatever is wrong first.
async fn check(env: &Env, tx: &mut Tx, client: &Client, code: &Code, given: &Redeem<'_>) -> Outcome<()> {
    let invalid = |words: &str| Err(Fault::InvalidGrant.because(words));
    if code.client != client.id || code.expires_at <= env.now() {
        return invalid("The code is unknown, ended, used, or not this client's.");
    }
    if given.redirect_uri != Some(&code.redirect_uri) {
        return invalid("redirect_uri is not that of the authorization request.");
    }
    if !given.verifier.is_some_and(|verifier| fits(verifier, &code.code_challenge)) {
        return invalid("code_verifier does not fit the challenge.");
    }
    if given.resource.is_some_and(|asked| !resource::is_same(&code.resource, asked)) {
        return Err(Fault::InvalidTarget.because("resource is not that of the authorization request."));
    }
    // Whoever ended the session meanwhile did not mean to let this go on.
    let sessions = store::sessions::list_of_user(tx, code.user).await?;
    if !sessions.iter().any(|session| session.id == code.session) {
        return invalid("The session in which this was allowed has ended.");
    }
    Ok(())
}

/// Whether a verifier is one (RFC 7636 §4.1) and the S256 challenge was made of it.
fn fits(verifier: &str, challenge: &str) -> bool {
    let well_formed = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let made = data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(verifier.as_bytes()));
    well_formed && bool::from(made.as_bytes().ct_eq(challenge.as_bytes()))
}

/// The person, if they may still give what the code stands for.
async fn allowed(tx: &mut Tx, code: &Code) -> Result<Option<User>> {
    if store::orgs::suspended_at(tx, code.org).await?.is_some() {
        return Ok(None);
    }
    let role = store::members::find_role(tx, code.org, code.user).await?;
    if role.as_ref().is_some_and(may_connect) {
        Ok(store::users::find(tx, code.user).await?)
    } else {
        Ok(None)
    }
}

/// Makes the connection, or renews the one that is there, and adds a grant to it.
async fn connect(
    env: &Env,
    mut tx: Tx,
    origin: &Origin,
    client: &Client,
    hash: &[u8],
    code: &Code,
    user: User,
) -> Outcome<(Grant, ConnectionKeyId, String)> {
    store::orgs::lock(&mut tx, code.org).await?;
    let now = env.now();
    let org = org_of(&mut tx, code.org).await?;
    let OauthSettings { lifetime, .. } = store::orgs::oauth_settings(&mut tx, code.org).await?;
    let expires_at = now + lifetime.millis();
    let known = match store::connections::find_active(&mut tx, code.org, code.user, &client.id).await? {
        Some(id) => store::connections::find(&mut tx, code.org, id).await?,
        None => None,
    };
    let host = Destination::of(&code.redirect_uri).host;
    let mut renewed = None;
    let connection = if let Some(known) = known {
        let connection = Connection {
            scope: code.scope.clone(),
            client_name: client.name.clone(),
            redirect_host: host,
            expires_at,
            ..known
        };
        store::connections::regrant(&mut tx, code.org, &connection).await?;
        renewed = Some(narrow(&mut tx, code.org, connection.id, &code.scope, now).await?);
        connection
    } else {
        let connection = new_connection(env, client, code, &user, host, expires_at);
        store::connections::insert(&mut tx, code.org, &connection).await?;
        connection
    };
    let grant = Grant {
        id: GrantId::from_uuid(env.uuid()),
        org: code.org,
        connection: connection.id,
        client: client.id.clone(),
        scope: code.scope.clone(),
        resource: code.resource.clone(),
        generation: 1,
        rotated_at: None,
        repeats: 0,
        used_generation: 0,
        created_at: now,
        expires_at,
        revoked_at: None,
        presented: 1,
    };
    let refresh_token = super::refresh::first(env);
    store::oauth_grants::insert(&mut tx, &grant).await?;
    store::oauth_grants::insert_token(&mut tx, code.org, grant.id, 1, &hashed(&refresh_token), now).await?;
    store::oauth_codes::set_grant(&mut tx, hash, grant.id).await?;
    // The first token counts as well: whoever holds one has had one.
    store::connections::set_last_token(&mut tx, code.org, connection.id, now).await?;
    store::oauth_clients::set_used(&mut tx, &client.id, now).await?;
    let event = event(renewed, &connection, client, &grant, code.user, &org.name);
    let principal = Principal::User { id: user.id, name: user.name };
    Change::within(env, tx, code.org, principal, origin.clone()).commit(event).await?;
    Ok((grant, connection.key, refresh_token))
}

fn new_connection(
    env: &Env,
    client: &Client,
    code: &Code,
    user: &User,
    redirect_host: String,
    expires_at: i64,
) -> Connection {
    let now = env.now();
    // Nobody is shown this key; whoever wants to use it has one made anew.
    let key = connections::new_key(env);
    Connection {
        id: ConnectionId::from_uuid(env.uuid()),
        user: Some(code.user),
        user_email: user.email.clone(),
        client: client.id.clone(),
        client_name: client.name.clone(),
        client_kind: client.kind,
        redirect_host,
        scope: code.scope.clone(),
        key: key.id,
        key_hash: key.hash,
        key_prefix: key.prefix,
        key_made_at: now,
        created_at: now,
        created_address: code.address.clone(),
        created_agent: code.user_agent.clone(),
        expires_at,
        last_token_at: None,
        last_used_at: None,
        last_used_address: None,
        last_used_agent: None,
        revoked_at: None,
        revoked_by: None,
        revoked_reason: None,
    }
}

fn event(
    renewed: Option<Narrowed>,
    connection: &Connection,
    client: &Client,
    grant: &Grant,
    user: UserId,
    org_name: &str,
) -> Event {
    let event = Event::new(if renewed.is_some() { "connection.renewed" } else { "connection.created" })
        .target("connection", connection.id, &client.name)
        .with("client_id", client.id.as_str())
        .with("redirect_host", connection.redirect_host.as_str())
        .with("scope", grant.scope.as_str())
        .with("grant_id", grant.id.to_string());
    if let Some(Narrowed { narrowed, ended }) = renewed {
        return event.with("grants_narrowed", narrowed).with("grants_ended", ended);
    }
    let data = json!({
        "connection_id": connection.id,
        "client_id": client.id,
        "client_name": client.name,
        "user_id": user,
        "scope": grant.scope,
        "organisation": org_name,
        "expires_at": grant.expires_at,
    });
    event.publish("connection.created", data)
}

/// A code came twice: whoever has what it brought may be a thief (OAT-02).
async fn end_grant(env: &Env, mut tx: Tx, origin: &Origin, client: &Client, code: &Code) -> Result<()> {
    let Some(grant) = code.grant else { return Ok(()) };
    store::orgs::lock(&mut tx, code.org).await?;
    if !store::oauth_grants::revoke(&mut tx, code.org, grant, env.now(), "Its code was used twice").await? {
        return Ok(());
    }
    let event = Event::new("oauth.code_reuse_detected")
        .target("oauth_client", &code.client, "")
        .with("grant_id", grant.to_string())
        .with("presented_by", client.id.as_str());
    Change::within(env, tx, code.org, Principal::System, origin.clone()).commit(event).await
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn oat_03_a_verifier_fits_its_challenge_only() {
        // RFC 7636, appendix B.
        let (verifier, challenge) =
            ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(fits(verifier, challenge));
        assert!(!fits(&verifier[..42], challenge) && !fits(&format!("{verifier}="), challenge));
        assert!(!fits(challenge, challenge) && !fits("", challenge) && !fits(verifier, ""));
        assert!(!fits(&"a".repeat(129), challenge));
    }
}
