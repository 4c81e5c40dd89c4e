//! The authorization server's rules: who a client is, what it may ask for, what a person gives it, and what each token is
//! good for. The wire is in the crate `oauth`.
//!
//! A request passes [`authorize`] (is the client known, is what it asks for possible), then a person decides in
//! [`consent`]; the code that comes of it is turned into a connection and tokens by [`code`], which [`refresh`] renews.

pub mod authorize;
pub mod clients;
pub mod code;
pub mod consent;
pub mod credentials;
pub mod document;
mod narrow;
pub(crate) mod quiet;
pub mod redirect;
pub mod refresh;
pub mod register;
pub mod resource;
mod reuse;
pub mod revoke;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::{AppError, OrgId};

use crate::{Env, Error, Result, allowlist::Allowlist, key_format, request::Origin};

const MINUTE: i64 = 60 * 1000;
const DAY: i64 = 24 * 60 * MINUTE;

/// The errors of RFC 6749, 6750, 7591, 8707, of `OpenID` Connect and RFC 9101, as far as they are given here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something is missing, malformed or there twice.
    InvalidRequest,
    /// The client is unknown or did not prove who it is.
    InvalidClient,
    /// The code or refresh token is unknown, ended, used, or somebody else's.
    InvalidGrant,
    /// This client may not do that.
    UnauthorizedClient,
    /// No such grant here.
    UnsupportedGrantType,
    /// A scope that is unknown, or more than there is to give.
    InvalidScope,
    /// A resource that is none of ours, or not the granted one.
    InvalidTarget,
    /// The person said no, or may not say yes.
    AccessDenied,
    /// Only `code` is answered.
    UnsupportedResponseType,
    /// Request objects are not read.
    RequestNotSupported,
    /// Nobody is signed in, and asking them was forbidden.
    LoginRequired,
    /// Consent is needed, and asking for it was forbidden.
    ConsentRequired,
    /// A redirect URI that may not be registered.
    InvalidRedirectUri,
    /// Something else that may not be registered.
    InvalidClientMetadata,
    /// Not the token that manages this registration.
    InvalidToken,
}

impl Fault {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::RequestNotSupported => "request_not_supported",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidToken => "invalid_token",
        }
    }

    /// This fault, with a sentence for whoever develops the client.
    pub fn because(self, description: impl Into<String>) -> Failure {
        Failure::Refused(Refusal { fault: self, description: description.into() })
    }
}

/// A refusal that the client is told. The sentence holds no secret and nothing that others own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error.
    pub fault: Fault,
    /// `error_description`.
    pub description: String,
}

/// Why there is no answer: a refusal, or a failure of ours.
#[derive(Debug)]
pub enum Failure {
    /// The client is at fault, or not allowed.
    Refused(Refusal),
    /// We are, or it has to wait.
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::Failed(error.into())
    }
}

/// Whether a client's request may come from this address, as the organisation wants it (IPA-03).
pub(crate) async fn address_may(env: &Env, tx: &mut store::Tx, org: OrgId, origin: &Origin) -> Result<bool> {
    Ok(Allowlist::load(tx, org).await?.admits(origin.address, env.now()))
}

pub(crate) fn not_from_here() -> Failure {
    Fault::AccessDenied
        .because("ip_not_allowed: this organisation can be reached from certain addresses only.")
}

/// What operations of the authorization server return.
pub type Outcome<T> = core::result::Result<T, Failure>;

/// The answer of the token endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// A signed JWT.
    pub access_token: String,
    /// In how many seconds it ends.
    pub expires_in: i64,
    /// The next refresh token; none for machines.
    pub refresh_token: Option<String>,
    /// What the access token may do.
    pub scope: model::Scope,
}

impl core::fmt::Debug for Issued {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Issued").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// What is kept of codes, refresh tokens, client secrets and stored requests: all have 256 bits.
pub(crate) fn hashed(secret: &str) -> [u8; 32] {
    key_format::hash(secret)
}

/// What one process remembers between requests: nothing that matters when it is lost.
#[derive(Debug)]
pub struct Shared {
    /// One fetch for each metadata document at a time.
    documents: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Until when something is refused without another look: Unix milliseconds by a name of our own.
    refused: Mutex<HashMap<String, i64>>,
    /// Refusals that were written to the audit log a short while ago.
    pub(crate) quiet: quiet::Quiet,
    /// Limits that strangers ran into.
    pub trips: crate::trips::Trips,
    /// How long the fetch of a metadata document may take, and how long every failed one does.
    pub(crate) patience: Duration,
}

impl Default for Shared {
    fn default() -> Self {
        Self::with_patience(Duration::from_secs(5))
    }
}

impl Shared {
    /// The most entries that are remembered.
    const MOST: usize = 10_000;

    /// One that waits for metadata documents for this long.
    pub fn with_patience(patience: Duration) -> Self {
        Self {
            documents: Mutex::default(),
            refused: Mutex::default(),
            quiet: quiet::Quiet::default(),
            trips: crate::trips::Trips::default(),
            patience,
        }
    }

    /// Until when this is refused, if it is.
    pub(crate) fn refused_until(&self, what: &str, now: i64) -> Option<i64> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(what).copied().filter(|until| *until > now)
    }

    /// Refuses this until then.
    pub(crate) fn refuse(&self, what: &str, until: i64, now: i64) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= Self::MOST {
            refused.retain(|_, until| *until > now);
        }
        if refused.len() < Self::MOST {
            refused.insert(what.to_owned(), until);
        }
    }
}

/// Writes what refusals were only counted, and forgets what can no longer matter: requests, codes, grants and revocations that ended, and clients of nobody that
/// were never used or not for long (OAD-03).
pub async fn purge(env: &Env) -> Result<()> {
    let now = env.now();
    let mut tx = env.db.write().await?;
    // A code is kept for as long as a grant may live, so that its second use is recognised.
    store::oauth_codes::purge(&mut tx, now, now - 91 * DAY).await?;
    store::oauth_grants::purge(&mut tx, now - DAY).await?;
    // As long as a token may still be accepted, its revocation counts.
    store::signing_keys::purge_revoked(&mut tx, now - crate::tokens::LEEWAY).await?;
    store::oauth_clients::purge(&mut tx, now - DAY, now - 90 * DAY).await?;
    tx.commit().await?;
    quiet::flush(env).await
}

/// The organisation's row, or the refusal of what names it: an organisation may be deleted while a request is open.
async fn org_of(tx: &mut store::Tx, org: OrgId) -> Outcome<model::orgs::Org> {
    store::orgs::find(tx, org).await?.ok_or_else(|| Fault::InvalidGrant.because("The organisation is gone."))
}
