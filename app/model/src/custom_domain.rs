//! The host name of an organisation's own that its endpoint answers on (TEN-06).

use serde::{Deserialize, Serialize};

use crate::Plan;

/// How long records are looked for by themselves after a domain was entered, hours.
pub const SEARCH_HOURS: i64 = 48;
/// How long a verified domain may lack its records before it is removed, hours.
pub const GRACE_HOURS: i64 = 72;

/// How a domain stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainState {
    /// Its records are looked for.
    #[default]
    Pending,
    /// They were not found in time; nobody looks any more.
    GaveUp,
    /// It is in use.
    Verified,
    /// It is in use, and its records have been missing lately.
    Failing,
    /// It was in use until its records had been missing for too long.
    Lapsed,
}

impl DomainState {
    /// Whether the endpoint answers on it.
    pub const fn is_in_use(self) -> bool {
        matches!(self, Self::Verified | Self::Failing)
    }
}

/// What the name server said.
#[expect(clippy::struct_excessive_bools, reason = "each is an observation of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainAnswer {
    /// When, Unix milliseconds.
    pub at: i64,
    /// Whether it answered at all.
    pub answered: bool,
    /// Where CNAME records of the domain lead.
    pub cname: Vec<String>,
    /// What TXT records of the proof's name hold.
    pub txt: Vec<String>,
    /// Whether one of the CNAME records is the one that is asked for.
    pub cname_fits: bool,
    /// The same of the TXT records.
    pub txt_fits: bool,
    /// Whether both are there, but another organisation has proven the domain first.
    pub taken: bool,
}

/// A domain that an organisation has entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomDomain {
    /// `api.acme.com`: lower case, ASCII.
    pub host: String,
    /// How it stands.
    pub state: DomainState,
    /// Since when it stands so, Unix milliseconds.
    pub since: i64,
    /// What happens when nothing changes: nobody looks any more, or the domain is removed. Unix milliseconds.
    pub ends_at: Option<i64>,
    /// When it is looked at next, Unix milliseconds.
    pub next_check_at: Option<i64>,
    /// The name of the TXT record that proves it.
    pub record: String,
    /// What that record has to hold.
    pub value: String,
    /// The address of the organisation's endpoint on it.
    pub endpoint: String,
    /// What was seen last.
    pub seen: Option<DomainAnswer>,
}

/// Everything that the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPage {
    /// The plan.
    pub plan: Plan,
    /// Where the CNAME record has to lead.
    pub target: String,
    /// The domain, if one was entered.
    pub domain: Option<CustomDomain>,
    /// The address that works with or without a domain.
    pub endpoint: String,
    /// Server time, Unix milliseconds.
    pub now: i64,
}
