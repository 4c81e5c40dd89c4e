//! How a connector proves to its server who asks, as pages see it: never a secret.

use serde::{Deserialize, Serialize};

use crate::{AuthorizationId, ConnectorId, ConnectorSlug};

/// The way of a connector's credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// Static headers, or nothing at all.
    #[default]
    Static,
    /// OAuth client credentials: Gatehouse asks for tokens by itself.
    ClientCredentials,
    /// OAuth authorization code, given once for the whole organisation.
    AuthorizationCode,
    /// OAuth authorization code, given by each member for themselves.
    PerUser,
}

impl CredentialKind {
    /// All of them, in the order of the form.
    pub const ALL: [Self; 4] =
        [Self::Static, Self::AuthorizationCode, Self::PerUser, Self::ClientCredentials];

    /// The name in forms and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
            Self::PerUser => "per_user",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What people call it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Static => "None, or static headers",
            Self::ClientCredentials => "OAuth with client credentials",
            Self::AuthorizationCode => "OAuth sign-in, once for the organisation",
            Self::PerUser => "OAuth sign-in by each member",
        }
    }
}

/// Where the client came from as which Gatehouse meets an authorization server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientSource {
    /// Somebody typed its id.
    Typed,
    /// Its id is the URL of a document that Gatehouse serves.
    Document,
    /// Gatehouse registered it.
    Registered,
}

impl ClientSource {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Typed => "typed",
            Self::Document => "document",
            Self::Registered => "registered",
        }
    }

    /// The source with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Typed, Self::Document, Self::Registered].into_iter().find(|source| source.as_str() == name)
    }
}

/// An authorisation as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// Which one.
    pub id: AuthorizationId,
    /// Who gave it, by name.
    pub by: String,
    /// When, Unix milliseconds.
    pub at: i64,
    /// The scope that was given; may be unknown, then empty.
    pub scope: String,
    /// When its tokens were last renewed, Unix milliseconds.
    pub renewed_at: i64,
    /// When the access token ends, if that is known.
    pub expires_at: Option<i64>,
    /// Whether Gatehouse can renew it by itself.
    pub renews: bool,
    /// Since when it needs to be given anew, and why.
    pub lost: Option<(i64, String)>,
}

/// A connector's credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The connector.
    pub connector: ConnectorId,
    /// Its name.
    pub name: String,
    /// Its slug.
    pub slug: ConnectorSlug,
    /// The way.
    pub kind: CredentialKind,
    /// How many static headers it has.
    pub headers: u32,
    /// The authorization server; empty for static headers.
    pub issuer: String,
    /// The host to sign in at.
    pub host: String,
    /// The scope that somebody typed.
    pub scope: String,
    /// What the server has asked for beyond what was given; empty mostly.
    pub scope_wanted: String,
    /// The client's id and where it came from.
    pub client: Option<(String, ClientSource)>,
    /// Whether a client secret is stored.
    pub has_secret: bool,
    /// When it was set up, Unix milliseconds, and by whom.
    pub set: Option<(i64, String)>,
    /// The organisation's authorisation; for [`CredentialKind::PerUser`] that of the person who looks.
    pub authorization: Option<Authorization>,
    /// How many members have authorised theirs, and how many of those need to again.
    pub members: (u32, u32),
}

/// A connector that members authorise for themselves, as its member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAuthorization {
    /// The connector.
    pub connector: ConnectorId,
    /// Its name.
    pub name: String,
    /// Its slug.
    pub slug: ConnectorSlug,
    /// The host to sign in at.
    pub host: String,
    /// What the person has given, if they have.
    pub authorization: Option<Authorization>,
}

/// Where a person goes on to sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInLink {
    /// The authorization server's page; `https`, or a destination that the operator allowed.
    pub url: String,
    /// Its host, to be read before going there.
    pub host: String,
    /// Which connector it is for.
    pub connector: ConnectorId,
}
