//! Exports of the organisation's data, and importing connectors from one.

pub mod api;
mod import;
mod page;

pub use page::ExportsPage;
