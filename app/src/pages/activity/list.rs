use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    activity::{LogLine, LogPage, LogSearch, Outcome},
    paths,
};

use super::{
    api::{LoadActivity, RefreshActivity},
    parts::{duration, outcome},
};
use crate::{
    components::{Ago, ButtonKind, DataTable, EmptyState, LinkButton, PageHeader, SubmitButton},
    erase::Erase as _,
    form::{Form, PostForm, use_form},
    page::{Loaded, load_by_search, page},
};

/// The request log.
pub struct ActivityPage {
    log: Loaded<LogPage>,
}

#[lazy_route]
impl LazyRoute for ActivityPage {
    fn data() -> Self {
        Self { log: load_by_search("search", |search| LoadActivity { search }) }
    }

    fn view(this: Self) -> AnyView {
        let refresh = use_form::<RefreshActivity>();
        page(this.log, move |log, _| {
            let about = format!(
                "Requests to your MCP endpoint, the one that ended last first. Kept for {}.",
                if log.days == 1 { "one day".to_owned() } else { format!("{} days", log.days) }
            );
            let settings = view! {
                <LinkButton href=paths::activity_settings() label="What is kept" kind=ButtonKind::Secondary icon="settings" />
            }
            .erase();
            let body = if log.any { filled(refresh, log) } else { first_use(refresh) };
            view! {
                <PageHeader title="Activity" about=about action=settings />
                {body}
            }
            .erase()
        })
    }
}

/// Nobody has called yet.
fn first_use(refresh: Form<RefreshActivity>) -> AnyView {
    view! {
        <EmptyState
            icon="activity"
            title="No requests yet"
            about="They appear here a moment after the first call, with who made it, what came of it and where its time went."
        >
            <LinkButton href=paths::connect_agent() label="Connect a client" kind=ButtonKind::Primary icon="plug" />
            <a href=paths::help_quickstart()>"Read the quickstart"</a>
            {watch(refresh, true)}
        </EmptyState>
    }
    .erase()
}

/// The button that loads the page anew. While scripts are on, boot.js watches for new requests and presses it.
fn watch(refresh: Form<RefreshActivity>, live: bool) -> AnyView {
    let events = live.then(paths::activity_events);
    view! {
        <div class="watch" data-watch=events>
            <PostForm form=refresh class="inline-form">
                <SubmitButton form=refresh label="Refresh" busy="Loading…" kind=ButtonKind::Quiet icon="refresh-cw" />
            </PostForm>
            <span class="muted" data-watch-state></span>
        </div>
    }
    .erase()
}

fn filled(refresh: Form<RefreshActivity>, log: LogPage) -> AnyView {
    let LogPage { lines, search, next, choices, now, .. } = log;
    let first_page = search.before.is_empty();
    let older = next.map(|before| {
        let href = LogSearch { before: before.to_string(), ..search.clone() }.query();
        let href = format!("{}{href}", paths::activity());
        view! { <LinkButton href=href label="Older requests" kind=ButtonKind::Secondary icon="arrow-right" /> }.erase()
    });
    let newest = (!first_page).then(|| {
        let href = LogSearch { before: String::new(), ..search.clone() }.query();
        let href = format!("{}{href}", paths::activity());
        view! { <LinkButton href=href label="Newest requests" kind=ButtonKind::Secondary icon="arrow-left" /> }.erase()
    });
    let connectors = choices.connectors;
    let body = if lines.is_empty() {
        view! {
            <EmptyState
                icon="search"
                title="No requests match these filters"
                about="Look further back, or for something else."
            >
                <a class="button" href=paths::activity()>"Clear filters"</a>
            </EmptyState>
        }
        .erase()
    } else {
        table(lines, now)
    };
    view! {
        {filters(&search, connectors, choices.principals)}
        {watch(refresh, first_page)}
        {body}
        <nav class="actions" aria-label="Pages of the log">{newest} {older}</nav>
    }
    .erase()
}

fn table(lines: Vec<LogLine>, now: i64) -> AnyView {
    let rows = lines
        .into_iter()
        .map(|line| {
            let (what, beside) = words(&line);
            let href = paths::activity_entry(line.id);
            view! {
                <tr>
                    <th scope="row" data-label="Request">
                        <a class="connector-link" href=href><code class="mono">{what}</code></a>
                        <span class="muted">{beside}</span>
                    </th>
                    <td data-label="Outcome">{outcome(line.outcome)}</td>
                    <td data-label="Who">{line.principal}</td>
                    <td data-label="Took" class="number">{duration(line.total_us)}</td>
                    <td data-label="When"><Ago at=line.at now=now /></td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    view! {
        <div class="log">
            <DataTable caption="Requests" columns=vec!["Request", "Outcome", "Who", "Took", "When"]>
                {rows}
            </DataTable>
        </div>
    }
    .erase()
}

/// What was asked for, and what stands beside it in small.
fn words(line: &LogLine) -> (String, String) {
    if line.tool.is_empty() {
        return (line.method.clone(), line.connector.clone());
    }
    let beside = match (line.connector.as_str(), line.method.as_str()) {
        (connector, "tools/call") => connector.to_owned(),
        ("", method) => method.to_owned(),
        (connector, method) => format!("{connector} · {method}"),
    };
    (line.tool.clone(), beside)
}

fn options(all: &'static str, chosen: &str, choices: Vec<(String, String)>) -> AnyView {
    let known = chosen.is_empty() || choices.iter().any(|(value, _)| value == chosen);
    // What the address asks for stays chosen, whether or not it is on the list.
    let own = (!known).then(|| (chosen.to_owned(), chosen.to_owned()));
    let options = core::iter::once((String::new(), all.to_owned()))
        .chain(own)
        .chain(choices)
        .map(|(value, label)| {
            let selected = value == chosen;
            view! { <option value=value selected=selected>{label}</option> }.erase()
        })
        .collect_view();
    options.into_any()
}

fn filters(
    search: &LogSearch,
    connectors: Vec<(String, String)>,
    principals: Vec<(String, String)>,
) -> AnyView {
    let pair = |value: &str, label: &str| (value.to_owned(), label.to_owned());
    let ranges = LogSearch::RANGES.iter().map(|(value, label, _)| pair(value, label)).collect();
    let outcomes = Outcome::ALL.iter().map(|outcome| pair(outcome.as_str(), outcome.title())).collect();
    let clear = search
        .narrows()
        .then(|| view! { <a class="button quiet" href=paths::activity()>"Clear filters"</a> }.erase());
    let select = |name: &'static str, label: &'static str, options: AnyView| {
        view! {
            <label class="filter">
                <span>{label}</span>
                <select class="input" name=name>{options}</select>
            </label>
        }
        .erase()
    };
    view! {
        <form class="filters" method="get" action=paths::activity() role="search" aria-label="Requests">
            <label class="filter wide">
                <span>"Search"</span>
                <input class="input" type="search" name="q" value=search.q.clone() placeholder="Tool, client, request id…" />
            </label>
            {select("range", "Time", options("Everything kept", &search.range, ranges))}
            {select("outcome", "Outcome", options("All outcomes", &search.outcome, outcomes))}
            {select("connector", "Connector", options("All connectors", &search.connector, connectors))}
            {select("principal", "Who", options("Everybody", &search.principal, principals))}
            <label class="filter">
                <span>"Tool"</span>
                <input class="input" name="tool" value=search.tool.clone() autocomplete="off" spellcheck="false" />
            </label>
            <div class="filter-actions">
                <button class="button" type="submit">"Filter"</button>
                {clear}
            </div>
        </form>
    }
    .erase()
}
