//! Second factors on both databases: set up, taken once, backup codes, turned off, required.

use domain::{
    Error, OrgActor,
    accounts::{self, AfterPassword},
    authz::Principal,
    env_test,
    mfa::{self, Shown},
    org_security,
    request::RequestContext,
    step_up::{self, Proven},
    testing::{PASSWORD, TestEnv, TestMember},
};
use model::{AppError, ErrorKind, Role, permissions::can};

const MINUTE: i64 = 60 * 1000;

fn app(error: Error) -> AppError {
    error.into_app("")
}

/// The cookie of a log-in that waits for its second step.
async fn half(t: &TestEnv, email: &str) -> String {
    let origin = t.anonymous().origin;
    match accounts::sign_in(&t.env, &origin, email, PASSWORD, None).await.unwrap() {
        AfterPassword::SecondFactor(step) => step,
        AfterPassword::SignedIn(_) => panic!("no code was asked for"),
    }
}

async fn finish(t: &TestEnv, step: &str, code: &str) -> Result<accounts::SignIn, AppError> {
    mfa::finish(&t.env, &t.anonymous().origin, Some(step), code, None).await.map_err(app)
}

async fn code(t: &TestEnv, member: &TestMember) -> String {
    mfa::code_now(&t.env, member.user).await.expect("there is an app")
}

fn email(member: &TestMember) -> String {
    format!("owner@{}.example", member.org.slug)
}

/// Six digits that are not the code of now.
fn another(code: &str) -> String {
    let wrong = code.replace('1', "2");
    if wrong == code { code.replace(|c: char| c.is_ascii_digit(), "1") } else { wrong }
}

env_test!(mfa_01_an_app_counts_after_a_code_of_it_and_its_secret_is_sealed, |t| async {
    let acme = t.org("acme").await;
    let stale = app(Proven::require(&acme.ctx).await.unwrap_err());
    assert_eq!((stale.kind, stale.code.as_str()), (ErrorKind::Forbidden, "reauth_required"));
    let proven = t.prove(&acme.ctx).await;
    let told = mfa::enrol(&acme.ctx, &proven).await.unwrap();
    assert!(told.uri.contains("algorithm=SHA1&digits=6&period=30") && told.secret.len() == 39);
    let status = mfa::status(&acme.ctx).await.unwrap();
    assert!(status.enrolling && status.since.is_none() && status.fresh);
    // Until it is confirmed the password alone opens the account.
    let origin = t.anonymous().origin;
    let open = accounts::sign_in(&t.env, &origin, &email(&acme), PASSWORD, None).await.unwrap();
    assert!(matches!(open, AfterPassword::SignedIn(_)));
    let right = mfa::code_of(&told.secret, t.env.now());
    let wrong = app(mfa::confirm(&acme.ctx, &proven, &another(&right)).await.unwrap_err());
    assert_eq!((wrong.kind, wrong.code.as_str()), (ErrorKind::Invalid, "wrong_code"));
    let codes = mfa::confirm(&acme.ctx, &proven, &right).await.unwrap();
    assert_eq!(codes.len(), 10);
    let again = app(mfa::confirm(&acme.ctx, &proven, &right).await.unwrap_err());
    assert_eq!(again.code, "not_enrolling");
    // Neither the secret nor a code stands in the database as it is.
    let mut tx = t.env.db.read().await.unwrap();
    let row = store::factors::find_totp(&mut tx, acme.user).await.unwrap().unwrap();
    assert!(row.secret_sealed.len() > 20);
    let hash = store::factors::find_code(&mut tx, acme.user, 0).await.unwrap().unwrap();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
});

env_test!(mfa_02_a_code_opens_once_and_none_before_it, |t| async {
    let acme = t.org("acme").await;
    t.enrol(&acme.ctx).await;
    let earlier = code(&t, &acme).await;
    t.clock.advance(30_000);
    let step = half(&t, &email(&acme)).await;
    let now = code(&t, &acme).await;
    finish(&t, &step, &now).await.expect("a good code");
    for used in [&now, &earlier] {
        let step = half(&t, &email(&acme)).await;
        let error = finish(&t, &step, used).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unauthenticated, "wrong_code"), "{used}");
    }
    // The clock of a phone may be half a minute off.
    t.clock.advance(90_000);
    let ahead = code(&t, &acme).await;
    t.clock.advance(-30_000);
    let step = half(&t, &email(&acme)).await;
    finish(&t, &step, &ahead).await.expect("one step ahead");
});

env_test!(mfa_02_of_twenty_at_once_one_opens, |t| async {
    let acme = t.org("acme").await;
    t.enrol(&acme.ctx).await;
    let good = code(&t, &acme).await;
    let mut steps = Vec::new();
    for _ in 0..20 {
        steps.push(half(&t, &email(&acme)).await);
    }
    let tries = steps.iter().map(|step| finish(&t, step, &good));
    let done = futures_util::future::join_all(tries).await;
    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 1, "{done:?}");
});

env_test!(mfa_03_the_second_step_ends_after_five_codes_and_after_ten_minutes, |t| async {
    let acme = t.org("acme").await;
    t.enrol(&acme.ctx).await;
    let good = code(&t, &acme).await;
    let wrong = another(&good);
    let step = half(&t, &email(&acme)).await;
    for n in 1..=5 {
        let error = finish(&t, &step, &wrong).await.unwrap_err();
        assert_eq!(error.code, if n < 5 { "wrong_code" } else { "second_step_over" }, "{n}");
    }
    assert_eq!(finish(&t, &step, &good).await.unwrap_err().code, "second_step_over");
    let step = half(&t, &email(&acme)).await;
    t.clock.advance(10 * MINUTE);
    let good = code(&t, &acme).await;
    assert_eq!(finish(&t, &step, &good).await.unwrap_err().code, "second_step_over");
    let step = half(&t, &email(&acme)).await;
    finish(&t, &step, &good).await.expect("a new log-in");
    assert_eq!(finish(&t, "no such step", &good).await.unwrap_err().code, "second_step_over");
});

env_test!(mfa_03_ten_wrong_codes_in_an_hour_are_enough, |t| async {
    let acme = t.org("acme").await;
    t.enrol(&acme.ctx).await;
    let origin = t.anonymous().origin;
    let step = half(&t, &email(&acme)).await;
    let known = mfa::finish(&t.env, &origin, Some(&step), &code(&t, &acme).await, None).await.unwrap().device;
    t.clock.advance(30_000);
    let wrong = another(&code(&t, &acme).await);
    for n in 0..10 {
        let step = half(&t, &email(&acme)).await;
        assert_eq!(finish(&t, &step, &wrong).await.unwrap_err().code, "wrong_code", "{n}");
    }
    let step = half(&t, &email(&acme)).await;
    let good = code(&t, &acme).await;
    let error = finish(&t, &step, &good).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RateLimited);
    assert!(error.retry_after.is_some_and(|seconds| seconds > 3000));
    // Whoever knows the password cannot keep the person out of their own browser.
    mfa::finish(&t.env, &origin, Some(&step), &good, Some(&known)).await.expect("a browser of before");
    t.clock.advance(61 * MINUTE);
    let step = half(&t, &email(&acme)).await;
    finish(&t, &step, &code(&t, &acme).await).await.expect("an hour later");
});

env_test!(mfa_04_each_backup_code_opens_once_and_new_ones_replace_all, |t| async {
    let acme = t.org("acme").await;
    let codes = t.enrol(&acme.ctx).await;
    let step = half(&t, &email(&acme)).await;
    // Lower case, without hyphens: as people type.
    finish(&t, &step, &codes[3].to_lowercase().replace('-', "")).await.expect("a backup code");
    assert_eq!(mfa::status(&acme.ctx).await.unwrap().codes_left, 9);
    let step = half(&t, &email(&acme)).await;
    assert_eq!(finish(&t, &step, &codes[3]).await.unwrap_err().code, "wrong_code");
    // Twenty at once.
    let mut steps = Vec::new();
    for _ in 0..20 {
        steps.push(half(&t, &email(&acme)).await);
    }
    let done = futures_util::future::join_all(steps.iter().map(|step| finish(&t, step, &codes[4]))).await;
    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 1, "{done:?}");
    t.clock.advance(61 * MINUTE);
    let proven = t.prove(&acme.ctx).await;
    let fresh = mfa::make_codes(&acme.ctx, &proven).await.unwrap();
    assert_eq!(mfa::status(&acme.ctx).await.unwrap().codes_left, 10);
    let step = half(&t, &email(&acme)).await;
    assert_eq!(finish(&t, &step, &codes[5]).await.unwrap_err().code, "wrong_code", "of the old set");
    finish(&t, &step, &fresh[5]).await.expect("of the new set");
});

env_test!(mfa_04_and_pwd_10_the_person_is_mailed_what_happens_to_their_second_factor, |t| async {
    let acme = t.org("acme").await;
    let subjects = async || {
        domain::mail::deliver_due(&t.env).await.unwrap();
        t.mailbox.take().into_iter().map(|letter| letter.subject).collect::<Vec<_>>()
    };
    let codes = t.enrol(&acme.ctx).await;
    assert_eq!(subjects().await, ["Two-factor authentication is on"]);
    let step = half(&t, &email(&acme)).await;
    assert!(subjects().await.is_empty(), "nobody has logged in yet");
    finish(&t, &step, &codes[0]).await.unwrap();
    assert_eq!(subjects().await, ["A backup code was used"]);
    let proven = t.prove(&acme.ctx).await;
    mfa::make_codes(&acme.ctx, &proven).await.unwrap();
    assert_eq!(subjects().await, ["New backup codes"]);
    t.clock.advance(2 * 60 * MINUTE);
    let step = half(&t, &email(&acme)).await;
    finish(&t, &step, &code(&t, &acme).await).await.unwrap();
    assert_eq!(subjects().await, ["A new browser logged in"]);
    t.clock.advance(30_000);
    mfa::turn_off(&acme.ctx, PASSWORD, Shown::Code(&code(&t, &acme).await)).await.unwrap();
    assert_eq!(subjects().await, ["Two-factor authentication is off"]);
});

env_test!(pwd_10_a_log_in_after_many_failed_ones_is_told_of_when_it_is_over, |t| async {
    let acme = t.org("acme").await;
    let codes = t.enrol(&acme.ctx).await;
    t.mails().await;
    for _ in 0..10 {
        let wrong = accounts::sign_in(&t.env, &t.anonymous().origin, &email(&acme), "wrong", None).await;
        assert!(wrong.is_err());
        t.clock.advance(16 * MINUTE);
    }
    // Whoever has the password and no more has not logged in.
    half(&t, &email(&acme)).await;
    assert!(t.mails().await.is_empty(), "nobody has logged in yet");
    let wrong = accounts::sign_in(&t.env, &t.anonymous().origin, &email(&acme), "wrong", None).await;
    assert!(wrong.is_err());
    for _ in 0..9 {
        t.clock.advance(16 * MINUTE);
        _ = accounts::sign_in(&t.env, &t.anonymous().origin, &email(&acme), "wrong", None).await;
    }
    t.clock.advance(16 * MINUTE);
    let step = half(&t, &email(&acme)).await;
    finish(&t, &step, &codes[0]).await.unwrap();
    let subjects: Vec<_> = t.mails().await.into_iter().map(|mail| mail.subject).collect();
    assert!(subjects.contains(&"A log-in after many failed ones".to_owned()), "{subjects:?}");
});

env_test!(mfa_05_turning_it_off_takes_password_and_code, |t| async {
    let acme = t.org("acme").await;
    let codes = t.enrol(&acme.ctx).await;
    let off = async |password: &str, code: &str| {
        mfa::turn_off(&acme.ctx, password, Shown::Code(code)).await.map_err(app)
    };
    assert!(off("", "").await.unwrap_err().at("code").is_some());
    assert_eq!(off("not the password", &codes[0]).await.unwrap_err().code, "wrong_password");
    let wrong = off(PASSWORD, "000000").await.unwrap_err();
    assert_eq!((wrong.kind, wrong.code.as_str()), (ErrorKind::Invalid, "wrong_code"));
    domain::own_account::set_password_by_operator(&t.env, &email(&acme), PASSWORD).await.unwrap();
    half(&t, &email(&acme)).await;
    off(PASSWORD, &codes[0]).await.expect("both");
    assert!(mfa::status(&acme.ctx).await.unwrap().since.is_none());
    let origin = t.anonymous().origin;
    let open = accounts::sign_in(&t.env, &origin, &email(&acme), PASSWORD, None).await.unwrap();
    assert!(matches!(open, AfterPassword::SignedIn(_)));
});

env_test!(mfa_06_an_organisation_that_requires_it_lets_nobody_in_without, |t| async {
    let acme = t.org("acme").await;
    let beta = t.org("beta").await;
    let dev = t.member(&acme, "dev", Role::Admin).await;
    domain::orgs::put_member(&t.env, &OrgActor::operator(beta.org_id()), "dev@acme.example", Role::Admin)
        .await
        .unwrap();
    let proven = t.prove(&acme.ctx).await;
    let lone =
        app(org_security::set_require_mfa(&t.env, &acme.actor().await, &proven, true).await.unwrap_err());
    assert_eq!((lone.kind, lone.code.as_str()), (ErrorKind::Conflict, "mfa_missing"));
    t.enrol(&acme.ctx).await;
    let told = org_security::get(&acme.ctx, &acme.actor().await).await.unwrap();
    assert_eq!((told.members, told.lacking.len(), told.own_factor.any()), (2, 1, true));
    assert!(told.lacking[0].contains("dev@acme.example"));
    org_security::set_require_mfa(&t.env, &acme.actor().await, &proven, true).await.unwrap();

    // A running session finds out with its next request; another organisation of the person goes on.
    let refused = app(OrgActor::<can::ConnectorsRead>::require(&dev.ctx).await.unwrap_err());
    assert_eq!((refused.kind, refused.code.as_str()), (ErrorKind::Forbidden, "mfa_enrollment_required"));
    let there = t.signed_in(dev.user, beta.org_id());
    assert!(OrgActor::<can::ConnectorsRead>::require(&there).await.is_ok());
    assert!(OrgActor::<can::ConnectorsRead>::require(&acme.ctx).await.is_ok());
    assert!(org_security::must_enrol(&t.env, acme.org_id(), dev.user).await.unwrap());
    t.enrol(&dev.ctx).await;
    assert!(OrgActor::<can::ConnectorsRead>::require(&dev.ctx).await.is_ok());
});

env_test!(mfa_08_while_an_organisation_requires_it_it_stays_on, |t| async {
    let acme = t.org("acme").await;
    t.enrol(&acme.ctx).await;
    org_security::set_require_mfa_by_operator(&t.env, acme.org_id(), true).await.unwrap();
    let now = code(&t, &acme).await;
    let kept = app(mfa::turn_off(&acme.ctx, PASSWORD, Shown::Code(&now)).await.unwrap_err());
    assert_eq!((kept.kind, kept.code.as_str()), (ErrorKind::Conflict, "mfa_required_by_org"));
    // But another app can take its place, and only the new one counts then.
    let codes = t.enrol(&acme.ctx).await;
    let step = half(&t, &email(&acme)).await;
    finish(&t, &step, &codes[0]).await.expect("of the new set");
    org_security::set_require_mfa_by_operator(&t.env, acme.org_id(), false).await.unwrap();
    mfa::turn_off(&acme.ctx, PASSWORD, Shown::Code(&codes[1])).await.expect("nobody requires it any more");
});

env_test!(mfa_06_the_operator_takes_a_lost_factor_away, |t| async {
    let acme = t.org("acme").await;
    t.enrol(&acme.ctx).await;
    let step = half(&t, &email(&acme)).await;
    assert!(mfa::reset_by_operator(&t.env, &email(&acme)).await.unwrap());
    assert!(!mfa::reset_by_operator(&t.env, &email(&acme)).await.unwrap(), "there is none any more");
    assert_eq!(finish(&t, &step, "123456").await.unwrap_err().code, "second_step_over");
    let mut tx = t.env.db.read().await.unwrap();
    assert!(store::sessions::list_of_user(&mut tx, acme.user).await.unwrap().is_empty());
    let lines = store::audit::list_latest(&mut tx, acme.org_id(), 100).await.unwrap();
    let by: Vec<_> = lines.iter().filter(|line| line.action == "auth.mfa_reset").collect();
    assert_eq!(by.len(), 2);
    assert_eq!(by[0].actor_name, Principal::Operator.name());
});

env_test!(pwd_09_a_proof_counts_for_five_minutes, |t| async {
    let acme = t.org("acme").await;
    t.prove(&acme.ctx).await;
    t.clock.advance(5 * MINUTE - 1);
    assert!(Proven::require(&acme.ctx).await.is_ok());
    t.clock.advance(1);
    assert_eq!(app(Proven::require(&acme.ctx).await.unwrap_err()).code, "reauth_required");
    let prove = async |ctx: &RequestContext, password: &str, code: &str| {
        step_up::prove(ctx, password, Shown::Code(code)).await.map_err(app)
    };
    assert!(prove(&acme.ctx, "", "").await.unwrap_err().at("password").is_some());
    assert_eq!(prove(&acme.ctx, "not the password", "").await.unwrap_err().code, "wrong_password");
    assert!(Proven::require(&acme.ctx).await.is_err());
    prove(&acme.ctx, PASSWORD, "").await.unwrap();
    assert!(Proven::require(&acme.ctx).await.is_ok());
    // It is that of one session: another of the same person has to show it too.
    let elsewhere = t.signed_in(acme.user, acme.org_id());
    assert!(Proven::require(&elsewhere).await.is_err());
    t.enrol(&acme.ctx).await;
    t.clock.advance(6 * MINUTE);
    prove(&acme.ctx, "", &code(&t, &acme).await).await.expect("a code will do as well");
    assert!(Proven::require(&acme.ctx).await.is_ok());
    assert_eq!(app(Proven::require(&t.anonymous()).await.unwrap_err()).kind, ErrorKind::Unauthenticated);
});
