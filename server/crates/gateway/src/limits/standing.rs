//! How somebody stands with a limit, and what they are told of it (RLM-01, draft-ietf-httpapi-ratelimit-headers).

use std::fmt::Write as _;

use domain::mcp::code;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::reply::RpcError;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Requests of one principal.
    Key,
    /// Requests of an organisation.
    Org,
    /// Calls of a connector.
    Connector,
    /// Calls in a month.
    Month,
    /// Failed authentications from one address.
    Address,
}

impl Policy {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Org => "org",
            Self::Connector => "connector",
            Self::Month => "month",
            Self::Address => "address",
        }
    }

    fn message(self, limit: u64, wait: u64) -> String {
        let (what, unit) = match self {
            Self::Key => ("This credential may make", "requests a minute"),
            Self::Org => ("All credentials of this organisation together may make", "requests a minute"),
            Self::Connector => ("This connector may be called", "times a minute"),
            Self::Month => ("This organisation's plan has", "calls a month, and they are used up"),
            Self::Address => ("From one address there may be", "failed authentications a minute"),
        };
        let (number, word) = match wait {
            0..120 => (wait, "seconds"),
            120..7200 => (wait.div_ceil(60), "minutes"),
            7200..172_800 => (wait.div_ceil(3600), "hours"),
            _ => (wait.div_ceil(86_400), "days"),
        };
        format!("{what} {limit} {unit}. Nothing was called. Try again in {number} {word}.")
    }
}

/// How somebody stands with one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) policy: Policy,
    /// How many there may be in a window.
    pub(crate) limit: u64,
    /// The window's length, seconds.
    pub(crate) window: u64,
    /// How many there may still be now.
    pub(crate) left: u64,
    /// Until there may be more, seconds.
    pub(crate) reset: u64,
}

impl Standing {
    /// The refusal of a request that is over it.
    pub(crate) fn refusal(&self) -> RpcError {
        let wait = self.reset.max(1);
        let word = if self.policy == Policy::Month { "quota_exceeded" } else { "rate_limited" };
        RpcError::new(StatusCode::TOO_MANY_REQUESTS, code::LIMITED, self.policy.message(self.limit, wait))
            .data(format!(r#"{{"code":"{word}","policy":"{}","retry_after":{wait}}}"#, self.policy.as_str()))
            .header(header::RETRY_AFTER, HeaderValue::from(wait))
    }
}

/// Tells how somebody stands.
pub(crate) fn tell<'s>(headers: &mut HeaderMap, standings: impl IntoIterator<Item = &'s Standing>) {
    let (mut policies, mut limits) = (String::new(), String::new());
    for standing in standings {
        let Standing { policy, limit, window, left, reset } = standing;
        let comma = if policies.is_empty() { "" } else { ", " };
        let name = policy.as_str();
        _ = write!(policies, "{comma}\"{name}\";q={limit};w={window}");
        _ = write!(limits, "{comma}\"{name}\";r={left};t={reset}");
    }
    if policies.is_empty() {
        return;
    }
    // Names and numbers: they always fit.
    if let (Ok(policies), Ok(limits)) = (HeaderValue::try_from(policies), HeaderValue::try_from(limits)) {
        headers.insert(POLICY, policies);
        headers.insert(LIMIT, limits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rlm_01_the_headers_are_lists_of_structured_fields() {
        let key = Standing { policy: Policy::Key, limit: 600, window: 60, left: 0, reset: 12 };
        let month = Standing { policy: Policy::Month, limit: 9, window: 2_592_000, left: 3, reset: 7 };
        let mut headers = HeaderMap::new();
        tell(&mut headers, []);
        assert!(headers.is_empty());
        tell(&mut headers, [&key]);
        assert_eq!(headers["ratelimit-policy"], r#""key";q=600;w=60"#);
        assert_eq!(headers["ratelimit"], r#""key";r=0;t=12"#);
        tell(&mut headers, [&key, &month]);
        assert_eq!(headers["ratelimit-policy"], r#""key";q=600;w=60, "month";q=9;w=2592000"#);
        assert_eq!(headers["ratelimit"], r#""key";r=0;t=12, "month";r=3;t=7"#);
    }
}
