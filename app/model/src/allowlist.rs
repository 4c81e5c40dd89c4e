//! The addresses that an organisation may be reached from, as its page sees them.

use serde::{Deserialize, Serialize};

/// The most ranges of an organisation.
pub const MAX_RANGES: usize = 200;
/// The longest note, in characters.
pub const MAX_NOTE: usize = 80;
/// How long a change may be tried before it is taken back by itself, minutes (IPA-04).
pub const TRIAL_MINUTES: i64 = 15;

/// One range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedRange {
    /// In CIDR notation: `203.0.113.0/24`, `2001:db8::/48`.
    pub range: String,
    /// What it is; may be empty.
    pub note: String,
    /// Who added it, by name.
    pub added_by: String,
    /// When, Unix milliseconds.
    pub added_at: i64,
}

/// What the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowlistPage {
    /// Whether it is enforced.
    pub on: bool,
    /// The ranges, in the order in which they were added.
    pub ranges: Vec<AllowedRange>,
    /// The address of whoever looks, as far as it is known.
    pub your_address: Option<String>,
    /// Whether that is in a range.
    pub you_are_in: bool,
    /// Until when the change is tried, Unix milliseconds: then the list is as it was before.
    pub trial_until: Option<i64>,
    /// What enforcing these ranges would have refused.
    pub dry_run: DryRun,
    /// Whether whoever looks has shown who they are in the last minutes.
    pub fresh: bool,
    /// Their second factor.
    pub own_factor: crate::factors::SecondStep,
    /// The server's time, Unix milliseconds.
    pub now: i64,
}

/// What ranges would have refused in the last seven days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    /// Requests to the endpoint that were looked at.
    pub requests: i64,
    /// Whether there were more in that time, which were not.
    #[serde(default)]
    pub more: bool,
    /// Those from elsewhere.
    pub outside: i64,
    /// How many keys, connections and clients sent those.
    pub principals: i64,
    /// From where, the most frequent first, with how many; at most ten.
    pub addresses: Vec<(String, i64)>,
    /// Members whose browsers were seen elsewhere: name and address; at most ten.
    pub members: Vec<(String, String)>,
}
