//! Values of `Mcp-Name` and `Mcp-Param-*`: plain where a header can carry them, else base64 between `=?base64?` and
//! `?=` (2026-07-28, streamable HTTP, "Value Encoding").

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

fn sentinel(value: &str) -> Option<&str> {
    value.strip_prefix(OPEN)?.strip_suffix(CLOSE)
}

/// The text as a header's value.
pub fn encode(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
        && text.trim_matches([' ', '\t']) == text
        && sentinel(text).is_none();
    let value = if plain {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{OPEN}{}{CLOSE}", STANDARD.encode(text)))
    };
    // Both spellings consist of characters that a header may have.
    HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The text that a header's value carries, surrounding white space ignored; nothing when it has characters that a
/// header may not have, or base64 that is none.
pub fn decode(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = value.to_str().ok()?.trim_matches([' ', '\t']);
    match sentinel(text) {
        None => Some(Cow::Borrowed(text)),
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned),
    }
}

/// Whether this may name a header: `1*tchar` (RFC 9110 §5.6.2).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rsv_08_the_examples_of_the_specification() {
        for (text, value) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode(text), value);
            assert_eq!(decode(&HeaderValue::from_static(value)).unwrap(), text);
        }
    }

    #[test]
    fn rsv_08_bad_base64_carries_nothing() {
        for value in ["=?base64?SGVsbG8?=", "=?base64?SGVs*bG8=?=", "=?base64?/w==?="] {
            assert_eq!(decode(&HeaderValue::from_static(value)), None, "{value}");
        }
        assert_eq!(decode(&HeaderValue::from_bytes(b"\xE4").unwrap()), None);
        // Markers are case-sensitive: anything else is itself.
        assert_eq!(decode(&HeaderValue::from_static("=?BASE64?eA==?=")).unwrap(), "=?BASE64?eA==?=");
        assert_eq!(decode(&HeaderValue::from_static(" x\t")).unwrap(), "x");
    }

    proptest! {
        #[test]
        fn rsv_08_every_text_survives(text: String) {
            let value = encode(&text);
            prop_assert_eq!(decode(&value).unwrap(), text);
        }
    }
}
