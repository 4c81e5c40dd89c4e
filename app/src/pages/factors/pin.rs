//! The PIN in the organisation in view.

use leptos::prelude::*;
use model::{
    factors::{PasskeyPurpose, PinStatus},
    paths,
};

use super::{
    api::{ConfirmIdentity, RemovePin, SetPin},
    confirm_you,
};
use crate::{
    components::{
        Badge, ButtonKind, Card, Checkbox, Crumb, Disclosure, PageHeader, SubmitButton, TextField, Time,
        Tone, passkey_button,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm},
    pages::deletion::{pin_input, your_password},
};

/// What the page can do.
#[derive(Clone, Copy)]
pub(super) struct Forms {
    pub(super) confirm_you: Form<ConfirmIdentity>,
    pub(super) set: Form<SetPin>,
    pub(super) remove: Form<RemovePin>,
}

pub(super) fn view(forms: &Forms, status: PinStatus) -> AnyView {
    let forms = *forms;
    let asks = if status.protects {
        format!("{} asks for it before something is done that cannot be undone.", status.org)
    } else {
        format!(
            "{} does not ask for PINs at the moment. One that you set counts as soon as it does.",
            status.org
        )
    };
    let badge = match status.set_at {
        Some(_) => view! { <Badge label="Set" tone=Tone::Ok /> }.erase(),
        None => view! { <Badge label="Not set" tone=Tone::Neutral /> }.erase(),
    };
    let since = status.set_at.map(|at| view! { <p>"Set " <Time at=at now=status.now /> "."</p> }.erase());
    let acts = if status.fresh {
        let remove = status.set_at.is_some().then(|| remove(&forms));
        view! { {set(&forms, &status)} {remove} }.erase()
    } else {
        confirm_you(forms.confirm_you, paths::profile_pin(), status.second_factor)
    };
    view! {
        <div class="narrow">
            <PageHeader
                title="PIN"
                crumbs=vec![Crumb::new(paths::profile(), "Profile")]
                about=asks
            />
            <div class="stack-wide">
                <Card title=format!("Your PIN in {}", status.org) action=badge>
                    <p class="muted">
                        "Deleting connectors, deleting or showing API keys, revoking or regenerating connections, removing members, "
                        "and turning the protection itself off. Five wrong ones lock it for fifteen minutes."
                    </p>
                    {since}
                </Card>
                {acts}
            </div>
        </div>
    }
    .erase()
}

fn set(forms: &Forms, status: &PinStatus) -> AnyView {
    let forms = *forms;
    let form = forms.set;
    let is_set = status.set_at.is_some();
    let passkey = (is_set && status.second_factor.passkey)
        .then(|| passkey_button(PasskeyPurpose::Confirm, "Forgotten? Set it with a passkey"));
    let old = is_set.then(|| {
        let code = status.second_factor.any().then(|| {
            view! {
                <TextField form=form name="code" label="Code" hint="From your authenticator app, or a backup code." autocomplete="one-time-code" mono=true />
            }
            .erase()
        });
        let none = status.second_factor.no_password;
        let password = your_password(form.into(), "Password", none, paths::profile_pin());
        view! {
            {pin_input(form.into(), "pin", "Present PIN", "")}
            <Disclosure title="I forgot it, or missed it too often">
                <Checkbox form=form name="forgotten" label="Replace it without the present one" hint="Your password stands in for it, and a code if you have a second factor." />
                {password}
                {code}
            </Disclosure>
        }
        .erase()
    });
    let (title, label) = if is_set { ("Change it", "Change PIN") } else { ("Set it", "Set PIN") };
    view! {
        <Card title=title>
            <PostForm form=form>
                <ErrorSummary form=form />
                {old}
                {pin_input(form.into(), "new_pin", "New PIN", "Six digits without a pattern.")}
                {pin_input(form.into(), "again_pin", "New PIN once more", "")}
                <SubmitButton form=form label=label busy="Saving…" />
                {passkey}
            </PostForm>
        </Card>
    }
    .erase()
}

fn remove(forms: &Forms) -> AnyView {
    let forms = *forms;
    let form = forms.remove;
    view! {
        <Card title="Remove it" about="Where the organisation asks for a PIN, you have to set another before the next protected act.">
            <PostForm form=form>
                <ErrorSummary form=form />
                {pin_input(form.into(), "pin", "Present PIN", "")}
                <SubmitButton form=form label="Remove PIN" busy="Removing…" kind=ButtonKind::Danger />
            </PostForm>
        </Card>
    }
    .erase()
}
