//! What is proven by DNS records and has to stay so: when they are looked for again, and what it means that they are there,
//! missing, or cannot be asked for. Domains of endpoints (TEN-06) and of people who log in with SSO are both such proofs.
//!
//! Only a name server's word that there is no such record counts as missing. One that does not answer changes nothing.

use model::custom_domain::GRACE_HOURS;

use crate::{Env, Error, Result};

const HOUR: i64 = 60 * 60 * 1000;
/// Between two looks at records that are there, milliseconds.
pub(crate) const DAILY: i64 = 24 * HOUR;
/// Between two looks at records that are missing or cannot be asked for, milliseconds.
const HOURLY: i64 = HOUR;
/// The least time between two looks, milliseconds.
const SOONEST: i64 = 60 * 1000;
/// For so long records may be missing before the proof counts no longer, milliseconds: whoever owns the name by then may be
/// somebody else.
pub(crate) const GRACE: i64 = GRACE_HOURS * HOUR;

/// What a look at the records of something proven means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing new.
    Same,
    /// They are missing from now on.
    Missing,
    /// They were missing, and are there again.
    Back,
    /// They have been missing for too long: it is proven no longer.
    Lapsed,
}

/// What it means that records are there (`Some(true)`), are not (`Some(false)`), or could not be asked for.
pub(crate) const fn turn(there: Option<bool>, missing_since: Option<i64>, now: i64) -> Turn {
    match (there, missing_since) {
        (Some(true), Some(_)) => Turn::Back,
        (Some(false), None) => Turn::Missing,
        (Some(false), Some(since)) if now - since >= GRACE => Turn::Lapsed,
        (None | Some(_), _) => Turn::Same,
    }
}

/// When they are looked for next. `missing_since` is what it was before this look.
pub(crate) fn next_look(there: Option<bool>, missing_since: Option<i64>, now: i64) -> i64 {
    match there {
        Some(true) => now + DAILY,
        None => now + HOURLY,
        Some(false) => (now + HOURLY).min(missing_since.unwrap_or(now) + GRACE).max(now + SOONEST),
    }
}

/// Looks at everything that is due, all at once: `claim` says whether this node has it now, `look` looks. One that fails
/// keeps no other from being looked at; it is due again later. How many were looked at.
pub(crate) async fn look_at_due<T, C, L>(
    env: &Env,
    due: Vec<T>,
    claim: impl Fn(Env, &T) -> C,
    look: impl Fn(Env, T) -> L,
) -> Result<usize>
where
    C: Future<Output = Result<bool>> + Send,
    L: Future<Output = Result<()>> + Send,
{
    let mut claimed = Vec::new();
    for one in due {
        if claim(env.clone(), &one).await? {
            claimed.push(one);
        }
    }
    let count = claimed.len();
    let looks = claimed.into_iter().map(|one| look(env.clone(), one));
    for error in futures_util::future::join_all(looks).await.into_iter().filter_map(core::result::Result::err)
    {
        tell(&error);
    }
    Ok(count)
}

fn tell(error: &Error) {
    tracing::error!(%error, "what was seen of a domain could not be written down");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_06_silence_is_no_answer_and_three_days_without_records_end_a_proof() {
        let now = 1_000 * HOUR;
        let (lately, long) = (Some(now - GRACE + 1), Some(now - GRACE));
        for (there, since, means) in [
            (Some(true), None, Turn::Same),
            (Some(true), lately, Turn::Back),
            (Some(true), long, Turn::Back),
            (Some(false), None, Turn::Missing),
            (Some(false), lately, Turn::Same),
            (Some(false), long, Turn::Lapsed),
            (None, None, Turn::Same),
            (None, lately, Turn::Same),
            (None, long, Turn::Same),
        ] {
            assert_eq!(turn(there, since, now), means, "{there:?} {since:?}");
        }
    }

    #[test]
    fn what_is_there_is_looked_at_daily_and_what_is_missing_hourly_until_its_time_is_over() {
        let now = 1_000 * HOUR;
        assert_eq!(next_look(Some(true), Some(now - HOUR), now), now + DAILY);
        assert_eq!(next_look(None, None, now), now + HOUR);
        assert_eq!(next_look(Some(false), None, now), now + HOUR);
        assert_eq!(next_look(Some(false), Some(now - GRACE + HOUR / 2), now), now + HOUR / 2);
        assert_eq!(next_look(Some(false), Some(now - GRACE + 1), now), now + SOONEST);
    }
}
