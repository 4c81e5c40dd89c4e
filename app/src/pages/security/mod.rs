//! How the organisation protects its accounts.

pub mod api;
mod page;

pub use page::SecurityPage;
