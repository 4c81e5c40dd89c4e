//! The passkeys of the signed-in person.

pub mod api;
mod page;

pub use page::PasskeysPage;
