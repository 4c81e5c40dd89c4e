//! Mails: queued with the change that they are about, written and sent by a job, never in a request.
//!
//! What a stranger asks for by an address (a new password, an account) is queued as the wish alone, the same for every
//! address; the job looks whether somebody is there. So neither bytes nor time of the answer tell (PWD-05).

pub mod letters;
mod smtp;

pub use smtp::{Smtp, SmtpSettings, parse_sender};

use futures_util::future::BoxFuture;
use model::{InvitationId, MailId, OrgId, Permission};
use serde::{Deserialize, Serialize};
use store::{Tx, mails::Due};

use crate::{Env, Error, Result, recovery, request::Origin, sign_up};

const MINUTE: i64 = 60 * 1000;
/// How long whoever sends a mail has it for themself.
const LEASE: i64 = 2 * MINUTE;
/// Mails that are sent in one round.
const AT_ONCE: i64 = 16;
/// How long a notice is worth sending.
pub const NOTICE_TTL: i64 = 3 * 24 * 60 * MINUTE;

/// A mail, written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// For readers of plain text.
    pub text: String,
    /// The same in HTML.
    pub html: String,
    /// The link that whoever waits for this mail cannot do without, so that it is never lost where no mail is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Why a mail was not taken. The texts are for the log and hold no address and no word of the mail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may be taken later.
    #[error("{0}")]
    Later(String),
    /// It never will be.
    #[error("{0}")]
    Never(String),
}

/// Whoever sends mails.
pub trait Mailer: Send + Sync {
    /// Hands a mail over. `id` names it, also when it is sent again.
    fn send<'a>(
        &'a self,
        letter: &'a Letter,
        id: &'a str,
        at: i64,
    ) -> BoxFuture<'a, core::result::Result<(), SendError>>;
}

/// What waits to become a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// A mail that is written.
    Letter(Letter),
    /// Somebody wants a new password for the account with this address, if there is one.
    Reset { email: String, from: Whence },
    /// Somebody wants an account with this address.
    SignUp { email: String },
    /// The account wants this address.
    NewAddress { user: model::UserId, email: String },
}

/// Where a wish came from, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whence {
    address: Option<std::net::IpAddr>,
    user_agent: Option<String>,
    request_id: String,
}

impl Whence {
    pub(crate) fn of(origin: &Origin) -> Self {
        Self {
            address: origin.address,
            user_agent: origin.user_agent.clone(),
            request_id: origin.request_id.clone(),
        }
    }

    pub(crate) fn origin(self) -> Origin {
        Origin {
            address: self.address,
            user_agent: self.user_agent,
            request_id: self.request_id,
            ..Origin::default()
        }
    }
}

impl Env {
    /// Whether this instance sends mail.
    pub fn sends_mail(&self) -> bool {
        self.mailer.is_some()
    }
}

fn sealed_as(id: &str) -> String {
    format!("mail {id}")
}

fn seal(env: &Env, id: &str, wanted: &Wanted) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(wanted).map_err(|why| Error::Internal(format!("a mail: {why}")))?;
    Ok(env.sealer.seal_instance(&sealed_as(id), &json, env.rng.as_ref()))
}

/// Queues a mail in the transaction of what it is about. An instance that sends no mail queues only what has a link in it, or
/// will have: that is written to the log, for whoever operates the instance to pass on.
pub(crate) async fn queue(
    env: &Env,
    tx: &mut Tx,
    org: Option<OrgId>,
    invitation: Option<InvitationId>,
    wanted: &Wanted,
    ttl: i64,
) -> Result<()> {
    if !env.sends_mail() && matches!(wanted, Wanted::Letter(Letter { link: None, .. })) {
        return Ok(());
    }
    let id = MailId::from_uuid(env.uuid());
    let sealed = seal(env, &id.to_string(), wanted)?;
    let now = env.now();
    Ok(store::mails::insert(tx, id, org, invitation, &sealed, now, now + ttl).await?)
}

/// Queues a notice about somebody's account (PWD-10).
pub(crate) async fn notify(env: &Env, tx: &mut Tx, letter: Letter) -> Result<()> {
    queue(env, tx, None, None, &Wanted::Letter(letter), NOTICE_TTL).await
}

/// Queues a notice to everybody who cares for the settings of an organisation (owners, admins, and roles made for it): `letter` is given an address and the organisation's name.
pub(crate) async fn to_admins(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    letter: impl Fn(&str, &str) -> Letter,
) -> Result<()> {
    let Some(org) = store::orgs::find(tx, org).await? else { return Ok(()) };
    for member in store::members::list(tx, org.id).await? {
        if member.role.allows(Permission::OrgUpdate) {
            notify(env, tx, letter(&member.email, &org.name)).await?;
        }
    }
    Ok(())
}

/// Sends what is due; how many mails left. Each is tried by one node at a time, at least once, and again after a growing
/// pause until nobody needs it any more.
pub async fn deliver_due(env: &Env) -> Result<u32> {
    let due = {
        let mut tx = env.db.read().await?;
        store::mails::list_due(&mut tx, env.now(), AT_ONCE).await?
    };
    let mut left = 0;
    for mail in due {
        let mut tx = env.db.write().await?;
        let claimed = store::mails::claim(&mut tx, &mail.id, mail.due_at, env.now() + LEASE).await?;
        tx.commit().await?;
        if !claimed {
            continue;
        }
        let Some(letter) = written(env, &mail).await? else { continue };
        let sent = match &env.mailer {
            Some(mailer) => mailer.send(&letter, &mail.id, env.now()).await,
            None => by_hand(&letter),
        };
        left += u32::from(sent.is_ok());
        conclude(env, &mail, sent).await?;
    }
    Ok(left)
}

/// Without mail a link is given to whoever operates the instance. The line is written whatever else is logged.
fn by_hand(letter: &Letter) -> core::result::Result<(), SendError> {
    let Some(link) = &letter.link else {
        return Err(SendError::Never("no mail is sent here, and there is no link in this one".to_owned()));
    };
    let (to, subject) = (&letter.to, &letter.subject);
    tracing::info!(target: crate::KEPT, to, subject, link, "no mail is sent here: this link is to be passed on by hand");
    Ok(())
}

/// The letter of a queued mail: written now if only the wish was queued, and then kept, so that a second try sends the
/// same. `None` if there is nothing to send.
async fn written(env: &Env, mail: &Due) -> Result<Option<Letter>> {
    let wanted = env
        .sealer
        .open_instance(&sealed_as(&mail.id), &mail.sealed)
        .ok()
        .and_then(|json| serde_json::from_slice::<Wanted>(&json).ok());
    let mut tx = env.db.write().await?;
    let letter = match wanted {
        Some(Wanted::Letter(letter)) => return Ok((mail.expires_at > env.now()).then_some(letter)),
        Some(_) if mail.expires_at <= env.now() => None,
        Some(Wanted::Reset { email, from }) => recovery::write_reset(env, &mut tx, &email, from).await?,
        Some(Wanted::SignUp { email }) => sign_up::write_letter(env, &mut tx, &email).await?,
        Some(Wanted::NewAddress { user, email }) => {
            crate::own_account::write_new_address(env, &mut tx, user, &email).await?
        }
        None => {
            tracing::error!(mail = mail.id, "a queued mail cannot be opened and is dropped");
            None
        }
    };
    match &letter {
        Some(letter) => {
            let sealed = seal(env, &mail.id, &Wanted::Letter(letter.clone()))?;
            store::mails::replace(&mut tx, &mail.id, &sealed).await?;
        }
        None => store::mails::delete(&mut tx, &mail.id).await?,
    }
    tx.commit().await?;
    Ok(letter)
}

/// The pause after the `n`th try, milliseconds: half a minute, doubling up to an hour.
fn pause_after(n: i64) -> i64 {
    let doublings = u32::try_from(n).unwrap_or(u32::MAX).min(7);
    ((MINUTE / 2) << doublings).min(60 * MINUTE)
}

async fn conclude(env: &Env, mail: &Due, sent: core::result::Result<(), SendError>) -> Result<()> {
    let mut tx = env.db.write().await?;
    let became = match sent {
        Ok(()) => {
            store::mails::delete(&mut tx, &mail.id).await?;
            Some("sent")
        }
        Err(SendError::Later(why)) if env.now() + pause_after(mail.attempts) < mail.expires_at => {
            tracing::warn!(
                mail = mail.id,
                tries = mail.attempts + 1,
                why,
                "a mail was not taken; it is tried again"
            );
            store::mails::put_off(&mut tx, &mail.id, env.now() + pause_after(mail.attempts)).await?;
            None
        }
        Err(SendError::Later(why) | SendError::Never(why)) => {
            tracing::error!(mail = mail.id, tries = mail.attempts + 1, why, "a mail was given up");
            store::mails::delete(&mut tx, &mail.id).await?;
            Some("failed")
        }
    };
    if let (Some(invitation), Some(became)) = (&mail.invitation, became) {
        store::invitations::set_mail(&mut tx, invitation, became).await?;
    }
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour() {
        assert_eq!(pause_after(0), MINUTE / 2);
        assert_eq!(pause_after(1), MINUTE);
        assert_eq!(pause_after(7), 60 * MINUTE);
        assert_eq!(pause_after(i64::MAX), 60 * MINUTE);
    }
}
