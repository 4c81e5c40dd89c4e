use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;
use model::{AppError, ErrorKind, Permission, Role, paths};

use super::{Icon, PageHeader};
use crate::{copy, frame::ask_to_sign_in, state::set_status};

/// Nothing here yet: what it is, one action, one link.
#[component]
pub fn EmptyState(
    /// A Lucide name.
    icon: &'static str,
    /// "No connectors yet"
    #[prop(into)]
    title: String,
    /// What it is, one sentence.
    #[prop(into)]
    about: String,
    /// The action and the link.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    view! {
        <div class="state">
            <Icon name=icon />
            <h2>{title}</h2>
            <p>{about}</p>
            <div class="actions">{children.map(|children| children())}</div>
        </div>
    }
    .erase()
}

/// The page exists, but this person may not see it. Status 403.
#[component]
pub fn DeniedState(
    /// What is missing, if it is known.
    permission: Option<Permission>,
) -> impl IntoView {
    set_status(403);
    let need = permission.map(|permission| {
        let holders: Vec<&str> = Role::holders(permission).map(Role::as_str).collect();
        view! {
            <p>"You need " <code>{permission.as_str()}</code> " for this. The roles that have it: " {listed(&holders)} "."</p>
            <p>"Ask an owner or admin of your organisation for one of them."</p>
        }.erase()
    });
    let other =
        permission.is_none().then(|| view! { <p>"Ask an owner or admin of your organisation."</p> }.erase());
    view! {
        <PageHeader title="Permission denied" />
        <div class="state">
            <Icon name="lock" />
            <h2>"Your role does not include it"</h2>
            {need}
            {other}
        </div>
    }
    .erase()
}

/// "owner, admin or developer"
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [many @ .., last] => format!("{} or {last}", many.join(", ")),
    }
}

/// Something could not be loaded: what, that nothing changed, how to try again, and the request id.
#[component]
pub fn ErrorState(
    /// What happened.
    error: AppError,
) -> impl IntoView {
    let location = use_location();
    // What an app asked for wrongly stays wrong, and the answer to the consent page cannot be asked for with a link.
    let path = location.pathname.get_untracked();
    let in_vain = path == paths::consent_decision()
        || path == paths::sso_callback()
        || (path == paths::authorize() && !is_ours(error.kind));
    let again = move || {
        location.pathname.with(|path| {
            location
                .search
                .with(|search| if search.is_empty() { path.clone() } else { format!("{path}?{search}") })
        })
    };
    let again = (!in_vain).then(|| {
        view! {
            <div class="actions">
                <a class="button" href=again rel="external">"Try again"</a>
            </div>
        }
        .erase()
    });
    let id = request_id(&error);
    view! {
        <div class="state" data-tone="bad">
            <Icon name="circle-alert" />
            <h2>{error.message}</h2>
            <p>{copy::NOTHING_CHANGED}</p>
            {again}
            {id}
        </div>
    }
    .erase()
}

/// Whether the same may go well another time.
const fn is_ours(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::RateLimited)
}

/// The id that leads the operator to the log, for failures that are not the person's to mend.
pub(crate) fn request_id(error: &AppError) -> Option<AnyView> {
    error
        .request_id
        .clone()
        .filter(|_| matches!(error.kind, ErrorKind::Internal | ErrorKind::Unavailable))
        .map(|id| view! { <p class="fine">"Request id " <code>{id}</code></p> }.erase())
}

/// Lists, and the words that lead back to them.
const LISTS: &[(&str, &str)] = &[
    (paths::connectors(), "Back to the connectors"),
    (paths::activity(), "Back to the activity"),
    (paths::settings_api_keys(), "Back to the API keys"),
    (paths::settings_oauth_clients(), "Back to the OAuth clients"),
    (paths::settings_connections(), "Back to the connections"),
];

/// No such page, or no such thing in this organisation. Status 404.
#[component]
pub fn NotFound(
    /// What is not there, in a sentence.
    #[prop(optional, into)]
    message: String,
) -> impl IntoView {
    set_status(404);
    let message = if message.is_empty() {
        "There is no page at this address. It may have been deleted, or the link may be cut off.".to_owned()
    } else {
        message
    };
    // The list that what is not here would stand in.
    let path = use_location().pathname.get_untracked();
    let list = LISTS.iter().find(|(list, _)| path.len() > list.len() && path.starts_with(list));
    let list = list.map(|(href, label)| view! { <a class="button" href=*href>{*label}</a> }.erase());
    view! {
        <PageHeader title="Not found" />
        <div class="state">
            <Icon name="circle-question-mark" />
            <h2>"Nothing is here"</h2>
            <p>{message}</p>
            <div class="actions">
                {list}
                <a class="button" href=paths::overview()>"Go to the overview"</a>
            </div>
        </div>
    }
    .erase()
}

/// What the organisation asks for first. Status 403.
fn one_more_step(
    title: &'static str,
    message: String,
    label: &'static str,
    way: fn(&str) -> String,
) -> AnyView {
    set_status(403);
    let location = use_location();
    let here = location.pathname.get_untracked();
    let search = location.search.get_untracked();
    let here = if search.is_empty() { here } else { format!("{here}?{search}") };
    view! {
        <PageHeader title="One more step" />
        <div class="state">
            <Icon name="shield-check" />
            <h2>{title}</h2>
            <p>{message}</p>
            <div class="actions">
                <a class="button primary" href=way(&here)>{label}</a>
            </div>
        </div>
    }
    .erase()
}

/// Refusals that no permission is missing for: their own words are all there is to say.
const SAYS_ALL: &[&str] = &[
    "ip_not_allowed",
    "sso_elsewhere",
    "sso_beyond",
    "address_unproven",
    "address_bound",
    "no_email",
    "email_unverified",
    "foreign_domain",
    "sign_up_closed",
    "not_invited",
];

/// The page that stands for an error: the way to sign in, who can grant the permission, not found, or what failed.
pub fn error_page(error: AppError) -> AnyView {
    match error.kind {
        ErrorKind::Unauthenticated => {
            ask_to_sign_in();
            view! { <Title text="Log in" /> }.erase()
        }
        ErrorKind::Forbidden if error.code == "mfa_enrollment_required" => one_more_step(
            "Set up a second factor",
            error.message,
            "Set it up",
            paths::profile_two_factor_then,
        ),
        ErrorKind::Forbidden if error.code == "sso_required" => {
            one_more_step("Log in with SSO", error.message, "Continue with SSO", paths::sign_in_sso_then)
        }
        ErrorKind::Forbidden if SAYS_ALL.contains(&error.code.as_str()) => {
            set_status(403);
            let (title, heading) = if error.code == "ip_not_allowed" {
                ("Not from this address", "Your address is not on the list")
            } else {
                ("You are not let in here", "This log-in does not open it")
            };
            // Another log-in may open it; another address is elsewhere.
            let back = (error.code != "ip_not_allowed").then(|| {
                view! { <div class="actions"><a class="button" href=paths::sign_in()>"Log in"</a></div> }
                    .erase()
            });
            view! {
                <PageHeader title=title />
                <div class="state">
                    <Icon name="globe" />
                    <h2>{heading}</h2>
                    <p>{error.message}</p>
                    {back}
                </div>
            }
            .erase()
        }
        ErrorKind::Forbidden if error.code != "org_suspended" => {
            let permission = Permission::ALL.iter().copied().find(|p| error.message.contains(p.as_str()));
            view! { <DeniedState permission=permission /> }.erase()
        }
        ErrorKind::NotFound => view! { <NotFound message=error.message /> }.erase(),
        _ => {
            set_status(error.status());
            // What the authorization endpoint says of an app that it cannot answer.
            let title = match error.code.as_str() {
                "org_suspended" => "This organisation is suspended",
                "sign_in_gone" | "sso_refused" => "That did not work",
                "unknown_client" | "bad_redirect_uri" => "This app is not known here",
                _ => "This page could not be loaded",
            };
            view! {
                <PageHeader title=title />
                <ErrorState error=error />
            }
            .erase()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn words_are_listed_as_people_write() {
        assert_eq!(listed(&["owner"]), "owner");
        assert_eq!(listed(&["owner", "admin", "developer"]), "owner, admin or developer");
    }
}
