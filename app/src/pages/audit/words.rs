//! Events in words.

use model::audit::AuditEvent;

/// What was done, as it stands between who and to what. `None` for an action that has no words yet.
fn did(action: &str) -> Option<&'static str> {
    Some(match action {
        "api_key.copied" => "copied API key",
        "api_key.created" => "created API key",
        "api_key.deleted" => "deleted API key",
        "api_key.disabled" => "disabled API key",
        "api_key.enabled" => "enabled API key",
        "api_key.updated" => "changed API key",
        "audit.exported" => "exported the audit log",
        "audit.read" => "looked at the audit log",
        "audit_stream.created" => "began to stream the log to",
        "audit_stream.deleted" => "ended the stream of the log to",
        "audit_stream.tested" => "tested the stream of the log to",
        "audit_stream.updated" => "changed the stream of the log to",
        "auth.account_deleted" => "deleted the account of",
        "auth.email_change_requested" => "asked for another address for",
        "auth.email_changed" => "changed an address to",
        "auth.email_verified" => "confirmed the address",
        "auth.reset_requested" => "sent a link for a new password to",
        "auth.verification_requested" => "asked to confirm the address",
        "auth.password_changed" => "changed the password of",
        "auth.password_reset" => "set a new password for",
        "auth.sessions_revoked" => "ended sessions of",
        "auth.setup_completed" => "set up this instance",
        "auth.signed_in" => "logged in",
        "auth.signed_out" => "logged out",
        "auth.user_created" => "made an account for",
        "billing.plan_changed" => "changed the plan of",
        "connection.alert_dismissed" => "put away a notice about connection",
        "connection.key_regenerated" => "made a new key for connection",
        "connection.revoked" => "revoked connection",
        "mcp.created" => "added connector",
        "mcp.deleted" => "deleted connector",
        "mcp.disabled" => "disabled connector",
        "mcp.enabled" => "enabled connector",
        "mcp.health_changed" => "noticed a change in the health of connector",
        "mcp.tool_disabled" => "disabled a tool of connector",
        "mcp.tool_enabled" => "enabled a tool of connector",
        "mcp.tools_changed" => "noticed changed tools of connector",
        "mcp.updated" => "changed connector",
        "oauth.code_reuse_detected" => "noticed that a code was used twice by",
        "oauth.consent_denied" => "denied access to",
        "oauth.consent_granted" => "gave access to",
        "oauth.grant_revoked" => "revoked a grant of",
        "oauth.refresh_refused" => "refused a refresh token of",
        "oauth.refresh_reuse_detected" => "noticed that a refresh token was used twice by",
        "oauth.token_revoked" => "revoked a token of",
        "oauth_client.access_revoked" => "revoked all access of OAuth client",
        "oauth_client.authentication_failed" => "refused the authentication of OAuth client",
        "oauth_client.created" => "created OAuth client",
        "oauth_client.deleted" => "deleted OAuth client",
        "oauth_client.secret_rotated" => "rotated the secret of OAuth client",
        "oauth_client.updated" => "changed OAuth client",
        "onboarding.dismissed" => "closed the first steps",
        "org.created" => "created the organisation",
        "org.deleted" => "deleted the organisation",
        "profile.updated" => "changed the profile of",
        "settings.security_updated" => "changed the security settings of",
        "settings.updated" => "changed the settings of",
        "auth.sso_accepted" => "logged in with SSO, and still had to give a code",
        "auth.sso_linked" => "was recognised by the identity provider for the first time",
        "sso.domain_added" => "added the email domain",
        "sso.domain_removed" => "removed the email domain",
        "sso.domain_verified" => "proved the email domain",
        "sso.login_configured" => "configured dashboard log-in at",
        "sso.login_deleted" => "deleted dashboard log-in at",
        "sso.login_tested" => "tested dashboard log-in at",
        "sso.login_updated" => "changed dashboard log-in at",
        "sso.configured" => "configured identity provider",
        "sso.deleted" => "deleted identity provider",
        "sso.disabled" => "switched off identity provider",
        "sso.enabled" => "switched on identity provider",
        "sso.updated" => "changed identity provider",
        "export.completed" => "finished the export of",
        "export.created" => "began an export of",
        "export.deleted" => "deleted an export of",
        "export.downloaded" => "downloaded an export of",
        "export.failed" => "could not finish the export of",
        "invitation.declined" => "declined the invitation of",
        "invitation.renewed" => "made a new link for the invitation of",
        "org.resumed" => "let work again",
        "org.suspended" => "suspended",
        "invitation.created" => "invited",
        "invitation.withdrawn" => "took back the invitation of",
        "team.member_added" => "added member",
        "team.member_left" => "left the organisation",
        "team.member_removed" => "removed member",
        "team.role_changed" => "changed the role of",
        "webhook.created" => "added webhook",
        "webhook.deleted" => "deleted webhook",
        "webhook.disabled" => "disabled webhook",
        "webhook.failing" => "noticed that no event reaches webhook",
        "webhook.paused" => "paused webhook",
        "webhook.replayed" => "sent events once more to webhook",
        "webhook.resumed" => "resumed webhook",
        "webhook.secret_rotated" => "made a new secret for webhook",
        "webhook.tested" => "tried out webhook",
        "webhook.updated" => "changed webhook",
        _ => return None,
    })
}

/// Who did what to what, in a sentence.
pub(super) fn sentence(event: &AuditEvent) -> String {
    let target = event.targets.first().map(|target| target.name.as_str()).unwrap_or_default();
    // What somebody does with their own account needs no name twice.
    let own =
        event.targets.first().is_some_and(|target| !event.actor_id.is_empty() && target.id == event.actor_id);
    let who = if event.actor.is_empty() { "Somebody" } else { event.actor.as_str() };
    let Some(words) = did(&event.action) else {
        return format!("{who}: {} {target}", event.action).trim_end().to_owned();
    };
    let tried = match event.result.as_str() {
        "ok" => "",
        "denied" => "was refused: ",
        _ => "tried, but failed: ",
    };
    let whole = words.ends_with(" in") || words.ends_with(" out") || words.contains("the audit log");
    let target = match () {
        () if whole || target.is_empty() => "",
        () if own => "themself",
        () => target,
    };
    format!("{who} {tried}{words} {target}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use model::audit::AuditTarget;

    use super::*;

    fn told(action: &str, result: &str, target: (&str, &str)) -> String {
        sentence(&AuditEvent {
            id: "evt_00000000000000000000000007".parse().unwrap(),
            seq: 1,
            at_micros: 0,
            version: 2,
            action: action.into(),
            category: String::new(),
            result: result.into(),
            actor_kind: "user".into(),
            actor_id: "user_1".into(),
            actor: "Ada".into(),
            auth_method: String::new(),
            key_id: String::new(),
            targets: vec![AuditTarget { kind: String::new(), id: target.0.into(), name: target.1.into() }],
            changes: Vec::new(),
            more: Vec::new(),
            address: String::new(),
            user_agent: String::new(),
            request_id: String::new(),
            node: String::new(),
        })
    }

    #[test]
    fn events_are_told_in_sentences() {
        assert_eq!(
            told("api_key.created", "ok", ("key_1", "claude-prod")),
            "Ada created API key claude-prod"
        );
        assert_eq!(told("auth.signed_in", "ok", ("user_1", "ada@x.example")), "Ada logged in");
        assert_eq!(
            told("auth.sessions_revoked", "ok", ("user_1", "ada@x.example")),
            "Ada ended sessions of themself"
        );
        assert_eq!(
            told("mcp.deleted", "failed", ("mcp_1", "Docs")),
            "Ada tried, but failed: deleted connector Docs"
        );
        assert_eq!(
            told("mcp.deleted", "denied", ("mcp_1", "Docs")),
            "Ada was refused: deleted connector Docs"
        );
        assert_eq!(told("new.action", "ok", ("x", "X")), "Ada: new.action X");
    }
}
