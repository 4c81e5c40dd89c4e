use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{
    ConnectorId,
    connectors::{Connector, Review, Tool, ToolPolicy},
    paths,
};

use super::{
    api::{ApproveNewTools, SetConnectorPrefix, SetToolEnabled, SetToolPolicy},
    parts::{Filter, RowError, counted, matches},
};
use crate::{
    components::{Badge, ButtonKind, Callout, Card, DataTable, EmptyState, SubmitButton, Switch, Tone},
    form::{PostForm, use_form, use_form_for},
};

/// From so many tools on a filter is worth its place.
const MANY: usize = 8;

/// The tools of a connector, as far as they match the filter.
pub(super) fn tools(connector: &Connector, all: &[Tool], filter: String, may_write: bool) -> AnyView {
    let on = all.iter().filter(|tool| is_offered(tool)).count();
    let about = format!(
        "{on} of {} offered to agents. Descriptions and marks are the server's own words; Gatehouse does not check them.",
        all.len()
    );
    let id = connector.id;
    let policy = view! {
        {quarantine(id, connector.tool_policy, may_write)}
        {prefix(connector, may_write)}
    };
    let policy = policy.erase();
    let waiting = to_review(id, all, may_write);
    if all.is_empty() {
        return view! {
            <Card title="Tools">
                <div id="tools">
                    {policy}
                    <EmptyState
                        icon="wrench"
                        title="No tools"
                        about="The server offered none at the last check. They appear here when it does."
                    />
                </div>
            </Card>
        }
        .erase();
    }
    let found: Vec<&Tool> = all
        .iter()
        .filter(|tool| {
            matches(&filter, &[&tool.name, tool.title.as_deref().unwrap_or_default(), &tool.description])
        })
        .collect();
    let table = if found.is_empty() {
        view! {
            <EmptyState icon="search" title="No tool matches" about="The filter looks at name, title and description.">
                <a class="button" href=paths::connector(id)>"Clear filter"</a>
            </EmptyState>
        }
        .erase()
    } else {
        let rows = found.into_iter().map(|tool| row(id, tool, filter.clone(), may_write)).collect_view();
        view! {
            <DataTable caption="Tools of this connector" columns=vec!["On", "Tool", "What it does", "Marks"]>
                {rows}
            </DataTable>
        }
        .erase()
    };
    let filter = (all.len() >= MANY || !filter.is_empty()).then(|| {
        view! { <Filter label="Filter by name or description" value=filter clear=paths::connector(id) /> }
            .erase()
    });
    view! {
        <Card title="Tools" about=about>
            <div class="tools" id="tools">
                {policy}
                {waiting}
                {filter}
                {table}
            </div>
        </Card>
    }
    .erase()
}

/// Whether agents are offered a tool.
const fn is_offered(tool: &Tool) -> bool {
    tool.enabled && !tool.held && tool.clash.is_none() && tool.gone_at.is_none()
}

/// Whether new and changed tools wait for approval.
fn quarantine(id: ConnectorId, policy: ToolPolicy, may_write: bool) -> AnyView {
    let switch = use_form::<SetToolPolicy>();
    view! {
        <div class="tool-policy">
            <div>
                <p>"Approve new and changed tools first"</p>
                <p class="fine">
                    "On, a tool that the server adds or changes is not offered to agents until somebody approves it here. Off, it is offered at once and marked."
                </p>
                <RowError form=switch />
            </div>
            <Switch form=switch label="Approve new and changed tools first" on=policy == ToolPolicy::Block allowed=may_write>
                <input type="hidden" name="id" value=id.to_string() />
            </Switch>
        </div>
    }
    .erase()
}

/// Whether names have the prefix where several connectors are one.
fn prefix(connector: &Connector, may_write: bool) -> AnyView {
    let switch = use_form::<SetConnectorPrefix>();
    let (id, on) = (connector.id, !connector.unprefixed);
    view! {
        <div class="tool-policy">
            <div>
                <p>"Names with the prefix " {format!("{}__", connector.slug)}</p>
                <p class="fine">
                    "It can be left out while this is the only connector. Agents then see the names that the server gave, and keep them when other connectors come."
                </p>
                <RowError form=switch />
            </div>
            <Switch form=switch label="Names with the prefix" on=on allowed=may_write>
                <input type="hidden" name="id" value=id.to_string() />
            </Switch>
        </div>
    }
    .erase()
}

/// What somebody should look at.
fn to_review(id: ConnectorId, all: &[Tool], may_write: bool) -> Option<AnyView> {
    let count = |review| {
        u32::try_from(all.iter().filter(|tool| tool.gone_at.is_none() && tool.review == review).count())
            .unwrap_or(u32::MAX)
    };
    let (new, changed) = (count(Review::New), count(Review::Changed));
    if new + changed == 0 {
        return None;
    }
    let text = match (new, changed) {
        (new, 0) => format!("{} that nobody has looked at.", counted(new, "new tool")),
        (0, changed) => {
            format!("{} changed since somebody approved what the server gave.", counted(changed, "tool"))
        }
        (new, changed) => format!(
            "{} and {changed} changed since somebody approved what the server gave.",
            counted(new, "new tool")
        ),
    };
    let approve = use_form::<ApproveNewTools>();
    let button = (may_write && new > 0).then(|| {
        view! {
            <PostForm form=approve class="inline-form">
                <input type="hidden" name="id" value=id.to_string() />
                <SubmitButton form=approve label="Approve all new tools" busy="Approving…" kind=ButtonKind::Secondary />
            </PostForm>
            <RowError form=approve />
        }
        .erase()
    });
    Some(
        view! {
            <Callout tone=Tone::Warn title="Tools to review">
                <p>{text} " Open a tool to see what it says or what changed."</p>
                {button}
            </Callout>
        }
        .erase(),
    )
}

/// What people have said about a tool's definition.
pub(super) fn review_badge(tool: &Tool) -> AnyView {
    let (label, tone) = match tool.review {
        Review::Approved => ("Approved", Tone::Ok),
        Review::New => ("New", Tone::Warn),
        Review::Changed => ("Changed", Tone::Warn),
        Review::Rejected => ("Rejected", Tone::Bad),
    };
    view! { <Badge label=label tone=tone /> }.erase()
}

/// Why a tool is not offered, or what is odd about it.
pub(super) fn stands_out(tool: &Tool) -> Option<AnyView> {
    let mut texts = Vec::new();
    if let Some(other) = &tool.clash {
        texts.push(format!(
            "It is not offered: agents would know it as {}, like the tool {other}. Give one of them another name.",
            tool.public_name
        ));
    }
    if tool.gone_at.is_some() {
        texts.push(
            "It is not offered: its server leaves it out. What was decided about it is kept.".to_owned(),
        );
    }
    if tool.shortened {
        texts.push(format!(
            "Its name was shortened: with the connector's prefix it is longer than the {} characters that every client takes. You can give it a better one.",
            model::connectors::MAX_TOOL_NAME
        ));
    }
    texts.extend(tool.warnings.iter().cloned());
    if texts.is_empty() {
        return None;
    }
    let lines = texts.into_iter().map(|text| view! { <p>{text}</p> }.erase()).collect_view();
    Some(view! { <Callout tone=Tone::Warn>{lines}</Callout> }.erase())
}

fn row(id: ConnectorId, tool: &Tool, filter: String, may_write: bool) -> AnyView {
    let switch = use_form_for::<SetToolEnabled>("tool", &tool.name);
    let title = tool.title.clone().map(|title| view! { <span>{title}</span> }.erase());
    let description = if tool.description.is_empty() {
        view! { <p class="muted">"The server does not say."</p> }.erase()
    } else {
        view! { <p class="tool-text">{tool.description.clone()}</p> }.erase()
    };
    view! {
        <tr>
            <td data-label="On">
                <Switch form=switch label=format!("Tool {}", tool.name) on=tool.enabled allowed=may_write>
                    <input type="hidden" name="id" value=id.to_string() />
                    <input type="hidden" name="q" value=filter />
                </Switch>
                <RowError form=switch />
            </td>
            <th scope="row" data-label="Tool">
                <div class="two-lines">
                    <a class="connector-link" href=paths::connector_tool(id, &tool.name)><code>{tool.name.clone()}</code></a>
                    {title}
                    <span class="fine">"Agents see " <code class="mono">{tool.public_name.clone()}</code></span>
                </div>
            </th>
            <td data-label="What it does">
                <div>
                    {description}
                    <details class="tool-more">
                        <summary>"Details" <span class="visually-hidden">{format!(" of {}", tool.name)}</span></summary>
                        <p class="fine">"Input schema"</p>
                        <pre tabindex="0" role="region" aria-label=format!("Input schema of {}", tool.name)>
                            <code>{tool.input_schema.clone()}</code>
                        </pre>
                    </details>
                </div>
            </td>
            <td data-label="Marks"><div class="marks">{marks(tool)}</div></td>
        </tr>
    }
    .erase()
}

/// What the server's annotations say, as far as they say something.
fn marks(tool: &Tool) -> AnyView {
    [
        (tool.review == Review::New, "New", Tone::Warn),
        (tool.review == Review::Changed, "Changed", Tone::Warn),
        (tool.review == Review::Rejected, "Rejected", Tone::Bad),
        (tool.held && tool.review != Review::Rejected, "Waits for approval", Tone::Bad),
        (tool.clash.is_some(), "Name taken", Tone::Bad),
        (tool.gone_at.is_some(), "Gone", Tone::Neutral),
        (!tool.warnings.is_empty(), "Suspicious", Tone::Warn),
        (tool.read_only == Some(true), "Read-only", Tone::Ok),
        (tool.destructive == Some(true) && tool.read_only != Some(true), "Destructive", Tone::Bad),
        (tool.idempotent == Some(true), "Idempotent", Tone::Neutral),
        (tool.open_world == Some(true), "Open world", Tone::Info),
    ]
    .into_iter()
    .filter(|(said, ..)| *said)
    .map(|(_, label, tone)| view! { <Badge label=label tone=tone /> }.erase())
    .collect_view()
    .into_any()
}
