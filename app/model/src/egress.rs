//! From where makers of hosted agents call: what they publish, with the day on which it was looked up. Who keeps this file
//! up to date opens each source and changes ranges and day together.

/// A maker of hosted agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// Its name in forms.
    pub id: &'static str,
    /// Its name, and whose agents these are.
    pub name: &'static str,
    /// Its ranges, CIDR; empty where they change too often to be kept here.
    pub ranges: &'static [&'static str],
    /// When they were looked up: `2026-11-21`.
    pub looked_up: &'static str,
    /// Where it publishes them.
    pub source: &'static str,
}

/// All that are known.
pub const VENDORS: &[Vendor] = &[
    Vendor {
        id: "anthropic",
        name: "Anthropic (Claude)",
        // What it calls outbound: the inbound ranges are those of its API, and the five single addresses are given up.
        ranges: &["160.79.104.0/21"],
        looked_up: "2026-11-21",
        source: "https://platform.claude.com/docs/en/api/ip-addresses",
    },
    Vendor {
        id: "openai",
        name: "OpenAI (ChatGPT)",
        // A long list that changes without notice: what stood here would be wrong soon, and refuse good calls.
        ranges: &[],
        looked_up: "",
        source: "https://openai.com/chatgpt-connectors.json",
    },
];

/// The maker with this name in forms, if its ranges are known.
pub fn vendor(id: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.id == id && !vendor.ranges.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipa_05_every_range_has_a_day_and_a_source() {
        for vendor in VENDORS {
            assert!(vendor.source.starts_with("https://"), "{}", vendor.id);
            assert_eq!(vendor.ranges.is_empty(), vendor.looked_up.is_empty(), "{}", vendor.id);
            let parts: Vec<_> = vendor.looked_up.split('-').map(str::len).collect();
            assert!(vendor.ranges.is_empty() || parts == [4, 2, 2], "{}", vendor.id);
        }
        assert!(vendor("anthropic").is_some() && vendor("openai").is_none() && vendor("").is_none());
    }
}
