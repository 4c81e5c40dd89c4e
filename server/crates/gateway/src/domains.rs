//! Organisations' own domains: whose one a request names, and what is answered there: the endpoint of that organisation, its
//! documents, and nothing else (TEN-06, RSV-10).

use axum::{extract::Request, response::Response};
use domain::{
    mcp::code,
    request::{ClientIp, ForwardedHost},
};
use http::{HeaderMap, Method, StatusCode, header};
use model::{OrgId, paths};

use crate::{
    Gateway,
    auth::{At, Endpoint},
    guard::{self, host_named},
    handler::{self, not_found, rest},
    metadata::{self, well_formed},
    old,
    reply::RpcError,
};

/// Where the documents of endpoints begin.
const DOCUMENTS: &str = "/.well-known/oauth-protected-resource";

/// A domain that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    org: OrgId,
    /// In lower case.
    host: String,
}

/// What is at a path of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'p> {
    Endpoint {
        connector: Option<&'p str>,
        bare: bool,
    },
    /// The same by the transport of 2024-11-05.
    Old {
        connector: Option<&'p str>,
        bare: bool,
    },
    /// The document about an endpoint.
    Document {
        connector: Option<&'p str>,
        bare: bool,
    },
    Invoke,
    Tools,
}

/// What is at a path of the domain of the organisation with this slug.
fn place<'p>(path: &'p str, slug: &str) -> Option<Place<'p>> {
    if path == paths::rest_invoke() {
        return Some(Place::Invoke);
    }
    if path == paths::rest_tools() {
        return Some(Place::Tools);
    }
    if let Some(of) = path.strip_prefix(DOCUMENTS) {
        // Some clients ask for the document of the whole host.
        let of = if of.is_empty() { paths::mcp_at_domain() } else { of };
        return match endpoint(of, slug)? {
            Place::Endpoint { connector, bare } => Some(Place::Document { connector, bare }),
            _ => None,
        };
    }
    endpoint(path, slug)
}

fn endpoint<'p>(path: &'p str, slug: &str) -> Option<Place<'p>> {
    let rest = path.strip_prefix(paths::mcp_at_domain())?;
    if rest.is_empty() {
        return Some(Place::Endpoint { connector: None, bare: true });
    }
    let mut segments = rest.strip_prefix('/')?.split('/');
    let all = (segments.next()?, segments.next(), segments.next(), segments.next());
    match all {
        (org, None, ..) if org == slug => Some(Place::Endpoint { connector: None, bare: false }),
        ("sse", None, ..) => Some(Place::Old { connector: None, bare: true }),
        (org, Some("sse"), None, _) if org == slug => Some(Place::Old { connector: None, bare: false }),
        (org, Some(connector), last, None) if org == slug && well_formed(connector) => match last {
            None => Some(Place::Endpoint { connector: Some(connector), bare: false }),
            Some("sse") => Some(Place::Old { connector: Some(connector), bare: false }),
            Some(_) => None,
        },
        _ => None,
    }
}

impl Gateway {
    /// The organisation's own domain that a request is for, if it is for one: by its `Host`, or by what a trusted proxy says
    /// that was. The port does not count. Costs a comparison for requests to the instance's own address.
    pub fn domain_of(&self, request: &Request) -> Option<Domain> {
        let forwarded = request.extensions().get::<ForwardedHost>().map(|host| host.0.as_str());
        let named = host_named(request.uri(), request.headers());
        forwarded.into_iter().chain(named).find_map(|authority| {
            if self.0.site.is_named(authority) {
                return None;
            }
            let host = guard::without_port(authority).to_ascii_lowercase();
            let org = self.0.planes.at_host(&host)?;
            Some(Domain { org, host })
        })
    }

    /// Answers a request for a domain.
    pub async fn answer_at(&self, domain: Domain, request: Request) -> Response {
        self.at_domain(&domain, request).await.unwrap_or_else(|error| error.respond(None))
    }

    async fn at_domain(&self, domain: &Domain, request: Request) -> Result<Response, RpcError> {
        let inner = &self.0;
        let ready = inner.planes.ready(domain.org).await.map_err(|_| handler::unavailable())?;
        // The snapshot is newer than the table of hosts may be.
        let proven = ready.as_ref().and_then(|ready| {
            let proven = ready.plane.domain.as_ref().filter(|proven| *proven.host == *domain.host);
            Some((ready, proven?))
        });
        let Some((ready, proven)) = proven else { return Err(guard::wrong_host()) };
        let (head, body) = request.into_parts();
        let slug = ready.plane.slug.as_str();
        let uri = head.uri.clone();
        let place = place(uri.path(), slug).ok_or_else(not_found)?;
        if let Place::Document { connector, bare } = place {
            let endpoint =
                Endpoint { site: &inner.site, slug, connector, at: Some(At { base: &proven.base, bare }) };
            let from = head.extensions.get::<ClientIp>().map(|ip| ip.0);
            return match head.method {
                Method::GET | Method::HEAD => {
                    Ok(metadata::described(self, &endpoint.url(), Some(domain.org), from, &head.headers)
                        .await)
                }
                Method::OPTIONS => Ok(metadata::preflight().await),
                _ => Err(handler::method_not_allowed("GET")),
            };
        }
        let origin = origin(&proven.base, &head.headers)?.cloned();
        if let Some(origin) = &origin
            && guard::is_preflight(&head.method, &head.headers)
        {
            return Ok(guard::preflight(&head.headers, origin));
        }
        let at = |connector, bare| Endpoint {
            site: &inner.site,
            slug,
            connector,
            at: Some(At { base: &proven.base, bare }),
        };
        let mut response = match place {
            Place::Old { connector, bare } => {
                old::serve(inner.clone(), at(connector, bare), head, body).await
            }
            Place::Invoke if head.method == Method::POST => {
                rest::at_domain(inner, ready, at(None, true), (head, body), rest::Wanted::Invoke).await
            }
            Place::Tools if head.method == Method::GET => {
                rest::at_domain(inner, ready, at(None, true), (head, body), rest::Wanted::Tools).await
            }
            Place::Invoke => handler::method_not_allowed("POST").respond(None),
            Place::Tools => handler::method_not_allowed("GET").respond(None),
            Place::Endpoint { connector, bare } | Place::Document { connector, bare } => {
                handler::judged(inner, at(connector, bare), head, body).await
            }
        };
        if let Some(origin) = &origin {
            guard::cors(&mut response, origin);
        }
        Ok(response)
    }
}

/// The origin to answer a browser's request with: only that of the domain itself.
fn origin<'h>(base: &str, headers: &'h HeaderMap) -> Result<Option<&'h http::HeaderValue>, RpcError> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(None),
        (Some(origin), None) if origin.as_bytes().eq_ignore_ascii_case(base.as_bytes()) => Ok(Some(origin)),
        _ => Err(RpcError::new(
            StatusCode::FORBIDDEN,
            code::FORBIDDEN,
            "Web pages of this origin may not use the endpoint.",
        )
        .word("origin_not_allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_06_a_domain_has_one_organisations_endpoint_and_nothing_else() {
        let bare = |connector| Some(Place::Endpoint { connector, bare: true });
        let full = |connector| Some(Place::Endpoint { connector, bare: false });
        assert_eq!(place("/mcp", "acme"), bare(None));
        assert_eq!(place("/mcp/acme", "acme"), full(None));
        assert_eq!(place("/mcp/acme/git", "acme"), full(Some("git")));
        assert_eq!(place("/mcp/sse", "acme"), Some(Place::Old { connector: None, bare: true }));
        assert_eq!(place("/mcp/sse", "sse"), full(None), "an organisation may be called so");
        assert_eq!(place("/mcp/acme/sse", "acme"), Some(Place::Old { connector: None, bare: false }));
        assert_eq!(
            place("/mcp/acme/git/sse", "acme"),
            Some(Place::Old { connector: Some("git"), bare: false })
        );
        assert_eq!(place("/v1/mcp/invoke", "acme"), Some(Place::Invoke));
        assert_eq!(place("/v1/mcp/tools", "acme"), Some(Place::Tools));
        let document = |connector, bare| Some(Place::Document { connector, bare });
        assert_eq!(place(DOCUMENTS, "acme"), document(None, true));
        for (path, what) in [
            ("/mcp", document(None, true)),
            ("/mcp/acme", document(None, false)),
            ("/mcp/acme/git", document(Some("git"), false)),
            ("/mcp/bolt", None),
            ("/mcp/sse", None),
            ("/", None),
        ] {
            assert_eq!(place(&format!("{DOCUMENTS}{path}"), "acme"), what, "{path}");
        }
        for nothing in [
            "/",
            "/login",
            "/metrics",
            "/mcp/",
            "/mcp/bolt",
            "/mcp/acme/",
            "/mcp/acmex",
            "/mcpx",
            "/mcp/git",
            "/mcp/acme/git/x",
            "/mcp/acme/git/sse/x",
            "/mcp/acme/G",
            "/mcp/%61cme",
            "/MCP",
            "/v1/mcp/openapi.json",
            "/.well-known/oauth-authorization-server",
            "/oauth/authorize",
        ] {
            assert_eq!(place(nothing, "acme"), None, "{nothing}");
        }
    }

    #[test]
    fn rsv_10_only_pages_of_the_domain_itself_may_ask() {
        let asks = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            super::origin("https://api.acme.com", &headers).is_ok()
        };
        assert!(asks("https://api.acme.com") && asks("https://API.acme.com"));
        for foreign in
            ["https://gate.example", "http://api.acme.com", "https://api.acme.com:8443", "null", ""]
        {
            assert!(!asks(foreign), "{foreign}");
        }
        assert_eq!(super::origin("https://api.acme.com", &HeaderMap::new()).unwrap(), None);
    }
}
