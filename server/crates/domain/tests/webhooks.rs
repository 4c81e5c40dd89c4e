//! Webhooks on both databases, with real receivers.

use std::time::Duration;

use domain::{
    Error, OrgActor, api_keys, connectors, env_test,
    testing::{
        TestEnv, TestMember,
        receiver::{Answer, Received, Receiver},
    },
    webhooks::{self, Wanted, deliver::Courier, log},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use model::{
    AppError, ErrorKind, OutboxId, Role, WebhookId,
    api_keys::KeyScope,
    permissions::can,
    webhooks::{Cause, DeliveryQuery, DeliveryState, DisabledFor, ShownWebhook, Webhook, WebhookState},
};
use serde_json::json;
use sha2::Sha256;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn app(error: Error) -> AppError {
    error.into_app("")
}

fn wanted(url: &str) -> Wanted {
    Wanted { url: url.to_owned(), description: "CI".to_owned(), all: true, events: Vec::new() }
}

async fn add(t: &TestEnv, owner: &TestMember, url: &str) -> ShownWebhook {
    webhooks::create(&t.env, &owner.actor().await, &wanted(url)).await.unwrap()
}

async fn get(t: &TestEnv, owner: &TestMember, id: WebhookId) -> Webhook {
    webhooks::get(&t.env, &owner.actor().await, id).await.unwrap()
}

/// Something happens that webhooks hear of.
async fn happen(t: &TestEnv, owner: &TestMember, name: &str) {
    let new = api_keys::NewKey { name: name.into(), scope: KeyScope::All, expires_at: None, url_key: false };
    api_keys::create(&t.env, &OrgActor::operator(owner.org_id()), &new).await.unwrap();
}

fn courier(t: &TestEnv) -> Courier {
    Courier::new(t.env.clone())
}

async fn deliver(t: &TestEnv) -> usize {
    courier(t).deliver_due().await.unwrap()
}

async fn deliveries(t: &TestEnv, owner: &TestMember, id: WebhookId) -> Vec<model::webhooks::Delivery> {
    let query = DeliveryQuery { webhook: id.to_string(), ..DeliveryQuery::default() };
    log::list(&t.env, &owner.actor().await, query).await.unwrap().deliveries
}

async fn detail(
    t: &TestEnv,
    owner: &TestMember,
    id: WebhookId,
    event: OutboxId,
) -> model::webhooks::DeliveryDetail {
    log::get(&t.env, &owner.actor().await, id, event).await.unwrap()
}

/// What the standard says a receiver computes.
fn signature(secret: &str, received: &Received) -> String {
    let key = data_encoding::BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let (id, at) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    mac.update(format!("{id}.{at}.{}", received.body).as_bytes());
    format!("v1,{}", data_encoding::BASE64.encode(&mac.finalize().into_bytes()))
}

env_test!(whk_01_deliveries_are_signed_and_keep_their_id_over_retries, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    receiver.answer(Answer::status(500));
    let made = add(&t, &acme, &receiver.url).await;
    let key = data_encoding::BASE64.decode(&made.secret.as_bytes()["whsec_".len()..]).unwrap();
    assert!((24..=64).contains(&key.len()));

    happen(&t, &acme, "ci").await;
    assert_eq!(deliver(&t).await, 0);
    receiver.answer(Answer::status(204));
    t.clock.advance(7 * SECOND);
    assert_eq!(deliver(&t).await, 1);
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!(received[0].body, received[1].body);
    assert_ne!(received[0].header("webhook-timestamp"), received[1].header("webhook-timestamp"));
    for one in &received {
        assert_eq!(one.header("webhook-signature"), signature(&made.secret, one));
        assert_eq!(one.header("content-type"), "application/json");
    }
    let body = received[0].json();
    let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["id", "type", "event", "timestamp", "organization_id", "data"]);
    assert_eq!((&body["type"], &body["event"]), (&json!("api_key.created"), &json!("api_key.created")));
    assert_eq!(body["organization_id"], json!(acme.org_id()));
    assert_eq!(body["data"]["name"], "ci");
    assert_eq!(body["id"], received[0].header("webhook-id"));
});

env_test!(whk_01_both_secrets_sign_for_a_day_after_a_rotation, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let old = add(&t, &acme, &receiver.url).await;
    let id = old.webhook.id;
    let new = webhooks::rotate(&t.env, &acme.actor().await, id).await.unwrap();
    assert_ne!(old.secret, new.secret);
    happen(&t, &acme, "one").await;
    deliver(&t).await;
    let one = receiver.received().pop().unwrap();
    let both = format!("{} {}", signature(&new.secret, &one), signature(&old.secret, &one));
    assert_eq!(one.header("webhook-signature"), both);
    t.clock.advance(webhooks::OVERLAP);
    happen(&t, &acme, "two").await;
    deliver(&t).await;
    let two = receiver.received().pop().unwrap();
    assert_eq!(two.header("webhook-signature"), signature(&new.secret, &two));
    assert_eq!(get(&t, &acme, id).await.secrets.len(), 1);
    // A header has to hold all of them.
    for _ in 0..4 {
        webhooks::rotate(&t.env, &acme.actor().await, id).await.unwrap();
    }
    let error = app(webhooks::rotate(&t.env, &acme.actor().await, id).await.err().unwrap());
    assert_eq!(error.code, "too_many_secrets");
});

env_test!(whk_02_an_event_is_queued_with_its_change_or_not_at_all, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    // Rolled back: neither outbox nor queue has it.
    let mut change = t.env.change(&acme.actor::<can::OrgUpdate>().await).await.unwrap();
    let event = domain::change::Event::new("mcp.created").publish("mcp.created", json!({"mcp_id": "mcp_1"}));
    change.record(&event).await.unwrap();
    drop(change);
    assert!(deliveries(&t, &acme, id).await.is_empty());
    happen(&t, &acme, "kept").await;
    let queued = deliveries(&t, &acme, id).await;
    assert_eq!((queued.len(), queued[0].state), (1, DeliveryState::Pending));
    assert_eq!(deliver(&t).await, 1);
    assert_eq!(receiver.received().len(), 1);
});

env_test!(whk_09_two_nodes_deliver_each_event_once, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    add(&t, &acme, &receiver.url).await;
    for n in 0..40 {
        happen(&t, &acme, &n.to_string()).await;
    }
    let (here, there) = (courier(&t), courier(&t));
    // At most five at once, over all nodes.
    let taken = here.claim(100, 0).await.unwrap();
    assert_eq!((taken.len(), there.claim(100, 0).await.unwrap().len()), (5, 0));
    here.release(&taken).await.unwrap();
    let (one, two) = tokio::join!(here.deliver_due(), there.deliver_due());
    // Whoever found nothing while the other was at it looks again.
    let rest = deliver(&t).await;
    assert_eq!(one.unwrap() + two.unwrap() + rest, 40);
    let mut ids: Vec<_> = receiver.received().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), receiver.received().len()), (40, 40));
});

env_test!(whk_02_who_lost_the_lease_says_nothing, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    happen(&t, &acme, "ci").await;
    let late = courier(&t).claim(10, 0).await.unwrap();
    assert_eq!(late.len(), 1);
    assert!(courier(&t).claim(10, 0).await.unwrap().is_empty(), "somebody has it");
    // The worker hangs; another takes over when the lease is over.
    t.clock.advance(31 * SECOND);
    let taken = courier(&t).claim(10, 0).await.unwrap();
    assert_eq!(taken.len(), 1);
    receiver.answer(Answer::status(500));
    courier(&t).deliver(&late[0]).await.unwrap();
    assert_eq!(deliveries(&t, &acme, id).await[0].attempts, 0, "the late one changed nothing");
    receiver.answer(Answer::status(200));
    assert!(courier(&t).deliver(&taken[0]).await.unwrap());
    let delivery = &deliveries(&t, &acme, id).await[0];
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, 1));
});

env_test!(whk_03_only_2xx_is_success_and_pauses_grow_for_three_days, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    receiver.answer(Answer::Status(302, vec![("location", receiver.url.clone())], Vec::new()));
    happen(&t, &acme, "ci").await;
    let began = t.env.now();
    let mut tries = 0;
    loop {
        deliver(&t).await;
        tries += 1;
        let delivery = deliveries(&t, &acme, id).await.remove(0);
        assert_eq!((delivery.attempts, delivery.status), (tries, Some(302)));
        assert_eq!(receiver.received().len(), usize::try_from(tries).unwrap(), "redirects are not followed");
        let Some(next) = delivery.next_at else {
            assert_eq!(delivery.state, DeliveryState::Failed);
            break;
        };
        // Nothing before its time.
        t.clock.advance(next - t.env.now() - 1);
        assert_eq!(deliver(&t).await, 0);
        assert_eq!(receiver.received().len(), usize::try_from(tries).unwrap());
        t.clock.advance(1);
    }
    assert_eq!(tries, 10);
    let hours = (t.env.now() - began) / HOUR;
    assert!((60..=91).contains(&hours), "{hours}");
    // Without an answer in time.
    receiver.answer(Answer::Hang);
    happen(&t, &acme, "two").await;
    courier(&t).with_patience(Duration::from_millis(300)).deliver_due().await.unwrap();
    let delivery = deliveries(&t, &acme, id).await.remove(0);
    assert_eq!((delivery.status, delivery.error.as_deref()), (None, Some("timeout")));
});

env_test!(whk_03_an_overloaded_receiver_is_left_alone_as_long_as_it_asks, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    receiver.answer(Answer::Status(429, vec![("retry-after", "3600".to_owned())], Vec::new()));
    happen(&t, &acme, "ci").await;
    deliver(&t).await;
    let delivery = deliveries(&t, &acme, id).await.remove(0);
    assert_eq!(delivery.next_at, Some(t.env.now() + HOUR));
});

env_test!(whk_03_gone_disables_at_once_and_tells, |t| async {
    let acme = t.org("acme").await;
    let admin = t.member(&acme, "admin", Role::Admin).await;
    t.member(&acme, "viewer", Role::Viewer).await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    deliver(&t).await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    let only = Wanted { all: false, events: vec!["webhook.disabled".to_owned()], ..wanted(&other.url) };
    webhooks::create(&t.env, &acme.actor().await, &only).await.unwrap();
    receiver.answer(Answer::status(410));
    t.mails().await;
    happen(&t, &acme, "ci").await;
    deliver(&t).await;
    let webhook = get(&t, &acme, id).await;
    assert_eq!((webhook.state, webhook.reason), (WebhookState::Disabled, Some(DisabledFor::Gone)));
    let told = other.received();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].json()["type"], "webhook.disabled");
    assert_eq!(told[0].json()["data"]["webhook_id"], json!(id));
    let mut to: Vec<_> = t.mails().await.into_iter().map(|letter| letter.to).collect();
    to.sort_unstable();
    assert_eq!(to, ["admin@acme.example", "owner@acme.example"]);
    // What happens meanwhile waits, and goes out when it is resumed.
    happen(&t, &acme, "later").await;
    assert_eq!(deliver(&t).await, 0);
    receiver.answer(Answer::status(200));
    webhooks::resume(&t.env, &admin.actor().await, id, false).await.unwrap();
    deliver(&t).await;
    assert!(receiver.received().iter().any(|one| one.json()["data"]["name"] == "later"));
});

env_test!(whk_04_five_days_of_failure_disable_and_one_success_resets, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    receiver.answer(Answer::status(500));
    let fail = async |name: &str| {
        happen(&t, &acme, name).await;
        deliver(&t).await;
    };
    t.mails().await;
    fail("one").await;
    assert!(get(&t, &acme, id).await.failing_since.is_some());
    t.clock.advance(23 * HOUR);
    fail("two").await;
    assert!(t.mails().await.is_empty(), "not yet");
    t.clock.advance(2 * HOUR);
    fail("three").await;
    let warned = t.mails().await;
    assert_eq!(warned.len(), 1);
    assert!(warned[0].subject.contains("takes no events"), "{}", warned[0].subject);
    fail("four").await;
    assert!(t.mails().await.is_empty(), "once");
    // One success begins it anew.
    receiver.answer(Answer::status(200));
    fail("five").await;
    assert_eq!(get(&t, &acme, id).await.failing_since, None);
    receiver.answer(Answer::status(500));
    t.clock.advance(4 * DAY);
    fail("six").await;
    assert_eq!(get(&t, &acme, id).await.state, WebhookState::Active);
    t.clock.advance(5 * DAY);
    fail("seven").await;
    let webhook = get(&t, &acme, id).await;
    assert_eq!((webhook.state, webhook.reason), (WebhookState::Disabled, Some(DisabledFor::Failing)));
    assert!(t.mails().await.iter().any(|letter| letter.subject.contains("was disabled")));
    let before = receiver.received().len();
    t.clock.advance(DAY);
    fail("eight").await;
    assert_eq!(receiver.received().len(), before, "nothing is sent to it");
});

env_test!(whk_04_undelivered_events_are_replayed_singly_and_by_range, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    happen(&t, &acme, "delivered").await;
    deliver(&t).await;
    webhooks::pause(&t.env, &acme.actor().await, id).await.unwrap();
    for name in ["one", "two", "three"] {
        happen(&t, &acme, name).await;
    }
    assert_eq!(get(&t, &acme, id).await.waiting, 3);
    webhooks::resume(&t.env, &acme.actor().await, id, true).await.unwrap();
    assert_eq!((deliver(&t).await, get(&t, &acme, id).await.waiting), (0, 0));
    let all = deliveries(&t, &acme, id).await;
    let skipped = all.iter().find(|one| one.state == DeliveryState::Skipped).expect("it was skipped");
    log::replay(&t.env, &acme.actor().await, id, skipped.id).await.unwrap();
    assert_eq!(deliver(&t).await, 1);
    assert_eq!(receiver.received()[1].header("webhook-id"), skipped.id.to_string());
    let attempts = detail(&t, &acme, id, skipped.id).await.attempts;
    assert_eq!((attempts.len(), attempts[0].cause), (1, Cause::Replay));

    let today = "2026-09-21";
    let writer = acme.actor().await;
    let range = log::count_range(&t.env, &writer, id, (today, today), false).await.unwrap();
    assert_eq!(range.count, 2);
    assert_eq!(log::count_range(&t.env, &writer, id, (today, today), true).await.unwrap().count, 4);
    assert_eq!(log::replay_range(&t.env, &writer, id, (today, today), false).await.unwrap(), 2);
    assert_eq!(deliver(&t).await, 2);
    assert_eq!(log::count_range(&t.env, &writer, id, (today, ""), false).await.unwrap().count, 0);
    // The same id again.
    log::replay_range(&t.env, &writer, id, (today, today), true).await.unwrap();
    assert_eq!(deliver(&t).await, 4);
    let received = receiver.received();
    let ids: std::collections::HashSet<_> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!((received.len(), ids.len()), (8, 4));
    let error =
        app(log::count_range(&t.env, &writer, id, ("2026-02-01", "2026-02-02"), false).await.unwrap_err());
    assert_eq!(error.code, "too_old");
    let error = app(log::count_range(&t.env, &writer, id, ("", ""), false).await.unwrap_err());
    assert!(error.at("from").is_some());
});

env_test!(whk_05_those_that_hang_keep_nobody_waiting, |t| async {
    let acme = t.org("acme").await;
    let hanging = Receiver::start().await;
    hanging.answer(Answer::Hang);
    let mut hooks = Vec::new();
    for n in 0..49 {
        hooks.push(add(&t, &acme, &format!("{}{n}", hanging.url)).await.webhook.id);
    }
    for n in 0..4 {
        happen(&t, &acme, &n.to_string()).await;
    }
    let good = Receiver::start().await;
    add(&t, &acme, &good.url).await;
    happen(&t, &acme, "mine").await;
    // A server has 256 places, and of those only half for more than one delivery of a webhook each.
    let mut taken = Vec::new();
    for _ in 0..4 {
        let room = 256 - taken.len();
        taken.extend(courier(&t).claim(room, 256).await.unwrap());
    }
    let patient = Courier::new(t.env.clone()).with_patience(Duration::from_secs(4));
    let delivered =
        futures_util::future::join_all(taken.iter().map(|one| async { patient.deliver(one).await.unwrap() }));
    let first = async {
        while good.received().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let began = std::time::Instant::now();
    let (_, ()) = tokio::join!(delivered, async {
        first.await;
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    });
    assert!(hanging.most_at_once() <= 49 * 5);
    // From now on each gets one at a time.
    t.clock.advance(10 * SECOND);
    let next = courier(&t).claim(1000, 0).await.unwrap();
    assert_eq!(next.len(), 49);
});

env_test!(whk_05_many_that_hang_with_a_backlog_leave_a_place_for_others, |t| async {
    let (acme, beta) = (t.org("acme").await, t.org("beta").await);
    for n in 0..25 {
        add(&t, &acme, &format!("https://one.example/{n}")).await;
        add(&t, &beta, &format!("https://two.example/{n}")).await;
    }
    // Each of them alone would have as many as five at once.
    for n in 0..6 {
        happen(&t, &acme, &n.to_string()).await;
        happen(&t, &beta, &n.to_string()).await;
    }
    let gamma = t.org("gamma").await;
    for n in 0..10 {
        add(&t, &gamma, &format!("https://three.example/{n}")).await;
    }
    happen(&t, &gamma, "mine").await;
    // All places of a server that has nothing to do are asked for at once.
    let taken = courier(&t).claim(256, 256).await.unwrap();
    assert!(taken.len() <= 180, "there is room for what comes next: {}", taken.len());
    let mut tx = t.env.db.read().await.unwrap();
    let queues = store::webhook_deliveries::list_queues(&mut tx, t.env.now()).await.unwrap();
    assert!(queues.iter().all(|queue| queue.taken > 0), "nobody waits for another: {queues:?}");
    assert!(
        !queues.iter().any(|queue| queue.org == gamma.org_id()),
        "whoever had one event has it under way"
    );
});

env_test!(whk_06_the_log_tells_every_attempt, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    let headers = vec![("x-request-id", "r1".to_owned()), ("set-cookie", "session=secret".to_owned())];
    receiver.answer(Answer::Status(500, headers, [b"a\0b".to_vec(), vec![b'x'; 10_000]].concat()));
    happen(&t, &acme, "ci").await;
    deliver(&t).await;
    t.clock.advance(7 * SECOND);
    receiver.answer(Answer::Endless);
    deliver(&t).await;
    let one = deliveries(&t, &acme, id).await.remove(0);
    assert_eq!(
        (one.state, one.attempts, one.event.as_str()),
        (DeliveryState::Delivered, 2, "api_key.created")
    );
    let told = detail(&t, &acme, id, one.id).await;
    assert_eq!(told.body, receiver.received()[0].body);
    let [second, first] = &told.attempts[..] else { panic!("{:?}", told.attempts) };
    assert_eq!(
        (first.number, first.cause, first.status, first.delivered),
        (1, Cause::Event, Some(500), false)
    );
    assert_eq!(
        (second.number, second.cause, second.status, second.delivered),
        (2, Cause::Retry, Some(200), true)
    );
    assert!(first.body.len() <= 4100 && first.body.starts_with("a\u{FFFD}bxx") && first.cut);
    assert!(second.body.len() <= 4096 && second.cut, "a body without an end is not waited for");
    assert!(first.headers.iter().any(|(name, value)| name == "x-request-id" && value == "r1"));
    assert!(first.headers.iter().all(|(_, value)| !value.contains("secret")), "cookies are not kept");
    assert_eq!((get(&t, &acme, id).await.tried, get(&t, &acme, id).await.taken), (2, 1));

    let query = |state: &str, event: &str, from: &str| DeliveryQuery {
        webhook: id.to_string(),
        state: state.into(),
        event: event.into(),
        from: from.into(),
        ..DeliveryQuery::default()
    };
    let count = async |query| log::list(&t.env, &acme.actor().await, query).await.unwrap().deliveries.len();
    assert_eq!(count(query("delivered", "", "")).await, 1);
    assert_eq!(count(query("failed", "", "")).await, 0);
    assert_eq!(count(query("", "mcp.created", "")).await, 0);
    assert_eq!(count(query("", "", "2026-09-22")).await, 0);
    let bad = log::list(&t.env, &acme.actor().await, query("", "", "someday")).await.unwrap();
    assert!(bad.problem.is_some() && bad.deliveries.is_empty());
    for n in 0..51 {
        happen(&t, &acme, &n.to_string()).await;
        t.clock.advance(1);
    }
    let page = log::list(&t.env, &acme.actor().await, query("", "", "")).await.unwrap();
    assert_eq!(page.deliveries.len(), 50);
    let rest = DeliveryQuery { before: page.older.unwrap().to_string(), ..query("", "", "") };
    assert_eq!(count(rest).await, 2);
});

env_test!(whk_06_a_test_says_that_it_is_one_and_ten_a_minute_are_sent, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    receiver.answer(Answer::Status(404, Vec::new(), b"not here".to_vec()));
    let test = async || log::test(&courier(&t), &t.env, &acme.actor().await, id).await;
    let told = test().await.unwrap();
    assert_eq!((told.delivery.event.as_str(), told.delivery.state), ("webhook.test", DeliveryState::Failed));
    assert_eq!((told.attempts[0].status, told.attempts[0].body.as_str()), (Some(404), "not here"));
    assert_eq!(receiver.received()[0].json()["event"], "webhook.test");
    t.clock.advance(HOUR);
    assert_eq!(deliver(&t).await, 0, "it is sent once");
    assert_eq!(get(&t, &acme, id).await.failing_since, None, "and does not count");
    // Also while nothing else is sent.
    webhooks::pause(&t.env, &acme.actor().await, id).await.unwrap();
    receiver.answer(Answer::status(200));
    assert_eq!(test().await.unwrap().delivery.state, DeliveryState::Delivered);
    for _ in 0..9 {
        test().await.unwrap();
    }
    let error = app(test().await.unwrap_err());
    assert_eq!((error.kind, error.retry_after), (ErrorKind::RateLimited, Some(60)));
    t.clock.advance(MINUTE + 1);
    test().await.unwrap();
    let error = app(log::replay(&t.env, &acme.actor().await, id, told.delivery.id).await.unwrap_err());
    assert_eq!(error.kind, ErrorKind::Conflict);
});

env_test!(whk_06_the_log_is_kept_for_thirty_days, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    happen(&t, &acme, "ci").await;
    deliver(&t).await;
    let event = deliveries(&t, &acme, id).await[0].id;
    t.clock.advance(30 * DAY + 1);
    let mut tx = t.env.db.write().await.unwrap();
    store::outbox::delete_before(&mut tx, t.env.now() - 30 * DAY).await.unwrap();
    let left = store::webhook_deliveries::list_attempts(&mut tx, acme.org_id(), id, event, 10).await.unwrap();
    assert!(left.is_empty());
    tx.commit().await.unwrap();
    assert!(deliveries(&t, &acme, id).await.is_empty());
});

env_test!(whk_07_what_is_sent_holds_no_secret, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    add(&t, &acme, &receiver.url).await;
    let new = api_keys::NewKey { name: "ci".into(), scope: KeyScope::All, expires_at: None, url_key: false };
    let key = api_keys::create(&t.env, &acme.actor().await, &new).await.unwrap();
    connectors::add_demo(&t.env, &acme.actor().await).await.unwrap();
    api_keys::delete(&t.env, &acme.guarded().await, key.key.id, true).await.unwrap();
    t.member(&acme, "bob", Role::Member).await;
    deliver(&t).await;
    let received = receiver.received();
    let mut names: Vec<_> =
        received.iter().map(|one| one.json()["event"].as_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["api_key.created", "api_key.revoked", "mcp.created", "team.member_added"]);
    for one in received {
        assert!(!one.body.contains(&key.secret) && one.body.len() <= webhooks::payload::LARGEST);
        if one.json()["event"] == "mcp.created" {
            let data = one.json()["data"].clone();
            let members: Vec<_> = data.as_object().unwrap().keys().collect();
            assert_eq!(members, ["mcp_id", "name"]);
            assert!(data["mcp_id"].as_str().unwrap().starts_with("mcp_"));
        }
    }
});

env_test!(whk_08_a_webhook_is_of_its_organisation_and_ends_with_it, |t| async {
    let acme = t.org("acme").await;
    let developer = t.member(&acme, "dev", Role::Developer).await;
    let receiver = Receiver::start().await;
    deliver(&t).await;
    let id = add(&t, &developer, &receiver.url).await.webhook.id;
    happen(&t, &acme, "ci").await;
    deliver(&t).await;
    assert_eq!(receiver.received().len(), 1);
    let org = acme.org_id();
    domain::suspension::set(&t.env, org, true).await.unwrap();
    happen(&t, &acme, "quiet").await;
    assert_eq!(deliver(&t).await, 0, "a suspended organisation sends nothing");
    happen(&t, &acme, "under way").await;
    t.db.db
        .tamper(&format!(
            "INSERT INTO audit_clearances (chain) VALUES ('{org}'); DELETE FROM orgs WHERE id = '{org}'; \
             DELETE FROM audit_clearances WHERE chain = '{org}'"
        ))
        .await
        .unwrap();
    assert_eq!(deliver(&t).await, 0);
    assert_eq!(receiver.received().len(), 1);
    let mut tx = t.env.db.read().await.unwrap();
    assert!(store::webhooks::find(&mut tx, org, id).await.unwrap().is_none());
});

env_test!(ssr_08_where_nobody_may_go_nothing_is_sent_and_nothing_is_told, |t| async {
    let acme = t.org("acme").await;
    let create =
        async |url: &str| webhooks::create(&t.env, &acme.actor().await, &wanted(url)).await.map_err(app);
    for (url, code) in [
        ("http://169.254.169.254/latest", "blocked_destination"),
        ("https://10.0.0.1/hook", "blocked_destination"),
        ("https://user:secret@hooks.example.com/", "url"),
        ("ftp://hooks.example.com/", "url"),
        ("", "url"),
    ] {
        let error = create(url).await.err().unwrap_or_else(|| panic!("{url} was taken"));
        assert_eq!(error.code, code, "{url}");
        assert!(error.at("url").is_some());
    }
    // Everything that is wrong is told at once.
    let nothing = Wanted { all: false, ..wanted("nowhere") };
    let error = app(webhooks::create(&t.env, &acme.actor().await, &nothing).await.err().unwrap());
    assert!(error.at("url").is_some() && error.at("events").is_some());
    // It was allowed once, and no longer is.
    let id = add(&t, &acme, "http://127.0.0.1:9/hook").await.webhook.id;
    let strict = TestEnv::with_egress(store::Kind::Sqlite, "").await;
    let env = domain::Env { outbound: strict.env.outbound.clone(), ..t.env.clone() };
    happen(&t, &acme, "ci").await;
    Courier::new(env).deliver_due().await.unwrap();
    let one = deliveries(&t, &acme, id).await.remove(0);
    assert_eq!((one.error.as_deref(), one.status), (Some("blocked_destination"), None));
    assert_eq!(detail(&t, &acme, id, one.id).await.attempts[0].body, "");
});

env_test!(key_02_the_query_of_a_url_is_sealed_and_stays_with_its_address, |t| async {
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let made = add(&t, &acme, &format!("{}?token=hunter2", receiver.url)).await;
    let id = made.webhook.id;
    assert!(!made.webhook.url.contains("hunter2") && made.webhook.url.ends_with("?••••••"));
    let shown = made.webhook.url.clone();
    webhooks::update(&t.env, &acme.actor().await, id, &wanted(&shown)).await.unwrap();
    let elsewhere = shown.replace("/hook", "/other");
    let error = webhooks::update(&t.env, &acme.actor().await, id, &wanted(&elsewhere)).await.unwrap_err();
    assert!(app(error).at("url").is_some());
    t.db.db.tamper("SELECT 1").await.unwrap();
    let bytes = t.db.db.describe_columns().await.unwrap();
    assert!(bytes.iter().any(|column| column.table == "webhooks" && column.column == "query_sealed"));
    let mut tx = t.env.db.read().await.unwrap();
    let row = store::webhooks::find(&mut tx, acme.org_id(), id).await.unwrap().unwrap();
    let secrets = store::webhooks::list_secrets(&mut tx, acme.org_id(), id).await.unwrap();
    assert!(!row.url.contains("hunter2"));
    let sealed = row.query_sealed.unwrap();
    assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
    let key = data_encoding::BASE64.decode(&made.secret.as_bytes()["whsec_".len()..]).unwrap();
    assert!(!secrets[0].sealed.windows(key.len()).any(|part| part == key));
});

env_test!(ten_01_webhooks_of_another_organisation_are_not_found, |t| async {
    let (acme, beta) = (t.org("acme").await, t.org("beta").await);
    let receiver = Receiver::start().await;
    let id = add(&t, &acme, &receiver.url).await.webhook.id;
    happen(&t, &acme, "ci").await;
    deliver(&t).await;
    let event = deliveries(&t, &acme, id).await[0].id;
    let env = &t.env;
    let (reads, writes) = (beta.actor().await, beta.actor().await);
    let nobody = WebhookId::from_uuid(env.uuid());
    for id in [id, nobody] {
        let query = DeliveryQuery { webhook: id.to_string(), ..DeliveryQuery::default() };
        let refused = [
            webhooks::get(env, &reads, id).await.err(),
            log::list(env, &reads, query).await.err(),
            log::get(env, &reads, id, event).await.err(),
            webhooks::update(env, &writes, id, &wanted(&receiver.url)).await.err(),
            webhooks::rotate(env, &writes, id).await.err(),
            webhooks::pause(env, &writes, id).await.err(),
            webhooks::resume(env, &writes, id, false).await.err(),
            log::replay(env, &writes, id, event).await.err(),
            log::count_range(env, &writes, id, ("2026-09-21", ""), true).await.err(),
            log::replay_range(env, &writes, id, ("2026-09-21", ""), true).await.err(),
            log::test(&courier(&t), env, &writes, id).await.err(),
            webhooks::delete(env, &beta.guarded().await, id).await.err(),
        ];
        let refused: Vec<_> = refused.into_iter().map(|error| app(error.expect("a refusal"))).collect();
        assert!(refused.iter().all(|error| error.kind == ErrorKind::NotFound), "{refused:?}");
    }
    assert!(webhooks::list(env, &reads).await.unwrap().is_empty());
    assert_eq!(get(&t, &acme, id).await.state, WebhookState::Active);
    // An event of one organisation is nothing to another's webhook.
    let theirs = add(&t, &beta, &receiver.url).await.webhook.id;
    assert!(log::get(env, &reads, theirs, event).await.is_err());
    let before = receiver.received().len();
    happen(&t, &acme, "two").await;
    deliver(&t).await;
    assert_eq!(receiver.received().len(), before + 1);
    // And a viewer reads, but changes nothing.
    let viewer = t.member(&acme, "viewer", Role::Viewer).await;
    assert!(OrgActor::<can::WebhooksRead>::require(&viewer.ctx).await.is_ok());
    assert!(OrgActor::<can::WebhooksWrite>::require(&viewer.ctx).await.is_err());
});
