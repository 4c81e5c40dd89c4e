//! What each role may do: the table that the server decides by, as it is, and the roles that the organisation made.

use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{MemberRole, Permission, RoleKey, paths, roles::Roles};

use super::roles_api::LoadRoles;
use crate::{
    components::{ButtonKind, Crumb, Icon, LinkButton, PageHeader},
    erase::Erase as _,
    page::{Loaded, load, page},
};

/// Roles and permissions.
pub struct RolesPage {
    roles: Loaded<Roles>,
}

#[lazy_route]
impl LazyRoute for RolesPage {
    fn data() -> Self {
        Self { roles: load(LoadRoles {}) }
    }

    fn view(this: Self) -> AnyView {
        page(this.roles, move |roles, me| {
            let about = format!("Your role is {}.", roles.own);
            let new = me.can(Permission::TeamRoles).then(|| {
                view! { <LinkButton href=paths::new_role() label="New role" kind=ButtonKind::Primary icon="plus" /> }
                    .erase()
            });
            view! {
                <PageHeader
                    title="Roles"
                    crumbs=vec![Crumb::new(paths::team(), "Team")]
                    about=about
                    nostrip:action=new
                />
                {table(&roles)}
            }
            .erase()
        })
    }
}

fn table(roles: &Roles) -> AnyView {
    let all = roles.all();
    let custom = roles.custom.iter().filter_map(|one| {
        let RoleKey::Custom(id) = one.role.key else { return None };
        let people =
            if one.members == 1 { "1 member".to_owned() } else { format!("{} members", one.members) };
        Some(
            view! {
                <li>
                    <a href=paths::team_role(id)>{one.role.name.clone()}</a>
                    " · " {people} " "
                    <span class="muted">{one.description.clone()}</span>
                </li>
            }
            .erase(),
        )
    });
    let custom = custom.collect_view();
    let list = if roles.custom.is_empty() {
        view! { <p class="muted">"Besides the five built-in roles this organisation has none of its own."</p> }.erase()
    } else {
        view! { <h2>"Roles of this organisation"</h2> <ul class="own-roles">{custom}</ul> }.erase()
    };
    let heads = all.iter().map(|role| view! { <th scope="col">{titled(role)}</th> }.erase()).collect_view();
    let rows = Permission::ALL.iter().map(|permission| row(*permission, &all)).collect_view();
    view! {
        <div class="stack">
            {list}
            <div class="table-box">
                <table class="table">
                    <caption class="visually-hidden">"What each role may do"</caption>
                    <thead>
                        <tr><th scope="col">"Permission"</th> {heads}</tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </div>
    }
    .erase()
}

/// Built-in roles have names in lower case, which are words of forms and commands.
fn titled(role: &MemberRole) -> String {
    let mut letters = role.name.chars();
    match (role.key, letters.next()) {
        (RoleKey::Built(_), Some(first)) => first.to_uppercase().chain(letters).collect(),
        _ => role.name.clone(),
    }
}

fn row(permission: Permission, roles: &[MemberRole]) -> AnyView {
    let cells = roles
        .iter()
        .map(|role| {
            let held = if role.allows(permission) {
                view! { <Icon name="check" /> <span class="visually-hidden">"yes"</span> }.into_any()
            } else {
                view! { <span class="visually-hidden">"no"</span> }.into_any()
            };
            // Where there is no room for columns, only the roles that hold it are told.
            let told = if role.allows(permission) { "yes" } else { "no" };
            view! { <td data-label=role.name.clone() data-held=told>{held}</td> }.erase()
        })
        .collect_view();
    view! {
        <tr>
            <th scope="row" data-label="Permission"><code class="mono">{permission.as_str()}</code></th>
            {cells}
        </tr>
    }
    .erase()
}
