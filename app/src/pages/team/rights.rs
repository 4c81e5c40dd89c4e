//! What each role may do: the table that the server decides by, as it is.

use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{Permission, Role, paths};

use crate::{
    components::{Crumb, DataTable, Icon, PageHeader},
    erase::Erase as _,
    page::page_for_me,
};

/// Roles and permissions.
pub struct RolesPage;

#[lazy_route]
impl LazyRoute for RolesPage {
    fn data() -> Self {
        Self
    }

    fn view(RolesPage: Self) -> AnyView {
        page_for_me(|me| {
            let role = me.org.as_ref().map(|org| org.role);
            let about = role.map(|role| format!("Your role is {role}.")).unwrap_or_default();
            let rows = Permission::ALL.iter().map(|permission| row(*permission)).collect_view();
            view! {
                <PageHeader title="Roles" crumbs=vec![Crumb::new(paths::team(), "Team")] about=about />
                <DataTable
                    caption="What each role may do"
                    columns=vec!["Permission", "Owner", "Admin", "Developer", "Member", "Viewer"]
                >
                    {rows}
                </DataTable>
            }
            .erase()
        })
    }
}

fn row(permission: Permission) -> AnyView {
    let cells = Role::ALL
        .iter()
        .map(|role| {
            let held = if role.allows(permission) {
                view! { <Icon name="check" /> <span class="visually-hidden">"yes"</span> }.into_any()
            } else {
                view! { <span class="visually-hidden">"no"</span> }.into_any()
            };
            // Where there is no room for columns, only the roles that hold it are told.
            let told = if role.allows(permission) { "yes" } else { "no" };
            view! { <td data-label=role.as_str() data-held=told>{held}</td> }.erase()
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
