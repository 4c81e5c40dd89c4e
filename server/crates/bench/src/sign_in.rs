//! Logging in: whether its time tells who has an account (PWD-05), and what a crowd of people costs the calls of agents
//! (PWD-02).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use tokio::task::JoinSet;

use crate::{
    Done, Plan,
    calls::{Credential, Echo, Keys},
    load::{Connection, open_loop},
    machine::{Gatehouse, Place},
    stats::Times,
};

/// Tries of one account before it makes one wait.
const TRIES: usize = 5;
/// People at once.
const CROWD: usize = 500;
/// Calls of agents in a second beside them.
const CALLS: u64 = 100;
/// How long a comparison lasts, which is longer than the crowd is there.
const LASTING: Duration = Duration::from_secs(8);

/// A browser that has opened the log-in page.
#[derive(Clone)]
struct Form {
    cookie: String,
    token: String,
}

impl Form {
    async fn open(connection: &mut Connection) -> Done<Self> {
        let cookie = format!("gatehouse-form={}", "b".repeat(43));
        let page = Request::get("/sign-in").header(header::COOKIE, &cookie).body(Full::default())?;
        let (_, body) = connection.send(page).await?;
        let page = String::from_utf8_lossy(&body).into_owned();
        let field = page.split_once("name=\"csrf\"").and_then(|(_, rest)| rest.split_once("value=\""));
        let token = field.and_then(|(_, rest)| rest.split_once('"')).ok_or("the log-in page has no form")?.0;
        Ok(Self { cookie, token: token.to_owned() })
    }

    /// A try with a wrong password, from an address of its own.
    fn request(&self, email: &str, number: usize) -> Done<Request<Full<Bytes>>> {
        let body = format!(
            "email={}&password=wrong+horse+battery+{number}&csrf={}",
            email.replace('@', "%40"),
            self.token
        );
        Ok(Request::post("/api/sign_in")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, &self.cookie)
            .header("sec-fetch-site", "same-origin")
            .header("x-forwarded-for", format!("100.65.{}.{}", number / 250 % 250, number % 250 + 1))
            .body(Full::new(Bytes::from(body)))?)
    }
}

/// Wrong passwords of people who have an account against addresses that have none, in turn.
pub(crate) async fn telling(plan: &Plan, place: &Place, gatehouse: &Gatehouse) -> Done {
    let accounts = plan.sign_ins / TRIES;
    for account in 0..accounts {
        let email = format!("known{account}@example.com");
        place
            .admin(&["user", "create", "--email", &email, "--password", "correct horse battery staple 9"])
            .await?;
    }
    let mut connection = Connection::open(&gatehouse.server.address).await?;
    let form = Form::open(&mut connection).await?;
    let (mut known, mut unknown) = (Times::default(), Times::default());
    for number in 0..accounts * TRIES {
        for (who, times) in [("known", &mut known), ("nobody", &mut unknown)] {
            let email = format!("{who}{}@example.com", number / TRIES);
            let request = form.request(&email, number)?;
            let sent = Instant::now();
            let (status, body) = connection.send(request).await?;
            times.push(sent.elapsed());
            if status != 401 {
                let body = String::from_utf8_lossy(&body);
                return Err(format!("a wrong password of {email} was answered {status}: {body}").into());
            }
        }
    }
    let (is, is_not) = (known.at(0.5), unknown.at(0.5));
    println!(
        "### log-in, {} wrong passwords of accounts and as many of unknown addresses in turn\n\nmedian {is:.1} ms and {is_not:.1} ms; ratio {:.3}, {:.1} ms apart\n",
        known.len(),
        is / is_not,
        (is - is_not).abs(),
    );
    Ok(())
}

/// Five hundred people who log in at once; how they were answered.
async fn crowd(address: &str, form: &Form, round: usize) -> Done<[usize; 2]> {
    let mut people = JoinSet::new();
    for number in 0..CROWD {
        let (address, form) = (address.to_owned(), form.clone());
        people.spawn(async move {
            let number = (round + 1) * CROWD + number;
            let mut connection = Connection::open(&address).await?;
            let request = form.request(&format!("crowd{number}@example.com"), number)?;
            let (answer, _) = connection.ask(request).await?;
            let wait = answer.headers.get(header::RETRY_AFTER).is_some_and(|value| value == "1");
            Done::Ok((answer.status.as_u16(), wait))
        });
    }
    let mut answers = [0, 0];
    while let Some(status) = people.join_next().await {
        match status?? {
            (401, _) => answers[0] += 1,
            (503, true) => answers[1] += 1,
            other => return Err(format!("a log-in in a crowd was answered {other:?}").into()),
        }
    }
    Ok(answers)
}

/// The most memory that is seen resident, MiB, looking 20 times a second.
async fn most(gatehouse: &Gatehouse, lasting: Duration) -> Done<f64> {
    let (began, mut most) = (Instant::now(), 0.0_f64);
    while began.elapsed() < lasting {
        most = most.max(gatehouse.server.resident()?);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(most)
}

/// Calls at a steady rate by themselves, and while five hundred people log in at once.
pub(crate) async fn beside_calls(plan: &Plan, gatehouse: &Gatehouse, keys: &Keys) -> Done {
    let address = &gatehouse.server.address;
    let form = Form::open(&mut Connection::open(address).await?).await?;
    let calls = || {
        let echo = Echo::through(Credential::Key(keys.api_key.clone()));
        open_loop(address, Arc::new(echo), CALLS, LASTING)
    };
    let (mut alone, mut beside) = (Times::default(), Times::default());
    let (mut looked_at, mut busy, mut took) = (0, 0, Times::default());
    let before = gatehouse.server.resident()?;
    let mut resident = before;
    for round in 0..plan.rounds.min(3) {
        alone.extend(calls().await?);
        let people = async {
            let began = Instant::now();
            let answers = crowd(address, &form, round).await?;
            Done::Ok((answers, began.elapsed()))
        };
        let memory = most(gatehouse, LASTING);
        let (times, people, memory) = tokio::join!(calls(), people, memory);
        resident = resident.max(memory?);
        beside.extend(times?);
        let (answers, lasted) = people?;
        looked_at += answers[0];
        busy += answers[1];
        took.push(lasted);
    }
    println!("### `/mcp`, {CALLS} calls a second, beside {CROWD} log-ins at once\n");
    println!("| | p50 ms | p99 ms |\n|---|---|---|");
    for (name, times) in [("by itself", &alone), ("beside log-ins", &beside)] {
        println!("| {name} | {:.2} | {:.2} |", times.at(0.5), times.at(0.99));
    }
    println!(
        "\np50 ÷ by itself {:.2}, p99 {:.2}; of {} log-ins {looked_at} were looked at and {busy} told to wait, in {:.1} s\n",
        beside.at(0.5) / alone.at(0.5),
        beside.at(0.99) / alone.at(0.99),
        looked_at + busy,
        took.at(0.5) / 1e3,
    );
    println!("resident {before:.1} MiB before, {resident:.1} at the most (PWD-02)\n");
    Ok(())
}
