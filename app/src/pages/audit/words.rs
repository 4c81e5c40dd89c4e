//! Events in words.

use model::audit::AuditEvent;

/// What was done, where that says all.
fn did_alone(action: &str) -> Option<&'static str> {
    Some(match action {
        "audit.exported" => "exported the audit log",
        "audit.read" => "looked at the audit log",
        "auth.backup_code_used" => "used a backup code",
        "auth.backup_codes_made" => "made new backup codes",
        "auth.browser_distrusted" => "stopped trusting a browser",
        "auth.browser_trusted" => "trusted a browser for 30 days",
        "auth.email_verified" => "confirmed their address",
        "auth.mfa_disabled" => "turned two-factor authentication off",
        "auth.mfa_enabled" => "turned two-factor authentication on",
        "auth.passkey_added" => "added a passkey",
        "auth.passkey_removed" => "removed a passkey",
        "auth.passkey_renamed" => "renamed a passkey",
        "auth.password_accepted" => "gave the right password, and was asked for a second factor",
        "auth.reauthenticated" => "confirmed who they are",
        "auth.setup_completed" => "set up this instance",
        "auth.signed_in" => "logged in",
        "auth.signed_out" => "logged out",
        "auth.sso_accepted" => "logged in with SSO, and still had to give a code",
        "auth.sso_linked" => "was recognised by the identity provider for the first time",
        "auth.verification_requested" => "asked to confirm their address",
        "onboarding.dismissed" => "closed the first steps",
        "pin.locked" => "gave too many wrong PINs, which are locked for a while",
        "pin.refused" => "gave a wrong PIN",
        "pin.removed" => "removed their PIN",
        "pin.set" => "set their PIN",
        "security.allowlist_kept" => "kept the change of the IP allowlist",
        "security.allowlist_off" => "stopped enforcing the IP allowlist",
        "security.allowlist_on" => "began to enforce the IP allowlist",
        "security.allowlist_range_added" => "added a range to the IP allowlist",
        "security.allowlist_range_removed" => "removed a range from the IP allowlist",
        "security.allowlist_reverted" => "took back a change of the IP allowlist that nobody kept",
        "settings.activity_updated" => "changed what the request log keeps",
        "team.member_left" => "left the organisation",
        "usage.threshold" => "noticed that a share of the monthly calls is used up",
        _ => return None,
    })
}

/// What was done, as it stands between who and to what. `None` for an action that has no words yet.
fn did(action: &str) -> Option<&'static str> {
    Some(match action {
        "api_key.copied" => "copied API key",
        "api_key.created" => "created API key",
        "api_key.deleted" => "deleted API key",
        "api_key.disabled" => "disabled API key",
        "api_key.enabled" => "enabled API key",
        "api_key.revoked" => "revoked API key",
        "api_key.updated" => "changed API key",
        "audit_stream.created" => "began to stream the log to",
        "audit_stream.deleted" => "ended the stream of the log to",
        "audit_stream.tested" => "tested the stream of the log to",
        "audit_stream.updated" => "changed the stream of the log to",
        "auth.account_deleted" => "deleted the account of",
        "auth.code_refused" => "refused a wrong code of",
        "auth.email_change_requested" => "asked for another address for",
        "auth.email_changed" => "changed an address to",
        "auth.mfa_reset" => "took away the second factor of",
        "auth.passkey_refused" => "refused a passkey of",
        "auth.password_changed" => "changed the password of",
        "auth.password_reset" => "set a new password for",
        "auth.reset_requested" => "sent a link for a new password to",
        "auth.sessions_revoked" => "ended sessions of",
        "auth.user_created" => "made an account for",
        "billing.plan_changed" => "changed the plan of",
        "connection.alert_dismissed" => "put away a notice about connection",
        "connection.created" => "connected",
        "connection.key_regenerated" => "made a new key for connection",
        "connection.renewed" => "renewed the connection of",
        "connection.revoked" => "revoked connection",
        "invitation.asked_again" => "was asked for another invitation of",
        "invitation.created" => "invited",
        "invitation.declined" => "declined the invitation of",
        "invitation.renewed" => "made a new link for the invitation of",
        "invitation.withdrawn" => "took back the invitation of",
        "mcp.authorization_lost" | "mcp.needs_reauth" => "lost the authorisation at connector",
        "mcp.authorization_removed" => "removed the authorisation at connector",
        "mcp.authorized" => "authorised connector",
        "mcp.created" => "added connector",
        "mcp.credentials_changed" => "changed the credentials of connector",
        "mcp.deleted" => "deleted connector",
        "mcp.disabled" => "disabled connector",
        "mcp.enabled" => "enabled connector",
        "mcp.health_changed" => "noticed a change in the health of connector",
        "mcp.tool_approved" => "approved a tool of connector",
        "mcp.tool_disabled" => "disabled a tool of connector",
        "mcp.tool_enabled" => "enabled a tool of connector",
        "mcp.tool_rejected" => "rejected a tool of connector",
        "mcp.tool_updated" => "changed a tool of connector",
        "mcp.tools_changed" => "noticed changed tools of connector",
        "mcp.updated" => "changed connector",
        "oauth.code_reuse_detected" => "noticed that a code was used twice by",
        "oauth.consent_denied" => "denied access to",
        "oauth.consent_granted" => "gave access to",
        "oauth.grant_revoked" => "revoked a grant of",
        "oauth.refresh_refused" => "refused a refresh token of",
        "connection.reuse_detected" | "oauth.refresh_reuse_detected" => {
            "noticed that a refresh token was used twice by"
        }
        "oauth.token_revoked" => "revoked a token of",
        "oauth_client.access_revoked" => "revoked all access of OAuth client",
        "oauth_client.authentication_failed" => "refused the authentication of OAuth client",
        "oauth_client.created" => "created OAuth client",
        "oauth_client.deleted" => "deleted OAuth client",
        "oauth_client.secret_rotated" => "rotated the secret of OAuth client",
        "oauth_client.updated" => "changed OAuth client",
        "org.created" => "created the organisation",
        "org.deleted" => "deleted the organisation",
        "org.renamed" => "gave another address to",
        "org.resumed" => "let work again",
        "org.suspended" => "suspended",
        "profile.updated" => "changed the profile of",
        "role.created" => "made the role",
        "role.deleted" => "deleted the role",
        "role.updated" => "changed the role",
        "settings.limits_updated" => "changed the limits of",
        "security.limit_exceeded" => "refused requests over a limit of",
        "settings.security_updated" => "changed the security settings of",
        "settings.updated" => "changed the settings of",
        "signing_key.activated" => "put into use signing key",
        "signing_key.created" => "made signing key",
        "signing_key.removed" => "removed signing key",
        "sso.configured" => "configured identity provider",
        "sso.deleted" => "deleted identity provider",
        "sso.disabled" => "switched off identity provider",
        "sso.domain_added" => "added the email domain",
        "sso.domain_removed" => "removed the email domain",
        "sso.domain_verified" => "proved the email domain",
        "sso.enabled" => "switched on identity provider",
        "sso.domain_found" => "found the record again of the email domain",
        "sso.domain_lapsed" => "stopped counting the email domain",
        "sso.domain_missing" => "missed the record of the email domain",
        "sso.login_configured" => "configured dashboard log-in at",
        "sso.login_deleted" => "deleted dashboard log-in at",
        "sso.login_tested" => "tested dashboard log-in at",
        "sso.login_updated" => "changed dashboard log-in at",
        "sso.updated" => "changed identity provider",
        "domain.added" => "entered the domain",
        "domain.failing" => "noticed that the DNS records are missing of",
        "domain.not_found" => "did not find the DNS records of",
        "domain.recovered" => "found the DNS records again of",
        "domain.removed" => "removed the domain",
        "domain.verified" => "verified the domain",
        "export.completed" => "finished the export of",
        "export.created" => "began an export of",
        "export.deleted" => "deleted an export of",
        "export.downloaded" => "downloaded an export of",
        "export.failed" => "could not finish the export of",
        "team.member_added" => "added member",
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

/// Whether the words say by themselves that something was refused.
fn says_no(action: &str) -> bool {
    matches!(
        action,
        "auth.code_refused"
            | "auth.passkey_refused"
            | "connection.reuse_detected"
            | "oauth.code_reuse_detected"
            | "oauth.consent_denied"
            | "oauth.refresh_refused"
            | "oauth.refresh_reuse_detected"
            | "oauth_client.authentication_failed"
            | "pin.locked"
            | "pin.refused"
    )
}

/// Who did what to what, in a sentence.
pub(super) fn sentence(event: &AuditEvent) -> String {
    let target = event.targets.first();
    let who = if event.actor.is_empty() { "Somebody" } else { event.actor.as_str() };
    let tried = match event.result.as_str() {
        "ok" => "",
        "failed" if says_no(&event.action) => "",
        "denied" => "was refused: ",
        _ => "tried, but failed: ",
    };
    if let Some(words) = did_alone(&event.action) {
        return format!("{who} {tried}{words}");
    }
    let name = target.map(|target| target.name.as_str()).unwrap_or_default();
    let Some(words) = did(&event.action) else {
        return format!("{who}: {} {name}", event.action).trim_end().to_owned();
    };
    // What somebody does with their own account needs no name twice.
    let own = target.is_some_and(|target| !event.actor_id.is_empty() && target.id == event.actor_id);
    let person = words.ends_with(" of") || words.ends_with(" for");
    let name = match name {
        _ if own && person => "themself",
        "" if person => "somebody unknown",
        name => name,
    };
    format!("{who} {tried}{words} {name}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use model::audit::{AuditTarget, category_of};

    use super::*;
    use crate::pages::events::names_in_the_code;

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
        assert_eq!(told("pin.refused", "failed", ("user_1", "ada@x.example")), "Ada gave a wrong PIN");
        assert_eq!(
            told("auth.email_changed", "ok", ("user_1", "new@x.example")),
            "Ada changed an address to new@x.example"
        );
        assert_eq!(told("team.member_left", "ok", ("user_1", "ada@x.example")), "Ada left the organisation");
        assert_eq!(
            told("auth.passkey_refused", "failed", ("", "")),
            "Ada refused a passkey of somebody unknown"
        );
        assert_eq!(told("role.updated", "ok", ("role_1", "Scouts")), "Ada changed the role Scouts");
    }

    /// Every event that the code writes reads as a sentence, and is found with one of the groups that people filter by.
    #[test]
    fn every_event_of_the_code_has_a_sentence_and_a_group() {
        for name in names_in_the_code() {
            let told = told(&name, "ok", ("x_1", "It"));
            assert!(!told.contains(&name), "no words for {name}: {told}");
            let named = did_alone(&name).is_none();
            assert!(
                named == told.ends_with(" It") && did_alone(&name).is_none_or(|_| did(&name).is_none()),
                "{told}"
            );
            assert_ne!(category_of(&name), "other", "{name} is in no group");
        }
    }
}
