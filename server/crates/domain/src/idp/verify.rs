//! Which tokens of a provider are good (IDP-03, IDP-06). Every condition has a name, for the tester; whoever presents a
//! token at the endpoint learns only that it is not valid.

use data_encoding::BASE64URL_NOPAD;
use model::{
    OrgId,
    sso::{Check, ClaimRule},
};
use serde_json::{Map, Value};

use super::PlaneIdp;
use crate::{
    Env,
    tokens::{LEEWAY, LONGEST, object, time},
};

/// The longest subject, bytes.
const LONGEST_SUBJECT: usize = 512;
/// How much of a token's claim is quoted, characters.
const QUOTED: usize = 120;
/// The types of tokens that are no access tokens by another name. A type that nobody knows is not one of these.
const TYPES: &[&str] = &["jwt", "at+jwt", "application/at+jwt", "application/jwt"];

/// One thing that a token has to fulfil, in the order in which they are looked at. What the token says comes before its
/// signature, so that tokens of others never lead to a fetch of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is a signed JWT, written without ambiguity.
    Form,
    /// RS256.
    Algorithm,
    /// No other kind of token.
    Kind,
    /// Nothing in its header has to be understood that is not.
    Critical,
    /// It is by the configured issuer.
    Issuer,
    /// It is for the configured audience.
    Audience,
    /// It has not expired.
    Expiry,
    /// It is not from the future.
    Begin,
    /// It says whom it is about.
    Subject,
    /// It is not bound to a key of its holder.
    Unbound,
    /// It is no ID token, unless those pass.
    NoIdToken,
    /// The provider has the key that it names.
    Key,
    /// It is by that key.
    Signature,
    /// It has the claims that the organisation asks for.
    Claims,
    /// It has the scope that the organisation asks for.
    Scope,
}

impl Condition {
    /// The word for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Form => "format",
            Self::Algorithm => "alg",
            Self::Kind => "typ",
            Self::Critical => "crit",
            Self::Issuer => "iss",
            Self::Audience => "aud",
            Self::Expiry => "exp",
            Self::Begin => "nbf",
            Self::Subject => "sub",
            Self::Unbound => "cnf",
            Self::NoIdToken => "id_token",
            Self::Key => "kid",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Scope => "scope",
        }
    }

    /// What it is called on the page.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Form => "Format",
            Self::Algorithm => "Algorithm (alg)",
            Self::Kind => "Type (typ)",
            Self::Critical => "Critical extensions (crit)",
            Self::Issuer => "Issuer (iss)",
            Self::Audience => "Audience (aud)",
            Self::Expiry => "Expiry (exp)",
            Self::Begin => "Start (nbf, iat)",
            Self::Subject => "Subject (sub)",
            Self::Unbound => "Bearer token (cnf)",
            Self::NoIdToken => "Access token, no ID token",
            Self::Key => "Key (kid)",
            Self::Signature => "Signature",
            Self::Claims => "Claim rules",
            Self::Scope => "Required scope",
        }
    }
}

/// Who a token is about. The same person at another issuer, or in another organisation, is somebody else; an e-mail
/// address never decides (IDP-05).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdpSubject {
    /// The organisation whose endpoint was called.
    pub org: OrgId,
    /// The issuer.
    pub issuer: String,
    /// The `sub`.
    pub subject: String,
    /// When the token ends, Unix milliseconds, leeway included.
    pub expires_at: i64,
}

/// The condition that a token failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub condition: Condition,
    /// What was found and what to do, for the tester alone: it may quote the token.
    pub detail: String,
}

impl Refused {
    /// Whether the token is genuine and only may not do this: 403 rather than 401 (IDP-06).
    pub fn is_forbidden(&self) -> bool {
        matches!(self.condition, Condition::Claims | Condition::Scope)
    }
}

/// Judges a token of the organisation's provider.
pub async fn verify(env: &Env, provider: &PlaneIdp, token: &str) -> Result<IdpSubject, Refused> {
    judge(env, provider, token, &mut |_, _| ()).await
}

/// The same, and every condition that was fulfilled, in words.
pub(crate) async fn explained(
    env: &Env,
    provider: &PlaneIdp,
    token: &str,
) -> (Vec<Check>, Result<IdpSubject, Refused>) {
    let mut checks = Vec::new();
    let check = |condition: Condition, detail: String, passed| Check {
        code: condition.code().to_owned(),
        title: condition.title().to_owned(),
        detail,
        passed,
    };
    let judged = judge(env, provider, token, &mut |condition, detail| {
        checks.push(check(condition, detail(), true));
    })
    .await;
    if let Err(refused) = &judged {
        checks.push(check(refused.condition, refused.detail.clone(), false));
    }
    (checks, judged)
}

fn refuse(condition: Condition, detail: impl Into<String>) -> Refused {
    Refused { condition, detail: detail.into() }
}

/// A value as the tester quotes it.
pub(crate) fn quoted(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() > QUOTED { text.chars().take(QUOTED).chain(['…']).collect() } else { text }
}

type Passed<'a> = dyn FnMut(Condition, &dyn Fn() -> String) + Send + 'a;

async fn judge(
    env: &Env,
    provider: &PlaneIdp,
    token: &str,
    passed: &mut Passed<'_>,
) -> Result<IdpSubject, Refused> {
    let parts = parts(token)?;
    passed(Condition::Form, &|| "A signed JWT.".into());
    header(&parts.header, passed)?;
    let now = env.now();
    let expires_at = claims(provider, &parts.claims, now, passed)?;
    let subject = subject(&parts.claims)?;
    passed(Condition::Subject, &|| quoted(&subject.into()));
    purpose(provider, &parts.claims, passed)?;

    let kid = match parts.header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(refuse(Condition::Key, "The token's kid is not a text.")),
    };
    let keys = env
        .jwks
        .find(env, &provider.into(), kid)
        .await
        .map_err(|problem| refuse(Condition::Key, problem.to_string()))?;
    passed(Condition::Key, &|| {
        kid.map_or_else(|| "The only key of the set.".into(), |kid| quoted(&kid.into()))
    });
    if !keys.iter().any(|key| key.verifies(parts.message.as_bytes(), &parts.signature)) {
        return Err(refuse(
            Condition::Signature,
            "The signature is not by this key. Copy the whole token; if it is whole, the JWKS URI belongs to another issuer or the token was changed.",
        ));
    }
    passed(Condition::Signature, &|| "Made by this key.".into());

    for rule in &provider.rules.claims {
        fulfils(rule, &parts.claims)?;
    }
    if !provider.rules.claims.is_empty() {
        passed(Condition::Claims, &|| "Every rule is fulfilled.".into());
    }
    let scope = provider.rules.scope.as_str();
    if !scope.is_empty() {
        if !has_scope(scope, &parts.claims) {
            return Err(refuse(
                Condition::Scope,
                format!(
                    "Neither scope nor scp of the token has {scope}. Have the client ask for it, and let the provider grant it."
                ),
            ));
        }
        passed(Condition::Scope, &|| scope.to_owned());
    }
    Ok(IdpSubject {
        org: provider.org,
        issuer: provider.issuer.clone(),
        subject: subject.to_owned(),
        expires_at: expires_at + LEEWAY,
    })
}

/// A token taken apart.
pub(crate) struct Parts<'a> {
    /// What is signed.
    pub(crate) message: &'a str,
    /// Its header.
    pub(crate) header: Map<String, Value>,
    /// Its claims.
    pub(crate) claims: Map<String, Value>,
    /// The signature.
    pub(crate) signature: Vec<u8>,
}

pub(crate) fn parts(token: &str) -> Result<Parts<'_>, Refused> {
    let wrong = |detail: &str| refuse(Condition::Form, detail);
    if token.len() > LONGEST {
        return Err(wrong(
            "The token is longer than 8 KiB. Have the provider put less into it, such as fewer groups.",
        ));
    }
    match token.bytes().filter(|byte| *byte == b'.').count() {
        2 => {}
        4 => {
            return Err(wrong(
                "The token is encrypted (JWE). Switch encryption of access tokens off at the provider.",
            ));
        }
        _ => {
            return Err(wrong(
                "This is no JWT. Some providers give opaque tokens unless an API or audience is asked for: ask for one with the audience above.",
            ));
        }
    }
    let unreadable = || wrong("The token cannot be read. Copy it whole, without quotes or line breaks.");
    let (message, signature) = token.rsplit_once('.').ok_or_else(unreadable)?;
    let (header, claims) = message.split_once('.').ok_or_else(unreadable)?;
    Ok(Parts {
        message,
        header: object(header).ok_or_else(unreadable)?,
        claims: object(claims).ok_or_else(unreadable)?,
        signature: BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| unreadable())?,
    })
}

fn header(header: &Map<String, Value>, passed: &mut Passed<'_>) -> Result<(), Refused> {
    match header.get("alg") {
        Some(Value::String(alg)) if alg == "RS256" => {}
        found => {
            let found = found.map_or_else(|| "nothing".to_owned(), quoted);
            return Err(refuse(
                Condition::Algorithm,
                format!(
                    "It is {found}; only RS256 is accepted. Set the signing algorithm of the client or API to RS256 at the provider."
                ),
            ));
        }
    }
    passed(Condition::Algorithm, &|| "RS256".into());
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if TYPES.contains(&kind.to_ascii_lowercase().as_str()) => {}
        Some(found) => {
            return Err(refuse(
                Condition::Kind,
                format!(
                    "It is {}: not an access token. Send the access token that the provider issued.",
                    quoted(found)
                ),
            ));
        }
    }
    passed(Condition::Kind, &|| header.get("typ").map_or_else(|| "Not given.".into(), quoted));
    if let Some(critical) = header.get("crit") {
        return Err(refuse(
            Condition::Critical,
            format!("The token demands extensions that are not known here: {}.", quoted(critical)),
        ));
    }
    Ok(())
}

/// Issuer, audience and times; when it ends, Unix milliseconds.
fn claims(
    provider: &PlaneIdp,
    claims: &Map<String, Value>,
    now: i64,
    passed: &mut Passed<'_>,
) -> Result<i64, Refused> {
    match claims.get("iss") {
        Some(Value::String(issuer)) if *issuer == provider.issuer => {}
        Some(found) => {
            let slash = found
                .as_str()
                .is_some_and(|found| found.trim_end_matches('/') == provider.issuer.trim_end_matches('/'));
            let hint = if slash {
                "They differ by the slash at the end: enter the issuer exactly as the token has it."
            } else {
                "Enter this one as issuer if it is yours; some providers have an issuer of their own for each API or tenant."
            };
            return Err(refuse(
                Condition::Issuer,
                format!("The token is by {}, configured is {}. {hint}", quoted(found), provider.issuer),
            ));
        }
        None => return Err(refuse(Condition::Issuer, "The token names no issuer.")),
    }
    passed(Condition::Issuer, &|| provider.issuer.clone());

    let audience = claims.get("aud");
    let fits = match audience {
        Some(Value::String(one)) => *one == provider.audience,
        Some(Value::Array(many)) => {
            many.iter().all(Value::is_string) && many.iter().any(|one| *one == provider.audience)
        }
        _ => false,
    };
    if !fits {
        let found = audience.map_or_else(|| "nobody".to_owned(), quoted);
        return Err(refuse(
            Condition::Audience,
            format!(
                "The token is for {found}, configured is {}. Ask the provider for this audience (often the parameter audience or resource), or enter the token's.",
                provider.audience
            ),
        ));
    }
    passed(Condition::Audience, &|| provider.audience.clone());

    let at = |name: &str, condition| {
        time(claims, name)
            .ok_or_else(|| refuse(condition, format!("Its {name} is not a time in whole seconds.")))
    };
    let Some(expires_at) = at("exp", Condition::Expiry)? else {
        return Err(refuse(
            Condition::Expiry,
            "The token has no exp. Tokens without an end are not accepted.",
        ));
    };
    if now >= expires_at + LEEWAY {
        let minutes = (now - expires_at) / 60_000;
        return Err(refuse(
            Condition::Expiry,
            format!("It expired {minutes} minutes ago. Get a new token; if it is new, compare the clocks."),
        ));
    }
    passed(Condition::Expiry, &|| format!("{} minutes left.", ((expires_at - now) / 60_000).max(0)));

    for name in ["nbf", "iat"] {
        if at(name, Condition::Begin)?.is_some_and(|begins| begins > now + LEEWAY) {
            return Err(refuse(
                Condition::Begin,
                format!("Its {name} is in the future: the clock of the provider or of this server is wrong."),
            ));
        }
    }
    passed(Condition::Begin, &|| "In the past.".into());
    Ok(expires_at)
}

fn subject(claims: &Map<String, Value>) -> Result<&str, Refused> {
    let subject = claims.get("sub").and_then(Value::as_str);
    subject.filter(|subject| !subject.is_empty() && subject.len() <= LONGEST_SUBJECT).ok_or_else(|| {
        refuse(
            Condition::Subject,
            "The token does not say whom it is about. Have the provider put a sub of at most 512 characters into it.",
        )
    })
}

/// What the token was made for.
fn purpose(provider: &PlaneIdp, claims: &Map<String, Value>, passed: &mut Passed<'_>) -> Result<(), Refused> {
    // Presented without a proof of that key it may be stolen.
    if claims.contains_key("cnf") {
        return Err(refuse(
            Condition::Unbound,
            "The token is bound to a key of its client (DPoP or mutual TLS), of which no proof is taken here. Have the provider issue bearer tokens.",
        ));
    }
    let marked = ["nonce", "at_hash", "c_hash"].iter().find(|name| claims.contains_key(**name));
    let said = [("typ", "ID"), ("token_use", "id")]
        .iter()
        .find(|(name, value)| claims.get(*name).is_some_and(|found| *found == *value))
        .map(|(name, _)| name);
    if let Some(sign) = marked.or(said)
        && !provider.rules.id_tokens
    {
        return Err(refuse(
            Condition::NoIdToken,
            format!(
                "Its claim {sign} marks it as an ID token. Send the access token, or accept ID tokens below."
            ),
        ));
    }
    passed(Condition::NoIdToken, &|| "Fine.".into());
    Ok(())
}

fn fulfils(rule: &ClaimRule, claims: &Map<String, Value>) -> Result<(), Refused> {
    let is = |value: &Value| match value {
        Value::String(text) => rule.values.contains(text),
        Value::Number(_) | Value::Bool(_) => rule.values.contains(&value.to_string()),
        _ => false,
    };
    let found = claims.get(&rule.claim);
    let fulfilled = match found {
        Some(Value::Array(many)) => many.iter().any(is),
        Some(one) => is(one),
        None => false,
    };
    if fulfilled {
        return Ok(());
    }
    let found = found.map_or_else(|| "not there".to_owned(), quoted);
    Err(refuse(
        Condition::Claims,
        format!("The claim {} has to be {}; it is {found}.", rule.claim, rule.values.join(" or ")),
    ))
}

/// `scope` is a text of words by RFC 8693, `scp` a list or such a text at some providers.
fn has_scope(scope: &str, claims: &Map<String, Value>) -> bool {
    ["scope", "scp"].iter().filter_map(|name| claims.get(*name)).any(|found| match found {
        Value::String(words) => words.split(' ').any(|word| word == scope),
        Value::Array(words) => words.iter().any(|word| word == scope),
        _ => false,
    })
}
