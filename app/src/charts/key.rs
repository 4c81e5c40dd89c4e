//! Calls of one API key, on its card.

use core::fmt::Write as _;

use domain::usage::{Calls, KeyUsage};
use model::{
    activity::LogSearch,
    paths,
    text::{limit, number},
};

use super::{HEIGHT, WIDTH, axis, escape, float};
use crate::components::{MONTHS, civil};

const DAY: i64 = 24 * 60 * 60 * 1000;

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn name(day: i64) -> String {
    let at = civil(day * DAY);
    format!("{} {}", MONTHS[(at.month - 1) % 12], at.day)
}

/// The last 30 days in a line, in numbers, and as a table of the days that had any call. `logs`: whether this person may look
/// at the request log.
pub fn of_key(id: &str, key: &KeyUsage, logs: bool) -> String {
    let KeyUsage { days, whole, per_minute, .. } = key;
    let rate = limit(per_minute.map(u64::from));
    let rate = if per_minute.is_some() {
        format!("Limit: {rate} requests a minute")
    } else {
        "No limit of requests a minute".to_owned()
    };
    if whole.calls == 0 {
        return format!("No calls in the last 30 days <span class=\"muted\">· {rate}</span>");
    }
    let most = days.iter().map(|(_, calls)| count(calls.calls)).max().unwrap_or(0);
    let busiest = days.iter().find(|(_, calls)| count(calls.calls) == most).map_or(0, |(day, _)| *day);
    let words = format!("{} calls, {} failed", number(count(whole.calls)), number(count(whole.errors)));
    let link = LogSearch { principal: id.to_owned(), ..LogSearch::default() }.query();
    let shown = if logs {
        format!("<a href=\"{}{}\">{words}</a>", paths::activity(), escape(&link))
    } else {
        words.clone()
    };
    let mut out = format!(
        "<svg class=\"spark\" viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Calls a day in the last 30 days, {words}; the most were {} on {}\">\
         <path class=\"line l1\" d=\"{}\"/></svg><span>{shown} in the last 30 days <span class=\"muted\">· {rate}</span></span>",
        number(most),
        name(busiest),
        spark(days, axis(float(most)))
    );
    out.push_str(
        "<details class=\"twin\"><summary>Show as a table</summary><table class=\"table\"><caption class=\"visually-hidden\">Days with calls</caption>\
         <thead><tr><th scope=\"col\">Day (UTC)</th><th scope=\"col\" class=\"number\">Calls</th><th scope=\"col\" class=\"number\">Failed</th></tr></thead><tbody>",
    );
    for (day, calls) in days.iter().filter(|(_, calls)| calls.calls > 0) {
        _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            name(*day),
            number(count(calls.calls)),
            number(count(calls.errors))
        );
    }
    out + "</tbody></table></details>"
}

fn spark(days: &[(i64, Calls)], most: f64) -> String {
    let pitch = WIDTH / float(u64::try_from(days.len().saturating_sub(1).max(1)).unwrap_or(1));
    let (mut out, mut x) = (String::new(), 0.0);
    for (_, calls) in days {
        let y = HEIGHT - float(count(calls.calls)) / most * HEIGHT;
        _ = write!(out, "{}{x:.0} {y:.0}", if out.is_empty() { "M" } else { "L" });
        x += pitch;
    }
    out
}
