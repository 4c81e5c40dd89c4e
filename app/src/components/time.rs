use crate::erase::Erase as _;
use leptos::prelude::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
pub(crate) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment in the calendar, UTC.
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: usize,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    second: i64,
}

/// Days to a date in the proleptic Gregorian calendar, after Howard Hinnant's `civil_from_days`.
pub(crate) fn civil(ms: i64) -> Civil {
    let days = ms.div_euclid(DAY);
    let seconds = ms.rem_euclid(DAY) / 1000;
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month: usize::try_from(month).unwrap_or(1),
        day: of_year - (153 * from_march + 2) / 5 + 1,
        hour: seconds / 3600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
    }
}

fn date(c: &Civil) -> String {
    format!("{} {}, {}", MONTHS[(c.month - 1) % 12], c.day, c.year)
}

/// `Mar 12, 2026, 14:05:06 UTC`.
pub fn absolute(ms: i64) -> String {
    let c = civil(ms);
    format!("{}, {:02}:{:02}:{:02} UTC", date(&c), c.hour, c.minute, c.second)
}

fn machine(ms: i64) -> String {
    let c = civil(ms);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// `14 minutes ago`, `in 3 days`; after 30 days the date.
pub fn relative(ms: i64, now: i64) -> String {
    let away = (now - ms).abs();
    let (count, unit) = match away {
        ..MINUTE => return if ms <= now { "just now" } else { "in less than a minute" }.to_owned(),
        MINUTE..HOUR => (away / MINUTE, "minute"),
        HOUR..DAY => (away / HOUR, "hour"),
        _ if away < 30 * DAY => (away / DAY, "day"),
        _ => return date(&civil(ms)),
    };
    let s = if count == 1 { "" } else { "s" };
    if ms <= now { format!("{count} {unit}{s} ago") } else { format!("in {count} {unit}{s}") }
}

/// A time: relative in words, absolute in the title, exact for machines. `now` is the server's, so that both sides of
/// hydration say the same.
#[component]
pub fn Time(
    /// Unix milliseconds.
    at: i64,
    /// The server's clock, Unix milliseconds.
    now: i64,
) -> impl IntoView {
    view! { <time datetime=machine(at) title=absolute(at)>{relative(at, now)}</time> }.erase()
}

/// `5m ago`, `3h ago`, `12d ago`; after 30 days the date.
fn ago(ms: i64, now: i64) -> String {
    match (now - ms).max(0) {
        ..MINUTE => "just now".to_owned(),
        away @ MINUTE..HOUR => format!("{}m ago", away / MINUTE),
        away @ HOUR..DAY => format!("{}h ago", away / HOUR),
        away if away < 30 * DAY => format!("{}d ago", away / DAY),
        _ => date(&civil(ms)),
    }
}

/// A time that has passed, in few letters for a column. `now` is the server's.
#[component]
pub fn Ago(
    /// Unix milliseconds.
    at: i64,
    /// The server's clock, Unix milliseconds.
    now: i64,
) -> impl IntoView {
    view! { <time datetime=machine(at) title=absolute(at)>{ago(at, now)}</time> }.erase()
}

/// A day in the calendar, `Jan 15, 2026`, with the exact time for those who ask.
#[component]
pub fn Day(
    /// Unix milliseconds.
    at: i64,
) -> impl IntoView {
    view! { <time datetime=machine(at) title=absolute(at)>{date(&civil(at))}</time> }.erase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_773_324_306_000; // 2026-03-12T14:05:06Z

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(machine(AT), "2026-03-12T14:05:06Z");
        assert_eq!(absolute(AT), "Mar 12, 2026, 14:05:06 UTC");
        assert_eq!(machine(0), "1970-01-01T00:00:00Z");
        assert_eq!(machine(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(machine(-1000), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        for (away, said) in [
            (0, "just now"),
            (MINUTE, "1 minute ago"),
            (14 * MINUTE, "14 minutes ago"),
            (2 * HOUR, "2 hours ago"),
            (12 * DAY, "12 days ago"),
            (-3 * DAY, "in 3 days"),
        ] {
            assert_eq!(relative(AT - away, AT), said);
        }
        assert_eq!(relative(AT, AT + 40 * DAY), "Mar 12, 2026");
        for (away, said) in
            [(0, "just now"), (14 * MINUTE, "14m ago"), (3 * HOUR, "3h ago"), (12 * DAY, "12d ago")]
        {
            assert_eq!(ago(AT - away, AT), said);
        }
        assert_eq!(ago(AT, AT + 40 * DAY), "Mar 12, 2026");
    }
}
