//! The page that asks whether a client may have access.

pub mod api;
mod page;

pub use page::ConsentPage;
