//! Which hosts and origins a request may name, before anything else is looked at (RSV-10), and what browsers are told.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use url::{Host, Url};

use axum::response::Response;
use domain::mcp::code;

use crate::reply::{RpcError, empty};

/// The one site that this instance is.
#[derive(Debug)]
pub(crate) struct Site {
    scheme: String,
    host: String,
    port: u16,
    default_port: u16,
    /// On loopback, `localhost`, `127.0.0.1` and `[::1]` are one host.
    loopback: bool,
    /// Without a slash at its end.
    base: String,
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// The `host[:port]` that a request names; nothing when it names two.
pub(crate) fn host_named<'h>(uri: &'h Uri, headers: &'h HeaderMap) -> Option<&'h str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        // HTTP/2 has it in the target.
        (None, _) => uri.authority().map(http::uri::Authority::as_str),
        _ => None,
    }
}

/// The host of `host[:port]`.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // A colon inside brackets is part of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

/// The answer to whoever names a host that nobody here answers for.
pub(crate) fn wrong_host() -> RpcError {
    RpcError::new(
        StatusCode::MISDIRECTED_REQUEST,
        code::INVALID_REQUEST,
        "This server does not answer for the host that the request names. Use the server's public address.",
    )
    .word("wrong_host")
}

impl Site {
    pub(crate) fn new(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let default_port = if url.scheme() == "http" { 80 } else { 443 };
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        Self {
            scheme: url.scheme().to_owned(),
            host,
            port: url.port_or_known_default().unwrap_or(default_port),
            default_port,
            loopback,
            base: url.as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// An absolute URL of a path of ours.
    pub(crate) fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Whether `host[:port]` names this site.
    fn is_host(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside brackets is part of an IPv6 address.
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (host, port),
                Err(_) => return false,
            },
            _ => (authority, self.default_port),
        };
        let host = host.to_ascii_lowercase();
        port == self.port && (host == self.host || self.loopback && is_loopback(&host))
    }

    /// Whether this is the site's name, at whatever port. Cheap, and asked for every request.
    pub(crate) fn is_named(&self, authority: &str) -> bool {
        let host = without_port(authority);
        host.eq_ignore_ascii_case(&self.host) || self.loopback && is_loopback(host)
    }

    fn is_origin(&self, origin: &str) -> bool {
        origin
            .split_once("://")
            .is_some_and(|(scheme, authority)| scheme == self.scheme && self.is_host(authority))
    }

    /// Whether the request is for this site.
    ///
    /// # Errors
    /// 421.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), RpcError> {
        let host = host_named(uri, headers);
        if host.is_some_and(|host| self.is_host(host)) { Ok(()) } else { Err(wrong_host()) }
    }

    /// The origin to answer a browser's request with, if it came from a page that may ask.
    ///
    /// # Errors
    /// 421 for another host, 403 for another origin.
    pub(crate) fn check<'h>(
        &self,
        uri: &Uri,
        headers: &'h HeaderMap,
    ) -> Result<Option<&'h HeaderValue>, RpcError> {
        self.check_host(uri, headers)?;
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = origins.next();
        let allowed = match origin {
            None => true,
            Some(origin) => {
                origins.next().is_none() && origin.to_str().is_ok_and(|origin| self.is_origin(origin))
            }
        };
        if allowed {
            Ok(origin)
        } else {
            Err(RpcError::new(
                StatusCode::FORBIDDEN,
                code::FORBIDDEN,
                "Web pages of this origin may not use the endpoint.",
            )
            .word("origin_not_allowed"))
        }
    }
}

const ALLOW_HEADERS: &str = "Authorization, Content-Type, X-API-Key, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, Last-Event-ID";
/// What a page may read.
pub(crate) const EXPOSE: HeaderValue = HeaderValue::from_static(
    "WWW-Authenticate, Mcp-Session-Id, X-Request-Id, Retry-After, RateLimit, RateLimit-Policy",
);

/// The answer to a browser that asks before it sends, from an allowed origin.
pub(crate) fn preflight(headers: &HeaderMap, origin: &HeaderValue) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    // `Mcp-Param-*` cannot be listed: what the page asks for is repeated, as far as it is of that kind.
    let asked =
        headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let params = asked.split(',').map(str::trim).filter(|name| {
        name.to_ascii_lowercase().starts_with("mcp-param-") && HeaderName::try_from(*name).is_ok()
    });
    let allow = params.fold(ALLOW_HEADERS.to_owned(), |list, name| format!("{list}, {name}"));
    let out = response.headers_mut();
    out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, DELETE"));
    if let Ok(allow) = HeaderValue::try_from(allow) {
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allow);
    }
    out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    cors(&mut response, origin);
    response
}

/// Lets a page of this origin read the answer (OAM-03).
pub(crate) fn cors(response: &mut Response, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// Whether this is a browser's question before a request.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(public: &str, host: &str, origin: Option<&str>) -> u16 {
        let site = Site::new(&public.parse().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        site.check(&Uri::from_static("/mcp/acme"), &headers).map_or_else(|e| e.status.as_u16(), |_| 200)
    }

    #[test]
    fn rsv_10_only_our_host_and_origin_are_answered() {
        let public = "https://gate.example.com";
        assert_eq!(check(public, "gate.example.com", None), 200);
        assert_eq!(check(public, "GATE.example.com:443", None), 200);
        assert_eq!(check(public, "gate.example.com:8443", None), 421);
        assert_eq!(check(public, "evil.test", None), 421);
        assert_eq!(check(public, "gate.example.com.evil.test", None), 421);
        assert_eq!(check(public, "localhost", None), 421);
        assert_eq!(check(public, "gate.example.com", Some("https://gate.example.com")), 200);
        for origin in
            ["http://gate.example.com", "https://evil.test", "null", "https://gate.example.com:8443", ""]
        {
            assert_eq!(check(public, "gate.example.com", Some(origin)), 403, "{origin}");
        }
    }

    #[test]
    fn rsv_10_loopback_names_are_one_host() {
        let public = "http://127.0.0.1:3000";
        for host in ["127.0.0.1:3000", "localhost:3000", "[::1]:3000", "LOCALHOST:3000"] {
            assert_eq!(check(public, host, None), 200, "{host}");
            assert_eq!(check(public, host, Some("http://localhost:3000")), 200, "{host}");
        }
        for host in ["127.0.0.1", "localhost:3001", "127.0.0.2:3000", "rebound.test:3000", "[::1]"] {
            assert_eq!(check(public, host, None), 421, "{host}");
        }
        assert_eq!(check(public, "localhost:3000", Some("http://localhost:5173")), 403);
        assert_eq!(check(public, "localhost:3000", Some("https://localhost:3000")), 403);
    }
}
