//! What people type about a connector, checked.

use model::{
    AppError, ConnectorSlug, ErrorKind,
    connectors::{FIRST_BYTE_RANGE, HIDDEN_QUERY, MAX_HEADERS},
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::{Error, Result};

/// The longest header value in bytes.
const MAX_HEADER_VALUE: usize = 8 * 1024;
/// Headers that belong to the protocol or to the connection, so nobody may set them.
const FORBIDDEN_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn check_header(name: &str, value: &SecretString) -> core::result::Result<String, AppError> {
    let name = name.trim().to_ascii_lowercase();
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(AppError::field(
            "header_name",
            "header_name",
            "Use letters, digits and hyphens for a header's name",
        ));
    }
    if FORBIDDEN_HEADERS.contains(&name.as_str()) || name.starts_with("mcp-") {
        return Err(AppError::field(
            "header_name",
            "header_reserved",
            format!("Choose another header: {name} is set by Gatehouse itself"),
        ));
    }
    let text = value.expose_secret();
    if text.is_empty() || text.len() > MAX_HEADER_VALUE || http::HeaderValue::from_str(text).is_err() {
        return Err(AppError::field(
            "header_value",
            "header_value",
            "Enter a value of visible ASCII characters, at most 8 KiB",
        ));
    }
    Ok(name)
}

/// What somebody wants of a URL's query.
pub(crate) enum Query {
    /// The hidden one stays.
    Keep,
    /// This, or none.
    Set(Option<SecretString>),
}

/// A URL without its query, and the query. Where one is hidden in the form ([`HIDDEN_QUERY`]) it may stay. `whose` is
/// "the server's", `example` a URL that would do.
pub(crate) fn parse_url(
    input: &str,
    whose: &str,
    example: &str,
) -> core::result::Result<(Url, Query), AppError> {
    let field = |message: &str| AppError::field("url", "url", message);
    let input = input.trim();
    let (input, keep) = input.strip_suffix(HIDDEN_QUERY).map_or((input, false), |input| (input, true));
    if input.is_empty() {
        return Err(field(&format!("Enter {whose} URL, such as {example}")));
    }
    if input.len() > 2048 {
        return Err(field("Use a URL of at most 2048 characters"));
    }
    if input.contains('•') || keep && input.contains('?') {
        return Err(field("Leave the dots after ? as they are, or type all that stands after ? anew"));
    }
    let mut url = Url::parse(input).map_err(|_| field(&format!("Enter a whole URL, such as {example}")))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err(field("Enter a URL that begins with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(field(
            "Leave user name and password out of the URL; put credentials into a header, where they are sealed",
        ));
    }
    if url.fragment().is_some() {
        return Err(field("Leave the part after # out of the URL"));
    }
    let query = url.query().filter(|query| !query.is_empty()).map(SecretString::from);
    url.set_query(None);
    Ok((url, if keep { Query::Keep } else { Query::Set(query) }))
}

pub(super) fn checked_headers(headers: &[(String, SecretString)]) -> Result<Vec<(String, SecretString)>> {
    if headers.len() > MAX_HEADERS {
        return Err(
            AppError::field("header_name", "too_many", format!("Use at most {MAX_HEADERS} headers")).into()
        );
    }
    headers.iter().map(|(name, value)| Ok((check_header(name, value)?, value.clone()))).collect()
}

/// The patience with a server, in seconds; nothing for the usual (UPS-02).
pub(super) fn parse_patience(input: &str) -> Result<Option<i64>> {
    let input = input.trim();
    if input.is_empty() {
        return Ok(None);
    }
    let (least, most) = FIRST_BYTE_RANGE;
    match input.parse::<u32>() {
        Ok(seconds) if (least..=most).contains(&seconds) => Ok(Some(i64::from(seconds))),
        _ => Err(AppError::field(
            "first_byte",
            "first_byte",
            format!("Enter a number of seconds from {least} to {most}, or leave it empty"),
        )
        .into()),
    }
}

pub(super) fn parse_slug(input: &str) -> Result<ConnectorSlug> {
    let input = input.trim();
    if input.contains("__") {
        return Err(
            AppError::field("slug", "slug", "Use single hyphens between the words of the slug").into()
        );
    }
    // The path of the transport of 2024-11-05.
    if input == "sse" {
        return Err(AppError::field(
            "slug",
            "slug",
            "Choose another slug: /mcp/…/sse has a meaning of its own",
        )
        .into());
    }
    input.parse().map_err(|why: model::slug::InvalidSlug| {
        let message = match why {
            model::slug::InvalidSlug::Length => "Use 1 to 63 characters for the slug".to_owned(),
            other => other.to_string(),
        };
        AppError::field("slug", "slug", message).into()
    })
}

pub(super) fn slug_taken() -> Error {
    let mut error = AppError::field(
        "slug",
        "slug_taken",
        "Choose another slug: a connector of this organisation has, or had, this one, and tool names must stay unambiguous",
    );
    error.kind = ErrorKind::Conflict;
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_protocol_are_refused() {
        let value = SecretString::from("x".to_owned());
        assert_eq!(check_header("Authorization", &value).unwrap(), "authorization");
        for bad in ["Host", "Mcp-Session-Id", "content-length", "a b", "", "x:y"] {
            assert!(check_header(bad, &value).is_err(), "{bad}");
        }
        assert!(check_header("x-key", &SecretString::from("a\r\nb: c".to_owned())).is_err());
        assert!(check_header("x-key", &SecretString::from(String::new())).is_err());
    }

    #[test]
    fn urls_are_whole_and_hold_no_credentials() {
        let (url, query) =
            parse_url(" https://mcp.example.com/mcp?x=1 ", "the server\'s", "https://mcp.example.com/mcp")
                .unwrap();
        assert_eq!(url.as_str(), "https://mcp.example.com/mcp");
        assert!(matches!(query, Query::Set(Some(query)) if query.expose_secret() == "x=1"));
        assert!(matches!(
            parse_url("https://x.y/?", "the server\'s", "https://mcp.example.com/mcp").unwrap().1,
            Query::Set(None)
        ));
        assert!(matches!(
            parse_url("https://x.y/?••••••", "the server\'s", "https://mcp.example.com/mcp").unwrap().1,
            Query::Keep
        ));
        for bad in [
            "",
            "mcp.example.com",
            "ftp://x.y/",
            "https://u:p@x.y/",
            "https://x.y/#a",
            "javascript:alert(1)",
            "https://x.y/?a=1&••••••",
            "https://x.y/?••••••&a=1",
            "https://x.y/?a?••••••",
        ] {
            assert!(parse_url(bad, "the server\'s", "https://mcp.example.com/mcp").is_err(), "{bad}");
        }
    }
}
