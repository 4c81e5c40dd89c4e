//! General settings of an organisation.

pub mod api;
mod danger;
mod page;

pub use danger::DangerPage;
pub use page::SettingsPage;
