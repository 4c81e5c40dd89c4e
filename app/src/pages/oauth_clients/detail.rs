use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_location, lazy_route};
use model::{
    Permission,
    oauth::{ClientKind, ClientSecret, MAX_CLIENT_NAME, OauthClient, Overlap},
    orgs::Me,
    paths,
};

use super::{
    api::{LoadOauthClient, OneClient, RotateOauthClient, UpdateOauthClient},
    delete,
    fields::{access, connections, crumbs, redirect_uris, shown},
};
use crate::{
    components::{
        Ago, Badge, ButtonKind, Callout, Card, Choice, CopyField, DataTable, Day, Fact, Facts, LinkButton,
        PageHeader, SelectField, SubmitButton, TextField, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by, page},
};

/// One OAuth client, or the question before it is deleted: one part of the wasm for both.
pub struct OauthClientPage {
    client: Loaded<OneClient>,
}

#[lazy_route]
impl LazyRoute for OauthClientPage {
    fn data() -> Self {
        Self { client: load_by("id", |id| LoadOauthClient { id }) }
    }

    fn view(this: Self) -> AnyView {
        if use_location().pathname.get_untracked().ends_with("/delete") {
            return delete::view(this.client);
        }
        let save = use_form::<UpdateOauthClient>();
        let rotate = use_form::<RotateOauthClient>();
        page(this.client, move |one, me| {
            let name = one.client.name.clone();
            let about = one.client.kind.title();
            let rotated = move || {
                rotate.ok().get().map(|made| {
                    shown(
                        made,
                        "New secret".to_owned(),
                        "It works now. The old one ends as you chose.".to_owned(),
                    )
                })
            };
            let body = if one.client.kind.is_own() { own(save, rotate, one, &me) } else { other(one, &me) };
            view! {
                <div class="narrow">
                    <PageHeader title=name crumbs=crumbs() about=about />
                    <div class="stack-wide">
                        {rotated}
                        {body}
                    </div>
                </div>
            }
            .erase()
        })
    }
}

fn facts(client: &OauthClient, now: i64) -> AnyView {
    let used = match client.last_used_at {
        Some(at) => view! { <Ago at=at now=now /> }.erase(),
        None => "Never".into_any(),
    };
    let uris = client
        .redirect_uris
        .iter()
        .map(|uri| view! { <li><code class="mono">{uri.clone()}</code></li> }.erase())
        .collect_view();
    let uris = (!client.redirect_uris.is_empty())
        .then(|| view! { <Fact term="Sent back to"><ul class="plain-list">{uris}</ul></Fact> }.erase());
    let live = connections(client.connections);
    let live =
        (client.kind != ClientKind::Machine).then(|| view! { <Fact term="Live here">{live}</Fact> }.erase());
    let (since, from) = if client.kind.is_own() {
        ("Created", format!(" by {}", client.created_by))
    } else {
        ("First seen", format!(" from {}", client.created_by))
    };
    let (id, scope, proof) = (client.id.clone(), client.scope.to_string(), client.auth_method.clone());
    let (kind, created_at) = (client.kind.title(), client.created_at);
    view! {
        <Facts>
            <Fact term="Client ID">
                <CopyField label="client ID" text=id />
            </Fact>
            <Fact term="Kind">{kind}</Fact>
            <Fact term="Scopes">
                <code class="mono">{scope}</code>
            </Fact>
            {uris}
            <Fact term="How it proves itself">
                <code class="mono">{proof}</code>
            </Fact>
            {live}
            <Fact term=since>
                <Day at=created_at />
                {from}
            </Fact>
            <Fact term="Last token">{used}</Fact>
        </Facts>
    }
    .erase()
}

fn own(save: Form<UpdateOauthClient>, rotate: Form<RotateOauthClient>, one: OneClient, me: &Me) -> AnyView {
    let OneClient { client, connectors, now, .. } = one;
    let may_write = me.can(Permission::OauthClientsWrite);
    let facts = facts(&client, now);
    let facts = view! { <Card title="Client">{facts}</Card> }.erase();
    let has_secret = client.auth_method != "none";
    let secrets = has_secret.then(|| secrets(rotate, &client, may_write, now));
    if !may_write {
        return view! { {facts} {secrets} }.erase();
    }
    let uris = (client.kind == ClientKind::Code).then(|| redirect_uris(save.into(), &client.redirect_uris));
    let delete = paths::delete_oauth_client(&client.id);
    let access = access(save.into(), &client.scope, connectors);
    view! {
        {facts}
        {secrets}
        <Card title="Change it">
            <PostForm form=save class="key-form">
                <ErrorSummary form=save />
                <input type="hidden" name="id" value=client.id />
                <TextField form=save name="name" label="Name" value=client.name max=MAX_CLIENT_NAME />
                {uris}
                {access}
                <SubmitButton form=save label="Save changes" kind=ButtonKind::Secondary />
            </PostForm>
        </Card>
        <Card title="Delete it" about="Applications that use this client ID stop working.">
            <LinkButton href=delete label="Delete client" icon="trash-2" />
        </Card>
    }
    .erase()
}

fn secrets(rotate: Form<RotateOauthClient>, client: &OauthClient, may_write: bool, now: i64) -> AnyView {
    let rows = client.secrets.iter().map(|secret| secret_row(secret, now)).collect_view();
    let overlaps = Overlap::ALL
        .iter()
        .map(|overlap| {
            let label = match overlap {
                Overlap::None => "No, it ends now",
                Overlap::Hour => "For 1 hour",
                Overlap::Day => "For 24 hours",
                Overlap::Week => "For 7 days",
            };
            Choice::new(overlap.as_str(), label)
        })
        .collect();
    let id = client.id.clone();
    let form = may_write.then(|| {
        view! {
            <PostForm form=rotate>
                <ErrorSummary form=rotate />
                <input type="hidden" name="id" value=id />
                <SelectField
                    form=rotate
                    name="overlap"
                    label="Keep the current secret working"
                    hint="A new secret is made at once. At most two work side by side: one that is older still ends now."
                    value="24h"
                    choices=overlaps
                />
                <SubmitButton form=rotate label="Rotate secret" busy="Rotating…" kind=ButtonKind::Secondary icon="refresh-cw" />
            </PostForm>
        }
        .erase()
    });
    view! {
        <Card title="Secrets" about="Only hashes are kept. A lost secret is replaced, not found.">
            <div class="stack">
                <DataTable caption="Secrets of this client" columns=vec!["Secret", "State", "Created", "Last used"]>{rows}</DataTable>
                {form}
            </div>
        </Card>
    }
    .erase()
}

fn secret_row(secret: &ClientSecret, now: i64) -> AnyView {
    let state = match secret.expires_at {
        None => view! { <Badge label="current" tone=Tone::Ok /> }.erase(),
        Some(at) => view! { <Badge label="ends" tone=Tone::Warn /> " " <Time at=at now=now /> }.erase(),
    };
    let used = match secret.last_used_at {
        Some(at) => view! { <Ago at=at now=now /> }.erase(),
        None => "Never".into_any(),
    };
    view! {
        <tr>
            <th scope="row" data-label="Secret"><code class="mono">{format!("gth_secret_…{}", secret.last4)}</code></th>
            <td data-label="State">{state}</td>
            <td data-label="Created"><Day at=secret.created_at /> {format!(" by {}", secret.created_by)}</td>
            <td data-label="Last used">{used}</td>
        </tr>
    }
    .erase()
}

/// A client that belongs to nobody. All of it is text that the client wrote.
fn other(one: OneClient, me: &Me) -> AnyView {
    let OneClient { client, now, .. } = one;
    let claims = client
        .claims
        .iter()
        .map(|(name, value)| {
            let value = value.clone();
            view! { <Fact term=name.clone()><span class="server-text">{value}</span></Fact> }.erase()
        })
        .collect_view();
    let claims = (!client.claims.is_empty()).then(|| {
        view! {
            <Card title="What it says of itself" about="Text that the client sent. Nobody has checked it.">
                <Facts>{claims}</Facts>
            </Card>
        }
        .erase()
    });
    let revoke = (me.can(Permission::OauthClientsWrite) && client.connections > 0).then(|| {
        let href = paths::delete_oauth_client(&client.id);
        view! {
            <Card title="Cut it off here" about="It can be given access again, unless you stop accepting such clients.">
                <LinkButton href=href label="Revoke all its connections" icon="trash-2" />
            </Card>
        }
        .erase()
    });
    let facts = facts(&client, now);
    view! {
        <Callout tone=Tone::Warn title="Nobody of this organisation made this client">
            <p>"It registered itself, and members gave it access. Its name proves nothing: look at where it sends people back to."</p>
        </Callout>
        <Card title="Client">{facts}</Card>
        {claims}
        {revoke}
    }
    .erase()
}
