//! API keys and the agent helper.

pub mod api;
mod card;
mod delete;
mod edit;
mod fields;
mod helper;
mod list;
mod methods;
mod new;
mod settings;

pub use edit::ApiKeyPage;
pub use helper::ConnectAgentPage;
pub use list::ApiKeysPage;
pub(crate) use methods::{also_at, oauth_way};
pub use new::NewApiKeyPage;
