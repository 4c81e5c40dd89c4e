//! The least a process can do that does a gateway's own work between a client and a server: it looks the key up by its
//! SHA-256, reads the message and rewrites the tool's name in it, takes from a token bucket, passes the call on, and writes
//! a row for it to `SQLite`, many in one transaction. No policy, no second protocol, nothing that could fail half-way.

use std::{
    collections::HashMap,
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use tokio::net::TcpListener;

use crate::Done;

/// How long rows wait for company, as in Gatehouse.
const TOGETHER: Duration = Duration::from_millis(250);
/// Tokens of the bucket, and how many come back in a second: so many that nobody is refused.
const TOKENS: f64 = 1e9;

type Through = Client<HttpConnector, Full<Bytes>>;

/// One call, as it is written down.
struct Row {
    key: u64,
    method: String,
    tool: String,
    status: u16,
    micros: i64,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self) -> bool {
        let now = Instant::now();
        self.tokens = TOKENS.min(self.tokens + now.duration_since(self.at).as_secs_f64() * TOKENS);
        self.at = now;
        let has = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(has));
        has
    }
}

struct Inner {
    client: Through,
    to: String,
    keys: HashMap<[u8; 32], u64>,
    buckets: Mutex<HashMap<u64, Bucket>>,
    rows: Mutex<Vec<Row>>,
}

/// The members of a message that decide; the rest passes as it is.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow)]
    params: Option<HashMap<&'a str, &'a RawValue>>,
}

/// Says on which address it listens, and works until it is killed.
#[expect(clippy::disallowed_methods, reason = "it stands for another program")]
pub(crate) async fn serve(to: &str, key: &str) -> Done {
    let folder = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let connection = database(folder.path()).await?;
    println!("{}", listener.local_addr()?);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let inner = Arc::new(Inner {
        client: Client::builder(TokioExecutor::new()).build(connector),
        to: to.to_owned(),
        keys: HashMap::from([(Sha256::digest(key.as_bytes()).into(), 1)]),
        buckets: Mutex::default(),
        rows: Mutex::default(),
    });
    tokio::spawn(write(Arc::clone(&inner), connection));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let inner = Arc::clone(&inner);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&inner), request));
            let served = hyper::server::conn::http1::Builder::new();
            let _ = served.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn database(folder: &Path) -> Done<SqliteConnection> {
    use sqlx::ConnectOptions as _;

    let mut connection = SqliteConnectOptions::new()
        .filename(folder.join("rows.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::query("CREATE TABLE rows (id INTEGER PRIMARY KEY, key INTEGER, method TEXT, tool TEXT, status INTEGER, micros INTEGER)")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

/// Writes what has come together.
async fn write(inner: Arc<Inner>, mut connection: SqliteConnection) {
    use sqlx::Connection as _;

    loop {
        tokio::time::sleep(TOGETHER).await;
        let rows = std::mem::take(&mut *inner.rows.lock().unwrap_or_else(PoisonError::into_inner));
        let written = async {
            let mut transaction = connection.begin().await?;
            for row in rows {
                sqlx::query(
                    "INSERT INTO rows (key, method, tool, status, micros) VALUES ($1, $2, $3, $4, $5)",
                )
                .bind(row.key.cast_signed())
                .bind(row.method)
                .bind(row.tool)
                .bind(i64::from(row.status))
                .bind(row.micros)
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

fn only(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let began = Instant::now();
    let key = request.headers().get("x-api-key").map(|key| Sha256::digest(key.as_bytes()).into());
    let Some(key) = key.and_then(|hash: [u8; 32]| inner.keys.get(&hash).copied()) else {
        return Ok(only(StatusCode::UNAUTHORIZED));
    };
    let allowed = {
        let mut buckets = inner.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(key).or_insert_with(|| Bucket { tokens: TOKENS, at: began }).take()
    };
    if !allowed {
        return Ok(only(StatusCode::TOO_MANY_REQUESTS));
    }
    Ok(match through(&inner, request).await {
        Ok((response, method, tool)) => {
            let micros = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
            let row = Row { key, method, tool, status: response.status().as_u16(), micros };
            inner.rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
            response
        }
        Err(_) => only(StatusCode::BAD_GATEWAY),
    })
}

async fn through(inner: &Inner, request: Request<Incoming>) -> Done<(Response<Full<Bytes>>, String, String)> {
    let (mut parts, body) = request.into_parts();
    let path = if parts.uri.path() == "/many" { "many" } else { "mcp" };
    parts.uri = format!("http://{}/{path}", inner.to).parse::<Uri>()?;
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove("x-api-key");
    let body = body.collect().await?.to_bytes();
    let message: Message<'_> = serde_json::from_slice(&body)?;
    let name: Option<&str> = match message.params.as_ref().and_then(|params| params.get("name")) {
        Some(name) => Some(serde_json::from_str(name.get())?),
        None => None,
    };
    let tool = name.map_or("", |name| name.split_once("__").map_or(name, |(_, tool)| tool)).to_owned();
    let mut out = Vec::with_capacity(body.len());
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(message.id.map_or("null", RawValue::get).as_bytes());
    out.extend_from_slice(br#","method":"#);
    serde_json::to_writer(&mut out, message.method)?;
    out.extend_from_slice(br#","params":{"#);
    for (place, (member, value)) in message.params.iter().flatten().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, member)?;
        out.push(b':');
        if *member == "name" {
            serde_json::to_writer(&mut out, &tool)?;
        } else {
            out.extend_from_slice(value.get().as_bytes());
        }
    }
    out.extend_from_slice(b"}}");
    let method = message.method.to_owned();
    let (parts, body) =
        inner.client.request(Request::from_parts(parts, Full::new(Bytes::from(out)))).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok((Response::from_parts(parts, Full::new(body)), method, tool))
}
