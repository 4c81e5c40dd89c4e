//! Access tokens: JWTs by RFC 9068, minted by the authorization server and read by the gateway.
//!
//! A token is read from memory alone: its signature by a key of the [`crate::signing::KeyRing`], its claims by the rules of
//! RSV-02 and RSV-03. Whether what it names still exists is the business of [`crate::dataplane::OrgPlane::admit`].

use core::fmt;
use std::{sync::Arc, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use futures_util::future::BoxFuture;
use model::{ConnectionKeyId, GrantId, OrgId, Scope};
use moka::sync::Cache;
use serde::de;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Env, Result};

/// How long an access token lives, milliseconds: one hour.
pub const LIFETIME: i64 = 60 * 60 * 1000;
/// By how much clocks may differ, milliseconds: for so long after its end a token may still be accepted.
pub const LEEWAY: i64 = 60 * 1000;
/// The longest token that is looked at, bytes.
pub(crate) const LONGEST: usize = 8 * 1024;
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

/// Who a token says that it is by, before anything about it was judged: only good for choosing who judges it.
pub fn claimed_issuer(token: &str) -> Option<String> {
    /// The others are passed over: this is asked for every call with a token.
    #[derive(serde::Deserialize)]
    struct Issuer {
        iss: Option<String>,
    }

    if token.len() > LONGEST {
        return None;
    }
    let mut parts = token.split('.');
    let (_, claims) = (parts.next()?, parts.next()?);
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
    serde_json::from_slice::<Issuer>(&claims).ok()?.iss
}

/// What reads access tokens for the data plane, which knows no database.
pub trait Reader: Send + Sync + 'static {
    /// Reads a token; see [`read`].
    fn read<'a>(&'a self, token: &'a str) -> BoxFuture<'a, core::result::Result<Arc<AccessToken>, Refused>>;

    /// Whether the key of a token that was read before has not been removed since.
    fn stands(&self, token: &AccessToken) -> bool;
}

impl Reader for Env {
    fn read<'a>(&'a self, token: &'a str) -> BoxFuture<'a, core::result::Result<Arc<AccessToken>, Refused>> {
        Box::pin(read(self, token))
    }

    fn stands(&self, token: &AccessToken) -> bool {
        self.keys.stands(&token.kid)
    }
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
        Some(access) if !env.keys.accepts(&access.kid, now) => {
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
    // Strict, or one token would have many spellings.
    let signature =
        BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| refuse("its signature is no base64url"))?;
    key.verify_sig(message.as_bytes(), &signature).map_err(|_| refuse("its signature is wrong"))?;
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
pub(crate) fn time(claims: &Map<String, Value>, name: &str) -> Option<Option<i64>> {
    match claims.get(name) {
        None => Some(None),
        Some(value) => value.as_i64().filter(|at| (0..=LAST_SECOND).contains(at)).map(|at| Some(at * 1000)),
    }
}

/// A part of a token as a JSON object, unless a name is in it twice.
pub(crate) fn object(part: &str) -> Option<Map<String, Value>> {
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        rsa::KeySize,
        signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair},
    };
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};

    use super::*;
    use crate::{authz::Principal, env_test, signing, testing::TestEnv};

    fn org() -> OrgId {
        OrgId::from_uuid(uuid::Uuid::from_u128(7))
    }

    fn grant() -> TokenGrant {
        TokenGrant {
            grant: GrantId::from_uuid(uuid::Uuid::from_u128(8)),
            key: ConnectionKeyId::from_uuid(uuid::Uuid::from_u128(9)),
            generation: 3,
        }
    }

    fn minting() -> Minting {
        Minting {
            subject: "usr_1".to_owned(),
            client: "https://client.example/id".to_owned(),
            org: org(),
            audience: "http://localhost:3000/mcp/acme".to_owned(),
            scope: "mcp:call:a mcp:call:b offline_access".parse().unwrap(),
            grant: Some(grant()),
        }
    }

    fn part(value: &Value) -> String {
        text_part(&value.to_string())
    }

    fn text_part(text: &str) -> String {
        BASE64URL_NOPAD.encode(text.as_bytes())
    }

    fn header(t: &TestEnv) -> Value {
        json!({"alg": "RS256", "typ": "at+jwt", "kid": kid(t)})
    }

    fn kid(t: &TestEnv) -> String {
        let set: Value = serde_json::from_str(
            &futures_util::FutureExt::now_or_never(t.env.keys.jwks(&t.env)).unwrap().unwrap(),
        )
        .unwrap();
        set["keys"][0]["kid"].as_str().unwrap().to_owned()
    }

    fn claims(t: &TestEnv) -> Value {
        let now = t.env.now() / 1000;
        json!({
            "iss": "http://localhost:3000", "sub": "usr_1", "aud": "http://localhost:3000/mcp/acme",
            "exp": now + 3600, "iat": now, "jti": "j", "client_id": "c", "scope": "mcp:call", "org": org(),
        })
    }

    /// Signed with our own key, whatever it says.
    async fn signed(t: &TestEnv, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", text_part(header), text_part(claims));
        let signature = t.env.keys.signer(&t.env).await.unwrap().sign(message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    async fn with(t: &TestEnv, name: &str, value: Value) -> String {
        let mut claims = claims(t);
        claims[name] = value;
        signed(t, &header(t).to_string(), &claims.to_string()).await
    }

    async fn refused(t: &TestEnv, token: &str) {
        match read(&t.env, token).await {
            Err(Refused::Invalid(_)) => {}
            other => panic!("{other:?}: {token}"),
        }
    }

    env_test!(oak_05_a_token_says_what_rfc_9068_asks_for_and_nothing_of_the_person, |t| async {
        let made = mint(&t.env, &minting()).await.unwrap();
        // Read by the library's own reader, as any other resource server would.
        let set: jsonwebtoken::jwk::JwkSet =
            serde_json::from_str(&t.env.keys.jwks(&t.env).await.unwrap()).unwrap();
        let key = DecodingKey::from_jwk(&set.keys[0]).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["http://localhost:3000/mcp/acme"]);
        validation.set_issuer(&["http://localhost:3000"]);
        validation.validate_exp = false;
        let data = jsonwebtoken::decode::<Value>(&made.token, &key, &validation).unwrap();
        assert_eq!(data.header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(data.header.kid, set.keys[0].common.key_id);
        let now = t.env.now() / 1000;
        assert_eq!(
            data.claims,
            json!({
                "iss": "http://localhost:3000",
                "sub": "usr_1",
                "aud": "http://localhost:3000/mcp/acme",
                "exp": now + 3600,
                "iat": now,
                "jti": made.jti,
                "client_id": "https://client.example/id",
                "scope": "mcp:call:a mcp:call:b offline_access",
                "org": org(),
                "grant": grant().grant,
                "key": grant().key,
                "gen": 3,
            })
        );
        assert_eq!(made.expires_at, (now + 3600) * 1000);
        let read = read(&t.env, &made.token).await.unwrap();
        assert_eq!(read.scope, minting().scope);
        assert_eq!((read.grant, &read.jti, read.expires_at), (Some(grant()), &made.jti, made.expires_at));
        assert_eq!((&*read.subject, &*read.client, read.org), ("usr_1", "https://client.example/id", org()));
        let machine = mint(&t.env, &Minting { grant: None, ..minting() }).await.unwrap();
        assert_eq!(super::read(&t.env, &machine.token).await.unwrap().grant, None);
        assert_ne!(machine.jti, made.jti);
    });

    env_test!(rsv_02_only_our_key_with_our_algorithm_signs, |t| async {
        let good = mint(&t.env, &minting()).await.unwrap().token;
        let [_, body, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
        read(&t.env, &good).await.unwrap();
        let header = header(&t);
        // No signature at all.
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let mut other = header.clone();
            other["alg"] = json!(alg);
            refused(&t, &format!("{}.{body}.", part(&other))).await;
            refused(&t, &format!("{}.{body}.{signature}", part(&other))).await;
        }
        refused(&t, &format!("{}.{body}.", part(&header))).await;
        // The public key as an HMAC secret.
        let jwks = t.env.keys.jwks(&t.env).await.unwrap();
        let jwk: Value = serde_json::from_str::<Value>(&jwks).unwrap()["keys"][0].take();
        let n = BASE64URL_NOPAD.decode(jwk["n"].as_str().unwrap().as_bytes()).unwrap();
        for secret in [jwk.to_string().into_bytes(), jwk["n"].as_str().unwrap().into(), n] {
            let mut other = jsonwebtoken::Header::new(Algorithm::HS256);
            other.typ = Some("at+jwt".into());
            other.kid = Some(kid(&t));
            let forged =
                jsonwebtoken::encode(&other, &claims(&t), &EncodingKey::from_secret(&secret)).unwrap();
            refused(&t, &forged).await;
        }
        // Our own key, but another algorithm or what only looks like ours.
        for alg in ["RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", "RS256 "] {
            let mut other = header.clone();
            other["alg"] = json!(alg);
            refused(&t, &signed(&t, &other.to_string(), &claims(&t).to_string()).await).await;
        }
        // Another's key: under our kid, and with the key brought along.
        let foreign = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let sign = |header: &Value, pss: bool| {
            let message = format!("{}.{}", part(header), part(&claims(&t)));
            let mut signature = vec![0; foreign.public_modulus_len()];
            let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                if pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
            foreign.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
            format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
        };
        refused(&t, &sign(&header, false)).await;
        refused(&t, &sign(&header, true)).await;
        let own = BASE64URL_NOPAD.encode(foreign.public_key().modulus().big_endian_without_leading_zero());
        let mut embedded = header.clone();
        embedded["jwk"] = json!({"kty": "RSA", "n": own, "e": "AQAB"});
        refused(&t, &sign(&embedded, false)).await;
        embedded.as_object_mut().unwrap().remove("kid");
        refused(&t, &sign(&embedded, false)).await;
        // A changed byte anywhere; a signature in other letters.
        for at in [0, 10, good.len() / 2, good.len() - 200, good.len() - 1] {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            refused(&t, std::str::from_utf8(&bytes).unwrap()).await;
        }
        refused(&t, &format!("{good}=")).await;
        refused(&t, &format!("{good}.")).await;
        refused(&t, &format!("{good} ")).await;
        for junk in ["", ".", "..", "...", "a.b.c", "eyJhbGciOiJSUzI1NiJ9..", "e30.e30.e30"] {
            refused(&t, junk).await;
        }
    });

    env_test!(rsv_02_a_header_with_anything_more_is_refused, |t| async {
        t.env.keys.signer(&t.env).await.unwrap();
        let (header, claims) = (header(&t), claims(&t).to_string());
        read(&t.env, &signed(&t, &header.to_string(), &claims).await).await.unwrap();
        for typ in
            ["JWT", "at+JWT", "application/at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "", "id_token"]
        {
            let mut other = header.clone();
            other["typ"] = json!(typ);
            refused(&t, &signed(&t, &other.to_string(), &claims).await).await;
        }
        for absent in ["typ", "alg", "kid"] {
            let mut other = header.clone();
            other.as_object_mut().unwrap().remove(absent);
            refused(&t, &signed(&t, &other.to_string(), &claims).await).await;
            other[absent] = json!(["RS256", "at+jwt"]);
            refused(&t, &signed(&t, &other.to_string(), &claims).await).await;
        }
        let jwks: Value = serde_json::from_str(&t.env.keys.jwks(&t.env).await.unwrap()).unwrap();
        for (name, value) in [
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("jwk", jwks["keys"][0].clone()),
            ("jku", json!("https://evil.test/jwks.json")),
            ("x5u", json!("https://evil.test/cert.pem")),
            ("x5c", json!(["MIIB"])),
            ("zip", json!("DEF")),
        ] {
            let mut other = header.clone();
            other[name] = value;
            refused(&t, &signed(&t, &other.to_string(), &claims).await).await;
        }
        let twice = header.to_string().replacen('{', "{\"alg\":\"none\",", 1);
        refused(&t, &signed(&t, &twice, &claims).await).await;
        refused(&t, &signed(&t, "[]", &claims).await).await;
    });

    env_test!(rsv_02_a_hostile_kid_asks_nobody, |t| async {
        t.env.keys.signer(&t.env).await.unwrap();
        let (header, claims) = (header(&t), claims(&t).to_string());
        let mut tokens = Vec::new();
        let long = "k".repeat(4096);
        for kid in ["../../etc/passwd", "'; DROP TABLE signing_keys; --", "a\0b", "", "*", "%2e%2e", &long] {
            let mut other = header.clone();
            other["kid"] = json!(kid);
            tokens.push(signed(&t, &other.to_string(), &claims).await);
        }
        let mut huge = header.clone();
        huge["kid"] = json!("k".repeat(10 * 1024));
        tokens.push(signed(&t, &huge.to_string(), &claims).await);
        let good = mint(&t.env, &minting()).await.unwrap().token;
        // Without a database the good one still works and the others are refused, not "unavailable".
        t.env.db.close().await;
        read(&t.env, &good).await.unwrap();
        for token in tokens {
            refused(&t, &token).await;
        }
        // A node that has never read the keys cannot decide.
        let mut begun = t.env.clone();
        begun.keys = Arc::new(signing::KeyRing::for_tests());
        assert_eq!(read(&begun, &good).await, Err(Refused::Unavailable));
    });

    env_test!(rsv_03_every_claim_is_there_and_of_its_type, |t| async {
        t.env.keys.signer(&t.env).await.unwrap();
        let header = header(&t).to_string();
        read(&t.env, &signed(&t, &header, &claims(&t).to_string()).await).await.unwrap();
        for name in ["exp", "iat", "iss", "aud", "sub", "jti", "org", "client_id", "scope"] {
            let mut less = claims(&t);
            less.as_object_mut().unwrap().remove(name);
            refused(&t, &signed(&t, &header, &less.to_string()).await).await;
            for wrong in
                [Value::Null, json!(true), json!([]), json!({}), json!([less]), json!(-1), json!(1.5)]
            {
                refused(&t, &with(&t, name, wrong).await).await;
            }
        }
        let now = t.env.now() / 1000;
        for (name, wrong) in [
            ("exp", json!("9999999999")),
            ("exp", json!(1e308)),
            ("exp", json!(9_999_999_999_i64)),
            ("exp", json!(i64::MAX)),
            ("exp", json!(u64::MAX)),
            ("exp", format!("{}.5", now + 600).parse().unwrap()),
            ("exp", json!(now)),
            ("exp", json!(now + 3601)),
            ("iat", json!(now.to_string())),
            ("iat", json!(now + 61)),
            ("iat", json!(0)),
            ("nbf", json!("x")),
            ("nbf", json!(null)),
            ("nbf", json!(now + 61)),
            ("iss", json!("http://localhost:3000/")),
            ("iss", json!("https://localhost:3000")),
            ("iss", json!(["http://localhost:3000"])),
            ("aud", json!(["http://localhost:3000/mcp/acme"])),
            ("aud", json!("")),
            ("sub", json!("")),
            ("jti", json!("")),
            ("jti", json!("j".repeat(1025))),
            ("org", json!("acme")),
            ("org", json!("usr_00000000000000000000000007")),
            ("scope", json!("mcp:call:*")),
            ("scope", json!("openid")),
            ("grant", json!(grant().grant)),
            ("gen", json!(1)),
            ("cnf", json!({"jkt": "x"})),
        ] {
            refused(&t, &with(&t, name, wrong).await).await;
        }
        for (name, wrong) in
            [("grant", json!("x")), ("key", json!(grant().grant)), ("gen", json!("3")), ("gen", json!(0))]
        {
            let mut all = claims(&t);
            (all["grant"], all["key"], all["gen"]) = (json!(grant().grant), json!(grant().key), json!(3));
            read(&t.env, &signed(&t, &header, &all.to_string()).await).await.unwrap();
            all[name] = wrong;
            refused(&t, &signed(&t, &header, &all.to_string()).await).await;
        }
        read(&t.env, &with(&t, "nbf", json!(now)).await).await.unwrap();
        read(&t.env, &with(&t, "later", json!("a claim of a newer version")).await).await.unwrap();
    });

    env_test!(rsv_03_a_claim_is_there_once, |t| async {
        t.env.keys.signer(&t.env).await.unwrap();
        let header = header(&t).to_string();
        for twice in ["\"aud\":\"x\",", "\"exp\":1,", "\"unknown\":1,\"unknown\":1,", "\"\\u0061ud\":\"x\","]
        {
            let claims = claims(&t).to_string().replacen('{', &format!("{{{twice}"), 1);
            assert!(serde_json::from_str::<Value>(&claims).is_ok());
            refused(&t, &signed(&t, &header, &claims).await).await;
        }
    });

    env_test!(rsv_03_time_is_told_by_the_clock_with_a_minute_of_leeway, |t| async {
        let token = mint(&t.env, &minting()).await.unwrap().token;
        t.clock.advance(LIFETIME + 59_999);
        read(&t.env, &token).await.unwrap();
        t.clock.advance(1);
        // It is known and verified, and refused all the same.
        refused(&t, &token).await;
        let long = format!("{token}{}", "A".repeat(8 * 1024));
        refused(&t, &long).await;
    });

    env_test!(oak_04_tokens_outlive_the_rotation_and_end_with_the_removal_of_their_key, |t| async {
        let made = mint(&t.env, &minting()).await.unwrap().token;
        let kid = read(&t.env, &made).await.unwrap().kid.clone();
        signing::rotate(&t.env, &Principal::Operator).await.unwrap();
        t.clock.advance(signing::AHEAD - 1);
        let last = mint(&t.env, &minting()).await.unwrap();
        assert_eq!(read(&t.env, &last.token).await.unwrap().kid, kid);
        t.clock.advance(1);
        let new = mint(&t.env, &minting()).await.unwrap().token;
        assert_ne!(read(&t.env, &new).await.unwrap().kid, kid);
        t.clock.advance(LIFETIME - 2);
        read(&t.env, &last.token).await.unwrap();
        // Another node, which has verified it already, hears of the removal by polling.
        let mut other = t.env.clone();
        other.keys = Arc::new(signing::KeyRing::for_tests());
        read(&other, &last.token).await.unwrap();
        signing::retire(&t.env, &Principal::Operator, &kid).await.unwrap();
        refused(&t, &last.token).await;
        other.keys.refresh(&other).await.unwrap();
        assert_eq!(read(&other, &last.token).await, Err(Refused::Invalid("its key is not accepted")));
    });
}
