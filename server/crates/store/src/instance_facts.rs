//! Single facts about the instance.

use crate::{Result, Tx};

statements! {
    FIND = "SELECT value FROM instance_facts WHERE name = $1";
    INSERT_ONCE = "INSERT INTO instance_facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    LIST = "SELECT name, value FROM instance_facts WHERE name >= $1 AND name < $2 ORDER BY name";
    PUT = "INSERT INTO instance_facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    DELETE = "DELETE FROM instance_facts WHERE name = $1 AND value = $2";
    LOCK = "INSERT INTO instance_facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET name = excluded.name";
}

/// The fact of this name.
pub async fn find(tx: &mut Tx, name: &str) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>,)> = on!(tx, |c| sqlx::query_as(FIND).bind(name).fetch_optional(c).await)?;
    Ok(row.map(|(value,)| value))
}

/// Writes a fact unless it is there; the one that counts is then [`find`]'s answer.
pub async fn insert_once(tx: &mut Tx, name: &str, value: &[u8]) -> Result<()> {
    on!(tx, |c| sqlx::query(INSERT_ONCE).bind(name).bind(value).execute(c).await.map(drop))?;
    Ok(())
}

/// The facts whose names begin so, by name.
pub async fn list(tx: &mut Tx, beginning: &str) -> Result<Vec<(String, Vec<u8>)>> {
    // Behind everything that begins so and is ASCII.
    let end = format!("{beginning}\u{7f}");
    let rows: Vec<(String, Vec<u8>)> =
        on!(tx, |c| sqlx::query_as(LIST).bind(beginning).bind(end).fetch_all(c).await)?;
    Ok(rows)
}

/// Writes a fact, in place of what was there.
pub async fn put(tx: &mut Tx, name: &str, value: &[u8]) -> Result<()> {
    on!(tx, |c| sqlx::query(PUT).bind(name).bind(value).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes a fact, if it still is this one.
pub async fn delete(tx: &mut Tx, name: &str, value: &[u8]) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(name).bind(value).execute(c).await.map(drop))?;
    Ok(())
}

/// Makes other transactions that ask for the same name wait until this one ends. What they wait for is read afterwards.
pub async fn lock(tx: &mut Tx, name: &str) -> Result<()> {
    let nothing: &[u8] = &[];
    on!(tx, |c| sqlx::query(LOCK).bind(name).bind(nothing).execute(c).await.map(drop))?;
    Ok(())
}
