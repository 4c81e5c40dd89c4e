//! Log in, set up, and a new organisation.

pub mod api;
mod org_fields;
mod other_org;
mod page;
mod refused;

pub(crate) use other_org::other_org;
pub use page::{NewOrgPage, SetupPage, SignInPage};
