//! The real dispatcher among receivers that never answer (WHK-05).

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use domain::testing::{
    TestEnv, TestMember,
    receiver::{Answer, Receiver},
};
use store::Kind;
use tokio_util::sync::CancellationToken;

use crate::webhooks::{add, make_key};

/// Events of those whose receivers answer.
const EVENTS: usize = 100;
/// By when the first attempt of 95 of 100 of them has to arrive.
const SOON: Duration = Duration::from_secs(5);
/// Events that wait for each receiver that hangs when the dispatcher starts.
const BACKLOG: usize = 6;

/// So many receivers that hang, in two organisations, with a backlog; and others in the same organisations and in a third.
async fn those_that_hang_delay_nobody(kind: Kind, hanging: usize) {
    let t = TestEnv::new(kind).await;
    let silent = Receiver::start().await;
    silent.answer(Answer::Hang);
    let orgs = [t.org("acme").await, t.org("bolt").await];
    for n in 0..hanging {
        add(&t.env, orgs[n % 2].org_id(), &format!("{}{n}", silent.url)).await;
    }
    for n in 0..BACKLOG {
        for owner in &orgs {
            make_key(&t.env, owner, &format!("backlog {n}")).await;
        }
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(server::webhooks::run(t.env.clone(), stop.clone()));
    // They hang, as many as may.
    let all_hang = crate::process::until(Duration::from_secs(10), async || {
        silent.received().len() >= hanging.min(50) * 2
    });
    assert!(all_hang.await, "{} deliveries hang", silent.received().len());

    // Whoever answers was added after it, so that nothing of the backlog is theirs.
    let third = t.org("cult").await;
    let good = Receiver::start().await;
    let owners: [&TestMember; 3] = [&orgs[0], &orgs[1], &third];
    for owner in owners {
        add(&t.env, owner.org_id(), &good.url).await;
    }
    let (mut made, mut came) = (HashMap::new(), HashMap::new());
    let look = |came: &mut HashMap<String, Instant>| {
        let now = Instant::now();
        for one in good.received() {
            let name = one.json()["data"]["name"].as_str().unwrap_or_default().to_owned();
            came.entry(name).or_insert(now);
        }
    };
    for n in 0..EVENTS {
        let name = format!("event {n}");
        // Of five events three are of the organisation that has no part in it.
        let owner = owners[[2, 0, 2, 1, 2][n % 5]];
        make_key(&t.env, owner, &name).await;
        made.insert(name, Instant::now());
        tokio::time::sleep(Duration::from_millis(20)).await;
        look(&mut came);
    }
    let end = Instant::now() + SOON * 2;
    while came.len() < EVENTS && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
        look(&mut came);
    }
    let late = |name: &String| came.get(name).map(|at| at.saturating_duration_since(made[name]));
    let mut delays: Vec<_> = made.keys().map(|name| late(name).unwrap_or(Duration::MAX)).collect();
    delays.sort_unstable();
    let p95 = delays[EVENTS * 95 / 100 - 1];
    assert!(
        p95 <= SOON,
        "95 of 100 first attempts within {p95:?}; {} of {EVENTS} arrived, {} hang",
        came.len(),
        silent.received().len()
    );
    // Nobody has more than five at a time, and each arrived once.
    assert!(silent.most_at_once() <= hanging * 5, "{}", silent.most_at_once());
    let ids: HashSet<_> = good.received().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), good.received().len());
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whk_05_fifty_that_hang_delay_nobody_on_sqlite() {
    those_that_hang_delay_nobody(Kind::Sqlite, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whk_05_fifty_that_hang_delay_nobody_on_postgres() {
    those_that_hang_delay_nobody(Kind::Postgres, 60).await;
}
