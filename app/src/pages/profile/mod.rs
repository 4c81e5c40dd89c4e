//! The signed-in person.

mod account;
pub mod account_api;
pub mod api;
mod device;
mod page;

pub use account::AccountPage;
pub use page::{ProfilePage, SessionsPage};
