//! How a connection is made: names are resolved and judged, then TCP, then TLS, all within one time limit.

use core::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use std::{error::Error, io, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;
use tokio::time::timeout;
use tower::Service;

use super::{guard::Rules, outbound::NetError};

/// How long an unused connection is kept.
const POOL_IDLE: Duration = Duration::from_mins(1);
/// How many unused connections are kept for one destination.
const POOL_IDLE_PER_HOST: usize = 32;
/// Between two signs of life on a connection that is quiet.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long HTTP/2 waits for the answer to one.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);

type Problem = Box<dyn Error + Send + Sync>;
type Stream = <HttpsConnector<HttpConnector<Guarded>> as Service<Uri>>::Response;

/// The client of all destinations with the same rules.
pub(super) type Dialling = Client<Dial, Full<Bytes>>;

/// A client that keeps to these rules.
#[expect(clippy::disallowed_methods, reason = "the one place that makes an HTTP client")]
pub(super) fn client(
    rules: Rules,
    resolver: TokioResolver,
    tls: ClientConfig,
    connect_timeout: Duration,
) -> Dialling {
    let mut tcp = HttpConnector::new_with_resolver(Guarded { rules, resolver });
    // Which schemes are allowed was decided by the rules.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE / 2));
    tcp.set_keepalive_retries(Some(3));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .build(Dial { https, timeout: connect_timeout })
}

/// TLS as it is spoken everywhere: 1.2 or newer, with the system's certificate authorities and these, or with these alone.
pub(super) fn tls(
    extra: &[CertificateDer<'static>],
    system_authorities: bool,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    if system_authorities {
        let verifier = Verifier::new_with_extra_roots(extra.iter().cloned(), provider)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        return Ok(builder.with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for certificate in extra {
        roots.add(certificate.clone())?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Makes connections, each within a time limit for the name, TCP and TLS together.
#[derive(Clone)]
pub(super) struct Dial {
    https: HttpsConnector<HttpConnector<Guarded>>,
    timeout: Duration,
}

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = Problem;
    type Future = BoxFuture<'static, Result<Stream, Problem>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = timeout(self.timeout, self.https.call(to));
        Box::pin(async move { connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? })
    }
}

/// Resolves names for one set of rules. What it returns is what is dialled.
#[derive(Clone)]
pub(super) struct Guarded {
    rules: Rules,
    resolver: TokioResolver,
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = NetError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NetError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { rules, resolver } = self.clone();
        Box::pin(async move {
            let addresses = addresses(&resolver, &rules, name.as_str()).await?;
            // The port 0 is replaced by that of the URL.
            let addresses: Vec<_> =
                addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}

/// The addresses of a name, if they may all be dialled.
async fn addresses(resolver: &TokioResolver, rules: &Rules, name: &str) -> Result<Vec<IpAddr>, NetError> {
    let answer = resolver.lookup_ip(name).await.map_err(|error| {
        tracing::debug!(name, %error, "a name did not resolve");
        NetError::Dns
    })?;
    let addresses: Vec<_> = answer.iter().collect();
    if addresses.is_empty() {
        return Err(NetError::Dns);
    }
    rules.check_name(name, &addresses).inspect_err(|_| {
        // For the operator only, who may want to allow it.
        tracing::warn!(name, ?addresses, "egress refused");
    })?;
    Ok(addresses)
}
