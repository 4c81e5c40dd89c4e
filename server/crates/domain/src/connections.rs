//! Connections: who gave which client access, cutting that off, and renewing a connection's own key.

pub mod alerts;

use model::{
    AppError, ConnectionId, ConnectionKeyId, ErrorKind, OrgId,
    oauth::{Connection, OwnConnection},
    permissions::can,
};
use serde_json::json;
use store::{Tx, connections::Connection as Row};

use crate::{
    Env, Error, OrgActor, Result,
    authz::{self, Principal},
    change::{Change, Event},
    key_format,
    pin::{self, Guarded},
    request::RequestContext,
};

/// Why a connection is revoked by a person on a page.
const BY_HAND: &str = "Revoked by hand";

pub(crate) fn listed(row: Row) -> Result<Connection> {
    let scope =
        row.scope.parse().map_err(|why| Error::Internal(format!("the scope of {}: {why}", row.id)))?;
    Ok(Connection {
        id: row.id,
        client_id: row.client,
        client_name: named(&row.client_name).to_owned(),
        client_kind: row.client_kind,
        redirect_host: row.redirect_host,
        user_email: row.user_email,
        key_prefix: row.key_prefix,
        scope,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_token_at: row.last_token_at,
        last_used_at: row.last_used_at,
        last_used_address: row.last_used_address,
        revoked_at: row.revoked_at,
        revoked_by: row.revoked_by,
        revoked_reason: row.revoked_reason,
    })
}

/// What a client is called that may have named itself, or not.
pub fn named(client_name: &str) -> &str {
    if client_name.trim().is_empty() { Connection::UNNAMED } else { client_name }
}

/// All connections: live ones first, newest first.
pub async fn list(env: &Env, actor: &OrgActor<can::ApiKeysRead>) -> Result<Vec<Connection>> {
    let mut tx = env.db.read().await?;
    store::connections::list(&mut tx, actor.org()).await?.into_iter().map(listed).collect()
}

/// One connection.
pub async fn get(env: &Env, actor: &OrgActor<can::ApiKeysRead>, id: ConnectionId) -> Result<Connection> {
    let mut tx = env.db.read().await?;
    listed(find(&mut tx, actor.org(), id).await?)
}

async fn find(tx: &mut Tx, org: OrgId, id: ConnectionId) -> Result<Row> {
    store::connections::find(tx, org, id).await?.ok_or_else(|| Error::not_found("connection"))
}

/// The connections of the signed-in person in all organisations: live ones first, newest first. It takes no permission.
pub async fn list_own(ctx: &RequestContext) -> Result<Vec<OwnConnection>> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    let mut own = Vec::new();
    for id in store::connections::list_orgs_of_user(&mut tx, signed_in.user).await? {
        let Some(org) = store::orgs::find(&mut tx, id).await? else { continue };
        let pin = pin::asked(&mut tx, id, signed_in.user).await?;
        for row in store::connections::list_of_user(&mut tx, id, signed_in.user).await? {
            own.push(OwnConnection { org: org.name.clone(), pin, connection: listed(row)? });
        }
    }
    own.sort_by_key(|own| (!own.connection.is_active(), -own.connection.created_at));
    Ok(own)
}

/// Revokes a connection: its key, its refresh tokens and its access tokens stop at once.
pub async fn revoke(env: &Env, actor: &Guarded<can::ApiKeysRevoke>, id: ConnectionId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    let event = cut(env, &mut change, actor.org(), &row, actor.principal().name(), BY_HAND).await?;
    change.commit(event).await
}

/// Revokes a connection of the signed-in person, whichever organisation it leads to. It is that organisation whose PIN is
/// asked for.
pub async fn revoke_own(ctx: &RequestContext, id: ConnectionId, pin: &str) -> Result<()> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let (user, orgs) = {
        let mut tx = env.db.read().await?;
        let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
        let orgs = store::connections::list_orgs_of_user(&mut tx, user.id).await?;
        (user, orgs)
    };
    for org in orgs {
        let own = {
            let mut tx = env.db.read().await?;
            store::connections::find(&mut tx, org, id).await?
        };
        if own.is_none_or(|row| row.user != Some(user.id)) {
            continue;
        }
        let principal = Principal::User { id: user.id, name: user.name.clone() };
        pin::check(env, org, user.id, &principal, &ctx.origin, pin).await?;
        let mut tx = env.db.write().await?;
        store::orgs::lock(&mut tx, org).await?;
        let row = find(&mut tx, org, id).await?;
        let mut change = Change::within(env, tx, org, principal, ctx.origin.clone());
        let event = cut(env, &mut change, org, &row, &user.name, BY_HAND).await?;
        return change.commit(event).await;
    }
    Err(Error::not_found("connection"))
}

/// Revokes a connection and all of its grants within a change, and makes the event of it. Access tokens hang on the
/// grants, so they go with them. A connection that is revoked already is a conflict.
pub(crate) async fn cut(
    env: &Env,
    change: &mut Change,
    org: OrgId,
    row: &Row,
    by: &str,
    reason: &str,
) -> Result<Event> {
    let now = env.now();
    if !store::connections::revoke(change.tx(), org, row.id, now, by, reason).await? {
        return Err(gone());
    }
    store::oauth_grants::revoke_of_connection(change.tx(), org, row.id, now, reason).await?;
    let name = named(&row.client_name);
    Ok(Event::new("connection.revoked")
        .target("connection", row.id, name)
        .with("client_id", row.client.as_str())
        .with("user", row.user_email.as_str())
        .with("key_prefix", row.key_prefix.as_str())
        .with("reason", reason)
        .publish(
            "connection.revoked",
            json!({
                "connection_id": row.id,
                "client_id": row.client,
                "client_name": name,
                "user_email": row.user_email,
                "reason": reason,
            }),
        ))
}

fn gone() -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "already_revoked",
        "This connection is revoked already, so nothing was changed. Its client has to be authorised again.",
    )
    .into()
}

/// A new key for a connection. The whole key goes nowhere: what is kept is its id, its hash and its beginning.
#[derive(Debug)]
pub struct NewKey {
    /// Its public id, which access tokens name.
    pub id: ConnectionKeyId,
    /// SHA-256.
    pub hash: Vec<u8>,
    /// The recognisable beginning.
    pub prefix: String,
}

/// Makes a key for a connection (APK-10).
pub fn new_key(env: &Env) -> NewKey {
    let secret = key_format::generate_as(key_format::CONNECTION_PREFIX, |bytes| env.rng.fill(bytes));
    NewKey {
        id: ConnectionKeyId::from_uuid(env.uuid()),
        hash: key_format::hash(&secret).to_vec(),
        prefix: key_format::shown(key_format::CONNECTION_PREFIX, &secret),
    }
}

/// Gives a live connection a new key. Access tokens name the old one and die with it; refresh tokens live, so that the
/// client gets on with its next refresh and nobody has to sign in again.
///
/// `of` is the prefix of the key that whoever asks has seen: a second form for the same key does nothing more.
pub async fn regenerate(
    env: &Env,
    actor: &Guarded<can::ApiKeysRevoke>,
    id: ConnectionId,
    of: Option<&str>,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let mut row = find(change.tx(), actor.org(), id).await?;
    if row.revoked_at.is_some() {
        return Err(gone());
    }
    if of.is_some_and(|of| row.key_prefix != of) {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "changed_meanwhile",
            "This key was regenerated meanwhile, so nothing more was changed. Go back to the list, and start again if you want yet another one.",
        )
        .into());
    }
    let key = new_key(env);
    let old = core::mem::replace(&mut row.key_prefix, key.prefix);
    row.key = key.id;
    row.key_hash = key.hash;
    row.key_made_at = env.now();
    store::connections::set_key(change.tx(), actor.org(), &row).await?;
    let event = Event::new("connection.key_regenerated")
        .target("connection", row.id, named(&row.client_name))
        .with("user", row.user_email.as_str())
        .changed("key_prefix", old, row.key_prefix.as_str());
    change.commit(event).await
}
