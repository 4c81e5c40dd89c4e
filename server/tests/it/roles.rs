//! Roles that organisations make, as pages and functions have them.

use axum::http::StatusCode;
use domain::{
    roles::{self, Input},
    testing::{PASSWORD, TestMember},
};
use model::{Role, RoleId, RoleKey, paths};
use store::Kind;

use crate::support::{TestApp, input_value};

fn input(name: &str, permissions: &[&str]) -> Input {
    Input {
        name: name.to_owned(),
        description: "For the night shift".to_owned(),
        permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
    }
}

async fn made(app: &TestApp, by: &TestMember, name: &str, permissions: &[&str]) -> RoleId {
    roles::create(&app.test.env, &by.actor().await, &input(name, permissions)).await.expect("a role")
}

#[tokio::test]
async fn a_role_is_made_given_changed_and_deleted_by_forms() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let dev = app.test.member(&acme, "dev", Role::Member).await;
    let mut owner = app.signed_in(&acme).await;
    let page = owner.get(paths::team_roles()).await;
    assert!(page.text.contains("has none of its own") && page.text.contains("New role"), "{}", page.text);
    let page = owner.get(paths::new_role()).await;
    assert_eq!(page.status, StatusCode::OK);
    let org = input_value(&page.text, "made_in_org").expect("the organisation in the form");
    let org = org.as_str();
    assert!(page.text.contains("value=\"api-keys:read\""), "{}", page.text);
    // What belongs to owners alone is not even offered.
    for reserved in ["org:delete", "billing:manage"] {
        assert!(!page.text.contains(&format!("value=\"{reserved}\"")), "{reserved}");
    }
    let new = format!("{}?do=put_role", paths::new_role());
    let flawed = owner.post(&new, &[("made_in_org", org), ("name", "Öwner"), ("description", "d")]).await;
    assert_eq!(flawed.status, StatusCode::CONFLICT, "{}", flawed.text);
    assert!(flawed.text.contains("looks like the built-in role owner"), "{}", flawed.text);
    assert!(flawed.text.contains("Choose at least one permission"), "{}", flawed.text);
    let fields = [
        ("made_in_org", org),
        ("name", "Key <keeper>"),
        ("description", "Keeps & rotates"),
        ("permissions[]", "api-keys:create"),
        ("permissions[]", "api-keys:revoke"),
    ];
    let saved = owner.post(&new, &fields).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    let page = owner.get(paths::team_roles()).await;
    assert!(page.text.contains("Key &lt;keeper&gt;") && page.text.contains("0 members"), "{}", page.text);

    let listed = roles::list(&app.test.env, &acme.actor().await).await.unwrap();
    let RoleKey::Custom(id) = listed.custom[0].role.key else { panic!("{listed:?}") };
    let (id_text, user) = (id.to_string(), dev.user.to_string());
    let team = owner.get(paths::team()).await;
    assert!(team.text.contains("Key &lt;keeper&gt;"), "it can be chosen: {}", team.text);
    let given = [("made_in_org", org), ("id", user.as_str()), ("role", id_text.as_str())];
    let given = owner.post(&format!("{}?do=set_member_role", paths::team()), &given).await;
    assert_eq!(given.status, StatusCode::SEE_OTHER, "{}", given.text);
    let team = owner.get(paths::team()).await;
    assert!(team.text.contains("3 of 30 rights"), "what it allows is seen: {}", team.text);
    let mut member = app.browser();
    member.log_in("dev@acme.example", PASSWORD).await;
    assert_eq!(member.get(paths::settings_api_keys()).await.status, StatusCode::OK);
    assert_eq!(member.get(paths::connectors()).await.status, StatusCode::FORBIDDEN);

    // SES-02: with other rights they get another identifier, and the old one is worth nothing.
    let old = member.cookies["gatehouse"].clone();
    let own = paths::team_role(id);
    let page = owner.get(&own).await;
    assert!(page.text.contains("1 member has it, 0 invitations are open"), "{}", page.text);
    let fields = [
        ("made_in_org", org),
        ("id", id_text.as_str()),
        ("name", "Onlooker"),
        ("permissions[]", "connectors:read"),
    ];
    let changed = owner.post(&format!("{own}?do=put_role"), &fields).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER, "{}", changed.text);
    assert_eq!(member.get(paths::connectors()).await.status, StatusCode::OK);
    assert_ne!(member.cookies["gatehouse"], old);
    let mut planted = app.browser();
    planted.cookies.insert("gatehouse".into(), old);
    // After the seconds for what was under way.
    app.test.clock.advance(11_000);
    assert_eq!(planted.post("/api/load_me", &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(member.get(paths::settings_api_keys()).await.status, StatusCode::FORBIDDEN);

    let delete = format!("{own}?do=delete_role");
    let refused = owner.post(&delete, &[("made_in_org", org), ("id", &id_text)]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert!(refused.text.contains("choose what they get instead"), "{}", refused.text);
    let instead = [("made_in_org", org), ("id", id_text.as_str()), ("instead", "viewer")];
    let deleted = owner.post(&delete, &instead).await;
    assert_eq!(deleted.status, StatusCode::SEE_OTHER, "{}", deleted.text);
    assert_eq!(owner.get(&own).await.status, StatusCode::NOT_FOUND);
    assert!(owner.get(paths::settings_audit()).await.text.contains("deleted the role Onlooker"));
}

#[tokio::test]
async fn ten_01_roles_of_others_are_as_if_they_were_not_there() {
    let app = TestApp::new(Kind::Sqlite).await;
    let (acme, beta) = (app.org("acme").await, app.org("beta").await);
    let role = made(&app, &acme, "Night shift", &["logs:read"]).await;
    let random = RoleId::from_uuid(app.test.env.uuid());
    let mut stranger = app.signed_in(&beta).await;
    let org = beta.org_id().to_string();
    for function in ["put_role", "delete_role"] {
        let mut answers = Vec::new();
        for id in [role, random] {
            let id = id.to_string();
            let fields = [
                ("made_in_org", org.as_str()),
                ("id", id.as_str()),
                ("name", "Mine"),
                ("instead", "viewer"),
                ("permissions[]", "logs:read"),
            ];
            let answer = stranger.post(&format!("/api/{function}"), &fields).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{function}: {}", answer.text);
            answers.push((answer.json()["code"].clone(), answer.json()["message"].clone()));
            let nobody = app.browser().post(&format!("/api/{function}"), &fields).await;
            assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{function}");
        }
        assert_eq!(answers[0], answers[1], "{function}");
    }
    let shown = stranger.get(&paths::team_role(role)).await;
    assert!(shown.status == StatusCode::NOT_FOUND && !shown.text.contains("Night shift"), "{}", shown.text);
    let listed = stranger.post("/api/load_roles", &[]).await;
    assert!(!listed.text.contains("Night shift") && listed.status == StatusCode::OK, "{}", listed.text);
    // Nobody gives it, or invites to it, elsewhere.
    let dev = app.test.member(&beta, "dev", Role::Member).await.user.to_string();
    let key = role.to_string();
    let given = [("made_in_org", org.as_str()), ("id", dev.as_str()), ("role", key.as_str())];
    let given = stranger.post("/api/set_member_role", &given).await;
    assert_eq!(given.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", given.text);
    let invited = [("made_in_org", org.as_str()), ("emails", "x@x.example"), ("role", key.as_str())];
    let invited = stranger.post("/api/invite_members", &invited).await;
    assert_eq!(invited.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", invited.text);
    assert_eq!(
        roles::list(&app.test.env, &acme.actor().await).await.unwrap().custom[0].role.name,
        "Night shift"
    );
}

#[tokio::test]
async fn ten_04_roles_are_made_by_those_who_may_and_seen_by_those_who_see_the_team() {
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    let wide = made(&app, &acme, "Night shift", &["logs:read", "connectors:delete"]).await;
    let org = acme.org_id().to_string();
    let fields = |id: &str, name: &str, permission: &str| {
        [("made_in_org", &*org), ("id", id), ("name", name), ("permissions[]", permission)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    for (name, role) in [("vera", Role::Viewer), ("dev", Role::Developer), ("mem", Role::Member)] {
        app.test.member(&acme, name, role).await;
        let mut browser = app.browser();
        browser.log_in(&format!("{name}@acme.example"), PASSWORD).await;
        let sees = role == Role::Viewer;
        let page = browser.get(&paths::team_role(wide)).await;
        assert_eq!(page.status == StatusCode::OK, sees, "{name}: {}", page.text);
        assert_eq!(page.text.contains("connectors:delete"), sees, "{name}");
        assert!(!page.text.contains("Delete role"), "{name}: {}", page.text);
        let made = fields("", "Mine", "logs:read");
        let made: Vec<_> = made.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let refused = browser.post("/api/put_role", &made).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{name}: {}", refused.text);
        assert!(refused.text.contains("team:roles"), "{}", refused.text);
    }
    // Somebody with the right to roles, and little else, changes none that reaches further.
    let people = made(&app, &acme, "People", &["team:roles"]).await;
    app.test.member(&acme, "helper", people).await;
    let mut helper = app.browser();
    helper.log_in("helper@acme.example", PASSWORD).await;
    let page = helper.get(&paths::team_role(wide)).await;
    assert!(page.text.contains("holds rights that yours does not"), "{}", page.text);
    assert!(!page.text.contains("Delete role"), "{}", page.text);
    for (id, name, permission, status, word) in [
        (
            wide.to_string(),
            "Night shift",
            "logs:read",
            StatusCode::FORBIDDEN,
            "holds rights that yours does not",
        ),
        (
            people.to_string(),
            "People",
            "logs:read",
            StatusCode::UNPROCESSABLE_ENTITY,
            "You do not hold logs:read",
        ),
        (String::new(), "Boss", "org:delete", StatusCode::UNPROCESSABLE_ENTITY, "belongs to owners alone"),
    ] {
        let fields = fields(&id, name, permission);
        let fields: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let refused = helper.post("/api/put_role", &fields).await;
        assert_eq!(refused.status, status, "{name}: {}", refused.text);
        assert!(refused.text.contains(word), "{name}: {}", refused.text);
    }
}
