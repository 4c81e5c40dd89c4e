//! The signed-in person.

pub mod api;
mod device;
mod page;

pub use page::{ProfilePage, SessionsPage};
