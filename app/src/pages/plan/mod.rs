//! The plan of an organisation: what it gives, what is used of it, and changing it.

pub mod api;
mod page;

pub use page::PlanPage;
