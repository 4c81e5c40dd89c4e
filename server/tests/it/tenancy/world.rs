//! An organisation that has one of everything, with the ids of it.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use domain::{
    exports::Scribe,
    pin, roles,
    testing::{PASSWORD, TestMember},
    webhooks::deliver::Courier,
};
use model::{Role, TrustedBrowserId, api_keys::KeyScope};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    completeness,
    oauth::{authorize, client_of},
    support::{
        Answer, Browser, TestApp,
        upstream::{Upstream, redirect_of},
    },
    tokens,
};

/// What is made around both organisations.
pub(super) struct Outside<'a> {
    pub(super) upstream: &'a Upstream,
    /// An identity provider.
    pub(super) issuer: &'a str,
}

/// An organisation with one of everything.
pub(super) struct World {
    pub(super) owner: TestMember,
    /// The id of each thing, by the name that the tables have for it.
    pub(super) ids: BTreeMap<&'static str, String>,
    /// What lets programs in: an API key, and the secret of its OAuth client. Its access token is among the ids.
    pub(super) key: String,
    pub(super) client_secret: String,
}

async fn done(browser: &mut Browser<'_>, function: &str, fields: &[(&str, &str)]) -> Answer {
    let answer = browser.post(&format!("/api/{function}"), fields).await;
    assert!(
        answer.status.is_success() || answer.status.is_redirection(),
        "{function}: {} {}",
        answer.status,
        answer.text
    );
    answer
}

/// The text at a place of an answer: names of objects and numbers of lists.
fn at(answer: &Value, place: &str) -> String {
    let found = answer.pointer(place).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no {place} in {answer}")).to_owned()
}

/// What each of the two organisations has of its own, so that nothing is told apart by chance.
fn range(slug: &str) -> &'static str {
    if slug == super::VICTIM { "198.18.7.0/24" } else { "198.18.8.0/24" }
}

impl World {
    pub(super) async fn furnished(app: &TestApp, slug: &'static str, outside: &Outside<'_>) -> Self {
        let env = &app.test.env;
        let owner = app.org(slug).await;
        let mut browser = app.signed_in(&owner).await;
        let mut ids = BTreeMap::from([
            ("org", owner.org_id().to_string()),
            ("slug", slug.to_owned()),
            ("owner", owner.user.to_string()),
            ("owner_email", format!("owner@{slug}.example")),
            ("issuer", outside.issuer.to_owned()),
            ("range", range(slug).to_owned()),
        ]);

        // What hears of everything else comes first.
        let webhook = crate::webhooks::add(env, owner.org_id(), "http://127.0.0.1:9/hook").await;
        ids.insert("webhook", webhook.webhook.id.to_string());
        people(app, &owner, &mut browser, &mut ids).await;
        connectors(app, &owner, &mut browser, outside, &mut ids).await;
        let (key, client_secret) = keys(app, &owner, &mut browser, &mut ids).await;
        providers(app, &owner, &mut browser, outside, &mut ids).await;

        done(&mut browser, "add_domain", &[("host", &format!("mcp.{slug}.example"))]).await;
        ids.insert("host", format!("mcp.{slug}.example"));
        done(&mut browser, "add_allowed_range", &[("range", range(slug)), ("note", "office")]).await;
        done(&mut browser, "set_activity", &[("days", "30"), ("thresholds", "80"), ("bodies", "on")]).await;
        done(
            &mut browser,
            "put_audit_stream",
            &[("kind", "json_lines"), ("url", "http://127.0.0.1:9/"), ("enabled", "on")],
        )
        .await;
        done(&mut browser, "create_export", &[("parts[0]", "members"), ("format", "json")]).await;
        assert!(Scribe::new(env.clone()).run_due().await.unwrap());
        let exports = done(&mut browser, "load_exports", &[("view", "")]).await.json();
        ids.insert("export", at(&exports, "/exports/0/id"));

        // A call, and what is counted of it.
        app.settle().await;
        let said = json!({"name": "demo__echo", "arguments": {"text": "hello"}});
        app.rpc(&format!("/mcp/{slug}"), &key, "tools/call", said).await;
        app.work.meter.requests.flush(env).await.unwrap();
        app.work.meter.flush(env).await.unwrap();
        env.journal.flush(env).await.unwrap();
        let log = done(&mut browser, "load_activity", &[("search", "")]).await.json();
        ids.insert("request", at(&log, "/lines/0/id"));
        let log = done(&mut browser, "load_audit", &[("search", "")]).await.json();
        ids.insert("event", at(&log, "/events/0/id"));
        Courier::new(env.clone()).deliver_due().await.unwrap();
        let search = format!("webhook={}", ids["webhook"]);
        let deliveries = done(&mut browser, "load_deliveries", &[("search", &search)]).await.json();
        ids.insert("delivery", at(&deliveries, "/Many/deliveries/0/id"));
        app.settle().await;
        Self { owner, ids, key, client_secret }
    }
}

/// Members, an invitation, a role, and what somebody has to log in with.
async fn people(
    app: &TestApp,
    owner: &TestMember,
    browser: &mut Browser<'_>,
    ids: &mut BTreeMap<&'static str, String>,
) {
    let (env, slug) = (&app.test.env, owner.org.slug.as_str());
    let input = roles::Input {
        name: "Night shift".to_owned(),
        description: format!("Of {slug}"),
        permissions: vec!["logs:read".to_owned()],
    };
    let role = roles::create(env, &owner.actor().await, &input).await.expect("a role");
    ids.insert("role", role.to_string());
    app.test.member(owner, "night", role).await;
    let dev = app.test.member(owner, "dev", Role::Developer).await;
    ids.insert("member", dev.user.to_string());
    ids.insert("member_email", format!("dev@{slug}.example"));
    let mut theirs = app.browser();
    theirs.log_in(&format!("dev@{slug}.example"), PASSWORD).await;
    let sessions = done(&mut theirs, "load_sessions", &[]).await.json();
    ids.insert("session", at(&sessions, "/sessions/0/id"));
    let pat = app.test.member(owner, "pat", Role::Admin).await;
    app.test.passkey(&pat.ctx).await;
    let proven = app.test.prove(&pat.ctx).await;
    pin::set(&pat.ctx, &proven, pin::Old::Pin(""), "483920", "483920").await.expect("a PIN");
    let trusted = store::trusted_browsers::TrustedBrowser {
        id: TrustedBrowserId::from_uuid(env.uuid()),
        token_hash: Sha256::digest(slug).to_vec(),
        address: String::new(),
        user_agent: String::new(),
        created_at: env.now(),
        last_used_at: None,
        expires_at: i64::MAX,
    };
    let mut tx = env.db.write().await.unwrap();
    ids.insert("passkey", store::passkeys::list(&mut tx, pat.user).await.unwrap()[0].id.to_string());
    store::trusted_browsers::insert(&mut tx, pat.user, &trusted).await.unwrap();
    tx.commit().await.unwrap();
    ids.insert("browser", trusted.id.to_string());
    done(browser, "invite_members", &[("emails", &format!("guest@{slug}.example")), ("role", "viewer")])
        .await;
    let invited = done(browser, "load_invitations", &[]).await.json();
    ids.insert("invitation", at(&invited, "/open/0/id"));
}

/// A demo server, one behind secret headers, and two that were authorised: for all, and by a member for themselves.
async fn connectors(
    app: &TestApp,
    owner: &TestMember,
    browser: &mut Browser<'_>,
    outside: &Outside<'_>,
    ids: &mut BTreeMap<&'static str, String>,
) {
    let slug = owner.org.slug.as_str();
    done(browser, "add_demo_connector", &[]).await;
    let demo = completeness::connector(app, owner, "demo").await.to_string();
    done(browser, "set_tool_enabled", &[("id", &demo), ("tool", "time"), ("enabled", "false")]).await;
    let tool =
        [("id", demo.as_str()), ("tool", "echo"), ("alias", ""), ("description", "x"), ("timeout", "")];
    done(browser, "update_tool", &tool).await;
    ids.insert("connector", demo);
    for (thing, kind, begin) in [
        ("sealed", "", ""),
        ("authorised", "authorization_code", "begin_authorization"),
        ("linked", "per_user", "begin_own_authorization"),
    ] {
        let name = format!("{slug}-{thing}");
        let mut fields = vec![
            ("name", name.as_str()),
            ("slug", name.as_str()),
            ("url", outside.upstream.url.as_str()),
            ("description", ""),
            ("keep", "on"),
        ];
        if kind.is_empty() {
            fields.extend([("header_name[0]", "X-Token"), ("header_value[0]", "a secret")]);
        } else {
            fields.push(("sign_in", "on"));
        }
        done(browser, "add_connector", &fields).await;
        let id = completeness::connector(app, owner, &name).await.to_string();
        if !kind.is_empty() {
            done(browser, "put_credentials", &[("id", &id), ("kind", kind)]).await;
            let link = done(browser, begin, &[("id", &id)]).await.json();
            let location = redirect_of(app, &at(&link, "/url")).await;
            let back = location.strip_prefix("http://localhost:3000").expect("back to here");
            let back = browser.get(back).await;
            assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.text);
            // One more that was begun, and waits.
            let link = done(browser, begin, &[("id", &id)]).await.json();
            let url: url::Url = at(&link, "/url").parse().unwrap();
            let state = url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
            ids.insert("state", state);
        }
        ids.insert(thing, id);
        if thing == "authorised" {
            ids.insert("tool_slug", name);
        }
    }
}

/// API keys, OAuth clients, and a connection with an alarm. Answers with the secrets of key and client.
async fn keys(
    app: &TestApp,
    owner: &TestMember,
    browser: &mut Browser<'_>,
    ids: &mut BTreeMap<&'static str, String>,
) -> (String, String) {
    let (slug, demo) = (owner.org.slug.as_str(), ids["connector"].clone());
    let key = app.key(owner, KeyScope::Only(vec![demo.parse().unwrap()])).await;
    ids.insert("key", key.key.id.to_string());
    let fields =
        [("name", "Robot"), ("kind", "machine"), ("access", "all"), ("proof", "client_secret_basic")];
    let made = done(browser, "create_oauth_client", &fields).await.json();
    ids.insert("client", at(&made, "/made/client/id"));

    let granted = tokens::token_for(app, owner, &format!("/mcp/{slug}"), "mcp:call offline_access").await;
    let connection = {
        let mut tx = app.test.env.db.read().await.unwrap();
        store::connections::list(&mut tx, owner.org_id()).await.unwrap()[0].id
    };
    completeness::alarm(app, owner, connection).await;
    ids.insert("connection", connection.to_string());
    // A request for another that waits to be decided.
    let client = client_of(app, json!({})).await;
    let resource = format!("http://{}/mcp/{slug}", crate::support::HOST);
    let asked = browser.get(&authorize(&at(&client, "/client_id"), &[("resource", Some(&resource))])).await;
    let waiting = asked.header("location").strip_prefix("/oauth/consent?request=").expect("a request");
    ids.insert("consent", waiting.to_owned());
    ids.insert("app", at(&client, "/client_id"));
    ids.insert("token", at(&granted, "/access_token"));
    ids.insert("refresh", at(&granted, "/refresh_token"));
    (key.secret, at(&made, "/made/secret"))
}

/// Identity providers for tokens and for people, with a domain and somebody who came by it.
async fn providers(
    app: &TestApp,
    owner: &TestMember,
    browser: &mut Browser<'_>,
    outside: &Outside<'_>,
    ids: &mut BTreeMap<&'static str, String>,
) {
    let slug = owner.org.slug.as_str();
    let audience = format!("http://localhost:3000/mcp/{slug}");
    let fields = [("issuer", outside.issuer), ("audience", &audience), ("accept[]", "tokens")];
    done(browser, "put_idp", &fields).await;
    let fields = [
        ("issuer", outside.issuer),
        ("client_id", slug),
        ("client_secret", "a secret"),
        ("default_role", "member"),
        ("mode", "optional"),
    ];
    done(browser, "put_sso_login", &fields).await;
    done(browser, "test_sso_login", &[]).await;
    done(browser, "add_sso_domain", &[("domain", &format!("{slug}.example"))]).await;
    let mut tx = app.test.env.db.write().await.unwrap();
    let domains = store::sso_domains::list(&mut tx, owner.org_id()).await.unwrap();
    ids.insert("sso_domain", domains[0].id.to_string());
    let member = ids["member"].parse().unwrap();
    store::sso::insert_identity(&mut tx, owner.org_id(), (outside.issuer, slug), member, 0).await.unwrap();
    tx.commit().await.unwrap();
}

/// Tables of organisations in which nothing of a furnished one stands, and why.
const EMPTY: &[(&str, &str)] = &[
    ("audit_checkpoints", "the job of each hour makes them"),
    ("rate_buckets", "what is counted, for minutes"),
    ("revoked_tokens", "tokens that died before their time"),
    ("usage_alerts", "that most of a month's calls were made"),
];

impl World {
    /// Everything that the database holds of it, by table.
    pub(super) async fn rows(&self, app: &TestApp) -> BTreeMap<String, BTreeSet<String>> {
        let of_org = format!("|org_id={}", self.ids["org"]);
        let mut found = BTreeMap::new();
        for (table, rows) in app.test.env.db.rows().await.unwrap() {
            let theirs = rows.into_iter().filter(|row| {
                let whole = format!("{row}|");
                if row.contains("|org_id=") && !row.contains("|org_id=NULL") {
                    whole.contains(&format!("{of_org}|"))
                } else {
                    self.marks().any(|mark| row.contains(mark))
                }
            });
            found.insert(table, theirs.collect());
        }
        found
    }

    /// What stands for it and for nothing else.
    pub(super) fn marks(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().filter(|(name, _)| **name != "issuer").map(|(_, id)| id.as_str())
    }

    /// That it really has one of everything: each table of organisations holds something of it.
    pub(super) async fn check_furniture(&self, app: &TestApp) {
        let columns = app.test.env.db.describe_columns().await.unwrap();
        let rows = self.rows(app).await;
        let tables = columns.iter().filter(|column| column.column == "org_id").map(|column| &column.table);
        let empty: BTreeSet<&str> =
            tables.filter(|table| rows[*table].is_empty()).map(String::as_str).collect();
        let known: BTreeSet<&str> = EMPTY.iter().map(|(table, _)| *table).collect();
        assert_eq!(empty, known, "a table of which the organisation has nothing");
    }
}
