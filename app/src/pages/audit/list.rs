use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    audit::{AuditEvent, AuditList, AuditQuery, CATEGORIES, readable},
    paths,
};

use super::{api::LoadAudit, words::sentence};
use crate::{
    components::{Badge, Callout, Card, DataTable, EmptyState, PageHeader, Time, Tone, civil},
    erase::Erase as _,
    form::MADE_IN,
    page::{Loaded, load_by_search, page},
};

/// The audit log.
pub struct AuditPage {
    list: Loaded<AuditList>,
}

#[lazy_route]
impl LazyRoute for AuditPage {
    fn data() -> Self {
        Self { list: load_by_search("search", |search| LoadAudit { search }) }
    }

    fn view(this: Self) -> AnyView {
        page(this.list, |list, me| {
            let org = me.org.as_ref().map(|org| org.org.to_string()).unwrap_or_default();
            let body = if readable(list.plan) {
                filled(&list, me.can(Permission::AuditExport), org)
            } else {
                locked(&list)
            };
            view! {
                <PageHeader title="Audit log" about=kept(&list) />
                {body}
            }
            .erase()
        })
    }
}

fn kept(list: &AuditList) -> String {
    let what = "Everything that was done here, and by whom. Nobody can change it.";
    match list.days {
        _ if !readable(list.plan) => what.to_owned(),
        Some(days) => format!("{what} Events are kept for {days} days."),
        None => format!("{what} Events are kept for ever."),
    }
}

fn locked(list: &AuditList) -> AnyView {
    let plan = list.plan.to_string();
    view! {
        <div class="stack">
            <Callout tone=Tone::Info title="Included in the plans Pro, Team and Enterprise">
                <p>
                    "This organisation has the plan " {plan} ". Pro keeps events for 30 days, Team for a year, Enterprise as \
                    long as you want. "
                    "An owner changes plans in " <a href=paths::settings_plan()>"Settings → Plan"</a> "."
                </p>
            </Callout>
            <div inert>
                <DataTable caption="How the audit log looks" columns=vec!["Time", "Event", "Action", "Address", "Result"]>
                    <tr>
                        <td data-label="Time">"14 minutes ago"</td>
                        <th scope="row" data-label="Event">"Ada created API key claude-prod"</th>
                        <td data-label="Action"><code class="mono">"api_key.created"</code></td>
                        <td data-label="Address"><span class="mono">"203.0.113.7"</span></td>
                        <td data-label="Result"><Badge label="ok" tone=Tone::Ok /></td>
                    </tr>
                </DataTable>
            </div>
        </div>
    }
    .erase()
}

fn filled(list: &AuditList, may_export: bool, org: String) -> AnyView {
    let now = list.now;
    let problem = list.problem.clone().map(|problem| {
        view! { <Callout tone=Tone::Bad title="Nothing was looked for"><p>{problem} "."</p></Callout> }
            .erase()
    });
    let table = if list.events.is_empty() {
        if list.query.is_filtered() {
            view! {
                <EmptyState icon="search" title="No events match these filters" about="Take another range of days, another person or another action.">
                    <a class="button" href=paths::settings_audit()>"Clear filters"</a>
                </EmptyState>
            }
            .erase()
        } else {
            view! {
                <EmptyState icon="scroll-text" title="No events yet" about="Whatever is done in this organisation from now on stands here.">
                    <a href=paths::help_authentication()>"Help"</a>
                </EmptyState>
            }
            .erase()
        }
    } else {
        let rows = list.events.iter().map(|event| row(event, now)).collect_view();
        view! {
            <DataTable caption="Events, the newest first" columns=vec!["Time", "Event", "Action", "Address", "Result"]>
                {rows}
            </DataTable>
        }
        .erase()
    };
    let export = may_export.then(|| export_card(&list.query, org));
    view! {
        <div class="stack">
            {filter_bar(list)}
            {presets(list)}
            {problem}
            {table}
            {pager(list)}
            {export}
        </div>
    }
    .erase()
}

fn row(event: &AuditEvent, now: i64) -> AnyView {
    let tone = if event.result == "ok" { Tone::Ok } else { Tone::Bad };
    let address = if event.address.is_empty() { "—".to_owned() } else { event.address.clone() };
    view! {
        <tr>
            <td data-label="Time"><Time at=event.at_micros.div_euclid(1000) now=now /></td>
            <th scope="row" data-label="Event"><a href=paths::audit_event(event.id)>{sentence(event)}</a></th>
            <td data-label="Action"><code class="mono">{event.action.clone()}</code></td>
            <td data-label="Address"><span class="mono">{address}</span></td>
            <td data-label="Result"><Badge label=event.result.clone() tone=tone /></td>
        </tr>
    }
    .erase()
}

fn option(value: &str, text: &str, chosen: &str) -> AnyView {
    let selected = value == chosen;
    view! { <option value=value.to_owned() selected=selected>{text.to_owned()}</option> }.erase()
}

fn filter_bar(list: &AuditList) -> AnyView {
    let query = &list.query;
    let mut people: Vec<_> = list.people.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
    people.extend([("operator", "Operator"), ("system", "Gatehouse itself")]);
    // Somebody who is no member any more may still be asked for.
    let gone = !query.user.is_empty() && people.iter().all(|(id, _)| *id != query.user);
    if gone {
        people.push((&query.user, &query.user));
    }
    let people = people.into_iter().map(|(id, name)| option(id, name, &query.user)).collect_view();
    let exact = CATEGORIES.iter().all(|(name, _)| *name != query.action) && !query.action.is_empty();
    let exact = exact.then(|| option(&query.action, &query.action, &query.action));
    let actions = CATEGORIES.iter().map(|(name, words)| option(name, words, &query.action)).collect_view();
    let clear = query
        .is_filtered()
        .then(|| view! { <a class="button quiet" href=paths::settings_audit()>"Clear filters"</a> }.erase());
    view! {
        <form class="filter filter-bar" method="get" role="search" aria-label="Filter events">
            <label class="audit-day">
                <span>"From"</span>
                <input class="input" type="date" name="from" value=query.from.clone() />
            </label>
            <label class="audit-day">
                <span>"To"</span>
                <input class="input" type="date" name="to" value=query.to.clone() />
            </label>
            <select class="input" name="user" aria-label="User">
                <option value="">"Any user"</option>
                {people}
            </select>
            <select class="input" name="action" aria-label="Action">
                <option value="">"Any action"</option>
                {exact}
                {actions}
            </select>
            <button class="button" type="submit">"Filter"</button>
            {clear}
        </form>
    }
    .erase()
}

/// The latest days as links, with the other filters as they are. Days are whole ones, UTC.
fn presets(list: &AuditList) -> AnyView {
    let since = |days: i64| {
        let day = civil(list.now - (days - 1) * 24 * 60 * 60 * 1000);
        format!("{:04}-{:02}-{:02}", day.year, day.month, day.day)
    };
    let link = |days: i64, words: &'static str| {
        let from = since(days);
        let current = (list.query.from == from && list.query.to.is_empty()).then_some("true");
        let href = AuditQuery { from, to: String::new(), before: None, after: None, ..list.query.clone() }
            .address(None);
        view! { <a href=href aria-current=current>{words}</a> }.erase()
    };
    view! {
        <p class="fine">{link(1, "Today")} " · " {link(7, "7 days")} " · " {link(30, "30 days")}</p>
    }
    .erase()
}

fn pager(list: &AuditList) -> Option<AnyView> {
    let newer = list.newer.map(|seq| {
        view! { <a class="button" rel="prev" href=list.query.address(Some(("after", seq)))>"Newer"</a> }
            .erase()
    });
    let older = list.older.map(|seq| {
        view! { <a class="button" rel="next" href=list.query.address(Some(("before", seq)))>"Older"</a> }
            .erase()
    });
    (newer.is_some() || older.is_some()).then(|| {
        view! { <nav class="actions" aria-label="Pages of the audit log">{newer} {older}</nav> }.erase()
    })
}

fn export_card(query: &AuditQuery, org: String) -> AnyView {
    let about = if query.is_filtered() {
        "The events that match these filters, all of them."
    } else {
        "All events that are kept."
    };
    let fields = query
        .fields()
        .into_iter()
        .map(|(name, value)| view! { <input type="hidden" name=name value=value /> }.erase())
        .collect_view();
    view! {
        <Card title="Export" about=about>
            <div class="stack">
            <form class="actions" method="post" action=paths::audit_export() data-file="">
                <input type="hidden" name=MADE_IN value=org />
                {fields}
                <button class="button" type="submit" name="format" value="csv">"Export CSV"</button>
                <button class="button" type="submit" name="format" value="json">"Export JSON"</button>
            </form>
            <p class="fine">"An export is an event of this log too. Times are UTC."</p>
            <p class="fine">"To have every event sent to a SIEM as it happens: " <a href=paths::settings_audit_stream()>"Audit stream"</a></p>
            </div>
        </Card>
    }
    .erase()
}
