//! PINs on both databases: set, asked for, locked.

use domain::{
    Error, api_keys, env_test, org_security,
    pin::{self, Guarded, Old},
    testing::{PASSWORD, TestEnv, TestMember},
};
use model::{AppError, ErrorKind, Role, api_keys::KeyScope, permissions::can};

const PIN: &str = "483920";
const WRONG: &str = "705318";
const MINUTE: i64 = 60 * 1000;

fn app(error: Error) -> AppError {
    error.into_app("")
}

async fn protected(t: &TestEnv) -> TestMember {
    let acme = t.org("acme").await;
    let proven = t.prove(&acme.ctx).await;
    let actor = Guarded::require(&acme.ctx, "").await.expect("nothing is asked for yet");
    org_security::set_pin_protection(&t.env, &actor, &proven, true).await.unwrap();
    acme
}

async fn set(t: &TestEnv, member: &TestMember, new: &str) -> Result<(), AppError> {
    let proven = t.prove(&member.ctx).await;
    pin::set(&member.ctx, &proven, Old::Pin(""), new, new).await.map_err(app)
}

async fn show(member: &TestMember, pin: &str) -> Result<(), AppError> {
    Guarded::<can::ApiKeysRevoke>::require(&member.ctx, pin).await.map(drop).map_err(app)
}

env_test!(pin_01_a_pin_has_six_digits_without_a_pattern, |t| async {
    let acme = t.org("acme").await;
    for (new, code) in
        [("12345", "pin_form"), ("12345a", "pin_form"), ("000000", "pin_weak"), ("123456", "pin_weak")]
    {
        let error = set(&t, &acme, new).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Invalid, code), "{new}");
    }
    let proven = t.prove(&acme.ctx).await;
    let error = app(pin::set(&acme.ctx, &proven, Old::Pin(""), PIN, WRONG).await.unwrap_err());
    assert_eq!(error.code, "pin_differs");
    set(&t, &acme, PIN).await.unwrap();
    // From now on it takes the old one, to change it and to remove it.
    assert!(set(&t, &acme, WRONG).await.unwrap_err().at("pin").is_some());
    assert_eq!(app(pin::remove(&acme.ctx, &proven, WRONG).await.unwrap_err()).code, "wrong_pin");
    pin::set(&acme.ctx, &proven, Old::Pin(PIN), WRONG, WRONG).await.unwrap();
    pin::remove(&acme.ctx, &proven, WRONG).await.unwrap();
    assert!(pin::status(&acme.ctx).await.unwrap().set_at.is_none());
});

env_test!(pin_02_the_database_alone_tells_no_pin, |t| async {
    let acme = t.org("acme").await;
    set(&t, &acme, PIN).await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    let row = store::org_security::find_pin(&mut tx, acme.org_id(), acme.user).await.unwrap().unwrap();
    assert!(row.hash.starts_with("$argon2id$"), "{}", row.hash);
    // Even who tries all of them finds nothing without the master key.
    assert!(!t.env.passwords.verify_code(Some(&row.hash), PIN).await.unwrap());
});

env_test!(pin_03_five_wrong_ones_lock_it_for_a_quarter_of_an_hour, |t| async {
    let acme = protected(&t).await;
    set(&t, &acme, PIN).await.unwrap();
    for n in 1..=5 {
        let error = show(&acme, WRONG).await.unwrap_err();
        let (kind, code) =
            if n < 5 { (ErrorKind::Invalid, "wrong_pin") } else { (ErrorKind::Locked, "pin_locked") };
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{n}");
    }
    let locked = show(&acme, PIN).await.unwrap_err();
    assert_eq!((locked.status(), locked.retry_after), (423, Some(900)));
    // Everywhere: another session of the same person.
    let elsewhere = TestMember { ctx: t.signed_in(acme.user, acme.org_id()), ..acme.clone() };
    assert_eq!(show(&elsewhere, PIN).await.unwrap_err().code, "pin_locked");
    t.clock.advance(15 * MINUTE);
    show(&acme, PIN).await.expect("a quarter of an hour later");
    for _ in 0..4 {
        show(&acme, WRONG).await.unwrap_err();
    }
    show(&acme, PIN).await.expect("the right one starts the count anew");
});

env_test!(pin_03_of_fifty_at_once_five_are_looked_at, |t| async {
    let acme = protected(&t).await;
    set(&t, &acme, PIN).await.unwrap();
    let done = futures_util::future::join_all((0..50).map(|_| show(&acme, WRONG))).await;
    let looked_at = done.iter().filter(|one| one.as_ref().unwrap_err().code == "wrong_pin").count();
    assert!(looked_at <= 4, "and the fifth locked it: {looked_at}");
    let mut tx = t.env.db.read().await.unwrap();
    let row = store::org_security::find_pin(&mut tx, acme.org_id(), acme.user).await.unwrap().unwrap();
    assert_eq!(row.day_failures, 5);
});

env_test!(pin_03_after_fifteen_in_a_day_the_password_sets_a_new_one, |t| async {
    let acme = protected(&t).await;
    set(&t, &acme, PIN).await.unwrap();
    let codes = t.enrol(&acme.ctx).await;
    for _ in 0..3 {
        for _ in 0..5 {
            show(&acme, WRONG).await.unwrap_err();
        }
        t.clock.advance(16 * MINUTE);
    }
    for days in [0, 1, 3] {
        t.clock.advance(days * 24 * 60 * MINUTE);
        let locked = show(&acme, PIN).await.unwrap_err();
        assert_eq!(locked.code, "pin_locked");
        assert!(locked.message.contains("set a new PIN"), "{days} days: {}", locked.message);
    }
    let proven = t.prove(&acme.ctx).await;
    let forgotten = async |password: &str, code: &str| {
        let old = Old::Forgotten { password, shown: domain::mfa::Shown::Code(code) };
        pin::set(&acme.ctx, &proven, old, "926174", "926174").await.map_err(app)
    };
    assert_eq!(forgotten("not the password", &codes[0]).await.unwrap_err().code, "wrong_password");
    assert!(forgotten(PASSWORD, "").await.unwrap_err().at("code").is_some());
    assert_eq!(forgotten(PASSWORD, "000000").await.unwrap_err().code, "wrong_code");
    forgotten(PASSWORD, &codes[0]).await.unwrap();
    show(&acme, "926174").await.expect("the new one");
});

env_test!(pin_04_a_protected_act_takes_the_pin_of_that_organisation, |t| async {
    let acme = protected(&t).await;
    let beta = t.org("beta").await;
    let unset = show(&acme, "").await.unwrap_err();
    assert_eq!((unset.kind, unset.code.as_str()), (ErrorKind::Forbidden, "pin_required"));
    assert!(unset.message.contains("none yet"), "{}", unset.message);
    set(&t, &acme, PIN).await.unwrap();
    assert_eq!(show(&acme, "").await.unwrap_err().code, "pin_required");
    let new = api_keys::NewKey { name: "ci".into(), scope: KeyScope::All, expires_at: None, url_key: false };
    let made = api_keys::create(&t.env, &acme.actor().await, &new).await.unwrap();
    let guarded = Guarded::require(&acme.ctx, PIN).await.unwrap();
    api_keys::delete(&t.env, &guarded, made.key.id, false).await.unwrap();
    // It is nobody else's: neither another member's, nor the same person's elsewhere.
    let dev = t.member(&acme, "dev", Role::Developer).await;
    assert_eq!(show(&dev, PIN).await.unwrap_err().code, "pin_required");
    show(&beta, "").await.expect("an organisation that asks for none");
    // Turning the protection off is protected.
    let proven = t.prove(&acme.ctx).await;
    let bare = app(Guarded::<can::SecurityManage>::require(&acme.ctx, "").await.unwrap_err());
    assert_eq!(bare.code, "pin_required");
    let shown = Guarded::require(&acme.ctx, PIN).await.unwrap();
    org_security::set_pin_protection(&t.env, &shown, &proven, false).await.unwrap();
    show(&acme, "").await.expect("it is off");
});

env_test!(pin_05_no_pin_stands_in_the_audit_log, |t| async {
    let acme = protected(&t).await;
    set(&t, &acme, PIN).await.unwrap();
    for _ in 0..5 {
        show(&acme, WRONG).await.unwrap_err();
    }
    let mut tx = t.env.db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, acme.org_id(), 100).await.unwrap();
    let actions: Vec<_> = lines.iter().map(|line| line.action.as_str()).collect();
    assert!(
        actions.contains(&"pin.set") && actions.contains(&"pin.refused") && actions.contains(&"pin.locked")
    );
    for line in &lines {
        assert!(!line.detail.contains(PIN) && !line.detail.contains(WRONG), "{}", line.detail);
    }
});
