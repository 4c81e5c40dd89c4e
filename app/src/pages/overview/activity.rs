//! Recent activity as sentences.

use crate::erase::Erase as _;
use leptos::prelude::*;
use model::orgs::Activity;

use crate::components::Time;

/// What was done, as it stands between who and to what, and whether the target is named after it.
fn words(action: &str) -> (&str, bool) {
    match action {
        "api_key.copied" => ("copied API key", true),
        "api_key.created" => ("created API key", true),
        "api_key.deleted" => ("deleted API key", true),
        "api_key.disabled" => ("disabled API key", true),
        "api_key.enabled" => ("enabled API key", true),
        "api_key.updated" => ("changed API key", true),
        "auth.password_reset" => ("set a new password for", true),
        "auth.sessions_revoked" => ("ended other sessions of theirs", false),
        "auth.setup_completed" => ("set up this instance", false),
        "auth.signed_in" => ("logged in", false),
        "auth.signed_out" => ("logged out", false),
        "auth.user_created" => ("made an account for", true),
        "mcp.created" => ("added connector", true),
        "mcp.deleted" => ("deleted connector", true),
        "mcp.disabled" => ("disabled connector", true),
        "mcp.enabled" => ("enabled connector", true),
        "mcp.health_changed" => ("noticed a change in the health of connector", true),
        "mcp.tool_disabled" => ("disabled a tool of connector", true),
        "mcp.tool_enabled" => ("enabled a tool of connector", true),
        "mcp.tools_changed" => ("noticed changed tools of connector", true),
        "mcp.updated" => ("changed connector", true),
        "onboarding.dismissed" => ("closed the first steps", false),
        "org.created" => ("created the organisation", true),
        "profile.updated" => ("changed their profile", false),
        "settings.updated" => ("changed the settings of", true),
        "sso.configured" => ("configured identity provider", true),
        "sso.deleted" => ("deleted identity provider", true),
        "sso.disabled" => ("switched off identity provider", true),
        "sso.enabled" => ("switched on identity provider", true),
        "sso.updated" => ("changed identity provider", true),
        "team.member_added" => ("added member", true),
        "team.role_changed" => ("changed the role of", true),
        other => (other, true),
    }
}

/// Who, what they did, and to what (may be empty).
fn sentence(line: &Activity) -> (String, String, String) {
    if line.action == "auth.signed_in" && !line.ok {
        // Nobody was recognised, so there is no name to tell.
        return ("Somebody".to_owned(), "failed to log in".to_owned(), String::new());
    }
    let (words, named) = words(&line.action);
    let did = if line.ok { words.to_owned() } else { format!("tried, but failed: {words}") };
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
                <li data-failed=(!line.ok).then_some("true")>
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

    fn line(action: &str, target: &str, ok: bool) -> Activity {
        Activity { at: 0, actor: "Ada".into(), action: action.into(), target: target.into(), ok }
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
        assert_eq!(told("domain.removed", "a.example", true), "Ada domain.removed a.example");
    }
}
