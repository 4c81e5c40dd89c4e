//! The people of the organisation: members, their roles, and what each role may do.

pub mod api;
mod invitations;
pub mod invitations_api;
mod list;
mod remove;
mod rights;
mod role;
pub mod roles_api;

pub use invitations::InvitationsPage;
pub use list::TeamPage;
pub use remove::RemoveMemberPage;
pub use rights::RolesPage;
pub use role::RolePage;
