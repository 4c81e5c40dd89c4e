//! The rules of Gatehouse: accounts, organisations, connectors, API keys, OAuth clients and connections, and the audit
//! event of every change.
//!
//! Owns: who may do what ([`authz`]), how a change becomes lasting ([`change`]), every secret's form at rest ([`sealer`],
//! [`password`], [`key_format`], [`signing`], [`tokens`]), the only outbound HTTP client ([`net`]) and the MCP wire that both sides of the gateway
//! share ([`mcp`]), and which tokens of others are good ([`idp`]); what becomes of
//! clients on their way to a connection ([`doctor`]); how connectors authenticate to their servers ([`upstream_oauth`]); how events reach webhooks ([`webhooks`]); which host names are whose ([`custom_domain`]). Must not know: pages, routes, cookies or SQL. Time and randomness come in through [`Env`].

pub mod accounts;
pub mod allowlist;
pub mod api_keys;
pub mod audit;
pub mod authz;
pub mod change;
pub mod connections;
pub mod connectors;
pub mod custom_domain;
pub mod dataplane;
pub mod deletion;
pub mod doctor;
pub mod env;
pub mod error;
pub mod exports;
pub mod idp;
pub mod install;
pub mod invitations;
pub mod key_format;
pub mod live;
pub mod mail;
pub mod mcp;
pub mod mfa;
pub mod net;
mod notices;
pub mod oauth;
pub mod oauth_clients;
pub mod one_time;
pub mod org_deletion;
pub mod org_security;
pub mod orgs;
pub mod own_account;
pub mod passkeys;
pub mod password;
pub mod pin;
pub mod plans;
pub mod playground;
mod records;
pub mod recovery;
pub mod refusals;
pub mod renaming;
pub mod request;
pub mod roles;
pub mod sealer;
pub mod sessions;
pub mod sign_up;
pub mod signing;
pub mod sso;
pub mod step_up;
pub mod suspension;
pub mod team;
#[cfg(feature = "testing")]
pub mod testing;
pub mod throttle;
pub mod tickets;
pub mod tokens;
pub mod trips;
pub mod trusted_browsers;
pub mod upstream_oauth;
pub mod usage;
pub mod webhooks;

/// The target of the lines in the log that nobody may lose, whatever level the operator asks for: links that are to be passed on
/// by hand, and where the chains of the audit log end (AUD-04).
pub const KEPT: &str = "gatehouse::kept";

pub use authz::OrgActor;
pub use env::{Clock, Env, Rng, Settings};
pub use error::{Error, Result, both};
