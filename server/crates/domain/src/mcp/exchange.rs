//! One HTTP request to an upstream server: the seam between the protocol and the network.
//!
//! The only implementation outside tests is the egress-guarded client, so nothing of the protocol can reach an address
//! that is not allowed (SSR-01).

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::net::Outbound;
pub use crate::net::{BodyStream, NetError};

/// Sends one HTTP request.
pub trait Exchange: Send + Sync + 'static {
    /// Sends `request` and returns when the answer's head is there. It follows no redirects and sends no cookies.
    ///
    /// Dropping the future or the body ends the request on the wire.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>>;
}

impl Exchange for Outbound {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>> {
        Box::pin(Self::send(self, request))
    }
}
