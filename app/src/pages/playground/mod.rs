//! Calling a tool from the dashboard.

pub mod api;
mod page;

pub use page::PlaygroundPage;
