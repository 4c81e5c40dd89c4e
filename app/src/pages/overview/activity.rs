//! Recent activity as sentences.

use crate::erase::Erase as _;
use leptos::prelude::*;
use model::orgs::Activity;

use crate::components::Time;

/// What was done, as it stands between who and to what, and whether the target is named after it.
fn words(action: &str) -> Option<(&'static str, bool)> {
    Some(match action {
        "api_key.copied" => ("looked at API key", true),
        "api_key.created" => ("created API key", true),
        "api_key.deleted" => ("deleted API key", true),
        "api_key.disabled" => ("disabled API key", true),
        "api_key.enabled" => ("enabled API key", true),
        "api_key.revoked" => ("revoked API key", true),
        "api_key.updated" => ("changed API key", true),
        "audit.exported" => ("exported the audit log", false),
        "export.completed" => ("finished the export of", true),
        "export.created" => ("began an export of", true),
        "export.deleted" => ("deleted an export of", true),
        "export.downloaded" => ("downloaded an export of", true),
        "export.failed" => ("could not finish the export of", true),
        "audit.read" => ("read the audit log", false),
        "audit_stream.created" => ("began to stream the audit log to", true),
        "audit_stream.deleted" => ("ended the stream of the audit log to", true),
        "audit_stream.tested" => ("tested the stream of the audit log to", true),
        "audit_stream.updated" => ("changed the stream of the audit log to", true),
        "auth.account_deleted" => ("deleted the account of", true),
        "auth.email_change_requested" => ("asked for another address", false),
        "auth.email_changed" => ("changed an address to", true),
        "auth.email_verified" => ("confirmed their address", false),
        "auth.password_changed" => ("changed their password", false),
        "auth.reset_requested" => ("sent a link for a new password to", true),
        "auth.verification_requested" => ("asked to confirm their address", false),
        "auth.backup_code_used" => ("used a backup code", false),
        "auth.backup_codes_made" => ("made new backup codes", false),
        "auth.code_refused" => ("refused a wrong code of the second factor of", true),
        "auth.browser_distrusted" => ("trusts a browser no more", false),
        "auth.browser_trusted" => ("trusted a browser for 30 days", false),
        "auth.passkey_added" => ("added a passkey", false),
        "auth.passkey_refused" => ("refused a passkey of", true),
        "auth.passkey_removed" => ("removed a passkey", false),
        "auth.passkey_renamed" => ("renamed a passkey", false),
        "auth.mfa_disabled" => ("turned two-factor authentication off", false),
        "auth.mfa_enabled" => ("turned two-factor authentication on", false),
        "auth.mfa_reset" => ("took away the second factor of", true),
        "auth.password_accepted" => ("gave the right password, and was asked for a code", false),
        "auth.reauthenticated" => ("confirmed who they are", false),
        "auth.password_reset" => ("set a new password for", true),
        "auth.sessions_revoked" => ("ended other sessions of theirs", false),
        "auth.setup_completed" => ("set up this instance", false),
        "auth.signed_in" => ("logged in", false),
        "auth.signed_out" => ("logged out", false),
        "auth.user_created" => ("made an account for", true),
        "billing.plan_changed" => ("changed the plan of", true),
        "connection.alert_dismissed" => ("dismissed the alert about", true),
        "connection.created" => ("connected", true),
        "connection.key_regenerated" => ("regenerated the key of the connection of", true),
        "connection.renewed" => ("renewed the connection of", true),
        "connection.revoked" => ("revoked the connection of", true),
        "invitation.asked_again" => ("was asked for another invitation of", true),
        "invitation.created" => ("invited", true),
        "domain.added" => ("entered the domain", true),
        "domain.failing" => ("noticed that the DNS records are missing of", true),
        "domain.not_found" => ("did not find the DNS records of", true),
        "domain.recovered" => ("found the DNS records again of", true),
        "domain.removed" => ("removed the domain", true),
        "domain.verified" => ("verified the domain", true),
        "invitation.declined" => ("declined the invitation of", true),
        "invitation.renewed" => ("made a new link for the invitation of", true),
        "invitation.withdrawn" => ("withdrew the invitation of", true),
        "mcp.authorization_lost" | "mcp.needs_reauth" => ("lost the authorisation at connector", true),
        "mcp.authorization_removed" => ("removed the authorisation at connector", true),
        "mcp.authorized" => ("authorised connector", true),
        "mcp.created" => ("added connector", true),
        "mcp.credentials_changed" => ("changed the credentials of connector", true),
        "mcp.deleted" => ("deleted connector", true),
        "mcp.disabled" => ("disabled connector", true),
        "mcp.enabled" => ("enabled connector", true),
        "mcp.health_changed" => ("noticed a change in the health of connector", true),
        "mcp.tool_approved" => ("approved a tool of connector", true),
        "mcp.tool_disabled" => ("disabled a tool of connector", true),
        "mcp.tool_enabled" => ("enabled a tool of connector", true),
        "mcp.tool_rejected" => ("rejected a tool of connector", true),
        "mcp.tool_updated" => ("changed a tool of connector", true),
        "mcp.tools_changed" => ("noticed changed tools of connector", true),
        "mcp.updated" => ("changed connector", true),
        "oauth.code_reuse_detected" => {
            ("noticed an authorisation code used twice, and ended what it brought", false)
        }
        "oauth.consent_denied" => ("denied access to", true),
        "oauth.consent_granted" => ("allowed access to", true),
        "oauth.grant_revoked" => ("ended an authorisation of", true),
        "oauth.refresh_refused" => ("refused a refresh token that belongs to another client", false),
        "connection.reuse_detected" | "oauth.refresh_reuse_detected" => {
            ("noticed a refresh token used twice by", true)
        }
        "oauth.token_revoked" => ("ended an access token of", true),
        "oauth_client.access_revoked" => ("revoked all connections of", true),
        "oauth_client.authentication_failed" => ("refused a wrong secret for OAuth client", true),
        "oauth_client.created" => ("created OAuth client", true),
        "oauth_client.deleted" => ("deleted OAuth client", true),
        "oauth_client.secret_rotated" => ("made a new secret for OAuth client", true),
        "oauth_client.updated" => ("changed OAuth client", true),
        "onboarding.dismissed" => ("closed the first steps", false),
        "org.renamed" => ("gave another address to", true),
        "org.resumed" => ("let work again", true),
        "org.suspended" => ("suspended", true),
        "org.created" => ("created the organisation", true),
        "org.deleted" => ("deleted the organisation", true),
        "pin.locked" => ("gave too many wrong PINs, which are locked for a while", false),
        "pin.refused" => ("gave a wrong PIN", false),
        "pin.removed" => ("removed their PIN", false),
        "pin.set" => ("set their PIN", false),
        "profile.updated" => ("changed their profile", false),
        "security.allowlist_kept" => ("kept the change of the IP allowlist of", true),
        "security.allowlist_off" => ("stopped enforcing the IP allowlist of", true),
        "security.allowlist_on" => ("began to enforce the IP allowlist of", true),
        "security.allowlist_range_added" => ("added a range to the IP allowlist of", true),
        "security.allowlist_range_removed" => ("removed a range from the IP allowlist of", true),
        "security.allowlist_reverted" => {
            ("took back a change of the IP allowlist that nobody kept, of", true)
        }
        "role.created" => ("made the role", true),
        "role.deleted" => ("deleted the role", true),
        "role.updated" => ("changed the role", true),
        "security.limit_exceeded" => ("refused requests over a limit of", true),
        "settings.activity_updated" => ("changed what the request log keeps", false),
        "settings.limits_updated" => ("changed the limits of", true),
        "settings.security_updated" => ("changed the security settings of", true),
        "settings.updated" => ("changed the settings of", true),
        "signing_key.activated" => ("put into use signing key", true),
        "signing_key.created" => ("made signing key", true),
        "signing_key.removed" => ("removed signing key", true),
        "auth.sso_accepted" => ("logged in at the identity provider, and still had to give a code", false),
        "auth.sso_linked" => ("was recognised by the identity provider for the first time", false),
        "sso.domain_added" => ("added the email domain", true),
        "sso.domain_removed" => ("removed the email domain", true),
        "sso.domain_verified" => ("proved the email domain", true),
        "sso.domain_found" => ("found the record again of the email domain", true),
        "sso.domain_lapsed" => ("stopped counting the email domain", true),
        "sso.domain_missing" => ("missed the record of the email domain", true),
        "sso.login_configured" => ("configured dashboard log-in at", true),
        "sso.login_deleted" => ("deleted dashboard log-in at", true),
        "sso.login_tested" => ("tested dashboard log-in at", true),
        "sso.login_updated" => ("changed dashboard log-in at", true),
        "sso.configured" => ("configured identity provider", true),
        "sso.deleted" => ("deleted identity provider", true),
        "sso.disabled" => ("switched off identity provider", true),
        "sso.enabled" => ("switched on identity provider", true),
        "sso.updated" => ("changed identity provider", true),
        "team.member_added" => ("added member", true),
        "team.member_left" => ("left the organisation", false),
        "team.member_removed" => ("removed member", true),
        "team.role_changed" => ("changed the role of", true),
        "webhook.created" => ("added webhook", true),
        "webhook.deleted" => ("deleted webhook", true),
        "webhook.disabled" => ("disabled webhook", true),
        "webhook.failing" => ("noticed that no event reaches webhook", true),
        "webhook.paused" => ("paused webhook", true),
        "webhook.replayed" => ("sent events once more to webhook", true),
        "webhook.resumed" => ("resumed webhook", true),
        "webhook.secret_rotated" => ("made a new secret for webhook", true),
        "webhook.tested" => ("tried out webhook", true),
        "webhook.updated" => ("changed webhook", true),
        "usage.threshold" => ("noticed that a share of the monthly calls is used up", false),
        _ => return None,
    })
}

/// Whether the words above already say that something was refused.
fn says_no(action: &str) -> bool {
    matches!(
        action,
        "oauth.consent_denied"
            | "auth.code_refused"
            | "pin.locked"
            | "pin.refused"
            | "oauth.refresh_refused"
            | "oauth.refresh_reuse_detected"
            | "oauth.code_reuse_detected"
            | "oauth_client.authentication_failed"
    )
}

/// Whether something went wrong. Whoever says no when asked has done nothing wrong.
fn is_failure(line: &Activity) -> bool {
    !line.ok && line.action != "oauth.consent_denied"
}

/// Who, what they did, and to what (may be empty).
fn sentence(line: &Activity) -> (String, String, String) {
    if line.action == "auth.signed_in" && !line.ok {
        // Nobody was recognised, so there is no name to tell.
        return match line.times {
            0 | 1 => ("Somebody".to_owned(), "failed to log in".to_owned(), String::new()),
            many => (many.to_string(), "failed log-ins, most recently".to_owned(), String::new()),
        };
    }
    let (did, named) = match words(&line.action) {
        Some((words, named)) => (words.to_owned(), named),
        // A newer version wrote it.
        None => (line.action.replace('_', " ").replace('.', ": "), true),
    };
    let did = if line.ok || says_no(&line.action) { did } else { format!("tried, but failed: {did}") };
    let target = if named { line.target.clone() } else { String::new() };
    (line.actor.clone(), did, target)
}

/// The latest lines, newest first.
#[component]
pub fn ActivityList(
    /// The lines.
    lines: Vec<Activity>,
    /// The server's time, Unix milliseconds.
    now: i64,
) -> impl IntoView {
    let items = lines
        .into_iter()
        .map(|line| {
            let (actor, did, target) = sentence(&line);
            let target = (!target.is_empty()).then(|| view! { " " <strong>{target}</strong> }.erase());
            view! {
                <li data-failed=is_failure(&line).then_some("true")>
                    <p>{actor} " " {did} {target}</p>
                    <Time at=line.at now=now />
                </li>
            }
            .erase()
        })
        .collect_view();
    view! { <ol class="activity">{items}</ol> }.erase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::events::names_in_the_code;

    fn line(action: &str, target: &str, ok: bool) -> Activity {
        Activity { at: 0, actor: "Ada".into(), action: action.into(), target: target.into(), ok, times: 1 }
    }

    fn told(action: &str, target: &str, ok: bool) -> String {
        let (actor, did, target) = sentence(&line(action, target, ok));
        format!("{actor} {did} {target}").trim_end().to_owned()
    }

    #[test]
    fn what_happened_is_told_in_sentences() {
        assert_eq!(told("api_key.created", "claude-prod", true), "Ada created API key claude-prod");
        assert_eq!(told("auth.signed_in", "ada@example.com", true), "Ada logged in");
        assert_eq!(told("auth.signed_in", "", false), "Somebody failed to log in");
        assert_eq!(told("mcp.deleted", "Docs", false), "Ada tried, but failed: deleted connector Docs");
        assert_eq!(told("gadget.removed", "a.example", true), "Ada gadget: removed a.example");
        assert_eq!(told("oauth.consent_denied", "Cursor", false), "Ada denied access to Cursor");
        assert!(!is_failure(&line("oauth.consent_denied", "Cursor", false)));
        assert!(is_failure(&line("auth.signed_in", "", false)));
        let many = Activity { times: 8, ..line("auth.signed_in", "", false) };
        assert_eq!(sentence(&many).0 + " " + &sentence(&many).1, "8 failed log-ins, most recently");
    }

    #[test]
    fn every_event_of_the_code_has_a_sentence() {
        let names = names_in_the_code();
        assert!(names.iter().any(|name| name == "connection.created") && names.len() > 50, "{names:?}");
        let without: Vec<_> = names.iter().filter(|name| words(name).is_none()).collect();
        assert!(without.is_empty(), "no sentence for {without:?}");
    }
}
