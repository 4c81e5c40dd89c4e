//! Requests that ended as rows of the log. Most rows of a batch have most texts in common, which are made once.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use model::{LogEntryId, activity::Timings};
use serde::Serialize;
use store::request_log::NewRow;

use super::recorder::Record;
use crate::dataplane::{OrgPlane, Principal};

/// The longest text that is kept of what somebody else wrote, characters.
const LONGEST: usize = 160;
/// The most texts that are looked through for one that is there already.
const MOST_SHARED: usize = 32;

/// A text of somebody else as it is kept.
pub(super) fn short(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| model::text::printable(*c)).take(LONGEST).collect())
}

/// A person's name as the log has it.
pub(crate) fn as_logged(name: &str) -> String {
    short(name).into_owned()
}

/// The public id of a principal: of somebody of an identity provider it is what their token says.
pub(super) fn principal_id(principal: &Principal) -> String {
    short(&principal.to_string()).into_owned()
}

/// The name of a principal at the time of its request.
fn principal_name(plane: &OrgPlane, principal: &Principal) -> String {
    let name = match principal {
        Principal::ApiKey(id) => plane.keys.values().find(|key| key.id == *id).map(|key| key.name.clone()),
        Principal::Connection(id) => plane
            .grants
            .values()
            .find(|grant| grant.connection == *id)
            .map(|grant| grant.client_name.clone())
            .filter(|name| !name.is_empty())
            .or_else(|| Some("MCP Client".to_owned())),
        Principal::Machine(id) => plane.machines.get(id).map(|machine| machine.name.clone()),
        Principal::Provider { subject, .. } => Some(subject.to_string()),
        Principal::Member { name, .. } => Some(name.to_string()),
    };
    short(&name.unwrap_or_else(|| principal.to_string())).into_owned()
}

/// Whose request it was, in words.
#[derive(Clone)]
struct Who {
    kind: Arc<str>,
    id: Arc<str>,
    name: Arc<str>,
}

/// Texts that rows share.
#[derive(Default)]
struct Shared(Vec<Arc<str>>);

impl Shared {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| ***known == *text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        if self.0.len() < MOST_SHARED {
            self.0.push(Arc::clone(&new));
        }
        new
    }
}

/// Makes the rows of one writing.
pub(super) struct Rows<'r> {
    node: &'r str,
    texts: Shared,
    /// By the address of the snapshot, and principal.
    people: HashMap<(usize, Principal), Who>,
}

/// What stands in a row as JSON.
#[derive(Serialize)]
struct Detail<'r> {
    status: u16,
    code: Option<i64>,
    message: &'r str,
    timings: Timings,
    bytes_in: u64,
    bytes_out: u64,
    upstream_requests: u32,
    request_id: &'r str,
    trace_id: &'r str,
    client: &'r str,
    address: &'r str,
    node: &'r str,
}

/// Adds a word to what is searched.
fn push_lower(words: &mut String, word: &str) {
    if !words.is_empty() {
        words.push(' ');
    }
    let start = words.len();
    if word.is_ascii() {
        words.push_str(word);
        words[start..].make_ascii_lowercase();
    } else {
        words.push_str(&word.to_lowercase());
    }
}

impl<'r> Rows<'r> {
    pub(super) fn new(node: &'r str) -> Self {
        Self { node, texts: Shared::default(), people: HashMap::new() }
    }

    fn who(&mut self, plane: &Arc<OrgPlane>, principal: &Principal) -> Who {
        // The snapshot is held by its records, so nothing else comes to be at its address.
        let key = (Arc::as_ptr(plane).addr(), principal.clone());
        let texts = &mut self.texts;
        let who = self.people.entry(key).or_insert_with(|| Who {
            kind: texts.get(principal.kind()),
            id: principal_id(principal).into(),
            name: principal_name(plane, principal).into(),
        });
        who.clone()
    }

    /// The row of a request.
    pub(super) fn row(&mut self, record: &'r Record, id: LogEntryId) -> NewRow {
        let who = self.who(&record.plane, &record.access.principal);
        let (connector_id, connector_slug) = match &record.connector {
            Some(connector) => {
                (self.texts.get(&connector.id.to_string()), self.texts.get(connector.slug.as_str()))
            }
            None => (self.texts.get(""), self.texts.get("")),
        };
        let (method, tool) = (self.texts.get(&short(&record.method)), self.texts.get(&short(&record.tool)));
        let client = short(&record.client);
        let address = record.address.map(|address| address.to_string()).unwrap_or_default();
        let trace_id = match &record.trace_id {
            Some(id) => Cow::Borrowed(id.as_str()),
            None => Cow::Owned(id.uuid().simple().to_string()),
        };
        let mut words = String::with_capacity(256 + record.message.len());
        for word in [
            &*method,
            &*tool,
            &*connector_slug,
            &*who.name,
            &*client,
            &record.request_id,
            &*trace_id,
            &address,
            &record.message,
        ] {
            push_lower(&mut words, word);
        }
        words.retain(|c| c != '\0');
        let detail = Detail {
            status: record.status,
            code: record.code,
            message: &record.message,
            timings: record.timings,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            upstream_requests: record.upstream_requests,
            request_id: &record.request_id,
            trace_id: &trace_id,
            client: &client,
            address: &address,
            node: self.node,
        };
        NewRow {
            id,
            org: record.plane.org,
            at: record.began,
            method,
            connector_id,
            connector_slug,
            tool,
            principal_kind: who.kind,
            principal_id: who.id,
            principal_name: who.name,
            outcome: self.texts.get(record.outcome.as_str()),
            total_us: record.timings.total,
            words,
            // Numbers and texts: nothing of it could fail.
            detail: serde_json::to_string(&detail).unwrap_or_default(),
        }
    }
}
