//! The parts of an export: which rows each has, and how a row is written. What is secret is never read here: neither hashes
//! nor sealed values have a column in any part.

use model::{
    ApiKeyId, ConnectorId, OrgId,
    connectors::Transport,
    exports::{CONNECTORS_FORMAT, ExportFormat, ExportPart, VERSION},
};
use serde_json::{Map, Value, json};
use store::{
    Tx,
    connectors::{Connector, Tool},
    exports::Usage,
};

use super::query;
use crate::{Env, Result, audit, connectors::export_shape};

/// Rows that are read at once.
const ROWS: i64 = 500;

const KEYS: [&str; 13] = [
    "id",
    "name",
    "prefix",
    "last4",
    "url_key",
    "connectors",
    "ranges",
    "created_at",
    "created_by",
    "expires_at",
    "disabled_at",
    "last_used_at",
    "state",
];
const MEMBERS: [&str; 6] = ["id", "name", "email", "role", "joined_at", "last_seen_at"];
const USAGE: [&str; 11] = [
    "day",
    "connector",
    "connector_id",
    "tool",
    "principal_kind",
    "principal_id",
    "calls",
    "errors",
    "duration_us",
    "bytes_in",
    "bytes_out",
];

/// What is still to be read of a part.
enum Left {
    /// Rows that are in memory already: there are few of these.
    Few(std::vec::IntoIter<Vec<Value>>),
    Usage {
        days: (i64, i64),
        after: Usage,
    },
    Audit(audit::Reader),
}

/// A part that is being written.
pub(super) struct Source {
    pub(super) part: ExportPart,
    /// How many rows there were when it began.
    pub(super) total: i64,
    format: ExportFormat,
    org: OrgId,
    org_name: String,
    slugs: Vec<(String, String)>,
    left: Left,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Rows { first: bool },
    Done,
}

fn at(millis: Option<i64>) -> Value {
    millis.map_or(Value::Null, |millis| audit::time(millis.saturating_mul(1000)).into())
}

/// Days since 1970 of a range of milliseconds.
fn days((from, to): (Option<i64>, Option<i64>)) -> (i64, i64) {
    (
        from.map_or(i64::MIN, |from| from.div_euclid(super::DAY)),
        to.map_or(i64::MAX, |to| to.div_euclid(super::DAY)),
    )
}

fn connector(
    row: &Connector,
    headers: &[store::connectors::Header],
    kind: &str,
    tools: &[Tool],
) -> Vec<Value> {
    let (url, has_query, headers) = export_shape(row, headers);
    let tools: Vec<_> = tools
        .iter()
        .filter(|tool| tool.connector == row.id && tool.gone_at.is_none())
        .map(|tool| {
            json!({
                "name": tool.name,
                "enabled": tool.enabled,
                "alias": tool.alias,
                "description": tool.description,
                "timeout_seconds": tool.timeout_seconds,
            })
        })
        .collect();
    // Which of the two HTTP transports a server speaks is found out.
    let transport = if row.transport == Transport::Sse { Transport::Http } else { row.transport };
    vec![
        row.id.to_string().into(),
        row.slug.as_str().into(),
        row.name.as_str().into(),
        row.description.as_str().into(),
        transport.as_str().into(),
        url.into(),
        has_query.into(),
        headers.into(),
        kind.into(),
        row.enabled.into(),
        row.tool_policy.as_str().into(),
        row.unprefixed.into(),
        row.first_byte_seconds.into(),
        at(Some(row.created_at)),
        tools.into(),
    ]
}

async fn connectors(tx: &mut Tx, org: OrgId) -> Result<Vec<Vec<Value>>> {
    let headers = store::connectors::list_headers(tx, org).await?;
    let clients = store::upstream_credentials::list_clients(tx, org).await?;
    let tools = store::connectors::list_tools(tx, org).await?;
    let rows = store::connectors::list(tx, org).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let kind = clients.iter().find(|client| client.connector == row.id).map(|client| client.kind);
            connector(row, &headers, kind.unwrap_or_default().as_str(), &tools)
        })
        .collect())
}

async fn keys(tx: &mut Tx, org: OrgId, now: i64) -> Result<Vec<Vec<Value>>> {
    let known = store::connectors::list(tx, org).await?;
    let limits = store::api_keys::list_connectors(tx, org).await?;
    let slug = |id: ConnectorId| known.iter().find(|row| row.id == id).map(|row| row.slug.as_str());
    let of = |key: ApiKeyId| -> Vec<&str> {
        limits.iter().filter(|(id, _)| *id == key).filter_map(|(_, connector)| slug(*connector)).collect()
    };
    let rows = store::api_keys::list(tx, org).await?;
    Ok(rows
        .iter()
        .map(|key| {
            let state = match key.disabled_at {
                Some(_) => "disabled",
                None if key.expires_at.is_some_and(|at| at <= now) => "expired",
                None => "active",
            };
            vec![
                key.id.to_string().into(),
                key.name.as_str().into(),
                key.prefix.as_str().into(),
                key.last4.as_str().into(),
                key.url_key.into(),
                if key.all_connectors { "all".into() } else { of(key.id).into() },
                key.ranges.as_str().into(),
                at(Some(key.created_at)),
                key.created_by.as_str().into(),
                at(key.expires_at),
                at(key.disabled_at),
                at(key.last_used_at),
                state.into(),
            ]
        })
        .collect())
}

async fn members(tx: &mut Tx, org: OrgId) -> Result<Vec<Vec<Value>>> {
    let rows = store::members::list_full(tx, org).await?;
    Ok(rows
        .iter()
        .map(|member| {
            vec![
                member.user.to_string().into(),
                member.name.as_str().into(),
                member.email.as_str().into(),
                member.role.as_str().into(),
                at(Some(member.joined_at)),
                at(member.last_seen_at),
            ]
        })
        .collect())
}

impl Source {
    /// Begins a part.
    pub(super) async fn begin(
        env: &Env,
        tx: &mut Tx,
        row: &store::exports::Export,
        org_name: &str,
        part: ExportPart,
    ) -> Result<Self> {
        let org = row.org;
        let few = |rows: Vec<Vec<Value>>| {
            (i64::try_from(rows.len()).unwrap_or(i64::MAX), Left::Few(rows.into_iter()))
        };
        let mut slugs = Vec::new();
        let (total, left) = match part {
            ExportPart::Connectors => few(connectors(tx, org).await?),
            ExportPart::ApiKeys => few(keys(tx, org, env.now()).await?),
            ExportPart::Members => few(members(tx, org).await?),
            ExportPart::Usage => {
                let range = query(row).range().map_err(|why| crate::Error::Internal(why.to_owned()))?;
                let days = days(range);
                let known = store::connectors::list(tx, org).await?;
                slugs = known.into_iter().map(|row| (row.id.to_string(), row.slug.to_string())).collect();
                let after = Usage { day: i64::MIN, ..Usage::default() };
                (store::exports::count_usage(tx, org, days).await?, Left::Usage { days, after })
            }
            ExportPart::Audit => {
                let (reader, count) = audit::Reader::begin(tx, org, &query(row)).await?;
                (count, Left::Audit(reader))
            }
        };
        Ok(Self {
            part,
            total,
            format: row.format,
            org,
            org_name: org_name.to_owned(),
            slugs,
            left,
            state: State::Head,
        })
    }

    /// What its file is called.
    pub(super) fn file(&self) -> String {
        file(self.part, self.format)
    }

    fn heads(&self) -> &'static [&'static str] {
        match self.part {
            ExportPart::Connectors => &crate::exports::import::FIELDS,
            ExportPart::ApiKeys => &KEYS,
            ExportPart::Members => &MEMBERS,
            ExportPart::Usage => &USAGE,
            ExportPart::Audit => &audit::HEADS,
        }
    }

    /// The next text of the file and how many rows are in it; `None` at its end.
    pub(super) async fn next(&mut self, env: &Env) -> Result<Option<(String, i64)>> {
        match self.state {
            State::Head => {
                self.state = State::Rows { first: true };
                let text = match self.format {
                    ExportFormat::Csv => format!("{}\r\n", self.heads().join(",")),
                    ExportFormat::Json if self.part == ExportPart::Connectors => format!(
                        "{{\"format\":\"{CONNECTORS_FORMAT}\",\"version\":{VERSION},\"organisation\":{},\"connectors\":[\n",
                        Value::from(self.org_name.as_str())
                    ),
                    ExportFormat::Json => "[\n".to_owned(),
                };
                Ok(Some((text, 0)))
            }
            State::Rows { first } => {
                let mut text = String::new();
                let rows = self.rows(env, &mut text, first).await?;
                if rows > 0 {
                    self.state = State::Rows { first: false };
                    return Ok(Some((text, rows)));
                }
                self.state = State::Done;
                Ok(Some((
                    match (self.format, self.part) {
                        (ExportFormat::Csv, _) => String::new(),
                        (ExportFormat::Json, ExportPart::Connectors) => "\n]}\n".to_owned(),
                        (ExportFormat::Json, _) => "\n]\n".to_owned(),
                    },
                    0,
                )))
            }
            State::Done => Ok(None),
        }
    }

    /// Writes the next rows; how many.
    async fn rows(&mut self, env: &Env, out: &mut String, mut first: bool) -> Result<i64> {
        let (heads, format) = (self.heads(), self.format);
        let mut count = 0;
        let mut write = |values: Vec<Value>| {
            record(out, format, heads, values, first);
            first = false;
            count += 1;
        };
        match &mut self.left {
            Left::Few(rows) => rows.by_ref().take(100).for_each(&mut write),
            Left::Usage { days, after } => {
                let mut tx = env.db.read().await?;
                let rows = store::exports::list_usage(&mut tx, self.org, *days, after, ROWS).await?;
                drop(tx);
                if let Some(last) = rows.last() {
                    after.clone_from(last);
                }
                rows.into_iter().map(|row| usage(row, &self.slugs)).for_each(&mut write);
            }
            Left::Audit(reader) => {
                let mut tx = env.db.read().await?;
                let rows = reader.next(&mut tx, self.org).await?;
                drop(tx);
                for row in &rows {
                    match format {
                        ExportFormat::Csv => audit::csv(out, row),
                        ExportFormat::Json => {
                            out.push_str(if first { "" } else { ",\n" });
                            out.push_str(&audit::object(row).to_string());
                        }
                    }
                    first = false;
                    count += 1;
                }
            }
        }
        Ok(count)
    }
}

fn usage(row: Usage, slugs: &[(String, String)]) -> Vec<Value> {
    let slug = slugs.iter().find(|(id, _)| *id == row.connector_id).map(|(_, slug)| slug.as_str());
    let day = audit::time(row.day.saturating_mul(super::DAY).saturating_mul(1000));
    vec![
        day.get(..10).unwrap_or_default().into(),
        slug.into(),
        row.connector_id.into(),
        row.tool.into(),
        row.principal_kind.into(),
        row.principal_id.into(),
        row.calls.into(),
        row.errors.into(),
        row.duration_us.into(),
        row.bytes_in.into(),
        row.bytes_out.into(),
    ]
}

/// A row as an object, or as a line of CSV of which no cell is a formula (AUD-06).
fn record(out: &mut String, format: ExportFormat, heads: &[&str], values: Vec<Value>, first: bool) {
    match format {
        ExportFormat::Json => {
            out.push_str(if first { "" } else { ",\n" });
            let members: Map<String, Value> =
                heads.iter().map(|head| (*head).to_owned()).zip(values).collect();
            out.push_str(&Value::Object(members).to_string());
        }
        ExportFormat::Csv => {
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                match value {
                    Value::String(text) => audit::cell(out, text),
                    Value::Null => audit::cell(out, ""),
                    // A number is one.
                    Value::Number(number) => out.push_str(&number.to_string()),
                    other => audit::cell(out, &other.to_string()),
                }
            }
            out.push_str("\r\n");
        }
    }
}

/// What the file of a part is called.
pub(super) fn file(part: ExportPart, format: ExportFormat) -> String {
    format!("{}.{}", part.as_str(), format.as_str())
}
