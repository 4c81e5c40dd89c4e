//! Connectors whose servers want OAuth: the whole way, and every way that it can fail.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::{
    Env, OrgActor, connectors,
    env::Changes,
    mcp::exchange::Exchange as _,
    playground::{MemberCall, Playground as _},
    testing::TestMember,
    upstream_oauth::{
        Authorized, Holder, Keeper as _,
        config::{self, Input},
        flow::{self, Return},
        own,
        standing::PlaneAuth,
    },
};
use model::{
    AppError, ConnectorId,
    api_keys::KeyScope,
    connectors::Connector,
    credentials::{ClientSource, CredentialKind},
    permissions::can,
};
use serde_json::{Value, json};
use store::Kind;

use crate::{
    idp::Provider,
    support::{
        Answer, TestApp,
        upstream::{Faults, Upstream, follow, told},
    },
};

/// Defines a test that runs on both databases.
macro_rules! both_test {
    ($name:ident, $run:ident) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$run(store::Kind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$run(store::Kind::Postgres).await;
            }
        }
    };
}

struct Bench {
    app: TestApp,
    owner: TestMember,
    upstream: Arc<Upstream>,
    connector: ConnectorId,
    key: String,
}

impl Bench {
    /// A connector to a server that wants OAuth, not yet told how.
    async fn new(kind: Kind) -> Self {
        let app = TestApp::new(kind).await;
        let owner = app.org("acme").await;
        let upstream = Upstream::start().await;
        let new = connectors::NewConnector {
            name: "Files".to_owned(),
            slug: "files".to_owned(),
            description: String::new(),
            url: upstream.url.clone(),
            headers: Vec::new(),
            even_if_unreachable: true,
        };
        let Connector { id, health_error, .. } =
            connectors::add(&app.test.env, &owner.actor().await, &new).await.expect("it is kept");
        assert!(health_error.unwrap().contains("sign-in with OAuth"));
        let key = app.key(&owner, KeyScope::All).await.secret;
        Self { app, owner, upstream, connector: id, key }
    }

    /// The same with an authorisation.
    async fn authorized(kind: Kind) -> Self {
        let bench = Self::new(kind).await;
        bench.put(CredentialKind::AuthorizationCode).await.expect("it is set up");
        bench.authorize().await.expect("it is authorised");
        bench
    }

    fn env(&self) -> &Env {
        &self.app.test.env
    }

    async fn put(&self, kind: CredentialKind) -> Result<(), AppError> {
        self.put_input(Input { kind, ..Input::default() }).await
    }

    async fn put_input(&self, input: Input) -> Result<(), AppError> {
        let done = config::put(self.env(), &self.owner.actor().await, self.connector, &input).await;
        done.map_err(|error| error.into_app(""))
    }

    async fn go(&self) -> Result<Return, AppError> {
        let link = flow::begin(&self.owner.ctx, &self.owner.actor().await, self.connector)
            .await
            .map_err(|error| error.into_app(""))?;
        Ok(self.upstream.say_yes(&self.app, &link.url).await)
    }

    async fn authorize(&self) -> Result<(), AppError> {
        let back = self.go().await?;
        flow::finish(&self.owner.ctx, &back).await.map_err(|error| error.into_app(""))?;
        connectors::test(self.env(), &self.owner.actor().await, self.connector).await.unwrap().unwrap();
        self.app.settle().await;
        Ok(())
    }

    async fn call(&self) -> Answer {
        let params = json!({"name": "files__whoami", "arguments": {}});
        self.app.rpc("/mcp/acme", &self.key, "tools/call", params).await
    }

    /// Whose token a call went with.
    async fn called_as(&self) -> String {
        let answer = self.call().await;
        let text = answer.json()["result"]["content"][0]["text"].clone();
        text.as_str().unwrap_or_else(|| panic!("no result: {}", answer.text)).to_owned()
    }

    /// The error of a call: its word, and the whole answer.
    async fn refused(&self) -> (String, Value) {
        let answer = self.call().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let error = answer.json()["error"].clone();
        (error["data"]["code"].as_str().unwrap_or_default().to_owned(), error)
    }

    async fn shown(&self) -> model::credentials::Credentials {
        config::get(self.env(), &self.owner.actor().await, self.connector).await.unwrap()
    }

    async fn listed(&self) -> bool {
        self.app.rpc("/mcp/acme", &self.key, "tools/list", json!({})).await.text.contains("files__whoami")
    }

    /// The tokens that calls go with, as the snapshot has them.
    async fn holder(&self) -> Holder {
        let plane = domain::dataplane::Directory::plane(self.app.work.planes.as_ref(), self.owner.org_id());
        let plane = plane.await.unwrap().unwrap();
        match &plane.connectors[0].auth {
            PlaneAuth::Shared(Ok(holder)) => holder.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Another node on the same database, with nothing in memory.
    fn other_node(&self) -> Env {
        let mut other = self.env().clone();
        other.changes = Changes::default();
        other.upstream = Arc::default();
        other
    }
}

async fn the_whole_way(kind: Kind) {
    let bench = Bench::new(kind).await;
    // Before anything is set up, the server's refusal is told, and after it is, what is missing.
    assert_eq!(bench.put(CredentialKind::AuthorizationCode).await, Ok(()));
    let shown = bench.shown().await;
    assert_eq!((shown.kind, shown.authorization), (CredentialKind::AuthorizationCode, None));
    assert_eq!(shown.issuer, bench.upstream.issuer);
    assert!(matches!(shown.client, Some((_, ClientSource::Registered))) && shown.has_secret);
    assert_eq!(bench.upstream.known().registrations, 1);
    bench.authorize().await.unwrap();
    assert!(bench.listed().await);
    assert_eq!(bench.called_as().await, "ada");
    let shown = bench.shown().await;
    let given = shown.authorization.expect("an authorisation");
    assert_eq!((given.lost, given.renews), (None, true));
    // Asked for what the challenge names, and for a refresh token because the server has some.
    assert_eq!(bench.upstream.known().scopes, ["tools offline_access".to_owned()].into());
    // Neither the caller's key nor the client's secret ever went to the MCP server (RSV-07).
    let (key, secrets) = (bench.key.clone(), bench.upstream.known().clients.clone());
    for seen in &bench.upstream.known().seen {
        assert!(!seen.contains(&key));
        assert!(secrets.values().flatten().all(|secret| !seen.contains(secret)));
    }
    // A second set-up keeps the client; a second authorisation replaces the first.
    bench.put(CredentialKind::AuthorizationCode).await.unwrap();
    assert_eq!(bench.called_as().await, "ada");
    "bob".clone_into(&mut bench.upstream.known().person);
    bench.authorize().await.unwrap();
    assert_eq!(bench.called_as().await, "bob");
    assert_eq!(bench.upstream.known().registrations, 1);
    // Taken back: calls say so, the tools stay.
    config::disconnect(bench.env(), &bench.owner.actor().await, bench.connector).await.unwrap();
    bench.app.settle().await;
    let (word, error) = bench.refused().await;
    assert_eq!(word, "upstream_needs_authorization", "{error}");
    assert!(error["data"]["url"].as_str().unwrap().ends_with("/credentials"), "{error}");
    assert!(bench.listed().await);
    // Back to static headers.
    bench.put(CredentialKind::Static).await.unwrap();
    assert_eq!(bench.shown().await.kind, CredentialKind::Static);
}
both_test!(ssr_10_the_whole_way_to_an_authorised_connector, the_whole_way);

async fn one_refresh(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    assert_eq!(bench.called_as().await, "ada");
    let before = bench.upstream.known().token_requests;
    // The server takes the token no more, whatever its end was said to be.
    bench.upstream.known().expire();
    let calls = (0..40).map(|_| bench.called_as());
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|who| who == "ada"));
    {
        let known = bench.upstream.known();
        assert_eq!((known.token_requests - before, known.refreshes, known.reused), (1, 1, 0));
    }
    // By the clock: nobody is refused at all.
    bench.app.test.clock.advance(600_000);
    bench.upstream.known().expire();
    let seen = bench.upstream.known().seen.len();
    let answers = futures_util::future::join_all((0..40).map(|_| bench.called_as())).await;
    assert!(answers.iter().all(|who| who == "ada"));
    let known = bench.upstream.known();
    assert_eq!((known.refreshes, known.reused), (2, 0));
    assert!(known.seen.len() > seen);
}
both_test!(forty_calls_with_an_expired_token_make_one_refresh, one_refresh);

async fn two_nodes(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    let holder = bench.holder().await;
    let (one, other) = (bench.env().clone(), bench.other_node());
    for round in 1..=10 {
        bench.upstream.known().expire();
        let nodes = (0..20).map(|n| if n % 2 == 0 { &one } else { &other });
        let asked = nodes.map(|node| node.obtain(&holder, Some(round)));
        for held in futures_util::future::join_all(asked).await {
            assert_eq!(held.expect("a token").generation, round + 1);
        }
        let known = bench.upstream.known();
        assert_eq!((known.refreshes, known.reused), (usize::try_from(round).unwrap(), 0));
    }
    // Both nodes send the same, good token.
    for node in [&one, &other] {
        let held = node.at_hand(&holder).expect("in memory");
        let token = held.header.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        assert!(bench.upstream.known().access.contains_key(&token));
    }
}
both_test!(d08_two_nodes_never_present_the_same_refresh_token, two_nodes);

async fn renewed_ahead(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    assert_eq!(bench.called_as().await, "ada");
    // Nine minutes of ten are over: the call goes with the old token, and a new one is got beside it.
    bench.app.test.clock.advance(545_000);
    assert_eq!(bench.called_as().await, "ada");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while bench.shown().await.authorization.unwrap().renewed_at < bench.env().now() {
        assert!(tokio::time::Instant::now() < deadline, "it was not renewed");
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.upstream.known().refreshes, 1);
    // An authorization server that is down is not noticed as long as the token is good.
    bench.app.test.clock.advance(545_000);
    bench.upstream.known().faults.token_status = Some(503);
    assert_eq!(bench.called_as().await, "ada");
    // Then it is told, and nothing is lost by it.
    bench.app.test.clock.advance(60_000);
    let (word, error) = bench.refused().await;
    assert_eq!(word, "upstream_unavailable", "{error}");
    assert!(error["message"].as_str().unwrap().contains("cannot be asked for a token just now"), "{error}");
    assert_eq!(bench.shown().await.authorization.unwrap().lost, None);
    // It is left alone for a moment, however many call.
    let asked = bench.upstream.known().token_requests;
    for _ in 0..5 {
        bench.refused().await;
    }
    assert_eq!(bench.upstream.known().token_requests, asked);
    bench.upstream.known().faults = Faults::default();
    bench.app.test.clock.advance(60_000);
    assert_eq!(bench.called_as().await, "ada");
    assert_eq!(bench.upstream.known().reused, 0);
}
both_test!(tokens_are_renewed_ahead_and_an_outage_is_survived, renewed_ahead);

async fn lost_for_good(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    assert_eq!(bench.called_as().await, "ada");
    bench.upstream.known().revoke();
    let (word, error) = bench.refused().await;
    assert_eq!((word.as_str(), error["code"].as_i64()), ("upstream_needs_authorization", Some(-32010)));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("invalid_grant") && message.contains("/credentials"), "{message}");
    // Everybody sees it, the tools stay, and the refresh token is not presented again.
    let lost = bench.shown().await.authorization.unwrap().lost.expect("it is known");
    assert!(lost.1.contains("invalid_grant"), "{lost:?}");
    bench.app.settle().await;
    assert!(bench.listed().await);
    let asked = bench.upstream.known().token_requests;
    assert_eq!(bench.refused().await.0, "upstream_needs_authorization");
    let tested = connectors::test(bench.env(), &bench.owner.actor().await, bench.connector).await.unwrap();
    assert!(tested.unwrap_err().contains("has ended"));
    assert_eq!(bench.upstream.known().token_requests, asked);
    let mut tx = bench.env().db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, bench.owner.org_id(), 20).await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.action == "mcp.authorization_lost").count(), 1);
    drop(tx);
    bench.authorize().await.unwrap();
    assert_eq!(bench.called_as().await, "ada");
}
both_test!(an_authorisation_that_ended_says_so_until_it_is_given_again, lost_for_good);

async fn lost_answer(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    // The server rotates, and its answer is lost on the way: whether the old token counts is known to the server alone.
    let holder = bench.holder().await;
    bench.upstream.known().expire();
    bench.upstream.known().faults.lost_answers = 1;
    let why = bench.env().obtain(&holder, Some(1)).await.unwrap_err();
    assert_eq!(why.page, None, "nobody has to do anything yet: {why}");
    assert_eq!(bench.shown().await.authorization.unwrap().lost, None);
    // Asked once more it says no, and that is final.
    bench.app.test.clock.advance(5_000);
    let why = bench.env().obtain(&holder, Some(1)).await.unwrap_err();
    assert!(why.page.is_some(), "{why}");
    let known = bench.upstream.known();
    assert_eq!((known.refreshes, known.reused), (2, 1));
}
both_test!(a_lost_answer_is_asked_for_once_more, lost_answer);

async fn gone_caller(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    let holder = bench.holder().await;
    bench.upstream.known().expire();
    // The caller hangs up as soon as it has asked; the new tokens are kept all the same.
    let env = bench.env().clone();
    {
        let asked = tokio::time::timeout(std::time::Duration::ZERO, env.obtain(&holder, Some(1)));
        assert!(asked.await.is_err());
    }
    let held = bench.other_node().obtain(&holder, Some(1)).await.expect("a token");
    assert_eq!(held.generation, 2);
    let known = bench.upstream.known();
    assert_eq!((known.refreshes, known.reused), (1, 0));
}
both_test!(a_caller_that_hangs_up_loses_no_tokens, gone_caller);

async fn wrong_ways(kind: Kind) {
    let bench = Bench::new(kind).await;
    let fault = async |faults: Faults, word: &str| {
        bench.upstream.known().faults = faults;
        let error = bench.put(CredentialKind::AuthorizationCode).await.expect_err(word);
        assert!(error.message.contains(word), "{word}: {}", error.message);
        assert_eq!(bench.shown().await.kind, CredentialKind::Static, "nothing is kept");
    };
    let evil = || Some("https://evil.test".to_owned());
    fault(Faults { issuer: evil(), ..Faults::default() }, "another issuer").await;
    let slash = Some(format!("{}/", bench.upstream.issuer));
    fault(Faults { issuer: slash, ..Faults::default() }, "another issuer").await;
    fault(Faults { resource: evil(), ..Faults::default() }, "another resource").await;
    fault(Faults { redirect: true, ..Faults::default() }, "leads to no document").await;
    fault(Faults { no_pkce: true, ..Faults::default() }, "PKCE").await;
    for bad in ["javascript:alert(1)", "http://evil.test/authorize", "file:///etc/passwd"] {
        let authorization_endpoint = Some(bad.to_owned());
        fault(Faults { authorization_endpoint, ..Faults::default() }, "where Gatehouse does not go").await;
    }
    fault(Faults { typed_clients: true, ..Faults::default() }, "by hand").await;
    assert_eq!(bench.upstream.known().registrations, 0);
    // A client that was got by hand.
    bench.upstream.known().clients.insert("typed".to_owned(), Some("typed-secret".to_owned()));
    let typed = Input {
        kind: CredentialKind::AuthorizationCode,
        client_id: "typed".to_owned(),
        client_secret: "typed-secret".to_owned().into(),
        ..Input::default()
    };
    bench.put_input(typed.clone()).await.unwrap();
    bench.authorize().await.unwrap();
    assert_eq!(bench.called_as().await, "ada");
    // The secret is kept when it is left empty, and is not what the page is told.
    bench.put_input(Input { client_secret: String::new().into(), ..typed }).await.unwrap();
    assert_eq!(bench.called_as().await, "ada");
    assert!(!format!("{:?}", bench.shown().await).contains("typed-secret"));
}
both_test!(ssr_10_servers_that_speak_for_others_are_refused, wrong_ways);

async fn wrong_returns(kind: Kind) {
    let bench = Bench::new(kind).await;
    bench.put(CredentialKind::AuthorizationCode).await.unwrap();
    let refused = async |ctx: &domain::request::RequestContext, back: &Return| {
        let error = flow::finish(ctx, back).await.expect_err("a refusal").into_app("");
        assert!(error.message.contains("Nothing was"), "{}", error.message);
        assert_eq!(bench.shown().await.authorization, None);
        error.code
    };
    // RFC 9207: somebody else, or nobody.
    for iss in ["https://evil.test", ""] {
        bench.upstream.known().faults.iss = Some(iss.to_owned());
        let back = bench.go().await.unwrap();
        assert_eq!(refused(&bench.owner.ctx, &back).await, "wrong_issuer");
        // What came back wrong is over.
        let right = Return { iss: Some(bench.upstream.issuer.clone()), ..back };
        assert_eq!(refused(&bench.owner.ctx, &right).await, "sign_in_gone");
    }
    bench.upstream.known().faults = Faults::default();
    let token_requests = bench.upstream.known().token_requests;
    assert_eq!(token_requests, 0, "no code of theirs was sent anywhere");
    // Another session of the same person, another person, nobody's state, too late.
    let back = bench.go().await.unwrap();
    let elsewhere = bench.app.test.signed_in(bench.owner.user, bench.owner.org_id());
    assert_eq!(refused(&elsewhere, &back).await, "sign_in_gone");
    let other = bench.app.org("bolt").await;
    assert_eq!(refused(&other.ctx, &back).await, "sign_in_gone");
    let made_up = Return { state: Some("x".repeat(43)), ..back.clone() };
    assert_eq!(refused(&bench.owner.ctx, &made_up).await, "sign_in_gone");
    assert_eq!(refused(&bench.owner.ctx, &Return { state: None, ..back.clone() }).await, "sign_in_gone");
    bench.app.test.clock.advance(10 * 60 * 1000);
    assert_eq!(refused(&bench.owner.ctx, &back).await, "sign_in_gone");
    // A no, and a code that the server does not know.
    let back = bench.go().await.unwrap();
    let no = Return { code: None, error: Some("access_denied".to_owned()), ..back };
    assert_eq!(refused(&bench.owner.ctx, &no).await, "not_given");
    let back = bench.go().await.unwrap();
    assert_eq!(
        refused(&bench.owner.ctx, &Return { code: Some("other".to_owned()), ..back }).await,
        "no_tokens"
    );
    // The credentials were changed in between.
    let back = bench.go().await.unwrap();
    bench.put(CredentialKind::PerUser).await.unwrap();
    assert_eq!(refused(&bench.owner.ctx, &back).await, "changed_meanwhile");
}
both_test!(only_the_right_return_counts_and_only_once, wrong_returns);

async fn with_client_credentials(kind: Kind) {
    let bench = Bench::new(kind).await;
    bench.upstream.known().clients.insert("robot".to_owned(), Some("robot-secret".to_owned()));
    let input = |secret: &str| Input {
        kind: CredentialKind::ClientCredentials,
        client_id: "robot".to_owned(),
        client_secret: secret.to_owned().into(),
        ..Input::default()
    };
    let error = bench.put_input(input("wrong")).await.unwrap_err();
    assert_eq!(error.fields[0].field, "client_secret", "{error:?}");
    assert!(!error.message.contains("wrong"));
    assert_eq!(bench.put_input(input("")).await.unwrap_err().fields[0].field, "client_secret");
    bench.put_input(input("robot-secret")).await.unwrap();
    connectors::test(bench.env(), &bench.owner.actor().await, bench.connector).await.unwrap().unwrap();
    bench.app.settle().await;
    assert_eq!(bench.called_as().await, "machine");
    bench.upstream.known().expire();
    let before = bench.upstream.known().token_requests;
    let answers = futures_util::future::join_all((0..40).map(|_| bench.called_as())).await;
    assert!(answers.iter().all(|who| who == "machine"));
    assert_eq!(bench.upstream.known().token_requests - before, 1);
    // The secret is changed over there: that is told, with where to enter the new one.
    bench.upstream.known().clients.insert("robot".to_owned(), Some("new-secret".to_owned()));
    bench.upstream.known().expire();
    let (word, error) = bench.refused().await;
    assert_eq!(word, "upstream_needs_authorization");
    assert!(error["message"].as_str().unwrap().contains("invalid_client"), "{error}");
    bench.put_input(input("new-secret")).await.unwrap();
    bench.app.settle().await;
    assert_eq!(bench.called_as().await, "machine");
}
both_test!(client_credentials_are_tried_kept_and_renewed, with_client_credentials);

async fn each_for_themselves(kind: Kind) {
    let bench = Bench::new(kind).await;
    bench.put(CredentialKind::PerUser).await.unwrap();
    let ben = bench.app.test.member(&bench.owner, "ben", model::Role::Member).await;
    let authorize = async |member: &TestMember, name: &str| {
        name.clone_into(&mut bench.upstream.known().person);
        let link = flow::begin_own(&member.ctx, &member.actor().await, bench.connector).await.unwrap();
        let back = bench.upstream.say_yes(&bench.app, &link.url).await;
        assert!(flow::finish(&member.ctx, &back).await.unwrap().personal);
        connectors::test(bench.env(), &bench.owner.actor().await, bench.connector).await.unwrap().unwrap();
        bench.app.settle().await;
    };
    authorize(&bench.owner, "ada").await;
    // A key has no person.
    let (word, error) = bench.refused().await;
    assert_eq!(word, "upstream_needs_authorization");
    assert_eq!(error["data"]["url"], "http://localhost:3000/profile/authorizations");
    assert!(error["message"].as_str().unwrap().contains("belongs to no person"), "{error}");
    let plane = async || {
        let plane = domain::dataplane::Directory::plane(bench.app.work.planes.as_ref(), bench.owner.org_id());
        plane.await.unwrap().unwrap()
    };
    // Each member's calls go with their own.
    let as_member = async |member: &TestMember| -> Result<String, String> {
        let plane = plane().await;
        let standing = plane.connectors[0].auth.of(Some(member.user)).expect("personal");
        let standing = standing.cloned().map_err(Clone::clone);
        let (way, keeper) = (Arc::new(bench.env().outbound.clone()), Arc::new(bench.env().clone()));
        let way = Authorized::new(way, keeper, standing);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami"}});
        let request = axum::http::Request::post(&bench.upstream.url)
            .header("content-type", "application/json")
            .body(bytes::Bytes::from(body.to_string()))
            .unwrap();
        let answer = way.send(request).await.unwrap();
        match answer.extensions().get::<domain::upstream_oauth::NotAuthorized>() {
            Some(why) => Err(why.to_string()),
            None => Ok(bench.upstream.known().calls.last().cloned().unwrap_or_default()),
        }
    };
    assert_eq!(as_member(&bench.owner).await, Ok("ada".to_owned()));
    assert!(as_member(&ben).await.unwrap_err().contains("you have not yet"));
    authorize(&ben, "ben").await;
    assert_eq!(as_member(&ben).await, Ok("ben".to_owned()));
    // The Playground is their own as well.
    let vera = bench.app.test.member(&bench.owner, "vera", model::Role::Member).await;
    let played = async |member: &TestMember| {
        let call = MemberCall {
            org: member.org_id(),
            user: member.user,
            name: "somebody".to_owned(),
            origin: domain::request::Origin::default(),
            connector: "files".to_owned(),
            tool: "whoami".to_owned(),
            arguments: "{}".to_owned(),
        };
        bench.app.work.gateway.call(call).await.body
    };
    for (member, says) in
        [(&ben, r#""text":"ben""#), (&bench.owner, r#""text":"ada""#), (&vera, "you have not yet")]
    {
        let body = played(member).await;
        assert!(body.contains(says), "{says}: {body}");
    }
    assert_eq!(as_member(&bench.owner).await, Ok("ada".to_owned()));
    assert_eq!(bench.shown().await.members, (2, 0));
    // Nobody sees or removes another's (TEN-01).
    let own = async |member: &TestMember| own::list(bench.env(), &member.actor().await).await.unwrap();
    assert_eq!(own(&ben).await[0].authorization.as_ref().unwrap().by, "ben");
    own::remove(bench.env(), &ben.actor().await, bench.connector).await.unwrap();
    assert_eq!(own(&ben).await[0].authorization, None);
    assert_eq!(as_member(&bench.owner).await, Ok("ada".to_owned()));
    authorize(&ben, "ben").await;
    // Whoever leaves takes theirs along.
    let mut tx = bench.env().db.write().await.unwrap();
    store::members::delete(&mut tx, bench.owner.org_id(), ben.user).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bench.shown().await.members, (1, 0));
    assert!(as_member(&ben).await.is_err());
}
both_test!(each_member_calls_with_their_own_authorisation, each_for_themselves);

async fn other_server(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    assert_eq!(bench.called_as().await, "ada");
    // Another connector address: its tokens stay where they belong.
    let elsewhere = Upstream::start().await;
    let changes = connectors::ConnectorChanges {
        name: "Files".to_owned(),
        description: String::new(),
        url: elsewhere.url.clone(),
        set_headers: Vec::new(),
        remove_headers: Vec::new(),
        first_byte: String::new(),
        even_if_unreachable: true,
    };
    connectors::update(bench.env(), &bench.owner.actor().await, bench.connector, &changes).await.unwrap();
    bench.app.settle().await;
    let (word, error) = bench.refused().await;
    assert_eq!(word, "upstream_needs_authorization", "{error}");
    let tokens: Vec<String> = bench.upstream.known().access.keys().cloned().collect();
    for seen in &elsewhere.known().seen {
        assert!(tokens.iter().all(|token| !seen.contains(token)), "a token went to another server");
    }
    // Authorising again registers with the new authorization server; nothing of the old one goes there.
    let link = flow::begin(&bench.owner.ctx, &bench.owner.actor().await, bench.connector).await.unwrap();
    assert!(link.url.starts_with(&elsewhere.issuer), "{}", link.url);
    let back = elsewhere.say_yes(&bench.app, &link.url).await;
    flow::finish(&bench.owner.ctx, &back).await.unwrap();
    bench.app.settle().await;
    assert_eq!(bench.called_as().await, "ada");
    let known = elsewhere.known();
    assert_eq!((known.registrations, known.calls.len()), (1, 1));
}
both_test!(ssr_10_tokens_never_go_to_another_server_or_issuer, other_server);

async fn more_scope(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    bench.upstream.known().faults.wants = Some("tools:write");
    let (word, error) = bench.refused().await;
    assert_eq!(word, "upstream_needs_authorization", "{error}");
    assert!(error["message"].as_str().unwrap().contains("tools:write"), "{error}");
    assert_eq!(bench.shown().await.scope_wanted, "tools:write");
    bench.upstream.known().faults = Faults::default();
    bench.authorize().await.unwrap();
    assert!(bench.upstream.known().scopes.contains("tools tools:write offline_access"));
    // Without a refresh token the end is the end.
    bench.upstream.known().faults.no_refresh = true;
    bench.authorize().await.unwrap();
    assert_eq!(bench.called_as().await, "ada");
    bench.upstream.known().expire();
    assert!(bench.refused().await.1["message"].as_str().unwrap().contains("without a way to renew"));
}
both_test!(a_wider_scope_is_asked_for_at_the_next_authorisation, more_scope);

async fn a_real_one(kind: Kind) {
    let bench = Bench::new(kind).await;
    let provider = Provider::start("0").await;
    bench.upstream.known().faults.authority = Some(provider.issuer.clone());
    // It registers Gatehouse, asks the person, rotates refresh tokens and ends the family when an old one comes back.
    bench.put(CredentialKind::AuthorizationCode).await.unwrap();
    let authorize = async || {
        let link = flow::begin(&bench.owner.ctx, &bench.owner.actor().await, bench.connector).await.unwrap();
        let back = told(&follow(&bench.app, &link.url).await);
        flow::finish(&bench.owner.ctx, &back).await.map_err(|error| error.into_app("")).expect("tokens");
        connectors::test(bench.env(), &bench.owner.actor().await, bench.connector).await.unwrap().unwrap();
        bench.app.settle().await;
    };
    authorize().await;
    assert_eq!(bench.called_as().await, "ada");
    for round in 2..=4 {
        bench.upstream.known().refuse_shown();
        let answers = futures_util::future::join_all((0..40).map(|_| bench.called_as())).await;
        assert!(answers.iter().all(|who| who == "ada"));
        let holder = bench.holder().await;
        assert_eq!(bench.env().at_hand(&holder).expect("in memory").generation, round, "one refresh each");
    }
    // It starts anew and has forgotten everything, its clients too: the next authorisation registers another.
    let first = bench.shown().await.client;
    let _provider = provider.rotate().await;
    bench.upstream.known().refuse_shown();
    let (word, error) = bench.refused().await;
    assert_eq!(word, "upstream_needs_authorization", "{error}");
    assert!(error["message"].as_str().unwrap().contains("invalid_client"), "{error}");
    authorize().await;
    assert_eq!(bench.called_as().await, "ada");
    assert_ne!(bench.shown().await.client, first);
}
both_test!(a_real_authorization_server_is_followed_through_rotation_and_amnesia, a_real_one);

async fn refused_though_new(kind: Kind) {
    let bench = Bench::authorized(kind).await;
    assert_eq!(bench.called_as().await, "ada");
    bench.upstream.known().faults.forgetful = true;
    // Refused for a moment: nobody has to do anything, and the authorization server is not asked for each call.
    let (word, error) = bench.refused().await;
    assert_eq!(word, "upstream_unavailable", "{error}");
    let asked = bench.upstream.known().token_requests;
    bench.refused().await;
    bench.refused().await;
    assert_eq!(bench.upstream.known().token_requests, asked);
    bench.upstream.known().faults.forgetful = false;
    bench.app.test.clock.advance(2_000);
    assert_eq!(bench.called_as().await, "ada");
    assert_eq!(bench.shown().await.authorization.unwrap().lost, None);
    // Refused for good.
    bench.upstream.known().faults.forgetful = true;
    bench.app.test.clock.advance(700_000);
    let mut words = Vec::new();
    for _ in 0..6 {
        words.push(bench.refused().await.0);
        bench.app.test.clock.advance(8_000);
    }
    assert_eq!(
        (words[0].as_str(), words[5].as_str()),
        ("upstream_unavailable", "upstream_needs_authorization")
    );
    assert!(bench.shown().await.authorization.unwrap().lost.unwrap().1.contains("issued a moment ago"));
    assert_eq!(bench.upstream.known().reused, 0);
}
both_test!(a_new_token_that_is_refused_is_given_a_moment, refused_though_new);

#[tokio::test(flavor = "multi_thread")]
async fn key_02_tokens_and_secrets_are_sealed_at_rest() {
    let bench = Bench::authorized(Kind::Sqlite).await;
    let path = bench.app.test.db.url.strip_prefix("sqlite://").unwrap().to_owned();
    let mut stored = Vec::new();
    for suffix in ["", "-wal"] {
        stored.extend(std::fs::read(format!("{path}{suffix}")).unwrap_or_default());
    }
    let holds = |text: &str| stored.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&bench.upstream.issuer), "the file is read");
    let known = bench.upstream.known();
    let secrets = known.clients.values().flatten().chain(known.access.keys());
    for secret in secrets {
        // Short as they are, they stand in no other word.
        assert!(!holds(&format!("\"{secret}\"")) && !holds(secret), "{secret}");
    }
    assert!(!holds("refresh-"), "refresh tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_01_another_organisation_finds_nothing() {
    let bench = Bench::authorized(Kind::Sqlite).await;
    let other = bench.app.org("bolt").await;
    let actor = other.actor::<can::ConnectorsWrite>().await;
    let env = bench.env();
    let codes = [
        config::get(env, &other.actor().await, bench.connector).await.map(drop),
        config::put(env, &actor, bench.connector, &Input::default()).await,
        config::disconnect(env, &actor, bench.connector).await,
        flow::begin(&other.ctx, &actor, bench.connector).await.map(drop),
        own::remove(env, &other.actor().await, bench.connector).await,
    ];
    for outcome in codes {
        assert_eq!(outcome.expect_err("nothing").into_app("").code, "not_found");
    }
    assert_eq!(bench.called_as().await, "ada");
    // A viewer may look and change nothing.
    let viewer = bench.app.test.member(&bench.owner, "vi", model::Role::Viewer).await;
    assert!(OrgActor::<can::ConnectorsWrite>::require(&viewer.ctx).await.is_err());
    assert!(OrgActor::<can::PlaygroundUse>::require(&viewer.ctx).await.is_err());
    assert!(config::get(env, &viewer.actor().await, bench.connector).await.is_ok());
}
