use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};

use crate::{components::PageHeader, page::page_for_me};

/// Connectors.
pub struct ConnectorsPage;

#[lazy_route]
impl LazyRoute for ConnectorsPage {
    fn data() -> Self {
        Self
    }

    fn view(ConnectorsPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Connectors" /> }.into_any())
    }
}

/// Add a connector.
pub struct NewConnectorPage;

#[lazy_route]
impl LazyRoute for NewConnectorPage {
    fn data() -> Self {
        Self
    }

    fn view(NewConnectorPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Add a connector" /> }.into_any())
    }
}

/// Connector.
pub struct ConnectorPage;

#[lazy_route]
impl LazyRoute for ConnectorPage {
    fn data() -> Self {
        Self
    }

    fn view(ConnectorPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Connector" /> }.into_any())
    }
}

/// Edit connector.
pub struct EditConnectorPage;

#[lazy_route]
impl LazyRoute for EditConnectorPage {
    fn data() -> Self {
        Self
    }

    fn view(EditConnectorPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Edit connector" /> }.into_any())
    }
}

/// Delete connector.
pub struct DeleteConnectorPage;

#[lazy_route]
impl LazyRoute for DeleteConnectorPage {
    fn data() -> Self {
        Self
    }

    fn view(DeleteConnectorPage: Self) -> AnyView {
        page_for_me(|_me| view! { <PageHeader title="Delete connector" /> }.into_any())
    }
}
