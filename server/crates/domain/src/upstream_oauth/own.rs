//! What a member authorises for themselves.

use model::{
    AppError, ConnectorId, ErrorKind,
    credentials::{CredentialKind, OwnAuthorization},
    permissions::can,
};

use super::config::{connector, server, shown_authorization};
use crate::{Env, OrgActor, Result, authz::Principal, change::Event};

fn person<P>(actor: &OrgActor<P>) -> Result<model::UserId>
where
    P: model::permissions::Grant,
{
    match actor.principal() {
        Principal::User { id, .. } => Ok(*id),
        Principal::Operator | Principal::System => Err(AppError::new(
            ErrorKind::Forbidden,
            "no_person",
            "Only a member can authorise something for themselves. Nothing was changed.",
        )
        .into()),
    }
}

/// The connectors of the organisation in view that each member authorises, by name, with what this person has given.
pub async fn list(env: &Env, actor: &OrgActor<can::ConnectorsRead>) -> Result<Vec<OwnAuthorization>> {
    let (org, user) = (actor.org(), person(actor)?);
    let mut tx = env.db.read().await?;
    let clients = store::upstream_credentials::list_clients(&mut tx, org).await?;
    let given = store::upstream_credentials::list_of_user(&mut tx, org, user).await?;
    let mut own = Vec::new();
    for row in store::connectors::list(&mut tx, org).await?.into_iter().filter(|row| row.enabled) {
        let personal = |client: &&store::upstream_credentials::Client| {
            client.connector == row.id && client.kind == CredentialKind::PerUser
        };
        let Some(client) = clients.iter().find(personal) else { continue };
        own.push(OwnAuthorization {
            connector: row.id,
            name: row.name,
            slug: row.slug,
            host: server(client)?.host(),
            authorization: given
                .iter()
                .find(|given| given.connector == client.connector)
                .map(shown_authorization),
        });
    }
    Ok(own)
}

/// Erases what this person gave for a connector.
pub async fn remove(env: &Env, actor: &OrgActor<can::PlaygroundUse>, id: ConnectorId) -> Result<()> {
    let (org, user) = (actor.org(), person(actor)?);
    let mut change = env.change(actor).await?;
    let row = connector(change.tx(), org, id).await?;
    let given = store::upstream_credentials::list_of_user(change.tx(), org, user).await?;
    let Some(own) = given.iter().find(|given| given.connector == id) else { return Ok(()) };
    store::upstream_credentials::delete(change.tx(), org, own.id).await?;
    env.upstream.forget(own.id);
    let event =
        Event::new("mcp.authorization_removed").target("connector", id, &row.name).with("personal", true);
    change.commit(event).await
}
