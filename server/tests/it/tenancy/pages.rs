//! Where each page is asked for, and each address that is no page. Placeholders are those of [`super::acts`].

use model::Permission::{self, *};

use super::acts::Needs;

/// A page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// As it is routed.
    pub(super) route: &'static str,
    pub(super) needs: Needs,
    /// What is asked for.
    pub(super) path: &'static str,
    /// The status for another organisation's things, which is that for things that are not there.
    pub(super) foreign: u16,
}

const fn page(needs: Permission, route: &'static str, path: &'static str) -> Page {
    Page { route, needs: Needs::Right(needs), path, foreign: 404 }
}

/// A page that names nothing.
const fn plain(needs: Permission, route: &'static str) -> Page {
    Page { route, needs: Needs::Right(needs), path: route, foreign: 200 }
}

const fn own(route: &'static str) -> Page {
    Page { route, needs: Needs::Person, path: route, foreign: 200 }
}

const fn open(route: &'static str) -> Page {
    Page { route, needs: Needs::Nobody, path: route, foreign: 200 }
}

/// A page that shows what is not found as nothing, or as an error within it.
const fn filtered(needs: Needs, route: &'static str, path: &'static str) -> Page {
    Page { route, needs, path, foreign: 200 }
}

/// All of them.
pub(super) const PAGES: &[Page] = &[
    plain(ConnectorsRead, "/"),
    open("/sign-in"),
    open("/sign-in/sso"),
    open("/setup/{token}"),
    open("/forgot-password"),
    open("/sign-up"),
    open("/sign-up/{token}"),
    open("/invite/{token}"),
    open("/reset-password/{token}"),
    open("/confirm-address/{token}"),
    own("/orgs/new"),
    plain(ConnectorsRead, "/connectors"),
    plain(ConnectorsRead, "/connectors/new"),
    page(ConnectorsRead, "/connectors/tools/{of}", "/connectors/tools/{connector}:echo"),
    page(ConnectorsRead, "/connectors/{id}", "/connectors/{connector}"),
    page(ConnectorsRead, "/connectors/{id}/edit", "/connectors/{connector}/edit"),
    page(ConnectorsRead, "/connectors/{id}/credentials", "/connectors/{authorised}/credentials"),
    page(ConnectorsDelete, "/connectors/{id}/delete", "/connectors/{connector}/delete"),
    plain(PlaygroundUse, "/playground"),
    filtered(Needs::Right(PlaygroundUse), "/playground", "/playground?tool={tool_slug}/whoami"),
    plain(LogsRead, "/activity"),
    filtered(Needs::Right(LogsRead), "/activity", "/activity?principal={key}"),
    plain(LogsRead, "/activity/settings"),
    page(LogsRead, "/activity/{id}", "/activity/{request}"),
    plain(ConnectorsRead, "/settings"),
    plain(UsageRead, "/settings/plan"),
    plain(OrgDelete, "/settings/danger"),
    plain(ApiKeysRead, "/settings/api-keys"),
    plain(ApiKeysRead, "/settings/api-keys/new"),
    plain(ApiKeysRead, "/settings/api-keys/connect"),
    page(ApiKeysRead, "/settings/api-keys/{id}/edit", "/settings/api-keys/{key}/edit"),
    page(ApiKeysRead, "/settings/api-keys/{id}/delete", "/settings/api-keys/{key}/delete"),
    plain(OauthClientsRead, "/settings/mcp-connections/doctor"),
    plain(OauthClientsRead, "/settings/oauth-clients"),
    plain(OauthClientsRead, "/settings/oauth-clients/new"),
    page(OauthClientsRead, "/settings/oauth-clients/{id}", "/settings/oauth-clients/{client}"),
    page(OauthClientsRead, "/settings/oauth-clients/{id}/delete", "/settings/oauth-clients/{client}/delete"),
    plain(ApiKeysRead, "/settings/mcp-connections"),
    plain(ConnectorsRead, "/settings/mcp-connections/how-to"),
    page(
        ApiKeysRead,
        "/settings/mcp-connections/{id}/revoke",
        "/settings/mcp-connections/{connection}/revoke",
    ),
    page(
        ApiKeysRead,
        "/settings/mcp-connections/{id}/regenerate",
        "/settings/mcp-connections/{connection}/regenerate",
    ),
    Page {
        route: "/oauth/consent",
        needs: Needs::Person,
        path: "/oauth/consent?request={consent}",
        foreign: 404,
    },
    plain(SsoRead, "/settings/sso"),
    plain(SsoRead, "/settings/sso/login"),
    plain(DomainsRead, "/settings/domain"),
    plain(DomainsRead, "/settings/domain/remove"),
    plain(WebhooksRead, "/settings/webhooks"),
    plain(WebhooksRead, "/settings/webhooks/new"),
    page(WebhooksRead, "/settings/webhooks/deliveries", "/settings/webhooks/deliveries?webhook={webhook}"),
    page(
        WebhooksRead,
        "/settings/webhooks/delivery",
        "/settings/webhooks/delivery?webhook={webhook}&id={delivery}",
    ),
    page(
        WebhooksRead,
        "/settings/webhooks/delivery",
        "/settings/webhooks/delivery?webhook={own:webhook}&id={delivery}",
    ),
    page(WebhooksRead, "/settings/webhooks/{id}", "/settings/webhooks/{webhook}"),
    page(WebhooksRead, "/settings/webhooks/{id}/edit", "/settings/webhooks/{webhook}/edit"),
    page(WebhooksRead, "/settings/webhooks/{id}/test", "/settings/webhooks/{webhook}/test"),
    page(WebhooksRead, "/settings/webhooks/{id}/replay", "/settings/webhooks/{webhook}/replay"),
    page(WebhooksRead, "/settings/webhooks/{id}/delete", "/settings/webhooks/{webhook}/delete"),
    plain(ExportCreate, "/settings/export"),
    filtered(Needs::Right(ConnectorsWrite), "/settings/export/{view}", "/settings/export/import"),
    plain(TeamRead, "/team"),
    plain(TeamRead, "/team/invitations"),
    plain(TeamRead, "/team/roles"),
    page(TeamRead, "/team/roles/{id}", "/team/roles/{role}"),
    page(TeamRead, "/team/{id}/remove", "/team/{member}/remove"),
    plain(SecurityRead, "/settings/security"),
    plain(SecurityRead, "/settings/security/allowlist"),
    plain(AuditRead, "/settings/audit"),
    filtered(Needs::Right(AuditRead), "/settings/audit", "/settings/audit?user={member}"),
    plain(AuditRead, "/settings/audit/stream"),
    page(AuditRead, "/settings/audit/{id}", "/settings/audit/{event}"),
    own("/profile"),
    own("/profile/account"),
    filtered(Needs::Person, "/profile/account", "/profile/account?leave={org}"),
    own("/profile/account/delete"),
    own("/profile/security/passkeys"),
    filtered(Needs::Person, "/profile/security/{what}", "/profile/security/two-factor"),
    own("/profile/sessions"),
    own("/profile/connections"),
    plain(ConnectorsRead, "/profile/authorizations"),
    open("/help/authentication"),
    open("/help/claude-ai"),
    open("/help/export"),
    open("/help/quickstart"),
    open("/help/domain"),
    open("/help/webhooks"),
    // All components, in builds for development; it shows nothing of anybody.
    open("/__ui"),
];

/// How an address is asked for that is no page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// The server functions: [`super::acts::ACTS`].
    Functions,
    /// A form that is answered with a file: what it needs, its fields, and the status for what is not there.
    File(Permission, &'static [(&'static str, &'static str)], u16),
    /// A form or link of whoever is signed in, with its fields.
    Post(&'static [(&'static str, &'static str)]),
    Get(&'static str),
    /// A request of an app of one's own for access to this resource.
    Authorize(&'static str),
    /// Events for as long as somebody listens.
    Events(Permission, &'static str),
    /// The endpoint of an organisation, by its slug.
    Endpoint(&'static str),
    /// What the key that comes along decides: its organisation's and no other's.
    ByKey(&'static str),
    /// Documents that are the same for every organisation, and for none, but that they name the identity provider that an
    /// organisation takes tokens of (RFC 9728, section 2).
    Document(&'static str),
    /// Nothing of any organisation.
    Open,
    /// A client of the authorization server, with its own secret.
    Client(&'static [(&'static str, &'static str)]),
    /// Nothing but the registration's own token, which no other organisation's client has.
    Registration(&'static str),
}

/// All addresses that are no pages.
pub(super) const OTHERS: &[(&str, Way)] = &[
    ("/api/{*function}", Way::Functions),
    ("/settings/export-file", Way::File(ExportCreate, &[("id", "{export}")], 404)),
    ("/settings/audit-export", Way::File(AuditExport, &[("format", "csv"), ("user", "{member}")], 200)),
    ("/live", Way::Events(ConnectorsRead, "/live?at=/connectors/{connector}")),
    ("/activity/events", Way::Events(LogsRead, "/activity/events?principal={key}")),
    (
        "/oauth/consent/decision",
        Way::Post(&[("request", "{consent}"), ("org", "{org}"), ("decision", "allow"), ("all", "on")]),
    ),
    ("/oauth/upstream/callback", Way::Get("/oauth/upstream/callback?code=x&state={state}")),
    ("/oauth/sso/callback", Way::Get("/oauth/sso/callback?code=x&state={state}")),
    ("/oauth/authorize", Way::Authorize("http://localhost:3000/mcp/{slug}")),
    ("/mcp/{slug}", Way::Endpoint("/mcp/{slug}")),
    ("/mcp/{slug}/{connector}", Way::Endpoint("/mcp/{slug}/{tool_slug}")),
    ("/mcp/{slug}/sse", Way::Endpoint("/mcp/{slug}/sse")),
    ("/mcp/{slug}/{connector}/sse", Way::Endpoint("/mcp/{slug}/{tool_slug}/sse")),
    ("/v1/mcp/invoke", Way::ByKey("/v1/mcp/invoke")),
    ("/v1/mcp/tools", Way::ByKey("/v1/mcp/tools")),
    ("/v1/openapi.json", Way::Open),
    (
        "/.well-known/oauth-protected-resource/mcp/{slug}",
        Way::Document("/.well-known/oauth-protected-resource/mcp/{slug}"),
    ),
    (
        "/.well-known/oauth-protected-resource/mcp/{slug}/{connector}",
        Way::Document("/.well-known/oauth-protected-resource/mcp/{slug}/{tool_slug}"),
    ),
    ("/.well-known/oauth-authorization-server", Way::Open),
    ("/.well-known/oauth-authorization-server/{*path}", Way::Open),
    ("/.well-known/openid-configuration", Way::Open),
    ("/.well-known/openid-configuration/{*path}", Way::Open),
    ("/oauth/jwks.json", Way::Open),
    ("/oauth/upstream/client.json", Way::Open),
    ("/oauth/token", Way::Client(&[("grant_type", "refresh_token"), ("refresh_token", "{refresh}")])),
    ("/oauth/revoke", Way::Client(&[("token", "{token}")])),
    ("/oauth/introspect", Way::Client(&[("token", "{token}")])),
    ("/oauth/register", Way::Open),
    ("/oauth/register/{id}", Way::Registration("/oauth/register/{client}")),
    ("/assets/{hash}/{*path}", Way::Open),
    ("/csp-reports", Way::Open),
    ("/favicon.ico", Way::Open),
    ("/livez", Way::Open),
    ("/readyz", Way::Open),
];
