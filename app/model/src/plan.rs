//! Plans of an organisation, and what each of them gives: the one table of limits.

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

    /// Whether an organisation's endpoint may answer on a domain of its own.
    pub const fn custom_domain(self) -> bool {
        !matches!(self, Self::Free)
    }

    /// What the plan gives.
    pub const fn limits(self) -> PlanLimits {
        let (calls_per_month, calls_per_minute, most_log_days) = match self {
            Self::Free => (Some(1_000), Some(60), 7),
            Self::Pro => (Some(50_000), Some(300), 30),
            Self::Team => (Some(500_000), Some(1_200), 90),
            Self::Enterprise => (None, None, 365),
        };
        PlanLimits { calls_per_month, calls_per_minute, most_log_days }
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

/// What a plan gives. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanLimits {
    /// Calls in a calendar month (UTC) of the whole organisation.
    pub calls_per_month: Option<u64>,
    /// Requests in a minute of one key, client, connection or person.
    pub calls_per_minute: Option<u32>,
    /// The longest time that the request log may be kept, days.
    pub most_log_days: u16,
}

/// How many times the rate of one key all keys of an organisation have together.
const ORG_RATE: u32 = 10;
/// How many times the rate of one key a connector is called at most, by all keys together.
const CONNECTOR_RATE: u32 = 5;

/// A limit that the operator may set in place of the plan's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Override<T> {
    /// As the plan says.
    #[default]
    Plan,
    /// None at all.
    Unlimited,
    /// This one.
    At(T),
}

impl<T: Copy> Override<T> {
    /// What holds, with this of the plan.
    pub fn over(self, plan: Option<T>) -> Option<T> {
        match self {
            Self::Plan => plan,
            Self::Unlimited => None,
            Self::At(limit) => Some(limit),
        }
    }
}

/// The limits that hold for one organisation: its plan's, or what the operator set instead. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Calls in a calendar month (UTC).
    pub calls_per_month: Option<u64>,
    /// Requests in a minute of one principal.
    pub key_per_minute: Option<u32>,
    /// Requests in a minute of the whole organisation.
    pub org_per_minute: Option<u32>,
    /// Calls in a minute of one connector.
    pub connector_per_minute: Option<u32>,
}

impl Limits {
    /// What holds on a plan with these overrides.
    pub fn of(plan: Plan, rate: Override<u32>, quota: Override<u64>) -> Self {
        let plan = plan.limits();
        let rate = rate.over(plan.calls_per_minute);
        Self {
            calls_per_month: quota.over(plan.calls_per_month),
            key_per_minute: rate,
            org_per_minute: rate.map(|rate| rate.saturating_mul(ORG_RATE)),
            connector_per_minute: rate.map(|rate| rate.saturating_mul(CONNECTOR_RATE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plans_give_is_one_table() {
        let given: Vec<_> = Plan::ALL
            .iter()
            .map(|plan| (plan.limits().calls_per_month, plan.limits().calls_per_minute))
            .collect();
        assert_eq!(
            given,
            [(Some(1_000), Some(60)), (Some(50_000), Some(300)), (Some(500_000), Some(1_200)), (None, None)]
        );
    }

    #[test]
    fn the_operator_may_set_any_limit() {
        let free = Limits::of(Plan::Free, Override::Plan, Override::Plan);
        assert_eq!((free.key_per_minute, free.org_per_minute), (Some(60), Some(600)));
        let raised = Limits::of(Plan::Free, Override::At(5), Override::Unlimited);
        assert_eq!((raised.key_per_minute, raised.calls_per_month), (Some(5), None));
        let limited = Limits::of(Plan::Enterprise, Override::Plan, Override::At(10));
        assert_eq!((limited.key_per_minute, limited.calls_per_month), (None, Some(10)));
    }
}
