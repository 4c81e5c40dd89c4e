//! The keys that access tokens are signed with: made, published, replaced, removed (OAK-03, OAK-04).
//!
//! All nodes share the keys of the database. Each node holds what it needs in a [`KeyRing`], so that verifying a token asks
//! nobody. A key is published for [`AHEAD`] before it signs, and is accepted for [`BEHIND`] after it signed last; a key that
//! was removed in an emergency is neither published nor accepted from the next [`KeyRing::refresh`] on.

use core::fmt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use data_encoding::BASE64URL_NOPAD;
use model::{AppError, ErrorKind};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::{Tx, signing_keys::SigningKey as Row};
use zeroize::Zeroizing;

use crate::{
    Env, Error, Result,
    authz::Principal,
    change::{Event, note},
    request::Origin,
    tokens,
};

const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// For how long a key is published before it signs, milliseconds: twice what a copy of the key set may be old.
pub const AHEAD: i64 = 2 * HOUR;
/// For how long a key is accepted after it signed last, milliseconds: as long as its last token lives, and a little more for
/// clocks that differ.
pub const BEHIND: i64 = tokens::LIFETIME + 5 * MINUTE;
/// How long a key signs before it is replaced, milliseconds.
pub const TERM: i64 = 90 * DAY;
/// For how long a key that is not accepted any more is still listed, milliseconds.
const MEMORY: i64 = 30 * DAY;
/// How long reading the keys may take: one that never ends would keep others from being tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// What transactions on the keys wait for.
const LOCK: &str = "signing keys";

/// How a key stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Published, not signing yet.
    Next,
    /// Signs.
    Signing,
    /// Replaced; what it signed is still accepted.
    Accepted,
    /// Not accepted any more.
    Retired,
    /// Removed in an emergency.
    Removed,
}

impl Standing {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Accepted => "accepted",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }
}

/// A key, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// How it stands now.
    pub standing: Standing,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// From when it signs, Unix milliseconds.
    pub active_from: i64,
    /// Until when it is accepted, if it is being replaced.
    pub retire_at: Option<i64>,
    /// When it was removed in an emergency.
    pub removed_at: Option<i64>,
}

/// Whether tokens of the key are accepted, and so whether it is published.
fn accepted(row: &Row, now: i64) -> bool {
    row.removed_at.is_none() && row.retire_at.is_none_or(|at| now < at)
}

/// Whether the key may sign: not before its time, and not so late that its tokens would outlive it.
fn may_sign(row: &Row, now: i64) -> bool {
    row.removed_at.is_none()
        && row.active_from <= now
        && row.retire_at.is_none_or(|at| now < at.saturating_sub(BEHIND))
}

/// The key that signs at this moment. `rows` are the oldest first.
fn signing(rows: &[Row], now: i64) -> Option<&Row> {
    rows.iter().rev().find(|row| may_sign(row, now))
}

/// The key that is published and does not sign yet.
fn upcoming(rows: &[Row], now: i64) -> Option<&Row> {
    rows.iter().rev().find(|row| accepted(row, now) && row.active_from > now)
}

fn standing(rows: &[Row], row: &Row, now: i64) -> Standing {
    if row.removed_at.is_some() {
        Standing::Removed
    } else if !accepted(row, now) {
        Standing::Retired
    } else if row.active_from > now {
        Standing::Next
    } else if signing(rows, now).is_some_and(|signer| signer.kid == row.kid) {
        Standing::Signing
    } else {
        Standing::Accepted
    }
}

/// What signs: the private key of one moment.
#[derive(Clone)]
pub struct Signer {
    kid: String,
    pair: Arc<RsaKeyPair>,
}

impl Signer {
    /// The id of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256: RS256.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| Error::Internal(format!("the key {} does not sign", self.kid)))?;
        Ok(signature)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, [REDACTED])", self.kid)
    }
}

/// The keys as they were last read.
#[derive(Default)]
struct Known {
    /// The oldest first.
    rows: Vec<Row>,
    /// Parsed once: building a key of its numbers takes as long as verifying with it.
    public: HashMap<String, Arc<ParsedPublicKey>>,
}

impl Known {
    fn of(rows: Vec<Row>) -> Result<Self> {
        let public = rows.iter().map(|row| Ok((row.kid.clone(), public_key(row)?))).collect::<Result<_>>()?;
        Ok(Self { rows, public })
    }

    fn accepts(&self, kid: &str, now: i64) -> bool {
        self.rows.iter().any(|row| row.kid == kid && accepted(row, now))
    }
}

fn public_key(row: &Row) -> Result<Arc<ParsedPublicKey>> {
    let jwk: Value = serde_json::from_str(&row.public_jwk).unwrap_or_default();
    let number = |name: &str| BASE64URL_NOPAD.decode(jwk[name].as_str()?.as_bytes()).ok();
    let key = || {
        let components = RsaPublicKeyComponents { n: number("n")?, e: number("e")? };
        components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()
    };
    key().map(Arc::new).ok_or_else(|| Error::Internal(format!("the public key {} cannot be read", row.kid)))
}

/// The signing keys in memory.
pub struct KeyRing {
    size: KeySize,
    /// `None` until they were read for the first time.
    known: RwLock<Option<Arc<Known>>>,
    /// One reads at a time, so that an older answer of the database never takes the place of a newer one.
    reading: tokio::sync::Mutex<()>,
    /// Opened private keys: few, and parsing one takes longer than signing.
    opened: Mutex<HashMap<String, Arc<RsaKeyPair>>>,
    /// Access tokens that were verified lately.
    pub(crate) verified: tokens::Verified,
}

impl Default for KeyRing {
    /// Keys of 3072 bits.
    fn default() -> Self {
        Self::new(KeySize::Rsa3072)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing([REDACTED])")
    }
}

impl KeyRing {
    fn new(size: KeySize) -> Self {
        Self {
            size,
            known: RwLock::default(),
            reading: tokio::sync::Mutex::default(),
            opened: Mutex::default(),
            verified: tokens::verified(),
        }
    }

    /// Keys of 2048 bits, which are made several times faster.
    #[cfg(feature = "testing")]
    pub fn for_tests() -> Self {
        Self::new(KeySize::Rsa2048)
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<String, Arc<RsaKeyPair>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the keys were read; if not, reads them.
    pub(crate) async fn ready(&self, env: &Env) -> Result<()> {
        if self.known().is_none() { self.refresh(env).await } else { Ok(()) }
    }

    /// Reads the keys, so that what another node or the CLI made or removed counts here.
    pub async fn refresh(&self, env: &Env) -> Result<()> {
        let _one = self.reading.lock().await;
        let rows = tokio::time::timeout(PATIENCE, async {
            let mut tx = env.db.read().await?;
            store::signing_keys::list(&mut tx).await
        })
        .await
        .map_err(|_| Error::Internal("the database did not tell of the signing keys in time".into()))??;
        if self.known().is_some_and(|known| known.rows == rows) {
            return Ok(());
        }
        let known = Known::of(rows)?;
        self.opened()
            .retain(|kid, _| known.rows.iter().any(|row| row.kid == *kid && row.removed_at.is_none()));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
        Ok(())
    }

    async fn read(&self, env: &Env) -> Result<Arc<Known>> {
        self.ready(env).await?;
        Ok(self.known().unwrap_or_default())
    }

    /// The key that signs now. The first one is made when it is first asked for.
    pub async fn signer(&self, env: &Env) -> Result<Signer> {
        if let Some(signer) = self.signer_of(env, &*self.read(env).await?)? {
            return Ok(signer);
        }
        ensure(env).await?;
        self.signer_of(env, &*self.read(env).await?)?
            .ok_or_else(|| Error::Internal("there is no signing key, although one was just made".into()))
    }

    fn signer_of(&self, env: &Env, known: &Known) -> Result<Option<Signer>> {
        let Some(row) = signing(&known.rows, env.now()) else { return Ok(None) };
        let mut opened = self.opened();
        let pair = if let Some(pair) = opened.get(&row.kid) {
            Arc::clone(pair)
        } else {
            let pair = Arc::new(open(env, row)?);
            opened.insert(row.kid.clone(), Arc::clone(&pair));
            pair
        };
        Ok(Some(Signer { kid: row.kid.clone(), pair }))
    }

    /// The JWK Set of all keys that are published (RFC 7517). It is never empty: copies of an empty set would be kept too.
    pub async fn jwks(&self, env: &Env) -> Result<Arc<str>> {
        let now = env.now();
        let mut known = self.read(env).await?;
        if !known.rows.iter().any(|row| accepted(row, now)) {
            ensure(env).await?;
            known = self.read(env).await?;
        }
        let keys: Vec<&str> =
            known.rows.iter().filter(|row| accepted(row, now)).map(|row| row.public_jwk.as_str()).collect();
        Ok(format!("{{\"keys\":[{}]}}", keys.join(",")).into())
    }

    /// The public key of this id, if its tokens are accepted at this time. From memory: an id that is not known costs nothing.
    pub fn public(&self, kid: &str, now: i64) -> Option<Arc<ParsedPublicKey>> {
        let known = self.known()?;
        known.accepts(kid, now).then(|| known.public.get(kid).cloned()).flatten()
    }

    /// Whether tokens of the key of this id are accepted at this time.
    pub(crate) fn accepts(&self, kid: &str, now: i64) -> bool {
        self.known().is_some_and(|known| known.accepts(kid, now))
    }

    /// Whether a key that signed something was not removed since. That its time has passed does not matter.
    pub(crate) fn stands(&self, kid: &str) -> bool {
        self.known()
            .is_some_and(|known| known.rows.iter().any(|row| row.kid == kid && row.removed_at.is_none()))
    }
}

fn seal_name(kid: &str) -> String {
    format!("signing_key:{kid}")
}

fn open(env: &Env, row: &Row) -> Result<RsaKeyPair> {
    let wrong = |why: &dyn fmt::Display| Error::Internal(format!("the signing key {}: {why}", row.kid));
    let pkcs8 =
        env.sealer.open_instance(&seal_name(&row.kid), &row.private_sealed).map_err(|why| wrong(&why))?;
    RsaKeyPair::from_pkcs8(&pkcs8).map_err(|why| wrong(&why))
}

/// A key that was just made and is nowhere yet.
struct Fresh {
    kid: String,
    pkcs8: Zeroizing<Vec<u8>>,
    jwk: String,
}

/// Makes a key. Its randomness is that of the cryptographic library, which takes no other.
async fn generate(size: KeySize) -> Result<Fresh> {
    // It takes up to seconds of computing.
    tokio::task::spawn_blocking(move || {
        let pair = RsaKeyPair::generate(size).ok()?;
        let pkcs8 = Zeroizing::new(pair.as_der().ok()?.as_ref().to_vec());
        let public = pair.public_key();
        let n = BASE64URL_NOPAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = BASE64URL_NOPAD.encode(public.exponent().big_endian_without_leading_zero());
        let kid = thumbprint(&n, &e);
        let jwk = json!({"kty": "RSA", "n": n, "e": e, "alg": "RS256", "use": "sig", "kid": kid}).to_string();
        Some(Fresh { kid, pkcs8, jwk })
    })
    .await
    .ok()
    .flatten()
    .ok_or_else(|| Error::Internal("no signing key could be made".into()))
}

/// RFC 7638: the required members alone, in the order of their names.
fn thumbprint(n: &str, e: &str) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(format!("{{\"e\":\"{e}\",\"kty\":\"RSA\",\"n\":\"{n}\"}}")))
}

async fn locked(env: &Env) -> Result<(Tx, Vec<Row>)> {
    let mut tx = env.db.write().await?;
    store::instance_facts::lock(&mut tx, LOCK).await?;
    let rows = store::signing_keys::list(&mut tx).await?;
    Ok((tx, rows))
}

async fn insert(env: &Env, tx: &mut Tx, fresh: &Fresh, active_from: i64, by: &Principal) -> Result<Row> {
    let row = Row {
        private_sealed: env.sealer.seal_instance(&seal_name(&fresh.kid), &fresh.pkcs8, env.rng.as_ref()),
        kid: fresh.kid.clone(),
        public_jwk: fresh.jwk.clone(),
        created_at: env.now(),
        active_from,
        retire_at: None,
        removed_at: None,
    };
    store::signing_keys::insert(tx, &row).await?;
    let event = Event::new("signing_key.created")
        .target("signing_key", &row.kid, &row.kid)
        .with("active_from", active_from);
    note(env, tx, &[], by, &Origin::default(), &event, "ok").await?;
    Ok(row)
}

/// Makes sure that there is a key to sign with: the next one signs at once if there is one, otherwise `fresh` does. A key
/// whose successor is gone stays.
async fn mend(env: &Env, tx: &mut Tx, rows: &[Row], fresh: &Fresh, by: &Principal) -> Result<()> {
    let now = env.now();
    match (signing(rows, now), upcoming(rows, now)) {
        (Some(current), None) if current.retire_at.is_some() => {
            Ok(store::signing_keys::retire(tx, &current.kid, None).await?)
        }
        (Some(_), _) => Ok(()),
        (None, Some(next)) => {
            store::signing_keys::activate(tx, &next.kid, now).await?;
            let event = Event::new("signing_key.activated").target("signing_key", &next.kid, &next.kid);
            note(env, tx, &[], by, &Origin::default(), &event, "ok").await
        }
        (None, None) => insert(env, tx, fresh, now, by).await.map(drop),
    }
}

/// Makes the first key. Of two nodes that do so at once, the second finds the key of the first.
async fn ensure(env: &Env) -> Result<()> {
    let fresh = generate(env.keys.size).await?;
    let (mut tx, rows) = locked(env).await?;
    mend(env, &mut tx, &rows, &fresh, &Principal::System).await?;
    tx.commit().await?;
    env.keys.refresh(env).await
}

/// All keys, the oldest first.
pub async fn list(env: &Env) -> Result<Vec<KeyInfo>> {
    let mut tx = env.db.read().await?;
    let (rows, now) = (store::signing_keys::list(&mut tx).await?, env.now());
    Ok(rows.iter().map(|row| info(&rows, row, now)).collect())
}

fn info(rows: &[Row], row: &Row, now: i64) -> KeyInfo {
    KeyInfo {
        kid: row.kid.clone(),
        standing: standing(rows, row, now),
        created_at: row.created_at,
        active_from: row.active_from,
        retire_at: row.retire_at,
        removed_at: row.removed_at,
    }
}

/// Publishes the next key, which signs from [`AHEAD`] on. Without any key it signs at once.
///
/// # Errors
/// `Conflict` when a next key is published already.
pub async fn rotate(env: &Env, by: &Principal) -> Result<KeyInfo> {
    let fresh = generate(env.keys.size).await?;
    let (mut tx, rows) = locked(env).await?;
    let now = env.now();
    if let Some(next) = upcoming(&rows, now) {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "next_key_published",
            format!(
                "The next key {} is published already and has not begun to sign. No key was made.",
                next.kid
            ),
        )
        .into());
    }
    let active_from = match signing(&rows, now) {
        Some(current) => {
            let last = now + AHEAD;
            store::signing_keys::retire(&mut tx, &current.kid, Some(last + BEHIND)).await?;
            last
        }
        None => now,
    };
    insert(env, &mut tx, &fresh, active_from, by).await?;
    let rows = store::signing_keys::list(&mut tx).await?;
    tx.commit().await?;
    env.keys.refresh(env).await?;
    rows.iter()
        .find(|row| row.kid == fresh.kid)
        .map(|row| info(&rows, row, now))
        .ok_or_else(|| Error::Internal("the new signing key is not there".into()))
}

/// Removes a key in an emergency: nothing it signed is accepted any more, on any node. If none is left that signs, the next
/// one does at once, or a new one.
///
/// # Errors
/// `NotFound` when there is no such key, or it was removed before.
pub async fn retire(env: &Env, by: &Principal, kid: &str) -> Result<()> {
    let fresh = generate(env.keys.size).await?;
    let (mut tx, _) = locked(env).await?;
    if !store::signing_keys::remove(&mut tx, kid, env.now()).await? {
        return Err(Error::not_found("signing key"));
    }
    let event = Event::new("signing_key.removed").target("signing_key", kid, kid);
    note(env, &mut tx, &[], by, &Origin::default(), &event, "ok").await?;
    let rows = store::signing_keys::list(&mut tx).await?;
    mend(env, &mut tx, &rows, &fresh, by).await?;
    tx.commit().await?;
    env.keys.refresh(env).await
}

/// What is due by itself: the first key, the next one when the current has signed for [`TERM`], and forgetting those that
/// have not been accepted for a month.
pub async fn maintain(env: &Env) -> Result<()> {
    env.keys.refresh(env).await?;
    let (known, now) = (env.keys.read(env).await?, env.now());
    match signing(&known.rows, now) {
        None => ensure(env).await?,
        Some(current)
            if now - current.active_from >= TERM - AHEAD && upcoming(&known.rows, now).is_none() =>
        {
            match rotate(env, &Principal::System).await {
                Ok(_) => {}
                // Another node was faster.
                Err(Error::App(error)) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Some(_) => {}
    }
    let stale = |row: &Row| row.removed_at.or(row.retire_at).is_some_and(|at| at + MEMORY < now);
    if known.rows.iter().any(stale) {
        let (mut tx, rows) = locked(env).await?;
        for row in rows.iter().filter(|row| stale(row)) {
            store::signing_keys::delete(&mut tx, &row.kid).await?;
        }
        tx.commit().await?;
        env.keys.refresh(env).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{env_test, testing::TestEnv};

    /// Another process on the same database: what it knows, it has read.
    fn other_node(t: &TestEnv) -> Env {
        let mut other = t.env.clone();
        other.keys = Arc::new(KeyRing::for_tests());
        other
    }

    async fn standings(env: &Env) -> Vec<Standing> {
        list(env).await.unwrap().into_iter().map(|key| key.standing).collect()
    }

    async fn published(env: &Env) -> Vec<String> {
        let set: Value = serde_json::from_str(&env.keys.jwks(env).await.unwrap()).unwrap();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    async fn events(env: &Env) -> Vec<String> {
        let mut tx = env.db.read().await.unwrap();
        let all = store::audit::list_actions(&mut tx, None).await.unwrap();
        all.into_iter().map(|(action, _)| action).filter(|action| action.starts_with("signing_key")).collect()
    }

    env_test!(oak_03_the_key_set_shows_public_members_alone, |t| async {
        let signer = t.env.keys.signer(&t.env).await.unwrap();
        let set: Value = serde_json::from_str(&t.env.keys.jwks(&t.env).await.unwrap()).unwrap();
        let [key] = set["keys"].as_array().unwrap().as_slice() else { panic!("one key") };
        let names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["kty", "n", "e", "alg", "use", "kid"]);
        assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&json!("RSA"), &json!("RS256"), &json!("sig")));
        assert_eq!(key["kid"], signer.kid());
        // RFC 7638, computed by another road.
        let members = json!({"e": key["e"], "kty": "RSA", "n": key["n"]}).to_string();
        assert_eq!(BASE64URL_NOPAD.encode(&Sha256::digest(members)), signer.kid());
        // The private key is in the database, sealed and for its own row alone.
        let mut tx = t.env.db.read().await.unwrap();
        let [row] = store::signing_keys::list(&mut tx).await.unwrap().try_into().unwrap();
        assert!(t.env.sealer.open_instance("signing_key:other", &row.private_sealed).is_err());
        assert!(RsaKeyPair::from_pkcs8(&row.private_sealed).is_err());
        assert_eq!(events(&t.env).await, ["signing_key.created"]);
    });

    #[test]
    fn oak_03_keys_have_3072_bits_and_the_thumbprint_is_that_of_the_rfc() {
        assert_eq!(KeyRing::default().size, KeySize::Rsa3072);
        // RFC 7638, section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        assert_eq!(thumbprint(n, "AQAB"), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    env_test!(oak_04_two_nodes_that_begin_at_once_sign_with_one_key, |t| async {
        let other = other_node(&t);
        let (a, b) = tokio::join!(t.env.keys.signer(&t.env), other.keys.signer(&other));
        assert_eq!(a.unwrap().kid(), b.unwrap().kid());
        assert_eq!((list(&t.env).await.unwrap().len(), events(&t.env).await.len()), (1, 1));
    });

    env_test!(
        oak_04_the_next_key_is_published_before_it_signs_and_the_old_one_outlives_its_tokens,
        |t| async {
            let other = other_node(&t);
            let first = t.env.keys.signer(&t.env).await.unwrap().kid().to_owned();
            let next = rotate(&t.env, &Principal::Operator).await.unwrap();
            assert_eq!(next.standing, Standing::Next);
            assert_eq!(published(&t.env).await, [first.clone(), next.kid.clone()]);
            assert_eq!(published(&other).await.len(), 2, "on the other node too");
            let again = rotate(&t.env, &Principal::Operator).await.unwrap_err();
            assert!(matches!(again, Error::App(error) if error.kind == ErrorKind::Conflict));
            // Until the very end the first one signs.
            t.clock.advance(2 * HOUR - 1000);
            assert_eq!(t.env.keys.signer(&t.env).await.unwrap().kid(), first);
            assert_eq!(standings(&t.env).await, [Standing::Signing, Standing::Next]);
            t.clock.advance(1000);
            for env in [&t.env, &other] {
                assert_eq!(env.keys.signer(env).await.unwrap().kid(), next.kid);
            }
            assert_eq!(standings(&t.env).await, [Standing::Accepted, Standing::Signing]);
            // An hour for its last token, and five minutes more.
            t.clock.advance(65 * MINUTE - 1000);
            assert!(t.env.keys.public(&first, t.env.now()).is_some());
            t.clock.advance(1000);
            assert!(t.env.keys.public(&first, t.env.now()).is_none());
            assert_eq!(published(&t.env).await, [next.kid.as_str()]);
            assert_eq!(standings(&t.env).await, [Standing::Retired, Standing::Signing]);
            assert_eq!(events(&t.env).await, ["signing_key.created"; 2]);
        }
    );

    env_test!(oak_04_keys_are_replaced_by_themselves_and_forgotten, |t| async {
        maintain(&t.env).await.unwrap();
        maintain(&t.env).await.unwrap();
        assert_eq!(standings(&t.env).await, [Standing::Signing], "the first key is made by itself, once");
        t.clock.advance(90 * DAY - 2 * HOUR - 1);
        maintain(&t.env).await.unwrap();
        assert_eq!(standings(&t.env).await, [Standing::Signing]);
        t.clock.advance(1);
        // Both nodes notice at once.
        let other = other_node(&t);
        let (a, b) = tokio::join!(maintain(&t.env), maintain(&other));
        a.and(b).unwrap();
        assert_eq!(standings(&t.env).await, [Standing::Signing, Standing::Next]);
        t.clock.advance(2 * HOUR);
        maintain(&t.env).await.unwrap();
        assert_eq!(standings(&t.env).await, [Standing::Accepted, Standing::Signing]);
        t.clock.advance(31 * DAY);
        maintain(&t.env).await.unwrap();
        assert_eq!(standings(&t.env).await, [Standing::Signing]);
    });

    env_test!(oak_04_a_removed_key_counts_nowhere_and_another_signs_at_once, |t| async {
        let other = other_node(&t);
        let first = t.env.keys.signer(&t.env).await.unwrap().kid().to_owned();
        other.keys.refresh(&other).await.unwrap();
        retire(&t.env, &Principal::Operator, &first).await.unwrap();
        assert!(t.env.keys.public(&first, t.env.now()).is_none());
        assert!(other.keys.public(&first, t.env.now()).is_some(), "it has not heard yet");
        other.keys.refresh(&other).await.unwrap();
        assert!(other.keys.public(&first, t.env.now()).is_none());
        let second = t.env.keys.signer(&t.env).await.unwrap().kid().to_owned();
        assert_eq!(other.keys.signer(&other).await.unwrap().kid(), second);
        assert_eq!(published(&other).await, [second.as_str()]);
        // With a next key at hand, that one takes over; without it, the current one stays for longer.
        let next = rotate(&t.env, &Principal::Operator).await.unwrap().kid;
        retire(&t.env, &Principal::Operator, &second).await.unwrap();
        assert_eq!(t.env.keys.signer(&t.env).await.unwrap().kid(), next);
        let never = rotate(&t.env, &Principal::Operator).await.unwrap().kid;
        retire(&t.env, &Principal::Operator, &never).await.unwrap();
        t.clock.advance(3 * HOUR + 6 * MINUTE);
        assert_eq!(t.env.keys.signer(&t.env).await.unwrap().kid(), next);
        for unknown in [first.as_str(), "", "../x"] {
            let refused = retire(&t.env, &Principal::Operator, unknown).await.unwrap_err();
            assert!(matches!(refused, Error::App(error) if error.kind == ErrorKind::NotFound));
        }
        let mut all = events(&t.env).await;
        all.sort();
        let names = |verb: &str, times| vec![format!("signing_key.{verb}"); times];
        assert_eq!(all, [names("activated", 1), names("created", 4), names("removed", 3)].concat());
    });
}
