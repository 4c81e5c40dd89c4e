//! Server functions of the overview.

use leptos::prelude::*;
use model::{AppError, orgs::Overview};

/// What the overview shows, and the server's time in Unix milliseconds.
#[server(prefix = "/api", endpoint = "load_overview")]
pub async fn load_overview() -> Result<(Overview, i64), AppError> {
    use domain::OrgActor;

    let ctx = crate::ssr::ctx()?;
    let actor = OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    let overview = domain::orgs::overview(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))?;
    Ok((overview, ctx.env.now()))
}

/// Adds the built-in demo server, and goes to it.
#[server(prefix = "/api", endpoint = "add_demo_connector")]
pub async fn add_demo_connector() -> Result<(), AppError> {
    use domain::OrgActor;

    use crate::ssr;

    let ctx = ssr::ctx()?;
    let actor = OrgActor::require(&ctx).await.map_err(ssr::told(&ctx))?;
    let connector = domain::connectors::add_demo(&ctx.env, &actor).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=connector-added", model::paths::connector(connector.id)));
    Ok(())
}

/// Closes the list of first steps for everybody in the organisation.
#[server(prefix = "/api", endpoint = "dismiss_onboarding")]
pub async fn dismiss_onboarding() -> Result<(), AppError> {
    use domain::OrgActor;

    use crate::ssr;

    let ctx = ssr::ctx()?;
    let actor = OrgActor::require(&ctx).await.map_err(ssr::told(&ctx))?;
    domain::orgs::dismiss_onboarding(&ctx.env, &actor).await.map_err(ssr::told(&ctx))?;
    ssr::redirect(&format!("{}?notice=steps-closed", model::paths::overview()));
    Ok(())
}
