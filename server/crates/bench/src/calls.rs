//! Calls of tools: direct, through the floor, through Gatehouse.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    Done, Plan,
    load::{Call, Connection, Round, closed_loop},
    machine::{Gatehouse, Place, Started},
    oauth,
    stats::{Times, median},
};

/// What opens the door.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) api_key: String,
    pub(crate) client: String,
    pub(crate) secret: String,
    /// An access token of that client.
    pub(crate) token: String,
}

/// An organisation with two connectors, a key and a machine client.
pub(crate) async fn set_up(place: &Place, upstream: &Started) -> Done<Keys> {
    let password = "correct horse battery staple 9";
    place
        .admin(&[
            "setup",
            "--email",
            "bench@example.com",
            "--password",
            password,
            "--org-name",
            "Bench",
            "--org-slug",
            "bench",
        ])
        .await?;
    for (slug, path) in [("up", "mcp"), ("many", "many")] {
        let url = format!("http://{}/{path}", upstream.address);
        place
            .admin(&["connector", "add", "--org", "bench", "--slug", slug, "--name", slug, "--url", &url])
            .await?;
    }
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let key =
        place.admin(&["api-key", "create", "--org", "bench", "--name", "bench", "--connector", "up"]).await?;
    let client = place.admin(&["oauth-client", "create", "--org", "bench", "--name", "bench"]).await?;
    Ok(Keys {
        api_key: text(&key, "key"),
        client: text(&client, "client_id"),
        secret: text(&client, "client_secret"),
        token: String::new(),
    })
}

/// The same with an access token.
pub(crate) async fn with_token(keys: Keys, gatehouse: &Gatehouse) -> Done<Keys> {
    let mut connection = Connection::open(&gatehouse.server.address).await?;
    let token = oauth::new_token(&mut connection, &keys).await?;
    Ok(Keys { token, ..keys })
}

/// What stands in a request's header to open the door.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    None,
    Key(String),
    /// Each in turn.
    Tokens(Vec<String>),
}

/// A `tools/call` of `echo` with 1 KiB that is another each time.
#[derive(Clone, Debug)]
pub(crate) struct Echo {
    pub(crate) path: &'static str,
    pub(crate) tool: &'static str,
    pub(crate) credential: Credential,
}

impl Echo {
    pub(crate) const fn through(credential: Credential) -> Self {
        Self { path: "/mcp/bench", tool: "up__echo", credential }
    }

    fn text(number: usize) -> String {
        format!("call {number:<8} {}", "x".repeat(1010))
    }
}

fn post(path: &str, credential: &Credential, number: usize, body: String) -> Done<Request<Full<Bytes>>> {
    let mut request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    match credential {
        Credential::None => {}
        Credential::Key(key) => request = request.header("x-api-key", key),
        Credential::Tokens(tokens) => {
            let token = &tokens[number % tokens.len()];
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
    }
    Ok(request.body(Full::new(Bytes::from(body)))?)
}

impl Call for Echo {
    fn request(&self, number: usize) -> Done<Request<Full<Bytes>>> {
        let params = json!({"name": self.tool, "arguments": {"text": Self::text(number)}});
        let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params});
        post(self.path, &self.credential, number, body.to_string())
    }

    fn is_right(&self, number: usize, status: u16, body: &[u8]) -> bool {
        let Ok(answer) = serde_json::from_slice::<Value>(body) else { return false };
        status == 200
            && answer["id"] == number
            && answer["result"]["content"][0]["text"] == Self::text(number).as_str()
    }
}

/// A `tools/list` of all connectors, of which one has 300 tools.
#[derive(Clone, Debug)]
struct List {
    path: &'static str,
    credential: Credential,
}

impl Call for List {
    fn request(&self, number: usize) -> Done<Request<Full<Bytes>>> {
        let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/list"});
        post(self.path, &self.credential, number, body.to_string())
    }

    fn is_right(&self, _: usize, status: u16, body: &[u8]) -> bool {
        let Ok(answer) = serde_json::from_slice::<Value>(body) else { return false };
        status == 200 && answer["result"]["tools"].as_array().is_some_and(|tools| tools.len() >= 300)
    }
}

/// Rounds of one contestant.
#[derive(Debug, Default)]
struct Sum {
    times: Times,
    rates: Vec<f64>,
    cpus: Vec<f64>,
}

impl Sum {
    fn add(&mut self, round: Round) {
        self.times.extend(round.times);
        self.rates.push(round.rate);
        self.cpus.push(round.cpu);
    }

    fn rate(&self) -> f64 {
        median(&self.rates)
    }

    fn cpu(&self) -> f64 {
        median(&self.cpus)
    }
}

fn table(title: &str, names: &[&str], sums: &[Sum]) {
    println!("{title}: {} calls each, medians of interleaved rounds\n", sums[0].times.len());
    println!("| | calls/s | ÷ direct | ÷ floor | p50 ms | p50 added µs | p99 ms | CPU s/10,000 | ÷ floor |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let (direct, floor) = (&sums[0], &sums[1]);
    for (name, sum) in names.iter().zip(sums) {
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {:.3} | {:.0} | {:.3} | {:.2} | {:.2} |",
            sum.rate(),
            sum.rate() / direct.rate(),
            sum.rate() / floor.rate(),
            sum.times.at(0.5),
            (sum.times.at(0.5) - direct.times.at(0.5)) * 1e3,
            sum.times.at(0.99),
            sum.cpu(),
            sum.cpu() / floor.cpu(),
        );
    }
    println!();
}

/// Requests and connections that the upstream has seen.
async fn seen(upstream: &Started) -> Done<[i64; 2]> {
    let (_, body) = Connection::open(&upstream.address).await?.get("/count").await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Interleaved rounds, so that whatever else the machine does meets all of them.
pub(crate) async fn compare(
    plan: &Plan,
    gatehouse: &Gatehouse,
    upstream: &Started,
    floor: &Started,
    keys: &Keys,
) -> Done {
    let unguarded = || Arc::new(Echo { path: "/mcp", tool: "echo", credential: Credential::None });
    let by_key = Arc::new(Echo::through(Credential::Key(keys.api_key.clone())));
    let by_token = Arc::new(Echo::through(Credential::Tokens(vec![keys.token.clone()])));
    let names = ["direct", "floor", "Gatehouse, API key", "Gatehouse, access token"];
    for (at_once, calls) in [1, 8, 32].into_iter().zip(plan.calls) {
        let mut sums: [Sum; 4] = Default::default();
        let mut per_call = (0, 0);
        // The first round warms up and does not count.
        for round in 0..=plan.rounds {
            let gate = &gatehouse.server;
            let direct = closed_loop(&upstream.address, unguarded(), at_once, calls, upstream).await?;
            let least = closed_loop(&floor.address, unguarded(), at_once, calls, floor).await?;
            let before = seen(upstream).await?;
            let key = closed_loop(&gate.address, Arc::clone(&by_key), at_once, calls, gate).await?;
            let after = seen(upstream).await?;
            let token = closed_loop(&gate.address, Arc::clone(&by_token), at_once, calls, gate).await?;
            if round == 0 {
                continue;
            }
            per_call.0 += after[0] - before[0];
            // The count itself takes a connection.
            per_call.1 += after[1] - before[1] - 1;
            for (sum, round) in sums.iter_mut().zip([direct, least, key, token]) {
                sum.add(round);
            }
        }
        let called = (plan.rounds * calls) as f64;
        table(&format!("### `tools/call` of 1 KiB, {at_once} at once"), &names, &sums);
        println!(
            "for each call {:.4} requests and {:.4} new connections upstream\n",
            per_call.0 as f64 / called,
            per_call.1 as f64 / called,
        );
    }
    lists(plan, gatehouse, upstream, keys).await
}

async fn lists(plan: &Plan, gatehouse: &Gatehouse, upstream: &Started, keys: &Keys) -> Done {
    let direct = Arc::new(List { path: "/many", credential: Credential::None });
    let through =
        Arc::new(List { path: "/mcp/bench", credential: Credential::Tokens(vec![keys.token.clone()]) });
    let (mut bare, mut listed) = (Sum::default(), Sum::default());
    let before = seen(upstream).await?;
    let calls = plan.calls[0];
    for _ in 0..plan.rounds {
        let gate = &gatehouse.server;
        bare.add(closed_loop(&upstream.address, Arc::clone(&direct), 8, calls, upstream).await?);
        listed.add(closed_loop(&gate.address, Arc::clone(&through), 8, calls, gate).await?);
    }
    let asked = seen(upstream).await?[0] - before[0] - i64::try_from(plan.rounds * calls)?;
    println!(
        "### warm `tools/list` of 301 tools, 8 at once\n\n÷ direct: calls/s {:.2}, p99 {:.2}; CPU {:.2} s/10,000; {asked} requests upstream\n",
        listed.rate() / bare.rate(),
        listed.times.at(0.99) / bare.times.at(0.99),
        listed.cpu(),
    );
    Ok(())
}

/// A credential that is none.
struct Bad;

impl Call for Bad {
    fn request(&self, number: usize) -> Done<Request<Full<Bytes>>> {
        let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/list"}).to_string();
        post("/mcp/bench", &Credential::Key(format!("gth_live_sk_{number:038}")), number, body)
    }

    fn is_right(&self, _: usize, status: u16, _: &[u8]) -> bool {
        status == 401 || status == 429
    }
}

/// What a flood of bad keys costs.
pub(crate) async fn bad_keys(plan: &Plan, gatehouse: &Gatehouse, keys: &Keys) -> Done {
    let gate = &gatehouse.server;
    let good = Arc::new(Echo::through(Credential::Key(keys.api_key.clone())));
    let (mut quiet, mut flood) = (Sum::default(), Sum::default());
    for _ in 0..plan.rounds {
        quiet.add(closed_loop(&gate.address, Arc::clone(&good), 8, plan.calls[1], gate).await?);
        flood.add(closed_loop(&gate.address, Arc::new(Bad), 8, plan.calls[1], gate).await?);
    }
    println!(
        "### bad keys, 8 at once\n\nCPU {:.2} s/10,000, that is {:.2} of a good call's\n",
        flood.cpu(),
        flood.cpu() / quiet.cpu(),
    );
    Ok(())
}
