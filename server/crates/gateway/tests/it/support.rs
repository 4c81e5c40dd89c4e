//! The gateway without a socket: a directory in memory, a clock that is moved by hand, and an upstream server that is
//! called in the process.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{
    Rng,
    dataplane::{
        Access, Directory, OrgPlane, PlaneConnector, PlaneGrant, PlaneKey, PlaneMachine, PlaneScope,
        PlaneTool, Principal, Unavailable,
    },
    env::ManualClock,
    idp::{self, Condition, IdpSubject, Judge, PlaneIdp},
    key_format,
    mcp::{
        exchange::{BodyStream, Exchange, NetError},
        upstream::{UpstreamSettings, Upstreams},
    },
    sealer::{MasterKey, Sealer},
    tickets::Tickets,
    tokens::{AccessToken, Reader, Refused, TokenGrant},
    upstream_oauth::{Held, Holder, Keeper, NotAuthorized, PlaneAuth},
    usage::{Ledger, PlanePolicy, Record, Reserved, Taken},
};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use gateway::{Gateway, Meter, Parts, Refresh, Settings, router};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use model::{
    ApiKeyId, ConnectionId, ConnectionKeyId, ConnectorId, GrantId, IdentityProviderId, OrgId, UserId,
    connectors::Transport, sso::IdpRules,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt as _;
use uuid::Uuid;

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const PUBLIC: &str = "https://gate.test";

pub(crate) struct SeededRng(AtomicU64);

impl SeededRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            *byte = (mixed >> 33).to_le_bytes()[0];
        }
    }
}

/// A key with this number; the same each time.
pub(crate) fn key(number: u64) -> String {
    let rng = SeededRng::new(number.wrapping_mul(0xD129_0D3B_5A1F_7C3D));
    key_format::generate(|bytes| rng.fill(bytes))
}

pub(crate) fn key_id(number: u64) -> ApiKeyId {
    ApiKeyId::from_uuid(Uuid::from_u128(u128::from(number)))
}

pub(crate) fn connector_id(number: u64) -> ConnectorId {
    ConnectorId::from_uuid(Uuid::from_u128(u128::from(number)))
}

pub(crate) fn org_id(number: u64) -> OrgId {
    OrgId::from_uuid(Uuid::from_u128(u128::from(number)))
}

pub(crate) fn plane_key(number: u64) -> ([u8; 32], PlaneKey) {
    let key_of = PlaneKey {
        id: key_id(number),
        name: format!("key {number}"),
        scope: PlaneScope::All,
        expires_at: None,
        url_key: false,
        ranges: domain::allowlist::KeyRanges::default(),
    };
    (key_format::hash(&key(number)), key_of)
}

pub(crate) fn connector(number: u64, slug: &str, tools: &[(&str, bool)]) -> PlaneConnector {
    let tools = tools
        .iter()
        .map(|(name, enabled)| {
            let property = if *name == "region" {
                r#"{"type":"string","x-mcp-header":"Region"}"#
            } else {
                r#"{"type":"string"}"#
            };
            // Members that no model knows, in an order of their own.
            let definition = format!(
                r#"{{ "vendorField" : [1, 2.50], "name":"{name}","inputSchema":{{"type":"object","properties":{{"marker":{property}}}}},"annotations":{{"x-unknown":true}} }}"#
            );
            PlaneTool {
                name: (*name).to_owned(),
                published: (*name).to_owned(),
                enabled: *enabled,
                held: false,
                timeout: None,
                definition: serde_json::value::RawValue::from_string(definition).unwrap(),
            }
        })
        .collect();
    PlaneConnector {
        id: connector_id(number),
        slug: slug.parse().unwrap(),
        name: slug.to_owned(),
        transport: Transport::Http,
        first_byte: None,
        url: format!("http://{slug}.upstream.test/mcp").parse().unwrap(),
        headers: vec![
            (HeaderName::from_static("x-own"), format!("secret-of-{slug}").into()),
            // What no connector may decide.
            (header::HOST, "elsewhere.test".to_owned().into()),
            (header::ACCEPT, "text/html".to_owned().into()),
        ],
        auth: PlaneAuth::Headers,
        tools,
        instructions: None,
        unprefixed: false,
        protocol_version: None,
        version: 1,
    }
}

/// Has a token for everybody who may have one: what it is called after is the authorisation.
pub(crate) struct FakeKeeper;

impl Keeper for FakeKeeper {
    fn at_hand(&self, holder: &Holder) -> Option<Held> {
        let header = format!("Bearer token-of-{}", holder.authorization);
        Some(Held { header: header.parse().unwrap(), generation: 1 })
    }

    fn obtain<'a>(
        &'a self,
        holder: &'a Holder,
        _: Option<i64>,
    ) -> BoxFuture<'a, Result<Held, NotAuthorized>> {
        Box::pin(async move { Ok(self.at_hand(holder).unwrap()) })
    }

    fn refused<'a>(&'a self, holder: &'a Holder, _: i64) -> BoxFuture<'a, NotAuthorized> {
        Box::pin(async move { not_authorized("It has ended.", &holder.page) })
    }

    fn wants_more<'a>(&'a self, holder: &'a Holder, _: Option<String>) -> BoxFuture<'a, NotAuthorized> {
        Box::pin(async move { not_authorized("It wants more.", &holder.page) })
    }
}

pub(crate) fn not_authorized(reason: &str, page: &str) -> NotAuthorized {
    NotAuthorized { reason: reason.to_owned(), page: Some(page.to_owned()) }
}

pub(crate) const TOOLS: &[(&str, bool)] = &[
    ("echo", true),
    ("stream", true),
    ("slow", true),
    ("drip", true),
    ("flood", true),
    ("ask", true),
    ("input", true),
    ("big", true),
    ("html", true),
    ("odd", true),
    ("bare_error", true),
    ("broken", true),
    ("busy", true),
    ("region", true),
    ("off", false),
];

/// Two organisations, `acme` with the connectors `alpha` and `beta`, and `bolt` with `alpha`; keys 1 and 2 are acme's,
/// 11 and 12 bolt's; key 3 is acme's for `beta` alone, 4 is acme's for URLs.
pub(crate) fn plane(number: u64, slug: &str) -> OrgPlane {
    let (first, connectors) = match number {
        1 => {
            (1, vec![connector(1, "alpha", TOOLS), connector(2, "beta", &[("echo", true), ("other", true)])])
        }
        _ => (11, vec![connector(11, "alpha", TOOLS)]),
    };
    let mut keys: HashMap<_, _> = [plane_key(first), plane_key(first + 1)].into();
    if number == 1 {
        let (hash, mut scoped) = plane_key(3);
        scoped.scope = PlaneScope::Only(Arc::new([connector_id(2)].into()));
        keys.insert(hash, scoped);
        let (hash, mut url) = plane_key(4);
        url.url_key = true;
        keys.insert(hash, url);
    }
    OrgPlane {
        org: org_id(number),
        slug: slug.parse().unwrap(),
        suspended: false,
        url_keys: false,
        keys,
        grants: HashMap::new(),
        machines: HashMap::new(),
        revoked_tokens: HashSet::new(),
        connectors: connectors.into_iter().map(Arc::new).collect(),
        allowlist: Arc::default(),
        domain: None,
        idp: None,
        policy: PlanePolicy::default(),
        version: 1,
    }
}

#[derive(Default)]
pub(crate) struct FakeDirectory {
    pub(crate) slugs: HashMap<String, OrgId>,
    pub(crate) planes: Mutex<HashMap<OrgId, Arc<OrgPlane>>>,
    pub(crate) broken: AtomicBool,
    /// Takes questions and never answers.
    pub(crate) stuck: AtomicBool,
    pub(crate) lookups: AtomicUsize,
    pub(crate) loads: AtomicUsize,
}

impl FakeDirectory {
    /// Changes what the next load of `acme` sees.
    pub(crate) fn change(&self, change: impl FnOnce(&mut OrgPlane)) {
        let mut planes = self.planes.lock().unwrap();
        let old = planes.get(&org_id(1)).unwrap();
        let mut new = OrgPlane { version: old.version + 1, ..OrgPlane::clone(old) };
        change(&mut new);
        planes.insert(org_id(1), Arc::new(new));
    }
}

impl Directory for FakeDirectory {
    fn org_of_key<'a>(&'a self, hash: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<OrgId>, Unavailable>> {
        let planes = self.planes.lock().unwrap();
        let found = planes.values().find(|plane| plane.keys.contains_key(hash)).map(|plane| plane.org);
        let found = if self.broken.load(Ordering::Relaxed) { Err(Unavailable) } else { Ok(found) };
        Box::pin(async move { found })
    }

    fn at_host(&self, host: &str) -> Option<OrgId> {
        let planes = self.planes.lock().unwrap();
        let holds = |plane: &&Arc<OrgPlane>| plane.domain.as_ref().is_some_and(|held| *held.host == *host);
        planes.values().find(holds).map(|plane| plane.org)
    }

    fn restricted(&self, slug: &str) -> Option<OrgId> {
        let planes = self.planes.lock().unwrap();
        let plane = planes.get(self.slugs.get(slug)?)?;
        (*plane.allowlist != domain::allowlist::Allowlist::default()).then_some(plane.org)
    }

    fn lookup(&self, slug: &str) -> Option<OrgId> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.slugs.get(slug).copied()
    }

    fn plane(&self, org: OrgId) -> BoxFuture<'_, Result<Option<Arc<OrgPlane>>, Unavailable>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let found = if self.broken.load(Ordering::Relaxed) {
            Err(Unavailable)
        } else {
            Ok(self.planes.lock().unwrap().get(&org).cloned())
        };
        let stuck = self.stuck.load(Ordering::Relaxed);
        Box::pin(async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            found
        })
    }
}

#[derive(Default)]
pub(crate) struct FakeMeter(
    pub(crate) Mutex<Vec<(Principal, OrgId, Option<String>)>>,
    pub(crate) Mutex<Vec<Record>>,
    /// Limits that somebody ran into.
    pub(crate) Mutex<Vec<(Option<Principal>, &'static str)>>,
);

impl Meter for FakeMeter {
    fn used(&self, access: &Access, org: OrgId, _: i64, _: Option<IpAddr>, agent: Option<&str>) {
        self.0.lock().unwrap().push((access.principal.clone(), org, agent.map(str::to_owned)));
    }

    fn ended(&self, record: Record) {
        self.1.lock().unwrap().push(record);
    }

    fn limited(&self, access: &Access, _: OrgId, limit: &'static str, _: Option<IpAddr>) {
        self.2.lock().unwrap().push((Some(access.principal.clone()), limit));
    }

    fn flooded(&self, _: IpAddr) {
        self.2.lock().unwrap().push((None, "address"));
    }
}

/// What nodes share, in memory.
#[derive(Default)]
pub(crate) struct FakeLedger {
    /// Calls handed out of a month.
    pub(crate) months: Mutex<HashMap<(OrgId, i64), u64>>,
    /// Requests handed out of a rate, without any coming back.
    pub(crate) rates: Mutex<HashMap<String, u32>>,
    pub(crate) shared: AtomicBool,
    pub(crate) broken: AtomicBool,
    pub(crate) asked: AtomicUsize,
}

impl FakeLedger {
    fn ask(&self) -> Result<(), Unavailable> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) { Err(Unavailable) } else { Ok(()) }
    }
}

impl Ledger for FakeLedger {
    fn shares_rates(&self) -> bool {
        self.shared.load(Ordering::SeqCst)
    }

    fn reserve(
        &self,
        org: OrgId,
        month: i64,
        quota: u64,
        want: u64,
    ) -> BoxFuture<'_, Result<Reserved, Unavailable>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.ask()?;
            let mut months = self.months.lock().unwrap();
            let out = months.entry((org, month)).or_default();
            let granted = want.min(quota.saturating_sub(*out));
            *out += granted;
            Ok(Reserved { granted, left: quota.saturating_sub(*out) })
        })
    }

    fn give_back(&self, org: OrgId, month: i64, calls: u64) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            self.ask()?;
            *self.months.lock().unwrap().entry((org, month)).or_default() -= calls;
            Ok(())
        })
    }

    fn take<'a>(
        &'a self,
        _: OrgId,
        bucket: &'a str,
        per_minute: u32,
        want: u32,
        _: i64,
    ) -> BoxFuture<'a, Result<Taken, Unavailable>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.ask()?;
            let mut rates = self.rates.lock().unwrap();
            let out = rates.entry(bucket.to_owned()).or_default();
            let granted = want.min(per_minute.saturating_sub(*out));
            *out += granted;
            Ok(Taken { granted, left: per_minute - *out, wait_us: if granted == 0 { 5_000_000 } else { 0 } })
        })
    }
}

struct FakeRefresh;

impl Refresh for FakeRefresh {
    fn tools_changed(&self, _: OrgId, _: ConnectorId) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Access tokens in clear text: `domain` proves that only those it signed are read.
#[derive(Default)]
pub(crate) struct FakeTokens {
    pub(crate) known: Mutex<HashMap<String, Arc<AccessToken>>>,
    pub(crate) broken: AtomicBool,
    pub(crate) removed: AtomicBool,
}

impl FakeTokens {
    /// Makes a token known.
    pub(crate) fn add(&self, name: &str, token: AccessToken) {
        self.known.lock().unwrap().insert(name.to_owned(), Arc::new(token));
    }
}

/// Knows the subject of a token by its signature, and who lacks a claim.
struct FakeJudge;

impl Judge for FakeJudge {
    fn judge<'a>(
        &'a self,
        provider: &'a PlaneIdp,
        token: &'a str,
    ) -> BoxFuture<'a, Result<IdpSubject, idp::Refused>> {
        let refused = |condition| Err(idp::Refused { condition, detail: "secret detail".into() });
        let judged = match token.rsplit('.').next() {
            Some("good") => Ok(IdpSubject {
                org: provider.org,
                issuer: provider.issuer.clone(),
                subject: "agent-7".into(),
                expires_at: i64::MAX,
            }),
            Some("claimless") => refused(Condition::Claims),
            _ => refused(Condition::Signature),
        };
        Box::pin(async move { judged })
    }
}

/// A token that says it is by this issuer. The fake judge goes by its third part.
pub(crate) fn foreign(issuer: &str, signature: &str) -> String {
    let part = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}.{signature}", part("{}"), part(&json!({"iss": issuer}).to_string()))
}

pub(crate) fn provider(number: u64, issuer: &str) -> Arc<PlaneIdp> {
    Arc::new(PlaneIdp {
        org: org_id(number),
        id: IdentityProviderId::from_uuid(Uuid::from_u128(u128::from(number))),
        issuer: issuer.to_owned(),
        jwks_uri: format!("{issuer}/keys"),
        audience: "acme".to_owned(),
        rules: IdpRules::default(),
    })
}

impl Reader for FakeTokens {
    fn read<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<AccessToken>, Refused>> {
        let found = self.known.lock().unwrap().get(token).cloned();
        let found = found.ok_or(Refused::Invalid("unknown"));
        let found = if self.broken.load(Ordering::Relaxed) { Err(Refused::Unavailable) } else { found };
        Box::pin(async move { found })
    }

    fn stands(&self, _: &AccessToken) -> bool {
        !self.removed.load(Ordering::Relaxed)
    }
}

/// A token of acme's grant 1: everything it may do, for its main endpoint.
pub(crate) fn token() -> AccessToken {
    AccessToken {
        kid: "kid".into(),
        jti: "jti".into(),
        subject: "usr".into(),
        client: "client".into(),
        org: org_id(1),
        audience: format!("{PUBLIC}/mcp/acme"),
        scope: model::Scope::everything(),
        grant: Some(token_grant(1)),
        issued_at: 0,
        expires_at: 0,
    }
}

/// Grant, key and generation of this number.
pub(crate) fn token_grant(number: u64) -> TokenGrant {
    let uuid = Uuid::from_u128(u128::from(number));
    TokenGrant { grant: GrantId::from_uuid(uuid), key: ConnectionKeyId::from_uuid(uuid), generation: 1 }
}

pub(crate) fn connection_id(number: u64) -> ConnectionId {
    ConnectionId::from_uuid(Uuid::from_u128(u128::from(number)))
}

/// The grant that [`token`] comes from, of connection 1.
pub(crate) fn plane_grant() -> (GrantId, PlaneGrant) {
    let TokenGrant { grant, key, .. } = token_grant(1);
    let stored = PlaneGrant {
        connection: connection_id(1),
        key,
        client: "client".into(),
        user: UserId::from_uuid(Uuid::from_u128(1)),
        client_name: "A client".into(),
        scope: model::Scope::everything(),
        expires_at: i64::MAX,
    };
    (grant, stored)
}

/// A machine client called `machine`.
pub(crate) fn plane_machine(scope: &str) -> (String, PlaneMachine) {
    ("machine".into(), PlaneMachine { name: "Nightly".into(), scope: scope.parse().unwrap() })
}

/// How the upstream server of a test speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Modern,
    Legacy,
}

/// What the upstream server saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }
}

pub(crate) struct FakeUpstream {
    pub(crate) speaks: Mutex<Speaks>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) sessions: Mutex<HashSet<String>>,
    pub(crate) answered: Notify,
    pub(crate) answer: Mutex<Option<Value>>,
    pub(crate) dropped: AtomicUsize,
    /// Hosts that fail at whatever is no tool.
    pub(crate) down: Mutex<HashSet<String>>,
    next: AtomicUsize,
}

/// Counts that a response was dropped before its end.
struct Dropped(Arc<FakeUpstream>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl FakeUpstream {
    fn new(speaks: Speaks) -> Arc<Self> {
        Arc::new(Self {
            speaks: Mutex::new(speaks),
            seen: Mutex::default(),
            sessions: Mutex::default(),
            answered: Notify::new(),
            answer: Mutex::default(),
            dropped: AtomicUsize::new(0),
            down: Mutex::default(),
            next: AtomicUsize::new(1),
        })
    }

    pub(crate) fn seen(&self, method: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.method() == method).cloned().collect()
    }
}

fn json_response(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, "application/json")], body.to_string())
        .into_response()
}

fn rpc_error(status: u16, id: &Value, code: i64) -> Response {
    json_response(status, &json!({"jsonrpc":"2.0","id":id,"error":{"code":code,"message":"no"}}))
}

type Piece = Result<Bytes, std::convert::Infallible>;

fn event(message: &Value) -> Bytes {
    format!("event: message\ndata: {message}\n\n").into()
}

fn events(events: impl futures_util::Stream<Item = Piece> + Send + 'static) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn upstream(State(fake): State<Arc<FakeUpstream>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let host = head.uri.host().unwrap_or_default().to_owned();
    fake.seen.lock().unwrap().push(Seen {
        host: host.clone(),
        headers: head.headers.clone(),
        body: body.clone(),
    });
    if head.method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let id = body["id"].clone();
    let method = body["method"].as_str().unwrap_or_default().to_owned();
    let speaks = *fake.speaks.lock().unwrap();
    let modern = body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == MODERN;
    match (speaks, method.as_str()) {
        (_, "") => {
            *fake.answer.lock().unwrap() = Some(body);
            fake.answered.notify_one();
            return StatusCode::ACCEPTED.into_response();
        }
        (Speaks::Modern, _) if !modern => return rpc_error(400, &id, -32602),
        (Speaks::Modern, "server/discover") => {
            return json_response(
                200,
                &json!({"jsonrpc":"2.0","id":id,"result":{"resultType":"complete","supportedVersions":[MODERN],"capabilities":{"tools":{},"prompts":{},"resources":{"subscribe":true}},
                    "ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"fake","version":"1.2"}}}}),
            );
        }
        (Speaks::Legacy, "initialize") => {
            let session = format!("session-{}", fake.next.fetch_add(1, Ordering::Relaxed));
            fake.sessions.lock().unwrap().insert(session.clone());
            let mut response = json_response(
                200,
                &json!({"jsonrpc":"2.0","id":id,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"prompts":{},"resources":{"subscribe":true}},"serverInfo":{"name":"fake","version":"1.2"}}}),
            );
            response.headers_mut().insert("mcp-session-id", HeaderValue::try_from(session).unwrap());
            return response;
        }
        (Speaks::Legacy, _) => {
            let session =
                head.headers.get("mcp-session-id").and_then(|v| v.to_str().ok()).unwrap_or_default();
            if session.is_empty() {
                return rpc_error(400, &Value::Null, -32000);
            }
            if !fake.sessions.lock().unwrap().contains(session) {
                return rpc_error(404, &Value::Null, -32001);
            }
        }
        _ => {}
    }
    if id.is_null() {
        return StatusCode::ACCEPTED.into_response();
    }
    match method.as_str() {
        "tools/list" => json_response(
            200,
            &json!({"jsonrpc":"2.0","id":id,"result":{"tools":[
                {"name":"echo","inputSchema":{"type":"object"}},
                {"name":"bad name","inputSchema":{"type":"object"}}],"resultType":"complete","ttlMs":0,"cacheScope":"private"}}),
        ),
        "tools/call" => call(&fake, &id, &body["params"], modern).await,
        "prompts/list" | "resources/list" | "prompts/get" | "resources/read" | "completion/complete" => {
            if fake.down.lock().unwrap().contains(&host) {
                return (StatusCode::INTERNAL_SERVER_ERROR, "").into_response();
            }
            primitive(&id, &host, &method, &body["params"])
        }
        _ => rpc_error(404, &id, -32601),
    }
}

/// Prompts and resources: two pages of each list, with members that no model knows.
fn primitive(id: &Value, host: &str, method: &str, params: &Value) -> Response {
    let more = params["cursor"].is_null();
    let number = if more { 1 } else { 2 };
    let mut result = match method {
        "prompts/list" => json!({"prompts":[{"name":format!("p{number}"),"vendor":host}]}),
        "resources/list" => {
            json!({"resources":[{"uri":format!("test://{host}/{number}"),"name":"r","vendor":1}]})
        }
        "resources/read" => json!({"contents":[{"uri":params["uri"],"text":host,"vendor":[1]}]}),
        "prompts/get" => {
            json!({"messages":[{"role":"user","content":{"type":"text","text":params["name"]}}]})
        }
        _ => json!({"completion":{"values":[params["ref"]["name"], host]}}),
    };
    if method.ends_with("/list") && more {
        result["nextCursor"] = json!("second");
    }
    json_response(200, &json!({"jsonrpc":"2.0","id":id,"result":result}))
}

async fn call(fake: &Arc<FakeUpstream>, id: &Value, params: &Value, modern: bool) -> Response {
    let marker = params["arguments"]["marker"].clone();
    let result = |value: Value| {
        let mut result = json!({"content":[{"type":"video","future":marker}],"isError":false});
        if modern {
            result["resultType"] = json!("complete");
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            result[name] = value.clone();
        }
        json!({"jsonrpc":"2.0","id":id,"result":result})
    };
    match params["name"].as_str().unwrap_or_default() {
        "echo" | "region" => json_response(200, &result(json!({}))),
        "stream" => {
            let token = params["_meta"]["progressToken"].clone();
            let note = |progress: u32| json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":token,"progress":progress,"message":marker}});
            // Somebody else's, which must reach nobody.
            let foreign = json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":999_999,"progress":1}});
            let other = json!({"jsonrpc":"2.0","id":424_242,"result":{"content":[]}});
            let log = json!({"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hello"}});
            let all = [note(1), foreign, other, log, note(2), result(json!({}))];
            events(stream::iter(all.map(|message| Ok(event(&message)))).then(|event| async {
                tokio::task::yield_now().await;
                event
            }))
        }
        // Sends events without end and without pause.
        "flood" => {
            let token = params["_meta"]["progressToken"].clone();
            let note = json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":token,"progress":1}});
            let piece = event(&note);
            events(stream::repeat(piece).map(Ok))
        }
        // Sends one event, then nothing until it is dropped.
        "drip" => {
            let guard = Dropped(Arc::clone(fake));
            let first = json!({"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"begun"}});
            let rest = stream::unfold(guard, |guard| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok(Bytes::from_static(b": working\n\n")), guard))
            });
            events(stream::iter([Ok(event(&first))]).chain(rest))
        }
        "slow" => {
            let _guard = Dropped(Arc::clone(fake));
            std::future::pending().await
        }
        "ask" => {
            let ask =
                json!({"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"?"}});
            let (fake, id) = (Arc::clone(fake), id.clone());
            let answer = stream::once(async move {
                fake.answered.notified().await;
                let answer = fake.answer.lock().unwrap().take().unwrap_or_default();
                let text = match answer.get("result") {
                    Some(result) => format!("told {result}"),
                    None => format!("refused with {}", answer["error"]["code"]),
                };
                let result = json!({"content":[{"type":"text","text":text}]});
                Ok(event(&json!({"jsonrpc":"2.0","id":id,"result":result})))
            });
            events(stream::iter([Ok(event(&ask))]).chain(answer))
        }
        "input" => json_response(200, &result(json!({"resultType":"input_required","requestState":"s"}))),
        "big" => {
            json_response(200, &result(json!({"content":[{"type":"text","text":"x".repeat(11 << 20)}]})))
        }
        "html" => {
            (StatusCode::OK, [(header::CONTENT_TYPE, "text/html")], "<html>secret</html>").into_response()
        }
        "odd" => json_response(200, &json!({"jsonrpc":"2.0","id":"other","result":{"content":[]}})),
        "bare_error" => rpc_error(200, id, -32099),
        "broken" => events(stream::iter([Ok(Bytes::from_static(b"data: {\"jsonrpc\":"))])),
        "busy" => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "7")], "").into_response(),
        _ => rpc_error(200, id, -32602),
    }
}

/// Calls a router instead of the network.
pub(crate) struct InProcess(pub(crate) Router);

impl Exchange for InProcess {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>> {
        in_process(self.0.clone(), request)
    }
}

pub(crate) fn in_process(
    app: Router,
    request: http::Request<Bytes>,
) -> BoxFuture<'static, Result<http::Response<BodyStream>, NetError>> {
    Box::pin(async move {
        let response = app.oneshot(request.map(Body::from)).await.map_err(|_| NetError::BadResponse)?;
        Ok(response.map(|body| {
            body.into_data_stream().map(|piece| piece.map_err(|_| NetError::BadResponse)).boxed()
        }))
    })
}

/// Everything around a gateway.
pub(crate) struct Bench {
    pub(crate) app: Router,
    pub(crate) gateway: Gateway,
    pub(crate) upstreams: Upstreams,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) directory: Arc<FakeDirectory>,
    pub(crate) upstream: Arc<FakeUpstream>,
    pub(crate) tokens: Arc<FakeTokens>,
    pub(crate) meter: Arc<FakeMeter>,
    pub(crate) ledger: Arc<FakeLedger>,
}

impl Bench {
    pub(crate) fn new(speaks: Speaks) -> Self {
        Self::with(speaks, |_| ())
    }

    pub(crate) fn with(speaks: Speaks, adjust: impl FnOnce(&mut Settings)) -> Self {
        Self::patient(speaks, UpstreamSettings::default(), adjust)
    }

    /// With another patience with upstream servers.
    pub(crate) fn patient(
        speaks: Speaks,
        patience: UpstreamSettings,
        adjust: impl FnOnce(&mut Settings),
    ) -> Self {
        let upstream = FakeUpstream::new(speaks);
        let server = Router::new().fallback(self::upstream).with_state(Arc::clone(&upstream));
        Self::build(Arc::new(InProcess(server)), upstream, patience, adjust)
    }

    /// With another way to upstream servers.
    pub(crate) fn over(exchange: Arc<dyn Exchange>, settings: UpstreamSettings) -> Self {
        Self::build(exchange, FakeUpstream::new(Speaks::Modern), settings, |_| ())
    }

    /// The same with other settings of the gateway.
    pub(crate) fn over_with(
        exchange: Arc<dyn Exchange>,
        patience: UpstreamSettings,
        adjust: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::build(exchange, FakeUpstream::new(Speaks::Modern), patience, adjust)
    }

    fn build(
        exchange: Arc<dyn Exchange>,
        upstream: Arc<FakeUpstream>,
        patience: UpstreamSettings,
        adjust: impl FnOnce(&mut Settings),
    ) -> Self {
        let directory = Arc::new(FakeDirectory {
            slugs: HashMap::from([("acme".into(), org_id(1)), ("bolt".into(), org_id(2))]),
            planes: Mutex::new(HashMap::from([
                (org_id(1), Arc::new(plane(1, "acme"))),
                (org_id(2), Arc::new(plane(2, "bolt"))),
            ])),
            ..FakeDirectory::default()
        });
        let clock = ManualClock::at(1_795_219_200_000);
        let (meter, tokens) = (Arc::new(FakeMeter::default()), Arc::new(FakeTokens::default()));
        let ledger = Arc::new(FakeLedger::default());
        let mut settings = Settings::new(PUBLIC.parse().unwrap());
        adjust(&mut settings);
        let now = Arc::clone(&clock);
        let now = Arc::new(move || domain::Clock::now(now.as_ref()));
        let upstreams = Upstreams::new(gateway::clocked(exchange), now, patience);
        let gateway = Gateway::new(Parts {
            directory: directory.clone(),
            upstreams: upstreams.clone(),
            keeper: Arc::new(FakeKeeper),
            tokens: tokens.clone(),
            judge: Arc::new(FakeJudge),
            journal: Arc::default(),
            ledger: ledger.clone(),
            meter: meter.clone(),
            refresh: Arc::new(FakeRefresh),
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(7)),
            tickets: Arc::new(Tickets::new(&Sealer::new(MasterKey::generate(&SeededRng::new(9))))),
            settings,
        });
        let app = router(gateway.clone());
        Self { app, gateway, upstreams, clock, directory, upstream, tokens, meter, ledger }
    }

    /// Gives acme these limits.
    pub(crate) fn limit(&self, limits: model::Limits) {
        self.directory.change(|plane| plane.policy.limits = limits);
        self.gateway.invalidate(org_id(1));
    }

    /// The requests that have ended, and forgets them.
    pub(crate) fn ended(&self) -> Vec<Record> {
        std::mem::take(&mut *self.meter.1.lock().unwrap())
    }

    pub(crate) async fn send(&self, request: http::Request<Body>) -> Answer {
        let response = self.open(request).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Sends a request and leaves the answer's body unread.
    pub(crate) async fn open(&self, request: http::Request<Body>) -> Response {
        self.app.clone().oneshot(request).await.unwrap()
    }

    /// A bare call, as with curl.
    pub(crate) async fn bare(&self, path: &str, number: u64, body: &Value) -> Answer {
        self.send(post(path).key(number).json(body)).await
    }

    /// A bare call with a bearer.
    pub(crate) async fn bearer(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send(post(path).header("authorization", &format!("Bearer {token}")).json(body)).await
    }

    /// A call of the modern era with the headers that belong to it.
    pub(crate) async fn modern(&self, path: &str, number: u64, method: &str, params: Value) -> Answer {
        self.send(modern(path, number, method, params)).await
    }

    /// Opens a legacy session.
    pub(crate) async fn session(&self, path: &str, number: u64) -> String {
        let answer = self.bare(path, number, &initialize("2025-11-25")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.headers["mcp-session-id"].to_str().unwrap().to_owned()
    }
}

pub(crate) fn initialize(version: &str) -> Value {
    json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":version,"capabilities":{},"clientInfo":{"name":"t","version":"1"}}})
}

pub(crate) fn modern(path: &str, number: u64, method: &str, mut params: Value) -> http::Request<Body> {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    if params["_meta"].get("io.modelcontextprotocol/clientCapabilities").is_none() {
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    let mut request =
        post(path).key(number).header("mcp-protocol-version", MODERN).header("mcp-method", method);
    if let Some(name) = params["name"].as_str() {
        request = request.header("mcp-name", name);
    }
    request
        .header("accept", "application/json, text/event-stream")
        .json(&json!({"jsonrpc":"2.0","id":1,"method":method,"params":params}))
}

pub(crate) fn call_params(tool: &str, marker: &str) -> Value {
    json!({"name":tool,"arguments":{"marker":marker}})
}

pub(crate) fn rpc(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc":"2.0","id":id,"method":method,"params":params})
}

pub(crate) struct Asking(http::request::Builder);

pub(crate) fn post(path: &str) -> Asking {
    ask(Method::POST, path)
}

pub(crate) fn ask(method: Method, path: &str) -> Asking {
    Asking(http::Request::builder().method(method).uri(path).header("host", "gate.test"))
}

impl Asking {
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    pub(crate) fn key(self, number: u64) -> Self {
        self.header("authorization", &format!("Bearer {}", key(number)))
    }

    pub(crate) fn empty(self) -> http::Request<Body> {
        self.0.body(Body::empty()).unwrap()
    }

    pub(crate) fn json(self, body: &Value) -> http::Request<Body> {
        self.text(&body.to_string())
    }

    pub(crate) fn text(self, body: &str) -> http::Request<Body> {
        self.0.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap()
    }

    pub(crate) fn body(self, body: Body) -> http::Request<Body> {
        self.0.body(body).unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub(crate) fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or_default()
    }

    pub(crate) fn word(&self) -> String {
        self.json()["error"]["data"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The messages of an event stream.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), "text/event-stream", "{self:?}");
        std::str::from_utf8(&self.body)
            .unwrap()
            .split("\n\n")
            .filter_map(|event| {
                let data: Vec<_> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                (!data.is_empty()).then(|| serde_json::from_str(&data.join("\n")).unwrap())
            })
            .collect()
    }
}
