//! Server functions of the Playground.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use std::collections::BTreeMap;

use leptos::prelude::*;
use model::{
    AppError,
    playground::{PlayPage, PlayResult},
};

/// The tools, and the form of the one that is chosen: `connector/tool`.
#[server(prefix = "/api", endpoint = "load_playground")]
pub async fn load_playground(tool: String) -> Result<PlayPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::playground::page(&ctx.env, &actor, &tool).await.map_err(&told)
}

/// Calls a tool. Each argument comes with the name that its field was made for, by the number of the field.
#[server(prefix = "/api", endpoint = "run_tool")]
pub async fn run_tool(
    tool: String,
    #[server(default)] names: BTreeMap<String, String>,
    #[server(default)] args: BTreeMap<String, String>,
) -> Result<PlayResult, AppError> {
    use std::sync::Arc;

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let plane = use_context::<Arc<dyn domain::playground::Playground>>()
        .ok_or_else(|| told(domain::Error::Internal("there is no data plane".into())))?;
    let typed: Vec<_> =
        names.into_iter().filter_map(|(number, name)| Some((name, args.get(&number)?.clone()))).collect();
    domain::playground::run(&ctx.env, &actor, plane.as_ref(), &tool, &typed).await.map_err(&told)
}
