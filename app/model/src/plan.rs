//! Plans of an organisation.

use core::fmt;

use serde::{Deserialize, Serialize};

/// What an organisation is entitled to. Self-hosted instances give [`Plan::Enterprise`] by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// 1,000 calls a month.
    Free,
    /// 50,000 calls a month.
    Pro,
    /// 500,000 calls a month.
    Team,
    /// Unlimited, or as the operator sets it.
    Enterprise,
}

impl Plan {
    /// Every plan, from least to most.
    pub const ALL: &[Self] = &[Self::Free, Self::Pro, Self::Team, Self::Enterprise];

    /// The name in forms, the CLI and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Pro => "pro",
            Self::Team => "team",
            Self::Enterprise => "enterprise",
        }
    }

    /// Whether an organisation may bring its own identity provider.
    pub const fn own_identity_provider(self) -> bool {
        matches!(self, Self::Enterprise)
    }

    /// The plan with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|plan| plan.as_str() == name)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "Free",
            Self::Pro => "Pro",
            Self::Team => "Team",
            Self::Enterprise => "Enterprise",
        })
    }
}
