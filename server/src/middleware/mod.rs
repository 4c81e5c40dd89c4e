//! What happens to a request before anybody answers it.

pub mod body;
pub mod client;
pub mod context;
pub mod csrf;
pub mod headers;
pub mod limits;
pub mod problem;
