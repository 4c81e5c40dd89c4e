//! The binary `gatehouse`: configuration, the command line, and the assembly of everything else into one HTTP server.
//!
//! Owns: settings and where they come from, the accept loop, middleware (who asks, from where, with which cookie),
//! sessions in cookies, background jobs, start and stop. Must not know: rules. What a person may do and what a change
//! means is decided in `domain`; what a page looks like in `app`; what an agent gets in `gateway`.

pub mod accept;
pub mod admin;
pub mod audit_export;
pub mod cli;
pub mod config;
pub mod csp_reports;
pub mod export_file;
pub mod exports;
pub mod file_form;
pub mod front;
pub mod jobs;
pub mod keys;
pub mod metrics;
pub mod middleware;
pub mod operate;
pub mod refresh;
pub mod routes;
pub mod serve;
pub mod session;
pub mod signing_keys;
pub mod site;
pub mod usage;
pub mod verify_audit;
pub mod watch;
pub mod webhooks;
