//! The identity provider that an organisation brings for its MCP endpoint: what is configured ([`config`]), its keys
//! ([`jwks`]), which of its tokens are good ([`verify`]), and what is wrong with one that is not ([`tester`]).
//!
//! Which provider is asked is decided by the organisation in the path, never by what a token says (IDP-01).

pub mod config;
pub(crate) mod fetch;
pub mod jwks;
pub mod tester;
pub mod verify;

use futures_util::future::BoxFuture;
use model::{IdentityProviderId, OrgId, sso::IdpRules};

use crate::Env;

pub use jwks::Jwks;
pub use verify::{Condition, IdpSubject, Refused, verify};

/// An organisation's provider, as it is in its snapshot while it is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneIdp {
    /// Whose it is.
    pub org: OrgId,
    /// Which configuration it is.
    pub id: IdentityProviderId,
    /// What its tokens name as `iss`, byte for byte.
    pub issuer: String,
    /// Where its public keys are.
    pub jwks_uri: String,
    /// What its tokens must name as `aud`.
    pub audience: String,
    /// What else a token needs.
    pub rules: IdpRules,
}

/// What judges tokens of providers for the data plane, which has no way to the network of its own.
pub trait Judge: Send + Sync + 'static {
    /// Judges a token; see [`verify`].
    fn judge<'a>(
        &'a self,
        provider: &'a PlaneIdp,
        token: &'a str,
    ) -> BoxFuture<'a, Result<IdpSubject, Refused>>;
}

impl Judge for Env {
    fn judge<'a>(
        &'a self,
        provider: &'a PlaneIdp,
        token: &'a str,
    ) -> BoxFuture<'a, Result<IdpSubject, Refused>> {
        Box::pin(verify(self, provider, token))
    }
}
