//! The organisation's own domain: entering it, its records, how it stands, giving it up.

pub mod api;
mod page;

pub use page::DomainPage;
