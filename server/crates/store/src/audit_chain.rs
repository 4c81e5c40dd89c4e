//! What holds the audit log together: where each chain ends, checkpoints, and the removal of old rows as a whole.

use model::OrgId;

use crate::{Result, Tx, audit::Row};

macro_rules! rows {
    ($whose:literal, $more:literal) => {
        concat!(
            "SELECT id, seq, occurred_at, action, category, result, actor_kind, actor_id, actor_name, detail, context, mac, erased_digest, erased_tag, version, auth_method, key_id \
             FROM audit_events WHERE ",
            $whose,
            $more
        )
    };
}

statements! {
    HEAD = "SELECT seq, mac, tag FROM audit_heads WHERE chain = $1";
    PUT_HEAD = "INSERT INTO audit_heads (chain, org_id, seq, mac, tag) VALUES ($1, $2, $3, $4, $5) \
                ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, mac = excluded.mac, tag = excluded.tag";
    AFTER = rows!("org_id = $1", " AND seq > $2 ORDER BY seq LIMIT $3");
    AFTER_INSTANCE = rows!("org_id IS NULL", " AND seq > $1 ORDER BY seq LIMIT $2");
    UNCHAINED = rows!("org_id = $1", " AND mac IS NULL AND seq > $2 ORDER BY seq LIMIT $3");
    UNCHAINED_INSTANCE = rows!("org_id IS NULL", " AND mac IS NULL AND seq = 0 ORDER BY occurred_at, id LIMIT $1");
    COUNT_UNCHAINED_INSTANCE = "SELECT COUNT(*) FROM audit_events WHERE org_id IS NULL AND mac IS NULL";
    ADOPT = "UPDATE audit_events SET seq = $2, category = $3, mac = $4 WHERE id = $1 AND mac IS NULL";
    ABOUT = rows!("org_id = $1", " AND seq > $2 AND (actor_id = $3 OR detail LIKE $4 OR detail LIKE $5) ORDER BY seq LIMIT $6");
    ABOUT_INSTANCE = rows!("org_id IS NULL", " AND seq > $1 AND (actor_id = $2 OR detail LIKE $3 OR detail LIKE $4) ORDER BY seq LIMIT $5");
    ERASE = "UPDATE audit_events SET actor_name = $2, detail = $3, context = $4, erased_digest = $5, erased_tag = $6 WHERE id = $1";
    COUNT_TO = "SELECT COUNT(*) FROM audit_events WHERE org_id = $1 AND seq <= $2";
    LIST_CHECKPOINTS = "SELECT kind, seq, mac, at, tag, kid, signature FROM audit_checkpoints WHERE chain = $1 ORDER BY seq, kind";
    LAST_CHECKPOINT = "SELECT kind, seq, mac, at, tag, kid, signature FROM audit_checkpoints WHERE chain = $1 \
                       ORDER BY seq DESC, at DESC LIMIT 1";
    PUT_CHECKPOINT = "INSERT INTO audit_checkpoints (chain, org_id, kind, seq, mac, at, tag, kid, signature) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (chain, seq, kind) DO NOTHING";
    FORGET_CHECKPOINTS = "DELETE FROM audit_checkpoints WHERE chain = $1 AND seq < $2";
    CLEAR = "INSERT INTO audit_clearances (chain) VALUES ($1) ON CONFLICT (chain) DO NOTHING";
    END_CLEARANCE = "DELETE FROM audit_clearances WHERE chain = $1";
    DELETE_TO = "DELETE FROM audit_events WHERE org_id = $1 AND seq <= $2";
    FIRST_KEPT = "SELECT MIN(seq) FROM audit_events WHERE org_id = $1 AND occurred_at >= $2";
    LIST_DAYS = "SELECT id, plan, audit_days FROM orgs WHERE deleted_at IS NULL ORDER BY id";
    DAYS = "SELECT audit_days FROM orgs WHERE id = $1";
    SET_DAYS = "UPDATE orgs SET audit_days = $2 WHERE id = $1";
}

/// A chain: an organisation's, or the instance's.
pub type Chain = Option<OrgId>;

/// The name of a chain in the database: the organisation's id, or `instance`.
pub fn name(chain: Chain) -> String {
    chain.map_or_else(|| "instance".to_owned(), |org| org.to_string())
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Head {
    /// The last sequence number.
    pub seq: i64,
    /// The code of the last event.
    pub mac: Vec<u8>,
    /// A code over this head.
    pub tag: Vec<u8>,
}

/// What a chain was at some time.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Checkpoint {
    /// `adopted`, `hourly` or `retention`.
    pub kind: String,
    /// The last sequence number then.
    pub seq: i64,
    /// The code of that event.
    pub mac: Vec<u8>,
    /// When it was made, Unix milliseconds.
    pub at: i64,
    /// A code over this checkpoint.
    pub tag: Vec<u8>,
    /// The id of the signing key; empty when it is not signed.
    pub kid: String,
    /// The signature, base64url.
    pub signature: String,
}

/// Where the chain ends. The caller holds what makes writers of this chain wait for each other.
pub async fn head(tx: &mut Tx, chain: Chain) -> Result<Option<Head>> {
    let chain = name(chain);
    Ok(on!(tx, |c| sqlx::query_as(HEAD).bind(chain).fetch_optional(c).await)?)
}

/// Writes where the chain ends.
pub async fn put_head(tx: &mut Tx, chain: Chain, head: &Head) -> Result<()> {
    let (key, org) = (name(chain), chain.map(|org| org.to_string()));
    on!(tx, |c| sqlx::query(PUT_HEAD)
        .bind(key)
        .bind(org)
        .bind(head.seq)
        .bind(&head.mac)
        .bind(&head.tag)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The rows after a sequence number, the oldest first.
pub async fn list_after(tx: &mut Tx, chain: Chain, seq: i64, limit: i64) -> Result<Vec<Row>> {
    Ok(match chain.map(|org| org.to_string()) {
        Some(org) => on!(tx, |c| sqlx::query_as(AFTER).bind(org).bind(seq).bind(limit).fetch_all(c).await)?,
        None => on!(tx, |c| sqlx::query_as(AFTER_INSTANCE).bind(seq).bind(limit).fetch_all(c).await)?,
    })
}

/// Rows of before there was a chain, the oldest first: of an organisation those after a sequence number, of the instance
/// those that have none.
pub async fn list_unchained(tx: &mut Tx, chain: Chain, after: i64, limit: i64) -> Result<Vec<Row>> {
    Ok(match chain.map(|org| org.to_string()) {
        Some(org) => {
            on!(tx, |c| sqlx::query_as(UNCHAINED).bind(org).bind(after).bind(limit).fetch_all(c).await)?
        }
        None => on!(tx, |c| sqlx::query_as(UNCHAINED_INSTANCE).bind(limit).fetch_all(c).await)?,
    })
}

/// How many rows of the instance are not in its chain: those of before there was one have no place in its order.
pub async fn count_unchained_instance(tx: &mut Tx) -> Result<i64> {
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_UNCHAINED_INSTANCE).fetch_one(c).await)?;
    Ok(count)
}

/// Takes a row of before there was a chain into it.
pub async fn adopt(tx: &mut Tx, id: &str, seq: i64, category: &str, mac: &[u8]) -> Result<()> {
    on!(tx, |c| sqlx::query(ADOPT).bind(id).bind(seq).bind(category).bind(mac).execute(c).await.map(drop))?;
    Ok(())
}

/// The checkpoints of a chain in its order.
pub async fn list_checkpoints(tx: &mut Tx, chain: Chain) -> Result<Vec<Checkpoint>> {
    let chain = name(chain);
    Ok(on!(tx, |c| sqlx::query_as(LIST_CHECKPOINTS).bind(chain).fetch_all(c).await)?)
}

/// The last checkpoint of a chain.
pub async fn last_checkpoint(tx: &mut Tx, chain: Chain) -> Result<Option<Checkpoint>> {
    let chain = name(chain);
    Ok(on!(tx, |c| sqlx::query_as(LAST_CHECKPOINT).bind(chain).fetch_optional(c).await)?)
}

/// Writes a checkpoint, unless there is one of this kind at this place.
pub async fn put_checkpoint(tx: &mut Tx, chain: Chain, checkpoint: &Checkpoint) -> Result<()> {
    let (key, org) = (name(chain), chain.map(|org| org.to_string()));
    on!(tx, |c| sqlx::query(PUT_CHECKPOINT)
        .bind(key)
        .bind(org)
        .bind(&checkpoint.kind)
        .bind(checkpoint.seq)
        .bind(&checkpoint.mac)
        .bind(checkpoint.at)
        .bind(&checkpoint.tag)
        .bind(&checkpoint.kid)
        .bind(&checkpoint.signature)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Lets the open transaction remove or change rows of a chain, until [`end_clearance`].
pub(crate) async fn clear(tx: &mut Tx, chain: Chain) -> Result<()> {
    let chain = name(chain);
    on!(tx, |c| sqlx::query(CLEAR).bind(chain).execute(c).await.map(drop))?;
    Ok(())
}

/// Takes that back.
pub(crate) async fn end_clearance(tx: &mut Tx, chain: Chain) -> Result<()> {
    let chain = name(chain);
    on!(tx, |c| sqlx::query(END_CLEARANCE).bind(chain).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes the rows of an organisation up to a sequence number, and the checkpoints before it; how many rows that were.
pub async fn delete_to(tx: &mut Tx, org: OrgId, seq: i64) -> Result<u64> {
    let chain = org.to_string();
    clear(tx, Some(org)).await?;
    let rows = on!(tx, |c| sqlx::query(DELETE_TO)
        .bind(&chain)
        .bind(seq)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    on!(tx, |c| sqlx::query(FORGET_CHECKPOINTS).bind(&chain).bind(seq).execute(c).await.map(drop))?;
    end_clearance(tx, Some(org)).await?;
    Ok(rows)
}

/// Events after a sequence number that somebody did, or in which their id or address stands.
pub async fn list_about(
    tx: &mut Tx,
    chain: Chain,
    after: i64,
    user: &str,
    email: &str,
    limit: i64,
) -> Result<Vec<Row>> {
    let like = |text: &str| format!("%{}%", text.replace(['%', '_'], "_"));
    let (id, email) = (like(user), like(email));
    Ok(match chain {
        Some(org) => on!(tx, |c| sqlx::query_as(ABOUT)
            .bind(org.to_string())
            .bind(after)
            .bind(user)
            .bind(id)
            .bind(email)
            .bind(limit)
            .fetch_all(c)
            .await)?,
        None => on!(tx, |c| sqlx::query_as(ABOUT_INSTANCE)
            .bind(after)
            .bind(user)
            .bind(id)
            .bind(email)
            .bind(limit)
            .fetch_all(c)
            .await)?,
    })
}

/// Puts rows without names in place of those with, each with the digest of what it was and a code over what it is.
pub async fn erase(tx: &mut Tx, chain: Chain, rows: &[Row]) -> Result<()> {
    clear(tx, chain).await?;
    for row in rows {
        on!(tx, |c| sqlx::query(ERASE)
            .bind(&row.id)
            .bind(&row.actor_name)
            .bind(&row.detail)
            .bind(&row.context)
            .bind(&row.erased_digest)
            .bind(&row.erased_tag)
            .execute(c)
            .await
            .map(drop))?;
    }
    end_clearance(tx, chain).await
}

/// How many rows an organisation has up to a sequence number.
pub async fn count_to(tx: &mut Tx, org: OrgId, seq: i64) -> Result<i64> {
    let org = org.to_string();
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_TO).bind(org).bind(seq).fetch_one(c).await)?;
    Ok(count)
}

/// The smallest sequence number among the events at or after a time in Unix microseconds.
pub async fn first_kept(tx: &mut Tx, org: OrgId, at: i64) -> Result<Option<i64>> {
    let org = org.to_string();
    let (seq,): (Option<i64>,) =
        on!(tx, |c| sqlx::query_as(FIRST_KEPT).bind(org).bind(at).fetch_one(c).await)?;
    Ok(seq)
}

/// Every organisation with the name of its plan and for how many days the operator wants its events kept.
pub async fn list_days(tx: &mut Tx) -> Result<Vec<(OrgId, String, Option<i64>)>> {
    let rows: Vec<(String, String, Option<i64>)> = on!(tx, |c| sqlx::query_as(LIST_DAYS).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(id, plan, days)| Ok((crate::db::parsed(&id, "orgs", "id", &id)?, plan, days)))
        .collect()
}

/// For how many days the operator wants the organisation's events kept; `None` is what the plan says.
pub async fn days(tx: &mut Tx, org: OrgId) -> Result<Option<i64>> {
    let org = org.to_string();
    let row: Option<(Option<i64>,)> = on!(tx, |c| sqlx::query_as(DAYS).bind(org).fetch_optional(c).await)?;
    Ok(row.and_then(|(days,)| days))
}

/// Sets for how many days the organisation's events are kept.
pub async fn set_days(tx: &mut Tx, org: OrgId, days: Option<i64>) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(SET_DAYS).bind(org).bind(days).execute(c).await.map(drop))?;
    Ok(())
}
