//! A session of the legacy era. Servers keep memory for each, so one that is needed no more is ended rather than left
//! behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri};
use tokio::time::timeout;

use super::{Inner, SESSION_ID, SIDE_REQUEST, outgoing::PROTOCOL_VERSION};
use crate::mcp::exchange::Exchange;

/// Ended when it is dropped: by whoever was the last to use it.
pub(super) struct ServerSession {
    id: HeaderValue,
    version: &'static str,
    gone: AtomicBool,
    exchange: Arc<dyn Exchange>,
    uri: Uri,
    headers: HeaderMap,
}

/// The id is a secret of the server.
impl core::fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ServerSession")
    }
}

impl ServerSession {
    pub(super) fn new(upstream: &Inner, id: HeaderValue, version: &'static str) -> Self {
        Self {
            id,
            version,
            gone: AtomicBool::new(false),
            exchange: upstream.way(),
            uri: upstream.uri.clone(),
            headers: upstream.headers.clone(),
        }
    }

    pub(super) fn id(&self) -> HeaderValue {
        self.id.clone()
    }

    /// The server does not know it any more: nothing is left to end.
    pub(super) fn is_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

impl Drop for ServerSession {
    fn drop(&mut self) {
        if self.gone.load(Ordering::Relaxed) {
            return;
        }
        // Without a runtime, as in a process that is going down, there is nobody to do it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut request = http::Request::new(Bytes::new());
        *request.method_mut() = Method::DELETE;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = std::mem::take(&mut self.headers);
        request.headers_mut().insert(PROTOCOL_VERSION, HeaderValue::from_static(self.version));
        request.headers_mut().insert(SESSION_ID, self.id.clone());
        let exchange = Arc::clone(&self.exchange);
        runtime.spawn(async move {
            // A server may refuse (405); it then ends the session by itself.
            let _ = timeout(SIDE_REQUEST.min(Duration::from_secs(5)), exchange.send(request)).await;
        });
    }
}
