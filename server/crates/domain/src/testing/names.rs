//! A name server for tests, for `GATEHOUSE_DNS_RESOLVER`: it has the A, TXT and CNAME records that it is given, and for every other
//! question none.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::net::UdpSocket;

use crate::{
    Env,
    net::{Outbound, OutboundSettings},
};

const A: u16 = 1;
const TXT: u16 = 16;
const CNAME: u16 = 5;
/// Answers are cut off for nobody.
const MOST: usize = 1500;
/// NOERROR, and SERVFAIL: whoever asks another server is told that it failed.
const FINE: u8 = 0x80;
const FAILED: u8 = 0x82;

#[derive(Default)]
struct Records {
    /// Name, type and data as it stands in an answer.
    all: Vec<(String, u16, Vec<u8>)>,
    failing: bool,
}

/// A name server on a loopback address. Clones are the same one.
#[derive(Clone)]
pub struct NameServer {
    address: SocketAddr,
    records: Arc<Mutex<Records>>,
}

impl core::fmt::Debug for NameServer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NameServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A length that stands in one byte.
fn byte(length: usize) -> u8 {
    u8::try_from(length).expect("short enough for a record")
}

impl NameServer {
    /// Starts one without records.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let records = Arc::new(Mutex::new(Records::default()));
        let server = Self { address, records };
        tokio::spawn(server.clone().serve(socket));
        server
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same environment, which asks this server.
    pub fn env(&self, env: &Env) -> Env {
        let outbound = Outbound::new(OutboundSettings {
            allow: env.outbound.allow().clone(),
            dns_resolver: Some(self.address),
            user_agent: "gatehouse/test".to_owned(),
            ..OutboundSettings::default()
        });
        Env { outbound: outbound.expect("an outbound client"), ..env.clone() }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a TXT record.
    pub fn txt(&self, name: &str, text: &str) {
        let mut data = vec![byte(text.len())];
        data.extend(text.as_bytes());
        self.records().all.push((name.to_owned(), TXT, data));
    }

    /// Adds an address.
    pub fn address_of(&self, name: &str, address: std::net::Ipv4Addr) {
        self.records().all.push((name.to_owned(), A, address.octets().into()));
    }

    /// Adds a CNAME record.
    pub fn cname(&self, name: &str, target: &str) {
        let mut data = Vec::new();
        for label in target.split('.') {
            data.push(byte(label.len()));
            data.extend(label.as_bytes());
        }
        data.push(0);
        self.records().all.push((name.to_owned(), CNAME, data));
    }

    /// Takes all records of a name away.
    pub fn remove(&self, name: &str) {
        self.records().all.retain(|(known, ..)| known != name);
    }

    /// Answers every question with a failure, or as before.
    pub fn fail(&self, failing: bool) {
        self.records().failing = failing;
    }

    async fn serve(self, socket: UdpSocket) {
        let mut buffer = [0; MOST];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = self.answer(&buffer[..length]) {
                // Whoever asked may be gone.
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }

    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (mut at, mut labels) = (12, Vec::new());
        while *question.get(at)? != 0 {
            let next = at + 1 + usize::from(question[at]);
            labels.push(String::from_utf8_lossy(question.get(at + 1..next)?).to_ascii_lowercase());
            at = next;
        }
        let end = at + 5;
        let kind = u16::from_be_bytes(question.get(at + 1..at + 3)?.try_into().ok()?);
        let name = labels.join(".");
        let records = self.records();
        let found: Vec<&Vec<u8>> = records
            .all
            .iter()
            .filter(|(known, of, _)| !records.failing && *of == kind && *known == name)
            .map(|(_, _, data)| data)
            .collect();
        let code = if records.failing { FAILED } else { FINE };
        let mut answer = question.get(..2)?.to_vec();
        answer.extend([0x81, code, 0, 1, 0, byte(found.len()), 0, 0, 0, 0]);
        answer.extend(question.get(12..end)?);
        for data in found {
            // The name of the question, the type, IN, no time to live.
            answer.extend([0xC0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 0, 0, byte(data.len())]);
            answer.extend(data);
        }
        Some(answer)
    }
}
