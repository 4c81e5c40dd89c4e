//! Access tokens through the whole server: signed, accepted, noted as used, and dead when they should be.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use domain::{
    authz::Principal,
    connectors, signing,
    testing::TestMember,
    tokens::{self, Minting, TokenGrant},
};
use serde_json::{Value, json};
use store::Kind;

use crate::{
    oauth::{client_of, code_for, redeem_for, text},
    support::{Answer, HOST, TestApp},
};

async fn call(app: &TestApp, path: &str, token: &str, method: &str, params: Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let request = Request::post(path)
        .header(header::HOST, HOST)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "agent/1")
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    app.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn mint(app: &TestApp, member: &TestMember, client: &str, grant: Option<TokenGrant>) -> String {
    let minting = Minting {
        subject: member.user.to_string(),
        client: client.to_owned(),
        org: member.org_id(),
        audience: format!("http://{HOST}/mcp/{}", member.org.slug),
        scope: "mcp:call".parse().unwrap(),
        grant,
    };
    tokens::mint(&app.test.env, &minting).await.unwrap().token
}

#[tokio::test]
async fn rsv_04_a_token_works_where_it_was_issued_for_and_nowhere_else() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let app = TestApp::new(kind).await;
        let (acme, _bolt) = (app.org("acme").await, app.org("bolt").await);
        connectors::add_demo(&app.test.env, &acme.actor().await).await.unwrap();
        let grant = app.test.grant(&acme, "client", "mcp:call").await;
        app.test.machine(&acme, "machine", "mcp:call:demo").await;
        app.settle().await;
        let (person, machine) =
            (mint(&app, &acme, "client", Some(grant)).await, mint(&app, &acme, "machine", None).await);
        for token in [&person, &machine] {
            let add = json!({"name": "demo__add", "arguments": {"a": 2, "b": 40}});
            let answer = call(&app, "/mcp/acme", token, "tools/call", add).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            assert!(answer.text.contains("42"), "{}", answer.text);
            for path in ["/mcp/bolt", "/mcp/nobody"] {
                let answer = call(&app, path, token, "tools/list", json!({})).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
                assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
            }
        }
        // Last uses are noted in batches: of the connection, of the grant's generation, of the machine client.
        app.work.meter.flush(&app.test.env).await.unwrap();
        let mut tx = app.test.env.db.read().await.unwrap();
        let [connection] =
            store::connections::list(&mut tx, acme.org_id()).await.unwrap().try_into().unwrap();
        assert_eq!(connection.last_used_at, Some(app.test.env.now()));
        assert_eq!(connection.last_used_agent.as_deref(), Some("agent/1"));
        let stored = store::oauth_grants::find(&mut tx, acme.org_id(), grant.grant).await.unwrap().unwrap();
        assert_eq!(stored.used_generation, 1);
        let client = store::oauth_clients::find(&mut tx, "machine").await.unwrap().unwrap();
        assert_eq!(client.last_used_at, Some(app.test.env.now()));
        drop(tx);
        // An expired token, with a minute of leeway.
        app.test.clock.advance(tokens::LIFETIME + tokens::LEEWAY);
        assert_eq!(
            call(&app, "/mcp/acme", &person, "ping", json!({})).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test]
async fn oak_04_tokens_work_throughout_a_rotation_and_end_with_the_removal_of_their_key() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let grant = app.test.grant(&acme, "client", "mcp:call").await;
    app.settle().await;
    let env = &app.test.env;
    let works = async |token: &str| call(&app, "/mcp/acme", token, "ping", json!({})).await.status == 200;
    // The first key, and the next one beside it.
    for _ in 0..2 {
        signing::rotate(env, &Principal::Operator).await.unwrap();
    }
    let mut token = mint(&app, &acme, "client", Some(grant)).await;
    let mut kids = std::collections::BTreeSet::new();
    // Four hours in steps of twenty minutes: the token is refreshed at its end, and no request fails.
    for step in 1..=12 {
        app.test.clock.advance(20 * 60 * 1000);
        assert!(works(&token).await, "step {step}");
        if step % 3 == 0 {
            kids.insert(tokens::read(env, &token).await.unwrap().kid.clone());
            token = mint(&app, &acme, "client", Some(grant)).await;
        }
    }
    assert_eq!(kids.len(), 2, "both keys have signed");
    let kid = tokens::read(env, &token).await.unwrap().kid.clone();
    signing::retire(env, &Principal::Operator, &kid).await.unwrap();
    assert!(!works(&token).await);
    assert!(works(&mint(&app, &acme, "client", Some(grant)).await).await);
}

/// A token by the whole flow, for a resource.
pub(crate) async fn token_for(app: &TestApp, member: &TestMember, path: &str, scope: &str) -> Value {
    let resource = format!("http://{HOST}{path}");
    let client = client_of(app, json!({})).await;
    let id = text(&client, "client_id");
    let mut browser = app.signed_in(member).await;
    let changes = [("resource", Some(resource.as_str())), ("scope", Some(scope))];
    let code = code_for(&mut browser, member, id, &changes).await;
    let issued = redeem_for(app, id, &code, &resource).await;
    assert_eq!(issued.status, StatusCode::OK, "{}", issued.text);
    app.settle().await;
    issued.json()
}

#[tokio::test]
async fn rsv_04_a_token_for_one_connector_works_at_its_endpoint_alone() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let app = TestApp::new(kind).await;
        let acme = app.org("acme").await;
        connectors::add_demo(&app.test.env, &acme.actor().await).await.unwrap();
        let other = connectors::NewConnector {
            name: "Other".into(),
            slug: "other".into(),
            description: String::new(),
            url: "http://127.0.0.1:9/mcp".into(),
            headers: Vec::new(),
            even_if_unreachable: true,
        };
        connectors::add(&app.test.env, &acme.actor().await, &other).await.unwrap();
        app.settle().await;
        let list = async |path: &str, token: &Value| {
            call(&app, path, text(token, "access_token"), "tools/list", json!({})).await
        };

        // For the connector's endpoint: there, with names of its own, and nowhere else.
        let narrow = token_for(&app, &acme, "/mcp/acme/demo", "mcp:call").await;
        assert_eq!(narrow["scope"], "mcp:call:demo", "no more than the resource reaches");
        let there = list("/mcp/acme/demo", &narrow).await;
        assert_eq!(there.status, StatusCode::OK, "{}", there.text);
        assert!(there.text.contains("\"echo\"") && !there.text.contains("demo__echo"), "{}", there.text);
        for path in ["/mcp/acme", "/mcp/acme/other", "/mcp/bolt/demo"] {
            let refused = list(path, &narrow).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}");
            let challenge = refused.header("www-authenticate");
            let metadata = format!("http://{HOST}/.well-known/oauth-protected-resource{path}");
            assert!(challenge.contains(&metadata) && challenge.contains("invalid_token"), "{challenge}");
        }

        // For the organisation's endpoint: there, and at every connector's that its scope reaches.
        let wide = token_for(&app, &acme, "/mcp/acme", "mcp:call:demo").await;
        assert!(list("/mcp/acme", &wide).await.text.contains("demo__echo"));
        assert_eq!(list("/mcp/acme/demo", &wide).await.status, StatusCode::OK);
        let refused = list("/mcp/acme/other", &wide).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
        let challenge = refused.header("www-authenticate");
        assert!(challenge.contains("error=\"insufficient_scope\", scope=\"mcp:call:other\""), "{challenge}");
    }
}
