//! Hours of clients that do not behave: sessions that are opened and left, streams that are cut, calls whose clients hang up,
//! keys that are none, beside a steady load of good calls. What is looked at is memory: whether it stays where it was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    Done, Plan,
    calls::{Credential, Echo, Keys},
    load::{Call as _, Connection},
    machine::Gatehouse,
};

/// Good calls in a second. Each must be answered rightly.
const RATE: u64 = 100;
/// The part of the time that warms up: caches fill, and sessions reach their limit.
const WARM: f64 = 0.25;
/// How far the memory of the last part may be from that of the first, of one.
const FLAT: f64 = 0.10;
/// Looks at the memory, all in all.
const LOOKS: u32 = 120;

/// What was done to it.
#[derive(Debug, Default)]
struct Deeds {
    good: AtomicUsize,
    sessions: AtomicUsize,
    cut: AtomicUsize,
    hung_up: AtomicUsize,
    bad: AtomicUsize,
}

/// A connection with a request on it, whose answer's beginning is read and the rest is not.
async fn begin(
    address: &str,
    request: Request<Full<Bytes>>,
    pieces: usize,
) -> Done<(u16, http::HeaderMap, Vec<u8>)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let mut request = request;
    request.headers_mut().insert(header::HOST, address.parse()?);
    let (parts, mut body) = sender.send_request(request).await?.into_parts();
    let mut read = Vec::new();
    for _ in 0..pieces {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    // The socket is closed as it is, whatever is still to come.
    driving.abort();
    Ok((parts.status.as_u16(), parts.headers, read))
}

fn request(method: Method, keys: &Keys, session: Option<&str>, body: &Value) -> Done<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(method)
        .uri("/mcp/bench")
        .header("x-api-key", &keys.api_key)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    Ok(request.body(Full::new(body))?)
}

fn drip(number: usize) -> Value {
    let params = json!({"name": "up__drip", "arguments": {}, "_meta": {"progressToken": number}});
    json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
}

/// Opens a session, calls in it, opens its stream, and leaves without a word. Every other time the call's stream is resumed
/// before.
async fn leave_a_session(address: &str, keys: &Keys, number: usize) -> Done {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "soak", "version": "1"}});
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let (status, headers, _) = begin(address, request(Method::POST, keys, None, &initialize)?, 1).await?;
    let session =
        headers.get("mcp-session-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    if status != 200 || session.is_empty() {
        return Err(format!("no session: {status}").into());
    }
    let (_, _, read) = begin(address, request(Method::POST, keys, Some(&session), &drip(number))?, 2).await?;
    let last = String::from_utf8_lossy(&read);
    let last = last.lines().rev().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned);
    let mut get = request(Method::GET, keys, Some(&session), &Value::Null)?;
    if let Some(last) = last.filter(|_| number.is_multiple_of(2)) {
        get.headers_mut().insert("last-event-id", last.parse()?);
    }
    begin(address, get, 1).await?;
    Ok(())
}

/// The four that misbehave, each in its own rhythm.
async fn misbehave(
    address: String,
    keys: Keys,
    kind: usize,
    stop: Arc<AtomicBool>,
    done: Arc<Deeds>,
) -> Done {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        match kind {
            0 => {
                leave_a_session(&address, &keys, number).await?;
                done.sessions.fetch_add(1, Ordering::Relaxed);
            }
            1 => {
                let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
                let listen = json!({"jsonrpc": "2.0", "id": number, "method": "subscriptions/listen", "params": params});
                let mut listen = request(Method::POST, &keys, None, &listen)?;
                listen.headers_mut().insert("mcp-protocol-version", "2026-07-28".parse()?);
                listen.headers_mut().insert("mcp-method", "subscriptions/listen".parse()?);
                // At the limit of streams it is refused, which is as good.
                begin(&address, listen, 1).await?;
                done.cut.fetch_add(1, Ordering::Relaxed);
            }
            2 => {
                let mut call = drip(number);
                call["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
                call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
                let mut call = request(Method::POST, &keys, None, &call)?;
                for (name, value) in [
                    ("mcp-protocol-version", "2026-07-28"),
                    ("mcp-method", "tools/call"),
                    ("mcp-name", "up__drip"),
                ] {
                    call.headers_mut().insert(name, value.parse()?);
                }
                begin(&address, call, 1).await?;
                done.hung_up.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                let bad = Keys { api_key: format!("gth_live_sk_{number:038}"), ..keys.clone() };
                let list = json!({"jsonrpc": "2.0", "id": number, "method": "tools/list"});
                let (status, ..) = begin(&address, request(Method::POST, &bad, None, &list)?, 1).await?;
                if status != 401 && status != 429 {
                    return Err(format!("a bad key got {status}").into());
                }
                done.bad.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis([100, 100, 100, 10][kind.min(3)])).await;
    }
    Ok(())
}

/// Good calls, one after the other on one connection, at a steady rate.
async fn behave(address: String, keys: Keys, stop: Arc<AtomicBool>, done: Arc<Deeds>) -> Done {
    let echo = Echo::through(Credential::Key(keys.api_key));
    let mut connection = Connection::open(&address).await?;
    let began = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = began + Duration::from_micros(1_000_000 * number / RATE);
        tokio::time::sleep_until(due.into()).await;
        number += 1;
        let which = usize::try_from(number)?;
        let (status, body) = connection.send(echo.request(which)?).await?;
        if !echo.is_right(which, status, &body) {
            return Err(format!("a good call got {status}").into());
        }
        done.good.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Runs for so long, and fails when memory does not stay within a tenth of where it was.
pub(crate) async fn soak(plan: &Plan, gatehouse: &Gatehouse, keys: &Keys, lasting: Duration) -> Done {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(Deeds::default()));
    let address = &gatehouse.server.address;
    let mut running = JoinSet::new();
    for kind in 0..4 {
        running.spawn(misbehave(address.clone(), keys.clone(), kind, Arc::clone(&stop), Arc::clone(&done)));
    }
    running.spawn(behave(address.clone(), keys.clone(), Arc::clone(&stop), Arc::clone(&done)));
    let began = Instant::now();
    let cpu = gatehouse.server.cpu()?;
    let mut looks = Vec::new();
    for look in 1..=LOOKS {
        let due = began + lasting * look / LOOKS;
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            Some(ended) = running.join_next() => {
                ended??;
                return Err("a client ended by itself".into());
            }
        }
        looks.push(gatehouse.server.resident()?);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let cpu = gatehouse.server.cpu()? - cpu;
    let warm = &looks[(f64::from(LOOKS) * WARM) as usize..];
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let quarter = warm.len() / 4;
    let (first, last) = (mean(&warm[..quarter]), mean(&warm[warm.len() - quarter..]));
    let high = warm.iter().copied().fold(0.0, f64::max);
    let low = warm.iter().copied().fold(f64::INFINITY, f64::min);
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    println!(
        "### soak of {:.0} minutes on {}\n",
        lasting.as_secs_f64() / 60.0,
        if plan.postgres.is_some() { "PostgreSQL" } else { "SQLite" }
    );
    println!(
        "{} good calls; {} sessions left, {} listening streams cut, {} calls hung up on, {} bad keys",
        count(&done.good),
        count(&done.sessions),
        count(&done.cut),
        count(&done.hung_up),
        count(&done.bad),
    );
    println!(
        "resident after warming up: {first:.1} MiB at first, {last:.1} at last ({:+.1} %), between {low:.1} and {high:.1}; CPU {:.1} % of one core\n",
        (last / first - 1.0) * 100.0,
        cpu / lasting.as_secs_f64() * 100.0,
    );
    if (last / first - 1.0).abs() > FLAT {
        return Err("memory does not stay where it was".into());
    }
    Ok(())
}
