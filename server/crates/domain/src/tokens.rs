//! Access tokens: JWTs by RFC 9068, minted by the authorization server and read by the gateway.
//!
//! A token is read from memory alone: its signature by a key of the [`crate::signing::KeyRing`], its claims by the rules of
//! RSV-02 and RSV-03. Whether what it names still exists is the business of [`crate::dataplane::OrgPlane::admit`].

use core::fmt;
use std::{sync::Arc, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use model::{ConnectionKeyId, GrantId, OrgId, Scope};
use moka::sync::Cache;
use serde::de;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Env, Result};

/// How long an access token lives, milliseconds: one hour.
pub const LIFETIME: i64 = 60 * 60 * 1000;
/// By how much clocks may differ, milliseconds.
const LEEWAY: i64 = 60 * 1000;
/// The longest token that is looked at, bytes.
const LONGEST: usize = 8 * 1024;
/// The longest of the short claims, bytes.
const LONGEST_ID: usize = 1024;
/// The type of an access token (RFC 9068); no other token of anybody has it.
const TYPE: &str = "at+jwt";
/// The only algorithm.
const ALGORITHM: &str = "RS256";
/// Times after this one (the year 9999) are no times.
const LAST_SECOND: i64 = 253_402_300_799;

/// What a token shall say.
#[derive(Clone, Debug)]
pub struct Minting {
    /// For whom it speaks: a user's id, or the client's own.
    pub subject: String,
    /// Which client it is issued to.
    pub client: String,
    /// The organisation that it is for.
    pub org: OrgId,
    /// The resource that it is for.
    pub audience: String,
    /// What it may do.
    pub scope: Scope,
    /// The grant it comes from; `None` for machine clients.
    pub grant: Option<TokenGrant>,
}

/// What ties a token to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenGrant {
    /// The grant.
    pub grant: GrantId,
    /// The connection's key at that time: with another key the token is dead.
    pub key: ConnectionKeyId,
    /// The generation of the refresh token that it came with.
    pub generation: i64,
}

/// A token that was just made.
#[derive(Clone)]
pub struct Minted {
    /// The token.
    pub token: String,
    /// Its id.
    pub jti: String,
    /// When it ends, Unix milliseconds.
    pub expires_at: i64,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("jti", &self.jti).finish_non_exhaustive()
    }
}

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// The key that signed it.
    pub kid: String,
    /// Its id.
    pub jti: String,
    /// For whom it speaks: a user's id, or the client's own.
    pub subject: String,
    /// Which client it was issued to.
    pub client: String,
    /// The organisation that it is for.
    pub org: OrgId,
    /// The resource that it is for.
    pub audience: String,
    /// What it may do.
    pub scope: Scope,
    /// The grant it comes from; `None` for machine clients.
    pub grant: Option<TokenGrant>,
    /// When it was made, Unix milliseconds.
    pub issued_at: i64,
    /// When it ends, Unix milliseconds.
    pub expires_at: i64,
}

/// Why a token is not accepted. The words are for the log: whoever presented it learns only that it is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no valid token here.
    #[error("{0}")]
    Invalid(&'static str),
    /// The keys could not be read, so nothing can be decided (ERR-05).
    #[error("the signing keys cannot be read just now")]
    Unavailable,
}

/// Tokens that were verified lately, by their SHA-256.
pub(crate) type Verified = Cache<[u8; 32], Arc<AccessToken>>;

/// A cache that is bounded, so that many tokens cost no more memory than it has room for.
pub(crate) fn verified() -> Verified {
    Cache::builder().max_capacity(10_000).time_to_live(Duration::from_mins(5)).build()
}

/// Makes a token.
pub async fn mint(env: &Env, minting: &Minting) -> Result<Minted> {
    let signer = env.keys.signer(env).await?;
    let issued = env.now().div_euclid(1000);
    let expires = issued + LIFETIME / 1000;
    let jti = env.token();
    let header = json!({"alg": ALGORITHM, "typ": TYPE, "kid": signer.kid()});
    let mut claims = json!({
        "iss": env.settings.absolute(""),
        "sub": minting.subject,
        "aud": minting.audience,
        "exp": expires,
        "iat": issued,
        "jti": jti,
        "client_id": minting.client,
        "scope": minting.scope,
        "org": minting.org,
    });
    if let Some(grant) = &minting.grant {
        claims["grant"] = json!(grant.grant);
        claims["key"] = json!(grant.key);
        claims["gen"] = json!(grant.generation);
    }
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(&header), part(&claims));
    let signature = BASE64URL_NOPAD.encode(&signer.sign(message.as_bytes())?);
    Ok(Minted { token: format!("{message}.{signature}"), jti, expires_at: expires * 1000 })
}

/// Reads a token of ours. The database is asked only before the keys were ever read.
pub async fn read(env: &Env, token: &str) -> core::result::Result<Arc<AccessToken>, Refused> {
    if token.len() > LONGEST {
        return Err(Refused::Invalid("it is too long"));
    }
    env.keys.ready(env).await.map_err(|error| {
        tracing::error!(%error, "the signing keys cannot be read");
        Refused::Unavailable
    })?;
    let now = env.now();
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let access = match env.keys.verified.get(&digest) {
        // A key may have been removed since.
        Some(access) if env.keys.public(&access.kid, now).is_none() => {
            return Err(Refused::Invalid("its key is not accepted"));
        }
        Some(access) => access,
        None => {
            let access = Arc::new(verify(env, token, now)?);
            env.keys.verified.insert(digest, Arc::clone(&access));
            access
        }
    };
    if now >= access.expires_at + LEEWAY {
        return Err(Refused::Invalid("it has expired"));
    }
    Ok(access)
}

fn verify(env: &Env, token: &str, now: i64) -> core::result::Result<AccessToken, Refused> {
    let refuse = Refused::Invalid;
    let (message, signature) = token.rsplit_once('.').ok_or(refuse("it is no JWT"))?;
    let (header, claims) = message.split_once('.').ok_or(refuse("it is no JWT"))?;
    let header = object(header).ok_or(refuse("its header is no JSON object of ours"))?;
    // Nothing but these three is ever in a header of ours: no `crit`, and no key that the token brings along.
    if header.keys().any(|name| !["alg", "typ", "kid"].contains(&name.as_str())) {
        return Err(refuse("its header has members that no token of ours has"));
    }
    if header.get("alg").and_then(Value::as_str) != Some(ALGORITHM) {
        return Err(refuse("its algorithm is not RS256"));
    }
    if header.get("typ").and_then(Value::as_str) != Some(TYPE) {
        return Err(refuse("its type is not at+jwt"));
    }
    let kid = header.get("kid").and_then(Value::as_str).ok_or(refuse("it names no key"))?;
    let key = env.keys.public(kid, now).ok_or(refuse("its key is not known"))?;
    // The library takes a signature in lenient base64 too, which would give one token many spellings.
    BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| refuse("its signature is no base64url"))?;
    if !jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, Algorithm::RS256).unwrap_or(false) {
        return Err(refuse("its signature is wrong"));
    }
    let claims = object(claims).ok_or(refuse("its claims are no JSON object"))?;
    read_claims(env, kid, &claims, now)
}

fn read_claims(
    env: &Env,
    kid: &str,
    claims: &Map<String, Value>,
    now: i64,
) -> core::result::Result<AccessToken, Refused> {
    let refuse = Refused::Invalid;
    let text = |name: &str| {
        let text = claims.get(name)?.as_str()?;
        (!text.is_empty() && text.len() <= LONGEST_ID).then_some(text)
    };
    if text("iss") != Some(env.settings.absolute("").as_str()) {
        return Err(refuse("its issuer is another"));
    }
    let expires_at = time(claims, "exp").flatten().ok_or(refuse("its exp is no time"))?;
    let issued_at = time(claims, "iat").flatten().ok_or(refuse("its iat is no time"))?;
    let not_before = time(claims, "nbf").ok_or(refuse("its nbf is no time"))?;
    if issued_at > now + LEEWAY || not_before.is_some_and(|at| at > now + LEEWAY) {
        return Err(refuse("it is from the future"));
    }
    if expires_at <= issued_at || expires_at - issued_at > LIFETIME {
        return Err(refuse("it lives longer than any token of ours"));
    }
    // A token that is bound to a key of its holder must not pass without a proof of that key.
    if claims.contains_key("cnf") {
        return Err(refuse("it is bound to a key"));
    }
    let scope = claims.get("scope").and_then(Value::as_str).and_then(|scope| scope.parse().ok());
    let grant = match (claims.get("grant"), claims.get("key"), claims.get("gen")) {
        (None, None, None) => None,
        (Some(grant), Some(key), Some(generation)) => {
            let parsed = || {
                Some(TokenGrant {
                    grant: grant.as_str()?.parse().ok()?,
                    key: key.as_str()?.parse().ok()?,
                    generation: generation.as_i64().filter(|generation| *generation > 0)?,
                })
            };
            Some(parsed().ok_or(refuse("its grant cannot be read"))?)
        }
        _ => return Err(refuse("its grant is incomplete")),
    };
    Ok(AccessToken {
        kid: kid.to_owned(),
        jti: text("jti").ok_or(refuse("it has no jti"))?.to_owned(),
        subject: text("sub").ok_or(refuse("it has no sub"))?.to_owned(),
        client: text("client_id").ok_or(refuse("it has no client_id"))?.to_owned(),
        org: text("org").and_then(|org| org.parse().ok()).ok_or(refuse("it has no org"))?,
        audience: text("aud").ok_or(refuse("it has no aud"))?.to_owned(),
        scope: scope.ok_or(refuse("its scope cannot be read"))?,
        grant,
        issued_at,
        expires_at,
    })
}

/// A claim that is a time, in Unix milliseconds: `None` when it is something else, `Some(None)` when it is not there.
#[expect(clippy::option_option, reason = "absent and wrong are two things (RSV-03)")]
fn time(claims: &Map<String, Value>, name: &str) -> Option<Option<i64>> {
    match claims.get(name) {
        None => Some(None),
        Some(value) => value.as_i64().filter(|at| (0..=LAST_SECOND).contains(at)).map(|at| Some(at * 1000)),
    }
}

/// A part of a token as a JSON object, unless a name is in it twice.
fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).ok()?;
    serde_json::from_slice::<Object>(&bytes).ok().map(|object| object.0)
}

/// An object without duplicate names: which of two counts is told by nobody, and two readers may differ.
struct Object(Map<String, Value>);

impl<'de> de::Deserialize<'de> for Object {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose names are all different")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut members: A,
            ) -> core::result::Result<Object, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(de::Error::custom("a name is there twice"));
                    }
                }
                Ok(Object(map))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}
