//! Names and URIs as clients see them, and where they lead.
//!
//! On an organisation's endpoint a name is `{slug}__{name}` and a URI is `mcp.{slug}+{uri}`: still a URI (RFC 3986 §3.1
//! allows `.`, `-` and `+` in a scheme), still a template if it was one, and the first `+` ends the slug, which has
//! none. On a connector's own endpoint both are the server's own, byte for byte.

use bytes::Bytes;
use domain::mcp::json;

const SCHEME: &str = "mcp.";

/// What stands before the URIs of a connector.
pub(crate) fn prefix(slug: &str) -> String {
    format!("{SCHEME}{slug}+")
}

/// The slug and the server's own URI, of a URI that has a prefix.
pub(crate) fn split(uri: &str) -> Option<(&str, &str)> {
    uri.strip_prefix(SCHEME)?.split_once('+')
}

/// Puts a prefix before string members of objects: which, is told by their names.
struct Writer<'a> {
    text: &'a str,
    prefix: &'a str,
    out: Vec<u8>,
    done: usize,
}

impl<'a> Writer<'a> {
    fn new(text: &'a str, prefix: &'a str) -> Self {
        Self { text, prefix, out: Vec::new(), done: 0 }
    }

    /// Puts the prefix behind the opening quote of a string, which is a part of the text.
    fn string(&mut self, value: &str) {
        if value.starts_with('"') {
            let at = value.as_ptr() as usize - self.text.as_ptr() as usize + 1;
            self.out.extend_from_slice(&self.text.as_bytes()[self.done..at]);
            self.out.extend_from_slice(self.prefix.as_bytes());
            self.done = at;
        }
    }

    fn member(&mut self, object: &str, name: &str) {
        if let Some(value) = json::get(object, name) {
            self.string(value);
        }
    }

    fn content(&mut self, item: &str) {
        match json::get(item, "type").and_then(json::string).as_deref() {
            Some("resource_link") => self.member(item, "uri"),
            Some("resource") => {
                if let Some(resource) = json::get(item, "resource") {
                    self.member(resource, "uri");
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(&self.text.as_bytes()[self.done..]);
        self.out.into()
    }
}

/// The same text with a prefix before the URIs in each element of an array, and before its name.
pub(crate) fn in_list(items: &str, prefix: &str, member: &str) -> Bytes {
    let mut writer = Writer::new(items, prefix);
    for item in json::elements(items) {
        writer.member(item, member);
    }
    writer.finish()
}

/// A result with a prefix before every URI by which a client may ask for a resource: links and embedded resources of a
/// tool's or a prompt's content, and contents of a resource. Checked text of a server; what has none comes back as it is.
pub(crate) fn in_result(result: Bytes, prefix: &str) -> Bytes {
    let Ok(text) = std::str::from_utf8(&result) else { return result };
    if !text.contains("\"uri\"") {
        return result;
    }
    let mut writer = Writer::new(text, prefix);
    for (key, value, _) in json::members(text) {
        if key.is("content") {
            for item in json::elements(value) {
                writer.content(item);
            }
        } else if key.is("contents") {
            for item in json::elements(value) {
                writer.member(item, "uri");
            }
        } else if key.is("messages") {
            for message in json::elements(value) {
                match json::get(message, "content") {
                    Some(list) if list.starts_with('[') => {
                        for item in json::elements(list) {
                            writer.content(item);
                        }
                    }
                    Some(item) => writer.content(item),
                    None => {}
                }
            }
        }
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_lead_back_to_where_they_came_from() {
        for uri in ["test://static-text", "file:///a+b", "urn:x", "mcp.inner+http://x", "t://{id}/data"] {
            let public = format!("{}{uri}", prefix("2-a"));
            assert_eq!(split(&public), Some(("2-a", uri)));
        }
        assert_eq!(split("https://x/+"), None);
    }

    #[test]
    fn only_uris_of_resources_get_the_prefix() {
        let result = r#"{"content":[{"type":"text","uri":"a:b"},{"type":"resource_link","uri":"a:b"},{"type":"resource","resource":{"x":1,"uri":"a:b"}}],"structuredContent":{"uri":"a:b"}}"#;
        let changed = in_result(Bytes::from_static(result.as_bytes()), "p+");
        assert_eq!(
            changed,
            r#"{"content":[{"type":"text","uri":"a:b"},{"type":"resource_link","uri":"p+a:b"},{"type":"resource","resource":{"x":1,"uri":"p+a:b"}}],"structuredContent":{"uri":"a:b"}}"#
        );
        let read = in_result(Bytes::from_static(br#"{"contents":[{"uri":"a:b","text":"t"}]}"#), "p+");
        assert_eq!(read, r#"{"contents":[{"uri":"p+a:b","text":"t"}]}"#);
        let prompt =
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a:b"}}}]}"#;
        assert!(in_result(Bytes::from_static(prompt.as_bytes()), "p+").windows(3).any(|w| w == b"p+a"));
        let plain = Bytes::from_static(br#"{"content":[]}"#);
        assert_eq!(in_result(plain.clone(), "p+"), plain);
        assert_eq!(
            in_list(r#"[{"name":"n","uri":"a:b"},{"uri":"c:d"}]"#, "p+", "uri"),
            r#"[{"name":"n","uri":"p+a:b"},{"uri":"p+c:d"}]"#
        );
    }
}
