//! What is asked of addresses that are neither pages nor functions.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{Walk, Who, Whose, fields, post};
use crate::{
    oauth::authorize,
    support::{HOST, rpc_request},
    tenancy::{
        pages::{OTHERS, Way},
        same::{filled, plain},
    },
};

impl Walk<'_> {
    /// What is no page and no function.
    pub(super) async fn other(&mut self, who: Who, route: &str, way: &Way) {
        let (victim, rival, nowhere) = (self.victim, self.rival, self.nowhere.clone());
        let member = who == Who::OwnerOfAnother;
        let what = format!("{who:?} {route}");
        match *way {
            Way::Functions | Way::Open | Way::Client(_) => {}
            Way::File(_, pairs, _) | Way::Post(pairs) => {
                let mut answers = Vec::new();
                for things in [&victim.ids, &nowhere] {
                    let said = fields(pairs, Whose { things, own: &rival.ids });
                    answers.push(post(self.browser(who), route, &said).await);
                }
                let asked: Vec<&str> = pairs.iter().map(|(_, value)| *value).collect();
                let status = match *way {
                    Way::File(_, _, status) if member => Some(status),
                    _ => None,
                };
                self.same(&what, &asked, (&answers[0], &answers[1]), status);
            }
            Way::Get(path) | Way::Document(path) | Way::Registration(path) => {
                let theirs = filled(path, &victim.ids, &rival.ids);
                let none = filled(path, &nowhere, &rival.ids);
                let mut theirs = self.browser(who).get(&theirs).await;
                let none = self.browser(who).get(&none).await;
                if matches!(*way, Way::Document(_)) {
                    theirs.text = theirs.text.replace(&format!(",\"{}\"", victim.ids["issuer"]), "");
                }
                self.same(&what, &[path], (&theirs, &none), None);
            }
            Way::Authorize(resource) => {
                let mut pages = Vec::new();
                for things in [&victim.ids, &nowhere] {
                    let resource = filled(resource, things, &rival.ids);
                    let asked = authorize(&rival.ids["app"], &[("resource", Some(&resource))]);
                    let asked = self.browser(who).get(&asked).await;
                    let to = asked.header("location").to_owned();
                    let request = to.strip_prefix("/oauth/consent?request=").unwrap_or("none");
                    let mut page = if to.is_empty() { asked } else { self.browser(who).get(&to).await };
                    page.text = page.text.replace(request, "<request>");
                    pages.push(page);
                }
                // Who is no member is told that, and not that there is no such resource (OAZ-06); and nothing else.
                self.expect(pages[0].status == pages[1].status, || format!("{what}: {:?}", pages[0]));
                self.silent(&what, &plain(&pages[0], &[resource], &victim.ids));
            }
            Way::Events(_, path) => {
                // They do not end: how they begin is all there is to see.
                let mut begun = Vec::new();
                for things in [&victim.ids, &nowhere] {
                    begun.push(self.begin(who, &filled(path, things, &rival.ids)).await);
                }
                self.expect(begun[0] == begun[1] && begun[0].is_success() == member, || {
                    format!("{what}: {begun:?}")
                });
            }
            Way::Endpoint(path) => {
                let list = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
                let mut answers = Vec::new();
                for things in [&victim.ids, &nowhere] {
                    let path = filled(path, things, &rival.ids);
                    let mut of_one = vec![self.app.send(rpc_request(&path, Some(&rival.key), &list)).await];
                    let request = rpc_request(&path, None, &list);
                    let (mut parts, body) = request.into_parts();
                    let bearer = format!("Bearer {}", rival.ids["token"]);
                    parts.headers.insert(header::AUTHORIZATION, bearer.parse().unwrap());
                    of_one.push(self.app.send(Request::from_parts(parts, body)).await);
                    of_one.push(self.app.send(rpc_request(&path, None, &list)).await);
                    // A session of the dashboard opens nothing of it.
                    of_one.push(self.browser(who).post(&path, &[]).await);
                    answers.push(of_one);
                }
                for (at, (theirs, none)) in answers[0].iter().zip(&answers[1]).enumerate() {
                    let status = (at < 3 && !path.ends_with("/sse")).then_some(401);
                    self.same(&format!("{what} {at}"), &[path], (theirs, none), status);
                }
            }
            Way::ByKey(path) => {
                let mut answers = Vec::new();
                for things in [&victim.ids, &nowhere] {
                    let call = serde_json::json!({"tool": format!("{}__whoami", things["tool_slug"]), "arguments": {}});
                    let mut request = rpc_request(path, Some(&rival.key), &call);
                    if path == model::paths::rest_tools() {
                        *request.method_mut() = axum::http::Method::GET;
                    }
                    answers.push(self.app.send(request).await);
                }
                self.same(&what, &["{tool_slug}"], (&answers[0], &answers[1]), None);
            }
        }
    }

    /// The status with which a stream begins.
    async fn begin(&mut self, who: Who, path: &str) -> StatusCode {
        let cookies: Vec<String> =
            self.browser(who).cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.begin_with(path, Some(cookies.join("; "))).await
    }

    pub(super) async fn begin_with(&self, path: &str, cookies: Option<String>) -> StatusCode {
        let mut request =
            Request::get(path).header(header::HOST, HOST).header("sec-fetch-site", "same-origin");
        if let Some(cookies) = cookies {
            request = request.header(header::COOKIE, cookies);
        }
        self.app.respond(request.body(Body::empty()).unwrap()).await.status()
    }

    /// A client of the authorization server that is another organisation's.
    pub(in crate::tenancy) async fn as_another_client(&mut self) {
        let (victim, rival, nowhere) = (self.victim, self.rival, self.nowhere.clone());
        let basic = format!("{}:{}", rival.ids["client"], rival.client_secret);
        let basic = format!("Basic {}", data_encoding::BASE64.encode(basic.as_bytes()));
        for (route, way) in OTHERS {
            let Way::Client(pairs) = *way else { continue };
            let mut answers = Vec::new();
            for things in [&victim.ids, &nowhere] {
                let said = fields(pairs, Whose { things, own: &rival.ids });
                answers.push(self.carrying(route, Some(&said), "authorization", &basic).await);
            }
            self.same(&format!("another's client {route}"), &[], (&answers[0], &answers[1]), None);
            let told = &answers[0];
            let nothing = match *route {
                "/oauth/introspect" => told.json() == serde_json::json!({"active": false}),
                "/oauth/revoke" => told.status == StatusCode::OK,
                _ => told.json()["error"] == "invalid_grant",
            };
            self.expect(nothing, || format!("{route}: {} {}", told.status, told.text));
        }
    }
}
