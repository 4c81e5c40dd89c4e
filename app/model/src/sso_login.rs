//! Logging in to the dashboard at an organisation's own identity provider.

use serde::{Deserialize, Serialize};

use crate::{Plan, Role, SsoDomainId, sso::Check};

/// The longest client id or secret in characters.
pub const MAX_CLIENT: usize = 512;
/// The most domains of one organisation.
pub const MOST_DOMAINS: usize = 50;

/// Whether members log in at their provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SsoMode {
    /// Nobody can.
    #[default]
    Off,
    /// They may.
    Optional,
    /// They have to, but for owners.
    Required,
}

impl SsoMode {
    /// Every mode, from least to most.
    pub const ALL: &[Self] = &[Self::Off, Self::Optional, Self::Required];

    /// The name in forms and the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// The mode with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mode| mode.as_str() == name)
    }
}

/// The provider as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginProvider {
    /// Its issuer identifier.
    pub issuer: String,
    /// Gatehouse as it is known there.
    pub client_id: String,
    /// Whether a secret is kept for it.
    pub has_secret: bool,
    /// Whether members log in with it.
    pub mode: SsoMode,
    /// What somebody becomes who comes for the first time; empty lets in only who was invited.
    pub default_role: String,
    /// What came of the last test.
    pub tested: Option<LoginTest>,
    /// Whether a test went well since issuer or client changed.
    pub test_passed: bool,
    /// When it was changed last, Unix milliseconds.
    pub updated_at: i64,
    /// By whom.
    pub updated_by: String,
    /// The role of whoever chose issuer and client: nobody who holds more is logged in. `None` for one that the
    /// organisation made.
    pub chosen_by: Option<Role>,
}

/// What the provider answered when somebody tried it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginTest {
    /// When, Unix milliseconds.
    pub at: i64,
    /// Who tried.
    pub by: String,
    /// Whether somebody with this answer could log in.
    pub passed: bool,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
    /// What it said about the person: names and values of claims.
    pub claims: Vec<(String, String)>,
}

/// A domain that the organisation claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginDomain {
    /// Its id.
    pub id: SsoDomainId,
    /// `acme.example`.
    pub domain: String,
    /// The name of the TXT record that proves it.
    pub record: String,
    /// What the record has to hold.
    pub value: String,
    /// Since when it is proven, Unix milliseconds.
    pub verified_at: Option<i64>,
    /// Since when the record of a proven one is missing, Unix milliseconds.
    pub missing_since: Option<i64>,
    /// When it stopped counting for that, Unix milliseconds.
    pub lapsed_at: Option<i64>,
}

/// What the name server said just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSeen {
    /// The domain.
    pub domain: String,
    /// The TXT records that are there.
    pub found: Vec<String>,
    /// Whether one of them proves it.
    pub verified: bool,
}

/// Everything the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsoLoginPage {
    /// The plan.
    pub plan: Plan,
    /// The provider, if there is one.
    pub provider: Option<LoginProvider>,
    /// The domains, by name.
    pub domains: Vec<LoginDomain>,
    /// The roles that newcomers may get: key and name.
    pub roles: Vec<(String, String)>,
    /// Where the provider sends people back to.
    pub callback: String,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// Where somebody goes to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginLink {
    /// The provider's page.
    pub url: String,
    /// Its host.
    pub host: String,
}
