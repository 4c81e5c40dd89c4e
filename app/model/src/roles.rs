//! Roles as members hold them: the built-in ones, and those that an organisation makes of permissions.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Permission, Role, RoleId};

/// The longest name of a role in characters.
pub const MAX_ROLE_NAME: usize = 40;
/// The longest description of a role in characters.
pub const MAX_ROLE_ABOUT: usize = 200;
/// The most roles that an organisation makes.
pub const MOST_ROLES: usize = 50;

/// A set of permissions. As a number it is for messages between two halves of one build; what lasts is kept by names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rights(u64);

impl Rights {
    /// Those of a built-in role: the one table.
    pub fn of(role: Role) -> Self {
        Permission::ALL.iter().filter(|p| role.allows(**p)).fold(Self::default(), |all, p| all.with(*p))
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | 1 << permission as u64)
    }

    /// Whether it is among them.
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u64) != 0
    }

    /// Whether all of the others are among them.
    pub const fn include(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// How many there are.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Each of them, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.has(*permission))
    }

    /// Their names, with spaces between: the form that lasts.
    pub fn names(self) -> String {
        self.iter().map(Permission::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Those with these names. A name that is not known (any more) is left out: it grants nothing.
    pub fn parse(names: &str) -> Self {
        names.split(' ').filter_map(Permission::parse).fold(Self::default(), Self::with)
    }

    /// With what makes the others usable: whoever changes something sees it.
    #[must_use]
    pub fn with_reads(self) -> Self {
        let resource = |permission: Permission| permission.as_str().split(':').next().unwrap_or_default();
        Permission::ALL
            .iter()
            .filter(|read| read.reads() && self.iter().any(|held| resource(held) == resource(**read)))
            .fold(self, |all, read| all.with(*read))
    }
}

/// Which role: its name among the built-in ones, or the id of one that an organisation made. This is what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKey {
    /// One that every organisation has.
    Built(Role),
    /// One that an organisation made.
    Custom(RoleId),
}

impl RoleKey {
    /// Reads `developer` or `role_…`.
    pub fn parse(text: &str) -> Option<Self> {
        Role::parse(text).map(Self::Built).or_else(|| text.parse().ok().map(Self::Custom))
    }
}

impl fmt::Display for RoleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built(role) => role.fmt(f),
            Self::Custom(id) => id.fmt(f),
        }
    }
}

impl Serialize for RoleKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RoleKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("no role"))
    }
}

impl From<Role> for RoleKey {
    fn from(role: Role) -> Self {
        Self::Built(role)
    }
}

impl From<RoleId> for RoleKey {
    fn from(id: RoleId) -> Self {
        Self::Custom(id)
    }
}

impl From<&MemberRole> for RoleKey {
    fn from(role: &MemberRole) -> Self {
        role.key
    }
}

impl PartialEq<Role> for RoleKey {
    fn eq(&self, role: &Role) -> bool {
        *self == Self::Built(*role)
    }
}

/// A role with what it is called and what it allows at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRole {
    /// Which.
    pub key: RoleKey,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub rights: Rights,
}

impl MemberRole {
    /// Whether it holds the permission.
    pub const fn allows(&self, permission: Permission) -> bool {
        self.rights.has(permission)
    }

    /// Whether somebody in this role may give that one, or deal with somebody who has it: nobody reaches further than
    /// what they hold, and only owners reach owners.
    pub fn covers(&self, other: &Self) -> bool {
        self.rights.include(other.rights) && (other.key != Role::Owner || self.key == Role::Owner)
    }

    /// What people call it.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        Self { key: role.into(), name: role.as_str().to_owned(), rights: Rights::of(role) }
    }
}

impl PartialEq<Role> for MemberRole {
    fn eq(&self, role: &Role) -> bool {
        self.key == *role
    }
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A role that the organisation made, for its page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomRole {
    /// The role.
    pub role: MemberRole,
    /// What it is for.
    pub description: String,
    /// Members who have it.
    pub members: i64,
    /// Open invitations to it.
    pub invitations: i64,
    /// Whether newcomers by SSO get it.
    pub newcomers: bool,
}

impl CustomRole {
    /// Whether somebody has it or would get it.
    pub fn in_use(&self) -> bool {
        self.members > 0 || self.invitations > 0 || self.newcomers
    }
}

/// Everything the page of the roles shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Those that the organisation made, by name.
    pub custom: Vec<CustomRole>,
    /// The role of whoever looks.
    pub own: MemberRole,
}

impl Roles {
    /// The built-in roles and those of the organisation.
    pub fn all(&self) -> Vec<MemberRole> {
        let built = Role::ALL.iter().map(|role| MemberRole::from(*role));
        built.chain(self.custom.iter().map(|custom| custom.role.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_the_table_and_survive_by_name() {
        assert!(Permission::ALL.len() <= 64, "a set has 64 places");
        for role in Role::ALL {
            let rights = Rights::of(*role);
            assert!(Permission::ALL.iter().all(|p| rights.has(*p) == role.allows(*p)), "{role}");
            assert_eq!(Rights::parse(&rights.names()), rights);
        }
        assert_eq!(
            Rights::parse("connectors:read nonsense:do"),
            Rights::default().with(Permission::ConnectorsRead)
        );
        let writes = Rights::default().with(Permission::TeamInvite).with(Permission::AuditExport);
        assert_eq!(writes.with_reads().names(), "team:read team:invite audit:read audit:export");
    }

    #[test]
    fn ten_04_a_role_covers_what_holds_no_more() {
        let role = MemberRole::from;
        assert!(role(Role::Owner).covers(&role(Role::Owner)) && role(Role::Admin).covers(&role(Role::Admin)));
        assert!(
            !role(Role::Admin).covers(&role(Role::Owner))
                && !role(Role::Developer).covers(&role(Role::Viewer))
        );
        // Whatever it holds, it is not the owner.
        let all = MemberRole {
            key: RoleId::from_uuid(uuid::Uuid::nil()).into(),
            name: "all".into(),
            rights: Rights::of(Role::Owner),
        };
        assert!(all.covers(&role(Role::Admin)) && !all.covers(&role(Role::Owner)));
    }

    #[test]
    fn keys_are_names_or_ids() {
        let id = RoleId::from_uuid(uuid::Uuid::from_u128(7));
        for key in [RoleKey::Built(Role::Viewer), RoleKey::Custom(id)] {
            assert_eq!(RoleKey::parse(&key.to_string()), Some(key));
        }
        assert_eq!(RoleKey::parse("nobody"), None);
    }
}
