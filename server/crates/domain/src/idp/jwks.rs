//! The keys of providers: fetched once, kept, renewed in the background, and asked for anew when a token names a key that
//! is not known, at most twice a minute (IDP-04).

use core::fmt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, DecodingKey};
use model::{IdentityProviderId, OrgId, sso::KeySet};
use serde_json::{Map, Value};

use super::{
    PlaneIdp,
    fetch::{self, FetchError},
};
use crate::Env;

const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;
/// Keys are fresh for at least this long, whatever the provider says.
const SHORTEST: i64 = 5 * MINUTE;
/// And at most this long. It is also how long known keys last while their provider is down.
const LONGEST: i64 = 24 * HOUR;
/// How long they are fresh when the provider does not say.
const DEFAULT: i64 = HOUR;
/// Between two attempts for one configuration, failed ones too.
const PAUSE: i64 = 30 * 1000;
/// The most keys of a set.
const MOST_KEYS: usize = 64;
/// The longest id of a key that is kept, bytes.
const LONGEST_KID: usize = 512;
/// The sizes of keys, bits.
const BITS: core::ops::RangeInclusive<usize> = 2048..=8192;

/// A key that can verify RS256, or ES256 where that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// For RS256.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// For ES256: a point of P-256, its coordinates in base64url.
    P256 {
        /// The first coordinate.
        x: String,
        /// The second.
        y: String,
    },
}

impl PublicKey {
    /// The only algorithm whose signatures it verifies.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RS256",
            Self::P256 { .. } => "ES256",
        }
    }

    /// Whether the signature over the message is by this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = BASE64URL_NOPAD.encode(signature);
        let (key, algorithm) = match self {
            Self::Rsa { n, e } => (DecodingKey::from_rsa_raw_components(n, e), Algorithm::RS256),
            Self::P256 { x, y } => match DecodingKey::from_ec_components(x, y) {
                Ok(key) => (key, Algorithm::ES256),
                Err(_) => return false,
            },
        };
        jsonwebtoken::crypto::verify(&signature, message, &key, algorithm).unwrap_or(false)
    }
}

/// A set of keys, and who uses it for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// Whose configuration names it.
    pub org: OrgId,
    /// Which configuration.
    pub id: IdentityProviderId,
    /// Where it is.
    pub jwks_uri: String,
    /// Whether keys for ES256 count as well.
    pub es256: bool,
}

impl From<&PlaneIdp> for KeySource {
    fn from(provider: &PlaneIdp) -> Self {
        Self { org: provider.org, id: provider.id, jwks_uri: provider.jwks_uri.clone(), es256: false }
    }
}

/// A key as the set has it: usable, or why not.
#[derive(Clone, Debug)]
struct Entry {
    kid: Option<String>,
    key: Result<Arc<PublicKey>, &'static str>,
}

/// Why there is no key for a token. `Display` is a sentence for the tester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// The token names no key, and there is not just one.
    NotNamed,
    /// No key of the set has this name.
    Unknown {
        /// The names that it has.
        known: Vec<String>,
    },
    /// The key is there, but not for RS256 signatures.
    Unusable(&'static str),
    /// There are no keys, because they could not be fetched.
    Unavailable(String),
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNamed => f.write_str(
                "The token's header has no kid, and the key set has more than one key. Configure the provider to put the kid into its tokens.",
            ),
            Self::Unknown { known } if known.is_empty() => {
                f.write_str("The key set holds no keys. Check the JWKS URI.")
            }
            Self::Unknown { known } => write!(
                f,
                "No key of the set has the token's kid; it has {}. Check that the JWKS URI belongs to this issuer. After a rotation, keys are fetched again at most every 30 seconds.",
                known.join(", ")
            ),
            Self::Unusable(why) => write!(f, "The key that the token names cannot be used: {why}."),
            Self::Unavailable(why) => write!(f, "The provider's keys could not be fetched. {why}"),
        }
    }
}

/// What is known of one set.
#[derive(Clone, Default)]
struct State {
    entries: Arc<[Entry]>,
    fetched_at: Option<i64>,
    /// From when on it is renewed in the background, and until when it is used without asking.
    renew_at: i64,
    fresh_until: i64,
    tried_at: Option<i64>,
    failed: Option<FetchError>,
}

impl State {
    /// Whether there are keys that still count.
    fn lasts(&self, now: i64) -> bool {
        self.fetched_at.is_some_and(|at| now - at <= LONGEST)
    }

    fn due(&self, now: i64) -> bool {
        self.tried_at.is_none_or(|at| now - at >= PAUSE)
    }

    fn find(&self, kid: Option<&str>) -> Result<Vec<Arc<PublicKey>>, KeyProblem> {
        let fits = |entry: &&Entry| match kid {
            Some(kid) => entry.kid.as_deref() == Some(kid),
            None => entry.key.is_ok(),
        };
        let named: Vec<&Entry> = self.entries.iter().filter(fits).collect();
        if kid.is_none() && named.len() > 1 {
            return Err(KeyProblem::NotNamed);
        }
        let usable: Vec<_> = named.iter().filter_map(|entry| entry.key.clone().ok()).collect();
        match named.first() {
            _ if !usable.is_empty() => Ok(usable),
            Some(Entry { key: Err(why), .. }) => Err(KeyProblem::Unusable(why)),
            _ => {
                let known = self.entries.iter().filter_map(|entry| entry.kid.clone()).take(8).collect();
                Err(KeyProblem::Unknown { known })
            }
        }
    }
}

/// One configuration's set. Another configuration of the same organisation has another one.
struct Slot {
    source: KeySource,
    state: Mutex<State>,
    /// Held while the set is fetched.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Slot {
    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the set unless that was tried just now. Returns when it is done, whoever does it; whoever waits may go
    /// away without stopping it, or a client that hangs up would keep the set from ever being fetched.
    async fn renew(self: &Arc<Self>, env: &Env) {
        if let Some(fetching) = self.start(env) {
            _ = fetching.await;
        } else {
            drop(self.turn.lock().await);
        }
    }

    /// Starts to fetch the set, unless somebody does or that was tried just now.
    fn start(self: &Arc<Self>, env: &Env) -> Option<tokio::task::JoinHandle<()>> {
        let turn = Arc::clone(&self.turn).try_lock_owned().ok()?;
        let now = env.now();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.due(now) {
                return None;
            }
            state.tried_at = Some(now);
        }
        let (slot, env) = (Arc::clone(self), env.clone());
        Some(tokio::spawn(async move {
            let fetched = fetch_set(&env, &slot.source.jwks_uri, slot.source.es256).await;
            slot.keep(&env, fetched);
            drop(turn);
        }))
    }

    fn keep(&self, env: &Env, fetched: Result<Fetched, FetchError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(Fetched { entries, lifetime }) => {
                let now = env.now();
                *state = State {
                    entries: entries.into(),
                    fetched_at: Some(now),
                    renew_at: now + lifetime / 10 * 8,
                    fresh_until: now + lifetime,
                    tried_at: Some(now),
                    failed: None,
                };
            }
            Err(error) => {
                tracing::warn!(%error, org.id = %self.source.org, "the keys of an identity provider cannot be fetched");
                state.failed = Some(error);
            }
        }
    }
}

/// The key sets of all organisations' providers, in this process.
#[derive(Default)]
pub struct Jwks {
    slots: Mutex<HashMap<(OrgId, IdentityProviderId), Arc<Slot>>>,
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").finish_non_exhaustive()
    }
}

impl Jwks {
    /// The set of exactly this configuration: keys never cross organisations, nor outlive a change of the address.
    fn slot(&self, source: &KeySource) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (source.org, source.id);
        if let Some(slot) = slots.get(&place).filter(|slot| slot.source == *source) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot { source: source.clone(), state: Mutex::default(), turn: Arc::default() });
        slots.insert(place, Arc::clone(&slot));
        slot
    }

    /// The keys with this name; more than one only where the provider gave one name twice.
    pub async fn find(
        &self,
        env: &Env,
        source: &KeySource,
        kid: Option<&str>,
    ) -> Result<Vec<Arc<PublicKey>>, KeyProblem> {
        let slot = self.slot(source);
        let (state, now) = (slot.state(), env.now());
        if state.lasts(now)
            && let Ok(found) = state.find(kid)
        {
            if now < state.renew_at {
                return Ok(found);
            }
            // The last attempt failed: the provider is down, and known keys work on without waiting for it.
            if now < state.fresh_until || state.failed.is_some() {
                _ = slot.start(env);
                return Ok(found);
            }
        }
        slot.renew(env).await;
        let (state, now) = (slot.state(), env.now());
        if state.lasts(now) {
            return state.find(kid);
        }
        let why =
            state.failed.map_or_else(|| "Try again in half a minute.".to_owned(), |why| why.to_string());
        Err(KeyProblem::Unavailable(why))
    }

    /// What is known of the set, for the page. Nothing is fetched.
    pub fn known(&self, provider: &PlaneIdp) -> KeySet {
        let state = self.slot(&provider.into()).state();
        let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX);
        KeySet {
            usable: count(state.entries.iter().filter(|entry| entry.key.is_ok()).count()),
            total: count(state.entries.len()),
            fetched_at: state.fetched_at,
            error: state.failed.map(|error| error.to_string()),
        }
    }

    /// Fetches a set that is about to be configured, and says how many of its keys are usable.
    pub(crate) async fn try_out(env: &Env, uri: &str) -> Result<(usize, Fetched), FetchError> {
        let fetched = fetch_set(env, uri, false).await?;
        Ok((fetched.entries.iter().filter(|entry| entry.key.is_ok()).count(), fetched))
    }

    /// Keeps what was fetched while it was configured, so that its tokens are accepted at once.
    pub(crate) fn put(&self, env: &Env, provider: &PlaneIdp, fetched: Fetched) {
        self.slot(&provider.into()).keep(env, Ok(fetched));
    }
}

/// A set that was fetched, and for how long it counts as fresh, milliseconds.
pub(crate) struct Fetched {
    entries: Vec<Entry>,
    lifetime: i64,
}

async fn fetch_set(env: &Env, uri: &str, es256: bool) -> Result<Fetched, FetchError> {
    let (headers, document) = fetch::object(env, uri).await?;
    let keys = document.get("keys").and_then(Value::as_array).ok_or(FetchError::Content)?;
    if keys.len() > MOST_KEYS {
        return Err(FetchError::TooLarge);
    }
    let entries = keys.iter().filter_map(Value::as_object).map(|jwk| entry(jwk, es256)).collect();
    Ok(Fetched { entries, lifetime: lifetime(&headers) })
}

/// How long the answer may be kept by `Cache-Control`, within our bounds.
fn lifetime(headers: &HeaderMap) -> i64 {
    let number = |text: &str| text.trim_matches('"').parse::<i64>().ok();
    let mut age = None;
    for value in headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()) {
        for directive in value.split(',').map(|directive| directive.trim().to_ascii_lowercase()) {
            match directive.split_once('=') {
                None if directive == "no-store" || directive == "no-cache" => return SHORTEST,
                Some(("max-age", seconds)) => age = number(seconds),
                _ => {}
            }
        }
    }
    let spent = headers.get(header::AGE).and_then(|value| number(value.to_str().ok()?)).unwrap_or(0);
    age.map_or(DEFAULT, |age| age.saturating_sub(spent).saturating_mul(1000)).clamp(SHORTEST, LONGEST)
}

fn entry(jwk: &Map<String, Value>, es256: bool) -> Entry {
    let kid = jwk.get("kid").and_then(Value::as_str).filter(|kid| kid.len() <= LONGEST_KID);
    Entry { kid: kid.map(str::to_owned), key: key(jwk, es256).map(Arc::new) }
}

/// Reads a key that may verify RS256 signatures, or ES256 where that is wanted, and no other (IDP-03).
fn key(jwk: &Map<String, Value>, es256: bool) -> Result<PublicKey, &'static str> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let curve = es256 && text("kty") == Some("EC") && text("crv") == Some("P-256");
    if !curve && text("kty") != Some("RSA") {
        return Err("it is no RSA key");
    }
    let algorithm = if curve { "ES256" } else { "RS256" };
    if jwk.contains_key("use") && text("use") != Some("sig") {
        return Err("it is not for signatures");
    }
    if jwk.contains_key("alg") && text("alg") != Some(algorithm) {
        return Err("it is for another algorithm than RS256");
    }
    if let Some(operations) = jwk.get("key_ops") {
        let verifies =
            operations.as_array().is_some_and(|all| all.iter().any(|operation| operation == "verify"));
        if !verifies {
            return Err("it is not for verifying");
        }
    }
    if jwk.contains_key("d") {
        return Err("its private part is public");
    }
    if curve {
        let coordinate = |name: &str| {
            let text = text(name)?;
            BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() == 32)?;
            Some(text.to_owned())
        };
        let (Some(x), Some(y)) = (coordinate("x"), coordinate("y")) else { return Err("it cannot be read") };
        return Ok(PublicKey::P256 { x, y });
    }
    let number = |name: &str| {
        let bytes = BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(bytes[zeros..].to_vec()).filter(|bytes| !bytes.is_empty())
    };
    let (Some(n), Some(e)) = (number("n"), number("e")) else { return Err("it cannot be read") };
    let bits = n.len() * 8 - usize::try_from(n[0].leading_zeros()).unwrap_or(0);
    if !BITS.contains(&bits) {
        return Err("it does not have 2048 to 8192 bits");
    }
    if e.len() > 8 || e.last().is_some_and(|last| last & 1 == 0) || e == [1] {
        return Err("its exponent is not usable");
    }
    Ok(PublicKey::Rsa { n, e })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), &'static str> {
        let n = BASE64URL_NOPAD.encode(&[0xC1; 256]);
        let mut jwk = json!({"kty": "RSA", "kid": "a", "n": n, "e": "AQAB"}).as_object().unwrap().clone();
        change(&mut jwk);
        key(&jwk, false).map(drop)
    }

    #[test]
    fn idp_03_only_rsa_keys_for_rs256_signatures_count() {
        assert_eq!(judged(|_| ()), Ok(()));
        for (name, value) in [("use", json!("sig")), ("alg", json!("RS256")), ("key_ops", json!(["verify"]))]
        {
            assert_eq!(judged(|jwk| drop(jwk.insert(name.into(), value.clone()))), Ok(()), "{name}");
        }
        let short = BASE64URL_NOPAD.encode(&[0xC1; 255]);
        let padded = BASE64URL_NOPAD.encode(&[&[0; 8][..], &[0xC1; 248]].concat());
        let long = BASE64URL_NOPAD.encode(&[0xC1; 1025]);
        for (name, value) in [
            ("kty", json!("EC")),
            ("kty", json!("oct")),
            ("use", json!("enc")),
            ("use", json!(7)),
            ("alg", json!("RS512")),
            ("alg", json!("PS256")),
            ("alg", json!("HS256")),
            ("key_ops", json!(["sign"])),
            ("key_ops", json!("verify")),
            ("n", json!(short)),
            ("n", json!(padded)),
            ("n", json!(long)),
            ("n", json!("!")),
            ("n", json!("")),
            ("e", json!("")),
            ("e", json!("AQ")),
            ("e", json!("AQAA")),
            ("d", json!("AQAB")),
        ] {
            assert!(judged(|jwk| drop(jwk.insert(name.into(), value.clone()))).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn idp_04_lifetimes_keep_within_five_minutes_and_a_day() {
        let of = |control: Option<&str>, age: Option<&str>| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::CACHE_CONTROL, control), (header::AGE, age)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            lifetime(&headers)
        };
        assert_eq!(of(None, None), DEFAULT);
        assert_eq!(of(Some("public, max-age=600"), None), 10 * MINUTE);
        assert_eq!(of(Some("MAX-AGE=\"900\""), Some("300")), 10 * MINUTE);
        assert_eq!(of(Some("max-age=1"), None), SHORTEST);
        assert_eq!(of(Some("max-age=600, no-store"), None), SHORTEST);
        assert_eq!(of(Some("no-cache"), None), SHORTEST);
        assert_eq!(of(Some("max-age=99999999999999999999"), None), DEFAULT);
        assert_eq!(of(Some("max-age=9999999999999999"), None), LONGEST);
        assert_eq!(of(Some("max-age=-1"), None), SHORTEST);
    }

    #[test]
    fn a_token_without_kid_needs_a_set_of_one() {
        let usable = |kid: &str| Entry {
            kid: Some(kid.to_owned()),
            key: Ok(Arc::new(PublicKey::Rsa { n: vec![1], e: vec![3] })),
        };
        let unusable = Entry { kid: Some("enc".into()), key: Err("it is not for signatures") };
        let state = |entries: Vec<Entry>| State { entries: entries.into(), ..State::default() };
        assert_eq!(state(vec![usable("a"), unusable.clone()]).find(None).unwrap().len(), 1);
        let two = state(vec![usable("a"), usable("b"), unusable]);
        assert_eq!(two.find(None), Err(KeyProblem::NotNamed));
        assert_eq!(two.find(Some("a")).unwrap().len(), 1);
        assert_eq!(two.find(Some("enc")), Err(KeyProblem::Unusable("it is not for signatures")));
        assert!(
            matches!(two.find(Some("c")), Err(KeyProblem::Unknown { known }) if known == ["a", "b", "enc"])
        );
        assert!(matches!(state(Vec::new()).find(None), Err(KeyProblem::Unknown { .. })));
    }
}
