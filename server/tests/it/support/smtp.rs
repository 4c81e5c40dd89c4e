//! A receiver of mails on 127.0.0.1 that keeps what it is given, and refuses on demand (RFC 5321, as far as one sender
//! goes).

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// When TLS begins.
#[derive(Clone)]
pub(crate) enum Security {
    /// Never.
    Plain,
    /// After STARTTLS.
    Upgrade(TlsAcceptor),
    /// At once.
    Wrapped(TlsAcceptor),
}

/// A mail as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Head and body.
    pub(crate) text: String,
    /// What was said to log in, in base64.
    pub(crate) login: Option<String>,
    /// Whether it came over TLS.
    pub(crate) secure: bool,
}

#[derive(Default)]
struct Shared {
    mails: Mutex<Vec<Received>>,
    refusal: Mutex<Option<String>>,
}

/// The receiver; it ends with the value.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Receiver {
    pub(crate) async fn start(security: Security) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (security, shared) = (security.clone(), own.clone());
                tokio::spawn(async move {
                    // A sender that breaks off is its own business.
                    _ = match security {
                        Security::Wrapped(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => talk(Box::new(stream), true, None, &shared).await,
                            Err(why) => Err(why),
                        },
                        Security::Upgrade(acceptor) => {
                            talk(Box::new(stream), false, Some(acceptor), &shared).await
                        }
                        Security::Plain => talk(Box::new(stream), false, None, &shared).await,
                    };
                });
            }
        });
        Self { address, shared, task }
    }

    /// Answers every recipient so from now on, such as `451 4.3.0 later`; `None` takes mails again.
    pub(crate) fn refuse(&self, answer: Option<&str>) {
        *self.shared.refusal.lock().unwrap() = answer.map(ToOwned::to_owned);
    }

    /// What came so far.
    pub(crate) fn mails(&self) -> Vec<Received> {
        self.shared.mails.lock().unwrap().clone()
    }
}

async fn talk(
    wire: Box<dyn Wire>,
    mut secure: bool,
    mut upgrade: Option<TlsAcceptor>,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut wire = BufStream::new(wire);
    let (mut from, mut to, mut login) = (String::new(), String::new(), None);
    say(&mut wire, "220 receiver ESMTP").await?;
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "EHLO" if upgrade.is_some() => say(&mut wire, "250-receiver\r\n250 STARTTLS").await?,
            "EHLO" => say(&mut wire, "250-receiver\r\n250 AUTH PLAIN LOGIN").await?,
            "STARTTLS" => {
                let Some(acceptor) = upgrade.take() else { return Ok(()) };
                say(&mut wire, "220 go on").await?;
                let stream = acceptor.accept(wire.into_inner()).await?;
                wire = BufStream::new(Box::new(stream) as Box<dyn Wire>);
                secure = true;
            }
            "AUTH" => {
                login = line.split(' ').nth(2).map(ToOwned::to_owned);
                say(&mut wire, "235 welcome").await?;
            }
            "MAIL" => {
                from = address_in(line);
                say(&mut wire, "250 ok").await?;
            }
            "RCPT" => {
                let refusal = shared.refusal.lock().unwrap().clone();
                to = address_in(line);
                say(&mut wire, refusal.as_deref().unwrap_or("250 ok")).await?;
            }
            "DATA" => {
                say(&mut wire, "354 go on").await?;
                let mut text = String::new();
                loop {
                    let mut line = String::new();
                    wire.read_line(&mut line).await?;
                    if line == ".\r\n" {
                        break;
                    }
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                let mail =
                    Received { from: from.clone(), to: to.clone(), text, login: login.clone(), secure };
                shared.mails.lock().unwrap().push(mail);
                say(&mut wire, "250 taken").await?;
            }
            "QUIT" => return say(&mut wire, "221 bye").await,
            _ => say(&mut wire, "250 ok").await?,
        }
    }
}

fn address_in(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}

async fn say(wire: &mut BufStream<Box<dyn Wire>>, line: &str) -> std::io::Result<()> {
    wire.write_all(line.as_bytes()).await?;
    wire.write_all(b"\r\n").await?;
    wire.flush().await
}
