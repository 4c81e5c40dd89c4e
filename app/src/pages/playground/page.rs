use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    orgs::Me,
    paths,
    playground::{PlayChoice, PlayField, PlayKind, PlayPage, PlayResult, PlayTool},
};

use super::api::{LoadPlayground, RunTool};
use crate::{
    components::{
        Badge, ButtonKind, Callout, Card, CodeBlock, Disclosure, EmptyState, LinkButton, PageHeader,
        SubmitButton, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by_query, page},
};

/// The Playground.
pub struct PlaygroundPage {
    tools: Loaded<PlayPage>,
}

#[lazy_route]
impl LazyRoute for PlaygroundPage {
    fn data() -> Self {
        Self { tools: load_by_query("tool", |tool| LoadPlayground { tool }) }
    }

    fn view(this: Self) -> AnyView {
        let run = use_form::<RunTool>();
        page(this.tools, move |tools, me| {
            let PlayPage { choices, chosen } = tools;
            let body = if choices.is_empty() { nothing(&me) } else { bench(run, choices, chosen) };
            view! {
                <PageHeader
                    title="Playground"
                    about="Call a tool as yourself. It counts and is logged like a call of an agent."
                />
                {body}
            }
            .erase()
        })
    }
}

fn nothing(me: &Me) -> AnyView {
    let add = me
        .can(Permission::ConnectorsWrite)
        .then(|| view! { <LinkButton href=paths::new_connector() label="Add connector" kind=ButtonKind::Primary icon="plus" /> }.erase());
    view! {
        <EmptyState
            icon="terminal"
            title="No tools yet"
            about="The tools of enabled connectors can be tried here, before an agent does."
        >
            {add}
            <a href=paths::connectors()>"Connectors"</a>
        </EmptyState>
    }
    .erase()
}

fn bench(run: Form<RunTool>, choices: Vec<PlayChoice>, chosen: Option<PlayTool>) -> AnyView {
    let name = chosen.as_ref().map(|tool| tool.choice.name()).unwrap_or_default();
    let tool = chosen.map_or_else(
        || view! { <p class="muted">"Choose a tool to see what it asks for."</p> }.erase(),
        |tool| tool_form(run, tool),
    );
    let result = move || run.ok().get().map(result_view);
    view! {
        <div class="stack-wide playground">
            {picker(choices, &name)}
            {tool}
            <div role="status">{result}</div>
        </div>
    }
    .erase()
}

fn picker(choices: Vec<PlayChoice>, chosen: &str) -> AnyView {
    let mut groups: Vec<(String, Vec<AnyView>)> = Vec::new();
    for choice in choices {
        let value = choice.name();
        let selected = value == chosen;
        let label =
            if choice.title.is_empty() { choice.tool } else { format!("{} ({})", choice.title, choice.tool) };
        let option = view! { <option value=value selected=selected>{label}</option> }.erase();
        match groups.last_mut().filter(|(name, _)| *name == choice.connector_name) {
            Some((_, options)) => options.push(option),
            None => groups.push((choice.connector_name, vec![option])),
        }
    }
    let groups = groups
        .into_iter()
        .map(|(name, options)| view! { <optgroup label=name>{options}</optgroup> }.erase())
        .collect_view();
    view! {
        <form class="filters" method="get" action=paths::playground() aria-label="Choose a tool">
            <label class="filter wide">
                <span>"Tool"</span>
                <select class="input" name="tool">{groups}</select>
            </label>
            <div class="filter-actions">
                <button class="button" type="submit">"Choose"</button>
            </div>
        </form>
    }
    .erase()
}

fn tool_form(run: Form<RunTool>, tool: PlayTool) -> AnyView {
    let PlayTool { choice, about, fields, read_only, destructive, schema } = tool;
    let name = choice.name();
    let title = if choice.title.is_empty() { choice.tool.clone() } else { choice.title.clone() };
    let badge = if read_only {
        Some(view! { <Badge label="Read-only" tone=Tone::Ok /> }.erase())
    } else {
        destructive.then(|| view! { <Badge label="May change or destroy" tone=Tone::Warn /> }.erase())
    };
    let none = fields.is_empty().then(|| view! { <p class="muted">"It takes no arguments."</p> }.erase());
    let fields = fields.into_iter().enumerate().map(|(at, field)| field_view(run, at, field)).collect_view();
    view! {
        <Card title=title about=about action=badge.unwrap_or_else(|| ().into_any())>
            <PostForm form=run>
                <ErrorSummary form=run />
                <input type="hidden" name="tool" value=name />
                {none}
                {fields}
                <SubmitButton form=run label="Run" busy="Running…" name=format!("Run {}", choice.tool) icon="terminal" />
            </PostForm>
            <Disclosure title="Schema of the arguments">
                <CodeBlock label="inputSchema (JSON)" text=schema />
            </Disclosure>
        </Card>
    }
    .erase()
}

/// One argument. Its names are made as the page is, so the common fields do not fit.
fn field_view(run: Form<RunTool>, at: usize, field: PlayField) -> AnyView {
    let PlayField { name, label, about, kind, required, value } = field;
    let control = format!("args[{at}]");
    let id = run.id_of(&control);
    let value = run.value_of(&control).unwrap_or(value);
    let (hint_id, error_id) = (format!("{id}-hint"), format!("{id}-error"));
    let error = run.error_at(&control);
    let invalid = move || error.with(Option::is_some).then_some("true");
    let what = match (&kind, required) {
        (PlayKind::Json, true) => "JSON, required",
        (PlayKind::Json, false) => "JSON",
        (PlayKind::Number, true) => "Number, required",
        (PlayKind::Number, false) => "Number",
        (PlayKind::Integer, true) => "Whole number, required",
        (PlayKind::Integer, false) => "Whole number",
        (_, true) => "Required",
        (_, false) => "",
    };
    let hint =
        [what, about.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(". ");
    let described = format!("{hint_id} {error_id}");
    let input = match kind {
        PlayKind::Choice(choices) => select(&control, &id, &described, &value, required, choices),
        PlayKind::Boolean => {
            select(&control, &id, &described, &value, required, vec!["true".into(), "false".into()])
        }
        PlayKind::Number | PlayKind::Integer => view! {
            <input class="input" id=id.clone() name=control value=value inputmode="decimal" autocomplete="off" aria-describedby=described aria-invalid=invalid />
        }
        .erase(),
        PlayKind::Text | PlayKind::Json => {
            let mono = if kind == PlayKind::Json { "input mono" } else { "input" };
            // Leptos does not escape what is inside a textarea while it renders on the server.
            let value =
                if cfg!(feature = "ssr") { value.replace('&', "&amp;").replace('<', "&lt;") } else { value };
            view! {
                <textarea class=mono id=id.clone() name=control rows="2" spellcheck="false" aria-describedby=described aria-invalid=invalid>
                    {value}
                </textarea>
            }
            .erase()
        }
    };
    let error_text = move || {
        error.get().map(|message| view! { <p class="field-error" id=error_id.clone()>{message}</p> }.erase())
    };
    view! {
        <div class="field" data-invalid=invalid>
            <input type="hidden" name=format!("names[{at}]") value=name />
            <label for=id>{label}</label>
            <p class="hint" id=hint_id>{hint}</p>
            {error_text}
            {input}
        </div>
    }
    .erase()
}

fn select(
    name: &str,
    id: &str,
    described: &str,
    value: &str,
    required: bool,
    choices: Vec<String>,
) -> AnyView {
    let (name, id, described) = (name.to_owned(), id.to_owned(), described.to_owned());
    let none =
        (!required || value.is_empty()).then(|| view! { <option value="">"Not given"</option> }.erase());
    let options = choices
        .into_iter()
        .map(|choice| {
            let selected = choice == value;
            view! { <option value=choice.clone() selected=selected>{choice.clone()}</option> }.erase()
        })
        .collect_view();
    view! {
        <select class="input" id=id name=name aria-describedby=described>
            {none}
            {options}
        </select>
    }
    .erase()
}

fn result_view(result: PlayResult) -> AnyView {
    let PlayResult { texts, failed, status, took_us, request, response, curl } = result;
    let tone = if failed { Tone::Bad } else { Tone::Ok };
    let title = if failed { "The call failed" } else { "Result" };
    let about = format!("HTTP {status} · {}.{} ms", took_us / 1000, took_us % 1000 / 100);
    let texts =
        texts.into_iter().map(|text| view! { <pre class="play-text">{text}</pre> }.erase()).collect_view();
    view! {
        <Card title=title about=about>
            <div class="stack">
                <Callout tone=tone title=if failed { "What was answered" } else { "What the tool answered" }>{texts}</Callout>
                <Disclosure title="Raw JSON-RPC">
                    <CodeBlock label="Request" text=request />
                    <CodeBlock label="Answer" text=response />
                </Disclosure>
                <Disclosure title="Copy as curl">
                    <CodeBlock label="Terminal (bash)" text=curl />
                </Disclosure>
                <p class="muted"><a href=paths::activity()>"See it in the request log"</a></p>
            </div>
        </Card>
    }
    .erase()
}
