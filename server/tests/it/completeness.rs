//! Every act is one event (AUD-02): a walk over all server functions that are linked in. What one does stands in
//! [`app::functions`]; here each is called once by somebody who may, once by somebody who may not and once by nobody.

mod others;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};

use app::functions::{self, Does, FUNCTIONS};
use axum::http::StatusCode;
use domain::{
    mfa,
    testing::{PASSWORD, TestMember, token_of},
};
use futures_util::FutureExt as _;
use model::{ConnectionId, ConnectorId, OrgId, Role};
use serde_json::Value;
use store::Kind;

use crate::{
    idp::Provider,
    support::{
        Answer, Browser, TestApp,
        upstream::{Upstream, redirect_of},
    },
};

/// A second good password.
const OTHER: &str = "an0ther-long-passphrase";

/// How many events each chain has.
type Lengths = BTreeMap<Option<OrgId>, usize>;

async fn chain(app: &TestApp, org: Option<OrgId>) -> Vec<(String, String)> {
    let mut tx = app.test.env.db.read().await.unwrap();
    store::audit::list_actions(&mut tx, org).await.unwrap()
}

async fn lengths(app: &TestApp) -> Lengths {
    let orgs = {
        let mut tx = app.test.env.db.read().await.unwrap();
        store::audit_chain::list_days(&mut tx).await.unwrap()
    };
    let mut lengths = Lengths::new();
    for org in [None].into_iter().chain(orgs.into_iter().map(|(org, ..)| Some(org))) {
        lengths.insert(org, chain(app, org).await.len());
    }
    lengths
}

/// What Gatehouse notices by itself, beside what somebody does.
const NOTICED: &[&str] = &["mcp.health_changed", "mcp.tools_changed"];

/// The events since then, in whichever log.
async fn since(app: &TestApp, before: &Lengths) -> Vec<(String, String)> {
    let mut events = Vec::new();
    for (org, _) in lengths(app).await {
        let known = before.get(&org).copied().unwrap_or_default();
        let new = chain(app, org).await.into_iter().skip(known);
        events.extend(new.filter(|(action, _)| !NOTICED.contains(&action.as_str())));
    }
    events
}

/// Which functions were called, and by whom.
#[derive(Default)]
struct Called {
    well: Mutex<BTreeSet<&'static str>>,
    refused: Mutex<BTreeSet<&'static str>>,
    /// What was wrong: all of it is told at the end.
    problems: Mutex<Vec<String>>,
}

impl Called {
    fn expect(&self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem());
        }
    }
}

struct Walk<'a> {
    app: &'a TestApp,
    /// A member of the organisation who may look at nearly everything and change nothing.
    viewer: Browser<'a>,
    nobody: Browser<'a>,
    called: Arc<Called>,
}

impl<'a> Walk<'a> {
    async fn new(app: &'a TestApp, of: &TestMember, called: &Arc<Called>) -> Self {
        app.test.member(of, "viewer", Role::Viewer).await;
        let mut viewer = app.browser();
        viewer.address = Some("203.0.113.9".parse().unwrap());
        let email = format!("viewer@{}.example", of.org.slug);
        assert_eq!(viewer.log_in(&email, PASSWORD).await.status, StatusCode::SEE_OTHER);
        Self { app, viewer, nobody: app.browser(), called: Arc::clone(called) }
    }

    /// Calls a function as nobody and as somebody who may not, if it is one for members of the organisation, and then as
    /// somebody who may. Each is looked for in the logs.
    async fn call(&mut self, by: &mut Browser<'_>, name: &str, fields: &[(&str, &str)]) -> Answer {
        let function = functions::find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let path = format!("/api/{name}");
        if let Does::ForOrg(events) = function.does {
            let before = lengths(self.app).await;
            let answer = self.nobody.post(&path, fields).await;
            let noted = since(self.app, &before).await;
            self.called.expect(answer.status == StatusCode::UNAUTHORIZED && noted.is_empty(), || {
                format!("{name} by nobody: {} {noted:?}", answer.text)
            });
            let answer = self.viewer.post(&path, fields).await;
            let refused = [(events[0].to_owned(), "denied".to_owned())];
            // Twice the same in a short while is counted, not written again.
            let known =
                !self.called.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(function.name);
            let noted = since(self.app, &before).await;
            let once = noted == refused || (known && noted.is_empty());
            self.called.expect(answer.status == StatusCode::FORBIDDEN && once, || {
                format!("{name} by a viewer: {} {} {noted:?}", answer.status, answer.text)
            });
            // Other functions of the same event are counted with this one.
            self.app.test.clock.advance(11 * 60 * 1000);
        }
        self.well(by, name, fields).await
    }

    /// Calls a function as somebody who may.
    async fn well(&mut self, by: &mut Browser<'_>, name: &str, fields: &[(&str, &str)]) -> Answer {
        let function = functions::find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let before = lengths(self.app).await;
        let answer = by.post(&format!("/api/{name}"), fields).await;
        let noted = since(self.app, &before).await;
        let mut actions: Vec<&str> = noted.iter().map(|(action, _)| action.as_str()).collect();
        actions.sort_unstable();
        let complete = match function.does {
            Does::Nothing(_) => actions.is_empty(),
            Does::ForOrg(events) | Does::ForPerson(events) => {
                actions.len() == 1 && events.contains(&actions[0])
            }
            Does::ForAnybody(events) => {
                let mut wanted = events.to_vec();
                wanted.sort_unstable();
                actions == wanted
            }
        };
        let works = answer.status.is_success() || answer.status.is_redirection();
        let well = noted.iter().all(|(_, result)| result == "ok");
        self.called.expect(works && well && complete, || {
            let (status, text) = (answer.status, &answer.text);
            format!("{name}, which does {:?}: {status} {text} {noted:?}", function.does)
        });
        self.called.well.lock().unwrap_or_else(PoisonError::into_inner).insert(function.name);
        answer
    }

    /// Something that goes wrong for want of a proof: one event, which says so.
    async fn wrong(&self, by: &mut Browser<'_>, name: &str, fields: &[(&str, &str)], event: &str) {
        let before = lengths(self.app).await;
        let answer = by.post(&format!("/api/{name}"), fields).await;
        let noted = since(self.app, &before).await;
        let once = noted == [(event.to_owned(), "failed".to_owned())];
        self.called.expect(answer.status.is_client_error() && once, || {
            format!("{name}, done wrongly: {} {} {noted:?}", answer.status, answer.text)
        });
    }

    /// The token of the link in the newest mail that has one.
    async fn link(&self) -> String {
        let mails = self.app.test.mails().await;
        let with_link =
            mails.iter().rev().find(|mail| mail.text.lines().any(|line| line.starts_with("http")));
        token_of(with_link.expect("a mail with a link"))
    }
}

/// Whether a person confirms again who they are, because the clock went on.
async fn prove(browser: &mut Browser<'_>) {
    let answer = browser.post("/api/confirm_identity", &[("password", PASSWORD), ("next", "/")]).await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

pub(crate) async fn connector(app: &TestApp, of: &TestMember, slug: &str) -> ConnectorId {
    let mut tx = app.test.env.db.read().await.unwrap();
    let all = store::connectors::list(&mut tx, of.org_id()).await.unwrap();
    all.into_iter().find(|row| row.slug.as_str() == slug).expect("the connector").id
}

async fn connection(app: &TestApp, of: &TestMember) -> ConnectionId {
    let grant = app.test.grant(of, "client", "mcp:call").await;
    let mut tx = app.test.env.db.read().await.unwrap();
    store::oauth_grants::find(&mut tx, of.org_id(), grant.grant).await.unwrap().unwrap().connection
}

pub(crate) async fn alarm(app: &TestApp, of: &TestMember, connection: ConnectionId) {
    let alert = store::connection_alerts::Alert {
        connection,
        ended: false,
        address: String::new(),
        user_agent: String::new(),
        at: app.test.env.now(),
    };
    let mut tx = app.test.env.db.write().await.unwrap();
    store::connection_alerts::put(&mut tx, of.org_id(), &alert).await.unwrap();
    tx.commit().await.unwrap();
}

fn id_in(answer: &Answer, at: &[&str]) -> String {
    let mut value = &answer.json();
    for name in at {
        value = &value[name];
    }
    value.as_str().unwrap_or_else(|| panic!("no {at:?} in {}", answer.text)).to_owned()
}

async fn keys(walk: &mut Walk<'_>, owner: &mut Browser<'_>) {
    let made =
        walk.call(owner, "create_api_key", &[("name", "ci"), ("access", "all"), ("expires", "never")]).await;
    let id = id_in(&made, &["made", "key", "id"]);
    walk.call(owner, "rename_api_key", &[("id", &id), ("name", "ci-2")]).await;
    walk.call(owner, "set_api_key_enabled", &[("id", &id), ("enabled", "false")]).await;
    let fields = [("id", id.as_str()), ("name", "ci-3"), ("access", "all"), ("expires", "keep")];
    walk.call(owner, "update_api_key", &fields).await;
    walk.call(owner, "set_key_settings", &[("visibility", "copyable")]).await;
    let made = walk
        .call(owner, "create_api_key", &[("name", "kept"), ("access", "all"), ("expires", "never")])
        .await;
    let kept = id_in(&made, &["made", "key", "id"]);
    walk.call(owner, "copy_api_key", &[("id", &kept)]).await;
    walk.call(owner, "open_connect_helper", &[]).await;
    walk.call(owner, "delete_api_key", &[("id", &id)]).await;
}

async fn connections(walk: &mut Walk<'_>, owner: &mut Browser<'_>, member: &TestMember) {
    let one = connection(walk.app, member).await;
    let id = one.to_string();
    alarm(walk.app, member, one).await;
    walk.call(owner, "dismiss_alert", &[("connection", &id)]).await;
    walk.call(owner, "dismiss_own_alert", &[("connection", &id)]).await;
    let prefix = {
        let mut tx = walk.app.test.env.db.read().await.unwrap();
        store::connections::find(&mut tx, member.org_id(), one).await.unwrap().unwrap().key_prefix
    };
    walk.call(owner, "regenerate_connection", &[("id", &id), ("prefix", &prefix)]).await;
    walk.call(owner, "revoke_connection", &[("id", &id)]).await;
    let id = connection(walk.app, member).await.to_string();
    walk.call(owner, "revoke_own_connection", &[("id", &id)]).await;
}

async fn connectors(walk: &mut Walk<'_>, owner: &mut Browser<'_>, member: &TestMember) {
    walk.call(owner, "add_demo_connector", &[]).await;
    let demo = connector(walk.app, member, "demo").await.to_string();
    let id = ("id", demo.as_str());
    walk.call(owner, "set_connector_enabled", &[id, ("enabled", "false")]).await;
    walk.call(owner, "set_connector_enabled", &[id, ("enabled", "true")]).await;
    walk.call(owner, "test_connector", &[id]).await;
    walk.call(owner, "set_tool_enabled", &[id, ("tool", "time"), ("enabled", "false")]).await;
    walk.call(owner, "run_tool", &[("tool", "demo/echo"), ("names[0]", "text"), ("args[0]", "hello")]).await;
    let fields = [id, ("tool", "echo"), ("alias", "say"), ("description", ""), ("timeout", "")];
    walk.call(owner, "update_tool", &fields).await;
    let tool = owner.post("/api/load_tool", &[("of", &format!("{demo}:echo"))]).await;
    let fingerprint = id_in(&tool, &["detail", "fingerprint"]);
    let fields = [id, ("tool", "echo"), ("fingerprint", fingerprint.as_str()), ("approve", "true")];
    walk.call(owner, "review_tool", &fields).await;
    walk.call(owner, "set_tool_policy", &[id, ("enabled", "true")]).await;
    walk.call(owner, "set_connector_prefix", &[id, ("enabled", "false")]).await;

    let upstream = Upstream::start().await;
    let fields = [
        ("name", "Files"),
        ("slug", "files"),
        ("url", upstream.url.as_str()),
        ("description", ""),
        ("sign_in", "on"),
    ];
    walk.call(owner, "add_connector", &fields).await;
    let files = connector(walk.app, member, "files").await.to_string();
    let id = ("id", files.as_str());
    let fields =
        [id, ("name", "Files 2"), ("url", upstream.url.as_str()), ("description", ""), ("keep", "on")];
    walk.call(owner, "update_connector", &fields).await;
    walk.well(owner, "set_tool_policy", &[id, ("enabled", "true")]).await;
    for (kind, begin, end) in [
        ("authorization_code", "begin_authorization", "disconnect"),
        ("per_user", "begin_own_authorization", "remove_own_authorization"),
    ] {
        walk.call(owner, "put_credentials", &[id, ("kind", kind)]).await;
        let link = walk.call(owner, begin, &[id]).await;
        let location = redirect_of(walk.app, &id_in(&link, &["url"])).await;
        let before = lengths(walk.app).await;
        let back = owner.get(location.strip_prefix("http://localhost:3000").expect("back to here")).await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.text);
        let noted = since(walk.app, &before).await;
        let given = noted.iter().filter(|(action, _)| action == "mcp.authorized").count();
        walk.called.expect(given == 1, || format!("{begin}: {noted:?}"));
        if kind == "authorization_code" {
            // Seen for the first time: in quarantine they wait to be approved.
            owner.post("/api/test_connector", &[id]).await;
            walk.call(owner, "approve_new_tools", &[id]).await;
        }
        walk.well(owner, end, &[id]).await;
    }
    walk.call(owner, "delete_connector", &[id, ("confirm", "files")]).await;
}

async fn clients(walk: &mut Walk<'_>, owner: &mut Browser<'_>) {
    let fields =
        [("name", "Robot"), ("kind", "machine"), ("access", "all"), ("proof", "client_secret_basic")];
    let made = walk.call(owner, "create_oauth_client", &fields).await;
    let id = id_in(&made, &["made", "client", "id"]);
    walk.call(owner, "rotate_oauth_client", &[("id", &id), ("overlap", "1h")]).await;
    walk.call(owner, "update_oauth_client", &[("id", &id), ("name", "Robot 2"), ("access", "all")]).await;
    walk.call(owner, "delete_oauth_client", &[("id", &id), ("confirm", "Robot 2")]).await;
    walk.call(owner, "set_oauth_settings", &[("days", "7"), ("reuse", "revoke")]).await;
}

async fn provider(walk: &mut Walk<'_>, owner: &mut Browser<'_>) {
    let provider = Provider::start("0").await;
    let fields = [
        ("issuer", provider.issuer.as_str()),
        ("audience", "http://localhost:3000/mcp/acme"),
        ("accept[]", "tokens"),
    ];
    walk.call(owner, "put_idp", &fields).await;
    walk.call(owner, "set_idp_enabled", &[("enabled", "false")]).await;
    walk.call(owner, "test_idp_token", &[("token", "a.b.c")]).await;
    walk.call(owner, "add_sso_domain", &[("domain", "acme.example")]).await;
    let domain = {
        let org = domain::orgs::find_by_slug(&walk.app.test.env, "acme").await.unwrap().id;
        let mut tx = walk.app.test.env.db.read().await.unwrap();
        store::sso_domains::list(&mut tx, org).await.unwrap()[0].id.to_string()
    };
    walk.call(owner, "remove_sso_domain", &[("id", &domain)]).await;
    walk.call(owner, "delete_idp", &[("understood", "on")]).await;
    walk.call(owner, "add_domain", &[("host", "mcp.acme.example")]).await;
    walk.call(owner, "remove_domain", &[("host", "mcp.acme.example")]).await;
}

async fn organisation(walk: &mut Walk<'_>, owner: &mut Browser<'_>) {
    walk.call(owner, "update_org", &[("name", "Acme 2"), ("description", "")]).await;
    walk.call(owner, "dismiss_onboarding", &[]).await;
    walk.call(owner, "refresh_activity", &[]).await;
    walk.call(owner, "set_activity", &[("days", "5"), ("thresholds", "50, 90")]).await;
    walk.call(owner, "set_session_timeout", &[("minutes", "600")]).await;
    walk.call(owner, "set_theme", &[("theme", "dark"), ("next", "/")]).await;
    walk.call(owner, "add_allowed_range", &[("range", "203.0.113.0/24"), ("note", "")]).await;
    walk.call(owner, "add_vendor_ranges", &[("vendor", "anthropic")]).await;
    walk.call(owner, "turn_on_allowlist", &[]).await;
    walk.well(owner, "keep_allowlist", &[]).await;
    walk.call(owner, "turn_off_allowlist", &[]).await;
    walk.call(owner, "remove_allowed_range", &[("range", "203.0.113.0/24")]).await;
}

async fn team(walk: &mut Walk<'_>, owner: &mut Browser<'_>, member: &TestMember) {
    let app = walk.app;
    let dev = app.test.member(member, "dev", Role::Developer).await.user.to_string();
    walk.call(owner, "set_member_role", &[("id", &dev), ("role", "member")]).await;
    walk.call(owner, "put_role", &[("name", "Scouts"), ("permissions[0]", "team:invite")]).await;
    let listed = owner.post("/api/load_roles", &[]).await;
    let role = listed.json()["custom"][0]["role"]["key"].as_str().expect("its key").to_owned();
    walk.well(owner, "put_role", &[("id", &role), ("name", "Scouts"), ("permissions[0]", "team:read")]).await;
    walk.call(owner, "delete_role", &[("id", &role)]).await;
    walk.call(owner, "remove_member", &[("id", &dev)]).await;
    let open = |email: &'static str| [("emails", email), ("role", "viewer")];
    walk.call(owner, "invite_members", &open("one@x.example")).await;
    let listed = owner.post("/api/load_invitations", &[]).await;
    let id = listed.json()["open"][0]["id"].as_str().unwrap_or_else(|| panic!("{}", listed.text)).to_owned();
    walk.call(owner, "renew_invitation", &[("id", &id)]).await;
    walk.call(owner, "withdraw_invitation", &[("id", &id)]).await;

    app.test.mails().await;
    walk.well(owner, "invite_members", &open("two@x.example")).await;
    let token = walk.link().await;
    let mut two = app.browser();
    let csrf = two.form_token(&format!("/invite/{token}")).await;
    let fields = [("token", token.as_str()), ("csrf", csrf.as_str()), ("name", "Two"), ("password", OTHER)];
    walk.well(&mut two, "accept_as_new", &fields).await;
    walk.well(&mut two, "leave_org", &[("org", &member.org_id().to_string())]).await;

    walk.well(owner, "invite_members", &open("two@x.example")).await;
    let token = walk.link().await;
    let csrf = two.form_token(&format!("/invite/{token}")).await;
    walk.well(&mut two, "accept_invitation", &[("token", &token), ("csrf", &csrf)]).await;
    walk.well(owner, "invite_members", &open("three@x.example")).await;
    let token = walk.link().await;
    walk.well(&mut two, "switch_account", &[("token", &token)]).await;
    let mut three = app.browser();
    let csrf = three.form_token(&format!("/invite/{token}")).await;
    walk.well(&mut three, "decline_invitation", &[("token", &token), ("csrf", &csrf)]).await;
}

/// A stream to a receiver that is not there: the test says so, and is an event all the same.
async fn stream(walk: &mut Walk<'_>, owner: &mut Browser<'_>) {
    let fields = [("kind", "json_lines"), ("url", "http://127.0.0.1:9/"), ("enabled", "on")];
    walk.call(owner, "put_audit_stream", &fields).await;
    walk.call(owner, "test_audit_stream", &[]).await;
    walk.call(owner, "delete_audit_stream", &[]).await;
}

/// An export, and importing what is in such a file.
async fn data(walk: &mut Walk<'_>, member: &TestMember, owner: &mut Browser<'_>) {
    walk.call(owner, "create_export", &[("parts[0]", "members"), ("format", "json")]).await;
    walk.well(owner, "refresh_exports", &[]).await;
    let list = domain::exports::list(&walk.app.test.env, &member.actor().await).await.unwrap();
    let id = list.exports[0].id.to_string();
    walk.call(owner, "delete_export", &[("id", &id)]).await;
    let file = crate::exports::file_of("brought");
    let planned = owner.post("/api/import_connectors", &[("text", &file), ("clash", "skip")]).await;
    let seen = id_in(&planned, &["seen"]);
    walk.call(owner, "import_connectors", &[("text", &file), ("clash", "skip"), ("seen", &seen)]).await;
}

/// What somebody does with their own account.
async fn account(walk: &mut Walk<'_>, member: &TestMember) {
    let app = walk.app;
    app.test.member(member, "own", Role::Member).await;
    let email = "own@acme.example";
    let mut own = app.browser();
    let csrf = own.form_token("/sign-in").await;
    let fields = |password: &'static str| [("email", email.to_owned()), ("password", password.to_owned())];
    let wrong = fields("not the password");
    let mut wrong: Vec<_> = wrong.iter().map(|(name, value)| (*name, value.as_str())).collect();
    wrong.push(("csrf", &csrf));
    walk.wrong(&mut own, "sign_in", &wrong, "auth.signed_in").await;
    let right = [("email", email), ("password", PASSWORD), ("csrf", csrf.as_str())];
    walk.well(&mut own, "sign_in", &right).await;
    walk.wrong(&mut own, "confirm_identity", &[("password", "wrong"), ("next", "/")], "auth.reauthenticated")
        .await;
    walk.well(&mut own, "confirm_identity", &[("password", PASSWORD), ("next", "/")]).await;
    walk.well(&mut own, "update_profile", &[("name", "Own")]).await;
    let mut elsewhere = app.browser();
    elsewhere.log_in(email, PASSWORD).await;
    let listed = own.post("/api/load_sessions", &[]).await;
    let other = listed.json()["sessions"].as_array().expect("sessions").iter().find_map(|session: &Value| {
        (session["current"] == false).then(|| session["id"].as_str().unwrap_or_default().to_owned())
    });
    walk.well(&mut own, "revoke_session", &[("id", &other.expect("another session"))]).await;
    elsewhere.log_in(email, PASSWORD).await;
    walk.well(&mut own, "revoke_other_sessions", &[]).await;
    walk.wrong(
        &mut own,
        "change_password",
        &[("current_password", "wrong"), ("new_password", OTHER)],
        "auth.password_changed",
    )
    .await;
    walk.well(&mut own, "change_password", &[("current_password", PASSWORD), ("new_password", OTHER)]).await;
    app.test.mails().await;
    walk.well(&mut own, "ask_to_verify", &[]).await;
    let token = walk.link().await;
    let csrf = own.form_token(&format!("/confirm-address/{token}")).await;
    walk.well(&mut own, "confirm_address", &[("token", &token), ("csrf", &csrf)]).await;
    let asked = [("email", "new@x.example"), ("password", "wrong")];
    walk.wrong(&mut own, "ask_for_address", &asked, "auth.email_change_requested").await;
    walk.well(&mut own, "ask_for_address", &[("email", "new@x.example"), ("password", OTHER)]).await;

    // A second factor.
    let told = walk.well(&mut own, "begin_two_factor", &[]).await;
    let secret = id_in(&told, &["secret"]);
    let code = mfa::code_of(&secret, app.test.env.now());
    walk.well(&mut own, "confirm_two_factor", &[("code", &code)]).await;
    walk.well(&mut own, "make_backup_codes", &[]).await;
    walk.well(&mut own, "sign_out", &[]).await;
    app.test.clock.advance(30_000);
    let csrf = own.form_token("/sign-in").await;
    own.post("/api/sign_in", &[("email", email), ("password", OTHER), ("csrf", &csrf)]).await;
    let csrf = own.form_token("/sign-in").await;
    walk.wrong(&mut own, "finish_sign_in", &[("code", "000000"), ("csrf", &csrf)], "auth.code_refused").await;
    let code = mfa::code_of(&secret, app.test.env.now());
    walk.well(&mut own, "finish_sign_in", &[("code", &code), ("csrf", &csrf)]).await;
    app.test.clock.advance(30_000);
    let code = mfa::code_of(&secret, app.test.env.now());
    walk.wrong(
        &mut own,
        "turn_off_two_factor",
        &[("password", OTHER), ("code", "000000")],
        "auth.code_refused",
    )
    .await;
    walk.well(&mut own, "turn_off_two_factor", &[("password", OTHER), ("code", &code)]).await;

    // A PIN.
    own.post("/api/confirm_identity", &[("password", OTHER), ("next", "/")]).await;
    walk.well(&mut own, "set_pin", &[("new_pin", "483920"), ("again_pin", "483920")]).await;
    walk.wrong(&mut own, "remove_pin", &[("pin", "705318")], "pin.refused").await;
    walk.well(&mut own, "remove_pin", &[("pin", "483920")]).await;

    // Half a log-in that is given up, a forgotten password, and the end.
    let mut other = app.browser();
    let csrf = other.form_token("/sign-in").await;
    walk.well(&mut other, "restart_sign_in", &[("csrf", &csrf)]).await;
    app.test.mails().await;
    walk.well(&mut other, "ask_reset", &[("email", email), ("csrf", &csrf)]).await;
    let token = walk.link().await;
    let fields = [("token", token.as_str()), ("csrf", csrf.as_str()), ("password", PASSWORD)];
    walk.well(&mut other, "reset_password", &fields).await;
    own.log_in(email, PASSWORD).await;
    let wrong = [("email", email), ("password", "wrong")];
    walk.wrong(&mut own, "delete_account", &wrong, "auth.account_deleted").await;
    let before = lengths(app).await;
    let gone = own.post("/api/delete_account", &[("email", email), ("password", PASSWORD)]).await;
    assert!(gone.status.is_success(), "{}", gone.text);
    let noted: Vec<_> = since(app, &before).await.into_iter().map(|(action, _)| action).collect();
    // The account ended, and with it the membership.
    assert_eq!(noted, ["auth.account_deleted", "team.member_left"]);
    walk.called.well.lock().unwrap_or_else(PoisonError::into_inner).insert("delete_account");
}

/// An instance that anybody may sign up to, from its beginning.
async fn beginning(called: &Arc<Called>) {
    let app = TestApp::new(Kind::Sqlite).await;
    let link = domain::accounts::setup_link(&app.test.env).await.unwrap().expect("nobody owns it yet");
    let token = link.rsplit('/').next().unwrap().to_owned();
    let mut first = app.browser();
    let csrf = first.form_token(&format!("/setup/{token}")).await;
    let fields = [
        ("token", token.as_str()),
        ("csrf", csrf.as_str()),
        ("name", "First"),
        ("email", "first@x.example"),
        ("password", PASSWORD),
        ("org_name", "First"),
        ("org_slug", "first"),
    ];
    let mut walk =
        Walk { app: &app, viewer: app.browser(), nobody: app.browser(), called: Arc::clone(called) };
    walk.well(&mut first, "complete_setup", &fields).await;
    walk.well(&mut first, "create_org", &[("name", "Second"), ("slug", "second")]).await;
    let second = domain::orgs::find_by_slug(&app.test.env, "first").await.unwrap().id.to_string();
    walk.well(&mut first, "switch_org", &[("org", &second)]).await;

    let open = TestApp::with(
        Kind::Sqlite,
        &[
            ("GATEHOUSE_SIGN_UP", "open"),
            ("GATEHOUSE_SMTP_URL", "smtp://127.0.0.1:1"),
            ("GATEHOUSE_SMTP_FROM", "g@x.example"),
        ],
    )
    .await;
    let mut walk =
        Walk { app: &open, viewer: open.browser(), nobody: open.browser(), called: Arc::clone(called) };
    let mut new = open.browser();
    let csrf = new.form_token("/sign-up").await;
    walk.well(&mut new, "ask_sign_up", &[("email", "new@x.example"), ("csrf", &csrf)]).await;
    let token = walk.link().await;
    let csrf = new.form_token(&format!("/sign-up/{token}")).await;
    let fields = [
        ("token", token.as_str()),
        ("csrf", csrf.as_str()),
        ("name", "New"),
        ("password", PASSWORD),
        ("org_name", "New"),
        ("org_slug", "new-org"),
    ];
    walk.well(&mut new, "finish_sign_up", &fields).await;
}

/// The end of an organisation: its own log goes with it, so the instance's says it.
async fn end(walk: &mut Walk<'_>) {
    let gone = walk.app.org("gone").await;
    let mut walk = Walk::new(walk.app, &gone, &walk.called).await;
    let mut owner = walk.app.signed_in(&gone).await;
    walk.call(&mut owner, "change_plan", &[("plan", "team")]).await;
    let csrf = owner.form_token("/settings/danger").await;
    let fields = [("confirm", "gone"), ("password", PASSWORD), ("csrf", &csrf)];
    walk.call(&mut owner, "delete_org", &fields).await;
}

/// What needs a fresh proof, and what asks for a second factor of everybody.
async fn security(walk: &mut Walk<'_>, owner: &mut Browser<'_>) {
    // The refusals come first: what is on afterwards would be the reason for them.
    walk.call(owner, "run_self_test", &[]).await;
    prove(owner).await;
    let told = walk.well(owner, "begin_two_factor", &[]).await;
    let code = mfa::code_of(&id_in(&told, &["secret"]), walk.app.test.env.now());
    walk.well(owner, "confirm_two_factor", &[("code", &code)]).await;
    for (function, fields) in
        [("set_require_mfa", [("on", "true")]), ("set_pin_protection", [("on", "true")])]
    {
        let before = lengths(walk.app).await;
        let refused = walk.viewer.post(&format!("/api/{function}"), &fields).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{function}: {}", refused.text);
        let noted = since(walk.app, &before).await;
        assert!(
            noted.len() <= 1 && noted.iter().all(|(_, result)| result == "denied"),
            "{function}: {noted:?}"
        );
        walk.called
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(functions::find(function).unwrap().name);
        walk.well(owner, function, &fields).await;
        if function == "set_require_mfa" {
            walk.well(owner, function, &[("on", "false")]).await;
        }
    }
    walk.well(owner, "allow_trusted_browsers", &[("on", "true")]).await;
    // A PIN that is missing is a refusal as well.
    let before = lengths(walk.app).await;
    let refused = owner.post("/api/set_pin_protection", &[("on", "false")]).await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (StatusCode::FORBIDDEN, Some("pin_required"))
    );
    let denied = ("settings.security_updated".to_owned(), "denied".to_owned());
    assert_eq!(since(walk.app, &before).await, [denied]);
}

/// A part of the walk. What breaks off is told with the rest.
async fn part(called: &Called, name: &str, walk: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(walk).catch_unwind().await {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        called.expect(false, || format!("{name} broke off: {}", said.unwrap_or_default()));
    }
}

#[test]
fn aud_02_every_act_is_one_event() {
    // The walk is one future, and a large one.
    let run = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(Box::pin(walk()));
    };
    let walking = std::thread::Builder::new().stack_size(64 << 20).spawn(run).expect("a thread");
    if let Err(panic) = walking.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn walk() {
    let called = Arc::new(Called::default());
    part(&called, "beginning", Box::pin(beginning(&called))).await;
    part(&called, "names", Box::pin(others::names(&called))).await;
    part(&called, "late", Box::pin(others::late(&called))).await;
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut walk = Walk::new(&app, &member, &called).await;
    let mut owner = app.browser();
    owner.address = Some("203.0.113.9".parse().unwrap());
    owner.log_in("owner@acme.example", PASSWORD).await;
    let (w, o) = (&mut walk, &mut owner);
    part(&called, "keys", Box::pin(keys(w, o))).await;
    part(&called, "connections", Box::pin(connections(w, o, &member))).await;
    part(&called, "connectors", Box::pin(connectors(w, o, &member))).await;
    part(&called, "clients", Box::pin(clients(w, o))).await;
    part(&called, "provider", Box::pin(provider(w, o))).await;
    part(&called, "organisation", Box::pin(organisation(w, o))).await;
    part(&called, "stream", Box::pin(stream(w, o))).await;
    part(&called, "data", Box::pin(data(w, &member, o))).await;
    part(&called, "team", Box::pin(team(w, o, &member))).await;
    part(&called, "webhooks", Box::pin(others::webhooks(w, o, &member))).await;
    part(&called, "passkeys", Box::pin(others::passkeys(w, &member))).await;
    part(&called, "security", Box::pin(security(w, o))).await;
    part(&called, "end", Box::pin(end(w))).await;
    part(&called, "account", Box::pin(account(w, &member))).await;
    for report in domain::audit::verify_all(&app.test.env, None).await.unwrap() {
        assert_eq!(report.broken, None, "{report:?}");
    }

    let problems = called.problems.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    drop(problems);

    // Every function that is linked in stands in the table, and every one in the table was called.
    let linked: BTreeSet<String> = leptos::server_fn::axum::server_fn_paths()
        .filter_map(|(path, _)| path.strip_prefix("/api/").map(str::to_owned))
        .filter(|name| !name.starts_with("load_") && !name.starts_with("gallery_"))
        .collect();
    let known: BTreeSet<String> = FUNCTIONS.iter().map(|function| function.name.to_owned()).collect();
    assert_eq!(linked, known, "app/src/functions.rs says what each function does");
    let well = called.well.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<_> = FUNCTIONS.iter().map(|f| f.name).filter(|name| !well.contains(name)).collect();
    assert_eq!(missing, [""; 0], "nobody called these");
    // What is for members of an organisation was refused to one who may not.
    let refused = called.refused.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<_> = FUNCTIONS
        .iter()
        .filter(|function| matches!(function.does, Does::ForOrg(_)))
        .map(|function| function.name)
        .filter(|name| !refused.contains(name))
        // What a member gave for themselves is their own; the others go the same way as what is refused above.
        .filter(|name| {
            !["disconnect", "remove_own_authorization", "keep_allowlist", "allow_trusted_browsers"]
                .contains(name)
        })
        .collect();
    assert_eq!(missing, [""; 0], "nobody was refused these");
}
