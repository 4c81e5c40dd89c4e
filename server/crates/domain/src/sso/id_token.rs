//! Which ID tokens are good (`OpenID` Connect Core 1.0 §3.1.3.7), and what they say about a person. Each condition is
//! written down with what was found, for the test; whoever logs in learns only its name.

use model::sso::Check;
use serde_json::{Map, Value};

use crate::{
    Env,
    idp::{
        jwks::KeySource,
        verify::{Parts, parts, quoted},
    },
    tokens::{LEEWAY, time},
};

/// The algorithms that are accepted.
const ALGORITHMS: &[&str] = &["RS256", "ES256"];
/// How long ago a token may have been made, milliseconds: it is fetched as soon as the person is back.
const OLDEST: i64 = 10 * 60 * 1000;
/// The longest subject, bytes.
const LONGEST_SUBJECT: usize = 255;
/// Claims that the test shows, where they are there.
const SHOWN: &[&str] =
    &["sub", "email", "email_verified", "name", "preferred_username", "amr", "acr", "iss", "aud", "groups"];

/// What a token has to be about.
pub(super) struct Expected<'a> {
    /// Who has to have made it, byte for byte.
    pub(super) issuer: &'a str,
    /// For whom: the client.
    pub(super) client_id: &'a str,
    /// What was sent along with the question.
    pub(super) nonce: &'a str,
    /// The keys.
    pub(super) keys: KeySource,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// Who it is at that issuer.
    pub(super) subject: String,
    /// Their address, if it says one.
    pub(super) email: Option<String>,
    /// Whether the provider vouches that the address is theirs.
    pub(super) email_verified: bool,
    /// Their name, if it says one.
    pub(super) name: Option<String>,
    /// Whether it says that they showed a second factor (MFA-06).
    pub(super) second_factor: bool,
}

/// What was looked at, in order. After one that failed there are no more.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked {
    pub(super) checks: Vec<Check>,
    /// What the token says about the person.
    pub(super) claims: Vec<(String, String)>,
}

/// One check failed; it is the last of [`Looked::checks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

impl Looked {
    pub(super) fn pass(&mut self, code: &str, title: &str, detail: impl Into<String>) {
        self.push(code, title, detail.into(), true);
    }

    pub(super) fn fail(&mut self, code: &str, title: &str, detail: impl Into<String>) -> Failed {
        self.push(code, title, detail.into(), false);
        Failed
    }

    fn push(&mut self, code: &str, title: &str, detail: String, passed: bool) {
        self.checks.push(Check { code: code.to_owned(), title: title.to_owned(), detail, passed });
    }

    /// The name of what failed.
    pub(super) fn why(&self) -> String {
        self.checks.last().map(|check| check.code.clone()).unwrap_or_default()
    }
}

/// Judges an ID token.
pub(super) async fn judge(
    env: &Env,
    expected: &Expected<'_>,
    token: &str,
    looked: &mut Looked,
) -> Result<Person, Failed> {
    let parts = parts(token).map_err(|refused| looked.fail("format", "Format", refused.detail))?;
    let algorithm = header(&parts.header, looked)?;
    claims(env, expected, &parts.claims, looked)?;
    signature(env, expected, &parts, &algorithm, looked).await?;
    let subject = parts.claims.get("sub").and_then(Value::as_str);
    let subject = subject.filter(|subject| !subject.is_empty() && subject.len() <= LONGEST_SUBJECT);
    let Some(subject) = subject else {
        return Err(looked.fail(
            "sub",
            "Subject (sub)",
            "The token does not say whom it is about in 1 to 255 characters.",
        ));
    };
    looked.pass("sub", "Subject (sub)", quoted(&subject.into()));
    looked.claims = SHOWN
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), quoted(parts.claims.get(*name)?))))
        .collect();
    let text = |name: &str| parts.claims.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Person {
        subject: subject.to_owned(),
        email: text("email"),
        // Some providers write it as a text. Nothing else counts, least of all its absence.
        email_verified: matches!(
            parts.claims.get("email_verified"),
            Some(Value::Bool(true) | Value::String(_))
        ) && text("email_verified").is_none_or(|text| text == "true"),
        name: text("name"),
        second_factor: second_factor(&parts.claims),
    })
}

fn header(header: &Map<String, Value>, looked: &mut Looked) -> Result<String, Failed> {
    let found = header.get("alg").and_then(Value::as_str).unwrap_or("nothing");
    if !ALGORITHMS.contains(&found) {
        let detail = format!(
            "It is {}; only RS256 and ES256 are accepted. Set the signing algorithm of the client at the provider.",
            quoted(&found.into())
        );
        return Err(looked.fail("alg", "Algorithm (alg)", detail));
    }
    if let Some(critical) = header.get("crit") {
        let detail = format!("The token demands extensions that are not known here: {}.", quoted(critical));
        return Err(looked.fail("crit", "Critical extensions (crit)", detail));
    }
    let kind = header.get("typ").map(|kind| kind.as_str().unwrap_or_default().to_ascii_lowercase());
    if let Some(kind) = kind.filter(|kind| kind != "jwt") {
        let detail = format!("It is {}: not an ID token.", quoted(&kind.into()));
        return Err(looked.fail("typ", "Type (typ)", detail));
    }
    looked.pass("alg", "Algorithm (alg)", found);
    Ok(found.to_owned())
}

fn claims(
    env: &Env,
    expected: &Expected<'_>,
    claims: &Map<String, Value>,
    looked: &mut Looked,
) -> Result<(), Failed> {
    let said = |name: &str| claims.get(name).map_or_else(|| "nothing".to_owned(), quoted);
    let is = |name: &str, wanted: &str| claims.get(name).and_then(Value::as_str) == Some(wanted);
    if !is("iss", expected.issuer) {
        let detail = format!("The token is by {}, configured is {}.", said("iss"), expected.issuer);
        return Err(looked.fail("iss", "Issuer (iss)", detail));
    }
    looked.pass("iss", "Issuer (iss)", expected.issuer);
    let many = match claims.get("aud") {
        Some(Value::String(one)) if one == expected.client_id => false,
        Some(Value::Array(list))
            if list.iter().all(Value::is_string) && list.iter().any(|one| *one == expected.client_id) =>
        {
            list.len() > 1
        }
        _ => {
            let detail = format!("The token is for {}, the client is {}.", said("aud"), expected.client_id);
            return Err(looked.fail("aud", "Audience (aud)", detail));
        }
    };
    looked.pass("aud", "Audience (aud)", said("aud"));
    // With several audiences it has to say whom it was issued to; whatever it says has to be this client.
    if (many || claims.contains_key("azp")) && !is("azp", expected.client_id) {
        let detail = format!("It was issued to {}, the client is {}.", said("azp"), expected.client_id);
        return Err(looked.fail("azp", "Authorized party (azp)", detail));
    }
    times(env.now(), claims, looked)?;
    if !is("nonce", expected.nonce) {
        return Err(looked.fail(
            "nonce",
            "Nonce",
            "It does not repeat what was sent along, so it answers another question.",
        ));
    }
    looked.pass("nonce", "Nonce", "It answers this question.");
    Ok(())
}

fn times(now: i64, claims: &Map<String, Value>, looked: &mut Looked) -> Result<(), Failed> {
    let at = |name: &str| time(claims, name).unwrap_or(None);
    match at("exp") {
        Some(ends) if now < ends + LEEWAY => {}
        Some(_) => {
            let detail = "It has expired. Compare the clocks of the provider and of this server.";
            return Err(looked.fail("exp", "Expiry (exp)", detail));
        }
        None => return Err(looked.fail("exp", "Expiry (exp)", "It has none.")),
    }
    looked.pass("exp", "Expiry (exp)", "In the future.");
    let fresh = at("iat").is_some_and(|made| made <= now + LEEWAY && now - made <= OLDEST);
    let begun = !claims.contains_key("nbf") || at("nbf").is_some_and(|from| from <= now + LEEWAY);
    if !fresh || !begun {
        let detail = "It was not made just now. Compare the clocks of the provider and of this server.";
        return Err(looked.fail("iat", "Issued (iat, nbf)", detail));
    }
    looked.pass("iat", "Issued (iat, nbf)", "Just now.");
    Ok(())
}

async fn signature(
    env: &Env,
    expected: &Expected<'_>,
    parts: &Parts<'_>,
    algorithm: &str,
    looked: &mut Looked,
) -> Result<(), Failed> {
    let kid = parts.header.get("kid").and_then(Value::as_str);
    let keys = match env.jwks.find(env, &expected.keys, kid).await {
        Ok(keys) => keys,
        Err(problem) => return Err(looked.fail("kid", "Key (kid)", problem.to_string())),
    };
    let good = keys
        .iter()
        .any(|key| key.algorithm() == algorithm && key.verifies(parts.message.as_bytes(), &parts.signature));
    if !good {
        return Err(looked.fail("signature", "Signature", "It is not by a key of the provider."));
    }
    looked.pass("signature", "Signature", "By a key of the provider.");
    Ok(())
}

/// RFC 8176 has `mfa` for it; some providers say it in `acr` instead.
fn second_factor(claims: &Map<String, Value>) -> bool {
    let amr = claims.get("amr").and_then(Value::as_array);
    let by_method = amr.is_some_and(|methods| methods.iter().any(|method| method == "mfa"));
    let acr = claims.get("acr").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    by_method || acr.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "mfa")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mfa_06_only_what_says_so_is_a_second_factor() {
        let of = |claims: Value| second_factor(claims.as_object().unwrap());
        assert!(of(json!({"amr": ["pwd", "mfa"]})));
        assert!(of(json!({"acr": "urn:acme:MFA"})));
        for none in [
            json!({}),
            json!({"amr": ["pwd", "otp"]}),
            json!({"amr": "mfa"}),
            json!({"acr": "0"}),
            json!({"acr": "nomfa"}),
        ] {
            assert!(!of(none.clone()), "{none}");
        }
    }
}
