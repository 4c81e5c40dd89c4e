//! What needs more of the other side: a receiver of webhooks, authenticators, a provider that people log in at, records in the
//! DNS, and an invitation that has run out.

use axum::http::StatusCode;
use domain::{
    testing::{Authenticator, NameServer, PASSWORD, TestMember, receiver::Receiver},
    webhooks::{deliver::Courier, log},
};
use model::{Role, factors::PasskeyPurpose, webhooks::DeliveryQuery};
use store::Kind;

use super::{Called, OTHER, Walk, id_in, prove};
use crate::{
    idp::Provider,
    support::{Browser, TestApp},
};

/// A webhook's life, and what was sent to it once more.
pub(super) async fn webhooks(walk: &mut Walk<'_>, owner: &mut Browser<'_>, member: &TestMember) {
    let env = &walk.app.test.env;
    let receiver = Receiver::start().await;
    let url = ("url", receiver.url.as_str());
    let made = walk.call(owner, "create_webhook", &[url, ("access", "all")]).await;
    let id = id_in(&made, &["webhook", "id"]);
    let only = [("id", id.as_str())];
    walk.call(owner, "update_webhook", &[only[0], url, ("description", "CI"), ("access", "all")]).await;
    walk.call(owner, "rotate_webhook", &only).await;
    walk.call(owner, "test_webhook", &only).await;
    assert_eq!(receiver.received().len(), 1, "a test is sent at once");

    let key = [("name", "for a webhook"), ("access", "all"), ("expires", "never")];
    walk.well(owner, "create_api_key", &key).await;
    assert!(Courier::new(env.clone()).deliver_due().await.unwrap() > 0);
    let query = DeliveryQuery { webhook: id.clone(), ..DeliveryQuery::default() };
    let sent = log::list(env, &member.actor().await, query).await.unwrap().deliveries;
    let event = sent.iter().find(|one| one.event == "api_key.created").expect("its delivery").id.to_string();
    walk.call(owner, "replay_delivery", &[("webhook", &id), ("id", &event)]).await;
    let days = [only[0], ("from", "2026-09-01"), ("delivered", "on")];
    walk.well(owner, "count_replay", &days).await;
    walk.call(owner, "replay_events", &days).await;
    walk.call(owner, "pause_webhook", &only).await;
    walk.call(owner, "resume_webhook", &only).await;
    walk.call(owner, "delete_webhook", &only).await;
}

/// Somebody's passkeys, and a browser that they trust.
pub(super) async fn passkeys(walk: &mut Walk<'_>, member: &TestMember) {
    let app = walk.app;
    let who = app.test.member(member, "keys", Role::Member).await.user;
    let email = "keys@acme.example";
    let mut keys = app.browser();
    keys.log_in(email, PASSWORD).await;
    let mut authenticator = Authenticator::new(app.test.env.rng.as_ref());
    let asked = async |walk: &mut Walk<'_>, by: &mut Browser<'_>, purpose: PasskeyPurpose| {
        let answer = walk.well(by, "begin_passkey", &[("purpose", purpose.as_str())]).await;
        answer.json().as_str().expect("JSON in a text").to_owned()
    };
    let options = asked(walk, &mut keys, PasskeyPurpose::Register).await;
    let answer = authenticator.create(&options);
    walk.well(&mut keys, "add_passkey", &[("name", "Laptop"), ("passkey", &answer)]).await;
    let id = {
        let mut tx = app.test.env.db.read().await.unwrap();
        store::passkeys::list(&mut tx, who).await.unwrap()[0].id.to_string()
    };
    walk.well(&mut keys, "rename_passkey", &[("id", &id), ("name", "Desk")]).await;

    // Alone, as a second step, and by somebody whom nobody knows.
    let mut other = app.browser();
    let csrf = other.form_token("/sign-in").await;
    let mut unknown = Authenticator::new(app.test.env.rng.as_ref());
    unknown.create(&options);
    let asked_for = asked(walk, &mut other, PasskeyPurpose::SignIn).await;
    let wrong = unknown.get(&asked_for);
    let fields = [("passkey", wrong.as_str()), ("csrf", csrf.as_str())];
    walk.wrong(&mut other, "sign_in_with_passkey", &fields, "auth.passkey_refused").await;
    let right = authenticator.get(&asked(walk, &mut other, PasskeyPurpose::SignIn).await);
    let fields = [("passkey", right.as_str()), ("csrf", csrf.as_str())];
    walk.well(&mut other, "sign_in_with_passkey", &fields).await;
    let mut second = app.browser();
    second.log_in(email, PASSWORD).await;
    let csrf = second.form_token("/sign-in").await;
    let right = authenticator.get(&asked(walk, &mut second, PasskeyPurpose::SecondStep).await);
    let fields = [("passkey", right.as_str()), ("csrf", csrf.as_str())];
    walk.well(&mut second, "finish_with_passkey", &fields).await;

    let mut trusted = app.browser();
    trusted.log_in(email, PASSWORD).await;
    let csrf = trusted.form_token("/sign-in").await;
    let right = authenticator.get(&asked(walk, &mut trusted, PasskeyPurpose::SecondStep).await);
    let fields = [("passkey", right.as_str()), ("trust", "on"), ("csrf", csrf.as_str())];
    let done = trusted.post("/api/finish_with_passkey", &fields).await;
    assert!(done.status.is_success(), "{}", done.text);
    let browser = {
        let mut tx = app.test.env.db.read().await.unwrap();
        let now = app.test.env.now();
        store::trusted_browsers::list(&mut tx, who, now).await.unwrap()[0].id.to_string()
    };
    walk.well(&mut trusted, "distrust_browser", &[("id", &browser)]).await;

    // The last one takes the password and a passkey.
    prove(&mut keys).await;
    let shown = authenticator.get(&asked(walk, &mut keys, PasskeyPurpose::Confirm).await);
    let fields = [("id", id.as_str()), ("password", "wrong"), ("passkey", &shown)];
    let before = super::lengths(app).await;
    let refused = keys.post("/api/remove_passkey", &fields).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
    let noted = super::since(app, &before).await;
    walk.called.expect(noted.iter().all(|(_, result)| result == "failed"), || format!("{noted:?}"));
    let shown = authenticator.get(&asked(walk, &mut keys, PasskeyPurpose::Confirm).await);
    let fields = [("id", id.as_str()), ("password", PASSWORD), ("passkey", &shown)];
    walk.well(&mut keys, "remove_passkey", &fields).await;
}

/// An organisation with records in the DNS and a provider at which its people log in.
pub(super) async fn names(called: &std::sync::Arc<Called>) {
    let names = NameServer::start().await;
    let server = names.clone();
    let settings = [("GATEHOUSE_GATEWAY_HOST", "gateway.gate.example")];
    let app = TestApp::with_env(Kind::Sqlite, &settings, move |env| *env = server.env(env)).await;
    let member = app.org("acme").await;
    let env = &app.test.env;
    let mut walk = Walk::new(&app, &member, called).await;
    let mut owner = app.signed_in(&member).await;
    owner.address = Some("203.0.113.9".parse().unwrap());

    walk.call(&mut owner, "add_domain", &[("host", "api.acme.example")]).await;
    let page = domain::custom_domain::page(env, &member.actor().await).await.unwrap();
    let shown = page.domain.expect("what was entered");
    names.cname("api.acme.example", &page.target);
    names.txt(&shown.record, &shown.value);
    walk.call(&mut owner, "verify_domain", &[]).await;

    walk.call(&mut owner, "add_sso_domain", &[("domain", "acme.example")]).await;
    let page = domain::sso::settings::page(env, &member.actor().await).await.unwrap();
    let domain = &page.domains[0];
    names.txt(&domain.record, &domain.value);
    walk.call(&mut owner, "check_sso_domain", &[("id", &domain.id.to_string())]).await;
    let provider = Provider::start("0").await;
    let fields = |role: &'static str| {
        [
            ("issuer", provider.issuer.as_str()),
            ("client_id", "dashboard"),
            ("client_secret", "dashboard-secret"),
            ("default_role", role),
            ("mode", "optional"),
        ]
    };
    walk.call(&mut owner, "put_sso_login", &fields("member")).await;
    walk.call(&mut owner, "put_sso_login", &fields("viewer")).await;
    walk.well(&mut owner, "test_sso_login", &[]).await;
    let mut ada = app.browser();
    let csrf = ada.form_token("/sign-in").await;
    walk.well(&mut ada, "start_sso", &[("email", "ada@acme.example"), ("csrf", &csrf)]).await;
    walk.call(&mut owner, "delete_sso_login", &[("understood", "on")]).await;
}

/// Whoever comes too late asks for another invitation.
pub(super) async fn late(called: &std::sync::Arc<Called>) {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut walk = Walk::new(&app, &member, called).await;
    let actor = member.actor().await;
    domain::invitations::invite(&app.test.env, &actor, "late@x.example", Role::Viewer).await.unwrap();
    let token = walk.link().await;
    app.test.clock.advance(30 * 24 * 60 * 60 * 1000);
    let mut late = app.browser();
    let page = late.get(&format!("/invite/{token}")).await;
    assert_ne!(page.status, StatusCode::OK, "it has run out");
    let csrf = crate::support::input_value(&page.text, "csrf").expect("a form");
    walk.well(&mut late, "ask_another_invitation", &[("token", &token), ("csrf", &csrf)]).await;
    // Nobody becomes a member by asking.
    let fields = [("token", token.as_str()), ("csrf", csrf.as_str()), ("name", "Late"), ("password", OTHER)];
    let refused = late.post("/api/accept_as_new", &fields).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
}
