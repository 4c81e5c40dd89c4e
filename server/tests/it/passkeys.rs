//! Passkeys and trusted browsers through the real router, as a browser's script and its forms ask.

use axum::http::StatusCode;
use domain::{mfa, testing::PASSWORD};
use model::factors::PasskeyPurpose;
use store::Kind;

use crate::support::{Answer, Browser, TestApp};

/// What the script asks for before it asks the authenticator.
async fn options(browser: &mut Browser<'_>, purpose: PasskeyPurpose) -> String {
    let answer = browser.post("/api/begin_passkey", &[("purpose", purpose.as_str())]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json().as_str().expect("JSON in a text").to_owned()
}

async fn with_passkey(browser: &mut Browser<'_>, function: &str, passkey: &str) -> Answer {
    let csrf = browser.form_token("/sign-in").await;
    let fields = [("passkey", passkey), ("csrf", csrf.as_str()), ("next", "/connectors")];
    browser.post(&format!("/sign-in?do={function}"), &fields).await
}

#[tokio::test]
async fn mfa_07_a_passkey_logs_this_browser_in_and_no_other() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let (mut laptop, _) = app.test.passkey(&member.ctx).await;
    let mut browser = app.browser();
    let page = browser.get("/sign-in").await;
    assert!(page.text.contains("data-passkey=\"sign-in\"") && page.text.contains("Passkeys need scripts"));
    let before = browser.cookies.get("gatehouse").cloned();
    let answer = laptop.get(&options(&mut browser, PasskeyPurpose::SignIn).await);
    // What was given to this browser is worth nothing in another, and is not said again.
    let mut other = app.browser();
    let refused = with_passkey(&mut other, "sign_in_with_passkey", &answer).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(
        refused.text.contains("This passkey was not accepted") && !refused.text.contains("clientDataJSON")
    );
    let done = with_passkey(&mut browser, "sign_in_with_passkey", &answer).await;
    assert_eq!(
        (done.status, done.header("location")),
        (StatusCode::SEE_OTHER, "/connectors"),
        "{}",
        done.text
    );
    assert_ne!(browser.cookies.get("gatehouse").cloned(), before, "a new identifier (SES-02)");
    assert!(browser.cookies.contains_key("gatehouse-device"));
    assert_eq!(browser.get("/connectors").await.status, StatusCode::OK);
    let again = with_passkey(&mut other, "sign_in_with_passkey", &answer).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED, "replayed");
    let page = browser.get("/profile/security/passkeys").await;
    assert!(page.text.contains("Laptop"), "{}", page.text);
}

#[tokio::test]
async fn mfa_07_as_the_second_step_a_passkey_ends_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let (mut laptop, _) = app.test.passkey(&member.ctx).await;
    let mut browser = app.browser();
    let half = browser.log_in("owner@acme.example", PASSWORD).await;
    assert_eq!((half.status, half.header("location")), (StatusCode::SEE_OTHER, "/sign-in"));
    let page = browser.get("/sign-in").await;
    assert!(page.text.contains("Use your passkey") && page.text.contains("data-passkey=\"second-step\""));
    let answer = laptop.get(&options(&mut browser, PasskeyPurpose::SecondStep).await);
    let done = with_passkey(&mut browser, "finish_with_passkey", &answer).await;
    assert_eq!(
        (done.status, done.header("location")),
        (StatusCode::SEE_OTHER, "/connectors"),
        "{}",
        done.text
    );
    assert!(!browser.cookies.contains_key("gatehouse-step"));
    // Whoever has not given a password is asked for nothing.
    let stranger = app.browser().post("/api/begin_passkey", &[("purpose", "second-step")]).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    let nothing = app.browser().post("/api/begin_passkey", &[("purpose", "everything")]).await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_browser_is_trusted_by_a_tick_and_a_cookie_that_scripts_do_not_see() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    app.test.enrol(&member.ctx).await;
    let mut browser = app.browser();
    browser.log_in("owner@acme.example", PASSWORD).await;
    let page = browser.get("/sign-in").await;
    assert!(page.text.contains("Trust this browser for 30 days"), "{}", page.text);
    let code = mfa::code_now(&app.test.env, member.user).await.expect("an app");
    let csrf = browser.form_token("/sign-in").await;
    let fields = [("code", code.as_str()), ("trust", "on"), ("csrf", &csrf), ("next", "/")];
    let done = browser.post("/sign-in?do=finish_sign_in", &fields).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let cookies: Vec<&str> =
        done.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok()).collect();
    let cookie = cookies.iter().find(|line| line.starts_with("gatehouse-trusted=")).expect("a cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Max-Age=2592000")
    );
    let page = browser.get("/profile/sessions").await;
    assert!(page.text.contains("Trusted browsers") && page.text.contains("This browser"), "{}", page.text);
    // The next log-in here takes the password alone; elsewhere it takes a code.
    browser.cookies.remove("gatehouse");
    let again = browser.log_in("owner@acme.example", PASSWORD).await;
    assert_eq!((again.status, again.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(browser.get("/connectors").await.status, StatusCode::OK);
    let elsewhere = app.browser().log_in("owner@acme.example", PASSWORD).await;
    assert_eq!(elsewhere.header("location"), "/sign-in");
}

#[tokio::test]
async fn a_browser_is_trusted_beside_a_passkey_as_well() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let (mut laptop, _) = app.test.passkey(&member.ctx).await;
    let mut browser = app.browser();
    browser.log_in("owner@acme.example", PASSWORD).await;
    let page = browser.get("/sign-in").await;
    assert_eq!(page.text.matches("Trust this browser for 30 days").count(), 2, "beside code and passkey");
    let answer = laptop.get(&options(&mut browser, PasskeyPurpose::SecondStep).await);
    let csrf = browser.form_token("/sign-in").await;
    let fields = [("passkey", answer.as_str()), ("trust", "on"), ("csrf", &csrf), ("next", "/")];
    let done = browser.post("/sign-in?do=finish_with_passkey", &fields).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert!(browser.cookies.contains_key("gatehouse-trusted"));
    browser.cookies.remove("gatehouse");
    let again = browser.log_in("owner@acme.example", PASSWORD).await;
    assert_eq!(again.header("location"), "/", "the password alone");
    // Lists tell by which way (SES-05).
    let page = browser.get("/profile/sessions").await;
    assert!(page.text.contains("Passkey") && page.text.contains("Password"), "{}", page.text);
}
