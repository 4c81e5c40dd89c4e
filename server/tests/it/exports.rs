//! The pages of exports and imports, and who gets a file.

use std::io::Cursor;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use domain::{exports::Scribe, testing::PASSWORD};
use model::Role;
use serde_json::{Value, json};
use store::Kind;

use crate::support::{Browser, TestApp, input_value};

const PAGE: &str = "/settings/export";
const IMPORT: &str = "/settings/export/import";
const FILE: &str = "/settings/export-file";

/// A file with one connector, the demo server.
pub(crate) fn file_of(slug: &str) -> String {
    json!({
        "format": "gatehouse.connectors",
        "version": 1,
        "organisation": "Elsewhere",
        "connectors": [{"name": "Brought", "slug": slug, "transport": "demo", "url": "", "tool_policy": "alert"}],
    })
    .to_string()
}

async fn log_in<'a>(app: &'a TestApp, email: &str) -> Browser<'a> {
    let mut browser = app.browser();
    let answer = browser.log_in(email, PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    browser
}

async fn write(app: &TestApp) {
    assert!(Scribe::new(app.test.env.clone()).run_due().await.unwrap());
}

/// The file as bytes.
async fn download(app: &TestApp, browser: &Browser<'_>, id: &str) -> Vec<u8> {
    let cookies: Vec<String> =
        browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let request = Request::post(FILE)
        .header("host", crate::support::HOST)
        .header("cookie", cookies.join("; "))
        .header("accept-encoding", "gzip, br")
        .header("sec-fetch-site", "same-origin")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!("id={id}")))
        .unwrap();
    let response = app.respond(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers().clone();
    assert_eq!(headers[header::CONTENT_TYPE], "application/zip");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert!(!headers.contains_key(header::CONTENT_ENCODING), "a packed file is not packed again");
    let name = headers[header::CONTENT_DISPOSITION].to_str().unwrap();
    assert!(name.starts_with("attachment; filename=\"export-acme-") && name.ends_with(".zip\""), "{name}");
    let length: usize = headers[header::CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
    let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap().to_vec();
    assert_eq!(bytes.len(), length);
    bytes
}

#[tokio::test]
async fn del_05_an_export_is_asked_for_followed_and_downloaded_without_scripts() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let mut browser = app.signed_in(&acme).await;
    let page = browser.get(PAGE).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("No exports yet") && page.text.contains("Generate Export"), "{}", page.text);
    let none = browser.post(&format!("{PAGE}?do=create_export"), &[("format", "json")]).await;
    assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(none.text.contains("Choose at least one part to export"));
    let fields = [("parts[]", "members"), ("parts[]", "connectors"), ("format", "csv")];
    let asked = browser.post(&format!("{PAGE}?do=create_export"), &fields).await;
    assert_eq!(asked.header("location"), "/settings/export?notice=export-begun", "{}", asked.text);
    let again = browser.post(&format!("{PAGE}?do=create_export"), &fields).await;
    assert_eq!(again.header("location"), "/settings/export?notice=export-running");
    let running = browser.get(again.header("location")).await;
    assert!(running.text.contains("under way already. Nothing new was begun"), "{}", running.text);
    assert!(
        running.text.contains("Waiting") && running.text.contains("http-equiv=\"refresh\""),
        "{}",
        running.text
    );
    assert!(!running.text.contains(">Download<"));
    let id = input_value(&running.text, "id").expect("a form to cancel it");
    let early = browser.post(FILE, &[("id", &id)]).await;
    assert_eq!(early.status, StatusCode::CONFLICT);
    write(&app).await;
    let ready = browser.get(PAGE).await;
    assert!(ready.text.contains("Ready") && ready.text.contains(">Download<"), "{}", ready.text);
    assert!(!ready.text.contains("http-equiv=\"refresh\""), "there is nothing to wait for");
    let mut zip = zip::ZipArchive::new(Cursor::new(download(&app, &browser, &id).await)).unwrap();
    let manifest: Value = serde_json::from_reader(zip.by_name("manifest.json").unwrap()).unwrap();
    assert_eq!(manifest["parts"][1], json!({"name": "members", "file": "members.csv", "rows": 1}));
    assert_eq!(browser.get(FILE).await.status, StatusCode::METHOD_NOT_ALLOWED, "no link gives a file");
    let deleted = browser.post(&format!("{PAGE}?do=delete_export"), &[("id", &id)]).await;
    assert_eq!(deleted.header("location"), "/settings/export?notice=export-deleted");
    assert!(browser.get(PAGE).await.text.contains("No exports yet"));
    let log = browser.get("/settings/audit?action=export").await.text;
    for event in
        ["began an export of", "finished the export of", "downloaded an export of", "deleted an export of"]
    {
        assert!(log.contains(event), "{event}");
    }
}

#[tokio::test]
async fn del_05_ten_01_nobody_else_gets_the_file() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (acme, other) = (app.org("acme").await, app.org("other").await);
    let boss = app.test.member(&acme, "boss", Role::Admin).await;
    app.test.member(&acme, "dev", Role::Developer).await;
    let mut owner = app.signed_in(&acme).await;
    let fields = [("parts[]", "members"), ("format", "csv")];
    owner.post(&format!("{PAGE}?do=create_export"), &fields).await;
    write(&app).await;
    let list = owner.post("/api/load_exports", &[("view", "")]).await.json();
    let id = list["exports"][0]["id"].as_str().unwrap().to_owned();
    // An admin may, until they are a member no more.
    let mut admin = log_in(&app, "boss@acme.example").await;
    download(&app, &admin, &id).await;

    let random = "exp_00000000000000000000000007";
    let mut foreign = app.signed_in(&other).await;
    let bodies = |text: &str| text.replace(&id, "ID").replace(random, "ID");
    // Without the request's own id and the page's nonce.
    let without_id = |text: &str| {
        let text = text.split("req").next().unwrap_or_default();
        text.split(" nonce=\"")
            .map(|part| part.split_once('"').map_or(part, |(_, rest)| rest))
            .collect::<String>()
    };
    for (path, status) in [(FILE, StatusCode::NOT_FOUND), ("/api/delete_export", StatusCode::NOT_FOUND)] {
        let one = foreign.post(path, &[("id", &id)]).await;
        let two = foreign.post(path, &[("id", random)]).await;
        assert_eq!((one.status, two.status), (status, status), "{}", one.text);
        assert_eq!(without_id(&bodies(&one.text)), without_id(&bodies(&two.text)));
    }
    assert_eq!(foreign.post("/api/load_exports", &[("view", "")]).await.json()["exports"], json!([]));

    let mut dev = log_in(&app, "dev@acme.example").await;
    let page = dev.get(PAGE).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text.contains("export:create"));
    for path in [FILE, "/api/delete_export", "/api/refresh_exports"] {
        assert_eq!(dev.post(path, &[("id", &id)]).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(dev.post(path, &[("id", random)]).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let refused = dev.post("/api/create_export", &[("parts[0]", "members"), ("format", "csv")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);

    let mut nobody = app.browser();
    let refused = nobody.post(FILE, &[("id", &id)]).await;
    assert_eq!(refused.header("location"), "/sign-in?next=/settings/export");
    assert_eq!(nobody.post("/api/delete_export", &[("id", &id)]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(nobody.post("/api/load_exports", &[("view", "")]).await.status, StatusCode::UNAUTHORIZED);

    let request = Request::post(FILE)
        .header("sec-fetch-site", "cross-site")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let forged = owner.send(request, Body::from(format!("id={id}"))).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN, "ses_06: not for another site");

    let operator = domain::pin::Guarded::operator(acme.org_id());
    domain::team::remove(&app.test.env, &operator, boss.user).await.unwrap();
    let gone = admin.post(FILE, &[("id", &id)]).await;
    assert!(gone.status == StatusCode::NOT_FOUND || gone.status.is_redirection(), "{}", gone.status);

    app.test.clock.advance(7 * 24 * 60 * 60 * 1000 + 1000);
    let mut owner = app.signed_in(&acme).await;
    assert_eq!(owner.post(FILE, &[("id", &id)]).await.status, StatusCode::NOT_FOUND, "its time is over");
    assert!(owner.get(PAGE).await.text.contains("No exports yet"));
}

#[tokio::test]
async fn connectors_are_imported_without_scripts_after_they_were_shown() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let mut browser = app.signed_in(&acme).await;
    assert_eq!(browser.get(IMPORT).await.status, StatusCode::OK);
    let act = format!("{IMPORT}?do=import_connectors");
    let wrong = browser.post(&act, &[("text", "{\"a\": 1}"), ("clash", "rename")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("This is no file of connectors from Gatehouse"), "{}", wrong.text);
    let large = browser.post(&act, &[("text", &"x".repeat(90_000)), ("clash", "rename")]).await;
    assert!(large.text.contains("gatehouse admin import"), "{}", large.status);
    let file = file_of("brought");
    let planned = browser.post(&act, &[("text", &file), ("clash", "rename")]).await;
    assert_eq!(planned.status, StatusCode::OK);
    assert!(
        planned.text.contains("What would be made") && planned.text.contains("Import 1 connector"),
        "{}",
        planned.text
    );
    assert!(!browser.get("/connectors").await.text.contains("Brought"), "only looked");
    let seen = input_value(&planned.text, "seen").expect("what was seen");
    let made = browser.post(&act, &[("text", &file), ("clash", "rename"), ("seen", &seen)]).await;
    assert_eq!(made.header("location"), "/connectors?notice=connectors-imported", "{}", made.text);
    assert!(browser.get("/connectors").await.text.contains("Brought"));
    let again = browser.post(&act, &[("text", &file), ("clash", "rename"), ("seen", &seen)]).await;
    assert!(
        again.text.contains("this is not what you saw") && again.text.contains("Added as brought-2"),
        "{}",
        again.text
    );
    // Whoever may add connectors may import them, also without exporting; others may not.
    app.test.member(&acme, "dev", Role::Developer).await;
    app.test.member(&acme, "viewer", Role::Viewer).await;
    assert_eq!(log_in(&app, "dev@acme.example").await.get(IMPORT).await.status, StatusCode::OK);
    let mut viewer = log_in(&app, "viewer@acme.example").await;
    assert_eq!(viewer.get(IMPORT).await.status, StatusCode::FORBIDDEN);
    assert_eq!(viewer.post("/api/import_connectors", &[("text", &file)]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/settings/export/nothing").await.status, StatusCode::NOT_FOUND);
    let help = app.browser().get("/help/export").await;
    assert!(help.status == StatusCode::OK && help.text.contains("manifest.json"));
}
