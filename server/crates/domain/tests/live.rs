//! What a page that somebody looks at hears of changes.

use domain::{
    OrgActor, api_keys, custom_domain, env_test,
    live::{Watched, Watcher},
    team,
    testing::{
        NameServer, TestEnv, TestMember,
        receiver::{Answer, Receiver},
    },
    webhooks::{self, Wanted, deliver::Courier},
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
    for watched in [Watched::Security, Watched::Sso, Watched::Roles, Watched::Plan] {
        watchers.push(watcher(&acme, watched).await);
    }
    domain::sessions::set_timeout(&t.env, &admin.actor().await, 60).await.unwrap();
    let mut heard = Vec::new();
    for watcher in &mut watchers {
        heard.push(watcher.look(&acme.ctx).await.unwrap());
    }
    assert_eq!(heard, [true, true, false, true]);
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

env_test!(a_page_of_a_webhook_hears_of_new_deliveries_and_of_every_attempt, |t| async move {
    let acme = t.org("acme").await;
    let other = t.org("other").await;
    let receiver = Receiver::start().await;
    let wanted =
        Wanted { url: receiver.url.clone(), description: String::new(), all: true, events: Vec::new() };
    let id = webhooks::create(&t.env, &acme.actor().await, &wanted).await.unwrap().webhook.id;
    let courier = Courier::new(t.env.clone());
    t.clock.advance(60_000);
    let mut page = watcher(&acme, Watched::Deliveries(id)).await;
    let mut foreign = watcher(&other, Watched::Deliveries(id)).await;
    assert!(!page.look(&acme.ctx).await.unwrap(), "nothing has happened");
    // One's own change is no news here, but that it is to be delivered is.
    receiver.answer(Answer::status(500));
    key(&t, &acme.actor().await).await;
    assert!(page.look(&acme.ctx).await.unwrap(), "it waits");
    assert!(!page.look(&acme.ctx).await.unwrap(), "it is told once");
    assert_eq!(courier.deliver_due().await.unwrap(), 0);
    assert!(page.look(&acme.ctx).await.unwrap(), "it failed");
    assert!(!page.look(&acme.ctx).await.unwrap());
    // Two at the same moment, and one long after.
    receiver.answer(Answer::status(200));
    for hours in [0, 1, 30] {
        t.clock.advance(hours * 60 * 60 * 1000 + 500);
        key(&t, &acme.actor().await).await;
        assert!(courier.deliver_due().await.unwrap() > 0);
        assert!(page.look(&acme.ctx).await.unwrap(), "after {hours} hours");
        assert!(!page.look(&acme.ctx).await.unwrap());
    }
    assert!(!foreign.look(&other.ctx).await.unwrap(), "ten_01: of another organisation nothing is heard");
    // What happened while the page was on its way to the browser is told, what was there before is not.
    t.clock.advance(1_000);
    assert!(watcher(&acme, Watched::Deliveries(id)).await.look(&acme.ctx).await.unwrap());
    t.clock.advance(10_000);
    assert!(!watcher(&acme, Watched::Deliveries(id)).await.look(&acme.ctx).await.unwrap());
});

env_test!(the_page_of_a_domain_hears_of_each_look_at_its_records, |t| async move {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let acme = t.org("acme").await;
    custom_domain::add(&env, &acme.actor().await, "api.acme.example").await.unwrap();
    t.clock.advance(10_000);
    let mut page = watcher(&acme, Watched::Domain).await;
    assert!(!page.look(&acme.ctx).await.unwrap());
    for _ in 0..2 {
        t.clock.advance(60_000);
        assert_eq!(custom_domain::check_due(&env).await.unwrap(), 1);
        assert!(page.look(&acme.ctx).await.unwrap(), "its records were looked for, and are not there");
        assert!(!page.look(&acme.ctx).await.unwrap());
    }
});
