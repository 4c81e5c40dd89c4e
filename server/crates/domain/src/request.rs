//! Who asks, and from where: what the edge learned about a request before any rule was asked.

use std::{net::IpAddr, sync::Arc};

use futures_util::future::BoxFuture;
use model::{OrgId, SessionId, UserId};

use crate::{Env, Result};

/// The client's address after trusted proxies were taken into account (IPA-01). A request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

/// The id of a request, in its answer's `X-Request-Id` and in the log. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// Where a request came from, for audit events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// `User-Agent`, at most 256 characters.
    pub user_agent: Option<String>,
    /// The request's id; empty for the CLI.
    pub request_id: String,
}

impl Origin {
    /// The address as text; empty when there is none.
    pub fn address_text(&self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// A signed-in session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The session's public id.
    pub session: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The organisation in view, as the session remembers it; membership is checked where it is used.
    pub org: Option<OrgId>,
}

/// What a request wants of an organisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wants {
    /// To look at whichever is in view.
    #[default]
    Read,
    /// To change the one that its form was made in, or if the form does not say so, the one that the session remembers;
    /// never another, whichever is in view by now.
    Change {
        /// Where the form was made.
        made_in: Option<OrgId>,
    },
}

/// What a request may do to the browser's session. The edge implements it; rules never see a cookie.
pub trait SessionControl: Send + Sync {
    /// Makes the session a signed-in one, under a new identifier (SES-02).
    fn begin(&self, user: UserId, org: Option<OrgId>) -> BoxFuture<'_, Result<()>>;
    /// Notes which organisation is in view.
    fn set_org(&self, org: OrgId) -> BoxFuture<'_, Result<()>>;
    /// Ends the session.
    fn end(&self) -> BoxFuture<'_, Result<()>>;
}

/// What pages and server functions get to work with.
#[derive(Clone)]
pub struct RequestContext {
    /// The environment.
    pub env: Env,
    /// Who is signed in, if anybody.
    pub signed_in: Option<SignedIn>,
    /// Where the request came from.
    pub origin: Origin,
    /// The browser's session.
    pub session: Arc<dyn SessionControl>,
    /// What it wants of an organisation.
    pub wants: Wants,
    /// What the hidden field `csrf` of a form that signs somebody in must hold (SES-06).
    pub form_token: String,
    /// The cookie of an earlier sign-in from this browser (PWD-06).
    pub device: Option<String>,
    /// The cookie of a log-in that waits for its second step (MFA-03). Nobody is signed in by it.
    pub step: Option<String>,
    /// The cookie of a browser that its person trusts to skip the second step.
    pub trusted: Option<String>,
}

impl core::fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RequestContext")
            .field("signed_in", &self.signed_in)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
