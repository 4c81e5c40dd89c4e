//! Rows in and out of `SQLite` or `PostgreSQL`.
//!
//! Owns: the connection, migrations, every SQL statement (written once, `$1` numbering), and the mapping of rows to the
//! types of `model`. Must not know: rules. Whether a change is allowed, what a role may do, what is written to the audit
//! log and when a secret is sealed are the business of `domain`. Nothing outside this crate names sqlx.
//!
//! Every statement about an organisation's rows takes its `OrgId`, so another tenant's row is *not found* (TEN-01, TEN-03).
//! Verbs come from a small set: `find` (`Option`), `get` (error if absent), `list`, `insert`, `update`, `delete`, `count`.

#[macro_use]
mod db;
mod error;

pub mod account_links;
pub mod allowlists;
pub mod api_keys;
pub mod audit;
pub mod audit_chain;
pub mod audit_streams;
pub mod connect_events;
pub mod connection_alerts;
pub mod connections;
pub mod connector_health;
pub mod connectors;
pub mod custom_domains;
pub mod erasures;
pub mod exports;
pub mod factors;
pub mod identity_providers;
pub mod instance_facts;
pub mod invitations;
pub mod mails;
pub mod maintenance;
pub mod members;
pub mod oauth_clients;
pub mod oauth_codes;
pub mod oauth_grants;
pub mod org_ends;
pub mod org_security;
pub mod orgs;
pub mod outbox;
pub mod passkeys;
pub mod request_log;
pub mod roles;
pub mod sessions;
pub mod setup_links;
pub mod sign_in_failures;
pub mod sign_in_steps;
pub mod signing_keys;
pub mod sso;
pub mod sso_domains;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trusted_browsers;
pub mod upstream_credentials;
pub mod usage;
pub mod usage_reports;
pub mod users;
pub mod webhook_deliveries;
pub mod webhooks;

pub use db::{Db, Kind, Tx};
pub use error::Error;

/// What every function here returns.
pub type Result<T> = core::result::Result<T, Error>;

/// Every statement with its name, for the test that prepares each of them on both databases.
pub const STATEMENTS: &[&[db::Statement]] = &[
    account_links::STATEMENTS,
    allowlists::STATEMENTS,
    api_keys::STATEMENTS,
    audit::STATEMENTS,
    audit_chain::STATEMENTS,
    audit_streams::STATEMENTS,
    connect_events::STATEMENTS,
    connection_alerts::STATEMENTS,
    connections::STATEMENTS,
    connector_health::STATEMENTS,
    connectors::STATEMENTS,
    custom_domains::STATEMENTS,
    exports::STATEMENTS,
    factors::STATEMENTS,
    identity_providers::STATEMENTS,
    erasures::STATEMENTS,
    instance_facts::STATEMENTS,
    invitations::STATEMENTS,
    mails::STATEMENTS,
    members::STATEMENTS,
    oauth_clients::STATEMENTS,
    oauth_codes::STATEMENTS,
    oauth_grants::STATEMENTS,
    org_ends::STATEMENTS,
    org_security::STATEMENTS,
    orgs::STATEMENTS,
    outbox::STATEMENTS,
    passkeys::STATEMENTS,
    request_log::STATEMENTS,
    request_log::BULK,
    roles::STATEMENTS,
    sessions::STATEMENTS,
    setup_links::STATEMENTS,
    sign_in_failures::STATEMENTS,
    sign_in_steps::STATEMENTS,
    signing_keys::STATEMENTS,
    sso::STATEMENTS,
    sso_domains::STATEMENTS,
    trusted_browsers::STATEMENTS,
    usage::STATEMENTS,
    usage_reports::STATEMENTS,
    upstream_credentials::STATEMENTS,
    users::STATEMENTS,
    webhooks::STATEMENTS,
    webhook_deliveries::STATEMENTS,
    webhook_deliveries::LOCKS,
];
