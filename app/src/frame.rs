//! What surrounds every page: skip link, side bar or plain bar, the main region, notices.

use std::sync::Arc;

use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_location, use_navigate},
};
use model::{AppError, ErrorKind, Permission, orgs::Me, paths};

use crate::{
    components::{Avatar, ButtonForm, ButtonKind, Icon, Menu, Notice},
    copy,
    form::{PostForm, use_form, use_form_for},
    page::{coming, go, leave_for, when_there},
    pages::auth::api::{SetTheme, SignOut, SwitchOrg},
    state::{MeResource, Refresh, Theme, path_of},
};

/// Paths below these are for signed-in people. (Also `/` itself.)
const AREAS: &[&str] =
    &["/connectors", "/team", "/playground", "/activity", "/settings", "/profile", "/orgs"];
/// Pages that stand alone even for signed-in people.
const ALONE: &[&str] = &[
    "/sign-in",
    "/sign-up",
    "/setup",
    "/orgs/new",
    "/oauth",
    "/invite",
    "/forgot-password",
    "/reset-password",
    "/confirm-address",
];
const CONSENT: &str = "/oauth/consent";
/// Of these, the ones that nevertheless are for signed-in people only.
const ALONE_AND_PRIVATE: &[&str] = &["/orgs/new", CONSENT];

fn below(path: &str, roots: &[&str]) -> bool {
    roots
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[component]
pub(crate) fn Frame(
    /// Whether another page is on its way.
    routing: ReadSignal<bool>,
    children: Children,
) -> impl IntoView {
    let location = use_location();
    let MeResource(me) = expect_context();
    follow_redirects();
    announce_pages(routing);

    let path = location.pathname;
    let alone = Memo::new(move |_| path.with(|path| below(path, ALONE)));
    let bar = when_there(Arc::new(move || {
        let alone = alone.get();
        coming(None, Some(me), Arc::new(move |_, me| Ok(bar(me, alone))))
    }));
    view! {
        <a class="skip-link" href="#main" rel="external">{copy::SKIP}</a>
        <div class="frame" data-routing=move || routing.get().then_some("true")>
            {bar}
            <main id="main" tabindex="-1">
                <Notice />
                {children()}
            </main>
        </div>
    }
    .erase()
}

/// Where a server function told the browser to go.
fn follow_redirects() {
    let refresh: Refresh = expect_context();
    let location = use_location();
    let navigate = use_navigate();
    Effect::new(move |_| {
        if let Some(to) = refresh.redirect.get() {
            refresh.redirect.set(None);
            if leave_for(&to) {
                return;
            }
            let stays = location.pathname.with_untracked(|path| path == path_of(&to));
            navigate(&to, NavigateOptions { replace: stays, scroll: !stays, ..Default::default() });
        }
    });
}

/// After the way to another page the focus is on its heading, as after a full load a screen reader's is on the page.
fn announce_pages(routing: ReadSignal<bool>) {
    let refresh: Refresh = expect_context();
    Effect::new(move |was: Option<bool>| {
        let is = routing.get();
        if was == Some(true) && !is {
            refresh.failed.set(false);
            request_animation_frame(|| {
                if let Ok(Some(heading)) = document().query_selector("main h1, main")
                    && let Ok(heading) =
                        leptos::wasm_bindgen::JsCast::dyn_into::<leptos::web_sys::HtmlElement>(heading)
                {
                    _ = heading.focus();
                }
            });
        }
        is
    });
}

fn bar(me: Result<Me, AppError>, alone: bool) -> AnyView {
    match me {
        Ok(me) if !alone && me.org.is_some() => side_bar(me),
        Ok(me) => {
            // Nothing of an organisation can be shown to a person without one.
            let path = use_location().pathname.get_untracked();
            if me.org.is_none() && is_private(&path) && !below(&path, &["/profile", "/oauth"]) {
                go(paths::new_org());
            }
            // The consent page has its own way out, beside the person who is asked.
            plain_bar(Some(me.name), !below(&path, &[CONSENT]))
        }
        Err(error) => {
            if error.kind == ErrorKind::Unauthenticated {
                ask_to_sign_in();
            }
            plain_bar(None, false)
        }
    }
}

/// Whether a page is for signed-in people.
fn is_private(path: &str) -> bool {
    path == "/" || (below(path, AREAS) && !below(path, ALONE)) || below(path, ALONE_AND_PRIVATE)
}

/// Goes to the log-in page and from there back here. It looks at where the person is now, not at where they were when
/// something was asked for: after logging out they may already be there.
pub(crate) fn ask_to_sign_in() {
    let location = use_location();
    let path = location.pathname.get_untracked();
    if is_private(&path) {
        let search = location.search.get_untracked();
        let here = if search.is_empty() { path } else { format!("{path}?{search}") };
        go(&paths::sign_in_then(&here));
    }
}

fn plain_bar(name: Option<String>, log_out: bool) -> AnyView {
    let sign_out = use_form::<SignOut>();
    let person = name.map(|name| {
        view! {
            <span class="muted">{name}</span>
            {log_out.then(|| view! { <ButtonForm form=sign_out label="Log out" kind=ButtonKind::Quiet /> }.erase())}
        }
        .erase()
    });
    view! {
        <header class="plain-bar">
            <a class="brand" href=paths::overview()><Icon name="shield-check" /> {copy::PRODUCT}</a>
            {person}
            <a class="button quiet" href=paths::help_quickstart()>"Help"</a>
        </header>
    }
    .erase()
}

/// An entry of the navigation. One that the person may not see stays, with a lock: its page says who can grant it.
#[component]
fn NavLink(
    href: &'static str,
    label: &'static str,
    icon: &'static str,
    #[prop(optional)] locked: bool,
) -> impl IntoView {
    let lock = locked.then(|| {
        view! { <span class="nav-lock"><Icon name="lock" /> <span class="visually-hidden">"(no permission)"</span></span> }.erase()
    });
    let path = use_location().pathname;
    let current = move || path.with(|path| path == href).then_some("page");
    // A page below marks the entry too, but it is not the page itself.
    let within =
        move || path.with(|path| href != "/" && path != href && within(path, href)).then_some("true");
    view! {
        <a class="nav-link" href=href title=label aria-current=move || current().or_else(within)>
            <Icon name=icon />
            <span>{label}</span>
            {lock}
        </a>
    }
    .erase()
}

/// Pages below the settings that are entries of their own.
const OF_SETTINGS: &[&str] = &[
    paths::settings_api_keys(),
    paths::settings_oauth_clients(),
    paths::settings_connections(),
    paths::settings_sso(),
    paths::settings_webhooks(),
    paths::settings_domain(),
    paths::settings_audit(),
    paths::settings_security(),
    paths::settings_plan(),
    paths::settings_export(),
];

/// Whether a page belongs to a navigation entry.
fn within(path: &str, href: &str) -> bool {
    below(path, &[href]) && !(href == paths::settings() && below(path, OF_SETTINGS))
}

fn side_bar(me: Me) -> AnyView {
    view! {
        <header class="side" data-live=paths::live()>
            <div class="phone-bar">
                <button class="button quiet" type="button" popovertarget="side-nav" aria-label="Open navigation">
                    <Icon name="menu" />
                </button>
                <a class="brand" href=paths::overview()><Icon name="shield-check" /> {copy::PRODUCT}</a>
                <a class="button quiet" href=paths::help_quickstart()>"Help"</a>
            </div>
            <div class="side-panel" id="side-nav" popover="auto">
                {org_switcher(&me)}
                <nav aria-label="Main">
                    <NavLink href=paths::overview() label="Overview" icon="layout-dashboard" />
                    <NavLink href=paths::connectors() label="Connectors" icon="plug" />
                    <NavLink
                        href=paths::playground()
                        label="Playground"
                        icon="terminal"
                        locked=!me.can(Permission::PlaygroundUse)
                    />
                    <NavLink
                        href=paths::activity()
                        label="Activity"
                        icon="activity"
                        locked=!me.can(Permission::LogsRead)
                    />
                    <NavLink href=paths::team() label="Team" icon="users" locked=!me.can(Permission::TeamRead) />
                    <p class="nav-group">"Settings"</p>
                    <NavLink href=paths::settings() label="General" icon="settings" />
                    <NavLink
                        href=paths::settings_api_keys()
                        label="API keys"
                        icon="key-round"
                        locked=!me.can(Permission::ApiKeysRead)
                    />
                    <NavLink
                        href=paths::settings_oauth_clients()
                        label="OAuth clients"
                        icon="app-window"
                        locked=!me.can(Permission::OauthClientsRead)
                    />
                    <NavLink
                        href=paths::settings_connections()
                        label="MCP connections"
                        icon="link"
                        locked=!me.can(Permission::ApiKeysRead)
                    />
                    <NavLink
                        href=paths::settings_sso()
                        label="Single sign-on"
                        icon="shield-check"
                        locked=!me.can(Permission::SsoRead)
                    />
                    <NavLink
                        href=paths::settings_webhooks()
                        label="Webhooks"
                        icon="webhook"
                        locked=!me.can(Permission::WebhooksRead)
                    />
                    <NavLink
                        href=paths::settings_domain()
                        label="Custom domain"
                        icon="globe"
                        locked=!me.can(Permission::DomainsRead)
                    />
                    <NavLink
                        href=paths::settings_security()
                        label="Security"
                        icon="lock"
                        locked=!me.can(Permission::SecurityRead)
                    />
                    <NavLink
                        href=paths::settings_audit()
                        label="Audit log"
                        icon="scroll-text"
                        locked=!me.can(Permission::AuditRead)
                    />
                    <NavLink
                        href=paths::settings_export()
                        label="Data export"
                        icon="download"
                        locked=!me.can(Permission::ExportCreate)
                    />
                    <NavLink
                        href=paths::settings_plan()
                        label="Plan"
                        icon="credit-card"
                        locked=!me.can(Permission::UsageRead)
                    />
                </nav>
                <div class="side-end">
                    <NavLink href=paths::help_quickstart() label="Help" icon="circle-question-mark" />
                    {user_menu(&me)}
                </div>
            </div>
        </header>
    }
    .erase()
}

fn org_switcher(me: &Me) -> AnyView {
    let current = me.org.as_ref();
    let name = current.map(|org| me.label(org)).unwrap_or_default();
    let button = view! {
        <Avatar name=current.map(|org| org.name.clone()).unwrap_or_default() />
        <span class="truncate">{name.clone()}</span>
        <Icon name="chevrons-up-down" />
    }
    .erase();
    let others = me
        .orgs
        .iter()
        .filter(|org| current.is_none_or(|current| current.org != org.org))
        .map(|org| {
            let form = use_form_for::<SwitchOrg>("org", org.org);
            let label = me.label(org);
            view! { <ButtonForm form=form label=label.clone() kind=ButtonKind::Quiet name=format!("Switch to {label}") /> }.erase()
        })
        .collect_view();
    view! {
        <Menu name=format!("Organisation: {name}") button=button class="org-menu">
            {others}
            <a class="button quiet" href=paths::new_org()><Icon name="plus" /> <span>"New organisation"</span></a>
        </Menu>
    }
    .erase()
}

fn user_menu(me: &Me) -> AnyView {
    let sign_out = use_form::<SignOut>();
    let name = format!("Your account: {}", me.name);
    let email = me.email.clone();
    let button = view! {
        <Avatar name=me.name.clone() />
        <span class="truncate">{me.name.clone()}</span>
        <Icon name="chevrons-up-down" />
    }
    .erase();
    view! {
        <Menu name=name button=button class="user-menu">
            <p class="menu-note truncate">{email}</p>
            <a class="button quiet" href=paths::profile()><Icon name="user" /> <span>"Profile"</span></a>
            <a class="button quiet" href=paths::profile_sessions()><Icon name="monitor" /> <span>"Sessions"</span></a>
            <a class="button quiet" href=paths::profile_connections()><Icon name="link" /> <span>"My connections"</span></a>
            <ThemeForm />
            <ButtonForm form=sign_out label="Log out" kind=ButtonKind::Quiet icon="log-out" />
        </Menu>
    }
    .erase()
}

/// Light, dark or the system's, each a button that sends the form.
#[component]
pub fn ThemeForm() -> impl IntoView {
    let form = use_form::<SetTheme>();
    let location = use_location();
    Effect::new(move |_| {
        if let (Some(name), Some(root)) = (form.ok().get(), document().document_element()) {
            _ = match Theme::parse(&name) {
                Some(theme) => root.set_attribute("data-theme", theme.as_str()),
                None => root.remove_attribute("data-theme"),
            };
        }
    });
    let next = move || {
        location.pathname.with(|path| {
            location.search.with(|search| {
                if search.is_empty() || search.contains("do=") {
                    path.clone()
                } else {
                    format!("{path}?{search}")
                }
            })
        })
    };
    let choice = |value: &'static str, label: &'static str, icon: &'static str| {
        view! {
            <button class="button quiet" type="submit" name="theme" value=value data-theme-choice=value title=label>
                <Icon name=icon />
                <span class="visually-hidden">{label}</span>
            </button>
        }.erase()
    };
    view! {
        <PostForm form=form class="theme-form">
            <input type="hidden" name="next" value=next />
            <span>"Theme"</span>
            {choice("light", "Light theme", "sun")}
            {choice("dark", "Dark theme", "moon")}
            {choice("system", "The system's theme", "monitor")}
        </PostForm>
    }
    .erase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lies_below_whole_segments_only() {
        assert!(below("/settings/api-keys", &["/settings"]));
        assert!(!below("/settingsx", &["/settings"]));
        assert!(within("/settings/api-keys/new", "/settings/api-keys"));
        assert!(!within("/settings/api-keys/new", "/settings"));
        assert!(!within("/settings/mcp-connections", "/settings"));
        assert!(is_private("/oauth/consent") && !is_private("/sign-in"));
    }
}
