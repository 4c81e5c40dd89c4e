use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    connectors::{
        Connector, FIRST_BYTE, FIRST_BYTE_RANGE, HIDDEN_QUERY, HeaderInfo, MAX_DESCRIPTION, MAX_NAME,
        Transport,
    },
    paths,
};

use super::{
    api::{LoadConnector, OneConnector, UpdateConnector},
    parts::{HeaderRows, KeepAnyway, field_error, row_id},
};
use crate::{
    components::{Card, Crumb, DeniedState, PageHeader, SubmitButton, TextArea, TextField, Time, Unsaved},
    form::{ErrorSummary, Form, FormCore, PostForm, use_form},
    page::{Loaded, load_by, page},
};

/// A connector's settings.
pub struct EditConnectorPage {
    connector: Loaded<OneConnector>,
}

#[lazy_route]
impl LazyRoute for EditConnectorPage {
    fn data() -> Self {
        Self { connector: load_by("id", |id| LoadConnector { id }) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<UpdateConnector>();
        page(this.connector, move |one, me| {
            if me.can(Permission::ConnectorsWrite) {
                form(one.connector, one.now, save)
            } else {
                view! { <DeniedState permission=Some(Permission::ConnectorsWrite) /> }.erase()
            }
        })
    }
}

fn form(connector: Connector, now: i64, save: Form<UpdateConnector>) -> AnyView {
    let back = paths::connector(connector.id);
    let (id, name, slug) = (connector.id.to_string(), connector.name, connector.slug.to_string());
    let url_hint = url_hint(&connector.url);
    let more = if connector.headers.is_empty() { "Static headers" } else { "More headers" };
    let patience = (connector.transport != Transport::Demo).then(|| {
        let (least, most) = FIRST_BYTE_RANGE;
        view! {
            <TextField
                form=save
                name="first_byte"
                label="Time to the first byte, in seconds (optional)"
                hint=format!("How long the server may take to begin an answer, from {least} to {most}. Left empty it is {FIRST_BYTE}. A tool's own time-out stands over it.")
                value=connector.first_byte_seconds.map(|seconds| seconds.to_string()).unwrap_or_default()
                inputmode="numeric"
                max=3
            />
        }
        .erase()
    });
    let remote = match connector.transport {
        // In the process itself or on its machine: no address and no credentials are to be entered.
        Transport::Demo | Transport::Stdio => view! { <input type="hidden" name="url" value="" /> }.erase(),
        Transport::Http | Transport::Sse => view! {
            <TextField
                form=save
                name="url"
                label="URL"
                hint=url_hint
                value=connector.url.clone()
                kind="url"
                inputmode="url"
                max=2048
                mono=true
            />
            <KeepAnyway form=save />
            {stored(save.into(), &connector.headers, now)}
            <HeaderRows form=save legend=more />
        }
        .erase(),
    };
    view! {
        <div class="narrow">
            <PageHeader
                title="Edit connector"
                crumbs=vec![
                    Crumb::new(paths::connectors(), "Connectors"),
                    Crumb::new(back.clone(), name.clone()),
                ]
            />
            <Card
                title=name.clone()
                about=format!("Slug {slug}: it stays as it is, because agents know the tools by it.")
            >
                <PostForm form=save>
                    <ErrorSummary form=save />
                    <input type="hidden" name="id" value=id />
                    <TextField form=save name="name" label="Name" value=name max=MAX_NAME />
                    <TextArea
                        form=save
                        name="description"
                        label="Description (optional)"
                        value=connector.description
                        rows=2
                        max=MAX_DESCRIPTION
                    />
                    {remote}
                    {patience}
                    <div class="actions">
                        <SubmitButton form=save label="Save changes" />
                        <a class="button" href=back>"Cancel"</a>
                        <Unsaved />
                    </div>
                </PostForm>
            </Card>
        </div>
    }
    .erase()
}

/// What a person should know about the URL. A query that is stored is hidden, so it says how to keep it.
fn url_hint(url: &str) -> &'static str {
    if url.ends_with(HIDDEN_QUERY) {
        "What stands after ? is encrypted and never shown again: leave the dots to keep it, or type all of it anew. A new \
         address is tried before it is saved."
    } else {
        "A new address is tried before it is saved."
    }
}

/// The headers that are stored: their values can be replaced or erased, but not seen.
fn stored(form: FormCore, headers: &[HeaderInfo], now: i64) -> Option<AnyView> {
    if headers.is_empty() {
        return None;
    }
    let removed = form.values_of("remove[]").unwrap_or_default();
    let rows = headers
        .iter()
        .enumerate()
        .map(|(at, header)| {
            let (value, remove) =
                (row_id(form, "stored_header_value", at), format!("{}-{at}", form.id_of("remove")));
            view! {
                <div class="stored-header">
                    <p>
                        <code>{header.name.clone()}</code>
                        <span class="fine">" Set " <Time at=header.set_at now=now /> " by " {header.set_by.clone()}</span>
                    </p>
                    <input type="hidden" name="stored_header_name[]" value=header.name.clone() />
                    <div class="stored-header-change">
                        <label class="visually-hidden" for=value.clone()>{format!("New value of {}", header.name)}</label>
                        <input
                            class="input mono"
                            id=value
                            name="stored_header_value[]"
                            placeholder="Replace with a new value"
                            autocomplete="off"
                            autocapitalize="none"
                            spellcheck="false"
                        />
                        <div class="choice">
                            <input
                                type="checkbox"
                                id=remove.clone()
                                name="remove[]"
                                value=header.name.clone()
                                checked=removed.contains(&header.name)
                            />
                            <label for=remove>"Remove" <span class="visually-hidden">{format!(" {}", header.name)}</span></label>
                        </div>
                    </div>
                </div>
            }.erase()
        })
        .collect_view();
    Some(
        view! {
            <fieldset class="field">
                <legend>"Stored headers"</legend>
                <p class="hint">
                    "Values are never shown. A row that is left empty keeps its value. They are not sent to another \
                     server: if the address changes to one, enter each value again or remove it."
                </p>
                {field_error(form, "stored_header_value")}
                {rows}
            </fieldset>
        }
        .erase(),
    )
}
