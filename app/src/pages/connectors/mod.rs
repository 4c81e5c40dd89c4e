//! The upstream MCP servers of an organisation.

pub mod api;
mod delete;
mod detail;
mod edit;
mod health;
mod list;
mod new;
mod parts;
mod tools;

pub use delete::DeleteConnectorPage;
pub use detail::ConnectorPage;
pub use edit::EditConnectorPage;
pub use list::ConnectorsPage;
pub use new::NewConnectorPage;
