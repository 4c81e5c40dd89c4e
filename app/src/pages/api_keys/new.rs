use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    api_keys::{ApiKeysPage as Keys, MAX_NAME},
    orgs::{KeyVisibility, Me},
    paths,
};

use super::{
    api::{CreateApiKey, CreatedKey, LoadApiKeys},
    fields::{Limits, limits},
    methods::{About, also_at, first_request, methods, snippet},
};
use crate::{
    components::{
        ButtonKind, Callout, Card, CopyField, Crumb, DeniedState, LinkButton, PageHeader, SubmitButton,
        TextField, Tone,
    },
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

/// Make an API key, and show it.
pub struct NewApiKeyPage {
    keys: Loaded<Keys>,
}

#[lazy_route]
impl LazyRoute for NewApiKeyPage {
    fn data() -> Self {
        Self { keys: load(LoadApiKeys {}) }
    }

    fn view(this: Self) -> AnyView {
        let create = use_form::<CreateApiKey>();
        page(this.keys, move |keys, me| {
            if !me.can(Permission::ApiKeysCreate) {
                return view! { <DeniedState permission=Some(Permission::ApiKeysCreate) /> }.erase();
            }
            (move || match create.ok().get() {
                Some(created) => made(created, &keys, &me),
                None => form(&keys, create),
            })
            .into_any()
        })
    }
}

fn crumbs() -> Vec<Crumb> {
    vec![Crumb::new(paths::settings(), "Settings"), Crumb::new(paths::settings_api_keys(), "API keys")]
}

fn form(keys: &Keys, create: Form<CreateApiKey>) -> AnyView {
    let limits = limits(create.into(), Limits::default(), keys.connectors.clone(), keys.url_keys);
    view! {
        <div class="narrow">
            <PageHeader title="New API key" crumbs=crumbs() />
            <Card title="Key">
                <PostForm form=create class="key-form">
                    <ErrorSummary form=create />
                    <TextField
                        form=create
                        name="name"
                        label="Name"
                        hint="Where will it be used? For example claude-prod or staging-agent."
                        max=MAX_NAME
                    />
                    {limits}
                    <div class="actions">
                        <SubmitButton form=create label="Create key" busy="Creating…" />
                        <a class="button" href=paths::settings_api_keys()>"Cancel"</a>
                    </div>
                </PostForm>
            </Card>
        </div>
    }
    .erase()
}

/// The answer: the only time that the whole key is on a page.
fn made(created: CreatedKey, keys: &Keys, me: &Me) -> AnyView {
    let CreatedKey { made, methods: entries, also_at: other } = created;
    let warning = match keys.visibility {
        KeyVisibility::Once => view! {
            <Callout tone=Tone::Warn title="You will not see this key again">
                <p>"Only its hash is kept. Copy it now, and store it where your other secrets are."</p>
            </Callout>
        }
        .erase(),
        KeyVisibility::Copyable => view! {
            <Callout tone=Tone::Info>
                <p>"An encrypted copy is kept: the key can be shown again on the API keys page."</p>
            </Callout>
        }
        .erase(),
    };
    let test = first_request(me, &made.secret, &made.key.masked()).map(|request| {
        view! {
            <Card title="Try it" about="Lists the tools that this key can use.">
                {snippet(request)}
            </Card>
        }
        .erase()
    });
    let about = About::of(me, true, keys.url_keys);
    let title = made.key.name.clone();
    view! {
        <div class="narrow">
            <PageHeader title="API key created" crumbs=crumbs() />
            <Card title=title about="It works now.">
                <div class="stack" role="status">
                    <CopyField label="API key" text=made.secret />
                    {warning}
                    <div class="actions">
                        <LinkButton href=paths::settings_api_keys() label="I have saved it" kind=ButtonKind::Primary />
                    </div>
                </div>
            </Card>
            {test}
            <Card
                title="Connect to an AI agent (MCP)"
                about="Each text has this key in it: hidden on the page, whole when copied."
            >
                {also_at(other)}
                {methods(entries, None, about, None)}
            </Card>
        </div>
    }
    .erase()
}
