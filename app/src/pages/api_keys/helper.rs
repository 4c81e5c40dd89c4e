use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    api_keys::{ApiKey, ApiKeysPage as Keys, ConnectHelper},
    orgs::{KeyVisibility, Me, PinAsked},
    paths,
};

use super::{
    api::{LoadApiKeys, OpenConnectHelper},
    methods::{About, also_at, methods},
};
use crate::{
    components::{ButtonKind, Callout, Card, Crumb, DeniedState, PageHeader, SubmitButton, Tone},
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
    pages::deletion::pin_field,
};

const TITLE: &str = "Connect to an AI agent (MCP)";

/// Connect to an AI agent.
pub struct ConnectAgentPage {
    keys: Loaded<Keys>,
}

#[lazy_route]
impl LazyRoute for ConnectAgentPage {
    fn data() -> Self {
        Self { keys: load(LoadApiKeys {}) }
    }

    fn view(this: Self) -> AnyView {
        let open = use_form::<OpenConnectHelper>();
        page(this.keys, move |keys, me| {
            if !me.can(Permission::ApiKeysCreate) {
                return view! { <DeniedState permission=Some(Permission::ApiKeysCreate) /> }.erase();
            }
            view! {
                <div class="narrow">
                    <PageHeader
                        title=TITLE
                        crumbs=vec![
                            Crumb::new(paths::settings(), "Settings"),
                            Crumb::new(paths::settings_api_keys(), "API keys"),
                        ]
                        about="One way for each client to reach the tools of this organisation."
                    />
                    <ErrorSummary form=open />
                    {move || match open.ok().get() {
                        Some(helper) => answer(helper, &keys, &me, open),
                        None => before(&keys, me.pin, open),
                    }}
                </div>
            }
            .erase()
        })
    }
}

/// What opening will do. A page that was only looked at holds no key.
fn before(keys: &Keys, pin: PinAsked, open: Form<OpenConnectHelper>) -> AnyView {
    let now = keys.now;
    let works = |key: &&ApiKey| key.enabled && key.expires_at.is_none_or(|at| at > now);
    let what = if let Some(key) = keys.keys.iter().filter(works).find(|key| key.copyable) {
        format!("The commands will have your newest key in them: {}.", key.name)
    } else if keys.keys.iter().any(|key| works(&key)) {
        "Keys that exist were shown once, so they cannot be filled in. Each client will offer to make a key of its own."
            .to_owned()
    } else {
        "There is no key that works, so one named Connect helper will be made. It can use all connectors."
            .to_owned()
    };
    let pin = keys.keys.iter().any(|key| works(&key) && key.copyable).then(|| pin_field(open.into(), pin));
    view! {
        <Card title="Install commands">
            <div class="stack">
                <p>{what}</p>
                <PostForm form=open>
                    {pin}
                    <SubmitButton form=open label="Show install commands" busy="Opening…" />
                </PostForm>
            </div>
        </Card>
    }
    .erase()
}

fn answer(helper: ConnectHelper, keys: &Keys, me: &Me, open: Form<OpenConnectHelper>) -> AnyView {
    let pin = me.pin;
    let about = About::of(me, helper.key.is_some(), keys.url_keys);
    let which = match helper.key {
        Some(key) if helper.made => made(&key, keys.visibility),
        Some(key) => view! {
            <Callout tone=Tone::Neutral>
                <p>
                    "The commands hold the key " <strong>{key.name.clone()}</strong> " (" <code>{key.masked()}</code>
                    "): hidden here, whole when copied. " <a href=paths::settings_api_keys()>"See all keys"</a> "."
                </p>
            </Callout>
        }
        .erase(),
        None if me.pin != PinAsked::No && keys.keys.iter().any(|key| key.enabled && key.copyable) => view! {
            <Callout tone=Tone::Info title="No key is filled in">
                <p>"This organisation asks for your PIN before a stored key is shown."</p>
                <PostForm form=open>
                    {pin_field(open.into(), pin)}
                    <SubmitButton form=open label="Fill in my newest key" busy="Opening…" kind=ButtonKind::Secondary />
                </PostForm>
            </Callout>
        }
        .erase(),
        None => view! {
            <Callout tone=Tone::Info title="Your keys were shown once">
                <p>
                    "Only their hashes are kept, so none can be filled in. Put a key that you saved in place of "
                    <code>"YOUR_API_KEY"</code> ", or make one for your client here."
                </p>
            </Callout>
        }
        .erase(),
    };
    view! {
        <div class="stack-wide">
            <div role="status">{which}</div>
            <Card title="Your client">
                {also_at(helper.also_at)}
                {methods(helper.methods, helper.client.as_deref(), about, Some(open))}
            </Card>
        </div>
    }
    .erase()
}

fn made(key: &ApiKey, visibility: KeyVisibility) -> AnyView {
    let once = (visibility == KeyVisibility::Once).then(|| {
        view! { <p>"You will not see it again after you leave this page: copy what you need now."</p> }
            .erase()
    });
    let undo = paths::delete_api_key(key.id);
    view! {
        <Callout tone=Tone::Ok title=format!("Made a key named {}", key.name)>
            <p>
                "The commands below have it in them: hidden here, whole when copied. It can use all connectors and does not expire."
            </p>
            {once}
            <p>
                <a href=paths::settings_api_keys()>"See all keys"</a> " · "
                <a href=undo>"Undo: delete this key"</a>
            </p>
        </Callout>
    }
    .erase()
}
