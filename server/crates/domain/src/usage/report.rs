//! Usage over a time, as charts show it. It is read from numbers by hour or by day, never from the request log.

use std::collections::{BTreeMap, HashMap};

use model::{ApiKeyId, OrgId, Plan, activity::Outcome, audit, permissions::can};
use store::{
    Tx,
    usage_reports::{self, Calls, Span},
};

use super::{
    CLASSES, Chosen,
    log::{KEPT_DAYS, KEPT_HOURS},
    org, period,
};
use crate::{Env, OrgActor, Result};

/// What can be asked for by name: its title, how many steps it has, and of how many hours each.
pub const RANGES: &[(&str, &str, i64, i64)] = &[
    ("24h", "Last 24 hours", 24, 1),
    ("7d", "Last 7 days", 28, 6),
    ("30d", "Last 30 days", 30, 24),
    ("90d", "Last 90 days", 90, 24),
];
/// The most connectors and tools that are named.
const MOST_NAMED: usize = 10;
/// Days on the page of one key, and on its line in the list.
const KEY_DAYS: i64 = 30;
/// How many classes of duration there are.
const ALL_CLASSES: usize = CLASSES.len() + 1;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// What somebody asks for, as the page's address says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The name of one of [`RANGES`].
    pub range: String,
    /// The first day (UTC), such as `2026-03-12`; then `range` says nothing.
    pub from: String,
    /// The last day, which is part of it.
    pub to: String,
}

/// A time, cut into steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The name in [`RANGES`], if it is one of them.
    pub name: Option<&'static str>,
    /// Its beginning, hours since 1970.
    pub from: i64,
    /// How long a step is, hours.
    pub step: i64,
    /// How many there are. The last one may reach into the future.
    pub steps: usize,
    /// Its end, hours since 1970; the last step may be cut short by it.
    pub to: i64,
    /// Whether it is read from the numbers by day.
    by_day: bool,
}

impl Frame {
    fn named(now: i64, (name, _, steps, step): (&'static str, &'static str, i64, i64)) -> Self {
        let to = (period::hour(now).div_euclid(step) + 1) * step;
        Self {
            name: Some(name),
            from: to - steps * step,
            step,
            steps: usize::try_from(steps).unwrap_or(1),
            to,
            by_day: step >= 24,
        }
    }

    /// From one day to another, the second not included.
    fn days(now: i64, from: i64, to: i64) -> Self {
        let kept = from * 24 >= period::hour(now) - KEPT_HOURS;
        let step = match to - from {
            ..=2 if kept => 1,
            ..=10 if kept => 6,
            ..=92 => 24,
            _ => 7 * 24,
        };
        let hours = (to - from) * 24;
        let steps = usize::try_from((hours + step - 1) / step).unwrap_or(1);
        Self { name: None, from: from * 24, step, steps, to: to * 24, by_day: step >= 24 }
    }

    /// The frame that is asked for; with what is wrong with the question, when it is the first of [`RANGES`] instead.
    fn of(asked: &Asked, now: i64) -> (Self, Option<&'static str>) {
        let first = || Self::named(now, RANGES[0]);
        if asked.from.is_empty() && asked.to.is_empty() {
            let known = RANGES.iter().find(|(name, ..)| *name == asked.range);
            return (known.map_or_else(first, |known| Self::named(now, *known)), None);
        }
        let (from, to) = match audit::range(&asked.from, &asked.to) {
            Ok(days) => days,
            Err(wrong) => return (first(), Some(wrong)),
        };
        let tomorrow = period::day(now) + 1;
        let to = to.map_or(tomorrow, period::day).min(tomorrow);
        let from = from.map_or(to - KEY_DAYS, period::day);
        if from >= to {
            return (first(), Some("That time is yet to come. Choose a first day that is not after today"));
        }
        if to - from > KEPT_DAYS {
            return (first(), Some("Choose at most 400 days: usage is kept no longer"));
        }
        (Self::days(now, from, to), None)
    }

    /// The time before it that is as long.
    fn before(&self) -> Span {
        self.span(2 * self.from - self.to, self.from)
    }

    fn whole(&self) -> Span {
        self.span(self.from, self.to)
    }

    const fn span(&self, from: i64, to: i64) -> Span {
        if self.by_day { Span::Days(period::day_of(from), period::day_of(to)) } else { Span::Hours(from, to) }
    }

    /// The step in which an hour, or a day, lies.
    fn step_of(&self, slot: i64) -> Option<usize> {
        let hour = if self.by_day { slot * 24 } else { slot };
        usize::try_from((hour - self.from).div_euclid(self.step)).ok().filter(|at| *at < self.steps)
    }

    /// When a step begins and ends, Unix milliseconds.
    pub fn times(&self, step: usize) -> (i64, i64) {
        let begins = self.from + i64::try_from(step).unwrap_or(0) * self.step;
        (begins * HOUR_MS, (begins + self.step).min(self.to) * HOUR_MS)
    }
}

/// How many calls were in each class of duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations([u64; ALL_CLASSES]);

impl Durations {
    fn add(&mut self, class: i64, requests: i64) {
        let class = usize::try_from(class).unwrap_or(ALL_CLASSES).min(ALL_CLASSES - 1);
        self.0[class] += count(requests);
    }

    /// How many.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// So many of a hundred calls took no longer than this, milliseconds. Within a class calls are taken to lie evenly. What
    /// lies behind the last end is that end, 10 000.
    #[expect(clippy::cast_precision_loss, reason = "numbers of calls and milliseconds, for people to read")]
    pub fn percentile(&self, of_hundred: u64) -> Option<f64> {
        let wanted = self.total() as f64 * of_hundred as f64 / 100.0;
        let mut before = 0.0;
        for (class, calls) in self.0.iter().enumerate().filter(|(_, calls)| **calls > 0) {
            let calls = *calls as f64;
            if before + calls >= wanted {
                let begins = class.checked_sub(1).map_or(0.0, |class| CLASSES[class] as f64);
                let ends = CLASSES.get(class).map_or(begins, |end| *end as f64);
                return Some(begins + (ends - begins) * ((wanted - before) / calls));
            }
            before += calls;
        }
        None
    }
}

/// One step of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// How long calls took.
    pub durations: Durations,
}

impl Step {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Of these, how many failed or were refused.
    pub fn errors(&self) -> u64 {
        Outcome::ALL.iter().zip(self.outcomes).filter(|(outcome, _)| outcome.is_error()).map(|(_, n)| n).sum()
    }

    fn add(&mut self, outcome: &str, requests: i64) {
        if let Some(at) = Outcome::ALL.iter().position(|known| known.as_str() == outcome) {
            self.outcomes[at] += count(requests);
        }
    }
}

/// What a connector or a tool was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The connector's id.
    pub connector: String,
    /// The connector's name; nothing when it was deleted.
    pub name: Option<String>,
    /// The tool's name upstream; empty for the connector as a whole.
    pub tool: String,
    /// How many calls.
    pub calls: u64,
    /// Of these, how many failed.
    pub errors: u64,
    /// What one took, microseconds.
    pub average_us: i64,
}

/// The monthly quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The organisation's plan.
    pub plan: Plan,
    /// Calls of this month (UTC) so far.
    pub used: u64,
    /// How many there may be; nothing where there is no limit.
    pub most: Option<u64>,
    /// At which parts, in per cent, the organisation is told.
    pub thresholds: Vec<u8>,
    /// When the next month begins, Unix milliseconds.
    pub ends: i64,
}

/// Usage of an organisation over a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which time.
    pub frame: Frame,
    /// Why it is not the one that was asked for.
    pub problem: Option<&'static str>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// All of it.
    pub whole: Step,
    /// The time before it that is as long.
    pub before: Step,
    /// The connectors that were asked most.
    pub connectors: Vec<Named>,
    /// The tools that were called most.
    pub tools: Vec<Named>,
    /// The monthly quota.
    pub quota: Quota,
    /// How long the request log is kept, days.
    pub log_days: u16,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// Calls of one API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// Days since 1970 and calls of each, the oldest first; as many as are shown.
    pub days: Vec<(i64, Calls)>,
    /// All of them.
    pub whole: Calls,
    /// Requests in a minute that the key may make; nothing where there is no limit.
    pub per_minute: Option<u32>,
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// What an organisation used, in the time that is asked for. A wrong question is answered with the last 24 hours, and says so.
pub async fn report(env: &Env, actor: &OrgActor<can::UsageRead>, asked: &Asked) -> Result<Report> {
    let (id, now) = (actor.org(), env.now());
    let (frame, problem) = Frame::of(asked, now);
    let mut tx = env.db.read().await?;
    let org = org(&mut tx, id).await?;
    let chosen = Chosen::read(&mut tx, id).await?;
    let mut steps = vec![Step::default(); frame.steps];
    let mut whole = Step::default();
    for (slot, outcome, requests) in usage_reports::outcomes(&mut tx, id, frame.whole()).await? {
        if let Some(step) = frame.step_of(slot).and_then(|at| steps.get_mut(at)) {
            step.add(&outcome, requests);
            whole.add(&outcome, requests);
        }
    }
    for (slot, class, requests) in usage_reports::latency(&mut tx, id, frame.whole()).await? {
        if let Some(step) = frame.step_of(slot).and_then(|at| steps.get_mut(at)) {
            step.durations.add(class, requests);
            whole.durations.add(class, requests);
        }
    }
    let mut before = Step::default();
    for piece in frame.before().in_days() {
        for (_, outcome, requests) in usage_reports::outcomes(&mut tx, id, piece).await? {
            before.add(&outcome, requests);
        }
        for (_, class, requests) in usage_reports::latency(&mut tx, id, piece).await? {
            before.durations.add(class, requests);
        }
    }
    let (connectors, tools) = top(&mut tx, id, frame.whole()).await?;
    let month = period::month(now);
    let (used, _) = store::usage::month(&mut tx, id, month).await?;
    let quota = Quota {
        plan: org.plan,
        used: count(used),
        most: chosen.limits(org.plan).calls_per_month,
        thresholds: chosen.thresholds.clone(),
        ends: period::month_start(month + 1),
    };
    let log_days = chosen.days(org.plan);
    Ok(Report { frame, problem, steps, whole, before, connectors, tools, quota, log_days, now })
}

/// The connectors and the tools that were called most.
async fn top(tx: &mut Tx, org: OrgId, span: Span) -> Result<(Vec<Named>, Vec<Named>)> {
    let names: Vec<_> =
        store::connectors::list(tx, org).await?.into_iter().map(|c| (c.id.to_string(), c.name)).collect();
    let entry = |connector: String, tool: String, sum: Calls| Named {
        name: names.iter().find(|(id, _)| *id == connector).map(|(_, name)| name.clone()),
        connector,
        tool,
        calls: count(sum.calls),
        errors: count(sum.errors),
        average_us: sum.duration_us / sum.calls.max(1),
    };
    let mut sums: BTreeMap<String, Calls> = BTreeMap::new();
    for piece in span.in_days() {
        for (connector, outcome, calls, duration_us) in usage_reports::connectors(tx, org, piece).await? {
            let errors = if Outcome::parse(&outcome).is_some_and(Outcome::is_error) { calls } else { 0 };
            let sum = sums.entry(connector).or_default();
            *sum = sum.and(Calls { calls, errors, duration_us });
        }
    }
    let mut sums: Vec<(String, Calls)> = sums.into_iter().collect();
    sums.sort_by(|(one, of_one), (other, of_other)| {
        of_other.calls.cmp(&of_one.calls).then_with(|| one.cmp(other))
    });
    sums.truncate(MOST_NAMED);
    let connectors = sums.into_iter().map(|(connector, sum)| entry(connector, String::new(), sum)).collect();
    let most = i64::try_from(MOST_NAMED).unwrap_or(0);
    let tools = usage_reports::tools(tx, org, span, most).await?;
    let tools = tools.into_iter().map(|(connector, tool, sum)| entry(connector, tool, sum)).collect();
    Ok((connectors, tools))
}

/// The kind under which calls of API keys are counted.
const API_KEY: &str = "api_key";

fn last_days(now: i64, calls: &[(i64, Calls)]) -> Vec<(i64, Calls)> {
    let today = period::day(now);
    let of = |day| calls.iter().find(|(known, _)| *known == day).map(|(_, calls)| *calls).unwrap_or_default();
    (today + 1 - KEY_DAYS..=today).map(|day| (day, of(day))).collect()
}

/// Calls of API keys in the last 30 days, in the order of the keys.
pub async fn keys_usage(
    env: &Env,
    actor: &OrgActor<can::UsageRead>,
    keys: &[ApiKeyId],
) -> Result<Vec<KeyUsage>> {
    let (id, now) = (actor.org(), env.now());
    let today = period::day(now);
    let mut tx = env.db.read().await?;
    let org = org(&mut tx, id).await?;
    let per_minute = Chosen::read(&mut tx, id).await?.limits(org.plan).key_per_minute;
    let mut calls: HashMap<String, Vec<(i64, Calls)>> = HashMap::new();
    for (key, day, sum) in
        usage_reports::of_kind(&mut tx, id, API_KEY, today + 1 - KEY_DAYS, today + 1).await?
    {
        calls.entry(key).or_default().push((day, sum));
    }
    let usage = keys.iter().map(|key| {
        let days = last_days(now, calls.get(&key.to_string()).map_or(&[], Vec::as_slice));
        KeyUsage {
            whole: days.iter().fold(Calls::default(), |sum, (_, calls)| sum.and(*calls)),
            days,
            per_minute,
        }
    });
    Ok(usage.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2026-11-21T13:30Z.
    const NOW: i64 = 1_795_267_800_000;

    fn asked(range: &str, from: &str, to: &str) -> Asked {
        Asked { range: range.into(), from: from.into(), to: to.into() }
    }

    #[test]
    fn named_ranges_end_with_the_step_that_runs() {
        for (name, _, steps, step) in RANGES {
            let (frame, problem) = Frame::of(&asked(name, "", ""), NOW);
            assert_eq!((frame.name, frame.step, problem), (Some(*name), *step, None));
            assert_eq!(frame.steps, usize::try_from(*steps).unwrap());
            let (begins, ends) = frame.times(frame.steps - 1);
            assert!(begins <= NOW && NOW < ends, "{name}");
            assert_eq!(frame.times(0).0 / HOUR_MS, frame.from);
        }
        assert_eq!(Frame::of(&asked("year", "", ""), NOW).0.name, Some("24h"));
    }

    #[test]
    fn days_are_whole_and_steps_cover_them() {
        for (from, to, step, steps) in [
            ("2026-11-20", "2026-11-20", 1, 24),
            ("2026-11-12", "2026-11-20", 6, 36),
            ("2026-09-01", "2026-09-02", 24, 2),
            ("2026-09-01", "2026-11-20", 24, 81),
            ("2026-01-01", "2026-11-20", 168, 47),
            // What is yet to come is left out.
            ("2026-11-21", "2027-11-20", 1, 24),
        ] {
            let (frame, problem) = Frame::of(&asked("7d", from, to), NOW);
            assert_eq!((frame.step, frame.steps, problem, frame.name), (step, steps, None, None), "{from}");
            assert_eq!(frame.times(frame.steps - 1).1, frame.to * HOUR_MS);
        }
        let (open, _) = Frame::of(&asked("", "", "2026-11-20"), NOW);
        assert_eq!((open.steps, open.to), (30, (period::day(NOW)) * 24));
        let (open, _) = Frame::of(&asked("", "2026-11-19", ""), NOW);
        assert_eq!((open.steps, open.step), (12, 6));
    }

    #[test]
    fn a_wrong_question_is_answered_with_what_is_wrong() {
        for (from, to) in [
            ("yesterday", ""),
            ("2026-02-30", ""),
            ("2026-11-20", "2026-11-19"),
            ("2026-11-22", ""),
            ("2020-01-01", "2026-11-20"),
        ] {
            let (frame, problem) = Frame::of(&asked("90d", from, to), NOW);
            assert_eq!(frame.name, Some("24h"), "{from}");
            assert!(problem.is_some(), "{from}");
        }
    }

    #[test]
    fn percentiles_lie_within_their_class() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile(95), None);
        // A hundred calls of 5 to 10 ms.
        durations.add(3, 100);
        assert_eq!((durations.percentile(50), durations.percentile(95)), (Some(7.5), Some(9.75)));
        // And ten of more than ten seconds.
        durations.add(13, 10);
        assert_eq!((durations.percentile(95), durations.percentile(99)), (Some(10_000.0), Some(10_000.0)));
        assert_eq!(durations.total(), 110);
    }
}
