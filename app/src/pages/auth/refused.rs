use crate::erase::Erase as _;
use leptos::prelude::*;

use crate::{components::request_id, form::FormCore};

/// Above a log-in that failed. It is about the form as a whole: which of the fields was wrong is not told (PWD-05).
#[component]
pub fn Refused(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// What did not happen: "Not logged in".
    title: &'static str,
) -> impl IntoView {
    let node = NodeRef::<leptos::html::Div>::new();
    let error = form.error();
    // Not at first: then `autofocus` has done it, and the reader may already be elsewhere.
    Effect::new(move |again: Option<()>| {
        let failed = error.with(Option::is_some);
        if again.is_some()
            && failed
            && let Some(node) = node.get()
        {
            _ = node.focus();
        }
    });
    let summary = move || {
        error.get().map(|error| {
            let id = request_id(&error);
            view! {
                <div class="error-summary" role="alert" tabindex="-1" autofocus node_ref=node>
                    <h2>{title}</h2>
                    <p>{error.message}</p>
                    {id}
                </div>
            }
            .erase()
        })
    };
    summary.into_any()
}
