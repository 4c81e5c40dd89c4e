//! `TestApp`: the whole router on a throwaway database, with a clock that is moved, and browsers with cookies.

pub(crate) mod smtp;
pub(crate) mod tls;
pub(crate) mod upstream;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, Response, StatusCode, header},
};
use domain::{
    Env, OrgActor, api_keys,
    testing::{PASSWORD, TestEnv, TestMember},
};
use model::api_keys::{KeyScope, NewApiKey};
use serde_json::{Value, json};
use server::{config, front::Front, jobs::Work, middleware::client::Peer, routes::Stopping, serve};
use store::Kind;
use tower::ServiceExt as _;

/// What `Host` is in these tests.
pub(crate) const HOST: &str = "localhost:3000";

pub(crate) struct TestApp {
    pub(crate) test: TestEnv,
    pub(crate) front: Front,
    pub(crate) work: Work,
    /// What browsers send as `Host`.
    pub(crate) host: String,
}

impl TestApp {
    pub(crate) async fn new(kind: Kind) -> Self {
        Self::with(kind, &[]).await
    }

    pub(crate) async fn with(kind: Kind, settings: &[(&str, &str)]) -> Self {
        Self::with_env(kind, settings, |_| {}).await
    }

    /// The same with an environment that is changed before anything is built on it.
    pub(crate) async fn with_env(
        kind: Kind,
        settings: &[(&str, &str)],
        change: impl FnOnce(&mut Env),
    ) -> Self {
        let mut test = TestEnv::new(kind).await;
        change(&mut test.env);
        let mut variables: BTreeMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        variables.entry("GATEHOUSE_PUBLIC_URL".into()).or_insert_with(|| format!("http://{HOST}"));
        let config = config::load(variables).expect("settings");
        let settings = Arc::make_mut(&mut test.env.settings);
        settings.public_url = config.public_url.clone();
        settings.registration = config.registration;
        settings.sign_up = config.sign_up;
        settings.cimd = config.cimd;
        settings.native_schemes.clone_from(&config.native_schemes);
        settings.gateway_host.clone_from(&config.gateway_host);
        let ready = serve::assemble(test.env.clone(), &config, Stopping::default()).await.expect("a server");
        let host = config.public_url.authority().to_owned();
        Self { test, front: ready.front, work: ready.work, host }
    }

    /// What the jobs do by themselves in a running server: hear of changes, forward them.
    pub(crate) async fn settle(&self) {
        self.work.planes.refresh().await.expect("news");
        self.work.gateway.invalidate_all();
    }

    /// An organisation with one owner.
    pub(crate) async fn org(&self, slug: &str) -> TestMember {
        let member = self.test.org(slug).await;
        self.settle().await;
        member
    }

    /// A key of an organisation, as the operator makes it.
    pub(crate) async fn key(&self, member: &TestMember, scope: KeyScope) -> NewApiKey {
        let new = api_keys::NewKey { name: "test".into(), scope, expires_at: None, url_key: false };
        let made = api_keys::create(&self.test.env, &OrgActor::operator(member.org_id()), &new)
            .await
            .expect("a key");
        self.settle().await;
        made
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.respond(request).await).await
    }

    /// The answer as it is, for bodies that are no text.
    pub(crate) async fn respond(&self, request: Request<Body>) -> Response<Body> {
        self.front.clone().oneshot(request).await.expect("an answer")
    }

    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser { app: self, cookies: BTreeMap::new(), address: None, front: None }
    }

    /// A browser that asks another node than the first one.
    pub(crate) fn browser_at(&self, front: &Front) -> Browser<'_> {
        Browser { front: Some(front.clone()), ..self.browser() }
    }

    /// A browser in which the owner of an organisation is signed in, through the log-in page.
    pub(crate) async fn signed_in(&self, member: &TestMember) -> Browser<'_> {
        let mut browser = self.browser();
        let email = format!("owner@{}.example", member.org.slug);
        let answer = browser.log_in(&email, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        browser
    }

    /// A JSON-RPC request to an endpoint with a key and nothing else.
    pub(crate) async fn rpc(&self, path: &str, key: &str, method: &str, params: Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.send(rpc_request(path, Some(key), &body)).await
    }
}

pub(crate) fn rpc_request(path: &str, key: Option<&str>, body: &Value) -> Request<Body> {
    let mut request =
        Request::post(path).header(header::HOST, HOST).header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    request.body(Body::from(body.to_string())).expect("a request")
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 16 << 20).await.expect("a whole body");
        Self {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Keeps cookies, says where its requests come from as a browser does, and follows nothing by itself.
pub(crate) struct Browser<'a> {
    app: &'a TestApp,
    pub(crate) cookies: BTreeMap<String, String>,
    /// Where it connects from, if that matters.
    pub(crate) address: Option<std::net::IpAddr>,
    /// Which node it asks, if not the first one.
    front: Option<Front>,
}

impl Browser<'_> {
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(path).header("accept", "text/html").header("sec-fetch-site", "none");
        self.send(request, Body::empty()).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        let request = Request::post(path)
            .header("accept", "text/html")
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request, Body::from(form.join("&"))).await
    }

    pub(crate) async fn send(&mut self, request: axum::http::request::Builder, body: Body) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = match self.address {
            Some(address) => request.extension(Peer((address, 1).into())),
            None => request,
        };
        let request = request
            .header(header::HOST, &self.app.host)
            .header(header::COOKIE, cookies.join("; "))
            .header(header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64) Test/1.0")
            .body(body)
            .expect("a request");
        let front = self.front.as_ref().unwrap_or(&self.app.front).clone();
        let answer = Answer::read(front.oneshot(request).await.expect("an answer")).await;
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().expect("an ASCII cookie");
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") || value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// The hidden field of the form on a page.
    pub(crate) async fn form_token(&mut self, path: &str) -> String {
        let page = self.get(path).await;
        input_value(&page.text, "csrf")
            .unwrap_or_else(|| panic!("{path} has no field csrf: {} {}", page.status, page.text))
    }

    pub(crate) async fn log_in(&mut self, email: &str, password: &str) -> Answer {
        let csrf = self.form_token("/sign-in").await;
        self.post("/sign-in?do=sign_in", &[("email", email), ("password", password), ("csrf", &csrf)]).await
    }
}

/// The value of an `<input>` by its name, wherever the attributes stand.
pub(crate) fn input_value(html: &str, name: &str) -> Option<String> {
    html.split("<input").skip(1).find_map(|rest| {
        let tag = rest.split('>').next()?;
        if !tag.contains(&format!("name=\"{name}\"")) {
            return None;
        }
        Some(tag.split("value=\"").nth(1)?.split('"').next()?.to_owned())
    })
}

fn escaped(text: &str) -> String {
    model::paths::encode(text)
}
