//! Second factor, fresh proofs and PINs through the real router, without scripts and with them.

use std::{collections::BTreeSet, path::Path};

use app::functions::FUNCTIONS;
use axum::http::StatusCode;
use domain::{allowlist::Insists, mfa, testing::PASSWORD};
use model::{Role, api_keys::KeyScope};
use store::Kind;

use crate::support::{Answer, Browser, TestApp, input_value};

const TWO_FACTOR: &str = "/profile/security/two-factor";
const PIN: &str = "/profile/security/pin";
const SECURITY: &str = "/settings/security";
const MINUTE: i64 = 60 * 1000;

/// What stands in an element of a page, by what comes before it.
fn after<'a>(page: &'a str, mark: &str) -> &'a str {
    let from = page.find(mark).unwrap_or_else(|| panic!("no {mark} in {page}")) + mark.len();
    &page[from..]
}

/// Sets an app up through the page, without scripts; answers with the secret and the backup codes.
async fn enrol(app: &TestApp, browser: &mut Browser<'_>) -> (String, Vec<String>) {
    let page = browser.post(&format!("{TWO_FACTOR}?do=begin_two_factor"), &[]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert_eq!(page.header("cache-control"), "no-store");
    let secret = after(&page.text, "data-copy=\"").split('"').next().unwrap().to_owned();
    assert_eq!(secret.len(), 32, "{secret}");
    assert!(page.text.contains("<svg") && page.text.contains("otpauth://totp/"));
    let code = mfa::code_of(&secret, app.test.env.now());
    let page = browser.post(&format!("{TWO_FACTOR}?do=confirm_two_factor"), &[("code", &code)]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let codes: Vec<String> = after(&page.text, "class=\"backup-codes\"")
        .split("<code>")
        .skip(1)
        .take(10)
        .map(|rest| rest.split('<').next().unwrap().to_owned())
        .collect();
    assert_eq!(codes.len(), 10);
    app.test.clock.advance(30_000);
    (secret, codes)
}

async fn second_step(browser: &mut Browser<'_>, code: &str) -> Answer {
    let csrf = browser.form_token("/sign-in").await;
    browser
        .post("/sign-in?do=finish_sign_in", &[("code", code), ("csrf", &csrf), ("next", "/connectors")])
        .await
}

#[tokio::test]
async fn mfa_01_an_app_is_set_up_without_scripts_and_its_secret_is_shown_once() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let page = browser.get(TWO_FACTOR).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("Turn on two-factor authentication"));
    let (secret, codes) = enrol(&app, &mut browser).await;
    let later = browser.get(TWO_FACTOR).await;
    assert!(later.text.contains("10 of 10 left"), "{}", later.text);
    for told in [secret.as_str(), codes[0].as_str(), "otpauth://"] {
        assert!(!later.text.contains(told), "{told} is shown again");
    }
    let call = browser.post("/api/load_factors", &[("what", "two-factor")]).await;
    assert!(!call.text.contains(&secret) && call.text.contains("\"codes_left\":10"), "{}", call.text);
    // An old proof is not enough.
    app.test.clock.advance(6 * MINUTE);
    for function in ["begin_two_factor", "make_backup_codes"] {
        let call = browser.post(&format!("/api/{function}"), &[]).await;
        assert_eq!(call.status, StatusCode::FORBIDDEN, "{}", call.text);
        assert_eq!(call.json()["code"], "reauth_required");
    }
    let page = browser.get(TWO_FACTOR).await;
    assert!(page.text.contains("Confirm that it is you") && !page.text.contains("do=make_backup_codes"));
    let wrong = browser
        .post(&format!("{TWO_FACTOR}?do=confirm_identity"), &[("password", "wrong"), ("next", TWO_FACTOR)])
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("This is not your password") && !wrong.text.contains("value=\"wrong\""));
    let done = browser
        .post(&format!("{TWO_FACTOR}?do=confirm_identity"), &[("password", PASSWORD), ("next", TWO_FACTOR)])
        .await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, TWO_FACTOR));
    let page = browser.post(&format!("{TWO_FACTOR}?do=make_backup_codes"), &[]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("class=\"backup-codes\""));
}

#[tokio::test]
async fn mfa_03_half_a_log_in_opens_nothing() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let (secret, codes) = {
        let mut browser = app.signed_in(&member).await;
        enrol(&app, &mut browser).await
    };
    let mut browser = app.browser();
    let answer = browser.log_in("owner@acme.example", PASSWORD).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/sign-in"));
    let cookie = answer.headers.get_all("set-cookie").iter().find_map(|line| {
        line.to_str().ok().filter(|line| line.starts_with("gatehouse-step=")).map(str::to_owned)
    });
    let cookie = cookie.expect("a cookie for the second step");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Max-Age=600"));
    assert!(!browser.cookies.contains_key("gatehouse-device"), "only a whole log-in makes a browser known");
    // Pages lead back, functions and the authorization server say that nobody is there.
    for page in ["/", "/connectors", SECURITY, TWO_FACTOR] {
        let answer = browser.get(page).await;
        assert!(
            answer.header("location").starts_with("/sign-in"),
            "{page}: {} {}",
            answer.status,
            answer.text
        );
    }
    for function in ["load_me", "load_overview", "load_security", "load_factors", "begin_two_factor"] {
        let call = browser.post(&format!("/api/{function}"), &[("what", "pin")]).await;
        assert_eq!(call.status, StatusCode::UNAUTHORIZED, "{function}: {}", call.text);
    }
    let page = browser.get("/sign-in").await;
    assert!(page.text.contains("Enter your code") && page.text.contains("one-time-code"));
    let wrong = second_step(&mut browser, "000000").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text.contains("This code is not right") && !wrong.text.contains("000000"));
    let before = browser.cookies.get("gatehouse").cloned();
    let code = mfa::code_of(&secret, app.test.env.now());
    let done = second_step(&mut browser, &code).await;
    assert_eq!(
        (done.status, done.header("location")),
        (StatusCode::SEE_OTHER, "/connectors"),
        "{}",
        done.text
    );
    assert_ne!(browser.cookies.get("gatehouse").cloned(), before, "a new identifier (SES-02)");
    assert!(
        !browser.cookies.contains_key("gatehouse-step") && browser.cookies.contains_key("gatehouse-device")
    );
    assert_eq!(browser.get("/connectors").await.status, StatusCode::OK);
    // Somebody else's browser has no second step, whatever they know.
    let mut other = app.browser();
    let csrf = other.form_token("/sign-in").await;
    let stolen = other.post("/sign-in?do=finish_sign_in", &[("code", &codes[0]), ("csrf", &csrf)]).await;
    assert_eq!(stolen.status, StatusCode::UNAUTHORIZED);
    // Leaving the second step ends it.
    let mut third = app.browser();
    third.log_in("owner@acme.example", PASSWORD).await;
    let csrf = third.form_token("/sign-in").await;
    let left = third.post("/sign-in?do=restart_sign_in", &[("csrf", &csrf)]).await;
    assert_eq!(left.status, StatusCode::SEE_OTHER);
    assert!(third.get("/sign-in").await.text.contains("name=\"password\""));
}

#[tokio::test]
async fn mfa_06_who_has_no_second_factor_is_led_to_setting_one_up() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let dev = app.test.member(&member, "dev", Role::Admin).await;
    let mut running = app.browser();
    running.log_in("dev@acme.example", PASSWORD).await;
    assert_eq!(running.get("/connectors").await.status, StatusCode::OK);
    let mut owner = app.signed_in(&member).await;
    let page = owner.get(SECURITY).await;
    assert!(page.text.contains("2 of 2 members") && page.text.contains("dev@acme.example"), "{}", page.text);
    let lone = owner.post(&format!("{SECURITY}?do=set_require_mfa"), &[("on", "true")]).await;
    assert_eq!(lone.status, StatusCode::CONFLICT, "{}", lone.text);
    enrol(&app, &mut owner).await;
    let done = owner.post(&format!("{SECURITY}?do=set_require_mfa"), &[("on", "true")]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);

    // The session that runs finds out with its next request, on every path.
    for page in ["/", "/connectors", "/settings/api-keys", SECURITY, "/team"] {
        let answer = running.get(page).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{page}");
        assert!(answer.text.contains("Set up a second factor"), "{page}: {}", answer.text);
    }
    for function in ["load_overview", "load_connectors", "create_api_key"] {
        let fields = [("name", "x"), ("access", "all"), ("expires", "never"), ("q", "")];
        let call = running.post(&format!("/api/{function}"), &fields).await;
        assert_eq!(call.status, StatusCode::FORBIDDEN, "{function}: {}", call.text);
        assert_eq!(call.json()["code"], "mfa_enrollment_required");
    }
    let export = running.post("/settings/audit-export", &[("format", "csv")]).await;
    assert_eq!(export.status, StatusCode::FORBIDDEN);
    // Machines go on.
    let key = app.key(&member, KeyScope::All).await;
    let listed = app.rpc("/mcp/acme", &key.secret, "tools/list", serde_json::json!({})).await;
    assert_eq!(listed.status, StatusCode::OK);
    // A new log-in leads to the page that sets it up, and from there to where it wanted.
    let mut fresh = app.browser();
    let csrf = fresh.form_token("/sign-in").await;
    let fields = [("email", "dev@acme.example"), ("password", PASSWORD), ("csrf", &csrf), ("next", "/team")];
    let answer = fresh.post("/sign-in?do=sign_in", &fields).await;
    assert_eq!(answer.header("location"), "/profile/security/two-factor?next=/team");
    let page = fresh.get("/profile/security/two-factor?next=/team").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("requires a second factor"));
    enrol(&app, &mut fresh).await;
    assert_eq!(fresh.get("/team").await.status, StatusCode::OK);
    assert_eq!(running.get("/team").await.status, StatusCode::OK);
    drop(dev);
}

/// A server function, the page that posts to it, and what it is sent.
type Act<'a> = (&'a str, String, Vec<(&'a str, &'a str)>);

#[tokio::test]
async fn pin_04_protected_acts_ask_for_the_pin_through_every_path() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let dev = app.test.member(&member, "dev", Role::Developer).await;
    let key = app.key(&member, KeyScope::All).await;
    let mut browser = app.signed_in(&member).await;
    let on = browser.post(&format!("{SECURITY}?do=set_pin_protection"), &[("on", "true")]).await;
    assert_eq!(on.status, StatusCode::SEE_OTHER, "{}", on.text);
    // An enforced allowlist, which takes the PIN to open to everybody.
    browser.address = member.ctx.origin.address;
    let here = browser.address.unwrap().to_string();
    let actor = member.actor().await;
    domain::allowlist::add(&app.test.env, &actor, &here, "", Insists(None)).await.unwrap();
    domain::allowlist::turn_on(&app.test.env, &member.actor().await, Insists(None)).await.unwrap();
    domain::allowlist::keep(&app.test.env, &member.actor().await).await.unwrap();
    let demo = domain::connectors::add_demo(&app.test.env, &member.actor().await).await.unwrap();
    let grant = app.test.grant(&member, "client", "mcp:call").await;
    let connection = {
        let mut tx = app.test.env.db.read().await.unwrap();
        store::oauth_grants::find(&mut tx, member.org_id(), grant.grant).await.unwrap().unwrap().connection
    };
    let webhook = crate::webhooks::add(&app.test.env, member.org_id(), "https://127.0.0.1:9/hook").await;
    let webhook = webhook.webhook.id.to_string();
    let (key_id, dev_id, demo_id, connection) =
        (key.key.id.to_string(), dev.user.to_string(), demo.id.to_string(), connection.to_string());
    let acts: Vec<Act<'_>> = vec![
        ("delete_api_key", format!("/settings/api-keys/{key_id}/delete"), vec![("id", &key_id)]),
        ("copy_api_key", "/settings/api-keys".into(), vec![("id", &key_id)]),
        (
            "delete_connector",
            format!("/connectors/{demo_id}/delete"),
            vec![("id", &demo_id), ("confirm", "demo")],
        ),
        ("revoke_connection", "/settings/mcp-connections".into(), vec![("id", &connection)]),
        (
            "regenerate_connection",
            "/settings/mcp-connections".into(),
            vec![("id", &connection), ("prefix", "")],
        ),
        ("revoke_own_connection", "/profile/connections".into(), vec![("id", &connection)]),
        ("remove_member", format!("/team/{dev_id}/remove"), vec![("id", &dev_id)]),
        ("set_pin_protection", SECURITY.into(), vec![("on", "false")]),
        ("turn_off_allowlist", "/settings/security/allowlist".into(), vec![]),
        ("add_allowed_range", "/settings/security/allowlist".into(), vec![("range", "0.0.0.0/0")]),
        ("remove_pin", PIN.into(), vec![]),
        ("change_plan", "/settings/plan".into(), vec![("plan", "team")]),
        ("delete_webhook", format!("/settings/webhooks/{webhook}/delete"), vec![("id", &webhook)]),
        ("delete_org", "/settings/danger".into(), vec![("confirm", "acme"), ("password", PASSWORD)]),
    ];
    // Those that say of themselves that they ask for it, and no other.
    let tried: BTreeSet<&str> = acts.iter().map(|(function, ..)| *function).collect();
    let marked: BTreeSet<&str> = FUNCTIONS.iter().filter(|f| f.pin).map(|f| f.name).collect();
    assert_eq!(tried, marked, "app/src/functions.rs says which acts a PIN protects");
    for (function, page, fields) in &acts {
        let call = browser.post(&format!("/api/{function}"), fields).await;
        assert_eq!(call.status, StatusCode::FORBIDDEN, "{function}: {}", call.text);
        assert_eq!(call.json()["code"], "pin_required", "{function}");
        let form = browser.post(&format!("{page}?do={function}"), fields).await;
        assert_eq!(form.status, StatusCode::FORBIDDEN, "{function}");
    }
    let fields = [("new_pin", "483920"), ("again_pin", "483920")];
    let set = browser.post(&format!("{PIN}?do=set_pin"), &fields).await;
    assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.text);
    for (function, _, fields) in &acts {
        let mut wrong = fields.clone();
        wrong.push(("pin", "705318"));
        let call = browser.post(&format!("/api/{function}"), &wrong).await;
        let locked = call.status == StatusCode::LOCKED && call.header("retry-after") == "900";
        assert!(locked || call.status == StatusCode::UNPROCESSABLE_ENTITY, "{function}: {}", call.text);
    }
    let locked = browser.post("/api/delete_api_key", &[("id", &key_id), ("pin", "483920")]).await;
    assert_eq!(locked.status, StatusCode::LOCKED);
    assert_eq!(locked.json()["code"], "pin_locked");
    app.test.clock.advance(16 * MINUTE);
    let page = browser.get(&format!("/settings/api-keys/{key_id}/delete")).await;
    assert!(input_value(&page.text, "pin").as_deref() == Some(""), "an empty field");
    let wrong = browser
        .post(
            &format!("/settings/api-keys/{key_id}/delete?do=delete_api_key"),
            &[("id", &key_id), ("pin", "705318")],
        )
        .await;
    assert!(wrong.text.contains("This is not your PIN") && !wrong.text.contains("705318"), "{}", wrong.text);
    let deleted = browser
        .post(
            &format!("/settings/api-keys/{key_id}/delete?do=delete_api_key"),
            &[("id", &key_id), ("pin", "483920")],
        )
        .await;
    assert_eq!(deleted.status, StatusCode::SEE_OTHER, "{}", deleted.text);
    domain::allowlist::turn_off_by_operator(&app.test.env, member.org_id()).await.unwrap();
    app.settle().await;
    let listed = app.rpc("/mcp/acme", &key.secret, "tools/list", serde_json::json!({})).await;
    assert_eq!(listed.status, StatusCode::UNAUTHORIZED);
}

/// The server functions that are written down in a folder: name and text.
fn written_functions(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            written_functions(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a file");
            for function in text.split("#[server(prefix").skip(1) {
                let name = function.split("endpoint = \"").nth(1).and_then(|rest| rest.split('"').next());
                let body = function.split("\n}\n").next().unwrap_or_default();
                into.push((name.expect("a name").to_owned(), body.to_owned()));
            }
        }
    }
}

#[test]
fn pin_04_every_function_that_takes_a_pin_is_marked() {
    let mut written = Vec::new();
    written_functions(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../app/src/pages")), &mut written);
    assert!(written.len() > 100, "{}", written.len());
    for (name, body) in written {
        // Setting a PIN asks for the one before; the helper opens without a PIN as well, and then holds no key.
        let asks = body.contains(" pin: String") && !["set_pin", "open_connect_helper"].contains(&&*name);
        let marked = app::functions::find(&name).is_some_and(|function| function.pin);
        assert_eq!(asks, marked, "{name}");
    }
}

/// What the CLI's people rely on is done with the operator's authority, which has no PIN; data-plane keys have none at all.
#[tokio::test]
async fn pin_04_a_key_of_the_data_plane_does_none_of_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let key = app.key(&member, KeyScope::All).await;
    let (id, person) = (key.key.id.to_string(), member.user.to_string());
    for (function, id) in [("delete_api_key", &id), ("remove_member", &person), ("set_pin_protection", &id)] {
        let request = axum::http::Request::post(format!("/api/{function}"))
            .header("host", crate::support::HOST)
            .header("x-api-key", &key.secret)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from(format!("id={id}&on=false")))
            .unwrap();
        let answer = app.send(request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{function}: {}", answer.text);
    }
}
