//! The stream beside the calls of a legacy session. Servers should ask on the stream of the call that they ask about; many
//! ask here instead, because their library does so unless it is told otherwise.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Agreed, Inner,
    incoming::{essence, read_all},
};
use crate::{
    mcp::{
        sse::Decoder,
        upstream::{
            UpstreamError,
            link::{Heard, Link, event},
        },
    },
    net::{BodyStream, NetError},
};

/// How long a session waits for the stream before its first call: a server without one says so at once.
const OPENING: Duration = Duration::from_secs(2);
/// How long to wait before a stream that has ended is opened again, unless the server says so.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What reads the stream of a session; ends when dropped.
#[derive(Debug)]
pub(in super::super) struct Side {
    link: Arc<Link>,
    reader: JoinHandle<()>,
}

impl Drop for Side {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Side {
    /// The calls of the session that are under way.
    pub(in super::super) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Inner {
    /// Opens the stream of a session; nothing when the server has none.
    pub(super) async fn open_side(self: &Arc<Self>, agreed: &Agreed) -> Option<Side> {
        let request = self.stream_request(agreed);
        let body = timeout(OPENING, self.side_body(&request)).await.ok()??;
        let link = Arc::<Link>::default();
        // It must not keep the client that keeps it.
        let reader = tokio::spawn(read(Arc::downgrade(self), Arc::clone(&link), request, body));
        Some(Side { link, reader })
    }

    async fn side_body(&self, request: &http::Request<Bytes>) -> Option<BodyStream> {
        let response = self.way().send(request.clone()).await.ok()?;
        let opened = response.status().is_success() && essence(response.headers()) == "text/event-stream";
        opened.then(|| response.into_body())
    }
}

/// Takes what comes to the calls of the session, for as long as the server gives a stream.
async fn read(upstream: Weak<Inner>, link: Arc<Link>, request: http::Request<Bytes>, mut body: BodyStream) {
    loop {
        let Some(most) = upstream.upgrade().map(|upstream| upstream.settings.max_bytes) else { return };
        let mut decoder = Decoder::new(most);
        loop {
            match decoder.take() {
                Ok(Some(event)) if event.kind.is_none() && !event.data.is_empty() => {
                    if let Heard::Reply(reply) = link.hear(event.data) {
                        answer(&upstream, &request, reply);
                    }
                    continue;
                }
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(_) => return,
            }
            match body.next().await {
                Some(Ok(chunk)) => decoder.push(&chunk),
                _ => break,
            }
        }
        sleep(decoder.retry().unwrap_or(PAUSE).min(LONGEST_PAUSE)).await;
        let Some(upstream) = upstream.upgrade() else { return };
        match upstream.side_body(&request).await {
            Some(again) => body = again,
            None => return,
        }
    }
}

/// Answers a question that is nobody's.
fn answer(upstream: &Weak<Inner>, like: &http::Request<Bytes>, reply: String) {
    let Some(upstream) = upstream.upgrade() else { return };
    let mut request = upstream.post(None, "", None, reply);
    for name in [super::SESSION_ID, super::outgoing::PROTOCOL_VERSION] {
        if let Some(value) = like.headers().get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    tokio::spawn(async move {
        let _ = timeout(super::SIDE_REQUEST, upstream.way().send(request)).await;
    });
}

/// The body of an answer whose head has not come yet, because the server asks something first.
pub(super) fn late(
    head: BoxFuture<'static, Result<http::Response<BodyStream>, UpstreamError>>,
    max_bytes: usize,
) -> BodyStream {
    let body = async move {
        let response = head.await.map_err(|error| match error {
            UpstreamError::Net(error) => error,
            _ => NetError::BadResponse,
        })?;
        if !response.status().is_success() {
            return Err(NetError::BadResponse);
        }
        if essence(response.headers()) == "text/event-stream" {
            return Ok(response.into_body());
        }
        let whole = read_all(response.into_body(), max_bytes).await?;
        Ok(stream::once(async move { Ok(event(&whole)) }).boxed())
    };
    stream::once(body).try_flatten().boxed()
}
