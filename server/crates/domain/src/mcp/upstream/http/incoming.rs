//! Telling answers from everything else.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use super::{Agreed, Era, Failure, Inner};
use crate::{
    mcp::{
        asks::Asks,
        code,
        exchange::BodyStream,
        sse::Decoder,
        upstream::{
            Answer, Patience, Reply, UpstreamError,
            stream::{CallStream, Cancel},
        },
    },
    net::NetError,
    upstream_oauth::NotAuthorized,
};

/// How much of an error's body is read; it is looked into, never shown.
pub(super) const ERROR_BODY: usize = 64 << 10;

pub(in super::super) fn essence(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads a body to its end, at most `cap` bytes. `length` is what it says of itself.
async fn read(
    mut body: BodyStream,
    cap: usize,
    length: Option<usize>,
    deadline: Instant,
    total: Duration,
) -> Result<Bytes, UpstreamError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let chunk = timeout_at(deadline, body.next()).await.map_err(|_| UpstreamError::Timeout(total))?;
        let Some(chunk) = chunk else { break };
        let chunk = chunk?;
        if first.len() + all.len() + chunk.len() > cap {
            return Err(UpstreamError::TooLarge(cap));
        }
        // Most answers are one chunk, which is then not copied.
        if first.is_empty() && all.is_empty() {
            first = chunk;
        } else {
            if all.is_empty() {
                // Once, so that a large answer is not copied again and again while it grows.
                all.reserve(length.unwrap_or(0).clamp(first.len() + chunk.len(), cap));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&chunk);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads a body to its end. Whoever asks has a patience of its own.
pub(super) async fn read_all(mut body: BodyStream, cap: usize) -> Result<Bytes, NetError> {
    let mut all = BytesMut::new();
    while let Some(chunk) = body.next().await {
        all.extend_from_slice(&chunk?);
        if all.len() > cap {
            return Err(NetError::BadResponse);
        }
    }
    Ok(all.freeze())
}

impl Inner {
    /// A call that is answered with this stream.
    pub(in crate::mcp::upstream) fn stream(
        self: &Arc<Self>,
        agreed: Option<&Arc<Agreed>>,
        id: u64,
        patience: Patience,
        body: BodyStream,
    ) -> CallStream {
        let now = Instant::now();
        CallStream {
            upstream: Arc::clone(self),
            agreed: agreed.cloned(),
            body,
            decoder: Decoder::new(self.settings.max_bytes),
            patience,
            deadline: now + patience.total,
            last: now + patience.longest,
            id: id.to_string(),
            progress: None,
            level: None,
            asked: 0,
            asks: Asks::NONE,
            completions: false,
            listening: false,
            open: None,
            cancel: Cancel::default(),
            broken: None,
            side: None,
            early: None,
            ticket: None,
        }
    }

    pub(super) async fn receive(
        self: &Arc<Self>,
        response: http::Response<BodyStream>,
        agreed: Option<&Arc<Agreed>>,
        id: u64,
        patience: Patience,
    ) -> Result<Reply, Failure> {
        let now = Instant::now();
        let deadline = now + patience.total;
        let (mut head, body) = response.into_parts();
        if let Some(why) = head.extensions.remove::<NotAuthorized>() {
            return Err(UpstreamError::NotAuthorized(why).into());
        }
        if let Some(why) = head.extensions.remove::<UpstreamError>() {
            return Err(why.into());
        }
        let status = head.status;
        if status.is_redirection() {
            return Err(UpstreamError::Redirect.into());
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let oauth = head
                    .headers
                    .get_all(header::WWW_AUTHENTICATE)
                    .iter()
                    .any(|v| mentions(v.as_bytes(), b"resource_metadata"));
                return Err(UpstreamError::NeedsAuth { status: status.as_u16(), oauth }.into());
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let wait =
                    head.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
                return Err(UpstreamError::Busy { retry_after: wait }.into());
            }
            _ => {}
        }
        let session = agreed.and_then(|agreed| agreed.session.as_ref());
        if let Some(session) = session
            && status == StatusCode::NOT_FOUND
        {
            session.is_gone();
            return Err(Failure::Stale(UpstreamError::Protocol("it forgets its sessions at once")));
        }
        if head.headers.get(header::CONTENT_ENCODING).is_some_and(|v| v != "identity") {
            return Err(UpstreamError::Protocol("it compresses although it was asked not to").into());
        }
        let kind = essence(&head.headers);
        if kind == "text/event-stream" && status.is_success() {
            return Ok(Reply::Stream(Box::new(self.stream(agreed, id, patience, body))));
        }
        let cap = if status.is_success() { self.settings.max_bytes } else { ERROR_BODY };
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if status.is_success() && length.is_some_and(|length| length > cap) {
            return Err(UpstreamError::TooLarge(cap).into());
        }
        let is_json = kind == "application/json" || kind.ends_with("+json");
        let not_mcp = || match status.as_u16() {
            _ if kind == "text/html" => UpstreamError::WebPage,
            500.. => UpstreamError::Failed(status.as_u16()),
            202 | 204 => UpstreamError::Protocol("it gave no answer to a request"),
            other => UpstreamError::NotMcp(other),
        };
        if status.is_success() && !is_json {
            return Err(not_mcp().into());
        }
        let body = match read(body, cap, length, deadline, patience.total).await {
            Ok(body) => body,
            Err(error) if status.is_success() => return Err(error.into()),
            Err(_) => return Err(not_mcp().into()),
        };
        let answer = Answer::read(&body, &id.to_string());
        if let Some(session) = session
            && status == StatusCode::BAD_REQUEST
            && mentions(&body, b"session")
        {
            session.is_gone();
            // Many servers say 400 where the specification says 404.
            return Err(Failure::Stale(UpstreamError::Protocol("it forgets its sessions at once")));
        }
        // The server may have been exchanged for one of the other era. It has refused, so nothing was done.
        let exchanged = match agreed.map(|agreed| agreed.era) {
            Some(Era::Legacy) => answer
                .as_ref()
                .is_some_and(|a| matches!(a.error, Some(code::UNSUPPORTED_VERSION | code::HEADER_MISMATCH))),

            Some(Era::Modern) => {
                status.is_client_error() && (answer.is_none() || mentions(&body, b"initialize"))
            }
            None => false,
        };
        if exchanged {
            return Err(Failure::Stale(UpstreamError::UnsupportedVersion));
        }
        if let Some(agreed) = agreed
            && status == StatusCode::BAD_REQUEST
            && (agreed.era == Era::Legacy
                || !answer.as_ref().is_some_and(|a| matches!(a.error, Some(-32022..=-32020 | -32602))))
        {
            // Perhaps as well; but it might have done something, so only the next request begins anew.
            self.forget(agreed);
        }
        match answer {
            Some(answer) => Ok(Reply::Answer(answer)),
            None if is_json && status.is_success() => {
                Err(UpstreamError::Protocol("its answer is no JSON-RPC response to the request").into())
            }
            None => Err(not_mcp().into()),
        }
    }
}

/// Whether a body has a word, in either case.
fn mentions(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
}
