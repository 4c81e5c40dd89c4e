//! The signed-in person.

pub mod api;
mod page;

pub use page::{ProfilePage, SessionsPage};
