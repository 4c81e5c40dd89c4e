//! Who connects: the request's id, the client's address behind trusted proxies, the line in the log.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::Response,
};
use domain::{
    Env,
    request::{ClientIp, ForwardedHost, RequestId},
};
use ipnet::IpNet;
use model::paths;
use uuid::Uuid;

use super::problem::problem;

/// The address of the TCP connection's other end. Set by the accept loop.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Whether the client came to the outermost proxy by https. A request extension; absent when nobody trusted says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedHttps(pub bool);

/// What is known of the outside.
#[derive(Clone)]
pub struct Edge {
    /// Clock and settings.
    pub env: Env,
    /// Ids of requests.
    pub ids: Arc<RequestIds>,
    /// Proxies whose word counts.
    pub trusted: Arc<[IpNet]>,
}

/// Makes ids of requests: UUIDs that begin with the time (RFC 9562 §5.7). They tell requests apart and are no secret, so they are
/// made without asking the operating system for each; and they do not tell how many requests others make.
#[derive(Debug, Default)]
pub struct RequestIds {
    /// Keys of a hash, random for each process.
    keys: RandomState,
    next: AtomicU64,
}

impl RequestIds {
    /// Another id, at this Unix time in milliseconds.
    fn another(&self, now: i64) -> Uuid {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let [a, b] = [number, !number].map(|number| self.keys.hash_one(number).to_be_bytes());
        let mut random = [0; 10];
        random[..8].copy_from_slice(&a);
        random[8..].copy_from_slice(&b[..2]);
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(now).unwrap_or(0), &random).into_uuid()
    }
}

const LONGEST_URL: usize = 8 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where the log has a line for each request.
const LOG: &str = "server::access";

/// A request that has come in.
#[derive(Debug)]
pub struct Arrival {
    /// Its id.
    pub id: String,
    /// What the line in the log says of it, where anybody reads that log.
    told: Option<(Method, String)>,
    started: i64,
}

/// Gives the request its id and the client's address.
pub fn identify(edge: &Edge, request: &mut Request) -> Arrival {
    let id = edge.ids.another(edge.env.clock.now()).simple().to_string();
    let told = tracing::enabled!(target: LOG, tracing::Level::DEBUG)
        .then(|| (request.method().clone(), shown(request.uri().path())));
    let arrival = Arrival { id, told, started: edge.env.clock.now_micros() };

    let peer = request.extensions().get::<Peer>().map(|peer| unmapped(peer.0.ip()));
    if let Some(peer) = peer {
        let trusted = is_trusted(peer, &edge.trusted);
        let client = if trusted { forwarded_for(request.headers(), peer, &edge.trusted) } else { Some(peer) };
        if let Some(client) = client {
            request.extensions_mut().insert(ClientIp(client));
        }
        if trusted && let Some(host) = forwarded_host(request.headers()) {
            let host = ForwardedHost(host.to_owned());
            request.extensions_mut().insert(host);
        }
        if trusted && let Some(proto) = request.headers().get("x-forwarded-proto") {
            let https = proto.as_bytes().eq_ignore_ascii_case(b"https");
            request.extensions_mut().insert(ForwardedHttps(https));
        }
    }
    request.extensions_mut().insert(RequestId(arrival.id.clone()));
    arrival
}

/// The answer to a request whose URL is too long.
pub fn refuse_long(request: &Request, id: &str) -> Option<Response<Body>> {
    let too_long = request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > LONGEST_URL);
    too_long.then(|| problem(StatusCode::URI_TOO_LONG, "url_too_long", "The URL is longer than 8 KiB.", id))
}

/// A path as the log has it. The query may hold a credential, so it stays out (APK-09).
pub(crate) fn shown(path: &str) -> String {
    match paths::SECRET_BELOW.iter().find(|below| path.starts_with(**below)) {
        Some(below) => format!("{below}…"),
        None => path.escape_debug().to_string(),
    }
}

impl Arrival {
    /// Tells the request's id with its answer, and logs one line.
    pub fn leave(self, edge: &Edge, mut response: Response<Body>) -> Response<Body> {
        if let Some((method, path)) = &self.told {
            let micros = edge.env.clock.now_micros() - self.started;
            let (status, id) = (response.status().as_u16(), &self.id);
            tracing::debug!(target: LOG, %method, path, status, micros, request_id = id, "answered");
        }
        if let Ok(value) = HeaderValue::try_from(self.id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
}

/// Turns a panic into an answer that tells nothing but the request's id (ERR-01).
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> Response<Body> {
    tracing::error!(panic = panic_text(panic), "a request panicked");
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Gatehouse could not answer this request.", "")
}

/// What a panic said, for the log.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

/// An IPv4 address in IPv6's clothes as what it is.
pub(crate) fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The client as the nearest trusted proxies tell it: X-Forwarded-For is read from the right, past trusted hops; the
/// left-most entry is the client's own word and counts for nothing (IPA-01). An entry that is no address leaves the
/// request without one.
fn forwarded_for(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut nearest = peer;
    let lines = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|line| line.to_str().ok())
        .collect::<Option<Vec<&str>>>()?;
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        nearest = unmapped(entry_address(entry.trim())?);
        if !is_trusted(nearest, trusted) {
            break;
        }
    }
    Some(nearest)
}

/// The host that the client asked for, as the nearest proxy tells it. Of several nobody knows who said them.
fn forwarded_host(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all("x-forwarded-host").iter();
    let host = all.next()?.to_str().ok()?;
    (all.next().is_none() && !host.contains(',')).then_some(host)
}

/// The address of an entry. Some proxies add the port: `192.0.2.1:567`, `[2001:db8::1]:443`.
fn entry_address(entry: &str) -> Option<IpAddr> {
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = entry.parse().ok();
    address.or_else(|| entry.parse::<SocketAddr>().ok().map(|both| both.ip())).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn ids_of_requests_tell_them_apart_and_begin_with_the_time() {
        let ids = RequestIds::default();
        let made: HashSet<Uuid> = (0..1000).map(|_| ids.another(1_700_000_000_000)).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.get_version_num() == 7));
        assert!(made.iter().max() < Some(&ids.another(1_700_000_000_001)));
        assert!(!made.contains(&RequestIds::default().another(1_700_000_000_000)));
    }

    #[test]
    fn err_02_a_link_that_acts_is_not_in_the_log() {
        let token = "dG9rZW4tb2YtYS1saW5r";
        for path in [
            paths::setup(token),
            paths::reset_password(token),
            paths::invitation(token),
            paths::confirm_address(token),
            paths::finish_sign_up(token),
        ] {
            let shown = shown(&path);
            assert!(shown.ends_with("/…") && !shown.contains(token), "{shown}");
        }
        assert_eq!(shown("/sign-up"), "/sign-up");
        assert_eq!(shown("/a\r\nb"), "/a\\r\\nb");
    }

    #[test]
    fn ipa_01_forwarded_for_is_read_from_the_right() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let peer = "10.0.0.1".parse().unwrap();
        let client = |lines: &[&str]| forwarded_for(&headers(lines), peer, &trusted).map(|ip| ip.to_string());
        assert_eq!(client(&[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(client(&["198.51.100.1, 203.0.113.9, 10.2.2.2"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["6.6.6.6", "203.0.113.9"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["::ffff:203.0.113.9"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["203.0.113.9:567"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["203.0.113.9, 10.2.2.2:443"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client(&["[2001:db8::1]:443"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(client(&["[2001:db8::1]"]).as_deref(), Some("2001:db8::1"));
        for garbage in
            ["garbage", "", "203.0.113.9:", "203.0.113.9:x", "[203.0.113.9]", "2001:db8::1]:443", "_hidden"]
        {
            assert_eq!(client(&[&format!("203.0.113.9, {garbage}")]), None, "{garbage}");
        }
    }
}
