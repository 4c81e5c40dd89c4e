//! What is refused again and again: wrong secrets, tokens of others, tokens that were replaced. It is limited, it is
//! written down without filling the log, and whom it concerns is told.

use domain::connections::alerts;
use model::permissions::can;

use super::*;

fn at(address: &str) -> Origin {
    Origin { address: Some(address.parse().unwrap()), ..Origin::default() }
}

/// How long a client has to wait; `None` when it was told `invalid_client`.
async fn refused(t: &TestEnv, address: &str, given: &Credentials) -> Option<u32> {
    match authenticate(&t.env, &at(address), given).await {
        Err(Failure::Refused(refusal)) => {
            assert_eq!(refusal.fault, Fault::InvalidClient);
            None
        }
        Err(Failure::Failed(Error::App(app))) => Some(app.retry_after.expect("a time to wait")),
        other => panic!("{other:?}"),
    }
}

async fn events(t: &TestEnv, member: &TestMember, action: &str) -> Vec<Value> {
    let mut tx = t.env.db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, member.org_id(), 500).await.unwrap();
    let lines = lines.into_iter().filter(|line| line.action == action);
    lines.map(|line| serde_json::from_str(&line.detail).unwrap()).collect()
}

fn repeated(events: &[Value]) -> Vec<i64> {
    events.iter().map(|event| event["metadata"]["repeated"].as_i64().unwrap()).collect()
}

env_test!(rlm_03_failed_authentication_is_limited_and_locks_no_client_out, |t| async {
    let member = t.org("acme").await;
    let (_, good) = own_client(&t, &member, ClientKind::Machine, "mcp:call").await;
    let wrong = Credentials { secret: "guess".to_owned(), ..good.clone() };
    let nobody = Credentials { id: "gth_client_nobody".to_owned(), ..wrong.clone() };
    // Per address, whichever client it says it is. Addresses of one network count as one.
    for _ in 0..30 {
        assert_eq!(refused(&t, "2001:db8::1", &wrong).await, None);
        assert_eq!(refused(&t, "2001:db8::2", &nobody).await, None);
    }
    assert_eq!(refused(&t, "2001:db8::3", &wrong).await, Some(60));
    assert_eq!(refused(&t, "2001:db8::3", &nobody).await, Some(60));
    assert_eq!(refused(&t, "198.51.100.1", &wrong).await, None, "another address");
    // Per client, wherever it comes from: 31 so far.
    for n in 31..120 {
        assert_eq!(refused(&t, &format!("203.0.113.{n}"), &wrong).await, None, "{n}");
    }
    assert_eq!(refused(&t, "192.0.2.1", &wrong).await, Some(60));
    // The real client is served throughout, also from the address of the flood.
    for address in ["2001:db8::3", "192.0.2.1"] {
        assert!(authenticate(&t.env, &at(address), &good).await.is_ok());
    }
    // Whoever waits as long as they were told is looked at again.
    t.clock.advance(MINUTE);
    assert_eq!(refused(&t, "2001:db8::3", &wrong).await, None);
    let written = events(&t, &member, "oauth_client.authentication_failed").await;
    assert_eq!(repeated(&written), [0], "one event, however many attempts");
});

env_test!(aud_02_refusals_that_repeat_are_counted_in_one_event, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let other = register(&t, json!({})).await.client;
    let token = next_of(&connected(&t, &member, &client).await);
    let second = next_of(&connected(&t, &member, &client).await);
    let now_and_then = async |n: usize| {
        for _ in 0..n {
            assert_eq!(fault(renew(&t, &other, &token).await), Fault::InvalidGrant);
        }
    };
    now_and_then(20).await;
    let written = async || repeated(&events(&t, &member, "oauth.refresh_refused").await);
    assert_eq!(written().await, [0]);
    // Another grant is another matter.
    assert_eq!(fault(renew(&t, &other, &second).await), Fault::InvalidGrant);
    assert_eq!(written().await, [0, 0]);
    // The next one after ten minutes says how many there were.
    t.clock.advance(10 * MINUTE);
    now_and_then(3).await;
    assert_eq!(written().await, [19, 0, 0]);
    // And what nobody follows is written all the same: the last of the two, and the one before it.
    oauth::purge(&t.env).await.unwrap();
    assert_eq!(written().await, [19, 0, 0], "its time is not over");
    t.clock.advance(10 * MINUTE);
    oauth::purge(&t.env).await.unwrap();
    oauth::purge(&t.env).await.unwrap();
    assert_eq!(written().await, [1, 19, 0, 0]);
    assert!(renew(&t, &client, &token).await.is_ok(), "its own client is not concerned");
});

/// A replay of the first token of a grant, after two rotations. It tells the newest token.
async fn replayed(t: &TestEnv, member: &TestMember, client: &Client) -> (String, String) {
    let first = next_of(&connected(t, member, client).await);
    let second = next_of(&renew(t, client, &first).await.unwrap());
    let third = next_of(&renew(t, client, &second).await.unwrap());
    let given = Refresh { token: &first, scope: None, resource: None };
    let refused = refresh::refresh(&t.env, &at("192.0.2.9"), client, &given).await;
    assert_eq!(fault(refused), Fault::InvalidGrant);
    (first, third)
}

env_test!(oar_07_a_replay_is_told_to_the_person_and_to_the_organisation, |t| async {
    let owner = t.org("acme").await;
    let member = t.member(&owner, "dev", Role::Developer).await;
    let stranger = t.org("globex").await;
    let client = register(&t, json!({})).await.client;
    replayed(&t, &member, &client).await;

    let reads = owner.actor::<can::ApiKeysRead>().await;
    let [seen] = alerts::list(&t.env, &reads).await.unwrap().try_into().unwrap();
    assert_eq!((seen.client_name.as_str(), seen.user_email.as_str()), ("Some app", "dev@acme.example"));
    assert_eq!((seen.address.as_str(), seen.at), ("192.0.2.9", t.env.now()));
    assert!(seen.ended && seen.active && !seen.org.is_empty());
    let [own] = alerts::list_own(&member.ctx).await.unwrap().try_into().unwrap();
    assert_eq!(own, seen);
    let others = stranger.actor::<can::ApiKeysRead>().await;
    assert!(alerts::list(&t.env, &others).await.unwrap().is_empty());
    assert!(alerts::list_own(&owner.ctx).await.unwrap().is_empty(), "it is not the owner's connection");

    // News for whoever subscribed, in the same transaction.
    let mut tx = t.env.db.read().await.unwrap();
    let news = store::outbox::list(&mut tx, owner.org_id()).await.unwrap();
    drop(tx);
    let [(_, data)]: [_; 1] = news
        .into_iter()
        .filter(|(name, _)| name == "connection.reuse_detected")
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let data: Value = serde_json::from_str(&data).unwrap();
    assert_eq!((&data["user_email"], &data["ended"]), (&json!("dev@acme.example"), &json!(true)));

    // Each side puts it away for itself, and nobody for others.
    let id = seen.connection;
    for ctx in [&stranger.ctx, &owner.ctx] {
        assert_eq!(word(alerts::dismiss_own(ctx, id).await.unwrap_err()), "not_found");
    }
    let foreign = stranger.actor::<can::ApiKeysRevoke>().await;
    assert_eq!(word(alerts::dismiss(&t.env, &foreign, id).await.unwrap_err()), "not_found");
    alerts::dismiss_own(&member.ctx, id).await.unwrap();
    assert!(alerts::list_own(&member.ctx).await.unwrap().is_empty());
    assert_eq!(alerts::list(&t.env, &reads).await.unwrap().len(), 1);
    let revokes = owner.actor::<can::ApiKeysRevoke>().await;
    alerts::dismiss(&t.env, &revokes, id).await.unwrap();
    alerts::dismiss(&t.env, &revokes, id).await.unwrap();
    assert!(alerts::list(&t.env, &reads).await.unwrap().is_empty());
    assert_eq!(events(&t, &owner, "connection.alert_dismissed").await.len(), 2);

    // It happens again: it is told again.
    replayed(&t, &member, &client).await;
    assert_eq!(alerts::list(&t.env, &reads).await.unwrap().len(), 1);
    assert_eq!(alerts::list_own(&member.ctx).await.unwrap().len(), 1);
});

env_test!(oar_07_replays_that_are_only_rejected_are_told_once_in_a_while, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    choose(&t, &member, OauthSettings { reuse: ReusePolicy::Reject, ..SETTINGS }).await;
    let (first, newest) = replayed(&t, &member, &client).await;
    let reads = member.actor::<can::ApiKeysRead>().await;
    let [seen] = alerts::list(&t.env, &reads).await.unwrap().try_into().unwrap();
    assert!(!seen.ended);
    let revokes = member.actor::<can::ApiKeysRevoke>().await;
    alerts::dismiss(&t.env, &revokes, seen.connection).await.unwrap();
    for _ in 0..15 {
        assert_eq!(fault(renew(&t, &client, &first).await), Fault::InvalidGrant);
    }
    let written = async || repeated(&events(&t, &member, "oauth.refresh_reuse_detected").await);
    assert_eq!(written().await, [0]);
    assert!(alerts::list(&t.env, &reads).await.unwrap().is_empty());
    t.clock.advance(10 * MINUTE);
    assert_eq!(fault(renew(&t, &client, &first).await), Fault::InvalidGrant);
    assert_eq!(written().await, [15, 0]);
    assert_eq!(alerts::list(&t.env, &reads).await.unwrap().len(), 1);
    assert!(renew(&t, &client, &newest).await.is_ok());
});
