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
