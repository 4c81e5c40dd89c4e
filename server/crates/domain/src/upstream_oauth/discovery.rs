//! Finding out who gives access to a server: its challenge, the metadata of the resource (RFC 9728), the metadata of its
//! authorization server (RFC 8414, `OpenID` Connect Discovery). MCP 2026-07-28, basic/authorization.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::wire;
use crate::{Env, mcp::MODERN, net::NetError};

/// The longest URL or scope that is taken from a server, bytes.
const LONGEST: usize = 2048;
/// The scope that asks for a refresh token (`OpenID` Connect Core §11, MCP SEP-2207).
pub(super) const OFFLINE: &str = "offline_access";

/// Why nobody can be asked for access. `Display` is for the person who sets it up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The server asks for nothing, and names nobody.
    #[error(
        "The server does not say who gives access to it. Enter its authorization server, or use a static header."
    )]
    NotAsked,
    /// The way to a document failed.
    #[error("{what} at {host} could not be read. {why}")]
    Net {
        /// What was asked for.
        what: &'static str,
        /// Where.
        host: String,
        /// Why.
        why: NetError,
    },
    /// There is a document, but it cannot be used.
    #[error("{what} at {host} cannot be used: {why}.")]
    Bad {
        /// What was asked for.
        what: &'static str,
        /// Where.
        host: String,
        /// Why.
        why: &'static str,
    },
}

/// What a server asks for when it refuses (RFC 6750 §3, RFC 9728 §5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where the metadata of the resource is.
    pub resource_metadata: Option<String>,
    /// What is needed for what was refused.
    pub scope: Option<String>,
    /// `insufficient_scope`, `invalid_token`, …
    pub error: Option<String>,
}

impl Challenge {
    /// Reads the Bearer challenge among the `WWW-Authenticate` headers.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(Self::parse)
    }

    fn parse(line: &str) -> Option<Self> {
        let at = bearer(line)?;
        let mut challenge = Self::default();
        let mut rest = &line[at..];
        while let Some((name, value, after)) = parameter(rest) {
            let slot = match name.to_ascii_lowercase().as_str() {
                "resource_metadata" => Some(&mut challenge.resource_metadata),
                "scope" => Some(&mut challenge.scope),
                "error" => Some(&mut challenge.error),
                _ => None,
            };
            if let Some(slot) = slot
                && slot.is_none()
                && value.len() <= LONGEST
            {
                *slot = Some(value);
            }
            rest = after;
        }
        challenge.scope = challenge.scope.filter(|scope| is_scope(scope));
        Some(challenge)
    }
}

/// Behind the word `Bearer` where it begins a challenge.
fn bearer(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let mut from = 0;
    while let Some(found) = lower[from..].find("bearer") {
        let (start, end) = (from + found, from + found + "bearer".len());
        let begins = lower[..start].trim_end().is_empty() || lower[..start].trim_end().ends_with(',');
        let ends = lower[end..].is_empty() || lower[end..].starts_with(' ');
        // Not within a quoted text.
        if begins && ends && lower[..start].matches('"').count().is_multiple_of(2) {
            return Some(end);
        }
        from = end;
    }
    None
}

/// The next `name=value` or `name="value"`, and what follows; `None` at the end or at the next challenge.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_end();
    if name.is_empty() || !crate::mcp::header::is_token(name) {
        return None;
    }
    let rest = rest.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', ' ', '\t']).unwrap_or(rest.len());
        return Some((name, rest[..end].to_owned(), &rest[end..]));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((name, value, &quoted[at + 1..])),
            _ => value.push(c),
        }
    }
    None
}

/// RFC 6749 §3.3.
pub(super) fn is_scope(scope: &str) -> bool {
    scope.len() <= LONGEST
        && scope.bytes().all(|b| b == b' ' || (0x21..0x7F).contains(&b) && b != b'"' && b != b'\\')
}

/// What is to be asked for, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `resource` of RFC 8707.
    pub resource: String,
    /// The scope that the server names; empty when it names none.
    pub scope: String,
    /// Its authorization server.
    pub server: Server,
}

/// An authorization server, as it describes itself.
#[expect(clippy::struct_excessive_bools, reason = "they are those of its metadata")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its issuer identifier, byte for byte.
    pub issuer: String,
    /// Where people are sent; empty if nowhere.
    pub authorization_endpoint: String,
    /// Where tokens are.
    pub token_endpoint: String,
    /// Where clients register themselves.
    pub registration_endpoint: Option<String>,
    /// How clients may authenticate at the token endpoint; the default of RFC 8414 if it does not say.
    pub auth_methods: Vec<String>,
    /// The scopes that it names.
    pub scopes: Vec<String>,
    /// Whether PKCE with S256 is supported.
    pub s256: bool,
    /// Whether its answers carry `iss` (RFC 9207).
    pub iss: bool,
    /// Whether a client may be the URL of a document.
    pub documents: bool,
    /// Whether somebody typed its issuer, instead of the connector's server naming it.
    #[serde(default)]
    pub typed: bool,
}

impl Server {
    /// The host of the page where people sign in, or of the server.
    pub fn host(&self) -> String {
        let url =
            if self.authorization_endpoint.is_empty() { &self.issuer } else { &self.authorization_endpoint };
        host(url)
    }
}

/// The host of a URL, with its port where that is unusual.
pub(crate) fn host(url: &str) -> String {
    Url::parse(url)
        .ok()
        .and_then(|url| {
            let host = url.host_str()?.to_owned();
            Some(url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
        })
        .unwrap_or_default()
}

/// Asks a connector's URL, without credentials, who gives access. `issuer` is what somebody typed; then the server is
/// asked for its resource and its scope alone.
///
/// # Errors
/// Why it cannot be found out.
pub(super) async fn discover(env: &Env, url: &Url, issuer: Option<&str>) -> Result<Found, DiscoveryError> {
    let challenge = challenge(env, url).await;
    let resource = resource(env, url, challenge.as_ref()).await?;
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    let origin = bare.origin().ascii_serialization();
    let issuer = match (issuer, &resource) {
        (Some(issuer), _) => issuer.to_owned(),
        (None, Some(resource)) => resource.servers.first().cloned().ok_or(DiscoveryError::NotAsked)?,
        // Servers of 2025-03-26 are their own authorization server.
        (None, None) => origin,
    };
    let server = match authorization_server(env, &issuer).await {
        Err(DiscoveryError::NotAsked) if resource.is_some() => Err(DiscoveryError::Bad {
            what: "The metadata of the authorization server",
            host: host(&issuer),
            why: "there is none",
        }),
        other => other,
    }?;
    let asked = challenge.and_then(|challenge| challenge.scope);
    let scope = asked.or_else(|| resource.as_ref().map(|resource| resource.scopes.join(" ")));
    Ok(Found {
        resource: resource.map_or_else(|| canonical(&bare), |resource| resource.id),
        scope: scope.unwrap_or_default(),
        server,
    })
}

/// The URL as an identifier of the resource: without a slash that stands for no path.
fn canonical(url: &Url) -> String {
    if url.path() == "/" { url.as_str().trim_end_matches('/').to_owned() } else { url.as_str().to_owned() }
}

/// What the server answers to somebody without credentials.
async fn challenge(env: &Env, url: &Url) -> Option<Challenge> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{"_meta":{{"{}":"{MODERN}","{}":{{}}}}}}}}"#,
        crate::mcp::meta::PROTOCOL_VERSION,
        crate::mcp::meta::CLIENT_CAPABILITIES
    );
    let request = http::Request::post(url.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", HeaderValue::from_static(MODERN))
        .header("mcp-method", HeaderValue::from_static("server/discover"))
        .body(Bytes::from(body))
        .ok()?;
    // Only the head counts: the body may be a stream that does not end.
    let head = tokio::time::timeout(env.upstream.patience, env.outbound.send(request));
    let response = head.await.ok()?.ok()?;
    matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        .then(|| Challenge::read(response.headers()))?
}

struct Resource {
    id: String,
    servers: Vec<String>,
    scopes: Vec<String>,
}

/// RFC 9728 §3.1: the well-known part goes between host and path; then the root, as the protocol wants it.
fn resource_documents(url: &Url) -> Vec<String> {
    let origin = url.origin().ascii_serialization();
    let root = format!("{origin}/.well-known/oauth-protected-resource");
    let path = url.path().trim_end_matches('/');
    if path.is_empty() { vec![root] } else { vec![format!("{root}{path}"), root] }
}

async fn resource(
    env: &Env,
    url: &Url,
    challenge: Option<&Challenge>,
) -> Result<Option<Resource>, DiscoveryError> {
    const WHAT: &str = "The metadata of the server";
    let named = challenge.and_then(|challenge| challenge.resource_metadata.clone());
    let candidates = named.map_or_else(|| resource_documents(url), |named| vec![named]);
    let is_named = challenge.is_some_and(|challenge| challenge.resource_metadata.is_some());
    for candidate in candidates {
        let bad = |why| DiscoveryError::Bad { what: WHAT, host: host(&candidate), why };
        let answer = wire::get(env, &candidate).await.map_err(|why| DiscoveryError::Net {
            what: WHAT,
            host: host(&candidate),
            why,
        })?;
        if answer.status != StatusCode::OK {
            if is_named {
                return Err(bad("the address that the server names leads to no document"));
            }
            continue;
        }
        let Some(document) = answer.object() else {
            if is_named {
                return Err(bad("it is not a JSON object"));
            }
            continue;
        };
        let id = text(&document, "resource").ok_or_else(|| bad("it names no resource"))?;
        if !covers(&id, url) {
            return Err(bad("it is about another resource than this connector's address"));
        }
        return Ok(Some(Resource {
            id,
            servers: texts(&document, "authorization_servers"),
            scopes: texts(&document, "scopes_supported"),
        }));
    }
    Ok(None)
}

/// Whether metadata about `resource` speaks for this URL: the same origin, and the same path or one above it
/// (SSR-10; RFC 9728 §3.3, widened to servers that describe themselves once for all of their endpoints).
pub(super) fn covers(resource: &str, url: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    if resource.origin() != url.origin()
        || resource.cannot_be_a_base()
        || resource.fragment().is_some()
        || !resource.username().is_empty()
        || resource.password().is_some()
    {
        return false;
    }
    let (above, path) = (resource.path().trim_end_matches('/'), url.path().trim_end_matches('/'));
    path == above || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// Where the metadata of an issuer may be, in the order that MCP wants (2025-11-25, basic/authorization).
fn server_documents(issuer: &Url) -> Vec<String> {
    let origin = issuer.origin().ascii_serialization();
    let path = issuer.path().trim_end_matches('/');
    let mut candidates = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        candidates.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    candidates
}

/// What an authorization server says about itself. Its `issuer` has to be the identifier that it was found by, byte for
/// byte (RFC 8414 §3.3): otherwise anybody could speak for anybody.
///
/// # Errors
/// [`DiscoveryError::NotAsked`] when there is no document at all.
pub(super) async fn authorization_server(env: &Env, issuer: &str) -> Result<Server, DiscoveryError> {
    const WHAT: &str = "The metadata of the authorization server";
    let bad = |why| DiscoveryError::Bad { what: WHAT, host: host(issuer), why };
    let url = Url::parse(issuer).map_err(|_| bad("its identifier is no URL"))?;
    if issuer.len() > LONGEST || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("its identifier has a query or a fragment"));
    }
    check_url(env, issuer).map_err(|why| DiscoveryError::Net { what: WHAT, host: host(issuer), why })?;
    for candidate in server_documents(&url) {
        let answer = wire::get(env, &candidate).await.map_err(|why| DiscoveryError::Net {
            what: WHAT,
            host: host(issuer),
            why,
        })?;
        if answer.status.is_server_error() {
            return Err(bad("it answers with a failure of its own"));
        }
        if answer.status != StatusCode::OK {
            continue;
        }
        let Some(document) = answer.object() else { continue };
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(bad("it names another issuer than the one it was found by"));
        }
        return read_server(env, issuer, &document).map_err(bad);
    }
    Err(DiscoveryError::NotAsked)
}

/// Whether Gatehouse and people may go there: `https`, or what the operator allowed.
fn check_url(env: &Env, url: &str) -> Result<(), NetError> {
    let parsed = Url::parse(url).map_err(|_| NetError::Blocked(crate::net::Blocked::Host))?;
    env.outbound.check_url(&parsed)
}

fn read_server(env: &Env, issuer: &str, document: &Map<String, Value>) -> Result<Server, &'static str> {
    let endpoint = |name: &str| -> Result<Option<String>, &'static str> {
        match text(document, name) {
            None => Ok(None),
            // Never `javascript:` and the like: this becomes a link (SSR-10).
            Some(url) if check_url(env, &url).is_ok() => Ok(Some(url)),
            Some(_) => Err("one of its endpoints is at an address where Gatehouse does not go"),
        }
    };
    let page = endpoint("authorization_endpoint")?.unwrap_or_default();
    // The other endpoints are judged again when they are dialled. This one is dialled by people's browsers: without TLS
    // only where the metadata was just read from (SSR-10).
    let origin = |url: &str| Url::parse(url).map(|url| url.origin());
    if !page.is_empty() && !page.starts_with("https://") && origin(&page) != origin(issuer) {
        return Err("one of its endpoints is at an address where Gatehouse does not go");
    }
    let methods = texts(document, "token_endpoint_auth_methods_supported");
    Ok(Server {
        issuer: issuer.to_owned(),
        authorization_endpoint: page,
        token_endpoint: endpoint("token_endpoint")?.ok_or("it names no token endpoint")?,
        registration_endpoint: endpoint("registration_endpoint")?,
        // RFC 8414 §2: what the absence of the list means.
        auth_methods: if methods.is_empty() { vec!["client_secret_basic".to_owned()] } else { methods },
        scopes: texts(document, "scopes_supported"),
        s256: texts(document, "code_challenge_methods_supported").iter().any(|method| method == "S256"),
        iss: flag(document, "authorization_response_iss_parameter_supported"),
        documents: flag(document, "client_id_metadata_document_supported"),
        typed: false,
    })
}

fn text(document: &Map<String, Value>, name: &str) -> Option<String> {
    document.get(name)?.as_str().filter(|text| !text.is_empty() && text.len() <= LONGEST).map(str::to_owned)
}

fn texts(document: &Map<String, Value>, name: &str) -> Vec<String> {
    let Some(Value::Array(list)) = document.get(name) else { return Vec::new() };
    let fits = |text: &&str| !text.is_empty() && text.len() <= LONGEST;
    list.iter().take(100).filter_map(Value::as_str).filter(fits).map(str::to_owned).collect()
}

fn flag(document: &Map<String, Value>, name: &str) -> bool {
    document.get(name) == Some(&Value::Bool(true))
}

/// Scopes of both, each once, in order.
pub(super) fn union(one: &str, other: &str) -> String {
    let mut all: Vec<&str> = Vec::new();
    for scope in one.split(' ').chain(other.split(' ')).filter(|scope| !scope.is_empty()) {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_wherever_it_stands() {
        let read = |line: &str| Challenge::parse(line);
        let challenge = read(
            r#"Basic realm="a, Bearer b", Bearer error="invalid_token", resource_metadata="https://x.test/a\"b", scope="a b:c""#,
        )
        .unwrap();
        assert_eq!(challenge.resource_metadata.as_deref(), Some("https://x.test/a\"b"));
        assert_eq!(challenge.scope.as_deref(), Some("a b:c"));
        assert_eq!(challenge.error.as_deref(), Some("invalid_token"));
        assert_eq!(read("Bearer"), Some(Challenge::default()));
        assert_eq!(
            read("bearer SCOPE=mcp"),
            Some(Challenge { scope: Some("mcp".into()), ..Default::default() })
        );
        assert_eq!(read("Basic realm=\"Bearer \""), None);
        assert_eq!(read("DPoP x=1"), None);
        // A scope that is none is not asked for.
        assert_eq!(read("Bearer scope=\"a\\\\b\"").unwrap().scope, None);
    }

    #[test]
    fn ssr_10_metadata_speaks_for_its_own_resource_alone() {
        let url = Url::parse("https://mcp.example.com/v1/mcp?key=1").unwrap();
        for good in [
            "https://mcp.example.com/v1/mcp",
            "https://mcp.example.com/v1/mcp/",
            "https://mcp.example.com/v1",
            "https://mcp.example.com",
            "https://MCP.example.com:443/",
        ] {
            assert!(covers(good, &url), "{good}");
        }
        for bad in [
            "https://mcp.example.com/v1/mc",
            "https://mcp.example.com/v1/mcp/x",
            "https://mcp.example.com/v2/mcp",
            "https://mcp.example.com.evil.test/v1/mcp",
            "https://mcp.example.com:8443/v1/mcp",
            "http://mcp.example.com/v1/mcp",
            "https://evil@mcp.example.com/v1/mcp",
            "https://mcp.example.com/v1/mcp#x",
            "/v1/mcp",
            "",
        ] {
            assert!(!covers(bad, &url), "{bad}");
        }
    }

    #[test]
    fn documents_are_looked_for_where_the_rfcs_put_them() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(
            resource_documents(&url("https://x.test/a/b?c=d")),
            [
                "https://x.test/.well-known/oauth-protected-resource/a/b",
                "https://x.test/.well-known/oauth-protected-resource"
            ]
        );
        assert_eq!(
            server_documents(&url("https://x.test/t1")),
            [
                "https://x.test/.well-known/oauth-authorization-server/t1",
                "https://x.test/.well-known/openid-configuration/t1",
                "https://x.test/t1/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            server_documents(&url("https://x.test/")),
            [
                "https://x.test/.well-known/oauth-authorization-server",
                "https://x.test/.well-known/openid-configuration"
            ]
        );
    }

    #[test]
    fn scopes_are_joined_once() {
        assert_eq!(union("a b", "b  c"), "a b c");
        assert_eq!(union("", ""), "");
    }
}
