//! Who asks, and from where: what the edge learned about a request before any rule was asked.

use std::{net::IpAddr, sync::Arc};

use futures_util::future::BoxFuture;
use model::{OrgId, SessionId, UserId};

use crate::{Env, Result};

/// The client's address after trusted proxies were taken into account (IPA-01). A request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

/// The host that a trusted proxy says the client asked for. A request extension; absent when there is no such proxy, or it
/// says none or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedHost(pub String);

/// The id of a request, in its answer's `X-Request-Id` and in the log. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// How whoever acts had shown who they are (AUD-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// With a password alone.
    Password,
    /// With a password and a code of the second factor.
    PasswordAndCode,
    /// With a passkey.
    Passkey,
    /// At the organisation's identity provider.
    Sso,
    /// With a link that was sent to their address, or with an invitation.
    Link,
    /// With an API key.
    ApiKey,
    /// As an OAuth client, with a code, a token or its secret.
    Token,
    /// On the machine that Gatehouse runs on.
    Cli,
    /// Gatehouse itself.
    System,
}

impl AuthMethod {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Password,
        Self::PasswordAndCode,
        Self::Passkey,
        Self::Sso,
        Self::Link,
        Self::ApiKey,
        Self::Token,
        Self::Cli,
        Self::System,
    ];

    /// Its name in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PasswordAndCode => "password+code",
            Self::Passkey => "passkey",
            Self::Sso => "sso",
            Self::Link => "link",
            Self::ApiKey => "api_key",
            Self::Token => "token",
            Self::Cli => "cli",
            Self::System => "system",
        }
    }

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

/// How whoever sent a request had shown who they are, and with which credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// `None` for not at all, or not yet.
    pub method: Option<AuthMethod>,
    /// The public id of the credential: of the session, or of the client; may be empty.
    pub key: String,
}

/// Where a request came from, for audit events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// `User-Agent`, at most 256 characters.
    pub user_agent: Option<String>,
    /// The request's id; empty for the CLI.
    pub request_id: String,
    /// How whoever sent it had shown who they are.
    pub auth: Auth,
}

impl Origin {
    /// The same request, by somebody who has just shown in this way who they are. What the request came with, such as the
    /// session of another account, counts no more.
    #[must_use]
    pub fn shown(&self, method: AuthMethod) -> Self {
        self.with_auth(Some(method), "")
    }

    /// The same request, by nobody in particular.
    #[must_use]
    pub fn stranger(&self) -> Self {
        self.with_auth(None, "")
    }

    /// The same request, by an OAuth client that has authenticated.
    #[must_use]
    pub fn client(&self, id: &str) -> Self {
        self.with_auth(Some(AuthMethod::Token), id)
    }

    fn with_auth(&self, method: Option<AuthMethod>, key: &str) -> Self {
        Self { auth: Auth { method, key: key.to_owned() }, ..self.clone() }
    }

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
    /// By whose provider it was begun; `None` by password.
    pub sso: Option<BySso>,
}

/// A session that an organisation's own provider vouched for. It opens that organisation and no other: whoever runs the
/// provider can pass for everybody there, and for nobody elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BySso {
    /// Whose provider.
    pub org: OrgId,
    /// Whether it says that the person has shown a second factor there (MFA-06).
    pub second_factor: bool,
}

impl SignedIn {
    /// Whether the session may reach this organisation at all.
    pub fn reaches(&self, org: OrgId) -> bool {
        self.sso.is_none_or(|sso| sso.org == org)
    }
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
    fn begin(
        &self,
        user: UserId,
        org: Option<OrgId>,
        by: AuthMethod,
        sso: Option<BySso>,
    ) -> BoxFuture<'_, Result<()>>;
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
