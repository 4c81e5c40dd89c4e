//! The dashboard: its shell, its pages, its components and their server functions.
//!
//! Owns: what a person sees and types, in the browser (feature `hydrate`) and on the server (feature `ssr`). Must not
//! know: SQL, the MCP protocol, or where sessions come from. Rules live in `domain`, words in `model`; a server function
//! here asks `domain` and says what came of it. Nothing here reads a clock or makes randomness while rendering, because
//! both sides of hydration have to come to the same page.
//!
//! # How to write a page
//!
//! A page is a folder in `pages`: `api.rs` has the server functions, `page.rs` the views. It is a lazy route, so its
//! code is a chunk of its own that is loaded when somebody goes there.
//!
//! ```ignore
//! // pages/settings/api.rs: four lines a function. `ctx()` is the request's `domain` context.
//! #[server(prefix = "/api", endpoint = "load_settings")]
//! pub async fn load_settings() -> Result<Org, AppError> {
//!     let ctx = ssr::ctx()?;
//!     let actor = OrgActor::require(&ctx).await.map_err(ssr::told(&ctx))?;
//!     domain::orgs::get(&ctx.env, &actor).await.map_err(ssr::told(&ctx))
//! }
//!
//! #[server(prefix = "/api", endpoint = "update_org")]
//! pub async fn update_org(name: String, description: String) -> Result<(), AppError> {
//!     let ctx = ssr::ctx()?;
//!     let actor = OrgActor::require(&ctx).await.map_err(ssr::told(&ctx))?;
//!     domain::orgs::update(&ctx.env, &actor, &name, &description).await.map_err(ssr::told(&ctx))?;
//!     ssr::redirect(&format!("{}?notice=saved", paths::settings())); // last, and only on success
//!     Ok(())
//! }
//!
//! // pages/settings/page.rs
//! pub struct SettingsPage {
//!     org: Loaded<Org>,
//! }
//!
//! #[lazy_route]
//! impl LazyRoute for SettingsPage {
//!     fn data() -> Self {
//!         Self { org: load(LoadSettings {}) } // or load_by("id", |id| LoadOne { id }), with :id in the path, or
//!         // load_by_query("q", |q| Search { q }), with ?q= behind it
//!     }
//!
//!     fn view(this: Self) -> AnyView {
//!         let save = use_form::<UpdateOrg>(); // here, never inside the closure of `page`
//!         page(this.org, move |org, me| {
//!             view! {
//!                 <PageHeader title="Settings" />
//!                 <Card title="General">
//!                     <PostForm form=save>
//!                         <ErrorSummary form=save />
//!                         <TextField form=save name="name" label="Name" value=org.name max=64 />
//!                         <SubmitButton form=save label="Save changes" />
//!                     </PostForm>
//!                 </Card>
//!             }
//!             .erase()
//!         })
//!     }
//! }
//! ```
//!
//! * [`page::page`] waits for data and person, and stands in for errors: `Unauthenticated` goes to the log-in page,
//!   `Forbidden` shows who can grant what (its message has to name the permission), `NotFound` is a 404, all else says
//!   what failed. `me.can(permission)` decides what is offered; the server function decides what is done.
//! * `data` lies in the part of the wasm that every page loads, `view` in the page's own: so `data` does nothing but
//!   `load` and `load_by`. Both move JSON, and `page` reads it into its type; what is generic over a page's types stays
//!   in the page's chunk that way. An argument of a loading function is text that stands in the path under its name;
//!   [`page::path_param`] has that text for the view, and `page::page_of_data` shows data to whoever asks.
//! * An answer without a redirect is in `form.ok().get()`, with and without scripts: a secret that is shown once is
//!   rendered from there and nowhere else. The page's data is loaded again after every success that stays on the page.
//! * Arguments are flat: `String`, numbers, ids, `Option<String>` for a checkbox, `#[server(default)] Vec<T>` for
//!   `name[]`. Inputs get their value from the form after a failure, so give the stored one as `value`.
//! * What `view!` makes ends in `.erase()`, also inside an `Option`, a list or a closure: each type of view that is not
//!   erased there is a kilobyte of wasm.
//! * Several forms for one function (a row each): `use_form_for::<F>("id", row.id)`; it also adds the hidden input.
//! * A route is added to `App` below, its path to `model::paths`, a notice to [`copy::notice`], and a signed-in area to
//!   `frame::AREAS` if it is new.

#![expect(unreachable_pub, reason = "#[component] puts a hidden public function beside each component")]

mod call;
pub mod components;
pub mod copy;
mod erase;
pub mod form;
mod frame;
pub mod page;
pub mod pages;
mod route;
#[cfg(feature = "ssr")]
pub mod ssr;
mod state;

use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_meta::{Title, provide_meta_context};
use leptos_router::{
    Lazy, SsrMode,
    components::{FlatRoutes, Route, Router},
};
#[cfg(feature = "ssr")]
pub use shell::shell;
pub use state::{SiteAssets, set_status, use_me};

use crate::{
    components::{NotFound, error_page},
    frame::Frame,
    pages::{
        activity::{ActivityEntryPage, ActivityPage, ActivitySettingsPage},
        api_keys::{ApiKeysPage, ConnectAgentPage, DeleteApiKeyPage, EditApiKeyPage, NewApiKeyPage},
        audit::{AuditEventPage, AuditPage},
        auth::{NewOrgPage, SetupPage, SignInPage},
        connections::{
            ConnectionsPage, HowToConnectPage, OwnConnectionsPage, RegenerateConnectionPage,
            RevokeConnectionPage,
        },
        connectors::{
            ConnectorPage, ConnectorsPage, CredentialsPage, DeleteConnectorPage, EditConnectorPage,
            NewConnectorPage, OwnAuthorizationsPage, ToolPage,
        },
        consent::ConsentPage,
        doctor::DoctorPage,
        factors::FactorsPage,
        help::{AuthenticationHelpPage, ClaudeAiHelpPage, QuickstartPage},
        oauth_clients::{DeleteOauthClientPage, NewOauthClientPage, OauthClientPage, OauthClientsPage},
        overview::OverviewPage,
        playground::PlaygroundPage,
        profile::{ProfilePage, SessionsPage},
        security::{AllowlistPage, SecurityPage},
        settings::SettingsPage,
        sso::SsoPage,
        team::{RemoveMemberPage, RolesPage, TeamPage},
    },
    route::At,
    state::{GivenError, MeResource, Refresh},
};

#[cfg(feature = "ssr")]
mod shell;

/// The whole app, as it stands in `<body>` on both sides.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    let assets = SharedValue::new(|| use_context::<SiteAssets>().unwrap_or_default()).into_inner();
    provide_context(assets);
    form::provide_outcome();
    let refresh = Refresh::new();
    provide_context(refresh);
    // Before the router sets its own, which would navigate before a form knows that it succeeded.
    #[cfg(feature = "hydrate")]
    {
        _ = server_fn::redirect::set_redirect_hook(move |to| refresh.redirect.set(Some(to.to_owned())));
    }
    provide_context(MeResource(page::load_me()));
    let (routing, set_routing) = signal(false);

    // The server writes the title into the head when the page is done, and then the page's own signals may be gone: this
    // one is held.
    let failed = ArcRwSignal::from(refresh.failed);
    let title = move |text: String| {
        // The library writes it into the page as it is, and names in it come from anybody (HDR-04).
        #[cfg(feature = "ssr")]
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let prefix = if failed.get() { "Error: " } else { "" };
        if text.is_empty() {
            copy::PRODUCT.to_owned()
        } else {
            format!("{prefix}{text} · {}", copy::PRODUCT)
        }
    };
    view! {
        <Title formatter=title text="" />
        <Router set_is_routing=set_routing>
            <Frame routing=routing>
                <Pages />
            </Frame>
        </Router>
    }
}

#[component]
fn Pages() -> impl IntoView {
    let given = SharedValue::new(use_context::<GivenError>).into_inner();
    let fallback = move || match given.clone() {
        Some(GivenError(error)) => error_page(error),
        None => view! { <NotFound /> }.into_any(),
    };
    // Everything is rendered whole before it is sent: only so are redirects, statuses and cookies real.
    view! {
        <FlatRoutes fallback=fallback>
            <Route path=At("/") view={Lazy::<OverviewPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/sign-in") view={Lazy::<SignInPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/setup/:token") view={Lazy::<SetupPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/orgs/new") view={Lazy::<NewOrgPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/connectors") view={Lazy::<ConnectorsPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/connectors/new") view={Lazy::<NewConnectorPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/connectors/tools/:of") view={Lazy::<ToolPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/connectors/:id") view={Lazy::<ConnectorPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/connectors/:id/edit") view={Lazy::<EditConnectorPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/connectors/:id/credentials") view={Lazy::<CredentialsPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/connectors/:id/delete") view={Lazy::<DeleteConnectorPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/playground") view={Lazy::<PlaygroundPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/activity") view={Lazy::<ActivityPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/activity/settings") view={Lazy::<ActivitySettingsPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/activity/:id") view={Lazy::<ActivityEntryPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings") view={Lazy::<SettingsPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/api-keys") view={Lazy::<ApiKeysPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/api-keys/new") view={Lazy::<NewApiKeyPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/api-keys/connect") view={Lazy::<ConnectAgentPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/api-keys/:id/edit") view={Lazy::<EditApiKeyPage>::new()} ssr=SsrMode::Async />
            <Route
                path=At("/settings/api-keys/:id/delete")
                view={Lazy::<DeleteApiKeyPage>::new()}
                ssr=SsrMode::Async
            />
            <Route path=At("/settings/mcp-connections/doctor") view={Lazy::<DoctorPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/oauth-clients") view={Lazy::<OauthClientsPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/oauth-clients/new") view={Lazy::<NewOauthClientPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/oauth-clients/:id") view={Lazy::<OauthClientPage>::new()} ssr=SsrMode::Async />
            <Route
                path=At("/settings/oauth-clients/:id/delete")
                view={Lazy::<DeleteOauthClientPage>::new()}
                ssr=SsrMode::Async
            />
            <Route path=At("/settings/mcp-connections") view={Lazy::<ConnectionsPage>::new()} ssr=SsrMode::Async />
            <Route
                path=At("/settings/mcp-connections/how-to")
                view={Lazy::<HowToConnectPage>::new()}
                ssr=SsrMode::Async
            />
            <Route
                path=At("/settings/mcp-connections/:id/revoke")
                view={Lazy::<RevokeConnectionPage>::new()}
                ssr=SsrMode::Async
            />
            <Route
                path=At("/settings/mcp-connections/:id/regenerate")
                view={Lazy::<RegenerateConnectionPage>::new()}
                ssr=SsrMode::Async
            />
            <Route path=At("/oauth/consent") view={Lazy::<ConsentPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/sso") view={Lazy::<SsoPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/team") view={Lazy::<TeamPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/team/roles") view={Lazy::<RolesPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/team/:id/remove") view={Lazy::<RemoveMemberPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/security") view={Lazy::<SecurityPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/security/allowlist") view={Lazy::<AllowlistPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/audit") view={Lazy::<AuditPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/settings/audit/:id") view={Lazy::<AuditEventPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/profile") view={Lazy::<ProfilePage>::new()} ssr=SsrMode::Async />
            <Route path=At("/profile/security/:what") view={Lazy::<FactorsPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/profile/sessions") view={Lazy::<SessionsPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/profile/connections") view={Lazy::<OwnConnectionsPage>::new()} ssr=SsrMode::Async />
            <Route
                path=At("/profile/authorizations")
                view={Lazy::<OwnAuthorizationsPage>::new()}
                ssr=SsrMode::Async
            />
            <Route
                path=At("/help/authentication")
                view={Lazy::<AuthenticationHelpPage>::new()}
                ssr=SsrMode::Async
            />
            <Route path=At("/help/claude-ai") view={Lazy::<ClaudeAiHelpPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/help/quickstart") view={Lazy::<QuickstartPage>::new()} ssr=SsrMode::Async />
            <Route path=At("/__ui") view=pages::gallery::view ssr=SsrMode::Async />
        </FlatRoutes>
    }
    .erase()
}
