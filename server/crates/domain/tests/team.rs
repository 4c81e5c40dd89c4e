//! Members: who may change whom, what goes with somebody who goes, and that one owner stays.

use domain::{
    OrgActor, env_test, team,
    testing::{TestEnv, TestMember},
};
use model::{ErrorKind, Role, permissions::can};

async fn roles(t: &TestEnv, of: &TestMember) -> Vec<(String, Role)> {
    let members = team::list(&t.env, &of.actor().await).await.expect("the team");
    members
        .into_iter()
        .map(|member| (member.name, Role::parse(member.role.as_str()).expect("a built-in role")))
        .collect()
}

fn code(done: domain::Result<()>) -> (ErrorKind, String) {
    match done {
        Err(domain::Error::App(error)) => (error.kind, error.code),
        other => panic!("no refusal: {other:?}"),
    }
}

env_test!(ten_04_roles_are_changed_by_those_who_may, |t| async move {
    let acme = t.org("acme").await;
    let admin = t.member(&acme, "admin", Role::Admin).await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    assert!(OrgActor::<can::TeamRoles>::require(&dev.ctx).await.is_err());
    let by_admin = admin.actor().await;
    team::set_role(&t.env, &by_admin, dev.user, Role::Viewer).await.unwrap();
    // Only owners deal with owners.
    assert_eq!(code(team::set_role(&t.env, &by_admin, dev.user, Role::Owner).await).1, "owners_only");
    assert_eq!(code(team::set_role(&t.env, &by_admin, admin.user, Role::Owner).await).1, "owners_only");
    assert_eq!(code(team::set_role(&t.env, &by_admin, acme.user, Role::Viewer).await).1, "owners_only");
    assert_eq!(code(team::remove(&t.env, &admin.guarded().await, acme.user).await).1, "owners_only");
    // Somebody else's member is nobody's here.
    let other = t.org("other").await;
    assert_eq!(
        code(team::set_role(&t.env, &by_admin, other.user, Role::Viewer).await).0,
        ErrorKind::NotFound
    );
    assert_eq!(code(team::remove(&t.env, &admin.guarded().await, other.user).await).0, ErrorKind::NotFound);
    // A change counts for what is under way: the proof from before is worth nothing any more.
    let stale = admin.actor::<can::TeamRoles>().await;
    team::set_role(&t.env, &acme.actor().await, admin.user, Role::Developer).await.unwrap();
    assert_eq!(code(team::set_role(&t.env, &stale, dev.user, Role::Admin).await).0, ErrorKind::Forbidden);
    let now = roles(&t, &acme).await;
    assert!(now.contains(&("dev".into(), Role::Viewer)) && now.contains(&("admin".into(), Role::Developer)));
});

env_test!(ten_04_the_last_owner_stays, |t| async move {
    let acme = t.org("acme").await;
    let by = acme.actor().await;
    assert_eq!(
        code(team::set_role(&t.env, &by, acme.user, Role::Admin).await),
        (ErrorKind::Conflict, "last_owner".into())
    );
    assert_eq!(code(team::remove(&t.env, &acme.guarded().await, acme.user).await).1, "last_owner");
    assert_eq!(code(team::leave(&acme.ctx, acme.org_id()).await).1, "last_owner");
    let second = t.member(&acme, "second", Role::Owner).await;
    team::leave(&acme.ctx, acme.org_id()).await.unwrap();
    assert_eq!(roles(&t, &second).await, [("second".to_owned(), Role::Owner)]);
});

env_test!(ten_04_of_two_owners_who_remove_each_other_one_stays, |t| async move {
    for round in 0..5 {
        let acme = t.org(&format!("acme-{round}")).await;
        let second = t.member(&acme, "second", Role::Owner).await;
        let (one, two) = (acme.guarded().await, second.actor().await);
        let (first, other) = tokio::join!(
            team::remove(&t.env, &one, second.user),
            team::set_role(&t.env, &two, acme.user, Role::Viewer)
        );
        assert_ne!(first.is_ok(), other.is_ok(), "one of them: {first:?} {other:?}");
        let mut tx = t.env.db.read().await.unwrap();
        assert_eq!(store::members::count_in_role(&mut tx, acme.org_id(), Role::Owner).await.unwrap(), 1);
    }
});

env_test!(ses_03_who_is_removed_loses_sessions_and_connections_and_leaves_keys, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let new = domain::api_keys::NewKey {
        name: "ci-bot".into(),
        scope: model::api_keys::KeyScope::All,
        expires_at: None,
        url_key: false,
    };
    domain::api_keys::create(&t.env, &dev.actor().await, &new).await.unwrap();
    t.grant(&dev, "gth_client_x", "mcp:call").await;
    let session = store::sessions::Session {
        token_hash: vec![7; 32],
        id: model::SessionId::from_uuid(t.env.uuid()),
        user: Some(dev.user),
        data: "{}".into(),
        address: String::new(),
        user_agent: String::new(),
        created_at: t.env.now(),
        last_seen_at: t.env.now(),
        expires_at: t.env.now() + 1000,
        in_view: None,
        renew: false,
        sso_org: None,
        method: None,
    };
    let mut tx = t.env.db.write().await.unwrap();
    store::sessions::upsert(&mut tx, &session).await.unwrap();
    tx.commit().await.unwrap();

    let asked = team::leaving(&t.env, &acme.actor().await, dev.user).await.unwrap();
    assert_eq!((asked.sessions, asked.connections), (1, 1));
    assert_eq!(asked.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["ci-bot"]);
    team::remove(&t.env, &acme.guarded().await, dev.user).await.unwrap();
    assert!(OrgActor::<can::ConnectorsRead>::require(&dev.ctx).await.is_err());
    let mut tx = t.env.db.read().await.unwrap();
    assert!(store::sessions::list_of_user(&mut tx, dev.user).await.unwrap().is_empty());
    let connections = store::connections::list(&mut tx, acme.org_id()).await.unwrap();
    assert!(connections.iter().all(|row| row.revoked_at.is_some()) && connections.len() == 1);
    let keys = store::api_keys::list(&mut tx, acme.org_id()).await.unwrap();
    assert!(keys.iter().any(|key| key.name == "ci-bot"), "keys belong to the organisation");
    let published = store::outbox::list(&mut tx, acme.org_id()).await.unwrap();
    assert!(published.iter().any(|(event, _)| event == "team.member_removed"));
    assert!(published.iter().any(|(event, _)| event == "connection.revoked"));
    let events = store::audit::list_actions(&mut tx, Some(acme.org_id())).await.unwrap();
    assert!(events.iter().any(|(action, _)| action == "team.member_removed"));
});
