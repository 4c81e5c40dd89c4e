//! How deliveries are made: taken for oneself, sent, and concluded (WHK-02 to WHK-05).
//!
//! Nothing here waits for anything but the receiver: whoever runs it ([`Courier`]) takes as many at once as it likes, at most
//! [`MOST_PER_WEBHOOK`] of them for one webhook over all nodes. A webhook that fails gets one at a time, so that many that
//! hang do not use up the places of those that answer.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::{
    ErrorKind, OrgId, OutboxId, WebhookId,
    permissions::can,
    webhooks::{Cause, DISABLED, DeliveryState, DisabledFor, WebhookState},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use store::{
    Tx,
    webhook_deliveries::{Attempt, Delivery, Outcome},
    webhooks::Webhook as Row,
};
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description,
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{event, lives, payload, sign, whole_url};
use crate::{
    Env, Error, OrgActor, Result, Rng,
    change::{Change, Event},
    mail::{self, letters},
    net::BodyStream,
    orgs,
};

/// The most deliveries of one webhook that are tried at once.
pub const MOST_PER_WEBHOOK: i64 = 5;
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// The pauses after failures; after the last of them a delivery is given up (WHK-03).
const PAUSES: [i64; 9] =
    [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
/// The longest pause that a receiver may ask for.
const LONGEST_ASKED: i64 = 24 * HOUR;
/// How long a delivery may take, from the receiver's name to the head of its answer (WHK-03). Connecting has a limit of its
/// own.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the body of an answer is waited for: it is for the log only.
const BODY_PATIENCE: Duration = Duration::from_secs(2);
/// How long whoever takes a delivery has it for themself: longer than it may take.
pub(super) const LEASE: i64 = 30 * SECOND;
/// How much of an answer's body is kept, bytes (SSR-08).
const BODY_KEPT: usize = 4 * 1024;
/// How many headers of an answer are kept, and how much of each, characters.
const HEADERS_KEPT: usize = 32;
const HEADER_KEPT: usize = 256;
/// How long a webhook may fail before its admins are warned, and before it is disabled (WHK-04).
const WARN_AFTER: i64 = 24 * HOUR;
const DISABLE_AFTER: i64 = 5 * 24 * HOUR;

/// A delivery that was taken.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub(super) org: OrgId,
    pub(super) webhook: WebhookId,
    pub(super) outbox: OutboxId,
    pub(super) lease: String,
}

/// Whoever makes deliveries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Courier {
    env: Env,
    patience: Duration,
    /// Places for those who write down what came of a delivery: people who change something do not wait behind all of them.
    writers: Arc<Semaphore>,
}

/// How many write at once.
const WRITERS: usize = 4;

/// What is to be sent, and where.
struct Parcel {
    delivery: Delivery,
    url: SecretString,
    keys: Vec<Zeroizing<Vec<u8>>>,
    body: String,
}

/// What came back.
struct Sent {
    at: i64,
    took: i64,
    status: Option<u16>,
    error: Option<&'static str>,
    headers: Vec<(String, String)>,
    body: String,
    cut: bool,
    /// How long the receiver wants to be left alone, milliseconds.
    wait: Option<i64>,
}

impl Sent {
    fn delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    fn gone(&self) -> bool {
        self.status == Some(410)
    }
}

impl Courier {
    /// A courier with the usual patience.
    pub fn new(env: Env) -> Self {
        Self { env, patience: PATIENCE, writers: Arc::new(Semaphore::new(WRITERS)) }
    }

    /// The same with less patience, for tests.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Takes deliveries that are due, at most `room`, for somebody who has so many `places` in all. Once no more than half
    /// of the places are left each webhook gets one, so that many that hang leave room for those that answer (WHK-05).
    pub async fn claim(&self, room: usize, places: usize) -> Result<Vec<Claimed>> {
        let env = &self.env;
        let queues = {
            let mut tx = env.db.read().await?;
            store::webhook_deliveries::list_queues(&mut tx, env.now()).await?
        };
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let (now, lease) = (env.now(), env.uuid().to_string());
        let mut claimed = Vec::new();
        let mut tx = env.db.write().await?;
        for queue in queues {
            let left = room - claimed.len();
            if left == 0 {
                break;
            }
            let crowded = left <= places / 2;
            let most = if queue.failing || crowded { 1 } else { MOST_PER_WEBHOOK };
            if queue.taken >= most {
                continue;
            }
            let most = most.min(queue.taken.saturating_add(i64::try_from(left).unwrap_or(i64::MAX)));
            let taken =
                store::webhook_deliveries::claim(&mut tx, queue.webhook, now, now + LEASE, &lease, most)
                    .await?;
            let (org, webhook) = (queue.org, queue.webhook);
            claimed.extend(taken.into_iter().map(|outbox| Claimed {
                org,
                webhook,
                outbox,
                lease: lease.clone(),
            }));
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// Gives back what was taken and will not be sent.
    pub async fn release(&self, claimed: &[Claimed]) -> Result<()> {
        let mut tx = self.env.db.write().await?;
        for one in claimed {
            store::webhook_deliveries::lock(&mut tx, one.webhook).await?;
            store::webhook_deliveries::release(&mut tx, one.webhook, one.outbox, &one.lease, self.env.now())
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Sends what was taken, and says what came of it; whether it was delivered.
    pub async fn deliver(&self, claimed: &Claimed) -> Result<bool> {
        let Some(parcel) = self.pack(claimed).await? else { return Ok(false) };
        let sent = self.send(&parcel).await;
        let delivered = sent.delivered();
        let _place = self.writers.acquire().await;
        conclude(&self.env, claimed, &parcel.delivery, &sent).await?;
        Ok(delivered)
    }

    /// Makes all deliveries that are due, and those that become due by them; how many were taken. For tests and scripts:
    /// a server runs [`Courier::claim`] and [`Courier::deliver`] side by side.
    pub async fn deliver_due(&self) -> Result<usize> {
        let mut delivered = 0;
        loop {
            let claimed = self.claim(usize::MAX, 0).await?;
            if claimed.is_empty() {
                return Ok(delivered);
            }
            for done in join_all(claimed.iter().map(|one| self.deliver(one))).await {
                delivered += usize::from(done?);
            }
        }
    }

    /// What is to be sent. `None` when there is nothing to do any more: it was deleted, or it waits.
    async fn pack(&self, claimed: &Claimed) -> Result<Option<Parcel>> {
        let env = &self.env;
        let Claimed { org, webhook, outbox, lease } = claimed;
        let mut tx = env.db.read().await?;
        let Some(row) = store::webhooks::find(&mut tx, *org, *webhook).await? else { return Ok(None) };
        let delivery = store::webhook_deliveries::find(&mut tx, *org, *webhook, *outbox).await?;
        let event = store::outbox::find(&mut tx, *org, *outbox).await?;
        let (Some(delivery), Some((name, data, at))) = (delivery, event) else { return Ok(None) };
        if delivery.lease.as_deref() != Some(lease) {
            return Ok(None);
        }
        if row.state != WebhookState::Active && delivery.cause != Cause::Test {
            drop(tx);
            self.release(core::slice::from_ref(claimed)).await?;
            return Ok(None);
        }
        let key = orgs::data_key(env, &mut tx, *org).await?;
        let secrets = store::webhooks::list_secrets(&mut tx, *org, *webhook).await?;
        let keys = secrets
            .iter()
            .filter(|secret| lives(secret, env.now()))
            .map(|secret| sign::open(&key, *org, *webhook, secret.number, &secret.sealed))
            .collect::<Result<_>>()?;
        let body = payload::body(*org, *outbox, &name, at, &data)?;
        Ok(Some(Parcel { delivery, url: whole_url(&key, &row)?, keys, body }))
    }

    async fn send(&self, parcel: &Parcel) -> Sent {
        let env = &self.env;
        let at = env.now();
        let mut sent = Sent {
            at,
            took: 0,
            status: None,
            error: None,
            headers: Vec::new(),
            body: String::new(),
            cut: false,
            wait: None,
        };
        match request(parcel, at) {
            Err(_) => sent.error = Some("blocked_destination"),
            Ok(request) => match tokio::time::timeout(self.patience, env.outbound.send(request)).await {
                Err(_) => sent.error = Some("timeout"),
                Ok(Err(why)) => sent.error = Some(why.class()),
                Ok(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    sent.status = Some(head.status.as_u16());
                    sent.wait = asked_to_wait(head.status.as_u16(), &head.headers, at);
                    sent.headers = kept(&head.headers);
                    (sent.body, sent.cut) = beginning(body, self.patience.min(BODY_PATIENCE)).await;
                }
            },
        }
        sent.took = (env.now() - at).max(0);
        sent
    }
}

fn request(parcel: &Parcel, at: i64) -> core::result::Result<http::Request<Bytes>, http::Error> {
    let timestamp = at.div_euclid(1000);
    let id = parcel.delivery.outbox;
    http::Request::post(parcel.url.expose_secret())
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", id.to_string())
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", sign::signatures(&parcel.keys, id, timestamp, &parcel.body))
        .body(Bytes::from(parcel.body.clone()))
}

/// How long a receiver that is overloaded wants to be left alone (RFC 9110 §10.2.3), milliseconds.
fn asked_to_wait(status: u16, headers: &HeaderMap, now: i64) -> Option<i64> {
    const IMF_FIXDATE: &[BorrowedFormatItem<'_>] = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    if !matches!(status, 429 | 503) {
        return None;
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u32>() {
        i64::from(seconds) * SECOND
    } else {
        let at: OffsetDateTime = PrimitiveDateTime::parse(text, IMF_FIXDATE).ok()?.assume_utc();
        at.unix_timestamp() * SECOND - now
    };
    Some(wait.clamp(0, LONGEST_ASKED))
}

/// The headers of an answer that are kept. Cookies are not: they may open something at the receiver.
fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let plain = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).chars().take(HEADER_KEPT).collect();
        (name.to_string(), value)
    };
    headers.iter().filter(|(name, _)| *name != header::SET_COOKIE).take(HEADERS_KEPT).map(plain).collect()
}

/// The beginning of a body, and whether there is more. One that has no end, or comes slowly, is not waited for.
async fn beginning(mut body: BodyStream, patience: Duration) -> (String, bool) {
    let mut bytes = Vec::new();
    let whole = tokio::time::timeout(patience, async {
        while let Some(piece) = body.next().await {
            let Ok(piece) = piece else { return false };
            bytes.extend_from_slice(&piece[..piece.len().min(BODY_KEPT + 1 - bytes.len())]);
            if bytes.len() > BODY_KEPT {
                return false;
            }
        }
        true
    })
    .await;
    let cut = !matches!(whole, Ok(true));
    bytes.truncate(BODY_KEPT);
    // No database keeps U+0000 for certain.
    (String::from_utf8_lossy(&bytes).replace('\0', "\u{FFFD}"), cut)
}

/// The pause after the `n`th failure, ±20 %, milliseconds; `None` after the last.
fn pause_after(n: i64, rng: &dyn Rng) -> Option<i64> {
    let pause = *PAUSES.get(usize::try_from(n - 1).ok()?)?;
    let mut random = [0; 4];
    rng.fill(&mut random);
    let spread = pause * 2 / 5;
    Some(pause - pause / 5 + spread * i64::from(u32::from_le_bytes(random)) / i64::from(u32::MAX))
}

/// What becomes of a delivery after an attempt: its state, how often it failed, when it is tried again.
fn decide(delivery: &Delivery, sent: &Sent, now: i64, rng: &dyn Rng) -> (DeliveryState, i64, Option<i64>) {
    if sent.delivered() {
        return (DeliveryState::Delivered, 0, None);
    }
    let tries = delivery.tries + 1;
    let pause = if sent.gone() || delivery.cause == Cause::Test { None } else { pause_after(tries, rng) };
    match pause {
        Some(pause) => (DeliveryState::Pending, tries, Some(now + pause.max(sent.wait.unwrap_or_default()))),
        None => (DeliveryState::Failed, tries, None),
    }
}

/// What an attempt means for its webhook.
enum Verdict {
    /// It goes on as before.
    Goes,
    /// It works again.
    Works,
    /// It begins to fail.
    Fails,
    /// Its admins are to be warned.
    Warn,
    /// It is disabled.
    Disable(DisabledFor),
}

fn judge(row: &Row, delivery: &Delivery, sent: &Sent, now: i64) -> Verdict {
    if delivery.cause == Cause::Test || row.state != WebhookState::Active {
        return Verdict::Goes;
    }
    match row.failing_since {
        since if sent.delivered() => {
            if since.is_some() {
                Verdict::Works
            } else {
                Verdict::Goes
            }
        }
        _ if sent.gone() => Verdict::Disable(DisabledFor::Gone),
        None => Verdict::Fails,
        Some(since) if now - since >= DISABLE_AFTER => Verdict::Disable(DisabledFor::Failing),
        Some(since) if now - since >= WARN_AFTER && row.warned_at.is_none() => Verdict::Warn,
        Some(_) => Verdict::Goes,
    }
}

/// Says what came of an attempt. Whoever lost their lease meanwhile changes nothing.
async fn conclude(env: &Env, claimed: &Claimed, delivery: &Delivery, sent: &Sent) -> Result<()> {
    let org = claimed.org;
    let news = {
        let mut tx = env.db.read().await?;
        let row = store::webhooks::find(&mut tx, org, claimed.webhook).await?;
        row.is_some_and(|row| {
            matches!(judge(&row, delivery, sent, env.now()), Verdict::Warn | Verdict::Disable(_))
        })
    };
    if !news {
        let mut tx = env.db.write().await?;
        if write(env, &mut tx, claimed, delivery, sent).await?.is_some() {
            tx.commit().await?;
        }
        return Ok(());
    }
    // What its admins hear of is a change of the organisation, whose lock comes first.
    let mut change = match env.change(&OrgActor::<can::WebhooksWrite>::system(org)).await {
        Err(Error::App(gone)) if gone.kind == ErrorKind::NotFound => return Ok(()),
        change => change?,
    };
    let Some((row, verdict)) = write(env, change.tx(), claimed, delivery, sent).await? else {
        return Ok(());
    };
    match verdict {
        Verdict::Disable(reason) => {
            let event = disable(env, &mut change, &row, reason).await?;
            change.commit(event).await
        }
        Verdict::Warn => {
            let event = warn(env, &mut change, &row).await?;
            change.commit(event).await
        }
        Verdict::Goes | Verdict::Works | Verdict::Fails => change.keep_quiet().await,
    }
}

/// Writes the attempt and what follows from it for delivery and webhook; `None` for somebody whose lease is over.
async fn write(
    env: &Env,
    tx: &mut Tx,
    claimed: &Claimed,
    delivery: &Delivery,
    sent: &Sent,
) -> Result<Option<(Row, Verdict)>> {
    let Claimed { org, webhook, outbox, lease } = claimed;
    let (org, webhook, outbox, now) = (*org, *webhook, *outbox, env.now());
    if !store::webhook_deliveries::lock(tx, webhook).await? {
        return Ok(None);
    }
    let Some(row) = store::webhooks::find(tx, org, webhook).await? else { return Ok(None) };
    let (state, tries, due_at) = decide(delivery, sent, now, env.rng.as_ref());
    let outcome = Outcome {
        state,
        tries,
        due_at,
        tried_at: sent.at,
        took: sent.took,
        status: sent.status.map(i64::from),
        error: sent.error,
    };
    let Some(number) = store::webhook_deliveries::conclude(tx, webhook, outbox, lease, &outcome).await?
    else {
        tracing::warn!(%webhook, %outbox, "a delivery took longer than its lease; somebody else tries it");
        return Ok(None);
    };
    let cause = if delivery.tries > 0 { Cause::Retry } else { delivery.cause };
    let attempt = Attempt {
        number,
        cause: cause.as_str().to_owned(),
        started_at: sent.at,
        took: sent.took,
        delivered: sent.delivered(),
        status: outcome.status,
        error: sent.error.map(str::to_owned),
        headers: json!(sent.headers).to_string(),
        body: sent.body.clone(),
        cut: sent.cut,
    };
    store::webhook_deliveries::insert_attempt(tx, org, webhook, outbox, &attempt).await?;
    let verdict = judge(&row, delivery, sent, now);
    match verdict {
        Verdict::Works => store::webhooks::set_failing(tx, org, webhook, None, None).await?,
        Verdict::Fails => store::webhooks::set_failing(tx, org, webhook, Some(sent.at), None).await?,
        Verdict::Goes | Verdict::Warn | Verdict::Disable(_) => {}
    }
    Ok(Some((row, verdict)))
}

/// Disables a webhook: events wait, its admins get a mail, other webhooks hear of it.
async fn disable(env: &Env, change: &mut Change, row: &Row, reason: DisabledFor) -> Result<Event> {
    let (org, id) = (row.org, row.id);
    store::webhooks::set_state(change.tx(), org, id, WebhookState::Disabled, env.now(), Some(reason)).await?;
    mail::to_admins(env, change.tx(), org, |to, org_name| {
        letters::webhook_disabled(&env.settings, to, org_name, row, reason)
    })
    .await?;
    let data = json!({
        "webhook_id": id,
        "url": row.url,
        "reason": reason.as_str(),
        "failing_since": row.failing_since.map(payload::timestamp),
    });
    Ok(event("webhook.disabled", row).with("reason", reason.as_str()).publish(DISABLED, data))
}

/// Warns the admins of a webhook that fails for a day.
async fn warn(env: &Env, change: &mut Change, row: &Row) -> Result<Event> {
    let now = env.now();
    store::webhooks::set_failing(change.tx(), row.org, row.id, row.failing_since, Some(now)).await?;
    mail::to_admins(env, change.tx(), row.org, |to, org_name| {
        letters::webhook_failing(&env.settings, to, org_name, row)
    })
    .await?;
    Ok(event("webhook.failing", row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn whk_03_pauses_follow_the_table_with_a_fifth_more_or_less() {
        let rng = SeededRng::default();
        let mut seen = std::collections::HashSet::new();
        for (at, pause) in PAUSES.iter().enumerate() {
            for _ in 0..200 {
                let n = i64::try_from(at).unwrap() + 1;
                let jittered = pause_after(n, &rng).unwrap();
                assert!(jittered >= pause * 4 / 5 && jittered <= pause * 6 / 5, "{jittered} for {pause}");
                seen.insert(jittered);
            }
        }
        assert!(seen.len() > 500, "they differ");
        assert_eq!(pause_after(10, &rng), None);
        assert_eq!(PAUSES.iter().sum::<i64>() / HOUR, 75);
    }

    #[test]
    fn whk_03_an_overloaded_receiver_says_how_long_it_wants_to_be_left_alone() {
        let now = 1_790_000_000_000;
        let asked = |status, text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            asked_to_wait(status, &headers, now)
        };
        assert_eq!(asked(429, "120"), Some(120 * SECOND));
        assert_eq!(asked(503, "999999"), Some(24 * HOUR), "no longer than a day");
        assert_eq!(asked(500, "120"), None);
        assert_eq!(asked(503, "soon"), None);
        // 2026-09-21 14:13:20 is `now`.
        assert_eq!(asked(503, "Mon, 21 Sep 2026 14:14:20 GMT"), Some(60 * SECOND));
        assert_eq!(asked(503, "Mon, 21 Sep 2020 14:14:20 GMT"), Some(0));
    }
}
