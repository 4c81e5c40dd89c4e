//! What ends or narrows tokens before their time: a revocation, a narrower consent, another role.

use domain::dataplane::{Access, Directory as _, PlaneScope, Planes, Resource};
use domain::tokens::Refused;
use model::permissions::can;

use super::*;

/// What an access token gives now, judged as the gateway judges it.
async fn admitted(t: &TestEnv, member: &TestMember, token: &str) -> Result<Access, Refused> {
    let read = tokens::read(&t.env, token).await?;
    let planes = Planes::load(t.env.clone()).await.unwrap();
    let plane = planes.plane(member.org_id()).await.unwrap().unwrap();
    let resource = Resource { main: "http://localhost:3000/mcp/acme", connector: None };
    plane.admit(&read, resource, t.env.now())
}

/// Consents to these connectors only.
async fn connected_to(t: &TestEnv, member: &TestMember, client: &Client, connectors: &[&str]) -> Issued {
    at_a_browser(t, member).await;
    let value = request(&member.ctx, client, &ask()).await;
    let connectors = connectors.iter().map(|slug| (*slug).to_owned()).collect();
    let decision = Decision { all: false, connectors, ..allow(&value, member) };
    let code = consent::decide(&member.ctx, &decision).await.unwrap().result.unwrap();
    redeem(t, client, &code).await.unwrap()
}

async fn add(t: &TestEnv, member: &TestMember, slugs: &[&str]) {
    for slug in slugs {
        let new = connectors::NewConnector {
            name: (*slug).to_owned(),
            slug: (*slug).to_owned(),
            description: String::new(),
            url: "http://127.0.0.1:9/mcp".to_owned(),
            headers: Vec::new(),
            even_if_unreachable: true,
        };
        connectors::add(&t.env, &member.actor().await, &new).await.unwrap();
    }
}

fn reached(scope: &PlaneScope) -> Option<usize> {
    match scope {
        PlaneScope::All => None,
        PlaneScope::Only(connectors) => Some(connectors.len()),
    }
}

env_test!(oak_01_a_revocation_counts_as_long_as_its_token_could_be_accepted, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let token = connected(&t, &member, &client).await.access_token;
    revoke::revoke(&t.env, &Origin::default(), &client, &token).await.unwrap();
    let known = async || {
        oauth::purge(&t.env).await.unwrap();
        let mut tx = t.env.db.read().await.unwrap();
        store::signing_keys::list_revoked(&mut tx, member.org_id(), i64::MIN).await.unwrap().len()
    };
    // At its end, throughout the leeway, and then no more.
    for at in [tokens::LIFETIME - 1, 1, tokens::LEEWAY - 1] {
        t.clock.advance(at);
        assert_eq!(known().await, 1);
        assert_eq!(admitted(&t, &member, &token).await, Err(Refused::Invalid("it was revoked")));
    }
    t.clock.advance(1);
    assert_eq!(admitted(&t, &member, &token).await, Err(Refused::Invalid("it has expired")));
    t.clock.advance(1);
    assert_eq!(known().await, 0);
});

env_test!(oaz_07_a_narrower_consent_narrows_what_was_granted_before, |t| async {
    let member = t.org("acme").await;
    add(&t, &member, &["one", "two", "three"]).await;
    let client = register(&t, json!({})).await.client;
    let wide = connected(&t, &member, &client).await;
    assert_eq!(reached(&admitted(&t, &member, &wide.access_token).await.unwrap().scope), None);

    // The same client of the same person, perhaps on another machine, is given less.
    let narrow = connected_to(&t, &member, &client, &["one", "two"]).await;
    for issued in [&wide, &narrow] {
        let access = admitted(&t, &member, &issued.access_token).await.unwrap();
        assert_eq!(reached(&access.scope), Some(2), "at once, also what was issued before");
    }
    let renewed = renew(&t, &client, &next_of(&wide)).await.unwrap();
    assert_eq!(renewed.scope.to_string(), "mcp:call:one mcp:call:two");
    let wider = Refresh { token: &next_of(&renewed), scope: Some("mcp:call"), resource: None };
    let refused = refresh::refresh(&t.env, &Origin::default(), &client, &wider).await;
    assert_eq!(fault(refused), Fault::InvalidScope);

    // More than before takes nothing from the others, and gives them nothing.
    let all = connected(&t, &member, &client).await;
    assert_eq!(reached(&admitted(&t, &member, &all.access_token).await.unwrap().scope), None);
    assert_eq!(reached(&admitted(&t, &member, &narrow.access_token).await.unwrap().scope), Some(2));

    // Something else altogether ends them.
    let other = connected_to(&t, &member, &client, &["three"]).await;
    assert_eq!(fault(renew(&t, &client, &next_of(&renewed)).await), Fault::InvalidGrant);
    assert!(admitted(&t, &member, &narrow.access_token).await.is_err());
    for issued in [&all, &other] {
        assert_eq!(reached(&admitted(&t, &member, &issued.access_token).await.unwrap().scope), Some(1));
    }
    let mut tx = t.env.db.read().await.unwrap();
    let [row] = store::connections::list(&mut tx, member.org_id()).await.unwrap().try_into().unwrap();
    assert_eq!(row.scope, "mcp:call:three", "one connection, and it says what its client has");
});

env_test!(oaz_07_another_persons_consent_takes_nothing_away, |t| async {
    let owner = t.org("acme").await;
    add(&t, &owner, &["one", "two"]).await;
    let colleague = t.member(&owner, "colleague", Role::Developer).await;
    let client = register(&t, json!({})).await.client;
    let wide = connected(&t, &owner, &client).await;
    connected_to(&t, &colleague, &client, &["one"]).await;
    assert_eq!(reached(&admitted(&t, &owner, &wide.access_token).await.unwrap().scope), None);
});

env_test!(oar_04_whoever_loses_the_role_for_connections_loses_their_access_tokens, |t| async {
    let owner = t.org("acme").await;
    let member = t.member(&owner, "dev", Role::Developer).await;
    let client = register(&t, json!({})).await.client;
    let issued = connected(&t, &member, &client).await;
    let (own, secret) = own_client(&t, &owner, ClientKind::Code, "mcp:call").await;
    let told = connected(&t, &member, &own).await;
    assert!(secret.secret.len() > 10);
    let roles = owner.actor::<can::TeamRoles>().await;
    let put = async |role| {
        domain::orgs::put_member(&t.env, &roles, "dev@acme.example", role).await.unwrap();
    };
    for (role, may) in [(Role::Member, true), (Role::Viewer, false), (Role::Admin, true)] {
        put(role).await;
        assert_eq!(admitted(&t, &member, &issued.access_token).await.is_ok(), may, "{role}");
        let active =
            revoke::introspect(&t.env, &t.anonymous().origin, &own, &told.access_token).await.unwrap();
        assert_eq!(active["active"], may, "{role}");
    }
});
