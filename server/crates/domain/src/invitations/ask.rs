//! Whoever has a link that became too old asks for another. The answer is the same whatever the link was, and nothing is
//! sent to whoever asks: the invitation's maker hears of it, once a day, and decides.

use model::{Permission, Role};
use store::{Tx, invitations::Invitation};

use crate::{
    Env, Error, Result,
    authz::Principal,
    change::{Event, note},
    mail::{self, letters},
    one_time,
    request::Origin,
    throttle,
};

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
/// Wishes of one network address in an hour.
const PER_ADDRESS: i64 = 10;

/// Asks for another invitation in place of the one with this token.
pub async fn ask_again(env: &Env, origin: &Origin, token: &str) -> Result<()> {
    if let Some(address) = origin.address {
        throttle::take(env, "invite-again", address, PER_ADDRESS, HOUR).await?;
    }
    let now = env.now();
    let mut tx = env.db.write().await?;
    let asked = store::invitations::ask_again(&mut tx, &one_time::hash(token), now, now - DAY).await?;
    if let Some(row) = asked {
        let org =
            store::orgs::find(&mut tx, row.org).await?.ok_or_else(|| Error::not_found("organisation"))?;
        for to in listeners(&mut tx, &row).await? {
            let letter = letters::invitation_asked_again(&env.settings, &to, &row.email, &org.name);
            mail::notify(env, &mut tx, letter).await?;
        }
        let event = Event::new("invitation.asked_again").target("invitation", row.id, &row.email);
        note(env, &mut tx, &[row.org], &Principal::System, origin, &event, "ok").await?;
        tx.commit().await?;
        env.changes.notify(row.org);
        return Ok(());
    }
    Ok(tx.commit().await?)
}

/// Who made the invitation, if they still may; else the owners.
async fn listeners(tx: &mut Tx, row: &Invitation) -> Result<Vec<String>> {
    let members = store::members::list(tx, row.org).await?;
    let maker = members
        .iter()
        .find(|member| row.invited_by == Some(member.user) && member.role.allows(Permission::TeamInvite));
    Ok(match maker {
        Some(maker) => vec![maker.email.clone()],
        None => members.iter().filter(|member| member.role == Role::Owner).map(|m| m.email.clone()).collect(),
    })
}
