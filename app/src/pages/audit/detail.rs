use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{audit::AuditEvent, paths};

use super::{api::LoadAuditEvent, words::sentence};
use crate::{
    components::{Badge, Card, Crumb, DataTable, PageHeader, Time, Tone, absolute},
    erase::Erase as _,
    page::{Loaded, load_by, page},
};

/// One event of the audit log.
pub struct AuditEventPage {
    event: Loaded<(AuditEvent, i64)>,
}

#[lazy_route]
impl LazyRoute for AuditEventPage {
    fn data() -> Self {
        Self { event: load_by("id", |id| LoadAuditEvent { id }) }
    }

    fn view(this: Self) -> AnyView {
        page(this.event, |(event, now), _| detail(&event, now))
    }
}

fn detail(event: &AuditEvent, now: i64) -> AnyView {
    let crumbs = vec![Crumb::new(paths::settings_audit(), "Audit log")];
    let at = event.at_micros.div_euclid(1000);
    let tone = if event.result == "ok" { Tone::Ok } else { Tone::Bad };
    let result = event.result.clone();
    let actor = match event.actor_kind.as_str() {
        "user" => format!("{} ({})", event.actor, event.actor_id),
        _ => event.actor.clone(),
    };
    let mut facts = vec![
        ("Number", event.seq.to_string()),
        ("Event", event.id.to_string()),
        ("Action", event.action.clone()),
        ("Actor", actor),
    ];
    for (name, text) in [
        ("Authenticated by", &event.auth_method),
        ("Credential", &event.key_id),
        ("Address", &event.address),
        ("User agent", &event.user_agent),
        ("Request", &event.request_id),
        ("Node", &event.node),
    ] {
        if !text.is_empty() {
            facts.push((name, text.clone()));
        }
    }
    let facts = facts
        .into_iter()
        .map(|(name, text)| view! { <dt>{name}</dt><dd class="mono">{text}</dd> }.erase())
        .collect_view();
    view! {
        <PageHeader title=sentence(event) crumbs=crumbs />
        <div class="stack">
            <Card title="Event">
                <dl class="audit-facts">
                    <dt>"Time"</dt>
                    <dd>{absolute(at)} " · " <Time at=at now=now /></dd>
                    <dt>"Result"</dt>
                    <dd><Badge label=result tone=tone /></dd>
                    {facts}
                </dl>
            </Card>
            {targets(event)}
            {changes(event)}
            {more(event)}
        </div>
    }
    .erase()
}

fn targets(event: &AuditEvent) -> Option<AnyView> {
    if event.targets.is_empty() {
        return None;
    }
    let rows = event
        .targets
        .iter()
        .map(|target| {
            view! {
                <tr>
                    <th scope="row" data-label="Name">{target.name.clone()}</th>
                    <td data-label="Kind">{target.kind.clone()}</td>
                    <td data-label="ID"><code class="mono">{target.id.clone()}</code></td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    Some(
        view! {
            <Card title="Done to">
                <DataTable caption="What it was done to" columns=vec!["Name", "Kind", "ID"]>{rows}</DataTable>
            </Card>
        }
        .erase(),
    )
}

fn changes(event: &AuditEvent) -> Option<AnyView> {
    if event.changes.is_empty() {
        return None;
    }
    let shown = |text: &str| if text.is_empty() { "(nothing)".to_owned() } else { text.to_owned() };
    let rows = event
        .changes
        .iter()
        .map(|change| {
            view! {
                <tr>
                    <th scope="row" data-label="Field"><code class="mono">{change.field.clone()}</code></th>
                    <td data-label="Before">{shown(&change.old)}</td>
                    <td data-label="After">{shown(&change.new)}</td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    Some(
        view! {
            <Card title="What changed" about="Secrets are never here: of those stands only that they were set or changed.">
                <DataTable caption="Fields before and after" columns=vec!["Field", "Before", "After"]>{rows}</DataTable>
            </Card>
        }
        .erase(),
    )
}

fn more(event: &AuditEvent) -> Option<AnyView> {
    if event.more.is_empty() {
        return None;
    }
    let facts = event
        .more
        .iter()
        .map(|(name, value)| view! { <dt class="mono">{name.clone()}</dt><dd>{value.clone()}</dd> }.erase())
        .collect_view();
    Some(view! { <Card title="More"><dl class="audit-facts">{facts}</dl></Card> }.erase())
}
