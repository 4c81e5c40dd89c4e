//! What came of a call, in the words of the client's era.

use core::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use domain::{
    dataplane::PlaneConnector,
    mcp::{
        asks::{Asks, ELICITATION},
        code, json,
        upstream::{Answer, Method, Question, ResultType, UpstreamError},
    },
};
use http::{HeaderValue, StatusCode, header};

use super::{Caller, Era};
use crate::{
    held::key,
    reply::{self, RpcError},
    state::{self, Place, State},
    uris,
};

/// The code of 2025-11-25 and before for a resource that is not there.
pub(crate) const RESOURCE_NOT_FOUND: i64 = -32002;
/// The code of 2025-11-25 that asks the user to open pages first.
const URL_ELICITATION_REQUIRED: i64 = -32042;

/// One call, as far as it decides how its outcome is told.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) era: Era,
    pub(crate) id: Option<&'a str>,
    pub(crate) method: Method,
    pub(crate) connector: &'a PlaneConnector,
    /// The name or URI upstream.
    pub(crate) name: &'a str,
    /// Whether the client sees the connector's slug before names and URIs.
    pub(crate) prefixed: bool,
    /// What the client can be asked.
    pub(crate) asks: Asks,
}

impl<'a> View<'a> {
    pub(crate) fn slug(&self) -> &'a str {
        self.connector.slug.as_str()
    }

    pub(crate) fn place(&self) -> Place<'a> {
        Place { connector: self.connector.id, method: self.method.as_str(), name: self.name }
    }

    fn fault(&self, word: &str, what: &str) -> RpcError {
        let slug = self.slug();
        RpcError::new(
            StatusCode::OK,
            code::UPSTREAM_PROTOCOL,
            format!("The connector \"{slug}\" failed. {what}"),
        )
        .data(format!(r#"{{"code":"{word}","connector":"{slug}"}}"#))
    }

    /// What a client hears that cannot be asked what the server wants to know.
    pub(crate) fn cannot_ask(&self) -> RpcError {
        self.fault(
            "input_not_supported",
            "It asks for input in the middle of the call, which this client did not say that it can give. Use a client that supports elicitation or sampling, and event streams.",
        )
    }

    /// Questions of a legacy server whose call is held open, as the modern era asks them.
    pub(crate) fn questions(&self, held: u128, questions: &[Question]) -> reply::Message {
        let state = state::seal(self.caller, &self.place(), &State::Held(held));
        let mut message = reply::Message::new(self.id, "result")
            .text(r#"{"resultType":"input_required","inputRequests":{"#);
        for (place, question) in questions.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let (key, method) = (key(place), question.method);
            message = message
                .value(format!(r#"{comma}"{key}":{{"method":"{method}","params":"#).into())
                .value(question.params.clone())
                .value(Bytes::from_static(b"}"));
        }
        message.text(&format!(r#"}},"requestState":"{state}"}}"#))
    }

    /// An upstream's failure, as a result of the call rather than of HTTP: clients show it to their model.
    pub(crate) fn failed(&self, error: &UpstreamError) -> RpcError {
        failed(self.caller, self.slug(), error)
    }

    /// An upstream's answer in the words of the client's era.
    ///
    /// # Errors
    /// For answers that cannot be passed on.
    pub(crate) fn render(&self, answer: Answer) -> Result<(StatusCode, reply::Message), RpcError> {
        let message = match (answer.error, answer.result_type) {
            (Some(code), _) => return self.error(code, answer.value),
            (None, ResultType::InputRequired) => return self.input_required(answer.value),
            (None, ResultType::Other) => {
                return Err(self.fault(
                    "upstream_protocol_error",
                    "The server's result is of a type that Gatehouse does not know.",
                ));
            }
            (None, ResultType::Absent) if self.era == Era::Modern => {
                let rest = self.value(answer.value).slice(1..);
                let is_empty = rest.trim_ascii_start().starts_with(b"}");
                let comma = if is_empty { "" } else { "," };
                let cacheable = self.method.is_list() || self.method == Method::ReadResource;
                let cache = if cacheable { r#","ttlMs":0,"cacheScope":"private""# } else { "" };
                reply::Message::new(self.id, "result")
                    .text(r#"{"resultType":"complete""#)
                    .text(cache)
                    .text(comma)
                    .value(rest)
            }
            (None, ResultType::Complete) if self.era != Era::Modern => {
                let message = reply::Message::new(self.id, "result");
                match answer.result_type_at.and_then(|at| without(&answer.value, at)) {
                    // Joined again only where something is still to be changed.
                    Some((before, after)) if self.prefixed => {
                        message.value(self.value(Bytes::from([before, after].concat())))
                    }
                    Some((before, after)) => message.value(before).value(after),
                    None => message.value(self.value(answer.value)),
                }
            }
            (None, _) => {
                let value = if self.era == Era::Modern && self.method != Method::CallTool {
                    private(answer.value)
                } else {
                    answer.value
                };
                reply::Message::new(self.id, "result").value(self.value(value))
            }
        };
        Ok((StatusCode::OK, message))
    }

    fn value(&self, result: Bytes) -> Bytes {
        if self.prefixed { uris::in_result(result, &uris::prefix(self.slug())) } else { result }
    }

    fn error(&self, code: i64, value: Bytes) -> Result<(StatusCode, reply::Message), RpcError> {
        let message = |value| reply::Message::new(self.id, "error").value(value);
        let modern = self.era == Era::Modern;
        match code {
            // About headers and versions that Gatehouse chose: nothing that the client could mend.
            code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION => Err(self.fault(
                "upstream_protocol_error",
                "The server does not take the request as its list of tools says; refresh its tools.",
            )),
            // The modern era does not know it, and asks the same as a result.
            URL_ELICITATION_REQUIRED if modern => {
                self.pages_first(&value).map(|message| (StatusCode::OK, message))
            }
            code::MISSING_CAPABILITY if modern => Ok((StatusCode::BAD_REQUEST, message(value))),
            code::METHOD_NOT_FOUND if modern => Ok((StatusCode::NOT_FOUND, message(value))),
            RESOURCE_NOT_FOUND if modern => {
                let uri = json::quoted(&self.public(self.name));
                Err(RpcError::new(StatusCode::OK, code::INVALID_PARAMS, "Resource not found")
                    .data(format!(r#"{{"uri":{uri}}}"#)))
            }
            code::INVALID_PARAMS if !modern && self.method == Method::ReadResource && has_uri(&value) => {
                Ok((StatusCode::OK, message(with_code(value, RESOURCE_NOT_FOUND))))
            }
            _ => Ok((StatusCode::OK, message(value))),
        }
    }

    /// The pages that a legacy server wants opened before it does what was asked, as the modern era asks it. There is no state:
    /// the call is made anew afterwards.
    fn pages_first(&self, error: &Bytes) -> Result<reply::Message, RpcError> {
        let can_ask = matches!(self.method, Method::CallTool | Method::GetPrompt | Method::ReadResource);
        let text = std::str::from_utf8(error).unwrap_or("{}");
        let pages = json::get(text, "data").and_then(|data| json::get(data, "elicitations"));
        let mut asked = String::new();
        for (place, page) in pages.map(json::elements).into_iter().flatten().enumerate() {
            // The id is of the legacy era alone.
            let members: Vec<_> = json::members(page)
                .filter(|(key, ..)| !key.is("elicitationId"))
                .map(|(_, _, at)| &page[at])
                .collect();
            let params = format!("{{{}}}", members.join(","));
            if self.asks.allow(ELICITATION, &params).is_none() {
                return Err(self.cannot_ask());
            }
            let comma = if place > 0 { "," } else { "" };
            let _ =
                write!(asked, r#"{comma}"{}":{{"method":"{ELICITATION}","params":{params}}}"#, key(place));
        }
        if asked.is_empty() || !can_ask {
            return Err(self.cannot_ask());
        }
        Ok(reply::Message::new(self.id, "result")
            .text(&format!(r#"{{"resultType":"input_required","inputRequests":{{{asked}}}}}"#)))
    }

    /// Pages that a modern server wants opened, as the legacy era says it to a client that takes no questions on a stream.
    /// Nothing where it wants anything else.
    fn pages_as_error(&self, requests: &[state::InputRequest<'_>]) -> Option<reply::Message> {
        let mut pages = Vec::new();
        for asked in requests {
            let is_page = json::get(asked.params, "mode").and_then(json::string).as_deref() == Some("url");
            self.asks.allow(&asked.method, asked.params).filter(|_| is_page)?;
            pages.push(self.with_elicitation_id(asked.params));
        }
        (!pages.is_empty() && self.era == Era::Legacy).then(|| {
            reply::Message::new(self.id, "error").text(&format!(
                r#"{{"code":{URL_ELICITATION_REQUIRED},"message":"Open the pages first, then call again.","data":{{"elicitations":[{}]}}}}"#,
                pages.join(",")
            ))
        })
    }

    /// What a modern server asks, as a legacy client is asked it.
    pub(crate) fn asked_of_legacy(&self, params: &str, method: &str) -> Bytes {
        let is_page = json::get(params, "mode").and_then(json::string).as_deref() == Some("url");
        if method == ELICITATION && is_page {
            self.with_elicitation_id(params).into()
        } else {
            Bytes::copy_from_slice(params.as_bytes())
        }
    }

    /// The legacy era wants each page that is to be opened to have an id; the modern one has none.
    fn with_elicitation_id(&self, params: &str) -> String {
        if json::get(params, "elicitationId").is_some() {
            return params.to_owned();
        }
        let mut bytes = [0; 16];
        self.caller.inner.rng.fill(&mut bytes);
        let id = u128::from_be_bytes(bytes);
        let rest = params.trim_start().strip_prefix('{').unwrap_or("}");
        let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
        format!(r#"{{"elicitationId":"{id:032x}"{comma}{rest}"#)
    }

    /// A URI as the client sees it.
    pub(crate) fn public(&self, uri: &str) -> String {
        if self.prefixed { format!("{}{uri}", uris::prefix(self.slug())) } else { uri.to_owned() }
    }

    /// A result that asks for input: its state is sealed, and it may ask only what the client said that it can be asked.
    fn input_required(&self, value: Bytes) -> Result<(StatusCode, reply::Message), RpcError> {
        let text = std::str::from_utf8(&value).unwrap_or("{}");
        let can_ask = matches!(self.method, Method::CallTool | Method::GetPrompt | Method::ReadResource);
        let requests = state::input_requests(text).filter(|_| can_ask).ok_or_else(|| {
            self.fault(
                "upstream_protocol_error",
                "The server asks for input in a way that is against the protocol.",
            )
        })?;
        if let Some(message) = self.pages_as_error(&requests) {
            return Ok((StatusCode::OK, message));
        }
        if self.era != Era::Modern || requests.iter().any(|r| self.asks.allow(&r.method, r.params).is_none())
        {
            return Err(self.cannot_ask());
        }
        let message = reply::Message::new(self.id, "result");
        let Some((_, raw, _)) = json::members(text).find(|(key, ..)| key.is("requestState")) else {
            return Ok((StatusCode::OK, message.value(value)));
        };
        let at = raw.as_ptr() as usize - text.as_ptr() as usize;
        let sealed = state::seal(self.caller, &self.place(), &State::Upstream(raw.to_owned()));
        let message = message
            .value(value.slice(..at))
            .value(Bytes::from(format!("\"{sealed}\"")))
            .value(value.slice(at + raw.len()..));
        Ok((StatusCode::OK, message))
    }
}

fn has_uri(error: &Bytes) -> bool {
    let text = std::str::from_utf8(error).unwrap_or("{}");
    json::get(text, "data").is_some_and(|data| json::get(data, "uri").is_some())
}

/// The same error with another code.
fn with_code(error: Bytes, code: i64) -> Bytes {
    let text = std::str::from_utf8(&error).unwrap_or("{}");
    let Some(raw) = json::get(text, "code") else { return error };
    let at = raw.as_ptr() as usize - text.as_ptr() as usize;
    let mut out = BytesMut::with_capacity(error.len() + 8);
    out.extend_from_slice(&error[..at]);
    out.extend_from_slice(code.to_string().as_bytes());
    out.extend_from_slice(&error[at + raw.len()..]);
    out.freeze()
}

/// What a server lets everybody share is shared by nobody here: who may see it is decided by the credential.
fn private(result: Bytes) -> Bytes {
    let text = std::str::from_utf8(&result).unwrap_or("{}");
    if !text.contains("public") {
        return result;
    }
    let Some((_, raw, _)) = json::members(text)
        .find(|(key, value, _)| key.is("cacheScope") && json::string(value).as_deref() == Some("public"))
    else {
        return result;
    };
    let at = raw.as_ptr() as usize - text.as_ptr() as usize;
    [&result[..at], br#""private""#, &result[at + raw.len()..]].concat().into()
}

/// An upstream's failure, as a result of the call rather than of HTTP: clients show it to their model.
pub(crate) fn failed(caller: &Caller, slug: &str, error: &UpstreamError) -> RpcError {
    let principal = &caller.access.principal;
    tracing::info!(
        org.id = %caller.ready.plane.org,
        principal.kind = principal.kind(),
        principal.id = %principal,
        connector.slug = slug,
        error.code = error.code(),
        error = %error,
        "call of an upstream server failed"
    );
    let more = match error {
        // Where a person can mend it: clients may show it as a link.
        UpstreamError::NotAuthorized(why) => {
            why.page.as_ref().map_or_else(String::new, |page| format!(r#","url":{}"#, json::quoted(page)))
        }
        _ => error.retry_after().map_or_else(String::new, |seconds| format!(r#","retry_after":{seconds}"#)),
    };
    let rpc =
        RpcError::new(StatusCode::OK, error.code(), format!("The connector \"{slug}\" failed. {error}"))
            .data(format!(r#"{{"code":"{}","connector":"{slug}"{more}}}"#, error.word()));
    match error.retry_after() {
        Some(seconds) => rpc.header(header::RETRY_AFTER, HeaderValue::from(seconds)),
        None => rpc,
    }
}

/// An object without one member: what stands before it and behind it, one comma less.
fn without(object: &Bytes, member: std::ops::Range<usize>) -> Option<(Bytes, Bytes)> {
    let before = object.get(..member.start)?;
    let after = object.get(member.end..)?;
    let skipped = after.len() - after.trim_ascii_start().len();
    if after.get(skipped) == Some(&b',') {
        return Some((object.slice(..member.start), object.slice(member.end + skipped + 1..)));
    }
    let kept = before.trim_ascii_end();
    let kept = kept.strip_suffix(b",").unwrap_or(kept);
    Some((object.slice(..kept.len()), object.slice(member.end..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_taken_out_with_one_comma() {
        for (object, member, rest) in [
            (r#"{"resultType":"complete","a":1}"#, 1..24, r#"{"a":1}"#),
            (r#"{"a":1,"resultType":"complete"}"#, 7..30, r#"{"a":1}"#),
            (r#"{"resultType":"complete"}"#, 1..24, "{}"),
            (r#"{"a":1 , "resultType":"complete" , "b":2}"#, 9..32, r#"{"a":1 ,  "b":2}"#),
        ] {
            let bytes = Bytes::from_static(object.as_bytes());
            let (before, after) = without(&bytes, member).unwrap();
            assert_eq!(String::from_utf8([before, after].concat()).unwrap(), rest);
        }
    }

    #[test]
    fn codes_and_scopes_are_replaced_in_place() {
        let error = Bytes::from_static(br#"{"message":"x","code": -32602,"data":{"uri":"a:b"}}"#);
        assert!(has_uri(&error));
        assert_eq!(with_code(error, -32002), r#"{"message":"x","code": -32002,"data":{"uri":"a:b"}}"#);
        let result = Bytes::from_static(br#"{"a":"public","cacheScope":"public","b":1}"#);
        assert_eq!(private(result), r#"{"a":"public","cacheScope":"private","b":1}"#);
    }
}
