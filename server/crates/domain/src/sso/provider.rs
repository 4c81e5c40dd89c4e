//! The provider itself: what it says about itself (`OpenID` Connect Discovery 1.0) and what it gives for a code.

use model::OrgId;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Tx, sso::Provider};
use url::Url;

use crate::{
    Env, Error, Result,
    idp::fetch::{self, FetchError},
    orgs,
    sealer::Aad,
    upstream_oauth::token::Http,
};

/// The longest URL or word that is taken from a provider, bytes.
const LONGEST: usize = 2048;

/// A provider, as it describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Server {
    /// Where people are sent.
    pub(super) authorization_endpoint: String,
    /// Where a code becomes tokens.
    pub(super) token_endpoint: String,
    /// Where its keys are.
    pub(super) jwks_uri: String,
    /// How clients may authenticate; the default of the specification if it does not say.
    pub(super) auth_methods: Vec<String>,
    /// Whether its answers carry `iss` (RFC 9207).
    pub(super) iss: bool,
}

impl Server {
    /// What is stored with a provider.
    pub(super) fn of(row: &Provider) -> Result<Self> {
        serde_json::from_str(&row.server)
            .map_err(|_| Error::Internal(format!("the provider {} cannot be read", row.id)))
    }

    /// As it is stored.
    pub(super) fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|why| Error::Internal(why.to_string()))
    }

    /// The host of the page where people log in.
    pub(super) fn host(&self) -> String {
        crate::upstream_oauth::discovery::host(&self.authorization_endpoint)
    }
}

/// Why a provider cannot be used. `Display` is for whoever configures it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DiscoveryError {
    /// There is no document.
    #[error("No discovery document was found below this issuer. {0}")]
    Fetch(FetchError),
    /// It names another issuer.
    #[error("The provider calls itself {0}. Enter the issuer exactly as it does")]
    Issuer(String),
    /// It lacks something, or has something that cannot be used.
    #[error("The provider's discovery document cannot be used: {0}")]
    Bad(&'static str),
}

/// Asks a provider what it says about itself.
pub(super) async fn discover(env: &Env, issuer: &str) -> core::result::Result<Server, DiscoveryError> {
    let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let (_, document) = fetch::object(env, &place).await.map_err(DiscoveryError::Fetch)?;
    match text(&document, "issuer") {
        Some(found) if found == issuer => {}
        // Byte for byte, or anybody could speak for anybody.
        Some(found) => return Err(DiscoveryError::Issuer(found)),
        None => return Err(DiscoveryError::Bad("it names no issuer")),
    }
    read(env, issuer, &document).map_err(DiscoveryError::Bad)
}

fn read(
    env: &Env,
    issuer: &str,
    document: &Map<String, Value>,
) -> core::result::Result<Server, &'static str> {
    let endpoint = |name: &str, missing: &'static str| -> core::result::Result<String, &'static str> {
        let url = text(document, name).ok_or(missing)?;
        let parsed = Url::parse(&url).map_err(|_| "one of its endpoints is no URL")?;
        // Never `javascript:` and the like: people's browsers are sent there (SSR-10).
        env.outbound
            .check_url(&parsed)
            .map_err(|_| "one of its endpoints is at an address where Gatehouse does not go")?;
        Ok(url)
    };
    let page = endpoint("authorization_endpoint", "it names no authorization endpoint")?;
    let origin = |url: &str| Url::parse(url).map(|url| url.origin());
    if !page.starts_with("https://") && origin(&page) != origin(issuer) {
        return Err("its authorization endpoint is neither https nor where the issuer is");
    }
    // What it does not say is the default: everything that is needed here.
    let lacks = |name: &str, wanted: &[&str]| {
        document.get(name).and_then(Value::as_array).is_some_and(|list| {
            !list.iter().any(|word| word.as_str().is_some_and(|word| wanted.contains(&word)))
        })
    };
    if lacks("id_token_signing_alg_values_supported", &["RS256", "ES256"]) {
        return Err("it signs ID tokens neither with RS256 nor with ES256");
    }
    if lacks("response_types_supported", &["code"]) {
        return Err("it does not support the authorization code flow");
    }
    if lacks("code_challenge_methods_supported", &["S256"]) {
        return Err("it does not support PKCE with S256");
    }
    let methods = document.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    let methods = methods.map(|list| {
        list.iter().filter_map(Value::as_str).filter(|word| word.len() <= 64).map(str::to_owned).collect()
    });
    Ok(Server {
        authorization_endpoint: page,
        token_endpoint: endpoint("token_endpoint", "it names no token endpoint")?,
        jwks_uri: endpoint("jwks_uri", "it names no key set")?,
        auth_methods: methods.unwrap_or_else(|| vec!["client_secret_basic".to_owned()]),
        iss: document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
    })
}

fn text(document: &Map<String, Value>, name: &str) -> Option<String> {
    let text = document.get(name)?.as_str()?;
    let fits = !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// What comes with the tokens of RFC 6749 (`OpenID` Connect Core §3.1.3.3).
#[derive(Serialize, Deserialize)]
struct WithIdToken {
    #[serde(default)]
    id_token: Option<String>,
}

impl core::fmt::Debug for WithIdToken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WithIdToken").finish_non_exhaustive()
    }
}

impl ExtraTokenFields for WithIdToken {}

type Client = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<WithIdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Gatehouse as a provider knows it.
pub(super) struct KnownClient {
    pub(super) id: String,
    pub(super) secret: Option<SecretString>,
}

fn client(env: &Env, server: &Server, known: &KnownClient) -> Result<Client> {
    let wrong = |_| Error::Internal("an endpoint that was checked is no URL".into());
    let takes = |method: &str| server.auth_methods.iter().any(|other| other == method);
    let auth = if takes("client_secret_post") && !takes("client_secret_basic") {
        AuthType::RequestBody
    } else {
        AuthType::BasicAuth
    };
    let mut client = oauth2::Client::new(ClientId::new(known.id.clone()))
        .set_auth_uri(AuthUrl::new(server.authorization_endpoint.clone()).map_err(wrong)?)
        .set_token_uri(TokenUrl::new(server.token_endpoint.clone()).map_err(wrong)?)
        .set_redirect_uri(RedirectUrl::new(super::flow::callback(env)).map_err(wrong)?)
        .set_auth_type(auth);
    if let Some(secret) = &known.secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
    }
    Ok(client)
}

/// What ties an answer to the question.
#[derive(Serialize, Deserialize)]
pub(super) struct Secrets {
    pub(super) nonce: String,
    pub(super) verifier: String,
}

/// The address of the page where somebody logs in.
pub(super) fn authorize_url(
    env: &Env,
    server: &Server,
    known: &KnownClient,
    state: &str,
    secrets: &Secrets,
    hint: Option<&str>,
) -> Result<String> {
    let verifier = PkceCodeVerifier::new(secrets.verifier.clone());
    let state = state.to_owned();
    let client = client(env, server, known)?;
    let mut request = client
        .authorize_url(|| CsrfToken::new(state))
        .add_scopes(["openid", "email", "profile"].map(|scope| Scope::new(scope.to_owned())))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
        .add_extra_param("nonce", &secrets.nonce);
    if let Some(hint) = hint {
        request = request.add_extra_param("login_hint", hint);
    }
    Ok(request.url().0.into())
}

/// Why there is no ID token, in words that may be shown to whoever configures the provider.
pub(super) type NoToken = String;

/// Asks for the ID token that belongs to a code, once.
pub(super) async fn id_token(
    env: &Env,
    server: &Server,
    known: &KnownClient,
    code: &str,
    secrets: &Secrets,
) -> Result<core::result::Result<String, NoToken>> {
    let client = client(env, server, known)?;
    let answer = client
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(secrets.verifier.clone()))
        .request_async(&Http(env.clone()))
        .await;
    Ok(match answer {
        Ok(answer) => answer.extra_fields().id_token.clone().ok_or_else(|| {
            "It issued no ID token. Allow the scope openid for this client at the provider.".to_owned()
        }),
        Err(RequestTokenError::ServerResponse(refusal)) => {
            let word: &str = refusal.error().as_ref();
            let plain: String =
                word.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).take(64).collect();
            let what = match plain.as_str() {
                "invalid_client" | "unauthorized_client" => {
                    " It does not accept the client id or the secret: enter them anew, and look how the client authenticates there."
                }
                _ => "",
            };
            Err(format!("It refused the code ({plain}).{what}"))
        }
        Err(RequestTokenError::Request(trouble)) => {
            Err(format!("Its token endpoint did not answer. {trouble}"))
        }
        Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => {
            Err("What its token endpoint answered cannot be read.".to_owned())
        }
    })
}

fn secret_at(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "sso_providers", column: "secret_sealed", row }
}

fn attempt_at(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "sso_attempts", column: "secrets_sealed", row }
}

/// Seals the client's secret.
pub(super) async fn seal_secret(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    row: &str,
    secret: &SecretString,
) -> Result<Vec<u8>> {
    let key = orgs::data_key(env, tx, org).await?;
    Ok(key.seal(&secret_at(org, row), secret.expose_secret().as_bytes(), env.rng.as_ref()))
}

/// The client of a provider's row, its secret opened.
pub(super) async fn known(env: &Env, tx: &mut Tx, org: OrgId, row: &Provider) -> Result<KnownClient> {
    let secret = match &row.secret_sealed {
        None => None,
        Some(sealed) => {
            let key = orgs::data_key(env, tx, org).await?;
            let opened = key.open(&secret_at(org, &row.id.to_string()), sealed);
            let opened = opened.ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
            let opened = opened.ok_or_else(|| {
                Error::Internal(format!("the secret of the provider {} does not open", row.id))
            })?;
            Some(SecretString::from(opened))
        }
    };
    Ok(KnownClient { id: row.client_id.clone(), secret })
}

/// Seals what ties an answer to the question.
pub(super) async fn seal_attempt(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    place: &str,
    secrets: &Secrets,
) -> Result<Vec<u8>> {
    let key = orgs::data_key(env, tx, org).await?;
    let text =
        zeroize::Zeroizing::new(serde_json::to_vec(secrets).map_err(|why| Error::Internal(why.to_string()))?);
    Ok(key.seal(&attempt_at(org, place), &text, env.rng.as_ref()))
}

/// Opens it.
pub(super) async fn open_attempt(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    place: &str,
    sealed: &[u8],
) -> Result<Secrets> {
    let key = orgs::data_key(env, tx, org).await?;
    let opened = key.open(&attempt_at(org, place), sealed).ok();
    opened
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| Error::Internal("an attempt to log in does not open".into()))
}
