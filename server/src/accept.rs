//! The accept loop: HTTP/1.1 and HTTP/2 on one socket, with limits that axum's own loop does not set (REQ-04, REQ-05),
//! and an end that waits for requests but not for open streams (D12).

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures_util::TryFutureExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulConnection},
};
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt as _};

use crate::middleware::client::{Peer, is_trusted, unmapped};

const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
const HEADER_BYTES: u32 = 32 * 1024;
const MOST_HEADERS: usize = 100;
const H2_STREAMS: u32 = 128;
/// How long a connection may stay open between requests. HTTP/1.1 waits for the next head no longer than
/// [`HEADER_TIMEOUT`]; this is for HTTP/2, where hyper has no such clock.
const IDLE: Duration = Duration::from_secs(30);
/// How long a connection that was told to go may take, when nothing is being answered on it.
const GOING: Duration = Duration::from_secs(5);
/// How long requests that are being answered may take after the loop was told to stop.
const DRAIN: Duration = Duration::from_secs(25);

/// How many connections may be open.
#[derive(Clone, Debug)]
pub struct Limits {
    /// All together. One client address may hold half of them.
    pub connections: usize,
    /// Proxies, whose share is not limited: many clients come through one of them. Nor is loopback's.
    pub trusted: Arc<[IpNet]>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, trusted: Arc::default() }
    }
}

/// How the loop is ended.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Nothing more is accepted; what is being answered is finished.
    pub accepting: CancellationToken,
    /// What is being answered is cut off.
    pub answering: CancellationToken,
}

/// Serves until it is told to stop, then finishes what is being answered.
pub async fn serve<A>(listener: TcpListener, app: A, limits: Limits, stop: Stop)
where
    A: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES as usize)
        .max_headers(MOST_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    let (tracker, drain) = (TaskTracker::new(), CancellationToken::new());
    let seats = Seats::new(limits);
    loop {
        let (stream, peer, seat) = tokio::select! {
            () = stop.accepting.cancelled() => break,
            next = seats.next(&listener) => match next {
                Ok(Some(next)) => next,
                Ok(None) => continue,
                Err(error) => {
                    // Out of file descriptors or alike: wait a little instead of spinning (D14).
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let (app, activity) = (app.clone(), Arc::new(Activity::default()));
        let noted = activity.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let running = Running::new(noted.clone());
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let answer = app.clone().oneshot(request);
            answer.map_ok(|response| response.map(|inner| Answering { inner, _running: running }))
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let (drain, cut) = (drain.clone(), stop.answering.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = tend(connection, &activity, &drain) => {}
                // With the connection ends what is being answered on it, and is told to the request log.
                () = cut.cancelled() => {}
            }
            drop(seat);
        });
    }
    drop(listener);
    drain.cancel();
    tracker.close();
    let finished = tokio::select! {
        biased;
        () = stop.answering.cancelled() => false,
        done = tokio::time::timeout(DRAIN, tracker.wait()) => done.is_ok(),
    };
    if !finished {
        tracing::warn!("some requests did not finish in time and were cut off");
        stop.answering.cancel();
        tracker.wait().await;
    }
}

/// The connections that may still be opened.
struct Seats {
    limits: Limits,
    free: Arc<Semaphore>,
    /// Whether it was said that there are none; once is enough in the log while it lasts.
    said: AtomicBool,
    taken: Taken,
}

/// A connection's place among those that may be open.
struct Seat {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// Open connections by address.
type Taken = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection of an address; of a proxy or of loopback, whose connections are not counted, it is empty.
struct Share(Option<(IpAddr, Taken)>);

impl Seats {
    fn new(limits: Limits) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits.connections)),
            said: AtomicBool::new(false),
            taken: Arc::default(),
            limits,
        }
    }

    /// The next connection; `None` when it was one too many of its address. While all seats are taken, newcomers wait in
    /// the system's queue: silent connections give theirs up within seconds.
    async fn next(&self, listener: &TcpListener) -> std::io::Result<Option<(TcpStream, SocketAddr, Seat)>> {
        let free = self.free.available_permits();
        if free == 0 && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                connections = self.limits.connections,
                "all connections are taken; GATEHOUSE_MAX_CONNECTIONS raises their number"
            );
        } else if free > self.limits.connections / 10 {
            self.said.store(false, Ordering::Relaxed);
        }
        let permit = self.free.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        let Some(share) = self.share(unmapped(peer.ip())) else {
            tracing::debug!(address = %peer.ip(), "one address has half of all connections: one more is closed");
            return Ok(None);
        };
        Ok(Some((stream, peer, Seat { _permit: permit, _share: share })))
    }

    /// A share for one more connection of an address; `None` when it has all that it may.
    fn share(&self, address: IpAddr) -> Option<Share> {
        if address.is_loopback() || is_trusted(address, &self.limits.trusted) {
            return Some(Share(None));
        }
        // Addresses that one customer holds count as one: an IPv6 /64.
        let address = match address {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        };
        let mut taken = lock(&self.taken);
        let count = taken.entry(address).or_default();
        if *count >= self.limits.connections.div_ceil(2) {
            return None;
        }
        *count += 1;
        Some(Share(Some((address, self.taken.clone()))))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((address, taken)) = &self.0 else { return };
        let mut taken = lock(taken);
        if let Some(count) = taken.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(address);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens on a connection, for the clock that closes silent ones.
struct Activity(Mutex<State>);

#[derive(Clone, Copy)]
struct State {
    /// Requests that are being answered, bodies included.
    running: usize,
    /// Whether there was a request yet.
    served: bool,
    /// Since when nothing is being answered.
    quiet_since: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(State { running: 0, served: false, quiet_since: Instant::now() }))
    }
}

impl Activity {
    /// Until when the connection may stay silent; `None` while something is being answered.
    fn deadline(&self) -> Option<Instant> {
        let state = *lock(&self.0);
        let patience = if state.served { IDLE } else { HEADER_TIMEOUT };
        (state.running == 0).then(|| state.quiet_since + patience)
    }
}

/// A request that is being answered, until its answer's body has gone.
struct Running(Arc<Activity>);

impl Running {
    fn new(activity: Arc<Activity>) -> Self {
        let mut state = lock(&activity.0);
        state.running += 1;
        state.served = true;
        drop(state);
        Self(activity)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        state.running -= 1;
        state.quiet_since = Instant::now();
    }
}

/// An answer's body. The request runs until it is sent.
struct Answering {
    inner: Body,
    _running: Running,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Drives a connection to its end: its own, that of the process, or because nothing came for too long.
async fn tend<C>(connection: C, activity: &Activity, drain: &CancellationToken)
where
    C: GracefulConnection<Error: core::fmt::Display>,
{
    let mut connection = pin!(connection);
    let mut going = false;
    let mut look = Instant::now() + HEADER_TIMEOUT;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = drain.cancelled(), if !going => {
                going = true;
                connection.as_mut().graceful_shutdown();
                look = Instant::now() + GOING;
            }
            () = sleep_until(look) => {
                let now = Instant::now();
                match activity.deadline() {
                    None => look = now + IDLE,
                    Some(deadline) if now < deadline && !going => look = deadline,
                    // Not a single request, or it was asked to go and does not.
                    Some(_) if going || !lock(&activity.0).served => return,
                    Some(_) => {
                        going = true;
                        connection.as_mut().graceful_shutdown();
                        look = now + GOING;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// A server with room for so many connections. It ends with the test's runtime.
    async fn server(connections: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = || async {
            tokio::time::sleep(Duration::from_mins(2)).await;
            "slow"
        };
        let app = Router::new().route("/", get(|| async { "hello" })).route("/slow", get(slow));
        let limits = Limits { connections, ..Limits::default() };
        tokio::spawn(serve(listener, app, limits, Stop::default()));
        address
    }

    /// Sends something and reads until the server closes: what it answered, and after how many seconds it closed.
    async fn closed(address: SocketAddr, pieces: &[&[u8]]) -> (String, u64) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        for piece in pieces {
            stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn req_04_silent_connections_are_closed() {
        let address = server(100).await;
        let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for (name, pieces) in [
            ("nothing", &[][..]),
            ("a byte of HTTP/1.1", &[&b"G"[..]]),
            ("a head that dribbles", &[b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"A: b\r\n"]),
            ("half of the preface", &[&preface[..9]]),
            ("the preface alone", &[preface]),
        ] {
            let (_, after) = closed(address, pieces).await;
            assert!((14..=16).contains(&after), "{name}: {after} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn req_04_an_idle_connection_is_closed_and_a_busy_one_is_not() {
        let address = server(100).await;
        let (answer, after) = closed(address, &[REQUEST]).await;
        assert!(answer.contains("hello") && (14..=31).contains(&after), "{after} s: {answer}");
        let (answer, after) = closed(address, &[b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"]).await;
        assert!(answer.contains("slow") && after >= 120, "{after} s: {answer}");
        // HTTP/2: the preface, no settings, and a request for / as literals; the answer, then GOAWAY.
        let mut h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        h2.extend(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01x");
        let (answer, after) = closed(address, &[&h2]).await;
        assert!(answer.contains("hello") && (29..=36).contains(&after), "{after} s: {answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn req_04_while_all_connections_are_taken_newcomers_wait() {
        let address = server(2).await;
        let silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(REQUEST).await.unwrap();
        let mut answer = [0; 12];
        let early = tokio::time::timeout(Duration::from_secs(5), third.read_exact(&mut answer)).await;
        assert!(early.is_err(), "there is no room yet");
        third.read_exact(&mut answer).await.expect("silent ones make room");
        assert_eq!(&answer, b"HTTP/1.1 200");
        drop(silent);
    }

    #[test]
    fn req_04_one_address_holds_at_most_half() {
        let trusted = Arc::from(["10.0.0.0/8".parse().unwrap()]);
        let seats = Seats::new(Limits { connections: 4, trusted });
        let take = |address: &str| seats.share(address.parse().unwrap());
        let held = [take("2001:db8::1"), take("2001:db8::2")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("2001:db8::3").is_none(), "one network");
        assert!(take("203.0.113.9").is_some(), "another one has its own share");
        for unlimited in ["127.0.0.1", "::1", "10.1.2.3"] {
            let many: Vec<_> = (0..5).map(|_| take(unlimited)).collect();
            assert!(many.iter().all(Option::is_some), "{unlimited}");
        }
        drop(held);
        assert!(take("2001:db8::3").is_some());
        assert!(lock(&seats.taken).is_empty());
    }
}
