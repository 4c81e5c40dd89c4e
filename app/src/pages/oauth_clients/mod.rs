//! OAuth clients: made here, or registered by themselves.

pub mod api;
mod delete;
mod detail;
mod fields;
mod list;
mod new;

pub use detail::OauthClientPage;
pub use list::OauthClientsPage;
pub use new::NewOauthClientPage;
