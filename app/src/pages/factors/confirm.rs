//! The question who is there, in front of what needs a fresh proof.

use leptos::prelude::*;

use super::api::ConfirmIdentity;
use crate::{
    components::{Card, PasswordField, SubmitButton, TextField},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm},
};

/// Asks for the password, or a code where there is a second factor, and leads back to `next`.
pub(crate) fn confirm_you(form: Form<ConfirmIdentity>, next: &str, second_factor: bool) -> AnyView {
    let code = second_factor.then(|| {
        view! {
            <TextField
                form=form
                name="code"
                label="Or a code"
                hint="From your authenticator app, in place of the password."
                autocomplete="one-time-code"
                inputmode="numeric"
                mono=true
            />
        }
        .erase()
    });
    let next = next.to_owned();
    view! {
        <Card
            title="Confirm that it is you"
            about="What can be changed here would help somebody who found your browser open. The proof counts for five minutes."
        >
            <PostForm form=form>
                <ErrorSummary form=form />
                <input type="hidden" name="next" value=next />
                <PasswordField form=form name="password" label="Password" />
                {code}
                <SubmitButton form=form label="Confirm" busy="Confirming…" />
            </PostForm>
        </Card>
    }
    .erase()
}
