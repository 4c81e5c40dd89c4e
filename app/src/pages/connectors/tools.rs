use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{ConnectorId, connectors::Tool, paths};

use super::{
    api::SetToolEnabled,
    parts::{Filter, RowError, matches},
};
use crate::{
    components::{Badge, Card, DataTable, EmptyState, Switch, Tone},
    form::use_form_for,
};

/// From so many tools on a filter is worth its place.
const MANY: usize = 8;

/// The tools of a connector, as far as they match the filter.
pub(super) fn tools(id: ConnectorId, all: &[Tool], filter: String, may_write: bool) -> AnyView {
    let on = all.iter().filter(|tool| tool.enabled).count();
    let about = format!(
        "{on} of {} on. Descriptions and marks are the server's own words; Gatehouse does not check them.",
        all.len()
    );
    if all.is_empty() {
        return view! {
            <Card title="Tools">
                <div id="tools">
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
                {filter}
                {table}
            </div>
        </Card>
    }
    .erase()
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
                    <code>{tool.name.clone()}</code>
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
