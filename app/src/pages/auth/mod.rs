//! Log in, set up, and a new organisation.

pub mod api;
mod page;

pub use page::{NewOrgPage, SetupPage, SignInPage};
