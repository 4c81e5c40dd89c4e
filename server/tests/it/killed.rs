//! A server that is killed while it writes an export (DEL-05): whoever is started next writes it anew, whole.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
    time::Duration,
};

use domain::{
    Env, OrgActor,
    exports::{self, Asked, Download, Wanted},
};
use model::{ExportId, OrgId, exports::ExportState, permissions::can};
use sha2::{Digest as _, Sha256};
use store::{Kind, exports::Export, testing::TestDb, usage::DayRow};

use crate::process::{Place, start, until};

/// Rows of usage: enough for some dozens of pieces of the file.
const ROWS: i64 = 40_000;

fn actor(org: OrgId) -> OrgActor<can::ExportCreate> {
    OrgActor::operator(org)
}

/// Rows with texts that do not pack well.
async fn use_much(env: &Env, org: OrgId) {
    let today = env.now() / (24 * 60 * 60 * 1000);
    let mut tx = env.db.write().await.unwrap();
    for n in 0..ROWS {
        let row = DayRow {
            day: today - n % 90,
            connector_id: "mcp_x".to_owned(),
            tool: format!("{n}-{}{}", env.token(), env.token()),
            principal_kind: "api_key".to_owned(),
            principal_id: env.token(),
            calls: n,
            errors: 0,
            duration_us: 1,
            bytes_in: 2,
            bytes_out: 3,
        };
        store::usage::add_day(&mut tx, org, &row).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn ask(env: &Env, org: OrgId) -> Asked {
    let wanted = Wanted {
        parts: vec!["usage".to_owned(), "members".to_owned()],
        format: "csv".to_owned(),
        ..Wanted::default()
    };
    exports::ask(env, &actor(org), &wanted).await.unwrap()
}

async fn row(env: &Env, org: OrgId, id: ExportId) -> Export {
    let mut tx = env.db.read().await.unwrap();
    store::exports::find(&mut tx, org, id, env.now()).await.unwrap().expect("the export")
}

/// In how many places of the pieces the export is named: once for each.
async fn pieces(env: &Env, id: ExportId) -> i64 {
    let found = env.db.search(&id.to_string()).await.unwrap();
    let pieces = found.into_iter().filter(|(place, _)| place == "export_chunks.export_id");
    pieces.map(|(_, rows)| rows).sum()
}

async fn file(env: &Env, org: OrgId, id: ExportId) -> Vec<u8> {
    let mut download = Download::begin(env, &actor(org), id).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

async fn killed_in_the_middle(place: Place) {
    place.set_up();
    let env = place.environment().await;
    let org = domain::orgs::find_by_slug(&env, "acme").await.unwrap().id;
    use_much(&env, org).await;

    let mut running = start(&place);
    let Asked::Begun(id) = ask(&env, org).await else { panic!("there is no other") };
    assert_eq!(ask(&env, org).await, Asked::UnderWay(id), "asked for twice, it is made once");
    // Some of it is there, and nothing can be written as long as this transaction lasts: on SQLite nobody else writes, on
    // PostgreSQL nobody finishes it, because that writes an event of the organisation.
    loop {
        let mut held = env.db.write().await.unwrap();
        store::orgs::lock(&mut held, org).await.unwrap();
        let now = store::exports::find(&mut held, org, id, env.now()).await.unwrap().expect("the export");
        assert_ne!(now.state, ExportState::Ready, "it has to be slower than somebody who looks all the time");
        if now.state == ExportState::Running && now.chunks >= 2 {
            running.process.kill().unwrap();
            running.process.wait().unwrap();
            break;
        }
        drop(held);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(running);
    let left = row(&env, org, id).await;
    assert_eq!((left.state, left.tries), (ExportState::Running, 1));
    assert!(pieces(&env, id).await >= 2, "the killed one left pieces behind");

    // It is taken over when the lease of the killed one ends; whoever asks meanwhile gets this one.
    let running = start(&place);
    assert_eq!(ask(&env, org).await, Asked::UnderWay(id));
    let ready =
        until(Duration::from_mins(3), async || row(&env, org, id).await.state == ExportState::Ready).await;
    let now = row(&env, org, id).await;
    assert!(ready, "{now:?}");
    assert_eq!(now.tries, 2);
    assert_eq!(pieces(&env, id).await, now.chunks, "nothing of the first attempt is left");

    let bytes = file(&env, org, id).await;
    assert_eq!(i64::try_from(bytes.len()).unwrap(), now.size);
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    assert_eq!(now.sha256, data_encoding::HEXLOWER.encode(&digest));
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut files = BTreeMap::new();
    for name in ["manifest.json", "members.csv", "usage.csv"] {
        let mut text = String::new();
        zip.by_name(name).unwrap().read_to_string(&mut text).unwrap();
        files.insert(name, text);
    }
    assert_eq!(zip.len(), 3);
    let manifest: serde_json::Value = serde_json::from_str(&files["manifest.json"]).unwrap();
    let counted = |part: usize| manifest["parts"][part]["rows"].as_i64();
    assert_eq!((counted(0), counted(1)), (Some(1), Some(ROWS)));
    // Every row once: each has its number in its tool.
    let numbers: std::collections::BTreeSet<i64> = files["usage.csv"]
        .lines()
        .skip(1)
        .map(|line| {
            line.split(',').nth(3).and_then(|tool| tool.trim_matches('"').split('-').next()?.parse().ok())
        })
        .map(|number| number.expect("the number of a row"))
        .collect();
    assert_eq!(files["usage.csv"].lines().count(), 1 + usize::try_from(ROWS).unwrap());
    assert_eq!(numbers.len(), usize::try_from(ROWS).unwrap());
    // What is ready is not under way: now there is a second one.
    assert!(matches!(ask(&env, org).await, Asked::Begun(_)));
    drop(running);
    env.db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn del_05_a_server_killed_in_the_middle_of_an_export_leaves_one_that_becomes_whole_on_sqlite() {
    Box::pin(killed_in_the_middle(Place::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn del_05_a_server_killed_in_the_middle_of_an_export_leaves_one_that_becomes_whole_on_postgres() {
    let db = TestDb::new(Kind::Postgres).await;
    Box::pin(killed_in_the_middle(Place::on(&db))).await;
}
