//! Domains of organisations' own over the whole server: what is answered there and what is not, whose tokens count, which
//! certificates a proxy may get (TEN-06).

use std::net::IpAddr;

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
};
use domain::{
    custom_domain,
    orgs::OperatorChanges,
    testing::{NameServer, TestMember},
};
use model::{Plan, api_keys::KeyScope};
use serde_json::{Value, json};
use server::{metrics, middleware::client::Peer};
use store::{Kind, custom_domains::CustomDomain};
use tower::ServiceExt as _;

use crate::{
    oauth::{client_of, code_for, post_form, redeem_for, text},
    support::{Answer, TestApp},
};

const DOMAIN: &str = "api.acme.example";
const PLACE: &str = "/.well-known/oauth-protected-resource";
const BASE: &str = "http://api.acme.example:3000";

/// Takes a domain into use as if its records had been found.
pub(crate) async fn prove(app: &TestApp, owner: &TestMember, host: &str) {
    let env = &app.test.env;
    custom_domain::add(env, &owner.actor().await, host).await.unwrap();
    let mut tx = env.db.write().await.unwrap();
    let row = store::custom_domains::find(&mut tx, owner.org_id()).await.unwrap().unwrap();
    let row = CustomDomain { verified_at: Some(env.now()), ..row };
    assert!(store::custom_domains::update(&mut tx, owner.org_id(), &row).await.unwrap());
    store::orgs::bump(&mut tx, owner.org_id()).await.unwrap();
    tx.commit().await.unwrap();
    app.settle().await;
}

fn at(host: &str, method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, host)
}

async fn get(app: &TestApp, host: &str, path: &str) -> Answer {
    app.send(at(host, Method::GET, path).body(Body::empty()).unwrap()).await
}

async fn post(app: &TestApp, host: &str, path: &str, credential: Option<&str>, body: &Value) -> Answer {
    let mut request = at(host, Method::POST, path).header(header::CONTENT_TYPE, "application/json");
    if let Some(credential) = credential {
        request = request.header(header::AUTHORIZATION, format!("Bearer {credential}"));
    }
    app.send(request.body(Body::from(body.to_string())).unwrap()).await
}

fn list() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
}

async fn status(app: &TestApp, host: &str, path: &str, credential: &str) -> StatusCode {
    post(app, host, path, Some(credential), &list()).await.status
}

/// `acme` with a domain and a key, `bolt` with a key.
async fn two(app: &TestApp) -> (TestMember, String, TestMember, String) {
    let (acme, bolt) = (app.org("acme").await, app.org("bolt").await);
    prove(app, &acme, DOMAIN).await;
    let (of_acme, of_bolt) = (app.key(&acme, KeyScope::All).await, app.key(&bolt, KeyScope::All).await);
    (acme, of_acme.secret, bolt, of_bolt.secret)
}

#[tokio::test]
async fn ten_06_a_domain_serves_one_organisations_endpoint_and_nothing_else() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (_, key, _, foreign) = two(&app).await;
    for host in [DOMAIN, "API.Acme.Example", "api.acme.example:443", "api.acme.example:3000"] {
        for path in ["/mcp", "/mcp/acme"] {
            assert_eq!(status(&app, host, path, &key).await, StatusCode::OK, "{host}{path}");
        }
    }
    let listed = at(DOMAIN, Method::GET, "/v1/mcp/tools").header("x-api-key", &key);
    assert_eq!(app.send(listed.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    let call = json!({"connector": "none", "tool": "x", "arguments": {}});
    let invoked = post(&app, DOMAIN, "/v1/mcp/invoke", Some(&key), &call).await;
    assert_eq!(invoked.status, StatusCode::NOT_FOUND, "{}", invoked.text);
    assert!(
        ["not_found", "unknown_connector"].contains(&invoked.json()["code"].as_str().unwrap()),
        "{}",
        invoked.text
    );
    // Another organisation is not there, by path or by credential (TEN-01).
    for path in ["/mcp/bolt", "/mcp/bolt/sse", "/mcp/none"] {
        assert_eq!(status(&app, DOMAIN, path, &key).await, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(status(&app, DOMAIN, path, &foreign).await, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/mcp", "/mcp/acme", "/v1/mcp/invoke"] {
        let refused = post(&app, DOMAIN, path, Some(&foreign), &call).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(refused.header("www-authenticate").contains(&format!("{BASE}/.well-known/")), "{path}");
    }
    // No dashboard, log-in, consent, assets, authorization server or figures.
    for path in [
        "/",
        "/sign-in",
        "/connectors",
        "/settings/domain",
        "/oauth/authorize",
        "/oauth/token",
        "/oauth/consent",
        "/oauth/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/favicon.ico",
        "/pkg/app.js",
        "/api/load_domain",
        "/v1/mcp/openapi.json",
        "/metrics",
        "/livez",
        "/readyz",
        "/internal/tls/ask",
        "/help/quickstart",
    ] {
        for method in [Method::GET, Method::POST] {
            let request = at(DOMAIN, method.clone(), path).header("accept", "text/html");
            let answer = app.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
            assert!(answer.header("set-cookie").is_empty() && !answer.text.contains("<html"), "{path}");
        }
    }
    // A host that is nobody's is answered as before.
    for host in [
        "api.bolt.example",
        "x.api.acme.example",
        "api.acme.example.",
        "acme.example",
        "api.acme.example.evil.test",
    ] {
        assert_eq!(status(&app, host, "/mcp", &key).await, StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert_eq!(status(&app, host, "/mcp/acme", &key).await, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    // And the instance's own address has no bare endpoint.
    assert_eq!(status(&app, &app.host, "/mcp/acme", &key).await, StatusCode::OK);
}

#[tokio::test]
async fn rsv_14_a_tool_is_called_on_a_domain_without_mcp() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (acme, key, bolt, foreign) = two(&app).await;
    for owner in [&acme, &bolt] {
        domain::connectors::add_demo(&app.test.env, &owner.actor().await).await.unwrap();
    }
    app.settle().await;
    let call = |text: &str| json!({"connector": "demo", "tool": "echo", "arguments": {"text": text}});
    for host in [DOMAIN, "API.Acme.Example:443"] {
        let said = format!("by way of {host}");
        let invoked = post(&app, host, "/v1/mcp/invoke", Some(&key), &call(&said)).await;
        assert_eq!(invoked.status, StatusCode::OK, "{host}: {}", invoked.text);
        assert_eq!(invoked.json()["result"]["content"][0]["text"], said.as_str(), "{}", invoked.text);
    }
    // A key of another organisation calls its own tools at its own place, and none here.
    let refused = post(&app, DOMAIN, "/v1/mcp/invoke", Some(&foreign), &call("x")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.text);
    let own = post(&app, &app.host, "/v1/mcp/invoke", Some(&foreign), &call("x")).await;
    assert_eq!(own.status, StatusCode::OK, "{}", own.text);
    // The log has the calls of both ways in, as those of one organisation.
    app.work.meter.requests.flush(&app.test.env).await.unwrap();
    assert_eq!(app.test.env.db.count_of("request_log", acme.org_id()).await.unwrap(), 2);
    assert_eq!(app.test.env.db.count_of("request_log", bolt.org_id()).await.unwrap(), 1);
}

#[tokio::test]
async fn ses_08_cookies_are_never_accepted_on_a_domain() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (acme, ..) = two(&app).await;
    let mut browser = app.signed_in(&acme).await;
    let cookies: Vec<String> =
        browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert!(!cookies.is_empty());
    for path in ["/mcp", "/mcp/acme", "/v1/mcp/invoke"] {
        let request = at(DOMAIN, Method::POST, path)
            .header(header::COOKIE, cookies.join("; "))
            .header(header::CONTENT_TYPE, "application/json");
        let answer = app.send(request.body(Body::from(list().to_string())).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.header("set-cookie").is_empty());
    }
    let page = at(DOMAIN, Method::GET, "/connectors").header(header::COOKIE, cookies.join("; "));
    assert_eq!(app.send(page.body(Body::empty()).unwrap()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/connectors").await.status, StatusCode::OK, "the same cookies at home");
}

#[tokio::test]
async fn oam_02_a_domain_has_metadata_of_its_own() {
    let app = TestApp::new(Kind::Sqlite).await;
    two(&app).await;
    for (path, resource) in
        [("", "/mcp"), ("/mcp", "/mcp"), ("/mcp/acme", "/mcp/acme"), ("/mcp/acme/demo", "/mcp/acme/demo")]
    {
        let answer = get(&app, DOMAIN, &format!("{PLACE}{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let document = answer.json();
        assert_eq!(document["resource"], format!("{BASE}{resource}"), "{path}");
        // People sign in at the instance, whatever the domain.
        assert_eq!(document["authorization_servers"], json!(["http://localhost:3000"]));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    for (host, path) in [(DOMAIN, "/mcp/bolt"), (DOMAIN, "/mcp/sse"), ("localhost:3000", "/mcp")] {
        assert_eq!(
            get(&app, host, &format!("{PLACE}{path}")).await.status,
            StatusCode::NOT_FOUND,
            "{host}{path}"
        );
    }
    // The challenge names the document of the host that was asked.
    for (path, of) in [("/mcp", "/mcp"), ("/mcp/acme", "/mcp/acme"), ("/v1/mcp/invoke", "/mcp")] {
        let challenge = post(&app, DOMAIN, path, None, &list()).await;
        assert_eq!(challenge.status, StatusCode::UNAUTHORIZED);
        let wanted = format!("Bearer resource_metadata=\"{BASE}{PLACE}{of}\", scope=\"mcp:call\"");
        assert_eq!(challenge.header("www-authenticate"), wanted, "{path}");
    }
    // Pages of other origins may not ask, those of the instance included (RSV-10).
    for (origin, allowed) in [(BASE, true), ("http://localhost:3000", false), ("https://evil.test", false)] {
        let request = at(DOMAIN, Method::POST, "/mcp").header(header::ORIGIN, origin);
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status == StatusCode::FORBIDDEN, !allowed, "{origin}");
    }
}

#[tokio::test]
async fn rsv_04_tokens_for_a_domain_count_as_long_as_it_is_proven() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (acme, _, bolt, _) = two(&app).await;
    prove(&app, &bolt, "api.bolt.example").await;
    let mut browser = app.signed_in(&acme).await;
    let client = client_of(&app, json!({"grant_types": ["authorization_code", "refresh_token"]})).await;
    let client = text(&client, "client_id");
    let resource = format!("{BASE}/mcp");
    // Somebody else's domain is no resource that this person can name, and neither is one that nobody has proven.
    for bad in [
        "http://api.bolt.example:3000/mcp",
        "http://api.none.example:3000/mcp",
        "https://api.acme.example/mcp",
    ] {
        let asked = browser.get(&crate::oauth::authorize(client, &[("resource", Some(bad))])).await;
        let location = asked.header("location");
        assert!(
            location.contains("error=invalid_target") || location.contains("error=access_denied"),
            "{bad}: {location}"
        );
    }
    let code = code_for(&mut browser, &acme, client, &[("resource", Some(&resource))]).await;
    let given = redeem_for(&app, client, &code, &resource).await;
    assert_eq!(given.status, StatusCode::OK, "{}", given.text);
    let given = given.json();
    let (token, refresh) = (text(&given, "access_token"), text(&given, "refresh_token"));
    app.settle().await;
    for (host, path) in [(DOMAIN, "/mcp"), (DOMAIN, "/mcp/acme"), ("localhost:3000", "/mcp/acme")] {
        assert_eq!(status(&app, host, path, token).await, StatusCode::OK, "{host}{path}");
    }
    for (host, path, code) in [
        ("api.bolt.example", "/mcp", StatusCode::UNAUTHORIZED),
        ("localhost:3000", "/mcp/bolt", StatusCode::UNAUTHORIZED),
        (DOMAIN, "/mcp/bolt", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(status(&app, host, path, token).await, code, "{host}{path}");
    }
    let renew = async |token: &str| {
        let fields = [("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)];
        post_form(&app, "/oauth/token", &fields).await
    };
    let renewed = renew(refresh).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text);
    let renewed = renewed.json();
    // Given up, it is refused as an audience at once, wherever it is shown.
    custom_domain::remove(&app.test.env, &acme.actor().await, None).await.unwrap();
    app.settle().await;
    for token in [token, text(&renewed, "access_token")] {
        assert_eq!(status(&app, "localhost:3000", "/mcp/acme", token).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&app, DOMAIN, "/mcp", token).await, StatusCode::MISDIRECTED_REQUEST);
    }
    let refused = renew(text(&renewed, "refresh_token")).await;
    assert_eq!(
        (refused.status, refused.json()["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("invalid_target"))
    );
    // Proven by somebody else it opens nothing of theirs.
    prove(&app, &app.org("heir").await, DOMAIN).await;
    assert_eq!(status(&app, DOMAIN, "/mcp", token).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn ten_06_the_host_that_a_proxy_tells_counts_from_trusted_proxies_only() {
    let app = TestApp::with(Kind::Sqlite, &[("GATEHOUSE_TRUSTED_PROXIES", "10.0.0.0/8")]).await;
    let (_, key, ..) = two(&app).await;
    let asked = async |peer: &str, host: &str, forwarded: &[&str], path: &str| {
        let peer: IpAddr = peer.parse().unwrap();
        let mut request = at(host, Method::POST, path)
            .extension(Peer((peer, 1).into()))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-api-key", &key);
        for host in forwarded {
            request = request.header("x-forwarded-host", *host);
        }
        app.send(request.body(Body::from(list().to_string())).unwrap()).await.status
    };
    assert_eq!(asked("10.0.0.1", "localhost:3000", &[DOMAIN], "/mcp").await, StatusCode::OK);
    assert_ne!(asked("192.0.2.1", "localhost:3000", &[DOMAIN], "/mcp").await, StatusCode::OK);
    for several in [&[DOMAIN, "x.example"][..], &["api.acme.example, x.example"]] {
        assert_ne!(asked("10.0.0.1", "localhost:3000", several, "/mcp").await, StatusCode::OK);
    }
    // It never leads from a domain to the dashboard.
    assert_eq!(asked("10.0.0.1", DOMAIN, &["localhost:3000"], "/sign-in").await, StatusCode::NOT_FOUND);
    assert_eq!(asked("10.0.0.1", DOMAIN, &["localhost:3000"], "/mcp").await, StatusCode::OK);
}

#[tokio::test]
async fn ten_06_certificates_are_got_for_proven_domains_only() {
    let names = NameServer::start().await;
    let server = names.clone();
    let app =
        TestApp::with_env(Kind::Sqlite, &[("GATEHOUSE_GATEWAY_HOST", "gateway.gate.example")], move |env| {
            *env = server.env(env);
        })
        .await;
    let acme = app.org("acme").await;
    let env = &app.test.env;
    let ask = async |host: &str| {
        let request = Request::get(format!("/internal/tls/ask?domain={host}")).body(Body::empty()).unwrap();
        let answer = metrics::router(app.work.clone()).oneshot(request).await.unwrap();
        let status = answer.status();
        assert!(to_bytes(answer.into_body(), 1024).await.unwrap().is_empty());
        status
    };
    custom_domain::add(env, &acme.actor().await, DOMAIN).await.unwrap();
    app.settle().await;
    assert_eq!(ask(DOMAIN).await, StatusCode::NOT_FOUND, "entered is not proven");
    let shown = custom_domain::page(env, &acme.actor().await).await.unwrap();
    assert_eq!(shown.target, "gateway.gate.example");
    let shown = shown.domain.unwrap();
    names.cname(DOMAIN, "gateway.gate.example");
    names.txt(&shown.record, &shown.value);
    assert!(custom_domain::verify(env, &acme.actor().await).await.unwrap());
    app.settle().await;
    assert_eq!(ask(DOMAIN).await, StatusCode::OK);
    assert_eq!(ask("API.acme.example.").await, StatusCode::OK);
    for other in
        ["", "localhost", "gateway.gate.example", "x.api.acme.example", "acme.example", "api.bolt.example"]
    {
        assert_eq!(ask(other).await, StatusCode::NOT_FOUND, "{other}");
    }
    let nothing = Request::get("/internal/tls/ask").body(Body::empty()).unwrap();
    let answer = metrics::router(app.work.clone()).oneshot(nothing).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    // And never on the listener that everybody reaches.
    let outside = get(&app, &app.host, &format!("/internal/tls/ask?domain={DOMAIN}")).await;
    assert_eq!(outside.status, StatusCode::NOT_FOUND);
    domain::suspension::set(env, acme.org_id(), true).await.unwrap();
    app.settle().await;
    assert_eq!(ask(DOMAIN).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn del_02_a_domain_is_refused_when_its_organisation_is_deleted_or_suspended() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (acme, key, _, foreign) = two(&app).await;
    domain::suspension::set(&app.test.env, acme.org_id(), true).await.unwrap();
    app.settle().await;
    assert_eq!(status(&app, DOMAIN, "/mcp/acme", &key).await, StatusCode::MISDIRECTED_REQUEST);
    domain::suspension::set(&app.test.env, acme.org_id(), false).await.unwrap();
    app.settle().await;
    assert_eq!(status(&app, DOMAIN, "/mcp/acme", &key).await, StatusCode::OK);
    let mut tx = app.test.env.db.write().await.unwrap();
    store::org_ends::begin(&mut tx, acme.org_id(), app.test.env.now(), "digest", "usr_x").await.unwrap();
    tx.commit().await.unwrap();
    app.settle().await;
    for key in [&key, &foreign] {
        assert_eq!(status(&app, DOMAIN, "/mcp/acme", key).await, StatusCode::MISDIRECTED_REQUEST);
    }
    let document = get(&app, DOMAIN, "/.well-known/oauth-protected-resource/mcp/acme").await;
    assert_eq!(document.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn ipa_03_the_allowlist_holds_on_a_domain_before_any_credential() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (acme, key, ..) = two(&app).await;
    let from = |peer: &str, path: &str, key: Option<&str>| {
        let peer: IpAddr = peer.parse().unwrap();
        let mut request = at(DOMAIN, Method::POST, path)
            .extension(Peer((peer, 1).into()))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        request.body(Body::from(list().to_string())).unwrap()
    };
    crate::allowlist::enforce(&app, &acme).await;
    for path in ["/mcp", "/mcp/acme", "/v1/mcp/invoke"] {
        for key in [Some(key.as_str()), None] {
            let answer = app.send(from("198.51.100.9", path, key)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {}", answer.text);
        }
    }
    assert_eq!(app.send(from("203.0.113.7", "/mcp", Some(&key))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_domain_in_use_is_what_clients_are_connected_to_and_the_ordinary_address_is_told() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let mut browser = app.signed_in(&acme).await;
    let ordinary = app.test.env.settings.absolute("/mcp/acme");
    let own = format!("{BASE}/mcp");
    for path in ["/", "/settings/mcp-connections/how-to"] {
        let page = browser.get(path).await;
        assert!(
            page.text.contains(&ordinary) && !page.text.contains("works as well"),
            "{path}: {}",
            page.text
        );
    }
    // Entered is not proven.
    custom_domain::add(&app.test.env, &acme.actor().await, DOMAIN).await.unwrap();
    assert!(!browser.get("/").await.text.contains(&own));
    let waits = browser.get("/settings/domain").await;
    assert!(waits.text.contains("http-equiv=\"refresh\" content=\"30\""), "{}", waits.text);
    custom_domain::remove(&app.test.env, &acme.actor().await, None).await.unwrap();

    prove(&app, &acme, DOMAIN).await;
    for path in ["/", "/settings/mcp-connections/how-to"] {
        let page = browser.get(path).await;
        let (first, second) = (page.text.find(&own), page.text.find(&ordinary));
        assert!(first.is_some() && first < second, "{path}: {first:?} {second:?}");
        assert!(page.text.contains("The address of this instance works as well"), "{path}");
    }
    let helped = browser.post("/api/open_connect_helper", &[("client", "codex")]).await.json();
    assert_eq!(helped["also_at"], json!(ordinary));
    let codex = helped["methods"].as_array().unwrap().iter().find(|one| one["client"] == "codex").unwrap();
    assert!(codex["snippets"][0]["text"].as_str().unwrap().contains(&format!("--url {own} ")), "{codex}");
    let fields = [("name", "ci"), ("access", "all"), ("expires", "never")];
    let made = browser.post("/api/create_api_key", &fields).await.json();
    assert_eq!(made["also_at"], json!(ordinary));
    assert!(
        !browser.get("/settings/domain").await.text.contains("http-equiv"),
        "there is nothing to wait for"
    );
    // What is lost with the plan is not recommended any more.
    let changes = OperatorChanges { plan: Some(Plan::Free), ..OperatorChanges::default() };
    domain::orgs::set_by_operator(&app.test.env, acme.org_id(), changes).await.unwrap();
    let page = browser.get("/").await;
    assert!(page.text.contains(&ordinary) && !page.text.contains(&own), "{}", page.text);
}
