//! Usage of an organisation: what the overview shows of it.

use core::fmt::Write as _;

use domain::usage::{Named, Quota, RANGES, Report};
use model::{
    activity::{LogSearch, Outcome},
    paths,
    text::number,
};

use super::{Bar, GRID, Part, Pattern, axis, bars, escape, float, line};
use crate::components::{Civil, MONTHS, civil};

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// How each outcome is drawn, in the order of [`Outcome::ALL`]: by a colour and by what lies over it.
const DRAWN: [(&str, Option<Pattern>); Outcome::ALL.len()] = [
    ("c1", None),
    ("c4", Some(Pattern { name: "rising", path: "M0 8L8 0" })),
    ("c3", Some(Pattern { name: "level", path: "M0 4H8" })),
    ("c5", Some(Pattern { name: "upright", path: "M4 0V8" })),
    ("c2", Some(Pattern { name: "falling", path: "M0 0L8 8" })),
    ("c6", Some(Pattern { name: "crossed", path: "M0 4H8M4 0V8" })),
    ("c0", None),
    ("c7", Some(Pattern { name: "dotted", path: "M3 4H5" })),
];

/// A part in per cent with one decimal.
fn percent(part: u64, of: u64) -> String {
    let part = u128::from(part) * 1000 / u128::from(of.max(1));
    format!("{}.{} %", part / 10, part % 10)
}

/// Milliseconds with at most three digits.
fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(ms) if ms >= 10_000.0 => "over 10 s".to_owned(),
        Some(ms) if ms >= 1000.0 => format!("{:.1} s", ms / 1000.0),
        Some(ms) if ms >= 100.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{ms:.1} ms"),
    }
}

fn day(at: &Civil) -> String {
    format!("{} {}", MONTHS[(at.month - 1) % 12], at.day)
}

/// A step in words: `Nov 21, 10:00–11:00`, `Nov 21`, `Nov 15 – Nov 21`.
fn times(begins: i64, ends: i64) -> String {
    let (from, to) = (civil(begins), civil(ends));
    match ends - begins {
        ..DAY => {
            format!("{}, {:02}:00–{:02}:00", day(&from), from.hour, if to.hour == 0 { 24 } else { to.hour })
        }
        DAY => day(&from),
        _ => format!("{} – {}", day(&from), day(&civil(ends - DAY))),
    }
}

/// The time of a step as the request log takes it.
fn interval(begins: i64, ends: i64) -> String {
    let minute = |at: i64| {
        let at = civil(at);
        format!("{:04}-{:02}-{:02}T{:02}:{:02}Z", at.year, at.month, at.day, at.hour, at.minute)
    };
    format!("{}/{}", minute(begins), minute(ends))
}

/// Leads to the requests that a number counts.
struct Log {
    /// The oldest that is kept, Unix milliseconds; nothing when this person may not look.
    since: Option<i64>,
}

impl Log {
    /// The page of the request log with the requests of a time, as far as any of them is kept.
    fn link(&self, (begins, ends): (i64, i64), narrow: LogSearch) -> Option<String> {
        (ends > self.since?).then(|| {
            let search = LogSearch { range: interval(begins, ends), ..narrow };
            format!("{}{}", paths::activity(), search.query())
        })
    }
}

/// A link around a text, where there is one.
fn linked(link: Option<&str>, text: &str) -> String {
    match link {
        Some(link) => format!("<a href=\"{}\">{text}</a>", escape(link)),
        None => text.to_owned(),
    }
}

/// All of it. `ever`: whether there was a call at all; `logs`: whether this person may look at the request log.
pub fn section(report: &Report, ever: bool, logs: bool) -> String {
    let mut out = String::new();
    if !ever {
        out.push_str(
            "<div class=\"chart-none\"><p>No requests yet. They appear here seconds after the first call.</p></div>",
        );
        quota(&mut out, &report.quota);
        return out;
    }
    let log = Log { since: logs.then(|| report.now - i64::from(report.log_days) * DAY) };
    picker(&mut out, report);
    figures(&mut out, report);
    if report.whole.requests() == 0 {
        out.push_str("<div class=\"chart-none\"><p>No requests in this time. Choose a longer one.</p></div>");
    } else {
        outcomes(&mut out, report, &log);
        latency(&mut out, report);
        top(&mut out, "Connectors asked most", "Connector", report, &report.connectors, &log);
        top(&mut out, "Tools called most", "Tool", report, &report.tools, &log);
    }
    quota(&mut out, &report.quota);
    out.push_str(
        "<details class=\"twin\"><summary>What is counted</summary><ul class=\"steps\"><li>Requests are everything that was sent to the \
         endpoint with a good credential, refusals included; each counts when its answer ended.</li><li>Failed or refused is every \
         outcome but OK and Cancelled.</li><li>Latency is that of requests that reached a connector, from the first byte of the \
         request to the last of the answer; it is told to the class of duration that most of it lies in.</li><li>Calls this month are \
         those that were passed on to a connector, whatever came back.</li><li>Numbers by the hour are kept for 36 days, by the day \
         for 400. They are written a moment after a call.</li></ul></details>",
    );
    _ = write!(
        out,
        "<p class=\"fine\">Times are UTC. Numbers lead to the requests that they count, as far as the request log is kept: {}.</p>",
        if report.log_days == 1 { "one day".to_owned() } else { format!("{} days", report.log_days) }
    );
    out
}

/// Which time: links, and a form that needs no scripts.
fn picker(out: &mut String, report: &Report) {
    out.push_str("<nav class=\"ranges\" aria-label=\"Time\">");
    for (name, title, ..) in RANGES {
        let current = if report.frame.name == Some(*name) { " aria-current=\"true\"" } else { "" };
        _ = write!(out, "<a href=\"{}?range={name}#usage\"{current}>{title}</a>", paths::overview());
    }
    let (from, to) = (civil(report.frame.times(0).0), civil(report.frame.to * HOUR - 1));
    let date = |at: &Civil| format!("{:04}-{:02}-{:02}", at.year, at.month, at.day);
    _ = write!(
        out,
        "</nav><form class=\"filters days\" method=\"get\" action=\"{}#usage\" aria-label=\"Days\">\
         <label class=\"filter\"><span>First day</span><input class=\"input\" type=\"date\" name=\"from\" value=\"{}\"></label>\
         <label class=\"filter\"><span>Last day</span><input class=\"input\" type=\"date\" name=\"to\" value=\"{}\"></label>\
         <div class=\"filter-actions\"><button class=\"button\" type=\"submit\">Show these days</button></div></form>",
        paths::overview(),
        date(&from),
        date(&to)
    );
    if let Some(problem) = report.problem {
        _ = write!(
            out,
            "<p class=\"field-error\" role=\"alert\">{}. Here are the last 24 hours.</p>",
            escape(problem)
        );
    }
}

/// The numbers of all the time, and of the time before.
fn figures(out: &mut String, report: &Report) {
    let (now, then) = (&report.whole, &report.before);
    let (all, before) = (now.requests(), then.requests());
    let change = if before == 0 {
        "None in the time before".to_owned()
    } else if all >= before {
        format!("{} more than in the time before", percent(all - before, before))
    } else {
        format!("{} fewer than in the time before", percent(before - all, before))
    };
    let failed = if before == 0 {
        format!("{} requests", number(now.errors()))
    } else {
        format!("{} requests · {} in the time before", number(now.errors()), percent(then.errors(), before))
    };
    let of = |step: &domain::usage::Step, n| milliseconds(step.durations.percentile(n));
    let earlier = |n| {
        if then.durations.total() == 0 {
            String::new()
        } else {
            format!(" · {} in the time before", of(then, n))
        }
    };
    out.push_str("<dl class=\"stats\">");
    for (term, figure, more) in [
        ("Requests", number(all), change),
        ("Failed or refused", percent(now.errors(), all), failed),
        ("Latency, p50", of(now, 50), format!("Half of the calls took less{}", earlier(50))),
        ("Latency, p95", of(now, 95), format!("95 of 100 calls took less{}", earlier(95))),
    ] {
        _ = write!(
            out,
            "<div><dt>{term}</dt><dd class=\"figure\">{figure}</dd><dd class=\"muted\">{more}</dd></div>"
        );
    }
    out.push_str("</dl>");
}

/// Opens a figure: its heading, its legend, the numbers at its side.
fn open(out: &mut String, title: &str, legend: &str, (middle, most): (&str, &str)) {
    _ = write!(
        out,
        "<figure class=\"chart\"><figcaption><h3>{title}</h3><ul class=\"legend\">{legend}</ul></figcaption>\
         <div class=\"plot-box\"><div class=\"plot-y\" aria-hidden=\"true\"><span>{most}</span><span>{middle}</span><span>0</span></div>"
    );
}

/// The times under a drawing, and the end of the figure with its table.
fn close(out: &mut String, report: &Report, table: &str) {
    let name = |at: usize| {
        let begins = civil(report.frame.times(at).0);
        if report.frame.step < 24 { format!("{}, {:02}:00", day(&begins), begins.hour) } else { day(&begins) }
    };
    let last = report.steps.len().saturating_sub(1);
    _ = write!(
        out,
        "<div class=\"plot-x\" aria-hidden=\"true\"><span>{}</span><span>{}</span><span>{}</span></div></div>\
         <details class=\"twin\"><summary>Show as a table</summary><div class=\"table-scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\">{table}</div></details></figure>",
        name(0),
        name(last / 2),
        name(last)
    );
}

/// A small drawing of what stands for a series.
fn swatch(class: &str, pattern: Option<Pattern>) -> String {
    let over = pattern
        .map(|pattern| format!("<rect fill=\"url(#over-{})\" width=\"16\" height=\"16\"/>", pattern.name))
        .unwrap_or_default();
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><rect class=\"{class}\" width=\"16\" height=\"16\"/>{over}</svg>"
    )
}

fn outcomes(out: &mut String, report: &Report, log: &Log) {
    let seen: Vec<usize> = (0..Outcome::ALL.len()).filter(|at| report.whole.outcomes[*at] > 0).collect();
    let everything = (report.frame.times(0).0, report.frame.to * HOUR);
    let parts: Vec<_> = seen.iter().map(|at| Part { class: DRAWN[*at].0, pattern: DRAWN[*at].1 }).collect();
    let narrow =
        |at: usize| LogSearch { outcome: Outcome::ALL[at].as_str().to_owned(), ..LogSearch::default() };
    let (mut legend, mut heads, mut rows) = (String::new(), String::new(), String::new());
    for at in &seen {
        let outcome = Outcome::ALL[*at];
        let total = number(report.whole.outcomes[*at]);
        _ = write!(
            legend,
            "<li>{}{} <span class=\"muted\">{total}</span></li>",
            swatch(DRAWN[*at].0, DRAWN[*at].1),
            linked(log.link(everything, narrow(*at)).as_deref(), outcome.title())
        );
        _ = write!(heads, "<th scope=\"col\" class=\"number\">{}</th>", outcome.title());
    }
    let mut drawn = Vec::with_capacity(report.steps.len());
    for (at, step) in report.steps.iter().enumerate() {
        let (begins, ends) = report.frame.times(at);
        let words = times(begins, ends);
        let link = log.link((begins, ends), LogSearch::default()).filter(|_| step.requests() > 0);
        let links: Vec<_> =
            seen.iter().map(|at| log.link((begins, ends), narrow(*at)).unwrap_or_default()).collect();
        _ = write!(rows, "<tr><th scope=\"row\">{}</th>", linked(link.as_deref(), &words));
        for (at, to) in seen.iter().zip(&links) {
            let count = step.outcomes[*at];
            let to = Some(to.as_str()).filter(|to| count > 0 && !to.is_empty());
            _ = write!(rows, "<td class=\"number\">{}</td>", linked(to, &number(count)));
        }
        rows.push_str("</tr>");
        let parts = seen
            .iter()
            .filter(|at| step.outcomes[**at] > 0)
            .map(|at| format!("{} {}", number(step.outcomes[*at]), Outcome::ALL[*at].title()))
            .collect::<Vec<_>>()
            .join(", ");
        drawn.push(Bar {
            values: seen.iter().map(|at| step.outcomes[*at]).collect(),
            title: if parts.is_empty() {
                format!("{words}: no requests")
            } else {
                format!("{words}: {parts}")
            },
            links: link.map(|link| (link, links)),
        });
    }
    let most = report.steps.iter().map(domain::usage::Step::requests).max().unwrap_or(0);
    let end = axis(float(most));
    let label = format!(
        "Requests by outcome: {} in all, {} failed or were refused; the most in one step are {}. The table below has the numbers.",
        number(report.whole.requests()),
        number(report.whole.errors()),
        number(most)
    );
    open(out, "Requests by outcome", &legend, (&half(end), &whole(end)));
    out.push_str(&bars(&label, &parts, &drawn, end));
    let table = format!(
        "<table class=\"table\"><caption class=\"visually-hidden\">Requests by outcome</caption><thead><tr><th scope=\"col\">Time (UTC)</th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    );
    close(out, report, &table);
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the end of an axis is a whole number"
)]
fn whole(end: f64) -> String {
    number(end as u64)
}

/// The middle of an axis, where that is a whole number.
fn half(end: f64) -> String {
    if end < 2.0 || (end / 2.0).fract() > 0.0 { String::new() } else { whole(end / 2.0) }
}

fn latency(out: &mut String, report: &Report) {
    let of = |n: u64| report.steps.iter().map(|step| step.durations.percentile(n)).collect::<Vec<_>>();
    let (p50, p95) = (of(50), of(95));
    let end = axis(p95.iter().flatten().fold(0.0, |most: f64, ms| most.max(*ms)));
    let mut rows = String::new();
    for (at, step) in report.steps.iter().enumerate() {
        let (begins, ends) = report.frame.times(at);
        _ = write!(
            rows,
            "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            times(begins, ends),
            number(step.durations.total()),
            milliseconds(p50[at]),
            milliseconds(p95[at])
        );
    }
    let (all50, all95) = (
        milliseconds(report.whole.durations.percentile(50)),
        milliseconds(report.whole.durations.percentile(95)),
    );
    let sample = |class: &str| {
        format!(
            "<svg class=\"swatch\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path class=\"line {class}\" d=\"M0 8H16\"/></svg>"
        )
    };
    let legend = format!(
        "<li>{}p95, dashed <span class=\"muted\">{all95}</span></li><li>{}p50 <span class=\"muted\">{all50}</span></li>",
        sample("l4"),
        sample("l1")
    );
    let middle = if end >= 10_000.0 {
        "5 s".to_owned()
    } else {
        half(end) + if half(end).is_empty() { "" } else { " ms" }
    };
    let most = if end >= 10_000.0 { "10 s".to_owned() } else { whole(end) + " ms" };
    open(out, "Latency of calls", &legend, (&middle, &most));
    let label = format!("Latency of calls: p50 {all50}, p95 {all95}. The table below has the numbers.");
    _ = write!(
        out,
        "<svg class=\"plot\" viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">{GRID}\
         <path class=\"line l4\" d=\"{}\"/><path class=\"line l1\" d=\"{}\"/></svg>",
        line(&p95, end),
        line(&p50, end)
    );
    let table = format!(
        "<table class=\"table\"><caption class=\"visually-hidden\">Latency of calls</caption><thead><tr><th scope=\"col\">Time (UTC)</th>\
         <th scope=\"col\" class=\"number\">Calls</th><th scope=\"col\" class=\"number\">p50</th><th scope=\"col\" class=\"number\">p95</th></tr></thead><tbody>{rows}</tbody></table>"
    );
    close(out, report, &table);
}

/// What was called most, each with a bar and a link to its requests.
fn top(out: &mut String, title: &str, what: &str, report: &Report, named: &[Named], log: &Log) {
    if named.is_empty() {
        return;
    }
    let everything = (report.frame.times(0).0, report.frame.to * HOUR);
    let most = named.iter().map(|one| one.calls).max().unwrap_or(1).max(1);
    _ = write!(
        out,
        "<figure class=\"chart\"><figcaption><h3>{title}</h3></figcaption><div class=\"table-box\"><table class=\"table top\"><caption class=\"visually-hidden\">{title}</caption><thead><tr>\
         <th scope=\"col\">{what}</th><th scope=\"col\"><span class=\"visually-hidden\">Compared</span></th><th scope=\"col\" class=\"number\">Requests</th>\
         <th scope=\"col\" class=\"number\">Failed</th><th scope=\"col\" class=\"number\">Average</th></tr></thead><tbody>"
    );
    for one in named {
        let name = escape(one.name.as_deref().unwrap_or("A deleted connector"));
        let search =
            LogSearch { connector: one.connector.clone(), tool: one.tool.clone(), ..LogSearch::default() };
        let link = log.link(everything, search);
        let head = if one.tool.is_empty() {
            linked(link.as_deref(), &name)
        } else {
            let tool = format!("<code class=\"mono\">{}</code>", escape(&one.tool));
            format!("{} <span class=\"muted\">{name}</span>", linked(link.as_deref(), &tool))
        };
        _ = write!(
            out,
            "<tr><th scope=\"row\" data-label=\"{what}\">{head}</th>\
             <td><svg class=\"compared\" viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"c1\" width=\"{:.0}\" height=\"8\"/></svg></td>\
             <td class=\"number\" data-label=\"Requests\">{}</td><td class=\"number\" data-label=\"Failed\">{}</td><td class=\"number\" data-label=\"Average\">{}</td></tr>",
            (float(one.calls) / float(most) * 1000.0).max(4.0),
            number(one.calls),
            percent(one.errors, one.calls),
            milliseconds(Some(float(u64::try_from(one.average_us).unwrap_or(0)) / 1000.0))
        );
    }
    out.push_str("</tbody></table></div></figure>");
}

/// How much of the month's calls is used, with a mark at each threshold.
fn quota(out: &mut String, quota: &Quota) {
    out.push_str("<figure class=\"chart\"><figcaption><h3>Calls this month</h3></figcaption>");
    let used = number(quota.used);
    match quota.most {
        None => {
            _ = write!(out, "<p>{used}. The plan {} has no limit here.</p>", quota.plan);
        }
        Some(most) => {
            let part = percent(quota.used, most);
            let (class, words) =
                match u128::from(quota.used).max(u128::from(most == 0)) * 100 / u128::from(most.max(1)) {
                    ..80 => ("c1", ""),
                    80..100 => ("warn", " Nearly used up."),
                    _ => ("bad", " Used up: further calls get 429 until then."),
                };
            let marks = quota.thresholds.iter().map(|t| format!("{t} %")).collect::<Vec<_>>().join(", ");
            let told = if marks.is_empty() {
                "Nobody is told before.".to_owned()
            } else {
                format!("You are told at {marks}.")
            };
            let ends = civil(quota.ends);
            _ = write!(
                out,
                "<svg class=\"quota\" viewBox=\"0 0 1000 12\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{part} of this month's calls are used. {told}\">\
                 <rect class=\"track\" width=\"1000\" height=\"12\"/><rect class=\"{class}\" width=\"{:.0}\" height=\"12\"/>",
                (float(quota.used) / float(most.max(1))).min(1.0) * 1000.0
            );
            for mark in quota.thresholds.iter().filter(|mark| **mark < 100) {
                _ = write!(out, "<path class=\"mark\" d=\"M{0} 0V12\"/>", u32::from(*mark) * 10);
            }
            _ = write!(
                out,
                "</svg><p>{used} of {} calls, {part}. It begins anew on {} (UTC).{words} <span class=\"muted\">{told}</span></p>",
                number(most),
                day(&ends)
            );
        }
    }
    _ = write!(
        out,
        "<p><a href=\"{}\">Plan and limits</a> · <a href=\"{}\">When to tell</a></p></figure>",
        paths::settings_plan(),
        paths::activity_settings()
    );
}

/// For somebody who may not look.
pub fn denied() -> String {
    let who = model::Role::holders(model::Permission::UsageRead)
        .map(model::Role::as_str)
        .collect::<Vec<_>>()
        .join(" or ");
    format!("<p class=\"muted\">You need <code>usage:read</code> to see it. Ask for the role {who}.</p>")
}
