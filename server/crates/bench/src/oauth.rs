//! The authorization server: the token endpoint at rest and under a flood, and what access tokens cost on `/mcp`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    Done, Plan,
    calls::{Credential, Echo, Keys},
    load::{Call, Connection, closed_loop, open_loop},
    machine::{Gatehouse, Place},
    stats::median,
};

/// What the token endpoint is asked for.
struct Tokens(Keys);

impl Call for Tokens {
    fn request(&self, _: usize) -> Done<Request<Full<Bytes>>> {
        let Keys { client, secret, .. } = &self.0;
        let body = format!("grant_type=client_credentials&client_id={client}&client_secret={secret}");
        Ok(Request::post("/oauth/token")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))?)
    }

    fn is_right(&self, _: usize, status: u16, body: &[u8]) -> bool {
        status == 200
            && serde_json::from_slice::<Value>(body).is_ok_and(|answer| answer["access_token"].is_string())
    }
}

/// A token by client credentials.
pub(crate) async fn new_token(connection: &mut Connection, keys: &Keys) -> Done<String> {
    let (status, body) = connection.send(Tokens(keys.clone()).request(0)?).await?;
    let answer: Value = serde_json::from_slice(&body)?;
    Ok(answer["access_token"].as_str().ok_or_else(|| format!("no token: {status} {answer}"))?.to_owned())
}

/// What verifying a token costs: the first time, and afterwards, beside an API key.
pub(crate) async fn verification(plan: &Plan, gatehouse: &Gatehouse, keys: &Keys) -> Done {
    let gate = &gatehouse.server;
    let mut connection = Connection::open(&gate.address).await?;
    let count = plan.tokens;
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        tokens.push(new_token(&mut connection, keys).await?);
    }
    let by_key = Arc::new(Echo::through(Credential::Key(keys.api_key.clone())));
    let by_token = Arc::new(Echo::through(Credential::Tokens(tokens)));
    // All of them are new once; afterwards rounds are interleaved.
    let miss = closed_loop(&gate.address, Arc::clone(&by_token), 8, count, gate).await?.cpu;
    let (mut key, mut hit) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        key.push(closed_loop(&gate.address, Arc::clone(&by_key), 8, count, gate).await?.cpu);
        hit.push(closed_loop(&gate.address, Arc::clone(&by_token), 8, count, gate).await?.cpu);
    }
    let (key, hit) = (median(&key), median(&hit));
    println!("### access tokens on `/mcp`, 8 at once, {count} tokens\n");
    println!("| | CPU s/10,000 | ÷ API key | µs more a call |\n|---|---|---|---|");
    for (name, cpu) in [("API key", key), ("token, first time", miss), ("token, again", hit)] {
        println!("| {name} | {cpu:.2} | {:.2} | {:.0} |", cpu / key, (cpu - key) * 100.0);
    }
    println!();
    Ok(())
}

/// How many transactions of the database calls take. What the server does by itself goes on meanwhile, so it is measured
/// first and subtracted.
pub(crate) async fn without_database(place: &Place, gatehouse: &Gatehouse, keys: &Keys) -> Done {
    const CALLS: usize = 50_000;

    let gate = &gatehouse.server;
    let Some(start) = place.transactions().await? else {
        println!("### the database during calls\n\nonly told by PostgreSQL: run with --postgres\n");
        return Ok(());
    };
    let began = tokio::time::Instant::now();
    for credential in [Credential::Key(keys.api_key.clone()), Credential::Tokens(vec![keys.token.clone()])] {
        closed_loop(&gate.address, Arc::new(Echo::through(credential)), 8, CALLS, gate).await?;
    }
    let busy = place.transactions().await?.unwrap_or_default();
    let lasted = began.elapsed();
    tokio::time::sleep(lasted.saturating_sub(Duration::from_millis(1500))).await;
    let idle = place.transactions().await?.unwrap_or_default();
    println!(
        "### the database during calls\n\n{} calls took {} transactions; without calls the server made {} in the same {:.1} s\n",
        2 * CALLS,
        busy - start,
        idle - busy,
        lasted.as_secs_f64(),
    );
    Ok(())
}

/// A registration from an address of its own.
struct Registration;

impl Call for Registration {
    fn request(&self, number: usize) -> Done<Request<Full<Bytes>>> {
        let body =
            json!({"client_name": format!("client {number}"), "redirect_uris": ["http://127.0.0.1/cb"]});
        Ok(Request::post("/oauth/register")
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-forwarded-for", format!("100.64.{}.{}", number / 250, number % 250 + 1))
            .body(Full::new(Bytes::from(body.to_string())))?)
    }

    fn is_right(&self, _: usize, status: u16, _: &[u8]) -> bool {
        status == 201 || status == 429
    }
}

/// The token endpoint at 50 requests a second, by itself and while clients register.
pub(crate) async fn token_endpoint(plan: &Plan, gatehouse: &Gatehouse, keys: &Keys) -> Done {
    let gate = &gatehouse.server;
    let lasting = Duration::from_secs(plan.steady);
    let load = || open_loop(&gate.address, Arc::new(Tokens(keys.clone())), 50, lasting);
    println!("### `/oauth/token`, client credentials, 50 a second for {} s\n", plan.steady);
    let alone = load().await?;
    let flood = async {
        let began = tokio::time::Instant::now();
        let round = closed_loop(&gate.address, Arc::new(Registration), 4, plan.flood, gate).await?;
        Done::Ok((began.elapsed(), round))
    };
    let (beside, flood) = tokio::join!(load(), flood);
    let (beside, (lasted, flood)) = (beside?, flood?);
    println!("| | p50 ms | p99 ms | worst ms |\n|---|---|---|---|");
    for (name, times) in [("by itself", &alone), ("beside registrations", &beside)] {
        println!("| {name} | {:.2} | {:.2} | {:.2} |", times.at(0.5), times.at(0.99), times.at(1.0));
    }
    println!(
        "\n{} registrations in {:.1} s (p99 {:.2} ms); p99 of tokens beside them ÷ by itself {:.2}\n",
        flood.times.len(),
        lasted.as_secs_f64(),
        flood.times.at(0.99),
        beside.at(0.99) / alone.at(0.99),
    );
    Ok(())
}
