use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route};
use model::{Permission, credentials::OwnAuthorization, paths};

use super::{
    api_credentials::{BeginOwnAuthorization, LoadOwnAuthorizations, RemoveOwnAuthorization},
    credentials::{badge, on_the_way},
};
use crate::{
    components::{
        ButtonForm, ButtonKind, Callout, Card, Crumb, DataTable, EmptyState, LinkButton, PageHeader,
        SubmitButton, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

/// The servers that the signed-in person authorises for themselves.
pub struct OwnAuthorizationsPage {
    own: Loaded<(Vec<OwnAuthorization>, i64)>,
}

#[lazy_route]
impl LazyRoute for OwnAuthorizationsPage {
    fn data() -> Self {
        Self { own: load(LoadOwnAuthorizations {}) }
    }

    fn view(this: Self) -> AnyView {
        let begin = use_form::<BeginOwnAuthorization>();
        let remove = use_form::<RemoveOwnAuthorization>();
        let query = use_query_map();
        page(this.own, move |(own, now), me| {
            let may = me.can(Permission::PlaygroundUse);
            let asked = {
                let own = own.clone();
                move || {
                    let id = query.with(|query| query.get_str("remove").map(str::to_owned))?;
                    let own = own.iter().find(|own| own.connector.to_string() == id)?;
                    (may && own.authorization.is_some()).then(|| question(remove, own))
                }
            };
            let org = me.org.as_ref().map(|org| org.name.clone()).unwrap_or_default();
            let here = org.clone();
            let note = (!may).then(move || {
                view! {
                    <Callout tone=Tone::Neutral>
                        <p>"Your role in " {here} " does not include calls of your own, so there is nothing for you to authorise."</p>
                    </Callout>
                }
                .erase()
            });
            let body = if own.is_empty() { empty() } else { table(own, now, may, begin) };
            view! {
                <PageHeader
                    title="My authorisations"
                    crumbs=vec![Crumb::new(paths::profile(), "Profile")]
                    about=format!(
                        "Connectors of {org} whose servers want to know who you are. Calls of your MCP connections go with what you give here, and Gatehouse looks with it which tools there are."
                    )
                />
                <div class="stack-wide">
                    <ErrorSummary form=begin />
                    <ErrorSummary form=remove />
                    {move || begin.ok().get().map(|link| on_the_way(&link))}
                    {asked}
                    {note}
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
            title="Nothing to authorise"
            about="When a connector asks each member to sign in at its server, it appears here."
        >
            <LinkButton href=paths::connectors() label="See connectors" />
        </EmptyState>
    }
    .erase()
}

fn question(form: Form<RemoveOwnAuthorization>, own: &OwnAuthorization) -> AnyView {
    let (title, id) = (format!("Remove your authorisation of {}?", own.name), own.connector.to_string());
    view! {
        <Card title=title>
            <div class="stack">
                <ul class="consequences">
                    <li>"Gatehouse erases your tokens now. Your calls of its tools fail until you authorise it again."</li>
                    <li>"Nobody else is affected."</li>
                    <li>"The server's own list of allowed apps is not changed: take Gatehouse out there as well."</li>
                </ul>
                <PostForm form=form>
                    <input type="hidden" name="id" value=id />
                    <div class="actions">
                        <a class="button" href=paths::profile_authorizations()>"Cancel"</a>
                        <SubmitButton form=form label="Remove authorisation" busy="Removing…" kind=ButtonKind::Danger />
                    </div>
                </PostForm>
            </div>
        </Card>
    }
    .erase()
}

fn table(own: Vec<OwnAuthorization>, now: i64, may: bool, begin: Form<BeginOwnAuthorization>) -> AnyView {
    let rows = own.into_iter().map(|own| row(own, now, may, begin)).collect_view();
    view! {
        <DataTable caption="Your authorisations" columns=vec!["Connector", "Sign in at", "Status", "Authorised", ""]>
            {rows}
        </DataTable>
    }
    .erase()
}

fn row(own: OwnAuthorization, now: i64, may: bool, begin: Form<BeginOwnAuthorization>) -> AnyView {
    let given = own.authorization.as_ref();
    let since = match given {
        None => "Never".into_any(),
        Some(given) => view! { <Time at=given.at now=now /> }.erase(),
    };
    let why = given.and_then(|given| given.lost.clone()).map(|(at, why)| {
        view! { <span class="fine server-text">{why} " Since " <Time at=at now=now /></span> }.erase()
    });
    let act = may.then(|| {
        let label = if given.is_some() { "Authorise again" } else { "Authorise" };
        let kind = match given {
            Some(given) if given.lost.is_none() => ButtonKind::Quiet,
            _ => ButtonKind::Secondary,
        };
        let id = own.connector.to_string();
        let remove = given.is_some().then(|| {
            let href = format!("{}?remove={id}", paths::profile_authorizations());
            let name = format!("Remove your authorisation of {}", own.name);
            view! { <LinkButton href=href label="Remove" icon="trash-2" kind=ButtonKind::Quiet name=name /> }
                .erase()
        });
        view! {
            <div class="row-actions">
                <ButtonForm form=begin label=label kind=kind name=format!("{label} {}", own.name)>
                    <input type="hidden" name="id" value=id.clone() />
                </ButtonForm>
                {remove}
            </div>
        }
        .erase()
    });
    let status = badge(given);
    view! {
        <tr>
            <th scope="row" data-label="Connector">
                <span class="two-lines">
                    <span>{own.name.clone()}</span>
                    <code class="fine">{own.slug.to_string()}</code>
                </span>
            </th>
            <td data-label="Sign in at">{own.host.clone()}</td>
            <td data-label="Status"><span class="two-lines">{status} {why}</span></td>
            <td data-label="Authorised">{since}</td>
            <td>{act}</td>
        </tr>
    }
    .erase()
}
