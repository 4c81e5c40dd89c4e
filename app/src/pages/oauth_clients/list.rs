use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    oauth::{OauthClient, OauthClientsPage as Clients, RefreshLifetime},
    orgs::Me,
    paths,
};

use super::{
    api::{LoadOauthClients, SetOauthSettings},
    fields::{connections, hosts},
};
use crate::{
    components::{
        Ago, ButtonKind, Card, Checkbox, Choice, CopyButton, DataTable, Day, EmptyState, Fact, Facts,
        LinkButton, PageHeader, RadioGroup, SubmitButton,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

const EMPTY: &str = "Claude.ai and other MCP clients register themselves. Create a client only for machine-to-machine access.";

/// OAuth clients.
pub struct OauthClientsPage {
    clients: Loaded<Clients>,
}

#[lazy_route]
impl LazyRoute for OauthClientsPage {
    fn data() -> Self {
        Self { clients: load(LoadOauthClients {}) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<SetOauthSettings>();
        page(this.clients, move |clients, me| {
            let may_write = me.can(Permission::OauthClientsWrite);
            let new = (may_write && !clients.own.is_empty()).then(new_client);
            let own = own(&clients, may_write);
            let others = others(&clients);
            view! {
                <PageHeader
                    title="OAuth clients"
                    about="Programs that get tokens for your MCP endpoint instead of holding a key."
                    nostrip:action=new
                />
                <div class="stack-wide">
                    {own}
                    {others}
                    {settings(save, &clients, &me)}
                </div>
                <p class="key-help">
                    "Help: " <a href=paths::help_claude_ai()>"Connect to Claude.ai"</a> " · "
                    <a href=paths::help_authentication()>"Authentication"</a> " · "
                    <a href=paths::settings_connections()>"MCP connections"</a>
                </p>
            }
            .erase()
        })
    }
}

fn new_client() -> AnyView {
    view! { <LinkButton href=paths::new_oauth_client() label="New OAuth client" kind=ButtonKind::Primary icon="plus" /> }
        .erase()
}

fn own(clients: &Clients, may_write: bool) -> AnyView {
    if clients.own.is_empty() {
        let new = may_write.then(new_client);
        return view! {
            <EmptyState icon="app-window" title="No clients of your own" about=EMPTY>
                {new}
                <a href=paths::help_claude_ai()>"Connect to Claude.ai"</a>
            </EmptyState>
        }
        .erase();
    }
    let now = clients.now;
    let rows = clients
        .own
        .iter()
        .map(|client| {
            let (id, name) = (client.id.clone(), format!("Copy client ID of {}", client.name));
            let hosts = hosts(client);
            let hosts = if hosts.is_empty() { "None".to_owned() } else { hosts };
            view! {
                <tr>
                    <th scope="row" data-label="Name">
                        <a class="connector-link" href=paths::oauth_client(&client.id)>{client.name.clone()}</a>
                    </th>
                    <td data-label="Client ID">
                        <span class="with-copy"><code class="mono">{client.id.clone()}</code> <CopyButton text=id name=name /></span>
                    </td>
                    <td data-label="Kind">{client.kind.title()}</td>
                    <td data-label="Scopes"><code class="mono">{client.scope.to_string()}</code></td>
                    <td data-label="Redirect hosts">{hosts}</td>
                    <td data-label="Created by">{client.created_by.clone()}</td>
                    <td data-label="Last token">{last_token(client, now)}</td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    view! {
        <section aria-labelledby="own-clients">
            <h2 id="own-clients">{format!("Your clients ({})", clients.own.len())}</h2>
            <DataTable
                caption="OAuth clients of this organisation"
                columns=vec!["Name", "Client ID", "Kind", "Scopes", "Redirect hosts", "Created by", "Last token"]
            >
                {rows}
            </DataTable>
        </section>
    }
    .erase()
}

fn last_token(client: &OauthClient, now: i64) -> AnyView {
    match client.last_used_at {
        Some(at) => view! { <Ago at=at now=now /> }.erase(),
        None => "Never".into_any(),
    }
}

fn others(clients: &Clients) -> AnyView {
    if clients.others.is_empty() {
        return ().into_any();
    }
    let now = clients.now;
    let rows = clients
        .others
        .iter()
        .map(|client| {
            view! {
                <tr>
                    <th scope="row" data-label="Name">
                        <a class="connector-link" href=paths::oauth_client(&client.id)>{client.name.clone()}</a>
                    </th>
                    <td data-label="Kind">{client.kind.title()}</td>
                    <td data-label="Redirect hosts">{hosts(client)}</td>
                    <td data-label="Since"><Day at=client.created_at /></td>
                    <td data-label="Live">{connections(client.connections)}</td>
                    <td data-label="Last token">{last_token(client, now)}</td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    view! {
        <section class="stack" aria-labelledby="other-clients">
            <div>
                <h2 id="other-clients">{format!("Registered by themselves ({})", clients.others.len())}</h2>
                <p class="muted">"Members gave them access here. Their names are what they say of themselves: nobody has checked them."</p>
            </div>
            <DataTable
                caption="Clients that registered themselves"
                columns=vec!["Name", "Kind", "Redirect hosts", "Since", "Live", "Last token"]
            >
                {rows}
            </DataTable>
        </section>
    }
    .erase()
}

fn settings(form: Form<SetOauthSettings>, clients: &Clients, me: &Me) -> AnyView {
    let now = clients.settings;
    if !me.can(Permission::OauthClientsWrite) {
        let days = if now.lifetime == RefreshLifetime::Day {
            "1 day".to_owned()
        } else {
            format!("{} days", now.lifetime.days())
        };
        let reuse = match now.reuse {
            model::oauth::ReusePolicy::Revoke => "Ends the connection's tokens",
            model::oauth::ReusePolicy::Reject => "Only that request is refused",
        };
        return view! {
            <Card title="Refresh token lifetime" about="Those who hold oauth-clients:write can change it.">
                <Facts>
                    <Fact term="Connections last">{days}</Fact>
                    <Fact term="Replay of a token">{reuse}</Fact>
                    <Fact term="Clients that register themselves">{if now.open_clients { "Accepted" } else { "Not accepted" }}</Fact>
                </Facts>
            </Card>
        }
        .erase();
    }
    let lifetimes = RefreshLifetime::ALL
        .iter()
        .map(|choice| {
            let days = choice.days();
            let label = match choice {
                RefreshLifetime::Day => "1 day (Short)",
                RefreshLifetime::Week => "7 days (Medium)",
                RefreshLifetime::Month => "30 days (Default)",
                RefreshLifetime::Quarter => "90 days (Long)",
            };
            let live = clients.lifetimes.iter().find(|(of, _)| *of == days).map_or(0, |(_, count)| *count);
            Choice::new(days.to_string(), label).hint(format!("{} with it now.", connections(live)))
        })
        .collect();
    let reuse = vec![
        Choice::new("revoke", "End all tokens of that connection")
            .hint("A used token that comes back may have been stolen."),
        Choice::new("reject", "Refuse only that request")
            .hint("Weaker: a thief who is quicker than the client is not noticed."),
    ];
    view! {
        <Card
            title="Refresh token lifetime"
            about="How long a connection lasts until somebody has to authorise it again. Applies to new tokens. Existing sessions keep theirs until they expire or are revoked."
        >
            <PostForm form=form>
                <ErrorSummary form=form />
                <RadioGroup form=form name="days" label="Lifetime" value=now.lifetime.days().to_string() choices=lifetimes />
                <RadioGroup form=form name="reuse" label="When a used refresh token comes back" value=now.reuse.as_str() choices=reuse />
                <Checkbox
                    form=form
                    name="open_clients"
                    label="Accept clients that register themselves"
                    hint="Claude.ai and most others register themselves. Without this, members can connect only the clients listed above as yours."
                    checked=now.open_clients
                />
                <SubmitButton form=form label="Save token settings" kind=ButtonKind::Secondary />
            </PostForm>
        </Card>
    }
    .erase()
}
