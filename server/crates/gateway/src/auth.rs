//! Who asks: an API key in one of the places where it may stand (APK-03, APK-09), or an access token as a bearer.
//!
//! What looks like an API key is judged as one and nothing else; a bearer that says it is by somebody else is judged by the
//! organisation's own identity provider; every other bearer is judged as an access token of ours. None falls back to
//! another, or to nobody (RSV-05).

use std::{net::IpAddr, sync::Arc};

use domain::{
    dataplane::{Access, Resource},
    idp::{IdpSubject, Judge, PlaneIdp},
    key_format,
    mcp::code,
    tokens::{AccessToken, Reader, Refused, claimed_issuer},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{Scope, paths};
use subtle::ConstantTimeEq as _;

use crate::{
    guard::{EXPOSE, Site},
    planes::Ready,
    reply::RpcError,
};

/// A credential as it was presented.
#[derive(Debug)]
pub(crate) enum Presented<'a> {
    /// None at all.
    Nothing,
    /// As `X-API-Key`, where only keys may stand.
    Key(&'a str),
    /// As `Authorization: Bearer`.
    Bearer(&'a str),
    /// As `?api_key=`, still percent-encoded.
    Query(&'a str),
    /// As `?access_token=` or `?token=`, where none may ever stand.
    Forbidden,
}

/// The authentication scheme's token, if the scheme is `Bearer`.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// Finds the credential.
///
/// # Errors
/// 400 when it cannot be said which credential is meant; 401 for a header that holds none.
pub(crate) fn presented<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    endpoint: &Endpoint<'_>,
) -> Result<Presented<'a>, RpcError> {
    let ambiguous = || {
        RpcError::new(
            StatusCode::BAD_REQUEST,
            code::INVALID_REQUEST,
            "The request has more than one credential. Send one: X-API-Key, or Authorization: Bearer.",
        )
        .word("ambiguous_credentials")
    };
    // A header that cannot be read is a credential that is not valid, not the absence of one.
    let single = |name: http::HeaderName| -> Result<Option<&'a str>, RpcError> {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| endpoint.invalid()),
            _ => Err(ambiguous()),
        }
    };
    let key = single(http::HeaderName::from_static("x-api-key"))?;
    let authorization = single(header::AUTHORIZATION)?;
    // Another scheme than `Bearer` is a credential, but none that could be valid.
    let authorization = authorization.map(bearer);
    let mut in_query = None;
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode(name);
        match name.as_str() {
            "access_token" | "token" => return Ok(Presented::Forbidden),
            "api_key" if in_query.is_some() => return Err(ambiguous()),
            "api_key" => in_query = Some(value),
            _ => {}
        }
    }
    match (key, authorization, in_query) {
        (None, None, None) => Ok(Presented::Nothing),
        (Some(key), None, None) => Ok(Presented::Key(key)),
        (Some(one), Some(Some(other)), None) if one != other => Err(ambiguous()),
        (_, Some(Some(token)), None) => Ok(Presented::Bearer(token)),
        (None, Some(None), None) => Err(endpoint.invalid()),
        (None, None, Some(key)) => Ok(Presented::Query(key)),
        _ => Err(ambiguous()),
    }
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                if let (Some(high), Some(low)) = (hex(ahead.next()), hex(ahead.next())) {
                    bytes = ahead;
                    out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                } else {
                    out.push(byte);
                }
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The endpoint that was asked, for the challenges that it answers with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint<'a> {
    pub(crate) site: &'a Site,
    /// The organisation's slug, well-formed.
    pub(crate) slug: &'a str,
    /// The connector's slug, well-formed, if the path has one.
    pub(crate) connector: Option<&'a str>,
    /// The domain of the organisation's own that it was asked at.
    pub(crate) at: Option<At<'a>>,
}

/// Where on a domain of an organisation's own an endpoint was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// The domain's base URL, without a slash at its end.
    pub(crate) base: &'a str,
    /// Whether the path does without the slug.
    pub(crate) bare: bool,
}

impl Endpoint<'_> {
    /// Its path.
    pub(crate) fn path(&self) -> String {
        match (self.connector, self.at) {
            (Some(connector), _) => paths::mcp_connector(self.slug, connector),
            (None, Some(At { bare: true, .. })) => paths::mcp_at_domain().to_owned(),
            (None, _) => paths::mcp(self.slug),
        }
    }

    fn absolute(&self, path: &str) -> String {
        self.at.map_or_else(|| self.site.absolute(path), |at| format!("{}{path}", at.base))
    }

    /// Its absolute URL.
    pub(crate) fn url(&self) -> String {
        self.absolute(&self.path())
    }

    /// The absolute URL of its metadata document (RFC 9728).
    fn metadata(&self) -> String {
        self.absolute(&paths::protected_resource_metadata(&self.path()))
    }

    fn challenge(self, error: RpcError, sent: bool) -> RpcError {
        // Order and spelling are fixed (OAM-03): some clients compare rather than parse.
        let error_part = if sent { ", error=\"invalid_token\"" } else { "" };
        let value =
            format!("Bearer resource_metadata=\"{}\", scope=\"mcp:call\"{error_part}", self.metadata());
        let value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("Bearer"));
        error.header(header::WWW_AUTHENTICATE, value).header(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE)
    }

    /// No credential.
    pub(crate) fn missing(self) -> RpcError {
        let error = RpcError::new(
            StatusCode::UNAUTHORIZED,
            code::UNAUTHENTICATED,
            "Send an API key of this organisation as X-API-Key, or a key or access token as Authorization: Bearer.",
        )
        .word("credential_missing");
        self.challenge(error, false)
    }

    /// A credential that is not valid here: mistyped, unknown, disabled, expired, of another organisation. The answer is
    /// the same for all of them (APK-04).
    pub(crate) fn invalid(self) -> RpcError {
        let error = RpcError::new(
            StatusCode::UNAUTHORIZED,
            code::UNAUTHENTICATED,
            "The credential is not valid here. Check the key or token, that it is enabled and has not expired, and the organisation in the URL.",
        )
        .word("credential_invalid");
        self.challenge(error, true)
    }

    /// A credential in the query that may not stand there, or is not valid. It is not said which, so that nobody learns
    /// whether an organisation exists or has allowed keys in URLs.
    pub(crate) fn in_query(self) -> RpcError {
        let error = RpcError::new(
            StatusCode::UNAUTHORIZED,
            code::UNAUTHENTICATED,
            "Credentials in the URL are not accepted here. Send the key as X-API-Key or as Authorization: Bearer.",
        )
        .word("credential_in_query");
        self.challenge(error, true)
    }

    /// A valid credential whose scope does not reach a connector (RSV-06).
    pub(crate) fn insufficient_scope(self, connector: &str) -> RpcError {
        let message = format!("This credential may not use the connector \"{connector}\".");
        self.forbidden(&format!("mcp:call:{connector}"), message)
    }

    /// A good token of the organisation's own provider that lacks what the organisation asks for (IDP-06).
    fn not_by_rules(self, provider: &PlaneIdp) -> RpcError {
        let scope = provider.rules.scope.as_str();
        let scope = if scope.is_empty() { Scope::ALL } else { scope };
        let message = "This token is valid, but the organisation asks for another claim or scope in it.";
        self.forbidden(scope, message.to_owned())
    }

    /// A valid access token that may call nothing at all.
    fn no_scope(self) -> RpcError {
        self.forbidden(Scope::ALL, "This access token may not call anything.".to_owned())
    }

    fn forbidden(self, scope: &str, message: String) -> RpcError {
        let value = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{}\"",
            self.metadata()
        );
        let value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("Bearer"));
        RpcError::new(StatusCode::FORBIDDEN, code::FORBIDDEN, message)
            .word("insufficient_scope")
            .header(header::WWW_AUTHENTICATE, value)
            .header(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE)
    }
}

/// A credential that was read, without the secret: enough to find out whom it authenticates, also later and in a newer
/// snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// An API key of the right form.
    ApiKey {
        /// The SHA-256 of the key.
        hash: [u8; 32],
        /// Whether it stood in the URL.
        in_query: bool,
    },
    /// An access token that was issued here.
    Token {
        /// What it says.
        token: Arc<AccessToken>,
        /// The organisation's endpoint that it was shown to.
        main: String,
        /// The connector of that endpoint.
        connector: Option<String>,
    },
    /// A good token of the organisation's own identity provider.
    Subject {
        /// The provider, as it was configured then.
        provider: Arc<PlaneIdp>,
        /// Who it is.
        subject: Arc<IdpSubject>,
    },
    /// None: a member of the organisation who is signed in to the dashboard, whose permission was checked there.
    Member(Arc<Access>),
}

impl Credential {
    /// Reads what was presented. A key with a wrong checksum and a token with a wrong signature end here, without any
    /// look-up (APK-01, RSV-02).
    pub(crate) async fn read(
        presented: &Presented<'_>,
        endpoint: &Endpoint<'_>,
        tokens: &dyn Reader,
    ) -> Result<Self, Refused> {
        let api_key = |key: &str, in_query| {
            key_format::check(key)
                .then(|| Self::ApiKey { hash: key_format::hash(key), in_query })
                .ok_or(Refused::Invalid("it is no API key"))
        };
        match presented {
            Presented::Key(key) => api_key(key, false),
            Presented::Query(key) => api_key(&percent_decode(key), true),
            Presented::Bearer(key) if key.starts_with(key_format::PREFIX) => api_key(key, false),
            Presented::Bearer(token) => Ok(Self::Token {
                token: tokens.read(token).await?,
                main: endpoint.site.absolute(&paths::mcp(endpoint.slug)),
                connector: endpoint.connector.map(str::to_owned),
            }),
            Presented::Nothing | Presented::Forbidden => Err(Refused::Invalid("there is none")),
        }
    }

    /// The token, if it is none of ours but may be one of the organisation's own provider. Which provider that is says the
    /// path alone (IDP-01); what the token says of itself only tells it from ours.
    pub(crate) fn of_provider<'p>(presented: &Presented<'p>, endpoint: &Endpoint<'_>) -> Option<&'p str> {
        let Presented::Bearer(token) = presented else { return None };
        let issuer = claimed_issuer(token)?;
        (issuer != endpoint.site.absolute("")).then_some(*token)
    }

    /// Judges a token of the organisation's own provider.
    pub(crate) async fn judge(
        ready: &Ready,
        judge: &dyn Judge,
        token: &str,
        endpoint: Endpoint<'_>,
    ) -> Result<Self, RpcError> {
        let provider = ready.plane.idp.as_ref().ok_or_else(|| endpoint.invalid())?;
        match judge.judge(provider, token).await {
            Ok(subject) => Ok(Self::Subject { provider: Arc::clone(provider), subject: Arc::new(subject) }),
            Err(refused) => {
                // The detail may quote the token, so it stays out.
                let why = refused.condition.code();
                tracing::debug!(org.slug = endpoint.slug, why, "a token of an identity provider was refused");
                Err(if refused.is_forbidden() { endpoint.not_by_rules(provider) } else { endpoint.invalid() })
            }
        }
    }

    /// What it gives in this organisation, if it works there now.
    pub(crate) fn authenticate(
        &self,
        ready: &Ready,
        tokens: &dyn Reader,
        now: i64,
    ) -> Result<Arc<Access>, Refused> {
        match self {
            Self::ApiKey { hash, in_query } => {
                let refused = Refused::Invalid("the key is not known, or may not be used so");
                let (stored, key) = ready.keys.get_key_value(hash).ok_or(refused)?;
                let same: bool = stored.as_slice().ct_eq(hash.as_slice()).into();
                let placed = !in_query || ready.plane.url_keys && key.url_key;
                (same && placed && key.access.lives(now)).then(|| Arc::clone(&key.access)).ok_or(refused)
            }
            Self::Token { token, main, connector } => {
                if !self.stands(tokens) {
                    return Err(Refused::Invalid("its key was removed"));
                }
                let resource = Resource { main, connector: connector.as_deref() };
                ready.plane.admit(token, resource, now).map(Arc::new)
            }
            Self::Subject { provider, subject } => ready.plane.admit_subject(provider, subject).map(Arc::new),
            Self::Member(access) => Ok(Arc::clone(access)),
        }
    }

    /// Whether it may be used from this address: a key may have ranges of its own (IPA-05).
    pub(crate) fn admits(&self, ready: &Ready, address: Option<IpAddr>) -> bool {
        match self {
            Self::ApiKey { hash, .. } => ready.keys.get(hash).is_some_and(|key| key.ranges.admits(address)),
            Self::Token { .. } | Self::Subject { .. } | Self::Member(_) => true,
        }
    }

    /// Whether nothing is known against it that no snapshot tells.
    pub(crate) fn stands(&self, tokens: &dyn Reader) -> bool {
        match self {
            Self::ApiKey { .. } | Self::Subject { .. } | Self::Member(_) => true,
            Self::Token { token, .. } => tokens.stands(token),
        }
    }

    /// Refuses a token that may call nothing anywhere. A key without connectors sees an empty list instead: nobody can ask
    /// for more by it.
    pub(crate) fn check_scope(&self, endpoint: Endpoint<'_>) -> Result<(), RpcError> {
        match self {
            Self::Token { token, .. } if token.scope.is_empty() => Err(endpoint.no_scope()),
            _ => Ok(()),
        }
    }
}
