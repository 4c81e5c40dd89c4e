//! The authorization server through the real router: what is asked, what is answered, with which headers.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use domain::testing::TestMember;
use serde_json::{Value, json};
use store::Kind;

use crate::support::{Answer, Browser, HOST, TestApp, input_value};

const REDIRECT: &str = "http://localhost:4444/callback";
// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const RESOURCE: &str = "http://localhost:3000/mcp/acme";
const ISSUER: &str = "http://localhost:3000";

fn pairs(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| model::paths::encode_segment(text);
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

pub(crate) async fn post_form(app: &TestApp, path: &str, fields: &[(&str, &str)]) -> Answer {
    post(app, path, "application/x-www-form-urlencoded", &[], pairs(fields)).await
}

async fn post(
    app: &TestApp,
    path: &str,
    kind: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::post(path).header(header::HOST, HOST).header(header::CONTENT_TYPE, kind);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send(request.body(body.into()).unwrap()).await
}

async fn register(app: &TestApp, said: &Value) -> Answer {
    post(app, "/oauth/register", "application/json", &[], said.to_string()).await
}

pub(crate) async fn client_of(app: &TestApp, more: Value) -> Value {
    let mut said = json!({"client_name": "Some app", "redirect_uris": [REDIRECT]});
    said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = register(app, &said).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is missing: {value}"))
}

/// The address of a good request, with other values for some parameters; `None` leaves one out.
pub(crate) fn authorize(client: &str, changes: &[(&str, Option<&str>)]) -> String {
    let mut fields = vec![
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("state", "st&te ü"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", RESOURCE),
        ("scope", "mcp:call offline_access"),
    ];
    for (name, value) in changes {
        fields.retain(|(known, _)| known != name);
        fields.extend(value.map(|value| (*name, value)));
    }
    format!("/oauth/authorize?{}", pairs(&fields))
}

/// The parameters of a redirect to the client.
fn told(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let location = answer.header("location");
    let url: url::Url = location.parse().unwrap_or_else(|_| panic!("{location}"));
    assert!(location.starts_with(REDIRECT), "{location}");
    let told: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    assert!(told.contains(&("iss".to_owned(), ISSUER.to_owned())), "{told:?}");
    told
}

fn of<'a>(told: &'a [(String, String)], name: &str) -> Option<&'a str> {
    told.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

async fn consent(
    browser: &mut Browser<'_>,
    client: &str,
    changes: &[(&str, Option<&str>)],
) -> (String, Answer) {
    let asked = browser.get(&authorize(client, changes)).await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.text);
    let path = asked.header("location").to_owned();
    assert!(path.starts_with("/oauth/consent?request="), "{path}");
    let page = browser.get(&path).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let request = input_value(&page.text, "request").expect("a form");
    (request, page)
}

pub(crate) async fn code(browser: &mut Browser<'_>, member: &TestMember, client: &str) -> String {
    code_for(browser, member, client, &[]).await
}

/// The same for a request with other values for some parameters.
pub(crate) async fn code_for(
    browser: &mut Browser<'_>,
    member: &TestMember,
    client: &str,
    changes: &[(&str, Option<&str>)],
) -> String {
    let (request, _) = consent(browser, client, changes).await;
    let org = member.org_id().to_string();
    let fields = [("request", request.as_str()), ("org", &org), ("decision", "allow"), ("all", "on")];
    let answer = browser.post("/oauth/consent/decision", &fields).await;
    let told = told(&answer);
    assert_eq!(of(&told, "state"), Some("st&te ü"));
    of(&told, "code").expect("a code").to_owned()
}

pub(crate) async fn redeem(app: &TestApp, client: &str, code: &str) -> Answer {
    redeem_for(app, client, code, RESOURCE).await
}

pub(crate) async fn redeem_for(app: &TestApp, client: &str, code: &str, resource: &str) -> Answer {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("resource", resource),
    ];
    post_form(app, "/oauth/token", &fields).await
}

pub(crate) async fn refresh(app: &TestApp, client: &str, token: &str) -> Answer {
    let fields = [("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)];
    post_form(app, "/oauth/token", &fields).await
}

pub(crate) async fn list_tools(app: &TestApp, token: &str) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let request = Request::post("/mcp/acme")
        .header(header::HOST, HOST)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    app.send(request).await
}

async fn whole_flow(kind: Kind) {
    let app = TestApp::new(kind).await;
    let member = app.org("acme").await;
    domain::connectors::add_demo(&app.test.env, &member.actor().await).await.unwrap();
    let client = client_of(&app, json!({"application_type": "native"})).await;
    let id = text(&client, "client_id");

    // Nobody is signed in: the way leads through the log-in page and back.
    let mut browser = app.browser();
    let asked = browser.get(&authorize(id, &[])).await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    let log_in = asked.header("location").to_owned();
    assert!(log_in.starts_with("/sign-in?next=/oauth/authorize"), "{log_in}");
    let page = browser.get(&log_in).await;
    let (csrf, next) = (input_value(&page.text, "csrf").unwrap(), input_value(&page.text, "next").unwrap());
    let next = next.replace("&amp;", "&");
    let fields = [
        ("email", "owner@acme.example"),
        ("password", domain::testing::PASSWORD),
        ("csrf", csrf.as_str()),
        ("next", next.as_str()),
    ];
    let back = browser.post("/sign-in?do=sign_in", &fields).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.text);
    let back = back.header("location").to_owned();
    assert!(back.starts_with("/oauth/authorize?"), "{back}");
    assert!(browser.get(&back).await.header("location").starts_with("/oauth/consent?request="));

    let code = code(&mut browser, &member, id).await;
    let issued = redeem(&app, id, &code).await;
    assert_eq!(issued.status, StatusCode::OK, "{}", issued.text);
    assert_eq!((issued.header("cache-control"), issued.header("pragma")), ("no-store", "no-cache"));
    let issued = issued.json();
    assert_eq!((&issued["token_type"], &issued["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(issued["scope"], "mcp:call offline_access");
    app.settle().await;
    let tools = list_tools(&app, text(&issued, "access_token")).await;
    assert_eq!(tools.status, StatusCode::OK, "{}", tools.text);
    assert!(tools.text.contains("demo__echo"), "{}", tools.text);

    let renewed = refresh(&app, id, text(&issued, "refresh_token")).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text);
    let renewed = renewed.json();
    assert_eq!(list_tools(&app, text(&renewed, "access_token")).await.status, StatusCode::OK);

    // The client signs out, as Claude Code does: refresh token first, then the access token.
    for token in ["refresh_token", "access_token"] {
        let fields = [("token", text(&renewed, token)), ("client_id", id), ("token_type_hint", token)];
        let answer = post_form(&app, "/oauth/revoke", &fields).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    }
    app.settle().await;
    assert_eq!(list_tools(&app, text(&renewed, "access_token")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn oat_02_from_log_in_to_a_call_on_sqlite() {
    whole_flow(Kind::Sqlite).await;
}

#[tokio::test]
async fn oat_02_from_log_in_to_a_call_on_postgres() {
    whole_flow(Kind::Postgres).await;
}

#[tokio::test]
async fn oat_02_the_second_use_of_a_code_ends_its_access_token() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let client = client_of(&app, json!({})).await;
    let id = text(&client, "client_id");
    let mut browser = app.signed_in(&member).await;
    let code = code(&mut browser, &member, id).await;
    let issued = redeem(&app, id, &code).await.json();
    app.settle().await;
    assert_eq!(list_tools(&app, text(&issued, "access_token")).await.status, StatusCode::OK);
    let again = redeem(&app, id, &code).await;
    assert_eq!((again.status, text(&again.json(), "error")), (StatusCode::BAD_REQUEST, "invalid_grant"));
    app.settle().await;
    assert_eq!(list_tools(&app, text(&issued, "access_token")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(list_tools(&app, &code).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(list_tools(&app, text(&issued, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn oam_01_metadata_is_what_the_server_does_and_everybody_may_read_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let request = Request::get(path)
            .header(header::HOST, HOST)
            .header("x-forwarded-host", "evil.example")
            .header("mcp-protocol-version", "2024-11-05")
            .body(Body::empty())
            .unwrap();
        let answer = app.send(request).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin");
        assert!(answer.header("content-type").starts_with("application/json"));
        let document = answer.json();
        assert_eq!(document["issuer"], ISSUER);
        assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(document["response_types_supported"], json!(["code"]));
        assert_eq!(
            document["grant_types_supported"],
            json!(["authorization_code", "refresh_token", "client_credentials"])
        );
        for flag in
            ["authorization_response_iss_parameter_supported", "client_id_metadata_document_supported"]
        {
            assert_eq!(document[flag], true, "{flag}");
        }
        for (name, path) in [
            ("authorization_endpoint", "/oauth/authorize"),
            ("token_endpoint", "/oauth/token"),
            ("registration_endpoint", "/oauth/register"),
            ("revocation_endpoint", "/oauth/revoke"),
            ("introspection_endpoint", "/oauth/introspect"),
            ("jwks_uri", "/oauth/jwks.json"),
        ] {
            assert_eq!(document[name], format!("{ISSUER}{path}"));
        }
    }
    for path in
        ["/.well-known/oauth-authorization-server/mcp/acme", "/.well-known/openid-configuration/mcp/acme"]
    {
        let answer =
            app.send(Request::get(path).header(header::HOST, HOST).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "the issuer has no path");
    }
    let elsewhere = Request::get("/.well-known/oauth-authorization-server")
        .header(header::HOST, "evil.example")
        .body(Body::empty())
        .unwrap();
    assert_eq!(app.send(elsewhere).await.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn oam_01_pages_of_others_may_call_what_needs_no_cookie() {
    let app = TestApp::new(Kind::Sqlite).await;
    for (path, open) in [
        ("/.well-known/oauth-authorization-server", true),
        ("/oauth/jwks.json", true),
        ("/oauth/token", true),
        ("/oauth/revoke", true),
        ("/oauth/register", true),
        ("/oauth/authorize", false),
        ("/oauth/introspect", false),
        ("/oauth/consent/decision", false),
    ] {
        for method in [Method::OPTIONS, Method::GET, Method::POST] {
            let request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(header::HOST, HOST)
                .header(header::ORIGIN, "https://app.example")
                .header("access-control-request-method", "POST")
                .body(Body::empty())
                .unwrap();
            let answer = app.send(request).await;
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed == "*", open, "{method} {path}: {}", answer.status);
            assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "{path}");
            if open && method == Method::OPTIONS {
                assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
                assert!(answer.header("access-control-allow-headers").contains("Content-Type"), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn oak_03_public_keys_have_no_private_part() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.test.env.keys.signer(&app.test.env).await.unwrap();
    let request = Request::get("/oauth/jwks.json").header(header::HOST, HOST).body(Body::empty()).unwrap();
    let answer = app.send(request).await;
    assert_eq!(answer.header("cache-control"), "public, max-age=3600");
    let keys = answer.json();
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&json!("RSA"), &json!("RS256"), &json!("sig")));
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        assert!(key.get(private).is_none());
    }
}

#[tokio::test]
async fn oaz_01_without_a_known_client_and_its_address_there_is_a_page_and_no_redirect() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let client = client_of(&app, json!({})).await;
    let id = text(&client, "client_id");
    let twice = format!("{}&redirect_uri={REDIRECT}", authorize(id, &[]));
    let two_clients = format!("{}&client_id={id}", authorize(id, &[]));
    let cases = [
        authorize("gth_client_nobody", &[]),
        authorize("https://localhost/client.json", &[]),
        authorize(id, &[("client_id", None)]),
        authorize(id, &[("redirect_uri", None)]),
        authorize(id, &[("redirect_uri", Some("https://evil.example/cb"))]),
        authorize(id, &[("redirect_uri", Some("javascript:alert(1)"))]),
        authorize(id, &[("redirect_uri", Some("http://localhost:4444/callback/../x"))]),
        twice,
        two_clients,
        format!("/oauth/authorize?client_id={id}%00&redirect_uri={REDIRECT}"),
        "/oauth/authorize".to_owned(),
        "/oauth/authorize?%ff=%zz&&&=".to_owned(),
    ];
    let mut browser = app.signed_in(&member).await;
    let mut anonymous = app.browser();
    for path in cases {
        for browser in [&mut browser, &mut anonymous] {
            let answer = browser.get(&path).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
            assert!(answer.header("content-type").starts_with("text/html"), "{path}");
            assert!(!answer.headers.contains_key(header::LOCATION), "{path}");
            assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        }
    }
}

#[tokio::test]
async fn oaz_04_only_codes_by_query_are_answered() {
    let app = TestApp::new(Kind::Sqlite).await;
    let client = client_of(&app, json!({})).await;
    let id = text(&client, "client_id");
    let mut browser = app.browser();
    let cases: &[Case<'_>] = &[
        (&[("response_type", None)], "invalid_request"),
        (&[("response_type", Some("token"))], "unsupported_response_type"),
        (&[("response_type", Some("code id_token"))], "unsupported_response_type"),
        (&[("response_mode", Some("fragment"))], "invalid_request"),
        (&[("response_mode", Some("form_post"))], "invalid_request"),
        (&[("request", Some("x.y.z"))], "request_not_supported"),
        (&[("request_uri", Some("https://evil.example/r"))], "request_not_supported"),
    ];
    for (changes, error) in cases {
        let told = told(&browser.get(&authorize(id, changes)).await);
        assert_eq!(of(&told, "error"), Some(*error), "{changes:?}");
    }
    let plain = browser.get(&authorize(id, &[("response_mode", Some("query"))])).await;
    assert!(plain.header("location").starts_with("/sign-in?"));
}

/// What is changed in a good request (`None`: left out), and the error that it earns.
type Case<'a> = (&'a [(&'a str, Option<&'a str>)], &'a str);

#[tokio::test]
async fn oaz_05_later_errors_go_to_the_client_with_state_and_issuer() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    app.org("globex").await;
    let client = client_of(&app, json!({})).await;
    let id = text(&client, "client_id");
    let mut browser = app.signed_in(&member).await;
    let long = "s".repeat(2049);
    let short = "a".repeat(42);
    let cases: &[Case<'_>] = &[
        (&[("code_challenge", None)], "invalid_request"),
        (&[("code_challenge", Some(&short))], "invalid_request"),
        (&[("code_challenge_method", None)], "invalid_request"),
        (&[("code_challenge_method", Some("plain"))], "invalid_request"),
        (&[("scope", Some("openid"))], "invalid_scope"),
        (&[("scope", Some("mcp:call:nothing"))], "invalid_scope"),
        (&[("resource", Some("https://evil.example/mcp/acme"))], "invalid_target"),
        (&[("resource", Some("http://localhost:3000/mcp/nobody"))], "invalid_target"),
        (&[("resource", Some("http://localhost:3000/mcp/acme#x"))], "invalid_target"),
        (&[("resource", Some("http://localhost:3000/mcp/globex"))], "access_denied"),
        (&[("prompt", Some("none"))], "consent_required"),
        (&[("prompt", Some("none login"))], "invalid_request"),
        (&[("max_age", Some("-1"))], "invalid_request"),
        (&[("max_age", Some("99999999999999999999"))], "invalid_request"),
        (&[("login_hint", Some("a\u{0}b"))], "invalid_request"),
    ];
    for (changes, error) in cases {
        let answer = browser.get(&authorize(id, changes)).await;
        // U+0000 is refused by the edge or by the endpoint, and never with a failure of ours.
        if answer.status == StatusCode::BAD_REQUEST && format!("{changes:?}").contains("login_hint") {
            continue;
        }
        let told = told(&answer);
        assert_eq!(of(&told, "error"), Some(*error), "{changes:?}");
        assert_eq!(of(&told, "state"), Some("st&te ü"), "{changes:?}");
        assert_eq!(of(&told, "code"), None);
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
    for (more, error, state) in [
        ("&scope=mcp:call", "invalid_request", true),
        ("&resource=http://localhost:3000/mcp/globex", "invalid_target", true),
        ("&unknown=1&unknown=2", "invalid_request", true),
        ("&state=other", "invalid_request", false),
        ("&x=%zz", "invalid_request", true),
    ] {
        let told = told(&browser.get(&format!("{}{more}", authorize(id, &[]))).await);
        assert_eq!((of(&told, "error"), of(&told, "state").is_some()), (Some(error), state), "{more}");
    }
    let told_long = told(&browser.get(&authorize(id, &[("state", Some(&long))])).await);
    assert_eq!((of(&told_long, "error"), of(&told_long, "state")), (Some("invalid_request"), None));
    let mut anonymous = app.browser();
    let silent = told(&anonymous.get(&authorize(id, &[("prompt", Some("none"))])).await);
    assert_eq!(of(&silent, "error"), Some("login_required"));
}

#[tokio::test]
async fn oaz_07_a_get_issues_no_code_and_other_sites_cannot_decide() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let client = client_of(&app, json!({"client_name": "<b>App</b>"})).await;
    let id = text(&client, "client_id");
    let mut browser = app.signed_in(&member).await;
    let (request, page) = consent(&mut browser, id, &[]).await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("form-action 'self' http://localhost:4444;"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && page.header("x-frame-options") == "DENY");
    assert!(
        page.text.contains("&lt;b&gt;App") && !page.text.contains("<b>App"),
        "inert, in the title as well"
    );
    assert!(!browser.get("/settings").await.header("content-security-policy").contains("localhost:4444"));

    let body = pairs(&[("request", &request), ("decision", "allow"), ("all", "on")]);
    let get = browser.get(&format!("/oauth/consent/decision?{body}")).await;
    assert!(get.status == StatusCode::METHOD_NOT_ALLOWED && !get.headers.contains_key(header::LOCATION));
    let cross = Request::post("/oauth/consent/decision")
        .header("sec-fetch-site", "cross-site")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = browser.send(cross, Body::from(body.clone())).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // Another browser, signed in as somebody else: there is no such request.
    let other = app.org("globex").await;
    let mut stranger = app.signed_in(&other).await;
    let fields = [("request", request.as_str()), ("decision", "allow"), ("all", "on")];
    assert_eq!(stranger.post("/oauth/consent/decision", &fields).await.status, StatusCode::NOT_FOUND);
    let nobody = app.browser().post("/oauth/consent/decision", &fields).await;
    assert_eq!(nobody.status, StatusCode::SEE_OTHER);
    assert!(nobody.header("location").starts_with("/sign-in?next="));
    for bad in [&[("request", request.as_str())][..], &[("request", &request), ("decision", "maybe")]] {
        let answer = browser.post("/oauth/consent/decision", bad).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");
    }
    // Nothing ticked: the same page again, with the error at the field, and the request is still open.
    let org = member.org_id().to_string();
    let none = [("request", request.as_str()), ("org", org.as_str()), ("decision", "allow")];
    let answer = browser.post("/oauth/consent/decision", &none).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(
        answer.header("location"),
        format!("/oauth/consent?request={request}&org={org}&error=connectors")
    );
    let again = browser.get(answer.header("location")).await;
    assert_eq!(again.status, StatusCode::OK);
    assert!(again.text.contains("Choose at least one connector, or deny the request"), "{}", again.text);
    assert!(again.text.contains("<title>Error: ") && !again.text.contains(" checked"), "as it was sent");
    let denied = [("request", request.as_str()), ("decision", "deny")];
    let told_no = told(&browser.post("/oauth/consent/decision", &denied).await);
    assert_eq!(of(&told_no, "error"), Some("access_denied"));
    assert_eq!(browser.post("/oauth/consent/decision", &denied).await.status, StatusCode::NOT_FOUND);
    // Whoever goes back finds out what may have come of it.
    let back = browser.get(&format!("/oauth/consent?request={request}")).await;
    assert!(back.text.contains("If you allowed it, the connection is listed under"), "{}", back.text);
}

#[tokio::test]
async fn oaz_01_an_app_that_is_not_known_is_told_of_without_a_way_to_ask_again() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let client = client_of(&app, json!({})).await;
    let mut browser = app.signed_in(&member).await;
    let elsewhere = [("redirect_uri", Some("https://evil.example/cb"))];
    for path in [authorize("gth_client_nobody", &[]), authorize(text(&client, "client_id"), &elsewhere)] {
        let page = browser.get(&path).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.text.contains("This app is not known here"), "{}", page.text);
        assert!(!page.text.contains("Try again"), "{}", page.text);
    }
}

#[tokio::test]
async fn oaz_09_prompt_login_asks_once_more_and_comes_back() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let client = client_of(&app, json!({})).await;
    let id = text(&client, "client_id");
    let mut browser = app.signed_in(&member).await;
    app.test.clock.advance(1000);
    let asked = browser.get(&authorize(id, &[("prompt", Some("login consent"))])).await;
    let log_in = asked.header("location").to_owned();
    assert!(log_in.starts_with("/sign-in?again=1&next=/oauth/authorize"), "{log_in}");
    let page = browser.get(&log_in).await;
    assert_eq!(page.status, StatusCode::OK, "the form, though somebody is signed in");
    let (csrf, next) = (input_value(&page.text, "csrf").unwrap(), input_value(&page.text, "next").unwrap());
    let next = next.replace("&amp;", "&");
    // Going on without logging in leads back to the form.
    assert!(browser.get(&next).await.header("location").starts_with("/sign-in?again=1"));
    let fields = [
        ("email", "owner@acme.example"),
        ("password", domain::testing::PASSWORD),
        ("csrf", csrf.as_str()),
        ("next", next.as_str()),
    ];
    let back = browser.post("/sign-in?do=sign_in", &fields).await.header("location").to_owned();
    assert!(browser.get(&back).await.header("location").starts_with("/oauth/consent?"), "{back}");
}

#[tokio::test]
async fn oat_01_the_token_endpoint_takes_one_form_and_nothing_else() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    let client = client_of(&app, json!({})).await;
    let id = text(&client, "client_id");
    let form = "application/x-www-form-urlencoded";
    let good = pairs(&[("grant_type", "refresh_token"), ("client_id", id), ("refresh_token", "gth_rt_x")]);
    let large = format!("{good}&x={}", "a".repeat(16 * 1024));
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        ("/oauth/token", form, &good, 400, "invalid_grant"),
        ("/oauth/token", "application/x-www-form-urlencoded; charset=utf-8", &good, 400, "invalid_grant"),
        ("/oauth/token", "application/json", r#"{"grant_type":"refresh_token"}"#, 400, "invalid_request"),
        ("/oauth/token", "multipart/form-data", &good, 400, "invalid_request"),
        ("/oauth/token?grant_type=refresh_token", form, &good, 400, "invalid_request"),
        ("/oauth/token", form, "", 400, "invalid_request"),
        ("/oauth/token", form, &format!("{good}&grant_type=refresh_token"), 400, "invalid_request"),
        ("/oauth/token", form, &format!("{good}&client_id={id}"), 400, "invalid_request"),
        ("/oauth/token", form, &format!("{good}&z=1&z=2"), 400, "invalid_request"),
        ("/oauth/token", form, &format!("{good}&z=%ff"), 400, "invalid_request"),
        ("/oauth/token", form, &format!("{good}&z=%00"), 400, "invalid_request"),
        ("/oauth/token", form, &large, 413, "invalid_request"),
        ("/oauth/token", form, &format!("client_id={id}"), 400, "invalid_request"),
        ("/oauth/token", form, &format!("client_id={id}&grant_type="), 400, "invalid_request"),
        ("/oauth/token", form, &format!("client_id={id}&grant_type=password"), 400, "unsupported_grant_type"),
        ("/oauth/token", form, &format!("client_id={id}&grant_type=implicit"), 400, "unsupported_grant_type"),
        ("/oauth/token", form, &format!("client_id={id}&grant_type=refresh_token"), 400, "invalid_request"),
        (
            "/oauth/token",
            form,
            &format!("client_id={id}&grant_type=authorization_code"),
            400,
            "invalid_request",
        ),
        (
            "/oauth/token",
            form,
            &format!("client_id={id}&grant_type=authorization_code&code=x"),
            400,
            "invalid_grant",
        ),
        (
            "/oauth/token",
            form,
            &format!("client_id={id}&grant_type=client_credentials"),
            400,
            "unauthorized_client",
        ),
        (
            "/oauth/token",
            form,
            "client_id=nobody&grant_type=refresh_token&refresh_token=x",
            401,
            "invalid_client",
        ),
        ("/oauth/token", form, "grant_type=refresh_token&refresh_token=x", 401, "invalid_client"),
        ("/oauth/token", form, &format!("{good}&client_secret=x"), 401, "invalid_client"),
        ("/oauth/token", form, &format!("{good}&client_assertion=x"), 401, "invalid_client"),
        ("/oauth/revoke", form, &format!("client_id={id}"), 400, "invalid_request"),
        ("/oauth/revoke", form, "client_id=nobody&token=x", 401, "invalid_client"),
        ("/oauth/introspect", form, &format!("client_id={id}&token=x"), 401, "invalid_client"),
        ("/oauth/introspect", form, "token=x", 401, "invalid_client"),
    ];
    for (path, kind, body, status, error) in cases {
        let answer = post(&app, path, kind, &[], (*body).to_owned()).await;
        assert_eq!(answer.status.as_u16(), *status, "{path} {body:.200}: {}", answer.text);
        assert_eq!(text(&answer.json(), "error"), *error, "{path} {body:.200}");
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        assert_eq!(
            answer.status == StatusCode::UNAUTHORIZED,
            answer.header("www-authenticate").starts_with("Basic")
        );
    }
    let packed = post(&app, "/oauth/token", form, &[("content-encoding", "gzip")], good.clone()).await;
    assert_eq!(packed.status, StatusCode::BAD_REQUEST);
    let get =
        app.send(Request::get("/oauth/token").header(header::HOST, HOST).body(Body::empty()).unwrap()).await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(get.header("allow").contains("POST"));
}

#[tokio::test]
async fn oat_04_clients_with_a_secret_use_the_way_they_registered() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let said = json!({"token_endpoint_auth_method": "client_secret_basic"});
    let client = client_of(&app, said).await;
    let (id, secret) = (text(&client, "client_id"), text(&client, "client_secret"));
    assert_eq!(client["client_secret_expires_at"], 0);
    let mut browser = app.signed_in(&member).await;
    let code = code(&mut browser, &member, id).await;
    let basic = |id: &str, secret: &str| {
        format!("Basic {}", data_encoding::BASE64.encode(format!("{id}:{secret}").as_bytes()))
    };
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let form = "application/x-www-form-urlencoded";
    let send = async |authorization: &str, more: &[(&str, &str)]| {
        let body = pairs(&[&fields[..], more].concat());
        let headers = [("authorization", authorization)];
        let answer = if authorization.is_empty() {
            post(&app, "/oauth/token", form, &[], body).await
        } else {
            post(&app, "/oauth/token", form, &headers, body).await
        };
        (answer.status.as_u16(), answer.json()["error"].as_str().map(ToOwned::to_owned))
    };
    let error = |status, word: &str| (status, Some(word.to_owned()));
    let client_401 = || error(401, "invalid_client");
    assert_eq!(send("", &[("client_id", id), ("client_secret", secret)]).await, client_401(), "post");
    assert_eq!(send("", &[("client_id", id)]).await, client_401(), "none");
    assert_eq!(send(&basic(id, "wrong"), &[]).await, client_401());
    assert_eq!(send(&basic("nobody", secret), &[]).await, client_401());
    assert_eq!(send("Bearer x", &[]).await, client_401());
    let both = [("client_id", id), ("client_secret", secret)];
    assert_eq!(send(&basic(id, secret), &both).await, error(400, "invalid_request"), "two ways at once");
    assert_eq!(send(&basic(id, secret), &[("client_id", "other")]).await, error(400, "invalid_request"));
    assert_eq!(send(&basic(id, secret), &[("client_id", id)]).await, (200, None));
}

#[tokio::test]
async fn oar_07_a_lost_answer_and_a_replay() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let client = client_of(&app, json!({})).await;
    let id = text(&client, "client_id");
    let mut browser = app.signed_in(&member).await;
    let code = code(&mut browser, &member, id).await;
    let first = redeem(&app, id, &code).await.json();
    let first = text(&first, "refresh_token");
    let second = refresh(&app, id, first).await.json();
    let again = refresh(&app, id, first).await.json();
    assert_eq!(second["refresh_token"], again["refresh_token"]);
    let third = refresh(&app, id, text(&second, "refresh_token")).await.json();
    app.settle().await;
    assert_eq!(list_tools(&app, text(&third, "access_token")).await.status, StatusCode::OK);
    let replay = refresh(&app, id, first).await;
    assert_eq!((replay.status, text(&replay.json(), "error")), (StatusCode::BAD_REQUEST, "invalid_grant"));
    app.settle().await;
    assert_eq!(list_tools(&app, text(&third, "access_token")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&app, id, text(&third, "refresh_token")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn oad_01_registration_over_the_wire() {
    let app = TestApp::new(Kind::Sqlite).await;
    let made = client_of(&app, json!({"client_uri": "https://example.com", "unknown": {"a": [1]}})).await;
    assert_eq!(made["token_endpoint_auth_method"], "none");
    assert!(made.get("client_secret").is_none());
    let (uri, token) = (text(&made, "registration_client_uri"), text(&made, "registration_access_token"));
    let path = uri.strip_prefix(ISSUER).unwrap();
    let manage = async |method: Method, token: Option<&str>, body: String| {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, HOST);
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        app.send(request.body(Body::from(body)).unwrap()).await
    };
    for wrong in [None, Some("gth_reg_x")] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = manage(method, wrong, "{}".to_owned()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    let read = manage(Method::GET, Some(token), String::new()).await;
    assert_eq!((read.status, &read.json()["client_uri"]), (StatusCode::OK, &json!("https://example.com")));
    let new = json!({"client_id": made["client_id"], "redirect_uris": ["https://app.example.com/cb"], "token_endpoint_auth_method": "none"});
    let changed = manage(Method::PUT, Some(token), new.to_string()).await;
    assert_eq!(changed.json()["redirect_uris"], json!(["https://app.example.com/cb"]), "{}", changed.text);
    assert_eq!(manage(Method::DELETE, Some(token), String::new()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(manage(Method::GET, Some(token), String::new()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn oad_03_registration_refuses_what_is_malformed_and_can_be_switched_off() {
    let app = TestApp::new(Kind::Sqlite).await;
    let json = "application/json";
    let large = format!(r#"{{"redirect_uris":["{REDIRECT}"],"x":"{}"}}"#, "a".repeat(16 * 1024));
    let deep = "[".repeat(10_000);
    for (kind, body, status, error) in [
        ("application/x-www-form-urlencoded", "redirect_uris=x", 400, "invalid_client_metadata"),
        (json, "", 400, "invalid_client_metadata"),
        (json, "[]", 400, "invalid_client_metadata"),
        (json, "{", 400, "invalid_client_metadata"),
        (json, deep.as_str(), 400, "invalid_client_metadata"),
        (json, large.as_str(), 413, "invalid_request"),
        (json, "{}", 400, "invalid_redirect_uri"),
        (json, r#"{"redirect_uris":[null]}"#, 400, "invalid_redirect_uri"),
        (json, r#"{"redirect_uris":["javascript:alert(1)"]}"#, 400, "invalid_redirect_uri"),
        (
            json,
            r#"{"redirect_uris":["http://localhost/"],"grant_types":["password"]}"#,
            400,
            "invalid_client_metadata",
        ),
    ] {
        let answer = post(&app, "/oauth/register", kind, &[], body.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{body:.100}: {}", answer.text);
        assert_eq!(text(&answer.json(), "error"), error, "{body:.100}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let off =
        TestApp::with(Kind::Sqlite, &[("GATEHOUSE_REGISTRATION", "off"), ("GATEHOUSE_CIMD", "off")]).await;
    let refused = register(&off, &json!({"redirect_uris": [REDIRECT]})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let request = Request::get("/.well-known/oauth-authorization-server").header(header::HOST, HOST);
    let document = off.send(request.body(Body::empty()).unwrap()).await.json();
    assert!(document.get("registration_endpoint").is_none());
    assert_eq!(document["client_id_metadata_document_supported"], false);
}

#[tokio::test]
async fn rlm_03_failed_clients_are_told_to_wait_and_good_ones_are_not() {
    let app = TestApp::new(Kind::Sqlite).await;
    let made = client_of(&app, json!({"token_endpoint_auth_method": "client_secret_post"})).await;
    let (id, secret) = (text(&made, "client_id"), text(&made, "client_secret"));
    let answers = async |path: &str, secret: &str| {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
            ("token", "x"),
        ];
        post_form(&app, path, &fields).await
    };
    // The three endpoints share the count.
    let paths = ["/oauth/token", "/oauth/introspect", "/oauth/revoke"];
    for n in 0..120 {
        assert_eq!(answers(paths[n % 3], "guess").await.status, StatusCode::UNAUTHORIZED, "{n}");
    }
    for path in paths {
        let refused = answers(path, "guess").await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(refused.header("retry-after"), "60");
        assert_eq!(refused.json()["error"], "temporarily_unavailable");
    }
    assert_eq!(answers("/oauth/introspect", secret).await.status, StatusCode::OK);
    assert_eq!(answers("/oauth/revoke", secret).await.status, StatusCode::OK);
    let fault = answers("/oauth/token", secret).await.json();
    assert_eq!(fault["error"], "unauthorized_client", "it is known, and no machine");
}

#[tokio::test]
async fn oar_07_a_replay_is_shown_on_the_pages_until_it_is_put_away() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let client = client_of(&app, json!({"client_name": "<b>Copied</b> app"})).await;
    let id = text(&client, "client_id");
    let mut browser = app.signed_in(&member).await;
    let code = code(&mut browser, &member, id).await;
    let first = redeem(&app, id, &code).await.json();
    let second = refresh(&app, id, text(&first, "refresh_token")).await.json();
    refresh(&app, id, text(&second, "refresh_token")).await;
    let told = "may have been copied";
    let (org, own) = (model::paths::settings_connections(), model::paths::profile_connections());
    for path in [org, own] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.text.contains(told), "nothing has happened yet");
    }
    let replay = refresh(&app, id, text(&first, "refresh_token")).await;
    assert_eq!(replay.status, StatusCode::BAD_REQUEST);
    // Whoever puts one away leaves the other: two roles, two notices.
    for (path, function) in [(org, "dismiss_alert"), (own, "dismiss_own_alert")] {
        let page = browser.get(path).await;
        assert!(page.text.contains(told) && page.text.contains("&lt;b&gt;Copied&lt;/b&gt;"), "{}", page.text);
        assert!(page.text.contains("Its tokens were ended"), "{}", page.text);
        let connection = input_value(&page.text, "connection").expect("a button to put it away");
        let csrf = input_value(&page.text, "csrf").unwrap_or_default();
        let fields = [("connection", connection.as_str()), ("csrf", csrf.as_str())];
        let answer = browser.post(&format!("{path}?do={function}"), &fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let page = browser.get(path).await;
        assert!(!page.text.contains(told), "{path}: it was put away");
    }
}
