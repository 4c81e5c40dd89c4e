use crate::erase::Erase as _;
use leptos::prelude::*;

use super::Icon;

/// Things that were looked at, in order. Children are [`CheckItem`]s.
#[component]
pub fn CheckList(
    /// The items.
    children: Children,
) -> impl IntoView {
    view! { <ol class="checks">{children()}</ol> }.erase()
}

/// One thing that was looked at: whether it is fine, and what was found.
#[component]
pub fn CheckItem(
    /// Whether it is fine.
    passed: bool,
    /// What was looked at.
    #[prop(into)]
    title: String,
    /// What was found.
    #[prop(into)]
    detail: String,
    /// What to do about it; may be empty.
    #[prop(optional, into)]
    fix: String,
) -> impl IntoView {
    let (icon, word, tone) =
        if passed { ("circle-check", "Passed: ", "ok") } else { ("circle-x", "Failed: ", "bad") };
    let fix = (!fix.is_empty()).then(|| view! { <p>{fix}</p> }.erase());
    view! {
        <li data-tone=tone>
            <Icon name=icon />
            <div>
                <p class="check-title"><span class="visually-hidden">{word}</span> {title}</p>
                <p class="muted">{detail}</p>
                {fix}
            </div>
        </li>
    }
    .erase()
}
