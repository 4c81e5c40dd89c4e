//! What is taken out of arguments and results before they are kept.
//!
//! Kept bodies are for finding out what went wrong, so shapes and plain values stay; what looks like a credential goes:
//! by the name of its member, and by its own form wherever it stands.

use std::fmt::Write as _;

use serde_json::Value;

/// The largest body that is looked at, bytes. A larger one is not kept at all: cut JSON could not be redacted.
const MOST_READ: usize = 256 << 10;
/// The most that is kept, bytes.
const MOST_KEPT: usize = 16 << 10;
const REDACTED: &str = "[redacted]";
/// Parts of names whose values are secret, without separators.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "privatekey",
    "accesskey",
    "sessionid",
    "signature",
];
/// How secrets of well-known makers begin.
const SECRET_PREFIXES: &[&str] = &[
    "gth_",
    "whsec_",
    "sk-",
    "sk_",
    "rk_",
    "pk_live",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "npm_",
    "pypi-",
    "hf_",
    "SG.",
];

fn is_secret_name(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    plain == "pin" || plain == "otp" || SECRET_NAMES.iter().any(|secret| plain.contains(secret))
}

fn is_secret_word(word: &str) -> bool {
    let long = word.len() >= 12;
    let prefixed = long && SECRET_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    let jwt = word.starts_with("eyJ") && word.bytes().filter(|b| *b == b'.').count() >= 2;
    prefixed || jwt
}

/// A text without what looks like a credential in it.
fn text(input: &str) -> Option<String> {
    // Results are often JSON within a text.
    if input.trim_start().starts_with(['{', '['])
        && let Ok(mut inner) = serde_json::from_str::<Value>(input)
    {
        let before = inner.clone();
        value(&mut inner);
        return (inner != before).then(|| inner.to_string());
    }
    if input.contains("-----BEGIN ") {
        return Some(REDACTED.to_owned());
    }
    let is_edge = |c: char| c.is_whitespace() || "\"'`,;<>()[]{}=&".contains(c);
    let (mut out, mut changed) = (String::with_capacity(input.len()), false);
    // The word before, when it announces a secret: `Bearer x`, `password: x`, `token=x`.
    let mut announced = false;
    for piece in input.split_inclusive(is_edge) {
        let word = piece.trim_end_matches(is_edge);
        let edge = &piece[word.len()..];
        if word.is_empty() {
            out.push_str(edge);
            continue;
        }
        let scheme = word.eq_ignore_ascii_case("bearer") || announced && word.eq_ignore_ascii_case("basic");
        if (announced && !scheme) || is_secret_word(word.trim_end_matches(['.', ':'])) {
            out.push_str(REDACTED);
            changed = true;
            announced = false;
        } else {
            out.push_str(word);
            announced = scheme || (word.ends_with(':') || edge == "=") && is_secret_name(word);
        }
        out.push_str(edge);
    }
    changed.then_some(out)
}

fn value(of: &mut Value) {
    match of {
        Value::String(string) => {
            if let Some(redacted) = text(string) {
                *string = redacted;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(value),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match member {
                    // A count or a switch is no secret: `max_tokens`.
                    Value::Null | Value::Bool(_) | Value::Number(_) => {}
                    _ if is_secret_name(name) => *member = Value::String(REDACTED.to_owned()),
                    other => value(other),
                }
            }
        }
        _ => {}
    }
}

/// A body as it is kept: JSON without credentials, cut when it is long.
pub(super) fn body(json: &[u8]) -> String {
    if json.len() > MOST_READ {
        return format!("[too large to keep: {} bytes]", json.len());
    }
    let Ok(mut parsed) = serde_json::from_slice::<Value>(json) else {
        return "[not kept: no JSON]".to_owned();
    };
    value(&mut parsed);
    let mut kept = parsed.to_string();
    if kept.len() > MOST_KEPT {
        let whole = kept.len();
        kept.truncate(kept.floor_char_boundary(MOST_KEPT));
        let _ = write!(kept, "… [cut: {whole} bytes in all]");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_and_the_rest_stays() {
        let kept = |json: &str| body(json.as_bytes());
        assert_eq!(
            kept(r#"{"user":"ada","password":"hunter2","max_tokens":5,"nested":{"X-Api-Key":["a"]}}"#),
            r#"{"user":"ada","password":"[redacted]","max_tokens":5,"nested":{"X-Api-Key":"[redacted]"}}"#
        );
        assert_eq!(
            kept(r#"{"content":[{"type":"text","text":"{\"token\":\"abc\",\"ok\":true}"}]}"#),
            r#"{"content":[{"type":"text","text":"{\"token\":\"[redacted]\",\"ok\":true}"}]}"#
        );
        for secret in [
            "gth_live_sk_0123456789abcdef0123456789abcdef012345",
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln",
            "ghp_0123456789abcdefghij",
        ] {
            let kept = kept(&serde_json::json!({"note": format!("use {secret}, it works")}).to_string());
            assert_eq!(kept, r#"{"note":"use [redacted], it works"}"#);
        }
        assert_eq!(
            kept(r#"["Authorization: Bearer abc123","url?token=abc&x=1","password: hunter2 please"]"#),
            r#"["Authorization: Bearer [redacted]","url?token=[redacted]&x=1","password: [redacted] please"]"#
        );
        assert_eq!(kept(r#"{"text":"nothing of the kind"}"#), r#"{"text":"nothing of the kind"}"#);
    }

    #[test]
    fn what_is_large_is_cut_and_what_is_huge_is_not_kept() {
        let long = format!("[\"{}\"]", "é".repeat(20_000));
        let kept = body(long.as_bytes());
        assert!(kept.len() < MOST_KEPT + 64 && kept.contains("bytes in all"), "{}", kept.len());
        let huge = format!("[\"password=\",\"{}\"]", "x".repeat(MOST_READ));
        assert!(body(huge.as_bytes()).starts_with("[too large"));
    }
}
