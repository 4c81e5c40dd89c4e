use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route};
use model::{Permission, connectors::Connector, credentials::CredentialKind, orgs::Me, paths};

use super::{
    api::{ConnectorList, LoadConnectors},
    parts::{Filter, matches, transport},
};
use crate::{
    components::{
        Badge, ButtonForm, ButtonKind, DataTable, EmptyState, HealthBadge, LinkButton, PageHeader, Time, Tone,
    },
    form::{ErrorSummary, Form, use_form},
    page::{Loaded, load, page},
    pages::overview::api::AddDemoConnector,
};

const ABOUT: &str = "MCP servers whose tools this organisation offers to its agents, at one endpoint.";

/// Connectors.
pub struct ConnectorsPage {
    list: Loaded<ConnectorList>,
}

#[lazy_route]
impl LazyRoute for ConnectorsPage {
    fn data() -> Self {
        Self { list: load(LoadConnectors {}) }
    }

    fn view(this: Self) -> AnyView {
        let demo = use_form::<AddDemoConnector>();
        let query = use_query_map();
        page(this.list, move |list, me| {
            if list.connectors.is_empty() {
                return empty(&list, &me, demo);
            }
            let add = me.can(Permission::ConnectorsWrite).then(|| {
                view! { <LinkButton href=paths::new_connector() label="Add connector" kind=ButtonKind::Primary icon="plus" /> }
                    .erase()
            });
            view! {
                <PageHeader title="Connectors" about=ABOUT nostrip:action=add />
                {move || {
                    let filter = query.with(|query| query.get_str("q").unwrap_or_default().to_owned());
                    filled(&list, filter)
                }}
            }
            .erase()
        })
    }
}

fn empty(list: &ConnectorList, me: &Me, demo: Form<AddDemoConnector>) -> AnyView {
    let may_add = me.can(Permission::ConnectorsWrite);
    let add = may_add.then(|| {
        view! { <LinkButton href=paths::new_connector() label="Add connector" kind=ButtonKind::Primary icon="plus" /> }.erase()
    });
    let try_it = (may_add && list.demo_available)
        .then(|| view! { <ButtonForm form=demo label="Add the demo server" icon="plug" /> }.erase());
    let about = if may_add {
        "A connector is an MCP server that you have: give its URL, and its tools are offered to your agents under one endpoint. \
         The demo server is built in and needs nothing."
    } else {
        "A connector is an MCP server whose tools are offered to agents. An owner, admin or developer of this organisation can add one."
    };
    view! {
        <PageHeader title="Connectors" about=ABOUT />
        <ErrorSummary form=demo />
        <EmptyState icon="plug" title="No connectors yet" about=about>
            {add}
            {try_it}
            <a href=paths::help_quickstart()>"Read the quickstart"</a>
        </EmptyState>
    }
    .erase()
}

fn filled(list: &ConnectorList, filter: String) -> AnyView {
    let found: Vec<&Connector> = list
        .connectors
        .iter()
        .filter(|c| matches(&filter, &[&c.name, c.slug.as_str(), &c.url, &c.description]))
        .collect();
    let table = if found.is_empty() {
        view! {
            <EmptyState
                icon="search"
                title="No connector matches"
                about="The filter looks at name, slug, URL and description."
            >
                <a class="button" href=paths::connectors()>"Clear filter"</a>
            </EmptyState>
        }
        .erase()
    } else {
        let now = list.now;
        let rows = found.into_iter().map(|connector| row(connector, now)).collect_view();
        view! {
            <DataTable
                caption="Connectors"
                columns=vec!["Connector", "Health", "Tools", "Transport", "Credentials", "State"]
            >
                {rows}
            </DataTable>
        }
        .erase()
    };
    view! {
        <Filter label="Filter by name, slug or URL" value=filter clear=paths::connectors().to_owned() />
        {table}
    }
    .erase()
}

fn row(connector: &Connector, now: i64) -> AnyView {
    let checked = match connector.checked_at {
        Some(at) => view! { <span class="fine">"Checked " <Time at=at now=now /></span> }.erase(),
        None => view! { <span class="fine">"Not checked yet"</span> }.erase(),
    };
    let auth = match (connector.credentials, connector.headers.is_empty()) {
        (CredentialKind::Static, true) => "None",
        (CredentialKind::Static, false) => "Static headers",
        (CredentialKind::PerUser, _) => "OAuth, each member",
        (CredentialKind::AuthorizationCode | CredentialKind::ClientCredentials, _) => "OAuth",
    };
    let lost = connector.needs_reauth.then(|| {
        let page = paths::connector_credentials(connector.id);
        view! { <a href=page><Badge label="Needs re-authorisation" tone=Tone::Bad /></a> }.erase()
    });
    let (state, tone) = if connector.enabled { ("Enabled", Tone::Ok) } else { ("Disabled", Tone::Neutral) };
    view! {
        <tr>
            <th scope="row">
                <a class="connector-link" href=paths::connector(connector.id)>{connector.name.clone()}</a>
                <code class="fine mono">{connector.slug.to_string()}</code>
            </th>
            <td data-label="Health">
                <div class="two-lines"><HealthBadge health=connector.health /> {checked}</div>
            </td>
            <td data-label="Tools">{format!("{} of {} on", connector.tools_enabled, connector.tools_total)}</td>
            <td data-label="Transport">{transport(connector.transport)}</td>
            <td data-label="Credentials"><div class="two-lines">{auth} {lost}</div></td>
            <td data-label="State"><Badge label=state tone=tone /></td>
        </tr>
    }
    .erase()
}
