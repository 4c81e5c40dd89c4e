//! Server functions of the roles that the organisation makes.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{AppError, roles::Roles};

/// The organisation's roles, and that of whoever looks.
#[server(prefix = "/api", endpoint = "load_roles")]
pub async fn load_roles() -> Result<Roles, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::roles::list(&ctx.env, &actor).await.map_err(&told)
}

/// Makes a role, or changes the one with this id.
#[server(prefix = "/api", endpoint = "put_role")]
pub async fn put_role(
    #[server(default)] id: String,
    #[server(default)] name: String,
    #[server(default)] description: String,
    #[server(default)] permissions: Vec<String>,
) -> Result<(), AppError> {
    use domain::roles::{self, Input};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let input = Input { name, description, permissions };
    if id.is_empty() {
        roles::create(&ctx.env, &actor, &input).await.map_err(&told)?;
    } else {
        let id = id.parse().map_err(|_| told(domain::Error::not_found("role")))?;
        roles::update(&ctx.env, &actor, id, &input).await.map_err(&told)?;
    }
    crate::ssr::redirect(&format!("{}?notice=role-saved", model::paths::team_roles()));
    Ok(())
}

/// Deletes a role; `instead` is what its members get.
#[server(prefix = "/api", endpoint = "delete_role")]
pub async fn delete_role(id: String, #[server(default)] instead: String) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let id = id.parse().map_err(|_| told(domain::Error::not_found("role")))?;
    let instead = model::roles::RoleKey::parse(&instead);
    domain::roles::delete(&ctx.env, &actor, id, instead).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=role-deleted", model::paths::team_roles()));
    Ok(())
}
