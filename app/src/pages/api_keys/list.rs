use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    api_keys::{ApiKey, ApiKeysPage as Keys},
    orgs::Me,
    paths,
};

use super::{
    api::{CopyApiKey, LoadApiKeys, SetKeySettings},
    card::{Cards, switched},
    settings::settings,
};
use crate::{
    components::{ButtonKind, Card, EmptyState, LinkButton, PageHeader},
    form::{ErrorSummary, use_form},
    page::{Loaded, load, page},
};

/// API keys.
pub struct ApiKeysPage {
    keys: Loaded<Keys>,
}

#[lazy_route]
impl LazyRoute for ApiKeysPage {
    fn data() -> Self {
        Self { keys: load(LoadApiKeys {}) }
    }

    fn view(this: Self) -> AnyView {
        let copy = use_form::<CopyApiKey>();
        let key_settings = use_form::<SetKeySettings>();
        page(this.keys, move |keys, me| {
            let may_create = me.can(Permission::ApiKeysCreate);
            let add = (may_create && !keys.keys.is_empty()).then(|| {
                view! { <LinkButton href=paths::new_api_key() label="New API key" kind=ButtonKind::Primary icon="plus" /> }
                    .erase()
            });
            let about = if keys.keys.is_empty() {
                ""
            } else {
                "A key lets an agent or server call your MCP endpoint."
            };
            let cards = Cards::of(&keys, &me, copy);
            let settings = settings(&keys, &me, key_settings);
            let toast = switched(&keys.keys, cards.may_update);
            let body = if keys.keys.is_empty() {
                view! { {empty(may_create)} {settings} }.erase()
            } else {
                filled(keys.keys, keys.usage, &cards, &me, settings)
            };
            view! {
                <PageHeader
                    title="API keys"
                    about=about
                    nostrip:action=add
                />
                {toast}
                <ErrorSummary form=copy />
                {body}
                <p class="key-help">
                    "Help: " <a href=paths::help_authentication()>"Authentication"</a> " · "
                    <a href=paths::help_quickstart()>"Quickstart"</a>
                </p>
            }
            .erase()
        })
    }
}

fn empty(may_create: bool) -> AnyView {
    let about = if may_create {
        "A key lets an agent or server call your MCP endpoint."
    } else {
        "A key lets an agent or server call your MCP endpoint. An owner, admin or developer of this organisation can make one."
    };
    let actions = may_create.then(|| {
        view! {
            <LinkButton href=paths::new_api_key() label="New API key" kind=ButtonKind::Primary icon="plus" />
            {open_helper("Connect a client")}
        }
        .erase()
    });
    view! {
        <EmptyState icon="key-round" title="No keys yet" about=about>
            {actions}
            <a href=paths::help_quickstart()>"Read the quickstart"</a>
        </EmptyState>
    }
    .erase()
}

fn filled(keys: Vec<ApiKey>, usage: Vec<String>, cards: &Cards, me: &Me, settings: AnyView) -> AnyView {
    let usage = usage.into_iter().map(Some).chain(core::iter::repeat(None));
    let (enabled, disabled): (Vec<_>, Vec<_>) = keys.into_iter().zip(usage).partition(|(key, _)| key.enabled);
    let helper = me.can(Permission::ApiKeysCreate).then(|| {
        view! {
            <Card
                title="Connect to an AI agent (MCP)"
                about="The install command for Claude Code, Codex, VS Code, Cursor, Claude Desktop, ChatGPT and more, with a key filled in."
            >
                {open_helper("Show install commands")}
            </Card>
        }.erase()
    });
    view! {
        <div class="stack-wide">
            {helper}
            {section("enabled-keys", "Enabled", enabled, "No key is enabled. Requests with any of them get 401.", cards)}
            {section("disabled-keys", "Disabled", disabled, "No key is disabled.", cards)}
            {settings}
        </div>
    }
    .erase()
}

fn section(
    id: &'static str,
    title: &'static str,
    keys: Vec<(ApiKey, Option<String>)>,
    none: &'static str,
    cards: &Cards,
) -> AnyView {
    let heading = format!("{title} ({})", keys.len());
    let list = if keys.is_empty() {
        view! { <p class="muted">{none}</p> }.erase()
    } else {
        let keys = keys.into_iter().map(|(key, usage)| cards.card(key, usage)).collect_view();
        view! { <ul class="key-list">{keys}</ul> }.erase()
    };
    view! {
        <section class="keys" aria-labelledby=id>
            <h2 id=id>{heading}</h2>
            {list}
        </section>
    }
    .erase()
}

/// Opening the helper may make a key, and its answer holds one: so it is a POST to the helper's own page.
fn open_helper(label: &'static str) -> AnyView {
    view! {
        <form class="inline-form" method="post" action=format!("{}?do=open_connect_helper", paths::connect_agent())>
            <button class="button" type="submit">{label}</button>
        </form>
    }
    .erase()
}
