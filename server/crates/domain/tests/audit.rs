//! The audit log: its chain, who may read it, exports, and how long it is kept.

use domain::{
    Env, OrgActor, accounts,
    audit::{self, Export, Format},
    env_test, orgs,
    testing::{PASSWORD, TestEnv, TestMember},
};
use model::{Plan, Role, audit::AuditQuery, permissions::can};

const DAY: i64 = 24 * 60 * 60 * 1000;

async fn rename(env: &Env, member: &TestMember, name: &str) {
    orgs::update(env, &member.actor().await, name, "").await.expect("a change");
}

async fn log(t: &TestEnv, member: &TestMember, query: AuditQuery) -> model::audit::AuditList {
    audit::list(&t.env, &member.actor().await, query).await.expect("the log")
}

async fn export(t: &TestEnv, member: &TestMember, query: &AuditQuery, format: Format) -> String {
    let mut export = Export::begin(&t.env, &member.actor().await, query, format).await.expect("an export");
    let mut text = String::new();
    while let Some(piece) = export.next().await.expect("a piece") {
        text.push_str(&piece);
    }
    text
}

async fn sound(t: &TestEnv) {
    for report in audit::verify_all(&t.env, None).await.expect("a report") {
        assert_eq!(report.broken, None, "{report:?}");
    }
}

/// What keeps rows from being changed, taken away as somebody with the database in their hands would.
async fn disarm(t: &TestEnv) {
    let sql = match t.db.db.kind() {
        store::Kind::Sqlite => "DROP TRIGGER audit_events_fixed; DROP TRIGGER audit_events_kept",
        store::Kind::Postgres => "DROP TRIGGER audit_events_fixed ON audit_events",
    };
    t.db.db.tamper(sql).await.expect("no rules any more");
}

env_test!(aud_04_an_edited_row_is_named, |t| async move {
    let (acme, other) = (t.org("acme").await, t.org("other").await);
    for n in 0..6 {
        rename(&t.env, &acme, &format!("Acme {n}")).await;
    }
    sound(&t).await;
    let org = acme.org_id();
    let event = |seq: i64| {
        let (t, org) = (&t, org);
        async move {
            let mut tx = t.env.db.read().await.unwrap();
            store::audit_chain::list_after(&mut tx, Some(org), seq - 1, 1).await.unwrap().remove(0)
        }
    };
    let row = event(4).await;
    for sql in ["UPDATE audit_events SET result = 'ok'", "DELETE FROM audit_events"] {
        assert!(t.db.db.tamper(sql).await.is_err(), "the database itself refuses: {sql}");
    }
    disarm(&t).await;
    let (id, key) = (&row.id, "id");
    for column in [
        "action",
        "category",
        "result",
        "actor_kind",
        "actor_id",
        "actor_name",
        "detail",
        "context",
        "auth_method",
        "key_id",
    ] {
        // One byte.
        let was = event(4).await;
        let forge = format!("UPDATE audit_events SET {column} = {column} || 'x' WHERE {key} = '{id}'");
        t.db.db.tamper(&forge).await.unwrap();
        let report = audit::verify(&t.env, Some(org)).await.unwrap();
        let broken = report.broken.expect("it is noticed");
        assert_eq!((broken.seq, broken.id.as_ref()), (4, Some(id)), "{column}");
        assert!(broken.reads.is_some_and(|reads| reads.contains("settings.updated")), "{column}");
        let cut = format!(
            "UPDATE audit_events SET {column} = substr({column}, 1, length({column}) - 1) WHERE {key} = '{id}'"
        );
        t.db.db.tamper(&cut).await.unwrap();
        assert_eq!(event(4).await.detail, was.detail);
        sound(&t).await;
    }
    t.db.db
        .tamper(&format!("UPDATE audit_events SET occurred_at = occurred_at + 1 WHERE id = '{id}'"))
        .await
        .unwrap();
    assert_eq!(audit::verify(&t.env, Some(org)).await.unwrap().broken.unwrap().seq, 4);
    t.db.db
        .tamper(&format!("UPDATE audit_events SET occurred_at = occurred_at - 1 WHERE id = '{id}'"))
        .await
        .unwrap();
    // Two rows change places.
    let swap = format!(
        "UPDATE audit_events SET seq = -1 WHERE org_id = '{org}' AND seq = 3; \
         UPDATE audit_events SET seq = 3 WHERE org_id = '{org}' AND seq = 4; \
         UPDATE audit_events SET seq = 4 WHERE org_id = '{org}' AND seq = -1"
    );
    t.db.db.tamper(&swap).await.unwrap();
    assert_eq!(audit::verify(&t.env, Some(org)).await.unwrap().broken.unwrap().seq, 3);
    t.db.db.tamper(&swap).await.unwrap();
    sound(&t).await;
    t.db.db.tamper(&format!("DELETE FROM audit_events WHERE id = '{id}'")).await.unwrap();
    let broken = audit::verify(&t.env, Some(org)).await.unwrap().broken.unwrap();
    assert_eq!(broken.seq, 4);
    assert!(broken.why.contains("removed"), "{broken:?}");
    assert_eq!(audit::verify(&t.env, Some(other.org_id())).await.unwrap().broken, None);
});

env_test!(aud_01_events_of_the_first_version_are_still_proven, |t| async move {
    let acme = t.org("acme").await;
    let org = acme.org_id();
    rename(&t.env, &acme, "Acme 2").await;
    // As an older release wrote them.
    disarm(&t).await;
    let back = "UPDATE audit_events SET mac = NULL, version = 1, auth_method = '', key_id = ''; \
                UPDATE audit_events SET seq = 0 WHERE org_id IS NULL; DELETE FROM audit_heads";
    t.db.db.tamper(back).await.unwrap();
    audit::adopt_all(&t.env).await.unwrap();
    let old = audit::verify(&t.env, Some(org)).await.unwrap();
    assert_eq!(old.broken, None);
    rename(&t.env, &acme, "Acme 3").await;
    let report = audit::verify(&t.env, Some(org)).await.unwrap();
    assert_eq!(report.broken, None);
    assert_eq!(report.versions.into_iter().collect::<Vec<_>>(), [(1, old.events), (2, 1)]);
    // Neither can an old one be given what it did not say, nor a new one be made an old one.
    let last = report.last;
    for (seq, forged, whole) in [
        (1, "auth_method = 'passkey'", "auth_method = ''"),
        (1, "key_id = 'ses_1'", "key_id = ''"),
        (1, "version = 2", "version = 1"),
        (last, "version = 1", "version = 2"),
        (last, "version = 3", "version = 2"),
    ] {
        let set =
            |what: &str| format!("UPDATE audit_events SET {what} WHERE org_id = '{org}' AND seq = {seq}");
        t.db.db.tamper(&set(forged)).await.unwrap();
        let broken = audit::verify(&t.env, Some(org)).await.unwrap().broken;
        assert_eq!(broken.map(|broken| broken.seq), Some(seq), "{forged}");
        t.db.db.tamper(&set(whole)).await.unwrap();
        sound(&t).await;
    }
});

env_test!(aud_04_rows_cut_off_at_the_end_are_missed, |t| async move {
    let acme = t.org("acme").await;
    for n in 0..4 {
        rename(&t.env, &acme, &format!("Acme {n}")).await;
    }
    let org = acme.org_id();
    disarm(&t).await;
    let last = audit::verify(&t.env, Some(org)).await.unwrap().last;
    t.db.db
        .tamper(&format!("DELETE FROM audit_events WHERE org_id = '{org}' AND seq = {last}"))
        .await
        .unwrap();
    let cut = audit::verify(&t.env, Some(org)).await.unwrap().broken.expect("it is noticed");
    assert_eq!(cut.seq, last);
    // Also when head and version are set back to fit: the head has a code of its own.
    let before = last - 1;
    t.db.db
        .tamper(&format!(
            "UPDATE audit_heads SET seq = {before}, mac = (SELECT mac FROM audit_events WHERE org_id = '{org}' AND seq = {before}) \
             WHERE chain = '{org}'; UPDATE orgs SET version = {before} WHERE id = '{org}'"
        ))
        .await
        .unwrap();
    assert!(audit::verify(&t.env, Some(org)).await.unwrap().broken.is_some());
});

env_test!(aud_04_checkpoints_are_signed, |t| async move {
    let acme = t.org("acme").await;
    rename(&t.env, &acme, "Acme 2").await;
    audit::take_checkpoints(&t.env).await.unwrap();
    let points = |org| {
        let env = &t.env;
        async move {
            let mut tx = env.db.read().await.unwrap();
            store::audit_chain::list_checkpoints(&mut tx, org).await.unwrap()
        }
    };
    let first = points(Some(acme.org_id())).await;
    assert_eq!(first.len(), 1);
    let text = audit::signed_text(Some(acme.org_id()), &first[0]);
    let key = t.env.keys.public(&first[0].kid, t.env.now()).expect("the key is published");
    let signature = data_encoding::BASE64URL_NOPAD.decode(first[0].signature.as_bytes()).unwrap();
    let good = key.verify_sig(text.as_bytes(), &signature).is_ok();
    assert!(good, "whoever keeps the checkpoint can prove it with the published key");
    // Nothing happened since: there is nothing to sign.
    audit::take_checkpoints(&t.env).await.unwrap();
    assert_eq!(points(Some(acme.org_id())).await.len(), 1);
    rename(&t.env, &acme, "Acme 3").await;
    audit::take_checkpoints(&t.env).await.unwrap();
    assert_eq!(points(Some(acme.org_id())).await.len(), 2);
    sound(&t).await;
    t.db.db
        .tamper(&format!("UPDATE audit_checkpoints SET at = at + 1 WHERE chain = '{}'", acme.org_id()))
        .await
        .unwrap();
    assert!(audit::verify(&t.env, Some(acme.org_id())).await.unwrap().broken.is_some());
});

env_test!(aud_04_two_writers_make_one_chain_without_gaps, |t| async move {
    let acme = t.org("acme").await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let (env, acme) = (t.env.clone(), acme.clone());
        tasks.spawn(async move {
            for n in 0..5 {
                rename(&env, &acme, &format!("Acme {writer} {n}")).await;
            }
        });
        // The instance has a chain as well.
        let env = t.env.clone();
        tasks.spawn(async move {
            let email = format!("person{writer}@acme.example");
            domain::accounts::create_by_operator(&env, &email, domain::testing::PASSWORD, None)
                .await
                .unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let report = audit::verify(&t.env, Some(acme.org_id())).await.unwrap();
    assert_eq!(report.broken, None);
    assert_eq!(i64::try_from(report.events).unwrap(), report.last, "no gap");
    assert!(report.events >= 40);
    let instance = audit::verify(&t.env, None).await.unwrap();
    assert_eq!(instance.broken, None);
    assert!(instance.events >= 8, "{instance:?}");
});

env_test!(aud_04_rows_of_before_the_chain_are_taken_in, |t| async move {
    let acme = t.org("acme").await;
    rename(&t.env, &acme, "Acme 2").await;
    // As the migration leaves an older database.
    disarm(&t).await;
    t.db.db
        .tamper(
            "UPDATE audit_events SET mac = NULL, category = ''; UPDATE audit_events SET seq = 0 WHERE org_id IS NULL; \
             DELETE FROM audit_heads; DELETE FROM instance_facts WHERE name = 'audit key'",
        )
        .await
        .unwrap();
    rename(&t.env, &acme, "Acme 3").await;
    audit::adopt_all(&t.env).await.unwrap();
    sound(&t).await;
    let report = audit::verify(&t.env, Some(acme.org_id())).await.unwrap();
    assert_eq!(report.adopted.map(|(seq, _)| seq), Some(report.last - 1), "where the chain begins is marked");
    let found = log(&t, &acme, AuditQuery { action: "settings".into(), ..AuditQuery::default() }).await;
    assert_eq!(found.events.iter().filter(|event| event.action == "settings.updated").count(), 2);
    t.db.db
        .tamper("UPDATE audit_events SET actor_name = 'Nobody' WHERE action = 'org.created'")
        .await
        .unwrap();
    let broken =
        audit::verify(&t.env, Some(acme.org_id())).await.unwrap().broken.expect("the old rows count");
    assert_eq!(broken.seq, 1);
});

env_test!(aud_03_a_change_whose_event_cannot_be_written_does_not_happen, |t| async move {
    let acme = t.org("acme").await;
    // The key of the chain cannot be opened: no event can be written.
    t.db.db
        .tamper("UPDATE instance_facts SET value = value || value WHERE name = 'audit key'")
        .await
        .unwrap();
    let actor = acme.actor().await;
    let error = orgs::update(&t.env, &actor, "Other", "").await.unwrap_err().into_app("");
    assert_eq!((error.status(), error.code.as_str()), (503, "audit_unavailable"));
    let mut tx = t.env.db.read().await.unwrap();
    let org = store::orgs::find(&mut tx, acme.org_id()).await.unwrap().unwrap();
    assert_eq!(org.name, acme.org.name);
});

env_test!(aud_05_retention_leaves_a_chain_that_verifies, |t| async move {
    let acme = t.org("acme").await;
    let operator = OrgActor::<can::OrgUpdate>::operator(acme.org_id());
    for n in 0..3 {
        rename(&t.env, &acme, &format!("Old {n}")).await;
    }
    audit::take_checkpoints(&t.env).await.unwrap();
    t.clock.advance(20 * DAY);
    rename(&t.env, &acme, "Middle").await;
    t.clock.advance(20 * DAY);
    rename(&t.env, &acme, "New").await;
    assert_eq!(audit::retain(&t.env).await.unwrap(), 0, "Enterprise keeps everything");
    audit::set_days(&t.env, &operator, Some(30)).await.unwrap();
    let before = audit::verify(&t.env, Some(acme.org_id())).await.unwrap();
    let gone = audit::retain(&t.env).await.unwrap();
    assert!(gone >= 4, "{gone}");
    sound(&t).await;
    let after = audit::verify(&t.env, Some(acme.org_id())).await.unwrap();
    assert_eq!((after.last, after.events + gone), (before.last, before.events));
    assert_eq!(u64::try_from(after.removed_to).unwrap(), gone);
    let names: Vec<_> = log(&t, &acme, AuditQuery::default())
        .await
        .events
        .into_iter()
        .flat_map(|event| event.changes)
        .filter(|change| change.field == "name")
        .map(|change| change.new)
        .collect();
    assert_eq!(names, ["New", "Middle"]);
    assert_eq!(audit::retain(&t.env).await.unwrap(), 0, "done once");
    // What went cannot be put back, and what stays is still bound to what went.
    t.clock.advance(60 * DAY);
    assert!(audit::retain(&t.env).await.unwrap() > 0);
    sound(&t).await;
    rename(&t.env, &acme, "Newest").await;
    sound(&t).await;
    disarm(&t).await;
    let org = acme.org_id();
    t.db.db
        .tamper(&format!("UPDATE audit_events SET result = 'failed' WHERE org_id = '{org}'"))
        .await
        .unwrap();
    assert!(audit::verify(&t.env, Some(org)).await.unwrap().broken.is_some());
});

env_test!(aud_05_an_organisation_goes_with_its_log, |t| async move {
    let (acme, other) = (t.org("acme").await, t.org("other").await);
    let org = acme.org_id();
    assert!(t.db.db.tamper(&format!("DELETE FROM orgs WHERE id = '{org}'")).await.is_err(), "not by itself");
    t.db.db
        .tamper(&format!(
            "INSERT INTO audit_clearances (chain) VALUES ('{org}'); DELETE FROM orgs WHERE id = '{org}'; \
             DELETE FROM audit_clearances WHERE chain = '{org}'"
        ))
        .await
        .expect("with the marker");
    sound(&t).await;
    assert!(!log(&t, &other, AuditQuery::default()).await.events.is_empty());
});

env_test!(the_log_is_filtered_and_paged, |t| async move {
    let acme = t.org("acme").await;
    let ada = t.member(&acme, "ada", Role::Admin).await;
    for n in 0..60 {
        rename(&t.env, if n % 2 == 0 { &acme } else { &ada }, &format!("Acme {n}")).await;
    }
    t.clock.advance(2 * DAY);
    rename(&t.env, &ada, "Acme later").await;
    let all = log(&t, &acme, AuditQuery::default()).await;
    assert_eq!(all.events.len(), 50);
    assert_eq!(all.newer, None);
    assert_eq!(all.events[0].changes[0].new, "Acme later");
    let second = log(&t, &acme, AuditQuery { before: all.older, ..AuditQuery::default() }).await;
    assert_eq!(second.events[0].seq, all.events[49].seq - 1, "the pages join");
    assert_eq!(second.older, None);
    let back = log(&t, &acme, AuditQuery { after: second.newer, ..AuditQuery::default() }).await;
    assert_eq!(back.events.last().unwrap().seq, second.events[0].seq + 1);
    let of_ada = log(&t, &acme, AuditQuery { user: ada.user.to_string(), ..AuditQuery::default() }).await;
    assert_eq!(of_ada.events.len(), 31);
    assert!(of_ada.events.iter().all(|event| event.actor == "ada"));
    let by_operator = log(&t, &acme, AuditQuery { user: "operator".into(), ..AuditQuery::default() }).await;
    assert!(
        !by_operator.events.is_empty()
            && by_operator.events.iter().all(|event| event.actor_kind == "operator")
    );
    for (action, wanted) in [("team", "team.member_added"), ("team.member_added", "team.member_added")] {
        let found = log(&t, &acme, AuditQuery { action: action.into(), ..AuditQuery::default() }).await;
        assert!(
            !found.events.is_empty() && found.events.iter().all(|event| event.action == wanted),
            "{action}"
        );
        let query = AuditQuery { action: action.into(), user: ada.user.to_string(), ..AuditQuery::default() };
        assert!(log(&t, &acme, query).await.events.is_empty());
    }
    // 2026-09-21 and two days later, UTC.
    let late = AuditQuery { from: "2026-09-23".into(), user: ada.user.to_string(), ..AuditQuery::default() };
    assert_eq!(log(&t, &acme, late.clone()).await.events.len(), 1);
    let early = AuditQuery { to: "2026-09-22".into(), from: String::new(), ..late.clone() };
    assert_eq!(log(&t, &acme, early).await.events.len(), 30);
    assert_eq!(
        log(&t, &acme, AuditQuery { from: "2027-01-01".into(), ..late.clone() }).await.events.len(),
        0
    );
    assert!(log(&t, &acme, AuditQuery { from: "2026-02-30".into(), ..late }).await.problem.is_some());
    let one = audit::get(&t.env, &acme.actor().await, all.events[0].id).await.unwrap();
    assert_eq!(one, all.events[0]);
});

env_test!(aud_02_reading_and_exporting_the_log_are_events, |t| async move {
    let acme = t.org("acme").await;
    let count = |list: &model::audit::AuditList, action: &str| {
        list.events.iter().filter(|event| event.action == action).count()
    };
    log(&t, &acme, AuditQuery::default()).await;
    log(&t, &acme, AuditQuery::default()).await;
    assert_eq!(count(&log(&t, &acme, AuditQuery::default()).await, "audit.read"), 1, "once an hour");
    t.clock.advance(61 * 60 * 1000);
    log(&t, &acme, AuditQuery::default()).await;
    assert_eq!(count(&log(&t, &acme, AuditQuery::default()).await, "audit.read"), 2);
    export(&t, &acme, &AuditQuery { action: "team".into(), ..AuditQuery::default() }, Format::Csv).await;
    let list = log(&t, &acme, AuditQuery::default()).await;
    let event = list.events.iter().find(|event| event.action == "audit.exported").expect("an event");
    assert!(event.more.contains(&("action".to_owned(), "team".to_owned())));
    assert!(event.more.contains(&("format".to_owned(), "csv".to_owned())));
});

env_test!(aud_06_exports_hold_every_wanted_event_once_and_no_formula, |t| async move {
    let acme = t.org("acme").await;
    for n in 0..1100 {
        if n == 7 {
            domain::accounts::rename(&acme.ctx, "=HYPERLINK(\"http://x\")").await.unwrap();
        }
        let mut change = t.env.change(&acme.actor::<can::OrgUpdate>().await).await.unwrap();
        for _ in 0..50 {
            change.record(&domain::change::Event::new("settings.updated")).await.unwrap();
        }
        change.commit(domain::change::Event::new("settings.updated")).await.unwrap();
        if n == 21 {
            break;
        }
    }
    let json = export(&t, &acme, &AuditQuery::default(), Format::Json).await;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).expect("valid JSON");
    assert!(rows.len() > 1100, "more than one batch: {}", rows.len());
    let seqs: Vec<i64> = rows.iter().map(|row| row["seq"].as_i64().unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] == pair[1] + 1), "each once, the newest first");
    assert_eq!(seqs.last(), Some(&1));
    assert!(
        rows.iter().all(|row| row["occurred_at"].as_str().unwrap().ends_with('Z') && row["version"] == 2)
    );
    let csv = export(&t, &acme, &AuditQuery::default(), Format::Csv).await;
    assert!(csv.starts_with("seq,id,occurred_at,action,"));
    assert!(csv.contains("\"'=HYPERLINK(\"\"http://x\"\")\""));
    assert!(!csv.contains(",\"=") && !csv.contains("\n\"="));
    let none =
        export(&t, &acme, &AuditQuery { to: "2020-01-01".into(), ..AuditQuery::default() }, Format::Json)
            .await;
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&none).unwrap().len(), 0);
});

env_test!(ten_04_the_log_is_for_those_who_hold_its_permission, |t| async move {
    let acme = t.org("acme").await;
    let other = t.org("other").await;
    for role in [Role::Developer, Role::Member, Role::Viewer] {
        let member = t.member(&acme, role.as_str(), role).await;
        assert!(OrgActor::<can::AuditRead>::require(&member.ctx).await.is_err(), "{role}");
        assert!(OrgActor::<can::AuditExport>::require(&member.ctx).await.is_err(), "{role}");
    }
    let own = log(&t, &acme, AuditQuery::default()).await;
    let foreign = audit::get(&t.env, &other.actor().await, own.events[0].id).await;
    assert!(matches!(foreign, Err(domain::Error::App(error)) if error.kind == model::ErrorKind::NotFound));
    // Not in the plan: nothing is shown, and it says so.
    let changes = orgs::OperatorChanges { plan: Some(Plan::Free), ..orgs::OperatorChanges::default() };
    orgs::set_by_operator(&t.env, acme.org_id(), changes).await.unwrap();
    let list = log(&t, &acme, AuditQuery::default()).await;
    assert!(list.events.is_empty() && list.plan == Plan::Free);
    assert!(Export::begin(&t.env, &acme.actor().await, &AuditQuery::default(), Format::Csv).await.is_err());
    assert!(audit::get(&t.env, &acme.actor().await, own.events[0].id).await.is_err());
});

env_test!(aud_03_what_cannot_be_written_down_is_refused_with_503, |t| async move {
    let acme = t.org("acme").await;
    t.db.db.tamper("ALTER TABLE audit_events RENAME TO audit_events_away").await.unwrap();
    let done = orgs::update(&t.env, &acme.actor().await, "Renamed", "").await;
    let error = done.unwrap_err().into_app("");
    assert_eq!((error.status(), error.code.as_str()), (503, "audit_unavailable"));
    assert!(error.message.contains("nothing was changed"), "{}", error.message);
    // What is noted beside a log-in counts as well: nobody gets in unseen.
    let origin = t.anonymous().origin;
    let refused = accounts::sign_in(&t.env, &origin, "owner@acme.example", PASSWORD, None).await;
    assert_eq!(refused.unwrap_err().into_app("").status(), 503);
    t.db.db.tamper("ALTER TABLE audit_events_away RENAME TO audit_events").await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    let org = store::orgs::find(&mut tx, acme.org_id()).await.unwrap().unwrap();
    assert_eq!(org.name, "acme", "nothing was changed");
    drop(tx);
    sound(&t).await;
    rename(&t.env, &acme, "Renamed").await;
});
