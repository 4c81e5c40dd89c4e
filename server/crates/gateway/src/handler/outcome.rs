//! What came of a call, in the words of the client's era.

use bytes::Bytes;
use domain::mcp::{
    code, json,
    upstream::{Answer, ResultType, UpstreamError},
};
use http::{HeaderValue, StatusCode, header};

use super::{Caller, Era};
use crate::reply::{self, RpcError};

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

/// An upstream's answer in the words of the client's era.
///
/// # Errors
/// For answers that cannot be passed on.
pub(crate) fn render(
    era: Era,
    id: Option<&str>,
    slug: &str,
    answer: Answer,
) -> Result<reply::Message, RpcError> {
    let cannot = |word: &str, message: String| {
        Err(RpcError::new(StatusCode::OK, code::UPSTREAM_PROTOCOL, message)
            .data(format!(r#"{{"code":"{word}","connector":"{slug}"}}"#)))
    };
    let value = answer.value;
    match (answer.error, answer.result_type) {
        // About headers and versions that Gatehouse chose: nothing that the client could mend.
        (Some(code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION), _) => cannot(
            "upstream_protocol_error",
            format!(
                "The connector \"{slug}\" failed. The server does not take the request as its list of tools says; refresh its tools."
            ),
        ),
        // -32042 of 2025-11-25 asks the user to open a page; the modern era does not know it.
        (Some(-32042), _) | (None, ResultType::InputRequired) => cannot(
            "input_not_supported",
            format!(
                "The tool of the connector \"{slug}\" asks for input in the middle of the call, which Gatehouse does not pass on yet."
            ),
        ),
        (Some(code::MISSING_CAPABILITY), _) if era == Era::Modern => {
            Ok(reply::Message::new(id, "error").value(value))
        }
        (Some(_), _) => Ok(reply::Message::new(id, "error").value(value)),
        (None, ResultType::Other) => cannot(
            "upstream_protocol_error",
            format!(
                "The connector \"{slug}\" failed. The server's result is of a type that Gatehouse does not know."
            ),
        ),
        (None, ResultType::Absent) if era == Era::Modern => {
            let rest = value.slice(1..);
            let is_empty = rest.trim_ascii_start().starts_with(b"}");
            let comma = if is_empty { "" } else { "," };
            Ok(reply::Message::new(id, "result").text(r#"{"resultType":"complete""#).text(comma).value(rest))
        }
        (None, ResultType::Complete) if era != Era::Modern => {
            let message = reply::Message::new(id, "result");
            Ok(match answer.result_type_at.and_then(|at| without(&value, at)) {
                Some((before, after)) => message.value(before).value(after),
                None => message.value(value),
            })
        }
        (None, _) => Ok(reply::Message::new(id, "result").value(value)),
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
}
