//! The data plane as a client sees it, with an upstream server in the process. Names carry the numbers of the
//! requirements they prove.

mod auth;
mod bounds;
mod calls;
mod credentials;
mod endpoint;
mod eras;
mod events;
mod faults;
mod idp;
mod journal;
mod limits;
mod old_upstream;
mod rest;
mod sessions;
mod support;
mod tokens;
mod transport;
mod unruly;
mod upstream;
mod wire;
