//! The connection doctor: what was seen of clients on their way to a connection ([`Journal`]), told as attempts with the
//! step that failed and what to do about it ([`attempts`]), and the way of a client played by ourselves
//! ([`self_test`]).

mod advice;
mod attempts;
mod journal;
mod own_domain;
mod self_test;

use model::{
    OrgId,
    doctor::{Attempt, DoctorPage, Outcome, Revoked},
    paths,
    permissions::can,
};
use store::connections::Connection;

pub use attempts::group;
pub use journal::{Journal, Step};
pub use self_test::self_test;

use crate::{
    Env, Error, OrgActor, Result,
    oauth::{hashed, resource::Named},
};

/// How long steps are kept, milliseconds: seven days.
pub const KEPT: i64 = 7 * 24 * 60 * 60 * 1000;
/// The detail of a token step that was no exchange of a code.
pub const RENEWING: &str = "It asked with a refresh token.";
/// The most steps that are read for the page.
const MOST_STEPS: i64 = 2000;
/// The most attempts on the page.
const MOST_ATTEMPTS: usize = 50;

/// Whose organisation's endpoint a `resource` names, if there is one.
pub async fn org_of_resource(env: &Env, resource: &str) -> Result<Option<OrgId>> {
    let Some(named) = Named::parse(&env.settings, resource) else { return Ok(None) };
    let mut tx = env.db.read().await?;
    Ok(named.find(&mut tx).await?.map(|org| org.id))
}

/// To whom a code was given, and by which client: also when it is not good any more.
pub async fn holder_of_code(env: &Env, code: &str) -> Result<Option<(OrgId, String)>> {
    let mut tx = env.db.read().await?;
    Ok(store::oauth_codes::find(&mut tx, &hashed(code)).await?.map(|code| (code.org, code.client)))
}

/// The same for a refresh token.
pub async fn holder_of_refresh_token(env: &Env, token: &str) -> Result<Option<(OrgId, String)>> {
    let mut tx = env.db.read().await?;
    Ok(store::oauth_grants::find_by_token(&mut tx, &hashed(token))
        .await?
        .map(|grant| (grant.org, grant.client)))
}

/// Everything the page shows.
pub async fn page(env: &Env, actor: &OrgActor<can::OauthClientsRead>) -> Result<DoctorPage> {
    let now = env.now();
    // What is only just noted belongs on the page too; without it there is still a page.
    if let Err(error) = env.journal.flush(env).await {
        tracing::warn!(%error, "the latest steps of clients are not written yet");
    }
    let (org, connections, mut events) = {
        let mut tx = env.db.read().await?;
        let org = store::orgs::find(&mut tx, actor.org()).await?;
        let mut events = store::connect_events::list(&mut tx, actor.org(), now - KEPT, MOST_STEPS).await?;
        // Registrations name no organisation: only those of clients that were seen here are ours to know.
        events.extend(
            store::connect_events::list_registrations(&mut tx, actor.org(), now - KEPT, MOST_STEPS).await?,
        );
        (org, store::connections::list(&mut tx, actor.org()).await?, events)
    };
    let org = org.ok_or_else(|| Error::not_found("organisation"))?;
    events.sort_by_key(|event| (event.at, event.id.uuid()));
    let mut attempts = group(&events, now);
    let more = attempts.len() > MOST_ATTEMPTS;
    attempts.truncate(MOST_ATTEMPTS);
    for attempt in &mut attempts {
        if let Some(revoked) = revoked(attempt, &connections) {
            attempt.outcome = Outcome::Revoked;
            attempt.diagnosis.clear();
            attempt.revoked = Some(revoked);
        }
    }
    Ok(DoctorPage { attempts, more, endpoint: env.settings.absolute(&paths::mcp(org.slug.as_str())), now })
}

/// The end of the connection that an attempt came to, if it ended. Several people may have connected one client: then it is
/// the connection that was made during the attempt that counts, and without one as long as any is live, none ended.
fn revoked(attempt: &Attempt, connections: &[Connection]) -> Option<Revoked> {
    let client = attempt.client_id.as_deref().filter(|_| attempt.outcome == Outcome::Connected)?;
    let (from, to) = (attempt.first_at(), attempt.last_at());
    let known = |made: &Connection| made.client == client && made.created_at <= to;
    let mut of_it: Vec<_> =
        connections.iter().filter(|made| known(made) && made.created_at >= from).collect();
    if of_it.is_empty() {
        // A further consent renews a connection that is older.
        of_it = connections.iter().filter(|made| known(made)).collect();
    }
    if of_it.iter().any(|made| made.revoked_at.is_none_or(|at| at < from)) {
        of_it.retain(|made| made.revoked_at.is_none_or(|at| at >= from));
    }
    if of_it.iter().any(|made| made.revoked_at.is_none()) {
        return None;
    }
    let last = of_it.iter().max_by_key(|made| made.revoked_at)?;
    Some(Revoked { at: last.revoked_at?, by: last.revoked_by.clone().unwrap_or_default() })
}
