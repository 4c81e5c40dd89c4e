//! People at two nodes of one database: what one ends, changes or counts holds at the other with the very next request
//! (SES-03, TEN-04, MFA-02, MFA-04, PWD-07). What machines hold, in `nodes`.

use axum::http::StatusCode;
use domain::{
    mfa, own_account,
    testing::{PASSWORD, TestMember},
    tokens::TokenGrant,
};
use futures_util::future::join_all;
use model::{Role, api_keys::KeyScope};
use server::front::Front;
use store::Kind;

use crate::{
    nodes::{Node, mint},
    support::{Answer, Browser, TestApp},
};

/// Defines a test that runs on both databases.
macro_rules! both_test {
    ($name:ident, $run:ident) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                Box::pin(super::$run(store::Kind::Sqlite)).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                Box::pin(super::$run(store::Kind::Postgres)).await;
            }
        }
    };
}

async fn signed_in<'a>(app: &'a TestApp, front: &Front, email: &str) -> Browser<'a> {
    let mut browser = app.browser_at(front);
    let answer = browser.log_in(email, PASSWORD).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"), "{}", answer.text);
    browser
}

/// Whether a browser is let in, as a page and as a function see it: both must say the same.
async fn is_in(browser: &mut Browser<'_>) -> bool {
    let page = browser.get("/").await;
    let call = browser.post("/api/load_me", &[]).await;
    match (page.status, call.status) {
        (StatusCode::OK, StatusCode::OK) => true,
        (StatusCode::SEE_OTHER, StatusCode::UNAUTHORIZED) => {
            assert!(page.header("location").starts_with("/sign-in"), "{:?}", page.headers);
            false
        }
        (page, call) => panic!("a page is answered with {page}, a function with {call}"),
    }
}

async fn what_ends_a_session(kind: Kind) {
    let app = TestApp::new(kind).await;
    let owner = app.org("acme").await;
    let node = Node::beside(&app).await;
    let email = "owner@acme.example";
    for (what, from, to) in [("there", &app.front, &node.front), ("and back", &node.front, &app.front)] {
        let mut here = signed_in(&app, from, email).await;
        // The same cookie is good at both.
        let mut both = app.browser_at(to);
        both.cookies.clone_from(&here.cookies);
        assert!(is_in(&mut both).await, "{what}");

        let mut other = signed_in(&app, to, email).await;
        assert!(is_in(&mut other).await);
        let listed = here.post("/api/load_sessions", &[]).await.json();
        let all = listed["sessions"].as_array().expect("sessions").clone();
        let one = all.iter().find(|one| one["current"] == false).expect("another")["id"].clone();
        let done = here.post("/api/revoke_session", &[("id", one.as_str().unwrap())]).await;
        assert!(done.status.is_success(), "{}", done.text);
        assert!(!is_in(&mut other).await, "revoked, {what}");

        let mut other = signed_in(&app, to, email).await;
        assert!(here.post("/api/revoke_other_sessions", &[]).await.status.is_success());
        assert!(!is_in(&mut other).await, "all but this one, {what}");
        assert!(is_in(&mut both).await, "this one, {what}");
        assert!(here.post("/api/sign_out", &[]).await.status.is_success());
        assert!(!is_in(&mut both).await, "logged out, {what}");

        // Whoever runs the instance does it in a process of their own.
        let mut other = signed_in(&app, to, email).await;
        assert!(is_in(&mut other).await);
        assert_eq!(own_account::end_sessions_by_operator(&app.test.env, email).await.unwrap(), 1);
        assert!(!is_in(&mut other).await, "admin sessions revoke, {what}");

        let mut other = signed_in(&app, to, email).await;
        let mut here = signed_in(&app, from, email).await;
        let fields = [("current_password", PASSWORD), ("new_password", "another long passphrase 7")];
        let done = here.post("/api/change_password", &fields).await;
        assert!(done.status.is_success(), "{}", done.text);
        assert!(!is_in(&mut other).await, "another password, {what}");
        own_account::set_password_by_operator(&app.test.env, email, PASSWORD).await.unwrap();
        assert!(!is_in(&mut here).await, "set by the operator, {what}");
    }
    drop(owner);
}
both_test!(ses_03_what_ends_a_session_ends_it_at_both_nodes, what_ends_a_session);

async fn connected(app: &TestApp, member: &TestMember, client: &str) -> String {
    let grant: TokenGrant = app.test.grant(member, client, "mcp:call").await;
    mint(app, member, client, Some(grant)).await
}

async fn who_is_removed(kind: Kind) {
    let app = TestApp::new(kind).await;
    let owner = app.org("acme").await;
    let dev = app.test.member(&owner, "dev", Role::Developer).await;
    let token = connected(&app, &dev, "client").await;
    let mut node = Node::beside(&app).await;
    let mut boss = signed_in(&app, &app.front, "owner@acme.example").await;
    let mut there = signed_in(&app, &node.front, "dev@acme.example").await;
    assert_eq!(there.get("/connectors").await.status, StatusCode::OK);
    node.look().await;
    assert_eq!(node.answers(&token).await, StatusCode::OK);

    // Another role: what it may not do is refused, what it may is not.
    let make = [("name", "x"), ("access", "all"), ("expires", "never")];
    assert!(there.post("/api/create_api_key", &make).await.status.is_success());
    let id = dev.user.to_string();
    let done = boss.post("/api/set_member_role", &[("id", &id), ("role", "viewer")]).await;
    assert!(done.status.is_success(), "{}", done.text);
    let refused = there.post("/api/create_api_key", &make).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert_eq!(there.get("/connectors").await.status, StatusCode::OK);
    let back = boss.post("/api/set_member_role", &[("id", &id), ("role", "developer")]).await;
    assert!(back.status.is_success(), "{}", back.text);
    assert!(there.post("/api/create_api_key", &make).await.status.is_success());

    // Out: neither a page nor a function, and their client neither after one look.
    let token = connected(&app, &dev, "another").await;
    node.look().await;
    assert_eq!(node.answers(&token).await, StatusCode::OK);
    let done = boss.post("/api/remove_member", &[("id", &id)]).await;
    assert!(done.status.is_success(), "{}", done.text);
    for function in ["load_connectors", "load_team", "create_api_key"] {
        let fields = [&make[..], &[("search", ""), ("q", "")]].concat();
        let refused = there.post(&format!("/api/{function}"), &fields).await;
        assert!(refused.status.is_client_error(), "{function}: {} {}", refused.status, refused.text);
        assert_ne!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{function}: {}", refused.text);
    }
    let page = there.get("/team").await;
    assert!(!page.text.contains("owner@acme.example"), "{} {}", page.status, page.text);
    node.look().await;
    assert_eq!(node.answers(&token).await, StatusCode::UNAUTHORIZED);
    // A key is the organisation's, and stays.
    let key = app.key(&owner, KeyScope::All).await;
    node.look().await;
    assert_eq!(node.answers(&key.secret).await, StatusCode::OK);
}
both_test!(ten_04_who_is_removed_or_has_another_role_is_so_at_both_nodes, who_is_removed);

/// Half a log-in, which waits for its second step.
async fn half<'a>(app: &'a TestApp, front: &Front) -> Browser<'a> {
    let mut browser = app.browser_at(front);
    let answer = browser.log_in("owner@acme.example", PASSWORD).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/sign-in"));
    browser
}

async fn finish(browser: &mut Browser<'_>, code: &str) -> Answer {
    let csrf = browser.form_token("/sign-in").await;
    browser.post("/api/finish_sign_in", &[("code", code), ("csrf", &csrf)]).await
}

async fn codes_work_once(kind: Kind) {
    let app = TestApp::new(kind).await;
    let owner = app.org("acme").await;
    let backup = app.test.enrol(&owner.ctx).await;
    let node = Node::beside(&app).await;
    let fronts = [&app.front, &node.front];
    for n in 0..2 {
        let (first, second) = (fronts[n], fronts[1 - n]);
        for code in [mfa::code_now(&app.test.env, owner.user).await.expect("an app"), backup[n].clone()] {
            let (mut here, mut there) = (half(&app, first).await, half(&app, second).await);
            let done = finish(&mut here, &code).await;
            assert!(done.status.is_success() && is_in(&mut here).await, "{}", done.text);
            let refused = finish(&mut there, &code).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.text);
            assert_eq!(refused.json()["code"], "wrong_code");
        }
        app.test.clock.advance(30_000);
    }
    // Twenty at once, ten at each node.
    for code in [mfa::code_now(&app.test.env, owner.user).await.expect("an app"), backup[2].clone()] {
        let mut browsers = Vec::new();
        for n in 0..20 {
            browsers.push(half(&app, fronts[n % 2]).await);
        }
        let answers = join_all(browsers.iter_mut().map(|browser| finish(browser, &code))).await;
        let in_by_it = answers.iter().filter(|answer| answer.status.is_success()).count();
        let told: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(in_by_it, 1, "{told:?}");
        app.test.clock.advance(60 * 60 * 1000);
    }
}
both_test!(mfa_02_mfa_04_a_code_is_good_once_at_either_node, codes_work_once);

async fn failures_are_counted_together(kind: Kind) {
    let app = TestApp::new(kind).await;
    app.org("acme").await;
    let node = Node::beside(&app).await;
    let wrong = async |front: &Front| {
        let mut browser = app.browser_at(front);
        browser.log_in("owner@acme.example", "not the password").await
    };
    for n in 0..5 {
        let front = if n % 2 == 0 { &app.front } else { &node.front };
        assert_eq!(wrong(front).await.status, StatusCode::UNAUTHORIZED, "{n}");
    }
    // A node that has just started knows it as well: not even the right password is looked at.
    let fresh = Node::beside(&app).await;
    for front in [&app.front, &node.front, &fresh.front] {
        let refused = app.browser_at(front).log_in("owner@acme.example", PASSWORD).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.text);
        assert_eq!(refused.header("retry-after"), "1");
    }
    // The wait doubles with each failure, wherever it was.
    for (front, wait) in [(&fresh.front, "2"), (&app.front, "4"), (&node.front, "8")] {
        app.test.clock.advance(10_000);
        assert_eq!(wrong(front).await.status, StatusCode::UNAUTHORIZED);
        for front in [&app.front, &node.front, &fresh.front] {
            let refused = app.browser_at(front).log_in("owner@acme.example", PASSWORD).await;
            assert_eq!(
                (refused.status, refused.header("retry-after")),
                (StatusCode::TOO_MANY_REQUESTS, wait)
            );
        }
    }
    app.test.clock.advance(10_000);
    signed_in(&app, &node.front, "owner@acme.example").await;
    // And a right password ends it everywhere.
    assert_eq!(wrong(&app.front).await.status, StatusCode::UNAUTHORIZED);
    signed_in(&app, &fresh.front, "owner@acme.example").await;
}
both_test!(pwd_07_failures_are_counted_together_and_outlive_a_start, failures_are_counted_together);
