//! Importing connectors: first what would be made, then the making.

use leptos::prelude::*;
use model::{
    exports::{ImportLine, ImportPlan},
    paths,
};

use super::api::ImportConnectors;
use crate::{
    components::{
        ButtonKind, Callout, Card, Choice, Crumb, DataTable, PageHeader, RadioGroup, SubmitButton, TextArea,
        Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm},
};

pub(super) fn page(form: Form<ImportConnectors>) -> AnyView {
    let choices = vec![
        Choice::new("rename", "Give it another slug").hint("With a number behind it: weather-2."),
        Choice::new("skip", "Leave it out"),
    ];
    let text = untrack(|| form.ok().get()).map(|plan| plan.text).unwrap_or_default();
    let planned = move || form.ok().get().map(|plan| plan_of(form, &plan));
    view! {
        <div class="narrow">
            <PageHeader
                title="Import connectors"
                crumbs=vec![Crumb::new(paths::settings_export(), "Data export")]
                about="Brings the connectors of another organisation's export into this one."
            />
            <div class="stack-wide">
                <PostForm form=form>
                    <Card title="File" about="connectors.json out of an export in the form JSON.">
                        <div class="stack">
                            <ErrorSummary form=form />
                            <label class="field">
                                <span>"Choose a file"</span>
                                <input class="input" type="file" accept=".json,application/json" data-into="text" />
                            </label>
                            <TextArea form=form name="text" label="Or paste what is in it" value=text rows=8 />
                            <RadioGroup form=form name="clash" label="If a slug is taken here, or was" value="rename" choices=choices />
                            <div class="actions">
                                <SubmitButton form=form label="Look what would be made" busy="Looking…" />
                                <a class="button" href=paths::settings_export()>"Cancel"</a>
                            </div>
                            <p class="hint">"Looking changes nothing. Credentials are not in the file; you enter them anew afterwards."</p>
                        </div>
                    </Card>
                </PostForm>
                {planned}
            </div>
        </div>
    }
    .erase()
}

fn row(line: &ImportLine) -> AnyView {
    let becomes = match &line.becomes {
        None => "Left out: the slug is taken".to_owned(),
        Some(slug) if *slug == line.slug => "Added".to_owned(),
        Some(slug) => format!("Added as {slug}"),
    };
    let needs = match (&line.becomes, line.needs.is_empty()) {
        (None, _) | (_, true) => "Nothing".to_owned(),
        _ => line.needs.join(", "),
    };
    view! {
        <tr>
            <th scope="row" data-label="Connector">
                <div class="two-lines">
                    <span>{line.name.clone()}</span>
                    <span class="muted webhook-url">{line.url.clone()}</span>
                </div>
            </th>
            <td data-label="Slug"><code class="mono">{line.slug.clone()}</code></td>
            <td data-label="What becomes of it">{becomes}</td>
            <td data-label="To enter anew">{needs}</td>
        </tr>
    }
    .erase()
}

fn plan_of(form: Form<ImportConnectors>, plan: &ImportPlan) -> AnyView {
    let made = plan.made();
    let changed = plan.changed.then(|| {
        view! {
            <Callout tone=Tone::Warn title="Nothing was imported: this is not what you saw">
                <p>"The file, your choice or the connectors here changed since. Look at the plan again."</p>
            </Callout>
        }
        .erase()
    });
    let rows = plan.lines.iter().map(row).collect_view();
    let button = (made > 0).then(|| {
        let label =
            if made == 1 { "Import 1 connector".to_owned() } else { format!("Import {made} connectors") };
        let (text, clash, seen) = (plan.text.clone(), plan.clash.clone(), plan.seen.clone());
        view! {
            <PostForm form=form>
                <input type="hidden" name="text" value=text />
                <input type="hidden" name="clash" value=clash />
                <input type="hidden" name="seen" value=seen />
                <SubmitButton form=form label=label busy="Importing…" kind=ButtonKind::Primary />
            </PostForm>
        }
        .erase()
    });
    let none =
        (made == 0).then(|| view! { <p>"Every slug is taken, so there is nothing to import."</p> }.erase());
    let from = if plan.from.is_empty() {
        "Nothing is made yet.".to_owned()
    } else {
        format!("From {}. Nothing is made yet.", plan.from)
    };
    view! {
        <Card title="What would be made" about=from>
            <div class="stack">
                <div role="status">{changed}</div>
                <DataTable caption="Connectors of the file" columns=vec!["Connector", "Slug", "What becomes of it", "To enter anew"]>
                    {rows}
                </DataTable>
                {none}
                {button}
            </div>
        </Card>
    }
    .erase()
}
