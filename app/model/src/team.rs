//! The people of an organisation as pages show them.

use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, MemberRole, UserId};

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamMember {
    /// The person.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: MemberRole,
    /// Whether it is whoever looks.
    pub you: bool,
    /// Whether no other member is an owner: then they stay one.
    pub last_owner: bool,
    /// Whether they have a second factor.
    pub second_factor: bool,
    /// Since when, Unix milliseconds.
    pub joined_at: i64,
    /// When a browser of theirs was last seen, Unix milliseconds; `None` when they are logged in nowhere.
    pub last_seen_at: Option<i64>,
    /// By which way they logged in to the browser that was last seen, in words; empty where that is not known.
    pub way: String,
}

/// An API key that somebody made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamKey {
    /// The key.
    pub id: ApiKeyId,
    /// Its name.
    pub name: String,
    /// When it was last used, Unix milliseconds.
    pub last_used_at: Option<i64>,
}

/// What happens when a member goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Who.
    pub member: TeamMember,
    /// Browsers that are logged out.
    pub sessions: i64,
    /// Connections that are revoked.
    pub connections: i64,
    /// Keys that they made and that stay.
    pub keys: Vec<TeamKey>,
}
