//! The token endpoint of an authorization server: what is asked of it, and what its answer means for what is kept.

use core::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::StatusCode;
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicErrorResponseType, BasicTokenType},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{discovery::Server, wire};
use crate::{Env, Error, Result, net::NetError};

/// The longest life of an access token that is believed: 30 days, in milliseconds.
const LONGEST_LIFE: i64 = 30 * 24 * 60 * 60 * 1000;

/// Gatehouse as an authorization server knows it.
#[derive(Clone)]
pub(super) struct KnownClient {
    pub(super) id: String,
    pub(super) secret: Option<SecretString>,
    pub(super) auth_method: String,
}

/// What is asked for tokens.
pub(super) enum Ask<'a> {
    /// A code that somebody brought, with the verifier that belongs to it.
    Code { code: &'a str, verifier: &'a str, redirect_uri: &'a str },
    /// A refresh token.
    Refresh(&'a str),
    /// Nothing but the client itself.
    Client { scope: &'a str },
}

/// Tokens as they are sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) access: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh: Option<String>,
}

impl Tokens {
    /// As text to seal.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(serde_json::to_string(self).unwrap_or_default())
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.access.zeroize();
        self.refresh.zeroize();
    }
}

/// A good answer.
pub(super) struct Granted {
    pub(super) tokens: Tokens,
    /// When the access token ends, Unix milliseconds; `None` if that was not said.
    pub(super) expires_at: Option<i64>,
    /// The scope, if it was said.
    pub(super) scope: Option<String>,
}

/// Why there are no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    /// The server said no, with this error of RFC 6749 §5.2.
    Refused(String),
    /// Nothing was decided: it could not be reached, failed by itself or asked to wait. Nothing was consumed, or it cannot be
    /// known; asking again is right.
    Later(Trouble),
    /// An answer that is none.
    Nonsense,
}

/// Why nothing was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Net(NetError),
    Status(u16),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(why) => why.fmt(f),
            Self::Status(status) => write!(f, "It answers with a failure of its own (HTTP status {status})."),
        }
    }
}

impl std::error::Error for Trouble {}

type Client = oauth2::basic::BasicClient<
    oauth2::EndpointMaybeSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointSet,
>;

fn client(server: &Server, known: &KnownClient, redirect_uri: Option<&str>) -> Result<Client> {
    let wrong = |_| Error::Internal("an endpoint that was checked is no URL".into());
    let auth = Some(server.authorization_endpoint.clone()).filter(|url| !url.is_empty());
    let mut client = BasicClient::new(ClientId::new(known.id.clone()))
        .set_auth_uri_option(auth.map(AuthUrl::new).transpose().map_err(wrong)?)
        .set_token_uri(TokenUrl::new(server.token_endpoint.clone()).map_err(wrong)?)
        .set_auth_type(if known.auth_method == "client_secret_basic" {
            AuthType::BasicAuth
        } else {
            AuthType::RequestBody
        });
    if let Some(secret) = known.secret.as_ref().filter(|_| known.auth_method != "none") {
        client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
    }
    if let Some(uri) = redirect_uri {
        client = client.set_redirect_uri(RedirectUrl::new(uri.to_owned()).map_err(wrong)?);
    }
    Ok(client)
}

/// The address of the page where a person says yes (RFC 6749 §4.1.1, RFC 7636, RFC 8707).
pub(super) fn authorize_url(
    server: &Server,
    known: &KnownClient,
    redirect_uri: &str,
    resource: &str,
    scope: &str,
    state: &str,
    verifier: &str,
) -> Result<String> {
    let client = client(server, known, Some(redirect_uri))?;
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.to_owned()));
    let state = state.to_owned();
    let mut request = client
        .authorize_url(|| CsrfToken::new(state))
        .map_err(|_| Error::Internal("the authorization endpoint is not known".into()))?
        .add_scopes(scopes(scope))
        .set_pkce_challenge(challenge)
        .add_extra_param("resource", resource);
    if scope.split(' ').any(|scope| scope == super::discovery::OFFLINE) {
        // OpenID Connect Core §11: without it a refresh token may be refused.
        request = request.add_extra_param("prompt", "consent");
    }
    Ok(request.url().0.into())
}

fn scopes(scope: &str) -> impl Iterator<Item = Scope> + '_ {
    scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| Scope::new(scope.to_owned()))
}

/// Asks for tokens, once.
///
/// # Errors
/// The outer one for a fault of ours.
pub(super) async fn ask(
    env: &Env,
    server: &Server,
    known: &KnownClient,
    resource: &str,
    ask: Ask<'_>,
) -> Result<core::result::Result<Granted, TokenError>> {
    let redirect_uri = if let Ask::Code { redirect_uri, .. } = &ask { Some(*redirect_uri) } else { None };
    let client = client(server, known, redirect_uri)?;
    let http = Http(env.clone());
    let answer = match ask {
        Ask::Code { code, verifier, .. } => {
            client
                .exchange_code(AuthorizationCode::new(code.to_owned()))
                .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()))
                .add_extra_param("resource", resource)
                .request_async(&http)
                .await
        }
        Ask::Refresh(token) => {
            client
                .exchange_refresh_token(&RefreshToken::new(token.to_owned()))
                .add_extra_param("resource", resource)
                .request_async(&http)
                .await
        }
        Ask::Client { scope } => {
            client
                .exchange_client_credentials()
                .add_scopes(scopes(scope))
                .add_extra_param("resource", resource)
                .request_async(&http)
                .await
        }
    };
    let now = env.now();
    Ok(match answer {
        Ok(answer) => {
            let bearer = match answer.token_type() {
                BasicTokenType::Bearer => true,
                other => other.as_ref().eq_ignore_ascii_case("bearer"),
            };
            // What goes into a header has to fit in one.
            let access = answer.access_token().secret();
            if !bearer || access.is_empty() || !access.bytes().all(|b| (0x21..0x7F).contains(&b)) {
                return Ok(Err(TokenError::Nonsense));
            }
            let life = answer
                .expires_in()
                .map(|life| i64::try_from(life.as_millis()).unwrap_or(i64::MAX).clamp(0, LONGEST_LIFE));
            let scope = answer.scopes().map(|scopes| {
                scopes.iter().map(|scope| scope.as_str().to_owned()).collect::<Vec<_>>().join(" ")
            });
            Ok(Granted {
                tokens: Tokens {
                    access: access.clone(),
                    refresh: answer.refresh_token().map(|token| token.secret().clone()),
                },
                expires_at: life.map(|life| now + life),
                scope: scope.filter(|scope| super::discovery::is_scope(scope)),
            })
        }
        Err(RequestTokenError::ServerResponse(refusal)) => Err(refused(refusal.error())),
        Err(RequestTokenError::Request(trouble)) => Err(TokenError::Later(trouble)),
        Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => Err(TokenError::Nonsense),
    })
}

fn refused(error: &BasicErrorResponseType) -> TokenError {
    let word: &str = error.as_ref();
    match word {
        // RFC 6749 §4.1.2.1, which some servers use here as well.
        "temporarily_unavailable" | "server_error" | "slow_down" => TokenError::Later(Trouble::Status(503)),
        word => {
            let plain = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
            TokenError::Refused(word.chars().filter(plain).take(64).collect())
        }
    }
}

/// The way to the network for `oauth2`, which has none of its own.
pub(crate) struct Http(pub(crate) Env);

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = Trouble;
    type Future = BoxFuture<'c, core::result::Result<HttpResponse, Trouble>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(exchange(&self.0, request))
    }
}

async fn exchange(env: &Env, request: HttpRequest) -> core::result::Result<HttpResponse, Trouble> {
    let (parts, body) = request.into_parts();
    let answer = wire::send(env, http::Request::from_parts(parts, Bytes::from(body))).await;
    let answer = answer.map_err(Trouble::Net)?;
    if answer.status.is_server_error()
        || answer.status.is_redirection()
        || answer.status == StatusCode::TOO_MANY_REQUESTS
        || answer.status == StatusCode::REQUEST_TIMEOUT
    {
        return Err(Trouble::Status(answer.status.as_u16()));
    }
    let mut response = HttpResponse::new(answer.body);
    // RFC 6749 §5.1 wants 200; some servers say 201.
    *response.status_mut() = if answer.status.is_success() { StatusCode::OK } else { answer.status };
    *response.headers_mut() = answer.headers;
    Ok(response)
}
