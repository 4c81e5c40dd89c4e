//! Accounts on both databases: set-up, signing in, throttling.

use std::sync::Arc;

use domain::{
    Error,
    accounts::{self, FirstOwner},
    api_keys::{self, NewKey},
    dataplane::Principal,
    env_test,
    password::{PasswordSettings, Passwords},
    testing::{PASSWORD, TestEnv, TestMember},
    trips::Who,
};
use model::{ErrorKind, api_keys::KeyScope};
use serde_json::{Value, json};

fn code(error: &Error) -> &str {
    match error {
        Error::App(app) => &app.code,
        other => panic!("no words for people: {other}"),
    }
}

fn device(done: accounts::AfterPassword) -> String {
    match done {
        accounts::AfterPassword::SignedIn(done) => done.device,
        accounts::AfterPassword::SecondFactor(_) => panic!("there is no second factor"),
    }
}

fn first_owner() -> FirstOwner<'static> {
    FirstOwner {
        name: "Ada",
        email: "ada@example.com",
        password: PASSWORD,
        org_name: "Acme",
        org_slug: "acme",
    }
}

env_test!(the_set_up_link_works_once, |t| async {
    let env = &t.env;
    let first = accounts::setup_link(env).await.unwrap().expect("nobody is there yet");
    let second = accounts::setup_link(env).await.unwrap().expect("still nobody");
    let token = |link: &str| link.rsplit('/').next().unwrap().to_owned();
    assert!(
        !accounts::setup_link_works(env, &token(&first)).await.unwrap(),
        "the newest replaces older ones"
    );
    let origin = t.anonymous().origin;
    let bad = FirstOwner { email: "ada", password: "short", org_slug: "A", ..first_owner() };
    let error = accounts::complete_setup(env, &origin, &token(&second), &bad).await.unwrap_err();
    let Error::App(app) = &error else { panic!("{error}") };
    assert!(app.at("email").is_some() && app.at("password").is_some() && app.at("org_slug").is_some());

    let done = accounts::complete_setup(env, &origin, &token(&second), &first_owner()).await.unwrap();
    assert!(done.org.is_some());
    let again = accounts::complete_setup(env, &origin, &token(&second), &first_owner()).await.unwrap_err();
    assert_eq!(code(&again), "setup_link_used");
    assert_eq!(accounts::setup_link(env).await.unwrap(), None);
});

env_test!(pwd_05_unknown_address_and_wrong_password_answer_alike, |t| async {
    t.org("acme").await;
    let origin = t.anonymous().origin;
    let wrong =
        accounts::sign_in(&t.env, &origin, "owner@acme.example", "not the password", None).await.unwrap_err();
    let unknown = accounts::sign_in(&t.env, &origin, "nobody@acme.example", "not the password", None)
        .await
        .unwrap_err();
    let (Error::App(wrong), Error::App(unknown)) = (wrong, unknown) else { panic!() };
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.kind, ErrorKind::Unauthenticated);
    accounts::sign_in(&t.env, &origin, "Owner@ACME.example", PASSWORD, None)
        .await
        .expect("case does not matter");
});

env_test!(pwd_06_pwd_07_failures_make_one_wait_and_a_known_browser_is_not_locked_out, |t| async {
    t.org("acme").await;
    let origin = t.anonymous().origin;
    let device =
        device(accounts::sign_in(&t.env, &origin, "owner@acme.example", PASSWORD, None).await.unwrap());
    for email in ["owner@acme.example", "nobody@acme.example"] {
        for _ in 0..5 {
            let error = accounts::sign_in(&t.env, &origin, email, "wrong", None).await.unwrap_err();
            assert_eq!(code(&error), "wrong_credentials");
        }
        let error = accounts::sign_in(&t.env, &origin, email, PASSWORD, None).await.unwrap_err();
        assert_eq!(code(&error), "too_many_attempts", "the right password inside the wait is refused too");
    }
    accounts::sign_in(&t.env, &origin, "owner@acme.example", PASSWORD, Some(device.as_str()))
        .await
        .expect("a known browser");
    let forged = format!("{}x", &device[..device.len() - 1]);
    assert!(
        accounts::sign_in(&t.env, &origin, "owner@acme.example", PASSWORD, Some(forged.as_str()))
            .await
            .is_err()
    );
    t.clock.advance(1_100);
    accounts::sign_in(&t.env, &origin, "owner@acme.example", PASSWORD, None).await.expect("after the wait");
});

env_test!(pwd_06_one_address_is_slowed_down_over_many_accounts, |t| async {
    let origin = t.anonymous().origin;
    for n in 0..20 {
        let error = accounts::sign_in(&t.env, &origin, &format!("u{n}@acme.example"), "wrong", None)
            .await
            .unwrap_err();
        assert_eq!(code(&error), "wrong_credentials");
    }
    let error = accounts::sign_in(&t.env, &origin, "u99@acme.example", "wrong", None).await.unwrap_err();
    assert_eq!(code(&error), "too_many_attempts");
    t.clock.advance(61_000);
    let error = accounts::sign_in(&t.env, &origin, "u99@acme.example", "wrong", None).await.unwrap_err();
    assert_eq!(code(&error), "wrong_credentials");
});

env_test!(pwd_06_after_a_hundred_failures_the_wait_is_told_truly, |t| async {
    t.org("acme").await;
    let origin = t.anonymous().origin;
    for _ in 0..100 {
        let error =
            accounts::sign_in(&t.env, &origin, "owner@acme.example", "wrong", None).await.unwrap_err();
        assert_eq!(code(&error), "wrong_credentials");
        t.clock.advance(16 * 60 * 1000);
    }
    let error = accounts::sign_in(&t.env, &origin, "owner@acme.example", PASSWORD, None).await.unwrap_err();
    assert_eq!(code(&error), "too_many_attempts");
    let app = error.into_app("");
    assert_eq!(app.retry_after, Some(24 * 60 * 60 - 16 * 60));
    assert!(app.message.contains("24 hours"), "{}", app.message);
    t.clock.advance(i64::from(app.retry_after.unwrap()) * 1000);
    accounts::sign_in(&t.env, &origin, "owner@acme.example", PASSWORD, None).await.expect("after the wait");
});

env_test!(pwd_02_pwd_06_who_was_not_looked_at_has_not_failed, |t| async {
    let mut env = t.env.clone();
    t.org("acme").await;
    let slow = PasswordSettings { memory_kib: 32 * 1024, passes: 40, at_once: 1, queue: 0 };
    env.passwords = Arc::new(Passwords::new(slow));
    let full = tokio::spawn({
        let env = env.clone();
        async move { env.passwords.hash(env.rng.as_ref(), PASSWORD).await }
    });
    tokio::task::yield_now().await;
    let origin = t.anonymous().origin;
    for _ in 0..6 {
        let error = accounts::sign_in(&env, &origin, "owner@acme.example", PASSWORD, None).await.unwrap_err();
        assert_eq!(code(&error), "busy");
    }
    full.await.unwrap().unwrap();
    // Five failures would have made them wait.
    accounts::sign_in(&t.env, &origin, "owner@acme.example", PASSWORD, None)
        .await
        .expect("nothing was counted");
});

env_test!(a_character_that_no_database_keeps_is_no_fault_inside, |t| async {
    let origin = t.anonymous().origin;
    let error = accounts::sign_in(&t.env, &origin, "a\0@example.com", PASSWORD, None).await.unwrap_err();
    let kind = error.into_app("").kind;
    assert!(matches!(kind, ErrorKind::Invalid | ErrorKind::Unauthenticated), "{kind:?}");
});

env_test!(set_up_by_the_operator_can_be_repeated, |t| async {
    let first = accounts::setup_by_operator(&t.env, "a@example.com", PASSWORD, "Acme", "acme").await.unwrap();
    let second =
        accounts::setup_by_operator(&t.env, "a@example.com", PASSWORD, "Acme", "acme").await.unwrap();
    assert_eq!(first, second);
    let error =
        accounts::setup_by_operator(&t.env, "b@example.com", PASSWORD, "Acme", "acme").await.unwrap_err();
    assert_eq!(code(&error), "slug_taken");
});

const LIMIT: &str = "security.limit_exceeded";

/// What the organisation's log says of limits, the latest first: of whom, which and how many requests.
async fn trips(t: &TestEnv, member: &TestMember) -> Vec<Value> {
    t.env.oauth.trips.flush(&t.env, false).await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, member.org_id(), 100).await.unwrap();
    let lines = lines.into_iter().filter(|line| line.action == LIMIT);
    lines
        .map(|line| {
            let detail: Value = serde_json::from_str(&line.detail).unwrap();
            let of = |name: &str| detail["metadata"][name].clone();
            json!([detail["targets"][0]["name"], of("limit"), of("requests")])
        })
        .collect()
}

async fn of_the_instance(t: &TestEnv) -> usize {
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::audit::list_actions(&mut tx, None).await.unwrap();
    all.iter().filter(|(action, result)| action == LIMIT && result == "denied").count()
}

env_test!(aud_02_log_ins_over_the_limit_are_one_event_in_a_window, |t| async {
    let acme = t.org("acme").await;
    let beta = t.org("beta").await;
    let origin = t.anonymous().origin;
    let tries = async |email: &str, n: usize, expected: &str| {
        for _ in 0..n {
            let error = accounts::sign_in(&t.env, &origin, email, "wrong", None).await.unwrap_err();
            assert_eq!(code(&error), expected);
        }
    };
    tries("owner@acme.example", 5, "wrong_credentials").await;
    assert_eq!(trips(&t, &acme).await, [] as [Value; 0]);
    tries("owner@acme.example", 4, "too_many_attempts").await;
    let first = json!(["owner@acme.example", "log-ins", 4]);
    assert_eq!(trips(&t, &acme).await, std::slice::from_ref(&first));
    tries("owner@acme.example", 3, "too_many_attempts").await;
    assert_eq!(trips(&t, &acme).await, std::slice::from_ref(&first), "its window is not over");
    t.clock.advance(10 * 60 * 1000);
    assert_eq!(trips(&t, &acme).await, [json!(["owner@acme.example", "log-ins", 3]), first]);
    assert_eq!(trips(&t, &beta).await, [] as [Value; 0]);
    assert_eq!(of_the_instance(&t).await, 0);
    // An address that nobody has is written down nowhere; the log of the instance tells where it came from.
    tries("nobody@acme.example", 5, "wrong_credentials").await;
    tries("nobody@acme.example", 2, "too_many_attempts").await;
    assert_eq!(trips(&t, &acme).await.len(), 2);
    assert_eq!(of_the_instance(&t).await, 1);
});

env_test!(aud_02_a_key_over_its_limit_is_in_its_organisations_log, |t| async {
    let (acme, beta) = (t.org("acme").await, t.org("beta").await);
    let new = NewKey { name: "CI".to_owned(), scope: KeyScope::All, expires_at: None, url_key: false };
    let key = api_keys::create(&t.env, &acme.actor().await, &new).await.unwrap();
    let who = Who::Principal(acme.org_id(), Principal::ApiKey(key.key.id));
    for limit in ["key", "key", "month"] {
        t.env.oauth.trips.note(who.clone(), limit, None);
    }
    let mut written = trips(&t, &acme).await;
    written.sort_by_key(ToString::to_string);
    assert_eq!(written, [json!(["CI", "key", 2]), json!(["CI", "month", 1])]);
    assert_eq!(trips(&t, &beta).await, [] as [Value; 0]);
    // What waits when the process stops is written.
    t.env.oauth.trips.note(who, "key", None);
    t.env.oauth.trips.flush(&t.env, true).await.unwrap();
    assert_eq!(trips(&t, &acme).await.len(), 3);
});
