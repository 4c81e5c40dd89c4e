//! Limits that nodes share, usage and the request log, on both databases.

mod reports;

use std::{collections::HashMap, sync::Arc};

use domain::{
    Env,
    dataplane::{Access, Directory, OrgPlane, PlaneScope, Planes, Principal},
    env_test,
    testing::{TestEnv, TestMember},
    usage::{self, Ledger, LeftOut, Record, Recorder, period},
};
use model::{
    Limits, Plan,
    activity::{LogSearch as Search, Outcome, Timings},
    permissions::can,
    plan::Override,
};

/// Another node on the same database.
fn other_node(t: &TestEnv) -> Env {
    let mut other = t.env.clone();
    other.changes = domain::env::Changes::default();
    other
}

async fn plane(env: &Env, org: &TestMember) -> Arc<OrgPlane> {
    Planes::load(env.clone()).await.unwrap().plane(org.org_id()).await.unwrap().unwrap()
}

fn record(plane: &Arc<OrgPlane>, now: i64, tool: &str, outcome: Outcome) -> Record {
    let access = Access {
        principal: Principal::Machine("nightly".into()),
        scope: PlaneScope::All,
        expires_at: None,
        grant: None,
    };
    Record {
        plane: Arc::clone(plane),
        access: Arc::new(access),
        began: now - 3,
        ended: now,
        method: "tools/call".into(),
        connector: plane.connectors.first().cloned(),
        tool: tool.into(),
        outcome,
        status: 200,
        code: None,
        message: String::new(),
        timings: Timings { total: 3000, ..Timings::default() },
        bytes_in: 10,
        bytes_out: 20,
        upstream_requests: 1,
        counted: true,
        request_id: "req-1".into(),
        trace_id: None,
        client: "test\u{0}-client".into(),
        address: None,
        bodies: None,
    }
}

env_test!(rlm_03_the_quota_is_exact_with_two_nodes_at_its_edge, |t| async {
    let org = t.org("acme").await.org_id();
    let month = period::month(t.env.now());
    let nodes = [t.env.clone(), other_node(&t)];
    let mut asking = Vec::new();
    for n in 0..40 {
        let node = nodes[n % 2].clone();
        asking.push(tokio::spawn(async move {
            let mut got = 0;
            while let Ok(reserved) = node.reserve(org, month, 997, 5).await
                && reserved.granted > 0
            {
                got += reserved.granted;
            }
            got
        }));
    }
    let mut all = 0;
    for asked in asking {
        all += asked.await.unwrap();
    }
    assert_eq!(all, 997);
    // What one gives back the other gets, and no more.
    nodes[0].give_back(org, month, 3).await.unwrap();
    assert_eq!(nodes[1].reserve(org, month, 997, 1).await.unwrap().granted, 1);
    assert_eq!(nodes[1].reserve(org, month, 997, 5).await.unwrap().granted, 1);
    // A new month begins anew; a raised quota counts at once.
    assert!(nodes[0].reserve(org, month + 1, 997, 5).await.unwrap().granted > 0);
    assert_eq!(nodes[0].reserve(org, month, 2000, 5).await.unwrap().granted, 5);
});

env_test!(rlm_03_a_rate_is_one_rate_on_two_nodes, |t| async {
    let org = t.org("acme").await.org_id();
    let nodes = [t.env.clone(), other_node(&t)];
    let now = t.env.now() * 1000;
    let mut asking = Vec::new();
    for n in 0..20 {
        let node = nodes[n % 2].clone();
        asking.push(tokio::spawn(async move {
            let mut got = 0;
            loop {
                let taken = node.take(org, "key", 60, 7, now).await.unwrap();
                if taken.granted == 0 {
                    assert_eq!(taken.wait_us, 1_000_000);
                    return got;
                }
                got += taken.granted;
            }
        }));
    }
    let mut all = 0;
    for asked in asking {
        all += asked.await.unwrap();
    }
    assert_eq!(all, 60);
    // Each second gives one; another bucket is another rate.
    assert_eq!(nodes[1].take(org, "key", 60, 7, now + 2_000_000).await.unwrap().granted, 2);
    assert_eq!(nodes[1].take(org, "other", 60, 7, now).await.unwrap().granted, 7);
});

env_test!(rlm_03_calls_that_were_made_count_after_a_restart, |t| async {
    let owner = t.org("acme").await;
    let (org, month) = (owner.org_id(), period::month(t.env.now()));
    let plane = plane(&t.env, &owner).await;
    let recorder = Recorder::default();
    for _ in 0..7 {
        recorder.note(record(&plane, t.env.now(), "echo", Outcome::Ok));
    }
    recorder.flush(&t.env).await.unwrap();
    // Another process: nothing of the first is left but what it wrote.
    let next = other_node(&t);
    let mut got = 0;
    while let Ok(reserved) = next.reserve(org, month, 10, 5).await
        && reserved.granted > 0
    {
        got += reserved.granted;
    }
    assert_eq!(got, 3);
});

env_test!(rlm_05_each_threshold_is_told_once_with_two_nodes, |t| async {
    let owner = t.org("acme").await;
    let org = owner.org_id();
    usage::set_limits(&t.env, org, None, Some(Override::At(10))).await.unwrap();
    let plane = plane(&t.env, &owner).await;
    assert_eq!(plane.policy.limits.calls_per_month, Some(10));
    let nodes = [(t.env.clone(), Recorder::default()), (other_node(&t), Recorder::default())];
    let told = async || {
        let mut tx = t.env.db.read().await.unwrap();
        let actions = store::audit::list_actions(&mut tx, Some(org)).await.unwrap();
        actions.iter().filter(|(action, _)| action == "usage.threshold").count()
    };
    let mut seen = Vec::new();
    for n in 0..12 {
        let (env, recorder) = &nodes[n % 2];
        recorder.note(record(&plane, env.now(), "echo", Outcome::Ok));
        // Both at once, so that either may be the one that notices.
        let (one, other) = tokio::join!(nodes[0].1.flush(&nodes[0].0), nodes[1].1.flush(&nodes[1].0));
        one.and(other).unwrap();
        seen.push(told().await);
    }
    assert_eq!(seen, [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]);
    // A process that starts later tells nothing again; a new month does.
    let later = Recorder::default();
    later.note(record(&plane, t.env.now(), "echo", Outcome::Ok));
    later.flush(&t.env).await.unwrap();
    assert_eq!(told().await, 3);
    t.clock.advance(period::month_start(period::month(t.env.now()) + 1) - t.env.now());
    for _ in 0..5 {
        later.note(record(&plane, t.env.now(), "echo", Outcome::Ok));
    }
    later.flush(&t.env).await.unwrap();
    assert_eq!(told().await, 4);
});

/// What was told of an organisation's quota: threshold and use, in the order of the events.
async fn told_of(t: &TestEnv, owner: &TestMember) -> Vec<(i64, i64)> {
    let mut tx = t.env.db.read().await.unwrap();
    let events = store::outbox::list(&mut tx, owner.org_id()).await.unwrap();
    let told = events.into_iter().filter(|(event, _)| event == "usage.threshold").map(|(_, data)| {
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        (data["threshold"].as_i64().unwrap(), data["used"].as_i64().unwrap())
    });
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    told
}

/// Counts calls as a process does that is killed before it tells of them.
async fn count(t: &TestEnv, owner: &TestMember, calls: i64) {
    let mut tx = t.env.db.write().await.unwrap();
    let month = period::month(t.env.now());
    store::usage::add_used(&mut tx, owner.org_id(), month, calls).await.unwrap().expect("it is there");
    tx.commit().await.unwrap();
}

env_test!(whk_02_rlm_05_what_was_counted_and_not_told_is_told_by_the_next_process, |t| async {
    let (acme, bolt) = (t.org("acme").await, t.org("bolt").await);
    for org in [&acme, &bolt] {
        usage::set_limits(&t.env, org.org_id(), None, Some(Override::At(10))).await.unwrap();
    }
    count(&t, &acme, 8).await;
    count(&t, &bolt, 4).await;
    assert_eq!(told_of(&t, &acme).await, []);
    // Two processes start at once.
    let other = other_node(&t);
    let (one, two) = tokio::join!(usage::tell_due(&t.env), usage::tell_due(&other));
    one.and(two).unwrap();
    assert_eq!((told_of(&t, &acme).await, told_of(&t, &bolt).await), (vec![(50, 8), (80, 8)], vec![]));
    // What is told already is not told by whoever counts on, and the last calls of a month count for that month.
    let recorder = Recorder::default();
    recorder.note(record(&plane(&t.env, &acme).await, t.env.now(), "echo", Outcome::Ok));
    recorder.flush(&t.env).await.unwrap();
    assert_eq!(told_of(&t, &acme).await.len(), 2);
    count(&t, &bolt, 1).await;
    t.clock.advance(period::month_start(period::month(t.env.now()) + 1) - t.env.now() + 1000);
    usage::tell_due(&t.env).await.unwrap();
    assert_eq!((told_of(&t, &acme).await.len(), told_of(&t, &bolt).await), (2, vec![(50, 5)]));
});

env_test!(rlm_05_a_limit_that_falls_below_what_was_used_is_told_at_once_and_once, |t| async {
    let acme = t.org("acme").await;
    let org = acme.org_id();
    count(&t, &acme, 900).await;
    usage::tell_due(&t.env).await.unwrap();
    assert_eq!(told_of(&t, &acme).await, [], "without a quota there is none to use up");
    // By the plan that an owner chooses, by the operator's, and by the operator's limit.
    let owner = acme.guarded::<can::BillingManage>().await;
    domain::plans::change(&acme.ctx, &owner, "free").await.unwrap();
    assert_eq!(told_of(&t, &acme).await, [(50, 900), (80, 900)]);
    usage::set_limits(&t.env, org, None, Some(Override::At(900))).await.unwrap();
    assert_eq!(told_of(&t, &acme).await, [(50, 900), (80, 900), (100, 900)]);
    usage::set_limits(&t.env, org, None, Some(Override::At(5))).await.unwrap();
    let change = domain::orgs::OperatorChanges { plan: Some(Plan::Pro), ..Default::default() };
    domain::orgs::set_by_operator(&t.env, org, change).await.unwrap();
    usage::tell_due(&t.env).await.unwrap();
    assert_eq!(told_of(&t, &acme).await.len(), 3);
    let bolt = t.org("bolt").await;
    count(&t, &bolt, 600).await;
    let change = domain::orgs::OperatorChanges { plan: Some(Plan::Free), ..Default::default() };
    domain::orgs::set_by_operator(&t.env, bolt.org_id(), change).await.unwrap();
    assert_eq!(told_of(&t, &bolt).await, [(50, 600)]);
});

env_test!(rlm_05_an_organisation_that_ends_meanwhile_keeps_no_other_from_hearing, |t| async {
    let (acme, bolt) = (t.org("acme").await, t.org("bolt").await);
    let recorder = Recorder::default();
    for org in [&acme, &bolt] {
        usage::set_limits(&t.env, org.org_id(), None, Some(Override::At(2))).await.unwrap();
        recorder.note(record(&plane(&t.env, org).await, t.env.now(), "echo", Outcome::Ok));
    }
    // It is in the batch and first in it, and its row is still there.
    let actor = acme.guarded::<can::OrgDelete>().await;
    let shown = domain::mfa::Shown::Code("");
    domain::org_deletion::delete(&acme.ctx, &actor, "acme", domain::testing::PASSWORD, shown).await.unwrap();
    recorder.flush(&t.env).await.unwrap();
    assert_eq!((told_of(&t, &acme).await, told_of(&t, &bolt).await), (vec![], vec![(50, 1)]));
    usage::tell_due(&t.env).await.unwrap();
    assert_eq!(told_of(&t, &bolt).await.len(), 1);
});

env_test!(requests_are_written_searched_and_forgotten, |t| async {
    let (owner, other) = (t.org("acme").await, t.org("bolt").await);
    domain::connectors::add_demo(&t.env, &owner.actor::<can::ConnectorsWrite>().await).await.unwrap();
    let plane = plane(&t.env, &owner).await;
    let recorder = Recorder::default();
    for n in 0..120 {
        let outcome = if n % 10 == 0 { Outcome::UpstreamError } else { Outcome::Ok };
        recorder.note(record(&plane, t.env.now(), if n % 2 == 0 { "echo" } else { "add" }, outcome));
    }
    recorder.flush(&t.env).await.unwrap();
    let reader = owner.actor::<can::LogsRead>().await;
    // Machines have neither key nor connection; what they call is a call all the same.
    let overview = domain::orgs::overview(&t.env, &owner.actor().await).await.unwrap();
    assert_eq!(overview.last_call_at, Some(t.env.now() - 3));
    let search = async |search: Search| usage::list(&t.env, &reader, &search).await.unwrap();
    let page = search(Search::default()).await;
    assert_eq!((page.lines.len(), page.any), (50, true));
    // In the order in which they ended, also within a millisecond.
    assert_eq!((page.lines[0].tool.as_str(), page.lines[1].tool.as_str()), ("add", "echo"));
    let mut all = page.lines.len();
    let mut next = page.next;
    while let Some(before) = next {
        let page = search(Search { before: before.to_string(), ..Search::default() }).await;
        all += page.lines.len();
        next = page.next;
    }
    assert_eq!(all, 120);
    let count = async |search: Search| usage::list(&t.env, &reader, &search).await.unwrap().lines.len();
    assert_eq!(count(Search { outcome: "upstream_error".into(), ..Search::default() }).await, 12);
    assert_eq!(count(Search { q: "T-CLIENT".into(), ..Search::default() }).await, 50);
    for nothing in ["%", "_", "nobody", "\\"] {
        assert_eq!(count(Search { q: nothing.into(), ..Search::default() }).await, 0, "{nothing}");
    }
    assert_eq!(count(Search { tool: "ech".into(), ..Search::default() }).await, 0);
    assert_eq!(
        count(Search { principal: "nightly".into(), range: "1h".into(), ..Search::default() }).await,
        50
    );
    let connector = plane.connectors[0].id.to_string();
    assert_eq!(count(Search { connector, ..Search::default() }).await, 50);
    assert_eq!(page.choices.principals, [("nightly".to_owned(), "nightly".to_owned())]);
    // Whole, and only for its own organisation (TEN-01).
    let entry = usage::entry(&t.env, &reader, page.lines[0].id).await.unwrap();
    assert_eq!((entry.request_id.as_str(), entry.client.as_str()), ("req-1", "test-client"));
    assert_eq!((entry.timings.total, entry.bytes_out, entry.trace_id.len()), (3000, 20, 32));
    let foreign = other.actor::<can::LogsRead>().await;
    assert!(usage::entry(&t.env, &foreign, entry.line.id).await.is_err());
    assert!(usage::list(&t.env, &foreign, &Search::default()).await.unwrap().lines.is_empty());
    // Whoever watches sees what ended since.
    assert_eq!(usage::newer(&t.env, &reader, &Search::default(), t.env.now()).await.unwrap().len(), 100);
    assert!(usage::newer(&t.env, &reader, &Search::default(), t.env.now() + 1).await.unwrap().is_empty());
    // Usage in numbers.
    let mut tx = t.env.db.read().await.unwrap();
    let day = period::day(t.env.now());
    let days = store::usage::list_days(&mut tx, owner.org_id(), day, day).await.unwrap();
    assert_eq!(
        days.iter().map(|d| (d.tool.as_str(), d.calls, d.errors)).collect::<Vec<_>>(),
        [("add", 60, 0), ("echo", 60, 12)]
    );
    assert_eq!(days[0].bytes_out, 1200);
    drop(tx);
    // Seven days, then it is gone; usage stays.
    t.clock.advance(7 * 24 * 60 * 60 * 1000 - 1);
    usage::clean(&t.env).await.unwrap();
    assert_eq!(count(Search::default()).await, 50);
    t.clock.advance(2);
    usage::clean(&t.env).await.unwrap();
    assert_eq!(count(Search::default()).await, 0);
    let mut tx = t.env.db.read().await.unwrap();
    assert_eq!(store::usage::list_days(&mut tx, owner.org_id(), day, day).await.unwrap().len(), 2);
});

env_test!(arguments_and_results_are_kept_only_where_somebody_chose_so, |t| async {
    let owner = t.org("acme").await;
    let security = owner.actor::<can::SecurityManage>().await;
    let reader = owner.actor::<can::LogsRead>().await;
    assert!(!plane(&t.env, &owner).await.policy.log_bodies);
    usage::set(&t.env, &security, true, "14", "90, 50%").await.unwrap();
    let settings = usage::settings(&t.env, &reader).await.unwrap();
    assert_eq!((settings.bodies, settings.days, settings.thresholds), (true, 14, vec![50, 90]));
    for (days, thresholds) in [("0", "50"), ("366", "50"), ("x", "50"), ("7", "0"), ("7", "101"), ("7", "a")]
    {
        assert!(usage::set(&t.env, &security, true, days, thresholds).await.is_err(), "{days} {thresholds}");
    }
    let plane = plane(&t.env, &owner).await;
    assert!(plane.policy.log_bodies);
    let recorder = Recorder::default();
    let mut with = record(&plane, t.env.now(), "echo", Outcome::Ok);
    with.bodies = Some((r#"{"password":"hunter2","q":"x"}"#.into(), r#"{"content":[]}"#.into()));
    recorder.note(with);
    recorder.flush(&t.env).await.unwrap();
    let page = usage::list(&t.env, &reader, &Search::default()).await.unwrap();
    let bodies = usage::entry(&t.env, &reader, page.lines[0].id).await.unwrap().bodies.unwrap();
    assert_eq!(bodies.arguments, r#"{"password":"[redacted]","q":"x"}"#);
    assert_eq!(bodies.result, r#"{"content":[]}"#);
    // On disk nothing of it can be read.
    let mut tx = t.env.db.read().await.unwrap();
    let stored = store::request_log::find(&mut tx, owner.org_id(), page.lines[0].id).await.unwrap().unwrap();
    let sealed = stored.bodies.unwrap();
    assert!(!sealed.windows(7).any(|part| part == b"content"));
    let actions = store::audit::list_actions(&mut tx, Some(owner.org_id())).await.unwrap();
    assert_eq!(actions.iter().filter(|(a, _)| a == "settings.activity_updated").count(), 1);
});

env_test!(what_cannot_be_written_waits_and_an_organisation_that_is_gone_holds_up_nobody, |t| async {
    let owner = t.org("acme").await;
    let plane = plane(&t.env, &owner).await;
    let gone = Arc::new(OrgPlane {
        org: model::OrgId::from_uuid(uuid::Uuid::from_u128(99)),
        keys: HashMap::new(),
        ..OrgPlane::clone(&plane)
    });
    let recorder = Recorder::default();
    recorder.note(record(&gone, t.env.now(), "echo", Outcome::Ok));
    recorder.note(record(&plane, t.env.now(), "echo", Outcome::Ok));
    recorder.flush(&t.env).await.unwrap();
    let reader = owner.actor::<can::LogsRead>().await;
    let count = async || usage::list(&t.env, &reader, &Search::default()).await.unwrap().lines.len();
    assert_eq!(count().await, 1);
    // A database that is away: everything is there when it is back, and the log no more than has room.
    let mut away = t.env.clone();
    away.db = store::testing::TestDb::new(t.env.db.kind()).await.db;
    away.db.close().await;
    for _ in 0..10_050 {
        recorder.note(record(&plane, t.env.now(), "echo", Outcome::Ok));
    }
    assert!(recorder.flush(&away).await.is_err());
    // Until then nobody knew that it was away: it could as well have been slow.
    assert_eq!((recorder.waiting_now(), recorder.left_out()), (10_000, LeftOut { slow: 50, away: 0 }));
    for _ in 0..7 {
        recorder.note(record(&plane, t.env.now(), "echo", Outcome::Ok));
    }
    assert_eq!(recorder.left_out(), LeftOut { slow: 50, away: 7 });
    assert_eq!(usage::left_out_by(&t.env).await.unwrap(), []);
    recorder.flush(&t.env).await.unwrap();
    // It is told when it is over, and once.
    recorder.flush(&t.env).await.unwrap();
    recorder.flush(&t.env).await.unwrap();
    let told = usage::left_out_by(&t.env).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].count, told[0].at), (LeftOut { slow: 50, away: 7 }, t.env.now()));
    let mut tx = t.env.db.read().await.unwrap();
    let (used, _) = store::usage::month(&mut tx, owner.org_id(), period::month(t.env.now())).await.unwrap();
    assert_eq!(used, 10_058);
});

env_test!(the_operator_sets_limits_in_place_of_the_plans, |t| async {
    let owner = t.org("acme").await;
    let org = owner.org_id();
    let limits = async || plane(&t.env, &owner).await.policy.limits;
    assert_eq!(limits().await, Limits::default());
    let change = domain::orgs::OperatorChanges { plan: Some(Plan::Free), ..Default::default() };
    domain::orgs::set_by_operator(&t.env, org, change).await.unwrap();
    assert_eq!((limits().await.calls_per_month, limits().await.key_per_minute), (Some(1000), Some(60)));
    usage::set_limits(&t.env, org, Some(Override::At(7)), Some(Override::Unlimited)).await.unwrap();
    assert_eq!((limits().await.calls_per_month, limits().await.key_per_minute), (None, Some(7)));
    usage::set_limits(&t.env, org, Some(Override::Plan), None).await.unwrap();
    assert_eq!((limits().await.calls_per_month, limits().await.key_per_minute), (None, Some(60)));
    // The log of a small plan is not kept for longer than that plan allows.
    let security = owner.actor::<can::SecurityManage>().await;
    assert!(usage::set(&t.env, &security, false, "8", "50").await.is_err());
});

env_test!(an_owner_changes_the_plan_and_the_limits_hold_at_once, |t| async move {
    let acme = t.org("acme").await;
    let admin = t.member(&acme, "boss", model::Role::Admin).await;
    let refused = domain::OrgActor::<can::BillingManage>::require(&admin.ctx).await.unwrap_err().into_app("");
    assert_eq!(refused.kind, model::ErrorKind::Forbidden);
    let planes = domain::dataplane::Planes::load(t.env.clone()).await.unwrap();
    let limit = async || {
        let plane =
            domain::dataplane::Directory::plane(planes.as_ref(), acme.org_id()).await.unwrap().unwrap();
        plane.policy.limits.calls_per_month
    };
    assert_eq!(limit().await, None);
    let owner = acme.guarded::<can::BillingManage>().await;
    assert!(domain::plans::change(&acme.ctx, &owner, "platinum").await.is_err());
    for _ in 0..2 {
        domain::plans::change(&acme.ctx, &owner, "free").await.unwrap();
    }
    assert_eq!(limit().await, Some(1000));
    let shown = domain::plans::overview(&t.env, &admin.actor().await).await.unwrap();
    assert_eq!((shown.plan, shown.used), (model::Plan::Free, 0));
    let mut tx = t.env.db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, acme.org_id(), 10).await.unwrap();
    let changed: Vec<_> = lines.iter().filter(|line| line.action == "billing.plan_changed").collect();
    assert_eq!(changed.len(), 1, "once, though asked for twice");
});
