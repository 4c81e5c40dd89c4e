//! Server functions of invitations.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError, InvitationId,
    links::{Invitations, Outcome, Sent},
};

/// The open invitations, and what the person may do about them.
#[server(prefix = "/api", endpoint = "load_invitations")]
pub async fn load_invitations() -> Result<Invitations, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::invitations::list(&ctx.env, &actor).await.map_err(&told)
}

/// Invites people; each address has an outcome of its own.
#[server(prefix = "/api", endpoint = "invite_members")]
pub async fn invite_members(emails: String, role: String) -> Result<Sent, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let role = model::RoleKey::parse(&role)
        .ok_or_else(|| AppError::field("role", "role", "Choose one of the roles in the list"))?;
    domain::invitations::invite(&ctx.env, &actor, &emails, role).await.map_err(&told)
}

/// Gives an invitation a new link: sent again, or shown with `by_hand`.
#[server(prefix = "/api", endpoint = "renew_invitation")]
pub async fn renew_invitation(id: InvitationId, by_hand: Option<String>) -> Result<Outcome, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::invitations::renew(&ctx.env, &actor, id, by_hand.is_some()).await.map_err(&told)
}

/// Takes an invitation back.
#[server(prefix = "/api", endpoint = "withdraw_invitation")]
pub async fn withdraw_invitation(id: InvitationId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::invitations::withdraw(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=invitation-withdrawn", model::paths::team_invitations()));
    Ok(())
}
