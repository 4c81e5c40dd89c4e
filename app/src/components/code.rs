use crate::erase::Erase as _;
use leptos::prelude::*;

use super::{Icon, some};

/// Copies a text. Without scripts it is not there; "Copied" is also said to screen readers.
#[component]
pub fn CopyButton(
    /// What is copied.
    #[prop(into)]
    text: String,
    /// With its object: "Copy endpoint URL".
    #[prop(into)]
    name: String,
    /// The word beside the icon; none for an icon alone.
    #[prop(optional, into)]
    label: String,
) -> impl IntoView {
    let label = (!label.is_empty()).then(|| view! { <span data-word>{label}</span> }.erase());
    view! {
        <button class="button quiet copy" type="button" data-copy=text aria-label=name>
            <Icon name="copy" />
            {label}
        </button>
    }
    .erase()
}

/// A value to copy: a URL, an id, a key. `shown` masks what is copied.
#[component]
pub fn CopyField(
    /// What it is, for screen readers: "endpoint URL".
    #[prop(into)]
    label: String,
    /// What is copied.
    #[prop(into)]
    text: String,
    /// What is shown, if not the same.
    #[prop(optional, into)]
    shown: String,
) -> impl IntoView {
    let shown = some(shown).unwrap_or_else(|| text.clone());
    view! {
        <div class="copy-field">
            <code tabindex="0" aria-label=label.clone()>{shown}</code>
            <CopyButton text=text name=format!("Copy {label}") />
        </div>
    }
    .erase()
}

/// A block of code with a copy button. `shown` masks what is copied.
#[component]
pub fn CodeBlock(
    /// What it is: "Terminal (bash)".
    #[prop(into)]
    label: String,
    /// What is copied.
    #[prop(into)]
    text: String,
    /// What is shown, if not the same.
    #[prop(optional, into)]
    shown: String,
) -> impl IntoView {
    let shown = some(shown).unwrap_or_else(|| text.clone());
    let name = format!("Copy: {label}");
    view! {
        <figure class="code-block">
            <figcaption>
                <span>{label.clone()}</span>
                <CopyButton text=text name=name label="Copy" />
            </figcaption>
            <pre tabindex="0" role="region" aria-label=label>
                <code>{shown}</code>
            </pre>
        </figure>
    }
    .erase()
}
