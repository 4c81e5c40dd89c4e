use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};

use crate::{components::PageHeader, page::page_for_me};

/// Overview.
pub struct OverviewPage;

#[lazy_route]
impl LazyRoute for OverviewPage {
    fn data() -> Self {
        Self
    }

    fn view(OverviewPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Overview" /> }.into_any())
    }
}
