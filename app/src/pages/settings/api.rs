//! Server functions of the general settings.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError,
    orgs::{Org, OrgDeletion},
};

/// The organisation in view, and its endpoint URL.
#[server(prefix = "/api", endpoint = "load_settings")]
pub async fn load_settings() -> Result<(Org, String), AppError> {
    use domain::OrgActor;

    let ctx = crate::ssr::ctx()?;
    let actor = OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let org = domain::orgs::get(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))?;
    let endpoint = ctx.env.settings.absolute(&model::paths::mcp(org.slug.as_str()));
    Ok((org, endpoint))
}

/// Changes name and description. What the form started from is in `was_name` and `was_description`; with `overwrite` it
/// does not matter that they were changed since.
#[server(prefix = "/api", endpoint = "update_org")]
pub async fn update_org(
    name: String,
    description: String,
    was_name: Option<String>,
    #[server(default)] was_description: String,
    overwrite: Option<String>,
) -> Result<(), AppError> {
    use domain::{OrgActor, orgs::Was};

    use crate::ssr;

    let ctx = ssr::ctx()?;
    let actor = OrgActor::require(&ctx).await.map_err(ssr::told(&ctx))?;
    let was = was_name.filter(|_| overwrite.is_none());
    let was = was.map(|name| Was { name, description: was_description });
    domain::orgs::update_from(&ctx.env, &actor, &name, &description, was.as_ref())
        .await
        .map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=saved", model::paths::settings()));
    Ok(())
}

/// What will be deleted with the organisation in view, and the value of the hidden field `csrf`.
#[server(prefix = "/api", endpoint = "load_org_deletion")]
pub async fn load_org_deletion() -> Result<(OrgDeletion, String), AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let facts = domain::org_deletion::facts(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))?;
    Ok((facts, ctx.form_token))
}

/// Deletes the organisation in view. Its form is made for one browser, beside all that else proves who sends it (SES-06).
#[server(prefix = "/api", endpoint = "delete_org")]
pub async fn delete_org(
    #[server(default)] csrf: String,
    #[server(default)] confirm: String,
    #[server(default)] password: String,
    #[server(default)] code: String,
    #[server(default)] passkey: String,
    #[server(default)] pin: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::pin::Guarded::require(&ctx, &pin).await.map_err(&told)?;
    crate::pages::auth::check_form(&ctx, &csrf)?;
    let shown = domain::mfa::Shown::of(&code, &passkey);
    domain::org_deletion::delete(&ctx, &actor, &confirm, &password, shown).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=org-deleted", model::paths::overview()));
    Ok(())
}
