//! The upstream MCP servers of an organisation.

pub mod api;
pub mod api_credentials;
mod credentials;
mod delete;
mod detail;
mod edit;
mod health;
mod list;
mod local;
mod new;
mod own;
mod parts;
mod tool;
mod tools;

pub use credentials::CredentialsPage;
pub use delete::DeleteConnectorPage;
pub use detail::ConnectorPage;
pub use edit::EditConnectorPage;
pub use list::ConnectorsPage;
pub use new::NewConnectorPage;
pub use own::OwnAuthorizationsPage;
pub use tool::ToolPage;
