//! The stream of the audit log to a receiver that is there, that is not, and that comes back (AUD-07).

use std::sync::{Arc, Mutex, MutexGuard};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use domain::{Env, OrgActor, audit::stream, env::Changes};
use model::permissions::can;
use serde_json::Value;
use store::Kind;
use tokio::net::TcpListener;

use crate::support::{Browser, TestApp};

const PAGE: &str = "/settings/audit/stream";
const TOKEN: &str = "canary-token-of-the-siem";
const DAY: i64 = 24 * 60 * 60 * 1000;

#[derive(Default)]
struct Seen {
    /// The values of `Authorization`, one a request.
    tokens: Vec<String>,
    /// The kinds of content.
    kinds: Vec<String>,
    /// The lines.
    lines: Vec<Value>,
    /// What it answers with, if not with 200.
    refusal: Option<u16>,
}

struct Receiver {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ingest", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let router = Router::new().route("/ingest", post(Self::take)).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    #[expect(clippy::unused_async, reason = "routes are asynchronous")]
    async fn take(State(seen): State<Arc<Mutex<Seen>>>, headers: HeaderMap, body: String) -> StatusCode {
        let mut seen = seen.lock().unwrap();
        let header =
            |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        seen.tokens.push(header("authorization"));
        seen.kinds.push(header("content-type"));
        if let Some(refusal) = seen.refusal {
            return StatusCode::from_u16(refusal).unwrap();
        }
        seen.lines.extend(body.lines().map(|line| serde_json::from_str(line).expect("JSON")));
        StatusCode::OK
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn refuse(&self, with: Option<u16>) {
        self.seen().refusal = with;
    }

    /// The sequence numbers that came, in the order in which they came.
    fn numbers(&self) -> Vec<i64> {
        self.seen().lines.iter().map(|line| line["seq"].as_i64().expect("a number")).collect()
    }
}

async fn save(browser: &mut Browser<'_>, kind: &str, url: &str, token: &str) -> crate::support::Answer {
    let fields = [("kind", kind), ("url", url), ("token", token), ("enabled", "on")];
    browser.post(&format!("{PAGE}?do=put_audit_stream"), &fields).await
}

async fn rename(browser: &mut Browser<'_>, name: &str) {
    let done = browser.post("/settings?do=update_org", &[("name", name), ("description", "")]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
}

fn in_order(numbers: &[i64]) -> bool {
    numbers.windows(2).all(|two| two[1] == two[0] + 1)
}

async fn events_arrive(kind: Kind) {
    let app = TestApp::new(kind).await;
    let acme = app.org("acme").await;
    let receiver = Receiver::start().await;
    let mut browser = app.signed_in(&acme).await;
    let done = save(&mut browser, "json_lines", &receiver.url, TOKEN).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    rename(&mut browser, "Acme 2").await;
    let env = &app.test.env;
    assert_eq!(stream::deliver(env).await.unwrap(), 2);
    assert_eq!(stream::deliver(env).await.unwrap(), 0, "nothing is new");
    {
        let seen = receiver.seen();
        assert_eq!(seen.tokens, [format!("Bearer {TOKEN}")]);
        assert_eq!(seen.kinds, ["application/x-ndjson"]);
        let actions: Vec<_> = seen.lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["audit_stream.created", "settings.updated"], "it begins with itself");
        let event = &seen.lines[1];
        assert_eq!(event["organisation"], acme.org_id().to_string());
        assert_eq!(event["actor"]["auth_method"], "password");
        assert_eq!(event["changes"]["name"][1], "Acme 2");
        assert!(!seen.lines.iter().any(|line| line.to_string().contains(TOKEN)));
    }
    // It is down: what happens waits, the page says so, and it is not asked more often than it should be.
    receiver.refuse(Some(503));
    for n in 3..8 {
        rename(&mut browser, &format!("Acme {n}")).await;
    }
    assert_eq!(stream::deliver(env).await.unwrap(), 0);
    let asked = receiver.seen().tokens.len();
    assert_eq!(stream::deliver(env).await.unwrap(), 0);
    assert_eq!(receiver.seen().tokens.len(), asked, "not at once");
    let page = browser.get(PAGE).await;
    for told in ["Failing", "HTTP 503", "5 events wait"] {
        assert!(page.text.contains(told), "{told}: {}", page.text);
    }
    assert!(!page.text.contains(TOKEN));
    app.test.clock.advance(2_000);
    assert_eq!(stream::deliver(env).await.unwrap(), 0);
    app.test.clock.advance(3_000);
    assert_eq!(stream::deliver(env).await.unwrap(), 0, "twice as long each time");
    receiver.refuse(None);
    app.test.clock.advance(2_000);
    assert_eq!(stream::deliver(env).await.unwrap(), 5);
    assert!(in_order(&receiver.numbers()), "{:?}", receiver.numbers());
    let page = browser.get(PAGE).await;
    assert!(page.text.contains("Streaming") && page.text.contains("No events wait."), "{}", page.text);

    // A node that dies before it has written that the events were taken sends them once more, and none is missing.
    let org = acme.org_id();
    rename(&mut browser, "Acme 8").await;
    stream::deliver(env).await.unwrap();
    let last = *receiver.numbers().last().unwrap();
    app.test
        .db
        .db
        .tamper(&format!("UPDATE audit_streams SET cursor = cursor - 1 WHERE org_id = '{org}'"))
        .await
        .unwrap();
    stream::deliver(env).await.unwrap();
    assert_eq!(receiver.numbers().iter().filter(|seq| **seq == last).count(), 2);

    // Two nodes at once: one sends.
    for n in 0..5 {
        rename(&mut browser, &format!("Acme 9 {n}")).await;
    }
    let other = Env { changes: Changes::default(), ..env.clone() };
    let before = receiver.numbers().len();
    let (one, two) = tokio::join!(stream::deliver(env), stream::deliver(&other));
    assert_eq!(one.unwrap() + two.unwrap(), 5);
    assert_eq!(receiver.numbers().len() - before, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn aud_07_events_arrive_at_least_once_and_in_order_sqlite() {
    Box::pin(events_arrive(Kind::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aud_07_events_arrive_at_least_once_and_in_order_postgres() {
    Box::pin(events_arrive(Kind::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aud_07_what_waits_for_a_receiver_is_kept_for_a_week() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let receiver = Receiver::start().await;
    let mut browser = app.signed_in(&acme).await;
    let operator = OrgActor::<can::OrgUpdate>::operator(acme.org_id());
    domain::audit::set_days(&app.test.env, &operator, Some(1)).await.unwrap();
    save(&mut browser, "json_lines", &receiver.url, "").await;
    stream::deliver(&app.test.env).await.unwrap();
    receiver.refuse(Some(500));
    rename(&mut browser, "Acme 2").await;
    app.test.clock.advance(6 * DAY);
    domain::audit::retain(&app.test.env).await.unwrap();
    receiver.refuse(None);
    stream::deliver(&app.test.env).await.unwrap();
    assert!(in_order(&receiver.numbers()), "after six days nothing is missing: {:?}", receiver.numbers());
    let last = *receiver.numbers().last().unwrap();
    // Longer than that it is not promised, and what went is told.
    receiver.refuse(Some(500));
    let mut browser = app.signed_in(&acme).await;
    for n in 3..6 {
        rename(&mut browser, &format!("Acme {n}")).await;
    }
    app.test.clock.advance(9 * DAY);
    let mut browser = app.signed_in(&acme).await;
    rename(&mut browser, "Acme 6").await;
    domain::audit::retain(&app.test.env).await.unwrap();
    receiver.refuse(None);
    stream::deliver(&app.test.env).await.unwrap();
    let next = receiver.numbers().into_iter().find(|seq| *seq > last).expect("it goes on");
    let page = browser.get(PAGE).await;
    assert!(next > last + 1, "{next} after {last}");
    assert!(page.text.contains("removed by retention before they could be sent"), "{}", page.text);
    for report in domain::audit::verify_all(&app.test.env, None).await.unwrap() {
        assert_eq!(report.broken, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aud_07_splunk_takes_its_own_form_and_a_test_is_no_event_of_the_log() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let receiver = Receiver::start().await;
    let mut browser = app.signed_in(&acme).await;
    let refused = save(&mut browser, "splunk_hec", &receiver.url, "").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Enter the token of the event collector"), "{}", refused.text);
    save(&mut browser, "splunk_hec", &receiver.url, TOKEN).await;
    stream::deliver(&app.test.env).await.unwrap();
    {
        let seen = receiver.seen();
        assert_eq!(seen.tokens, [format!("Splunk {TOKEN}")]);
        let line = &seen.lines[0];
        assert_eq!(line["sourcetype"], "gatehouse:audit");
        assert_eq!(line["event"]["action"], "audit_stream.created");
        let time: f64 = line["time"].as_str().unwrap().parse().unwrap();
        assert!((time - 1_790_000_000.0).abs() < 1.0, "{time}");
    }
    let tested = browser.post(&format!("{PAGE}?do=test_audit_stream"), &[]).await;
    assert!(tested.text.contains("The receiver took the test event"), "{}", tested.text);
    assert_eq!(receiver.seen().lines[1]["event"]["action"], "audit_stream.test");
    receiver.refuse(Some(403));
    let tested = browser.post(&format!("{PAGE}?do=test_audit_stream"), &[]).await;
    assert!(tested.text.contains("refused the token"), "{}", tested.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn aud_07_a_token_goes_to_its_receiver_alone() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let mut browser = app.signed_in(&acme).await;
    for blocked in [
        "http://169.254.169.254/latest",
        "http://10.0.0.7/",
        "ftp://siem.example/",
        "https://u:p@siem.example/",
        "",
    ] {
        let refused = save(&mut browser, "json_lines", blocked, TOKEN).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{blocked}");
        assert!(!refused.text.contains(TOKEN), "{blocked}");
    }
    save(&mut browser, "json_lines", &receiver.url, TOKEN).await;
    let refused = save(&mut browser, "json_lines", &other.url, "").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Enter the token again"), "{}", refused.text);
    assert_eq!(
        save(&mut browser, "json_lines", &receiver.url, "").await.status,
        StatusCode::SEE_OTHER,
        "it stays"
    );
    stream::deliver(&app.test.env).await.unwrap();
    assert_eq!(receiver.seen().tokens, [format!("Bearer {TOKEN}")]);
    assert!(other.seen().tokens.is_empty());
    // It is in no log and on no page.
    let file = browser.post("/settings/audit-export", &[("format", "json")]).await;
    assert!(file.text.contains("audit_stream.created") && !file.text.contains(TOKEN), "{}", file.text);
    assert!(file.text.contains("•changed"));
    let bare = [("kind", "json_lines"), ("url", receiver.url.as_str()), ("bare", "on"), ("enabled", "on")];
    browser.post(&format!("{PAGE}?do=put_audit_stream"), &bare).await;
    stream::deliver(&app.test.env).await.unwrap();
    assert_eq!(receiver.seen().tokens.last().map(String::as_str), Some(""));
    let ended = browser.post(&format!("{PAGE}?do=delete_audit_stream"), &[]).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    rename(&mut browser, "After it").await;
    assert_eq!(stream::deliver(&app.test.env).await.unwrap(), 0);
    // Another organisation has none of it, and a member who may not sees no form.
    app.test.member(&acme, "dev", model::Role::Developer).await;
    let mut dev = app.browser();
    dev.log_in("dev@acme.example", domain::testing::PASSWORD).await;
    assert_eq!(dev.get(PAGE).await.status, StatusCode::FORBIDDEN);
    assert_eq!(save(&mut dev, "json_lines", &other.url, "").await.status, StatusCode::FORBIDDEN);
}
