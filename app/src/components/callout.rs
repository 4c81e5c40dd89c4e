use crate::erase::Erase as _;
use leptos::prelude::*;

use super::{Icon, Tone};

/// A band that says something before one acts: neutral, worth knowing, a warning, a failure.
#[component]
pub fn Callout(
    /// What it means.
    #[prop(default = Tone::Info)]
    tone: Tone,
    /// The one thing it says; may be empty.
    #[prop(optional, into)]
    title: String,
    /// More about it.
    children: Children,
) -> impl IntoView {
    let icon = match tone {
        Tone::Ok => "circle-check",
        Tone::Warn => "triangle-alert",
        Tone::Bad => "circle-alert",
        Tone::Neutral | Tone::Info => "info",
    };
    let title = (!title.is_empty()).then(|| view! { <strong>{title}</strong> }.erase());
    view! {
        <div class="callout" data-tone=tone.as_str()>
            <Icon name=icon />
            <div>{title} {children()}</div>
        </div>
    }
    .erase()
}
