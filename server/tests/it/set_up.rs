//! From the set-up link to the first signed-in page.

use axum::http::StatusCode;
use domain::{accounts, testing::PASSWORD};
use store::Kind;

use crate::support::TestApp;

#[tokio::test]
async fn the_set_up_link_makes_the_first_owner_and_signs_them_in() {
    let app = TestApp::new(Kind::Sqlite).await;
    let link = accounts::setup_link(&app.test.env).await.unwrap().unwrap();
    let path = link.strip_prefix("http://localhost:3000").unwrap().to_owned();
    let mut browser = app.browser();

    let wrong = browser.get("/setup/AAAA").await;
    assert_eq!(wrong.status, StatusCode::NOT_FOUND);

    let csrf = browser.form_token(&path).await;
    let fields = |org_slug| {
        [
            ("name", "Ada"),
            ("email", "ada@example.com"),
            ("password", PASSWORD),
            ("org_name", "Acme"),
            ("org_slug", org_slug),
            ("csrf", csrf.as_str()),
            ("token", path.rsplit('/').next().unwrap()),
        ]
    };
    let action = format!("{path}?do=complete_setup");
    let bad = browser.post(&action, &fields("A")).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bad.text.contains("Use 3 to 63 characters"), "the error stands at its field");
    assert!(bad.text.contains("value=\"ada@example.com\""), "typed values are kept");
    assert!(!bad.text.contains(PASSWORD), "passwords are not");

    let done = browser.post(&action, &fields("acme")).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert!(done.header("location").starts_with('/'));
    let home = browser.get("/").await;
    assert_eq!(home.status, StatusCode::OK);
    assert!(home.text.contains("http://localhost:3000/mcp/acme"));
    assert!(home.text.contains("Add the demo server") || home.text.contains("demo"));

    let again = app.browser().get(&path).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND, "the link works once");
}

#[tokio::test]
async fn signed_out_people_are_led_to_the_log_in_page_and_back() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    let mut browser = app.browser();
    let answer = browser.get("/settings/api-keys").await;
    assert!(answer.status.is_redirection(), "{}", answer.status);
    assert_eq!(answer.header("location"), "/sign-in?next=/settings/api-keys");
    let csrf = browser.form_token("/sign-in?next=/settings/api-keys").await;
    let fields = [
        ("email", "owner@acme.example"),
        ("password", PASSWORD),
        ("csrf", csrf.as_str()),
        ("next", "/settings/api-keys"),
    ];
    let answer = browser.post("/sign-in?next=/settings/api-keys&do=sign_in", &fields).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/settings/api-keys"));
    let missing = browser.get("/no-such-page").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn ses_09_nobody_is_led_to_another_site() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    for next in ["//evil.example", "https:evil.example", "/\\evil.example"] {
        let mut browser = app.browser();
        let csrf = browser.form_token("/sign-in").await;
        let fields = [
            ("email", "owner@acme.example"),
            ("password", PASSWORD),
            ("csrf", csrf.as_str()),
            ("next", next),
        ];
        let answer = browser.post("/sign-in?do=sign_in", &fields).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"), "{next}");
    }
}

#[tokio::test]
async fn before_anybody_has_an_account_the_log_in_page_tells_where_the_set_up_link_is() {
    let app = TestApp::new(Kind::Sqlite).await;
    let page = app.browser().get("/sign-in").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("Where the set-up link is"));
    assert!(!page.text.contains("name=\"password\""));
    app.org("acme").await;
    let page = app.browser().get("/sign-in").await;
    assert!(page.text.contains("name=\"password\"") && !page.text.contains("Where the set-up link is"));
}
