//! What a server is sent.

use std::{borrow::Cow, fmt::Write as _};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{Agreed, Era, Inner, SESSION_ID};
use crate::mcp::{IMPLEMENTATION, envelope::Raw, header as wire, json, meta, upstream::Call};

pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

fn push_members(out: &mut String, members: &[Raw<'_>]) {
    for (key, value) in members {
        let _ = write!(out, r#","{key}":{value}"#);
    }
}

/// The client's capabilities without tasks, whose requests are not passed on.
fn carried(capabilities: Option<&str>) -> Cow<'_, str> {
    const TASKS: &str = "io.modelcontextprotocol/tasks";
    let Some(raw) = capabilities.filter(|c| c.starts_with('{')) else { return Cow::Borrowed("{}") };
    if !raw.contains("tasks") && !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let without = |object: &str, name: &str| {
        let kept: Vec<_> = json::members(object)
            .filter(|(key, ..)| !key.is(name))
            .map(|(_, _, at)| object[at].to_owned())
            .collect();
        format!("{{{}}}", kept.join(","))
    };
    let kept = without(raw, "tasks");
    Cow::Owned(match json::get(&kept, "extensions") {
        Some(extensions) => {
            let fewer = without(extensions, TASKS);
            let rest = without(&kept, "extensions");
            match rest.strip_suffix('}') {
                Some("{") | None => format!(r#"{{"extensions":{fewer}}}"#),
                Some(open) => format!(r#"{open},"extensions":{fewer}}}"#),
            }
        }
        None => kept,
    })
}

/// A whole request with this id.
pub(super) fn write_call(call: &Call<'_>, agreed: &Agreed, id: u64) -> String {
    let mut body = String::with_capacity(512 + call.arguments.map_or(0, str::len));
    let method = call.method.as_str();
    let _ = write!(body, r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"#);
    if let Some(subject) = call.method.subject() {
        let _ = write!(body, r#""{subject}":{},"#, json::quoted(call.name));
    }
    if let Some(arguments) = call.arguments {
        let _ = write!(body, r#""arguments":{arguments},"#);
    }
    for (key, value) in call.others {
        let _ = write!(body, r#""{key}":{value},"#);
    }
    if agreed.era == Era::Modern {
        if let Some(state) = call.request_state {
            let _ = write!(body, r#""requestState":{state},"#);
        }
        if let Some(responses) = call.input_responses {
            let _ = write!(body, r#""inputResponses":{responses},"#);
        }
    }
    write_meta(&mut body, agreed, call, id);
    body.push_str("}}");
    body
}

/// Writes `"_meta":{…}`: what the era demands, what the call brings, and our own progress token.
pub(super) fn write_meta(body: &mut String, agreed: &Agreed, call: &Call<'_>, id: u64) {
    body.push_str(r#""_meta":{"#);
    let start = body.len();
    if agreed.era == Era::Modern {
        let _ = write!(
            body,
            r#","{}":"{}","{}":{IMPLEMENTATION},"{}":{}"#,
            meta::PROTOCOL_VERSION,
            agreed.version,
            meta::CLIENT_INFO,
            meta::CLIENT_CAPABILITIES,
            carried(call.capabilities)
        );
        // Nothing is logged to whoever asks for nothing.
        if let Some(level) = call.log_level.or(call.logs.then_some("\"info\"")) {
            let _ = write!(body, r#","{}":{level}"#, meta::LOG_LEVEL);
        }
    }
    // A time-out that progress extends needs to hear of it, whether the client wants to or not.
    if call.progress_token.is_some() || call.timeout.is_some() {
        let _ = write!(body, r#","{}":{id}"#, meta::PROGRESS_TOKEN);
    }
    push_members(body, call.meta);
    if body.len() > start {
        body.remove(start);
    }
    body.push('}');
}

impl Inner {
    /// The request for a stream of a legacy session.
    pub(in super::super) fn stream_request(&self, agreed: &Agreed) -> http::Request<Bytes> {
        let mut request = self.post(Some(agreed), "", None, String::new());
        *request.method_mut() = Method::GET;
        request.headers_mut().remove(header::CONTENT_TYPE);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        request
    }

    pub(in super::super) fn post(
        &self,
        agreed: Option<&Agreed>,
        method: &'static str,
        name: Option<&str>,
        body: String,
    ) -> http::Request<Bytes> {
        let mut request = http::Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        // The connector's own first: it cannot override what the protocol needs.
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 8);
        headers.extend(self.headers.iter().map(|(n, v)| (n.clone(), v.clone())));
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, BOTH);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(agreed) = agreed {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(agreed.version));
            if let Some(session) = &agreed.session {
                headers.insert(SESSION_ID, session.id());
            }
            if agreed.era == Era::Modern {
                headers.insert(MCP_METHOD, HeaderValue::from_static(method));
                if let Some(name) = name {
                    headers.insert(MCP_NAME, wire::encode(name));
                }
            }
        }
        *request.headers_mut() = headers;
        request
    }
}
