//! Who asks, and what they have to be answered.

mod others;

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use domain::{OrgActor, accounts, orgs, pin::Guarded, roles, team, testing::PASSWORD};
use model::{Permission, Role};

use super::{
    acts::{ACTS, Act, Needs},
    pages::{OTHERS, PAGES, Page, Way},
    same::{Things, filled, nowhere, plain},
    world::World,
};
use crate::support::{Answer, Browser, TestApp};

/// Where a refusal leaves something: in the log, and with the session that was refused.
pub(super) const NOTED: &[&str] = &[
    "audit_events",
    "audit_heads",
    "orgs",
    "outbox",
    "sessions",
    "oauth_grants",
    "refresh_tokens",
    "revoked_tokens",
    "connections",
];

type Rows = BTreeMap<String, BTreeSet<String>>;

pub(super) struct Walk<'a> {
    app: &'a TestApp,
    victim: &'a World,
    rival: &'a World,
    /// Ids in the form of the victim's, of things that there are not.
    nowhere: Things,
    owner_of_another: Browser<'a>,
    former: Browser<'a>,
    /// Members of the victim with one right each.
    low: Vec<(Permission, Browser<'a>)>,
    nobody: Browser<'a>,
    problems: Vec<String>,
}

/// What a request names: whose things, by name.
#[derive(Clone, Copy)]
struct Whose<'a> {
    things: &'a Things,
    own: &'a Things,
}

fn fields(pairs: &[(&'static str, &'static str)], whose: Whose<'_>) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, value)| (*name, filled(value, whose.things, whose.own))).collect()
}

async fn post(browser: &mut Browser<'_>, path: &str, fields: &[(&'static str, String)]) -> Answer {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.post(path, &fields).await
}

impl<'a> Walk<'a> {
    pub(super) async fn new(app: &'a TestApp, victim: &'a World, rival: &'a World) -> Self {
        let env = &app.test.env;
        let email = "gone@elsewhere.example";
        let gone = accounts::create_by_operator(env, email, PASSWORD, Some("Gone")).await.expect("a user");
        let operator = OrgActor::operator(victim.owner.org_id());
        orgs::put_member(env, &operator, email, Role::Owner).await.expect("a member");
        let mut former = app.browser();
        former.log_in(email, PASSWORD).await;
        assert_eq!(former.get("/team").await.status, StatusCode::OK);
        team::remove(env, &Guarded::operator(victim.owner.org_id()), gone).await.expect("removed");
        assert_eq!(former.post("/api/load_team", &[]).await.status, StatusCode::UNAUTHORIZED);
        former.log_in(email, PASSWORD).await;
        let mut low = Vec::new();
        for (name, right) in [("low", Permission::UsageRead), ("lower", Permission::ConnectorsRead)] {
            let input = roles::Input {
                name: name.to_owned(),
                description: String::new(),
                permissions: vec![right.as_str().to_owned()],
            };
            let role = roles::create(env, &victim.owner.actor().await, &input).await.expect("a role");
            app.test.member(&victim.owner, name, role).await;
            let mut browser = app.browser();
            browser.log_in(&format!("{name}@quarry.example"), PASSWORD).await;
            low.push((right, browser));
        }
        app.settle().await;
        Self {
            app,
            victim,
            rival,
            nowhere: nowhere(&victim.ids),
            owner_of_another: app.signed_in(&rival.owner).await,
            former,
            low,
            nobody: app.browser(),
            problems: Vec::new(),
        }
    }

    fn expect(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// That an answer about the victim's things is the one about things that there are not, and tells nothing.
    fn same(&mut self, what: &str, asked: &[&str], (theirs, none): (&Answer, &Answer), status: Option<u16>) {
        let (left, right) = (plain(theirs, asked, &self.victim.ids), plain(none, asked, &self.nowhere));
        let victim = self.victim;
        self.expect(theirs.status == none.status && left == right, || {
            let at = left.bytes().zip(right.bytes()).position(|(a, b)| a != b).unwrap_or_default();
            let cut = |text: &str| {
                text.get(at.saturating_sub(200)..).map(|rest| rest.chars().take(400).collect::<String>())
            };
            format!(
                "{what}: differs: {} {:?}\n  and {} {:?}",
                theirs.status,
                cut(&left),
                none.status,
                cut(&right)
            )
        });
        if let Some(status) = status {
            self.expect(theirs.status.as_u16() == status, || {
                let start: String = left.chars().take(300).collect();
                format!("{what}: {} and not {status}: {start}", theirs.status)
            });
        }
        let header = |answer: &Answer, things: &Things| {
            let location = Answer {
                status: answer.status,
                headers: axum::http::HeaderMap::new(),
                text: answer.header("location").to_owned(),
            };
            plain(&location, asked, things)
        };
        let to = (header(theirs, &victim.ids), header(none, &self.nowhere));
        self.expect(to.0 == to.1, || format!("{what}: leads elsewhere: {to:?}"));
        self.silent(what, &left);
    }

    /// That a text has nothing of the victim in it.
    fn silent(&mut self, what: &str, text: &str) {
        let told: Vec<&str> = self.victim.marks().filter(|mark| text.contains(mark)).collect();
        self.expect(told.is_empty(), || format!("{what}: tells of {told:?}"));
    }

    /// Calls a function with the victim's things and with none, through both of its addresses.
    async fn both(&mut self, who: Who, act: &Act, in_victims_name: bool, status: Option<u16>) {
        let (victim, rival) = (self.victim, self.rival);
        let nowhere = self.nowhere.clone();
        let asked: Vec<&str> = act.fields.iter().map(|(_, value)| *value).chain(["{org}"]).collect();
        let ways: &[&str] = if act.only_looks() { &["/api/"] } else { &["/api/", "/?do="] };
        for way in ways {
            let path = format!("{way}{}", act.name);
            let mut answers = Vec::new();
            for things in [&victim.ids, &nowhere] {
                let mut said = fields(act.fields, Whose { things, own: &rival.ids });
                if in_victims_name {
                    said.push((app::form::MADE_IN, things["org"].clone()));
                }
                answers.push(post(self.browser(who), &path, &said).await);
            }
            let what = format!("{who:?} {path} {:?} in their name: {in_victims_name}", act.fields);
            // A page leads whoever is a member of nothing to where they make an organisation.
            let status = status.filter(|_| who == Who::OwnerOfAnother || *way == "/api/");
            self.same(&what, &asked, (&answers[0], &answers[1]), status);
        }
    }

    fn browser(&mut self, who: Who) -> &mut Browser<'a> {
        match who {
            Who::OwnerOfAnother => &mut self.owner_of_another,
            Who::Former => &mut self.former,
        }
    }

    async fn page(&mut self, who: Who, page: &Page, status: Option<u16>) {
        let (victim, rival) = (self.victim, self.rival);
        let paths =
            [filled(page.path, &victim.ids, &rival.ids), filled(page.path, &self.nowhere, &rival.ids)];
        let theirs = self.browser(who).get(&paths[0]).await;
        let none = self.browser(who).get(&paths[1]).await;
        self.same(&format!("{who:?} {}", page.path), &[page.path], (&theirs, &none), status);
    }

    /// An owner of another organisation, with everything that owners may.
    pub(super) async fn as_owner_of_another(&mut self) {
        let who = Who::OwnerOfAnother;
        for act in ACTS.iter().copied().flatten().filter(|act| act.needs != Needs::Nobody) {
            if act.names_something() {
                self.both(who, act, false, Some(act.foreign)).await;
            }
            if act.only_looks() {
                if !act.names_something() {
                    let said = fields(act.fields, Whose { things: &self.rival.ids, own: &self.rival.ids });
                    let answer = post(&mut self.owner_of_another, &format!("/api/{}", act.name), &said).await;
                    self.expect(answer.status == StatusCode::OK, || format!("{}: {}", act.name, answer.text));
                    self.silent(act.name, &answer.text);
                }
            } else if matches!(act.needs, Needs::Right(_)) {
                // A form that says that it is of the other organisation does not become one of it (TEN-02).
                self.both(who, act, true, Some(409)).await;
            }
        }
        for page in PAGES.iter().filter(|page| page.needs != Needs::Nobody) {
            self.page(who, page, Some(page.foreign)).await;
        }
        for (route, way) in OTHERS {
            self.other(who, route, way).await;
        }
    }

    /// Somebody who was an owner of the victim, logged in again, and is a member of nothing.
    pub(super) async fn as_former_member(&mut self) {
        let who = Who::Former;
        for act in ACTS.iter().copied().flatten().filter(|act| act.needs != Needs::Nobody) {
            let right = matches!(act.needs, Needs::Right(_));
            if right || act.names_something() {
                self.both(who, act, false, right.then_some(404)).await;
            }
            if right && !act.only_looks() {
                self.both(who, act, true, Some(404)).await;
            }
        }
        for page in PAGES.iter().filter(|page| page.needs != Needs::Nobody) {
            self.page(who, page, None).await;
        }
        for (route, way) in OTHERS {
            self.other(who, route, way).await;
        }
    }

    /// Nobody; and programs, with their own credentials and the victim's, which open the endpoint and nothing here.
    pub(super) async fn as_nobody_and_programs(&mut self) {
        let (victim, rival) = (self.victim, self.rival);
        let whose = Whose { things: &victim.ids, own: &rival.ids };
        let mut carried: Vec<(&str, String)> = Vec::new();
        for world in [rival, victim] {
            carried.push(("x-api-key", world.key.clone()));
            carried.push(("authorization", format!("Bearer {}", world.key)));
            carried.push(("authorization", format!("Bearer {}", world.ids["token"])));
        }
        let mut asked = Vec::new();
        for act in ACTS.iter().copied().flatten().filter(|act| act.needs != Needs::Nobody) {
            asked.push((
                format!("/api/{}", act.name),
                Some(fields(act.fields, whose)),
                StatusCode::UNAUTHORIZED,
            ));
            if !act.only_looks() {
                asked.push((
                    format!("/?do={}", act.name),
                    Some(fields(act.fields, whose)),
                    StatusCode::SEE_OTHER,
                ));
            }
        }
        for page in PAGES.iter().filter(|page| page.needs != Needs::Nobody) {
            asked.push((filled(page.path, &victim.ids, &rival.ids), None, StatusCode::SEE_OTHER));
        }
        for (route, way) in OTHERS {
            match *way {
                Way::File(_, pairs, _) | Way::Post(pairs) => {
                    asked.push(((*route).to_owned(), Some(fields(pairs, whose)), StatusCode::SEE_OTHER));
                }
                Way::Events(_, path) => {
                    let begun = self.begin_with(&filled(path, &victim.ids, &rival.ids), None).await;
                    self.expect(begun == StatusCode::UNAUTHORIZED, || format!("nobody {route}: {begun}"));
                }
                _ => {}
            }
        }
        for (path, said, status) in asked {
            let as_nobody = match &said {
                Some(said) => post(&mut self.nobody, &path, said).await,
                None => self.nobody.get(&path).await,
            };
            let led =
                !as_nobody.status.is_redirection() || as_nobody.header("location").starts_with("/sign-in");
            self.expect(as_nobody.status == status && led, || {
                let start: String = as_nobody.text.chars().take(200).collect();
                format!("nobody {path}: {} {:?} {start}", as_nobody.status, as_nobody.header("location"))
            });
            for (name, value) in &carried {
                let answer = self.carrying(&path, said.as_deref(), name, value).await;
                self.expect(
                    answer.status == as_nobody.status
                        && answer.header("location") == as_nobody.header("location")
                        && plain(&answer, &[], &victim.ids) == plain(&as_nobody, &[], &victim.ids),
                    || format!("{name} at {path}: {} {}", answer.status, answer.text),
                );
            }
        }
    }

    async fn carrying(
        &mut self,
        path: &str,
        said: Option<&[(&'static str, String)]>,
        name: &str,
        value: &str,
    ) -> Answer {
        let request = match said {
            Some(_) => Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
            None => Request::get(path),
        };
        let request =
            request.header(name, value).header("accept", "text/html").header("sec-fetch-site", "same-origin");
        let form: Vec<String> = said
            .unwrap_or_default()
            .iter()
            .map(|(name, value)| format!("{}={}", model::paths::encode(name), model::paths::encode(value)))
            .collect();
        self.nobody.send(request, Body::from(form.join("&"))).await
    }

    /// Members of the victim who may do something else.
    pub(super) async fn with_less_rights(&mut self) {
        let victim = self.victim;
        let whose = Whose { things: &victim.ids, own: &victim.ids };
        let mut asked = Vec::new();
        for act in ACTS.iter().copied().flatten() {
            if let Needs::Right(right) = act.needs {
                asked.push((right, format!("/api/{}", act.name), Some(fields(act.fields, whose))));
            }
        }
        for page in PAGES {
            if let Needs::Right(right) = page.needs {
                asked.push((right, filled(page.path, &victim.ids, &victim.ids), None));
            }
        }
        for (route, way) in OTHERS {
            match *way {
                Way::File(right, pairs, _) => {
                    asked.push((right, (*route).to_owned(), Some(fields(pairs, whose))));
                }
                Way::Events(right, path) => {
                    let at = self.low.iter().position(|(held, _)| *held != right).expect("somebody without");
                    let cookies: Vec<String> = self.low[at]
                        .1
                        .cookies
                        .iter()
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect();
                    let path = filled(path, &victim.ids, &victim.ids);
                    let begun = self.begin_with(&path, Some(cookies.join("; "))).await;
                    self.expect(begun == StatusCode::FORBIDDEN, || {
                        format!("{path} without {right}: {begun}")
                    });
                }
                _ => {}
            }
        }
        for (right, path, said) in asked {
            let (_, browser) =
                self.low.iter_mut().find(|(held, _)| *held != right).expect("somebody without");
            let answer = match &said {
                Some(said) => post(browser, &path, said).await,
                None => browser.get(&path).await,
            };
            let says = answer.text.contains(right.as_str());
            self.expect(answer.status == StatusCode::FORBIDDEN && says, || {
                let start: String = answer.text.chars().take(300).collect();
                format!("{path} without {right}: {} {start}", answer.status)
            });
        }
        // What is somebody's own is not another member's either.
        let nowhere = self.nowhere.clone();
        let acts = ACTS.iter().copied().flatten();
        for act in acts.filter(|act| act.needs == Needs::Person && act.names_something()) {
            if ["switch_org", "leave_org"].contains(&act.name) {
                continue;
            }
            let mut answers = Vec::new();
            for things in [&victim.ids, &nowhere] {
                let said = fields(act.fields, Whose { things, own: &victim.ids });
                answers.push(post(&mut self.low[0].1, &format!("/api/{}", act.name), &said).await);
            }
            let asked: Vec<&str> = act.fields.iter().map(|(_, value)| *value).collect();
            let (theirs, none) =
                (plain(&answers[0], &asked, &victim.ids), plain(&answers[1], &asked, &nowhere));
            self.expect(theirs == none && answers[0].status.as_u16() == act.foreign, || {
                format!("another member {}: {} {theirs}\n  and {none}", act.name, answers[0].status)
            });
        }
    }

    /// That nothing of the victim changed, but in these tables.
    pub(super) fn unchanged(&mut self, before: &Rows, after: &Rows, but: &[&str]) {
        for (table, rows) in after {
            if but.contains(&table.as_str()) || before.get(table) == Some(rows) {
                continue;
            }
            let old = &before[table];
            let (gone, new): (Vec<_>, Vec<_>) =
                (old.difference(rows).collect(), rows.difference(old).collect());
            self.problems.push(format!("{table} changed:\n  - {gone:?}\n  + {new:?}"));
        }
    }

    pub(super) fn end(self) {
        assert!(
            self.problems.is_empty(),
            "{} problems:\n{}",
            self.problems.len(),
            self.problems.join("\n\n")
        );
    }
}

/// Whose browser asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    OwnerOfAnother,
    Former,
}
