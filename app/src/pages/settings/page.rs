use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};

use crate::{components::PageHeader, page::page_for_me};

/// Settings.
pub struct SettingsPage;

#[lazy_route]
impl LazyRoute for SettingsPage {
    fn data() -> Self {
        Self
    }

    fn view(SettingsPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Settings" /> }.into_any())
    }
}
