//! Data export (DEL-05): somebody chooses parts, a job writes them into one file, and whoever may takes it with them.
//!
//! The file lies in the database, in pieces that are sealed with the organisation's key: nodes share nothing else, and it ends
//! with the organisation.

mod archive;
mod download;
pub mod import;
mod parts;
mod run;

use model::{
    AppError, ErrorKind, ExportId, OrgId, Permission,
    audit::{self, AuditQuery, readable},
    exports::{Export, ExportFormat, ExportPage, ExportPart, ExportState, KEPT_DAYS, MOST_EXPORTS, Progress},
    permissions::can,
};
use store::{Tx, exports::Export as Row};

pub use self::{
    download::Download,
    run::{Job, Scribe, Step},
};
use crate::{Env, Error, OrgActor, Result, authz::Principal, change::Event, sealer::Aad};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// What somebody wants, as typed.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names of parts.
    pub parts: Vec<String>,
    /// `json` or `csv`.
    pub format: String,
    /// The first day of usage and audit log; empty for all.
    pub from: String,
    /// The last one; empty for today.
    pub to: String,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An export was begun.
    Begun(ExportId),
    /// One is under way already; no second one was begun.
    UnderWay(ExportId),
}

fn missing() -> Error {
    Error::not_found("export")
}

fn aad(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "export_chunks", column: "sealed", row }
}

fn progress(row: &Row) -> Vec<Progress> {
    serde_json::from_str(&row.progress).unwrap_or_default()
}

fn days(row: &Row) -> String {
    match (row.first_day.as_str(), row.last_day.as_str()) {
        ("", "") => String::new(),
        (from, "") => format!("from {from}"),
        ("", to) => format!("up to {to}"),
        (from, to) => format!("{from} to {to}"),
    }
}

fn shown(row: Row) -> Export {
    Export {
        id: row.id,
        format: row.format,
        state: row.state,
        parts: progress(&row),
        days: days(&row),
        created_at: row.created_at,
        created_by: row.created_by,
        expires_at: row.expires_at,
        size: row.size,
        sha256: row.sha256,
        failure: row.failure,
    }
}

fn query(row: &Row) -> AuditQuery {
    AuditQuery { from: row.first_day.clone(), to: row.last_day.clone(), ..AuditQuery::default() }
}

/// What is chosen, in the order of the file.
fn chosen(wanted: &Wanted) -> Result<(Vec<ExportPart>, ExportFormat)> {
    let parts: Vec<_> = ExportPart::ALL
        .into_iter()
        .filter(|part| wanted.parts.iter().any(|name| name == part.as_str()))
        .collect();
    if parts.is_empty() {
        return Err(AppError::field("parts", "required", "Choose at least one part to export").into());
    }
    let format = ExportFormat::parse(&wanted.format)
        .ok_or_else(|| AppError::field("format", "format", "Choose JSON or CSV"))?;
    audit::range(&wanted.from, &wanted.to).map_err(|why| AppError::field("from", "date", why))?;
    Ok((parts, format))
}

/// Asks for an export. While one is under way there is no second one.
///
/// # Errors
/// `Invalid` at the field, `Forbidden` for an audit log that the person or the plan does not have, `Conflict` when as many are
/// kept as may be.
pub async fn ask(env: &Env, actor: &OrgActor<can::ExportCreate>, wanted: &Wanted) -> Result<Asked> {
    let (parts, format) = chosen(wanted)?;
    if parts.contains(&ExportPart::Audit) {
        actor.with::<can::AuditExport>()?;
    }
    let (org, now) = (actor.org(), env.now());
    let mut change = env.change(actor).await?;
    if parts.contains(&ExportPart::Audit) {
        crate::audit::check_plan(change.tx(), org).await?;
    }
    let kept = store::exports::list(change.tx(), org, now).await?;
    if let Some(open) = kept.iter().find(|export| export.state.is_open()) {
        return Ok(Asked::UnderWay(open.id));
    }
    if kept.len() >= MOST_EXPORTS {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "too_many_exports",
            format!("{MOST_EXPORTS} exports are kept at once. Nothing was begun: delete one that is not needed, then ask again."),
        )
        .into());
    }
    let progress: Vec<_> = parts.iter().map(|part| Progress { part: *part, done: 0, total: 0 }).collect();
    let names = parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(" ");
    let row = Row {
        id: ExportId::from_uuid(env.uuid()),
        org,
        format,
        parts: names,
        first_day: wanted.from.clone(),
        last_day: wanted.to.clone(),
        state: ExportState::Waiting,
        created_at: now,
        created_by: actor.principal().name().to_owned(),
        asked_by: match actor.principal() {
            Principal::User { id, .. } => Some(*id),
            Principal::Operator | Principal::System => None,
        },
        tries: 0,
        progress: serde_json::to_string(&progress).unwrap_or_default(),
        failure: None,
        expires_at: now + KEPT_DAYS * DAY,
        size: 0,
        chunks: 0,
        sha256: String::new(),
    };
    store::exports::insert(change.tx(), &row).await?;
    change.commit(event("export.created", &row).with("days", days(&row))).await?;
    Ok(Asked::Begun(row.id))
}

/// An event about an export.
fn event(action: &'static str, row: &Row) -> Event {
    Event::new(action)
        .target("export", row.id, &row.parts)
        .with("format", row.format.as_str())
        .with("parts", row.parts.as_str())
}

/// The exports that are there, the newest first.
pub async fn list(env: &Env, actor: &OrgActor<can::ExportCreate>) -> Result<ExportPage> {
    let (org, now) = (actor.org(), env.now());
    let mut tx = env.db.read().await?;
    let exports = store::exports::list(&mut tx, org, now).await?.into_iter().map(shown).collect();
    let plan = store::orgs::find(&mut tx, org).await?.map(|org| org.plan);
    let audit = actor.also(Permission::AuditExport) && plan.is_some_and(readable);
    Ok(ExportPage { exports, audit, now })
}

async fn find(tx: &mut Tx, org: OrgId, id: ExportId, now: i64) -> Result<Row> {
    store::exports::find(tx, org, id, now).await?.ok_or_else(missing)
}

/// Deletes an export with its file; one that is under way is cancelled.
pub async fn delete(env: &Env, actor: &OrgActor<can::ExportCreate>, id: ExportId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), actor.org(), id, env.now()).await?;
    store::exports::delete(change.tx(), actor.org(), id).await?;
    change.commit(event("export.deleted", &row).with("state", row.state.as_str())).await
}

/// Removes exports whose time is over, rows and files.
pub async fn purge(env: &Env) -> Result<u64> {
    let mut tx = env.db.write().await?;
    let gone = store::exports::delete_expired(&mut tx, env.now()).await?;
    tx.commit().await?;
    Ok(gone)
}
