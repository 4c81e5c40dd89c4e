//! API keys, as pages see them.

use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, ConnectorId, oauth::OauthWay, orgs::KeyVisibility};

/// Which connectors a key may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// All, also those added later.
    All,
    /// Only these.
    Only(Vec<ConnectorId>),
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its public id.
    pub id: ApiKeyId,
    /// What its maker called it.
    pub name: String,
    /// `gth_live_sk_` and the first characters of the secret: enough to recognise, too little to use.
    pub prefix: String,
    /// The last four characters.
    pub last4: String,
    /// Which connectors it may use.
    pub scope: KeyScope,
    /// Whether it works; a disabled key can be enabled again.
    pub enabled: bool,
    /// Whether it may be used as `?api_key=` (APK-09).
    pub url_key: bool,
    /// Whether a sealed copy is kept, so that it can be copied again.
    pub copyable: bool,
    /// When it stops working by itself, Unix milliseconds.
    pub expires_at: Option<i64>,
    /// When a request last used it, Unix milliseconds, at most a minute stale.
    pub last_used_at: Option<i64>,
    /// From which address.
    pub last_used_address: Option<String>,
    /// By which client, as it called itself.
    pub last_used_agent: Option<String>,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
    /// Who made it, by name.
    pub created_by: String,
    /// From where it may be used, CIDR; empty for everywhere (IPA-05).
    pub ranges: Vec<String>,
}

impl ApiKey {
    /// Whether it was used in the 24 hours before `now` (Unix milliseconds): then deleting it breaks somebody.
    pub fn used_within_a_day(&self, now: i64) -> bool {
        self.last_used_at.is_some_and(|at| now - at < 24 * 60 * 60 * 1000)
    }

    /// The key as it may be shown: `gth_live_sk_AbCd…x9Qf`.
    pub fn masked(&self) -> String {
        format!("{}…{}", self.prefix, self.last4)
    }
}

/// A key that was just made: the only time its secret travels.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewApiKey {
    /// The key as it is listed.
    pub key: ApiKey,
    /// The whole key.
    pub secret: String,
}

impl core::fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NewApiKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Everything the API keys page shows. It holds no whole key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeysPage {
    /// All keys, newest first.
    pub keys: Vec<ApiKey>,
    /// Connectors to choose from, by name: id, name, slug.
    pub connectors: Vec<(ConnectorId, String, String)>,
    /// Whether keys can be read again.
    pub visibility: KeyVisibility,
    /// Whether `?api_key=` works in this organisation.
    pub url_keys: bool,
    /// What each key was used for, drawn, in the order of the keys; nothing for those who may not see it.
    pub usage: Vec<String>,
    /// Server time, Unix milliseconds, so that relative times are the same on both sides of hydration.
    pub now: i64,
}

/// One way to connect one client. It may hold a whole key, so it is only ever the answer to a POST.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallMethod {
    /// A short word for ids and URLs: `claude-code`.
    pub client: String,
    /// The client's name.
    pub title: String,
    /// What to do, one sentence a step.
    pub steps: Vec<String>,
    /// Things to copy: label and text. The text may hold the key.
    pub snippets: Vec<Snippet>,
    /// A link that installs with one click (`cursor://…`).
    pub link: Option<String>,
    /// A warning to stand beside it.
    pub warning: Option<String>,
    /// How to connect without a key, by signing in.
    pub oauth: Option<OauthWay>,
}

/// A text to copy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippet {
    /// What it is: "Terminal (bash)".
    pub label: String,
    /// What is copied.
    pub text: String,
    /// What is shown: the same with the key masked.
    pub shown: String,
}

impl core::fmt::Debug for Snippet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Snippet")
            .field("label", &self.label)
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

/// What the helper "Connect to an AI agent (MCP)" answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectHelper {
    /// The key that is filled in, as it is listed. `None` where keys are shown once and there is one already: then each
    /// client offers to make a key of its own.
    pub key: Option<ApiKey>,
    /// Whether opening made it.
    pub made: bool,
    /// The client whose entry is open.
    pub client: Option<String>,
    /// One entry a client.
    pub methods: Vec<InstallMethod>,
    /// The address of this instance, where the entries name the organisation's own domain.
    pub also_at: Option<String>,
}

impl core::fmt::Debug for ConnectHelper {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ConnectHelper").field("made", &self.made).finish_non_exhaustive()
    }
}

/// The most ranges of a key.
pub const MAX_KEY_RANGES: usize = 20;
/// The longest key name in characters.
pub const MAX_NAME: usize = 64;
