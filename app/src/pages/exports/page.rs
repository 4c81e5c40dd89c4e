use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    exports::{Export, ExportFormat, ExportPage, ExportPart, ExportState, KEPT_DAYS, MOST_EXPORTS, Progress},
    paths,
};

use super::{
    api::{CreateExport, DeleteExport, ImportConnectors, LoadExports, RefreshExports},
    import,
};
use crate::{
    components::{
        Ago, Badge, ButtonKind, Callout, Card, CheckboxGroup, Choice, EmptyState, Fact, Facts, PageHeader,
        RadioGroup, SubmitButton, TextField, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, MADE_IN, PostForm, use_form, use_form_for},
    page::{Loaded, load_by, page},
};

/// Exports; under another address, importing connectors.
pub struct ExportsPage {
    data: Loaded<Option<ExportPage>>,
}

#[lazy_route]
impl LazyRoute for ExportsPage {
    fn data() -> Self {
        Self { data: load_by("view", |view| LoadExports { view }) }
    }

    fn view(this: Self) -> AnyView {
        let create = use_form::<CreateExport>();
        let refresh = use_form::<RefreshExports>();
        let bring = use_form::<ImportConnectors>();
        page(this.data, move |data, me| {
            let Some(data) = data else { return import::page(bring) };
            let org = me.org.as_ref().map(|org| org.org.to_string()).unwrap_or_default();
            let bring = me
                .can(Permission::ConnectorsWrite)
                .then(|| view! { <a href=paths::settings_import()>"Import connectors"</a> " · " }.erase());
            let open = data.exports.iter().any(|export| export.state.is_open());
            let watch = open.then(|| watch(refresh));
            let list = if data.exports.is_empty() { empty() } else { list(&data, &org) };
            view! {
                <div class="narrow">
                    <PageHeader
                        title="Data export"
                        about="Take the data of this organisation along: one ZIP, made in the background. It never holds a secret."
                    />
                    <div class="stack-wide">
                        {form(create, &data, open)}
                        <section class="stack" aria-label="Exports">
                            <h2>"Exports"</h2>
                            {watch}
                            {list}
                        </section>
                        <p class="key-help">{bring} "Help: " <a href=paths::help_export()>"What is in an export"</a></p>
                    </div>
                </div>
            }
            .erase()
        })
    }
}

/// The button that loads the page anew. While scripts are on, boot.js presses it; without, the browser loads the page anew.
fn watch(refresh: Form<RefreshExports>) -> AnyView {
    let without_scripts = r#"<noscript><meta http-equiv="refresh" content="4"></noscript>"#.to_owned();
    view! {
        <div class="watch" data-again="">
            <span hidden inner_html=without_scripts></span>
            <PostForm form=refresh class="inline-form">
                <SubmitButton form=refresh label="Refresh" busy="Loading…" kind=ButtonKind::Quiet icon="refresh-cw" />
            </PostForm>
            <span class="muted">"This page follows the export that is under way."</span>
        </div>
    }
    .erase()
}

fn form(create: Form<CreateExport>, data: &ExportPage, open: bool) -> AnyView {
    let parts = ExportPart::ALL.into_iter().filter(|part| data.audit || *part != ExportPart::Audit);
    let choices: Vec<_> = parts
        .map(|part| {
            let choice = Choice::new(part.as_str(), part.label());
            match part {
                ExportPart::Connectors => {
                    choice.hint("URLs, names of headers, tools. In the form JSON they can be imported.")
                }
                ExportPart::ApiKeys => choice.hint("Names, prefixes, dates. Never the keys."),
                ExportPart::Members | ExportPart::Usage | ExportPart::Audit => choice,
            }
        })
        .collect();
    let chosen: Vec<_> = choices.iter().map(|choice| choice.value.clone()).collect();
    let formats = vec![
        Choice::new(ExportFormat::Json.as_str(), "JSON")
            .hint("For programs, and for importing connectors elsewhere."),
        Choice::new(ExportFormat::Csv.as_str(), "CSV").hint("For spreadsheets."),
    ];
    let audit = (!data.audit)
        .then(|| view! { <p class="hint">"The audit log is not offered: your role or the plan of this organisation does not include its export."</p> }.erase());
    let days =
        if data.audit { "Of usage and the audit log. Days are UTC." } else { "Of usage. Days are UTC." };
    let note = if open {
        view! { <p class="hint">"One export is made at a time: until it is done, asking again gives you that one."</p> }.erase()
    } else {
        ().into_any()
    };
    view! {
        <Card title="New export">
            <PostForm form=create class="key-form">
                <ErrorSummary form=create />
                <CheckboxGroup form=create name="parts[]" label="What to export" values=chosen choices=choices />
                {audit}
                <TextField form=create name="from" label="First day (optional)" hint=days kind="date" />
                <TextField form=create name="to" label="Last day (optional)" kind="date" />
                <RadioGroup form=create name="format" label="Format" value="json" choices=formats />
                {note}
                <div class="actions">
                    <SubmitButton form=create label="Generate Export" busy="Asking…" kind=ButtonKind::Primary />
                </div>
            </PostForm>
        </Card>
    }
    .erase()
}

fn empty() -> AnyView {
    let about = format!(
        "An export appears here with its progress, then with its file. At most {MOST_EXPORTS} are kept, each for {KEPT_DAYS} days."
    );
    view! { <EmptyState icon="download" title="No exports yet" about=about></EmptyState> }.erase()
}

fn list(data: &ExportPage, org: &str) -> AnyView {
    let cards = data.exports.iter().map(|export| card(export, data.now, org)).collect_view();
    let kept = format!(
        "At most {MOST_EXPORTS} exports are kept. {KEPT_DAYS} days after it was finished, an export is gone with its file."
    );
    view! {
        <div class="stack">{cards}</div>
        <p class="hint">{kept}</p>
    }
    .erase()
}

/// A number of bytes for people.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let (mut tenths, mut unit) = (bytes * 10 / 1024, 0);
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn line(progress: &Progress, running: bool) -> AnyView {
    let Progress { part, done, total } = progress;
    let label = part.label();
    let count = if running { format!("{done} of {total}") } else { done.to_string() };
    let bar = running.then(|| {
        let (value, max) = (done.to_string(), (*total).max(1).to_string());
        view! { <progress class="meter" value=value max=max aria-label=label></progress> }.erase()
    });
    view! { <Fact term=label>{count} " rows " {bar}</Fact> }.erase()
}

fn card(export: &Export, now: i64, org: &str) -> AnyView {
    let delete = use_form_for::<DeleteExport>("id", export.id);
    let id = export.id.to_string();
    let state = export.state;
    let (label, tone) = match state {
        ExportState::Waiting => ("Waiting", Tone::Neutral),
        ExportState::Running => ("Running", Tone::Info),
        ExportState::Ready => ("Ready", Tone::Ok),
        ExportState::Failed => ("Failed", Tone::Bad),
    };
    let word = if state.is_open() { "Cancel export" } else { "Delete export" };
    let lines = export.parts.iter().map(|part| line(part, state.is_open())).collect_view();
    let failure = export.failure.clone().map(|why| {
        view! { <Callout tone=Tone::Bad title="This export failed"><p>{why}</p></Callout> }.erase()
    });
    let ready = (state == ExportState::Ready).then(|| {
        let (bytes, expires, sha256) = (size(export.size), export.expires_at, export.sha256.clone());
        view! {
            <Fact term="Size">{bytes}</Fact>
            <Fact term="Expires"><Time at=expires now=now /></Fact>
            <Fact term="SHA-256"><code class="mono webhook-data">{sha256}</code></Fact>
        }
        .erase()
    });
    let download = (state == ExportState::Ready).then(|| {
        view! {
            <form method="post" action=paths::export_file() data-file="">
                <input type="hidden" name=MADE_IN value=org.to_owned() />
                <input type="hidden" name="id" value=id />
                <button class="button" type="submit">"Download"</button>
            </form>
        }
        .erase()
    });
    let days = export.days.clone();
    let days = (!days.is_empty()).then(|| view! { <Fact term="Days">{days}</Fact> }.erase());
    let title = format!("{} export", export.format.as_str().to_uppercase());
    let (by, at) = (export.created_by.clone(), export.created_at);
    view! {
        <Card title=title>
            <div class="stack">
                {failure}
                <Facts>
                    <Fact term="Status"><span role="status"><Badge label=label tone=tone /></span></Fact>
                    <Fact term="Asked for"><Ago at=at now=now /> " by " {by}</Fact>
                    {days}
                    {lines}
                    {ready}
                </Facts>
                <div class="actions">
                    {download}
                    <PostForm form=delete class="inline-form">
                        <ErrorSummary form=delete />
                        <SubmitButton form=delete label=word busy="Deleting…" kind=ButtonKind::Quiet />
                    </PostForm>
                </div>
            </div>
        </Card>
    }
    .erase()
}
