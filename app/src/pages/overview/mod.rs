//! Where a signed-in person lands.

mod activity;
pub mod api;
mod page;

pub use page::OverviewPage;
