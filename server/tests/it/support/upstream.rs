//! An MCP server that wants OAuth, and its authorization server: on two loopback ports, strict where Gatehouse has to be
//! right, and faulty on demand.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use domain::upstream_oauth::flow::Return;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::TestApp;

/// What goes wrong.
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Another issuer in the metadata.
    pub(crate) issuer: Option<String>,
    /// Another resource in the metadata of the server.
    pub(crate) resource: Option<String>,
    /// Does not say that it knows PKCE.
    pub(crate) no_pkce: bool,
    /// Names itself so when it sends people back; `Some("")` leaves it out.
    pub(crate) iss: Option<String>,
    /// The token endpoint answers with this status and nothing of use.
    pub(crate) token_status: Option<u16>,
    /// The token endpoint refuses with this error.
    pub(crate) token_error: Option<&'static str>,
    /// The token endpoint decides, and its answer never arrives.
    pub(crate) lost_answers: u32,
    /// The server wants this scope for calls.
    pub(crate) wants: Option<&'static str>,
    /// Gives no refresh tokens.
    pub(crate) no_refresh: bool,
    /// Redirects from its metadata to elsewhere.
    pub(crate) redirect: bool,
    /// Neither registers clients nor reads documents.
    pub(crate) typed_clients: bool,
    /// The MCP server does not know tokens, however new.
    pub(crate) forgetful: bool,
    /// Another authorization server, whose JWTs are taken unless they are listed as refused.
    pub(crate) authority: Option<String>,
    /// The page where people sign in.
    pub(crate) authorization_endpoint: Option<String>,
}

#[derive(Clone)]
struct Code {
    client: String,
    challenge: String,
    scope: String,
}

/// What it knows and has seen.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) faults: Faults,
    /// Clients with their secrets.
    pub(crate) clients: HashMap<String, Option<String>>,
    codes: HashMap<String, Code>,
    /// Access tokens that are good, with whose they are.
    pub(crate) access: HashMap<String, String>,
    /// The refresh token that counts of each family, and the family of each that was ever issued.
    current: HashMap<String, String>,
    families: HashMap<String, String>,
    pub(crate) registrations: usize,
    /// Refresh tokens that were presented although a newer one had been issued.
    pub(crate) reused: usize,
    pub(crate) refreshes: usize,
    pub(crate) token_requests: usize,
    /// The tool calls that were let through, by whose token.
    pub(crate) calls: Vec<String>,
    /// Every header value that the MCP server saw.
    pub(crate) seen: Vec<String>,
    pub(crate) scopes: HashSet<String>,
    refused: HashSet<String>,
    next: usize,
    /// Tools beside the one that tells who calls.
    pub(crate) more_tools: Vec<&'static str>,
    /// Who says yes at the page.
    pub(crate) person: String,
}

impl Known {
    fn name(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}-{}", self.next)
    }

    /// Makes every access token worthless, as when they expire.
    pub(crate) fn expire(&mut self) {
        self.access.clear();
    }

    /// Whose token of the other authorization server this is. Signatures are not what is tested here.
    fn foreign(&self, token: &str, url: &str) -> Option<String> {
        let authority = self.faults.authority.as_deref()?;
        let claims = data_encoding::BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let good = claims["iss"] == authority && claims["aud"] == url && !self.refused.contains(token);
        good.then(|| claims["sub"].as_str().map(str::to_owned))?
    }

    /// Refuses every token that was shown so far.
    pub(crate) fn refuse_shown(&mut self) {
        let shown = self.seen.iter().filter_map(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        self.refused.extend(shown);
    }

    /// Forgets what people gave.
    pub(crate) fn revoke(&mut self) {
        self.access.clear();
        self.current.clear();
    }
}

pub(crate) struct Upstream {
    pub(crate) issuer: String,
    pub(crate) url: String,
    known: Mutex<Known>,
}

type Shared = State<Arc<Upstream>>;

#[expect(clippy::unused_async, reason = "routes are asynchronous")]
impl Upstream {
    pub(crate) async fn start() -> Arc<Self> {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Arc::new(Self {
            issuer: format!("http://{}", authority.local_addr().unwrap()),
            url: format!("http://{}/mcp", server.local_addr().unwrap()),
            known: Mutex::new(Known { person: "ada".to_owned(), ..Known::default() }),
        });
        let mcp = Router::new()
            .route("/mcp", post(Self::mcp))
            .route("/.well-known/oauth-protected-resource/mcp", get(Self::resource))
            .with_state(upstream.clone());
        let oauth = Router::new()
            .route("/.well-known/oauth-authorization-server", get(Self::metadata))
            .route("/register", post(Self::register))
            .route("/authorize", get(Self::authorize))
            .route("/token", post(Self::token))
            .with_state(upstream.clone());
        tokio::spawn(async move { axum::serve(server, mcp).await });
        tokio::spawn(async move { axum::serve(authority, oauth).await });
        upstream
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    async fn resource(State(this): Shared) -> Response {
        let faults = this.known().faults.clone();
        if faults.redirect {
            return (StatusCode::FOUND, [(header::LOCATION, format!("{}/elsewhere", this.issuer))])
                .into_response();
        }
        let resource = faults.resource.unwrap_or_else(|| this.url.clone());
        let authority = faults.authority.unwrap_or_else(|| this.issuer.clone());
        Json(json!({
            "resource": resource, "authorization_servers": [authority], "scopes_supported": ["tools", "more"],
        }))
        .into_response()
    }

    async fn metadata(State(this): Shared) -> Response {
        let faults = this.known().faults.clone();
        let url = |path: &str| format!("{}{path}", this.issuer);
        let mut document = json!({
            "issuer": faults.issuer.unwrap_or_else(|| this.issuer.clone()),
            "authorization_endpoint": faults.authorization_endpoint.unwrap_or_else(|| url("/authorize")),
            "token_endpoint": url("/token"),
            "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
            "authorization_response_iss_parameter_supported": true,
            "scopes_supported": ["tools", "offline_access"],
        });
        if !faults.no_pkce {
            document["code_challenge_methods_supported"] = json!(["plain", "S256"]);
        }
        if !faults.typed_clients {
            document["registration_endpoint"] = json!(url("/register"));
            document["client_id_metadata_document_supported"] = json!(true);
        }
        Json(document).into_response()
    }

    async fn register(State(this): Shared, Json(said): Json<Value>) -> Response {
        assert_eq!(said["redirect_uris"], json!(["http://localhost:3000/oauth/upstream/callback"]), "{said}");
        assert_eq!(said["token_endpoint_auth_method"], "client_secret_post");
        let mut known = this.known();
        known.registrations += 1;
        let (id, secret) = (known.name("client"), known.name("secret"));
        known.clients.insert(id.clone(), Some(secret.clone()));
        let answer = json!({
            "client_id": id, "client_secret": secret, "client_secret_expires_at": 0,
            "token_endpoint_auth_method": "client_secret_post", "redirect_uris": said["redirect_uris"],
        });
        (StatusCode::CREATED, Json(answer)).into_response()
    }

    /// The person says yes at once.
    async fn authorize(State(this): Shared, Query(asked): Query<HashMap<String, String>>) -> Response {
        let of = |name: &str| asked.get(name).cloned().unwrap_or_default();
        assert_eq!((of("response_type"), of("code_challenge_method")), ("code".into(), "S256".into()));
        assert_eq!(of("resource"), this.url);
        let mut known = this.known();
        assert!(known.clients.contains_key(&of("client_id")), "{asked:?}");
        known.scopes.insert(of("scope"));
        if of("scope").contains("offline_access") {
            assert_eq!(of("prompt"), "consent");
        }
        let code = known.name("code");
        let scope = of("scope");
        let entry = Code { client: of("client_id"), challenge: of("code_challenge"), scope };
        known.codes.insert(code.clone(), entry);
        let mut back: url::Url = of("redirect_uri").parse().unwrap();
        back.query_pairs_mut().append_pair("code", &code).append_pair("state", &of("state"));
        let iss = known.faults.iss.clone().unwrap_or_else(|| this.issuer.clone());
        if !iss.is_empty() {
            back.query_pairs_mut().append_pair("iss", &iss);
        }
        (StatusCode::SEE_OTHER, [(header::LOCATION, back.to_string())]).into_response()
    }

    async fn token(State(this): Shared, Form(asked): Form<HashMap<String, String>>) -> Response {
        let (answer, lost) = this.decide(&asked);
        if lost {
            // Longer than anybody waits: the answer is never seen.
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        answer
    }

    fn decide(&self, asked: &HashMap<String, String>) -> (Response, bool) {
        let of = |name: &str| asked.get(name).cloned().unwrap_or_default();
        let mut known = self.known();
        known.token_requests += 1;
        let refused = |status: u16, error: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            ((status, Json(json!({"error": error}))).into_response(), false)
        };
        if let Some(status) = known.faults.token_status {
            return (StatusCode::from_u16(status).unwrap().into_response(), false);
        }
        if let Some(error) = known.faults.token_error {
            return refused(400, error);
        }
        if known
            .clients
            .get(&of("client_id"))
            .is_none_or(|secret| *secret != asked.get("client_secret").cloned())
        {
            return refused(401, "invalid_client");
        }
        assert_eq!(of("resource"), self.url, "the resource goes with every request: {asked:?}");
        let (family, scope) = match of("grant_type").as_str() {
            "client_credentials" => ("machine".to_owned(), of("scope")),
            "authorization_code" => {
                let Some(code) = known.codes.remove(&of("code")) else {
                    return refused(400, "invalid_grant");
                };
                let challenge =
                    data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(of("code_verifier").as_bytes()));
                if code.client != of("client_id") || code.challenge != challenge {
                    return refused(400, "invalid_grant");
                }
                (known.person.clone(), code.scope)
            }
            "refresh_token" => {
                known.refreshes += 1;
                let token = of("refresh_token");
                let Some(family) = known.families.get(&token).cloned() else {
                    return refused(400, "invalid_grant");
                };
                if known.current.get(&family) != Some(&token) {
                    known.reused += 1;
                    known.current.remove(&family);
                    return refused(400, "invalid_grant");
                }
                (family, "tools".to_owned())
            }
            _ => return refused(400, "unsupported_grant_type"),
        };
        let access = known.name("access");
        known.access.insert(access.clone(), family.clone());
        let mut answer =
            json!({"access_token": access, "token_type": "Bearer", "expires_in": 600, "scope": scope});
        if family != "machine" && !known.faults.no_refresh {
            let refresh = known.name("refresh");
            known.families.insert(refresh.clone(), family.clone());
            known.current.insert(family, refresh.clone());
            answer["refresh_token"] = json!(refresh);
        }
        let lost = known.faults.lost_answers > 0;
        known.faults.lost_answers = known.faults.lost_answers.saturating_sub(1);
        (([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response(), lost)
    }

    async fn mcp(State(this): Shared, headers: HeaderMap, Json(message): Json<Value>) -> Response {
        let mut known = this.known();
        known.seen.extend(headers.values().filter_map(|value| value.to_str().ok().map(str::to_owned)));
        let token =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let whose = token
            .and_then(|token| known.access.get(token).cloned().or_else(|| known.foreign(token, &this.url)));
        let named = this.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp");
        let Some(whose) = whose.filter(|_| !known.faults.forgetful) else {
            let error = if token.is_some() { ", error=\"invalid_token\"" } else { "" };
            let challenge = format!("Bearer resource_metadata=\"{named}\", scope=\"tools\"{error}");
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
        };
        let result = match message["method"].as_str().unwrap_or_default() {
            "server/discover" => {
                json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
            }
            "tools/list" => {
                let more = known.more_tools.iter().copied();
                let tools: Vec<_> = core::iter::once("whoami")
                    .chain(more)
                    .map(|name| json!({"name": name, "description": "Tells who calls", "inputSchema": {"type": "object"}}))
                    .collect();
                json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools})
            }
            "tools/call" => {
                if let Some(scope) = known.faults.wants {
                    let challenge = format!(
                        "Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{named}\""
                    );
                    return (StatusCode::FORBIDDEN, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
                }
                known.calls.push(whose.clone());
                json!({"resultType": "complete", "content": [{"type": "text", "text": whose}]})
            }
            _ => return StatusCode::BAD_REQUEST.into_response(),
        };
        Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
    }

    /// What a browser does with the link: it goes there, and comes back with this.
    pub(crate) async fn say_yes(&self, app: &TestApp, link: &str) -> Return {
        told(&redirect_of(app, link).await)
    }
}

/// Where a browser ends up that follows redirects and keeps cookies, once that is the front.
pub(crate) async fn follow(app: &TestApp, link: &str) -> String {
    let mut at: url::Url = link.parse().unwrap();
    let mut cookies = HashMap::new();
    for _ in 0..12 {
        let jar: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = axum::http::Request::get(at.as_str())
            .header(header::COOKIE, jar.join("; "))
            .header(header::ACCEPT, "text/html")
            .body(bytes::Bytes::new())
            .unwrap();
        let answer = app.test.env.outbound.send(request).await.unwrap_or_else(|why| panic!("{at}: {why:?}"));
        assert!(answer.status().is_redirection(), "{at}: {}", answer.status());
        for line in answer.headers().get_all(header::SET_COOKIE) {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let next = at.join(answer.headers()[header::LOCATION].to_str().unwrap()).unwrap();
        if next.as_str().starts_with("http://localhost:3000/") {
            return next.into();
        }
        at = next;
    }
    panic!("it redirects for ever, now to {at}")
}

/// What a page of the front is told by a redirect to it.
pub(crate) fn told(location: &str) -> Return {
    let url: url::Url = location.parse().unwrap();
    assert!(location.starts_with("http://localhost:3000/oauth/upstream/callback?"), "{location}");
    let of =
        |name: &str| url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    Return { state: of("state"), code: of("code"), iss: of("iss"), error: of("error") }
}

/// Where a page sends a browser.
pub(crate) async fn redirect_of(app: &TestApp, link: &str) -> String {
    let request = axum::http::Request::get(link).body(bytes::Bytes::new()).unwrap();
    let answer = app.test.env.outbound.send(request).await.expect("an answer");
    assert!(answer.status().is_redirection(), "{}", answer.status());
    answer.headers()[header::LOCATION].to_str().unwrap().to_owned()
}
