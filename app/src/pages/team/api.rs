//! Server functions of the team.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError, OrgId, UserId,
    roles::Roles,
    team::{Leaving, TeamMember},
};

/// All members, all roles with that of whoever looks, and the server's time in Unix milliseconds.
#[server(prefix = "/api", endpoint = "load_team")]
pub async fn load_team() -> Result<(Vec<TeamMember>, Roles, i64), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let roles = domain::roles::list(&ctx.env, &actor).await.map_err(&told)?;
    Ok((domain::team::list(&ctx.env, &actor).await.map_err(&told)?, roles, ctx.env.now()))
}

/// What happens when a member goes, and the server's time in Unix milliseconds.
#[server(prefix = "/api", endpoint = "load_leaving")]
pub async fn load_leaving(id: String) -> Result<(Leaving, i64), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let id = id.parse().map_err(|_| told(domain::Error::not_found("member")))?;
    Ok((domain::team::leaving(&ctx.env, &actor, id).await.map_err(&told)?, ctx.env.now()))
}

/// Gives a member another role.
#[server(prefix = "/api", endpoint = "set_member_role")]
pub async fn set_member_role(id: UserId, role: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let role = model::RoleKey::parse(&role)
        .ok_or_else(|| AppError::field("role", "role", "Choose one of the roles in the list"))?;
    domain::team::set_role(&ctx.env, &actor, id, role).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=role-changed", model::paths::team()));
    Ok(())
}

/// Removes a member.
#[server(prefix = "/api", endpoint = "remove_member")]
pub async fn remove_member(id: UserId, #[server(default)] pin: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
    domain::team::remove(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=member-removed", model::paths::team()));
    Ok(())
}

/// Leaves an organisation.
#[server(prefix = "/api", endpoint = "leave_org")]
pub async fn leave_org(org: OrgId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::team::leave(&ctx, org).await.map_err(crate::ssr::told(&ctx))?;
    crate::ssr::redirect(&format!("{}?notice=org-left", model::paths::profile()));
    Ok(())
}
