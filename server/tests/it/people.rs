//! Invitations, forgotten passwords, own accounts and suspension, as browsers without scripts meet them.

use axum::http::{StatusCode, header};
use domain::{
    allowlist::Insists,
    testing::{PASSWORD, token_of},
};
use model::{Role, api_keys::KeyScope};
use serde_json::json;
use store::Kind;

use crate::support::{Answer, TestApp, input_value};

const NEW: &str = "a wholly different horse 7 saddles";

/// The page without what differs from answer to answer: nonces, tokens, request ids and what was typed.
fn plain(answer: &Answer, typed: &str) -> String {
    let mut text = answer.text.replace(typed, "TYPED").replace(&model::paths::encode(typed), "TYPED");
    for mark in ["nonce=\"", "name=\"csrf\" value=\"", "csrf\\\":\\\""] {
        let mut parts = text.split(mark);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            out.push_str(mark);
            let end = part.find(['"', '\\']).unwrap_or(0);
            out.push_str(&part[end..]);
        }
        text = out;
    }
    text
}

#[tokio::test]
async fn pwd_05_a_forgotten_password_is_answered_alike_for_every_address() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    let mut browser = app.browser();
    let csrf = browser.form_token("/forgot-password").await;
    let mut answers = Vec::new();
    for email in ["owner@acme.example", "nobody@acme.example"] {
        let fields = [("email", email), ("csrf", csrf.as_str())];
        let answer = browser.post("/forgot-password?do=ask_reset", &fields).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        assert!(answer.text.contains("Look into your mailbox"));
        answers.push(plain(&answer, email));
    }
    assert_eq!(answers[0].len(), answers[1].len(), "the same bytes");
    assert_eq!(app.test.mails().await.len(), 1);
    let odd = browser.post("/forgot-password?do=ask_reset", &[("email", "nonsense"), ("csrf", &csrf)]).await;
    assert_eq!(odd.status, StatusCode::UNPROCESSABLE_ENTITY);
    let forged =
        browser.post("/forgot-password?do=ask_reset", &[("email", "a@b.example"), ("csrf", "x")]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn pwd_08_ses_03_a_reset_link_is_looked_at_freely_and_used_once() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut before = app.signed_in(&member).await;
    let mut browser = app.browser();
    let csrf = browser.form_token("/forgot-password").await;
    browser.post("/forgot-password?do=ask_reset", &[("email", "owner@acme.example"), ("csrf", &csrf)]).await;
    let token = token_of(&app.test.mails().await[0]);
    let path = format!("/reset-password/{token}");
    // Mail scanners look at it, as often as they like.
    for _ in 0..3 {
        let page = app.browser().get(&path).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text.contains("owner@acme.example"));
        assert_eq!(page.header("cache-control"), "no-store");
    }
    let csrf = browser.form_token(&path).await;
    let fields = |password| [("token", token.as_str()), ("csrf", csrf.as_str()), ("password", password)];
    let action = format!("{path}?do=reset_password");
    let weak = browser.post(&action, &fields("short")).await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY);
    let long = "x".repeat(5000);
    assert_eq!(browser.post(&action, &fields(&long)).await.status, StatusCode::PAYLOAD_TOO_LARGE, "PWD-03");
    let done = browser.post(&action, &fields(NEW)).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert_eq!(done.header("location"), "/sign-in?notice=password-set", "nobody is logged in by a link");
    assert!(before.get("/").await.status.is_redirection(), "the old cookie is worth nothing");
    assert_eq!(app.browser().log_in("owner@acme.example", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.browser().log_in("owner@acme.example", NEW).await.status, StatusCode::SEE_OTHER);
    let again = app.browser().get(&path).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.post(&action, &fields(PASSWORD)).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pwd_08_a_forged_host_never_stands_in_a_mail() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    let mut browser = app.browser();
    let csrf = browser.form_token("/forgot-password").await;
    let request = axum::http::Request::post("/forgot-password?do=ask_reset")
        .header("sec-fetch-site", "same-origin")
        .header("x-forwarded-host", "evil.test")
        .header("forwarded", "host=evil.test")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let body = format!("email=owner%40acme.example&csrf={csrf}");
    let answer = browser.send(request, body.into()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let mails = app.test.mails().await;
    assert_eq!(mails.len(), 1);
    assert!(
        !mails[0].text.contains("evil.test")
            && mails[0].text.contains("http://localhost:3000/reset-password/")
    );
}

#[tokio::test]
async fn ten_04_somebody_is_invited_makes_an_account_and_works() {
    let app = TestApp::new(Kind::Sqlite).await;
    let member = app.org("acme").await;
    let mut owner = app.signed_in(&member).await;
    let page = owner.get("/team/invitations").await;
    assert_eq!(page.status, StatusCode::OK);
    let made_in = input_value(&page.text, "made_in_org").expect("the organisation in the form");
    let fields = [
        ("emails", "dev@x.example, owner@acme.example\nnonsense"),
        ("role", "developer"),
        ("made_in_org", made_in.as_str()),
    ];
    let sent = owner.post("/team/invitations?do=invite_members", &fields).await;
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.text);
    for words in ["a mail is on its way", "is a member already", "is not an email address"] {
        assert!(sent.text.contains(words), "{words}");
    }
    let token = token_of(&app.test.mails().await[0]);
    let path = format!("/invite/{token}");
    // Whoever is logged in with another address is told so.
    assert!(owner.get(&path).await.text.contains("You are logged in as"));
    let mut guest = app.browser();
    let page = guest.get(&path).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("Join acme") && page.text.contains("dev@x.example"));
    let csrf = input_value(&page.text, "csrf").unwrap();
    let fields = |name, password| {
        [("token", token.as_str()), ("csrf", csrf.as_str()), ("name", name), ("password", password)]
    };
    let action = format!("{path}?do=accept_as_new");
    let flawed = guest.post(&action, &fields("", "short")).await;
    assert_eq!(flawed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        flawed.text.contains("Enter a name for yourself") && flawed.text.contains("at least 15 characters")
    );
    let joined = guest.post(&action, &fields("Dev", NEW)).await;
    assert_eq!(joined.status, StatusCode::SEE_OTHER, "{}", joined.text);
    let home = guest.get("/").await;
    assert_eq!(home.status, StatusCode::OK);
    assert!(home.text.contains("/mcp/acme"));
    assert_eq!(guest.get("/team").await.status, StatusCode::FORBIDDEN, "a developer does not see the team");
    // Their own way out takes no permission.
    let account = guest.get("/profile/account").await;
    assert_eq!(account.status, StatusCode::OK);
    let leave = format!("/profile/account?leave={}", member.org_id());
    assert!(guest.get(&leave).await.text.contains("Leave acme?"));
    let org = member.org_id().to_string();
    let left = guest.post(&format!("{leave}&do=leave_org"), &[("org", &org), ("made_in_org", &org)]).await;
    assert_eq!(left.status, StatusCode::SEE_OTHER, "{}", left.text);
    assert!(guest.get("/").await.status.is_redirection(), "there is nothing left to see");
    assert_eq!(app.browser().get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn ten_01_invitations_of_others_are_not_found() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (acme, other) = (app.org("acme").await, app.org("other").await);
    domain::invitations::invite(&app.test.env, &acme.actor().await, "a@x.example", Role::Member)
        .await
        .unwrap();
    let open = domain::invitations::list(&app.test.env, &acme.actor().await).await.unwrap().open;
    let (id, made_in) = (open[0].id.to_string(), other.org_id().to_string());
    let mut browser = app.signed_in(&other).await;
    for function in ["withdraw_invitation", "renew_invitation"] {
        let fields = [("id", id.as_str()), ("made_in_org", made_in.as_str())];
        let answer = browser.post(&format!("/team/invitations?do={function}"), &fields).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{function}");
        let anonymous = app.browser().post(&format!("/api/{function}"), &fields).await;
        assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED, "{function}");
    }
    let page = browser.get("/team/invitations").await;
    assert!(!page.text.contains("a@x.example"));
}

async fn in_seconds_the_old_one_is_worth_nothing(kind: Kind) {
    let app = TestApp::new(kind).await;
    let acme = app.org("acme").await;
    let dev = app.test.member(&acme, "dev", Role::Developer).await;
    let mut browser = app.browser();
    browser.log_in("dev@acme.example", PASSWORD).await;
    let old = browser.cookies["gatehouse"].clone();
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert_eq!(browser.cookies["gatehouse"], old);
    domain::team::set_role(&app.test.env, &acme.actor().await, dev.user, Role::Viewer).await.unwrap();
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "they stay logged in");
    let new = browser.cookies["gatehouse"].clone();
    assert_ne!(new, old);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert_eq!(browser.cookies["gatehouse"], new, "once");
    // A request that was under way is answered, and sets the new cookie once more.
    let with_old = || {
        let mut late = app.browser();
        late.cookies = browser.cookies.clone();
        late.cookies.insert("gatehouse".into(), old.clone());
        late
    };
    let mut late = with_old();
    app.test.clock.advance(9_999);
    assert_eq!(late.post("/api/load_me", &[]).await.status, StatusCode::OK);
    assert_eq!(late.cookies["gatehouse"], new);
    // Its seconds do not begin again with each request.
    app.test.clock.advance(1);
    assert_eq!(with_old().post("/api/load_me", &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    let mut tx = app.test.env.db.read().await.unwrap();
    let sessions = store::sessions::list_of_user(&mut tx, dev.user).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert!(!sessions[0].data.contains(&new) && !sessions[0].data.contains(&old), "no cookie is stored");
}

#[tokio::test]
async fn ses_02_a_changed_role_gives_a_new_identifier_and_after_its_seconds_the_old_one_is_worth_nothing() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        in_seconds_the_old_one_is_worth_nothing(kind).await;
    }
}

async fn all_under_way_are_answered(kind: Kind) {
    let app = TestApp::new(kind).await;
    let acme = app.org("acme").await;
    let dev = app.test.member(&acme, "dev", Role::Developer).await;
    let mut browser = app.browser();
    browser.log_in("dev@acme.example", PASSWORD).await;
    let old = browser.cookies["gatehouse"].clone();
    domain::team::set_role(&app.test.env, &acme.actor().await, dev.user, Role::Viewer).await.unwrap();
    let tries = (0..8).map(|n| {
        let mut one = app.browser();
        one.cookies = browser.cookies.clone();
        async move {
            let answer = if n % 2 == 0 { one.get("/").await } else { one.post("/api/load_me", &[]).await };
            (answer.status, one.cookies["gatehouse"].clone())
        }
    });
    let answers = futures_util::future::join_all(tries).await;
    let new = answers[0].1.clone();
    assert_ne!(new, old);
    for (status, cookie) in answers {
        assert_eq!((status, &cookie), (StatusCode::OK, &new), "all are the same session");
    }
    // SES-03: what ends the session ends it under both identifiers at once.
    let mut tx = app.test.env.db.write().await.unwrap();
    let session = store::sessions::list_of_user(&mut tx, dev.user).await.unwrap().remove(0);
    store::sessions::delete_of_user(&mut tx, dev.user, session.id).await.unwrap();
    tx.commit().await.unwrap();
    for cookie in [old, new] {
        let mut ended = app.browser();
        ended.cookies.insert("gatehouse".into(), cookie);
        assert_eq!(ended.post("/api/load_me", &[]).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn ses_02_requests_under_way_at_a_renewal_are_answered_as_the_session() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        all_under_way_are_answered(kind).await;
    }
}

async fn a_late_request_may_end_it(kind: Kind) {
    let app = TestApp::new(kind).await;
    let acme = app.org("acme").await;
    let dev = app.test.member(&acme, "dev", Role::Developer).await;
    let mut browser = app.browser();
    browser.log_in("dev@acme.example", PASSWORD).await;
    let mut late = app.browser();
    late.cookies = browser.cookies.clone();
    domain::team::set_role(&app.test.env, &acme.actor().await, dev.user, Role::Viewer).await.unwrap();
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    // Logging out with the identifier from before ends the session, not a copy of it.
    let old = late.cookies.clone();
    let answer = late.post("/?do=sign_out", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert!(browser.get("/").await.status.is_redirection());
    let mut again = app.browser();
    again.cookies = old;
    assert!(again.get("/").await.status.is_redirection());
    let mut tx = app.test.env.db.read().await.unwrap();
    assert!(store::sessions::list_of_user(&mut tx, dev.user).await.unwrap().is_empty());
}

#[tokio::test]
async fn ses_03_logging_out_with_the_identifier_from_before_a_renewal_ends_the_session() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        a_late_request_may_end_it(kind).await;
    }
}

#[tokio::test]
async fn oar_04_a_suspended_organisation_is_refused_everywhere() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let key = app.key(&acme, KeyScope::All).await;
    let mut browser = app.signed_in(&acme).await;
    let good = app.rpc("/mcp/acme", &key.secret, "tools/list", json!({})).await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.text);
    domain::suspension::set(&app.test.env, acme.org_id(), true).await.unwrap();
    app.settle().await;
    let refused = app.rpc("/mcp/acme", &key.secret, "tools/list", json!({})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    let page = browser.get("/connectors").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text.contains("suspended the organisation"), "{}", page.text);
    assert_eq!(browser.get("/profile/account").await.status, StatusCode::OK, "the person is not suspended");
    domain::suspension::set(&app.test.env, acme.org_id(), false).await.unwrap();
    app.settle().await;
    let good = app.rpc("/mcp/acme", &key.secret, "tools/list", json!({})).await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.text);
}

#[tokio::test]
async fn del_04_an_account_is_deleted_by_its_person() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    app.test.member(&acme, "dev", Role::Developer).await;
    let mut browser = app.browser();
    browser.log_in("dev@acme.example", PASSWORD).await;
    let page = browser.get("/profile/account/delete").await;
    assert!(page.text.contains("Delete your account?"));
    let action = "/profile/account/delete?do=delete_account";
    let wrong = browser.post(action, &[("email", "dev@acme.example"), ("password", "wrong")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let cookie = browser.cookies["gatehouse"].clone();
    let done = browser.post(action, &[("email", "dev@acme.example"), ("password", PASSWORD)]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert_eq!(done.header("location"), "/sign-in?notice=account-deleted");
    let mut old = app.browser();
    old.cookies.insert("gatehouse".into(), cookie);
    assert!(old.get("/").await.status.is_redirection());
    assert_eq!(app.browser().log_in("dev@acme.example", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    let mut owner = app.signed_in(&acme).await;
    let last = owner.post(action, &[("email", "owner@acme.example"), ("password", PASSWORD)]).await;
    assert_eq!(last.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn pwd_05_sign_up_is_closed_unless_the_operator_opens_it() {
    let app = TestApp::new(Kind::Sqlite).await;
    app.org("acme").await;
    let mut browser = app.browser();
    let page = browser.get("/sign-up").await;
    assert!(page.text.contains("made by invitation") && !page.text.contains("name=\"email\""));
    let csrf = browser.form_token("/sign-in").await;
    let refused = browser.post("/sign-up?do=ask_sign_up", &[("email", "x@x.example"), ("csrf", &csrf)]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);

    let open = [("GATEHOUSE_SIGN_UP", "open"), ("GATEHOUSE_SMTP_URL", "smtp://127.0.0.1:1")];
    let app = TestApp::with(Kind::Sqlite, &open).await;
    app.org("acme").await;
    let mut browser = app.browser();
    let csrf = browser.form_token("/sign-up").await;
    let mut answers = Vec::new();
    for email in ["owner@acme.example", "xi-no@acme.example"] {
        let answer = browser.post("/sign-up?do=ask_sign_up", &[("email", email), ("csrf", &csrf)]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        answers.push(plain(&answer, email).len());
    }
    assert_eq!(answers[0], answers[1]);
    let mails = app.test.mails().await;
    let token = token_of(mails.iter().find(|mail| mail.to == "xi-no@acme.example").unwrap());
    let path = format!("/sign-up/{token}");
    let csrf = browser.form_token(&path).await;
    let fields = [
        ("token", token.as_str()),
        ("csrf", csrf.as_str()),
        ("name", "Xi"),
        ("password", NEW),
        ("org_name", "Xi & Co"),
        ("org_slug", "xi-co"),
    ];
    let done = browser.post(&format!("{path}?do=finish_sign_up"), &fields).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert!(browser.get("/").await.text.contains("/mcp/xi-co"));
}

#[tokio::test]
async fn mfa_06_ipa_03_whoever_accepts_an_invitation_is_let_in_as_every_member_is() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    app.org("beta").await;
    let env = &app.test.env;
    domain::org_security::set_require_mfa_by_operator(env, acme.org_id(), true).await.unwrap();
    let here = acme.ctx.origin.address;
    app.test.enrol(&acme.ctx).await;
    let actor = acme.actor().await;
    let range = here.unwrap().to_string();
    domain::allowlist::add(env, &actor, &range, "", Insists(None)).await.unwrap();
    domain::allowlist::turn_on(env, &acme.actor().await, Insists(None)).await.unwrap();
    let people = "new@x.example owner@beta.example";
    domain::invitations::invite(env, &acme.actor().await, people, Role::Developer).await.unwrap();
    let mails = app.test.mails().await;
    let token = |to: &str| token_of(mails.iter().find(|mail| mail.to == to).unwrap());
    let cases = [
        (token("new@x.example"), "accept_as_new", false),
        (token("owner@beta.example"), "accept_invitation", true),
    ];
    for (token, function, member) in cases {
        let mut guest = app.browser();
        if member {
            guest.log_in("owner@beta.example", PASSWORD).await;
        }
        let path = format!("/invite/{token}");
        let csrf = guest.form_token(&path).await;
        let fields = [("token", token.as_str()), ("csrf", &csrf), ("name", "Dev"), ("password", NEW)];
        // From elsewhere nobody joins, and the invitation stays good.
        guest.address = "198.51.100.9".parse().ok();
        let refused = guest.post(&format!("/api/{function}"), &fields).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{function}: {}", refused.text);
        assert_eq!(refused.json()["code"], "ip_not_allowed", "{function}");
        guest.address = here;
        let joined = guest.post(&format!("{path}?do={function}"), &fields).await;
        assert_eq!(joined.status, StatusCode::SEE_OTHER, "{function}: {}", joined.text);
        let next = joined.header("location").to_owned();
        assert!(next.starts_with("/profile/security/two-factor?next="), "{function}: {next}");
        assert_eq!(guest.get(&next).await.status, StatusCode::OK);
        // Until then everything else of the organisation is closed.
        for page in ["/connectors", "/settings/api-keys"] {
            assert_eq!(guest.get(page).await.status, StatusCode::FORBIDDEN, "{function}: {page}");
        }
        let call = guest.post("/api/load_connectors", &[("q", "")]).await;
        assert_eq!(call.json()["code"], "mfa_enrollment_required", "{function}");
    }
}

#[tokio::test]
async fn ses_06_the_form_that_deletes_an_organisation_is_made_for_one_browser() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let mut browser = app.signed_in(&acme).await;
    let csrf = browser.form_token("/settings/danger").await;
    let other = app.browser().form_token("/sign-in").await;
    for wrong in ["", "x", &other] {
        let fields = [("confirm", "acme"), ("password", PASSWORD), ("csrf", wrong)];
        let refused = browser.post("/api/delete_org", &fields).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{wrong}: {}", refused.text);
        assert_eq!(refused.json()["code"], "csrf");
        assert_eq!(browser.get("/settings/danger").await.status, StatusCode::OK);
    }
    let fields = [("confirm", "acme"), ("password", PASSWORD), ("csrf", &csrf)];
    let gone = browser.post("/settings/danger?do=delete_org", &fields).await;
    assert_eq!(gone.status, StatusCode::SEE_OTHER, "{}", gone.text);
}
