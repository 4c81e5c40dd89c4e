//! The server as a whole: one binary of tests that mirrors the routes. Most ask the real router without a socket; those
//! with real clients and processes open sockets on 127.0.0.1 and close them.

mod allowlist;
mod audit;
mod audit_stream;
mod clients;
mod completeness;
mod completeness_cli;
mod csrf_and_headers;
mod custom_domains;
mod doctor;
mod documents;
mod exhaustion;
mod exports;
mod factors;
mod idp;
mod limits;
mod live;
mod local_servers;
mod mails;
mod mcp;
mod metrics;
mod nodes;
mod oauth;
mod passkeys;
mod people;
mod process;
mod roles;
mod sessions;
mod set_up;
mod stopping;
mod support;
mod tokens;
mod upstream_oauth;
mod upstream_pages;
mod usage;
mod webhooks;
