//! What each server function is called with. `{name}` stands for a thing of an organisation, by its name in
//! [`super::world`]; `{own:name}` for the caller's own. A function has as many lines as it has ways to name something.

use model::Permission::{self, *};

use super::same::named;

/// Who may call something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Members with the permission.
    Right(Permission),
    /// Whoever is signed in, for what is their own.
    Person,
    /// Anybody: nothing is known of who calls, or a link from a mail says it.
    Nobody,
}

/// A call of a server function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    pub(super) name: &'static str,
    pub(super) needs: Needs,
    pub(super) fields: &'static [(&'static str, &'static str)],
    /// What another organisation's things are answered with, which is what things that are not there are answered with.
    pub(super) foreign: u16,
}

impl Act {
    /// Whether it names something of an organisation.
    pub(super) fn names_something(&self) -> bool {
        self.fields.iter().any(|(_, value)| named(value).any(|name| !name.starts_with("own:")))
    }

    pub(super) fn only_looks(&self) -> bool {
        self.name.starts_with("load_")
    }
}

type Fields = &'static [(&'static str, &'static str)];

const fn act(needs: Permission, name: &'static str, fields: Fields) -> Act {
    Act { name, needs: Needs::Right(needs), fields, foreign: 404 }
}

/// What is found by nothing is no error: a filter, or a reference within a form.
const fn answered(foreign: u16, needs: Permission, name: &'static str, fields: Fields) -> Act {
    Act { name, needs: Needs::Right(needs), fields, foreign }
}

const fn person(name: &'static str, fields: Fields) -> Act {
    Act { name, needs: Needs::Person, fields, foreign: 404 }
}

const fn nobody(name: &'static str, fields: Fields) -> Act {
    Act { name, needs: Needs::Nobody, fields, foreign: 404 }
}

/// All of them.
pub(super) const ACTS: &[&[Act]] =
    &[ORGANISATION, KEYS, CONNECTORS, PEOPLE, WEBHOOKS, LOGS, PROVIDERS, ACCOUNTS];

const ORGANISATION: &[Act] = &[
    act(ConnectorsRead, "load_overview", &[("search", "range=24h")]),
    act(ConnectorsWrite, "add_demo_connector", &[]),
    act(ConnectorsWrite, "dismiss_onboarding", &[]),
    act(ConnectorsRead, "load_settings", &[]),
    act(OrgUpdate, "update_org", &[("name", "Taken"), ("description", "")]),
    act(OrgDelete, "load_org_deletion", &[]),
    // Without the token of the form, which is asked for after the right.
    answered(
        403,
        OrgDelete,
        "delete_org",
        &[("confirm", "{slug}"), ("password", "correct horse battery staple 9")],
    ),
    act(UsageRead, "load_plan", &[]),
    act(BillingManage, "change_plan", &[("plan", "team")]),
    act(SecurityRead, "load_security", &[]),
    act(SecurityManage, "set_require_mfa", &[("on", "true")]),
    act(SecurityManage, "allow_trusted_browsers", &[("on", "true")]),
    act(SecurityManage, "set_pin_protection", &[("on", "true")]),
    act(SecurityManage, "set_session_timeout", &[("minutes", "600")]),
    act(SecurityRead, "load_allowlist", &[]),
    act(SecurityManage, "add_allowed_range", &[("range", "192.0.2.0/24"), ("note", "")]),
    act(SecurityManage, "add_vendor_ranges", &[("vendor", "anthropic")]),
    act(SecurityManage, "remove_allowed_range", &[("range", "{range}")]),
    act(SecurityManage, "turn_on_allowlist", &[]),
    act(SecurityManage, "keep_allowlist", &[]),
    act(SecurityManage, "turn_off_allowlist", &[]),
    act(DomainsRead, "load_domain", &[]),
    act(DomainsManage, "add_domain", &[("host", "mcp.third.example")]),
    act(DomainsManage, "verify_domain", &[]),
    answered(422, DomainsManage, "remove_domain", &[("host", "{host}")]),
    act(ExportCreate, "load_exports", &[("view", "")]),
    act(ExportCreate, "create_export", &[("parts[0]", "members"), ("format", "json")]),
    act(ExportCreate, "delete_export", &[("id", "{export}")]),
    act(ExportCreate, "refresh_exports", &[]),
    act(ConnectorsWrite, "import_connectors", &[("text", "{}"), ("clash", "skip")]),
];

const KEYS: &[Act] = &[
    act(ApiKeysRead, "load_api_keys", &[]),
    act(ApiKeysRead, "load_api_key", &[("id", "{key}")]),
    answered(
        404,
        ApiKeysCreate,
        "create_api_key",
        &[("name", "x"), ("access", "some"), ("connectors[0]", "{connector}"), ("expires", "never")],
    ),
    act(ApiKeysUpdate, "rename_api_key", &[("id", "{key}"), ("name", "x")]),
    act(ApiKeysUpdate, "set_api_key_enabled", &[("id", "{key}"), ("enabled", "false")]),
    act(
        ApiKeysUpdate,
        "update_api_key",
        &[("id", "{key}"), ("name", "x"), ("access", "all"), ("expires", "keep")],
    ),
    answered(
        404,
        ApiKeysUpdate,
        "update_api_key",
        &[
            ("id", "{own:key}"),
            ("name", "x"),
            ("access", "some"),
            ("connectors[0]", "{connector}"),
            ("expires", "keep"),
        ],
    ),
    act(ApiKeysCreate, "copy_api_key", &[("id", "{key}")]),
    act(ApiKeysRevoke, "delete_api_key", &[("id", "{key}")]),
    act(ApiKeysCreate, "open_connect_helper", &[]),
    act(SecurityManage, "set_key_settings", &[("visibility", "copyable")]),
    act(ApiKeysRead, "load_connections", &[]),
    act(ApiKeysRead, "load_connection", &[("id", "{connection}")]),
    act(ApiKeysRevoke, "revoke_connection", &[("id", "{connection}")]),
    act(ApiKeysRevoke, "regenerate_connection", &[("id", "{connection}"), ("prefix", "")]),
    act(ConnectorsRead, "load_oauth_ways", &[]),
    act(ApiKeysRevoke, "dismiss_alert", &[("connection", "{connection}")]),
    act(OauthClientsRead, "load_doctor", &[]),
    act(OauthClientsRead, "run_self_test", &[]),
    act(OauthClientsRead, "load_oauth_clients", &[]),
    act(OauthClientsRead, "load_oauth_client", &[("id", "{client}")]),
    answered(
        422,
        OauthClientsWrite,
        "create_oauth_client",
        &[
            ("name", "x"),
            ("kind", "machine"),
            ("access", "some"),
            ("connectors[0]", "{tool_slug}"),
            ("proof", "client_secret_basic"),
        ],
    ),
    act(OauthClientsWrite, "rotate_oauth_client", &[("id", "{client}"), ("overlap", "1h")]),
    act(OauthClientsWrite, "update_oauth_client", &[("id", "{client}"), ("name", "x"), ("access", "all")]),
    answered(
        422,
        OauthClientsWrite,
        "update_oauth_client",
        &[("id", "{own:client}"), ("name", "x"), ("access", "some"), ("connectors[0]", "{tool_slug}")],
    ),
    act(OauthClientsWrite, "delete_oauth_client", &[("id", "{client}"), ("confirm", "Robot")]),
    act(OauthClientsWrite, "set_oauth_settings", &[("days", "7"), ("reuse", "revoke")]),
];

const CONNECTORS: &[Act] = &[
    act(ConnectorsRead, "load_connectors", &[]),
    act(ConnectorsRead, "load_connector", &[("id", "{connector}")]),
    act(ConnectorsDelete, "load_connector_to_delete", &[("id", "{connector}")]),
    act(ConnectorsRead, "load_local_servers", &[]),
    act(
        ConnectorsWrite,
        "add_connector",
        &[("name", "x"), ("slug", "x-files"), ("url", "http://127.0.0.1:9/"), ("description", "")],
    ),
    act(
        ConnectorsWrite,
        "update_connector",
        &[("id", "{connector}"), ("name", "x"), ("url", "http://127.0.0.1:9/"), ("description", "")],
    ),
    act(ConnectorsWrite, "set_connector_enabled", &[("id", "{connector}"), ("enabled", "false")]),
    act(
        ConnectorsWrite,
        "set_tool_enabled",
        &[("id", "{connector}"), ("tool", "echo"), ("enabled", "false")],
    ),
    act(ConnectorsRead, "load_tool", &[("of", "{connector}:echo")]),
    act(
        ConnectorsWrite,
        "update_tool",
        &[("id", "{connector}"), ("tool", "echo"), ("alias", "x"), ("description", ""), ("timeout", "")],
    ),
    act(
        ConnectorsWrite,
        "review_tool",
        &[("id", "{connector}"), ("tool", "echo"), ("fingerprint", "x"), ("approve", "true")],
    ),
    act(ConnectorsWrite, "approve_new_tools", &[("id", "{connector}")]),
    act(ConnectorsWrite, "set_tool_policy", &[("id", "{connector}"), ("enabled", "true")]),
    act(ConnectorsWrite, "set_connector_prefix", &[("id", "{connector}"), ("enabled", "false")]),
    act(ConnectorsWrite, "test_connector", &[("id", "{connector}")]),
    act(ConnectorsDelete, "delete_connector", &[("id", "{connector}"), ("confirm", "demo")]),
    act(ConnectorsRead, "load_credentials", &[("id", "{authorised}")]),
    act(ConnectorsWrite, "put_credentials", &[("id", "{authorised}"), ("kind", "per_user")]),
    act(ConnectorsWrite, "begin_authorization", &[("id", "{authorised}")]),
    act(ConnectorsWrite, "disconnect", &[("id", "{authorised}")]),
    act(ConnectorsRead, "load_own_authorizations", &[]),
    act(PlaygroundUse, "begin_own_authorization", &[("id", "{linked}")]),
    act(PlaygroundUse, "remove_own_authorization", &[("id", "{linked}")]),
    answered(200, PlaygroundUse, "load_playground", &[("tool", "{tool_slug}/whoami")]),
    act(PlaygroundUse, "run_tool", &[("tool", "{tool_slug}/whoami")]),
];

const PEOPLE: &[Act] = &[
    act(TeamRead, "load_team", &[]),
    act(TeamRead, "load_leaving", &[("id", "{member}")]),
    act(TeamRoles, "set_member_role", &[("id", "{member}"), ("role", "viewer")]),
    answered(422, TeamRoles, "set_member_role", &[("id", "{own:member}"), ("role", "{role}")]),
    act(TeamRemove, "remove_member", &[("id", "{member}")]),
    act(TeamRead, "load_invitations", &[]),
    answered(422, TeamInvite, "invite_members", &[("emails", "x@x.example"), ("role", "{role}")]),
    act(TeamInvite, "renew_invitation", &[("id", "{invitation}")]),
    act(TeamInvite, "withdraw_invitation", &[("id", "{invitation}")]),
    act(TeamRead, "load_roles", &[]),
    act(TeamRoles, "put_role", &[("id", "{role}"), ("name", "x"), ("permissions[0]", "team:read")]),
    act(TeamRoles, "delete_role", &[("id", "{role}")]),
    answered(422, TeamRoles, "delete_role", &[("id", "{own:role}"), ("instead", "{role}")]),
];

const WEBHOOKS: &[Act] = &[
    act(WebhooksRead, "load_webhooks", &[]),
    act(WebhooksRead, "load_webhook", &[("id", "{webhook}")]),
    act(WebhooksRead, "load_deliveries", &[("search", "webhook={webhook}")]),
    act(WebhooksRead, "load_deliveries", &[("search", "webhook={webhook}&id={delivery}")]),
    act(WebhooksRead, "load_deliveries", &[("search", "webhook={own:webhook}&id={delivery}")]),
    act(WebhooksWrite, "create_webhook", &[("url", "http://127.0.0.1:9/x"), ("access", "all")]),
    act(
        WebhooksWrite,
        "update_webhook",
        &[("id", "{webhook}"), ("url", "http://127.0.0.1:9/x"), ("access", "all")],
    ),
    act(WebhooksWrite, "rotate_webhook", &[("id", "{webhook}")]),
    act(WebhooksWrite, "pause_webhook", &[("id", "{webhook}")]),
    act(WebhooksWrite, "resume_webhook", &[("id", "{webhook}")]),
    act(WebhooksWrite, "delete_webhook", &[("id", "{webhook}")]),
    act(WebhooksWrite, "test_webhook", &[("id", "{webhook}")]),
    act(WebhooksWrite, "replay_delivery", &[("webhook", "{webhook}"), ("id", "{delivery}")]),
    act(WebhooksWrite, "replay_delivery", &[("webhook", "{own:webhook}"), ("id", "{delivery}")]),
    act(WebhooksWrite, "count_replay", &[("id", "{webhook}"), ("from", "2026-09-01")]),
    act(WebhooksWrite, "replay_events", &[("id", "{webhook}"), ("from", "2026-09-01")]),
];

const LOGS: &[Act] = &[
    answered(200, LogsRead, "load_activity", &[("search", "principal={key}")]),
    answered(200, LogsRead, "load_activity", &[("search", "before={request}")]),
    answered(200, LogsRead, "load_activity", &[("search", "connector={tool_slug}")]),
    act(LogsRead, "refresh_activity", &[]),
    act(LogsRead, "load_request", &[("id", "{request}")]),
    act(LogsRead, "load_activity_settings", &[]),
    act(SecurityManage, "set_activity", &[("days", "5"), ("thresholds", "50, 90")]),
    answered(200, AuditRead, "load_audit", &[("search", "user={member}")]),
    answered(200, AuditRead, "load_audit", &[("search", "user={member_email}")]),
    act(AuditRead, "load_audit_event", &[("id", "{event}")]),
    act(AuditRead, "load_audit_stream", &[]),
    act(
        SecurityManage,
        "put_audit_stream",
        &[("kind", "json_lines"), ("url", "http://127.0.0.1:9/"), ("enabled", "on")],
    ),
    act(SecurityManage, "test_audit_stream", &[]),
    act(SecurityManage, "delete_audit_stream", &[]),
];

const PROVIDERS: &[Act] = &[
    act(SsoRead, "load_sso", &[]),
    act(SsoManage, "put_idp", &[("issuer", "http://127.0.0.1:9"), ("audience", "x"), ("accept[]", "tokens")]),
    act(SsoManage, "set_idp_enabled", &[("enabled", "false")]),
    act(SsoManage, "delete_idp", &[("understood", "on")]),
    act(SsoManage, "test_idp_token", &[("token", "a.b.c")]),
    act(SsoRead, "load_sso_login", &[]),
    answered(
        422,
        SsoManage,
        "put_sso_login",
        &[
            ("issuer", "{own:issuer}"),
            ("client_id", "gatehouse"),
            ("default_role", "{role}"),
            ("mode", "optional"),
        ],
    ),
    act(SsoManage, "test_sso_login", &[]),
    act(SsoManage, "delete_sso_login", &[("understood", "on")]),
    act(SsoManage, "add_sso_domain", &[("domain", "third.example")]),
    act(SsoManage, "check_sso_domain", &[("id", "{sso_domain}")]),
    act(SsoManage, "remove_sso_domain", &[("id", "{sso_domain}")]),
];

/// What belongs to a person, and what stands before the log-in.
const ACCOUNTS: &[Act] = &[
    person("load_me", &[]),
    person("create_org", &[("name", "Third"), ("slug", "third")]),
    person("switch_org", &[("org", "{org}")]),
    person("leave_org", &[("org", "{org}")]),
    person("load_own_connections", &[]),
    person("dismiss_own_alert", &[("connection", "{connection}")]),
    person("revoke_own_connection", &[("id", "{connection}")]),
    Act {
        name: "load_consent",
        needs: Needs::Person,
        fields: &[("request", "{consent}")],
        // A page that says what is wrong stands where the request would.
        foreign: 200,
    },
    person("load_factors", &[("what", "pin")]),
    person("confirm_identity", &[("password", "wrong"), ("next", "/")]),
    person("begin_two_factor", &[]),
    person("confirm_two_factor", &[("code", "000000")]),
    person("make_backup_codes", &[]),
    person("turn_off_two_factor", &[("password", "wrong"), ("code", "000000")]),
    person("set_pin", &[("new_pin", "483920"), ("again_pin", "483920")]),
    person("remove_pin", &[("pin", "483920")]),
    person("load_passkeys", &[]),
    person("add_passkey", &[("name", "x"), ("passkey", "{}")]),
    person("rename_passkey", &[("id", "{passkey}"), ("name", "x")]),
    person("remove_passkey", &[("id", "{passkey}"), ("password", "correct horse battery staple 9")]),
    person("load_account", &[]),
    person("change_password", &[("current_password", "wrong"), ("new_password", "an0ther-long-passphrase")]),
    person("ask_for_address", &[("email", "x@x.example"), ("password", "wrong")]),
    person("ask_to_verify", &[]),
    Act {
        name: "delete_account",
        needs: Needs::Person,
        fields: &[("email", "{owner_email}"), ("password", "wrong")],
        foreign: 422,
    },
    person("update_profile", &[("name", "x")]),
    person("load_sessions", &[]),
    person("distrust_browser", &[("id", "{browser}")]),
    person("revoke_session", &[("id", "{session}")]),
    person("revoke_other_sessions", &[]),
    nobody("load_theme", &[]),
    nobody("load_new_org", &[]),
    nobody("set_theme", &[]),
    nobody("load_sign_in", &[]),
    nobody("sign_in", &[]),
    nobody("finish_sign_in", &[]),
    nobody("begin_passkey", &[]),
    nobody("sign_in_with_passkey", &[]),
    nobody("finish_with_passkey", &[]),
    nobody("restart_sign_in", &[]),
    nobody("load_setup", &[]),
    nobody("complete_setup", &[]),
    nobody("sign_out", &[]),
    nobody("load_ask", &[]),
    nobody("start_sso", &[]),
    nobody("ask_reset", &[]),
    nobody("ask_sign_up", &[]),
    nobody("load_link", &[]),
    nobody("reset_password", &[]),
    nobody("finish_sign_up", &[]),
    nobody("confirm_address", &[]),
    nobody("accept_as_new", &[]),
    nobody("accept_invitation", &[]),
    nobody("ask_another_invitation", &[]),
    nobody("decline_invitation", &[]),
    nobody("switch_account", &[]),
];
