//! Documents of a provider, fetched with narrow limits (IDP-04): one answer of 200, without redirects, in five seconds.

use core::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::{
    Env,
    net::{Blocked, NetError},
};

/// How long a document may take, from the name to its last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document, bytes.
const LARGEST: usize = 256 << 10;

/// Why there is no document. `Display` is a sentence that may be shown to a tenant (SSR-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// The way there failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Another answer than 200.
    #[error("The server answered, but not with 200 and a document. Redirects are not followed.")]
    Status,
    /// More than is read.
    #[error("The document is larger than 256 KiB.")]
    TooLarge,
    /// Not what was asked for.
    #[error("The answer is not the JSON document that was expected.")]
    Content,
}

impl FetchError {
    /// Whether Gatehouse refuses to go there at all.
    pub(crate) fn is_blocked(self) -> bool {
        matches!(self, Self::Net(NetError::Blocked(_)))
    }
}

/// A document that is a JSON object, and the headers it came with.
pub(crate) async fn object(env: &Env, url: &str) -> Result<(HeaderMap, Map<String, Value>), FetchError> {
    let request = http::Request::get(url)
        .header(header::ACCEPT, "application/json, application/jwk-set+json")
        .body(Bytes::new())
        .map_err(|_| NetError::Blocked(Blocked::Host))?;
    tokio::time::timeout(PATIENCE, read(env, request)).await.unwrap_or(Err(NetError::Timeout.into()))
}

async fn read(
    env: &Env,
    request: http::Request<Bytes>,
) -> Result<(HeaderMap, Map<String, Value>), FetchError> {
    let (head, mut body) = env.outbound.send(request).await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(FetchError::Status);
    }
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() > LARGEST {
            return Err(FetchError::TooLarge);
        }
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok((head.headers, object)),
        _ => Err(FetchError::Content),
    }
}
