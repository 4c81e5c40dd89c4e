//! Log in, set up, and a new organisation.

pub mod api;
mod org_fields;
mod page;
mod refused;

pub use page::{NewOrgPage, SetupPage, SignInPage};
