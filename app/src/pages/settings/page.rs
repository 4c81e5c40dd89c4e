use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{Permission, Role, orgs::Org, paths};

use super::api::{LoadSettings, UpdateOrg};
use crate::{
    components::{
        Callout, Card, CopyField, Fact, Facts, LinkButton, PageHeader, SubmitButton, TextArea, TextField,
        Tone, Unsaved,
    },
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

const NAME_MAX: usize = 64;
const DESCRIPTION_MAX: usize = 280;

/// Settings.
pub struct SettingsPage {
    data: Loaded<(Org, String)>,
}

#[lazy_route]
impl LazyRoute for SettingsPage {
    fn data() -> Self {
        Self { data: load(LoadSettings {}) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<UpdateOrg>();
        page(this.data, move |(org, endpoint), me| {
            let general = if me.can(Permission::OrgUpdate) {
                general_form(save, org.clone())
            } else {
                general_facts(org.clone())
            };
            view! {
                <div class="narrow">
                    <PageHeader title="General" about="What this organisation is called, and where agents find it." />
                    {general}
                    {address(org.slug.to_string(), endpoint)}
                    {me.can(Permission::OrgDelete).then(danger)}
                </div>
            }
            .erase()
        })
    }
}

fn danger() -> AnyView {
    view! {
        <Card title="Danger zone" about="Deletes the organisation with all that belongs to it. You are shown what that is, and asked, first.">
            <LinkButton href=paths::settings_danger() label="Delete this organisation" />
        </Card>
    }
    .erase()
}

fn general_form(save: Form<UpdateOrg>, org: Org) -> AnyView {
    // Somebody else was quicker: their values are told at the fields, and one of both has to go.
    let error = save.error();
    let overwrite = move || {
        error.with(|error| error.as_ref().is_some_and(|error| error.code == "changed_meanwhile")).then(|| {
            view! {
                <button class="button" type="submit" name="overwrite" value="on">"Replace it with mine"</button>
                <a class="button quiet" href=paths::settings() rel="external">"Keep theirs"</a>
            }
            .erase()
        })
    };
    view! {
        <Card title="Name and description">
            <PostForm form=save>
                <ErrorSummary form=save />
                <input type="hidden" name="was_name" value=org.name.clone() />
                <input type="hidden" name="was_description" value=org.description.clone() />
                <TextField
                    form=save
                    name="name"
                    label="Name"
                    value=org.name
                    autocomplete="organization"
                    max=NAME_MAX
                />
                <TextArea
                    form=save
                    name="description"
                    label="Description"
                    hint=format!("What it is for. At most {DESCRIPTION_MAX} characters.")
                    value=org.description
                    max=DESCRIPTION_MAX
                />
                <div class="actions">
                    <SubmitButton form=save label="Save changes" />
                    {overwrite}
                    <Unsaved />
                </div>
            </PostForm>
        </Card>
    }
    .erase()
}

fn general_facts(org: Org) -> AnyView {
    let who = Role::holders(Permission::OrgUpdate).map(Role::as_str).collect::<Vec<_>>().join(" or ");
    let description = if org.description.is_empty() { "No description".to_owned() } else { org.description };
    view! {
        <Card title="Name and description">
            <div class="stack">
                <Facts>
                    <Fact term="Name">{org.name}</Fact>
                    <Fact term="Description">{description}</Fact>
                </Facts>
                <Callout tone=Tone::Neutral>
                    <p>
                        "You need " <code>{Permission::OrgUpdate.as_str()}</code> " to change this. Ask an " {who}
                        " of this organisation."
                    </p>
                </Callout>
            </div>
        </Card>
    }
    .erase()
}

fn address(slug: String, endpoint: String) -> AnyView {
    view! {
        <Card title="Address" about="Part of your endpoint URL. Cannot be changed.">
            <div class="stack">
                <div class="settings-copy">
                    <p>"Slug"</p>
                    <CopyField label="slug" text=slug />
                </div>
                <div class="settings-copy">
                    <p>"Endpoint URL"</p>
                    <CopyField label="endpoint URL" text=endpoint />
                </div>
                <p><a href=paths::help_quickstart()>"How to call it"</a></p>
            </div>
        </Card>
    }
    .erase()
}
