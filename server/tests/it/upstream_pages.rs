//! The way to an authorised connector as a person goes it: pages without scripts, a round to the authorization server and
//! back. In front of a server with faults, and in front of another Gatehouse.

use axum::http::StatusCode;
use domain::{
    connectors,
    testing::TestMember,
    upstream_oauth::config::{self, Input},
};
use model::{
    ConnectorId, Role,
    api_keys::KeyScope,
    credentials::{ClientSource, CredentialKind},
    paths,
};
use serde_json::json;
use server::accept;
use store::Kind;
use tokio::net::TcpListener;

use crate::support::{
    Answer, Browser, TestApp, input_value,
    upstream::{Upstream, redirect_of},
};

/// The link out of a page: where its button leads.
fn link_out(page: &Answer) -> String {
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let tag = page.text.split("<a").find(|tag| tag.contains("external noreferrer"));
    let tag = tag.unwrap_or_else(|| panic!("no link out: {}", page.text));
    let href = tag.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    href.replace("&amp;", "&")
}

/// The path and query of a redirect to the front.
fn back(location: &str) -> String {
    let rest = location.strip_prefix("http://localhost:3000").unwrap_or_else(|| panic!("{location}"));
    assert!(rest.starts_with("/oauth/upstream/callback?"), "{rest}");
    rest.to_owned()
}

async fn add(browser: &mut Browser<'_>, slug: &str, url: &str) -> ConnectorId {
    let fields = [("name", "Upstream"), ("slug", slug), ("url", url), ("description", "")];
    let refused = browser.post("/connectors/new?do=add_connector", &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    assert!(refused.text.contains("Add it and set up the sign-in"), "{}", refused.text);
    let mut fields = fields.to_vec();
    fields.push(("sign_in", "on"));
    let added = browser.post("/connectors/new?do=add_connector", &fields).await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    let path = added.header("location").split('?').next().unwrap().to_owned();
    path.strip_prefix("/connectors/").unwrap().strip_suffix("/credentials").unwrap().parse().unwrap()
}

async fn set(browser: &mut Browser<'_>, id: ConnectorId, kind: &str) {
    let page = paths::connector_credentials(id);
    let fields = [("id", id.to_string()), ("kind", kind.to_owned())];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let saved = browser.post(&format!("{page}?do=put_credentials"), &fields).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    assert_eq!(saved.header("location"), format!("{page}?notice=credentials-saved"));
}

async fn begin(browser: &mut Browser<'_>, id: ConnectorId) -> String {
    let page = paths::connector_credentials(id);
    let asked = browser.post(&format!("{page}?do=begin_authorization"), &[("id", &id.to_string())]).await;
    link_out(&asked)
}

async fn by_hand(kind: Kind) {
    let app = TestApp::new(kind).await;
    let owner = app.org("acme").await;
    let upstream = Upstream::start().await;
    let mut browser = app.signed_in(&owner).await;
    let id = add(&mut browser, "files", &upstream.url).await;
    let page = paths::connector_credentials(id);
    set(&mut browser, id, "authorization_code").await;
    let shown = browser.get(&page).await;
    assert!(shown.text.contains("Not authorised") && shown.text.contains("/oauth/upstream/callback"));

    let location = redirect_of(&app, &begin(&mut browser, id).await).await;
    // Somebody else's browser cannot end it, and it stays good for this one.
    let other = app.test.member(&owner, "dev", Role::Developer).await;
    let mut elsewhere = app.browser();
    let entered = elsewhere.log_in("dev@acme.example", domain::testing::PASSWORD).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", other.user);
    let refused = elsewhere.get(&back(&location)).await;
    assert!(refused.status.is_client_error(), "{}", refused.status);
    assert!(refused.text.contains("not begun in this browser"), "{}", refused.text);
    assert_eq!(app.browser().get(&back(&location)).await.status, StatusCode::SEE_OTHER, "to the log-in");
    let returned = browser.get(&back(&location)).await;
    assert_eq!(returned.status, StatusCode::SEE_OTHER, "{}", returned.text);
    assert_eq!(returned.header("location"), format!("{page}?notice=authorized"));
    let again = browser.get(&back(&location)).await;
    assert!(again.status.is_client_error() && again.text.contains("done already"), "{}", again.text);
    let shown = browser.get(&format!("{page}?notice=authorized")).await;
    for text in
        ["Authorised. Calls work from now on.", "Re-authorise", "Disconnect", "registered by Gatehouse"]
    {
        assert!(shown.text.contains(text), "{text}: {}", shown.text);
    }
    // No secret is on any page.
    let (clients, tokens) = {
        let known = upstream.known();
        (known.clients.clone(), known.access.clone())
    };
    let secrets: Vec<_> = clients.values().flatten().chain(tokens.keys()).collect();
    assert!(secrets.iter().all(|secret| !shown.text.contains(secret.as_str())));

    // It ends: the connector's page and this one say so.
    connectors::test(&app.test.env, &owner.actor().await, id).await.unwrap().unwrap();
    upstream.known().revoke();
    connectors::test(&app.test.env, &owner.actor().await, id).await.unwrap().unwrap_err();
    for page in [page.clone(), paths::connector(id)] {
        let shown = browser.get(&page).await;
        assert!(
            shown.text.contains("Needs re-authorisation") && shown.text.contains("invalid_grant"),
            "{page}"
        );
    }
    let list = browser.get(paths::connectors()).await;
    assert!(list.text.contains("Needs re-authorisation"), "{}", list.text);
    let asked = browser.get(&format!("{page}?disconnect=1")).await;
    assert!(asked.text.contains("Disconnect from this server?"));
    let ended = browser.post(&format!("{page}?do=disconnect"), &[("id", &id.to_string())]).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER, "{}", ended.text);
    assert!(browser.get(&page).await.text.contains("Not authorised"));

    // A viewer looks and changes nothing.
    app.test.member(&owner, "vi", Role::Viewer).await;
    let mut viewer = app.browser();
    viewer.log_in("vi@acme.example", domain::testing::PASSWORD).await;
    let shown = viewer.get(&page).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(
        shown.text.contains("connectors:write") && !shown.text.contains("put_credentials"),
        "{}",
        shown.text
    );
    let refused = viewer.post(&format!("{page}?do=begin_authorization"), &[("id", &id.to_string())]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_is_authorised_without_scripts_on_sqlite() {
    by_hand(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_is_authorised_without_scripts_on_postgres() {
    by_hand(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_authorises_on_a_page_of_their_own() {
    let app = TestApp::new(Kind::Sqlite).await;
    let owner = app.org("acme").await;
    let upstream = Upstream::start().await;
    let mut browser = app.signed_in(&owner).await;
    let empty = browser.get(paths::profile_authorizations()).await;
    assert!(empty.text.contains("Nothing to authorise"), "{}", empty.text);
    let id = add(&mut browser, "files", &upstream.url).await;
    set(&mut browser, id, "per_user").await;
    let page = paths::profile_authorizations();
    assert!(browser.get(page).await.text.contains("Not authorised"));
    let asked = browser.post(&format!("{page}?do=begin_own_authorization"), &[("id", &id.to_string())]).await;
    let location = redirect_of(&app, &link_out(&asked)).await;
    let returned = browser.get(&back(&location)).await;
    assert_eq!(returned.header("location"), format!("{page}?notice=authorized"), "{}", returned.text);
    assert!(browser.get(page).await.text.contains("Authorise again"));
    let ended =
        browser.post(&format!("{page}?do=remove_own_authorization"), &[("id", &id.to_string())]).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER, "{}", ended.text);
    assert!(browser.get(page).await.text.contains("Not authorised"));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_read_documents_know_gatehouse_by_its_own() {
    const BASE: &str = "https://gate.example";
    let app = TestApp::with(Kind::Sqlite, &[("GATEHOUSE_PUBLIC_URL", BASE)]).await;
    let owner = app.org("acme").await;
    let upstream = Upstream::start().await;
    let answer = app.browser().get(paths::upstream_client()).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let id = format!("{BASE}{}", paths::upstream_client());
    let document = answer.json();
    assert_eq!(document["client_id"], id.as_str());
    assert_eq!(document["redirect_uris"], json!([format!("{BASE}{}", paths::upstream_callback())]));
    assert_eq!(document["token_endpoint_auth_method"], "none");
    let new = connectors::NewConnector {
        name: "Files".to_owned(),
        slug: "files".to_owned(),
        description: String::new(),
        url: upstream.url.clone(),
        headers: Vec::new(),
        even_if_unreachable: true,
    };
    let actor = owner.actor().await;
    let connector = connectors::add(&app.test.env, &actor, &new).await.unwrap().id;
    let input = Input { kind: CredentialKind::PerUser, ..Input::default() };
    config::put(&app.test.env, &actor, connector, &input).await.unwrap();
    let shown = config::get(&app.test.env, &owner.actor().await, connector).await.unwrap();
    assert_eq!(shown.client, Some((id, ClientSource::Document)));
    assert_eq!(upstream.known().registrations, 0, "the document comes before registration");
    // Nobody could read it without TLS.
    let plain = TestApp::new(Kind::Sqlite).await;
    assert_eq!(plain.browser().get(paths::upstream_client()).await.status, StatusCode::NOT_FOUND);
}

/// Another Gatehouse, on a socket, with one organisation that has the demo server.
struct Behind {
    app: TestApp,
    owner: TestMember,
    url: String,
    stop: accept::Stop,
}

impl Behind {
    async fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = TestApp::with(kind, &[("GATEHOUSE_PUBLIC_URL", &base)]).await;
        let owner = app.org("beta").await;
        connectors::add_demo(&app.test.env, &owner.actor().await).await.unwrap();
        app.settle().await;
        let stop = accept::Stop::default();
        tokio::spawn(accept::serve(listener, app.front.clone(), accept::Limits::default(), stop.clone()));
        Self { url: format!("{base}/mcp/beta"), app, owner, stop }
    }

    /// What the person does over there: log in, allow it. Where that leads.
    async fn allow(&self, link: &str) -> String {
        let mut browser = self.app.signed_in(&self.owner).await;
        let path = link.strip_prefix(self.url.strip_suffix("/mcp/beta").unwrap()).expect("its own page");
        let asked = browser.get(path).await;
        assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.text);
        let page = browser.get(asked.header("location")).await;
        assert!(page.text.contains("Gatehouse"), "{}", page.text);
        let request = input_value(&page.text, "request").expect("a form");
        let org = self.owner.org_id().to_string();
        let fields = [("request", request.as_str()), ("org", &org), ("decision", "allow"), ("all", "on")];
        let answer = browser.post("/oauth/consent/decision", &fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        answer.header("location").to_owned()
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.stop.accepting.cancel();
    }
}

async fn one_behind_the_other(kind: Kind) {
    let behind = Behind::start(kind).await;
    let app = TestApp::new(kind).await;
    let owner = app.org("acme").await;
    let mut browser = app.signed_in(&owner).await;
    let id = add(&mut browser, "beta", &behind.url).await;
    set(&mut browser, id, "authorization_code").await;
    let link = begin(&mut browser, id).await;
    let location = behind.allow(&link).await;
    let returned = browser.get(&back(&location)).await;
    assert_eq!(returned.status, StatusCode::SEE_OTHER, "{}", returned.text);
    behind.app.settle().await;
    // The first look may have come before the other one knew what it had just given; that is no end.
    app.test.clock.advance(2_000);
    connectors::test(&app.test.env, &owner.actor().await, id).await.unwrap().expect("it answers");
    app.settle().await;
    let key = app.key(&owner, KeyScope::All).await.secret;
    let echo = async || {
        let params = json!({"name": "beta__demo__echo", "arguments": {"text": "through both"}});
        app.rpc("/mcp/acme", &key, "tools/call", params).await
    };
    let answer = echo().await;
    assert!(answer.text.contains("through both") && !answer.text.contains("error"), "{}", answer.text);
    // Two hours later: its access token has ended on both sides, and one refresh does for all.
    for clock in [&app.test.clock, &behind.app.test.clock] {
        clock.advance(2 * 60 * 60 * 1000);
    }
    app.settle().await;
    behind.app.settle().await;
    for answer in futures_util::future::join_all((0..40).map(|_| echo())).await {
        assert!(answer.text.contains("through both"), "{}", answer.text);
    }
    let mut tx = behind.app.test.env.db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, behind.owner.org_id(), 50).await.unwrap();
    drop(tx);
    assert!(lines.iter().all(|line| line.action != "oauth.refresh_reuse_detected"));
    // Over there the connection is revoked: here the connector says so.
    let connection =
        domain::connections::list(&behind.app.test.env, &behind.owner.actor().await).await.unwrap();
    assert_eq!(connection.len(), 1);
    domain::connections::revoke(&behind.app.test.env, &behind.owner.guarded().await, connection[0].id)
        .await
        .unwrap();
    behind.app.settle().await;
    let answer = echo().await.json();
    assert_eq!(answer["error"]["data"]["code"], "upstream_needs_authorization", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("invalid_grant"), "{answer}");
    app.settle().await;
    let listed = app.rpc("/mcp/acme", &key, "tools/list", json!({})).await;
    assert!(listed.text.contains("beta__demo__echo"), "the tools stay: {}", listed.text);
    // And once it is authorised again, calls work.
    let location = behind.allow(&begin(&mut browser, id).await).await;
    assert_eq!(browser.get(&back(&location)).await.status, StatusCode::SEE_OTHER);
    app.settle().await;
    behind.app.settle().await;
    assert!(echo().await.text.contains("through both"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gatehouse_behind_a_gatehouse_on_sqlite() {
    one_behind_the_other(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gatehouse_behind_a_gatehouse_on_postgres() {
    one_behind_the_other(Kind::Postgres).await;
}
