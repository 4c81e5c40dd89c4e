//! MCP connections: of the organisation, and of the signed-in person.

mod alerts;
pub mod api;
mod ask;
mod how_to;
mod list;
mod own;

pub use ask::AskConnectionPage;
pub use how_to::HowToConnectPage;
pub use list::ConnectionsPage;
pub use own::OwnConnectionsPage;
