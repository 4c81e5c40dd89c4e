//! The stream on which a server tells of changes: `subscriptions/listen` in the modern era, a GET in the legacy one.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use http::StatusCode;

use super::{
    Call, CallEvent, CallStream, HttpUpstream, Method, Question, Reply, Session, UpstreamError,
    http::{Era, essence},
};
use crate::mcp::{asks::Asks, json};

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

/// What a server says to one client outside of its calls.
#[derive(Debug)]
pub enum Aside {
    /// A notification, whole and as the server wrote it.
    Notification(Bytes),
    /// A question, which the client has declared that it can be asked.
    Request(Question),
}

/// The stream of one client's own session with a legacy server. It ends when dropped.
#[derive(Debug)]
pub struct Attendant(Box<CallStream>);

impl Attendant {
    /// What comes next; nothing when the stream has ended in order. Cancel-safe.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn next(&mut self) -> Result<Option<Aside>, UpstreamError> {
        match self.0.next().await {
            Ok(CallEvent::Notification(message)) => Ok(Some(Aside::Notification(message))),
            Ok(CallEvent::Request(question)) => Ok(Some(Aside::Request(question))),
            Ok(CallEvent::Answer(_)) | Err(UpstreamError::Protocol(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Answers a question of the server: `outcome` is the member `"result":…` or `"error":…`.
    pub fn answer(&mut self, id: &str, outcome: &str) {
        self.0.answer(id, outcome);
    }

    /// Tells the server that its question is not answered.
    pub fn refuse(&mut self, id: &str) {
        self.0.refuse(id);
    }
}

impl HttpUpstream {
    /// The session that one client has with the server by now.
    fn own(&self, session: Session) -> Option<Arc<super::http::Agreed>> {
        let agreed = self.0.current(session).filter(|_| session.client.is_some())?;
        (agreed.era == Era::Legacy && agreed.has_session()).then_some(agreed)
    }

    pub(super) fn has_session(&self, session: Session) -> bool {
        self.own(session).is_some()
    }

    pub(super) async fn attend(&self, session: Session) -> Result<Option<Attendant>, UpstreamError> {
        let Some(agreed) = self.own(session) else { return Ok(None) };
        let listener = self.get(&agreed, session.asks).await?;
        Ok(listener.map(|Listener(stream)| Attendant(stream)))
    }

    pub(super) fn roots_changed(&self, session: Session) {
        if let Some(agreed) = self.own(session)
            && agreed.asked_roots.load(Ordering::Relaxed)
        {
            let body = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#.to_owned();
            self.0.aside(&agreed, "notifications/roots/list_changed", body);
        }
    }

    pub(super) async fn listen(&self, wanted: &Wanted) -> Result<Option<Listener>, UpstreamError> {
        let agreed = self.0.connect(Session::default()).await?;
        if agreed.era == Era::Legacy {
            let listener = self.get(&agreed, Asks::NONE).await?;
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
    async fn get(
        &self,
        agreed: &Arc<super::http::Agreed>,
        asks: Asks,
    ) -> Result<Option<Listener>, UpstreamError> {
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
        let patience = upstream.settings.patience(None);
        let mut stream = upstream.stream(Some(agreed), id, patience, response.into_body());
        (stream.asks, stream.listening) = (asks, true);
        Ok(Some(Listener(Box::new(stream))))
    }
}
