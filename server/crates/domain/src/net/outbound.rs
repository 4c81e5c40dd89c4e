//! The client itself. Every address is judged when it is dialled, so a name that changes its mind between a check and a
//! connection gains nothing (SSR-01, SSR-05).

use core::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use std::{
    collections::HashMap,
    error::Error,
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, RecordType},
};
use http::{
    HeaderMap, HeaderValue, Uri, Version, header,
    uri::{Authority, Scheme},
};
use http_body_util::{BodyDataStream, Full};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use url::Url;

use super::{
    allow::EgressAllow,
    dial::{self, Dialling},
    fault::ProcessFault,
    guard::{Blocked, Rules, check_url},
};

/// How long a name, a connection and its TLS handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one question to a name server may take; it is asked twice at most, within [`CONNECT_TIMEOUT`].
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// How many answers of name servers are kept.
const CACHED: u64 = 1024;
/// The most destinations that are remembered with what was decided about them.
const MOST_TARGETS: usize = 1024;

/// The body of an answer, piece by piece. It ends with an error if the connection breaks.
pub type BodyStream = BoxStream<'static, Result<Bytes, NetError>>;

/// How [`Outbound`] is set up, from the operator's settings.
#[derive(Clone, Debug, Default)]
pub struct OutboundSettings {
    /// What may be reached besides public addresses: `GATEHOUSE_EGRESS_ALLOW`.
    pub allow: EgressAllow,
    /// Certificates that are trusted besides those of the system, as PEM: the content of `GATEHOUSE_EXTRA_CA_FILE`.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// The name server to ask instead of those of the system: `GATEHOUSE_DNS_RESOLVER`.
    pub dns_resolver: Option<SocketAddr>,
    /// How Gatehouse calls itself: `gatehouse/0.1.0`.
    pub user_agent: String,
}

/// Why the client cannot be made from its settings; ends the start.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The extra certificates cannot be read.
    #[error("GATEHOUSE_EXTRA_CA_FILE holds no certificate in PEM form.")]
    ExtraCa,
    /// The resolver cannot be made.
    #[error("The name server cannot be set up: {0}.")]
    Resolver(String),
    /// TLS or the client cannot be set up.
    #[error("The outbound client cannot be set up: {0}.")]
    Client(String),
}

/// Why an exchange failed. `Display` is a sentence that may be shown to a tenant: it holds no address, banner or body
/// (SSR-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Gatehouse does not go there; nothing was sent.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The name has no address.
    #[error("The server's name could not be resolved. Check its spelling.")]
    Dns,
    /// No connection could be made.
    #[error("The server could not be reached. Check that it runs and that its port is right.")]
    Unreachable,
    /// It took too long.
    #[error("The server took too long to answer.")]
    Timeout,
    /// No trustworthy TLS connection could be made.
    #[error(
        "No secure connection could be made: the server does not speak TLS here, or its certificate has expired, is for another name or comes from an unknown authority."
    )]
    Tls,
    /// What came back was no answer that can be used.
    #[error("The server's answer was broken off or is not valid HTTP.")]
    BadResponse,
    /// The server is a process of this machine, and it is not there or not in order.
    #[error(transparent)]
    Process(#[from] ProcessFault),
}

impl NetError {
    /// The word for programs; one of five, so that it tells a tenant nothing about the network behind (SSR-08).
    pub const fn class(self) -> &'static str {
        match self {
            Self::Blocked(_) => "blocked_destination",
            Self::Dns | Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Tls => "tls_error",
            Self::BadResponse => "bad_response",
            Self::Process(_) => "process",
        }
    }
}

/// The outbound HTTP client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    allow: EgressAllow,
    user_agent: HeaderValue,
    tls: ClientConfig,
    resolver: TokioResolver,
    /// For what somebody has just changed and wants to see now.
    uncached: TokioResolver,
    connect_timeout: Duration,
    /// The library's resolver hook is told a name, but neither port nor scheme, on which the rules depend. So there is one
    /// client for each set of rules; the operator's list bounds how many sets there are.
    clients: Mutex<HashMap<Rules, Dialling>>,
    /// Destinations that were judged by what their URLs say. That depends on nothing that changes, so it is done once.
    targets: RwLock<HashMap<(Scheme, Authority), Target>>,
}

/// Where a request goes whose URL was found good.
#[derive(Clone)]
struct Target {
    /// As the URL standard reads the host: what was judged, and so what is dialled.
    authority: Authority,
    client: Dialling,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("allow", &self.0.allow).finish_non_exhaustive()
    }
}

impl Outbound {
    /// A client with these settings; it opens no connection yet.
    pub fn new(settings: OutboundSettings) -> Result<Self, OutboundError> {
        Self::with_connect_timeout(settings, CONNECT_TIMEOUT)
    }

    fn with_connect_timeout(
        settings: OutboundSettings,
        connect_timeout: Duration,
    ) -> Result<Self, OutboundError> {
        let certificates = match settings.extra_ca_pem {
            None => Vec::new(),
            Some(pem) => CertificateDer::pem_slice_iter(&pem)
                .collect::<Result<Vec<_>, _>>()
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or(OutboundError::ExtraCa)?,
        };
        let tls = dial::tls(&certificates, true).or_else(|error| {
            // An image without any certificate authority: extra ones still work, and everything else fails as untrusted.
            tracing::warn!(%error, "the system's certificate authorities cannot be used");
            dial::tls(&certificates, false)
        });
        let client = |error: &dyn fmt::Display| OutboundError::Client(error.to_string());
        Ok(Self(Arc::new(Inner {
            allow: settings.allow,
            user_agent: HeaderValue::try_from(settings.user_agent).map_err(|error| client(&error))?,
            tls: tls.map_err(|error| client(&error))?,
            resolver: resolver(settings.dns_resolver, CACHED)?,
            uncached: resolver(settings.dns_resolver, 0)?,
            connect_timeout,
            clients: Mutex::default(),
            targets: RwLock::default(),
        })))
    }

    /// A client that may also reach this URL's own host and port, whatever they resolve to: for looking at ourselves, never
    /// for an address that a tenant chose.
    #[must_use]
    pub fn reaching(&self, url: &Url) -> Self {
        self.allowing(self.0.allow.with_origin(url))
    }

    /// A client that may also reach the addresses that our own names have at this moment, at a port: for looking at ourselves
    /// by a name of a tenant's. That name may lead to us, and to nothing else that is inside.
    pub async fn reaching_addresses_of(&self, hosts: &[&str], port: u16) -> Self {
        let mut own: Vec<IpAddr> = Vec::new();
        for host in hosts {
            if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
                own.push(address);
            } else {
                let found = self.0.uncached.lookup_ip(*host).await;
                own.extend(found.iter().flat_map(|found| found.iter()));
            }
        }
        self.allowing(self.0.allow.with_addresses(own.into_iter(), port))
    }

    fn allowing(&self, allow: EgressAllow) -> Self {
        let inner = &self.0;
        Self(Arc::new(Inner {
            allow,
            user_agent: inner.user_agent.clone(),
            tls: inner.tls.clone(),
            resolver: inner.resolver.clone(),
            uncached: inner.uncached.clone(),
            connect_timeout: inner.connect_timeout,
            clients: Mutex::default(),
            targets: RwLock::default(),
        }))
    }

    /// What the operator has allowed besides public addresses.
    pub fn allow(&self) -> &EgressAllow {
        &self.0.allow
    }

    /// An early answer for a form: whether the URL by itself is acceptable. [`Outbound::send`] asks again, and more.
    pub fn check_url(&self, url: &Url) -> Result<(), NetError> {
        Ok(check_url(url, &self.0.allow)?)
    }

    /// Sends a request and returns when the answer's head is there. Redirects are answers like any other (SSR-04), no
    /// proxy is used (SSR-06), nothing is decompressed, and the `Host` header is always that of the URL.
    ///
    /// Only connecting has a time limit of its own (5 s): the caller bounds the wait for the head and for each piece of the
    /// body. Dropping the future or the body ends the exchange.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<BodyStream>, NetError> {
        let (mut parts, body) = request.into_parts();
        let target = self.target(&parts.uri)?;
        let mut to = parts.uri.into_parts();
        to.authority = Some(target.authority);
        parts.uri = Uri::from_parts(to).map_err(|_| Blocked::Host)?;
        clean(&mut parts.headers);
        parts.headers.entry(header::USER_AGENT).or_insert_with(|| self.0.user_agent.clone());
        parts.headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        // HTTP/1.1 to all who do not agree on HTTP/2 within TLS, whatever the request came in.
        parts.version = Version::HTTP_11;
        let request = http::Request::from_parts(parts, Full::new(body));
        let response = target.client.request(request).await.map_err(|error| classify(&error))?;
        let plain = response
            .headers()
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if !plain {
            // Asked for plain bytes: decompressing what comes anyway would let a small answer grow without bound.
            return Err(NetError::BadResponse);
        }
        Ok(response.map(|body| BodyDataStream::new(body).map_err(|error| classify_body(&error)).boxed()))
    }

    /// The TXT records of a name as the name server has them at this moment, each in one piece; none when there are none.
    ///
    /// # Errors
    /// [`NetError::Dns`] when it cannot be asked.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, NetError> {
        self.records(name, RecordType::TXT, |data| match data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        })
        .await
    }

    /// The names that CNAME records of a name lead to at this moment, in lower case and without a dot at the end.
    ///
    /// # Errors
    /// [`NetError::Dns`] when the name server cannot be asked.
    pub async fn cname(&self, name: &str) -> Result<Vec<String>, NetError> {
        self.records(name, RecordType::CNAME, |data| match data {
            RData::CNAME(name) => Some(name.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        })
        .await
    }

    /// Records of one kind that a name has, as the name server says at this moment.
    async fn records(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<String>,
    ) -> Result<Vec<String>, NetError> {
        // Whole, so that no search list is tried.
        match self.0.uncached.lookup(format!("{}.", name.trim_end_matches('.')), kind).await {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| read(&record.data)).collect()),
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Err(error) => {
                tracing::debug!(name, %kind, %error, "records could not be asked for");
                Err(NetError::Dns)
            }
        }
    }

    /// Judges where a request is to go, by its URL.
    fn target(&self, uri: &Uri) -> Result<Target, Blocked> {
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or(Blocked::Host)?;
        let key = (scheme.clone(), authority.clone());
        if let Some(known) = self.0.targets.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let url = Url::parse(&format!("{scheme}://{authority}/")).map_err(|_| Blocked::Host)?;
        let rules = Rules::of(&url, &self.0.allow)?;
        let target = Target {
            authority: url.authority().parse().map_err(|_| Blocked::Host)?,
            client: self.client(rules),
        };
        let mut targets = self.0.targets.write().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= MOST_TARGETS {
            targets.clear();
        }
        targets.insert(key, target.clone());
        Ok(target)
    }

    fn client(&self, rules: Rules) -> Dialling {
        let inner = &self.0;
        let mut clients = inner.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let new =
            |rules| dial::client(rules, inner.resolver.clone(), inner.tls.clone(), inner.connect_timeout);
        clients.entry(rules.clone()).or_insert_with(|| new(rules)).clone()
    }
}

/// Takes out what belongs to a connection and not to a request, and asks for plain bytes.
fn clean(headers: &mut HeaderMap) {
    for name in [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
        header::EXPECT,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// The resolver: the operator's name server, or those of the system.
fn resolver(server: Option<SocketAddr>, cached: u64) -> Result<TokioResolver, OutboundError> {
    let mut builder = match server {
        Some(address) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            let server = NameServerConfig::new(address.ip(), true, connections.into());
            TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(vec![server]),
                TokioRuntimeProvider::default(),
            )
        }
        None => TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "the system's name servers cannot be read: set GATEHOUSE_DNS_RESOLVER");
            TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(Vec::new()),
                TokioRuntimeProvider::default(),
            )
        }),
    };
    let options = builder.options_mut();
    // Both families are always asked: an address that is hidden behind the other one has to be judged too.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = DNS_TIMEOUT;
    options.attempts = 1;
    options.cache_size = cached;
    builder.build().map_err(|error| OutboundError::Resolver(error.to_string()))
}

/// What went wrong before the head of an answer was there. No error of the client names a URL, whose query may hold a key.
fn classify(error: &hyper_util::client::legacy::Error) -> NetError {
    tracing::debug!(?error, "an outbound request failed");
    let mut kinds = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<NetError>() {
            return *ours;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            io_kinds(error, &mut kinds);
        }
        next = error.source();
    }
    if kinds.contains(&io::ErrorKind::TimedOut) {
        NetError::Timeout
    } else if !error.is_connect() {
        NetError::BadResponse
    } else if kinds
        .iter()
        .any(|kind| matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof))
    {
        // TCP connects or does not; only a handshake meets data that is invalid or ends early.
        NetError::Tls
    } else {
        NetError::Unreachable
    }
}

/// The kinds of an I/O error and of those it wraps, which `source` passes over.
fn io_kinds(error: &io::Error, kinds: &mut Vec<io::ErrorKind>) {
    kinds.push(error.kind());
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        io_kinds(inner, kinds);
    }
}

/// What went wrong within a body.
fn classify_body(error: &hyper::Error) -> NetError {
    tracing::debug!(?error, "an outbound body broke off");
    if error.is_timeout() { NetError::Timeout } else { NetError::BadResponse }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, UdpSocket},
    };

    use super::*;

    /// A server on a loopback address that answers every connection with `answer`, and counts them.
    async fn server(at: &str, answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let seen = count.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream.write_all(answer).await;
                });
            }
        });
        (address, count)
    }

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";

    /// A name server that answers questions for A with `answers(how often asked)`, with TTL 0, and the others with nothing.
    /// Answers for a name that starts with `alias` go over a CNAME.
    async fn name_server(answers: impl Fn(usize) -> Vec<[u8; 4]> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            let mut asked = 0;
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = &buffer[..length];
                let name_end = 12 + question[12..].iter().position(|b| *b == 0).unwrap() + 1;
                let is_a = question[name_end..name_end + 2] == [0, 1];
                let alias = question[13..].starts_with(b"alias");
                let mut records: Vec<u8> = Vec::new();
                let mut count = 0u8;
                if is_a {
                    let mut owner = vec![0xC0, 12];
                    if alias {
                        let target = b"\x06target\x04test\x00";
                        records.extend([
                            0xC0,
                            12,
                            0,
                            5,
                            0,
                            1,
                            0,
                            0,
                            0,
                            0,
                            0,
                            u8::try_from(target.len()).unwrap(),
                        ]);
                        records.extend(target);
                        owner = target.to_vec();
                        count += 1;
                    }
                    for answer in answers(asked) {
                        records.extend(&owner);
                        records.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                        records.extend(answer);
                        count += 1;
                    }
                    asked += 1;
                }
                let mut reply = question[..2].to_vec();
                reply.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
                reply.extend(&question[12..name_end + 4]);
                reply.extend(records);
                let _ = socket.send_to(&reply, from).await;
            }
        });
        address
    }

    fn outbound(allow: &str, dns_resolver: Option<SocketAddr>) -> Outbound {
        let settings = OutboundSettings {
            allow: allow.parse().unwrap(),
            dns_resolver,
            user_agent: "gatehouse/test".into(),
            ..OutboundSettings::default()
        };
        Outbound::with_connect_timeout(settings, Duration::from_secs(1)).unwrap()
    }

    fn post(url: &str) -> http::Request<Bytes> {
        http::Request::post(url).body(Bytes::from_static(b"{}")).unwrap()
    }

    async fn send(outbound: &Outbound, url: &str) -> Result<(u16, Vec<u8>), NetError> {
        let response = outbound.send(post(url)).await?;
        let status = response.status().as_u16();
        let body = response.into_body().try_fold(Vec::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        });
        Ok((status, body.await?))
    }

    const REFUSED: NetError = NetError::Blocked(Blocked::Address);

    #[tokio::test]
    async fn ssr_02_literals_are_refused_though_the_resolver_never_sees_them() {
        let (canary, count) = server("127.0.0.1:0", OK).await;
        let port = canary.port();
        let outbound = outbound("", None);
        for host in
            ["127.0.0.1", "2130706433", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "localhost", "localhost."]
        {
            for scheme in ["http", "https"] {
                let error = send(&outbound, &format!("{scheme}://{host}:{port}/mcp")).await.unwrap_err();
                assert_eq!(error, REFUSED, "{host}");
                assert_eq!(error.class(), "blocked_destination");
            }
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn ssr_01_mixed_answers_are_refused_whole() {
        // 127.0.0.2 plays the public address; the canary is what must not be reached.
        let (good, good_count) = server("127.0.0.2:0", OK).await;
        let port = good.port();
        let (_, canary_count) = server(&format!("127.0.0.1:{port}"), OK).await;
        for answers in [vec![[127, 0, 0, 2], [127, 0, 0, 1]], vec![[127, 0, 0, 1], [127, 0, 0, 2]]] {
            let dns = name_server(move |_| answers.clone()).await;
            let outbound = outbound("127.0.0.2/32", Some(dns));
            assert_eq!(send(&outbound, &format!("http://mixed.test:{port}/")).await, Err(REFUSED));
        }
        let dns = name_server(|_| vec![[127, 0, 0, 2]]).await;
        let outbound = outbound("127.0.0.2/32", Some(dns));
        assert_eq!(send(&outbound, &format!("http://good.test:{port}/")).await, Ok((200, b"hi".to_vec())));
        assert_eq!(good_count.load(Ordering::SeqCst), 1);
        assert_eq!(canary_count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn ssr_05_rebinding_never_reaches_the_canary() {
        let (good, good_count) = server("127.0.0.2:0", OK).await;
        let port = good.port();
        let (_, canary_count) = server(&format!("127.0.0.1:{port}"), OK).await;
        let dns =
            name_server(|asked| vec![if asked % 2 == 0 { [127, 0, 0, 2] } else { [127, 0, 0, 1] }]).await;
        let outbound = outbound("127.0.0.2/32", Some(dns));
        for i in 0..200 {
            let result = send(&outbound, &format!("http://rebind.test:{port}/")).await;
            assert!(matches!(result, Ok((200, _)) | Err(REFUSED)), "{i}: {result:?}");
        }
        assert!(good_count.load(Ordering::SeqCst) >= 50);
        assert_eq!(canary_count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn ssr_01_a_cname_to_inside_is_refused() {
        let dns = name_server(|_| vec![[169, 254, 169, 254]]).await;
        let outbound = outbound("", Some(dns));
        for host in ["alias.test", "direct.test", "169-254-169-254.nip.test"] {
            assert_eq!(send(&outbound, &format!("https://{host}/")).await, Err(REFUSED), "{host}");
        }
    }

    #[tokio::test]
    async fn ssr_03_http_goes_only_where_the_operator_allows_it() {
        let dns = name_server(|_| vec![[8, 8, 8, 8]]).await;
        let outbound = outbound("127.0.0.2/32", Some(dns));
        // The name may resolve into 127.0.0.2, so it is looked up; then the public address does not do for http.
        assert_eq!(send(&outbound, "http://public.test/").await, Err(NetError::Blocked(Blocked::Scheme)));
        assert_eq!(send(&outbound, "https://public.test:22/").await, Err(NetError::Blocked(Blocked::Port)));
    }

    #[tokio::test]
    async fn ssr_07_a_name_is_allowed_at_its_port_only() {
        let (good, _) = server("127.0.0.1:0", OK).await;
        let (other, other_count) = server("127.0.0.1:0", OK).await;
        let dns = name_server(|_| vec![[127, 0, 0, 1]]).await;
        let outbound = outbound(&format!("mcp.internal:{},9.9.9.9/32", good.port()), Some(dns));
        let url = |port: u16| format!("http://mcp.internal:{port}/");
        assert_eq!(send(&outbound, &url(good.port())).await.unwrap().0, 200);
        assert_eq!(send(&outbound, &url(other.port())).await, Err(REFUSED));
        assert_eq!(send(&outbound, &format!("http://x.internal:{}/", good.port())).await, Err(REFUSED));
        assert_eq!(other_count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn ssr_04_a_redirect_is_an_answer() {
        let (_canary, count) = server("127.0.0.1:0", OK).await;
        let (good, _) = server(
            "127.0.0.2:0",
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        let outbound = outbound("127.0.0.0/8", None);
        assert_eq!(send(&outbound, &format!("http://{good}/")).await.unwrap().0, 307);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn ssr_08_failures_have_five_classes() {
        let outbound_ = outbound("127.0.0.0/8", None);
        let closed = TcpListener::bind("127.0.0.3:0").await.unwrap().local_addr().unwrap();
        assert_eq!(send(&outbound_, &format!("http://{closed}/")).await, Err(NetError::Unreachable));
        let (garbage, _) = server("127.0.0.3:0", b"SSH-2.0-x\r\n\r\n\r\n").await;
        assert_eq!(send(&outbound_, &format!("http://{garbage}/")).await, Err(NetError::BadResponse));
        assert_eq!(send(&outbound_, &format!("https://{garbage}/")).await, Err(NetError::Tls));
        let (hangup, _) = server("127.0.0.3:0", b"").await;
        assert_eq!(send(&outbound_, &format!("http://{hangup}/")).await, Err(NetError::BadResponse));
        assert_eq!(send(&outbound_, &format!("https://{hangup}/")).await, Err(NetError::Tls));
        let (short, _) = server("127.0.0.3:0", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi").await;
        assert_eq!(send(&outbound_, &format!("http://{short}/")).await, Err(NetError::BadResponse));
        let (gzip, _) = server(
            "127.0.0.3:0",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
        )
        .await;
        assert_eq!(send(&outbound_, &format!("http://{gzip}/")).await, Err(NetError::BadResponse));
        // Accepts connections into its backlog but never shakes hands.
        let silent = TcpListener::bind("127.0.0.3:0").await.unwrap();
        let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
        assert_eq!(send(&outbound_, &format!("https://{}/", silent.1)).await, Err(NetError::Timeout));
        let nowhere = name_server(|_| Vec::new()).await;
        assert_eq!(send(&outbound("", Some(nowhere)), "https://none.test/").await, Err(NetError::Dns));
        assert_eq!(NetError::Dns.class(), "unreachable");
    }

    #[tokio::test]
    async fn ssr_06_the_request_says_what_it_should() {
        let listener = TcpListener::bind("127.0.0.4:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            stream.write_all(OK).await.unwrap();
            buffer.truncate(length);
            String::from_utf8(buffer).unwrap().to_ascii_lowercase()
        });
        let request = http::Request::post(format!("http://{address}/mcp?a=b"))
            .header("host", "evil.test")
            .header("content-length", "99")
            .header("accept-encoding", "gzip")
            .header("x-secret", "1")
            .body(Bytes::from_static(b"{}"))
            .unwrap();
        outbound("127.0.0.0/8", None).send(request).await.unwrap();
        let seen = seen.await.unwrap();
        assert!(seen.starts_with("post /mcp?a=b http/1.1\r\n"), "{seen}");
        assert!(seen.contains(&format!("host: {address}\r\n")), "{seen}");
        assert!(seen.contains("content-length: 2\r\n") && seen.contains("x-secret: 1\r\n"), "{seen}");
        assert!(seen.contains("accept-encoding: identity\r\n"), "{seen}");
        assert!(seen.contains("user-agent: gatehouse/test\r\n"), "{seen}");
        assert!(!seen.contains("evil.test") && !seen.contains("gzip"), "{seen}");
    }

    #[test]
    fn ssr_09_bad_certificates_end_the_start() {
        let settings = |pem: &[u8]| OutboundSettings {
            extra_ca_pem: Some(pem.to_vec()),
            user_agent: "gatehouse".into(),
            ..OutboundSettings::default()
        };
        for pem in [&b""[..], b"not a certificate"] {
            assert!(matches!(Outbound::new(settings(pem)), Err(OutboundError::ExtraCa)));
        }
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(Outbound::new(settings(broken)).is_err());
    }

    #[test]
    fn ssr_08_sentences_hold_no_address() {
        assert_eq!(
            REFUSED.to_string(),
            "Gatehouse does not connect to private or local addresses. An operator can allow this one with GATEHOUSE_EGRESS_ALLOW."
        );
    }
}
