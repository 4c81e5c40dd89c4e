//! One organisation beside another that behaves badly (TEN-07): beyond its limit, and with calls that never end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Done, Plan,
    calls::{Credential, Echo, Keys, post},
    load::{Call, Connection, open_loop},
    machine::{Gatehouse, Place, Started},
    stats::Times,
};

/// Calls in a second of the one that behaves.
const CALLS: u64 = 100;
/// What the other may do in a second, and how many times that it does.
const LIMIT: u64 = 10;
const TIMES: u64 = 10;
/// Calls of the other that hang at once.
const STUCK: usize = 500;
/// How long each comparison lasts.
const LASTING: Duration = Duration::from_secs(8);
const PATH: &str = "/mcp/noisy";

/// Calls of which most are refused.
#[derive(Clone, Debug)]
struct TooMany(Credential);

impl Call for TooMany {
    fn request(&self, number: usize) -> Done<Request<Full<Bytes>>> {
        let params = json!({"name": "up__echo", "arguments": {"text": "x".repeat(1024)}});
        let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params});
        post(PATH, &self.0, number, body.to_string())
    }

    fn is_right(&self, _: usize, status: u16, _: &[u8]) -> bool {
        matches!(status, 200 | 429)
    }
}

/// The other organisation, with a key.
async fn noisy(place: &Place, upstream: &Started) -> Done<Credential> {
    let url = format!("http://{}/mcp", upstream.address);
    let owner = ["--owner", "bench@example.com", "--plan", "enterprise"];
    place.admin(&[&["org", "create", "--name", "Noisy", "--slug", "noisy"][..], &owner].concat()).await?;
    place
        .admin(&["connector", "add", "--org", "noisy", "--slug", "up", "--name", "up", "--url", &url])
        .await?;
    let rate = (LIMIT * 60).to_string();
    place.admin(&["org", "set", "--org", "noisy", "--rate-per-minute", &rate]).await?;
    let key = place.admin(&["api-key", "create", "--org", "noisy", "--name", "noisy"]).await?;
    Ok(Credential::Key(key["key"].as_str().unwrap_or_default().to_owned()))
}

/// Calls that never get an answer, until this is dropped. Each on a connection of its own.
async fn stuck(address: &str, key: &Credential) -> Done<JoinSet<Done>> {
    let mut all = JoinSet::new();
    for number in 0..STUCK {
        let mut connection = Connection::open(address).await?;
        let params = json!({"name": "up__hang", "arguments": {}});
        let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params});
        let request = post(PATH, key, number, body.to_string())?;
        all.spawn(async move {
            connection.send(request).await?;
            // One that is refused as one too many comes back, as clients do.
            Ok(())
        });
    }
    Ok(all)
}

/// Steady calls by themselves, beside an organisation at ten times its limit, and beside one whose calls hang.
pub(crate) async fn figures(
    plan: &Plan,
    place: &Place,
    gatehouse: &Gatehouse,
    upstream: &Started,
    keys: &Keys,
) -> Done {
    let key = noisy(place, upstream).await?;
    let address = &gatehouse.server.address;
    let calls = || {
        let echo = Echo::through(Credential::Key(keys.api_key.clone()));
        open_loop(address, Arc::new(echo), CALLS, LASTING)
    };
    let mut all = [Times::default(), Times::default(), Times::default()];
    let mut waiting = 0;
    for _ in 0..plan.rounds.min(3) {
        all[0].extend(calls().await?);
        let flood = open_loop(address, Arc::new(TooMany(key.clone())), LIMIT * TIMES, LASTING);
        let (times, flood) = tokio::join!(calls(), flood);
        all[1].extend(times?);
        flood?;
        // So that what hangs is not refused for its rate.
        place.admin(&["org", "set", "--org", "noisy", "--rate-per-minute", "unlimited"]).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut hanging = stuck(address, &key).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        all[2].extend(calls().await?);
        while hanging.try_join_next().is_some() {}
        waiting = waiting.max(hanging.len());
        drop(hanging);
        let rate = (LIMIT * 60).to_string();
        place.admin(&["org", "set", "--org", "noisy", "--rate-per-minute", &rate]).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    println!("### `/mcp`, {CALLS} calls a second, beside another organisation\n");
    println!("| | p50 ms | p99 ms | p99 ÷ by itself |\n|---|---|---|---|");
    let names = ["by itself", "beside ten times its limit", "beside calls that hang"];
    for (name, times) in names.iter().zip(&all) {
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} |",
            times.at(0.5),
            times.at(0.99),
            times.at(0.99) / all[0].at(0.99)
        );
    }
    println!("\nno call was answered wrongly; of {STUCK} calls {waiting} hung until the end\n");
    Ok(())
}
