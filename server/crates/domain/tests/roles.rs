//! Roles that organisations make, on both databases.

use domain::{
    Error, OrgActor, env_test, invitations, orgs,
    roles::{self, Input},
    team,
    testing::{TestEnv, TestMember, token_of},
};
use model::{AppError, ErrorKind, MemberRole, Permission, Role, RoleId, RoleKey, UserId, permissions::can};

fn input(name: &str, permissions: &[&str]) -> Input {
    Input {
        name: name.to_owned(),
        description: String::new(),
        permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn refused(result: domain::Result<impl core::fmt::Debug>) -> AppError {
    match result.expect_err("a refusal") {
        Error::App(error) => error,
        other => panic!("no words for people: {other}"),
    }
}

async fn made(t: &TestEnv, by: &TestMember, name: &str, permissions: &[&str]) -> RoleId {
    roles::create(&t.env, &by.actor().await, &input(name, permissions)).await.expect("a role")
}

fn dev_email(of: &TestMember) -> String {
    format!("dev@{}.example", of.org.slug)
}

async fn role(t: &TestEnv, of: &TestMember, user: UserId) -> MemberRole {
    let mut tx = t.env.db.read().await.unwrap();
    store::members::find_role(&mut tx, of.org_id(), user).await.unwrap().expect("a member")
}

async fn give(t: &TestEnv, by: &TestMember, to: &TestMember, key: impl Into<RoleKey>) {
    team::set_role(&t.env, &by.actor().await, to.user, key).await.expect("the role is given");
}

env_test!(a_role_of_permissions_allows_them_and_nothing_else_at_once, |t| async {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Member).await;
    let keys = made(&t, &acme, "Key keeper", &["api-keys:create", "api-keys:revoke"]).await;
    give(&t, &acme, &dev, keys).await;
    let held = role(&t, &acme, dev.user).await;
    assert_eq!(
        (held.name.as_str(), held.rights.names().as_str()),
        ("Key keeper", "api-keys:read api-keys:create api-keys:revoke")
    );
    assert!(OrgActor::<can::ApiKeysCreate>::require(&dev.ctx).await.is_ok());
    assert!(OrgActor::<can::ApiKeysRead>::require(&dev.ctx).await.is_ok(), "what may be changed is seen");
    assert_eq!(refused(OrgActor::<can::ConnectorsRead>::require(&dev.ctx).await).code, "permission_denied");
    // It is changed under whoever has it.
    let before = dev.actor::<can::ApiKeysCreate>().await;
    roles::update(&t.env, &acme.actor().await, keys, &input("Key reader", &["api-keys:read"])).await.unwrap();
    assert_eq!(refused(OrgActor::<can::ApiKeysCreate>::require(&dev.ctx).await).kind, ErrorKind::Forbidden);
    assert_eq!(before.org(), acme.org_id());
    assert_eq!(
        team::list(&t.env, &acme.actor().await)
            .await
            .unwrap()
            .iter()
            .find(|m| m.user == dev.user)
            .unwrap()
            .role
            .name,
        "Key reader"
    );
    assert_eq!(orgs::me(&dev.ctx).await.unwrap().org.unwrap().role.name, "Key reader");
});

env_test!(oar_04_connections_die_with_the_right_to_have_them, |t| async {
    use domain::dataplane::{Directory as _, Planes};
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Member).await;
    let with = made(&t, &acme, "With tools", &["playground:use", "connectors:read"]).await;
    give(&t, &acme, &dev, with).await;
    let grant = t.grant(&dev, "client", "mcp:call").await;
    let planes = Planes::load(t.env.clone()).await.unwrap();
    let live = async || {
        let plane = planes.plane(acme.org_id()).await.unwrap().unwrap();
        plane.grants.values().any(|known| known.user == dev.user)
    };
    assert!(live().await);
    roles::update(&t.env, &acme.actor().await, with, &input("With tools", &["connectors:read"]))
        .await
        .unwrap();
    assert!(!live().await, "{:?}", grant.grant);
});

env_test!(ten_04_nobody_makes_gives_or_touches_a_role_beyond_their_own, |t| async {
    let acme = t.org("acme").await;
    let admin = t.member(&acme, "admin", Role::Admin).await;
    let helper = t.member(&acme, "helper", Role::Member).await;
    // No role holds what is the owners' alone.
    for reserved in ["org:delete", "billing:manage"] {
        let error = refused(roles::create(&t.env, &acme.actor().await, &input("Boss", &[reserved])).await);
        assert_eq!((error.code.as_str(), error.fields[0].field.as_str()), ("owners_only", "permissions"));
    }
    for (name, permissions, field) in [
        ("", vec!["team:read"], "name"),
        ("Admin", vec!["team:read"], "name"),
        ("0wners", vec!["team:read"], "name"),
        ("Nothing", vec![], "permissions"),
        ("Odd", vec!["everything:do"], "permissions"),
    ] {
        let error = refused(roles::create(&t.env, &acme.actor().await, &input(name, &permissions)).await);
        assert_eq!(error.fields[0].field, field, "{name}");
    }
    let people = made(&t, &acme, "People", &["team:roles", "team:invite", "team:remove"]).await;
    assert_eq!(
        refused(roles::create(&t.env, &acme.actor().await, &input(" PEOPLE ", &["team:read"])).await).code,
        "name_taken"
    );
    give(&t, &admin, &helper, people).await;
    let by = || helper.actor::<can::TeamRoles>();
    // They hold three rights and their read, so that is as far as they reach.
    let error = refused(roles::create(&t.env, &by().await, &input("More", &["connectors:read"])).await);
    assert_eq!(error.code, "role_above_own");
    let scouts = made(&t, &helper, "Scouts", &["team:invite"]).await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let new = t.member(&acme, "new", scouts).await;
    assert_eq!(refused(team::set_role(&t.env, &by().await, dev.user, scouts).await).code, "above_own");
    assert_eq!(
        refused(team::set_role(&t.env, &by().await, new.user, Role::Admin).await).code,
        "role_above_own"
    );
    assert_eq!(
        refused(team::set_role(&t.env, &by().await, helper.user, Role::Viewer).await).code,
        "own_role"
    );
    assert_eq!(refused(team::remove(&t.env, &helper.guarded().await, dev.user).await).code, "above_own");
    assert_eq!(
        refused(invitations::invite(&t.env, &helper.actor().await, "a@x.example", Role::Viewer).await).code,
        "role_above_own"
    );
    assert!(invitations::invite(&t.env, &helper.actor().await, "a@x.example", scouts).await.is_ok());
    let offered = invitations::list(&t.env, &helper.actor().await).await.unwrap().roles;
    assert_eq!(offered.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["People", "Scouts"]);
    // Nor do they change or delete a role that reaches further, or raise their own.
    let wide = made(&t, &acme, "Wide", &["connectors:delete"]).await;
    assert_eq!(
        refused(roles::update(&t.env, &by().await, wide, &input("Wide", &["team:read"])).await).code,
        "role_above_own"
    );
    assert_eq!(refused(roles::delete(&t.env, &by().await, wide, None).await).code, "role_above_own");
    let raise = input("People", &["team:roles", "connectors:read"]);
    assert_eq!(refused(roles::update(&t.env, &by().await, people, &raise).await).code, "role_above_own");
    // Whatever a role holds, it is not owner.
    assert_eq!(
        refused(team::set_role(&t.env, &admin.actor().await, acme.user, people).await).code,
        "owners_only"
    );
});

env_test!(a_role_in_use_is_deleted_only_with_what_comes_instead, |t| async {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Member).await;
    let crew = made(&t, &acme, "Crew", &["connectors:write"]).await;
    give(&t, &acme, &dev, crew).await;
    invitations::invite(&t.env, &acme.actor().await, "a@x.example", crew).await.unwrap();
    let listed = roles::list(&t.env, &acme.actor().await).await.unwrap();
    assert_eq!((listed.custom[0].members, listed.custom[0].invitations), (1, 1));
    let delete = async |instead| roles::delete(&t.env, &acme.actor().await, crew, instead).await;
    for bad in [
        None,
        Some(crew.into()),
        Some(RoleKey::Custom(RoleId::from_uuid(t.env.uuid()))),
        Some(Role::Owner.into()),
    ] {
        let error = refused(delete(bad).await);
        assert_eq!(error.fields[0].field, "instead", "{bad:?}");
    }
    assert_eq!(role(&t, &acme, dev.user).await.name, "Crew", "nothing was changed");
    t.mails().await;
    delete(Some(Role::Viewer.into())).await.unwrap();
    assert!(role(&t, &acme, dev.user).await == Role::Viewer);
    let mails = t.mails().await;
    assert!(
        mails.iter().any(|mail| mail.to == dev_email(&dev) && mail.text.contains("a viewer")),
        "{mails:?}"
    );
    assert!(invitations::list(&t.env, &acme.actor().await).await.unwrap().open[0].role == Role::Viewer);
    assert!(OrgActor::<can::ConnectorsWrite>::require(&dev.ctx).await.is_err());
    assert_eq!(refused(delete(None).await).kind, ErrorKind::NotFound);
    let unused = made(&t, &acme, "Unused", &["logs:read"]).await;
    // An invitation to it that is over is no use of it, and its link goes on to lead nowhere.
    invitations::invite(&t.env, &acme.actor().await, "b@x.example", unused).await.unwrap();
    let token = token_of(t.mails().await.iter().find(|mail| mail.to == "b@x.example").expect("the mail"));
    invitations::decline(&t.anonymous(), &token).await.unwrap();
    roles::delete(&t.env, &acme.actor().await, unused, None).await.unwrap();
    let dead = invitations::decline(&t.anonymous(), &token).await;
    assert!(matches!(dead, Err(Error::App(_))), "{dead:?}");
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::audit::list_actions(&mut tx, Some(acme.org_id())).await.unwrap();
    for action in ["role.created", "role.deleted", "team.role_changed"] {
        assert!(all.iter().any(|(known, _)| known == action), "{action}");
    }
});

env_test!(ten_01_roles_of_others_are_not_found, |t| async {
    let (acme, beta) = (t.org("acme").await, t.org("beta").await);
    let theirs = made(&t, &beta, "Theirs", &["team:read"]).await;
    let dev = t.member(&acme, "dev", Role::Member).await;
    assert_eq!(
        refused(team::set_role(&t.env, &acme.actor().await, dev.user, theirs).await).fields[0].field,
        "role"
    );
    assert_eq!(
        refused(invitations::invite(&t.env, &acme.actor().await, "a@x.example", theirs).await).fields[0]
            .field,
        "role"
    );
    let update = roles::update(&t.env, &acme.actor().await, theirs, &input("Mine", &["team:read"])).await;
    assert_eq!(refused(update).kind, ErrorKind::NotFound);
    assert_eq!(
        refused(roles::delete(&t.env, &acme.actor().await, theirs, None).await).kind,
        ErrorKind::NotFound
    );
    assert!(roles::list(&t.env, &acme.actor().await).await.unwrap().custom.is_empty());
    // By name, as on the command line, only in the organisation that has it.
    assert_eq!(roles::named(&t.env, beta.org_id(), "theirs").await.unwrap(), RoleKey::Custom(theirs));
    assert!(roles::named(&t.env, acme.org_id(), "theirs").await.is_err());
    assert!(roles::named(&t.env, acme.org_id(), &theirs.to_string()).await.is_err());
    assert_eq!(roles::named(&t.env, acme.org_id(), "viewer").await.unwrap(), RoleKey::Built(Role::Viewer));
});

env_test!(each_permission_alone_opens_what_it_names_and_no_more, |t| async {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Member).await;
    for permission in Permission::ALL {
        if matches!(permission, Permission::OrgDelete | Permission::BillingManage) {
            continue;
        }
        let id = made(&t, &acme, permission.as_str(), &[permission.as_str()]).await;
        give(&t, &acme, &dev, id).await;
        let held = role(&t, &acme, dev.user).await;
        let actor = OrgActor::<can::TeamRead>::require(&dev.ctx).await;
        assert_eq!(actor.is_ok(), held.allows(Permission::TeamRead), "{permission}");
        let read = permission.as_str().split(':').next().unwrap_or_default().to_owned() + ":read";
        for other in Permission::ALL {
            let expected = other == permission || other.as_str() == read;
            assert_eq!(held.allows(*other), expected, "{permission} gives {other}");
        }
        give(&t, &acme, &dev, Role::Member).await;
        roles::delete(&t.env, &acme.actor().await, id, None).await.unwrap();
    }
});

async fn session(t: &TestEnv, of: &TestMember) -> store::sessions::Session {
    let mut tx = t.env.db.read().await.unwrap();
    store::sessions::list_of_user(&mut tx, of.user).await.unwrap().remove(0)
}

async fn begin_session(t: &TestEnv, of: &TestMember) {
    let session = store::sessions::Session {
        token_hash: t.env.uuid().as_bytes().to_vec(),
        id: model::SessionId::from_uuid(t.env.uuid()),
        user: Some(of.user),
        data: "{}".into(),
        address: String::new(),
        user_agent: String::new(),
        created_at: t.env.now(),
        last_seen_at: t.env.now(),
        expires_at: t.env.now() + 1000,
        in_view: Some(of.org_id()),
        renew: false,
        sso_org: None,
        method: None,
    };
    let mut tx = t.env.db.write().await.unwrap();
    store::sessions::upsert(&mut tx, &session).await.unwrap();
    tx.commit().await.unwrap();
}

env_test!(ses_02_other_rights_of_a_role_renew_the_sessions_of_those_who_have_it, |t| async {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Member).await;
    let crew = made(&t, &acme, "Crew", &["connectors:read"]).await;
    give(&t, &acme, &dev, crew).await;
    for member in [&dev, &acme] {
        begin_session(&t, member).await;
    }
    // Another name gives nobody other rights.
    roles::update(&t.env, &acme.actor().await, crew, &input("Squad", &["connectors:read"])).await.unwrap();
    assert!(!session(&t, &dev).await.renew);
    roles::update(&t.env, &acme.actor().await, crew, &input("Squad", &["logs:read"])).await.unwrap();
    assert!(session(&t, &dev).await.renew);
    assert!(!session(&t, &acme).await.renew, "it is not their role");
    let mut tx = t.env.db.write().await.unwrap();
    let old = session(&t, &dev).await.token_hash;
    assert!(store::sessions::renew(&mut tx, &old, &[5; 32], t.env.now() + 1000).await.unwrap());
    tx.commit().await.unwrap();
    roles::delete(&t.env, &acme.actor().await, crew, Some(Role::Viewer.into())).await.unwrap();
    assert!(session(&t, &dev).await.renew);
});

env_test!(aud_02_changes_of_a_role_tell_before_and_after, |t| async {
    let acme = t.org("acme").await;
    let crew = made(&t, &acme, "Crew", &["logs:read"]).await;
    let new = Input { description: "On call".into(), ..input("Squad", &["usage:read"]) };
    roles::update(&t.env, &acme.actor().await, crew, &new).await.unwrap();
    // The same again is no change.
    roles::update(&t.env, &acme.actor().await, crew, &new).await.unwrap();
    roles::delete(&t.env, &acme.actor().await, crew, None).await.unwrap();
    let wanted = store::audit::Wanted {
        after: 0,
        before: i64::MAX,
        from: i64::MIN,
        to: i64::MAX,
        actor_kind: "",
        actor: None,
        actions: store::audit::Actions::All,
        limit: 100,
        upwards: true,
    };
    let mut tx = t.env.db.read().await.unwrap();
    let rows = store::audit::list(&mut tx, acme.org_id(), &wanted).await.unwrap();
    let changes: Vec<_> = rows
        .iter()
        .filter(|row| row.action.starts_with("role."))
        .map(|row| {
            let detail: serde_json::Value = serde_json::from_str(&row.detail).unwrap();
            (row.action.clone(), detail["changes"].clone())
        })
        .collect();
    assert_eq!(
        changes,
        [
            ("role.created".to_owned(), serde_json::json!({"permissions": ["", "logs:read"]})),
            (
                "role.updated".to_owned(),
                serde_json::json!({
                    "name": ["Crew", "Squad"],
                    "description": ["", "On call"],
                    "permissions": ["logs:read", "usage:read"],
                })
            ),
            (
                "role.deleted".to_owned(),
                serde_json::json!({"description": ["On call", ""], "permissions": ["usage:read", ""]})
            ),
        ]
    );
});

env_test!(ten_04_an_invitation_ends_when_its_maker_could_not_make_it_any_more, |t| async {
    let acme = t.org("acme").await;
    let scout = t.member(&acme, "dev", Role::Member).await;
    let scouts = made(&t, &acme, "Scouts", &["team:invite"]).await;
    let guests = made(&t, &acme, "Guests", &["team:read"]).await;
    give(&t, &acme, &scout, scouts).await;
    invitations::invite(&t.env, &scout.actor().await, "a@x.example", guests).await.unwrap();
    invitations::invite(&t.env, &acme.actor().await, "b@x.example", guests).await.unwrap();
    // What they invited to reaches further now than they do.
    roles::update(&t.env, &acme.actor().await, guests, &input("Guests", &["team:read", "logs:read"]))
        .await
        .unwrap();
    let open = invitations::list(&t.env, &acme.actor().await).await.unwrap().open;
    assert_eq!(open.iter().map(|one| one.email.as_str()).collect::<Vec<_>>(), ["b@x.example"]);
    // And so with one who may invite nobody any more.
    invitations::invite(&t.env, &scout.actor().await, "c@x.example", scouts).await.unwrap();
    roles::update(&t.env, &acme.actor().await, scouts, &input("Scouts", &["team:read"])).await.unwrap();
    let open = invitations::list(&t.env, &acme.actor().await).await.unwrap().open;
    assert_eq!(open.iter().map(|one| one.email.as_str()).collect::<Vec<_>>(), ["b@x.example"]);
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::audit::list_actions(&mut tx, Some(acme.org_id())).await.unwrap();
    assert_eq!(all.iter().filter(|(action, _)| action == "invitation.withdrawn").count(), 2);
});

env_test!(ten_04_a_change_counts_for_what_is_under_way, |t| async {
    let acme = t.org("acme").await;
    let admin = t.member(&acme, "admin", Role::Admin).await;
    let crew = made(&t, &acme, "Crew", &["logs:read"]).await;
    let stale = admin.actor::<can::TeamRoles>().await;
    team::set_role(&t.env, &acme.actor().await, admin.user, Role::Developer).await.unwrap();
    for refusal in [
        refused(roles::create(&t.env, &stale, &input("More", &["logs:read"])).await),
        refused(roles::update(&t.env, &stale, crew, &input("Crew", &["usage:read"])).await),
        refused(roles::delete(&t.env, &stale, crew, None).await),
    ] {
        assert_eq!(refusal.kind, ErrorKind::Forbidden, "{refusal:?}");
    }
    // Whose role lost rights meanwhile gives none of them away.
    let people = made(&t, &acme, "People", &["team:roles", "connectors:delete"]).await;
    give(&t, &acme, &admin, people).await;
    let stale = admin.actor::<can::TeamRoles>().await;
    roles::update(&t.env, &acme.actor().await, people, &input("People", &["team:roles"])).await.unwrap();
    let raised = input("Wide", &["connectors:delete"]);
    assert_eq!(refused(roles::create(&t.env, &stale, &raised).await).code, "role_above_own");
    let back = input("People", &["team:roles", "connectors:delete"]);
    assert_eq!(refused(roles::update(&t.env, &stale, people, &back).await).code, "role_above_own");
});

env_test!(ten_04_of_two_admins_at_once_both_see_what_holds, |t| async {
    for round in 0..5 {
        let acme = t.org(&format!("acme-{round}")).await;
        let admin = t.member(&acme, "admin", Role::Admin).await;
        let dev = t.member(&acme, "dev", Role::Member).await;
        let (one, two) = (acme.actor().await, admin.actor().await);
        // One name goes to one role.
        let named = input("Crew", &["logs:read"]);
        let (a, b) = tokio::join!(roles::create(&t.env, &one, &named), roles::create(&t.env, &two, &named));
        assert_ne!(a.is_ok(), b.is_ok(), "{a:?} {b:?}");
        let crew = a.or(b).unwrap();
        // A role that goes is given to nobody.
        let invites = acme.actor().await;
        let (given, gone, sent) = tokio::join!(
            team::set_role(&t.env, &one, dev.user, crew),
            roles::delete(&t.env, &two, crew, None),
            invitations::invite(&t.env, &invites, "a@x.example", crew),
        );
        assert_eq!(gone.is_err(), given.is_ok() || sent.is_ok(), "{given:?} {gone:?} {sent:?}");
        let held = role(&t, &acme, dev.user).await;
        assert_eq!(held.name, if given.is_ok() { "Crew" } else { "member" });
        assert!(invitations::list(&t.env, &acme.actor().await).await.is_ok());
        // Who loses the right to it changes nothing after that, and whatever came first counts.
        let squad = made(&t, &acme, "Squad", &["logs:read"]).await;
        let raised = input("Squad", &["logs:read", "connectors:delete"]);
        let (edited, demoted) = tokio::join!(
            roles::update(&t.env, &two, squad, &raised),
            team::set_role(&t.env, &one, admin.user, Role::Developer)
        );
        demoted.unwrap();
        let listed = roles::list(&t.env, &acme.actor().await).await.unwrap();
        let rights = listed.custom.iter().find(|one| one.role.name == "Squad").unwrap().role.rights;
        assert_eq!(edited.is_ok(), rights.has(Permission::ConnectorsDelete), "{edited:?}");
    }
});
