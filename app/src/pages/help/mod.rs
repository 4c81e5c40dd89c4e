//! Built-in help. It is there for everybody, signed in or not.

mod page;

pub use page::{AuthenticationHelpPage, QuickstartPage};
