use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_location, lazy_route};
use model::{Permission, api_keys::MAX_NAME, paths};

use super::{
    api::{LoadApiKey, OneKey, UpdateApiKey},
    delete,
    fields::{Limits, limits},
};
use crate::{
    components::{Card, Crumb, DeniedState, PageHeader, SubmitButton, TextField, Unsaved},
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by, page},
};

/// Rename a key, change its connectors and its end, or delete it: one part of the wasm for both.
pub struct ApiKeyPage {
    key: Loaded<OneKey>,
}

#[lazy_route]
impl LazyRoute for ApiKeyPage {
    fn data() -> Self {
        Self { key: load_by("id", |id| LoadApiKey { id }) }
    }

    fn view(this: Self) -> AnyView {
        if use_location().pathname.get_untracked().ends_with("/delete") {
            return delete::view(this.key);
        }
        let save = use_form::<UpdateApiKey>();
        page(this.key, move |one, me| {
            if me.can(Permission::ApiKeysUpdate) {
                form(one, save)
            } else {
                view! { <DeniedState permission=Some(Permission::ApiKeysUpdate) /> }.erase()
            }
        })
    }
}

fn form(one: OneKey, save: Form<UpdateApiKey>) -> AnyView {
    let OneKey { key, connectors, url_keys, .. } = one;
    let about = format!("{}. Changes apply to the next request.", key.masked());
    let now = Limits { scope: key.scope, ends: key.expires_at, in_urls: key.url_key, ranges: key.ranges };
    let limits = limits(save.into(), now, connectors, url_keys);
    view! {
        <div class="narrow">
            <PageHeader
                title="Edit API key"
                crumbs=vec![
                    Crumb::new(paths::settings(), "Settings"),
                    Crumb::new(paths::settings_api_keys(), "API keys"),
                ]
            />
            <Card title=key.name.clone() about=about>
                <PostForm form=save class="key-form">
                    <ErrorSummary form=save />
                    <input type="hidden" name="id" value=key.id.to_string() />
                    <TextField form=save name="name" label="Name" value=key.name max=MAX_NAME />
                    {limits}
                    <div class="actions">
                        <SubmitButton form=save label="Save changes" />
                        <a class="button" href=paths::settings_api_keys()>"Cancel"</a>
                        <Unsaved />
                    </div>
                </PostForm>
            </Card>
        </div>
    }
    .erase()
}
