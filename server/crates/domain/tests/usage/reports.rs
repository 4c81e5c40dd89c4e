//! Usage over a time: what charts show is what the log would have said, and nobody sees another's.

use std::collections::BTreeMap;

use domain::usage::{Asked, Calls, Report};
use model::{ApiKeyId, ConnectorId, activity::LogLine};

use super::*;

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// Numbers that look like chance and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 20).unwrap() % most
    }
}

fn asked(range: &str, from: &str, to: &str) -> Asked {
    Asked { range: range.into(), from: from.into(), to: to.into() }
}

/// The day of a time, as it is written.
fn date(at: i64) -> String {
    let month = period::month(at);
    format!("{}-{:02}", period::month_name(month), (at - period::month_start(month)) / DAY + 1)
}

/// Every request of a time that the log has.
async fn scan(t: &TestEnv, org: &TestMember, range: &str) -> Vec<LogLine> {
    let reader = org.actor::<can::LogsRead>().await;
    let (mut lines, mut before) = (Vec::new(), String::new());
    loop {
        let search = Search { range: range.into(), before, ..Search::default() };
        let page = usage::list(&t.env, &reader, &search).await.unwrap();
        lines.extend(page.lines);
        match page.next {
            Some(next) => before = next.to_string(),
            None => return lines,
        }
    }
}

/// A time as the log's address has it.
fn interval(begins: i64, ends: i64) -> String {
    let minute = |at: i64| {
        let day = date(at);
        format!("{day}T{:02}:00Z", at.rem_euclid(DAY) / HOUR)
    };
    format!("{}/{}", minute(begins), minute(ends))
}

fn by_outcome(lines: &[LogLine]) -> [u64; 8] {
    let mut counts = [0; 8];
    for line in lines {
        counts[Outcome::ALL.iter().position(|outcome| *outcome == line.outcome).unwrap()] += 1;
    }
    counts
}

/// What the report says of connectors and tools, and what a scan of the log says of them.
fn assert_top(report: &Report, lines: &[LogLine]) {
    let mut tools: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut calls, mut errors) = (0, 0);
    for line in lines.iter().filter(|line| !line.connector.is_empty()) {
        let failed = u64::from(line.outcome.is_error());
        calls += 1;
        errors += failed;
        let tool = tools.entry(&line.tool).or_default();
        *tool = (tool.0 + 1, tool.1 + failed);
    }
    let told: BTreeMap<_, _> =
        report.tools.iter().map(|named| (named.tool.as_str(), (named.calls, named.errors))).collect();
    assert_eq!(told, tools);
    let connectors: Vec<_> = report.connectors.iter().map(|named| (named.calls, named.errors)).collect();
    assert_eq!(connectors, if calls == 0 { vec![] } else { vec![(calls, errors)] });
    assert!(report.tools.is_sorted_by(|one, other| one.calls >= other.calls));
    assert!(report.tools.iter().all(|named| named.name.as_deref() == Some("Demo")), "{:?}", report.tools);
}

env_test!(usage_over_a_time_is_what_a_scan_of_the_log_says, |t| async {
    let (owner, other) = (t.org("acme").await, t.org("bolt").await);
    let security = owner.actor::<can::SecurityManage>().await;
    usage::set(&t.env, &security, false, "90", "50").await.unwrap();
    for org in [&owner, &other] {
        domain::connectors::add_demo(&t.env, &org.actor::<can::ConnectorsWrite>().await).await.unwrap();
    }
    let (acme, bolt) = (plane(&t.env, &owner).await, plane(&t.env, &other).await);
    let nodes = [(t.env.clone(), Recorder::default()), (other_node(&t), Recorder::default())];
    let (now, mut dice) = (t.env.now(), Dice(7));
    for n in 0..1500 {
        // More of late, some as long ago as no chart by the hour shows, some at the very edge of an hour.
        let back = match n % 5 {
            0 => dice.below(24 * HOUR),
            1 => dice.below(24) * HOUR + now.rem_euclid(HOUR),
            2 => dice.below(7 * DAY),
            _ => dice.below(60 * DAY),
        };
        let outcome = Outcome::ALL[usize::try_from(dice.below(8)).unwrap()];
        let tool = ["echo", "add", "time"][usize::try_from(dice.below(3)).unwrap()];
        let mut record = record(if n % 7 == 0 { &bolt } else { &acme }, now - back, tool, outcome);
        record.timings.total = 1000 << dice.below(15);
        if dice.below(9) == 0 {
            record.connector = None;
        }
        let (env, recorder) = &nodes[n % 2];
        recorder.note(record);
        if n % 97 == 0 {
            recorder.flush(env).await.unwrap();
        }
    }
    for (env, recorder) in &nodes {
        recorder.flush(env).await.unwrap();
    }
    let reader = owner.actor::<can::UsageRead>().await;
    let day = |back: i64| date(now - back * DAY);
    let questions = [
        asked("24h", "", ""),
        asked("7d", "", ""),
        asked("30d", "", ""),
        asked("90d", "", ""),
        asked("", &day(1), &day(1)),
        asked("", &day(8), &day(2)),
        asked("", &day(45), &day(44)),
        asked("", &day(100), &day(0)),
    ];
    for question in questions {
        let report = usage::report(&t.env, &reader, &question).await.unwrap();
        assert_eq!(report.problem, None, "{question:?}");
        let (from, to) = (report.frame.times(0).0, report.frame.times(report.steps.len() - 1).1);
        let lines = scan(&t, &owner, &interval(from, to)).await;
        assert_eq!(report.whole.outcomes, by_outcome(&lines), "{question:?}");
        assert_eq!(report.whole.requests(), u64::try_from(lines.len()).unwrap());
        assert!(!lines.is_empty());
        assert_top(&report, &lines);
        for (at, step) in report.steps.iter().enumerate() {
            let (begins, ends) = report.frame.times(at);
            // `at` of a line is when it began, three milliseconds before it ended.
            let within: Vec<_> =
                lines.iter().filter(|line| (begins..ends).contains(&(line.at + 3))).cloned().collect();
            assert_eq!(step.outcomes, by_outcome(&within), "{question:?}, step {at}");
            let calls = within.iter().filter(|line| !line.connector.is_empty()).count();
            assert_eq!(step.durations.total(), u64::try_from(calls).unwrap());
        }
        let before = scan(&t, &owner, &interval(2 * from - to, from)).await;
        assert_eq!(report.before.outcomes, by_outcome(&before), "{question:?}, before");
    }
    // From 1 ms to 16 s, each twice the one before: within a class a percentile is at most a class off.
    let report = usage::report(&t.env, &reader, &asked("90d", "", "")).await.unwrap();
    let month = scan(&t, &owner, &interval(period::month_start(period::month(now)), now + HOUR)).await;
    assert_eq!(report.quota.used, u64::try_from(month.len()).unwrap());
    let (p50, p95) =
        (report.whole.durations.percentile(50).unwrap(), report.whole.durations.percentile(95).unwrap());
    assert!((64.0..=256.0).contains(&p50) && p95 >= 5000.0, "{p50} {p95}");
});

env_test!(ten_01_nobody_sees_the_usage_of_another_organisation, |t| async {
    let (owner, other) = (t.org("acme").await, t.org("bolt").await);
    domain::connectors::add_demo(&t.env, &owner.actor::<can::ConnectorsWrite>().await).await.unwrap();
    let plane = plane(&t.env, &owner).await;
    let recorder = Recorder::default();
    let key = ApiKeyId::from_uuid(uuid::Uuid::from_u128(7));
    let mut used = record(&plane, t.env.now(), "echo", Outcome::Ok);
    used.access = Arc::new(Access { principal: Principal::ApiKey(key), ..Access::clone(&used.access) });
    recorder.note(used.clone());
    recorder.note(Record { outcome: Outcome::ToolError, ended: t.env.now() - 3 * DAY, ..used });
    recorder.flush(&t.env).await.unwrap();
    let ask = asked("7d", "", "");
    let own = usage::report(&t.env, &owner.actor().await, &ask).await.unwrap();
    assert_eq!((own.whole.requests(), own.whole.errors(), own.tools.len(), own.quota.used), (2, 1, 1, 2));
    let foreign = usage::report(&t.env, &other.actor().await, &ask).await.unwrap();
    assert_eq!((foreign.whole.requests(), foreign.tools.len(), foreign.quota.used), (0, 0, 0));
    assert!(foreign.connectors.is_empty());
    // One key's calls, in the order of the keys that are asked for; another organisation's key was never used.
    let unused = ApiKeyId::from_uuid(uuid::Uuid::from_u128(8));
    let keys = usage::keys_usage(&t.env, &owner.actor().await, &[unused, key]).await.unwrap();
    assert_eq!(keys[0].whole, Calls::default());
    assert_eq!(keys[1].whole, Calls { calls: 2, errors: 1, duration_us: 6000 });
    assert_eq!((keys[1].days.len(), keys[1].days[29].1.calls, keys[1].days[26].1.errors), (30, 1, 1));
    let keys = usage::keys_usage(&t.env, &other.actor().await, &[key]).await.unwrap();
    assert_eq!(keys[0].whole, Calls::default());
    // Whoever may not see usage does not get the proof that is asked for.
    let member = t.member(&owner, "m", model::Role::Member).await;
    assert!(domain::OrgActor::<can::UsageRead>::require(&member.ctx).await.is_err());
});

env_test!(usage_by_the_hour_is_kept_for_weeks_and_by_the_day_for_a_year, |t| async {
    let owner = t.org("acme").await;
    domain::connectors::add_demo(&t.env, &owner.actor::<can::ConnectorsWrite>().await).await.unwrap();
    let plane = plane(&t.env, &owner).await;
    let recorder = Recorder::default();
    recorder.note(record(&plane, t.env.now(), "echo", Outcome::Ok));
    recorder.flush(&t.env).await.unwrap();
    let began = t.env.now();
    let day = date(began);
    let seen = async || {
        usage::clean(&t.env).await.unwrap();
        let reader = owner.actor::<can::UsageRead>().await;
        let report = usage::report(&t.env, &reader, &asked("", &day, &day)).await.unwrap();
        (report.frame.step, report.whole.requests(), report.tools.len(), report.whole.durations.total())
    };
    assert_eq!(seen().await, (1, 1, 1, 1));
    // What was by the hour is then by the day.
    t.clock.advance(40 * DAY);
    assert_eq!(seen().await, (24, 1, 1, 1));
    t.clock.advance(359 * DAY);
    assert_eq!(seen().await, (24, 1, 1, 1));
    t.clock.advance(2 * DAY);
    assert_eq!(seen().await, (24, 0, 0, 0));
});

env_test!(rlm_05_two_nodes_that_race_publish_each_threshold_once, |t| async {
    let owner = t.org("acme").await;
    let org = owner.org_id();
    let security = owner.actor::<can::SecurityManage>().await;
    // Other thresholds than those that hold unless somebody chose.
    usage::set(&t.env, &security, false, "7", "20, 60, 100").await.unwrap();
    usage::set_limits(&t.env, org, None, Some(Override::At(100))).await.unwrap();
    let plane = plane(&t.env, &owner).await;
    let nodes = [t.env.clone(), other_node(&t)];
    let mut racing = Vec::new();
    for n in 0..8 {
        // A process each: none of them knows what another has told.
        let (env, plane) = (nodes[n % 2].clone(), Arc::clone(&plane));
        racing.push(tokio::spawn(async move {
            let recorder = Recorder::default();
            for _ in 0..15 {
                recorder.note(record(&plane, env.now(), "echo", Outcome::Ok));
                recorder.flush(&env).await.unwrap();
            }
        }));
    }
    for node in racing {
        node.await.unwrap();
    }
    let mut tx = t.env.db.read().await.unwrap();
    let mut told: Vec<_> = store::outbox::list(&mut tx, org)
        .await
        .unwrap()
        .into_iter()
        .filter(|(event, _)| event == "usage.threshold")
        .map(|(_, payload)| {
            let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
            payload["threshold"].as_u64().unwrap()
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told, [20, 60, 100]);
    let (used, _) = store::usage::month(&mut tx, org, period::month(t.env.now())).await.unwrap();
    assert_eq!(used, 120);
});

// A connector that is gone is told as such, and its numbers stay.
env_test!(what_a_deleted_connector_was_used_for_is_still_counted, |t| async {
    let owner = t.org("acme").await;
    let plane = plane(&t.env, &owner).await;
    let recorder = Recorder::default();
    let mut called = record(&plane, t.env.now(), "echo", Outcome::Ok);
    let added = t.org("bolt").await;
    domain::connectors::add_demo(&t.env, &added.actor::<can::ConnectorsWrite>().await).await.unwrap();
    called.connector = super::plane(&t.env, &added).await.connectors.first().cloned();
    recorder.note(called);
    recorder.flush(&t.env).await.unwrap();
    let report = usage::report(&t.env, &owner.actor().await, &asked("24h", "", "")).await.unwrap();
    assert_eq!((report.tools.len(), report.tools[0].name.clone()), (1, None));
    assert!(report.tools[0].connector.parse::<ConnectorId>().is_ok());
});
