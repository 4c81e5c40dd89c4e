//! Domains of organisations' own on both databases, with a name server in the process (TEN-06).

use domain::{
    Env, Error, OrgActor, Result,
    custom_domain::{add, check_due, page, remove, verify},
    dataplane::{Directory as _, Planes},
    env::Changes,
    env_test,
    orgs::{self, OperatorChanges},
    suspension,
    testing::{NameServer, TestEnv, TestMember},
};
use model::{
    AppError, ErrorKind, Plan, Role,
    custom_domain::{CustomDomain, DomainState},
    permissions::can,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const HOST: &str = "api.acme.com";
const TARGET: &str = "gateway.gate.test";

fn refused<T>(result: Result<T>) -> AppError {
    match result {
        Err(Error::App(error)) => error,
        Err(other) => panic!("not a refusal: {other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

async fn domain(env: &Env, member: &TestMember) -> CustomDomain {
    page(env, &member.actor().await).await.unwrap().domain.expect("a domain")
}

/// Sets both records of a claim.
fn prove(names: &NameServer, domain: &CustomDomain) {
    names.remove(&domain.host);
    names.cname(&domain.host, TARGET);
    names.txt(&domain.record, &domain.value);
}

/// An organisation whose domain is in use.
async fn proven(t: &TestEnv, env: &Env, names: &NameServer, slug: &str, host: &str) -> TestMember {
    let owner = t.org(slug).await;
    add(env, &owner.actor().await, host).await.unwrap();
    prove(names, &domain(env, &owner).await);
    assert!(verify(env, &owner.actor().await).await.unwrap());
    owner
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<String> {
    let mut tx = t.env.db.read().await.unwrap();
    let rows = store::audit_chain::list_after(&mut tx, Some(member.org_id()), 0, 100).await.unwrap();
    rows.into_iter().map(|row| row.action).filter(|action| action.starts_with("domain.")).collect()
}

async fn set_plan(t: &TestEnv, member: &TestMember, plan: Plan) {
    let changes = OperatorChanges { plan: Some(plan), ..OperatorChanges::default() };
    orgs::set_by_operator(&t.env, member.org_id(), changes).await.unwrap();
}

env_test!(ten_06_a_domain_needs_both_records_and_is_told_what_is_missing, |t| async {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let acme = t.org("acme").await;
    let empty = page(&env, &acme.actor().await).await.unwrap();
    assert_eq!((empty.domain, empty.target.as_str()), (None, TARGET));
    assert_eq!(refused(verify(&env, &acme.actor().await).await).kind, ErrorKind::NotFound);
    assert_eq!(refused(add(&env, &acme.actor().await, "acme.com").await).kind, ErrorKind::Invalid);
    add(&env, &acme.actor().await, "API.Acme.com.").await.unwrap();
    assert_eq!(refused(add(&env, &acme.actor().await, "mcp.acme.com").await).code, "one_domain");

    let entered = domain(&env, &acme).await;
    assert_eq!((entered.host.as_str(), entered.state), (HOST, DomainState::Pending));
    assert_eq!(entered.record, "_gatehouse-verify.api.acme.com");
    assert_eq!(entered.endpoint, "http://api.acme.com:3000/mcp");
    assert_eq!(entered.ends_at, Some(t.env.now() + 48 * HOUR));
    let look = async || {
        let done = verify(&env, &acme.actor().await).await.unwrap();
        (done, domain(&env, &acme).await.seen.expect("an answer"))
    };
    let (done, seen) = look().await;
    assert!(!done && seen.answered && !seen.cname_fits && !seen.txt_fits && seen.cname.is_empty());
    names.cname(HOST, "old.example");
    names.txt(&entered.record, "gatehouse-domain=somebody-elses");
    let (done, seen) = look().await;
    assert!(!done && !seen.cname_fits && !seen.txt_fits);
    assert_eq!(
        (&seen.cname[..], &seen.txt[..]),
        (&["old.example".to_owned()][..], &["gatehouse-domain=somebody-elses".to_owned()][..])
    );
    // One of the two is not enough.
    names.txt(&entered.record, &entered.value);
    let (done, seen) = look().await;
    assert!(!done && seen.txt_fits && !seen.cname_fits);
    names.remove(HOST);
    names.cname(HOST, "GATEWAY.Gate.test");
    names.fail(true);
    let (done, seen) = look().await;
    assert!(!done && !seen.answered, "silence is said to be silence");
    names.fail(false);
    let (done, seen) = look().await;
    assert!(done && seen.cname_fits && seen.txt_fits);
    let now = domain(&env, &acme).await;
    assert_eq!((now.state, now.since, now.ends_at), (DomainState::Verified, t.env.now(), None));
    remove(&env, &acme.actor().await, None).await.unwrap();
    assert_eq!(actions(&t, &acme).await, ["domain.added", "domain.verified", "domain.removed"]);
    assert_eq!(refused(remove(&env, &acme.actor().await, None).await).kind, ErrorKind::NotFound);
    // Another claim has another token.
    add(&env, &acme.actor().await, HOST).await.unwrap();
    assert_ne!(domain(&env, &acme).await.value, entered.value);
});

env_test!(ten_06_records_are_looked_for_by_themselves_for_two_days, |t| async {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let acme = t.org("acme").await;
    add(&env, &acme.actor().await, HOST).await.unwrap();
    assert_eq!(check_due(&env).await.unwrap(), 0, "not yet");
    t.clock.advance(MINUTE / 2);
    // Of two nodes that come at once one looks.
    let other = Env { changes: Changes::default(), ..names.env(&t.env) };
    let (one, two) = tokio::join!(check_due(&env), check_due(&other));
    assert_eq!(one.unwrap() + two.unwrap(), 1);
    // A node that took it and died: the lease ends.
    {
        t.clock.advance(HOUR);
        let mut tx = t.env.db.write().await.unwrap();
        let now = t.env.now();
        let due = store::custom_domains::list_due(&mut tx, now, 9).await.unwrap();
        assert!(store::custom_domains::claim(&mut tx, due[0].0, due[0].1, now + MINUTE).await.unwrap());
        assert!(!store::custom_domains::claim(&mut tx, due[0].0, due[0].1, now + MINUTE).await.unwrap());
        tx.commit().await.unwrap();
    }
    assert_eq!(check_due(&env).await.unwrap(), 0);
    t.clock.advance(MINUTE);
    assert_eq!(check_due(&env).await.unwrap(), 1);
    // It is looked for less and less often, and at last not at all.
    let mut looks = 0;
    while domain(&env, &acme).await.state == DomainState::Pending {
        let next = domain(&env, &acme).await.next_check_at.expect("another look");
        let pause = next - t.env.now();
        assert!((MINUTE / 2..=HOUR).contains(&pause), "{pause}");
        t.clock.advance(pause);
        assert_eq!(check_due(&env).await.unwrap(), 1);
        looks += 1;
    }
    assert!((48..200).contains(&looks), "{looks}");
    let given_up = domain(&env, &acme).await;
    assert_eq!((given_up.state, given_up.next_check_at), (DomainState::GaveUp, None));
    assert_eq!(given_up.since, t.env.now() - (t.env.now() - given_up.since));
    let mails = t.mails().await;
    assert!(mails.iter().any(|mail| mail.subject.contains("were not found")), "{mails:?}");
    t.clock.advance(48 * HOUR);
    prove(&names, &given_up);
    assert_eq!(check_due(&env).await.unwrap(), 0, "nobody looks any more");
    // Whoever asks again begins anew.
    names.remove(&given_up.record);
    assert!(!verify(&env, &acme.actor().await).await.unwrap());
    let again = domain(&env, &acme).await;
    assert_eq!((again.state, again.ends_at), (DomainState::Pending, Some(t.env.now() + 48 * HOUR)));
    prove(&names, &again);
    t.clock.advance(MINUTE);
    assert_eq!(check_due(&env).await.unwrap(), 1);
    assert_eq!(domain(&env, &acme).await.state, DomainState::Verified);
    assert_eq!(actions(&t, &acme).await, ["domain.added", "domain.not_found", "domain.verified"]);
});

env_test!(ten_06_a_domain_is_removed_after_72_hours_without_its_records, |t| async {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let acme = proven(&t, &env, &names, "acme", HOST).await;
    let planes = Planes::load(env.clone()).await.unwrap();
    let answers = async || {
        planes.refresh().await.unwrap();
        let plane = planes.plane(acme.org_id()).await.unwrap().unwrap();
        let both = (planes.at_host(HOST), plane.domain.is_some());
        assert!(matches!(both, (Some(_), true) | (None, false)), "{both:?}");
        both.1
    };
    assert!(answers().await);
    // Once a day.
    t.clock.advance(24 * HOUR - 1);
    assert_eq!(check_due(&env).await.unwrap(), 0);
    t.clock.advance(1);
    assert_eq!(check_due(&env).await.unwrap(), 1);
    assert_eq!(domain(&env, &acme).await.state, DomainState::Verified);
    // A name server that fails says nothing about the records.
    names.fail(true);
    t.clock.advance(24 * HOUR);
    for _ in 0..100 {
        assert_eq!(check_due(&env).await.unwrap(), 1);
        t.clock.advance(HOUR);
    }
    assert_eq!(domain(&env, &acme).await.state, DomainState::Verified);
    names.fail(false);
    // Records that are gone and come back.
    let held = domain(&env, &acme).await;
    names.remove(&held.record);
    assert_eq!(check_due(&env).await.unwrap(), 1);
    let failing = domain(&env, &acme).await;
    assert_eq!((failing.state, failing.ends_at), (DomainState::Failing, Some(t.env.now() + 72 * HOUR)));
    assert!(t.mails().await.iter().any(|mail| mail.subject.contains("are missing")));
    names.txt(&held.record, &held.value);
    t.clock.advance(HOUR);
    assert_eq!(check_due(&env).await.unwrap(), 1);
    assert_eq!(domain(&env, &acme).await.state, DomainState::Verified);
    // And that stay away.
    names.remove(HOST);
    t.clock.advance(24 * HOUR);
    assert_eq!(check_due(&env).await.unwrap(), 1);
    let since = t.env.now();
    while answers().await {
        assert!(t.env.now() - since <= 72 * HOUR, "it stays too long");
        let next = domain(&env, &acme).await.next_check_at.expect("another look");
        t.clock.advance(next - t.env.now());
        assert_eq!(check_due(&env).await.unwrap(), 1);
    }
    assert_eq!(t.env.now() - since, 72 * HOUR);
    let lapsed = domain(&env, &acme).await;
    assert_eq!((lapsed.state, lapsed.since, lapsed.next_check_at), (DomainState::Lapsed, t.env.now(), None));
    assert!(t.mails().await.iter().any(|mail| mail.subject.contains("does not work any more")));
    assert_eq!(
        actions(&t, &acme).await,
        [
            "domain.added",
            "domain.verified",
            "domain.failing",
            "domain.recovered",
            "domain.failing",
            "domain.removed"
        ]
    );
    // With its records it may come back.
    prove(&names, &lapsed);
    assert!(verify(&env, &acme.actor().await).await.unwrap());
    assert!(answers().await);
});

env_test!(ten_06_whoever_proves_a_host_first_has_it, |t| async {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let (acme, bolt) = (t.org("acme").await, t.org("bolt").await);
    // An old claim that nobody proves keeps nobody from it.
    add(&env, &bolt.actor().await, HOST).await.unwrap();
    t.clock.advance(30 * 24 * HOUR);
    add(&env, &acme.actor().await, HOST).await.unwrap();
    let (of_acme, of_bolt) = (domain(&env, &acme).await, domain(&env, &bolt).await);
    assert_ne!(of_acme.value, of_bolt.value);
    prove(&names, &of_acme);
    prove(&names, &of_bolt);
    // Both could; of two at once one does.
    let (one, two) = (acme.actor().await, bolt.actor().await);
    let (one, two) = tokio::join!(verify(&env, &one), verify(&env, &two));
    let (first, second, lost) = match (one, two) {
        (Ok(true), lost) => (&acme, &bolt, refused(lost)),
        (lost, Ok(true)) => (&bolt, &acme, refused(lost)),
        other => panic!("{other:?}"),
    };
    assert_eq!((lost.kind, lost.code.as_str()), (ErrorKind::Conflict, "domain_taken"));
    // The other is told, however often it asks, and by the page as well.
    assert_eq!(refused(verify(&env, &second.actor().await).await).code, "domain_taken");
    assert!(domain(&env, second).await.seen.is_some_and(|seen| seen.taken && seen.txt_fits));
    assert_eq!(domain(&env, first).await.state, DomainState::Verified);
    let planes = Planes::load(env.clone()).await.unwrap();
    assert_eq!(planes.at_host(HOST), Some(first.org_id()));
    assert_eq!(planes.at_host("API.acme.com"), None, "the host is asked for in lower case");
    // What is given up is free at once.
    assert_eq!(refused(remove(&env, &first.actor().await, Some("api.acme")).await).fields[0].field, "host");
    remove(&env, &first.actor().await, Some("API.acme.com.")).await.unwrap();
    assert!(verify(&env, &second.actor().await).await.unwrap());
    planes.refresh().await.unwrap();
    assert_eq!(planes.at_host(HOST), Some(second.org_id()));
});

env_test!(ten_06_a_domain_is_in_use_as_long_as_plan_and_operator_allow_it, |t| async {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let acme = proven(&t, &env, &names, "acme", HOST).await;
    let planes = Planes::load(env.clone()).await.unwrap();
    let answers = async || {
        planes.refresh().await.unwrap();
        let plane = planes.plane(acme.org_id()).await.unwrap().unwrap();
        (planes.at_host(HOST).is_some(), plane.domain.is_some())
    };
    for (plan, has) in [(Plan::Free, false), (Plan::Pro, true), (Plan::Team, true), (Plan::Free, false)] {
        set_plan(&t, &acme, plan).await;
        assert_eq!(answers().await, (has, has), "{plan}");
    }
    assert_eq!(refused(verify(&env, &acme.actor().await).await).code, "plan");
    let bolt = t.org("bolt").await;
    set_plan(&t, &bolt, Plan::Free).await;
    let refusal = refused(add(&env, &bolt.actor().await, "api.bolt.com").await);
    assert_eq!((refusal.kind, refusal.code.as_str()), (ErrorKind::Forbidden, "plan"));
    assert!(refusal.message.contains("Pro"), "{}", refusal.message);
    set_plan(&t, &acme, Plan::Pro).await;
    suspension::set(&t.env, acme.org_id(), true).await.unwrap();
    assert_eq!(answers().await, (false, false));
    suspension::set(&t.env, acme.org_id(), false).await.unwrap();
    assert_eq!(answers().await, (true, true));
    // Without the permission nothing is seen, and nothing changed.
    for (role, reads, manages) in [
        (Role::Admin, true, true),
        (Role::Developer, false, false),
        (Role::Member, false, false),
        (Role::Viewer, true, false),
    ] {
        let member = t.member(&acme, role.as_str(), role).await;
        assert_eq!(OrgActor::<can::DomainsRead>::require(&member.ctx).await.is_ok(), reads, "{role}");
        assert_eq!(OrgActor::<can::DomainsManage>::require(&member.ctx).await.is_ok(), manages, "{role}");
    }
});

env_test!(del_02_a_deleted_organisation_has_no_domain_at_once, |t| async {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let acme = proven(&t, &env, &names, "acme", HOST).await;
    let planes = Planes::load(env.clone()).await.unwrap();
    let value = domain(&env, &acme).await.value;
    let mut tx = t.env.db.write().await.unwrap();
    store::org_ends::begin(&mut tx, acme.org_id(), t.env.now(), "digest", "usr_x").await.unwrap();
    tx.commit().await.unwrap();
    planes.refresh().await.unwrap();
    assert_eq!(planes.at_host(HOST), None);
    let bolt = t.org("bolt").await;
    add(&env, &bolt.actor().await, HOST).await.unwrap();
    assert_ne!(domain(&env, &bolt).await.value, value);
    prove(&names, &domain(&env, &bolt).await);
    assert!(verify(&env, &bolt.actor().await).await.unwrap());
});
