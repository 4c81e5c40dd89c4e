//! The organisation's own identity providers: for its MCP endpoint, and for logging in to the dashboard.

pub mod api;
mod login;
pub mod login_api;
mod page;

pub use login::SsoLoginPage;
pub use page::SsoPage;
