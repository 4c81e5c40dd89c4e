//! A receiver of webhooks that records what arrives and answers as it is told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// A delivery as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its headers, the names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, byte for byte.
    pub body: String,
}

impl Received {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The body, read.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// How it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status, these headers and this body.
    Status(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Not at all, and keeps the connection.
    Hang,
    /// With status 200 and a body that has no end.
    Endless,
}

impl Answer {
    /// With a status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), Vec::new())
    }
}

/// A running receiver. It ends with its task.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Where it is.
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<Answer>>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// Starts one on a loopback address; it answers 204.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let receiver = Self {
            url: format!("http://{}/hook", listener.local_addr().expect("an address")),
            received: Arc::default(),
            answer: Arc::new(Mutex::new(Answer::status(204))),
            open: Arc::default(),
            most: Arc::default(),
        };
        let this = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move {
                    let now = this.open.fetch_add(1, Ordering::SeqCst) + 1;
                    this.most.fetch_max(now, Ordering::SeqCst);
                    let _ = this.take(stream).await;
                    this.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        receiver
    }

    /// Answers like this from now on.
    pub fn answer(&self, answer: Answer) {
        *lock(&self.answer) = answer;
    }

    /// What has arrived so far, in its order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }

    /// The most deliveries that were here at the same time.
    pub fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    async fn take(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut headers = BTreeMap::new();
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            // Whoever connected was gone before it sent anything.
            return Ok(());
        }
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let body = String::from_utf8(body).unwrap_or_default();
        lock(&self.received).push(Received { headers, body });
        let answer = lock(&self.answer).clone();
        match answer {
            Answer::Status(status, headers, body) => {
                let mut head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
                for (name, value) in headers {
                    head = format!("{head}{name}: {value}\r\n");
                }
                stream.write_all(format!("{head}\r\n").as_bytes()).await?;
                stream.write_all(&body).await?;
                stream.shutdown().await
            }
            Answer::Hang => {
                let mut rest = [0; 1];
                stream.read_exact(&mut rest).await.map(drop)
            }
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 1024]).await?;
                }
            }
        }
    }
}
