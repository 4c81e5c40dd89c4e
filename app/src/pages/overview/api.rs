//! Server functions of the overview.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{AppError, orgs::Overview};

/// What the overview shows, usage as it is drawn, and the server's time in Unix milliseconds. `search` is the query of the
/// page's address.
#[server(prefix = "/api", endpoint = "load_overview")]
pub async fn load_overview(#[server(default)] search: String) -> Result<(Overview, String, i64), AppError> {
    use domain::{OrgActor, usage};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = OrgActor::<model::permissions::can::ConnectorsRead>::require(&ctx).await.map_err(&told)?;
    let overview = domain::orgs::overview(&ctx.env, &actor).await.map_err(&told)?;
    let drawn = match actor.with() {
        Err(_) => crate::charts::denied(),
        Ok(reader) => {
            let mut asked = usage::Asked::default();
            for (name, value) in crate::ssr::parse_form(search.as_bytes()) {
                match &*name {
                    "range" => asked.range = value,
                    "from" => asked.from = value,
                    "to" => asked.to = value,
                    _ => {}
                }
            }
            let report = usage::report(&ctx.env, &reader, &asked).await.map_err(&told)?;
            let ever = overview.last_call_at.is_some();
            crate::charts::section(&report, ever, actor.also(model::Permission::LogsRead))
        }
    };
    Ok((overview, drawn, ctx.env.now()))
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
