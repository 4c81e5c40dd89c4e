//! The end of an organisation over HTTP: what two running nodes answer a second later (DEL-02), and a process that is killed
//! while it removes what is left (DEL-03).

use std::time::{Duration, Instant};

use axum::{
    body::{Body, BodyDataStream},
    http::{Method, Request, StatusCode, header},
};
use domain::{
    connectors, invitations, orgs,
    testing::{
        PASSWORD, TestMember,
        receiver::{Answer as Answers, Receiver},
        token_of,
    },
    webhooks::deliver::Courier,
};
use futures_util::StreamExt as _;
use model::{Role, api_keys::KeyScope, permissions::can};
use serde_json::{Value, json};
use server::{front::Front, jobs, middleware::client::Peer};
use store::{Kind, testing::TestDb};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{
    custom_domains::prove,
    nodes::{Node, mint},
    oauth::{client_of, code, redeem, text},
    process::{Place, start, until},
    support::{Answer, Browser, HOST, TestApp},
};

/// How soon it has to count, and as much again for a busy machine.
const SOON: Duration = Duration::from_secs(2);
const DOMAIN: &str = "api.acme.example";
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// A request with a credential.
fn ask(method: Method, path: &str, credential: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, HOST)
        .header(header::AUTHORIZATION, format!("Bearer {credential}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
}

fn call(path: &str, credential: &str, body: &Value) -> Request<Body> {
    ask(Method::POST, path, credential).body(Body::from(body.to_string())).unwrap()
}

async fn send(node: &Front, request: Request<Body>) -> Answer {
    Answer::read(node.clone().oneshot(request).await.unwrap()).await
}

async fn get(node: &Front, host: &str, path: &str) -> Answer {
    let request = Request::get(path).header(header::HOST, host).body(Body::empty()).unwrap();
    send(node, request).await
}

/// What a bare `tools/list` with a credential is answered with.
async fn lists(node: &Front, host: &str, path: &str, credential: &str) -> StatusCode {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let mut request = call(path, credential, &body);
    request.headers_mut().insert(header::HOST, host.parse().unwrap());
    send(node, request).await.status
}

/// Opens a stream, and says when it has ended.
async fn open(
    node: &Front,
    what: &'static str,
    request: Request<Body>,
) -> (&'static str, JoinHandle<Instant>) {
    let answer = node.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{what}");
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream", "{what}");
    let mut stream: BodyDataStream = answer.into_body().into_data_stream();
    let ended = tokio::spawn(async move {
        while let Some(Ok(_)) = stream.next().await {}
        Instant::now()
    });
    (what, ended)
}

/// Every stream there is: of news, of a session, of 2024-11-05, and those of two pages.
async fn streams(node: &Front, key: &str, cookie: &str) -> Vec<(&'static str, JoinHandle<Instant>)> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
    let listen = json!({"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": params});
    let listen = ask(Method::POST, "/mcp/acme", key)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "subscriptions/listen")
        .body(Body::from(listen.to_string()))
        .unwrap();
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    });
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let opened = send(node, call("/mcp/acme", key, &initialize)).await;
    let session = opened.header("mcp-session-id");
    assert!(!session.is_empty(), "{}", opened.text);
    let of_session =
        ask(Method::GET, "/mcp/acme", key).header("mcp-session-id", session).body(Body::empty()).unwrap();
    let old = ask(Method::GET, "/mcp/acme/sse", key).body(Body::empty()).unwrap();
    let page = |path: &str| {
        Request::get(path)
            .header(header::HOST, HOST)
            .header(header::COOKIE, format!("gatehouse={cookie}"))
            .extension(Peer(([127, 0, 0, 1], 1).into()))
            .body(Body::empty())
            .unwrap()
    };
    vec![
        open(node, "subscriptions/listen", listen).await,
        open(node, "the stream of a session", of_session).await,
        open(node, "the stream of 2024-11-05", old).await,
        open(node, "the stream of a page", page("/live?at=/settings/api-keys")).await,
        open(node, "the stream of the request log", page("/activity/events")).await,
    ]
}

/// A member of two organisations in a browser at a node, with this one in view.
async fn at_node<'a>(app: &'a TestApp, front: &Front, member: &TestMember) -> Browser<'a> {
    let mut browser = app.browser_at(front);
    let email = format!("owner@{}.example", member.org.slug);
    assert_eq!(browser.log_in(&email, PASSWORD).await.status, StatusCode::SEE_OTHER);
    let org = member.org_id().to_string();
    browser.post("/api/switch_org", &[("org", &org)]).await;
    browser
}

async fn nothing_of_it_works_a_second_later(kind: Kind) {
    let app = TestApp::new(kind).await;
    let env = &app.test.env;
    let (acme, other) = (app.org("acme").await, app.org("other").await);
    let joins = domain::OrgActor::<can::TeamRoles>::operator(other.org_id());
    orgs::put_member(env, &joins, "owner@acme.example", Role::Admin).await.unwrap();
    for owner in [&acme, &other] {
        connectors::add_demo(env, &owner.actor().await).await.unwrap();
    }
    prove(&app, &acme, DOMAIN).await;

    // Whatever lets a program in.
    let key = app.key(&acme, KeyScope::All).await.secret;
    let kept = app.key(&other, KeyScope::All).await.secret;
    let client = client_of(&app, json!({})).await;
    let client = text(&client, "client_id");
    let node = Node::beside(&app).await;
    let fronts = [&app.front, &node.front];
    let mut owner = at_node(&app, &app.front, &acme).await;
    let code = code(&mut owner, &acme, client).await;
    let issued = redeem(&app, client, &code).await.json();
    let (access, refresh) = (text(&issued, "access_token"), text(&issued, "refresh_token"));
    app.test.machine(&acme, "machine", "mcp:call").await;
    let machine = mint(&app, &acme, "machine", None).await;
    let credentials = [("a key", key.as_str()), ("an access token", access), ("a machine's token", &machine)];
    // Whoever was invited.
    app.test.mails().await;
    invitations::invite(env, &acme.actor().await, "guest@elsewhere.example", Role::Viewer).await.unwrap();
    let invitation = format!("/invite/{}", token_of(&app.test.mails().await[0]));
    // A delivery that failed and is tried again, of this organisation and of the other one.
    let (receiver, control) = (Receiver::start().await, Receiver::start().await);
    for (to, of) in [(&receiver, &acme), (&control, &other)] {
        to.answer(Answers::status(500));
        crate::webhooks::add(env, of.org_id(), &to.url).await;
        app.key(of, KeyScope::All).await;
    }
    Courier::new(env.clone()).deliver_due().await.unwrap();
    assert_eq!((receiver.received().len(), control.received().len()), (1, 1));
    for to in [&receiver, &control] {
        to.answer(Answers::status(204));
    }

    // Both nodes run, with all that they do in the background.
    let stop = CancellationToken::new();
    let running = [&app.work, &node.work].map(|work| jobs::start(work.clone(), &stop));
    let mut open = Vec::new();
    for front in fronts {
        for (what, credential) in credentials {
            assert_eq!(lists(front, HOST, "/mcp/acme", credential).await, StatusCode::OK, "{what}");
        }
        assert_eq!(lists(front, DOMAIN, "/mcp", &key).await, StatusCode::OK);
        assert_eq!(get(front, HOST, &format!("{METADATA}/mcp/acme")).await.status, StatusCode::OK);
        assert_eq!(get(front, HOST, &invitation).await.status, StatusCode::OK);
        let browser = at_node(&app, front, &acme).await;
        open.extend(streams(front, &key, &browser.cookies["gatehouse"]).await);
    }
    assert!(open.iter().all(|(_, ended)| !ended.is_finished()), "they last");

    let csrf = owner.form_token("/settings/danger").await;
    let fields = [("confirm", "acme"), ("password", PASSWORD), ("csrf", csrf.as_str())];
    let gone = owner.post("/api/delete_org", &fields).await;
    assert!(gone.status.is_success(), "{} {}", gone.status, gone.text);
    let answered = Instant::now();
    let refused = until(SOON, async || {
        for front in fronts {
            for (_, credential) in credentials {
                if lists(front, HOST, "/mcp/acme", credential).await != StatusCode::UNAUTHORIZED {
                    return false;
                }
            }
            if lists(front, DOMAIN, "/mcp", &key).await != StatusCode::MISDIRECTED_REQUEST {
                return false;
            }
        }
        true
    });
    assert!(refused.await, "every credential is refused on both nodes, and the domain is nobody's");
    for (what, ended) in open {
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        let ended = ended.unwrap_or_else(|_| panic!("{what} goes on")).unwrap();
        assert!(ended < answered + SOON, "{what} went on for {:?}", ended - answered);
    }
    for front in fronts {
        // To whoever asks it is as if it had never been.
        let asked = async |slug: &str| {
            let answer = get(front, HOST, &format!("{METADATA}/mcp/{slug}")).await;
            (answer.status, answer.text.replace(slug, "SLUG"))
        };
        assert_eq!(asked("acme").await, asked("acne").await);
        let challenge = async |slug: &str| {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
            let request = Request::post(format!("/mcp/{slug}"))
                .header(header::HOST, HOST)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string()));
            let answer = send(front, request.unwrap()).await;
            let told = answer.header("www-authenticate").replace(slug, "SLUG");
            (answer.status, told, answer.text.replace(slug, "SLUG"))
        };
        assert_eq!(challenge("acme").await, challenge("acne").await);
        assert_eq!(get(front, HOST, &invitation).await.status, StatusCode::NOT_FOUND);
        // A refresh token is worth nothing.
        let fields = format!("grant_type=refresh_token&client_id={client}&refresh_token={refresh}");
        let request = Request::post("/oauth/token")
            .header(header::HOST, HOST)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(fields));
        let answer = send(front, request.unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert_eq!(answer.json()["error"], "invalid_grant");
        // The other organisation of the same person is what it was, and the one that they see now.
        assert_eq!(lists(front, HOST, "/mcp/other", &kept).await, StatusCode::OK);
        let mut browser = app.browser_at(front);
        browser.cookies.clone_from(&owner.cookies);
        let page = browser.get("/team").await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert!(page.text.contains("owner@other.example"), "{}", page.text);
    }

    // The time of what had failed has come: only the other organisation's is sent.
    app.test.clock.advance(60_000);
    assert!(until(Duration::from_secs(10), async || control.received().len() > 1).await, "the control");
    assert_eq!(receiver.received().len(), 1, "what was queued is not sent");
    stop.cancel();
    for jobs in running {
        jobs.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn del_02_nothing_of_it_works_a_second_later_on_either_node_on_sqlite() {
    Box::pin(nothing_of_it_works_a_second_later(Kind::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn del_02_nothing_of_it_works_a_second_later_on_either_node_on_postgres() {
    Box::pin(nothing_of_it_works_a_second_later(Kind::Postgres)).await;
}

/// Stands in everything of the organisation that is deleted here.
const CANARY: &str = "quetzalcoatlus";
/// So many rows are dozens of portions.
const ROWS: u32 = 150_000;

/// The process that removes the rows is killed in the middle of it. The next one goes on and comes to the end.
async fn killed_in_the_middle(place: Place) {
    place.set_up();
    let env = place.environment().await;
    let org = orgs::find_by_slug(&env, "acme").await.unwrap().id;
    let db = &env.db;
    let user = {
        let mut tx = db.read().await.unwrap();
        store::members::list(&mut tx, org).await.unwrap()[0].user
    };
    db.fill(org, user, CANARY).await.unwrap();
    db.multiply("request_log", CANARY, ROWS).await.unwrap();
    let mut tx = db.write().await.unwrap();
    let now = env.now();
    store::org_ends::begin(&mut tx, org, now, "digest", &user.to_string()).await.unwrap();
    tx.commit().await.unwrap();
    let left = async || db.count_of("request_log", org).await.unwrap();
    assert_eq!(left().await, i64::from(ROWS) + 1, "these go in portions");

    let mut running = start(&place);
    let begun = until(Duration::from_secs(30), async || left().await <= i64::from(ROWS)).await;
    running.process.kill().unwrap();
    running.process.wait().unwrap();
    assert!(begun, "it began by itself");
    let rest = left().await;
    assert!(rest > 0, "it was killed in the middle");
    assert_ne!(db.search(CANARY).await.unwrap(), []);

    let running = start(&place);
    let done = until(Duration::from_mins(1), async || left().await == 0).await;
    assert!(done, "{} rows are left of {rest}", left().await);
    let empty = async || db.search(CANARY).await.unwrap().is_empty();
    assert!(until(Duration::from_secs(30), empty).await, "{:?}", db.search(CANARY).await);
    assert_eq!(db.search(&org.to_string()).await.unwrap(), []);
    drop(running);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn del_03_whoever_is_killed_in_the_middle_goes_on_on_sqlite() {
    Box::pin(killed_in_the_middle(Place::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn del_03_whoever_is_killed_in_the_middle_goes_on_on_postgres() {
    let db = TestDb::new(Kind::Postgres).await;
    Box::pin(killed_in_the_middle(Place::on(&db))).await;
}
