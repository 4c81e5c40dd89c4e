//! Log in, set up, one-time links, and a new organisation.

pub mod api;
mod ask;
mod link;
pub mod links_api;
mod org_fields;
mod other_org;
mod page;
mod refused;
mod sso;

#[cfg(feature = "ssr")]
pub(crate) use api::server::check_form;
pub use ask::AskPage;
pub use link::LinkPage;
pub(crate) use other_org::other_org;
pub use page::{NewOrgPage, SetupPage, SignInPage};
pub(crate) use sso::leaving;
