//! What a client finds on its way here, step by step, as seen from this server: through the guarded client, which for this
//! is allowed to reach this instance's own public address and nothing else that is inside.

use core::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, StatusCode, header};
use model::{
    doctor::{Probe, SelfTest},
    paths,
    permissions::can,
};
use serde_json::Value;
use url::Url;

use super::own_domain;
use crate::{
    Env, Error, OrgActor, Result, custom_domain,
    net::{NetError, Outbound},
};

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read, bytes.
const LARGEST: usize = 64 << 10;
/// How many steps there are.
const PLANNED: u32 = 7;

/// A call that any server of MCP answers.
pub(super) const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// What a step found: what to say, or what is wrong and what to do about it.
pub(super) type Found<T> = core::result::Result<(String, T), (String, String)>;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

pub(super) struct Walk<'a> {
    pub(super) env: &'a Env,
    pub(super) outbound: Outbound,
    pub(super) endpoint: String,
    pub(super) issuer: String,
}

/// Plays a client's discovery. The first step that fails ends it.
pub async fn self_test(env: &Env, actor: &OrgActor<can::OauthClientsRead>) -> Result<SelfTest> {
    let (org, host) = {
        let mut tx = env.db.read().await?;
        let org = store::orgs::find(&mut tx, actor.org()).await?;
        let org = org.ok_or_else(|| Error::not_found("organisation"))?;
        let host = custom_domain::host_in_use(&mut tx, org.id).await?;
        (org, host)
    };
    let walk = Walk {
        env,
        outbound: env.outbound.reaching(&env.settings.public_url),
        endpoint: env.settings.absolute(&paths::mcp(org.slug.as_str())),
        issuer: env.settings.absolute(""),
    };
    let mut probes = Vec::new();
    let arrived = walk.run(&mut probes).await;
    let mut planned = PLANNED;
    if let Some(host) = host {
        planned += own_domain::PLANNED;
        if arrived.is_some() {
            own_domain::walk(env, &host, org.slug.as_str(), &mut probes).await;
        }
    }
    Ok(SelfTest { probes, planned })
}

/// A value of a document as it is quoted.
pub(super) fn short(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        other => other.to_string().chars().take(200).collect(),
    }
}

/// Adds a step to the list; what it brought, if it passed.
pub(super) fn told<T>(probes: &mut Vec<Probe>, title: &str, found: Found<T>) -> Option<T> {
    let (passed, detail, fix, brought) = match found {
        Ok((detail, brought)) => (true, detail, String::new(), Some(brought)),
        Err((detail, fix)) => (false, detail, fix, None),
    };
    probes.push(Probe { title: title.to_owned(), detail, fix, passed });
    brought
}

/// An answer that a proxy seems to have given.
pub(super) fn odd(what: &str, answer: &Answer) -> (String, String) {
    let status = answer.status.as_u16();
    let fix = match status {
        300..=399 => {
            "A proxy redirects. Clients do not follow: set GATEHOUSE_PUBLIC_URL to where it leads, or let the proxy forward instead."
        }
        401 | 403 => {
            "A log-in of the proxy stands before Gatehouse. Exempt /mcp, /oauth and /.well-known from it: clients sign in at Gatehouse."
        }
        404 | 405 => {
            "The proxy does not forward this path, or another server answers. Forward /mcp, /oauth and /.well-known whole, and check GATEHOUSE_PUBLIC_URL."
        }
        421 => {
            "The proxy changes the header Host. Let it pass on the client's, or set GATEHOUSE_PUBLIC_URL to the name that it sends."
        }
        429 => "Too many requests came from this address. Wait a minute and try again.",
        500..=599 => {
            "The proxy does not reach Gatehouse, or Gatehouse is starting. Look at the logs of both."
        }
        _ => "Another server answers at this address. Check GATEHOUSE_PUBLIC_URL and the proxy.",
    };
    (format!("{what} answered with {status}."), fix.to_owned())
}

impl Answer {
    /// Whether it is ours to a call without a credential.
    pub(super) fn is_challenge(&self) -> bool {
        let json = serde_json::from_slice::<Value>(&self.body).is_ok_and(|body| body["jsonrpc"] == "2.0");
        self.status == StatusCode::UNAUTHORIZED && json
    }

    /// The resource metadata that its challenges name, if they name any.
    pub(super) fn named_metadata(&self) -> (usize, Option<&str>) {
        let said: Vec<&str> = self
            .headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let named =
            said.iter().find_map(|value| value.split("resource_metadata=\"").nth(1)?.split('"').next());
        (said.len(), named)
    }
}

impl Walk<'_> {
    async fn run(&self, probes: &mut Vec<Probe>) -> Option<()> {
        let answer = told(probes, "Call the endpoint without a credential", self.challenge().await)?;
        let metadata = told(probes, "Read the header WWW-Authenticate", self.header(&answer))?;
        told(probes, "Read the resource metadata", self.resource(&metadata).await)?;
        let server = told(probes, "Read the server metadata", self.server().await)?;
        told(probes, "Read the signing keys", self.keys(&server).await)?;
        told(probes, "Find a way to register", self.registration(&server))?;
        told(probes, "Ask the authorization endpoint", self.authorize(&server).await)
    }

    pub(super) async fn ask(
        &self,
        method: Method,
        url: &str,
        body: &'static str,
    ) -> core::result::Result<Answer, NetError> {
        let request = http::Request::builder()
            .method(method)
            .uri(url)
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from_static(body.as_bytes()))
            .map_err(|_| NetError::BadResponse)?;
        let asked = async {
            let (head, mut pieces) = self.outbound.send(request).await?.into_parts();
            let mut body = Vec::new();
            while let Some(piece) = pieces.next().await {
                body.extend_from_slice(&piece?);
                if body.len() > LARGEST {
                    return Err(NetError::BadResponse);
                }
            }
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(NetError::Timeout))
    }

    fn unreachable(&self, why: NetError) -> (String, String) {
        let fix = match why {
            NetError::Dns => {
                "GATEHOUSE_PUBLIC_URL names a host that does not resolve here: correct it, or add the name to DNS."
            }
            NetError::Tls => {
                "Renew the certificate of the proxy, for this very name. For an authority of your own, set GATEHOUSE_EXTRA_CA_FILE."
            }
            NetError::Timeout | NetError::Unreachable => {
                "Check that the proxy runs and forwards to Gatehouse. If clients do get through, this server only cannot reach its own public address (hairpin NAT); then run the same test from outside with curl."
            }
            NetError::Blocked(_) | NetError::BadResponse | NetError::Process(_) => {
                "Check GATEHOUSE_PUBLIC_URL, and what answers at that address."
            }
        };
        (format!("{} {why}", self.issuer), fix.to_owned())
    }

    async fn challenge(&self) -> Found<Answer> {
        let answer =
            self.ask(Method::POST, &self.endpoint, PING).await.map_err(|why| self.unreachable(why))?;
        if !answer.is_challenge() {
            return Err(odd(&self.endpoint, &answer));
        }
        Ok((format!("{} answers 401, as it should.", self.endpoint), answer))
    }

    fn header(&self, answer: &Answer) -> Found<String> {
        let expected = self.env.settings.absolute(&paths::protected_resource_metadata(
            self.endpoint.strip_prefix(&self.issuer).unwrap_or_default(),
        ));
        let (challenges, named) = answer.named_metadata();
        if challenges == 0 {
            return Err((
                "The header is not there.".to_owned(),
                "A proxy takes WWW-Authenticate out of answers. Let it pass; some do so for every 401 unless told otherwise.".to_owned(),
            ));
        }
        match named {
            Some(found) if found == expected => Ok((format!("It names {found}."), expected)),
            Some(found) => Err((
                format!("It names {found} rather than {expected}."),
                "Another instance answers, or a proxy rewrites answers. Compare GATEHOUSE_PUBLIC_URL of what answers with this one.".to_owned(),
            )),
            None => Err((
                "It does not name the resource metadata.".to_owned(),
                "A proxy answers with a challenge of its own (such as Basic). Exempt /mcp from its log-in.".to_owned(),
            )),
        }
    }

    /// A JSON document of ours.
    async fn document(&self, url: &str) -> core::result::Result<Value, (String, String)> {
        let answer = self.ask(Method::GET, url, "").await.map_err(|why| self.unreachable(why))?;
        if answer.status != StatusCode::OK {
            return Err(odd(url, &answer));
        }
        serde_json::from_slice(&answer.body).map_err(|_| {
            (
                format!("{url} answers with something that is no JSON."),
                "Another server answers for /.well-known or /oauth. Forward these paths to Gatehouse."
                    .to_owned(),
            )
        })
    }

    async fn resource(&self, url: &str) -> Found<()> {
        let document = self.document(url).await?;
        if document["resource"] != self.endpoint.as_str() {
            return Err((
                format!("It is about {} rather than {}.", short(&document["resource"]), self.endpoint),
                "Clients compare both and give up without a word. Set GATEHOUSE_PUBLIC_URL to the address that clients use.".to_owned(),
            ));
        }
        let ours = document["authorization_servers"].as_array();
        if !ours.is_some_and(|servers| servers.iter().any(|server| *server == self.issuer.as_str())) {
            return Err((
                "It does not name this instance as authorization server.".to_owned(),
                "A cache holds an old document. Clear it, and let the proxy keep Cache-Control as it is."
                    .to_owned(),
            ));
        }
        Ok((format!("It is about {} and names {}.", self.endpoint, self.issuer), ()))
    }

    async fn server(&self) -> Found<Value> {
        let url = self.env.settings.absolute(paths::authorization_server_metadata());
        let document = self.document(&url).await?;
        if document["issuer"] != self.issuer.as_str() {
            return Err((
                format!("It is by {} rather than {}.", short(&document["issuer"]), self.issuer),
                "Set GATEHOUSE_PUBLIC_URL to the address that clients use, on every node.".to_owned(),
            ));
        }
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            self.own(&document, name)?;
        }
        let pkce = document["code_challenge_methods_supported"].as_array();
        if !pkce.is_some_and(|methods| methods.iter().any(|method| method == "S256")) {
            return Err((
                "It does not announce PKCE with S256.".to_owned(),
                "Something rewrites the document: let the proxy pass it on as it is.".to_owned(),
            ));
        }
        Ok((format!("It is by {}, with PKCE.", self.issuer), document))
    }

    /// An address in the document, if it is at this instance's own.
    fn own<'d>(&self, document: &'d Value, name: &str) -> core::result::Result<&'d str, (String, String)> {
        let found = document[name].as_str().unwrap_or_default();
        let ours = Url::parse(found).is_ok_and(|url| url.origin() == self.env.settings.public_url.origin());
        ours.then_some(found).ok_or_else(|| {
            (
                format!("Its {name} is not at {}.", self.issuer),
                "Something rewrites the document, or another instance answers: compare GATEHOUSE_PUBLIC_URL."
                    .to_owned(),
            )
        })
    }

    async fn keys(&self, server: &Value) -> Found<()> {
        let document = self.document(self.own(server, "jwks_uri")?).await?;
        let keys = document["keys"].as_array().map_or(0, Vec::len);
        if keys == 0 {
            return Err((
                "There are none.".to_owned(),
                "Look at the log of Gatehouse: its signing keys cannot be read.".to_owned(),
            ));
        }
        Ok((if keys == 1 { "There is one.".to_owned() } else { format!("There are {keys}.") }, ()))
    }

    fn registration(&self, server: &Value) -> Found<()> {
        let documents = server["client_id_metadata_document_supported"] == true;
        if server["registration_endpoint"].is_null() && !documents {
            return Err((
                "Clients cannot make themselves known.".to_owned(),
                "The operator has switched registration off. Make a client on the page of the OAuth clients and enter its id in the MCP client.".to_owned(),
            ));
        }
        if server["registration_endpoint"].is_null() {
            return Ok(("By metadata documents only. Older clients need a client made here.".to_owned(), ()));
        }
        self.own(server, "registration_endpoint")?;
        Ok(("Clients can register themselves.".to_owned(), ()))
    }

    async fn authorize(&self, server: &Value) -> Found<()> {
        let url = self.own(server, "authorization_endpoint")?;
        let answer = self.ask(Method::GET, url, "").await.map_err(|why| self.unreachable(why))?;
        // Without parameters it refuses, or asks to log in first.
        match answer.status.as_u16() {
            400 | 200 | 302 | 303 => Ok((format!("{url} answers."), ())),
            _ => Err(odd(url, &answer)),
        }
    }
}
