//! Server functions of exports.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{
    AppError, ExportId,
    exports::{ExportPage, ImportPlan},
};

/// What the page shows: the exports, or nothing for the view `import`, which is for whoever may add connectors.
#[server(prefix = "/api", endpoint = "load_exports")]
pub async fn load_exports(view: String) -> Result<Option<ExportPage>, AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    match view.as_str() {
        "" => {
            let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
            domain::exports::list(&ctx.env, &actor).await.map(Some).map_err(&told)
        }
        "import" => {
            domain::OrgActor::<model::permissions::can::ConnectorsWrite>::require(&ctx)
                .await
                .map_err(&told)?;
            Ok(None)
        }
        _ => Err(told(domain::Error::not_found("page"))),
    }
}

/// Begins an export.
#[server(prefix = "/api", endpoint = "create_export")]
pub async fn create_export(
    #[server(default)] parts: Vec<String>,
    #[server(default)] format: String,
    #[server(default)] from: String,
    #[server(default)] to: String,
) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    let wanted = domain::exports::Wanted { parts, format, from, to };
    let notice = match domain::exports::ask(&ctx.env, &actor, &wanted).await.map_err(&told)? {
        domain::exports::Asked::Begun(_) => "export-begun",
        domain::exports::Asked::UnderWay(_) => "export-running",
    };
    crate::ssr::redirect(&format!("{}?notice={notice}", model::paths::settings_export()));
    Ok(())
}

/// Deletes an export with its file; one that is under way is cancelled.
#[server(prefix = "/api", endpoint = "delete_export")]
pub async fn delete_export(id: ExportId) -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    domain::exports::delete(&ctx.env, &actor, id).await.map_err(&told)?;
    crate::ssr::redirect(&format!("{}?notice=export-deleted", model::paths::settings_export()));
    Ok(())
}

/// Only looks whether there is still somebody who may: whoever sends it gets the page anew, with and without scripts.
#[server(prefix = "/api", endpoint = "refresh_exports")]
pub async fn refresh_exports() -> Result<(), AppError> {
    let ctx = crate::ssr::ctx()?;
    domain::OrgActor::<model::permissions::can::ExportCreate>::require(&ctx)
        .await
        .map_err(crate::ssr::told(&ctx))?;
    Ok(())
}

/// Says what an import would make; with `seen`, the plan that was shown, it is made.
#[server(prefix = "/api", endpoint = "import_connectors")]
pub async fn import_connectors(
    text: String,
    #[server(default)] clash: String,
    #[server(default)] seen: String,
) -> Result<ImportPlan, AppError> {
    use domain::exports::import::{Imported, import};

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    let actor = domain::OrgActor::require(&ctx).await.map_err(&told)?;
    if text.len() > model::exports::MAX_IMPORT {
        let words = "This file is larger than 80 KiB, which is too long for this form. Nothing was changed. Split it, or import it with gatehouse admin import";
        return Err(AppError::field("text", "too_large", words));
    }
    match Box::pin(import(&ctx.env, &actor, &text, &clash, &seen)).await.map_err(&told)? {
        Imported::Planned(plan) => Ok(plan),
        Imported::Made(plan) => {
            crate::ssr::redirect(&format!("{}?notice=connectors-imported", model::paths::connectors()));
            Ok(plan)
        }
    }
}
