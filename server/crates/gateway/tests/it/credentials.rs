//! Which token a call goes with: the connector's own, or that of the person whose connection it is.

use std::{collections::HashMap, sync::Arc};

use domain::{
    dataplane::PlaneConnector,
    upstream_oauth::{Holder, NotAuthorized, PlaneAuth},
};
use model::{AuthorizationId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    Bench, Speaks, TOOLS, call_params, connector, connector_id, not_authorized, org_id, plane_grant,
    plane_machine, rpc, token,
};

const PAGE: &str = "https://gate.test/profile/authorizations";

fn holder(number: u128, user: Option<UserId>) -> Holder {
    Holder {
        org: org_id(1),
        connector: connector_id(1),
        authorization: AuthorizationId::from_uuid(Uuid::from_u128(number)),
        page: PAGE.to_owned(),
        personal: user.is_some(),
    }
}

/// A gateway whose connector `alpha` authenticates itself so, with a connection's token for acme.
fn bench(auth: PlaneAuth) -> Bench {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| {
        plane.grants.extend([plane_grant()]);
        plane.machines.extend([plane_machine("mcp:call")]);
        plane.connectors[0] = Arc::new(PlaneConnector { auth, ..connector(1, "alpha", TOOLS) });
    });
    bench.tokens.add("token", token());
    bench
}

fn personal(given: Vec<(UserId, Result<Holder, NotAuthorized>)>) -> PlaneAuth {
    PlaneAuth::PerUser {
        given: HashMap::from_iter(given),
        missing: not_authorized("You have not authorised it.", PAGE),
        nobody: not_authorized("A key has no person.", PAGE),
    }
}

fn call() -> Value {
    rpc(1, "tools/call", call_params("alpha__echo", "m"))
}

/// The `Authorization` of each call that the server saw.
fn seen(bench: &Bench) -> Vec<String> {
    let calls = bench.upstream.seen("tools/call");
    calls.iter().map(|seen| seen.headers["authorization"].to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn rsv_07_all_calls_go_with_the_organisations_token() {
    let bench = bench(PlaneAuth::Shared(Ok(holder(7, None))));
    assert_eq!(bench.bare("/mcp/acme", 1, &call()).await.status, 200);
    assert_eq!(bench.bearer("/mcp/acme", "token", &call()).await.status, 200);
    let token = format!("Bearer token-of-{}", holder(7, None).authorization);
    assert_eq!(seen(&bench), [token.clone(), token]);
}

#[tokio::test]
async fn rsv_07_a_connection_calls_as_its_person_and_a_key_as_nobody() {
    let user = plane_grant().1.user;
    let bench = bench(personal(vec![(user, Ok(holder(8, Some(user))))]));
    assert_eq!(bench.bearer("/mcp/acme", "token", &call()).await.status, 200);
    let token = format!("Bearer token-of-{}", holder(8, None).authorization);
    assert_eq!(seen(&bench), [token]);
    let refused = bench.bare("/mcp/acme", 1, &call()).await;
    let error = refused.json()["error"].clone();
    assert_eq!(error["code"], -32010, "{error}");
    assert_eq!(error["data"]["code"], "upstream_needs_authorization", "{error}");
    assert_eq!(error["data"]["url"], PAGE, "{error}");
    assert!(error["message"].as_str().unwrap().contains("A key has no person."), "{error}");
    assert_eq!(seen(&bench).len(), 1, "nothing was sent");
    // Its tools are listed all the same.
    let listed = bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({}))).await;
    assert!(listed.json().to_string().contains("alpha__echo"));
}

#[tokio::test]
async fn somebody_who_gave_nothing_is_told_where_to() {
    let other = UserId::from_uuid(Uuid::from_u128(99));
    let bench = bench(personal(vec![(other, Ok(holder(9, Some(other))))]));
    let refused = bench.bearer("/mcp/acme", "token", &call()).await.json();
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("You have not authorised it."),
        "{refused}"
    );
    assert_eq!(seen(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn what_has_ended_is_refused_without_asking_anybody() {
    let bench = bench(PlaneAuth::Shared(Err(not_authorized("It has ended.", PAGE))));
    for _ in 0..20 {
        let refused = bench.bare("/mcp/acme", 1, &call()).await.json();
        // Not the breaker's words, however often it is tried.
        assert!(refused["error"]["message"].as_str().unwrap().contains("It has ended."), "{refused}");
    }
    assert_eq!(seen(&bench), Vec::<String>::new());
}
