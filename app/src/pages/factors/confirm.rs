//! The question who is there, in front of what needs a fresh proof.

use leptos::prelude::*;
use model::factors::{PasskeyPurpose, SecondStep};

use super::api::ConfirmIdentity;
use crate::{
    components::{Card, SubmitButton, TextField, passkey_button},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm},
    pages::deletion::your_password,
};

/// Asks for the password, or the second factor where there is one, and leads back to `next`.
pub(crate) fn confirm_you(form: Form<ConfirmIdentity>, next: &str, ways: SecondStep) -> AnyView {
    let passkey = ways.passkey.then(|| passkey_button(PasskeyPurpose::Confirm, "Confirm with a passkey"));
    let hint = if ways.app {
        "From your authenticator app, in place of the password."
    } else {
        "One of your backup codes, in place of the password."
    };
    let code = ways.any().then(|| {
        view! {
            <TextField
                form=form
                name="code"
                label="Or a code"
                hint=hint
                autocomplete="one-time-code"
                inputmode="numeric"
                mono=true
            />
        }
        .erase()
    });
    let (next, again) = (next.to_owned(), next.to_owned());
    view! {
        <Card
            title="Confirm that it is you"
            about="What can be changed here would help somebody who found your browser open. The proof counts for five minutes."
        >
            <PostForm form=form>
                <ErrorSummary form=form />
                <input type="hidden" name="next" value=next />
                {your_password(form.into(), "Password", ways.no_password, &again)}
                {code}
                <SubmitButton form=form label="Confirm" busy="Confirming…" />
                {passkey}
            </PostForm>
        </Card>
    }
    .erase()
}
