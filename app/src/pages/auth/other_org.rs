use std::sync::Arc;

use leptos::prelude::*;
use model::{AppError, orgs::Me, paths};

use super::api::SwitchOrg;
use crate::{
    components::{ButtonForm, ButtonKind, Icon, LinkButton, PageHeader},
    erase::Erase as _,
    form::{FormCore, use_form_for},
    page::Render,
};

/// What stands in for a page whose form was made in another organisation than the one in view: the page would show that
/// one, with what was meant for the other typed into it.
pub(crate) fn other_org(error: AppError, meant: String) -> Render {
    let back = use_form_for::<SwitchOrg>("org", &meant);
    Arc::new(move |_, me| me.map(|me| stands_in(&error, &meant, back.into(), &me)))
}

fn stands_in(error: &AppError, meant: &str, back: FormCore, me: &Me) -> AnyView {
    let there = me.orgs.iter().find(|org| org.org.to_string() == meant).map(|org| {
        let label = format!("Switch back to {}", me.label(org));
        view! { <ButtonForm form=back label=label kind=ButtonKind::Primary /> }.erase()
    });
    let here = me.org.as_ref().map(|org| format!("Stay in {}", me.label(org)));
    let here = here.map(|label| view! { <LinkButton href=paths::overview() label=label /> }.erase());
    view! {
        <PageHeader title="Nothing was changed" />
        <div class="state" role="alert">
            <Icon name="building-2" />
            <h2>"The form is of another organisation"</h2>
            <p>{error.message.clone()}</p>
            <div class="actions">{there} {here}</div>
        </div>
    }
    .erase()
}
