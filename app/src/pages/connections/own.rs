use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route};
use model::{
    oauth::{Connection, OwnConnection},
    paths,
};

use super::{
    alerts,
    api::{LoadOwnConnections, OwnConnectionList, RevokeOwnConnection},
    ask::{REVOKE, REVOKED},
    list::{reach, status},
};
use crate::{
    components::{
        Ago, ButtonKind, Card, Crumb, DataTable, Day, EmptyState, LinkButton, PageHeader, SubmitButton,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
    pages::deletion::pin_field,
};

/// The connections of the signed-in person.
pub struct OwnConnectionsPage {
    own: Loaded<OwnConnectionList>,
}

#[lazy_route]
impl LazyRoute for OwnConnectionsPage {
    fn data() -> Self {
        Self { own: load(LoadOwnConnections {}) }
    }

    fn view(this: Self) -> AnyView {
        let form = use_form::<RevokeOwnConnection>();
        let query = use_query_map();
        page(this.own, move |list, _| {
            let OwnConnectionList { connections: own, alerts, now } = list;
            let alerts = alerts.into_iter().map(|alert| alerts::own(alert, now)).collect_view();
            let asked = {
                let own = own.clone();
                move || {
                    let id = query.with(|query| query.get_str("revoke").map(str::to_owned))?;
                    let own = own.iter().find(|own| own.connection.id.to_string() == id)?;
                    own.connection.is_active().then(|| question(form, own))
                }
            };
            let body = if own.is_empty() { empty() } else { table(own, now) };
            view! {
                <PageHeader
                    title="My connections"
                    crumbs=vec![Crumb::new(paths::profile(), "Profile")]
                    about="The MCP clients that act as you, in all of your organisations."
                />
                <div class="stack-wide">
                    <ErrorSummary form=form />
                    {alerts}
                    {asked}
                    {body}
                </div>
            }
            .erase()
        })
    }
}

fn empty() -> AnyView {
    view! {
        <EmptyState
            icon="link"
            title="No connections yet"
            about="When you allow an MCP client to act as you, it appears here, and you can take it back."
        >
            <LinkButton href=paths::how_to_connect() label="How to Connect" kind=ButtonKind::Primary icon="plug" />
        </EmptyState>
    }
    .erase()
}

fn question(form: Form<RevokeOwnConnection>, own: &OwnConnection) -> AnyView {
    let lines = REVOKED.map(|line| view! { <li>{line}</li> }.erase()).collect_view();
    let title = format!("Revoke {} for {}?", own.connection.client_name, own.org);
    let (id, pin) = (own.connection.id.to_string(), own.pin);
    view! {
        <Card title=title>
            <div class="stack">
                <p>{REVOKE}</p>
                <ul class="consequences">{lines}</ul>
                <PostForm form=form>
                    <input type="hidden" name="id" value=id />
                    {pin_field(form.into(), pin)}
                    <div class="actions">
                        <a class="button" href=paths::profile_connections()>"Cancel"</a>
                        <SubmitButton form=form label="Revoke connection" busy="Revoking…" kind=ButtonKind::Danger />
                    </div>
                </PostForm>
            </div>
        </Card>
    }
    .erase()
}

fn table(own: Vec<OwnConnection>, now: i64) -> AnyView {
    let rows = own.into_iter().map(|own| row(&own.org, &own.connection, now)).collect_view();
    view! {
        <DataTable
            caption="Your connections"
            columns=vec!["Client", "Organisation", "Status", "Connected", "Last token", ""]
        >
            {rows}
        </DataTable>
    }
    .erase()
}

fn row(org: &str, connection: &Connection, now: i64) -> AnyView {
    let about = format!("{} · {}", connection.redirect_host, reach(&connection.scope));
    let last = match connection.last_token_at {
        Some(at) => view! { <Ago at=at now=now /> }.erase(),
        None => "Never".into_any(),
    };
    let act = connection.is_active().then(|| {
        let href = format!("{}?revoke={}", paths::profile_connections(), connection.id);
        let name = format!("Revoke {} for {org}", connection.client_name);
        view! {
            <div class="row-actions"><LinkButton href=href label="Revoke" icon="trash-2" kind=ButtonKind::Quiet name=name /></div>
        }
        .erase()
    });
    view! {
        <tr>
            <th scope="row" data-label="Client">
                <span class="two-lines">
                    <span>{connection.client_name.clone()}</span>
                    <span class="fine">{about}</span>
                </span>
            </th>
            <td data-label="Organisation">{org.to_owned()}</td>
            <td data-label="Status">{status(connection)}</td>
            <td data-label="Connected"><Day at=connection.created_at /></td>
            <td data-label="Last token">{last}</td>
            <td>{act}</td>
        </tr>
    }
    .erase()
}
