use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};

use crate::components::PageHeader;

/// Log in.
pub struct SignInPage;

#[lazy_route]
impl LazyRoute for SignInPage {
    fn data() -> Self {
        Self
    }

    fn view(SignInPage: Self) -> AnyView {
        view! { <PageHeader title="Log in" /> }.into_any()
    }
}

/// Set up Gatehouse.
pub struct SetupPage;

#[lazy_route]
impl LazyRoute for SetupPage {
    fn data() -> Self {
        Self
    }

    fn view(SetupPage: Self) -> AnyView {
        view! { <PageHeader title="Set up Gatehouse" /> }.into_any()
    }
}

/// New organisation.
pub struct NewOrgPage;

#[lazy_route]
impl LazyRoute for NewOrgPage {
    fn data() -> Self {
        Self
    }

    fn view(NewOrgPage: Self) -> AnyView {
        view! { <PageHeader title="New organisation" /> }.into_any()
    }
}
