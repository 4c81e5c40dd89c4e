//! A JSON scanner that finds things without building anything.
//!
//! Messages are passed on byte for byte, so nothing needs to become a tree. One pass over the text checks the grammar
//! (RFC 8259) and the limits of REQ-02 and reports where the members of the outer three objects are. It uses a fixed
//! stack and no recursion, so that no input can exhaust either.

use std::{borrow::Cow, ops::Range};

/// How many levels the scanner's stack has; [`Limits::depth`] is never more.
const MAX_DEPTH: usize = 128;
/// Members are reported in this many nested objects, counted from the root.
const REPORTED: usize = 3;

/// Bounds on a document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nested objects and arrays; at most 128.
    pub depth: usize,
    /// Values altogether.
    pub nodes: usize,
    /// Bytes of one string, as written.
    pub string: usize,
}

impl Limits {
    /// What a client may send (REQ-02).
    pub const REQUEST: Self = Self { depth: 64, nodes: 100_000, string: 1 << 20 };
    /// What an upstream server may answer. Its size is bounded by the reader; a picture in base64 is one long string.
    pub const REPLY: Self = Self { depth: 64, nodes: 5_000_000, string: 64 << 20 };
}

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON.
    Syntax,
    /// More levels than [`Limits::depth`].
    Depth,
    /// More values than [`Limits::nodes`].
    Nodes,
    /// A string longer than [`Limits::string`].
    String,
}

impl Fault {
    /// The fault in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "the body is not valid JSON",
            Self::Depth => "the body is nested too deeply",
            Self::Nodes => "the body has too many values",
            Self::String => "a string in the body is too long",
        }
    }
}

/// The name of a member, as written between its quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Key<'a> {
    /// The characters between the quotes, escapes unresolved.
    pub const fn raw(self) -> &'a str {
        self.raw
    }

    /// Whether it means `name`. `"m\u0065thod"` is `method`: a parser behind us would read it so, and then act on a
    /// member that we did not check.
    pub fn is(self, name: &str) -> bool {
        if self.escaped { self.text().is_some_and(|text| text == name) } else { self.raw == name }
    }

    /// What it means, or nothing when an escape is half a surrogate pair.
    pub fn text(self) -> Option<Cow<'a, str>> {
        if self.escaped { unescape(self.raw).map(Cow::Owned) } else { Some(Cow::Borrowed(self.raw)) }
    }
}

/// A member of one of the outer objects; offsets are bytes of the scanned text.
#[derive(Debug)]
pub struct Member<'k, 'a> {
    /// The keys that lead to it, its own last; one to three.
    pub path: &'k [Key<'a>],
    /// Where its key's opening quote is.
    pub at: usize,
    /// Where its value is.
    pub value: Range<usize>,
}

#[derive(Clone, Copy, Default)]
struct Frame {
    object: bool,
    key_at: usize,
    value_at: usize,
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The end of a string (the index of its closing quote) and whether it has escapes; `at` is behind the opening quote.
fn string_end(bytes: &[u8], mut at: usize) -> Result<(usize, bool), Fault> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut escaped = false;
    loop {
        // Eight bytes at a time: the lowest marked byte is the first that is a quote, a backslash or a control.
        while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*chunk);
            let quote = word ^ (LOW * 0x22);
            let backslash = word ^ (LOW * 0x5C);
            let found = ((word.wrapping_sub(LOW * 0x20) & !word)
                | (quote.wrapping_sub(LOW) & !quote)
                | (backslash.wrapping_sub(LOW) & !backslash))
                & HIGH;
            if found != 0 {
                at += (found.trailing_zeros() / 8) as usize;
                break;
            }
            at += 8;
        }
        match bytes.get(at) {
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => {
                escaped = true;
                at += match bytes.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                    Some(b'u')
                        if bytes.get(at + 2..at + 6).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) =>
                    {
                        6
                    }
                    _ => return Err(Fault::Syntax),
                };
            }
            Some(0x20..) => at += 1,
            _ => return Err(Fault::Syntax),
        }
    }
}

fn number_end(bytes: &[u8], mut at: usize) -> Result<usize, Fault> {
    let digits = |mut at: usize| {
        let start = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at == start { Err(Fault::Syntax) } else { Ok(at) }
    };
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

/// Checks the whole text and reports the members of the outer three objects, each when its value has ended.
///
/// # Errors
/// The first [`Fault`] that is met.
pub fn scan<'a>(text: &'a str, limits: &Limits, mut report: impl FnMut(Member<'_, 'a>)) -> Result<(), Fault> {
    let bytes = text.as_bytes();
    let max_depth = limits.depth.min(MAX_DEPTH);
    let mut frames = [Frame::default(); MAX_DEPTH];
    let mut keys = [Key::default(); REPORTED];
    let (mut depth, mut at, mut nodes) = (0usize, 0usize, 0usize);
    // How many frames from the root on are objects: members below an array have no path.
    let mut plain = 0usize;
    // What follows is a key; behind an opening brace it may be the end instead.
    let mut key_due = false;

    'value: loop {
        at = skip_space(bytes, at);
        if key_due {
            if bytes.get(at) != Some(&b'"') {
                return Err(Fault::Syntax);
            }
            let (end, escaped) = string_end(bytes, at + 1)?;
            if end - at > limits.string {
                return Err(Fault::String);
            }
            frames[depth - 1].key_at = at;
            if depth <= REPORTED {
                keys[depth - 1] = Key { raw: &text[at + 1..end], escaped };
            }
            at = skip_space(bytes, end + 1);
            if bytes.get(at) != Some(&b':') {
                return Err(Fault::Syntax);
            }
            at = skip_space(bytes, at + 1);
        }
        nodes += 1;
        if nodes > limits.nodes {
            return Err(Fault::Nodes);
        }
        if depth > 0 {
            frames[depth - 1].value_at = at;
        }
        match bytes.get(at) {
            Some(&open @ (b'{' | b'[')) => {
                if depth == max_depth {
                    return Err(Fault::Depth);
                }
                let object = open == b'{';
                frames[depth] = Frame { object, key_at: 0, value_at: 0 };
                if object && plain == depth {
                    plain += 1;
                }
                depth += 1;
                at = skip_space(bytes, at + 1);
                if bytes.get(at) != Some(if object { &b'}' } else { &b']' }) {
                    key_due = object;
                    continue 'value;
                }
                at += 1;
                depth -= 1;
                plain = plain.min(depth);
            }
            Some(b'"') => {
                let (end, _) = string_end(bytes, at + 1)?;
                if end - at > limits.string {
                    return Err(Fault::String);
                }
                at = end + 1;
            }
            Some(b'-' | b'0'..=b'9') => at = number_end(bytes, at)?,
            Some(first) => {
                let word: &[u8] = match first {
                    b't' => b"true",
                    b'f' => b"false",
                    b'n' => b"null",
                    _ => return Err(Fault::Syntax),
                };
                if !bytes[at..].starts_with(word) {
                    return Err(Fault::Syntax);
                }
                at += word.len();
            }
            None => return Err(Fault::Syntax),
        }
        // A value has ended at `at`; so may the objects and arrays around it.
        loop {
            if depth == 0 {
                return if skip_space(bytes, at) == bytes.len() { Ok(()) } else { Err(Fault::Syntax) };
            }
            let frame = frames[depth - 1];
            if frame.object && depth <= REPORTED && plain >= depth {
                report(Member { path: &keys[..depth], at: frame.key_at, value: frame.value_at..at });
            }
            at = skip_space(bytes, at);
            match bytes.get(at) {
                Some(b',') => {
                    at += 1;
                    key_due = frame.object;
                    continue 'value;
                }
                Some(b'}') if frame.object => at += 1,
                Some(b']') if !frame.object => at += 1,
                _ => return Err(Fault::Syntax),
            }
            depth -= 1;
            plain = plain.min(depth);
        }
    }
}

/// The end of the value that starts at `at`, in text that [`scan`] has accepted.
fn skip_value(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1).ok()?.0 + 1,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                while !matches!(
                    bytes.get(at),
                    None | Some(b',' | b':' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')
                ) {
                    at += 1;
                }
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The members of an object in text that [`scan`] has accepted: key, value, and where the member stands. Nothing when
/// `text` is not an object.
pub fn members(text: &str) -> impl Iterator<Item = (Key<'_>, &str, Range<usize>)> {
    let bytes = text.as_bytes();
    let mut at = if bytes.first() == Some(&b'{') { 1 } else { bytes.len() };
    std::iter::from_fn(move || {
        at = skip_space(bytes, at);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let start = at;
        let (end, escaped) = string_end(bytes, at + 1).ok()?;
        let key = Key { raw: &text[start + 1..end], escaped };
        let colon = skip_space(bytes, end + 1);
        let value_at = skip_space(bytes, colon + 1);
        at = skip_value(bytes, value_at)?;
        Some((key, &text[value_at..at], start..at))
    })
}

/// The elements of an array in text that [`scan`] has accepted; nothing when `text` is not an array.
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = if bytes.first() == Some(&b'[') { 1 } else { bytes.len() };
    std::iter::from_fn(move || {
        at = skip_space(bytes, at);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
        if matches!(bytes.get(at), None | Some(b']')) {
            return None;
        }
        let start = at;
        at = skip_value(bytes, at)?;
        Some(&text[start..at])
    })
}

/// The value of the member called `name`; nothing when it is absent or there twice.
pub fn get<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut found = members(object).filter(|(key, ..)| key.is(name)).map(|(_, value, _)| value);
    let value = found.next()?;
    found.next().is_none().then_some(value)
}

fn unescape(raw: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{raw}\"")).ok()
}

/// What a JSON string means; nothing for anything else and for half a surrogate pair.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let raw = value.strip_prefix('"')?.strip_suffix('"')?;
    if raw.contains('\\') { unescape(raw).map(Cow::Owned) } else { Some(Cow::Borrowed(raw)) }
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    // Every byte came from a `str`, and escapes were put between characters only.
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<(), Fault> {
        scan(text, &Limits::REQUEST, |_| ())
    }

    #[test]
    fn req_02_depth_nodes_and_strings_are_bounded() {
        assert_eq!(check(&"[".repeat(100_000)), Err(Fault::Depth));
        assert_eq!(check(&format!("{}{}", "[".repeat(64), "]".repeat(64))), Ok(()));
        assert_eq!(check(&format!("{}{}", "[".repeat(65), "]".repeat(65))), Err(Fault::Depth));
        assert_eq!(check(&format!("[{}1]", "1,".repeat(99_998))), Ok(()));
        assert_eq!(check(&format!("[{}1]", "1,".repeat(99_999))), Err(Fault::Nodes));
        assert_eq!(check(&format!("\"{}\"", "x".repeat((1 << 20) + 1))), Err(Fault::String));
        assert_eq!(check(&format!("\"{}\"", "x".repeat((1 << 20) - 1))), Ok(()));
    }

    #[test]
    fn members_of_three_objects_are_reported_and_none_below_an_array() {
        let mut seen = Vec::new();
        let text = r#"{"a":1,"b":{"c":{"d":{"e":2}}},"f":[{"g":3}]}"#;
        scan(text, &Limits::REQUEST, |m| {
            let path = m.path.iter().map(|k| k.raw()).collect::<Vec<_>>().join(".");
            seen.push(format!("{path}={}", &text[m.value]));
        })
        .unwrap();
        assert_eq!(
            seen,
            ["a=1", r#"b.c.d={"e":2}"#, r#"b.c={"d":{"e":2}}"#, r#"b={"c":{"d":{"e":2}}}"#, r#"f=[{"g":3}]"#]
        );
    }

    #[test]
    fn escaped_keys_mean_what_they_mean() {
        let mut hits = 0;
        scan(r#"{"m\u0065thod":1,"Method":2}"#, &Limits::REQUEST, |m| {
            hits += usize::from(m.path[0].is("method"));
        })
        .unwrap();
        assert_eq!(hits, 1);
    }

    #[test]
    fn lazy_readers_agree_with_the_text() {
        let text = r#"{ "a" : [1, {"b":"]}"}, null ] , "c" : "x\"y" , "a2":{} }"#;
        check(text).unwrap();
        let found: Vec<_> = members(text).map(|(k, v, _)| (k.raw(), v)).collect();
        assert_eq!(found, [("a", r#"[1, {"b":"]}"}, null ]"#), ("c", r#""x\"y""#), ("a2", "{}")]);
        let items: Vec<_> = elements(found[0].1).collect();
        assert_eq!(items, ["1", r#"{"b":"]}"}"#, "null"]);
        assert_eq!(get(r#"{"a":1,"a":2}"#, "a"), None);
        assert_eq!(elements("[]").count() + members("{}").count() + elements("1").count(), 0);
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<i16>().prop_map(|n| (f64::from(n) / 4.0).into()),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|m| m.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn req_02_every_json_text_is_accepted(value in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(check(&text), Ok(()));
            if let Some(object) = value.as_object() {
                let read: Vec<_> = members(&text).map(|(k, v, _)| (k.text().unwrap().into_owned(), serde_json::from_str(v).unwrap())).collect();
                let want: Vec<_> = object.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(read, want);
            }
        }

        #[test]
        fn req_02_the_scanner_and_serde_agree_on_damaged_text(value in any_json(), cut in any::<prop::sample::Index>(), put in "[\\[\\]{}\",:\\\\0e.u-]{0,2}") {
            let mut text = serde_json::to_string(&value).unwrap();
            let mut at = cut.index(text.len() + 1);
            while !text.is_char_boundary(at) { at -= 1; }
            text.insert_str(at, &put);
            let serde = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(check(&text).is_ok(), serde, "{}", text);
        }

        #[test]
        fn written_strings_read_back(text: String) {
            let written = quoted(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text.clone());
            prop_assert_eq!(string(&written).unwrap().into_owned(), text);
        }
    }
}
