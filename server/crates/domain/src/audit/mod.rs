//! The audit log: reading and exporting it, how long it is kept, and the chain that shows that nobody changed it.
//!
//! Events are written by [`crate::change`], in the transaction of the change.

mod chain;
pub mod erasure;
mod export;
pub mod stream;

pub use chain::{Broken, Report, adopt_all, signed_text, take_checkpoints, verify, verify_all};
pub(crate) use chain::{VERSION, append};
pub use export::{Export, Format};
pub(crate) use export::{HEADS, Reader, cell, csv, object, time};

use model::{
    AppError, AuditEventId, ErrorKind, OrgId, Plan,
    audit::{AuditChange, AuditEvent, AuditList, AuditQuery, AuditTarget, CATEGORIES, days_of, readable},
    permissions::{Grant, can},
};
use serde_json::Value;
use store::{
    Tx,
    audit::{Actions, Row, Wanted},
    audit_chain,
};

use crate::{Env, Error, OrgActor, Result, authz::Principal, change::Event};

/// Events on a page.
pub const PAGE: usize = 50;
/// One more than fits on a page tells whether there is a further one.
const LIMIT: i64 = 51;
/// By how much the clocks of two nodes may differ, microseconds: events are in the order in which they were written, so
/// a range of time may begin and end a little elsewhere.
const SKEW: i64 = 5 * 60 * 1_000_000;
/// Looking at the log is itself an event, at most this often for each person, microseconds.
const READ_EVERY: i64 = 60 * 60 * 1_000_000;
/// Events that are removed in one transaction.
const CUT: i64 = 2000;
const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// A query, understood.
#[derive(Clone, Debug)]
struct Filter {
    from: i64,
    to: i64,
    actor: Option<String>,
    actor_kind: &'static str,
    category: &'static str,
    action: String,
}

impl Filter {
    fn of(query: &AuditQuery) -> core::result::Result<Self, AppError> {
        let (from, to) = query.range().map_err(|why| AppError::field("from", "date", why))?;
        let (actor, actor_kind) = match query.user.as_str() {
            "" => (None, ""),
            "operator" => (Some(String::new()), "operator"),
            "system" => (Some(String::new()), "system"),
            id => (Some(id.to_owned()), ""),
        };
        // An action is looked for by itself: events of an older version may have it in another group.
        let named = CATEGORIES.iter().find(|(name, _)| *name == query.action);
        let (category, action) =
            named.map_or_else(|| ("", query.action.clone()), |(name, _)| (*name, String::new()));
        Ok(Self {
            from: from.map_or(i64::MIN, |at| at.saturating_mul(1000)),
            to: to.map_or(i64::MAX, |at| at.saturating_mul(1000)),
            actor,
            actor_kind,
            category,
            action,
        })
    }

    /// The sequence numbers between which the asked time lies, not included; `None` when nothing can.
    async fn bounds(&self, tx: &mut Tx, org: OrgId) -> Result<Option<(i64, i64)>> {
        let mut bounds = (0, i64::MAX);
        if self.from > i64::MIN {
            match store::audit::first_since(tx, org, self.from.saturating_sub(SKEW)).await? {
                Some(seq) => bounds.0 = seq - 1,
                None => return Ok(None),
            }
        }
        if self.to < i64::MAX {
            match store::audit::last_before(tx, org, self.to.saturating_add(SKEW)).await? {
                Some(seq) => bounds.1 = seq + 1,
                None => return Ok(None),
            }
        }
        Ok(Some(bounds))
    }

    async fn rows(
        &self,
        tx: &mut Tx,
        org: OrgId,
        (after, before): (i64, i64),
        limit: i64,
        upwards: bool,
    ) -> Result<Vec<Row>> {
        let wanted = Wanted {
            after,
            before,
            from: self.from,
            to: self.to,
            actor_kind: self.actor_kind,
            actor: self.actor.as_deref(),
            actions: match (self.category, &*self.action) {
                ("", "") => Actions::All,
                ("", action) => Actions::One(action),
                (category, _) => Actions::Of(category),
            },
            limit,
            upwards,
        };
        Ok(store::audit::list(tx, org, &wanted).await?)
    }
}

fn not_in_plan(plan: Plan) -> Error {
    AppError::new(
        ErrorKind::Forbidden,
        "plan",
        format!("The plan {plan} does not include the audit log; Pro, Team and Enterprise do. Nothing was changed."),
    )
    .into()
}

async fn plan(tx: &mut Tx, org: OrgId) -> Result<Plan> {
    Ok(store::orgs::find(tx, org).await?.ok_or_else(|| Error::not_found("organisation"))?.plan)
}

/// Refuses where the plan has no log.
pub(crate) async fn check_plan(tx: &mut Tx, org: OrgId) -> Result<()> {
    let plan = plan(tx, org).await?;
    if readable(plan) { Ok(()) } else { Err(not_in_plan(plan)) }
}

/// A page of the log, the newest first. Where the plan has no log, the page is empty and says so.
pub async fn list(env: &Env, actor: &OrgActor<can::AuditRead>, query: AuditQuery) -> Result<AuditList> {
    let org = actor.org();
    let mut tx = env.db.read().await?;
    let plan = plan(&mut tx, org).await?;
    let mut list = AuditList {
        plan,
        days: audit_chain::days(&mut tx, org).await?.or(days_of(plan)),
        query,
        problem: None,
        events: Vec::new(),
        older: None,
        newer: None,
        people: Vec::new(),
        now: env.now(),
    };
    if !readable(plan) {
        return Ok(list);
    }
    list.people = store::members::list(&mut tx, org)
        .await?
        .into_iter()
        .map(|member| (member.user.to_string(), format!("{} ({})", member.name, member.email)))
        .collect();
    match Filter::of(&list.query) {
        Ok(filter) => fill(&mut tx, org, &filter, &mut list).await?,
        Err(error) => {
            list.problem = Some(error.fields.first().map_or(error.message.clone(), |f| f.message.clone()));
        }
    }
    drop(tx);
    note_reading(env, actor).await?;
    Ok(list)
}

async fn fill(tx: &mut Tx, org: OrgId, filter: &Filter, list: &mut AuditList) -> Result<()> {
    let Some((low, high)) = filter.bounds(tx, org).await? else { return Ok(()) };
    let (mut rows, more_older, more_newer);
    if let Some(after) = list.query.after {
        rows = filter.rows(tx, org, (low.max(after), high), LIMIT, true).await?;
        more_newer = rows.len() > PAGE;
        more_older = true;
        rows.truncate(PAGE);
        rows.reverse();
    } else {
        let before = list.query.before.unwrap_or(i64::MAX);
        rows = filter.rows(tx, org, (low, high.min(before)), LIMIT, false).await?;
        more_older = rows.len() > PAGE;
        more_newer = list.query.before.is_some();
        rows.truncate(PAGE);
    }
    list.older = rows.last().filter(|_| more_older).map(|row| row.seq);
    list.newer = rows.first().filter(|_| more_newer).map(|row| row.seq);
    list.events = rows.iter().map(event).collect::<Result<_>>()?;
    Ok(())
}

/// Notes that somebody looks at the log (AUD-02), once an hour.
async fn note_reading(env: &Env, actor: &OrgActor<can::AuditRead>) -> Result<()> {
    const ACTION: &str = "audit.read";
    if !matches!(actor.principal(), Principal::User { .. }) {
        return Ok(());
    }
    let who = actor.principal().id();
    let latest = {
        let mut tx = env.db.read().await?;
        store::audit::last_of_action(&mut tx, actor.org(), &who, ACTION).await?
    };
    if latest.is_some_and(|at| env.clock.now_micros() - at < READ_EVERY) {
        return Ok(());
    }
    env.change(actor).await?.commit(Event::new(ACTION)).await
}

/// One event.
pub async fn get(env: &Env, actor: &OrgActor<can::AuditRead>, id: AuditEventId) -> Result<AuditEvent> {
    let mut tx = env.db.read().await?;
    let plan = plan(&mut tx, actor.org()).await?;
    if !readable(plan) {
        return Err(not_in_plan(plan));
    }
    let row = store::audit::find(&mut tx, actor.org(), id).await?;
    event(&row.ok_or_else(|| Error::not_found("event"))?)
}

/// A value of JSON as a person reads it.
fn told(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn event(row: &Row) -> Result<AuditEvent> {
    let detail: Value = serde_json::from_str(&row.detail).unwrap_or_default();
    let context: Value = serde_json::from_str(&row.context).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let targets = detail["targets"].as_array().into_iter().flatten();
    let changes = detail["changes"].as_object().into_iter().flatten();
    let more = detail["metadata"].as_object().into_iter().flatten();
    Ok(AuditEvent {
        id: row.event_id()?,
        seq: row.seq,
        at_micros: row.occurred_at,
        version: row.version,
        action: row.action.clone(),
        category: row.category.clone(),
        result: row.result.clone(),
        actor_kind: row.actor_kind.clone(),
        actor_id: row.actor_id.clone(),
        actor: row.actor_name.clone(),
        auth_method: row.auth_method.clone(),
        key_id: row.key_id.clone(),
        targets: targets
            .map(|target| AuditTarget {
                kind: text(&target["type"]),
                id: text(&target["id"]),
                name: text(&target["name"]),
            })
            .collect(),
        changes: changes
            .map(|(field, values)| AuditChange {
                field: field.clone(),
                old: told(&values[0]),
                new: told(&values[1]),
            })
            .collect(),
        more: more.map(|(name, value)| (name.clone(), told(value))).collect(),
        address: text(&context["ip"]),
        user_agent: text(&context["user_agent"]),
        request_id: text(&context["request_id"]),
        node: text(&context["node"]),
    })
}

/// Sets for how many days an organisation's events are kept; `None` is as its plan says.
pub async fn set_days(env: &Env, actor: &OrgActor<impl Grant>, days: Option<i64>) -> Result<()> {
    if days.is_some_and(|days| !(1..=36_500).contains(&days)) {
        return Err(AppError::field("audit_days", "range", "Keep events for 1 to 36500 days").into());
    }
    let mut change = env.change(actor).await?;
    let old = audit_chain::days(change.tx(), actor.org()).await?;
    if old == days {
        return Ok(());
    }
    audit_chain::set_days(change.tx(), actor.org(), days).await?;
    let words =
        |days: Option<i64>| days.map_or_else(|| "as the plan says".to_owned(), |days| days.to_string());
    change.commit(Event::new("settings.updated").changed("audit_days", words(old), words(days))).await
}

/// Removes events that are older than their organisation keeps them; how many. What is left still verifies (AUD-05). Two
/// nodes at once wait for each other, and the second finds nothing to do.
pub async fn retain(env: &Env) -> Result<u64> {
    let orgs = {
        let mut tx = env.db.read().await?;
        audit_chain::list_days(&mut tx).await?
    };
    let mut gone = 0;
    for (org, plan, days) in orgs {
        let Some(days) = days.or_else(|| Plan::parse(&plan).and_then(days_of)) else { continue };
        let mut before = env.clock.now_micros().saturating_sub(days.saturating_mul(DAY));
        // What a stream has not sent yet waits for it (AUD-07).
        let held = {
            let mut tx = env.db.read().await?;
            stream::held_since(env, &mut tx, org).await?
        };
        before = held.map_or(before, |held| held.min(before));
        loop {
            let removed = chain::cut(env, org, before, CUT).await?;
            gone += removed;
            if removed == 0 {
                break;
            }
        }
    }
    Ok(gone)
}
