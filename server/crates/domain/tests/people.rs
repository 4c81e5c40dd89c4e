//! Invitations, one-time links, own accounts, deletion and suspension, on both databases.

use domain::{
    Error, OrgActor, accounts,
    audit::stream,
    dataplane::{Access, Directory as _, PlaneScope, Planes, Principal},
    deletion, env_test, exports, invitations,
    mail::{Letter, SendError},
    oauth_clients, one_time, own_account, recovery,
    request::RequestContext,
    sign_up::{self, NewAccount},
    suspension, team,
    testing::{PASSWORD, TestEnv, TestMember, token_of},
    usage::{Record, Recorder},
    webhooks,
};
use model::{
    Role,
    links::{Dead, Guest, Link, Outcome, SignUp},
    permissions::can,
};

const NEW: &str = "a wholly different horse 7 saddles";
const HOUR: i64 = 60 * 60 * 1000;

fn code<T: core::fmt::Debug>(done: domain::Result<T>) -> String {
    match done {
        Err(Error::App(error)) => {
            error.fields.first().map_or(error.code.clone(), |field| format!("{}/{}", field.field, error.code))
        }
        other => panic!("no refusal: {other:?}"),
    }
}

fn settings(t: &mut TestEnv, change: impl FnOnce(&mut domain::Settings)) {
    change(std::sync::Arc::make_mut(&mut t.env.settings));
}

/// Invites one address and gives back the token of the mail.
async fn invited(t: &TestEnv, by: &TestMember, email: &str, role: Role) -> String {
    let sent = invitations::invite(&t.env, &by.actor().await, email, role).await.expect("an invitation");
    assert_eq!(sent.lines, [(email.to_owned(), Outcome::Mailed)]);
    let mails = t.mails().await;
    token_of(mail_to(&mails, email))
}

fn mail_to<'a>(mails: &'a [Letter], to: &str) -> &'a Letter {
    mails.iter().find(|mail| mail.to == to).unwrap_or_else(|| panic!("no mail to {to} in {mails:?}"))
}

fn with_session(t: &TestEnv, member: &TestMember) -> store::sessions::Session {
    store::sessions::Session {
        token_hash: t.env.uuid().as_bytes().to_vec(),
        id: model::SessionId::from_uuid(t.env.uuid()),
        user: Some(member.user),
        data: "{}".into(),
        address: String::new(),
        user_agent: String::new(),
        created_at: t.env.now(),
        last_seen_at: t.env.now(),
        expires_at: t.env.now() + 24 * HOUR,
        in_view: Some(member.org_id()),
        renew: false,
        sso_org: None,
        method: None,
    }
}

async fn begin(t: &TestEnv, session: &store::sessions::Session) {
    let mut tx = t.env.db.write().await.unwrap();
    store::sessions::upsert(&mut tx, session).await.unwrap();
    tx.commit().await.unwrap();
}

async fn sessions(t: &TestEnv, member: &TestMember) -> Vec<store::sessions::Session> {
    let mut tx = t.env.db.read().await.unwrap();
    store::sessions::list_of_user(&mut tx, member.user).await.unwrap()
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<String> {
    let mut tx = t.env.db.read().await.unwrap();
    let list = store::audit::list_actions(&mut tx, Some(member.org_id())).await.unwrap();
    list.into_iter().map(|(action, result)| format!("{action} {result}")).collect()
}

async fn log_in(t: &TestEnv, email: &str, password: &str) -> domain::Result<accounts::SignIn> {
    match accounts::sign_in(&t.env, &t.anonymous().origin, email, password, None).await? {
        accounts::AfterPassword::SignedIn(done) => Ok(done),
        accounts::AfterPassword::SecondFactor(_) => panic!("there is no second factor"),
    }
}

env_test!(ten_04_an_invitation_is_bound_to_address_organisation_and_role, |t| async move {
    let acme = t.org("acme").await;
    let token = invited(&t, &acme, "dev@x.example", Role::Developer).await;
    let anonymous = t.anonymous();
    let Link::Invitation(seen) = one_time::look(&anonymous, &token).await.unwrap() else { panic!() };
    assert_eq!((seen.org.as_str(), seen.guest), ("acme", Guest::New));
    assert!(seen.role == Role::Developer);
    // Looking changes nothing, and somebody else's account cannot take it.
    let other = t.org("other").await;
    let Link::Invitation(seen) = one_time::look(&other.ctx, &token).await.unwrap() else { panic!() };
    assert_eq!(seen.guest, Guest::Other("owner@other.example".into()));
    assert_eq!(code(invitations::accept(&other.ctx, &token).await), "other_address");
    assert_eq!(code(invitations::decline(&other.ctx, &token).await), "other_address");
    let origin = &anonymous.origin;
    let flaws = invitations::accept_as_new(&t.env, origin, &token, " ", "short").await;
    let Err(Error::App(flaws)) = flaws else { panic!() };
    assert!(flaws.at("name").is_some() && flaws.at("password").is_some(), "both at once");
    let done = invitations::accept_as_new(&t.env, origin, &token, "Dev", PASSWORD).await.unwrap();
    assert_eq!(done.org, Some(acme.org_id()));
    let mut tx = t.env.db.read().await.unwrap();
    let role = store::members::find_role(&mut tx, acme.org_id(), done.user).await.unwrap();
    assert!(role.is_some_and(|role| role == Role::Developer));
    let user = store::users::find(&mut tx, done.user).await.unwrap().unwrap();
    assert!(user.email_verified_at.is_some(), "the mail proved the address");
    drop(tx);
    log_in(&t, "dev@x.example", PASSWORD).await.expect("an account of their own");
    assert_eq!(one_time::look(&anonymous, &token).await.unwrap(), Link::Dead(Dead::Accepted));
    let again = invitations::accept_as_new(&t.env, origin, &token, "Dev", PASSWORD).await;
    assert_eq!(code(again), "link_used");
    let told = actions(&t, &acme).await;
    for action in ["invitation.created ok", "team.member_added ok", "auth.user_created ok"] {
        assert!(told.iter().any(|one| one == action), "{action} in {told:?}");
    }
});

env_test!(ten_04_nobody_invites_above_their_own_role, |t| async move {
    let acme = t.org("acme").await;
    let admin = t.member(&acme, "admin", Role::Admin).await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    assert!(OrgActor::<can::TeamInvite>::require(&dev.ctx).await.is_err());
    let by = admin.actor().await;
    let refused = invitations::invite(&t.env, &by, "a@x.example", Role::Owner).await;
    assert_eq!(code(refused), "role/role_above_own");
    assert!(
        !invitations::list(&t.env, &admin.actor().await)
            .await
            .unwrap()
            .roles
            .iter()
            .any(|role| *role == Role::Owner)
    );
    // What somebody could not invite to any more is taken back when their role changes.
    let token = invited(&t, &admin, "b@x.example", Role::Admin).await;
    let kept = invited(&t, &acme, "c@x.example", Role::Admin).await;
    team::set_role(&t.env, &acme.actor().await, admin.user, Role::Developer).await.unwrap();
    assert_eq!(one_time::look(&t.anonymous(), &token).await.unwrap(), Link::Dead(Dead::Withdrawn));
    assert!(matches!(one_time::look(&t.anonymous(), &kept).await.unwrap(), Link::Invitation(_)));
    // A proof from before the change is worth nothing.
    let stale = invitations::invite(&t.env, &by, "d@x.example", Role::Viewer).await;
    assert!(stale.is_err(), "{stale:?}");
});

env_test!(pwd_08_an_invitation_works_once_also_for_many_at_once, |t| async move {
    let acme = t.org("acme").await;
    let token = invited(&t, &acme, "dev@x.example", Role::Member).await;
    let env = &t.env;
    let origin = t.anonymous().origin;
    let (origin, token) = (&origin, token.as_str());
    let all = (0..8).map(|_| invitations::accept_as_new(env, origin, token, "Dev", PASSWORD));
    let done = futures_util::future::join_all(all).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
    let team = team::list(env, &acme.actor().await).await.unwrap();
    assert_eq!(team.len(), 2);
});

env_test!(pwd_08_the_newest_link_of_an_invitation_counts_and_none_after_a_week, |t| async move {
    let acme = t.org("acme").await;
    let first = invited(&t, &acme, "dev@x.example", Role::Member).await;
    let open = invitations::list(&t.env, &acme.actor().await).await.unwrap().open;
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].delivery, model::links::Delivery::Sent);
    let by = acme.actor().await;
    let again = invitations::invite(&t.env, &by, "Dev@X.example", Role::Member).await.unwrap();
    assert_eq!(again.lines[0].1, Outcome::Invited);
    let Outcome::Link(link) = invitations::renew(&t.env, &by, open[0].id, true).await.unwrap() else {
        panic!()
    };
    let second = link.rsplit('/').next().unwrap().to_owned();
    assert_eq!(one_time::look(&t.anonymous(), &first).await.unwrap(), Link::Dead(Dead::Unknown));
    assert!(matches!(one_time::look(&t.anonymous(), &second).await.unwrap(), Link::Invitation(_)));
    t.clock.advance(invitations::LIFETIME);
    assert_eq!(one_time::look(&t.anonymous(), &second).await.unwrap(), Link::Dead(Dead::Expired));
    let late = invitations::accept_as_new(&t.env, &t.anonymous().origin, &second, "Dev", PASSWORD).await;
    assert_eq!(code(late), "link_used");
    // One that is too old makes room for another.
    let third = invited(&t, &acme, "dev@x.example", Role::Viewer).await;
    invitations::withdraw(&t.env, &by, {
        invitations::list(&t.env, &acme.actor().await).await.unwrap().open[0].id
    })
    .await
    .unwrap();
    assert_eq!(one_time::look(&t.anonymous(), &third).await.unwrap(), Link::Dead(Dead::Withdrawn));
    // Another organisation's invitation is none here (TEN-01).
    let other = t.org("other").await;
    assert_eq!(code(invitations::withdraw(&t.env, &other.actor().await, open[0].id).await), "not_found");
    assert_eq!(code(invitations::renew(&t.env, &other.actor().await, open[0].id, true).await), "not_found");
});

env_test!(an_existing_account_joins_or_declines, |t| async move {
    let acme = t.org("acme").await;
    let guest = t.org("guest").await;
    let email = "owner@guest.example";
    let token = invited(&t, &acme, email, Role::Viewer).await;
    let Link::Invitation(seen) = one_time::look(&t.anonymous(), &token).await.unwrap() else { panic!() };
    assert_eq!(seen.guest, Guest::LogIn);
    assert_eq!(
        code(invitations::accept_as_new(&t.env, &guest.ctx.origin, &token, "X", PASSWORD).await),
        "email_taken"
    );
    let Link::Invitation(seen) = one_time::look(&guest.ctx, &token).await.unwrap() else { panic!() };
    assert_eq!(seen.guest, Guest::Join);
    let session = with_session(&t, &guest);
    begin(&t, &session).await;
    invitations::accept(&guest.ctx, &token).await.unwrap();
    assert!(sessions(&t, &guest).await[0].renew, "SES-02: their rights changed");
    let Link::Invitation(seen) = one_time::look(&guest.ctx, &token).await.unwrap() else { panic!() };
    assert_eq!(seen.guest, Guest::Member);
    assert_eq!(
        invitations::invite(&t.env, &acme.actor().await, email, Role::Viewer).await.unwrap().lines[0].1,
        Outcome::Member
    );
    let second = t.org("second").await;
    let token = invited(&t, &second, email, Role::Viewer).await;
    invitations::decline(&guest.ctx, &token).await.unwrap();
    assert_eq!(one_time::look(&guest.ctx, &token).await.unwrap(), Link::Dead(Dead::Declined));
    assert_eq!(code(invitations::accept(&guest.ctx, &token).await), "link_used");
});

env_test!(without_mail_the_link_is_shown_to_whoever_invites, |t| async move {
    let mut t = t;
    t.env.mailer = None;
    let acme = t.org("acme").await;
    let sent = invitations::invite(&t.env, &acme.actor().await, "a@x.example, nonsense", Role::Member)
        .await
        .unwrap();
    let Outcome::Link(link) = &sent.lines[0].1 else { panic!("{sent:?}") };
    assert!(link.starts_with("http://localhost:3000/invite/"));
    assert_eq!(sent.lines[1].1, Outcome::NoAddress);
    let token = link.rsplit('/').next().unwrap();
    let done = invitations::accept_as_new(&t.env, &t.anonymous().origin, token, "A", PASSWORD).await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    let user = store::users::find(&mut tx, done.user).await.unwrap().unwrap();
    assert!(user.email_verified_at.is_none(), "no mail proved the address");
    assert_eq!(store::mails::count(&mut tx).await.unwrap(), 0);
    drop(tx);
    // A wish is kept for the operator, who finds the link in the log.
    recovery::ask(&t.env, &t.anonymous().origin, "a@x.example").await.unwrap();
    domain::mail::deliver_due(&t.env).await.unwrap();
    let told = actions(&t, &acme).await;
    assert!(told.contains(&"auth.reset_requested ok".into()), "{told:?}");
    let link = recovery::link_by_operator(&t.env, "a@x.example").await.unwrap();
    recovery::reset(&t.env, &t.anonymous().origin, link.rsplit('/').next().unwrap(), NEW).await.unwrap();
    log_in(&t, "a@x.example", NEW).await.unwrap();
});

env_test!(closed_instances_make_no_accounts_by_invitation, |t| async move {
    let mut t = t;
    let acme = t.org("acme").await;
    let token = invited(&t, &acme, "dev@x.example", Role::Member).await;
    settings(&mut t, |settings| settings.sign_up = SignUp::Closed);
    let anonymous = t.anonymous();
    let Link::Invitation(seen) = one_time::look(&anonymous, &token).await.unwrap() else { panic!() };
    assert_eq!(seen.guest, Guest::Closed);
    let refused = invitations::accept_as_new(&t.env, &anonymous.origin, &token, "Dev", PASSWORD).await;
    assert_eq!(code(refused), "sign_up_closed");
    assert_eq!(code(sign_up::ask(&t.env, &anonymous.origin, "x@x.example").await), "sign_up_closed");
});

env_test!(pwd_05_asking_for_a_new_password_is_answered_alike, |t| async move {
    let acme = t.org("acme").await;
    let origin = t.anonymous().origin;
    let count = |t: &TestEnv| {
        let db = t.env.db.clone();
        async move {
            let mut tx = db.read().await.unwrap();
            store::mails::count(&mut tx).await.unwrap()
        }
    };
    // Each leaves exactly one row behind, and says the same.
    recovery::ask(&t.env, &origin, "nobody@x.example").await.unwrap();
    assert_eq!(count(&t).await, 1);
    recovery::ask(&t.env, &origin, "owner@acme.example").await.unwrap();
    assert_eq!(count(&t).await, 2);
    let mails = t.mails().await;
    assert_eq!(mails.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["owner@acme.example"]);
    assert_eq!(count(&t).await, 0);
    assert!(actions(&t, &acme).await.contains(&"auth.reset_requested ok".to_owned()));
    // Further wishes are answered alike, and the latest link goes on working.
    for email in ["nobody@x.example", "owner@acme.example"] {
        for _ in 0..5 {
            recovery::ask(&t.env, &origin, email).await.unwrap();
        }
    }
    let mails = t.mails().await;
    assert_eq!(mails.len(), 2, "three in a quarter of an hour");
    let mut good = 0;
    for mail in &mails {
        good += i32::from(recovery::reset(&t.env, &origin, &token_of(mail), NEW).await.is_ok());
    }
    assert_eq!(good, 1, "the newest");
});

env_test!(pwd_08_oar_04_a_reset_works_once_and_ends_everything, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let email = "dev@acme.example";
    t.grant(&dev, "gth_client_x", "mcp:call").await;
    begin(&t, &with_session(&t, &dev)).await;
    let origin = t.anonymous().origin;
    recovery::ask(&t.env, &origin, email).await.unwrap();
    let old = token_of(&t.mails().await[0]);
    t.clock.advance(60_000);
    recovery::ask(&t.env, &origin, email).await.unwrap();
    let token = token_of(&t.mails().await[0]);
    assert_eq!(code(recovery::reset(&t.env, &origin, &old, NEW).await), "link_used", "the newest counts");
    assert_eq!(one_time::look(&t.anonymous(), &token).await.unwrap(), Link::Reset(email.into()));
    assert_eq!(
        code(recovery::reset(&t.env, &origin, &token, "password1234567").await),
        "password/password_too_common"
    );
    let (one, two) = tokio::join!(
        recovery::reset(&t.env, &origin, &token, NEW),
        recovery::reset(&t.env, &origin, &token, NEW)
    );
    assert_ne!(one.is_ok(), two.is_ok(), "{one:?} {two:?}");
    assert!(log_in(&t, email, PASSWORD).await.is_err());
    log_in(&t, email, NEW).await.unwrap();
    assert!(sessions(&t, &dev).await.is_empty());
    let mut tx = t.env.db.read().await.unwrap();
    let connections = store::connections::list(&mut tx, acme.org_id()).await.unwrap();
    assert!(connections.iter().all(|row| row.revoked_at.is_some()) && connections.len() == 1);
    drop(tx);
    let told = t.mails().await;
    assert!(
        told.iter().any(|mail| mail.to == email && mail.subject == "Your password was changed"),
        "{told:?}"
    );
    recovery::ask(&t.env, &origin, email).await.unwrap();
    let late = token_of(&t.mails().await[0]);
    t.clock.advance(one_time::LIFETIME);
    assert_eq!(code(recovery::reset(&t.env, &origin, &late, NEW).await), "link_used");
});

env_test!(pwd_09_a_new_password_takes_the_present_one_and_ends_other_sessions, |t| async move {
    let acme = t.org("acme").await;
    let here = with_session(&t, &acme);
    let there = with_session(&t, &acme);
    begin(&t, &here).await;
    begin(&t, &there).await;
    let mut ctx: RequestContext = acme.ctx.clone();
    ctx.signed_in.as_mut().unwrap().session = here.id;
    assert_eq!(
        code(own_account::change_password(&ctx, "wrong", NEW).await),
        "current_password/wrong_password"
    );
    assert_eq!(code(own_account::change_password(&ctx, PASSWORD, "short").await), "new_password/too_short");
    assert_eq!(
        code(own_account::change_password(&ctx, PASSWORD, PASSWORD).await),
        "new_password/same_password"
    );
    assert_eq!(own_account::change_password(&ctx, PASSWORD, NEW).await.unwrap(), 1);
    assert_eq!(sessions(&t, &acme).await.iter().map(|session| session.id).collect::<Vec<_>>(), [here.id]);
    log_in(&t, "owner@acme.example", NEW).await.unwrap();
    assert!(t.mails().await.iter().any(|mail| mail.subject == "Your password was changed"));
    let told = actions(&t, &acme).await;
    assert!(
        told.contains(&"auth.password_changed ok".into())
            && told.contains(&"auth.password_changed failed".into())
    );
    // Guessing here is slowed down, and keeps nobody from logging in (PWD-06).
    for _ in 0..4 {
        _ = own_account::change_password(&ctx, "wrong", "another good horse 88 hats").await;
    }
    _ = own_account::change_password(&ctx, "wrong", "another good horse 88 hats").await;
    let waits = own_account::change_password(&ctx, NEW, "another good horse 88 hats").await;
    assert_eq!(code(waits), "too_many_attempts");
    log_in(&t, "owner@acme.example", NEW).await.unwrap();
});

env_test!(pwd_09_a_new_address_is_confirmed_and_the_old_one_told, |t| async move {
    let acme = t.org("acme").await;
    let other = t.org("other").await;
    let ctx = &acme.ctx;
    let ask =
        |email: &'static str, password: &'static str| own_account::ask_for_address(ctx, email, password);
    assert_eq!(code(ask("new@x.example", "wrong").await), "password/wrong_password");
    assert_eq!(code(ask("nonsense", PASSWORD).await), "email/email");
    // An address with an account is answered alike; its person is told.
    ask("owner@other.example", PASSWORD).await.unwrap();
    ask("new@x.example", PASSWORD).await.unwrap();
    let mails = t.mails().await;
    assert_eq!(mail_to(&mails, "owner@other.example").subject, "You have an account already");
    let token = token_of(mail_to(&mails, "new@x.example"));
    assert_eq!(one_time::look(&t.anonymous(), &token).await.unwrap(), Link::Email("new@x.example".into()));
    let origin = t.anonymous().origin;
    own_account::confirm_address(&t.env, &origin, &token).await.unwrap();
    assert_eq!(code(own_account::confirm_address(&t.env, &origin, &token).await), "link_used");
    assert!(log_in(&t, "owner@acme.example", PASSWORD).await.is_err());
    log_in(&t, "new@x.example", PASSWORD).await.unwrap();
    let mails = t.mails().await;
    assert!(mails.iter().any(|mail| mail.to == "owner@acme.example" && mail.text.contains("new@x.example")));
    assert!(actions(&t, &acme).await.contains(&"auth.email_changed ok".into()));
    // Of two who want the same address, one gets it.
    own_account::ask_for_address(&acme.ctx, "both@x.example", PASSWORD).await.unwrap();
    own_account::ask_for_address(&other.ctx, "both@x.example", PASSWORD).await.unwrap();
    let tokens: Vec<String> = t.mails().await.iter().map(token_of).collect();
    own_account::confirm_address(&t.env, &origin, &tokens[0]).await.unwrap();
    assert_eq!(code(own_account::confirm_address(&t.env, &origin, &tokens[1]).await), "email/email_taken");
});

env_test!(an_address_is_proven_by_a_link, |t| async move {
    let acme = t.org("acme").await;
    assert!(!own_account::overview(&acme.ctx).await.unwrap().verified);
    own_account::ask_to_verify(&acme.ctx).await.unwrap();
    let token = token_of(&t.mails().await[0]);
    own_account::confirm_address(&t.env, &t.anonymous().origin, &token).await.unwrap();
    assert!(own_account::overview(&acme.ctx).await.unwrap().verified);
    for _ in 0..4 {
        own_account::ask_to_verify(&acme.ctx).await.unwrap();
    }
    assert_eq!(code(own_account::ask_to_verify(&acme.ctx).await), "too_many_requests");
});

env_test!(pwd_05_sign_up_is_answered_alike_and_proves_the_address, |t| async move {
    let mut t = t;
    t.org("acme").await;
    let origin = t.anonymous().origin;
    assert_eq!(code(sign_up::ask(&t.env, &origin, "x@x.example").await), "sign_up_closed");
    settings(&mut t, |settings| settings.sign_up = SignUp::Open);
    sign_up::ask(&t.env, &origin, "owner@acme.example").await.unwrap();
    sign_up::ask(&t.env, &origin, "x@x.example").await.unwrap();
    let mails = t.mails().await;
    assert_eq!(mail_to(&mails, "owner@acme.example").subject, "You have an account already");
    let token = token_of(mail_to(&mails, "x@x.example"));
    let input = |org_slug| NewAccount { name: "Xi", password: NEW, org_name: "Xi's", org_slug };
    let taken = sign_up::complete(&t.env, &origin, &token, &input("acme")).await;
    assert_eq!(code(taken), "org_slug/slug_taken");
    let done = sign_up::complete(&t.env, &origin, &token, &input("xi-org")).await.unwrap();
    assert!(done.org.is_some());
    assert_eq!(code(sign_up::complete(&t.env, &origin, &token, &input("xi-2")).await), "link_used");
    log_in(&t, "x@x.example", NEW).await.unwrap();
});

env_test!(mails_are_tried_again_and_given_up, |t| async move {
    let acme = t.org("acme").await;
    t.mailbox.refuse(Some(SendError::Later("down".into())));
    invitations::invite(&t.env, &acme.actor().await, "a@x.example", Role::Member).await.unwrap();
    assert_eq!(t.mails().await, Vec::<Letter>::new());
    t.mailbox.refuse(None);
    assert_eq!(t.mails().await, Vec::<Letter>::new(), "it rests");
    t.clock.advance(60_000);
    assert_eq!(t.mails().await.len(), 1);
    t.clock.advance(60_000);
    assert_eq!(t.mails().await.len(), 0, "once");
    t.mailbox.refuse(Some(SendError::Never("550".into())));
    invitations::invite(&t.env, &acme.actor().await, "b@x.example", Role::Member).await.unwrap();
    t.mails().await;
    let open = invitations::list(&t.env, &acme.actor().await).await.unwrap().open;
    let states: Vec<_> = open.iter().map(|one| (one.email.as_str(), one.delivery)).collect();
    assert!(states.contains(&("a@x.example", model::links::Delivery::Sent)), "{states:?}");
    assert!(states.contains(&("b@x.example", model::links::Delivery::Failed)), "{states:?}");
    // Of two nodes at once one sends it.
    t.mailbox.refuse(None);
    invitations::invite(&t.env, &acme.actor().await, "c@x.example", Role::Member).await.unwrap();
    let (one, two) = tokio::join!(domain::mail::deliver_due(&t.env), domain::mail::deliver_due(&t.env));
    assert_eq!(one.unwrap() + two.unwrap(), 1);
    assert_eq!(t.mailbox.take().len(), 1);
});

env_test!(key_02_no_token_is_in_the_database, |t| async move {
    let acme = t.org("acme").await;
    t.mailbox.refuse(Some(SendError::Later("down".into())));
    invitations::invite(&t.env, &acme.actor().await, "a@x.example", Role::Member).await.unwrap();
    t.mails().await;
    let mut tx = t.env.db.read().await.unwrap();
    let waiting = store::mails::list_due(&mut tx, i64::MAX, 10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    let sealed = String::from_utf8_lossy(&waiting[0].sealed).into_owned();
    assert!(!sealed.contains("invite") && !sealed.contains("x.example"), "a queued mail is sealed");
});

env_test!(ses_03_who_is_removed_stays_logged_in_where_they_work_for_others, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.org("own").await;
    domain::orgs::put_member(
        &t.env,
        &OrgActor::operator(acme.org_id()),
        "owner@own.example",
        Role::Developer,
    )
    .await
    .unwrap();
    let (mut shown, elsewhere) = (with_session(&t, &dev), with_session(&t, &dev));
    shown.in_view = Some(acme.org_id());
    begin(&t, &shown).await;
    begin(&t, &elsewhere).await;
    assert_eq!(team::leaving(&t.env, &acme.actor().await, dev.user).await.unwrap().sessions, 1);
    team::remove(&t.env, &acme.guarded().await, dev.user).await.unwrap();
    let left = sessions(&t, &dev).await;
    assert_eq!(left.iter().map(|session| session.id).collect::<Vec<_>>(), [elsewhere.id]);
    assert!(left[0].renew, "SES-02: it gets a new identifier");
    assert!(t.mails().await.iter().any(|mail| mail.to == "owner@own.example"));
    // Somebody without another organisation is logged out everywhere.
    let viewer = t.member(&acme, "viewer", Role::Viewer).await;
    let mut unseen = with_session(&t, &viewer);
    unseen.in_view = None;
    begin(&t, &unseen).await;
    team::remove(&t.env, &acme.guarded().await, viewer.user).await.unwrap();
    assert!(sessions(&t, &viewer).await.is_empty());
});

env_test!(ses_05_lists_say_by_which_way_somebody_logged_in, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let own = acme.ctx.signed_in.as_ref().unwrap().session;
    let ways = [
        ("password", "Password"),
        ("password+code", "Password and code"),
        ("passkey", "Passkey"),
        ("link", "Link by email"),
        ("sso", "SSO"),
        ("", ""),
    ];
    for (n, (method, _)) in ways.iter().enumerate() {
        let mut session = with_session(&t, &acme);
        session.method = Some((*method).to_owned()).filter(|method| !method.is_empty());
        session.last_seen_at -= i64::try_from(n).unwrap();
        if n == 0 {
            session.id = own;
        }
        begin(&t, &session).await;
    }
    let listed = domain::sessions::list(&acme.ctx).await.unwrap();
    let said: Vec<_> = listed.iter().map(|session| session.way.as_str()).collect();
    assert_eq!(said, ways.map(|(_, said)| said));
    // The team sees the way of the session that was last seen.
    let way = async |member: &TestMember| {
        let team = team::list(&t.env, &acme.actor().await).await.unwrap();
        team.into_iter().find(|listed| listed.user == member.user).unwrap().way
    };
    assert_eq!(way(&acme).await, "Password");
    assert_eq!(way(&dev).await, "", "logged out");
    // Whichever provider vouched for somebody elsewhere is nobody's business here.
    let beta = t.org("beta").await;
    let mut elsewhere = with_session(&t, &dev);
    (elsewhere.method, elsewhere.sso_org) = (Some("sso".to_owned()), Some(beta.org_id()));
    begin(&t, &elsewhere).await;
    assert_eq!(way(&dev).await, "");
    let mut here = with_session(&t, &dev);
    here.method = Some("passkey".to_owned());
    here.last_seen_at -= 1000;
    begin(&t, &here).await;
    assert_eq!(way(&dev).await, "Passkey");
});

env_test!(ses_02_a_changed_role_renews_sessions, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    begin(&t, &with_session(&t, &dev)).await;
    team::set_role(&t.env, &acme.actor().await, dev.user, Role::Viewer).await.unwrap();
    let session = sessions(&t, &dev).await.remove(0);
    assert!(session.renew);
    // Of several requests at once one gives it its new identifier.
    let mut tx = t.env.db.write().await.unwrap();
    let (old, new, now) = (&session.token_hash, [5; 32], t.env.now());
    assert!(store::sessions::renew(&mut tx, old, &new, now + 1000).await.unwrap());
    assert!(!store::sessions::renew(&mut tx, old, &[6; 32], now + 1000).await.unwrap());
    for known in [old.as_slice(), &new] {
        let found = store::sessions::find(&mut tx, known, now).await.unwrap().expect("the same session");
        assert_eq!((found.id, found.token_hash.as_slice()), (session.id, new.as_slice()));
    }
    assert!(store::sessions::find(&mut tx, old, now + 1000).await.unwrap().is_none(), "after its seconds");
    // The old identifier does not renew anything again.
    store::sessions::renew_all(&mut tx, dev.user).await.unwrap();
    assert!(!store::sessions::renew(&mut tx, old, &[6; 32], now + 1000).await.unwrap());
    // Revoking ends both.
    store::sessions::delete_of_user(&mut tx, dev.user, session.id).await.unwrap();
    for known in [old.as_slice(), &new] {
        assert!(store::sessions::find(&mut tx, known, now).await.unwrap().is_none());
    }
});

env_test!(del_04_an_account_goes_and_its_name_leaves_the_log, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "Deborah", Role::Admin).await;
    let email = "Deborah@acme.example";
    t.grant(&dev, "gth_client_x", "mcp:call").await;
    begin(&t, &with_session(&t, &dev)).await;
    log_in(&t, email, PASSWORD).await.unwrap();
    let new = domain::api_keys::NewKey {
        name: "ci-bot".into(),
        scope: model::api_keys::KeyScope::All,
        expires_at: None,
        url_key: false,
    };
    domain::api_keys::create(&t.env, &dev.actor().await, &new).await.unwrap();
    team::set_role(&t.env, &acme.actor().await, dev.user, Role::Developer).await.unwrap();
    assert_eq!(code(deletion::delete_own(&dev.ctx, "else@x.example", PASSWORD).await), "email/confirm");
    assert_eq!(code(deletion::delete_own(&dev.ctx, email, "wrong").await), "password/wrong_password");
    assert_eq!(code(deletion::delete_own(&acme.ctx, "owner@acme.example", PASSWORD).await), "last_owner");
    deletion::delete_own(&dev.ctx, email, PASSWORD).await.unwrap();
    assert_eq!(code(deletion::delete_own(&dev.ctx, email, PASSWORD).await), "unauthenticated");
    assert!(log_in(&t, email, PASSWORD).await.is_err());
    assert!(sessions(&t, &dev).await.is_empty());
    let connections = {
        let mut tx = t.env.db.read().await.unwrap();
        store::connections::list(&mut tx, acme.org_id()).await.unwrap()
    };
    assert!(connections.iter().all(|row| row.revoked_at.is_some() && !row.user_email.contains("Deborah")));
    assert!(
        t.mails().await.iter().any(|mail| mail.to == email && mail.subject == "Your account was deleted")
    );

    let keys = domain::api_keys::page(&t.env, &acme.actor().await).await.unwrap().keys;
    assert!(format!("{keys:?}").contains("ci-bot"), "keys belong to the organisation");
    assert!(!format!("{keys:?}").contains("Deborah"), "and say no more who made them");
    assert_eq!(domain::audit::erasure::waiting(&t.env).await.unwrap(), [dev.user]);
    t.clock.advance(61_000);
    domain::audit::erasure::run(&t.env).await.unwrap();
    assert!(domain::audit::erasure::waiting(&t.env).await.unwrap().is_empty());
    let id = dev.user.to_string();
    let mut tx = t.env.db.read().await.unwrap();
    let rows = store::audit_chain::list_after(&mut tx, Some(acme.org_id()), 0, 1000).await.unwrap();
    assert!(rows.iter().any(|row| row.actor_id == id), "what they did stays, under their id");
    for row in &rows {
        let all = format!("{} {} {}", row.actor_name, row.detail, row.context).to_lowercase();
        assert!(!all.contains("deborah"), "{all}");
    }
    drop(tx);
    for report in domain::audit::verify_all(&t.env, None).await.unwrap() {
        assert_eq!(report.broken, None);
    }
    // Twice does no harm.
    domain::audit::erasure::run(&t.env).await.unwrap();
});

/// A request that somebody made in the playground.
async fn in_playground(t: &TestEnv, member: &TestMember, name: &str, recorder: &Recorder) {
    let plane = Planes::load(t.env.clone()).await.unwrap().plane(member.org_id()).await.unwrap().unwrap();
    let access = Access {
        principal: Principal::Member { id: member.user, name: name.into() },
        scope: PlaneScope::All,
        expires_at: None,
        grant: None,
    };
    recorder.note(Record {
        plane,
        access: access.into(),
        began: t.env.now(),
        ended: t.env.now(),
        method: "tools/call".into(),
        connector: None,
        tool: "echo".into(),
        outcome: model::activity::Outcome::Ok,
        status: 200,
        code: None,
        message: String::new(),
        timings: model::activity::Timings::default(),
        bytes_in: 0,
        bytes_out: 0,
        upstream_requests: 0,
        counted: true,
        request_id: t.env.uuid().to_string(),
        trace_id: None,
        client: "Playground".into(),
        address: None,
        bodies: None,
    });
}

/// Has somebody do one of everything that leaves their name.
async fn busy(t: &TestEnv, dev: &TestMember, name: &str) {
    let env = &t.env;
    let hook = webhooks::Wanted {
        url: "https://hooks.example/in".into(),
        description: String::new(),
        all: true,
        events: Vec::new(),
    };
    let hook = webhooks::create(env, &dev.actor().await, &hook).await.unwrap().webhook.id;
    webhooks::rotate(env, &dev.actor().await, hook).await.unwrap();
    let wanted = exports::Wanted { parts: vec!["usage".into()], format: "csv".into(), ..Default::default() };
    exports::ask(env, &dev.actor().await, &wanted).await.unwrap();
    let stream = stream::Input { url: "https://siem.example/".into(), enabled: true, ..Default::default() };
    stream::put(env, &dev.actor().await, &stream).await.unwrap();
    let client = oauth_clients::NewClient {
        name: "Machine".into(),
        redirect_uris: None,
        proof: oauth_clients::Proof::Post,
        scope: model::Scope::everything(),
        keep_refresh_tokens: true,
    };
    oauth_clients::create(env, &dev.actor().await, &client).await.unwrap();
    invitations::invite(env, &dev.actor().await, "guest@elsewhere.example", Role::Viewer).await.unwrap();
    domain::connectors::add_demo(env, &dev.actor().await).await.unwrap();
    let (org, by, now) = (dev.org_id(), name.to_owned(), env.now());
    let mut tx = env.db.write().await.unwrap();
    let idp = store::identity_providers::IdentityProvider {
        id: model::IdentityProviderId::from_uuid(env.uuid()),
        issuer: "https://id.example".into(),
        jwks_uri: "https://id.example/keys".into(),
        audience: dev.org.slug.to_string(),
        enabled: false,
        rules: "{}".into(),
        created_at: now,
        updated_at: now,
        updated_by: by.clone(),
    };
    store::identity_providers::put(&mut tx, org, &idp).await.unwrap();
    let login = store::sso::Provider {
        id: idp.id,
        issuer: idp.issuer,
        client_id: "gatehouse".into(),
        secret_sealed: None,
        server: "{}".into(),
        discovered_at: now,
        enabled: false,
        required: false,
        default_role: None,
        tested: None,
        test_passed: false,
        created_at: now,
        updated_at: now,
        updated_by: by,
        reach: "owner".into(),
    };
    store::sso::put(&mut tx, org, &login).await.unwrap();
    tx.commit().await.unwrap();
}

/// Where a name is, however it is spelt.
async fn places(t: &TestEnv, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for text in [name.to_owned(), name.to_lowercase()] {
        found.extend(t.env.db.search(&text).await.unwrap().into_iter().map(|(place, _)| place));
    }
    found.sort();
    found.dedup();
    found
}

env_test!(del_04_the_name_of_whoever_did_one_of_everything_is_nowhere, |t| async {
    const NAME: &str = "Deborah";
    let (acme, beta) = (t.org("acme").await, t.org("beta").await);
    let dev = t.member(&acme, NAME, Role::Admin).await;
    let email = "Deborah@acme.example";
    let recorder = Recorder::default();
    busy(&t, &dev, NAME).await;
    in_playground(&t, &dev, NAME, &recorder).await;
    recorder.flush(&t.env).await.unwrap();
    // Also where they were once, and left before.
    domain::orgs::put_member(&t.env, &OrgActor::operator(beta.org_id()), email, Role::Admin).await.unwrap();
    let there =
        TestMember { org: beta.org.clone(), ctx: t.signed_in(dev.user, beta.org_id()), user: dev.user };
    busy(&t, &there, NAME).await;
    in_playground(&t, &there, NAME, &recorder).await;
    team::leave(&there.ctx, beta.org_id()).await.unwrap();
    let before = places(&t, NAME).await;
    for place in ["request_log.words", "outbox.payload", "webhook_secrets.created_by", "exports.created_by"] {
        assert!(before.contains(&place.to_owned()), "{place}: {before:?}");
    }
    for (table, column) in store::erasures::columns() {
        // Those of which nothing can be made without a server are like the others.
        let made = ![
            "connector_headers",
            "connector_tools",
            "connector_oauth",
            "upstream_authorizations",
            "api_keys",
            "connections",
        ]
        .contains(&table);
        assert!(!made || before.contains(&format!("{table}.{column}")), "{table}.{column}: {before:?}");
    }

    deletion::delete_own(&dev.ctx, email, PASSWORD).await.unwrap();
    t.mails().await;
    domain::audit::erasure::run(&t.env).await.unwrap();
    // What they did last is written only now.
    recorder.flush(&t.env).await.unwrap();
    t.clock.advance(61_000);
    domain::audit::erasure::run(&t.env).await.unwrap();
    assert_eq!(places(&t, NAME).await, Vec::<String>::new());
    assert!(domain::audit::erasure::waiting(&t.env).await.unwrap().is_empty());
    let instead = places(&t, domain::audit::erasure::NOBODY).await;
    assert!(instead.contains(&"request_log.principal_name".to_owned()), "what was done stays: {instead:?}");
    for report in domain::audit::verify_all(&t.env, None).await.unwrap() {
        assert_eq!(report.broken, None);
    }
});

env_test!(del_04_every_column_that_says_who_is_among_those_that_are_gone_over, |t| async {
    let known: std::collections::HashSet<_> = store::erasures::columns().collect();
    let columns = t.env.db.describe_columns().await.unwrap();
    for column in columns {
        let who = column.column.ends_with("_by") || column.column == "inviter_name";
        // These hold ids.
        let id = ["slug_tombstones.buried_by", "invitations.invited_by", "exports.asked_by"]
            .contains(&format!("{}.{}", column.table, column.column).as_str());
        let of = (column.table.as_str(), column.column.as_str());
        assert!(!who || id || known.contains(&of), "{of:?} keeps a name");
    }
});

env_test!(oar_04_a_suspended_organisation_does_not_work, |t| async move {
    let acme = t.org("acme").await;
    let planes = domain::dataplane::Planes::load(t.env.clone()).await.unwrap();
    let granted = t.grant(&acme, "gth_client_x", "mcp:call").await;
    suspension::set(&t.env, acme.org_id(), true).await.unwrap();
    suspension::set(&t.env, acme.org_id(), true).await.unwrap();
    assert_eq!(code(OrgActor::<can::ConnectorsRead>::require(&acme.ctx).await), "org_suspended");
    planes.refresh().await.unwrap();
    let plane = domain::dataplane::Directory::plane(planes.as_ref(), acme.org_id()).await.unwrap().unwrap();
    assert!(plane.suspended && !plane.grants.contains_key(&granted.grant), "its tokens get 401");
    suspension::set(&t.env, acme.org_id(), false).await.unwrap();
    assert!(OrgActor::<can::ConnectorsRead>::require(&acme.ctx).await.is_ok());
    planes.refresh().await.unwrap();
    let plane = domain::dataplane::Directory::plane(planes.as_ref(), acme.org_id()).await.unwrap().unwrap();
    assert!(!plane.suspended && plane.grants.contains_key(&granted.grant));
    let told = actions(&t, &acme).await;
    assert!(told.contains(&"org.suspended ok".into()) && told.contains(&"org.resumed ok".into()));
});

env_test!(pwd_10_people_hear_of_what_happens_to_their_account, |t| async move {
    let acme = t.org("acme").await;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let email = "dev@acme.example";
    log_in(&t, email, PASSWORD).await.unwrap();
    assert!(t.mails().await.is_empty(), "a new account's first log-in is no news");
    t.clock.advance(2 * HOUR);
    let device = log_in(&t, email, PASSWORD).await.unwrap().device;
    assert_eq!(t.mails().await[0].subject, "A new browser logged in");
    let origin = t.anonymous().origin;
    accounts::sign_in(&t.env, &origin, email, PASSWORD, Some(device.as_str())).await.unwrap();
    assert!(t.mails().await.is_empty(), "a known browser is no news");
    for _ in 0..10 {
        _ = log_in(&t, email, "wrong").await;
        t.clock.advance(16 * 60_000);
    }
    log_in(&t, email, PASSWORD).await.unwrap();
    assert_eq!(t.mails().await[0].subject, "A log-in after many failed ones");
    team::set_role(&t.env, &acme.actor().await, dev.user, Role::Viewer).await.unwrap();
    assert_eq!(t.mails().await[0].subject, "Your role in acme changed");
});

env_test!(pwd_08_links_come_from_the_configuration, |t| async move {
    let acme = t.org("acme").await;
    invitations::invite(&t.env, &acme.actor().await, "a@x.example", Role::Member).await.unwrap();
    recovery::ask(&t.env, &t.anonymous().origin, "owner@acme.example").await.unwrap();
    for mail in t.mails().await {
        for text in [&mail.text, &mail.html] {
            for link in text.split("http").skip(1) {
                assert!(link.starts_with("://localhost:3000/"), "{link}");
            }
        }
    }
    let refused = code(invitations::invite(&t.env, &acme.actor().await, " ", Role::Member).await);
    assert_eq!(refused, "emails/required");
});
