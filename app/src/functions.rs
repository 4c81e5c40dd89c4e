//! What every server function does, as the audit log sees it (AUD-02). A test walks the functions that are linked in and
//! fails for one that is missing here; another calls each of them and looks whether the log says so.

/// What a call that works leaves in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Only looks, or keeps nothing that a log would be asked for; and why.
    Nothing(&'static str),
    /// One of these events, in the log of the organisation in view. What is refused to a member stands there under the
    /// first of them.
    ForOrg(&'static [&'static str]),
    /// One of these events, in the log of every organisation of the person, or of the instance's.
    ForPerson(&'static [&'static str]),
    /// All of these events, by somebody who need not be signed in.
    ForAnybody(&'static [&'static str]),
}

/// A server function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, which is the last part of its path.
    pub name: &'static str,
    /// What it does.
    pub does: Does,
    /// Whether it asks for the PIN in an organisation that wants one (PIN-04).
    pub pin: bool,
}

const fn org(name: &'static str, events: &'static [&'static str]) -> Function {
    Function { name, does: Does::ForOrg(events), pin: false }
}

const fn guarded(name: &'static str, events: &'static [&'static str]) -> Function {
    Function { name, does: Does::ForOrg(events), pin: true }
}

const fn person(name: &'static str, events: &'static [&'static str]) -> Function {
    Function { name, does: Does::ForPerson(events), pin: false }
}

const fn anybody(name: &'static str, events: &'static [&'static str]) -> Function {
    Function { name, does: Does::ForAnybody(events), pin: false }
}

const fn nothing(name: &'static str, why: &'static str) -> Function {
    Function { name, does: Does::Nothing(why), pin: false }
}

/// All that do not only load what a page shows; those are named `load_…`.
pub const FUNCTIONS: &[Function] = &[
    // First steps.
    org("add_demo_connector", &["mcp.created"]),
    org("dismiss_onboarding", &["onboarding.dismissed"]),
    nothing("run_self_test", "it asks this instance and keeps nothing"),
    // Activity.
    nothing("refresh_activity", "it brings what is counted up to date"),
    org("set_activity", &["settings.activity_updated"]),
    // One's own proofs.
    person("confirm_identity", &["auth.reauthenticated"]),
    nothing("begin_two_factor", "what it offers counts once it is confirmed"),
    person("confirm_two_factor", &["auth.mfa_enabled"]),
    person("make_backup_codes", &["auth.backup_codes_made"]),
    person("turn_off_two_factor", &["auth.mfa_disabled"]),
    person("set_pin", &["pin.set"]),
    Function { name: "remove_pin", does: Does::ForPerson(&["pin.removed"]), pin: true },
    // Passkeys and browsers.
    nothing("begin_passkey", "what it offers counts once it is answered"),
    person("add_passkey", &["auth.passkey_added"]),
    person("rename_passkey", &["auth.passkey_renamed"]),
    person("remove_passkey", &["auth.passkey_removed"]),
    anybody("sign_in_with_passkey", &["auth.signed_in"]),
    anybody("finish_with_passkey", &["auth.signed_in"]),
    person("distrust_browser", &["auth.browser_distrusted"]),
    // Logging in and accounts.
    anybody("ask_another_invitation", &["invitation.asked_again"]),
    nothing(
        "ask_reset",
        "the job that answers the wish notes it: here nothing may tell whether somebody is there",
    ),
    nothing("ask_sign_up", "the account is noted when it is made"),
    anybody("reset_password", &["auth.password_reset"]),
    anybody("finish_sign_up", &["auth.user_created", "org.created"]),
    anybody("confirm_address", &["auth.email_verified"]),
    anybody("accept_as_new", &["auth.user_created", "team.member_added"]),
    person("accept_invitation", &["team.member_added"]),
    anybody("decline_invitation", &["invitation.declined"]),
    person("switch_account", &["auth.signed_out"]),
    anybody("sign_in", &["auth.signed_in"]),
    anybody("finish_sign_in", &["auth.signed_in"]),
    nothing("restart_sign_in", "nobody was signed in yet"),
    anybody("complete_setup", &["auth.setup_completed", "org.created"]),
    person("sign_out", &["auth.signed_out"]),
    nothing("switch_org", "it changes what is in view"),
    person("create_org", &["org.created"]),
    nothing("set_theme", "it is a cookie"),
    // One's own account.
    person("change_password", &["auth.password_changed"]),
    person("ask_for_address", &["auth.email_change_requested"]),
    person("ask_to_verify", &["auth.verification_requested"]),
    person("delete_account", &["auth.account_deleted"]),
    person("update_profile", &["profile.updated"]),
    person("revoke_session", &["auth.sessions_revoked"]),
    person("revoke_other_sessions", &["auth.sessions_revoked"]),
    // Team.
    org("set_member_role", &["team.role_changed"]),
    org("put_role", &["role.created", "role.updated"]),
    org("delete_role", &["role.deleted"]),
    guarded("remove_member", &["team.member_removed"]),
    person("leave_org", &["team.member_left"]),
    org("invite_members", &["invitation.created"]),
    org("renew_invitation", &["invitation.renewed"]),
    org("withdraw_invitation", &["invitation.withdrawn"]),
    // API keys.
    org("create_api_key", &["api_key.created"]),
    org("rename_api_key", &["api_key.updated"]),
    org("set_api_key_enabled", &["api_key.disabled", "api_key.enabled"]),
    org("update_api_key", &["api_key.updated"]),
    guarded("copy_api_key", &["api_key.copied"]),
    guarded("delete_api_key", &["api_key.deleted"]),
    org("open_connect_helper", &["api_key.created", "api_key.copied"]),
    org("set_key_settings", &["settings.updated"]),
    // Connections.
    guarded("revoke_connection", &["connection.revoked"]),
    guarded("regenerate_connection", &["connection.key_regenerated"]),
    org("dismiss_alert", &["connection.alert_dismissed"]),
    person("dismiss_own_alert", &["connection.alert_dismissed"]),
    Function { name: "revoke_own_connection", does: Does::ForPerson(&["connection.revoked"]), pin: true },
    // Organisation and its security.
    org("update_org", &["settings.updated"]),
    guarded("change_plan", &["billing.plan_changed"]),
    guarded("delete_org", &["org.deleted"]),
    org("set_require_mfa", &["settings.security_updated"]),
    guarded("set_pin_protection", &["settings.security_updated"]),
    org("allow_trusted_browsers", &["settings.security_updated"]),
    org("set_session_timeout", &["settings.security_updated"]),
    guarded("add_allowed_range", &["security.allowlist_range_added"]),
    org("add_vendor_ranges", &["security.allowlist_range_added"]),
    org("remove_allowed_range", &["security.allowlist_range_removed"]),
    org("turn_on_allowlist", &["security.allowlist_on"]),
    org("keep_allowlist", &["security.allowlist_kept"]),
    guarded("turn_off_allowlist", &["security.allowlist_off"]),
    // Connectors.
    org("add_connector", &["mcp.created"]),
    org("update_connector", &["mcp.updated"]),
    org("set_connector_enabled", &["mcp.disabled", "mcp.enabled"]),
    org("set_tool_enabled", &["mcp.tool_disabled", "mcp.tool_enabled"]),
    org("update_tool", &["mcp.tool_updated"]),
    org("review_tool", &["mcp.tool_approved", "mcp.tool_rejected"]),
    org("approve_new_tools", &["mcp.tool_approved"]),
    org("set_tool_policy", &["mcp.updated"]),
    org("set_connector_prefix", &["mcp.updated"]),
    nothing("test_connector", "a change that it finds is noted as that"),
    guarded("delete_connector", &["mcp.deleted"]),
    org("put_credentials", &["mcp.credentials_changed"]),
    nothing("begin_authorization", "what comes back from the other side is noted"),
    org("disconnect", &["mcp.authorization_removed"]),
    nothing("begin_own_authorization", "what comes back from the other side is noted"),
    org("remove_own_authorization", &["mcp.authorization_removed"]),
    // OAuth clients.
    org("create_oauth_client", &["oauth_client.created"]),
    org("rotate_oauth_client", &["oauth_client.secret_rotated"]),
    org("update_oauth_client", &["oauth_client.updated"]),
    org("delete_oauth_client", &["oauth_client.deleted", "oauth_client.access_revoked"]),
    org("set_oauth_settings", &["settings.updated"]),
    // A call is in the request log; what it said and was answered is in no log of this kind (AUD-08).
    nothing("run_tool", "calls are in the request log"),
    // Audit stream.
    org("put_audit_stream", &["audit_stream.created", "audit_stream.updated"]),
    org("test_audit_stream", &["audit_stream.tested"]),
    org("delete_audit_stream", &["audit_stream.deleted"]),
    // Webhooks.
    org("create_webhook", &["webhook.created"]),
    org("update_webhook", &["webhook.updated"]),
    org("rotate_webhook", &["webhook.secret_rotated"]),
    org("pause_webhook", &["webhook.paused"]),
    org("resume_webhook", &["webhook.resumed"]),
    guarded("delete_webhook", &["webhook.deleted"]),
    org("test_webhook", &["webhook.tested"]),
    org("replay_delivery", &["webhook.replayed"]),
    nothing("count_replay", "it only counts"),
    org("replay_events", &["webhook.replayed"]),
    // Custom domain.
    org("add_domain", &["domain.added"]),
    org("verify_domain", &["domain.verified", "domain.recovered", "domain.failing"]),
    org("remove_domain", &["domain.removed"]),
    // Export and import.
    org("create_export", &["export.created"]),
    org("delete_export", &["export.deleted"]),
    nothing("refresh_exports", "it only looks"),
    org("import_connectors", &["mcp.created"]),
    // Identity provider.
    org("put_idp", &["sso.configured", "sso.updated"]),
    org("set_idp_enabled", &["sso.disabled", "sso.enabled"]),
    org("delete_idp", &["sso.deleted"]),
    // Logging in at the provider.
    nothing("start_sso", "what comes back from the other side is noted"),
    org("put_sso_login", &["sso.login_configured", "sso.login_updated"]),
    nothing("test_sso_login", "what comes back from the other side is noted"),
    org("delete_sso_login", &["sso.login_deleted"]),
    org("add_sso_domain", &["sso.domain_added"]),
    org("check_sso_domain", &["sso.domain_verified", "sso.domain_found"]),
    org("remove_sso_domain", &["sso.domain_removed"]),
    nothing("test_idp_token", "it looks at a token and forgets it"),
];

/// The function of this name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

impl Function {
    /// Under which event a refusal is noted; `None` for what leaves no event of anybody who is signed in.
    pub const fn refused_as(&self) -> Option<&'static str> {
        match self.does {
            Does::ForOrg(events) | Does::ForPerson(events) => events.first().copied(),
            Does::ForAnybody(_) | Does::Nothing(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_stands_here_once() {
        for (at, function) in FUNCTIONS.iter().enumerate() {
            assert!(!function.name.starts_with("load_"), "{}", function.name);
            assert!(FUNCTIONS[..at].iter().all(|other| other.name != function.name), "{}", function.name);
        }
    }
}
