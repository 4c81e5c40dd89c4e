//! The audit log's page and its export.

use axum::http::{StatusCode, header};
use model::{Plan, Role};
use store::Kind;

use crate::support::{Browser, TestApp, input_value};

async fn log_in<'a>(app: &'a TestApp, email: &str) -> Browser<'a> {
    let mut browser = app.browser();
    let answer = browser.log_in(email, domain::testing::PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    browser
}

#[tokio::test]
async fn the_log_is_read_filtered_and_exported_without_scripts() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let mut browser = app.signed_in(&acme).await;
    let fields = [("name", "=Acme <b>two</b>"), ("description", "")];
    assert_eq!(browser.post("/settings?do=update_org", &fields).await.status, StatusCode::SEE_OTHER);

    let page = browser.get("/settings/audit").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("settings.updated") && page.text.contains("logged in"), "{}", page.text);
    assert!(!page.text.contains("<b>two</b>"), "names are inert");
    let filtered = browser.get("/settings/audit?action=settings&from=2020-01-01").await;
    assert!(filtered.text.contains("settings.updated") && !filtered.text.contains("auth.signed_in"));
    let none = browser.get("/settings/audit?to=2020-01-01").await;
    assert!(none.text.contains("No events match these filters"));
    let wrong = browser.get("/settings/audit?from=yesterday").await;
    assert!(wrong.text.contains("Write a day as year, month and day"), "{}", wrong.text);

    let at = filtered.text.find("/settings/audit/evt_").expect("a link to the event");
    let path: String = filtered.text[at..].chars().take_while(|c| *c != '"').collect();
    let event = browser.get(&path).await;
    assert_eq!(event.status, StatusCode::OK);
    assert!(event.text.contains("=Acme &lt;b&gt;two"), "{}", event.text);
    assert_eq!(
        browser.get("/settings/audit/evt_00000000000000000000000007").await.status,
        StatusCode::NOT_FOUND
    );

    let made_in = input_value(&page.text, "made_in_org").expect("the form says where it was made");
    for (format, kind) in [("csv", "text/csv; charset=utf-8"), ("json", "application/json")] {
        let fields = [("made_in_org", made_in.as_str()), ("action", "settings"), ("format", format)];
        let file = browser.post("/settings/audit-export", &fields).await;
        assert_eq!(file.status, StatusCode::OK, "{}", file.text);
        assert_eq!(file.header("content-type"), kind);
        assert_eq!(
            file.header("content-disposition"),
            format!("attachment; filename=\"audit-acme.{format}\"")
        );
        assert_eq!(file.header("cache-control"), "no-store");
        assert!(
            file.text.contains("settings.updated") && !file.text.contains("auth.signed_in"),
            "{}",
            file.text
        );
    }
    assert_eq!(
        browser.post("/settings/audit-export", &[("format", "exe")]).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        browser.get("/settings/audit-export").await.status,
        StatusCode::METHOD_NOT_ALLOWED,
        "a GET exports nothing"
    );
    let page = browser.get("/settings/audit?action=export").await;
    assert!(page.text.contains("audit.exported"), "an export is an event");
}

#[tokio::test]
async fn aud_01_an_event_says_who_how_and_from_where() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let mut browser = app.signed_in(&acme).await;
    let fields = [("name", "Acme two"), ("description", "")];
    assert_eq!(browser.post("/settings?do=update_org", &fields).await.status, StatusCode::SEE_OTHER);
    let headers = [
        ("name", "Docs"),
        ("slug", "docs"),
        ("description", ""),
        ("url", "https://mcp.invalid/"),
        ("header_name[]", "Authorization"),
        ("header_value[]", "Bearer very-secret-value"),
        ("keep", "on"),
    ];
    let added = browser.post("/connectors/new?do=add_connector", &headers).await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    assert_eq!(browser.post("/settings/audit-export", &[("format", "csv")]).await.status, StatusCode::OK);
    let file = browser.post("/settings/audit-export", &[("format", "json")]).await.json();
    let events = file.as_array().expect("events");
    let of = |action: &str| {
        events.iter().find(|event| event["action"] == action).unwrap_or_else(|| panic!("{action} in {file}"))
    };
    let renamed = of("settings.updated");
    assert_eq!(renamed["version"], 2);
    assert_eq!(renamed["result"], "ok");
    assert_eq!(renamed["changes"]["name"][1], "Acme two");
    assert_eq!(renamed["actor"]["type"], "user");
    assert_eq!(renamed["actor"]["auth_method"], "password");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let session = text(&renamed["actor"]["key_id"]);
    assert!(session.starts_with("ses_"), "{session}");
    assert_eq!(of("audit.exported")["actor"]["key_id"], session.as_str());
    let at = text(&renamed["occurred_at"]);
    assert_eq!((at.len(), at.as_bytes()[19], at.ends_with('Z')), (27, b'.', true), "{at}");
    assert_eq!(text(&renamed["id"]).len(), 30);
    for field in ["user_agent", "request_id", "node"] {
        assert!(!text(&renamed["context"][field]).is_empty(), "{field}");
    }
    assert_eq!(of("auth.signed_in")["actor"]["auth_method"], "password");
    assert_eq!(of("org.created")["actor"]["auth_method"], "cli");
    assert!(!file.to_string().contains("very-secret-value"));
    // The page of the event and the table say the same.
    let page = browser.get(&format!("/settings/audit/{}", text(&renamed["id"]))).await;
    assert!(page.text.contains("Authenticated by") && page.text.contains(&session), "{}", page.text);
    let table = browser.post("/settings/audit-export", &[("format", "csv")]).await;
    let heads = table.text.lines().next().expect("a line of heads");
    assert!(heads.ends_with("category,version,auth_method,key_id"), "{heads}");
    assert!(table.text.contains(&format!("\"password\",\"{session}\"")));
}

/// Everything that every log says.
async fn whole_log(app: &TestApp, org: model::OrgId) -> String {
    let mut tx = app.test.env.db.read().await.unwrap();
    let mut text = String::new();
    for chain in [None, Some(org)] {
        for row in store::audit_chain::list_after(&mut tx, chain, 0, 10_000).await.unwrap() {
            text = format!("{text}{row:?}\n");
        }
    }
    text
}

#[tokio::test]
async fn aud_08_what_a_tool_was_given_and_answered_is_in_no_audit_event() {
    const CANARY: &str = "canary-3f9c1b";
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    domain::connectors::add_demo(&app.test.env, &acme.actor().await).await.unwrap();
    let key = app.key(&acme, model::api_keys::KeyScope::All).await.secret;
    // By an agent, and by a person in the playground; also where it goes wrong.
    for (tool, argument) in [("demo__echo", "text"), ("demo__nothing", "text"), ("demo__echo", "unknown")] {
        let params = serde_json::json!({"name": tool, "arguments": {argument: CANARY}});
        let answer = app.rpc("/mcp/acme", &key, "tools/call", params).await;
        assert!(
            answer.text.contains(CANARY) || tool != "demo__echo" || argument != "text",
            "{}",
            answer.text
        );
    }
    let mut browser = app.signed_in(&acme).await;
    let fields = [("tool", "demo/echo"), ("names[0]", "text"), ("args[0]", CANARY)];
    let played = browser.post("/api/run_tool", &fields).await;
    assert!(played.text.contains(CANARY), "{}", played.text);
    let log = whole_log(&app, acme.org_id()).await;
    assert!(log.contains("mcp.created") && !log.contains(CANARY), "{log}");
}

#[tokio::test]
async fn ses_06_an_export_is_not_made_for_another_site() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let mut browser = app.signed_in(&acme).await;
    let request = axum::http::Request::post("/settings/audit-export")
        .header("sec-fetch-site", "cross-site")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = browser.send(request, axum::body::Body::from("format=csv")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn ten_04_who_may_not_read_the_log_is_told_who_can() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    app.test.member(&acme, "dev", Role::Developer).await;
    let mut dev = log_in(&app, "dev@acme.example").await;
    let page = dev.get("/settings/audit").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text.contains("audit:read"));
    assert_eq!(dev.post("/settings/audit-export", &[("format", "csv")]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(dev.post("/api/load_audit", &[("search", "")]).await.status, StatusCode::FORBIDDEN);
    let mut nobody = app.browser();
    let refused = nobody.post("/settings/audit-export", &[("format", "csv")]).await;
    assert_eq!(refused.status, StatusCode::SEE_OTHER);
    assert_eq!(refused.header("location"), "/sign-in?next=/settings/audit");
}

#[tokio::test]
async fn a_plan_without_the_log_says_which_has_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let changes = domain::orgs::OperatorChanges { plan: Some(Plan::Free), ..Default::default() };
    domain::orgs::set_by_operator(&app.test.env, acme.org_id(), changes).await.unwrap();
    let mut browser = app.signed_in(&acme).await;
    let page = browser.get("/settings/audit").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("Included in the plans Pro, Team and Enterprise"));
    assert!(!page.text.contains("org.created"));
    assert_eq!(
        browser.post("/settings/audit-export", &[("format", "csv")]).await.status,
        StatusCode::FORBIDDEN
    );
}
