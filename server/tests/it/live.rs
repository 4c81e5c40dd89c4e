//! The stream that tells a page of what others change.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, Response, StatusCode, header},
};
use futures_util::StreamExt as _;
use model::{Role, api_keys::KeyScope};
use server::middleware::client::Peer;
use store::Kind;
use tower::ServiceExt as _;

use crate::support::{HOST, TestApp};

async fn open(app: &TestApp, cookie: &str, path: &str) -> Response<Body> {
    let request = Request::get(path)
        .header(header::HOST, HOST)
        .header(header::COOKIE, format!("gatehouse={cookie}"))
        .extension(Peer(SocketAddr::from(([127, 0, 0, 1], 1))))
        .body(Body::empty())
        .expect("a request");
    app.front.clone().oneshot(request).await.expect("an answer")
}

/// The next thing said that is no sign of life; `None` when the stream has ended.
async fn next(stream: &mut BodyDataStream) -> Option<String> {
    loop {
        let said = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("in time")?;
        let said = String::from_utf8(said.expect("bytes").to_vec()).expect("text");
        if !said.starts_with(':') {
            return Some(said);
        }
    }
}

#[tokio::test]
async fn a_change_of_somebody_else_is_told_to_whoever_looks_at_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let browser = app.signed_in(&acme).await;
    let answer = open(&app, &browser.cookies["gatehouse"], "/live?at=/settings/api-keys").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    let mut stream = answer.into_body().into_data_stream();
    assert_eq!(next(&mut stream).await.as_deref(), Some("retry: 1000\n\n"));
    app.key(&acme, KeyScope::All).await;
    let told = next(&mut stream).await.expect("news");
    assert!(told.starts_with("event: stale\nid: ") && told.ends_with("\ndata: 1\n\n"), "{told}");
}

#[tokio::test]
async fn ses_03_a_stream_of_a_page_ends_with_its_session() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let browser = app.signed_in(&acme).await;
    let answer = open(&app, &browser.cookies["gatehouse"], "/live?at=/team").await;
    let mut stream = answer.into_body().into_data_stream();
    next(&mut stream).await;
    let mut tx = app.test.env.db.write().await.unwrap();
    store::sessions::delete_all_of_user(&mut tx, acme.user).await.unwrap();
    tx.commit().await.unwrap();
    let ended = Instant::now();
    assert_eq!(next(&mut stream).await, None);
    // Within a second, and as much again for a busy machine.
    assert!(ended.elapsed() < Duration::from_secs(2), "{:?}", ended.elapsed());
}

#[tokio::test]
async fn ten_04_a_stream_of_a_page_ends_with_the_right_to_see_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let dev = app.test.member(&acme, "dev", Role::Developer).await;
    let mut theirs = app.browser();
    theirs.log_in("dev@acme.example", domain::testing::PASSWORD).await;
    let mut owner = app.signed_in(&acme).await;
    let id = dev.user.to_string();
    for (function, fields) in [
        ("set_member_role", vec![("id", id.as_str()), ("role", "member")]),
        ("remove_member", vec![("id", id.as_str())]),
    ] {
        let back = [("id", id.as_str()), ("role", "developer")];
        assert!(owner.post("/api/set_member_role", &back).await.status.is_success());
        let answer = open(&app, &theirs.cookies["gatehouse"], "/live?at=/settings/api-keys").await;
        assert_eq!(answer.status(), StatusCode::OK, "{function}");
        let mut stream = answer.into_body().into_data_stream();
        next(&mut stream).await;
        let done = owner.post(&format!("/api/{function}"), &fields).await;
        assert!(done.status.is_success(), "{function}: {}", done.text);
        let ended = Instant::now();
        while let Some(said) = next(&mut stream).await {
            assert!(ended.elapsed() < Duration::from_secs(2), "{function}: {said}");
        }
        assert!(ended.elapsed() < Duration::from_secs(2), "{function}: {:?}", ended.elapsed());
    }
}

#[tokio::test]
async fn ten_01_only_who_may_see_a_page_hears_of_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let browser = app.signed_in(&acme).await;
    let cookie = &browser.cookies["gatehouse"];
    for page in ["/settings/api-keys/new", "/sign-in", "https://elsewhere.example/team", ""] {
        let path = format!("/live?at={}", model::paths::encode(page));
        assert_eq!(open(&app, cookie, &path).await.status(), StatusCode::NO_CONTENT, "{page}");
    }
    assert_eq!(open(&app, "nobody", "/live?at=/team").await.status(), StatusCode::UNAUTHORIZED);
    let key = app.key(&acme, KeyScope::All).await;
    assert_eq!(open(&app, &key.secret, "/live?at=/team").await.status(), StatusCode::UNAUTHORIZED);
    app.test.member(&acme, "member", Role::Member).await;
    let mut theirs = app.browser();
    theirs.log_in("member@acme.example", domain::testing::PASSWORD).await;
    let answer = open(&app, &theirs.cookies["gatehouse"], "/live?at=/settings/api-keys").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}
