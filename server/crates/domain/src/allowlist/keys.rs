//! From where an API key may be used (IPA-05): a list of its own, beside that of its organisation.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use model::{AppError, ErrorKind, api_keys::MAX_KEY_RANGES};

use super::ranges;
use crate::{Error, Result};

/// The ranges of a key; none is everywhere. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRanges(Arc<[IpNet]>);

impl KeyRanges {
    /// Reads what somebody typed: one range a line, or with commas or spaces between.
    ///
    /// # Errors
    /// At the field `ranges`, naming the first that cannot be read, with what was probably meant.
    pub fn typed(text: &str) -> core::result::Result<Self, AppError> {
        let refuse = |code: &str, words: String| AppError::field("ranges", code, words);
        let mut nets = Vec::new();
        for part in text.split([',', ' ', '\t', '\r', '\n']).filter(|part| !part.is_empty()) {
            let net = ranges::parse(part).map_err(|error| {
                let why = error.fields.first().map_or(error.message.clone(), |field| field.message.clone());
                let shown: String = part.chars().take(64).collect();
                // What names the range itself needs no name twice.
                let words = if error.code == "host_bits" { why } else { format!("{shown}: {why}") };
                refuse(&error.code, words)
            })?;
            if !nets.contains(&net) {
                nets.push(net);
            }
        }
        if nets.len() > MAX_KEY_RANGES {
            return Err(refuse("too_many", format!("Use at most {MAX_KEY_RANGES} ranges, or wider ones")));
        }
        Ok(Self(nets.into()))
    }

    /// Reads what is stored.
    pub(crate) fn stored(text: &str) -> Result<Self> {
        let nets: core::result::Result<Vec<IpNet>, _> = text.split_whitespace().map(str::parse).collect();
        let nets = nets.map_err(|why| Error::Internal(format!("the ranges of a key do not read: {why}")))?;
        Ok(Self(nets.into()))
    }

    /// As it is stored: with spaces between.
    pub(crate) fn to_text(&self) -> String {
        self.list().join(" ")
    }

    /// Each in CIDR notation.
    pub fn list(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether a request from this address may use the key. `None` is an address that could not be made out, which no range
    /// has.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        self.0.is_empty()
            || address
                .map(ranges::unmapped)
                .is_some_and(|address| self.0.iter().any(|range| range.contains(&address)))
    }
}

/// The refusal of an address that a key may not be used from, for pages and logs.
pub fn not_from_here() -> AppError {
    AppError::new(
        ErrorKind::Forbidden,
        "ip_not_allowed",
        "This API key can be used from certain addresses only, and yours is none of them.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipa_05_ranges_of_a_key_are_read_as_people_write_them() {
        let read =
            KeyRanges::typed(" 203.0.113.7, 2001:DB8::/48\r\n203.0.113.7/32\n::ffff:10.0.0.0/104").unwrap();
        assert_eq!(read.list(), ["203.0.113.7/32", "2001:db8::/48", "10.0.0.0/8"]);
        assert_eq!(KeyRanges::stored(&read.to_text()).unwrap(), read);
        for from in ["203.0.113.7", "::ffff:203.0.113.7", "2001:db8::9", "10.9.9.9"] {
            assert!(read.admits(from.parse().ok()), "{from}");
        }
        assert!(!read.admits("203.0.113.8".parse().ok()) && !read.admits(None));
        assert!(KeyRanges::typed(" \n").unwrap().admits(None), "none is everywhere");
        let error = KeyRanges::typed("203.0.113.7\n10.0.0.5/8").unwrap_err();
        assert_eq!((error.code.as_str(), error.fields[0].field.as_str()), ("host_bits", "ranges"));
        assert!(error.message.contains("10.0.0.0/8"), "{}", error.message);
        assert!(KeyRanges::typed("host.example").unwrap_err().message.contains("host.example"));
    }
}
