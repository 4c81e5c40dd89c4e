//! Calls of tools: direct, through the floor, through Gatehouse.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    Done, Part, Plan,
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
    path: &'static str,
    tool: &'static str,
    credential: Credential,
    /// Bytes of the answer beyond what was sent.
    more: usize,
    /// Whether each call has a connection of its own.
    alone: bool,
}

impl Echo {
    pub(crate) const fn through(credential: Credential) -> Self {
        Self { path: "/mcp/bench", tool: "up__echo", credential, more: 0, alone: false }
    }

    /// To whatever has one server behind it, with or without a prefix.
    const fn to(path: &'static str, tool: &'static str, credential: Credential) -> Self {
        Self { path, tool, credential, more: 0, alone: false }
    }

    /// The tool whose answer is a MiB larger.
    fn big(self) -> Self {
        let tool = if self.tool.starts_with("up__") { "up__big" } else { "big" };
        Self { tool, more: 1 << 20, ..self }
    }

    fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    fn text(number: usize) -> String {
        format!("call {number:<8} {}", "x".repeat(1010))
    }
}

/// A message to an MCP endpoint.
pub(crate) fn post(
    path: &str,
    credential: &Credential,
    number: usize,
    body: String,
) -> Done<Request<Full<Bytes>>> {
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
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        let sent = Self::text(number);
        status == 200
            && answer["id"] == number
            && text.starts_with(&sent)
            && text.len() == sent.len() + self.more
    }

    fn is_alone(&self) -> bool {
        self.alone
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

/// Those that are compared: the server itself, what passes everything on, what does a gateway's own work, and Gatehouse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contestants<'a> {
    pub(crate) upstream: &'a Started,
    pub(crate) pass: &'a Started,
    pub(crate) work: &'a Started,
    pub(crate) gatehouse: &'a Gatehouse,
    pub(crate) keys: &'a Keys,
}

fn table(title: &str, names: &[&str], sums: &[Sum]) {
    println!("{title}: {} calls each, medians of interleaved rounds\n", sums[0].times.len());
    println!(
        "| | calls/s | ÷ direct | ÷ work | p50 ms | added µs | ÷ work | p99 ms | ÷ work | CPU s/10,000 | ÷ work |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let (direct, work) = (&sums[0], &sums[2]);
    let added = |sum: &Sum| (sum.times.at(0.5) - direct.times.at(0.5)) * 1e3;
    for (name, sum) in names.iter().zip(sums) {
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {:.3} | {:.0} | {:.2} | {:.3} | {:.2} | {:.2} | {:.2} |",
            sum.rate(),
            sum.rate() / direct.rate(),
            sum.rate() / work.rate(),
            sum.times.at(0.5),
            added(sum),
            added(sum) / added(work),
            sum.times.at(0.99),
            sum.times.at(0.99) / work.times.at(0.99),
            sum.cpu(),
            sum.cpu() / work.cpu(),
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
pub(crate) async fn compare(plan: &Plan, all: Contestants<'_>) -> Done {
    let Contestants { upstream, pass, work, gatehouse, keys } = all;
    let key = || Credential::Key(keys.api_key.clone());
    let unguarded = || Arc::new(Echo::to("/mcp", "echo", Credential::None));
    let by_work = Arc::new(Echo::to("/mcp", "up__echo", key()));
    let by_key = Arc::new(Echo::through(key()));
    let by_token = Arc::new(Echo::through(Credential::Tokens(vec![keys.token.clone()])));
    let names = ["direct", "pass-through", "work", "Gatehouse, API key", "Gatehouse, access token"];
    for (at_once, calls) in [1, 8, 32].into_iter().zip(plan.calls) {
        if !plan.measures(Part::Calls(at_once)) {
            continue;
        }
        let mut sums: [Sum; 5] = Default::default();
        let mut per_call = (0, 0);
        // The first round warms up and does not count.
        for round in 0..=plan.rounds {
            let gate = &gatehouse.server;
            let direct = closed_loop(&upstream.address, unguarded(), at_once, calls, upstream).await?;
            let least = closed_loop(&pass.address, unguarded(), at_once, calls, pass).await?;
            let worked = closed_loop(&work.address, Arc::clone(&by_work), at_once, calls, work).await?;
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
            for (sum, round) in sums.iter_mut().zip([direct, least, worked, key, token]) {
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
    if plan.measures(Part::Lists) {
        lists(plan, all).await?;
    }
    if plan.measures(Part::Shapes) {
        shapes(plan, all).await?;
    }
    Ok(())
}

async fn lists(plan: &Plan, all: Contestants<'_>) -> Done {
    let Contestants { upstream, work, gatehouse, keys, .. } = all;
    let list = |path, credential| Arc::new(List { path, credential });
    let direct = list("/many", Credential::None);
    let worked = list("/many", Credential::Key(keys.api_key.clone()));
    let through = list("/mcp/bench", Credential::Tokens(vec![keys.token.clone()]));
    let mut sums: [Sum; 3] = Default::default();
    let (calls, mut asked) = (plan.calls[0], 0);
    for _ in 0..plan.rounds {
        let gate = &gatehouse.server;
        sums[0].add(closed_loop(&upstream.address, Arc::clone(&direct), 8, calls, upstream).await?);
        sums[1].add(closed_loop(&work.address, Arc::clone(&worked), 8, calls, work).await?);
        let before = seen(upstream).await?;
        sums[2].add(closed_loop(&gate.address, Arc::clone(&through), 8, calls, gate).await?);
        asked += seen(upstream).await?[0] - before[0];
    }
    let [bare, work, listed] = &sums;
    println!(
        "### warm `tools/list` of 300 tools, 8 at once\n\n÷ direct: calls/s {:.2}, p99 {:.2}; CPU {:.2} s/10,000, ÷ work {:.2}; {asked} requests upstream\n",
        listed.rate() / bare.rate(),
        listed.times.at(0.99) / bare.times.at(0.99),
        listed.cpu(),
        listed.cpu() / work.cpu(),
    );
    Ok(())
}

/// Calls that are not like others: large answers, and connections that serve one call.
async fn shapes(plan: &Plan, all: Contestants<'_>) -> Done {
    let Contestants { work, gatehouse, keys, .. } = all;
    let key = || Credential::Key(keys.api_key.clone());
    let (gate, to) = (&gatehouse.server, |credential| Echo::to("/mcp", "up__echo", credential));
    println!("### other shapes, 8 at once\n");
    println!("| | work: CPU s/10,000 | Gatehouse | ÷ work | resident after, MiB |");
    println!("|---|---|---|---|---|");
    for (name, calls, worked, through) in [
        ("answers of 1 MiB", plan.calls[0] / 5, to(key()).big(), Echo::through(key()).big()),
        ("a connection for each call", plan.calls[0], to(key()).alone(), Echo::through(key()).alone()),
    ] {
        let (mut least, mut ours) = (Sum::default(), Sum::default());
        let (worked, through) = (Arc::new(worked), Arc::new(through));
        for _ in 0..plan.rounds {
            least.add(closed_loop(&work.address, Arc::clone(&worked), 8, calls, work).await?);
            ours.add(closed_loop(&gate.address, Arc::clone(&through), 8, calls, gate).await?);
        }
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} | {:.1} |",
            least.cpu(),
            ours.cpu(),
            ours.cpu() / least.cpu(),
            gate.resident()?,
        );
    }
    println!();
    Ok(())
}

/// Failed authentications of one address in a minute before it has to wait.
const FAILURES: usize = 3000;
/// Those of all addresses before everybody has to.
const FAILURES_EVERYWHERE: usize = 30_000;

/// A credential that is none.
#[derive(Clone, Copy)]
enum Bad {
    /// From the client's own address, which is over its limit soon.
    FromOne,
    /// Each from another address, so that nothing tells them apart from good ones but the credential.
    FromEverywhere,
}

impl Call for Bad {
    fn request(&self, number: usize) -> Done<Request<Full<Bytes>>> {
        let body = json!({"jsonrpc": "2.0", "id": number, "method": "tools/list"}).to_string();
        let key = Credential::Key(format!("gth_live_sk_{number:038}"));
        let mut request = post("/mcp/bench", &key, number, body)?;
        if matches!(self, Self::FromEverywhere) {
            let [.., a, b, c] = number.to_be_bytes();
            request.headers_mut().insert("x-forwarded-for", format!("10.{a}.{b}.{c}").parse()?);
        }
        Ok(request)
    }

    fn is_right(&self, _: usize, status: u16, _: &[u8]) -> bool {
        status == 401 || status == 429
    }
}

/// What a flood of bad keys costs, and what good calls feel of it.
pub(crate) async fn bad_keys(plan: &Plan, all: Contestants<'_>) -> Done {
    let Contestants { upstream, work, gatehouse, keys, .. } = all;
    let gate = &gatehouse.server;
    let key = Credential::Key(keys.api_key.clone());
    let good = Arc::new(Echo::through(key.clone()));
    let good_at_work = Arc::new(Echo::to("/mcp", "up__echo", key));
    let bad = Arc::new(Bad::FromEverywhere);
    let (mut quiet, mut flood, mut least) = (Sum::default(), Sum::default(), Sum::default());
    let (mut quiet_at_work, mut beside_at_work) = (Sum::default(), Sum::default());
    let (mut beside_one, mut beside_all) = (Sum::default(), Sum::default());
    let calls = plan.calls[0];
    let asked = seen(upstream).await?[0];
    // What a refusal costs, as long as it is given at once.
    let refusals = FAILURES_EVERYWHERE / 2 / plan.rounds;
    for _ in 0..plan.rounds {
        flood.add(closed_loop(&gate.address, Arc::clone(&bad), 8, refusals, gate).await?);
        least.add(closed_loop(&work.address, Arc::clone(&bad), 8, refusals, work).await?);
    }
    // A flood that lasts: from here on its address, or everybody, is over the limit.
    closed_loop(&gate.address, Arc::new(Bad::FromOne), 8, FAILURES, gate).await?;
    closed_loop(&gate.address, Arc::clone(&bad), 8, FAILURES_EVERYWHERE / 2, gate).await?;
    for _ in 0..plan.rounds {
        quiet.add(closed_loop(&gate.address, Arc::clone(&good), 1, calls, gate).await?);
        quiet_at_work.add(closed_loop(&work.address, Arc::clone(&good_at_work), 1, calls, work).await?);
        beside_all.add(beside(gate, &good, Bad::FromEverywhere, calls).await?);
        beside_at_work.add(beside(work, &good_at_work, Bad::FromEverywhere, calls).await?);
        beside_one.add(beside(gate, &good, Bad::FromOne, calls).await?);
    }
    let called = 5 * plan.rounds * calls;
    let asked = seen(upstream).await?[0] - asked - i64::try_from(called)?;
    println!(
        "### bad keys, 8 at once\n\nCPU {:.2} s/10,000, ÷ work {:.2}, ÷ a good call {:.2}; {asked} requests upstream\n",
        flood.cpu(),
        flood.cpu() / least.cpu(),
        flood.cpu() / quiet.cpu(),
    );
    let p99 = |sum: &Sum| sum.times.at(0.99);
    println!(
        "good calls, 1 at once: p99 {:.3} ms; beside bad keys from one address {:.3}, ÷ {:.2}; from everywhere {:.3}, ÷ {:.2} (work: ÷ {:.2})\n",
        p99(&quiet),
        p99(&beside_one),
        p99(&beside_one) / p99(&quiet),
        p99(&beside_all),
        p99(&beside_all) / p99(&quiet),
        p99(&beside_at_work) / p99(&quiet_at_work),
    );
    Ok(())
}

/// Good calls, one after the other, beside a flood that lasts as long.
async fn beside(of: &Started, good: &Arc<Echo>, bad: Bad, calls: usize) -> Done<Round> {
    let good = closed_loop(&of.address, Arc::clone(good), 1, calls, of);
    let flood = async {
        loop {
            closed_loop(&of.address, Arc::new(bad), 8, 20 * calls, of).await?;
        }
    };
    let flood: std::pin::Pin<Box<dyn Future<Output = Done>>> = Box::pin(flood);
    tokio::select! {
        round = good => round,
        ended = flood => Err(ended.err().unwrap_or_else(|| "the flood ended".into())),
    }
}
