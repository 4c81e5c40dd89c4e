//! How the organisation protects its accounts.

mod allowlist;
pub mod api;
mod asked;
mod page;

pub use allowlist::AllowlistPage;
pub use page::SecurityPage;
