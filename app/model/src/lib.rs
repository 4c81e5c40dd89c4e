//! The words of Gatehouse: ids, slugs, roles and permissions, plans, paths, the DTOs that pages and server functions
//! exchange, and the one error a person meets.
//!
//! Owns: the shape and the validity of values. Must not know: databases, HTTP, time, randomness or any I/O. It compiles
//! to wasm and stays small there, so it imports serde and uuid only (and `server_fn`'s error trait, which has to be
//! implemented beside the type).

#[macro_use]
mod words;

pub mod activity;
pub mod allowlist;
pub mod api_keys;
pub mod audit;
pub mod audit_stream;
pub mod connectors;
pub mod cookies;
pub mod credentials;
pub mod custom_domain;
pub mod doctor;
pub mod egress;
pub mod error;
pub mod exports;
pub mod factors;
pub mod ids;
pub mod links;
pub mod oauth;
pub mod orgs;
pub mod paths;
pub mod permissions;
pub mod plan;
pub mod playground;
pub mod roles;
pub mod scope;
pub mod slug;
pub mod sso;
pub mod sso_login;
pub mod team;
pub mod text;
pub mod webhooks;

pub use error::{AppError, ErrorKind, FieldError};
pub use ids::{
    ApiKeyId, AuditEventId, AuthorizationId, ClientSecretId, ConnectEventId, ConnectionId, ConnectionKeyId,
    ConnectorId, ExportId, GrantId, IdentityProviderId, InvitationId, LogEntryId, MailId, OrgId, OutboxId,
    PasskeyId, RoleId, SessionId, SsoDomainId, TrustedBrowserId, UserId, WebhookId,
};
pub use permissions::{Permission, Role};
pub use plan::{Limits, Plan};
pub use roles::{MemberRole, Rights, RoleKey};
pub use scope::{InvalidScope, Scope};
pub use slug::{ConnectorSlug, OrgSlug};
