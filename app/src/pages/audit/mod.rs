//! The audit log: who did what, when, from where, and what changed.

pub mod api;
mod detail;
mod list;
mod words;

pub use detail::AuditEventPage;
pub use list::AuditPage;
