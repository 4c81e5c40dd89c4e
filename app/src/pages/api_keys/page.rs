use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};

use crate::{components::PageHeader, page::page_for_me};

/// API keys.
pub struct ApiKeysPage;

#[lazy_route]
impl LazyRoute for ApiKeysPage {
    fn data() -> Self {
        Self
    }

    fn view(ApiKeysPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="API keys" /> }.into_any())
    }
}

/// Create API key.
pub struct NewApiKeyPage;

#[lazy_route]
impl LazyRoute for NewApiKeyPage {
    fn data() -> Self {
        Self
    }

    fn view(NewApiKeyPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Create API key" /> }.into_any())
    }
}

/// Connect to an AI agent.
pub struct ConnectAgentPage;

#[lazy_route]
impl LazyRoute for ConnectAgentPage {
    fn data() -> Self {
        Self
    }

    fn view(ConnectAgentPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Connect to an AI agent" /> }.into_any())
    }
}

/// Edit API key.
pub struct EditApiKeyPage;

#[lazy_route]
impl LazyRoute for EditApiKeyPage {
    fn data() -> Self {
        Self
    }

    fn view(EditApiKeyPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Edit API key" /> }.into_any())
    }
}

/// Delete API key.
pub struct DeleteApiKeyPage;

#[lazy_route]
impl LazyRoute for DeleteApiKeyPage {
    fn data() -> Self {
        Self
    }

    fn view(DeleteApiKeyPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Delete API key" /> }.into_any())
    }
}
