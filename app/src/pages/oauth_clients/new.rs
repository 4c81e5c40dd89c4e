use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission, Scope,
    oauth::{MAX_CLIENT_NAME, OauthClientsPage as Clients},
    orgs::Me,
    paths,
};

use super::{
    api::{CreateOauthClient, LoadOauthClients},
    fields::{access, crumbs, cut, redirect_uris, shown},
};
use crate::{
    components::{
        Callout, Card, Choice, DeniedState, PageHeader, RadioGroup, SelectField, SubmitButton, TextField,
        Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

/// Make an OAuth client, and show its secret.
pub struct NewOauthClientPage {
    clients: Loaded<Clients>,
}

#[lazy_route]
impl LazyRoute for NewOauthClientPage {
    fn data() -> Self {
        Self { clients: load(LoadOauthClients {}) }
    }

    fn view(this: Self) -> AnyView {
        let create = use_form::<CreateOauthClient>();
        page(this.clients, move |clients, me| {
            if !me.can(Permission::OauthClientsWrite) {
                return view! { <DeniedState permission=Some(Permission::OauthClientsWrite) /> }.erase();
            }
            (move || match create.ok().get() {
                Some(made) => {
                    let name = made.made.client.name.clone();
                    view! {
                        <div class="narrow">
                            <PageHeader title="OAuth client created" crumbs=crumbs() />
                            {shown(made, name, "It works now.".to_owned())}
                        </div>
                    }
                    .erase()
                }
                None => form(create, &clients, &me),
            })
            .into_any()
        })
    }
}

fn form(create: Form<CreateOauthClient>, clients: &Clients, me: &Me) -> AnyView {
    let org = me.org.as_ref().map(|org| org.name.clone()).unwrap_or_default();
    let kinds = vec![
        Choice::new("machine", "A machine")
            .hint("Client credentials: a server or a job that acts on its own."),
        Choice::new("code", "An app for people")
            .hint("Authorisation code with PKCE: people log in and allow it."),
    ];
    let proofs = vec![
        Choice::new("client_secret_post", "In the request's body"),
        Choice::new("client_secret_basic", "In a header"),
        Choice::new("none", "Not at all (public client)"),
    ];
    let access = access(create.into(), &Scope::everything(), clients.connectors.clone());
    let cut = cut(create.into(), "Creating", &org, clients.live());
    view! {
        <div class="narrow">
            <PageHeader title="New OAuth client" crumbs=crumbs() />
            <div class="stack-wide">
            <Callout tone=Tone::Info title="Connecting Claude.ai, Cursor or another MCP client?">
                <p>
                    "They register themselves: no client is needed. "
                    <a href=paths::how_to_connect()>"How to connect"</a>
                </p>
            </Callout>
            <Card title="Client">
                <PostForm form=create class="key-form client-form">
                    <ErrorSummary form=create />
                    <TextField
                        form=create
                        name="name"
                        label="Name"
                        hint="What will use it? For example nightly-report."
                        max=MAX_CLIENT_NAME
                    />
                    <RadioGroup form=create name="kind" label="What it is" value="machine" choices=kinds />
                    <div class="for-people">{redirect_uris(create.into(), &[])}</div>
                    {access}
                    <SelectField
                        form=create
                        name="proof"
                        label="How it sends its secret"
                        hint="`client_secret_post`, `client_secret_basic` or `none`; the last is for an app for people only. The example that follows is written for your choice."
                        value="client_secret_post"
                        choices=proofs
                    />
                    {cut}
                    <div class="actions">
                        <SubmitButton form=create label="Create client" busy="Creating…" />
                        <a class="button" href=paths::settings_oauth_clients()>"Cancel"</a>
                    </div>
                </PostForm>
            </Card>
            </div>
        </div>
    }
    .erase()
}
