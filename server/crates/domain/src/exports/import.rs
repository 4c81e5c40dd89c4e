//! Connectors of one organisation's export in another one: first it is told what would be made, then all of it is, or nothing.

use data_encoding::HEXLOWER;
use model::{
    AppError, ConnectorSlug, ErrorKind,
    connectors::{MAX_HEADERS, Transport},
    credentials::CredentialKind,
    exports::{CONNECTORS_FORMAT, ImportLine, ImportPlan, VERSION},
    permissions::can,
    text,
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use store::Tx;

use crate::{
    Env, Error, OrgActor, Result,
    connectors::{Candidate, Decided, Typed, check_all, make_all},
};

/// What a connector has in a file, in this order.
pub(super) const FIELDS: [&str; 15] = [
    "id",
    "slug",
    "name",
    "description",
    "transport",
    "url",
    "url_has_query",
    "headers",
    "credentials",
    "enabled",
    "tool_policy",
    "unprefixed",
    "first_byte_seconds",
    "created_at",
    "tools",
];
const TOOL_FIELDS: [&str; 5] = ["name", "enabled", "alias", "description", "timeout_seconds"];
const HEAD_FIELDS: [&str; 4] = ["format", "version", "organisation", "connectors"];
/// The longest file in bytes, by whatever way it comes.
pub const MAX_FILE: usize = 4 * 1024 * 1024;
/// The most connectors of a file.
const MOST: usize = 200;
/// The most tools of a connector in a file.
const MOST_TOOLS: usize = 2000;

/// What becomes of a connector whose slug is, or was, taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// It gets another one, with a number behind it.
    Rename,
    /// It is left out.
    Skip,
}

impl Clash {
    /// `rename` or `skip`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "rename" => Some(Self::Rename),
            "skip" => Some(Self::Skip),
            _ => None,
        }
    }
}

/// What came of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// Nothing was changed: this would be made.
    Planned(ImportPlan),
    /// This was made.
    Made(ImportPlan),
}

struct Entry {
    candidate: Candidate,
    needs: Vec<String>,
}

struct File {
    from: String,
    entries: Vec<Entry>,
}

fn flaw(message: impl Into<String>) -> AppError {
    AppError::field("text", "file", format!("{}. Nothing was changed.", message.into()))
}

/// An object of a file, in which every name is known.
struct Object<'v> {
    place: String,
    members: &'v Map<String, Value>,
}

impl<'v> Object<'v> {
    fn of(place: String, value: &'v Value, known: &[&str]) -> core::result::Result<Self, AppError> {
        let Value::Object(members) = value else { return Err(flaw(format!("{place} has to be an object"))) };
        if let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) {
            let unknown: String = unknown.chars().filter(|c| text::printable(*c)).take(60).collect();
            return Err(flaw(format!(
                "{place} has the field {unknown}, which this version does not know. Remove it, or export again with this version"
            )));
        }
        Ok(Self { place, members })
    }

    fn wrong(&self, name: &str, what: &str) -> AppError {
        let dot = if self.place.is_empty() { "" } else { "." };
        flaw(format!("{}{dot}{name} has to be {what}", self.place))
    }

    /// A text; an empty one where there is none and none is needed.
    fn text(&self, name: &str, needed: bool) -> core::result::Result<String, AppError> {
        match self.members.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            None | Some(Value::Null) if !needed => Ok(String::new()),
            _ => Err(self.wrong(name, "a text")),
        }
    }

    fn flag(&self, name: &str, usual: bool) -> core::result::Result<bool, AppError> {
        match self.members.get(name) {
            None => Ok(usual),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    fn number(&self, name: &str) -> core::result::Result<Option<i64>, AppError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| self.wrong(name, "a whole number or null")),
        }
    }

    fn list(&self, name: &str, most: usize) -> core::result::Result<&'v [Value], AppError> {
        match self.members.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) if items.len() <= most => Ok(items),
            Some(Value::Array(_)) => Err(self.wrong(name, &format!("a list of at most {most}"))),
            Some(_) => Err(self.wrong(name, "a list")),
        }
    }
}

/// Reads a file. What is wrong is told at the place where it is.
fn parse(text: &str) -> Result<File> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AppError::field(
            "text",
            "required",
            "Choose the file connectors.json of an export, or paste what is in it",
        )
        .into());
    }
    if text.len() > MAX_FILE {
        return Err(flaw("The file is larger than 4 MiB: import it in smaller files").into());
    }
    if text.starts_with("PK") {
        return Err(flaw(
            "This is the whole export, packed. Unpack it, and take the file connectors.json out of it",
        )
        .into());
    }
    let whole: Value = serde_json::from_str(text).map_err(|why| {
        flaw(format!(
            "This is no JSON: it stops making sense in line {}, column {}",
            why.line(),
            why.column()
        ))
    })?;
    let ours = whole.get("format").and_then(Value::as_str) == Some(CONNECTORS_FORMAT);
    if !ours {
        return Err(flaw("This is no file of connectors from Gatehouse. Take connectors.json out of an export in the form JSON").into());
    }
    match whole.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(later) if later > VERSION => {
            return Err(flaw(format!(
                "This file is of version {later}, and this Gatehouse reads version {VERSION}. Update this one first"
            ))
            .into());
        }
        _ => return Err(flaw(format!("version has to be {VERSION}")).into()),
    }
    let head = Object::of(String::new(), &whole, &HEAD_FIELDS).map_err(|mut error| {
        error.message = error.message.trim_start().to_owned();
        error
    })?;
    let from = head.text("organisation", false)?.chars().filter(|c| text::printable(*c)).take(100).collect();
    let mut entries: Vec<Entry> = Vec::new();
    for (at, value) in head.list("connectors", MOST)?.iter().enumerate() {
        let entry = entry(&format!("connectors[{at}]"), value)?;
        if let Some(twin) = entries.iter().position(|other| other.candidate.slug == entry.candidate.slug) {
            return Err(flaw(format!(
                "connectors[{at}].slug is the same as that of connectors[{twin}]: {}",
                entry.candidate.slug
            ))
            .into());
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(flaw("There is no connector in this file").into());
    }
    Ok(File { from, entries })
}

/// An error at a field of a connector, as one at the file.
fn placed(place: &str, error: Error) -> Error {
    match error {
        Error::App(app) => {
            let (field, message) = app
                .fields
                .first()
                .map_or(("", app.message.as_str()), |field| (field.field.as_str(), field.message.as_str()));
            let dot = if field.is_empty() { "" } else { "." };
            flaw(format!("{place}{dot}{field}: {message}")).into()
        }
        other => other,
    }
}

fn entry(place: &str, value: &Value) -> Result<Entry> {
    let object = Object::of(place.to_owned(), value, &FIELDS)?;
    let mut tools = Vec::new();
    for (at, tool) in object.list("tools", MOST_TOOLS)?.iter().enumerate() {
        let tool = Object::of(format!("{place}.tools[{at}]"), tool, &TOOL_FIELDS)?;
        tools.push(Decided {
            name: tool.text("name", true)?,
            enabled: tool.flag("enabled", true)?,
            alias: tool.text("alias", false)?,
            description: tool.text("description", false)?,
            timeout: tool.number("timeout_seconds")?,
        });
    }
    let typed = Typed {
        name: object.text("name", true)?,
        slug: object.text("slug", true)?,
        description: object.text("description", false)?,
        transport: object.text("transport", true)?,
        url: object.text("url", true)?,
        enabled: object.flag("enabled", true)?,
        tool_policy: object.text("tool_policy", true)?,
        patience: object.number("first_byte_seconds")?,
        tools,
    };
    // They are made anew.
    object.text("id", false)?;
    object.text("created_at", false)?;
    let candidate = Candidate::check(typed).map_err(|error| placed(place, error))?;
    let needs = needs(&object, candidate.transport)?;
    Ok(Entry { candidate, needs })
}

/// What a file does not hold, and has to be entered by hand.
fn needs(object: &Object<'_>, transport: Transport) -> Result<Vec<String>> {
    let mut needs = Vec::new();
    for (at, header) in object.list("headers", MAX_HEADERS)?.iter().enumerate() {
        match header.as_str() {
            Some(name) if http::HeaderName::from_bytes(name.as_bytes()).is_ok() => {
                needs.push(format!("the value of its header {name}"));
            }
            _ => return Err(object.wrong(&format!("headers[{at}]"), "the name of a header").into()),
        }
    }
    if object.flag("url_has_query", false)? {
        needs.push("what stands after ? in its URL".to_owned());
    }
    let kind = object.text("credentials", false)?;
    let kind = match kind.as_str() {
        "" => CredentialKind::Static,
        kind => {
            CredentialKind::parse(kind).ok_or_else(|| object.wrong("credentials", "a kind of credentials"))?
        }
    };
    match kind {
        CredentialKind::Static => {}
        CredentialKind::ClientCredentials => needs.push("its OAuth client and secret".to_owned()),
        CredentialKind::AuthorizationCode => needs.push("its authorisation at the server (OAuth)".to_owned()),
        CredentialKind::PerUser => needs.push("OAuth, which each member then authorises".to_owned()),
    }
    if object.flag("unprefixed", false)? && transport != Transport::Demo {
        needs.push("that its names stand without a prefix".to_owned());
    }
    Ok(needs)
}

/// The slug that a connector gets: its own, one with a number behind it, or none.
async fn slug_for(
    tx: &mut Tx,
    actor: &OrgActor<can::ConnectorsWrite>,
    wanted: &ConnectorSlug,
    clash: Clash,
    given: &[ConnectorSlug],
    of_file: &[ConnectorSlug],
) -> Result<Option<ConnectorSlug>> {
    if !store::connectors::is_slug_claimed(tx, actor.org(), wanted).await? {
        return Ok(Some(wanted.clone()));
    }
    if clash == Clash::Skip {
        return Ok(None);
    }
    for n in 2..1000 {
        let end = format!("-{n}");
        let stem: String = wanted.as_str().chars().take(63 - end.len()).collect();
        let Ok(slug) = format!("{}{end}", stem.trim_end_matches('-')).parse::<ConnectorSlug>() else {
            continue;
        };
        if !given.contains(&slug)
            && !of_file.contains(&slug)
            && !store::connectors::is_slug_claimed(tx, actor.org(), &slug).await?
        {
            return Ok(Some(slug));
        }
    }
    Ok(None)
}

/// Says what an import would make. With `seen`, the plan that somebody saw, it is made, if it still is that plan.
///
/// # Errors
/// `Invalid` at `text`, with the place in the file; `Conflict` when something came between. Then nothing was changed.
pub async fn import(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    text: &str,
    clash: &str,
    seen: &str,
) -> Result<Imported> {
    let choice = Clash::parse(clash)
        .ok_or_else(|| AppError::field("clash", "clash", "Choose what becomes of slugs that are taken"))?;
    let file = parse(text)?;
    let of_file: Vec<_> = file.entries.iter().map(|entry| entry.candidate.slug.clone()).collect();
    let mut given: Vec<ConnectorSlug> = Vec::new();
    let mut lines = Vec::new();
    let mut made = Vec::new();
    let mut places = Vec::new();
    {
        let mut tx = env.db.read().await?;
        for (at, Entry { candidate, needs }) in file.entries.into_iter().enumerate() {
            let slug = slug_for(&mut tx, actor, &candidate.slug, choice, &given, &of_file).await?;
            lines.push(ImportLine {
                name: candidate.name.clone(),
                slug: candidate.slug.to_string(),
                becomes: slug.as_ref().map(ToString::to_string),
                url: candidate.url.clone(),
                needs,
            });
            if let Some(slug) = slug {
                given.push(slug.clone());
                made.push((candidate, slug));
                places.push(at);
            }
        }
    }
    let candidates: Vec<_> = made.iter().map(|(candidate, _)| candidate.clone()).collect();
    let found = check_all(env, actor.org(), &candidates).await.map_err(|(at, error)| {
        placed(&format!("connectors[{}]", places.get(at).copied().unwrap_or(at)), error)
    })?;
    let stands_for = digest(&lines, text);
    let plan = ImportPlan {
        from: file.from,
        lines,
        text: text.to_owned(),
        clash: clash.to_owned(),
        changed: !seen.is_empty() && seen != stands_for,
        seen: stands_for,
    };
    if seen.is_empty() || plan.changed {
        return Ok(Imported::Planned(plan));
    }
    if made.is_empty() {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "nothing_to_import",
            "Every slug of this file is taken, so there is nothing to make. Nothing was changed: choose to rename them.",
        )
        .into());
    }
    let all =
        made.into_iter().zip(found).map(|((candidate, slug), found)| (candidate, slug, found)).collect();
    make_all(env, actor, &plan.from, all).await?;
    Ok(Imported::Made(plan))
}

/// Stands for a plan. Line ends do not count: forms write them in their own way.
fn digest(lines: &[ImportLine], text: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(lines).unwrap_or_default());
    for line in text.trim().lines() {
        digest.update(line.as_bytes());
        digest.update(b"\n");
    }
    HEXLOWER.encode(&digest.finalize()).chars().take(32).collect()
}
