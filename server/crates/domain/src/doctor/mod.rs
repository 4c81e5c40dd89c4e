//! The connection doctor: what was seen of clients on their way to a connection ([`Journal`]), told as attempts with the
//! step that failed and what to do about it ([`attempts`]), and the way of a client played by ourselves
//! ([`self_test`]).

mod advice;
mod attempts;
mod journal;
mod self_test;

use model::{doctor::DoctorPage, paths, permissions::can};

pub use attempts::group;
pub use journal::{Journal, Step};
pub use self_test::self_test;

use crate::{Env, Error, OrgActor, Result};

/// How long steps are kept, milliseconds: seven days.
pub const KEPT: i64 = 7 * 24 * 60 * 60 * 1000;
/// The most steps that are read for the page.
const MOST_STEPS: i64 = 2000;
/// The most attempts on the page.
const MOST_ATTEMPTS: usize = 50;

/// Everything the page shows.
pub async fn page(env: &Env, actor: &OrgActor<can::OauthClientsRead>) -> Result<DoctorPage> {
    let now = env.now();
    // What is only just noted belongs on the page too; without it there is still a page.
    if let Err(error) = env.journal.flush(env).await {
        tracing::warn!(%error, "the latest steps of clients are not written yet");
    }
    let (org, mut events) = {
        let mut tx = env.db.read().await?;
        let org = store::orgs::find(&mut tx, actor.org()).await?;
        let mut events = store::connect_events::list(&mut tx, actor.org(), now - KEPT, MOST_STEPS).await?;
        // Registrations name no organisation: only those of clients that were seen here are ours to know.
        events.extend(
            store::connect_events::list_of_nobody(&mut tx, actor.org(), now - KEPT, MOST_STEPS).await?,
        );
        (org, events)
    };
    let org = org.ok_or_else(|| Error::not_found("organisation"))?;
    events.sort_by_key(|event| (event.at, event.id.uuid()));
    let mut attempts = group(&events, now);
    let more = attempts.len() > MOST_ATTEMPTS;
    attempts.truncate(MOST_ATTEMPTS);
    Ok(DoctorPage { attempts, more, endpoint: env.settings.absolute(&paths::mcp(org.slug.as_str())), now })
}
