//! Notices about connections whose refresh token came back after it had been replaced: for the person, and for whoever
//! looks after the organisation's connections. Each side puts them away for itself (OAR-07).

use model::{ConnectionId, OrgId, oauth::ConnectionAlert, permissions::can};
use store::{Tx, connection_alerts::Alert};

use super::{find, named};
use crate::{
    Env, Error, OrgActor, Result,
    authz::{self, Principal},
    change::{Change, Event},
    request::RequestContext,
};

/// Those of the organisation that nobody has put away, the newest first.
pub async fn list(env: &Env, actor: &OrgActor<can::ApiKeysRead>) -> Result<Vec<ConnectionAlert>> {
    let mut tx = env.db.read().await?;
    let alerts = store::connection_alerts::list(&mut tx, actor.org()).await?;
    shown(&mut tx, actor.org(), alerts).await
}

/// Those of the signed-in person's connections in all organisations that they have not put away. It takes no permission.
pub async fn list_own(ctx: &RequestContext) -> Result<Vec<ConnectionAlert>> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    let mut own = Vec::new();
    for org in store::connections::list_orgs_of_user(&mut tx, signed_in.user).await? {
        let alerts = store::connection_alerts::list_of_user(&mut tx, org, signed_in.user).await?;
        own.extend(shown(&mut tx, org, alerts).await?);
    }
    own.sort_by_key(|alert| -alert.at);
    Ok(own)
}

async fn shown(tx: &mut Tx, org: OrgId, alerts: Vec<Alert>) -> Result<Vec<ConnectionAlert>> {
    let Some(name) = store::orgs::find(tx, org).await?.map(|org| org.name) else { return Ok(Vec::new()) };
    let mut all = Vec::with_capacity(alerts.len());
    for alert in alerts {
        let connection = find(tx, org, alert.connection).await?;
        all.push(ConnectionAlert {
            connection: alert.connection,
            client_name: named(&connection.client_name).to_owned(),
            user_email: connection.user_email,
            org: name.clone(),
            at: alert.at,
            address: alert.address,
            ended: alert.ended,
            active: connection.revoked_at.is_none(),
        });
    }
    Ok(all)
}

/// Puts one away for the organisation; the person goes on seeing it. One that was put away already is no error: two may
/// press at once.
pub async fn dismiss(env: &Env, actor: &OrgActor<can::ApiKeysRevoke>, id: ConnectionId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id).await?;
    if !store::connection_alerts::seen_by_org(change.tx(), actor.org(), id, env.now()).await? {
        return Ok(());
    }
    change.commit(dismissed(id, &row.client_name, "organisation")).await
}

/// Puts one of the signed-in person's away; the organisation goes on seeing it.
pub async fn dismiss_own(ctx: &RequestContext, id: ConnectionId) -> Result<()> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = env.db.write().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    for org in store::connections::list_orgs_of_user(&mut tx, user.id).await? {
        let own = store::connections::find(&mut tx, org, id).await?;
        let Some(row) = own.filter(|row| row.user == Some(user.id)) else { continue };
        store::orgs::lock(&mut tx, org).await?;
        if !store::connection_alerts::seen_by_user(&mut tx, org, id, env.now()).await? {
            return Ok(());
        }
        let principal = Principal::User { id: user.id, name: user.name };
        let change = Change::within(env, tx, org, principal, ctx.origin.clone());
        return change.commit(dismissed(id, &row.client_name, "person")).await;
    }
    Err(Error::not_found("connection"))
}

fn dismissed(id: ConnectionId, client_name: &str, by: &str) -> Event {
    Event::new("connection.alert_dismissed").target("connection", id, named(client_name)).with("for", by)
}
