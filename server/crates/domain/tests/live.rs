//! What a page that somebody looks at hears of changes.

use domain::{
    OrgActor, api_keys, env_test,
    live::{Watched, Watcher},
    team,
    testing::{TestEnv, TestMember},
};
use model::{ErrorKind, Role, api_keys::KeyScope, permissions::can};

async fn key(t: &TestEnv, actor: &OrgActor<can::ApiKeysCreate>) {
    let new =
        api_keys::NewKey { name: "test".into(), scope: KeyScope::All, expires_at: None, url_key: false };
    api_keys::create(&t.env, actor, &new).await.expect("a key");
}

async fn watcher(of: &TestMember, watched: Watched) -> Watcher {
    Watcher::require(&of.ctx, watched, None).await.expect("a watcher")
}

env_test!(a_page_hears_of_what_others_change_on_it, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    t.clock.advance(60_000);
    let mut keys = watcher(&acme, Watched::ApiKeys).await;
    let mut team = watcher(&acme, Watched::Team).await;
    let mut overview = watcher(&acme, Watched::Overview).await;
    assert!(!keys.look(&acme.ctx).await.unwrap(), "nothing has happened");
    key(&t, &dev.actor().await).await;
    assert!(keys.look(&acme.ctx).await.unwrap());
    assert!(!keys.look(&acme.ctx).await.unwrap(), "it is told once");
    assert!(!team.look(&acme.ctx).await.unwrap(), "another page's business");
    assert!(overview.look(&acme.ctx).await.unwrap());
    // The page that made a change has loaded itself.
    key(&t, &acme.actor().await).await;
    assert!(!keys.look(&acme.ctx).await.unwrap());
    key(&t, &OrgActor::operator(acme.org_id())).await;
    assert!(keys.look(&acme.ctx).await.unwrap(), "the operator is another");
    // Whoever comes again says what they have heard of.
    let seen = keys.seen();
    key(&t, &dev.actor().await).await;
    let mut again = Watcher::require(&acme.ctx, Watched::ApiKeys, Some(seen)).await.unwrap();
    assert!(again.look(&acme.ctx).await.unwrap());
});

/// A request that ended just now, as a node writes it.
async fn request(t: &TestEnv, of: &TestMember) {
    let mut tx = t.env.db.write().await.unwrap();
    let row = store::request_log::NewRow {
        id: model::LogEntryId::from_uuid(t.env.uuid()),
        org: of.org_id(),
        at: t.env.now(),
        method: "tools/call".into(),
        connector_id: "".into(),
        connector_slug: "".into(),
        tool: "echo".into(),
        principal_kind: "api_key".into(),
        principal_id: "key_1".into(),
        principal_name: "ci".into(),
        outcome: "ok".into(),
        total_us: 1,
        words: String::new(),
        detail: "{}".into(),
    };
    store::request_log::insert(&mut tx, vec![row]).await.unwrap();
    tx.commit().await.unwrap();
}

env_test!(the_overview_hears_of_the_first_request_at_once_and_of_many_now_and_then, |t| async {
    let (acme, other) = (t.org("acme").await, t.org("other").await);
    t.clock.advance(60_000);
    let mut overview = watcher(&acme, Watched::Overview).await;
    let mut plan = watcher(&acme, Watched::Plan).await;
    let mut keys = watcher(&acme, Watched::ApiKeys).await;
    t.clock.advance(60_000);
    request(&t, &other).await;
    assert!(!overview.look(&acme.ctx).await.unwrap(), "another's");
    request(&t, &acme).await;
    assert!(overview.look(&acme.ctx).await.unwrap() && plan.look(&acme.ctx).await.unwrap());
    assert!(!keys.look(&acme.ctx).await.unwrap());
    let mut told = 0;
    for _ in 0..30 {
        t.clock.advance(1_000);
        request(&t, &acme).await;
        told += i32::from(overview.look(&acme.ctx).await.unwrap());
    }
    assert_eq!(told, 3, "every ten seconds, however many there are");
    // The last of them is told as well, and then there is nothing new.
    t.clock.advance(10_000);
    assert!(!overview.look(&acme.ctx).await.unwrap());
    assert!(plan.look(&acme.ctx).await.unwrap() && !plan.look(&acme.ctx).await.unwrap());
    // What was made while the page was on its way counts, what is old does not.
    request(&t, &acme).await;
    assert!(watcher(&acme, Watched::Overview).await.look(&acme.ctx).await.unwrap());
    t.clock.advance(60_000);
    assert!(!watcher(&acme, Watched::Overview).await.look(&acme.ctx).await.unwrap());
});

env_test!(settings_hear_of_what_others_change_on_them, |t| async {
    let acme = t.org("acme").await;
    let admin = t.member(&acme, "adam", Role::Admin).await;
    t.clock.advance(60_000);
    let mut watchers = Vec::new();
    for watched in [Watched::General, Watched::Security, Watched::Sso, Watched::Roles, Watched::Plan] {
        watchers.push(watcher(&acme, watched).await);
    }
    domain::sessions::set_timeout(&t.env, &admin.actor().await, 60).await.unwrap();
    let mut heard = Vec::new();
    for watcher in &mut watchers {
        heard.push(watcher.look(&acme.ctx).await.unwrap());
    }
    assert_eq!(heard, [true, true, true, false, true]);
});

env_test!(what_was_changed_while_a_page_was_on_its_way_is_told, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    t.clock.advance(60_000);
    key(&t, &dev.actor().await).await;
    t.clock.advance(1_000);
    assert!(watcher(&acme, Watched::ApiKeys).await.look(&acme.ctx).await.unwrap());
    t.clock.advance(10_000);
    assert!(!watcher(&acme, Watched::ApiKeys).await.look(&acme.ctx).await.unwrap());
});

env_test!(ten_01_a_page_hears_of_its_own_organisation_as_long_as_it_may, |t| async move {
    let acme = t.org("acme").await;
    let other = t.org("other").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    t.clock.advance(60_000);
    let refused = Watcher::require(&dev.ctx, Watched::Audit, None).await.unwrap_err();
    assert!(matches!(refused, domain::Error::App(error) if error.kind == ErrorKind::Forbidden));
    let mut keys = watcher(&dev, Watched::ApiKeys).await;
    key(&t, &other.actor().await).await;
    assert!(!keys.look(&dev.ctx).await.unwrap());
    assert!(keys.is_allowed(&dev.ctx).await);
    assert!(!keys.is_allowed(&other.ctx).await, "of another organisation");
    team::set_role(&t.env, &acme.actor().await, dev.user, Role::Member).await.unwrap();
    assert!(!keys.is_allowed(&dev.ctx).await, "members do not see keys");
});
