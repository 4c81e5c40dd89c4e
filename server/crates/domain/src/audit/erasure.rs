//! Names and addresses of people who deleted their account leave the log (DEL-04). What they did stays, under their id.
//!
//! The chain is made of digests: an event that is changed so keeps the digest of what it was, with a code over what it is
//! now, so that it cannot be used to change anything else.

use model::OrgId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Tx, audit::Row, audit_chain, users::User};

use super::chain::{ChainKey, chains, digest_of};
use crate::{Env, Error, Result, usage};

/// What stands in place of a name or an address.
pub const NOBODY: &str = "Deleted account";
/// Events that are changed in one transaction.
const AT_ONCE: i64 = 200;
/// How long after somebody's end something of theirs may still be written, milliseconds.
const LATE: i64 = 60 * 1000;

#[derive(Serialize, Deserialize)]
struct Person {
    name: String,
    email: String,
}

fn sealed_as(user: &str) -> String {
    format!("erasure {user}")
}

/// Has the name and the address of somebody leave the log.
pub(crate) async fn queue(env: &Env, tx: &mut Tx, user: &User) -> Result<()> {
    let id = user.id.to_string();
    let person = Person { name: user.name.clone(), email: user.email.clone() };
    let json = serde_json::to_vec(&person).map_err(|why| Error::Internal(format!("an erasure: {why}")))?;
    let sealed = env.sealer.seal_instance(&sealed_as(&id), &json, env.rng.as_ref());
    Ok(store::erasures::insert(tx, &id, &sealed, env.now()).await?)
}

/// Takes the names of everybody who waits for it out of every log, and out of what else their organisations keep. It can be
/// broken off and goes on where it was. Whoever has just gone is gone over again: their last requests are written a little
/// later.
pub async fn run(env: &Env) -> Result<()> {
    let waiting = {
        let mut tx = env.db.read().await?;
        store::erasures::list(&mut tx).await?
    };
    for (user, sealed, since) in waiting {
        let opened = env.sealer.open_instance(&sealed_as(&user), &sealed);
        let opened = opened.map_err(|why| Error::Internal(format!("an erasure cannot be opened: {why}")))?;
        let person: Person =
            serde_json::from_slice(&opened).map_err(|why| Error::Internal(format!("an erasure: {why}")))?;
        for chain in chains(env).await? {
            // Before the log, which says where they were.
            if let Some(org) = chain
                && has_been_in(env, chain, &user, &person).await?
            {
                forget_beside(env, org, &user, &person).await?;
            }
            let mut after = 0;
            while let Some(last) = step(env, chain, &user, &person, after).await? {
                after = last;
            }
        }
        if env.now() >= since + LATE {
            let mut tx = env.db.write().await?;
            store::erasures::delete(&mut tx, &user).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

async fn has_been_in(env: &Env, chain: audit_chain::Chain, user: &str, person: &Person) -> Result<bool> {
    let mut tx = env.db.read().await?;
    Ok(!audit_chain::list_about(&mut tx, chain, 0, user, &person.email, 1).await?.is_empty())
}

/// Takes somebody's name and address out of what an organisation keeps beside its log: who made what, also of those who had
/// left before their account went; events that were published; what they called themselves.
async fn forget_beside(env: &Env, org: OrgId, user: &str, person: &Person) -> Result<()> {
    let mut tx = env.db.write().await?;
    store::erasures::forget_name(&mut tx, org, &person.name, NOBODY).await?;
    for (event, payload) in store::erasures::list_published(&mut tx, org, user, &person.email).await? {
        let mut data: Value = serde_json::from_str(&payload).unwrap_or_default();
        forget(&mut data, person, payload.contains(user));
        store::erasures::set_published(&mut tx, org, &event, &data.to_string()).await?;
    }
    tx.commit().await?;
    let name = usage::as_logged(&person.name);
    let mut after = String::new();
    loop {
        // Found without keeping anybody from writing: the log may be long.
        let ids = {
            let mut tx = env.db.read().await?;
            store::erasures::list_requests(&mut tx, org, &after, user, NOBODY, AT_ONCE).await?
        };
        let Some(last) = ids.last().cloned() else { return Ok(()) };
        let mut tx = env.db.write().await?;
        for id in &ids {
            store::erasures::forget_in_request(&mut tx, org, id, &name, NOBODY).await?;
        }
        tx.commit().await?;
        after = last;
    }
}

/// Changes the next events of a chain; the last one's sequence number.
async fn step(
    env: &Env,
    chain: audit_chain::Chain,
    user: &str,
    person: &Person,
    after: i64,
) -> Result<Option<i64>> {
    let mut tx = env.db.write().await?;
    let rows = audit_chain::list_about(&mut tx, chain, after, user, &person.email, AT_ONCE).await?;
    let Some(last) = rows.last().map(|row| row.seq) else { return Ok(None) };
    let Some(key) = ChainKey::find(env, &mut tx).await? else { return Ok(None) };
    let erased: Vec<Row> = rows
        .into_iter()
        // Those of before there was a chain are taken in first.
        .filter(|row| row.mac.is_some())
        .map(|row| without(row, chain, &key, user, person))
        .collect();
    audit_chain::erase(&mut tx, chain, &erased).await?;
    tx.commit().await?;
    Ok(Some(last))
}

/// The event without the person's name, address and whereabouts.
fn without(mut row: Row, chain: audit_chain::Chain, key: &ChainKey, user: &str, person: &Person) -> Row {
    let before = digest_of(chain, &row, row.seq, &row.category);
    let digest = row.erased_digest.take().unwrap_or_else(|| before.to_vec());
    if row.actor_id == user {
        NOBODY.clone_into(&mut row.actor_name);
        let mut context: Value = serde_json::from_str(&row.context).unwrap_or_default();
        for field in ["ip", "user_agent"] {
            if let Some(value) = context.get_mut(field) {
                *value = Value::from("");
            }
        }
        row.context = context.to_string();
    }
    let mut detail: Value = serde_json::from_str(&row.detail).unwrap_or_default();
    let about = row.actor_id == user
        || detail["targets"].as_array().is_some_and(|list| list.iter().any(|target| target["id"] == user));
    forget(&mut detail, person, about);
    row.detail = detail.to_string();
    row.erased_tag = Some(key.erased(chain, &row, &digest));
    row.erased_digest = Some(digest);
    row
}

/// Takes the address out of every text, and the name where the event is about the person.
fn forget(value: &mut Value, person: &Person, about: bool) {
    match value {
        Value::String(text) => {
            if about && *text == person.name {
                NOBODY.clone_into(text);
            } else if let Some(less) = replaced(text, &person.email) {
                *text = less;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| forget(value, person, about)),
        Value::Object(map) => map.iter_mut().for_each(|(_, value)| forget(value, person, about)),
        _ => {}
    }
}

/// A text without an address, however that is spelt; `None` if it is not in it.
fn replaced(text: &str, email: &str) -> Option<String> {
    let (low, wanted) = (text.to_ascii_lowercase(), email.to_ascii_lowercase());
    if wanted.is_empty() || !low.contains(&wanted) {
        return None;
    }
    let mut less = String::new();
    let mut from = 0;
    for (at, found) in low.match_indices(&wanted) {
        less.push_str(&text[from..at]);
        less.push_str(NOBODY);
        from = at + found.len();
    }
    less.push_str(&text[from..]);
    Some(less)
}

/// Whether an event from which a name was erased is still as that left it.
pub(super) fn holds(key: &ChainKey, chain: audit_chain::Chain, row: &Row, digest: &[u8]) -> bool {
    use subtle::ConstantTimeEq as _;
    row.erased_tag.as_ref().is_some_and(|tag| bool::from(tag.ct_eq(&key.erased(chain, row, digest))))
}

/// The ids of everybody whose name is still to be erased, for tests.
#[cfg(feature = "testing")]
pub async fn waiting(env: &Env) -> Result<Vec<model::UserId>> {
    let mut tx = env.db.read().await?;
    let list = store::erasures::list(&mut tx).await?;
    Ok(list.into_iter().filter_map(|(user, ..)| user.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leaves_every_text() {
        let person = Person { name: "Ada".into(), email: "ada@example.com".into() };
        let mut value =
            serde_json::json!({"a": "ADA@example.com", "b": ["for ada@example.com!", "Ada"], "c": 1});
        forget(&mut value, &person, true);
        assert_eq!(value, serde_json::json!({"a": NOBODY, "b": [format!("for {NOBODY}!"), NOBODY], "c": 1}));
        assert_eq!(replaced("nothing", "ada@example.com"), None);
    }
}
