//! How often a password may be tried: per account over all addresses, and per address (PWD-06, PWD-07).
//!
//! An attempt is counted before the password is looked at, so that many at once cannot slip through, and the count is
//! taken back when the password was right, or was not looked at after all.

use std::net::{IpAddr, Ipv6Addr};

use model::{AppError, ErrorKind};
use store::sign_in_failures::{self as failures, Failures};

use crate::{Env, Error, Result, trips::Who};

/// Failures in a row after which an account makes one wait.
const FREE_ATTEMPTS: i64 = 5;
/// The longest wait, milliseconds.
const LONGEST_WAIT: i64 = 15 * 60 * 1000;
/// After so many failures in a row no further guess is looked at (NIST SP 800-63B §3.2.2); a browser that has signed in
/// before has a count of its own, and the operator can set a new password.
const MOST_ATTEMPTS: i64 = 100;
/// After so long without an attempt an account's failures are forgotten, milliseconds.
pub const FORGOTTEN_AFTER: i64 = 24 * 60 * 60 * 1000;
/// Failures a minute from one address.
const PER_ADDRESS: i64 = 20;
const MINUTE: i64 = 60 * 1000;

/// An attempt that was counted. Give it back with [`Attempt::succeeded`] when the password was right, and with
/// [`Attempt::not_made`] when nobody looked at it.
#[derive(Debug)]
pub(crate) struct Attempt {
    account: String,
    address: Option<String>,
    /// The account's count without this attempt, and with it.
    before: Failures,
    after: Failures,
}

/// Addresses that one customer holds count as one: an IPv6 /64.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

fn address_bucket(address: IpAddr) -> String {
    format!("address:{}", network(address))
}

/// The wait after the `n`th failure in a row, milliseconds: 1 s after the fifth, doubling up to a quarter of an hour.
fn wait_after(n: i64) -> i64 {
    if n < FREE_ATTEMPTS {
        return 0;
    }
    let doublings = u32::try_from(n - FREE_ATTEMPTS).unwrap_or(u32::MAX).min(20);
    (1000_i64 << doublings).min(LONGEST_WAIT)
}

pub(crate) fn too_many(wait_ms: i64) -> Error {
    let seconds = u32::try_from((wait_ms + 999) / 1000).unwrap_or(u32::MAX).max(1);
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..=3600 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3600), "hour"),
    };
    let words = format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
    let mut error = AppError::new(
        ErrorKind::RateLimited,
        "too_many_attempts",
        format!("There were too many failed attempts. Try again in {words}."),
    );
    error.retry_after = Some(seconds);
    error.into()
}

/// Counts an attempt, or refuses it. `account` names the account whether or not it exists; `device` names a browser
/// that signed in to this account before and so has a count of its own.
pub(crate) async fn begin(
    env: &Env,
    account: &str,
    device: Option<&str>,
    address: Option<IpAddr>,
) -> Result<Attempt> {
    let now = env.now();
    let account = match device {
        Some(device) => format!("device:{device}"),
        None => format!("account:{account}"),
    };
    let address = address.map(address_bucket);
    let mut tx = env.db.write().await?;
    if let Some(bucket) = &address {
        failures::lock(&mut tx, bucket).await?;
        let mut count = failures::get(&mut tx, bucket).await?;
        if now - count.window_start >= MINUTE {
            count = Failures { window_start: now, ..Failures::default() };
        }
        if count.failures >= PER_ADDRESS {
            return Err(too_many(count.window_start + MINUTE - now));
        }
        count.failures += 1;
        failures::put(&mut tx, bucket, count).await?;
    }
    failures::lock(&mut tx, &account).await?;
    let mut before = failures::get(&mut tx, &account).await?;
    if now - before.window_start >= FORGOTTEN_AFTER {
        before = Failures::default();
    }
    if before.failures >= MOST_ATTEMPTS {
        return Err(too_many(before.window_start + FORGOTTEN_AFTER - now));
    }
    if before.blocked_until > now {
        return Err(too_many(before.blocked_until - now));
    }
    let failed = before.failures + 1;
    let after = Failures { failures: failed, window_start: now, blocked_until: now + wait_after(failed) };
    failures::put(&mut tx, &account, after).await?;
    tx.commit().await?;
    Ok(Attempt { account, address, before, after })
}

impl Attempt {
    /// Failures in a row before this attempt.
    pub(crate) fn failures_before(&self) -> i64 {
        self.before.failures
    }

    /// Takes the count back: the password was right.
    pub(crate) async fn succeeded(self, tx: &mut store::Tx) -> Result<()> {
        self.give_back_address(tx).await?;
        Ok(failures::delete(tx, &self.account).await?)
    }

    /// Takes the count back: nobody looked at the password.
    pub(crate) async fn not_made(self, env: &Env) -> Result<()> {
        let mut tx = env.db.write().await?;
        self.give_back_address(&mut tx).await?;
        failures::lock(&mut tx, &self.account).await?;
        let mut count = failures::get(&mut tx, &self.account).await?;
        if count == self.after {
            count = self.before;
        } else {
            // Others were counted meanwhile: the wait is theirs.
            count.failures = (count.failures - 1).max(0);
        }
        failures::put(&mut tx, &self.account, count).await?;
        Ok(tx.commit().await?)
    }

    async fn give_back_address(&self, tx: &mut store::Tx) -> Result<()> {
        if let Some(bucket) = &self.address {
            failures::lock(tx, bucket).await?;
            let mut count = failures::get(tx, bucket).await?;
            count.failures = (count.failures - 1).max(0);
            failures::put(tx, bucket, count).await?;
        }
        Ok(())
    }
}

/// Counts one of the things that an address may do so often in a window, or refuses it. Failures of all kinds share the
/// table; `what` keeps them apart.
pub(crate) async fn take(
    env: &Env,
    what: &'static str,
    address: IpAddr,
    most: i64,
    window: i64,
) -> Result<()> {
    let taken = take_of(env, format!("{what}:{}", address_bucket(address)), most, window).await;
    if is_limit(&taken) {
        env.oauth.trips.note(Who::Address(network(address)), what, Some(address));
    }
    taken
}

/// Whether that is a refusal because there was too much.
pub(crate) fn is_limit<T>(done: &Result<T>) -> bool {
    matches!(done, Err(Error::App(error)) if error.kind == ErrorKind::RateLimited)
}

/// The same for anything else that is counted: `bucket` says what.
pub(crate) async fn take_of(env: &Env, bucket: String, most: i64, window: i64) -> Result<()> {
    let now = env.now();
    // A flood is refused from memory: it must not keep the database busy.
    if let Some(until) = env.oauth.refused_until(&bucket, now) {
        return Err(wait(until - now));
    }
    let mut tx = env.db.write().await?;
    failures::lock(&mut tx, &bucket).await?;
    let mut count = failures::get(&mut tx, &bucket).await?;
    if now - count.window_start >= window {
        count = Failures { window_start: now, ..Failures::default() };
    }
    if count.failures >= most {
        let until = count.window_start + window;
        env.oauth.refuse(&bucket, until, now);
        return Err(wait(until - now));
    }
    count.failures += 1;
    failures::put(&mut tx, &bucket, count).await?;
    Ok(tx.commit().await?)
}

/// Too many requests: try again in so many milliseconds.
pub(crate) fn wait(millis: i64) -> Error {
    let seconds = u32::try_from((millis + 999) / 1000).unwrap_or(u32::MAX).max(1);
    let words = format!("There were too many requests. Try again in {seconds} s.");
    let mut error = AppError::new(ErrorKind::RateLimited, "too_many_requests", words);
    error.retry_after = Some(seconds);
    error.into()
}

/// Forgets an account's failures: its password was set anew.
pub(crate) async fn forget(tx: &mut store::Tx, account: &str) -> Result<()> {
    Ok(failures::delete(tx, &format!("account:{account}")).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pwd_06_waits_grow_to_a_quarter_of_an_hour() {
        assert_eq!(wait_after(4), 0);
        assert_eq!(wait_after(5), 1000);
        assert_eq!(wait_after(6), 2000);
        assert_eq!(wait_after(14), 512_000);
        assert_eq!(wait_after(15), LONGEST_WAIT);
        assert_eq!(wait_after(i64::MAX), LONGEST_WAIT);
    }

    #[test]
    fn pwd_06_an_ipv6_network_counts_as_one() {
        let one = address_bucket("2001:db8:1:2::1".parse().unwrap());
        assert_eq!(one, address_bucket("2001:db8:1:2:ffff::9".parse().unwrap()));
        assert_ne!(one, address_bucket("2001:db8:1:3::1".parse().unwrap()));
        assert_eq!(
            address_bucket("::ffff:192.0.2.1".parse().unwrap()),
            address_bucket("192.0.2.1".parse().unwrap())
        );
    }
}
