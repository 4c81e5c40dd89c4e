//! Clients: connections that ask one thing after the other, several at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header, response::Parts};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{Done, machine::Started, stats::Times};

/// One connection, used for one request after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Done<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_owned() })
    }

    /// Status and whole body.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Done<(u16, Bytes)> {
        let (parts, body) = self.ask(request).await?;
        Ok((parts.status.as_u16(), body))
    }

    /// Head and whole body.
    pub(crate) async fn ask(&mut self, mut request: Request<Full<Bytes>>) -> Done<(Parts, Bytes)> {
        request.headers_mut().insert(header::HOST, self.host.parse()?);
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        Ok((parts, body.collect().await?.to_bytes()))
    }

    pub(crate) async fn get(&mut self, path: &str) -> Done<(u16, Bytes)> {
        self.send(Request::get(path).body(Full::default())?).await
    }
}

/// One call: the request with this number, and whether an answer is the right one.
pub(crate) trait Call: Send + Sync + 'static {
    fn request(&self, number: usize) -> Done<Request<Full<Bytes>>>;
    fn is_right(&self, number: usize, status: u16, body: &[u8]) -> bool;

    /// Whether each call has a connection of its own.
    fn is_alone(&self) -> bool {
        false
    }
}

/// What a round came to.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) times: Times,
    /// Calls in a second.
    pub(crate) rate: f64,
    /// Processor time of the process in question, seconds for 10,000 calls.
    pub(crate) cpu: f64,
}

/// So many calls, `at_once` of them at any time, each checked. `of` is whose processor time counts.
pub(crate) async fn closed_loop(
    address: &str,
    call: Arc<impl Call>,
    at_once: usize,
    calls: usize,
    of: &Started,
) -> Done<Round> {
    let (next, mut workers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let mut connections = Vec::new();
    for _ in 0..at_once {
        connections.push(Connection::open(address).await?);
    }
    let (cpu, began) = (of.cpu()?, Instant::now());
    for mut connection in connections {
        let (next, call) = (Arc::clone(&next), Arc::clone(&call));
        let address = address.to_owned();
        workers.spawn(async move {
            let mut times = Times::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls {
                    return Done::Ok(times);
                }
                let request = call.request(number)?;
                let sent = Instant::now();
                if call.is_alone() {
                    connection = Connection::open(&address).await?;
                }
                let (status, body) = connection.send(request).await?;
                times.push(sent.elapsed());
                check(&*call, number, status, &body)?;
            }
        });
    }
    let mut times = Times::default();
    while let Some(done) = workers.join_next().await {
        times.extend(done??);
    }
    let (took, used) = (began.elapsed(), of.cpu()? - cpu);
    Ok(Round { rate: calls as f64 / took.as_secs_f64(), cpu: used / calls as f64 * 1e4, times })
}

/// Calls at a steady rate, however long each takes: one that waits makes no other wait. Times count from when a call was
/// due.
pub(crate) async fn open_loop(
    address: &str,
    call: Arc<impl Call>,
    per_second: u64,
    lasting: Duration,
) -> Done<Times> {
    let mut idle: Vec<Connection> = Vec::new();
    let (give_back, mut returned) = tokio::sync::mpsc::unbounded_channel();
    let mut running = JoinSet::new();
    let began = Instant::now();
    let total = per_second * lasting.as_secs();
    for number in 0..total {
        let due = began + Duration::from_micros(1_000_000 * number / per_second);
        tokio::time::sleep_until(due.into()).await;
        while let Ok(connection) = returned.try_recv() {
            idle.push(connection);
        }
        let mut connection = match idle.pop() {
            Some(connection) => connection,
            None => Connection::open(address).await?,
        };
        let (call, give_back) = (Arc::clone(&call), give_back.clone());
        running.spawn(async move {
            let number = usize::try_from(number)?;
            let (status, body) = connection.send(call.request(number)?).await?;
            let took = due.elapsed();
            check(&*call, number, status, &body)?;
            // Nobody may be left to take it.
            let _ = give_back.send(connection);
            Done::Ok(took)
        });
    }
    let mut times = Times::default();
    while let Some(done) = running.join_next().await {
        times.push(done??);
    }
    Ok(times)
}

fn check(call: &impl Call, number: usize, status: u16, body: &[u8]) -> Done {
    if call.is_right(number, status, body) {
        return Ok(());
    }
    let start = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    Err(format!("call {number} was answered wrongly: {status} {start}").into())
}
