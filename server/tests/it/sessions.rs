//! Cookies and what ends a session.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use domain::OrgActor;
use model::Role;
use store::Kind;

use crate::support::{HOST, TestApp, input_value};

const HOUR: i64 = 60 * 60 * 1000;

#[tokio::test]
async fn ses_01_the_cookie_is_http_only_and_only_its_hash_is_stored() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.browser();
    let answer = browser.log_in("owner@acme.example", domain::testing::PASSWORD).await;
    let line = answer
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|line| line.to_str().unwrap())
        .find(|line| line.starts_with("gatehouse="))
        .expect("a session cookie");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(line.contains(attribute), "{line}");
    }
    assert!(!line.contains("Domain"));
    let mut tx = app.test.env.db.read().await.unwrap();
    let sessions = store::sessions::list_of_user(&mut tx, member.user).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].token_hash.len(), 32);
    assert!(!sessions[0].data.contains(&browser.cookies["gatehouse"]));
}

#[tokio::test]
async fn ses_01_https_gives_the_cookie_its_host_prefix() {
    let app = TestApp::with(Kind::Sqlite, &[("GATEHOUSE_PUBLIC_URL", "https://gatehouse.example")]).await;
    let member = app.org("acme").await;
    let page = app
        .send(Request::get("/sign-in").header(header::HOST, "gatehouse.example").body(Body::empty()).unwrap())
        .await;
    assert_eq!(page.status, StatusCode::OK);
    let form = page.headers.get(header::SET_COOKIE).unwrap().to_str().unwrap().to_owned();
    assert!(form.starts_with("__Host-gatehouse-form=") && form.contains("Secure"), "{form}");
    let csrf = crate::support::input_value(&page.text, "csrf").unwrap();
    let body = format!(
        "email=owner%40acme.example&password={}&csrf={csrf}",
        model::paths::encode(domain::testing::PASSWORD)
    );
    let answer = app
        .send(
            Request::post("/sign-in?do=sign_in")
                .header(header::HOST, "gatehouse.example")
                .header("sec-fetch-site", "same-origin")
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::COOKIE, form.split(';').next().unwrap())
                .body(Body::from(body))
                .unwrap(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let lines: Vec<_> =
        answer.headers.get_all(header::SET_COOKIE).iter().map(|l| l.to_str().unwrap()).collect();
    assert!(lines.iter().any(|l| l.starts_with("__Host-gatehouse=") && l.contains("Secure")), "{lines:?}");
    assert!(lines.iter().all(|l| l.starts_with("__Host-") && l.contains("Secure")), "{lines:?}");
    assert!(answer.header("strict-transport-security").contains("max-age="));
    drop(member);
}

#[tokio::test]
async fn ses_02_signing_in_gives_a_new_identifier() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    let mut browser = app.browser();
    browser.cookies.insert("gatehouse".into(), "AAAAAAAAAAAAAAAAAAAAAA".into());
    let csrf = browser.form_token("/sign-in").await;
    browser.cookies.insert("gatehouse".into(), "AAAAAAAAAAAAAAAAAAAAAA".into());
    let fields =
        [("email", "owner@acme.example"), ("password", domain::testing::PASSWORD), ("csrf", csrf.as_str())];
    browser.post("/sign-in?do=sign_in", &fields).await;
    let first = browser.cookies["gatehouse"].clone();
    assert_ne!(first, "AAAAAAAAAAAAAAAAAAAAAA", "a planted identifier never becomes a signed-in one");
    let mut planted = app.browser();
    planted.cookies.insert("gatehouse".into(), "AAAAAAAAAAAAAAAAAAAAAA".into());
    assert!(planted.get("/").await.status.is_redirection());
}

#[tokio::test]
async fn ses_03_a_cookie_is_worth_nothing_after_signing_out() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let cookie = browser.cookies["gatehouse"].clone();
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    let answer = browser.post("/?do=sign_out", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let mut old = app.browser();
    old.cookies.insert("gatehouse".into(), cookie);
    assert!(old.get("/").await.status.is_redirection());
    let call = old.post("/api/load_me", &[]).await;
    assert_eq!(call.status, StatusCode::UNAUTHORIZED, "{}", call.text);
}

#[tokio::test]
async fn ses_03_other_sessions_can_be_ended() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut here = app.signed_in(&member).await;
    let mut there = app.signed_in(&member).await;
    assert_eq!(there.get("/").await.status, StatusCode::OK);
    let page = here.get("/profile/sessions").await;
    assert_eq!(page.status, StatusCode::OK);
    let answer = here.post("/profile/sessions?do=revoke_other_sessions", &[]).await;
    assert!(answer.status.is_success() || answer.status.is_redirection(), "{}", answer.text);
    assert!(there.get("/").await.status.is_redirection());
    assert_eq!(here.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn ses_05_the_list_of_sessions_tells_everything_but_the_cookies() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut here = app.signed_in(&member).await;
    let there = app.signed_in(&member).await;
    let page = here.get("/profile/sessions").await;
    assert_eq!(page.status, StatusCode::OK);
    for cookie in [&here.cookies["gatehouse"], &there.cookies["gatehouse"]] {
        assert!(!page.text.contains(cookie.as_str()), "an id in the list is not the cookie's value");
    }
    let mut tx = app.test.env.db.read().await.unwrap();
    let sessions = store::sessions::list_of_user(&mut tx, member.user).await.unwrap();
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| session.user_agent.contains("Test/1.0") && session.created_at > 0));
    // Somebody else's session is as unknown as one that never was.
    let other = app.org("other").await;
    let mut stranger = app.signed_in(&other).await;
    let id = sessions[0].id.to_string();
    let answer = stranger.post("/profile/sessions?do=revoke_session", &[("id", &id)]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(here.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn ses_04_an_idle_session_ends_and_a_used_one_ends_after_thirty_days() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    app.test.clock.advance(8 * HOUR - 1);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    app.test.clock.advance(8 * HOUR);
    assert!(browser.get("/").await.status.is_redirection());

    let mut browser = app.signed_in(&member).await;
    for _ in 0..(30 * 24 / 6 - 1) {
        app.test.clock.advance(6 * HOUR);
        assert_eq!(browser.get("/").await.status, StatusCode::OK);
    }
    app.test.clock.advance(6 * HOUR);
    assert!(browser.get("/").await.status.is_redirection(), "thirty days after signing in");
}

#[tokio::test]
async fn ses_04_the_timeout_of_an_organisation_counts_for_running_sessions() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let app = TestApp::new(kind).await;
        let member = app.org("acme").await;
        let mut browser = app.signed_in(&member).await;
        let page = browser.get("/settings/security").await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(input_value(&page.text, "minutes").as_deref(), Some("480"), "8 hours are the default");
        for wrong in ["14", "43201", "soon", ""] {
            let answer =
                browser.post("/settings/security?do=set_session_timeout", &[("minutes", wrong)]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
            assert!(answer.text.contains("Choose between 15 minutes and 30 days"));
        }
        // Longer: a session outlives the default, and the hourly cleaning.
        let set = |minutes: &'static str| [("minutes", minutes)];
        let saved = browser.post("/settings/security?do=set_session_timeout", &set("43200")).await;
        assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
        app.test.clock.advance(9 * HOUR);
        server::jobs::clean(&app.test.env).await.unwrap();
        assert_eq!(browser.get("/").await.status, StatusCode::OK);
        // Shorter: whoever is idle for longer already is logged out at once.
        let mut idle = app.signed_in(&member).await;
        app.test.clock.advance(20 * 60 * 1000);
        assert_eq!(
            browser.post("/settings/security?do=set_session_timeout", &set("15")).await.status,
            StatusCode::SEE_OTHER
        );
        assert!(idle.get("/").await.status.is_redirection());
        assert_eq!(browser.get("/").await.status, StatusCode::OK);
        app.test.clock.advance(15 * 60 * 1000);
        assert!(browser.get("/").await.status.is_redirection());
        let mut tx = app.test.env.db.read().await.unwrap();
        let events = store::audit::list_actions(&mut tx, Some(member.org_id())).await.unwrap();
        assert_eq!(events.iter().filter(|(action, _)| action == "settings.security_updated").count(), 2);
    }
}

#[tokio::test]
async fn ses_04_of_two_organisations_the_stricter_counts() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let beta = app.org("beta").await;
    let env = &app.test.env;
    domain::orgs::put_member(env, &OrgActor::operator(beta.org_id()), "owner@acme.example", Role::Viewer)
        .await
        .unwrap();
    domain::sessions::set_timeout(env, &OrgActor::operator(acme.org_id()), 24 * 60).await.unwrap();
    domain::sessions::set_timeout(env, &OrgActor::operator(beta.org_id()), 30).await.unwrap();
    let mut both = app.signed_in(&acme).await;
    app.test.clock.advance(HOUR / 2);
    assert!(both.get("/").await.status.is_redirection());
}

#[tokio::test]
async fn ses_10_a_person_has_fifty_sessions_at_most() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let mut first = app.signed_in(&acme).await;
    for _ in 0..domain::sessions::MOST {
        app.test.clock.advance(1000);
        app.signed_in(&acme).await;
    }
    let mut tx = app.test.env.db.read().await.unwrap();
    let sessions = store::sessions::list_of_user(&mut tx, acme.user).await.unwrap();
    drop(tx);
    assert_eq!(sessions.len(), domain::sessions::MOST);
    assert!(first.get("/").await.status.is_redirection(), "the one that was idle longest ended");
}

#[tokio::test]
async fn ten_04_security_settings_are_for_those_who_manage_them() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    app.test.member(&acme, "eve", Role::Viewer).await;
    let mut eve = app.browser();
    eve.log_in("eve@acme.example", domain::testing::PASSWORD).await;
    let page = eve.get("/settings/security").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("8 hours") && input_value(&page.text, "minutes").is_none());
    let answer = eve.post("/settings/security?do=set_session_timeout", &[("minutes", "15")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn ses_08_a_session_cookie_opens_no_mcp_endpoint() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let browser = app.signed_in(&member).await;
    let request = Request::post("/mcp/acme")
        .header(header::HOST, HOST)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, format!("gatehouse={}", browser.cookies["gatehouse"]))
        .body(Body::from(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#))
        .unwrap();
    assert_eq!(app.send(request).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_form_changes_the_organisation_that_it_was_made_in_or_none() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let beta = app.org("beta").await;
    let both = OrgActor::operator(beta.org_id());
    domain::orgs::put_member(&app.test.env, &both, "owner@acme.example", Role::Owner).await.unwrap();
    let mut browser = app.signed_in(&acme).await;
    browser.post("/?do=switch_org", &[("org", &acme.org_id().to_string())]).await;
    let page = browser.get("/settings").await;
    let made_in = input_value(&page.text, "made_in_org").expect("forms say where they were made");
    assert_eq!(made_in, acme.org_id().to_string());

    // In another tab.
    browser.post("/?do=switch_org", &[("org", &beta.org_id().to_string())]).await;
    let fields = [("made_in_org", made_in.as_str()), ("name", "Typed for Acme"), ("description", "")];
    for path in ["/settings?do=update_org", "/api/update_org"] {
        let answer = browser.post(path, &fields).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
        assert!(answer.text.contains("Nothing was changed"), "{}", answer.text);
        assert!(answer.text.contains(&format!("This form belongs to {}", acme.org.name)));
        assert!(!answer.text.contains("value=\"Typed for Acme"), "it is not offered to the other one");
        if path.starts_with("/settings") {
            assert!(answer.text.contains(&format!("Switch back to {}", acme.org.name)));
        }
    }
    for org in [&acme, &beta] {
        let mut tx = app.test.env.db.read().await.unwrap();
        let now = store::orgs::find(&mut tx, org.org_id()).await.unwrap().unwrap();
        assert_eq!(now.name, org.org.name);
    }
    // What belongs to no organisation goes on.
    let theme = [("made_in_org", made_in.as_str()), ("theme", "dark"), ("next", "/")];
    assert_eq!(browser.post("/?do=set_theme", &theme).await.status, StatusCode::SEE_OTHER);

    browser.post("/?do=switch_org", &[("org", &acme.org_id().to_string())]).await;
    assert_eq!(browser.post("/settings?do=update_org", &fields).await.status, StatusCode::SEE_OTHER);
}
