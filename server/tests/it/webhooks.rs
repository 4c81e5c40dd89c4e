//! Webhooks from end to end: what receivers verify with, what a killed process leaves behind, how soon deliveries leave.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use domain::{
    Clock as _, Env, OrgActor, api_keys, connectors,
    env::SystemClock,
    testing::{
        PASSWORD, TestEnv, TestMember,
        receiver::{Answer, Received, Receiver},
    },
    webhooks::{self, Wanted, deliver::Courier, log},
};
use model::{
    Role,
    api_keys::KeyScope,
    paths,
    permissions::can,
    webhooks::{DeliveryQuery, DeliveryState, ShownWebhook},
};
use serde_json::{Value, json};
use store::{Kind, testing::TestDb};
use tokio_util::sync::CancellationToken;

use crate::{
    process::{Place, start, until},
    support::TestApp,
};

pub(crate) async fn add(env: &Env, org: model::OrgId, url: &str) -> ShownWebhook {
    let wanted = Wanted { url: url.to_owned(), description: String::new(), all: true, events: Vec::new() };
    webhooks::create(env, &OrgActor::<can::WebhooksWrite>::operator(org), &wanted).await.unwrap()
}

pub(crate) async fn make_key(env: &Env, owner: &TestMember, name: &str) {
    let new = api_keys::NewKey { name: name.into(), scope: KeyScope::All, expires_at: None, url_key: false };
    api_keys::create(env, &OrgActor::operator(owner.org_id()), &new).await.unwrap();
}

/// What a program makes of a delivery.
fn verified(program: &str, script: &str, secret: &str, received: &Received, body: &str) -> String {
    let given = json!({"secret": secret, "headers": received.headers, "body": body}).to_string();
    let mut process = Command::new(program)
        .arg(script)
        .current_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../end2end")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run `make setup-test`");
    process.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {script}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whk_01_the_official_libraries_accept_what_is_sent() {
    let t = TestEnv::new(Kind::Sqlite).await;
    // They go by the real time.
    t.clock.advance(SystemClock.now() - t.env.now());
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let old = add(&t.env, acme.org_id(), &receiver.url).await;
    let new = webhooks::rotate(&t.env, &acme.actor().await, old.webhook.id).await.unwrap();
    connectors::add_demo(&t.env, &acme.actor().await).await.unwrap();
    make_key(&t.env, &acme, "clé ✓").await;
    Courier::new(t.env.clone()).deliver_due().await.unwrap();
    let got = receiver.received();
    assert_eq!(got.len(), 2);
    let another = add(&t.env, acme.org_id(), &receiver.url).await.secret;
    for (program, script) in
        [("node", "clients/verify-webhook.mjs"), (".venv/bin/python", "clients/verify_webhook.py")]
    {
        for one in &got {
            // Either of the two secrets will do for a day.
            for secret in [&old.secret, &new.secret] {
                let told = verified(program, script, secret, one, &one.body);
                let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{program}: {told}"));
                assert_eq!(told, one.json());
            }
        }
        let one = &got[0];
        let changed = one.body.replace(".created", ".deleted");
        for (secret, body) in [(&new.secret, &changed), (&another, &one.body)] {
            let told = verified(program, script, secret, one, body);
            assert!(told.starts_with("refused: No matching signature"), "{program}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whk_05_a_commit_wakes_the_dispatcher_and_its_end_gives_back_what_it_has() {
    let t = TestEnv::new(Kind::Sqlite).await;
    let acme = t.org("acme").await;
    let receiver = Receiver::start().await;
    let id = add(&t.env, acme.org_id(), &receiver.url).await.webhook.id;
    let stop = CancellationToken::new();
    let running = tokio::spawn(server::webhooks::run(t.env.clone(), stop.clone()));
    for n in 0..5 {
        let began = Instant::now();
        make_key(&t.env, &acme, &n.to_string()).await;
        assert!(until(Duration::from_secs(10), async || receiver.received().len() == n + 1).await);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    receiver.answer(Answer::Hang);
    make_key(&t.env, &acme, "hangs").await;
    assert!(until(Duration::from_secs(10), async || receiver.received().len() == 6).await);
    stop.cancel();
    let began = Instant::now();
    running.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    // It is due again at once, without the clock being moved.
    receiver.answer(Answer::status(200));
    assert_eq!(Courier::new(t.env.clone()).deliver_due().await.unwrap(), 1);
    let query = DeliveryQuery { webhook: id.to_string(), ..DeliveryQuery::default() };
    let list = log::list(&t.env, &acme.actor().await, query).await.unwrap();
    assert!(list.deliveries.iter().all(|one| one.state == DeliveryState::Delivered));
    assert_eq!(list.deliveries.len(), 6);
}

/// What was made, as the event that tells of it and the name of what it tells of.
type Made = BTreeSet<(String, String)>;

fn made(event: &str, name: impl Into<String>) -> (String, String) {
    (event.to_owned(), name.into())
}

/// What is in the database of what the writers make.
async fn committed(env: &Env, org: model::OrgId) -> Made {
    let mut tx = env.db.read().await.unwrap();
    let keys = store::api_keys::list(&mut tx, org).await.unwrap();
    let connectors = store::connectors::list(&mut tx, org).await.unwrap();
    let members = store::members::list(&mut tx, org).await.unwrap();
    let guests = members.into_iter().filter(|member| member.email.starts_with("guest"));
    keys.into_iter()
        .map(|key| made("api_key.created", key.name))
        .chain(connectors.into_iter().map(|connector| made("mcp.created", connector.name)))
        .chain(guests.map(|guest| made("team.member_added", guest.email)))
        .collect()
}

/// What the audit log tells of it, each as often as it stands there.
async fn noted(env: &Env, org: model::OrgId) -> Vec<(String, String)> {
    let mut tx = env.db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, org, 1000).await.unwrap();
    let mut noted: Vec<_> = lines
        .into_iter()
        .map(|line| {
            let detail: Value = serde_json::from_str(&line.detail).unwrap();
            assert_eq!(line.result, "ok", "{line:?}");
            made(&line.action, detail["targets"][0]["name"].as_str().unwrap_or_default())
        })
        .filter(|(action, name)| {
            ["api_key.created", "mcp.created"].contains(&action.as_str())
                || (action == "team.member_added" && name.starts_with("guest"))
        })
        .collect();
    noted.sort();
    noted
}

/// Somebody who makes a key, a connector or a member, one after the other.
fn writer(place: &Place, round: u64, n: u64) -> Child {
    let (name, slug) = (format!("{round}-{n}"), format!("c{round}-{n}"));
    let guest = format!("guest{round}@x.example");
    // Nobody is there: the connector is kept all the same.
    let connector = [
        "connector",
        "add",
        "--org",
        "acme",
        "--slug",
        &slug,
        "--name",
        &name,
        "--url",
        "http://127.0.0.1:9/",
    ];
    let member = ["org", "member", "add", "--org", "acme", "--email", &guest, "--role", "member"];
    let arguments: &[&str] = match n {
        0 => &["api-key", "create", "--org", "acme", "--name", &name],
        1 => &connector,
        _ => &member,
    };
    place
        .command(&[&["admin"], arguments, &["--json"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Those who change something and whoever delivers are killed again and again, at any moment.
async fn kill_again_and_again(place: Place) {
    place.set_up();
    let env = place.environment().await;
    let org = domain::orgs::find_by_slug(&env, "acme").await.unwrap().id;
    let receiver = Receiver::start().await;
    add(&env, org, &receiver.url).await;
    for round in 0..12 {
        let guest = format!("guest{round}@x.example");
        domain::accounts::create_by_operator(&env, &guest, PASSWORD, None).await.unwrap();
    }

    for round in 0..12_u64 {
        let mut running = start(&place);
        let mut writers: Vec<_> = (0..3).map(|n| writer(&place, round, n)).collect();
        // Of each round's writers some are done by then, some under way.
        for (n, one) in writers.iter_mut().enumerate() {
            tokio::time::sleep(Duration::from_millis((round * 97 + n as u64 * 61) % 250)).await;
            if round % 3 != 0 {
                let _ = one.kill();
            }
            let _ = one.wait();
        }
        tokio::time::sleep(Duration::from_millis(round * 53 % 300)).await;
        running.process.kill().unwrap();
        running.process.wait().unwrap();
    }
    let running = start(&place);
    let there = committed(&env, org).await;
    assert!(there.len() >= 12, "those who were not killed: {there:?}");
    let kinds: BTreeSet<_> = there.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(kinds.len(), 3, "of each kind some: {there:?}");
    // AUD-03: the log tells each once, and nothing else.
    let noted = noted(&env, org).await;
    assert_eq!(
        noted,
        there.iter().cloned().collect::<Vec<_>>(),
        "what the audit log tells, and what is there"
    );
    for report in domain::audit::verify_all(&env, None).await.unwrap() {
        assert_eq!(report.broken, None, "{report:?}");
    }
    let arrived = || -> Made {
        let got = receiver.received();
        // Who was killed may have connected and sent nothing.
        let whole = got.iter().filter(|one| !one.body.is_empty());
        whole
            .filter_map(|one| {
                let body = one.json();
                let member = if body["event"] == "team.member_added" { "email" } else { "name" };
                let name = body["data"][member].as_str().unwrap_or_default();
                let event = body["event"].as_str()?;
                // The health of a connector that nobody answers at is another matter.
                (event != "mcp.health_changed").then(|| made(event, name))
            })
            .collect()
    };
    // What a killed process had is taken over when its lease ends.
    let all = until(Duration::from_mins(1), async || arrived() == there).await;
    assert!(all, "committed {there:?}, delivered {:?}", arrived());
    drop(running);
    env.db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whk_02_aud_03_kill_9_loses_no_event_and_invents_none_on_sqlite() {
    kill_again_and_again(Place::new().with("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whk_02_aud_03_kill_9_loses_no_event_and_invents_none_on_postgres() {
    let db = TestDb::new(Kind::Postgres).await;
    kill_again_and_again(Place::on(&db).with("GATEHOUSE_EGRESS_ALLOW", "127.0.0.0/8")).await;
}

/// A webhook's whole life as a person lives it, on pages without scripts.
async fn by_hand(kind: Kind) {
    let app = TestApp::new(kind).await;
    let owner = app.org("acme").await;
    let env = &app.test.env;
    let receiver = Receiver::start().await;
    let mut browser = app.signed_in(&owner).await;
    let empty = browser.get(paths::settings_webhooks()).await;
    assert!(empty.text.contains("No webhooks yet") && empty.text.contains("Add Webhook"), "{}", empty.text);

    let create = format!("{}?do=create_webhook", paths::new_webhook());
    let refused = browser.post(&create, &[("url", "http://10.0.0.1/"), ("access", "only")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Choose at least one event"), "{}", refused.text);
    assert!(
        refused.text.contains("private or local addresses") || refused.text.contains("https"),
        "{}",
        refused.text
    );
    let fields = [
        ("url", receiver.url.as_str()),
        ("description", "<b>CI</b>"),
        ("access", "only"),
        ("events[]", "api_key.created"),
        ("events[]", "mcp.created"),
    ];
    let made = browser.post(&create, &fields).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    let secret = |text: &str| -> String {
        let found = text.split("whsec_").nth(1).unwrap_or_else(|| panic!("no secret: {text}"));
        found.chars().take_while(|c| c.is_ascii_alphanumeric() || "+/=".contains(*c)).collect()
    };
    let first = secret(&made.text);
    assert_eq!(first.len(), 44);
    let id = {
        let list = webhooks::list(env, &owner.actor().await).await.unwrap();
        list[0].id
    };
    let page = browser.get(&paths::webhook(id)).await;
    assert!(!page.text.contains(&first) && !page.text.contains("whsec_"), "shown once");
    assert!(page.text.contains("&lt;b>CI&lt;/b>") || page.text.contains("&lt;b&gt;CI&lt;/b&gt;"));
    let id_text = id.to_string();
    let only_id = [("id", id_text.as_str())];

    let tested = browser.post(&format!("{}?do=test_webhook", paths::test_webhook(id)), &only_id).await;
    assert!(
        tested.text.contains("The receiver took it") && tested.text.contains("webhook.test"),
        "{}",
        tested.text
    );
    let rotated = browser.post(&format!("{}?do=rotate_webhook", paths::edit_webhook(id)), &only_id).await;
    assert_ne!(secret(&rotated.text), first);

    receiver.answer(Answer::status(500));
    make_key(env, &owner, "one").await;
    Courier::new(env.clone()).deliver_due().await.unwrap();
    let page = browser.get(&paths::webhook(id)).await;
    for text in ["Failing", "Retrying", "api_key.created", "It takes no events"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    let query = DeliveryQuery { webhook: id.to_string(), ..DeliveryQuery::default() };
    let list = log::list(env, &owner.actor().await, query).await.unwrap();
    let event = list.deliveries[0].id;
    let one = paths::webhook_delivery(id, event);
    let shown = browser.get(&one).await;
    assert!(
        shown.text.contains("Attempt 1: 500") && shown.text.contains("organization_id"),
        "{}",
        shown.text
    );
    receiver.answer(Answer::status(200));
    let event_text = event.to_string();
    let replay = [("webhook", id_text.as_str()), ("id", event_text.as_str())];
    let replayed = browser.post(&format!("{one}&do=replay_delivery"), &replay).await;
    assert_eq!(replayed.status, StatusCode::SEE_OTHER, "{}", replayed.text);
    assert_eq!(Courier::new(env.clone()).deliver_due().await.unwrap(), 1);
    let filtered = browser.get(&format!("{}&state=delivered", paths::webhook_deliveries(id))).await;
    assert!(filtered.text.contains(&event_text), "{}", filtered.text);
    let none = browser.get(&format!("{}&state=skipped", paths::webhook_deliveries(id))).await;
    assert!(none.text.contains("No deliveries match these filters"));

    // 2026-09-21 is today.
    let days = [("id", id_text.as_str()), ("from", "2026-09-21"), ("to", ""), ("delivered", "on")];
    let act = paths::replay_webhook(id);
    let counted = browser.post(&format!("{act}?do=count_replay"), &days).await;
    assert!(counted.text.contains("Replay 1 event"), "{}", counted.text);
    let sent = browser.post(&format!("{act}?do=replay_events"), &days).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
    assert_eq!(Courier::new(env.clone()).deliver_due().await.unwrap(), 1);

    let own = paths::webhook(id);
    let paused = browser.post(&format!("{own}?do=pause_webhook"), &only_id).await;
    assert_eq!(paused.header("location"), format!("{own}?notice=webhook-paused"), "{}", paused.text);
    make_key(env, &owner, "two").await;
    let page = browser.get(&own).await;
    assert!(page.text.contains("1 event waits") && page.text.contains("Resume"), "{}", page.text);
    let skip = [("id", id_text.as_str()), ("waiting", "skip")];
    let resumed = browser.post(&format!("{own}?do=resume_webhook"), &skip).await;
    assert_eq!(resumed.status, StatusCode::SEE_OTHER, "{}", resumed.text);
    assert_eq!(Courier::new(env.clone()).deliver_due().await.unwrap(), 0);

    // Who reads only is offered nothing else, and may do nothing else; who does not read is told who can grant it.
    app.test.member(&owner, "viewer", Role::Viewer).await;
    let mut viewer = app.browser();
    viewer.log_in("viewer@acme.example", PASSWORD).await;
    let page = viewer.get(&own).await;
    assert!(page.status == StatusCode::OK && !page.text.contains("Send Test"));
    let refused = viewer.post(&format!("{own}?do=pause_webhook"), &only_id).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    app.test.member(&owner, "member", Role::Member).await;
    let mut member = app.browser();
    member.log_in("member@acme.example", PASSWORD).await;
    let page = member.get(paths::settings_webhooks()).await;
    assert!(page.status == StatusCode::FORBIDDEN && page.text.contains("webhooks:read"), "{}", page.text);
    let signed_out = app.browser().get(&own).await;
    assert!(signed_out.status.is_redirection(), "{}", signed_out.status);

    // TEN-01: of another organisation, it is as if it were not there.
    let beta = app.org("beta").await;
    let mut stranger = app.signed_in(&beta).await;
    let nobody = model::WebhookId::from_uuid(env.uuid());
    for path in [
        paths::webhook,
        paths::edit_webhook,
        paths::test_webhook,
        paths::replay_webhook,
        paths::delete_webhook,
    ] {
        let (theirs, none) = (stranger.get(&path(id)).await, stranger.get(&path(nobody)).await);
        assert_eq!(
            (theirs.status, none.status),
            (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
            "{}",
            path(id)
        );
    }
    assert_eq!(stranger.get(&one).await.status, StatusCode::NOT_FOUND);

    // PIN-04: deleting takes the PIN.
    let proven = app.test.prove(&owner.ctx).await;
    let actor = owner.guarded().await;
    domain::org_security::set_pin_protection(env, &actor, &proven, true).await.unwrap();
    domain::pin::set(&owner.ctx, &proven, domain::pin::Old::Pin(""), "483920", "483920").await.unwrap();
    let act = paths::delete_webhook(id);
    assert!(browser.get(&act).await.text.contains("Your PIN"));
    let refused = browser.post(&format!("{act}?do=delete_webhook"), &only_id).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    let with_pin = [("id", id_text.as_str()), ("pin", "483920")];
    let deleted = browser.post(&format!("{act}?do=delete_webhook"), &with_pin).await;
    assert_eq!(deleted.header("location"), "/settings/webhooks?notice=webhook-deleted", "{}", deleted.text);
    assert_eq!(browser.get(&own).await.status, StatusCode::NOT_FOUND);
    assert_eq!(app.browser().get(paths::help_webhooks()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn whk_06_webhooks_are_managed_without_scripts_on_sqlite() {
    Box::pin(by_hand(Kind::Sqlite)).await;
}

#[tokio::test]
async fn whk_06_webhooks_are_managed_without_scripts_on_postgres() {
    Box::pin(by_hand(Kind::Postgres)).await;
}
