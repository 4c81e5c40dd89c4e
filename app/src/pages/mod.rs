//! One folder per area: `api.rs` has its server functions, `page.rs` its pages.

pub mod activity;
pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod connections;
pub mod connectors;
pub mod consent;
pub mod custom_domain;
mod deletion;
pub mod doctor;
#[cfg(test)]
mod events;
pub mod exports;
pub mod factors;
pub mod gallery;
pub mod help;
pub mod oauth_clients;
pub mod overview;
pub mod passkeys;
pub mod plan;
pub mod playground;
pub mod profile;
pub mod security;
pub mod settings;
pub mod sso;
pub mod team;
pub mod webhooks;
