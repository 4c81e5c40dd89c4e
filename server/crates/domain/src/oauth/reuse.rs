//! A refresh token came back after it had been replaced: whoever presents it may be a thief (OAR-07). What the
//! organisation chose is done, it is written down, and both the person and the organisation are told.

use model::oauth::ReusePolicy;
use serde_json::json;
use store::connection_alerts::Alert;

use super::{clients::Client, quiet::Key};
use crate::{
    Env, Result,
    authz::Principal,
    change::{Change, Event},
    connections,
    mail::{self, letters},
    request::Origin,
};

const REASON: &str = "A refresh token was used again after it had been replaced";

/// Ends the grant of the token with this hash, or only refuses the request, as the organisation wants it.
pub(super) async fn found(env: &Env, origin: &Origin, client: &Client, hash: &[u8]) -> Result<()> {
    let mut tx = env.db.write().await?;
    let Some(grant) = store::oauth_grants::find_by_token(&mut tx, hash).await? else { return Ok(()) };
    let org = grant.org;
    store::orgs::lock(&mut tx, org).await?;
    let policy = store::orgs::oauth_settings(&mut tx, org).await?.reuse;
    let now = env.now();
    let name = connections::named(&client.name);
    let mut event = Event::new("oauth.refresh_reuse_detected")
        .target("connection", grant.connection, name)
        .with("client_id", client.id.as_str())
        .with("grant_id", grant.id.to_string())
        .with("generation", grant.presented)
        .with("newest", grant.generation)
        .with("policy", policy.as_str());
    // Refusing leaves the grant alive, so the same may happen any number of times.
    let mut again: Option<Key> = None;
    let ended = match policy {
        ReusePolicy::Revoke => {
            if !store::oauth_grants::revoke(&mut tx, org, grant.id, now, REASON).await? {
                return Ok(());
            }
            true
        }
        ReusePolicy::Reject => {
            let key = ("reuse", grant.id.to_string());
            let due = env.oauth.quiet.is_due(&key, org, &event, (&Principal::System, origin), now);
            let Some(before) = due else { return Ok(()) };
            event = event.with("repeated", before);
            again = Some(key);
            false
        }
    };
    let told = tell(env, tx, origin, &grant, name, ended, event).await;
    if let Some(key) = again.filter(|_| told.is_err()) {
        env.oauth.quiet.forget(&key);
    }
    told
}

/// Leaves a notice on the pages of the person and of the organisation, and news for whoever subscribed.
async fn tell(
    env: &Env,
    mut tx: store::Tx,
    origin: &Origin,
    grant: &store::oauth_grants::Grant,
    client_name: &str,
    ended: bool,
    event: Event,
) -> Result<()> {
    let alert = Alert {
        connection: grant.connection,
        ended,
        address: origin.address_text(),
        user_agent: origin.user_agent.clone().unwrap_or_default(),
        at: env.now(),
    };
    store::connection_alerts::put(&mut tx, grant.org, &alert).await?;
    let connection = store::connections::find(&mut tx, grant.org, grant.connection).await?;
    if let Some(person) = connection.as_ref().filter(|connection| !connection.user_email.is_empty()) {
        let letter = letters::token_reused(&env.settings, &person.user_email, client_name, ended);
        mail::notify(env, &mut tx, letter).await?;
    }
    let data = json!({
        "connection_id": grant.connection,
        "client_id": grant.client,
        "client_name": client_name,
        "user_id": connection.as_ref().and_then(|connection| connection.user),
        "user_email": connection.as_ref().map(|connection| connection.user_email.as_str()),
        "ended": ended,
        "address": alert.address,
    });
    let event = event.publish("connection.reuse_detected", data);
    Change::within(env, tx, grant.org, Principal::System, origin.clone()).commit(event).await
}
