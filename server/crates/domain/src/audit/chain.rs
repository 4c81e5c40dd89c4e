//! The chain that holds the log of an organisation together (AUD-04, AUD-05): each event's code is made of the code before
//! it and of everything that the event says, with a key that is not in the database in the clear. Who changes, removes or
//! reorders a row cannot make the codes fit; who cuts rows off at the end cannot make the head fit.
//!
//! The key is sealed with the master key and kept as a fact of the instance, so that it outlives a change of the master key.
//! The event goes in as a digest: what is personal in it may one day be erased while its digest stays.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use model::{AppError, ErrorKind, OrgId, audit::category_of};
use sha2::{Digest as _, Sha256};
use store::{
    Tx,
    audit::{NewEvent, Row},
    audit_chain::{self, Chain, Checkpoint, Head},
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::erasure;
use crate::{Env, Error, Result};

const KEY: &str = "audit key";
/// What writers of the instance's chain wait for. Those of an organisation wait for its row.
const LOCK: &str = "audit chain";
/// Rows that are read at once: memory does not grow with the log.
const ROWS: i64 = 500;

/// The key of all chains of this instance.
pub(crate) struct ChainKey(Zeroizing<Vec<u8>>);

impl ChainKey {
    /// Reads it, or makes it when there is none. Of two who make it at once, one's counts for both.
    async fn get(env: &Env, tx: &mut Tx) -> Result<Self> {
        if let Some(key) = Self::find(env, tx).await? {
            return Ok(key);
        }
        let mut fresh = Zeroizing::new([0; 32]);
        env.rng.fill(fresh.as_mut());
        let sealed = env.sealer.seal_instance(KEY, fresh.as_ref(), env.rng.as_ref());
        store::instance_facts::insert_once(tx, KEY, &sealed).await?;
        Self::find(env, tx).await?.ok_or_else(|| Error::Internal("the audit key was not kept".into()))
    }

    /// Reads it without making one.
    pub(super) async fn find(env: &Env, tx: &mut Tx) -> Result<Option<Self>> {
        store::instance_facts::find(tx, KEY).await?.map(|sealed| Self::open(env, &sealed)).transpose()
    }

    fn open(env: &Env, sealed: &[u8]) -> Result<Self> {
        let key = env.sealer.open_instance(KEY, sealed);
        Ok(Self(key.map_err(|why| Error::Internal(format!("the audit key cannot be opened: {why}")))?))
    }

    fn mac(&self, label: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length of key will do");
        for part in [label.as_bytes()].iter().chain(parts) {
            mac.update(&length(part));
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }

    /// The code over an event from which a name was erased: what it was, as a digest, and what it is.
    pub(super) fn erased(&self, chain: Chain, row: &Row, digest: &[u8]) -> Vec<u8> {
        let now = digest_of(chain, row, row.seq, &row.category);
        self.mac("erased", &[digest, &now])
    }

    /// What stands before the first event of a chain.
    fn genesis(&self, chain: Chain) -> Vec<u8> {
        self.mac("begin", &[audit_chain::name(chain).as_bytes()])
    }

    /// The code of an event after the one with the code `before`.
    fn next(&self, before: &[u8], event: &[u8; 32]) -> Vec<u8> {
        self.mac("event", &[before, event])
    }

    fn head(&self, chain: Chain, seq: i64, mac: Vec<u8>) -> Head {
        let tag = self.mac("head", &[audit_chain::name(chain).as_bytes(), &seq.to_be_bytes(), &mac]);
        Head { seq, mac, tag }
    }

    fn tag_of(&self, chain: Chain, point: &Checkpoint) -> Vec<u8> {
        let name = audit_chain::name(chain);
        self.mac(
            "checkpoint",
            &[
                name.as_bytes(),
                point.kind.as_bytes(),
                &point.seq.to_be_bytes(),
                &point.mac,
                &point.at.to_be_bytes(),
            ],
        )
    }
}

fn length(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}

/// The version in which events are written. Version 1 did not say how the actor had shown who they are.
pub(crate) const VERSION: i64 = 2;

/// Everything that an event says, with the length before each part, so that no two events read alike.
fn digest(chain: Chain, version: i64, seq: i64, occurred_at: i64, texts: [&str; 11]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let label = format!("gatehouse audit {version}");
    let (name, seq, at) = (audit_chain::name(chain), seq.to_be_bytes(), occurred_at.to_be_bytes());
    let fixed = [label.as_bytes(), name.as_bytes(), &seq, &at];
    // Whoever fills in what an event of version 1 left out has changed it.
    let old = version == 1 && texts[9..].iter().all(|text| text.is_empty());
    let texts = if old { &texts[..9] } else { &texts[..] };
    for part in fixed.into_iter().chain(texts.iter().map(|text| text.as_bytes())) {
        hash.update(length(part));
        hash.update(part);
    }
    hash.finalize().into()
}

pub(super) fn digest_of(chain: Chain, row: &Row, seq: i64, category: &str) -> [u8; 32] {
    let texts = [
        &*row.id,
        &*row.action,
        category,
        &*row.result,
        &*row.actor_kind,
        &*row.actor_id,
        &*row.actor_name,
        &*row.detail,
        &*row.context,
        &*row.auth_method,
        &*row.key_id,
    ];
    digest(chain, row.version, seq, row.occurred_at, texts)
}

/// Appends an event to the chain of its organisation, whose row the caller has locked by raising its version; or to the
/// instance's, whose sequence number is given here.
///
/// # Errors
/// `Unavailable` when the event cannot be written: then the change that it is about is not made either (AUD-03).
pub(crate) async fn append(env: &Env, tx: &mut Tx, event: NewEvent<'_>) -> Result<()> {
    write(env, tx, event).await.map_err(|error| match error {
        // A full disk and a database that is away have words of their own, and the same status.
        Error::App(why) => Error::App(why),
        Error::Store(why) if why.is_full() || why.is_transient() => Error::Store(why),
        why => {
            tracing::error!(error = %why, "an event could not be written to the audit log, so its change was not made");
            AppError::new(
                ErrorKind::Unavailable,
                "audit_unavailable",
                "This could not be written to the audit log, so nothing was changed. Try again in a minute; if it stays, give the request id to your operator.",
            )
            .into()
        }
    })
}

async fn write(env: &Env, tx: &mut Tx, mut event: NewEvent<'_>) -> Result<()> {
    let chain = event.org;
    if chain.is_none() {
        store::instance_facts::lock(tx, LOCK).await?;
    }
    let key = ChainKey::get(env, tx).await?;
    let head = match audit_chain::head(tx, chain).await? {
        Some(head) => head,
        None => adopt(env, tx, &key, chain).await?,
    };
    if chain.is_none() {
        event.seq = head.seq + 1;
    }
    let id = event.id.to_string();
    let texts = [
        &*id,
        event.action,
        event.category,
        event.result,
        event.actor_kind,
        event.actor_id,
        event.actor_name,
        event.detail,
        event.context,
        event.auth_method,
        event.key_id,
    ];
    let mac = key.next(&head.mac, &digest(chain, event.version, event.seq, event.occurred_at, texts));
    store::audit::insert(tx, &event, &mac).await?;
    audit_chain::put_head(tx, chain, &key.head(chain, event.seq, mac)).await?;
    Ok(())
}

/// Takes the rows of before there was a chain into it, and marks where they end. Where there are none, the chain begins.
async fn adopt(env: &Env, tx: &mut Tx, key: &ChainKey, chain: Chain) -> Result<Head> {
    let (mut seq, mut mac) = (0, key.genesis(chain));
    loop {
        let rows = audit_chain::list_unchained(tx, chain, seq, ROWS).await?;
        for row in &rows {
            // Those of the instance had no order but their time.
            seq = if chain.is_some() { row.seq } else { seq + 1 };
            let category = category_of(&row.action);
            mac = key.next(&mac, &digest_of(chain, row, seq, category));
            audit_chain::adopt(tx, &row.id, seq, category, &mac).await?;
        }
        if rows.is_empty() {
            break;
        }
    }
    let head = key.head(chain, seq, mac);
    if seq > 0 {
        let point = checkpoint(env, key, chain, "adopted", &head);
        audit_chain::put_checkpoint(tx, chain, &point).await?;
    }
    audit_chain::put_head(tx, chain, &head).await?;
    Ok(head)
}

/// Gives every log of before there was a chain its chain. Done again, it changes nothing.
pub async fn adopt_all(env: &Env) -> Result<()> {
    for chain in chains(env).await? {
        {
            let mut tx = env.db.read().await?;
            if audit_chain::head(&mut tx, chain).await?.is_some() {
                continue;
            }
        }
        let mut tx = env.db.write().await?;
        match chain {
            Some(org) => store::orgs::lock(&mut tx, org).await?,
            None => store::instance_facts::lock(&mut tx, LOCK).await?,
        }
        let key = ChainKey::get(env, &mut tx).await?;
        if audit_chain::head(&mut tx, chain).await?.is_none() {
            adopt(env, &mut tx, &key, chain).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

/// All chains: the instance's, then each organisation's.
pub(super) async fn chains(env: &Env) -> Result<Vec<Chain>> {
    let mut tx = env.db.read().await?;
    let orgs = audit_chain::list_days(&mut tx).await?;
    Ok([None].into_iter().chain(orgs.into_iter().map(|(org, ..)| Some(org))).collect())
}

fn checkpoint(env: &Env, key: &ChainKey, chain: Chain, kind: &str, head: &Head) -> Checkpoint {
    let mut point = Checkpoint {
        kind: kind.to_owned(),
        seq: head.seq,
        mac: head.mac.clone(),
        at: env.now(),
        tag: Vec::new(),
        kid: String::new(),
        signature: String::new(),
    };
    point.tag = key.tag_of(chain, &point);
    point
}

/// What is signed of a checkpoint: its parts in lines.
pub fn signed_text(chain: Chain, point: &Checkpoint) -> String {
    let mac = data_encoding::HEXLOWER.encode(&point.mac);
    format!(
        "gatehouse-audit-checkpoint\n{}\n{}\n{}\n{mac}\n{}\n",
        audit_chain::name(chain),
        point.kind,
        point.seq,
        point.at
    )
}

async fn sign(env: &Env, chain: Chain, point: &mut Checkpoint) -> Result<()> {
    let signer = env.keys.signer(env).await?;
    let signature = signer.sign(signed_text(chain, point).as_bytes())?;
    signer.kid().clone_into(&mut point.kid);
    point.signature = data_encoding::BASE64URL_NOPAD.encode(&signature);
    Ok(())
}

/// Signs where each chain that grew since its last checkpoint ends now, and writes it to the log as well: whoever keeps
/// the process's output can tell that rows were cut off or a whole chain was written anew (AUD-04).
pub async fn take_checkpoints(env: &Env) -> Result<()> {
    for chain in chains(env).await? {
        let (key, head) = {
            let mut tx = env.db.read().await?;
            let Some(head) = audit_chain::head(&mut tx, chain).await? else { continue };
            let last = audit_chain::last_checkpoint(&mut tx, chain).await?;
            if head.seq == 0 || last.is_some_and(|last| last.seq >= head.seq && last.kind != "adopted") {
                continue;
            }
            let Some(key) = ChainKey::find(env, &mut tx).await? else { continue };
            (key, head)
        };
        let mut point = checkpoint(env, &key, chain, "hourly", &head);
        sign(env, chain, &mut point).await?;
        let mut tx = env.db.write().await?;
        audit_chain::put_checkpoint(&mut tx, chain, &point).await?;
        tx.commit().await?;
        tracing::info!(
            target: crate::KEPT,
            chain = audit_chain::name(chain),
            seq = point.seq,
            mac = data_encoding::HEXLOWER.encode(&point.mac),
            at = point.at,
            kid = point.kid,
            signature = point.signature,
            "audit checkpoint"
        );
    }
    Ok(())
}

/// Removes the events of an organisation that happened before a time (Unix microseconds) and lie before all that happened
/// since, at most `most` of them, and marks with a signed checkpoint where the chain begins now. The last event always
/// stays. How many went.
pub(super) async fn cut(env: &Env, org: OrgId, before: i64, most: i64) -> Result<u64> {
    // The key that signs is there before: making one is a write, and would wait for this one.
    env.keys.signer(env).await?;
    let mut tx = env.db.write().await?;
    store::orgs::lock(&mut tx, org).await?;
    let key = ChainKey::get(env, &mut tx).await?;
    let Some(head) = audit_chain::head(&mut tx, Some(org)).await? else { return Ok(0) };
    let Some((oldest, at)) = store::audit::oldest(&mut tx, org).await? else { return Ok(0) };
    if at >= before {
        return Ok(0);
    }
    let kept = audit_chain::first_kept(&mut tx, org, before).await?.unwrap_or(head.seq);
    let last = (kept - 1).min(head.seq - 1).min(oldest + most - 1);
    let Some(row) = audit_chain::list_after(&mut tx, Some(org), last - 1, 1).await?.pop() else {
        return Ok(0);
    };
    let Some(mac) = row.mac.filter(|_| row.seq == last && last >= oldest) else { return Ok(0) };
    let mut point = checkpoint(env, &key, Some(org), "retention", &key.head(Some(org), last, mac));
    sign(env, Some(org), &mut point).await?;
    audit_chain::put_checkpoint(&mut tx, Some(org), &point).await?;
    let gone = audit_chain::delete_to(&mut tx, org, last).await?;
    tx.commit().await?;
    Ok(gone)
}

/// What was found of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub chain: Chain,
    /// How many events it holds.
    pub events: u64,
    /// The sequence number of the last one.
    pub last: i64,
    /// How many events are written in which version.
    pub versions: BTreeMap<i64, u64>,
    /// Up to which sequence number older events were removed by retention; 0 for none.
    pub removed_to: i64,
    /// Up to which sequence number events are of before there was a chain, and when they were taken in.
    pub adopted: Option<(i64, i64)>,
    /// The first thing that is wrong.
    pub broken: Option<Broken>,
}

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The sequence number.
    pub seq: i64,
    /// The id of the event there, if it is.
    pub id: Option<String>,
    /// What is wrong.
    pub why: String,
    /// What the event there says now, whether or not it is true.
    pub reads: Option<String>,
}

/// An event in a line, for whoever looks for what was done to it.
fn line(row: &Row) -> String {
    let by = if row.actor_name.is_empty() { &row.actor_kind } else { &row.actor_name };
    let shown = if row.auth_method.is_empty() { "not authenticated" } else { &row.auth_method };
    let at = super::export::time(row.occurred_at);
    format!("{at} {} ({}) by {by} ({shown})", row.action, row.result).escape_debug().to_string()
}

/// Walks one chain and compares every code. Memory does not grow with it.
pub async fn verify(env: &Env, chain: Chain) -> Result<Report> {
    let mut tx = env.db.snapshot().await?;
    let mut report = Report {
        chain,
        events: 0,
        last: 0,
        versions: BTreeMap::new(),
        removed_to: 0,
        adopted: None,
        broken: None,
    };
    let version = match chain {
        Some(org) => store::orgs::version(&mut tx, org).await?.unwrap_or_default(),
        None => 0,
    };
    let Some(key) = ChainKey::find(env, &mut tx).await? else {
        // Nothing was ever written; if it was, the key is gone with which it could be proven.
        let rows = audit_chain::list_after(&mut tx, chain, 0, 1).await?;
        report.broken = rows.first().map(|row| Broken {
            seq: row.seq,
            id: Some(row.id.clone()),
            why: "the key of the chain is not in the database".into(),
            reads: Some(line(row)),
        });
        return Ok(report);
    };
    report.broken = walk(&mut tx, &key, chain, version, &mut report).await?.err();
    Ok(report)
}

async fn walk(
    tx: &mut Tx,
    key: &ChainKey,
    chain: Chain,
    version: i64,
    report: &mut Report,
) -> Result<core::result::Result<(), Broken>> {
    let broken = |seq, row: Option<&Row>, why: &str| {
        Ok(Err(Broken { seq, id: row.map(|row| row.id.clone()), why: why.to_owned(), reads: row.map(line) }))
    };
    let points = audit_chain::list_checkpoints(tx, chain).await?;
    for point in &points {
        if !bool::from(key.tag_of(chain, point).ct_eq(&point.tag)) {
            return broken(point.seq, None, "the checkpoint here was changed");
        }
    }
    report.adopted = points.iter().find(|point| point.kind == "adopted").map(|point| (point.seq, point.at));
    let begin = points.iter().rfind(|point| point.kind == "retention");
    let (mut seq, mut mac) =
        begin.map_or_else(|| (0, key.genesis(chain)), |point| (point.seq, point.mac.clone()));
    report.removed_to = seq;
    if let Some(org) = chain
        && audit_chain::count_to(tx, org, seq).await? > 0
    {
        return broken(seq, None, "events stand before the place where the chain begins");
    }
    if chain.is_none() && audit_chain::count_unchained_instance(tx).await? > 0 {
        return broken(0, None, "an event was put in without a place in the chain");
    }
    let begin = seq;
    let mut points = points.iter().filter(|point| point.seq > begin).peekable();
    loop {
        let rows = audit_chain::list_after(tx, chain, seq, ROWS).await?;
        let Some(end) = rows.last().map(|row| row.seq) else { break };
        for row in &rows {
            if row.seq != seq + 1 {
                return broken(seq + 1, None, "the event here was removed");
            }
            let digest = match &row.erased_digest {
                None => digest_of(chain, row, row.seq, &row.category),
                Some(digest) => match <[u8; 32]>::try_from(digest.as_slice()) {
                    Ok(digest) if erasure::holds(key, chain, row, &digest) => digest,
                    _ => {
                        return broken(
                            row.seq,
                            Some(row),
                            "this event was changed after a name was erased from it",
                        );
                    }
                },
            };
            let next = key.next(&mac, &digest);
            let fits = row.mac.as_ref().is_some_and(|mac| bool::from(mac.ct_eq(&next)));
            if !fits {
                return broken(row.seq, Some(row), "this event was changed, put in, or moved here");
            }
            (seq, mac) = (row.seq, next);
            report.events += 1;
            *report.versions.entry(row.version).or_default() += 1;
            while let Some(point) = points.next_if(|point| point.seq == seq) {
                if point.mac != mac {
                    return broken(seq, Some(row), "the chain was written anew after its checkpoint");
                }
            }
        }
        debug_assert_eq!(end, seq);
    }
    report.last = seq;
    let cut = "events after this place were removed";
    match audit_chain::head(tx, chain).await? {
        None if seq == 0 && points.peek().is_none() && version == 0 => Ok(Ok(())),
        None => broken(seq, None, "the head of the chain was removed"),
        Some(head) if key.head(chain, head.seq, head.mac.clone()) != head => {
            broken(head.seq, None, "the head of the chain was changed")
        }
        Some(head) if head.seq > seq => broken(seq + 1, None, cut),
        Some(head) if head.seq < seq || head.mac != mac => {
            broken(seq, None, "an event was put in after the end of the chain")
        }
        Some(_) if points.peek().is_some() || (chain.is_some() && version != seq) => {
            broken(seq + 1, None, cut)
        }
        Some(_) => Ok(Ok(())),
    }
}

/// Walks every chain, or that of one organisation.
pub async fn verify_all(env: &Env, only: Option<OrgId>) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for chain in chains(env).await? {
        if only.is_none() || only == chain {
            reports.push(verify(env, chain).await?);
        }
    }
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aud_01_the_form_that_is_proven_stays_what_it_was() {
        let texts = |by: &'static str, key: &'static str| {
            [
                "evt_1",
                "api_key.created",
                "api-keys",
                "ok",
                "user",
                "user_1",
                "Ada",
                "{}",
                r#"{"ip":""}"#,
                by,
                key,
            ]
        };
        let hex = |version, texts| {
            data_encoding::HEXLOWER.encode(&digest(None, version, 7, 1_790_000_000_000_000, texts))
        };
        // Reckoned elsewhere: whoever changes the form makes every log there is look forged.
        assert_eq!(hex(1, texts("", "")), "ac44b624372172f2991baa16fa943fe5a9ffc2888f30bd0e7e94519cb5992976");
        assert_eq!(
            hex(2, texts("password", "ses_1")),
            "4d3d8823edb4fe46424e7e9bafdcfe76c63c38f064b446377cbf60fa2a318c10"
        );
        assert_ne!(hex(1, texts("", "")), hex(1, texts("password", "")), "version 1 did not say it");
        assert_ne!(hex(2, texts("", "")), hex(1, texts("", "")));
    }
}
