use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route, params::ParamsMap};
use model::{Permission, Scope, api_keys::Snippet, oauth::Connection, paths, text::each_once};

use super::{
    alerts,
    api::{ConnectionList, LoadConnections},
};
use crate::{
    components::{
        Ago, Badge, ButtonKind, CodeBlock, DataTable, Day, Dialog, EmptyState, Icon, OpenDialog, PageHeader,
        Tone,
    },
    erase::Erase as _,
    page::{Loaded, load, page},
};

const HOW_TO: &str = "how-to-connect";

/// MCP connections.
pub struct ConnectionsPage {
    list: Loaded<ConnectionList>,
}

#[lazy_route]
impl LazyRoute for ConnectionsPage {
    fn data() -> Self {
        Self { list: load(LoadConnections {}) }
    }

    fn view(this: Self) -> AnyView {
        let query = use_query_map();
        page(this.list, move |list, me| {
            let ConnectionList { connections, alerts, desktop, now } = list;
            let may_revoke = me.can(Permission::ApiKeysRevoke);
            let about = totals(&connections);
            // Without connections the same button stands in the middle of the page.
            let action = if connections.is_empty() { ().into_any() } else { open_how_to() };
            let alerts =
                alerts.into_iter().map(|alert| alerts::of_org(alert, may_revoke, now)).collect_view();
            let body = if connections.is_empty() {
                empty()
            } else {
                (move || {
                    let filter = query.with(Filter::of);
                    filled(&connections, &filter, may_revoke, now)
                })
                .into_any()
            };
            view! {
                <PageHeader title="MCP connections" about=about action=action />
                <div class="stack">{alerts}</div>
                {body}
                <p class="key-help">
                    "Help: " <a href=paths::help_claude_ai()>"Connect to Claude.ai"</a> " · "
                    <a href=paths::help_authentication()>"Authentication"</a> " · "
                    <a href=paths::connection_doctor()>"Connection doctor"</a>
                </p>
                {how_to_dialog(desktop)}
            }
            .erase()
        })
    }
}

/// "14 connections · 11 active"
fn totals(connections: &[Connection]) -> String {
    let active = connections.iter().filter(|connection| connection.is_active()).count();
    let s = if connections.len() == 1 { "" } else { "s" };
    format!("{} connection{s} · {active} active", connections.len())
}

fn open_how_to() -> AnyView {
    view! { <OpenDialog dialog=HOW_TO label="How to Connect" kind=ButtonKind::Primary icon="plug" href=paths::how_to_connect() /> }
        .erase()
}

fn how_to_dialog(desktop: Option<Snippet>) -> AnyView {
    view! {
        <Dialog id=HOW_TO title="How to connect" close="Done">
            {three_steps(desktop)}
            <p><a href=paths::how_to_connect()>"Other clients"</a></p>
        </Dialog>
    }
    .erase()
}

/// The three steps for Claude Desktop, with its configuration file.
pub(super) fn three_steps(desktop: Option<Snippet>) -> AnyView {
    let file = desktop.map(|snippet| view! { <CodeBlock label=snippet.label text=snippet.text /> }.erase());
    view! {
        <div class="stack">
            <ol class="steps">
                <li>"Open Claude Desktop's settings, then Developer, Edit Config."</li>
                <li>"Add the MCP server's URL as a remote server, as below. It needs Node.js. Restart Claude Desktop."</li>
                <li>"Authorize in the browser when prompted: log in, look at what is asked, and allow it."</li>
            </ol>
            {file}
        </div>
    }
    .erase()
}

fn empty() -> AnyView {
    view! {
        <EmptyState
            icon="link"
            title="No connections yet"
            about="Connections appear when someone authorises an MCP client. You cannot create one here."
        >
            {open_how_to()}
            <a href=paths::help_claude_ai()>"Connect to Claude.ai"</a>
        </EmptyState>
    }
    .erase()
}

/// What the address asks for.
#[derive(Default, PartialEq, Eq)]
struct Filter {
    status: String,
    user: String,
    client: String,
}

impl Filter {
    fn of(query: &ParamsMap) -> Self {
        let of = |name: &str| query.get_str(name).unwrap_or_default().to_owned();
        Self { status: of("status"), user: of("user"), client: of("client") }
    }

    fn takes(&self, connection: &Connection) -> bool {
        let status = match self.status.as_str() {
            "active" => connection.is_active(),
            "revoked" => !connection.is_active(),
            _ => true,
        };
        let same = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        status && same(&self.user, &connection.user_email) && same(&self.client, &connection.client_name)
    }
}

fn filled(connections: &[Connection], filter: &Filter, may_revoke: bool, now: i64) -> AnyView {
    let found: Vec<_> = connections.iter().filter(|connection| filter.takes(connection)).collect();
    let table = if found.is_empty() {
        view! {
            <EmptyState icon="search" title="No connection matches" about="No connection has this status, user and client at once.">
                <a class="button" href=paths::settings_connections()>"Clear filters"</a>
            </EmptyState>
        }
        .erase()
    } else {
        let mut columns = vec!["Client", "Status", "User", "API key prefix", "Connected", "Last token"];
        if may_revoke {
            columns.push("");
        }
        let rows = found.into_iter().map(|connection| row(connection, may_revoke, now)).collect_view();
        view! { <DataTable caption="MCP connections" columns=columns>{rows}</DataTable> }.erase()
    };
    view! {
        {filter_bar(connections, filter)}
        {table}
    }
    .erase()
}

fn filter_bar(connections: &[Connection], filter: &Filter) -> AnyView {
    let all = |of: fn(&Connection) -> &str| {
        each_once(connections.iter().map(of))
            .iter()
            .map(|name| ((*name).to_owned(), (*name).to_owned()))
            .collect::<Vec<_>>()
    };
    let states = ["active", "revoked"].map(|state| (state.to_owned(), state.to_owned())).to_vec();
    let clear = (*filter != Filter::default()).then(|| {
        view! { <a class="button quiet" href=paths::settings_connections()>"Clear filters"</a> }.erase()
    });
    view! {
        <form class="filter filter-bar" method="get" role="search" aria-label="Filter connections">
            {select("status", "Status", "Any status", states, &filter.status)}
            {select("user", "User", "Any user", all(|c| &c.user_email), &filter.user)}
            {select("client", "Client", "Any client", all(|c| &c.client_name), &filter.client)}
            <button class="button" type="submit">"Filter"</button>
            {clear}
        </form>
    }
    .erase()
}

fn select(
    name: &'static str,
    label: &'static str,
    any: &'static str,
    choices: Vec<(String, String)>,
    chosen: &str,
) -> AnyView {
    let options = choices
        .into_iter()
        .map(|(value, text)| {
            let selected = value == chosen;
            view! { <option value=value selected=selected>{text}</option> }.erase()
        })
        .collect_view();
    view! {
        <select class="input" name=name aria-label=label>
            <option value="">{any}</option>
            {options}
        </select>
    }
    .erase()
}

/// What a connection reaches, in words.
pub(super) fn reach(scope: &Scope) -> String {
    if scope.all {
        return "All connectors".to_owned();
    }
    scope.connectors.iter().map(model::ConnectorSlug::as_str).collect::<Vec<_>>().join(", ")
}

fn row(connection: &Connection, may_revoke: bool, now: i64) -> AnyView {
    let about = format!("{} · {}", connection.redirect_host, reach(&connection.scope));
    let last = match connection.last_token_at {
        Some(at) => view! { <Ago at=at now=now /> }.erase(),
        None => "Never".into_any(),
    };
    let actions = may_revoke.then(|| view! { <td>{actions(connection)}</td> }.erase());
    view! {
        <tr>
            <th scope="row" data-label="Client">
                <span class="two-lines">
                    <span>{connection.client_name.clone()}</span>
                    <span class="fine">{about}</span>
                </span>
            </th>
            <td data-label="Status">{status(connection)}</td>
            <td data-label="User">{connection.user_email.clone()}</td>
            <td data-label="API key prefix"><code class="mono">{format!("{}…", connection.key_prefix)}</code></td>
            <td data-label="Connected"><Day at=connection.created_at /></td>
            <td data-label="Last token">{last}</td>
            {actions}
        </tr>
    }
    .erase()
}

/// The badge, and of a revoked one when, by whom and why.
pub(super) fn status(connection: &Connection) -> AnyView {
    let Some(at) = connection.revoked_at else {
        return view! { <Badge label="active" tone=Tone::Ok /> }.erase();
    };
    let by = connection.revoked_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = connection.revoked_reason.clone().map(|why| view! { <span class="fine">{why}</span> }.erase());
    view! {
        <span class="two-lines">
            <Badge label="revoked" tone=Tone::Bad />
            <span class="fine">"Revoked " <Day at=at /> {by}</span>
            {why}
        </span>
    }
    .erase()
}

fn actions(connection: &Connection) -> Option<AnyView> {
    let whose = format!("{}, {}", connection.client_name, connection.user_email);
    connection.is_active().then(|| {
        let regenerate = format!("Regenerate key for {whose}");
        let revoke = format!("Revoke {whose}");
        view! {
            <div class="row-actions">
                <a class="button quiet" href=paths::regenerate_connection(connection.id) title="Regenerate key" aria-label=regenerate>
                    <Icon name="key-round" />
                    <span class="on-card" aria-hidden="true">"Regenerate key"</span>
                </a>
                <a class="button quiet" href=paths::revoke_connection(connection.id) title="Revoke" aria-label=revoke>
                    <Icon name="trash-2" />
                    <span class="on-card" aria-hidden="true">"Revoke"</span>
                </a>
            </div>
        }
        .erase()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_narrow_by_each_of_their_parts() {
        let connection = Connection {
            id: "conn_00000000000000000000000007".parse().unwrap(),
            client_id: "gth_client_x".to_owned(),
            client_name: "Claude".to_owned(),
            client_kind: model::oauth::ClientKind::Registered,
            redirect_host: "claude.ai".to_owned(),
            user_email: "ada@example.com".to_owned(),
            key_prefix: "gth_conn_sk_AbCd".to_owned(),
            scope: Scope::everything(),
            created_at: 0,
            expires_at: 1,
            last_token_at: None,
            last_used_at: None,
            last_used_address: None,
            revoked_at: None,
            revoked_by: None,
            revoked_reason: None,
        };
        let filter = |status: &str, user: &str, client: &str| Filter {
            status: status.to_owned(),
            user: user.to_owned(),
            client: client.to_owned(),
        };
        for (filter, takes) in [
            (Filter::default(), true),
            (filter("active", "ada@example.com", "Claude"), true),
            (filter("nonsense", "", ""), true),
            (filter("revoked", "", ""), false),
            (filter("", "ada@example", ""), false),
            (filter("", "", "Cursor"), false),
        ] {
            assert_eq!(filter.takes(&connection), takes);
        }
        assert_eq!(totals(std::slice::from_ref(&connection)), "1 connection · 1 active");
        let revoked = Connection { revoked_at: Some(1), ..connection.clone() };
        assert_eq!(totals(&[connection, revoked]), "2 connections · 1 active");
    }
}
