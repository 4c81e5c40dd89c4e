//! The end of an organisation.

use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    factors::PasskeyPurpose,
    orgs::{Me, OrgDeletion},
    paths,
};

use super::api::{DeleteOrg, LoadOrgDeletion};
use crate::{
    components::{
        ButtonKind, Callout, Card, Crumb, Fact, Facts, PageHeader, SubmitButton, TextField, Tone,
        passkey_button,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
    pages::deletion::{pin_field, your_password},
};

/// Asks before an organisation is deleted.
pub struct DangerPage {
    facts: Loaded<(OrgDeletion, String)>,
}

#[lazy_route]
impl LazyRoute for DangerPage {
    fn data() -> Self {
        Self { facts: load(LoadOrgDeletion {}) }
    }

    fn view(this: Self) -> AnyView {
        let form = use_form::<DeleteOrg>();
        page(this.facts, move |(facts, csrf), me| {
            view! {
                <div class="narrow">
                    <PageHeader
                        title="Danger zone"
                        crumbs=vec![Crumb::new(paths::settings(), "General")]
                        about="What cannot be undone."
                    />
                    {what_goes(&facts)}
                    {before_you_go()}
                    {delete(form, facts, csrf, &me)}
                </div>
            }
            .erase()
        })
    }
}

fn what_goes(facts: &OrgDeletion) -> AnyView {
    let about = format!(
        "All that belongs to {}, as of now. People keep their accounts and their other organisations.",
        facts.name
    );
    let rows = [
        ("Connectors, with their credentials", facts.connectors),
        ("API keys, which get 401 at once", facts.keys),
        ("Connected MCP clients, which get 401 at once", facts.connections),
        ("OAuth clients", facts.clients),
        ("Members, who lose access", facts.members),
        ("Invitations", facts.invitations),
        ("Roles of its own", facts.roles),
        ("Identity providers, for the endpoint and for SSO", facts.providers),
        ("Webhooks, which stop at once", facts.webhooks),
        ("Custom domains, which stop answering at once", facts.domains),
        ("Exports, with their files", facts.exports),
        ("Events in the audit log", facts.events),
    ];
    let rows = rows.map(|(term, count)| view! { <Fact term=term>{count.to_string()}</Fact> }.erase());
    view! {
        <Card title="What will be deleted" about=about>
            <div class="stack">
                <Facts>{rows.into_iter().collect_view()} <Fact term="Request log and usage">"All of it"</Fact></Facts>
                <p class="hint">
                    "Backups that were made before still hold it. The slug stays taken for ever, so that nobody can pose as this organisation."
                </p>
            </div>
        </Card>
    }
    .erase()
}

fn before_you_go() -> AnyView {
    view! {
        <Card title="Before you delete it">
            <ul class="consequences">
                <li>"Take along what you may need: connectors, members, usage, the audit log. " <a href=paths::settings_export()>"Export data"</a></li>
                <li>"Tell the " <a href=paths::team()>"team"</a> ": everybody gets a mail, where this instance sends any, but no second chance."</li>
                <li>"Stop the agents that use " <a href=paths::settings_api_keys()>"its keys"</a> ", or they will meet errors."</li>
                <li>"Revoke, at the servers themselves, the tokens that " <a href=paths::connectors()>"connectors"</a> " were given."</li>
            </ul>
        </Card>
    }
    .erase()
}

fn delete(form: Form<DeleteOrg>, facts: OrgDeletion, csrf: String, me: &Me) -> AnyView {
    let hint = if facts.ways.app { "From your app, or a backup code." } else { "One of your backup codes." };
    let passkey =
        facts.ways.passkey.then(|| passkey_button(PasskeyPurpose::Confirm, "Delete Forever with a passkey"));
    let code = facts.ways.any().then(|| {
        view! {
            <TextField
                form=form
                name="code"
                label="Code"
                hint=hint
                autocomplete="one-time-code"
                inputmode="text"
                mono=true
            />
        }
        .erase()
    });
    let pin = pin_field(form.into(), me.pin);
    view! {
        <Card title="Delete this organisation">
            <div class="stack">
                <Callout tone=Tone::Bad title=format!("{} will be gone", facts.name)>
                    <p>"This cannot be undone, by nobody: its encryption key is destroyed with it."</p>
                </Callout>
                <PostForm form=form>
                    <ErrorSummary form=form />
                    <input type="hidden" name="csrf" value=csrf />
                    <TextField form=form name="confirm" label=format!("Type {} to confirm", facts.slug) mono=true />
                    {your_password(form.into(), "Your password", facts.ways.no_password, paths::settings_danger())}
                    {code}
                    {pin}
                    <div class="actions">
                        <a class="button" href=paths::settings()>"Cancel"</a>
                        <SubmitButton form=form label="Delete Forever" busy="Deleting…" kind=ButtonKind::Danger />
                    </div>
                    {passkey}
                </PostForm>
            </div>
        </Card>
    }
    .erase()
}
