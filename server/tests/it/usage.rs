//! Usage on the overview and on API keys, as pages have it.

use axum::http::StatusCode;
use domain::{connectors, testing::PASSWORD};
use model::{Role, api_keys::KeyScope};
use serde_json::json;
use store::Kind;

use crate::support::TestApp;

/// The page's own part, without what frames it.
fn usage(html: &str) -> &str {
    html.split("class=\"usage\">").nth(1).and_then(|rest| rest.split("</section>").next()).unwrap_or_default()
}

async fn charts(kind: Kind) {
    let app = TestApp::new(kind).await;
    let (owner, other) = (app.org("acme").await, app.org("bolt").await);
    connectors::add_demo(&app.test.env, &owner.actor().await).await.unwrap();
    let key = app.key(&owner, KeyScope::All).await;
    let mut browser = app.signed_in(&owner).await;
    let page = browser.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(usage(&page.text).contains("No requests yet."), "{}", page.text);

    for (tool, times) in [("demo__echo", 5), ("demo__<script>alert(1)</script>", 2)] {
        for _ in 0..times {
            let arguments = json!({"text": "hello"});
            app.rpc("/mcp/acme", &key.secret, "tools/call", json!({"name": tool, "arguments": arguments}))
                .await;
        }
    }
    app.work.meter.requests.flush(&app.test.env).await.unwrap();
    app.work.meter.flush(&app.test.env).await.unwrap();
    for range in ["24h", "7d", "30d", "90d"] {
        let page = browser.get(&format!("/?range={range}")).await;
        let shown = usage(&page.text);
        assert!(
            shown.contains("Requests by outcome: 7 in all, 2 failed or were refused"),
            "{range}: {shown}"
        );
        assert!(shown.contains(&format!("range={range}#usage\" aria-current=\"true\"")), "{range}");
        assert!(shown.contains("echo") && shown.contains(">5<"), "{range}: {shown}");
        // What somebody called a tool is text (HDR-04), and nothing has a style of its own (HDR-01).
        assert!(!shown.contains("<script") && !shown.contains("style="), "{range}: {shown}");
        // Reached within the browser it is the same.
        let answer = browser.post("/api/load_overview", &[("search", &format!("range={range}"))]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let drawn = answer.json()[1].as_str().unwrap().to_owned();
        assert!(shown.starts_with(&drawn), "{range}: {drawn}\n{shown}");
    }
    // The numbers lead to the requests that they count.
    let page = browser.get("/?range=24h").await;
    let link = usage(&page.text)
        .split("href=\"")
        .map(|rest| rest.split('"').next().unwrap_or_default().replace("&amp;", "&"))
        .find(|link| link.starts_with("/activity?range=") && link.ends_with("outcome=ok"))
        .unwrap_or_else(|| panic!("no link to the log: {}", page.text));
    let log = browser.get(&link).await;
    assert_eq!(log.text.matches("<tr").count() - 1, 5, "{link}: {}", log.text);
    // An hour before there was none.
    app.test.clock.advance(2 * 60 * 60 * 1000);
    let empty = browser.get("/?from=2020-01-01&to=2020-01-02").await;
    assert!(usage(&empty.text).contains("No requests in this time."), "{}", empty.text);
    let wrong = browser.get("/?from=2020-01-02&to=2020-01-01").await;
    assert!(usage(&wrong.text).contains("The first day comes after the last one"), "{}", wrong.text);
    let script = browser.get("/?range=%22%3E%3Cscript%3E&from=%3Cscript%3E").await;
    assert!(!usage(&script.text).contains("<script"), "{}", script.text);
    // On the key.
    let keys = browser.get("/settings/api-keys").await;
    assert!(keys.text.contains("Calls a day in the last 30 days, 5 calls, 0 failed"), "{}", keys.text);

    let mut stranger = app.signed_in(&other).await;
    assert!(usage(&stranger.get("/").await.text).contains("No requests yet."));
    app.test.member(&owner, "mia", Role::Member).await;
    let mut mia = app.browser();
    let answer = mia.log_in("mia@acme.example", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let denied = mia.get("/").await;
    assert!(usage(&denied.text).contains("<code>usage:read</code>"), "{}", denied.text);
    assert!(!usage(&denied.text).contains("<svg"));
}

#[tokio::test]
async fn usage_is_drawn_for_those_who_may_see_it_sqlite() {
    charts(Kind::Sqlite).await;
}

#[tokio::test]
async fn usage_is_drawn_for_those_who_may_see_it_postgres() {
    charts(Kind::Postgres).await;
}
