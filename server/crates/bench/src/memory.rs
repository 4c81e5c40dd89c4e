//! What organisations and open streams take of memory.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    Done, Plan,
    load::Connection,
    machine::{Gatehouse, Place, Started},
};

/// Connectors of each organisation.
const CONNECTORS: usize = 20;
/// Streams that one key may have open.
const STREAMS_PER_KEY: usize = 16;
/// Steps of the command line at once: they wait for the disk more than for a processor.
const STEPS: usize = 4;

/// An organisation with its keys.
struct Org {
    slug: String,
    keys: Vec<String>,
}

/// Makes the organisations, connects to all of their connectors, opens the streams, and looks at the memory in between.
pub(crate) async fn memory(plan: &Plan) -> Done {
    let upstream = Started::own(&["upstream"]).await?;
    let place = Place::new(plan)?.with("GATEHOUSE_MAX_CONNECTIONS", (plan.streams + 1000).to_string());
    place
        .admin(&[
            "setup",
            "--email",
            "bench@example.com",
            "--password",
            "correct horse battery staple 9",
            "--org-name",
            "Bench",
            "--org-slug",
            "bench",
        ])
        .await?;
    let orgs = make(plan, &place, &upstream).await?;
    let gatehouse = Gatehouse::start(&place).await?;
    let idle = gatehouse.server.resident()?;
    for org in &orgs {
        let mut connection = Connection::open(&gatehouse.server.address).await?;
        let request = Request::post(format!("/mcp/{}", org.slug))
            .header("x-api-key", &org.keys[0])
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#))?;
        let (status, body) = connection.send(request).await?;
        let tools = serde_json::from_slice::<Value>(&body)?["result"]["tools"].as_array().map(Vec::len);
        if status != 200 || tools != Some(3 * CONNECTORS) {
            return Err(format!("{} lists {tools:?} tools, status {status}", org.slug).into());
        }
    }
    let loaded = gatehouse.server.resident()?;
    let mut open = Vec::new();
    'all: for round in 0.. {
        for org in &orgs {
            if open.len() >= plan.streams {
                break 'all;
            }
            let key = &org.keys[round / STREAMS_PER_KEY % org.keys.len()];
            open.push(listen(&gatehouse.server.address, &org.slug, key).await?);
        }
    }
    let streaming = gatehouse.server.resident()?;
    println!("### memory on {}\n", place.database());
    println!("resident {idle:.1} MiB when idle");
    println!(
        "{} organisations of {CONNECTORS} connectors with 3 tools in memory: {loaded:.1} MiB, {:.1} KiB for each connector",
        orgs.len(),
        (loaded - idle) * 1024.0 / (orgs.len() * CONNECTORS) as f64,
    );
    println!(
        "{} listening streams open beside them: {streaming:.1} MiB, {:.1} KiB for each stream\n",
        open.len(),
        (streaming - loaded) * 1024.0 / open.len().max(1) as f64,
    );
    Ok(())
}

async fn make(plan: &Plan, place: &Place, upstream: &Started) -> Done<Vec<Org>> {
    let keys = plan.streams.div_ceil(plan.orgs).div_ceil(STREAMS_PER_KEY).max(1);
    let mut orgs: Vec<Org> = Vec::new();
    let mut waiting = (0..plan.orgs).map(|number| format!("org-{number}"));
    let mut running = JoinSet::new();
    loop {
        while running.len() < STEPS
            && let Some(slug) = waiting.next()
        {
            let (place, url) = (place.clone(), format!("http://{}/mcp", upstream.address));
            running.spawn(async move { org(&place, slug, &url, keys).await });
        }
        let Some(made) = running.join_next().await else { return Ok(orgs) };
        orgs.push(made??);
    }
}

async fn org(place: &Place, slug: String, url: &str, keys: usize) -> Done<Org> {
    place.admin(&["org", "create", "--name", &slug, "--slug", &slug, "--owner", "bench@example.com"]).await?;
    for number in 0..CONNECTORS {
        let name = format!("c{number}");
        place
            .admin(&["connector", "add", "--org", &slug, "--slug", &name, "--name", &name, "--url", url])
            .await?;
    }
    let mut made = Vec::new();
    for number in 0..keys {
        let name = format!("key {number}");
        let key = place.admin(&["api-key", "create", "--org", &slug, "--name", &name]).await?;
        made.push(key["key"].as_str().unwrap_or_default().to_owned());
    }
    Ok(Org { slug, keys: made })
}

/// Opens a listening stream of 2026-07-28 and waits for its beginning. It stays open as long as what this returns is held.
async fn listen(address: &str, slug: &str, key: &str) -> Done<(hyper::body::Incoming, JoinSet<()>)> {
    let params = json!({
        "notifications": {"toolsListChanged": true},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params});
    let request = Request::post(format!("/mcp/{slug}"))
        .header(header::HOST, address)
        .header("x-api-key", key)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "subscriptions/listen")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut driving = JoinSet::new();
    driving.spawn(async move {
        let _ = connection.await;
    });
    let (head, mut body) = sender.send_request(request).await?.into_parts();
    if head.status != 200 || body.frame().await.is_none() {
        return Err(format!("a stream was refused: {}", head.status).into());
    }
    Ok((body, driving))
}
