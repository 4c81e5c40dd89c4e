use crate::erase::Erase as _;
use leptos::prelude::*;

use crate::state::SiteAssets;

/// An icon of the sprite, by its Lucide name. It is always beside words, or inside something that has a name.
#[component]
pub fn Icon(
    /// Such as `key-round`.
    name: &'static str,
) -> impl IntoView {
    let base = use_context::<SiteAssets>().map(|assets| assets.base).unwrap_or_default();
    view! {
        <svg class="icon" aria-hidden="true">
            <use_ href=format!("{base}/icons.svg#{name}") />
        </svg>
    }
    .erase()
}
