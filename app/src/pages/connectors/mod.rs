//! The upstream MCP servers of an organisation.

pub mod api;
mod page;

pub use page::{ConnectorPage, ConnectorsPage, DeleteConnectorPage, EditConnectorPage, NewConnectorPage};
