use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};

use crate::components::PageHeader;

/// Authentication.
pub struct AuthenticationHelpPage;

#[lazy_route]
impl LazyRoute for AuthenticationHelpPage {
    fn data() -> Self {
        Self
    }

    fn view(AuthenticationHelpPage: Self) -> AnyView {
        view! { <PageHeader title="Authentication" /> }.into_any()
    }
}

/// Quickstart.
pub struct QuickstartPage;

#[lazy_route]
impl LazyRoute for QuickstartPage {
    fn data() -> Self {
        Self
    }

    fn view(QuickstartPage: Self) -> AnyView {
        view! { <PageHeader title="Quickstart" /> }.into_any()
    }
}
