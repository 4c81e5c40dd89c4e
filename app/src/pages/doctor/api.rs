//! Server functions of the connection doctor.

use leptos::prelude::*;
use model::{
    AppError,
    doctor::{DoctorPage, SelfTest},
};

/// What was seen of clients on their way to a connection.
#[server(prefix = "/api", endpoint = "load_doctor")]
pub async fn load_doctor() -> Result<DoctorPage, AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::doctor::page(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))
}

/// Plays a client's way to this organisation's endpoint.
#[server(prefix = "/api", endpoint = "run_self_test")]
pub async fn run_self_test() -> Result<SelfTest, AppError> {
    let ctx = crate::ssr::ctx()?;
    let actor = domain::OrgActor::require(&ctx).await.map_err(crate::ssr::told(&ctx))?;
    domain::doctor::self_test(&ctx.env, &actor).await.map_err(crate::ssr::told(&ctx))
}
