//! The one way out: an HTTP client that connects to public addresses, and to those that the operator has allowed
//! (SSR-01 to SSR-09). Upstreams, webhooks, key sets and metadata documents are all fetched through [`Outbound`].

mod allow;
mod dial;
mod fault;
mod guard;
mod outbound;

pub use allow::{EgressAllow, InvalidAllow};
pub use fault::{Ending, ProcessFault};
pub use guard::{Blocked, address_allowed, check_url};
pub use outbound::{BodyStream, NetError, Outbound, OutboundError, OutboundSettings};
