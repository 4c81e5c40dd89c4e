//! Exports and imports on both databases: what is in the file, who writes it, when it goes, and what is in no file.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
};

use domain::{
    Error, OrgActor, api_keys, connectors, env_test,
    exports::{
        self, Asked, Download, Scribe, Step, Wanted,
        import::{Imported, import},
    },
    mfa, oauth_clients, org_deletion, orgs,
    pin::{self, Old},
    testing::{PASSWORD, TestEnv, TestMember},
    webhooks,
};
use model::{
    AppError, ErrorKind, ExportId, Plan, Role,
    api_keys::KeyScope,
    exports::{Export, ExportState, ImportPlan, MOST_EXPORTS},
    permissions::can,
};
use serde_json::{Value, json};
use store::usage::DayRow;

const MINUTE: i64 = 60 * 1000;
const DAY: i64 = 24 * 60 * MINUTE;
const ALL: [&str; 5] = ["connectors", "api-keys", "members", "usage", "audit"];

type Files = BTreeMap<String, String>;

fn app(error: Error) -> AppError {
    error.into_app("")
}

fn wanted(parts: &[&str], format: &str) -> Wanted {
    Wanted {
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
        format: format.to_owned(),
        ..Wanted::default()
    }
}

async fn ask(t: &TestEnv, owner: &TestMember, wanted: &Wanted) -> ExportId {
    // Lists are in the order of time.
    t.clock.advance(1);
    match exports::ask(&t.env, &owner.actor().await, wanted).await.unwrap() {
        Asked::Begun(id) => id,
        Asked::UnderWay(id) => panic!("{id} is under way"),
    }
}

async fn list(t: &TestEnv, owner: &TestMember) -> Vec<Export> {
    exports::list(&t.env, &owner.actor().await).await.unwrap().exports
}

async fn bytes(t: &TestEnv, owner: &TestMember, id: ExportId) -> Vec<u8> {
    let mut download = Download::begin(&t.env, &owner.actor().await, id).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes.len() as u64, download.size());
    bytes
}

fn unpacked(bytes: Vec<u8>) -> Files {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<_> = zip.file_names().map(str::to_owned).collect();
    let mut files = Files::new();
    for name in names {
        let mut text = String::new();
        zip.by_name(&name).unwrap().read_to_string(&mut text).unwrap();
        files.insert(name, text);
    }
    files
}

/// Asks for an export, has it written, and opens it.
async fn export(t: &TestEnv, owner: &TestMember, wanted: &Wanted) -> Files {
    let id = ask(t, owner, wanted).await;
    assert!(Scribe::new(t.env.clone()).run_due().await.unwrap());
    unpacked(bytes(t, owner, id).await)
}

fn rows(files: &Files) -> BTreeMap<String, i64> {
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).unwrap();
    let parts = manifest["parts"].as_array().unwrap();
    parts
        .iter()
        .map(|part| (part["name"].as_str().unwrap().to_owned(), part["rows"].as_i64().unwrap()))
        .collect()
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<String> {
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::audit::list_actions(&mut tx, Some(member.org_id())).await.unwrap();
    all.into_iter().map(|(action, _)| action).collect()
}

async fn key(t: &TestEnv, owner: &TestMember, name: &str) -> String {
    let new = api_keys::NewKey { name: name.into(), scope: KeyScope::All, expires_at: None, url_key: false };
    api_keys::create(&t.env, &owner.actor().await, &new).await.unwrap().secret
}

/// Rows of usage on as many days, each with texts that do not pack well.
async fn use_much(t: &TestEnv, owner: &TestMember, days: i64, each: i64) {
    let mut tx = t.env.db.write().await.unwrap();
    let today = t.env.now() / DAY;
    for n in 0..days * each {
        let row = DayRow {
            day: today - n / each,
            connector_id: "mcp_x".to_owned(),
            tool: format!("{}{}", t.env.token(), t.env.token()),
            principal_kind: "api_key".to_owned(),
            principal_id: t.env.token(),
            calls: n,
            errors: 0,
            duration_us: 1,
            bytes_in: 2,
            bytes_out: 3,
        };
        store::usage::add_day(&mut tx, owner.org_id(), &row).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// A connector whose server is nowhere, with a secret in its header and one in its URL.
async fn connector(t: &TestEnv, owner: &TestMember, slug: &str, secret: &str) -> model::ConnectorId {
    let new = connectors::NewConnector {
        name: format!("=The {slug}"),
        slug: slug.to_owned(),
        description: "For tests".to_owned(),
        url: format!("https://mcp.invalid/{slug}?key={secret}q"),
        headers: vec![("Authorization".to_owned(), format!("Bearer {secret}h").into())],
        even_if_unreachable: true,
    };
    connectors::add(&t.env, &owner.actor().await, &new).await.unwrap().id
}

env_test!(del_05_one_file_for_each_part_and_counts_are_those_of_the_database, |t| async move {
    let acme = t.org("acme").await;
    t.member(&acme, "dev", Role::Developer).await;
    connectors::add_demo(&t.env, &acme.actor().await).await.unwrap();
    connector(&t, &acme, "weather", "x").await;
    key(&t, &acme, "ci").await;
    use_much(&t, &acme, 3, 400).await;
    let other = t.org("other").await;
    key(&t, &other, "theirs").await;

    let mut events = actions(&t, &acme).await.len();
    for format in ["json", "csv"] {
        let files = export(&t, &acme, &wanted(&ALL, format)).await;
        // What was there when it began: the event of asking for it is in it.
        events += 1;
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        let end = format;
        let expected: Vec<String> = ["api-keys", "audit", "connectors", "members", "usage"]
            .map(|part| format!("{part}.{end}"))
            .into();
        assert!(expected.iter().all(|name| names.contains(&name.as_str())) && names.len() == 6, "{names:?}");
        let counted =
            [("connectors", 2), ("api-keys", 1), ("members", 2), ("usage", 1200), ("audit", events)];
        let counted: BTreeMap<_, _> =
            counted.into_iter().map(|(part, rows)| (part.to_owned(), i64::try_from(rows).unwrap())).collect();
        assert_eq!(rows(&files), counted);
        for (part, rows) in &counted {
            let text = &files[&format!("{part}.{end}")];
            let there = match format {
                "csv" => text.matches("\r\n").count() - 1,
                _ if part == "connectors" => {
                    serde_json::from_str::<Value>(text).unwrap()["connectors"].as_array().unwrap().len()
                }
                _ => serde_json::from_str::<Vec<Value>>(text).unwrap().len(),
            };
            assert_eq!(i64::try_from(there).unwrap(), *rows, "{part}.{end}");
            assert!(!text.contains("theirs"));
        }
        let manifest: Value = serde_json::from_str(&files["manifest.json"]).unwrap();
        assert_eq!((&manifest["format"], &manifest["version"]), (&json!("gatehouse.export"), &json!(1)));
        assert_eq!(manifest["organisation"]["slug"], "acme");
        // Of the job and of the downloading.
        events += 2;
    }
    let csv = &export(&t, &acme, &wanted(&["connectors"], "csv")).await["connectors.csv"];
    assert!(csv.contains("\"'=The weather\""), "aud_06: no cell is a formula: {csv}");

    // Days limit usage and the log, and nothing else.
    let today = domain_day(&t);
    let few = Wanted { from: today.clone(), to: today, ..wanted(&["usage", "members"], "json") };
    assert_eq!(
        rows(&export(&t, &acme, &few).await),
        [("members".to_owned(), 2), ("usage".to_owned(), 400)].into()
    );
    let last = list(&t, &acme).await.remove(0);
    assert!(last.days.contains(" to ") && last.state == ExportState::Ready && last.sha256.len() == 64);
    let log = actions(&t, &acme).await;
    for event in ["export.created", "export.completed", "export.downloaded"] {
        assert_eq!(log.iter().filter(|action| *action == event).count(), 4, "{log:?}");
    }
});

fn domain_day(t: &TestEnv) -> String {
    day_of(t.env.now())
}

/// `2026-03-12`, UTC.
fn day_of(ms: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(ms / 1000).unwrap();
    format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
}

/// A text in every form that it may have somewhere.
fn forms(secret: &str) -> Vec<String> {
    let hex = data_encoding::HEXLOWER.encode(secret.as_bytes());
    let base64 = data_encoding::BASE64_NOPAD.encode(secret.as_bytes());
    let bytes: Vec<String> = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![secret.to_owned(), hex, base64, bytes.concat()]
}

env_test!(del_05_no_secret_is_in_any_export, |t| async move {
    let acme = t.org("acme").await;
    orgs::set_key_settings(&t.env, &acme.actor().await, model::orgs::KeyVisibility::Copyable, true)
        .await
        .unwrap();
    let mut secrets = vec![PASSWORD.to_owned(), "483920".to_owned()];
    connector(&t, &acme, "weather", "canary-7f3a").await;
    secrets.extend(["canary-7f3ah".to_owned(), "canary-7f3aq".to_owned()]);
    secrets.push(key(&t, &acme, "ci").await);
    let client = oauth_clients::NewClient {
        name: "Machine".to_owned(),
        redirect_uris: None,
        proof: oauth_clients::Proof::Post,
        scope: model::Scope::everything(),
        keep_refresh_tokens: true,
    };
    secrets.push(oauth_clients::create(&t.env, &acme.actor().await, &client).await.unwrap().secret.unwrap());
    let hook = webhooks::Wanted {
        url: "https://hooks.example.com/in?token=canary-9b1c".to_owned(),
        description: String::new(),
        all: true,
        events: Vec::new(),
    };
    let hook = webhooks::create(&t.env, &acme.actor().await, &hook).await.unwrap();
    secrets.extend(["canary-9b1c".to_owned(), hook.secret.trim_start_matches("whsec_").to_owned()]);
    secrets.extend(t.enrol(&acme.ctx).await);
    secrets.push(mfa::code_now(&t.env, acme.user).await.unwrap());
    let proven = t.prove(&acme.ctx).await;
    pin::set(&acme.ctx, &proven, Old::Pin(""), "483920", "483920").await.unwrap();
    let hashes = {
        let mut tx = t.env.db.read().await.unwrap();
        store::api_keys::list(&mut tx, acme.org_id()).await.unwrap()
    };
    secrets.extend(hashes.iter().map(|key| data_encoding::HEXLOWER.encode(&key.hash)));
    for format in ["json", "csv"] {
        let files = export(&t, &acme, &wanted(&ALL, format)).await;
        assert!(
            files[&format!("connectors.{format}")].contains("authorization"),
            "the name of the header is told"
        );
        for (name, text) in &files {
            for form in secrets.iter().flat_map(|secret| forms(secret)) {
                assert!(form.len() > 5 && !text.contains(&form), "{form} is in {name}");
            }
        }
    }
    // Nor does the database hold the file in plain.
    assert_eq!(t.env.db.search("gatehouse.connectors").await.unwrap(), []);
});

env_test!(del_05_one_node_writes_and_another_takes_over_when_it_dies, |t| async move {
    let acme = t.org("acme").await;
    use_much(&t, &acme, 2, 2000).await;
    let id = ask(&t, &acme, &wanted(&["usage", "members"], "csv")).await;
    let (one, two) = (Scribe::new(t.env.clone()), Scribe::new(t.env.clone()));
    let mut job = one.begin().await.unwrap().expect("it is due");
    assert!(two.begin().await.unwrap().is_none(), "it has somebody");
    for _ in 0..9 {
        t.clock.advance(2000);
        assert_eq!(job.step().await.unwrap(), Step::More);
    }
    let half = list(&t, &acme).await.remove(0);
    assert_eq!(half.state, ExportState::Running);
    let line = &half.parts[1];
    assert!(line.done > 0 && line.done < line.total && line.total == 4000, "{half:?}");
    let refused = app(Download::begin(&t.env, &acme.actor().await, id).await.map(|_| ()).unwrap_err());
    assert_eq!((refused.kind, refused.code.as_str()), (ErrorKind::Conflict, "not_ready"));

    // The first node hangs, and the second one takes over; then the first one wakes up.
    assert!(two.begin().await.unwrap().is_none());
    t.clock.advance(61_000);
    let mut again = two.begin().await.unwrap().expect("the lease is over");
    assert_eq!(list(&t, &acme).await[0].size, 0, "what there was is thrown away");
    t.clock.advance(2000);
    let mut woken = Step::More;
    while woken == Step::More {
        woken = job.step().await.unwrap();
    }
    assert_eq!(woken, Step::Lost);
    while again.step().await.unwrap() == Step::More {}
    assert!(!one.run_due().await.unwrap() && !two.run_due().await.unwrap());
    let bytes = bytes(&t, &acme, id).await;
    assert!(bytes.len() > 256 * 1024, "it is in more than one piece: {}", bytes.len());
    let digest: [u8; 32] =
        sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&bytes)).into();
    let ready = list(&t, &acme).await.remove(0);
    assert_eq!(ready.sha256, data_encoding::HEXLOWER.encode(&digest));
    let files = unpacked(bytes);
    assert_eq!(rows(&files), [("members".to_owned(), 1), ("usage".to_owned(), 4000)].into());
    assert_eq!(files["usage.csv"].matches("\r\n").count(), 4001);
    let completed = actions(&t, &acme).await.iter().filter(|action| *action == "export.completed").count();
    assert_eq!(completed, 1);

    // A node that stops in order gives back what it has: nobody waits for the lease, and it counts as no try.
    let id = ask(&t, &acme, &wanted(&["members"], "csv")).await;
    for _ in 0..9 {
        one.begin().await.unwrap().expect("it is due at once");
        one.release().await.unwrap();
    }
    assert!(two.run_due().await.unwrap());
    assert_eq!(list(&t, &acme).await[0].id, id);
    // One that kills every node is given up, with words.
    let id = ask(&t, &acme, &wanted(&["members"], "csv")).await;
    for _ in 0..5 {
        Scribe::new(t.env.clone()).begin().await.unwrap().expect("it is due again");
        t.clock.advance(61_000);
    }
    assert!(!two.run_due().await.unwrap());
    let failed = list(&t, &acme).await.remove(0);
    assert_eq!((failed.id, failed.state), (id, ExportState::Failed));
    assert!(failed.failure.unwrap().contains("interrupted again and again"));
    assert_eq!(actions(&t, &acme).await.last().map(String::as_str), Some("export.failed"));
});

env_test!(del_05_one_at_a_time_and_gone_after_seven_days, |t| async move {
    let acme = t.org("acme").await;
    let other = t.org("other").await;
    let first = ask(&t, &acme, &wanted(&["members"], "json")).await;
    let second = exports::ask(&t.env, &acme.actor().await, &wanted(&["usage"], "csv")).await.unwrap();
    assert_eq!(second, Asked::UnderWay(first));
    assert_eq!(list(&t, &acme).await.len(), 1);
    assert!(list(&t, &other).await.is_empty());
    Scribe::new(t.env.clone()).run_due().await.unwrap();

    // What is another's is not there.
    let theirs = app(Download::begin(&t.env, &other.actor().await, first).await.map(|_| ()).unwrap_err());
    let nowhere = ExportId::from_uuid(t.env.uuid());
    let random = app(Download::begin(&t.env, &other.actor().await, nowhere).await.map(|_| ()).unwrap_err());
    assert_eq!((theirs.kind, &theirs.message), (ErrorKind::NotFound, &random.message));
    assert!(exports::delete(&t.env, &other.actor().await, first).await.is_err());

    t.clock.advance(7 * DAY - MINUTE);
    exports::purge(&t.env).await.unwrap();
    assert!(!bytes(&t, &acme, first).await.is_empty());
    let mut begun = Download::begin(&t.env, &acme.actor().await, first).await.unwrap();
    t.clock.advance(2 * MINUTE);
    assert!(begun.next().await.is_err(), "its time is over in the middle of the way");
    assert!(list(&t, &acme).await.is_empty());
    let late = app(Download::begin(&t.env, &acme.actor().await, first).await.map(|_| ()).unwrap_err());
    assert_eq!(late.message, random.message);
    assert_eq!(exports::purge(&t.env).await.unwrap(), 1);
    assert_eq!(
        t.env
            .db
            .search(&first.to_string())
            .await
            .unwrap()
            .iter()
            .filter(|(place, _)| place.starts_with("export"))
            .count(),
        0
    );

    // As many are kept as may be; cancelling one that runs makes room, and whoever writes it notices.
    for _ in 1..MOST_EXPORTS {
        export(&t, &acme, &wanted(&["members"], "json")).await;
    }
    let last = ask(&t, &acme, &wanted(&["members"], "json")).await;
    let mut job = Scribe::new(t.env.clone()).begin().await.unwrap().unwrap();
    exports::delete(&t.env, &acme.actor().await, last).await.unwrap();
    let mut step = Step::More;
    while step == Step::More {
        t.clock.advance(2000);
        step = job.step().await.unwrap();
    }
    assert_eq!(step, Step::Lost);
    export(&t, &acme, &wanted(&["members"], "json")).await;
    let full =
        app(exports::ask(&t.env, &acme.actor().await, &wanted(&["members"], "json")).await.unwrap_err());
    assert_eq!((full.kind, full.code.as_str()), (ErrorKind::Conflict, "too_many_exports"));
    assert!(actions(&t, &acme).await.contains(&"export.deleted".to_owned()));

    // With the organisation all of it goes at once, also one that is being written.
    let oldest = list(&t, &acme).await.pop().unwrap();
    exports::delete(&t.env, &acme.actor().await, oldest.id).await.unwrap();
    ask(&t, &acme, &wanted(&["members"], "json")).await;
    let mut job = Scribe::new(t.env.clone()).begin().await.unwrap().unwrap();
    org_deletion::delete(&acme.ctx, &acme.guarded().await, "acme", PASSWORD, mfa::Shown::Code(""))
        .await
        .unwrap();
    let left = t.env.db.search(&acme.org_id().to_string()).await.unwrap();
    assert!(left.iter().all(|(place, _)| !place.starts_with("export")), "{left:?}");
    t.clock.advance(2000);
    let mut ended = false;
    while !ended {
        ended = !matches!(job.step().await, Ok(Step::More));
    }
    let left = t.env.db.search(&acme.org_id().to_string()).await.unwrap();
    assert!(left.iter().all(|(place, _)| !place.starts_with("export")), "{left:?}");
});

env_test!(del_05_two_who_ask_at_once_get_the_same_export, |t| async move {
    let acme = t.org("acme").await;
    let boss = t.member(&acme, "boss", Role::Admin).await;
    let (one, two) = (acme.actor().await, boss.actor().await);
    let wanted = wanted(&["members"], "json");
    let (one, two) = tokio::join!(exports::ask(&t.env, &one, &wanted), exports::ask(&t.env, &two, &wanted));
    match (one.unwrap(), two.unwrap()) {
        (Asked::Begun(begun), Asked::UnderWay(other)) | (Asked::UnderWay(other), Asked::Begun(begun)) => {
            assert_eq!(begun, other);
        }
        both => panic!("{both:?}"),
    }
    assert_eq!(list(&t, &acme).await.len(), 1);
    assert!(Scribe::new(t.env.clone()).run_due().await.unwrap());
    assert!(!Scribe::new(t.env.clone()).run_due().await.unwrap());
});

env_test!(del_05_whoever_asked_gets_a_mail_when_it_is_ready_or_failed, |t| async move {
    let acme = t.org("acme").await;
    let boss = t.member(&acme, "boss", Role::Admin).await;
    t.member(&acme, "other", Role::Admin).await;
    t.mails().await;
    let id = ask(&t, &boss, &wanted(&["members"], "json")).await;
    assert_eq!(t.mails().await, [], "there is nothing to say before");
    assert!(Scribe::new(t.env.clone()).run_due().await.unwrap());
    let mails = t.mails().await;
    let [mail] = mails.as_slice() else { panic!("one mail: {mails:?}") };
    assert_eq!(
        (mail.to.as_str(), mail.subject.as_str()),
        ("boss@acme.example", "Your export of acme is ready")
    );
    // The page and nothing of the export: neither its id nor its digest.
    let link = mail.text.lines().find(|line| line.starts_with("http")).unwrap();
    assert_eq!(link, "http://localhost:3000/settings/export");
    assert!(!mail.text.contains(&id.to_string()) && !mail.html.contains(&id.to_string()));
    let expires = list(&t, &acme).await[0].expires_at;
    let until = day_of(expires);
    assert!(
        mail.text.contains(&format!("It is kept until {until} ")) && mail.text.contains(" UTC."),
        "{}",
        mail.text
    );

    // One that fails says why.
    ask(&t, &boss, &wanted(&["members"], "json")).await;
    for _ in 0..5 {
        Scribe::new(t.env.clone()).begin().await.unwrap().expect("it is due again");
        t.clock.advance(61_000);
    }
    assert!(!Scribe::new(t.env.clone()).run_due().await.unwrap());
    let mails = t.mails().await;
    let [mail] = mails.as_slice() else { panic!("one mail: {mails:?}") };
    assert_eq!(mail.subject, "Your export of acme failed");
    assert!(mail.text.contains("interrupted again and again"), "{}", mail.text);

    // Who may not export any more hears nothing, nor does anybody of one that the operator asked for.
    ask(&t, &boss, &wanted(&["members"], "json")).await;
    let operator = pin::Guarded::operator(acme.org_id());
    domain::team::set_role(&t.env, &operator, boss.user, Role::Viewer).await.unwrap();
    t.mails().await;
    assert!(Scribe::new(t.env.clone()).run_due().await.unwrap());
    assert_eq!(t.mails().await, []);
    let by_operator = OrgActor::<can::ExportCreate>::operator(acme.org_id());
    exports::ask(&t.env, &by_operator, &wanted(&["members"], "json")).await.unwrap();
    assert!(Scribe::new(t.env.clone()).run_due().await.unwrap());
    assert_eq!(t.mails().await, []);
});

env_test!(del_05_what_is_chosen_is_checked, |t| async move {
    let acme = t.org("acme").await;
    let field = async |wanted: &Wanted| {
        app(exports::ask(&t.env, &acme.actor().await, wanted).await.unwrap_err()).fields.remove(0).field
    };
    assert_eq!(field(&wanted(&[], "json")).await, "parts");
    assert_eq!(field(&wanted(&["secrets"], "json")).await, "parts");
    assert_eq!(field(&wanted(&["members"], "exe")).await, "format");
    let range = |from: &str, to: &str| Wanted {
        from: from.to_owned(),
        to: to.to_owned(),
        ..wanted(&["usage"], "csv")
    };
    assert_eq!(field(&range("yesterday", "")).await, "from");
    assert_eq!(field(&range("2026-03-12", "2026-03-11")).await, "from");
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let refused = app(OrgActor::<can::ExportCreate>::require(&dev.ctx).await.unwrap_err());
    assert!(refused.kind == ErrorKind::Forbidden && refused.message.contains("export:create"));
    // A plan without a log has none to export.
    let changes = orgs::OperatorChanges { plan: Some(Plan::Free), ..Default::default() };
    orgs::set_by_operator(&t.env, acme.org_id(), changes).await.unwrap();
    let refused = app(exports::ask(&t.env, &acme.actor().await, &wanted(&ALL, "json")).await.unwrap_err());
    assert_eq!((refused.kind, refused.code.as_str()), (ErrorKind::Forbidden, "plan"));
    assert!(!exports::list(&t.env, &acme.actor().await).await.unwrap().audit);
    // And one that lost it meanwhile ends with words.
    let changes = orgs::OperatorChanges { plan: Some(Plan::Team), ..Default::default() };
    orgs::set_by_operator(&t.env, acme.org_id(), changes).await.unwrap();
    ask(&t, &acme, &wanted(&["audit"], "json")).await;
    let changes = orgs::OperatorChanges { plan: Some(Plan::Free), ..Default::default() };
    orgs::set_by_operator(&t.env, acme.org_id(), changes).await.unwrap();
    Scribe::new(t.env.clone()).run_due().await.unwrap();
    let failed = list(&t, &acme).await.remove(0);
    assert_eq!(failed.state, ExportState::Failed);
    assert!(failed.failure.unwrap().contains("does not include the audit log"));
});

async fn plan(t: &TestEnv, to: &TestMember, text: &str, clash: &str) -> Result<ImportPlan, AppError> {
    match import(&t.env, &to.actor().await, text, clash, "").await.map_err(app)? {
        Imported::Planned(plan) => Ok(plan),
        Imported::Made(_) => panic!("nobody has seen the plan"),
    }
}

env_test!(connectors_of_an_export_come_into_another_organisation, |t| async move {
    let acme = t.org("acme").await;
    connectors::add_demo(&t.env, &acme.actor().await).await.unwrap();
    let weather = connector(&t, &acme, "weather", "x").await;
    connectors::set_enabled(&t.env, &acme.actor().await, weather, false).await.unwrap();
    let demo = connectors::list(&t.env, &acme.actor().await).await.unwrap();
    let demo = demo.iter().find(|one| one.slug.as_str() == "demo").unwrap().id;
    connectors::set_tool_enabled(&t.env, &acme.actor().await, demo, "echo", false).await.unwrap();
    let file = export(&t, &acme, &wanted(&["connectors"], "json")).await.remove("connectors.json").unwrap();

    let beta = t.org("beta").await;
    let planned = plan(&t, &beta, &file, "rename").await.unwrap();
    assert_eq!((planned.made(), planned.from.as_str(), planned.changed), (2, acme.org.name.as_str(), false));
    let needs = &planned.lines.iter().find(|line| line.slug == "weather").unwrap().needs;
    assert_eq!(*needs, ["the value of its header authorization", "what stands after ? in its URL"]);
    assert!(connectors::list(&t.env, &beta.actor().await).await.unwrap().is_empty(), "only looked");
    let before = actions(&t, &beta).await.len();
    let made = import(&t.env, &beta.actor().await, &file, "rename", &planned.seen).await.unwrap();
    assert!(matches!(made, Imported::Made(_)));
    let there = connectors::list(&t.env, &beta.actor().await).await.unwrap();
    let of = |slug: &str| there.iter().find(|one| one.slug.as_str() == slug).unwrap();
    assert_eq!((there.len(), of("weather").enabled, of("demo").enabled), (2, false, true));
    assert_eq!(of("weather").url, "https://mcp.invalid/weather");
    let (_, tools) = connectors::get(&t.env, &beta.actor().await, of("demo").id).await.unwrap();
    assert!(
        tools.iter().any(|tool| tool.name == "echo" && !tool.enabled),
        "what was switched off stays off: {tools:?}"
    );
    assert!(tools.iter().any(|tool| tool.name == "time" && tool.enabled));
    assert_eq!(actions(&t, &beta).await[before..], ["mcp.created", "mcp.created"]);
    let mut tx = t.env.db.read().await.unwrap();
    let outbox = store::outbox::list(&mut tx, beta.org_id()).await.unwrap();
    drop(tx);
    assert_eq!(
        outbox.iter().filter(|(name, data)| name == "mcp.created" && data.contains("mcp_id")).count(),
        2
    );

    // Once more: the slugs are taken now, so the plan that was seen is another one.
    let again = import(&t.env, &beta.actor().await, &file, "rename", &planned.seen).await.unwrap();
    let Imported::Planned(again) = again else { panic!("nobody has seen that") };
    assert!(again.changed);
    let becomes: Vec<_> = again.lines.iter().map(|line| line.becomes.clone().unwrap()).collect();
    assert_eq!(becomes, ["weather-2", "demo-2"]);
    let skipped = plan(&t, &beta, &file, "skip").await.unwrap();
    assert_eq!(skipped.made(), 0);
    let nothing = import(&t.env, &beta.actor().await, &file, "skip", &skipped.seen).await.unwrap_err();
    assert_eq!(app(nothing).code, "nothing_to_import");
    // A deleted connector keeps its slug.
    connectors::delete(&t.env, &beta.guarded().await, of("weather").id).await.unwrap();
    assert_eq!(plan(&t, &beta, &file, "skip").await.unwrap().made(), 0);
    import(&t.env, &beta.actor().await, &file, "rename", &again.seen).await.unwrap();
    assert_eq!(connectors::list(&t.env, &beta.actor().await).await.unwrap().len(), 3);
});

/// A file with one connector in which something is another way.
fn file(change: impl FnOnce(&mut Value)) -> String {
    let mut file = json!({
        "format": "gatehouse.connectors",
        "version": 1,
        "organisation": "Acme",
        "connectors": [
            {"name": "Good", "slug": "good", "transport": "demo", "url": "", "tool_policy": "alert"},
            {"name": "Other", "slug": "other", "transport": "http", "url": "https://mcp.invalid/", "tool_policy": "block", "tools": []},
        ],
    });
    change(&mut file);
    file.to_string()
}

env_test!(ssr_01_a_file_with_anything_wrong_changes_nothing_and_says_where, |t| async move {
    let beta = t.org("beta").await;
    let second = |change: fn(&mut Value)| file(move |file| change(&mut file["connectors"][1]));
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "Choose the file"),
        ("PK\u{3}\u{4}".to_owned(), "Unpack it"),
        ("{".to_owned(), "no JSON"),
        ("{}".to_owned(), "no file of connectors"),
        (" ".repeat(10) + &"x".repeat(5 * 1024 * 1024), "larger than 4 MiB"),
        (file(|file| file["version"] = json!(2)), "of version 2"),
        (file(|file| file["version"] = json!("1")), "version has to be 1"),
        (file(|file| file["colour"] = json!(1)), "the field colour"),
        (file(|file| file["connectors"] = json!([])), "no connector"),
        (file(|file| file["connectors"][1]["slug"] = json!("good")), "connectors[1].slug is the same"),
        (second(|one| one["colour"] = json!("red")), "connectors[1] has the field colour"),
        (second(|one| one["enabled"] = json!("yes")), "connectors[1].enabled has to be true or false"),
        (second(|one| one["name"] = json!("")), "connectors[1].name: Enter a name"),
        (second(|one| one["slug"] = json!("a__b")), "connectors[1].slug: Use single hyphens"),
        (second(|one| one["url"] = json!("http://169.254.169.254/")), "connectors[1].url: "),
        (second(|one| one["url"] = json!("http://localhost/")), "connectors[1].url: "),
        (second(|one| one["url"] = json!("https://x.y/?key=1")), "connectors[1].url: Leave out"),
        (second(|one| one["transport"] = json!("pigeon")), "connectors[1].transport: "),
        (second(|one| one["transport"] = json!("stdio")), "connectors[1].url: The operator"),
        (second(|one| one["tool_policy"] = json!("maybe")), "connectors[1].tool_policy: "),
        (second(|one| one["first_byte_seconds"] = json!(-1)), "connectors[1].first_byte_seconds: "),
        (second(|one| one["headers"] = json!(["a b"])), "connectors[1].headers[0] has to be the name"),
        (second(|one| one["credentials"] = json!("magic")), "connectors[1].credentials has to be"),
        (
            second(|one| one["tools"] = json!([{"name": "x", "code": 1}])),
            "connectors[1].tools[0] has the field code",
        ),
        (second(|one| one["tools"] = json!([{"name": "x", "alias": "<b>"}])), "connectors[1].alias: "),
        (second(|one| one["tools"] = json!([{"name": "x", "timeout_seconds": 0}])), "timeout_seconds"),
    ];
    for (text, words) in cases {
        let short: String = text.chars().take(80).collect();
        let error = match plan(&t, &beta, &text, "rename").await {
            Err(error) => error,
            Ok(plan) => panic!("{short}: {plan:?}"),
        };
        assert_eq!(error.fields[0].field, "text", "{short}");
        assert!(error.fields[0].message.contains(words), "{short}: {}", error.fields[0].message);
    }
    let clash = import(&t.env, &beta.actor().await, &file(|_| {}), "guess", "").await.unwrap_err();
    assert_eq!(app(clash).fields[0].field, "clash");
    let good = plan(&t, &beta, &file(|_| {}), "rename").await.unwrap();
    // Somebody takes a slug between the plan and the making.
    connector(&t, &beta, "other", "x").await;
    let came = import(&t.env, &beta.actor().await, &file(|_| {}), "rename", &good.seen).await.unwrap();
    assert!(matches!(came, Imported::Planned(plan) if plan.changed));
    assert_eq!(connectors::list(&t.env, &beta.actor().await).await.unwrap().len(), 1);
    let dev = t.member(&beta, "viewer", Role::Viewer).await;
    assert!(OrgActor::<can::ConnectorsWrite>::require(&dev.ctx).await.is_err());
});
