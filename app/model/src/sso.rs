//! The identity provider that an organisation brings for its MCP endpoint.

use serde::{Deserialize, Serialize};

use crate::{IdentityProviderId, Plan};

/// The longest issuer, key set address or audience in characters.
pub const MAX_ADDRESS: usize = 512;
/// The longest text of claim rules in characters.
pub const MAX_RULES: usize = 2000;

/// A claim that a token has to have, with one of these values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRule {
    /// The claim's name: `tid`.
    pub claim: String,
    /// What it may be. A claim that is a list has to hold one of them.
    pub values: Vec<String>,
}

/// What a token needs beyond being genuine, for this endpoint and in time (IDP-06).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdpRules {
    /// Claims it has to have, all of them.
    #[serde(default)]
    pub claims: Vec<ClaimRule>,
    /// A scope it has to have; none when empty.
    #[serde(default)]
    pub scope: String,
    /// Whether ID tokens pass, which are made for another purpose.
    #[serde(default)]
    pub id_tokens: bool,
}

impl IdpRules {
    /// The claim rules as they are typed: a line each, `claim = value, value`.
    pub fn claims_text(&self) -> String {
        let lines: Vec<String> =
            self.claims.iter().map(|rule| format!("{} = {}", rule.claim, rule.values.join(", "))).collect();
        lines.join("\n")
    }
}

/// The provider as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityProvider {
    /// Its id.
    pub id: IdentityProviderId,
    /// What its tokens name as `iss`.
    pub issuer: String,
    /// Where its public keys are.
    pub jwks_uri: String,
    /// What its tokens must name as `aud`.
    pub audience: String,
    /// Whether its tokens are accepted.
    pub enabled: bool,
    /// What else a token needs.
    pub rules: IdpRules,
    /// When it was changed last, Unix milliseconds.
    pub updated_at: i64,
    /// By whom.
    pub updated_by: String,
}

/// What is known of a provider's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// How many of its keys can verify tokens.
    pub usable: u32,
    /// How many keys it has.
    pub total: u32,
    /// When they were fetched, Unix milliseconds.
    pub fetched_at: Option<i64>,
    /// Why the last attempt to fetch them failed, in words.
    pub error: Option<String>,
}

/// Everything the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsoPage {
    /// The plan.
    pub plan: Plan,
    /// The provider, if there is one.
    pub provider: Option<IdentityProvider>,
    /// What is known of its keys; nothing before the first token.
    pub keys: KeySet,
    /// The endpoint's URL: what to enter at the provider, and the audience that is offered.
    pub endpoint: String,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What a provider says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {
    /// The issuer, as it spells itself.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_uri: String,
}

/// One thing that was looked at in a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A stable word: `aud`.
    pub code: String,
    /// What was looked at: "Audience (aud)".
    pub title: String,
    /// What was found; when it failed, what to do about it.
    pub detail: String,
    /// Whether it passed. After one that failed there are no more.
    pub passed: bool,
}

/// What came of a pasted token. The token itself is in it nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenTest {
    /// What was looked at, in order.
    pub checks: Vec<Check>,
    /// Who it is, when every check passed: the `sub`.
    pub subject: Option<String>,
    /// Whether the provider is switched on, so that such tokens are really accepted.
    pub enabled: bool,
}

impl TokenTest {
    /// Whether every check passed.
    pub fn accepted(&self) -> bool {
        self.subject.is_some()
    }
}
