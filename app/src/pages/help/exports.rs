//! What is in an export, and how connectors come into another organisation.

use leptos::prelude::*;
use model::{
    exports::{ExportPart, KEPT_DAYS, MOST_EXPORTS},
    paths,
};

use crate::{
    components::{CodeBlock, DataTable, PageHeader},
    erase::Erase as _,
};

const COMMANDS: &str = "gatehouse admin export --org acme --part connectors --part members --file acme.zip\ngatehouse admin import --org beta --file connectors.json\ngatehouse admin import --org beta --file connectors.json --yes";

fn told(part: ExportPart) -> &'static str {
    match part {
        ExportPart::Connectors => {
            "Name, slug, URL without what stands after ?, names of headers, how it authenticates, and what was decided about its tools. In the form JSON this file can be imported."
        }
        ExportPart::ApiKeys => {
            "Name, prefix, last four characters, connectors, addresses, when it was made, used, disabled."
        }
        ExportPart::Members => "Name, address, role, since when.",
        ExportPart::Usage => {
            "One row for each day (UTC), connector, tool and principal: calls, errors, microseconds, bytes."
        }
        ExportPart::Audit => "Every event, as in the export of the log itself.",
    }
}

pub(super) fn help() -> AnyView {
    let rows = ExportPart::ALL.map(|part| {
        view! {
            <tr>
                <th scope="row" data-label="Part">{part.label()}</th>
                <td data-label="File"><code class="mono">{part.as_str()}</code></td>
                <td data-label="What is in it">{told(part)}</td>
            </tr>
        }
        .erase()
    });
    view! {
        <PageHeader title="Data export" about="What is in an export, and how connectors come into another organisation." />
        <div class="prose">
            <p>
                "An export is a ZIP with one file for each part, made under " <a href=paths::settings_export()>"Settings, Data export"</a>
                ". It is written in the background; you can leave the page meanwhile. Where this instance sends mail, you are told when it is ready."
            </p>
            <DataTable caption="Parts of an export" columns=vec!["Part", "File", "What is in it"]>
                {rows.into_iter().collect_view()}
            </DataTable>
            <p>
                <code>"manifest.json"</code> " says what is in it: the version of the form, when and of which organisation it was made, and \
                how many rows each file has. Times are UTC."
            </p>
            <h2>"What is never in it"</h2>
            <p>
                "No secret: neither keys nor their hashes, neither values of headers nor passwords, PINs, codes, tokens and the \
                secrets of webhooks and OAuth clients. Cells that a spreadsheet would take for a formula begin with an apostrophe."
            </p>
            <h2>"Who gets it, and for how long"</h2>
            <p>
                "It takes " <code>"export:create"</code> " to make and to download an export, and " <code>"audit:export"</code>
                " for one with the audit log. There is no link that works by itself. One export is made at a time, at most "
                {MOST_EXPORTS.to_string()} " are kept, each for " {KEPT_DAYS.to_string()} " days; then its file is removed."
            </p>
            <h2>"Bring connectors into another organisation"</h2>
            <p>
                "Take " <code>"connectors.json"</code> " out of an export in the form JSON and give it to "
                <a href=paths::settings_import()>"Import connectors"</a> ", in any organisation of any Gatehouse of the same version. First \
                you see what would be made; then all of it is, or nothing. Credentials are not in the file: enter them anew \
                at each connector afterwards. A tool that was switched off stays so."
            </p>
            <h2>"From the command line"</h2>
            <CodeBlock label="Commands" text=COMMANDS />
        </div>
    }
    .erase()
}
