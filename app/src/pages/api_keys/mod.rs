//! API keys and the agent helper.

pub mod api;
mod page;

pub use page::{ApiKeysPage, ConnectAgentPage, DeleteApiKeyPage, EditApiKeyPage, NewApiKeyPage};
