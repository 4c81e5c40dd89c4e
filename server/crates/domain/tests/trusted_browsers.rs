//! Browsers that skip the second step, short passwords beside a second factor, and another slug, on both databases.

use domain::{
    Error, OrgActor,
    accounts::{self, AfterPassword, Known},
    api_keys,
    dataplane::{Directory as _, Planes},
    env_test, invitations,
    mfa::{self, Shown},
    org_security, orgs, own_account, passkeys, recovery, renaming,
    request::RequestContext,
    testing::{PASSWORD, TestEnv, TestMember, token_of},
    trusted_browsers,
};
use model::{AppError, ErrorKind, Role, permissions::can};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// Eight characters, and not easy to guess.
const SHORT: &str = "vq8#Lm2!";

fn app(error: Error) -> AppError {
    error.into_app("")
}

fn email(member: &TestMember) -> String {
    format!("owner@{}.example", member.org.slug)
}

/// Logs in from a browser with this cookie; whether it skipped the second step.
async fn skips(t: &TestEnv, member: &TestMember, trusted: &str) -> bool {
    let browser = Known { device: None, trusted: Some(trusted) };
    let done = accounts::sign_in(&t.env, &t.anonymous().origin, &email(member), PASSWORD, browser).await;
    matches!(done.unwrap(), AfterPassword::SignedIn(_))
}

/// A browser at the second step; it is trusted once that is taken.
async fn at_second_step(t: &TestEnv, member: &TestMember) -> RequestContext {
    let ctx = t.anonymous();
    match accounts::sign_in(&t.env, &ctx.origin, &email(member), PASSWORD, None).await.unwrap() {
        AfterPassword::SecondFactor(step) => RequestContext { step: Some(step), ..ctx },
        AfterPassword::SignedIn(_) => panic!("no second factor was asked for"),
    }
}

async fn trust(t: &TestEnv, member: &TestMember) -> Option<String> {
    trusted_browsers::begin(&t.anonymous(), member.user).await.unwrap()
}

env_test!(a_trusted_browser_skips_the_second_step_for_thirty_days, |t| async {
    let acme = t.org("acme").await;
    t.enrol(&acme.ctx).await;
    assert!(trusted_browsers::offered(&at_second_step(&t, &acme).await).await.unwrap());
    let cookie = trust(&t, &acme).await.expect("a cookie");
    assert!(skips(&t, &acme, &cookie).await);
    assert!(!skips(&t, &acme, "another").await);
    // It is that of one person.
    let other = t.org("other").await;
    t.enrol(&other.ctx).await;
    assert!(!skips(&t, &other, &cookie).await);
    // The database has its hash.
    let mut tx = t.env.db.read().await.unwrap();
    let row = store::trusted_browsers::list(&mut tx, acme.user, t.env.now()).await.unwrap().remove(0);
    assert_eq!(row.token_hash.len(), 32);
    drop(tx);
    let own = RequestContext { trusted: Some(cookie.clone()), ..acme.ctx.clone() };
    let list = trusted_browsers::list(&own).await.unwrap();
    assert!(list.len() == 1 && list[0].current && list[0].last_used_at.is_some());
    t.clock.advance(30 * DAY);
    assert!(!skips(&t, &acme, &cookie).await, "thirty days later");
    assert!(trusted_browsers::list(&own).await.unwrap().is_empty());
});

env_test!(a_trusted_browser_ends_by_hand_and_with_every_change_of_password_or_factor, |t| async {
    let acme = t.org("acme").await;
    let codes = t.enrol(&acme.ctx).await;
    let cookie = trust(&t, &acme).await.unwrap();
    let id = trusted_browsers::list(&acme.ctx).await.unwrap()[0].id;
    let stranger = t.org("other").await;
    assert_eq!(app(trusted_browsers::revoke(&stranger.ctx, id).await.unwrap_err()).kind, ErrorKind::NotFound);
    trusted_browsers::revoke(&acme.ctx, id).await.unwrap();
    assert!(!skips(&t, &acme, &cookie).await, "revoked");

    let cookie = trust(&t, &acme).await.unwrap();
    t.passkey(&acme.ctx).await;
    assert!(!skips(&t, &acme, &cookie).await, "a passkey was added");

    let cookie = trust(&t, &acme).await.unwrap();
    let proven = t.prove(&acme.ctx).await;
    let passkey = passkeys::status(&acme.ctx).await.unwrap().list[0].id;
    passkeys::remove(&acme.ctx, &proven, passkey, "", Shown::Code("")).await.unwrap();
    assert!(!skips(&t, &acme, &cookie).await, "a passkey was removed");

    let cookie = trust(&t, &acme).await.unwrap();
    t.enrol(&acme.ctx).await;
    assert!(!skips(&t, &acme, &cookie).await, "another app");

    let cookie = trust(&t, &acme).await.unwrap();
    let link = recovery::link_by_operator(&t.env, &email(&acme)).await.unwrap();
    let token = link.rsplit('/').next().unwrap();
    recovery::reset(&t.env, &t.anonymous().origin, token, PASSWORD).await.unwrap();
    assert!(!skips(&t, &acme, &cookie).await, "the password was set anew");

    let cookie = trust(&t, &acme).await.unwrap();
    let new = "another horse battery staple 8";
    own_account::change_password(&acme.ctx, PASSWORD, new).await.unwrap();
    own_account::change_password(&acme.ctx, new, PASSWORD).await.unwrap();
    assert!(!skips(&t, &acme, &cookie).await, "the password was changed");
    assert_eq!(codes.len(), 10);
});

env_test!(an_organisation_that_requires_a_second_factor_decides_about_trusted_browsers, |t| async {
    let acme = t.org("acme").await;
    t.enrol(&acme.ctx).await;
    let cookie = trust(&t, &acme).await.unwrap();
    let proven = t.prove(&acme.ctx).await;
    let actor = acme.actor::<can::SecurityManage>().await;
    org_security::set_require_mfa(&t.env, &actor, &proven, true).await.unwrap();
    assert!(!skips(&t, &acme, &cookie).await, "it wants it at each log-in");
    assert!(!trusted_browsers::offered(&at_second_step(&t, &acme).await).await.unwrap());
    assert!(trust(&t, &acme).await.is_none());
    trusted_browsers::allow(&t.env, &actor, &proven, true).await.unwrap();
    let reads = OrgActor::<can::SecurityRead>::require(&acme.ctx).await.unwrap();
    assert!(org_security::get(&acme.ctx, &reads).await.unwrap().trusted_browsers);
    assert!(skips(&t, &acme, &cookie).await);
    assert!(trust(&t, &acme).await.is_some());
});

env_test!(pwd_03_eight_characters_will_do_beside_a_second_factor_and_no_longer_than_that, |t| async {
    let acme = t.org("acme").await;
    let bare = app(own_account::change_password(&acme.ctx, PASSWORD, SHORT).await.unwrap_err());
    assert_eq!(bare.code, "too_short");
    let codes = t.enrol(&acme.ctx).await;
    t.prove(&acme.ctx).await;
    own_account::change_password(&acme.ctx, PASSWORD, SHORT).await.expect("beside a second factor");
    // By a link as well.
    let link = recovery::link_by_operator(&t.env, &email(&acme)).await.unwrap();
    recovery::reset(&t.env, &t.anonymous().origin, link.rsplit('/').next().unwrap(), SHORT).await.unwrap();
    // It is not left alone.
    let kept = app(mfa::turn_off(&acme.ctx, SHORT, Shown::Code(&codes[0])).await.unwrap_err());
    assert_eq!((kept.kind, kept.code.as_str()), (ErrorKind::Invalid, "password_too_weak_alone"));
    assert!(mfa::status(&acme.ctx).await.unwrap().since.is_some());
    t.prove(&acme.ctx).await;
    own_account::change_password(&acme.ctx, SHORT, PASSWORD).await.unwrap();
    assert!(
        mfa::turn_off(&acme.ctx, PASSWORD, Shown::Code(&codes[0])).await.expect("nothing was used up before")
    );
});

env_test!(pwd_03_an_invitation_to_an_organisation_that_requires_a_second_factor_takes_eight, |t| async {
    let acme = t.org("acme").await;
    let invited = async |guest: &str| {
        let actor = acme.actor::<can::TeamInvite>().await;
        invitations::invite(&t.env, &actor, guest, Role::Member).await.unwrap();
        let mails = t.mails().await;
        token_of(mails.iter().find(|mail| mail.to == guest).expect("an invitation"))
    };
    let origin = t.anonymous().origin;
    let token = invited("bob@example.com").await;
    let short = invitations::accept_as_new(&t.env, &origin, &token, "Bob", SHORT).await.map_err(app);
    assert_eq!(short.unwrap_err().code, "too_short");
    t.enrol(&acme.ctx).await;
    let proven = t.prove(&acme.ctx).await;
    let actor = acme.actor::<can::SecurityManage>().await;
    org_security::set_require_mfa(&t.env, &actor, &proven, true).await.unwrap();
    invitations::accept_as_new(&t.env, &origin, &token, "Bob", SHORT).await.expect("a second factor follows");
});

env_test!(whoever_has_an_invitation_that_is_too_old_can_ask_for_another, |t| async {
    let acme = t.org("acme").await;
    let actor = acme.actor::<can::TeamInvite>().await;
    invitations::invite(&t.env, &actor, "bob@example.com", Role::Member).await.unwrap();
    let token = token_of(t.mails().await.iter().find(|mail| mail.to == "bob@example.com").unwrap());
    let origin = t.anonymous().origin;
    let ask = async |token: &str| invitations::ask_again(&t.env, &origin, token).await.map_err(app);
    // One that works, and none at all: answered alike, and nobody hears of it.
    ask(&token).await.unwrap();
    ask("no such link").await.unwrap();
    assert!(t.mails().await.is_empty());
    t.clock.advance(8 * DAY);
    ask(&token).await.unwrap();
    ask(&token).await.unwrap();
    let mails = t.mails().await;
    assert_eq!(mails.len(), 1, "once a day: {mails:?}");
    assert_eq!(mails[0].to, email(&acme));
    assert!(mails[0].subject.contains("bob@example.com"), "{mails:?}");
    let reads = OrgActor::<can::TeamRead>::require(&acme.ctx).await.unwrap();
    assert!(invitations::list(&t.env, &reads).await.unwrap().open[0].asked_at.is_some());
    t.clock.advance(DAY + 1);
    ask(&token).await.unwrap();
    assert_eq!(t.mails().await.len(), 1, "the next day");
    // One address does not fill a mailbox.
    for _ in 0..20 {
        if let Err(error) = ask("no such link").await {
            assert_eq!(error.kind, ErrorKind::RateLimited);
            return;
        }
    }
    panic!("nobody was told to wait");
});

env_test!(ten_05_a_renamed_organisation_keeps_its_keys_and_its_old_slug_is_nobodys, |t| async {
    let acme = t.org("acme").await;
    let other = t.org("other").await;
    t.machine(&acme, "gth_client_x", "mcp:call").await;
    let grant = t.grant(&acme, "gth_client_x", "mcp:call").await;
    for (to, code) in [("other", "slug_taken"), ("No Slug", "slug"), ("admin", "slug")] {
        assert_eq!(app(renaming::rename(&t.env, "acme", to).await.unwrap_err()).code, code, "{to}");
    }
    assert_eq!(renaming::rename(&t.env, "acme", "acme").await.unwrap().1, 0, "nothing to do");
    let planes = Planes::load(t.env.clone()).await.unwrap();
    assert_eq!(planes.lookup("acme"), Some(acme.org_id()));
    let (org, revoked) = renaming::rename(&t.env, "acme", "acme-labs").await.unwrap();
    assert_eq!((org.slug.as_str(), org.id, revoked), ("acme-labs", acme.org_id(), 1));
    planes.refresh().await.unwrap();
    assert_eq!((planes.lookup("acme"), planes.lookup("acme-labs")), (None, Some(acme.org_id())));
    let mut tx = t.env.db.read().await.unwrap();
    let row = store::oauth_grants::find(&mut tx, acme.org_id(), grant.grant).await.unwrap().unwrap();
    assert!(row.revoked_at.is_some(), "it was consented to the old address");
    drop(tx);
    let taken = app(orgs::create(&other.ctx, "Acme", "acme").await.unwrap_err());
    assert_eq!((taken.kind, taken.code.as_str()), (ErrorKind::Conflict, "slug_taken"));
    assert_eq!(
        app(renaming::rename(&t.env, "acme-labs", "acme").await.unwrap_err()).code,
        "slug_taken",
        "not even its own"
    );
    assert_eq!(app(orgs::find_by_slug(&t.env, "acme").await.unwrap_err()).kind, ErrorKind::NotFound);
    let reads = OrgActor::<can::ApiKeysRead>::require(&acme.ctx).await.unwrap();
    api_keys::page(&t.env, &reads).await.expect("its members work on");
});
