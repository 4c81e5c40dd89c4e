//! The IP allowlist through the real router: dashboard, endpoint, tokens, proxies, another node, the dry run.

use std::net::IpAddr;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use domain::{
    OrgActor,
    allowlist::{self, Insists},
    oauth_clients::{self, NewClient, Proof},
    testing::{PASSWORD, TestMember},
};
use model::{Scope, api_keys::KeyScope};
use serde_json::json;
use server::middleware::client::Peer;
use store::Kind;

use crate::{
    nodes::Node,
    support::{Answer, HOST, TestApp, rpc_request},
};

const INSIDE: &str = "203.0.113.7";
const OUTSIDE: &str = "198.51.100.9";
const PAGE: &str = "/settings/security/allowlist";

/// A request that a connection from this address brings.
fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(Peer((address, 1).into()));
    request
}

pub(crate) async fn enforce(app: &TestApp, member: &TestMember) {
    let actor = OrgActor::operator(member.org_id());
    let mut owner = member.ctx.clone();
    owner.origin.address = INSIDE.parse().ok();
    allowlist::add(&app.test.env, &actor, "203.0.113.0/24", "office", Insists(None)).await.unwrap();
    let actor = OrgActor::require(&owner).await.unwrap();
    allowlist::turn_on(&app.test.env, &actor, Insists(None)).await.unwrap();
    allowlist::keep(&app.test.env, &actor).await.unwrap();
    app.settle().await;
}

fn list(key: Option<&str>) -> Request<Body> {
    rpc_request("/mcp/acme", key, &json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}}))
}

fn token_form(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let form: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", model::paths::encode(value))).collect();
    Request::post(path)
        .header(header::HOST, HOST)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.join("&")))
        .unwrap()
}

fn refused(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert!(answer.text.contains("ip_not_allowed"), "{}", answer.text);
}

#[tokio::test]
async fn ipa_03_the_endpoint_is_closed_to_other_addresses_before_any_credential() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let key = app.key(&member, KeyScope::All).await;
    assert_eq!(app.send(from(OUTSIDE, list(Some(&key.secret)))).await.status, StatusCode::OK);
    enforce(&app, &member).await;
    assert_eq!(app.send(from(INSIDE, list(Some(&key.secret)))).await.status, StatusCode::OK);
    assert_eq!(app.send(from("::ffff:203.0.113.9", list(Some(&key.secret)))).await.status, StatusCode::OK);
    // RSV-01: whether the credential is good, bad or absent makes no difference there.
    for credential in [Some(key.secret.as_str()), Some("nonsense"), None] {
        refused(&app.send(from(OUTSIDE, list(credential))).await);
    }
    assert_eq!(app.send(from(INSIDE, list(None))).await.status, StatusCode::UNAUTHORIZED);
    // An address that nobody knows is on no list.
    refused(&app.send(list(Some(&key.secret))).await);
    let rest = Request::get("/v1/mcp/tools")
        .header(header::HOST, HOST)
        .header("x-api-key", &key.secret)
        .body(Body::empty())
        .unwrap();
    refused(&app.send(from(OUTSIDE, rest)).await);
    // An unknown organisation answers as ever.
    let unknown =
        rpc_request("/mcp/nobody", Some(&key.secret), &json!({"jsonrpc": "2.0", "id": 7, "method": "ping"}));
    assert_eq!(app.send(from(OUTSIDE, unknown)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn ipa_03_tokens_and_introspection_are_closed_to_other_addresses() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let new = NewClient {
        name: "machine".into(),
        redirect_uris: None,
        proof: Proof::Post,
        scope: Scope::everything(),
        keep_refresh_tokens: true,
    };
    let made =
        oauth_clients::create(&app.test.env, &OrgActor::operator(member.org_id()), &new).await.unwrap();
    let secret = made.secret.clone().expect("a secret");
    let id = made.client.id.clone();
    app.settle().await;
    let ask = [("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", &secret)];
    let issued = app.send(from(OUTSIDE, token_form("/oauth/token", &ask))).await;
    assert_eq!(issued.status, StatusCode::OK, "{}", issued.text);
    let token = issued.json()["access_token"].as_str().unwrap().to_owned();
    enforce(&app, &member).await;
    refused(&app.send(from(OUTSIDE, token_form("/oauth/token", &ask))).await);
    assert_eq!(app.send(from(INSIDE, token_form("/oauth/token", &ask))).await.status, StatusCode::OK);
    let about = [("token", token.as_str()), ("client_id", &id), ("client_secret", &secret)];
    refused(&app.send(from(OUTSIDE, token_form("/oauth/introspect", &about))).await);
    let told = app.send(from(INSIDE, token_form("/oauth/introspect", &about))).await;
    assert_eq!(told.json()["active"], true, "{}", told.text);
    let bearer = |address: &str| {
        let request = Request::post("/mcp/acme")
            .header(header::HOST, HOST)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#))
            .unwrap();
        from(address, request)
    };
    refused(&app.send(bearer(OUTSIDE)).await);
    assert_eq!(app.send(bearer(INSIDE)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn ipa_03_the_dashboard_is_closed_to_other_addresses_and_the_guard_works_in_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    app.org("beta").await;
    let mut browser = app.browser();
    browser.address = INSIDE.parse().ok();
    browser.log_in("owner@acme.example", PASSWORD).await;
    let page = browser.get(PAGE).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains(INSIDE) && page.text.contains("No ranges yet"));
    let bits = browser.post(&format!("{PAGE}?do=add_allowed_range"), &[("range", "10.0.0.5/8")]).await;
    assert_eq!(bits.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bits.text.contains("Did you mean 10.0.0.0/8?"), "{}", bits.text);
    let fields = [("range", "198.51.100.0/24"), ("note", "<b>VPN</b>")];
    let added = browser.post(&format!("{PAGE}?do=add_allowed_range"), &fields).await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    let guard = browser.post("/api/turn_on_allowlist", &[]).await;
    assert_eq!(guard.status, StatusCode::CONFLICT);
    assert_eq!(guard.json()["code"], "would_lock_out");
    assert!(guard.text.contains(INSIDE));
    assert_eq!(guard.json()["your_ip"], INSIDE);
    // Insisting takes a fresh proof.
    app.test.clock.advance(6 * 60 * 1000);
    let stale = browser.post("/api/turn_on_allowlist", &[("confirm", "on")]).await;
    assert_eq!(
        (stale.status, stale.json()["code"].as_str()),
        (StatusCode::FORBIDDEN, Some("reauth_required"))
    );
    browser.post(&format!("{PAGE}?do=add_allowed_range"), &[("range", "203.0.113.0/24"), ("note", "")]).await;
    let on = browser.post(&format!("{PAGE}?do=turn_on_allowlist"), &[]).await;
    assert_eq!(on.status, StatusCode::SEE_OTHER, "{}", on.text);
    let page = browser.get(PAGE).await;
    assert!(page.text.contains("On trial") && page.text.contains("Keep it"), "{}", page.text);
    assert!(page.text.contains("&lt;b&gt;VPN") && !page.text.contains("<b>VPN"), "a note is text");
    let kept = browser.post(&format!("{PAGE}?do=keep_allowlist"), &[]).await;
    assert_eq!(kept.status, StatusCode::SEE_OTHER, "{}", kept.text);

    // The same session from elsewhere.
    browser.address = "192.0.2.1".parse().ok();
    for page in ["/", "/connectors", PAGE, "/team"] {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{page}");
        assert!(answer.text.contains("Not from this address"), "{page}: {}", answer.text);
    }
    for function in ["load_overview", "load_allowlist", "turn_off_allowlist", "add_allowed_range"] {
        let call = browser.post(&format!("/api/{function}"), &[("range", "192.0.2.1")]).await;
        assert_eq!(call.status, StatusCode::FORBIDDEN, "{function}");
        assert_eq!(call.json()["code"], "ip_not_allowed", "{function}");
    }
    let export = browser.post("/settings/audit-export", &[("format", "csv")]).await;
    assert_eq!(export.status, StatusCode::FORBIDDEN);
    // What is not of an organisation goes on.
    assert_eq!(browser.get("/profile/sessions").await.status, StatusCode::OK);
    browser.address = "198.51.100.44".parse().ok();
    assert_eq!(browser.get("/team").await.status, StatusCode::OK);
    drop(member);
}

#[tokio::test]
async fn ipa_01_only_the_word_of_trusted_proxies_counts() {
    let app = TestApp::with(Kind::Sqlite, &[("GATEHOUSE_TRUSTED_PROXIES", "10.0.0.0/8")]).await;
    let member = app.org("acme").await;
    let key = app.key(&member, KeyScope::All).await;
    enforce(&app, &member).await;
    let through = |peer: &'static str, lines: &[&'static str]| {
        let mut request = list(Some(&key.secret));
        for line in lines {
            request.headers_mut().append("x-forwarded-for", line.parse().unwrap());
        }
        from(peer, request)
    };
    assert_eq!(app.send(through("10.0.0.1", &[INSIDE])).await.status, StatusCode::OK);
    assert_eq!(
        app.send(through("10.0.0.1", &["6.6.6.6", "203.0.113.7, 10.2.2.2"])).await.status,
        StatusCode::OK
    );
    // The left-most entry is the client's own word; a peer that nobody trusts has none at all.
    refused(&app.send(through("10.0.0.1", &["203.0.113.7, 198.51.100.9"])).await);
    refused(&app.send(through(OUTSIDE, &[INSIDE])).await);
    // What cannot be read leaves the request without an address.
    refused(&app.send(through("10.0.0.1", &["203.0.113.7, garbage"])).await);
    for name in ["forwarded", "x-real-ip", "cf-connecting-ip"] {
        let mut request = list(Some(&key.secret));
        request.headers_mut().insert(name, INSIDE.parse().unwrap());
        refused(&app.send(from(OUTSIDE, request)).await);
        let mut request = list(Some(&key.secret));
        request.headers_mut().insert(name, OUTSIDE.parse().unwrap());
        assert_eq!(app.send(from(INSIDE, request)).await.status, StatusCode::OK, "{name} counts for nothing");
    }
}

async fn another_node_refuses_after_one_look(kind: Kind) {
    let app = TestApp::new(kind).await;
    let member = app.org("acme").await;
    let key = app.key(&member, KeyScope::All).await;
    let mut node = Node::beside(&app).await;
    assert_eq!(node.send(from(OUTSIDE, list(Some(&key.secret)))).await.status(), StatusCode::OK);
    enforce(&app, &member).await;
    node.look().await;
    assert_eq!(node.send(from(OUTSIDE, list(Some(&key.secret)))).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(node.send(from(INSIDE, list(Some(&key.secret)))).await.status(), StatusCode::OK);
    allowlist::turn_off_by_operator(&app.test.env, member.org_id()).await.unwrap();
    node.look().await;
    assert_eq!(node.send(from(OUTSIDE, list(Some(&key.secret)))).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn ipa_03_another_node_refuses_after_one_look_sqlite() {
    another_node_refuses_after_one_look(Kind::Sqlite).await;
}

#[tokio::test]
async fn ipa_03_another_node_refuses_after_one_look_postgres() {
    another_node_refuses_after_one_look(Kind::Postgres).await;
}

#[tokio::test]
async fn ipa_04_the_dry_run_reads_the_request_log() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let key = app.key(&member, KeyScope::All).await;
    for address in [INSIDE, INSIDE, OUTSIDE] {
        assert_eq!(app.send(from(address, list(Some(&key.secret)))).await.status, StatusCode::OK);
    }
    app.work.meter.requests.flush(&app.test.env).await.unwrap();
    let actor = OrgActor::operator(member.org_id());
    allowlist::add(&app.test.env, &actor, "203.0.113.0/24", "", Insists(None)).await.unwrap();
    let page = allowlist::page(&member.ctx, &member.actor().await).await.unwrap();
    let run = page.dry_run;
    assert_eq!((run.requests, run.more, run.outside, run.principals), (3, false, 1, 1));
    assert_eq!(run.addresses, [(OUTSIDE.to_owned(), 1)]);
}

#[tokio::test]
async fn ipa_05_a_key_with_ranges_of_its_own_is_refused_from_elsewhere() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let fields = |ranges: &'static str| {
        [("name", "office"), ("access", "all"), ("expires", "never"), ("ranges", ranges)]
    };
    let wrong = browser.post("/settings/api-keys/new?do=create_api_key", &fields("203.0.113.5/24")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("Did you mean 203.0.113.0/24?") && wrong.text.contains("203.0.113.5/24"));
    let made = browser.post("/api/create_api_key", &fields("203.0.113.0/24\n2001:db8::/32")).await.json();
    let secret = made["made"]["secret"].as_str().expect("a key").to_owned();
    let id = made["made"]["key"]["id"].as_str().expect("its id").to_owned();
    app.settle().await;
    for inside in [INSIDE, "::ffff:203.0.113.9", "2001:db8::1"] {
        assert_eq!(app.send(from(inside, list(Some(&secret)))).await.status, StatusCode::OK, "{inside}");
    }
    let rest = |secret: &str| {
        Request::get("/v1/mcp/tools")
            .header(header::HOST, HOST)
            .header("x-api-key", secret)
            .body(Body::empty())
            .unwrap()
    };
    refused(&app.send(from(OUTSIDE, list(Some(&secret)))).await);
    refused(&app.send(from(OUTSIDE, rest(&secret))).await);
    // An address that nobody knows is in no range, and who has no good key is not told that there are any.
    refused(&app.send(list(Some(&secret))).await);
    let other = app.key(&member, KeyScope::All).await.secret;
    assert_eq!(app.send(from(OUTSIDE, list(Some(&other)))).await.status, StatusCode::OK);
    let unknown = format!("{}x", &secret[..secret.len() - 1]);
    assert_eq!(app.send(from(OUTSIDE, list(Some(&unknown)))).await.status, StatusCode::UNAUTHORIZED);
    // It is on the page, can be changed, and the change is an event with both values.
    let page = browser.get("/settings/api-keys").await;
    assert!(page.text.contains("203.0.113.0/24, 2001:db8::/32"), "{}", page.text);
    let edit = browser.get(&format!("/settings/api-keys/{id}/edit")).await;
    assert!(edit.text.contains("203.0.113.0/24\n2001:db8::/32"), "{}", edit.text);
    let fields = [
        ("id", id.as_str()),
        ("name", "office"),
        ("access", "all"),
        ("expires", "keep"),
        ("ranges", OUTSIDE),
    ];
    let saved = browser.post(&format!("/settings/api-keys/{id}/edit?do=update_api_key"), &fields).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    app.settle().await;
    assert_eq!(app.send(from(OUTSIDE, list(Some(&secret)))).await.status, StatusCode::OK);
    refused(&app.send(from(INSIDE, list(Some(&secret)))).await);
    let log =
        browser.post("/settings/audit-export", &[("format", "json"), ("action", "api_key.updated")]).await;
    let changes = &log.json()[0]["changes"]["ranges"];
    assert_eq!(*changes, json!([["203.0.113.0/24", "2001:db8::/32"], ["198.51.100.9/32"]]));
}

#[tokio::test]
async fn ipa_05_ranges_of_makers_of_hosted_agents_are_added_with_their_day() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let page = browser.get(PAGE).await;
    for told in
        ["Anthropic (Claude)", "160.79.104.0/21", "2026-11-21", "https://openai.com/chatgpt-connectors.json"]
    {
        assert!(page.text.contains(told), "{told}: {}", page.text);
    }
    let add = |vendor: &'static str| [("vendor", vendor)];
    let added = browser.post(&format!("{PAGE}?do=add_vendor_ranges"), &add("anthropic")).await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    let page = browser.get(PAGE).await;
    assert!(
        page.text.contains("Anthropic (Claude), published 2026-11-21") && page.text.contains("In the list")
    );
    let again = browser.post(&format!("{PAGE}?do=add_vendor_ranges"), &add("anthropic")).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    // No figures, no ranges.
    let none = browser.post(&format!("{PAGE}?do=add_vendor_ranges"), &add("openai")).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}
