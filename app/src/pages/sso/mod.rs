//! The organisation's own identity provider for its MCP endpoint.

pub mod api;
mod page;

pub use page::SsoPage;
