//! Organisations, members and the signed-in person, as pages see them.

use serde::{Deserialize, Serialize};

use crate::{MemberRole, OrgId, OrgSlug, Permission, Plan, UserId};

/// Whether API keys can be read again after they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyVisibility {
    /// Only a hash is kept: the key is shown in the dialog that made it.
    Once,
    /// A sealed copy is kept beside the hash; each copy is audited.
    Copyable,
}

impl KeyVisibility {
    /// The name in forms, the CLI and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Copyable => "copyable",
        }
    }

    /// The mode with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Once, Self::Copyable].into_iter().find(|mode| mode.as_str() == name)
    }
}

/// An organisation, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// The part of its endpoint URL.
    pub slug: OrgSlug,
    /// Display name, 1 to 64 characters.
    pub name: String,
    /// At most 280 characters; may be empty.
    pub description: String,
    /// What it is entitled to.
    pub plan: Plan,
    /// Whether keys can be read again.
    pub key_visibility: KeyVisibility,
    /// Whether `?api_key=` works for keys marked for it (APK-09).
    pub url_keys: bool,
    /// When it was made, Unix milliseconds.
    pub created_at: i64,
}

/// One organisation in the switcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The organisation.
    pub org: OrgId,
    /// Its slug.
    pub slug: OrgSlug,
    /// Its name.
    pub name: String,
    /// The person's role in it.
    pub role: MemberRole,
}

/// Who is signed in, and where: what the shell of every signed-in page needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// The person.
    pub user: UserId,
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: String,
    /// The organisation in view; `None` for a person without one.
    pub org: Option<Membership>,
    /// All organisations of the person, by name.
    pub orgs: Vec<Membership>,
    /// Whether the organisation in view asks for a PIN before some acts.
    pub pin: PinAsked,
}

/// What will be deleted with an organisation, and what is asked for besides its slug and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgDeletion {
    /// Its name.
    pub name: String,
    /// Its slug, which has to be typed.
    pub slug: String,
    /// Which second factors the person has: with any, a code or a passkey is asked for.
    pub ways: crate::factors::SecondStep,
    /// How many connectors.
    pub connectors: i64,
    /// How many API keys.
    pub keys: i64,
    /// How many members, with the person who asks.
    pub members: i64,
    /// How many connections that are not revoked.
    pub connections: i64,
    /// How many OAuth clients.
    pub clients: i64,
    /// How many invitations.
    pub invitations: i64,
    /// How many events in the audit log.
    pub events: i64,
    /// How many webhooks.
    pub webhooks: i64,
    /// How many custom domains.
    pub domains: i64,
    /// How many identity providers: of the endpoint, and of the dashboard.
    pub providers: i64,
    /// How many roles of its own.
    pub roles: i64,
    /// How many exports.
    pub exports: i64,
}

/// Whether a PIN is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinAsked {
    /// No.
    #[default]
    No,
    /// Yes, and the person has one.
    Yes,
    /// Yes, but the person has yet to set one.
    Unset,
}

impl Me {
    /// What an organisation is called where several stand side by side: with its slug, when another has the same name.
    pub fn label(&self, org: &Membership) -> String {
        told_apart(&org.name, org.slug.as_str(), self.orgs.iter().map(|other| other.name.as_str()))
    }

    /// Whether the person may do this in the organisation in view.
    pub fn can(&self, permission: Permission) -> bool {
        self.org.as_ref().is_some_and(|org| org.role.allows(permission))
    }
}

/// The name, and behind it the slug where the name alone could mean another of `names`, which has the name itself as well.
pub fn told_apart<'a>(name: &str, slug: &str, names: impl Iterator<Item = &'a str>) -> String {
    if names.filter(|other| *other == name).count() > 1 {
        format!("{name} ({slug})")
    } else {
        name.to_owned()
    }
}

/// What the overview shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The organisation's MCP endpoint, absolute: on its own domain while that is in use.
    pub endpoint: String,
    /// The address of this instance, where that is another one.
    pub also_at: Option<String>,
    /// Connectors: all, enabled, healthy.
    pub connectors: ConnectorCounts,
    /// API keys that work now.
    pub active_keys: u32,
    /// MCP connections that are live.
    pub connections: u32,
    /// When anybody last called the endpoint, with whatever credential, Unix milliseconds.
    pub last_call_at: Option<i64>,
    /// Requests of the last 24 hours; `None` without `usage:read`.
    pub last_day: Option<crate::activity::LastDay>,
    /// Members and open invitations.
    pub people: u32,
    /// Whether the person has a second factor.
    pub second_factor: bool,
    /// Whether the person closed the checklist.
    pub onboarding_dismissed: bool,
    /// Whether the built-in demo server can be added with one click.
    pub demo_available: bool,
    /// The latest things that happened, newest first; empty without `audit:read`.
    pub activity: Vec<Activity>,
}

/// Connectors in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorCounts {
    /// All of the organisation.
    pub total: u32,
    /// Those switched on.
    pub enabled: u32,
    /// Those switched on whose last check was good.
    pub healthy: u32,
}

/// After how many minutes without a request an organisation may log its members out: 15 minutes to 30 days.
pub const SESSION_MINUTES: core::ops::RangeInclusive<i64> = 15..=30 * 24 * 60;

/// One line of recent activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// When, Unix milliseconds.
    pub at: i64,
    /// Who, by name.
    pub actor: String,
    /// `api_key.created`.
    pub action: String,
    /// What it was done to, by name; may be empty.
    pub target: String,
    /// Whether it worked.
    pub ok: bool,
    /// How often, where several are told as one; `at` is the latest.
    pub times: u32,
}

/// A browser that skips the second step of its person's log-ins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedBrowser {
    /// Its id in the list.
    pub id: crate::TrustedBrowserId,
    /// Where it was when it was trusted.
    pub address: String,
    /// The browser's own description.
    pub user_agent: String,
    /// Since when, Unix milliseconds.
    pub created_at: i64,
    /// When it skipped the second step last, Unix milliseconds.
    pub last_used_at: Option<i64>,
    /// Until when, Unix milliseconds.
    pub expires_at: i64,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// One signed-in browser (SES-05).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its public id.
    pub id: crate::SessionId,
    /// Where it was last seen from.
    pub address: String,
    /// The browser's own description.
    pub user_agent: String,
    /// By which way it was begun, in words; empty where an older version began it.
    pub way: String,
    /// When it began, Unix milliseconds.
    pub created_at: i64,
    /// When it was last seen, Unix milliseconds, at most a minute stale.
    pub last_seen_at: i64,
    /// Whether it is the one that asks.
    pub current: bool,
}
