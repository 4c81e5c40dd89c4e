//! API keys, connectors and tenancy on both databases.

use domain::{
    Error, OrgActor,
    api_keys::{self, KeyChanges, NewKey},
    connectors::{self, ConnectorChanges, NewConnector},
    dataplane::{Directory as _, Planes},
    env_test, orgs,
    testing::{TestEnv, TestMember},
};
use model::{
    ApiKeyId, ErrorKind, Role,
    api_keys::{KeyScope, NewApiKey},
    orgs::KeyVisibility,
    permissions::can,
};
use secrecy::{ExposeSecret as _, SecretString};

fn app(error: Error) -> model::AppError {
    match error {
        Error::App(app) => app,
        other => panic!("no words for people: {other}"),
    }
}

fn named(name: &str) -> NewKey {
    NewKey { name: name.to_owned(), scope: KeyScope::All, expires_at: None, url_key: false }
}

async fn key(t: &TestEnv, member: &TestMember, name: &str) -> NewApiKey {
    api_keys::create(&t.env, &member.actor().await, &named(name)).await.unwrap()
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<String> {
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::audit::list_actions(&mut tx, Some(member.org_id())).await.unwrap();
    all.into_iter().map(|(action, _)| action).collect()
}

env_test!(apk_02_only_a_hash_is_kept, |t| async {
    let owner = t.org("acme").await;
    let made = key(&t, &owner, "claude-prod").await;
    assert!(domain::key_format::check(&made.secret));
    let mut tx = t.env.db.read().await.unwrap();
    let row = store::api_keys::find(&mut tx, owner.org_id(), made.key.id).await.unwrap().unwrap();
    assert_eq!(row.hash, domain::key_format::hash(&made.secret));
    assert!(row.sealed.is_none());
    assert!(made.secret.starts_with(&row.prefix) && made.secret.ends_with(&row.last4));
    let error = api_keys::copy(&t.env, &owner.guarded().await, made.key.id).await.unwrap_err();
    assert_eq!(app(error).code, "shown_once");
});

env_test!(copyable_keys_are_sealed_and_each_copy_is_audited, |t| async {
    let owner = t.org("acme").await;
    orgs::set_key_settings(&t.env, &owner.actor().await, KeyVisibility::Copyable, false).await.unwrap();
    let made = key(&t, &owner, "ci").await;
    let copied = api_keys::copy(&t.env, &owner.guarded().await, made.key.id).await.unwrap();
    assert_eq!(copied.secret, made.secret);
    assert_eq!(actions(&t, &owner).await.last().map(String::as_str), Some("api_key.copied"));
    orgs::set_key_settings(&t.env, &owner.actor().await, KeyVisibility::Once, false).await.unwrap();
    let error = api_keys::copy(&t.env, &owner.guarded().await, made.key.id).await.unwrap_err();
    assert_eq!(app(error).code, "shown_once", "going back destroys the sealed copies");
});

env_test!(key_01_a_sealed_key_does_not_open_in_another_row, |t| async {
    let owner = t.org("acme").await;
    orgs::set_key_settings(&t.env, &owner.actor().await, KeyVisibility::Copyable, false).await.unwrap();
    let (one, two) = (key(&t, &owner, "one").await, key(&t, &owner, "two").await);
    let mut tx = t.env.db.write().await.unwrap();
    let stolen = store::api_keys::find(&mut tx, owner.org_id(), one.key.id).await.unwrap().unwrap();
    let mut moved = store::api_keys::find(&mut tx, owner.org_id(), two.key.id).await.unwrap().unwrap();
    store::api_keys::delete(&mut tx, owner.org_id(), moved.id).await.unwrap();
    moved.sealed = stolen.sealed;
    store::api_keys::insert(&mut tx, owner.org_id(), &moved).await.unwrap();
    tx.commit().await.unwrap();
    let error = api_keys::copy(&t.env, &owner.guarded().await, two.key.id).await.unwrap_err();
    assert!(matches!(error, Error::Internal(_)), "never the other row's secret");
});

env_test!(apk_05_the_snapshot_follows_every_change_of_a_key, |t| async {
    let owner = t.org("acme").await;
    let made = key(&t, &owner, "ci").await;
    let planes = Planes::load(t.env.clone()).await.unwrap();
    let org = planes.lookup("acme").unwrap();
    let hash = domain::key_format::hash(&made.secret);
    let works = async || planes.plane(org).await.unwrap().unwrap().keys.contains_key(&hash);
    assert!(works().await);
    let off = KeyChanges { enabled: Some(false), ..KeyChanges::default() };
    api_keys::update(&t.env, &owner.actor().await, made.key.id, &off).await.unwrap();
    assert!(!works().await);
    let on = KeyChanges { enabled: Some(true), ..KeyChanges::default() };
    api_keys::update(&t.env, &owner.actor().await, made.key.id, &on).await.unwrap();
    assert!(works().await);
    api_keys::delete(&t.env, &owner.guarded().await, made.key.id, false).await.unwrap();
    assert!(!works().await);
});

env_test!(changes_of_another_process_are_heard, |t| async {
    let owner = t.org("acme").await;
    let planes = Planes::load(t.env.clone()).await.unwrap();
    planes.refresh().await.unwrap();
    let mut heard = t.env.changes.subscribe();
    // As the CLI does it: on the same database, with news of its own that nobody here listens to.
    let mut other = t.env.clone();
    other.changes = domain::env::Changes::default();
    api_keys::create(&other, &OrgActor::operator(owner.org_id()), &named("from the CLI")).await.unwrap();
    assert!(heard.try_recv().is_err());
    planes.refresh().await.unwrap();
    assert_eq!(heard.try_recv().unwrap(), owner.org_id());
    planes.refresh().await.unwrap();
    assert!(heard.try_recv().is_err(), "the same change is told once");
    let later = t.org("later").await;
    planes.refresh().await.unwrap();
    assert_eq!(planes.lookup("later"), Some(later.org_id()));
});

env_test!(apk_05_changes_of_a_node_whose_clock_is_wrong_are_heard, |t| async {
    let owner = t.org("acme").await;
    let made = key(&t, &owner, "ci").await;
    let planes = Planes::load(t.env.clone()).await.unwrap();
    planes.refresh().await.unwrap();
    let mut heard = t.env.changes.subscribe();
    for wrong_by in [-3_600_000, 3_600_000] {
        let mut other = t.env.clone();
        other.changes = domain::env::Changes::default();
        other.clock = domain::env::ManualClock::at(t.env.now() + wrong_by);
        let switch = KeyChanges { enabled: Some(wrong_by > 0), ..KeyChanges::default() };
        api_keys::update(&other, &OrgActor::operator(owner.org_id()), made.key.id, &switch).await.unwrap();
        planes.refresh().await.unwrap();
        assert_eq!(heard.try_recv().unwrap(), owner.org_id(), "wrong by {wrong_by} ms");
        planes.refresh().await.unwrap();
        assert!(heard.try_recv().is_err(), "the same change is told once");
    }
});

env_test!(apk_08_deleting_a_key_in_use_needs_a_second_word, |t| async {
    let owner = t.org("acme").await;
    let made = key(&t, &owner, "busy").await;
    let used = store::api_keys::Use {
        at: t.env.now(),
        address: Some("203.0.113.7".into()),
        agent: Some("Claude Code".into()),
    };
    let mut tx = t.env.db.write().await.unwrap();
    store::api_keys::set_used(&mut tx, owner.org_id(), made.key.id, &used).await.unwrap();
    tx.commit().await.unwrap();
    t.clock.advance(23 * 60 * 60 * 1000);
    let error = app(api_keys::delete(&t.env, &owner.guarded().await, made.key.id, false).await.unwrap_err());
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "recently_used"));
    t.clock.advance(2 * 60 * 60 * 1000);
    api_keys::delete(&t.env, &owner.guarded().await, made.key.id, false)
        .await
        .expect("a day later it is not in use");
});

env_test!(apk_09_url_keys_need_the_organisations_consent, |t| async {
    let owner = t.org("acme").await;
    let wanted = NewKey { url_key: true, ..named("desktop") };
    let error = app(api_keys::create(&t.env, &owner.actor().await, &wanted).await.unwrap_err());
    assert_eq!(error.code, "url_keys_off");
    orgs::set_key_settings(&t.env, &owner.actor().await, KeyVisibility::Once, true).await.unwrap();
    assert!(api_keys::create(&t.env, &owner.actor().await, &wanted).await.unwrap().key.url_key);
});

env_test!(the_helper_makes_a_key_only_where_there_is_none, |t| async {
    let owner = t.org("acme").await;
    let opened = api_keys::connect_helper(&t.env, &owner.actor().await, Some(&owner.guarded().await), None)
        .await
        .unwrap();
    assert!(opened.made);
    assert!(opened.methods.iter().any(|m| m.snippets.iter().any(|s| s.text.contains("gth_live_sk_"))));
    let again = api_keys::connect_helper(&t.env, &owner.actor().await, Some(&owner.guarded().await), None)
        .await
        .unwrap();
    assert!(!again.made && again.key.is_none(), "shown-once keys cannot be filled in again");
    assert!(again.methods.iter().all(|m| m.snippets.iter().all(|s| !s.text.contains("gth_live_sk_"))));
    let named =
        api_keys::connect_helper(&t.env, &owner.actor().await, Some(&owner.guarded().await), Some("codex"))
            .await
            .unwrap();
    assert_eq!(named.key.unwrap().name, "Codex");
    orgs::set_key_settings(&t.env, &owner.actor().await, KeyVisibility::Copyable, false).await.unwrap();
    let made = key(&t, &owner, "newest").await;
    let filled = api_keys::connect_helper(&t.env, &owner.actor().await, Some(&owner.guarded().await), None)
        .await
        .unwrap();
    assert_eq!(filled.key.unwrap().id, made.key.id);
    assert!(!filled.made);
});

env_test!(ten_01_another_organisations_things_are_not_found, |t| async {
    let (ours, theirs) = (t.org("ours").await, t.org("theirs").await);
    let made = key(&t, &theirs, "theirs").await;
    let demo = connectors::add_demo(&t.env, &theirs.actor().await).await.unwrap();
    let random = ApiKeyId::from_uuid(t.env.uuid());
    let on = KeyChanges::default();
    let foreign = app(api_keys::update(&t.env, &ours.actor().await, made.key.id, &on).await.unwrap_err());
    let unknown = app(api_keys::update(&t.env, &ours.actor().await, random, &on).await.unwrap_err());
    assert_eq!(foreign, unknown, "the same words as for an id that nobody has");
    let kind = |result: Result<(), Error>| app(result.unwrap_err()).kind;
    assert_eq!(
        kind(api_keys::delete(&t.env, &ours.guarded().await, made.key.id, true).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(api_keys::copy(&t.env, &ours.guarded().await, made.key.id).await.map(drop)),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(connectors::get(&t.env, &ours.actor().await, demo.id).await.map(drop)),
        ErrorKind::NotFound
    );
    assert_eq!(kind(connectors::delete(&t.env, &ours.guarded().await, demo.id).await), ErrorKind::NotFound);
    assert_eq!(
        kind(connectors::set_enabled(&t.env, &ours.actor().await, demo.id, false).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(connectors::set_tool_enabled(&t.env, &ours.actor().await, demo.id, "echo", false).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(connectors::test(&t.env, &ours.actor().await, demo.id).await.map(drop)),
        ErrorKind::NotFound
    );
    let limited = NewKey { scope: KeyScope::Only(vec![demo.id]), ..named("limited") };
    assert_eq!(
        kind(api_keys::create(&t.env, &ours.actor().await, &limited).await.map(drop)),
        ErrorKind::NotFound
    );
    assert_eq!(kind(orgs::switch(&ours.ctx, theirs.org_id()).await), ErrorKind::NotFound);
    assert!(api_keys::page(&t.env, &ours.actor().await).await.unwrap().keys.is_empty());
});

env_test!(ten_04_roles_hold_what_the_table_says, |t| async {
    let owner = t.org("acme").await;
    for role in Role::ALL {
        let member = t.member(&owner, &format!("a-{role}"), *role).await;
        let may = OrgActor::<can::ApiKeysCreate>::require(&member.ctx).await;
        assert_eq!(may.is_ok(), role.allows(model::Permission::ApiKeysCreate), "{role}");
        if let Err(error) = may {
            let error = app(error);
            assert_eq!(error.kind, ErrorKind::Forbidden);
            assert!(error.message.contains("api-keys:create"));
        }
    }
    let error =
        orgs::put_member(&t.env, &OrgActor::operator(owner.org_id()), "owner@acme.example", Role::Viewer)
            .await;
    assert!(error.is_ok(), "another owner was added above");
    let error =
        orgs::put_member(&t.env, &OrgActor::operator(owner.org_id()), "owner@acme.example", Role::Owner)
            .await;
    assert!(error.is_ok());
    let anonymous = OrgActor::<can::ConnectorsRead>::require(&t.anonymous()).await.unwrap_err();
    assert_eq!(app(anonymous).kind, ErrorKind::Unauthenticated);
});

env_test!(the_last_owner_stays, |t| async {
    let owner = t.org("acme").await;
    let error =
        orgs::put_member(&t.env, &OrgActor::operator(owner.org_id()), "owner@acme.example", Role::Admin)
            .await;
    assert_eq!(app(error.unwrap_err()).code, "last_owner");
});

env_test!(ten_05_slugs_are_taken_for_ever, |t| async {
    let owner = t.org("acme").await;
    let error = app(orgs::create(&owner.ctx, "Acme again", "acme").await.unwrap_err());
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "slug_taken"));
    let mut tx = t.env.db.write().await.unwrap();
    store::orgs::bury_slug(&mut tx, "gone", t.env.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(app(orgs::create(&owner.ctx, "Gone", "gone").await.unwrap_err()).code, "slug_taken");

    let demo = connectors::add_demo(&t.env, &owner.actor().await).await.unwrap();
    assert_eq!(demo.slug.as_str(), "demo");
    connectors::delete(&t.env, &owner.guarded().await, demo.id).await.unwrap();
    assert_eq!(connectors::add_demo(&t.env, &owner.actor().await).await.unwrap().slug.as_str(), "demo-2");
});

env_test!(aud_03_every_change_has_its_event_and_its_outbox_row, |t| async {
    let owner = t.org("acme").await;
    let demo = connectors::add_demo(&t.env, &owner.actor().await).await.unwrap();
    connectors::set_tool_enabled(&t.env, &owner.actor().await, demo.id, "echo", false).await.unwrap();
    connectors::set_enabled(&t.env, &owner.actor().await, demo.id, false).await.unwrap();
    let made = key(&t, &owner, "ci").await;
    let renamed = KeyChanges { name: Some("ci 2".into()), ..KeyChanges::default() };
    api_keys::update(&t.env, &owner.actor().await, made.key.id, &renamed).await.unwrap();
    api_keys::delete(&t.env, &owner.guarded().await, made.key.id, false).await.unwrap();
    orgs::update(&t.env, &owner.actor().await, "Acme Ltd", "We make things").await.unwrap();
    connectors::delete(&t.env, &owner.guarded().await, demo.id).await.unwrap();
    assert_eq!(
        actions(&t, &owner).await,
        [
            "org.created",
            "mcp.created",
            "mcp.tool_disabled",
            "mcp.disabled",
            "api_key.created",
            "api_key.updated",
            "api_key.deleted",
            "settings.updated",
            "mcp.deleted"
        ]
    );
    let mut tx = t.env.db.read().await.unwrap();
    let outbox: Vec<_> = store::outbox::list(&mut tx, owner.org_id())
        .await
        .unwrap()
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    for event in ["mcp.created", "mcp.updated", "api_key.created", "api_key.revoked", "mcp.deleted"] {
        assert!(outbox.iter().any(|seen| seen == event), "{event}");
    }
    // A change that is refused leaves neither.
    let before = actions(&t, &owner).await.len();
    orgs::update(&t.env, &owner.actor().await, "", "").await.unwrap_err();
    api_keys::create(&t.env, &owner.actor().await, &named(" ")).await.unwrap_err();
    assert_eq!(actions(&t, &owner).await.len(), before);
});

env_test!(a_form_that_started_from_something_else_changes_nothing, |t| async {
    let owner = t.org("acme").await;
    let was =
        |name: &str, description: &str| orgs::Was { name: name.into(), description: description.into() };
    let actor = owner.actor().await;
    let first = was(&orgs::get(&t.env, &owner.actor().await).await.unwrap().name, "");
    orgs::update_from(&t.env, &actor, "Acme One", "a\r\nb", Some(&first)).await.unwrap();
    let late = app(orgs::update_from(&t.env, &actor, "Acme Two", "", Some(&first)).await.unwrap_err());
    assert_eq!((late.kind, late.code.as_str()), (ErrorKind::Conflict, "changed_meanwhile"));
    let told = late.at("name").unwrap();
    assert!(told.contains("“Acme One”") && told.contains("“Acme Two”"), "both values: {told}");
    assert!(late.at("description").is_some());
    assert_eq!(orgs::get(&t.env, &owner.actor().await).await.unwrap().name, "Acme One");
    // Whoever wants what is there already, or leaves the field that somebody else changed, is in nobody's way.
    orgs::update_from(&t.env, &actor, "Acme One", "a\nb", Some(&first)).await.unwrap();
    orgs::update_from(&t.env, &actor, "Acme Two", "a\nb", Some(&was("Acme One", "a\nb"))).await.unwrap();
});

env_test!(a_form_is_told_all_that_is_wrong_with_it, |t| async {
    let owner = t.org("acme").await;
    let fields =
        |error: &model::AppError| error.fields.iter().map(|flaw| flaw.field.clone()).collect::<Vec<_>>();
    let new = NewConnector {
        name: String::new(),
        slug: "A B".into(),
        description: String::new(),
        url: "mcp".into(),
        headers: Vec::new(),
        even_if_unreachable: false,
    };
    let error = app(connectors::add(&t.env, &owner.actor().await, &new).await.unwrap_err());
    assert_eq!(fields(&error), ["name", "slug", "url"]);
    let key = NewKey { scope: model::api_keys::KeyScope::Only(Vec::new()), ..named("") };
    let error = app(api_keys::create(&t.env, &owner.actor().await, &key).await.unwrap_err());
    assert_eq!(fields(&error), ["name", "connectors"]);
    let long = "x".repeat(300);
    let error = app(orgs::update(&t.env, &owner.actor().await, "", &long).await.unwrap_err());
    assert_eq!(fields(&error), ["name", "description"]);
});

env_test!(ssr_07_private_addresses_need_the_operators_word, |t| async {
    let owner = t.org("acme").await;
    let new = |url: &str| NewConnector {
        name: "X".into(),
        slug: "x".into(),
        description: String::new(),
        url: url.to_owned(),
        headers: vec![("authorization".into(), SecretString::from("Bearer s".to_owned()))],
        even_if_unreachable: true,
    };
    for url in ["http://10.0.0.1/mcp", "https://[::1]/mcp", "http://169.254.169.254/", "http://localhost.:1/"]
    {
        let error = app(connectors::add(&t.env, &owner.actor().await, &new(url)).await.unwrap_err());
        assert_eq!(error.code, "upstream_blocked", "{url}");
        assert!(error.at("url").unwrap().contains("GATEHOUSE_EGRESS_ALLOW"), "{url}");
    }
    assert!(
        connectors::list(&t.env, &owner.actor().await).await.unwrap().is_empty(),
        "nothing is half-saved"
    );
    // Loopback is allowed here, nothing listens there: kept, because that was asked for, and marked as failing.
    let kept = connectors::add(&t.env, &owner.actor().await, &new("http://127.0.0.1:9/mcp")).await.unwrap();
    assert_eq!(kept.health, model::connectors::Health::Degraded);
    assert!(kept.health_error.is_some());
    assert_eq!(kept.headers.len(), 1);
});

env_test!(key_02_headers_are_sealed, |t| async {
    let owner = t.org("acme").await;
    let new = NewConnector {
        name: "X".into(),
        slug: "x".into(),
        description: String::new(),
        url: "http://127.0.0.1:9/mcp".into(),
        headers: vec![("X-Token".into(), SecretString::from("canary-7f3a".to_owned()))],
        even_if_unreachable: true,
    };
    connectors::add(&t.env, &owner.actor().await, &new).await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    let rows = store::connectors::list_headers(&mut tx, owner.org_id()).await.unwrap();
    assert_eq!(rows[0].name, "x-token");
    assert!(!rows[0].value_sealed.windows(6).any(|w| w == b"canary"));
    drop(tx);
    let planes = Planes::load(t.env.clone()).await.unwrap();
    let plane = planes.plane(owner.org_id()).await.unwrap().unwrap();
    assert_eq!(plane.connectors[0].headers[0].1.expose_secret(), "canary-7f3a");
});

/// A server that fails every request, and what it was sent.
async fn recorder() -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hearing = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or_default();
            hearing.lock().unwrap().push(String::from_utf8_lossy(&buffer[..read]).to_ascii_lowercase());
            let answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    (url, heard)
}

fn secret(value: &str) -> SecretString {
    SecretString::from(value.to_owned())
}

fn new_at(url: &str, headers: &[(&str, &str)]) -> NewConnector {
    NewConnector {
        name: "X".into(),
        slug: "x".into(),
        description: String::new(),
        url: url.to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), secret(value))).collect(),
        even_if_unreachable: true,
    }
}

fn moved_to(url: &str) -> ConnectorChanges {
    ConnectorChanges {
        name: "X".into(),
        description: String::new(),
        url: url.to_owned(),
        set_headers: Vec::new(),
        remove_headers: Vec::new(),
        first_byte: String::new(),
        even_if_unreachable: true,
    }
}

env_test!(ups_02_the_patience_with_a_server_is_chosen_within_bounds, |t| async {
    let owner = t.org("acme").await;
    let actor = owner.actor().await;
    let new = NewConnector {
        name: "Slow".into(),
        slug: "slow".into(),
        description: String::new(),
        url: "http://127.0.0.1:9/mcp".into(),
        headers: Vec::new(),
        even_if_unreachable: true,
    };
    let made = connectors::add(&t.env, &actor, &new).await.unwrap();
    assert_eq!(made.first_byte_seconds, None);
    let with = |first_byte: &str| ConnectorChanges {
        first_byte: first_byte.into(),
        ..moved_to("http://127.0.0.1:9/mcp")
    };
    for wrong in ["4", "301", "-7", "ten", "5.5"] {
        let error = connectors::update(&t.env, &actor, made.id, &with(wrong)).await.unwrap_err().into_app("");
        assert_eq!(error.fields[0].field, "first_byte", "{wrong}");
    }
    for (typed, kept) in [(" 45 ", Some(45)), ("300", Some(300)), ("", None), ("5", Some(5))] {
        let saved = connectors::update(&t.env, &actor, made.id, &with(typed)).await.unwrap();
        assert_eq!(saved.first_byte_seconds, kept, "{typed}");
    }
    let plane = Planes::load(t.env.clone()).await.unwrap().plane(owner.org_id()).await.unwrap().unwrap();
    assert_eq!(plane.connectors[0].first_byte, Some(std::time::Duration::from_secs(5)));
});

env_test!(key_02_stored_secrets_do_not_follow_a_connector_to_another_server, |t| async {
    let owner = t.org("acme").await;
    let ((first, heard_first), (second, heard_second)) = (recorder().await, recorder().await);
    let headers = [("x-one", "canary-1"), ("x-two", "canary-2")];
    let new = new_at(&format!("{first}?key=canary-3"), &headers);
    let id = connectors::add(&t.env, &owner.actor().await, &new).await.unwrap().id;
    assert!(heard_first.lock().unwrap().iter().all(|sent| sent.contains("canary-1")
        && sent.contains("canary-2")
        && sent.contains("/mcp?key=canary-3")));
    let update = async |changes: ConnectorChanges| {
        connectors::update(&t.env, &owner.actor().await, id, &changes).await.map_err(app)
    };

    let error = update(moved_to(&format!("{second}?••••••"))).await.unwrap_err();
    assert_eq!(error.code, "credentials_needed");
    assert!(error.at("url").unwrap().contains("127.0.0.1"));
    let asked_for = error.at("stored_header_value").unwrap();
    assert!(asked_for.contains("x-one") && asked_for.contains("x-two"), "{asked_for}");
    let mut half = moved_to(&second);
    half.set_headers = vec![("x-one".into(), secret("new-1"))];
    let error = update(half).await.unwrap_err();
    assert!(error.at("url").is_none() && !error.at("stored_header_value").unwrap().contains("x-one"));
    assert!(heard_second.lock().unwrap().is_empty(), "it was not even asked");

    let mut whole = moved_to(&format!("{second}?key=new-3"));
    whole.set_headers = vec![("x-one".into(), secret("new-1"))];
    whole.remove_headers = vec!["x-two".into()];
    let moved = update(whole).await.unwrap();
    assert_eq!(moved.url, format!("{second}?••••••"));
    assert_eq!(moved.headers.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["x-one"]);
    let sent = heard_second.lock().unwrap().clone();
    assert!(!sent.is_empty() && sent.iter().all(|sent| !sent.contains("canary")));
    assert!(sent.iter().all(|sent| sent.contains("x-one: new-1") && sent.contains("/mcp?key=new-3")));

    // Another path of the same server keeps what is stored.
    let elsewhere = second.replace("/mcp", "/v2");
    assert_eq!(update(moved_to(&format!("{elsewhere}?••••••"))).await.unwrap().headers.len(), 1);
    assert!(heard_second.lock().unwrap().last().unwrap().contains("/v2?key=new-3"));
    assert_eq!(update(moved_to(&elsewhere)).await.unwrap().url, elsewhere, "without the dots it is gone");
});

env_test!(key_02_the_query_of_a_url_is_sealed_and_hidden, |t| async {
    let owner = t.org("acme").await;
    let new = new_at("http://127.0.0.1:9/mcp?api_key=canary-51c2&x=1", &[]);
    let made = connectors::add(&t.env, &owner.actor().await, &new).await.unwrap();
    assert_eq!(made.url, "http://127.0.0.1:9/mcp?••••••");
    assert!(made.headers.is_empty(), "it is no header to anybody who looks");
    assert!(!made.health_error.unwrap().contains("canary"));
    assert_eq!(connectors::list(&t.env, &owner.actor().await).await.unwrap()[0].url, made.url);

    let mut rename = moved_to(&made.url);
    rename.name = "Y".into();
    let renamed = connectors::update(&t.env, &owner.actor().await, made.id, &rename).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.url.as_str()), ("Y", made.url.as_str()));
    let planes = Planes::load(t.env.clone()).await.unwrap();
    let plane = planes.plane(owner.org_id()).await.unwrap().unwrap();
    assert_eq!(plane.connectors[0].url.query(), Some("api_key=canary-51c2&x=1"), "it is still sent");
    assert!(plane.connectors[0].headers.is_empty());
    assert!(!format!("{plane:?}").contains("canary"));

    let mut tx = t.env.db.read().await.unwrap();
    let row = store::connectors::find(&mut tx, owner.org_id(), made.id).await.unwrap().unwrap();
    assert_eq!(row.url, "http://127.0.0.1:9/mcp");
    drop(tx);
    // Nothing else has it either: audit events, outbox, the write-ahead log.
    if let Some(path) = t.db.url.strip_prefix("sqlite://") {
        for ending in ["", "-wal"] {
            let bytes = std::fs::read(format!("{path}{ending}")).unwrap();
            assert!(!bytes.windows(6).any(|found| found == b"canary"), "{ending}");
        }
    }
});

env_test!(key_02_queries_of_earlier_versions_are_sealed_at_the_start, |t| async {
    let owner = t.org("acme").await;
    let made = connectors::add(&t.env, &owner.actor().await, &new_at("http://127.0.0.1:9/mcp", &[])).await;
    let id = made.unwrap().id;
    let stored = async || {
        let mut tx = t.env.db.read().await.unwrap();
        store::connectors::find(&mut tx, owner.org_id(), id).await.unwrap().unwrap()
    };
    let mut old = stored().await;
    old.url = "http://127.0.0.1:9/mcp?api_key=canary-88aa".into();
    let mut tx = t.env.db.write().await.unwrap();
    store::connectors::update(&mut tx, owner.org_id(), &old).await.unwrap();
    tx.commit().await.unwrap();
    let planes = Planes::load(t.env.clone()).await.unwrap();
    for _ in 0..2 {
        let shown = connectors::get(&t.env, &owner.actor().await, id).await.unwrap().0;
        assert_eq!(shown.url, "http://127.0.0.1:9/mcp?••••••");
        let plane = planes.plane(owner.org_id()).await.unwrap().unwrap();
        assert_eq!(plane.connectors[0].url.query(), Some("api_key=canary-88aa"));
        connectors::seal_queries(&t.env).await.unwrap();
        assert_eq!(stored().await.url, "http://127.0.0.1:9/mcp");
    }
});
