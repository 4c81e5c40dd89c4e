//! Whom a provider logs in: nobody who holds more than whoever chose it (decision 18). Without that a role that may only
//! manage the provider could pass for an owner, by a provider of its own.

use model::{MemberRole, OrgId, Rights, Role, RoleId, RoleKey, UserId};
use store::Tx;

use crate::Result;

/// What is kept of the role of whoever chose a provider. Built-in roles by name, so that a permission of a later version
/// is theirs as well; an organisation's own by the rights that it held.
pub(super) fn of(role: Option<&MemberRole>) -> String {
    match role.map(|role| (role.key, role.rights)) {
        // The operator.
        None => Role::Owner.to_string(),
        Some((RoleKey::Built(role), _)) => role.to_string(),
        Some((RoleKey::Custom(_), rights)) => rights.names(),
    }
}

/// The same when a provider is saved that is there already: whoever holds more vouches for more, and whoever holds less
/// takes nothing back.
pub(super) fn saved(old: &str, new: String) -> String {
    if held(&new).covers(&held(old)) { new } else { old.to_owned() }
}

fn held(reach: &str) -> MemberRole {
    match Role::parse(reach) {
        Some(role) => role.into(),
        None => MemberRole {
            key: RoleKey::Custom(RoleId::from_uuid(uuid::Uuid::nil())),
            name: String::new(),
            rights: Rights::parse(reach),
        },
    }
}

/// Whether a provider of this reach logs in whoever has the role.
pub(super) fn includes(reach: &str, role: &MemberRole) -> bool {
    held(reach).covers(role)
}

/// What an organisation's provider is to one of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It does not log them in.
    Beyond,
    /// They may log in with it, if there is one.
    Offered,
    /// They have to.
    Required,
}

/// What the provider is to somebody, in the role that they have at this moment.
pub(crate) async fn standing(tx: &mut Tx, org: OrgId, user: UserId) -> Result<Standing> {
    let Some((required, reach)) = store::sso::find_rule(tx, org).await? else { return Ok(Standing::Offered) };
    // Under a plan without providers nobody has to log in with one.
    let required = required && super::is_included(tx, org).await?;
    let role = store::members::find_role(tx, org, user).await?;
    Ok(match role {
        Some(role) if includes(&reach, &role) && required => Standing::Required,
        Some(role) if includes(&reach, &role) => Standing::Offered,
        _ => Standing::Beyond,
    })
}

#[cfg(test)]
mod tests {
    use model::Permission;

    use super::*;

    fn custom(rights: &[Permission]) -> MemberRole {
        let rights = rights.iter().fold(Rights::default(), |all, right| all.with(*right));
        MemberRole { key: RoleId::from_uuid(uuid::Uuid::max()).into(), name: "own".into(), rights }
    }

    #[test]
    fn nobody_is_logged_in_who_holds_more_than_whoever_chose_it() {
        let role = MemberRole::from;
        for chooser in Role::ALL {
            let reach = of(Some(&role(*chooser)));
            for member in Role::ALL {
                assert_eq!(
                    includes(&reach, &role(*member)),
                    role(*chooser).covers(&role(*member)),
                    "{reach}"
                );
            }
        }
        assert!(includes(&of(None), &role(Role::Owner)), "the operator reaches everybody");
        let manager = custom(&[Permission::SsoRead, Permission::SsoManage]);
        let reach = of(Some(&manager));
        assert!(includes(&reach, &manager) && !includes(&reach, &role(Role::Member)));
        assert!(includes(&reach, &custom(&[Permission::SsoRead])));
        // Whatever it holds, it is not the owner.
        assert!(!includes(&of(Some(&custom(Permission::ALL))), &role(Role::Owner)));
    }

    #[test]
    fn a_provider_that_is_saved_again_reaches_no_less() {
        let manager = of(Some(&custom(&[Permission::SsoManage])));
        assert_eq!(saved("owner", manager.clone()), "owner");
        assert_eq!(saved("admin", manager.clone()), "admin");
        assert_eq!(saved(&manager, "admin".to_owned()), "admin");
        assert_eq!(saved("admin", "owner".to_owned()), "owner");
    }
}
