//! Every event that a webhook may hear of, as a receiver has it: made to happen once, and compared with what the help page
//! says (WHK-07).

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use domain::{
    Env, connectors, invitations,
    testing::{
        TestMember,
        receiver::{Answer, Receiver},
        token_of,
    },
    upstream_oauth::{
        config::{self, Input},
        flow,
    },
    usage,
    webhooks::deliver::Courier,
};
use model::{
    Role,
    credentials::CredentialKind,
    paths,
    plan::Override,
    webhooks::{TEST, TOPICS},
};
use serde_json::{Value, json};
use server::middleware::client::Peer;
use store::Kind;

use crate::{
    oauth::{client_of, code, redeem, refresh, text},
    support::{Browser, HOST, TestApp, upstream::Upstream},
    webhooks::add,
};

/// What the documentation says of `data`, by event.
fn documented() -> BTreeMap<&'static str, Value> {
    let topics = TOPICS.iter().flat_map(|(_, topics)| topics.iter());
    let mut documented: BTreeMap<_, _> =
        topics.map(|topic| (topic.name, serde_json::from_str(topic.data).expect("JSON"))).collect();
    documented.insert(TEST, json!({"webhook_id": "wh_…", "message": "…"}));
    documented
}

/// How what came differs from its example: other members, values of another kind, or an id of another thing.
fn difference(example: &Value, came: &Value) -> Option<String> {
    let (Value::Object(example), Value::Object(came)) = (example, came) else {
        return Some("no object".to_owned());
    };
    let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
    if names(example) != names(came) {
        return Some(format!("{:?} are documented, {:?} came", names(example), names(came)));
    }
    example.iter().find_map(|(name, example)| {
        let value = &came[name];
        let fits = match (example, value) {
            (Value::String(example), Value::String(value)) => {
                // What is cut short in the documentation begins like that.
                let begins = example.split_once('…').map_or("", |(begins, _)| begins);
                !value.is_empty() && value.starts_with(begins)
            }
            // Whoever says that they are gone has not failed for long.
            (Value::String(_), Value::Null) => name == "failing_since" && came["reason"] == "gone",
            (Value::Bool(_), Value::Bool(_))
            | (Value::Number(_), Value::Number(_))
            | (Value::Array(_), Value::Array(_)) => true,
            _ => false,
        };
        (!fits).then(|| format!("{name} is {value}, documented as {example}"))
    })
}

async fn done(browser: &mut Browser<'_>, function: &str, fields: &[(&str, &str)]) -> Value {
    let answer = browser.post(&format!("/api/{function}"), fields).await;
    assert!(answer.status.is_success(), "{function}: {} {}", answer.status, answer.text);
    serde_json::from_str(&answer.text).unwrap_or_default()
}

/// A connector's life: made, changed, found to offer something else, down, without its authorisation, deleted.
async fn connector(app: &TestApp, owner: &TestMember, browser: &mut Browser<'_>, key: &str) {
    let env = &app.test.env;
    let upstream = Upstream::start().await;
    let new = connectors::NewConnector {
        name: "Files".to_owned(),
        slug: "files".to_owned(),
        description: String::new(),
        url: upstream.url.clone(),
        headers: Vec::new(),
        even_if_unreachable: true,
    };
    let id = connectors::add(env, &owner.actor().await, &new).await.expect("it is kept").id;
    let input = Input { kind: CredentialKind::AuthorizationCode, ..Input::default() };
    config::put(env, &owner.actor().await, id, &input).await.expect("it is set up");
    let link = flow::begin(&owner.ctx, &owner.actor().await, id).await.expect("a link");
    let back = upstream.say_yes(app, &link.url).await;
    flow::finish(&owner.ctx, &back).await.expect("it is authorised");
    connectors::test(env, &owner.actor().await, id).await.unwrap().unwrap();
    let text = id.to_string();
    let fields = [("id", text.as_str()), ("name", "Papers"), ("url", &upstream.url), ("description", "")];
    done(browser, "update_connector", &[&fields[..], &[("keep", "on")]].concat()).await;
    upstream.known().more_tools.push("whence");
    connectors::test(env, &owner.actor().await, id).await.unwrap().unwrap();
    app.settle().await;
    upstream.known().revoke();
    let params = json!({"name": "files__whoami", "arguments": {}});
    let refused = app.rpc("/mcp/acme", key, "tools/call", params).await;
    assert_eq!(refused.json()["error"]["data"]["code"], "upstream_needs_authorization", "{}", refused.text);
    connectors::test(env, &owner.actor().await, id).await.unwrap().unwrap_err();
    done(browser, "delete_connector", &[("id", &text), ("confirm", "files")]).await;
}

/// A key, and two connections: one whose refresh token came twice, and one that is revoked.
async fn credentials(app: &TestApp, owner: &TestMember, browser: &mut Browser<'_>) -> String {
    let fields = [("name", "ci"), ("access", "all"), ("expires", "never")];
    let made = done(browser, "create_api_key", &fields).await;
    done(browser, "delete_api_key", &[("id", text(&made["made"]["key"], "id"))]).await;
    let client = client_of(app, json!({})).await;
    let client = text(&client, "client_id");
    let code_of_first = code(browser, owner, client).await;
    let first = redeem(app, client, &code_of_first).await.json();
    let second = refresh(app, client, text(&first, "refresh_token")).await.json();
    refresh(app, client, text(&second, "refresh_token")).await;
    let again = format!(
        "grant_type=refresh_token&client_id={client}&refresh_token={}",
        text(&first, "refresh_token")
    );
    let again = Request::post("/oauth/token")
        .extension(Peer(([203, 0, 113, 9], 1).into()))
        .header(header::HOST, HOST)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(again));
    let again = app.send(again.unwrap()).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{}", again.text);
    let other = client_of(app, json!({"client_name": "Another"})).await;
    let other = text(&other, "client_id");
    let code_of_other = code(browser, owner, other).await;
    assert_eq!(redeem(app, other, &code_of_other).await.status, StatusCode::OK);
    let live = {
        let mut tx = app.test.env.db.read().await.unwrap();
        let all = store::connections::list(&mut tx, owner.org_id()).await.unwrap();
        all.into_iter().find(|one| one.client == other).expect("the connection").id.to_string()
    };
    done(browser, "revoke_connection", &[("id", &live)]).await;
    app.key(owner, model::api_keys::KeyScope::All).await.secret
}

/// Somebody accepts an invitation, and is removed.
async fn team(app: &TestApp, owner: &TestMember, browser: &mut Browser<'_>) {
    app.test.mails().await;
    let actor = owner.actor().await;
    invitations::invite(&app.test.env, &actor, "two@x.example", Role::Member).await.unwrap();
    let token = token_of(&app.test.mails().await[0]);
    let mut two = app.browser();
    let csrf = two.form_token(&format!("/invite/{token}")).await;
    let fields = [("token", token.as_str()), ("csrf", csrf.as_str()), ("name", "Two")];
    let password = [("password", domain::testing::PASSWORD)];
    done(&mut two, "accept_as_new", &[&fields[..], &password].concat()).await;
    let id = {
        let mut tx = app.test.env.db.read().await.unwrap();
        let all = store::members::list(&mut tx, owner.org_id()).await.unwrap();
        all.into_iter().find(|one| one.email == "two@x.example").expect("the member").user.to_string()
    };
    done(browser, "remove_member", &[("id", &id)]).await;
}

/// The month's calls run out.
async fn quota(app: &TestApp, owner: &TestMember, key: &str) {
    let env = &app.test.env;
    connectors::add_demo(env, &owner.actor().await).await.unwrap();
    usage::set_limits(env, owner.org_id(), None, Some(Override::At(5))).await.unwrap();
    app.settle().await;
    let params = json!({"name": "demo__echo", "arguments": {"text": "hello"}});
    for _ in 0..5 {
        app.rpc("/mcp/acme", key, "tools/call", params.clone()).await;
    }
    app.work.meter.requests.flush(env).await.unwrap();
}

async fn deliver(env: &Env) {
    Courier::new(env.clone()).deliver_due().await.unwrap();
}

async fn every_event_arrives_as_documented(kind: Kind) {
    let app = TestApp::new(kind).await;
    let env = &app.test.env;
    let owner = app.org("acme").await;
    let receiver = Receiver::start().await;
    let webhook = add(env, owner.org_id(), &receiver.url).await.webhook.id.to_string();
    let mut browser = app.signed_in(&owner).await;
    let key = Box::pin(credentials(&app, &owner, &mut browser)).await;
    Box::pin(connector(&app, &owner, &mut browser, &key)).await;
    Box::pin(team(&app, &owner, &mut browser)).await;
    quota(&app, &owner, &key).await;
    deliver(env).await;
    // A webhook whose receiver is gone is disabled, and the other one hears of it.
    let gone = Receiver::start().await;
    gone.answer(Answer::status(410));
    add(env, owner.org_id(), &gone.url).await;
    app.key(&owner, model::api_keys::KeyScope::All).await;
    deliver(env).await;
    done(&mut browser, "test_webhook", &[("id", &webhook)]).await;
    deliver(env).await;

    let documented = documented();
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for received in receiver.received() {
        let body = received.json();
        let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["id", "type", "event", "timestamp", "organization_id", "data"], "{body}");
        let name = text(&body, "event");
        assert_eq!((text(&body, "type"), text(&body, "id")), (name, received.header("webhook-id")));
        assert_eq!(text(&body, "organization_id"), owner.org_id().to_string());
        assert!(text(&body, "timestamp").ends_with('Z') && text(&body, "timestamp").len() == 20, "{body}");
        let Some(example) = documented.get(name) else {
            problems.push(format!("{name} came, and nobody says that it exists"));
            continue;
        };
        seen.insert(name.to_owned());
        if let Some(difference) = difference(example, &body["data"]) {
            problems.push(format!("{name}: {difference}"));
        }
    }
    let never: Vec<_> = documented.keys().filter(|name| !seen.contains(**name)).collect();
    assert!(never.is_empty(), "never arrived: {never:?}; arrived: {seen:?}; {problems:#?}");
    assert!(problems.is_empty(), "{problems:#?}");
    // Nothing is documented that the help page does not show.
    let page = app.browser().get(paths::help_webhooks()).await;
    for name in documented.keys() {
        assert!(page.text.contains(&format!(">{name}<")), "{name} is not on the page");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whk_07_every_event_arrives_as_documented_on_sqlite() {
    Box::pin(every_event_arrives_as_documented(Kind::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whk_07_every_event_arrives_as_documented_on_postgres() {
    Box::pin(every_event_arrives_as_documented(Kind::Postgres)).await;
}
