//! The request log: its list, one request, and what is kept.

pub mod api;
mod detail;
mod list;
mod parts;
mod settings;

pub use detail::ActivityEntryPage;
pub use list::ActivityPage;
pub use settings::ActivitySettingsPage;
