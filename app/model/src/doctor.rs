//! The connection doctor: what was seen of clients on their way to a connection, and the self-test.

use serde::{Deserialize, Serialize};

/// A step on the way from the first request to the first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A request without a valid credential, answered with 401 and the way to sign in.
    Challenge,
    /// Protected resource metadata was read.
    ResourceMetadata,
    /// Authorization server metadata was read.
    ServerMetadata,
    /// The client registered itself.
    Register,
    /// A person was sent to the authorization endpoint.
    Authorize,
    /// The person decided.
    Consent,
    /// A token was asked for.
    Token,
    /// A request with the new token.
    FirstCall,
}

impl Stage {
    /// Every stage, in the order in which clients pass them.
    pub const ALL: &[Self] = &[
        Self::Challenge,
        Self::ResourceMetadata,
        Self::ServerMetadata,
        Self::Register,
        Self::Authorize,
        Self::Consent,
        Self::Token,
        Self::FirstCall,
    ];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::ResourceMetadata => "resource_metadata",
            Self::ServerMetadata => "server_metadata",
            Self::Register => "register",
            Self::Authorize => "authorize",
            Self::Consent => "consent",
            Self::Token => "token",
            Self::FirstCall => "first_call",
        }
    }

    /// The stage with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|stage| stage.as_str() == name)
    }

    /// What it is called on the page.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Challenge => "Answered 401 and said where to sign in",
            Self::ResourceMetadata => "Resource metadata",
            Self::ServerMetadata => "Server metadata",
            Self::Register => "Registration",
            Self::Authorize => "Authorization",
            Self::Consent => "Consent",
            Self::Token => "Token",
            Self::FirstCall => "First call",
        }
    }
}

/// One step that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenStep {
    /// Which.
    pub stage: Stage,
    /// When, Unix milliseconds.
    pub at: i64,
    /// An error code; `None` when it went well.
    pub error: Option<String>,
    /// More about it; may be empty.
    pub detail: String,
    /// How often it was seen in a row.
    pub times: u32,
}

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It came to its first call.
    Connected,
    /// It did, and its connection was revoked since.
    Revoked,
    /// It goes on: the last step is only minutes old.
    UnderWay,
    /// A step failed.
    Failed,
    /// It went no further, and nothing failed here.
    Stopped,
}

/// One client's attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which client it seems to be: "Claude Code".
    pub client: String,
    /// What it calls itself or its `User-Agent`, for telling attempts apart; may be empty.
    pub named: String,
    /// From which address.
    pub address: String,
    /// Its client id, once it had one.
    pub client_id: Option<String>,
    /// How it stands.
    pub outcome: Outcome,
    /// What was seen, in order of time.
    pub steps: Vec<SeenStep>,
    /// The stage that failed, or that was expected and did not come.
    pub stuck: Option<Stage>,
    /// What happened, in a sentence.
    pub diagnosis: String,
    /// What to do about it with this client; empty when nothing is to be done.
    pub fix: String,
    /// When its connection was revoked and by whom, for [`Outcome::Revoked`].
    pub revoked: Option<Revoked>,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When, Unix milliseconds.
    pub at: i64,
    /// By whom, by name; may be empty.
    pub by: String,
}

impl Attempt {
    /// When it was first heard of, Unix milliseconds.
    pub fn first_at(&self) -> i64 {
        self.steps.iter().map(|step| step.at).min().unwrap_or_default()
    }

    /// When it was last heard of, Unix milliseconds.
    pub fn last_at(&self) -> i64 {
        self.steps.iter().map(|step| step.at).max().unwrap_or_default()
    }
}

/// Everything the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorPage {
    /// Attempts of the last seven days, the latest first.
    pub attempts: Vec<Attempt>,
    /// Whether older attempts were left out.
    pub more: bool,
    /// The endpoint's URL.
    pub endpoint: String,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// One step of the self-test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was done: "POST the endpoint without a credential".
    pub title: String,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when it passed.
    pub fix: String,
    /// Whether it passed. After one that failed there are no more.
    pub passed: bool,
}

/// What a client would find on its way, as seen from the server itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// The steps, in order.
    pub probes: Vec<Probe>,
    /// How many steps there would have been.
    pub planned: u32,
}

impl SelfTest {
    /// Whether every step passed.
    pub fn passed(&self) -> bool {
        self.probes.iter().all(|probe| probe.passed)
    }
}
