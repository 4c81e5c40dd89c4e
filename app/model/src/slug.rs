//! Slugs: the parts of a URL or of a tool name that a person chooses once.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a slug is refused; `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSlug {
    /// Not the allowed number of characters.
    Length,
    /// A character outside `a-z`, `0-9` and `-`, or a hyphen at an end.
    Characters,
    /// A word that Gatehouse needs for itself.
    Reserved,
}

impl fmt::Display for InvalidSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "Use 3 to 63 characters for the slug",
            Self::Characters => {
                "Use lower-case letters, digits and hyphens for the slug, and no hyphen at either end"
            }
            Self::Reserved => "Choose another slug: this word is reserved",
        })
    }
}

impl core::error::Error for InvalidSlug {}

fn check(text: &str, min: usize, reserved: &[&str]) -> Result<(), InvalidSlug> {
    if text.len() < min || text.len() > 63 {
        return Err(InvalidSlug::Length);
    }
    let fits = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits || text.starts_with('-') || text.ends_with('-') {
        return Err(InvalidSlug::Characters);
    }
    if reserved.contains(&text) { Err(InvalidSlug::Reserved) } else { Ok(()) }
}

/// Words that would read as a part of the product in `/mcp/{slug}` or as a host name (TEN-05).
const RESERVED_ORG_SLUGS: &[&str] = &[
    "admin",
    "api",
    "app",
    "assets",
    "auth",
    "dashboard",
    "demo-gateway",
    "gatehouse",
    "health",
    "help",
    "internal",
    "invite",
    "livez",
    "login",
    "logout",
    "mcp",
    "messages",
    "metrics",
    "oauth",
    "operator",
    "org",
    "orgs",
    "profile",
    "readyz",
    "root",
    "security",
    "settings",
    "setup",
    "sign-in",
    "sign-up",
    "sse",
    "static",
    "status",
    "support",
    "system",
    "v1",
    "well-known",
    "www",
];

/// `sse`, `message` and `messages` are endpoints of the older HTTP+SSE transport under `/mcp/{slug}/…`.
const RESERVED_CONNECTOR_SLUGS: &[&str] = &["message", "messages", "sse"];

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident, $min:literal, $reserved:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The slug as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidSlug;

            fn from_str(text: &str) -> Result<Self, InvalidSlug> {
                check(text, $min, $reserved)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidSlug;

            fn try_from(text: String) -> Result<Self, InvalidSlug> {
                check(&text, $min, $reserved)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(slug: $name) -> Self {
                slug.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

slug!(
    /// An organisation's slug: 3 to 63 of `a-z0-9-`; part of its MCP endpoint; never reissued (TEN-05).
    OrgSlug, 3, RESERVED_ORG_SLUGS);
slug!(
    /// A connector's slug: 1 to 63 of `a-z0-9-`; the prefix of its tool names; fixed at creation.
    ConnectorSlug, 1, RESERVED_CONNECTOR_SLUGS);

/// A slug to offer for a name that a person typed: `"Acme, Inc."` becomes `acme-inc`.
pub fn suggest(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 40 {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_05_org_slugs_are_short_lower_case_and_not_reserved() {
        for good in ["acme", "a-1", "123"] {
            assert!(good.parse::<OrgSlug>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("ab", InvalidSlug::Length),
            ("Acme", InvalidSlug::Characters),
            ("-acme", InvalidSlug::Characters),
            ("acme-", InvalidSlug::Characters),
            ("ac/me", InvalidSlug::Characters),
            ("ácme", InvalidSlug::Characters),
            ("oauth", InvalidSlug::Reserved),
        ] {
            assert_eq!(bad.parse::<OrgSlug>(), Err(why), "{bad}");
        }
        assert_eq!("x".repeat(64).parse::<OrgSlug>(), Err(InvalidSlug::Length));
        assert_eq!("sse".parse::<ConnectorSlug>(), Err(InvalidSlug::Reserved));
    }

    #[test]
    fn a_slug_is_suggested_for_any_name() {
        assert_eq!(suggest("Acme, Inc."), "acme-inc");
        assert_eq!(suggest("  Ünïcode  "), "n-code");
        assert_eq!(suggest("!!!"), "");
    }
}
