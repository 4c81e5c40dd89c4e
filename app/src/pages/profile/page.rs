use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};

use crate::{components::PageHeader, page::page_for_me};

/// Profile.
pub struct ProfilePage;

#[lazy_route]
impl LazyRoute for ProfilePage {
    fn data() -> Self {
        Self
    }

    fn view(ProfilePage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Profile" /> }.into_any())
    }
}

/// Sessions.
pub struct SessionsPage;

#[lazy_route]
impl LazyRoute for SessionsPage {
    fn data() -> Self {
        Self
    }

    fn view(SessionsPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Sessions" /> }.into_any())
    }
}
