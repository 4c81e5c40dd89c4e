//! The component gallery, for development only.

use leptos::prelude::*;

/// The gallery, or what any unknown address shows.
pub(crate) fn view() -> AnyView {
    view! { <crate::components::NotFound /> }.into_any()
}
