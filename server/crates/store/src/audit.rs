//! Audit events: appended, read, never changed. The chain that holds them together is in [`crate::audit_chain`].

use model::{AuditEventId, OrgId};

use crate::{Result, Tx, db::parsed};

/// A page of an organisation's events: `$1` the organisation, `$2` and `$3` the sequence numbers they lie between, `$4` and
/// `$5` the time, `$6` how many, `$7` a kind of actor, or nothing; from `$8` on what the columns have to be. One statement for
/// each combination of filters, bounded and ordered by all columns of one index: given equalities instead, `SQLite` takes the
/// index of the sequence and reads the whole log for what is rare in it.
macro_rules! events {
    ($order:literal $(, $column:literal = $value:literal)*) => {
        concat!(
            "SELECT id, seq, occurred_at, action, category, result, actor_kind, actor_id, actor_name, detail, context, mac, erased_digest, erased_tag, version, auth_method, key_id \
             FROM audit_events WHERE org_id = $1 AND (",
            $($column, ", ",)* "seq) > (", $($value, ", ",)* "$2) AND (",
            $($column, ", ",)* "seq) < (", $($value, ", ",)* "$3) \
             AND occurred_at >= $4 AND occurred_at < $5 AND (CAST($7 AS TEXT) = '' OR actor_kind = $7) ORDER BY ",
            $($column, " ", $order, ", ",)* "seq ", $order, " LIMIT $6"
        )
    };
}

statements! {
    INSERT = "INSERT INTO audit_events (id, org_id, seq, occurred_at, action, category, result, actor_kind, actor_id, actor_name, \
              detail, context, mac, version, auth_method, key_id) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    LIST_LATEST = "SELECT occurred_at, action, result, actor_name, detail FROM audit_events \
                   WHERE org_id = $1 ORDER BY seq DESC LIMIT $2";
    CATEGORIES_OF_OTHERS = "SELECT DISTINCT category FROM audit_events WHERE org_id = $1 AND seq > $2 AND actor_id <> $3";
    LIST_ACTIONS = "SELECT action, result FROM audit_events WHERE org_id = $1 ORDER BY seq";
    LIST_INSTANCE_ACTIONS = "SELECT action, result FROM audit_events WHERE org_id IS NULL ORDER BY seq, occurred_at, id";
    FIND = "SELECT id, seq, occurred_at, action, category, result, actor_kind, actor_id, actor_name, detail, context, mac, erased_digest, erased_tag, version, auth_method, key_id \
            FROM audit_events WHERE org_id = $1 AND id = $2";
    OLDER = events!("DESC");
    OLDER_OF_ACTOR = events!("DESC", "actor_id" = "$8");
    OLDER_OF_CATEGORY = events!("DESC", "category" = "$8");
    OLDER_OF_ACTION = events!("DESC", "action" = "$8");
    OLDER_OF_ACTOR_AND_CATEGORY = events!("DESC", "actor_id" = "$8", "category" = "$9");
    OLDER_OF_ACTOR_AND_ACTION = events!("DESC", "actor_id" = "$8", "action" = "$9");
    NEWER = events!("ASC");
    NEWER_OF_ACTOR = events!("ASC", "actor_id" = "$8");
    NEWER_OF_CATEGORY = events!("ASC", "category" = "$8");
    NEWER_OF_ACTION = events!("ASC", "action" = "$8");
    NEWER_OF_ACTOR_AND_CATEGORY = events!("ASC", "actor_id" = "$8", "category" = "$9");
    NEWER_OF_ACTOR_AND_ACTION = events!("ASC", "actor_id" = "$8", "action" = "$9");
    FIRST_SINCE = "SELECT seq FROM audit_events WHERE org_id = $1 AND occurred_at >= $2 ORDER BY occurred_at, seq LIMIT 1";
    LAST_BEFORE = "SELECT seq FROM audit_events WHERE org_id = $1 AND occurred_at < $2 ORDER BY occurred_at DESC, seq DESC LIMIT 1";
    OLDEST = "SELECT seq, occurred_at FROM audit_events WHERE org_id = $1 ORDER BY seq LIMIT 1";
    LAST_OF_ACTION = "SELECT occurred_at FROM audit_events WHERE org_id = $1 AND actor_id = $2 AND action = $3 \
                      ORDER BY seq DESC LIMIT 1";
}

/// A line to append.
#[derive(Clone, Debug)]
pub struct NewEvent<'a> {
    /// Its id.
    pub id: AuditEventId,
    /// Whose log; `None` for the instance's.
    pub org: Option<OrgId>,
    /// Its place in the log: the organisation's version after the change.
    pub seq: i64,
    /// Unix microseconds.
    pub occurred_at: i64,
    /// `api_key.created`.
    pub action: &'a str,
    /// The group that the action belongs to.
    pub category: &'a str,
    /// `ok` or `denied` or `failed`.
    pub result: &'a str,
    /// `user`, `operator` or `system`.
    pub actor_kind: &'a str,
    /// The actor's id; empty for operator and system.
    pub actor_id: &'a str,
    /// The actor's name at that time.
    pub actor_name: &'a str,
    /// JSON: targets, changes, metadata.
    pub detail: &'a str,
    /// JSON: address, user agent, request id, node.
    pub context: &'a str,
    /// In which version it is written: what its code in the chain is made of.
    pub version: i64,
    /// How the actor had shown who they are; empty for not at all.
    pub auth_method: &'a str,
    /// The public id of the credential: of a session, a client; may be empty.
    pub key_id: &'a str,
}

/// A line as recent activity shows it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Line {
    /// Unix microseconds.
    pub occurred_at: i64,
    /// `api_key.created`.
    pub action: String,
    /// `ok` or `denied` or `failed`.
    pub result: String,
    /// The actor's name at that time.
    pub actor_name: String,
    /// JSON: targets, changes, metadata.
    pub detail: String,
}

/// A whole row of the log, as it is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Row {
    /// Its id. Text, because whoever looks for forged rows must be able to read them.
    pub id: String,
    /// Its place in the log.
    pub seq: i64,
    /// Unix microseconds.
    pub occurred_at: i64,
    /// `api_key.created`.
    pub action: String,
    /// The group that the action belongs to.
    pub category: String,
    /// `ok` or `denied` or `failed`.
    pub result: String,
    /// `user`, `operator` or `system`.
    pub actor_kind: String,
    /// The actor's id; empty for operator and system.
    pub actor_id: String,
    /// The actor's name at that time.
    pub actor_name: String,
    /// JSON: targets, changes, metadata.
    pub detail: String,
    /// JSON: address, user agent, request id.
    pub context: String,
    /// Its code in the chain; `None` in rows of before there was one.
    pub mac: Option<Vec<u8>>,
    /// What it was before names in it were erased: the digest that the chain is made of.
    pub erased_digest: Option<Vec<u8>>,
    /// A code over what is left.
    pub erased_tag: Option<Vec<u8>>,
    /// In which version it is written: what its code in the chain is made of.
    pub version: i64,
    /// How the actor had shown who they are; empty for not at all, and in version 1.
    pub auth_method: String,
    /// The public id of the credential; may be empty.
    pub key_id: String,
}

impl Row {
    /// Its id, read.
    pub fn event_id(&self) -> Result<AuditEventId> {
        parsed(&self.id, "audit_events", "id", &self.id)
    }
}

/// Which actions are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Actions<'a> {
    /// Any.
    All,
    /// Those of this category.
    Of(&'a str),
    /// This one.
    One(&'a str),
}

/// Which events are wanted. Empty texts ask for nothing.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Only events after this sequence number.
    pub after: i64,
    /// Only events before this sequence number.
    pub before: i64,
    /// Not before this time, Unix microseconds.
    pub from: i64,
    /// Before this time, Unix microseconds.
    pub to: i64,
    /// Of this kind of actor.
    pub actor_kind: &'a str,
    /// Of this actor; `None` for any.
    pub actor: Option<&'a str>,
    /// Which actions.
    pub actions: Actions<'a>,
    /// At most so many.
    pub limit: i64,
    /// The oldest of them first, and so those next to `after`; otherwise the newest first.
    pub upwards: bool,
}

/// Appends an event with its code in the chain.
pub async fn insert(tx: &mut Tx, event: &NewEvent<'_>, mac: &[u8]) -> Result<()> {
    let id = event.id.to_string();
    let org = event.org.map(|org| org.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id)
        .bind(org)
        .bind(event.seq)
        .bind(event.occurred_at)
        .bind(event.action)
        .bind(event.category)
        .bind(event.result)
        .bind(event.actor_kind)
        .bind(event.actor_id)
        .bind(event.actor_name)
        .bind(event.detail)
        .bind(event.context)
        .bind(mac)
        .bind(event.version)
        .bind(event.auth_method)
        .bind(event.key_id)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The latest lines of an organisation, newest first.
pub async fn list_latest(tx: &mut Tx, org: OrgId, limit: i64) -> Result<Vec<Line>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(LIST_LATEST).bind(org).bind(limit).fetch_all(c).await)?)
}

/// The categories of what others than this actor did after a sequence number.
pub async fn categories_of_others(tx: &mut Tx, org: OrgId, after: i64, actor: &str) -> Result<Vec<String>> {
    let org = org.to_string();
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(CATEGORIES_OF_OTHERS)
        .bind(org)
        .bind(after)
        .bind(actor)
        .fetch_all(c)
        .await)?;
    Ok(rows.into_iter().map(|(category,)| category).collect())
}

/// Action and result of every event of an organisation in order, or of the instance.
pub async fn list_actions(tx: &mut Tx, org: Option<OrgId>) -> Result<Vec<(String, String)>> {
    Ok(match org.map(|org| org.to_string()) {
        Some(org) => on!(tx, |c| sqlx::query_as(LIST_ACTIONS).bind(org).fetch_all(c).await)?,
        None => on!(tx, |c| sqlx::query_as(LIST_INSTANCE_ACTIONS).fetch_all(c).await)?,
    })
}

/// The event with this id.
pub async fn find(tx: &mut Tx, org: OrgId, id: AuditEventId) -> Result<Option<Row>> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?)
}

/// The events that are wanted.
pub async fn list(tx: &mut Tx, org: OrgId, wanted: &Wanted<'_>) -> Result<Vec<Row>> {
    let org = org.to_string();
    let sql = match (wanted.upwards, wanted.actor, wanted.actions) {
        (false, None, Actions::All) => OLDER,
        (false, None, Actions::Of(_)) => OLDER_OF_CATEGORY,
        (false, None, Actions::One(_)) => OLDER_OF_ACTION,
        (false, Some(_), Actions::All) => OLDER_OF_ACTOR,
        (false, Some(_), Actions::Of(_)) => OLDER_OF_ACTOR_AND_CATEGORY,
        (false, Some(_), Actions::One(_)) => OLDER_OF_ACTOR_AND_ACTION,
        (true, None, Actions::All) => NEWER,
        (true, None, Actions::Of(_)) => NEWER_OF_CATEGORY,
        (true, None, Actions::One(_)) => NEWER_OF_ACTION,
        (true, Some(_), Actions::All) => NEWER_OF_ACTOR,
        (true, Some(_), Actions::Of(_)) => NEWER_OF_ACTOR_AND_CATEGORY,
        (true, Some(_), Actions::One(_)) => NEWER_OF_ACTOR_AND_ACTION,
    };
    let actions = match wanted.actions {
        Actions::All => None,
        Actions::Of(name) | Actions::One(name) => Some(name),
    };
    let rows = on!(tx, |c| {
        let mut query = sqlx::query_as(sql)
            .bind(org)
            .bind(wanted.after)
            .bind(wanted.before)
            .bind(wanted.from)
            .bind(wanted.to)
            .bind(wanted.limit)
            .bind(wanted.actor_kind);
        for more in [wanted.actor, actions].into_iter().flatten() {
            query = query.bind(more);
        }
        query.fetch_all(c).await
    })?;
    Ok(rows)
}

/// The sequence number of the first event, by time, at or after a time in Unix microseconds.
pub async fn first_since(tx: &mut Tx, org: OrgId, at: i64) -> Result<Option<i64>> {
    let org = org.to_string();
    let row: Option<(i64,)> =
        on!(tx, |c| sqlx::query_as(FIRST_SINCE).bind(org).bind(at).fetch_optional(c).await)?;
    Ok(row.map(|(seq,)| seq))
}

/// The sequence number of the last event, by time, before a time in Unix microseconds.
pub async fn last_before(tx: &mut Tx, org: OrgId, at: i64) -> Result<Option<i64>> {
    let org = org.to_string();
    let row: Option<(i64,)> =
        on!(tx, |c| sqlx::query_as(LAST_BEFORE).bind(org).bind(at).fetch_optional(c).await)?;
    Ok(row.map(|(seq,)| seq))
}

/// Sequence number and time, Unix microseconds, of the oldest event that is kept.
pub async fn oldest(tx: &mut Tx, org: OrgId) -> Result<Option<(i64, i64)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(OLDEST).bind(org).fetch_optional(c).await)?)
}

/// When somebody last did this, Unix microseconds.
pub async fn last_of_action(tx: &mut Tx, org: OrgId, actor: &str, action: &str) -> Result<Option<i64>> {
    let org = org.to_string();
    let row: Option<(i64,)> = on!(tx, |c| sqlx::query_as(LAST_OF_ACTION)
        .bind(org)
        .bind(actor)
        .bind(action)
        .fetch_optional(c)
        .await)?;
    Ok(row.map(|(at,)| at))
}
