//! What was refused to somebody who is signed in stands in the log as well (AUD-02): who keeps trying what they may not do
//! should be seen. The first of a kind is written at once; who goes on is counted, see [`crate::oauth`].

use model::{AppError, ErrorKind};

use crate::{
    Error, Result,
    authz::{self, Principal},
    change::Event,
    oauth::quiet,
    request::RequestContext,
};

const NOTED: [ErrorKind; 2] = [ErrorKind::Forbidden, ErrorKind::RateLimited];

/// Notes that an act was refused, if that is what the error says: for want of a permission, of a proof, of a PIN, of a
/// place to come from or of a plan, or because there was too much of it. Mistakes in a form are none. `action` is the event that the act would have been. The
/// answer is the refusal either way, so what goes wrong here is for the operator's log.
pub async fn note(ctx: &RequestContext, action: &'static str, refusal: &AppError) {
    if let Err(error) = write(ctx, action, refusal).await {
        tracing::error!(%error, action, "a refusal could not be noted in the audit log");
    }
}

async fn write(ctx: &RequestContext, action: &'static str, error: &AppError) -> Result<()> {
    let Some(signed_in) = ctx.signed_in.as_ref().filter(|_| NOTED.contains(&error.kind)) else {
        return Ok(());
    };
    let (user, org) = {
        let mut tx = ctx.env.db.read().await?;
        let Some(user) = store::users::find(&mut tx, signed_in.user).await? else { return Ok(()) };
        match authz::membership(&mut tx, &user, signed_in.org).await {
            Ok((org, _)) => (user, org),
            // Nobody's log to write it to.
            Err(Error::App(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    };
    let key = ("refused", format!("{org} {} {action} {}", user.id, error.code));
    let by = Principal::User { id: user.id, name: user.name };
    let event = Event::new(action).with("refused", error.code.as_str());
    quiet::note_seldom(&ctx.env, key, org, &by, &ctx.origin, event).await
}
