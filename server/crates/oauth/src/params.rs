//! The parameters of a request: `application/x-www-form-urlencoded`, each at most once.

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use domain::oauth::{Failure, Fault};
use http::{HeaderMap, StatusCode, header};

use crate::{LARGEST, reply::Refused};

/// Parameters as they came, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    /// Bytes that stand for no text, or control characters, which no parameter may have (RFC 6749, appendix A).
    Bad,
}

/// What is wrong with one parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is there more than once.
    Twice,
    /// It is no text.
    Bad,
}

impl Params {
    /// Reads a query or the body of a form.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let pairs = text
            .split(|b| *b == b'&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
                let name = decode(&pair[..at]).unwrap_or_default();
                (name, decode(pair.get(at + 1..).unwrap_or_default()).map_or(Value::Bad, Value::Text))
            })
            .collect();
        Self { pairs }
    }

    /// The value of a parameter. One without a value counts as left out (RFC 6749 §3.1).
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Wrong> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Wrong::Twice);
        }
        match first {
            Some(Value::Bad) => Err(Wrong::Bad),
            Some(Value::Text(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            None => Ok(None),
        }
    }

    /// The same, for endpoints whose answer to everything that is wrong is `invalid_request`.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, Failure> {
        self.one(name).map_err(|wrong| {
            Fault::InvalidRequest.because(match wrong {
                Wrong::Twice => format!("{name} is there more than once."),
                Wrong::Bad => format!("{name} is not well encoded."),
            })
        })
    }

    /// The same, for a parameter that has to be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Failure> {
        self.get(name)?.ok_or_else(|| Fault::InvalidRequest.because(format!("{name} is missing.")))
    }

    /// Every value of a field that may repeat; what is no text is left out.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.all(name)
            .filter_map(|value| match value {
                Value::Text(text) => Some(text.clone()),
                Value::Bad => None,
            })
            .collect()
    }

    /// The first thing that is wrong with any parameter, known or not.
    pub(crate) fn flaw(&self) -> Option<String> {
        self.pairs.iter().find_map(|(name, value)| {
            if *value == Value::Bad || name.is_empty() {
                return Some("A parameter is not well encoded.".to_owned());
            }
            (self.all(name).count() > 1).then(|| "A parameter is there more than once.".to_owned())
        })
    }

    /// Whether a parameter is there more than once.
    pub(crate) fn is_repeated(&self, name: &str) -> bool {
        self.all(name).count() > 1
    }

    /// All parameters, for asking the same again.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().filter_map(|(name, value)| match value {
            Value::Text(text) => Some((name.as_str(), text.as_str())),
            Value::Bad => None,
        })
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Decodes percent-encoding; `None` when it is broken or stands for no text.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok().filter(|text| !text.chars().any(char::is_control))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Reads a body that is not too large.
pub(crate) async fn body(body: Body) -> Result<Bytes, Refused> {
    to_bytes(body, LARGEST).await.map_err(|_| Refused {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        ..Refused::invalid("The body is larger than 16 KiB, or broke off.")
    })
}

/// Whether the request says that its body is of this type, and is not packed.
pub(crate) fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(wanted) && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Reads the form of a request to an endpoint: a POST body and nothing in the query (OAT-01).
pub(crate) async fn form(parts: &http::request::Parts, content: Body) -> Result<Params, Refused> {
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Refused::invalid("Parameters belong into the body, not into the URL."));
    }
    if !is_of_type(&parts.headers, "application/x-www-form-urlencoded") {
        return Err(Refused::invalid("The body is application/x-www-form-urlencoded."));
    }
    let params = Params::parse(&body(content).await?);
    match params.flaw() {
        Some(flaw) => Err(Refused::invalid(&flaw)),
        None => Ok(params),
    }
}

/// Percent-encodes everything that is not plain.
pub(crate) fn encode(text: &str) -> String {
    model::paths::encode_segment(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oaz_05_parameters_are_there_once_and_are_text() {
        let params = Params::parse(b"a=1&b=x+y%20z&a=2&c=%zz&d=%ff&e=&f&g=%00&h=%C3%A9&=x");
        assert_eq!(params.one("a"), Err(Wrong::Twice));
        assert_eq!(params.one("b"), Ok(Some("x y z")));
        for bad in ["c", "d", "g"] {
            assert_eq!(params.one(bad), Err(Wrong::Bad), "{bad}");
        }
        for absent in ["e", "f", "nothing"] {
            assert_eq!(params.one(absent), Ok(None), "{absent}");
        }
        assert_eq!(params.one("h"), Ok(Some("é")));
        assert!(params.flaw().is_some() && Params::parse(b"a=1&b=2").flaw().is_none());
        assert_eq!(decode(b"%4"), None);
        assert_eq!(encode("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
