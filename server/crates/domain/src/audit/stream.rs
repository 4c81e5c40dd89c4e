//! The log as a stream to a SIEM (AUD-07): each event is sent at least once, in the order of the log, from where the last
//! answer left off. What waits is the log itself; retention leaves a stream at least seven days.
//!
//! Whoever sends takes a stream for itself for a while, so of several nodes one does. A node that dies in between has
//! another send the same events again: receivers tell them apart by their id.

use core::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Request, header};
use model::{
    AppError, OrgId,
    audit::readable,
    audit_stream::{AuditStream, AuditStreamPage, KEPT_DAYS, StreamKind},
    permissions::can,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use store::{
    Tx,
    audit::Row,
    audit_chain,
    audit_streams::{self, Failure, Stream},
};
use url::Url;

use super::{export, not_in_plan, plan};
use crate::{Env, Error, OrgActor, Result, change::Event, orgs, sealer::Aad};

/// Events of one request.
const BATCH: i64 = 200;
/// Requests of one turn: then others have theirs.
const TURNS: usize = 20;
/// Streams that are sent to at once.
const AT_ONCE: i64 = 16;
/// How long whoever sends has a stream for itself, milliseconds: longer than a turn may take.
const LEASE: i64 = 10 * 60 * 1000;
/// How long a receiver may take to answer one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between attempts: twice as long each time, milliseconds.
const FIRST_PAUSE: i64 = 2_000;
const LONGEST_PAUSE: i64 = 15 * 60 * 1000;
const DAY: i64 = 24 * 60 * 60 * 1000;
/// The longest URL and the longest token.
const LONGEST: usize = 2048;

/// What somebody wants of a stream.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// In which form.
    pub kind: StreamKind,
    /// Where to.
    pub url: String,
    /// The token; empty leaves the one that is stored.
    pub token: SecretString,
    /// Whether no token is sent, whatever is stored.
    pub without_token: bool,
    /// Whether events are sent.
    pub enabled: bool,
}

fn no_stream() -> Error {
    Error::not_found("stream")
}

async fn entitled(tx: &mut Tx, org: OrgId) -> Result<model::Plan> {
    let plan = plan(tx, org).await?;
    if readable(plan) { Ok(plan) } else { Err(not_in_plan(plan)) }
}

/// What the page shows.
pub async fn page(env: &Env, actor: &OrgActor<can::AuditRead>) -> Result<AuditStreamPage> {
    let org = actor.org();
    let mut tx = env.db.read().await?;
    let stream = match audit_streams::find(&mut tx, org).await? {
        Some(row) => Some(shown(&mut tx, org, row).await?),
        None => None,
    };
    Ok(AuditStreamPage { plan: plan(&mut tx, org).await?, stream, now: env.now() })
}

async fn shown(tx: &mut Tx, org: OrgId, row: Stream) -> Result<AuditStream> {
    let version = store::orgs::version(tx, org).await?.unwrap_or_default();
    let next = audit_chain::list_after(tx, Some(org), row.cursor, 1).await?;
    Ok(AuditStream {
        kind: StreamKind::parse(&row.kind).unwrap_or_default(),
        url: row.url,
        has_token: row.token_sealed.is_some(),
        enabled: row.enabled,
        waiting: (version - row.cursor).max(0),
        waiting_since: next.first().map(|event| event.occurred_at / 1000),
        last_sent_at: row.last_sent_at,
        last_error: row.last_error.zip(row.last_error_at),
        next_at: (row.failures > 0).then_some(row.due_at),
        skipped: row.skipped,
        updated_at: row.updated_at,
        updated_by: row.updated_by,
    })
}

fn checked_url(env: &Env, text: &str) -> Result<Url> {
    let refuse = |code: &str, words: String| Error::from(AppError::field("url", code, words));
    let text = text.trim();
    if text.is_empty() {
        return Err(refuse("required", "Enter the receiver's URL".to_owned()));
    }
    let whole = || refuse("url", "Enter a whole URL that begins with https://".to_owned());
    if text.len() > LONGEST {
        return Err(refuse("url", format!("Use a URL of at most {LONGEST} characters")));
    }
    let url = Url::parse(text).map_err(|_| whole())?;
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        return Err(whole());
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        let words = "Leave user name, password and what stands after ? or # out of the URL; the token has a field of its own";
        return Err(refuse("url", words.to_owned()));
    }
    env.outbound.check_url(&url).map_err(|why| refuse(why.class(), why.to_string()))?;
    Ok(url)
}

fn checked_token(token: &SecretString) -> Result<()> {
    let text = token.expose_secret();
    if text.len() > LONGEST || !text.bytes().all(|b| b.is_ascii_graphic()) {
        let words = format!("Use at most {LONGEST} visible ASCII characters");
        return Err(AppError::field("token", "token", words).into());
    }
    Ok(())
}

fn aad(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "audit_streams", column: "token_sealed", row }
}

/// Sets where events are streamed to. A new stream begins with what happens from now on; one that is there goes on where it
/// is. A stored token belongs to its receiver: for another one it is entered again.
pub async fn put(env: &Env, actor: &OrgActor<can::SecurityManage>, input: &Input) -> Result<()> {
    let url = checked_url(env, &input.url)?;
    checked_token(&input.token)?;
    let org = actor.org();
    let mut change = env.change(actor).await?;
    entitled(change.tx(), org).await?;
    let old = audit_streams::find(change.tx(), org).await?;
    let stored = old.as_ref().and_then(|old| old.token_sealed.clone());
    let fresh = !input.token.expose_secret().is_empty() && !input.without_token;
    let token_sealed = if input.without_token {
        None
    } else if fresh {
        let data_key = orgs::data_key(env, change.tx(), org).await?;
        let row = org.to_string();
        Some(data_key.seal(&aad(org, &row), input.token.expose_secret().as_bytes(), env.rng.as_ref()))
    } else {
        let elsewhere =
            old.as_ref().is_some_and(|old| Url::parse(&old.url).map(|old| old.origin()) != Ok(url.origin()));
        if elsewhere && stored.is_some() {
            let words = "Enter the token again: the one that is stored belongs to another receiver and is not sent to this one";
            return Err(AppError::field("token", "credentials_needed", words).into());
        }
        stored.clone()
    };
    if input.kind == StreamKind::SplunkHec && token_sealed.is_none() {
        return Err(AppError::field("token", "required", "Enter the token of the event collector").into());
    }
    let row = Stream {
        kind: input.kind.as_str().to_owned(),
        url: url.to_string(),
        token_sealed,
        enabled: input.enabled,
        cursor: store::orgs::version(change.tx(), org).await?.unwrap_or_default(),
        due_at: 0,
        failures: 0,
        last_sent_at: None,
        last_error: None,
        last_error_at: None,
        skipped: 0,
        updated_at: env.now(),
        updated_by: actor.principal().name().to_owned(),
    };
    audit_streams::put(change.tx(), org, &row).await?;
    let was = |value: fn(&Stream) -> Value| old.as_ref().map_or(Value::Null, value);
    let mut event = Event::new(if old.is_some() { "audit_stream.updated" } else { "audit_stream.created" })
        .target("audit_stream", org, &row.url)
        .changed("kind", was(|old| old.kind.as_str().into()), row.kind.as_str())
        .changed("url", was(|old| old.url.as_str().into()), row.url.as_str())
        .changed("enabled", was(|old| old.enabled.into()), row.enabled);
    if fresh {
        event = event.secret("token", stored.is_some());
    } else if stored.is_some() && row.token_sealed.is_none() {
        event = event.changed("token", "•set", "");
    }
    change.commit(event).await
}

/// Ends the stream. What was not sent stays in the log.
pub async fn delete(env: &Env, actor: &OrgActor<can::SecurityManage>) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let old = audit_streams::find(change.tx(), org).await?.ok_or_else(no_stream)?;
    audit_streams::delete(change.tx(), org).await?;
    let waiting = store::orgs::version(change.tx(), org).await?.unwrap_or_default() - old.cursor;
    let event = Event::new("audit_stream.deleted").target("audit_stream", org, &old.url);
    change.commit(event.with("unsent", waiting)).await
}

/// Sends one event that is none of the log, so that somebody sees whether the receiver takes it: the answer says what it
/// said, or why there was none.
pub async fn test(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
) -> Result<core::result::Result<(), String>> {
    let org = actor.org();
    let sender = {
        let mut tx = env.db.read().await?;
        entitled(&mut tx, org).await?;
        let row = audit_streams::find(&mut tx, org).await?.ok_or_else(no_stream)?;
        Sender::open(env, &mut tx, org, &row).await?
    };
    let at = env.clock.now_micros();
    let event = json!({
        "version": super::VERSION,
        "id": "test",
        "occurred_at": export::time(at),
        "action": "audit_stream.test",
        "result": "ok",
        "organisation": org.to_string(),
        "metadata": {"about": "A test of this stream. Nothing happened."},
    });
    let outcome = sender.send(env, [(at, event)].into_iter()).await;
    let change = env.change(actor).await?;
    let told = outcome.as_ref().err().cloned().unwrap_or_default();
    let event = Event::new("audit_stream.tested").target("audit_stream", org, sender.url.as_str());
    let event = event.with("taken", outcome.is_ok());
    change.commit(if told.is_empty() { event } else { event.with("error", told) }).await?;
    Ok(outcome)
}

/// A stream that is open to be sent to.
struct Sender {
    kind: StreamKind,
    url: Url,
    authorization: Option<HeaderValue>,
}

impl Sender {
    async fn open(env: &Env, tx: &mut Tx, org: OrgId, row: &Stream) -> Result<Self> {
        let kind = StreamKind::parse(&row.kind).unwrap_or_default();
        let broken =
            |what: &str| Error::Internal(format!("the {what} of the audit stream of {org} does not read"));
        let url = Url::parse(&row.url).map_err(|_| broken("URL"))?;
        let authorization = match &row.token_sealed {
            None => None,
            Some(sealed) => {
                let data_key = orgs::data_key(env, tx, org).await?;
                let id = org.to_string();
                let token = data_key.open(&aad(org, &id), sealed).map_err(|_| broken("token"))?;
                let scheme = match kind {
                    StreamKind::JsonLines => "Bearer",
                    StreamKind::SplunkHec => "Splunk",
                };
                let mut value = HeaderValue::from_bytes(&[scheme.as_bytes(), b" ", token.as_ref()].concat())
                    .map_err(|_| broken("token"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { kind, url, authorization })
    }

    /// Sends events, each with its time in Unix microseconds. The error is a sentence for people; it quotes nothing of what
    /// the receiver said but its status.
    async fn send(
        &self,
        env: &Env,
        events: impl Iterator<Item = (i64, Value)>,
    ) -> core::result::Result<(), String> {
        let mut body = Vec::new();
        for (at, event) in events {
            let line = match self.kind {
                StreamKind::JsonLines => event,
                StreamKind::SplunkHec => json!({
                    "time": seconds(at),
                    "host": env.settings.node,
                    "source": "gatehouse",
                    "sourcetype": "gatehouse:audit",
                    "event": event,
                }),
            };
            body.extend_from_slice(line.to_string().as_bytes());
            body.push(b'\n');
        }
        let kind = match self.kind {
            StreamKind::JsonLines => "application/x-ndjson",
            StreamKind::SplunkHec => "application/json",
        };
        let mut request = Request::post(self.url.as_str()).header(header::CONTENT_TYPE, kind);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Bytes::from(body)).map_err(|why| why.to_string())?;
        let answer = tokio::time::timeout(PATIENCE, env.outbound.send(request)).await;
        let answer = answer
            .map_err(|_| "The receiver took too long to answer.".to_owned())?
            .map_err(|why| why.to_string())?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(match status.as_u16() {
            401 | 403 => format!("The receiver refused the token (HTTP {}).", status.as_u16()),
            300..=399 => format!(
                "The receiver answered with a redirect (HTTP {}), which is not followed.",
                status.as_u16()
            ),
            code => format!("The receiver answered with HTTP {code}."),
        })
    }
}

/// Seconds with microseconds, as Splunk takes a time.
fn seconds(micros: i64) -> String {
    format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000))
}

/// When it is tried again after so many failures in a row, from now on, milliseconds.
fn pause(failures: i64) -> i64 {
    let doublings = u32::try_from(failures.clamp(0, 20)).unwrap_or_default();
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

/// Sends what waits, to every stream that is due; how many events were taken.
pub async fn deliver(env: &Env) -> Result<u64> {
    let due = {
        let mut tx = env.db.read().await?;
        audit_streams::list_due(&mut tx, env.now(), AT_ONCE).await?
    };
    let mut taken = 0;
    for done in join_all(due.into_iter().map(|org| turn(env, org))).await {
        taken += done?;
    }
    Ok(taken)
}

/// One stream's turn.
async fn turn(env: &Env, org: OrgId) -> Result<u64> {
    {
        let mut tx = env.db.write().await?;
        let now = env.now();
        if !audit_streams::lease(&mut tx, org, now, now + LEASE).await? {
            return Ok(0);
        }
        tx.commit().await?;
    }
    let mut taken = 0;
    for _ in 0..TURNS {
        match step(env, org).await {
            Ok(Some(more)) => taken += more,
            // Nothing is left, or it failed and was given back.
            Ok(None) => return release(env, org).await.map(|()| taken),
            Err(error) => {
                // It is due again when the lease is over, or at once if that can be written.
                _ = release(env, org).await;
                return Err(error);
            }
        }
    }
    release(env, org).await.map(|()| taken)
}

async fn release(env: &Env, org: OrgId) -> Result<()> {
    let mut tx = env.db.write().await?;
    audit_streams::release(&mut tx, org).await?;
    Ok(tx.commit().await?)
}

/// Sends the next events; how many were taken, `None` when there was nothing to do or it failed.
async fn step(env: &Env, org: OrgId) -> Result<Option<u64>> {
    let (stream, rows, sender) = {
        let mut tx = env.db.read().await?;
        let Some(stream) = audit_streams::find(&mut tx, org).await?.filter(|stream| stream.enabled) else {
            return Ok(None);
        };
        if !readable(plan(&mut tx, org).await?) {
            return Ok(None);
        }
        let rows = audit_chain::list_after(&mut tx, Some(org), stream.cursor, BATCH).await?;
        let sender = Sender::open(env, &mut tx, org, &stream).await?;
        (stream, rows, sender)
    };
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
    let skipped = first.seq - stream.cursor - 1;
    let (span, count) = ((stream.cursor, last.seq), rows.len() as u64);
    let outcome = sender.send(env, rows.iter().map(|row| (row.occurred_at, object(org, row)))).await;
    let now = env.now();
    let mut tx = env.db.write().await?;
    match outcome {
        Ok(()) => {
            let moved = audit_streams::sent(&mut tx, org, span, skipped, now).await?;
            tx.commit().await?;
            Ok(moved.then_some(count))
        }
        Err(why) => {
            tracing::warn!(%org, why, failures = stream.failures + 1, "audit events could not be streamed");
            let failure = Failure { why, at: now, due_at: now + pause(stream.failures) };
            audit_streams::failed(&mut tx, org, stream.cursor, &failure).await?;
            tx.commit().await?;
            Ok(None)
        }
    }
}

/// An event with the organisation that it is of: a receiver may be that of several.
fn object(org: OrgId, row: &Row) -> Value {
    let mut event = export::object(row);
    event["organisation"] = json!(org.to_string());
    event
}

/// Up to which time retention may go at most in an organisation that streams what it has not sent yet, Unix microseconds.
pub(super) async fn held_since(env: &Env, tx: &mut Tx, org: OrgId) -> Result<Option<i64>> {
    let stream = audit_streams::find(tx, org).await?.filter(|stream| stream.enabled);
    let Some(stream) = stream else { return Ok(None) };
    let version = store::orgs::version(tx, org).await?.unwrap_or_default();
    Ok((stream.cursor < version).then(|| (env.now() - KEPT_DAYS * DAY) * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aud_07_pauses_grow_to_a_quarter_of_an_hour() {
        assert_eq!([0, 1, 2, 3].map(pause), [2_000, 4_000, 8_000, 16_000]);
        assert_eq!([9, 20, 1_000_000].map(pause), [LONGEST_PAUSE; 3]);
    }

    #[test]
    fn aud_07_a_time_is_told_to_the_microsecond() {
        assert_eq!(seconds(1_790_000_000_000_001), "1790000000.000001");
    }
}
