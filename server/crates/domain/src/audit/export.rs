//! The log as a file, written row by row: memory does not grow with it.

use std::fmt::Write as _;

use model::{OrgId, audit::AuditQuery, permissions::can};
use serde_json::{Value, json};
use store::{Tx, audit::Row};
use time::OffsetDateTime;

use super::{Filter, check_plan};
use crate::{Env, OrgActor, Result, change::Event};

/// Rows that are read at once.
const ROWS: i64 = 500;
/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180, with a line of heads.
    Csv,
    /// One array of objects.
    Json,
}

impl Format {
    /// The format of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Its name, which is also how the file's name ends.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

/// An export under way.
#[derive(Debug)]
pub struct Export {
    env: Env,
    org: OrgId,
    slug: String,
    filter: Filter,
    format: Format,
    /// Between which sequence numbers, not included, rows are still to come; the newest first.
    left: (i64, i64),
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Rows { first: bool },
    Done,
}

impl Export {
    /// Begins an export of what is wanted. It is itself an event, which is not in it.
    ///
    /// # Errors
    /// `Forbidden` where the plan has no log; `Invalid` for a range that is none.
    pub async fn begin(
        env: &Env,
        actor: &OrgActor<can::AuditExport>,
        query: &AuditQuery,
        format: Format,
    ) -> Result<Self> {
        let filter = Filter::of(query)?;
        let mut change = env.change(actor).await?;
        let org = store::orgs::find(change.tx(), actor.org()).await?;
        let slug = org.map(|org| org.slug.to_string()).unwrap_or_default();
        check_plan(change.tx(), actor.org()).await?;
        let end = store::orgs::version(change.tx(), actor.org()).await?.unwrap_or_default() + 1;
        let bounds = filter.bounds(change.tx(), actor.org()).await?;
        let mut event = Event::new("audit.exported").with("format", format.as_str());
        for (name, value) in query.fields() {
            event = event.with(name, value);
        }
        change.commit(event).await?;
        let (low, high) = bounds.unwrap_or((0, 1));
        Ok(Self {
            env: env.clone(),
            org: actor.org(),
            slug,
            filter,
            format,
            left: (low, high.min(end)),
            state: State::Head,
        })
    }

    /// What kind of file it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the file is called: `audit-acme.csv`.
    pub fn file_name(&self) -> String {
        format!("audit-{}.{}", self.slug, self.format.as_str())
    }

    /// The next piece of the file; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<String>> {
        match self.state {
            State::Head => {
                self.state = State::Rows { first: true };
                Ok(Some(match self.format {
                    Format::Csv => format!("{}\r\n", HEADS.join(",")),
                    Format::Json => "[\n".to_owned(),
                }))
            }
            State::Rows { mut first } => {
                let mut tx = self.env.db.read().await?;
                let rows = self.filter.rows(&mut tx, self.org, self.left, ROWS, false).await?;
                drop(tx);
                let Some(last) = rows.last() else {
                    self.state = State::Done;
                    return Ok(Some(if self.format == Format::Json {
                        "\n]\n".to_owned()
                    } else {
                        String::new()
                    }));
                };
                self.left.1 = last.seq;
                let mut text = String::new();
                for row in &rows {
                    match self.format {
                        Format::Csv => csv(&mut text, row),
                        Format::Json => {
                            text.push_str(if first { "" } else { ",\n" });
                            text.push_str(&object(row).to_string());
                        }
                    }
                    first = false;
                }
                self.state = State::Rows { first };
                Ok(Some(text))
            }
            State::Done => Ok(None),
        }
    }
}

/// The log between two days, for an export of which it is a part. What is written after the beginning is not in it.
#[derive(Debug)]
pub(crate) struct Reader {
    filter: Filter,
    left: (i64, i64),
}

impl Reader {
    /// Begins to read, and counts the events that there are.
    ///
    /// # Errors
    /// `Forbidden` where the plan has no log; `Invalid` for a range that is none.
    pub(crate) async fn begin(tx: &mut Tx, org: OrgId, query: &AuditQuery) -> Result<(Self, i64)> {
        let filter = Filter::of(query)?;
        check_plan(tx, org).await?;
        let end = store::orgs::version(tx, org).await?.unwrap_or_default() + 1;
        let (low, high) = filter.bounds(tx, org).await?.unwrap_or((0, 1));
        let left = (low, high.min(end));
        let count = store::exports::count_audit(tx, org, left, (filter.from, filter.to)).await?;
        Ok((Self { filter, left }, count))
    }

    /// The next events, the newest first; none at the end.
    pub(crate) async fn next(&mut self, tx: &mut Tx, org: OrgId) -> Result<Vec<Row>> {
        let rows = self.filter.rows(tx, org, self.left, ROWS, false).await?;
        if let Some(last) = rows.last() {
            self.left.1 = last.seq;
        }
        Ok(rows)
    }
}

pub(crate) const HEADS: [&str; 19] = [
    "seq",
    "id",
    "occurred_at",
    "action",
    "result",
    "actor_type",
    "actor_id",
    "actor_name",
    "targets",
    "changes",
    "metadata",
    "ip",
    "user_agent",
    "request_id",
    "node",
    "category",
    "version",
    "auth_method",
    "key_id",
];

/// RFC 3339 in UTC, always to the microsecond: texts of one length are in the order of time.
pub(crate) fn time(micros: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000)) else {
        return String::new();
    };
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let month = u8::from(month);
    let micros = micros.rem_euclid(1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

fn parts(row: &Row) -> (Value, Value) {
    (
        serde_json::from_str(&row.detail).unwrap_or_default(),
        serde_json::from_str(&row.context).unwrap_or_default(),
    )
}

/// An event as JSON (AUD-01).
pub(crate) fn object(row: &Row) -> Value {
    let (detail, context) = parts(row);
    json!({
        "version": row.version,
        "id": row.id,
        "seq": row.seq,
        "occurred_at": time(row.occurred_at),
        "action": row.action,
        "category": row.category,
        "result": row.result,
        "actor": {
            "type": row.actor_kind,
            "id": row.actor_id,
            "name": row.actor_name,
            "auth_method": row.auth_method,
            "key_id": row.key_id,
        },
        "targets": detail["targets"],
        "changes": detail["changes"],
        "metadata": detail["metadata"],
        "context": context,
    })
}

/// An event as a line of CSV, as [`HEADS`] has it.
pub(crate) fn csv(out: &mut String, row: &Row) {
    let (detail, context) = parts(row);
    let texts = [
        row.seq.to_string(),
        row.id.clone(),
        time(row.occurred_at),
        row.action.clone(),
        row.result.clone(),
        row.actor_kind.clone(),
        row.actor_id.clone(),
        row.actor_name.clone(),
        detail["targets"].to_string(),
        detail["changes"].to_string(),
        detail["metadata"].to_string(),
        super::told(&context["ip"]),
        super::told(&context["user_agent"]),
        super::told(&context["request_id"]),
        super::told(&context["node"]),
        row.category.clone(),
        row.version.to_string(),
        row.auth_method.clone(),
        row.key_id.clone(),
    ];
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        cell(out, text);
    }
    out.push_str("\r\n");
}

/// A cell that no spreadsheet takes for a formula and no terminal for a command (AUD-06).
pub(crate) fn cell(out: &mut String, text: &str) {
    out.push('"');
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        out.push('\'');
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\"\""),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let mut out = String::new();
        cell(&mut out, text);
        out
    }

    #[test]
    fn aud_01_times_are_told_to_the_microsecond() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(1_773_273_600_500_000), "2026-03-12T00:00:00.500000Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn aud_06_no_cell_is_a_formula_or_moves_a_terminal() {
        for start in ["=", "+", "-", "@", "\t"] {
            assert_eq!(told(&format!("{start}1")), format!("\"'{start}1\""));
        }
        assert_eq!(told("\r=1"), "\"'\\u000d=1\"");
        assert_eq!(told("a\u{1b}[31m"), "\"a\\u001b[31m\"");
        assert_eq!(told("say \"hi\",\nnow"), "\"say \"\"hi\"\",\nnow\"");
        assert_eq!(told("claude-prod"), "\"claude-prod\"");
    }
}
