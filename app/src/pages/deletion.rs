//! The frame of the pages that ask before something is deleted.

use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{orgs::PinAsked, paths};

use crate::{
    components::{
        ButtonForm, ButtonKind, Callout, Card, Crumb, PageHeader, PasswordField, SubmitButton, TextField,
        Tone,
    },
    form::{ErrorSummary, FormCore, PostForm},
};

/// What is said about one thing before it is deleted.
pub(super) struct Deletion {
    /// The name of the thing.
    pub(super) name: String,
    /// Its id.
    pub(super) id: String,
    /// The pages above.
    pub(super) crumbs: Vec<Crumb>,
    /// Where *Cancel* leads.
    pub(super) back: String,
    /// What has to be known first.
    pub(super) warning: Option<AnyView>,
    /// What happens, point by point.
    pub(super) consequences: Vec<AnyView>,
    /// What would do as well and can be undone.
    pub(super) instead: Option<AnyView>,
    /// What has to be typed.
    pub(super) confirm: Option<Confirm>,
    /// Verb and noun.
    pub(super) label: &'static str,
    /// Whether a PIN is asked for.
    pub(super) pin: PinAsked,
}

/// What has to be typed before something is deleted.
pub(super) struct Confirm {
    /// The text.
    pub(super) text: String,
    /// Whether it is a text for machines, such as a slug.
    pub(super) mono: bool,
    /// Hidden inputs that go with it.
    pub(super) hidden: Option<AnyView>,
}

/// The page. `disable` is the form of what can be done instead.
pub(super) fn question(deletion: Deletion, delete: FormCore, disable: FormCore) -> AnyView {
    let Deletion { name, id, crumbs, back, warning, consequences, instead, confirm, label, pin } = deletion;
    let consequences = consequences.into_iter().map(|line| view! { <li>{line}</li> }.erase()).collect_view();
    let confirm = confirm.map(|Confirm { text, mono, hidden }| {
        view! {
            {hidden}
            <TextField form=delete name="confirm" label=format!("Type {text} to confirm") mono=mono />
        }
        .erase()
    });
    view! {
        <div class="narrow">
            <PageHeader title=format!("Delete {name}?") crumbs=crumbs />
            <Card title="What happens">
                <div class="stack">
                    <ErrorSummary form=disable />
                    {warning}
                    <ul class="consequences">{consequences}</ul>
                    {instead}
                    <PostForm form=delete>
                        <ErrorSummary form=delete />
                        <input type="hidden" name="id" value=id />
                        {confirm}
                        {pin_field(delete, pin)}
                        <div class="actions">
                            <a class="button" href=back autofocus>"Cancel"</a>
                            <SubmitButton form=delete label=label busy="Deleting…" kind=ButtonKind::Danger />
                        </div>
                    </PostForm>
                </div>
            </Card>
        </div>
    }
    .erase()
}

/// The field for the PIN of a form whose act is protected by one.
pub(super) fn pin_field(form: FormCore, asked: PinAsked) -> Option<AnyView> {
    match asked {
        PinAsked::No => None,
        PinAsked::Yes => {
            Some(pin_input(form, "pin", "Your PIN", "Six digits. This organisation asks for it here."))
        }
        PinAsked::Unset => Some(
            view! {
                <Callout tone=Tone::Warn title="This needs your PIN, and you have none yet">
                    <p>
                        <a href=paths::profile_pin()>"Set your PIN"</a>
                        " first, then come back. This organisation protects what cannot be undone with it."
                    </p>
                </Callout>
            }
            .erase(),
        ),
    }
}

/// The field for the password; or, where the account has none because it logs in by SSO, what stands in for it, on the way
/// back to `here`.
pub(super) fn your_password(form: FormCore, label: &'static str, none: bool, here: &str) -> AnyView {
    if !none {
        return view! { <PasswordField form=form name="password" label=label /> }.erase();
    }
    let again = paths::sign_in_again_then(here);
    view! {
        <p class="hint">
            "Your account has no password. A log-in of the last five minutes stands in for it: "
            <a href=again rel="external">"log in again with SSO"</a> "."
        </p>
    }
    .erase()
}

/// Six digits that are not shown.
pub(super) fn pin_input(
    form: FormCore,
    name: &'static str,
    label: &'static str,
    hint: &'static str,
) -> AnyView {
    view! {
        <TextField
            form=form
            name=name
            label=label
            hint=hint
            kind="password"
            inputmode="numeric"
            max=6
            mono=true
        />
    }
    .erase()
}

/// The button that switches the thing off rather than deleting it.
pub(super) fn disable_instead(form: FormCore, name: &str, id: String) -> AnyView {
    view! {
        <ButtonForm form=form label="Disable instead" name=format!("Disable instead: {name}")>
            <input type="hidden" name="id" value=id />
            <input type="hidden" name="enabled" value="false" />
        </ButtonForm>
    }
    .erase()
}
