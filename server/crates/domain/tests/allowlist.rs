//! The IP allowlist on both databases: guard, trial, dry run, recovery.

use std::net::IpAddr;

use domain::{
    Error, OrgActor,
    allowlist::{self, Insists},
    env_test, org_security,
    pin::{self, Guarded, Old},
    request::RequestContext,
    testing::{TestEnv, TestMember},
};
use model::{AppError, ErrorKind, permissions::can};

const MINUTE: i64 = 60 * 1000;
/// Where contexts of tests come from.
const HERE: &str = "203.0.113.7";

fn app(error: Error) -> AppError {
    error.into_app("")
}

fn from(ctx: &RequestContext, address: Option<&str>) -> RequestContext {
    let mut ctx = ctx.clone();
    ctx.origin.address = address.map(|address| address.parse::<IpAddr>().unwrap());
    ctx
}

async fn add(t: &TestEnv, member: &TestMember, range: &str) -> Result<(), AppError> {
    allowlist::add(&t.env, &member.actor().await, range, "office", Insists(None)).await.map_err(app)
}

async fn admitted(ctx: &RequestContext) -> Result<(), AppError> {
    OrgActor::<can::ConnectorsRead>::require(ctx).await.map(drop).map_err(app)
}

env_test!(ipa_03_from_elsewhere_nobody_gets_in, |t| async {
    let acme = t.org("acme").await;
    let beta = t.org("beta").await;
    add(&t, &acme, "203.0.113.0/24").await.unwrap();
    add(&t, &acme, "2001:db8::/48").await.unwrap();
    admitted(&from(&acme.ctx, Some("198.51.100.9"))).await.expect("it is not enforced yet");
    allowlist::turn_on(&t.env, &acme.actor().await, Insists(None)).await.unwrap();
    for inside in [HERE, "2001:db8::9", "::ffff:203.0.113.9"] {
        admitted(&from(&acme.ctx, Some(inside))).await.unwrap_or_else(|error| panic!("{inside}: {error}"));
    }
    for outside in [Some("198.51.100.9"), Some("2001:db9::1"), None] {
        let error = admitted(&from(&acme.ctx, outside)).await.unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Forbidden, "ip_not_allowed"),
            "{outside:?}"
        );
        assert!(!error.message.contains("203.0.113"), "nothing of the list is told");
    }
    // Another organisation is reached from everywhere.
    admitted(&from(&beta.ctx, Some("198.51.100.9"))).await.unwrap();
});

env_test!(ipa_02_ranges_are_checked_when_they_are_added, |t| async {
    let acme = t.org("acme").await;
    let bits = add(&t, &acme, "10.0.0.5/8").await.unwrap_err();
    assert_eq!((bits.kind, bits.code.as_str()), (ErrorKind::Invalid, "host_bits"));
    assert!(bits.at("range").unwrap().contains("Did you mean 10.0.0.0/8?"));
    add(&t, &acme, "10.0.0.0/8").await.unwrap();
    assert_eq!(add(&t, &acme, "10.0.0.0/8").await.unwrap_err().code, "known");
    let long = "x".repeat(81);
    let error = allowlist::add(&t.env, &acme.actor().await, "nonsense", &long, Insists(None)).await;
    let error = app(error.unwrap_err());
    assert!(error.at("range").is_some() && error.at("note").is_some(), "both at once: {error:?}");
    let gone = allowlist::remove(&t.env, &acme.actor().await, "192.0.2.0/24", Insists(None)).await;
    assert_eq!(app(gone.unwrap_err()).kind, ErrorKind::NotFound);
});

env_test!(ipa_04_whoever_would_lock_themselves_out_is_stopped, |t| async {
    let acme = t.org("acme").await;
    let empty = allowlist::turn_on(&t.env, &acme.actor().await, Insists(None)).await;
    assert_eq!(app(empty.unwrap_err()).code, "no_ranges");
    add(&t, &acme, "198.51.100.0/24").await.unwrap();
    let error =
        allowlist::turn_on(&t.env, &acme.actor().await, Insists(None)).await.map_err(app).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "would_lock_out"));
    assert!(error.message.contains(HERE), "{}", error.message);
    assert_eq!(error.your_ip.map(|ip| ip.to_string()).as_deref(), Some(HERE));
    admitted(&acme.ctx).await.expect("nothing was changed");
    // Who insists shows who they are, and is back in a quarter of an hour.
    let proven = t.prove(&acme.ctx).await;
    allowlist::turn_on(&t.env, &acme.actor().await, Insists(Some(&proven))).await.unwrap();
    assert_eq!(admitted(&acme.ctx).await.unwrap_err().code, "ip_not_allowed");
    t.clock.advance(15 * MINUTE - 1);
    assert!(admitted(&acme.ctx).await.is_err());
    t.clock.advance(1);
    admitted(&acme.ctx).await.expect("it was taken back by itself");
    let page = allowlist::page(&acme.ctx, &acme.actor().await).await.unwrap();
    assert!(!page.on && page.trial_until.is_none() && page.ranges.len() == 1 && !page.you_are_in);
    // The log is told by a job.
    allowlist::settle(&t.env).await.unwrap();
    allowlist::settle(&t.env).await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, acme.org_id(), 50).await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.action == "security.allowlist_reverted").count(), 1);
});

env_test!(ipa_04_a_change_is_kept_by_somebody_who_is_let_in, |t| async {
    let acme = t.org("acme").await;
    for range in ["203.0.113.0/24", "198.51.100.0/24"] {
        add(&t, &acme, range).await.unwrap();
    }
    allowlist::turn_on(&t.env, &acme.actor().await, Insists(None)).await.unwrap();
    allowlist::keep(&t.env, &acme.actor().await).await.unwrap();
    let again = app(allowlist::keep(&t.env, &acme.actor().await).await.unwrap_err());
    assert_eq!(again.code, "no_trial");
    t.clock.advance(60 * MINUTE);
    assert!(admitted(&from(&acme.ctx, Some("192.0.2.1"))).await.is_err(), "it stays");
    // Adding takes nothing away; removing is a trial again, and a second one goes back to before the first.
    add(&t, &acme, "192.0.2.0/24").await.unwrap();
    let page = allowlist::page(&acme.ctx, &acme.actor().await).await.unwrap();
    assert!(page.on && page.trial_until.is_none());
    for range in ["192.0.2.0/24", "198.51.100.0/24"] {
        allowlist::remove(&t.env, &acme.actor().await, range, Insists(None)).await.unwrap();
    }
    assert!(admitted(&from(&acme.ctx, Some("198.51.100.1"))).await.is_err());
    let own = allowlist::remove(&t.env, &acme.actor().await, "203.0.113.0/24", Insists(None)).await;
    let own = app(own.unwrap_err());
    assert_eq!(own.code, "would_lock_out");
    assert_eq!(own.your_ip.map(|ip| ip.to_string()).as_deref(), Some(HERE));
    t.clock.advance(16 * MINUTE);
    for back in ["192.0.2.1", "198.51.100.1"] {
        admitted(&from(&acme.ctx, Some(back))).await.unwrap_or_else(|error| panic!("{back}: {error}"));
    }
});

env_test!(ipa_04_the_operator_and_the_pin, |t| async {
    let acme = t.org("acme").await;
    add(&t, &acme, HERE).await.unwrap();
    allowlist::turn_on(&t.env, &acme.actor().await, Insists(None)).await.unwrap();
    // PIN-04: switching it off is protected.
    let proven = t.prove(&acme.ctx).await;
    let guarded = Guarded::require(&acme.ctx, "").await.unwrap();
    org_security::set_pin_protection(&t.env, &guarded, &proven, true).await.unwrap();
    let bare = app(Guarded::<can::SecurityManage>::require(&acme.ctx, "").await.unwrap_err());
    assert_eq!(bare.code, "pin_required");
    pin::set(&acme.ctx, &proven, Old::Pin(""), "483920", "483920").await.unwrap();
    let guarded = Guarded::require(&acme.ctx, "483920").await.unwrap();
    allowlist::turn_off(&t.env, &guarded).await.unwrap();
    admitted(&from(&acme.ctx, Some("192.0.2.1"))).await.unwrap();
    allowlist::turn_on(&t.env, &acme.actor().await, Insists(None)).await.unwrap();
    assert!(admitted(&from(&acme.ctx, Some("192.0.2.1"))).await.is_err());
    allowlist::turn_off_by_operator(&t.env, acme.org_id()).await.unwrap();
    admitted(&from(&acme.ctx, Some("192.0.2.1"))).await.unwrap();
});

env_test!(pin_04_an_enforced_list_is_opened_to_everybody_with_the_pin_only, |t| async {
    let acme = t.org("acme").await;
    add(&t, &acme, HERE).await.unwrap();
    let proven = t.prove(&acme.ctx).await;
    let guarded = Guarded::require(&acme.ctx, "").await.unwrap();
    org_security::set_pin_protection(&t.env, &guarded, &proven, true).await.unwrap();
    pin::set(&acme.ctx, &proven, Old::Pin(""), "483920", "483920").await.unwrap();
    // A list that is off protects nothing yet.
    add(&t, &acme, "2000::/3").await.unwrap();
    allowlist::turn_on(&t.env, &acme.actor().await, Insists(None)).await.unwrap();
    allowlist::keep(&t.env, &acme.actor().await).await.unwrap();
    for wide in ["0.0.0.0/0", "::/0", "192.0.0.0/3", "128.0.0.0/1"] {
        let error = add(&t, &acme, wide).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Forbidden, "pin_required"), "{wide}");
        assert!(error.at("pin").is_some());
        assert!(admitted(&from(&acme.ctx, Some("198.51.100.9"))).await.is_err(), "{wide}");
    }
    add(&t, &acme, "198.51.100.0/24").await.expect("one more network");
    let shown = Guarded::require(&acme.ctx, "483920").await.unwrap();
    allowlist::add_wide(&t.env, &shown, "0.0.0.0/0", "", Insists(None)).await.unwrap();
    admitted(&from(&acme.ctx, Some("192.0.2.1"))).await.unwrap();
});

env_test!(ipa_04_the_dry_run_tells_who_would_have_been_refused, |t| async {
    let acme = t.org("acme").await;
    let mut away = t.signed_in(acme.user, acme.org_id());
    away.origin.address = Some("198.51.100.20".parse().unwrap());
    let session = store::sessions::Session {
        token_hash: vec![9; 32],
        id: away.signed_in.as_ref().unwrap().session,
        user: Some(acme.user),
        data: "{}".to_owned(),
        address: "198.51.100.20".to_owned(),
        user_agent: String::new(),
        created_at: t.env.now(),
        last_seen_at: t.env.now(),
        expires_at: t.env.now() + MINUTE,
        in_view: None,
        renew: false,
        sso_org: None,
        method: None,
    };
    let mut tx = t.env.db.write().await.unwrap();
    store::sessions::upsert(&mut tx, &session).await.unwrap();
    tx.commit().await.unwrap();
    add(&t, &acme, "203.0.113.0/24").await.unwrap();
    let page = allowlist::page(&acme.ctx, &acme.actor().await).await.unwrap();
    assert_eq!(page.your_address.as_deref(), Some(HERE));
    assert!(page.you_are_in && !page.on);
    assert_eq!((page.dry_run.requests, page.dry_run.outside), (0, 0));
    assert_eq!(page.dry_run.members.len(), 1);
    assert_eq!(page.dry_run.members[0].1, "198.51.100.20");
});
