//! Mails by SMTP, to a receiver of the tests' own.

use std::sync::Arc;

use domain::{
    exports::Scribe,
    invitations, mail,
    mail::{Smtp, SmtpSettings},
};
use model::{Role, links::Delivery};
use secrecy::SecretString;
use store::Kind;

use crate::support::{
    TestApp,
    smtp::{Receiver, Security},
    tls::{AUTHORITY, acceptor},
};

async fn app(url: &str, extra_ca_pem: Option<Vec<u8>>) -> TestApp {
    let smtp = Smtp::new(&SmtpSettings {
        url: SecretString::from(url.to_owned()),
        from: "Gatehouse <gatehouse@example.com>".to_owned(),
        extra_ca_pem,
    })
    .expect("a sender");
    TestApp::with_env(Kind::Sqlite, &[], |env| env.mailer = Some(Arc::new(smtp))).await
}

async fn invite(app: &TestApp, by: &domain::testing::TestMember, email: &str) {
    invitations::invite(&app.test.env, &by.actor().await, email, Role::Member).await.expect("an invitation");
}

#[tokio::test]
async fn pwd_08_a_mail_is_sent_tried_again_and_given_up() {
    let receiver = Receiver::start(Security::Plain).await;
    let app = app(&format!("smtp://{}", receiver.address), None).await;
    let acme = app.org("acme").await;
    invite(&app, &acme, "dev@x.example").await;
    assert!(receiver.mails().is_empty(), "never in the request");
    assert_eq!(mail::deliver_due(&app.test.env).await.unwrap(), 1);
    let mails = receiver.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!((mails[0].from.as_str(), mails[0].to.as_str()), ("gatehouse@example.com", "dev@x.example"));
    let unfolded = mails[0].text.replace("=\r\n", "");
    for part in ["text/plain", "text/html", "Auto-Submitted: auto-generated", "/invite/", "acme"] {
        assert!(unfolded.contains(part), "{part} in {unfolded}");
    }
    // Not now: it is tried again later.
    receiver.refuse(Some("451 4.3.0 later"));
    invite(&app, &acme, "two@x.example").await;
    assert_eq!(mail::deliver_due(&app.test.env).await.unwrap(), 0);
    receiver.refuse(None);
    assert_eq!(mail::deliver_due(&app.test.env).await.unwrap(), 0, "it rests");
    app.test.clock.advance(60_000);
    assert_eq!(mail::deliver_due(&app.test.env).await.unwrap(), 1);
    // Never: the list says so.
    receiver.refuse(Some("550 5.1.1 no such person"));
    invite(&app, &acme, "three@x.example").await;
    assert_eq!(mail::deliver_due(&app.test.env).await.unwrap(), 0);
    let open = invitations::list(&app.test.env, &acme.actor().await).await.unwrap().open;
    let of = |email: &str| open.iter().find(|one| one.email == email).unwrap().delivery;
    assert_eq!(of("three@x.example"), Delivery::Failed);
    assert_eq!(of("two@x.example"), Delivery::Sent);
    assert_eq!(receiver.mails().len(), 2);
}

#[tokio::test]
async fn mails_and_passwords_go_over_tls_to_whom_they_are_meant_for_alone() {
    for (security, scheme, query) in [
        (Security::Wrapped(acceptor()), "smtps", ""),
        (Security::Upgrade(acceptor()), "smtp", "?tls=required"),
    ] {
        let receiver = Receiver::start(security).await;
        let url = format!("{scheme}://user:s3cret@localhost:{}{query}", receiver.address.port());
        // Nobody vouches for the certificate: nothing is said, not even the password.
        let stranger = app(&url, None).await;
        let acme = stranger.org("acme").await;
        invite(&stranger, &acme, "dev@x.example").await;
        assert_eq!(mail::deliver_due(&stranger.test.env).await.unwrap(), 0);
        assert!(receiver.mails().is_empty());

        let known = app(&url, Some(AUTHORITY.to_vec())).await;
        let acme = known.org("acme").await;
        invite(&known, &acme, "dev@x.example").await;
        assert_eq!(mail::deliver_due(&known.test.env).await.unwrap(), 1, "{scheme}");
        let mails = receiver.mails();
        assert!(mails[0].secure);
        // \0user\0s3cret
        assert_eq!(mails[0].login.as_deref(), Some("AHVzZXIAczNjcmV0"));
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_keeps_nothing_else_from_working() {
    let app = app("smtp://127.0.0.1:1", None).await;
    let acme = app.org("acme").await;
    invite(&app, &acme, "dev@x.example").await;
    assert_eq!(mail::deliver_due(&app.test.env).await.unwrap(), 0);
    let open = invitations::list(&app.test.env, &acme.actor().await).await.unwrap().open;
    assert_eq!(open[0].delivery, Delivery::Queued, "it is tried again");
}

#[tokio::test]
async fn del_05_whoever_asked_for_an_export_is_told_by_mail_with_the_page_and_never_the_file() {
    let receiver = Receiver::start(Security::Plain).await;
    let app = app(&format!("smtp://{}", receiver.address), None).await;
    let acme = app.org("acme").await;
    let mut browser = app.signed_in(&acme).await;
    let fields = [("parts[]", "members"), ("format", "json")];
    browser.post("/settings/export?do=create_export", &fields).await;
    assert_eq!(mail::deliver_due(&app.test.env).await.unwrap(), 0, "not before it is ready");
    assert!(Scribe::new(app.test.env.clone()).run_due().await.unwrap());
    assert_eq!(mail::deliver_due(&app.test.env).await.unwrap(), 1);
    let mails = receiver.mails();
    assert_eq!(mails[0].to, "owner@acme.example");
    let unfolded = mails[0].text.replace("=\r\n", "");
    for part in ["Subject: Your export of acme is ready", "/settings/export", "It is kept until 20"] {
        assert!(unfolded.contains(part), "{part} in {unfolded}");
    }
    assert!(
        !unfolded.contains("exp_") && !unfolded.to_lowercase().contains("content-disposition"),
        "{unfolded}"
    );

    // An instance that sends no mail keeps none either.
    let silent = TestApp::with_env(Kind::Sqlite, &[], |env| env.mailer = None).await;
    let acme = silent.org("acme").await;
    let mut browser = silent.signed_in(&acme).await;
    browser.post("/settings/export?do=create_export", &fields).await;
    assert!(Scribe::new(silent.test.env.clone()).run_due().await.unwrap());
    assert_eq!(store::mails::count(&mut silent.test.env.db.read().await.unwrap()).await.unwrap(), 0);
}
