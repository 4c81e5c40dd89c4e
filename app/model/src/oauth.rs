//! The authorization server, as pages see it: clients, connections, the consent page.

use serde::{Deserialize, Serialize};

use crate::{
    ClientSecretId, ConnectionId, ConnectorSlug, OrgId, Scope, api_keys::Snippet, connectors::Health,
};

/// How a client came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// Made by an organisation for a machine: client credentials.
    Machine,
    /// Made by an organisation for people: authorization code.
    Code,
    /// Registered itself (RFC 7591).
    Registered,
    /// Named by the URL of its metadata document.
    Document,
}

impl ClientKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Machine, Self::Code, Self::Registered, Self::Document];

    /// The name in the database and in forms.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Code => "code",
            Self::Registered => "registered",
            Self::Document => "document",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// Whether an organisation made it.
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Machine | Self::Code)
    }

    /// What it is called on pages.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Machine => "Client credentials",
            Self::Code => "Authorization code",
            Self::Registered => "Registered itself",
            Self::Document => "Metadata document",
        }
    }
}

/// How long a connection lasts from consent. An organisation's choice; it applies to what is granted afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshLifetime {
    /// One day.
    #[serde(rename = "1")]
    Day,
    /// Seven days.
    #[serde(rename = "7")]
    Week,
    /// Thirty days, the default.
    #[serde(rename = "30")]
    Month,
    /// Ninety days.
    #[serde(rename = "90")]
    Quarter,
}

impl RefreshLifetime {
    /// Every choice, shortest first.
    pub const ALL: &[Self] = &[Self::Day, Self::Week, Self::Month, Self::Quarter];

    /// In days.
    pub const fn days(self) -> i64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
        }
    }

    /// In milliseconds.
    pub const fn millis(self) -> i64 {
        self.days() * 24 * 60 * 60 * 1000
    }

    /// The choice of so many days.
    pub fn from_days(days: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.days() == days)
    }
}

/// What the replay of a rotated refresh token does (OAR-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReusePolicy {
    /// The whole grant dies, the default.
    Revoke,
    /// Only that request is refused: weaker.
    Reject,
}

impl ReusePolicy {
    /// The name in the database and in forms.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Reject => "reject",
        }
    }

    /// The policy with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Revoke, Self::Reject].into_iter().find(|policy| policy.as_str() == name)
    }
}

/// An organisation's choices about OAuth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthSettings {
    /// How long a connection lasts.
    pub lifetime: RefreshLifetime,
    /// What the replay of a refresh token does.
    pub reuse: ReusePolicy,
    /// Whether members may give access to clients that nobody of the organisation registered.
    pub open_clients: bool,
}

/// A client's secret, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecret {
    /// Its public id.
    pub id: ClientSecretId,
    /// The last four characters.
    pub last4: String,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// Who made it, by name.
    pub created_by: String,
    /// When it stops working, if a newer one was made.
    pub expires_at: Option<i64>,
    /// When a token was last asked for with it.
    pub last_used_at: Option<i64>,
}

/// A notice about a connection: one of its refresh tokens came back after it had been replaced (OAR-07).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionAlert {
    /// Of which connection.
    pub connection: ConnectionId,
    /// What its client is called.
    pub client_name: String,
    /// Whose connection it is.
    pub user_email: String,
    /// The organisation that it leads to.
    pub org: String,
    /// When it happened last, Unix milliseconds.
    pub at: i64,
    /// From which address; empty when that is not known.
    pub address: String,
    /// Whether the client's tokens were ended with it; otherwise only that request was refused.
    pub ended: bool,
    /// Whether the connection itself still lives, so that it can be revoked.
    pub active: bool,
}

/// A client, as an organisation sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthClient {
    /// `gth_client_…`, or a URL.
    pub id: String,
    /// How it came to be known.
    pub kind: ClientKind,
    /// What it is called. For self-registered clients their own claim.
    pub name: String,
    /// Where it may be sent back to.
    pub redirect_uris: Vec<String>,
    /// `none`, `client_secret_basic` or `client_secret_post`.
    pub auth_method: String,
    /// What it may ask for.
    pub scope: Scope,
    /// Its secrets, newest first.
    pub secrets: Vec<ClientSecret>,
    /// What else it says about itself, by RFC 7591 name: text to show, never a link to follow.
    pub claims: Vec<(String, String)>,
    /// Its live connections in this organisation.
    pub connections: i64,
    /// When it was made or first seen, Unix milliseconds.
    pub created_at: i64,
    /// Who made it, by name; the address for one that registered itself.
    pub created_by: String,
    /// When a token was last issued to it.
    pub last_used_at: Option<i64>,
}

/// A client that was just made, or one that got a new secret: the only time the secret travels.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewOauthClient {
    /// The client as it is listed.
    pub client: OauthClient,
    /// The whole secret; `None` for a public client.
    pub secret: Option<String>,
    /// How many connections were revoked with it.
    pub revoked: i64,
}

impl core::fmt::Debug for NewOauthClient {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NewOauthClient").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Everything the page of OAuth clients shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthClientsPage {
    /// The clients that the organisation made, newest first.
    pub own: Vec<OauthClient>,
    /// Those that registered themselves and were given access here, newest first.
    pub others: Vec<OauthClient>,
    /// What the organisation chose.
    pub settings: OauthSettings,
    /// Live connections, by the days that they last from consent: days and how many, fewest days first.
    pub lifetimes: Vec<(i64, i64)>,
    /// Connectors to choose from, by name: slug and name.
    pub connectors: Vec<(ConnectorSlug, String)>,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

impl OauthClientsPage {
    /// How many connections making or deleting a client would cut.
    pub fn live(&self) -> i64 {
        self.lifetimes.iter().map(|(_, count)| count).sum()
    }
}

/// How long the older secret of a client works beside the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Not at all.
    None,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
}

impl Overlap {
    /// Every choice, shortest first.
    pub const ALL: &[Self] = &[Self::None, Self::Hour, Self::Day, Self::Week];

    /// The name in forms.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "now",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// The choice with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.as_str() == name)
    }

    /// In milliseconds.
    pub const fn millis(self) -> i64 {
        const HOUR: i64 = 60 * 60 * 1000;
        match self {
            Self::None => 0,
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Week => 7 * 24 * HOUR,
        }
    }
}

/// How one MCP client is connected by signing in, without a key. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthWay {
    /// A short word for ids and URLs: `claude-code`.
    pub client: String,
    /// The client's name.
    pub title: String,
    /// What to do, one sentence a step.
    pub steps: Vec<String>,
    /// Things to copy.
    pub snippets: Vec<Snippet>,
    /// A link that installs with one click (`cursor://…`).
    pub link: Option<String>,
}

/// A connection of the signed-in person, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnConnection {
    /// The organisation's name.
    pub org: String,
    /// Whether that organisation asks for a PIN before it is revoked.
    pub pin: crate::orgs::PinAsked,
    /// The connection.
    pub connection: Connection,
}

/// One person's authorisation of one client for one organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// The client's id.
    pub client_id: String,
    /// The client, as it named itself; never empty.
    pub client_name: String,
    /// How the client came to be known.
    pub client_kind: ClientKind,
    /// The host it is sent back to.
    pub redirect_host: String,
    /// Who authorised it.
    pub user_email: String,
    /// `gth_conn_sk_` and the first characters: enough to recognise.
    pub key_prefix: String,
    /// Which connectors it reaches.
    pub scope: Scope,
    /// When the flow was first completed, Unix milliseconds.
    pub created_at: i64,
    /// When it ends by itself.
    pub expires_at: i64,
    /// When it last got an access token.
    pub last_token_at: Option<i64>,
    /// When a request last used it.
    pub last_used_at: Option<i64>,
    /// From which address.
    pub last_used_address: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// By whom.
    pub revoked_by: Option<String>,
    /// Why, in words.
    pub revoked_reason: Option<String>,
}

impl Connection {
    /// What a client without a name is called.
    pub const UNNAMED: &str = "MCP Client";

    /// Whether it works.
    pub fn is_active(&self) -> bool {
        self.revoked_at.is_none()
    }
}

/// One organisation that a person can choose on the consent page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentOrg {
    /// Its id.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// Its slug.
    pub slug: String,
    /// Why access cannot be given there, in words; `None` when it can.
    pub refused: Option<String>,
    /// Whether another organisation of the person has the same name.
    pub namesake: bool,
    /// Whether the person may change which clients it gives access to.
    pub may_change: bool,
    /// What a connection would reach: the connectors that are asked for and exist.
    pub connectors: Vec<ConsentConnector>,
    /// How many days a connection lasts.
    pub days: i64,
    /// When this person connected this client here before, Unix milliseconds.
    pub connected_at: Option<i64>,
}

/// One connector that a client would reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentConnector {
    /// Its slug.
    pub slug: ConnectorSlug,
    /// Its name.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// Its enabled tools.
    pub tools: i64,
    /// Of these, how many say that they only read.
    pub read_only: i64,
    /// Of these, how many say that they may destroy.
    pub destructive: i64,
}

/// Everything the consent page shows. All that a client says about itself is untrusted text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The value of the stored request, for the form.
    pub request: String,
    /// The client's id.
    pub client_id: String,
    /// The client's name.
    pub client_name: String,
    /// How it came to be known.
    pub client_kind: ClientKind,
    /// When it was registered or first seen, Unix milliseconds.
    pub client_since: i64,
    /// Where the answer goes: a host, or the scheme of an app.
    pub redirect_host: String,
    /// Whether that is this computer.
    pub loopback: bool,
    /// Whether that is another app (a private-use scheme).
    pub other_app: bool,
    /// What the client asks for.
    pub scope: Scope,
    /// The organisations to choose from; one, when the request names it.
    pub orgs: Vec<ConsentOrg>,
    /// Who is signed in, by e-mail address.
    pub user_email: String,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// The longest name of a client in characters.
pub const MAX_CLIENT_NAME: usize = 128;
