//! The two databases agree, and every statement fits both.

use std::collections::{BTreeMap, BTreeSet};

use store::{Kind, testing::TestDb};

fn migrations(folder: &str) -> BTreeSet<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../migrations").join(folder);
    std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn migrations_pair() {
    assert_eq!(migrations("sqlite"), migrations("postgres"));
    for name in migrations("sqlite") {
        assert!(
            name[..4].bytes().all(|b| b.is_ascii_digit()) && &name[4..5] == "_",
            "{name} is not NNNN_name.sql"
        );
    }
}

#[tokio::test]
async fn statements_prepare() {
    let mut names = BTreeSet::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let test = TestDb::new(kind).await;
        for statement in store::STATEMENTS.iter().copied().flatten() {
            names.insert(statement.name);
            if statement.only.is_none_or(|only| only == kind) {
                let prepared = test.db.prepare(statement.sql).await;
                assert!(prepared.is_ok(), "{} on {kind:?}: {prepared:?}", statement.name);
            }
        }
    }
    assert!(names.len() > 60, "the list of statements lost its members");
}

/// What is rare among a million events is found without reading them all (AUD-06).
#[tokio::test]
async fn aud_06_each_filter_of_the_audit_log_takes_an_index_to_its_end() {
    let test = TestDb::new(Kind::Sqlite).await;
    let mut seen = 0;
    for statement in store::STATEMENTS.iter().copied().flatten() {
        let name = statement.name.rsplit("::").next().unwrap();
        let Some(filter) = name.strip_prefix("OLDER").or_else(|| name.strip_prefix("NEWER")) else {
            continue;
        };
        if !statement.name.contains("::audit::") {
            continue;
        }
        let (index, columns) = match filter {
            "" => ("seq", ""),
            "_OF_ACTOR" => ("actor", "actor_id,"),
            "_OF_CATEGORY" => ("category", "category,"),
            "_OF_ACTION" => ("action", "action,"),
            "_OF_ACTOR_AND_CATEGORY" => ("actor_category", "actor_id,category,"),
            "_OF_ACTOR_AND_ACTION" => ("actor_action", "actor_id,action,"),
            other => panic!("a filter that this test does not know: {other}"),
        };
        let plan = test.db.explain(statement.sql).await.unwrap();
        let [line] = &*plan else { panic!("{name} is more than one search: {plan:?}") };
        let (found, bounds) = line.split_once(" (org_id=? AND ").unwrap_or((line, ""));
        assert!(found.ends_with(&format!(" INDEX audit_events_{index}")), "{name}: {line}");
        assert_eq!(
            bounds.matches(&format!("{columns}seq")).count(),
            2,
            "{name} is bounded on both sides: {line}"
        );
        seen += 1;
    }
    assert_eq!(seen, 12);
}

type Columns = BTreeMap<(String, String), (String, bool)>;

fn normal(kind: &str) -> &str {
    match kind.to_ascii_uppercase().as_str() {
        "BLOB" | "BYTEA" => "bytes",
        "BIGINT" => "bigint",
        "INTEGER" => "integer",
        "BOOLEAN" => "boolean",
        "TEXT" => "text",
        other => panic!("a column type that the schema does not use so far: {other}"),
    }
}

#[tokio::test]
async fn schema_parity() {
    let mut seen: Vec<Columns> = Vec::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let test = TestDb::new(kind).await;
        let columns = test.db.describe_columns().await.unwrap();
        seen.push(
            columns
                .into_iter()
                .map(|c| ((c.table, c.column), (normal(&c.kind).to_owned(), c.nullable)))
                .collect(),
        );
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].len() > 80);
}

/// Tenancy policy (TEN-03): every `org_id` cascades from `orgs`, so an organisation's rows cannot outlive it.
#[tokio::test]
async fn ten_03_every_org_id_has_a_cascading_foreign_key() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let test = TestDb::new(kind).await;
        let db = &test.db;
        let columns = db.describe_columns().await.unwrap();
        let keys = db.describe_foreign_keys().await.unwrap();
        let tenants: Vec<_> = columns.iter().filter(|c| c.column == "org_id").collect();
        assert!(tenants.len() >= 9);
        for column in tenants {
            assert!(
                keys.iter().any(|key| key.table == column.table
                    && key.column == "org_id"
                    && key.references == "orgs"
                    && key.on_delete.eq_ignore_ascii_case("cascade")),
                "{}.org_id on {kind:?}",
                column.table
            );
        }
    }
}

/// What of an organisation still acts after the first step of its deletion would act for nobody (DEL-01): each table with rows
/// of organisations goes then, or with one that does, or is said to be only kept.
#[tokio::test]
async fn del_01_every_table_of_organisations_goes_at_once_or_is_only_kept() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let test = TestDb::new(kind).await;
        let db = &test.db;
        let columns = db.describe_columns().await.unwrap();
        let keys = db.describe_foreign_keys().await.unwrap();
        let mut gone: BTreeSet<String> = store::org_ends::tables_at_once().map(str::to_owned).collect();
        for table in &gone {
            assert!(columns.iter().any(|column| column.table == *table), "{table} is no table");
        }
        // What belongs to a row that goes, goes with it.
        loop {
            let known = gone.len();
            gone.extend(
                keys.iter()
                    .filter(|key| key.on_delete.eq_ignore_ascii_case("cascade"))
                    .filter(|key| gone.contains(&key.references))
                    .filter(|key| {
                        columns.iter().any(|c| c.table == key.table && c.column == key.column && !c.nullable)
                    })
                    .map(|key| key.table.clone())
                    .collect::<Vec<_>>(),
            );
            if gone.len() == known {
                break;
            }
        }
        let tenants: BTreeSet<&str> =
            columns.iter().filter(|c| c.column == "org_id").map(|c| c.table.as_str()).collect();
        let kept: BTreeSet<&str> = store::org_ends::ONLY_KEPT.iter().copied().collect();
        let unsaid: Vec<_> =
            tenants.iter().filter(|table| !gone.contains(**table) && !kept.contains(**table)).collect();
        assert!(unsaid.is_empty(), "neither goes at once nor is said to be only kept: {unsaid:?}");
        let wrong: Vec<_> =
            kept.iter().filter(|table| gone.contains(**table) || !tenants.contains(**table)).collect();
        assert!(wrong.is_empty(), "is said to be only kept, and is not: {wrong:?}");
    }
}
