//! Hours, days and months since 1970, in UTC.

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// The hour of a time in Unix milliseconds.
pub const fn hour(at: i64) -> i64 {
    at.div_euclid(HOUR)
}

/// The day of a time in Unix milliseconds.
pub const fn day(at: i64) -> i64 {
    at.div_euclid(DAY)
}

/// The day of an hour.
pub const fn day_of(hour: i64) -> i64 {
    hour.div_euclid(24)
}

/// Year and month (1 to 12) of a day; the proleptic Gregorian calendar.
const fn civil(day: i64) -> (i64, i64) {
    // Years begin in March, so that the leap day is their last; eras of 400 years are alike.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_based = (5 * of_year + 2) / 153;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month)
}

/// The month of a time in Unix milliseconds.
pub const fn month(at: i64) -> i64 {
    let (year, month) = civil(day(at));
    (year - 1970) * 12 + month - 1
}

/// When a month begins, Unix milliseconds.
pub const fn month_start(month: i64) -> i64 {
    let (year, of_year) = (1970 + month.div_euclid(12), month.rem_euclid(12) + 1);
    let (march_based, year) = if of_year > 2 { (of_year - 3, year) } else { (of_year + 9, year - 1) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * march_based + 2) / 5;
    let day = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    day * DAY
}

/// The month as `2026-11`.
pub fn month_name(month: i64) -> String {
    format!("{:04}-{:02}", 1970 + month.div_euclid(12), month.rem_euclid(12) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_where_the_calendar_says() {
        assert_eq!((month(0), month_start(0)), (0, 0));
        // 2024-02-29, 2024-03-01, 2026-11-21 and the last millisecond of 2026.
        assert_eq!(month_name(month(1_709_164_800_000)), "2024-02");
        assert_eq!(month_name(month(1_709_251_200_000)), "2024-03");
        assert_eq!(month_name(month(1_795_219_200_000)), "2026-11");
        assert_eq!(month_start(month(1_795_219_200_000)), 1_793_491_200_000);
        assert_eq!(month_name(month(1_798_761_599_999)), "2026-12");
        for number in -1200..6000 {
            assert_eq!(month(month_start(number)), number);
            assert_eq!(month(month_start(number) - 1), number - 1);
        }
    }
}
