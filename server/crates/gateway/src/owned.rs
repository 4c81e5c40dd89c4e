//! A call that is kept, so that it can be made again with what its client was asked for.

use std::time::Duration;

use domain::mcp::{
    envelope::Raw,
    upstream::{Call, Method, Reply, Session, Upstream, UpstreamError},
};
use http::{HeaderName, HeaderValue};

/// A [`Call`] without borrows.
#[derive(Clone, Debug)]
pub(crate) struct OwnedCall {
    method: Method,
    name: String,
    arguments: Option<String>,
    others: Vec<(String, String)>,
    meta: Vec<(String, String)>,
    progress_token: Option<String>,
    capabilities: Option<String>,
    log_level: Option<String>,
    logs: bool,
    session: Session,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Option<Duration>,
}

fn owned(members: &[Raw<'_>]) -> Vec<(String, String)> {
    members.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn borrowed(members: &[(String, String)]) -> Vec<Raw<'_>> {
    members.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

impl OwnedCall {
    pub(crate) fn new(call: &Call<'_>) -> Self {
        let text = |value: Option<&str>| value.map(str::to_owned);
        Self {
            method: call.method,
            name: call.name.to_owned(),
            arguments: text(call.arguments),
            others: owned(call.others),
            meta: owned(call.meta),
            progress_token: text(call.progress_token),
            capabilities: text(call.capabilities),
            log_level: text(call.log_level),
            logs: call.logs,
            session: call.session,
            headers: call.headers.to_vec(),
            timeout: call.timeout,
        }
    }

    /// Makes the call again.
    pub(crate) async fn again(
        self,
        upstream: Upstream,
        state: Option<String>,
        responses: String,
    ) -> Result<Reply, UpstreamError> {
        let (others, meta) = (borrowed(&self.others), borrowed(&self.meta));
        let call = Call {
            method: self.method,
            name: &self.name,
            arguments: self.arguments.as_deref(),
            others: &others,
            meta: &meta,
            progress_token: self.progress_token.as_deref(),
            capabilities: self.capabilities.as_deref(),
            log_level: self.log_level.as_deref(),
            logs: self.logs,
            request_state: state.as_deref(),
            input_responses: Some(&responses),
            session: self.session,
            headers: &self.headers,
            timeout: self.timeout,
        };
        upstream.call(&call).await
    }
}
