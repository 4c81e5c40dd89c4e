//! The audit log: who did what, when, from where, and what changed.

pub mod api;
mod detail;
mod list;
mod stream;
mod words;

pub use detail::AuditEventPage;
pub use list::AuditPage;
pub use stream::AuditStreamPage;
