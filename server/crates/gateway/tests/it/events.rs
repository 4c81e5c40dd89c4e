//! Event streams as a client reads them.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::Value;

/// Reads an event stream piece by piece.
pub(crate) struct Events {
    body: Body,
    read: String,
}

impl Events {
    pub(crate) fn new(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream", "{response:?}");
        Self { body: response.into_body(), read: String::new() }
    }

    async fn more(&mut self) -> Option<()> {
        let piece: Bytes = self.body.frame().await?.unwrap().into_data().unwrap();
        self.read.push_str(std::str::from_utf8(&piece).unwrap());
        Some(())
    }

    /// The next event or comment, as it stands on the wire.
    pub(crate) async fn raw(&mut self) -> String {
        loop {
            if let Some(end) = self.read.find("\n\n") {
                return self.read.drain(..end + 2).collect();
            }
            self.more().await.expect("an event");
        }
    }

    /// The next event with data: its id, its type and its data.
    pub(crate) async fn next(&mut self) -> Option<(String, String, String)> {
        loop {
            while let Some((event, rest)) = self.read.clone().split_once("\n\n") {
                rest.clone_into(&mut self.read);
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .unwrap_or_default()
                        .trim()
                        .to_owned()
                };
                if !field("data:").is_empty() {
                    return Some((field("id:"), field("event:"), field("data:")));
                }
            }
            self.more().await?;
        }
    }

    pub(crate) async fn message(&mut self) -> Value {
        serde_json::from_str(&self.next().await.expect("a message").2).unwrap()
    }
}
