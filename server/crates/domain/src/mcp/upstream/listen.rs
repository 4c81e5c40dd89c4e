//! The stream on which a server tells of changes: `subscriptions/listen` in the modern era, a GET in the legacy one.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::{
    Call, CallEvent, CallStream, HttpUpstream, Method, Reply, Session, UpstreamError,
    http::{Era, essence},
    stream::Cancel,
};
use crate::mcp::{asks::Asks, json, sse::Decoder};

/// What is to be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Changes of the list of tools.
    pub tools: bool,
    /// Changes of the list of prompts.
    pub prompts: bool,
    /// Changes of the list of resources.
    pub resources: bool,
    /// Changes of these resources, by URI upstream.
    pub uris: Vec<String>,
}

/// News of one server. It ends when dropped.
#[derive(Debug)]
pub struct Listener(Box<CallStream>);

impl Listener {
    /// The next notification, whole and as the server wrote it; nothing when the stream has ended in order. Cancel-safe.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            match self.0.next().await {
                Ok(CallEvent::Notification(message)) => return Ok(Some(message)),
                Ok(CallEvent::Answer(_)) | Err(UpstreamError::Protocol(_)) => return Ok(None),
                // Whom it is for cannot be told.
                Ok(CallEvent::Request(question)) => self.0.refuse(&question.id),
                Err(error) => return Err(error),
            }
        }
    }
}

impl HttpUpstream {
    pub(super) async fn listen(&self, wanted: &Wanted) -> Result<Option<Listener>, UpstreamError> {
        let agreed = self.0.connect(Session::default()).await?;
        if agreed.era == Era::Legacy {
            let listener = self.get(&agreed).await?;
            // Without a stream there is nobody to tell.
            if listener.is_some() {
                for uri in &wanted.uris {
                    let call = Call { method: Method::Subscribe, name: uri, ..Call::default() };
                    self.call(&call).await?.finish().await?;
                }
            }
            return Ok(listener);
        }
        let uris: Vec<_> = wanted.uris.iter().map(|uri| json::quoted(uri)).collect();
        let filter = format!(
            r#"{{"toolsListChanged":{},"promptsListChanged":{},"resourcesListChanged":{},"resourceSubscriptions":[{}]}}"#,
            wanted.tools,
            wanted.prompts,
            wanted.resources,
            uris.join(",")
        );
        let others = [("notifications", filter.as_str())];
        let call = Call { method: Method::Listen, others: &others, ..Call::default() };
        match self.call(&call).await? {
            // An error, as a rule that it does not know the method.
            Reply::Answer(_) => Ok(None),
            Reply::Stream(mut stream) => {
                stream.listening = true;
                // It is no call that others wait for.
                if let Some(mut ticket) = stream.ticket.take() {
                    ticket.good();
                }
                Ok(Some(Listener(stream)))
            }
        }
    }

    /// The stream of a legacy session.
    async fn get(&self, agreed: &Arc<super::http::Agreed>) -> Result<Option<Listener>, UpstreamError> {
        let upstream = &self.0;
        let request = upstream.stream_request(agreed);
        let response = upstream.head(request, upstream.settings.first_byte).await?;
        if response.status() == StatusCode::NOT_FOUND && agreed.has_session() {
            upstream.forget(agreed);
            return Err(UpstreamError::Protocol("it has forgotten its session"));
        }
        if !response.status().is_success() || essence(response.headers()) != "text/event-stream" {
            return Ok(None);
        }
        let id = upstream.ids.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Listener(Box::new(CallStream {
            upstream: Arc::clone(upstream),
            agreed: Some(Arc::clone(agreed)),
            body: response.into_body(),
            decoder: Decoder::new(upstream.settings.max_bytes),
            patience: upstream.settings.patience(None),
            deadline: Instant::now(),
            last: Instant::now(),
            id: id.to_string(),
            progress: None,
            level: None,
            asked: 0,
            asks: Asks::NONE,
            listening: true,
            open: None,
            cancel: Cancel::default(),
            broken: None,
            side: None,
            early: None,
            ticket: None,
        }))))
    }
}
