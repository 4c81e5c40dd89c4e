//! Every URL of Gatehouse, built by a function: used by the router, links, redirects and tests. No other place spells one.

use crate::{
    ApiKeyId, AuditEventId, ConnectionId, ConnectorId, LogEntryId, OrgId, OutboxId, RoleId, UserId, WebhookId,
};

/// Beginnings of paths whose rest is a secret: whoever knows it can act. No log shows more than the beginning (PWD-08, ERR-02).
pub const SECRET_BELOW: [&str; 5] =
    ["/setup/", "/reset-password/", "/invite/", "/confirm-address/", "/sign-up/"];

/// The overview, and where a signed-in person lands.
pub const fn overview() -> &'static str {
    "/"
}
/// Log in.
pub const fn sign_in() -> &'static str {
    "/sign-in"
}
/// Log out; POST only.
pub const fn sign_out() -> &'static str {
    "/sign-out"
}
/// Log in, then go on to `next`, which must be a path of ours. Going on to here would be a circle.
pub fn sign_in_then(next: &str) -> String {
    let here = next.split(['?', '#']).next() == Some(sign_in());
    if next == "/" || here { sign_in().to_owned() } else { format!("{}?next={}", sign_in(), encode(next)) }
}
/// Log in although somebody is logged in, then go on to `next`.
pub fn sign_in_again_then(next: &str) -> String {
    format!("{}?again=1&next={}", sign_in(), encode(next))
}
/// The one-time set-up link.
pub fn setup(token: &str) -> String {
    format!("/setup/{token}")
}
/// Where browsers tell what the policy of a page kept from happening; POST only.
pub const fn csp_reports() -> &'static str {
    "/csp-reports"
}
/// A new organisation.
pub const fn new_org() -> &'static str {
    "/orgs/new"
}
/// All connectors.
pub const fn connectors() -> &'static str {
    "/connectors"
}
/// Add a connector.
pub const fn new_connector() -> &'static str {
    "/connectors/new"
}
/// One connector: state and tools.
pub fn connector(id: ConnectorId) -> String {
    format!("/connectors/{id}")
}
/// A connector's settings.
pub fn edit_connector(id: ConnectorId) -> String {
    format!("/connectors/{id}/edit")
}
/// How a connector authenticates itself to its server.
pub fn connector_credentials(id: ConnectorId) -> String {
    format!("/connectors/{id}/credentials")
}
/// A tool of a connector: its name, description, time-out and review.
pub fn connector_tool(id: ConnectorId, tool: &str) -> String {
    format!("/connectors/tools/{id}:{}", encode(tool))
}
/// Ask before a connector is deleted.
pub fn delete_connector(id: ConnectorId) -> String {
    format!("/connectors/{id}/delete")
}
/// The request log.
pub const fn activity() -> &'static str {
    "/activity"
}
/// One request: what came of it, and where its time went.
pub fn activity_entry(id: LogEntryId) -> String {
    format!("/activity/{id}")
}
/// What is kept of requests, and for how long.
pub const fn activity_settings() -> &'static str {
    "/activity/settings"
}
/// Tells of new requests while somebody looks at the log (server-sent events).
pub const fn activity_events() -> &'static str {
    "/activity/events"
}
/// Tells a page that somebody has changed what it shows (server-sent events); `?at=` says which page.
pub const fn live() -> &'static str {
    "/live"
}
/// Call a tool from the dashboard.
pub const fn playground() -> &'static str {
    "/playground"
}
/// The form for one tool.
pub fn playground_tool(connector: &str, tool: &str) -> String {
    format!("/playground?tool={}", encode(&format!("{connector}/{tool}")))
}
/// Call a tool without speaking MCP.
pub const fn rest_invoke() -> &'static str {
    "/v1/mcp/invoke"
}
/// List tools without speaking MCP.
pub const fn rest_tools() -> &'static str {
    "/v1/mcp/tools"
}
/// The `OpenAPI` document of both.
pub const fn rest_openapi() -> &'static str {
    "/v1/openapi.json"
}
/// The organisation's own domain.
pub const fn settings_domain() -> &'static str {
    "/settings/domain"
}

/// What a domain is.
pub const fn help_domain() -> &'static str {
    "/help/domain"
}

/// Gives the domain up.
pub const fn remove_domain() -> &'static str {
    "/settings/domain/remove"
}

/// General settings.
pub const fn settings() -> &'static str {
    "/settings"
}
/// API keys.
pub const fn settings_api_keys() -> &'static str {
    "/settings/api-keys"
}
/// Make a key.
pub const fn new_api_key() -> &'static str {
    "/settings/api-keys/new"
}
/// The agent helper; a key is shown only in the answer to a POST here.
pub const fn connect_agent() -> &'static str {
    "/settings/api-keys/connect"
}
/// Rename a key or change its connectors and expiry.
pub fn edit_api_key(id: ApiKeyId) -> String {
    format!("/settings/api-keys/{id}/edit")
}
/// Ask before a key is deleted.
pub fn delete_api_key(id: ApiKeyId) -> String {
    format!("/settings/api-keys/{id}/delete")
}
/// OAuth clients.
pub const fn settings_oauth_clients() -> &'static str {
    "/settings/oauth-clients"
}
/// Make an OAuth client.
pub const fn new_oauth_client() -> &'static str {
    "/settings/oauth-clients/new"
}
/// One OAuth client: what it is, its secrets, rotation. Ids of self-registered clients may be URLs, hence encoded.
pub fn oauth_client(id: &str) -> String {
    format!("/settings/oauth-clients/{}", encode_segment(id))
}
/// Ask before an OAuth client is deleted.
pub fn delete_oauth_client(id: &str) -> String {
    format!("/settings/oauth-clients/{}/delete", encode_segment(id))
}
/// MCP connections.
pub const fn settings_connections() -> &'static str {
    "/settings/mcp-connections"
}
/// Ask before a connection is revoked.
pub fn revoke_connection(id: ConnectionId) -> String {
    format!("/settings/mcp-connections/{id}/revoke")
}
/// Ask before a connection's key is made anew.
pub fn regenerate_connection(id: ConnectionId) -> String {
    format!("/settings/mcp-connections/{id}/regenerate")
}
/// How to connect an MCP client by signing in.
pub const fn how_to_connect() -> &'static str {
    "/settings/mcp-connections/how-to"
}
/// The connection doctor: what was seen of clients on their way, and the self-test.
pub const fn connection_doctor() -> &'static str {
    "/settings/mcp-connections/doctor"
}
/// Identity providers of the organisation.
pub const fn settings_sso() -> &'static str {
    "/settings/sso"
}
/// Logging in to the dashboard at the organisation's own provider.
pub const fn settings_sso_login() -> &'static str {
    "/settings/sso/login"
}
/// Asks for an address, to log in at the provider of its organisation.
pub const fn sign_in_sso() -> &'static str {
    "/sign-in/sso"
}
/// The same, and then to another page of ours.
pub fn sign_in_sso_then(next: &str) -> String {
    format!("{}?next={}", sign_in_sso(), encode(next))
}
/// Where providers send people back to.
pub const fn sso_callback() -> &'static str {
    "/oauth/sso/callback"
}
/// The members.
pub const fn team() -> &'static str {
    "/team"
}
/// What each role may do.
pub const fn team_roles() -> &'static str {
    "/team/roles"
}
/// Make a role.
pub const fn new_role() -> &'static str {
    "/team/roles/new"
}
/// One role that the organisation made.
pub fn team_role(id: RoleId) -> String {
    format!("/team/roles/{id}")
}
/// Invitations: the open ones, and inviting.
pub const fn team_invitations() -> &'static str {
    "/team/invitations"
}
/// An invitation's link.
pub fn invitation(token: &str) -> String {
    format!("/invite/{token}")
}
/// Ask for an account.
pub const fn sign_up() -> &'static str {
    "/sign-up"
}
/// The link that finishes a sign-up.
pub fn finish_sign_up(token: &str) -> String {
    format!("/sign-up/{token}")
}
/// Ask for a link to set a new password.
pub const fn forgot_password() -> &'static str {
    "/forgot-password"
}
/// The link to set a new password.
pub fn reset_password(token: &str) -> String {
    format!("/reset-password/{token}")
}
/// The link that confirms an address.
pub fn confirm_address(token: &str) -> String {
    format!("/confirm-address/{token}")
}
/// Address, password and organisations of the signed-in person.
pub const fn profile_account() -> &'static str {
    "/profile/account"
}
/// Ask before the signed-in person leaves an organisation.
pub fn leave_org(org: OrgId) -> String {
    format!("/profile/account?leave={org}")
}
/// Ask before somebody deletes their own account.
pub const fn delete_account() -> &'static str {
    "/profile/account/delete"
}
/// Ask before a member goes.
pub fn remove_member(user: UserId) -> String {
    format!("/team/{user}/remove")
}
/// How the organisation protects its accounts.
pub const fn settings_security() -> &'static str {
    "/settings/security"
}
/// Where an organisation is deleted.
pub const fn settings_danger() -> &'static str {
    "/settings/danger"
}
/// The plan, and changing it.
pub const fn settings_plan() -> &'static str {
    "/settings/plan"
}
/// The audit log.
pub const fn settings_audit() -> &'static str {
    "/settings/audit"
}
/// Where it is streamed to.
pub const fn settings_audit_stream() -> &'static str {
    "/settings/audit/stream"
}
/// One event of it.
pub fn audit_event(id: AuditEventId) -> String {
    format!("/settings/audit/{id}")
}
/// The filtered log as a file; POST only. Not below the log, where it would be an event.
pub const fn audit_export() -> &'static str {
    "/settings/audit-export"
}
/// Exports of the organisation's data.
pub const fn settings_export() -> &'static str {
    "/settings/export"
}
/// Bring in the connectors of another organisation's export.
pub const fn settings_import() -> &'static str {
    "/settings/export/import"
}
/// The file of an export; POST only.
pub const fn export_file() -> &'static str {
    "/settings/export-file"
}
/// The connections of the signed-in person.
pub const fn profile_connections() -> &'static str {
    "/profile/connections"
}
/// The servers that the signed-in person authorises for themselves.
pub const fn profile_authorizations() -> &'static str {
    "/profile/authorizations"
}
/// Where authorization servers of connectors send people back to.
pub const fn upstream_callback() -> &'static str {
    "/oauth/upstream/callback"
}
/// The document about Gatehouse as a client of others (client-id metadata document).
pub const fn upstream_client() -> &'static str {
    "/oauth/upstream/client.json"
}
/// Where a client sends a person to ask for access.
pub const fn authorize() -> &'static str {
    "/oauth/authorize"
}
/// The page that asks whether a client may have access; `request` is the value of the stored request.
pub fn consent(request: &str) -> String {
    format!("/oauth/consent?request={}", encode(request))
}
/// The same page once more, after an answer that could not be taken: for this organisation (may be empty), with the
/// field that has to change.
pub fn consent_again(request: &str, org: &str, field: &str) -> String {
    let org = if org.is_empty() { String::new() } else { format!("&org={}", encode(org)) };
    format!("{}{org}&error={}", consent(request), encode(field))
}
/// The answer to the consent page; POST only.
pub const fn consent_decision() -> &'static str {
    "/oauth/consent/decision"
}
/// Token endpoint.
pub const fn token() -> &'static str {
    "/oauth/token"
}
/// Dynamic client registration.
pub const fn register() -> &'static str {
    "/oauth/register"
}
/// Token revocation.
pub const fn revoke() -> &'static str {
    "/oauth/revoke"
}
/// Token introspection.
pub const fn introspect() -> &'static str {
    "/oauth/introspect"
}
/// The public keys that access tokens are signed with.
pub const fn jwks() -> &'static str {
    "/oauth/jwks.json"
}
/// Authorization server metadata (RFC 8414).
pub const fn authorization_server_metadata() -> &'static str {
    "/.well-known/oauth-authorization-server"
}
/// The same under the name of `OpenID` Connect Discovery, which some clients try first.
pub const fn openid_configuration() -> &'static str {
    "/.well-known/openid-configuration"
}
/// Webhooks.
pub const fn settings_webhooks() -> &'static str {
    "/settings/webhooks"
}
/// Add a webhook.
pub const fn new_webhook() -> &'static str {
    "/settings/webhooks/new"
}
/// One webhook: its state and what became of events.
pub fn webhook(id: WebhookId) -> String {
    format!("/settings/webhooks/{id}")
}
/// A webhook's settings: URL, events, secret.
pub fn edit_webhook(id: WebhookId) -> String {
    format!("/settings/webhooks/{id}/edit")
}
/// Ask before a webhook is deleted.
pub fn delete_webhook(id: WebhookId) -> String {
    format!("/settings/webhooks/{id}/delete")
}
/// Try a webhook out.
pub fn test_webhook(id: WebhookId) -> String {
    format!("/settings/webhooks/{id}/test")
}
/// Send the events of some days once more.
pub fn replay_webhook(id: WebhookId) -> String {
    format!("/settings/webhooks/{id}/replay")
}
/// What became of events on their way to a webhook; what follows `&` chooses among them.
pub fn webhook_deliveries(id: WebhookId) -> String {
    format!("/settings/webhooks/deliveries?webhook={id}")
}
/// One event on its way to a webhook.
pub fn webhook_delivery(id: WebhookId, event: OutboxId) -> String {
    format!("/settings/webhooks/delivery?webhook={id}&id={event}")
}
/// Built-in help: webhooks and their signatures.
pub const fn help_webhooks() -> &'static str {
    "/help/webhooks"
}
/// Built-in help: exports and imports.
pub const fn help_export() -> &'static str {
    "/help/export"
}
/// Built-in help: connect Claude.ai, step by step.
pub const fn help_claude_ai() -> &'static str {
    "/help/claude-ai"
}
/// The signed-in browsers of a person.
pub const fn profile_sessions() -> &'static str {
    "/profile/sessions"
}
/// The addresses that the organisation may be reached from.
pub const fn settings_allowlist() -> &'static str {
    "/settings/security/allowlist"
}
/// The second factor of the signed-in person.
pub const fn profile_two_factor() -> &'static str {
    "/profile/security/two-factor"
}
/// The same, on the way to `next`.
pub fn profile_two_factor_then(next: &str) -> String {
    format!("{}?next={}", profile_two_factor(), encode(next))
}
/// The PIN of the signed-in person in the organisation in view.
pub const fn profile_pin() -> &'static str {
    "/profile/security/pin"
}
/// Passkeys.
pub const fn profile_passkeys() -> &'static str {
    "/profile/security/passkeys"
}

/// Passkeys, and on to somewhere when there is one.
pub fn profile_passkeys_then(next: &str) -> String {
    format!("{}?next={}", profile_passkeys(), encode(next))
}
/// Name and appearance of the signed-in person.
pub const fn profile() -> &'static str {
    "/profile"
}
/// Built-in help: what each credential is.
pub const fn help_authentication() -> &'static str {
    "/help/authentication"
}
/// Built-in help: the first authenticated request.
pub const fn help_quickstart() -> &'static str {
    "/help/quickstart"
}
/// An organisation's MCP endpoint.
pub fn mcp(slug: &str) -> String {
    format!("/mcp/{slug}")
}
/// An organisation's MCP endpoint on its own domain.
pub const fn mcp_at_domain() -> &'static str {
    "/mcp"
}
/// One connector's MCP endpoint.
pub fn mcp_connector(slug: &str, connector: &str) -> String {
    format!("/mcp/{slug}/{connector}")
}
/// OAuth 2.0 Protected Resource Metadata of an endpoint (RFC 9728 §3.1: the well-known part goes before the path).
pub fn protected_resource_metadata(endpoint_path: &str) -> String {
    format!("/.well-known/oauth-protected-resource{endpoint_path}")
}

/// Percent-encodes a query value.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
        }
    }
    out
}

/// Percent-encodes one segment of a path.
pub fn encode_segment(text: &str) -> String {
    encode(text).replace('/', "%2F")
}

/// A path of ours to go on to, or `/`: anything that a browser could read as another site is dropped (SES-09).
pub fn safe_next(next: Option<&str>) -> &str {
    let Some(next) = next else { return overview() };
    // What stands in the query decides nothing about where a browser goes.
    let path = next.split('?').next().unwrap_or_default().to_ascii_lowercase();
    let safe = path.starts_with('/')
        && !path.contains("//")
        && !path.contains("%09")
        && !path.contains("%5c")
        && !path.starts_with("/api/")
        && !next.contains('\\')
        && next.bytes().all(|b| b > b' ' && b < 0x7F);
    if safe { next } else { overview() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ses_09_only_paths_of_ours_are_followed() {
        for bad in [
            "//evil",
            "/\\evil",
            "/%09/evil",
            "https:evil",
            "javascript:alert(1)",
            "evil",
            "/\t/evil",
            "",
            "/a//b",
        ] {
            assert_eq!(safe_next(Some(bad)), "/", "{bad}");
        }
        assert_eq!(safe_next(None), "/");
        for good in
            ["/settings/api-keys?x=1", "/oauth/authorize?redirect_uri=http://localhost/cb&state=%5C%09"]
        {
            assert_eq!(safe_next(Some(good)), good);
        }
    }

    /// Reads this file, so that a new path with a token in it is not forgotten.
    #[test]
    fn pwd_08_every_path_with_a_token_is_known_to_hold_a_secret() {
        let mut found = Vec::new();
        for function in include_str!("paths.rs").split("\npub fn ").skip(1) {
            let head = function.split('\n').next().unwrap_or_default();
            if ["token:", "secret:", "key:", "code:"].iter().any(|name| head.contains(name)) {
                let path = function.split("format!(\"").nth(1).and_then(|rest| rest.split('{').next());
                found.push(path.expect("a path").to_owned());
            }
        }
        found.sort_unstable();
        let mut known = SECRET_BELOW.to_vec();
        known.sort_unstable();
        assert_eq!(found, known);
        assert!(
            [setup("x"), finish_sign_up("x")].iter().all(|path| found.iter().any(|at| path.starts_with(at)))
        );
    }

    #[test]
    fn the_place_to_return_to_is_encoded() {
        assert_eq!(sign_in_then("/a?b=c&d"), "/sign-in?next=/a%3Fb%3Dc%26d");
        for circle in ["/", "/sign-in", "/sign-in?next=/sign-in", "/sign-in?notice=signed-out"] {
            assert_eq!(sign_in_then(circle), "/sign-in");
        }
        assert_eq!(sign_in_then("/sign-ins"), "/sign-in?next=/sign-ins");
    }
}
