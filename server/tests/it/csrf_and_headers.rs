//! Requests of other sites, headers, limits of the edge.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::json;
use store::Kind;

use crate::support::{HOST, TestApp};

#[tokio::test]
async fn ses_06_only_pages_of_ours_may_change_anything() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[("sec-fetch-site", "same-origin")], true),
        (&[("origin", "http://localhost:3000")], true),
        (&[("origin", "http://127.0.0.1:3000")], true),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("sec-fetch-site", "cross-site")], false),
        (&[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:3000")], false),
        (&[("sec-fetch-site", "none")], false),
        (&[("origin", "http://evil.example")], false),
        (&[("origin", "https://localhost:3000")], false),
        (&[("origin", "http://localhost:3001")], false),
        (&[("origin", "null")], false),
        (&[], false),
    ];
    for path in ["/settings?do=update_org", "/api/update_org"] {
        for (headers, allowed) in cases {
            let mut request =
                Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let answer = browser.send(request, Body::from("name=New+name&description=")).await;
            assert_eq!(
                answer.status != StatusCode::FORBIDDEN,
                *allowed,
                "{path} {headers:?}: {}",
                answer.text
            );
            if !allowed {
                assert_eq!(answer.json()["code"], "csrf");
            }
        }
    }
}

#[tokio::test]
async fn ses_06_logging_in_needs_the_forms_own_token() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    let mut browser = app.browser();
    browser.form_token("/sign-in").await;
    let fields =
        [("email", "owner@acme.example"), ("password", domain::testing::PASSWORD), ("csrf", "forged")];
    let answer = browser.post("/sign-in?do=sign_in", &fields).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(!browser.cookies.contains_key("gatehouse"));
}

#[tokio::test]
async fn ses_07_server_functions_are_post_and_forms_only() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let answer = browser.get("/api/update_org?name=x&description=").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    for kind in ["text/plain", "application/json", "multipart/form-data; boundary=x"] {
        let request = Request::post("/api/update_org")
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, kind);
        let answer = browser.send(request, Body::from("name=x&description=")).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
}

#[tokio::test]
async fn hdr_01_pages_have_a_strict_policy_with_a_fresh_nonce() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let mut nonces = Vec::new();
    for path in ["/", "/sign-in", "/settings/api-keys", "/no-such-page"] {
        let page = browser.get(path).await;
        if page.status.is_redirection() {
            continue;
        }
        let policy = page.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "'strict-dynamic'",
            "report-to csp",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(page.header("reporting-endpoints"), "csp=\"/csp-reports\"", "{path}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"));
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        assert!(nonce.len() >= 22, "at least 128 bits");
        for script in page.text.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap();
            assert!(tag.contains(&format!("nonce=\"{nonce}\"")), "{path}: <script{tag}>");
        }
        assert!(
            !page.text.contains(" style=\"") && !page.text.contains(" onclick="),
            "{path}: inline style or handler"
        );
        nonces.push(nonce);
    }
    assert!(nonces.len() >= 3);
    nonces.sort();
    nonces.dedup();
    assert!(nonces.len() >= 3, "each answer has its own");
}

#[tokio::test]
async fn hdr_01_browsers_report_what_the_policy_stopped_and_a_flood_fills_nothing() {
    let (logged, _guard) = crate::kept::Logged::begin();
    let app = TestApp::new(Kind::Sqlite).await;
    let send = async |kind: &str, body: String| {
        let request = Request::post("/csp-reports")
            .header(header::HOST, crate::support::HOST)
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .unwrap();
        app.send(request).await.status
    };
    let report = json!([{"type": "csp-violation", "url": "x", "body": {
        "documentURL": "http://localhost:3000/invite/a-secret-token?q=1",
        "blockedURL": "https://evil.example/x.js?k=another-secret",
        "effectiveDirective": "script-src-elem",
    }}])
    .to_string();
    let kind = "application/reports+json";
    assert_eq!(send(kind, report.clone()).await, StatusCode::NO_CONTENT);
    let text = logged.text();
    for told in ["/invite/…", "https://evil.example", "script-src-elem"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(send("text/plain", report.clone()).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(send(kind, "{".into()).await, StatusCode::BAD_REQUEST);
    assert_eq!(send(kind, "x".repeat(17 * 1024)).await, StatusCode::PAYLOAD_TOO_LARGE);
    for _ in 0..50 {
        send(kind, report.clone()).await;
    }
    let lines = || logged.text().matches("a browser kept a page from something").count();
    assert_eq!(lines(), 20, "a minute's worth");
    app.test.clock.advance(60_000);
    send(kind, report).await;
    assert_eq!(lines(), 21);
    assert!(logged.text().contains("reports=52"), "all were counted: {}", logged.text());
}

#[tokio::test]
async fn hdr_02_every_answer_has_the_headers() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    for path in [
        "/",
        "/sign-in",
        "/livez",
        "/mcp/acme",
        "/.well-known/oauth-protected-resource/mcp/acme",
        "/assets/x/y",
        "/nope",
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert!(answer.headers.contains_key("permissions-policy"), "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(answer.headers.contains_key("content-security-policy"), "{path}");
        assert_eq!(answer.header("x-request-id").len(), 32, "{path}");
        assert!(!answer.headers.contains_key(header::SERVER), "{path}");
        assert!(
            !answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
                || path.starts_with("/.well-known"),
            "{path}"
        );
    }
    for path in ["/", "/sign-in", "/settings/api-keys", "/mcp/acme"] {
        assert_eq!(browser.get(path).await.header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn hdr_03_plain_http_behind_a_proxy_is_led_to_https_or_refused() {
    let settings =
        [("GATEHOUSE_PUBLIC_URL", "https://gatehouse.example"), ("GATEHOUSE_TRUSTED_PROXIES", "10.0.0.0/8")];
    let app = TestApp::with(Kind::Sqlite, &settings).await;
    let ask = |method: Method, path: &str, proto: &str| {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "gatehouse.example")
            .header("x-forwarded-proto", proto)
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(server::middleware::client::Peer("10.0.0.1:1".parse().unwrap()));
        request
    };
    let page = app.send(ask(Method::GET, "/sign-in?next=/settings", "http")).await;
    assert_eq!(page.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(page.header("location"), "https://gatehouse.example/sign-in?next=/settings");
    assert_eq!(app.send(ask(Method::POST, "/mcp/acme", "http")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(app.send(ask(Method::GET, "/sign-in", "https")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn hdr_04_tenant_text_is_inert_in_pages() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let name = "</script><img src=x onerror=alert(1)>";
    let answer =
        browser.post("/settings?do=update_org", &[("name", name), ("description", "</textarea><b>")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    for path in ["/", "/settings", "/connectors", "/settings/api-keys"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.text.contains("<img src=x"), "{path}");
        let at = page.text.find("</textarea><b>");
        assert!(
            at.is_none(),
            "{path}: {}",
            &page.text[at.unwrap_or(0).saturating_sub(200)..at.unwrap_or(0) + 40]
        );
    }
}

#[tokio::test]
async fn rsv_10_a_foreign_host_gets_no_page() {
    let app = TestApp::new(Kind::Sqlite).await;
    for host in ["evil.example", "localhost:3001", "localhost.evil.example:3000"] {
        let request = Request::get("/sign-in").header(header::HOST, host).body(Body::empty()).unwrap();
        assert_eq!(app.send(request).await.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    for host in ["localhost:3000", "127.0.0.1:3000", "[::1]:3000"] {
        let request = Request::get("/sign-in").header(header::HOST, host).body(Body::empty()).unwrap();
        assert_eq!(app.send(request).await.status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn req_01_req_05_oversized_requests_are_refused() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let long = format!("/?x={}", "a".repeat(9000));
    assert_eq!(browser.get(&long).await.status, StatusCode::URI_TOO_LONG);
    let big = "d".repeat(300 * 1024);
    let answer = browser.post("/settings?do=update_org", &[("name", "x"), ("description", &big)]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let request =
        Request::delete("/settings").header("sec-fetch-site", "same-origin").header(header::HOST, HOST);
    assert_eq!(app.send(request.body(Body::empty()).unwrap()).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn pwd_03_a_credential_form_is_small() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    let mut browser = app.browser();
    let csrf = browser.form_token("/sign-in").await;
    let password = "x".repeat(5000);
    let fields = [("email", "owner@acme.example"), ("password", password.as_str()), ("csrf", csrf.as_str())];
    let answer = browser.post("/sign-in?do=sign_in", &fields).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn err_03_probes_tell_whether_it_lives_and_whether_it_is_ready() {
    let app = TestApp::new(Kind::Sqlite).await;
    let ask = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(app.send(ask("/livez")).await.text, "ok");
    assert_eq!(app.send(ask("/readyz")).await.status, StatusCode::OK);
    app.test.env.db.close().await;
    let answer = app.send(ask("/readyz")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.text.contains("sqlx") && !answer.text.contains('/'), "{}", answer.text);
    assert_eq!(app.send(ask("/livez")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn err_03_asking_whether_it_is_ready_takes_no_writer() {
    let app = TestApp::new(Kind::Sqlite).await;
    let ask = || app.send(Request::get("/readyz").body(Body::empty()).unwrap());
    let writing = app.test.env.db.write().await.unwrap();
    let answer = tokio::time::timeout(std::time::Duration::from_secs(2), ask()).await.expect("at once");
    assert_eq!(answer.status, StatusCode::OK);
    assert!(app.work.write_path.check(&app.test.env).await.is_err(), "somebody writes for too long");
    assert_eq!(ask().await.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(writing);
    app.work.write_path.check(&app.test.env).await.unwrap();
    assert_eq!(ask().await.status, StatusCode::OK);
}

#[tokio::test]
async fn characters_that_no_database_keeps_are_refused() {
    let app = TestApp::new(Kind::Postgres).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    for (path, fields) in [
        ("/settings?do=update_org", [("name", "a\0b"), ("description", "")]),
        ("/api/update_org", [("name", "a"), ("description", "\0")]),
        ("/sign-in?do=sign_in", [("email", "a\0@example.com"), ("password", "x")]),
    ] {
        let answer = browser.post(path, &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
        assert_eq!(answer.json()["code"], "characters");
    }
    assert_eq!(browser.get("/settings?notice=%00").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn err_05_without_a_database_nobody_is_let_in() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    app.test.env.db.close().await;
    let page = browser.get("/settings").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page.json()["code"], "session_unavailable");
}

/// Pages are rendered in many tasks at once, and what one holds may be gone while another still reads it: each answer has
/// to be a whole page all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn err_01_pages_stand_many_readers_at_once() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let browser = app.signed_in(&member).await;
    let cookie = format!("gatehouse={}", browser.cookies["gatehouse"]);
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..300 {
        let path = ["/", "/connectors", "/settings", "/settings/api-keys", "/profile/sessions"][n % 5];
        let request =
            Request::get(path).header(header::HOST, HOST).header(header::COOKIE, &cookie).body(Body::empty());
        let router = app.front.clone();
        asking.spawn(async move {
            use tower::ServiceExt as _;
            let response = router.oneshot(request.unwrap()).await.unwrap();
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8_lossy(&body).contains("</html>"))
        });
    }
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap(), (StatusCode::OK, true));
    }
}
