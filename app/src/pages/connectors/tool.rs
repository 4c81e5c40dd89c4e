use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    connectors::{
        Connector, DiffLine, MAX_TOOL_DESCRIPTION, MAX_TOOL_TIMEOUT, Review, Tool, ToolDetail, ToolPolicy,
    },
    paths,
};

use super::{
    api::{LoadTool, OneTool, ReviewTool, UpdateTool},
    tools::{review_badge, stands_out},
};
use crate::{
    components::{
        ButtonKind, Card, Crumb, Fact, Facts, PageHeader, SubmitButton, TextArea, TextField, Time, Unsaved,
    },
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by, page},
};

/// One tool: what agents see of it, and whether its definition is approved.
pub struct ToolPage {
    tool: Loaded<OneTool>,
}

#[lazy_route]
impl LazyRoute for ToolPage {
    fn data() -> Self {
        Self { tool: load_by("of", |of| LoadTool { of }) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<UpdateTool>();
        let judge = use_form::<ReviewTool>();
        page(this.tool, move |one, me| {
            let OneTool { connector, detail, now } = one;
            let may_write = me.can(Permission::ConnectorsWrite);
            let offered = if may_write { form(&connector, &detail, save) } else { facts(&detail.tool) };
            view! {
                <PageHeader
                    title=detail.tool.name.clone()
                    crumbs=vec![
                        Crumb::new(paths::connectors(), "Connectors"),
                        Crumb::new(paths::connector(connector.id), connector.name.clone()),
                    ]
                    about=format!("Agents see {}", detail.tool.public_name)
                />
                <ErrorSummary form=judge />
                <div class="stack-wide">
                    {stands_out(&detail.tool)}
                    {definition(&connector, &detail, may_write, judge, now)}
                    {offered}
                </div>
            }
            .erase()
        })
    }
}

/// The definition: approved, or what is new about it.
fn definition(
    connector: &Connector,
    detail: &ToolDetail,
    may_write: bool,
    judge: Form<ReviewTool>,
    now: i64,
) -> AnyView {
    let tool = &detail.tool;
    let about = match (tool.review, connector.tool_policy) {
        (Review::Approved, _) => "The server gives the definition that was approved.",
        (Review::New, ToolPolicy::Alert) => {
            "Nobody has looked at this definition yet. Agents are offered it all the same."
        }
        (Review::New, ToolPolicy::Block) => {
            "Nobody has looked at this definition yet. Agents are not offered it until somebody approves it."
        }
        (Review::Changed, ToolPolicy::Alert) => {
            "The server changed this tool since it was approved. Agents are offered it as it is now."
        }
        (Review::Changed, ToolPolicy::Block) => {
            "The server changed this tool since it was approved. Agents are not offered it until somebody approves the change."
        }
        (Review::Rejected, _) => {
            "This definition was rejected. Agents are not offered the tool until the server changes it back, or somebody approves it."
        }
    };
    let decided = tool.reviewed_at.map(|at| {
        let by = tool.reviewed_by.clone().unwrap_or_default();
        view! { <Fact term="Last decision"><Time at=at now=now /> " by " {by}</Fact> }.erase()
    });
    let pinned = detail.pinned.clone().map(|pinned| {
        view! { <Fact term="Approved fingerprint"><code class="server-text">{pinned}</code></Fact> }.erase()
    });
    let fingerprint = detail.fingerprint.clone();
    let badge = review_badge(tool);
    let changed = (!detail.diff.is_empty()).then(|| difference(&detail.diff, &tool.name));
    let buttons = (may_write && tool.review != Review::Approved).then(|| decide(connector, detail, judge));
    view! {
        <Card title="Definition" about=about>
            <div class="stack">
                <Facts>
                    <Fact term="Review">{badge}</Fact>
                    {decided}
                    <Fact term="Fingerprint of now"><code class="server-text">{fingerprint}</code></Fact>
                    {pinned}
                </Facts>
                {changed}
                {buttons}
            </div>
        </Card>
    }
    .erase()
}

fn decide(connector: &Connector, detail: &ToolDetail, judge: Form<ReviewTool>) -> AnyView {
    let tool = &detail.tool;
    let (id, name, fingerprint) = (connector.id.to_string(), tool.name.clone(), detail.fingerprint.clone());
    let approve = format!("Approve the definition of {name}");
    let reject = (tool.review != Review::Rejected).then(|| {
        view! {
            <SubmitButton
                form=judge
                label="Reject"
                busy="Rejecting…"
                kind=ButtonKind::Secondary
                field="approve"
                value="false"
                name=format!("Reject the definition of {}", tool.name)
            />
        }
        .erase()
    });
    view! {
        <PostForm form=judge>
            <input type="hidden" name="id" value=id />
            <input type="hidden" name="tool" value=name />
            <input type="hidden" name="fingerprint" value=fingerprint />
            <div class="actions">
                <SubmitButton
                    form=judge
                    label="Approve"
                    busy="Approving…"
                    field="approve"
                    value="true"
                    name=approve
                />
                {reject}
            </div>
        </PostForm>
    }
    .erase()
}

/// Old and new, line by line. The signs stand in the text, so that colour is not all that tells.
fn difference(lines: &[DiffLine], tool: &str) -> AnyView {
    let rows = lines
        .iter()
        .map(|line| {
            let class = match line.sign {
                '-' => "was",
                '+' => "is",
                _ => "",
            };
            let text = format!("{} {}\n", line.sign, line.text);
            match line.sign {
                '-' => view! { <del class=class>{text}</del> }.erase(),
                '+' => view! { <ins class=class>{text}</ins> }.erase(),
                _ => view! { <span>{text}</span> }.erase(),
            }
        })
        .collect_view();
    view! {
        <pre class="diff" tabindex="0" role="region" aria-label=format!("Changes of the definition of {tool}")>
            <code>{rows}</code>
        </pre>
    }
    .erase()
}

fn form(connector: &Connector, detail: &ToolDetail, save: Form<UpdateTool>) -> AnyView {
    let tool = &detail.tool;
    let (id, name, back) = (connector.id.to_string(), tool.name.clone(), paths::connector(connector.id));
    let (alias, own) = (tool.alias.clone().unwrap_or_default(), tool.own_words.clone().unwrap_or_default());
    let timeout = tool.timeout_seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    let prefix = format!("{}__", connector.slug);
    let room = model::connectors::MAX_TOOL_NAME.saturating_sub(prefix.len()).max(16);
    let says = detail.own_description.clone();
    let server_says = (!says.is_empty()).then(|| {
        view! {
            <details class="tool-more">
                <summary>"The server's own description"</summary>
                <p class="server-text own-words">{says}</p>
            </details>
        }
        .erase()
    });
    view! {
        <Card title="What agents see">
            <PostForm form=save>
                <ErrorSummary form=save />
                <input type="hidden" name="id" value=id />
                <input type="hidden" name="tool" value=name />
                <TextField
                    form=save
                    name="alias"
                    label="Name (optional)"
                    hint=format!("Stands behind {prefix} and may have {room} characters. Agents that know the tool by its old name have to list the tools again. Leave it empty for the server's own name.")
                    value=alias
                    max=room
                    mono=true
                />
                <TextArea
                    form=save
                    name="description"
                    label="Description (optional)"
                    hint="Agents read this instead of the server's own description. Leave it empty for that."
                    value=own
                    rows=4
                    max=MAX_TOOL_DESCRIPTION
                />
                {server_says}
                <TextField
                    form=save
                    name="timeout"
                    label="Time-out in seconds (optional)"
                    hint=format!("How long a call may go without an answer or a sign of progress, up to {MAX_TOOL_TIMEOUT}. Each progress report of the server begins it anew, for an hour at most. Empty means 30 seconds to the first answer and two minutes in all.")
                    value=timeout
                    inputmode="numeric"
                    max=4
                />
                <div class="actions">
                    <SubmitButton form=save label="Save tool" />
                    <a class="button" href=back>"Cancel"</a>
                    <Unsaved />
                </div>
            </PostForm>
        </Card>
    }
    .erase()
}

/// For people who may look only.
fn facts(tool: &Tool) -> AnyView {
    let timeout = tool
        .timeout_seconds
        .map_or_else(|| "As other tools".to_owned(), |seconds| format!("{seconds} seconds"));
    let (name, says) = (tool.public_name.clone(), tool.description.clone());
    view! {
        <Card title="What agents see">
            <Facts>
                <Fact term="Name"><code>{name}</code></Fact>
                <Fact term="Description"><span class="server-text">{says}</span></Fact>
                <Fact term="Time-out">{timeout}</Fact>
            </Facts>
        </Card>
    }
    .erase()
}
