//! What a client can be asked in the middle of a call: the parts of its capabilities that let a server send requests.

use super::json;

/// A set of questions that a client can answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asks(u8);

const FORM: u8 = 1;
const URL: u8 = 2;
const SAMPLING: u8 = 4;
const SAMPLING_TOOLS: u8 = 8;
const SAMPLING_CONTEXT: u8 = 16;
const ROOTS: u8 = 32;
/// It says when its roots change, too.
const ROOTS_CHANGE: u8 = 64;

/// Asks for something from the user (2025-06-18).
pub const ELICITATION: &str = "elicitation/create";
/// Asks for a completion by the client's model.
pub const SAMPLE: &str = "sampling/createMessage";
/// Asks for the folders that the client works in.
pub const LIST_ROOTS: &str = "roots/list";

impl Asks {
    /// Nothing at all.
    pub const NONE: Self = Self(0);

    /// Reads a client's capabilities, a JSON object that was checked.
    pub fn read(capabilities: &str) -> Self {
        let mut bits = 0;
        for (key, value, _) in json::members(capabilities) {
            if !value.starts_with('{') {
                continue;
            }
            let has = |name| json::get(value, name).is_some_and(|v| v.starts_with('{'));
            if key.is("elicitation") {
                // Without modes it is the only one that there was before 2025-11-25.
                bits |= if has("form") || !has("url") { FORM } else { 0 };
                bits |= if has("url") { URL } else { 0 };
            } else if key.is("sampling") {
                bits |= SAMPLING;
                bits |= if has("tools") { SAMPLING_TOOLS } else { 0 };
                bits |= if has("context") { SAMPLING_CONTEXT } else { 0 };
            } else if key.is("roots") {
                bits |= ROOTS;
                bits |= if json::get(value, "listChanged") == Some("true") { ROOTS_CHANGE } else { 0 };
            }
        }
        Self(bits)
    }

    /// As one byte, for what is sealed.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From [`Asks::bits`].
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether there is nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the user can be asked to open a page.
    pub const fn has_url(self) -> bool {
        self.0 & URL != 0
    }

    /// As capabilities of a client: a JSON object.
    pub fn capabilities(self) -> String {
        let has = |bit| self.0 & bit != 0;
        let object = |parts: &[(u8, &str)]| {
            let members: Vec<_> = parts
                .iter()
                .filter(|(bit, _)| has(*bit))
                .map(|(_, name)| format!(r#""{name}":{{}}"#))
                .collect();
            format!("{{{}}}", members.join(","))
        };
        let mut members = Vec::new();
        if has(FORM | URL) {
            members.push(format!(r#""elicitation":{}"#, object(&[(FORM, "form"), (URL, "url")])));
        }
        if has(SAMPLING) {
            let parts = object(&[(SAMPLING_TOOLS, "tools"), (SAMPLING_CONTEXT, "context")]);
            members.push(format!(r#""sampling":{parts}"#));
        }
        if has(ROOTS) {
            let changes = if has(ROOTS_CHANGE) { r#""listChanged":true"# } else { "" };
            members.push(format!(r#""roots":{{{changes}}}"#));
        }
        format!("{{{}}}", members.join(","))
    }

    /// Whether a request of a server may be put to the client, and the method without a borrow.
    pub fn allow(self, method: &str, params: &str) -> Option<&'static str> {
        let (bit, method) = match method {
            ELICITATION => {
                let mode = json::get(params, "mode").and_then(json::string);
                (if mode.as_deref() == Some("url") { URL } else { FORM }, ELICITATION)
            }
            SAMPLE if json::get(params, "tools").is_some() => (SAMPLING_TOOLS, SAMPLE),
            SAMPLE => (SAMPLING, SAMPLE),
            LIST_ROOTS => (ROOTS, LIST_ROOTS),
            _ => return None,
        };
        (self.0 & bit != 0).then_some(method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ups_11_only_what_was_declared_may_be_asked() {
        let asks = Asks::read(r#"{"elicitation":{},"roots":{"listChanged":true},"sampling":null}"#);
        assert_eq!(asks.allow(ELICITATION, r#"{"mode":"form"}"#), Some(ELICITATION));
        assert_eq!(asks.allow(ELICITATION, "{}"), Some(ELICITATION));
        assert_eq!(asks.allow(ELICITATION, r#"{"mode":"url"}"#), None);
        assert_eq!(asks.allow(SAMPLE, "{}"), None);
        assert_eq!(asks.allow(LIST_ROOTS, "{}"), Some(LIST_ROOTS));
        assert_eq!(asks.allow("tools/list", "{}"), None);
        let asks = Asks::read(r#"{"elicitation":{"url":{}},"sampling":{}}"#);
        assert_eq!(asks.allow(ELICITATION, "{}"), None);
        assert_eq!(asks.allow(SAMPLE, r#"{"tools":[]}"#), None);
        assert_eq!(asks.allow(SAMPLE, "{}"), Some(SAMPLE));
        assert!(Asks::read("{}").is_empty());
    }

    #[test]
    fn what_is_declared_is_read_back() {
        for bits in 0..128u8 {
            // Parts of sampling need sampling, and changes of roots need roots.
            let bits = if bits & ROOTS_CHANGE != 0 { bits | ROOTS } else { bits };
            let bits = if bits & (SAMPLING_TOOLS | SAMPLING_CONTEXT) != 0 { bits | SAMPLING } else { bits };
            assert_eq!(Asks::read(&Asks(bits).capabilities()), Asks(bits), "{bits:b}");
        }
        assert_eq!(Asks::NONE.capabilities(), "{}");
    }
}
