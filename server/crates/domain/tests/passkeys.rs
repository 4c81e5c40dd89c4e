//! Passkeys on both databases: added, an account's key and second factor, refused, removed (MFA-07).

use domain::{
    Error, OrgActor,
    accounts::{self, AfterPassword, SignIn},
    env_test,
    mfa::{self, Shown},
    org_security, passkeys,
    request::RequestContext,
    step_up::{self, Proven},
    testing::{Authenticator, PASSWORD, TestEnv, TestMember},
};
use model::{
    AppError, ErrorKind, Role,
    factors::{PasskeyOffer, PasskeyPurpose},
    permissions::can,
};

const MINUTE: i64 = 60 * 1000;

fn app(error: Error) -> AppError {
    error.into_app("")
}

fn email(member: &TestMember) -> String {
    format!("owner@{}.example", member.org.slug)
}

async fn ask(ctx: &RequestContext, purpose: PasskeyPurpose) -> String {
    passkeys::begin(ctx, purpose).await.expect("a challenge")
}

/// Logs in with nothing but the passkey.
async fn sign_in(t: &TestEnv, authenticator: &mut Authenticator) -> Result<SignIn, AppError> {
    let ctx = t.anonymous();
    let answer = authenticator.get(&ask(&ctx, PasskeyPurpose::SignIn).await);
    passkeys::sign_in(&ctx, &answer).await.map_err(app)
}

/// A browser whose log-in waits for its second step.
async fn half(t: &TestEnv, email: &str) -> RequestContext {
    let ctx = t.anonymous();
    match accounts::sign_in(&t.env, &ctx.origin, email, PASSWORD, None).await.unwrap() {
        AfterPassword::SecondFactor(step) => RequestContext { step: Some(step), ..ctx },
        AfterPassword::SignedIn(_) => panic!("no second factor was asked for"),
    }
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<(String, String)> {
    let mut tx = t.env.db.read().await.unwrap();
    store::audit::list_actions(&mut tx, Some(member.org_id())).await.unwrap()
}

fn assert_refused<T: core::fmt::Debug>(result: Result<T, AppError>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unauthenticated, "passkey_refused"), "{what}");
}

env_test!(mfa_07_a_passkey_logs_in_without_an_address_and_without_a_second_step, |t| async {
    let acme = t.org("acme").await;
    let stale = app(passkeys::begin(&acme.ctx, PasskeyPurpose::Register).await.unwrap_err());
    assert_eq!((stale.kind, stale.code.as_str()), (ErrorKind::Forbidden, "reauth_required"), "PWD-09");
    let (mut laptop, codes) = t.passkey(&acme.ctx).await;
    assert_eq!(codes.len(), 10, "the way in when it is lost");
    let told = passkeys::status(&acme.ctx).await.unwrap();
    assert_eq!((told.list.len(), told.list[0].name.as_str(), told.codes_left), (1, "Laptop", 10));
    assert_eq!((told.offer, told.host.as_str()), (PasskeyOffer::Offered, "localhost"));
    let done = sign_in(&t, &mut laptop).await.expect("a log-in");
    assert_eq!((done.user, done.org), (acme.user, Some(acme.org_id())));
    assert!(passkeys::status(&acme.ctx).await.unwrap().list[0].last_used_at.is_some());
    // Another one: the codes that there are stay.
    let (_, none) = t.passkey(&acme.ctx).await;
    assert!(none.is_empty());
    let log = actions(&t, &acme).await;
    assert!(log.contains(&("auth.passkey_added".to_owned(), "ok".to_owned())), "{log:?}");
    let subjects: Vec<String> = t.mails().await.into_iter().map(|mail| mail.subject).collect();
    assert!(subjects.iter().any(|subject| subject.contains("passkey was added")), "{subjects:?}");
});

env_test!(mfa_07_the_options_ask_for_a_verified_person_at_this_host, |t| async {
    let acme = t.org("acme").await;
    t.passkey(&acme.ctx).await;
    let options: serde_json::Value =
        serde_json::from_str(&ask(&acme.ctx, PasskeyPurpose::Register).await).unwrap();
    assert_eq!(options["rp"]["id"], "localhost");
    assert_eq!(options["attestation"], "none");
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(options["timeout"], 300_000);
    assert_eq!(options["excludeCredentials"].as_array().unwrap().len(), 1);
    // 32 bytes in base64url.
    assert_eq!(options["challenge"].as_str().unwrap().len(), 43);
    let options: serde_json::Value =
        serde_json::from_str(&ask(&t.anonymous(), PasskeyPurpose::SignIn).await).unwrap();
    assert_eq!(
        (options["rpId"].as_str(), options["userVerification"].as_str()),
        (Some("localhost"), Some("required"))
    );
    // Nobody learns who has one.
    assert_eq!(options["allowCredentials"], serde_json::json!([]));
});

env_test!(mfa_07_it_is_the_second_step_and_satisfies_require_mfa, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, codes) = t.passkey(&acme.ctx).await;
    let proven = t.prove(&acme.ctx).await;
    org_security::set_require_mfa(&t.env, &acme.actor::<can::SecurityManage>().await, &proven, true)
        .await
        .expect("a passkey is a second factor");
    OrgActor::<can::SecurityManage>::require(&acme.ctx).await.expect("and lets its person in");
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let kept_out = app(OrgActor::<can::ConnectorsRead>::require(&dev.ctx).await.unwrap_err());
    assert_eq!(kept_out.code, "mfa_enrollment_required");
    t.passkey(&dev.ctx).await;
    OrgActor::<can::ConnectorsRead>::require(&dev.ctx).await.expect("enrolled by a passkey");

    let waiting = half(&t, &email(&acme)).await;
    let ways = mfa::waits(&waiting).await.unwrap().expect("a second step");
    assert_eq!((ways.app, ways.passkey), (false, true));
    let answer = laptop.get(&ask(&waiting, PasskeyPurpose::SecondStep).await);
    assert_eq!(passkeys::finish(&waiting, &answer).await.unwrap().user, acme.user);
    let over = app(passkeys::begin(&waiting, PasskeyPurpose::SecondStep).await.unwrap_err());
    assert_eq!((over.kind, over.code.as_str()), (ErrorKind::Unauthenticated, "second_step_over"));
    // The backup codes of whoever has nothing but a passkey.
    let waiting = half(&t, &email(&acme)).await;
    mfa::finish(&t.env, &waiting.origin, waiting.step.as_deref(), &codes[3], None)
        .await
        .expect("a backup code");
});

env_test!(mfa_07_of_another_person_it_is_no_second_step, |t| async {
    let acme = t.org("acme").await;
    t.passkey(&acme.ctx).await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let (mut other, _) = t.passkey(&dev.ctx).await;
    let waiting = half(&t, &email(&acme)).await;
    let answer = other.get(&ask(&waiting, PasskeyPurpose::SecondStep).await);
    assert_refused(passkeys::finish(&waiting, &answer).await.map_err(app), "the passkey of somebody else");
});

env_test!(mfa_07_without_a_verified_person_it_counts_for_nothing, |t| async {
    let acme = t.org("acme").await;
    let proven = t.prove(&acme.ctx).await;
    let mut careless = Authenticator::new(t.env.rng.as_ref());
    careless.verifies = false;
    let answer = careless.create(&ask(&acme.ctx, PasskeyPurpose::Register).await);
    let error = app(passkeys::add(&acme.ctx, &proven, "", &answer).await.unwrap_err());
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Invalid, "passkey_refused"));
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    laptop.verifies = false;
    assert_refused(sign_in(&t, &mut laptop).await, "without user verification");
    laptop.verifies = true;
    sign_in(&t, &mut laptop).await.expect("with it");
});

env_test!(mfa_07_a_challenge_is_answered_once_and_in_five_minutes, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    let ctx = t.anonymous();
    let answer = laptop.get(&ask(&ctx, PasskeyPurpose::SignIn).await);
    passkeys::sign_in(&ctx, &answer).await.expect("the first time");
    assert_refused(passkeys::sign_in(&ctx, &answer).await.map_err(app), "replayed");
    // A wrong answer has used it up as well.
    let options = ask(&ctx, PasskeyPurpose::SignIn).await;
    laptop.verifies = false;
    let wrong = laptop.get(&options);
    laptop.verifies = true;
    let right = laptop.get(&options);
    assert_refused(passkeys::sign_in(&ctx, &wrong).await.map_err(app), "wrong");
    assert_refused(passkeys::sign_in(&ctx, &right).await.map_err(app), "after a wrong one");
    let late = laptop.get(&ask(&ctx, PasskeyPurpose::SignIn).await);
    t.clock.advance(5 * MINUTE);
    assert_refused(passkeys::sign_in(&ctx, &late).await.map_err(app), "five minutes later");
    for nonsense in ["", "{}", "[]", "null", &"x".repeat(40_000)] {
        assert_refused(passkeys::sign_in(&ctx, nonsense).await.map_err(app), "nonsense");
    }
});

env_test!(mfa_07_of_two_answers_at_once_one_opens, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    let ctx = t.anonymous();
    let options = ask(&ctx, PasskeyPurpose::SignIn).await;
    let answers: Vec<String> = (0..8).map(|_| laptop.get(&options)).collect();
    let tries = answers.iter().map(|answer| passkeys::sign_in(&ctx, answer));
    let done = futures_util::future::join_all(tries).await;
    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 1, "{done:?}");
});

env_test!(mfa_07_a_challenge_is_answered_by_whom_it_was_given_to, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    let ctx = t.anonymous();
    // Another browser.
    let other = RequestContext { form_token: "another browser".to_owned(), ..t.anonymous() };
    let answer = laptop.get(&ask(&ctx, PasskeyPurpose::SignIn).await);
    assert_refused(passkeys::sign_in(&other, &answer).await.map_err(app), "another browser");
    // Another purpose: what was asked for a fresh proof does not log in.
    let answer = laptop.get(&ask(&acme.ctx, PasskeyPurpose::Confirm).await);
    assert_refused(passkeys::sign_in(&ctx, &answer).await.map_err(app), "another purpose");
    // Another log-in that waits.
    let (one, two) = (half(&t, &email(&acme)).await, half(&t, &email(&acme)).await);
    let answer = laptop.get(&ask(&one, PasskeyPurpose::SecondStep).await);
    assert_refused(passkeys::finish(&two, &answer).await.map_err(app), "another log-in");
    // Another session, of the same person.
    let elsewhere = t.signed_in(acme.user, acme.org_id());
    let answer = laptop.get(&ask(&acme.ctx, PasskeyPurpose::Confirm).await);
    let error = app(step_up::prove(&elsewhere, "", Shown::Passkey(&answer)).await.unwrap_err());
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Invalid, "passkey_refused"),
        "no end of the session"
    );
    // Made up: nobody gave it out.
    let options = format!(r#"{{"challenge":"{}"}}"#, "A".repeat(43));
    assert_refused(passkeys::sign_in(&ctx, &laptop.get(&options)).await.map_err(app), "foreign");
});

env_test!(mfa_07_another_host_origin_or_frame_is_refused, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    for origin in [
        "http://localhost:3001",
        "https://localhost:3000",
        "http://evil.localhost:3000",
        "http://evil.test",
        "null",
    ] {
        laptop.origin = origin.to_owned();
        assert_refused(sign_in(&t, &mut laptop).await, origin);
    }
    "http://localhost:3000".clone_into(&mut laptop.origin);
    "evil.test".clone_into(&mut laptop.host);
    assert_refused(sign_in(&t, &mut laptop).await, "another relying party");
    "localhost".clone_into(&mut laptop.host);
    laptop.framed = true;
    assert_refused(sign_in(&t, &mut laptop).await, "a frame of another site");
    laptop.framed = false;
    sign_in(&t, &mut laptop).await.expect("as it was made");
    let proven = t.prove(&acme.ctx).await;
    let mut phished = Authenticator::new(t.env.rng.as_ref());
    "https://evil.test".clone_into(&mut phished.origin);
    let answer = phished.create(&ask(&acme.ctx, PasskeyPurpose::Register).await);
    assert_eq!(
        app(passkeys::add(&acme.ctx, &proven, "", &answer).await.unwrap_err()).code,
        "passkey_refused"
    );
});

env_test!(mfa_07_the_user_handle_has_to_match, |t| async {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    let own = laptop.handle.clone();
    laptop.handle = dev.user.uuid().as_bytes().to_vec();
    assert_refused(sign_in(&t, &mut laptop).await, "the handle of somebody else");
    laptop.handle = Vec::new();
    assert_refused(sign_in(&t, &mut laptop).await, "no handle");
    // Where it is known who has to answer, old authenticators may leave it out; but it must not be another's.
    step_up::prove(
        &acme.ctx,
        "",
        Shown::Passkey(&laptop.get(&ask(&acme.ctx, PasskeyPurpose::Confirm).await)),
    )
    .await
    .expect("known by the session");
    laptop.handle = dev.user.uuid().as_bytes().to_vec();
    let answer = laptop.get(&ask(&acme.ctx, PasskeyPurpose::Confirm).await);
    assert_eq!(
        app(step_up::prove(&acme.ctx, "", Shown::Passkey(&answer)).await.unwrap_err()).code,
        "passkey_refused"
    );
    laptop.handle = own;
    sign_in(&t, &mut laptop).await.expect("its own");
});

env_test!(mfa_07_a_credential_belongs_to_one_person, |t| async {
    let acme = t.org("acme").await;
    let (laptop, _) = t.passkey(&acme.ctx).await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let proven = t.prove(&dev.ctx).await;
    let mut copy = Authenticator::new(t.env.rng.as_ref());
    copy.id.clone_from(&laptop.id);
    let answer = copy.create(&ask(&dev.ctx, PasskeyPurpose::Register).await);
    let error = app(passkeys::add(&dev.ctx, &proven, "", &answer).await.unwrap_err());
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "passkey_taken"));
    assert!(passkeys::status(&dev.ctx).await.unwrap().list.is_empty());
    assert_eq!(passkeys::status(&dev.ctx).await.unwrap().codes_left, 0, "nothing was changed");
});

env_test!(mfa_07_a_counter_that_goes_back_is_refused_and_told, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    sign_in(&t, &mut laptop).await.expect("2");
    let stolen = laptop.counter;
    sign_in(&t, &mut laptop).await.expect("3");
    laptop.counter = stolen;
    assert_refused(sign_in(&t, &mut laptop).await, "3 again, of a copy");
    laptop.counter = 0;
    assert_refused(sign_in(&t, &mut laptop).await, "none any more");
    let log = actions(&t, &acme).await;
    let refused = ("auth.passkey_refused".to_owned(), "failed".to_owned());
    assert_eq!(log.iter().filter(|line| **line == refused).count(), 2, "{log:?}");
    laptop.counter = 9;
    sign_in(&t, &mut laptop).await.expect("further on");
    // One that never counts, as those that are synchronised do.
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let proven = t.prove(&dev.ctx).await;
    let mut synced = Authenticator::new(t.env.rng.as_ref());
    synced.counter = 0;
    let answer = synced.create(&ask(&dev.ctx, PasskeyPurpose::Register).await);
    passkeys::add(&dev.ctx, &proven, "Phone", &answer).await.unwrap();
    for _ in 0..2 {
        sign_in(&t, &mut synced).await.expect("zero and zero");
    }
});

env_test!(mfa_07_an_ip_address_can_have_none, |t| async {
    let mut settings = (*t.env.settings).clone();
    settings.public_url = "https://203.0.113.9".parse().unwrap();
    let mut ctx = t.anonymous();
    ctx.env.settings = std::sync::Arc::new(settings);
    assert_eq!(passkeys::offer(&ctx.env.settings), PasskeyOffer::NeedsHostName);
    let error = app(passkeys::begin(&ctx, PasskeyPurpose::SignIn).await.unwrap_err());
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "passkeys_unavailable"));
    assert!(error.message.contains("host name"), "{}", error.message);
});

env_test!(mfa_07_strangers_get_so_many_challenges, |t| async {
    let ctx = t.anonymous();
    for _ in 0..30 {
        ask(&ctx, PasskeyPurpose::SignIn).await;
    }
    let error = app(passkeys::begin(&ctx, PasskeyPurpose::SignIn).await.unwrap_err());
    assert_eq!(error.kind, ErrorKind::RateLimited);
    t.clock.advance(MINUTE);
    ask(&ctx, PasskeyPurpose::SignIn).await;
});

env_test!(pwd_09_adding_and_removing_take_a_fresh_proof_that_a_passkey_can_be, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    t.clock.advance(6 * MINUTE);
    assert_eq!(app(Proven::require(&acme.ctx).await.unwrap_err()).code, "reauth_required");
    let answer = laptop.get(&ask(&acme.ctx, PasskeyPurpose::Confirm).await);
    step_up::prove(&acme.ctx, "", Shown::Passkey(&answer)).await.expect("a proof");
    Proven::require(&acme.ctx).await.expect("fresh");
});

env_test!(mfa_05_the_last_passkey_takes_the_password_and_a_second_factor, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, codes) = t.passkey(&acme.ctx).await;
    let (_, _) = t.passkey(&acme.ctx).await;
    let proven = t.prove(&acme.ctx).await;
    let list = passkeys::status(&acme.ctx).await.unwrap().list;
    passkeys::rename(&acme.ctx, list[1].id, "Blue key").await.unwrap();
    assert_eq!(passkeys::status(&acme.ctx).await.unwrap().list[1].name, "Blue key");
    // One of two goes by the proof alone.
    passkeys::remove(&acme.ctx, &proven, list[1].id, "", Shown::Code("")).await.unwrap();
    let gone = app(passkeys::rename(&acme.ctx, list[1].id, "again").await.unwrap_err());
    assert_eq!(gone.kind, ErrorKind::NotFound);
    let last = list[0].id;
    let bare = app(passkeys::remove(&acme.ctx, &proven, last, "", Shown::Code("")).await.unwrap_err());
    assert_eq!(bare.fields.len(), 2, "{bare:?}");
    let wrong =
        app(passkeys::remove(&acme.ctx, &proven, last, "wrong", Shown::Code(&codes[0])).await.unwrap_err());
    assert_eq!(wrong.code, "wrong_password");
    let answer = laptop.get(&ask(&acme.ctx, PasskeyPurpose::Confirm).await);
    passkeys::remove(&acme.ctx, &proven, last, PASSWORD, Shown::Passkey(&answer)).await.expect("removed");
    let told = passkeys::status(&acme.ctx).await.unwrap();
    assert_eq!((told.list.len(), told.codes_left), (0, 0), "the codes are worth nothing any more");
    assert_refused(sign_in(&t, &mut laptop).await, "a removed passkey");
    let open = accounts::sign_in(&t.env, &t.anonymous().origin, &email(&acme), PASSWORD, None).await.unwrap();
    assert!(matches!(open, AfterPassword::SignedIn(_)), "the password alone opens it");
});

env_test!(mfa_08_the_last_factor_stays_where_one_is_required, |t| async {
    let acme = t.org("acme").await;
    let (_, codes) = t.passkey(&acme.ctx).await;
    let app_codes = t.enrol(&acme.ctx).await;
    let proven = t.prove(&acme.ctx).await;
    org_security::set_require_mfa(&t.env, &acme.actor::<can::SecurityManage>().await, &proven, true)
        .await
        .unwrap();
    let only = passkeys::status(&acme.ctx).await.unwrap().list[0].id;
    // The app may go while there is a passkey, and not the other way round afterwards.
    assert!(!mfa::turn_off(&acme.ctx, PASSWORD, Shown::Code(&app_codes[0])).await.unwrap());
    assert_eq!(passkeys::status(&acme.ctx).await.unwrap().codes_left, 9, "the codes stay with the passkey");
    let proven = t.prove(&acme.ctx).await;
    let kept = app(passkeys::remove(&acme.ctx, &proven, only, PASSWORD, Shown::Code(&app_codes[1]))
        .await
        .unwrap_err());
    assert_eq!((kept.kind, kept.code.as_str()), (ErrorKind::Conflict, "mfa_required_by_org"));
    assert_ne!(codes[0], app_codes[0]);
});

env_test!(mfa_08_of_the_last_two_one_stays_whoever_is_first, |t| async {
    let acme = t.org("acme").await;
    t.passkey(&acme.ctx).await;
    t.passkey(&acme.ctx).await;
    let proven = t.prove(&acme.ctx).await;
    org_security::set_require_mfa(&t.env, &acme.actor::<can::SecurityManage>().await, &proven, true)
        .await
        .unwrap();
    let list = passkeys::status(&acme.ctx).await.unwrap().list;
    let (one, two) = tokio::join!(
        passkeys::remove(&acme.ctx, &proven, list[0].id, "", Shown::Code("")),
        passkeys::remove(&acme.ctx, &proven, list[1].id, "", Shown::Code("")),
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(passkeys::status(&acme.ctx).await.unwrap().list.len(), 1);
});

env_test!(the_operator_takes_passkeys_away_as_well, |t| async {
    let acme = t.org("acme").await;
    let (mut laptop, _) = t.passkey(&acme.ctx).await;
    assert!(mfa::reset_by_operator(&t.env, &email(&acme)).await.unwrap());
    assert_refused(sign_in(&t, &mut laptop).await, "taken away");
});
