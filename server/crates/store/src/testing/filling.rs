//! Rows in every table for an organisation that is to be deleted (DEL-03), made from the schema: what a migration adds is in
//! them without anybody thinking of it.

use std::collections::BTreeSet;

use model::{OrgId, UserId};

use super::{Column, ForeignKey};
use crate::{Db, Result};

/// What [`Db::fill`] left behind, each as `table.column`.
#[derive(Debug, Default)]
pub struct Filled {
    /// Columns that name the organisation.
    pub naming: BTreeSet<String>,
    /// Columns of text that hold the canary.
    pub texts: BTreeSet<String>,
}

/// People may be in several organisations, and there is one already who is in this one.
const PEOPLE: &[&str] = &["members", "users"];

/// The schema and what to put into it.
struct Filling<'a> {
    columns: &'a [Column],
    keys: &'a [ForeignKey],
    org: String,
    user: String,
    canary: &'a str,
}

impl Filling<'_> {
    fn keys_of(&self, table: &str) -> impl Iterator<Item = &ForeignKey> {
        self.keys.iter().filter(move |key| key.table == table)
    }

    fn key(&self, column: &Column) -> Option<&ForeignKey> {
        // Of several the one that leads to what names itself: a member is an organisation's and a person's.
        let mut keys = self.keys_of(&column.table).filter(|key| key.column == column.column);
        keys.find(|key| key.references != "members")
    }

    /// The tables with rows of organisations, each after those that it refers to.
    fn tables(&self) -> Vec<String> {
        let mut left: BTreeSet<&str> = self
            .keys
            .iter()
            .filter(|key| key.references == "orgs" && !PEOPLE.contains(&key.table.as_str()))
            .map(|key| key.table.as_str())
            .collect();
        let mut tables = Vec::new();
        while !left.is_empty() {
            let ready: Vec<_> = left
                .iter()
                .copied()
                .filter(|table| {
                    self.keys_of(table)
                        .all(|key| key.references == *table || !left.contains(key.references.as_str()))
                })
                .collect();
            assert!(!ready.is_empty(), "these tables refer to each other: {left:?}");
            left.retain(|table| !ready.contains(table));
            tables.extend(ready.into_iter().map(str::to_owned));
        }
        tables
    }

    /// What stands in a column, as an expression.
    fn value(&self, column: &Column, filled: &mut Filled) -> String {
        let place = format!("{}.{}", column.table, column.column);
        let is_text = column.kind.eq_ignore_ascii_case("text");
        match self.key(column).map(|key| key.references.as_str()) {
            Some("orgs") => {
                filled.naming.insert(place);
                format!("'{}'", self.org)
            }
            Some("users") => format!("'{}'", self.user),
            Some(table) => {
                let canary = self.canary;
                format!("(SELECT id FROM {table} WHERE id LIKE '{canary}%' ORDER BY id LIMIT 1)")
            }
            None if is_text => {
                let text = format!("'{} {place}'", self.canary);
                filled.texts.insert(place);
                text
            }
            None if ["blob", "bytea"].contains(&column.kind.to_ascii_lowercase().as_str()) => {
                format!("CAST('{} {place}' AS {})", self.canary, column.kind)
            }
            None if column.kind.eq_ignore_ascii_case("boolean") => format!("CAST('1' AS {})", column.kind),
            // Far from what is counted.
            None => format!("CAST('7000001' AS {})", column.kind),
        }
    }
}

impl Db {
    /// Puts a row of an organisation into every table that refers to one, a canary in each column of text that is free to
    /// hold one. Nothing in them means anything: whoever reads them is past helping. `user` is a member.
    ///
    /// # Panics
    /// When tables refer to each other in a circle.
    pub async fn fill(&self, org: OrgId, user: UserId, canary: &str) -> Result<Filled> {
        let (columns, keys) = (self.describe_columns().await?, self.describe_foreign_keys().await?);
        let mut filled = Filled::default();
        let filling =
            Filling { columns: &columns, keys: &keys, org: org.to_string(), user: user.to_string(), canary };
        for table in filling.tables() {
            let columns: Vec<_> = filling.columns.iter().filter(|column| column.table == table).collect();
            let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.column)).collect();
            let values: Vec<_> = columns.iter().map(|column| filling.value(column, &mut filled)).collect();
            self.tamper(&format!(
                "INSERT INTO {table} ({}) VALUES ({})",
                names.join(", "),
                values.join(", ")
            ))
            .await?;
        }
        self.tamper(&format!("UPDATE users SET last_org_id = '{org}' WHERE id = '{user}'")).await?;
        filled.naming.extend(["members.org_id", "users.last_org_id"].map(str::to_owned));
        Ok(filled)
    }

    /// Makes so many copies of the row that [`Db::fill`] put into a table with an `id`, and a `seq` if it counts.
    pub async fn multiply(&self, table: &str, canary: &str, copies: u32) -> Result<()> {
        let columns = self.describe_columns().await?;
        let names: Vec<_> =
            columns.iter().filter(|column| column.table == table).map(|column| &column.column).collect();
        let values: Vec<_> = names
            .iter()
            .map(|name| match name.as_str() {
                "id" => "r.id || '-' || n.i".to_owned(),
                "seq" => "r.seq + 1000000 + n.i".to_owned(),
                _ => format!("r.\"{name}\""),
            })
            .collect();
        let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        self.tamper(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {copies}) \
             INSERT INTO {table} ({}) SELECT {} FROM {table} r CROSS JOIN n WHERE r.id = '{canary} {table}.id'",
            names.join(", "),
            values.join(", ")
        ))
        .await
    }

    /// How many rows of an organisation a table has.
    pub async fn count_of(&self, table: &str, org: OrgId) -> Result<i64> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} WHERE org_id = $1"));
        let (mut tx, org) = (self.read().await?, org.to_string());
        let (count,): (i64,) = on!(&mut tx, |c| sqlx::query_as(sql).bind(org).fetch_one(c).await)?;
        Ok(count)
    }
}
