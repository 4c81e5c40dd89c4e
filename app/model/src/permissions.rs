//! Who may do what: the one table of roles and permissions. Nothing else in the code decides by role.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! permissions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// One thing that a member of an organisation may be allowed to do: `resource:action`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Permission {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Permission {
            /// Every permission, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that users, logs and custom roles know it by.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        /// One type per permission, so that a proof of authority can name it: `OrgActor<can::ApiKeysCreate>`.
        pub mod can {
            $(
                #[doc = concat!("Proof of `", $name, "`.")]
                #[derive(Clone, Copy, Debug)]
                pub struct $variant;

                impl super::Grant for $variant {
                    const PERMISSION: super::Permission = super::Permission::$variant;
                }
            )*
        }
    };
}

/// Implemented by the types of [`can`] alone: the permission that a type stands for.
pub trait Grant {
    /// The permission.
    const PERMISSION: Permission;
}

permissions! {
    /// See API keys and MCP connections (the dashboard's `MCP_CONNECTIONS_READ`).
    ApiKeysRead = "api-keys:read";
    /// Make API keys, open the agent helper and copy sealed keys.
    ApiKeysCreate = "api-keys:create";
    /// Rename, enable, disable and re-scope API keys.
    ApiKeysUpdate = "api-keys:update";
    /// Delete API keys; revoke connections (the dashboard's `MCP_CONNECTIONS_REVOKE`).
    ApiKeysRevoke = "api-keys:revoke";
    /// See connectors and their tools.
    ConnectorsRead = "connectors:read";
    /// Add and change connectors and switch their tools.
    ConnectorsWrite = "connectors:write";
    /// Delete connectors.
    ConnectorsDelete = "connectors:delete";
    /// See OAuth clients.
    OauthClientsRead = "oauth-clients:read";
    /// Make, change and delete OAuth clients.
    OauthClientsWrite = "oauth-clients:write";
    /// See members and invitations.
    TeamRead = "team:read";
    /// Invite people.
    TeamInvite = "team:invite";
    /// Remove members.
    TeamRemove = "team:remove";
    /// Change roles.
    TeamRoles = "team:roles";
    /// See webhooks and deliveries.
    WebhooksRead = "webhooks:read";
    /// Make, change and delete webhooks.
    WebhooksWrite = "webhooks:write";
    /// See security settings.
    SecurityRead = "security:read";
    /// Change security settings.
    SecurityManage = "security:manage";
    /// See identity providers.
    SsoRead = "sso:read";
    /// Change identity providers.
    SsoManage = "sso:manage";
    /// See custom domains.
    DomainsRead = "domains:read";
    /// Change custom domains.
    DomainsManage = "domains:manage";
    /// Read the audit log.
    AuditRead = "audit:read";
    /// Export the audit log.
    AuditExport = "audit:export";
    /// Make data exports.
    ExportCreate = "export:create";
    /// See usage.
    UsageRead = "usage:read";
    /// See the request log.
    LogsRead = "logs:read";
    /// Call tools from the dashboard.
    PlaygroundUse = "playground:use";
    /// Change name, description and data-plane settings of the organisation.
    OrgUpdate = "org:update";
    /// Delete the organisation.
    OrgDelete = "org:delete";
    /// Change the plan.
    BillingManage = "billing:manage";
}

impl Permission {
    /// The permission with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.as_str() == name)
    }

    /// Whether this permission only reads.
    pub fn reads(self) -> bool {
        self.as_str().ends_with(":read")
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The built-in roles, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Owner,
    /// Everything but deleting the organisation, billing and owners.
    Admin,
    /// Connectors, keys, clients, webhooks, logs, usage, playground.
    Developer,
    /// Sees connectors, uses the playground and their own connections.
    Member,
    /// Reads everything but the audit log.
    Viewer,
}

impl Role {
    /// Every built-in role, from most to least.
    pub const ALL: &[Self] = &[Self::Owner, Self::Admin, Self::Developer, Self::Member, Self::Viewer];

    /// The name in URLs, forms, the CLI and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// The role with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == name)
    }

    /// Whether the role holds the permission. **The** table.
    pub fn allows(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Owner => true,
            Self::Admin => !matches!(permission, P::OrgDelete | P::BillingManage),
            Self::Developer => matches!(
                permission,
                P::ApiKeysRead
                    | P::ApiKeysCreate
                    | P::ApiKeysUpdate
                    | P::ApiKeysRevoke
                    | P::ConnectorsRead
                    | P::ConnectorsWrite
                    | P::ConnectorsDelete
                    | P::OauthClientsRead
                    | P::OauthClientsWrite
                    | P::WebhooksRead
                    | P::WebhooksWrite
                    | P::LogsRead
                    | P::UsageRead
                    | P::PlaygroundUse
            ),
            Self::Member => matches!(permission, P::ConnectorsRead | P::PlaygroundUse),
            Self::Viewer => permission.reads() && permission != P::AuditRead,
        }
    }

    /// The roles that hold a permission, for "ask an owner or admin".
    pub fn holders(permission: Permission) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |role| role.allows(permission))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as product documentation states it, written a second time on purpose.
    #[test]
    fn the_table_says_what_the_product_promises() {
        let held = |role: Role| Permission::ALL.iter().filter(|p| role.allows(**p)).count();
        assert_eq!(held(Role::Owner), Permission::ALL.len());
        assert_eq!(held(Role::Admin), Permission::ALL.len() - 2);
        assert!(!Role::Admin.allows(Permission::OrgDelete) && !Role::Admin.allows(Permission::BillingManage));
        for permission in Permission::ALL {
            let developer = ["api-keys:", "connectors:", "oauth-clients:", "webhooks:"]
                .iter()
                .any(|group| permission.as_str().starts_with(group))
                || ["logs:read", "usage:read", "playground:use"].contains(&permission.as_str());
            assert_eq!(Role::Developer.allows(*permission), developer, "{permission}");
            let viewer = permission.as_str().ends_with(":read") && permission.as_str() != "audit:read";
            assert_eq!(Role::Viewer.allows(*permission), viewer, "{permission}");
            let member = ["connectors:read", "playground:use"].contains(&permission.as_str());
            assert_eq!(Role::Member.allows(*permission), member, "{permission}");
        }
    }

    #[test]
    fn names_are_unique_and_parse() {
        let mut names: Vec<_> = Permission::ALL.iter().map(|p| p.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Permission::ALL.len());
        assert!(Role::ALL.iter().all(|role| Role::parse(role.as_str()) == Some(*role)));
        assert_eq!(Role::parse("Owner"), None);
    }
}
