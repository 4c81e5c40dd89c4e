//! How the signed-in person proves who they are beside their password: second factor and PIN.

pub mod api;
mod confirm;
mod page;
mod pin;
mod two_factor;

pub(crate) use confirm::confirm_you;
pub use page::FactorsPage;
pub(crate) use two_factor::backup_codes;
