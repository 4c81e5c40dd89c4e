//! General settings of an organisation.

pub mod api;
mod page;

pub use page::SettingsPage;
