//! What is put into a request in place of a name, and whether two answers are the same but for that.

use std::collections::BTreeMap;

use crate::support::Answer;

/// Things by name.
pub(super) type Things = BTreeMap<&'static str, String>;

/// A text with the things that are named in it. `{own:name}` is one of the caller's.
pub(super) fn filled(text: &str, things: &Things, own: &Things) -> String {
    let mut parts = text.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            // JSON, and not a name.
            Some(("", rest)) => filled = format!("{filled}{{}}{rest}"),
            Some((name, rest)) => {
                let (of, name) = name.strip_prefix("own:").map_or((things, name), |name| (own, name));
                filled.push_str(of.get(name).unwrap_or_else(|| panic!("no {name} for {text}")));
                filled.push_str(rest);
            }
            None => panic!("{text}"),
        }
    }
    filled
}

/// The names of the things in a text.
pub(super) fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|part| part.split('}').next()).filter(|name| !name.is_empty())
}

/// Something of the same form that there is not.
pub(super) fn nowhere(things: &Things) -> Things {
    things.iter().map(|(name, id)| (*name, other(name, id))).collect()
}

fn other(name: &str, id: &str) -> String {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstvwxyz";
    if name == "range" {
        return "192.0.2.0/24".to_owned();
    }
    // The end of an id is random. An address keeps its domain's form.
    let (from, to) = match id.split_once('@') {
        Some((local, _)) => (0, local.len()),
        None => (id.len().saturating_sub(12), id.len()),
    };
    let change = |(at, c): (usize, char)| {
        if !(from..to).contains(&at) {
            return c;
        }
        match c {
            '0'..='8' | 'A'..='Y' => char::from(c as u8 + 1),
            '9' => '0',
            'a'..='z' => {
                let known = LETTERS.iter().position(|letter| char::from(*letter) == c).unwrap_or_default();
                char::from(LETTERS[(known + 1) % LETTERS.len()])
            }
            'Z' => 'A',
            _ => c,
        }
    };
    id.char_indices().map(change).collect()
}

/// An answer without what was asked for, and without what is new in every answer.
pub(super) fn plain(answer: &Answer, asked: &[&str], things: &Things) -> String {
    let mut text = answer.text.clone();
    let mut names: Vec<&str> = asked.iter().copied().flat_map(named).collect();
    // The longest first: a slug stands within other names.
    names.sort_unstable_by_key(|name| core::cmp::Reverse(things.get(name).map_or(0, String::len)));
    for name in names {
        if let Some(id) = things.get(name) {
            for written in [id.clone(), model::paths::encode(id), model::paths::encode_segment(id)] {
                text = text.replace(&written, &format!("<{name}>"));
            }
        }
    }
    let request = answer.header("x-request-id");
    if !request.is_empty() {
        text = text.replace(request, "<request>");
    }
    without_nonces(&text)
}

/// A page without what is new in each one.
fn without_nonces(text: &str) -> String {
    let mut parts = text.split(" nonce=\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |left, part| left + part.split_once('"').map_or("", |(_, rest)| rest))
}

#[test]
fn what_is_nowhere_has_the_form_of_what_is() {
    let id = "key_01m8z0zq4cf9nrr1k3hv7a9d2z";
    let nowhere = other("key", id);
    assert_ne!(nowhere, id);
    assert!(nowhere.parse::<model::ApiKeyId>().is_ok(), "{nowhere}");
    assert_eq!(other("owner_email", "owner@quarry.example"), "bxpfs@quarry.example");
}
