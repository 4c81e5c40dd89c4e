use crate::erase::Erase as _;
use leptos::{
    prelude::*,
    wasm_bindgen::JsCast as _,
    web_sys::{Event, HtmlInputElement},
};
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    connectors::{LocalServer, MAX_DESCRIPTION, MAX_NAME},
    paths, slug,
};

use super::{
    api::{AddConnector, LoadLocalServers},
    parts::{HeaderRows, KeepAnyway, SignInFirst},
};
use crate::{
    components::{
        Card, Choice, Crumb, DeniedState, PageHeader, SelectField, SubmitButton, TextArea, TextField,
    },
    form::{ErrorSummary, Form, FormCore, PostForm, use_form},
    page::{Loaded, load, page},
};

/// Add connector.
pub struct NewConnectorPage {
    servers: Loaded<Vec<LocalServer>>,
}

#[lazy_route]
impl LazyRoute for NewConnectorPage {
    fn data() -> Self {
        Self { servers: load(LoadLocalServers {}) }
    }

    fn view(this: Self) -> AnyView {
        let add = use_form::<AddConnector>();
        page(this.servers, move |servers, me| {
            if me.can(Permission::ConnectorsWrite) {
                form(add, servers)
            } else {
                view! { <DeniedState permission=Some(Permission::ConnectorsWrite) /> }.erase()
            }
        })
    }
}

fn form(add: Form<AddConnector>, servers: Vec<LocalServer>) -> AnyView {
    let local = (!servers.is_empty()).then(|| local(add.into(), servers));
    view! {
        <div class="narrow">
            <PageHeader
                title="Add connector"
                crumbs=vec![Crumb::new(paths::connectors(), "Connectors")]
                about="The server is asked at once what it is and which tools it has. Nothing is kept if it does not answer."
            />
            <Card title="Server">
                <PostForm form=add>
                    <ErrorSummary form=add />
                    <NameAndSlug form=add />
                    {local}
                    <TextField
                        form=add
                        name="url"
                        label="URL"
                        hint="Its streamable HTTP endpoint, such as https://mcp.example.com/mcp. What stands after ? is encrypted and never shown again."
                        kind="url"
                        inputmode="url"
                        max=2048
                        mono=true
                    />
                    <KeepAnyway form=add />
                    <SignInFirst form=add />
                    <TextArea
                        form=add
                        name="description"
                        label="Description (optional)"
                        hint="For people of your organisation: what it is for, who looks after it."
                        rows=2
                        max=MAX_DESCRIPTION
                    />
                    <HeaderRows form=add />
                    <div class="actions">
                        <SubmitButton form=add label="Add connector" busy="Asking the server…" />
                        <a class="button" href=paths::connectors()>"Cancel"</a>
                    </div>
                </PostForm>
            </Card>
        </div>
    }
    .erase()
}

/// The servers on the machine of Gatehouse, where the operator offers some.
fn local(form: FormCore, servers: Vec<LocalServer>) -> AnyView {
    let elsewhere = Choice::new("", "Elsewhere, at the URL below");
    let choices = servers.into_iter().map(|LocalServer { name, about }| {
        let label = if about.is_empty() { name.clone() } else { format!("{name}: {about}") };
        Choice::new(name, label)
    });
    let choices: Vec<_> = std::iter::once(elsewhere).chain(choices).collect();
    view! {
        <SelectField
            form=form
            name="local"
            label="Where it runs"
            hint="Or choose a server that the operator runs on the machine of Gatehouse. It needs no URL and no headers."
            choices=choices
        />
    }
    .erase()
}

/// The slug follows the name until somebody types a slug of their own.
#[component]
fn NameAndSlug(
    /// The form.
    #[prop(into)]
    form: FormCore,
) -> impl IntoView {
    let typed = form.value_of("slug").unwrap_or_default();
    let own = RwSignal::new(!typed.is_empty());
    let prefix = RwSignal::new(typed);
    let slug_id = StoredValue::new(form.id_of("slug"));
    let on_input = move |event: Event| {
        let Some(input) = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok()) else {
            return;
        };
        match input.name().as_str() {
            "slug" => {
                own.set(!input.value().is_empty());
                prefix.set(input.value());
            }
            "name" if !own.get_untracked() => {
                let suggested = slug::suggest(&input.value());
                let field = slug_id.with_value(|id| document().get_element_by_id(id));
                if let Some(field) = field.and_then(|field| field.dyn_into::<HtmlInputElement>().ok()) {
                    field.set_value(&suggested);
                }
                prefix.set(suggested);
            }
            _ => {}
        }
    };
    let preview = move || {
        let prefix = prefix.get();
        if prefix.is_empty() {
            "github__search_issues".to_owned()
        } else {
            format!("{prefix}__search_issues")
        }
    };
    view! {
        <div class="name-and-slug" on:input=on_input>
            <TextField
                form=form
                name="name"
                label="Name"
                hint="What people call it, such as GitHub."
                max=MAX_NAME
            />
            <TextField
                form=form
                name="slug"
                label="Slug"
                hint="Lower-case letters, digits and hyphens. It stands before each tool's name and cannot be changed later."
                max=63
                mono=true
            />
            <p class="hint">"Agents see its tools under names like " <code>{preview}</code></p>
        </div>
    }
    .erase()
}
