use leptos::prelude::*;
use model::{Permission, orgs::Me, paths};

use super::{
    api::{DeleteOauthClient, OneClient},
    fields::{connections, crumbs, cut},
};
use crate::{
    components::{ButtonKind, Card, DeniedState, PageHeader, SubmitButton, TextField},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, page},
};

/// Asks before an OAuth client is deleted, or cut off.
pub(super) fn view(client: Loaded<OneClient>) -> AnyView {
    let delete = use_form::<DeleteOauthClient>();
    page(client, move |one, me| {
        if me.can(Permission::OauthClientsWrite) {
            question(delete, &one, &me)
        } else {
            view! { <DeniedState permission=Some(Permission::OauthClientsWrite) /> }.erase()
        }
    })
}

fn question(delete: Form<DeleteOauthClient>, one: &OneClient, me: &Me) -> AnyView {
    let client = &one.client;
    let org = me.org.as_ref().map(|org| org.name.clone()).unwrap_or_default();
    let own = client.kind.is_own();
    let live = connections(client.connections);
    let (title, lines, label, busy) = if own {
        let lines = vec![
            "Applications using this client ID stop working.".to_owned(),
            format!("Its own tokens die at once: {live} of it, and every access token."),
            "The audit log keeps what was done with it.".to_owned(),
            "This cannot be undone.".to_owned(),
        ];
        (format!("Delete {}?", client.name), lines, "Delete client", "Deleting…")
    } else {
        let lines = vec![
            format!("{live} of it in {org} end at once, with their keys and tokens."),
            "The client itself belongs to nobody and stays registered: members can give it access again."
                .to_owned(),
            "This cannot be undone.".to_owned(),
        ];
        (format!("Revoke all connections of {}?", client.name), lines, "Revoke all connections", "Revoking…")
    };
    let lines = lines.into_iter().map(|line| view! { <li>{line}</li> }.erase()).collect_view();
    let confirm = own.then(|| {
        let label = format!("Type {} to confirm", client.name);
        view! {
            {cut(delete.into(), "Deleting", &org, one.live)}
            <TextField form=delete name="confirm" label=label />
        }
        .erase()
    });
    let (id, back) = (client.id.clone(), paths::oauth_client(&client.id));
    view! {
        <div class="narrow">
            <PageHeader title=title crumbs=crumbs() />
            <Card title="What happens">
                <div class="stack">
                    <ul class="consequences">{lines}</ul>
                    <PostForm form=delete>
                        <ErrorSummary form=delete />
                        <input type="hidden" name="id" value=id />
                        {confirm}
                        <div class="actions">
                            <a class="button" href=back autofocus>"Cancel"</a>
                            <SubmitButton form=delete label=label busy=busy kind=ButtonKind::Danger />
                        </div>
                    </PostForm>
                </div>
            </Card>
        </div>
    }
    .erase()
}
