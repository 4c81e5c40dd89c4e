//! The end of an organisation, on both databases: who may, what is asked for, what is left.

use std::collections::BTreeSet;

use domain::{
    Error, OrgActor,
    dataplane::{Directory as _, Planes},
    env_test, exports, invitations,
    mfa::{self, Shown},
    org_deletion, org_security, orgs, passkeys,
    pin::{self, Guarded, Old},
    roles,
    testing::{PASSWORD, TestEnv, TestMember},
    webhooks,
};
use model::{AppError, ErrorKind, Role, api_keys::KeyScope, factors::PasskeyPurpose, permissions::can};

const PIN: &str = "483920";
/// Stands in everything that is made here, and nowhere else.
const CANARY: &str = "quetzalcoatlus";

fn app(error: Error) -> AppError {
    error.into_app("")
}

/// The fields at which something is missing or wrong.
fn flaws(error: AppError) -> Vec<String> {
    error.fields.into_iter().map(|flaw| flaw.field).collect()
}

async fn delete(member: &TestMember, slug: &str, password: &str, code: &str) -> Result<(), AppError> {
    let actor = member.guarded::<can::OrgDelete>().await;
    org_deletion::delete(&member.ctx, &actor, slug, password, Shown::Code(code)).await.map_err(app)
}

/// An organisation with something of everything that can be made without a server.
async fn filled(t: &TestEnv) -> TestMember {
    let acme = t.org("acme").await;
    let name = format!("{CANARY} limited");
    orgs::update(&t.env, &acme.actor().await, &name, &format!("What {CANARY} does")).await.unwrap();
    let new = domain::api_keys::NewKey {
        name: format!("{CANARY} key"),
        scope: KeyScope::All,
        expires_at: None,
        url_key: false,
    };
    domain::api_keys::create(&t.env, &acme.actor().await, &new).await.unwrap();
    invitations::invite(&t.env, &acme.actor().await, "guest@elsewhere.example", Role::Viewer).await.unwrap();
    t.member(&acme, "dev", Role::Admin).await;
    t.grant(&acme, "gth_client_x", "mcp:call").await;
    t.machine(&acme, "gth_client_m", "mcp:call").await;
    let hook = webhooks::Wanted {
        url: format!("https://hooks.example/{CANARY}"),
        description: String::new(),
        all: true,
        events: Vec::new(),
    };
    webhooks::create(&t.env, &acme.actor().await, &hook).await.unwrap();
    let role = roles::Input {
        name: format!("{CANARY} role"),
        permissions: vec!["logs:read".into()],
        ..roles::Input::default()
    };
    roles::create(&t.env, &acme.actor().await, &role).await.unwrap();
    let export =
        exports::Wanted { parts: vec!["members".into()], format: "csv".into(), ..Default::default() };
    exports::ask(&t.env, &acme.actor().await, &export).await.unwrap();
    let (org, now, by) = (acme.org_id(), t.env.now(), "owner".to_owned());
    let mut tx = t.env.db.write().await.unwrap();
    let host = format!("{CANARY}.example");
    store::custom_domains::insert(&mut tx, org, (host.as_str(), "token"), now, now).await.unwrap();
    let idp = store::identity_providers::IdentityProvider {
        id: model::IdentityProviderId::from_uuid(t.env.uuid()),
        issuer: format!("https://{host}"),
        jwks_uri: format!("https://{host}/keys"),
        audience: "acme".into(),
        enabled: true,
        rules: "{}".into(),
        created_at: now,
        updated_at: now,
        updated_by: by.clone(),
    };
    store::identity_providers::put(&mut tx, org, &idp).await.unwrap();
    let login = store::sso::Provider {
        id: idp.id,
        issuer: idp.issuer,
        client_id: "gatehouse".into(),
        secret_sealed: None,
        server: "{}".into(),
        discovered_at: now,
        enabled: true,
        required: false,
        default_role: None,
        tested: None,
        test_passed: false,
        created_at: now,
        updated_at: now,
        updated_by: by,
        reach: "owner".into(),
    };
    store::sso::put(&mut tx, org, &login).await.unwrap();
    tx.commit().await.unwrap();
    acme
}

env_test!(del_01_an_owner_types_the_slug_and_proves_who_they_are, |t| async move {
    let acme = filled(&t).await;
    let admin = t.member(&acme, "boss", Role::Admin).await;
    let refused = app(OrgActor::<can::OrgDelete>::require(&admin.ctx).await.unwrap_err());
    assert_eq!(refused.kind, ErrorKind::Forbidden);
    t.enrol(&acme.ctx).await;
    let code = async || mfa::code_now(&t.env, acme.user).await.expect("there is an app");
    assert_eq!(flaws(delete(&acme, "acm", "", "").await.unwrap_err()), ["confirm", "password", "code"]);
    let now = code().await;
    assert_eq!(flaws(delete(&acme, "acme", "not the password", &now).await.unwrap_err()), ["password"]);
    assert_eq!(delete(&acme, "acme", PASSWORD, "000000").await.unwrap_err().code, "wrong_code");

    let proven = t.prove(&acme.ctx).await;
    let security = acme.guarded::<can::SecurityManage>().await;
    org_security::set_pin_protection(&t.env, &security, &proven, true).await.unwrap();
    let without = app(Guarded::<can::OrgDelete>::require(&acme.ctx, "").await.unwrap_err());
    assert_eq!((without.kind, without.code.as_str()), (ErrorKind::Forbidden, "pin_required"));
    pin::set(&acme.ctx, &proven, Old::Pin(""), PIN, PIN).await.unwrap();
    assert!(Guarded::<can::OrgDelete>::require(&acme.ctx, "111222").await.is_err());

    // Nothing of that deleted anything.
    let facts = org_deletion::facts(&t.env, &acme.actor().await).await.unwrap();
    assert_eq!((facts.keys, facts.members, facts.invitations, facts.clients), (1, 3, 1, 1));
    assert_eq!(
        (facts.webhooks, facts.domains, facts.providers, facts.roles, facts.exports),
        (1, 1, 2, 1, 1),
        "what else goes"
    );
    assert!(facts.ways.app && facts.connections == 1 && facts.events > 4, "{facts:?}");

    t.clock.advance(30_000);
    let shown = Guarded::<can::OrgDelete>::require(&acme.ctx, PIN).await.unwrap();
    let now = code().await;
    org_deletion::delete(&acme.ctx, &shown, "acme", PASSWORD, Shown::Code(&now)).await.unwrap();
    let again =
        org_deletion::delete(&acme.ctx, &shown, "acme", PASSWORD, Shown::Code(&now)).await.map_err(app);
    assert_eq!(again.unwrap_err().kind, ErrorKind::NotFound);
});

env_test!(del_02_nothing_works_any_more_at_once_and_on_other_nodes, |t| async move {
    let acme = filled(&t).await;
    let other = t.org("other").await;
    let node = Planes::load(t.env.clone()).await.unwrap();
    let plane = node.plane(acme.org_id()).await.unwrap().unwrap();
    assert_eq!(plane.grants.len(), 1);
    delete(&acme, "acme", PASSWORD, "").await.unwrap();
    node.refresh().await.unwrap();
    assert!(node.plane(acme.org_id()).await.unwrap().is_none());
    assert!(node.lookup("acme").is_none() && node.lookup("other").is_some());
    let gone = app(OrgActor::<can::ConnectorsRead>::require(&acme.ctx).await.unwrap_err());
    assert_eq!(gone.kind, ErrorKind::NotFound);
    assert!(other.actor::<can::ConnectorsWrite>().await.org() == other.org_id());
    let slug = app(orgs::create(&other.ctx, "Again", "acme").await.unwrap_err());
    assert_eq!(flaws(slug), ["slug"]);
    // Whoever belonged to it hears of it.
    let mails = t.mails().await;
    let told: Vec<_> = mails.iter().filter(|mail| mail.subject.ends_with("was deleted")).collect();
    assert_eq!(told.len(), 2, "{mails:?}");
});

/// Which of these columns a text is in, of those that are told as they are by [`store::Db::search`].
async fn missing(t: &TestEnv, text: &str, wanted: &BTreeSet<String>) -> Vec<String> {
    let found: BTreeSet<_> =
        t.env.db.search(text).await.unwrap().into_iter().map(|(place, _)| place).collect();
    wanted.difference(&found).cloned().collect()
}

env_test!(del_03_within_a_minute_nothing_is_left_of_it, |t| async move {
    let acme = t.org("acme").await;
    let name = format!("{CANARY} limited");
    orgs::update(&t.env, &acme.actor().await, &name, &format!("What {CANARY} does")).await.unwrap();
    let other = t.org("other").await;
    let id = acme.org_id().to_string();
    t.prove(&acme.ctx).await;
    let actor = acme.guarded::<can::OrgDelete>().await;
    // Something of it is in every table that can have something, whatever tables there are.
    let filled = t.env.db.fill(acme.org_id(), acme.user, CANARY).await.unwrap();
    assert!(filled.naming.len() > 40 && filled.texts.len() > 150, "{filled:?}");
    assert_eq!(missing(&t, &id, &filled.naming).await, [""; 0], "has no row of it");
    assert_eq!(missing(&t, CANARY, &filled.texts).await, [""; 0], "holds no canary");
    let columns = t.env.db.describe_columns().await.unwrap();
    let tenants = columns.iter().filter(|column| column.column == "org_id");
    let unfilled: Vec<_> = tenants
        .map(|c| format!("{}.org_id", c.table))
        .filter(|place| !filled.naming.contains(place))
        .collect();
    assert_eq!(unfilled, [""; 0], "the schema has them, and nothing was put there");
    // More than one portion of what goes in portions.
    for table in ["request_log", "audit_events"] {
        t.env.db.multiply(table, CANARY, 12_000).await.unwrap();
        assert!(t.env.db.count_of(table, acme.org_id()).await.unwrap() > 12_000, "{table}");
    }
    org_deletion::delete(&acme.ctx, &actor, "acme", PASSWORD, Shown::Code("")).await.map_err(app).unwrap();
    t.mails().await;
    // Whoever removes it is interrupted after one portion; the rest is for whoever comes next.
    let mut tx = t.env.db.write().await.unwrap();
    assert_eq!(store::org_ends::remove_some(&mut tx, acme.org_id(), 5000).await.unwrap(), 10_000);
    tx.commit().await.unwrap();
    for table in ["request_log", "audit_events"] {
        let left = t.env.db.count_of(table, acme.org_id()).await.unwrap();
        assert!((7000..7100).contains(&left), "{table}: {left}");
    }
    // The long tables go first; the row waits until every node has seen that it is gone. An interruption does no harm.
    org_deletion::finish(&t.env).await.unwrap();
    let tables: Vec<_> = t.env.db.search(&id).await.unwrap().into_iter().map(|(place, _)| place).collect();
    for (place, there) in [("orgs.id", true), ("audit_events.org_id", false), ("request_log.org_id", false)] {
        assert_eq!(tables.contains(&place.to_owned()), there, "{place}: {tables:?}");
    }
    t.clock.advance(60_000);
    for _ in 0..2 {
        org_deletion::finish(&t.env).await.unwrap();
        assert_eq!(t.env.db.search(&id).await.unwrap(), []);
        assert_eq!(t.env.db.search(CANARY).await.unwrap(), []);
    }
    // Another's is where it was.
    assert_eq!(t.env.db.count_of("members", other.org_id()).await.unwrap(), 1);
    assert!(t.env.db.count_of("audit_events", other.org_id()).await.unwrap() > 0);
    // What the platform keeps: that the slug was taken, by whom it was buried, and which organisation it was, as a digest.
    assert_eq!(
        t.env
            .db
            .search("acme")
            .await
            .unwrap()
            .iter()
            .filter(|(place, _)| place == "slug_tombstones.slug")
            .count(),
        1
    );
    let by = t.env.db.search(&acme.user.to_string()).await.unwrap();
    assert!(by.iter().any(|(place, _)| place == "slug_tombstones.buried_by"), "{by:?}");
    for report in domain::audit::verify_all(&t.env, None).await.unwrap() {
        assert_eq!(report.broken, None);
    }
    // Nor is it in the files of SQLite, where a row that was deleted is overwritten.
    if let Some(path) = t.db.url.strip_prefix("sqlite://") {
        for file in [path.to_owned(), format!("{path}-wal")] {
            let bytes = std::fs::read(&file).unwrap_or_default();
            assert!(!bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()), "{file}");
        }
    }
});

/// Whether the canary is in a file of `SQLite`.
fn in_files(t: &TestEnv) -> bool {
    let Some(path) = t.db.url.strip_prefix("sqlite://") else { return false };
    [path.to_owned(), format!("{path}-wal")].iter().any(|file| {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes())
    })
}

env_test!(del_03_a_reader_puts_off_the_end_of_the_log_and_does_not_prevent_it, |t| async {
    let acme = filled(&t).await;
    // Somebody reads for long, such as an export: what they see is in the log of SQLite until they are done.
    let mut reader = t.env.db.snapshot().await.unwrap();
    assert!(store::orgs::find(&mut reader, acme.org_id()).await.unwrap().is_some());
    delete(&acme, "acme", PASSWORD, "").await.unwrap();
    t.mails().await;
    t.clock.advance(60_000);
    for _ in 0..2 {
        org_deletion::finish(&t.env).await.unwrap();
        assert_eq!(t.env.db.search(CANARY).await.unwrap(), []);
    }
    let waits = t.db.url.starts_with("sqlite");
    let began = std::time::Instant::now();
    assert_eq!(t.env.db.fold().await.unwrap(), !waits);
    assert!(
        began.elapsed() < std::time::Duration::from_secs(4),
        "nobody waits five seconds for a reader to write"
    );
    assert_eq!(in_files(&t), waits, "it cannot be gone while somebody reads it");
    drop(reader);
    org_deletion::finish(&t.env).await.unwrap();
    assert!(!in_files(&t));
    let mut tx = t.env.db.read().await.unwrap();
    assert_eq!(store::org_ends::unfolded(&mut tx).await.unwrap(), None);
});

env_test!(del_03_whoever_starts_after_a_stop_between_end_and_folding_folds, |t| async {
    let acme = filled(&t).await;
    delete(&acme, "acme", PASSWORD, "").await.unwrap();
    t.mails().await;
    // As far as a process came that was killed then.
    let mut tx = t.env.db.write().await.unwrap();
    while store::org_ends::remove_some(&mut tx, acme.org_id(), 5000).await.unwrap() > 0 {}
    store::org_ends::end(&mut tx, acme.org_id(), b"1").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(in_files(&t), t.db.url.starts_with("sqlite"));
    org_deletion::finish(&t.env).await.unwrap();
    assert!(!in_files(&t));
});

env_test!(del_01_a_passkey_is_a_second_proof_as_good_as_a_code, |t| async {
    let (acme, beta) = (t.org("acme").await, t.org("beta").await);
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    let (mut foreign, _) = t.passkey(&beta.ctx).await;
    let facts = org_deletion::facts(&t.env, &acme.actor().await).await.unwrap();
    assert!(facts.ways.passkey && !facts.ways.app);
    let actor: Guarded<can::OrgDelete> = acme.guarded().await;
    let delete = async |slug: &str, password: &str, shown: Shown<'_>| {
        org_deletion::delete(&acme.ctx, &actor, slug, password, shown).await.map_err(app)
    };
    let none = delete("acme", PASSWORD, Shown::of("", "")).await.unwrap_err();
    assert!(none.at("code").is_some(), "{none:?}");
    // Another's passkey, and an answer to nobody's question.
    let theirs = foreign.get(&passkeys::begin(&acme.ctx, PasskeyPurpose::Confirm).await.unwrap());
    for bad in [theirs.as_str(), "{}"] {
        let error = delete("acme", PASSWORD, Shown::of("", bad)).await.unwrap_err();
        assert_eq!(error.code, "passkey_refused");
    }
    // What is wrong beside it does not use it up.
    let options = passkeys::begin(&acme.ctx, PasskeyPurpose::Confirm).await.unwrap();
    let answer = laptop.get(&options);
    assert!(delete("acm", PASSWORD, Shown::of("", &answer)).await.unwrap_err().at("confirm").is_some());
    assert!(delete("acme", "wrong", Shown::of("", &answer)).await.unwrap_err().at("password").is_some());
    let mut tx = t.env.db.read().await.unwrap();
    assert!(store::orgs::find(&mut tx, acme.org_id()).await.unwrap().is_some());
    drop(tx);
    delete("acme", PASSWORD, Shown::of("", &answer)).await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    assert!(store::orgs::find(&mut tx, acme.org_id()).await.unwrap().is_none());
});
