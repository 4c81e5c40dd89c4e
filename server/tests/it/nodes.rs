//! Two nodes on one database: what one of them ends, the other refuses after it looked for news once. It looks every
//! 400 ms, so that is within a second (OAR-04, OAK-01).

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use domain::{
    Env, OrgActor, connections, env::Changes, oauth_clients, orgs, pin::Guarded, signing::KeyRing,
    testing::TestMember, tokens, tokens::Minting, tokens::TokenGrant,
};
use model::{Role, permissions::can};
use serde_json::json;
use server::{config, front::Front, jobs::Work, routes::Stopping, serve};
use store::Kind;
use tower::ServiceExt as _;

use crate::{
    oauth::{client_of, code, post_form, redeem, refresh, text},
    support::{HOST, TestApp},
};

/// A second process on the database of a [`TestApp`], with nothing in memory that the first one has.
pub(crate) struct Node {
    pub(crate) front: Front,
    pub(crate) work: Work,
    heard: tokio::sync::broadcast::Receiver<model::OrgId>,
}

impl Node {
    pub(crate) async fn beside(app: &TestApp) -> Self {
        let env = Env {
            changes: Changes::default(),
            keys: Arc::new(KeyRing::for_tests()),
            jwks: Arc::default(),
            journal: Arc::default(),
            oauth: Arc::default(),
            ..app.test.env.clone()
        };
        let config =
            config::load([("GATEHOUSE_PUBLIC_URL".to_owned(), format!("http://{HOST}"))].into()).unwrap();
        let heard = env.changes.subscribe();
        let ready = serve::assemble(env, &config, Stopping::default()).await.unwrap();
        Self { front: ready.front, work: ready.work, heard }
    }

    /// One look for news, as the job does it, and what comes of it.
    pub(crate) async fn look(&mut self) {
        self.work.planes.refresh().await.unwrap();
        while let Ok(org) = self.heard.try_recv() {
            self.work.gateway.invalidate(org);
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> axum::response::Response {
        self.front.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn answers(&self, token: &str) -> StatusCode {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
        let request = Request::post("/mcp/acme")
            .header(header::HOST, HOST)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        self.front.clone().oneshot(request).await.unwrap().status()
    }
}

pub(crate) async fn mint(
    app: &TestApp,
    member: &TestMember,
    client: &str,
    grant: Option<TokenGrant>,
) -> String {
    let minting = Minting {
        subject: member.user.to_string(),
        client: client.to_owned(),
        org: member.org_id(),
        audience: format!("http://{HOST}/mcp/acme"),
        scope: "mcp:call".parse().unwrap(),
        grant,
    };
    tokens::mint(&app.test.env, &minting).await.unwrap().token
}

async fn what_one_node_ends_the_other_refuses(kind: Kind) {
    let app = TestApp::new(kind).await;
    let env = &app.test.env;
    let owner = app.org("acme").await;
    let client = client_of(&app, json!({})).await;
    let id = text(&client, "client_id");
    let mut browser = app.signed_in(&owner).await;
    let mut node = Node::beside(&app).await;

    // Each token works on the other node, is ended here, and does not work there after one look.
    let ended = async |node: &mut Node, what: &str, token: &str, end: &dyn AsyncEnd| {
        // What tests make by hand is no news.
        node.work.gateway.invalidate_all();
        assert_eq!(node.answers(token).await, StatusCode::OK, "{what}: before");
        end.end().await;
        node.look().await;
        assert_eq!(node.answers(token).await, StatusCode::UNAUTHORIZED, "{what}: after one look");
    };

    for kind in ["access_token", "refresh_token"] {
        let code = code(&mut browser, &owner, id).await;
        let issued = redeem(&app, id, &code).await.json();
        let token = text(&issued, "access_token").to_owned();
        let end = end_by(async || {
            let fields = [("token", text(&issued, kind)), ("client_id", id)];
            assert_eq!(post_form(&app, "/oauth/revoke", &fields).await.status, StatusCode::OK);
        });
        ended(&mut node, kind, &token, &end).await;
    }

    let code = code(&mut browser, &owner, id).await;
    let issued = redeem(&app, id, &code).await.json();
    let token = text(&issued, "access_token").to_owned();
    let end = end_by(async || assert_eq!(redeem(&app, id, &code).await.status, StatusCode::BAD_REQUEST));
    ended(&mut node, "a code that came twice", &token, &end).await;

    let code = crate::oauth::code(&mut browser, &owner, id).await;
    let first = redeem(&app, id, &code).await.json();
    let second = refresh(&app, id, text(&first, "refresh_token")).await.json();
    let third = refresh(&app, id, text(&second, "refresh_token")).await.json();
    let token = text(&third, "access_token").to_owned();
    let end = end_by(async || {
        let again = refresh(&app, id, text(&first, "refresh_token")).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST);
    });
    ended(&mut node, "a refresh token that was replaced", &token, &end).await;

    let member = app.test.member(&owner, "dev", Role::Developer).await;
    let revokes = Guarded::<can::ApiKeysRevoke>::operator(owner.org_id());
    let connection = async |grant: TokenGrant| {
        let mut tx = env.db.read().await.unwrap();
        store::oauth_grants::find(&mut tx, owner.org_id(), grant.grant).await.unwrap().unwrap().connection
    };
    let grant = app.test.grant(&member, "revoked", "mcp:call").await;
    let (token, it) = (mint(&app, &member, "revoked", Some(grant)).await, connection(grant).await);
    let end = end_by(async || connections::revoke(env, &revokes, it).await.unwrap());
    ended(&mut node, "a revoked connection", &token, &end).await;

    let grant = app.test.grant(&member, "rekeyed", "mcp:call").await;
    let (token, it) = (mint(&app, &member, "rekeyed", Some(grant)).await, connection(grant).await);
    let end = end_by(async || connections::regenerate(env, &revokes, it, None).await.unwrap());
    ended(&mut node, "a key that was made anew", &token, &end).await;

    app.test.machine(&owner, "machine", "mcp:call").await;
    let token = mint(&app, &owner, "machine", None).await;
    let end = end_by(async || {
        oauth_clients::delete(env, &OrgActor::operator(owner.org_id()), "machine", true).await.unwrap();
    });
    ended(&mut node, "a deleted client", &token, &end).await;

    let grant = app.test.grant(&member, "demoted", "mcp:call").await;
    let token = mint(&app, &member, "demoted", Some(grant)).await;
    let end = end_by(async || {
        let roles = OrgActor::<can::TeamRoles>::operator(owner.org_id());
        orgs::put_member(env, &roles, "dev@acme.example", Role::Viewer).await.unwrap();
    });
    ended(&mut node, "a member without the role for it", &token, &end).await;

    let by = OrgActor::<can::TeamRoles>::operator(owner.org_id());
    let rights = |permission: &str| domain::roles::Input {
        name: "Callers".to_owned(),
        description: String::new(),
        permissions: vec![permission.to_owned()],
    };
    let role = domain::roles::create(env, &by, &rights("playground:use")).await.unwrap();
    let caller = app.test.member(&owner, "caller", role).await;
    let grant = app.test.grant(&caller, "lesser", "mcp:call").await;
    let token = mint(&app, &caller, "lesser", Some(grant)).await;
    let end = end_by(async || {
        domain::roles::update(env, &by, role, &rights("logs:read")).await.unwrap();
    });
    ended(&mut node, "a role that lost the right to it", &token, &end).await;
}

/// What ends a token: an asynchronous closure behind a pointer.
trait AsyncEnd {
    fn end(&self) -> futures_util::future::LocalBoxFuture<'_, ()>;
}

struct By<F>(F);

impl<F: AsyncFn()> AsyncEnd for By<F> {
    fn end(&self) -> futures_util::future::LocalBoxFuture<'_, ()> {
        Box::pin(async { (self.0)().await })
    }
}

const fn end_by<F: AsyncFn()>(end: F) -> By<F> {
    By(end)
}

#[tokio::test]
async fn oar_04_what_one_node_ends_the_other_refuses_on_sqlite() {
    what_one_node_ends_the_other_refuses(Kind::Sqlite).await;
}

#[tokio::test]
async fn oar_04_what_one_node_ends_the_other_refuses_on_postgres() {
    what_one_node_ends_the_other_refuses(Kind::Postgres).await;
}
