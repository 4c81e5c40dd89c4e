//! Where a signed-in person lands.

pub mod api;
mod page;

pub use page::OverviewPage;
