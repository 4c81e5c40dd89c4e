//! The entries of the agent helper, one a client.

use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{
    Permission,
    api_keys::{InstallMethod, Snippet},
    oauth::OauthWay,
    orgs::Me,
    paths,
};

use super::api::OpenConnectHelper;
use crate::{
    components::{Callout, CodeBlock, Disclosure, Tone},
    form::{Form, PostForm},
    state::SiteAssets,
};

/// The client whose entry is open if none was asked for.
const FIRST: &str = "claude-code";

/// What the entries need to know of the organisation and the person.
#[derive(Clone, Copy)]
pub(super) struct About {
    /// Whether the texts hold a key.
    pub(super) filled: bool,
    /// Whether keys may stand in URLs.
    pub(super) url_keys: bool,
    /// Whether the person may change that.
    pub(super) may_manage: bool,
}

impl About {
    pub(super) fn of(me: &Me, filled: bool, url_keys: bool) -> Self {
        Self { filled, url_keys, may_manage: me.can(Permission::SecurityManage) }
    }
}

/// One entry a client; `open` is the client whose entry is open at first. Where no key is filled in, each offers to make
/// one with the form `make`.
pub(super) fn methods(
    methods: Vec<InstallMethod>,
    open: Option<&str>,
    about: About,
    make: Option<Form<OpenConnectHelper>>,
) -> AnyView {
    let open = open.unwrap_or(FIRST);
    methods.into_iter().map(|method| entry(method, open, about, make)).collect_view().into_any()
}

fn entry(method: InstallMethod, open: &str, about: About, make: Option<Form<OpenConnectHelper>>) -> AnyView {
    let is_open = method.client == open;
    let make = make.filter(|_| !about.filled).map(|form| make_key(form, &method));
    let steps = steps(method.steps);
    let snippets = method.snippets.into_iter().map(snippet).collect_view();
    let link = method.link.filter(|_| about.filled).map(|href| {
        // The other button of this name signs in.
        let with_key = if method.oauth.is_some() { " with this key" } else { "" };
        view! { <p><a class="button" href=href rel="external">{format!("Add to {}{with_key}", method.title)}</a></p> }.erase()
    });
    let needs_url_key = !about.url_keys && matches!(method.client.as_str(), "claude-desktop" | "chatgpt");
    let switch = (needs_url_key && about.may_manage).then(|| {
        let href = format!("{}#key-settings", paths::settings_api_keys());
        view! { <p><a href=href>"Accept keys in URLs in the key settings"</a></p> }.erase()
    });
    // What holds no key needs no warning of it.
    let warning = method.warning.filter(|_| about.filled || needs_url_key).map(|warning| {
        let tone = if needs_url_key { Tone::Info } else { Tone::Warn };
        view! {
            <Callout tone=tone>
                <p>{warning}</p>
                {switch}
            </Callout>
        }
        .erase()
    });
    let oauth = method.oauth.map(|way| {
        view! {
            <Callout tone=Tone::Ok title="Safer: sign in, without a key">
                {oauth_way(way)}
            </Callout>
            <h3>"With a key"</h3>
        }
        .erase()
    });
    view! {
        <Disclosure title=method.title open=is_open group="clients">
            {oauth}
            {make}
            {steps}
            {link}
            {snippets}
            {warning}
        </Disclosure>
    }
    .erase()
}

/// Where else the endpoint answers than the entries say.
pub(crate) fn also_at(endpoint: Option<String>) -> Option<AnyView> {
    endpoint.map(|endpoint| {
        view! { <p class="hint">"The address of this instance works as well: " <code class="break">{endpoint}</code></p> }
            .erase()
    })
}

/// What to do, numbered if it is more than one thing.
fn steps(steps: Vec<String>) -> AnyView {
    if let [only] = steps.as_slice() {
        return view! { <p>{only.clone()}</p> }.erase();
    }
    let steps = steps.into_iter().map(|step| view! { <li>{step}</li> }.erase()).collect_view();
    view! { <ol class="steps">{steps}</ol> }.erase()
}

/// How to connect a client by signing in.
pub(crate) fn oauth_way(way: OauthWay) -> AnyView {
    let steps = steps(way.steps);
    let snippets = way.snippets.into_iter().map(snippet).collect_view();
    let link = way.link.map(|href| {
        view! { <p><a class="button" href=href rel="external">{format!("Add to {}", way.title)}</a></p> }
            .erase()
    });
    view! {
        <div class="stack">
            {steps}
            {link}
            {snippets}
        </div>
    }
    .erase()
}

fn make_key(form: Form<OpenConnectHelper>, method: &InstallMethod) -> AnyView {
    let (client, label) = (method.client.clone(), format!("Make a key for {}", method.title));
    let pending = form.pending();
    view! {
        <PostForm form=form class="inline-form">
            <input type="hidden" name="client" value=client />
            <button class="button" type="submit" aria-disabled=move || pending.get().then_some("true")>{label}</button>
        </PostForm>
    }
    .erase()
}

/// A text with the key masked, which is copied with the key.
pub(super) fn snippet(snippet: Snippet) -> AnyView {
    view! { <CodeBlock label=snippet.label text=snippet.text shown=snippet.shown /> }.erase()
}

/// A first request with a key, to see that it works.
pub(super) fn first_request(me: &Me, secret: &str, masked: &str) -> Option<Snippet> {
    let base = use_context::<SiteAssets>()?.public_url;
    let endpoint = format!("{base}{}", paths::mcp(me.org.as_ref()?.slug.as_str()));
    let command = |key: &str| {
        format!(
            "curl -X POST {endpoint} \\\n  -H \"Authorization: Bearer {key}\" \\\n  \
             -H \"Content-Type: application/json\" \\\n  \
             -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{{}}}}'"
        )
    };
    Some(Snippet { label: "Terminal".to_owned(), text: command(secret), shown: command(masked) })
}
