//! OAuth scopes: `mcp:call` for all connectors, `mcp:call:<connector>` for one, `offline_access` for a refresh token.

use core::{fmt, str::FromStr};
use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ConnectorSlug;

/// What a token may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// `mcp:call`: every connector, also those added later.
    pub all: bool,
    /// `mcp:call:<connector>`: these.
    pub connectors: BTreeSet<ConnectorSlug>,
    /// `offline_access`. Asked for by many clients; it changes nothing, because every flow brings a refresh token.
    pub offline: bool,
}

/// Why a text is no list of scopes of ours: the word that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidScope(pub String);

impl fmt::Display for InvalidScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the scope {:?} is not known here", self.0)
    }
}

impl core::error::Error for InvalidScope {}

impl Scope {
    /// The scope of all connectors.
    pub const ALL: &'static str = "mcp:call";

    /// Every connector.
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Only these.
    pub fn only(connectors: impl IntoIterator<Item = ConnectorSlug>) -> Self {
        Self { connectors: connectors.into_iter().collect(), ..Self::default() }
    }

    /// Whether it reaches no connector at all.
    pub fn is_empty(&self) -> bool {
        !self.all && self.connectors.is_empty()
    }

    /// Whether it reaches this connector. Letters are compared exactly (RSV-06).
    pub fn reaches(&self, connector: &str) -> bool {
        self.all || self.connectors.iter().any(|slug| slug.as_str() == connector)
    }

    /// Whether everything that `other` reaches is reached by this one as well. `offline_access` does not count.
    pub fn covers(&self, other: &Self) -> bool {
        self.all || (!other.all && other.connectors.is_subset(&self.connectors))
    }

    /// What both reach.
    #[must_use]
    pub fn narrowed(&self, to: &Self) -> Self {
        let connectors = match (self.all, to.all) {
            (true, true) => BTreeSet::new(),
            (true, false) => to.connectors.clone(),
            (false, true) => self.connectors.clone(),
            (false, false) => self.connectors.intersection(&to.connectors).cloned().collect(),
        };
        Self { all: self.all && to.all, connectors, offline: self.offline && to.offline }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    /// Reads RFC 6749 §3.3: words separated by single spaces. Repeated words count once.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let mut scope = Self::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match word.strip_prefix(Self::ALL) {
                Some("") => scope.all = true,
                Some(rest) => {
                    let slug = rest.strip_prefix(':').and_then(|slug| slug.parse().ok());
                    scope.connectors.insert(slug.ok_or_else(|| InvalidScope(word.to_owned()))?);
                }
                None if word == "offline_access" => scope.offline = true,
                None => return Err(InvalidScope(word.to_owned())),
            }
        }
        Ok(scope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if self.all {
            words.push(Self::ALL.to_owned());
        }
        words.extend(self.connectors.iter().map(|slug| format!("{}:{}", Self::ALL, slug.as_str())));
        if self.offline {
            words.push("offline_access".to_owned());
        }
        f.write_str(&words.join(" "))
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    #[test]
    fn rsv_06_a_scope_reaches_its_connector_and_no_other() {
        assert!(scope("mcp:call").reaches("x") && scope("mcp:call:x").reaches("x"));
        for other in ["xy", "X", "*", "!y", ""] {
            assert!(!scope("mcp:call:x").reaches(other), "{other}");
        }
        assert!(!scope("offline_access").reaches("x") && scope("offline_access").is_empty());
    }

    #[test]
    fn unknown_words_are_named() {
        for bad in [
            "mcp:call:",
            "mcp:call:X",
            "mcp:call:*",
            "mcp:calls",
            "mcp",
            "openid",
            "mcp:call:a:b",
            "MCP:CALL",
        ] {
            assert_eq!(bad.parse::<Scope>(), Err(InvalidScope(bad.to_owned())), "{bad}");
        }
        assert_eq!(scope("").to_string(), "");
        let text = "mcp:call mcp:call:a mcp:call:b offline_access";
        assert_eq!(scope("mcp:call:b offline_access mcp:call:a mcp:call mcp:call:a").to_string(), text);
    }

    #[test]
    fn narrower_and_wider() {
        assert!(scope("mcp:call").covers(&scope("mcp:call:a mcp:call offline_access")));
        assert!(scope("mcp:call:a mcp:call:b").covers(&scope("mcp:call:a")));
        assert!(
            !scope("mcp:call:a").covers(&scope("mcp:call"))
                && !scope("mcp:call:a").covers(&scope("mcp:call:b"))
        );
        assert_eq!(scope("mcp:call offline_access").narrowed(&scope("mcp:call:a")), scope("mcp:call:a"));
        assert_eq!(
            scope("mcp:call:a mcp:call:b").narrowed(&scope("mcp:call:b mcp:call:c")),
            scope("mcp:call:b")
        );
        assert!(scope("mcp:call:a").narrowed(&scope("mcp:call:b")).is_empty());
    }
}
