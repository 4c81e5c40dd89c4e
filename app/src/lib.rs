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
//! * A route is a line of `PAGES` below, its path goes to `model::paths`, a notice to [`copy::notice`], and a signed-in area to
//!   `frame::AREAS` if it is new.

#![expect(unreachable_pub, reason = "#[component] puts a hidden public function beside each component")]

mod call;
#[cfg(feature = "ssr")]
mod charts;
pub mod components;
pub mod copy;
mod erase;
pub mod form;
mod frame;
#[cfg(feature = "ssr")]
pub mod functions;
pub mod page;
pub mod pages;
mod route;
#[cfg(feature = "ssr")]
pub mod ssr;
mod state;

use crate::erase::Erase as _;
use leptos::{children::ToChildren as _, prelude::*};
use leptos_meta::{Title, provide_meta_context};
use leptos_router::components::{FlatRoutes, RouteChildren, Router};
#[cfg(feature = "ssr")]
pub use shell::shell;
pub use state::{SiteAssets, set_status, use_me};

use crate::{
    components::{NotFound, error_page},
    frame::Frame,
    pages::{
        activity::{ActivityEntryPage, ActivityPage, ActivitySettingsPage},
        api_keys::{ApiKeyPage, ApiKeysPage, ConnectAgentPage, NewApiKeyPage},
        audit::{AuditEventPage, AuditPage, AuditStreamPage},
        auth::{AskPage, LinkPage, NewOrgPage, SetupPage, SignInPage},
        connections::{AskConnectionPage, ConnectionsPage, HowToConnectPage, OwnConnectionsPage},
        connectors::{
            ConnectorPage, ConnectorsPage, CredentialsPage, DeleteConnectorPage, EditConnectorPage,
            NewConnectorPage, OwnAuthorizationsPage, ToolPage,
        },
        consent::ConsentPage,
        custom_domain::DomainPage,
        doctor::DoctorPage,
        exports::ExportsPage,
        factors::FactorsPage,
        help::HelpPage,
        oauth_clients::{NewOauthClientPage, OauthClientPage, OauthClientsPage},
        overview::OverviewPage,
        passkeys::PasskeysPage,
        plan::PlanPage,
        playground::PlaygroundPage,
        profile::{AccountPage, ProfilePage, SessionsPage},
        security::{AllowlistPage, SecurityPage},
        settings::{DangerPage, SettingsPage},
        sso::{SsoLoginPage, SsoPage},
        team::{InvitationsPage, RemoveMemberPage, RolePage, RolesPage, TeamPage},
        webhooks::{DeliveriesPage, EditWebhookPage, WebhookPage, WebhooksPage},
    },
    route::{PageCode, gallery, lazy, routes},
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
        // boot.js hears that somebody has changed what this page shows, and says when nobody is disturbed by it.
        window_event_listener_untyped("stale", move |_| refresh.after_change());
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

/// Every page and its path.
const PAGES: &[(&str, PageCode)] = &[
    ("/", lazy::<OverviewPage>()),
    ("/sign-in", lazy::<SignInPage>()),
    ("/sign-in/sso", lazy::<AskPage>()),
    ("/setup/:token", lazy::<SetupPage>()),
    ("/forgot-password", lazy::<AskPage>()),
    ("/sign-up", lazy::<AskPage>()),
    ("/sign-up/:token", lazy::<LinkPage>()),
    ("/invite/:token", lazy::<LinkPage>()),
    ("/reset-password/:token", lazy::<LinkPage>()),
    ("/confirm-address/:token", lazy::<LinkPage>()),
    ("/orgs/new", lazy::<NewOrgPage>()),
    ("/connectors", lazy::<ConnectorsPage>()),
    ("/connectors/new", lazy::<NewConnectorPage>()),
    ("/connectors/tools/:of", lazy::<ToolPage>()),
    ("/connectors/:id", lazy::<ConnectorPage>()),
    ("/connectors/:id/edit", lazy::<EditConnectorPage>()),
    ("/connectors/:id/credentials", lazy::<CredentialsPage>()),
    ("/connectors/:id/delete", lazy::<DeleteConnectorPage>()),
    ("/playground", lazy::<PlaygroundPage>()),
    ("/activity", lazy::<ActivityPage>()),
    ("/activity/settings", lazy::<ActivitySettingsPage>()),
    ("/activity/:id", lazy::<ActivityEntryPage>()),
    ("/settings", lazy::<SettingsPage>()),
    ("/settings/plan", lazy::<PlanPage>()),
    ("/settings/danger", lazy::<DangerPage>()),
    ("/settings/api-keys", lazy::<ApiKeysPage>()),
    ("/settings/api-keys/new", lazy::<NewApiKeyPage>()),
    ("/settings/api-keys/connect", lazy::<ConnectAgentPage>()),
    ("/settings/api-keys/:id/edit", lazy::<ApiKeyPage>()),
    ("/settings/api-keys/:id/delete", lazy::<ApiKeyPage>()),
    ("/settings/mcp-connections/doctor", lazy::<DoctorPage>()),
    ("/settings/oauth-clients", lazy::<OauthClientsPage>()),
    ("/settings/oauth-clients/new", lazy::<NewOauthClientPage>()),
    ("/settings/oauth-clients/:id", lazy::<OauthClientPage>()),
    ("/settings/oauth-clients/:id/delete", lazy::<OauthClientPage>()),
    ("/settings/mcp-connections", lazy::<ConnectionsPage>()),
    ("/settings/mcp-connections/how-to", lazy::<HowToConnectPage>()),
    ("/settings/mcp-connections/:id/revoke", lazy::<AskConnectionPage>()),
    ("/settings/mcp-connections/:id/regenerate", lazy::<AskConnectionPage>()),
    ("/oauth/consent", lazy::<ConsentPage>()),
    ("/settings/sso", lazy::<SsoPage>()),
    ("/settings/sso/login", lazy::<SsoLoginPage>()),
    ("/settings/domain", lazy::<DomainPage>()),
    ("/settings/domain/remove", lazy::<DomainPage>()),
    ("/settings/webhooks", lazy::<WebhooksPage>()),
    ("/settings/webhooks/new", lazy::<EditWebhookPage>()),
    ("/settings/webhooks/deliveries", lazy::<DeliveriesPage>()),
    ("/settings/webhooks/delivery", lazy::<DeliveriesPage>()),
    ("/settings/webhooks/:id", lazy::<WebhookPage>()),
    ("/settings/webhooks/:id/edit", lazy::<EditWebhookPage>()),
    ("/settings/webhooks/:id/test", lazy::<WebhookPage>()),
    ("/settings/webhooks/:id/replay", lazy::<WebhookPage>()),
    ("/settings/webhooks/:id/delete", lazy::<WebhookPage>()),
    ("/settings/export", lazy::<ExportsPage>()),
    ("/settings/export/:view", lazy::<ExportsPage>()),
    ("/team", lazy::<TeamPage>()),
    ("/team/invitations", lazy::<InvitationsPage>()),
    ("/team/roles", lazy::<RolesPage>()),
    ("/team/roles/:id", lazy::<RolePage>()),
    ("/team/:id/remove", lazy::<RemoveMemberPage>()),
    ("/settings/security", lazy::<SecurityPage>()),
    ("/settings/security/allowlist", lazy::<AllowlistPage>()),
    ("/settings/audit", lazy::<AuditPage>()),
    ("/settings/audit/stream", lazy::<AuditStreamPage>()),
    ("/settings/audit/:id", lazy::<AuditEventPage>()),
    ("/profile", lazy::<ProfilePage>()),
    ("/profile/account", lazy::<AccountPage>()),
    ("/profile/account/delete", lazy::<AccountPage>()),
    ("/profile/security/passkeys", lazy::<PasskeysPage>()),
    ("/profile/security/:what", lazy::<FactorsPage>()),
    ("/profile/sessions", lazy::<SessionsPage>()),
    ("/profile/connections", lazy::<OwnConnectionsPage>()),
    ("/profile/authorizations", lazy::<OwnAuthorizationsPage>()),
    ("/help/authentication", lazy::<HelpPage>()),
    ("/help/claude-ai", lazy::<HelpPage>()),
    ("/help/export", lazy::<HelpPage>()),
    ("/help/quickstart", lazy::<HelpPage>()),
    ("/help/domain", lazy::<HelpPage>()),
    ("/help/webhooks", lazy::<HelpPage>()),
    ("/__ui", gallery()),
];

#[component]
fn Pages() -> impl IntoView {
    let given = SharedValue::new(use_context::<GivenError>).into_inner();
    let fallback = move || match given.clone() {
        Some(GivenError(error)) => error_page(error),
        None => view! { <NotFound /> }.into_any(),
    };
    let pages = RouteChildren::to_children(|| routes(PAGES));
    view! { <FlatRoutes fallback=fallback children=pages /> }.erase()
}
