//! OAuth 2.0 Protected Resource Metadata (RFC 9728) of each endpoint: what a client reads after a 401.

use std::net::IpAddr;

use axum::{
    Extension,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use domain::{mcp::json, request::ClientIp};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use model::{OrgId, paths};

use crate::{Gateway, reply::empty, seen};

/// Whether this may be a slug at all. Whether anything has it is not said here: the document is public.
pub(crate) fn well_formed(slug: &str) -> bool {
    (1..=63).contains(&slug.len())
        && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !slug.starts_with('-')
        && !slug.ends_with('-')
}

pub(crate) async fn org(
    State(gateway): State<Gateway>,
    Path(slug): Path<String>,
    uri: Uri,
    client: Option<Extension<ClientIp>>,
    headers: HeaderMap,
) -> Response {
    let path = well_formed(&slug).then(|| paths::mcp(&slug));
    let asked = Asked { slug: &slug, path, address: client.map(|client| client.0.0) };
    document(&gateway, &uri, &headers, asked).await
}

pub(crate) async fn connector(
    State(gateway): State<Gateway>,
    Path((slug, connector)): Path<(String, String)>,
    uri: Uri,
    client: Option<Extension<ClientIp>>,
    headers: HeaderMap,
) -> Response {
    let known = well_formed(&slug) && well_formed(&connector);
    let path = known.then(|| paths::mcp_connector(&slug, &connector));
    let asked = Asked { slug: &slug, path, address: client.map(|client| client.0.0) };
    document(&gateway, &uri, &headers, asked).await
}

/// Any page may read it: it says nothing that is not public, and browser clients need it.
fn open(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    // The site-wide policy would keep other sites' pages from reading it.
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("cross-origin"),
    );
    response
}

pub(crate) async fn preflight() -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("MCP-Protocol-Version"));
    open(response)
}

/// Which endpoint is asked about, and by whom.
struct Asked<'a> {
    slug: &'a str,
    /// The endpoint's path, if there may be one.
    path: Option<String>,
    address: Option<IpAddr>,
}

/// The issuer of the organisation's own identity provider, if there are both. When that cannot be read just now, ours
/// stands alone: the document is fetched again.
async fn provider(gateway: &Gateway, org: Option<OrgId>) -> Option<String> {
    let ready = gateway.0.planes.ready(org?).await.ok()??;
    ready.plane.idp.as_ref().map(|provider| provider.issuer.clone())
}

async fn document(gateway: &Gateway, uri: &Uri, headers: &HeaderMap, asked: Asked<'_>) -> Response {
    let site = &gateway.0.site;
    if let Err(error) = site.check_host(uri, headers) {
        return error.respond(None);
    }
    let Some(path) = asked.path else { return open(StatusCode::NOT_FOUND.into_response()) };
    let org = gateway.0.planes.lookup(asked.slug);
    described(gateway, &site.absolute(&path), org, asked.address, headers).await
}

/// The document about an endpoint, by its URL.
pub(crate) async fn described(
    gateway: &Gateway,
    resource: &str,
    org: Option<OrgId>,
    address: Option<IpAddr>,
    headers: &HeaderMap,
) -> Response {
    let resource = json::quoted(resource);
    // Ours first: clients that take only one sign in here (OAM-02).
    let mut issuers = json::quoted(&gateway.0.site.absolute(""));
    if let Some(org) = org {
        seen::metadata(&gateway.0, org, address, headers);
    }
    if let Some(issuer) = provider(gateway, org).await {
        issuers.push(',');
        issuers.push_str(&json::quoted(&issuer));
    }
    let body = format!(
        r#"{{"resource":{resource},"authorization_servers":[{issuers}],"scopes_supported":["mcp:call"],"bearer_methods_supported":["header"],"resource_name":"Gatehouse"}}"#
    );
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    open((headers, body).into_response())
}
